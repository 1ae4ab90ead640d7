"""Whether an outline can be that of a lesion on its mammogram: its place, its share of the picture, in words.

The one place where this is computed and said: the check of a cohort, training, studies, evaluation, the worker and
predictions get it with every `LesionSet`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from MolSubCore.imaging.breast import BreastArea, breast_area
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.drawn import is_drawn

if TYPE_CHECKING:
    from MolSubCore.lesions.lesion import Lesion

#: Share of a lesion on the breast, or at most at the skin, below which it lies in the air, and below which a part of it
#: does; and share on the breast itself below which a part does (all of the real and synthetic ones at hand: 1).
_IN_AIR, _PARTLY, _PARTLY_OWN = 0.05, 0.75, 0.6
#: Share of the breast, or of a picture without air, that is too much for most lesions (an eighth at most of the breast
#: of the real ones at hand).
_MUCH_OF_BREAST, _MUCH = 0.3, 0.5
#: Sides of a box are those of a strip, and not of a lesion, if the shorter is at most this share of the longer one;
#: at the picture's edge, and elsewhere.
_STRIP_AT_EDGE, _STRIP = 1 / 6, 1 / 15
#: A mask is a band around the breast, and no lesion, if its box spans at least this share of the breast's box on both
#: sides, and it is nowhere thicker than this share of its box's longer side.
_SPANS, _BAND = 0.6, 0.1
#: Longest side of a lesion (mm; share of the picture's longer side, and pixels, where it is unknown) that is too small.
_SMALL_MM, _SMALL_SHARE, _SMALL_PX = 1.5, 0.005, 3
#: Pixels of the two grey values of a picture that is a mask; soft edges may have some others.
_TWO_VALUES = 0.995
#: Share of the picture from which on a mask without air beside the breast is no outline; share of picture and air from
#: which on it is an inverted one; share of the breast from which on it is an outline of the breast.
_WHOLE, _INVERTED, _BREAST, _EDGE = 0.95, 0.5, 0.8, 0.9


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
    small = [text for lesion in lesions if (text := _too_small(lesion, len(lesions), mammogram))]
    small += [text for lesion in lesions if (text := _strip(lesion, len(lesions), mammogram))]
    for lesion in lesions:
        if is_drawn(lesion, mammogram.stored):
            name = "the lesion" if len(lesions) == 1 else f"lesion {lesion.label}"
            small.append(
                f"The outline of {name} seems to be drawn in the picture, in one grey value: a network sees and learns "
                "the line. Give the picture without it."
            )
    if _is_mask(mammogram):
        text = "The image holds two grey values only: it is a mask and no mammogram. Give the mammogram as the image."
        return Placement((text,), tuple(small), labels)
    if area is None:
        edge = np.concatenate([covered[0], covered[-1], covered[:, 0], covered[:, -1]])
        text = f"The mask covers {_percent(of_image)} of the image"
        if _INVERTED < of_image < 1 and edge.mean() > _EDGE:
            text += ", its edge all around too: it is inverted. Save it with the lesion marked instead."
            return Placement((text,), wrong=labels)
        if of_image >= _WHOLE:
            return Placement((f"{text}: it outlines no lesion. Outline the lesion alone.",), wrong=labels)
        if of_image > _MUCH:
            small.append(f"{text}, which shows no air beside the breast. Check that it outlines a lesion.")
        return Placement((), tuple(small))
    breast = area.at(slice(0, rows), slice(0, columns))
    if of_image > _INVERTED and covered[~breast].mean() > _INVERTED:
        text = (
            f"The mask covers {_percent(of_image)} of the image, the air beside the breast too: it is inverted, or "
            "covers everything. Save it with the lesion alone marked."
        )
        return Placement((text,), wrong=labels)
    problems, warnings, wrong = [], small, []
    warnings += [text for lesion in lesions if (text := _band(lesion, len(lesions), area))]
    for lesion in lesions:
        share = tissue_share(lesion, mammogram) or 0.0
        own = area.at(lesion.box.rows, lesion.box.cols, rim=False)
        seen = float(own.mean() if lesion.mask is None else own[lesion.mask].mean())
        name = "The lesion" if len(lesions) == 1 else f"Lesion {lesion.label}"
        shares = f"{_percent(seen)} of it is on breast tissue, it covers {_percent(_area(lesion) / covered.size)} of "
        if share < _IN_AIR or seen == 0:
            wrong.append(lesion.label)
            problems.append(
                f"{name} lies outside the breast, in the air: {shares}the image. Check that its outline is of this "
                "very image, not of the other side or of a mirrored picture."
            )
        elif share < _PARTLY or seen < _PARTLY_OWN:
            warnings.append(f"{name} lies partly outside the breast: {shares}the image. Check its outline.")
    of_breast = float(covered[breast].mean())
    if of_breast >= _BREAST:
        warnings.append(
            f"The mask covers {_percent(of_breast)} of the breast, {_percent(of_image)} of the image: it seems to "
            "outline the breast and not a lesion."
        )
    elif of_breast > _MUCH_OF_BREAST:
        warnings.append(f"The mask covers {_percent(of_breast)} of the breast. Check that it outlines a lesion.")
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


def _too_small(lesion: Lesion, count: int, mammogram: Mammogram) -> str:
    """That a lesion is smaller than any that is outlined on purpose, in a sentence; empty where it is not."""
    rows, columns = lesion.box.shape
    name = "The lesion" if count == 1 else f"Lesion {lesion.label}"
    spacing = mammogram.spacing
    if spacing.row_mm is not None and spacing.col_mm is not None:
        side = max(rows * spacing.row_mm, columns * spacing.col_mm)
        if side >= _SMALL_MM:
            return ""
        return (
            f"{name} is {rows} x {columns} pixels, {side:.2g} mm at most (under {_SMALL_MM:g} mm). Check its outline."
        )
    least = max(_SMALL_PX, math.ceil(_SMALL_SHARE * max(mammogram.shape)))
    if max(rows, columns) >= least:
        return ""
    return f"{name} is {rows} x {columns} pixels (under {least} of an image of this size). Check its outline."


def _strip(lesion: Lesion, count: int, mammogram: Mammogram) -> str:
    """That a lesion is a strip, such as the picture's edge or the chest wall, in a sentence; empty where it is none."""
    box, (rows, columns) = lesion.box, mammogram.shape
    ends = (box.row_start == 0, box.row_stop == rows) if box.shape[0] < box.shape[1] else ()
    ends = ends or (box.col_start == 0, box.col_stop == columns)
    short, long = sorted(box.shape)
    if short > (_STRIP_AT_EDGE if any(ends) else _STRIP) * long or long < _STRIP_AT_EDGE * min(rows, columns):
        return ""
    name = "The lesion" if count == 1 else f"Lesion {lesion.label}"
    where = " along the picture's edge" if any(ends) else ""
    cause = "an edge or the chest wall" if where else "a line"
    size = f"{box.shape[0]} x {box.shape[1]} pixels"
    return f"{name} is a strip of {size}{where}: {cause}, and no lesion? Check its outline."


def _band(lesion: Lesion, count: int, area: BreastArea) -> str:
    """That a lesion is a band along the breast's outline, in a sentence; empty where it is none."""
    from scipy import ndimage

    sides = [np.ptp(np.flatnonzero(area.own.any(axis))) + 1 for axis in (1, 0)]
    shares = [length / (side * area.step) for length, side in zip(lesion.box.shape, sides, strict=True)]
    if lesion.mask is None or min(shares) < _SPANS:
        return ""
    step = max(1, area.step // 2)
    thick = 2 * step * float(ndimage.distance_transform_edt(np.pad(lesion.mask[::step, ::step], 1)).max())
    if thick > _BAND * max(lesion.box.shape):
        return ""
    name = "The lesion" if count == 1 else f"Lesion {lesion.label}"
    return (
        f"{name} is a band around the breast, at most {thick:.0f} pixels wide, and not a lesion (the skin line?). "
        "Outline the lesion alone."
    )


def _is_mask(mammogram: Mammogram) -> bool:
    """Whether a picture has two grey values, but for soft edges between them."""
    stored = mammogram.stored
    low, high = stored.min(), stored.max()
    if low == high:
        return False
    middle = stored[(stored != low) & (stored != high)]
    return bool(middle.size <= (1 - _TWO_VALUES) * stored.size)


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
