"""Tables as files: csv, tsv and xlsx become numbered rows of cells, with what is doubtful about them.

What a file holds is read, never what it declares of itself: the stated extent of a sheet, an encoding, a separator.
Whatever had to be decided is a note. Standard library and openpyxl only.
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO
from xml.etree.ElementTree import iterparse
from zipfile import BadZipFile, ZipFile

from MolSubCore.errors import CohortError, printable

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # Excel's "Unicode text"
#: Of a table: its bytes (of a workbook's parts, unpacked), its rows, its columns, the last row a sheet can have.
_SIZE_CAP, _PARTS_CAP, _ROWS_CAP, _COLUMNS_CAP, _LAST_ROW = 128 << 20, 32 << 20, 250_000, 1000, 1_048_576
#: Endings of tables.
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx")
#: Signs that nobody sees: byte order marks, joiners, direction marks, soft hyphens.
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
#: What spreadsheets show in place of a value they could not compute.
_ERROR_VALUE = re.compile(r"#(N/A|REF!|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|SPILL!|CALC!|GETTING_DATA)|#{3,}")


@dataclass(frozen=True)
class Problem:
    """Something about a table: row (None: the whole table), column, what it is, and how much it matters.

    Attributes
    ----------
    row : int or None
    column : str
    text : str
    weight : int
        Of notes: the larger, the further up.
    """

    row: int | None
    column: str
    text: str
    weight: int = 2

    def __str__(self) -> str:
        return printable(f"{f'row {self.row}' if self.row else 'table'}, {self.column}: {self.text}", 1200)


def row_list(rows: Iterable[int], most: int = 12) -> str:
    """Rows for people: ``row 2``, ``rows 2-4, 9``; what is beyond `most` ranges is counted."""
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


def note_lines(notes: Iterable[Problem]) -> list[str]:
    """Notes for people: those of one kind in one line with their rows, the weightier first.

    Texts that differ in their numbers only are of one kind; the first one is shown.
    """
    kinds: dict[tuple[str, str], list[Problem]] = {}
    for note in notes:
        kinds.setdefault((note.column, re.sub(r"\d+([.,]\d+)*", "#", note.text)), []).append(note)
    lines = []
    for group in sorted(kinds.values(), key=lambda own: (-own[0].weight, own[0].row or 0)):
        rows = [note.row for note in group if note.row]
        first = group[0]
        text = first.text
        if len({note.text for note in group}) > 1:
            text += f" (so in row {first.row}; the others differ in numbers only)"
        lines.append(printable(f"{row_list(rows) if rows else 'table'}, {first.column}: {text}", 1200))
    return lines


def clean_cell(text: str) -> str:
    """A cell as it is compared: letters composed (NFC), no invisible signs, no blanks around it."""
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).strip()


def column_name(text: str) -> str:
    """The name of a column, in a header or asked for on the command line: cleaned, small letters, single blanks."""
    return " ".join(clean_cell(text).lower().split())


def is_error_value(cell: str) -> bool:
    """Whether a cell is what a spreadsheet shows in place of a value: ``#N/A``, ``#REF!``, ``####``."""
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
        self._merged: list[tuple[int, int, int, int]] = []
        self._uncomputed: set[tuple[int, int]] = set()

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Rows of cells with their spreadsheet numbers, the header first; CohortError where it cannot be read."""
        path = self.path
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises on names that are too long
            remedy = "Name the csv, tsv or xlsx file; molsub cohort make builds one from a folder of images"
            raise CohortError(path, "is a folder, expected a table", remedy)
        if not os.path.isfile(path):  # noqa: PTH113 - the same
            raise CohortError(path, "does not exist or is no file", "Give a csv, tsv or xlsx table")
        if path.stat().st_size > _SIZE_CAP:
            raise CohortError(path, f"is larger than {_SIZE_CAP >> 20} MiB", "Give a table, one row per image")
        suffix = path.suffix.lower()
        if suffix == ".xlsx":
            rows = self._workbook()
        elif suffix in TABLE_ENDINGS:
            rows = self._text()
        else:
            raise CohortError(path, f"ends in '{suffix}', expected .csv, .tsv or .xlsx", "Save it as one of these")
        for count, (number, cells) in enumerate(rows):
            if count > _ROWS_CAP or len(cells) > _COLUMNS_CAP:
                found = f"has more than {_ROWS_CAP} rows or {_COLUMNS_CAP} columns (row {number})"
                raise CohortError(path, found, "Give a table, one row per image")
            yield number, cells

    def why_empty(self, row: int, place: int) -> str:
        """Why a cell (its column counted from 0) of a workbook has no value although somebody sees one; or empty."""
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
        # Excel's own hint, which no spreadsheet shows as a row.
        if hint := re.match(r'"?sep=(.)"?[ \t]*(\r\n|\r|\n|$)', text, re.IGNORECASE):
            delimiter, text = hint[1], text[hint.end() :]
        try:
            delimiter = delimiter or _delimiter(text)
            # Rows, not lines: a quoted cell may hold several lines, and a spreadsheet counts it as one row.
            for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1):
                yield number, row
        except (csv.Error, TypeError) as error:  # of a sep= that no table can have, it is a TypeError
            raise CohortError(path, f"row {number + 1} cannot be read ({error})", "Save the table again") from None

    def _decoded(self) -> str:
        path, data = self.path, self.path.read_bytes()
        if max(data.count(b"\n"), data.count(b"\r")) > 4 * _ROWS_CAP:  # a cell may hold several lines
            raise CohortError(path, f"has more than {_ROWS_CAP} rows", "Give a table, one row per image")
        save = "Save it as UTF-8 (in Excel: CSV UTF-8)"
        if data.startswith(_UTF16_MARKS):
            try:
                return data.decode("utf-16")
            except UnicodeDecodeError:
                raise CohortError(path, "begins as UTF-16 and is not UTF-16 throughout", save) from None
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
                _check_parts(path, file)
                book = load_workbook(file, read_only=True, data_only=True)
                sheet = self._chosen(book)
                with sheet._get_source() as source:
                    hidden = self._look_through(source)
                sheet.reset_dimensions()  # the stated extent, which many writers get wrong
                seen_hidden, width = [], 0
                for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
                    width = width or len(cells)
                    texts = [_cell_text(cell) for cell in cells] + [""] * (width - len(cells))
                    if number == 1 or any(texts):
                        seen_hidden += [number] if number in hidden else []
                        yield number, texts
        except CohortError:
            raise
        except BadZipFile:
            raise CohortError(
                path, "is no workbook", "If it is a table of text, name it .csv; else save it again"
            ) from None
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise CohortError(path, f"cannot be read as a workbook ({reason})", "Save it as xlsx or csv") from None
        self._note_sheet(seen_hidden)

    def _chosen(self, book: Any) -> Any:
        """The first sheet that is not hidden; others with values are told."""
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
        """Rows that are hidden; merged cells and formulas without a value are kept, numbers out of order refused.

        openpyxl leaves out rows and cells that come too late, and fills gaps: of a row of number 10**9 for hours.
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
                        found = f"has a row of the number {told} after row {row}; its row numbers are damaged"
                        raise CohortError(self.path, found, "Open it in a spreadsheet program and save it again")
                    row, column = number, 0
                    if element.get("hidden") in ("1", "true"):
                        hidden.add(row)
                elif tag == "sheetData":
                    data = element
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

    def _note_sheet(self, hidden: Sequence[int]) -> None:
        if hidden:
            text = f"{row_list(hidden)}: hidden, perhaps by a filter, and read all the same; delete what is not meant"
            self.notes.append(Problem(None, "workbook", text, 8))
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


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of cells of a csv, tsv or xlsx table with their spreadsheet numbers; CohortError where it cannot be read."""
    return TableFile(path).rows()


def _delimiter(text: str) -> str:
    """The separator that makes of the first row the most cells without another separator in them."""
    counts = {}
    for delimiter in ("\t", ";", ","):
        header = next(csv.reader(io.StringIO(text[: 1 << 16], newline=""), delimiter=delimiter), [])
        counts[delimiter] = sum(not re.search(r"[\t;,]", cell) for cell in header) if len(header) > 1 else 0
    return max(counts, key=lambda delimiter: counts[delimiter])


def _rows_by_encoding(data: bytes) -> tuple[list[int], list[int]]:
    """Rows with letters beyond ASCII that are UTF-8, and rows that are not."""
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
    except csv.Error:  # it will be told when the rows are read
        others = others or [1]
    return composed, others


def _looks_western(data: bytes) -> bool:
    """Whether bytes beyond ASCII stand singly or in pairs, as accented letters do: other scripts have long runs."""
    return not re.search(rb"[\xc0-\xff]{3}|[\x80-\xff]{4}", data)


def _looks_chinese(data: bytes) -> bool:
    """Whether nearly all pairs are of the 3755 commonest characters (GB 2312, level 1) or punctuation.

    Cyrillic, Greek and Japanese of one or two bytes would decode as Chinese, too, of rare characters.
    """
    pairs = re.findall(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]", data)
    level = (*range(0xA1, 0xA4), *range(0xB0, 0xD8))
    common = [pair for pair in pairs if pair[0] in level and 0xA1 <= pair[1] <= 0xFE]
    return len(common) >= 0.8 * len(pairs)


def _has_values(sheet: Any) -> bool:
    """Whether a sheet has a cell with anything in it."""
    with sheet._get_source() as source:
        for _, element in iterparse(source):
            if element.tag.rpartition("}")[2] in ("v", "is", "f"):
                return True
            element.clear()
    return False


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
