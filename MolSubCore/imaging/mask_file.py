"""Masks as files that ITK-SNAP, 3D Slicer and this project read."""

from __future__ import annotations

import errno
import gzip
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.files import atomic_path
from MolSubCore.native import native_target


def write_mask(
    path: Path, labels: NDArray[Any], *, row_mm: float | None, col_mm: float | None, notes: str = "",
    durable: bool = True,
) -> None:  # fmt: skip
    """Write a label map as a volume of one slice; the file appears whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.nrrd``.
    labels : ndarray, shape (rows, columns), or (layers, rows, columns) for .nrrd
        0 is no lesion, up to 255.
    row_mm, col_mm : float, optional
        Distances of rows and of columns in mm; 1 where not known.
    notes : str
        Text in the header.
    durable : bool
        As of `MolSubCore.files.atomic_path`.

    Raises
    ------
    OSError, RuntimeError
        If the disk refuses.
    """
    import SimpleITK as sitk

    labels = np.asarray(labels, np.uint8)
    layered = labels.ndim == 3
    image = sitk.GetImageFromArray((np.moveaxis(labels, 0, -1) if layered else labels)[None], isVector=layered)
    image.SetSpacing((float(col_mm or 1.0), float(row_mm or 1.0), 1.0))
    if notes:
        image.SetMetaData("ITK_FileNotes", notes)
    with atomic_path(path, durable=durable) as temporary:
        # A mask is mostly one value: level 2 of .nrrd is quicker than none at all, since less goes to the disk.
        with native_target(temporary) as name:
            sitk.WriteImage(image, name, useCompression=True, compressionLevel=2)
        if not _holds(temporary, sitk.GetArrayViewFromImage(image)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _holds(path: Path, values: NDArray[Any]) -> bool:
    """Whether a file was written whole: where the disk is full, ITK cuts files short and says nothing."""
    content = path.read_bytes()
    if path.suffix == ".nrrd":  # checksum and length of the voxels are the end of the file
        return content[-8:] == struct.pack("<II", zlib.crc32(values.data), values.nbytes)
    try:
        return gzip.decompress(content).endswith(values.tobytes())
    except (EOFError, OSError, zlib.error):
        return False
