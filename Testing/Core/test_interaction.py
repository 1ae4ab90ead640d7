"""Tests of AUCs over subgroups: their level where the AUCs are equal, their power, and against DeLong's variances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.subgroups import interaction_tests
from MolSubCore.statistics.delong import macro_auc, paired_test, patient_auc
from MolSubCore.statistics.interaction import equal_aucs
from MolSubCore.statistics.scores import Scores

CLASSES = ("no", "yes")


def drawn(rng: np.random.Generator, sizes: list[tuple[int, int]], aucs: list[float], shift: float = 0.0) -> Scores:
    """Binormal scores of groups of positive and other patients; each group's lie `shift` higher than the one before."""
    label = np.concatenate([np.repeat([1, 0], size) for size in sizes])
    group = np.repeat(np.arange(len(sizes)), [sum(size) for size in sizes])
    ahead = np.sqrt(2) * stats.norm.ppf(np.array(aucs))[group] * label
    chance = special.expit(rng.normal(size=len(label)) + ahead + shift * group)
    names = np.arange(len(label)).astype(str)
    return Scores(np.stack([1 - chance, chance], axis=1), label, names, np.arange(len(label)))


#: Patients of each level, positive and others; their AUCs; by how much each level's scores lie above the last one's.
SETTINGS: list[tuple[list[tuple[int, int]], list[float], float]] = [
    ([(5, 5), (5, 15), (10, 10)], [0.75] * 3, 0.0),
    ([(10, 30), (20, 20)], [0.9] * 2, 0.0),
    ([(10, 10), (20, 20), (10, 30)], [0.75] * 3, 1.0),  # scores differ, AUCs do not
    ([(10, 30), (20, 20)], [0.95, 0.6], 0.0),
]


def called_unequal(sizes: list[tuple[int, int]], aucs: list[float], shift: float, cohorts: int) -> float:
    """Share of cohorts with p at or below 0.05."""
    rng, found = np.random.default_rng(11), 0
    group = np.repeat(np.arange(len(sizes)), [sum(size) for size in sizes]).astype(str).tolist()
    for seed in range(cohorts):
        test = equal_aucs(drawn(rng, sizes, aucs, shift), group, CLASSES, "yes", permutations=99, seed=seed)
        found += test.p <= 0.05
    return found / cohorts


@pytest.mark.parametrize(("sizes", "aucs", "shift"), SETTINGS)
def test_the_level_is_held_by_10_to_40_patients_a_level(
    sizes: list[tuple[int, int]], aucs: list[float], shift: float
) -> None:
    found = called_unequal(sizes, aucs, shift, 800)
    assert found <= 0.065 if len(set(aucs)) == 1 else found >= 0.8


def test_the_statistic_has_the_aucs_and_variances_of_delong() -> None:
    """Two classes and a macro mean of three."""
    rng, group = np.random.default_rng(3), np.repeat(["A", "B", "C"], 60)
    three = Scores(rng.dirichlet([1, 1, 1], 180), rng.integers(0, 3, 180), np.arange(180).astype(str), np.arange(180))
    two = drawn(rng, [(20, 40), (30, 30), (25, 35)], [0.7, 0.8, 0.75])
    for scores, classes, positive in ((two, CLASSES, "yes"), (three, ("a", "b", "c"), None)):
        test = equal_aucs(scores, group.tolist(), classes, positive, permutations=9)
        parts = [scores.select(group == name) for name in "ABC"]
        areas = [patient_auc(part, classes, positive) for part in parts]
        weights = np.array([1 / area.variance for area in areas])
        values = np.array([area.value for area in areas])
        assert list(test.aucs.values()) == pytest.approx(values)
        assert test.q == pytest.approx((weights * (values - np.average(values, weights=weights)) ** 2).sum())
    assert macro_auc(three.probabilities, three.label).value == pytest.approx(0.5, abs=0.1)
    with pytest.raises(MolSubError, match="two groups or more"):
        equal_aucs(two, ["A"] * 180, CLASSES, "yes")


def test_both_breasts_stay_together_and_views_are_paired() -> None:
    """Twenty patients of each class with CC and MLO of both breasts, one of whom lacks the MLO of one."""
    rng, names = np.random.default_rng(8), np.repeat([f"P{n}" for n in range(40)], 4)
    label = np.repeat(np.arange(40) % 2, 4)
    view, breast = np.tile(["CC", "MLO"], 80), np.tile(np.repeat(["L", "R"], 2), 40)
    chance = special.expit(rng.normal(size=160) + label)
    whole = Scores(np.stack([1 - chance, chance], axis=1), label, names, np.arange(160), breast)
    rows = whole.select(np.arange(1, 160))
    levels = {"vendor": {f"P{n}": "AB"[n % 4 // 2] if n < 36 else "unknown" for n in range(40)}}
    by_view, by_vendor = interaction_tests(rows, view[1:], levels, CLASSES, "yes")
    assert (by_view["patients"], by_vendor["patients"], by_vendor["levels"]) == (40, 36, ["A", "B"])
    kept = rows.select(np.arange(1, 159))  # without the MLO whose CC is not there
    first, second = (patient_auc(kept.select(view[2:] == name), CLASSES, "yes") for name in ("CC", "MLO"))
    assert by_view["p"] == pytest.approx(paired_test(first, second).p)
    few = interaction_tests(rows.select(np.arange(28)), view[1:29], levels, CLASSES, "yes")
    assert [test["why"] for test in few] == [
        "patients with both views: 7 of no, 6 of yes, of 10 needed",
        "no level has 10 patients of each class",
    ]
