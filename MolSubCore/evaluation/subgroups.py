"""Performance in subgroups of a cohort: whom a model serves worse, as far as the numbers can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.evaluation.drift import expected_observed
from MolSubCore.evaluation.evaluate import evaluation_level
from MolSubCore.statistics.scores import Scores

#: Patients (of a class, where a measure rests on a class) below which nothing is estimated.
LEAST = 10

#: Subgroups that are of images, and not of patients.
VIEW = "view"


def subgroup_rows(
    scores: Scores,
    views: NDArray[np.str_],
    levels: Mapping[str, Mapping[str, str]],
    classes: tuple[str, ...],
    positive: str | None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Every level of every subgroup with its numbers and metrics per patient, JSON-ready.

    Parameters
    ----------
    scores : Scores
        Of lesions.
    views : ndarray of str, shape (N,)
        View of each lesion's image; a patient's prediction within a view is that of the images of this view alone.
    levels : mapping of str to mapping of str to str
        By attribute the level of each patient (salted id).

    Returns
    -------
    list of dict
        ``attribute, level, patients, images, classes`` (patients of each), ``metrics``: by name a value with its
        interval, or ``value`` None and ``why``.
    """
    columns = {VIEW: np.array([view or "unknown" for view in views.tolist()], dtype=object)}
    for attribute, known in levels.items():
        columns[attribute] = np.array([known[str(name)] for name in scores.patient], dtype=object)
    rows = []
    for attribute, column in columns.items():
        for level in sorted(set(column.tolist()), key=_order):
            chosen = column == level
            part = scores.select(chosen)
            rows.append({"attribute": attribute, "level": level, **_row(part, classes, positive, resamples, seed)})
    return rows


def _order(level: str) -> tuple[bool, float, str]:
    """Bands of numbers from low to high, groups by name, and what is not known last."""
    band = re.fullmatch(r"(below |up to |from |over )?(\d+)( to \d+)? (years|mm)", level)
    start = float(band[2]) - (band[1] in ("below ", "up to ")) if band else 0.0
    return level in ("unknown", "several"), start, level


def _row(part: Scores, classes: tuple[str, ...], positive: str | None, resamples: int, seed: int) -> dict[str, Any]:
    patients = part.per_patient()
    counts = {name: int((patients.label == n).sum()) for n, name in enumerate(classes)}
    found = evaluation_level(patients, classes, positive, resamples, seed)["metrics"]
    wanted = _needed(counts, positive)
    metrics = {name: _told(found[name], lacks) for name, lacks in wanted.items()}
    if positive:
        index = classes.index(positive)
        ratio = expected_observed(patients.probabilities[:, index], patients.label == index).to_dict()
        metrics["expected_observed"] = _told(ratio, wanted["sensitivity"])
    images = len(part.per_image().label)
    return {"patients": len(patients.label), "images": images, "classes": counts, "metrics": metrics}


def _needed(counts: dict[str, int], positive: str | None) -> dict[str, str]:
    """The metrics that are told, with what they lack: nothing, or too few patients of a class."""

    def lacks(names: list[str]) -> str:
        few = [f"{counts[name]} of {name}" for name in names if counts[name] < LEAST]
        return f"not estimable: {', '.join(few)}, fewer than {LEAST}" if few else ""

    total = sum(counts.values())
    everyone = "" if total >= LEAST else f"not estimable: {total} patients, fewer than {LEAST}"
    if positive is None:
        return {"macro auc": lacks(list(counts)), "accuracy": everyone}
    others = [name for name in counts if name != positive]
    return {
        "auc": lacks(list(counts)),
        "accuracy": everyone,
        "sensitivity": lacks([positive]),
        "specificity": lacks(others),
    }


def _told(metric: dict[str, Any], lacks: str) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "why": lacks} if lacks else metric
