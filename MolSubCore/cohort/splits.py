"""Split of patients, never images, into a test set and folds.

All images of a patient lie in one partition. Patients are stratified by their molecular subtype,
whatever the task, so that one division serves every task; only where a subtype has too few patients
for that, by their classes in the tasks at hand.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from MolSubCore.cohort.pseudonyms import Salt
from MolSubCore.cohort.table import Case, Cohort
from MolSubCore.cohort.table_files import TABLE_ENDINGS, TableFile, clean_cell, column_name
from MolSubCore.errors import CohortError, MolSubError, counted
from MolSubCore.files import json_text, read_json, write_text
from MolSubCore.tasks import SubtypeLabel, Task

Partition = str | int  # "test", a fold from 1, or 0: in every training part, never validated

TEST = "test"

#: How to fix a patient with two subtypes.
TWO_SUBTYPES = (
    "If they are in different breasts, add a column laterality (L, R) and fill it in all rows of the patient; "
    "otherwise leave out the rows of one"
)


@dataclass(frozen=True)
class Split:
    """Which patient is in which partition.

    Attributes
    ----------
    partition : mapping of str to 'test' or int
        By study id. A number is the fold in which the patient is in the validation part.
    salt : str
        Secret of the study ids; has no effect on the split, and is not written.
    folds, seed : int
        `seed` is -1 for a split made elsewhere.
    nonce : str
        Written in place of the salt; see `MolSubCore.cohort.pseudonyms`.
    """

    partition: Mapping[str, Partition]
    salt: str
    folds: int
    seed: int
    nonce: str = ""

    @cached_property
    def text(self) -> str:
        """Content of a split file: salted study ids and their partitions. A study writes it once per run."""
        counts = Counter(str(part) for part in self.partition.values())
        return json_text(
            {
                "format": "molsub-split",
                "format_version": 2 if self.nonce else 1,
                **Salt(self.salt, self.nonce).to_dict(),
                "folds": self.folds,
                "seed": self.seed,
                "patients": dict(sorted(counts.items())),
                "partition": dict(sorted(self.partition.items())),
            }
        )

    def study_id(self, patient_id: str) -> str:
        """A salted pseudonym of a patient, the same for the same salt."""
        return "S" + hashlib.sha256((self.salt + patient_id).encode()).hexdigest()[:12]

    def partition_of(self, patient_id: str) -> Partition:
        """The patient's partition."""
        return self.partition[self.study_id(patient_id)]


def make_split(
    cohort: Cohort,
    tasks: Task | Sequence[Task],
    *,
    folds: int = 5,
    test_share: float = 0.2,
    seed: int = 21,
    salt: str | None = None,
) -> Split:
    """Split the patients of a cohort: a test set, then folds of the rest.

    Parameters
    ----------
    tasks : Task or sequence of Task
        Each of their classes is in every fold and in the test set.
    folds : int
        1 keeps a fifth of the training patients for one validation.
    test_share : float
        Share of patients in the test set (paper, section 2.3.3: 4:1).

    Raises
    ------
    CohortError
        If a class has too few patients for the folds and the test set, a breast has two subtypes or one of
        undetermined class, or a number is out of range.
    """
    if folds < 1:
        raise CohortError("folds", f"is {folds}, expected 1 or more", "Choose a larger number")
    if not 0 < test_share < 1:
        raise CohortError("test share", f"is {test_share}, expected more than 0 and less than 1", "Choose such a value")
    patients = _strata(subtypes_of(cohort))
    chosen = (tasks,) if isinstance(tasks, Task) else tuple(tasks)
    _check_labels(cohort, chosen)
    need = max(folds, 2) + 1
    for task in chosen:
        _check_classes(cohort, task, Counter(task.class_of[subtype] for subtype in patients.values()), folds, need)
    fine = Counter(patients.values())
    strata: dict[str, object] = dict(patients)
    if min(fine.values()) < need:
        strata = {name: tuple(task.class_of[subtype] for task in chosen) for name, subtype in patients.items()}
    names = sorted(strata)
    order = np.random.default_rng(seed).permutation(len(names))
    test = _draw(names, order, strata, test_share, keep=max(folds, 2))
    rest = [n for n in order if names[n] not in test]
    partition: dict[str, Partition] = dict.fromkeys(test, TEST)
    if folds == 1:
        validation = _draw(names, rest, strata, 0.2, keep=1)
        partition |= {names[n]: int(names[n] in validation) for n in rest}
    else:
        # Dealt in turn, stratum after stratum: every fold gets its share of each stratum and of all patients.
        dealt = sorted(rest, key=lambda n: str(strata[names[n]]))
        partition |= {names[n]: position % folds + 1 for position, n in enumerate(dealt)}
    made = Salt(salt) if salt else Salt.new()
    split = Split({}, made.value, folds, seed, made.nonce)
    return replace(split, partition={split.study_id(patient): partition[patient] for patient in names})


def _check_labels(cohort: Cohort, tasks: Sequence[Task]) -> None:
    """Refuse subtypes too coarse for a task, naming the first row."""
    for task in tasks:
        open_rows = [case for case in cohort.cases if case.subtype and task.class_of.get(case.subtype) is None]
        if open_rows and (label := open_rows[0].subtype):
            try:
                task.index_of(label)
            except MolSubError as error:
                found = f"{counted(len(open_rows), 'row')}, first row {open_rows[0].row}: {error.problem}"
                raise CohortError(cohort.source, found, error.remedy) from None


def _check_classes(cohort: Cohort, task: Task, counts: Counter[str], folds: int, need: int) -> None:
    for name in task.classes:
        if counts[name] < need:
            patients = counted(counts[name], "patient")
            found = f"class {name} has {patients}, {counted(folds, 'fold')} and a test set need {need}"
            raise CohortError(cohort.source, found, "Use fewer --folds, more patients, or another task")


def subtypes_of(cohort: Cohort) -> dict[str, tuple[SubtypeLabel, ...]]:
    """Subtypes of every patient: one, or one of each breast where these have cancers of two subtypes.

    Raises
    ------
    CohortError
        If a patient has none, or a breast has two.
    """
    found: dict[str, tuple[SubtypeLabel, ...]] = {}
    for case in cohort.cases:
        if case.subtype is None:
            raise CohortError(f"row {case.row}", "has no subtype", "Fill it in, or leave the row out")
        found[case.patient_id] = tuple(dict.fromkeys((*found.get(case.patient_id, ()), case.subtype)))
    for case, earlier in two_subtypes(cohort):
        text = f"row {case.row}: this patient has another subtype in row {earlier.row}"
        raise CohortError(cohort.source, text, TWO_SUBTYPES)
    return found


def two_subtypes(cohort: Cohort) -> Iterator[tuple[Case, Case]]:
    """Rows whose subtype contradicts that of an earlier row of the same breast, or of one of unknown side."""
    first: dict[str, list[Case]] = {}
    for case in cohort.cases:
        own = first.setdefault(case.patient_id, [])
        for earlier in own:
            differ = case.subtype and earlier.subtype and earlier.subtype is not case.subtype
            if differ and not (earlier.side and case.side and earlier.side != case.side):
                yield case, earlier
                break
        if not any((earlier.side, earlier.subtype) == (case.side, case.subtype) for earlier in own):
            own.append(case)


def _strata(subtypes: Mapping[str, tuple[SubtypeLabel, ...]]) -> dict[str, SubtypeLabel]:
    """The stratum of each patient: the subtype; of two, the rarer one."""
    counts = Counter(subtype for own in subtypes.values() for subtype in own)
    return {patient: min(own, key=lambda subtype: counts[subtype]) for patient, own in subtypes.items()}


def _draw(names: list[str], order: object, strata: dict[str, object], share: float, *, keep: int) -> set[str]:
    """A share of every stratum, at least one patient of each; rounding errors are spread over the strata.

    At least `keep` of each stratum stay, one for every fold.
    """
    members: dict[str, list[str]] = {}
    for n in order:  # type: ignore[attr-defined]
        members.setdefault(str(strata[names[n]]), []).append(names[n])
    drawn: set[str] = set()
    carried = 0.0
    for stratum in sorted(members):
        wanted = len(members[stratum]) * share + carried
        count = max(min(max(round(wanted), 1), len(members[stratum]) - keep), 0)
        carried = min(wanted - count, 1.0)  # one large stratum does not make up for many small ones
        drawn.update(members[stratum][:count])
    return drawn


def write_split(split: Split, path: Path) -> None:
    """Write a split file: salted study ids and their partitions."""
    write_text(path, split.text)


def read_split(path: Path, cohort: Cohort) -> Split:
    """Read a split file of ours, or a table with ``patient_id,partition`` (``test``, or a fold from 1).

    Raises
    ------
    CohortError
        If a patient of the cohort is missing, in two partitions, or not in the cohort.
    """
    split = _from_csv(path) if path.suffix.lower() in TABLE_ENDINGS else _from_json(path)
    rows: dict[str, int] = {}
    for case in cohort.cases:
        rows.setdefault(split.study_id(case.patient_id), case.row)
    missing = [row for study_id, row in rows.items() if study_id not in split.partition]
    if missing:
        text = f"lacks {counted(len(missing), 'patient')} of the table, first that of row {missing[0]}"
        raise CohortError(path, text, "Use the split of this cohort, or leave out --split")
    unknown = len(set(split.partition) - set(rows))
    if unknown:
        raise CohortError(
            path, f"names {counted(unknown, 'patient')} that the table lacks", "Use the split of this cohort"
        )
    return split


def _from_json(path: Path) -> Split:
    content = read_json(path)
    try:
        partition = {str(k): v if v == TEST else operator.index(v) for k, v in content["partition"].items()}
        folds, seed = operator.index(content["folds"]), operator.index(content["seed"])
        salt = Salt.read(path, content)
        return _checked(path, Split(partition, salt.value, folds, seed, salt.nonce))
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CohortError(
            path, f"is not a split file ({reason})", "Use RUN/split.json, or a csv patient_id,partition"
        ) from None


def _from_csv(path: Path) -> Split:
    parts: dict[str, Partition] = {}
    file = TableFile(path)
    rows = file.rows()
    _, header = next(rows, (1, []))
    columns = [column_name(cell).replace(" ", "_") for cell in header]
    if not {"patient_id", "partition"} <= set(columns):
        found = ", ".join(name for name in columns if name) or "none"
        raise CohortError(path, f"is not a split table; its columns: {found}", "Give the columns patient_id,partition")
    for number, cells in rows:
        row = dict(zip(columns, map(clean_cell, cells), strict=False))
        patient, part = row.get("patient_id", ""), row.get("partition", "").lower()
        if not patient and not part:
            continue
        if patient and (why := file.why_no_id(patient, columns.index("patient_id"))):
            raise CohortError(path, f"row {number}, patient_id: {why}", "Correct the table")
        if not patient or not (part == TEST or re.fullmatch(r"[+-]?\d{1,6}", part, re.ASCII)):
            lacking = "" if patient else " and no patient_id"
            found = f"is not a split table: row {number} has the partition '{part}'{lacking}"
            raise CohortError(path, found, "Give the columns patient_id,partition: test, or a fold from 1")
        value: Partition = TEST if part == TEST else int(part)
        if parts.setdefault(patient, value) != value:
            raise CohortError(path, f"puts a patient into partitions {parts[patient]} and {value}", "Keep one")
    salt, folds = Salt.new(), max((v for v in parts.values() if isinstance(v, int)), default=0)
    split = Split({}, salt.value, folds, -1, salt.nonce)
    return _checked(path, replace(split, partition={split.study_id(name): value for name, value in parts.items()}))


def _checked(path: Path, split: Split) -> Split:
    used = set(split.partition.values())
    wrong = used - {TEST, 0, *range(1, split.folds + 1)}
    lacking = {TEST, *range(1, split.folds + 1)} - used
    if wrong or lacking or split.folds < 1:
        told = ", ".join(sorted(map(str, used)))
        text = f"has the partitions {told}, expected 'test' and folds 1, 2, ... without a gap"
        raise CohortError(path, text, "Correct the partitions")
    return split
