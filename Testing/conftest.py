"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

# More threads than cores only cost time: one where several test processes run side by side.
os.environ.setdefault(
    "OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else str(min(2, os.cpu_count() or 1))
)

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real mammography files that lie beside the project, not in it."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("no real mammography files in ../shared/data")
    return folder
