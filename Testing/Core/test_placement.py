"""Outlines are held against the picture: its air, its breast, and the geometry that its file tells."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from written_files import mammogram_dataset, write_dicom

from MolSubCore.cohort.check import check_cohort
from MolSubCore.errors import LesionError
from MolSubCore.imaging.breast import breast_area, sideways
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.placement import tissue_share

ROWS, COLUMNS = 450, 350
Y, X = np.mgrid[:ROWS, :COLUMNS]
#: Half an ellipse at the left edge; all else is air.
BREAST = (X / 245) ** 2 + ((Y - 225) / 190) ** 2 < 1
LESION = (Y - 180) ** 2 + (X - 60) ** 2 < 15**2


def pixels(seed: int = 1) -> np.ndarray:
    """12 bits: air 20, breast about 1500, its lesion brighter, noise."""
    values = np.where(BREAST, 1500 + 300 * np.sin(X / 18) + 700 * LESION, 20)
    return (values + np.random.default_rng(seed).normal(0, 15, values.shape)).clip(0, 4095).astype(np.uint16)


PLAIN = Mammogram(pixels(), value_range=(0.0, 4095.0), spacing=Spacing(0.1, 0.1, "PixelSpacing"))
KINDS = {
    "for presentation": PLAIN,
    "MONOCHROME1": dataclasses.replace(PLAIN, stored=4095 - pixels(), inverted=True),
    "negative": dataclasses.replace(PLAIN, stored=4095 - pixels()),
    "8 bits": Mammogram((pixels() // 16).astype(np.uint8), value_range=(0.0, 255.0)),
    "padded": dataclasses.replace(PLAIN, stored=np.where(BREAST, pixels(), 0).astype(np.uint16), padding=(0, 0)),
    "noisy film": dataclasses.replace(
        PLAIN,
        stored=(pixels() + np.random.default_rng(0).normal(200, 120, BREAST.shape)).clip(0, 4095).astype(np.uint16),
    ),
}


def mask_file(folder: Path, mask: np.ndarray, name: str = "m.png") -> Path:
    Image.fromarray((mask * 255).astype(np.uint8)).save(folder / name)
    return folder / name


@pytest.mark.parametrize("kind", ["for presentation", "MONOCHROME1", "8 bits"])
@pytest.mark.parametrize(("shape", "bright"), [("mask", True), ("box", True), ("mask", False)])
def test_an_outline_that_is_drawn_in_the_picture_is_told(tmp_path: Path, kind: str, shape: str, bright: bool) -> None:
    """White or black, along a mask or a box, just beside it, with a gap."""
    mammogram = KINDS[kind]
    low, high = mammogram.value_range
    away = np.hypot(Y - 180, X - 60) if shape == "mask" else np.maximum(abs(Y - 180), abs(X - 60))
    line = (away >= 15) & (away < 17) & ~((Y < 180) & (abs(X - 60) < 5))
    stored = np.where(line, high if bright else low, mammogram.stored).astype(mammogram.stored.dtype)
    lesion = mask_file(tmp_path, away < 15) if shape == "mask" else "165,45,195,75"
    found = read_lesions(lesion, dataclasses.replace(mammogram, stored=stored))
    told = "The outline of the lesion seems to be drawn in the picture, in one grey value"
    assert [text[: len(told)] for text in found.warnings] == [told]
    # half of a line, and a lesion that is white throughout, are none
    half = np.where(line & (X < 60), high, mammogram.stored).astype(stored.dtype)
    white = np.where(away < 17, high, mammogram.stored).astype(stored.dtype)
    for other in (half, white):
        assert read_lesions(lesion, dataclasses.replace(mammogram, stored=other)).warnings == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_in_the_breast_and_one_in_the_air(tmp_path: Path, kind: str) -> None:
    mammogram = KINDS[kind]
    right = read_lesions(mask_file(tmp_path, LESION), mammogram)
    assert (right.problems, right.warnings, right.wrong) == ((), (), ())
    wrong = read_lesions(mask_file(tmp_path, LESION[:, ::-1]), mammogram)
    assert wrong.wrong == ("1",)
    assert "0 % of it is on breast tissue, it covers 0.4 % of the image" in wrong.problems[0]
    assert "in the air" in read_lesions("5,300,40,340", mammogram).problems[0]


def test_the_area_is_that_of_the_breast() -> None:
    area = breast_area(PLAIN)
    assert area is not None
    found = area.at(slice(0, ROWS), slice(0, COLUMNS))
    assert found[BREAST].all()
    assert np.count_nonzero(found & ~BREAST) < 0.15 * np.count_nonzero(BREAST)  # a rim for the skin


def test_outlines_that_reach_the_skin_are_in_order_and_half_out_is_warned_of(tmp_path: Path) -> None:
    skin = (Y - 225) ** 2 + (X - 232) ** 2 < 15**2
    assert read_lesions(mask_file(tmp_path, skin), PLAIN).remarks == ()
    (warning,) = read_lesions("200,200,250,320", PLAIN).remarks
    assert "lies partly outside the breast" in warning
    half = (Y - 225) ** 2 + (X - 248) ** 2 < 15**2  # its middle is at the skin
    assert 0.35 < BREAST[half].mean() < 0.55
    assert any("lies partly outside" in text for text in read_lesions(mask_file(tmp_path, half), PLAIN).warnings)
    share = BREAST[200:250, 200:320].mean()  # of the tissue itself, not of the rim that is allowed for the skin
    told = float(warning.partition("breast: ")[2].partition(" %")[0]) / 100
    assert told == pytest.approx(share, abs=0.05)


def test_masks_that_outline_no_lesion(tmp_path: Path) -> None:
    for mask in (~LESION, np.ones_like(LESION)):
        (problem,) = read_lesions(mask_file(tmp_path, mask), PLAIN).problems
        assert "it is inverted, or covers everything" in problem
        assert f"{100 * mask.mean():.3g} % of the image" in problem
    assert "outline the breast and not a lesion" in read_lesions(mask_file(tmp_path, BREAST), PLAIN).warnings[0]


def test_strips_and_large_parts_of_the_breast_are_told(tmp_path: Path) -> None:
    """A border at the chest wall, two fifths of the breast."""
    for box, words in (
        ("100,0,360,8", "strip of 260 x 8 pixels along the picture's edge"),
        ("150,40,155,200", "strip of 5 x 160 pixels: a line"),
        ("110,0,340,150", "of the breast. Check that it outlines a lesion"),
    ):
        told = read_lesions(box, PLAIN).warnings
        assert [text for text in told if words in text], told
    for usual in ("160,0,200,30", "150,40,190,200", "180,100,250,170"):
        assert read_lesions(usual, PLAIN).remarks == ()


@pytest.mark.parametrize("width", [8, 12, 20])
def test_the_skin_line_is_no_lesion(tmp_path: Path, width: int) -> None:
    skin = BREAST & ((X / (245 - width)) ** 2 + ((Y - 225) / (190 - width)) ** 2 >= 1)
    told = read_lesions(mask_file(tmp_path, skin), PLAIN).warnings
    assert any("is a band around the breast" in text and "not a lesion" in text for text in told)
    large = BREAST & (X < 220) & (Y > 100) & (Y < 380)
    assert not any("band" in text for text in read_lesions(mask_file(tmp_path, large), PLAIN).warnings)


def test_only_the_wrong_lesion_of_several_is_named(tmp_path: Path) -> None:
    lesions = read_lesions(mask_file(tmp_path, LESION | LESION[:, ::-1]), PLAIN)
    assert len(lesions.lesions) == 2
    assert lesions.wrong == ("2",)
    assert [text.split(" lies")[0] for text in lesions.problems] == ["Lesion 2"]


def test_a_crop_has_no_air_and_no_complaint(tmp_path: Path) -> None:
    crop = dataclasses.replace(PLAIN, stored=pixels()[100:300, 20:180])
    assert breast_area(crop) is None
    assert read_lesions(mask_file(tmp_path, LESION[100:300, 20:180]), crop).remarks == ()
    assert read_lesions("0,0,100,100", crop).remarks == ()
    (problem,) = read_lesions("0,0,200,160", crop).problems
    assert "covers 100 % of the image" in problem


def test_the_image_is_no_mask_of_itself(tmp_path: Path) -> None:
    for path in (tmp_path / "i.dcm", tmp_path / "i.png"):
        if path.suffix == ".dcm":
            write_dicom(path, mammogram_dataset(pixels(), 12))
        else:
            Image.fromarray((pixels() // 16).astype(np.uint8)).save(path)
        mammogram = read_mammogram(path)
        copy = Path(shutil.copy(path, tmp_path / f"copy{path.suffix}"))
        for mask, text in ((path, "is the image itself"), (copy, "is a copy of the image")):
            with pytest.raises(LesionError, match=text):
                read_lesions(mask, mammogram)


def volume(path: Path, mask: np.ndarray, axes: tuple[int, int] = (1, 1), origin: tuple[float, float] = (0, 0),
           mm: float = 0.1) -> Path:  # fmt: skip
    """A mask whose columns and rows run along `axes` of the image's; its origin in (x, y)."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8)[None])
    image.SetDirection((axes[0], 0, 0, 0, axes[1], 0, 0, 0, 1))
    image.SetOrigin((*origin, 0))
    image.SetSpacing((mm, mm, 1))
    sitk.WriteImage(image, str(path))
    return path


END = (0.1 * (COLUMNS - 1), 0.1 * (ROWS - 1))


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nrrd"])
def test_a_mask_that_a_converter_turned_is_turned_back(tmp_path: Path, name: str) -> None:
    """Converters write the turned axes, and an origin at the other end (dcm2niix; reorientation to RAS+)."""
    for mask, axes, origin in ((LESION[::-1], (1, -1), (0, END[1])), (LESION[::-1, ::-1], (-1, -1), END)):
        lesions = read_lesions(volume(tmp_path / name, mask, axes, origin), PLAIN)
        assert np.array_equal(lesions.full_mask(), LESION)
        assert "run the other way" in lesions.warnings[0]


def test_where_the_origin_does_not_tell_the_breast_may(tmp_path: Path) -> None:
    high = (Y - 60) ** 2 + (X - 20) ** 2 < 12**2
    lopsided = dataclasses.replace(PLAIN, stored=np.where(Y < 225, pixels(), 20).astype(np.uint16))
    turned = read_lesions(volume(tmp_path / "t.nrrd", high[::-1], (1, -1)), lopsided)
    assert np.array_equal(turned.full_mask(), high)
    assert "as stored it would lie in the air" in turned.warnings[0]
    stored = read_lesions(volume(tmp_path / "s.nrrd", high, (1, -1)), lopsided)
    assert np.array_equal(stored.full_mask(), high)
    with pytest.raises(LesionError, match="does not tell which way round"):
        read_lesions(volume(tmp_path / "x.nrrd", LESION[::-1], (1, -1)), PLAIN)


def test_a_mask_with_the_geometry_of_its_volume_is_matched_as_stored(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(pixels()[::-1][None])
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetOrigin((0, END[1], 0))
    image.SetSpacing((0.1, 0.1, 1))
    sitk.WriteImage(image, str(tmp_path / "i.nii.gz"))
    mammogram = read_mammogram(tmp_path / "i.nii.gz")
    same = read_lesions(volume(tmp_path / "m.nii.gz", LESION[::-1], (1, -1), (0, END[1])), mammogram)
    assert np.array_equal(same.full_mask(), LESION)
    assert same.warnings == ()
    other = read_lesions(volume(tmp_path / "o.nii.gz", LESION), mammogram)  # drawn on the DICOM file
    assert np.array_equal(other.full_mask(), LESION)
    default = read_lesions(volume(tmp_path / "d.nii.gz", LESION[::-1], mm=1.0), mammogram)
    assert np.array_equal(default.full_mask(), LESION)
    assert "defaults" in default.warnings[0]


def test_another_pixel_spacing_is_told(tmp_path: Path) -> None:
    for mm, told in ((0.1, False), (0.106, False), (1.0, False), (0.2, True), (0.05, True)):
        warnings = read_lesions(volume(tmp_path / "m.nrrd", LESION, mm=mm), PLAIN).warnings
        assert any("pixel spacing" in text for text in warnings) == told


def test_masks_of_too_much_and_of_too_little_are_told(tmp_path: Path) -> None:
    half = BREAST & (Y < 260)
    (warning,) = read_lesions(mask_file(tmp_path, half), PLAIN).remarks
    assert 50 < float(warning.split("covers ")[1].split(" %")[0]) < 100 * half.sum() / BREAST.sum() + 1
    assert "of the breast. Check that it outlines a lesion" in warning
    (warning,) = read_lesions("180,60,181,62", PLAIN).remarks
    assert "1 x 2 pixels, 0.2 mm at most (under 1.5 mm)" in warning
    unknown = dataclasses.replace(PLAIN, spacing=Spacing())
    assert "(under 3 of an image of this size)" in read_lesions("180,60,182,62", unknown).remarks[0]
    assert read_lesions("180,60,183,63", unknown).remarks == ()


def test_a_mask_without_air_may_be_inverted(tmp_path: Path) -> None:
    crop = dataclasses.replace(PLAIN, stored=pixels()[100:300, 20:180])
    mask = LESION[100:300, 20:180]
    large = (Y - 180) ** 2 + (X - 100) ** 2 < 45**2
    for lesion in (mask, large[100:300, 20:180]):
        (problem,) = read_lesions(mask_file(tmp_path, ~lesion), crop).problems
        assert "its edge all around too: it is inverted" in problem
    (warning,) = read_lesions("0,0,150,160", crop).remarks
    assert "covers 75 % of the image, which shows no air" in warning


def test_a_mask_is_no_image(tmp_path: Path) -> None:
    image = read_mammogram(mask_file(tmp_path, BREAST, "i.png"))
    assert "it is a mask and no mammogram" in read_lesions("180,60,220,100", image).problems[0]


def test_boxes_of_another_convention_are_named(tmp_path: Path) -> None:
    """The image has 450 rows and 350 columns."""
    for box, words in (
        ("180,60,40,40", "x, y, width, height"),
        ("200,90,180,120", "row1 is not below row0"),
        ("100,300,140,420", "x before y"),
        ("900,900,950,950", "no pixel on the image"),
    ):
        with pytest.raises(LesionError, match=words):
            read_lesions(box, PLAIN)
    assert "As col0,row0,col1,row1 (x before y) the box would lie on the breast" in read_lesions(
        "10,250,60,300", PLAIN
    ).problems[0]  # fmt: skip


def test_the_place_of_another_image_is_told(tmp_path: Path) -> None:
    warnings = read_lesions(volume(tmp_path / "m.nrrd", LESION, origin=(17.5, 22.5)), PLAIN).warnings
    assert any("its first pixel at row 225, column 175" in text for text in warnings)


SIDEWAYS = "edge of the picture, not against its left or right one: it seems to be rotated by 90 degrees"


@pytest.mark.parametrize("kind", ["8 bits", "MONOCHROME1", "padded", "noisy film"])
def test_a_breast_on_its_side_is_told(kind: str) -> None:
    def edge(stored: np.ndarray) -> str | None:
        return sideways(dataclasses.replace(KINDS[kind], stored=np.ascontiguousarray(stored)))

    stored = KINDS[kind].stored
    assert (edge(stored.T), edge(np.rot90(stored)), edge(np.rot90(stored, -1))) == ("top", "bottom", "top")
    for upright in (stored, stored[:, ::-1], stored[::-1]):
        assert edge(upright) is None
    for rows, columns in (
        (slice(0, 200), slice(0, 350)),
        (slice(300, 450), slice(0, 350)),
        (slice(0, 260), slice(90, 350)),
    ):
        assert edge(stored[rows, columns]) is None  # parts of an upright one, which is cut off at the bottom or the top


def test_reader_and_check_tell_of_a_breast_on_its_side(tmp_path: Path) -> None:
    stored = np.ascontiguousarray(pixels().T)
    read = read_mammogram(write_dicom(tmp_path / "a.dcm", mammogram_dataset(stored, 12, PatientOrientation=["A", "R"])))
    assert [text for text in read.warnings if SIDEWAYS in text]
    mask_file(tmp_path, LESION.T)
    (tmp_path / "t.csv").write_text("patient_id,image,mask,subtype\nP1,a.dcm,m.png,TN\n")
    notes = [note.text for note in check_cohort(tmp_path / "t.csv", purpose="predict").notes]
    assert [text for text in notes if SIDEWAYS in text]


@pytest.mark.real
def test_real_breasts_on_their_side(shared_data: Path) -> None:
    """Those of MSynth are published so; all others are upright, also where the breast fills the picture's height."""
    for file in sorted((shared_data / "msynth").glob("*.jpg")):
        assert sideways(read_mammogram(file)) == "top"
    for folder in ("cdd-cesm/images", "nyu-birads-4view-8bit", "dicom"):  # with a stereotactic spot view
        for file in sorted((shared_data / folder).iterdir()):
            if "multiframe" in file.name:  # no mammogram
                continue
            mammogram = read_mammogram(file)
            assert sideways(mammogram) is None
            turned = dataclasses.replace(mammogram, stored=np.ascontiguousarray(mammogram.stored.T))
            assert "CC" not in file.stem or "stereo" in file.stem or sideways(turned) is not None


@pytest.mark.real
def test_real_lesions_lie_on_real_breasts(shared_data: Path) -> None:
    masks = sorted((shared_data / "cdd-cesm" / "masks").glob("*.png"))
    assert len(masks) == 8
    for mask in masks:
        mammogram = read_mammogram(shared_data / "cdd-cesm" / "images" / f"{mask.stem.removesuffix('_mask')}.jpg")
        for kind in (mammogram, dataclasses.replace(mammogram, stored=255 - mammogram.stored, inverted=True)):
            assert breast_area(kind) is not None
            lesions = read_lesions(mask, kind)
            assert lesions.remarks == ()
            assert min(tissue_share(lesion, kind) or 0 for lesion in lesions.lesions) > 0.95


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "air", "breast"),
    [
        ("cbis-ddsm/Mass-Test_P_00016_LEFT_CC_full_16bit.png", "200,100,500,400", "2568,1321,2952,1706"),
        ("dicom/ge_senographe_RMLO_jpegLosslessSV1_voilut3_sigmoid.dcm", "200,200,400,400", "1500,1700,1750,1950"),
        ("dicom/siemens_inspiration_LCC_stereo_jpegLosslessSV1_overlays.dcm", "20,400,100,600", "500,300,650,500"),
        ("nyu-16bit/1_R_CC_3328x2560_16bit.png", "360,1160,480,1440", "1500,1700,1900,2100"),  # the lead marker
        ("nyu-birads-4view-8bit/R-CC.png", "20,1700,220,1990", "1000,600,1200,800"),
    ],
)
def test_real_air_and_real_breasts(shared_data: Path, name: str, air: str, breast: str) -> None:
    mammogram = read_mammogram(shared_data / name)
    assert read_lesions(breast, mammogram).remarks == ()
    assert "in the air" in read_lesions(air, mammogram).problems[0]
