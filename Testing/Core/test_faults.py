"""Killed, out of room, shut out, or two at once: nothing is lost, nothing is half-read, and a clear message."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from fault_table import committed, measure, table, without_counts

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and Linux's limits")

TITLES = (
    "checkpoint and results of a fold",
    "new run folder",
    "patch cache",
    "bundle, one file, replaced",
    "bundle, a folder, replaced",
    "mask, note and table of a worklist",
    "merge of a study",
    "one prediction, replaced",
    "table, masks and report of an import",
    "predictions of a table",
)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Of some of the moments of every write."""
    return measure()


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("fault", ["kill", "two", "full", "read-only"])
def test_nothing_is_lost_or_half_read(results: dict[str, Any], title: str, fault: str) -> None:
    if fault not in results[title] and os.geteuid():
        pytest.skip("cannot mount a small tmpfs here (needs root)")
    found = results[title][fault]
    assert not found["problems"], "\n".join(found["problems"][:5])
    assert all(found[name] for name in ("killed", "torn", "tried", "levels") if name in found)


def test_the_table_of_the_readme_is_what_was_found(results: dict[str, Any]) -> None:
    if any("full" not in found for found in results.values()):
        pytest.skip("cannot mount a small tmpfs here (needs root)")
    for line, known in zip(table(results).splitlines(), committed().splitlines(), strict=True):
        cells, expected = (without_counts(text).split(" | ") for text in (line, known))
        met, may = (set(each.pop(3).removeprefix("N meetings: ").split(" / ")) for each in (cells, expected))
        assert cells == expected, "run Testing/Core/fault_table.py"
        assert met <= may | {"both end well"}, "run Testing/Core/fault_table.py"  # fewer moments, fewer encounters


@pytest.mark.slow
def test_every_moment_of_every_write() -> None:
    found = measure("--all")
    assert not [problem for faults in found.values() for name in faults if name != "changes"
                for problem in faults[name]["problems"]]  # fmt: skip
    if sys.version_info[:2] == (3, 11) and all("full" in faults for faults in found.values()):
        assert table(found) == committed(), "run Testing/Core/fault_table.py"
