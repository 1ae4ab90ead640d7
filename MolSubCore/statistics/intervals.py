"""95 % CIs over patients: views and lesions of one patient never count as independent.

One rule for every figure, whatever page or card it stands on. Shares have Wilson's interval with the effective
number of units, and Student's t of the patients for the normal where patients have several. AUCs and macro means have
an interval on the logit scale with the deviation of a bootstrap that draws patients whole, and Student's t of the
smallest class. Where resamples do not vary, Newcombe's (AUC) or Wilson's. Percentiles of the bootstrap alone cover an
AUC near 1 in only 86 to 91 % of cohorts of 80 patients.

``make evidence`` prints what they cover where the truth is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from MolSubCore.statistics.metrics import Ratio, all_ratios, classes_present, compute
from MolSubCore.statistics.scores import Scores, by_appearance

LEVEL = 0.95
#: Its two-sided quantile of the normal distribution, 1.96.
Z = float(stats.norm.ppf((1 + LEVEL) / 2))

#: Patients of either outcome below which all images of a patient count as one: fewer cannot show how alike they are.
FEW_OUTCOMES = 5


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % CI; None where it is undefined.

    Attributes
    ----------
    value, low, high : float or None
    method : str
        ``Wilson over patients`` for shares; ``logit, bootstrap over patients`` for AUCs and macro means,
        but ``Newcombe over patients`` or ``Wilson over patients`` where resamples do not vary.
    undefined : float
        Share of resamples in which the metric was undefined.
    classes : str
        Of a macro mean where a class is absent: ``4 of 5``.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    undefined: float = 0.0
    classes: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy; says why where there is no value."""
        result: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high, "method": self.method}
        if self.classes:
            result["classes"] = self.classes
        if self.undefined:
            result["undefined_resamples"] = round(self.undefined, 4)
        if self.value is None:
            result["why"] = "undefined: no unit in its denominator, or one class only"
        return result


def multiplicities(
    patient: NDArray[np.generic],
    label: NDArray[np.int64],
    resamples: int,
    seed: int,
    fold: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """How often each unit is counted in each resample, shape (resamples, N).

    Patients are drawn with replacement within their class (and fold), so every resample has as many patients of
    each class as the cohort; all units of a patient come together.
    """
    rng = np.random.default_rng(seed)
    first, group = by_appearance(patient)
    drawn = np.zeros((resamples, len(first)))
    strata = label[first] if fold is None else fold[first] * (int(label.max()) + 1) + label[first]
    for value in np.unique(strata):
        members = np.flatnonzero(strata == value)
        drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    return drawn[:, group]


def estimates(
    scores: Scores, classes: tuple[str, ...], positive: str | None, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """All metrics of `MolSubCore.statistics.metrics.compute` with their intervals.

    Parameters
    ----------
    scores : Scores
        One row per unit of analysis.
    resamples : int
    seed : int
    """
    weights = multiplicities(scores.patient, scores.label, resamples, seed, scores.fold)
    ones = np.ones((1, len(scores.label)))
    units = scores.probabilities, scores.label
    values, samples = (compute(*units, counts, classes, positive, scores.fold) for counts in (ones, weights))
    shares = all_ratios(scores.label, scores.probabilities.argmax(axis=1), classes, positive)
    present = len(classes_present(scores.label))
    of_classes = f"{present} of {len(classes)}" if present < len(classes) else ""
    result = {}
    for name, value in values.items():
        if name in shares:
            undefined = 1 - float(np.isfinite(samples[name]).mean())
            result[name] = replace(share_estimate(shares[name], scores.patient), undefined=undefined)
        else:
            sizes = _sizes(scores, classes, positive if name == "auc" else name.partition(": ")[2])
            found = _estimate(float(value[0]), samples[name], sizes, is_auc="auc" in name)
            result[name] = replace(found, classes=of_classes) if name.startswith("macro ") else found
    return result


def _sizes(scores: Scores, classes: tuple[str, ...], name: str | None) -> tuple[int, int]:
    """Patients of a class and of all others; without a name, of the smallest class that has any."""
    # A patient with breasts of two classes is one of either.
    pairs = set(zip(scores.patient.tolist(), scores.label.tolist(), strict=True))
    counts = np.bincount([label for _, label in pairs], minlength=len(classes))
    size = int(counts[classes.index(name)] if name else counts[counts > 0].min())
    return size, int(counts.sum()) - size


def _estimate(value: float, samples: NDArray[np.float64], sizes: tuple[int, int], *, is_auc: bool) -> Estimate:
    """An AUC or a macro mean from its resamples; `sizes` are the patients of the deciding class, and the rest."""
    defined = samples[np.isfinite(samples)]
    undefined = 1 - len(defined) / len(samples)
    if not np.isfinite(value) or len(defined) == 0:
        return Estimate(None, None, None, "none", undefined)
    deviation, fewest = float(defined.std()), min(sizes) if is_auc else sizes[0]
    if deviation < 1e-9 or not 0 < value < 1:
        low, high = newcombe(value, *sizes) if is_auc else wilson(value, fewest)
        return Estimate(value, low, high, f"{'Newcombe' if is_auc else 'Wilson'} over patients", undefined)
    low, high = logit_interval(value, deviation, fewest)
    return Estimate(value, low, high, "logit, bootstrap over patients", undefined)


def logit_interval(value: float, deviation: float, patients: int) -> tuple[float, float]:
    """Interval on the logit scale, where an AUC near 1 is not skewed (Pepe 2003, section 5.2.5).

    Parameters
    ----------
    value, deviation : float
        The estimate, strictly between 0 and 1, and its bootstrap standard deviation.
    patients : int
        Of the smallest class: a bootstrap of few is too narrow, as the deviation of few is, so Student's
        t takes the place of the normal (Hesterberg 2015, section 5.3).
    """
    few = max(patients, 2)
    stretch = np.sqrt(few / (few - 1)) * stats.t.ppf((1 + LEVEL) / 2, few - 1)
    half = stretch * deviation / (value * (1 - value))
    low, high = special.expit(special.logit(value) + np.array([-half, half]))
    return float(low), float(high)


def share_estimate(ratio: Ratio, patient: NDArray[np.generic]) -> Estimate:
    """A share of units with Wilson's interval over patients; None where there are no units."""
    if not ratio.among.any():
        return Estimate(None, None, None, "none")
    value = float(ratio.value(np.ones((1, len(ratio.among))))[0])
    units = np.bincount(by_appearance(patient[ratio.among])[1])
    # How alike the images of a patient are is known from these patients only.
    clustered = len(units) > 1 and units.max() > 1
    quantile = float(stats.t.ppf((1 + LEVEL) / 2, len(units) - 1)) if clustered else Z
    return Estimate(value, *wilson(value, effective_count(ratio, patient), quantile), "Wilson over patients")


def effective_count(ratio: Ratio, patient: NDArray[np.generic]) -> float:
    """Effective number of independent units of a share among clustered units (Rao and Scott 1992).

    One unit per patient: the number of patients. Several: the number of units over the design effect, which is
    estimated from the patients' totals. Where these do not vary, or fewer than `FEW_OUTCOMES` patients have units that
    are counted or units that are not, at most the number of patients.
    """
    _, group = by_appearance(patient[ratio.among])
    units = np.bincount(group)
    hits = np.bincount(group, weights=ratio.counted[ratio.among])
    share = hits.sum() / units.sum()
    spread = float(((hits - share * units) ** 2).sum())
    if spread < 1e-12:
        return float(len(units))
    few = min(np.count_nonzero(hits), np.count_nonzero(hits < units)) < FEW_OUTCOMES
    return float(min(share * (1 - share) * units.sum() ** 2 / spread, len(units) if few else units.sum()))


def wilson(share: float, count: float, quantile: float = Z) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share among `count` units; neither need be whole."""
    centre = (share + quantile**2 / (2 * count)) / (1 + quantile**2 / count)
    half = quantile / (1 + quantile**2 / count) * np.sqrt(share * (1 - share) / count + quantile**2 / (4 * count**2))
    low = 0.0 if share <= 0 else max(float(centre - half), 0.0)
    high = 1.0 if share >= 1 else min(float(centre + half), 1.0)
    return low, high


def newcombe(value: float, positives: int, negatives: int) -> tuple[float, float]:
    """Newcombe's score interval of an AUC (2006, method 5), which has a width even at 0 and 1."""
    spare = (positives + negatives) / 2 - 1

    def beyond(a: float) -> float:
        spread = 1 + spare * (1 - a) / (2 - a) + spare * a / (1 + a)
        return (value - a) ** 2 - Z**2 * a * (1 - a) * spread / (positives * negatives)

    low = 0.0 if value <= 0 else float(optimize.brentq(beyond, 0.0, value - 1e-9))
    high = 1.0 if value >= 1 else float(optimize.brentq(beyond, value + 1e-9, 1.0))
    return low, high
