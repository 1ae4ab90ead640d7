"""Pixel data of every transfer syntax against the pixels that were written; damaged and lying ones are refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from written_files import (
    UNCOMPRESSED,
    baseline_jpeg,
    lossless_jpeg,
    mammogram_dataset,
    picture,
    write_codestream,
    write_compressed,
    write_dicom,
    write_lossless,
)

from MolSubCore.errors import ImageError
from MolSubCore.imaging.io.dicom import unused_bits_removed
from MolSubCore.imaging.io.reader import read_mammogram

ENCODED = [(RLELossless, "pydicom"), (RLELossless, "pylibjpeg"), (JPEG2000Lossless, "pylibjpeg")]


@pytest.mark.parametrize("syntax", UNCOMPRESSED, ids=lambda uid: uid.name)
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (8, True), (12, False), (12, True), (16, False), (16, True)])
def test_uncompressed(tmp_path: Path, syntax: UID, bits: int, signed: bool) -> None:
    stored = picture(bits, signed=signed)
    mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", mammogram_dataset(stored, bits), syntax))
    assert mammogram.stored.dtype == stored.dtype
    assert np.array_equal(mammogram.stored, stored)
    assert mammogram.warnings == ()
    assert syntax.name in mammogram.photometric_history[0]


@pytest.mark.parametrize("syntax", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_uncompressed_bytes(tmp_path: Path, syntax: UID) -> None:
    """Eight bits may be written as bytes (OB) too, which have no byte order."""
    stored = picture(8)
    dataset = mammogram_dataset(stored)
    dataset["PixelData"].VR = "OB"
    assert np.array_equal(read_mammogram(write_dicom(tmp_path / "m.dcm", dataset, syntax)).stored, stored)


@pytest.mark.parametrize(("syntax", "encoder"), ENCODED, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (10, False), (12, False), (12, True), (16, False)])
def test_compressed_without_loss(tmp_path: Path, syntax: UID, encoder: str, bits: int, signed: bool) -> None:
    stored = picture(bits, signed=signed)
    path = write_compressed(tmp_path / "m.dcm", mammogram_dataset(stored, bits), syntax, encoding_plugin=encoder)
    mammogram = read_mammogram(path)
    assert mammogram.stored.dtype == stored.dtype
    assert np.array_equal(mammogram.stored, stored)
    assert mammogram.warnings == ()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_lossless_jpeg(tmp_path: Path, bits: int) -> None:
    stored = picture(bits)
    mammogram = read_mammogram(write_lossless(tmp_path / "m.dcm", stored, bits, JPEGLosslessSV1))
    assert np.array_equal(mammogram.stored, stored)
    assert mammogram.warnings == ()


def test_lossless_jpeg_of_more_bits_than_the_header_says(tmp_path: Path) -> None:
    """As the GE and Siemens files do: 16-bit samples that hold 12 bits."""
    stored = picture(12)
    path = write_codestream(
        tmp_path / "m.dcm", mammogram_dataset(stored, 12), JPEGLosslessSV1, lossless_jpeg(stored, 16)
    )
    mammogram = read_mammogram(path)
    assert np.array_equal(mammogram.stored, stored)
    assert mammogram.value_range == (0.0, 4095.0)
    assert not any("bits" in warning for warning in mammogram.warnings)  # harmless: nobody need know


def test_lossless_jpeg_knows_no_high_bit(tmp_path: Path) -> None:
    """Its samples are right-aligned, whatever cells the header speaks of (PS3.5 8.2.1)."""
    stored = picture(12)
    dataset = mammogram_dataset(stored, 12, HighBit=15)
    path = write_codestream(tmp_path / "m.dcm", dataset, JPEGLosslessSV1, lossless_jpeg(stored, 16))
    assert np.array_equal(read_mammogram(path).stored, stored)


def test_eight_bit_samples_in_a_file_of_sixteen(tmp_path: Path) -> None:
    stored = picture(8)
    dataset = mammogram_dataset(stored.astype(np.uint16), 8)
    path = write_codestream(tmp_path / "m.dcm", dataset, JPEGLosslessSV1, lossless_jpeg(stored, 8))
    mammogram = read_mammogram(path)
    assert np.array_equal(mammogram.stored, stored)
    assert mammogram.value_range == (0.0, 255.0)


@pytest.mark.parametrize("fragments", [1, 4])
@pytest.mark.parametrize("offset_table", [True, False])
def test_one_frame_in_several_fragments(tmp_path: Path, fragments: int, offset_table: bool) -> None:
    stored = picture(12)
    path = write_codestream(
        tmp_path / "m.dcm", mammogram_dataset(stored, 12, NumberOfFrames=1), JPEGLosslessSV1, lossless_jpeg(stored, 12),
        fragments=fragments, offset_table=offset_table,
    )  # fmt: skip
    assert np.array_equal(read_mammogram(path).stored, stored)


@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_ls_where_its_encoder_is_installed(tmp_path: Path, bits: int) -> None:
    pytest.importorskip("jpeg_ls")
    stored = picture(bits)
    mammogram = read_mammogram(write_compressed(tmp_path / "m.dcm", mammogram_dataset(stored, bits), JPEGLSLossless))
    assert np.array_equal(mammogram.stored, stored)


def test_baseline_jpeg_is_pillows_picture(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8) * 2
    stream = baseline_jpeg(smooth)
    dataset = mammogram_dataset(smooth, LossyImageCompression="01")
    mammogram = read_mammogram(write_codestream(tmp_path / "m.dcm", dataset, JPEGBaseline8Bit, stream))
    expected = np.asarray(Image.open(io.BytesIO(stream))).astype(int)
    assert np.abs(mammogram.stored.astype(int) - expected).max() <= 1
    assert "The image has been compressed with loss." in mammogram.photometric_history


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("syntax", UNCOMPRESSED[:2], ids=lambda uid: uid.name)
def test_files_without_preamble_or_meta_information(tmp_path: Path, preamble: bool, syntax: UID) -> None:
    stored = picture(12)
    path = write_dicom(tmp_path / "m.dcm", mammogram_dataset(stored, 12), syntax)
    if preamble:
        path.write_bytes(path.read_bytes()[132:])
    else:
        dataset = dcmread(path)
        del dataset.file_meta
        dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    mammogram = read_mammogram(path)
    assert np.array_equal(mammogram.stored, stored)
    assert ("(not declared)" in mammogram.photometric_history[0]) is not preamble


def test_samples_in_the_upper_bits_of_their_cells(tmp_path: Path) -> None:
    for signed in (False, True):
        stored = picture(12, signed=signed)
        dataset = mammogram_dataset(stored << 4, 12, HighBit=15)
        mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
        assert np.array_equal(mammogram.stored, stored)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.name)
def test_overlays_in_unused_bits_are_removed_and_told(tmp_path: Path, syntax: UID) -> None:
    stored = picture(12)
    dirty = stored.copy()
    dirty[:3, :4] |= 0x5000
    write = write_compressed if syntax == RLELossless else write_dicom
    mammogram = read_mammogram(write(tmp_path / "m.dcm", mammogram_dataset(dirty, 12), syntax))
    assert np.array_equal(mammogram.stored, stored)
    assert any(warning.startswith("12 pixels had bits set") for warning in mammogram.warnings)


@given(
    st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=30),
    st.integers(1, 16),
    st.integers(0, 15),
    st.booleans(),
)
def test_unused_bits_by_integer_arithmetic(cells: list[int], bits: int, high: int, signed: bool) -> None:
    """PS3.5 8.1.1 pixel by pixel, in Python's integers."""
    high = max(high, bits - 1)
    expected = []
    for cell in cells:
        value = (cell >> (high + 1 - bits)) % (1 << bits)
        expected.append(value - (1 << bits) if signed and value >= 1 << (bits - 1) else value)
    stored = np.array(cells, np.uint16).view(np.int16 if signed else np.uint16)
    clean, notes = unused_bits_removed(stored, bits, high)
    assert clean.tolist() == expected
    assert clean.dtype == stored.dtype
    if not signed:
        outside = sum(cell & ~(((1 << bits) - 1) << (high + 1 - bits)) != 0 for cell in cells)
    elif high == bits - 1:  # the bits above may be 0 or repeat the sign
        ones = (1 << 16 - bits) - 1
        outside = sum(
            cell >> bits != 0 and not (cell >> bits == ones and value < 0)
            for cell, value in zip(cells, expected, strict=True)
        )
    else:
        outside = 0
    assert (notes[0].startswith(f"{outside} pixels")) if outside else notes == []


def test_more_bits_than_are_said_to_be_stored_are_refused(tmp_path: Path) -> None:
    """Without the upper bits values of 1024 and more would be others; overlays there are in few pixels, and removed."""
    row, column = np.mgrid[:120, :160]
    smooth = (4 * row + 3 * column).astype(np.uint16)  # up to 953
    for stored in (smooth * 3, smooth + 150):  # half of the pixels above 1023; a corner of them
        path = write_dicom(tmp_path / "m.dcm", mammogram_dataset(stored, 12, BitsStored=10, HighBit=9))
        with pytest.raises(ImageError, match=r"values of up to 1[12] bits, its Bits Stored \(0028,0101\) says 10"):
            read_mammogram(path)
    marked = smooth.copy()
    marked[50:60, 20:90] |= 1 << 12
    read = read_mammogram(write_dicom(tmp_path / "m.dcm", mammogram_dataset(marked, 12, BitsStored=10, HighBit=9)))
    assert np.array_equal(read.stored, smooth)
    assert read.warnings[0].startswith("700 pixels had bits set outside the 10 stored ones")


def test_pixel_data_that_contradict_their_header(tmp_path: Path) -> None:
    """Other rows or columns than there are pixels, pixel data or an element twice, signs that are none."""
    slope = np.add.outer(np.arange(200), np.arange(160)).astype(np.uint16)
    stored, path = 1700 + 2 * slope + picture(12, (200, 160)) // 256, tmp_path / "m.dcm"
    sane = mammogram_dataset(stored, 12)
    write_dicom(path, sane)
    assert read_mammogram(path).warnings == ()
    content = path.read_bytes()
    element = content[content.index(b"\xe0\x7f\x10\x00") :]
    rows = content[content.index(b"\x28\x00\x10\x00US") :][:10]
    path.write_bytes(content + element)
    with pytest.raises(ImageError, match="pixel data twice"):
        read_mammogram(path)
    path.write_bytes(content.replace(rows, rows * 2))
    with pytest.raises(ImageError, match=r"\(0028,0010\) of its header twice"):
        read_mammogram(path)
    for attributes, words in (
        ({"Rows": 190}, "its size is not that of its image"),
        ({"Columns": 150}, "its size is not that of its image"),
        ({"Rows": 210}, "truncated pixel data"),
        ({"NumberOfFrames": 0}, "0 frames"),
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"PixelRepresentation": 1}, "is said to have signed pixels"),
        ({"PixelAspectRatio": ["2", "1"]}, "not square"),
        ({"BitsStored": 0}, "0 bits stored"),
        ({"BitsStored": 17}, "17 bits stored"),
    ):
        write_dicom(path, mammogram_dataset(stored, 12, **attributes))
        with pytest.raises(ImageError, match=words):
            pytest.fail(f"{attributes}: {read_mammogram(path)}")
    write_dicom(path, mammogram_dataset(stored, 12, PixelAspectRatio=["1", "1"], HighBit=3))
    told = read_mammogram(path)
    assert told.warnings == ("High Bit 3 is none of 12 bits stored in 16: 11 was used.",)
    assert np.array_equal(told.stored, stored)


def test_longer_pixel_data_than_the_image(tmp_path: Path) -> None:
    stored = picture(8, (5, 7))  # an odd number of bytes: one byte of padding belongs to it
    assert read_mammogram(write_dicom(tmp_path / "m.dcm", mammogram_dataset(stored))).warnings == ()
    dataset = mammogram_dataset(stored)
    dataset.PixelData += bytes(4)
    mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
    assert np.array_equal(mammogram.stored, stored)
    assert any("longer than the image" in warning for warning in mammogram.warnings)
