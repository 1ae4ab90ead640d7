"""Jobs of a study on a real Slurm: all done, cancelled, failed, put back into the queue, orphaned, interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from coarse_cohort import make_coarse_cohort
from safetensors.numpy import load_file
from slurm import SlurmCluster

from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.files import read_json, write_json
from MolSubCore.study.job import StudyJob, run_fold
from MolSubCore.study.plan import Study, StudyOptions, plan_study
from MolSubCore.tasks import Subtype
from MolSubCore.worker.executor import run_slurm
from MolSubCore.worker.protocol import Event

#: So many that a job told to end after its first ones is far from its last.
EPOCHS = 60  # long enough for a cancel to arrive on a fast machine
POLL = 0.2

Act = Callable[[StudyJob, Event], None]


@dataclass
class Record:
    """What happened in one call."""

    failed: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)


def call(study: Study, jobs: list[StudyJob], act: Act, **options: int) -> Record:
    """Run jobs; `act` sees every event and may do what it likes at that moment."""
    record = Record()

    def notify(job: StudyJob, event: Event) -> None:
        record.events.append((job.key, event.event))
        act(job, event)

    record.failed = run_slurm(jobs, notify, folder=study.options.out / "slurm", poll=POLL, **options)  # type: ignore[arg-type]
    return record


def once(action: Callable[[StudyJob], None], chosen: StudyJob, epoch: int) -> Act:
    """Do something when the chosen job has reported this epoch, once."""
    done: list[int] = []

    def act(job: StudyJob, event: Event) -> None:
        if job == chosen and event.event == "progress" and event.values.get("epoch", 0) >= epoch and not done:
            done.append(1)
            action(job)

    return act


def number_of(job: StudyJob) -> str:
    """The job's number in Slurm."""
    names: dict[str, str] = read_json(Path(job.study) / "slurm" / "jobs.json")
    return next(name for name, key in names.items() if key == job.key)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two tasks, two folds, eight synthetic patients."""
    folder = tmp_path_factory.mktemp("slurm")
    counts = {Subtype.LUMINAL_A: 4, Subtype.TN: 4}
    table = make_coarse_cohort(folder / "cohort", counts=counts, seed=3, image_shape=(256, 208))
    settings = {"folds": 2, "epochs": EPOCHS, "device": "cpu", "precision": "fp32", "threads": 1, "test_share": 0.25}
    study = plan_study(
        StudyOptions(table, folder / "study", ("luminal", "tn"), ("simple-cnn",), cache=folder / "cache",
                     pretrained="none", settings=settings)
    )  # fmt: skip
    study.write()
    return study


@pytest.fixture(scope="module")
def undisturbed(study: Study) -> Path:
    """Result folder of the job that the tests disturb, done here and without Slurm."""
    copy = study.options.out.with_name("undisturbed")
    shutil.copytree(study.options.out, copy)
    job = replace(study.jobs[1], study=str(copy))
    run_fold(job.to_dict(), lambda done, **values: None)
    return job.folder


@pytest.fixture(scope="module")
def first(study: Study, undisturbed: Path, cluster: SlurmCluster) -> Record:
    """Three jobs: one is let alone, one is cancelled with scancel, one has a damaged plan."""
    alone, cancelled, damaged = study.jobs[:3]
    plan = damaged.folder.parent / "plan.json"
    write_json(plan, read_json(plan) | {"seed": 1})
    facts: dict[str, str] = {}

    def cancel(job: StudyJob) -> None:
        facts["job"] = cluster.ask("scontrol", "show", "job", number_of(job))
        facts["threads"] = node_variable(number_of(job), "OMP_NUM_THREADS")
        cluster.ask("scancel", number_of(job))

    record = call(study, [alone, cancelled, damaged], once(cancel, cancelled, 1), at_once=2)
    record.facts = facts
    return record


def node_variable(number: str, name: str) -> str:
    """A variable in the environment of a job's process."""
    array, index = number.split("_")
    marks = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={index}", "SUBMITIT_EXECUTOR=slurm"}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_text().split("\0")
        except OSError:
            continue
        if marks <= set(variables) and "SLURM_PROCID=0" in variables:
            return next((v.partition("=")[2] for v in variables if v.startswith(name + "=")), "")
    raise AssertionError(f"job {number} has no process")


def test_a_job_that_fails_or_is_cancelled_leaves_the_others_alone(study: Study, first: Record) -> None:
    alone, cancelled, damaged = study.jobs[:3]
    assert set(first.failed) == {cancelled.key, damaged.key}
    assert first.failed[cancelled.key] == "cancelled by scancel"
    assert "was made with another plan" in first.failed[damaged.key]
    assert "\n" not in first.failed[damaged.key]
    assert alone.finished and not cancelled.finished and not damaged.finished
    ends = {key: event for key, event in first.events if event not in ("started", "progress")}
    assert ends == {alone.key: "done", cancelled.key: "cancelled", damaged.key: "failed"}
    assert first.events.index((alone.key, "started")) < first.events.index((alone.key, "progress"))


def test_jobs_get_the_processors_that_they_ask_for(first: Record) -> None:
    assert "ArrayTaskThrottle=2" in first.facts["job"]
    assert "NumCPUs=1 " in first.facts["job"]
    assert first.facts["threads"] == "1"


def test_nothing_of_the_table_stays_in_the_study(study: Study, first: Record) -> None:
    assert not (study.options.out / "slurm").exists()
    words = [str(study.options.table), study.options.table.name, str(study.options.cache)]
    words += [case.patient_id for case in read_cohort(study.options.table).cases]
    for file in study.options.out.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not [word for word in words if word.encode() in content], file


@pytest.fixture(scope="module")
def second(study: Study, first: Record, cluster: SlurmCluster) -> Record:
    """The cancelled job again: the program is killed, the next one takes it over, a preemption puts it back."""
    job = study.jobs[1]
    reached = len((job.folder / "metrics.csv").read_text().splitlines()) - 1
    child = os.fork()
    if not child:
        try:
            call(study, [job], once(lambda job: os.kill(os.getpid(), signal.SIGKILL), job, 1))
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    facts = {"reached": str(reached), "orphan": number_of(job)}

    def preempt(job: StudyJob) -> None:
        facts["number"] = number_of(job)
        cluster.ask("scancel", "--signal=USR2", number_of(job))

    record = call(study, [job], once(preempt, job, reached + 1))
    record.facts = facts
    return record


def test_what_was_cancelled_is_finished_by_the_next_call(study: Study, first: Record, second: Record) -> None:
    job = study.jobs[1]
    assert second.failed == {}
    assert job.finished
    assert second.events[-1] == (job.key, "done")
    assert 1 <= int(second.facts["reached"]) < EPOCHS


def test_a_job_in_the_queue_is_taken_over_from_a_killed_program(second: Record) -> None:
    assert second.facts["orphan"] == second.facts["number"]


def test_a_preempted_job_is_put_back_into_the_queue(study: Study, second: Record) -> None:
    assert second.events.count((study.jobs[1].key, "started")) == 2


def test_a_disturbed_job_ends_as_an_undisturbed_one(study: Study, second: Record, undisturbed: Path) -> None:
    folder = study.jobs[1].folder
    for name in ("predictions.csv", "test_predictions.csv", "tta_predictions.csv", "done.json"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
    weights, expected = load_file(folder / "best.safetensors"), load_file(undisturbed / "best.safetensors")
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)


def test_an_interrupted_program_cancels_its_jobs(study: Study, cluster: SlurmCluster) -> None:
    job = study.jobs[3]

    def interrupt(job: StudyJob, event: Event) -> None:
        if event.event == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"Cancelled 1 job in Slurm's queue"):
        call(study, [job], interrupt)
    assert cluster.ask("squeue", "--noheader") == ""
    assert not job.finished
    assert not (study.options.out / "slurm").exists()


def test_slurm_may_refuse(study: Study, cluster: SlurmCluster) -> None:
    with pytest.raises(MolSubError, match=r"refused the jobs \(.*[Ii]nvalid partition.*--partition") as caught:
        run_slurm(study.jobs, lambda job, event: None, folder=study.options.out / "slurm", partition="nowhere")
    assert "\n" not in str(caught.value)
    assert not (study.options.out / "slurm").exists()
    assert cluster.ask("squeue", "--noheader") == ""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[StudyJob]:
    yield StudyJob("k", str(tmp_path), "tn", "simple-cnn", 1, "table.csv")
    assert list(tmp_path.iterdir()) == [], "something was written"


def test_without_submitit_it_says_what_to_install(job: StudyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MolSubError, match=r"submitit.*pip install 'molsubslicer\[slurm\]'"):
        run_slurm([job], lambda job, event: None, folder=Path(job.study) / "slurm")


def test_without_slurm_it_says_where_to_go(job: StudyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", job.study)
    with pytest.raises(MolSubError, match=r"no sbatch.*--executor local"):
        run_slurm([job], lambda job, event: None, folder=Path(job.study) / "slurm")
