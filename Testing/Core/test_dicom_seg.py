"""DICOM Segmentations of other programs as lesion masks: the right frames, segments and grid, or one clear error."""

from __future__ import annotations

import copy
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import DeflatedExplicitVRLittleEndian
from written_files import mammogram_dataset, picture, write_dicom

from MolSubCore.errors import LesionError
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import Box
from MolSubCore.lesions.masks import read_lesions

SHAPE = (51, 43)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_dicom(tmp_path / "image.dcm", mammogram_dataset(picture(12, SHAPE), 12))


@pytest.fixture
def mammogram(image: Path) -> Mammogram:
    return read_mammogram(image)


def described(count: int) -> list[hd.seg.SegmentDescription]:
    kind = (codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion)
    return [hd.seg.SegmentDescription(n, f"s{n}", *kind, "MANUAL") for n in range(1, count + 1)]


def segmentation(image: Path, masks: np.ndarray, kind: str = "BINARY", **options: object) -> Dataset:
    """A segmentation by highdicom of masks (rows, columns, segments) or labels (rows, columns)."""
    source = dcmread(image)
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"):
        setattr(source, keyword, "")
    source.StudyTime = source.ReferringPhysicianName = ""
    count = masks.shape[2] if masks.ndim == 3 else int(masks.max())
    return hd.seg.Segmentation(
        [source], masks[None], kind, described(count), hd.UID(), 1, hd.UID(), 1, "M", "S", "1", "D", **options
    )


def test_half_and_more_of_a_fractional_segment_is_lesion(image: Path, mammogram: Mammogram, tmp_path: Path) -> None:
    share = np.zeros((*SHAPE, 1), np.float32)
    share[10:20, 10:20, 0], share[12:18, 12:18, 0], share[14, 14, 0] = 0.3, 0.6, 1.0
    segmentation(image, share, "FRACTIONAL", max_fractional_value=200).save_as(tmp_path / "seg.dcm")
    (lesion,) = read_lesions(tmp_path / "seg.dcm", mammogram).lesions
    assert lesion.box == Box(12, 18, 12, 18)


def test_the_labels_of_a_label_map_are_lesions(image: Path, mammogram: Mammogram, tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9, 4:30], labels[30:50, 20:25] = 1, 2
    segmentation(image, labels, "LABELMAP").save_as(tmp_path / "seg.dcm")
    lesions = read_lesions(tmp_path / "seg.dcm", mammogram).lesions
    assert [lesion.box for lesion in lesions] == [Box(3, 9, 4, 30), Box(30, 50, 20, 25)]


def two_frames(image: Path, other: str | None) -> Dataset:
    """Two segments on this grid; the second one's frame derived from another image."""
    masks = np.zeros((*SHAPE, 2), np.uint8)
    masks[3:9, 4:30, 0], masks[30:50, 20:25, 1] = 1, 1
    made = segmentation(image, masks)
    if other:
        frame = made.PerFrameFunctionalGroupsSequence[1]
        frame.DerivationImageSequence = copy.deepcopy(frame.DerivationImageSequence)
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = other
    return made


def test_only_frames_of_this_image_are_taken(image: Path, mammogram: Mammogram, tmp_path: Path) -> None:
    two_frames(image, "1.2.999").save_as(tmp_path / "seg.dcm")
    lesions = read_lesions(tmp_path / "seg.dcm", mammogram)
    assert [lesion.box for lesion in lesions.lesions] == [Box(3, 9, 4, 30)]
    assert lesions.warnings == ()


def test_the_segmentation_of_one_other_image_is_none_of_this_one(image: Path, tmp_path: Path) -> None:
    two_frames(image, None).save_as(tmp_path / "seg.dcm")
    other = write_dicom(tmp_path / "copy.dcm", mammogram_dataset(picture(12, SHAPE), 12, SOPInstanceUID="1.2.3.99"))
    lesions = read_lesions(tmp_path / "seg.dcm", read_mammogram(other))
    assert len(lesions.lesions) == 2
    assert "another image than this one" in lesions.problems[0]
    assert lesions.wrong == ("1", "2")
    with pytest.raises(LesionError, match="another image than this one"):
        lesions.refuse_problems(tmp_path / "seg.dcm")


@pytest.mark.parametrize(
    "place", ["SourceImageSequence", "ReferencedImageSequence", "ReferencedSeriesSequence", "shared"]
)
def test_wherever_another_image_is_named_it_is_told(
    image: Path, mammogram: Mammogram, tmp_path: Path, place: str
) -> None:
    masks = np.zeros((*SHAPE, 1), np.uint8)
    masks[3:9, 4:30, 0] = 1
    made = segmentation(image, masks)
    named = Dataset()
    named.ReferencedSOPClassUID = dcmread(image).SOPClassUID
    named.ReferencedSOPInstanceUID = mammogram.identifiers["SOPInstanceUID"]
    del made.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
    del made.ReferencedSeriesSequence
    del made.SourceImageSequence
    if place == "ReferencedSeriesSequence":
        series = Dataset()
        series.ReferencedInstanceSequence = [named]
        made.ReferencedSeriesSequence = [series]
    elif place == "shared":
        derivation = Dataset()
        derivation.SourceImageSequence = [named]
        made.SharedFunctionalGroupsSequence[0].DerivationImageSequence = [derivation]
    else:
        setattr(made, place, [named])
    made.save_as(tmp_path / "seg.dcm")
    assert read_lesions(tmp_path / "seg.dcm", mammogram).warnings == ()
    other = write_dicom(tmp_path / "copy.dcm", mammogram_dataset(picture(12, SHAPE), 12, SOPInstanceUID="1.2.3.99"))
    (problem,) = read_lesions(tmp_path / "seg.dcm", read_mammogram(other)).problems
    assert "another image than this one" in problem


def test_the_segmentation_of_several_other_images_is_refused(image: Path, tmp_path: Path) -> None:
    two_frames(image, "1.2.999").save_as(tmp_path / "seg.dcm")
    other = write_dicom(tmp_path / "copy.dcm", mammogram_dataset(picture(12, SHAPE), 12, SOPInstanceUID="1.2.3.99"))
    with pytest.raises(LesionError, match="of 2 other images, not of this one"):
        read_lesions(tmp_path / "seg.dcm", read_mammogram(other))


def test_a_segment_named_for_all_frames_together(image: Path, mammogram: Mammogram, tmp_path: Path) -> None:
    masks = np.zeros((*SHAPE, 1), np.uint8)
    masks[3:9, 4:30, 0] = 1
    made = segmentation(image, masks)
    assert "SegmentIdentificationSequence" in made.SharedFunctionalGroupsSequence[0]
    assert "SegmentIdentificationSequence" not in made.PerFrameFunctionalGroupsSequence[0]
    made.save_as(tmp_path / "seg.dcm")
    (lesion,) = read_lesions(tmp_path / "seg.dcm", mammogram).lesions
    assert lesion.box == Box(3, 9, 4, 30)


def test_a_deflated_segmentation_is_read(image: Path, mammogram: Mammogram, tmp_path: Path) -> None:
    made = two_frames(image, None)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.save_as(tmp_path / "seg.dcm")
    assert len(read_lesions(tmp_path / "seg.dcm", mammogram).lesions) == 2


def code(meaning: str, value: str = "1") -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, "SCT", meaning
    return made


ANATOMY, ALTERED = ("Anatomical Structure", "Tissue"), ("Morphologically Altered Structure", "Mass")


@pytest.mark.parametrize(
    ("side", "of_frame", "told"),
    [("R", None, True), (None, "R", True), ("L", None, False), (None, "U", False), (None, None, False)],
)
def test_a_segmentation_without_references_of_the_other_side_is_told(
    image: Path, mammogram: Mammogram, tmp_path: Path, side: str | None, of_frame: str | None, told: bool
) -> None:
    masks = np.zeros((*SHAPE, 1), np.uint8)
    masks[3:9, 4:30] = 1
    made = segmentation(image, masks)
    for part in (made, *made.PerFrameFunctionalGroupsSequence):
        for keyword in ("SourceImageSequence", "ReferencedSeriesSequence", "DerivationImageSequence"):
            if keyword in part:
                del part[keyword]
    if side:
        made.ImageLaterality = side
    if of_frame:
        made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy := Dataset()]
        anatomy.FrameLaterality = of_frame
    made.save_as(tmp_path / "seg.dcm")
    assert mammogram.laterality == "L"
    found = ("The DICOM segmentation names no image, and another side than this image's; only its grid was compared.",)
    assert read_lesions(tmp_path / "seg.dcm", mammogram).warnings == (found if told else ())


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize(
    ("label", "types", "told"),
    [
        (
            "Pectoral muscle",
            ANATOMY,
            "The segment 'pectoral muscle' was left out: according to its name it is not a lesion.",
        ),
        ("Anna's nipple_L", ANATOMY, "The segment 'nipple' was left out: according to its name it is not a lesion."),
        ("Left breast", ANATOMY, "The segment 'breast' was left out: according to its name it is not a lesion."),
        ("Segment_1", ("Anatomical Structure", "Brustwarze"), "The segment 'brustwarze' was left out"),
        ("Segment_1", ("Anatomical Structure", "乳房", "76752008"), "The segment 'breast' was left out"),
        ("Nipple", ALTERED, "called 'nipple', but its type is that of a lesion: it was taken as one"),
        ("Segment_1", ("Tissue", "Tissue"), ""),
        *(
            ("Segment_1", ("Morphologically Abnormal Structure", meaning), f"The segment '{word}' was left out")
            for meaning, word in (("Pectoral muscle", "pectoral muscle"), ("Biopsy marker", "marker"))
        ),
        ("Segment_1", ("Morphologically Abnormal Structure", "Breast"), ""),  # where it lies
        ("Segment_1", ("Morphologically Abnormal Structure", "Calcification"), ""),
        ("mass near nipple", ANATOMY, ""),
        ("left breast, 2 o'clock", ANATOMY, ""),
        ("Calcified lymph node", ANATOMY, ""),
        ("Nipple retraction", ANATOMY, ""),
        ("Tumor", ("Anatomical Structure", "Breast", "76752008"), ""),
    ],
)
def test_segments_that_call_themselves_something_else_are_no_lesions(
    image: Path, mammogram: Mammogram, tmp_path: Path, label: str, types: tuple[str, ...], told: str, kind: str
) -> None:
    masks = np.zeros((*SHAPE, 2), np.uint8)
    masks[3:9, 4:30, 0], masks[30:50, 20:25, 1] = 1, 1
    made = segmentation(image, masks if kind == "BINARY" else masks @ np.array([1, 2], np.uint8), kind)
    first, second = [item for item in made.SegmentSequence if item.SegmentNumber in (1, 2)]
    made.SpecificCharacterSet = "ISO_IR 192"
    first.SegmentLabel = label
    first.SegmentedPropertyCategoryCodeSequence = [code(types[0])]
    first.SegmentedPropertyTypeCodeSequence = [code(*types[1:])]
    made.save_as(tmp_path / "seg.dcm")
    lesions = read_lesions(tmp_path / "seg.dcm", mammogram)
    out = "left out" in told
    expected = [Box(30, 50, 20, 25)] if out else [Box(3, 9, 4, 30), Box(30, 50, 20, 25)]
    assert [lesion.box for lesion in lesions.lesions] == expected
    assert len(lesions.warnings) == bool(told)
    assert told in " ".join(lesions.warnings)
    assert "Anna" not in " ".join(lesions.warnings)
    second.SegmentLabel = "Skin"
    second.SegmentedPropertyCategoryCodeSequence = second.SegmentedPropertyTypeCodeSequence = [code("Tissue")]
    made.save_as(tmp_path / "seg.dcm")
    if out:
        with pytest.raises(
            LesionError, match=r"holds no lesion: according to their names its segments .*'skin' are none"
        ):
            read_lesions(tmp_path / "seg.dcm", mammogram)


def placed(made: Dataset, **values: list[float]) -> Dataset:
    """The same, with a place in space for all frames: orientation, position, spacing."""
    shared = made.SharedFunctionalGroupsSequence[0]
    for sequence, keyword in (
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PlanePositionSequence", "ImagePositionPatient"),
        ("PixelMeasuresSequence", "PixelSpacing"),
    ):
        item = Dataset()
        if keyword in values:
            setattr(item, keyword, values[keyword])
            setattr(shared, sequence, [item])
    return made


@pytest.mark.parametrize(
    ("place", "words", "rows"),
    [
        ({}, "", (3, 9)),
        # as dcmqi and 3D Slicer write it for a mammogram, and with the patient's axes by Patient Orientation
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0]}, "", (3, 9)),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [40, 0, 0]}, "", (3, 9)),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": [0, 9, 1]}, "", (3, 9)),
        ({"ImageOrientationPatient": [0, -1, 0, -1, 0, 0]}, "", (3, 9)),
        ({"PixelSpacing": [0.1, 0.1]}, "", (3, 9)),
        ({"PixelSpacing": [1, 1]}, "", (3, 9)),
        ({"PixelSpacing": [0.05, 0.05]}, "The mask's pixel spacing is 0.05 x 0.05 mm, the image's 0.1 x 0.1", (3, 9)),
        (
            {"ImageOrientationPatient": [1, 0, 0, 0, -1, 0], "ImagePositionPatient": [0, 5, 0],
              "PixelSpacing": [0.1, 0.1]},
            "rows run the other way than the image's, by its header's direction and origin: turned",
            (42, 48),
        ),
        ({"ImageOrientationPatient": [0.8, 0.6, 0, -0.6, 0.8, 0]}, "oblique or exchanged", (3, 9)),
    ],
)  # fmt: skip
def test_where_the_frames_lie(tmp_path: Path, place: dict[str, list[float]], words: str, rows: tuple[int, int]) -> None:
    stored = picture(12, SHAPE)
    image = write_dicom(tmp_path / "image.dcm", mammogram_dataset(stored, 12, PixelSpacing=[0.1, 0.1]))
    masks = np.zeros((*SHAPE, 1), np.uint8)
    masks[3:9, 4:30, 0] = 1
    placed(segmentation(image, masks), **place).save_as(tmp_path / "seg.dcm")
    lesions = read_lesions(tmp_path / "seg.dcm", read_mammogram(image))
    assert [(lesion.box.row_start, lesion.box.row_stop) for lesion in lesions.lesions] == [rows]
    assert len(lesions.warnings) == bool(words)
    assert words in " ".join(lesions.warnings)


def test_rows_turned_without_a_position_are_refused_as_of_a_volume(
    image: Path, mammogram: Mammogram, tmp_path: Path
) -> None:
    masks = np.zeros((*SHAPE, 1), np.uint8)
    masks[3:9, 4:30, 0] = 1
    turned = placed(segmentation(image, masks), ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
    turned.save_as(tmp_path / "seg.dcm")
    with pytest.raises(LesionError, match="rows run the other way than the image's"):
        read_lesions(tmp_path / "seg.dcm", mammogram)


def test_frames_in_different_planes_are_told(image: Path, mammogram: Mammogram, tmp_path: Path) -> None:
    made = two_frames(image, None)
    for frame, height in zip(made.PerFrameFunctionalGroupsSequence, (0, 1), strict=True):
        item = Dataset()
        item.ImagePositionPatient = [0, 0, height]
        frame.PlanePositionSequence = [item]
    made.save_as(tmp_path / "seg.dcm")
    (told,) = read_lesions(tmp_path / "seg.dcm", mammogram).warnings
    assert "different planes" in told


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"Modality": "MG"}, "is DICOM MG, expected a mask"),
        ({"Rows": 60000, "Columns": 60000}, "claims 60000 x 60000"),
        ({"NumberOfFrames": 2**30}, "claims 1073741824 frames"),
        ({"NumberOfFrames": 4}, "truncated pixel data"),
        ({"Rows": 43, "Columns": 51}, "transposed"),
        ({"PixelData": b"\0" * 10}, "truncated pixel data"),
    ],
)
def test_what_lies_is_refused(
    image: Path, mammogram: Mammogram, tmp_path: Path, attributes: dict[str, object], words: str
) -> None:
    made = two_frames(image, None)
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    made.save_as(tmp_path / "seg.dcm")
    with pytest.raises(LesionError, match=words) as caught:
        read_lesions(tmp_path / "seg.dcm", mammogram)
    assert "\n" not in str(caught.value)
