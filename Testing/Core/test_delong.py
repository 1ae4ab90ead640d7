"""DeLong against all pairs, closed forms, a published example and simulation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.delong import FEW, auc, macro_auc, paired_test, patient_auc
from MolSubCore.statistics.intervals import newcombe
from MolSubCore.statistics.scores import Scores


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def components(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components, every pair looked at: of the positives and of the negatives."""
    first, second = score[positive], score[~positive]
    wins = (first[:, None] > second).astype(float) + 0.5 * (first[:, None] == second)
    return wins.mean(axis=1), wins.mean(axis=0)


def covariance(scores: list[np.ndarray], positive: np.ndarray) -> np.ndarray:
    """Equation 5 of DeLong 1988."""
    parts = [components(score, positive) for score in scores]
    total = np.zeros((len(scores), len(scores)))
    for side in (0, 1):
        table = np.array([part[side] for part in parts])
        total += np.cov(table) / table.shape[1]
    return total


@st.composite
def studies(draw: st.DrawFn, least: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two score vectors with many ties, and so many patients of each class."""
    positive = [*[True] * least, *[False] * least, *draw(st.lists(st.booleans(), max_size=16))]
    score = st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.3, 1e6, 7.0]), min_size=len(positive), max_size=len(positive))
    order = draw(st.permutations(range(len(positive))))
    return np.array(draw(score)), np.array(draw(score)), np.array(positive)[order]


@settings(deadline=None)
@given(studies(FEW))
def test_it_is_what_all_pairs_give(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    one, two, positive = drawn
    first, second = auc(one, positive), auc(two, positive)
    expected = covariance([one, two], positive)
    assert first.value == pytest.approx(roc_auc_score(positive, one), abs=1e-12)
    assert first.variance == pytest.approx(expected[0, 0], abs=1e-13)
    assert first.influence @ second.influence == pytest.approx(expected[0, 1], abs=1e-13)
    found, spread = paired_test(first, second), expected[0, 0] + expected[1, 1] - 2 * expected[0, 1]
    assert found.value == pytest.approx(first.value - second.value, abs=1e-12)
    assert found.deviation**2 == pytest.approx(spread, abs=1e-12)
    if spread > 1e-9:
        z = (first.value - second.value) / np.sqrt(spread)
        assert found.p == pytest.approx(2 * stats.norm.cdf(-abs(z)), abs=1e-9)
        ends = found.value + np.array([-1, 1]) * 1.959963984540054 * np.sqrt(spread)
        assert (found.low, found.high) == pytest.approx(tuple(np.clip(ends, -1, 1)), abs=1e-9)


@settings(deadline=None)
@given(st.one_of(studies(), studies(FEW)))
def test_every_answer_is_defined_and_in_order(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    one, two, positive = drawn
    first, second = auc(one, positive), auc(two, positive)
    found = paired_test(first, second)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert 0 <= found.p <= 1
    assert found.value != 0 or found.p == 1


def test_hanley_and_mcneils_radiologist() -> None:
    """The table of 1982, table I, as Stata's manual analyses it: 0.8932, 0.0307."""
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    rating = np.concatenate([np.repeat(np.arange(5), counts) for counts in (normal, abnormal)])
    found = auc(rating, np.repeat([False, True], [58, 51]))
    assert round(found.value, 4) == 0.8932
    assert round(found.variance**0.5, 4) == 0.0307


@pytest.mark.parametrize(("positives", "negatives"), [(2, 2), (7, 30), (40, 11)])
def test_the_variance_of_two_scores_only(positives: int, negatives: int) -> None:
    """A yes/no score: AUC is (sensitivity + specificity) / 2, with the variances of two binomials (n - 1)."""
    hits, spared = positives // 2, negatives // 2
    score = np.array([1] * hits + [0] * (positives - hits) + [0] * spared + [1] * (negatives - spared))
    found = auc(score, np.arange(len(score)) < positives)
    one, two = hits / positives, spared / negatives
    value = (one + two) / 2
    variance = (one * (1 - one) / (positives - 1) + two * (1 - two) / (negatives - 1)) / 4
    assert found.value == pytest.approx(value)
    assert found.variance == pytest.approx(variance)


POSITIVE = np.arange(50) < 20
PERFECT, WORST, EQUAL = POSITIVE * 1.0, POSITIVE * -1.0, np.zeros(50)


@pytest.mark.parametrize(("score", "value"), [(PERFECT, 1.0), (WORST, 0.0), (EQUAL, 0.5)])
def test_where_nothing_varies_the_variance_is_nothing(score: np.ndarray, value: float) -> None:
    found = auc(score, POSITIVE)
    assert (found.value, found.variance) == (value, 0.0)


def test_one_ranking_twice_is_no_difference() -> None:
    score = np.random.default_rng(0).normal(size=50)
    found = paired_test(auc(score, POSITIVE), auc(np.exp(score), POSITIVE))
    assert (found.value, found.low, found.high, found.p, found.method) == (0, 0, 0, 1, "same ranking")


def test_a_difference_without_variance_is_not_certain() -> None:
    """Zou and Donner's interval, written out; more patients say more."""
    found = paired_test(auc(PERFECT, POSITIVE), auc(EQUAL, POSITIVE))
    low, _ = newcombe(1.0, 20, 30)
    low_2, high_2 = newcombe(0.5, 20, 30)
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - np.sqrt((1 - low) ** 2 + (high_2 - 0.5) ** 2))
    assert found.high == pytest.approx(0.5 + (0.5 - low_2))
    assert 0 < found.p < 0.001
    back = paired_test(auc(EQUAL, POSITIVE), auc(PERFECT, POSITIVE))
    assert (back.low, back.high, back.p) == pytest.approx((-found.high, -found.low, found.p))
    both = paired_test(auc(PERFECT, POSITIVE), auc(PERFECT + np.arange(50) / 1000, POSITIVE))
    assert (both.value, both.p) == (0, 1)
    assert both.low < 0 < both.high


def test_a_constant_shift_of_the_components_has_no_variance() -> None:
    """Rounding must not make a variance of 1e-33 and z of 1e15; a class of two beside one of many."""
    shifted = np.arange(5) < 2
    found = paired_test(auc([3.0, 3.0, 2.0, 3.0, 3.0], shifted), auc([0.0, 0.0, 0.0, 2.0, 3.0], shifted))
    assert np.ptp(components(np.array([3.0, 3, 2, 3, 3]), shifted)[1]) > 0
    assert (found.value, found.deviation) == (pytest.approx(0.5), 0)
    positive = np.arange(1002) < 2
    one = np.where(positive, 5.0, np.arange(1002) % 10)
    assert paired_test(auc(one, positive), auc(-one, positive)).deviation > 0
    two = np.where(positive, 7.0, np.arange(1002) % 10)
    expected = covariance([one, two], positive)
    spread = expected[0, 0] + expected[1, 1] - 2 * expected[0, 1]
    assert paired_test(auc(one, positive), auc(two, positive)).deviation == pytest.approx(np.sqrt(spread))
    three, four = np.where(positive, 1.0, 0.0), np.where(positive, 0.0, 0.0)
    assert paired_test(auc(three, positive), auc(four, positive)).deviation == 0


@pytest.mark.parametrize("classes", [2, 5])
def test_the_macro_mean_is_scikit_learns_with_the_jackknifes_variance(classes: int) -> None:
    """The infinitesimal jackknife and the ordinary one agree to about 1 / n."""
    rng = np.random.default_rng(2)
    label = np.arange(300) % classes
    table = np.exp(rng.normal(size=(300, classes)) + np.eye(classes)[label])
    table /= table.sum(axis=1, keepdims=True)
    found = macro_auc(table, label)
    expected = [roc_auc_score(label == n, table[:, n]) for n in range(classes)]
    assert found.value == pytest.approx(np.mean(expected))
    left = []
    for n in range(300):
        keep = np.arange(300) != n
        left.append(macro_auc(table[keep], label[keep]).value)
    assert found.variance == pytest.approx(299 / 300 * ((left - np.mean(left)) ** 2).sum(), rel=0.05)
    if classes == 2:
        assert found.variance == pytest.approx(auc(table[:, 1], label == 1).variance)


def test_views_become_patients() -> None:
    """The mean over a patient's images; lesions of one image count as one."""
    probability = np.array([0.875, 0.125, 0.375, 0.25, 0.25, 0.5, 0.375])
    patient = np.array(["b", "b", "b", "a", "c", "d", "d"])
    scores = Scores(
        np.stack([1 - probability, probability], axis=1),
        np.array([1, 1, 1, 0, 0, 1, 1]),
        patient,
        np.array([4, 4, 5, 6, 7, 8, 9]),
    )
    found = patient_auc(scores, ("no", "yes"), "yes")
    expected = auc([0.4375, 0.25, 0.25, 0.4375], [True, False, False, True])  # b, a, c, d: as they first appear
    assert found.value == expected.value
    assert found.ranks.tolist() == [[3.5, 1.5, 1.5, 3.5]]
    assert patient_auc(scores, ("no", "yes"), None).value == pytest.approx(expected.value)


def test_what_cannot_be_tested_is_refused() -> None:
    for score, positive in (
        ([1.0, 2.0, 3.0], [True, False, False]),
        ([1.0, np.nan, 3.0, 4.0], [True, True, False, False]),
        ([1.0, 2.0], [True]),
        ([], []),
    ):
        with pytest.raises(MolSubError) as caught:
            auc(score, positive)
        assert "\n" not in str(caught.value)
    with pytest.raises(MolSubError, match="different patients"):
        paired_test(auc(PERFECT, POSITIVE), auc(PERFECT, ~POSITIVE))


def test_equal_aucs_are_told_apart_in_5_percent() -> None:
    """Two correlated models with an AUC of 0.76 each, 40 of 120 patients positive, drawn 2000 times.

    The simulation's own standard error is 0.5 %.
    """
    rng = np.random.default_rng(7)
    positive = np.arange(120) < 40
    rejected = 0
    for _ in range(2000):
        shared, own, _ = rng.normal(size=(3, 120)) * np.sqrt([[0.5], [0.5], [1.0]])
        one, two = auc(positive + shared + own, positive), auc(positive + shared - own, positive)
        rejected += paired_test(one, two).p < 0.05
    assert 0.03 <= rejected / 2000 <= 0.07


def exchanged(first: np.ndarray, second: np.ndarray, labels: np.ndarray, patient: np.ndarray) -> float:
    """P-value by its definition: the ranks of both models exchanged in every one of the patients' 2^n ways.

    Every pair is looked at; scores have shape (curves, N), labels (curves, N).
    """
    ranks = np.array([[stats.rankdata(row) for row in table] for table in (first, second)])
    names, differences = np.unique(patient), []
    for signs in product((False, True), repeat=len(names)):
        swap = np.isin(patient, names[list(signs)])
        one, two = (np.where(swap, ranks[side], ranks[1 - side]) for side in (1, 0))
        gaps = []
        for label, a, b in zip(labels.astype(bool), one, two, strict=True):
            gaps.append(components(a, label)[0].mean() - components(b, label)[0].mean())
        differences.append(np.mean(gaps))
    return float(np.mean(np.abs(differences) >= abs(differences[0]) - 1e-9))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_few_patients_are_tested_by_every_exchange(seed: int, positives: int) -> None:
    rng = np.random.default_rng(seed)
    positive = np.arange(7) < positives
    one, two = rng.integers(0, 9, (2, 7)).astype(float)
    found = paired_test(auc(one, positive), auc(two, positive))
    assert found.p == pytest.approx(exchanged(one[None], two[None], positive[None], np.arange(7)))
    label = np.array([0, 0, 1, 1, 2, 2, 2])
    first, second = (rng.integers(1, 5, (7, 3)).astype(float) for _ in range(2))
    if not np.array_equal(macro_auc(first, label).ranks, macro_auc(second, label).ranks):
        labels = np.arange(3)[:, None] == label
        expected = exchanged(first.T, second.T, labels, np.arange(7))
        assert paired_test(macro_auc(first, label), macro_auc(second, label)).p == pytest.approx(expected)


def test_both_breasts_of_a_patient_are_exchanged_together() -> None:
    rng = np.random.default_rng(5)
    label = np.array([1, 0, 1, 0, 1, 0, 0, 1])
    patient = np.array(["a", "a", "b", "c", "d", "d", "e", "f"])
    side = np.array(["L", "R", "L", "L", "L", "R", "R", "L"])
    shares = rng.uniform(size=(2, 8))
    models = [Scores(np.stack([1 - s, s], axis=1), label, patient, np.arange(8), side) for s in shares]
    found = paired_test(*(patient_auc(model, ("no", "yes"), "yes") for model in models))
    assert found.p == pytest.approx(exchanged(shares[:1], shares[1:], label[None], patient))


def told_apart(positives: int, draws: int) -> dict[str, float]:
    """Two correlated models with an AUC of 0.5 each and probabilities of unlike scale; 20 patients of the other class.

    How often they are called different by `paired_test`, and by DeLong's own test; how often the interval holds 0.
    """
    rng = np.random.default_rng(positives)
    positive = np.arange(positives + 20) < positives
    rejected = held = wald = 0
    for _ in range(draws):
        shared, own, other = rng.normal(size=(3, len(positive)))
        one, two = auc(shared + own, positive), auc(np.exp(3 * (shared + other)), positive)
        found = paired_test(one, two)
        assert found.method in (("permutation, paired", "same ranking") if positives < FEW else ("DeLong, paired",))
        rejected += found.p < 0.05
        held += found.low <= 0 <= found.high
        wald += found.deviation > 0 and abs(found.value) / found.deviation > 1.96
    return {"rejected": rejected / draws, "held": held / draws, "delong": wald / draws}


@pytest.mark.parametrize("positives", [2, 3, 5, 9])
def test_equal_models_are_told_apart_in_5_percent_however_few_the_patients(positives: int) -> None:
    """At most 6.5 %; DeLong's own test has 9 to 22 % at two and three patients. The standard error is 1.3 % at 5 %."""
    found = told_apart(positives, 300)
    assert found["rejected"] <= 0.065
    assert found["held"] >= 0.935
    if positives < 4:
        assert found["delong"] > 0.075


def test_few_patients_can_show_a_large_difference() -> None:
    """Nine patients of a class, all of them above all others by one model and none by the other."""
    positive = np.arange(40) < 9
    score = np.arange(40, 0, -1.0)
    assert paired_test(auc(score, positive), auc(-score, positive)).p < 0.01
