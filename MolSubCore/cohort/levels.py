"""The groups that a patient belongs to whatever the cohort: vendor, age band, size of the lesion. No image is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from MolSubCore.cohort.table import Case

#: Attributes; the view is one of images, and no level of a patient.
VIEW, VENDOR, AGE, SIZE = "view", "vendor", "age", "lesion size"

#: Levels of patients of whom nothing is known, or two things are.
UNKNOWN, SEVERAL = "unknown", "several"

#: Edges of the bands: years, and those of T1, T2 and T3.
_AGES, _SIZES_MM = (40, 50, 60, 70), (20, 50)


def built_in_levels(
    study_ids: Sequence[str], meta: Iterable[Mapping[str, Any]], cases: Mapping[str, Sequence[Case]]
) -> dict[str, dict[str, str]]:
    """Level of each patient by attribute: vendor, age band, lesion size.

    Parameters
    ----------
    study_ids : sequence of str, length N
        Of each patch.
    meta : iterable of mapping, length N
        What the patch store holds of each: ``manufacturer``, ``lesion_mm``.
    cases : mapping of str to sequence of Case
        Rows of the table by study id.
    """
    own: dict[str, list[Mapping[str, Any]]] = {}
    for study_id, entry in zip(study_ids, meta, strict=True):
        own.setdefault(study_id, []).append(entry)
    return {
        VENDOR: {name: one_level({_words(entry["manufacturer"]) for entry in part}) for name, part in own.items()},
        AGE: {name: _age(cases[name]) for name in own},
        SIZE: {name: _size(part) for name, part in own.items()},
    }


def one_level(values: set[str]) -> str:
    """The one value there is; else that there is none, or that there are several."""
    present = {value for value in values if value}
    return SEVERAL if len(present) > 1 else present.pop() if present else UNKNOWN


def _words(value: object) -> str:
    return " ".join(str(value or "").split())


def _age(own: Sequence[Case]) -> str:
    """Band of the column ``age``, in years; of several ages none is known."""
    texts = [re.fullmatch(r"0*(\d{1,3}(?:\.\d+)?)\s*[Yy]?", case.extra.get("age", "").strip()) for case in own]
    values = [float(text[1]) for text in texts if text and 0 < float(text[1]) < 120]
    return _band(values[0] if len(set(values)) == 1 else None, _AGES, "years", upper_in_band=False)


def _size(own: Sequence[Mapping[str, Any]]) -> str:
    """Band of the larger side of the box around the largest lesion."""
    sizes = [entry["lesion_mm"] for entry in own if entry["lesion_mm"] is not None]
    return _band(max(sizes, default=None), _SIZES_MM, "mm", upper_in_band=True)


def _band(value: float | None, edges: tuple[int, ...], unit: str, *, upper_in_band: bool) -> str:
    """The band of a value; a value on an edge is of the band below it (`upper_in_band`) or above it."""
    if value is None:
        return UNKNOWN
    place = int(np.searchsorted(edges, value, side="left" if upper_in_band else "right"))
    if place == 0:
        return f"{'up to' if upper_in_band else 'below'} {edges[0]} {unit}"
    if place == len(edges):
        return f"{'over' if upper_in_band else 'from'} {edges[-1]} {unit}"
    low, high = edges[place - 1], edges[place]
    return f"over {low} to {high} {unit}" if upper_in_band else f"{low} to {high - 1} {unit}"
