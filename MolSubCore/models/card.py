"""Model cards and bundle files: everything that needs no torch.

A bundle is one folder, or one ``.molsub`` file (a zip without compression), with ``bundle.json`` (the
card) and one safetensors file per member; a fused model may have more. There is no pickle in it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.errors import BundleError, MolSubError, counted, explain_error, printable, reason_of
from MolSubCore.files import ESCAPED, MANIFEST, OVERWRITE, atomic_folder, atomic_path, check_free, try_place
from MolSubCore.models.fingerprints import RECALIBRATION, read_fingerprints
from MolSubCore.tasks import TASKS, get_task

#: Checks a part of a card: returns the path of a wrong value, such as ``.test.n`` (empty: the value itself), or None.
Shape = Callable[[Any], str | None]

#: Limits of depth, text length and entries.
_DEEPEST, _LONGEST_TEXT, _MOST = 24, 20_000, 100_000
_AGAIN = "Export or import the model again"
#: Two numbers that differ by less are the same, after rounding.
_SAME = 1e-6
_ARCHITECTURE = re.compile(r"[\w.+-]{1,100}")


def _is(kind: Callable[[Any], bool]) -> Shape:
    return lambda value: None if kind(value) else ""


def _number_in(low: float, high: float) -> Shape:
    return _is(lambda value: _is_number(value) and low <= value <= high)


def _whole_in(low: int, high: int) -> Shape:
    return _is(lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)


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
    """An object: `needed` keys are required, `known` ones may be absent or null; others may hold anything."""

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
_COUNT = _whole_in(0, 10**9 - 1)
_AMOUNT = _number_in(0, 1e9)
#: Rounding may put sums of shares slightly outside 0 to 1.
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
    """An empty list, or smallest and largest value, in this order."""
    numbers = _list_of(_number_in(low, high))

    def check(value: Any) -> str | None:
        if (wrong := numbers(value)) is not None:
            return wrong
        return None if not value or (len(value) == 2 and value[0] <= value[1]) else ""

    return check


_METRIC = _metric(_SHARE)
_BIN = _record({"patients": _AMOUNT, **dict.fromkeys(("start", "end", "predicted", "observed", "low", "high"), _SHARE)})
_OF_CLASS = _record(
    {"patients": _AMOUNT, "observed": _AMOUNT, "expected": _AMOUNT},
    brier=_metric(_number_in(-1e-6, 2)), slope=_metric(_number_in(-1e15, 1e15)),
    intercept=_metric(_number_in(-1e15, 1e15)), expected_observed=_metric(_number_in(-1e9, 1e9)),
)  # fmt: skip
_OVERALL = _record(
    {"bins": _list_of(_BIN), "brier": _number_in(0, 2), "patients": _AMOUNT, "of": _TEXT},
    log_loss=_number_in(0, 1e4), ece=_SHARE, ece_low=_SHARE, ece_high=_SHARE, ece_expected=_SHARE,
)  # fmt: skip
_CALIBRATION = _record({"classes": _mapping_of(_OF_CLASS), "overall": _OVERALL})
_LEVEL = _record(
    {}, n=_COUNT, n_patients=_COUNT, metrics=_mapping_of(_METRIC), confusion=_list_of(_list_of(_AMOUNT)),
    calibration=_CALIBRATION, uncalibrated=_CALIBRATION,
)  # fmt: skip
_PART = _record({}, image=_LEVEL, patient=_LEVEL)
_COUNTS = _mapping_of(_COUNT)
_COHORT = _record(
    {}, patients=_COUNT, images=_COUNT, lesions=_COUNT, manufacturers=_COUNTS, views=_COUNTS, presentation=_COUNTS,
    displays=_COUNTS, spacing_sources=_COUNTS, spacing_mm=_range_in(0, 100), roi_side_px=_range_in(0, 1e6),
    synthetic=_TRUTH,
)  # fmt: skip
_SHARES = _mapping_of(_SHARE)
_INTERVAL = _optional(_range_in(-1e9, 1e9))
#: A `MolSubCore.statistics.calibration.CalibrationMap`; recalibrations of before act on single lesions and say less.
_MAP_NEEDS: dict[str, Shape] = {
    "method": _TEXT, "intercepts": _list_of(_number_in(-100, 100)), "slope": _number_in(0.01, 100),
}  # fmt: skip
_MAP_HAS: dict[str, Shape] = {
    "acts_on": _is(lambda value: value == "patient"), "patients": _COUNT, "fitted_on": _TEXT, "why": _TEXT,
    "counts": _COUNTS, "seen": _SHARES, "own": _SHARES, "at_bound": _TRUTH, "slope_interval": _INTERVAL,
    "intercept_intervals": _list_of(_INTERVAL), "members": _COUNT, "test_patients": _COUNT,
}  # fmt: skip
_JUDGED = _record({}, before=_record({"classes": _mapping_of(_OF_CLASS)}), after=_record({}))
_RECIPE = _record(
    {"name": _TEXT, "bound": _number_in(0, 2000), "bound_unit": _is(lambda value: value in ("px", "mm"))},
    version=_COUNT, display=_TEXT, clahe_clip=_number_in(0, 1e4), together=_TRUTH, square=_TEXT, resize=_TEXT,
    patch_dtype=_TEXT, mean=_number_in(-10, 10), std=_number_in(1e-6, 10),
    size=_whole_in(16, 1024),
)  # fmt: skip
_THRESHOLDS = _list_of(
    _record(
        {"rule": _TEXT, "positive": _TEXT, "value": _number_in(-0.01, 1.01), "sensitivity": _SHARE,
         "specificity": _SHARE},
        patients=_COUNT,
    )
)  # fmt: skip
_OWN_CALIBRATION = _optional(
    _record({**_MAP_NEEDS, "acts_on": _MAP_HAS["acts_on"], "why": _TEXT, "patients": _COUNT}, **_MAP_HAS)
)
_METRICS = _record({}, test=_PART, validation=_PART)
_NUMBERS = _list_of(_number_in(-1e12, 1e12))
_STEP_TEXTS: dict[str, Shape] = {"name": _TEXT, "title": _TEXT}
_TESTED = _record({}, **dict.fromkeys(("both", "one", "none"), _record({"patients": _COUNT}, auc=_SHARE)))
_CLINICAL = _record(
    {
        **_STEP_TEXTS,
        "image": _TRUTH,
        "columns": _mapping_of(_is(lambda value: value in ("continuous", "categorical"))),
        "members": _list_of(
            _record(
                {"mean": _NUMBERS, "scale": _list_of(_number_in(1e-12, 1e12)), "coefficients": _list_of(_NUMBERS),
                 "intercept": _NUMBERS, "categories": _list_of(_list_of(_TEXT))}
            )
        ),
    }
)  # fmt: skip
#: Steps of a fused model by name: what their entries hold.
_STEPS: dict[str, Shape] = {
    "tta": _record(_STEP_TEXTS),
    "views-mean": _record(_STEP_TEXTS),
    "views-learned": _record(
        {**_STEP_TEXTS, "file": _TEXT, "sha256": _TEXT, "features": _whole_in(1, 65536),
         "precision": _is(lambda value: value in ("float16", "float32"))},
        tested=_TESTED,
    ),
    "clinical": _CLINICAL,
    "clinical-only": _CLINICAL,
}  # fmt: skip
_BASE = _record({"model": _TEXT, "calibration": _OWN_CALIBRATION, "thresholds": _THRESHOLDS, "metrics": _METRICS})


def _step(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, dict) else None
    return _STEPS[name](value) if isinstance(name, str) and name in _STEPS else ".name"


#: What every reader of a card can rely on.
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
    "calibration": _OWN_CALIBRATION,
    "recalibration": _optional(_record(_MAP_NEEDS, **_MAP_HAS, judged_on=_COUNT, judged=_JUDGED)),
    "thresholds": _THRESHOLDS,
    "training": _record({}, summary=_TEXT, cohort=_COHORT, plan=_record({}, data_hash=_TEXT), folds=_list_of(_COUNT)),
    "metrics": _METRICS,
    "fusion": _optional(_record({"steps": _list_of(_step), "bases": _list_of(_BASE)})),
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
            found = f"has an invalid value of '{key}{where}'{_shown(card[key], where)} in its card"
            raise BundleError(path, found, _AGAIN)
    if (where := _unwritable(card)) is not None:
        found = f"has '{where.strip('.')}' in its card, which is not text or a number, or is too long or too deep"
        raise BundleError(path, found, _AGAIN)


def _shown(value: Any, where: str) -> str:
    """The value at a path of a card, in brackets; empty for objects and lists."""
    for key in re.findall(r"\.([^.\[]+)|\[(\d+)\]", where):
        try:
            value = value[key[0]] if key[0] else value[int(key[1])]
        except (KeyError, IndexError, TypeError):
            return ""
    return f" ({printable(json.dumps(value), 60)})" if isinstance(value, str | int | float) or value is None else ""


def check_counts(path: Path, card: dict[str, Any]) -> None:
    """Check that a card's validation and test sets together are no larger than their cohort.

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
        found = f"has {count} validation and test patients in its card, but a cohort of {patients}"
        raise BundleError(path, found, _AGAIN)


def _unwritable(value: Any, depth: int = 0) -> str | None:
    """Path of a number that is not finite, half a character, or a value beyond the limits; None if there is none."""
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
    """Check a card's task and classes, and all values about single classes.

    Raises
    ------
    BundleError
        If the task is unknown, or classes, positive class, recalibration or thresholds are not those of it.
    """
    task, classes = TASKS.get(card["task"]), card["classes"]
    if task is None or sorted(classes) != sorted(task.classes):
        raise BundleError(path, f"has task {card['task']} with classes {classes}", f"Known tasks: {', '.join(TASKS)}")
    if card.get("positive", task.positive) != task.positive:
        found = f"has the positive class '{card['positive']}', expected '{task.positive}' of task {task.name}"
        raise BundleError(path, found, _AGAIN)
    planned = ((card.get("training") or {}).get("plan") or {}).get("classes")
    if planned is not None and planned != classes:
        found = f"has the classes {classes}, but was trained with {planned}: the logits would get each other's names"
        raise BundleError(path, found, _AGAIN)
    for name in ("calibration", "recalibration"):
        if (change := card.get(name)) and len(change["intercepts"]) != len(classes):
            raise BundleError(path, f"has a {name} for another number of classes", _AGAIN)
    if any(one["positive"] not in classes for one in card.get("thresholds", ())):
        raise BundleError(path, "has a threshold for an unknown class", _AGAIN)
    _check_prior(path, card.get("calibration"), classes)


def _check_prior(path: Path, own: dict[str, Any] | None, classes: Sequence[str]) -> None:
    """Refuse a calibration that nothing was fitted for, but that does more than its shares of the classes say."""
    if own is None or own["method"] != "prior":
        return
    seen, cohort = own.get("seen") or {}, own.get("own") or {}
    if any(part and sorted(part) != sorted(classes) for part in (seen, cohort)):
        raise BundleError(path, "has a calibration with shares of other classes", _AGAIN)
    # As `MolSubCore.statistics.calibration.ClassShares.shift`, without NumPy.
    pairs = [(cohort.get(name, 0.0), seen.get(name, 0.0)) for name in classes]
    shift = [math.log(a / b) if a > 0 and b > 0 else 0.0 for a, b in pairs]
    expected = [value - shift[0] for value in shift]
    wrong = max(abs(here - there) for here, there in zip(own["intercepts"], expected, strict=True))
    if wrong > _SAME or abs(own["slope"] - 1) > _SAME:
        found = "has a calibration that was fitted on nobody, but is not what its shares of the classes give"
        raise BundleError(path, found, _AGAIN)


def check_fusion(path: Path, card: dict[str, Any]) -> None:
    """Check that the parts of a card's fusion fit each other and its members and classes.

    Raises
    ------
    BundleError
    """
    if not (fusion := card.get("fusion")):
        return
    names = [step["name"] for step in fusion["steps"]]
    if not names or any(name.startswith("clinical") for name in names[:-1]) or len(names) > 2:
        raise BundleError(path, f"has a fusion of the steps {', '.join(names) or 'none'}, which do not follow", _AGAIN)
    if len(names) == 2 and not names[1].startswith("clinical"):
        raise BundleError(path, f"has a fusion of the steps {', '.join(names)}, which do not follow", _AGAIN)
    if len(fusion["bases"]) != len(names):
        found = f"has a fusion of {counted(len(names), 'step')} with {counted(len(fusion['bases']), 'base')}"
        raise BundleError(path, found, _AGAIN)
    if card.get("temperature"):
        raise BundleError(path, "has a fusion and a temperature, which no version writes", _AGAIN)
    for base in fusion["bases"]:
        check_classes(path, {**card, **base, "recalibration": None})
    for step in fusion["steps"]:
        if (why := _misfit(step, len(card["members"]), len(card["classes"]))) is not None:
            raise BundleError(path, f"has a fusion {step['name']} whose {why} do not fit", _AGAIN)
        if "file" in step:
            _check_name(path, step["file"])


def _misfit(step: dict[str, Any], members: int, classes: int) -> str | None:
    """Which parts of a step do not fit; None where all do."""
    if "members" not in step:
        return None
    kinds, rows = list(step["columns"].values()), 1 if classes == 2 else classes
    numbers = (rows if step["image"] else 0) + kinds.count("continuous")
    if len(step["members"]) != members or not kinds:
        return "members or columns"
    for one in step["members"]:
        width = numbers + sum(map(len, one["categories"]))
        if not len(one["mean"]) == len(one["scale"]) == numbers or len(one["categories"]) != kinds.count("categorical"):
            return "columns"
        if len(one["intercept"]) != rows or [len(row) for row in one["coefficients"]] != [width] * rows:
            return "coefficients"
    return None


def check_class_order(task: str, names: Sequence[str]) -> tuple[str, ...]:
    """The classes of a task in the order that the user gives.

    Raises
    ------
    BundleError
        If they are not each class once.
    """
    given, classes = tuple(name.strip() for name in names), TASKS[task].classes
    if sorted(given) != sorted(classes):
        raise BundleError("class order", f"is {', '.join(given)}", f"Give each of {', '.join(classes)} once")
    return given


FORMAT, FORMAT_VERSION = "molsub-bundle", 1
#: Of bundles with a fusion: programs that know none must not take them for their networks.
FUSED_VERSION = 2
CARD = "bundle.json"
_CARD_CAP, _MEMBER_CAP, _MEMBERS_CAP = 16 << 20, 512 << 20, 64
_WARNINGS_TOLD = 20
#: Endings of other model files, not allowed for a bundle's folder.
_OTHER_ENDINGS = (".pt", ".pth", ".ckpt", ".bin", ".onnx", ".zip", ".tar", ".gz", ".safetensors", ".json", ".h5")

_REQUIRED = ("architecture", "task", "classes", "recipe", "dropout", "members")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, none of its keys twice: which of them counts, every reader decides by itself."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"the key {printable(next(key for key in names if names.count(key) > 1), 40)} is there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def library_folder() -> Path:
    """The user's model library: ``$MOLSUB_MODELS``, or ``MolSub/models`` in the user's data folder."""
    if chosen := os.environ.get("MOLSUB_MODELS"):
        return Path(chosen)
    from platformdirs import user_data_dir

    return Path(user_data_dir("MolSub", appauthor=False)) / "models"


def scan_library(folder: Path) -> tuple[list[tuple[Path, dict[str, Any]]], list[BundleError]]:
    """Every bundle right below `folder` with its card, and an error for each that cannot be read.

    A folder that does not exist holds none; BundleError for anything but a folder.
    """
    found, problems = [], []
    if os.path.lexists(folder) and not os.path.isdir(folder):  # noqa: PTH112 - long names raise
        raise BundleError(folder, "is not a folder, expected a folder of bundles", "Give the folder that holds them")
    for path in sorted(folder.iterdir()) if os.path.isdir(folder) else []:  # noqa: PTH112
        if not path.name.startswith(".") and (path.suffix == ".molsub" or os.path.isfile(path / CARD)):  # noqa: PTH113
            try:
                found.append((path, read_card(path)))
            except BundleError as error:
                problems.append(error)
            except Exception as error:  # whatever it is, it is this bundle's
                problems.append(BundleError(path, f"cannot be read ({explain_error(error)[0]})", "Copy it again"))
    return found, problems


def find_bundle(name: str | os.PathLike[str]) -> Path:
    """The bundle at a path, or of a name (with or without ``.molsub``) in the library.

    Raises
    ------
    BundleError
        If there is none.
    """
    path = Path(name)
    library = library_folder()
    for candidate in (path, library / path, library / f"{path}.molsub"):
        if candidate.exists():
            return candidate
    raise BundleError(
        path, f"is not a bundle here or in {library}", "Give its path; molsub models list shows the library"
    )


def class_indices(known: Sequence[str], asked: Sequence[str]) -> list[int] | None:
    """Indices of the classes to explain; None means the predicted one.

    Parameters
    ----------
    known : sequence of str
        The card's classes.
    asked : 'predicted', 'all' or sequence of str

    Raises
    ------
    MolSubError
        If the model has no such class.
    """
    if asked == "predicted":
        return None
    if asked == "all":
        return list(range(len(known)))
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise MolSubError("class", f"unknown value '{unknown[0]}'", f"Choose among {', '.join(known)}, predicted, all")
    return [known.index(name) for name in asked]


def read_card(path: Path) -> dict[str, Any]:
    """The card of a bundle, checked, with the positive class of its task where it has none.

    Raises
    ------
    BundleError
        If it is missing, broken, of another version, or names an unknown task or another positive class.
    """
    try:
        card = json.loads(
            read_entry(path, CARD, _CARD_CAP).decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_once
        )
    except BundleError:
        raise
    except (ValueError, RecursionError) as error:  # also not UTF-8, or numbers too long
        raise BundleError(path, f"has a broken {CARD} ({reason_of(error)})", _AGAIN) from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise BundleError(path, f"is not a {FORMAT}", "Make one with molsub models export or import")
    if type(version := card.get("format_version")) is not int or version not in (FORMAT_VERSION, FUSED_VERSION):
        shown = printable(json.dumps(version), 60)
        found = f"has format version {shown}, this program reads {FORMAT_VERSION} and {FUSED_VERSION} (a number)"
        raise BundleError(path, found, "Export the model again with this version, or use the version that made it")
    if (version == FUSED_VERSION) != bool(card.get("fusion")):
        found = f"has format version {version} {'with' if card.get('fusion') else 'without'} a fusion in {CARD}"
        raise BundleError(path, found, _AGAIN)
    missing = [key for key in _REQUIRED if key not in card]
    if missing:
        raise BundleError(path, f"lacks {', '.join(missing)} in {CARD}", _AGAIN)
    check_values(path, card)
    check_classes(path, card)
    check_counts(path, card)
    try:
        read_fingerprints((card.get("training") or {}).get("fingerprints"))
    except BundleError as error:
        raise BundleError(path, f"has {error.subject} that {error.problem}", error.remedy) from None
    if not 1 <= len(card["members"]) <= _MEMBERS_CAP:
        raise BundleError(path, f"has {len(card['members'])} members, expected 1 to {_MEMBERS_CAP}", _AGAIN)
    for member in card["members"]:
        _check_name(path, member["file"])
    check_fusion(path, card)
    _check_files(path, [one["file"] for one in bundle_files(card)])
    card.setdefault("positive", get_task(card["task"]).positive)
    return card


def check_recipe(path: Path, card: dict[str, Any]) -> None:
    """Refuse a card whose preprocessing this program does not make (BundleError); unlike `read_card` it needs NumPy."""
    from MolSubCore.lesions.preprocessing import Recipe

    try:
        Recipe.from_dict(card["recipe"])
    except MolSubError as error:
        raise BundleError(path, f"has a {error.subject} that {error.problem}", error.remedy) from None


def bundle_files(card: dict[str, Any]) -> list[dict[str, str]]:
    """Name and SHA-256 of every file of a bundle beside its card: its members, and what its fusion needs."""
    more = [step for step in (card.get("fusion") or {}).get("steps", ()) if "file" in step]
    return [{name: one[name] for name in ("file", "sha256")} for one in (*card["members"], *more)]


def read_member(path: Path, member: dict[str, str]) -> bytes:
    """The bytes of one member, checked against the card's SHA-256."""
    data = read_entry(path, member["file"], _MEMBER_CAP)
    digest = hashlib.sha256(data).hexdigest()
    if digest != member["sha256"]:
        found = f"{member['file']} has SHA-256 {digest[:12]}..., the card says {member['sha256'][:12]}..."
        raise BundleError(path, found, "The file was changed or damaged: export or copy it again")
    return data


def _check_name(path: Path, name: str) -> None:
    """Refuse a name of a file that leads out of its bundle (BundleError)."""
    if PurePosixPath(name).name != name or "\\" in name or name in ("", ".", ".."):
        raise BundleError(path, f"names a file outside itself ('{name}')", "Do not use this bundle")


def _check_files(path: Path, listed: Sequence[str]) -> None:
    """Refuse a bundle whose card lists a file twice, or an archive with others or one twice (BundleError)."""
    if len(set(listed)) < len(listed):
        twice = next(name for name in listed if listed.count(name) > 1)
        raise BundleError(path, f"lists {printable(twice, 60)} twice in its card: it would count twice", _AGAIN)
    if path.is_dir():  # beside whose files people and systems put their own
        return
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    known = {CARD, MANIFEST, *listed}
    if odd := [name for name in names if name not in known or names.count(name) > 1]:
        found = f"holds {printable(odd[0], 60)}, which its card does not list, or holds it twice"
        raise BundleError(path, found, "Do not use this bundle, or export it again")


def read_entry(path: Path, name: str, cap: int) -> bytes:
    """One file of a bundle as bytes, never extracted; plain names only, no links.

    Raises
    ------
    BundleError
        If it is missing, larger than `cap` bytes, or its name leads out of the bundle.
    """
    _check_name(path, name)
    try:
        if path.is_dir():
            file = path / name
            if file.is_symlink():
                raise BundleError(path, f"{name} is a symbolic link", "Put the file itself there")
            if file.exists() and not file.is_file():
                raise BundleError(path, f"{name} is not a file", "Do not use this bundle")
            if file.stat().st_size > cap:
                raise BundleError(path, f"{name} is larger than {cap} bytes", "Do not use this bundle")
            return file.read_bytes()
        if path.exists() and not path.is_file():
            raise BundleError(path, "is not a file", "Give a .molsub file or folder")
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(name)
            if (
                info.file_size > cap
                or info.compress_type != zipfile.ZIP_STORED
                or stat.S_ISLNK(info.external_attr >> 16)
            ):
                raise BundleError(
                    path, f"{name} is a link, compressed, or larger than {cap} bytes", "Do not use this bundle"
                )
            return archive.read(info)
    except (FileNotFoundError, KeyError):
        raise BundleError(path, f"has no {name}", "Give a bundle made by molsub models export or import") from None
    except (BundleError, MemoryError):
        raise
    except Exception as error:  # a damaged zip file raises many kinds
        found = f"is not a bundle (neither a folder nor a readable zip file: {reason_of(error, 100)})"
        raise BundleError(path, found, "Give a .molsub file or folder, or copy it again") from None


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive, whole or damaged: some versions of Python raise for a damaged one."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return True


def check_checkpoint(path: Path) -> None:
    """Refuse anything but a PyTorch checkpoint (a zip archive), without loading PyTorch.

    Raises
    ------
    BundleError
    """
    if not path.is_file():
        raise BundleError(path, "is not a file", "Check the path")
    if not is_archive(path):
        remedy = "If it is from PyTorch before 1.6, load and save it with a newer version; else download it again"
        raise BundleError(path, "is not a PyTorch checkpoint (not a zip archive)", remedy)


def check_target(path: Path, *, overwrite: bool = False, remedy: str = OVERWRITE) -> None:
    """Refuse before any work a place to which `write_entries` would not write a bundle.

    Raises
    ------
    MolSubError
        If `path` exists and `overwrite` is false, or it is not a bundle.
    OSError
        Of `path`, if it cannot be made.
    """
    if path.suffix.lower() in _OTHER_ENDINGS or path.suffix in (".MOLSUB", ".Molsub"):
        found = f"ends in {path.suffix}, expected .molsub, or no ending for a folder"
        raise MolSubError(path, found, f"Name it {path.stem}.molsub")
    if path.suffix != ".molsub" or path.is_dir():
        check_free(path, replaces=CARD if overwrite else None, remedy=remedy)
        return
    if os.path.lexists(path):
        if not overwrite:
            raise MolSubError(path, "exists already", remedy)
        try:
            read_entry(path, CARD, _CARD_CAP)
        except BundleError:
            raise MolSubError(path, "is not a bundle, and is not replaced", "Choose another name") from None
    try_place(path)


def bundle_hash(card: dict[str, Any]) -> str:
    """SHA-256 of a bundle's card, which holds those of its members."""
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def write_entries(path: Path, entries: dict[str, bytes], *, overwrite: bool = False) -> None:
    """Write the files of a bundle, whole or not at all: to one file if `path` ends in ``.molsub``, else to a folder.

    Raises
    ------
    MolSubError
        If `path` exists and `overwrite` is false.
    """
    check_target(path, overwrite=overwrite)
    if path.suffix != ".molsub":
        with atomic_folder(path, replaces=CARD if overwrite else None, remedy=OVERWRITE) as folder:
            for name, data in entries.items():
                (folder / name).write_bytes(data)
        return
    with (
        atomic_path(path, new=not overwrite) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def card_bytes(card: dict[str, Any]) -> bytes:
    """A card as JSON; ValueError for numbers that are not finite."""
    return (json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", ESCAPED)


def now() -> str:
    """The time for a card: UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def copy_bundle(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Copy a bundle, checked against its card, to a file if `target` ends in ``.molsub``, else to a folder.

    Raises
    ------
    MolSubError
        If the bundle is damaged, or `target` exists and `overwrite` is false.
    """
    card = read_card(source)
    members = {member["file"]: read_member(source, member) for member in bundle_files(card)}
    write_entries(target, {CARD: read_entry(source, CARD, _CARD_CAP), **members}, overwrite=overwrite)


def model_summary(card: dict[str, Any]) -> dict[str, Any]:
    """What a report of a result says about the model."""
    keys = ("name", "architecture", "task", "class_order_verified", "created", "synthetic")
    return {
        **{key: card.get(key) for key in keys},
        "recipe": card["recipe"]["name"],
        "members": len(card["members"]),
        "sha256": [member["sha256"] for member in card["members"]],
        "fusion": fusion_title(card) or None,
        "bundle_sha256": card.get("whole_sha256") or bundle_hash(card),
        "MolSubCore": __version__,
    }


def fusion_title(card: Mapping[str, Any]) -> str:
    """What is made of the networks' outputs, such as ``mean of the views' logits``; empty where it is their mean."""
    titles = [str(step["title"]) for step in (card.get("fusion") or {}).get("steps", ())]
    return ", then ".join(f"{title[:1].lower()}{title[1:]}" for title in titles)


def model_name(card: Mapping[str, Any]) -> str:
    """The model as a study names it, such as ``densenet121+views-learned``."""
    return "+".join([card["architecture"], *(step["name"] for step in (card.get("fusion") or {}).get("steps", ()))])


def clinical_columns(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Clinical columns that a model uses, by name: their ``kind`` and, of categories, the known ``values``."""
    found: dict[str, dict[str, Any]] = {}
    for step in (card.get("fusion") or {}).get("steps", ()):
        words = 0
        for name, kind in (step.get("columns") or {}).items():
            known: list[str] = []
            if kind == "categorical":
                known = [word for one in step["members"] for word in one["categories"][words]]
                words += 1
            found[name] = {"kind": kind, "values": list(dict.fromkeys(known))}
    return found


def without_steps(card: dict[str, Any], steps: int) -> dict[str, Any]:
    """The card of the model that ends after so many steps of the fusion, with its own calibration and figures."""
    base = card["fusion"]["bases"][steps]
    kept = {name: card["fusion"][name][:steps] for name in ("steps", "bases")}
    own = {name: base[name] for name in ("calibration", "thresholds", "metrics")}
    whole = card.get("whole_sha256") or bundle_hash(card)
    return {**card, **own, "recalibration": None, "fusion": kept if steps else None, "whole_sha256": whole}


def patient_level(card: dict[str, Any], part: str) -> dict[str, Any]:
    """A card's results per patient on its own ``validation`` or ``test`` set; empty where it has none.

    Of a recalibrated bundle they are from before the recalibration: say so with `earlier` wherever they are shown.
    """
    found: dict[str, Any] = ((card.get("metrics") or {}).get(part) or {}).get("patient") or {}
    return found


def earlier(card: Mapping[str, Any]) -> str:
    """Label of a card's own figures that are from before a recalibration; else empty."""
    return "before the recalibration" if card.get("recalibration") else ""


def dated(card: dict[str, Any], title: str) -> str:
    """The title of a card's own figures; with `earlier` where that is not empty."""
    return f"{title}, {earlier(card)}" if earlier(card) else title


def earlier_note(card: dict[str, Any]) -> str:
    """`earlier` as a sentence, with its effect on the figures; empty where there is no recalibration."""
    if not earlier(card):
        return ""
    # Of before: of single lesions, whose mean can change the order of two patients.
    does = "leaves as they are" if card["recalibration"].get("acts_on") else "hardly changes"
    ranks = f" The AUC depends on ranks only, which a recalibration {does}." if card.get("positive") else ""
    return f"Figures of the model's own validation and test set are from {earlier(card)}.{ranks}"


def calibration_note(card: Mapping[str, Any]) -> str:
    """Whether a model's probabilities can be taken as frequencies, in a sentence."""
    temperature, own = card.get("temperature"), card.get("calibration")
    if change := card.get("recalibration"):
        named = change.get("fitted_on") or "a part"
        how, patients = f"{change.get('method') or 'a'} recalibration", change.get("patients", "some")
        return f"Calibrated by {how} on {patients} patients of another cohort ({named})."
    if isinstance(own, str):  # of a prediction of before, which has the sentence
        return own
    if own and own["method"] != "prior":
        doubt = ", who do not determine it: a number lies at the end of its range" if own.get("at_bound") else ""
        return f"Calibrated on {own['patients']} patients of the training cohort{doubt}."
    if own:
        corrected = "; corrected for oversampling" if shares_note(own) else ""
        return f"Not calibrated: {own['why']}{corrected}."
    if temperature:
        return f"Calibrated by temperature {temperature:.2f}."
    return "Not calibrated: 0.8 does not mean eight cases in ten."


def result_note(card: Mapping[str, Any]) -> str:
    """`calibration_note`, and how single views are shown beside the result; of a card, or of a prediction."""
    note = calibration_note(card)
    if card.get("fusion") or (card.get("model") or {}).get("fusion"):
        return f"{note} It acts on the result; a view alone is shown as the network alone predicts it."
    maps = (card.get(name) for name in ("calibration", "recalibration"))
    if any(isinstance(one, dict) and one.get("acts_on") for one in maps):
        note += " It acts on the mean over views; a view alone is shown through the same map."
    return note


def shares_note(calibration: Mapping[str, Any] | None) -> str:
    """Shares of the classes in training, and of the patients, in a sentence; empty where they are nearly the same."""
    seen, own = (calibration or {}).get("seen"), (calibration or {}).get("own")
    if not (seen and own) or max(abs(seen[name] - own[name]) for name in seen) < 0.01:
        return ""
    names = list(seen)[-1:] if len(seen) == 2 else list(seen)  # of two classes one says it all
    shares = (", ".join(f"{100 * part[name]:.0f} % {name}" for name in names) for part in (seen, own))
    return "Training saw {}; the cohort has {}.".format(*shares)


def card_rows(card: dict[str, Any]) -> list[tuple[str, str]]:
    """Titles and texts of the card: the same on the terminal, in reports, on its page and in Slicer."""
    recipe, members = card["recipe"], len(card["members"])
    architecture = str(card["architecture"]) + (f", {members} networks averaged" if members > 1 else "")
    fused = fusion_title(card)
    columns = "; ".join(
        f"{name}: {', '.join(one['values']) or 'a number'}" for name, one in clinical_columns(card).items()
    )
    order = str(card.get("class_order_source") or "not recorded")
    makers = card.get("vendors") or ((card.get("training") or {}).get("cohort") or {}).get("manufacturers") or ()
    return [
        ("Task", get_task(card["task"]).title),
        ("Architecture", architecture),
        *([("Fusion", fused)] if fused else []),
        *([("Clinical values", columns)] if columns else []),
        ("Intended use", str(card.get("intended_use") or "not recorded")),
        ("Classes, in the order of the logits", ", ".join(card["classes"])),
        ("Class order", order + ("" if card.get("class_order_verified") else " - NOT VERIFIED")),
        ("Positive class", str(card.get("positive") or "none: each class against the rest")),
        ("Preprocessing", f"{recipe['name']}, margin {recipe['bound']:g} {recipe['bound_unit']}"),
        ("Trained on", trained_on(card)),
        ("Manufacturers in training", ", ".join(makers) or "not recorded"),
        ("Probabilities", " ".join(filter(None, [calibration_note(card), shares_note(card.get("calibration"))]))),
        ("Created", str(card.get("created") or "not recorded")),
    ]


def card_lines(card: dict[str, Any]) -> list[str]:
    """The card for the terminal."""
    rows = [("Model", str(card.get("name") or "unnamed")), *card_rows(card)]
    rows.append(("Test set", ", ".join(test_summary(card)) or "not recorded"))
    lines = [f"{title}: {text}" for title, text in rows]
    lines += [f"Warning: {text}" for text in card_warnings(card)]
    if card.get("synthetic"):
        lines.append("Warning: trained on synthetic pictures; it says nothing about patients.")
    return [*(printable(line, 2000) for line in lines), DISCLAIMER]


def card_warnings(card: dict[str, Any]) -> list[str]:
    """The card's warnings; the first `_WARNINGS_TOLD` and how many more there are."""
    told = list(card.get("warnings", ()))
    more = len(told) - _WARNINGS_TOLD
    return [*told[:_WARNINGS_TOLD], *([f"The model's card has {more} more warnings."] if more > 0 else [])]


def trained_on(card: dict[str, Any]) -> str:
    """How many patients the model was trained on, and how many were kept for validation and testing."""
    training = card.get("training") or {}
    cohort = training.get("cohort") or {}
    if training.get("summary") or not cohort:
        return str(training.get("summary") or "not recorded")
    pictures = f"images{', synthetic' * bool(card.get('synthetic'))}"
    counts = (cohort.get(name) for name in ("patients", "images"))
    patients, images = ("an unknown number of" if count is None else str(count) for count in counts)
    total = f"{patients} patients, {images} {pictures}"
    test, validation = (patient_level(card, part).get("n_patients") for part in ("test", "validation"))
    if test is None or validation is None or cohort.get("patients") is None:
        return f"part of a cohort of {total}; how many were kept for validation and testing is not recorded"
    rest, folds = cohort["patients"] - test, len(training.get("folds") or ())
    if folds > 1:  # each patient outside the test set is in the training part of all folds but one
        return f"{rest} patients for training and validation in {folds} folds; {test} more for testing ({total} in all)"
    return f"{rest - validation} patients; {validation} more for validation and {test} for testing ({total} in all)"


def test_figures(model: Mapping[str, Any]) -> tuple[str, dict[str, dict[str, Any]]]:
    """Unit of a model's own test set, such as ``per patient, n = 78``, and its metrics.

    Parameters
    ----------
    model : mapping
        A card, or what a prediction keeps of it: its ``metrics``.
    """
    part = (model.get("metrics") or {}).get("test") or {}
    for name in ("patient", "image"):
        if level := part.get(name):
            metrics = {key: one for key, one in (level.get("metrics") or {}).items() if isinstance(one, dict)}
            count = level.get("n")
            return f"per {name}" + (f", n = {count}" if count is not None else ""), metrics
    return "", {}


def test_summary(model: Mapping[str, Any]) -> list[str]:
    """AUC and accuracy on the test set with their 95 % CI, their unit, and `earlier`; empty where there are none."""
    unit, metrics = test_figures(model)
    found = []
    for name, title in (("auc", "AUC"), ("macro auc", "macro AUC"), ("accuracy", "accuracy")):
        metric = metrics.get(name) or {}
        if metric.get("value") is not None:
            low, high = metric.get("low"), metric.get("high")
            interval = "" if low is None or high is None else f" (95 % CI {low:.2f} to {high:.2f})"
            classes = f" over {metric['classes']} classes" if metric.get("classes") else ""
            found.append(f"{title} {metric['value']:.2f}{interval}{classes}")
    return [*found, unit, *([earlier(model)] if earlier(model) else [])] if found else []


_PAPER = (
    "Luo et al., Predicting molecular subtype in breast cancer using deep learning on mammography images, "
    "Frontiers in Oncology 2025, doi 10.3389/fonc.2025.1638212"
)
_PAPERS = "Published test AUCs of DenseNet121-CBAM, on another cohort, lie between 0.65 and 0.76: it is often wrong."
_FLAWS = (
    "A person must outline the lesion; the model sees only the region around it and detects no lesions.",
    "Performance on devices, views and populations other than those of the training is unknown until measured.",
)


def monai_metadata(card: dict[str, Any]) -> dict[str, Any]:
    """Metadata of a bundle in MONAI's form; values that the card lacks are left out, never guessed.

    Parameters
    ----------
    card : dict
        From `MolSubCore.models.card.read_card`.

    Returns
    -------
    dict
        ``version, changelog, pytorch_version, task, description, intended_use, data_type, image_classes,
        label_classes, pred_classes, eval_metrics, network_data_format`` and so on.
    """
    software, version = card.get("software") or {}, str(card.get("version", "1.0.0"))
    classes = list(card["classes"])
    papers = [_PAPERS] if card["architecture"].startswith("densenet121-cbam") else []
    found: dict[str, Any] = {
        "name": card.get("name"),
        "version": version,
        "changelog": card.get("changelog") or {version: "made before changes were recorded"},
        "pytorch_version": software.get("torch"),
        "numpy_version": software.get("numpy"),
        "required_packages_version": {"MolSubCore": software.get("MolSubCore", __version__)},
        "task": get_task(card["task"]).title,
        "description": (
            f"{model_name(card)}, {counted(len(card['members']), 'member')}: "
            f"probabilities of {', '.join(classes)} of an outlined lesion on a mammogram"
        ),
        "authors": "the group that trained it; not recorded in the bundle",
        "data_source": _data_source(card),
        "data_type": "DICOM MG, or images, with an outlined lesion",
        "image_classes": "one grey channel, the square region around the lesion, bright is dense tissue",
        "label_classes": ", ".join(f"{number} is {name}" for number, name in enumerate(classes)),
        "pred_classes": f"probabilities, {len(classes)} channels. {calibration_note(card)}",
        "eval_metrics": _eval_metrics(card),
        "intended_use": card.get("intended_use"),
        "references": [_PAPER],
        "known_limitations": [*papers, *_FLAWS, *filter(None, [earlier_note(card)]), *card_warnings(card)],
        "network_data_format": _network_format(card),
    }
    return {key: value for key, value in found.items() if value is not None}


def _data_source(card: dict[str, Any]) -> str:
    digest = ((card.get("training") or {}).get("plan") or {}).get("data_hash")
    return trained_on(card) + (f"; hash {digest[:16]}" if digest else "")


def _eval_metrics(card: dict[str, Any]) -> dict[str, float]:
    """Metrics of the model's own test set per patient, without the undefined ones."""
    metrics = patient_level(card, "test").get("metrics") or {}
    return {dated(card, name): metric["value"] for name, metric in metrics.items() if metric.get("value") is not None}


def _network_format(card: dict[str, Any]) -> dict[str, Any]:
    """Input of the network and output of the bundle."""
    recipe, classes = card["recipe"], list(card["classes"])
    size, mean, std = (recipe.get(name) for name in ("size", "mean", "std"))
    image: dict[str, Any] = {
        "type": "image",
        "format": "magnitude",
        "modality": "MG",
        "num_channels": 1,
        "spatial_shape": [size, size],
        "dtype": "float32",
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }
    if mean is not None and std:
        image["value_range"] = [(0 - mean) / std, (1 - mean) / std]
    pred = {
        "type": "probabilities",
        "format": "classification",
        "num_channels": len(classes),
        "spatial_shape": [],
        "dtype": "float64",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(number): name for number, name in enumerate(classes)},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": pred}}


def check_recalibrated(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Refuse before any work what `write_recalibrated` would refuse.

    Raises
    ------
    MolSubError
        If `target` is `source`, exists and may not be replaced, or `source` is recalibrated already.
    """
    if target.resolve() == source.resolve():
        raise MolSubError(target, "is the bundle itself, which is not touched", "Choose another name for the new one")
    check_target(target, overwrite=overwrite, remedy="Choose another name, or remove it")
    if read_card(source).get("recalibration"):
        raise BundleError(source, "is recalibrated already", "Give the bundle it was made from")


def write_recalibrated(
    source: Path,
    target: Path,
    change: dict[str, Any],
    *,
    thresholds: Sequence[dict[str, Any]] = (),
    images: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a bundle with the weights of `source` and a recalibration, whole or not at all.

    Parameters
    ----------
    source, target : Path
        Folders, or files ending in ``.molsub``.
    change : dict
        `MolSubCore.statistics.calibration.CalibrationMap.to_dict` and further facts, JSON-ready. It acts on the
        patients' probabilities after the calibration of the bundle itself.
    thresholds : sequence of dict
        The bundle's thresholds, moved with the recalibration.
    images : dict of str to str, optional
        Hashes and looks of the images that it was fitted on, for their fingerprints.

    Raises
    ------
    MolSubError
        As `check_recalibrated`, or if a weight file is damaged.
    """
    check_recalibrated(source, target, overwrite=overwrite)
    card = read_card(source)
    members = {member["file"]: read_member(source, member) for member in bundle_files(card)}
    version = _next_version(str(card.get("version", "1.0.0")))
    text = f"recalibrated ({change['method']}) on {change.get('patients')} patients: {change.get('fitted_on')}"
    training = dict(card.get("training") or {})
    known = read_fingerprints(training.get("fingerprints"))
    if known and images:
        training["fingerprints"] = known.with_part(RECALIBRATION, images, images.values()).to_dict()
    new = card | {
        "training": training,
        "name": target.stem,
        "recalibration": change,
        "thresholds": list(thresholds),
        "version": version,
        "changelog": {version: text, **(card.get("changelog") or {})},
        "made_of": {"name": card.get("name"), "created": card.get("created")},
        "created": now(),
    }
    write_entries(target, {CARD: card_bytes(new), **members}, overwrite=overwrite)
    return target


def _next_version(version: str) -> str:
    """The second number one higher."""
    parts = version.split(".")
    try:
        return f"{int(parts[0])}.{int(parts[1]) + 1}.0"
    except (ValueError, IndexError):
        return "1.1.0"
