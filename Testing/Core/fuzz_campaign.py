"""Thousands of damaged files through the readers, each in a watched process; what came of them, in numbers."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_mutations import inputs
from fuzz_seeds import READERS, Seed, make_seeds, write_companions
from hypothesis import HealthCheck, Phase, given, seed, settings

ROOT = Path(__file__).resolve().parents[2]
#: Of processor time and of memory, for one file; and of time until a reader that does nothing is taken for hung.
SECONDS, BYTES, PATIENCE = 10.0, 2 << 30, 90.0
#: Share of each reader in the inputs.
SHARES = dict(zip(READERS, (0.30, 0.13, 0.11, 0.17, 0.11, 0.05, 0.06, 0.03, 0.04), strict=True))


class Reader:
    """A process that reads files, begun again after it dies or hangs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        paths = os.pathsep.join((str(ROOT), str(ROOT / "Testing" / "Core")))
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MOLSUB_MODELS": str(self.folder)}
        command = [sys.executable, str(Path(__file__).with_name("fuzz_child.py")), str(self.folder / "printed.log")]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=self.folder, env=environment)

    def read(self, reader: str, file: Path, shape: tuple[int, int]) -> dict[str, Any]:
        """What became of one file: ``outcome`` (result, refused or fault), ``kind``, ``message``, seconds, bytes."""
        if self._process is None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"reader": reader, "file": str(file), "shape": shape}) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        if not ready:
            self.close()
            return {"outcome": "fault", "kind": "hang", "message": f"no answer in {PATIENCE:.0f} s"}
        if not (line := process.stdout.readline()):
            code = process.wait()
            self._process = None
            return {"outcome": "fault", "kind": "crash", "message": f"the process died with exit code {code}"}
        answer: dict[str, Any] = json.loads(line)
        return _within_limits(answer)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _within_limits(answer: dict[str, Any]) -> dict[str, Any]:
    if answer["outcome"] != "fault" and answer["bytes"] > BYTES:
        answer |= {"outcome": "fault", "kind": "memory", "message": f"held {answer['bytes'] >> 20} MiB"}
    if answer["outcome"] != "fault" and answer["seconds"] > SECONDS:
        answer |= {"outcome": "fault", "kind": "slow", "message": f"took {answer['seconds']:.1f} s"}
    return answer


@dataclass
class Figures:
    """What became of the inputs of one reader."""

    reader: str
    inputs: int = 0
    results: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    memory: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    def add(self, answer: dict[str, Any]) -> None:
        """Count one answer."""
        self.inputs += 1
        self.results += answer["outcome"] == "result"
        if answer["outcome"] == "refused":
            self.refusals[answer["kind"]] += 1
        self.slowest = max(self.slowest, answer.get("seconds", PATIENCE))
        self.memory = max(self.memory, answer.get("bytes", 0))


def run_campaign(
    count: int, folder: Path, *, real: Path | None = None, start: int = 1, readers: tuple[str, ...] = READERS
) -> list[Figures]:
    """About `count` damaged files, divided among the readers by `SHARES`.

    A file that a reader does not bear is kept as ``folder/faults/READER-KIND-N.SUFFIX`` and named in the figures'
    ``faults``; the others go on.

    Parameters
    ----------
    count : int
    folder : Path
        For the files.
    real : Path, optional
        Folder of real mammography files.
    start : int
        Origin of all random numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_companions(folder)
    seeds = make_seeds(real)
    return [_run(reader, seeds[reader], round(count * SHARES[reader]), folder, start) for reader in readers]


def _run(reader: str, seeds: list[Seed], count: int, folder: Path, start: int) -> Figures:
    figures, process = Figures(reader), Reader(folder)

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(seeds))
    def attempt(drawn: tuple[Seed, bytes]) -> None:
        origin, data = drawn
        file = folder / f"damaged{origin.suffix}"
        file.write_bytes(data)
        answer = process.read(reader, file, origin.shape)
        figures.add(answer)
        if answer["outcome"] == "fault":
            _keep(figures, origin, data, answer, folder / "faults")

    try:
        attempt()
    finally:
        process.close()
    return figures


def _keep(figures: Figures, origin: Seed, data: bytes, answer: dict[str, Any], folder: Path) -> None:
    """Keep the first file of each kind of fault and place."""
    place = re.sub(r"\d+(?!\d*\))", "N", answer["message"])[-80:]
    fault = f"{answer['kind']}: {place}"
    if fault in figures.faults:
        return
    folder.mkdir(exist_ok=True)
    kept = folder / f"{figures.reader}-{len(figures.faults)}-{answer['kind'].replace(' ', '-')}{origin.suffix}"
    kept.write_bytes(data)
    figures.faults[fault] = f"{kept} (of {origin.name}): {answer['kind']}: {answer['message']}"
