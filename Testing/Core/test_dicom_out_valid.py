"""dciodvfy finds no error in DICOM results, whatever their mammograms are like."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from dicom_results import complaints, invent, write_results
from pydicom.uid import DigitalMammographyXRayImageStorageForProcessing
from written_files import mammogram_dataset, picture, write_dicom

from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.errors import ImageError, MolSubError
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.prediction.dicom.codes import class_code, probability_code
from MolSubCore.prediction.dicom.source import check_sources, read_source
from MolSubCore.tasks import TASKS, Subtype

#: Real files, with a box on the breast. Errors of dciodvfy about the files themselves that must not be handed on:
#: Image Type 3 and no Manufacturer (Siemens), Patient Orientation ``MLO`` (CBIS-DDSM).
REAL = {
    "dicom/ge_senographe_RMLO_jpegLosslessSV1_voilut3_sigmoid.dcm": "1000,800,1200,1100",
    "dicom/siemens_inspiration_LCC_stereo_jpegLosslessSV1_overlays.dcm": "100,100,300,350",
    "cbis-ddsm/dicom/Mass-Test_P_00016_LEFT_CC_1": "100,100,250,250",
    "cbis-ddsm/dicom/Mass-Test_P_00116_RIGHT_MLO_2": "100,100,250,250",
}

#: What results say, by what the mammogram says: an unknown status stays unknown.
BURNED = {"NO": "NO", "YES": "YES"}
DATES = {"2020.01.02": "20200102", "['20200101', '20200102']": "20200101"}


def check_all(folder: Path) -> None:
    for path in folder.iterdir():
        assert complaints(path) == [], path.name


def test_synthetic_cases_are_valid(tmp_path: Path) -> None:
    make_synthetic_cohort(tmp_path / "c", counts={Subtype.TN: 1, Subtype.LUMINAL_A: 1}, image_shape=(256, 208))
    for patient in ("P0001", "P0002"):
        images = sorted((tmp_path / "c" / "images").glob(f"{patient}*.dcm"))
        pairs = [(image, tmp_path / "c" / "masks" / f"{image.stem}.nii.gz") for image in images]
        write_results(invent(pairs, explained=(0, 1, 2, 3, 4)), tmp_path / patient / "dicom")
        check_all(tmp_path / patient / "dicom")


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_results_on_real_mammograms_are_valid(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / name
    path = next(path.rglob("*.dcm")) if path.is_dir() else path
    results = write_results(invent([(path, REAL[name])], task="tn"), tmp_path / "out" / "dicom")
    assert len(results) == 4
    check_all(tmp_path / "out" / "dicom")


@pytest.mark.real
def test_results_on_a_file_as_in_cmmd_are_valid(shared_data: Path, tmp_path: Path) -> None:
    """Its patients are said to be de-identified, but not how, which the standard wants to know."""
    with ZipFile(shared_data / "cmmd" / "cmmd_like_format_fixture.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith("1-1.dcm"))
        (tmp_path / "image.dcm").write_bytes(archive.read(name))
    results = write_results(invent([(tmp_path / "image.dcm", "900,300,1200,700")]), tmp_path / "out" / "dicom")
    check_all(tmp_path / "out" / "dicom")
    for dataset in results.values():
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethod == "Not stated by the source image"


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    "attributes",
    [
        {"ImageLaterality": None, "ViewPosition": None, "ImagerPixelSpacing": None},
        {"PatientSex": "FEMALE", "StudyDate": "2020.01.02x", "StudyTime": "noon", "PatientBirthDate": "unknown"},
        {"PatientName": "山田^太郎", "SpecificCharacterSet": "ISO_IR 192"},
        {"PatientOrientation": "MLO", "LossyImageCompression": "01", "LossyImageCompressionRatio": "10"},
        {"BurnedInAnnotation": "YES", "PatientIdentityRemoved": "YES", "FrameOfReferenceUID": "1.2.3.4.5"},
        {"BurnedInAnnotation": None, "StudyDate": "2020.01.02", "PatientBirthDate": "2020-0102"},
        {"BurnedInAnnotation": "UNKNOWN", "StudyDate": "20201301", "StudyTime": "10:20:30"},
        {"SOPClassUID": DigitalMammographyXRayImageStorageForProcessing, "ImagerPixelSpacing": [0.07, 0.085]},
        {"StudyDate": ["20200101", "20200102"], "StudyID": None, "ReferringPhysicianName": "Ärztin^Eva"},
    ],
    ids=lambda attributes: "-".join(attributes),
)
def test_sources_with_defects_give_valid_results(tmp_path: Path, attributes: dict[str, object]) -> None:
    dataset = mammogram_dataset(picture(12, (251, 203)), 12)
    dataset.SpecificCharacterSet, dataset.ImagerPixelSpacing, dataset.StudyID = "ISO_IR 192", [0.1, 0.1], "1"
    for keyword, value in attributes.items():
        if value is None and keyword in dataset:
            delattr(dataset, keyword)
        elif value is not None:
            setattr(dataset, keyword, value)
    path = write_dicom(tmp_path / "source.dcm", dataset)
    results = write_results(invent([(path, "40,50,90,120")], task="her2"), tmp_path / "out" / "dicom")
    check_all(tmp_path / "out" / "dicom")
    for name, result in results.items():
        assert str(result.PatientName) == str(attributes.get("PatientName", ""))
        assert str(result.StudyDate or "") == DATES.get(str(attributes.get("StudyDate")), "")
        if name.startswith("overlay"):
            assert result.get("BurnedInAnnotation") == BURNED.get(attributes.get("BurnedInAnnotation", "NO"))
        if name.startswith("seg"):
            assert "FrameOfReferenceUID" not in result  # projections lie on their pixels, nowhere else


def test_a_recipe_for_all_lesions_together_has_one_segment(tmp_path: Path) -> None:
    labels = np.zeros((251, 203), np.uint8)
    labels[20:40, 30:50], labels[200:230, 150:190] = 1, 2
    from PIL import Image

    Image.fromarray(labels).save(tmp_path / "mask.png")
    path = write_dicom(tmp_path / "source.dcm", mammogram_dataset(picture(12, (251, 203)), 12))
    recipe = dataclasses.replace(get_recipe("default"), together=True)
    prediction = invent([(path, tmp_path / "mask.png")], recipe=recipe)
    results = write_results(prediction, tmp_path / "out" / "dicom")
    check_all(tmp_path / "out" / "dicom")
    segmentation = results["seg_1_L_CC.dcm"]
    assert len(segmentation.SegmentSequence) == 1
    np.testing.assert_array_equal(segmentation.pixel_array, labels > 0)
    back = read_lesions(tmp_path / "out" / "dicom" / "seg_1_L_CC.dcm", prediction.items[0].mammogram)
    np.testing.assert_array_equal(back.full_mask(), labels > 0)


def test_every_class_has_its_own_short_code() -> None:
    classes = {name for task in TASKS.values() for name in task.classes}
    for code in (class_code, probability_code):
        values = {str(code(name).value) for name in classes}
        assert len(values) == len(classes)
        assert all(re.fullmatch(r"\w{1,16}", value) for value in values)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"StudyInstanceUID": None}, "has no StudyInstanceUID"),
        ({"SOPInstanceUID": ""}, "has no SOPInstanceUID"),
        ({"SOPClassUID": "1.2.3.4.5.6"}, "private SOP class 1.2.3.4.5.6"),
    ],
)
def test_images_that_cannot_be_referred_to_are_refused(
    tmp_path: Path, attributes: dict[str, object], words: str
) -> None:
    dataset = mammogram_dataset(picture(12, (40, 40)), 12)
    path = write_dicom(tmp_path / "source.dcm", dataset)
    from pydicom import dcmread

    changed = dcmread(path)
    for keyword, value in attributes.items():
        if value is None:
            delattr(changed, keyword)
        else:
            setattr(changed, keyword, value)
    changed.save_as(path, enforce_file_format=False)
    with pytest.raises(ImageError, match=words):
        read_source(path)


def test_pictures_have_no_study(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture(8, (40, 40))).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is no DICOM file, so that DICOM results would have no study"):
        check_sources([tmp_path / "a.png"], identified=True)
    with pytest.raises(MolSubError, match=r"--dicom: writes objects of the patient's own study.*Add --identified"):
        check_sources([tmp_path / "a.png"], identified=False)
