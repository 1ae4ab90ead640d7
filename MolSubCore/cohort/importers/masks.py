"""Masks that a cohort keeps as ordinary DICOM images, made into mask files that every reader takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MolSubCore.imaging.dicom_file import open_dicom
from MolSubCore.imaging.dicom_pixels import read_pixels
from MolSubCore.imaging.mask_file import write_mask

UNREADABLE = "mask cannot be read"
NO_MASK = "none of the mask files is a mask: they hold crops or pictures"
OTHER_SIZE = "mask of another size than its image"
EMPTY = "mask is empty"


def find_mask(candidates: tuple[Path, ...], image: Path, out: Path) -> str | None:
    """Find the mask of an image among DICOM images, by what they hold, and write it.

    A mask has two values at most. Its file's name and its Series Description are no evidence: in CBIS-DDSM
    crops are called masks, and the other way round.

    Parameters
    ----------
    candidates : tuple of Path
        DICOM images.
    image : Path
        DICOM image whose grid the mask must have.
    out : Path
        Ends in ``.nii.gz``; one slice, as ITK-SNAP and 3D Slicer write it.

    Returns
    -------
    str or None
        Why there is none.
    """
    try:
        header = open_dicom(image).header
        shape = (int(header.Rows), int(header.Columns))
        found = [mask for path in candidates if (mask := _mask(path, shape)) is not None]
    except Exception:  # whatever it is, it is this mask's
        return UNREADABLE
    fitting = [mask for mask in found if mask.shape == shape]
    if not fitting:
        return OTHER_SIZE if found else NO_MASK
    if not fitting[0].any():
        return EMPTY
    write_mask(out, fitting[0], row_mm=None, col_mm=None, durable=False)
    return None


def _mask(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The pixels of a DICOM image above its lower value, if it has two values at most."""
    file = open_dicom(path)
    if (int(file.header.Rows), int(file.header.Columns)) != shape and _clearly_smaller(file.header, shape):
        return None
    values, _ = read_pixels(file)
    low, high = values.min(), values.max()
    if ((values != low) & (values != high)).any():
        return None
    return (values != low).astype(np.uint8)


def _clearly_smaller(header: object, shape: tuple[int, int]) -> bool:
    """Whether an image is a crop by its size: less than 0.9 of the full one on a side. Saves decoding it."""
    rows, columns = int(header.Rows), int(header.Columns)  # type: ignore[attr-defined]
    return rows < 0.9 * shape[0] or columns < 0.9 * shape[1]
