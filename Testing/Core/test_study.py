"""``molsub study``: the plan, its jobs, and what happens when they are stopped, repeated, extended or fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coarse_cohort import make_coarse_cohort
from command_line import failing

from MolSubCore.__main__ import main
from MolSubCore.evaluation import evaluate
from MolSubCore.files import read_json
from MolSubCore.report.items import Picture
from MolSubCore.statistics.scores import read_predictions
from MolSubCore.study import faithfulness, finish
from MolSubCore.study.job import StudyJob
from MolSubCore.tasks import Subtype
from MolSubCore.worker.executor import run_local

COUNTS = {Subtype.LUMINAL_A: 3, Subtype.LUMINAL_B: 3, Subtype.HER2_HR_POSITIVE: 4, Subtype.TN: 5}
PLAN = ["--folds", "2", "--epochs", "2", "--pretrained", "none", "--test-share", "0.25", "--threads", "1"]
TASKS = ["--tasks", "luminal", "tn", "--architectures", "simple-cnn"]
#: For tests of what becomes of jobs, where a second task would show nothing more.
ONE_TASK = ["--tasks", "luminal", "--architectures", "simple-cnn"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cohort, and a study of two tasks on it."""
    folder = tmp_path_factory.mktemp("study")
    make_coarse_cohort(folder / "cohort", counts=COUNTS, seed=3, image_shape=(256, 208))
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr(faithfulness, "_PLAN", replace(faithfulness._PLAN, faithful=1, randomised=1))
        assert main(command(folder, "study", *TASKS, "--clinical", "age")) == 0
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure and no heatmap: those of the fixture's study are enough. Jobs, numbers, tables and page are made."""
    monkeypatch.setattr(evaluate, "draw_evaluation", lambda path, *found: None)
    monkeypatch.setattr(Picture, "write", lambda picture, folder: "")
    monkeypatch.setattr(finish, "_heatmaps", lambda study, run: [])


def command(folder: Path, out: str, *more: str) -> list[str]:
    table, cache = str(folder / "cohort" / "table.csv"), str(folder / "cache")
    return ["study", table, "--out", str(folder / out), "--cache", cache, *PLAN, *more]


def logits(study: Path, task: str) -> dict[str, np.ndarray]:
    files = sorted(study.glob(f"runs/{task}--*/fold-*/*predictions.csv"))
    return {str(file.relative_to(study)): read_predictions(file).logits for file in files}


def same(one: Path, other: Path, task: str = "*") -> bool:
    """Whether two studies have the same numbers of a task, whatever the salt of their ids."""
    first, second = logits(one, task), logits(other, task)
    assert first.keys() == second.keys() != set()
    different = [name for name in first if not np.array_equal(first[name], second[name])]
    for file in one.glob(f"runs/{task}--*/evaluation.json"):
        ours, theirs = (read_json(each) | {"inputs": ""} for each in (file, other / file.relative_to(one)))
        if ours != theirs:  # whatever the hash of their inputs, which hold pseudonyms
            different.append(str(file.relative_to(one)))
    assert not different
    return True


def test_every_job_has_its_result(place: Path) -> None:
    study = read_json(place / "study" / "study.json")
    jobs = [(job["task"], job["model"], job["fold"]) for job in study["jobs"]]
    assert jobs == [(task, "simple-cnn", fold) for task in ("luminal", "tn") for fold in (1, 2)]
    for task, model, fold in jobs:
        folder = place / "study" / "runs" / f"{task}--{model}" / f"fold-{fold}"
        assert {"done.json", "best.safetensors", "features.npz", "tta_predictions.csv"} <= {
            f.name for f in folder.iterdir()
        }
        assert not (folder / "last.safetensors").exists()
    assert len({job["key"] for job in study["jobs"]}) == 4
    runs = {path.name for path in (place / "study" / "runs").iterdir()}
    fusions = ("tta", "views-mean", "views-learned", "clinical", "clinical-only", "views-learned+clinical")
    assert runs == {
        f"{task}--simple-cnn{end}" for task in ("luminal", "tn") for end in ("", *(f"+{f}" for f in fusions))
    }
    assert "SYNTHETIC" in (place / "study" / "study.html").read_text(encoding="utf-8")


def test_one_division_of_the_patients_for_all_tasks(place: Path) -> None:
    parts = [read_predictions(place / "study" / "runs" / f"{task}--simple-cnn" / "fold-1" / "test_predictions.csv")
             for task in ("luminal", "tn")]  # fmt: skip
    assert np.array_equal(parts[0].study_id, parts[1].study_id)


def test_nobody_can_be_found_in_it(place: Path) -> None:
    for file in (place / "study").rglob("*"):
        if file.suffix in (".json", ".csv", ".html", ".svg"):
            text = file.read_text(encoding="utf-8")
            assert "P0001" not in text, file
            assert str(place) not in text, file


@pytest.mark.usefixtures("undrawn")
def test_again_does_nothing_and_elsewhere_gives_the_same(place: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (place / "study").rglob("done.json")}
    keys = [job["key"] for job in read_json(place / "study" / "study.json")["jobs"]]
    table = str(place / "cohort" / "table.csv")
    assert main(["study", table, "--out", str(place / "study"), "--cache", str(place / "cache")]) == 0
    assert {file: file.stat().st_mtime_ns for file in (place / "study").rglob("done.json")} == before
    assert main(command(place, "twin", *ONE_TASK, "--clinical", "age", "--jobs", "2")) == 0
    assert [job["key"] for job in read_json(place / "twin" / "study.json")["jobs"]] == keys[:2]
    assert same(place / "twin", place / "study", "luminal")


@pytest.mark.usefixtures("undrawn")
def test_another_plan_is_refused_and_more_models_are_added(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = failing(capsys, *command(place, "study", "--epochs", "3"))
    assert "made with another plan (epochs is 3, was 2)" in line
    before = {file: file.stat().st_mtime_ns for file in (place / "study").rglob("done.json")}
    assert main(command(place, "study", "--tasks", "her2")) == 0
    after = {file: file.stat().st_mtime_ns for file in (place / "study").rglob("done.json")}
    assert before.items() <= after.items()
    assert read_json(place / "study" / "study.json")["tasks"] == ["luminal", "tn", "her2"]


def test_a_dry_run_plans_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(command(place, "dry", *TASKS, "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "4 jobs: 2 tasks x 1 model x 2 folds; 0 finished" in printed
    assert "Nothing was written." in printed
    assert not (place / "dry").exists()


def start(place: Path, out: str, *more: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "MolSubCore", *command(place, out, *more)], stdout=pipe, stderr=pipe, text=True
    )


def wait_for(path: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if path.exists() and any(path.glob(pattern)):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError(f"no {pattern} in time")


def children(process: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


@pytest.mark.usefixtures("undrawn")
def test_a_killed_study_and_a_killed_worker_end_as_if_nothing_had_been(place: Path) -> None:
    options = (*ONE_TASK, "--clinical", "age")
    process = start(place, "killed", *options)
    wait_for(place / "killed", "runs/*/fold-1/last.safetensors", process)
    workers = children(process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert workers
    for _ in range(150):  # a worker whose program is gone ends by itself
        if not any(Path(f"/proc/{pid}").exists() for pid in workers):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a worker outlived its program")
    process = start(place, "killed", *options)
    wait_for(place / "killed", "runs/*/fold-2/last.safetensors", process)
    os.kill(children(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    last = err.strip().splitlines()[-1]
    assert "1 job failed, first luminal simple-cnn fold 2" in last
    assert "signal 9" in last
    assert [file.parent.name for file in (place / "killed").rglob("runs/*cnn/fold-*/done.json")] == ["fold-1"]
    assert main(command(place, "killed", *options)) == 0
    assert same(place / "study", place / "killed", "luminal")


def test_a_worker_that_cannot_be_started_is_its_jobs_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job is done, or told of; none is passed over."""
    job = StudyJob("a", "s", "tn", "simple-cnn", 1, "t.csv")
    told: list[str] = []

    def no_folder() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", no_folder)
    failed = run_local([job, replace(job, key="b")], 1, lambda job, event: told.append(event.event))
    assert failed.keys() == {"a", "b"}
    assert told == ["failed", "failed"]
    assert all("No usable temporary directory" in reason for reason in failed.values())
