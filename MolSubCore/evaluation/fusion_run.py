"""A finished run as fusions read it, and what a fusion makes of it: predictions only, no image, no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import MolSubError, TrainingError
from MolSubCore.evaluation.validation import Validation
from MolSubCore.predictions import Predictions, Scores
from MolSubCore.training.run_files import finished_plan, fold_predictions

Floats = NDArray[np.float64]

#: Values by study id, then by column, as in the table.
Clinical = Mapping[str, Mapping[str, str]]


class NotMade(MolSubError):
    """A fusion that this run does not allow; the problem and the way out are the reason that is shown."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__("fusion", problem, remedy)

    @property
    def reason(self) -> str:
        """Problem and way out in one line."""
        return f"{self.problem}. {self.remedy}."


@dataclass(frozen=True, eq=False)
class FusedFold:
    """Predictions of one fold.

    Attributes
    ----------
    validation, test : Predictions
    facts : dict
        Content of ``done.json``: what was fitted, on how many patients.
    """

    validation: Predictions
    test: Predictions
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Fused:
    """A fusion of a run: every choice that decides it (for ``plan.json``), and its folds."""

    choices: dict[str, Any]
    folds: dict[int, FusedFold]


@dataclass(frozen=True, eq=False)
class BaseRun:
    """A finished run.

    Attributes
    ----------
    folder : Path
    plan : dict
        Content of ``plan.json``.
    folds : dict of int to FusedFold
        By number, from 1.
    """

    folder: Path
    plan: dict[str, Any]
    folds: dict[int, FusedFold]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self.plan["classes"])

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """Salted ids of all validation and test patients, as they first appear."""
        parts = [part.study_id for fold in self.folds.values() for part in (fold.validation, fold.test)]
        return tuple(dict.fromkeys(np.concatenate(parts).tolist()))

    def key(self) -> str:
        """SHA-256 of the plan without its software: `Plan.key` where a network was trained."""
        content = {name: value for name, value in self.plan.items() if name != "software"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def per_patient(self, scores: Scores, logits: Floats) -> Predictions:
        """Predictions with one row per unit of `scores`; a unit has the same case number in every fold."""
        blank = np.full(len(scores.label), "", dtype=str)
        names = list(zip(scores.patient.tolist(), scores.unit.tolist(), strict=True))
        # The side only where it makes the unit.
        breast = np.array([unit.removeprefix(patient).removeprefix("/") for patient, unit in names], dtype=str)
        number, sides = {name: n for n, name in enumerate(self.patients)}, {"": 0, "L": 1, "R": 2}
        rows = zip(scores.patient.tolist(), breast.tolist(), strict=True)
        case = np.array([3 * number[name] + sides[side] for name, side in rows], np.int64)
        return Predictions(scores.patient, case, blank, breast, blank, scores.label, logits, self.classes)


def read_base(run: Path) -> BaseRun:
    """Read a run whose folds are all finished.

    Raises
    ------
    TrainingError
        If there is no run, folds are missing, classes are not the plan's, or a test patient was validated too.
    MolSubError
        If a file is damaged, or a patient is in two folds.
    """
    plan = finished_plan(run)
    parts, tests = (fold_predictions(run, plan, part) for part in ("predictions", "test_predictions"))
    folds = {number: FusedFold(parts[number], tests[number]) for number in parts}
    validation = Validation(tuple(parts.values()))
    if any(validation.patients & set(fold.test.study_id.tolist()) for fold in folds.values()):
        raise TrainingError(run, "has a patient in the test set and in a fold", "Split by patient")
    return BaseRun(run, plan, folds)


def check_same_rows(found: Predictions, expected: Predictions, path: Path) -> None:
    """TrainingError where a file's patients, images, lesions or labels are not those of the run's predictions."""
    columns = ("study_id", "case", "lesion", "label")
    same = all(np.array_equal(getattr(found, name), getattr(expected, name)) for name in columns)
    if found.classes != expected.classes or not same:
        raise TrainingError(
            path, "is of other lesions or labels than the predictions", "Delete it and run this fold again"
        )
