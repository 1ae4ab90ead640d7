"""What importers share: accounting of inputs, masks, table and report."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.cohort.table import parse_cohort
from MolSubCore.cohort.table_files import TABLE_ENDINGS, TableFile, clean_cell, column_name, finite_number, note_lines
from MolSubCore.errors import CohortError, MolSubError, counted, listed
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
    why_no_file,
)
from MolSubCore.imaging.io.dicom import open_dicom, read_pixels
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.lesion import Box
from MolSubCore.lesions.masks import write_mask
from MolSubCore.tasks import SubtypeLabel, get_task, of_receptors

USED = "in the table"


class LedgerFault(AssertionError):
    """An input without a place, with two, or one that was never read: a bug of the importer, not of the data."""


class Ledger:
    """Inputs of one kind, each of which is used or left out for exactly one reason.

    Parameters
    ----------
    kind : str
        What the inputs are, in the plural: ``images``.
    used : str
        Name of the place of used inputs.
    """

    def __init__(self, kind: str, used: str = USED) -> None:
        self.kind, self.used = kind, used
        self._places: dict[str, str | None] = {}

    def expect(self, key: str) -> None:
        """An input has been read; its place is open."""
        if key in self._places:
            raise LedgerFault(f"{self.kind}: {key} was read twice")
        self._places[key] = None

    def place(self, key: str, reason: str | None = None) -> None:
        """An input is left out for `reason`, or used."""
        if key not in self._places:
            raise LedgerFault(f"{self.kind}: {key} was never read")
        if self._places[key] is not None:
            raise LedgerFault(f"{self.kind}: {key} has two places: {self._places[key]}, {reason or self.used}")
        self._places[key] = reason or self.used

    def balance(self, used: int | None = None) -> None:
        """Check that every input has one place, and that `used` inputs are used.

        Raises
        ------
        LedgerFault
        """
        missing = [key for key, place in self._places.items() if place is None]
        if missing:
            raise LedgerFault(f"{self.kind}: {counted(len(missing), 'input')} went nowhere, first {missing[0]}")
        counts = self.counts()
        if sum(counts.values()) != len(self._places):
            raise LedgerFault(f"{self.kind}: {len(self._places)} were read, {sum(counts.values())} have a place")
        if used is not None and counts.get(self.used, 0) != used:
            raise LedgerFault(f"{self.kind}: {counts.get(self.used, 0)} {self.used}, which holds {used}")

    def counts(self) -> dict[str, int]:
        """Inputs in every place, the used ones first, then by number."""
        found = Counter(place for place in self._places.values() if place is not None)
        used = found.pop(self.used, 0)
        return {self.used: used, **dict(found.most_common())}

    def left_out(self) -> dict[str, list[str]]:
        """Keys of the inputs that were left out, by reason."""
        found: dict[str, list[str]] = {}
        for key, place in self._places.items():
            if place is not None and place != self.used:
                found.setdefault(place, []).append(key)
        return found

    def to_dict(self) -> dict[str, Any]:
        """For the import report."""
        left = {reason: len(keys) for reason, keys in self.left_out().items()}
        return {
            "total": len(self._places),
            "used": {self.used: self.counts()[self.used]},
            "left_out": left,
            "left_out_inputs": self.left_out(),
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        counts = self.counts()
        total, used = len(self._places), counts.pop(self.used)
        kind = re.sub(r"s\b", "", self.kind, count=1) if total == 1 else self.kind  # 1 image, 1 row of the table
        lines = [f"{total} {kind}: {used} {self.used}, {sum(counts.values())} not"]
        return lines + [f"{count:8}  {reason}" for reason, count in counts.items()]


Progress = Callable[[int, int, str], None]

#: Reasons of several importers.
NO_IMAGE = "image file missing"
NO_SIDE = "laterality of the image not stated"
NO_MAMMOGRAM = "not a single 2D mammogram"
OVERLONG = "more cells than columns"


@dataclass(frozen=True)
class ImportOptions:
    """Choices of the user.

    Attributes
    ----------
    task : str or None
        Keep only rows whose class in this task is known.
    keep_unlabelled : bool
        Keep rows without a subtype; the table is then for outlining and prediction.
    keep_unoutlined : bool
        Keep images without a lesion outline, to be outlined in 3D Slicer.
    compare_pixels : bool
        Read every image and leave out those whose pixels another patient has too.
    """

    task: str | None = None
    keep_unlabelled: bool = False
    keep_unoutlined: bool = False
    compare_pixels: bool = False


@dataclass
class Row:
    """One candidate for a row of the table.

    Attributes
    ----------
    key : str
        Of its input in the ledger.
    patient_id : str
    image : Path
    subtype : Subtype, PartialSubtype or None
    mask : Path or None
        Any file that `read_lesions` reads.
    box : str or None
        ``row0,col0,row1,col1``, half-open, pixels.
    mask_images : tuple of Path
        DICOM images one of which holds the mask: it is written to a mask file beside the table.
    no_subtype, no_lesion : str
        The reason where the subtype or the outline is missing.
    extra : dict
        Other columns.
    """

    key: str
    patient_id: str
    image: Path
    subtype: SubtypeLabel | None = None
    mask: Path | None = None
    box: str | None = None
    mask_images: tuple[Path, ...] = ()
    no_subtype: str = "no subtype"
    no_lesion: str = "no lesion outline"
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def outlined(self) -> bool:
        """Whether there is a lesion."""
        return bool(self.mask or self.box or self.mask_images)


@dataclass(frozen=True)
class Note:
    """A note for the user, and the inputs or patients it is about."""

    text: str
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.about:
            return self.text
        shown = ", ".join(self.about[:6]) + (", ..." if len(self.about) > 6 else "")
        return f"{self.text} ({len(self.about)}: {shown})"


@dataclass
class Found:
    """All that an importer read.

    Attributes
    ----------
    inputs : Ledger
        The inputs of which each may become one row of the table.
    others : list of Ledger
        Further inputs, such as the rows of a clinical table.
    rows : list of Row
        Candidates; the rest of `inputs` has been left out.
    notes : list of Note
    twins : tuple of tuple of str
        Groups of patients known to share images.
    patients : str
        Where patients were taken from, in words; empty where the cohort itself names them.
    settle : callable or None
        Called with the kept rows to place what is left in `others`.
    """

    inputs: Ledger
    others: list[Ledger] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    twins: tuple[tuple[str, ...], ...] = ()
    settle: Callable[[list[Row]], None] | None = None
    patients: str = ""

    def note(self, text: str, about: list[str] | tuple[str, ...]) -> None:
        """Add a note, unless it is about nothing."""
        if about:
            self.notes.append(Note(text, tuple(about)))


MASK_UNREADABLE = "mask cannot be read"
NO_MASK = "none of the mask files is a mask: they hold crops or pictures"
OTHER_SIZE = "mask of another size than its image"
EMPTY = "mask is empty"


def find_mask(candidates: tuple[Path, ...], image: Path, out: Path) -> str | None:
    """Find the mask of an image among DICOM images by their content, and write it.

    A mask has at most two values. File name and Series Description are unreliable: in CBIS-DDSM crops are called
    masks, and vice versa.

    Parameters
    ----------
    candidates : tuple of Path
        DICOM images.
    image : Path
        DICOM image whose grid the mask must have.
    out : Path
        Ends in ``.nii.gz``; one slice, as ITK-SNAP and 3D Slicer write it.

    Returns
    -------
    str or None
        Why there is none.
    """
    try:
        header = open_dicom(image).header
        shape = (int(header.Rows), int(header.Columns))
        found = [mask for path in candidates if (mask := _mask(path, shape)) is not None]
    except Exception:  # any error is this mask's
        return MASK_UNREADABLE
    fitting = [mask for mask in found if mask.shape == shape]
    if not fitting:
        return OTHER_SIZE if found else NO_MASK
    if not fitting[0].any():
        return EMPTY
    write_mask(out, fitting[0], row_mm=None, col_mm=None, durable=False)
    return None


def _mask(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The pixels of a DICOM image above its lower value, if it has two values at most."""
    file = open_dicom(path)
    # Less than 0.9 of the image on a side is a crop, and need not be decoded.
    if int(file.header.Rows) < 0.9 * shape[0] or int(file.header.Columns) < 0.9 * shape[1]:
        return None
    values, _ = read_pixels(file)
    low, high = values.min(), values.max()
    if ((values != low) & (values != high)).any():
        return None
    return (values != low).astype(np.uint8)


FIRST = ("patient_id", "image", "mask", "box", "subtype")
MARKER = "molsub-import-masks.txt"

TWO_SUBTYPES = "patient with lesions of different subtypes in one breast, or in breasts of unknown side"
TWICE = "same image and lesion as an earlier row"
TWIN = "same pixels as another patient's image"
TWIN_SUBTYPE = "same pixels as another patient's image of another subtype"
UNREADABLE = "image cannot be read"
NUL = "cell with a NUL byte"
NAME_LOST = "name of image or mask cannot be written in a table"


def choose(found: Found, options: ImportOptions) -> list[Row]:
    """The rows for the table; all others are placed in the ledger. Masks are not made yet."""
    task = get_task(options.task) if options.task else None
    kept = _without(
        found, found.rows, lambda row: NUL if "\0" in "".join([row.patient_id, *row.extra.values()]) else None
    )
    if not options.keep_unlabelled:
        kept = _without(found, kept, lambda row: row.no_subtype if row.subtype is None else None)
    if task is not None:
        name = f"subtype too coarse for task {task.name}"
        kept = _without(found, kept, lambda row: name if row.subtype and not task.class_of.get(row.subtype) else None)
    subtypes: dict[str, set[tuple[str, object]]] = {}
    for row in found.rows:
        if row.subtype:
            subtypes.setdefault(row.patient_id, set()).add((row.extra.get("laterality", ""), row.subtype))
    several = {
        patient
        for patient, own in subtypes.items()
        if any(one != other and not (side and another and side != another)
               for (side, one), (another, other) in combinations(own, 2))
    }  # fmt: skip
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
    """Leave out images whose pixels another patient has, too: of one subtype all but the first, of several all.

    Compares patients known to share images only, or everything.
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
        except Exception:  # any error is this image's
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
        Those with a mask; the others are placed.
    made : dict of str to str
        The masks' paths for the table, by the keys of their rows.

    Raises
    ------
    MolSubError
        If their folder exists and may not be replaced.
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
    """The table, the temporary folder of its masks, and the file that marks a folder of masks as replaceable."""

    table: Path
    place: Path
    replaces: str | None


@contextlib.contextmanager
def masks_of(table: Path, *, overwrite: bool) -> Iterator[Masks]:
    """A temporary folder for masks, not made yet; removed at the end."""
    masks = Masks(table, hidden_name(masks_folder(table), "tmp"), MARKER if overwrite else None)
    try:
        yield masks
    finally:
        shutil.rmtree(masks.place, ignore_errors=True)


def save_import(rows: list[Row], made: dict[str, str], masks: Masks, report: Path, content: dict[str, Any]) -> None:
    """Write table and report, then rename masks, report and table in this order; on failure all is as before."""
    table, new = masks.table, masks.replaces is None
    with (
        contextlib.ExitStack() as named,
        atomic_path(table, new=new) as new_table,
        atomic_path(report, new=new) as new_report,
    ):
        _write_table(new_table, rows, table.parent, made)
        new_report.write_text(json_text(content), encoding="utf-8", errors=ESCAPED, newline="\n")
        if masks.place.exists():
            note_files(masks.place)
            named.enter_context(named_folder(masks.place, masks_folder(table), replaces=masks.replaces))
        named.enter_context(_kept(report, new_report))


def _write_table(path: Path, rows: Iterable[Row], folder: Path, made: dict[str, str]) -> None:
    rows = list(rows)
    with path.open("w", encoding="utf-8", errors=ESCAPED, newline="") as file:
        extra = dict.fromkeys(name for row in rows for name in row.extra)
        writer = csv.DictWriter(file, [*FIRST, *extra], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_cells(row, folder, made) for row in rows)


def drop_unreadable(found: Found, rows: list[Row], made: dict[str, str], table: Path) -> list[Row]:
    """Leave out rows that the reader of tables would not read as they are, by writing and reading a trial table.

    Its notes about the others are kept.
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
        "Images or masks whose names cannot be written in a table: rename them (line breaks, blanks at an end, \\udc)"
    )
    found.note(text, [repr(key)[1:-1] for key in lost])
    for line in note_lines(cohort.notes):
        found.notes.append(Note(line.removeprefix("table, ")))
    return _without(found, rows, lambda row: reasons.get(numbers[row.key]))


def _same(one: Path | None, other: Path) -> bool:
    return one is not None and os.path.abspath(one) == os.path.abspath(other)  # noqa: PTH100


@contextlib.contextmanager
def _kept(path: Path, new: Path) -> Iterator[None]:
    """Restore a file if the block fails; one that was not there is removed, if it is `new`, renamed meanwhile."""
    old, own = hidden_name(path, "old"), new.stat()
    try:
        there = path.exists() and shutil.copy2(path, old)
        try:
            yield
        except BaseException:
            if there:
                os.replace(old, path)
            elif path.exists() and os.path.samestat(path.stat(), own):  # else another process wrote it
                path.unlink()
            raise
    finally:
        old.unlink(missing_ok=True)


def masks_folder(table: Path) -> Path:
    """Folder of the masks of a table."""
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
    """Cells of a row; file names are kept exactly, so that the files are found."""
    mask = made.get(row.key) or (_path(row.mask, folder) if row.mask else "")
    cells = {name: re.sub(r"[\r\n]+", " ", plain_cell(cell)) for name, cell in row.extra.items()}
    # Control characters and bytes that are not UTF-8 are written as Python shows them, so that ids stay distinct.
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
    # So that spreadsheets do not take it for a formula, and readers do not strip a leading blank.
    return f"./{text}" if text.startswith(("=", "+", "-", "@")) or text[:1].isspace() else text


@dataclass(frozen=True)
class Line:
    """A row of a cohort's own table: its number as in a spreadsheet, and its cells by lower-case column.

    `why_no_id` has for each cell why it cannot be a patient's id, or empty.
    """

    number: int
    cells: dict[str, str]
    overlong: bool = False
    why_no_id: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


#: Files of operating systems.
_SYSTEMS = frozenset((".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory"))
SYSTEM_FILE = "system files (Thumbs.db, .DS_Store, ._ files, __MACOSX and the like)"
HIDDEN_FILE = "hidden files and folders, and temporary files of open programs"
DIRECTORY_FILE = "DICOMDIR, an index of images"
NO_FILE = "folders, named pipes, sockets and devices in the place of files"
DEAD_LINK = "broken links"
KNOWN_FOLDER = "links to folders that are read already, or that contain this folder"
CLOSED = "folders that cannot be opened"
CLOSED_FILE = "files that cannot be accessed"


def files_below(folder: Path, passed: dict[str, list[str]] | None = None) -> list[Path]:
    """Every file below a folder that may be of the cohort, in the order of their names; a linked folder is read once.

    Parameters
    ----------
    folder : Path
    passed : dict of str to list of str, optional
        Filled with the skipped paths below the folder, by reason.

    Raises
    ------
    CohortError
        If it is not a folder, or cannot be opened.
    """
    if not folder.is_dir():
        raise CohortError(folder, "is not a folder", "Give the folder that the cohort was unpacked into")
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
    while links:  # last, so that files of the folder itself keep their own paths
        link = links.pop(0)
        real = os.path.realpath(link)
        if real in seen or os.path.commonpath([real, own]) == real:
            pass_over(link, KNOWN_FOLDER)
        else:
            walk(link)
    return sorted(found, key=lambda path: (path.parent.as_posix().split("/"), path.name))


def _why_none(path: Path) -> str:
    """Why an entry of a folder is not a file of a cohort, or empty. Opens nothing: a pipe would block."""
    name = path.name.lower()
    if name in _SYSTEMS or name.startswith("._"):
        return SYSTEM_FILE
    if name.startswith((".", "~$")):
        return HIDDEN_FILE
    if name == "dicomdir":
        return DIRECTORY_FILE
    return why_not_there(path, CLOSED_FILE)


def why_not_there(path: Path, missing: str) -> str:
    """Why a file that a cohort names or holds cannot be opened, or empty; `missing` where there is nothing."""
    if why_no_file(path):
        return NO_FILE
    if os.path.exists(path):  # noqa: PTH110 - Path.exists raises on names that are too long
        return ""
    return DEAD_LINK if path.is_symlink() else missing


def note_passed(found: Found, passed: dict[str, list[str]], where: str = "") -> None:
    """Note skipped entries of a folder; all names are in the report."""
    for reason, keys in passed.items():
        found.note(f"Skipped{where}: {reason}", keys)


def with_ending(files: Sequence[Path], *endings: str) -> list[Path]:
    """Those files whose name ends so, whatever the case."""
    return [path for path in files if path.name.lower().endswith(endings)]


def find_tables(files: Sequence[Path], columns: Collection[str], *, folder: Path, name: str) -> list[Path]:
    """The tables that have all these columns (lower case).

    Raises
    ------
    CohortError
        If there is none; `name` is the file name in the original cohort.
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
        raise CohortError(folder, f"holds {len(found)} tables that may be {name}: {names}", "Keep only one of them")
    return found[0]


def _header(path: Path) -> list[str]:
    _, cells = next(TableFile(path).rows(), (1, []))
    return [column_name(cell) for cell in cells]


def read_lines(path: Path, found: Found | None = None) -> Iterator[Line]:
    """Rows below the header, cells without surrounding blanks and line breaks; empty rows are skipped.

    Notes on the table as a file are added to `found`.

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
        raise CohortError(path, f"has the {listed('column', sorted(doubled))} twice", "Use the original table")
    for number, cells in rows:
        if any(cell.strip() for cell in cells):
            values = {name: clean_cell(cell) for name, cell in zip(columns, cells, strict=False) if name}
            why = {name: file.why_no_id(values.get(name, ""), place) for place, name in enumerate(columns) if name}
            yield Line(number, values, any(cell.strip() for cell in cells[len(columns) :]), why)
    if found is not None:
        found.notes += [Note(f"{path.name}, {line}") for line in note_lines(file.notes)]


def relative(path: Path, folder: Path) -> str:
    """A file's path below the cohort's folder, with ``/``."""
    return path.relative_to(folder).as_posix()


def number_of(text: str) -> float | None:
    """A finite number, with a decimal point or comma (one or two digits after it: three may be thousands), or None."""
    return finite_number(text.replace(",", ".") if re.fullmatch(r"\s*[+-]?\d+,\d{1,2}\s*", text) else text)


@dataclass(frozen=True)
class Clipped:
    """A box on an image: `text` for the table (None: nothing of it is on the image), and whether it was changed."""

    text: str | None
    cut: bool = False
    turned: bool = False


def clip_box(columns: tuple[float, float], rows: tuple[float, float], shape: tuple[int, int]) -> Clipped:
    """A box between two columns and two rows, in any order, clipped to the image.

    Parameters
    ----------
    columns, rows : tuple of float
        The two ends, pixels.
    shape : tuple of int
        Rows and columns of the image; 0 where unknown: only negative ends are then clipped.
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


NOT_RECORDED = "receptor status not recorded"
INCOMPLETE = "receptor status incomplete or uncertain"


def from_receptors(er: bool | None, pr: bool | None, her2: bool | None) -> tuple[SubtypeLabel | None, str]:
    """Subtype by oestrogen, progesterone and HER2 receptor; None is unknown or uncertain.

    Hormone receptors are positive if one of them is, negative only if both are. Positive without HER2 is Luminal A or
    B, which only Ki-67 (or the grade) could distinguish.

    Returns
    -------
    subtype : Subtype, PartialSubtype or None
    reason : str
        Why there is no subtype; else empty.
    """
    hormone = True if er or pr else False if er is False and pr is False else None
    subtype = of_receptors(hormone, her2)
    if subtype is not None:
        return subtype, ""
    return None, NOT_RECORDED if er is None and pr is None and her2 is None else INCOMPLETE
