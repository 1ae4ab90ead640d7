"""Heatmap files of tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


def on_image(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A heatmap's values where a viewer lays them: on an image of this shape, by the file's origin and spacing."""
    volume = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(volume)[0]
    assert np.allclose(volume.GetDirection(), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    places = [start / step for start, step in zip(volume.GetOrigin()[:2], volume.GetSpacing()[:2], strict=True)]
    column, row = (round(place) for place in places)
    assert np.allclose(places, (column, row), atol=1e-6)
    full = np.zeros(shape, np.float32)
    full[row : row + values.shape[0], column : column + values.shape[1]] = values
    return full
