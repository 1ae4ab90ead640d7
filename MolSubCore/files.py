"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from MolSubCore.errors import MolSubError

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
    # Not by the process number alone: what a killed process left would be in the way of a later one.
    mark = secrets.token_hex(4)
    temporary, old = (target.with_name(f".{kind}-{mark}-{target.name}") for kind in ("tmp", "old"))
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON atomically; NaN and infinities are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file, with a one-line error when it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MolSubError(path, "does not exist", "Check the path") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MolSubError(path, f"is not valid JSON ({error})", "Write it again") from None


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
