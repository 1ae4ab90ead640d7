"""The mask of a worklist's image: from the scene to the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from MolSubSlicerLib.Scene import Lesions, Mammograms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from MolSubCore.annotation.worklist import Worklist


def outline_of(volume: Any) -> NDArray[np.uint8] | None:
    """The label map of what is outlined now; all 0 where nothing is, None where there is no segmentation.

    Raises
    ------
    SceneError
        If the lesions lie on another grid, or one covers another whole.
    """
    segmentation = Lesions.segmentation_for(volume, create=False)
    if segmentation is None:
        return None
    if not Lesions.lesion_segments(segmentation):
        return np.zeros(Mammograms.pixels_of(volume).shape, np.uint8)
    return Lesions.labels_of(segmentation, volume)


def write_outline(labels: NDArray[np.uint8], volume: Any, worklist: Worklist) -> None:
    """Write the current image's mask in place of the former one; where nothing is outlined, there is none.

    Raises
    ------
    CohortError
        If a file that this worklist did not write is in the way.
    SceneError
        If the disk refuses.
    """
    entry = worklist.current
    if labels.any():
        with worklist.writing(entry.number) as path:
            Lesions.write_mask(labels, volume, path)
    elif entry.has_mask:
        worklist.remove_mask(entry.number)
