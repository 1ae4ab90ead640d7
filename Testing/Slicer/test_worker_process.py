"""The worker as a real process: what it tells, how it dies, how it is ended."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from MolSubCore.worker.protocol import Event, Request
from ownjobs import write_jobs

Until = Callable[..., None]

#: Jobs of a real worker, put into its process before it starts.
_JOBS = r"""
import os, sys, time

def sleep(options, progress):
    for part in range(options["parts"]):
        progress(part / options["parts"], pid=os.getpid())
        time.sleep(0.01)
    return options["parts"]

def deaf(options, progress):
    # As a kernel that cannot be interrupted.
    progress(0.1, pid=os.getpid())
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass

def abort(options, progress):
    print("the last words of a library", file=sys.stderr, flush=True)
    os.abort()

def leave(options, progress):
    print("RuntimeError: DefaultCPUAllocator: can't allocate memory", file=sys.stderr, flush=True)
    os._exit(3)

def speak(options, progress):
    # Pieces that end within a character and within a line.
    events = _events()
    for byte in b'{"molsub": 1, "id": "1", "event": "progress", "text": "\xc3\xa4\xe2\x80\xa8\xff"}\n':
        os.write(events, bytes([byte]))
        time.sleep(0.002)
    return "\u2028 \U0001f600"

def _events():
    # The worker's own output, which it moved away from descriptor 1.
    import gc, io
    files = [each for each in gc.get_objects() if isinstance(each, io.TextIOWrapper) and not each.closed]
    return max(file.fileno() for file in files if file.writable())
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slicer_app: Any) -> Iterator[Any]:
    from MolSubSlicerLib.Compat import slicer_python
    from MolSubSlicerLib.Worker.WorkerProcess import WorkerProcess

    write_jobs(tmp_path, _JOBS, {name: name for name in ("sleep", "deaf", "abort", "leave", "speak")})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = WorkerProcess(slicer_python)
    yield made
    made.stop(wait=True)


class Told:
    """Events of jobs."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Any) -> None:
        self.events.append(event)

    def kinds(self, name: str) -> list[str]:
        return [event.event for event in self.events if event.id == name and event.event != "progress"]

    def last(self, name: str) -> Any:
        return [event for event in self.events if event.id == name][-1]

    def saw(self, name: str, kind: str) -> Callable[[], bool]:
        return lambda: any(event.id == name and event.event == kind for event in self.events)


def test_jobs_are_done_in_order_by_one_process(worker: Any, process_until: Until) -> None:
    told, states = Told(), []
    worker.state_changed.connect(lambda state, reason: states.append(state))
    for name in "123":
        worker.submit(Request(name, "sleep", {"parts": 3}), told)
    process_until(told.saw("3", "done"))
    assert [(event.id, event.event) for event in told.events if event.event in ("started", "done")] == [
        (name, kind) for name in "123" for kind in ("started", "done")
    ]
    assert {event.values["pid"] for event in told.events if event.event == "progress"} == {worker.pid}
    assert states == ["starting", *["ready", "busy"] * 3, "ready"]


def test_pieces_of_lines_and_of_characters_are_put_together(worker: Any, process_until: Until) -> None:
    told = Told()
    worker.submit(Request("1", "speak"), told)
    process_until(told.saw("1", "done"))
    texts = [event.values["text"] for event in told.events if event.event == "progress"]
    assert texts == ["\u00e4\u2028\ufffd"]  # one line; the byte that is no UTF-8 is replaced
    assert told.last("1").values["result"] == "\u2028 \U0001f600"


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("abort", ("signal 6 (SIGABRT)", "the last words of a library")),
        ("leave", ("out of memory", "can't allocate memory")),
    ],
)
def test_a_worker_that_dies_says_why_and_is_started_again(
    worker: Any, process_until: Until, job: str, words: tuple[str, ...]
) -> None:
    told = Told()
    worker.submit(Request("1", job), told)
    worker.submit(Request("2", "sleep", {"parts": 1}), told)
    process_until(lambda: worker.state == "died")
    assert told.kinds("1") == ["started", "failed"]
    assert told.kinds("2") == ["failed"]  # it waited: it is not lost in silence
    message = told.last("1").values["message"]
    assert all(word in message for word in (*words, "Restart worker"))
    assert message == worker.reason
    worker.submit(Request("3", "sleep", {"parts": 1}), told)
    process_until(told.saw("3", "done"))
    assert worker.reason == ""


def test_killed_from_outside(worker: Any, process_until: Until) -> None:
    told = Told()
    worker.submit(Request("1", "sleep", {"parts": 10_000}), told)
    process_until(told.saw("1", "progress"))
    os.kill(worker.pid, signal.SIGKILL)
    process_until(told.saw("1", "failed"))
    assert "signal 9" in worker.reason
    assert "memory" in worker.reason
    first = worker.pid
    worker.restart()
    process_until(lambda: worker.state == "ready")
    assert worker.pid not in (None, first)


def test_an_obedient_job_is_cancelled_and_the_process_stays(worker: Any, process_until: Until) -> None:
    told = Told()
    worker.submit(Request("1", "sleep", {"parts": 10_000}), told)
    worker.submit(Request("2", "sleep", {"parts": 1}), told)
    process_until(told.saw("1", "progress"))
    pid = worker.pid
    worker.cancel("1")
    process_until(told.saw("2", "done"))
    assert told.kinds("1") == ["started", "cancelled"]
    assert worker.pid == pid


def test_a_job_that_yields_is_ended_by_the_next_one_and_the_process_stays(worker: Any, process_until: Until) -> None:
    """A warm-up holds nobody up."""
    told = Told()
    for number, other in (("1", "2"), ("3", "4")):
        worker.submit(Request(number, "sleep", {"parts": 10_000}), told, yields=True)
        if number == "1":
            process_until(told.saw("1", "progress"))
        worker.submit(Request(other, "sleep", {"parts": 1}), told)
        process_until(told.saw(other, "done"))
        assert told.kinds(number)[-1] == "cancelled"
    assert {event.values["pid"] for event in told.events if event.event == "progress"} == {worker.pid}


def test_a_deaf_job_is_killed_and_takes_no_other_with_it(worker: Any, process_until: Until) -> None:
    from MolSubSlicerLib.Worker.WorkerProcess import CANCEL_TIME

    told = Told()
    worker.submit(Request("1", "deaf"), told)
    worker.submit(Request("2", "sleep", {"parts": 1}), told)
    process_until(told.saw("1", "progress"))
    pid = worker.pid
    worker.cancel("1")
    assert CANCEL_TIME <= 1500  # which leaves half a second of the promised two
    process_until(told.saw("1", "cancelled"), 10)
    assert told.kinds("1") == ["started", "cancelled"]
    process_until(told.saw("2", "done"))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_job_that_waits_is_cancelled_without_the_worker(worker: Any, process_until: Until) -> None:
    told = Told()
    worker.submit(Request("1", "sleep", {"parts": 1}), told)
    worker.cancel("1")
    assert told.kinds("1") == ["cancelled"]
    worker.submit(Request("2", "sleep", {"parts": 1}), told)
    process_until(told.saw("2", "done"))
    assert told.kinds("1") == ["cancelled"]


def test_what_cannot_be_started_or_is_no_worker(tmp_path: Path, process_until: Until, slicer_app: Any) -> None:
    from MolSubSlicerLib.Worker.WorkerProcess import WorkerProcess

    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho 'Welcome to another program'\nsleep 60\n")
    other.chmod(other.stat().st_mode | stat.S_IXUSR)
    for python, words in ((str(tmp_path / "none"), "cannot be started"), (str(other), "something else than events")):
        told, worker = Told(), WorkerProcess(lambda python=python: python)
        worker.submit(Request("1", "sleep"), told)
        process_until(told.saw("1", "failed"), 20)
        assert words in told.last("1").values["message"]
        assert worker.state == "died"
        worker.stop(wait=True)


def test_the_process_ends_with_its_input(worker: Any, process_until: Until) -> None:
    told = Told()
    worker.submit(Request("1", "sleep", {"parts": 10_000}), told)
    process_until(told.saw("1", "progress"))
    pid = worker.pid
    worker.stop(wait=True)
    assert told.kinds("1") == ["started", "failed"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def internet_sockets(pid: int) -> set[str]:
    """Sockets of a process that lead out of it, other than pipes."""
    links = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.add(str(entry.readlink()))
    own = {link[8:-1] for link in links if link.startswith("socket:[")}
    listed = "".join(Path(f"/proc/{pid}/net/{kind}").read_text() for kind in ("tcp", "tcp6", "udp", "udp6"))
    return {inode for inode in own if f" {inode} " in listed}


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs Linux's /proc")
def test_no_socket_is_opened(worker: Any, process_until: Until) -> None:
    told, before = Told(), internet_sockets(os.getpid())
    worker.submit(Request("1", "sleep", {"parts": 10_000}), told)
    process_until(told.saw("1", "progress"))
    assert internet_sockets(worker.pid) == set()
    assert internet_sockets(os.getpid()) == before
    with socket.create_server(("127.0.0.1", 0)):
        assert len(internet_sockets(os.getpid())) == len(before) + 1  # one would have been seen


def test_the_gui_stays_alive_while_a_job_runs(worker: Any, process_until: Until) -> None:
    """A timer of Qt is on time while the worker floods us with events; the load of other programs is allowed for."""
    import qt

    for attempt in range(3):
        told, ticks = Told(), []
        timer = qt.QTimer()
        timer.connect("timeout()", lambda ticks=ticks: ticks.append(time.monotonic()))
        worker.submit(Request(str(attempt), "sleep", {"parts": 150}), told)
        timer.start(10)
        process_until(told.saw(str(attempt), "done"))
        timer.stop()
        gaps = sorted(later - earlier for earlier, later in itertools.pairwise(ticks))
        assert len(gaps) > 20
        if gaps[-1] < 0.1:
            return
    raise AssertionError(f"the timer was {gaps[-1]:.3f} s late")


def test_why_a_process_ended() -> None:
    from MolSubSlicerLib.Worker.WorkerProcess import why_ended

    assert "SIGSEGV" in why_ended(11, True, [])
    assert "SIGSEGV" in why_ended(139, False, [])  # through a launcher
    told = why_ended(
        1, False, ["Loading", "error: [/opt/Slicer/bin/python-real] exit abnormally - Report the problem."]
    )
    assert told == "It crashed or was killed, likely for lack of memory. Last output: Loading"
    assert why_ended(1, False, ["x", "ValueError: no", ""]).endswith("Last output: ValueError: no")
    assert "memory" in why_ended(1, False, ["torch.OutOfMemoryError: CUDA out of memory."])


def test_lines_whatever_the_cuts() -> None:
    from MolSubSlicerLib.Worker.WorkerProcess import LineBuffer

    text = "a\r\n\u00e4\u2028b\n\n\U0001f600 end"
    data = text.encode()
    for size in range(1, len(data) + 1):
        buffer = LineBuffer()
        lines = [line for start in range(0, len(data), size) for line in buffer.feed(data[start : start + size])]
        assert lines == ["a", "\u00e4\u2028b", ""]
        assert buffer.rest() == "\U0001f600 end"


if sys.platform == "win32":
    pytest.skip("these tests send signals", allow_module_level=True)
