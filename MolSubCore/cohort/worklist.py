"""A worklist: images to outline one after another, what is done, notes, and where one stopped. Standard library only.

::

    FOLDER/masks/READER/worklist.json            its state, written whole at every change
    FOLDER/masks/READER/CASE_lesion.nii.gz       the reader's masks
    FOLDER/masks/READER/.lock                    held while it is open

FOLDER is the table's, or the folder of images itself. Every reader has a folder of their own and is never told of
another's: `MolSubCore.cohort.second_reader.pairs` gives two readers' masks once both have done all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from MolSubCore.cohort.worklist_files import (
    STATE,
    Entry,
    image_facts,
    new_state,
    read_state,
    reader_folder,
    reopen_changed,
    table_text,
)
from MolSubCore.cohort.worklist_source import MASKS, Item, mask_names, read_source
from MolSubCore.errors import CohortError
from MolSubCore.files import new_hidden_file, sha256_file, sweep, write_json, write_text
from MolSubCore.lock import Lock
from MolSubCore.tasks import parse_subtype


class Worklist:
    """The worklist of one reader over one source; see `open_worklist`."""

    def __init__(self, folder: Path, items: Sequence[Item], reader: str, lock: Lock, blind: bool) -> None:
        self.folder, self.reader, self._items, self._lock = folder, reader, list(items), lock
        self._place = reader_folder(folder, reader)
        sweep(self._place)
        self._state: dict[str, Any] = read_state(self._place / STATE) or new_state(reader)
        # Who was blind once stays so: opening the list again must not unveil anything.
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
        own = self._state["images"][item.key]
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

    def set_patient(self, number: int, patient: str) -> Entry:
        """Say whose image it is: a folder of images does not tell for sure."""
        if not patient.strip():
            raise CohortError("patient", "is empty", "Give the patient's pseudonym")
        return self._change(number, patient=patient.strip())

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
            raise CohortError(
                target, "is there already, and this worklist did not write it", "Adopt it, or move it away"
            )
        if sha256_file(target) not in own["sha256"]:
            raise CohortError(target, "was changed by another program since", "Adopt it, or move it away")

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
            If no lesion is done, or `path` is no csv, or is there already and is no table of this worklist as it was
            written: what somebody has filled in since is not lost.
        """
        target = Path(os.path.abspath(path or self._place / "cohort.csv"))  # noqa: PTH100
        rows = [(entry, item.extra) for entry, item in zip(self.entries, self._items, strict=True)]
        text = table_text(target, [(entry, extra) for entry, extra in rows if entry.state == "done"])
        tables = self._state.setdefault("tables", {})
        name = target.name if target.parent == self._place else str(target)
        known = tables.get(name, [])
        if target.exists() and sha256_file(target) not in known:
            found = "is there already, and is not as this worklist wrote it"
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
        A second reader, who is not told of the table's own masks; once begun so, it stays so.
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
                raise CohortError("reader", f"is '{reader}', but there is '{other.name}'", "Use one spelling")
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
