"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import stat
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from MolSubCore.errors import MolSubError, reason_of

#: How UTF-8 files hold names that are no UTF-8 (Python's surrogate escapes): as ``\\udcfc``, which JSON reads back as
#: it was; of tables, see `named_file`.
ESCAPED = "backslashreplace"
_ESCAPE = re.compile(r"\\udc([89a-f][0-9a-f])")

#: Of what this program writes as JSON the largest has a few MiB; parsed, it takes up to thirty times that.
_JSON_CAP = 64 << 20
#: The way out where a command has that option.
OVERWRITE = "Choose another --out, or add --overwrite"
#: In which names of files are still met that no UTF-8 locale shows; the commonest first.
_NAME_ENCODINGS = {
    "Windows-1252 (Western European)": "cp1252",
    "Shift-JIS": "cp932",
    "GB18030": "gb18030",
    "Big5": "cp950",
    "Korean (EUC-KR)": "cp949",
    "Windows-1250 (Central European)": "cp1250",
    "Windows-1251 (Cyrillic)": "cp1251",
    "Windows-1253 (Greek)": "cp1253",
    "Windows-1254 (Turkish)": "cp1254",
    "DOS (code page 850)": "cp850",
}
#: In every folder that is written whole: a list of what this program wrote there.
MANIFEST = ".molsub-files.json"

#: Temporary names, and those of what is being replaced: a random number, and digits that only `hidden_name` computes,
#: so that nobody's own file is taken for one.
_HIDDEN = re.compile(r"\.(tmp|old)-([0-9a-f]{16})([0-9a-f]{8})-", re.DOTALL)
#: Of larger files the list of what was written holds the size only.
_HASHED_CAP = 64 << 20
#: Bytes of a name that are kept in a hidden one; file systems take 255.
_NAME_CAP = 200
_LOCKS = (".lock", ".lock-held")
#: What a lock holds: the number of a process from the second byte on (`MolSubCore.lock`), or which one it was.
_LOCK = re.compile(rb"[\0 ]?(?:\d{1,20} *)?|process \d{1,20} on [^\r\n]*", re.DOTALL)
#: Files that desktops put into folders that are looked at, and what they begin with.
_NOBODYS = {".DS_Store": b"\0\0\0\1Bud1", "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"}


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, durable: bool = True, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    The file is flushed to disk before the rename, so that after a crash a reader sees the old
    file or the new one, never a part; not so with `durable` false, for what need not outlive a
    crash of the computer. The temporary name keeps the suffix, for writers that choose a format
    by it.

    Raises
    ------
    MolSubError
        If the file is to be `new`, and another process has written it meanwhile.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_hidden_file(target)
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        if new:
            _name_new(temporary, target)
        else:
            os.replace(temporary, target)
    except BaseException as error:
        _name_target(error, temporary, path)
        temporary.unlink(missing_ok=True)
        raise


def _name_new(temporary: Path, target: Path) -> None:
    """Rename a file, unless one of that name is there."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if isinstance(error, FileExistsError) or os.path.lexists(target):
            raise MolSubError(target, "was written by another process meanwhile", "Let one end, then repeat") from None
        os.replace(temporary, target)  # a file system without links
    else:
        temporary.unlink()


def _name_target(error: BaseException, temporary: Path, path: str | os.PathLike[str]) -> None:
    """Let an error of the system name what the user typed, not the temporary name."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str):
        return
    found = Path(error.filename)
    if found == temporary or temporary in found.parents:
        error.filename = os.fspath(Path(path) / found.relative_to(temporary))
        error.filename2 = None


def check_free(
    path: Path, *, replaces: str | None = None, remedy: str = "Choose another folder, or empty it", whole: bool = True
) -> None:
    """Refuse a folder to which results cannot be written; for long work, before it begins.

    Everything about it is tried: what is there, whether it can be made, its name's length. A link is followed.

    Parameters
    ----------
    path : Path
    replaces : str, optional
        As of `atomic_folder`.
    remedy : str
        Of the error that says that `path` exists.
    whole : bool
        Whether `atomic_folder` will write it, which puts another folder in its place; else files are added to it.

    Raises
    ------
    MolSubError
        If `path` is a file, a pipe or a device, a mount point where it has to be `whole`, or a folder that holds
        anything and may not be replaced.
    OSError
        Of `path`, if it cannot be made or written to.
    """
    _refuse_file(path)
    if whole and _is_mount(path):
        found = "is a mount point (a volume or a drive), which cannot be replaced by a finished folder"
        raise MolSubError(path, found, f"Choose a folder in it, such as {Path(path) / 'result'}")
    if os.path.isdir(path):  # noqa: PTH112
        # Of nobody's: locks, and what a killed writer left, which whoever holds the lock removes.
        held = [e for e in Path(path).iterdir() if whole or not (_is_lock(e) or _hidden(e.name))]
        if held and replaces is None:
            if remedy == OVERWRITE and not _all_ours(path):
                remedy = "Choose another --out"  # --overwrite would be refused, too
            raise MolSubError(path, "exists already", remedy)
        if held and replaces is not None:
            check_ours(path, replaces)
    try_place(path, whole=whole)


def check_folder(path: Path) -> None:
    """Refuse a folder to which files cannot be added, whatever it holds; for long work, before it begins.

    Raises
    ------
    MolSubError
        If it is a file, a pipe or a device.
    OSError
        Of `path`, if it cannot be made or written to.
    """
    _refuse_file(path)
    try_place(path, whole=False)


def _refuse_file(path: Path) -> None:
    # Not Path.is_file, which raises on names that are too long.
    if os.path.isfile(path):  # noqa: PTH113
        raise MolSubError(path, "is a file; expected a new folder", "Choose another --out")


def try_place(path: str | os.PathLike[str], *, whole: bool = True) -> None:
    """Make, and remove at once, what a result at `path` needs: a name of its length beside it, or in it.

    Parameters
    ----------
    path : path
        Of a file or a folder.
    whole : bool
        As of `check_free`.

    Raises
    ------
    MolSubError
        If a pipe, a socket or a device is there, which nothing is written to and nothing takes the place of.
    OSError
        Of `path`, whatever else could not be made.
    """
    target = led_to(Path(path))
    try:
        with contextlib.suppress(FileNotFoundError):
            kind = os.stat(path).st_mode  # noqa: PTH116 - also tells a link that leads to itself
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                found = "is a pipe, a socket or a device, expected a name for a new file or folder"
                raise MolSubError(path, found, "Choose another --out")
        with contextlib.suppress(FileNotFoundError):
            os.lstat(target)  # a name that is too long, a file in the place of a folder
        above = [target, *target.parents] if not whole else target.parents
        there = next(folder for folder in above if folder.is_dir())
        probe = hidden_name(there / target.name, "tmp")
        probe.mkdir()
        try:
            (probe / target.relative_to(there)).mkdir(parents=True, exist_ok=True)
        finally:
            shutil.rmtree(probe, ignore_errors=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def led_to(path: Path) -> Path:
    """Where a link leads; any other path as it is, but absolute."""
    return Path(os.path.realpath(path) if path.is_symlink() else os.path.abspath(path))  # noqa: PTH100


def _is_mount(path: Path) -> bool:
    """Whether another file system, or a part of one, is mounted at a path."""
    place = os.path.realpath(path)
    if os.path.ismount(place):
        return True
    with contextlib.suppress(OSError), Path("/proc/self/mountinfo").open("rb") as mounts:
        for line in mounts:  # a part of the same file system (a bind mount) is told only here
            name = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4])
            if name == os.fsencode(place):
                return True
    return False


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike[str],
    *,
    replaces: str | None = None,
    remedy: str = "Choose another folder, or empty it",
    also: tuple[str, ...] = (),
) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` on success, remove it on failure.

    Of a link it is the folder that it leads to. What was written is listed in it (`MANIFEST`), so that it can be
    replaced later without anything that is not ours.

    Parameters
    ----------
    path : path
    replaces : str, optional
        A folder at `path` that holds a file of this name is replaced, whole, if all in it was written by this
        program. Nothing else ever is.
    remedy : str
        Of the error that says that `path` exists.
    also : tuple of str
        Files that the program adds later, and that may be replaced, too.

    Raises
    ------
    MolSubError, OSError
        As `check_free`.
    """
    check_free(Path(path), replaces=replaces, remedy=remedy)
    target = led_to(Path(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = hidden_name(target, "tmp")
    temporary.mkdir()
    try:
        yield temporary
        note_files(temporary, also)
        with named_folder(temporary, target, replaces=replaces, remedy=remedy):
            pass
    except BaseException as error:
        _name_target(error, temporary, path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def note_files(folder: Path, also: tuple[str, ...] = (), *, only: tuple[str, ...] = ("*",)) -> None:
    """List all that a folder holds, and `also`, as written by this program: it may be removed later, and only it.

    What somebody changes afterwards is theirs: the list has the hashes of the files. `only` are patterns of what to
    list right below the folder, where others may have put something, too.
    """
    own = [entry for pattern in only for entry in folder.glob(pattern)]
    inner = [entry for one in own if one.is_dir() and not one.is_symlink() for entry in one.rglob("*")]
    held = [entry.relative_to(folder).as_posix() for entry in (*own, *inner)]
    _write_list(folder, dict.fromkeys(also, "") | {name: _mark(folder / name) for name in held})


def _mark(entry: Path) -> str:
    """What tells whether an entry of a folder is as it was: the hash of a file; empty where nothing does."""
    if entry.name == MANIFEST:
        return ""
    if _is_lock(entry):
        return "lock"  # whoever held it last
    if entry.is_symlink():
        return f"link:{entry.readlink()}"
    if entry.is_dir():
        return "folder"
    if not entry.is_file():
        return ""
    return f"size:{size}" if (size := entry.stat().st_size) > _HASHED_CAP else sha256_file(entry)


def _write_list(folder: Path, marks: Mapping[str, str]) -> None:
    names = sorted({*marks, MANIFEST} - set(_LOCKS))
    hashes = {name: marks[name] for name in names if marks.get(name)}
    write_json(folder / MANIFEST, {"written_by": "MolSubCore", "files": names, "sha256": hashes})


def _read_list(folder: Path) -> dict[str, str] | None:
    """What this program wrote to a folder, with what tells whether it is as it was; None without a list.

    Raises
    ------
    MolSubError
        If the list is damaged, or not of this program.
    """
    file = folder / MANIFEST
    if not os.path.lexists(file):
        return None
    try:
        content = read_json(file)
    except (MolSubError, OSError):
        content = None
    names = content.get("files") if isinstance(content, dict) else None
    marks = content.get("sha256", {}) if isinstance(content, dict) else None
    if (
        not isinstance(names, list)
        or not isinstance(marks, dict)
        or not all(isinstance(one, str) for one in (*names, *marks.values()))
        or any(not name or name.startswith("/") or {"", ".", ".."} & set(name.split("/")) for name in names)
    ):
        found = f"has a damaged list of what this program wrote to it ({MANIFEST}), so that nothing of it is removed"
        raise MolSubError(folder, found, "Choose another folder, or remove it yourself")
    return {name: marks.get(name, "") for name in names}


def _changed(folder: Path, listed: Mapping[str, str]) -> list[str]:
    """Listed entries that somebody has changed since."""
    there = ((name, mark) for name, mark in listed.items() if mark and os.path.lexists(folder / name))
    return sorted(name for name, mark in there if _mark(folder / name) not in (mark, *mark.split()))


def why_not_as_written(folder: Path, *names: str) -> str:
    """Why what a folder holds is not what this program wrote there, for the middle of a sentence; empty where it is.

    What others put beside it is no matter.

    Parameters
    ----------
    names : str
        Files of it that must be known by their hashes; lists of before have none.
    """
    try:
        listed = _read_list(folder)
    except MolSubError as error:
        return error.problem
    if listed is None:
        return f"has no list of what this program wrote to it ({MANIFEST})"
    lost = sorted(name for name, mark in listed.items() if mark and not os.path.lexists(folder / name))
    for found, what in (
        (_changed(folder, listed), "was changed since this program wrote it"),
        (lost, "has lost a part"),
        ([name for name in names if not listed.get(name)], "does not say how this program wrote it"),
    ):
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            return f"{what} ({found[0]}{more})"
    return ""


def check_unchanged(file: Path) -> None:
    """Refuse to write a file anew that `write_listed` did not write, or that somebody has changed since.

    Raises
    ------
    MolSubError
        If it is there, and not as it was written.
    """
    if not os.path.lexists(file):
        return
    listed = _read_list(file.parent) or {}
    if not listed.get(file.name) or _changed(file.parent, {file.name: listed[file.name]}):
        found = "was changed since this program wrote it, or is not its own, and is not written over"
        raise MolSubError(file, found, "Move it away, or give it another name, then repeat")


def set_aside_changed(folder: Path, ending: str) -> None:
    """Rename, and tell, what somebody has changed of the files that `write_listed` wrote and is to write anew."""
    own = (_read_list(folder) or {}).items()
    listed = {name: mark for name, mark in own if "/" not in name and name.endswith(ending)}
    for name in _changed(folder, listed):
        file = folder / name
        names = (file.with_name(f"{file.stem} (changed {n}){file.suffix}") for n in itertools.count(1))
        kept = next(path for path in names if not os.path.lexists(path))
        os.replace(file, kept)
        print(f"Note: {file} was changed since this program wrote it: kept as {kept.name}.", file=sys.stderr)


def write_listed(file: Path, text: str) -> None:
    """Write a file among others with its hash in the folder's list (`MANIFEST`), for `check_unchanged`.

    While it is written the list has both hashes, of before and of now: so whoever is killed leaves no doubt.
    """
    listed = _read_list(file.parent) or {}
    mark = hashlib.sha256(text.encode("utf-8", ESCAPED)).hexdigest()
    _write_list(file.parent, listed | {file.name: f"{listed.get(file.name, '')} {mark}".strip()})
    write_text(file, text)
    _write_list(file.parent, listed | {file.name: mark})


def remove_listed(folder: Path) -> None:
    """Remove all of a folder that `note_files` has listed; the folder itself stays."""
    listed = [folder / name for name in _read_list(folder) or {}]
    for entry in sorted(listed, reverse=True):  # what a folder holds comes before it
        if not entry.parent.resolve().is_relative_to(folder.resolve()):
            continue
        with contextlib.suppress(OSError):  # a folder that holds something else
            entry.rmdir() if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def remove_stale(folder: Path, made: set[str], endings: tuple[str, ...]) -> None:
    """Remove the files of these endings that this program once wrote to a folder and now no longer makes.

    Parameters
    ----------
    made : set of str
        Names of all that it makes now; the others in the folder's list (`MANIFEST`) are removed, and nothing else:
        not what somebody has changed since.
    """
    listed = _read_list(folder) or {}
    kept = {name: mark for name, mark in listed.items() if not name.endswith(endings)}
    changed = set(_changed(folder, listed))
    for name in set(listed) - set(kept) - made - changed:
        if "/" not in name:
            (folder / name).unlink(missing_ok=True)
    _write_list(folder, kept | {name: _mark(folder / name) for name in made})


def check_ours(folder: Path, mark: str) -> None:
    """Refuse to replace or remove a folder in which not everything is known to be this program's.

    Parameters
    ----------
    mark : str
        A file that is in every folder of the kind.

    Raises
    ------
    MolSubError
        If it lacks the mark or the list of its files, or holds anything that is not listed, or was changed since.
    """
    if not (folder / mark).is_file():
        found = f"holds something else (no {mark}), which is not replaced"
        raise MolSubError(folder, found, "Choose another folder, or empty it")
    listed = _read_list(folder)
    if listed is None:
        found = f"has no list of what this program wrote to it ({MANIFEST}), so that nothing of it is removed"
        raise MolSubError(folder, found, "Choose another folder, or remove it yourself")
    held = {entry.relative_to(folder).as_posix(): entry for entry in folder.rglob("*")}
    strange = sorted(name for name in set(held) - set(listed) if not (_is_lock(held[name]) or _is_nobodys(held[name])))
    for names, what in (
        (strange, "what this program did not write"),
        (_changed(folder, listed), "what was changed since this program wrote it"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            found = f"holds {what} ({names[0]}{more}), which is never removed"
            raise MolSubError(folder, found, "Move that away, or choose another folder")


def _all_ours(folder: Path) -> bool:
    """Whether everything in a folder is this program's, of whatever kind it is."""
    try:
        check_ours(folder, MANIFEST)
    except (MolSubError, OSError):
        return False
    return True


def is_lock_text(content: bytes) -> bool:
    """Whether this is what `MolSubCore.lock` writes into a lock; or nothing, as whoever is killed may leave it."""
    return bool(_LOCK.fullmatch(content))


def _is_lock(entry: Path) -> bool:
    """Whether an entry of a folder is a lock of this program, by its name and by what it holds."""
    return entry.name in _LOCKS and is_lock_text(_beginning(entry, 4096))


def _is_nobodys(entry: Path) -> bool:
    """Whether a desktop has put an entry into a folder by itself: by its name and by what it begins with."""
    begin = _NOBODYS.get(entry.name)
    return begin is not None and _beginning(entry, len(begin)) in (b"", begin)


def _beginning(entry: Path, count: int) -> bytes:
    """The first bytes of a file; of what is none, or cannot be read, a text that is nobody's."""
    if not entry.is_symlink() and entry.is_file():
        with contextlib.suppress(OSError), entry.open("rb") as file:
            return file.read(count)
    return b"not to be read"


def hidden_name(target: Path, kind: str) -> Path:
    """A new name beside `target` that nobody can guess, with the same ending and never too long.

    `sweep` knows such names again.
    """
    name, number = _short(target.name), secrets.token_hex(8)
    return target.with_name(f".{kind}-{number}{_check_digits(kind, number, name)}-{name}")


def _short(name: str) -> str:
    """What a hidden name keeps of another."""
    while len(os.fsencode(name)) > _NAME_CAP:
        name = name[1:]
    return name


def _check_digits(kind: str, number: str, name: str) -> str:
    return hashlib.sha256(b"MolSubCore " + os.fsencode(f"{kind} {number} {name}")).hexdigest()[:8]


def _hidden(name: str) -> tuple[str, str] | None:
    """Kind and target of a name that `hidden_name` has made; None for any other."""
    found = _HIDDEN.match(name)
    if found is None or _check_digits(found[1], found[2], name[found.end() :]) != found[3]:
        return None
    return found[1], name[found.end() :]


def new_hidden_file(target: Path) -> Path:
    """A new, empty file beside `target`, made so that nobody else can have put a file or a link there."""
    with contextlib.suppress(FileNotFoundError):
        os.lstat(target)  # a name that is too long is told at once
    temporary = hidden_name(target, "tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return temporary


def sweep(folder: Path, *, of: str = "") -> None:
    """Remove what killed writers left in a folder; only for whoever holds its lock, when nobody else writes there.

    With `of` only what was to become the file or folder of this name, for whoever holds the lock of that. A former
    result that was moved aside, and in whose place nothing came, is put back.
    """
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        found = _hidden(entry.name)
        if found is None or entry.is_symlink() or (of and found[1] != _short(of)):
            continue
        former = entry.with_name(found[1])
        if found[0] == "old" and not former.exists():
            os.replace(entry, former)
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


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
        former = new if exchanged else old
        if replaces and former.is_dir() and any(former.iterdir()):
            try:
                check_ours(former, replaces)  # somebody may have put a file there meanwhile
            except MolSubError as error:
                raise MolSubError(target, error.problem, error.remedy) from None
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


def write_text(path: str | os.PathLike[str], text: str, *, new: bool = False) -> None:
    """Write UTF-8 `text` to `path` atomically; `new` as of `atomic_path`."""
    with atomic_path(path, new=new) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ESCAPED, newline="\n")


def json_text(value: Any) -> str:
    """`value` as indented JSON; NaN and infinities are refused (ValueError)."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as `json_text` atomically."""
    write_text(path, json_text(value))


def why_no_file(path: str | os.PathLike[str]) -> str:
    """Why something is not to be opened, for the middle of a sentence: a folder, a pipe, a socket or a device.

    To open a pipe waits for a writer who may never come, and a device may never end. Links are followed. Empty for a
    file, and for what does not exist or cannot be looked at: to open that says so.
    """
    try:
        kind = Path(path).stat().st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISREG(kind):
        return ""
    return f"is {'a folder' if stat.S_ISDIR(kind) else 'a pipe, a socket or a device'}, a file was expected"


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read its bytes; OSError, also of what `why_no_file` tells."""
    if why := why_no_file(path):
        raise OSError(errno.EINVAL, why, os.fspath(path))
    return Path(path).open("rb")


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file, with a byte order mark or without; OSError as of `open_file`."""
    with open_file(path) as file:
        return file.read().decode("utf-8-sig")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file, with a one-line error when it is missing or broken."""
    if why := why_no_file(path):
        raise MolSubError(path, why, "Check the path")
    try:
        if Path(path).stat().st_size > _JSON_CAP:
            raise MolSubError(path, f"has more than {_JSON_CAP >> 20} MiB", "Check that it is the right file")
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except MolSubError:
        raise
    except FileNotFoundError:
        raise MolSubError(path, "does not exist", "Check the path") from None
    except (ValueError, RecursionError) as error:  # also of text that is no UTF-8, and of numbers without end
        raise MolSubError(path, f"is not valid JSON ({reason_of(error)})", "Write it again") from None


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits; of those that it had when it was opened, if it grows."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            digest.update(chunk)
            left -= len(chunk)
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


class Finder:
    """Finds files that tables name: with the backslashes of Windows, with letters composed or apart (NFC, NFD)."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, folder: Path, text: str) -> Path:
        """The file of this name, absolute or below `folder`, however it is spelt; as written where there is none."""
        written = folder / text
        if "\\" not in text and text.isascii():
            return written
        spellings = [written, *([folder / text.replace("\\", "/")] if os.sep == "/" else [])]
        for path in spellings:
            if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on names that are too long
                return path
        return next((found for each in spellings if (found := self._respelt(each)) is not None), written)

    def _respelt(self, path: Path) -> Path | None:
        """The one existing file whose name is the same once its letters are composed."""
        place = Path(path.anchor)
        for part in path.parts[1 if path.anchor else 0 :]:
            if os.path.lexists(place / part):
                place = place / part
                continue
            if place not in self._names:
                try:
                    names = [entry.name for entry in place.iterdir()]
                except (OSError, ValueError):
                    names = []
                found: dict[str, list[str]] = {}
                for name in names:
                    found.setdefault(unicodedata.normalize("NFC", name), []).append(name)
                self._names[place] = found
            same = self._names[place].get(unicodedata.normalize("NFC", part), [])
            if len(same) != 1:
                return None
            place = place / same[0]
        return place if place.is_file() else None


def why_missing(path: str | os.PathLike[str]) -> str:
    """Why a file that a table names may not be there, for the end of a sentence; or empty."""
    text = os.fspath(path)
    if os.sep == "/" and re.search(r"(^|/)[A-Za-z]:[\\/]|\\\\", text):
        return " (a path of Windows with its drive or server: give paths relative to the table)"
    if "\ufffd" in text:
        return " (a letter of its name was lost when the table was saved: save it as UTF-8)"
    with contextlib.suppress(OSError, ValueError):
        if os.path.lexists(path):  # there is something of this very name
            return " (it is a link that leads nowhere)" if os.path.islink(path) else ""  # noqa: PTH114
        missing = Path(path)
        while not os.path.lexists(missing.parent):
            missing = missing.parent
        what = "one" if missing == Path(path) else "a folder"
        for other in missing.parent.iterdir():
            if missing.name.casefold() == other.name.casefold():
                return f" (there is {what} whose name differs in capital and small letters only)"
            if encoding := _other_encoding(other.name, missing.name):
                found = f"there is {what} of this name, but in {encoding}, not in UTF-8"
                return f" ({found}: rename it, or save the table in that encoding if all names are)"
    return ""


def _other_encoding(found: str, wanted: str) -> str:
    """The encoding in which the bytes of a file's name, no UTF-8, are the letters that are wanted; or empty."""
    if not any("\udc80" <= sign <= "\udcff" for sign in found):
        return ""
    for name, codec in _NAME_ENCODINGS.items():
        for form in ("NFC", "NFD"):
            with contextlib.suppress(UnicodeEncodeError):
                if unicodedata.normalize(form, wanted).encode(codec) == os.fsencode(found):
                    return name
    return ""


def plain_cell(value: Any) -> Any:
    """A cell of a table for people: text that a spreadsheet would compute gets an apostrophe before it."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def file_label(label: str) -> str:
    """The label of an image or lesion as part of a file name: ``1 ? CC`` becomes ``1_unknown_CC``."""
    return label.replace("?", "unknown").replace(" ", "_")
