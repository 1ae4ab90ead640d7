"""PNG, JPEG and TIFF mammograms; and what holds for every file that is not DICOM."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from MolSubCore.errors import ImageError, counted
from MolSubCore.imaging.io.damage import check_whole
from MolSubCore.imaging.io.limits import MAX_PIXELS, check_size
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.imaging.view_text import facts_from_path, name_doubts, read_view_text

_EXPORT = "Export it as 8- or 16-bit greyscale, or give the DICOM file"
_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 274, 258, 262, 339
_SIGNED_SAMPLES = 2
#: Words of a file's name that say that it is no standard view; others may mean anything there.
_NAME_KINDS = {"MAG", "MAGNIFICATION", "SPOT", "STEREO", "EKLUND", "PUSHBACK", "SPECIMEN"}
#: Mean step of a JPEG's coefficients at quality 30 (11 at 90, 29 at 75; the real pictures at hand have up to 35).
_COARSE = 96
_STRONG = (
    "The JPEG picture is compressed strongly (more than at quality 30 of 100): fine structures such as calcifications "
    "are lost. Give the original."
)
_NAME_CROPS = {"CROP", "CROPS", "CROPPED", "PATCH", "PATCHES"}


def read_raster(path: Path) -> Mammogram:
    """Read a PNG, JPEG or TIFF mammogram: one picture, grey, 8 or 16 bits (TIFF also float).

    Colour files are accepted where red, green and blue are equal everywhere; alpha is ignored.
    A resolution in dots per inch is not a pixel spacing and is not used.

    Raises
    ------
    ImageError
        If the file is none of these, is in colour, has several pages, is rotated by an orientation
        tag, is too large, or is not whole.
    """
    with _opened(path) as picture:
        kind = "JPEG" if picture.format == "MPO" else str(picture.format)
        bits, signed = _depth(path, picture)
        check_whole(path, picture)
        white_is_zero = kind == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]
        stored, note = _grey(path, picture, bits)
        told = (_STRONG,) if _is_coarse(picture) else ()
    history = [f"{kind} file, {bits} bits.", *note]
    if white_is_zero:
        history.append("The TIFF says that 0 is white: inverted.")
    inverted = white_is_zero and bits != 8  # Pillow has already turned 8-bit pictures over
    if stored.dtype.kind == "f" or bits == 32:
        value_range = finite_range(path, stored)
    else:
        value_range = (-float(2 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    return plain_mammogram(path, stored, value_range, Spacing(), history, inverted=inverted, warnings=told)


def _is_coarse(picture: Image.Image) -> bool:
    """Whether a JPEG picture is quantized more coarsely than at the quality of `_STRONG`."""
    tables: dict[int, list[int]] = getattr(picture, "quantization", None) or {}  # the first is of the grey values
    return bool(tables) and sum(tables[min(tables)]) > _COARSE * 64


def check_raster(path: Path) -> None:
    """Refuse a picture that `read_raster` would refuse without decoding it (ImageError)."""
    with _opened(path) as picture:
        _depth(path, picture)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture, checked but not decoded; Pillow's errors become an `ImageError`."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as picture:
            check_picture(path, picture)
            yield picture
    except Image.DecompressionBombError:
        raise ImageError(
            path, f"claims more than {MAX_PIXELS // 10**6} million pixels", "Check that it is a mammogram"
        ) from None
    except UnidentifiedImageError:
        found = "is damaged, or of a kind of PNG, JPEG or TIFF that is not read here"
        if _ends_before_its_directory(path):
            found = "is damaged or cut short: its directory lies behind its end"
        remedy = f"Copy the file again; if it stays so, {_EXPORT[:1].lower()}{_EXPORT[1:]}"
        raise ImageError(path, found, remedy) from None
    except (OSError, SyntaxError, EOFError) as error:
        text = " ".join(str(error).split())
        raise ImageError(path, f"is not a whole picture ({text})", "Export or copy the file again") from error


def _ends_before_its_directory(path: Path) -> bool:
    """Whether a TIFF file names a place behind its end as that of its directory, which many programs write last."""
    with path.open("rb") as stream:
        head = stream.read(8)
    order: Literal["little", "big"] = "big" if head.startswith(b"MM") else "little"
    return head[:4] in (b"II*\0", b"MM\0*") and int.from_bytes(head[4:8], order) >= path.stat().st_size


def check_picture(path: Path, picture: Image.Image) -> None:
    """Refuse a picture that is too large, of several pages, or to be shown turned (ImageError); nothing is decoded."""
    columns, rows = picture.size
    check_size(path, rows, columns)
    pages = getattr(picture, "n_frames", 1)
    if pages != 1 and picture.format in ("TIFF", "PNG"):
        raise ImageError(path, f"holds {pages} pages, expected 1", "Save the one page as a file of its own")
    orientation = picture.getexif().get(_ORIENTATION, 1)
    if orientation != 1:
        raise ImageError(
            path,
            f"is to be shown turned (orientation tag {orientation}), so a lesion mask cannot be matched to it safely",
            "Save it upright, without an orientation tag, and outline the lesion on that file",
        )


def _depth(path: Path, picture: Image.Image) -> tuple[int, bool]:
    """Bits per channel, and whether they are signed."""
    bits, signed = 8, False
    if picture.format == "PNG":
        with path.open("rb") as stream:
            bits = stream.read(25)[24]  # IHDR: the byte after width and height
    elif picture.format == "TIFF":
        tags: Any = picture.tag_v2  # type: ignore[attr-defined]
        bits = max(tags.get(_BITS, (1,)))
        signed = _SIGNED_SAMPLES in tags.get(_SAMPLE_FORMAT, (1,))
    if bits < 8:
        raise ImageError(path, f"has {bits} bits a pixel, expected 8 to 16", _EXPORT)
    return bits, signed


def _grey(path: Path, picture: Image.Image, bits: int) -> tuple[NDArray[Any], list[str]]:
    """The one grey channel as (rows, columns), in native byte order, and what was done to get it."""
    mode = picture.mode
    if mode in ("L", "F") or mode.startswith("I"):
        grey = np.array(picture)
        if bits <= 16 and grey.dtype.kind == "i":  # Pillow widens some 16-bit files to 32 bits
            grey = grey.astype(np.int16 if grey.min() < 0 else np.uint16)
        return grey.astype(grey.dtype.newbyteorder("="), copy=False), []
    if mode not in ("LA", "La", "PA", "P", "RGB", "RGBA", "RGBX", "RGBa", "CMYK"):
        raise ImageError(path, f"has the colour mode {mode}, expected grey", _EXPORT)
    picture.load()  # also finds a file that is cut short
    if bits == 16:  # Pillow would silently drop the lower 8 bits of these
        channels = _wide_channels(path)
    else:
        channels = np.asarray(picture.convert("RGB") if mode in ("P", "PA", "CMYK") else picture)
    colours = channels[..., :3] if channels.shape[-1] >= 3 else channels[..., :1]
    for other in range(1, colours.shape[-1]):
        differs = colours[..., 0] != colours[..., other]
        if differs.any():
            row, column = np.unravel_index(int(differs.argmax()), differs.shape)
            found = f"is a colour picture (red, green and blue differ, first at row {row}, column {column})"
            raise ImageError(path, found, "Give the picture without coloured marks or a colour map, in greyscale")
    return np.ascontiguousarray(colours[..., 0]), [f"Mode {mode}, all colour channels equal: one of them taken."]


def _wide_channels(path: Path) -> NDArray[Any]:
    """A 16-bit file of several channels as (rows, columns, channels), alpha last."""
    import cv2

    channels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if channels is None or channels.dtype != np.uint16:
        raise ImageError(path, "is a 16-bit picture of several channels that cannot be decoded", _EXPORT)
    return channels.reshape(*channels.shape[:2], -1)


def finite_range(path: Path, values: NDArray[Any]) -> tuple[float, float]:
    """Smallest and largest value; NaN and infinities are refused (ImageError)."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        raise ImageError(path, f"holds {counted(count, 'pixel')} without a number (NaN or infinite)", "Export it again")
    return float(values.min()), float(values.max())


def plain_mammogram(
    path: Path,
    stored: NDArray[Any],
    value_range: tuple[float, float],
    spacing: Spacing,
    history: list[str],
    *,
    inverted: bool = False,
    warnings: tuple[str, ...] = (),
) -> Mammogram:
    """A mammogram from a file without DICOM attributes; side and view come from its name and folder."""
    laterality, view = facts_from_path(path)
    warnings += tuple(name_doubts(path, None, None))
    words = set(re.split(r"[^A-Z]+", path.stem.upper()))
    told = _NAME_KINDS & words
    if kinds := read_view_text(" ".join(sorted(told))).kinds:
        warnings += (f"According to its file name this is not a standard view: {', '.join(kinds)}.",)
    if "SPECIMEN" in told:
        warnings += ("According to its file name it is an image of a specimen, not of the breast.",)
    if _NAME_CROPS & words:
        warnings += ("According to its file name it is cut out of a mammogram, and shows a part of it only.",)
    history = [*history, "The format does not say what bright means: taken as bright = dense, unless noted here."]
    if laterality or view:
        facts = f"Side {laterality or 'unknown'} and view {view or 'unknown'}"
        history.append(f"{facts} read from the names of the file and its folder.")
    return Mammogram(
        stored,
        inverted=inverted,
        value_range=value_range,
        spacing=spacing,
        laterality=laterality,
        view=view,
        photometric_history=tuple(history),
        warnings=warnings,
        source=path,
    )
