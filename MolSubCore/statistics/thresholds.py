"""Thresholds of a score that are chosen on validation and reported on patients left out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.intervals import Estimate, share_estimate
from MolSubCore.statistics.metrics import Ratio, ratios
from MolSubCore.statistics.scores import Scores
from MolSubCore.statistics.validation import refuse_fitted

Rule = Literal["youden", "sensitivity", "specificity"]

#: Rules of the thresholds that are reported, with the least share of two of them.
RULES: tuple[tuple[Rule, float], ...] = (("youden", 0.9), ("sensitivity", 0.9), ("specificity", 0.9))


@dataclass(frozen=True)
class Threshold:
    """A patient is called positive when the probability of `positive` is the threshold or more.

    Attributes
    ----------
    value : float
    positive : str
    index : int
        Of the positive class.
    rule : str
        How it was chosen, in words.
    sensitivity, specificity : float
        On validation, where it was chosen: optimistic, never to be reported as a result.
    patients : frozenset of str
        Salted ids of the patients it was chosen on.
    """

    value: float
    positive: str
    index: int
    rule: str
    sensitivity: float
    specificity: float
    patients: frozenset[str] = field(repr=False)

    def apply(self, scores: Scores) -> dict[str, Estimate]:
        """Accuracy, sensitivity, specificity, PPV and NPV over patients, with Wilson's intervals.

        Raises
        ------
        MolSubError
            If the threshold was chosen on one of the patients.
        """
        part, actual, called = self._called(scores)
        everyone = np.ones(len(actual), bool)
        shares = {"accuracy": Ratio(actual == called, everyone), **ratios(actual, called, 1)}
        return {name: share_estimate(share, part.patient) for name, share in shares.items()}

    def counts(self, scores: Scores) -> NDArray[np.int64]:
        """Patients by class and call, shape (2, 2): true and false positives, then false and true negatives.

        Raises
        ------
        MolSubError
            As `apply`.
        """
        _, actual, called = self._called(scores)
        return np.array([[((called == c) & (actual == a)).sum() for a in (1, 0)] for c in (1, 0)], np.int64)

    def _called(self, scores: Scores) -> tuple[Scores, NDArray[np.int64], NDArray[np.int64]]:
        refuse_fitted(self.patients, scores.patient, "threshold")
        part = scores.per_patient()
        actual = (part.label == self.index).astype(np.int64)
        return part, actual, (part.probabilities[:, self.index] >= self.value).astype(np.int64)


def choose_threshold(
    validation: Scores, classes: tuple[str, ...], positive: str, rule: Rule = "youden", at_least: float = 0.9
) -> Threshold:
    """Choose a threshold on the scores of validation patients, one per patient.

    Candidates lie half-way between neighbouring scores, so that a score that comes out a little different on
    another machine is called the same; below all of them everybody is positive, above all of them nobody.

    Parameters
    ----------
    validation : Scores
        Calibrated as the patients will be that it is applied to.
    classes : tuple of str
    positive : str
    rule : {"youden", "sensitivity", "specificity"}
        Largest sensitivity + specificity (of equal ones the lowest threshold, which misses fewest); or the best
        specificity among those with a sensitivity of `at_least`; or the other way round.
    at_least : float
        0 to 1; not used by Youden's rule.

    Raises
    ------
    MolSubError
        If the validation set has one class only, or `at_least` is not from 0 to 1.
    """
    if positive not in classes:
        raise MolSubError("positive", f"unknown class '{positive}'", f"Choose one of {', '.join(classes)}")
    if not 0 <= at_least <= 1:
        raise MolSubError(rule, f"is {at_least}, expected a share from 0 to 1", "Choose another")
    part, index = validation.per_patient(), classes.index(positive)
    actual = part.label == index
    if actual.all() or not actual.any():
        raise MolSubError("validation", "has one class only, a threshold needs both", "Use fewer folds")
    candidates, sensitivity, specificity = _candidates(part.probabilities[:, index], actual)
    if rule == "youden":
        best = int(np.argmax(np.round(sensitivity + specificity, 12)))
    elif rule == "sensitivity":
        best = int(np.flatnonzero(sensitivity >= at_least)[-1])
    else:
        best = int(np.flatnonzero(specificity >= at_least)[0])
    found = float(sensitivity[best]), float(specificity[best])
    patients = frozenset(str(name) for name in part.patient)
    return Threshold(float(candidates[best]), positive, index, rule_text(rule, at_least), *found, patients)


def rule_text(rule: Rule, at_least: float) -> str:
    """A rule in words."""
    text = "largest Youden index" if rule == "youden" else f"{rule} of at least {at_least:g}"
    return f"{text} on validation"


def _candidates(
    score: NDArray[np.float64], actual: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """All thresholds that differ, ascending, with their sensitivities and specificities."""
    distinct = np.unique(score)
    between = distinct[:-1] + np.diff(distinct) / 2
    between = np.where(between > distinct[:-1], between, distinct[1:])  # adjacent floats
    candidates = np.concatenate([[0.0], between, [np.nextafter(1.0, 2.0)]])
    found = actual.sum() - np.searchsorted(np.sort(score[actual]), candidates, side="left")
    spared = np.searchsorted(np.sort(score[~actual]), candidates, side="left")
    return candidates, found / actual.sum(), spared / (~actual).sum()
