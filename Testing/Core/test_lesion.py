"""Lesion files of every format on the mammogram's own grid."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from MolSubCore.errors import LesionError
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import MOST, Box, LesionSet
from MolSubCore.lesions.masks import _filled, read_lesions

SHAPE = (60, 40)
IMAGE = Mammogram(np.zeros(SHAPE, np.uint8))


def blob(value: int = 1, rows: slice = slice(10, 20), columns: slice = slice(5, 25)) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[rows, columns] = value
    return mask


def save(folder: Path, name: str, mask: np.ndarray) -> Path:
    path = folder / name
    if name.endswith((".png", ".tif")):
        Image.fromarray(mask).save(path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(mask[None]), str(path))
    return path


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.nrrd", "m.mha", "m.mhd", "m.png", "m.tif"])
def test_every_format_gives_the_same_lesion(tmp_path: Path, name: str) -> None:
    lesions = read_lesions(save(tmp_path, name, blob()), IMAGE)
    assert [lesion.box for lesion in lesions.lesions] == [Box(10, 20, 5, 25)]
    assert np.array_equal(lesions.full_mask(), blob() > 0)


def test_itk_snap_axes_do_not_matter(tmp_path: Path) -> None:
    """ITK-SNAP writes what axes it likes; the voxel order is the image's."""
    image = sitk.GetImageFromArray(blob()[None])
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetSpacing((0.07, 0.09, 1))
    sitk.WriteImage(image, str(tmp_path / "m.nii.gz"))
    assert read_lesions(tmp_path / "m.nii.gz", IMAGE).lesions[0].box == Box(10, 20, 5, 25)


@pytest.mark.parametrize(("shape", "word"), [((40, 60), "transposed"), ((59, 40), "59 rows")])
def test_another_grid_is_refused_with_both_shapes(tmp_path: Path, shape: tuple[int, int], word: str) -> None:
    path = save(tmp_path, "m.png", np.ones(shape, np.uint8))
    with pytest.raises(LesionError, match=word) as caught:
        read_lesions(path, IMAGE)
    assert f"{shape[0]} rows x {shape[1]} columns" in str(caught.value)
    assert "60 rows x 40 columns" in str(caught.value)


def test_empty_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(LesionError, match="no lesion"):
        read_lesions(save(tmp_path, "m.png", np.zeros(SHAPE, np.uint8)), IMAGE)
    with pytest.raises(LesionError, match="does not exist"):
        read_lesions(tmp_path / "nothing.nii.gz", IMAGE)
    for name in ("broken.nii.gz", "broken.png", "broken.json", "broken.xyz"):
        (tmp_path / name).write_bytes(b"\x00nonsense")
        with pytest.raises(LesionError) as caught:
            read_lesions(tmp_path / name, IMAGE)
        assert "\n" not in str(caught.value)


def test_several_labels_are_several_lesions(tmp_path: Path) -> None:
    mask = blob(1) + blob(3, slice(22, 30), slice(5, 9))
    lesions = read_lesions(save(tmp_path, "m.nrrd", mask), IMAGE).lesions
    assert [(lesion.label, lesion.box) for lesion in lesions] == [("1", Box(10, 20, 5, 25)), ("2", Box(22, 30, 5, 9))]


def test_near_pieces_stay_together_and_far_ones_do_not(tmp_path: Path) -> None:
    shape = (200, 100)
    image = Mammogram(np.zeros(shape, np.uint8))
    mask = np.zeros(shape, np.uint8)
    mask[10:20, 10:20] = 1
    mask[30:40, 10:20] = 1  # 10 pixels below: the same lesion
    mask[100:110, 50:60] = 1
    path = save(tmp_path, "m.png", mask)
    assert [x.box for x in read_lesions(path, image).lesions] == [Box(10, 40, 10, 20), Box(100, 110, 50, 60)]
    assert [x.box for x in read_lesions(path, image, split="none").lesions] == [Box(10, 110, 10, 60)]


def test_specks_are_dropped_and_told(tmp_path: Path) -> None:
    mask = blob()
    mask[50, 38] = 1
    lesions = read_lesions(save(tmp_path, "m.png", mask), IMAGE)
    assert [x.box for x in lesions.lesions] == [Box(10, 20, 5, 25)]
    assert "1 speck" in lesions.warnings[0]


def test_a_lesion_that_is_a_speck_stays(tmp_path: Path) -> None:
    assert read_lesions(save(tmp_path, "m.png", blob(1, slice(3, 4), slice(3, 4))), IMAGE).lesions[0].box.shape == (
        1,
        1,
    )


def test_noise_is_refused(tmp_path: Path) -> None:
    noise = np.kron(np.indices((40, 40)).sum(axis=0) % 2, np.ones((4, 4)))[:, :]
    mask = np.zeros((1500, 1500), np.uint8)
    mask[::35, ::35] = 1
    mask = np.maximum(mask, np.roll(mask, 1, 0) | np.roll(mask, 1, 1))
    mask = sum(np.roll(np.roll(mask, a, 0), b, 1) for a in range(3) for b in range(3)).clip(0, 1).astype(np.uint8)
    assert noise.any()
    with pytest.raises(LesionError, match=f"more than {MOST}"):
        read_lesions(save(tmp_path, "m.png", mask), Mammogram(np.zeros(mask.shape, np.uint8)))


def test_slicers_cropped_segmentation_is_put_back(tmp_path: Path) -> None:
    cropped = sitk.GetImageFromArray(blob()[10:20, 5:25][None])
    cropped.SetMetaData("Segmentation_ReferenceImageExtentOffset", "5 10 0")
    cropped.SetMetaData("Segment0_LabelValue", "1")
    sitk.WriteImage(cropped, str(tmp_path / "m.seg.nrrd"))
    lesions = read_lesions(tmp_path / "m.seg.nrrd", IMAGE)
    assert lesions.lesions[0].box == Box(10, 20, 5, 25)
    assert np.array_equal(lesions.full_mask(), blob() > 0)
    cropped.SetMetaData("Segmentation_ReferenceImageExtentOffset", "35 10 0")
    sitk.WriteImage(cropped, str(tmp_path / "outside.seg.nrrd"))
    with pytest.raises(LesionError, match="column 35"):
        read_lesions(tmp_path / "outside.seg.nrrd", IMAGE)


def test_layers_of_a_segmentation_are_lesions(tmp_path: Path) -> None:
    layers = np.stack([blob(1), blob(1, slice(12, 30), slice(20, 30))], axis=-1)[None]
    sitk.WriteImage(sitk.GetImageFromArray(layers, isVector=True), str(tmp_path / "m.seg.nrrd"))
    assert [x.box for x in read_lesions(tmp_path / "m.seg.nrrd", IMAGE).lesions] == [
        Box(10, 20, 5, 25),
        Box(12, 30, 20, 30),
    ]


@pytest.mark.parametrize(
    ("name", "tags", "told"),
    [
        ("Mass", "", ""),
        ("Segment_1", "TerminologyEntry:List~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~A~^^~^^|", ""),
        (
            "Pectoral muscle",
            "",
            "The segment 'pectoral muscle' was left out: according to its name it is not a lesion.",
        ),
        (
            "A",
            "Segmentation.Status:x|TerminologyEntry:L~SCT^1^Anatomical~SCT^24142002^Nipple~^^|",
            "'nipple'",
        ),
        ("Pezón", "TerminologyEntry:L~SCT^49755003^Altered~SCT^4147007^Mass~^^~A~SCT^76752008^Breast~^^|", "as one"),
    ],
)
@pytest.mark.parametrize("layered", [False, True])
def test_segments_of_slicer_that_are_no_lesions_by_their_names(
    tmp_path: Path, name: str, tags: str, told: str, layered: bool
) -> None:
    other, lesion = blob(1, slice(25, 32), slice(2, 9)), blob()
    values = np.stack([other, lesion], axis=-1) if layered else other + 2 * lesion
    made = sitk.GetImageFromArray(values[None], isVector=layered)
    facts = {"0_Name": name, "0_Tags": tags, "0_LabelValue": "1", "0_Layer": "0"}
    facts |= {"1_Name": "Segment_2", "1_LabelValue": str(2 - layered), "1_Layer": str(int(layered))}
    for key, value in facts.items():
        made.SetMetaData(f"Segment{key}", value)
    sitk.WriteImage(made, str(tmp_path / "m.seg.nrrd"))
    lesions = read_lesions(tmp_path / "m.seg.nrrd", IMAGE)
    expected = [Box(10, 20, 5, 25)] if told and told != "as one" else [Box(25, 32, 2, 9), Box(10, 20, 5, 25)]
    assert [x.box for x in lesions.lesions] == expected
    assert len(lesions.warnings) == bool(told)
    assert told in " ".join(lesions.warnings)
    made.SetMetaData("Segment1_Name", "skin")
    sitk.WriteImage(made, str(tmp_path / "m.seg.nrrd"))
    if len(expected) == 1:
        with pytest.raises(LesionError, match=r"holds no lesion: according to their names its segments .* are none"):
            read_lesions(tmp_path / "m.seg.nrrd", IMAGE)


def test_polygons_that_are_no_lesions_by_their_names(tmp_path: Path) -> None:
    square, other = [[10, 5], [10, 24], [19, 24], [19, 5]], [[25, 2], [25, 8], [31, 8]]
    points = [[{"x": column, "y": row} for row, column in corners] for corners in (square, other)]
    ours = {"lesions": [{"points": square, "name": "Mass"}, {"points": other, "name": "Nipple of Anna"}]}
    for content in (ours, [{"cgPoints": points[0], "label": "mass "}, {"cgPoints": points[1], "label": "nipple "}]):
        (tmp_path / "m.json").write_text(json.dumps(content))
        lesions = read_lesions(tmp_path / "m.json", IMAGE)
        assert np.array_equal(lesions.full_mask(), blob() > 0)
        assert lesions.warnings == ("The segment 'nipple' was left out: according to its name it is not a lesion.",)
    (tmp_path / "m.json").write_text(json.dumps({"lesions": [{"points": other, "label": "Skin"}]}))
    with pytest.raises(LesionError, match="according to its name the segment 'skin' is none"):
        read_lesions(tmp_path / "m.json", IMAGE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 100_000, "lists or sequences within each other, too deep"),
        ('{"lesions": [{"points": [[1' + "0" * 5000 + ", 1], [1, 3], [5, 6]]}]}", "a number of thousands of digits"),
        ('{"lesions": [{"corners": []}]}', "'points' is missing"),
        ('{"lesions": [\n', "no JSON from line 2, column 1"),
        ('{"lesions": 3}', "it is built otherwise"),
    ],
)
def test_files_that_hold_no_polygons_are_told_without_pythons_words(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(LesionError, match=f"holds no polygons .{words}") as caught:
        read_lesions(tmp_path / "m.json", IMAGE)
    assert not re.search(r"Error\b|sys\.", str(caught.value))


@pytest.mark.parametrize(
    ("place", "key", "value", "refused"),
    [
        *(("file", key, "mm", True) for key in ("unit", "units", "Coordinate Units")),
        *(("polygon", "units", value, False) for value in ("px", "Pixels", "", None)),
        *(("file", key, value, True) for key in ("order", "axes") for value in ("xy", "x,y", ["col", "row"])),
        *(("file", "order", value, False) for value in ("row,col", "yx", ["y", "x"], "clockwise", 1)),
        *(("file", key, value, True) for key, value in (("origin", [5, 0]), ("offset", {"x": 3}), ("scale", 0.5))),
        *(("file", key, value, False) for key, value in (("origin", [0, 0]), ("scale", 1), ("origin", "top left"))),
        *(("polygon", key, True, True) for key in ("deleted", "hidden", "isHidden", "ignore")),
        *(("polygon", "ignore", value, value == "yes") for value in (False, 0, None, "yes", "no")),
        *(("polygon", key, value, not value) for key in ("visible", "enabled") for value in (True, False)),
        ("theirs", "hidden", True, True),
        ("theirs", "color", "#ff0000", False),
    ],
)
def test_polygons_that_are_meant_otherwise_are_refused(
    tmp_path: Path, place: str, key: str, value: object, refused: bool
) -> None:
    corners = [[3, 4], [3, 20], [15, 20], [15, 4]]
    content: object = {"lesions": [{"points": corners, **({key: value} if place == "polygon" else {})}]}
    if place == "file":
        content |= {key: value}  # type: ignore[operator]
    if place == "theirs":
        content = [{"cgPoints": [{"y": y, "x": x} for y, x in corners], key: value}]
    (tmp_path / "m.json").write_text(json.dumps(content))
    if refused:
        with pytest.raises(LesionError, match=r"says '\w+: .*', which is not read"):
            read_lesions(tmp_path / "m.json", IMAGE)
    else:
        assert len(read_lesions(tmp_path / "m.json", IMAGE).lesions) == 1


@pytest.mark.parametrize(
    ("count", "words"),
    [(100_001, "has 100001 points, at most 100000 are read. Give its corners"), (2, "Give three or")],
)
def test_polygons_of_too_many_or_too_few_points(tmp_path: Path, count: int, words: str) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"lesions": [{"points": [[1, 2]] * count}]}))
    with pytest.raises(LesionError, match=words):
        read_lesions(tmp_path / "m.json", IMAGE)


def test_dicom_seg_of_highdicom(tmp_path: Path) -> None:
    import highdicom as hd
    import pydicom
    from pydicom.sr.codedict import codes

    from MolSubCore.cohort.synthetic import make_synthetic_cohort
    from MolSubCore.imaging.io.reader import read_mammogram
    from MolSubCore.tasks import Subtype

    make_synthetic_cohort(tmp_path / "c", counts={Subtype.TN: 1}, image_shape=(256, 208), views=("CC",))
    source = next((tmp_path / "c" / "images").glob("*.dcm"))
    mammogram = read_mammogram(source)
    masks = np.zeros((1, 256, 208, 2), np.uint8)
    masks[0, 100:120, 50:80, 0] = 1
    masks[0, 10:20, 30:35, 1] = 1
    algorithm = hd.AlgorithmIdentificationSequence("test", codes.DCM.ArtificialIntelligence, "1")
    described = [
        hd.seg.SegmentDescription(
            number,
            f"lesion {number}",
            codes.SCT.MorphologicallyAbnormalStructure,
            codes.SCT.Mass,
            "AUTOMATIC",
            algorithm,
        )
        for number in (1, 2)
    ]
    hd.seg.Segmentation(
        [pydicom.dcmread(source)], masks, "BINARY", described, hd.UID(), 1, hd.UID(), 1, "M", "S", "1", "D",
        omit_empty_frames=False,
    ).save_as(tmp_path / "seg.dcm")  # fmt: skip
    lesions = read_lesions(tmp_path / "seg.dcm", mammogram)
    assert [x.box for x in lesions.lesions] == [Box(100, 120, 50, 80), Box(10, 20, 30, 35)]
    assert lesions.warnings == ()
    another = pydicom.dcmread(source)
    another.InstanceNumber = 7
    another.save_as(tmp_path / "another.dcm")
    with pytest.raises(LesionError, match="is DICOM MG, expected a mask"):
        read_lesions(tmp_path / "another.dcm", mammogram)


def test_polygons_of_both_forms(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    corners = [[10, 5], [10, 24], [19, 24], [19, 5]]
    ours.write_text(json.dumps({"lesions": [{"points": corners}]}))
    points = [{"x": column, "y": row} for row, column in corners]
    theirs.write_text(json.dumps([{"cgPoints": points, "label": "calc ", "type": "Polyline"}]))
    for path in (ours, theirs):
        lesions = read_lesions(path, IMAGE)
        assert np.array_equal(lesions.full_mask(), blob() > 0)
        assert lesions.lesions[0].source_kind == "polygon"
    ours.write_text(json.dumps({"lesions": [{"points": [[-5, 5], [10, 50], [19, 5]]}]}))
    assert "outside the image" in read_lesions(ours, IMAGE).warnings[0]
    ours.write_text(json.dumps({"lesions": [{"points": [[1, 2]]}]}))
    with pytest.raises(LesionError, match="three or more"):
        read_lesions(ours, IMAGE)


@given(st.tuples(*[st.integers(-30, 90)] * 4))
def test_boxes(numbers: tuple[int, int, int, int]) -> None:
    row0, col0, row1, col1 = numbers
    text = ",".join(map(str, numbers))
    covered = np.zeros(SHAPE, bool)
    covered[max(row0, 0) : max(row1, 0), max(col0, 0) : max(col1, 0)] = True
    try:
        lesions: LesionSet | None = read_lesions(text, IMAGE)
    except LesionError as error:
        lesions = None
        if "would fit as col0" in str(error):  # x before y: refused though it covers something
            assert max(col1, col0) <= SHAPE[0] and max(row1, row0) <= SHAPE[1] and min(numbers) >= 0
            return
    assert (lesions is not None) == bool(covered.any())
    if lesions is not None:
        assert np.array_equal(lesions.full_mask(), covered)
        inside = min(numbers) >= 0 and row1 <= SHAPE[0] and col1 <= SHAPE[1]
        assert any("reaches outside" in text for text in lesions.warnings) != inside


@pytest.mark.real
def test_real_masks_of_itk_snap_are_their_png_twins(shared_data: Path) -> None:
    folder = shared_data / "cdd-cesm"
    masks = sorted((folder / "masks_nii").glob("*.nii.gz"))
    assert len(masks) == 8
    for path in masks:
        name = path.name.removesuffix("_mask.nii.gz")
        with Image.open(folder / "images" / f"{name}.jpg") as picture:
            image = Mammogram(np.zeros((picture.height, picture.width), np.uint8))
        twin = np.asarray(Image.open(folder / "masks" / f"{name}_mask.png")) > 0
        assert np.array_equal(read_lesions(path, image, split="none").full_mask(), twin)


@pytest.mark.real
@given(
    shape=st.tuples(st.integers(2, 60), st.integers(2, 60)),
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=12),
)
def test_polygons_are_filled_as_opencv_fills_them(shape: tuple[int, int], points: list[tuple[float, float]]) -> None:
    corners = np.array(points) * (np.array(shape) - 1)
    expected = np.zeros(shape, np.uint8)
    cv2.fillPoly(expected, [np.round(corners[:, ::-1]).astype(np.int32)], 1)
    assert np.array_equal(_filled(corners, shape), expected)


def test_real_polygons(shared_data: Path) -> None:
    image = Mammogram(np.zeros((2294, 1914), np.uint8))
    for path in sorted((shared_data / "cmmd" / "tompei").glob("*.json")):
        lesions = read_lesions(path, image)
        assert len(lesions.lesions) == len(json.loads(path.read_text()))


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.nrrd", "m.mha"])
def test_a_mask_that_is_cut_short_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    """SimpleITK fills the rest of a NIfTI file with zeros: a lesion would lose its lower part in silence."""
    rng = np.random.default_rng(0)
    path = save(tmp_path, name, (rng.random(SHAPE) < 0.5).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:-150])
    with pytest.raises(LesionError, match=name) as caught:
        read_lesions(path, IMAGE)
    assert "\n" not in str(caught.value)
    assert not capfd.readouterr().err


def test_a_mask_with_nan_is_refused(tmp_path: Path) -> None:
    mask = blob().astype(np.float32)
    mask[3, 4] = np.nan
    with pytest.raises(LesionError):
        read_lesions(save(tmp_path, "m.nii.gz", mask), IMAGE)


def test_a_mask_that_is_to_be_shown_turned_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(blob()).save(tmp_path / "m.png", exif=exif)
    with pytest.raises(LesionError, match="orientation"):
        read_lesions(tmp_path / "m.png", IMAGE)


@pytest.mark.parametrize("text", ["5,5,20", "1,2,3,4,5", "1.5,2,10,20"])
def test_a_box_of_other_numbers_is_told(text: str) -> None:
    with pytest.raises(LesionError, match="row0,col0,row1,col1"):
        read_lesions(text, IMAGE)


SQUARE = [[10, 5], [10, 25], [30, 25], [30, 5]]


def polygons(folder: Path, *entries: object) -> Path:
    (folder / "p.json").write_text(json.dumps({"lesions": list(entries)}))
    return folder / "p.json"


def test_holes_are_cut_out_and_told(tmp_path: Path) -> None:
    hole = [[15, 10], [15, 20], [25, 20], [25, 10]]
    for entries in (({"points": SQUARE}, {"points": hole, "hole": True}), ({"points": SQUARE, "holes": [hole]},)):
        lesions = read_lesions(polygons(tmp_path, *entries), IMAGE)
        (lesion,) = lesions.lesions
        assert lesion.box == Box(10, 31, 5, 26)
        assert lesion.mask is not None
        assert lesion.mask.sum() == 21 * 21 - 11 * 11
        assert "without 1 hole" in lesions.warnings[0]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[10, 5], [10, 25]], "2 points"),
        ([[10, 5], [20, 15], [30, 25]], "encloses no area"),
        ([[10, 5], [10, 5], [10, 5]], "encloses no area"),
        ([[10, 5], [10, float("nan")], [30, 25]], "not a number"),
        ([[0.1, 0.1], [0.1, 0.4], [0.4, 0.4]], "coordinates from 0 to 1 only"),
        ([[5, 45], [25, 45], [25, 55], [5, 55]], "x before y"),
        ([[70, 45], [90, 45], [90, 55]], "lies outside the image of 60 rows x 40 columns"),
    ],
)
def test_polygons_that_enclose_nothing_are_refused(tmp_path: Path, points: list[list[float]], words: str) -> None:
    with pytest.raises(LesionError, match=words):
        read_lesions(polygons(tmp_path, {"points": points}), IMAGE)


def test_a_line_that_crosses_itself_is_told(tmp_path: Path) -> None:
    crossed = read_lesions(polygons(tmp_path, {"points": [[10, 5], [30, 25], [10, 25], [30, 5]]}), IMAGE)
    assert "crosses itself" in crossed.warnings[0]
    notched = [[10, 5], [10, 25], [30, 25], [20, 15], [30, 5]]
    for points in (SQUARE, notched, [[10, 5], [10, 15], [14, 10]]):
        assert read_lesions(polygons(tmp_path, {"points": points}), IMAGE).warnings == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f'{{"lesions": [], "lesions": [{{"points": {SQUARE}}}]}}', "'lesions' twice"),
        (f'{{"lesions": [{{"points": [[1, 2]], "points": {SQUARE}}}]}}', "'points' twice"),
        ({"lesions": [{"points": SQUARE}], "shape": [80, 120]}, "image of 80 rows x 120 columns"),
        ({"lesions": [{"points": SQUARE}], "imageHeight": 80, "imageWidth": 60}, "80 rows x 60 columns"),
        ({"lesions": [{"points": SQUARE}], "SOPInstanceUID": "1.2.9"}, "another image"),
        ({"lesions": [{"points": SQUARE, "hole": "false"}]}, "value 'false' of 'hole'"),
        ({"shapes": [], "imagePath": "x", "version": "5.0"}, "is a LabelMe file"),
        ({"images": [{"id": 1}], "annotations": []}, "is a COCO file"),
        ({"x.png": {"filename": "x.png", "regions": []}}, "is a VIA"),
        ({"_via_settings": {}}, "is a VIA"),
        ({"markups": []}, "is a 3D Slicer markups file"),
        ([{"type": "Feature", "geometry": {}}], "is a GeoJSON"),
    ],
)
def test_polygons_of_other_images_and_programs_are_refused_by_their_name(
    tmp_path: Path, content: object, words: str
) -> None:
    path = tmp_path / "p.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    image = Mammogram(np.zeros((40, 60), np.uint8), identifiers={"SOPInstanceUID": "1.2.3"})
    with pytest.raises(LesionError, match=words):
        read_lesions(path, image)


def test_polygons_that_name_their_image(tmp_path: Path) -> None:
    image = Mammogram(np.zeros((40, 60), np.uint8), source=tmp_path / "right.dcm")
    path = tmp_path / "p.json"
    for name, count in (("other.png", 1), ("C:\\x\\Right.png", 0)):
        path.write_text(json.dumps({"lesions": [{"points": SQUARE}], "image": name, "shape": [40, 60]}))
        told = [text for text in read_lesions(path, image).warnings if "names another image file" in text]
        assert len(told) == count


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("2.38e2,118,283,163", "has a number with an exponent .2.38e2., expected four whole numbers"),
        ("(np.int64(5), np.int64(6), np.int64(9), np.int64(9))", "as NumPy prints them"),
        ("0.333 0.433 0.111 0.083", "as YOLO writes boxes"),
        ("0 0.333 0.433 0.111 0.083", "as YOLO writes boxes"),
        ("1,2,3", "has 3 numbers"),
        ("1 2 3", "has 3 numbers"),
    ],
)
def test_boxes_in_other_forms_are_named(box: str, words: str) -> None:
    with pytest.raises(LesionError, match=words):
        read_lesions(box, IMAGE)
