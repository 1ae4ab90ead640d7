"""Pixels that a damaged or half-copied file holds in place of the picture's: one value, from one pixel to another.

A lost block of a file is no rectangle of the picture. It begins and ends within rows, where the rows above and below
show something: so does nothing that a detector, a collimator or an editor makes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Pixels of a block at least (a disk's sectors have 512 bytes), and of the picture above or below either end of it.
_LEAST, _BESIDE = 128, 64


def lost_block(stored: NDArray[Any]) -> tuple[int, int, int] | None:
    """Find the first block of zeros, or of the largest value, that cuts off the rows beside it.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)

    Returns
    -------
    (row, column, count) or None
        Where the block begins, and its pixels.
    """
    rows, columns = stored.shape
    if columns < _LEAST or rows < 3:
        return None
    flat = stored.ravel()
    for value in dict.fromkeys((0, flat.max())):
        same = flat == value
        edges = np.flatnonzero(same[1:] != same[:-1]) + 1
        starts = np.concatenate([[0], edges]) if same[0] else edges
        ends = np.concatenate([edges, [len(flat)]])
        if same[0]:
            starts, ends = starts[::2], ends[::2]
        else:
            ends = ends[1::2] if len(edges) else edges
            starts = starts[::2]
        long = ends - starts >= _LEAST
        for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
            if _cuts(same, start, end, columns):
                return start // columns, start % columns, end - start
    return None


def _cuts(same: NDArray[np.bool_], start: int, end: int, columns: int) -> bool:
    """Whether a run of one value begins or ends where the rows beside it show something else.

    A run within the width of a row must do so on both sides, or it is the edge of a dark or bright area.
    """
    within = end - start < columns
    first, last = start % columns, end % columns
    right, left = start + _BESIDE, end - _BESIDE
    cut_at_start = 0 < first <= columns - _BESIDE and _differs(same, start - columns, right - columns)
    if cut_at_start and within:
        cut_at_start = _differs(same, start + columns, right + columns)
    cut_at_end = last >= _BESIDE and _differs(same, left + columns, end + columns)
    if cut_at_end and within:
        cut_at_end = _differs(same, left - columns, end - columns)
    return cut_at_start or cut_at_end


def _differs(same: NDArray[np.bool_], start: int, end: int) -> bool:
    return start >= 0 and end <= len(same) and not same[start:end].any()
