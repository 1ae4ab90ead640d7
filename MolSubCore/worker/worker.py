"""``molsub worker``: a process that runs jobs for a program and stays warm between them."""

from __future__ import annotations

import _thread
import math
import os
import queue
import signal
import sys
import threading
from typing import Any, TextIO

from MolSubCore.errors import MolSubError, explain_error
from MolSubCore.worker.environment import distribution_of, version_of
from MolSubCore.worker.jobs import JOBS
from MolSubCore.worker.protocol import Cancel, Event, EventKind, Request, check_kinds, read_request, request_id
from MolSubCore.worker.signals import on_end


class Worker:
    """Reads requests, runs them one after another, writes events.

    Cancelling a job interrupts it as Ctrl-C does, so that jobs end at a point from which they can resume.

    Parameters
    ----------
    requests, events : TextIO
        When the reader of the events is gone, the worker ends, and so does its job.
    attached : bool
        Whether the end of the input means that the program that sends the requests is gone or wants no more: the job
        is cancelled. Else all that was received is done first.
    """

    def __init__(self, requests: TextIO, events: TextIO, *, attached: bool = False) -> None:
        self._requests, self._events, self._attached = requests, events, attached
        self._queue: queue.Queue[Request | None] = queue.Queue()
        self._lock = threading.Lock()
        self._running = ""
        self._waiting: list[Request] = []
        self._cancelled: list[Request] = []  # of those that wait: a later request may have the same id
        self._ending = False
        self._failed = False
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # A process started in the background of a shell ignores interrupts, and so every cancel.
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def serve(self) -> bool:
        """Run jobs until the input ends; whether no request failed."""
        self._emit("ready", pid=os.getpid())
        threading.Thread(target=self._read, daemon=True).start()
        while (request := self._queue.get()) is not None:
            self.run(request)
            if self._ending:  # the interrupt was for the process, not the job
                raise KeyboardInterrupt
        return not self._failed

    def end(self, *_signal: Any) -> None:
        """End the job and the process; as a handler of signals, on the main thread."""
        self._ending = True
        raise KeyboardInterrupt

    def _read(self) -> None:
        try:
            for line in self._requests:
                if line.strip().removeprefix("\ufeff"):  # blank lines part messages, as some programs write them
                    self._take(line)
        except (OSError, ValueError):  # the pipe is gone
            pass
        finally:  # even after an error: the worker must not wait for ever
            if self._attached:
                with self._lock:
                    self._cancelled += self._waiting
                    if self._running:
                        _thread.interrupt_main()
            self._queue.put(None)

    def _take(self, line: str) -> None:
        """Take a line of the input; report what is wrong with it."""
        try:
            message = read_request(line)
        except Exception as error:
            text, _ = explain_error(error)
            self._failed = True
            self._emit("failed", request_id(line), message=text, bad_input=True)
            return
        if isinstance(message, Cancel):
            self.cancel(message.id)
        else:
            self.expect(message)
            self._queue.put(message)

    def expect(self, request: Request) -> None:
        """Register a job that `run` will be called for, so that it can be cancelled before."""
        with self._lock:
            self._waiting.append(request)

    def cancel(self, name: str) -> None:
        """Interrupt the job of this id, or keep it from starting; from any thread."""
        with self._lock:
            self._cancelled += [request for request in self._waiting if request.id == name]
            if name == self._running:
                _thread.interrupt_main()

    def run(self, request: Request) -> None:
        """Do one job; its last event reports the outcome."""
        try:
            with self._lock:
                self._waiting = [other for other in self._waiting if other is not request]
                if any(other is request for other in self._cancelled):
                    self._cancelled = [other for other in self._cancelled if other is not request]
                    raise KeyboardInterrupt
                self._running = request.id
            self._emit("started", request.id)
            result = self._call(request)
            with self._lock:
                self._running = ""
            self._emit("done", request.id, result=result)
        except KeyboardInterrupt:
            self._running = ""
            self._emit("cancelled", request.id)
        except Exception as error:
            self._running = ""
            message, code = explain_error(error)
            self._failed = True
            self._emit("failed", request.id, message=message, bad_input=code == 2)

    def _call(self, request: Request) -> Any:
        if request.job not in JOBS:
            raise MolSubError("job", f"unknown value '{request.job}'", f"Choose one of {', '.join(JOBS)}")
        check_kinds(request.job, request.options)

        def progress(done: float, **values: Any) -> None:
            self._emit("progress", request.id, **_finite({"done": done, **values}))

        try:
            return JOBS[request.job](request.options, progress)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("MolSubCore"):
                raise
            package = distribution_of(error.name.partition(".")[0])
            version = version_of(package)
            state = "is not installed" if version is None else f"{version} is too old or damaged"
            found = f"{state} in the Python {sys.executable}"
            raise MolSubError(package, found, "Open the panel Set-up and press Install") from error

    def _emit(self, event: EventKind, name: str = "", **values: Any) -> None:
        line = Event(event, name, values).line()  # a result that is not JSON makes the job fail
        try:
            self._events.write(line)
            self._events.flush()
        except (BrokenPipeError, ValueError):  # nobody listens
            if not self._ending:
                self._ending = True
                _thread.interrupt_main()


def _finite(values: Any) -> Any:
    """Progress with null for numbers that JSON does not have: a loss that is NaN must not end the job."""
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    return None if isinstance(values, float) and not math.isfinite(values) else values


def serve_standard_streams(*, attached: bool = False) -> bool:
    """Serve over standard input and output; what libraries print goes to standard error. The rest as of `Worker`."""
    # Beside another program that computes, spinning threads of GNU OpenMP block each other: a prediction took ten
    # seconds instead of one. Read when PyTorch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    # A byte that is not UTF-8 makes one request fail; it does not end the input.
    worker = Worker(os.fdopen(0, encoding="utf-8", errors="surrogateescape"), events, attached=attached)
    on_end(worker.end)
    return worker.serve()
