"""The command line as a user feels it: help, a cold prediction, a warm one, and its memory."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from MolSubCore.models.bundle import read_bundle
from MolSubCore.predict import predict


@pytest.mark.benchmark(group="molsub --help")
def test_help(benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-m", "MolSubCore", "--help"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="predict, 3328x2560 DICOM, 6 layers, 5 classes, all files written")
def test_cold(benchmark: BenchmarkFixture, case_3328: tuple[Path, Path], bundle_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "MolSubCore", "predict", str(case_3328[0]), "--lesion", str(case_3328[1])]
    command += ["--model", str(bundle_file), "--out", str(out), "--classes", "all", "--overwrite"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=3, warmup_rounds=1)
    # The largest child so far: the help command is far smaller.
    benchmark.extra_info["peak_MiB"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


@pytest.mark.benchmark(group="predict, 3328x2560 DICOM, 6 layers, 5 classes, all files written")
def test_warm(benchmark: BenchmarkFixture, case_3328: tuple[Path, Path], bundle_file: Path, tmp_path: Path) -> None:
    bundle, out = read_bundle(bundle_file), tmp_path / "out"

    def run() -> None:
        shutil.rmtree(out, ignore_errors=True)
        predict([case_3328], bundle, classes="all").save(out)

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
