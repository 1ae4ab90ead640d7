"""Files for libraries in native code, which take their names as UTF-8 only: another name ends some of them at once.

Names on old disks and in archives of Windows, and under locales of before, are bytes of other encodings; Python keeps
them as surrogate escapes. Whatever opens or writes a file by its name in native code gets the name from here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from MolSubCore.errors import MolSubError

#: The endings by which libraries choose a format.
_ENDINGS = re.compile(r"(?:\.seg)?\.[A-Za-z0-9]{1,5}(?:\.gz)?$")


def is_native(path: str | os.PathLike[str]) -> bool:
    """Whether native code that takes names as UTF-8 finds the file that Python finds."""
    text = os.fspath(path)
    if os.name == "nt":
        return not any("\ud800" <= sign <= "\udfff" for sign in text)
    try:
        return text.encode("utf-8") == os.fsencode(text)
    except UnicodeEncodeError:
        return False


@contextlib.contextmanager
def native_name(path: Path, *beside: Path) -> Iterator[str]:
    """A name of an existing file for native code: its own, or for the block that of a link to it.

    Parameters
    ----------
    path : Path
    *beside : Path
        Files that the library will look for beside it, by their own names.
    """
    if is_native(path):
        yield os.fspath(path)
        return
    with _plain_folder(path) as folder:
        link = folder / f"file{_ending(path)}"
        _link(path, link)
        for other in beside:
            _link(other, folder / other.name)
        yield os.fspath(link)


@contextlib.contextmanager
def native_target(path: Path) -> Iterator[str]:
    """A name for native code to write to: `path` itself, or one whose file is copied to `path` after the block."""
    if is_native(path):
        yield os.fspath(path)
        return
    with _plain_folder(path) as folder:
        written = folder / f"file{_ending(path)}"
        yield os.fspath(written)
        shutil.copyfile(written, path)


@contextlib.contextmanager
def _plain_folder(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="molsub-") as name:
        if not is_native(name):
            found = "has a name that is no UTF-8, and so has the folder for temporary files"
            raise MolSubError(path, found, "Rename it, or set TMPDIR to a folder with a plain name")
        yield Path(name)


def _ending(path: Path) -> str:
    found = _ENDINGS.search(path.name)
    return found[0] if found else ""


def _link(path: Path, link: Path) -> None:
    try:
        link.symlink_to(os.path.abspath(path))  # noqa: PTH100
    except OSError:  # Windows without the right to make links, and file systems that have none
        shutil.copyfile(path, link)
