"""The command line as a user feels it: help, a cold prediction, a warm one, and its memory."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from MolSubCore.models.bundle import read_bundle
from MolSubCore.prediction.predict import predict
from MolSubCore.prediction.write import save_prediction


@pytest.mark.benchmark(group="molsub --help")
def test_help(benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-m", "MolSubCore", "--help"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=5, warmup_rounds=1)


WATCH = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""
GROUP = "predict, 3328x2560 DICOM, 6 layers, 5 classes, all files written"


@pytest.mark.benchmark(group=GROUP)
def test_cold(benchmark: BenchmarkFixture, case_3328: tuple[Path, Path], bundle_file: Path, tmp_path: Path) -> None:
    """The command, from the start of the process; its largest memory is that of the last process."""
    command = [sys.executable, "-m", "MolSubCore", "predict", str(case_3328[0]), "--lesion", str(case_3328[1])]
    command += ["--model", str(bundle_file), "--classes", "all", "--out"]
    number = itertools.count()
    peaks: list[int] = []
    # By way of a small process: the system counts what a process held before it became another program.
    watched = [sys.executable, "-c", WATCH, *command]

    def run() -> None:
        done = subprocess.run([*watched, str(tmp_path / str(next(number)))], check=True, capture_output=True)
        peaks.append(int(done.stdout) // 1024)

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    benchmark.extra_info["peak_MiB"] = max(peaks)


@pytest.mark.benchmark(group=GROUP)
def test_imports(benchmark: BenchmarkFixture) -> None:
    """What of the cold time is Python's, PyTorch's and torchvision's start alone."""
    command = [sys.executable, "-c", "import torch, torchvision"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True), rounds=3, warmup_rounds=1)


@pytest.mark.benchmark(group=GROUP)
def test_warm(benchmark: BenchmarkFixture, case_3328: tuple[Path, Path], bundle_file: Path, tmp_path: Path) -> None:
    bundle, number = read_bundle(bundle_file), itertools.count()

    def run() -> None:
        save_prediction(predict([case_3328], bundle, classes="all"), tmp_path / str(next(number)))

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
