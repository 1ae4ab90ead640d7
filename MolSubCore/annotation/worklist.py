"""Worklists: the images of a cohort table or of a folder, one reader's masks of them, and what is done."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from MolSubCore.cohort.names import IMAGE_ENDINGS, patients_of
from MolSubCore.cohort.table import Case, first_of, parse_cohort
from MolSubCore.cohort.table_files import TABLE_ENDINGS
from MolSubCore.errors import CohortError
from MolSubCore.files import new_hidden_file, read_json, sha256_file, sweep, write_json, write_text
from MolSubCore.imaging.io.content import content_hash, is_dicom
from MolSubCore.lock import Lock
from MolSubCore.tasks import parse_subtype

MASKS = "masks"


@dataclass(frozen=True)
class Item:
    """One image to outline.

    Attributes
    ----------
    key : str
        The image's path below the worklist's folder, with ``/``; absolute where it lies elsewhere.
    patient : str
    image : Path
    given : tuple of Path or str
        Masks and boxes that the table names.
    subtype : str
        As the table has it; empty where it has none.
    extra : dict
        The table's other columns.
    """

    key: str
    patient: str
    image: Path
    given: tuple[Path | str, ...] = ()
    subtype: str = ""
    extra: dict[str, str] = field(default_factory=dict)


def read_source(source: Path, images: Sequence[Path] | None = None) -> tuple[Path, list[Item]]:
    """The folder a worklist lives in, and its images in their order, each once.

    Parameters
    ----------
    source : Path
        A cohort table (mask, box and subtype may be missing or empty), or a folder of images.
    images : sequence of Path, optional
        Of the folder: those that are mammograms, where somebody has looked at their headers.

    Raises
    ------
    CohortError
        If it is neither, cannot be read, or has no image.
    """
    # Absolute without following links: the user's own way to the files is kept.
    source = Path(os.path.abspath(source))  # noqa: PTH100
    if source.is_dir():
        absolute = (os.path.abspath(image) for image in (_images(source) if images is None else images))  # noqa: PTH100
        found = [Path(image) for image in dict.fromkeys(absolute)]
        patients = patients_of(found, source).ids
        items = [
            Item(_key(image, source), patient or image.stem, image)
            for image, patient in zip(found, patients, strict=True)
        ]
        folder = source
    elif source.suffix.lower() in TABLE_ENDINGS:
        folder, items = source.parent, _from_table(source)
    else:
        raise CohortError(source, "is neither a table (csv, tsv, xlsx) nor a folder", "Choose one of these")
    if not items:
        raise CohortError(source, "has no images", "Choose another folder or table")
    return folder, items


def _images(folder: Path) -> list[Path]:
    """Files below that look like images, in the order of their names; results of ours and hidden ones are no images."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name.casefold() != MASKS)
        found += [
            path for name in sorted(names) if not name.startswith(".") and _looks_right(path := Path(place, name))
        ]
    return found


def _looks_right(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_ENDINGS:
        return True
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    return path.name.upper() != "DICOMDIR" and is_dicom(path)


def _from_table(table: Path) -> list[Item]:
    cohort, problems = parse_cohort(table, need_subtype=False, need_lesion=False)
    if problems:
        raise CohortError(table, first_of(problems), "Correct the table")
    rows: dict[str, list[Case]] = {}
    for case in cohort.cases:
        image = Path(os.path.abspath(case.image))  # noqa: PTH100
        rows.setdefault(_key(image, table.parent), []).append(case)
    return [_joined(key, cases) for key, cases in rows.items()]


def _joined(key: str, cases: list[Case]) -> Item:
    """Several rows of one image are several lesions of it."""
    first = cases[0]
    given = tuple(dict.fromkeys(case.lesion for case in cases if case.lesion))
    subtype = first.subtype.value if first.subtype else ""
    return Item(key, first.patient_id, Path(os.path.abspath(first.image)), given, subtype, first.extra)  # noqa: PTH100


def _key(image: Path, folder: Path) -> str:
    return (image.relative_to(folder) if image.is_relative_to(folder) else image).as_posix()


def mask_names(items: Sequence[Item], taken: dict[str, str]) -> dict[str, str]:
    """A file name for every item's mask: ``<image>_lesion.nii.gz``, with its folders where images have equal names.

    Parameters
    ----------
    taken : dict of str to str
        Names given earlier, by key; they stay.
    """
    names = dict(taken)
    stems = Counter(_stem(item).casefold() for item in items)
    used = {name.casefold() for name in names.values()}
    for item in items:
        if item.key not in names:
            plain = _stem(item)
            start = plain if stems[plain.casefold()] == 1 else _word(Path(item.key).with_suffix("").as_posix())
            names[item.key] = next(name for name in _numbered(start) if name.casefold() not in used)
            used.add(names[item.key].casefold())
    return names


def _numbered(start: str) -> Iterator[str]:
    yield f"{start}_lesion.nii.gz"
    number = 2
    while True:
        yield f"{start}-{number}_lesion.nii.gz"
        number += 1


def _stem(item: Item) -> str:
    name = Path(item.key).name
    return _word(Path(name).stem if Path(name).suffix.lower() in IMAGE_ENDINGS else name)


def _word(text: str) -> str:
    """A file name of any system; its end tells names apart, should it be too long."""
    return re.sub(r"[^\w.+-]", "_", text).strip("._")[-150:] or "image"


STATE = "worklist.json"
#: Note of an image whose content changed after it was outlined.
_CHANGED = "The image was changed after it was outlined."
_FORMAT, _VERSION = "molsub-worklist", 1
_READER = re.compile(r"\w[\w .+-]{0,62}(?<![ .])")

State = Literal["todo", "done"]


@dataclass(frozen=True)
class Entry:
    """One image of a worklist, as it is now.

    Attributes
    ----------
    number : int
        From 1, in the order of the source.
    patient : str
    image : Path
    mask : Path
        Where this reader's mask is, or will be.
    has_mask : bool
        Whether this worklist wrote a mask there.
    given : tuple of Path or str
        Masks and boxes that the table names; none for a blind reader.
    state : {'todo', 'done'}
        Done without a mask means: looked at, and nothing to outline.
    note : str
    subtype : str
        Empty where it is not known.
    """

    number: int
    patient: str
    image: Path
    mask: Path
    has_mask: bool
    given: tuple[Path | str, ...]
    state: State
    note: str
    subtype: str


def reader_folder(folder: Path, reader: str) -> Path:
    """Where a reader's masks are; CohortError if the name is no folder's."""
    if not _READER.fullmatch(reader):
        raise CohortError(
            "reader", f"is '{reader}', expected letters, digits, spaces and . + - _", "Choose another name"
        )
    return folder / MASKS / reader


def read_state(path: Path) -> dict[str, Any] | None:
    """The state in a file, checked; None where there is none."""
    if not path.exists():
        return None
    state = read_json(path)
    if not isinstance(state, dict) or state.get("format") != _FORMAT or state.get("format_version") != _VERSION:
        raise CohortError(path, f"is not a {_FORMAT} of version {_VERSION}", "Open it with the version that made it")
    images = state.get("images")
    if not isinstance(images, dict) or not all(_is_entry(entry) for entry in images.values()):
        raise CohortError(path, "has damaged entries", "Restore a copy, or move it away to start a new worklist")
    return state


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or entry.get("state") not in ("todo", "done"):
        return False
    name, hashes = entry.get("mask"), entry.get("sha256")
    plain = isinstance(name, str) and name.endswith(".nii.gz") and Path(name).name == name and "\\" not in name
    return plain and isinstance(entry.get("note"), str) and isinstance(hashes, list)


def image_facts(image: Path) -> dict[str, Any] | None:
    """The content of an image that is being outlined, and how its file looks; None where it cannot be read."""
    try:
        return {"sha256": content_hash(image), "file": list(_looks(image))}
    except OSError:
        return None


def is_changed(known: Any, image: Path) -> bool:
    """Whether an image's content differs from `image_facts`; it is read only if its file looks different."""
    if not isinstance(known, dict):
        return False
    try:
        return known.get("file") != list(_looks(image)) and content_hash(image) != known.get("sha256")
    except OSError:
        return False  # reported when the image is opened


def reopen_changed(entry: dict[str, Any], image: Path) -> None:
    """Set an image whose content changed after it was outlined back to to-do, with a note."""
    if is_changed(entry.get("image"), image):
        note = entry["note"] if _CHANGED in entry["note"] else f"{entry['note']} {_CHANGED}".strip()
        entry |= {"state": "todo", "note": note, "image": image_facts(image)}


def _looks(image: Path) -> tuple[int, ...]:
    found = image.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def table_text(target: Path, entries: Sequence[tuple[Entry, Mapping[str, str]]]) -> str:
    """A cohort table of entries, each with its source's other columns, for a file at `target`.

    Raises
    ------
    CohortError
        If no entry has a lesion, or `target` is no csv.
    """
    if target.suffix.lower() != ".csv":
        raise CohortError(target, f"ends in '{target.suffix}', expected .csv", "Choose a name that ends in .csv")
    rows = [row for entry, extra in entries for row in _rows(entry, extra, target.parent)]
    if not rows:
        raise CohortError(target, "would have no rows: no lesion is done", "Outline one and mark its image as done")
    columns = ["patient_id", "image", "mask", "box", "subtype", *(name for _, extra in entries for name in extra)]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(dict.fromkeys([*columns, "note"])), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _rows(entry: Entry, extra: Mapping[str, str], folder: Path) -> Iterator[dict[str, str]]:
    row = {**extra, "patient_id": entry.patient, "image": _relative(entry.image, folder), "subtype": entry.subtype}
    row |= {"note": entry.note} if entry.note else {}
    for lesion in (entry.mask,) if entry.has_mask else entry.given:
        yield row | ({"box": lesion} if isinstance(lesion, str) else {"mask": _relative(lesion, folder)})


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()


class Worklist:
    """The worklist of one reader over one source; see `open_worklist`."""

    def __init__(self, folder: Path, items: Sequence[Item], reader: str, lock: Lock, blind: bool) -> None:
        self.folder, self.reader, self._items, self._lock = folder, reader, list(items), lock
        self._place = reader_folder(folder, reader)
        sweep(self._place)
        new: dict[str, Any] = {"format": _FORMAT, "format_version": _VERSION, "reader": reader}
        self._state = read_state(self._place / STATE) or new
        # Once blind, always blind: reopening the list must not reveal anything.
        self.blind = bool(self._state.setdefault("blind", blind))
        entries: dict[str, dict[str, Any]] = self._state.setdefault("images", {})
        names = mask_names(items, {key: entry["mask"] for key, entry in entries.items()})
        for item in items:
            entries.setdefault(item.key, {"mask": names[item.key], "state": "todo", "note": "", "sha256": []})
            reopen_changed(entries[item.key], item.image)
        self._keys = [item.key for item in items]
        if self._state.get("current") not in self._keys:
            self._state["current"] = self._keys[0]
        self._write()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All images in their order."""
        return tuple(self._entry(number) for number in range(1, len(self._items) + 1))

    def _entry(self, number: int) -> Entry:
        item = self._items[number - 1]
        own = self._own(number)
        return Entry(
            number,
            own.get("patient", item.patient),
            item.image,
            self._place / own["mask"],
            bool(own["sha256"]) and (self._place / own["mask"]).is_file(),
            () if self.blind else item.given,
            own["state"],
            own["note"],
            own.get("subtype", item.subtype),
        )

    @property
    def done(self) -> int:
        """How many are done."""
        return sum(self._state["images"][key]["state"] == "done" for key in self._keys)

    @property
    def current(self) -> Entry:
        """Where the reader is; kept from one opening to the next."""
        return self._entry(self._keys.index(self._state["current"]) + 1)

    def go_to(self, number: int) -> Entry:
        """Move to an image by its number; the first or last for numbers outside."""
        self._state["current"] = self._keys[min(max(number, 1), len(self._keys)) - 1]
        self._write()
        return self.current

    def next(self) -> Entry:
        """Move to the next image; the last one stays."""
        return self.go_to(self.current.number + 1)

    def previous(self) -> Entry:
        """Move to the image before; the first one stays."""
        return self.go_to(self.current.number - 1)

    def first_undone(self) -> Entry | None:
        """The first image that is not done, without moving there; None where all are."""
        return next((entry for entry in self.entries if entry.state == "todo"), None)

    def set_done(self, number: int, done: bool = True) -> Entry:
        """Mark an image as done, or as still to do."""
        seen = {"image": image_facts(self._items[number - 1].image)} if done else {}
        return self._change(number, state="done" if done else "todo", **seen)

    def set_note(self, number: int, text: str) -> Entry:
        """Write a note on an image."""
        return self._change(number, note=text)

    def set_subtype(self, number: int, subtype: str) -> Entry:
        """Say the tumour's subtype (any name that a table may have), or that it is not known (empty).

        Raises
        ------
        MolSubError
            If it is no subtype.
        """
        return self._change(number, subtype=parse_subtype(subtype).value if subtype.strip() else "")

    def _change(self, number: int, **values: Any) -> Entry:
        self._own(number).update(values)
        self._write()
        return self._entry(number)

    def _own(self, number: int) -> dict[str, Any]:
        own: dict[str, Any] = self._state["images"][self._keys[number - 1]]
        return own

    @contextlib.contextmanager
    def writing(self, number: int) -> Iterator[Path]:
        """Yield a temporary path (``.nii.gz``) to write an image's mask to; it then takes the mask's place.

        Killed at any moment, the old mask or the new one is there, and known as ours.

        Raises
        ------
        CohortError
            Before anything is written, if a mask is there that this worklist did not write, or was changed since.
        """
        self._check_open()
        own = self._own(number)
        target = self._place / own["mask"]
        self._check_ours(target, own)
        temporary = new_hidden_file(target)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            known, new = own["sha256"][-1:], sha256_file(temporary)
            # Both are ours until the rename has happened.
            self._change(number, sha256=[*known, new])
            os.replace(temporary, target)
            self._change(number, sha256=[new], image=image_facts(self._items[number - 1].image))
        finally:
            temporary.unlink(missing_ok=True)

    def _check_ours(self, target: Path, own: dict[str, Any]) -> None:
        if not target.exists():
            return
        if not own["sha256"]:
            raise CohortError(target, "exists already, and this worklist did not write it", "Adopt it, or move it away")
        if sha256_file(target) not in own["sha256"]:
            raise CohortError(target, "was changed by another program", "Adopt it, or move it away")

    def adopt(self, number: int) -> Entry:
        """Take the mask that lies in an image's place for this reader's own: it may be replaced from now on."""
        target = self._place / self._own(number)["mask"]
        if not target.is_file():
            raise CohortError(target, "does not exist", "Outline the lesion")
        return self._change(number, sha256=[sha256_file(target)])

    def remove_mask(self, number: int) -> Entry:
        """Delete an image's mask, if it is ours: nothing is outlined any more.

        Raises
        ------
        CohortError
            If it is not.
        """
        own = self._own(number)
        target = self._place / own["mask"]
        self._check_ours(target, own)
        target.unlink(missing_ok=True)
        return self._change(number, sha256=[])

    def export(self, path: Path | None = None) -> Path:
        """Write a cohort table of all images that are done and have a lesion; return its path.

        Parameters
        ----------
        path : Path, optional
            A csv; default ``cohort.csv`` beside the reader's masks. Paths in it are relative where they can be.

        Raises
        ------
        CohortError
            If no lesion is done, `path` is not a csv, or it exists and is not as this worklist wrote it: what was
            filled in since is not lost.
        """
        target = Path(os.path.abspath(path or self._place / "cohort.csv"))  # noqa: PTH100
        rows = [(entry, item.extra) for entry, item in zip(self.entries, self._items, strict=True)]
        text = table_text(target, [(entry, extra) for entry, extra in rows if entry.state == "done"])
        tables = self._state.setdefault("tables", {})
        name = target.name if target.parent == self._place else str(target)
        known = tables.get(name, [])
        if target.exists() and sha256_file(target) not in known:
            found = "exists already, and is not as this worklist wrote it"
            raise CohortError(target, found, "Choose another name, or move it away")
        new = hashlib.sha256(text.encode()).hexdigest()
        # Both are ours until the new one is there.
        tables[name] = [*known[-1:], new]
        self._write()
        write_text(target, text)
        tables[name] = [new]
        self._write()
        return target

    def close(self) -> None:
        """Let others open it."""
        self._lock.release()

    def _check_open(self) -> None:
        if not self._lock.held:
            raise CohortError(self._place, "is closed", "Open the worklist again")

    def _write(self) -> None:
        self._check_open()
        write_json(self._place / STATE, self._state)

    def __enter__(self) -> Worklist:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_worklist(
    source: str | os.PathLike[str], reader: str, *, blind: bool = False, images: Sequence[Path] | None = None
) -> Worklist:
    """Open a reader's worklist over a source, or begin it.

    Parameters
    ----------
    source : path
        A cohort table, whose masks, boxes and subtypes may be missing; or a folder of images.
    reader : str
        Name of the reader's folder: letters, digits, space and ``. + - _``.
    blind : bool
        A second reader, who does not see the table's own masks; once blind, a worklist stays so.
    images : sequence of Path, optional
        The folder's mammograms, in order; else all its files that look like images.

    Raises
    ------
    MolSubError
        If the source cannot be read, the name is no folder's, or another program has the worklist open.
    """
    folder, items = read_source(Path(source), images)
    place = reader_folder(folder, reader)
    if place.parent.is_dir():
        for other in place.parent.iterdir():
            if other.name != place.name and other.name.casefold() == place.name.casefold():
                raise CohortError("reader", f"is '{reader}', but there is a reader '{other.name}'", "Use one spelling")
    lock = Lock(place / ".lock")
    lock.acquire("Close the worklist there first")
    try:
        return Worklist(folder, items, reader, lock, blind)
    except BaseException:
        lock.release()
        raise


def readers(source: str | os.PathLike[str]) -> list[str]:
    """Names of those who have a worklist over a source."""
    path = Path(source)
    folder = path if path.is_dir() else path.parent
    return sorted(state.parent.name for state in (folder / MASKS).glob(f"*/{STATE}"))
