"""Oversampling: how many draws, from which classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MolSubCore.training.data import epoch_order


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
