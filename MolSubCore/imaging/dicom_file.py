"""Opening a DICOM file safely: header first, pixel data only when asked for, no inflation bombs."""

from __future__ import annotations

import io
import mmap
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from MolSubCore.errors import ImageError
from MolSubCore.files import open_file
from MolSubCore.imaging.dicom_walk import check_elements, check_end
from MolSubCore.imaging.limits import MAX_INFLATED

_AGAIN = "Export or copy the file again"
_PREAMBLE = 132
_PIXEL_TAGS: list[Any] = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "PixelData",
]


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file with its header read.

    Attributes
    ----------
    path : Path
    header : Dataset
        Everything before the pixel data (with them, if the file is deflated).
    syntax : UID
        Transfer syntax; for a file without (0002,0010), the one its bytes were parsed by.
    syntax_declared : bool
        Whether the file names its transfer syntax.
    """

    path: Path
    header: Dataset
    syntax: UID
    syntax_declared: bool

    def pixel_dataset(self) -> Dataset:
        """The elements that describe and hold the pixels, read now; the caller may change it."""
        if self.syntax == DeflatedExplicitVRLittleEndian:
            dataset = Dataset(
                {tag: self.header.get_item(tag) for tag in self.header.keys() if tag.group in (0x28, 0x7FE0)}  # noqa: SIM118
            )
        else:
            read = dcmread(self.path, force=True, specific_tags=_PIXEL_TAGS)
            dataset = Dataset({tag: read.get_item(tag) for tag in read.keys()})  # noqa: SIM118
        little = self.syntax != ExplicitVRBigEndian
        dataset.set_original_encoding(self.syntax == ImplicitVRLittleEndian, little, self.header.original_character_set)
        return dataset


def open_dicom(path: Path) -> DicomFile:
    """Read the header of a DICOM file, with or without preamble.

    Raises
    ------
    ImageError
        If the file is damaged, deflated to more than `MAX_INFLATED` bytes, or has more than `MAX_ELEMENTS` elements.
    """
    with open_file(path) as stream:
        if stream.read(_PREAMBLE)[128:] != b"DICM":
            stream.seek(0)
        meta = _file_meta(stream)
        begin = stream.tell()
        if str(meta.get("TransferSyntaxUID", "")) == DeflatedExplicitVRLittleEndian:
            header = _inflated(path, stream, meta)
            return DicomFile(path, header, DeflatedExplicitVRLittleEndian, True)
        stream.seek(0)
        if not meta and DeflatedExplicitVRLittleEndian.encode() in stream.read(1 << 16):
            raise ImageError(path, "is deflated and its file meta information is damaged", _AGAIN)
        big = str(meta.get("TransferSyntaxUID", "")) == ExplicitVRBigEndian
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            check_elements(path, content, begin, little=not big)
        stream.seek(0)
        header = dcmread(stream, force=True, stop_before_pixels=True, defer_size=1 << 20)
    declared = header.file_meta.get("TransferSyntaxUID")
    if declared:
        return DicomFile(path, header, UID(str(declared)), True)
    implicit, little = header.original_encoding
    parsed = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    return DicomFile(path, header, parsed, False)


def _file_meta(stream: BinaryIO) -> FileMetaDataset:
    """Group 2, from the stream's position on; empty where it cannot be parsed. Nothing is inflated."""
    try:
        group = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
        return FileMetaDataset(group)
    except Exception:  # a damaged group 2 is reported by what fails next
        return FileMetaDataset()


def _inflated(path: Path, stream: BinaryIO, meta: FileMetaDataset) -> Dataset:
    """The data set behind a deflated group 2, inflated no further than the limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(stream.read(), MAX_INFLATED)
    except zlib.error as error:
        raise ImageError(path, f"is declared deflated, but cannot be inflated ({error})", _AGAIN) from error
    if inflater.unconsumed_tail:
        raise ImageError(path, f"inflates to more than {MAX_INFLATED >> 20} MiB", "Check where the file comes from")
    if not inflater.eof:
        raise ImageError(path, "is cut short: its deflated data end too early", _AGAIN)
    check_elements(path, content, 0)
    check_end(path, content)
    header = read_dataset(io.BytesIO(content), False, True)
    header.file_meta = meta
    return header
