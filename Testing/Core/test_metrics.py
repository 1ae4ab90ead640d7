"""Metrics against scikit-learn, also weighted and with ties; what is undefined is NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from MolSubCore.statistics.metrics import auc, compute, confusion
from MolSubCore.tasks import TASKS

FIVE = TASKS["subtype5"].classes
BINARY = ("non-TN", "TN")
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def binary(draw: st.DrawFn) -> Drawn:
    """Scores with many ties, labels of both classes, weights as a bootstrap gives them."""
    count = draw(st.integers(2, 30))
    scores = draw(st.lists(st.integers(0, 6), min_size=count, max_size=count))
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), min_size=count - 2, max_size=count - 2))]
    weights = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return np.array(scores) / 6, np.array(labels), np.array(weights, float)


@settings(deadline=None, max_examples=60)
@given(binary())
def test_auc_is_scikit_learns(drawn: Drawn) -> None:
    scores, labels, weights = drawn
    both = weights[labels == 1].sum() > 0 < weights[labels == 0].sum()
    (plain, weighted) = auc(scores, labels == 1, np.stack([np.ones(len(scores)), weights]))
    assert plain == pytest.approx(theirs.roc_auc_score(labels, scores), abs=1e-12)
    if both:
        assert weighted == pytest.approx(theirs.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)
    else:
        assert np.isnan(weighted)


@settings(deadline=None)
@given(binary())
def test_auc_is_the_share_of_pairs_in_order(drawn: Drawn) -> None:
    scores, labels, _ = drawn
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels == 1].tolist() for b in scores[labels == 0].tolist()]
    assert auc(scores, labels == 1, np.ones((1, len(scores))))[0] == pytest.approx(np.mean(pairs), abs=1e-12)


def share(function: object, *arguments: object, **options: object) -> float:
    return float(function(*arguments, zero_division=np.nan, **options))  # type: ignore[operator]


def reference(actual: np.ndarray, called: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """The four shares of one class against the rest."""
    options = {"sample_weight": weights}
    return {
        "sensitivity": share(theirs.recall_score, actual, called, **options),
        "specificity": share(theirs.recall_score, ~actual, ~called, **options),
        "ppv": share(theirs.precision_score, actual, called, **options),
        "npv": share(theirs.precision_score, ~actual, ~called, **options),
    }


@settings(deadline=None, max_examples=40)
@given(binary())
def test_binary_metrics_are_scikit_learns(drawn: Drawn) -> None:
    scores, labels, weights = drawn
    probabilities = np.stack([1 - scores, scores], axis=1)
    table = np.stack([np.ones(len(scores)), weights])
    if weights.sum() == 0:
        return
    found = compute(probabilities, labels, table, BINARY, "TN")
    assert set(found) == {"auc", "accuracy", "sensitivity", "specificity", "ppv", "npv"}
    called = scores > 0.5  # a tie goes to the class listed first
    for row, weight in enumerate(table):
        expected = reference(labels == 1, called, weight)
        expected["accuracy"] = float(theirs.accuracy_score(labels, called, sample_weight=weight))
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@st.composite
def five(draw: st.DrawFn) -> Drawn:
    """Probabilities of five classes with ties, labels of which some may be missing, weights."""
    count = draw(st.integers(1, 25))
    parts = draw(st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    weights = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    values = np.array(parts, float) + 0.01
    return values / values.sum(axis=1, keepdims=True), np.array(labels), np.array(weights, float)


@settings(deadline=None, max_examples=10)
@given(five())
def test_five_classes_each_and_macro(drawn: Drawn) -> None:
    probabilities, labels, weights = drawn
    table = np.stack([np.ones(len(labels)), weights])
    found = compute(probabilities, labels, table, FIVE, None)
    predicted = probabilities.argmax(axis=1)
    for index, name in enumerate(FIVE):
        for row, weight in enumerate(table[: 1 + bool(weights.sum())]):
            for metric, value in reference(labels == index, predicted == index, weight).items():
                assert found[f"{metric}: {name}"][row] == pytest.approx(value, abs=1e-12, nan_ok=True)
        if 0 < (labels == index).sum() < len(labels):
            value = theirs.roc_auc_score(labels == index, probabilities[:, index])
            assert found[f"auc: {name}"][0] == pytest.approx(value, abs=1e-12)
        else:
            assert np.isnan(found[f"auc: {name}"][0])
    present = np.unique(labels).tolist()
    options = {"labels": present, "average": "macro", "zero_division": 0.0}
    assert found["macro sensitivity"][0] == pytest.approx(theirs.recall_score(labels, predicted, **options))
    assert found["macro ppv"][0] == pytest.approx(theirs.precision_score(labels, predicted, **options))
    others = [(labels != index, predicted != index) for index in present]
    if len(present) > 1:
        negative = [theirs.precision_score(*pair, zero_division=0.0) for pair in others]
        assert found["macro npv"][0] == pytest.approx(np.mean(negative))
        assert found["macro specificity"][0] == pytest.approx(np.mean([theirs.recall_score(*pair) for pair in others]))
        areas = [theirs.roc_auc_score(labels == index, probabilities[:, index]) for index in present]
        assert found["macro auc"][0] == pytest.approx(np.mean(areas), abs=1e-12)
    else:  # nobody is outside the class
        assert all(np.isnan(found[f"macro {metric}"][0]) for metric in ("auc", "specificity"))


def test_a_class_that_is_never_predicted_lowers_the_mean() -> None:
    """Left out, as it was, a model that never says TN would have a macro PPV of 1."""
    labels = np.array([0, 0, 1, 1, 4, 4])
    probabilities = np.eye(5)[[0, 0, 1, 1, 2, 2]]
    found = compute(probabilities, labels, np.ones((1, 6)), FIVE, None)
    assert np.isnan(found["ppv: TN"][0])
    assert found["macro ppv"][0] == pytest.approx((1 + 1 + 0) / 3)
    assert found["macro sensitivity"][0] == pytest.approx((1 + 1 + 0) / 3)


def test_macro_is_scikit_learns_where_all_is_defined() -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(200) % 5
    probabilities = rng.dirichlet(np.ones(5), 200) * 0.7 + 0.3 * np.eye(5)[labels]
    found = compute(probabilities, labels, np.ones((1, 200)), FIVE, None)
    predicted = probabilities.argmax(axis=1)
    expected = {
        "macro auc": theirs.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"),
        "accuracy": theirs.accuracy_score(labels, predicted),
        "macro sensitivity": theirs.recall_score(labels, predicted, average="macro"),
        "macro ppv": theirs.precision_score(labels, predicted, average="macro"),
    }
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, abs=1e-12), name
    assert list(found)[:2] == ["macro auc", "accuracy"]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_confusion_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(pairs).T
    assert confusion(labels, predicted, 5) == theirs.confusion_matrix(labels, predicted, labels=range(5)).tolist()


def test_the_undefined_is_nan_and_not_0() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    found = compute(probabilities, np.array([0, 0, 0]), np.ones((1, 3)), BINARY, "TN")
    values = {name: float(value[0]) for name, value in found.items()}
    assert {name for name, value in values.items() if np.isnan(value)} == {"auc", "sensitivity", "ppv"}
    assert (values["accuracy"], values["specificity"], values["npv"]) == (1, 1, 1)
    nothing = compute(probabilities, np.array([0, 1, 0]), np.zeros((1, 3)), BINARY, "TN")
    assert all(np.isnan(value[0]) for value in nothing.values())


def test_the_papers_confusion_corner_is_not_ours() -> None:
    """Five-class sensitivity uses the whole matrix, not its first 2 x 2 corner."""
    labels = np.array([0, 0, 1, 1, 4, 4, 4, 4])
    predicted = np.array([0, 1, 1, 1, 0, 0, 0, 4])
    found = compute(np.eye(5)[predicted], labels, np.ones((1, 8)), FIVE, None)
    assert found["sensitivity: TN"][0] == 0.25
    assert found["ppv: Luminal A"][0] == 0.25
    assert found["specificity: Luminal A"][0] == 0.5
    assert np.isnan(found["sensitivity: HER2+/HR+"][0])
    assert found["macro sensitivity"][0] == pytest.approx((0.5 + 1 + 0.25) / 3)
