"""Calibration maps against logistic regression and closed forms; measures against hand computation and scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import BINARY, binary_scores, make_predictions
from scipy import optimize, special
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.calibration import (
    LEAST,
    SLOPES,
    CalibrationMap,
    ClassShares,
    brier,
    calibration,
    fit_calibration,
    reliability,
)
from MolSubCore.statistics.scores import Predictions, Scores
from MolSubCore.statistics.validation import Validation

FIVE = ("Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN")


def drawn(
    seed: int, count: int, classes: tuple[str, ...], scale: float, shift: list[float] | float = 0.0, prefix: str = "P"
) -> Predictions:
    """Labels drawn from softmax(logits), the logits then multiplied and shifted."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, len(classes)))
    share = special.softmax(logits, axis=1).cumsum(axis=1)
    label = (rng.random((count, 1)) > share[:, :-1]).sum(axis=1)
    names = [f"{prefix}{n}" for n in range(count)]
    return make_predictions(scale * logits + np.array(shift), label, names, classes)


def test_a_known_miscalibration_is_undone() -> None:
    """Logits times 2, and 1 too high for TN: slope 1/2, intercept -1/2."""
    found = fit_calibration(drawn(1, 20_000, BINARY, 2.0, [0.0, 1.0]).scores(), BINARY)
    assert found.slope == pytest.approx(0.5, rel=0.03)
    assert found.intercepts == pytest.approx((0.0, -0.5), abs=0.075)  # 3.5 standard errors
    assert not found.at_bound
    assert found.loss_after < found.loss_before
    five = fit_calibration(drawn(2, 8000, FIVE, 2.0, [0, 1, -1, 0.5, 0]).scores(), FIVE)
    assert five.slope == pytest.approx(0.5, rel=0.05)
    assert five.intercepts == pytest.approx((0, -0.5, 0.5, -0.25, 0), abs=0.12)


def test_of_two_classes_it_is_logistic_regression() -> None:
    scores = drawn(3, 400, BINARY, 1.6, [0.0, -0.7]).scores()
    found = fit_calibration(scores, BINARY)
    design = np.column_stack([special.logit(scores.probabilities[:, 1]), np.ones(400)])
    expected = GLM(scores.label.astype(float), design, family=Binomial()).fit(tol=1e-12)
    assert (found.slope, found.intercepts[1]) == pytest.approx(tuple(expected.params), abs=1e-5)
    assert found.slope_interval == pytest.approx(tuple(expected.conf_int()[0]), abs=1e-4)
    assert found.intercept_intervals[1] == pytest.approx(tuple(expected.conf_int()[1]), abs=1e-4)
    assert found.loss_after == pytest.approx(log_loss(scores.label, found(scores.probabilities)), abs=1e-9)
    assert found.loss_before == pytest.approx(log_loss(scores.label, scores.probabilities), abs=1e-9)


def test_of_five_classes_it_is_the_minimum_of_a_general_optimiser_and_its_interval_that_of_the_curvature() -> None:
    fold = drawn(8, 700, FIVE, 1.7, [0, 0.5, -0.5, 0, 1])
    found, shares = fit_calibration(fold.scores(), FIVE), fold.probabilities()

    def loss(values: np.ndarray) -> float:
        odds = shares ** values[0] * np.exp([0.0, *values[1:]])
        return -float(np.log(odds[np.arange(700), fold.label] / odds.sum(axis=1)).sum())

    best = optimize.minimize(loss, [1.0, 0, 0, 0, 0], method="Nelder-Mead",
                             options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 9000, "maxfev": 9000})  # fmt: skip
    assert [found.slope, *found.intercepts[1:]] == pytest.approx(best.x.tolist(), abs=1e-4)
    step = 1e-3 * np.eye(5)
    curvature = np.array(
        [[(loss(best.x + a + b) - loss(best.x + a - b) - loss(best.x - a + b) + loss(best.x - a - b)) / 4e-6
          for b in step] for a in step]
    )  # fmt: skip
    errors = np.sqrt(np.diag(np.linalg.inv(curvature)))
    intervals = [found.slope_interval, *found.intercept_intervals[1:]]
    assert [(high - low) / 2 / 1.959964 for low, high in intervals] == pytest.approx(errors.tolist(), rel=1e-3)


def test_the_slope_alone_in_closed_form() -> None:
    """Logits of -1 or 1 that are right in 3 of 4: sigmoid(2 slope) must be 3/4."""
    label = np.array([1, 1, 1, 0] * 10 + [0, 0, 0, 1] * 10)
    logits = np.repeat([[-1.0, 1.0], [1.0, -1.0]], 40, axis=0)
    scores = make_predictions(logits, label, [f"P{n}" for n in range(80)]).scores()
    found = fit_calibration(scores, BINARY, "temperature")
    assert found.slope == pytest.approx(np.log(3) / 2, rel=1e-5)
    assert found.intercepts == (0.0, 0.0)


def test_it_acts_on_the_mean_over_views_and_every_patient_weighs_the_same() -> None:
    """One patient with ten views of one kind: as if with one."""
    fold = drawn(1, 100, BINARY, 2.0)
    rows = np.repeat(np.arange(100), [10] + [1] * 99)
    many = make_predictions(fold.logits[rows], fold.label[rows], fold.study_id[rows].tolist()).scores()
    found, again = fit_calibration(fold.scores(), BINARY), fit_calibration(many, BINARY)
    assert again.slope == pytest.approx(found.slope, abs=1e-6)
    two = Scores(
        np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([1, 1]), np.array(["a", "a"]), np.arange(2), calibrate=found
    )
    assert two.per_patient().probabilities == pytest.approx(found(np.array([[0.6, 0.4]])))
    assert two.per_image().probabilities == pytest.approx(found(two.probabilities))
    assert two.per_patient().per_patient().probabilities == pytest.approx(found(np.array([[0.6, 0.4]])))


def test_the_order_of_patients_stays() -> None:
    scores = drawn(9, 500, BINARY, 3.0, 1.0).scores()
    found = fit_calibration(scores, BINARY)
    assert found.slope < 0.5
    after = found(scores.probabilities)[:, 1]
    assert roc_auc_score(scores.label, after) == roc_auc_score(scores.label, scores.probabilities[:, 1])


def test_too_few_patients_are_not_fitted_on() -> None:
    """The shift of the shares is known all the same: Bayes' rule by hand."""
    shares = ClassShares((0.49, 0.51), (0.83, 0.17))
    count = LEAST - 1
    scores = binary_scores([0.5] * 60 + [0.6] * count, [0] * 60 + [1] * count)
    found = fit_calibration(scores, BINARY, shares=shares)
    assert (found.fitted, found.slope, found.patients) == (False, 1.0, frozenset())
    assert found.why == f"too few patients ({count} TN, at least {LEAST} needed)"
    odds = 0.6 / 0.4 * (0.17 / 0.51) / (0.83 / 0.49)
    assert found(np.array([[0.4, 0.6]]))[0, 1] == pytest.approx(odds / (1 + odds))
    assert fit_calibration(scores, BINARY).intercepts == (0.0, 0.0)
    enough = binary_scores([0.5, 0.7] * 30 + [0.6, 0.4] * (LEAST // 2), [0] * 60 + [1] * LEAST)
    assert fit_calibration(enough, BINARY).fitted
    assert fit_calibration(enough, BINARY, why="no reason").why == "no reason"


def test_the_ends_are_told() -> None:
    share = np.linspace(0.01, 0.99, 60)
    parted = fit_calibration(binary_scores(share.tolist(), [0] * 30 + [1] * 30), BINARY)
    assert (parted.at_bound, parted.slope, parted.slope_interval) == (True, SLOPES[1], None)
    reversed_ = fit_calibration(binary_scores(share.tolist(), [1] * 30 + [0] * 30), BINARY)
    assert (reversed_.at_bound, reversed_.slope) == (True, SLOPES[0])  # never one that turns the order round


def test_never_on_its_own_patients() -> None:
    fold = drawn(7, 80, BINARY, 2.0)
    found = fit_calibration(fold.scores(), BINARY)
    with pytest.raises(MolSubError, match="fitted on 80 of these patients"):
        found.apply(fold.scores())
    with pytest.raises(MolSubError, match="fitted on 1 of these patients"):
        found.apply(drawn(3, 1, BINARY, 3.0).scores())
    assert found.apply(drawn(7, 80, BINARY, 2.0, prefix="Q").scores()).calibrate is found
    with pytest.raises(MolSubError, match="is by 'beta'"):
        fit_calibration(fold.scores(), BINARY, "beta")  # type: ignore[arg-type]


def test_it_is_read_again_without_its_patients() -> None:
    shares = ClassShares((0.4, 0.6), (0.7, 0.3))
    for found in (fit_calibration(drawn(4, n, BINARY, 2.0).scores(), BINARY, shares=shares) for n in (20, 200)):
        stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        again = CalibrationMap.from_dict(stored, found.patients)
        assert again.to_dict() == stored
        assert again.shares == shares
        assert '"P1"' not in json.dumps(stored)
        assert again.patients == found.patients


def test_what_is_no_validation_set() -> None:
    fold, other = drawn(1, 5, BINARY, 1.0), drawn(1, 5, FIVE, 1.0, prefix="X")
    empty = make_predictions(np.zeros((0, 2)), np.zeros(0), [])
    for folds, words in (((), "no predictions"), ((empty,), "no predictions"), ((fold, fold), "two folds")):
        with pytest.raises(MolSubError, match=words):
            Validation(folds)
    with pytest.raises(MolSubError, match="different classes"):
        Validation((fold, other))


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


def errors(seed: int, count: int, scale: float) -> tuple[float, float, float, float]:
    found = calibration(drawn(seed, count, BINARY, scale).scores(), BINARY, "TN", bins=5, binning="count", seed=seed)
    assert found.ece_low is not None
    assert found.ece_high is not None
    return found.ece, found.ece_low, found.ece_high, found.ece_expected


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_calibration_error_has_an_interval_and_what_right_probabilities_would_have(scale: float) -> None:
    """It is of the mean error with so many patients: 300 cohorts say which that is."""
    found = np.array([errors(seed, 78, scale) for seed in range(300)])
    mean = found[:, 0].mean()
    covered = ((found[:, 1] <= mean) & (mean <= found[:, 2])).mean()
    assert covered >= 0.93
    right = np.array([errors(seed + 1000, 78, 1.0) for seed in range(300)])
    if scale == 1.0:
        assert found[:, 3].mean() == pytest.approx(right[:, 0].mean(), rel=0.05)  # not 0: about 0.08
    else:
        assert mean > found[:, 3].mean() + 0.05
        assert covered <= 0.99


def test_no_interval_has_no_width() -> None:
    found = calibration(binary_scores([0.2] * 5, [0] * 5), BINARY, "TN", bins=2)
    assert (found.ece, found.ece_low, found.ece_high) == (pytest.approx(0.2), None, None)
    assert calibration(binary_scores([0.2], [0]), BINARY, "TN", bins=2).ece_low is None
