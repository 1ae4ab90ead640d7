"""The paper's numbers, for orientation beside those of the user's cohort."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from MolSubCore.files import read_json
from MolSubCore.tasks import get_task


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Content of ``published.json``: Tables 2 and 3 of the paper and the AUCs of its text, with their source."""
    content: dict[str, Any] = read_json(Path(__file__).with_name("published.json"))
    return content


def published_text(task: str, part: str, metric: str) -> str:
    """A number as the paper prints it, with its interval; empty where it prints none.

    Parameters
    ----------
    task : str
    part : {"validation", "test"}
    metric : str
        Ours; the paper's five-class metrics stand beside our macro means.
    """
    entry = published()["tasks"].get(task, {}).get(part, {}).get(metric.removeprefix("macro "))
    if entry is None:
        return ""
    if "low" in entry:
        return f"{entry['value']:.3f} ({entry['low']:.3f}–{entry['high']:.3f})"
    return f"{entry['value']:.4f}"


def published_caption(tasks: list[str]) -> str:
    """One sentence with the paper's AUCs of these tasks on its test set."""
    found = {task: published()["tasks"].get(task) for task in tasks}
    parts = [f"{get_task(task).title} {entry['test']['auc']['value']:.3f}" for task, entry in found.items() if entry]
    return f"Published (other cohort), AUC on the test set: {', '.join(parts)}." if parts else ""
