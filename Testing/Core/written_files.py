"""Small mammography files written by the tests themselves, with libraries that are not the code under test."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

UNCOMPRESSED = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]
LOSSLESS = [RLELossless, JPEG2000Lossless, JPEGLosslessSV1]
FOR_PRESENTATION = DigitalMammographyXRayImageStorageForPresentation


def picture(bits: int = 12, shape: tuple[int, int] = (36, 34), *, signed: bool = False, seed: int = 1) -> np.ndarray:
    """Random pixels that use the whole range of their bits."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    drawn = np.random.default_rng(seed).integers(low, high, shape, endpoint=True)
    drawn[0, 0], drawn[-1, -1] = low, high
    return drawn.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


def mammogram_dataset(stored: np.ndarray, bits: int | None = None, **attributes: Any) -> Dataset:
    """A small digital mammogram for presentation; attributes given as None are left out."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = FOR_PRESENTATION, "1.2.3.4"
    dataset.Modality, dataset.ImageLaterality, dataset.ViewPosition = "MG", "L", "CC"
    dataset.PresentationIntentType, dataset.BurnedInAnnotation = "FOR PRESENTATION", "NO"
    dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "P1", "1.2.3.5", "1.2.3.6"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def write_dicom(path: Path, dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write a DICOM file with preamble; pixel data are given in little endian."""
    if syntax == ExplicitVRBigEndian and dataset["PixelData"].VR == "OW":  # also where words hold two pixels
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    _set_meta(dataset, syntax)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_compressed(path: Path, dataset: Dataset, syntax: UID, **options: Any) -> Path:
    """Compress with pydicom's encoders and write."""
    _set_meta(dataset, ExplicitVRLittleEndian)
    dataset.compress(syntax, generate_instance_uid=False, **options)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_codestream(
    path: Path, dataset: Dataset, syntax: UID, stream: bytes, *, fragments: int = 1, offset_table: bool = True
) -> Path:
    """Write a compressed stream as the one frame of a DICOM file."""
    dataset.PixelData = encapsulate([stream], fragments_per_frame=fragments, has_bot=offset_table)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    _set_meta(dataset, syntax)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _set_meta(dataset: Dataset, syntax: UID) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def baseline_jpeg(stored: np.ndarray) -> bytes:
    """An 8-bit baseline JPEG stream (Pillow's encoder)."""
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def lossless_jpeg(stored: np.ndarray, bits: int) -> bytes:
    """A JPEG Lossless stream, process 14, selection value 1 (ITU T.81 annex H), with one 5-bit Huffman table."""
    rows, columns = stored.shape
    values = stored.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = values[:, :-1], values[:-1, 0], 1 << bits - 1
    differences = (values - predicted + (1 << 15)) % (1 << 16) - (1 << 15)
    words = []
    for difference in differences.ravel().tolist():
        size = abs(difference).bit_length()
        extra = difference if difference >= 0 else difference + (1 << size) - 1
        words.append(f"{size:05b}" + (f"{extra:0{size}b}" if 0 < size < 16 else ""))
    text = "".join(words)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    lengths = bytes([0, 0, 0, 0, 17, *[0] * 11])
    table = _segment(0xC4, bytes([0]) + lengths + bytes(range(17)))
    size_bytes = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
    frame = _segment(0xC3, bytes([bits]) + size_bytes + bytes([1, 1, 0x11, 0]))
    start = _segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    return b"\xff\xd8" + table + frame + start + scan + b"\xff\xd9"


def write_lossless(path: Path, stored: np.ndarray, bits: int, syntax: UID) -> Path:
    """Write a mammogram in one of `LOSSLESS`."""
    dataset = mammogram_dataset(stored, bits)
    if syntax == JPEGLosslessSV1:
        return write_codestream(path, dataset, syntax, lossless_jpeg(stored, bits))
    return write_compressed(path, dataset, syntax)


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def one_of_each_kind(folder: Path) -> list[Path]:
    """One small valid file of every kind the reader knows."""
    grey, deep = picture(8, (33, 34)), picture(12, (33, 34))  # smaller ones cannot be encoded as JPEG 2000
    files = []
    for syntax in UNCOMPRESSED:
        files.append(write_dicom(folder / f"{syntax.keyword}.dcm", mammogram_dataset(deep, 12), syntax))
    for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        if get_encoder(syntax).is_available:
            files.append(write_compressed(folder / f"{syntax.keyword}.dcm", mammogram_dataset(deep, 12), syntax))
    for syntax, stored, stream in (
        (JPEGBaseline8Bit, grey, baseline_jpeg(grey)),
        (JPEGLosslessSV1, deep, lossless_jpeg(deep, 12)),
    ):
        path = folder / f"{syntax.keyword}.dcm"
        files.append(write_codestream(path, mammogram_dataset(stored, 8 if stored is grey else 12), syntax, stream))
    for name, stored in (("8.png", grey), ("16.png", deep), ("8.jpg", grey), ("8.tif", grey), ("16.tif", deep)):
        Image.fromarray(stored).save(folder / name)
        files.append(folder / name)
    for name in ("v.nii", "v.nii.gz", "v.nrrd", "v.mha"):
        sitk.WriteImage(sitk.GetImageFromArray(deep[None]), str(folder / name))
        files.append(folder / name)
    return files
