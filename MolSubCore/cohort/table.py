"""A cohort table: one row per image, with its patient, its lesion and the tumour's subtype."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile

from MolSubCore.errors import CohortError, MolSubError, explain_error, hide_paths, printable
from MolSubCore.files import named_file
from MolSubCore.tasks import SubtypeLabel, parse_subtype

#: The paper's own table, by our names.
_PAPER_COLUMNS = {"name": "patient_id", "img_path": "image", "annotation_path": "mask", "label": "subtype"}
_KNOWN = ("patient_id", "image", "mask", "box", "subtype")
_ENCODINGS = ("utf-8-sig", "gb18030", "cp1252")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # Excel's "Unicode text"
#: Of a table: its bytes (of a workbook's parts, unpacked), its rows, its columns.
_SIZE_CAP, _PARTS_CAP, _ROWS_CAP, _COLUMNS_CAP = 128 << 20, 32 << 20, 250_000, 1000


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
        said = f"{subject} {error.problem}. {error.remedy}"
    elif isinstance(error, OSError):
        said = f"its image or mask cannot be read ({error.strerror or type(error).__name__})"
    else:
        said = f"its image or mask cannot be used ({explain_error(error)[0].rstrip('.')})"
    paths = [path for case in cases for path in (case.image, case.mask) if path is not None]
    return printable(hide_paths(said, paths), 1200)


@dataclass(frozen=True)
class Problem:
    """Something wrong with a table: row (None: the whole table), column, and what it is."""

    row: int | None
    column: str
    text: str

    def __str__(self) -> str:
        return printable(f"{f'row {self.row}' if self.row else 'table'}, {self.column}: {self.text}", 1200)


@dataclass(frozen=True)
class Cohort:
    """All cases of a table, in its order."""

    cases: tuple[Case, ...]
    source: Path


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
    rows = read_rows(path)
    _, header = next(rows, (1, []))
    columns = [cell.strip().lower() for cell in header]
    if {"name", "img_path", *(["label"] if need_subtype else [])} <= set(columns):
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
    cases, problems = [], []
    for number, cells in rows:
        values = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
        if not any(values.values()):
            continue
        case, wrong = _parse_row(number, values, path.parent, need_subtype, need_lesion)
        if any(cell.strip() for cell in cells[len(columns) :]):
            text = f"has {len(cells)} cells, the header has {len(columns)}; quote cells that hold the separator"
            case, wrong = None, [Problem(number, "cells", text)]
        problems += wrong
        if case is not None:
            cases.append(case)
    return Cohort(tuple(cases), path), problems


def _parse_row(
    number: int, values: dict[str, str], folder: Path, need_subtype: bool, need_lesion: bool
) -> tuple[Case | None, list[Problem]]:
    wrong = [Problem(number, name, "is empty") for name in ("patient_id", "image") if not values.get(name)]
    if re.fullmatch(r"\d+[.,]\d+E\+?\d+|\d+E\+\d+", values.get("patient_id", ""), re.IGNORECASE):
        text = "is a long number that a spreadsheet rounded: several patients may have one id; give it as text"
        wrong.append(Problem(number, "patient_id", text))
    wrong += [Problem(number, name, "has a NUL byte") for name, value in values.items() if "\0" in value]
    mask, box = named_file(values.get("mask", "")) or None, values.get("box") or None
    if mask and box:
        wrong.append(Problem(number, "box", "is given beside a mask; keep one of them"))
    if need_lesion and not mask and not box:
        wrong.append(Problem(number, "mask", "is empty, and there is no box"))
    subtype: SubtypeLabel | None = None
    if values.get("subtype"):
        try:
            subtype = parse_subtype(values["subtype"])
        except MolSubError as error:
            if need_subtype:
                wrong.append(Problem(number, "subtype", f"{error.problem}. {error.remedy}"))
    elif need_subtype:
        wrong.append(Problem(number, "subtype", "is empty"))
    if wrong:
        return None, wrong
    extra = {name: value for name, value in values.items() if name and name not in _KNOWN}
    image = folder / named_file(values["image"])
    return Case(number, values["patient_id"], image, folder / mask if mask else None, box, subtype, extra), []


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of cells of a csv, tsv or xlsx table with their spreadsheet numbers; CohortError where it cannot be read."""
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on names that are too long
        raise CohortError(path, "does not exist or is no file", "Give a csv, tsv or xlsx table")
    if path.stat().st_size > _SIZE_CAP:
        raise CohortError(path, f"is larger than {_SIZE_CAP >> 20} MiB", "Give a table, one row per image")
    suffix = path.suffix.lower()
    if suffix == ".xlsx":
        rows = _read_xlsx(path)
    elif suffix in (".csv", ".tsv", ".txt"):
        rows = _read_text(path)
    else:
        raise CohortError(path, f"ends in '{suffix}', expected .csv, .tsv or .xlsx", "Save it as one of these")
    for number, cells in rows:
        if number > _ROWS_CAP or len(cells) > _COLUMNS_CAP:
            found = f"has more than {_ROWS_CAP} rows or {_COLUMNS_CAP} columns (row {number})"
            raise CohortError(path, found, "Give a table, one row per image")
        yield number, cells


def _read_text(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = _decoded(path)
    first = text.split("\n", 1)[0]
    delimiter = max(("\t", ";", ","), key=first.count) if path.suffix.lower() != ".tsv" else "\t"
    number = 0
    try:
        # Rows, not lines: a quoted cell may hold several lines, and a spreadsheet counts it as one row.
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1):
            yield number, row
    except csv.Error as error:
        raise CohortError(path, f"row {number + 1} cannot be read ({error})", "Save the table again") from None


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    if data.count(b"\n") > 4 * _ROWS_CAP:  # a cell may hold several lines
        raise CohortError(path, f"has more than {_ROWS_CAP} rows", "Give a table, one row per image")
    encodings: tuple[str, ...] = ("utf-16",) if data.startswith(_UTF16_MARKS) else _ENCODINGS
    if not re.search(rb"[\x80-\xff]{2}", data):  # lone letters such as an umlaut: Chinese has two bytes a character
        encodings = ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise CohortError(path, f"is in none of the encodings {', '.join(_ENCODINGS)}, utf-16", "Save it as UTF-8")


def _read_xlsx(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise CohortError(path, "is a workbook, which this Python cannot read", "Save it as csv") from None
    try:
        with path.open("rb") as file:
            _check_parts(path, file)
            book = load_workbook(file, read_only=True, data_only=True)
            for number, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), start=1):
                yield number, [_cell_text(cell) for cell in cells]
    except CohortError:
        raise
    except BadZipFile:
        raise CohortError(
            path, "is no workbook", "If it is a table of text, name it .csv; else save it again"
        ) from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise CohortError(path, f"cannot be read as a workbook ({reason})", "Save it as xlsx or csv") from None


def _check_parts(path: Path, file: BinaryIO) -> None:
    """Refuse a workbook whose parts, unpacked, are larger than a table: their sizes bind whoever unpacks them."""
    with ZipFile(file) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > _PARTS_CAP:
        raise CohortError(path, f"unpacks to {size >> 20} MiB, at most {_PARTS_CAP >> 20} are read", "Save it as csv")
    file.seek(0)


def _cell_text(cell: object) -> str:
    """Text of a cell; whole numbers without a decimal point. A formula without a value is empty."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
