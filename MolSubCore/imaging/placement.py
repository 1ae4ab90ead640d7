"""Whether an outline can be that of a lesion on its mammogram: its place, its share of the picture, in words.

The one place where this is computed and said: the check of a cohort, training, studies, evaluation, the worker and
predictions get it with every `LesionSet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from MolSubCore.imaging.breast import breast_area
from MolSubCore.imaging.mammogram import Mammogram

if TYPE_CHECKING:
    from MolSubCore.imaging.lesion import Lesion

#: Share of a lesion on the breast below which it lies in the air, and below which a part of it does.
_IN_AIR, _PARTLY = 0.05, 0.75
#: Share of the picture from which on a mask without air beside the breast is no outline; share of picture and air from
#: which on it is an inverted one; share of the breast from which on it is an outline of the breast.
_WHOLE, _INVERTED, _BREAST = 0.95, 0.5, 0.8


@dataclass(frozen=True)
class Placement:
    """What was found.

    Attributes
    ----------
    problems : tuple of str
        Sentences: this cannot be the outline of a lesion on this picture.
    warnings : tuple of str
        Sentences: this is unusual.
    wrong : tuple of str
        Labels of the lesions that the problems are about.
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


def judge_placement(lesions: Sequence[Lesion], mammogram: Mammogram) -> Placement:
    """Hold the lesions of a mammogram against its picture."""
    area = breast_area(mammogram)
    rows, columns = mammogram.shape
    covered = np.zeros(mammogram.shape, bool)
    for lesion in lesions:
        covered[lesion.box.rows, lesion.box.cols] |= True if lesion.mask is None else lesion.mask
    of_image = float(covered.mean())
    labels = tuple(lesion.label for lesion in lesions)
    if area is None:
        if of_image < _WHOLE:
            return Placement()
        text = f"The mask covers {_percent(of_image)} of the image: it outlines no lesion. Outline the lesion alone."
        return Placement((text,), wrong=labels)
    breast = area.at(slice(0, rows), slice(0, columns))
    if of_image > _INVERTED and covered[~breast].mean() > _INVERTED:
        text = (
            f"The mask covers {_percent(of_image)} of the image, the air beside the breast too: it is inverted, or "
            "covers everything. Turn it over (the lesion must be what is marked), or outline the lesion alone."
        )
        return Placement((text,), wrong=labels)
    problems, warnings, wrong = [], [], []
    for lesion in lesions:
        share = tissue_share(lesion, mammogram) or 0.0
        name = "The lesion" if len(lesions) == 1 else f"Lesion {lesion.label}"
        shares = f"{_percent(share)} of it is on breast tissue, it covers {_percent(_area(lesion) / covered.size)} of "
        if share < _IN_AIR:
            wrong.append(lesion.label)
            problems.append(
                f"{name} lies outside the breast, in the air: {shares}the image. Check that its outline is of this "
                "very image, not of the other side or of a mirrored picture."
            )
        elif share < _PARTLY:
            warnings.append(f"{name} lies partly outside the breast: {shares}the image. Check its outline.")
    of_breast = float(covered[breast].mean())
    if of_breast >= _BREAST:
        warnings.append(
            f"The mask covers {_percent(of_breast)} of the breast, {_percent(of_image)} of the image: it seems to "
            "outline the breast and not a lesion."
        )
    return Placement(tuple(problems), tuple(warnings), tuple(wrong))


def tissue_share(lesion: Lesion, mammogram: Mammogram) -> float | None:
    """Share of a lesion's pixels on breast tissue or at most at the skin, 0 to 1; None where no air is seen."""
    area = breast_area(mammogram)
    if area is None:
        return None
    tissue = area.at(lesion.box.rows, lesion.box.cols)
    return float(tissue.mean() if lesion.mask is None else tissue[lesion.mask].mean())


def mask_tissue_share(mask: NDArray[np.bool_], mammogram: Mammogram) -> float | None:
    """`tissue_share` of a mask of the whole image; None where it is empty, too."""
    area = breast_area(mammogram)
    if area is None or not mask.any():
        return None
    rows, columns = mammogram.shape
    return float(area.at(slice(0, rows), slice(0, columns))[mask].mean())


def _area(lesion: Lesion) -> int:
    rows, columns = lesion.box.shape
    return rows * columns if lesion.mask is None else int(np.count_nonzero(lesion.mask))


def _percent(share: float) -> str:
    """A share in per cent: whole above 10 %, else to one digit that counts; never a round 0 or 100 that it is not."""
    value = 100 * share
    if value in (0.0, 100.0):
        return f"{value:.0f} %"
    if value >= 10:
        return f"{min(value, 99.9):.3g} %"
    return f"{value:.1f} %" if value >= 0.1 else "under 0.1 %"
