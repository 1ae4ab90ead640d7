"""Masks that are pictures are read as they are seen; label maps stay label maps; the rest is refused by its name."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from scipy import ndimage

from MolSubCore.errors import LesionError
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import LesionSet
from MolSubCore.lesions.masks import read_lesions

ROWS, COLUMNS = 300, 200
Y, X = np.mgrid[:ROWS, :COLUMNS]
DISC = (Y - 120) ** 2 + (X - 70) ** 2 < 30**2
OTHER = (Y - 250) ** 2 + (X - 70) ** 2 < 20**2
IMAGE = Mammogram(np.zeros((ROWS, COLUMNS), np.uint8))
GREY = (DISC * 255).astype(np.uint8)
_PHOTOMETRIC = 262


def paletted(indices: np.ndarray, *colours: int) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette(list(colours))
    return picture


def layer(colour: tuple[int, int, int], opacity: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([np.full((ROWS, COLUMNS, 3), colour, np.uint8), opacity.astype(np.uint8)]))


def jpeg(quality: int) -> Image.Image:
    content = io.BytesIO()
    Image.fromarray(GREY).save(content, "JPEG", quality=quality)
    return Image.open(content)


def read(folder: Path, picture: Image.Image, name: str = "m.png", **options: object) -> LesionSet:
    picture.save(folder / name, **options)
    return read_lesions(folder / name, IMAGE)


def dice(lesions: LesionSet, seen: np.ndarray) -> float:
    mask = lesions.full_mask()
    return 2 * np.count_nonzero(mask & seen) / (np.count_nonzero(mask) + np.count_nonzero(seen))


AS_SEEN = {
    "white has index 0": (lambda: paletted(~DISC, 255, 255, 255, 0, 0, 0), ""),
    "black has index 0": (lambda: paletted(DISC, 0, 0, 0, 255, 255, 255), ""),
    "a colour of its own": (lambda: paletted(DISC, 0, 0, 0, 128, 0, 0), "labels"),
    "dark on white by its palette": (lambda: paletted(DISC, 255, 255, 255, 0, 0, 0), "inverting"),
    "white layer": (lambda: layer((255, 255, 255), GREY), "transparent"),
    "black layer": (lambda: layer((0, 0, 0), GREY), "transparent"),
    "half transparent red layer": (lambda: layer((255, 0, 0), DISC * 100), "transparent"),
    "opaque": (lambda: Image.merge("RGBA", [*[Image.fromarray(GREY)] * 3, Image.new("L", (COLUMNS, ROWS), 255)]), ""),
    "one bit": (lambda: Image.fromarray(GREY).convert("1"), ""),
    "16 bits": (lambda: Image.fromarray((DISC * 65535).astype(np.uint16)), ""),
}


@pytest.mark.parametrize("name", AS_SEEN)
def test_a_picture_is_what_it_shows(tmp_path: Path, name: str) -> None:
    make, word = AS_SEEN[name]
    lesions = read(tmp_path, make())
    assert len(lesions.lesions) == 1
    assert np.array_equal(lesions.full_mask(), DISC)
    assert (not lesions.warnings) if not word else word in lesions.warnings[0]


@pytest.mark.parametrize("bits", [8, 16])
def test_imagej_writes_the_lesion_dark_on_white(tmp_path: Path, bits: int) -> None:
    """In its files white is zero, and the lesion has the highest number."""
    tags = ImageFileDirectory_v2()
    tags[_PHOTOMETRIC] = 0
    values = DISC * ((1 << bits) - 1)
    picture = Image.fromarray(values.astype(f"u{bits // 8}"))
    if bits == 8:  # which Pillow turns over as it writes, too
        picture = Image.fromarray(255 - GREY)
    lesions = read(tmp_path, picture, "m.tif", tiffinfo=tags)
    assert np.array_equal(lesions.full_mask(), DISC)
    assert "inverting lookup table" in lesions.warnings[0]


@pytest.mark.parametrize("quality", [95, 75, 20])
@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_traces_of_compression_are_no_lesions(tmp_path: Path, quality: int, name: str) -> None:
    picture = jpeg(quality)
    lesions = read(tmp_path, picture, name, **({"quality": quality} if name == "m.jpg" else {}))
    assert len(lesions.lesions) == 1
    assert dice(lesions, DISC) > 0.99
    assert "grey values" in lesions.warnings[0]


def test_soft_edges_are_cut_at_half(tmp_path: Path) -> None:
    drawn = np.zeros_like(GREY)
    cv2.circle(drawn, (70, 120), 4, 255, -1, cv2.LINE_AA)
    doubled = cv2.resize(GREY[::2, ::2], (COLUMNS, ROWS))
    for soft in (drawn, doubled, cv2.GaussianBlur(GREY, (0, 0), 3)):
        lesions = read(tmp_path, Image.fromarray(soft))
        assert len(lesions.lesions) == 1
        assert np.array_equal(lesions.full_mask(), soft >= 128)
        assert "at least half of the brightest value" in lesions.warnings[0]


@pytest.mark.parametrize("values", [(1, 2), (128, 255), (1000, 40000)])
@pytest.mark.parametrize("name", ["m.png", "m.nii.gz"])
def test_labels_stay_labels(tmp_path: Path, values: tuple[int, int], name: str) -> None:
    labels = (DISC * values[0] + OTHER * values[1]).astype(np.uint8 if max(values) < 256 else np.uint16)
    if name == "m.png":
        lesions = read(tmp_path, Image.fromarray(labels))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(labels[None]), str(tmp_path / name))
        lesions = read_lesions(tmp_path / name, IMAGE)
    assert [lesion.box.row_start for lesion in lesions.lesions] == [91, 231]
    assert lesions.warnings == ()


def test_coloured_labels_are_lesions(tmp_path: Path) -> None:
    lesions = read(tmp_path, paletted(DISC + 2 * OTHER.astype(int), 0, 0, 0, 128, 0, 0, 0, 128, 0))
    assert [lesion.box.row_start for lesion in lesions.lesions] == [91, 231]


def test_a_label_of_some_pixels_beside_a_larger_one_is_a_slip(tmp_path: Path) -> None:
    labels = DISC.astype(np.uint8)
    labels[280, 10:14] = 2
    lesions = read(tmp_path, Image.fromarray(labels))
    assert np.array_equal(lesions.full_mask(), DISC)
    assert "under 10 pixels" in lesions.warnings[0]


LABELS_BLURRED = cv2.GaussianBlur((DISC * 128 + OTHER * 255).astype(np.uint8), (0, 0), 2)
BLOB = np.exp(-((Y - 120) ** 2 + (X - 70) ** 2) / 2 / 30**2)


@pytest.mark.parametrize(
    ("picture", "word"),
    [
        (Image.fromarray((BLOB * 255).astype(np.uint8)), "probability map"),
        (Image.fromarray(BLOB.astype(np.float32)), "probability map"),
        (Image.fromarray((X + Y / 4).astype(np.uint8)), "a picture"),
        (Image.fromarray(LABELS_BLURRED), "several grey levels"),
        (Image.fromarray(np.dstack([GREY, X.astype(np.uint8), Y.astype(np.uint8)])), "colour picture"),
    ],
)
def test_what_is_no_outline_is_refused_by_its_name(tmp_path: Path, picture: Image.Image, word: str) -> None:
    with pytest.raises(LesionError, match=word):
        read(tmp_path, picture, "m.tif")


@pytest.mark.parametrize(
    ("values", "word"),
    [(BLOB.astype(np.float32), "probability map"), (DISC * 0.5 + OTHER * 7.5, "fractions"), (DISC * 2 - 1, "negative")],
)
def test_volumes_of_other_numbers_are_refused_by_their_name(tmp_path: Path, values: np.ndarray, word: str) -> None:
    if values.dtype.kind == "i":
        values = values.astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(values[None]), str(tmp_path / "m.nii.gz"))
    with pytest.raises(LesionError, match=word) as caught:
        read_lesions(tmp_path / "m.nii.gz", IMAGE)
    assert "Save" in str(caught.value) or "save" in str(caught.value)


@pytest.mark.parametrize("label", [2, 3, 5, 10, 50])
@pytest.mark.parametrize("name", ["m.png", "m.nii.gz"])
def test_soft_edges_of_small_labels_are_no_lesions(tmp_path: Path, label: int, name: str) -> None:
    """A label map that was scaled or smoothed: what lies between the label and 0 is its edge."""
    for soft in (cv2.GaussianBlur((DISC * label).astype(np.float32), (0, 0), 1.5), doubled(label)):
        values = np.round(soft).astype(np.uint8)
        if name == "m.png":
            lesions = read(tmp_path, Image.fromarray(values))
        else:
            sitk.WriteImage(sitk.GetImageFromArray(values[None]), str(tmp_path / name))
            lesions = read_lesions(tmp_path / name, IMAGE)
        assert len(lesions.lesions) == 1
        assert dice(lesions, DISC) > 0.96
        assert "soft edge" in lesions.warnings[0]


def doubled(label: int) -> np.ndarray:
    half = cv2.resize((DISC * label).astype(np.float32), (COLUMNS // 2, ROWS // 2), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(half, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC).clip(0)


def test_traces_of_compression_around_small_labels(tmp_path: Path) -> None:
    Image.fromarray((DISC * 12).astype(np.uint8)).save(tmp_path / "j.jpg", quality=90)
    traces = np.asarray(Image.open(tmp_path / "j.jpg"))
    assert len(np.unique(traces)) > 3
    lesions = read(tmp_path, Image.fromarray(traces))
    assert len(lesions.lesions) == 1
    assert dice(lesions, DISC) > 0.98


def test_small_labels_of_few_pixels_stay_labels(tmp_path: Path) -> None:
    labels = (DISC * 3).astype(np.uint8)
    labels[250:252, 20:40], labels[30:33, 20:24] = 1, 2
    lesions = read(tmp_path, Image.fromarray(labels))
    assert [lesion.box.row_start for lesion in lesions.lesions] == [250, 30, 91]
    soft = cv2.GaussianBlur((DISC * 10 + OTHER * 20).astype(np.uint8), (0, 0), 2)
    lesions = read(tmp_path, Image.fromarray(soft))
    assert np.array_equal(lesions.full_mask(), (soft >= 5) & ((soft >= 10) | (Y < 190)))
    assert len(lesions.lesions) == 2
    assert "soft edge" in lesions.warnings[0]


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("name", ["m.png", "m.nrrd"])
def test_a_scaled_label_map_has_the_lesions_it_had(tmp_path: Path, factor: int, name: str) -> None:
    """Between two numbers interpolation puts others, which are labels elsewhere."""
    third = (Y - 60) ** 2 + (X - 150) ** 2 < 25**2
    labels = (DISC + 2 * OTHER + 3 * third).astype(np.float32)
    small = cv2.resize(labels, (COLUMNS // factor, ROWS // factor), interpolation=cv2.INTER_NEAREST)
    scaled = np.round(cv2.resize(small, (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
    if name == "m.png":
        Image.fromarray(scaled).save(tmp_path / name)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(scaled[None]), str(tmp_path / name))
    lesions = read_lesions(tmp_path / name, IMAGE)
    areas = [np.count_nonzero(lesion.mask) for lesion in lesions.lesions]
    assert areas == pytest.approx([np.count_nonzero(part) for part in (DISC, OTHER, third)], rel=0.3)
    assert "soft edges" in lesions.warnings[0]


@pytest.mark.parametrize("width", [1, 3, 6])
@pytest.mark.parametrize(("rim", "inside"), [(120, False), (140, True)])
def test_a_rim_of_one_grey_is_a_soft_edge(tmp_path: Path, width: int, rim: int, *, inside: bool) -> None:
    around = ndimage.binary_dilation(DISC, iterations=width)
    lesions = read(tmp_path, Image.fromarray(np.where(DISC, 255, around * rim).astype(np.uint8)))
    assert len(lesions.lesions) == 1
    assert np.array_equal(lesions.full_mask(), around if inside else DISC)
    assert "soft edges" in lesions.warnings[0]


@pytest.mark.parametrize("label", [1, 2, 50, 100])
def test_a_label_saved_as_jpeg_is_one_lesion(tmp_path: Path, label: int) -> None:
    big = np.kron(DISC, np.ones((2, 2))).astype(np.uint8)
    Image.fromarray(big * label).save(tmp_path / "m.jpg", quality=75)
    lesions = read_lesions(tmp_path / "m.jpg", Mammogram(np.zeros(big.shape, np.uint8)))
    assert len(lesions.lesions) == 1
    assert np.count_nonzero(lesions.full_mask() != big) < 0.06 * big.sum()
    assert "JPEG" in lesions.warnings[0]


def test_one_lesion_that_is_there_several_times_counts_once(tmp_path: Path) -> None:
    grey, empty = np.dstack([GREY] * 3), np.zeros_like(GREY)
    opaque = np.full_like(GREY, 255)
    for channels in (grey, grey // 255, np.dstack([GREY, empty, empty]), np.dstack([grey, opaque])):
        sitk.WriteImage(sitk.GetImageFromArray(channels[None], isVector=True), str(tmp_path / "m.nrrd"))
        lesions = read_lesions(tmp_path / "m.nrrd", IMAGE)
        assert len(lesions.lesions) == 1
        assert np.array_equal(lesions.full_mask(), DISC)
    coloured = np.dstack([GREY + OTHER * 255, OTHER * 255, empty]).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(coloured[None], isVector=True), str(tmp_path / "m.nrrd"))
    assert [lesion.box.row_start for lesion in read_lesions(tmp_path / "m.nrrd", IMAGE).lesions] == [91, 231]


def test_a_lesion_within_another_is_told(tmp_path: Path) -> None:
    core = ndimage.binary_erosion(DISC, iterations=12)
    lesions = read(tmp_path, Image.fromarray(DISC.astype(np.uint8) + core))
    assert [lesion.label for lesion in lesions.lesions] == ["1", "2"]
    assert lesions.warnings[0].startswith("Lesion 2 lies within lesion 1")


@pytest.mark.parametrize("colour", [(255, 0, 0), (255, 255, 0), (90, 0, 0)])
@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_a_lesion_drawn_in_colour_on_white(tmp_path: Path, colour: tuple[int, int, int], name: str) -> None:
    picture = Image.fromarray(np.where(DISC[..., None], colour, 255).astype(np.uint8))
    lesions = read(tmp_path, picture, name, **({"quality": 90} if name == "m.jpg" else {}))
    assert len(lesions.lesions) == 1
    assert dice(lesions, DISC) > 0.99
    assert "white" in lesions.warnings[0]


def test_masks_in_other_number_types(tmp_path: Path) -> None:
    """Floats that resampling left a little beside whole numbers; CMYK."""
    floats = (DISC * 1.0000001 + OTHER * 1.9999).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(floats[None]), str(tmp_path / "m.nii.gz"))
    lesions = read_lesions(tmp_path / "m.nii.gz", IMAGE)
    assert np.array_equal(lesions.full_mask(), DISC | OTHER)
    assert len(lesions.lesions) == 2
    cmyk = Image.fromarray(np.dstack([GREY] * 3)).convert("CMYK")
    assert np.array_equal(read(tmp_path, cmyk, "m.tif").full_mask(), DISC)
    assert dice(read(tmp_path, cmyk, "m.jpg", quality=95), DISC) > 0.99


def test_one_colour_in_shades_is_one_lesion(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(GREY, (0, 0), 2)
    empty = np.zeros_like(soft)
    lesions = read(tmp_path, Image.fromarray(np.dstack([soft, empty, empty])))
    assert len(lesions.lesions) == 1
    assert np.array_equal(lesions.full_mask(), soft >= 128)


@pytest.mark.parametrize("width", [1, 3, 7])
def test_a_closed_line_is_filled(tmp_path: Path, width: int) -> None:
    line = np.zeros_like(GREY)
    cv2.circle(line, (70, 120), 27, 255, width)
    lesions = read(tmp_path, Image.fromarray(line))
    assert len(lesions.lesions) == 1
    assert np.array_equal(ndimage.binary_fill_holes(line > 0), lesions.full_mask())
    assert "a line around it" in lesions.warnings[0]
    thick = np.zeros_like(GREY)
    cv2.circle(thick, (70, 120), 40, 255, -1)
    cv2.circle(thick, (70, 120), 20, 0, -1)
    lesions = read(tmp_path, Image.fromarray(thick))
    assert np.array_equal(lesions.full_mask(), thick > 0)
    assert "is a ring" in lesions.warnings[0]


ARCS = {
    "one gap": [(0, 300)],
    "two arcs": [(10, 170), (190, 350)],
    "four": [(n + 10, n + 80) for n in (0, 90, 180, 270)],
}


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("radius", [30, 60])
@pytest.mark.parametrize("arcs", ARCS)
def test_an_outline_with_gaps_is_closed_and_told(tmp_path: Path, arcs: str, radius: int, width: int) -> None:
    line, whole = np.zeros((200, 180), np.uint8), np.zeros((200, 180), np.uint8)
    for start, stop in ARCS[arcs]:
        cv2.ellipse(line, (90, 100), (radius, radius), 0, start, stop, 255, width)
    cv2.circle(whole, (90, 100), radius, 1, -1)
    mammogram = Mammogram(np.random.default_rng(0).integers(500, 900, whole.shape).astype(np.uint16))
    Image.fromarray(line).save(tmp_path / "m.png")
    lesions = read_lesions(tmp_path / "m.png", mammogram)
    (lesion,) = lesions.lesions
    found = lesions.full_mask()
    assert lesion.mask is not None
    assert 2 * np.count_nonzero(found & (whole > 0)) / (found.sum() + whole.sum()) > 0.9
    assert "a line around it with gaps" in lesions.warnings[0]


def test_thin_lesions_are_what_they_are(tmp_path: Path) -> None:
    """A strip, a line that surrounds nothing, and a cluster of calcifications, outlined one by one."""
    arc, strip, cluster = (np.zeros_like(GREY) for _ in range(3))
    cv2.ellipse(arc, (70, 100), (40, 40), 0, 0, 120, 255, 1)
    strip[50:53, 60:80] = 255
    for row, column in np.random.default_rng(1).integers(50, 90, (25, 2)):
        cluster[row : row + 2, column : column + 9] = 255
    for drawn in (arc, strip, cluster):
        lesions = read(tmp_path, Image.fromarray(drawn))
        assert np.array_equal(lesions.full_mask(), drawn > 0)
        assert ("not closed and filled" in " ".join(lesions.warnings)) == (drawn is arc)


@pytest.mark.real
def test_real_masks_are_no_lines(shared_data: Path) -> None:
    masks = [*shared_data.rglob("*_mask.png"), *shared_data.rglob("*_mask.nii.gz")]
    assert len(masks) >= 18
    for path in masks:
        shape = (
            Image.open(path.parent.parent / "masks" / path.name.replace(".nii.gz", ".png")).size[::-1]
            if (path.parent.name == "masks_nii")
            else Image.open(path).size[::-1]
        )
        lesions = read_lesions(path, Mammogram(np.zeros(shape, np.uint8)))
        assert not [text for text in lesions.warnings if "line" in text]


def test_a_transparent_mask_is_named(tmp_path: Path) -> None:
    with pytest.raises(LesionError, match="transparent all over"):
        read(tmp_path, layer((255, 0, 0), np.zeros_like(GREY)))
