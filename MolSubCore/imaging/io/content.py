"""What a file of an image or a lesion holds: its kind, and a hash; results are matched by it, never by path or time.

Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Hashable
from pathlib import Path

from MolSubCore.files import atomic_path, open_file, sha256_file
from MolSubCore.imaging.io.volume_header import data_beside

#: Nanoseconds after its last change from which on a file's state tells whether it was changed again: file systems
#: keep times in steps of up to two seconds.
_SETTLED = 3_000_000_000

#: Hashes of files by their state, for the life of this process.
_known: dict[Hashable, str] = {}
_MOST = 200_000


def is_dicom(path: Path) -> bool:
    """Whether a file begins as a DICOM file does; false where it cannot be read."""
    try:
        with open_file(path) as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def file_state(path: str | os.PathLike[str]) -> Hashable:
    """What tells whether a file, or a folder of files, is still the same, without reading it.

    Names, places on the disk, sizes, and both times: that of the content can be set back by anybody who copies, that of
    the entry (``ctime``) cannot. Something that cannot be looked at is never the same as anything.
    """
    place = Path(os.path.abspath(path))  # noqa: PTH100
    try:
        files = sorted(entry for entry in place.iterdir() if entry.is_file()) if place.is_dir() else [place]
        return str(place), *((file.name, *_stat(file)[:-1]) for file in files)
    except OSError:
        return object()


def content_hash(path: str | os.PathLike[str], memory: Path | None = None) -> str:
    """SHA-256 of a file's bytes; of a header whose data lie in a file beside it, of both.

    Parameters
    ----------
    memory : Path, optional
        A folder that keeps hashes by the files' states, so that a large cohort is not read at every start. It holds
        hashes only. Not used on Windows, whose ``ctime`` is the time at which a file was made.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    file = Path(path)
    parts = [file, *filter(None, [data_beside(file)])]
    before = [_stat(part) for part in parts]
    state = tuple((os.path.realpath(part), *found[:-1]) for part, found in zip(parts, before, strict=True))
    if (known := _known.get(state)) is not None:
        return known
    settled = all(time.time_ns() - found[-1] > _SETTLED for found in before)
    note = _note(memory, state) if memory and settled and sys.platform != "win32" else None
    digest = _noted(note) if note else None
    if digest is None:
        hashes = [sha256_file(part) for part in parts]
        digest = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        if [_stat(part) for part in parts] != before:
            return digest  # changed meanwhile: not to be remembered
        if note:
            with contextlib.suppress(OSError), atomic_path(note, durable=False) as temporary:
                temporary.write_text(digest, encoding="ascii")
    if settled:
        if len(_known) >= _MOST:
            _known.clear()
        _known[state] = digest
    return digest


def _stat(file: Path) -> tuple[int, ...]:
    """Device, place, size, both times, and the later of the two."""
    found = file.stat()
    times = found.st_mtime_ns, found.st_ctime_ns
    return found.st_dev, found.st_ino, found.st_size, *times, max(times)


def _note(memory: Path, state: Hashable) -> Path:
    name = hashlib.sha256(repr(state).encode("utf-8", "surrogatepass")).hexdigest()
    return memory / name[:2] / name[2:40]


def _noted(note: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError):
        text = note.read_text(encoding="ascii")
        if len(text) == 64 and int(text, 16) >= 0:
            return text
    return None
