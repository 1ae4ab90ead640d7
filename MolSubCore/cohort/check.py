"""Checks of a cohort before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from MolSubCore.cohort.identity import Sighting, compare_identities, shared_masks, sighting_of
from MolSubCore.cohort.remarks import image_texts, notes_of, region_texts
from MolSubCore.cohort.splits import TWO_SUBTYPES, make_split, two_subtypes
from MolSubCore.cohort.table import Case, Cohort, Problem, parse_cohort, without_paths
from MolSubCore.cohort.table_files import note_lines, row_list
from MolSubCore.errors import CohortError, ImageError, counted
from MolSubCore.imaging.display import display_step
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import MAY_BE_NEGATIVE, Mammogram, maker_name
from MolSubCore.lesions.box_text import read_box
from MolSubCore.lesions.lesion import LesionSet
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import BRIGHT_OR_OUT, extract_rois
from MolSubCore.tasks import TASKS, get_task

if TYPE_CHECKING:
    from MolSubCore.cohort.pictures import ContactSheet

Purpose = Literal["train", "predict", "outline"]


#: Problems are corrected row by row; so many of one kind have one cause.
_TOGETHER = 10


@dataclass(frozen=True)
class CheckReport:
    """What `check_cohort` found.

    Attributes
    ----------
    problems : tuple of Problem
        To be corrected before training.
    notes : tuple of Problem
        To be reviewed.
    displays : tuple of (Case, str, str)
        Every image that could be read: its row, its manufacturer, and the display step of the default recipe.
    counts : dict of str to dict of str to int
        Patients, images, lesions; images per subtype, manufacturer, view; patients per class of every task.
    """

    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    counts: dict[str, dict[str, int]]
    displays: tuple[tuple[Case, str, str], ...] = ()

    def lines(self) -> list[str]:
        """The report for the terminal."""
        lines = [f"{title}: " + ", ".join(f"{k} {v}" for k, v in part.items()) for title, part in self.counts.items()]
        notes = note_lines(self.notes)
        lines += [f"Note: {line}" for line in notes]
        lines += [f"Problem: {line}" for line in note_lines(self.problems, together=_TOGETHER)]
        return [*lines, f"{counted(len(self.problems), 'problem')}, {counted(len(notes), 'note')}."]


def check_cohort(
    path: str | Path,
    *,
    task: str | None = None,
    folds: int | None = None,
    trust_ids: bool = False,
    pictures: ContactSheet | None = None,
    purpose: Purpose = "train",
    progress: Callable[[int, int, str], None] | None = None,
) -> CheckReport:
    """Read every row of a table, its image and its lesion, and list every problem.

    Parameters
    ----------
    task, folds : optional
        Check also that the classes of this task fill this many folds and a test set.
    trust_ids : bool
        Headers that contradict the table are notes, not problems.
    pictures : ContactSheet, optional
        Gets every row with its image and lesions.
    purpose : {'train', 'predict', 'outline'}
        What the table is for: to train and to evaluate it needs subtypes and lesions, to predict lesions, to outline
        neither.

    Raises
    ------
    CohortError
        If the table itself cannot be read or lacks a column, or folds are given without a task.
    """
    if folds is not None and task is None:
        raise CohortError("folds", f"is {folds}, but no task is given whose classes would fill them", "Add --task")
    if task is not None and purpose != "train":
        raise CohortError("--task", f"is for training, but --for is {purpose}", "Leave out --task or --for")
    cohort, problems = parse_cohort(Path(path), need_subtype=purpose == "train", need_lesion=purpose != "outline")
    if not cohort.cases and not problems:
        problems.append(Problem(None, "rows", "there are none below the header"))
    problems += _patients(cohort)
    notes = [*cohort.notes, *_names(cohort)]
    sightings: list[Sighting] = []
    boxes: list[tuple[int, tuple[int, int, int, int], tuple[int, int]]] = []
    counters: dict[str, Counter[str]] = {"Manufacturers": Counter(), "Views": Counter(), "Spacing": Counter()}
    displays: list[tuple[Case, str, str]] = []
    count = 0
    for number, case in enumerate(cohort.cases, start=1):
        mammogram, lesions, wrong, doubts = _open(case, purpose)
        problems += wrong
        notes += doubts
        count += len(lesions.lesions) if lesions is not None else 0
        if pictures is not None:
            pictures.add(case, mammogram, lesions, [problem.text for problem in wrong])
        if mammogram is not None:
            sightings.append(sighting_of(case, mammogram, lesions))
            if case.box and (numbers := read_box(case.box)):
                boxes.append((case.row, numbers, mammogram.shape))
            problems += case.contradictions(mammogram.laterality, mammogram.view)
            counters["Manufacturers"][maker_name(mammogram.manufacturer)] += 1
            counters["Views"][mammogram.view or case.view or "unknown"] += 1
            counters["Spacing"][mammogram.spacing.source] += 1
            step = display_step(mammogram, get_recipe("default").display).name
            displays.append((case, maker_name(mammogram.manufacturer), step))
        if progress:
            progress(number, len(cohort.cases), "")
    notes += _order(boxes)
    identity = compare_identities(sightings, trust=trust_ids)
    problems += identity.problems
    notes += [*identity.notes, *shared_masks(cohort.cases, (*identity.problems, *identity.notes))]
    if task is not None and not problems:
        problems += _division(cohort, task, folds)
    if pictures is not None:
        pictures.finish()
    problems.sort(key=lambda problem: problem.row or 0)
    return CheckReport(tuple(problems), tuple(notes), _counts(cohort, count, counters), tuple(displays))


def _open(case: Case, purpose: Purpose) -> tuple[Mammogram | None, LesionSet | None, list[Problem], list[Problem]]:
    """A row's image and lesions, as far as they can be read; its problems, and the warnings of predictions."""
    try:
        mammogram = read_mammogram(case.image)
    except Exception as error:  # any error is this row's
        return None, None, [Problem(case.row, "image", without_paths(error, [case]))], []
    # A prediction is made of a negative that is alone, and warns of it; neither training nor evaluation counts it.
    refused = [MAY_BE_NEGATIVE] if mammogram.negative and purpose == "train" else []
    negative = [Problem(case.row, "image", f"{text} {BRIGHT_OR_OUT}") for text in refused]
    recipe = get_recipe("default")
    notes = notes_of(case, (text for text in image_texts(mammogram, recipe) if text not in refused))
    column = "mask" if case.mask else "box"
    lesions: LesionSet | None = None
    try:
        if not case.lesion:  # still to be outlined
            return mammogram, None, negative, notes
        lesions = read_lesions(case.lesion, mammogram)
        problems = [Problem(case.row, column, text) for text in lesions.problems]
        notes += notes_of(case, (), lesions.warnings)
        rois = extract_rois(mammogram, lesions, recipe)
        notes += notes_of(case, (), region_texts(rois))
        for roi in rois if not problems else ():
            roi.refuse_constant(case.lesion)
    except ImageError as error:
        return mammogram, lesions, [*negative, Problem(case.row, "image", without_paths(error, [case]))], notes
    except Exception as error:
        return mammogram, lesions, [*negative, Problem(case.row, column, without_paths(error, [case]))], notes
    return mammogram, lesions, [*negative, *problems], notes


def _patients(cohort: Cohort) -> list[Problem]:
    """Breasts with two subtypes, and duplicate rows."""
    rows: dict[tuple[str, str], int] = {}
    found = []
    for case, earlier in two_subtypes(cohort):
        text = f"is {_name(case)}, the same patient has {_name(earlier)} in row {earlier.row}. {TWO_SUBTYPES}"
        found.append(Problem(case.row, "subtype", text))
    for case in cohort.cases:
        row = rows.setdefault((str(case.image), str(case.lesion)), case.row)
        if row != case.row:
            found.append(Problem(case.row, "image", f"is the same image and lesion as in row {row}"))
    return found


def _name(case: Case) -> str:
    return case.subtype.value if case.subtype else "no subtype"


def _order(boxes: list[tuple[int, tuple[int, int, int, int], tuple[int, int]]]) -> list[Problem]:
    """A note where some boxes (of a row: its numbers, its image's shape) do not fit, but all would with x before y."""
    outside = [row for row, (_, _, row1, col1), (rows, columns) in boxes if row1 > rows or col1 > columns]
    exchanged = all(col1 <= rows and row1 <= columns for _, (_, _, row1, col1), (rows, columns) in boxes)
    if not outside or not exchanged:
        return []
    text = f"boxes of {row_list(outside)} reach outside their images; all boxes of the table would fit as x before y"
    return [Problem(None, "box", f"{text} (col0,row0,col1,row1): check the order of all", 9)]


def _names(cohort: Cohort) -> list[Problem]:
    patients = {case.patient_id for case in cohort.cases}
    if len(cohort.cases) > 1 and len(patients) == len(cohort.cases):
        text = "every row has its own; if they name images, give patients, or views of one breast leak between folds"
        return [Problem(None, "patient_id", text)]
    return []


def _division(cohort: Cohort, task: str, folds: int | None) -> list[Problem]:
    try:
        make_split(cohort, get_task(task), folds=5 if folds is None else folds, salt="check")
    except CohortError as error:
        column = "folds" if error.subject == "folds" else "subtype"
        return [Problem(None, column, f"{error.problem}. {error.remedy}")]
    return []


def _counts(cohort: Cohort, lesions: int, counters: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    # A patient with cancers of two subtypes, one in each breast, counts once for each.
    patients = {(case.patient_id, case.subtype): case.subtype for case in cohort.cases if case.subtype}
    sizes = {
        "patients": len({case.patient_id for case in cohort.cases}),
        "images": len(cohort.cases),
        "lesions": lesions,
    }
    by_subtype = Counter(case.subtype.value for case in cohort.cases if case.subtype)
    classes = {
        f"Patients, task {task.name}": dict(
            Counter(name for _, name in {(own, task.class_of.get(label, "undetermined")): 0 for own, label in patients})
        )
        for task in TASKS.values()
    }
    parts = {title: dict(counter.most_common()) for title, counter in counters.items()}
    by_class = {"Images per subtype": dict(by_subtype), **classes} if patients or not cohort.cases else {}
    return {"Cohort": sizes, **by_class, **parts}
