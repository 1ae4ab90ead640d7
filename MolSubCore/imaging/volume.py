"""NIfTI, NRRD and MetaImage mammograms: one slice, index order (x = column, y = row), geometry's directions ignored."""

from __future__ import annotations

import contextlib
import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import ImageError
from MolSubCore.imaging.dicom_facts import plausible_spacing
from MolSubCore.imaging.limits import check_size
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.imaging.raster import finite_range, plain_mammogram

_CHUNK = 1 << 20
_AGAIN = "Export or copy the file again"


def read_nifti(path: Path) -> Mammogram:
    """Read a one-slice NIfTI file (.nii, .nii.gz).

    Raises
    ------
    ImageError
        If it is not one, is cut short (the library would fill the rest with zeros), holds several
        slices or channels, or NaN.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz", ".hdr", ".img", ".img.gz")):
        raise ImageError(path, "is gzip or NIfTI by content, but not by name", "Rename it to .nii or .nii.gz")
    if path.name.lower().endswith((".hdr", ".img", ".img.gz")):
        raise ImageError(path, "is half of a two-file NIfTI or Analyze image", "Save it as one .nii or .nii.gz file")
    _check_nifti_length(path)
    return _read(path, "NiftiImageIO", "NIfTI")


def read_nrrd(path: Path) -> Mammogram:
    """Read a one-slice NRRD file (.nrrd, .nhdr); errors as in `read_nifti`."""
    return _read(path, "NrrdImageIO", "NRRD")


def read_metaimage(path: Path) -> Mammogram:
    """Read a one-slice MetaImage file (.mha, .mhd with its .raw); errors as in `read_nifti`."""
    return _read(path, "MetaImageIO", "MetaImage")


def _read(path: Path, library: str, kind: str) -> Mammogram:
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(library)
    reader.SetFileName(str(path))
    try:
        with _no_stderr():
            reader.ReadImageInformation()
            _check_one_slice(path, reader.GetSize(), reader.GetNumberOfComponents())
            image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].split("ITK ERROR:")[-1]
        raise ImageError(path, f"cannot be read whole as {kind} ({' '.join(reason.split())[:160]})", _AGAIN) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    column_mm, row_mm = image.GetSpacing()[:2]
    rows, columns = image.GetSize()[1], image.GetSize()[0]
    stored: NDArray[Any] = sitk.GetArrayFromImage(image).reshape(rows, columns)
    spacing, warnings = _spacing(row_mm, column_mm, (rows, columns))
    history = [f"{kind} file, {stored.dtype}; columns are the first index, rows the second."]
    return plain_mammogram(path, stored, _value_range(path, stored), spacing, history, warnings=tuple(warnings))


def _check_one_slice(path: Path, size: tuple[int, ...], channels: int) -> None:
    if len(size) < 2 or any(length != 1 for length in size[2:]):
        found = " x ".join(str(length) for length in size)
        raise ImageError(path, f"has {found} voxels, expected one slice", "Give one 2D view")
    check_size(path, size[1], size[0])
    if channels != 1:
        raise ImageError(path, f"has {channels} values a pixel, expected one grey value", "Save it in greyscale")


def _value_range(path: Path, stored: NDArray[Any]) -> tuple[float, float]:
    """Range of an 8- or 16-bit type; of wider types and floats, what the picture holds."""
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        limits = np.iinfo(stored.dtype)
        return float(limits.min), float(limits.max)
    return finite_range(path, stored)


def _spacing(row_mm: float, column_mm: float, shape: tuple[int, int]) -> tuple[Spacing, list[str]]:
    if row_mm == column_mm == 1.0:
        return Spacing(), ["The header's pixel spacing is 1 mm, its default value: taken as unknown."]
    if problem := plausible_spacing(row_mm, column_mm, shape):
        return Spacing(), [f"The header's pixel spacing is not used: {problem}."]
    return Spacing(row_mm, column_mm, "file header"), []


def _check_nifti_length(path: Path) -> None:
    """Refuse a NIfTI file with fewer bytes than its header promises: the library would not tell."""
    unpacked = path.name.lower().endswith(".nii")
    try:
        with path.open("rb") if unpacked else gzip.open(path, "rb") as stream:
            head = stream.read(544)
            needed = _nifti_bytes(path, head)
            found = path.stat().st_size if unpacked else _count(stream, len(head), needed)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(path, f"is not a whole gzip file ({error})", _AGAIN) from error
    if found < needed:
        raise ImageError(path, f"is cut short: {found} bytes of the {needed} that its header promises", _AGAIN)


def _nifti_bytes(path: Path, head: bytes) -> int:
    """Bytes of header and voxels of an unpacked NIfTI-1 or -2 file, after its own header."""
    for order in "<>":
        if len(head) >= 348 and struct.unpack(order + "i", head[:4])[0] == 348:
            sizes = struct.unpack(order + "8h", head[40:56])
            bits, offset = struct.unpack(order + "h", head[72:74])[0], struct.unpack(order + "f", head[108:112])[0]
            break
        if len(head) >= 540 and struct.unpack(order + "i", head[:4])[0] == 540:
            sizes = struct.unpack(order + "8q", head[16:80])
            bits, offset = struct.unpack(order + "h", head[14:16])[0], struct.unpack(order + "q", head[168:176])[0]
            break
    else:
        raise ImageError(path, "is not a NIfTI image", "Give a mammogram as DICOM, PNG, JPEG, TIFF, NIfTI, NRRD or MHA")
    dimensions = sizes[1 : 1 + min(7, max(0, sizes[0]))]
    if len(dimensions) < 2:
        raise ImageError(path, f"has {sizes[0]} dimensions, expected 2", "Give one 2D view")
    _check_one_slice(path, dimensions, 1)
    return int(offset) + dimensions[0] * dimensions[1] * max(0, bits) // 8


def _count(stream: Any, already: int, enough: int) -> int:
    """Number of bytes in a compressed stream, counted no further than `enough`."""
    total = already
    while total < enough and (chunk := stream.read(_CHUNK)):
        total += len(chunk)
    stream.read(1)  # at the end of the stream this checks its checksum
    return total


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Send what C libraries print to file descriptor 2 nowhere; a process without one is left alone."""
    try:
        saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:
        yield
        return
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
