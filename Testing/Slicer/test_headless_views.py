"""Slice views show the scene at the right pixels, and the mouse does there what it does in Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk

LAYOUT = 700
TWO_VIEWS = """<layout type="horizontal">
<item><view class="vtkMRMLSliceNode" singletontag="One"><property name="orientation" action="default">Axial</property>
<property name="viewlabel" action="default">1</property></view></item>
<item><view class="vtkMRMLSliceNode" singletontag="Two"><property name="orientation" action="default">Axial</property>
<property name="viewlabel" action="default">2</property></view></item></layout>"""


def picture(array: np.ndarray, spacing: float = 1.0) -> Any:
    """A volume as a mammogram has it: columns to the patient's left, rows downwards."""
    volume = slicer.util.addVolumeFromArray(array[None])
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 0, -spacing)
    matrix.SetElement(1, 1, -spacing)
    volume.SetIJKToRASMatrix(matrix)
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(200.0, 100.0)
    display.InterpolateOff()
    return volume


@pytest.fixture
def view(scene: Any, slicer_app: Any) -> Any:
    array = np.zeros((60, 80), np.uint8)
    array[10:20, 30:60] = 200
    volume = picture(array)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    widget = slicer_app.layoutManager().sliceWidget("Red")
    widget.sliceView().resize(320, 240)
    widget.sliceLogic().FitSliceToAll()
    return widget.sliceView()


def background() -> Any:
    return slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")[0]


def test_pixels_are_where_the_volume_has_them(view: Any) -> None:
    image = view.image()
    assert image.shape == (240, 320, 3)
    scale = 4  # 80 columns on 320 pixels, 60 rows on 240
    expected = np.zeros((240, 320), bool)
    expected[10 * scale : 20 * scale, 30 * scale : 60 * scale] = True
    bright = image[..., 0] > 128
    assert (bright == expected).mean() > 0.99
    x, y = view.position_of(background(), 15, 45)
    assert bright[y, x] and abs(x - 45.5 * scale) <= 2 and abs(y - 15.5 * scale) <= 2


def test_a_custom_layout_makes_its_views(scene: Any, slicer_app: Any) -> None:
    manager = slicer_app.layoutManager()
    node = manager.layoutLogic().GetLayoutNode()
    if not node.IsLayoutDescription(LAYOUT):
        node.AddLayoutDescription(LAYOUT, TWO_VIEWS)
    seen: list[int] = []
    manager.connect("layoutChanged(int)", seen.append)
    manager.setLayout(LAYOUT)
    manager.disconnect("layoutChanged(int)", seen.append)
    assert seen == [LAYOUT] == [manager.layout]
    assert {"One", "Two"} <= set(manager.sliceViewNames())
    assert sorted(w.mrmlSliceNode().GetName() for w in manager.visible_widgets()) == ["One", "Two"]
    logic = manager.sliceWidget("Two").sliceLogic()
    assert logic.GetSliceNode().GetLayoutLabel() == "2" and logic.GetSliceCompositeNode() is not None
    scene.Clear(0)
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert [w.mrmlSliceNode().GetName() for w in manager.visible_widgets()] == ["Red"]


def test_a_window_level_drag_changes_the_window(view: Any) -> None:
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    display = background().GetDisplayNode()
    view.drag([(100, 100), (140, 100), (180, 100)])
    assert (display.GetWindow(), display.GetLevel()) == (200.0, 100.0)  # the mouse has another task by default
    interaction.SetCurrentInteractionMode(interaction.AdjustWindowLevel)
    view.drag([(100, 100), (140, 100), (180, 100)])
    gain = 200 / 240  # Slicer's own rule: the volume's range over the shorter side of the view
    assert display.GetWindow() == pytest.approx(200 + 80 * gain)
    view.drag([(100, 100), (100, 60)])
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert abs(display.GetLevel() - 100) == pytest.approx(40 * gain)


def test_a_bundle_brings_volume_segmentation_and_view_back(view: Any, tmp_path: Path, scene: Any) -> None:
    volume = background()
    volume.SetName("R MLO")
    volume.SetAttribute("MolSub.View", "MLO")
    former = slicer.util.arrayFromVolume(volume).copy()
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lesions")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("", "mass")
    mask = np.zeros((1, 60, 80), np.uint8)
    mask[0, 12:18, 32:50] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment, volume)
    before = view.image()
    assert not np.array_equal(before[..., 0], before[..., 1])  # the segment's colour is seen
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    scene.Clear(0)
    assert not slicer.util.getNodes("R MLO")
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    volume = slicer.util.getNode("R MLO")
    segmentation = slicer.util.getNode("lesions")
    assert volume.GetAttribute("MolSub.View") == "MLO"
    assert np.array_equal(slicer.util.arrayFromVolume(volume), former)
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume), mask)
    hierarchy = scene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemByDataNode(volume) and hierarchy.GetItemByDataNode(segmentation)
    again = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    again.resize(320, 240)
    again.mrmlSliceNode().Modified()  # outlines were drawn while the view was being read
    assert np.array_equal(again.image(), before)


def test_pictures_and_masks_are_loaded_and_written(tmp_path: Path, scene: Any) -> None:
    import SimpleITK as sitk
    from PIL import Image

    array = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
    Image.fromarray(array).save(tmp_path / "a.png")
    volume = slicer.util.loadVolume(str(tmp_path / "a.png"))
    assert np.array_equal(slicer.util.arrayFromVolume(volume)[0], array)
    slicer.util.exportNode(volume, str(tmp_path / "out.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz")))[0], array)
    slicer.util.saveNode(volume, str(tmp_path / "out.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nrrd")))[0], array)
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "none.nrrd"))
