"""Studies that are unfinished, small, odd or damaged: a page that says what it lacks, or one line that says why."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_study import evaluate_quickly, make_fake_study
from study_numbers import csv_rows
from test_study_page import Page

from MolSubCore.errors import MolSubError
from MolSubCore.files import read_json, write_json
from MolSubCore.report.items import Picture
from MolSubCore.statistics.scores import read_predictions, write_predictions
from MolSubCore.study.page.report import write_report
from MolSubCore.study.results import read_study

MAIN = "densenet121-cbam"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Page]:
    """The page with every figure drawn and none saved, which takes most of the time."""

    def write(picture: Picture, folder: Path) -> str:
        return "data:image/png;base64,AAAA" if picture.figure else ""

    def make(folder: Path) -> Page:
        return Page(write_report(read_study(folder)))

    monkeypatch.setattr(Picture, "write", write)
    return make


def small(folder: Path, **options: object) -> Path:
    chosen: dict[str, object] = {"models": (MAIN, "simple-cnn"), "fusions": {}, "patients": 70, "folds": 2,
                                 "resamples": 5, "attention": False}  # fmt: skip
    return make_fake_study(folder, **(chosen | options))  # type: ignore[arg-type]


def test_unfinished_jobs_are_counted_and_named(tmp_path: Path, quick: Callable[[Path], Page]) -> None:
    left = [("her2", MAIN, 2), ("tn", "simple-cnn", 1), ("tn", "simple-cnn", 2)]
    results = read_study(small(tmp_path, unfinished=left))
    assert sorted(results.unfinished) == sorted(left)
    assert set(results.runs) == {(t, m) for t in results.tasks for m in (MAIN, "simple-cnn")} - {
        left[0][:2],
        left[1][:2],
    }
    page = quick(tmp_path)
    assert not page.open
    assert "13 of 16 jobs finished" in page.text
    assert "tn, Simple CNN: fold 1, 2" in page.text
    assert "HER2-positive vs HER2-negative: DenseNet121-CBAM is not finished (1 fold left)" in page.text
    assert "DenseNet121-CBAM has no heatmaps on this task yet" in page.text
    assert "not finished" in page.text.partition("All models: AUC per patient")[2].partition("by view")[0]
    assert {row["task"] for row in csv_rows(tmp_path / "results" / "table-3.csv")} == {"tn", "subtype5"}
    assert "3 of 16 jobs are not finished" in page.text


def test_a_study_of_four_subtypes(tmp_path: Path, quick: Callable[[Path], Page]) -> None:
    """In place of the paper's five: its own classes, and no published number beside them."""
    page = quick(small(tmp_path, tasks=("tn", "subtype4"), models=(MAIN,)))
    assert not page.open
    rows = csv_rows(tmp_path / "results" / "table-3.csv", task="subtype4")
    assert rows and not [row for row in rows if row["set"] == "published" or row["choice"] == "published"]
    assert "the study has no task subtype5" not in page.text
    figure = page.text.partition("Figure 3.")[2].partition("Figure 4.")[0]
    assert "Not made" not in figure and "Published" not in figure


def test_nothing_is_finished(tmp_path: Path, quick: Callable[[Path], Page]) -> None:
    jobs = [(task, MAIN, 1) for task in ("tn", "subtype5")]
    small(tmp_path, tasks=("tn", "subtype5"), models=(MAIN,), unfinished=jobs)
    page = quick(tmp_path)
    assert not page.open
    assert "2 of 4 jobs finished" in page.text
    assert page.text.count("DenseNet121-CBAM is not finished (2 folds left)") >= 8
    assert page.text.count("Not made") >= 15
    assert (
        "Table 2. Performance of DenseNet121-CBAM: Luminal vs non-Luminal Not made: the study has no task luminal"
        in (page.text)
    )
    assert {file.name for file in (tmp_path / "results").glob("[!.]*")} == {
        "supplementary-1.csv", "table-1.csv", "table-1a.csv", "table-1b.csv", "interval.csv"
    }  # fmt: skip
    assert "not made: Table 3" in page.text.partition("Collins et al.")[2]


def test_one_fold_one_task_one_model(tmp_path: Path, quick: Callable[[Path], Page]) -> None:
    page = quick(small(tmp_path, tasks=("luminal",), models=("mob-cbam",), folds=1, synthetic=False))
    assert not page.open
    assert "SYNTHETIC" not in page.text
    assert "(1 fold)" in page.text  # and no deviation
    assert "There is no other finished model to compare with." in page.text
    assert "Performance of MOB-CBAM" in page.text  # the first model, where the paper's is not in the plan
    assert "the study has no task subtype5" in page.text
    (row,) = csv_rows(tmp_path / "results" / "table-2.csv", choice="mean of 1 folds", metric="auc", set="test")
    assert (row["sd"], float(row["value"]) > 0) == ("", True)


def test_a_test_set_of_one_class_has_no_auc(tmp_path: Path, quick: Callable[[Path], Page]) -> None:
    small(tmp_path, tasks=("tn",))
    for run in (tmp_path / "runs").iterdir():
        for file in run.glob("fold-*/test_predictions.csv"):
            part = read_predictions(file)
            write_predictions(file, replace(part, label=np.zeros_like(part.label)))
        evaluate_quickly(run, 5)
    page = quick(tmp_path)
    assert not page.open
    assert "One class only in the test set." in page.text
    rows = csv_rows(tmp_path / "results" / "supplementary-3.csv", set="test")
    assert [(row["auc difference"], "a test of AUCs needs 2" in row["why"]) for row in rows] == [("", True)]
    (row,) = csv_rows(tmp_path / "results" / "table-3.csv", set="test", choice="ensemble", metric="auc")
    assert row["value"] == ""


def test_runs_of_other_patients_are_not_compared(tmp_path: Path, quick: Callable[[Path], Page]) -> None:
    small(tmp_path, tasks=("tn",))
    for file in (tmp_path / "runs" / "tn--simple-cnn").glob("fold-*/test_predictions.csv"):
        part = read_predictions(file)
        write_predictions(file, replace(part, study_id=np.char.add(part.study_id, "x")))
    page = quick(tmp_path)
    assert not (tmp_path / "results" / "supplementary-3.csv").exists()
    assert "no other model is finished on the same patients" in page.text


def test_without_characteristics_settings_and_software(tmp_path: Path, quick: Callable[[Path], Page]) -> None:
    small(tmp_path, tasks=("tn",), models=(MAIN,))
    (tmp_path / "cohort.json").unlink()
    study = read_json(tmp_path / "study.json")
    write_json(tmp_path / "study.json", {key: study[key] for key in ("format", "tasks", "models", "jobs")})
    page = quick(tmp_path)
    assert not page.open
    assert "the study has no characteristics of its cohort" in page.text
    assert "the study has no counts of its partitions" in page.text
    assert "Versions were not recorded." in page.text
    assert "not made: Table 1" in page.text.partition("CLAIM, 2024 update")[2]


def test_the_same_study_gives_the_same_bytes_and_stale_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Picture.write

    def two(picture: Picture, folder: Path) -> str:  # which say as much as all
        return write(picture, folder) if picture.key in ("supplementary-1-flow", "figure-2") else ""

    monkeypatch.setattr(Picture, "write", two)
    small(tmp_path, tasks=("tn",), models=(MAIN,))
    write_report(read_study(tmp_path))
    files = [tmp_path / "study.html", *sorted((tmp_path / "results").iterdir())]
    before = [file.read_bytes() for file in files]
    listing = tmp_path / "results" / ".molsub-files.json"
    stale, foreign = (tmp_path / "results" / name for name in ("supplementary-3.csv", "own.csv"))
    stale.write_text("of an earlier plan")
    foreign.write_text("of the user")
    content = read_json(listing)
    content["files"].append(stale.name)
    write_json(listing, content)
    write_report(read_study(tmp_path))
    assert [file.read_bytes() for file in files] == before
    assert not stale.exists()
    assert foreign.read_text() == "of the user"


def break_study(folder: Path, what: str) -> None:
    run = folder / "runs" / f"tn--{MAIN}"
    if what == "no study":
        (folder / "study.json").unlink()
    elif what == "another format":
        write_json(folder / "study.json", {"format": "molsub-run"})
    elif what == "another task":
        write_json(run / "plan.json", read_json(run / "plan.json") | {"task": "luminal"})
    elif what == "other classes":
        write_json(run / "plan.json", read_json(run / "plan.json") | {"classes": ["a", "b"]})
    elif what == "damaged":
        (run / "fold-1" / "predictions.csv").write_text("nothing")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no study", "holds no study"),
        ("another format", "is of another form (lacks tasks, models, jobs)"),
        ("another task", "holds a run of the task luminal, evaluated for tn"),
        ("other classes", "is of the classes non-TN, TN, the plan has"),
        ("damaged", "is not a table of predictions"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, what: str, said: str) -> None:
    small(tmp_path, tasks=("tn",), models=(MAIN,))
    break_study(tmp_path, what)
    with pytest.raises(MolSubError, match=re.escape(said)) as caught:
        read_study(tmp_path)
    assert "\n" not in str(caught.value)
