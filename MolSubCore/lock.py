"""A lock on a folder or a file, for one process at a time. Standard library only.

It is the operating system's own (flock, or LockFile on Windows): a killed process leaves nothing behind that would be
in the way. On a file system without locks (some network drives), a file that only one process can make stands for it;
a killed process leaves that file, and the next one is told to remove it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from MolSubCore.errors import MolSubError
from MolSubCore.files import is_lock_text, led_to, sweep

_PID_DIGITS = 20
#: How the system says that another one holds a lock; whatever else it says, it has no locks there.
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK, getattr(errno, "EDEADLOCK", errno.EDEADLK))

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # the first byte only: the others stay readable

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _patiently(file: int) -> None:
    """Lock it; somebody who only looks (`Lock.is_taken`) holds it for a moment, too."""
    for _ in range(4):
        try:
            return _lock(file)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        time.sleep(0.05)
    return _lock(file)


class Lock:
    """Held from `acquire` to `release`, or to the end of the process; not handed down to child processes.

    Parameters
    ----------
    path : Path
        A file for the lock alone. It stays there; its content is the number of the process that holds it.
    of : Path, optional
        What is locked, for messages; by default the folder that the file is in.
    """

    def __init__(self, path: Path, of: Path | None = None) -> None:
        self.path = path
        self._of = of or path.parent
        self._file: int | None = None
        self._alone = path.with_name(f"{path.name}-held")  # where there are no locks
        self._stands = False  # whether this object made it
        self._made: list[Path] = []  # folders, and whether the file itself is new
        self._new = False

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def acquire(self, remedy: str = "Close it there first") -> None:
        """Take the lock; nothing happens where this object holds it already.

        Folders that are missing are made; where the lock cannot be had, nothing of it stays.

        Raises
        ------
        MolSubError
            If another process, or another object of this one, holds it. `remedy` is the way out.
        """
        if self._file is not None:
            return
        self._made = [folder for folder in (self.path.parent, *self.path.parent.parents) if not folder.exists()]
        try:
            self._file = self._locked(remedy)
        except BaseException:
            self._unmake()
            raise
        with contextlib.suppress(OSError):  # on a full disk it is held all the same
            os.lseek(self._file, 1, os.SEEK_SET)
            os.write(self._file, f"{os.getpid():<{_PID_DIGITS}}".encode())

    def _locked(self, remedy: str) -> int:
        """The open file, once it is locked."""
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._new = not self.path.exists()
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
            try:
                if self._got(file, remedy):
                    self._refuse_others(file)
                    return file
            except BaseException as error:
                os.close(file)
                if self._new and not isinstance(error, MolSubError):
                    self.path.unlink(missing_ok=True)
                raise
            os.close(file)  # whoever held it has removed it meanwhile, with the folder it had made

    def _got(self, file: int, remedy: str) -> bool:
        """Whether the file is now locked by this object, and still the one at its path."""
        try:
            _patiently(file)
        except OSError as error:
            if error.errno in _TAKEN:
                raise MolSubError(self._of, f"is in use by {self._holder()}", remedy) from None
            self._without_locks(remedy, error)
            return True
        return self._is_there(file)

    def _refuse_others(self, file: int) -> None:
        """Somebody's own file of this name is no lock, and not written to."""
        os.lseek(file, int(sys.platform == "win32"), os.SEEK_SET)  # where the first byte is locked
        if is_lock_text(os.read(file, 4096)):
            return
        self._stand_down()
        found = f"holds a file {self.path.name} that is not a lock of this program, and is not written to"
        raise MolSubError(self.path.parent, found, "Move that away, or choose another folder")

    def _is_there(self, file: int) -> bool:
        if sys.platform == "win32":  # which removes no open file
            return True
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(file), self.path.stat())
        return False

    def _without_locks(self, remedy: str, error: OSError) -> None:
        """A file that only one can make in the place of a lock."""
        try:
            own = os.open(self._alone, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                holder = self._alone.read_text(encoding="utf-8").strip()
                found = (
                    f"is in use by {holder or 'another program'}, or was until that was killed: the file system "
                    f"there has no locks ({error.strerror or error})"
                )
                way = f"{remedy}; if it no longer runs, remove {self._alone}"
                raise MolSubError(self._of, found, way) from None
            raise
        self._stands = True
        with contextlib.suppress(OSError):
            os.write(own, f"process {os.getpid()} on {platform.node()}".encode())
        os.close(own)

    def _stand_down(self) -> None:
        """Remove what stands for a lock, and never a file of this name that is somebody's own."""
        if self._stands:
            with contextlib.suppress(OSError):
                self._alone.unlink()
            self._stands = False

    def release(self, *, unused: bool = False, remove: bool = False) -> None:
        """Let others have it.

        Parameters
        ----------
        unused : bool
            Whether nothing came of it: where the folder holds nothing else, what was made for the lock goes.
        remove : bool
            Whether the file goes in any case, and folders that were made for it if they are empty.
        """
        if self._file is None:
            return
        alone = unused and self._new and {entry.name for entry in self.path.parent.iterdir()} <= self._names()
        if remove or alone:
            with contextlib.suppress(OSError):  # before it is unlocked: see _is_there
                self.path.unlink()
        self._stand_down()
        os.close(self._file)  # which unlocks it
        self._file = None
        if unused or remove:
            self._unmake()

    def _names(self) -> set[str]:
        return {self.path.name, self._alone.name}

    def _unmake(self) -> None:
        for folder in self._made:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()
        self._made = []

    def is_taken(self) -> bool:
        """Whether anybody holds it."""
        if self._file is not None:
            return True
        try:
            file = os.open(self.path, os.O_RDWR)
        except OSError:
            return False
        try:
            _lock(file)
        except OSError as error:
            return error.errno in _TAKEN or self._alone.exists()
        finally:
            os.close(file)
        return False

    def _holder(self) -> str:
        try:
            number = self.path.read_bytes()[1 : 1 + _PID_DIGITS].decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            number = ""
        return f"process {number}" if number.isdigit() else "another program"

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


@contextlib.contextmanager
def alone_in(folder: Path, *, writes: tuple[str, ...] = ()) -> Iterator[None]:
    """Keep other processes from writing their results to a folder while this one does.

    What killed processes left there is removed first. If the block fails, and nothing is in the folder that was made
    for it, the folder goes.

    Parameters
    ----------
    folder : Path
    writes : tuple of str
        Patterns of folders below, to which nobody writes without this lock.

    Raises
    ------
    MolSubError
        If another process writes there.
    """
    lock = Lock(folder / ".lock")
    lock.acquire("Wait for it to end, or choose another --out")
    try:
        for place in (folder, *(found for pattern in writes for found in folder.glob(pattern))):
            sweep(place)
        yield
    except BaseException:
        lock.release(unused=True)
        raise
    lock.release()


@contextlib.contextmanager
def alone_at(target: Path) -> Iterator[None]:
    """Keep other processes from making a file or folder that appears whole, while this one works on it.

    From the beginning of the work, so that none is in vain or lost. What killed processes left beside it is removed
    first. Of a link it is what it leads to.

    Raises
    ------
    MolSubError
        If another process works on it.
    """
    place = led_to(target)
    digits = hashlib.sha256(os.fsencode(place.name)).hexdigest()[:16]
    lock = Lock(place.with_name(f".molsub-{digits}.lock"), of=target)
    lock.acquire("Wait for it to end, or choose another --out")
    try:
        sweep(place.parent, of=place.name)
        yield
    finally:
        lock.release(remove=True)
