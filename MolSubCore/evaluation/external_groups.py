"""Groups of the patients of another cohort: those that are always shown, and those that columns of its table name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from MolSubCore.cohort.table import Case
from MolSubCore.cohort.table_files import clean_cell, column_name
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.evaluation.external_data import ExternalCohort

_AGES, _SIZES_MM = (40, 50, 60, 70), (20, 50)
_UNKNOWN, _SEVERAL = "unknown", "several"

_VIEW, _VENDOR, _AGE, _SIZE = "view", "vendor", "age", "lesion size"
#: Subgroups that are always shown; a column of such a name is none beside them.
_BUILT_IN = frozenset({_VIEW, _VENDOR, _AGE, _SIZE})

#: Levels of a column beyond which it is no subgroup.
_MOST_LEVELS = 20


def patient_levels(external: ExternalCohort, columns: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Level of each patient (salted id) in every subgroup: vendor, age band, lesion size, and columns of the table.

    Raises
    ------
    CohortError
        As `column_groups`.
    """
    cases = external.cases_of()
    built_in = {_VENDOR: _vendors(external), _AGE: _ages(cases), _SIZE: _sizes(external)}
    return built_in | column_groups(cases, columns)


def column_groups(cases: Mapping[str, list[Case]], columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Level of each patient in columns of the table, without those that are named as a subgroup shown anyway.

    Raises
    ------
    CohortError
        If the table lacks a column, or it has too many levels for subgroups.
    """
    found = {}
    for column in columns:
        if column_name(column) in _BUILT_IN:
            continue
        found[column] = column_levels(cases, column)
        if len(levels := set(found[column].values())) > _MOST_LEVELS:
            text = f"has {len(levels)} levels, subgroups have {_MOST_LEVELS} at most"
            raise CohortError(f"column {column}", text, "Give a column of groups, such as the centre")
    return found


def column_levels(cases: Mapping[str, list[Case]], column: str) -> dict[str, str]:
    """Cell of a column for each patient; ``several`` where rows differ, ``unknown`` where it is empty.

    Raises
    ------
    CohortError
        If the table has no such column.
    """
    key = column_name(column)
    known = {name for own in cases.values() for case in own for name in case.extra}
    if key not in known:
        found = f"is not in the table, which has {', '.join(sorted(known)) or 'no columns beside the needed ones'}"
        raise CohortError(f"column {column}", found, "Choose one of these")
    return {name: _one({case.extra.get(key, "") for case in own}) for name, own in cases.items()}


def named_part(cases: Mapping[str, list[Case]], named: str) -> set[str]:
    """Patients of ``COLUMN=VALUE``; empty where nothing is named.

    Raises
    ------
    MolSubError
        If no patient has the value, all have it, or one has it in some rows only.
    """
    if not named:
        return set()
    column, _, value = (clean_cell(part) for part in named.partition("="))
    levels, key = column_levels(cases, column), column_name(column)
    part = {name for name, level in levels.items() if level == value}
    cut = [
        name for name, own in cases.items() if value in {case.extra.get(key, "") for case in own} and name not in part
    ]
    if cut:
        found = f"holds {len(cut)} patient(s) in some of their rows only"
        raise MolSubError(named, found, "Give all rows of a patient the same value")
    if not part or len(part) == len(levels):
        found = f"names {len(part)} of the {len(levels)} patients"
        known = ", ".join(sorted(set(levels.values()))[:12])
        raise MolSubError(named, found, f"Name a part that leaves patients to judge it on; {column} has {known}")
    return part


def _one(values: set[str]) -> str:
    present = {value for value in values if value}
    return _SEVERAL if len(present) > 1 else present.pop() if present else _UNKNOWN


def _vendors(external: ExternalCohort) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for study_id, meta in zip(external.data.study_ids, external.data.store.meta, strict=True):
        found.setdefault(study_id, set()).add(" ".join(str(meta["manufacturer"] or "").split()))
    return {name: _one(values) for name, values in found.items()}


def _ages(cases: dict[str, list[Case]]) -> dict[str, str]:
    """Bands of the column ``age``, in years; of several ages the mean."""
    found = {}
    for name, own in cases.items():
        texts = [re.fullmatch(r"0*(\d{1,3}(?:\.\d+)?)\s*[Yy]?", case.extra.get("age", "").strip()) for case in own]
        values = [float(text[1]) for text in texts if text and 0 < float(text[1]) < 120]
        found[name] = _band(float(np.mean(values)) if values else None, _AGES, "years", upper_in_band=False)
    return found


def _sizes(external: ExternalCohort) -> dict[str, str]:
    """Bands of the larger side of the box around the largest lesion: those of T1, T2 and T3."""
    sizes: dict[str, list[float]] = {}
    for study_id, meta in zip(external.data.study_ids, external.data.store.meta, strict=True):
        own = sizes.setdefault(study_id, [])
        if meta["lesion_mm"] is not None:
            own.append(meta["lesion_mm"])
    return {name: _band(max(own, default=None), _SIZES_MM, "mm", upper_in_band=True) for name, own in sizes.items()}


def _band(value: float | None, edges: tuple[int, ...], unit: str, *, upper_in_band: bool) -> str:
    """The band of a value; a value on an edge is of the band below it (`upper_in_band`) or above it."""
    if value is None:
        return _UNKNOWN
    place = int(np.searchsorted(edges, value, side="left" if upper_in_band else "right"))
    if place == 0:
        return f"{'up to' if upper_in_band else 'below'} {edges[0]} {unit}"
    if place == len(edges):
        return f"{'over' if upper_in_band else 'from'} {edges[-1]} {unit}"
    low, high = edges[place - 1], edges[place]
    return f"over {low} to {high} {unit}" if upper_in_band else f"{low} to {high - 1} {unit}"
