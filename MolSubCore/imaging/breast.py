"""Where on a mammogram the breast is, and where the air beside it: coarse, and only where it can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from MolSubCore.imaging.foreground import bright_background, foreground_values, sample_values
from MolSubCore.imaging.mammogram import Mammogram

#: Cells of the coarse grid, about.
_CELLS = 1 << 16
#: Of the picture's cells: less air than this is no air, less breast than this is no breast.
_LEAST_AIR, _LEAST_BREAST = 0.03, 0.02
#: Outlines may reach so far beyond the skin, in shares of the picture's longer side (5 mm of 24 cm).
_SKIN = 0.02
#: A piece of tissue this large beside the largest one is breast, too (an axilla); a marker of lead is smaller.
_SECOND = 0.03
#: Brighter pieces in the air no larger than this share of the picture are its noise.
_NOISE = 3e-4
#: Of a region of air, this share lies farther than this from what is brighter, in shares of the longer side.
_WIDE, _WIDE_SHARE = 0.02, 0.5

_KNOWN: WeakKeyDictionary[Mammogram, BreastArea | None] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class BreastArea:
    """The breast on a coarse grid.

    Attributes
    ----------
    cells : ndarray of bool, shape (rows, columns)
        True on the breast and on a rim of 2 % of the picture's longer side around it, where the skin is thin.
    step : int
        Pixels of the mammogram along a cell's side; cell (i, j) begins at pixel (i * step, j * step).
    """

    cells: NDArray[np.bool_]
    step: int

    def at(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Whether each pixel of a rectangle of the mammogram lies on the breast."""
        row = np.arange(rows.start, rows.stop) // self.step
        column = np.arange(columns.start, columns.stop) // self.step
        return self.cells[row[:, None], column[None, :]]


def breast_area(mammogram: Mammogram) -> BreastArea | None:
    """The breast of a mammogram, or None where the picture shows no air beside it, as a crop does.

    Air is a region at the picture's edge of the grey values of the dark background (of the bright one of a negative).
    """
    if mammogram not in _KNOWN:
        _KNOWN[mammogram] = _find(mammogram)
    return _KNOWN[mammogram]


def _find(mammogram: Mammogram) -> BreastArea | None:
    from scipy import ndimage

    step = max(1, math.isqrt(max(1, mammogram.stored.size // _CELLS)))
    stored = mammogram.stored[::step, ::step]
    values = mammogram.orient(mammogram.rescale(stored))
    padded = np.zeros(stored.shape, bool) if mammogram.outside is None else mammogram.outside[::step, ::step]
    sampled = sample_values(mammogram)
    if bright_background(mammogram):
        values, sampled = -values, -sampled
    air = _air(padded | _dark(values, sampled))
    if air.mean() < _LEAST_AIR:  # the background of a film is noisy: is there one behind the noise?
        values = ndimage.uniform_filter(values, 5)
        air = _air(padded | _dark(values, values.ravel()))
    if air.mean() < _LEAST_AIR:
        return None
    numbered, count = ndimage.label(~air)
    if count == 0:
        return None
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    if sizes.max() < _LEAST_BREAST * air.size:
        return None
    breast = np.isin(numbered, 1 + np.flatnonzero(sizes >= _SECOND * sizes.max()))
    rim = max(1, math.ceil(_SKIN * max(air.shape)))
    return BreastArea(ndimage.distance_transform_edt(~breast) <= rim, step)


def _dark(values: NDArray[np.float32], sampled: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The cells that are as dark as the background; none where there is no background."""
    from scipy import ndimage

    above = foreground_values(sampled)
    if not 0 < above.size < sampled.size:
        return np.zeros(values.shape, bool)
    bright = ndimage.median_filter((values >= above.min()).astype(np.uint8), 3)
    numbered, count = ndimage.label(bright)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    return (bright == 0) | (sizes < _NOISE * bright.size)[numbered]


def _air(dark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The dark regions that reach the picture's edge, and are wide: dark fat is in the breast, between strands."""
    from scipy import ndimage

    numbered, count = ndimage.label(dark)
    if count == 0:
        return dark
    padded = np.pad(dark, 1, mode="edge")
    inner = ndimage.distance_transform_edt(padded)[1:-1, 1:-1] > _WIDE * max(dark.shape)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    wide = np.bincount(numbered.ravel(), weights=inner.ravel(), minlength=count + 1)
    edge = np.concatenate([numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]])
    kept = [n for n in np.unique(edge) if n and sizes[n] >= 0.01 * dark.size and wide[n] >= _WIDE_SHARE * sizes[n]]
    return np.isin(numbered, kept)
