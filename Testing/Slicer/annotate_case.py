"""What the tests of the Annotate panel share: a mammogram in the scene, strokes in its view, masks in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

import scene_case
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import RoiGeometry, extract_rois

#: The mammogram of `show`, as the core has it.
CORE = Mammogram(scene_case.pixels(), spacing=Spacing(*scene_case.SPACING, "ImagerPixelSpacing"))


def show(module: Any, folder: Path, **facts: Any) -> Any:
    """A small mammogram, hung and chosen; its node."""
    from MolSubSlicerLib.Scene import Hanging, Mammograms

    volume = Mammograms.add_mammogram(scene_case.facts(folder, **facts))
    Hanging.hang([volume])
    choose(module, volume)
    return volume


def choose(module: Any, volume: Any) -> None:
    """Choose a mammogram, as the Load panel does."""
    module.session.parameters.mammogram = volume
    module.session.mammograms_changed.emit()


def effect(panel: Any, name: str) -> None:
    """Click on the button of an effect, where it is not active."""
    from slicer.util import findChild

    drop_deleted()
    button = findChild(panel.editor.widget, name)
    if not button.checked:
        button.click()


def drop_deleted() -> None:
    """Have Qt delete what is to be deleted later: the editor makes its buttons anew when it is dressed."""
    from PySide6.QtCore import QCoreApplication, QEvent

    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def brush(panel: Any, millimetres: float) -> None:
    """A brush of this diameter."""
    editor = panel.editor.widget.effectByName("Paint")
    editor.setCommonParameter("BrushDiameterIsRelative", 0)
    editor.setCommonParameter("BrushAbsoluteDiameter", millimetres)


def stroke(volume: Any, *points: tuple[float, float], button: str = "Left") -> None:
    """Drag the mouse over image points (row, column) in the mammogram's view."""
    import slicer

    view = slicer.app.layoutManager().sliceWidget(scene_case.view_name(volume)).sliceView()
    view.drag([view.position_of(volume, *point) for point in points], button)


def labels_of(volume: Any) -> NDArray[np.uint8]:
    """What is outlined now; all 0 where nothing is."""
    from MolSubSlicerLib.Scene import Lesions, Mammograms

    segmentation = Lesions.segmentation_for(volume, create=False)
    if segmentation is None or not Lesions.lesion_segments(segmentation):
        return np.zeros(Mammograms.pixels_of(volume).shape, np.uint8)
    return Lesions.labels_of(segmentation, volume)


def extent(mask: NDArray[Any]) -> tuple[int, int]:
    """Rows and columns that a mask reaches over."""
    rows, columns = np.nonzero(mask)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def squares(folder: Path, labels: NDArray[np.uint8], **recipe: Any) -> list[RoiGeometry]:
    """What the core cuts out of a mask with these labels."""
    path = folder / "expected.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(labels[None]), str(path))
    rois = extract_rois(CORE, read_lesions(path, CORE), get_recipe("default", **recipe))
    return [roi.geometry for roi in rois]
