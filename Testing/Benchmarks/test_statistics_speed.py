"""DeLong by ranks beside all pairs, and the statistics of a study's test set."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from MolSubCore.statistics.delong import auc, paired_test

LIMIT = 0.5


def two_models(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    positive = rng.random(count) < 0.3
    return rng.normal(positive), rng.normal(positive), positive


def all_pairs(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Structural components from every pair: time and memory grow with the square."""
    first, second = score[positive], score[~positive]
    wins = (first[:, None] > second) + 0.5 * (first[:, None] == second)
    return wins.mean(axis=1), wins.mean(axis=0)


@pytest.mark.benchmark(group="DeLong's paired test, 10,000 patients")
@pytest.mark.parametrize("way", ["ranks (ours)", "all pairs (plain)"])
def test_delong(benchmark: BenchmarkFixture, way: str) -> None:
    one, two, positive = two_models(10_000)

    def ranks() -> float:
        return paired_test(auc(one, positive), auc(two, positive)).deviation

    def pairs() -> float:
        (first, second), (other, another) = all_pairs(one, positive), all_pairs(two, positive)
        variance = np.var(first - other, ddof=1) / len(first) + np.var(second - another, ddof=1) / len(second)
        return float(variance**0.5)

    assert ranks() == pytest.approx(pairs(), rel=1e-9)
    benchmark.pedantic(ranks if way.startswith("ranks") else pairs, rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="DeLong's paired test, 100,000 patients")
def test_delong_of_many(benchmark: BenchmarkFixture) -> None:
    one, two, positive = two_models(100_000)
    benchmark.pedantic(lambda: paired_test(auc(one, positive), auc(two, positive)), rounds=5, warmup_rounds=1)
    benchmark.extra_info["limit_s"] = LIMIT
    assert benchmark.stats.stats.median < LIMIT
