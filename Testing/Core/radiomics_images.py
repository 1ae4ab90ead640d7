"""Mammograms and lesions of known pixels for the tests of radiomics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.lesions.lesion import Box, Lesion, LesionSet
from MolSubCore.lesions.radiomics import RadiomicsSettings, lesion_features

#: Largest stored value, 1 after the modality transform; and the mean of `grain`.
BITS, GREY = 4095, 2000

#: Place on the image, mask or None, shape where there is no mask.
Piece = tuple[tuple[int, int], NDArray[np.bool_] | None, tuple[int, int] | None]


def grain(rows: int, columns: int) -> NDArray[np.uint16]:
    """Smooth noise, the same every time."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(rows * 1000 + columns).normal(0, 900, (rows, columns))
    return np.clip(GREY + gaussian_filter(noise, 0.8), 0, BITS).astype(np.uint16)


def disc(rows: int, columns: int, radius: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[:rows, :columns]
    return np.asarray((y - rows // 2) ** 2 + (x - columns // 2) ** 2 < radius**2)


def drawn(
    picture: NDArray[Any],
    pieces: list[Piece],
    *,
    spacing: float | None = None,
    inverted: bool = False,
    **settings: Any,
) -> list[dict[str, float]]:
    """Features of lesions, grey values being stored values as a share of `BITS`, unless they are normalised."""
    known = Spacing(spacing, spacing, "PixelSpacing") if spacing else Spacing()
    mammogram = Mammogram(picture, slope=1 / BITS, value_range=(0.0, 1.0), inverted=inverted, spacing=known)
    lesions = []
    for number, ((row, column), mask, shape) in enumerate(pieces, start=1):
        height, width = shape if mask is None else mask.shape  # type: ignore[misc]
        lesions.append(Lesion(str(number), Box(row, row + height, column, column + width), mask, "mask"))
    chosen = RadiomicsSettings(**{"normalisation": "none"} | settings)
    return lesion_features(mammogram, LesionSet(tuple(lesions), mammogram.shape), chosen)


def features(
    picture: NDArray[Any], mask: NDArray[np.bool_], *, at: tuple[int, int] = (0, 0), **options: Any
) -> dict[str, float]:
    """Features of one lesion."""
    (row,) = drawn(picture, [(at, np.asarray(mask), None)], **options)
    return row
