"""Agreement of two readers' outlines of one mammogram, and their consensus.

What the paper says: two radiologists outlined all lesions of each image in ITK-SNAP, independently and without
knowledge of the patient (section 2.2). It reports no measure of their agreement, and not how two outlines became the
one that was used. All measures and all rules of consensus here are therefore ours; the independence is the paper's
(`MolSubCore.annotation.second_reader`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MolSubCore.errors import LesionError
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.lesions.lesion import Box, LesionSet

#: What becomes of two outlines: one reader's, what either has marked, or what both have.
Rule = Literal["first", "second", "union", "intersection"]
RULES: tuple[Rule, ...] = get_args(Rule)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """How far two readers agree on one image; all lesions of a reader count together.

    Attributes
    ----------
    dice, jaccard : float
        Of the marked pixels, 0 to 1: twice the common ones over the sum of both, and the common ones over all.
    hausdorff, hausdorff_95 : float
        Between the outlines, in `unit`. An outline is the marked pixels with a neighbour above, below, left or right
        that is not marked, or that lie on the image's edge; distances are between pixel centres. `hausdorff` is the
        largest distance from a pixel of either outline to the other outline; `hausdorff_95` the larger of the two
        directed 95th percentiles of these distances (linear interpolation between ranks).
    unit : {'mm', 'px'}
        Millimetres where the spacing is known (at the detector, should only that be), else pixels.
    box_iou : float
        Common over all pixels of the lesions' boxes, 0 to 1.
    box_kappa : float or None
        Cohen's kappa of the two readers' "inside a lesion's box" or "outside", pixel by pixel over `kappa_region`;
        None where the region has one answer only. It grows with the region, so it is comparable between studies of
        the same region only.
    kappa_region : Box
        The smallest box around both readers' boxes, half its sides larger on every side (four times the area), cut at
        the image's edge. Over the boxes' own union no pixel is outside for both, and kappa could never exceed 0.
    area_first, area_second : float
        Marked area in mm2, or in pixels.
    lesions_first, lesions_second : int
    """

    dice: float
    jaccard: float
    hausdorff: float
    hausdorff_95: float
    unit: Literal["mm", "px"]
    box_iou: float
    box_kappa: float | None
    kappa_region: Box
    area_first: float
    area_second: float
    lesions_first: int
    lesions_second: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return asdict(self)


def agreement(first: LesionSet, second: LesionSet, spacing: Spacing) -> Agreement:
    """Compare two readers' lesions on one image.

    Parameters
    ----------
    first, second : LesionSet
        Of the same image; a lesion known by its box only counts as filled.
    spacing : Spacing
        The image's.

    Raises
    ------
    LesionError
        If they lie on different grids.
    """
    region = _grown(_around(first).union(_around(second)), _same_grid(first, second))
    one, two = (lesions.full_mask()[region.rows, region.cols] for lesions in (first, second))
    known = spacing.row_mm is not None and spacing.col_mm is not None
    steps = (float(spacing.row_mm or 1.0), float(spacing.col_mm or 1.0)) if known else (1.0, 1.0)
    common, areas = int((one & two).sum()), (int(one.sum()), int(two.sum()))
    there, back = _outline_distances(one, two, steps)
    boxes = [_boxes(lesions, region) for lesions in (first, second)]
    pixel = steps[0] * steps[1]
    return Agreement(
        dice=2 * common / sum(areas),
        jaccard=common / (sum(areas) - common),
        hausdorff=float(max(there.max(), back.max())),
        hausdorff_95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        unit="mm" if known else "px",
        box_iou=float((boxes[0] & boxes[1]).sum() / (boxes[0] | boxes[1]).sum()),
        box_kappa=cohen_kappa(*boxes),
        kappa_region=region,
        area_first=areas[0] * pixel,
        area_second=areas[1] * pixel,
        lesions_first=len(first.lesions),
        lesions_second=len(second.lesions),
    )


def cohen_kappa(first: Mask, second: Mask) -> float | None:
    """Cohen's kappa of two yes-no answers over the same items; None where both give one and the same throughout."""
    total, yes = first.size, (int(first.sum()), int(second.sum()))
    observed = int((first == second).sum()) / total
    expected = (yes[0] * yes[1] + (total - yes[0]) * (total - yes[1])) / total**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def consensus(first: LesionSet, second: LesionSet, rule: Rule) -> NDArray[np.uint8]:
    """One mask from two readers' lesions.

    Parameters
    ----------
    rule : {'first', 'second', 'union', 'intersection'}
        Either reader's outline, all pixels that either has marked, or those that both have.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
        1 inside.

    Raises
    ------
    LesionError
        If the grids differ, the rule is unknown, or no pixel is left.
    """
    _same_grid(first, second)
    if rule not in RULES:
        raise LesionError("consensus", f"is by '{rule}', expected {', '.join(RULES)}", "Choose one of these")
    one, two = first.full_mask(), second.full_mask()
    mask = {"first": one, "second": two, "union": one | two, "intersection": one & two}[rule]
    if not mask.any():
        raise LesionError("consensus", "is empty: the readers have no pixel in common", "Choose another rule")
    return mask.astype(np.uint8)


def _same_grid(first: LesionSet, second: LesionSet) -> tuple[int, int]:
    if first.shape != second.shape:
        names = [f"{rows} rows x {columns} columns" for rows, columns in (first.shape, second.shape)]
        raise LesionError(
            "second reader", f"outlined {names[1]}, the first {names[0]}", "Compare outlines of one image"
        )
    return first.shape


def _around(lesions: LesionSet) -> Box:
    box = lesions.lesions[0].box
    for lesion in lesions.lesions[1:]:
        box = box.union(lesion.box)
    return box


def _grown(box: Box, shape: tuple[int, int]) -> Box:
    """Half its sides larger on every side, rounded up, within the image."""
    rows, columns = (-(-side // 2) for side in box.shape)
    return Box(
        max(box.row_start - rows, 0),
        min(box.row_stop + rows, shape[0]),
        max(box.col_start - columns, 0),
        min(box.col_stop + columns, shape[1]),
    )


def _boxes(lesions: LesionSet, region: Box) -> Mask:
    """Where a reader's boxes are in a region that holds them all."""
    mask = np.zeros(region.shape, bool)
    for lesion in lesions.lesions:
        box = lesion.box
        mask[
            box.row_start - region.row_start : box.row_stop - region.row_start,
            box.col_start - region.col_start : box.col_stop - region.col_start,
        ] = True
    return mask


def _outline_distances(
    first: Mask, second: Mask, steps: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From every outline pixel of each mask to the nearest of the other's."""
    outlines = [mask & ~ndimage.binary_erosion(mask) for mask in (first, second)]
    away = [ndimage.distance_transform_edt(~outline, sampling=steps) for outline in outlines]
    return away[1][outlines[0]], away[0][outlines[1]]
