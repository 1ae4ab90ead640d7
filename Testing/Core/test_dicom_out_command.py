"""`molsub predict --dicom`: what it writes, what it refuses before any work, and tables."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import case, failing
from dicom_read_back import read_parametric_map, read_prediction_sr
from dicom_results import complaints
from PIL import Image
from pydicom import dcmread

from MolSubCore.__main__ import main
from MolSubCore.files import read_json


def arguments(workplace: Path, out: Path, *more: str) -> list[str]:
    image, mask = case(workplace)
    model = ["--model", str(workplace / "m.molsub"), "--layers", "none"]
    return ["predict", image, "--lesion", mask, *model, "--out", str(out), *more]


def test_results_lie_beside_the_prediction(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "result"
    assert main(arguments(workplace, out, "--dicom", "--identified")) == 0
    assert f"DICOM objects, which name the patient: {out / 'dicom'}" in capsys.readouterr().out
    said = read_json(out / "prediction.json")
    assert sorted(said["dicom"]) == sorted(f"dicom/{path.name}" for path in (out / "dicom").iterdir())
    report = read_prediction_sr(out / "dicom" / "sr.dcm")
    assert report.patient.probabilities == said["patient"]["probabilities"]
    assert list(report.warnings) == said["warnings"]
    source = dcmread(case(workplace)[0], stop_before_pixels=True)
    for path in (out / "dicom").iterdir():
        assert complaints(path) == []
        assert dcmread(path).StudyInstanceUID == source.StudyInstanceUID


def test_one_layer_is_a_map_of_one_frame(workplace: Path, tmp_path: Path) -> None:
    out = tmp_path / "result"
    more = ("--layers", "features.12", "--classes", "Luminal")
    assert main(arguments(workplace, out, "--dicom", "--identified", *more)) == 0
    (path,) = (out / "dicom").glob("map_*.dcm")
    assert complaints(path) == []
    (frame,) = read_parametric_map(path)
    assert frame.layer == "features.12"
    assert 0 < np.nanmax(frame.values["scaled"]) <= 1  # this network's maximum lies beside the image


def test_without_the_option_nothing_of_it_is_written(workplace: Path, tmp_path: Path) -> None:
    assert main(arguments(workplace, tmp_path / "result", "--identified")) == 0
    assert not list(tmp_path.rglob("*.dcm"))
    assert "dicom" not in read_json(tmp_path / "result" / "prediction.json")


def test_identifiers_must_be_asked_for(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = failing(capsys, *arguments(workplace, tmp_path / "result", "--dicom"))
    assert "the patient's name, ID and the study's UIDs. Add --identified" in line
    assert not (tmp_path / "result").exists()


def test_pictures_are_refused_before_the_model_is_read(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (60, 50), 7).save(tmp_path / "a.png")
    options = ["--model", "no-such-model", "--out", str(tmp_path / "r"), "--dicom", "--identified"]
    line = failing(capsys, "predict", str(tmp_path / "a.png"), "--lesion", "1,1,9,9", *options)
    assert "is no DICOM file, so that DICOM results would have no study" in line


def test_a_table_gets_them_for_each_patient_and_later_too(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second patient's image is a picture: it is reported, the first one's results are written."""
    Image.linear_gradient("L").resize((60, 50)).save(tmp_path / "a.png")  # of one grey value it would be refused
    image, mask = case(workplace)
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["patient_id", "image", "mask", "box"], ["A", image, mask, ""], ["B", "a.png", "", "1,1,9,9"]]
        )
    command = ["predict", str(tmp_path / "t.csv"), "--model", str(workplace / "m.molsub"), "--layers", "none"]
    command += ["--out", str(tmp_path / "out"), "--identified"]
    assert main(command) == 0
    assert not list((tmp_path / "out").rglob("*.dcm"))
    before = read_json(tmp_path / "out" / "case-0001" / "prediction.json")
    assert main([*command, "--resume", "--dicom"]) == 2
    assert "is no DICOM file" in capsys.readouterr().err
    after = read_json(tmp_path / "out" / "case-0001" / "prediction.json")
    assert after.pop("dicom") == [
        "dicom/seg_1_" + after["images"][0]["image"][2:].replace(" ", "_") + ".dcm",
        "dicom/sr.dcm",
    ]
    assert after["made"].pop("date") >= before["made"].pop("date")
    first, *others = after["made"].pop("command").split(" --dicom --resume")  # what is recorded of settings may follow
    assert len(others) == 1
    assert first + others[0] == before["made"].pop("command")
    assert after == before


def test_a_failure_leaves_nothing(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, mask = case(workplace)
    changed = dcmread(image)
    del changed.StudyInstanceUID
    changed.save_as(tmp_path / "a.dcm")
    shutil.copy(mask, tmp_path / "m.nii.gz")
    options = ["--model", str(workplace / "m.molsub"), "--out", str(tmp_path / "r"), "--dicom", "--identified"]
    line = failing(capsys, "predict", str(tmp_path / "a.dcm"), "--lesion", str(tmp_path / "m.nii.gz"), *options)
    assert "has no StudyInstanceUID" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dcm", "m.nii.gz"]
