"""Several processes of torchrun train as one does; killed and resumed, as if never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from MolSubCore.__main__ import main
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.errors import TrainingError
from MolSubCore.files import read_json
from MolSubCore.statistics.scores import read_predictions
from MolSubCore.tasks import Subtype
from MolSubCore.training import distributed
from MolSubCore.training.plan import Plan

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

DRIVER = Path(__file__).with_name("distributed_driver.py")

#: No --threads: two processes share the processors, whatever their number.
TRAIN = ["--task", "luminal", "--folds", "1", "--pretrained", "none", "--test-share", "0.25", "--architecture",
         "simple-cnn", "--dropout", "0", "--precision", "fp32", "--device", "cpu"]  # fmt: skip


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = [sys.executable, str(DRIVER), str(tmp_path_factory.mktemp("driven"))]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert finished.returncode == 0, finished.stderr
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


@pytest.mark.parametrize("count", [4, 7, 5])
def test_gradients_of_two_processes_are_those_of_one(driven: dict[str, Any], count: int) -> None:
    one, two = driven[f"gradients-{count}-1"], driven[f"gradients-{count}-2"]
    assert len(one["steps"]) == -(-count // 4)
    scale = max(abs(value) for step in one["steps"] for value in step[:-1])
    for expected, found in zip(one["steps"], two["steps"], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * scale)
    assert two["row"] == pytest.approx(one["row"], rel=1e-5)


def test_a_plan_gives_the_same_numbers_every_time(driven: dict[str, Any]) -> None:
    assert driven["again-2"] == driven["never-2"]


def test_the_number_of_processes_is_part_of_the_plan(driven: dict[str, Any]) -> None:
    assert len({driven[f"never-{size}"] for size in (1, 2, 3)}) == 3


@pytest.mark.parametrize("size", [2, 3])
def test_killed_and_resumed_is_never_killed(driven: dict[str, Any], size: int) -> None:
    assert driven[f"killed-{size}"] == driven[f"never-{size}"]


def test_one_process_of_torchrun_is_as_without(driven: dict[str, Any]) -> None:
    assert driven["never-1"] == driven["alone"]


@pytest.mark.parametrize(("count", "size"), [(8, 1), (8, 2), (7, 2), (1, 3), (11, 4)])
def test_shares_are_the_batch(monkeypatch: pytest.MonkeyPatch, count: int, size: int) -> None:
    parts = []
    for rank in range(size):
        monkeypatch.setattr(distributed, "processes", lambda: size)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(list(range(count))[distributed.share(count)])
    assert [index for part in parts for index in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts[0], "the first process keeps the statistics and must never be without patches"


def test_the_plan_of_an_old_run_has_one_process() -> None:
    plan = Plan("tn", "simple-cnn", {}, "d", "s")
    old = {key: value for key, value in plan.to_dict().items() if key != "processes"}
    assert Plan.from_dict(old).processes == 1
    assert Plan.from_dict(old).key() == plan.key()
    assert Plan("tn", "simple-cnn", {}, "d", "s", processes=2).key() != plan.key()


def test_a_batch_is_divided_without_remainder() -> None:
    with pytest.raises(TrainingError, match=r"batch_size: is 8, .* multiple of the 3 processes .*--nproc-per-node"):
        Plan("tn", "simple-cnn", {}, "d", "s", processes=3)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {Subtype.LUMINAL_A: 4, Subtype.TN: 4}
    return make_synthetic_cohort(tmp_path_factory.mktemp("c") / "c", counts=counts, seed=3, image_shape=(256, 208))


def torchrun(script: list[str], table: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *script]
    command += ["train", str(table), "--out", str(out), "--cache", str(out.parent / "cache"), *TRAIN, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def own_lines(text: str) -> list[str]:
    """What molsub says, not torchrun."""
    return [line for line in text.splitlines() if line.startswith("molsub:")]


def test_torchrun_trains_as_one_process_does(table: Path, tmp_path: Path) -> None:
    both = torchrun(["-m", "MolSubCore"], table, tmp_path / "two", "--epochs", "1", "--threads", "1")
    printed, errors = both.communicate(timeout=600)
    assert both.returncode == 0, errors
    assert printed.count("Evaluation: ") == 1
    assert errors.count("16/16") <= 1, "only the first process shows bars"
    options = [str(table), "--out", str(tmp_path / "one"), "--cache", str(tmp_path / "cache"), "--epochs", "1"]
    assert main(["train", *options, *TRAIN, "--threads", "1"]) == 0
    assert read_json(tmp_path / "two" / "plan.json")["processes"] == 2
    one, two = (tmp_path / name / "fold-1" for name in ("one", "two"))
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    found = read_predictions(two / "test_predictions.csv").logits
    # AdamW's first steps are as long for the smallest gradients as for the largest, whose rounding differs.
    np.testing.assert_allclose(found, read_predictions(one / "test_predictions.csv").logits, atol=0.02)


FAILING = """
import sys
from MolSubCore.__main__ import main
from MolSubCore.errors import TrainingError
from MolSubCore.training import distributed, loop

def draw(*arguments):
    if distributed.rank() == 1:
        raise TrainingError("patch 3", "is torn", "Mend it")
    return real(*arguments)

real, loop.draw_transforms = loop.draw_transforms, draw
sys.exit(main())
"""


@pytest.mark.slow
def test_an_error_in_any_process_is_said_once(table: Path, tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    started = torchrun([str(tmp_path / "failing.py")], table, tmp_path / "run", "--epochs", "1")
    errors = started.communicate(timeout=600)[1]
    assert started.returncode != 0
    assert own_lines(errors) == ["molsub: patch 3: is torn. Mend it."]
    assert "exitcode  : 2" in errors
    again = torchrun(["-m", "MolSubCore"], table, tmp_path / "run", "--epochs", "1", "--batch-size", "3")
    errors = again.communicate(timeout=600)[1]
    (line,) = own_lines(errors)
    assert "holds a run already" in line


@pytest.mark.slow
def test_interrupted_under_torchrun_and_resumed(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = torchrun(["-m", "MolSubCore"], table, run, "--epochs", "6")
    while started.poll() is None and not (run / "fold-1" / "last.safetensors").exists():
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    errors = started.communicate(timeout=600)[1]
    (line,) = own_lines(errors)
    assert "stopped" in line and "--resume" in line
    assert not (run / "fold-1" / "done.json").exists()
    for out, more in ((run, ["--resume"]), (tmp_path / "never", ["--epochs", "6"])):
        finished = torchrun(["-m", "MolSubCore"], table, out, *more)
        errors = finished.communicate(timeout=600)[1]
        assert finished.returncode == 0, errors
    expected = load_file(tmp_path / "never" / "fold-1" / "best.safetensors")
    for name, value in load_file(run / "fold-1" / "best.safetensors").items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
