"""Recalibration of a model on one part of another cohort, to be judged on the rest.

The model's probability p of every lesion becomes ``softmax(slope * log p + intercepts)``, which views and lesions are
then averaged from, as always. With the slope alone (``temperature``) that is a temperature of 1 / slope; with
intercepts, too (``logistic``), it is of two classes Cox's logistic recalibration (1958).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from MolSubCore.errors import MolSubError, counted
from MolSubCore.statistics.scores import Scores, by_appearance
from MolSubCore.statistics.validation import refuse_fitted

Floats = NDArray[np.float64]
Method = Literal["logistic", "temperature"]
METHODS: tuple[Method, ...] = get_args(Method)

#: Slopes and intercepts that are searched. Probabilities that part the classes perfectly want an infinite slope.
SLOPES, INTERCEPTS = (0.05, 20.0), (-10.0, 10.0)

#: A probability of 0 counts as this.
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Recalibration:
    """What turns a model's probabilities into others.

    Attributes
    ----------
    method : {"logistic", "temperature"}
    slope : float
    intercepts : tuple of float
        One per class in the order of the logits; the first is 0.
    loss_before, loss_after : float
        Negative log likelihood per patient, where it was fitted.
    at_bound : bool
        A number lies at an end of its range: the patients do not determine it.
    counts : dict of str to int
        Patients of each class that it was fitted on.
    patients : frozenset of str
        Salted ids of these patients.
    """

    method: Method
    slope: float
    intercepts: tuple[float, ...]
    loss_before: float
    loss_after: float
    at_bound: bool
    counts: dict[str, int]
    patients: frozenset[str] = field(repr=False)

    def apply(self, scores: Scores) -> Scores:
        """Scores of lesions, recalibrated; MolSubError where it was fitted on one of the patients."""
        refuse_fitted(self.patients, scores.patient, "recalibration")
        changed = recalibrated(scores.probabilities, self.slope, self.intercepts)
        return Scores(changed, scores.label, scores.patient, scores.case, scores.breast)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy, without the patients' ids."""
        names = ("method", "slope", "loss_before", "loss_after", "at_bound", "counts")
        found = {name: getattr(self, name) for name in names}
        return {**found, "intercepts": list(self.intercepts), "patients": len(self.patients)}


def recalibrated(probabilities: Floats, slope: float, intercepts: tuple[float, ...] | Floats) -> Floats:
    """``softmax(slope * log p + intercepts)`` of probabilities, shape (N, classes)."""
    logits = slope * np.log(np.clip(probabilities, _TINY, 1.0)) + np.asarray(intercepts, np.float64)
    return np.asarray(special.softmax(logits, axis=1), np.float64)


def fit_recalibration(scores: Scores, classes: tuple[str, ...], method: Method = "logistic") -> Recalibration:
    """Fit the smallest negative log likelihood of the patients' probabilities, means of those of their lesions.

    With one lesion a patient, two classes and ``logistic`` this is the logistic regression of what happened on the
    logit of the probability.

    Parameters
    ----------
    scores : Scores
        Of lesions.
    classes : tuple of str
    method : {"logistic", "temperature"}

    Raises
    ------
    MolSubError
        If a class has no patient (with ``temperature``: there is one class only), or the method is unknown.
    """
    if method not in METHODS:
        raise MolSubError("recalibration", f"is by '{method}'", f"Choose one of {', '.join(METHODS)}")
    first, patient = by_appearance(scores.unit)
    label = scores.label[first]
    counts = {name: int((label == n).sum()) for n, name in enumerate(classes)}
    absent = [name for name, count in counts.items() if not count]
    if absent and (method == "logistic" or len(counts) - len(absent) < 2):
        found = f"would be fitted on {counted(len(label), 'patient')}, none of {', '.join(absent)}"
        raise MolSubError("recalibration", found, "Name a part with patients of every class")
    weights = _weights(scores, patient)

    def loss(values: Floats) -> float:
        slope, intercepts = _parameters(values, len(classes))
        right = recalibrated(scores.probabilities, slope, intercepts)[np.arange(len(scores.label)), scores.label]
        mean = np.bincount(patient, weights * right)
        return float(-np.log(np.maximum(mean, _TINY)).mean())

    free = len(classes) if method == "logistic" else 1
    ends = [tuple(np.log(SLOPES)), *[INTERCEPTS] * (free - 1)]
    values = _minimum(loss, ends)
    at_bound = any(min(value - low, high - value) < 1e-3 for value, (low, high) in zip(values, ends, strict=True))
    slope, intercepts = _parameters(values, len(classes))
    names = frozenset(str(name) for name in scores.patient)
    losses = loss(np.zeros(free)), loss(values)
    return Recalibration(method, slope, tuple(intercepts.tolist()), *losses, at_bound, counts, names)


def _minimum(loss: Any, ends: list[tuple[float, float]]) -> Floats:
    """The best of several starts: means over views are not convex in the slope."""
    starts = [np.array([start, *[0.0] * (len(ends) - 1)]) for start in (0.0, -1.5, 1.5)]
    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500}
    found = [optimize.minimize(loss, start, method="L-BFGS-B", bounds=ends, options=options) for start in starts]
    best = min(found, key=lambda one: float(one.fun))
    polished = optimize.minimize(
        loss, best.x, method="Nelder-Mead", bounds=ends, options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 2000}
    )
    return np.asarray((polished if polished.fun <= best.fun else best).x, np.float64)


def _parameters(values: Floats, classes: int) -> tuple[float, Floats]:
    """Slope, and intercepts of all classes, of the first 0."""
    intercepts = np.zeros(classes)
    intercepts[1 : len(values)] = values[1:]
    return float(np.exp(values[0])), intercepts


def _weights(scores: Scores, patient: NDArray[np.int64]) -> Floats:
    """Share of each lesion in the mean of its patient: images weigh the same, and lesions within an image."""
    first, image = by_appearance(scores.case)
    images = np.bincount(patient[first])
    return np.asarray(1 / np.bincount(image)[image] / images[patient], np.float64)
