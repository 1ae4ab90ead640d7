"""Lesion files of every format, as label maps on the grid they say they have."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import ImageError, LesionError
from MolSubCore.imaging.lesion import SourceKind
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.imaging.raster import check_picture
from MolSubCore.imaging.volume import read_slice, slice_array

Layers = tuple[SourceKind, list[NDArray[np.integer]], list[str]]

_VOLUMES = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
}
_PICTURES = (".png", ".tif", ".tiff", ".bmp")
_POINTS_CAP = 100_000


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
        return _read_layers(path, name, mammogram)
    except ImageError as error:
        raise LesionError(path, error.problem, error.remedy) from error


def _read_layers(path: Path, name: str, mammogram: Mammogram) -> Layers:
    if name.endswith(".json"):
        return _polygons(path, mammogram.shape)
    if name.endswith(_PICTURES):
        return "mask", [_picture(path)], []
    for suffix, kind in _VOLUMES.items():
        if name.endswith(suffix):
            return "mask", _volume(path, kind, mammogram.shape), []
    if _is_dicom(path):
        return _dicom_seg(path, mammogram)
    known = ", ".join((*_VOLUMES, *_PICTURES, ".json"))
    raise LesionError(
        path, "is no lesion file of a known kind", f"Use {known}, DICOM SEG, or a box row0,col0,row1,col1"
    )


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _picture(path: Path) -> NDArray[np.integer]:
    """A painted mask: anything above 0 is lesion; 255 or 1 for one lesion, other values for several."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG", "TIFF", "BMP")) as picture:
            check_picture(path, picture)
            plain = {"RGBA": "RGB", "LA": "L"}.get(picture.mode)
            values = np.asarray(picture.convert(plain) if plain else picture)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise LesionError(path, f"cannot be read as a picture ({error})", "Save the mask again") from None
    if values.ndim == 3:
        if np.ptp(values.astype(np.int16), axis=2).max() > 0:
            raise LesionError(path, "is a colour picture, expected a mask", "Save it with one channel, 0 outside")
        values = values[..., 0]
    if values.dtype.kind not in "bui":
        raise LesionError(path, f"holds {values.dtype} values, expected integers", "Save it with integer labels")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values


def _volume(path: Path, kind: str, shape: tuple[int, int]) -> list[NDArray[np.integer]]:
    """NIfTI, NRRD and MetaImage: one slice; several channels are layers of a .seg.nrrd."""
    image = read_slice(path, kind, several_channels=True)
    values = slice_array(image)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.round(values)).any():
            raise LesionError(path, "holds fractions, expected whole labels", "Save it as a label map")
        values = np.clip(values, 0, 65535).astype(np.uint16)
    layers = [values[..., n] for n in range(values.shape[2])]
    offset = (
        image.GetMetaData("Segmentation_ReferenceImageExtentOffset")
        if image.HasMetaDataKey("Segmentation_ReferenceImageExtentOffset")
        else ""
    )
    return [_uncropped(path, layer, offset, shape) for layer in layers] if offset.strip() else layers


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


def _dicom_seg(path: Path, mammogram: Mammogram) -> Layers:
    """DICOM Segmentation (PS3.3 A.51): one layer per segment, frames of a segment put together."""
    import pydicom

    try:
        dataset = pydicom.dcmread(path)
        if dataset.get("Modality") != "SEG":
            found = f"is DICOM {dataset.get('Modality', 'without Modality')}, expected a mask (DICOM SEG, NIfTI, ...)"
            raise LesionError(path, found, "Give the lesion's mask here, and the mammogram as the image")
        frames = dataset.pixel_array
    except LesionError:
        raise
    except Exception as error:
        raise LesionError(path, f"cannot be read ({error})", "Export the segmentation again") from None
    frames = frames[None] if frames.ndim == 2 else frames
    layers: dict[int, NDArray[np.integer]] = {}
    for frame, item in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=False):
        number = int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        marked = (frame > 0).astype(np.uint8)
        layers[number] = np.maximum(layers[number], marked) if number in layers else marked
    return "mask", [layers[number] for number in sorted(layers)], _reference_warnings(dataset, mammogram)


def _reference_warnings(dataset: Any, mammogram: Mammogram) -> list[str]:
    own = mammogram.identifiers.get("SOPInstanceUID")
    named = {
        str(instance.ReferencedSOPInstanceUID)
        for series in dataset.get("ReferencedSeriesSequence", [])
        for instance in series.get("ReferencedInstanceSequence", [])
    }
    if own and named and own not in named:
        return ["The DICOM segmentation refers to another image than this one; only its grid was compared."]
    return []


def _polygons(path: Path, shape: tuple[int, int]) -> Layers:
    """Polygons: ``{"lesions": [{"points": [[row, column], ...]}]}``, or a list with ``cgPoints`` (TOMPEI-CMMD)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, dict):
            outlines = [np.array(entry["points"], float) for entry in content["lesions"]]
        else:
            outlines = [np.array([[p["y"], p["x"]] for p in entry["cgPoints"]], float) for entry in content]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise LesionError(
            path, f"holds no polygons ({reason})", 'Use {"lesions": [{"points": [[row, col], ...]}]}'
        ) from None
    layers, warnings = [], []
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
        layers.append(_filled(inside, shape))
    return "polygon", layers, warnings


def _filled(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.integer]:
    """Pixels inside a polygon or on its outline."""
    import cv2

    layer = np.zeros(shape, np.uint8)
    cv2.fillPoly(layer, [np.round(points[:, ::-1]).astype(np.int32)], 1)
    return layer
