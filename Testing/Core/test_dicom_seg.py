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
