"""Calibration: what makes of a model's probabilities the shares that are seen, and how far they are from them.

One map does it everywhere: the probability p of a patient (or breast), the mean over members, lesions and views,
becomes ``softmax(slope * log p + intercepts)``; of two classes that is Cox's logistic recalibration (1958). It acts on
the mean and never on single views, so that thresholds of the patient's probability move with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.intervals import LEVEL, Z, multiplicities, wilson
from MolSubCore.statistics.scores import Scores
from MolSubCore.statistics.validation import refuse_fitted

Floats = NDArray[np.float64]
Binning = Literal["width", "count"]
Method = Literal["logistic", "temperature"]
METHODS: tuple[Method, ...] = ("logistic", "temperature")

#: Patients of every class below which nothing is fitted.
LEAST = 20

#: Slopes and intercepts that are searched. Probabilities that part the classes perfectly want an infinite slope.
SLOPES, INTERCEPTS = (0.05, 20.0), (-10.0, 10.0)

#: Patients that a bin of a reliability figure should hold.
_PER_BIN = 15

#: Draws behind the interval of a calibration error, and behind its value where calibration is perfect.
_DRAWS = 500

#: A probability of 0 counts as this.
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class ClassShares:
    """Shares of the classes, in their order.

    Attributes
    ----------
    seen : tuple of float
        Among the patches that training saw, those drawn by oversampling included.
    own : tuple of float
        Among the patients of the training part.
    """

    seen: tuple[float, ...]
    own: tuple[float, ...]

    @property
    def shift(self) -> tuple[float, ...]:
        """Intercepts that put the cohort's own shares in the place of those seen (Saerens 2002); the first is 0."""
        pairs = zip(self.own, self.seen, strict=True)
        shift = [float(np.log(own / seen)) if own > 0 and seen > 0 else 0.0 for own, seen in pairs]
        return tuple(value - shift[0] for value in shift)

    def to_dict(self, classes: Sequence[str]) -> dict[str, dict[str, float]]:
        """By name of the class."""
        return {name: dict(zip(classes, getattr(self, name), strict=True)) for name in ("seen", "own")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], classes: Sequence[str]) -> ClassShares:
        """The shares of `to_dict`."""
        seen, own = (tuple(float(values[name][one]) for one in classes) for name in ("seen", "own"))
        return cls(seen, own)

    @classmethod
    def mean(cls, parts: Sequence[ClassShares]) -> ClassShares:
        """Of an ensemble: the mean over its members."""
        seen, own = (np.mean([getattr(part, name) for part in parts], axis=0).tolist() for name in ("seen", "own"))
        return cls(tuple(seen), tuple(own))


@dataclass(frozen=True, eq=False)
class CalibrationMap:
    """What turns the probabilities of patients into calibrated ones.

    Attributes
    ----------
    method : {"logistic", "temperature", "prior"}
        ``logistic``: slope and intercepts are fitted; ``temperature``: the slope alone, which is 1 / temperature;
        ``prior``: nothing is, and the intercepts are those of `ClassShares.shift`, or 0.
    slope : float
    intercepts : tuple of float
        One per class in the order of the logits; the first is 0.
    counts : dict of str to int
        Patients (or breasts) of each class that it was fitted on, or that were too few.
    shares : ClassShares or None
        None where they are not known.
    why : str
        Why nothing was fitted; else empty.
    slope_interval, intercept_intervals
        95 % CIs (Wald); None where nothing was fitted or a number lies at the end of its range.
    loss_before, loss_after : float
        Negative log likelihood per patient where it was fitted; 0 where nothing was.
    at_bound : bool
        A number lies at an end of its range: the patients do not determine it.
    patients : frozenset of str
        Salted ids of these patients.
    """

    method: Literal["logistic", "temperature", "prior"]
    slope: float
    intercepts: tuple[float, ...]
    counts: dict[str, int]
    shares: ClassShares | None = None
    why: str = ""
    slope_interval: tuple[float, float] | None = None
    intercept_intervals: tuple[tuple[float, float] | None, ...] = ()
    loss_before: float = 0.0
    loss_after: float = 0.0
    at_bound: bool = False
    patients: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def fitted(self) -> bool:
        """Whether anything was fitted on patients."""
        return self.method != "prior"

    def __call__(self, probabilities: Floats) -> Floats:
        """Calibrated probabilities of the means over each patient's members, lesions and views."""
        return mapped(probabilities, self.slope, self.intercepts)

    def apply(self, scores: Scores) -> Scores:
        """The scores calibrated; MolSubError where it was fitted on one of the patients."""
        refuse_fitted(self.patients, scores.patient, "calibration")
        return scores.calibrated(self)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy, without the patients' ids; read again by `from_dict`."""
        names = ("method", "slope", "why", "loss_before", "loss_after", "at_bound", "counts")
        found = {name: getattr(self, name) for name in names}
        shares = self.shares.to_dict(list(self.counts)) if self.shares else {"seen": None, "own": None}
        return {
            **found,
            **shares,
            "acts_on": "patient",
            "intercepts": list(self.intercepts),
            "slope_interval": list(self.slope_interval) if self.slope_interval else None,
            "intercept_intervals": [list(one) if one else None for one in self.intercept_intervals],
            "patients": sum(self.counts.values()),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], patients: frozenset[str] = frozenset()) -> CalibrationMap:
        """The map of `to_dict`; `patients` are those that it was fitted on."""
        shares = ClassShares.from_dict(values, list(values["counts"])) if values["seen"] else None
        names = ("method", "slope", "why", "loss_before", "loss_after", "at_bound", "counts")
        pair = values["slope_interval"]
        return cls(
            **{name: values[name] for name in names},
            intercepts=tuple(values["intercepts"]),
            shares=shares,
            slope_interval=(pair[0], pair[1]) if pair else None,
            intercept_intervals=tuple((one[0], one[1]) if one else None for one in values["intercept_intervals"]),
            patients=patients if values["method"] != "prior" else frozenset(),
        )


def mapped(probabilities: Floats, slope: float, intercepts: Sequence[float] | Floats) -> Floats:
    """``softmax(slope * log p + intercepts)`` of probabilities, shape (N, classes)."""
    logits = slope * np.log(np.clip(probabilities, _TINY, 1.0)) + np.asarray(intercepts, np.float64)
    return np.asarray(special.softmax(logits, axis=1), np.float64)


def too_few(counts: Mapping[str, int]) -> str:
    """That a class has too few patients to fit on, such as ``too few patients (12 TN, at least 20 needed)``."""
    few = [f"{count} {name}" for name, count in counts.items() if count < LEAST]
    return f"too few patients ({', '.join(few)}, at least {LEAST} needed)" if few else ""


def fit_calibration(
    scores: Scores,
    classes: tuple[str, ...],
    method: Method = "logistic",
    *,
    shares: ClassShares | None = None,
    why: str = "",
) -> CalibrationMap:
    """The map with the smallest negative log likelihood of patients; with too few, the known shift alone.

    Of two classes and ``logistic`` this is the logistic regression of what happened on the logit of the probability.

    Parameters
    ----------
    scores : Scores
        Not calibrated.
    classes : tuple of str
    method : {"logistic", "temperature"}
    shares : ClassShares, optional
        Of the training, where oversampling changed them.
    why : str
        A reason to fit nothing.

    Raises
    ------
    MolSubError
        If the method is unknown.
    """
    if method not in METHODS:
        raise MolSubError("calibration", f"is by '{method}'", f"Choose one of {', '.join(METHODS)}")
    part = scores.calibrated(None).per_patient()
    counts = {name: int((part.label == n).sum()) for n, name in enumerate(classes)}
    if why := why or too_few(counts):
        shift = shares.shift if shares else (0.0,) * len(classes)
        return CalibrationMap("prior", 1.0, shift, counts, shares, why)
    logs, count = np.log(np.maximum(part.probabilities, _TINY)), len(part.label)
    free = len(classes) if method == "logistic" else 1
    happened = np.eye(len(classes))[part.label]

    def loss(values: Floats) -> tuple[float, Floats]:
        right = special.log_softmax(_linear(values, logs), axis=1)
        excess = (np.exp(right) - happened) / count
        gradient = np.concatenate([[(excess * logs).sum()], excess.sum(axis=0)[1:free]])
        return float(-(right * happened).sum() / count), gradient

    ends = [SLOPES, *[INTERCEPTS] * (free - 1)]
    start = np.array([1.0, *[0.0] * (free - 1)])  # convex: any start finds the one minimum
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=ends, options=options).x
    at_bound = bool(np.isclose(np.array(ends).T, found, rtol=1e-6).any())
    intercepts = np.zeros(len(classes))
    intercepts[1:free] = found[1:]
    half = Z * np.sqrt(np.diag(np.linalg.pinv(_information(found, logs))))
    intervals = [None if at_bound else (float(v - h), float(v + h)) for v, h in zip(found, half, strict=True)]
    return CalibrationMap(
        method,
        float(found[0]),
        tuple(intercepts.tolist()),
        counts,
        shares,
        slope_interval=intervals[0],
        intercept_intervals=(None, *intervals[1:], *[None] * (len(classes) - free)),
        loss_before=loss(start)[0],
        loss_after=loss(found)[0],
        at_bound=at_bound,
        patients=frozenset(str(name) for name in part.patient),
    )


def _linear(values: Floats, logs: Floats) -> Floats:
    """Logits, shape (N, classes), of a slope and the intercepts of some classes after the first."""
    intercepts = np.zeros(logs.shape[1])
    intercepts[1 : len(values)] = values[1:]
    return values[0] * logs + intercepts


def _information(values: Floats, logs: Floats) -> Floats:
    """Fisher's information of slope and intercepts."""
    shares = special.softmax(_linear(values, logs), axis=1)
    count, classes = logs.shape
    columns = np.zeros((count, classes, len(values)))  # derivatives of the logits
    columns[:, :, 0] = logs
    for place in range(1, len(values)):
        columns[:, place, place] = 1.0
    mean = np.einsum("nc,ncp->np", shares, columns)
    return np.asarray(np.einsum("nc,ncp,ncq->pq", shares, columns, columns) - mean.T @ mean, np.float64)


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
        Calibration error: the mean over patients of their bin's |predicted - observed|. It is above 0 by chance alone.
    ece_low, ece_high : float or None
        Its 95 % CI: percentiles of a bootstrap over patients, less what resampling adds to it. None for one patient.
    ece_expected : float
        Its mean if the probabilities were right: classes drawn from them for the same patients and bins.
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
    ece_low: float | None
    ece_high: float | None
    ece_expected: float
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
    scores: Scores,
    classes: tuple[str, ...],
    positive: str | None,
    *,
    bins: int = 10,
    binning: Binning = "width",
    seed: int = 0,
) -> Calibration:
    """Brier score, log loss, calibration error and reliability over patients.

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
    seed : int
        Of the draws.
    """
    from sklearn.metrics import log_loss  # not needed, and not loaded, where a run's files are read

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
    error, low, high, expected = _calibration_error(part, chosen, happened, _bins(chosen, bins, binning)[0], seed)
    return Calibration(
        patients=len(label),
        brier=brier(probabilities, label) / (1 if positive is None else 2),
        log_loss=float(log_loss(label, probabilities, labels=np.arange(probabilities.shape[1]))),
        ece=error,
        ece_low=low,
        ece_high=high,
        ece_expected=expected,
        of=positive or "likeliest class",
        binning=f"{bins} bins of equal {binning}",
        bins=points,
    )


def _calibration_error(
    part: Scores, predicted: Floats, happened: NDArray[np.bool_], place: NDArray[np.int64], seed: int
) -> tuple[float, float | None, float | None, float]:
    """Calibration error in given bins, its interval, and its mean for right probabilities."""
    inside = np.eye(place.max() + 1)[place]
    gaps, count = predicted - happened, len(predicted)
    error = float(np.abs(gaps @ inside).sum() / count)
    drawn = np.random.default_rng(seed).random((_DRAWS, count)) < predicted
    expected = float(np.abs((predicted - drawn) @ inside).sum(axis=1).mean() / count)
    if count < 2:
        return error, None, None, expected
    # All classes as one: how many patients of each there are is left to chance, as in another sample.
    weights = multiplicities(part.patient, np.zeros_like(part.label), _DRAWS, seed)
    samples = np.abs((weights * gaps) @ inside).sum(axis=1) / weights.sum(axis=1)
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - (samples.mean() - error)
    ends = (float(max(low, 0.0)), float(min(high, 1.0))) if high > low else (None, None)
    return error, *ends, expected


def _bins(predicted: Floats, bins: int, binning: Binning) -> tuple[NDArray[np.int64], Floats]:
    """The bin of each probability, from 0, and the bins' edges."""
    edges = np.linspace(0, 1, bins + 1)
    if binning == "count":
        edges = np.quantile(predicted, edges)
    return np.searchsorted(edges[1:-1], predicted), edges


def brier(probabilities: Floats, label: NDArray[np.int64]) -> float:
    """Brier's score (1950): squared errors summed over the classes, 0 to 2; twice the usual one of two classes."""
    happened = np.eye(probabilities.shape[1])[label]
    return float(((probabilities - happened) ** 2).sum(axis=1).mean())


def reliability(
    predicted: Floats, happened: NDArray[np.bool_], *, bins: int = 10, binning: Binning = "width"
) -> tuple[ReliabilityBin, ...]:
    """The points of a reliability figure, binned as scikit-learn's ``calibration_curve`` does."""
    place, edges = _bins(predicted, bins, binning)
    points = []
    for number in np.unique(place):
        inside = place == number
        share, count = float(happened[inside].mean()), int(inside.sum())
        mean = float(predicted[inside].mean())
        ends = float(edges[number]), float(edges[number + 1])
        points.append(ReliabilityBin(*ends, count, mean, share, *wilson(share, count)))
    return tuple(points)
