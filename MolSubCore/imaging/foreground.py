"""Which grey values of a mammogram belong to the breast, estimated from a subsample."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from MolSubCore.imaging.mammogram import Mammogram

_SAMPLES = 1 << 18
_BINS = 256


def sample_values(mammogram: Mammogram) -> NDArray[np.float32]:
    """Rescaled values of a regular subsample, bright = dense, without padding: float32, (n,).

    At most about 262,144 values, on a square grid from the first pixel on. Empty where every
    sampled pixel is padding.
    """
    stored = mammogram.stored
    step = max(1, math.isqrt(max(1, stored.size // _SAMPLES)))
    sampled = stored[::step, ::step].ravel()
    if mammogram.outside is not None:
        sampled = sampled[~mammogram.outside[::step, ::step].ravel()]
    return mammogram.orient(mammogram.rescale(sampled))


def _histogram(values: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64], int] | None:
    """Counts, edges and highest bin, less the outermost 0.05 % on each side; None where all values agree."""
    if values.size == 0:
        return None
    low, high = (float(v) for v in np.percentile(values, (0.05, 99.95)))
    if high <= low:
        return None
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    return counts, edges, int(counts.argmax())


def foreground_values(sampled: NDArray[np.float32]) -> NDArray[np.float32]:
    """The part of sampled values (bright = dense) that lies above the dark background.

    The background of a mammogram is one narrow peak at the dark end of the histogram. Where there
    is none, as in a crop of the breast, everything is foreground.
    """
    if (histogram := _histogram(sampled)) is None:
        return sampled
    counts, edges, peak = histogram
    below = np.flatnonzero(counts[peak:] < 0.05 * counts[peak])
    if peak > 0.4 * _BINS or below.size == 0 or below[0] > 0.15 * _BINS:
        return sampled
    above = sampled[sampled >= edges[peak + below[0]]]
    share = above.size / sampled.size
    return above if 0.01 < share < 0.97 else sampled


def bright_background(mammogram: Mammogram) -> bool:
    """Whether the picture, turned to bright = dense, has the background of a negative.

    That is: at least a fifth of the corners and borders share (nearly) one value, and that value is
    brighter than nearly everything else.
    """
    values = sample_values(mammogram)
    if (histogram := _histogram(values)) is None:
        return False
    _, edges, peak = histogram
    near = (values >= edges[max(0, peak - 2)]) & (values <= edges[min(_BINS, peak + 3)])
    rest = values[~near]
    return bool(near.mean() > 0.2 and rest.size and np.mean(rest < edges[peak]) > 0.95)
