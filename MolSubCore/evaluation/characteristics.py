"""Characteristics of a cohort by group: the paper's Table 1 for any cohort, one row per patient."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from MolSubCore.cohort.columns import differing
from MolSubCore.cohort.table import Case, Cohort
from MolSubCore.cohort.table_files import is_missing
from MolSubCore.errors import CohortError, MolSubError, listed
from MolSubCore.statistics.group_tests import GroupTest, compare_categorical, compare_continuous

Kind = Literal["continuous", "categorical"]

#: Numbers with more distinct values than this are taken for continuous.
_FEW_NUMBERS = 10

#: Text with more levels than this, or than half of the patients, is taken for names, dates and remarks.
_MOST_LEVELS = 20
#: In names of columns that tell who or where a patient is, and that no table shows unless it is asked for them.
_IDENTIFYING = re.compile(
    r"(?:^|[\W_])(?:(?:sur|fore|last|first)?names?|patient|ids?|mrn|pid|ssn|accession|birth(?:day|date)?|dob|born|date"
    r"|address|street|city|zip|postcode|(?:tele)?phone|mobile|e?mail|hospital|institut(?:ion|e)|clinic|cent(?:re|er)"
    r"|station|physician|doctor|radiologist|operator|insurance|path|file|folder|notes?|comments?)(?:$|[\W_\d])"
    r"|datum|姓名|出生|住院号|医院|编号"
)


@dataclass(frozen=True)
class Row:
    """One row of a table: what it is, and a cell per group."""

    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Characteristic:
    """One variable over the groups.

    Attributes
    ----------
    name : str
    kind : {"continuous", "categorical"}
    summary : str
        What the cells hold: ``mean ± SD`` after a test of means, else ``median (P25, P75)``; ``n (%)`` of known.
    rows : tuple of Row
        One for a continuous variable, one per level otherwise; a last one counts missing values, if there are any.
    test : GroupTest
    """

    name: str
    kind: Kind
    summary: str
    rows: tuple[Row, ...]
    test: GroupTest


@dataclass(frozen=True)
class Characteristics:
    """The table: groups with their numbers of patients, and the variables."""

    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    variables: tuple[Characteristic, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return asdict(self)

    def table(self) -> list[list[str]]:
        """Header and rows as text: characteristic, a column per group, statistic and effect size, p."""
        heads = (f"{name} (n={size})" for name, size in zip(self.groups, self.sizes, strict=True))
        table = [["Characteristic", *heads, "Test, statistic and effect size", "p"]]
        for variable in self.variables:
            title, test = f"{variable.name}, {variable.summary}", [_test_text(variable.test), p_text(variable.test.p)]
            rows = list(variable.rows)
            if variable.kind == "continuous":
                table.append([title, *rows.pop(0).cells, *test])
            else:
                table.append([title, *[""] * len(self.groups), *test])
            table += [[f"  {row.label}", *row.cells, "", ""] for row in rows]
        return table


def characteristics(
    group: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    *,
    order: Sequence[str] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
) -> Characteristics:
    """Describe and compare groups of patients.

    Parameters
    ----------
    group : sequence of str, length N
        Group of each patient: a subtype, a partition, a vendor.
    columns : mapping of str to sequence of str, length N
        Cells of each variable as in the table; those without a value are counted and left out of the tests.
    order : sequence of str, optional
        Of the groups; default as they first appear.
    kinds : mapping, optional
        By variable; default `kind_of`.
    levels : mapping, optional
        Order of a categorical variable's levels; default numbers ascending, else as they first appear.

    Raises
    ------
    MolSubError
        If lengths differ, a group is not in `order`, a continuous variable has a cell that is no number, or
        a categorical one a cell that is none of its levels.
    """
    names = tuple(dict.fromkeys(group)) if order is None else tuple(order)
    if set(group) - set(names):
        other = sorted(set(group) - set(names))[0]
        raise MolSubError("group", f"unknown value '{other}'", f"Use one of {', '.join(names)}")
    found = []
    for name, cells in columns.items():
        if len(cells) != len(group):
            raise MolSubError(name, f"has {len(cells)} values of {len(group)} patients", "Give one to each patient")
        kind = (kinds or {}).get(name) or kind_of(cells)
        if kind == "continuous":
            found.append(_continuous(name, group, cells, names))
        else:
            found.append(_categorical(name, group, cells, names, (levels or {}).get(name)))
    return Characteristics(names, tuple(list(group).count(name) for name in names), tuple(found))


def kind_of(cells: Sequence[str]) -> Kind:
    """Continuous: all known values are numbers, more than ten of them distinct."""
    known = {cell.strip() for cell in cells if not is_missing(cell)}
    numbers = {_number(cell) for cell in known}
    return "continuous" if None not in numbers and len(numbers) > _FEW_NUMBERS else "categorical"


def _continuous(name: str, group: Sequence[str], cells: Sequence[str], names: tuple[str, ...]) -> Characteristic:
    values: dict[str, list[float]] = {other: [] for other in names}
    for which, cell in zip(group, cells, strict=True):
        if is_missing(cell):
            continue
        number = _number(cell)
        if number is None:
            raise MolSubError(name, f"has the value '{cell}', expected a number", "Correct it, or leave it empty")
        values[which].append(number)
    test = compare_continuous(values)
    means = "ANOVA" in test.test
    row = Row("", tuple(_summary(np.array(values[other]), means=means) for other in names))
    title = "mean ± SD" if means else "median (P25, P75)"
    return Characteristic(name, "continuous", title, (row, *_missing_row(group, cells, names)), test)


def _summary(values: np.ndarray, *, means: bool) -> str:
    """Percentiles as SPSS has them (weighted average at p (n + 1)), as in the paper."""
    if len(values) == 0:
        return "-"
    if means:
        return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
    low, median, high = np.percentile(values, [25, 50, 75], method="weibull")
    return f"{median:.1f} ({low:.1f}, {high:.1f})"


def _categorical(
    name: str, group: Sequence[str], cells: Sequence[str], names: tuple[str, ...], levels: Sequence[str] | None
) -> Characteristic:
    known = list(dict.fromkeys(cell.strip() for cell in cells if not is_missing(cell)))
    if levels is None:
        numbers = {cell: _number(cell) for cell in known}
        levels = known if None in numbers.values() else sorted(known, key=lambda cell: numbers[cell] or 0.0)
    place, column = {level: n for n, level in enumerate(levels)}, {other: n for n, other in enumerate(names)}
    counts = np.zeros((len(levels), len(names)), np.int64)
    for which, cell in zip(group, cells, strict=True):
        if is_missing(cell):
            continue
        if cell.strip() not in place:
            raise MolSubError(name, f"has the value '{cell}'", f"Use one of {', '.join(levels)}")
        counts[place[cell.strip()], column[which]] += 1
    totals = counts.sum(axis=0)
    rows = tuple(
        Row(
            level,
            tuple(_share(n, total) for n, total in zip(line, totals.tolist(), strict=True)),
        )
        for level, line in zip(levels, counts.tolist(), strict=True)
    )
    test = compare_categorical(counts, names)
    return Characteristic(name, "categorical", "n (%)", (*rows, *_missing_row(group, cells, names)), test)


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.1f})" if total else "-"


def _missing_row(group: Sequence[str], cells: Sequence[str], names: tuple[str, ...]) -> tuple[Row, ...]:
    lost = [which for which, cell in zip(group, cells, strict=True) if is_missing(cell)]
    return (Row("missing", tuple(str(lost.count(name)) for name in names)),) if lost else ()


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _test_text(test: GroupTest) -> str:
    if test.statistic is None:
        return f"no test: {test.rule}"
    df = ", ".join(f"{value:g}" if value == int(value) else f"{value:.1f}" for value in test.df)
    effect = "" if test.effect is None else f", {test.effect_name} = {test.effect:.3f}"
    return f"{test.test}: {test.symbol} = {test.statistic:.3f}, df = {df}{effect}"


def p_text(p: float | None) -> str:
    """A p-value for people: three decimals, ``<0.001``, or a dash."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def patient_columns(cohort: Cohort, names: Sequence[str] | None = None) -> tuple[list[Case], dict[str, list[str]]]:
    """The clinical columns of a cohort, one row per patient.

    Parameters
    ----------
    cohort : Cohort
    names : sequence of str, optional
        Columns wanted; default all that are the same in every row of a patient, without free text and without what
        by its name tells who or where a patient is.

    Returns
    -------
    cases : list of Case
        The first one of each patient: its subtype, its id.
    columns : dict of str to list of str
        A patient's value is that of its first row that has one.

    Raises
    ------
    CohortError
        If a column that is asked for is not there, or says two things about one patient.
    """
    patients: dict[str, list[Case]] = {}
    for case in cohort.cases:
        patients.setdefault(case.patient_id, []).append(case)
    present = dict.fromkeys(name for case in cohort.cases for name in case.extra if name)
    absent = [name for name in names or () if name not in present]
    if absent:
        problem = f"lacks the {listed('column', absent)}; found: {', '.join(present) or 'none'}"
        raise CohortError(cohort.source, problem, "Add them, or ask for others")
    columns: dict[str, list[str]] = {}
    for name in present if names is None else names:
        cells = [_one_value(name, rows, cohort, strict=names is not None) for rows in patients.values()]
        known = [cell for cell in cells if cell is not None]
        if len(known) == len(cells) and (names is not None or not (_IDENTIFYING.search(name) or _free_text(known))):
            columns[name] = known
    return [rows[0] for rows in patients.values()], columns


def _one_value(name: str, rows: list[Case], cohort: Cohort, *, strict: bool) -> str | None:
    """A patient's value; where its rows disagree an error, or None."""
    known = [(case.row, case.extra[name].strip()) for case in rows if not is_missing(case.extra.get(name, ""))]
    if other := differing(known, shown=True):
        if not strict:
            return None
        raise CohortError(cohort.source, f"row {other[0]}, {name}: {other[1]}", "Correct one of them")
    return known[0][1] if known else ""


def _free_text(cells: list[str]) -> bool:
    """Names, dates and remarks, which no table may show: text of many levels. Or nothing known."""
    known = [cell for cell in cells if not is_missing(cell)]
    if all(_number(cell) is not None for cell in known):
        return not known
    return len(set(known)) > min(_MOST_LEVELS, len(known) / 2)
