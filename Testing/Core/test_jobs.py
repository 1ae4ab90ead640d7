"""Messages to and from a worker, and the worker itself as a process."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MolSubCore.errors import MolSubError
from MolSubCore.worker import worker as worker_module
from MolSubCore.worker.jobs import JOBS
from MolSubCore.worker.protocol import LAST, Cancel, Event, Request, read_event, read_request, request_id
from MolSubCore.worker.worker import Worker

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.text(), st.text(), st.dictionaries(st.text(), PLAIN, max_size=4))
def test_a_request_comes_back_as_it_was(name: str, job: str, options: dict[str, Any]) -> None:
    line = Request(name, job, options).line()
    assert line.endswith("\n")
    assert "\n" not in line[:-1]  # one message, one line, whatever is in it
    assert read_request(line) == Request(name, job, options)
    assert read_request(Cancel(name).line()) == Cancel(name)


@given(st.sampled_from(["ready", "started", "progress", "done", "failed", "cancelled"]), PLAIN)
def test_an_event_comes_back_as_it_was(kind: Any, value: Any) -> None:
    event = Event(kind, "7", {"result": value})
    assert read_event(event.line()) == event


@given(st.text(max_size=40))
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    for read in (read_request, read_event):
        with pytest.raises(MolSubError) as caught:
            read(text)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        {"molsub": 2, "id": "1", "job": "x"},
        {"molsub": 1, "id": 1, "job": "x"},
        {"molsub": 1},
        [1],
        {"molsub": 1, "id": "1", "job": "warm", "option": {}},
        {"molsub": 1, "cancel": "1", "id": "1"},
    ],
)
def test_wrong_messages(content: Any) -> None:  # fmt: skip
    with pytest.raises(MolSubError, match="message"):
        read_request(json.dumps(content))


def test_a_message_that_is_no_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Event("progress", "1", {"done": float("nan")}).line()


class _Pipe(io.TextIOBase):
    """Lines that the worker reads when they are put in, until it is closed."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._ready = threading.Condition()
        self._ended = False

    def put(self, line: str) -> None:
        with self._ready:
            self._lines.append(line)
            self._ready.notify()

    def end(self) -> None:
        with self._ready:
            self._ended = True
            self._ready.notify()

    def __iter__(self) -> _Pipe:
        return self

    def __next__(self) -> str:
        with self._ready:
            self._ready.wait_for(lambda: self._lines or self._ended, timeout=20)
            if self._lines:
                return self._lines.pop(0)
            raise StopIteration


#: A worker that waits, and tells so.
SLEEPER = """
import sys, time
from MolSubCore.worker import worker
def wait(options, progress):
    end = time.monotonic() + {seconds}
    while time.monotonic() < end:
        progress(0.5)
        time.sleep(0.05)
worker.JOBS = {{'wait': wait}}
from MolSubCore.__main__ import main
sys.exit(main({options}))
"""


def _sleep(options: dict[str, Any], progress: Any) -> str:
    for part in range(1000):
        progress(part / 1000)
        time.sleep(0.02)
    return "slept"


def _fail(options: dict[str, Any], progress: Any) -> None:
    raise MolSubError("lesion", "is empty", "Outline it") if options["bad"] else RuntimeError("two\nlines")


@pytest.fixture
def own_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {"sleep": _sleep, "fail": _fail}
    monkeypatch.setattr(worker_module, "JOBS", jobs)


def _events(written: io.StringIO) -> list[Event]:
    return [read_event(line) for line in written.getvalue().splitlines()]


@pytest.mark.usefixtures("own_jobs")
def test_failures_are_one_line_and_the_worker_goes_on() -> None:
    pipe, written = _Pipe(), io.StringIO()
    for line in ("\n", " \r\n", "garbage\n",
                 Request("1", "fail", {"bad": True}).line(), Request("2", "fail", {"bad": False}).line(),
                 Request("3", "unknown").line()):  # fmt: skip
        pipe.put(line)

    def end_after_all() -> None:
        for _ in range(200):
            if '"id": "3"' in written.getvalue() and written.getvalue().count("failed") == 4:
                break
            time.sleep(0.05)
        pipe.end()

    threading.Thread(target=end_after_all).start()
    Worker(pipe, written).serve()
    failed = {event.id: event.values for event in _events(written) if event.event == "failed"}
    assert failed[""]["message"].startswith("message: is not a JSON object")
    assert failed["1"] == {"message": "lesion: is empty. Outline it.", "bad_input": True}
    assert failed["2"]["message"].startswith("internal error: RuntimeError: two lines.")
    assert not failed["2"]["bad_input"]
    assert failed["3"]["message"] == "job: unknown value 'unknown'. Choose one of sleep, fail."


def _give(options: dict[str, Any], progress: Any) -> Any:
    progress(0.5, loss=float("nan"))
    return options["value"] if "value" in options else {"value": float("inf")}


@pytest.mark.usefixtures("own_jobs")
def test_every_request_has_its_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no UTF-8, halves of characters, numbers without end: in what is asked and in what is answered."""
    monkeypatch.setitem(worker_module.JOBS, "give", _give)  # type: ignore[arg-type]
    lines = [
        b'{"molsub": 1, "id": "1", "job": "give", "options": {"value": "M\xfcller"}}',
        b'{"molsub": 1, "id": "2", "job": "give", "options": {"value": "\\ud800 M\\udcfcller"}}',
        b'{"molsub": 1, "id": "3", "job": "give", "options": {"value": [1e999]}}',
        b'{"molsub": 1, "id": "4", "job": "give"}',
        b'{"molsub": 1, "id": "5", "job": 5}',
        b'{"molsub": 1, "id": "6", "job": "give", "options": {"value": "last"}}',
    ]
    requests = io.TextIOWrapper(io.BytesIO(b"\n".join(lines) + b"\n"), encoding="utf-8", errors="surrogateescape")
    written = io.StringIO()
    worker = Worker(requests, written)
    assert not worker.serve()
    assert written.getvalue().isascii()
    last = {event.id: event for event in _events(written) if event.event in LAST}
    assert "not UTF-8" in last["1"].values["message"] and last["1"].values["bad_input"]
    assert last["2"].values == {"result": "\ud800 M\udcfcller"}  # the latter as Python names such a file
    assert [last[name].event for name in "123456"] == ["failed", "done", "failed", "failed", "failed", "done"]
    assert "infinite" in last["3"].values["message"] and last["3"].values["bad_input"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (r'{"molsub": 1, "id": "7", "job": "x", "options": {"a": [1', "7"),
        (r'{"id": "a \"b\" \u00fc", "options": {"id": "8"}, oops', 'a "b" ü'),
        (r'{"molsub": 1, "job": "x", "id": 9, "options": {', "9"),
        (r'{"molsub": 1, "id": 9, "job": "x"}', "9"),
        (r'{"molsub": 1, "options": {"id": "8"}, "id": "7", oops', ""),  # not to be told from one within
        (r'{"molsub": 1, "options": {"id": "8"', ""),
        ('\ufeff{"molsub": 2, "id": "7"}', "7"),
        ('{"id": "7', ""),
        (r'{"id": "\x", ', ""),
        ("[7]", ""),
    ],
)
def test_a_request_that_cannot_be_read_is_answered_under_its_id(line: str, name: str) -> None:
    assert request_id(line) == name
    with pytest.raises(MolSubError):
        read_request(line)


def test_a_byte_order_mark_is_no_part_of_a_message() -> None:
    assert read_request("\ufeff" + Request("1", "warm").line()) == Request("1", "warm")


def test_an_id_that_was_cancelled_may_be_used_again() -> None:
    written = io.StringIO()
    worker, requests = Worker(io.StringIO(), written), [Request("1", "unknown") for _ in range(4)]
    worker.cancel("1")  # nobody waits for it
    for request in requests[:2]:
        worker.expect(request)
    worker.cancel("1")
    for request in requests:
        worker.run(request)
    worker.cancel("1")
    last = [event.event for event in _events(written) if event.event in LAST]
    assert last == ["cancelled", "cancelled", "failed", "failed"]


@pytest.mark.parametrize(
    ("job", "options", "told"),
    [
        ("study-fold", {}, "study-fold: lacks the option key"),
        ("study-fold", {"key": "k", "study": "s", "task": "tn", "model": "m", "fold": True, "table": "t"}, "fold"),
        ("study-fold", {"key": "k", "study": "s", "task": "tn", "model": "m", "fold": 1, "table": "t", "x": 1}, "'x'"),
        ("predict", {"bundle": "b", "out": "{out}", "images": [], "devise": "cuda"}, "'devise'. Did you mean device?"),
        ("predict", {"bundle": "b", "out": "{out}", "images": [{"image": "a", "lesion": "b"}]}, "'lesion' of image 1"),
        (
            "report",
            {"bundle": "b", "images": [], "outt": "{out}"},
            "Known options: bundle, classes, clinical, device, identified",
        ),
        ("agreement", {"pairs": [{"image": "a", "one": "b"}]}, "'one' of pair 1"),
        ("agreement", {"pairs": [], "out": "{out}"}, "'out'"),
        ("agreement", {"image": "a", "first": "b", "second": "c", "rule": "union"}, "'rule'"),
        ("predict", {"bundle": "b", "out": "{out}", "images": [{}]}, "lacks the option image of image 1"),
        ("report", {"bundle": "b", "out": "{out}", "images": [{"image": "a"}]}, "lacks the option lesions of image 1"),
        ("agreement", {"pairs": [{"first": "a"}], "consensus": "first"}, "agreement: lacks the option image"),
    ],
)
def test_a_request_that_lacks_something_or_has_more_is_bad_input(
    tmp_path: Path, job: str, options: dict[str, Any], told: str
) -> None:
    written = io.StringIO()
    given = {name: str(tmp_path / "out") if value == "{out}" else value for name, value in options.items()}
    Worker(io.StringIO(), written).run(Request("1", job, given))
    values = _events(written)[-1].values
    assert values["bad_input"] and told in values["message"]


@pytest.mark.parametrize("job", JOBS)
def test_no_job_takes_an_option_that_it_does_not_know(tmp_path: Path, job: str) -> None:
    """Not even beside all that it needs: a misspelt device would be another one, and nobody would know."""
    needed = ("bundle", "checkpoint", "first", "image", "lesions", "out", "path", "run", "second", "table", "task")
    written = io.StringIO()
    for others in ({}, dict.fromkeys(needed, str(tmp_path / "none"))):
        Worker(io.StringIO(), written).run(Request("1", job, {**others, "devise": "cuda"}))
        values = _events(written)[-1].values
        assert values["bad_input"]
        assert re.match(rf"{job}: (has the unknown option '(?!device)|lacks the option key)", values["message"])


_TRUTHS = ("identified", "overwrite", "resume", "same_patient", "trust_ids")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, text) for name in _TRUTHS for text in ("false", "no", 0, [True])),
        *(("classes", value) for value in (7, -1, True, {}, [7], "a\0")),
        ("export_fold", ["best"]),
    ],
)
def test_an_option_of_another_kind_is_bad_input_and_named(name: str, value: Any) -> None:
    """The text "false" counted as true: of `identified`, it wrote a result with the ids of lesions."""
    for job in JOBS:
        written = io.StringIO()
        Worker(io.StringIO(), written).run(Request("1", job, {name: value}))
        values = _events(written)[-1].values
        assert values["bad_input"] and f"invalid value of the option {name} (" in values["message"]
        assert ("Give true or false" in values["message"]) == (name in _TRUTHS)


def test_every_option_of_a_job_that_is_true_or_false_is_checked_as_such() -> None:
    """All that a job reads with bool() are among those that the test above tries."""
    sources = [path.read_text(encoding="utf-8") for path in Path(worker_module.__file__).parent.glob("*.py")]
    read = {name for source in sources for name in re.findall(r'bool\(options\.get\("(\w+)"\)\)', source)}
    assert read <= set(_TRUTHS) and "identified" in read


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_for_the_worker_ends_it_with_its_job(name: str) -> None:
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here, as under nohup")
    script = SLEEPER.format(seconds=60, options=["worker"])
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write((Request("1", "wait").line() + Request("2", "wait").line()).encode())
        process.stdin.flush()
        heard = [read_event(process.stdout.readline().decode()).event for _ in range(2)]
        assert heard == ["ready", "started"]
        process.send_signal(getattr(signal, name))
        rest = [read_event(line.decode()).event for line in process.stdout]
        assert [event for event in rest if event != "progress"] == ["cancelled"]
        assert process.wait(20) == 130


@pytest.fixture
def restored_interrupts() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("own_jobs")
@pytest.mark.parametrize("how", ["cancel", "end"])
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_a_job_is_cancelled_within_a_moment(how: str, handler: Any, restored_interrupts: None) -> None:
    """Also where the process was started in the background of a shell, which has it ignore interrupts."""
    signal.signal(signal.SIGINT, handler)
    pipe, written = _Pipe(), io.StringIO()
    pipe.put(Request("1", "sleep").line())

    def later() -> None:
        time.sleep(0.3)
        if how == "cancel":
            pipe.put(Cancel("1").line())
            time.sleep(0.3)
        pipe.end()

    threading.Thread(target=later).start()
    Worker(pipe, written, attached=True).serve()
    events = _events(written)
    assert [event.event for event in events if event.event != "progress"] == ["ready", "started", "cancelled"]
    assert 0 < len([event for event in events if event.event == "progress"]) < 100


def test_the_process_keeps_its_output_clean() -> None:
    """Whatever is printed goes to standard error; the output is events only; the end of the input ends it."""
    lines = "nonsense\n" + Request("1", "study-fold", {"wrong": 1}).line()
    done = subprocess.run(
        [sys.executable, "-m", "MolSubCore", "worker"], input=lines, capture_output=True, text=True, timeout=120
    )
    events = [read_event(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2
    assert [event.event for event in events] == ["ready", "failed", "started", "failed"]


@pytest.mark.parametrize("attached", [(), ("--attached",)])
def test_the_end_of_the_input_cancels_only_for_who_asks_for_it(attached: tuple[str, ...]) -> None:
    """A file of requests is done to its end; a program that dies leaves no worker behind."""
    script = SLEEPER.format(seconds=0.5, options=["worker", *attached])
    lines = Request("1", "wait").line() + Request("2", "wait").line()
    done = subprocess.run([sys.executable, "-c", script], input=lines, capture_output=True, text=True, timeout=60)
    last = [(event.id, event.event) for event in map(read_event, done.stdout.splitlines()) if event.event in LAST]
    assert last == [("1", "cancelled" if attached else "done"), ("2", "cancelled" if attached else "done")]
    assert done.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_worker_whose_output_nobody_reads_ends() -> None:
    script = SLEEPER.format(seconds=60, options=["worker"])
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(Request("1", "wait").line().encode())
        process.stdin.flush()
        assert [read_event(process.stdout.readline().decode()).event for _ in range(3)] == [
            "ready",
            "started",
            "progress",
        ]
        process.stdout.close()
        assert process.wait(20) == 130
