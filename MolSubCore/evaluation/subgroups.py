"""Performance in subgroups of a cohort: whom a model serves worse, as far as the numbers can tell.

Of a study they are those of its test set; the levels of these patients are written when it is planned::

    STUDY/subgroups.json    by attribute the level of each patient of the test set (salted id)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.cohort.levels import SEVERAL, UNKNOWN, VIEW
from MolSubCore.evaluation.drift import expected_observed
from MolSubCore.evaluation.evaluate import evaluation_level
from MolSubCore.statistics.comparison import adjust
from MolSubCore.statistics.delong import paired_test, patient_auc
from MolSubCore.statistics.interaction import equal_aucs
from MolSubCore.statistics.scores import Scores

#: Patients (of a class, where a measure rests on a class) below which nothing is estimated.
LEAST = 10

#: The two views that are compared with each other.
_TWO_VIEWS = ("CC", "MLO")


def subgroup_rows(
    scores: Scores,
    views: NDArray[np.str_] | None,
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
        Of lesions, or of patients where a model makes one result of all their images.
    views : ndarray of str, shape (N,), or None
        View of each lesion's image; a patient's prediction within a view is that of the images of this view alone.
        None where rows are patients.
    levels : mapping of str to mapping of str to str
        By attribute the level of each patient (salted id).

    Returns
    -------
    list of dict
        ``attribute, level, patients, images, classes`` (patients of each), ``metrics``: by name a value with its
        interval, or ``value`` None and ``why``.
    """
    rows = []
    for attribute, column in _columns(scores, views, levels).items():
        for level in sorted(set(column.tolist()), key=_order):
            chosen = column == level
            part = scores.select(chosen)
            rows.append({"attribute": attribute, "level": level, **_row(part, classes, positive, resamples, seed)})
    return rows


def _columns(
    scores: Scores, views: NDArray[np.str_] | None, levels: Mapping[str, Mapping[str, str]]
) -> dict[str, NDArray[np.object_]]:
    """Level of each row, by attribute."""
    columns = {} if views is None else {VIEW: np.array([view or UNKNOWN for view in views.tolist()], dtype=object)}
    for attribute, known in levels.items():
        columns[attribute] = np.array([known.get(str(name), UNKNOWN) for name in scores.patient], dtype=object)
    return columns


def interaction_tests(
    scores: Scores,
    views: NDArray[np.str_] | None,
    levels: Mapping[str, Mapping[str, str]],
    classes: tuple[str, ...],
    positive: str | None,
    *,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Whether the AUC (of several classes: the macro mean) differs over the levels of each attribute, JSON-ready.

    Compared are levels with `LEAST` patients of every class. Levels of patients are tested by permutation; CC and MLO,
    which are of the same patients, by the paired test of two AUCs on those who have both.

    Parameters
    ----------
    scores, views, levels
        As of `subgroup_rows`.

    Returns
    -------
    list of dict
        ``attribute``, ``levels`` (that are compared), ``patients``, ``p`` and ``method``; ``p`` None and ``why``.
        ``p_adjusted`` is that of `adjusted`.
    """
    found = []
    for attribute, column in _columns(scores, views, levels).items():
        if attribute == VIEW:
            test = _views_test(scores, column, classes, positive)
        else:
            test = _levels_test(scores, column, classes, positive, seed)
        found.append({"attribute": attribute, "p": None, "p_adjusted": None, "method": "", "why": "", **test})
    return found


def adjusted(tests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tests with ``p_adjusted`` by Holm over all of them that were made."""
    values = adjust([test["p"] for test in tests])
    return [{**test, "p_adjusted": value} for test, value in zip(tests, values, strict=True)]


def _levels_test(
    scores: Scores, column: NDArray[np.object_], classes: tuple[str, ...], positive: str | None, seed: int
) -> dict[str, Any]:
    level_of = dict(zip(scores.patient.tolist(), column.tolist(), strict=True))
    patients = scores.per_patient()
    level = np.array([level_of[name] for name in patients.patient.tolist()])
    enough = [
        name
        for name in sorted(set(level.tolist()) - {UNKNOWN, SEVERAL}, key=_order)
        if np.bincount(patients.label[level == name], minlength=len(classes)).min() >= LEAST
    ]
    if len(enough) < 2:
        why = f"{'only one' if enough else 'no'} level has {LEAST} patients of each class"
        return {"levels": enough, "patients": 0, "why": why}
    chosen = np.isin(level, enough)
    found = equal_aucs(patients.select(chosen), level[chosen].tolist(), classes, positive, seed=seed)
    count = len(set(patients.patient[chosen].tolist()))
    return {"levels": enough, "patients": count, "p": found.p, "method": f"permutation, {found.permutations}"}


def _views_test(
    scores: Scores, column: NDArray[np.object_], classes: tuple[str, ...], positive: str | None
) -> dict[str, Any]:
    side = scores.breast if scores.breast is not None else np.full(len(column), "")
    breast = np.array([f"{name}/{of}" for name, of in zip(scores.patient.tolist(), side.tolist(), strict=True)])
    both = np.logical_and.reduce([np.isin(breast, breast[column == view]) for view in _TWO_VIEWS])
    if not both.any():
        return {"levels": list(_TWO_VIEWS), "patients": 0, "why": "no patient with both views"}
    parts = []
    for view in _TWO_VIEWS:
        one = scores.select(both & (column == view)).per_patient()
        parts.append(one.select(np.argsort(one.unit, kind="stable")))
    counts = np.bincount(parts[0].label, minlength=len(classes))
    if counts.min() < LEAST:
        few = ", ".join(f"{n} of {name}" for name, n in zip(classes, counts.tolist(), strict=True) if n < LEAST)
        return {"levels": list(_TWO_VIEWS), "patients": 0, "why": f"patients with both views: {few}, of {LEAST} needed"}
    first, second = (patient_auc(part, classes, positive) for part in parts)
    test = paired_test(first, second)
    count = len(set(parts[0].patient.tolist()))
    return {"levels": list(_TWO_VIEWS), "patients": count, "p": test.p, "method": test.method}


def _order(level: str) -> tuple[bool, float, str]:
    """Bands of numbers from low to high, groups by name, and what is not known last."""
    band = re.fullmatch(r"(below |up to |from |over )?(\d+)( to \d+)? (years|mm)", level)
    start = float(band[2]) - (band[1] in ("below ", "up to ")) if band else 0.0
    return level in (UNKNOWN, SEVERAL), start, level


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
