"""What all tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# More threads than cores only cost time: one where several test processes run side by side.
os.environ.setdefault(
    "OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else str(min(2, os.cpu_count() or 1))
)

import pytest
from hypothesis import settings

# The same examples on every day and machine; new ones with `make test-all`.
settings.register_profile("same", derandomize=True)
settings.register_profile("new", derandomize=False)
settings.load_profile("same")

ROOT = Path(__file__).resolve().parent.parent

# No test uses the user's own key of pseudonyms; all test processes have the same, so that they can share a run.
_private = tempfile.TemporaryDirectory(prefix="molsub-key-")
if "MOLSUB_KEY" not in os.environ:
    os.environ["MOLSUB_KEY"] = str(Path(_private.name) / "pseudonyms.key")
    Path(os.environ["MOLSUB_KEY"]).write_text("5e" * 32)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real mammography files that lie beside the project, not in it."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("no real mammography files in ../shared/data")
    return folder


#: Begun first, so that no test process is left alone with one of them at the end.
_LONGEST = (
    "test_study",
    "test_faults",
    "test_network",
    "test_training_resume",
    "test_privacy",
    "test_faithfulness",
    "test_fuzz_readers",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _LONGEST.index(item.path.stem) if item.path.stem in _LONGEST else len(_LONGEST))
