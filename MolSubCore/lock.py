"""A lock on a folder or a file, for one process at a time. Standard library only.

It is the operating system's own (flock, or LockFile on Windows): a killed process leaves nothing behind that would be
in the way. `filelock` does the same where the whole library is installed; this one is for the interpreter of
3D Slicer, too, where nothing may be.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from MolSubCore.errors import MolSubError

_PID_DIGITS = 20

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
        with contextlib.suppress(OSError):
            return _lock(file)
        time.sleep(0.05)
    return _lock(file)


class Lock:
    """Held from `acquire` to `release`, or to the end of the process; not handed down to child processes.

    Parameters
    ----------
    path : Path
        A file for the lock alone. It stays there; its content is the number of the process that holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def acquire(self, remedy: str = "Close it there first") -> None:
        """Take the lock; nothing happens where this object holds it already.

        Raises
        ------
        MolSubError
            If another process, or another object of this one, holds it. `remedy` is the way out.
        """
        if self._file is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _patiently(file)
        except OSError:
            os.close(file)
            raise MolSubError(self.path.parent, f"is in use by {self._holder()}", remedy) from None
        self._file = file
        with contextlib.suppress(OSError):  # on a full disk it is held all the same
            os.lseek(file, 1, os.SEEK_SET)
            os.write(file, f"{os.getpid():<{_PID_DIGITS}}".encode())

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            os.close(self._file)  # which unlocks it
            self._file = None

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
        except OSError:
            return True
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
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from writing their results to a folder while this one does.

    Raises
    ------
    MolSubError
        If another process writes there.
    """
    lock = Lock(folder / ".lock")
    lock.acquire("Wait for it to end, or choose another --out")
    try:
        yield
    finally:
        lock.release()
