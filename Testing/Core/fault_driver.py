"""Faults in the middle of writes, as real as they come: run by test_faults.py, one process for all.

It imports everything once and forks a child for every write, before any computation of its own. A trap sees every
change of the file system below a folder just before it happens (`sys.addaudithook`) and there kills the child with
SIGKILL; or takes from it the right to write more than 16 bytes into any file, so that the system kills it in the
middle of its next write, of native libraries too; or halts it while another one does the same.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fault_cohorts
import fault_writes
from fault_kinds import Write, leftovers, visible
from fault_trap import CHANGES, Child, End, Trap, die, run, tear
from fault_writes import WRITES
from small_disk import mounted

#: How many moments of a write are tried where not all are.
MOMENTS = 4


class Case:
    """One kind of write in a folder of its own, with the only two states that it may be found in."""

    def __init__(self, write: Write, place: Path, *, everything: bool) -> None:
        self.levels = 8 if everything else 2
        self.write, self.template, self.place = write, place / "template", place / "work"
        self.template.mkdir(parents=True)
        self.expect(run(lambda: {"before": str(write.before(self.template))}))
        self.before = visible(self.template)
        self.fresh()
        said = self.expect(self.acting(0, die, watch=True).wait())
        self.changes = said["changes"]
        # One in each part of the write.
        self.every, self.turns = (1, 1) if everything else (-(-self.changes // MOMENTS), 2)
        self.after = visible(self.place)
        self.legal = {name: {state.get(name) for state in said["states"]} for state in said["states"] for name in state}
        if not write.vanishes:
            for name in self.before.keys() & self.after.keys():
                self.legal[name].discard(None)
        assert self.before != self.after, f"{write.title}: writes nothing"

    def moments(self, turn: int) -> range:
        """Changes to try: all; or one in every other part of the write, and with the other turn in those between."""
        return range(1 + turn % self.turns * self.every, self.changes + 1, self.turns * self.every)

    @staticmethod
    def expect(end: End) -> dict[str, Any]:
        """What a child that must not fail has said."""
        assert end.status == 0 and "error" not in end.said, end
        return end.said

    def fresh(self) -> None:
        """The folder as it was before."""
        for old in self.place.iterdir() if self.place.exists() else []:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        shutil.copytree(self.template, self.place, dirs_exist_ok=True)

    def acting(self, at: int, then: Callable[[], None], *, watch: bool = False) -> Child:
        """A child that writes, with a trap; or one that tells what the folder held before every change."""
        states = [self.before]
        trap = Trap(self.place, at, then, (lambda: states.append(visible(self.place))) if watch else None)

        def work() -> dict[str, Any]:
            sys.addaudithook(trap)
            trap.armed = True
            self.write.act(self.place)
            trap.armed = False
            return {"changes": trap.count, "states": [*states, visible(self.place)] if watch else []}

        return Child(work)

    def problems(self, what: str, *, goes_on: bool = True) -> list[str]:
        """What is wrong with the folder after a fault, and with going on from there."""
        found = []
        now = visible(self.place)
        if self.write.whole:
            if now not in (self.before, self.after):
                found.append(f"{what}: neither before nor after: {sorted(now)}")
        else:
            found += [
                f"{what}: {name} is {now.get(name)}"
                for name in {*now, *self.legal}
                if now.get(name) not in self.legal.get(name, ())
            ]
        if goes_on:
            end = run(self._going_on)
            if end.status or "error" in end.said:
                found.append(f"{what}: cannot go on: {end.said.get('trace', end)}")
            elif (now := visible(self.place)) != self.after:
                differing = [name for name in {*now, *self.after} if now.get(name) != self.after.get(name)]
                found.append(f"{what}: went on to something else: {differing}")
        return found

    def _going_on(self) -> dict[str, Any]:
        if visible(self.place):
            self.write.read(self.place)
        self.write.act(self.place)
        self.write.read(self.place)
        return {}


def kills(case: Case) -> dict[str, Any]:
    """SIGKILL before every change, and in the middle of the write that follows it."""
    problems, killed, left = [], {"killed": 0, "torn": 0}, 0
    for turn, (kind, then) in enumerate((("torn", tear), ("killed", die))):
        for at in case.moments(turn):
            case.fresh()
            end = case.acting(at, then).wait()
            if not end.killed:
                if kind == "killed":
                    problems.append(f"change {at}: not killed ({end})")
                continue
            killed[kind] += 1
            problems += case.problems(f"{kind} at change {at}")
            left += bool(leftovers(case.place))
    return {**killed, "left": left, "problems": problems}


def _general(line: str, place: Path) -> str:
    """A message without what differs from run to run."""
    return re.sub(
        r"process \d+",
        "process N",
        line.replace(f"{place}/", "").replace(str(place), "the folder").removeprefix("molsub: "),
    )


def interleaved(case: Case) -> dict[str, Any]:
    """One process halts before each of its changes, another does all of the same, the first goes on."""
    problems: list[str] = []
    said: set[str] = set()
    tried = 0
    for at in case.moments(1):
        case.fresh()
        first = case.acting(at, lambda: os.kill(os.getpid(), signal.SIGSTOP))
        os.waitpid(first.pid, os.WUNTRACED)
        second = run(lambda: {"did": str(case.write.act(case.place))})
        os.kill(first.pid, signal.SIGCONT)
        ends = [first.wait(), second]
        tried += 1
        for name, end in zip(("first", "second"), ends, strict=True):
            if end.said.get("code", 0) not in (0, 2) or end.status:
                problems.append(f"halted at change {at}: {name}: {end.said.get('trace', end)}")
            elif "error" in end.said:
                said.add(_general(end.said["error"], case.place))
        if all("error" in end.said for end in ends):
            problems.append(f"halted at change {at}: neither did it: {[end.said['error'] for end in ends]}")
        problems += case.problems(f"two processes, halted at change {at}")
    return {"tried": tried, "said": sorted(said), "problems": problems}


def full_disk(case: Case, place: Path) -> dict[str, Any]:
    """Less room than the write needs, from none on; then there is room again."""
    problems, told, levels = [], 0, case.levels
    need = _peak(case, place)
    filler = place / "filler"
    for level in range(levels):
        case.fresh()
        room = os.statvfs(place)
        keep = need * level // levels // room.f_bsize
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(room.f_bavail - keep, 1) * room.f_bsize)
        end = run(lambda: {"did": str(case.write.act(case.place))})
        line = end.said.get("error", "")
        if line and (end.said["code"] != 2 or "disk is full" not in line):
            problems.append(f"{keep} pages left: {end.said['trace']}")
        elif not line and end.status:
            problems.append(f"{keep} pages left: {end}")
        told += bool(line)
        problems += case.problems(f"{keep} pages left", goes_on=False)
        filler.unlink()
        problems += case.problems(f"{keep} pages left")
    if not told:
        problems.append("the disk was never full")
    return {"levels": levels, "problems": problems}


def _peak(case: Case, place: Path) -> int:
    """Bytes that the write needs at most at a time, on this file system."""
    case.fresh()
    base, most = os.statvfs(place).f_bavail, [0]

    def work() -> dict[str, Any]:
        def look(event: str, arguments: tuple[Any, ...]) -> None:
            if event in CHANGES:
                most[0] = max(most[0], base - os.statvfs(place).f_bavail)

        sys.addaudithook(look)
        case.write.act(case.place)
        return {"pages": most[0]}

    pages: int = case.expect(run(work))["pages"]
    return pages * os.statvfs(place).f_bsize


def read_only(case: Case, place: Path) -> dict[str, Any]:
    """A file system that may not be written to; then it may."""
    case.fresh()
    remount = ["mount", "-o", "remount,{}", str(place)]
    subprocess.run([part.format("ro") for part in remount], check=True)
    try:
        end = run(lambda: {"did": str(case.write.act(case.place))})
        problems = case.problems("read-only", goes_on=False)
        if visible(case.place) != case.before:
            problems.append("something was written")
    finally:
        subprocess.run([part.format("rw") for part in remount], check=True)
    line = end.said.get("error", "")
    if end.said.get("code") != 2 or "read-only" not in line:
        problems.append(f"said: {end.said}")
    return {"problems": problems + case.problems("read-only")}


def main() -> None:
    """``fault_driver.py [--all] [TITLE...]``: results as JSON to standard output."""
    titles, everything = [name for name in sys.argv[1:] if name != "--all"], "--all" in sys.argv
    chosen = [write for write in WRITES if not titles or write.title in titles]
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        fault_cohorts.COHORT = Path(name) / "cohort"
        fault_cohorts.cohort(fault_cohorts.COHORT)
        fault_cohorts.cbis(fault_cohorts.COHORT / "cbis")
        fault_writes.warm()
        gc.collect()
        gc.freeze()  # else every child would copy what its collections touch
        for number, write in enumerate(chosen):
            place, started = Path(name) / str(number), time.perf_counter()
            case = Case(write, place / "plain", everything=everything)
            found = {"changes": case.changes, "kill": kills(case), "two": interleaved(case)}
            with mounted(place / "small", "256m") as there:
                if there:
                    small = Case(write, place / "small" / "case", everything=everything)
                    found["full"] = full_disk(small, place / "small")
                    found["read-only"] = read_only(small, place / "small")
            result[write.title] = found
            print(f"{write.title}: {time.perf_counter() - started:.1f} s", file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
