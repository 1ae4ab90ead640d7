"""How far probabilities are from what happened, in the measures that a validation compares with the training.

Per patient, of one class against the rest (Van Calster 2019): the calibration slope (1 is right, below 1 the
probabilities are too extreme), the calibration intercept (0 is right, above 0 they are too low on average), the ratio
of expected to observed patients (1 is right), and Brier's score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.calibration import bin_count, calibration
from MolSubCore.statistics.intervals import Estimate, Z
from MolSubCore.statistics.scores import Scores

Floats = NDArray[np.float64]

#: Probabilities are taken to be at least this far from 0 and 1, where their logit has no value.
_EDGE = 1e-9

_UNDEFINED = Estimate(None, None, None, "none")
#: From here on a coefficient or half its interval says nothing: of slopes, where the probabilities hardly differ or
#: part the patients nearly; of intercepts, where no patient's class was in doubt (10 is an odds ratio of 22,000).
_NO_SLOPE, _NO_INTERCEPT = 1000.0, 10.0

#: The measures of `class_calibration`, with their titles and their value where all is right.
MEASURES: dict[str, tuple[str, float]] = {
    "brier": ("Brier score", 0.0),
    "slope": ("Calibration slope", 1.0),
    "intercept": ("Calibration intercept", 0.0),
    "expected_observed": ("Expected / observed", 1.0),
}


def calibration_report(scores: Scores, classes: tuple[str, ...], positive: str | None) -> dict[str, Any]:
    """All that is said of the calibration per patient, JSON-ready.

    Returns
    -------
    dict
        ``overall``: `Calibration` of the positive class, or of the likeliest one; ``classes``: by name what
        `class_calibration` gives, of the positive class alone where there is one.
    """
    part = scores.per_patient()
    overall = calibration(part, classes, positive, bins=bin_count(len(part.label)), binning="count")
    return {
        "overall": overall.to_dict(),
        "classes": {name: class_calibration(part, classes, name) for name in ([positive] if positive else classes)},
    }


def class_calibration(scores: Scores, classes: tuple[str, ...], name: str) -> dict[str, Any]:
    """Numbers of patients and `MEASURES` of one class against the rest, each with its 95 % CI."""
    part, index = scores.per_patient(), classes.index(name)
    if not len(part.label):
        raise MolSubError("calibration", "has no patients", "Give the scores of a test set")
    share, happened = np.clip(part.probabilities[:, index], 0.0, 1.0), part.label == index
    found = {
        "brier": _mean((share - happened) ** 2),
        "slope": calibration_slope(share, happened),
        "intercept": calibration_intercept(share, happened),
        "expected_observed": expected_observed(share, happened),
    }
    counts = {"patients": len(share), "observed": int(happened.sum()), "expected": float(share.sum())}
    return {**counts, **{key: estimate.to_dict() for key, estimate in found.items()}}


def _mean(values: Floats) -> Estimate:
    """A mean over patients, with its normal interval."""
    value, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(value, None, None, "none")
    half = Z * float(values.std(ddof=1)) / np.sqrt(count)
    if half < 1e-12:  # the same probability for everybody, and the same outcome
        return Estimate(value, None, None, "none")
    return Estimate(value, max(value - half, 0.0), value + half, "normal over patients")


def expected_observed(share: Floats, happened: NDArray[np.bool_]) -> Estimate:
    """Sum of the probabilities over the number of patients of the class; interval on the log scale (Debray 2017).

    Undefined where all patients are of the class, or none.
    """
    observed, count = int(happened.sum()), len(share)
    if observed in (0, count) or not share.sum():
        return _UNDEFINED
    value = float(share.sum()) / observed
    half = Z * np.sqrt((1 - observed / count) / observed)
    return Estimate(value, value * float(np.exp(-half)), value * float(np.exp(half)), "log scale, normal over patients")


def calibration_intercept(share: Floats, happened: NDArray[np.bool_]) -> Estimate:
    """Intercept of a logistic regression of what happened, with the logit of the probability as its offset."""
    if happened.all() or not happened.any():
        return _UNDEFINED
    logit, observed = _logit(share), int(happened.sum())

    def excess(intercept: float) -> float:
        return float(special.expit(logit + intercept).sum()) - observed

    # It rises with the intercept: below 0 where every probability is under the observed share, above 0 where over it.
    right = float(special.logit(observed / len(share)))
    value = float(optimize.brentq(excess, right - logit.max() - 1, right - logit.min() + 1))
    information = (special.expit(logit + value) * special.expit(-logit - value)).sum()
    return _wald(value, float(1 / np.sqrt(information)), _NO_INTERCEPT)


def calibration_slope(share: Floats, happened: NDArray[np.bool_]) -> Estimate:
    """Coefficient of the logit of the probability in a logistic regression of what happened.

    Undefined where the probabilities part the patients without an error, or are all (nearly) the same.
    """
    logit = _logit(share)
    if happened.all() or not happened.any() or np.ptp(logit) < 1e-9:
        return _UNDEFINED
    inside, outside = logit[happened], logit[~happened]
    if inside.min() >= outside.max() or outside.min() >= inside.max():
        return _UNDEFINED
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    columns = np.column_stack([logit, np.ones(len(logit))])
    fitted = GLM(happened.astype(np.float64), columns, family=Binomial()).fit(maxiter=200)
    return _wald(float(fitted.params[0]), float(fitted.bse[0]), _NO_SLOPE) if fitted.converged else _UNDEFINED


def _logit(share: Floats) -> Floats:
    return np.asarray(special.logit(np.clip(share, _EDGE, 1 - _EDGE)), np.float64)


def _wald(value: float, error: float, nothing: float) -> Estimate:
    """A coefficient of a logistic regression with Wald's interval; undefined where that says nothing."""
    if not (np.isfinite([value, error]).all() and max(abs(value), Z * error) < nothing):
        return _UNDEFINED
    return Estimate(value, value - Z * error, value + Z * error, "Wald, logistic regression over patients")
