"""What precision a number of patients can give when a model of two classes is validated (Riley et al. 2021).

Standard errors before anything is measured, from the number of patients, the share of the positive class and what the
model is thought to reach: expected / observed by the delta method on the log scale, the calibration slope by Fisher's
information of the logistic recalibration (Archer et al. 2020), the C-statistic by Newcombe (2006), the standardised
net benefit by the delta method (Marsh et al. 2020). They do not take the place of the intervals of the results: they
tell whether a set was large enough to tell anything.

Riley et al., Statistics in Medicine 2021;40:4230, doi 10.1002/sim.9025.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.delong import auc
from MolSubCore.statistics.intervals import Z

Measure = Literal["expected_observed", "slope", "auc", "net_benefit"]

#: Widths of a 95 % CI that Riley et al. aim at.
TARGETS: Mapping[Measure, float] = {"expected_observed": 0.2, "slope": 0.2, "auc": 0.1, "net_benefit": 0.2}

#: A probability of 0 or 1 counts as this far from it.
_TINY = 1e-9

#: Of an information matrix that says nothing about the slope.
_FLAT = 1e-12


@dataclass(frozen=True)
class Precision:
    """What can be expected of one measure.

    Attributes
    ----------
    measure : str
    anticipated : float or None
        The value that the precision is worked out for.
    error : float or None
        Standard error with these patients; of expected / observed that of its logarithm.
    width : float or None
        Width of the 95 % CI to be expected.
    target : float
        The width that is aimed at.
    needed : int or None
        Patients that give the target.
    why : str
        Why nothing can be told; empty where it can.
    """

    measure: Measure
    anticipated: float | None
    error: float | None
    width: float | None
    target: float
    needed: int | None
    why: str = ""


def expected_precision(
    probability: ArrayLike, positive: ArrayLike, threshold: float | None = None, *, no_threshold: str = "no threshold"
) -> tuple[Precision, ...]:
    """What as many patients as these can tell of a model that ranks as it did on them.

    Parameters
    ----------
    probability : array_like, shape (N,)
        Calibrated probability of the positive class, one per patient. Their log-odds are taken as the model's, and for
        the calibration slope as right.
    positive : array_like of bool, shape (N,)
    threshold : float, optional
        Probability from which a patient is called positive, for the net benefit.
    no_threshold : str
        Why there is none.

    Raises
    ------
    MolSubError
        If there is not one probability from 0 to 1 for each patient.
    """
    chance, actual = np.asarray(probability, np.float64), np.asarray(positive, bool)
    if chance.ndim != 1 or chance.shape != actual.shape or not ((chance >= 0) & (chance <= 1)).all():
        found = f"are of shape {chance.shape} for {actual.shape} patients, or not all from 0 to 1"
        raise MolSubError("probabilities", found, "Give each patient one probability")
    count, events = len(actual), int(actual.sum())
    if min(events, count - events) < 2:
        why = f"{events} positive of {count}: fewer than 2 of a class"
        return tuple(Precision(measure, None, None, None, target, None, why) for measure, target in TARGETS.items())
    share, area = events / count, auc(chance, actual).value
    return (
        _ratio(share, count),
        _slope(chance, count),
        _area(area, share, count),
        _net_benefit(chance, actual, threshold, no_threshold),
    )


def ratio_error(share: float, count: int) -> float:
    """Standard error of the logarithm of observed / expected, where the model is right on average."""
    return math.sqrt((1 - share) / (share * count))


def _ratio(share: float, count: int) -> Precision:
    error, target = ratio_error(share, count), TARGETS["expected_observed"]
    return Precision("expected_observed", 1.0, error, 2 * math.sinh(Z * error), target, ratio_patients(share, target))


def ratio_patients(share: float, width: float) -> int:
    """Patients for a 95 % CI of expected / observed that is so wide around 1."""
    return math.ceil((1 - share) / (share * (math.asinh(width / 2) / Z) ** 2))


def slope_variance(logits: NDArray[np.float64]) -> float:
    """Variance of the calibration slope times the number of patients; not finite where the log-odds do not vary.

    Parameters
    ----------
    logits : ndarray, shape (N,)
        A sample of the model's log-odds, taken as right.
    """
    chance = special.expit(logits)
    weight = chance * (1 - chance)
    # About the weighted mean, where the intercept and the slope are not correlated.
    centred = logits - np.average(logits, weights=weight)
    spread = float((weight * centred**2).mean())
    return 1 / spread if spread > _FLAT else math.inf


def _slope(chance: NDArray[np.float64], count: int) -> Precision:
    target = TARGETS["slope"]
    variance = slope_variance(np.asarray(special.logit(np.clip(chance, _TINY, 1 - _TINY)), np.float64))
    if not math.isfinite(variance):
        return Precision("slope", None, None, None, target, None, "all patients have the same probability")
    error = math.sqrt(variance / count)
    return Precision("slope", 1.0, error, 2 * Z * error, target, math.ceil(variance / (target / 2 / Z) ** 2))


def area_error(area: float, share: float, count: float) -> float:
    """Newcombe's standard error of an AUC, 0 at 0 and 1."""
    spread = 1 + (count / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))
    return math.sqrt(area * (1 - area) * spread / (count**2 * share * (1 - share)))


def area_patients(area: float, share: float, width: float) -> int:
    """Patients for a 95 % CI of the AUC that is so wide: the larger root of a quadratic equation, rounded up."""
    scale = area * (1 - area) / (share * (1 - share) * (width / 2 / Z) ** 2)
    step = ((1 - area) / (2 - area) + area / (1 + area)) / 2
    constant = 1 - 2 * step
    return math.ceil((scale * step + math.sqrt((scale * step) ** 2 + 4 * scale * constant)) / 2)


def _area(area: float, share: float, count: int) -> Precision:
    target = TARGETS["auc"]
    if not 0 < area < 1:
        return Precision("auc", area, None, None, target, None, f"the AUC is {area:g}, where its spread is not known")
    error = area_error(area, share, count)
    return Precision("auc", area, error, 2 * Z * error, target, area_patients(area, share, target))


def net_benefit_variance(share: float, sensitivity: float, specificity: float, threshold: float) -> float:
    """Variance of the standardised net benefit times the number of patients."""
    weight = (1 - share) / share * threshold / (1 - threshold)
    alarms = 1 - specificity
    return (
        sensitivity * (1 - sensitivity) / share
        + weight**2 * specificity * alarms / (1 - share)
        + weight**2 * alarms**2 / (share * (1 - share))
    )


def _net_benefit(
    chance: NDArray[np.float64], actual: NDArray[np.bool_], threshold: float | None, no_threshold: str
) -> Precision:
    target, count, share = TARGETS["net_benefit"], len(actual), float(actual.mean())
    if threshold is None or not 0 < threshold < 1:
        why = no_threshold if threshold is None else "the threshold calls everybody or nobody positive"
        return Precision("net_benefit", None, None, None, target, None, why)
    called = chance >= threshold
    sensitivity, specificity = float(called[actual].mean()), float((~called[~actual]).mean())
    value = sensitivity - (1 - specificity) * (1 - share) / share * threshold / (1 - threshold)
    variance = net_benefit_variance(share, sensitivity, specificity, threshold)
    if variance < _FLAT:
        return Precision("net_benefit", value, None, None, target, None, "nobody, or everybody, is called wrongly")
    error = math.sqrt(variance / count)
    return Precision("net_benefit", value, error, 2 * Z * error, target, math.ceil(variance / (target / 2 / Z) ** 2))
