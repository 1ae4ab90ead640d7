"""Evaluation of fabricated runs: every number in evaluation.json against one that was worked out by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from MolSubCore import DISCLAIMER
from MolSubCore.__main__ import main
from MolSubCore.errors import MolSubError, TrainingError
from MolSubCore.evaluation.evaluate import evaluate_run, summary_lines
from MolSubCore.evaluation.figures import draw_curve, draw_evaluation
from MolSubCore.files import read_json, write_json
from MolSubCore.statistics.metrics import auc
from MolSubCore.statistics.scores import Predictions, Scores, write_predictions
from MolSubCore.tasks import TASKS

Row = tuple[str, int, str, int, list[float]]  # patient, image, lesion, label, probabilities


def write_fold(run: Path, number: int, validation: list[Row], test: list[Row], classes: tuple[str, ...]) -> None:
    for name, rows in (("predictions.csv", validation), ("test_predictions.csv", test)):
        patient, case, lesion, label, probabilities = zip(*rows, strict=True)
        blank = np.full(len(rows), "", dtype=str)
        ids, numbers = np.array(patient, dtype=str), (np.array(case, np.int64), np.array(label, np.int64))
        logits = np.log(np.array(probabilities))
        table = Predictions(ids, numbers[0], np.array(lesion, dtype=str), blank, blank, numbers[1], logits, classes)
        write_predictions(run / f"fold-{number}" / name, table)
    write_json(run / f"fold-{number}" / "done.json", {})


def write_plan(run: Path, task: str, folds: int) -> None:
    content = {"task": task, "folds": folds, "classes": list(TASKS[task].classes), "positive": TASKS[task].positive}
    write_json(run / "plan.json", content | {"architecture": "simple-cnn", "synthetic": True})


def two(positive: float) -> list[float]:
    return [1 - positive, positive]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """A run, what its evaluation returned, and all words in the figure."""
    texts: list[str] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        texts.extend(text.get_text() for text in figure.findobj(Text))
        save(figure, *arguments, **options)

    run = make_run(tmp_path_factory.mktemp("e") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        return run, evaluate_run(run, resamples=100), "\n".join(texts)


def make_run(run: Path) -> Path:
    """Two folds of the TN task. Patient A of the test set has two images, one of them with two lesions."""
    write_plan(run, "tn", 2)
    first = [("V1", 0, "1", 1, two(0.9)), ("V2", 1, "1", 0, two(0.2)), ("V3", 2, "1", 0, two(0.95))]
    second = [("V4", 3, "1", 1, two(0.6)), ("V5", 4, "1", 0, two(0.7)), ("V6", 5, "1", 0, two(0.1))]
    second += [("V7", 6, "1", 1, two(0.8))]
    ids = [("A", 10, "1", 1), ("A", 10, "2", 1), ("A", 11, "1", 1), ("B", 12, "1", 0), ("C", 13, "1", 0)]
    ids += [("D", 14, "1", 1)]
    one = [0.9, 0.5, 0.4, 0.6, 0.1, 0.3]
    other = [0.7, 0.7, 0.2, 0.2, 0.3, 0.1]
    for number, validation, values in ((1, first, one), (2, second, other)):
        test = [(*row, two(value)) for row, value in zip(ids, values, strict=True)]
        write_fold(run, number, validation, test, TASKS["tn"].classes)  # type: ignore[arg-type]
    return run


def values(level: dict[str, Any]) -> dict[str, float | None]:
    return {name: metric["value"] for name, metric in level["metrics"].items()}


def test_the_test_set_by_hand(evaluated: tuple[Path, dict[str, Any], str]) -> None:
    found = evaluated[1]
    # Means of the two folds: A/10 (0.8, 0.6), A/11 0.3, B 0.4, C 0.2, D 0.2.
    # Per image: A/10 0.7, A/11 0.3, B 0.4, C 0.2, D 0.2; per patient: A 0.5 as the mean of 0.7 and 0.3.
    image, patient = (found["test"]["ensemble"][unit] for unit in ("image", "patient"))
    assert (image["n"], image["n_patients"], patient["n"], patient["n_patients"]) == (5, 4, 4, 4)
    # Positive images 0.7, 0.3, 0.2 against 0.4, 0.2: 2 + 1 + 0.5 of 6 pairs.
    assert values(image) == pytest.approx(
        {"auc": 3.5 / 6, "accuracy": 3 / 5, "sensitivity": 1 / 3, "specificity": 1, "ppv": 1, "npv": 2 / 4}
    )
    assert image["confusion"] == [[2, 0], [2, 1]]
    # Fold 1 alone, per patient: A is the mean of 0.7 and 0.4, so 0.55; B 0.6, C 0.1, D 0.3: 1 + 1 of 4 pairs.
    alone = found["test"]["folds"]["1"]["patient"]
    assert values(alone)["auc"] == pytest.approx(2 / 4)
    assert alone["confusion"] == [[1, 1], [1, 1]]
    assert found["prevalence"]["test"] == {
        "images": {"non-TN": 2, "TN": 3},
        "patients": {"non-TN": 2, "TN": 2},
    }


def test_validation_by_hand(evaluated: tuple[Path, dict[str, Any], str]) -> None:
    found = evaluated[1]
    # Fold 1: 0.9 against 0.2 and 0.95; fold 2: 0.6 and 0.8 against 0.7 and 0.1.
    first, second = (found["folds"][n]["patient"] for n in ("1", "2"))
    assert values(first)["auc"] == pytest.approx(1 / 2)
    assert values(second)["auc"] == pytest.approx(3 / 4)
    assert found["best_fold"] == 2
    spread = found["over_folds"]["patient"]["auc"]
    assert (spread["mean"], spread["sd"], spread["folds"]) == pytest.approx((0.625, 0.25 / np.sqrt(2), 2))
    assert "no confidence interval" in found["over_folds"]["note"]
    # Pairs within a fold: 1 of 2 and 3 of 4.
    pooled = found["out_of_fold"]["patient"]
    assert values(pooled)["auc"] == pytest.approx(4 / 6)
    assert pooled["confusion"] == [[2, 2], [0, 3]]
    assert found["prevalence"]["validation"]["patients"] == {"non-TN": 4, "TN": 3}


def test_the_files(evaluated: tuple[Path, dict[str, Any], str], capsys: pytest.CaptureFixture[str]) -> None:
    run, found, _ = evaluated
    assert read_json(run / "evaluation.json") == found
    assert found["bootstrap"] == {"resamples": 100, "seed": 0, "unit": "patient, within class"}
    assert (found["positive"], found["synthetic"]) == ("TN", True)
    with Image.open(run / "evaluation.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture.convert("L")).std() > 10
    assert main(["evaluate", str(run), "--resamples", "100"]) == 0
    printed = capsys.readouterr().out
    assert "SYNTHETIC COHORT" in printed
    assert "4 patients, positive class: TN" in printed
    assert read_json(run / "evaluation.json") == found


def test_undefined_is_null_and_says_why(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_plan(run, "tn", 1)
    rows: list[Row] = [("A", 0, "1", 0, two(0.1)), ("B", 1, "1", 0, two(0.2))]
    write_fold(run, 1, rows, rows, TASKS["tn"].classes)
    found = evaluate_run(run, resamples=50)
    metrics = found["test"]["ensemble"]["patient"]["metrics"]
    assert metrics["auc"]["value"] is None
    assert "one class only" in metrics["auc"]["why"]
    assert metrics["specificity"]["value"] == 1
    assert "auc" not in found["over_folds"]["patient"]
    assert found["best_fold"] == 1
    assert any("undefined" in line for line in summary_lines(found))
    assert any("one model" in line for line in summary_lines(found))
    # As of another cohort, whose figure has no curve at all: nothing is said on the terminal.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = Scores(np.array([two(0.1), two(0.2)]), np.zeros(2, int), np.array(["A", "B"]), np.arange(2))
        draw_evaluation(tmp_path / "e.png", found, scores, {})


def test_five_classes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_plan(run, "subtype5", 1)
    labels = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    called = [0, 1, 1, 1, 2, 2, 3, 0, 4, 4]
    rows: list[Row] = [
        (f"S{n}", n, "1", label, (0.05 + 0.75 * np.eye(5)[call]).tolist())
        for n, (label, call) in enumerate(zip(labels, called, strict=True))
    ]
    write_fold(run, 1, rows, rows, TASKS["subtype5"].classes)
    found = evaluate_run(run, resamples=100)
    level = found["test"]["ensemble"]["patient"]
    got = values(level)
    assert got["accuracy"] == pytest.approx(0.8)
    assert got["sensitivity: Luminal A"] == got["sensitivity: HER2+/HR-"] == 0.5
    assert got["ppv: Luminal B"] == pytest.approx(2 / 3)
    assert got["specificity: Luminal A"] == pytest.approx(7 / 8)
    assert got["macro sensitivity"] == pytest.approx((0.5 + 1 + 1 + 0.5 + 1) / 5)
    # Luminal A: 0.8 and 0.05 against one 0.8 and seven 0.05: 7.5 + 3.5 of 16 pairs.
    assert got["auc: Luminal A"] == pytest.approx(11 / 16)
    assert np.array(level["confusion"]).trace() == 8
    assert level["confusion"][3] == [1, 0, 0, 1, 0]
    assert found["positive"] is None
    with Image.open(run / "evaluation.png") as picture:
        assert picture.width > 1000
    assert any("one against the rest" in line for line in summary_lines(found))


def test_the_figure_says_what_it_is(evaluated: tuple[Path, dict[str, Any], str]) -> None:
    words = evaluated[2]
    assert DISCLAIMER in words
    assert "SYNTHETIC COHORT" in words
    assert "positive: TN" in words
    assert "4 patients, 5 images" in words
    assert "AUC 0.58" in words  # per image, 3.5 / 6


def test_missing_folds_are_named(run: Path) -> None:
    (run / "fold-2" / "done.json").unlink()
    with pytest.raises(TrainingError, match=r"fold 2"):
        evaluate_run(run)
    assert not (run / "evaluation.json").exists()


def test_what_is_no_run_is_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(TrainingError, match="holds no run"):
        evaluate_run(tmp_path)
    (run / "fold-1" / "predictions.csv").write_text("nothing")
    with pytest.raises(MolSubError, match="not a table of predictions"):
        evaluate_run(run)


def test_predictions_of_another_task_are_refused(run: Path) -> None:
    write_plan(run, "her2", 2)
    with pytest.raises(TrainingError, match=r"non-TN.*HER2"):
        evaluate_run(run)


@pytest.mark.parametrize("resamples", [0, -5])
def test_resamples_are_at_least_one(run: Path, resamples: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--resamples", str(resamples)]) == 2
    assert f"{resamples}, expected" in capsys.readouterr().err


def test_the_curve_of_several_folds_has_the_auc_for_its_area() -> None:
    rng, label = np.random.default_rng(1), np.array([0, 1, 1, 0, 0, 1, 0, 0])
    parts = []
    for fold in range(3):
        share = np.clip(0.2 * label + 0.2 * fold + rng.uniform(0, 0.3, 8), 0, 1)
        names = np.array([f"{fold}-{n}" for n in range(8)])
        parts.append(Scores(np.stack([1 - share, share], axis=1), label, names, np.arange(8) + 8 * fold))
    scores = Scores.pooled(parts)
    axes = Figure().subplots()
    draw_curve(axes, scores, 1)
    false, true = axes.lines[0].get_data()
    area = np.sum(np.diff(false) * true[:-1])
    weights = np.ones((1, 24))
    assert area == pytest.approx(auc(scores.probabilities[:, 1], scores.label == 1, weights, scores.fold)[0])
