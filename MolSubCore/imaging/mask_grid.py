"""The geometry that a mask's volume tells, against that of its image: mirrored, turned or other grids.

A mammogram has no place in the patient, and most headers say nothing: rows downwards, columns to the right (the
identity in LPS), or the defaults of a library. A header that says otherwise is believed where it fits: converters that
turn rows over for NIfTI (dcm2niix, reorientation to RAS+) write the turned axes, and an origin at the other end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import LesionError
from MolSubCore.imaging.mammogram import Grid, Mammogram
from MolSubCore.imaging.placement import mask_tissue_share

Layers = list[NDArray[np.integer]]

#: Another spacing than the image's is told from this ratio on: magnification factors of contact views stay below.
_SPACING_RATIO = 1.15
#: Shares of the lesion on the breast that decide which way round a mask lies.
_ON, _OFF = 0.75, 0.25


def match_grid(
    path: Path, layers: Sequence[NDArray[np.integer]], grid: Grid, mammogram: Mammogram, *, cropped: bool = False
) -> tuple[Layers, list[str]]:
    """Layers (rows, columns) of a mask as they lie on the image, and what was done or is in doubt.

    Parameters
    ----------
    grid : Grid
        That the mask's header tells.
    cropped : bool
        Whether the layers were put back into a larger grid, so that the origin is not theirs.

    Raises
    ------
    LesionError
        If the header contradicts the image's, and which way round the mask lies cannot be known.
    """
    layers = list(layers)
    notes = _spacing_notes(grid, mammogram)
    if any(layer.shape != mammogram.shape for layer in layers):
        return layers, notes  # refused as another grid
    own = Grid() if mammogram.grid is None else mammogram.grid
    axes = np.array([own.column_axis, own.row_axis]) @ np.array([grid.column_axis, grid.row_axis]).T
    if not np.allclose(np.abs(axes), np.eye(2), atol=0.02):
        found = "The mask's header gives other axes than those of its image (oblique or exchanged)"
        return layers, [*notes, f"{found}: matched pixel by pixel. Check the outline on the picture."]
    turned = (bool(axes[1, 1] < 0), bool(axes[0, 0] < 0))  # rows, columns
    start = _first_pixel(grid, own, mammogram)
    if turned == (False, False):
        if not cropped and any(grid.origin) and np.abs(start).max() > 1:
            place = f"its first pixel at row {start[0]:.0f}, column {start[1]:.0f}"
            found = f"The mask's header gives another place than that of its image ({place}): matched pixel by pixel."
            notes.append(f"{found} Check the outline on the picture.")
        return layers, notes
    flipped = [layer[:: -1 if turned[0] else 1, :: -1 if turned[1] else 1] for layer in layers]
    what = " and ".join(name for name, is_turned in zip(("rows", "columns"), turned, strict=True) if is_turned)
    ends = np.array([mammogram.shape[0] - 1 if turned[0] else 0, mammogram.shape[1] - 1 if turned[1] else 0])
    if not cropped and np.abs(start - ends).max() <= 1:
        found = f"The mask's {what} run the other way than the image's, by its header's direction and origin: turned."
        return flipped, [*notes, found]
    if not any(grid.origin) and _is_default(grid, spacing_too=mammogram.grid is not None):
        if mammogram.grid is None:
            return layers, notes
        found = "The mask's header has a library's defaults, its image's has axes: matched pixel by pixel as stored."
        return layers, [*notes, f"{found} Check the outline on the picture."]
    stored, other = (
        mask_tissue_share(np.logical_or.reduce([layer != 0 for layer in each]), mammogram) for each in (layers, flipped)
    )
    if stored is not None and other is not None:
        told = f"The mask's {what} run the other way than the image's by its header's direction"
        if stored < _OFF and other > _ON:
            return flipped, [*notes, f"{told}: turned, since as stored it would lie in the air beside the breast."]
        if stored > _ON and other < _OFF:
            return layers, [*notes, f"{told}, but turned it would lie in the air beside the breast: matched as stored."]
    raise LesionError(
        path,
        f"says in its header that its {what} run the other way than the image's (mirrored by a converter?), and its "
        "origin does not tell which way round it lies on the image",
        "Save it again from the program it was drawn in, beside the image it was drawn on; or set its direction to the "
        "image's if it was drawn on these very rows and columns",
    )


def _is_default(grid: Grid, *, spacing_too: bool) -> bool:
    """Whether axes (and spacing) are those that libraries write where nobody told them any: they tell nothing."""
    plane = np.array([grid.column_axis, grid.row_axis])[:, :2]
    axes = np.allclose(plane, np.eye(2)) or np.allclose(plane, -np.eye(2))  # of SimpleITK, and of nibabel
    return axes and not (spacing_too and (grid.row_mm, grid.col_mm) != (1.0, 1.0))


def _first_pixel(grid: Grid, own: Grid, mammogram: Mammogram) -> NDArray[np.float64]:
    """Row and column of the image at which the mask's first pixel lies, by the headers."""
    offset = np.array(grid.origin) - np.array(own.origin)
    spacing = mammogram.spacing if mammogram.grid is None else mammogram.grid
    # A mask of 1 mm pixels is one without spacing; a picture without spacing has the mask's.
    row_mm = grid.row_mm if grid.row_mm != 1.0 or spacing.row_mm is None else 1.0
    col_mm = grid.col_mm if grid.col_mm != 1.0 or spacing.col_mm is None else 1.0
    return np.array([offset @ np.array(own.row_axis) / row_mm, offset @ np.array(own.column_axis) / col_mm])


def _spacing_notes(grid: Grid, mammogram: Mammogram) -> list[str]:
    """Where the mask's pixels are of another size than the image's."""
    own = mammogram.spacing
    if own.row_mm is None or own.col_mm is None or (grid.row_mm, grid.col_mm) == (1.0, 1.0):
        return []
    ratios = (grid.row_mm / own.row_mm, grid.col_mm / own.col_mm)
    if all(1 / _SPACING_RATIO <= ratio <= _SPACING_RATIO for ratio in ratios):
        return []
    return [
        f"The mask's pixel spacing is {grid.row_mm:.4g} x {grid.col_mm:.4g} mm, the image's {own.row_mm:.4g} x "
        f"{own.col_mm:.4g} mm: is it the outline of another image?"
    ]
