"""Metrics of a classification, for many weightings of the same units at once.

Weights are how often each unit is counted: all ones for the estimate itself, multiplicities of a
bootstrap for its interval. What is undefined (0/0, one class only) is NaN, never 0; in a macro mean alone a class
that is never predicted counts with a PPV of 0, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Metrics of one class that are a share of units.
RATIOS = ("sensitivity", "specificity", "ppv", "npv")


def auc(scores: Floats, positive: Mask, weights: Floats, fold: NDArray[np.int64] | None = None) -> Floats:
    """Area under the ROC curve, ties counting half (Mann-Whitney), for each row of weights.

    Parameters
    ----------
    scores : ndarray, shape (N,)
    positive : ndarray of bool, shape (N,)
    weights : ndarray, shape (R, N)
    fold : ndarray of int, shape (N,), optional
        Only pairs within a fold are compared: the mean of the folds' areas, weighted by their pairs. Pairs across folds
        would compare the scales of two models (Forman and Scholz 2010; Airola et al. 2011).

    Returns
    -------
    ndarray, shape (R,)
        NaN where a row gives no weight to one of the classes, or no fold has both.
    """
    parts = [np.ones(len(scores), bool)] if fold is None else [fold == number for number in np.unique(fold)]
    counts = [_won(scores[part], positive[part], weights[:, part]) for part in parts]
    won, pairs = (np.sum(column, axis=0) for column in zip(*counts, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(won / pairs, np.float64)


def _won(scores: Floats, positive: Mask, weights: Floats) -> tuple[Floats, Floats]:
    """Pairs of a positive and a negative unit in which the positive one has the higher score, and all pairs."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) != 0]))
    ordered = weights[:, order]
    gains = np.add.reduceat(ordered * positive[order], starts, axis=1)
    losses = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    below = np.cumsum(losses, axis=1) - losses / 2
    return (gains * below).sum(axis=1), gains.sum(axis=1) * losses.sum(axis=1)


@dataclass(frozen=True, eq=False)
class Ratio:
    """A metric that is a share: units counted, among units."""

    counted: Mask
    among: Mask

    def value(self, weights: Floats) -> Floats:
        """The share for each row of weights, shape (R,)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ self.counted) / (weights @ self.among)


def ratios(labels: NDArray[np.int64], predicted: NDArray[np.int64], index: int) -> dict[str, Ratio]:
    """Sensitivity, specificity, PPV and NPV of one class against all others."""
    actual, called = labels == index, predicted == index
    return {
        "sensitivity": Ratio(actual & called, actual),
        "specificity": Ratio(~actual & ~called, ~actual),
        "ppv": Ratio(actual & called, called),
        "npv": Ratio(~actual & ~called, ~called),
    }


def all_ratios(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str], positive: str | None
) -> dict[str, Ratio]:
    """Every share that is reported, by name; for more than two classes ``sensitivity: TN`` and so on."""
    everyone = np.ones(len(labels), bool)
    found = {"accuracy": Ratio(labels == predicted, everyone)}
    if positive is not None:
        return found | ratios(labels, predicted, list(classes).index(positive))
    for index, name in enumerate(classes):
        found |= {f"{metric}: {name}": ratio for metric, ratio in ratios(labels, predicted, index).items()}
    return found


def compute(
    probabilities: Floats,
    labels: NDArray[np.int64],
    weights: Floats,
    classes: Sequence[str],
    positive: str | None,
    fold: NDArray[np.int64] | None = None,
) -> dict[str, Floats]:
    """All metrics for each row of weights.

    Parameters
    ----------
    probabilities : ndarray, shape (N, classes)
    labels : ndarray of int, shape (N,)
    weights : ndarray, shape (R, N)
    classes : sequence of str
    positive : str or None
        The positive class of a binary task. A unit is called positive when its probability is the
        larger one (threshold 0.5; a tie goes to the class listed first).
    fold : ndarray of int, shape (N,), optional
        See `auc`.

    Returns
    -------
    dict of str to ndarray, shape (R,)
        ``auc, accuracy, sensitivity, specificity, ppv, npv``; for more classes ``macro auc``, ``accuracy``,
        ``macro sensitivity`` and so on, then ``auc: <class>`` and so on. Every macro mean is over `classes_present`.
    """
    predicted = probabilities.argmax(axis=1)
    shares = {name: ratio.value(weights) for name, ratio in all_ratios(labels, predicted, classes, positive).items()}
    if positive is not None:
        index = list(classes).index(positive)
        return {"auc": auc(probabilities[:, index], labels == index, weights, fold), **shares}
    per_class = {f"auc: {name}": auc(probabilities[:, n], labels == n, weights, fold) for n, name in enumerate(classes)}
    everything = {**per_class, **shares}
    present = [classes[n] for n in classes_present(labels)] or list(classes)
    macro = {f"macro {metric}": _macro(everything, metric, present) for metric in ("auc", *RATIOS)}
    return {"macro auc": macro.pop("macro auc"), "accuracy": everything.pop("accuracy"), **macro, **everything}


def classes_present(labels: NDArray[np.int64]) -> list[int]:
    """The classes that macro means are over: those with a unit. One that is absent can be neither found nor missed."""
    return [int(index) for index in np.unique(labels)]


#: Shares that are 0/0 where a class is never called, or always: a fault of the model wherever these others are defined.
_NEVER_CALLED = {"ppv": "sensitivity", "npv": "specificity"}


def _macro(everything: dict[str, Floats], metric: str, classes: Sequence[str]) -> Floats:
    """Mean over classes; NaN where it is undefined in one of them for want of units."""
    table = np.array([everything[f"{metric}: {name}"] for name in classes])
    if other := _NEVER_CALLED.get(metric):
        units = np.isfinite([everything[f"{other}: {name}"] for name in classes])
        table = np.where(np.isnan(table) & units, 0.0, table)
    return np.asarray(table.mean(axis=0), np.float64)


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], count: int) -> list[list[int]]:
    """Counts: rows are the true class, columns the predicted one."""
    table = np.bincount(labels * count + predicted, minlength=count * count)
    result: list[list[int]] = table.reshape(count, count).tolist()
    return result


def metric_title(name: str) -> str:
    """A metric's name for people: ``macro auc`` becomes ``macro AUC``."""
    return name.replace("auc", "AUC").replace("ppv", "PPV").replace("npv", "NPV")


def over_classes(metric: Mapping[str, Any]) -> str:
    """Over how many classes a macro mean of an evaluation is, where it lacks one: `` over 4 of 5 classes``."""
    return f" over {metric['classes']} classes" if metric.get("classes") and metric["value"] is not None else ""
