"""A study's cohort in numbers, for tables and flow diagrams: aggregates only, nobody can be found in them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from MolSubCore.cohort.splits import TEST, Split, subtypes_of
from MolSubCore.cohort.table import Case, Cohort
from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.characteristics import Characteristics, characteristics, patient_columns
from MolSubCore.tasks import subtype_order
from MolSubCore.training.run import TrainingData

#: Not of the patients, but of the files.
_NOT_CLINICAL = ("synthetic",)


def describe_cohort(cohort: Cohort, split: Split, data: TrainingData) -> dict[str, Any]:
    """Content of ``STUDY/cohort.json``.

    Parameters
    ----------
    cohort : Cohort
    split : Split
    data : TrainingData
        Of any task.

    Returns
    -------
    dict
        ``summary`` of the patches; ``partitions`` and ``subtypes`` with their numbers of patients and images;
        ``characteristics`` of the patients by subtype (the paper's Table 1), in all, in training and validation, and
        in the test set; the same as text in ``characteristics_table``.
    """
    patients = patient_columns(cohort)
    found = {"all": _characteristics(patients, split, None)}
    found |= {name: _characteristics(patients, split, name == TEST) for name in ("training and validation", TEST)}
    return {
        "summary": data.summary(),
        "partitions": _partitions(cohort, split, data),
        "subtypes": _subtypes(cohort),
        "characteristics": {name: part.to_dict() for name, part in found.items() if part},
        "characteristics_table": {name: part.table() for name, part in found.items() if part},
    }


def _subtypes(cohort: Cohort) -> dict[str, dict[str, int]]:
    patients = Counter(subtypes_of(cohort).values())
    images = Counter(case.subtype for case in {case.image: case for case in cohort.cases}.values())
    return {s.value: {"patients": patients[s], "images": images[s]} for s in subtype_order(patients)}


def _partitions(cohort: Cohort, split: Split, data: TrainingData) -> dict[str, Any]:
    subtypes = {split.study_id(patient): subtype for patient, subtype in subtypes_of(cohort).items()}
    members: dict[str, set[str]] = {}
    for study_id, partition in split.partition.items():
        members.setdefault(str(partition), set()).add(study_id)
    rows: dict[str, list[int]] = {}
    for row, partition in enumerate(data.partitions):
        rows.setdefault(str(partition), []).append(row)
    found = {}
    for name in sorted(members, key=lambda part: (part == TEST, part)):
        patches, counts = rows.get(name, []), Counter(subtypes[study_id] for study_id in members[name])
        views = {int(data.store.case_index[row]): data.store.meta[row].get("view") or "unknown" for row in patches}
        found[name] = {
            "patients": len(members[name]),
            "images": len(views),
            "lesions": len(patches),
            "subtypes": {subtype.value: counts[subtype] for subtype in subtype_order(subtypes.values())},
            "views": dict(sorted(Counter(views.values()).items())),
        }
    return found


def _characteristics(
    patients: tuple[list[Case], dict[str, list[str]]], split: Split, test: bool | None
) -> Characteristics | None:
    """Of all patients (None), those of the test set, or the rest; None where there is no column to describe."""
    cases, columns = patients
    kept = [n for n, case in enumerate(cases) if test is None or (split.partition_of(case.patient_id) == TEST) == test]
    chosen = {name: [cells[n] for n in kept] for name, cells in columns.items() if name not in _NOT_CLINICAL}
    order = [subtype.value for subtype in subtype_order(case.subtype for case in cases if case.subtype)]
    group = [str(cases[n].subtype.value) for n in kept]  # type: ignore[union-attr]
    present = [name for name in order if name in group]
    try:
        return characteristics(group, chosen, order=present) if chosen else None
    except MolSubError:  # a part in which a column cannot be compared; the whole cohort's table still says what it can
        if test is None:
            raise
        return None
