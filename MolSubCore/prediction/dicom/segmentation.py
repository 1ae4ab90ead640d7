"""Lesions as a DICOM Segmentation on the mammogram's own pixels (PS3.3 A.51)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom.seg import SegmentationTypeValues, SegmentDescription
from highdicom.seg.sop import Segmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from MolSubCore import DISCLAIMER
from MolSubCore.lesions.lesion import LesionSet
from MolSubCore.prediction.dicom.codes import ABNORMAL, BREAST, LESION
from MolSubCore.prediction.dicom.maker import common, finished, new_uid

if TYPE_CHECKING:
    from MolSubCore.prediction.result import LesionPrediction

_OUTLINES = {
    "mask": "Mask given to the program.",
    "polygon": "Polygon given to the program, filled.",
    "box": "Rectangle given to the program as the lesion's box; not an outline.",
}


@dataclass(frozen=True, eq=False)
class LesionObject:
    """A segmentation and how its segments are tracked.

    Attributes
    ----------
    dataset : Dataset
        The DICOM Segmentation, ready to be written.
    tracking : dict of int to (str, UID)
        Tracking identifier and UID by segment number.
    """

    dataset: Dataset
    tracking: dict[int, tuple[str, UID]]


def make_segmentation(
    items: list[LesionPrediction], source: Dataset, card: dict[str, Any], series: UID, number: int
) -> LesionObject:
    """The lesions of one image, one segment for each prediction.

    Parameters
    ----------
    items : list of LesionPrediction
        All of one image, in order.
    source : Dataset
        From `read_source`.
    card : dict
        The model bundle's, which names the maker.
    series : UID
        Series Instance UID.
    number : int
        Instance Number.

    Returns
    -------
    LesionObject
        Segment n is the lesion of ``items[n - 1]``; with a recipe that takes all lesions together, segment 1 is all.
    """
    lesions = items[0].lesions
    together = items[0].roi.recipe.together
    masks = [lesions.full_mask()] if together else _masks(lesions)
    tracking = {n: (item.lesion, new_uid()) for n, item in enumerate(items, start=1)}
    described = [
        SegmentDescription(n, name[:64], ABNORMAL, LESION, "MANUAL", None, uid, name, [BREAST])
        for n, (name, uid) in tracking.items()
    ]
    for segment, item in zip(described, items, strict=True):
        segment.SegmentDescription = _OUTLINES[lesions.lesions[item.lesion_index].source_kind]
    made = Segmentation(
        [source],
        np.stack(masks, axis=-1)[None],
        SegmentationTypeValues.BINARY,
        described,
        content_label="LESIONS",
        content_description="Research use only: lesions as outlined"[:64],
        omit_empty_frames=False,
        **common(card, "segmentation", series, number),
    )
    made.ImageComments = DISCLAIMER
    return LesionObject(finished(made, source), tracking)


def _masks(lesions: LesionSet) -> list[NDArray[np.uint8]]:
    masks = []
    for lesion in lesions.lesions:
        mask = np.zeros(lesions.shape, np.uint8)
        mask[lesion.box.rows, lesion.box.cols] = 1 if lesion.mask is None else lesion.mask
        masks.append(mask)
    return masks
