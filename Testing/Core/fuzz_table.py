"""The fuzz section of Testing/README.md, with the figures of a campaign.

``python Testing/Core/fuzz_table.py [INPUTS]`` runs one of 5,000 inputs and writes its table between the markers.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fuzz_campaign import BYTES, ROOT, SECONDS, Figures, run_campaign

README = ROOT / "Testing" / "README.md"
BEGIN, END = "<!-- fuzz:begin -->", "<!-- fuzz:end -->"


def section(figures: Sequence[Figures], *, real: bool) -> str:
    """The section's text, in Markdown."""
    lines = [
        f"{sum(one.inputs for one in figures):,} damaged files, made of "
        + ("the real ones in `../shared/data` and of synthetic ones" if real else "synthetic ones alone")
        + f" of every format. Limits for each: {SECONDS:.0f} s of processor time, {BYTES >> 30} GiB of memory. "
        f"Python {platform.python_version()}, {platform.system()}.",
        "",
        "| reader | inputs | results | refused, by kind of error | faults | slowest | most memory |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for one in figures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(one.refusals.items()))
        lines.append(
            f"| {one.reader} | {one.inputs} | {one.results} | {kinds} | {len(one.faults)} | {one.slowest:.2f} s |"
            f" {one.memory >> 20} MiB |"
        )
    return "\n".join(lines)


def put(text: str, figures: Sequence[Figures], *, real: bool) -> str:
    """`text` with the section between its markers written anew.

    Raises
    ------
    ValueError
        If the markers are not there, once each and in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README.name} lacks {BEGIN} and {END}")
    return f"{before}{begin}\n{section(figures, real=real)}\n{end}{after}"


def main(count: int) -> int:
    """Run a campaign, write its table; the exit code is 1 where a reader did not bear a file."""
    data = ROOT.parent / "shared" / "data"
    real = data if (data / "MANIFEST.csv").is_file() else None
    folder = Path(tempfile.mkdtemp(prefix="molsub-fuzz-"))
    figures = run_campaign(count, folder, real=real)
    README.write_text(put(README.read_text(encoding="utf-8"), figures, real=real is not None), encoding="utf-8")
    faults = [fault for one in figures for fault in one.faults.values()]
    print("\n".join(faults) or f"No fault in {sum(one.inputs for one in figures)} inputs.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))
