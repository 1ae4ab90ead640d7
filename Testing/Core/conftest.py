"""One small run that all tests of the command line share."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from command_line import TRAIN
from filelock import FileLock

import MolSubCore
from MolSubCore.__main__ import main
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.tasks import Subtype

#: What decides the content of the workplace, beside the options below.
_ROOMS = ("cohort", "evaluation", "imaging", "lesions", "models", "statistics", "training")


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of twelve synthetic patients, a run on it, a bundle: this process's own copy.

    It is made once for all test processes; where $MOLSUB_TEST_CACHE names a folder, once for all runs of the same code.
    """
    made = _shared_folder(tmp_path_factory) / f"workplace-{_code()[:16]}"
    made.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{made}.lock"):
        if not made.is_dir():
            making = made.with_name(f"{made.name}-making")
            shutil.rmtree(making, ignore_errors=True)
            _make(making)
            making.rename(made)
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("work"), dirs_exist_ok=True))


def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all processes of a run find the same files."""
    if kept := os.environ.get("MOLSUB_TEST_CACHE"):
        return Path(kept)
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def _code() -> str:
    """The hash of the code that makes the workplace."""
    core = Path(MolSubCore.__file__).parent
    files = [path for room in _ROOMS for path in sorted((core / room).rglob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _make(folder: Path) -> None:
    counts = {Subtype.LUMINAL_A: 5, Subtype.LUMINAL_B: 1, Subtype.TN: 6}
    table = make_synthetic_cohort(folder / "cohort", counts=counts, seed=3, image_shape=(512, 416))
    assert main(["train", str(table), "--out", str(folder / "run"), "--cache", str(folder / "cache"), *TRAIN]) == 0
    assert main(["models", "export", str(folder / "run"), "--out", str(folder / "m.molsub"), "--fold", "ensemble"]) == 0
