"""The worker's jobs ``check-cohort`` and ``train``: what they tell, what they leave, and that they can be stopped."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from coarse_cohort import make_coarse_cohort
from sklearn.metrics import roc_auc_score

from MolSubCore.__main__ import main
from MolSubCore.errors import MolSubError
from MolSubCore.files import read_json
from MolSubCore.models.bundle import read_bundle
from MolSubCore.statistics.scores import read_predictions
from MolSubCore.tasks import Subtype
from MolSubCore.training.loop import Event as StepEvent
from MolSubCore.training.loop import macro_auc
from MolSubCore.worker import folder
from MolSubCore.worker.folder import cancel_job, new_events, write_job
from MolSubCore.worker.protocol import Event, Request
from MolSubCore.worker.train import _Reports, check, train

_CURVES = ("train_loss", "val_loss", "train_auc", "val_auc")


class Told:
    """Progress of a job."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, done: float, **values: Any) -> None:
        Event("progress", "1", {"done": done, **values}).line()  # JSON has it
        self.events.append({"done": done, **values})

    def epochs(self) -> list[dict[str, Any]]:
        return [event for event in self.events if "val_loss" in event]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    counts = {Subtype.LUMINAL_A: 6, Subtype.TN: 6}
    make_coarse_cohort(folder / "cohort", counts=counts, seed=3, image_shape=(256, 208), views=("CC",))
    return folder


def options(place: Path, run: Path, **other: Any) -> dict[str, Any]:
    return {
        "table": str(place / "cohort" / "table.csv"), "run": str(run), "task": "luminal", "architecture": "simple-cnn",
        "folds": 2, "epochs": 2, "test_share": 0.25, "pretrained": "none", "threads": 1, "device": "cpu", "seed": 5,
        "batch_size": 4, "cache": str(place / "cache"), "library": str(run.parent / "library"), "name": "mine", **other,
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(place: Path) -> tuple[Path, dict[str, Any], Told]:
    run, told = place / "work" / "run", Told()
    return run, train(options(place, run), told), told


def metrics(run: Path, fold: int) -> list[dict[str, str]]:
    with (run / f"fold-{fold}" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_curves_are_those_of_the_run(trained: tuple[Path, dict[str, Any], Told]) -> None:
    run, _, told = trained
    assert [(event["fold"], event["epoch"]) for event in told.epochs()] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for event in told.epochs():
        row = metrics(run, event["fold"])[event["epoch"] - 1]
        assert [event[name] for name in _CURVES] == [float(row[name]) for name in _CURVES]
        assert (event["folds"], event["epochs"], event["stage"]) == (2, 2, "training")
    assert told.epochs()[-1]["seconds_left"] == 0
    assert told.epochs()[0]["seconds_left"] > 0
    shares = [event["done"] for event in told.events]
    assert shares == sorted(shares)
    stages = list(dict.fromkeys(event["stage"] for event in told.events))
    assert stages == ["reading", "training", "evaluating", "exporting"]


def test_steps_are_told_twice_a_second_with_the_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of our own: 40 steps of 0.1 s in each of two epochs of one fold."""
    now, told = [100.0], Told()
    monkeypatch.setattr("MolSubCore.worker.train.time", SimpleNamespace(monotonic=lambda: now[0]))
    plan: Any = SimpleNamespace(folds=1, epochs=2)
    reports = _Reports(plan, tmp_path, told)
    for epoch in (1, 2):
        for step in range(1, 41):
            now[0] += 0.1
            reports(StepEvent("step", 1, epoch, step, 40, {"loss": 0.5}))
        row = dict.fromkeys(_CURVES, 0.5) | {"seconds": 4.0}
        reports(StepEvent("epoch", 1, epoch, values=row))
    steps = [event for event in told.events if "step" in event]
    assert 12 <= len(steps) <= 16  # of 80 in eight seconds
    for event in steps[1:]:
        done = event["epoch"] - 1 + event["step"] / 40
        assert event["seconds_left"] == pytest.approx((2 - done) * 4.0, abs=0.11)
    assert [event["seconds_left"] for event in told.epochs()] == [4.0, 0.0]


def test_the_model_is_in_the_library_with_its_evaluation(trained: tuple[Path, dict[str, Any], Told]) -> None:
    run, result, _ = trained
    bundle = run.parent / "library" / "mine.molsub"
    assert (result["run"], result["bundle"]) == (str(run), str(bundle))
    assert result["evaluation"] == read_json(run / "evaluation.json")
    assert all(Path(name).is_file() for name in result["figures"])
    assert read_bundle(bundle, device="cpu").card["training"]["plan"]["epochs"] == 2
    # The best epoch's validation AUC, from the predictions beside it, by scikit-learn.
    best = read_json(run / "fold-1" / "done.json")["best_epoch"]
    part = read_predictions(run / "fold-1" / "predictions.csv")
    score = part.probabilities()[:, part.classes.index("Luminal")]
    told = float(metrics(run, 1)[best - 1]["val_auc"])
    assert told == pytest.approx(roc_auc_score(part.label, score))


def figures(evaluation: dict[str, Any]) -> dict[str, Any]:
    """An evaluation without the hash of its inputs: they hold pseudonyms, which differ from run to run."""
    return {name: value for name, value in evaluation.items() if name != "inputs"}


def test_the_command_gives_the_same_run(
    place: Path, trained: tuple[Path, dict[str, Any], Told], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["--folds", "2", "--epochs", "2", "--test-share", "0.25", "--pretrained", "none", "--threads", "1"]
    plan += ["--device", "cpu", "--seed", "5", "--batch-size", "4", "--architecture", "simple-cnn"]
    table, run = str(place / "cohort" / "table.csv"), tmp_path / "run"
    assert main(["train", table, "--out", str(run), "--task", "luminal", "--cache", str(place / "cache"), *plan]) == 0
    assert read_json(run / "plan.json") == read_json(trained[0] / "plan.json")
    assert figures(read_json(run / "evaluation.json")) == figures(read_json(trained[0] / "evaluation.json"))
    for fold in (1, 2):
        ours, theirs = metrics(run, fold), metrics(trained[0], fold)
        assert [[row[name] for name in _CURVES] for row in ours] == [[row[name] for name in _CURVES] for row in theirs]


def test_going_on_tells_the_past_and_makes_nothing_twice(
    place: Path, trained: tuple[Path, dict[str, Any], Told], tmp_path: Path
) -> None:
    shutil.copytree(trained[0].parent, tmp_path / "work")
    run, told = tmp_path / "work" / "run", Told()
    bundle = tmp_path / "work" / "library" / "mine.molsub"
    before = bundle.read_bytes()
    result = train(options(place, run, resume=True), told)
    assert all(event["past"] for event in told.epochs())
    assert [event["val_loss"] for event in told.epochs()] == [event["val_loss"] for event in trained[2].epochs()]
    assert Path(result["bundle"]).read_bytes() == before
    with pytest.raises(MolSubError, match="holds a run already"):
        train(options(place, run, name="other"), told)
    with pytest.raises(MolSubError, match="another plan"):
        train(options(place, run, resume=True, epochs=3), told)


def test_what_cannot_be_is_told_before_any_training(
    place: Path, trained: tuple[Path, dict[str, Any], Told], tmp_path: Path
) -> None:
    told = Told()
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"library": str(trained[0].parent / "library")}, "exists already"),
        ({"name": "a/b"}, "not a file name"),
        ({"epoch": 3}, "unknown option 'epoch'"),
        ({"task": ""}, "lacks the option task"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": "many"}, "epochs: is 'many', expected a whole number"),
        ({"epochs": 2.5}, "epochs: is 2.5, expected a whole number"),
        ({"monitor": "train_loss"}, "monitor: is 'train_loss', expected one of val_loss, val_auc"),
        ({"architecture": "vgg"}, "architecture"),
    )
    for other, text in wrong:
        with pytest.raises(MolSubError, match=text):
            train(options(place, tmp_path / "run", **other), told)
    assert not told.epochs()
    assert not (tmp_path / "run").exists()


def test_only_some_folds(place: Path, tmp_path: Path) -> None:
    result = train(options(place, tmp_path / "run", only_folds=[2], epochs=1), Told())
    assert result == {"run": str(tmp_path / "run"), "missing": [1]}
    assert not (tmp_path / "library").exists()


def test_stopped_and_gone_on_it_is_the_same(
    place: Path, trained: tuple[Path, dict[str, Any], Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the panel does it: a process of its own, cancelled in its course, started again with the same request.

    The second start is in this process, to save one that loads PyTorch.
    """
    job, run = tmp_path / "job", tmp_path / "run"
    asked = options(place, run, resume=True)
    command = [sys.executable, "-m", "MolSubCore", "worker", "--job", str(job)]
    write_job(job, Request("1", "train", asked))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while process.poll() is None:
        if any("val_loss" in event.values for event in new_events(job)[0]):
            cancel_job(job)
            break
        time.sleep(0.02)
    assert process.wait(60) == 130
    first, offset = new_events(job)
    assert first[-1].event == "cancelled"
    assert not (run / "evaluation.json").exists()
    write_job(job, Request("2", "train", asked))
    monkeypatch.setattr(folder, "_detached", lambda job: nullcontext())  # it would take away pytest's own output
    assert main(command[3:]) == 0
    again = new_events(job, offset)[0]
    assert again[-1].event == "done"
    assert any(event.values.get("past") for event in again)
    assert figures(again[-1].values["result"]["evaluation"]) == figures(trained[1]["evaluation"])


def test_a_loss_that_overflowed_is_null(tmp_path: Path) -> None:
    told = Told()
    plan: Any = SimpleNamespace(folds=1, epochs=2)
    reports = _Reports(plan, tmp_path, told)
    reports(StepEvent("step", 1, 1, 1, 4, {"loss": float("inf")}))
    row = dict.fromkeys(_CURVES, 0.5) | {"train_loss": float("nan"), "val_auc": None, "seconds": 4.0}
    reports(StepEvent("epoch", 1, 1, values=row))
    assert told.events[0]["loss"] is None
    assert (told.events[1]["train_loss"], told.events[1]["val_auc"], told.events[1]["val_loss"]) == (None, None, 0.5)


def test_the_auc_of_training_is_of_the_batches_logits() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 2)).astype(np.float32), rng.integers(0, 2, 50)
    assert macro_auc(logits, labels) == pytest.approx(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))


def test_check_cohort(place: Path, tmp_path: Path) -> None:
    told = Told()
    table = place / "cohort" / "table.csv"
    found = check({"table": str(table), "task": "luminal", "folds": 2}, told)
    assert (found["usable"], found["problems"]) == (True, [])
    assert told.events[-1]["done"] == 1
    counted = next(part for part in found["counts"].values() if part.get("patients") or part.get("Patients"))
    assert 12 in counted.values()
    broken = tmp_path / "table.csv"
    broken.write_text("patient_id,image,mask,subtype\nP1,none.dcm,none.png,Luminal A\nP2,none.dcm,x.png,pink\n")
    found = check({"table": str(broken)}, told)
    assert not found["usable"]
    assert {problem["row"] for problem in found["problems"]} == {2, 3}
    assert all(set(problem) == {"row", "column", "text"} for problem in found["problems"])
