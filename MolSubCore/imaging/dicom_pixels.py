"""Pixel data of one DICOM frame: checked against the header, decoded by pydicom, unused bits removed.

SimpleITK is not used here: it fills the missing part of truncated pixel data with zeros. libjpeg does so too for
the JPEG family, and no decoder but that of JPEG-LS says that bytes are missing or damaged: hence the checks of
`MolSubCore.imaging.whole_jpeg` before anything is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from MolSubCore.errors import ImageError
from MolSubCore.imaging.dicom_file import DicomFile
from MolSubCore.imaging.quiet import no_stderr
from MolSubCore.imaging.whole_jpeg import Damage, check_jpeg, check_jpeg_2000, check_rle

_AGAIN = "Export or copy the file again"
_ITEM = b"\xfe\xff\x00\xe0"
_JPEG_2000 = "JPEG 2000"
#: Columns of a picture in which wrong signs are looked for, and the share of pixels that have them at least.
_LEAST_COLUMNS, _WRAPPED = 128, 0.001
_PROCESS = {0xC0: "baseline JPEG", 0xC1: "extended JPEG", 0xC3: "lossless JPEG", 0xF7: "JPEG-LS"}
_NO_LENGTH = {0x01, *range(0xD0, 0xD8)}
# pylibjpeg's RLE is a hundred times faster than pydicom's; only pyjpegls notices damaged JPEG-LS.
_PREFERRED = ("pyjpegls", "pylibjpeg", "pillow")


@dataclass(frozen=True)
class Codestream:
    """What a compressed frame says about itself (JPEG's SOF or JPEG 2000's SIZ marker segment)."""

    process: str
    precision: int
    rows: int
    columns: int
    components: int
    start: int


def read_pixels(file: DicomFile) -> tuple[NDArray[Any], list[str]]:
    """Decode the one frame of a DICOM file.

    Parameters
    ----------
    file : DicomFile
        Its header has passed the checks of `MolSubCore.imaging.dicom`.

    Returns
    -------
    stored : ndarray of (u)int8 or (u)int16, shape (rows, columns)
        As decoded, in native byte order, with the sign of Pixel Representation (0028,0103).
    warnings : list of str

    Raises
    ------
    ImageError
        If there are no pixel data, they are not whole, not what the transfer syntax says, or no
        decoder is installed.
    """
    dataset = file.pixel_dataset()
    if "PixelData" not in dataset:
        floating = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
        found = "has floating-point pixel data, expected integers" if floating else "has no pixel data"
        raise ImageError(file.path, found, "Give the DICOM file of a mammogram, complete with its image")
    decoder = decoder_of(file)
    encapsulated = bool(dataset["PixelData"].is_undefined_length) or dataset.PixelData[:4] == _ITEM
    if encapsulated != file.syntax.is_encapsulated:
        found, expected = ("compressed", "uncompressed") if encapsulated else ("uncompressed", "compressed")
        name = file.syntax.name if file.syntax_declared else "no transfer syntax"
        raise ImageError(file.path, f"declares {name} ({expected}), but its pixel data are {found}", _AGAIN)
    bits = (int(dataset.BitsStored), _high_bit(dataset))
    warnings = _check_compressed(file, dataset) if encapsulated else _check_length(file, dataset)
    high = dataset.get("HighBit")
    if high is not None and int(high) != bits[1] and not encapsulated:
        warnings.append(
            f"High Bit {high} is none of {bits[0]} bits stored in {dataset.BitsAllocated}: {bits[1]} was taken."
        )
    plugin = plugin_of(decoder) if encapsulated else ""
    options: dict[str, Any] = {"allow_excess_frames": False}
    if file.syntax not in (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes):
        options["correct_unused_bits"] = False
    decoded = _decode(file, decoder, dataset, decoding_plugin=plugin, **options)
    stored = decoded.astype(decoded.dtype.newbyteorder("="), copy=False)
    in_cell = not encapsulated or file.syntax == RLELossless  # a JPEG sample knows no high bit
    stored, note = unused_bits_removed(stored, bits[0], bits[1] if in_cell else bits[0] - 1)
    _check_sign(file, stored, bits[0])
    return np.ascontiguousarray(stored), warnings + note


def _check_sign(file: DicomFile, stored: NDArray[Any], bits: int) -> None:
    """Refuse values without a sign that are said to have one: their upper half follows on from below the lower one."""
    if stored.dtype.kind != "i" or stored.shape[1] < _LEAST_COLUMNS:
        return
    steps = np.abs(np.diff(stored.astype(np.int32), axis=1)) > 3 << bits - 2
    if (count := int(np.count_nonzero(steps))) > _WRAPPED * steps.size:
        found = f"is said to have signed pixels, but {count} neighbours are nearly {1 << bits} apart, as unsigned are"
        raise ImageError(file.path, found, "Set Pixel Representation (0028,0103) to 0, or export it again")


def _decode(file: DicomFile, decoder: Decoder, dataset: Dataset, **options: Any) -> NDArray[Any]:
    """Decode the first frame; a decoder written in Rust fails by a panic, which is no `Exception`."""
    try:
        with no_stderr():
            return decoder.as_array(dataset, index=0, raw=True, **options)[0]
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ImageError(file.path, f"has damaged pixel data ({error})", _AGAIN) from error


def decoder_of(file: DicomFile) -> Decoder:
    """pydicom's decoder of the file's transfer syntax (ImageError where there is none)."""
    try:
        decoder = get_decoder(file.syntax)
    except NotImplementedError:
        name = f"{file.syntax.name} ({file.syntax})" if file.syntax.name != file.syntax else str(file.syntax)
        raise ImageError(
            file.path, f"has the transfer syntax {name}, which cannot be decoded", "Export it uncompressed"
        ) from None
    if not decoder.is_available:
        needs = "; ".join(decoder.missing_dependencies)
        raise ImageError(file.path, f"is compressed as {file.syntax.name}, no decoder is installed", f"Install {needs}")
    return decoder


def plugin_of(decoder: Decoder) -> str:
    """The decoder's library that is used; empty for pydicom's own choice."""
    return next((name for name in _PREFERRED if name in decoder.available_plugins), "")


def _high_bit(dataset: Dataset) -> int:
    """High Bit (0028,0102), or what it must be where it is absent or impossible."""
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    high = dataset.get("HighBit")
    return int(high) if high is not None and stored - 1 <= int(high) < allocated else stored - 1


def _check_length(file: DicomFile, dataset: Dataset) -> list[str]:
    """Uncompressed pixel data must be as long as the header says; too long by less than a row is a warning."""
    needed = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    found = len(dataset.PixelData)
    if found < needed:
        raise ImageError(file.path, f"has truncated pixel data: {found} bytes, expected {needed}", _AGAIN)
    if found >= needed + needed // int(dataset.Rows) and found > needed + needed % 2:
        told = f"{dataset.Rows} x {dataset.Columns} pixels of {dataset.BitsAllocated} bits have {needed}"
        raise ImageError(
            file.path, f"has {found} bytes of pixel data, {told}: its size is not that of its image", _AGAIN
        )
    if found > needed + needed % 2:
        return [f"The pixel data are {found - needed} bytes longer than the image; the rest was not read."]
    return []


def _check_compressed(file: DicomFile, dataset: Dataset) -> list[str]:
    """Compare a compressed frame's own header with the DICOM header, before anything is decoded."""
    try:
        stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    except Exception as error:
        raise ImageError(file.path, f"has damaged or truncated pixel data ({error})", _AGAIN) from error
    return check_stream(file, dataset, stream)


def check_stream(file: DicomFile, dataset: Dataset, stream: bytes) -> list[str]:
    """Compare one compressed frame with the DICOM header; `dataset` gets the bits that the decoder will deliver.

    Raises
    ------
    ImageError
        If it is of another kind or size, or cut short.
    """
    if file.syntax == RLELossless:
        _check_packets(file, dataset, len(stream))
        _check_whole(file, dataset, stream)
        return []
    code = parse_codestream(stream)
    if code is None:
        raise ImageError(file.path, f"declares {file.syntax.name}, but its pixel data are not that", _AGAIN)
    if code.process not in _allowed(file.syntax):
        raise ImageError(file.path, f"declares {file.syntax.name}, but its pixel data are {code.process}", _AGAIN)
    expected = (int(dataset.Rows), int(dataset.Columns), 1)
    if (code.rows, code.columns, code.components) != expected:
        found = f"{code.rows} x {code.columns} x {code.components}"
        told = " x ".join(map(str, expected))
        raise ImageError(file.path, f"has compressed pixel data of {found} samples, its header says {told}", _AGAIN)
    if code.precision > 16 or code.precision > int(dataset.BitsAllocated):
        told = f"Bits Allocated {dataset.BitsAllocated}"
        raise ImageError(file.path, f"has compressed samples of {code.precision} bits, its header says {told}", _AGAIN)
    if stream.rfind(b"\xff\xd9", code.start) < 0:
        raise ImageError(
            file.path, "has truncated pixel data: the end marker of the compressed image is missing", _AGAIN
        )
    _check_whole(file, dataset, stream[code.start :] if code.process == _JPEG_2000 else stream)
    if code.precision <= 8 < int(dataset.BitsAllocated):
        dataset.BitsAllocated = 8  # what the decoder will deliver
        dataset.BitsStored = min(8, int(dataset.BitsStored))
    # More bits than are stored harm nothing: what is set in them is removed, and told, once it is decoded.
    if code.precision < int(dataset.BitsStored) and code.process != _JPEG_2000:
        return [f"The compressed samples have {code.precision} bits, the header says {dataset.BitsStored}."]
    return []


def _check_whole(file: DicomFile, dataset: Dataset, stream: bytes) -> None:
    """Refuse coded data of which bytes are missing or overwritten."""
    try:
        if file.syntax == RLELossless:
            if dataset.BitsAllocated % 8 == 0:
                check_rle(stream, int(dataset.Rows) * int(dataset.Columns), int(dataset.BitsAllocated) // 8)
        elif file.syntax in JPEG2000TransferSyntaxes:
            check_jpeg_2000(stream)
        else:
            check_jpeg(stream)
    except Damage as damage:
        raise ImageError(file.path, f"has damaged pixel data: {damage}", _AGAIN) from None


def _check_packets(file: DicomFile, dataset: Dataset, found: int) -> None:
    """Refuse RLE data too short for the image before memory is asked for: two bytes give at most 128 (PS3.5 G.3)."""
    needed = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    if (found - 64) * 64 < needed:
        told = f"{found} bytes of RLE cannot hold the {needed} bytes of the image"
        raise ImageError(file.path, f"has truncated pixel data: {told}", _AGAIN)


def _allowed(syntax: UID) -> tuple[str, ...]:
    """The compression processes a transfer syntax may hold."""
    if syntax == JPEGBaseline8Bit:
        return ("baseline JPEG",)
    if syntax == JPEGExtended12Bit:
        return ("baseline JPEG", "extended JPEG")
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        return ("lossless JPEG",)
    return ("JPEG-LS",) if syntax in JPEGLSTransferSyntaxes else (_JPEG_2000,)


def parse_codestream(stream: bytes) -> Codestream | None:
    """Read the frame header of a JPEG, JPEG-LS or JPEG 2000 stream; None if it is none of these."""
    siz = stream.find(b"\xff\x4f\xff\x51", 0, 1024)  # 0 for a bare stream, later within a JP2 file
    if siz == 0 or stream[4:8] == b"jP  ":
        if siz < 0 or len(stream) < siz + 45:
            return None
        wide, high, left, top = (int.from_bytes(stream[siz + 8 + 4 * i : siz + 12 + 4 * i], "big") for i in range(4))
        components = int.from_bytes(stream[siz + 40 : siz + 42], "big")
        return Codestream(_JPEG_2000, (stream[siz + 42] & 0x7F) + 1, high - top, wide - left, components, siz)
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF or marker in _NO_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in _PROCESS or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = (int.from_bytes(stream[i : i + 2], "big") for i in (at + 5, at + 7))
            name = _PROCESS.get(marker, f"JPEG of process 0x{marker:02X}")
            return Codestream(name, stream[at + 4], rows, columns, stream[at + 9], at + 2 + length)
        at += 2 + length
    return None


def unused_bits_removed(stored: NDArray[Any], bits: int, high: int) -> tuple[NDArray[Any], list[str]]:
    """Keep the `bits` bits of each cell that end at bit `high`, sign-extended for signed types (PS3.5 8.1.1).

    Returns the same array where there is nothing to do, and a warning where other bits were set
    (old files keep overlays there).
    """
    width, shift = 8 * stored.dtype.itemsize, high + 1 - bits
    if bits >= width:
        return stored, []
    if stored.dtype.kind == "u":
        mask = stored.dtype.type((1 << bits) - 1)
        if shift == 0 and stored.max() <= mask:
            return stored, []
        clean = (stored >> stored.dtype.type(shift)) & mask
        dirty = (stored & ~stored.dtype.type(int(mask) << shift)) != 0
    else:
        up, down = stored.dtype.type(width - bits - shift), stored.dtype.type(width - bits)
        clean = (stored << up) >> down
        dirty = (clean != stored) & ((stored >> stored.dtype.type(bits)) != 0) & (shift == 0)
    count = int(np.count_nonzero(dirty))
    why = "(overlays, a wrong header, or damage); they were removed."
    return clean, [f"{count} pixels had bits set outside the {bits} stored ones {why}"] if count else []
