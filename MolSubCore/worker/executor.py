"""Jobs of a study: on this computer by worker processes, or on a Slurm cluster as one job array through submitit.

A cluster needs a folder that its nodes can read. It holds the pickled jobs (and so the table's path), the logs, and one
file of events per job; it is removed when the jobs have ended. A killed program leaves it there, and the next one
continues to watch the jobs that are still in Slurm's queue.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from MolSubCore.errors import MolSubError, counted, explain_error
from MolSubCore.files import read_json, write_json
from MolSubCore.study.job import StudyJob
from MolSubCore.worker.protocol import LAST, Event, Request, read_event
from MolSubCore.worker.worker import Worker

Notify = Callable[[StudyJob, Event], None]

#: Environment variables that limit the threads of libraries; they are read when these are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

#: Seconds for a worker to end by itself once its input is closed.
_PATIENCE = 10.0


class WorkerDied(MolSubError):
    """A worker process that ended during a job."""


class WorkerProcess:
    """A worker and the pipes to it.

    Parameters
    ----------
    threads : int
        Processor threads that it may use.
    """

    def __init__(self, threads: int) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "MolSubCore", "worker", "--attached"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
            # Ctrl-C goes to the program, which closes the worker's input: so it ends in an orderly way.
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
        raise WorkerDied("worker", self._last_words(), "Run the command again to resume")

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
            how += " (as the system does when memory runs out)"
        return how + (f": {lines[-1].strip()}" if lines and code >= 0 else "")


def run_local(jobs: Sequence[StudyJob], workers: int, notify: Notify) -> dict[str, str]:
    """Do jobs on this computer, `workers` at a time; a failed job does not stop the others.

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
        Why jobs have no result, in one line each, by their keys.

    Raises
    ------
    KeyboardInterrupt
        Once all workers have ended; their progress is kept.
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
    # Only what a worker reported as done counts as done.
    return failed | {job.key: "was not started" for job in jobs if job.key not in done | failed.keys()}


class _Hand(threading.Thread):
    """Runs jobs from the queue in its worker; replaces a worker that died."""

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
            except Exception as error:  # any error is this job's, also a worker that cannot start
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
        """Drop a worker that does not respond; the next job gets a new one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            with contextlib.suppress(Exception):
                worker.close()

    def _do(self, job: StudyJob) -> Event:
        if self._worker is None or not self._worker.alive:
            self._worker = WorkerProcess(job.threads)
        try:
            return self._worker.run(Request(job.key, "study-fold", job.to_dict()), lambda event: self._tell(job, event))
        except ValueError as error:  # the worker died, wrote no event, or its pipe was closed
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


#: Name of our jobs in Slurm.
NAME = "molsub"

#: Times that a job which reached its time limit is put back into the queue.
TIMEOUTS = 3

#: A job counts as ended without a result after this many polls: network file systems show files late.
_LOOKS = 3

#: Seconds without an answer from Slurm before watching ends.
_SILENCE = 600.0

#: What Slurm's final states mean for a job without a result.
ENDED = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "cancelled by scancel",
    "COMPLETED": "ended without a result",
    "DEADLINE": "ended at its deadline",
    "FAILED": "failed",
    "NODE_FAIL": "its node was lost",
    "OUT_OF_MEMORY": "ran out of memory; request more, e.g. by SBATCH_MEM_PER_NODE in the environment",
    "PREEMPTED": "was preempted by another job",
    "REVOKED": "was revoked",
    "TIMEOUT": "ended at its time limit",
    "": "is no longer in Slurm's queue and has no result",
}


class NoAnswerError(Exception):
    """Slurm's controller cannot be reached."""


def events_file(folder: Path, job: StudyJob) -> Path:
    """File of a job's events, a JSON line each."""
    return folder / f"{job.key}.jsonl"


def job_states(names: Iterable[str]) -> dict[str, str]:
    """Slurm's state of each job that it still knows: waiting and running ones, and others for some minutes.

    ``sacct`` knows more, but many clusters keep no accounts.

    Parameters
    ----------
    names : iterable of str
        Slurm's job ids, such as ``17`` or ``17_4``.

    Raises
    ------
    NoAnswerError
    """
    arrays = ",".join(sorted({name.split("_")[0] for name in names}))
    if not arrays:
        return {}
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%j", f"--jobs={arrays}"]
    try:
        answer = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswerError(str(error)) from None
    if answer.returncode and "Invalid job id" not in answer.stderr:
        raise NoAnswerError((answer.stderr.strip().splitlines() or ["no reason given"])[-1])
    rows = (line.split("|") for line in answer.stdout.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == NAME}


class Watch:
    """Jobs from their submission to their end.

    Attributes
    ----------
    open : dict of str to StudyJob
        Those that have not ended, by their Slurm id.
    failed : dict of str to str
        Why ended jobs have no result, by key.
    """

    def __init__(self, jobs: dict[str, StudyJob], folder: Path, notify: Notify) -> None:
        self.open, self.failed = jobs, dict[str, str]()
        self._folder, self._notify = folder, notify
        self._read, self._over = Counter[str](), Counter[str]()
        self._answered = time.monotonic()

    def look(self) -> bool:
        """Report what is new; return whether any job has not ended.

        Raises
        ------
        NoAnswerError
            After `_SILENCE` without an answer.
        """
        states = self._asked()
        for name, job in list(self.open.items()):
            last = self._told(job)
            state = states.get(name, "") if states is not None else None
            if last is not None:
                self._end(name, last)
            elif state not in ENDED:
                self._over[name] = 0
            elif self._over[name] + 1 < _LOOKS:
                self._over[name] += 1
            else:
                self._end(name, self._verdict(name, job, str(state)))
        return bool(self.open)

    def cancel(self) -> int:
        """Cancel what has not ended; return the number of cancelled jobs."""
        cancelled = [name for name, job in self.open.items() if not job.finished]
        if cancelled:
            # submitit ignores SIGTERM. Training may be killed at any time and resumes from its last epoch.
            for option in ("--signal=KILL", "--quiet"):
                subprocess.run(["scancel", option, *cancelled], capture_output=True, check=False)
            with contextlib.suppress(NoAnswerError):
                for _ in range(20):
                    if ENDED.keys() >= set(job_states(cancelled).values()):
                        break
                    time.sleep(0.5)
        for name in cancelled:
            with contextlib.suppress(Exception):
                self._notify(self.open[name], Event("cancelled", self.open[name].key))
        return len(cancelled)

    def _asked(self) -> dict[str, str] | None:
        try:
            states = job_states(self.open)
        except NoAnswerError:
            if time.monotonic() - self._answered > _SILENCE:
                raise
            return None
        self._answered = time.monotonic()
        return states

    def _told(self, job: StudyJob) -> Event | None:
        """Pass on the job's new events; return its last one, if it has ended."""
        try:
            with events_file(self._folder, job).open("rb") as stream:
                stream.seek(self._read[job.key])
                whole, newline, _ = stream.read().rpartition(b"\n")
        except FileNotFoundError:
            return None
        self._read[job.key] += len(whole + newline)
        for line in whole.decode("utf-8", "replace").split("\n"):
            try:
                event = read_event(line)
            except MolSubError:  # part of a line of a killed process; the result decides
                continue
            if event.event in LAST:
                return event
            self._notify(job, event)
        return None

    def _verdict(self, name: str, job: StudyJob, state: str) -> Event:
        """The last event of a job that wrote none."""
        if job.finished:
            return Event("done", job.key)
        reason = ENDED[state]
        if state in ("FAILED", "COMPLETED"):
            reason += f": {self._log_tail(name)}"
        return Event("cancelled" if state == "CANCELLED" else "failed", job.key, {"message": reason})

    def _log_tail(self, name: str) -> str:
        try:
            log = (self._folder / f"{name}_0_log.err").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return "it left no log"
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        own = [line for line in lines if not line.startswith(("srun:", "slurmstepd:", "submitit "))]
        return (own or lines or ["its log is empty"])[-1]

    def _end(self, name: str, event: Event) -> None:
        job = self.open.pop(name)
        if event.event != "done":
            reason = str(event.values.get("message", event.event))
            if "timed-out too many times" in reason:  # submitit's message
                reason = f"ended at its time limit for the {TIMEOUTS + 1}th time"
            event = Event(event.event, job.key, {**event.values, "message": reason})
            self.failed[job.key] = reason
        self._notify(job, event)


_JOBS = "jobs.json"


class _Task:
    """What a node runs; requeued, it runs again and resumes from the last epoch."""

    def __call__(self, options: dict[str, Any], events: str) -> None:
        job = StudyJob(**options)
        with Path(events).open("a", encoding="utf-8") as stream:
            Worker(io.StringIO(), stream).run(Request(job.key, "study-fold", options))
        if not job.finished:
            sys.exit(1)

    def checkpoint(self, options: dict[str, Any], events: str) -> Any:
        """Called by submitit before the job is requeued: at a time limit, or when preempted."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, options, events)


def run_slurm(
    jobs: Sequence[StudyJob],
    notify: Notify,
    *,
    folder: Path,
    partition: str | None = None,
    at_once: int | None = None,
    timeout_min: int = 24 * 60,
    gpus: int = 0,
    poll: float = 5.0,
) -> dict[str, str]:
    """Do jobs on a Slurm cluster; a failed job does not stop the others.

    Account, quality of service, memory and the like are taken from sbatch's own environment variables, such as
    ``SBATCH_ACCOUNT``.

    Parameters
    ----------
    jobs : sequence of StudyJob
    notify : callable
        ``notify(job, event)``.
    folder : Path
        Made for these jobs, readable by the nodes, removed afterwards.
    partition : str, optional
        Default: the cluster's.
    at_once : int, optional
        Jobs that may run at a time; default: as many as the cluster allows.
    timeout_min : int
        Minutes after which a job is requeued and resumes; three times at most.
    gpus : int
        Of one job.
    poll : float
        Seconds between two polls.

    Returns
    -------
    dict of str to str
        Why jobs have no result, in one line each, by their keys.

    Raises
    ------
    MolSubError
        If submitit or Slurm is missing, Slurm refuses the jobs (before any runs), or does not answer any more (the jobs
        continue).
    KeyboardInterrupt
        Once the jobs are cancelled; their progress is kept.
    """
    check_names(folder, partition)
    submitit = _submitit()
    folder = folder.resolve()
    try:
        watch = Watch(_still_queued(jobs, folder), folder, notify)
        try:
            known = {job.key for job in watch.open.values()}
            if waiting := [job for job in jobs if job.key not in known]:
                folder.mkdir(parents=True, exist_ok=True)
                # Before any job, so that the folder is recognised as ours if this is killed.
                write_json(folder / _JOBS, {name: job.key for name, job in watch.open.items()})
                executor = submitit.SlurmExecutor(folder, max_num_timeout=TIMEOUTS)
                executor.update_parameters(**_parameters(waiting, partition, at_once, timeout_min, gpus))
                watch.open |= _submitted(executor, waiting, folder)
            write_json(folder / _JOBS, {name: job.key for name, job in watch.open.items()})
            while watch.look():
                time.sleep(poll)
        except NoAnswerError:
            raise
        except BaseException as error:
            count = watch.cancel()
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(f"Cancelled {counted(count, 'job')} in Slurm's queue.") from None
            raise
    except NoAnswerError as error:
        raise MolSubError("Slurm", f"does not answer ({error})", "Run the command again once it does") from None
    shutil.rmtree(folder, ignore_errors=True)
    return watch.failed


def check_names(folder: Path, partition: str | None) -> None:
    """Refuse names that would add lines to Slurm's script, or that Slurm would read differently.

    Raises
    ------
    MolSubError
        If the folder's path or the partition's name has a line break, another control character or a percent sign.
    """
    path = str(folder.resolve())
    if not path.isprintable() or "%" in path or '"' in path:
        found = "has a line break, a control character, a quotation mark or % in its path, which break Slurm's script"
        raise MolSubError(folder, found, "Choose another --out")
    if partition is not None and not re.fullmatch(r"[\w.+-]+(,[\w.+-]+)*", partition):
        raise MolSubError("--partition", f"is '{partition}', expected names of partitions", "See sinfo for their names")


def _submitit() -> Any:
    """The library; MolSubError where it or Slurm is missing."""
    try:
        import submitit
    except ImportError:
        remedy = "Install it with pip install 'molsubslicer[slurm]', or use --executor local"
        raise MolSubError("Slurm", "needs the package submitit", remedy) from None
    for name in ("sbatch", "srun", "squeue", "scancel"):
        if shutil.which(name) is None:
            remedy = "Go to a login node of the cluster, or use --executor local"
            raise MolSubError("Slurm", f"is not on this computer (no {name})", remedy)
    return submitit


def _parameters(
    jobs: Sequence[StudyJob], partition: str | None, at_once: int | None, timeout_min: int, gpus: int
) -> dict[str, Any]:
    threads = max(job.threads for job in jobs)
    return {
        "job_name": NAME,
        "time": timeout_min,
        "cpus_per_task": threads,
        "setup": [f"export {name}={threads}" for name in THREAD_VARIABLES],
        "array_parallelism": at_once or len(jobs),
        **({"partition": partition} if partition else {}),
        **({"gpus_per_node": gpus} if gpus else {}),
    }


def _submitted(executor: Any, jobs: Sequence[StudyJob], folder: Path) -> dict[str, StudyJob]:
    """Submit an array; the jobs by their Slurm id."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [events_file(folder, job) for job in jobs]
    for file in files:
        file.unlink(missing_ok=True)
    try:
        with _outside_any_job():
            sent = executor.map_array(_Task(), [job.to_dict() for job in jobs], list(map(str, files)))
    except (RuntimeError, OSError) as error:  # submitit's own errors, with what sbatch printed
        said = (str(error).strip().splitlines() or ["no reason given"])[-1]
        remedy = "Choose another --partition or --time-limit, or ask the cluster's administrators"
        raise MolSubError("Slurm", f"refused the jobs ({said})", remedy) from None
    return {slurm.job_id: job for slurm, job in zip(sent, jobs, strict=True)}


@contextlib.contextmanager
def _outside_any_job() -> Iterator[None]:
    """Hide the variables of a Slurm job that this program itself runs in; the cluster's configuration stays."""
    from submitit.helpers import clean_env

    configuration = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    with clean_env():
        os.environ.update(configuration)
        yield


def _still_queued(jobs: Sequence[StudyJob], folder: Path) -> dict[str, StudyJob]:
    """Unfinished jobs that an earlier, ended program submitted; otherwise the folder is emptied."""
    by_key = {job.key: job for job in jobs}
    stored = read_json(folder / _JOBS) if (folder / _JOBS).is_file() else {}
    earlier = {name: by_key[key] for name, key in stored.items() if key in by_key}
    states = job_states(earlier)
    queued = {name: job for name, job in earlier.items() if states.get(name, "") not in ENDED}
    if not queued and (folder / _JOBS).is_file():
        shutil.rmtree(folder, ignore_errors=True)
    if not queued and folder.is_dir() and any(folder.iterdir()):
        found = f"holds files that are not this program's (no {_JOBS}), and would be removed at the end"
        raise MolSubError(folder, found, "Move it away, or choose another --out")
    return queued
