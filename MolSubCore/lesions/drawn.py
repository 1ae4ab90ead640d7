"""Whether the outline of a lesion is drawn in the picture itself: a network would learn the line, not the lesion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from MolSubCore.lesions.lesion import Lesion

#: Pixels beside a lesion's edge within which a line along it lies, and those between which it does not.
_LINE, _NEAR, _FAR = 2, 5, 10
#: Share of the edge along which the line is seen at least, and of the pixels off it that have its value at most.
_ALONG, _OFF = 0.7, 0.05
#: Share of the values around by which pixels of the line differ at most (a compression with loss blurs it), and by
#: which its value lies outside nearly all others.
_SAME, _OUTSIDE = 0.02, 0.02
#: Pixels of an edge that is too short to say.
_LEAST = 24


def is_drawn(lesion: Lesion, stored: NDArray[Any]) -> bool:
    """Whether a line of one value, white or black, goes along most of a lesion's edge.

    Parameters
    ----------
    lesion : Lesion
        Of one that is a box the edge is the box's.
    stored : ndarray, shape (rows, columns)
        The picture's values.
    """
    seen = _along_edge(lesion, stored)
    return seen is not None and seen[0] >= _ALONG and seen[1] <= _OFF


def _along_edge(lesion: Lesion, stored: NDArray[Any]) -> tuple[float, float] | None:
    """Shares of the edge, and of the pixels off it, that have the value of a line along it; None where there is none.

    The value is the most frequent one near the edge.
    """
    from scipy import ndimage

    box = lesion.box
    rows = slice(max(box.row_start - _FAR, 0), min(box.row_stop + _FAR, stored.shape[0]))
    cols = slice(max(box.col_start - _FAR, 0), min(box.col_stop + _FAR, stored.shape[1]))
    values = stored[rows, cols].astype(np.float64)
    inside = np.zeros(values.shape, bool)
    own = inside[box.row_start - rows.start : box.row_stop - rows.start,
                 box.col_start - cols.start : box.col_stop - cols.start]  # fmt: skip
    own |= True if lesion.mask is None else lesion.mask
    edge = inside & ~ndimage.binary_erosion(inside, border_value=1)
    if np.count_nonzero(edge) < _LEAST:
        return None
    away = ndimage.distance_transform_edt(~edge)
    off = (away >= _NEAR) & (away <= _FAR)
    levels, counts = np.unique(values[away <= _LINE], return_counts=True)
    value = float(levels[counts.argmax()])
    if not off.any():
        return None
    low, high = (float(found) for found in np.percentile(values[off], (5, 95)))
    span = high - low
    if not (value > high + _OUTSIDE * span or value < low - _OUTSIDE * span):
        return None
    line = np.abs(values - value) <= _SAME * span
    near = ndimage.maximum_filter(line, size=2 * _LINE + 1)
    return float(near[edge].mean()), float(line[off].mean())
