"""Checking a cohort: one of every fault in one table, each listed with its row; the command and its exit code."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from coarse_cohort import make_coarse_cohort
from other_cohort import as_negative
from PIL import Image

from MolSubCore.__main__ import main
from MolSubCore.cohort.check import check_cohort
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import Cohort, Problem, read_cohort
from MolSubCore.cohort.table_files import note_lines
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.evaluation.train import train_run
from MolSubCore.files import read_json
from MolSubCore.imaging.breast import breast_area
from MolSubCore.imaging.display import display_array
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.study.options import StudyOptions
from MolSubCore.study.plan import plan_study
from MolSubCore.tasks import Subtype
from MolSubCore.training.session import TrainingOptions

Row = dict[str, str]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven synthetic patients with two views each: nothing is wrong."""
    counts = {Subtype.LUMINAL_A: 4, Subtype.TN: 3}
    folder = tmp_path_factory.mktemp("cohort") / "clean"
    return make_coarse_cohort(folder, counts=counts, seed=5, image_shape=(160, 128)).parent


@pytest.fixture(autouse=True)
def no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")


def read_rows(folder: Path) -> list[Row]:
    with (folder / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(folder: Path, rows: list[Row]) -> Path:
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "table.csv"


@pytest.fixture
def faulty(clean: Path, tmp_path: Path) -> Path:
    """A copy with one fault in each row from 2 to 12; rows 13 to 15 are left as they are."""
    folder = Path(shutil.copytree(clean, tmp_path / "faulty"))
    rows = read_rows(folder)
    rows[0]["image"] = "images/none.dcm"
    Image.fromarray(np.zeros((160, 100), np.uint8) + 1).save(folder / "masks" / "other.png")
    rows[1]["mask"] = "masks/other.png"
    shape = sitk.ReadImage(str(folder / rows[2]["mask"]))
    sitk.WriteImage(shape * 0, str(folder / "masks" / "empty.nii.gz"))
    rows[2]["mask"] = "masks/empty.nii.gz"
    rows[3]["subtype"] = "HER2 2+"
    rows[5]["subtype"] = next(s for s in ("TN", "Luminal A") if s != rows[4]["subtype"])
    # The same pixels under the names and numbers of the next patient.
    copied = pydicom.dcmread(folder / rows[8]["image"])
    copied.PixelData = pydicom.dcmread(folder / rows[7]["image"]).PixelData
    copied.save_as(folder / "images" / "copied.dcm")
    rows[8] |= {"image": "images/copied.dcm", "view": "", "laterality": ""}
    rows[9]["laterality"] = {"L": "right", "R": "left"}[rows[9]["laterality"]]
    rows[10]["view"] = {"CC": "MLO", "MLO": "CC"}[rows[10]["view"]]
    rows.insert(11, dict(rows[11]))
    write_rows(folder, rows)
    return folder / "table.csv"


FAULTS = [
    (2, "image", "does not exist"),
    (3, "mask", "160 rows x 100 columns, its image has 160 rows x 128 columns"),
    (4, "mask", "holds no lesion"),
    (5, "subtype", "HER2 2+"),
    (7, "subtype", "in row 6"),
    (10, "image", "same pixels as row 9, which is another patient"),
    (11, "laterality", "the image says"),
    (12, "view", "the image says"),
    (14, "image", "same image and lesion as in row 13"),
]


def test_one_of_each_fault(faulty: Path) -> None:
    report = check_cohort(faulty)
    assert [(p.row, p.column) for p in report.problems] == [(row, column) for row, column, _ in FAULTS]
    for problem, (_, _, text) in zip(report.problems, FAULTS, strict=True):
        assert text in problem.text
        assert "\n" not in str(problem)


def test_the_command_lists_them_and_ends_with_2(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", "check", str(faulty)]) == 2
    printed = capsys.readouterr().out
    for row, column, text in FAULTS:
        assert any(f"row {row}, {column}" in line and text in line for line in printed.splitlines())
    assert "9 problems" in printed


def test_a_clean_cohort_ends_with_0(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", "check", str(clean / "table.csv"), "--task", "tn", "--folds", "2"]) == 0
    printed = capsys.readouterr().out
    assert "0 problems" in printed
    rows = read_rows(clean)
    report = check_cohort(clean / "table.csv")
    assert report.counts["Cohort"] == {"patients": 7, "images": 14, "lesions": len(rows)}
    assert report.counts["Images per subtype"] == {"Luminal A": 8, "TN": 6}
    assert report.counts["Patients, task tn"] == {"non-TN": 4, "TN": 3}
    assert report.counts["Patients, task luminal"] == {"Luminal": 4, "non-Luminal": 3}
    assert report.counts["Views"] == {"CC": 7, "MLO": 7}
    assert report.counts["Spacing"] == {"ImagerPixelSpacing": 14}


def test_classes_too_small_for_the_folds(clean: Path) -> None:
    (problem,) = check_cohort(clean / "table.csv", task="tn", folds=3).problems
    assert "class TN has 3" in problem.text
    (problem,) = check_cohort(clean / "table.csv", task="her2", folds=2).problems
    assert "class HER2-positive has 0" in problem.text


def test_folds_are_of_a_task_and_at_least_one(clean: Path) -> None:
    with pytest.raises(MolSubError, match="--task"):
        check_cohort(clean / "table.csv", folds=3)
    (problem,) = check_cohort(clean / "table.csv", task="tn", folds=0).problems
    assert "is 0, expected" in problem.text


def test_image_names_given_for_patients_are_noted(clean: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    rows = [row | {"patient_id": Path(row["image"]).stem} for row in read_rows(folder)]
    report = check_cohort(write_rows(folder, rows))
    assert {problem.column for problem in report.problems} == {"patient_id"}
    report = check_cohort(folder / "table.csv", trust_ids=True)
    assert not report.problems
    assert any("leak" in note.text for note in report.notes)
    assert not any("leak" in note.text for note in check_cohort(clean / "table.csv").notes)


def test_a_wrong_box_is_told_by_its_column(clean: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    rows = read_rows(folder)
    boxes = ["10,10,40,40", "200,10,240,40", "a box", "40,40,10,10"]
    changed = [row | {"mask": "", "box": box} for row, box in zip(rows, boxes, strict=False)]
    report = check_cohort(write_rows(folder, changed))
    assert [(p.row, p.column) for p in report.problems] == [(3, "box"), (4, "box"), (5, "box")]


def test_names_that_no_file_can_have(clean: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    rows = read_rows(folder)
    rows[0]["image"] = "x" * 300
    rows[1]["mask"] = "y" * 300
    report = check_cohort(write_rows(folder, rows))
    assert [(p.row, p.column) for p in report.problems] == [(2, "image"), (3, "mask")]


def test_an_empty_table_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("patient_id,image,mask,subtype\n")
    (problem,) = check_cohort(tmp_path / "t.csv").problems
    assert "none below the header" in problem.text


def test_one_mask_for_two_images_is_noted(clean: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "shared"))
    rows = read_rows(folder)
    rows[3]["mask"] = rows[2]["mask"]
    (problem,) = check_cohort(write_rows(folder, rows)).problems
    assert str(problem).startswith("row 5, mask: the mask's name is that of another image of the table, in row 4")
    rows[2]["mask"] = rows[3]["mask"] = shutil.copy(folder / rows[2]["mask"], folder / "masks" / "drawn.nii.gz")
    report = check_cohort(write_rows(folder, rows))
    assert not report.problems
    assert [str(n) for n in report.notes if "another image" in n.text] == [
        "row 5, mask: is that of row 4, which is another image"
    ]
    rows[3]["mask"] = shutil.copy(folder / rows[2]["mask"], folder / "masks" / "other.nii.gz")
    assert [str(n) for n in check_cohort(write_rows(folder, rows)).notes if "another image" in n.text] == [
        "row 5, mask: is a copy of that of row 4, which is another image"
    ]


def test_what_cannot_be_an_outline_is_a_problem_in_the_check_and_in_training(clean: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "air"))
    rows = read_rows(folder)
    rows[0] |= {"mask": "", "box": "1,110,13,127" if rows[0]["laterality"] == "L" else "1,1,13,18"}
    rows[1] |= {"mask": "", "box": "0,0,160,128"}
    Image.fromarray(np.full((160, 128), 90, np.uint8)).save(folder / "images" / "constant.png")
    rows[2] |= {"image": "images/constant.png", "mask": "", "box": "40,40,60,60", "view": "", "laterality": ""}
    table = write_rows(folder, [{"box": "", **row} for row in rows])
    problems = {problem.row: problem for problem in check_cohort(table).problems}
    assert sorted(problems) == [2, 3, 4]
    assert problems[2].column == "box"
    assert "lies outside the breast, in the air: 0 % of it is on breast tissue" in problems[2].text
    assert "covers 100 % of the image" in problems[3].text
    assert "one grey value only" in problems[4].text
    cohort = read_cohort(table)
    for number, row in enumerate((2, 3, 4)):
        with pytest.raises(CohortError, match=f"row {row}: ") as caught:
            build_store(Cohort(cohort.cases[number : number + 1], table), get_recipe("default"), tmp_path / "cache")
        for share in re.findall(r"[\d.]+ % of", problems[row].text):
            assert share in str(caught.value)


def test_what_predictions_warn_of_is_noted(clean: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "doubts"))
    rows = read_rows(folder)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / rows[0]["mask"])))[0]
    fourfold = np.kron((mask > 0).astype(np.uint8) * 255, np.ones((4, 4), np.uint8))
    soft = Image.fromarray(np.roll(fourfold, 1, axis=(0, 1))).reduce(4)
    soft.save(folder / "masks" / "soft.png")
    rows[0]["mask"] = "masks/soft.png"
    rows[1] |= {"mask": "", "box": "-5,60,40,100"}
    report = check_cohort(write_rows(folder, [{"box": "", **row} for row in rows]))
    told = {(note.row, note.column): note.text for note in report.notes if "smaller" not in note.text}
    assert "grey values" in told[2, "mask"]
    assert "outside the image" in told[3, "box"]


def test_every_lesion_is_drawn_on_its_mammogram(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "many"))
    rows = read_rows(folder)
    rows += [row | {"patient_id": f"{row['patient_id']}b", "image": "images/none.dcm"} for row in rows[:4]]
    table = write_rows(folder, rows)
    assert main(["cohort", "check", str(table), "--pictures", str(tmp_path / "p")]) == 2
    pages = sorted((tmp_path / "p").iterdir())
    assert [page.name for page in pages] == ["lesions-001.png", "lesions-002.png"]  # 18 rows, 16 a page
    assert f"{pages[0]} to {pages[1].name}" in capsys.readouterr().out
    red, blue = ([np.asarray(Image.open(page), int)[..., n] for page in pages] for n in (0, 2))
    yellow = [np.count_nonzero(one - other > 60) for one, other in zip(red, blue, strict=True)]
    assert yellow[0] > 14 * 50  # the outlines of 14 rows; those of four have no image
    assert yellow[1] < 2000  # what is wrong is told in red
    assert main(["cohort", "check", str(table), "--pictures", str(tmp_path / "p")]) == 2
    assert "exists already" in capsys.readouterr().err
    named = tmp_path / "named"
    assert main(["cohort", "check", str(table), "--pictures", str(named), "--identified"]) == 2
    assert (named / "lesions-001.png").read_bytes() != pages[0].read_bytes()
    assert main(["cohort", "check", str(table), "--identified"]) == 2
    assert "--pictures" in capsys.readouterr().err


def test_side_and_view_are_understood_as_people_write_them(clean: Path, tmp_path: Path) -> None:
    """``L-MLO``, ``RCC`` and the like are the view they name; their side is held against laterality and image."""
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    rows = read_rows(folder)
    forms = ["{0}-{1}", "{0}{1}", "{0}_{1}", "{1} ({0})", "{2} {1}", "{1}{0}", "{1}"]
    for number, row in enumerate(rows):
        side, word = row["laterality"], {"L": "left", "R": "Right"}[row["laterality"]]
        row["view"] = forms[number % len(forms)].format(side, row["view"], word)
        row["laterality"] = [side, word, side.lower(), ""][number % 4]
    report = check_cohort(write_rows(folder, rows))
    assert not report.problems
    assert not [note for note in report.notes if note.column in ("view", "laterality")]
    other = {"L": "R", "R": "L"}
    first, fifth = (read_rows(clean)[number] for number in (0, 4))
    rows[0] |= {"view": f"{other[first['laterality']]}{first['view']}", "laterality": first["laterality"]}
    rows[4] |= {"view": f"{other[fifth['laterality']]}-{fifth['view']}", "laterality": ""}
    rows[6] |= {"view": "slanted"}
    rows[7] |= {"laterality": "both"}
    report = check_cohort(write_rows(folder, rows))
    assert [(p.row, p.column) for p in report.problems] == [(2, "laterality"), (6, "view"), (9, "laterality")]
    assert "same row" in report.problems[0].text
    told = {(note.row, note.column) for note in report.notes if note.column in ("view", "laterality")}
    assert told == {(8, "view")}
    rows[6] |= {"view": f"{read_rows(clean)[6]['view']} MAG", "laterality": ""}
    notes = check_cohort(write_rows(folder, rows)).notes
    assert any(note.row == 8 and "not a standard view: magnification" in note.text for note in notes)


def test_what_may_be_a_negative_is_a_problem_where_cases_are_counted(clean: Path, tmp_path: Path) -> None:
    """Training and evaluation refuse it; a prediction of it alone is made, with a warning."""
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    rows = read_rows(folder)
    rows[3]["image"] = str(as_negative(folder / rows[3]["image"]))
    table = write_rows(folder, rows)
    report = check_cohort(table)
    (problem,) = report.problems
    assert (problem.row, problem.column) == (5, "image")
    assert problem.text.startswith("The background is brighter than the breast")
    assert problem.text.endswith("Save it with dense tissue bright, or leave the row out.")
    assert not any("negative" in note.text for note in report.notes)
    report = check_cohort(table, purpose="predict")
    assert not report.problems
    assert [note.row for note in report.notes if "negative" in note.text] == [5]


def test_the_same_words_reach_runs_and_studies(clean: Path, tmp_path: Path) -> None:
    """And stay in their folders: of a mask of the whole breast, and of a picture; read once, then from the cache."""
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    rows = read_rows(folder)
    mammogram = read_mammogram(folder / rows[2]["image"])
    area = breast_area(mammogram)
    assert area is not None
    breast = area.at(slice(0, 160), slice(0, 128))
    Image.fromarray((breast * 255).astype(np.uint8)).save(folder / "breast.png")
    rows[2]["mask"] = "breast.png"
    Image.fromarray((display_array(mammogram) * 255).astype(np.uint8)).save(folder / "shown.png")
    rows[5]["image"] = "shown.png"
    rows[5]["mask"] = read_rows(clean)[2]["mask"]
    rows[5] |= {"view": "", "laterality": ""}
    table = write_rows(folder, rows)
    told = [note for note in check_cohort(table).notes if note.row and not note.rows]
    assert {"mask", "image"} <= {note.column for note in told}
    assert any("outline the breast" in note.text for note in told)
    assert any("spacing is unknown" in note.text for note in told)
    shared = {"folds": 2, "device": "cpu", "test_share": 0.25}
    cache, run, out = tmp_path / "cache", tmp_path / "run", tmp_path / "study"
    settings = {**shared, "architecture": "simple-cnn"}
    options = TrainingOptions(table, run, "tn", cache=cache, trust_ids=True, pretrained="none", settings=settings)
    notes: list[str] = []

    def stop(texts: Sequence[str]) -> None:
        notes.extend(texts)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # before anything is trained
        train_run(options, noting=stop)
    assert set(note_lines(told)) <= set(notes)
    assert read_json(run / "cohort.json")["notes"] == notes
    wanted = StudyOptions(table, out, ("tn",), ("simple-cnn",), cache=cache, pretrained="none", settings=shared)
    planned = plan_study(replace(wanted, trust_ids=True))
    planned.write()
    assert list(planned.notes) == notes
    assert read_json(out / "cohort.json")["notes"] == list(planned.notes)


def test_notes_of_one_kind_are_one_line(clean: Path) -> None:
    """Of every image the same is to be said: once, with the rows; what may make a result worthless comes first."""
    report = check_cohort(clean / "table.csv")
    notes = [*report.notes]
    for row in (9, 2, 3, 4):
        notes.append(Problem(row, "image", f"{row * 100} pixels are odd."))
    notes += [Problem(5, "image", "results on a negative mean nothing", 7), Problem(None, "encoding", "is told", 8)]
    lines = note_lines(notes)
    assert [line for line in lines if "odd" in line] == [
        "rows 2-4, 9, image: 900 pixels are odd. (so in row 9; the others differ only in numbers)"
    ]
    assert lines[:2] == ["table, encoding: is told", "row 5, image: results on a negative mean nothing"]
    assert len(note_lines(report.notes)) == len({note.text for note in report.notes})


def test_a_table_for_prediction_or_outlining_needs_no_more(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    rows = [{name: row[name] for name in ("patient_id", "image", "mask")} for row in read_rows(folder)]
    table = str(write_rows(folder, rows))
    assert main(["cohort", "check", table, "--for", "predict"]) == 0
    assert main(["cohort", "check", table]) == 2
    table = str(write_rows(folder, [{name: row[name] for name in ("patient_id", "image")} for row in rows]))
    assert main(["cohort", "check", table, "--for", "outline"]) == 0
    assert main(["cohort", "check", table, "--for", "predict"]) == 2
    assert main(["cohort", "check", table, "--for", "outline", "--task", "tn"]) == 2
    capsys.readouterr()


def test_problems_of_one_kind_are_one_line(tmp_path: Path) -> None:
    """As of 5,000 rows whose drive is not there; other problems stay lines of their own."""
    rows = "".join(f"P{n // 2},{n}.dcm,{n}.png,TN\n" for n in range(40))
    (tmp_path / "t.csv").write_text(f"patient_id,image,mask,subtype\n{rows}P99,a.dcm,,TN\n")
    report = check_cohort(tmp_path / "t.csv")
    told = [line for line in report.lines() if line.startswith("Problem")]
    assert told == [
        "Problem: rows 2-41, image: its image does not exist. Check the path",
        "Problem: row 42, mask: is empty, and there is no box",
    ]
    assert report.lines()[-1].startswith("41 problems")


def test_boxes_that_all_fit_with_x_before_y_are_noted(tmp_path: Path) -> None:
    """Only some of them leave the picture as they stand: the others lie on the wrong place of the breast."""
    Image.fromarray(np.full((300, 200), 90, np.uint8)).save(tmp_path / "a.png")

    def notes(*boxes: str) -> list[str]:
        rows = "".join(f'P{n},a.png,"{box}",TN\n' for n, box in enumerate(boxes))
        (tmp_path / "t.csv").write_text(f"patient_id,image,box,subtype\n{rows}")
        return [str(note) for note in check_cohort(tmp_path / "t.csv").notes if note.column == "box" and not note.row]

    assert notes("20,30,90,80", "120,210,180,290") == [
        "table, box: boxes of row 3 reach outside their images; all boxes of the table would fit as x before y "
        "(col0,row0,col1,row1): check the order of all"
    ]
    assert notes("20,30,90,80", "120,10,180,90") == []
    assert notes("220,30,290,80", "120,210,180,290") == []
