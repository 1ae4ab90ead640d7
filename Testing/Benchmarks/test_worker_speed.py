"""The worker as the panel feels it: the start, a first prediction, and another lesion on the same mammogram."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import write_bundle
from MolSubCore.models.registry import build_model
from MolSubCore.tasks import get_task
from MolSubCore.worker.protocol import Request, read_event

GROUP = "worker, 4096x3328 DICOM, densenet121-cbam, all default layers and classes, 2 threads"
LESIONS = [f"{row},{column},{row + 300},{column + 260}" for row in (1000, 1700, 2400) for column in (500, 900)]


class Worker:
    """A worker process of two threads."""

    def __init__(self) -> None:
        command = [sys.executable, "-u", "-m", "MolSubCore", "worker"]
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment
        )
        self._numbers = itertools.count()
        assert self._process.stdout
        self._process.stdout.readline()  # ready

    def run(self, job: str, **options: Any) -> dict[str, Any]:
        """Have a job done, from the request to its last event."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(Request(str(next(self._numbers)), job, options).line())
        self._process.stdin.flush()
        for line in self._process.stdout:
            event = read_event(line)
            if event.event in ("done", "failed", "cancelled"):
                assert event.event == "done", event.values
                return dict(event.values["result"])
        raise AssertionError("the worker died")

    def end(self) -> None:
        """Close its input."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture
def worker() -> Any:
    started = Worker()
    yield started
    started.end()


def bundle_of(folder: Path, task: str, recipe: str = "default") -> str:
    classes = get_task(task).classes
    weights = build_model("densenet121-cbam", len(classes)).state_dict()
    recipe_values = get_recipe(recipe).to_dict()
    names = {"architecture": "densenet121-cbam", "task": task, "classes": classes}
    return str(write_bundle(folder / f"{task}.molsub", [weights], recipe=recipe_values, dropout=0.3, **names))


@pytest.mark.benchmark(group=GROUP)
@pytest.mark.parametrize("task", ["tn", "subtype5"])
def test_another_lesion(
    benchmark: BenchmarkFixture, worker: Worker, case_4096: tuple[Path, Path], tmp_path: Path, task: str
) -> None:
    bundle, lesions = bundle_of(tmp_path, task), itertools.cycle(LESIONS)

    def run() -> None:
        images = [{"image": str(case_4096[0]), "lesions": next(lesions)}]
        worker.run("predict", bundle=bundle, images=images, out=str(tmp_path / "out"))

    benchmark.pedantic(run, rounds=12, warmup_rounds=2)


@pytest.mark.benchmark(group=GROUP)
def test_another_lesion_of_the_published_recipe(
    benchmark: BenchmarkFixture, worker: Worker, case_4096: tuple[Path, Path], tmp_path: Path
) -> None:
    """Whose histogram equalisation of the whole image is kept."""
    bundle, lesions = bundle_of(tmp_path, "tn", "published-2025"), itertools.cycle(LESIONS)

    def run() -> None:
        images = [{"image": str(case_4096[0]), "lesions": next(lesions)}]
        worker.run("predict", bundle=bundle, images=images, out=str(tmp_path / "out"))

    benchmark.pedantic(run, rounds=6, warmup_rounds=1)


@pytest.mark.benchmark(group=GROUP)
def test_first_prediction(benchmark: BenchmarkFixture, case_4096: tuple[Path, Path], tmp_path: Path) -> None:
    """From the start of the process: PyTorch, the bundle and the mammogram are read."""
    bundle = bundle_of(tmp_path, "tn")

    def run() -> None:
        worker = Worker()
        images = [{"image": str(case_4096[0]), "lesions": LESIONS[0]}]
        worker.run("predict", bundle=bundle, images=images, out=str(tmp_path / "out"))
        worker.end()

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)


@pytest.mark.benchmark(group=GROUP)
@pytest.mark.parametrize("kept", [False, True])
def test_read_image(
    benchmark: BenchmarkFixture, worker: Worker, case_4096: tuple[Path, Path], tmp_path: Path, kept: bool
) -> None:
    times = itertools.count(1)

    def run() -> None:
        if not kept:
            os.utime(case_4096[0], ns=(1, next(times)))
        worker.run("read-image", path=str(case_4096[0]), out=str(tmp_path / "out"))

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
