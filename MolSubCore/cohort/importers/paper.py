"""The paper's own table: ``name,img_path,annotation_path,label`` with labels 0 to 4, csv or xlsx.

Paths that do not exist as written (they are from the computer where the table was made) are searched by their last
parts below the folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from MolSubCore.cohort.importers.base import (
    NO_IMAGE,
    OVERLONG,
    Found,
    Ledger,
    Line,
    Note,
    Progress,
    Row,
    files_below,
    find_table,
    note_passed,
    read_lines,
)
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.files import Finder
from MolSubCore.tasks import Subtype, SubtypeLabel, parse_subtype

NO_NAME = "no name"
NO_OUTLINE = "outline file missing"
NO_LABEL = "no label"
NOT_UNDERSTOOD = "label not understood"

_COLUMNS = ("name", "img_path", "label")


def read(folder: Path, progress: Progress | None = None) -> Found:
    """Read the table; of the files only whether they are there.

    Raises
    ------
    CohortError
        If the folder holds no such table, or several.
    """
    passed: dict[str, list[str]] = {}
    table = find_table(files_below(folder, passed), _COLUMNS, folder=folder, name="the paper's table")
    found, moved, finder = Found(Ledger("rows of the table")), [], Finder()
    note_passed(found, passed)
    lines = list(read_lines(table, found))
    _check_numbers(table, lines, found)
    for line in lines:
        key = f"row {line.number}"
        found.inputs.expect(key)
        image, image_moved = _file(line["img_path"], table.parent, folder, finder)
        mask, mask_moved = _file(line["annotation_path"], table.parent, folder, finder)
        reason = OVERLONG if line.overlong else NO_NAME if not line["name"] else NO_IMAGE if image is None else ""
        if reason or image is None:
            found.inputs.place(key, reason)
            continue
        moved += [key] if image_moved or mask_moved else []
        found.rows.append(_row(key, line, image, mask))
        if progress:
            progress(len(found.rows), 0, "rows")
    found.note("Files found below the folder, but not where the table says", moved)
    return found


def _check_numbers(table: Path, lines: Sequence[Line], found: Found) -> None:
    """Note that numbers were read as the paper's labels; CohortError where they count from 1."""
    told = (re.fullmatch(r"(\d+)(?:\.0+)?", line["label"]) for line in lines)
    numbers = {int(number[1]) for number in told if number}
    if 0 not in numbers and any(number >= len(Subtype) for number in numbers):
        text = f"has labels from {min(numbers)} to {max(numbers)}: the paper's are 0 to 4, these seem to count from 1"
        raise CohortError(table, text, "Write the names of the subtypes")
    if numbers:
        names = ", ".join(f"{n} {subtype.value}" for n, subtype in enumerate(Subtype))
        counted = "; there is no 0: if they count from 1, write the names instead" if 0 not in numbers else ""
        found.notes.append(Note(f"The numbers in the column label were read as the paper's: {names}{counted}"))


def _row(key: str, line: Line, image: Path, mask: Path | None) -> Row:
    subtype, reason = _label(line["label"])
    known = {"name", "img_path", "annotation_path", "label", "patient_id", "image", "mask", "box", "subtype"}
    extra = {name: value for name, value in line.cells.items() if name not in known}
    no_lesion = NO_OUTLINE if line["annotation_path"] else "no lesion outline"
    return Row(key, line["name"], image, subtype, mask=mask, no_subtype=reason, no_lesion=no_lesion, extra=extra)


def _label(text: str) -> tuple[SubtypeLabel | None, str]:
    if not text:
        return None, NO_LABEL
    try:
        return parse_subtype(text), ""
    except MolSubError:
        return None, NOT_UNDERSTOOD


def _file(text: str, beside: Path, folder: Path, finder: Finder) -> tuple[Path | None, bool]:
    """The file that a cell names, and whether it was found elsewhere."""
    if not text or "\0" in text:
        return None, False
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    try:
        if (path := finder.find(beside, text)).is_file():
            return path, False
        for start in range(len(parts)):
            for place in (beside, folder):
                if (path := finder.find(place, "/".join(parts[start:]))).is_file():
                    return path, True
    except OSError:  # a name that is too long
        pass
    return None, False
