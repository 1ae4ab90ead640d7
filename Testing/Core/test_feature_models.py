"""Models of features: selection, patients kept together, honest on noise, probabilities that mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import f_oneway, spearmanr
from sklearn.metrics import roc_auc_score

from MolSubCore.errors import TrainingError
from MolSubCore.training.feature_models import BASELINES, FittedModel, UncorrelatedBest, fit_model, reliability

SVM: dict[str, list[Any]] = {"select__count": [4], "model__C": [1.0], "model__gamma": ["scale"]}
TREES: dict[str, list[Any]] = {"select__count": [4], "model__max_iter": [20], "model__max_leaf_nodes": [3]}


def fitted(
    values: NDArray[np.float64],
    labels: NDArray[np.int64],
    patients: NDArray[np.str_] | None = None,
    *,
    name: str = "radiomics-svm",
    classes: tuple[str, ...] = ("a", "b"),
    search: dict[str, list[Any]] | None = None,
) -> FittedModel:
    who = np.arange(len(labels)).astype(str) if patients is None else patients
    chosen = search or (SVM if name == "radiomics-svm" else TREES)
    return fit_model(
        BASELINES[name], values, labels, who.tolist(), classes,
        search=chosen, correlation=0.95, inner_folds=5, seed=3,
    )  # fmt: skip


def two_groups(n: int, seed: int, *, share: float = 0.5, shift: float = 1.0) -> tuple[Any, Any]:
    """Ten columns, the first two of which are shifted in class 1."""
    rng = np.random.default_rng(seed)
    labels = (rng.uniform(size=n) < share).astype(np.int64)
    values = rng.normal(size=(n, 10))
    values[:, :2] += shift * labels[:, None]
    return values, labels


def test_selection_takes_the_best_and_neither_constants_nor_copies() -> None:
    values, labels = two_groups(80, 1)
    values[:, 4] = 0.1 + 1e-13 * np.arange(80)  # rounding
    values[:, 5] = -3 * values[:, 0] + 7  # a copy
    values[:, 6] = 5
    chosen = UncorrelatedBest(count=5).fit(values, labels)
    candidates = [0, 1, 2, 3, 7, 8, 9]
    by_scipy = sorted(candidates, key=lambda c: -f_oneway(values[labels == 0, c], values[labels == 1, c]).statistic)
    assert [0 if column == 5 else column for column in chosen.columns_] == by_scipy[:5]
    assert np.array_equal(chosen.transform(values), values[:, chosen.columns_])
    assert len(UncorrelatedBest(count=99).fit(values, labels).columns_) == len(candidates)
    assert UncorrelatedBest().fit(np.ones((80, 3)), labels).columns_.tolist() == [0]


@pytest.mark.parametrize("name", list(BASELINES))
def test_noise_is_not_learned(name: str) -> None:
    """120 columns of noise and 60 patients: on new patients the mean AUC is that of a coin."""
    areas = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values, labels = rng.normal(size=(60, 120)), np.arange(60) % 2
        model = fitted(values, labels, name=name)
        new = rng.normal(size=(1000, 120))
        areas.append(roc_auc_score(rng.integers(0, 2, 1000), model.log_probabilities(new)[:, 1]))
    assert 0.46 < np.mean(areas) < 0.54


@pytest.mark.parametrize("name", list(BASELINES))
def test_calibration_never_turns_the_order_round(name: str) -> None:
    """On noise, scores out of fold run against the classes about every second time."""
    for seed in range(4):
        rng = np.random.default_rng(100 + seed)
        values, labels = rng.normal(size=(24, 10)), np.arange(24) % 2
        model = fitted(values, labels, name=name)
        scores = model._model.calibrated_classifiers_[0].estimator.decision_function(values)
        related = spearmanr(scores, model.log_probabilities(values)[:, 1]).statistic
        assert related > 0.99, seed


def test_views_of_one_patient_stay_together() -> None:
    """Each patient four times over, with a class by chance: divided by rows, an inner AUC would be near 1."""
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(40, 10)), np.arange(40) % 2
    search = SVM | {"model__gamma": [10.0]}
    four = fitted(
        np.repeat(values, 4, axis=0), np.repeat(labels, 4), np.repeat(np.arange(40).astype(str), 4), search=search
    )
    assert four.score < 0.75
    apart = fitted(np.repeat(values, 4, axis=0), np.repeat(labels, 4), search=search)
    assert apart.score > 0.95


@pytest.mark.parametrize("name", list(BASELINES))
def test_probabilities_mean_what_they_say(name: str) -> None:
    """Trained on one positive in five with balanced weights: the mean probability is still one in five."""
    model = fitted(*two_groups(250, 5, share=0.2), name=name)
    values, labels = two_groups(4000, 6, share=0.2)
    probability = np.exp(model.log_probabilities(values)[:, 1])
    assert roc_auc_score(labels, probability) > 0.75
    assert probability.mean() == pytest.approx(0.2, abs=0.05)
    upper = probability > np.quantile(probability, 0.8)
    assert labels[upper].mean() == pytest.approx(probability[upper].mean(), abs=0.08)


@pytest.mark.parametrize("name", list(BASELINES))
def test_undefined_values_are_the_medians_of_the_training_part(name: str) -> None:
    values, labels = two_groups(60, 7)
    values[3:8, 0] = np.nan
    values[:, 9] = np.nan
    model = fitted(values, labels, name=name)
    new, _ = two_groups(30, 8)
    new[:, 9] = 0
    filled, holes = new.copy(), new.copy()
    filled[:10, 0] = np.nanmedian(values[:, 0])
    holes[:10, 0], holes[:, 9] = np.nan, np.nan
    assert np.array_equal(model.log_probabilities(filled), model.log_probabilities(holes))
    assert not np.array_equal(model.log_probabilities(filled), model.log_probabilities(new))


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_class_without_patients_is_improbable_and_the_others_are_told_apart(name: str) -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 2, 3], 30)
    values = rng.normal(size=(90, 6))
    values[:, 0] += 3 * labels
    model = fitted(values, labels, name=name, classes=("a", "b", "c", "d"))
    found = np.exp(model.log_probabilities(values))
    assert found.shape == (90, 4)
    assert np.allclose(found.sum(axis=1), 1)
    assert (found[:, 1] < 1e-5).all() and (found > 0).all()
    assert (found.argmax(axis=1) == labels).mean() > 0.8
    assert model.log_probabilities(values[:0]).shape == (0, 4)


def test_too_few_patients_of_a_class_are_told() -> None:
    values, labels = two_groups(20, 3)
    labels[:] = 0
    with pytest.raises(TrainingError, match=r"training part: has 20 .* 1 class"):
        fitted(values, labels)
    labels[:2] = 1
    patients = np.array(["same", "same", *map(str, range(18))])
    with pytest.raises(TrainingError, match=r"training part: has 1 patient of class b"):
        fitted(values, labels, patients)


def test_reliability_is_the_published_one() -> None:
    """Shrout and Fleiss, Psychol Bull 1979;86:420: six targets, four judges, ICC(1,1) = 0.17."""
    judged = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], np.float64)
    other = np.repeat(judged[:, :1], 4, axis=1)
    gaps = np.vstack([judged, np.full(4, np.nan)])
    measured = np.stack([judged, other, np.ones((6, 4))], axis=2)
    assert reliability(measured) == pytest.approx([0.17, 1, 0], abs=0.005)
    assert reliability(gaps[:, :, None]) == pytest.approx(reliability(judged[:, :, None]))
