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

from MolSubCore.cohort.columns import shown_lesion_ids
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.files import read_json
from MolSubCore.prediction.predict import predict
from MolSubCore.prediction.table import predict_table

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
    with pytest.raises(MolSubError, match=r"predictions without a plan\.json"):
        predicted(place, "AB", resume=True)
    (place / "own").mkdir()
    (place / "own" / "thesis.txt").touch()
    with pytest.raises(MolSubError, match="exists already"):
        predicted(place, "AB", "own", resume=True)
    assert [file.name for file in (place / "own").iterdir()] == ["thesis.txt"]


def edit(file: Path, **values: Any) -> str:
    """Change values of a JSON file, or leave out those that are None; its text before."""
    before = file.read_text()
    content = {name: value for name, value in (json.loads(before) | values).items() if value is not None}
    file.write_text(json.dumps(content))
    return before


def test_a_case_that_was_changed_is_not_believed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = predicted(place, "ABC")
    case = place / "out" / "case-0001"
    result = read_json(case / "prediction.json")["results"][0]
    edit(case / "prediction.json", results=[result | {"probabilities": {"non-TN": 0.0, "TN": 1.0}}])
    changed = (case / "prediction.json").read_bytes()
    edit(place / "out" / "case-0002" / "prediction.json", warnings=None)
    (place / "out" / "case-0003" / "report.html").unlink()
    again = predicted(place, "ABC", resume=True)
    assert {name: found[1:] for name, found in again.items()} == {name: found[1:] for name, found in first.items()}
    assert [again[name][0] for name in "ABC"] == ["case-0004", "case-0005", "case-0003"]
    assert (case / "prediction.json").read_bytes() == changed
    assert (place / "out" / "case-0003" / "report.html").is_file()
    told = capsys.readouterr().err
    assert (
        "case-0001 was changed since this program wrote it (prediction.json): it was left as it is, and rows 2" in told
    )
    (case / "notes.txt").write_text("mine")  # of no matter where the rest is as it was
    (place / "out" / "case-0004" / "notes.txt").write_text("mine")
    assert predicted(place, "ABC", resume=True) == again


def test_the_warnings_of_a_table_are_told_once_per_kind(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "A.png").rename(place / "L_MLO.png")
    rows = [["patient_id", "image", "box"], *([f"Doe-{name}", f"{name}.png", BOX] for name in ("L_MLO", "B", "C"))]
    rows.insert(2, ["Doe-L_MLO", "D.png", BOX])
    with (place / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    for resume in (False, True):
        capsys.readouterr()
        assert predict_table(place / "t.csv", model(), place / "out", {"layers": []}, resume=resume) == 0
        printed = capsys.readouterr().out
        lines = [line for line in printed.splitlines() if line.startswith("Warning: ") and "pixel spacing" in line]
        assert len(lines) == 1 and lines[0].startswith("Warning: 3 of 3 patients (rows 2-5): The pixel spacing of"), (
            printed
        )
        assert "Warning: 1 of 3 patients (rows 2-3): Which breast" in printed
        assert "Doe" not in printed


def test_a_summary_that_somebody_edited_is_not_written_over(place: Path) -> None:
    predicted(place, "AB")
    summary = place / "out" / "predictions.csv"
    text = summary.read_text()
    summary.write_text(f"{text}my remark\n")
    with pytest.raises(MolSubError, match=r"predictions\.csv: was changed since this program wrote it.*Move it away"):
        predicted(place, "ABC", resume=True)
    assert summary.read_text() == f"{text}my remark\n"
    summary.rename(place / "mine.csv")
    predicted(place, "ABC", resume=True)
    predicted(place, "AB", resume=True)


def test_a_view_that_the_table_now_says_is_held_against_the_image(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "A.png").rename(place / "L_MLO.png")
    for view, code in (("MLO", 0), ("CC", 2)):
        (place / "t.csv").write_text(f'patient_id,image,box,view\nP1,L_MLO.png,"{BOX}",{view}\n')
        assert predict_table(place / "t.csv", model(), place / "out", {"layers": []}, resume=code > 0) == code
    assert "view of image 1 is CC, the image says MLO" in capsys.readouterr().err


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


def test_the_sides_of_a_table_are_read_as_everywhere(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Left and right in another language, or in the view, are two breasts; a side that is open is asked about."""

    def breasts(*sides: str, column: str = "laterality", code: int = 0) -> list[str]:
        out = place / f"out{len(list(place.glob('out*')))}"
        rows = [["patient_id", "image", "box", "Lesion ID" if column != "lesion_id" else "note", column]]
        rows += [["P1", f"{name}.png", BOX, "nan", side] for name, side in zip("AB", sides, strict=True)]
        with (place / "t.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        assert predict_table(place / "t.csv", model(), out, {"layers": []}) == code
        with (out / "predictions.csv").open(newline="") as file:
            return [row["breast"] + row["lesion_id"] for row in csv.DictReader(file)]

    assert breasts("izquierdo", "derecho") == breasts("L", "R", column="Side") == ["L", "R"]
    assert breasts("LCC", "R-MLO", column="view") == ["L", "R"]
    assert breasts("left", "links") == ["L"]
    assert breasts("1.0", "1", column="lesion_id") == ["1"]
    assert breasts("left", "lado", code=2) == [""]
    assert "row 3, laterality: is not a known side" in capsys.readouterr().err
    (place / "A.png").rename(place / "L_MLO.png")
    rows = "patient_id,image,box,view\nP1,L_MLO.png,{0},R-CC\nP2,L_MLO.png,{0},CC\nP3,L_MLO.png,{0},MLO\n"
    (place / "t.csv").write_text(rows.format(f'"{BOX}"'))
    assert predict_table(place / "t.csv", model(), place / "last", {"layers": []}) == 2
    said = capsys.readouterr().err
    assert "row 2: side of image 1 is R, the image says L" in said
    assert "row 3: view of image 1 is CC, the image says MLO" in said


def test_ids_of_lesions_that_may_tell_the_patient_are_numbers_in_results(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = {"A": "Doe_M1", "B": "Doe_M2", "C": "doe_m1", "D": "M7"}
    rows = [["patient_id", "image", "box", "laterality", "lesion_id"]]
    rows += [["Doe", f"{name}.png", BOX, "L", own] for name, own in ids.items()]
    with (place / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)

    def told(out: str, **options: bool) -> list[str]:
        assert predict_table(place / "t.csv", model(), place / out, {"layers": []}, **options) == 0  # type: ignore[arg-type]
        with (place / out / "predictions.csv").open(newline="") as file:
            return [row["lesion_id"] for row in csv.DictReader(file)]

    assert told("out") == ["1", "2", "M7"]
    for file in (place / "out").rglob("*"):
        assert file.is_dir() or b"doe_m" not in file.read_bytes().lower(), file
    assert "numbers of each patient's lesions, in the order given" in capsys.readouterr().err
    assert told("identified", identified=True) == ["Doe_M1", "Doe_M2", "M7"]
    assert "numbers of each patient's lesions" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["A", "a", "", "B"], ["A", "A", "", "B"]),
        (["01", "1", "L2", "lesion 3"], ["01", "01", "L2", "lesion 3"]),
        (["Musterfrau-1", "1", "MUSTERFRAU-01", "Anna"], ["2", "1", "2", "3"]),
        (["12345", "EMU"], ["1", "2"]),
    ],
)
def test_how_results_name_lesions(given: list[str], shown: list[str]) -> None:
    assert shown_lesion_ids(given, identified=False) == shown
    assert len(set(shown_lesion_ids(given, identified=True))) == len(set(shown))


def test_a_wrong_cell_is_the_failure_of_its_patient_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def table(*rows: str) -> Path:
        (place / "t.csv").write_text("\n".join(["patient_id,image,box,side", *rows, ""]))
        return place / "t.csv"

    def run(path: Path, **more: Any) -> tuple[int, list[dict[str, str]]]:
        code = predict_table(path, model(), place / "out", {"layers": []}, identified=True, **more)
        with (place / "out" / "predictions.csv").open(newline="") as file:
            return code, list(csv.DictReader(file))

    box = f'"{BOX}"'
    wrong = table(f"A,A.png,{box},Q", f"B,B.png,{box},L", f",C.png,{box},L", f"A,D.png,{box},L", "D,D.png,,R")
    code, rows = run(wrong)
    assert code == 2
    assert [(row["rows"], row["patient_id"], row["case"], bool(row["error"])) for row in rows] == [
        ("2 5", "A", "", True), ("3", "B", "case-0002", False), ("4", "", "", True), ("6", "D", "", True)
    ]  # fmt: skip
    captured = capsys.readouterr()
    assert "row 2, side: is not a known side" in captured.err
    assert "1 of 4 patients predicted" in captured.out
    code, rows = run(table(f"A,A.png,{box},L", f"B,B.png,{box},L"), resume=True)
    assert (code, [row["case"] for row in rows]) == (0, ["case-0001", "case-0002"])
    for refused in (table(f"A,A.png,{box},L,more", f"B,B.png,{box},L"), table(f"A,A.png,{box},Q")):
        with pytest.raises(CohortError, match="row 2"):
            run(refused, resume=True)


def test_one_outline_for_two_pictures_is_told(place: Path) -> None:
    mask = np.zeros((64, 60), np.uint8)
    mask[20:44, 20:40] = 255
    for name in ("m.png", "n.png"):
        Image.fromarray(mask).save(place / name)
    (place / "A2.png").write_bytes((place / "A.png").read_bytes())

    def said(*files: tuple[str, str]) -> bool:
        images = [(place / image, place / lesion if lesion.endswith("png") else lesion) for image, lesion in files]
        return any("have the same" in text for text in predict(images, model(), layers=[]).warnings)

    assert said(("A.png", "m.png"), ("B.png", "m.png"))
    assert said(("A.png", "m.png"), ("B.png", "n.png"))
    assert said(("A.png", BOX), ("B.png", BOX))
    assert not said(("A.png", "m.png"), ("A.png", "m.png"))
    assert not said(("A.png", "m.png"), ("A2.png", "n.png"))
    assert not said(("A.png", BOX), ("B.png", "m.png"))
