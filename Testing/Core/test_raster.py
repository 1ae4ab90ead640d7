"""PNG, JPEG and TIFF against the pixels written with Pillow, tifffile and OpenCV; colour and doubt are refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from written_files import picture

from MolSubCore.errors import ImageError
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.imaging.view_text import facts_from_name

GREY, DEEP = picture(8), picture(16)


def png(path: Path, samples: np.ndarray, colour_type: int) -> Path:
    """A PNG written by hand, for the kinds no library at hand writes; samples (rows, columns, channels)."""
    rows, columns = samples.shape[:2]
    bits = 8 * samples.dtype.itemsize
    lines = b"".join(b"\0" + line.astype(samples.dtype.newbyteorder(">")).tobytes() for line in samples)
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", columns, rows, bits, colour_type, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("stored", [GREY, DEEP], ids=["8", "16"])
@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.wrong"])
def test_grey_pictures(tmp_path: Path, stored: np.ndarray, name: str) -> None:
    """By content, not by name; dots per inch are no pixel spacing."""
    form = "TIFF" if name.endswith("tif") else "PNG"
    Image.fromarray(stored).save(tmp_path / name, form, dpi=(300, 300))
    mammogram = read_mammogram(tmp_path / name)
    assert mammogram.stored.dtype == stored.dtype
    assert np.array_equal(mammogram.pixels, stored)
    assert mammogram.value_range == (0.0, float(np.iinfo(stored.dtype).max))
    assert mammogram.spacing == Spacing()
    assert mammogram.warnings == ()
    assert any("taken as bright = dense" in line for line in mammogram.photometric_history)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i2", ">i2", "<f4", ">f4", "<u4", "<i4"])
@pytest.mark.parametrize("form", [{}, {"bigtiff": True}, {"rowsperstrip": 5}, {"tile": (16, 16)}])
def test_tiff_of_every_type(tmp_path: Path, dtype: str, form: dict[str, Any]) -> None:
    number = np.dtype(dtype)
    stored = (DEEP.astype(np.int64) - (30_000 if number.kind in "if" else 0)) % (
        256 if number.itemsize == 1 else 70_000
    )
    if number.kind in "if":
        stored -= 30_000
    stored = stored.astype(number)
    byte_order = ">" if dtype[0] == ">" and not form.get("bigtiff") else "<"
    options = {key: value for key, value in form.items() if key != "bigtiff"}
    with tifffile.TiffWriter(tmp_path / "m.tif", bigtiff="bigtiff" in form, byteorder=byte_order) as writer:
        writer.write(stored, photometric="minisblack", **options)
    mammogram = read_mammogram(tmp_path / "m.tif")
    assert np.array_equal(mammogram.stored, stored)
    assert mammogram.stored.dtype.isnative
    if number.itemsize <= 2:
        limits = np.iinfo(number)
        assert mammogram.value_range == (float(limits.min), float(limits.max))
    else:
        assert mammogram.value_range == (float(stored.min()), float(stored.max()))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("stored", [GREY, DEEP], ids=["8", "16"])
def test_compressed_tiff(tmp_path: Path, compression: str, stored: np.ndarray) -> None:
    Image.fromarray(stored).save(tmp_path / "m.tif", compression=compression)
    assert np.array_equal(read_mammogram(tmp_path / "m.tif").stored, stored)


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_tiff_where_zero_is_white(tmp_path: Path, dtype: str) -> None:
    stored = (GREY if dtype == "u1" else DEEP).astype(dtype)
    tifffile.imwrite(tmp_path / "m.tif", stored, photometric="miniswhite")
    mammogram = read_mammogram(tmp_path / "m.tif")
    top = np.iinfo(stored.dtype).max
    assert np.array_equal(mammogram.pixels, (top - stored.astype(np.int64)).astype(np.float32))
    assert any("0 is white: inverted" in line for line in mammogram.photometric_history)


def test_jpeg_is_what_opencv_decodes(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(60), np.arange(50)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "m.jpg", quality=80)
    expected = cv2.imread(str(tmp_path / "m.jpg"), cv2.IMREAD_UNCHANGED)
    assert expected is not None
    assert np.abs(read_mammogram(tmp_path / "m.jpg").stored.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("quality", "told"), [(20, True), (29, True), (31, False), (75, False), (100, False)])
def test_a_strong_compression_is_told(tmp_path: Path, quality: int, told: bool) -> None:
    smooth = np.add.outer(np.arange(60), np.arange(50)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "m.jpg", quality=quality)
    assert any("compressed strongly" in text for text in read_mammogram(tmp_path / "m.jpg").warnings) == told


@pytest.mark.parametrize(("levels", "told"), [(16, True), (40, True), (64, False), (256, False)])
def test_a_breast_of_few_grey_values_is_told(tmp_path: Path, levels: int, told: bool) -> None:
    rows, columns = np.mgrid[:300, :200]
    inside = (columns / 150) ** 2 + ((rows - 150) / 130) ** 2 < 1
    grain = np.random.default_rng(0).normal(150, 40, inside.shape)
    values = np.where(inside, grain.clip(20, 255), 0)
    Image.fromarray((values // (256 / levels) * (256 // levels)).astype(np.uint8)).save(tmp_path / "m.png")
    assert any("grey values (fewer than 48)" in text for text in read_mammogram(tmp_path / "m.png").warnings) == told


def test_a_jpeg_with_a_preview_is_its_first_picture(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(
        tmp_path / "m.jpg", "MPO", save_all=True, append_images=[Image.fromarray(GREY[::2, ::2])], quality=95
    )
    assert read_mammogram(tmp_path / "m.jpg").shape == GREY.shape


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK"])
def test_grey_stored_as_colour(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("m.tif" if mode == "CMYK" else "m.png")
    Image.fromarray(GREY).convert(mode).save(file)
    mammogram = read_mammogram(file)
    assert np.array_equal(mammogram.stored, GREY)
    assert mammogram.stored.ndim == 2
    assert any("all colour channels equal" in line for line in mammogram.photometric_history)


@pytest.mark.parametrize("name", ["m.png", "m.tif"])
def test_sixteen_bit_grey_stored_as_colour_keeps_all_bits(tmp_path: Path, name: str) -> None:
    channels = np.repeat(DEEP[..., None], 3, axis=-1)
    if name == "m.png":
        png(tmp_path / name, channels, 2)
    else:
        tifffile.imwrite(tmp_path / name, channels, photometric="rgb")
    mammogram = read_mammogram(tmp_path / name)
    assert np.array_equal(mammogram.stored, DEEP)
    assert mammogram.value_range == (0.0, 65535.0)


@pytest.mark.parametrize("colour_type", [4, 6], ids=["grey and alpha", "colour and alpha"])
def test_sixteen_bit_with_alpha(tmp_path: Path, colour_type: int) -> None:
    channels = np.repeat(DEEP[..., None], 2 if colour_type == 4 else 4, axis=-1)
    channels[..., -1] = picture(16, seed=2)  # alpha is not the picture
    assert np.array_equal(read_mammogram(png(tmp_path / "m.png", channels, colour_type)).stored, DEEP)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_single_coloured_pixel_is_refused_with_its_place(tmp_path: Path, dtype: type) -> None:
    channels = np.repeat((GREY if dtype is np.uint8 else DEEP)[..., None], 3, axis=-1)
    channels[7, 11, 2] ^= 1  # the lowest bit
    with pytest.raises(ImageError, match=r"m\.png: is a colour picture .* row 7, column 11\)"):
        read_mammogram(png(tmp_path / "m.png", channels, 2))


@pytest.mark.parametrize("name", ["m.jpg", "m.png", "m.tif"])
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_pictures_to_be_shown_turned_are_refused(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY).save(tmp_path / name, exif=exif)
    with pytest.raises(ImageError, match=f"orientation tag {orientation}"):
        read_mammogram(tmp_path / name)
    exif[0x0112] = 1
    Image.fromarray(GREY).save(tmp_path / name, exif=exif)
    assert read_mammogram(tmp_path / name).shape == GREY.shape


@pytest.mark.parametrize("name", ["m.tif", "m.png"])
def test_several_pages_are_refused(tmp_path: Path, name: str) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(GREY.T.copy().reshape(GREY.shape))]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match="holds 2 pages, expected 1"):
        read_mammogram(tmp_path / name)


@pytest.mark.parametrize(
    ("mode", "name", "words"),
    [("1", "m.png", "1 bits a pixel"), ("1", "m.tif", "1 bits a pixel")],
)
def test_other_modes_are_refused(tmp_path: Path, mode: str, name: str, words: str) -> None:
    Image.fromarray(GREY).convert(mode).save(tmp_path / name)
    with pytest.raises(ImageError, match=words):
        read_mammogram(tmp_path / name)


def test_pixels_that_are_not_numbers_are_refused_and_counted(tmp_path: Path) -> None:
    stored = DEEP.astype(np.float32)
    stored[3, 4:6] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "m.tif", stored)
    with pytest.raises(ImageError, match="2 pixels without a number"):
        read_mammogram(tmp_path / "m.tif")


def test_absurd_sizes_are_refused_unread(tmp_path: Path) -> None:
    content = bytearray(png(tmp_path / "m.png", GREY[..., None], 0).read_bytes())
    for rows, columns in ((30_000, 30_000), (15_000, 14_000)):
        content[16:24] = struct.pack(">II", columns, rows)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
        (tmp_path / "m.png").write_bytes(content)
        with pytest.raises(ImageError, match="pixels"):
            read_mammogram(tmp_path / "m.png")


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.jpg"])
def test_a_picture_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    Image.fromarray(GREY).save(tmp_path / name)
    whole = read_mammogram(tmp_path / name).stored
    content = (tmp_path / name).read_bytes()
    for length in [*range(1, len(content), 61), *range(len(content) - 40, len(content))]:
        (tmp_path / name).write_bytes(content[:length])
        try:
            stored = read_mammogram(tmp_path / name).stored
        except ImageError:
            continue
        # A PNG ends with checksums and an end chunk, a JPEG with an end marker: without them the picture may be whole.
        assert len(content) - length < {"m.png": 24, "m.jpg": 3, "m.tif": 0}[name]
        assert np.array_equal(stored, whole)


def test_a_tiff_the_library_cannot_decode_says_so(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", DEEP.astype(">u2"), photometric="miniswhite", byteorder=">")
    with pytest.raises(ImageError, match=r"m\.tif: is damaged, or of a kind .* 8- or 16-bit greyscale"):
        read_mammogram(tmp_path / "m.tif")


@pytest.mark.parametrize(
    ("name", "side", "view"),
    [
        ("P126_L_DM_CC", "L", "CC"), ("R-MLO", "R", "MLO"), ("Mass-Test_P_00016_LEFT_CC_full", "L", "CC"),
        ("1_RCC", "R", "CC"), ("lmlo", "L", "MLO"), ("L_R_CC", None, "CC"), ("R_CC_MLO", "R", None),
        ("scan 12", None, None), ("LLC", None, None), ("XCCL left", "L", "XCCL"), ("links_cc", "L", "CC"),
        ("LeftBreast", "L", None), ("droiteMLO", "R", "MLO"), ("P_sin_17", None, None),
    ],
)  # fmt: skip
def test_side_and_view_from_the_name(name: str, side: str | None, view: str | None) -> None:
    assert facts_from_name(name) == (side, view)


@pytest.mark.parametrize(
    ("name", "side", "view"),
    [
        ("Left/1", "L", None), ("P1/rechts/MLO/1", "R", "MLO"), ("Right/P1/L_CC", None, "CC"), ("x/R/1", None, None),
        ("two/R/1", "R", None), ("ML/1", None, None), ("left shoulder/1", None, None), ("a/Right/b/c/1", None, None),
    ],
)  # fmt: skip
def test_side_and_view_from_the_folders(tmp_path: Path, name: str, side: str | None, view: str | None) -> None:
    """A folder that says nothing else counts, a letter only beside the other one; what contradicts is told."""
    (tmp_path / "two" / "L").mkdir(parents=True)
    path = tmp_path / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(600, dtype=np.uint8).reshape(30, 20)).save(path)
    found = read_mammogram(path)
    assert (found.laterality, found.view) == (side, view)
    assert any("contradict each other about the side" in text for text in found.warnings) == (name == "Right/P1/L_CC")


@given(st.text(alphabet="LRCMO_- 1", max_size=12))
def test_names_never_give_a_side_that_is_not_in_them(name: str) -> None:
    side, view = facts_from_name(name)
    assert side is None or side in name
    assert view is None or view in name
