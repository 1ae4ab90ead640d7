"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

# One torch process on few cores: more threads than cores only cost time.
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real mammography files that lie beside the project, not in it."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("no real mammography files in ../shared/data")
    return folder
