"""Finding and reading what a cohort's folder holds."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MolSubCore.cohort.importers.rows import Found, Note
from MolSubCore.cohort.table_files import TABLE_ENDINGS, TableFile, clean_cell, column_name, note_lines, read_rows
from MolSubCore.errors import CohortError
from MolSubCore.imaging.lesion import Box


@dataclass(frozen=True)
class Line:
    """A row of a foreign table: its number as a spreadsheet counts, and its cells by lower-case column.

    `why_no_id` says of each cell what speaks against it as somebody's id, or nothing.
    """

    number: int
    cells: dict[str, str]
    overlong: bool = False
    why_no_id: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


#: Files that systems and programs put into folders.
_SYSTEMS = frozenset((".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory"))
SYSTEM_FILE = "files of the system (Thumbs.db, .DS_Store, ._ files, __MACOSX and the like)"
HIDDEN_FILE = "hidden files and folders, and those that a program has open"
DIRECTORY_FILE = "DICOMDIR, which lists images and is none"
NO_FILE = "named pipes, sockets and devices, which are no files"
DEAD_LINK = "links that lead nowhere"
KNOWN_FOLDER = "links to folders that are read already, or that hold the folder itself"
CLOSED = "folders that cannot be opened"


def files_below(folder: Path, passed: dict[str, list[str]] | None = None) -> list[Path]:
    """Every file below a folder that may be of the cohort, in the order of their names; a linked folder is read once.

    Parameters
    ----------
    folder : Path
    passed : dict of str to list of str, optional
        Is given what was passed over, below the folder, by the reason.

    Raises
    ------
    CohortError
        If it is no folder, or cannot be opened.
    """
    if not folder.is_dir():
        raise CohortError(folder, "is no folder", "Give the folder that the cohort was unpacked into")
    passed = {} if passed is None else passed
    found: list[Path] = []
    links: list[Path] = []
    seen: set[str] = set()

    def pass_over(path: Path, reason: str) -> None:
        passed.setdefault(reason, []).append(relative(path, folder))

    def walk(top: Path) -> None:
        def closed(error: OSError) -> None:
            place = Path(error.filename or top)
            if place == folder:
                raise CohortError(folder, f"cannot be opened ({error.strerror})", "Choose a folder that you may read")
            pass_over(place, CLOSED)

        for place, folders, names in os.walk(top, onerror=closed):
            seen.add(os.path.realpath(place))
            kept = []
            for name in sorted(folders):
                path = Path(place, name)
                if name == "__MACOSX":
                    pass_over(path, SYSTEM_FILE)
                elif name.startswith("."):
                    pass_over(path, HIDDEN_FILE)
                elif path.is_symlink():
                    links.append(path)
                elif os.path.realpath(path) in seen:
                    pass_over(path, KNOWN_FOLDER)
                else:
                    kept.append(name)
            folders[:] = kept
            for name in sorted(names):
                path = Path(place, name)
                if reason := _why_none(path):
                    pass_over(path, reason)
                else:
                    found.append(path)

    walk(folder)
    own = os.path.realpath(folder)
    while links:  # after all that is really here, so that every file has its own name
        link = links.pop(0)
        real = os.path.realpath(link)
        if real in seen or os.path.commonpath([real, own]) == real:
            pass_over(link, KNOWN_FOLDER)
        else:
            walk(link)
    return sorted(found, key=lambda path: (path.parent.as_posix().split("/"), path.name))


def _why_none(path: Path) -> str:
    """Why an entry of a folder is no file of a cohort, or empty. Nothing is opened: a pipe would wait for ever."""
    name = path.name.lower()
    if name in _SYSTEMS or name.startswith("._"):
        return SYSTEM_FILE
    if name.startswith((".", "~$")):
        return HIDDEN_FILE
    if name == "dicomdir":
        return DIRECTORY_FILE
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else NO_FILE
    except OSError:
        return DEAD_LINK


def note_passed(found: Found, passed: dict[str, list[str]], where: str = "") -> None:
    """Say what of a folder was passed over, by number; the names are in the report."""
    for reason, keys in passed.items():
        found.note(f"Passed over{where}: {reason}", keys)


def with_ending(files: Sequence[Path], *endings: str) -> list[Path]:
    """Those files whose name ends so, whatever the case."""
    return [path for path in files if path.name.lower().endswith(endings)]


def find_tables(files: Sequence[Path], columns: Collection[str], *, folder: Path, name: str) -> list[Path]:
    """The tables that have all these columns (lower case).

    Raises
    ------
    CohortError
        If there is none; `name` is that which the cohort's makers gave it.
    """
    found, broken = [], []
    for path in with_ending(files, *TABLE_ENDINGS):
        try:
            if set(columns) <= set(_header(path)):
                found.append(path)
        except CohortError as error:
            broken.append(f"{relative(path, folder)} {error.problem}")
    if not found:
        wanted = ", ".join(sorted(columns))
        others = f"; not read: {'; '.join(broken[:3])}" if broken else ""
        remedy = f"Put {name} into it (csv or xlsx)"
        raise CohortError(folder, f"holds no table with the columns {wanted}{others}", remedy)
    return found


def find_table(files: Sequence[Path], columns: Collection[str], *, folder: Path, name: str) -> Path:
    """The one table that has all these columns; CohortError where there is none, or several."""
    found = find_tables(files, columns, folder=folder, name=name)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise CohortError(folder, f"holds {len(found)} tables that may be {name}: {names}", "Leave one of them there")
    return found[0]


def _header(path: Path) -> list[str]:
    _, cells = next(iter(read_rows(path)), (1, []))
    return [column_name(cell) for cell in cells]


def read_lines(path: Path, found: Found | None = None) -> Iterator[Line]:
    """Rows below the header, cells without surrounding blanks and line breaks; empty rows are none.

    What is doubtful about the table as a file is a note of `found`.

    Raises
    ------
    CohortError
        If the table cannot be read, or has a column twice.
    """
    file = TableFile(path)
    rows = file.rows()
    _, header = next(rows, (1, []))
    columns = [column_name(cell) for cell in header]
    doubled = {name for name in columns if name and columns.count(name) > 1}
    if doubled:
        raise CohortError(path, f"has the column(s) {', '.join(sorted(doubled))} twice", "Take the original table")
    for number, cells in rows:
        if any(cell.strip() for cell in cells):
            values = {name: clean_cell(cell) for name, cell in zip(columns, cells, strict=False) if name}
            why = {name: file.why_no_id(values.get(name, ""), place) for place, name in enumerate(columns) if name}
            yield Line(number, values, any(cell.strip() for cell in cells[len(columns) :]), why)
    if found is not None:
        found.notes += [Note(f"{path.name}, {line}") for line in note_lines(file.notes)]


def relative(path: Path, folder: Path) -> str:
    """A file's name below the cohort's folder, with ``/``."""
    return path.relative_to(folder).as_posix()


def number_of(text: str) -> float | None:
    """A finite number, with a decimal point or comma (one or two digits after it: three may be thousands), or None."""
    try:
        value = float(text.replace(",", ".") if re.fullmatch(r"\s*[+-]?\d+,\d{1,2}\s*", text) else text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Clipped:
    """A box on an image: `text` for the table (None: nothing of it is on the image), and whether it was changed."""

    text: str | None
    cut: bool = False
    turned: bool = False


def clip_box(columns: tuple[float, float], rows: tuple[float, float], shape: tuple[int, int]) -> Clipped:
    """A box between two columns and two rows, in the order of its ends, cut at the border of the image.

    Parameters
    ----------
    columns, rows : tuple of float
        The two ends, pixels.
    shape : tuple of int
        Rows and columns of the image; 0 where they are not known, and nothing is cut but negative ends.
    """
    turned = columns[0] > columns[1] or rows[0] > rows[1]
    limits = [limit or math.inf for limit in shape]
    top, bottom = (math.floor(min(rows)), math.ceil(max(rows)))
    left, right = (math.floor(min(columns)), math.ceil(max(columns)))
    ends = [max(top, 0), max(left, 0), min(bottom, limits[0]), min(right, limits[1])]
    cut = ends != [top, left, bottom, right]
    if ends[0] >= ends[2] or ends[1] >= ends[3]:
        return Clipped(None, cut, turned)
    box = Box(int(ends[0]), int(ends[2]), int(ends[1]), int(ends[3]))
    return Clipped(f"{box.row_start},{box.col_start},{box.row_stop},{box.col_stop}", cut, turned)


def age_of(text: str) -> str:
    """Age in years from a DICOM age string (``044Y``) or a number (``44.0``); empty where it is none."""
    text = text.strip().upper()
    value = number_of(text[:-1] if text.endswith("Y") else text)
    return f"{value:g}" if value is not None and 0 < value < 130 else ""
