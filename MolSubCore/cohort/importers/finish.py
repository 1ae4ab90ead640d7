"""From what an importer found to a table, its masks and its report."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MolSubCore.cohort.importers.masks import find_mask
from MolSubCore.cohort.importers.rows import Found, ImportOptions, Note, Progress, Row
from MolSubCore.cohort.table import parse_cohort
from MolSubCore.cohort.table_files import note_lines
from MolSubCore.errors import MolSubError
from MolSubCore.files import (
    ESCAPED,
    OVERWRITE,
    atomic_path,
    check_free,
    hidden_name,
    json_text,
    named_folder,
    new_hidden_file,
    note_files,
    plain_cell,
)
from MolSubCore.imaging.reader import read_mammogram
from MolSubCore.tasks import get_task

FIRST = ("patient_id", "image", "mask", "box", "subtype")
MARKER = "molsub-import-masks.txt"

TWO_SUBTYPES = "patient with lesions of different subtypes"
TWICE = "same image and lesion as an earlier row"
TWIN = "same pixels as another patient's image"
TWIN_SUBTYPE = "same pixels as another patient's image of another subtype"
UNREADABLE = "image cannot be read"
NUL = "cell with a NUL byte"
NAME_LOST = "its file's name, or its mask's, cannot stand in a table"


def choose(found: Found, options: ImportOptions) -> list[Row]:
    """The rows that the table takes; all others are placed in the ledger. Masks are not made yet."""
    task = get_task(options.task) if options.task else None
    kept = _without(
        found, found.rows, lambda row: NUL if "\0" in "".join([row.patient_id, *row.extra.values()]) else None
    )
    if not options.keep_unlabelled:
        kept = _without(found, kept, lambda row: row.no_subtype if row.subtype is None else None)
    if task is not None:
        name = f"subtype too coarse for task {task.name}"
        kept = _without(found, kept, lambda row: name if row.subtype and not task.class_of.get(row.subtype) else None)
    subtypes: dict[str, set[object]] = {}
    for row in found.rows:
        if row.subtype:
            subtypes.setdefault(row.patient_id, set()).add(row.subtype)
    several = {patient for patient, own in subtypes.items() if len(own) > 1}
    kept = _without(found, kept, lambda row: TWO_SUBTYPES if row.patient_id in several else None)
    if not options.keep_unoutlined:
        kept = _without(found, kept, lambda row: None if row.outlined else row.no_lesion)
    seen: set[tuple[object, ...]] = set()

    def twice(row: Row) -> str | None:
        own = (row.image, row.mask, row.box, row.mask_images)
        if own in seen:
            return TWICE
        seen.add(own)
        return None

    return _without(found, kept, twice)


def _without(found: Found, rows: Iterable[Row], reason_of: Callable[[Row], str | None]) -> list[Row]:
    """Rows without a reason to leave them out; the others are placed."""
    kept = []
    for row in rows:
        reason = reason_of(row)
        if reason is None:
            kept.append(row)
        else:
            found.inputs.place(row.key, reason)
    return kept


def drop_twins(found: Found, rows: list[Row], everything: bool, progress: Progress | None) -> list[Row]:
    """Leave out images whose pixels another patient has too: of one subtype all but the first, of several all.

    Only patients who are known to share pixels are compared, or everything.
    """
    suspects = {patient for group in found.twins for patient in group}
    compared = {row.image: row for row in rows if everything or row.patient_id in suspects}
    if not everything and len({row.patient_id for row in compared.values()}) < 2:
        return rows
    hashes: dict[str, list[Row]] = {}
    wrong: dict[Path, str] = {}
    for number, row in enumerate(compared.values(), start=1):
        try:
            hashes.setdefault(read_mammogram(row.image).pixel_hash(), []).append(row)
        except Exception:  # whatever it is, it is this image's
            wrong[row.image] = UNREADABLE
        if progress:
            progress(number, len(compared), "comparing pixels")
    for group in hashes.values():
        if len({row.patient_id for row in group}) > 1:
            found.note("The same pixels under several patients", tuple(row.key for row in group))
            several = len({row.subtype for row in group if row.subtype}) > 1
            first = min(group, key=lambda row: row.subtype is None)
            wrong |= {
                row.image: TWIN_SUBTYPE if several else TWIN
                for row in group
                if several or row.patient_id != first.patient_id
            }
    return _without(found, rows, lambda row: wrong.get(row.image))


def make_masks(
    found: Found, rows: list[Row], masks: Masks, progress: Progress | None
) -> tuple[list[Row], dict[str, str]]:
    """Make the masks that are needed, in a temporary folder.

    Returns
    -------
    rows : list of Row
        Those that have their mask; the others are placed.
    made : dict of str to str
        The masks' paths for the table, by the keys of their rows.

    Raises
    ------
    MolSubError
        If their folder is there already, and is not to be replaced.
    """
    made: dict[str, str] = {}
    if not any(row.mask_images for row in rows):
        return rows, made
    folder = masks_folder(masks.table)
    check_free(folder, replaces=masks.replaces, remedy=OVERWRITE)
    masks.place.mkdir(parents=True)
    text = f"Masks that {masks.table.name} names. Made by molsub cohort import.\n"
    (masks.place / MARKER).write_text(text, "utf-8", ESCAPED)
    return _make_masks(found, rows, (masks.place, folder.name), made, progress), made


@dataclass(frozen=True)
class Masks:
    """Where masks are made at first, for which table, and the file of a folder of masks that may be replaced."""

    table: Path
    place: Path
    replaces: str | None


@contextlib.contextmanager
def masks_of(table: Path, *, overwrite: bool) -> Iterator[Masks]:
    """A place for masks, not made yet; what is left there at the end goes."""
    masks = Masks(table, hidden_name(masks_folder(table), "tmp"), MARKER if overwrite else None)
    try:
        yield masks
    finally:
        shutil.rmtree(masks.place, ignore_errors=True)


def save_import(rows: list[Row], made: dict[str, str], masks: Masks, report: Path, content: dict[str, Any]) -> None:
    """Write table and report, then name masks, report and table in this order; if that fails, all is as before."""
    table = masks.table
    with contextlib.ExitStack() as named, atomic_path(table) as new_table, atomic_path(report) as new_report:
        _write_table(new_table, rows, table.parent, made)
        _read_back(new_table, table, len(rows))
        new_report.write_text(json_text(content), encoding="utf-8", errors=ESCAPED, newline="\n")
        if masks.place.exists():
            note_files(masks.place)
            named.enter_context(named_folder(masks.place, masks_folder(table), replaces=masks.replaces))
        named.enter_context(_kept(report))


def _write_table(path: Path, rows: Iterable[Row], folder: Path, made: dict[str, str]) -> None:
    rows = list(rows)
    with path.open("w", encoding="utf-8", errors=ESCAPED, newline="") as file:
        extra = dict.fromkeys(name for row in rows for name in row.extra)
        writer = csv.DictWriter(file, [*FIRST, *extra], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_cells(row, folder, made) for row in rows)


def drop_unreadable(found: Found, rows: list[Row], made: dict[str, str], table: Path) -> list[Row]:
    """Leave out rows that the reader of tables would not read as they are, by writing them and reading them.

    What it notes about the others becomes notes.
    """
    lost = [row.key for row in rows if re.search(r"[\r\n]", f"{row.image}{row.mask or ''}")]  # it would end a row
    rows = _without(found, rows, lambda row: NAME_LOST if row.key in lost else None)
    table.parent.mkdir(parents=True, exist_ok=True)
    trial = new_hidden_file(table)
    try:
        _write_table(trial, rows, table.parent, made)
        cohort, problems = parse_cohort(trial, need_subtype=False, need_lesion=False)
    finally:
        trial.unlink(missing_ok=True)
    if any(problem.row is None for problem in problems):
        raise MolSubError(table, f"would not be read back ({problems[0]})", "Correct the cohort's own table")
    reasons = {problem.row: f"its row would not be read: {problem.column} {problem.text}" for problem in problems}
    cases = {case.row: case for case in cohort.cases}
    numbers = {row.key: number for number, row in enumerate(rows, start=2)}  # the header is row 1
    for row in rows:
        case = cases.get(numbers[row.key])
        if case and not (_same(case.image, row.image) and (row.mask is None or _same(case.mask, row.mask))):
            reasons[numbers[row.key]] = NAME_LOST
            lost.append(row.key)
    text = (
        "Files whose names, or whose masks' names, no table can hold: rename them (line ends, blanks at an end, \\udc)"
    )
    found.note(text, [repr(key)[1:-1] for key in lost])
    for line in note_lines(cohort.notes):
        found.notes.append(Note(line.removeprefix("table, ")))
    return _without(found, rows, lambda row: reasons.get(numbers[row.key]))


def _same(one: Path | None, other: Path) -> bool:
    return one is not None and os.path.abspath(one) == os.path.abspath(other)  # noqa: PTH100


@contextlib.contextmanager
def _kept(path: Path) -> Iterator[None]:
    """Bring a file back as it was, if the block fails."""
    old = hidden_name(path, "old")
    try:
        there = path.exists() and shutil.copy2(path, old)
        try:
            yield
        except BaseException:
            if there:
                os.replace(old, path)
            else:
                path.unlink(missing_ok=True)
            raise
    finally:
        old.unlink(missing_ok=True)


def masks_folder(table: Path) -> Path:
    """Where the masks of a table are made."""
    return table.with_name(f"{table.stem}-masks")


def _make_masks(
    found: Found, rows: list[Row], place: tuple[Path, str], made: dict[str, str], progress: Progress | None
) -> list[Row]:
    """Make the mask file of every row that needs one, in `place`: the folder now, and its name later."""
    names: Counter[str] = Counter()
    kept = []
    for number, row in enumerate(rows, start=1):
        if row.mask_images:
            stem = row.extra.get("lesion_id") or row.image.stem
            names[stem] += 1
            name = f"{stem}{f'-{names[stem]}' if names[stem] > 1 else ''}.nii.gz"
            reason = find_mask(row.mask_images, row.image, place[0] / name)
            if reason:
                found.inputs.place(row.key, reason)
                continue
            made[row.key] = f"{place[1]}/{name}"
        kept.append(row)
        if progress:
            progress(number, len(rows), "masks")
    return kept


def _cells(row: Row, folder: Path, made: dict[str, str]) -> dict[str, str]:
    """Cells of a row; names of files stay as they are, whatever they hold, so that they are found again."""
    mask = made.get(row.key) or (_path(row.mask, folder) if row.mask else "")
    cells = {name: re.sub(r"[\r\n]+", " ", plain_cell(cell)) for name, cell in row.extra.items()}
    # Signs that steer, and bytes that are no UTF-8, are written as what Python shows for them: two ids stay two.
    patient = re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", lambda sign: repr(sign[0])[1:-1], row.patient_id)
    subtype = row.subtype.value if row.subtype else ""
    known = (plain_cell(patient), _path(row.image, folder), mask, row.box or "", subtype)
    return cells | dict(zip(FIRST, known, strict=True))


def _path(path: Path, folder: Path) -> str:
    """Relative to the table, with ``/``; as it is where that cannot be (another drive)."""
    try:
        text = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return str(path.absolute())
    # No spreadsheet computes it, and no reader takes a blank from its beginning.
    return f"./{text}" if text.startswith(("=", "+", "-", "@")) or text[:1].isspace() else text


def _read_back(written: Path, table: Path, expected: int) -> None:
    """The one reader of tables finds every row that was written."""
    cohort, problems = parse_cohort(written, need_subtype=False, need_lesion=False)
    if problems:
        raise MolSubError(table, f"would not be read back ({problems[0]})", "Correct the cohort's own table")
    assert len(cohort.cases) == expected, (len(cohort.cases), expected)
