"""The files of a worklist: its state, its readers' folders, the table it becomes. Standard library only."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from MolSubCore.cohort.worklist_source import MASKS
from MolSubCore.errors import CohortError
from MolSubCore.files import read_json
from MolSubCore.imaging.content import content_hash

STATE = "worklist.json"
#: Note of an image that was outlined and then became another one.
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
            "reader", f"is '{reader}', expected letters, digits, spaces and . + - _", "Choose such a name"
        )
    return folder / MASKS / reader


def new_state(reader: str) -> dict[str, Any]:
    """The state of a worklist that begins."""
    return {"format": _FORMAT, "format_version": _VERSION, "reader": reader}


def read_state(path: Path) -> dict[str, Any] | None:
    """The state in a file, checked; None where there is none."""
    if not path.exists():
        return None
    state = read_json(path)
    if not isinstance(state, dict) or state.get("format") != _FORMAT or state.get("format_version") != _VERSION:
        raise CohortError(path, f"is no {_FORMAT} of version {_VERSION}", "Open it with the version that made it")
    images = state.get("images")
    if not isinstance(images, dict) or not all(_is_entry(entry) for entry in images.values()):
        raise CohortError(path, "has entries of another form", "Put back a copy, or move it away to begin anew")
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
    """Whether an image has another content than `image_facts` told; it is read only where its file looks different."""
    if not isinstance(known, dict):
        return False
    try:
        return known.get("file") != list(_looks(image)) and content_hash(image) != known.get("sha256")
    except OSError:
        return False  # whoever opens it says so


def reopen_changed(entry: dict[str, Any], image: Path) -> None:
    """Put an image whose content has changed since it was outlined back to those that are to do, with a note."""
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
        raise CohortError(target, "is no .csv", "Choose a name that ends in .csv")
    rows = [row for entry, extra in entries for row in _rows(entry, extra, target.parent)]
    if not rows:
        raise CohortError(target, "would have no row: no lesion is done", "Outline one and mark its image as done")
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
