"""A run killed with SIGKILL and resumed ends with the same weights, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")

#: In a step, before and after a rename (best, last, metrics, predictions, done), inside a write.
MOMENTS = ["step:1", "step:13", "replace-before:2", "replace-after:1", "replace-after:3", "write:4",
           "replace-before:10", "replace-after:12"]  # fmt: skip


def run_driver(folder: Path, architecture: str, moments: list[str]) -> dict[str, str]:
    command = [sys.executable, str(DRIVER), str(folder), architecture, *moments]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert finished.returncode == 0, finished.stderr
    result: dict[str, str] = json.loads(finished.stdout)
    return result


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("architecture", "moments"),
    [
        ("tiny", MOMENTS[1::2]),
        pytest.param("tiny", MOMENTS[::2], marks=pytest.mark.slow),
        pytest.param("densenet121-cbam", ["step:5", "write:3"], marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_is_never_killed(tmp_path: Path, architecture: str, moments: list[str]) -> None:
    digests = run_driver(tmp_path, architecture, moments)
    assert len(digests) == 1 + len(moments)
    assert {name for name, value in digests.items() if value != digests["never"]} == set()
