"""Frames of a multi-frame DICOM file, such as a Segmentation, one after another and none before it is checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from MolSubCore.errors import ImageError
from MolSubCore.imaging.dicom_facts import numbers
from MolSubCore.imaging.dicom_file import DicomFile
from MolSubCore.imaging.dicom_pixels import check_stream, decoder_of, plugin_of
from MolSubCore.imaging.limits import MAX_BYTES, check_size

_AGAIN = "Export the segmentation again"
#: Frames of a file; one of tomosynthesis has about a hundred.
_MOST = 10_000


def check_frames(path: Path, header: Dataset) -> tuple[int, int, int, int]:
    """Rows, columns, frames and bits a pixel, where a header claims no more of them than a segmentation has.

    Raises
    ------
    ImageError
    """
    layout = []
    for keyword in ("Rows", "Columns", "NumberOfFrames", "BitsAllocated"):
        found = numbers(header, keyword)
        if not found and keyword != "NumberOfFrames":
            raise ImageError(path, f"does not say its {keyword}", _AGAIN)
        layout.append(int(found[0]) if found else 1)
    rows, columns, count, bits = layout
    check_size(path, rows, columns)
    if not 1 <= count <= _MOST or rows * columns * count > MAX_BYTES or bits not in (1, 8, 16):
        raise ImageError(path, f"claims {count} frames of {rows} x {columns} pixels of {bits} bits", _AGAIN)
    return rows, columns, count, bits


def read_frames(file: DicomFile) -> Iterator[NDArray[Any]]:
    """Decode all frames of a file, one at a time.

    Yields
    ------
    ndarray of an unsigned integer, shape (rows, columns)
        Of 1-bit files 0 and 1.

    Raises
    ------
    ImageError
        If the header claims too much, or there are fewer pixels than it says.
    """
    dataset = file.pixel_dataset()
    rows, columns, count, bits = check_frames(file.path, dataset)
    if "PixelData" not in dataset:
        raise ImageError(file.path, "has no pixel data", _AGAIN)
    decoder, plugin = decoder_of(file), ""
    if file.syntax.is_encapsulated:
        plugin = plugin_of(decoder)
        streams = list(generate_frames(dataset.PixelData, number_of_frames=count))
        if len(streams) != count:
            raise ImageError(file.path, f"has {len(streams)} frames, its header says {count}", _AGAIN)
        for stream in streams:
            check_stream(file, dataset, stream)
    elif len(dataset.PixelData) < (rows * columns * count * bits + 7) // 8:
        raise ImageError(file.path, f"has truncated pixel data: {len(dataset.PixelData)} bytes", _AGAIN)
    for frame, _ in decoder.iter_array(dataset, raw=True, decoding_plugin=plugin):
        yield frame
