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
from MolSubCore.files import why_no_file
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
#: On images longer than this, outlines of coordinates up to 1 are shares of it; share of a polygon's points outside the
#: image from which on it is asked whether x and y were exchanged; share of what is filled that is no crossing yet.
_SHARES, _MOVED, _CROSSED = 8, 0.1, 0.1


def read_layers(path: Path, mammogram: Mammogram) -> Layers:
    """Read a lesion file: its kind, one or more label maps (rows, columns), and warnings.

    Raises
    ------
    LesionError
        If it cannot be read.
    """
    name = path.name.lower()
    if why := why_no_file(path):
        raise LesionError(path, why, "Name the file of one lesion outline")
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
            entries = [entry for entry in content["lesions"] if not entry.get("hole")]
            outlines = [np.array(entry["points"], float) for entry in entries]
            cut = [entry["points"] for entry in content["lesions"] if entry.get("hole")]
            cut += [points for entry in entries for points in entry.get("holes") or ()]
            holes = [np.array(points, float) for points in cut]
        else:
            outlines = [np.array([[p["y"], p["x"]] for p in entry["cgPoints"]], float) for entry in content]
            holes = []
    except LesionError:
        raise
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise LesionError(
            path, f"holds no polygons ({reason})", 'Use {"lesions": [{"points": [[row, col], ...]}]}'
        ) from None
    if max(len(outlines), len(holes)) > MOST:
        count = max(len(outlines), len(holes))
        raise LesionError(path, f"holds {count} polygons, at most {MOST} are read", "Give those of one image")
    checked = [_checked_polygon(path, f"polygon {n}", points, shape) for n, points in enumerate(outlines, start=1)]
    cuts = [_checked_polygon(path, f"hole {n}", points, shape) for n, points in enumerate(holes, start=1)]
    warnings = [text for _, told in (*checked, *cuts) for text in told]
    if cuts:
        warnings.append(f"{len(cuts)} polygon(s) marked as holes were cut out of the lesions.")
    return "polygon", _Filled([points for points, _ in checked], [points for points, _ in cuts], shape), warnings


def _checked_polygon(
    path: Path, name: str, points: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], list[str]]:
    """The points of a polygon on the image, and what is doubtful about it; LesionError where it is none."""
    if points.ndim != 2 or points.shape[1] != 2 or not 3 <= len(points) <= _POINTS_CAP:
        count = len(points) if points.ndim else 0
        raise LesionError(path, f"{name} has {count} points", "Give three or more points, [row, col] each")
    if not np.isfinite(points).all():
        raise LesionError(path, f"{name} has a point that is no number", "Correct it")
    if points.min() >= 0 and points.max() <= 1 and max(shape) > _SHARES:
        found = f"{name} has coordinates from 0 to 1 only (shares of the image?), expected pixels"
        raise LesionError(path, found, "Multiply rows by the image's rows and columns by its columns")
    inside = np.clip(points, 0, np.array(shape) - 1)
    moved = (inside != points).any(axis=1)
    warnings = []
    if moved.any():
        size = f"the image of {shape[0]} rows x {shape[1]} columns"
        exchanged = points[:, ::-1]
        if (np.clip(exchanged, 0, np.array(shape) - 1) == exchanged).all() and moved.mean() > _MOVED:
            found = f"{name} reaches outside {size}, but would fit as [column, row] (x before y)"
            raise LesionError(path, found, "Give [row, col], rows (y) first")
        if moved.all():
            raise LesionError(path, f"{name} lies outside {size}", "Give the outlines of this image, in its pixels")
        warnings.append(f"Points of {name} lay outside the image and were moved to its border.")
    rows, columns = inside.T
    area = abs(float(np.dot(rows, np.roll(columns, 1)) - np.dot(columns, np.roll(rows, 1)))) / 2
    start = np.floor(inside.min(axis=0))
    corner = np.ceil(inside.max(axis=0)) - start + 1
    filled = int(np.count_nonzero(_filled(inside - start, (int(corner[0]), int(corner[1])))))
    # Pixels on the outline are filled, too: half of them lie outside.
    rim = float(np.abs(inside - np.roll(inside, 1, axis=0)).max(axis=1).sum()) / 2 + 2
    if area < 1 and filled <= 2 * rim + 2:
        raise LesionError(path, f"{name} encloses no area (its points lie on one line)", "Outline the lesion")
    if filled - area > rim + _CROSSED * filled:
        warnings.append(f"The line of {name} crosses itself: its parts were filled as they lie. Check the outline.")
    return inside, warnings


class _Filled(Sequence[NDArray[np.integer]]):
    """The layer of each polygon, made when it is asked for: all at once would fill the memory."""

    def __init__(
        self, outlines: list[NDArray[np.float64]], holes: list[NDArray[np.float64]], shape: tuple[int, int]
    ) -> None:
        self._outlines, self._holes, self._shape = outlines, holes, shape

    def __len__(self) -> int:
        return len(self._outlines)

    def __getitem__(self, index: Any) -> Any:
        layer = _filled(self._outlines[index], self._shape)
        for hole in self._holes:
            layer[_filled(hole, self._shape) > 0] = 0
        return layer


def _filled(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.integer]:
    """Pixels inside a polygon or on its outline."""
    import cv2

    layer = np.zeros(shape, np.uint8)
    cv2.fillPoly(layer, [np.round(points[:, ::-1]).astype(np.int32)], 1)
    return layer
