"""The segment editor's keys in the Annotate panel: what they do is seen, and what cannot be seen they do not do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import annotate_case as case

Until = Callable[..., Any]


@pytest.fixture
def panel(module: Any) -> Any:
    """The panel, unfolded."""
    module.buttons["AnnotatePanel"].collapsed = False
    return module.panels["AnnotatePanel"]


@pytest.fixture
def volume(module: Any, panel: Any, tmp_path: Path) -> Any:
    return case.show(module, tmp_path)


def names(panel: Any) -> list[str]:
    return [row.name for row in panel.controller.rows]


def chosen(panel: Any) -> str:
    """The name of the lesion in the row that is chosen."""
    table = panel.ui.lesionTable
    (row,) = {index.row() for index in table.selectionModel().selectedRows()}
    return str(table.item(row, 0).text())


@pytest.mark.parametrize(("previous", "following"), [("Q", "W"), (",", ".")])
def test_the_table_follows_the_keys_and_remove_takes_the_lesion_that_is_edited(
    panel: Any, volume: Any, previous: str, following: str
) -> None:
    panel.ui.addLesionButton.click()
    panel.ui.addLesionButton.click()
    assert chosen(panel) == "Lesion 3"
    editor = panel.editor.widget
    editor.press(previous)
    assert chosen(panel) == "Lesion 2"
    editor.press(previous)
    editor.press(following)
    assert chosen(panel) == "Lesion 2"
    panel.ui.removeLesionButton.click()
    assert names(panel) == ["Lesion 1", "Lesion 3"]


def test_the_editors_node_is_followed_after_the_scene_was_closed(panel: Any, module: Any, tmp_path: Path) -> None:
    import slicer

    case.show(module, tmp_path)
    slicer.mrmlScene.Clear(0)
    case.show(module, tmp_path, label="L CC", wall="left")
    panel.ui.addLesionButton.click()
    assert chosen(panel) == "Lesion 2"
    panel.editor.widget.press("Q")
    assert chosen(panel) == "Lesion 1"


def test_no_key_cuts_strokes_to_an_intensity_range(panel: Any, volume: Any) -> None:
    case.effect(panel, "Paint")
    case.brush(panel, 3.0)
    panel.editor.widget.press("I")
    case.stroke(volume, (65, 125))  # over the bright block and what is around it
    assert case.labels_of(volume).sum() * 0.1 * 0.08 == pytest.approx(np.pi * 1.5**2, rel=0.03)


def test_an_overlapping_lesion_leaves_the_other_one_whole(panel: Any, volume: Any) -> None:
    from MolSubSlicerLib.Scene import Lesions

    case.effect(panel, "Paint")
    case.brush(panel, 3.0)
    case.stroke(volume, (150, 90))
    before = case.labels_of(volume) > 0
    panel.ui.addLesionButton.click()
    case.stroke(volume, (150, 105))
    first, second = Lesions.layers_of(panel.controller.segmentation, volume)
    np.testing.assert_array_equal(first, before)
    assert (first & second).any()
    case.effect(panel, "Erase")
    case.stroke(volume, (150, 97))
    first, second = Lesions.layers_of(panel.controller.segmentation, volume)
    np.testing.assert_array_equal(first, before)
    assert not second[150, 97]


def test_a_scene_that_overwrites_is_corrected(panel: Any, volume: Any) -> None:
    """Other scenes' editors overwrite and mask; the controls for it are hidden here."""
    node = panel.editor.widget.mrmlSegmentEditorNode()
    node.SetOverwriteMode(node.OverwriteAllSegments)
    assert node.GetOverwriteMode() == node.OverwriteNone


def test_keys_and_mouse_are_the_editors_only_while_the_panel_is_unfolded(panel: Any, module: Any, volume: Any) -> None:
    button, editor = module.buttons["AnnotatePanel"], panel.editor.widget
    assert {"1", "Space"} <= set(editor.shortcut_keys())
    case.effect(panel, "Paint")
    button.collapsed = True
    assert editor.shortcut_keys() == []
    case.stroke(volume, (150, 90))
    assert not case.labels_of(volume).any()
    module.exit()
    module.enter()
    assert editor.shortcut_keys() == []
    button.collapsed = False
    assert "Space" in editor.shortcut_keys()
    module.exit()
    button.collapsed = True
    button.collapsed = False
    assert editor.shortcut_keys() == []
    module.enter()
    assert "Space" in editor.shortcut_keys()
