"""What all pages share: templates, pictures as data, numbers for people."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from MolSubCore.errors import without_controls
from MolSubCore.statistics.metrics import over_classes

_KINDS = {".png": "image/png", ".svg": "image/svg+xml"}


def data_uri(path: Path) -> str:
    """A PNG or SVG file as a URI that holds it."""
    return f"data:{_KINDS[path.suffix]};base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def jpeg_uri(figure: Figure) -> str:
    """A figure as a JPEG in a URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", pil_kwargs={"quality": 88})
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def unbroken(text: str) -> str:
    """A short cell whose interval or deviation is never cut: a line may end before its bracket only."""
    if len(text) > 48:
        return text
    return re.sub(r"\([^()]*\d[^()]*\)|\S+ ± \S+", lambda found: _glued(found.group()), text)


def _glued(text: str) -> str:
    return text.replace(" ", "\u00a0").replace("–", "\u2060–\u2060").replace("-", "\u2011")


def known(value: Any) -> Any:
    """The value, or that it was not recorded."""
    return "not recorded" if value in (None, "", {}, []) else value


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals, or that it is undefined."""
    return "undefined" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # never -0.00


def interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """An estimate with the ends of its interval, where they are known."""
    if value is None:
        return "undefined"
    if low is None or high is None:
        return number(value, digits)
    middle, start, end = (number(one, digits) for one in (value, low, high))
    separator = " to " if "-" in middle + start + end else "–"
    return f"{middle} ({start}{separator}{end})"


def estimated(metric: Mapping[str, Any], digits: int = 3, *, ends: bool = True) -> str:
    """A metric of an evaluation with its interval; of a macro mean that lacks a class, over how many classes it is.

    Without `ends` there is no interval: as of patients that chose the epoch.
    """
    low, high = (metric.get("low"), metric.get("high")) if ends else (None, None)
    return interval(metric["value"], low, high, digits) + over_classes(metric)


def chance_text(metric: Mapping[str, Any], patients: Mapping[str, int]) -> str:
    """How an AUC of an evaluation stands to chance.

    Parameters
    ----------
    metric : mapping
    patients : mapping of str to int
        Patients of each class.
    """
    if metric["value"] is None:
        return "One class only."
    divisions = math.factorial(sum(patients.values())) // math.prod(map(math.factorial, patients.values()))
    if divisions < 40:  # the exact p-value of a perfect ranking, 2 in so many divisions into the classes, is over 0.05
        return "Too few patients to tell it from chance: a perfect ranking would not be significant either."
    if metric["low"] > 0.5:
        return "Better than chance: the interval lies above 0.5."
    if metric["high"] < 0.5:
        return "Worse than chance: the interval lies below 0.5."
    return "Not distinguishable from chance: the 95 % CI includes 0.5."


def _shown(value: Any) -> Any:
    """What a page shows of a value: names of files and texts of headers without their control characters."""
    return without_controls(value) if type(value) is str else value


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """The templates, with `known` and `number` as filters; everything is escaped, control characters too."""
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    found = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_shown)
    found.filters["known"] = known
    found.filters["number"] = number
    found.filters["unbroken"] = unbroken
    return found
