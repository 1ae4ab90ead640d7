"""NIfTI, NRRD and MetaImage against the voxels written with SimpleITK; several slices and cut files are refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from written_files import picture

from MolSubCore.errors import ImageError
from MolSubCore.explain.heatmaps import write_heatmap
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.lesions.masks import read_lesions, write_mask
from MolSubCore.lesions.roi import RoiGeometry

NAMES = ["m.nii", "m.nii.gz", "m.nrrd", "m.nhdr", "m.mha", "m.mhd"]
STORED = picture(12)


def write(path: Path, stored: np.ndarray, spacing: tuple[float, ...] = (), *, flipped: bool = False) -> Path:
    image = sitk.GetImageFromArray(stored)
    if spacing:
        image.SetSpacing(spacing)
    if flipped:  # as ITK-SNAP writes; the voxel order is the picture's all the same
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    return path


def test_a_nifti_that_does_not_say_where_its_voxels_begin(tmp_path: Path) -> None:
    path = write(tmp_path / "m.nii", STORED)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, float("nan"))
    path.write_bytes(content)
    with pytest.raises(ImageError, match="does not say where its image begins"):
        read_mammogram(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("slices", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4"])
def test_voxels_and_geometry(tmp_path: Path, name: str, slices: bool, dtype: str) -> None:
    stored = (STORED % 256 if dtype == "u1" else STORED).astype(dtype)
    spacing = (0.07, 0.09, 1.0) if slices else (0.07, 0.09)
    mammogram = read_mammogram(write(tmp_path / name, stored[None] if slices else stored, spacing, flipped=slices))
    assert np.array_equal(mammogram.stored, stored)
    assert mammogram.stored.dtype == np.dtype(dtype)
    # SimpleITK's order is x, y: between columns, then between rows.
    assert (mammogram.spacing.row_mm, mammogram.spacing.col_mm) == pytest.approx((0.09, 0.07))
    assert mammogram.spacing.source == "file header"
    wide = dtype in ("i4", "f4")
    limits = (stored.min(), stored.max()) if wide else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    assert mammogram.value_range == pytest.approx(limits)


ROWS, COLUMNS = STORED.shape
#: How a file has a picture: reversed rows, reversed columns; direction of rows and columns; place of its first pixel.
TURNED = {
    "dcm2niix": ((True, False), (1, -1), (0.0, 0.09 * (ROWS - 1))),
    "rows of an NRRD": ((True, False), (1, -1), (0.0, 0.0)),
    "columns": ((False, True), (-1, 1), (0.07 * (COLUMNS - 1), 0.0)),
    "both, by the origin": ((True, True), (-1, -1), (0.07 * (COLUMNS - 1), 0.09 * (ROWS - 1))),
}


def turned_image(array: np.ndarray, kind: str) -> sitk.Image:
    """A picture as a program writes it that stores it otherwise and says so."""
    (rows, columns), (x, y), origin = TURNED[kind]
    image = sitk.GetImageFromArray(np.ascontiguousarray(array[:: -1 if rows else 1, :: -1 if columns else 1])[None])
    image.SetSpacing((0.07, 0.09, 1.0))
    image.SetDirection((x, 0, 0, 0, y, 0, 0, 0, 1))
    image.SetOrigin((*origin, 0.0))
    return image


def test_metaimage_files_with_what_itk_kept_of_nifti_and_dicom_are_read(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(STORED)
    for key, value in (("dim[0]", "3"), ("pixdim[1]", "0.2"), ("0008|0060", "MG"), ("qoffset_x", "-0")):
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(tmp_path / "m.mha"))
    head = (tmp_path / "m.mha").read_bytes()
    assert b"dim[0] = 3" in head
    assert b"0008|0060 = MG" in head
    assert np.array_equal(read_mammogram(tmp_path / "m.mha").stored, STORED)


@pytest.mark.parametrize("kind", TURNED)
@pytest.mark.parametrize("name", ["m.nii.gz", "m.nrrd", "m.mha"])
def test_a_picture_is_shown_as_its_header_says(tmp_path: Path, name: str, kind: str) -> None:
    """Masks of its grid, masks and boxes of the picture as shown, and masks as this program writes them lie alike."""
    sitk.WriteImage(turned_image(STORED, kind), str(tmp_path / name))
    mammogram = read_mammogram(tmp_path / name)
    assert np.array_equal(mammogram.stored, STORED)
    assert sum("By the header" in text and "the picture was turned" in text for text in mammogram.warnings) == 1
    mask = np.zeros(STORED.shape, np.uint8)
    mask[3:9, 20:31] = 1
    sitk.WriteImage(turned_image(mask, kind), str(tmp_path / f"same-{name}"))
    write_mask(tmp_path / "own.nii.gz", mask, row_mm=0.09, col_mm=0.07)
    Image.fromarray(mask * 255).save(tmp_path / "shown.png")
    for source in (f"same-{name}", "own.nii.gz", "shown.png"):
        lesions = read_lesions(tmp_path / source, mammogram)
        assert np.array_equal(lesions.full_mask(), mask > 0), source
        assert not any("run the other way" in text for text in lesions.warnings), source
    assert np.array_equal(read_lesions("3,20,9,31", mammogram).full_mask(), mask > 0)


def test_a_heatmap_lies_on_the_file_of_dcm2niix(tmp_path: Path) -> None:
    """In a viewer that places both by their headers."""
    file = turned_image(STORED, "dcm2niix")
    sitk.WriteImage(file, str(tmp_path / "m.nii.gz"))
    mammogram = read_mammogram(tmp_path / "m.nii.gz")
    geometry = RoiGeometry(2, 10, 18, 26, 8, mammogram.shape)
    heat = np.zeros((8, 8), np.float32)
    heat[3, 5] = 1
    write_heatmap(tmp_path / "h.nrrd", heat, geometry, mammogram.spacing, {})
    placed = sitk.GetArrayFromImage(sitk.Resample(sitk.ReadImage(str(tmp_path / "h.nrrd")), file))[0]
    assert np.unravel_index(placed[::-1].argmax(), STORED.shape) == (2 + 3, 18 + 5)


@pytest.mark.parametrize(
    ("direction", "spacing", "words"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), 0.1, ""),  # as SimpleITK writes a mammogram
        ((-1, 0, 0, 0, -1, 0, 0, 0, 1), 1.0, ""),  # nibabel's eye(4)
        ((-1, 0, 0, 0, -1, 0, 0, 0, 1), 0.1, "rotated by 180 degrees"),
        ((0, 0, 1, 1, 0, 0, 0, -1, 0), 0.1, "along other axes"),
        ((0, 1, 0, 1, 0, 0, 0, 0, 1), 0.1, "along other axes"),
    ],
)
def test_a_header_that_does_not_tell_which_way_is_up(
    tmp_path: Path, direction: tuple[int, ...], spacing: float, words: str
) -> None:
    image = sitk.GetImageFromArray(STORED[None])
    image.SetSpacing((spacing, spacing, 1.0))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(tmp_path / "m.nrrd"))
    mammogram = read_mammogram(tmp_path / "m.nrrd")
    assert np.array_equal(mammogram.stored, STORED)
    told = [text for text in mammogram.warnings if "By the header" in text]
    assert len(told) == bool(words)
    assert all(words in text and text.endswith("Check that the picture is upright.") for text in told)


def nifti(stored: np.ndarray, order: str, slope: float = 0, intercept: float = 0) -> bytes:
    """A NIfTI-1 file of 16-bit unsigned voxels by the table of its standard; the first index is the column."""
    rows, columns = stored.shape
    header = bytearray(352)
    fields: list[tuple[str, int, tuple[float, ...]]] = [("i", 0, (348,)), ("2h", 70, (512, 16)), ("f", 108, (352,))]
    fields += [("8h", 40, (2, columns, rows, 1, 1, 1, 1, 1)), ("8f", 76, (1, 0.07, 0.09, 1, 1, 1, 1, 1))]
    fields += [("2f", 112, (slope, intercept)), ("b", 123, (2,))]
    for form, offset, values in fields:
        struct.pack_into(order + form, header, offset, *values)
    header[344:348] = b"n+1\0"
    return bytes(header) + stored.astype(f"{order}u2").tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_written_by_hand(tmp_path: Path, order: str) -> None:
    (tmp_path / "m.nii").write_bytes(nifti(STORED, order))
    mammogram = read_mammogram(tmp_path / "m.nii")
    assert np.array_equal(mammogram.stored, STORED)
    assert (mammogram.spacing.row_mm, mammogram.spacing.col_mm) == pytest.approx((0.09, 0.07))
    (tmp_path / "m.nii").write_bytes(nifti(STORED, order)[:-2])
    with pytest.raises(ImageError, match="cut short: 2798 bytes of the 2800"):
        read_mammogram(tmp_path / "m.nii")


@pytest.mark.parametrize(("scale", "used", "told"), [(1, 1, False), (1.005, 1, False), (2, 1, True), (2, 0, False)])
@pytest.mark.parametrize("order", "<>")
def test_a_nifti_of_two_spacings_is_told(tmp_path: Path, order: str, scale: float, used: int, told: bool) -> None:
    content = bytearray(nifti(STORED, order))
    content[254:256] = struct.pack(order + "h", used)
    axes = [-0.07 * scale, 0, 0, 0, 0, -0.09 * scale, 0, 0, 0, 0, 1, 0]
    content[280:328] = struct.pack(order + "12f", *axes)
    (tmp_path / "m.nii").write_bytes(content)
    words = "The header gives two pixel spacings, 0.07 x 0.09 (pixdim) and 0.14 x 0.18 (sform)"
    assert any(words in text for text in read_mammogram(tmp_path / "m.nii").warnings) == told


def test_nifti_scaling(tmp_path: Path) -> None:
    (tmp_path / "m.nii").write_bytes(nifti(STORED, "<", 0.5, -100))
    assert np.allclose(read_mammogram(tmp_path / "m.nii").pixels, STORED * 0.5 - 100)


def tissue(full: int) -> NDArray[np.float64]:
    """A smooth hill with grain, up to 9/8 of the half of `full` values, on black."""
    rows, columns = np.mgrid[:300, :240]
    hill = 1.05 * np.exp(-((rows - 150) ** 2 + columns**2) / 9000)
    grain = np.random.default_rng(0).normal(0, 0.01, hill.shape)
    return np.clip((hill + grain) * full / 2, 0, full - 1)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_values_that_wrapped_round_as_signed_ones_are_refused(tmp_path: Path, bits: int) -> None:
    """A few of them (a lesion, the densest tissue): so `astype(int16)` leaves them."""
    values = tissue(1 << bits).astype(np.int32)
    wrapped = np.where(values >= 1 << bits - 1, values - (1 << bits), values)
    assert 0 < (wrapped < 0).mean() < 0.02
    path = tmp_path / "m.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(wrapped.astype(np.int8 if bits == 8 else np.int16)), path)
    with pytest.raises(ImageError, match=r"has signed values, but \d+ neighbours are nearly their whole range apart"):
        read_mammogram(path)


def test_signed_values_with_white_labels_on_black_are_read(tmp_path: Path) -> None:
    """Their edges are as far apart; so is one hot pixel, and so are edges that were smoothed."""
    values = (tissue(1 << 16) - 32768).clip(-32768, 0)
    values[20:60, 150:220:6] = values[20:60, 151:220:6] = 32767
    values[20:60, 149:220:6] = -20000
    values[150, 30] = 32700
    path = tmp_path / "m.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(values.astype(np.int16)), path)
    assert read_mammogram(path).stored.min() == -32768


def test_nifti_2_is_refused_by_its_name(tmp_path: Path) -> None:
    header = struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + bytes(532)
    (tmp_path / "m.nii").write_bytes(header + STORED.tobytes())
    with pytest.raises(ImageError, match="is a NIfTI-2 file, expected NIfTI-1"):
        read_mammogram(tmp_path / "m.nii")


@pytest.mark.parametrize("name", NAMES)
def test_spacing_that_says_nothing(tmp_path: Path, name: str) -> None:
    mammogram = read_mammogram(write(tmp_path / name, STORED[None], (1.0, 1.0, 1.0)))
    assert mammogram.spacing == Spacing()
    assert any("default value" in warning for warning in mammogram.warnings)
    mammogram = read_mammogram(write(tmp_path / name, STORED[None], (0.1, 50.0, 1.0)))
    assert mammogram.spacing == Spacing()
    assert any("spacing is not used" in warning for warning in mammogram.warnings)


@pytest.mark.parametrize("name", NAMES)
def test_several_slices_and_channels_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, np.stack([STORED, STORED]))
    with pytest.raises(ImageError, match=f"{name}: has 34 x 36 x 2 voxels, expected one slice"):
        read_mammogram(path)
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([STORED] * 3, axis=-1), isVector=True), str(path))
    with pytest.raises(ImageError, match="3 values a pixel"):
        read_mammogram(path)


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.nrrd", "m.mha"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_pixels_that_are_not_numbers_are_refused(tmp_path: Path, name: str, dtype: str) -> None:
    """The library itself sets them to 0 in NIfTI files."""
    stored = STORED.astype(dtype)
    stored[2, 2:4] = np.nan, np.inf
    with pytest.raises(ImageError, match="2 pixels without a number"):
        read_mammogram(write(tmp_path / name, stored[None]))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.nrrd", "m.mha"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, name: str, compressed: bool) -> None:
    """The library itself fills a cut NIfTI file with zeros."""
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(STORED[None]), str(path), useCompression=compressed)
    content = path.read_bytes()
    for length in [*range(5, len(content), 149), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        try:
            stored = read_mammogram(path).stored
        except ImageError:
            continue
        # NRRD's decoder does not miss a compressed stream's last checksum: the voxels must be whole.
        assert (name, compressed) == ("m.nrrd", True)
        assert len(content) - length < 12
        assert np.array_equal(stored, STORED)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "m.nii.gz", STORED[None]).read_bytes())
    content[-6] ^= 1
    (tmp_path / "m.nii.gz").write_bytes(content)
    with pytest.raises(ImageError, match=r"not a whole gzip file .*CRC"):
        read_mammogram(tmp_path / "m.nii.gz")


@pytest.mark.parametrize("name", ["m.mhd", "m.nhdr"])
def test_a_header_without_its_data_file_or_with_a_cut_one_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, STORED[None])
    (data,) = [other for other in tmp_path.iterdir() if other != path]
    data.write_bytes(data.read_bytes()[:-7])
    with pytest.raises(ImageError, match=name):
        read_mammogram(path)
    data.unlink()
    with pytest.raises(ImageError, match=name):
        read_mammogram(path)


def test_names_that_hide_the_kind_and_halves_are_refused(tmp_path: Path) -> None:
    content = write(tmp_path / "m.nii", STORED[None]).read_bytes()
    (tmp_path / "m.dat").write_bytes(content)
    with pytest.raises(ImageError, match=r"Rename it to end in \.nii"):
        read_mammogram(tmp_path / "m.dat")
    sitk.WriteImage(sitk.GetImageFromArray(STORED[None]), str(tmp_path / "half.img"))
    with pytest.raises(ImageError, match="half of a two-file"):
        read_mammogram(tmp_path / "half.hdr")
    (tmp_path / "m.nii.gz").write_bytes(gzip.compress(b"no image at all" * 50))
    with pytest.raises(ImageError, match="is not a NIfTI image"):
        read_mammogram(tmp_path / "m.nii.gz")


def test_a_compressed_file_is_not_unpacked_further_than_its_header_says(tmp_path: Path) -> None:
    """A gzip bomb behind an absurd header is refused by the header."""
    content = bytearray(write(tmp_path / "m.nii", STORED[None]).read_bytes())
    struct.pack_into("<8h", content, 40, 3, 32_000, 32_000, 1, 1, 1, 1, 1)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(content) + bytes(1 << 20)))
    with pytest.raises(ImageError, match="claims 32000 x 32000 pixels"):
        read_mammogram(tmp_path / "b.nii.gz")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["m.nii.gz", "m.nrrd", "m.mha"]), st.integers(0, 99))
def test_rows_and_columns_are_never_exchanged(tmp_path: Path, rows: int, columns: int, name: str, seed: int) -> None:
    stored = picture(16, (rows, columns), seed=seed)
    mammogram = read_mammogram(write(tmp_path / name, stored[None]))
    assert mammogram.shape == (rows, columns)
    assert np.array_equal(mammogram.stored, stored)


@pytest.mark.parametrize(
    ("name", "told"), [("m.dcm.gz", "Unpack it"), ("m.gz", r"end in \.nii\.gz"), ("m.dat", r"end in \.nii\.")]
)
def test_a_packed_file_is_to_be_unpacked_where_it_is_no_nifti(tmp_path: Path, name: str, told: str) -> None:
    image = tmp_path / "m.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((1, 40, 30), np.uint8)), str(image))
    content = bytes(128) + b"DICM" + bytes(400) if name.endswith(".dcm.gz") else image.read_bytes()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(ImageError, match=told):
        read_mammogram(path)
