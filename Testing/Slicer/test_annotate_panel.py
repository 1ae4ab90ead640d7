"""The Annotate panel: real clicks and strokes, Slicer's own editor logic, regions as the core cuts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import annotate_case as case
import scene_case

Until = Callable[..., Any]


@pytest.fixture
def panel(module: Any) -> Any:
    return module.panels["AnnotatePanel"]


@pytest.fixture
def volume(module: Any, panel: Any, tmp_path: Path) -> Any:
    return case.show(module, tmp_path)


def cells(panel: Any) -> list[list[str]]:
    table = panel.ui.lesionTable
    return [[table.item(row, column).text() for column in (0, 1)] for row in range(table.rowCount)]


def outline(volume: Any) -> tuple[float, ...]:
    """Left, right, bottom, top (RAS, mm) of the square that is drawn in the views."""
    from MolSubSlicerLib.Scene.Nodes import belongings

    (node,) = belongings(volume, "roi")
    return tuple(node.GetPolyData().GetBounds()[:4])


def test_only_what_outlines_in_one_picture_is_offered(panel: Any, volume: Any) -> None:
    import qt
    import slicer

    case.drop_deleted()
    buttons = slicer.util.findChildren(panel.editor.widget, className="QToolButton")
    offered = {button.text for button in buttons if button.isVisibleTo(panel.editor.widget)}
    assert offered == {"Paint", "Draw", "Erase", "Level tracing", "Scissors", "Threshold", "Islands"}
    assert len(buttons) == 7
    assert panel.editor.widget.segmentationNode() is panel.controller.segmentation
    assert panel.editor.widget.sourceVolumeNode() is volume
    assert not panel.editor.widget.autoShowSourceVolumeNode
    table = slicer.util.findChild(panel.editor.widget, "SegmentsTableView")
    assert isinstance(table, qt.QWidget)
    assert not table.isVisibleTo(panel.editor.widget)


def test_a_painted_disc_is_measured_and_its_region_drawn(
    panel: Any, volume: Any, tmp_path: Path, process_until: Until
) -> None:
    case.effect(panel, "Paint")
    case.brush(panel, 3.0)
    case.stroke(volume, (150, 90))
    process_until(lambda: panel.controller.region.geometries)
    labels = case.labels_of(volume)
    assert labels[150, 90] == 1
    assert labels.sum() * 0.1 * 0.08 == pytest.approx(np.pi * 1.5**2, rel=0.03)
    rows, columns = case.extent(labels)
    assert cells(panel) == [["Lesion 1", f"{columns * 0.08:.1f} x {rows * 0.1:.1f} mm ({columns} x {rows} px)"]]
    (square,) = case.squares(tmp_path, labels)
    assert list(panel.controller.region.geometries) == [square]
    # RAS runs against columns and rows; the outline is along the outer edges of the pixels.
    left, right, low, high = outline(volume)
    assert (-right / 0.08 + 0.5, -left / 0.08 + 0.5) == pytest.approx((square.col_start, square.col_stop), abs=1e-3)
    assert (-high / 0.1 + 0.5, -low / 0.1 + 0.5) == pytest.approx((square.row_start, square.row_stop), abs=1e-3)
    side = square.row_stop - square.row_start
    assert f"{side * 0.08:.1f} x {side * 0.1:.1f} mm ({side} x {side} px)" in panel.ui.regionLabel.text
    assert "default margin, 100 px = 8.0 mm" in panel.ui.regionLabel.text
    assert "detector" in panel.ui.regionWarning.text


def test_erase_and_undo(panel: Any, volume: Any, process_until: Until) -> None:
    import slicer

    case.effect(panel, "Paint")
    case.brush(panel, 2.0)
    case.stroke(volume, (150, 60), (150, 120))
    painted = case.labels_of(volume)
    assert painted[150, 60:121].all()
    case.effect(panel, "Erase")
    case.stroke(volume, (135, 90), (165, 90))
    erased = case.labels_of(volume)
    assert not erased[150, 90]
    assert erased[150, 62:76].all()
    assert erased[150, 105:118].all()
    process_until(lambda: len(panel.controller.region.geometries) == 2)  # two pieces, far enough apart
    slicer.util.findChild(panel.editor.widget, "UndoButton").click()
    np.testing.assert_array_equal(case.labels_of(volume), painted)
    slicer.util.findChild(panel.editor.widget, "UndoButton").click()
    assert not case.labels_of(volume).any()
    slicer.util.findChild(panel.editor.widget, "RedoButton").click()
    np.testing.assert_array_equal(case.labels_of(volume), painted)
    process_until(lambda: len(panel.controller.region.geometries) == 1)


def test_a_drawn_outline_is_filled(panel: Any, volume: Any) -> None:
    import slicer

    case.effect(panel, "Draw")
    view = slicer.app.layoutManager().sliceWidget(scene_case.view_name(volume)).sliceView()
    corners = [view.position_of(volume, *point) for point in ((100, 50), (100, 110), (180, 110), (180, 50))]
    view.drag(corners)
    view.click(*corners[-1], "Right")
    labels = case.labels_of(volume)
    assert labels[105:175, 55:105].all()
    assert int(labels.sum()) == pytest.approx(80 * 60, rel=0.06)


def test_lesions_are_added_renamed_and_removed(panel: Any, module: Any, volume: Any, process_until: Until) -> None:
    case.effect(panel, "Paint")
    case.brush(panel, 2.0)
    case.stroke(volume, (80, 60))
    panel.ui.addLesionButton.click()
    assert [row[0] for row in cells(panel)] == ["Lesion 1", "Lesion 2"]
    assert cells(panel)[1][1] == "nothing outlined"
    case.stroke(volume, (220, 140))
    labels = case.labels_of(volume)
    assert (labels[80, 60], labels[220, 140]) == (1, 2)
    process_until(lambda: len(panel.controller.region.lines) == 2)
    assert "Lesion 2: " in panel.ui.regionLabel.text
    # The row that is chosen is the one that is painted.
    panel.ui.lesionTable.selectRow(0)
    case.stroke(volume, (80, 100))
    assert case.labels_of(volume)[80, 100] == 1
    panel.ui.lesionTable.item(0, 0).setText("index lesion")
    assert [row.name for row in panel.controller.rows] == ["index lesion", "Lesion 2"]
    panel.ui.lesionTable.item(1, 0).setText("index lesion")
    assert "Another lesion is called index lesion" in module.message.text
    assert [row[0] for row in cells(panel)] == ["index lesion", "Lesion 2"]
    panel.ui.lesionTable.selectRow(0)
    panel.ui.removeLesionButton.click()
    assert [row[0] for row in cells(panel)] == ["Lesion 2"]
    assert set(np.unique(case.labels_of(volume))) == {0, 1}
    panel.editor.widget.undo()
    process_until(lambda: [row[0] for row in cells(panel)] == ["index lesion", "Lesion 2"])


def test_keys_are_the_editors_only_while_the_module_is_open(panel: Any, module: Any, volume: Any) -> None:
    import slicer

    def active() -> str:
        return panel.editor.widget.mrmlSegmentEditorNode().GetActiveEffectName() or ""

    module.buttons["AnnotatePanel"].collapsed = False
    assert "1" in panel.editor.widget.shortcut_keys()
    case.effect(panel, "Paint")
    assert active() == "Paint"
    module.exit()
    assert panel.editor.widget.shortcut_keys() == []
    assert active() == ""
    case.stroke(volume, (150, 90))  # the mouse is Slicer's own again
    assert not case.labels_of(volume).any()
    module.enter()
    assert "1" in panel.editor.widget.shortcut_keys()
    case.effect(panel, "Paint")
    case.stroke(volume, (150, 90))
    assert case.labels_of(volume).any()
    # Slicer's own Segment Editor keeps its node.
    assert slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode") is None


def test_each_mammogram_has_its_own_lesions(panel: Any, module: Any, tmp_path: Path) -> None:
    from MolSubSlicerLib.Scene import Hanging

    right = case.show(module, tmp_path)
    left = case.show(module, tmp_path, label="L MLO", wall="left")
    Hanging.hang([right, left])
    case.effect(panel, "Paint")
    case.brush(panel, 2.0)
    case.stroke(left, (100, 50))
    case.choose(module, right)
    case.effect(panel, "Paint")
    case.stroke(right, (200, 150))
    case.stroke(left, (200, 150))  # not the view of what is edited
    assert [(int(labels[100, 50]), int(labels[200, 150])) for labels in map(case.labels_of, (right, left))] == [
        (0, 1),
        (1, 0),
    ]
    panel.ui.mammogramSelector.setCurrentNode(left)
    assert module.session.parameters.mammogram is left
    assert panel.controller.volume is left


def test_unknown_spacing_is_warned_of(panel: Any, module: Any, tmp_path: Path, process_until: Until) -> None:
    nothing = {"row_mm": None, "col_mm": None, "source": "unknown"}
    volume = case.show(module, tmp_path, spacing=nothing)
    assert "The pixel spacing is unknown" in panel.ui.regionWarning.text
    case.effect(panel, "Paint")
    case.brush(panel, 20)
    case.stroke(volume, (150, 90))
    process_until(lambda: panel.controller.region.geometries)
    assert " mm" not in panel.ui.regionLabel.text + cells(panel)[0][1]


def test_the_region_can_be_hidden(panel: Any, module: Any, volume: Any) -> None:
    from MolSubSlicerLib.Scene.Nodes import belongings

    (node,) = belongings(volume, "roi")
    panel.ui.regionCheckBox.click()
    assert not node.GetDisplayNode().GetVisibility()
    assert not module.session.parameters.roi_visible
    case.effect(panel, "Paint")
    case.stroke(volume, (150, 90))
    panel.controller.update()
    assert not node.GetDisplayNode().GetVisibility()
    panel.ui.regionCheckBox.click()
    assert node.GetDisplayNode().GetVisibility()


def test_a_closed_scene_and_a_removed_image_leave_nothing_behind(
    panel: Any, module: Any, tmp_path: Path, process_until: Until
) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Mammograms

    volume = case.show(module, tmp_path)
    case.effect(panel, "Paint")
    case.stroke(volume, (150, 90))
    slicer.mrmlScene.Clear(0)
    assert panel.controller.volume is None
    assert cells(panel) == []
    assert not panel.ui.addLesionButton.enabled
    volume = case.show(module, tmp_path, label="L CC", wall="left")
    case.effect(panel, "Paint")
    case.stroke(volume, (150, 90))
    process_until(lambda: panel.controller.region.geometries)
    Mammograms.remove_mammogram(volume)
    assert panel.controller.volume is None
    assert cells(panel) == []
    assert panel.editor.widget.segmentationNode() is None


def test_many_changes_are_looked_at_a_few_times_only(panel: Any, volume: Any, process_until: Until) -> None:
    seen: list[int] = []
    panel.controller.changed.connect(lambda: seen.append(1))
    case.effect(panel, "Paint")
    case.brush(panel, 1.0)
    for row in range(100, 200, 5):
        case.stroke(volume, (row, 90))
    assert len(seen) <= 2  # strokes without a turn of the event loop
    process_until(lambda: seen)
    expected = case.extent(case.labels_of(volume))
    assert panel.controller.rows[0].size.endswith(f"({expected[1]} x {expected[0]} px)")
