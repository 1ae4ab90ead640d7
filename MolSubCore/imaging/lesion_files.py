"""Lesion files of every format, as label maps on the grid they say they have."""

from __future__ import annotations

import filecmp
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import ImageError, LesionError
from MolSubCore.imaging.lesion import MOST, SourceKind
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.imaging.mask_grid import match_grid
from MolSubCore.imaging.painted import as_labels, read_painted, whole_numbers
from MolSubCore.imaging.reader import one_line
from MolSubCore.imaging.volume import grid_of, read_slice, slice_array

Layers = tuple[SourceKind, Sequence[NDArray[np.integer]], list[str]]

_VOLUMES = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
}
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
#: Endings that decide how a lesion file is read.
KNOWN_ENDINGS = (*_VOLUMES, *_PICTURES, ".json")
_POINTS_CAP, _JSON_CAP = 100_000, 16 << 20


def read_layers(path: Path, mammogram: Mammogram) -> Layers:
    """Read a lesion file: its kind, one or more label maps (rows, columns), and warnings.

    Raises
    ------
    LesionError
        If it cannot be read.
    """
    name = path.name.lower()
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on names that are too long
        raise LesionError(path, "does not exist or is no file", "Check the path")
    try:
        with one_line(path):
            _refuse_the_image(path, mammogram)
            return _read_layers(path, name, mammogram)
    except ImageError as error:
        raise LesionError(path, error.problem, error.remedy) from error


def _read_layers(path: Path, name: str, mammogram: Mammogram) -> Layers:
    if name.endswith(".json"):
        return _polygons(path, mammogram.shape)
    if name.endswith(_PICTURES):
        labels, notes = read_painted(path)
        return "mask", [labels], notes
    for suffix, kind in _VOLUMES.items():
        if name.endswith(suffix):
            return "mask", *_volume(path, kind, mammogram)
    if _is_dicom(path):
        from MolSubCore.imaging.dicom_seg import read_segmentation

        return "mask", *read_segmentation(path, mammogram)
    known = ", ".join((*_VOLUMES, *_PICTURES, ".json"))
    raise LesionError(
        path, "is no lesion file of a known kind", f"Use {known}, DICOM SEG, or a box row0,col0,row1,col1"
    )


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _refuse_the_image(path: Path, mammogram: Mammogram) -> None:
    """The image itself, or a copy of its file, is no mask of it."""
    source = mammogram.source
    if source is None or not source.is_file():
        return
    same = path.samefile(source)
    if same or (path.stat().st_size == source.stat().st_size and filecmp.cmp(path, source, shallow=False)):
        found = "is the image itself" if same else "is a copy of the image"
        raise LesionError(path, f"{found}, expected the mask of its lesion", "Give the file of the outline, or a box")


def _volume(path: Path, kind: str, mammogram: Mammogram) -> tuple[list[NDArray[np.integer]], list[str]]:
    """NIfTI, NRRD and MetaImage: one slice; several channels are layers of a .seg.nrrd."""
    image = read_slice(path, kind, several_channels=True)
    values = whole_numbers(path, slice_array(image))
    found = [as_labels(path, values[..., n]) for n in range(values.shape[2])]
    layers, notes = [layer for layer, _ in found], [note for _, told in found for note in told]
    offset = (
        image.GetMetaData("Segmentation_ReferenceImageExtentOffset")
        if image.HasMetaDataKey("Segmentation_ReferenceImageExtentOffset")
        else ""
    )
    full = [_uncropped(path, layer, offset, mammogram.shape) for layer in layers] if offset.strip() else layers
    cropped = any(layer.shape != before.shape for layer, before in zip(full, layers, strict=True))
    matched, doubts = match_grid(path, full, grid_of(image), mammogram, cropped=cropped)
    return matched, [*notes, *doubts]


def _uncropped(path: Path, layer: NDArray[np.integer], offset: str, shape: tuple[int, int]) -> NDArray[np.integer]:
    """Put a layer that 3D Slicer cut to the segmentation's extent back on the image's grid."""
    numbers = re.findall(r"-?\d+", offset)
    if len(numbers) < 2 or layer.shape == shape:
        return layer
    column, row = int(numbers[0]), int(numbers[1])
    rows, columns = layer.shape
    if min(row, column) < 0 or row + rows > shape[0] or column + columns > shape[1]:
        place = f"{rows} rows x {columns} columns at row {row}, column {column}"
        found = f"has {place}, its image has {shape[0]} rows x {shape[1]} columns"
        raise LesionError(path, found, "Outline the lesion on this very image")
    full = np.zeros(shape, layer.dtype)
    full[row : row + rows, column : column + columns] = layer
    return full


def _polygons(path: Path, shape: tuple[int, int]) -> Layers:
    """Polygons: ``{"lesions": [{"points": [[row, column], ...]}]}``, or a list with ``cgPoints`` (TOMPEI-CMMD)."""
    try:
        if path.stat().st_size > _JSON_CAP:
            raise LesionError(path, f"has more than {_JSON_CAP >> 20} MiB", "Give the outlines of one image")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, dict):
            outlines = [np.array(entry["points"], float) for entry in content["lesions"]]
        else:
            outlines = [np.array([[p["y"], p["x"]] for p in entry["cgPoints"]], float) for entry in content]
    except LesionError:
        raise
    except (ValueError, OverflowError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise LesionError(
            path, f"holds no polygons ({reason})", 'Use {"lesions": [{"points": [[row, col], ...]}]}'
        ) from None
    if len(outlines) > MOST:
        raise LesionError(path, f"holds {len(outlines)} polygons, at most {MOST} are read", "Give those of one image")
    inner, warnings = [], []
    for number, points in enumerate(outlines, start=1):
        if points.ndim != 2 or points.shape[1] != 2 or not 3 <= len(points) <= _POINTS_CAP:
            raise LesionError(
                path, f"polygon {number} has {len(points)} points", "Give three or more points, [row, col] each"
            )
        if not np.isfinite(points).all():
            raise LesionError(path, f"polygon {number} has a point that is no number", "Correct it")
        inside = np.clip(points, 0, np.array(shape) - 1)
        if (inside != points).any():
            warnings.append(f"Points of polygon {number} lay outside the image and were moved to its border.")
        inner.append(inside)
    return "polygon", _Filled(inner, shape), warnings


class _Filled(Sequence[NDArray[np.integer]]):
    """The layer of each polygon, made when it is asked for: all at once would fill the memory."""

    def __init__(self, outlines: list[NDArray[np.float64]], shape: tuple[int, int]) -> None:
        self._outlines, self._shape = outlines, shape

    def __len__(self) -> int:
        return len(self._outlines)

    def __getitem__(self, index: Any) -> Any:
        return _filled(self._outlines[index], self._shape)


def _filled(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.integer]:
    """Pixels inside a polygon or on its outline."""
    import cv2

    layer = np.zeros(shape, np.uint8)
    cv2.fillPoly(layer, [np.round(points[:, ::-1]).astype(np.int32)], 1)
    return layer
