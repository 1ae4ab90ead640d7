"""Thresholds against a search over all of them; decision curves against a loop over patients."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import BINARY, binary_predictions, binary_scores
from scipy import special, stats
from sklearn.metrics import roc_curve

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.decision_curve import THRESHOLDS, decision_curve
from MolSubCore.statistics.scores import Scores
from MolSubCore.statistics.thresholds import Rule, Threshold, choose_threshold


@st.composite
def patients(draw: st.DrawFn) -> tuple[list[float], list[int]]:
    """Scores with ties, at least one patient of each class."""
    label = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=14))]
    score = st.lists(st.integers(1, 19), min_size=len(label), max_size=len(label))
    return [n / 20 for n in draw(score)], label


def shares(score: list[float], label: list[int], threshold: float) -> tuple[float, float]:
    """Sensitivity and specificity, counted one by one."""
    hits = sum(s >= threshold and y == 1 for s, y in zip(score, label, strict=True))
    spared = sum(s < threshold and y == 0 for s, y in zip(score, label, strict=True))
    return hits / sum(label), spared / (len(label) - sum(label))


@settings(deadline=None)
@given(patients(), st.sampled_from(["youden", "sensitivity", "specificity"]), st.integers(0, 20))
def test_no_other_threshold_is_better(drawn: tuple[list[float], list[int]], rule: Rule, twentieths: int) -> None:
    score, label = drawn
    found = choose_threshold(binary_scores(score, label), BINARY, "TN", rule, at_least=twentieths / 20)
    sensitivity, specificity = shares(score, label, found.value)
    assert (found.sensitivity, found.specificity) == (sensitivity, specificity)
    others = [shares(score, label, (n + 0.5) / 20) for n in range(20)]
    if rule == "youden":
        assert sensitivity + specificity == pytest.approx(max(map(sum, others)))
        rates = roc_curve(label, score)
        assert sensitivity + specificity - 1 == pytest.approx((rates[1] - rates[0]).max())
        ties = [one for one, other in others if one + other > sensitivity + specificity - 1e-9]
        assert sensitivity == max(ties)
    elif rule == "sensitivity":
        assert sensitivity >= twentieths / 20
        assert specificity == max(other for one, other in others if one >= twentieths / 20)
    else:
        assert specificity >= twentieths / 20
        assert sensitivity == max(one for one, other in others if other >= twentieths / 20)


def test_equal_youden_indices_are_equal_in_spite_of_rounding() -> None:
    """2/3 + 3/6 is 1/3 + 5/6, but not in floating point; the lower threshold misses fewer."""
    label = [1, 0, 0, 0, 1, 0, 0, 1, 0]
    score = [(n + 1) / 10 for n in range(9)]
    found = choose_threshold(binary_scores(score, label), BINARY, "TN")
    assert (found.sensitivity, found.specificity) == (2 / 3, 3 / 6)
    assert found.value == pytest.approx(0.45)


def example(prefix: str, seed: int, count: int = 60) -> Scores:
    rng = np.random.default_rng(seed)
    label = (np.arange(count) % 3 == 0).astype(int)
    score = 1 / (1 + np.exp(-rng.normal(label * 1.5)))
    return binary_predictions(score.tolist(), label.tolist(), [f"{prefix}{n}" for n in range(count)]).scores()


def test_it_meets_none_of_its_patients() -> None:
    threshold, test = choose_threshold(example("A", 1), BINARY, "TN"), example("T", 3)
    assert set(threshold.apply(test)) == {"accuracy", "sensitivity", "specificity", "ppv", "npv"}
    with pytest.raises(MolSubError, match="fitted on 60 of these"):
        choose_threshold(test, BINARY, "TN").apply(test)
    with pytest.raises(MolSubError, match="fitted on 1 of these"):
        threshold.apply(Scores.pooled([test, example("A", 2).select(np.array([0]))]))


@given(patients())
def test_the_cross_tabulation_counts_every_patient_once(drawn: tuple[list[float], list[int]]) -> None:
    score, label = drawn
    threshold = Threshold(0.4, "TN", 1, "", 0.0, 0.0, frozenset())
    (hits, alarms), (missed, spared) = threshold.counts(binary_scores(score, label)).tolist()
    pairs = [(s >= 0.4, y == 1) for s, y in zip(score, label, strict=True)]
    found = [pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    assert [hits, alarms, missed, spared] == found


def test_applied_it_counts_patients_with_scipys_wilson() -> None:
    threshold = choose_threshold(example("A", 1), BINARY, "TN", "sensitivity", 0.8)
    test = example("T", 5, 80)
    score, label = test.probabilities[:, 1], test.label
    called = score >= threshold.value
    counts = {
        "accuracy": (called == label).tolist(),
        "sensitivity": called[label == 1].tolist(),
        "specificity": (~called[label == 0]).tolist(),
        "ppv": (label[called] == 1).tolist(),
        "npv": (label[~called] == 0).tolist(),
    }
    found = threshold.apply(test)
    assert list(found) == list(counts)
    for name, right in counts.items():
        interval = stats.binomtest(sum(right), len(right)).proportion_ci(method="wilson")
        expected = (sum(right) / len(right), interval.low, interval.high)
        assert (found[name].value, found[name].low, found[name].high) == pytest.approx(expected), name
    twice = Scores(
        np.repeat(test.probabilities, 2, axis=0), np.repeat(label, 2), np.repeat(test.patient, 2), np.arange(160)
    )
    assert threshold.apply(twice) == found


def test_a_share_without_patients_is_undefined() -> None:
    threshold = choose_threshold(example("A", 1), BINARY, "TN")
    found = threshold.apply(binary_scores([0.01, 0.02], [0, 0]))
    assert (found["sensitivity"].value, found["ppv"].value, found["specificity"].value) == (None, None, 1.0)


def test_what_cannot_be_chosen_on() -> None:
    one_class = binary_scores([0.2, 0.3], [0, 0])
    for arguments, words in (
        ((one_class, "TN"), "one class only"),
        ((one_class, "HER2"), "unknown class"),
        ((example("A", 1), "TN", "sensitivity", 1.2), "is 1.2"),
    ):
        with pytest.raises(MolSubError, match=words):
            choose_threshold(arguments[0], BINARY, *arguments[1:])  # type: ignore[arg-type]


def test_neighbouring_numbers_keep_apart() -> None:
    """No number lies between them: the threshold is then the upper one."""
    low = 0.3
    high = float(np.nextafter(low, 1))
    part = binary_predictions([low, high], [0, 1], ["a", "b"]).scores()
    scores = part.probabilities[:, 1]
    found = choose_threshold(part, BINARY, "TN")
    if scores[0] < scores[1]:
        assert (found.sensitivity, found.specificity) == (1, 1)
    assert shares(scores.tolist(), [0, 1], found.value) == (found.sensitivity, found.specificity)


@settings(deadline=None)
@given(patients())
def test_net_benefit_is_a_loop_over_patients(drawn: tuple[list[float], list[int]]) -> None:
    score, label = drawn
    found = decision_curve(binary_scores(score, label), BINARY, "TN", [n / 20 for n in range(20)])
    count = len(label)
    for n, threshold in enumerate(found.thresholds):
        harm = threshold / (1 - threshold)
        worth = all_worth = 0.0
        for s, y in zip(score, label, strict=True):
            worth += (1 if y else -harm) if s >= threshold else 0
            all_worth += 1 if y else -harm
        assert found.model[n] == pytest.approx(worth / count, abs=1e-12)
        assert found.treat_all[n] == pytest.approx(all_worth / count, abs=1e-12)
        (low, high), (less, more) = found.model_ends[n], found.gain_ends[n]
        assert low <= found.model[n] + 1e-12 <= high + 2e-12
        assert less <= found.model[n] - found.treat_all[n] + 1e-12 <= more + 2e-12
    assert set(found.treat_none) == {0.0}
    assert found.model[0] == found.treat_all[0] == pytest.approx(found.prevalence)
    json.dumps(found.to_dict(), allow_nan=False)


def test_net_benefits_hold_their_level() -> None:
    """20, 60 and 200 patients of whom a fifth is positive: two normal scores 1.5 apart, in log-odds.

    At threshold 0 a net benefit is a share of patients, with Wilson's interval.
    """
    rng, levels = np.random.default_rng(4), np.array([0.1, 0.2, 0.4])
    harm, cut = levels / (1 - levels), special.logit(levels)
    middle = special.logit(0.2)  # log-odds of a patient: normal, of mean middle +- 0.75 * 1.5 and deviation 1.5
    hits, alarms = stats.norm.sf((cut - middle - 1.125) / 1.5), stats.norm.sf((cut - middle + 1.125) / 1.5)
    benefit, gain = 0.2 * hits - 0.8 * alarms * harm, -0.2 * (1 - hits) + 0.8 * (1 - alarms) * harm
    for patients in (20, 60, 200):
        held = np.zeros((2, 3))
        for _ in range(400):
            label = (rng.random(patients) < 0.2).astype(int)
            score = special.expit(middle + np.where(label, 1.125, -1.125) + rng.normal(0, 1.5, patients))
            found = decision_curve(binary_scores(score.tolist(), label.tolist()), BINARY, "TN", levels.tolist())
            for part, ends, right in zip(held, (found.model_ends, found.gain_ends), (benefit, gain), strict=True):
                part += [low <= value <= high for (low, high), value in zip(ends, right, strict=True)]
        assert ((held / 400 >= 0.92) & (held / 400 <= 0.99)).all(), (patients, held / 400)
    whole = decision_curve(binary_scores([0.5] * 50, [1] * 10 + [0] * 40), BINARY, "TN", [0.0]).model_ends[0]
    expected = stats.binomtest(10, 50).proportion_ci(method="wilson")
    assert whole == pytest.approx((expected.low, expected.high))


def test_closed_forms_of_a_decision_curve() -> None:
    """A perfect model is worth the prevalence everywhere; treating all is worth nothing at the prevalence."""
    label = [1] * 30 + [0] * 70
    found = decision_curve(binary_scores([0.999] * 30 + [0.001] * 70, label), BINARY, "TN")
    assert found.thresholds == THRESHOLDS
    assert found.model == pytest.approx([0.3] * 99)
    assert found.treat_all[29] == pytest.approx(0, abs=1e-12)
    assert decision_curve(binary_scores([0.3] * 100, label), BINARY, "TN").model[29] == pytest.approx(0, abs=1e-12)
    for thresholds in ([1.0], [-0.1], [float("nan")]):
        with pytest.raises(MolSubError, match="below 1"):
            decision_curve(binary_scores([0.3], [0]), BINARY, "TN", thresholds)
    with pytest.raises(MolSubError, match="no patients"):
        decision_curve(binary_scores([], []), BINARY, "TN")
