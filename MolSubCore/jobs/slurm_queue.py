"""Jobs in Slurm's queue, watched: what Slurm says of them, and what they tell themselves."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from MolSubCore.errors import MolSubError
from MolSubCore.jobs.local import Notify
from MolSubCore.jobs.schema import LAST, Event, read_event
from MolSubCore.study.job import StudyJob

#: Name of our jobs in Slurm.
NAME = "molsub"

#: Times that a job which reached its time limit is put back into the queue.
TIMEOUTS = 3

#: A job counts as ended without a result after so many looks: network file systems show files late.
_LOOKS = 3

#: Seconds without an answer from Slurm before the watch ends.
_SILENCE = 600.0

#: What Slurm's final states mean for a job without a result.
ENDED = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "cancelled by scancel",
    "COMPLETED": "ended without a result",
    "DEADLINE": "ended at its deadline",
    "FAILED": "failed",
    "NODE_FAIL": "its node was lost",
    "OUT_OF_MEMORY": "ran out of memory; ask for more, as with SBATCH_MEM_PER_NODE in the environment",
    "PREEMPTED": "made way for another job",
    "REVOKED": "was revoked",
    "TIMEOUT": "ended at its time limit",
    "": "is no longer in Slurm's queue and has no result",
}


class NoAnswerError(Exception):
    """Slurm's controller cannot be reached."""


def events_file(folder: Path, job: StudyJob) -> Path:
    """Where a job tells its events, a JSON line each."""
    return folder / f"{job.key}.jsonl"


def job_states(names: Iterable[str]) -> dict[str, str]:
    """Slurm's state of each job that it still knows: of those that wait and run, and for minutes of the others.

    ``sacct`` would know more, but many clusters keep no accounts.

    Parameters
    ----------
    names : iterable of str
        Numbers in Slurm, such as ``17`` or ``17_4``.

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
        raise NoAnswerError((answer.stderr.strip().splitlines() or ["no reason"])[-1])
    rows = (line.split("|") for line in answer.stdout.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == NAME}


class Watch:
    """Jobs from their submission to their end.

    Attributes
    ----------
    open : dict of str to StudyJob
        Those that are not over, by their number in Slurm.
    failed : dict of str to str
        Why those that are over have no result, by key.
    """

    def __init__(self, jobs: dict[str, StudyJob], folder: Path, notify: Notify) -> None:
        self.open, self.failed = jobs, dict[str, str]()
        self._folder, self._notify = folder, notify
        self._read, self._over = Counter[str](), Counter[str]()
        self._answered = time.monotonic()

    def look(self) -> bool:
        """Tell what is new; return whether any job is not over.

        Raises
        ------
        NoAnswerError
            After minutes of silence; a shorter one the jobs outlive.
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
        """Cancel what is not over; return how many jobs that were."""
        cancelled = [name for name, job in self.open.items() if not job.finished]
        if cancelled:
            # submitit ignores SIGTERM. Training may be killed at any moment and goes on from its last epoch.
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
        """Pass on what the job has told since the last look; return its last event, if it came to that."""
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
            except MolSubError:  # a part of a line that a killed process left: what counts is the result
                continue
            if event.event in LAST:
                return event
            self._notify(job, event)
        return None

    def _verdict(self, name: str, job: StudyJob, state: str) -> Event:
        """The last event of a job that could not tell one."""
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
            if "timed-out too many times" in reason:  # submitit's words
                reason = f"ended at its time limit for the {TIMEOUTS + 1}th time"
            event = Event(event.event, job.key, {**event.values, "message": reason})
            self.failed[job.key] = reason
        self._notify(job, event)
