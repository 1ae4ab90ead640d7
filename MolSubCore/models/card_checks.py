"""What every reader of a model card may rely on: the kinds of its values, and that classes are those of the task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from MolSubCore.errors import BundleError
from MolSubCore.tasks import TASKS


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _are_members(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("file"), str) and isinstance(one.get("sha256"), str)
        for one in value
    )


def _is_recipe(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("bound_unit") not in ("px", "mm"):
        return False
    return isinstance(value.get("name"), str) and _is_number(value.get("bound"))


def _is_recalibration(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not isinstance(value.get("method"), str):
        return False
    slope, intercepts = value.get("slope", 0), value.get("intercepts")
    return bool(_is_number(slope) and slope > 0 and isinstance(intercepts, list) and all(map(_is_number, intercepts)))


def _are_thresholds(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict)
        and all(isinstance(one.get(key), str) for key in ("rule", "positive"))
        and all(_is_number(one.get(key)) for key in ("value", "sensitivity", "specificity"))
        for one in value
    )


#: What every reader of a card may rely on; the recipe's other fields are checked where it is used.
CARD_CHECKS: dict[str, Callable[[Any], bool]] = {
    "architecture": lambda value: isinstance(value, str),
    "task": lambda value: isinstance(value, str),
    "classes": _are_texts,
    "positive": lambda value: value is None or isinstance(value, str),
    "recipe": _is_recipe,
    "dropout": lambda value: _is_number(value) and 0 <= value < 1,
    "members": _are_members,
    "temperature": lambda value: value is None or (_is_number(value) and value > 0),
    "recalibration": _is_recalibration,
    "thresholds": _are_thresholds,
    "training": lambda value: isinstance(value, dict),
    "metrics": lambda value: isinstance(value, dict),
    "warnings": _are_texts,
    "vendors": _are_texts,
}


def check_classes(path: Path, card: dict[str, Any]) -> None:
    """Check a card's task and classes, and all that is said of single classes.

    Raises
    ------
    BundleError
        If the task is unknown, or classes, positive class, recalibration or thresholds are not those of it.
    """
    task, classes = TASKS.get(card["task"]), card["classes"]
    if task is None or sorted(classes) != sorted(task.classes):
        raise BundleError(path, f"has task {card['task']} with classes {classes}", f"Known: {', '.join(TASKS)}")
    if card.get("positive", task.positive) != task.positive:
        found = f"has the positive class '{card['positive']}', expected '{task.positive}' of task {task.name}"
        raise BundleError(path, found, "Export or import the model again")
    if (change := card.get("recalibration")) and len(change["intercepts"]) != len(classes):
        raise BundleError(path, "has a recalibration of another number of classes", "Make the bundle again")
    if any(one["positive"] not in classes for one in card.get("thresholds", ())):
        raise BundleError(path, "has a threshold of an unknown class", "Make the bundle again")
