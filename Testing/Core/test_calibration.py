"""Temperature recovered from logits with a known one; scores against hand computation and scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import BINARY, binary_predictions, binary_scores, make_predictions
from scipy import optimize, special
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from MolSubCore.errors import MolSubError, TrainingError
from MolSubCore.files import write_json
from MolSubCore.statistics.calibration import TEMPERATURES, brier, calibration, fit_temperature, reliability
from MolSubCore.statistics.scores import Predictions, Scores, write_predictions
from MolSubCore.statistics.validation import Validation
from MolSubCore.training.run_files import read_validation

FIVE = ("Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN")


def drawn(seed: int, count: int, classes: tuple[str, ...], temperature: float, prefix: str = "P") -> Predictions:
    """Labels drawn from softmax(logits), the logits then multiplied: dividing by `temperature` is right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, len(classes)))
    share = special.softmax(logits, axis=1).cumsum(axis=1)
    label = (rng.random((count, 1)) > share[:, :-1]).sum(axis=1)
    return make_predictions(logits * temperature, label, [f"{prefix}{n}" for n in range(count)], classes)


@pytest.mark.parametrize("classes", [BINARY, FIVE])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(classes: tuple[str, ...], temperature: float) -> None:
    folds = tuple(drawn(n, 6000, classes, temperature, f"F{n}-") for n in range(3))
    found = fit_temperature(Validation(folds))
    assert found.value == pytest.approx(temperature, rel=0.05)
    assert found.loss_after <= found.loss_before
    assert not found.at_bound


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(4, 40), st.floats(0.3, 4))
def test_it_is_the_minimum_of_the_likelihood(seed: int, count: int, temperature: float) -> None:
    """scikit-learn's log loss at the fitted value, and at a grid of others."""
    fold = drawn(seed, count, FIVE, temperature)
    found = fit_temperature(Validation((fold,)))

    def loss(value: float) -> float:
        return float(log_loss(fold.label, special.softmax(fold.logits / value, axis=1), labels=range(5)))

    assert found.loss_after == pytest.approx(loss(found.value), abs=1e-9)
    assert found.loss_before == pytest.approx(loss(1.0), abs=1e-9)
    assert found.loss_after <= min(loss(value) for value in np.geomspace(*TEMPERATURES, 25)) + 1e-9


def test_every_patient_weighs_the_same() -> None:
    """One patient with ten views against nine with one: as if each had one, a share of it per view."""
    fold = drawn(1, 10, BINARY, 2.0)
    rows = np.repeat(np.arange(10), [10] + [1] * 9)
    many = make_predictions(fold.logits[rows], fold.label[rows], fold.study_id[rows].tolist())
    assert fit_temperature(Validation((many,))).value == pytest.approx(fit_temperature(Validation((fold,))).value)


def test_the_ends_are_told() -> None:
    separated = binary_predictions([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], list("abcd"))
    found = fit_temperature(Validation((separated,)))
    assert found.at_bound
    assert found.value == pytest.approx(TEMPERATURES[0])
    reversed_ = binary_predictions([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], list("abcd"))
    found = fit_temperature(Validation((reversed_,)))
    assert found.at_bound
    assert found.value == pytest.approx(TEMPERATURES[1])


def test_a_closed_form() -> None:
    """Logits of -1 or 1 that are right in 3 of 4: sigmoid(2 / T) must be 3/4, T = 2 / ln 3."""
    label = [1, 1, 1, 0] * 5
    logits = np.tile([-1.0, 1.0], (20, 1))
    fold = make_predictions(logits, np.array(label), [f"P{n}" for n in range(20)])
    assert fit_temperature(Validation((fold,))).value == pytest.approx(2 / np.log(3), rel=1e-5)


def test_applied_to_patients_left_out_only() -> None:
    validation, test = Validation((drawn(1, 50, BINARY, 3.0, "V"),)), drawn(2, 50, BINARY, 3.0, "T")
    temperature = fit_temperature(validation)
    assert np.array_equal(temperature.apply(test).logits, test.logits / temperature.value)
    for leaking in (validation.folds[0], drawn(3, 1, BINARY, 3.0, "V")):
        with pytest.raises(MolSubError, match="fitted on"):
            temperature.apply(leaking)


def test_a_run_is_read_without_its_test_set(tmp_path: Path) -> None:
    """The test predictions are nonsense that no reader would take."""
    folds = tuple(drawn(n, 30, BINARY, 2.0, f"F{n}-") for n in (1, 2))
    plan = {"task": "tn", "architecture": "simple-cnn", "folds": 2, "positive": "TN"}
    write_json(tmp_path / "plan.json", plan | {"classes": list(folds[0].classes)})
    for n, fold in enumerate(folds, 1):
        write_predictions(tmp_path / f"fold-{n}" / "predictions.csv", fold)
        (tmp_path / f"fold-{n}" / "test_predictions.csv").write_text("nonsense")
    assert fit_temperature(read_validation(tmp_path)) == fit_temperature(Validation(folds))
    with pytest.raises(TrainingError, match="no run"):
        read_validation(tmp_path / "fold-1")


def test_what_is_no_validation_set() -> None:
    fold, other = drawn(1, 5, BINARY, 1.0), drawn(1, 5, FIVE, 1.0, "X")
    empty = make_predictions(np.zeros((0, 2)), np.zeros(0), [])
    for folds, words in (((), "no predictions"), ((empty,), "no predictions"), ((fold, fold), "two folds")):
        with pytest.raises(MolSubError, match=words):
            Validation(folds)
    with pytest.raises(MolSubError, match="different classes"):
        Validation((fold, other))
    assert np.array_equal(Validation((fold,)).scaled(4.0).folds[0].logits, fold.logits / 4)


def test_by_hand() -> None:
    """Four patients: errors 0.1, 0.4, 0.3, 0.6; two bins of equal width, (0, 0.5] and (0.5, 1]."""
    found = calibration(binary_scores([0.1, 0.4, 0.7, 0.6], [0, 0, 1, 0]), BINARY, "TN", bins=2)
    assert found.brier == pytest.approx((0.01 + 0.16 + 0.09 + 0.36) / 4)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.7, 0.4]).mean())
    assert [(b.start, b.end, b.patients) for b in found.bins] == [(0, 0.5, 2), (0.5, 1, 2)]
    assert [(b.predicted, b.observed) for b in found.bins] == [pytest.approx((0.25, 0)), pytest.approx((0.65, 0.5))]
    assert found.ece == pytest.approx((2 * 0.25 + 2 * 0.15) / 4)
    assert (found.of, found.binning) == ("TN", "2 bins of equal width")
    json.dumps(found.to_dict(), allow_nan=False)


def test_five_classes_by_hand() -> None:
    """The likeliest class has 0.6 and is right, 0.4 and is wrong."""
    table = np.array([[0.6, 0.1, 0.1, 0.1, 0.1], [0.2, 0.4, 0.2, 0.1, 0.1]])
    scores = Scores(table, np.array([0, 2]), np.array(["a", "b"]), np.arange(2))
    found = calibration(scores, FIVE, None, bins=2)
    assert found.brier == pytest.approx((0.16 + 4 * 0.01 + 0.04 + 0.16 + 0.64 + 0.02) / 2)
    assert found.ece == pytest.approx((0.4 + 0.4) / 2)
    assert found.of == "likeliest class"
    one = calibration(scores, FIVE, "Luminal A")
    assert one.brier == pytest.approx((0.16 + 0.04) / 2)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 60), st.sampled_from([2, 5]), st.sampled_from(["width", "count"]))
def test_scores_are_scikit_learns(seed: int, count: int, classes: int, binning: str) -> None:
    rng = np.random.default_rng(seed)
    table = special.softmax(rng.normal(0, 2, (count, classes)), axis=1)
    label = np.concatenate([[0, 1], rng.integers(0, classes, count - 2)])
    happened = label == 1
    expected = brier_score_loss(happened, table[:, 1])
    assert brier(np.stack([1 - table[:, 1], table[:, 1]], axis=1), happened.astype(int)) / 2 == pytest.approx(expected)
    assert brier(table, label) == pytest.approx(sum(np.mean((table[:, n] - (label == n)) ** 2) for n in range(classes)))
    points = reliability(table[:, 1], happened, bins=7, binning=binning)  # type: ignore[arg-type]
    strategy = "uniform" if binning == "width" else "quantile"
    observed, predicted = calibration_curve(happened, table[:, 1], n_bins=7, strategy=strategy)
    assert [point.observed for point in points] == pytest.approx(observed)
    assert [point.predicted for point in points] == pytest.approx(predicted)
    assert sum(point.patients for point in points) == count
    assert all(0 <= p.low <= p.observed <= p.high <= 1 and p.start <= p.predicted <= p.end for p in points)


def test_calibrated_logits_are_calibrated() -> None:
    """Large cohort: with the right temperature the error is near 0, with another it is what theory says."""
    right, wrong = (calibration(drawn(5, 20000, BINARY, t).scores(), BINARY, "TN", bins=20) for t in (1.0, 3.0))
    assert right.ece < 0.012
    logits = np.random.default_rng(6).normal(0, 1.5 * np.sqrt(2), 400_000)
    assert wrong.ece == pytest.approx(np.abs(special.expit(3 * logits) - special.expit(logits)).mean(), abs=0.01)


def test_what_cannot_be_calibrated() -> None:
    for scores, bins, words in ((binary_scores([0.1], [0]), 0, "is 0"), (binary_scores([], []), 10, "no patients")):
        with pytest.raises(MolSubError, match=words):
            calibration(scores, BINARY, "TN", bins=bins)


def test_temperature_is_that_of_a_general_optimiser() -> None:
    fold = drawn(8, 300, FIVE, 1.7)
    found = optimize.minimize(
        lambda x: log_loss(fold.label, special.softmax(fold.logits * np.exp(x[0]), axis=1)),
        [0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-14},
    )
    assert fit_temperature(Validation((fold,))).value == pytest.approx(float(np.exp(-found.x[0])), rel=1e-5)
