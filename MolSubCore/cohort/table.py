"""A cohort table: one row per image, with its patient, its lesion and the tumour's subtype."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from MolSubCore.cohort.table_files import (
    Problem,
    TableFile,
    clean_cell,
    column_name,
    is_error_value,
    note_lines,
    read_rows,
    row_list,
)
from MolSubCore.errors import CohortError, MolSubError, explain_error, hide_paths, printable
from MolSubCore.files import Finder, named_file, why_missing
from MolSubCore.imaging.box_text import read_box
from MolSubCore.tasks import Subtype, SubtypeLabel, parse_subtype

__all__ = ["Case", "Cohort", "Problem", "parse_cohort", "read_cohort", "read_rows", "tell_notes", "without_paths"]

#: The paper's own table, by our names.
_PAPER_COLUMNS = {"name": "patient_id", "img_path": "image", "annotation_path": "mask", "label": "subtype"}
_KNOWN = ("patient_id", "image", "mask", "box", "subtype")
#: Cells that say that nothing is known, in any case.
MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "unknown", "missing", "?", "-"})

_LABEL = re.compile(r"[0-4](\.0+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_AGE = re.compile(r"0*(\d{1,3})\s*[Yy]")


@dataclass(frozen=True)
class Case:
    """One image of one patient.

    Attributes
    ----------
    row : int
        Row in the table as a spreadsheet counts: the header is row 1.
    patient_id : str
        As text, so that 007 stays 007.
    image : Path
    mask : Path or None
        Mask or polygon file.
    box : str or None
        ``row0,col0,row1,col1``, where no mask is.
    subtype : Subtype, PartialSubtype or None
    extra : dict
        All other columns.
    """

    row: int
    patient_id: str
    image: Path
    mask: Path | None
    box: str | None
    subtype: SubtypeLabel | None
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def lesion(self) -> Path | str:
        """What `read_lesions` takes: the mask, or else the box."""
        return self.mask if self.mask is not None else self.box or ""


def without_paths(error: Exception, cases: Sequence[Case]) -> str:
    """What is wrong with the files of table rows, with no path in it: paths tell patients' names, a log may be read.

    Parameters
    ----------
    error : Exception
        Of any kind: whatever goes wrong with a row is that row's failure.
    cases : sequence of Case

    Returns
    -------
    str
        Without a final full stop.
    """
    if isinstance(error, MolSubError):
        files = {str(case.image): "its image" for case in cases} | {str(case.mask): "its mask" for case in cases}
        subject = files.get(error.subject, "one of its files" if re.search(r"[/\\]", error.subject) else error.subject)
        missing = why_missing(error.subject) if error.problem.startswith("does not exist") else ""
        said = f"{subject} {error.problem}{missing}. {error.remedy}"
    elif isinstance(error, OSError):
        said = f"its image or mask cannot be read ({error.strerror or type(error).__name__})"
    else:
        said = f"its image or mask cannot be used ({explain_error(error)[0].rstrip('.')})"
    paths = [path for case in cases for path in (case.image, case.mask) if path is not None]
    return printable(hide_paths(said, paths), 1200)


@dataclass(frozen=True)
class Cohort:
    """All cases of a table, in its order.

    Attributes
    ----------
    cases : tuple of Case
    source : Path
    notes : tuple of Problem
        What had to be decided to read the table, and what is doubtful in it.
    """

    cases: tuple[Case, ...]
    source: Path
    notes: tuple[Problem, ...] = ()


def tell_notes(cohort: Cohort) -> None:
    """Say on the standard error what had to be decided to read a table, and what is doubtful in it."""
    for line in note_lines(cohort.notes):
        print(f"Note: {line}", file=sys.stderr)


def read_cohort(path: str | Path, *, need_subtype: bool = True) -> Cohort:
    """Read a cohort table; files it names are not opened.

    Parameters
    ----------
    path : path
        csv (comma, semicolon), tsv, or xlsx (first sheet) with the columns ``patient_id, image,
        mask, subtype`` in any order; ``box`` may stand for ``mask``. The paper's own table
        (``name, img_path, annotation_path, label``) is recognised. Paths are relative to the table.
    need_subtype : bool
        False for prediction: the subtype may then be absent.

    Raises
    ------
    CohortError
        If a column is missing or a row is wrong; the first such row is named.
    """
    cohort, problems = parse_cohort(Path(path), need_subtype=need_subtype)
    if problems:
        others = f", and {len(problems) - 1} more problem(s)" if len(problems) > 1 else ""
        remedy = f"Correct the table; molsub cohort check {path} lists everything"
        raise CohortError(path, f"{problems[0]}{others}", remedy)
    if not cohort.cases:
        raise CohortError(path, "has no rows below its header", "Add one row per image")
    return cohort


def parse_cohort(path: Path, *, need_subtype: bool = True, need_lesion: bool = True) -> tuple[Cohort, list[Problem]]:
    """Read a table with all problems of its cells instead of the first; a case per row without any.

    Without `need_lesion` a case may have neither mask nor box: it is still to be outlined.
    """
    file = TableFile(path)
    rows = file.rows()
    _, header = next(rows, (1, []))
    columns = [column_name(cell) for cell in header]
    columns = [name if (known := name.replace(" ", "_").replace("-", "_")) not in _KNOWN else known for name in columns]
    paper = {"name", "img_path", *(["label"] if need_subtype else [])} <= set(columns)
    if paper:
        columns = [_PAPER_COLUMNS.get(name, name) for name in columns]
    needed = ["patient_id", "image", *(["subtype"] if need_subtype else [])]
    missing = [name for name in needed if name not in columns]
    if need_lesion and "mask" not in columns and "box" not in columns:
        missing.append("mask (or box)")
    if missing:
        found = ", ".join(name for name in columns if name) or "none"
        raise CohortError(
            path, f"lacks the column(s) {', '.join(missing)}; found: {found}", "Add them to the header row"
        )
    doubled = {name for name, count in Counter(columns).items() if name and count > 1}
    if doubled:
        raise CohortError(path, f"has the column(s) {', '.join(sorted(doubled))} twice", "Rename one of each")
    cases, problems, labels, finder = [], [], [], Finder()
    for number, cells in rows:
        values = dict(zip(columns, cells, strict=False))
        if not any(cell.strip() for cell in values.values()):
            continue
        wrong = [
            Problem(number, name, f"is empty: {why}")
            for place, name in enumerate(columns)
            if name in needed and not values.get(name, "").strip() and (why := file.why_empty(number, place))
        ]
        if not wrong:
            case, wrong = _parse_row(number, values, path.parent, finder, need_subtype, need_lesion)
        else:
            case = None
        if any(cell.strip() for cell in cells[len(columns) :]):
            text = f"has {len(cells)} cells, the header has {len(columns)}; quote cells that hold the separator"
            case, wrong = None, [Problem(number, "cells", text)]
        problems += wrong
        if case is not None:
            cases.append(case)
            if not paper and _LABEL.fullmatch(clean_cell(values.get("subtype", ""))):
                labels.append(case)
    notes = [*file.notes, *_normalised(cases), *_alike(cases)]
    if labels:
        told, sure = _number_labels(labels)
        if sure:
            notes.append(told)
        else:
            kept = {case.row for case in labels}
            cases = [replace(case, subtype=None) if case.row in kept else case for case in cases]
            problems += [told] if need_subtype else []
    return Cohort(tuple(cases), path, tuple(notes)), problems


def _parse_row(
    number: int, raw: dict[str, str], folder: Path, finder: Finder, need_subtype: bool, need_lesion: bool
) -> tuple[Case | None, list[Problem]]:
    values = {name: clean_cell(cell) for name, cell in raw.items()}
    wrong = [Problem(number, name, "is empty") for name in ("patient_id", "image") if not values.get(name)]
    if re.fullmatch(r"\d+[.,]\d+E\+?\d+|\d+E\+\d+", values.get("patient_id", ""), re.IGNORECASE):
        text = "is a long number that a spreadsheet rounded: several patients may have one id; give it as text"
        wrong.append(Problem(number, "patient_id", text))
    wrong += [Problem(number, name, "has a NUL byte") for name, value in values.items() if "\0" in value]
    wrong += [
        Problem(number, name, f"is {values[name]}, which a spreadsheet shows in place of a value; correct the cell")
        for name in _KNOWN
        if name in values and is_error_value(values[name])
    ]
    if "\ufffd" in values.get("patient_id", ""):
        text = "has a letter that was lost when the table was saved (U+FFFD); save it as UTF-8 from its source"
        wrong.append(Problem(number, "patient_id", text))
    mask, box = named_file(raw.get("mask", "").strip()) or None, values.get("box") or None
    if mask and box:
        wrong.append(Problem(number, "box", "is given beside a mask; keep one of them"))
    if need_lesion and not mask and not box:
        wrong.append(Problem(number, "mask", "is empty, and there is no box"))
    subtype: SubtypeLabel | None = None
    if values.get("subtype") and not is_error_value(values["subtype"]):
        try:
            subtype = parse_subtype(values["subtype"])
        except MolSubError as error:
            if need_subtype:
                wrong.append(Problem(number, "subtype", f"{error.problem}. {error.remedy}"))
    elif need_subtype and not values.get("subtype"):
        wrong.append(Problem(number, "subtype", "is empty"))
    if wrong:
        return None, wrong
    if box and (numbers := read_box(box)):
        box = ",".join(map(str, numbers))
    extra = {name: value for name, value in values.items() if name and name not in _KNOWN}
    image = finder.find(folder, named_file(raw["image"].strip()))
    outline = finder.find(folder, mask) if mask else None
    return Case(number, values["patient_id"], image, outline, box, subtype, extra), []


def _number_labels(labels: Sequence[Case]) -> tuple[Problem, bool]:
    """Numbers as subtypes in a table that is not the paper's own: how they were read, or that it cannot be known.

    They are the paper's labels if one is 0 and one is more than 1: 1 to 4 may count from 1, 0 and 1 may be no and yes.
    """
    names = ", ".join(f"{n} {subtype.value}" for n, subtype in enumerate(Subtype))
    rows, found = row_list(case.row for case in labels), {case.subtype for case in labels}
    order = list(Subtype)
    if order[0] in found and found & set(order[2:]):
        return Problem(None, "subtype", f"the numbers of {rows} were read as the paper's labels: {names}", 9), True
    text = f"the numbers of {rows} may mean several things; write the names instead (the paper's labels are {names})"
    return Problem(None, "subtype", text), False


def _normalised(cases: Sequence[Case]) -> list[Problem]:
    """Turn decimal commas and DICOM ages in the further columns into plain numbers; what was done, or is doubtful."""
    notes = []
    for name in dict.fromkeys(name for case in cases for name in case.extra):
        own = [case for case in cases if case.extra.get(name, "").casefold() not in MISSING]
        if name == "age":
            for case in own:
                if age := _AGE.fullmatch(case.extra[name]):
                    case.extra[name] = age[1]
        commas = [case for case in own if "," in case.extra[name] and _numeric(case.extra[name])]
        if 2 * sum(_numeric(case.extra[name]) for case in own) >= len(own) and commas:
            rows = row_list(case.row for case in commas)
            if not all(_numeric(case.extra[name]) for case in own):
                text = f"the commas of {rows} are not read as decimal: other cells of the column are no numbers"
                notes.append(Problem(None, name, text, 6))
            elif all(_THOUSANDS.fullmatch(case.extra[name]) for case in commas):
                text = f"the commas of {rows} may be decimal or part thousands: these cells are not read as numbers"
                notes.append(Problem(None, name, f"{text}; write them without", 7))
            else:
                for case in commas:
                    case.extra[name] = _with_point(case.extra[name])
                notes.append(Problem(None, name, f"decimal commas in {rows} were read as decimal points", 4))
        errors = [case.row for case in own if is_error_value(case.extra[name])]
        if errors:
            text = f"has what a spreadsheet shows in place of a value (#N/A and the like) in {row_list(errors)}"
            notes.append(Problem(None, name, text, 6))
        if name == "age":
            wrong = [
                case.row
                for case in own
                if not _NUMBER.fullmatch(case.extra[name]) or not 0 < float(case.extra[name]) < 120
            ]
            if wrong:
                text = f"is no age in years in {row_list(wrong)}: expected a number from 1 to 119; it counts as unknown"
                notes.append(Problem(None, name, text, 6))
    return notes


def _numeric(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or _DECIMAL_COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell))


def _with_point(cell: str) -> str:
    """A number with a decimal comma as one with a point; a comma that parts thousands goes where a point is beside."""
    return cell.replace(".", "").replace(",", ".")


def _alike(cases: Sequence[Case]) -> list[Problem]:
    """Patients whose ids differ only in capitals, blanks and separators, or leading zeros: one under two ids leaks."""
    groups: dict[str, dict[str, int]] = {}
    for case in cases:
        key = re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\W_]+", " ", case.patient_id.casefold()))
        groups.setdefault(key, {}).setdefault(case.patient_id, case.row)
    rows = [row for ids in groups.values() if len(ids) > 1 for row in ids.values()]
    if not rows:
        return []
    text = f"ids of {row_list(rows)} differ only in capitals, separators or leading zeros; give one patient one id"
    return [Problem(None, "patient_id", text, 9)]
