"""DICOM results: they lie where they belong, say what was predicted, and belong to the mammogram's study."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_read_back import read_parametric_map, read_prediction_sr
from dicom_results import LAYERS, invent, sheet, write_results
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID
from written_files import mammogram_dataset, picture, write_dicom

from MolSubCore import DISCLAIMER
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions

SHAPE = (251, 203)  # odd, so that frames of one bit a pixel do not end at a byte
MLO, CC = "seg_1_R_MLO.dcm", "seg_2_R_CC.dcm"


def masks() -> np.ndarray:
    """Three lesions, two of them overlapping in rows and columns, near the borders, not symmetrical."""
    layers = np.zeros((3, *SHAPE), bool)
    layers[0, 3:40, 150:203] = np.tri(37, 53, 10, dtype=bool)
    layers[1, 200:251, 0:31] = np.tri(51, 31, dtype=bool)[::-1]
    layers[2, 100:130, 90:95] = True
    return layers


def write_image(folder: Path, name: str, view: str, uid: str, **attributes: object) -> Path:
    """A small mammogram of the right breast."""
    common = {
        "PatientName": "Müller^Österreich",
        "SpecificCharacterSet": "ISO_IR 100",
        "StudyDate": "20200102",
        "StudyID": "7",
        "AccessionNumber": "A7",
        "PatientSex": "F",
        "PatientBirthDate": "19500102",
        "InstitutionName": "Clinic",
        "PatientComments": "private remark",
    }
    dataset = mammogram_dataset(picture(12, SHAPE), 12, ImageLaterality="R", ViewPosition=view, **common)
    dataset.SOPInstanceUID = uid
    dataset.PatientOrientation, dataset.ImagerPixelSpacing = ["P", "F"], [0.1, 0.1]
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return write_dicom(folder / name, dataset)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("sources")
    labels = np.zeros(SHAPE, np.uint8)
    for number, layer in enumerate(masks(), start=1):
        labels[layer] = number
    from PIL import Image

    Image.fromarray(labels).save(folder / "three.png")
    mlo = write_image(folder, "mlo.dcm", "MLO", "1.2.840.1", PhotometricInterpretation="MONOCHROME1")
    cc = write_image(folder, "cc.dcm", "CC", "1.2.840.2", SeriesInstanceUID="1.2.3.7")
    return [(mlo, folder / "three.png"), (cc, Path("10,20,60,80"))]


@pytest.fixture(scope="module")
def made(sources: list[tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Dataset]]:
    folder = tmp_path_factory.mktemp("made") / "dicom"
    return folder, write_results(invent(sources, explained=(1, 4)), folder)


def test_one_object_of_each_kind_is_there(made: tuple[Path, dict[str, Dataset]]) -> None:
    names = set(made[1])
    lesions = [f"1_R_MLO_lesion_{n}" for n in (1, 2, 3)] + ["2_R_CC_lesion_1"]
    pictures = {
        f"{kind}_{name}_{c}.dcm" for kind in ("map", "overlay") for name in lesions for c in ("Luminal_B", "TN")
    }
    assert names == pictures | {MLO, CC, "sr.dcm"}


def test_segments_lie_on_the_stored_pixels(made: tuple[Path, dict[str, Dataset]]) -> None:
    folder, _ = made
    segmentation = hd.seg.segread(folder / MLO)
    pixels = segmentation.get_pixels_by_source_instance(["1.2.840.1"], combine_segments=False)
    np.testing.assert_array_equal(np.moveaxis(pixels[0], -1, 0).astype(bool), masks())
    box = np.zeros(SHAPE, bool)
    box[10:60, 20:80] = True
    np.testing.assert_array_equal(made[1][CC].pixel_array.astype(bool), box)
    told = made[1][CC].SegmentSequence[0].SegmentDescription
    assert "box" in told
    assert "not an outline" in told


def test_segments_come_back_through_the_one_reader(
    made: tuple[Path, dict[str, Dataset]], sources: list[tuple[Path, Path]]
) -> None:
    folder, _ = made
    for name, (image, lesion) in zip((MLO, CC), sources, strict=True):
        mammogram = read_mammogram(image)
        given, back = read_lesions(lesion, mammogram), read_lesions(folder / name, mammogram)
        assert [one.box for one in back.lesions] == [one.box for one in given.lesions]
        np.testing.assert_array_equal(back.full_mask(), given.full_mask())
        assert back.warnings == ()


def test_heatmaps_come_back_where_the_patch_was(
    made: tuple[Path, dict[str, Dataset]], sources: list[tuple[Path, Path]]
) -> None:
    prediction = invent(sources, explained=(1, 4))
    item = prediction.items[1]
    assert item.maps is not None
    assert item.maps.raw is not None
    frames = read_parametric_map(made[0] / "map_1_R_MLO_lesion_2_TN.dcm")
    assert [frame.layer for frame in frames] == list(LAYERS)
    for frame in frames:
        for kind, source in (("raw", item.maps.raw), ("scaled", item.maps.scaled)):
            expected, rows, columns = item.roi.geometry.paste(source[frame.layer][1])
            step = (expected.max() - expected.min()) / 65534
            np.testing.assert_allclose(frame.values[kind][rows, columns], expected, rtol=0, atol=0.51 * step + 1e-7)
            outside = np.ones(SHAPE, bool)
            outside[rows, columns] = False
            assert np.isnan(frame.values[kind][outside]).all()


def test_another_library_reads_the_same_heatmap(
    made: tuple[Path, dict[str, Dataset]], sources: list[tuple[Path, Path]]
) -> None:
    item = invent(sources, explained=(1, 4)).items[3]
    assert item.maps is not None
    expected, rows, columns = item.roi.geometry.paste(item.maps.scaled[LAYERS[1]][0])
    read = hd.pm.ParametricMap.from_file(made[0] / "map_2_R_CC_lesion_1_Luminal_B.dcm")
    values = read.get_frame(2, apply_real_world_transform=True, real_world_value_map_selector="L2 scaled")
    np.testing.assert_allclose(values[rows, columns], expected, atol=1e-4)


def test_maps_without_raw_values_are_scaled_only(sources: list[tuple[Path, Path]], tmp_path: Path) -> None:
    prediction = invent(sources[1:], raw=False)
    write_results(prediction, tmp_path / "out" / "dicom")
    (frame, _) = read_parametric_map(tmp_path / "out" / "dicom" / "map_1_R_CC_lesion_1_Luminal_B.dcm")
    assert set(frame.values) == {"scaled"}


def test_overlays_are_the_sheets(made: tuple[Path, dict[str, Dataset]]) -> None:
    for name, number, index in (("1_R_MLO_lesion_3_TN", 2, 4), ("2_R_CC_lesion_1_Luminal_B", 3, 1)):
        overlay = made[1][f"overlay_{name}.dcm"]
        np.testing.assert_array_equal(overlay.pixel_array, sheet(number, index))
        assert overlay.BurnedInAnnotation == "NO"


def test_the_report_says_the_probabilities_exactly(
    made: tuple[Path, dict[str, Dataset]], sources: list[tuple[Path, Path]]
) -> None:
    prediction = invent(sources, explained=(1, 4))
    report = read_prediction_sr(made[0] / "sr.dcm")
    assert [group.name for group in report.lesions] == [item.lesion for item in prediction.items]
    for group, item in zip(report.lesions, prediction.items, strict=True):
        assert group.probabilities == dict(zip(prediction.classes, item.probabilities.tolist(), strict=True))
        assert group.predicted == prediction.classes[int(item.probabilities.argmax())]
        assert group.algorithm == ("invented", "2026-01-02T03:04:05+00:00 " + "ab" * 6)
    assert report.patient.probabilities == prediction.patient
    assert report.warnings == ("Invented.",)
    assert report.intended_use == DISCLAIMER


def test_another_library_finds_measurements_and_segments(made: tuple[Path, dict[str, Dataset]]) -> None:
    report = hd.sr.srread(made[0] / "sr.dcm").content
    groups = report.get_planar_roi_measurement_groups()
    assert len(groups) == 4
    segmentation = made[1][MLO]
    for number, group in enumerate(groups[:3], start=1):
        segment = segmentation.SegmentSequence[number - 1]
        assert group.tracking_uid == segment.TrackingUID
        assert group.tracking_identifier == segment.TrackingID == f"1 R MLO lesion {number}"
        assert len(group.get_measurements()) == 5
        assert group.finding_sites[0].laterality.value == "24028007"  # SNOMED CT: right
    references = [report.lesions[n].segment for report in [read_prediction_sr(made[0] / "sr.dcm")] for n in range(4)]
    assert references == [(segmentation.SOPInstanceUID, n) for n in (1, 2, 3)] + [(made[1][CC].SOPInstanceUID, 1)]


def test_the_report_refers_to_all_it_was_made_of(made: tuple[Path, dict[str, Dataset]]) -> None:
    report = hd.sr.srread(made[0] / "sr.dcm")
    evidence = {(str(study), str(instance)) for study, _, instance, _ in report.get_evidence()}
    others = {str(dataset.SOPInstanceUID) for name, dataset in made[1].items() if name != "sr.dcm"}
    assert evidence == {("1.2.3.5", uid) for uid in others | {"1.2.840.1", "1.2.840.2"}}
    assert set(read_prediction_sr(made[0] / "sr.dcm").patient.images) == {"1.2.840.1", "1.2.840.2"}


def test_all_belong_to_the_study_and_to_research(made: tuple[Path, dict[str, Dataset]]) -> None:
    uids = []
    for name, dataset in made[1].items():
        assert (dataset.StudyInstanceUID, dataset.PatientID) == ("1.2.3.5", "P1"), name
        assert str(dataset.PatientName) == "Müller^Österreich", name
        assert (dataset.StudyDate, dataset.StudyID, dataset.AccessionNumber) == ("20200102", "7", "A7"), name
        assert dataset.ContentQualification == "RESEARCH", name
        assert dataset.SeriesDescription.startswith("RESEARCH ONLY"), name
        assert "InstitutionName" not in dataset, name
        assert "PatientComments" not in dataset, name
        assert name == "sr.dcm" or dataset.ImageComments.startswith(DISCLAIMER), name
        uids += [dataset.SOPInstanceUID, dataset.SeriesInstanceUID]
        if name[:3] in ("seg", "map"):
            assert (dataset.Rows, dataset.Columns) == SHAPE, name
            assert list(dataset.PatientOrientation) == ["P", "F"], name
            assert dataset.ImageLaterality == "R", name
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)
    assert len({*uids}) == len(made[1]) + 5  # a series for each kind of object, for maps one for each image


def test_every_private_code_is_of_the_declared_scheme(made: tuple[Path, dict[str, Dataset]]) -> None:
    for name, dataset in made[1].items():
        used = {str(item.CodingSchemeDesignator) for item in walk(dataset) if "CodeValue" in item}
        assert used <= {"SCT", "DCM", "UCUM", "RFC5646", "99MOLSUB"}, name
        declared = {str(item.CodingSchemeDesignator) for item in dataset.get("CodingSchemeIdentificationSequence", [])}
        assert declared == used & {"99MOLSUB"}, name


def walk(dataset: Dataset) -> list[Dataset]:
    below = [item for element in dataset if element.VR == "SQ" for item in element.value]
    return [dataset, *(found for item in below for found in walk(item))]


def test_heatmaps_refer_to_their_mammogram_pixel_by_pixel(made: tuple[Path, dict[str, Dataset]]) -> None:
    dataset = made[1]["map_2_R_CC_lesion_1_TN.dcm"]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    image = shared.DerivationImageSequence[0].SourceImageSequence[0]
    assert (image.ReferencedSOPInstanceUID, image.SpatialLocationsPreserved) == ("1.2.840.2", "YES")
    assert [float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing] == [0.1, 0.1]
    cosines = [float(x) for x in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    assert cosines == [0, 1, 0, 0, 0, -1]  # rows towards posterior, columns towards the feet
    comments = [item.FrameContentSequence[0].FrameComments for item in dataset.PerFrameFunctionalGroupsSequence]
    assert ["Empty" in text for text in comments] == [True, False]


def test_images_of_two_studies_keep_theirs(sources: list[tuple[Path, Path]], tmp_path: Path) -> None:
    other = write_image(tmp_path, "other.dcm", "CC", "1.2.840.9", StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1")
    results = write_results(invent([sources[0], (other, "10,20,60,80")]), tmp_path / "out" / "dicom")
    assert results[CC].StudyInstanceUID == results["map_2_R_CC_lesion_1_Luminal_B.dcm"].StudyInstanceUID == "1.2.9"
    assert results[MLO].StudyInstanceUID == results["sr.dcm"].StudyInstanceUID == "1.2.3.5"
    evidence = hd.sr.srread(tmp_path / "out" / "dicom" / "sr.dcm").get_evidence()
    assert {str(study) for study, *_ in evidence} == {"1.2.3.5", "1.2.9"}
    series = {dataset.SeriesInstanceUID: dataset.StudyInstanceUID for dataset in results.values()}
    assert len(series) == 7  # segmentations, maps and overlays of both studies, one report


def test_a_series_has_one_frame_of_reference_at_most(made: tuple[Path, dict[str, Dataset]]) -> None:
    """PS3.3 A.1.2.3; two images of one study have two planes of the detector."""
    frames: dict[str, set[str | None]] = {}
    numbers: dict[str, list[int]] = {}
    for dataset in made[1].values():
        frames.setdefault(dataset.SeriesInstanceUID, set()).add(dataset.get("FrameOfReferenceUID"))
        numbers.setdefault(dataset.SeriesInstanceUID, []).append(int(dataset.InstanceNumber))
    assert all(len(found) == 1 for found in frames.values())
    assert len(set().union(*frames.values()) - {None}) == 2
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values())


def test_a_tie_predicts_nothing(sources: list[tuple[Path, Path]], tmp_path: Path) -> None:
    prediction = invent(sources[1:], task="tn", explained=())
    prediction.items[0].probabilities[:] = (0.5, 0.5)
    results = write_results(prediction, tmp_path / "out" / "dicom")
    assert set(results) == {"seg_1_R_CC.dcm", "sr.dcm"}
    report = read_prediction_sr(tmp_path / "out" / "dicom" / "sr.dcm")
    assert report.lesions[0].predicted is None
    assert report.lesions[0].probabilities == {"non-TN": 0.5, "TN": 0.5}


def test_the_source_is_left_as_it_was(sources: list[tuple[Path, Path]], tmp_path: Path) -> None:
    before = sources[1][0].read_bytes()
    write_results(invent(sources[1:]), tmp_path / "out" / "dicom")
    assert sources[1][0].read_bytes() == before
    assert dcmread(sources[1][0]).PatientComments == "private remark"
