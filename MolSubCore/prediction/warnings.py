"""What makes a prediction doubtful, in sentences that a reader of the result must see."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from MolSubCore.cohort.table_files import kind_of, row_list
from MolSubCore.errors import counted, printable
from MolSubCore.imaging.display import display_step, kind_of_step
from MolSubCore.imaging.mammogram import Mammogram, maker_name
from MolSubCore.lesions.lesion import LesionSet
from MolSubCore.lesions.roi import Roi, image_remarks
from MolSubCore.models.card import card_warnings

#: How far a size (the distance of pixels, the side of a region) may be outside those of the training, as a part of
#: them: detectors of one kind and outlines of one lesion differ by less.
_TOLERANCE = 0.1

#: So many kinds of warnings are told of a table's patients.
_KINDS_TOLD = 40


def bundle_warnings(card: dict[str, Any]) -> list[str]:
    """What is doubtful about every prediction of a model."""
    found = card_warnings(card)
    if card.get("synthetic"):
        found.append("The model was trained on synthetic pictures: its prediction says nothing about a patient.")
    return found


def image_warnings(
    label: str, mammogram: Mammogram, lesions: LesionSet, rois: Sequence[Roi], card: dict[str, Any]
) -> list[str]:
    """What is doubtful about one image, its lesions, and its likeness to the training cohort.

    Parameters
    ----------
    label : str
        What the image is called in the result, such as ``1 R MLO``.
    card : dict
        The model bundle's.
    """
    remarks = image_remarks(mammogram, rois[0].recipe) if rois else mammogram.warnings
    found = [f"Image {label}: {text}" for text in (*remarks, *lesions.remarks)]
    found += [f"Image {label}, lesion {roi.lesion}: {text}" for roi in rois for text in roi.warnings]
    if mammogram.spacing.source == "unknown":
        found.append(f"The pixel spacing of image {label} is unknown: the margin around the lesion is in pixels only.")
    if mammogram.synthetic:
        found.append(f"Image {label} is synthetic, not a patient's.")
    vendors = [str(name).casefold() for name in card.get("vendors", ())]
    maker = (mammogram.manufacturer or "").casefold()
    if vendors and not any(name in maker or maker in name for name in vendors if maker):
        known = ", ".join(card["vendors"])
        own = maker_name(mammogram.manufacturer)
        found.append(f"Image {label}: its manufacturer is {own}, the model was trained on {known}.")
    cohort = (card.get("training") or {}).get("cohort") or {}
    found += _outside_training(label, mammogram, rois, cohort)
    if (mean := mammogram.spacing.mean_mm) and (why := unlike_spacing([mean, mean], cohort.get("spacing_mm"))):
        margin = rois[0].recipe.bound if rois and rois[0].recipe.bound_unit == "px" else 0
        here = f" The margin of {margin:g} pixels around the lesion is {margin * mean:.3g} mm here." if margin else ""
        found.append(f"Image {label}: {why}{here}")
    if len(rois) > 1:
        found.append(f"Image {label} has {len(rois)} lesions: each is predicted alone, the result is their mean.")
    return found


def unlike_spacing(here: Sequence[float] | None, trained: Sequence[float] | None) -> str:
    """That images have pixels of another size than those of the training, in a sentence; empty where they have not.

    Parameters
    ----------
    here, trained : (smallest, largest) distance of pixels in mm, or None
        Where nothing is known nothing is said.
    """
    if not _is_range(here) or not _is_range(trained):
        return ""
    assert here is not None and trained is not None
    if within_training(here, trained):
        return ""
    own, known = spacing_text(here), spacing_text(trained)
    return f"the pixels are {own} apart, those of the training were {known}: lesions appear in another size."


def within_training(here: Sequence[float], trained: Sequence[float]) -> bool:
    """Whether a range of sizes lies in that of the training, give or take a tenth: the one tolerance of all sizes."""
    return here[0] >= trained[0] * (1 - _TOLERANCE) and here[1] <= trained[1] * (1 + _TOLERANCE)


def spacing_text(limits: Any) -> str:
    """A range of pixel spacings for people: ``0.05 to 0.1 mm``."""
    if not _is_range(limits):
        return "not recorded"
    return " to ".join(dict.fromkeys(f"{value:.3g}" for value in limits)) + " mm"


def warning_lines(cases: Sequence[tuple[Sequence[int], Mapping[str, Any]]]) -> list[str]:
    """The warnings of many patients for the terminal: those of one kind in one line, with how many have it.

    Texts that differ in their numbers and in the image they are of are of one kind; the first one is shown, and where
    the numbers of others differ, it says whose these are.

    Parameters
    ----------
    cases : sequence of (rows, result)
        Rows of the table, and the content of ``prediction.json``.
    """
    kinds: dict[str, dict[int, str]] = {}
    numbers_of: dict[str, set[str]] = {}
    for number, (_, result) in enumerate(cases):
        labels = "|".join(re.escape(image["image"]) for image in result["images"])
        for warning in result["warnings"]:
            text = re.sub(rf"^Image (?:{labels})(?:, lesion \d+)?: ", "", warning)
            unnamed = re.sub(rf"\b(?:{labels})(?![\w.])", "", text)
            kind = kind_of(unnamed)
            kinds.setdefault(kind, {}).setdefault(number, text)
            numbers_of.setdefault(kind, set()).add(unnamed)
    lines = []
    for kind, texts in sorted(kinds.items(), key=lambda entry: -len(entry[1]))[:_KINDS_TOLD]:
        patient, first = next(iter(texts.items()))
        rows = row_list(row for number in texts for row in cases[number][0])
        whose = row_list(cases[patient][0]) if len(texts) > 1 else "one image"
        others = f" (so in {whose}; the others differ only in numbers)" if len(numbers_of[kind]) > 1 else ""
        told = f"{len(texts)} of {len(cases)} patients ({rows}): {first[:1].upper()}{first[1:]}{others}"
        lines.append(printable(told, 1200))
    if len(kinds) > _KINDS_TOLD:
        lines.append(f"{len(kinds) - _KINDS_TOLD} more kinds of warnings: see the patients' reports")
    return lines


def _is_range(values: Any) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == 2
        and all(isinstance(value, int | float) and 0 < value < 1e3 for value in values)
    )


def _outside_training(label: str, mammogram: Mammogram, rois: Sequence[Roi], cohort: dict[str, Any]) -> list[str]:
    """Where an image is of a kind, or a region of a size, that the training cohort did not hold."""
    found = []
    for key, value, name in (
        ("views", mammogram.view, "view"),
        ("presentation", mammogram.presentation, "presentation intent"),
    ):
        known = [each for each in cohort.get(key) or {} if each != "unknown"]
        if known and value and value not in known:
            found.append(f"Image {label}: its {name} is {value}, the model was trained on {', '.join(known)}.")
    if rois and (why := _shown_otherwise(mammogram, rois[0].recipe.display, cohort.get("displays") or {})):
        found.append(f"Image {label}: {why}")
    if limits := cohort.get("roi_side_px"):
        smallest, largest = limits
        for roi in rois:
            side = max(roi.geometry.sides)
            if not within_training((side, side), limits):
                found.append(
                    f"Image {label}, lesion {roi.lesion}: the region around it is {side} pixels wide, "
                    f"those of the training were {' to '.join(dict.fromkeys((str(smallest), str(largest))))}."
                )
    return found


def _shown_otherwise(mammogram: Mammogram, display: str, trained: Mapping[str, int]) -> str:
    """That an image is shown by another kind of step than all of the training, in a sentence; empty where it is not."""
    known: Counter[str] = Counter()
    for name, count in trained.items():
        known[kind_of_step(name)] += count
    own = kind_of_step(display_step(mammogram, display).name) if display != "stored" else ""
    if not own or not known or own in known or "" in known:  # a kind without a name may be this one
        return ""
    counts = ", ".join(f"{kind} ({counted(count, 'image')})" for kind, count in known.most_common())
    return f"it is shown by {own}, those of the training by {counts}: the same tissue looks otherwise to the model."
