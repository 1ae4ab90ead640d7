"""``molsub worker --job``: a process that nothing ties to its parent, and a folder that tells the truth."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from MolSubCore.errors import MolSubError
from MolSubCore.lock import Lock
from MolSubCore.worker.folder import cancel_job, is_running, new_events, write_job
from MolSubCore.worker.protocol import LAST, Event, Request

#: Runs a job folder in a process whose jobs are these.
_RUNNER = """
import os, sys, time
from pathlib import Path
from MolSubCore.__main__ import main
from MolSubCore.worker import worker

def sleep(options, progress):
    print("printed by a library")
    sys.stdin.read()
    for part in range(options["parts"]):
        progress(part / options["parts"], text="\\u2028 \\u00e4 \\U0001f600")
        time.sleep(0.01)
    return {"slept": options["parts"]}

def fail(options, progress):
    from MolSubCore.errors import MolSubError
    raise MolSubError("table", "is empty", "Fill it")

def count(options, progress):
    # Goes on where it was stopped.
    file = Path(options["file"])
    number = int(file.read_text()) if options.get("resume") and file.exists() else 0
    for number in range(number, 400):
        file.with_suffix(".tmp").write_text(str(number + 1))
        os.replace(file.with_suffix(".tmp"), file)
        progress(number / 400, number=number)
        time.sleep(0.005)
    return number + 1

worker.JOBS = {"sleep": sleep, "fail": fail, "count": count}
sys.exit(main(["worker", "--job", sys.argv[1]]))
"""


@pytest.fixture
def start() -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(folder: Path) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", _RUNNER, str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


def until(true: Callable[[], bool]) -> None:
    for _ in range(2400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


def events(folder: Path) -> list[Event]:
    return new_events(folder)[0]


def seen(folder: Path, kind: str) -> Callable[[], bool]:
    return lambda: any(event.event == kind for event in events(folder))


Start = Callable[[Path], "subprocess.Popen[bytes]"]


def test_events_come_in_order_and_end_with_the_last(tmp_path: Path, start: Start) -> None:
    write_job(tmp_path, Request("7", "sleep", {"parts": 30}))
    process = start(tmp_path)
    found: list[Event] = []
    offset = 0
    while process.poll() is None:  # as the panel polls
        more, offset = new_events(tmp_path, offset)
        found += more
        time.sleep(0.01)
    assert process.returncode == 0
    found += new_events(tmp_path, offset)[0]
    assert found == events(tmp_path)
    kinds = [event.event for event in found]
    assert kinds == ["ready", "started", *["progress"] * 30, "done"]
    assert found[0].values["pid"] == process.pid
    assert found[-1].values["result"] == {"slept": 30}
    assert found[5].values["text"] == "\u2028 \u00e4 \U0001f600"  # one line, whatever is in it
    assert process.communicate() == (b"", b"")
    assert "printed by a library" in (tmp_path / "log.txt").read_text()
    assert not is_running(tmp_path)


def test_it_outlives_its_parent_and_the_terminal(tmp_path: Path, start: Start) -> None:
    write_job(tmp_path, Request("7", "sleep", {"parts": 100}))
    process = start(tmp_path)
    until(seen(tmp_path, "progress"))
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe
        pipe.close()
    process.send_signal(signal.SIGHUP)
    assert os.getsid(process.pid) == process.pid  # Ctrl-C in the parent's terminal is not for it
    assert process.wait(30) == 0
    assert events(tmp_path)[-1].event == "done"


def test_cancel_and_a_second_start(tmp_path: Path, start: Start) -> None:
    options = {"file": str(tmp_path / "number"), "resume": True}
    write_job(tmp_path, Request("7", "count", options))
    process = start(tmp_path)
    until(seen(tmp_path, "progress"))
    cancel_job(tmp_path)
    assert process.wait(20) == 130
    first = events(tmp_path)
    assert first[-1].event == "cancelled"
    assert not (tmp_path / "cancel").exists()
    reached = int((tmp_path / "number").read_text())
    assert 0 < reached < 400
    write_job(tmp_path, Request("8", "count", options))
    assert start(tmp_path).wait(30) == 0
    again = events(tmp_path)[len(first) :]
    assert again[2].values["number"] == reached
    assert again[-1].values["result"] == 400
    assert {event.id for event in again[1:]} == {"8"}


def test_a_cancel_that_comes_before_the_start(tmp_path: Path, start: Start) -> None:
    write_job(tmp_path, Request("7", "sleep", {"parts": 1000}))
    cancel_job(tmp_path)
    assert start(tmp_path).wait(20) == 130
    assert [event.event for event in events(tmp_path)] == ["ready", "cancelled"]


def test_two_runners_refuse_each_other(tmp_path: Path, start: Start) -> None:
    write_job(tmp_path, Request("7", "sleep", {"parts": 10_000}))
    first = start(tmp_path)
    until(seen(tmp_path, "progress"))
    assert is_running(tmp_path)
    second = start(tmp_path)
    _, said = second.communicate(timeout=20)
    assert second.returncode == 2
    assert f"is in use by process {first.pid}" in said.decode()
    with pytest.raises(MolSubError, match="a running job"):
        write_job(tmp_path, Request("8", "sleep", {"parts": 1}))
    assert [event.event for event in events(tmp_path)].count("ready") == 1


def test_a_killed_one_leaves_whole_lines_and_no_lock(tmp_path: Path, start: Start) -> None:
    options = {"file": str(tmp_path / "number"), "resume": True}
    write_job(tmp_path, Request("7", "count", options))
    process = start(tmp_path)
    until(lambda: len(events(tmp_path)) > 20)
    process.kill()
    process.wait()
    assert not is_running(tmp_path)
    assert (tmp_path / "events.jsonl").read_bytes().endswith(b"\n")
    assert events(tmp_path)[-1].event not in LAST
    with (tmp_path / "events.jsonl").open("ab") as file:  # as a full disk or a fallen computer leaves it
        file.write(b'{"molsub": 1, "event": "prog' + b"x" * 9000)
    before, offset = new_events(tmp_path)
    assert new_events(tmp_path, offset) == ([], offset)  # half a line is none
    assert start(tmp_path).wait(30) == 0
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").split("\n")
    assert all(json.loads(line) for line in lines[:-1])
    assert events(tmp_path)[: len(before)] == before
    assert new_events(tmp_path, offset)[0][0].event == "ready"


def test_a_job_that_fails(tmp_path: Path, start: Start) -> None:
    write_job(tmp_path, Request("7", "fail"))
    assert start(tmp_path).wait(20) == 2
    assert events(tmp_path)[-1] == Event("failed", "7", {"message": "table: is empty. Fill it.", "bad_input": True})


@pytest.mark.parametrize(
    "content", [None, "", "[1]", '{"molsub": 2, "id": "1", "job": "x"}', '{"molsub": 1, "cancel": "1"}']
)
def test_requests_that_are_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "request.json").write_text(content)
    done = subprocess.run([sys.executable, "-m", "MolSubCore", "worker", "--job", str(tmp_path)], capture_output=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "events.jsonl").exists()


def test_a_lock_is_one_holders(tmp_path: Path) -> None:
    one, two = Lock(tmp_path / "x" / ".lock"), Lock(tmp_path / "x" / ".lock")
    assert not two.is_taken()
    with one:
        one.acquire()
        assert one.held
        assert two.is_taken()
        with pytest.raises(MolSubError, match=f"process {os.getpid()}"):
            two.acquire()
        assert not two.held
    assert not one.held
    two.acquire()
    two.release()
