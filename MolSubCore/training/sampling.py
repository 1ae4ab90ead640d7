"""Which patches an epoch shows, and in what order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    small = present[counts[present] < counts[present].mean()]
    pool = np.flatnonzero(np.isin(labels, small))
    extra = round((rate - 1.0) * len(labels)) if len(pool) else 0
    indices = np.arange(len(labels))
    if extra:
        indices = np.concatenate([indices, rng.choice(pool, extra, replace=True)])
    return rng.permutation(indices)
