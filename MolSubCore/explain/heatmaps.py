"""Heatmaps on the mammogram's own grid, as NRRD files.

Outside the region of interest a heatmap is zero, and that is most of it. The file is uncompressed and
sparse: its size is set at once, and only the rows of the region are written, in one piece (written without
the zeros beside the region, the file would lie on the disk in hundreds of fragments and take long to delete).
A reader sees an ordinary NRRD.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MolSubCore import DISCLAIMER
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.imaging.roi import RoiGeometry


def write_heatmap(
    path: Path, patch_map: NDArray[np.float32], geometry: RoiGeometry, spacing: Spacing, fields: Mapping[str, str]
) -> None:
    """Write a map over a patch as a float32 volume of one slice on the image's grid.

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
    """
    values, rows, columns = geometry.paste(patch_map)
    height, width = geometry.image_shape
    header = _header((height, width), spacing, fields)
    band = np.zeros((len(values), width), "<f4")
    band[:, columns] = values
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 4 * height * width)
        file.seek(len(header) + 4 * rows.start * width)
        file.write(band.data)


def _header(shape: tuple[int, int], spacing: Spacing, fields: Mapping[str, str]) -> bytes:
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
        "encoding: raw",
        "space origin: (0,0,0)",
        f"spacing source:={spacing.source}",
        f"intended use:={DISCLAIMER}",
        *(f"{key}:={' '.join(value.split())}" for key, value in fields.items()),
    ]
    return ("\n".join(lines) + "\n\n").encode()
