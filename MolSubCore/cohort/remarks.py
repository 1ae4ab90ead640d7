"""What is to be reviewed about the images and lesions of a table's rows: one wording for checks, runs and evaluations.

Whoever reads an image keeps these words beside what it makes of it, so that nothing is read again to tell them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.table import Case, Cohort, Problem
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.lesions.roi import Roi, image_remarks

#: Weights of remarks, by their words; all others weigh 3.
_WEIGHTS = (
    (7, "mean nothing|there is no picture|negative"),
    (5, "not a standard view|FOR PROCESSING|contradict|tomosynthesis|biopsy|quality-control|burned-in text, which"),
    (5, "drawn in the picture"),
    (2, "pixel spacing is unknown"),
    (1, "does not say whether"),
)


def image_texts(mammogram: Mammogram, recipe: Recipe) -> list[str]:
    """What is to be said of an image, whatever the lesion."""
    found = image_remarks(mammogram, recipe)
    if mammogram.spacing.source == "unknown":
        found.append("The pixel spacing is unknown: the margin around the lesion is in pixels only.")
    return found


def region_texts(rois: Sequence[Roi]) -> list[str]:
    """What is to be said of the regions around lesions; not that one holds one grey value only, which is refused."""
    return [text for roi in rois if not roi.is_constant for text in roi.warnings]


def notes_of(case: Case, about_image: Iterable[str] = (), about_lesion: Iterable[str] = ()) -> list[Problem]:
    """The notes of a row, of what is to be said of its image and of its lesions."""
    column = "mask" if case.mask else "box"
    named = [*(("image", text) for text in about_image), *((column, text) for text in about_lesion)]
    return [Problem(case.row, column, text, note_weight(text)) for column, text in named]


def store_notes(cohort: Cohort, store: PatchStore) -> list[Problem]:
    """The notes of all rows of a store's cohort, each once."""
    found: dict[Problem, None] = {}
    for number, meta in zip(store.case_index.tolist(), store.meta, strict=True):
        told = meta["warnings"]
        found |= dict.fromkeys(notes_of(cohort.cases[number], told["image"], told["lesion"]))
    return list(found)


def note_weight(text: str) -> int:
    """How much a remark matters; what may make a result meaningless weighs most."""
    return next((weight for weight, words in _WEIGHTS if re.search(words, text)), 3)
