"""The validation predictions of a run: the only thing that a calibration or a threshold may be fitted on.

What is fitted keeps the ids of its patients and cannot be applied to any of them, so that nothing fitted on a
test set can be reported on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.scores import Predictions, Scores


@dataclass(frozen=True, eq=False)
class Validation:
    """Validation predictions of one or several folds, each by the model that did not train on them.

    Raises
    ------
    MolSubError
        If there is no row, the folds' classes differ, or a patient is in two folds.
    """

    folds: tuple[Predictions, ...]

    def __post_init__(self) -> None:
        if not sum(len(fold.label) for fold in self.folds):
            raise MolSubError("validation", "has no predictions", "Give those of a finished run")
        if len({fold.classes for fold in self.folds}) > 1:
            raise MolSubError("validation", "has folds of different classes", "Give the folds of one run")
        if len(self.patients) < sum(len(np.unique(fold.study_id)) for fold in self.folds):
            raise MolSubError("validation", "has a patient in two folds", "Split by patient")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.folds[0].classes

    @property
    def patients(self) -> frozenset[str]:
        """Salted ids of all patients."""
        return frozenset(str(name) for fold in self.folds for name in fold.study_id)

    def scores(self) -> Scores:
        """One row per patient, folds pooled."""
        parts = [fold.scores().per_patient() for fold in self.folds if len(fold.label)]
        return Scores.pooled(parts)


def refuse_fitted(fitted_on: frozenset[str], patients: Iterable[object], what: str) -> None:
    """MolSubError where a patient is among those that something was fitted on."""
    shared = len(fitted_on & {str(name) for name in patients})
    if shared:
        raise MolSubError(
            what, f"was fitted on {shared} of these patients", "Fit on validation, apply to patients left out of it"
        )
