"""Connected pieces of a mask, with NumPy alone: 3D Slicer asks after every stroke, and loading SciPy would halt it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def find_pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pieces of a mask, pixels with a common edge or corner being connected.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)

    Returns
    -------
    boxes : ndarray, shape (pieces, 4)
        First row, row after the last, first column, column after the last; in the order of their first pixels.
    areas : ndarray, shape (pieces,)
        Pixels.
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    stops = np.nonzero(steps == -1)[1]
    group = np.array(joined(len(rows), _touching(rows, starts, stops)), np.int64)
    count = int(group.max(initial=-1)) + 1
    boxes = np.empty((count, 4), np.int64)
    boxes[:, ::2] = np.iinfo(np.int64).max
    boxes[:, 1::2] = -1
    for column, (combine, values) in enumerate(
        ((np.minimum, rows), (np.maximum, rows + 1), (np.minimum, starts), (np.maximum, stops))
    ):
        combine.at(boxes[:, column], group, values)
    return boxes, np.bincount(group, weights=stops - starts, minlength=count).astype(np.int64)


def joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The group of each of `count` things, of which pairs belong together; numbered by their first members."""
    parent = list(range(count))

    def root(member: int) -> int:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for first, second in pairs:
        one, two = sorted((root(first), root(second)))
        parent[two] = one
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(member), len(numbers)) for member in range(count)]


def _touching(
    rows: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> Iterable[tuple[int, int]]:
    """Pairs of runs of pixels in successive rows that touch, at a corner too."""
    # Runs lie in order, so along one line of numbers the runs above that a run touches are a range.
    width = int(stops.max(initial=0)) + 2
    first = np.searchsorted(rows * width + stops, (rows - 1) * width + starts, side="left")
    last = np.searchsorted(rows * width + starts, (rows - 1) * width + stops, side="right")
    for run, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for other in range(low, high):
            yield other, run
