"""Slicer's start, and a scene that is older than the module's window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import scene_case
from test_scene_restore import fill


@pytest.fixture
def opened_late(scene: Any, tmp_path: Path) -> Iterator[Any]:
    """The module's window, made after a scene of the module was read."""
    import slicer

    from conftest import _load_module
    from headless import modules

    fill(tmp_path)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    loaded = _load_module()
    loaded.widgetRepresentation()
    yield slicer.modules.MolSubSlicerWidget
    modules.unload(loaded)


def test_the_sample_case_is_offered(module: Any) -> None:
    import slicer

    slicer.modules.sampleDataSources = {}
    slicer.app.startupCompleted.emit()
    (source,) = slicer.modules.sampleDataSources["MolSub"]
    assert source.sampleName == "MolSubSyntheticMammogram"


def test_saved_layouts_are_known_before_the_module_is_opened(module: Any, scene: Any) -> None:
    import slicer

    layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    slicer.app.startupCompleted.emit()
    assert all(layout.IsLayoutDescription(5400 + 10 * rows + columns) for rows in (1, 2) for columns in (1, 2, 3, 4))


def test_a_scene_opened_before_the_module_is_shown_whole(opened_late: Any) -> None:
    from MolSubSlicerLib.Scene import Hanging, Mammograms

    volume, _other = Mammograms.mammograms()
    assert Hanging.views_of(volume)
    assert scene_case.screen(scene_case.view_name(volume)).any()
    predict, heatmaps = (opened_late.panels[name].controller for name in ("PredictPanel", "HeatmapPanel"))
    assert predict.prediction["patient"]["probabilities"]["TN"] == 0.75
    assert heatmaps.available


def test_the_users_next_point_does_not_go_into_a_label(scene: Any, tmp_path: Path) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Hanging, Mammograms

    mine = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlaceNodeID() == mine.GetID()
    volume = Mammograms.add_mammogram(scene_case.facts(tmp_path, "R MLO", "right"), source="original.dcm")
    Hanging.hang([volume])
    assert scene.GetNodesByClass("vtkMRMLMarkupsFiducialNode").GetNumberOfItems() == 2
    assert selection.GetActivePlaceNodeID() == mine.GetID()
    assert selection.GetActivePlaceNodeClassName() == "vtkMRMLMarkupsFiducialNode"
