"""Print the benchmarks' JSON as a table: median time, and the ratio to the group's fastest plain way."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(file: str) -> None:
    """Read pytest-benchmark's JSON; print a Markdown table."""
    data = json.loads(Path(file).read_text())
    cpu = data["machine_info"]["cpu"]
    print(f"\nMachine: {cpu.get('brand_raw', 'unknown')}, {cpu.get('count', '?')} cores\n")
    print("| what | way | median | ratio to plain | notes |\n|---|---|---:|---:|---|")
    groups: dict[str, list[dict[str, object]]] = {}
    for entry in data["benchmarks"]:
        groups.setdefault(entry["group"], []).append(entry)
    for group, entries in groups.items():
        plain = next((e["stats"]["median"] for e in entries if "plain" in str(e["param"])), None)  # type: ignore[index]
        for entry in entries:
            median = entry["stats"]["median"]  # type: ignore[index]
            ratio = f"{median / plain:.2f}" if plain else ""
            notes = ", ".join(f"{key} {value}" for key, value in entry["extra_info"].items())  # type: ignore[attr-defined]
            way = entry["param"] or str(entry["name"]).removeprefix("test_")
            print(f"| {group} | {way} | {median * 1000:.0f} ms | {ratio} | {notes} |")


if __name__ == "__main__":
    main(sys.argv[1])
