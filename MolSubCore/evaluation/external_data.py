"""Another cohort for a model: what of its table can be used, why the rest cannot, and whom it is about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MolSubCore.cohort.splits import Split, subtypes_of
from MolSubCore.cohort.store import Progress, build_store, usable_cases
from MolSubCore.cohort.table import Case, Cohort, parse_cohort
from MolSubCore.errors import CohortError
from MolSubCore.imaging.recipes import Recipe
from MolSubCore.tasks import SubtypeLabel, get_task
from MolSubCore.training.run import TrainingData

#: Why a row was left out.
NO_SUBTYPE, OPEN_CLASS, UNUSABLE = "no subtype", "class left open by the subtype", "image or lesion cannot be used"

_AGES, _SIZES_MM = (40, 50, 60, 70), (20, 50)
_UNKNOWN, _SEVERAL = "unknown", "several"

#: Levels of a column beyond which it is no subgroup.
_MOST_LEVELS = 20


@dataclass(frozen=True, eq=False)
class ExternalCohort:
    """A cohort, read for one model.

    Attributes
    ----------
    data : TrainingData
        Patches, labels in the order of the model's logits, salted ids; all in one partition.
    cohort : Cohort
        The cases that are used.
    left_out : tuple of (int, str)
        Row and reason of all others.
    flow : dict
        Numbers of rows and patients: in the table, left out by reason, used; rows add up.
    errors : tuple of CohortError
        Of the rows whose image or lesion cannot be used, by their numbers.
    """

    data: TrainingData
    cohort: Cohort
    left_out: tuple[tuple[int, str], ...]
    flow: dict[str, Any]
    errors: tuple[CohortError, ...]

    def cases_of(self) -> dict[str, list[Case]]:
        """Cases of each patient by salted id."""
        found: dict[str, list[Case]] = {}
        for study_id, number in zip(self.data.study_ids, self.data.store.case_index.tolist(), strict=True):
            cases = found.setdefault(study_id, [])
            if (case := self.cohort.cases[number]) not in cases:
                cases.append(case)
        return found


def read_external(
    table: Path, card: dict[str, Any], salt: str, cache: Path | None, *, progress: Progress | None = None
) -> ExternalCohort:
    """Read a cohort table for a model; rows that cannot be used are left out and counted.

    Parameters
    ----------
    card : dict
        The model bundle's card: its task, class order and recipe.
    salt : str
        Of the patients' ids.

    Raises
    ------
    CohortError
        If the table cannot be read, a subtype is no subtype, a patient has two, one picture is of two patients, or
        no row can be used.
    """
    everything, cases, left_out = _labelled(table, card["task"])
    recipe = Recipe.from_dict(card["recipe"])
    usable, failed = usable_cases(Cohort(tuple(cases), table), recipe, cache, progress=progress)
    left_out += [(case.row, UNUSABLE) for case, _ in failed]
    subtypes_of(usable)
    store = build_store(usable, recipe, cache)
    split, task = Split({}, salt, 1, -1), get_task(card["task"])
    chosen = [usable.cases[number] for number in store.case_index.tolist()]
    labels = [card["classes"].index(task.class_of[_subtype(case)]) for case in chosen]
    ids = tuple(split.study_id(case.patient_id) for case in chosen)
    data = TrainingData(store, np.array(labels, np.int64), ids, ("test",) * len(ids))
    flow = _flow(everything, usable.cases, left_out)
    return ExternalCohort(data, usable, tuple(sorted(left_out)), flow, tuple(error for _, error in failed))


def _subtype(case: Case) -> SubtypeLabel:
    if case.subtype is None:
        raise CohortError(f"row {case.row}", "has no subtype", "Fill it in, or leave the row out")
    return case.subtype


def _labelled(table: Path, task: str) -> tuple[tuple[Case, ...], list[Case], list[tuple[int, str]]]:
    """All cases; those with a class of the task; the others' rows with their reason."""
    cohort, problems = parse_cohort(table, need_subtype=False)
    problems += [p for p in parse_cohort(table)[1] if p.column == "subtype" and p.text != "is empty"]
    if problems:
        others = f", and {len(problems) - 1} more problem(s)" if len(problems) > 1 else ""
        raise CohortError(table, f"{problems[0]}{others}", f"Correct the table; molsub cohort check {table} lists all")
    chosen, left_out = [], []
    for case in cohort.cases:
        if case.subtype is None:
            left_out.append((case.row, NO_SUBTYPE))
        elif get_task(task).class_of.get(case.subtype) is None:
            left_out.append((case.row, OPEN_CLASS))
        else:
            chosen.append(case)
    if not chosen:
        found = f"has no row with a subtype that task {task} can use ({len(left_out)} row(s) without)"
        raise CohortError(table, found, "Fill in the column subtype, or choose a model of another task")
    return cohort.cases, chosen, left_out


def _flow(everything: Sequence[Case], used: Sequence[Case], left_out: list[tuple[int, str]]) -> dict[str, Any]:
    rows = {case.row: case for case in everything}
    if len(used) + len(left_out) != len(rows):
        raise CohortError("flow", f"{len(used)} + {len(left_out)} rows are not {len(rows)}", "Report this fault")
    kept = {case.patient_id for case in used}
    reasons = {}
    for reason in (NO_SUBTYPE, OPEN_CLASS, UNUSABLE):
        own = [rows[row] for row, why in left_out if why == reason]
        whole = {case.patient_id for case in own} - kept
        reasons[reason] = {"rows": len(own), "patients without another row": len(whole)}
    return {
        "table": {"rows": len(rows), "patients": len({case.patient_id for case in everything})},
        "left_out": reasons,
        "used": {"rows": len(used), "patients": len(kept)},
    }


def patient_levels(external: ExternalCohort, columns: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Level of each patient (salted id) in every subgroup: vendor, age band, lesion size, and columns of the table.

    Raises
    ------
    CohortError
        If the table lacks a column, or it has too many levels for subgroups.
    """
    cases = external.cases_of()
    found = {"vendor": _vendors(external), "age": _ages(cases), "lesion size": _sizes(external)}
    for column in columns:
        found[column] = column_levels(external, column)
        if len(levels := set(found[column].values())) > _MOST_LEVELS:
            text = f"has {len(levels)} levels, subgroups have {_MOST_LEVELS} at most"
            raise CohortError(f"column {column}", text, "Give a column of groups, such as the centre")
    return found


def column_levels(external: ExternalCohort, column: str) -> dict[str, str]:
    """Cell of a column for each patient (salted id); ``several`` where rows differ, ``unknown`` where it is empty.

    Raises
    ------
    CohortError
        If the table has no such column.
    """
    key = column.strip().lower()
    known = {name for case in external.cohort.cases for name in case.extra}
    if key not in known:
        found = f"is not in the table, which has {', '.join(sorted(known)) or 'no columns beside the needed ones'}"
        raise CohortError(f"column {column}", found, "Choose one of these")
    cells = {name: {case.extra.get(key, "") for case in cases} for name, cases in external.cases_of().items()}
    return {name: _one(values) for name, values in cells.items()}


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


def view_counts(external: ExternalCohort) -> dict[str, int]:
    """Images by view."""
    views = {
        number: meta.get("view") or _UNKNOWN
        for number, meta in zip(external.data.store.case_index.tolist(), external.data.store.meta, strict=True)
    }
    return dict(sorted(Counter(views.values()).items()))
