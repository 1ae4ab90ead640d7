"""What a run's models are calibrated with: each fold's, and all of them together.

Only validation patients are fitted on: those of the fold, or for the ensemble all of them, with the scores that an
ensemble would give them (`MolSubCore.statistics.pseudo_ensemble`). The test patients' classes are never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.calibration import CalibrationMap, ClassShares, fit_calibration
from MolSubCore.statistics.pseudo_ensemble import PseudoEnsemble, pseudo_ensemble
from MolSubCore.statistics.scores import Predictions, Scores
from MolSubCore.statistics.thresholds import RULES, choose_threshold
from MolSubCore.statistics.validation import Validation
from MolSubCore.training.run_files import training_shares

_OF_FOLD = "the validation patients of the fold"
_OF_ALL = (
    "the validation patients of all folds, each scored by one network; the scores were drawn together as the mean of "
    "{members} networks is, by their disagreement on {test_patients} test patients, whose classes were not used"
)


@dataclass(frozen=True, eq=False)
class RunCalibration:
    """The calibrations of a finished run.

    Attributes
    ----------
    folds : dict of int to CalibrationMap
        Of each fold's model.
    ensemble : CalibrationMap
        Of the mean of all.
    pseudo : PseudoEnsemble or None
        What the ensemble's was fitted on; None where it cannot be made.
    validation : dict of int to Scores
        Lesions of each fold's validation part, as its network gives them.
    """

    folds: dict[int, CalibrationMap]
    ensemble: CalibrationMap
    pseudo: PseudoEnsemble | None
    validation: dict[int, Scores]

    def to_dict(self) -> dict[str, Any]:
        """``folds`` and ``ensemble``, JSON-ready."""
        facts: dict[str, Any] = {"fitted_on": _OF_FOLD}
        if self.pseudo and self.pseudo.members > 1:
            names = ("members", "test_patients", "single", "between", "drawn")
            facts = {name: getattr(self.pseudo, name) for name in names}
            facts["fitted_on"] = _OF_ALL.format(**facts)
        folds = {str(number): {**one.to_dict(), "fitted_on": _OF_FOLD} for number, one in self.folds.items()}
        return {"folds": folds, "ensemble": {**self.ensemble.to_dict(), **facts}}

    def thresholds(self, classes: tuple[str, ...], positive: str | None) -> dict[str, Any]:
        """Thresholds of the calibrated probabilities, by every rule: of the folds, and of the ensemble."""
        folds = {
            str(number): list(_thresholds(self.validation[number].calibrated(one), classes, positive))
            for number, one in self.folds.items()
        }
        scores = self.pseudo.scores.calibrated(self.ensemble) if self.pseudo else None
        return {"folds": folds, "ensemble": list(_thresholds(scores, classes, positive)) if scores else []}


def calibrate_run(
    run: Path, plan: dict[str, Any], validation: Mapping[int, Predictions], test: Mapping[int, Predictions]
) -> RunCalibration:
    """Fit the calibrations of a finished run.

    Parameters
    ----------
    run : Path
    plan : dict
        Content of ``plan.json``.
    validation, test : mapping of int to Predictions
        By fold.
    """
    Validation(tuple(validation.values()))  # no patient is in two folds
    classes = tuple(plan["classes"])
    shares = {number: training_shares(run, plan, number, validation) for number in validation}
    own = {number: part.scores() for number, part in validation.items()}
    folds = {number: fit_calibration(scores, classes, shares=shares[number]) for number, scores in own.items()}
    if len(folds) == 1:
        (only,) = folds.values()
        (scores,) = own.values()
        return RunCalibration(folds, only, PseudoEnsemble(scores.per_patient(), 1, 0, 0.0, 0.0, 1.0), own)
    known = [one for one in shares.values() if one]
    together = ClassShares.mean(known) if len(known) == len(shares) else None
    found = pseudo_ensemble(own, {number: part.scores() for number, part in test.items()})
    if isinstance(found, str):
        pooled = Scores.pooled(list(own.values()))
        return RunCalibration(folds, fit_calibration(pooled, classes, shares=together, why=found), None, own)
    return RunCalibration(folds, fit_calibration(found.scores, classes, shares=together), found, own)


def _thresholds(scores: Scores, classes: tuple[str, ...], positive: str | None) -> Iterator[dict[str, Any]]:
    """Thresholds by every rule; none without a positive class, or with patients of one class only."""
    for rule, share in RULES if positive else ():
        try:
            chosen = choose_threshold(scores, classes, str(positive), rule, share)
        except MolSubError:
            continue
        names = ("rule", "value", "positive", "sensitivity", "specificity")
        yield {name: getattr(chosen, name) for name in names} | {"patients": len(chosen.patients)}
