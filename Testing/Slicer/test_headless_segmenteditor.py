"""Painting, erasing and drawing with the mouse, through Slicer's own segment editor logic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import qt
import slicer
import vtk

SHAPE = (60, 80)
SPACING = 0.5
SCALE = 4  # pixels of the view on one of the volume


@pytest.fixture
def volume(scene: Any) -> Any:
    volume = slicer.util.addVolumeFromArray(np.zeros((1, *SHAPE), np.uint8))
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 0, -SPACING)
    matrix.SetElement(1, 1, -SPACING)
    volume.SetIJKToRASMatrix(matrix)
    slicer.util.setSliceViewerLayers(background=volume)
    return volume


@pytest.fixture
def view(volume: Any) -> Any:
    widget = slicer.app.layoutManager().sliceWidget("Red")
    widget.sliceView().resize(SHAPE[1] * SCALE, SHAPE[0] * SCALE)
    widget.sliceLogic().FitSliceToAll()
    return widget.sliceView()


@pytest.fixture
def editor(scene: Any, volume: Any, view: Any) -> Iterator[Any]:
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("mass", "mass")
    editor = slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setMRMLScene(scene)
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
    editor.setCurrentSegmentID("mass")
    yield editor
    editor.setActiveEffect(None)
    editor.removeViewObservations()
    editor.setMRMLSegmentEditorNode(None)
    editor.setMRMLScene(None)


def mask(editor: Any, volume: Any, segment: str = "mass") -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(editor.segmentationNode(), segment, volume)[0]


def brush(editor: Any, name: str, diameter: float) -> None:
    editor.setActiveEffectByName(name)
    effect = editor.activeEffect()
    effect.setCommonParameter("BrushDiameterIsRelative", 0)
    effect.setCommonParameter("BrushAbsoluteDiameter", diameter)


def disc(row: float, column: float, diameter: float) -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.hypot(rows - row, columns - column) * SPACING <= diameter / 2


def test_a_click_paints_a_disc_of_the_brush(editor: Any, view: Any, volume: Any) -> None:
    brush(editor, "Paint", 5.0)
    view.click(*view.position_of(volume, 20, 30))
    painted = mask(editor, volume) > 0
    assert np.count_nonzero(painted ^ disc(20, 30, 5.0)) <= 8  # the mouse stands on whole pixels of the view
    assert painted[20, 30] and not painted[20, 40]


def test_strokes_erase_undo_and_redo(editor: Any, view: Any, volume: Any) -> None:
    brush(editor, "Paint", 4.0)
    view.drag([view.position_of(volume, 30, column) for column in (20, 60)])
    stroke = mask(editor, volume).copy()
    assert stroke[30, 20:61].all() and not stroke[20].any()
    brush(editor, "Erase", 4.0)
    view.click(*view.position_of(volume, 30, 40))
    erased = mask(editor, volume).copy()
    assert not erased[30, 38:43].any() and erased[30, 22] and erased[30, 58]
    editor.undo()
    assert np.array_equal(mask(editor, volume), stroke)
    editor.undo()
    assert not mask(editor, volume).any()
    editor.redo()
    assert np.array_equal(mask(editor, volume), stroke)


def test_drawing_fills_the_outline(editor: Any, view: Any, volume: Any) -> None:
    editor.setActiveEffectByName("Draw")
    corners = [(10, 20), (10, 50), (40, 50), (40, 20)]
    view.drag([view.position_of(volume, *corner) for corner in corners])
    view.click(*view.position_of(volume, 25, 35), button="Right")
    rows, columns = np.nonzero(mask(editor, volume))
    assert np.allclose([rows.min(), rows.max(), columns.min(), columns.max()], [10, 40, 20, 50], atol=1)
    assert len(rows) == pytest.approx(30 * 30, rel=0.1)


def test_no_effect_no_stroke(editor: Any, view: Any, volume: Any) -> None:
    view.drag([view.position_of(volume, 30, column) for column in (20, 60)])
    brush(editor, "Paint", 4.0)
    editor.removeViewObservations()
    view.click(*view.position_of(volume, 30, 30))
    assert not mask(editor, volume).any()


def test_painting_over_another_segment_takes_its_pixels(editor: Any, view: Any, volume: Any) -> None:
    editor.segmentationNode().GetSegmentation().AddEmptySegment("other", "other")
    brush(editor, "Paint", 6.0)
    view.click(*view.position_of(volume, 30, 30))
    editor.setCurrentSegmentID("other")
    view.click(*view.position_of(volume, 30, 34))
    first, second = mask(editor, volume), mask(editor, volume, "other")
    assert second[30, 30] and not first[30, 30] and first[30, 26]


def test_buttons_select_effects_and_segments(editor: Any) -> None:
    editor.setEffectNameOrder(["Paint", "Erase"])
    editor.unorderedEffectsVisible = False
    buttons = [b for b in editor.findChildren(qt.QToolButton) if not b.isHidden() and b.text in ("Paint", "Erase")]
    assert [b.text for b in buttons][:2] == ["Paint", "Erase"]
    editor.findChild(qt.QToolButton, "Erase").click()
    assert editor.activeEffect().name == "Erase"
    editor.findChild(qt.QPushButton, "AddSegmentButton").click()
    assert editor.segmentationNode().GetSegmentation().GetNumberOfSegments() == 2
    assert editor.currentSegmentID() != "mass"
    editor.findChild(qt.QPushButton, "RemoveSegmentButton").click()
    assert editor.segmentationNode().GetSegmentation().GetNumberOfSegments() == 1


def test_shortcuts_come_and_go(editor: Any) -> None:
    assert editor.shortcut_keys() == []
    editor.installKeyboardShortcuts()
    assert {"Ctrl+Z", "Z", "1", "Esc"} <= set(editor.shortcut_keys())
    editor.uninstallKeyboardShortcuts()
    assert editor.shortcut_keys() == []


def test_calls_before_the_editor_node_are_an_error(errors: Any) -> None:
    errors.expect("Invalid segment editor parameter set node")
    slicer.qMRMLSegmentEditorWidget().setSegmentationNode(None)
    assert errors.seen
