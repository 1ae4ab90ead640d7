"""Options of jobs, checked before any work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from MolSubCore.errors import MolSubError

#: A job's progress: share done, 0 to 1, and anything JSON-ready beside it.
Progress = Callable[..., None]

_TEXTS = (
    *("architecture", "bundle", "cache", "checkpoint", "consensus", "device", "first", "folder", "image", "lesions"),
    *("library", "name", "out", "path", "pretrained", "run", "second", "split", "table", "task"),
)
_EITHER = ("classes", "export_fold")


def require(job: str, options: Mapping[str, Any], *names: str) -> None:
    """Refuse a job that lacks one of these options.

    Raises
    ------
    MolSubError
        That names the first one.
    """
    for name in names:
        if not options.get(name):
            raise MolSubError(job, f"lacks the option {name}", "Give it")


def check_kinds(job: str, options: Mapping[str, Any]) -> None:
    """Refuse an option of another kind than its name promises, whatever the job; null passes.

    Raises
    ------
    MolSubError
        That names the first one.
    """
    for name, value in options.items():
        if not _is_finite(value):
            raise MolSubError(job, f"has a number in the option {name} that is infinite or none", "Correct the request")
        if value is not None and not _fits(name, value):
            found = f"has the option {name} of an unexpected kind or with signs that no text has ({value!r:.80})"
            raise MolSubError(job, found, "Correct the request")


def _fits(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return _is_text(value)
    if name in ("images", "pairs"):
        return isinstance(value, list) and all(isinstance(entry, dict) and _are_texts(entry) for entry in value)
    if name in ("paths", "layers", "class_order", "notes"):
        return isinstance(value, list) and all(map(_is_text, value))
    if name == "folds":
        return _is_whole(value)
    if name == "only_folds":
        return isinstance(value, list) and all(map(_is_whole, value))
    if name in _EITHER:
        return _is_text(value) or _is_whole(value) or (isinstance(value, list) and all(map(_is_text, value)))
    return True


def _is_finite(value: Any) -> bool:
    """Whether all numbers within are finite: 1e999 is infinite, and NaN is no JSON."""
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _are_texts(entry: Mapping[str, Any]) -> bool:
    return all(value is None or _is_text(value) for value in entry.values())


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31


def _is_text(value: Any) -> bool:
    """Whether it is a text that can name a file: no NUL, and of surrogates only those that stand for single bytes."""
    if not isinstance(value, str) or "\0" in value:
        return False
    return not any("\ud800" <= sign <= "\udfff" and not "\udc80" <= sign <= "\udcff" for sign in value)


def image_pairs(job: str, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Image and lesions of each of a job's ``images``.

    Raises
    ------
    MolSubError
        If one lacks its image or its lesions.
    """
    for number, entry in enumerate(options["images"], start=1):
        for name in ("image", "lesions"):
            if not entry.get(name):
                raise MolSubError(job, f"lacks the option {name} of image {number}", "Give it")
    return [(entry["image"], entry["lesions"]) for entry in options["images"]]


def named_images(options: Mapping[str, Any]) -> dict[str, Any]:
    """Sides and names of lesions among a job's ``images``, as `MolSubCore.prediction.predict.predict` takes them.

    Whoever uses a panel sees the images side by side: where they do not say whose they are, that is a warning.
    """
    images = options["images"]
    found: dict[str, Any] = {"unnamed": "confirmed" if options.get("same_patient") else "warn"}
    if any(entry.get("side") for entry in images):
        found["sides"] = [entry.get("side") or None for entry in images]
    if any(entry.get("lesion_id") for entry in images):
        found["lesion_ids"] = [str(entry.get("lesion_id") or "") for entry in images]
    return found
