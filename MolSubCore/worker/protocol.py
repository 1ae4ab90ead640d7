"""Messages between a program and its worker: one JSON object per line, over pipes. Standard library only.

::

    program -> worker   {"molsub": 1, "id": "7", "job": "study-fold", "options": {...}}
                        {"molsub": 1, "cancel": "7"}
    worker -> program   {"molsub": 1, "event": "ready", "pid": 4711}
                        {"molsub": 1, "id": "7", "event": "started" | "progress" | "done" | "failed" | "cancelled", ...}

A worker runs one job at a time, in the order of the requests, and ends when its standard input is closed.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from MolSubCore.errors import MolSubError

#: Of these messages; a program and a worker of different versions refuse each other.
VERSION = 1

#: How a message begins, up to its id; what comes before it is short, see `_line`.
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
        What to do, a name in `MolSubCore.worker.worker.JOBS`.
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
    """The wish that a job end; it ends with the event ``cancelled``, unless it has ended already."""

    id: str

    def line(self) -> str:
        """The message, with its line end."""
        return _line({"cancel": self.id})


@dataclass(frozen=True)
class Event:
    """A sign of life from a worker.

    Attributes
    ----------
    event : str
        One of `EventKind`.
    id : str
        The job's; empty for ``ready``.
    values : dict
        ``done`` (0 to 1) and what a job adds, for ``progress``; ``result`` for ``done``; ``message`` (one line) and
        ``bad_input`` (whether the user can mend it) for ``failed``; ``pid`` for ``ready``.
    """

    event: EventKind
    id: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The message, with its line end."""
        return _line({"event": self.event, "id": self.id, **self.values})


def _line(content: dict[str, Any]) -> str:
    # ASCII alone: so any text gets through any pipe and comes out as it was, names of files that are no UTF-8
    # (Python's surrogate escapes) among them.
    return json.dumps({"molsub": VERSION, **content}, allow_nan=False) + "\n"


def _fields(line: str) -> dict[str, Any]:
    """The object in a line.

    Raises
    ------
    MolSubError
        If it is none, or of another version.
    """
    line = line.removeprefix("\ufeff")  # as some programs of Windows begin a text
    if any("\ud800" <= sign <= "\udfff" for sign in line):  # names that are no UTF-8 come as escapes, see `_line`
        raise MolSubError("message", "holds bytes that are no UTF-8", "Send JSON in UTF-8, other bytes as \\udcXX")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise MolSubError("message", f"is no JSON object: {line.strip()[:80]!r}", "Send one object per line")
    if content.pop("molsub", None) != VERSION:
        raise MolSubError("message", "is of another version", f"Use MolSubCore with messages of version {VERSION}")
    return content


def request_id(line: str) -> str:
    """The id in a line that `read_request` refuses, so that whoever waits for it hears; empty where there is none.

    It is found in what is no JSON, too (cut off, with bytes that are no UTF-8), where it comes before the options.
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
    """What a program sent; MolSubError where it is no request."""
    content = _fields(line)
    if isinstance(content.get("cancel"), str):
        return Cancel(content["cancel"])
    job, name, options = content.get("job"), content.get("id"), content.get("options", {})
    if not isinstance(job, str) or not isinstance(name, str) or not isinstance(options, dict):
        raise MolSubError("message", "is no request", "Send id, job and options, or cancel")
    return Request(name, job, options)


def read_event(line: str) -> Event:
    """What a worker sent; MolSubError where it is no event."""
    content = _fields(line)
    event, name = content.pop("event", None), content.pop("id", "")
    if event not in (*LAST, "ready", "started", "progress") or not isinstance(name, str):
        raise MolSubError("message", f"has the unknown event {event!r}", "Use a worker of the same version")
    return Event(event, name, content)
