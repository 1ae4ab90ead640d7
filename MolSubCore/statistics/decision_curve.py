"""Decision curves: net benefit of a model against treating all and treating none (Vickers and Elkin 2006).

A net benefit is a share of the patients less a weighted share of others among them. Its 95 % CI follows from Wilson's
intervals of both shares and their correlation (MOVER, Zou and Donner 2008), which keeps its level where few are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.intervals import share_estimate
from MolSubCore.statistics.metrics import Mask, Ratio
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
    model_ends, gain_ends : tuple of (float, float)
        The 95 % CI of `model`, and of what it gains over treating all: `model` less `treat_all`.
    """

    positive: str
    patients: int
    prevalence: float
    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    treat_all: tuple[float, ...]
    treat_none: tuple[float, ...]
    model_ends: tuple[tuple[float, float], ...]
    gain_ends: tuple[tuple[float, float], ...]

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
    called = probability >= levels[:, None]
    hits, alarms = (called & actual).sum(axis=1), (called & ~actual).sum(axis=1)
    # Over treating all a model gains the false positives that it spares, and loses the patients that it misses.
    ends = [
        (_weighted(row & actual, row & ~actual, weight, part), _weighted(~row & actual, ~row & ~actual, weight, part))
        for row, weight in zip(called, harm.tolist(), strict=True)
    ]
    prevalence = float(actual.mean())
    return DecisionCurve(
        positive,
        count,
        prevalence,
        tuple(levels.tolist()),
        tuple(((hits - alarms * harm) / count).tolist()),
        tuple((prevalence - (1 - prevalence) * harm).tolist()),
        (0.0,) * len(levels),
        tuple(model for model, _ in ends),
        tuple((-high, -low) for _, (low, high) in ends),
    )


def _weighted(first: Mask, second: Mask, weight: float, part: Scores) -> tuple[float, float]:
    """The 95 % CI of the share of `first` less `weight` times that of `second`; no unit is in both."""
    everyone = np.ones(len(first), bool)
    shares = [share_estimate(Ratio(chosen, everyone), part.patient) for chosen in (first, second)]
    (one, one_low, one_high), (two, two_low, two_high) = (
        (float(share.value or 0), float(share.low or 0), float(share.high or 0)) for share in shares
    )
    odds = one * two / ((1 - one) * (1 - two)) if max(one, two) < 1 else 1.0
    alike = -float(np.sqrt(odds))  # of two outcomes of one multinomial: the more of the one, the fewer of the other

    def half(own: float, other: float) -> float:
        return float(np.sqrt(max(own**2 - 2 * alike * own * other * weight + (other * weight) ** 2, 0.0)))

    value = one - weight * two
    return value - half(one - one_low, two_high - two), value + half(one_high - one, two - two_low)
