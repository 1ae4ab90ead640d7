"""Precision of a validation: published sizes, and the spread of simulated cohorts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special, stats

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.calibration import fit_calibration
from MolSubCore.statistics.delong import auc
from MolSubCore.statistics.precision import (
    TARGETS,
    area_error,
    area_patients,
    expected_precision,
    ratio_patients,
    slope_variance,
)
from MolSubCore.statistics.scores import Scores

SPOTS = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)


def test_sizes_of_riley_2021() -> None:
    """Mechanical heart valves: 1.8 % positive, C 0.8; 905 patients for a width of 1 of O/E, 4252 for 0.1 of C."""
    assert ratio_patients(0.018, 1.0) == pytest.approx(905, abs=1)
    assert area_patients(0.8, 0.018, 0.1) == pytest.approx(4252, abs=1)
    width = [2 * 1.959964 * area_error(0.8, 0.018, count) for count in (4251, 4252)]
    assert width[0] > 0.1 >= width[1]


def marginal(share: float, area: float) -> np.ndarray:
    """Log-odds with a normal distribution that has this share of positives and this AUC, where they are right."""

    def gap(values: np.ndarray) -> tuple[float, float]:
        chance = special.expit(values[0] + values[1] * SPOTS)
        ahead = np.cumsum(1 - chance) - (1 - chance) / 2
        return chance.mean() - share, (chance * ahead).sum() / chance.sum() / (1 - chance).sum() - area

    mean, spread = optimize.fsolve(gap, (special.logit(share), 1.0))
    return np.asarray(mean + spread * SPOTS)


def test_sizes_of_pavlou_2021() -> None:
    """sampsizeval of R, whose log-odds are fitted a little otherwise: slope 934 (standard error 0.15), C 1599."""
    assert slope_variance(marginal(0.057, 0.77)) / 0.15**2 == pytest.approx(934, rel=0.02)
    assert slope_variance(marginal(0.1, 0.75)) / 0.1**2 == pytest.approx(1536, rel=0.02)
    assert area_patients(0.77, 0.057, 2 * 1.959964 * 0.025) == pytest.approx(1599, rel=0.03)


def test_what_is_expected_is_what_samples_have() -> None:
    """Standard errors against the deviation over 600 cohorts of 400 patients, each with its own share of positives."""
    rng, count, cohorts, threshold = np.random.default_rng(5), 400, 600, 0.3
    logits = rng.normal(-0.9, 1.3, (cohorts, count))
    chance = special.expit(logits)
    happened = rng.random(chance.shape) < chance
    told = {one.measure: one for one in expected_precision(chance.ravel(), happened.ravel(), threshold)}
    names = np.arange(count).astype(str)

    def slope(row: int) -> float:
        pair = np.stack([1 - chance[row], chance[row]], axis=1)
        scores = Scores(pair, happened[row].astype(np.int64), names, np.arange(count))
        return fit_calibration(scores, ("no", "yes")).slope

    called, share = chance >= threshold, happened.mean(axis=1)
    hits, alarms = ((called & side).sum(axis=1) for side in (happened, ~happened))
    found = {
        "expected_observed": np.log(share),  # the expected number is fixed: the spread is that of the observed one
        "slope": np.array([slope(row) for row in range(cohorts)]),
        "auc": np.array([auc(*pair).value for pair in zip(chance, happened, strict=True)]),
        "net_benefit": (hits - alarms * threshold / (1 - threshold)) / count / share,
    }
    for measure, values in found.items():
        one = told[measure]
        assert one.anticipated is not None
        assert one.error is not None
        assert values.std(ddof=1) == pytest.approx(one.error * np.sqrt(cohorts), rel=0.12), measure
        assert one.needed is not None
        if measure in ("slope", "net_benefit"):  # the rest is not quite proportional to the root
            width = 2 * 1.959964 * one.error * np.sqrt(cohorts * count / one.needed)
            assert width == pytest.approx(TARGETS[one.measure], rel=0.01)


def test_what_cannot_be_told_says_why() -> None:
    ranked = expected_precision([0.1, 0.2, 0.8, 0.9], [False, False, True, True], 0.5)
    assert [bool(one.why) for one in ranked] == [False, False, True, True]
    assert all("fewer than 2 of a class" in one.why for one in expected_precision([0.1, 0.2], [True, False], 0.5))
    same = expected_precision([0.3] * 6, [True, False] * 3, 1.0)
    assert [one.why for one in same if one.measure in ("slope", "net_benefit")] == [
        "all patients have the same probability",
        "the threshold calls everybody or nobody positive",
    ]
    with pytest.raises(MolSubError, match="Give each patient one probability"):
        expected_precision([0.1, 1.2], [True, False])
