"""Calibration slope, intercept and expected / observed: closed forms, scikit-learn, and known miscalibrations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import BINARY, binary_scores
from scipy import special
from sklearn.linear_model import LogisticRegression
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.drift import (
    MEASURES,
    calibration_intercept,
    calibration_report,
    calibration_slope,
    class_calibration,
    expected_observed,
)
from MolSubCore.statistics.scores import Scores

FIVE = ("Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN")


def drawn(seed: int, count: int, slope: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and what happened where the right logit is ``slope * logit + shift``."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, count)
    return special.expit(logit), rng.random(count) < special.expit(slope * logit + shift)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(30, 200))
def test_the_slope_is_scikit_learns(seed: int, count: int) -> None:
    share, happened = drawn(seed, count, 0.7, 0.4)
    found = calibration_slope(share, happened)
    if found.value is None:
        logit = special.logit(share)
        assert happened.all() or not happened.any() or logit[happened].min() >= logit[~happened].max()
        return
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(special.logit(share)[:, None], happened)
    assert found.value == pytest.approx(float(model.coef_[0, 0]), rel=1e-3, abs=1e-4)


def test_the_interval_is_that_of_the_information_matrix() -> None:
    share, happened = drawn(1, 300, 0.8)
    found = calibration_slope(share, happened)
    logit = special.logit(share)
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logit[:, None], happened)
    fitted = model.predict_proba(logit[:, None])[:, 1]
    design = np.column_stack([logit, np.ones(300)])
    error = np.sqrt(np.linalg.inv(design.T @ (design * (fitted * (1 - fitted))[:, None]))[0, 0])
    assert found.value is not None
    assert (found.low, found.high) == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error), rel=1e-3)


@pytest.mark.parametrize(("events", "share"), [(3, 0.5), (7, 0.2), (5, 0.9)])
def test_the_intercept_in_closed_form(events: int, share: float) -> None:
    """All have the same probability: the intercept moves it to the share that happened."""
    happened = np.arange(10) < events
    found = calibration_intercept(np.full(10, share), happened)
    assert found.value == pytest.approx(special.logit(events / 10) - special.logit(share), abs=1e-6)
    error = np.sqrt(1 / (10 * events / 10 * (1 - events / 10)))
    assert found.high == pytest.approx(found.value + 1.959964 * error, rel=1e-4)


@pytest.mark.parametrize("spread", [20.0, 60.0])
def test_the_intercept_of_overconfident_models_is_the_root(spread: float) -> None:
    """Logits that are far too large: the intercept is where the score, which falls in it, changes its sign."""
    for seed in range(150):
        rng = np.random.default_rng(seed)
        logit = rng.normal(0, spread, rng.integers(20, 300))
        happened = rng.random(len(logit)) < special.expit(0.05 * logit + rng.normal(0, 1))
        found = calibration_intercept(special.expit(logit), happened)
        clipped = np.clip(logit, special.logit(1e-9), special.logit(1 - 1e-9))
        low, high = -100.0, 100.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if special.expit(clipped + middle).sum() < happened.sum() else (low, middle)
        share = special.expit(clipped + low)
        error = 1 / np.sqrt((share * (1 - share)).sum())
        if max(abs(low), 1.96 * error) > 10:  # odds off by more than 22,000: nothing is said
            assert found.value is None
            continue
        assert found.value == pytest.approx(low, abs=1e-5)
        assert found.high - found.low == pytest.approx(2 * 1.959964 * error, rel=1e-4)


def test_the_intercept_is_statsmodels_where_that_converges() -> None:
    for seed in range(40):
        share, happened = drawn(seed, 120, 0.8, 0.5)
        found, offset = calibration_intercept(share, happened), special.logit(share)
        fitted = GLM(happened.astype(float), np.ones(120), family=Binomial(), offset=offset).fit(tol=1e-12)
        assert fitted.converged
        assert found.value == pytest.approx(float(fitted.params[0]), abs=1e-8)
        assert (found.low, found.high) == pytest.approx(tuple(fitted.conf_int()[0]), abs=1e-7)


def test_without_a_root_there_is_no_intercept() -> None:
    for happened in (True, False):
        assert calibration_intercept(np.array([0.1, 0.4, 0.9]), np.full(3, happened)).value is None


def test_a_known_miscalibration_comes_out() -> None:
    """Logits twice as large as they should be and 0.8 too high: slope 1/2; right ones: 1, 0, 1."""
    right, happened = drawn(2, 20_000)
    wrong = special.expit(2 * special.logit(right) + 0.8)
    assert calibration_slope(wrong, happened).value == pytest.approx(0.5, abs=0.03)
    for found, expected in ((calibration_slope(right, happened), 1), (calibration_intercept(right, happened), 0),
                            (expected_observed(right, happened), 1)):  # fmt: skip
        assert found.low < expected < found.high


def test_expected_over_observed_by_hand() -> None:
    found = expected_observed(np.array([0.2, 0.4, 0.6, 0.8]), np.array([False, False, False, True]))
    assert found.value == pytest.approx(2.0)
    half = 1.959964 * np.sqrt(1 - 1 / 4)
    assert (found.low, found.high) == pytest.approx((2 * np.exp(-half), 2 * np.exp(half)), rel=1e-5)


@pytest.mark.parametrize("happened", [[True] * 4, [False] * 4, [False, False, True, True], [True, True, False, False]])
def test_what_has_no_slope(happened: list[bool]) -> None:
    found = calibration_slope(np.array([0.1, 0.3, 0.6, 0.9]), np.array(happened))
    assert (found.value, found.low) == (None, None)
    assert calibration_slope(np.full(4, 0.5), np.array([True, False, True, False])).value is None
    # A network that gives everybody the same probability, but for the last digits.
    nearly = 0.47 + 1e-9 * np.array([1, 2, 3, 4])
    assert calibration_slope(nearly, np.array([True, False, True, False])).value is None


def test_what_says_nothing_is_undefined_and_no_interval_has_no_width() -> None:
    """Sure and right of 10 patients: an intercept of 0 with an interval of -13859 to 13859."""
    happened = np.arange(10) < 5
    assert calibration_intercept(np.where(happened, 1.0, 0.0), happened).value is None
    assert expected_observed(np.full(4, 0.5), np.full(4, True)).value is None
    same = class_calibration(binary_scores([0.5] * 6, [0, 1] * 3), BINARY, "TN")
    assert (same["brier"]["value"], same["brier"]["low"]) == (0.25, None)


def test_certain_probabilities_have_numbers() -> None:
    """A probability of 1 or 0 has no logit; it counts as nearly so."""
    found = class_calibration(binary_scores([1.0, 0.0, 1.0, 0.4], [1, 0, 0, 1]), BINARY, "TN")
    assert found["brier"]["value"] == pytest.approx((0 + 0 + 1 + 0.36) / 4)
    assert np.isfinite(found["slope"]["value"])
    json.dumps(found, allow_nan=False)


def test_the_report_of_five_classes() -> None:
    rng = np.random.default_rng(3)
    table = special.softmax(rng.normal(0, 1, (200, 5)), axis=1)
    label = (rng.random((200, 1)) > table.cumsum(axis=1)[:, :-1]).sum(axis=1)
    found = calibration_report(Scores(table, label, np.arange(200).astype(str), np.arange(200)), FIVE, None)
    assert list(found["classes"]) == list(FIVE)
    assert set(MEASURES) <= set(found["classes"]["TN"])
    assert sum(part["observed"] for part in found["classes"].values()) == 200
    assert sum(part["expected"] for part in found["classes"].values()) == pytest.approx(200)
    assert found["overall"]["of"] == "likeliest class"
    json.dumps(found, allow_nan=False)
    with pytest.raises(MolSubError, match="no patients"):
        class_calibration(binary_scores([], []), BINARY, "TN")
