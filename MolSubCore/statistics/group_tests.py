"""Tests of several groups of patients, chosen by stated rules (the paper, section 2.5).

Continuous variables: one-way ANOVA where every group passes as normal and the variances as equal, Welch's ANOVA
where only the variances differ, else Kruskal-Wallis. Normal is a group of 3 to 300 patients with a Shapiro-Wilk
p of 0.05 or more, or a larger one with |skewness| <= 2 and |excess kurtosis| <= 4 (Kim 2013), because
Shapiro-Wilk rejects irrelevant deviations in large groups. Variances are equal with a Levene p (around
the median) of 0.05 or more.

Categorical variables: Pearson's chi-square where every expected count is 5 or more, else likelihood ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.stats.contingency import expected_freq
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.oneway import anova_oneway

from MolSubCore.errors import MolSubError, counted

Floats = NDArray[np.float64]

#: Level of the tests that choose the test.
ALPHA = 0.05
_SHAPIRO_MOST = 300
_SKEWNESS, _KURTOSIS = 2.0, 4.0
_EXPECTED = 5.0


@dataclass(frozen=True)
class Pair:
    """Two groups; `p_adjusted` by Bonferroni for all pairs."""

    first: str
    second: str
    p: float
    p_adjusted: float


@dataclass(frozen=True)
class GroupTest:
    """A test of a variable over groups.

    Attributes
    ----------
    test : str
        ``one-way ANOVA``, ``Welch's ANOVA``, ``Kruskal-Wallis``, ``Pearson chi-square``,
        ``likelihood-ratio chi-square`` or ``none``.
    rule : str
        Why this test, or why none.
    symbol : str
        ``F``, ``H`` or ``χ2``.
    statistic, p, effect : float or None
        None without a test.
    df : tuple of float
    effect_name : str
        ``partial η2`` (between over total sum of squares; for ranks (H - k + 1) / (n - k), not below 0),
        or ``Cramer's V`` (from the statistic that is reported).
    pairs_by : str
        The test of the pairs.
    pairs : tuple of Pair
        Groups without patients are in none.
    """

    test: str
    rule: str
    symbol: str = ""
    statistic: float | None = None
    df: tuple[float, ...] = ()
    p: float | None = None
    effect_name: str = ""
    effect: float | None = None
    pairs_by: str = ""
    pairs: tuple[Pair, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return asdict(self)


def compare_continuous(groups: Mapping[str, ArrayLike]) -> GroupTest:
    """Test whether a continuous variable differs between groups.

    Parameters
    ----------
    groups : mapping of str to array_like
        Known values of each group; empty groups are left out.

    Raises
    ------
    MolSubError
        If a value is not a finite number.
    """
    known = {name: np.asarray(values, np.float64) for name, values in groups.items()}
    for name, values in known.items():
        if not np.isfinite(values).all():
            raise MolSubError(name, "has a value that is not a finite number", "Leave out missing values")
    known = {name: values for name, values in known.items() if len(values)}
    if len(known) < 2:
        return GroupTest("none", "fewer than two groups have values")
    if np.ptp(np.concatenate(list(known.values()))) == 0:
        return GroupTest("none", "all values are equal")
    reason = not_normal(known)
    if reason:
        return _kruskal(known, reason)
    p = float(stats.levene(*known.values(), center="median").pvalue)
    if p < ALPHA:
        return _welch(known, f"normal in every group, variances differ (Levene p = {p:.3g})")
    return _anova(known, f"normal in every group, variances equal (Levene p = {p:.3g})")


def not_normal(groups: Mapping[str, Floats]) -> str:
    """Why the groups do not count as normal by the rule of this module; empty where they do."""
    for name, values in groups.items():
        if len(values) < 3:
            return f"'{name}' has {counted(len(values), 'value')}, too few to test for normality"
        if np.ptp(values) == 0:
            return f"'{name}' has one value only"
        if len(values) <= _SHAPIRO_MOST:
            p = float(stats.shapiro(values).pvalue)
            if p < ALPHA:
                return f"'{name}' is not normal (Shapiro-Wilk p = {p:.3g})"
            continue
        skewness, kurtosis = float(stats.skew(values)), float(stats.kurtosis(values))
        if abs(skewness) > _SKEWNESS or abs(kurtosis) > _KURTOSIS:
            return f"'{name}' is not normal (skewness {skewness:.2f}, excess kurtosis {kurtosis:.2f})"
    return ""


def _anova(groups: dict[str, Floats], rule: str) -> GroupTest:
    statistic = _not_below_0(stats.f_oneway(*groups.values()).statistic)
    count = sum(map(len, groups.values()))
    within = sum(float(((values - values.mean()) ** 2).sum()) for values in groups.values()) / (count - len(groups))

    def pair(first: Floats, second: Floats) -> float:
        deviation = np.sqrt(within * (1 / len(first) + 1 / len(second)))
        return float(2 * stats.t.sf(abs(first.mean() - second.mean()) / deviation, count - len(groups)))

    df = float(len(groups) - 1), float(count - len(groups))
    pairs = "t tests with the variance pooled over all groups, Bonferroni"
    return GroupTest(
        "one-way ANOVA", rule, "F", statistic, df, float(stats.f.sf(statistic, *df)), "partial η2",
        _eta_squared(groups), pairs, _pairs(groups, pair),
    )  # fmt: skip


def _welch(groups: dict[str, Floats], rule: str) -> GroupTest:
    found = anova_oneway(list(groups.values()), use_var="unequal", welch_correction=True)

    def pair(first: Floats, second: Floats) -> float:
        return float(stats.ttest_ind(first, second, equal_var=False).pvalue)

    df, statistic = (float(found.df_num), float(found.df_denom)), _not_below_0(found.statistic)
    return GroupTest(
        "Welch's ANOVA", rule, "F", statistic, df, float(stats.f.sf(statistic, *df)), "partial η2",
        _eta_squared(groups), "Welch's t tests, Bonferroni", _pairs(groups, pair),
    )  # fmt: skip


def _kruskal(groups: dict[str, Floats], rule: str) -> GroupTest:
    found = stats.kruskal(*groups.values())
    spare = sum(map(len, groups.values())) - len(groups)
    statistic, effect = _not_below_0(found.statistic), None
    if spare:
        effect = _not_below_0((statistic - len(groups) + 1) / spare)

    def pair(first: Floats, second: Floats) -> float:
        if np.ptp(np.concatenate([first, second])) == 0:
            return 1.0
        return float(stats.mannwhitneyu(first, second).pvalue)

    return GroupTest(
        "Kruskal-Wallis", rule, "H", statistic, (float(len(groups) - 1),), float(found.pvalue),
        "partial η2", effect, "Mann-Whitney tests, Bonferroni", _pairs(groups, pair),
    )  # fmt: skip


def _not_below_0(statistic: float) -> float:
    """0 for a statistic that rounding has put below 0, as with equal means."""
    return max(float(statistic), 0.0)


def _eta_squared(groups: dict[str, Floats]) -> float:
    """Between over total sum of squares; in a one-way design partial and plain are the same."""
    everything = np.concatenate(list(groups.values()))
    between = sum(len(values) * float(values.mean() - everything.mean()) ** 2 for values in groups.values())
    return between / float(((everything - everything.mean()) ** 2).sum())


def compare_categorical(counts: ArrayLike, groups: tuple[str, ...]) -> GroupTest:
    """Test whether a categorical variable differs between groups.

    Parameters
    ----------
    counts : array_like of int, shape (levels, groups)
        Patients; levels and groups without any are left out.
    groups : tuple of str
        Names of the columns.
    """
    table = np.asarray(counts, np.int64)
    if table.ndim != 2 or table.shape[1] != len(groups) or (table < 0).any():
        raise MolSubError("counts", f"have shape {table.shape} for {len(groups)} groups", "Give one column per group")
    used = table.sum(axis=0) > 0
    names = tuple(name for name, use in zip(groups, used, strict=True) if use)
    table = table[table.sum(axis=1) > 0][:, used]
    if len(names) < 2:
        return GroupTest("none", "fewer than two groups have values")
    if len(table) < 2:
        return GroupTest("none", "all values are equal")
    name, statistic, df, p, rule = _chi_square(table)
    effect = float(np.sqrt(statistic / (table.sum() * (min(table.shape) - 1))))
    columns = dict(zip(names, table.T.astype(np.float64), strict=True))
    pairs_by = "chi-square tests chosen by the same rule, Bonferroni"
    return GroupTest(
        name, rule, "χ2", statistic, (float(df),), p, "Cramer's V", effect, pairs_by, _pairs(columns, _chi_square_pair)
    )


def _chi_square(table: NDArray[np.int64]) -> tuple[str, float, int, float, str]:
    """Name, statistic, degrees of freedom, p and the rule, of a table without empty rows and columns."""
    least = float(expected_freq(table).min())
    pearson = least >= _EXPECTED
    found = stats.chi2_contingency(table, correction=False, lambda_="pearson" if pearson else "log-likelihood")
    rule = f"the smallest expected count is {least:.2f}, {'not below' if pearson else 'below'} {_EXPECTED:g}"
    statistic = _not_below_0(found.statistic)
    return (
        f"{'Pearson' if pearson else 'likelihood-ratio'} chi-square",
        statistic,
        int(found.dof),
        float(found.pvalue),
        rule,
    )


def _chi_square_pair(first: Floats, second: Floats) -> float:
    table = np.stack([first, second], axis=1).astype(np.int64)
    table = table[table.sum(axis=1) > 0]
    return 1.0 if len(table) < 2 else _chi_square(table)[3]


def _pairs(groups: Mapping[str, Floats], test: Callable[[Floats, Floats], float]) -> tuple[Pair, ...]:
    """Every pair of groups."""
    names = list(combinations(groups, 2))
    values = [test(groups[first], groups[second]) for first, second in names]
    adjusted = multipletests(values, method="bonferroni")[1]
    return tuple(Pair(*pair, p, float(q)) for pair, p, q in zip(names, values, adjusted, strict=True))
