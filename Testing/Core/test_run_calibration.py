"""What a run is calibrated with: training's shares put right, nothing fitted on few patients or on the test set."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from fake_study import evaluate_quickly
from scipy import special

from MolSubCore.errors import TrainingError
from MolSubCore.evaluation import evaluate
from MolSubCore.evaluation.drift import class_calibration
from MolSubCore.files import read_json, write_json
from MolSubCore.models.card import calibration_note, shares_note
from MolSubCore.statistics.calibration import CalibrationMap
from MolSubCore.statistics.decision_curve import decision_curve
from MolSubCore.statistics.scores import Predictions, ensemble, write_predictions
from MolSubCore.study.finish import bring_up_to_date
from MolSubCore.tasks import get_task
from MolSubCore.training.export import check_exportable
from MolSubCore.training.run_files import SHARES, fold_predictions, training_shares
from MolSubCore.training.sampling import epoch_order

TN = get_task("tn")
POSITIVE = TN.classes.index("TN")


def seen_share(labels: np.ndarray, rate: float) -> float:
    """Share of TN in the epochs that training deals, the mean of many."""
    return float(np.mean([(labels[epoch_order(labels, rate, seed)] == POSITIVE).mean() for seed in range(40)]))


def part(rng: np.random.Generator, tag: str, first: int, count: int, share: float, shift: float) -> Predictions:
    """Patients and what a network says that is right but for a shift of its log-odds."""
    actual = np.arange(count) < round(share * count)
    right = special.logit(share) + 1.2 * (rng.normal(size=count) + 1.2 * actual) - 0.72
    logits = np.zeros((count, 2))
    logits[:, POSITIVE] = right + shift
    blank, names = np.full(count, "", dtype=str), np.array([f"{tag}{n}" for n in range(count)])
    label = np.where(actual, POSITIVE, 1 - POSITIVE).astype(np.int64)
    return Predictions(names, first + np.arange(count), blank, blank, blank, label, logits, TN.classes)


def write_run(run: Path, patients: int, tested: int, *, folds: int = 5, share: float = 0.17, rate: float = 1.7) -> Path:
    """A run trained with oversampling, whose networks are perfect but for that."""
    labels = np.where(np.arange(1000) < 1000 * share, POSITIVE, 1 - POSITIVE)
    shift, rng = float(special.logit(seen_share(labels, rate)) - special.logit(share)), np.random.default_rng(0)
    test = part(rng, "T", 10**6, tested, share, shift)
    for fold in range(1, folds + 1):
        own = part(rng, f"V{fold}-", 10**5 * fold, patients // folds, share, shift)
        write_predictions(run / f"fold-{fold}" / "predictions.csv", own)
        write_predictions(run / f"fold-{fold}" / "test_predictions.csv", test)
        write_json(run / f"fold-{fold}" / "done.json", {})
    plan = {"task": "tn", "folds": folds, "classes": list(TN.classes), "positive": "TN", "oversampling": rate}
    write_json(run / "plan.json", plan | {"architecture": "simple-cnn", "synthetic": True})
    return run


@pytest.mark.parametrize("patients", [4000, 85])
def test_oversampling_is_put_right_however_few_the_patients(tmp_path: Path, patients: int) -> None:
    """A useful model stays useful: at 0.3 it is worth more than treating nobody, and E/O is 1."""
    run = write_run(tmp_path / "run", patients, 2500)
    found = evaluate_quickly(run, 20)
    fitted = found["calibration"]["ensemble"]
    assert fitted["seen"]["TN"] == pytest.approx(0.51, abs=0.01)
    assert fitted["own"]["TN"] == pytest.approx(0.17, abs=0.01)
    assert (fitted["method"] == "prior") == (patients == 85)
    level = found["test"]["ensemble"]["patient"]
    before, after = (
        level[key]["classes"]["TN"]["expected_observed"]["value"] for key in ("uncalibrated", "calibration")
    )
    assert before > 2
    assert 0.8 < after < 1.25
    scores = ensemble(list(fold_predictions(run, read_json(run / "plan.json"), "test_predictions").values()))
    calibrated = scores.calibrated(CalibrationMap.from_dict(fitted))
    assert decision_curve(scores, TN.classes, "TN", [0.3]).model[0] < 0
    assert decision_curve(calibrated, TN.classes, "TN", [0.3]).model[0] > 0.02
    assert level["metrics"]["auc"]["value"] == pytest.approx(
        _auc(scores.label == POSITIVE, scores.probabilities[:, POSITIVE]), abs=1e-9
    )
    accuracy = level["metrics"]["accuracy"]["value"]
    right = calibrated.per_patient()
    assert accuracy == pytest.approx((right.probabilities.argmax(axis=1) == right.label).mean())
    assert accuracy > (scores.probabilities.argmax(axis=1) == scores.label).mean() + 0.05
    assert class_calibration(calibrated, TN.classes, "TN") == level["calibration"]["classes"]["TN"]


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    below = score[positive][:, None] > score[~positive][None]
    return float(below.mean())


def test_what_the_card_and_the_panel_say(tmp_path: Path) -> None:
    few = evaluate_quickly(write_run(tmp_path / "few", 60, 40), 20)["calibration"]
    assert calibration_note({"calibration": few["ensemble"]}) == (
        "Not calibrated: too few patients (10 TN, at least 20 needed); corrected for oversampling."
    )
    assert shares_note(few["ensemble"]) == "Training saw 51 % TN; the cohort has 17 % TN."
    many = evaluate_quickly(write_run(tmp_path / "many", 600, 40), 20)["calibration"]
    assert calibration_note({"calibration": many["ensemble"]}) == "Calibrated on 600 patients of the training cohort."
    assert many["folds"]["1"]["method"] == "logistic"  # 120 patients, 20 of TN
    assert many["folds"]["1"]["patients"] == 120
    plain = evaluate_quickly(write_run(tmp_path / "plain", 60, 40, rate=1.0), 20)["calibration"]["ensemble"]
    assert calibration_note({"calibration": plain}).endswith("(10 TN, at least 20 needed).")
    assert shares_note(plain) == ""


def test_the_test_set_is_not_fitted_on(tmp_path: Path) -> None:
    """Other classes of the test patients change no calibration and no threshold."""
    run = write_run(tmp_path / "run", 600, 60)
    first = evaluate_quickly(run, 20)
    for fold in range(1, 6):
        path = run / f"fold-{fold}" / "test_predictions.csv"
        lines = path.read_text().splitlines()
        cells = [line.split(",") for line in lines[1:]]
        changed = [",".join([*row[:5], str((n // 2) % 2), *row[6:]]) for n, row in enumerate(cells)]
        path.write_text("\n".join([lines[0], *changed, ""]))
    second = evaluate_quickly(run, 20)
    assert second["test"]["ensemble"] != first["test"]["ensemble"]
    assert (second["calibration"], second["thresholds"]) == (first["calibration"], first["thresholds"])


def test_without_test_patients_the_ensemble_has_the_shift_alone(tmp_path: Path) -> None:
    found = evaluate_quickly(write_run(tmp_path / "run", 600, 8), 20)
    assert found["calibration"]["ensemble"]["method"] == "prior"
    assert "disagree is not known (8 test patients" in found["probabilities"]
    assert found["thresholds"]["ensemble"] == []
    assert found["thresholds"]["folds"]["1"]


def test_of_one_fold_the_ensemble_is_its_model(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 300, 8, folds=1)
    found = evaluate_quickly(run, 20)
    assert found["calibration"]["ensemble"] == found["calibration"]["folds"]["1"]
    assert found["thresholds"]["ensemble"] == found["thresholds"]["folds"]["1"]
    assert found["calibration"]["ensemble"]["seen"] is None  # its training part has no predictions
    shares = {"seen": {"non-TN": 0.49, "TN": 0.51}, "own": {"non-TN": 0.83, "TN": 0.17}}
    write_json(run / "fold-1" / "done.json", {SHARES: shares})
    assert evaluate_quickly(run, 20)["calibration"]["ensemble"]["seen"] == shares["seen"]


def test_the_shares_of_a_run_of_before_follow_from_the_other_folds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 600, 20)
    plan: dict[str, Any] = read_json(run / "plan.json")
    validation = fold_predictions(run, plan, "predictions")
    found = training_shares(run, plan, 2, validation)
    others = np.concatenate([part.label for n, part in validation.items() if n != 2])
    assert found is not None
    assert found.seen[POSITIVE] == pytest.approx(seen_share(others, 1.7), abs=0.003)
    assert found.own[POSITIVE] == pytest.approx((others == POSITIVE).mean())


def test_an_evaluation_of_before_is_told_of_and_made_again(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 60, 40)
    new = evaluate_quickly(run, 2000)
    old = {key: value for key, value in new.items() if key != "calibration"}
    write_json(run / "evaluation.json", old | {"format_version": 1})
    with pytest.raises(TrainingError, match="older version, which fitted no calibration"):
        check_exportable(run)
    with patch.object(evaluate, "draw_evaluation"):
        bring_up_to_date(run)
    assert read_json(run / "evaluation.json") == new
    assert check_exportable(run)
