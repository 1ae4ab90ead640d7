"""One small run that all tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import TRAIN

from MolSubCore.__main__ import main
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.tasks import Subtype


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of twelve synthetic patients, a run on it, a bundle."""
    folder = tmp_path_factory.mktemp("work")
    counts = {Subtype.LUMINAL_A: 5, Subtype.LUMINAL_B: 1, Subtype.TN: 6}
    table = make_synthetic_cohort(folder / "cohort", counts=counts, seed=3, image_shape=(512, 416))
    assert main(["train", str(table), "--out", str(folder / "run"), "--cache", str(folder / "cache"), *TRAIN]) == 0
    assert main(["models", "export", str(folder / "run"), "--out", str(folder / "m.molsub"), "--fold", "ensemble"]) == 0
    return folder
