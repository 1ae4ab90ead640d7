"""Decision curves: net benefit of a model against treating all and treating none (Vickers and Elkin 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.scores import Scores

#: Threshold probabilities of a curve: 1 % to 99 %.
THRESHOLDS = tuple(round(n / 100, 2) for n in range(1, 100))


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefits, in true positives per patient, over threshold probabilities.

    Attributes
    ----------
    positive : str
    patients : int
    prevalence : float
    thresholds, model, treat_all, treat_none : tuple of float
    """

    positive: str
    patients: int
    prevalence: float
    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    treat_all: tuple[float, ...]
    treat_none: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return asdict(self)


def decision_curve(
    scores: Scores, classes: tuple[str, ...], positive: str, thresholds: Sequence[float] = THRESHOLDS
) -> DecisionCurve:
    """Net benefit over patients: ``TP / n - FP / n * t / (1 - t)``, positive from probability t on.

    The probabilities are taken as frequencies: calibrate them first.

    Raises
    ------
    MolSubError
        If a threshold is not in [0, 1), or there are no patients.
    """
    levels = np.asarray(thresholds, np.float64)
    if not ((levels >= 0) & (levels < 1)).all():
        raise MolSubError("threshold probabilities", "are not all from 0 to below 1", "Leave out the others")
    part, index = scores.per_patient(), classes.index(positive)
    count, actual = len(part.label), part.label == index
    if count == 0:
        raise MolSubError("decision curve", "has no patients", "Give the scores of a test set")
    probability = part.probabilities[:, index]
    harm = levels / (1 - levels)
    hits, alarms = (
        len(side) - np.searchsorted(side, levels, side="left")
        for side in (np.sort(probability[actual]), np.sort(probability[~actual]))
    )
    prevalence = float(actual.mean())
    return DecisionCurve(
        positive,
        count,
        prevalence,
        tuple(levels.tolist()),
        tuple(((hits - alarms * harm) / count).tolist()),
        tuple((prevalence - (1 - prevalence) * harm).tolist()),
        (0.0,) * len(levels),
    )
