"""``molsub worker --job FOLDER``: one job in its own process, controlled through a folder. Standard library only.

::

    FOLDER/request.json    the job: id, job, options
    FOLDER/events.jsonl    its events, one JSON object a line; a new start appends to it
    FOLDER/cancel          request to end the job
    FOLDER/log.txt         what libraries print
    FOLDER/.lock           held while the job runs

No pipe leads to the process, so it outlives the program that started it. Killed at any moment it leaves whole lines;
started again in the same folder it resumes, if the job can.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

from MolSubCore.errors import MolSubError
from MolSubCore.files import read_json, write_text
from MolSubCore.lock import Lock
from MolSubCore.worker.protocol import LAST, Event, Request, read_event, read_request

REQUEST, EVENTS, CANCEL, LOG, LOCK = "request.json", "events.jsonl", "cancel", "log.txt", ".lock"

#: Seconds between two checks for `CANCEL`.
_INTERVAL = 0.2


def write_job(folder: Path, request: Request) -> None:
    """Make a job's folder, or give an ended one its next request; an old request to cancel is removed.

    Raises
    ------
    MolSubError
        If a job is running there.
    """
    if is_running(folder):
        raise MolSubError(folder, "holds a running job", "Cancel it first, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CANCEL).unlink(missing_ok=True)
    write_text(folder / REQUEST, request.line())


def cancel_job(folder: Path) -> None:
    """Ask the job to end; it ends with the event ``cancelled`` at a point from which it can resume."""
    write_text(folder / CANCEL, "")


def is_running(folder: Path) -> bool:
    """Whether a process works on the job; false after a kill, too."""
    return Lock(folder / LOCK).is_taken()


def new_events(folder: Path, offset: int = 0, limit: int | None = None) -> tuple[list[Event], int]:
    """Events that were appended since; whole lines only.

    Parameters
    ----------
    offset : int
        Bytes read before: what the last call returned.
    limit : int, optional
        Bytes to read now, for a program that must not wait; a longer line is read whole.

    Returns
    -------
    events : list of Event
    offset : int
        For the next call.
    """
    try:
        with (folder / EVENTS).open("rb") as file:
            file.seek(offset)
            data = file.read(-1 if limit is None else limit) + (file.readline() if limit else b"")
    except FileNotFoundError:
        return [], 0
    whole = data[: data.rfind(b"\n") + 1]
    return [read_event(line) for line in whole.decode("utf-8").split("\n") if line], offset + len(whole)


def run_job_folder(folder: Path) -> int:
    """Do the job of a folder in this process; return the exit code: 0 done, 1 failed, 2 bad input, 130 cancelled.

    Raises
    ------
    MolSubError
        Before anything is written: if there is no request, it cannot be read, or another process works on it.
    """
    if not (folder / REQUEST).is_file():
        raise MolSubError(folder, f"holds no {REQUEST}", "Give the folder of a job")
    with Lock(folder / LOCK) as lock:
        lock.acquire()
        request = _request(folder)
        with _detached(folder), _Lines(folder / EVENTS) as lines:
            return _run(request, folder, lines)


def _request(folder: Path) -> Request:
    request = read_request(json.dumps(read_json(folder / REQUEST)))
    if not isinstance(request, Request):
        raise MolSubError(folder / REQUEST, "is not a request", "Write id, job and options")
    return request


def _run(request: Request, folder: Path, lines: _Lines) -> int:
    from MolSubCore.worker.worker import Worker

    worker, ended = Worker(io.StringIO(), cast("TextIO", lines)), threading.Event()
    worker.expect(request)
    lines.write(Event("ready", values={"pid": os.getpid()}).line())

    def watch() -> None:
        while not (folder / CANCEL).exists():
            if ended.wait(_INTERVAL):
                return
        worker.cancel(request.id)

    if (folder / CANCEL).exists():
        worker.cancel(request.id)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        worker.run(request)
    finally:
        ended.set()
        watcher.join()
        (folder / CANCEL).unlink(missing_ok=True)
    last = lines.last
    if last is None or last.event not in LAST:
        return 1
    codes = {"done": 0, "cancelled": 130}
    return codes.get(last.event, 2 if last.values.get("bad_input") else 1)


@contextlib.contextmanager
def _detached(folder: Path) -> Iterator[None]:
    """Use nothing of the parent: its pipes and its terminal may close."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(os, "setsid") and not os.isatty(0):  # else Ctrl-C in the terminal of the parent would end it, too
        with contextlib.suppress(OSError):
            os.setsid()
    sys.stdout.flush()
    sys.stderr.flush()
    with Path(os.devnull).open("rb") as nothing, (folder / LOG).open("ab") as log:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    yield


class _Lines(io.TextIOBase):
    """A text stream in which every write is one line, appended at once and whole."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._file = os.open(path, flags, 0o666)
        self._cut()
        self.last: Event | None = None

    def _cut(self) -> None:
        """Remove an incomplete last line of a killed process."""
        size = end = os.fstat(self._file).st_size
        while end:
            start = max(end - 4096, 0)
            os.lseek(self._file, start, os.SEEK_SET)
            found = os.read(self._file, end - start).rfind(b"\n")
            end = start + found + 1
            if found >= 0:
                break
        if end < size:
            os.ftruncate(self._file, end)

    def write(self, text: str) -> int:
        """Append a line; on a full disk nothing of it stays."""
        data, size = text.encode("utf-8"), os.fstat(self._file).st_size
        try:
            if os.write(self._file, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), EVENTS)
        except OSError:
            os.ftruncate(self._file, size)
            raise
        self.last = read_event(text)
        return len(text)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._file)
            super().close()
