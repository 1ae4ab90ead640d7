"""The cohort of an external validation: its rows, its patients and its subgroups. No heavy library is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from MolSubCore.cohort.columns import of_patients
from MolSubCore.cohort.identity import check_identities
from MolSubCore.cohort.levels import AGE, SEVERAL, SIZE, UNKNOWN, VENDOR, VIEW, built_in_levels, one_level
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.remarks import store_notes
from MolSubCore.cohort.splits import Split, subtypes_of
from MolSubCore.cohort.store import Progress, build_store, usable_cases
from MolSubCore.cohort.table import Case, Cohort, Problem, first_of, parse_cohort
from MolSubCore.cohort.table_files import clean_cell, column_name, note_lines
from MolSubCore.errors import CohortError, MeaninglessError, MolSubError, counted
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.models.fingerprints import DEVELOPMENT, RECALIBRATION, TEST, read_fingerprints
from MolSubCore.tasks import SubtypeLabel, get_task

if TYPE_CHECKING:  # table and names are checked before PyTorch is loaded
    from MolSubCore.training.run import TrainingData


#: Why a row was left out.
NO_SUBTYPE, OPEN_CLASS, UNUSABLE = "no subtype", "class left open by the subtype", "image or lesion cannot be used"
MEANINGLESS = "image or lesion of which a prediction means nothing"
SEEN = "patient with an image that the model was trained on"

#: What becomes of patients whose images the model was trained on.
OverlapChoice = Literal["refuse", "leave-out", "keep"]


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
        Numbers of rows and patients: in the table, left out by reason, used; both add up.
    failed : tuple of Problem
        Why the image or lesion of a row cannot be used, or a prediction of it means nothing.
    overlap : dict
        ``checked`` (whether the model came with what that needs), ``choice``, and by part of the model's own cohort
        (`MolSubCore.models.fingerprints`) the numbers of ``images`` and ``patients`` that are here, too, and of images
        ``by_look``, whose pixels are not equal; ``looks_checked``, false for bundles of before.
    notes : tuple of str
        What should be known of the patients' identities.
    remarks : tuple of Problem
        What is to be reviewed of the images and lesions that are used.
    """

    data: TrainingData
    cohort: Cohort
    left_out: tuple[tuple[int, str], ...]
    flow: dict[str, Any]
    failed: tuple[Problem, ...]
    overlap: dict[str, Any]
    notes: tuple[str, ...] = ()
    remarks: tuple[Problem, ...] = ()

    def cases_of(self) -> dict[str, list[Case]]:
        """Cases of each patient by salted id."""
        numbers = self.data.store.case_index.tolist()
        return _grouped(zip(self.data.study_ids, (self.cohort.cases[number] for number in numbers), strict=True))


@dataclass(frozen=True)
class ExternalTable:
    """A cohort table, read for one task; no image is opened.

    Attributes
    ----------
    source : Path
    everything : tuple of Case
    chosen : tuple of Case
        Those with a class of the task.
    left_out : tuple of (int, str)
        Row and reason of the others.
    notes : tuple of Problem
        What is doubtful about the table.
    """

    source: Path
    everything: tuple[Case, ...]
    chosen: tuple[Case, ...]
    left_out: tuple[tuple[int, str], ...]
    notes: tuple[Problem, ...] = ()

    def cases_of(self) -> dict[str, list[Case]]:
        """Chosen cases of each patient by the table's own id."""
        return _grouped((case.patient_id, case) for case in self.chosen)


def _why(error: CohortError) -> str:
    return MEANINGLESS if isinstance(error.__cause__, MeaninglessError) else UNUSABLE


def _grouped(named: Iterable[tuple[str, Case]]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for name, case in named:
        cases = found.setdefault(name, [])
        if case not in cases:
            cases.append(case)
    return found


def read_external(
    table: ExternalTable,
    card: dict[str, Any],
    salt: str,
    cache: Path | None,
    *,
    overlap: OverlapChoice = "refuse",
    trust_ids: bool = False,
    progress: Progress | None = None,
) -> ExternalCohort:
    """Read the images of a table for a model; rows that cannot be used are left out and counted.

    Parameters
    ----------
    table : ExternalTable
    card : dict
        The model bundle's card: its task, class order and recipe.
    salt : str
        Of the patients' ids.
    overlap : {'refuse', 'leave-out', 'keep'}
        What becomes of patients with images that the model was trained on.
    trust_ids : bool
        Take the table's word where the images name other patients.

    Raises
    ------
    CohortError
        If a patient has two subtypes, the images contradict the table's patients, images are those of the training
        and `overlap` does not allow it, or no row can be used.
    """
    from MolSubCore.training.run import TrainingData, told_by

    recipe = Recipe.from_dict(card["recipe"])
    usable, failed = usable_cases(Cohort(table.chosen, table.source), recipe, cache, progress=progress)
    left_out = [*table.left_out, *((case.row, _why(error)) for case, error in failed)]
    subtypes_of(usable)
    store = build_store(usable, recipe, cache)
    identity = check_identities(usable, store, trust=trust_ids)
    shared, seen = find_overlap(usable, store, card, overlap)
    if seen and overlap == "leave-out":
        gone = [case for case in usable.cases if case.patient_id in seen]
        left_out += [(case.row, SEEN) for case in gone]
        usable = Cohort(tuple(case for case in usable.cases if case.patient_id not in seen), usable.source)
        if not usable.cases:
            raise CohortError(table.source, "holds only patients that the model was trained on", "Give another cohort")
        store = build_store(usable, recipe, cache)
    split, task = Split({}, salt, 1, -1), get_task(card["task"])
    chosen = [usable.cases[number] for number in store.case_index.tolist()]
    labels = [card["classes"].index(task.class_of[_subtype(case)]) for case in chosen]
    ids = tuple(split.study_id(case.patient_id) for case in chosen)
    told = tuple(told_by(case, meta) for case, meta in zip(chosen, store.meta, strict=True))
    data = TrainingData(store, np.array(labels, np.int64), ids, ("test",) * len(ids), told=told)
    flow = _flow(table.everything, usable.cases, left_out)
    told_of = tuple(Problem(case.row, "image or lesion", error.problem) for case, error in failed)
    notes = tuple(note_lines(identity.notes))
    return ExternalCohort(
        data, usable, tuple(sorted(left_out)), flow, told_of, shared, notes, tuple(store_notes(usable, store))
    )


def find_overlap(
    cohort: Cohort, store: PatchStore, card: dict[str, Any], choice: OverlapChoice
) -> tuple[dict[str, Any], set[str]]:
    """Images of a cohort that a model has seen: in numbers, and the patients of whom it was trained on any.

    Raises
    ------
    CohortError
        If there are such patients, and the choice is to refuse them.
    """
    training = card.get("training") or {}
    known = read_fingerprints(training.get("fingerprints"))
    images: dict[str, set[str]] = {name: set() for name in (DEVELOPMENT, TEST, RECALIBRATION)}
    patients: dict[str, set[str]] = {name: set() for name in images}
    near: dict[str, set[str]] = {name: set() for name in images}
    if known:
        parts: dict[str, str | None] = {}  # of each image; one with several lesions is compared once
        for number, meta in zip(store.case_index.tolist(), store.meta, strict=True):
            pixels = meta["pixels"]
            if pixels not in parts:
                equal = known.part_of(pixels)
                parts[pixels] = equal or known.part_like(meta["look"])
                if equal is None and parts[pixels] in near:
                    near[str(parts[pixels])].add(pixels)
            if (part := parts[pixels]) in images:
                images[part].add(pixels)
                patients[part].add(cohort.cases[number].patient_id)
    told: dict[str, Any] = {"checked": known is not None, "choice": choice}
    told["looks_checked"] = known is not None and any(known.sketches.values())
    told |= {
        name: {"images": len(images[name]), "patients": len(patients[name]), "by_look": len(near[name])}
        for name in images
    }
    seen = patients[DEVELOPMENT] | patients[RECALIBRATION]
    # Bundles of before know the hash of their whole cohort only.
    whole = not known and (training.get("plan") or {}).get("data_hash") == store.data_hash()
    if whole and choice != "keep":
        found = "is the cohort that the model was trained on: its figures would not validate it"
        raise CohortError(cohort.source, found, "Give another cohort, or add --overlap keep to see them all the same")
    # What only looks the same is told, and left out where that is asked for: it may be another picture after all.
    found_here, alike = (of[DEVELOPMENT] | of[RECALIBRATION] for of in (images, near))
    if found_here - alike and choice == "refuse":
        found = (
            f"holds {counted(len(found_here), 'image')} of {counted(len(seen), 'patient')} that the model was trained "
            f"on, of {len({case.patient_id for case in cohort.cases})} patients: on them its figures would not "
            "validate it"
            f"{by_look(len(alike))}"
        )
        raise CohortError(cohort.source, found, "Add --overlap leave-out to evaluate the others, or --overlap keep")
    return told | {"whole": whole}, seen


def by_look(count: int) -> str:
    """How many images are known by their look only, in brackets; nothing where none is."""
    return f" ({count} by their look: resaved, displayed otherwise, padded or mirrored)" if count else ""


def _subtype(case: Case) -> SubtypeLabel:
    if case.subtype is None:
        raise CohortError(f"row {case.row}", "has no subtype", "Fill it in, or leave the row out")
    return case.subtype


def read_external_table(table: Path, task: str) -> ExternalTable:
    """Read a cohort table for a task.

    Raises
    ------
    CohortError
        If it cannot be read, a subtype is no subtype, or no row has a class of the task.
    """
    cohort, problems = parse_cohort(table, need_subtype=False)
    if problems or any(case.subtype is None for case in cohort.cases):  # which may be empty, or a word that is none
        problems += [p for p in parse_cohort(table)[1] if p.column == "subtype" and p.text != "is empty"]
    if problems:
        raise CohortError(table, first_of(problems), f"Correct the table; molsub cohort check {table} lists all")
    chosen, left_out = [], []
    for case in cohort.cases:
        if case.subtype is None:
            left_out.append((case.row, NO_SUBTYPE))
        elif get_task(task).class_of.get(case.subtype) is None:
            left_out.append((case.row, OPEN_CLASS))
        else:
            chosen.append(case)
    if not chosen:
        found = f"has no row with a subtype that task {task} can use ({counted(len(left_out), 'row')} without)"
        raise CohortError(table, found, "Fill in the column subtype, or choose a model of another task")
    return ExternalTable(table, cohort.cases, tuple(chosen), tuple(left_out), cohort.notes)


def _flow(everything: Sequence[Case], used: Sequence[Case], left_out: list[tuple[int, str]]) -> dict[str, Any]:
    rows = {case.row: case for case in everything}
    if len(used) + len(left_out) != len(rows):
        raise CohortError("flow", f"{len(used)} + {len(left_out)} rows are not {len(rows)}", "Report this fault")
    kept = {case.patient_id for case in used}
    reasons, told = {}, set(kept)
    for reason in (NO_SUBTYPE, OPEN_CLASS, UNUSABLE, MEANINGLESS, SEEN):
        own = [rows[row] for row, why in left_out if why == reason]
        if reason in (MEANINGLESS, SEEN) and not own:
            continue
        lost = {case.patient_id for case in own} - told
        told |= lost
        reasons[reason] = {"rows": len(own), "patients": len(lost)}
    return {
        "table": {"rows": len(rows), "patients": len({case.patient_id for case in everything})},
        "left_out": reasons,
        "used": {"rows": len(used), "patients": len(kept)},
    }


#: Subgroups that are always shown; a column of such a name is none beside them.
_BUILT_IN = frozenset({VIEW, VENDOR, AGE, SIZE})

#: Levels of a column beyond which it is no subgroup.
_MOST_LEVELS = 20


def patient_levels(external: ExternalCohort, columns: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Level of each patient (salted id) in every subgroup: vendor, age band, lesion size, and columns of the table.

    Raises
    ------
    CohortError
        As `column_groups`.
    """
    data, cases = external.data, external.cases_of()
    return built_in_levels(data.study_ids, data.store.meta, cases) | column_groups(cases, columns)


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
    """Cell of a column for each patient; ``unknown`` where it is empty, or rows differ in what is one of a patient.

    Where they differ in what may be of images it is ``several``.

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
    levels = {name: one_level({case.extra.get(key, "") for case in own}) for name, own in cases.items()}
    if of_patients(key):
        levels = {name: UNKNOWN if level == SEVERAL else level for name, level in levels.items()}
    return levels


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
        found = f"holds {counted(len(cut), 'patient')} in some of their rows only"
        raise MolSubError(named, found, "Give all rows of a patient the same value")
    if not part or len(part) == len(levels):
        found = f"names {len(part)} of the {len(levels)} patients"
        known = ", ".join(sorted(set(levels.values()))[:12])
        raise MolSubError(named, found, f"Name a part that leaves patients to judge it on; {column} has {known}")
    return part
