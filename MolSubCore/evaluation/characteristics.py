"""Characteristics of a cohort by group: the paper's Table 1 for any cohort, one row per patient.

What a variable is (numbers or categories), how it is summarised and which levels it has is decided once, on the whole
cohort; the tables of its partitions follow (`like`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from MolSubCore.cohort.columns import differing
from MolSubCore.cohort.dates import dated
from MolSubCore.cohort.table import Case, Cohort
from MolSubCore.cohort.table_files import NA_WORDS, finite_number, is_missing
from MolSubCore.errors import CohortError, MolSubError, listed
from MolSubCore.statistics.group_tests import GroupTest, SmallCounts, compare_categorical, compare_continuous

Kind = Literal["continuous", "categorical"]

#: Numbers with more distinct values than the first are taken for continuous; or with more than the second, where these
#: are more than half as many as the patients.
_FEW_NUMBERS, _FEWEST_NUMBERS = 10, 5

#: Text with more levels than this, or than half of the patients, is taken for names, dates and remarks.
_MOST_LEVELS = 20
#: In names of columns that tell who a patient is, and that no table shows unless it is asked for them.
_IDENTIFYING = re.compile(
    r"(?:^|[\W_])(?:(?:sur|fore|last|first)?names?|patient|ids?|mrn|pid|ssn|accession|birth(?:day|date)?|dob|born|date"
    r"|address|street|city|zip|postcode|(?:tele)?phone|mobile|e?mail|physician|doctor|radiologist|operator|insurance"
    r"|path|file|folder|notes?|comments?)(?:$|[\W_\d])|datum|姓名|出生|住院号|编号"
)
#: In names of columns that tell where a patient was; they are shown where a code stands for the place.
_PLACE = re.compile(
    r"(?:^|[\W_])(?:hospital|institut(?:ion|e)|clinic|cent(?:re|er)|site|station)(?:$|[\W_\d])|医院|中心"
)
_CODE = re.compile(
    r"(?:(?:hospital|institut(?:ion|e)|clinic|cent(?:re|er)|site|station|no|nr)[\s_.#-]*)?(?:[a-z]?\d{1,3}|[a-z])",
    re.IGNORECASE,
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
        One for a continuous variable, one per level otherwise; then, where there are any, cells of a continuous
        variable that say no number (``none``, ``-``), and missing values.
    test : GroupTest
    levels : tuple of str
        Of a categorical variable, in their order.
    """

    name: str
    kind: Kind
    summary: str
    rows: tuple[Row, ...]
    test: GroupTest
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Characteristics:
    """The table: groups with their numbers of patients, the variables, and the words that count as missing."""

    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    variables: tuple[Characteristic, ...]
    missing: tuple[str, ...] = NA_WORDS

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

    def note(self) -> str:
        """What stands below the table: what counts as missing, and how the tests are chosen."""
        values = [word for word in ("none", "-", "+") if word not in map(str.casefold, self.missing)]
        also = f", also {' and '.join(values)}" if values else ""
        return (
            f"Missing is a blank cell, or one that says {', '.join(self.missing) or 'nothing'}; anything else is a "
            f"value{also}. Missing values are counted and left out of the tests, and so are cells of a variable of "
            "numbers that say no number. Kind, summary and levels of a variable are those of the whole cohort. "
            "P-values are not corrected for the number of rows."
        )


def characteristics(
    group: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    *,
    order: Sequence[str] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: Collection[str] = NA_WORDS,
    small_counts: SmallCounts = "exact",
    like: Characteristics | None = None,
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
    missing : collection of str
        Cells that stand for a missing value beside blank ones, in any case.
    small_counts : {"exact", "likelihood-ratio"}
        As in `compare_categorical`; the paper's is ``likelihood-ratio``.
    like : Characteristics, optional
        Of the whole cohort: kinds, summaries and levels are its own.

    Raises
    ------
    MolSubError
        If lengths differ, a group is not in `order`, a continuous variable has a cell that is no number, or
        a categorical one a cell that is none of its levels.
    """
    absent = frozenset(word.casefold() for word in missing)
    whole = {variable.name: variable for variable in like.variables} if like else {}
    names = tuple(dict.fromkeys(group)) if order is None else tuple(order)
    if set(group) - set(names):
        other = sorted(set(group) - set(names))[0]
        raise MolSubError("group", f"unknown value '{other}'", f"Use one of {', '.join(names)}")
    found = []
    for name, cells in columns.items():
        if len(cells) != len(group):
            raise MolSubError(name, f"has {len(cells)} values of {len(group)} patients", "Give one to each patient")
        cells, model = [cell.strip() for cell in cells], whole.get(name)
        kind = (kinds or {}).get(name) or (model.kind if model else kind_of(cells, name, missing=absent))
        if kind == "continuous":
            means = model.summary == _MEANS if model else None
            rows, summary, test = _continuous(name, group, cells, names, absent, means)
            used: Sequence[str] = ()
        else:
            used = (levels or {}).get(name) or (model.levels if model else _levels(cells, absent))
            rows, test = _categorical(name, group, cells, names, used, absent, small_counts)
            summary = "n (%)"
        lost = [which for which, cell in zip(group, cells, strict=True) if not has_value(cell, absent)]
        rows = (*rows, *_count_row("missing", lost, names))
        found.append(Characteristic(name, kind, summary, rows, test, tuple(used)))
    sizes = tuple(list(group).count(name) for name in names)
    return Characteristics(names, sizes, tuple(found), tuple(missing))


def has_value(cell: str, missing: Collection[str] = NA_WORDS) -> bool:
    """Whether a clinical cell says anything: it is not blank, and none of the words (in small letters) for missing."""
    return cell.strip() != "" and cell.strip().casefold() not in missing


def kind_of(cells: Sequence[str], name: str = "", *, missing: Collection[str] = NA_WORDS) -> Kind:
    """Continuous: all values are numbers, more than ten of them distinct, or more than five that few patients share.

    Beside numbers there may be cells that say none of them, such as ``-`` and ``none``. Numbers in a column of places
    (by its name, such as ``centre``) are codes.
    """
    known = [cell.strip() for cell in cells if has_value(cell, missing)]
    found = [finite_number(cell) for cell in known]
    numbers = [number for number in found if number is not None]
    words = any(number is None and not is_missing(cell) for number, cell in zip(found, known, strict=True))
    if words or _PLACE.search(name.casefold()):
        return "categorical"
    distinct = len(set(numbers))
    many = distinct > _FEW_NUMBERS or (distinct > _FEWEST_NUMBERS and 2 * distinct > len(numbers))
    return "continuous" if many else "categorical"


_MEANS = "mean ± SD"


def _continuous(
    name: str,
    group: Sequence[str],
    cells: Sequence[str],
    names: tuple[str, ...],
    missing: Collection[str],
    means: bool | None,
) -> tuple[tuple[Row, ...], str, GroupTest]:
    """Rows, summary and test; `means` where the whole cohort has decided the summary."""
    values: dict[str, list[float]] = {other: [] for other in names}
    none: list[tuple[str, str]] = []
    for which, cell in zip(group, cells, strict=True):
        if not has_value(cell, missing):
            continue
        number = finite_number(cell)
        if number is not None:
            values[which].append(number)
        elif is_missing(cell):
            none.append((which, cell))
        else:
            raise MolSubError(name, f"has the value '{cell}', expected a number", "Correct it, or leave it empty")
    test = compare_continuous(values, means=means)
    told = "ANOVA" in test.test if means is None else means
    row = Row("", tuple(_summary(np.array(values[other]), means=told) for other in names))
    label = f"no number ({', '.join(sorted({cell for _, cell in none}))})"
    more = _count_row(label, [which for which, _ in none], names)
    return (row, *more), _MEANS if told else "median (P25, P75)", test


def _summary(values: np.ndarray, *, means: bool) -> str:
    """Percentiles as SPSS has them (weighted average at p (n + 1)), as in the paper."""
    if len(values) == 0:
        return "-"
    if means:
        return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else " (one value)")
    low, median, high = np.percentile(values, [25, 50, 75], method="weibull")
    return f"{median:.1f} ({low:.1f}, {high:.1f})"


def _levels(cells: Sequence[str], missing: Collection[str]) -> list[str]:
    """Numbers ascending, else as they first appear."""
    known = list(dict.fromkeys(cell for cell in cells if has_value(cell, missing)))
    numbers = {cell: finite_number(cell) for cell in known}
    return known if None in numbers.values() else sorted(known, key=lambda cell: numbers[cell] or 0.0)


def _categorical(
    name: str,
    group: Sequence[str],
    cells: Sequence[str],
    names: tuple[str, ...],
    levels: Sequence[str],
    missing: Collection[str],
    small_counts: SmallCounts,
) -> tuple[tuple[Row, ...], GroupTest]:
    place, column = {level: n for n, level in enumerate(levels)}, {other: n for n, other in enumerate(names)}
    counts = np.zeros((len(levels), len(names)), np.int64)
    for which, cell in zip(group, cells, strict=True):
        if not has_value(cell, missing):
            continue
        if cell not in place:
            raise MolSubError(name, f"has the value '{cell}'", f"Use one of {', '.join(levels)}")
        counts[place[cell], column[which]] += 1
    totals = counts.sum(axis=0)
    rows = tuple(
        Row(
            level,
            tuple(_share(n, total) for n, total in zip(line, totals.tolist(), strict=True)),
        )
        for level, line in zip(levels, counts.tolist(), strict=True)
    )
    return rows, compare_categorical(counts, names, small_counts=small_counts)


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.1f})" if total else "-"


def _count_row(label: str, of: Sequence[str], names: tuple[str, ...]) -> tuple[Row, ...]:
    """How many patients of each group, if any."""
    return (Row(label, tuple(str(list(of).count(name)) for name in names)),) if of else ()


def is_number(cell: str) -> bool:
    """Whether a cell is a finite number."""
    return finite_number(cell) is not None


def _test_text(test: GroupTest) -> str:
    if test.p is None:
        return f"no test: {test.rule}"
    effect = "" if test.effect is None else f", {test.effect_name} = {test.effect:.3f}"
    if test.statistic is None:
        return test.test + effect
    df = ", ".join(f"{value:g}" if value == int(value) else f"{value:.1f}" for value in test.df)
    return f"{test.test}: {test.symbol} = {test.statistic:.3f}, df = {df}{effect}"


def p_text(p: float | None) -> str:
    """A p-value for people: three decimals, ``<0.001``, or a dash."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


@dataclass(frozen=True)
class PatientColumns:
    """The clinical columns of a cohort, one row per patient.

    Attributes
    ----------
    cases : list of Case
        The first one of each patient: its subtype, its id.
    columns : dict of str to list of str
        A patient's value is that of its first row that has one; empty where it has none.
    left_out : dict of str to str
        Columns that no table shows, and why.
    """

    cases: list[Case]
    columns: dict[str, list[str]]
    left_out: dict[str, str] = field(default_factory=dict)

    def note(self, *, leave_out: Collection[str] = ()) -> str:
        """The columns that are left out, for the note of a table; empty where there are none but those to leave out."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.left_out.items():
            if name not in leave_out and why != _EMPTY:
                reasons.setdefault(why, []).append(name)
        told = "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())
        return f"Columns not shown: {told}." if told else ""


def patient_columns(
    cohort: Cohort, names: Sequence[str] | None = None, *, missing: Collection[str] = NA_WORDS
) -> PatientColumns:
    """The clinical columns of a cohort.

    Parameters
    ----------
    cohort : Cohort
    names : sequence of str, optional
        Columns wanted; default all that are the same in every row of a patient, without free text and without what
        by its name tells who a patient is, or where in words.
    missing : collection of str
        As in `characteristics`.

    Raises
    ------
    CohortError
        If a column that is asked for is not there, or says two things about one patient.
    """
    absent = frozenset(word.casefold() for word in missing)
    patients: dict[str, list[Case]] = {}
    for case in cohort.cases:
        patients.setdefault(case.patient_id, []).append(case)
    present = dict.fromkeys(name for case in cohort.cases for name in case.extra if name)
    if lacking := [name for name in names or () if name not in present]:
        problem = f"lacks the {listed('column', lacking)}; found: {', '.join(present) or 'none'}"
        raise CohortError(cohort.source, problem, "Add them, or ask for others")
    found = PatientColumns([rows[0] for rows in patients.values()], {})
    for name in present if names is None else names:
        kind = kind_of([case.extra.get(name, "") for case in cohort.cases], name, missing=absent)
        cells = [_one_value(name, rows, cohort, kind, absent, strict=names is not None) for rows in patients.values()]
        known = [cell for cell in cells if cell is not None]
        why = "differs between the rows of a patient" if len(known) < len(cells) else ""
        if names is None:
            why = why or _not_shown(name, [cell for cell in known if has_value(cell, absent)])
        if why:
            found.left_out[name] = why
        else:
            found.columns[name] = known
    return found


def _one_value(
    name: str, rows: list[Case], cohort: Cohort, kind: Kind, missing: Collection[str], *, strict: bool
) -> str | None:
    """A patient's value; where its rows disagree an error, or None. A number counts before a cell that says none."""
    told = [(case.row, cell) for case in rows if has_value(cell := case.extra.get(name, "").strip(), missing)]
    known = [(row, cell) for row, cell in told if kind == "categorical" or finite_number(cell) is not None] or told[:1]
    if other := differing(known, shown=True):
        if not strict:
            return None
        raise CohortError(cohort.source, f"row {other[0]}, {name}: {other[1]}", "Correct one of them")
    return known[0][1] if known else ""


#: Of columns without a value, which nobody misses.
_EMPTY = "has no value"


def _not_shown(name: str, known: list[str]) -> str:
    """Why no table may show a column that it is not asked for; empty where it may."""
    if not known:
        return _EMPTY
    if _IDENTIFYING.search(name) or dated(name):
        return "tells by its name who a patient is"
    if _PLACE.search(name):
        coded = len(set(known)) <= _MOST_LEVELS and all(_CODE.fullmatch(cell) for cell in known)
        return "" if coded else "tells where a patient was; shown where it has codes, such as A, B or 1, 2"
    words = any(finite_number(cell) is None and not is_missing(cell) for cell in known)
    many = len(set(known)) > min(_MOST_LEVELS, len(known) / 2)
    return f"has {len(set(known))} different texts for {len(known)} patients" if words and many else ""
