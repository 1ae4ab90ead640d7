"""What every reader of a model card may rely on: kinds and limits of its values, and that they fit together."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from MolSubCore.errors import BundleError, printable
from MolSubCore.tasks import TASKS

#: A part of a card: gives the path of what is wrong in it, such as ``.test.n``; empty for the value itself.
Shape = Callable[[Any], str | None]

#: Deeper or longer parts are no card's.
_DEEPEST, _LONGEST_TEXT, _MOST = 24, 20_000, 100_000
_ARCHITECTURE = re.compile(r"[\w.+-]{1,100}")


def _is(kind: Callable[[Any], bool]) -> Shape:
    return lambda value: None if kind(value) else ""


def _number_in(low: float, high: float) -> Shape:
    return _is(lambda value: _is_number(value) and low <= value <= high)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _optional(shape: Shape) -> Shape:
    return lambda value: None if value is None else shape(value)


def _list_of(shape: Shape) -> Shape:
    def check(value: Any) -> str | None:
        if not isinstance(value, list) or len(value) > _MOST:
            return ""
        wrong = ((number, shape(one)) for number, one in enumerate(value))
        return next((f"[{number}]{path}" for number, path in wrong if path is not None), None)

    return check


def _mapping_of(shape: Shape) -> Shape:
    def check(value: Any) -> str | None:
        if not isinstance(value, dict) or len(value) > _MOST:
            return ""
        wrong = ((key, shape(one)) for key, one in value.items())
        return next((f".{key}{path}" for key, path in wrong if path is not None), None)

    return check


def _record(needed: Mapping[str, Shape], **known: Shape) -> Shape:
    """An object: `needed` keys are there, `known` ones may be absent or null; any other may hold anything."""

    def check(value: Any) -> str | None:
        if not isinstance(value, dict):
            return ""
        if lacking := [key for key in needed if key not in value]:
            return f".{lacking[0]}"
        parts = {**needed, **{key: _optional(shape) for key, shape in known.items() if key in value}}
        wrong = ((key, shape(value.get(key))) for key, shape in parts.items())
        return next((f".{key}{path}" for key, path in wrong if path is not None), None)

    return check


_TEXT = _is(lambda value: isinstance(value, str))
_TRUTH = _is(lambda value: isinstance(value, bool))
_NUMBER = _is(_is_number)
_COUNT = _is(lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9)
_AMOUNT = _number_in(0, 1e9)
#: Rounded sums of shares may leave 0 to 1 by the last digit.
_SHARE = _number_in(-1e-6, 1 + 1e-6)


def _metric(limits: Shape) -> Shape:
    parts = _record({"value": _optional(limits)}, low=limits, high=limits, method=_TEXT, why=_TEXT)

    def check(value: Any) -> str | None:
        if (wrong := parts(value)) is not None:
            return wrong
        low, high = value.get("low"), value.get("high")
        return ".low" if low is not None and high is not None and low > high else None

    return check


def _range_in(low: float, high: float) -> Shape:
    """The smallest and the largest of something; or nothing."""
    numbers = _list_of(_number_in(low, high))
    return lambda value: numbers(value) if not isinstance(value, list) or len(value) in (0, 2) else ""


_METRIC = _metric(_SHARE)
_BIN = _record({"patients": _AMOUNT, **dict.fromkeys(("start", "end", "predicted", "observed", "low", "high"), _SHARE)})
_OF_CLASS = _record(
    {"patients": _AMOUNT, "observed": _AMOUNT, "expected": _AMOUNT},
    brier=_metric(_number_in(-1e-6, 2)), slope=_metric(_number_in(-1e8, 1e8)),
    intercept=_metric(_number_in(-1e8, 1e8)), expected_observed=_metric(_number_in(-1e9, 1e9)),
)  # fmt: skip
_OVERALL = _record({"bins": _list_of(_BIN), "brier": _number_in(0, 2), "patients": _AMOUNT, "of": _TEXT})
_CALIBRATION = _record({"classes": _mapping_of(_OF_CLASS), "overall": _OVERALL})
_LEVEL = _record(
    {}, n=_COUNT, n_patients=_COUNT, metrics=_mapping_of(_METRIC), confusion=_list_of(_list_of(_AMOUNT)),
    calibration=_CALIBRATION,
)  # fmt: skip
_PART = _record({}, image=_LEVEL, patient=_LEVEL)
_COUNTS = _mapping_of(_COUNT)
_COHORT = _record(
    {}, patients=_COUNT, images=_COUNT, lesions=_COUNT, manufacturers=_COUNTS, views=_COUNTS, presentation=_COUNTS,
    spacing_sources=_COUNTS, spacing_mm=_range_in(0, 100), roi_side_px=_range_in(0, 1e6),
    synthetic=_TRUTH,
)  # fmt: skip
_JUDGED = _record({}, before=_record({"classes": _mapping_of(_OF_CLASS)}), after=_record({}))
_RECIPE = _record(
    {"name": _TEXT, "bound": _number_in(0, 2000), "bound_unit": _is(lambda value: value in ("px", "mm"))},
    version=_COUNT, display=_TEXT, clahe_clip=_number_in(0, 1e4), together=_TRUTH, square=_TEXT, resize=_TEXT,
    patch_dtype=_TEXT, mean=_number_in(-10, 10), std=_number_in(1e-6, 10),
    size=_is(lambda value: isinstance(value, int) and not isinstance(value, bool) and 16 <= value <= 1024),
)  # fmt: skip

#: What every reader of a card may rely on.
CARD_CHECKS: dict[str, Shape] = {
    "name": _optional(_TEXT),
    "architecture": _is(lambda value: isinstance(value, str) and _ARCHITECTURE.fullmatch(value) is not None),
    "task": _TEXT,
    "classes": _list_of(_TEXT),
    "positive": _optional(_TEXT),
    "class_order_verified": _optional(_TRUTH),
    "class_order_source": _optional(_TEXT),
    "recipe": _RECIPE,
    "dropout": _is(lambda value: _is_number(value) and 0 <= value < 1),
    "members": _list_of(_record({"file": _TEXT, "sha256": _TEXT})),
    "temperature": _optional(_number_in(0.01, 100)),
    "recalibration": _optional(
        _record(
            {"method": _TEXT, "intercepts": _list_of(_number_in(-100, 100)), "slope": _number_in(0.01, 100)},
            patients=_COUNT, fitted_on=_TEXT, judged_on=_COUNT, judged=_JUDGED,
        )
    ),
    "thresholds": _list_of(
        _record(
            {"rule": _TEXT, "positive": _TEXT, "value": _number_in(-0.01, 1.01), "sensitivity": _SHARE,
             "specificity": _SHARE},
            patients=_COUNT,
        )
    ),
    "training": _record({}, summary=_TEXT, cohort=_COHORT, plan=_record({}, data_hash=_TEXT), folds=_list_of(_COUNT)),
    "metrics": _record({}, test=_PART, validation=_PART),
    "warnings": _list_of(_TEXT),
    "vendors": _list_of(_TEXT),
    "synthetic": _optional(_TRUTH),
    "intended_use": _optional(_TEXT),
    "version": _optional(_TEXT),
    "changelog": _optional(_mapping_of(_TEXT)),
    "software": _optional(_record({}, torch=_TEXT, numpy=_TEXT, MolSubCore=_TEXT)),
    "created": _optional(_TEXT),
}  # fmt: skip


def check_values(path: Path, card: dict[str, Any]) -> None:
    """Check the kinds and limits of all that a card's readers use, at any depth.

    Raises
    ------
    BundleError
        That names the first wrong value.
    """
    for key, shape in CARD_CHECKS.items():
        if key in card and (where := shape(card[key])) is not None:
            found = f"has '{key}{where}' of an unexpected kind or value{_shown(card[key], where)} in its card"
            raise BundleError(path, found, "Export or import the model again")
    if (where := _unwritable(card)) is not None:
        found = f"has '{where.strip('.')}' in its card that is no text or number, too long, or too deep"
        raise BundleError(path, found, "Export or import the model again")


def _shown(value: Any, where: str) -> str:
    """What stands at a path of a card, in brackets; empty where it is nothing that can be shown."""
    for key in re.findall(r"\.([^.\[]+)|\[(\d+)\]", where):
        try:
            value = value[key[0]] if key[0] else value[int(key[1])]
        except (KeyError, IndexError, TypeError):
            return ""
    return f" ({printable(json.dumps(value), 60)})" if isinstance(value, str | int | float) or value is None else ""


def check_counts(path: Path, card: dict[str, Any]) -> None:
    """Check that a card's validation and test sets are no larger than the cohort that they are parts of.

    Raises
    ------
    BundleError
    """
    training = card.get("training") or {}
    patients = (training.get("cohort") or {}).get("patients")
    parts = {
        name: (((card.get("metrics") or {}).get(name) or {}).get("patient") or {}).get("n_patients") or 0
        for name in ("validation", "test")
    }
    # With several folds all patients but the test set's are validated, each once.
    if patients is not None and (count := sum(parts.values())) > patients:
        found = f"has {count} patients in its validation and test sets, of a cohort of {patients} in its card"
        raise BundleError(path, found, "Export or import the model again")


def _unwritable(value: Any, depth: int = 0) -> str | None:
    """Where a card holds a number without end, half of a character, or more than any card does; None where nowhere."""
    if isinstance(value, dict):
        pairs = [(f".{key}"[:60], one) for key, one in value.items()]
        if any(_unwritable(key) is not None for key in value):
            return ""
    elif isinstance(value, list):
        pairs = [(f"[{number}]", one) for number, one in enumerate(value)]
    elif isinstance(value, str):
        fine = len(value) <= _LONGEST_TEXT and not any("\ud800" <= sign <= "\udfff" for sign in value)
        return None if fine else ""
    else:
        return "" if isinstance(value, float) and not math.isfinite(value) else None
    if depth > _DEEPEST:
        return ""
    wrong = ((key, _unwritable(one, depth + 1)) for key, one in pairs)
    return next((f"{key}{path}" for key, path in wrong if path is not None), None)


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


def check_class_order(task: str, names: Sequence[str]) -> tuple[str, ...]:
    """The classes of a task in an order that a user gives.

    Raises
    ------
    BundleError
        If they are not each class once.
    """
    given, classes = tuple(name.strip() for name in names), TASKS[task].classes
    if sorted(given) != sorted(classes):
        raise BundleError("class order", f"is {', '.join(given)}", f"Give each of {', '.join(classes)} once")
    return given
