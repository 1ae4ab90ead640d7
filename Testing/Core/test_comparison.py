"""McNemar against a sum of binomials, corrections by hand, models compared per patient."""

from __future__ import annotations

import json
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import BINARY, binary_scores
from scipy import stats

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.comparison import adjust, compare_models, mcnemar
from MolSubCore.statistics.delong import auc, paired_test
from MolSubCore.statistics.scores import Scores


def hits(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, first, second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 40), st.integers(1, 30))
def test_mcnemar_is_a_sum_of_binomials(both: int, first: int, second: int, neither: int) -> None:
    found = mcnemar(*hits(both, first, second, neither))
    count, fewer = first + second, min(first, second)
    tail = sum(comb(count, k) for k in range(fewer + 1)) / 2**count
    here = comb(count, fewer) / 2**count
    assert found.p_exact == pytest.approx(min(2 * tail, 1))
    # Half of the probability of the outcome itself counts, on both sides; at a tie the two sides share it.
    assert found.p_mid == pytest.approx(2 * (tail - here / 2))
    assert 0 <= found.p_mid <= found.p_exact <= 1
    assert (found.only_first, found.only_second) == (first, second)
    total = both + first + second + neither
    assert found.value == pytest.approx((both + first) / total - (both + second) / total)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_without_discordance_nothing_is_shown() -> None:
    found = mcnemar(*hits(30, 0, 0, 10))
    assert (found.p_exact, found.p_mid, found.value) == (1, 1, 0)
    assert found.low == pytest.approx(-found.high)


def test_a_published_example() -> None:
    """Fagerland, Lydersen and Laake 2013, table 1: airway hyper-responsiveness, 1, 1, 7 and 12 children.

    Exact p 0.070, mid-p 0.039.
    """
    found = mcnemar(*hits(1, 1, 7, 12))
    assert (round(found.p_exact, 3), round(found.p_mid, 3)) == (0.07, 0.039)


def test_the_interval_of_a_difference_covers() -> None:
    """95 % of draws from a known table, within the simulation's 2 %."""
    rng = np.random.default_rng(3)
    shares = np.array([0.55, 0.2, 0.1, 0.15])
    held = 0
    for counts in rng.multinomial(78, shares, size=1000):
        found = mcnemar(*hits(*counts.tolist()))
        held += found.low <= 0.1 <= found.high
    assert 0.93 <= held / 1000 <= 0.97


def holm(p: list[float]) -> list[float]:
    """Step down: the smallest times n, the next times n - 1, never below the one before."""
    result, before = [0.0] * len(p), 0.0
    for rank, n in enumerate(sorted(range(len(p)), key=lambda n: p[n])):
        before = max(before, min(1.0, (len(p) - rank) * p[n]))
        result[n] = before
    return result


@settings(deadline=None, max_examples=20)  # statsmodels collects garbage in every call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrections(p: list[float]) -> None:
    assert adjust([None, *p, None]) == [None, *(pytest.approx(value) for value in holm(p)), None]
    assert adjust(p, "bonferroni") == pytest.approx([min(1.0, len(p) * value) for value in p])
    assert adjust([None]) == [None]


def three_models() -> dict[str, Scores]:
    rng = np.random.default_rng(4)
    label = (np.arange(60) < 25).astype(int)
    return {
        name: binary_scores(1 / (1 + np.exp(-rng.normal((label - 0.5) * shift))), label.tolist())
        for name, shift in (("cbam", 3.0), ("plain", 1.5), ("noise", 0.0))
    }


def test_models_are_compared_in_pairs() -> None:
    models = three_models()
    found = compare_models(models, BINARY, "TN")
    assert [(part.first, part.second) for part in found] == list(combinations(models, 2))
    for part in found:
        one, two = models[part.first], models[part.second]
        positive = one.label == 1
        assert part.auc == paired_test(auc(one.probabilities[:, 1], positive), auc(two.probabilities[:, 1], positive))
        right, right_2 = (model.probabilities.argmax(axis=1) == model.label for model in (one, two))
        discordant = int((right & ~right_2).sum()), int((~right & right_2).sum())
        assert (part.accuracy.only_first, part.accuracy.only_second) == discordant
        expected = stats.binomtest(discordant[0], sum(discordant)).pvalue if sum(discordant) else 1.0
        assert part.accuracy.p_exact == pytest.approx(expected)
        assert part.patients == 60
    assert [part.p_auc_adjusted for part in found] == pytest.approx(holm([part.auc.p for part in found if part.auc]))
    assert [part.p_accuracy_adjusted for part in found] == pytest.approx(holm([p.accuracy.p_exact for p in found]))
    json.dumps([part.to_dict() for part in found], allow_nan=False)


def test_against_a_reference() -> None:
    models = three_models()
    found = compare_models(models, BINARY, "TN", reference="plain", correction="bonferroni")
    assert [(part.first, part.second) for part in found] == [("plain", "cbam"), ("plain", "noise")]
    for part in found:
        assert part.auc is not None
        assert part.p_auc_adjusted == pytest.approx(min(1, 2 * part.auc.p))
    with pytest.raises(MolSubError, match="unknown model 'other'"):
        compare_models(models, BINARY, "TN", reference="other")


def test_views_do_not_make_a_difference_surer() -> None:
    """Every image twice: the same patients, the same p."""
    models = three_models()
    twice = {
        name: Scores(
            np.repeat(part.probabilities, 2, axis=0),
            np.repeat(part.label, 2),
            np.repeat(part.patient, 2),
            np.arange(120),
        )
        for name, part in models.items()
    }
    assert compare_models(twice, BINARY, "TN") == compare_models(models, BINARY, "TN")


def test_an_undefined_auc_leaves_the_accuracy() -> None:
    scores = binary_scores([0.2, 0.8, 0.3], [0, 1, 0])
    (found,) = compare_models({"a": scores, "b": binary_scores([0.6, 0.4, 0.3], [0, 1, 0])}, BINARY, "TN")
    assert (found.auc, found.p_auc_adjusted) == (None, None)
    assert "1 patient" in found.why
    assert found.accuracy.only_first == 2
    assert compare_models({"a": scores}, BINARY, "TN") == ()


@pytest.mark.parametrize("change", ["patients", "labels"])
def test_other_patients_are_refused(change: str) -> None:
    one = binary_scores([0.2, 0.8, 0.3, 0.7], [0, 1, 0, 1])
    two = binary_scores(
        [0.2, 0.8, 0.3, 0.7],
        [0, 1, 0, 1] if change == "patients" else [1, 1, 0, 0],
        first=1 if change == "patients" else 0,
    )
    with pytest.raises(MolSubError, match="different patients or labels"):
        compare_models({"a": one, "b": two}, BINARY, "TN")
