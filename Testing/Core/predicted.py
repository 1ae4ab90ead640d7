"""Predictions and scores for tests, from plain lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MolSubCore.statistics.scores import Predictions, Scores

BINARY = ("non-TN", "TN")


def make_predictions(
    logits: np.ndarray, label: np.ndarray, patient: Sequence[str], classes: tuple[str, ...] = BINARY
) -> Predictions:
    """One image per row."""
    blank = np.full(len(label), "", dtype=str)
    names, numbers = np.array(patient, dtype=str), np.arange(len(label))
    return Predictions(names, numbers, blank, blank, blank, np.asarray(label, np.int64), np.array(logits), classes)


def binary_predictions(probability: Sequence[float], label: Sequence[int], patient: Sequence[str]) -> Predictions:
    """From the probability of the positive class."""
    share = np.array(probability, float)
    return make_predictions(np.log(np.stack([1 - share, share], axis=1)), np.array(label), patient)


def binary_scores(probability: Sequence[float], label: Sequence[int], first: int = 0) -> Scores:
    """One patient per row, numbered from `first` on."""
    share = np.array(probability, float)
    patients = np.array([f"P{first + n:06d}" for n in range(len(share))])
    return Scores(np.stack([1 - share, share], axis=1), np.array(label, np.int64), patients, np.arange(len(share)))
