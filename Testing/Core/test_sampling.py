"""Oversampling: how many draws, from which classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MolSubCore.statistics.scores import Scores
from MolSubCore.training.sampling import class_shares, epoch_order


@pytest.mark.parametrize(
    ("counts", "rate", "extra", "small"),
    [
        ([261, 501], 1.3, 229, {0}),  # Luminal: 0.3 x 762 = 228.6 draws from non-Luminal
        ([658, 104], 1.7, 533, {1}),
        ([605, 157], 1.5, 381, {1}),
        ([200, 301, 107, 50, 104], 1.5, 381, {2, 3, 4}),  # mean 152.4
    ],
)
def test_the_papers_cohort(counts: list[int], rate: float, extra: int, small: set[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    order = epoch_order(labels, rate, seed=1)
    times = np.bincount(order, minlength=len(labels))
    assert len(order) == len(labels) + extra
    assert times.min() == 1
    assert set(labels[times > 1]) == small


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(1, 3), st.integers(0, 2**40))
def test_every_patch_comes_at_least_once(labels: list[int], rate: float, seed: int) -> None:
    array = np.array(labels)
    order = epoch_order(array, rate, seed)
    assert set(order) == set(range(len(labels)))
    assert len(order) in (len(labels), len(labels) + round((rate - 1) * len(labels)))
    assert np.array_equal(order, epoch_order(array, rate, seed))


def test_equal_classes_are_left_alone() -> None:
    assert sorted(epoch_order(np.array([0, 0, 1, 1]), 1.7, 3)) == [0, 1, 2, 3]


def test_epochs_differ() -> None:
    labels = np.repeat([0, 1], [30, 10])
    assert not np.array_equal(epoch_order(labels, 1.5, 1), epoch_order(labels, 1.5, 2))


@pytest.mark.parametrize(("counts", "rate"), [([658, 104], 1.7), ([200, 301, 107, 50, 104], 1.5), ([30, 30], 1.5)])
def test_the_shares_seen_are_those_of_many_epochs(counts: list[int], rate: float) -> None:
    """And the patients' own shares count each once, whatever the number of their views."""
    labels = np.repeat(np.arange(len(counts)), counts)
    views = np.arange(len(labels)) % 3 + 1
    rows = np.repeat(np.arange(len(labels)), views)
    names, zeros = np.array([f"P{n}" for n in rows]), np.zeros((len(rows), len(counts)))
    found = class_shares(Scores(zeros, labels[rows], names, np.arange(len(rows))), len(counts), rate)
    assert found.own == pytest.approx((np.array(counts) / sum(counts)).tolist())
    epochs = [np.bincount(labels[rows][epoch_order(labels[rows], rate, seed)]) for seed in range(60)]
    assert found.seen == pytest.approx((np.sum(epochs, axis=0) / np.sum(epochs)).tolist(), abs=0.004)
