"""The whole way: a cohort as CMMD's from an archive, import, training, bundle, SEG and SR that validate, and back."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from cmmd_like import write_cmmd_like
from dicom_read_back import read_prediction_sr
from orthanc import Orthanc
from pydicom import dcmread

from MolSubCore.__main__ import main
from MolSubCore.files import read_json
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.tasks import Subtype

TRAIN = [
    *("--task", "tn", "--architecture", "simple-cnn", "--pretrained", "none"),
    *("--folds", "2", "--epochs", "1", "--test-share", "0.25"),
]
COUNTS = {Subtype.LUMINAL_A: 3, Subtype.LUMINAL_B: 1, Subtype.TN: 4}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, archive: Orthanc) -> Path:
    """Commands one after another, as in the README; each must end well."""
    folder = tmp_path_factory.mktemp("way")
    archive.send(*write_cmmd_like(folder / "cohort", folder / "download", COUNTS))
    for study in archive.ask("/studies"):
        with ZipFile(io.BytesIO(archive.get(f"/studies/{study}/archive"))) as fetched:
            fetched.extractall(folder / "download" / "CMMD")
    table, run, bundle = (str(folder / name) for name in ("table.csv", "run", "m.molsub"))
    results = ["--out", str(folder / "results"), "--layers", "none", "--dicom", "--identified"]
    for command in (
        ["cohort", "import", "cmmd", str(folder / "download"), "--out", table],
        ["train", table, "--out", run, "--cache", str(folder / "cache"), *TRAIN],
        ["models", "export", run, "--out", bundle, "--fold", "ensemble"],
        ["predict", table, "--model", bundle, *results],
    ):
        assert main(command) == 0, command
    return folder


@pytest.fixture(scope="module")
def sent(work: Path, archive: Orthanc) -> dict[str, Path]:
    """The results by SOP Instance UID, once they are in the archive."""
    paths = sorted((work / "results").glob("case-*/dicom/*.dcm"))
    archive.send(*paths)
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in paths}


def test_every_patient_has_results(work: Path, sent: dict[str, Path]) -> None:
    names = sorted(path.name[:3] for path in sent.values())
    assert names == ["seg"] * 16 + ["sr."] * 8


def test_they_are_valid(sent: dict[str, Path]) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs the Debian package dicom3tools")
    for path in sent.values():
        assert errors_of(path) == [], path


def errors_of(path: Path) -> list[str]:
    """What dciodvfy finds wrong in a file."""
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    assert set(lines) & {"Segmentation", "ComprehensiveSR", "ParametricMap", "SCImage"}, lines
    return [line for line in lines if line.startswith(("Error", "Abort"))]


def test_the_archive_files_them_in_the_patients_studies(archive: Orthanc, sent: dict[str, Path]) -> None:
    assert len(archive.ask("/patients")) == len(archive.ask("/studies")) == 8
    for study in archive.ask("/studies"):
        series = [archive.ask(f"/series/{name}") for name in archive.ask(f"/studies/{study}")["Series"]]
        assert sorted(one["MainDicomTags"]["Modality"] for one in series) == ["MG", "MG", "SEG", "SR"]


def test_what_comes_back_says_what_was_predicted(
    archive: Orthanc, work: Path, sent: dict[str, Path], tmp_path: Path
) -> None:
    names = {archive.ask(f"/instances/{one}")["MainDicomTags"]["SOPInstanceUID"]: one
             for one in archive.ask("/instances")}  # fmt: skip
    with (work / "results" / "predictions.csv").open(newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    for uid, path in sent.items():
        back = tmp_path / f"{uid}.dcm"
        back.write_bytes(archive.get(f"/instances/{names[uid]}/file"))
        said = read_json(path.parent.parent / "prediction.json")
        if path.name == "sr.dcm":
            report = read_prediction_sr(back)
            assert report.patient.probabilities == said["patient"]["probabilities"]
            row = rows[path.parent.parent.name]
            assert float(row["p:TN"]) == pytest.approx(report.patient.probabilities["TN"], abs=1e-6)
        else:
            (image,) = (one for one in said["images"] if path.name == f"seg_{one['image'].replace(' ', '_')}.dcm")
            mammogram = read_mammogram(image["files"]["image"])
            given = read_lesions(image["files"]["lesion"], mammogram)
            read = read_lesions(back, mammogram)
            assert read.warnings == ()
            np.testing.assert_array_equal(read.full_mask(), given.full_mask())


@pytest.mark.real
def test_files_of_cmmds_true_form_go_the_same_way(shared_data: Path, work: Path, tmp_path: Path) -> None:
    """Two patients only: with the model of the others. All kinds of objects are made."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs the Debian package dicom3tools")
    with ZipFile(shared_data / "cmmd" / "cmmd_like_format_fixture.zip") as download:
        download.extractall(tmp_path / "download")
    table, out = str(tmp_path / "table.csv"), tmp_path / "results"
    assert main(["cohort", "import", "cmmd", str(tmp_path / "download"), "--out", table]) == 0
    bundle = str(work / "m.molsub")
    assert main(["predict", table, "--model", bundle, "--out", str(out), "--dicom", "--identified"]) == 0
    results = sorted(out.glob("case-*/dicom/*.dcm"))
    assert len(results) == 8
    assert [errors_of(path) for path in results] == [[]] * 8
    with Orthanc() as archive:
        archive.send(*sorted((tmp_path / "download").rglob("*.dcm")), *results)
        studies = [archive.ask(f"/studies/{one}") for one in archive.ask("/studies")]
        assert sorted(one["PatientMainDicomTags"]["PatientID"] for one in studies) == ["T2-0001", "T2-0002"]
        names = archive.ask("/instances")
        stored = {archive.ask(f"/instances/{one}")["MainDicomTags"]["SOPInstanceUID"] for one in names}
    assert {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in results} <= stored
    assert len(stored) == 8 + 3
