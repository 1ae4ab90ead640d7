"""Jobs on a Slurm cluster: one job array through submitit, watched until it is done.

A cluster needs a folder that its nodes see. It holds the pickled jobs, and so the table's path, the logs, and one
file of events per job; it is removed when the jobs have ended. A program that was killed leaves it there, and the
next one goes on watching the jobs that are still in Slurm's queue.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from MolSubCore.errors import MolSubError
from MolSubCore.files import read_json, write_json
from MolSubCore.jobs.local import THREAD_VARIABLES, Notify
from MolSubCore.jobs.schema import Request
from MolSubCore.jobs.slurm_queue import ENDED, NAME, TIMEOUTS, NoAnswerError, Watch, events_file, job_states
from MolSubCore.jobs.worker import Worker
from MolSubCore.study.job import StudyJob

_JOBS = "jobs.json"


class _Task:
    """What a node does; put back into the queue, it does the same again and goes on from the last epoch."""

    def __call__(self, options: dict[str, Any], events: str) -> None:
        job = StudyJob(**options)
        with Path(events).open("a", encoding="utf-8") as stream:
            Worker(io.StringIO(), stream).run(Request(job.key, "study-fold", options))
        if not job.finished:
            sys.exit(1)

    def checkpoint(self, options: dict[str, Any], events: str) -> Any:
        """For submitit, before the job is put back into the queue: at a time limit, or for a more urgent job."""
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
    """Do jobs on a Slurm cluster; a job that fails does not keep the others from being done.

    What else a cluster asks for (account, quality of service, memory) is taken from sbatch's own variables in the
    environment, such as ``SBATCH_ACCOUNT``.

    Parameters
    ----------
    jobs : sequence of StudyJob
    notify : callable
        ``notify(job, event)``.
    folder : Path
        To make, for these jobs alone, and seen by the nodes; it is gone afterwards.
    partition : str, optional
        The cluster's default where none is given.
    at_once : int, optional
        Jobs that may run at a time; else as many as the cluster grants.
    timeout_min : int
        Minutes after which a job is put back into the queue, from which it goes on; three times at most.
    gpus : int
        Of one job.
    poll : float
        Seconds between two looks.

    Returns
    -------
    dict of str to str
        By key of the jobs without result, why in one line.

    Raises
    ------
    MolSubError
        If submitit or Slurm is not there, or Slurm refuses the jobs, before any runs; or if it falls silent, while
        the jobs go on.
    KeyboardInterrupt
        Once the jobs are cancelled; what they had reached is kept.
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
                # Before any job: the folder is known as ours, should this be killed.
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
                raise KeyboardInterrupt(f"{count} job(s) in Slurm's queue were cancelled.") from None
            raise
    except NoAnswerError as error:
        raise MolSubError("Slurm", f"does not answer ({error})", "Run the command again once it does") from None
    shutil.rmtree(folder, ignore_errors=True)
    return watch.failed


def check_names(folder: Path, partition: str | None) -> None:
    """Refuse what would write lines of its own into the script that Slurm runs, or be another file to Slurm.

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
    """The library, if it and Slurm are there."""
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
    """Submit an array; the jobs by their number in Slurm."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [events_file(folder, job) for job in jobs]
    for file in files:
        file.unlink(missing_ok=True)
    try:
        with _outside_any_job():
            sent = executor.map_array(_Task(), [job.to_dict() for job in jobs], list(map(str, files)))
    except (RuntimeError, OSError) as error:  # submitit's own errors, with what sbatch printed
        said = (str(error).strip().splitlines() or ["it does not say why"])[-1]
        remedy = "Choose another --partition or --time-limit, or ask who runs the cluster"
        raise MolSubError("Slurm", f"refused the jobs ({said})", remedy) from None
    return {slurm.job_id: job for slurm, job in zip(sent, jobs, strict=True)}


@contextlib.contextmanager
def _outside_any_job() -> Iterator[None]:
    """Hide the variables of the Slurm job that this program may itself be; the cluster's configuration stays."""
    from submitit.helpers import clean_env

    configuration = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    with clean_env():
        os.environ.update(configuration)
        yield


def _still_queued(jobs: Sequence[StudyJob], folder: Path) -> dict[str, StudyJob]:
    """Those that a program which is no more submitted and that are not over; of other jobs, the folder is emptied."""
    by_key = {job.key: job for job in jobs}
    stored = read_json(folder / _JOBS) if (folder / _JOBS).is_file() else {}
    earlier = {name: by_key[key] for name, key in stored.items() if key in by_key}
    states = job_states(earlier)
    queued = {name: job for name, job in earlier.items() if states.get(name, "") not in ENDED}
    if not queued and (folder / _JOBS).is_file():
        shutil.rmtree(folder, ignore_errors=True)
    if not queued and folder.is_dir() and any(folder.iterdir()):
        found = f"holds something else than jobs of this program (no {_JOBS}), and would be removed at the end"
        raise MolSubError(folder, found, "Move it away, or choose another --out")
    return queued
