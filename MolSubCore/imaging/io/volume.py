"""NIfTI, NRRD and MetaImage mammograms: one slice, x = column, y = row, in the order in which viewers show them."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import math
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import ImageError
from MolSubCore.imaging.io.dicom import plausible_spacing
from MolSubCore.imaging.io.limits import check_size
from MolSubCore.imaging.io.native import native_name, no_stderr
from MolSubCore.imaging.io.picture import finite_range, plain_mammogram
from MolSubCore.imaging.io.volume_header import check_data, check_text_header
from MolSubCore.imaging.mammogram import Grid, Mammogram, Spacing

_CHUNK = 1 << 20
#: Bytes that may follow the voxels.
_SPARE = 1 << 16
_LIBRARIES = {"NIfTI": "NiftiImageIO", "NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}
_NIFTI_FLOATS = {16: "f4", 64: "f8"}  # datatype codes of NIfTI
_AGAIN = "Export or copy the file again"
#: Share by which two spacings of one header may differ.
_SAME_SPACING = 0.01
#: How far unit vectors may be from an axis; what is said of a picture whose header does not tell which way is up.
_STRAIGHT, _AS_STORED = 0.02, "taken as stored. Check that the picture is upright."


def read_nifti(path: Path) -> Mammogram:
    """Read a one-slice NIfTI file (.nii, .nii.gz).

    Raises
    ------
    ImageError
        If it is not one, is cut short (the library would fill the rest with zeros), holds several
        slices or channels, or NaN.
    """
    return _read(path, "NIfTI")


def read_nrrd(path: Path) -> Mammogram:
    """Read a one-slice NRRD file (.nrrd, .nhdr); errors as in `read_nifti`."""
    return _read(path, "NRRD")


def read_metaimage(path: Path) -> Mammogram:
    """Read a one-slice MetaImage file (.mha, .mhd with its .raw); errors as in `read_nifti`."""
    return _read(path, "MetaImage")


def _read(path: Path, kind: str) -> Mammogram:
    image = read_slice(path, kind)
    column_mm, row_mm = image.GetSpacing()[:2]
    stored = slice_array(image)[..., 0]
    spacing, warnings = _spacing(row_mm, column_mm, (stored.shape[0], stored.shape[1]))
    if kind == "NIfTI":
        warnings += _two_spacings(path)
    history = [f"{kind} file, {stored.dtype}; columns are the first index, rows the second."]
    grid = grid_of(image)
    turned, told = shown_order(grid, (stored.shape[0], stored.shape[1]))
    warnings += told
    mammogram = plain_mammogram(path, stored, _value_range(path, stored), spacing, history, warnings=tuple(warnings))
    mammogram = dataclasses.replace(mammogram, grid=grid, turned=turned)
    return dataclasses.replace(mammogram, stored=np.ascontiguousarray(mammogram.as_shown(stored)))


def shown_order(grid: Grid, shape: tuple[int, int]) -> tuple[tuple[bool, bool], list[str]]:
    """Whether a viewer shows the rows, and the columns, of a slice in reverse order, and what is said of it.

    3D Slicer and ITK-SNAP show a slice along the patient's left-right and front-back axes with the right side on the
    left, and the front on top; so do they show a mammogram, which has no place in a patient. dcm2niix writes its rows
    from the last to the first. A slice rotated by 180 degrees is told by its origin alone, as nibabel (with ``eye(4)``)
    and ITK-SNAP write the same axes of pictures that are not.

    Parameters
    ----------
    grid : Grid
        Of the file.
    shape : tuple of int
        Its rows and columns.
    """
    axes = np.array([grid.column_axis, grid.row_axis])
    if not np.allclose(np.abs(axes), np.eye(3)[:2], atol=_STRAIGHT):
        found = "By the header, rows and columns run along other axes than left to right and front to back"
        return (False, False), [f"{found}: {_AS_STORED}"]
    turned = (bool(axes[1, 1] < 0), bool(axes[0, 0] < 0))
    if turned == (False, False):
        return turned, []
    if turned == (True, True):
        corner = np.array([grid.col_mm * (shape[1] - 1), grid.row_mm * (shape[0] - 1)])
        if np.abs(np.array(grid.origin[:2]) - corner).max() > max(grid.col_mm, grid.row_mm):
            if (grid.row_mm, grid.col_mm) == (1.0, 1.0) and not any(grid.origin):  # nobody told the library any axes
                return (False, False), []
            found = "By the header the picture is rotated by 180 degrees, as some programs write it of any picture"
            return (False, False), [f"{found}: {_AS_STORED}"]
    what = " and ".join(name for name, is_turned in zip(("rows", "columns"), turned, strict=True) if is_turned)
    return turned, [
        f"By the header the file's {what} run the other way (as dcm2niix writes them): the picture was turned, as 3D "
        "Slicer and ITK-SNAP show it. Boxes, polygons and masks that are pictures count its rows and columns so."
    ]


def read_slice(path: Path, kind: str, *, several_channels: bool = False) -> Any:
    """Read a file of one slice as a SimpleITK image.

    Parameters
    ----------
    path : Path
    kind : {'NIfTI', 'NRRD', 'MetaImage'}
    several_channels : bool
        Whether a pixel may have several values.

    Raises
    ------
    ImageError
        As in `read_nifti`.
    """
    if kind == "NIfTI":
        found = None
        _check_nifti(path)
    else:
        found = check_data(path, kind)
    with _alone(path) as file, _opened(file, kind, several_channels=several_channels, subject=path) as reader:
        image = reader.Execute()
    size = image.GetSize()
    row = size[0] * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    if found is not None and found >= (size[1] + 1) * row:
        raise ImageError(path, _too_long(found, size[1] * row), _AGAIN)
    return image


def _too_long(found: int, needed: int) -> str:
    """What is wrong with an image that has a row or more left: its rows are probably of another length."""
    return f"has {found} bytes of data, its header promises {needed}: its size is not that of its image"


def check_volume(path: Path, kind: str) -> None:
    """Refuse a volume that by its header is not one slice of one channel (ImageError); `kind` as for `read_slice`."""
    if kind == "NIfTI":
        _check_nifti_name(path)
    with _opened(path, kind):
        pass


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """The file, or a copy: of ``x.nii.gz`` the library reads the header, but the voxels of an ``x.nii`` beside it."""
    if not path.name.lower().endswith(".nii.gz") or not path.with_name(path.name[:-3]).exists():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="molsub-") as folder:
        copy = Path(folder) / "image.nii.gz"
        shutil.copyfile(path, copy)
        yield copy


@contextlib.contextmanager
def _opened(file: Path, kind: str, *, several_channels: bool = False, subject: Path | None = None) -> Iterator[Any]:
    """A SimpleITK reader that has read the header, checked; the library's errors become an `ImageError`."""
    import SimpleITK as sitk

    path = subject or file
    beside = check_text_header(path, kind)
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_LIBRARIES[kind])
    try:
        with no_stderr(), native_name(file, *beside) as name:
            reader.SetFileName(name)
            reader.ReadImageInformation()
            channels = reader.GetNumberOfComponents()
            _check_one_slice(path, reader.GetSize(), 1 if several_channels else channels)
            bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
            columns, rows = reader.GetSize()[:2]
            check_size(path, rows, columns, pixel_bytes=channels * int(bits[1] if bits else 64) // 8)
            yield reader
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].split("ITK ERROR:")[-1]
        if "Reason: Success" in reason:  # as the library says where a read comes to the end of a file
            raise ImageError(path, "is cut short: its data end too early", _AGAIN) from error
        raise ImageError(path, f"cannot be read whole as {kind} ({' '.join(reason.split())[:160]})", _AGAIN) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def grid_of(image: Any) -> Grid:
    """Origin, axes and spacing of a SimpleITK image's first two axes, in its own (LPS) coordinates."""
    size = image.GetDimension()
    direction = np.asarray(image.GetDirection(), float).reshape(size, size)
    axes = np.zeros((2, 3))
    axes[:, :size] = direction[:, :2].T
    origin = np.zeros(3)
    origin[:size] = image.GetOrigin()
    column_mm, row_mm = image.GetSpacing()[:2]
    return Grid(tuple(origin), tuple(axes[0]), tuple(axes[1]), row_mm, column_mm)


def slice_array(image: Any) -> NDArray[Any]:
    """The values of a SimpleITK image of one slice, shape (rows, columns, channels)."""
    import SimpleITK as sitk

    columns, rows = image.GetSize()[:2]
    return sitk.GetArrayFromImage(image).reshape(rows, columns, -1)


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


@dataclass(frozen=True)
class _NiftiLayout:
    """Where the voxels of an unpacked NIfTI file lie: first byte, bytes in all and of a row, float type or None."""

    offset: int
    size: int
    row: int
    floats: str | None


def _check_nifti(path: Path) -> None:
    """Refuse what the library would not tell: fewer bytes than the header promises, and NaN, which it sets to 0."""
    _check_nifti_name(path)
    unpacked = path.name.lower().endswith(".nii")
    try:
        with path.open("rb") if unpacked else gzip.open(path, "rb") as stream:
            head = stream.read(352)
            layout = _nifti_layout(path, head)
            needed = layout.offset + layout.size
            found = path.stat().st_size if unpacked else _count(stream, len(head), needed)
            if found < needed:
                raise ImageError(path, f"is cut short: {found} bytes of the {needed} that its header promises", _AGAIN)
            if not unpacked and found > needed + _SPARE:
                raise ImageError(path, f"is damaged: it unpacks to more than the {needed} bytes of its image", _AGAIN)
            if found >= needed + layout.row:
                raise ImageError(path, _too_long(found - layout.offset, layout.size), _AGAIN)
            if layout.floats:
                stream.seek(layout.offset)
                finite_range(path, np.frombuffer(stream.read(layout.size), layout.floats))
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(path, f"is not a whole gzip file ({_without_bytes(error)})", _AGAIN) from error


def _two_spacings(path: Path) -> list[str]:
    """That a header gives one pixel spacing by its voxel sizes and another one by its sform, in a sentence."""
    with path.open("rb") if path.name.lower().endswith(".nii") else gzip.open(path, "rb") as stream:
        head = stream.read(348)
    order = "<" if head[:4] == struct.pack("<i", 348) else ">"
    sizes = struct.unpack(order + "2f", head[80:88])
    (used,) = struct.unpack(order + "h", head[254:256])
    axes = np.array(struct.unpack(order + "12f", head[280:328])).reshape(3, 4)[:, :2]
    lengths = np.hypot(np.hypot(axes[0], axes[1]), axes[2])
    if used <= 0 or not np.isfinite(lengths).all() or np.allclose(lengths, np.abs(sizes), rtol=_SAME_SPACING):
        return []
    first, second = (" x ".join(f"{abs(value):.4g}" for value in pair) for pair in (sizes, lengths))
    return [f"The header gives two pixel spacings, {first} (pixdim) and {second} (sform): which is right is unknown."]


def _without_bytes(error: BaseException) -> str:
    """What a library says, without the bytes that it quotes."""
    return re.sub(r"\s*\(b'.*'\)", "", str(error))


def _check_nifti_name(path: Path) -> None:
    name = path.name.lower()
    if name.endswith((".hdr", ".img", ".img.gz")):
        raise ImageError(path, "is half of a two-file NIfTI or Analyze image", "Save it as one .nii or .nii.gz file")
    if name.endswith((".nii", ".nii.gz")):
        return
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    if packed and not _holds_nifti(path):
        raise ImageError(path, "is packed (gzip), and what is in it is no NIfTI image", "Unpack it, and give that file")
    raise ImageError(path, "is a NIfTI image by content, but not by name", f"Rename it to end in .nii{'.gz' * packed}")


def _holds_nifti(path: Path) -> bool:
    """Whether a gzip file begins as a NIfTI image does."""
    try:
        with gzip.open(path) as stream:
            head = stream.read(348)
    except (OSError, EOFError, zlib.error):
        return False
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def _nifti_layout(path: Path, head: bytes) -> _NiftiLayout:
    """Read the header of a NIfTI-1 file of one slice."""
    order = next((order for order in "<>" if head[:4] == struct.pack(order + "i", 348)), None)
    if head[344:348] == b"ni1\0":
        raise ImageError(path, "is half of a two-file NIfTI image", "Save it as one .nii or .nii.gz file")
    if head[4:8] in (b"n+2\0", b"ni2\0"):
        raise ImageError(path, "is a NIfTI-2 file, expected NIfTI-1", "Save it as NIfTI-1 (.nii.gz), NRRD or MHA")
    if order is None or len(head) < 348:
        raise ImageError(path, "is not a NIfTI image", "Save it as NIfTI-1 (.nii.gz), NRRD or MHA")
    sizes, (kind, bits) = struct.unpack(order + "8h", head[40:56]), struct.unpack(order + "2h", head[70:74])
    (offset,) = struct.unpack(order + "f", head[108:112])
    if not math.isfinite(offset):
        raise ImageError(path, "does not say where its image begins (vox_offset is no number)", _AGAIN)
    dimensions = sizes[1 : 1 + min(7, max(0, sizes[0]))]
    if len(dimensions) < 2:
        raise ImageError(path, f"has {sizes[0]} dimensions, expected 2", "Give one 2D view")
    # The fifth dimension holds the values of a pixel, such as red, green and blue.
    _check_one_slice(path, dimensions[:4] + dimensions[5:], dimensions[4] if len(dimensions) > 4 else 1)
    voxels = dimensions[0] * dimensions[1]
    floats = _NIFTI_FLOATS.get(kind)
    row = max(1, dimensions[0] * bits // 8)
    return _NiftiLayout(int(offset), voxels * max(0, bits) // 8, row, f"{order}{floats}" if floats else None)


def _count(stream: Any, already: int, enough: int) -> int:
    """Number of bytes in a compressed stream, counted not much further than `enough`."""
    total = already
    while total <= enough + _SPARE and (chunk := stream.read(_CHUNK)):  # its end has the checksum, which is checked
        total += len(chunk)
    return total
