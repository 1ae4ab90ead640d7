"""Files of which bytes are missing or overwritten within: refused, whatever compresses them; whole ones are read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
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
)

from MolSubCore.errors import ImageError
from MolSubCore.imaging.lost_block import lost_block
from MolSubCore.imaging.reader import read_mammogram
from MolSubCore.imaging.whole_jpeg import Damage, check_jpeg, check_jpeg_2000, check_packbits

SHAPE = (240, 300)


def breast(bits: int) -> np.ndarray:
    """A breast at the left border with some noise, black air beside it."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = (columns / 230) ** 2 + ((rows - 120) / 140) ** 2 < 1
    grey = 0.5 + 0.3 * np.sin(columns / 17) * np.cos(rows / 11) + np.random.default_rng(3).normal(0, 0.01, SHAPE)
    return np.where(inside, grey * 0.9 * (2**bits - 1), 0).astype(np.uint8 if bits == 8 else np.uint16)


def _restarts(stored: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, "JPEG", quality=95, restart_marker_rows=1)
    return stream.getvalue()


def _tiled(stored: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, "JPEG2000", no_jp2=True, tile_size=(128, 128))
    return stream.getvalue()


STREAMS: dict[str, tuple[UID, int, Callable[[np.ndarray], bytes] | None]] = {
    "JPEG": (JPEGBaseline8Bit, 8, baseline_jpeg),
    "JPEG with restart markers": (JPEGBaseline8Bit, 8, _restarts),
    "JPEG Lossless": (JPEGLosslessSV1, 12, lambda stored: lossless_jpeg(stored, 12)),
    "JPEG 2000": (JPEG2000Lossless, 12, None),
    "JPEG 2000 in tiles": (JPEG2000Lossless, 12, _tiled),
    "JPEG-LS": (JPEGLSLossless, 12, None),
    "RLE": (RLELossless, 12, None),
}


def damaged(content: bytes, start: int = 0) -> dict[str, bytes]:
    """The same bytes with a part of them lost, or overwritten with zeros; the end is left in its place."""
    length = len(content) - start
    found = {}
    for share, part in ((0.4, 0.09), (0.3, 0.48), (0.5, 0.3)):
        first, last = start + int(length * share), start + int(length * (share + part))
        found[f"{part} lost from {share}"] = content[:first] + content[last:]
        found[f"{part} zeroed from {share}"] = content[:first] + bytes(last - first) + content[last:]
    middle = start + length // 2
    found["512 bytes zeroed"] = content[:middle] + bytes(512) + content[middle + 512 :]
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_a_compressed_image_with_damage_within(tmp_path: Path, name: str) -> None:
    if name == "JPEG-LS":
        pytest.importorskip("jpeg_ls")
    syntax, bits, encode = STREAMS[name]
    stored, path = breast(bits), tmp_path / "m.dcm"
    if encode is None:
        write_compressed(path, mammogram_dataset(stored, bits), syntax)
    else:
        write_codestream(path, mammogram_dataset(stored, bits), syntax, encode(stored))
    assert read_mammogram(path).warnings == ()
    stream = get_frame(dcmread(path).PixelData, 0, number_of_frames=1)
    for what, content in damaged(stream, 600).items():
        write_codestream(path, mammogram_dataset(stored, bits), syntax, content)
        with pytest.raises(ImageError, match=r"m\.dcm.*(damaged|truncated|cannot be read)"):
            pytest.fail(f"read: {what}, {read_mammogram(path)}")


@pytest.mark.parametrize("syntax", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_an_uncompressed_image_with_damage_within(tmp_path: Path, syntax: UID) -> None:
    path = write_dicom(tmp_path / "m.dcm", mammogram_dataset(breast(12), 12), syntax)
    assert read_mammogram(path).warnings == ()
    content = path.read_bytes()
    for what, changed in damaged(content, 1000).items():
        path.write_bytes(changed)
        with pytest.raises(ImageError, match=r"m\.dcm"):
            pytest.fail(f"read: {what}, {read_mammogram(path)}")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("m.jpg", {}),
        ("m.jpg", {"progressive": True}),
        ("m.png", {}),
        ("m.tif", {}),
        ("m.tif", {"compression": "tiff_lzw"}),
        ("m.tif", {"compression": "tiff_deflate"}),
        ("m.tif", {"compression": "packbits"}),
        ("m.tif", {"compression": "jpeg"}),
        ("m.nii.gz", {}),
        ("m.nrrd", {"useCompression": True}),
        ("m.mha", {"useCompression": True}),
        ("m.mha", {}),
    ],
    ids=str,
)
def test_a_picture_or_volume_with_damage_within(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    path, stored = tmp_path / name, breast(8)
    if name.endswith((".nii.gz", ".nrrd", ".mha")):
        sitk.WriteImage(sitk.GetImageFromArray(stored[None]), str(path), **options)
    else:
        Image.fromarray(stored).save(path, **options)
    assert read_mammogram(path).shape == SHAPE
    content = path.read_bytes()
    for what, changed in damaged(content, 700).items():
        path.write_bytes(changed)
        with pytest.raises(ImageError):
            pytest.fail(f"read: {what}, {read_mammogram(path)}")


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(1, 100),
    st.sampled_from([{}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1}, {"optimize": True}]),
    st.sampled_from([None, 0, 1, 2]),
    st.integers(0, 99),
)
def test_whole_jpegs_of_every_shape_pass(
    shape: tuple[int, int], quality: int, options: dict[str, int], subsampling: int | None, seed: int
) -> None:
    """Also in colour, with components of several sizes; Pillow's encoder is libjpeg."""
    channels = () if subsampling is None else (3,)
    values = np.random.default_rng(seed).integers(0, 256, (*shape, *channels)).astype(np.uint8)
    stream, more = io.BytesIO(), {} if subsampling is None else {"subsampling": subsampling}
    Image.fromarray(values).save(stream, "JPEG", quality=quality, **options, **more)
    assert check_jpeg(stream.getvalue())


@pytest.mark.parametrize("kind", ["lossless", "baseline"])
def test_streams_longer_than_what_is_looked_at_at_once(kind: str) -> None:
    stream = lossless_jpeg(picture(16, (400, 400)), 16) if kind == "lossless" else baseline_jpeg(picture(8, (700, 700)))
    assert len(stream) > 5 << 16
    assert check_jpeg(stream)
    # One code more or less, far behind the first part.
    at = len(stream) * 3 // 4
    with pytest.raises(Damage):
        check_jpeg(stream[:at] + stream[at + 40 :])


@pytest.mark.parametrize("shape", [(40, 40), (300, 200)])
@pytest.mark.parametrize(
    "options", [{}, {"tile_size": (64, 64)}, {"precinct_size": (64, 64), "quality_layers": [9, 1]}]
)
def test_whole_jpeg_2000_of_a_black_picture_passes(shape: tuple[int, int], options: dict[str, object]) -> None:
    """Its packets are empty: nothing but zero bytes."""
    for stored in (np.zeros(shape, np.uint16), np.pad(picture(12, (9, 9)), (0, shape[0] - 9))):
        stream = io.BytesIO()
        Image.fromarray(stored.astype(np.uint16)).save(stream, "JPEG2000", no_jp2=True, **options)
        check_jpeg_2000(stream.getvalue())


def test_packed_bits_end_with_the_picture() -> None:
    """PackBits by its definition: n + 1 bytes as they are, or one byte 257 - n times."""
    whole = bytes([2, 7, 8, 9]) + bytes([254, 5])
    check_packbits(whole, 6)
    check_packbits(whole + b"\0", 6)
    for data, size in ((whole, 5), (whole, 7), (whole[:-1], 6), (whole + bytes([1, 3, 4, 9]), 6)):
        with pytest.raises(Damage):
            check_packbits(data, size)


def test_what_a_picture_may_hold_is_no_lost_block() -> None:
    """Black air, a black label in the breast, a dark band at the bottom, a black frame, a mask, a flat picture."""
    stored = breast(12)
    label, band, frame = stored.copy(), stored.copy(), stored.copy()
    label[100:140, 20:180] = 0
    band[180:] = 0
    frame[:20] = frame[-20:] = frame[:, :20] = frame[:, -20:] = 0
    for whole in (stored, stored[:, ::-1], label, band, frame, (stored > 0).astype(np.uint8), np.zeros_like(stored)):
        assert lost_block(np.ascontiguousarray(whole)) is None
    for first, last in ((100 * 300 + 40, 103 * 300 + 10), (100 * 300 + 40, 240 * 300), (60 * 300 + 5, 60 * 300 + 180)):
        lost = stored.copy()
        lost.ravel()[first:last] = 0
        assert lost_block(lost) is not None


def _with_elements(elements: bytes, syntax: UID, folder: Path) -> Path:
    """A mammogram whose header has more elements in it, just before those of the picture."""
    path = write_dicom(folder / "plain.dcm", mammogram_dataset(picture(12), 12))
    content = path.read_bytes()
    place = content.index(b"\x28\x00\x02\x00US")
    begin = 144 + struct.unpack_from("<I", content, 140)[0]
    body = content[begin:place] + elements + content[place:]
    if syntax == DeflatedExplicitVRLittleEndian:
        other = write_dicom(folder / "deflated.dcm", mammogram_dataset(picture(12), 12), syntax).read_bytes()
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        content, body = other, packer.compress(body) + packer.flush()
        begin = 144 + struct.unpack_from("<I", other, 140)[0]
    (folder / "m.dcm").write_bytes(content[:begin] + body)
    return folder / "m.dcm"


ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
SEQUENCE = struct.pack("<HH2sHI", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF)
END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.name)
@pytest.mark.parametrize(
    ("elements", "words"),
    [
        (SEQUENCE + ITEM * 2_000_000 + END, "more than 100000 elements and items"),
        (struct.pack("<HH2sHI", 8, 0x1115, b"SQ", 0, 8 * 200_000) + ITEM * 200_000, "more than 100000 elements"),
        (b"".join(struct.pack("<HH2sH", 9, n, b"LO", 0) for n in range(1 << 16)) * 2, "more than 100000 elements"),
        ((SEQUENCE + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * 300, "more than 100 deep"),
    ],
    ids=["items", "items of a length", "elements", "depth"],
)
def test_headers_of_millions_of_elements_are_refused_before_they_are_parsed(
    tmp_path: Path, syntax: UID, elements: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _with_elements(elements, syntax, tmp_path)

    def of_meta(*args: Any, **kwargs: Any) -> Any:
        assert "stop_when" in kwargs, "the whole header is parsed"
        return read_dataset(*args, **kwargs)

    monkeypatch.setattr("MolSubCore.imaging.dicom_file.read_dataset", of_meta)
    monkeypatch.setattr("MolSubCore.imaging.dicom_file.dcmread", of_meta)
    with pytest.raises(ImageError, match=words):
        read_mammogram(path)


def test_a_header_of_some_thousand_items_is_read(tmp_path: Path) -> None:
    whole = ITEM[:4] + struct.pack("<I", 8) + struct.pack("<HH2sH", 8, 0x1150, b"UI", 0)
    assert (
        read_mammogram(_with_elements(SEQUENCE + whole * 5000 + END, ExplicitVRLittleEndian, tmp_path)).label == "L CC"
    )


def test_thousands_of_useless_tables_are_told_in_two_sentences(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4096, 0, 3], b"\0\0"
    dataset = mammogram_dataset(picture(12), 12, VOILUTSequence=[item] * 2000)
    told = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset)).warnings
    assert told == (
        "The file has 2000 VOI LUTs; the first 16 were looked at.",
        "VOI LUT 0 is not used: it has 3 bits per entry, expected 8 to 16; nor are 15 others, for the same reason.",
    )
