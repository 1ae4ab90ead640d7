"""From an archive to SEG and SR and back: DICOM results in a real Orthanc, by C-STORE, C-GET and REST."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from dicom_read_back import read_parametric_map, read_prediction_sr
from orthanc import Orthanc
from pydicom import dcmread
from pydicom.dataset import Dataset

from MolSubCore.__main__ import main
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.files import read_json
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import write_bundle
from MolSubCore.models.registry import build_model
from MolSubCore.tasks import Subtype, get_task


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, archive: Orthanc) -> Path:
    """Two views of a patient in the archive, fetched from there, and what was predicted from them."""
    folder = tmp_path_factory.mktemp("archive")
    make_synthetic_cohort(folder / "cohort", counts={Subtype.TN: 1}, image_shape=(512, 416))
    archive.send(*sorted((folder / "cohort" / "images").glob("*.dcm")))
    (study,) = archive.ask("/studies")
    with ZipFile(io.BytesIO(archive.get(f"/studies/{study}/archive"))) as fetched:
        fetched.extractall(folder / "fetched")
    images = {read_mammogram(path).view: path for path in (folder / "fetched").rglob("*.dcm")}
    masks = {view: next((folder / "cohort" / "masks").glob(f"*_{view}.nii.gz")) for view in images}
    torch.manual_seed(0)
    task = get_task("subtype5")
    write_bundle(
        folder / "m.molsub", [build_model("simple-cnn", 5).state_dict()], architecture="simple-cnn", task="subtype5",
        classes=task.classes, recipe=get_recipe("default").to_dict(), dropout=0.3,
    )  # fmt: skip
    lesions = [f"--lesion={masks[view]}" for view in ("CC", "MLO")]
    files = [str(images[view]) for view in ("CC", "MLO")]
    arguments = ["--model", str(folder / "m.molsub"), "--out", str(folder / "result"), "--dicom", "--identified"]
    assert main(["predict", *files, *lesions, *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def results(work: Path) -> dict[str, Path]:
    """The DICOM results by SOP Instance UID."""
    paths = sorted((work / "result" / "dicom").glob("*.dcm"))
    assert len(paths) == 7  # segmentation, map and overlay for each view, and the report
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in paths}


@pytest.fixture(scope="module")
def stored(archive: Orthanc, results: dict[str, Path]) -> dict[str, str]:
    """The archive's names of the results, sent by C-STORE, by SOP Instance UID."""
    archive.send(*results.values())
    return {archive.ask(f"/instances/{name}")["MainDicomTags"]["SOPInstanceUID"]: name
            for name in archive.ask("/instances")}  # fmt: skip


def elements(dataset: Dataset) -> Dataset:
    """A data set without what a receiver may write anew."""
    return Dataset({tag: element for tag, element in dataset.items() if tag.element != 0})


def test_results_are_filed_in_the_study_of_their_images(archive: Orthanc, stored: dict[str, str]) -> None:
    assert len(archive.ask("/patients")) == 1
    (study,) = archive.ask("/studies")
    series = [archive.ask(f"/series/{name}") for name in archive.ask(f"/studies/{study}")["Series"]]
    found = sorted((one["MainDicomTags"]["Modality"], len(one["Instances"])) for one in series)
    # A map has the frame of reference of its image, and a series has one.
    assert found == [("MG", 1), ("MG", 1), ("OT", 1), ("OT", 1), ("OT", 2), ("SEG", 2), ("SR", 1)]


def test_what_was_stored_comes_back_by_rest(archive: Orthanc, results: dict[str, Path], stored: dict[str, str]) -> None:
    for uid, path in results.items():
        back = dcmread(io.BytesIO(archive.get(f"/instances/{stored[uid]}/file")))
        sent = dcmread(path)
        assert back.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID, path.name
        assert elements(back) == elements(sent), path.name


def test_what_was_stored_comes_back_by_c_get(
    archive: Orthanc, results: dict[str, Path], stored: dict[str, str], tmp_path: Path
) -> None:
    study = str(dcmread(next(iter(results.values())), stop_before_pixels=True).StudyInstanceUID)
    back = {str(dataset.SOPInstanceUID): dataset for dataset in map(dcmread, archive.retrieve(study, tmp_path / "got"))}
    expected = {uid: path for uid, path in results.items() if not path.name.startswith("map_")}
    assert set(back) & set(results) == set(expected)  # getscu does not ask for parametric maps
    for uid, path in expected.items():
        sent, got = dcmread(path), back[uid]
        if not path.name.startswith("sr"):  # the archive may hand pictures out uncompressed
            np.testing.assert_array_equal(got.pixel_array, sent.pixel_array)
            del got.PixelData, sent.PixelData
        assert elements(got) == elements(sent), path.name


def test_results_from_the_archive_say_the_same(
    archive: Orthanc, work: Path, results: dict[str, Path], stored: dict[str, str], tmp_path: Path
) -> None:
    for uid, path in results.items():
        (tmp_path / path.name).write_bytes(archive.get(f"/instances/{stored[uid]}/file"))
    said = read_json(work / "result" / "prediction.json")
    report = read_prediction_sr(tmp_path / "sr.dcm")
    assert report.patient.probabilities == said["patient"]["probabilities"]
    for group, image in zip(report.lesions, said["images"], strict=True):
        assert group.probabilities == image["probabilities"]
        label = image["image"].replace(" ", "_")
        mammogram = read_mammogram(image["files"]["image"])
        given = read_lesions(image["files"]["lesion"], mammogram).full_mask()
        back = read_lesions(tmp_path / f"seg_{label}.dcm", mammogram)
        assert back.warnings == ()
        np.testing.assert_array_equal(back.full_mask(), given)
        (name,) = tmp_path.glob(f"map_{label}_*.dcm")
        check_maps(name, work / "result", image)


def check_maps(path: Path, result: Path, image: dict[str, Any]) -> None:
    """A parametric map says what the NRRD files beside the prediction say."""
    import SimpleITK as sitk

    frames, files = read_parametric_map(path), image["heatmaps"]
    assert [frame.layer for frame in frames] == list(files)
    first = tuple(max(image["roi"][name], 0) for name in ("row_start", "col_start"))
    for frame in frames:
        region = sitk.GetArrayFromImage(sitk.ReadImage(str(result / files[frame.layer])))[0]
        values = frame.values["scaled"]
        expected = np.zeros(values.shape, np.float32)
        expected[first[0] : first[0] + region.shape[0], first[1] : first[1] + region.shape[1]] = region
        inside = np.isfinite(values)
        np.testing.assert_allclose(values[inside], expected[inside], atol=2e-5)
        assert (expected[~inside] == 0).all()


def test_an_upload_by_rest_keeps_every_byte(results: dict[str, Path], stored: dict[str, str]) -> None:
    with Orthanc() as other:
        for path in results.values():
            assert other.get(f"/instances/{other.upload(path)}/file") == path.read_bytes(), path.name
