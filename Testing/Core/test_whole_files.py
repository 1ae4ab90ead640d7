"""Files of which bytes are missing or overwritten within: refused, whatever compresses them; whole ones are read."""

from __future__ import annotations

import gzip
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
from PIL import Image, ImageDraw, ImageFont
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

from MolSubCore.errors import ImageError, MolSubError
from MolSubCore.imaging.io.damage import (
    Damage,
    check_jpeg,
    check_jpeg_2000,
    check_packbits,
    lost_block,
    shifted_rows,
    unlike,
)
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions

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


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_tiff_cut_within_its_directory_is_cut_short(tmp_path: Path, compression: str | None) -> None:
    """Most programs write the directory last."""
    path = tmp_path / "m.tif"
    Image.fromarray(breast(8)).save(path, compression=compression)
    content = path.read_bytes()
    at = int.from_bytes(content[4:8], "little")
    Image.fromarray(breast(8)).save(tmp_path / "whole.png")
    whole = read_mammogram(tmp_path / "whole.png")
    for end in range(at, min(len(content), at + 200)):
        path.write_bytes(content[:end])
        for read in (read_mammogram, lambda name: read_lesions(name, whole)):
            with pytest.raises(MolSubError) as caught:
                read(path)
            assert "Error" not in str(caught.value)


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


def scans(stream: bytes) -> list[bytes]:
    """A progressive file up to its first scan, and each scan with the tables before it; without the end marker."""
    places, cuts, at = [], [], 2
    while stream[at + 1] != 0xD9:
        if stream[at + 1] == 0xDA:
            cuts.append(places[-1] if places else at)
        places = [*places, at] if stream[at + 1] == 0xC4 else []
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        while stream[at] != 0xFF or stream[at + 1] in (0, *range(0xD0, 0xD8)):
            at += 1
    return [stream[first:last] for first, last in zip([0, *cuts], [*cuts, at], strict=True)]


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(1, 100),
    st.sampled_from([None, 0, 1, 2]),
    st.booleans(),
    st.sampled_from([{}, {"restart_marker_blocks": 3}]),
    st.integers(0, 99),
)
def test_a_progressive_jpeg_passes_with_all_of_its_scans_only(
    shape: tuple[int, int], quality: int, subsampling: int | None, flat: bool, options: dict[str, int], seed: int
) -> None:
    """Also of one grey, of which hardly anything but the means is coded; the scans are those of libjpeg's script."""
    channels = () if subsampling is None else (3,)
    values = np.random.default_rng(seed).integers(0, 256, (*shape, *channels)).astype(np.uint8)
    stream, more = io.BytesIO(), {} if subsampling is None else {"subsampling": subsampling}
    whole = Image.fromarray(np.full_like(values, seed) if flat else values)
    whole.save(stream, "JPEG", quality=quality, progressive=True, **options, **more)
    assert not check_jpeg(stream.getvalue())
    first, *parts = scans(stream.getvalue())
    assert len(parts) == (6 if subsampling is None else 10)
    assert b"".join([first, *parts, b"\xff\xd9"]) == stream.getvalue()
    for lost in range(len(parts)):
        fewer = [part for number, part in enumerate(parts) if number != lost]
        for kept in (fewer, parts[: lost + 1]):
            if kept != parts:
                with pytest.raises(Damage, match="scan"):
                    check_jpeg(b"".join([first, *kept, b"\xff\xd9"]))


def test_a_progressive_picture_that_was_closed_too_early_is_refused(tmp_path: Path) -> None:
    """Decoders show what came, and say nothing."""
    path = tmp_path / "m.jpg"
    Image.fromarray(breast(8)).save(path, quality=92, progressive=True)
    assert read_mammogram(path).shape == SHAPE
    first, *parts = scans(path.read_bytes())
    path.write_bytes(b"".join([first, *parts[:3], b"\xff\xd9"]))
    with pytest.raises(ImageError, match=r"m\.jpg: is not a whole picture: scans of its coded data are missing"):
        read_mammogram(path)


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
        for value in (0, 4095, 1928):
            lost = stored.copy()
            lost.ravel()[first:last] = value
            assert lost_block(lost) is not None
            assert lost_block(np.ascontiguousarray(lost[::-1, ::-1])) is not None


@pytest.mark.parametrize("count", [20, 77, 128, 230])
def test_pixels_missing_in_the_middle_shift_the_rest(tmp_path: Path, count: int) -> None:
    """The file is as long as it should be: others stand at its end."""
    stored = breast(12)
    for whole in (stored, stored[:, ::-1], stored[::-1], stored // 16):
        flat = np.ascontiguousarray(whole).ravel()
        lost = np.concatenate([flat[:36040], flat[36040 + count :], flat[-count:]]).reshape(SHAPE)
        path = write_dicom(tmp_path / "m.dcm", mammogram_dataset(np.ascontiguousarray(whole), 12))
        read_mammogram(path)
        with pytest.raises(ImageError, match=r"from about row 1[12]\d on all lies \d+ pixels to the (left|right)"):
            read_mammogram(write_dicom(path, mammogram_dataset(lost, 12)))


def test_real_pictures_are_not_shifted_and_would_be_found(shared_data: Path) -> None:
    for path in sorted(shared_data.glob("cdd-cesm/images/P*.jpg"))[:3]:
        with Image.open(path) as picture:
            stored = np.asarray(picture.convert("L"))
        for form in (stored, stored[:, ::-1], np.rot90(stored), stored[::4, ::4], np.pad(stored, 40)):
            assert shifted_rows(np.ascontiguousarray(form)) is None
        flat, place = stored.ravel(), stored.size // 2
        lost = np.concatenate([flat[:place], flat[place + 256 :], np.zeros(256, np.uint8)]).reshape(stored.shape)
        found = shifted_rows(lost)
        assert found is not None
        assert abs(found[1] - 256) < 4


@pytest.mark.parametrize("value", [0, 4095, 1928])
def test_a_line_across_the_picture_and_a_frame_are_no_damage(tmp_path: Path, value: int) -> None:
    """One dead line of a detector is told; a frame all around is no cut-off breast."""
    for turned in (False, True):
        stored = breast(12).T if turned else breast(12)
        stored[70] = value
        stored = stored.T if turned else stored
        mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", mammogram_dataset(np.ascontiguousarray(stored), 12)))
        name = "Column 70" if turned else "Row 70"
        assert [text for text in mammogram.warnings if text.startswith(f"{name} holds one value")], mammogram.warnings
        assert np.array_equal(mammogram.stored, stored)
    framed = breast(12)
    framed[:20] = framed[-20:] = framed[:, :20] = framed[:, -20:] = value
    warnings = read_mammogram(write_dicom(tmp_path / "m.dcm", mammogram_dataset(framed, 12))).warnings
    told = ("negative", "plain white") if value == 4095 else ()  # white may be a negative's air
    assert [text for text in warnings if not any(words in text for words in told)] == []


def test_what_a_compression_with_loss_leaves_is_no_lost_block(shared_data: Path) -> None:
    """Runs of one value beside nearly the same: flat blocks, saturated tissue. The second file was once refused."""
    flat = breast(8)
    flat[90:120, 20:180] = 254
    flat[100, 30:170] = 255
    assert lost_block(flat) is None
    for path in [
        *sorted(shared_data.glob("cdd-cesm/images/P1*.jpg")),
        shared_data / "msynth/P101_Dhetero_L5.0_X1.02e10.jpg",
    ]:
        assert lost_block(read_mammogram(path).stored) is None
        with Image.open(path) as picture:
            shown = picture.convert("L")
        for quality in (50, 75, 90):
            stream = io.BytesIO()
            shown.save(stream, "JPEG", quality=quality)
            assert lost_block(np.asarray(Image.open(stream))) is None


@pytest.mark.parametrize("lost", [b"\0", b"\xff", b"\xd0"], ids=["zeros", "ones", "fill"])
@pytest.mark.parametrize("name", ["m.dcm", "m.nii", "m.nrrd", "m.mha", "m.tif"])
def test_a_tail_or_a_sector_of_plain_pixels_is_lost(tmp_path: Path, name: str, lost: bytes) -> None:
    """From anywhere in tissue to the end, and sectors of a disk; air has noise, or is black."""
    path = tmp_path / name
    for air in (0, 60):
        stored = np.where(breast(12) > 0, breast(12), np.random.default_rng(2).integers(0, air + 1, SHAPE)).astype("u2")
        if name == "m.dcm":
            write_dicom(path, mammogram_dataset(stored, 12))
        elif name == "m.tif":
            Image.fromarray(stored).save(path)
        else:
            sitk.WriteImage(sitk.GetImageFromArray(stored[None]), str(path))
        content = path.read_bytes()
        read_mammogram(path)
        begin = content.index(stored[100].tobytes()) - 100 * SHAPE[1] * 2
        for row, column in ((60, 40), (100, 150), (120, 9), (180, 90)):
            at = begin + 2 * (row * SHAPE[1] + column)
            stop = begin + stored.nbytes
            sector = at // 512 * 512
            for first, last in ((at, stop), (sector, min(stop, sector + 4096)), (sector, sector + 512)):
                path.write_bytes(content[:first] + lost * (last - first) + content[last:])
                try:
                    found = read_mammogram(path)
                except ImageError:
                    continue
                # With black air beside it a lost part of a row looks like a dead line of the detector, which is told.
                assert last - first < 2 * SHAPE[1] and air == 0, (row, column, last - first)
                assert any("holds one value right across" in text for text in found.warnings)


def test_noise_in_the_place_of_pixels(tmp_path: Path) -> None:
    """Bytes of another file, packed or not of a picture; all 16 bits are used, so that none is told by its bits."""
    stored = breast(16)
    stored.ravel()[100 * 300 + 40 :][:2048] = np.random.default_rng(5).integers(0, 1 << 16, 2048)
    with pytest.raises(ImageError, match="without any likeness"):
        read_mammogram(write_dicom(tmp_path / "m.dcm", mammogram_dataset(stored, 16)))
    assert lost_block(np.random.default_rng(5).integers(0, 1 << 16, SHAPE).astype(np.uint16)) is None


def test_what_looks_like_no_picture_is_told(tmp_path: Path) -> None:
    """Bytes in the other order, rows and columns exchanged, a picture that ends with a straight line of tissue."""
    stored = breast(12)
    assert unlike(stored) is None
    assert "bytes of each exchanged" in str(unlike(stored.byteswap()))
    assert "rows and columns exchanged" in str(unlike(stored.reshape(SHAPE[1], SHAPE[0])))
    assert unlike(np.random.default_rng(1).integers(0, 4096, SHAPE).astype(np.uint16)) == "as of damage"
    stored[130:] = 0
    told = read_mammogram(write_dicom(tmp_path / "m.dcm", mammogram_dataset(stored, 12))).warnings
    assert len(told) == 1
    assert told[0].startswith("The 110 rows at the bottom hold one value, and the breast is cut off there")


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.nrrd", "m.mha"])
def test_volumes_of_another_size_than_their_data(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(breast(12)[None]), str(path), name == "m.nii.gz")
    content = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    if "nii" in name:
        content = content[:42] + struct.pack("<h", SHAPE[1] - 2) + content[44:]
    else:
        content = content.replace(b"300 240", b"298 240")
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ImageError, match="its size is not that of its image"):
        read_mammogram(path)


@pytest.mark.parametrize("options", [{}, {"bits": 16}, {"mode": "RGB"}, {"mode": "1"}], ids=str)
def test_every_byte_of_a_png_is_checked(tmp_path: Path, options: dict[str, Any]) -> None:
    """One bit turned over anywhere, an end that is missing, parts that are swapped: of images, and of masks."""
    image, path = tmp_path / "i.png", tmp_path / "m.png"
    stored = breast(options.get("bits", 8))[60:180, :150]
    Image.fromarray(breast(8)[60:180, :150]).save(image)
    mask = np.zeros(stored.shape, np.uint8)
    mask[40:80, 40:90] = 255
    picture = Image.fromarray(stored if not options.get("mode") else mask)
    (picture.convert(options["mode"]) if options.get("mode") else picture).save(path)
    content = path.read_bytes()

    def read() -> None:
        if options.get("mode"):
            read_lesions(path, read_mammogram(image))
        else:
            read_mammogram(path)

    read()
    path.write_bytes(content + b"more")
    read()
    damaged_ones = [
        content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :] for at in range(12, len(content) - 4, 37)
    ]
    for changed in (*damaged_ones, content[:-12], content[:-4], content[:-12] + bytes(12)):
        path.write_bytes(changed)
        with pytest.raises(MolSubError):
            pytest.fail(f"read: {read()}")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("predictor", [1, 2])
def test_tiff_lzw_fills_its_picture_exactly(tmp_path: Path, bits: int, predictor: int) -> None:
    """Codes are followed as libtiff wrote them; bytes that are lost shift them, others where they stand for more."""
    path, stored = tmp_path / "m.tif", np.tile(breast(bits), (2, 2))
    Image.fromarray(stored).save(path, compression="tiff_lzw", tiffinfo={317: predictor})
    assert np.array_equal(read_mammogram(path).stored, stored)
    content = path.read_bytes()
    for at in range(2000, len(content) - 3000, 30011):
        lost, other = content[:at] + content[at + 1 :], content[:at] + b"\x55" * 90 + content[at + 90 :]
        for changed in (lost, other) if bits == 8 else (lost,):
            path.write_bytes(changed)
            with pytest.raises(ImageError):
                pytest.fail(f"read: {at} of {len(content)}, {read_mammogram(path)}")


def test_tiff_parts_lie_apart_and_within_the_file(tmp_path: Path) -> None:
    path, stored = tmp_path / "m.tif", breast(8)
    Image.fromarray(stored).save(path, tiffinfo={278: 60})
    with Image.open(path) as picture:
        offsets = picture.tag_v2[273]
    content = path.read_bytes()
    assert len(offsets) == 4
    read_mammogram(path)
    for wrong in (offsets[1] - 300, len(content) - 100):
        path.write_bytes(content.replace(struct.pack("<I", offsets[2]), struct.pack("<I", wrong)))
        with pytest.raises(ImageError, match=r"lie over each other|missing|not a whole"):
            pytest.fail(f"read: {read_mammogram(path)}")


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

    monkeypatch.setattr("MolSubCore.imaging.io.dicom.read_dataset", of_meta)
    monkeypatch.setattr("MolSubCore.imaging.io.dicom.dcmread", of_meta)
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


def test_a_line_of_text_is_no_noise() -> None:
    """Burnt into the air, as viewers export pictures; a strip of noise of the same width still is noise."""
    stored = np.zeros((400, 1000), np.uint8)
    stored[:, 550:] = np.random.default_rng(0).integers(100, 180, (400, 450)) // 8 * 8
    for text in ("Musterfrau, Erika 03.12.1961  L CC  28 kVp 90 mAs", "#" * 40, "|" * 80):
        for size in (8, 10, 12, 14, 20, 30):
            picture = Image.fromarray(stored)
            ImageDraw.Draw(picture).text((10, 20), text, fill=255, font=ImageFont.load_default(size))
            assert lost_block(np.asarray(picture)) is None, (text, size)
    lost = stored.copy()
    lost[21, 20:532] = np.random.default_rng(1).integers(0, 256, 512)
    assert lost_block(lost) is not None
