"""A mammogram for other programs: its canonical pixels in the smallest exact type, and a window for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.imaging.display import PERCENTILES, DisplayStep, breast_range, display_step, turned
from MolSubCore.imaging.mammogram import Mammogram

_TYPES = (np.uint8, np.int16, np.uint16)
_PERCENTILE = "percentile-3"
_BREAST = PERCENTILES[_PERCENTILE]
#: Outputs of a table at which a straight line is laid through it.
_LINE = (0.1, 0.9)


@dataclass(frozen=True)
class Window:
    """A straight line from black to white over canonical values.

    Attributes
    ----------
    center, width : float
        Black at ``center - width / 2``, white at ``center + width / 2``; the width is positive.
    source : str
        The display step it stands for: ``window:0``, ``voi-lut:0``, ``percentile``, ...
    note : str
        How, in a sentence.
    """

    center: float
    width: float
    source: str
    note: str


def canonical_array(mammogram: Mammogram) -> NDArray[Any]:
    """`Mammogram.pixels` in the smallest of uint8, int16, uint16 and float32 that holds each value exactly.

    Returns
    -------
    ndarray, shape (rows, columns)
        Bright = dense. Nothing of it is kept in the mammogram.
    """
    stored = mammogram.stored
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:  # as many values as codes: through a table
        low, high = int(stored.min()), int(stored.max())
        codes = np.arange(low, high + 1).astype(stored.dtype)
        table = _smallest(mammogram.orient(mammogram.rescale(codes)))
        return table[stored if low == 0 else stored.astype(np.int32) - low]
    return _smallest(mammogram.orient(mammogram.rescale(stored)))


def _smallest(values: NDArray[np.float32]) -> NDArray[Any]:
    low, high = float(values.min()), float(values.max())
    for kind in _TYPES:
        bounds = np.iinfo(kind)
        if bounds.min <= low and high <= bounds.max:
            whole = values.astype(kind)
            return whole if np.array_equal(whole, values) else values
    return values


def canonical_window(mammogram: Mammogram) -> Window:
    """The display step that predictions use (`display_step`), as a window over canonical values.

    A sigmoid is replaced by its tangent in the middle, a table by the line through its outputs 0.1 and 0.9; the
    note says so. Where the file offers nothing of use it is two percentiles of the breast.
    """
    step = display_step(mammogram)
    ends, how = _ends(mammogram, step)
    if ends is None:
        step, ends = DisplayStep(_PERCENTILE), breast_range(mammogram, _PERCENTILE)
        how = f"{how}, so it is the breast's {_BREAST[0]:g} to {_BREAST[1]:g} percentile"
    ends = turned(mammogram, *ends)
    low, high = ends if ends[1] > ends[0] else (ends[0] - 0.5, ends[0] + 0.5)
    name = step.voi.explanation if step.voi is not None else ""
    named = f"{step.name} ({name})" if name else step.name
    note = f"Displayed from {low:g} to {high:g} (bright = dense), from {named}{how}."
    return Window((low + high) / 2, high - low, step.name, note)


def _ends(mammogram: Mammogram, step: DisplayStep) -> tuple[tuple[float, float] | None, str]:
    """Rescaled values, polarity as stored, of the two ends of the line; None where no rising line fits."""
    voi = step.voi
    if voi is None:
        return ((step.low, step.high) if step.high > step.low else None), ""
    if voi.kind == "lut":
        assert voi.lut is not None
        return _line_of_table(voi.lut, voi.first), ": a table, approximated by a line"
    if voi.kind == "linear":  # PS3.3 C.11.2.1.2: from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2
        half = max(voi.width - 1.0, 1e-3) / 2
        return (voi.center - 0.5 - half, voi.center - 0.5 + half), ""
    how = ": a sigmoid, approximated by a line" if voi.kind == "sigmoid" else ""
    return (voi.center - voi.width / 2, voi.center + voi.width / 2), how


def _line_of_table(table: NDArray[np.float32], first: float) -> tuple[float, float] | None:
    bottom, top = float(table.min()), float(table.max())
    if not table[-1] > table[0]:
        return None
    low, high = (bottom + part * (top - bottom) for part in _LINE)
    at_low, at_high = int((table >= low).argmax()), int((table >= high).argmax())
    if at_high <= at_low:
        return None
    slope = (float(table[at_high]) - float(table[at_low])) / (at_high - at_low)
    black = first + at_low - float(table[at_low]) / slope
    return black, black + 1.0 / slope
