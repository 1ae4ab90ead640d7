"""Messages between a program and its worker: one JSON object per line, over pipes. Standard library only.

::

    program -> worker   {"molsub": 1, "id": "7", "job": "study-fold", "options": {...}}
                        {"molsub": 1, "cancel": "7"}
    worker -> program   {"molsub": 1, "event": "ready", "pid": 4711}
                        {"molsub": 1, "id": "7", "event": "started" | "progress" | "done" | "failed" | "cancelled", ...}

A worker runs one job at a time, in the order of the requests, and ends when its standard input is closed and all are
done. With ``--attached`` it cancels them then: for a program that keeps the pipe open as long as it wants the worker,
so that none is left when the program dies.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from MolSubCore.errors import MolSubError, nearest
from MolSubCore.files import atomic_path
from MolSubCore.imaging.view_text import read_view_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Version of these messages; a program and a worker of different versions refuse each other.
VERSION = 1

#: A message up to its id; only short values come before it, see `_line`.
_SIMPLE = r'(?:"(?:[^"\\]|\\.)*"|-?\d+|null|true|false)'
_BEGIN = re.compile(rf'\s*\{{(?:\s*"(?:[^"\\]|\\.)*"\s*:\s*{_SIMPLE}\s*,)*?\s*"id"\s*:\s*({_SIMPLE})\s*[,}}]')

EventKind = Literal["ready", "started", "progress", "done", "failed", "cancelled"]

#: After these a job has ended.
LAST: frozenset[str] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True)
class Request:
    """A job for a worker.

    Attributes
    ----------
    id : str
        Chosen by the program; every event of the job carries it.
    job : str
        A name in `MolSubCore.worker.jobs.JOBS`.
    options : dict
        JSON-ready arguments of the job.
    """

    id: str
    job: str
    options: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The message, with its line end."""
        return _line({"id": self.id, "job": self.job, "options": self.options})


@dataclass(frozen=True)
class Cancel:
    """Request that a job end; it ends with the event ``cancelled``, unless it has ended already."""

    id: str

    def line(self) -> str:
        """The message, with its line end."""
        return _line({"cancel": self.id})


@dataclass(frozen=True)
class Event:
    """A message from a worker about itself or a job.

    Attributes
    ----------
    event : str
        One of `EventKind`.
    id : str
        The job's; empty for ``ready``.
    values : dict
        ``done`` (0 to 1) and what a job adds, for ``progress``; ``result`` for ``done``; ``message`` (one line) and
        ``bad_input`` (whether the user can fix it) for ``failed``; ``pid`` for ``ready``.
    """

    event: EventKind
    id: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The message, with its line end."""
        return _line({"event": self.event, "id": self.id, **self.values})


def _line(content: dict[str, Any]) -> str:
    # ASCII only: any text passes any pipe unchanged, also file names that are not UTF-8 (Python's surrogate escapes).
    return json.dumps({"molsub": VERSION, **content}, allow_nan=False) + "\n"


def _fields(line: str) -> dict[str, Any]:
    """The object in a line.

    Raises
    ------
    MolSubError
        If it is none, or of another version.
    """
    line = line.removeprefix("\ufeff")  # as some Windows programs begin a text
    if any("\ud800" <= sign <= "\udfff" for sign in line):  # names that are not UTF-8 come as escapes, see `_line`
        raise MolSubError("message", "holds bytes that are not UTF-8", "Send JSON in UTF-8, other bytes as \\udcXX")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise MolSubError("message", f"is not a JSON object: {line.strip()[:80]!r}", "Send one object per line")
    if content.pop("molsub", None) != VERSION:
        raise MolSubError("message", "is of another version", f"Use MolSubCore with messages of version {VERSION}")
    return content


def request_id(line: str) -> str:
    """The id in a line that `read_request` refuses, so that its sender gets an answer; empty where there is none.

    Also found in a line that is not valid JSON (cut off, not UTF-8), if it comes before the options.
    """
    line = line.removeprefix("\ufeff")
    try:
        content = json.loads(line)
        name = content.get("id") if isinstance(content, dict) else None
    except (ValueError, RecursionError):
        found, name = _BEGIN.match(line), None
        with contextlib.suppress(ValueError):
            name = json.loads(found[1]) if found else None
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    return name if isinstance(name, str) else ""


def read_request(line: str) -> Request | Cancel:
    """What a program sent; MolSubError where it is not a request."""
    content = _fields(line)
    if isinstance(content.get("cancel"), str):
        check_options("message", content, optional=("cancel",))
        return Cancel(content["cancel"])
    check_options("message", content, optional=("id", "job", "options"))
    job, name, options = content.get("job"), content.get("id"), content.get("options", {})
    if not isinstance(job, str) or not isinstance(name, str) or not isinstance(options, dict):
        raise MolSubError("message", "is not a request", "Send id, job and options, or cancel")
    return Request(name, job, options)


def read_event(line: str) -> Event:
    """What a worker sent; MolSubError where it is not an event."""
    content = _fields(line)
    event, name = content.pop("event", None), content.pop("id", "")
    if event not in (*LAST, "ready", "started", "progress") or not isinstance(name, str):
        raise MolSubError("message", f"has the unknown event {event!r}", "Use a worker of the same version")
    return Event(event, name, content)


#: A job's progress: share done, 0 to 1, and anything JSON-ready beside it.
Progress = Callable[..., None]

_TEXTS = (
    *("architecture", "bundle", "cache", "checkpoint", "consensus", "device", "first", "folder", "image", "lesions"),
    *("library", "name", "out", "path", "pretrained", "run", "second", "split", "table", "task"),
)
#: True or false: the text "false" would count as true, and write what is private.
_TRUTHS = ("identified", "overwrite", "resume", "same_patient", "trust_ids")
#: What an image of a prediction may have beside its file and its lesions.
_OF_AN_IMAGE = ("side", "view", "lesion_id")


def check_options(
    job: str, options: Mapping[str, Any], *needed: str, optional: Iterable[str] = (), of: str = ""
) -> None:
    """Refuse a job that has an option it does not know, or lacks one it needs.

    Parameters
    ----------
    of : str
        What has these options, where it is a part of the job: `` of image 2``.

    Raises
    ------
    MolSubError
        That names the first one.
    """
    known = sorted({*needed, *optional})
    for name in sorted(options.keys() - known):
        near = nearest(name, known)
        remedy = f"Did you mean {near}? " if near else ""
        raise MolSubError(job, f"has the unknown option '{name}'{of}", f"{remedy}Known options: {', '.join(known)}")
    for name in needed:
        if not options.get(name):
            raise MolSubError(job, f"lacks the option {name}{of}", "Give it")


def check_kinds(job: str, options: Mapping[str, Any]) -> None:
    """Refuse an option of another type than its name requires in all jobs; null passes.

    Raises
    ------
    MolSubError
        That names the first one.
    """
    for name, value in options.items():
        if not _is_finite(value):
            raise MolSubError(job, f"has an infinite number or NaN in the option {name}", "Correct the request")
        if value is not None and not _fits(name, value):
            found = f"has an invalid value of the option {name} ({value!r:.80})"
            remedy = "Give true or false, without quotes" if name in _TRUTHS else "Correct the request"
            raise MolSubError(job, found, remedy)


def _fits(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return _is_text(value)
    if name in ("images", "pairs"):
        return isinstance(value, list) and all(isinstance(entry, dict) and _are_texts(entry) for entry in value)
    if name in ("paths", "layers", "class_order", "notes"):
        return isinstance(value, list) and all(map(_is_text, value))
    if name == "clinical":
        return isinstance(value, dict) and all(map(_is_value, value.values()))
    if name == "folds":
        return _is_whole(value)
    if name == "only_folds":
        return isinstance(value, list) and all(map(_is_whole, value))
    if name in _TRUTHS:
        return isinstance(value, bool)
    if name == "export_fold":
        return _is_text(value) or _is_whole(value)
    if name == "classes":
        return _is_text(value) or (isinstance(value, list) and all(map(_is_text, value)))
    return True


def _is_finite(value: Any) -> bool:
    """Whether all numbers within are finite: 1e999 is infinite, and NaN is not JSON."""
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _are_texts(entry: Mapping[str, Any]) -> bool:
    return all(value is None or _is_text(value) for value in entry.values())


def _is_value(value: Any) -> bool:
    """Whether it is a text or a number, or null."""
    return value is None or _is_text(value) or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31


def _is_text(value: Any) -> bool:
    """Whether it is a text that can name a file: without NUL, and surrogates only for single bytes."""
    if not isinstance(value, str) or "\0" in value:
        return False
    return not any("\ud800" <= sign <= "\udfff" and not "\udc80" <= sign <= "\udcff" for sign in value)


def image_pairs(job: str, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Image and lesions of each of a job's ``images``.

    Raises
    ------
    MolSubError
        If one lacks its image or its lesions, or has a key or a view that is not known.
    """
    for number, entry in enumerate(options["images"], start=1):
        check_options(job, entry, "image", "lesions", optional=_OF_AN_IMAGE, of=f" of image {number}")
        if view := str(entry.get("view") or "").strip():
            told = read_view_text(view)
            if not (told.view or told.kinds):
                remedy = "Give a view such as CC, MLO or L-MLO, or leave it out"
                raise MolSubError(f"view of image {number}", f"is {view[:40]!r}, which is no known view", remedy)
    return [(entry["image"], entry["lesions"]) for entry in options["images"]]


def named_images(options: Mapping[str, Any]) -> dict[str, Any]:
    """Sides and names of lesions among a job's ``images``, as `MolSubCore.prediction.predict.predict` takes them.

    A panel shows the images side by side, so images without a patient are a warning there, not an error.
    """
    images = options["images"]
    found: dict[str, Any] = {"unnamed": "confirmed" if options.get("same_patient") else "warn"}
    if any(entry.get("side") for entry in images):
        found["sides"] = [entry.get("side") or None for entry in images]
    if any(entry.get("lesion_id") for entry in images):
        from MolSubCore.cohort.columns import shown_lesion_ids

        ids = [str(entry.get("lesion_id") or "") for entry in images]
        found["lesion_ids"] = shown_lesion_ids(ids, identified=bool(options.get("identified")))
    return found


def write_array(path: Path, values: NDArray[Any]) -> str:
    """Write a ``.npy`` file, whole or not at all, for ``np.load(path, mmap_mode="r")``; return its path as text.

    It is not synced to the disk: it is read at once, and made again after a crash.
    """
    import numpy as np

    with atomic_path(path, durable=False) as temporary:
        np.save(temporary, np.ascontiguousarray(values), allow_pickle=False)
    return str(path)
