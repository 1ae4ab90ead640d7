"""A table predicted again with --resume: every patient keeps their own result, of one model and its settings."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_writes import model
from PIL import Image

from MolSubCore.batch import predict_table
from MolSubCore.errors import MolSubError
from MolSubCore.files import read_json

BOX = "20,20,44,44"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in "ABCD":
        drawn = np.random.default_rng(ord(name)).integers(1, 255, (64, 60), np.uint8)
        Image.fromarray(drawn).save(tmp_path / f"{name}.png")
    return tmp_path


def predicted(place: Path, patients: str, out: str = "out", **more: Any) -> dict[str, list[str]]:
    """Folder and probabilities by patient."""
    rows = [["patient_id", "image", "box"], *([name, f"{name}.png", BOX] for name in patients)]
    with (place / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    options: dict[str, Any] = {"identified": True, "request": {"layers": []}, "bundle": model()} | more
    assert predict_table(place / "t.csv", out=place / out, **options) == 0
    with (place / out / "predictions.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    if options["identified"]:
        assert [row["patient_id"] for row in read] == list(patients)
    return {name: [row["case"], row["p:non-TN"], row["p:TN"]] for name, row in zip(patients, read, strict=True)}


def times(out: Path) -> dict[str, int]:
    return {file.parent.name: file.stat().st_mtime_ns for file in out.glob("case-*/prediction.json")}


def test_rows_may_come_go_and_change_places(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = predicted(place, "ABCD", "fresh")
    first = predicted(place, "AB")
    before = times(place / "out")
    capsys.readouterr()
    later = predicted(place, "CBA", resume=True)
    assert {name: found[1:] for name, found in later.items()} == {name: fresh[name][1:] for name in "CBA"}
    assert [later["A"], later["B"]] == [first["A"], first["B"]]
    assert later["C"][0] == "case-0004"  # 1 and 2 are taken, 3 is for the third row
    assert times(place / "out").items() >= before.items()
    assert "not in predictions.csv" not in capsys.readouterr().out
    last = predicted(place, "DC", resume=True)
    assert [last["D"][1:], last["C"][1:]] == [fresh["D"][1:], fresh["C"][1:]]
    assert "not in predictions.csv: case-0001, case-0002" in capsys.readouterr().out


def test_an_image_that_changed_under_its_name_is_predicted_again(place: Path) -> None:
    fresh = predicted(place, "CB", "fresh")
    predicted(place, "AB")
    (place / "C.png").replace(place / "A.png")
    assert predicted(place, "AB", resume=True)["A"][1:] == fresh["C"][1:]


def test_another_model_and_other_settings_are_refused(place: Path) -> None:
    predicted(place, "AB")
    before = {file: file.read_bytes() for file in (place / "out").rglob("*") if file.is_file()}
    warmer = replace(model(), card=model().card | {"temperature": 7.0})
    for more, said in (
        ({"bundle": warmer}, "with another model"),
        ({"request": {"layers": ["features.0.0"]}}, r"layers was \[\], is \['features.0.0'\]"),
        ({"identified": False}, "identified was True, is False"),
    ):
        with pytest.raises(MolSubError, match=said):
            predicted(place, "AB", resume=True, **more)
    assert {file: file.read_bytes() for file in (place / "out").rglob("*") if file.is_file()} == before
    (place / "out" / "plan.json").unlink()
    with pytest.raises(MolSubError, match="nothing tells the model"):
        predicted(place, "AB", resume=True)
    (place / "own").mkdir()
    (place / "own" / "thesis.txt").touch()
    with pytest.raises(MolSubError, match="exists already"):
        predicted(place, "AB", "own", resume=True)
    assert [file.name for file in (place / "own").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("identified", [False, True])
def test_a_prediction_says_what_it_was_made_of(place: Path, identified: bool) -> None:
    said = "molsub predict ... --model ... --out ..."
    predicted(place, "A", identified=identified, command=said)
    text = (place / "out" / "case-0001" / "prediction.json").read_text()
    made = json.loads(text)["made"]
    image = hashlib.sha256((place / "A.png").read_bytes()).hexdigest()
    assert made["inputs"] == [{"image_sha256": image, "lesion_box": BOX}]
    card = hashlib.sha256(json.dumps(model().card, sort_keys=True).encode()).hexdigest()
    assert (made["bundle_sha256"], made["command"]) == (card, said)
    assert made["settings"] == {"layers": [], "classes": "predicted", "method": "gradcam"}
    assert made["date"].endswith("+00:00")
    assert (str(place) in text) == identified
    assert read_json(place / "out" / "plan.json")["bundle_sha256"] == card
