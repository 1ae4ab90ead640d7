"""95 % intervals by bootstrap over patients: views and lesions of one patient are drawn together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from MolSubCore.evaluation.metrics import all_ratios, compute
from MolSubCore.predictions import Scores

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval; None where it is undefined.

    Attributes
    ----------
    value, low, high : float or None
    method : str
        ``bootstrap over patients``; where resampling cannot vary (all right, all wrong, perfect ranking),
        ``Wilson over patients`` for shares and ``Newcombe over patients`` for AUCs.
    undefined : float
        Share of resamples in which the metric was undefined.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    undefined: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy; says why where there is no value."""
        result: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high, "method": self.method}
        if self.undefined:
            result["undefined_resamples"] = round(self.undefined, 4)
        if self.value is None:
            result["why"] = "undefined: no unit in its denominator, or one class only"
        return result


def multiplicities(
    patient: NDArray[np.generic], label: NDArray[np.int64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """How often each unit is counted in each resample, shape (resamples, N).

    Patients are drawn with replacement within their class, so every resample has as many patients of
    each class as the cohort; all units of a patient come together.
    """
    rng = np.random.default_rng(seed)
    _, first, group = np.unique(patient, return_index=True, return_inverse=True)
    drawn = np.zeros((resamples, len(first)))
    for value in np.unique(label[first]):
        members = np.flatnonzero(label[first] == value)
        drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    return drawn[:, group]


def estimates(
    scores: Scores, classes: tuple[str, ...], positive: str | None, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """All metrics of `MolSubCore.evaluation.metrics.compute` with their intervals.

    Parameters
    ----------
    scores : Scores
        One row per unit of analysis.
    resamples : int
    seed : int
    """
    weights = multiplicities(scores.patient, scores.label, resamples, seed)
    ones = np.ones((1, len(scores.label)))
    values = compute(scores.probabilities, scores.label, ones, classes, positive)
    samples = compute(scores.probabilities, scores.label, weights, classes, positive)
    shares = all_ratios(scores.label, scores.probabilities.argmax(axis=1), classes, positive)
    sizes = [len(np.unique(scores.patient[scores.label == label])) for label in np.unique(scores.label)]
    result = {}
    for name, value in values.items():
        among = shares[name].among if name in shares else None
        fewest = min(sizes) if among is None else len(np.unique(scores.patient[among]))
        total = sum(sizes) if among is None else fewest
        result[name] = _estimate(float(value[0]), samples[name], fewest, total, is_auc="auc" in name)
    return result


def _tail(patients: int) -> float:
    """Share of resamples beyond each end: Hesterberg's expanded percentile interval (2015, section 5.3).

    The plain percentiles are too narrow for few patients, as a normal interval is with the sample's own
    deviation; this widens them as Student's t does.
    """
    if patients < 2:
        return 0.0
    stretch = np.sqrt(patients / (patients - 1)) * stats.t.ppf((1 + LEVEL) / 2, patients - 1)
    return float(stats.norm.cdf(-stretch))


def _estimate(value: float, samples: NDArray[np.float64], fewest: int, total: int, *, is_auc: bool) -> Estimate:
    """One metric, of `total` patients, the smallest group of which (that limits the resamples) has `fewest`."""
    defined = samples[np.isfinite(samples)]
    undefined = 1 - len(defined) / len(samples)
    if not np.isfinite(value) or len(defined) == 0:
        return Estimate(None, None, None, "none", undefined)
    if np.ptp(defined) < 1e-12:
        low, high = newcombe(value, total) if is_auc else wilson(value, total)
        return Estimate(value, low, high, f"{'Newcombe' if is_auc else 'Wilson'} over patients", undefined)
    tail = _tail(fewest)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), "bootstrap over patients", undefined)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share among `count` patients; the share may be any number in [0, 1]."""
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def newcombe(value: float, patients: int) -> tuple[float, float]:
    """Newcombe's score interval of an AUC (2006, method 5), which has a width even at 0 and 1."""
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    spare = max(patients / 2 - 1, 0.0)

    def beyond(a: float) -> float:
        spread = 1 + spare * (1 - a) / (2 - a) + spare * a / (1 + a)
        return (value - a) ** 2 - z**2 * a * (1 - a) * spread / (patients / 2) ** 2

    low = 0.0 if value <= 0 else float(optimize.brentq(beyond, 0.0, value - 1e-9))
    high = 1.0 if value >= 1 else float(optimize.brentq(beyond, value + 1e-9, 1.0))
    return low, high
