"""What is wrong with a study is told in one line before any training, and nothing is left behind."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from coarse_cohort import make_coarse_cohort
from command_line import failing

from MolSubCore.errors import MolSubError
from MolSubCore.files import write_json
from MolSubCore.study.options import StudyOptions, resolve_options
from MolSubCore.study.plan import describe_cohort, describe_subgroups, plan_study
from MolSubCore.tasks import Subtype
from MolSubCore.worker.executor import check_names

COUNTS = {Subtype.LUMINAL_A: 4, Subtype.LUMINAL_B: 4, Subtype.HER2_HR_POSITIVE: 2, Subtype.TN: 4}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input") / "cohort"
    make_coarse_cohort(folder, counts=COUNTS, seed=3, image_shape=(256, 208))
    return folder


def rows(cohort: Path) -> list[dict[str, str]]:
    with (cohort / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def changed(cohort: Path, name: str, content: list[dict[str, str]]) -> Path:
    path = cohort / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(content[0]))
        writer.writeheader()
        writer.writerows(content)
    return path


def told(cohort: Path, capsys: pytest.CaptureFixture[str], table: Path, *more: str) -> str:
    out = cohort.parent / "out"
    common = ["--out", str(out), "--cache", str(cohort.parent / "cache"), "--pretrained", "none"]
    line = failing(capsys, "study", str(table), *common, "--architectures", "simple-cnn", *more)
    assert not out.exists()
    return line


def test_a_class_with_fewer_patients_than_folds(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = cohort / "table.csv"
    line = told(cohort, capsys, table, "--tasks", "luminal", "her2", "--folds", "3")
    assert "class HER2-positive has 2 patients, 3 folds and a test set need 4" in line
    assert "fewer --folds" in line
    line = told(cohort, capsys, table, "--folds", "2")  # all tasks
    assert "class HER2-positive has 2 patients" in line


def test_a_class_too_small_for_a_baseline(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two patients are enough for a network with one fold, and leave one to train on."""
    content = [row for row in rows(cohort) if row["subtype"] != "TN"]
    names = list(dict.fromkeys(row["patient_id"] for row in content))
    positive = {row["patient_id"] for row in content if row["subtype"].startswith("HER2")}
    parts = {name: ("test", "1", "1", "2", "2")[n % 5] for n, name in enumerate(n for n in names if n not in positive)}
    parts |= dict(zip(sorted(positive), ("1", "2"), strict=True))
    split = changed(cohort, "few", [{"patient_id": name, "partition": part} for name, part in parts.items()])
    more = ["--tasks", "her2", "--split", str(split), "--architectures", "radiomics-svm"]
    line = told(cohort, capsys, changed(cohort, "no-tn", content), *more)
    assert "fold 1 has 1 training patient of class HER2-positive, baselines need 2" in line


def test_a_patient_in_two_partitions(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patients = sorted({row["patient_id"] for row in rows(cohort)})
    split = [{"patient_id": name, "partition": "test" if n < 4 else str(n % 2 + 1)} for n, name in enumerate(patients)]
    twice = [*split, {"patient_id": patients[0], "partition": "1"}]
    path = changed(cohort, "twice", twice)
    line = told(cohort, capsys, cohort / "table.csv", "--tasks", "luminal", "--split", str(path))
    assert "puts a patient into partitions test and 1" in line
    lacking = changed(cohort, "lacking", split[1:])
    line = told(cohort, capsys, cohort / "table.csv", "--tasks", "luminal", "--split", str(lacking))
    assert "lacks 1 patient of the table" in line


def test_one_image_under_two_patients(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = rows(cohort)
    first, other = content[0], next(row for row in content if row["patient_id"] != content[0]["patient_id"])
    shutil.copy(cohort / first["image"], cohort / "copy.dcm")  # another file, the same pixels
    other |= {"image": "copy.dcm", "mask": first["mask"]}
    table = changed(cohort, "duplicate", content)
    line = told(cohort, capsys, table, "--tasks", "luminal", "--folds", "2")
    assert f"row {content.index(other) + 2}: image has the same pixels as row 2, which is another patient" in line


def test_a_missing_clinical_value(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = rows(cohort)
    patient = content[4]["patient_id"]
    for row in content:
        if row["patient_id"] == patient:
            row["age"] = ""
    table = changed(cohort, "missing", content)
    line = told(cohort, capsys, table, "--tasks", "luminal", "--folds", "2", "--clinical", "age")
    assert "row 6, age: the clinical value is missing" in line
    line = told(cohort, capsys, table, "--tasks", "luminal", "--folds", "2", "--clinical", "menopause")
    assert "lacks the column menopause" in line


def test_a_clinical_column_that_tells_the_subtype(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused, or, where it is meant, in the plan and the notes; an earlier study is taken at its word."""
    content = rows(cohort)
    table = changed(
        cohort, "receptor", [row | {"HER2_IHC": "3" if "HER2" in row["subtype"] else "0"} for row in content]
    )
    options = ("--tasks", "luminal", "--folds", "2", "--clinical", "age", "her2_ihc")
    line = told(cohort, capsys, table, *options)
    assert "her2_ihc: the subtype is defined by it (its name has 'her2'); expected what is known before" in line
    assert "--i-know her2_ihc" in line
    out = cohort.parent / "meant"
    wanted = StudyOptions(
        table, out, ("luminal",), ("simple-cnn",), ("age", "her2_ihc"), ("HER2_IHC",), missing=("NA", "none"),
        small_counts="likelihood-ratio", cache=cohort.parent / "cache", pretrained="none", settings={"folds": 2},
    )  # fmt: skip
    study = plan_study(wanted)
    found = study.content()
    assert found["clinical_i_know"] == {"her2_ihc": "the subtype is defined by it (its name has 'her2')"}
    assert any("--clinical her2_ihc is used as --i-know says" in note for note in study.notes)
    write_json(out / "study.json", found)
    again, _ = resolve_options(StudyOptions(table, out))
    assert (again.clinical, again.i_know) == (("age", "her2_ihc"), ("her2_ihc",))
    assert (again.missing, again.small_counts) == (("NA", "none"), "likelihood-ratio")
    described = describe_cohort(study.cohort, study.split, study.data["luminal"], missing=("NA", "none"))
    assert "one that says NA, none; anything else is a value, also - and +" in described["characteristics_note"]
    kinds = [[part["kind"] for part in found["variables"]] for found in described["characteristics"].values()]
    assert kinds[0] == kinds[1] == kinds[2]
    levels = describe_subgroups(study.cohort, study.data["luminal"])["levels"]
    tested = {study_id for study_id, part in study.split.partition.items() if part == "test"}
    assert {name: set(own) for name, own in levels.items()} == dict.fromkeys(("vendor", "age", "lesion size"), tested)
    assert all(level.endswith(" years") for level in levels["age"].values())


def test_dates_become_an_interval_and_nothing_else(cohort: Path, tmp_path: Path) -> None:
    content, days = rows(cohort), {"exam_date": "1999-12-31"}
    content = [row | days | {"Biopsiedatum": f"{n % 20 + 5:02}.01.2000"} for n, row in enumerate(content)]
    content[0]["Biopsiedatum"] = "03/04/2000"
    wanted = StudyOptions(
        changed(cohort, "dated", content), tmp_path / "out", ("luminal",), ("simple-cnn",),
        cache=cohort.parent / "cache", pretrained="none", settings={"folds": 2},
    )  # fmt: skip
    study = plan_study(wanted)
    (note,) = [note for note in study.notes if note.startswith("Interval from imaging to biopsy")]
    assert "column biopsiedatum: of 1 cells day and month cannot be told apart; write dates as YYYY-MM-DD" in note
    described = describe_cohort(study.cohort, study.split, study.data["luminal"])
    found = described["interval"]
    assert (found["imaging"], found["reference"]) == (["exam_date"], ["biopsiedatum"])
    assert (found["days"]["low"], found["missing"], found["before"]) == (5, 0, 0)
    assert "exam_date" in described["characteristics_note"]
    for file in json.dumps(described), json.dumps(study.content()):
        assert "1999" not in file
        assert ".01.2000" not in file


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--architectures", "densenet12"], "unknown value 'densenet12'"),
        (["--jobs", "0"], "--jobs: is 0, expected 1 or more"),
        (["--folds", "0"], "folds: is 0"),
        (["--epochs", "0"], "epochs: is 0, expected 1"),
        (["--pretrained", "nowhere"], "'nowhere', which is not a folder"),
        (["--executor", "cloud"], "invalid choice: 'cloud'"),
    ],
)
def test_wrong_options(cohort: Path, capsys: pytest.CaptureFixture[str], more: list[str], part: str) -> None:
    if more[0] == "--executor":
        with pytest.raises(SystemExit):
            told(cohort, capsys, cohort / "table.csv", *more)
        assert part in capsys.readouterr().err
    else:
        assert part in told(cohort, capsys, cohort / "table.csv", "--tasks", "luminal", *more)


def test_a_folder_of_something_else_is_left_alone(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = cohort.parent / "mine"
    place.mkdir()
    (place / "thesis.txt").write_text("all of it", encoding="utf-8")
    line = failing(capsys, "study", str(cohort / "table.csv"), "--out", str(place), "--pretrained", "none")
    assert "exists already and holds no study" in line
    assert [file.name for file in place.iterdir()] == ["thesis.txt"]
    assert "holds no study" in failing(capsys, "study-report", str(place))


@pytest.mark.parametrize("out", ["a\n#SBATCH --wrap=x", "a\rb", "a\x1bb", "100%", 'a"b'])
def test_no_name_writes_a_line_into_the_script_of_slurm(tmp_path: Path, out: str) -> None:
    check_names(tmp_path / "a study, really", "gpu-long,cpu")
    with pytest.raises(MolSubError, match="Slurm's script"):
        check_names(tmp_path / out, None)
    with pytest.raises(MolSubError, match="--partition"):
        check_names(tmp_path, out)
