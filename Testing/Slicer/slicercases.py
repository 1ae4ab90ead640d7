"""A synthetic patient and a bundle for the tests of the Slicer module, made once."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Case:
    """One synthetic patient: DICOM files and masks (.nii.gz) in the same order, with their views."""

    folder: Path
    table: Path
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    views: tuple[str, ...]
    laterality: str


def make_case(folder: Path, seed: int = 7) -> Case:
    """Draw the patient, CC and MLO."""
    from MolSubCore.cohort.synthetic import make_synthetic_cohort

    table = make_synthetic_cohort(folder / "cohort", patients=1, seed=seed)
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return Case(
        folder=table.parent,
        table=table,
        images=tuple(table.parent / row["image"] for row in rows),
        masks=tuple(table.parent / row["mask"] for row in rows),
        views=tuple(row["view"] for row in rows),
        laterality=rows[0]["laterality"],
    )


def make_bundle(folder: Path, task: str = "tn") -> Path:
    """A DenseNet121-CBAM with random weights, written in a process of its own: torch stays out of this one."""
    target = folder / "Random weights"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__)), str(target), task]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return target


def _write_random_bundle(target: Path, task: str) -> None:
    import torch

    from MolSubCore.lesions.preprocessing import get_recipe
    from MolSubCore.models.bundle import write_bundle
    from MolSubCore.models.registry import build_model
    from MolSubCore.tasks import get_task

    classes = list(get_task(task).classes)
    torch.manual_seed(0)
    weights = build_model("densenet121-cbam", len(classes)).state_dict()
    write_bundle(
        target,
        [dict(weights)],
        architecture="densenet121-cbam",
        dropout=0.3,
        task=task,
        classes=classes,
        recipe=get_recipe("default").to_dict(),
    )


if __name__ == "__main__":
    _write_random_bundle(Path(sys.argv[1]), sys.argv[2])
