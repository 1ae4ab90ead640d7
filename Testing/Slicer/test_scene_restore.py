"""A saved scene comes back whole: in an emptied scene, from the file alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scene_case


def fill(folder: Path) -> None:
    """Two hung mammograms with lesions, a prediction, heatmaps, and one of these shown."""
    from MolSubSlicerLib.Scene import Hanging, HeatmapDisplay, Heatmaps, Lesions, Mammograms, Predictions
    from MolSubSlicerLib.Scene import Lesions as RoiBox

    volumes = [
        Mammograms.add_mammogram(scene_case.facts(folder, label, wall), source="original.dcm")
        for label, wall in (("R MLO", "right"), ("L MLO", "right"))
    ]
    Hanging.hang(volumes)
    volume = volumes[0]
    Lesions.set_labels(Lesions.segmentation_for(volume), scene_case.blob())
    item = scene_case.item(folder)
    node = Predictions.store(scene_case.prediction(item), volumes)
    Heatmaps.add_heatmaps(volume, item, Predictions.id_of(node))
    HeatmapDisplay.show(volume, "last", "non-TN")
    HeatmapDisplay.adjust(volume, opacity=0.7)
    HeatmapDisplay.adjust(volume, threshold=0.4)
    RoiBox.show(volume, [item["roi"]])


@pytest.fixture(autouse=True)
def keeper(scene: Any) -> Iterator[None]:
    """What the module observes the scene with."""
    from MolSubSlicerLib.Scene.SceneKeeper import SceneKeeper

    keeper = SceneKeeper()
    yield
    keeper.close()


def reopened(scene: Any, path: Path) -> None:
    """Save, empty and load."""
    assert scene.WriteToMRB(str(path))
    scene.Clear(False)
    assert not [node for node in scene.GetNodes() if node.GetAttribute("MolSub.Kind")]
    assert scene.ReadFromMRB(str(path), True)


def test_everything_is_there_again(tmp_path: Path, scene: Any) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Colors, Hanging, HeatmapDisplay, Heatmaps, Lesions, Mammograms, Predictions

    fill(tmp_path)
    names = [node.GetName() for node in Mammograms.mammograms()]
    before = scene_case.screen(scene_case.view_name(Mammograms.mammograms()[0]))
    reopened(scene, tmp_path / "scene.mrb")
    volume, other = Mammograms.mammograms()
    assert [volume.GetName(), other.GetName()] == names
    assert np.array_equal(Mammograms.pixels_of(volume), scene_case.pixels())
    assert Mammograms.facts_of(volume)["manufacturer"] == "ACME"
    segmentation = Lesions.segmentation_for(volume, create=False)
    assert np.array_equal(Lesions.labels_of(segmentation, volume), scene_case.blob())
    (node,) = Predictions.stored()
    assert Predictions.volumes_of(node) == [volume, other]
    assert Predictions.prediction_of(node)["patient"]["probabilities"]["TN"] == 0.75
    assert len(Heatmaps.heatmaps_of(volume, Predictions.id_of(node))) == 4
    state = HeatmapDisplay.shown(volume)
    assert (state.layer, state.class_, state.opacity, state.threshold) == ("last", "non-TN", 0.7, 0.4)
    heatmap = Heatmaps.find(volume, "last", "non-TN")
    assert np.array_equal(slicer.util.arrayFromVolume(heatmap)[0], scene_case.maps()[1, 0])
    assert heatmap.GetDisplayNode().GetColorNode() is Colors.heat_colours()
    (composite,) = Hanging.composites_of(volume)
    assert composite.GetForegroundVolumeID() == heatmap.GetID()
    tree = scene.GetSubjectHierarchyNode()
    studies = {tree.GetItemAncestorAtLevel(tree.GetItemByDataNode(each), "Study") for each in (volume, heatmap, node)}
    assert len(studies) == 1 and 0 not in studies
    assert np.abs(scene_case.screen(scene_case.view_name(volume)) - before).max() <= 1


def test_what_is_restored_can_be_removed_and_made_again(tmp_path: Path, scene: Any) -> None:
    from MolSubSlicerLib.Scene import Heatmaps, Mammograms, Predictions

    fill(tmp_path)
    reopened(scene, tmp_path / "scene.mrb")
    volume, other = Mammograms.mammograms()
    item = scene_case.item(tmp_path)
    node = Predictions.store(scene_case.prediction(item), [volume])
    assert Heatmaps.heatmaps_of(volume) == []
    Heatmaps.add_heatmaps(volume, item, Predictions.id_of(node))
    Mammograms.remove_mammogram(volume)
    Mammograms.remove_mammogram(other)
    left = {node.GetAttribute("MolSub.Kind") for node in scene.GetNodes()} - {None}
    assert left <= {"colours"}


def test_a_closed_scene_leaves_nothing(tmp_path: Path, scene: Any) -> None:
    from MolSubSlicerLib.Scene import HeatmapDisplay, Mammograms, Predictions

    fill(tmp_path)
    scene.Clear(False)
    assert Mammograms.mammograms() == [] and Predictions.stored() == []
    assert Predictions.latest() is None
    assert Mammograms.remove_orphans() == 0
    HeatmapDisplay.refresh_all()
    fill(tmp_path)
    assert len(Mammograms.mammograms()) == 2


def test_whoever_removes_a_mammogram_removes_what_belongs_to_it(tmp_path: Path, scene: Any) -> None:
    from MolSubSlicerLib.Scene import Lesions, Mammograms, Predictions

    fill(tmp_path)
    volume, other = Mammograms.mammograms()
    Lesions.set_labels(Lesions.segmentation_for(other), scene_case.blob())
    scene.RemoveNode(volume)
    kinds = [node.GetAttribute("MolSub.Kind") for node in scene.GetNodes()]
    assert sorted(kind for kind in kinds if kind) == ["colours", "label", "lesions", "mammogram"]
    assert Predictions.latest() is None
    scene.RemoveNode(other)
    assert {node.GetAttribute("MolSub.Kind") for node in scene.GetNodes()} == {None, "colours"}
    tree = scene.GetSubjectHierarchyNode()
    assert tree.GetNumberOfItemChildren(tree.GetSceneItemID()) == 0
