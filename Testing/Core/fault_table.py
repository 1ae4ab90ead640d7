"""The table of faults and outcomes in Testing/README.md: ``python Testing/Core/fault_table.py`` writes it anew."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"
_HEAD = (
    "what is written",
    "kill -9 before a change",
    "killed inside a write",
    "two processes",
    "full disk",
    "read-only",
)


def measure(*arguments: str) -> dict[str, Any]:
    """Results of fault_driver.py."""
    driver = Path(__file__).with_name("fault_driver.py")
    done = subprocess.run([sys.executable, str(driver), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(results: dict[str, Any]) -> str:
    """Rows of writes and outcomes."""
    lines = [" | ".join(_HEAD), " | ".join(["---"] * len(_HEAD))]
    lines += [" | ".join((title, *_cells(found))) for title, found in results.items()]
    return "".join(f"| {line} |\n" for line in lines)


def _cells(found: dict[str, Any]) -> list[str]:
    kill, two = found["kill"], found["two"]
    cells = [
        f"{kill['killed']} kills: old or new, resumes",
        f"{kill['torn']} kills: old or new, resumes",
        f"{two['tried']} meetings: " + (" / ".join(two["said"]) if two["said"] else "both end well"),
        f"{found['full']['levels']} levels: reported, nothing half-written" if "full" in found else "not tried",
        "reported, nothing changed" if "read-only" in found else "not tried",
    ]
    order = (kill, kill, two, found.get("full", {}), found.get("read-only", {}))
    return ["FAILED" if part.get("problems") else cell for cell, part in zip(cells, order, strict=True)]


def committed() -> str:
    """The table in the README."""
    return README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip() + "\n"


def without_counts(text: str) -> str:
    """For a run that tried fewer moments."""
    return re.sub(r"\| \d+", "| N", text)


def main() -> None:
    """Measure everything and write the table."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{table(measure('--all'))}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
