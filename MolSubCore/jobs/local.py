"""Jobs on this computer: a few workers, each a process of its own that stays warm between its jobs."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any

from MolSubCore.errors import MolSubError, explain_error
from MolSubCore.jobs.schema import LAST, Event, Request, read_event
from MolSubCore.study.job import StudyJob

Notify = Callable[[StudyJob, Event], None]

#: Environment variables that cap the threads of the libraries underneath; they are read when those are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

#: Seconds for a worker to end by itself once its input is closed.
_PATIENCE = 10.0


class WorkerDied(MolSubError):
    """A worker process that ended in the middle of its work."""


class WorkerProcess:
    """A worker and the pipes to it.

    Parameters
    ----------
    threads : int
        Of the processor, for everything in it.
    """

    def __init__(self, threads: int) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "MolSubCore", "worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
            # Ctrl-C is for the program: it closes the worker's input, which ends it in order.
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def run(self, request: Request, heard: Callable[[Event], None]) -> Event:
        """Have a job done; return its last event.

        Raises
        ------
        WorkerDied
            If the process ends before the job does.
        """
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request.line())
            self._process.stdin.flush()
        for line in self._process.stdout:
            event = read_event(line)
            if event.id != request.id:
                continue
            heard(event)
            if event.event in LAST:
                return event
        raise WorkerDied("worker", self._last_words(), "Run the command again to go on")

    def close(self) -> None:
        """Close its input, which interrupts the job it has; kill it if that does not end it."""
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == -9:
            how += ", as the system does where memory runs out"
        return how + (f": {lines[-1].strip()}" if lines and code >= 0 else "")


def run_local(jobs: Sequence[StudyJob], workers: int, notify: Notify) -> dict[str, str]:
    """Do jobs on this computer, `workers` at a time; a job that fails does not keep the others from being done.

    Parameters
    ----------
    jobs : sequence of StudyJob
        Started in this order.
    workers : int
    notify : callable
        ``notify(job, event)``, from one thread at a time.

    Returns
    -------
    dict of str to str
        By key of the jobs without result, why in one line.

    Raises
    ------
    KeyboardInterrupt
        Once all workers have ended; what their jobs had reached is kept.
    """
    waiting: queue.SimpleQueue[StudyJob] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    crew = [_Hand(waiting, notify) for _ in range(min(workers, len(jobs)))]
    _Hand.telling = threading.Lock()
    for hand in crew:
        hand.start()
    try:
        for hand in crew:
            while hand.is_alive():
                hand.join(0.2)
    except BaseException:
        for hand in crew:
            hand.stopped = True
        for hand in crew:
            hand.stop()
        for hand in crew:
            hand.join()
        raise
    failed = {key: reason for hand in crew for key, reason in hand.failed.items()}
    done = {key for hand in crew for key in hand.done}
    # Nothing is taken as done that no worker has told to be.
    return failed | {job.key: "was not begun" for job in jobs if job.key not in done | failed.keys()}


class _Hand(threading.Thread):
    """Takes jobs from the queue and has its worker do them; a dead worker is replaced."""

    telling = threading.Lock()

    def __init__(self, waiting: queue.SimpleQueue[StudyJob], notify: Notify) -> None:
        super().__init__(daemon=True)
        self._waiting, self._notify = waiting, notify
        self._worker: WorkerProcess | None = None
        self.failed: dict[str, str] = {}
        self.done: set[str] = set()
        self.stopped = False

    def run(self) -> None:
        while not self.stopped:
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                break
            try:
                event = self._do(job)
            except Exception as error:  # whatever it is, it is this job's: the worker cannot be started, say
                event = Event("failed", job.key, {"message": explain_error(error)[0], "bad_input": False})
                self._give_up()
                with contextlib.suppress(Exception):
                    self._tell(job, event)
            if event.event == "done":
                self.done.add(job.key)
            else:
                self.failed[job.key] = str(event.values.get("message", event.event))
        if not self.stopped:
            self.stop()

    def _give_up(self) -> None:
        """Let go of a worker that cannot be talked to; the next job has a new one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            with contextlib.suppress(Exception):
                worker.close()

    def _do(self, job: StudyJob) -> Event:
        if self._worker is None or not self._worker.alive:
            self._worker = WorkerProcess(job.threads)
        try:
            return self._worker.run(Request(job.key, "study-fold", job.to_dict()), lambda event: self._tell(job, event))
        except ValueError as error:  # the worker died, said something else than events, or its pipe was closed
            event = Event("failed", job.key, {"message": str(error), "bad_input": False})
            if not self.stopped:
                self._give_up()
            self._tell(job, event)
            return event

    def _tell(self, job: StudyJob, event: Event) -> None:
        if not self.stopped:
            with _Hand.telling:
                self._notify(job, event)

    def stop(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()


def describe_failures(jobs: Sequence[StudyJob], failed: dict[str, str]) -> list[str]:
    """One line per job without a result."""
    titles: dict[str, Any] = {job.key: job.title for job in jobs}
    return [f"{titles[key]}: {reason}" for key, reason in failed.items()]
