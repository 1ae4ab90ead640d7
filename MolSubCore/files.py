"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from MolSubCore.errors import MolSubError

#: How UTF-8 files hold names that are no UTF-8 (Python's surrogate escapes): as ``\\udcfc``, which JSON reads back as
#: it was; of tables, see `named_file`.
ESCAPED = "backslashreplace"
_ESCAPE = re.compile(r"\\udc([89a-f][0-9a-f])")

#: Of what this program writes as JSON the largest has a few MiB; parsed, it takes up to thirty times that.
_JSON_CAP = 64 << 20
#: The way out where a command has that option.
OVERWRITE = "Choose another --out, or add --overwrite"


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    The file is flushed to disk before the rename, so that after a crash a reader sees the old
    file or the new one, never a part; not so with `durable` false, for what need not outlive a
    crash of the computer. The temporary name keeps the suffix, for writers that choose a format
    by it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{os.getpid()}-{target.name}")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_free(path: Path, *, replaces: str | None = None, remedy: str = "Choose another folder, or empty it") -> None:
    """Refuse a place where `atomic_folder` would not write; for long work, before it begins.

    Raises
    ------
    MolSubError
        If `path` is a file, or a folder that holds anything and may not be replaced.
    """
    if path.is_file():
        raise MolSubError(path, "is a file, expected a folder to make", "Choose another --out")
    if path.is_dir() and any(path.iterdir()):
        if replaces is None:
            raise MolSubError(path, "exists already", remedy)
        if not (path / replaces).is_file():
            found = f"holds something else (no {replaces}), which is not replaced"
            raise MolSubError(path, found, "Choose another folder, or empty it")


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike[str], *, replaces: str | None = None, remedy: str = "Choose another folder, or empty it"
) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` on success, remove it on failure.

    Parameters
    ----------
    path : path
    replaces : str, optional
        A folder at `path` that holds a file of this name is replaced, whole. Nothing else ever is.
    remedy : str
        Of the error that says that `path` exists.

    Raises
    ------
    MolSubError
        If `path` is a file, or a folder that holds anything and may not be replaced.
    """
    target = Path(path)
    check_free(target, replaces=replaces, remedy=remedy)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = hidden_name(target, "tmp")
    temporary.mkdir()
    try:
        yield temporary
        with named_folder(temporary, target, replaces=replaces, remedy=remedy):
            pass
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def hidden_name(target: Path, kind: str) -> Path:
    """A new name beside `target`.

    Not by the process number alone: what a killed process left would be in the way of a later one.
    """
    return target.with_name(f".{kind}-{secrets.token_hex(4)}-{target.name}")


@contextlib.contextmanager
def named_folder(new: Path, target: Path, *, replaces: str | None = None, remedy: str = OVERWRITE) -> Iterator[None]:
    """Rename the folder `new` to `target` for the block; for good if the block ends well, else all is as before.

    What it replaces, by the rules of `atomic_folder`, is removed at the end.
    """
    old = hidden_name(target, "old")
    exchanged = bool(replaces and target.exists()) and _exchanged(new, target)
    try:
        if not exchanged:
            if replaces and target.exists():
                os.replace(target, old)
            _put(new, target, replaces, remedy)
        yield
    except BaseException:
        if exchanged:
            _exchanged(new, target)
        elif not new.exists():
            os.replace(target, new)
        if old.exists() and not target.exists():
            os.replace(old, target)
        raise
    for former in (new, old):
        shutil.rmtree(former, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Swap two folders in one step, so that at no moment there is neither; False where the system cannot."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None).renameat2
    except AttributeError:  # another C library
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _put(temporary: Path, target: Path, replaces: str | None, remedy: str) -> None:
    """Rename a folder; what another process has put there meanwhile is told as if it had been there before."""
    try:
        os.replace(temporary, target)
    except OSError as error:
        check_free(target, replaces=replaces, remedy=remedy)
        if error.errno == errno.ENOTEMPTY:
            raise MolSubError(target, "was written by another process meanwhile", "Let one end, then repeat") from None
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ESCAPED, newline="\n")


def json_text(value: Any) -> str:
    """`value` as indented JSON; NaN and infinities are refused (ValueError)."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as `json_text` atomically."""
    write_text(path, json_text(value))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file, with a one-line error when it is missing or broken."""
    try:
        if Path(path).stat().st_size > _JSON_CAP:
            raise MolSubError(path, f"has more than {_JSON_CAP >> 20} MiB", "Check that it is the right file")
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except MolSubError:
        raise
    except FileNotFoundError:
        raise MolSubError(path, "does not exist", "Check the path") from None
    except (ValueError, RecursionError) as error:  # also of text that is no UTF-8, and of numbers without end
        raise MolSubError(path, f"is not valid JSON ({error})", "Write it again") from None


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def named_file(text: str) -> str:
    """The name of a file as Python has it, of what `write_text` wrote for it into a table."""
    if os.name == "nt":  # names are no bytes there, and a backslash is a separator
        return text
    return _ESCAPE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def file_word(name: str) -> str:
    """A class name as part of a file name: ``HER2+/HR-`` becomes ``HER2pos_HRneg``."""
    for sign, word in (("+", "pos"), ("-", "neg")):
        if name.endswith(sign):
            name = name.removesuffix(sign) + word
        name = name.replace(f"{sign}/", f"{word}_")
    return "".join(c if c.isalnum() else "_" for c in name)


def plain_cell(value: Any) -> Any:
    """A cell of a table for people: text that a spreadsheet would compute gets an apostrophe before it."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
