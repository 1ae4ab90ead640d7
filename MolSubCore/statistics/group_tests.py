"""Tests of several groups of patients, chosen by stated rules (the paper, section 2.5).

Continuous variables: one-way ANOVA where every group passes as normal and the variances as equal, Welch's ANOVA
where only the variances differ, else Kruskal-Wallis. Normal is a group of 3 to 300 patients with a Shapiro-Wilk
p of 0.05 or more, or a larger one with |skewness| <= 2 and |excess kurtosis| <= 4 (Kim 2013), because
Shapiro-Wilk rejects irrelevant deviations in large groups. Variances are equal with a Levene p (around
the median) of 0.05 or more.

Categorical variables: Pearson's chi-square where every expected count is 5 or more, else Fisher's exact test, of
larger tables Fisher-Freeman-Halton by tables drawn with the same margins. The paper took the likelihood-ratio
chi-square below 5, which calls 8 to 9 % of variables without any association significant there
(Larntz 1978); it can be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
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
#: Tables drawn for a Fisher-Freeman-Halton test, and their random seed: p has a standard error of 0.002 at 0.05.
_TABLES, _SEED = 9999, 0

#: The test of a table with an expected count below 5.
SmallCounts = Literal["exact", "likelihood-ratio"]


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
        ``one-way ANOVA``, ``Welch's ANOVA``, ``Kruskal-Wallis``, ``Pearson chi-square``, ``Fisher's exact test``,
        ``Fisher-Freeman-Halton``, ``likelihood-ratio chi-square`` or ``none``.
    rule : str
        Why this test, or why none.
    symbol : str
        ``F``, ``H`` or ``χ2``; empty where the test has no statistic.
    statistic, p, effect : float or None
        None without a test; an exact test has no statistic.
    df : tuple of float
    effect_name : str
        ``partial η2`` (between over total sum of squares; for ranks (H - k + 1) / (n - k), not below 0),
        or ``Cramer's V`` (from Pearson's chi-square, whichever the test: from another statistic it may exceed 1).
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


def compare_continuous(groups: Mapping[str, ArrayLike], *, means: bool | None = None) -> GroupTest:
    """Test whether a continuous variable differs between groups.

    Parameters
    ----------
    groups : mapping of str to array_like
        Known values of each group; empty groups are left out.
    means : bool or None
        Whether means are compared, or ranks, where a larger cohort has decided it; None: by the rule of this module.
        A group of one value, or without spread, leaves ranks alone.

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
    reason, normal = not_normal(known), "normal in every group"
    if means is not None:
        normal, reason = "means as in the whole cohort", "" if means else "ranks as in the whole cohort"
        if means and (alone := next((name for name, values in known.items() if np.ptp(values) == 0), "")):
            reason = f"'{alone}' has {counted(len(known[alone]), 'value')} without spread"
    if reason:
        return _kruskal(known, reason)
    p = float(stats.levene(*known.values(), center="median").pvalue)
    if p < ALPHA:
        return _welch(known, f"{normal}, variances differ (Levene p = {p:.3g})")
    return _anova(known, f"{normal}, variances equal (Levene p = {p:.3g})")


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


def compare_categorical(
    counts: ArrayLike, groups: tuple[str, ...], *, small_counts: SmallCounts = "exact"
) -> GroupTest:
    """Test whether a categorical variable differs between groups.

    Parameters
    ----------
    counts : array_like of int, shape (levels, groups)
        Patients; levels and groups without any are left out.
    groups : tuple of str
        Names of the columns.
    small_counts : {"exact", "likelihood-ratio"}
        The test where an expected count is below 5.
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

    def pair(first: Floats, second: Floats) -> float:
        both = np.stack([first, second], axis=1).astype(np.int64)
        both = both[both.sum(axis=1) > 0]
        return 1.0 if len(both) < 2 else _association(both, small_counts).p

    found = _association(table, small_counts)
    pearson = stats.chi2_contingency(table, correction=False).statistic
    effect = float(np.sqrt(_not_below_0(pearson) / (table.sum() * (min(table.shape) - 1))))
    columns = dict(zip(names, table.T.astype(np.float64), strict=True))
    return GroupTest(
        found.name, found.rule, "" if found.statistic is None else "χ2", found.statistic, found.df, found.p,
        "Cramer's V", effect, "tests chosen by the same rule, Bonferroni", _pairs(columns, pair),
    )  # fmt: skip


@dataclass(frozen=True)
class _Association:
    """A test of a table, and why this one."""

    name: str
    rule: str
    p: float
    statistic: float | None = None
    df: tuple[float, ...] = ()


def _association(table: NDArray[np.int64], small_counts: SmallCounts) -> _Association:
    """The test of a table without empty rows and columns."""
    least = float(expected_freq(table).min())
    few = least < _EXPECTED
    rule = f"the smallest expected count is {least:.2f}, {'below' if few else 'not below'} {_EXPECTED:g}"
    if few and small_counts == "exact":
        if table.shape == (2, 2):
            return _Association("Fisher's exact test", rule, float(stats.fisher_exact(table).pvalue))
        drawn = f"{rule}; {_TABLES} tables with the same margins, random seed {_SEED}"
        return _Association("Fisher-Freeman-Halton", drawn, _freeman_halton(table))
    found = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood" if few else "pearson")
    name = f"{'likelihood-ratio' if few else 'Pearson'} chi-square"
    return _Association(name, rule, float(found.pvalue), _not_below_0(found.statistic), (float(found.dof),))


def _freeman_halton(table: NDArray[np.int64]) -> float:
    """P-value by Monte Carlo: the share of tables with these margins that are no more probable (Agresti 1992).

    What `scipy.stats.fisher_exact` gives with a `MonteCarloMethod`, in a tenth of its time.
    """
    drawn = stats.random_table(table.sum(axis=1), table.sum(axis=0)).rvs(
        _TABLES, random_state=np.random.default_rng(_SEED)
    )

    def improbability(tables: NDArray[np.int64]) -> Floats:
        return np.asarray(special.gammaln(tables + 1.0).sum(axis=(-2, -1)), np.float64)

    as_extreme = improbability(drawn) >= improbability(table) - 1e-7  # equally probable ones differ by rounding
    return float((as_extreme.sum() + 1) / (_TABLES + 1))


def _pairs(groups: Mapping[str, Floats], test: Callable[[Floats, Floats], float]) -> tuple[Pair, ...]:
    """Every pair of groups."""
    names = list(combinations(groups, 2))
    values = [test(groups[first], groups[second]) for first, second in names]
    adjusted = multipletests(values, method="bonferroni")[1]
    return tuple(Pair(*pair, p, float(q)) for pair, p, q in zip(names, values, adjusted, strict=True))
