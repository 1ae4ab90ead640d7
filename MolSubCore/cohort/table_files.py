"""Tables as files: csv, tsv and xlsx become numbered rows of cells, with notes on what is doubtful.

The content of a file decides, not what it declares about itself: the stated extent of a sheet, an encoding, a
separator. Every assumption is a note. Standard library and openpyxl only.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO
from xml.etree.ElementTree import iterparse
from zipfile import BadZipFile, ZipFile

from MolSubCore.errors import CohortError, printable

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # Excel's "Unicode text"
_UTF32_MARKS = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
#: Problems of a cell with a line break, and of one that holds rows.
BROKEN = "has a line break; a quotation mark that is not closed swallows the rows below it"
_SWALLOWS = "has a quotation mark that is not closed or not doubled: the text after it, perhaps rows, became one cell"
_CLOSE = 'Close it, or write "" for a mark within a cell (inches), or remove it'
_HOLDS_ROWS = "has a cell that holds rows of the table; a quotation mark that is not closed may have swallowed them"
_APART = "Remove the loose quotation mark, and put each row on its own line"
#: Limits of a table: bytes (of a workbook's parts, unpacked), rows, columns, cells; the last row a sheet can have.
_SIZE_CAP, _PARTS_CAP, _ROWS_CAP, _COLUMNS_CAP, _LAST_ROW = 128 << 20, 32 << 20, 250_000, 10_000, 1_048_576
_CELLS_CAP = 10_000_000
#: Columns of ids, whose numbers are read as displayed in a workbook.
ID_COLUMNS = frozenset(
    ("patient_id", "patient id", "patient-id", "patientid", "id", "id1", "name", "study_id", "study id", "case_id")
)
#: Endings of tables.
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx")
#: Invisible characters: byte order marks, joiners, direction marks, soft hyphens, fillers, variation selectors, tags.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
#: Control characters, which steer terminals; NUL, tabs and line ends are looked at by themselves.
CONTROLS = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
#: Cells that stand for a missing value wherever they are, in any case.
NA_WORDS = (
    *("na", "n/a", "#n/a", "n.a.", "n.a", "<na>", "n/k", "nan", "nat", "null", "unknown", "missing"),
    *("not available", "not known", "(blank)", "(empty)", "unbekannt", "k.a.", "inconnu", "desconocido"),
    *("sconosciuto", "desconhecido", "未知", "不详", "?", "."),
)
_MISSING = frozenset((*NA_WORDS, "none", "nil", "无")) - {"#n/a"}  # which is told as an error value of a spreadsheet
_ONLY_SIGNS = re.compile(r"[?*.\-–—_/\s]*")
_PATH = 2
#: Short months as spreadsheets write them, in several languages.
_MONTH = (
    r"(?:janv?|ene|gen|f[eé]vr?|feb|mars?|mrz|märz?|mrt|maa|a[pbv]r|ma[yijg]|mei|juin|ju[nl]|juil|giu|lug|aug|ao[uû]t|ago"
    r"|sept?|set|o[ck]t|ott|out|nov|d[eé][cz]|di[cs])\.?"
)
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
_CALENDAR = r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{4}/\d{1,2}/\d{1,2}"
#: Never an id: a date with its time, ``1-Mar``, ``3月1日``.
_SURE_DATE = re.compile(
    rf"(?:{_CALENDAR})[ T]{_CLOCK}|\d{{1,2}}\.?[- ]{_MONTH}(?:[- ](?:\d{{2}}|\d{{4}}))?"
    r"|(?:\d{2,4}年)?\d{1,2}月(?:\d{1,2}日)?",
    re.IGNORECASE,
)
_PERHAPS_DATE = re.compile(rf"{_CALENDAR}|{_MONTH}[- ](?:\d{{2}}|\d{{4}})|{_CLOCK}", re.IGNORECASE)
_ROUNDED = re.compile(r"[+-]?(?:\d+[.,]\d+E\+?\d+|\d+E\+\d+)", re.IGNORECASE)
#: Digits that a number in a spreadsheet keeps.
_DIGITS = 15
#: Separators of a text table, with their names.
_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars (|)"}
_AS_TEXT = "format the column as text and enter the ids again"
#: How workbooks write characters that XML cannot: ``_x000D_``.
_CONTROL = re.compile(r"_x(00[01][0-9A-F])_", re.IGNORECASE)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
#: Schema names of the strict form of a workbook (ISO/IEC 29500), and the usual ones.
_STRICT = (
    (b"http://purl.oclc.org/ooxml/spreadsheetml/main", b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"),
    (
        b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    ),
    (b"http://purl.oclc.org/ooxml/drawingml/main", b"http://schemas.openxmlformats.org/drawingml/2006/main"),
)
#: Error values of spreadsheets.
_ERROR_VALUE = re.compile(r"#(N/A|REF!|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|SPILL!|CALC!|GETTING_DATA)|#{3,}")


#: Sets of rows listed in one note.
_SETS_TOLD = 20


@dataclass(frozen=True)
class Problem:
    """A problem or note about a table: row (None: the whole table), column, text, and weight.

    Attributes
    ----------
    row : int or None
    column : str
    text : str
    weight : int
        Of notes: the larger, the further up.
    rows : tuple of int
        All rows that it is about, where they are several.
    """

    row: int | None
    column: str
    text: str
    weight: int = 2
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        return printable(f"{f'row {self.row}' if self.row else 'table'}, {self.column}: {self.text}", 1200)


def row_list(rows: Iterable[int], most: int = 12) -> str:
    """Rows as text: ``row 2``, ``rows 2-4, 9``; those beyond `most` ranges are counted."""
    numbers = sorted(set(rows))
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    parts = [f"{low}" if low == high else f"{low}-{high}" for low, high in ranges[:most]]
    left = sum(high - low + 1 for low, high in ranges[most:])
    more = f" and {left} more" if left else ""
    return f"row{'s' if len(numbers) != 1 else ''} {', '.join(parts)}{more}"


def kind_of(text: str) -> str:
    """A text without its numbers: texts that differ in nothing else are of one kind."""
    return re.sub(r"\d+([.,]\d+)*", "#", text)


def note_lines(notes: Iterable[Problem], *, together: int = 2) -> list[str]:
    """Notes as lines: those of one kind in one line with their rows, the most important first.

    Parameters
    ----------
    together : int
        Fewer of one kind are a line each.

    Notes
    -----

    Texts that differ only in numbers are of one kind; the first one is shown. For notes about several rows together,
    such as copies of one picture, the others' rows are listed, too.
    """
    kinds: dict[tuple[str, str], list[Problem]] = {}
    for note in notes:
        kinds.setdefault((note.column, kind_of(note.text)), []).append(note)
    lines = []
    for group in sorted(kinds.values(), key=lambda own: (-own[0].weight, own[0].row or 0)):
        if len(group) < together:
            lines += [printable(str(note), 1200) for note in group]
            continue
        rows = [note.row for note in group if note.row]
        first = group[0]
        text = first.text
        if others := list(dict.fromkeys(note.rows for note in group if len(note.rows) > 1))[1:]:
            told = "; ".join(row_list(own).removeprefix("rows ") for own in others[:_SETS_TOLD])
            more = f"; and {len(others) - _SETS_TOLD} more such sets" if len(others) > _SETS_TOLD else ""
            text += f" (also rows {told}{more})"
        elif len({note.text for note in group}) > 1:
            text += f" (so in {f'row {first.row}' if first.row else 'one place'}; the others differ only in numbers)"
        lines.append(printable(f"{row_list(rows) if rows else 'table'}, {first.column}: {text}", 1200))
    return lines


def clean_cell(text: str) -> str:
    """A cell as it is compared: NFKC, without invisible and control characters and surrounding blanks."""
    if not text.isprintable():
        text = CONTROLS.sub("", text)
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFKC", INVISIBLE.sub("", text)).strip()


def is_missing(cell: str) -> bool:
    """Whether a cell of a mask, a box, an id or a number says nothing: empty, ``n/a``, ``unknown``, ``none``, ``--``.

    In a clinical column ``none`` and ``-`` are values: see `MolSubCore.evaluation.characteristics.has_value`.
    """
    return bool(_ONLY_SIGNS.fullmatch(cell)) or cell.strip().casefold() in _MISSING


def may_be_date(text: str) -> bool:
    """Whether an id looks like a date or a time, which spreadsheets make of ids, but which may be intended."""
    return bool(_PERHAPS_DATE.fullmatch(text))


def may_be_rounded(text: str) -> bool:
    """Whether an id is a number of more than 15 digits with zeros from the 16th on, as spreadsheets round."""
    return len(text) > _DIGITS and text.isdecimal() and not text[_DIGITS:].strip("0")


@lru_cache(maxsize=1024)  # asked for in every row
def column_name(text: str) -> str:
    """The name of a column, in a header or on the command line: cleaned, lower case, single blanks."""
    return " ".join(clean_cell(text).lower().split())


def finite_number(cell: str) -> float | None:
    """The finite number that a cell is, with a decimal point; else None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_error_value(cell: str) -> bool:
    """Whether a cell is an error value of a spreadsheet: ``#N/A``, ``#REF!``, ``####``."""
    return bool(_ERROR_VALUE.fullmatch(cell))


class TableFile:
    """A table to be read.

    Attributes
    ----------
    notes : list of Problem
        What is doubtful; complete once all rows were read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[Problem] = []
        #: Name of the separator of a text table; empty for a workbook, and before reading.
        self.separator = ""
        #: Values of the row read last in a workbook; none in a text table.
        self._values: Sequence[object] = ()
        self._shown_otherwise: set[int] = set()
        self._struck: set[int] = set()
        self._width = 0
        self._shapes: list[set[str]] = []
        self._remembered = 0
        self._merged: list[tuple[int, int, int, int]] = []
        self._hidden_columns: list[tuple[int, int]] = []
        self._uncomputed: set[tuple[int, int]] = set()

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Rows of cells with their spreadsheet numbers, the header first; CohortError where it cannot be read."""
        path = self.path
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises on names that are too long
            remedy = "Name the csv, tsv or xlsx file; molsub cohort make builds one from a folder of images"
            raise CohortError(path, "is a folder, expected a table", remedy)
        if not os.path.isfile(path):  # noqa: PTH113 - the same
            raise CohortError(path, "does not exist or is not a file", "Give a csv, tsv or xlsx table")
        if path.stat().st_size > _SIZE_CAP:
            raise CohortError(path, f"is larger than {_SIZE_CAP >> 20} MiB", "Give a table, one row per image")
        suffix = path.suffix.lower()
        if suffix == ".xlsx":
            rows = self._workbook()
        elif suffix in TABLE_ENDINGS:
            rows = self._text()
        else:
            raise CohortError(path, f"ends in '{suffix}', expected .csv, .tsv or .xlsx", "Save it as one of these")
        size = 0
        for count, (number, cells) in enumerate(rows):
            size += len(cells)
            for is_over, found in (
                (count > _ROWS_CAP, f"{_ROWS_CAP} rows"),
                (len(cells) > _COLUMNS_CAP, f"{_COLUMNS_CAP} columns (row {number} has {len(cells)})"),
                (size > _CELLS_CAP, f"{_CELLS_CAP} cells (from row {number} on)"),
            ):
                if is_over:
                    remedy = "Give one row per image, and leave out columns that are not needed"
                    raise CohortError(path, f"has more than {found}", remedy)
            if self._width or any(map(clean_cell, cells)):  # the header is the first row with anything in it
                self._width = self._width or len(cells)
                yield number, cells

    @property
    def is_workbook(self) -> bool:
        """Whether it is a workbook, not a text table."""
        return self.path.suffix.lower() == ".xlsx"

    def letters(self, place: int) -> str:
        """The letters of a workbook's column, counted from 0."""
        from openpyxl.utils import get_column_letter

        return str(get_column_letter(place + 1))

    def why_no_id(self, text: str, place: int) -> str:
        """Why a cell of the row read last cannot be a patient's id; or empty.

        Parameters
        ----------
        text : str
            The cell, cleaned.
        place : int
            Its column, counted from 0.
        """
        value = self._values[place] if place < len(self._values) else None
        if is_missing(text):
            unknown = f"is '{text}', a missing value: all such rows would count as one patient; give each patient an id"
            return unknown if text else "is empty"
        if isinstance(value, bool):
            return f"is the truth value {value}, not an id; {_AS_TEXT}"
        if isinstance(value, datetime.date | datetime.time | datetime.timedelta) or _SURE_DATE.fullmatch(text):
            return f"is a date or time, which a spreadsheet makes of ids such as 1-3 or MAR1; {_AS_TEXT}"
        if _ROUNDED.fullmatch(text) or (isinstance(value, int | float) and abs(value) >= 10**_DIGITS):
            told = f"is a number of more than {_DIGITS} digits, which a spreadsheet rounds"
            told = "is a long number that a spreadsheet rounded" if _ROUNDED.fullmatch(text) else told
            return f"{told}: several patients may have one id; {_AS_TEXT}"
        if isinstance(value, float) and not value.is_integer():
            return f"is a number with decimals, and a spreadsheet turns 1.10 into 1.1; {_AS_TEXT}"
        if re.search(r"[\r\n]", text):
            return BROKEN
        return ""

    def why_empty(self, row: int, place: int) -> str:
        """Why a cell of a workbook that displays a value is empty (column counted from 0); or empty."""
        if (row, place) in self._uncomputed:
            return "a formula whose value was not saved: open the workbook in a spreadsheet program and save it"
        for row0, col0, row1, col1 in self._merged:
            if row0 <= row <= row1 and col0 <= place <= col1:
                return "merged with the cell before it: unmerge the cells and fill in every row"
        return ""

    # -------------------------------------------------------------------------------------------------- text

    def _text(self) -> Iterator[tuple[int, list[str]]]:
        path, number = self.path, 0
        text = self._decoded()
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ""
        # Excel's own hint, not shown as a row.
        if hint := re.match(r'"?sep=(.)"?[ \t]*(\r\n|\r|\n|$)', text, re.IGNORECASE):
            delimiter, text = hint[1], text[hint.end() :]
        if delimiter == "\t" and "\t" not in text:
            delimiter = ""  # the file's ending is wrong
        own: list[str] = []  # lines of the row being read

        def lines() -> Iterator[str]:
            for line in io.StringIO(text, newline=""):
                own.append(line)
                yield line

        try:
            delimiter = delimiter or _delimiter(text)
            self.separator = _SEPARATORS.get(delimiter, f"'{delimiter}'")
            # Rows, not lines: a quoted cell may hold several lines, and a spreadsheet counts it as one row.
            for number, row in enumerate(csv.reader(lines(), delimiter=delimiter), start=1):
                if '"' in "".join(own):
                    self._check_quotes(number, row, own, delimiter)
                if len(own) > 1:
                    self._refuse_rows_in(number, row, delimiter)
                self._remember(row)
                own.clear()
                yield number, row
        except (csv.Error, TypeError) as error:  # TypeError: an impossible sep=
            if len(own) > 1 and '"' in own[0]:
                raise CohortError(path, f"row {number + 1} {_SWALLOWS}", _CLOSE) from None
            if "field limit" in str(error):
                found = f"row {number + 1} has a cell of more than {csv.field_size_limit()} characters"
                raise CohortError(path, found, "Shorten it, or leave its column out") from None
            raise CohortError(path, f"row {number + 1} cannot be read ({error})", "Save the table again") from None

    def _check_quotes(self, number: int, row: list[str], lines: list[str], delimiter: str) -> None:
        """Refuse a row whose quotation mark swallowed others; a loose mark in a cell is a note."""
        try:
            for _ in csv.reader(lines, delimiter=delimiter, strict=True):
                pass
        except csv.Error:
            try:
                for _ in csv.reader([*lines, '"'], delimiter=delimiter, strict=True):
                    pass
                open_to_the_end = True
            except csv.Error:
                open_to_the_end = False
            if len(lines) > 1 or open_to_the_end or (self._width and len(row) != self._width):
                raise CohortError(self.path, f"row {number} {_SWALLOWS}", _CLOSE) from None
            text = "has a quotation mark within a quoted cell that is not doubled: check the cell"
            self.notes.append(Problem(number, "cells", text, 6))

    def _refuse_rows_in(self, number: int, row: Sequence[str], delimiters: str) -> None:
        """Refuse a cell of several lines that holds rows, which a loose quotation mark has swallowed.

        The first line of the cell continues its row, the last one begins another; the lines between are whole rows. The
        columns that hold numbers and paths distinguish rows from a remark with commas.
        """
        for place, cell in enumerate(row):
            if "\n" not in cell and "\r" not in cell:
                continue
            lines = re.split(r"\r\n|\r|\n", cell)
            needs = [min(map(_telling, known), default=0) for known in self._shapes]
            for other in (n for n in range(min(place, len(needs))) if not self._shapes[n]):
                needs[other] = _telling(_shape(row[other]))
            for delimiter in delimiters:
                whole = [(line, self._width) for line in lines[1:-1]]
                # Of the first column no more than an id is left in the last line.
                ends = [(lines[-1], place + 1)] if place else [(lines[0], self._width)]
                for line, least in [*whole, *ends]:
                    pieces = line.split(delimiter)
                    if len(pieces) < max(2, least):
                        continue
                    levels = [_telling(_shape(piece)) for piece in pieces]
                    told = [n for n, need in enumerate(needs[:least]) if need and n < len(pieces) and pieces[n].strip()]
                    if not self._width or not any(needs):  # nothing is known about the columns
                        fits = levels.count(_PATH) > 1
                    elif len(told) == 1:
                        fits = _shape(pieces[told[0]]) in self._shapes[told[0]]
                    else:
                        fits = bool(told) and all(levels[n] >= needs[n] for n in told)
                    if fits:
                        raise CohortError(self.path, f"row {number} {_HOLDS_ROWS}", _APART)

    def _remember(self, row: Sequence[str]) -> None:
        """Record the shapes of each column's cells, to recognise a row within a cell."""
        if not self._width or self._remembered > 2000:
            return
        self._remembered += 1
        self._shapes = self._shapes or [set() for _ in range(self._width)]
        for known, cell in zip(self._shapes, row, strict=False):
            if cell.strip():
                known.add(_shape(cell))

    def _decoded(self) -> str:
        path, data = self.path, self.path.read_bytes()
        if data.startswith(b"PK\x03\x04"):
            raise CohortError(path, "is a workbook by its content", "Name it .xlsx")
        if data.startswith(_OLE):
            raise CohortError(path, "is a workbook with a password, or from before 2007 (xls)", "Save it as xlsx")
        if max(data.count(b"\n"), data.count(b"\r")) > 4 * _ROWS_CAP:  # a cell may hold several lines
            raise CohortError(path, f"has more than {_ROWS_CAP} rows", "Give a table, one row per image")
        save = "Save it as UTF-8 (in Excel: CSV UTF-8)"
        if data.startswith(_UTF32_MARKS):
            raise CohortError(path, "is UTF-32", save)
        zeros = len(data) - len(data.rstrip(b"\0"))
        if zeros > 3:  # wide letters at the end of a text have up to three
            raise CohortError(path, f"ends in {zeros} bytes of zeros: it was not written whole", "Save it again")
        if wide := _wide_without_mark(data):
            raise CohortError(path, f"looks like {wide} without a byte order mark", save)
        if data.startswith(_UTF16_MARKS):
            try:
                return data.decode("utf-16")
            except UnicodeDecodeError:
                raise CohortError(path, "begins as UTF-16 but is not UTF-16 throughout", save) from None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
        composed, others = _rows_by_encoding(data)
        if composed and others:
            found = f"mixes encodings: UTF-8 in {row_list(composed)}, not UTF-8 in {row_list(others)}"
            raise CohortError(path, found, save)
        for name, codec, fits in (
            ("Windows-1252 (Western European)", "cp1252", _looks_western),
            ("GB18030 (Chinese)", "gb18030", _looks_chinese),
        ):
            if not fits(data):
                continue
            try:
                text = data.decode(codec)
            except UnicodeDecodeError:
                continue
            if codec == "gb18030" and _may_be_korean(data):
                name += ", but may be EUC-KR (Korean) or EUC-JP (Japanese) as well"
            found = f"is not UTF-8 and was read as {name}: check the letters of {row_list(others)}. {save}"
            self.notes.append(Problem(None, "encoding", found, 8))
            return text
        found = f"is neither UTF-8 nor UTF-16, nor plainly Western European or Chinese: see {row_list(others)}"
        raise CohortError(path, found, save)

    # ---------------------------------------------------------------------------------------------- workbooks

    def _workbook(self) -> Iterator[tuple[int, list[str]]]:
        path = self.path
        try:
            from openpyxl import load_workbook
        except ImportError:
            raise CohortError(path, "is a workbook, which this Python cannot read", "Save it as csv") from None
        try:
            with path.open("rb") as file:
                book = load_workbook(_plain_parts(path, file), read_only=True, data_only=True)
                sheet = self._chosen(book)
                with sheet._get_source() as source:
                    hidden = self._look_through(source)
                sheet.reset_dimensions()  # the stated extent, which many writers get wrong
                seen_hidden: list[int] = []
                header: list[str] = []
                ids: list[int] = []
                styles = _Styles()
                for number, row in enumerate(sheet.iter_rows(), start=1):
                    cells = [cell.value for cell in row]
                    texts = [_cell_text(cell) for cell in cells] + [""] * (len(header) - len(cells))
                    if any(texts):
                        self._values = cells
                        for place in ids:
                            if place < len(row) and (shown := styles.shown(row[place])) not in ("", texts[place]):
                                texts[place] = shown
                                self._shown_otherwise.add(number)
                        if any(cells[n] is not None and styles.is_struck(cell) for n, cell in enumerate(row)):
                            self._struck.add(number)
                        if not header:
                            ids = [n for n, text in enumerate(texts) if column_name(text) in ID_COLUMNS]
                        seen_hidden += [number] if number in hidden else []
                        self._refuse_rows_in(number, texts, ",;\t")
                        self._remember(texts)
                        header = header or texts
                        yield number, texts
        except CohortError:
            raise
        except BadZipFile:
            with path.open("rb") as file:
                if file.read(len(_OLE)) == _OLE:
                    found = "is a workbook with a password, or from before 2007 (xls)"
                    raise CohortError(path, found, "Save it as xlsx without a password") from None
            raise CohortError(
                path, "is not a workbook", "If it is a text table, name it .csv; else save it again"
            ) from None
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise CohortError(path, f"cannot be read as a workbook ({reason})", "Save it as xlsx or csv") from None
        self._note_sheet(seen_hidden, header)

    def _chosen(self, book: Any) -> Any:
        """The first visible sheet; a note names others with values."""
        sheets = book.worksheets
        if not sheets:
            raise CohortError(self.path, "has no sheet of cells", "Put the table into its first sheet")
        seen = [sheet for sheet in sheets if sheet.sheet_state == "visible"]
        chosen = (seen or sheets)[0]
        others = [n for n, sheet in enumerate(sheets, 1) if sheet is not chosen and _has_values(sheet)]
        if others or not seen:
            hidden = [n for n in others if sheets[n - 1].sheet_state != "visible"]
            text = f"has {len(others) + 1} sheets with cells; sheet {sheets.index(chosen) + 1} was read, no other"
            text += f" (hidden: sheet {', '.join(map(str, hidden))})" if hidden else ""
            if not seen:
                text = f"has hidden sheets only; sheet {sheets.index(chosen) + 1} was read"
            self.notes.append(Problem(None, "workbook", text, 8))
        return chosen

    def _look_through(self, source: IO[bytes]) -> set[int]:
        """Hidden rows; records merged cells and formulas without a value, refuses numbers out of order.

        openpyxl drops rows and cells that come too late, and fills gaps: for hours before a row of number 10**9.
        """
        from openpyxl.utils.cell import coordinate_to_tuple, range_boundaries

        hidden: set[int] = set()
        row, column, data = 0, 0, None
        for event, element in iterparse(source, events=("start", "end")):
            tag = element.tag.rpartition("}")[2]
            if event == "start":
                if tag == "row":
                    told = element.get("r")
                    number = int(float(told)) if told else row + 1
                    if number <= row or number > _LAST_ROW:
                        found = f"has row number {told} after row {row}; its row numbers are damaged"
                        raise CohortError(self.path, found, "Open it in a spreadsheet program and save it again")
                    row, column = number, 0
                    if element.get("hidden") in ("1", "true") or _is_zero(element.get("ht")):
                        hidden.add(row)
                elif tag == "sheetData":
                    data = element
                elif tag == "col" and (element.get("hidden") in ("1", "true") or _is_zero(element.get("width"))):
                    self._hidden_columns.append((int(element.get("min", 0)), int(element.get("max", 0))))
                continue
            if tag == "c":
                where = coordinate_to_tuple(element.get("r"))[1] if element.get("r") else column + 1
                if where <= column:
                    found = f"has the cells of row {row} out of order"
                    raise CohortError(self.path, found, "Open it in a spreadsheet program and save it again")
                column = where
                parts = {child.tag.rpartition("}")[2]: child for child in element}
                if "f" in parts and not (parts["v"].text if "v" in parts else "") and len(self._uncomputed) < _ROWS_CAP:
                    self._uncomputed.add((row, where - 1))
            elif tag == "row":
                element.clear()
                if data is not None:
                    data.clear()
            elif tag == "mergeCell" and len(self._merged) < 1000:
                col0, row0, col1, row1 = range_boundaries(element.get("ref"))
                self._merged.append((row0, col0 - 1, row1, col1 - 1))
        return hidden

    def _note_sheet(self, hidden: Sequence[int], header: Sequence[str]) -> None:
        if columns := [
            self.letters(place)
            for place, cell in enumerate(header)
            if clean_cell(cell) and any(low <= place + 1 <= high for low, high in self._hidden_columns)
        ]:
            text = f"column{'s' * (len(columns) > 1)} {', '.join(columns)}: hidden, but read"
            self.notes.append(Problem(None, "workbook", f"{text}; delete what does not belong", 8))
        if hidden:
            text = f"{row_list(hidden)}: hidden, perhaps by a filter, but read; delete what does not belong"
            self.notes.append(Problem(None, "workbook", text, 8))
        if self._struck:
            text = f"cells of {row_list(self._struck)} are struck out, but were read"
            self.notes.append(Problem(None, "workbook", f"{text}; delete what does not belong", 8))
        if self._shown_otherwise:
            text = f"ids of {row_list(self._shown_otherwise)} were read as displayed, by their number formats"
            self.notes.append(Problem(None, "workbook", text, 6))
        if self._uncomputed:
            rows = row_list(row for row, _ in self._uncomputed)
            text = (
                f"formulas in {rows} have no saved value and count as empty: open and save it in a spreadsheet program"
            )
            self.notes.append(Problem(None, "workbook", text, 8))
        if self._merged:
            rows = row_list(row for row, *_ in self._merged)
            text = f"has merged cells (from {rows} on): only the first cell has the value, the others are empty"
            self.notes.append(Problem(None, "workbook", text, 8))


def _is_zero(size: str | None) -> bool:
    """Whether a height or width in a workbook is 0."""
    return size is not None and re.fullmatch(r"0*(\.0*)?", size.strip()) is not None


class _Styles:
    """Cell styles that change the meaning of cells; each style is read once."""

    def __init__(self) -> None:
        self._formats: dict[int, str] = {}
        self._strikes: dict[int, bool] = {}

    def is_struck(self, cell: Any) -> bool:
        """Whether a cell is crossed out."""
        if cell.value is None:
            return False
        style = cell._style_id
        if style not in self._strikes:
            self._strikes[style] = bool(cell.font.strike)
        return self._strikes[style]

    def shown(self, cell: Any) -> str:
        """A whole number as its format displays it (``000007``, ``P-7``); empty where unknown."""
        value = cell.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**_DIGITS:
            return ""
        if value != int(value):
            return ""
        style = cell._style_id
        if style not in self._formats:
            self._formats[style] = cell.number_format
        return _formatted(int(value), self._formats[style])


def _formatted(value: int, pattern: str) -> str:
    """A whole number in a number format of digits and fixed characters; empty for any other format."""
    section = pattern.split(";")[0]
    parts = re.findall(r'"([^"]*)"|\\(.)|_.|\*.|([0#?])|(\[[^\]]*\])|(.)', section)
    signs: list[tuple[bool, str]] = []
    for quoted, escaped, digit, condition, other in parts:
        if digit:
            signs.append((True, digit))
        elif quoted or escaped:
            signs.append((False, quoted or escaped))
        elif other and other in "-+/():' &~{}=<>$":
            signs.append((False, other))
        elif other or re.fullmatch(r"\[[<>=].*\]", condition):
            return ""  # a date, a decimal point, thousands, a condition
    if not any(is_digit for is_digit, _ in signs):
        return ""
    left, found = str(value), []
    first = next(n for n, (is_digit, _) in enumerate(signs) if is_digit)
    for n in range(len(signs) - 1, -1, -1):
        is_digit, sign = signs[n]
        if not is_digit:
            found.append(sign)
            continue
        taken, left = (left, "") if n == first else (left[-1:], left[:-1])
        found.append(taken or {"0": "0", "?": " "}.get(sign, ""))
    return "".join(reversed(found)).strip()


def _shape(cell: str) -> str:
    """Shape of a cell: each run of letters as ``a``, of digits as ``9``, other characters as they are."""
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", cell.strip(' \t\r\n"')))[:60]


def _telling(shape: str) -> int:
    """How specific a shape is: 2 for a path or a number with a point, 1 with digits, else 0."""
    return _PATH if re.search(r"[./\\]", shape) else int("9" in shape)


def _wide_without_mark(data: bytes) -> str:
    """``UTF-16`` or ``UTF-32`` for a text without a byte order mark in which enough bytes are 0; or empty."""
    start = data[: 1 << 12]
    if data.startswith(_UTF16_MARKS) or start.count(0) < max(2, len(start) // 4):
        return ""
    nonzero = [len(start[place::4]) - start[place::4].count(0) for place in range(4)]
    if start.count(0) > 0.6 * len(start):
        return "UTF-32" if max(nonzero) > 0.9 * sum(nonzero) else ""
    even, odd = start[::2].count(0), start[1::2].count(0)
    return "UTF-16" if max(even, odd) > 9 * min(even, odd) else ""


def _delimiter(text: str) -> str:
    """The separator that splits the first row into the most cells without other separators."""
    tops = {}
    for delimiter in _SEPARATORS:
        rows = csv.reader(io.StringIO(text[: 1 << 16], newline=""), delimiter=delimiter)
        tops[delimiter] = list(islice((row for row in rows if any(map(clean_cell, row))), 20))
    counts: dict[str, int] = {}
    for place in range(20):  # above the header there may be a title, which has no separator
        for delimiter, rows_of in tops.items():
            row = rows_of[place] if place < len(rows_of) else []
            counts[delimiter] = sum(not re.search(r"[\t;,|]", cell) for cell in row) if len(row) > 1 else 0
        if any(counts.values()):
            break
    return max(counts, key=lambda delimiter: counts[delimiter])


def _rows_by_encoding(data: bytes) -> tuple[list[int], list[int]]:
    """Rows with non-ASCII letters that are UTF-8, and rows that are not."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    composed, others = [], []
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)), start=1):
            own = "\x1f".join(cells).encode("latin-1")
            if own.isascii():
                continue
            try:
                own.decode("utf-8")
                composed.append(number)
            except UnicodeDecodeError:
                others.append(number)
    except csv.Error:  # reported when the rows are read
        others = others or [1]
    return composed, others


def _looks_western(data: bytes) -> bool:
    """Whether non-ASCII bytes come singly or in pairs, as accented letters do: other scripts have long runs."""
    return not re.search(rb"[\xc0-\xff]{3}|[\x80-\xff]{4}", data)


def _looks_chinese(data: bytes) -> bool:
    """Whether nearly all pairs are of the 3755 commonest characters (GB 2312, level 1) or punctuation.

    Cyrillic, Greek and Japanese in one or two bytes would also decode as Chinese, but into rare characters.
    """
    pairs = re.findall(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]", data)
    level = (*range(0xA1, 0xA4), *range(0xB0, 0xD8))
    common = [pair for pair in pairs if pair[0] in level and 0xA1 <= pair[1] <= 0xFE]
    return len(common) >= 0.8 * len(pairs)


def _may_be_korean(data: bytes) -> bool:
    """Whether all letters are in the range of EUC-KR's syllables, half of the range of Chinese characters."""
    pairs = re.findall(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]", data)
    return all(0xB0 <= pair[0] <= 0xC8 and pair[1] >= 0xA1 for pair in pairs)


def is_misread(text: str) -> bool:
    """Whether a text is UTF-8 that was read as Western European: ``MÃ¼ller``."""
    if text.isascii():
        return False
    for codec in ("cp1252", "latin-1"):
        try:
            read = text.encode(codec).decode("utf-8")
            return any(sign.isalpha() and not sign.isascii() for sign in read)
        except UnicodeError:
            continue
    return False


def _has_values(sheet: Any) -> bool:
    """Whether a sheet has a cell with anything in it."""
    with sheet._get_source() as source:
        for _, element in iterparse(source):
            if element.tag.rpartition("}")[2] in ("v", "is", "f"):
                return True
            element.clear()
    return False


def _plain_parts(path: Path, file: BinaryIO) -> BinaryIO:
    """The workbook in the form that openpyxl reads; CohortError if its unpacked parts are too large.

    zipfile never unpacks more than the stated sizes. The strict form of a workbook differs in the names of its schemas.
    """
    with ZipFile(file) as archive:
        size = sum(part.file_size for part in archive.infolist())
        if size > _PARTS_CAP:
            found = f"unpacks to {size >> 20} MiB, at most {_PARTS_CAP >> 20} are read"
            raise CohortError(path, found, "Save it as csv")
        names = archive.namelist()
        if "xl/workbook.xml" in names and _STRICT[0][0] in archive.read("xl/workbook.xml"):
            plain = io.BytesIO()
            with ZipFile(plain, "w") as target:
                for name in names:
                    content = archive.read(name)
                    for strict, usual in _STRICT if name.endswith((".xml", ".rels")) else ():
                        content = content.replace(strict, usual)
                    target.writestr(name, content)
            plain.seek(0)
            return plain
    file.seek(0)
    return file


def _cell_text(cell: object) -> str:
    """Text of a cell; whole numbers without a decimal point. A formula without a value is empty."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return _CONTROL.sub(lambda found: chr(int(found[1], 16)), str(cell))
