"""Files for libraries in native code, which take their names as UTF-8 only: another name ends some of them at once.

Names on old disks and in archives of Windows, and under locales of before, are bytes of other encodings; Python keeps
them as surrogate escapes. Whatever opens or writes a file by its name in native code gets the name from here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from MolSubCore.errors import MolSubError


@contextlib.contextmanager
def no_stderr() -> Iterator[None]:
    """Send what libraries print to file descriptor 2 nowhere; a process without one is left alone."""
    try:
        saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:
        yield
        return
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


@contextlib.contextmanager
def said_on_stderr() -> Iterator[Callable[[], str]]:
    """Keep what libraries print to file descriptor 2, and give it to who asks; empty for a process without one."""
    try:
        saved = os.dup(2)
    except OSError:
        yield lambda: ""
        return
    with tempfile.TemporaryFile() as file:

        def said() -> str:
            file.seek(0)
            return file.read().decode("utf-8", "replace")

        try:
            os.dup2(file.fileno(), 2)
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def no_remarks(*names: str) -> Iterator[None]:
    """Keep Python warnings, and what these libraries log, off the screen."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


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
