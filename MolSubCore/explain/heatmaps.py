"""Heatmaps as compressed NRRD files, on the grid of their region of interest or of the whole mammogram.

A region's file has the mammogram's pixels within the region and their position as its origin, so that a viewer shows
it in place. Outside the region a heatmap is zero, so the file of the whole grid adds no information.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from MolSubCore import DISCLAIMER
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.lesions.roi import RoiGeometry

Grid = Literal["region", "image"]

#: Higher levels of zlib take five times as long and save a few per cent.
_LEVEL = 1


def write_heatmap(
    path: Path,
    patch_map: NDArray[np.float32],
    geometry: RoiGeometry,
    spacing: Spacing,
    fields: Mapping[str, str],
    *,
    grid: Grid = "region",
) -> None:
    """Write a map over a patch as a float32 volume of one slice, on the image's pixels.

    Not atomic by itself: write into a folder that appears whole (`MolSubCore.files.atomic_folder`).

    Parameters
    ----------
    path : Path
        Ends in ``.nrrd``.
    patch_map : ndarray, shape (h, w)
        Of any resolution; bilinear onto the grid.
    geometry : RoiGeometry
        Where the patch lies.
    spacing : Spacing
        The image's; 1 mm where unknown, and the field ``spacing source`` says so.
    fields : mapping
        Further key/value pairs of the header.
    grid : {'region', 'image'}
        The part of the region that lies on the image, with its first pixel as the origin; or the whole image.
    """
    values, rows, columns = geometry.paste(patch_map)
    corner = (rows.start, columns.start)
    if grid == "image":
        whole = np.zeros(geometry.image_shape, np.float32)
        whole[rows, columns] = values
        values, corner = whole, (0, 0)
    shape = (values.shape[0], values.shape[1])
    data = gzip.compress(np.ascontiguousarray(values, "<f4").tobytes(), _LEVEL, mtime=0)
    path.write_bytes(_header(shape, corner, spacing, fields) + data)


def _header(shape: tuple[int, int], corner: tuple[int, int], spacing: Spacing, fields: Mapping[str, str]) -> bytes:
    """A NRRD header (format version 4); axes run column, row, slice, as SimpleITK and 3D Slicer expect."""
    column_mm, row_mm = float(spacing.col_mm or 1.0), float(spacing.row_mm or 1.0)  # NumPy's print as np.float64(...)
    lines = [
        "NRRD0004",
        "type: float",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {shape[1]} {shape[0]} 1",
        f"space directions: ({column_mm!r},0,0) (0,{row_mm!r},0) (0,0,1)",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: ({corner[1] * column_mm!r},{corner[0] * row_mm!r},0)",
        f"spacing source:={spacing.source}",
        f"intended use:={DISCLAIMER}",
        *(f"{key}:={' '.join(value.split())}" for key, value in fields.items()),
    ]
    return ("\n".join(lines) + "\n\n").encode()
