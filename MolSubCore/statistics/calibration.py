"""Calibration: a temperature fitted on validation, and how far probabilities are from observed frequencies."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from sklearn.metrics import log_loss

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.intervals import wilson
from MolSubCore.statistics.scores import Predictions, Scores
from MolSubCore.statistics.validation import Validation, refuse_fitted

Floats = NDArray[np.float64]
Binning = Literal["width", "count"]

#: Patients that a bin of a reliability figure should hold.
_PER_BIN = 15

#: Range of the search. Logits that separate the classes perfectly would give 0, useless ones infinity.
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Temperature:
    """A temperature that divides logits (Guo 2017).

    Attributes
    ----------
    value : float
    loss_before, loss_after : float
        Negative log likelihood per patient on validation.
    at_bound : bool
        The best one lies at an end of `TEMPERATURES`: the validation set does not determine it.
    patients : frozenset of str
        Salted ids of the patients it was fitted on.
    """

    value: float
    loss_before: float
    loss_after: float
    at_bound: bool
    patients: frozenset[str] = field(repr=False)

    def apply(self, predictions: Predictions) -> Predictions:
        """The predictions calibrated; MolSubError where it was fitted on one of the patients."""
        refuse_fitted(self.patients, predictions.study_id, "temperature")
        return replace(predictions, logits=predictions.logits / self.value)


def fit_temperature(validation: Validation) -> Temperature:
    """The temperature with the smallest negative log likelihood over all folds together.

    Every patient weighs the same, however many lesions and views. The likelihood is convex in 1 / temperature,
    so the bounded search finds its one minimum. One fold's own temperature: ``Validation((fold,))``.
    """
    logits = np.concatenate([fold.logits for fold in validation.folds])
    label = np.concatenate([fold.label for fold in validation.folds])
    patient = np.concatenate([fold.study_id for fold in validation.folds])
    _, group, counts = np.unique(patient, return_inverse=True, return_counts=True)
    weights = 1 / counts[group] / len(counts)

    def loss(log_temperature: float) -> float:
        likelihood = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-(weights * likelihood[np.arange(len(label)), label]).sum())

    ends = np.log(TEMPERATURES)
    found = optimize.minimize_scalar(loss, bounds=tuple(ends), method="bounded", options={"xatol": 1e-8})
    best = min((float(found.x), 0.0, *map(float, ends)), key=loss)
    at_bound = bool(np.abs(best - ends).min() < 1e-3)
    return Temperature(float(np.exp(best)), loss(0.0), loss(best), at_bound, validation.patients)


@dataclass(frozen=True)
class ReliabilityBin:
    """Patients of one bin: mean predicted probability and observed frequency, with Wilson's 95 % CI.

    The bin holds probabilities above `start` up to and including `end`; the first one also 0.
    """

    start: float
    end: float
    patients: int
    predicted: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """How well probabilities per patient are calibrated.

    Attributes
    ----------
    patients : int
    brier : float
        One class: mean squared error of its probability (0 to 1). All classes: the sum over classes (0 to 2).
    log_loss : float
        Mean negative log likelihood; a probability of 0 counts as the smallest step above it.
    ece : float
        Expected calibration error: the mean over patients of their bin's |predicted - observed|.
    of : str
        A class, or ``likeliest class`` (its probability, and whether it is right).
    binning : str
        ``10 bins of equal width`` and the like.
    bins : tuple of ReliabilityBin
        Without the empty ones: the points of a reliability figure.
    """

    patients: int
    brier: float
    log_loss: float
    ece: float
    of: str
    binning: str
    bins: tuple[ReliabilityBin, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return {**asdict(self), "bins": [asdict(point) for point in self.bins]}


def bin_count(patients: int) -> int:
    """Bins of a reliability figure: 2 to 10, of some 15 patients or more."""
    return min(max(patients // _PER_BIN, 2), 10)


def calibration(
    scores: Scores, classes: tuple[str, ...], positive: str | None, *, bins: int = 10, binning: Binning = "width"
) -> Calibration:
    """Brier score, log loss, expected calibration error and reliability over patients.

    Parameters
    ----------
    scores : Scores
        Of lesions, images or patients.
    classes : tuple of str
    positive : str or None
        Class that is assessed against all others; None: all classes.
    bins : int
    binning : {"width", "count"}
        Bins of equal width, or with equal numbers of patients (as far as ties allow).
    """
    if bins < 1:
        raise MolSubError("bins", f"is {bins}, expected 1 or more", "Choose a larger number")
    if len(scores.label) == 0:
        raise MolSubError("calibration", "has no patients", "Give the scores of a test set")
    part = scores.per_patient()
    probabilities, label = part.probabilities, part.label
    if positive is not None:
        index = classes.index(positive)
        share = np.clip(probabilities[:, index], 0, 1)
        probabilities, label = np.stack([1 - share, share], axis=1), (label == index).astype(np.int64)
    chosen, happened = (
        (probabilities[:, 1], label == 1)
        if positive is not None
        else (probabilities.max(axis=1), probabilities.argmax(axis=1) == label)
    )
    points = reliability(chosen, happened, bins=bins, binning=binning)
    gaps = sum(point.patients * abs(point.predicted - point.observed) for point in points)
    return Calibration(
        patients=len(label),
        brier=brier(probabilities, label) / (1 if positive is None else 2),
        log_loss=float(log_loss(label, probabilities, labels=np.arange(probabilities.shape[1]))),
        ece=gaps / len(label),
        of=positive or "likeliest class",
        binning=f"{bins} bins of equal {binning}",
        bins=points,
    )


def brier(probabilities: Floats, label: NDArray[np.int64]) -> float:
    """Brier's score (1950): squared errors summed over the classes, 0 to 2; twice the usual one of two classes."""
    happened = np.eye(probabilities.shape[1])[label]
    return float(((probabilities - happened) ** 2).sum(axis=1).mean())


def reliability(
    predicted: Floats, happened: NDArray[np.bool_], *, bins: int = 10, binning: Binning = "width"
) -> tuple[ReliabilityBin, ...]:
    """The points of a reliability figure, binned as scikit-learn's ``calibration_curve`` does."""
    edges = np.linspace(0, 1, bins + 1)
    if binning == "count":
        edges = np.quantile(predicted, edges)
    place = np.searchsorted(edges[1:-1], predicted)
    points = []
    for number in np.unique(place):
        inside = place == number
        share, count = float(happened[inside].mean()), int(inside.sum())
        mean = float(predicted[inside].mean())
        ends = float(edges[number]), float(edges[number + 1])
        points.append(ReliabilityBin(*ends, count, mean, share, *wilson(share, count)))
    return tuple(points)
