"""A cohort table: one row per image, with its patient, its lesion and the tumour's subtype."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path

from MolSubCore.cohort import columns as known_columns
from MolSubCore.cohort.table_files import (
    BROKEN,
    CONTROLS,
    INVISIBLE,
    NA_WORDS,
    Problem,
    TableFile,
    clean_cell,
    column_name,
    is_error_value,
    is_misread,
    is_missing,
    may_be_date,
    may_be_rounded,
    note_lines,
    row_list,
)
from MolSubCore.errors import CohortError, MolSubError, counted, explain_error, hide_paths, listed, printable
from MolSubCore.files import Finder, named_file, why_missing
from MolSubCore.imaging.view_text import Side, contradiction, read_side, read_view_text
from MolSubCore.lesions.box_text import read_box
from MolSubCore.tasks import (
    Subtype,
    SubtypeLabel,
    contradicting_receptors,
    leaves_her2_open,
    number_label,
    parse_subtype,
)

__all__ = [
    "Case",
    "Cohort",
    "Problem",
    "first_of",
    "parse_cohort",
    "read_cohort",
    "tell_notes",
    "without_paths",
]

#: The paper's own table, by our names.
_PAPER_COLUMNS = {"name": "patient_id", "img_path": "image", "annotation_path": "mask", "label": "subtype"}
_KNOWN = ("patient_id", "image", "mask", "box", "subtype")

_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_WHOLE = re.compile(r"(\d+)(?:\.0+)?")
_PARTED = re.compile(r"\d{1,3}(?:[.,'\u2019 ]\d{3})+")
#: Small Cyrillic and Greek letters that look like Latin ones.
_LOOK_ALIKES = str.maketrans("авекмнорстухіјѕαβεικνορτυχ", "abekmhopctyxijsabeiknoptux")
#: Rows that R and NumPy would pass over.
_COMMENTED = "begins with #, as only rows that are commented out do (R, NumPy); delete the row, or the # if it counts"
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

    @property
    def sides(self) -> dict[str, Side]:
        """The side of the breast by column, columns of sides before those of views (``L-MLO``)."""
        columns = known_columns.SIDES, known_columns.VAGUE_SIDES
        found = {column: read_side(cell) for names in columns for column, cell in self._cells(names)}
        found |= {column: read_view_text(cell).side for column, cell in self._cells(known_columns.VIEWS)}
        return {column: side for column, side in found.items() if side}

    @property
    def side(self) -> Side | None:
        """The side of the breast stated in the row."""
        return next(iter(self.sides.values()), None)

    @property
    def views(self) -> dict[str, str | None]:
        """The view by column; None where it is not understood."""
        return {column: read_view_text(cell).view for column, cell in self._cells(known_columns.VIEWS)}

    @property
    def view(self) -> str | None:
        """The view stated in the row."""
        return next(filter(None, self.views.values()), None)

    @property
    def lesion_column(self) -> str:
        """The column of the lesion id; empty where there is none."""
        vague = [name for name, cell in self._cells(known_columns.VAGUE_LESIONS) if known_columns.is_lesion_id(cell)]
        return next((name for name in (*(name for name, _ in self._cells(known_columns.LESIONS)), *vague)), "")

    @property
    def lesion_id(self) -> str:
        """Which of the patient's lesions it is; empty where unknown."""
        cell = self.extra.get(self.lesion_column, "")
        return number[1] if (number := _WHOLE.fullmatch(cell)) else cell

    def contradictions(self, side: str | None, view: str | None) -> list[Problem]:
        """Contradictions between the row's side and view and those of its image."""
        told = [(column, contradiction(own, side)) for column, own in self.sides.items()][:1]
        told += [(column, contradiction(own, view)) for column, own in self.views.items() if own]
        return [Problem(self.row, column, text) for column, text in told if text]

    def doubtful_facts(self) -> tuple[list[Problem], list[Problem]]:
        """Problems of the row's sides and views by themselves, and notes on values that are not understood."""
        known = self.sides
        wrong = [
            Problem(self.row, column, "is not a known side: expected L or R (left, right), or empty")
            for column, _ in self._cells(known_columns.SIDES)
            if column not in known
        ]
        if len(set(known.values())) > 1:
            told = ", ".join(f"{column} says {side}" for column, side in known.items())
            wrong.append(Problem(self.row, next(iter(known)), f"is contradicted by the same row: {told}"))
        unknown = [
            Problem(self.row, column, "is not a known side, and was not read as one", 4)
            for column, _ in self._cells(known_columns.VAGUE_SIDES)
            if column not in known
        ]
        unknown += [
            Problem(self.row, column, "is not a number or letter of a lesion, and was not read as one", 4)
            for column, cell in self._cells(known_columns.VAGUE_LESIONS)
            if not known_columns.is_lesion_id(cell)
        ]
        for column, cell in self._cells(known_columns.VIEWS):
            said = read_view_text(cell)
            if said.kinds:
                text, weight = f"says that this is not a standard view: {', '.join(said.kinds)}", 5
            elif said.view is None:
                text, weight = "is not a known view, such as CC, MLO or L-MLO", 3
            elif said.unknown:
                text, weight = f"was read as {said.view}, with an unknown word", 3
            else:
                continue
            unknown.append(Problem(self.row, column, text, weight))
        return wrong, unknown

    def _cells(self, columns: frozenset[str]) -> list[tuple[str, str]]:
        """Columns of these names, in any spelling, with their non-missing cells."""
        own = known_columns.named(tuple(self.extra), columns)
        return [(name, self.extra[name]) for name in own if not is_missing(self.extra[name])]


def first_of(problems: Sequence[Problem]) -> str:
    """The first problem of a table, and how many more there are, for an error."""
    return str(problems[0]) + (f", and {counted(len(problems) - 1, 'more problem')}" if len(problems) > 1 else "")


def without_paths(error: Exception, cases: Sequence[Case]) -> str:
    """An error about files of table rows without any path: paths may contain patients' names, and logs are shared.

    Parameters
    ----------
    error : Exception
        Of any kind.
    cases : sequence of Case

    Returns
    -------
    str
        Without a final full stop.
    """
    if isinstance(error, MolSubError):
        files = {str(case.image): "its image" for case in cases} | {str(case.mask): "its mask" for case in cases}
        # What is no box may be a name, or a birth date, where columns were shifted.
        wrong = [case.box for case in cases if case.box and read_box(case.box) is None]
        files |= {name: "its box" for box in wrong for name in (box, f"box {box}")}
        subject = files.get(error.subject, "one of its files" if re.search(r"[/\\]", error.subject) else error.subject)
        missing = why_missing(error.subject) if error.problem.startswith("does not exist") else ""
        named = "" if subject == "predict" else f"{subject} "  # the row stands for the command
        said = f"{named}{error.problem}{missing}. {error.remedy}"
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
        What was assumed to read the table, and what is doubtful in it.
    wrong_rows : dict
        The patient_id of each row that has no case for problems of its own cells; empty where it is not known.
    """

    cases: tuple[Case, ...]
    source: Path
    notes: tuple[Problem, ...] = ()
    wrong_rows: dict[int, str] = field(default_factory=dict)


def tell_notes(cohort: Cohort) -> None:
    """Print a table's notes on standard error."""
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
    _refuse(path, problems)
    if not cohort.cases:
        raise CohortError(path, "has no rows below its header", "Add one row per image")
    return cohort


def read_rows_apart(path: str | Path) -> tuple[Cohort, list[Problem]]:
    """Read a table to predict from: a wrong cell is its row's problem, all others are read.

    Returns
    -------
    Cohort
        `Cohort.wrong_rows` says whose the rows are that could not be read.
    list of Problem
        Why, of one row each.

    Raises
    ------
    CohortError
        Where `read_cohort` would raise it for more than the cells of single rows, or if no row can be read.
    """
    cohort, problems = parse_cohort(Path(path), need_subtype=False)
    # Cells in the wrong place may be those of other rows, or columns; nobody knows which.
    own = [one for one in problems if one.row in cohort.wrong_rows and one.column != "cells"]
    if not cohort.cases or len(own) < len(problems):
        _refuse(path, problems)
        return read_cohort(path, need_subtype=False), []
    return cohort, own


def _refuse(path: str | Path, problems: Sequence[Problem]) -> None:
    if problems:
        remedy = f"Correct the table; molsub cohort check {path} lists everything"
        raise CohortError(path, first_of(problems), remedy)


def parse_cohort(path: Path, *, need_subtype: bool = True, need_lesion: bool = True) -> tuple[Cohort, list[Problem]]:
    """Read a table with all problems of its cells instead of the first; a case per row without any.

    Without `need_lesion` a case may have neither mask nor box: it is to be outlined.
    """
    file = TableFile(path)
    rows = file.rows()
    top, header = next(rows, (1, []))
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
        lower = [number for number, cells in islice(rows, 20) if {"image", "img_path"} & set(map(column_name, cells))]
        remedy = (
            f"Row {lower[0]} looks like the header: delete the rows above it" if lower else "Add them to the header row"
        )
        where = f" in row {top}" if top > 1 else ""
        where += f" (cells separated by {file.separator})" if file.separator and any(columns) else ""
        where += "".join(f" ({note.text})" for note in file.notes if note.column == "workbook")
        raise CohortError(
            path,
            f"lacks the {listed('column', missing)}; found{where}: {found}",
            remedy,
        )
    doubled = {name for name, count in Counter(columns).items() if name and count > 1}
    if doubled:
        raise CohortError(path, f"has the {listed('column', sorted(doubled))} twice", "Rename one of each")
    names = [column_name(cell) for cell in header]
    cases, problems, labels, finder = [], [], [], Finder()
    her2_open: list[int] = []
    enriched: list[int] = []
    unnamed = [place for place, name in enumerate(columns) if not name]
    id_place = columns.index("patient_id")
    nameless: list[int] = []
    short: list[int] = []
    commented: list[int] = []
    steering: list[int] = []
    hidden: list[int] = []
    count = longer = split = 0
    wrong_rows: dict[int, str] = {}
    written: dict[str, dict[str, int]] = {}  # by id: its spellings, each with the first row
    for number, cells in rows:
        values = dict(zip(columns, cells, strict=False))
        if not any(clean_cell(cell) for cell in cells):
            continue
        count += 1
        begin = clean_cell(cells[0])
        commented += [number] if begin.startswith("#") and not is_error_value(begin) else []
        steering += [number] if any(CONTROLS.search(cell) for cell in cells if not cell.isprintable()) else []
        hidden += [number] if INVISIBLE.search(values.get("subtype", "")) else []
        nameless += [number] if any(clean_cell(cells[n]) for n in unnamed if n < len(cells)) else []
        short += [number] if len(cells) < len(columns) else []
        wrong = [
            Problem(number, name, f"is empty: {why}")
            for place, name in enumerate(columns)
            if name in needed and not values.get(name, "").strip() and (why := file.why_empty(number, place))
        ]
        case = None
        if len(cells) == len(names) and all(map(_is_named, cells, names)):
            wrong = [Problem(number, "cells", "repeats the header; delete the row")]
        elif not wrong:
            why = file.why_no_id(clean_cell(values.get("patient_id", "")), id_place)
            case, wrong = _parse_row(number, values, path.parent, finder, why, need_subtype, need_lesion)
        if any(clean_cell(cell) for cell in cells[len(columns) :]):
            case, wrong = None, [Problem(number, "cells", _too_many(file, cells, len(columns)))]
            longer += int(len(cells) == len(columns) + 1)
            # The first cell is the name of a row where R wrote one.
            split += int(
                any(one.strip().isdecimal() and other.strip().isdecimal() for one, other in pairwise(cells[1:]))
            )
        problems += wrong
        if case is None:
            is_known = not any(one.column in ("patient_id", "cells") for one in wrong)
            wrong_rows[number] = clean_cell(values.get("patient_id", "")) if is_known else ""
        else:
            cases.append(case)
            raw = unicodedata.normalize("NFC", values["patient_id"]).strip()
            written.setdefault(case.patient_id, {}).setdefault(raw, number)
            subtype = clean_cell(values.get("subtype", ""))
            if number_label(subtype) is not None:
                labels.append(case)
            if case.subtype is not None and leaves_her2_open(subtype):
                her2_open.append(number)
            if case.subtype is not None and "enriched" in subtype.casefold():
                enriched.append(number)
    if count and longer == split == count and "comma" in file.separator:
        found = (
            "has one cell more in every row than in its header, as where a number with a decimal comma splits its cell"
        )
        raise CohortError(path, found, "Save it with semicolons between cells, or with decimal points")
    if count and longer == count:
        found = "has one cell more in every row than in its header, as R's write.table writes the names of rows"
        raise CohortError(path, found, "Write it with row.names = FALSE, or name its first column")
    notes = [*file.notes, *_cells_unread(nameless, short)]
    if steering:
        text = f"control characters (such as of terminals' colours) in cells of {row_list(steering)} were left out"
        notes.append(Problem(None, "cells", text, 6))
    if hidden:
        text = f"invisible characters in cells of {row_list(hidden)} were left out"
        notes.append(Problem(None, "subtype", text, 4))
    if commented and len(commented) < count:
        problems = [problem for problem in problems if problem.row not in commented]
        problems += [Problem(row, columns[0] or "cells", _COMMENTED) for row in commented]
        cases = [case for case in cases if case.row not in commented]
    elif commented and columns[0] == "patient_id":
        text = "every id begins with #: read as a part of the ids, not as rows that are commented out"
        notes.append(Problem(None, "patient_id", text, 4))
    notes += [*_normalised(cases), *_alike(cases), *_doubtful_ids(cases)]
    if several := [row for ways in written.values() if len(ways) > 1 for row in ways.values()]:
        text = f"ids of {row_list(several)} differ only in look-alike or invisible characters; read as one"
        notes.append(Problem(None, "patient_id", text, 9))
    notes += [note for case in cases for note in case.doubtful_facts()[1]]
    notes += [*_unread(cases), *_contradicting(cases), *_other_receptors(cases)]
    notes += [*_same_lesions(cases), *_several_exams(cases), *_with_suffix(cases)]
    # A table with HER2+/HR+ itself separates these from Luminal B.
    if need_subtype and her2_open and not any(case.subtype is Subtype.HER2_HR_POSITIVE for case in cases):
        text = (
            f"Luminal B, or Luminal alone, is counted as HER2-negative, as in the paper ({row_list(her2_open)}). "
            "Cohorts that follow St. Gallen call HER2-positive tumours Luminal B, too: write HER2+/HR+ for those"
        )
        notes.append(Problem(None, "subtype", text, 7))
    if need_subtype and enriched:
        text = (
            f"HER2-enriched is counted as HER2-positive ({row_list(enriched)}), as in CMMD. Where it is the intrinsic "
            "subtype of gene expression (PAM50), give the receptor status instead"
        )
        notes.append(Problem(None, "subtype", text, 7))
    problems += _with_and_without_decimals(cases)
    problems.sort(key=lambda problem: problem.row or 0)
    if labels:
        told, sure = _number_labels(labels)
        if sure:
            notes.append(told)
        else:
            kept = {case.row for case in labels}
            cases = [replace(case, subtype=None) if case.row in kept else case for case in cases]
            problems += [told] if need_subtype else []
    return Cohort(tuple(cases), path, tuple(notes), wrong_rows), problems


def _is_named(cell: str, name: str) -> bool:
    return column_name(cell) == name


def _too_many(file: TableFile, cells: Sequence[str], count: int) -> str:
    if file.is_workbook:
        place = next(n for n in range(count, len(cells)) if clean_cell(cells[n]))
        column = file.letters(place)
        return f"has a cell in column {column}, right of the header's last column; name that column or empty the cell"
    return f"has {len(cells)} cells, the header has {count}; quote cells that hold the separator"


def _cells_unread(nameless: Sequence[int], short: Sequence[int]) -> list[Problem]:
    notes = []
    if nameless:
        text = f"cells of {row_list(nameless)} are in a column without a name in the header, and were not read"
        notes.append(Problem(None, "cells", text, 6))
    if short:
        text = f"{row_list(short)}: fewer cells than the header; missing cells count as empty"
        notes.append(Problem(None, "cells", text, 4))
    return notes


def _parse_row(
    number: int,
    raw: dict[str, str],
    folder: Path,
    finder: Finder,
    why_no_id: str,
    need_subtype: bool,
    need_lesion: bool,
) -> tuple[Case | None, list[Problem]]:
    values = {name: clean_cell(cell) for name, cell in raw.items()}
    wrong = [Problem(number, "patient_id", why_no_id)] if why_no_id else []
    for name in ("image", "mask", "box"):
        if is_missing(values.get(name, "")):
            raw, values = raw | {name: ""}, values | {name: ""}
    wrong += [] if values["image"] else [Problem(number, "image", "is empty")]
    wrong += [Problem(number, name, BROKEN) for name in _KNOWN[1:] if re.search(r"[\r\n]", values.get(name, ""))]
    wrong += [Problem(number, name, "has a NUL byte") for name, value in values.items() if "\0" in value]
    wrong += [
        Problem(number, name, f"is {values[name]}, an error value of a spreadsheet; correct the cell")
        for name in _KNOWN
        if name in values and is_error_value(values[name])
    ]
    for name in ("patient_id", "subtype"):
        if is_misread(raw.get(name, "")):
            text = "has UTF-8 letters that were read in another encoding, such as \u00c3\u00bc for \u00fc"
            wrong.append(Problem(number, name, f"{text}; save it as UTF-8 from its source"))
    if "\ufffd" in values.get("patient_id", ""):
        text = "has a letter that was lost when the table was saved (U+FFFD); save it as UTF-8 from its source"
        wrong.append(Problem(number, "patient_id", text))
    mask, box = named_file(raw.get("mask", "").strip()) or None, values.get("box") or None
    if mask and box:
        wrong.append(Problem(number, "box", "is given in addition to a mask; keep one of them"))
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
    case = Case(number, values["patient_id"], image, outline, box, subtype, extra)
    wrong, _ = case.doubtful_facts()
    return (None, wrong) if wrong else (case, [])


def _number_labels(labels: Sequence[Case]) -> tuple[Problem, bool]:
    """Numbers as subtypes: how they were read, or that they are ambiguous, whatever the columns are called.

    They are the paper's labels if one is 0 and one is more than 1: 1 to 4 may count from 1, 0 and 1 may be no and yes.
    """
    names = ", ".join(f"{n} {subtype.value}" for n, subtype in enumerate(Subtype))
    rows, found = row_list(case.row for case in labels), {case.subtype for case in labels}
    order = list(Subtype)
    if order[0] in found and found & set(order[2:]):
        return Problem(None, "subtype", f"the numbers of {rows} were read as the paper's labels: {names}", 9), True
    text = f"the numbers of {rows} are ambiguous; write the names instead (the paper's labels are {names})"
    return Problem(None, "subtype", text), False


def _normalised(cases: Sequence[Case]) -> list[Problem]:
    """Turn decimal commas and DICOM ages in the further columns into plain numbers; notes on it."""
    notes = []
    for name in dict.fromkeys(name for case in cases for name in case.extra):
        own = [case for case in cases if not is_missing(case.extra.get(name, ""))]
        if name == "age":
            for case in own:
                if age := _AGE.fullmatch(case.extra[name]):
                    case.extra[name] = age[1]
        commas = [case for case in own if "," in case.extra[name] and _numeric(case.extra[name])]
        if 2 * sum(_numeric(case.extra[name]) for case in own) >= len(own) and commas:
            rows = row_list(case.row for case in commas)
            if not all(_numeric(case.extra[name]) for case in own):
                text = f"the commas of {rows} are not read as decimal: other cells of the column are not numbers"
                notes.append(Problem(None, name, text, 6))
            elif all(_THOUSANDS.fullmatch(case.extra[name]) for case in commas):
                text = f"the commas of {rows} may be decimal or separate thousands: these cells are not read as numbers"
                notes.append(Problem(None, name, f"{text}; write them without", 7))
            else:
                for case in commas:
                    case.extra[name] = case.extra[name].replace(".", "").replace(",", ".")
                notes.append(Problem(None, name, f"decimal commas in {rows} were read as decimal points", 4))
        errors = [case.row for case in own if is_error_value(case.extra[name])]
        if errors:
            text = f"has error values of a spreadsheet (#N/A and the like) in {row_list(errors)}"
            notes.append(Problem(None, name, text, 6))
        if name == "age":
            wrong = [
                case.row
                for case in own
                if not _NUMBER.fullmatch(case.extra[name]) or not 0 < float(case.extra[name]) < 120
            ]
            if wrong:
                text = f"is not an age in years in {row_list(wrong)}, expected 1 to 119; it counts as unknown"
                notes.append(Problem(None, name, text, 6))
    return notes


def _numeric(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or _DECIMAL_COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell))


def _unread(cases: Sequence[Case]) -> list[Problem]:
    """Columns that look relevant but are not read."""
    rows = [(case.row, case.extra) for case in cases]
    found = known_columns.unread(rows, sided=any(case.sides for case in cases))
    return [Problem(None, name, text, 8) for name, text in found]


def _contradicting(cases: Sequence[Case]) -> list[Problem]:
    """Patients whose rows say two things of what a patient has one of, such as the age."""
    patients: dict[str, list[Case]] = {}
    for case in cases:
        patients.setdefault(case.patient_id, []).append(case)
    notes = []
    for name in filter(known_columns.of_patients, dict.fromkeys(name for case in cases for name in case.extra)):
        for own in patients.values():
            known = [(case.row, cell) for case in own if not is_missing(cell := case.extra.get(name, ""))]
            if other := known_columns.differing(known, shown=name == "age"):
                text = f"{other[1]}: it counts as unknown, and --clinical refuses it. Correct one of them"
                notes.append(Problem(other[0], name, text, 7))
    return notes


def _other_receptors(cases: Sequence[Case]) -> list[Problem]:
    """Rows whose columns of ER, PR and HER2 contradict their subtype."""
    found: dict[str, list[int]] = {}
    for case, status in zip(cases, known_columns.receptors([case.extra for case in cases]), strict=True):
        if case.subtype is not None and (against := contradicting_receptors(case.subtype, status)):
            told = " and ".join(f"{name} {'positive' if status[name] else 'negative'}" for name in against)
            found.setdefault(f"{case.subtype.value} beside {told}", []).append(case.row)
    text = (
        "is contradicted by the columns of receptors in {}: {}. The subtype is used as it stands; correct one of them"
    )
    return [Problem(None, "subtype", text.format(row_list(rows), what), 9) for what, rows in found.items()]


def _same_lesions(cases: Sequence[Case]) -> list[Problem]:
    """Give lesion ids that differ in capitals or leading zeros (A, a; 1, 01) the first spelling; notes on it."""
    first: dict[tuple[str, str], str] = {}
    changed: dict[str, set[int]] = {}
    rows: dict[tuple[str, str], int] = {}
    for case in cases:
        if not (column := case.lesion_column):
            continue
        key = (case.patient_id, known_columns.lesion_key(case.lesion_id))
        spelt = first.setdefault(key, case.lesion_id)
        rows.setdefault(key, case.row)
        if spelt != case.lesion_id:
            case.extra[column] = spelt
            changed.setdefault(column, set()).update((rows[key], case.row))
    notes = [
        Problem(None, column, known_columns.SAME_LESIONS.format(row_list(own)), 8) for column, own in changed.items()
    ]
    vague = {
        case.lesion_column for case in cases if known_columns.plain(case.lesion_column) in known_columns.VAGUE_LESIONS
    }
    told = "was read as the lesion ids: one result for each; images of one lesion need the same id"
    return notes + [Problem(None, column, told, 5) for column in sorted(vague)]


def _alike(cases: Sequence[Case]) -> list[Problem]:
    """Patients whose ids differ only in capitals, blanks and separators, or leading zeros: one under two ids leaks."""
    groups: dict[str, dict[str, int]] = {}
    for case in cases:
        name = case.patient_id
        name = re.sub(r"[.,'\u2019 ]", "", name) if _PARTED.fullmatch(name) else name
        name = "".join(str(unicodedata.decimal(sign, sign)) for sign in name.casefold().translate(_LOOK_ALIKES))
        # Q-22 is Q22; 1-23 is not 12-3.
        key = re.sub(r"(?<!\d)0+(?=\d)", "", " ".join(re.findall(r"[^\W\d_]+|\d+", name)))
        groups.setdefault(key or case.patient_id, {}).setdefault(case.patient_id, case.row)
    rows = [row for ids in groups.values() if len(ids) > 1 for row in ids.values()]
    if not rows:
        return []
    text = f"ids of {row_list(rows)} differ only in capitals, separators, look-alike letters or leading zeros"
    return [Problem(None, "patient_id", f"{text}; give one patient one id", 9)]


#: What stands at the end of ids that are of one woman's breasts or exams.
_SUFFIX = re.compile(
    r"(?P<stem>.*\d(?=[lr]$)|.*[^\W_](?=[\s_.\-]))[\s_.\-]*(?:(?P<side>l|r|li|re|left|right|links|rechts)|(?P<exam>(?:t|v|visit|exam|scan|bl|fu)[\s_]?"
    r"\d|pre|post|baseline|follow[\s_-]?up)|(?P<year>(?:19|20)\d\d))",
    re.IGNORECASE,
)


#: More ids that differ only at their end are numbers that are counted up.
_OF_ONE_WOMAN = 6


def _with_suffix(cases: Sequence[Case]) -> list[Problem]:
    """Patients whose ids differ only in a side or an exam at their end: one woman under two ids leaks."""
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for case in cases:
        if not (found := _SUFFIX.fullmatch(case.patient_id)):
            continue
        kind = next(name for name in ("side", "exam", "year") if found[name])
        if kind == "year" and len(re.sub(r"\D", "", found["stem"])) == len(found["stem"]) < 6:
            continue  # a number within a year
        groups.setdefault((kind, found["stem"].casefold()), {}).setdefault(case.patient_id, case.row)
    told = {"side": "a side", "exam": "an exam", "year": "a year"}
    notes = []
    for kind, what in told.items():
        few = [ids for (own, _), ids in groups.items() if own == kind and 1 < len(ids) <= _OF_ONE_WOMAN]
        if rows := [row for ids in few for row in ids.values()]:
            text = (
                f"ids of {row_list(rows)} differ only in {what} at their end; if one woman has several, give her one id"
            )
            notes.append(Problem(None, "patient_id", text, 9))
    return notes


#: Dates closer than this are of one work-up.
_ONE_EXAM_DAYS = 60


def _several_exams(cases: Sequence[Case]) -> list[Problem]:
    """Columns that say that images of one breast are of several exams."""
    columns = dict.fromkeys(name for case in cases for name in case.extra if known_columns.tells_exams(name))
    notes = []
    for column in columns:
        groups: dict[tuple[str, str | None], dict[str, int]] = {}
        for case in cases:
            if not is_missing(cell := case.extra.get(column, "")):
                groups.setdefault((case.patient_id, case.side), {}).setdefault(cell.strip().casefold(), case.row)
        rows = [row for cells in groups.values() if len(cells) > 1 and not _one_exam(cells) for row in cells.values()]
        if rows:
            text = (
                f"says that images of one breast are of several exams ({row_list(rows)}), and is not read: they are "
                "averaged; leave out the exams that do not belong"
            )
            notes.append(Problem(None, column, text, 8))
    return notes


def _one_exam(cells: Iterable[str]) -> bool:
    """Whether cells are dates of one work-up."""
    try:
        days = [datetime.strptime(re.sub(r"[-./]", "", cell)[:8], "%Y%m%d") for cell in cells]
    except ValueError:
        return False
    return (max(days) - min(days)).days < _ONE_EXAM_DAYS


def _with_and_without_decimals(cases: Sequence[Case]) -> list[Problem]:
    """Ids that are one number, as ``101`` and as ``101.0``, which programs write for a column with gaps."""
    groups: dict[str, dict[str, int]] = {}
    for case in cases:
        if number := _WHOLE.fullmatch(case.patient_id):
            groups.setdefault(number[1], {}).setdefault(case.patient_id, case.row)
    text = "is the same number as in row {}, once with decimals (.0) and once without; give one patient one id"
    return [
        Problem(row, "patient_id", text.format(first))
        for first, *others in (list(ids.values()) for ids in groups.values())
        for row in others
    ]


def _doubtful_ids(cases: Sequence[Case]) -> list[Problem]:
    """Ids that a spreadsheet may have changed, or that are placeholders of removed ids."""
    from MolSubCore.imaging.mammogram import is_placeholder

    patients: dict[str, list[int]] = {}
    for case in cases:
        patients.setdefault(case.patient_id, []).append(case.row)
    lost = [rows for name, rows in patients.items() if re.search(r"\w\?+\w|\?\w", name)]
    taken_out = [
        rows for name, rows in patients.items() if len(rows) > 1 and not name.isdecimal() and is_placeholder(name)
    ]
    return [
        Problem(None, "patient_id", f"ids of {row_list(row for rows in groups for row in rows)} {text}", 9)
        for groups, text in (
            (
                [rows for name, rows in patients.items() if may_be_date(name)],
                "look like dates or times, which spreadsheets make of ids such as 1-3; check that none was changed",
            ),
            (
                [rows for name, rows in patients.items() if may_be_rounded(name)],
                "have zeros from the 16th digit on, as after rounding by a spreadsheet: patients may share one",
            ),
            (lost, "have question marks in place of letters, as after a wrong encoding: patients may share one"),
            (taken_out, "are placeholders for removed ids; all these rows count as one patient"),
        )
        if groups
    ]


def clinical_of(cases: Sequence[Case], columns: Sequence[str]) -> dict[str, str]:
    """A patient's values in some columns; one that is missing in some of the rows is that of the others.

    Raises
    ------
    CohortError
        If the patient's rows say two things.
    """
    found = {}
    for name in columns:
        cells = dict.fromkeys(cell for case in cases if (cell := case.extra.get(name, "").strip()))
        values = [cell for cell in cells if cell.casefold() not in NA_WORDS] or list(cells)
        if len(values) > 1:
            problem = f"{name} has several values for one patient: {', '.join(values[:3])}"
            raise CohortError(f"rows {' '.join(str(case.row) for case in cases)}", problem, "Correct the table")
        if values:
            found[name] = values[0]
    return found
