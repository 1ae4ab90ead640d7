"""What tests of the command line share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from MolSubCore.__main__ import main

#: The smallest network with attention: what these tests look at is not the network.
TRAIN = ["--task", "luminal", "--folds", "2", "--epochs", "1", "--pretrained", "none", "--test-share", "0.25"]
TRAIN += ["--architecture", "mob-cbam"]


def case(workplace: Path, number: int = 0) -> tuple[str, str]:
    """Image and mask of one of the workplace's cases."""
    image = sorted((workplace / "cohort" / "images").glob("*.dcm"))[number]
    return str(image), str(workplace / "cohort" / "masks" / f"{image.stem}.nii.gz")


def failing(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must end with exit code 2 and one line, progress bars and notes aside; return the line."""
    capsys.readouterr()
    assert main(arguments) == 2
    printed = capsys.readouterr().err.splitlines()
    lines = [line for line in printed if line.strip() and not re.search(r"\d%\||^Note: ", line)]
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]
