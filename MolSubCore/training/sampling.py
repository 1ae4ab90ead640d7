"""Which patches an epoch holds: random oversampling, and the shares of the classes that training sees by it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MolSubCore.statistics.calibration import ClassShares
from MolSubCore.statistics.scores import Scores, by_appearance


def epoch_order(labels: NDArray[np.int64], rate: float, seed: int) -> NDArray[np.int64]:
    """Order of the patches in one epoch, with random oversampling (paper, section 2.2).

    Every patch comes once. In addition ``round((rate - 1) * N)`` patches are drawn with
    replacement, N being the number of patches in the training part: the rate multiplies the size
    of the whole training part, not of the small class. With two classes the draws come from
    the smaller one; with more, from all classes that have fewer patches than the mean class,
    each of their patches being equally likely. All are then shuffled. Draws are new in every epoch.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        Class index of every patch.
    rate : float
        At least 1; 1 means no oversampling.
    seed : int

    Returns
    -------
    ndarray of int, shape (N + extra,)
        Indices into `labels`. Without a class that is smaller than the others, extra is 0.
    """
    rng = np.random.default_rng(seed)
    small, extra = _drawn(np.bincount(labels), rate)
    pool = np.flatnonzero(small[labels])
    indices = np.arange(len(labels))
    if extra:
        indices = np.concatenate([indices, rng.choice(pool, extra, replace=True)])
    return rng.permutation(indices)


def _drawn(counts: NDArray[np.int64], rate: float) -> tuple[NDArray[np.bool_], int]:
    """From which classes patches are drawn in addition, and how many."""
    small = (counts > 0) & (counts < counts[counts > 0].mean())
    return small, round((rate - 1.0) * int(counts.sum())) if small.any() else 0


def class_shares(training: Scores, classes: int, rate: float) -> ClassShares:
    """Shares of the classes that training sees, in the mean over epochs, and those of its patients (or breasts).

    Parameters
    ----------
    training : Scores
        The lesions of the training part; their probabilities do not matter.
    classes : int
        Number of classes.
    rate : float
        Of `epoch_order`.
    """
    counts = np.bincount(training.label, minlength=classes)
    small, extra = _drawn(counts, rate)
    drawn = extra * counts * small / max(int(counts[small].sum()), 1)
    units = np.bincount(training.label[by_appearance(training.unit)[0]], minlength=classes)
    seen, own = (counts + drawn) / (counts.sum() + extra), units / units.sum()
    return ClassShares(tuple(seen.tolist()), tuple(own.tolist()))
