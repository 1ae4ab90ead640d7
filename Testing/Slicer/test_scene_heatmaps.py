"""Heatmaps in the scene: exact places and values, one by one, layer and class switched without a new run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scene_case

pytestmark = pytest.mark.usefixtures("scene")


@pytest.fixture
def volume(tmp_path: Path, scene: Any) -> Any:
    from MolSubSlicerLib.Scene import Mammograms

    return Mammograms.add_mammogram(scene_case.facts(tmp_path))


@pytest.fixture
def predicted(tmp_path: Path, volume: Any) -> tuple[dict[str, Any], str]:
    """An item and the identifier of its stored prediction."""
    from MolSubSlicerLib.Scene import Predictions

    item = scene_case.item(tmp_path)
    return item, Predictions.id_of(Predictions.store(scene_case.prediction(item), [volume]))


def ras(volume: Any, row: float, column: float) -> np.ndarray:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array(matrix.MultiplyPoint((column, row, 0, 1)))[:3]


def test_values_and_places_are_exact(volume: Any, predicted: tuple[dict[str, Any], str]) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Heatmaps

    nodes = Heatmaps.add_heatmaps(volume, *predicted)
    assert len(nodes) == 4
    for node in nodes:
        layer, class_ = node.GetAttribute("MolSub.Layer"), node.GetAttribute("MolSub.Class")
        array = slicer.util.arrayFromVolume(node)
        position = scene_case.LAYERS.index(layer), scene_case.CLASSES.index(class_)
        assert array.dtype == np.float32
        assert np.array_equal(array[0], scene_case.maps()[position])
        for row, column in ((0, 0), (79, 89), (13, 57)):
            expected = ras(volume, row + scene_case.MAPS_BOX[0], column + scene_case.MAPS_BOX[2])
            assert np.allclose(ras(node, row, column), expected, atol=1e-9)
        display = node.GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
        assert not display.GetAutoWindowLevel()


def test_the_shown_one_comes_first_and_each_comes_once(volume: Any, predicted: tuple[dict[str, Any], str]) -> None:
    from MolSubSlicerLib.Scene import Heatmaps

    steps = Heatmaps.heatmap_steps(volume, *predicted, first=("last", "TN"))
    first = next(steps)
    assert (first.GetAttribute("MolSub.Layer"), first.GetAttribute("MolSub.Class")) == ("last", "TN")
    assert Heatmaps.heatmaps_of(volume) == [first]
    everything = [first, *steps]
    assert len({node.GetID() for node in everything}) == 4
    assert Heatmaps.add_heatmaps(volume, *predicted)[3] is first
    assert len(Heatmaps.heatmaps_of(volume)) == 4


def test_no_more_are_made_once_the_mammogram_is_gone(
    scene: Any, volume: Any, predicted: tuple[dict[str, Any], str]
) -> None:
    from MolSubSlicerLib.Scene import Heatmaps, Mammograms

    steps = Heatmaps.heatmap_steps(volume, *predicted)
    next(steps)
    scene.RemoveNode(volume)
    assert list(steps) == []
    Mammograms.remove_orphans()
    assert not [node for node in scene.GetNodes() if node.GetAttribute("MolSub.Kind") == "heatmap"]


def test_all_lie_under_the_mammograms_study(scene: Any, volume: Any, predicted: tuple[dict[str, Any], str]) -> None:
    from MolSubSlicerLib.Scene import Heatmaps, Predictions

    tree = scene.GetSubjectHierarchyNode()
    study = tree.GetItemParent(tree.GetItemByDataNode(volume))
    nodes = Heatmaps.add_heatmaps(volume, *predicted)
    folders = {tree.GetItemParent(tree.GetItemByDataNode(node)) for node in nodes}
    assert len(folders) == 1
    assert tree.GetItemParent(folders.pop()) == study
    (prediction,) = Predictions.stored()
    assert tree.GetItemParent(tree.GetItemByDataNode(prediction)) == study


def test_layer_and_class_are_switched_without_a_new_run(volume: Any, predicted: tuple[dict[str, Any], str]) -> None:
    from MolSubSlicerLib.Scene import Hanging, HeatmapDisplay, Heatmaps

    Hanging.hang([volume])
    Heatmaps.add_heatmaps(volume, *predicted)
    Path(predicted[0]["maps"]).unlink()  # nothing is read again
    (composite,) = Hanging.composites_of(volume)
    for layer in scene_case.LAYERS:
        for class_ in scene_case.CLASSES:
            node = HeatmapDisplay.show(volume, layer, class_)
            assert composite.GetForegroundVolumeID() == node.GetID()
            assert node is Heatmaps.find(volume, layer, class_)
            state = HeatmapDisplay.shown(volume)
            assert (state.layer, state.class_, state.blind) == (layer, class_, (layer, class_) == ("last", "TN"))
    HeatmapDisplay.adjust(volume, visible=False)
    assert composite.GetForegroundVolumeID() is None
    assert composite.GetBackgroundVolumeID() == volume.GetID()
    HeatmapDisplay.adjust(volume, visible=True)
    assert composite.GetForegroundVolumeID() == node.GetID()


def test_opacity_and_threshold_stay_when_the_layer_changes(volume: Any, predicted: tuple[dict[str, Any], str]) -> None:
    from MolSubSlicerLib.Scene import Hanging, HeatmapDisplay, Heatmaps

    Hanging.hang([volume])
    Heatmaps.add_heatmaps(volume, *predicted)
    HeatmapDisplay.show(volume, "first", "TN")
    HeatmapDisplay.adjust(volume, opacity=0.8)
    HeatmapDisplay.adjust(volume, threshold=0.6)
    node = HeatmapDisplay.show(volume, "last", "non-TN")
    (composite,) = Hanging.composites_of(volume)
    assert composite.GetForegroundOpacity() == pytest.approx(0.8)
    display = node.GetDisplayNode()
    assert display.GetApplyThreshold() and display.GetLowerThreshold() == pytest.approx(0.6)
    HeatmapDisplay.adjust(volume, opacity=7)
    assert HeatmapDisplay.shown(volume).opacity == 1


def test_blind_maps_are_called_blind(volume: Any, predicted: tuple[dict[str, Any], str]) -> None:
    import slicer

    from MolSubSlicerLib.Scene import HeatmapDisplay, Heatmaps

    nodes = Heatmaps.add_heatmaps(volume, *predicted)
    blind = [node for node in nodes if Heatmaps.is_blind(node)]
    assert [node.GetAttribute("MolSub.Layer") for node in blind] == ["last"]
    assert blind[0].GetName().endswith("(empty)")
    HeatmapDisplay.show(volume, "last", "TN")
    assert "EMPTY" in slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(blind[0]).GetTitleText()


def test_two_lesions_have_heatmaps_of_their_own(tmp_path: Path, volume: Any) -> None:
    from MolSubSlicerLib.Scene import HeatmapDisplay, Heatmaps, Predictions

    items = [scene_case.item(tmp_path, lesion) for lesion in (0, 1)]
    name = Predictions.id_of(Predictions.store(scene_case.prediction(*items), [volume]))
    for item in items:
        Heatmaps.add_heatmaps(volume, item, name)
    assert [len(Heatmaps.heatmaps_of(volume, lesion=lesion)) for lesion in (0, 1)] == [4, 4]
    assert HeatmapDisplay.show(volume, "first", "TN", lesion=1).GetAttribute("MolSub.LesionIndex") == "1"


def test_a_new_prediction_replaces_the_old_one(tmp_path: Path, volume: Any) -> None:
    from MolSubSlicerLib.Scene import Heatmaps, Predictions

    for _run in range(2):
        item = scene_case.item(tmp_path)
        node = Predictions.store(scene_case.prediction(item), [volume])
        Heatmaps.add_heatmaps(volume, item, Predictions.id_of(node))
    assert Predictions.stored() == [node] and Predictions.latest() is node
    assert len(Heatmaps.heatmaps_of(volume)) == len(Heatmaps.heatmaps_of(volume, Predictions.id_of(node))) == 4
    kept = Predictions.prediction_of(node)
    assert kept["items"][0]["probabilities"] == {"non-TN": 0.25, "TN": 0.75}
    assert "maps" not in kept["items"][0] and str(tmp_path) not in node.GetText()
    assert Predictions.volumes_of(node) == [volume]


def test_a_new_prediction_takes_over_nodes_and_what_is_left_goes(tmp_path: Path, volume: Any) -> None:
    import slicer

    from MolSubSlicerLib.Scene import HeatmapDisplay, Heatmaps, Predictions

    items = [scene_case.item(tmp_path, lesion) for lesion in (0, 1)]
    name = Predictions.id_of(Predictions.store(scene_case.prediction(*items), [volume]))
    before = [node for item in items for node in Heatmaps.add_heatmaps(volume, item, name)]
    HeatmapDisplay.show(volume, "first", "TN")
    count = slicer.mrmlScene.GetNumberOfNodes()

    moved = scene_case.item(tmp_path) | {"maps_box": [110, 190, 70, 160]}
    np.save(moved["maps"], 1 - scene_case.maps())
    name = Predictions.id_of(Predictions.store(scene_case.prediction(moved), [volume]))
    assert Heatmaps.heatmaps_of(volume) == []  # those of the outline before are not to be seen any more
    assert HeatmapDisplay.shown(volume).class_ == "TN" and Heatmaps.find(volume, "first", "TN") is None
    after = Heatmaps.add_heatmaps(volume, moved, name)
    assert after == before[:4]
    for node in after:
        position = [
            names.index(node.GetAttribute(key))
            for names, key in ((scene_case.LAYERS, "MolSub.Layer"), (scene_case.CLASSES, "MolSub.Class"))
        ]
        assert np.array_equal(slicer.util.arrayFromVolume(node)[0], (1 - scene_case.maps())[tuple(position)])
        assert np.allclose(ras(node, 0, 0), ras(volume, 110, 70), atol=1e-9)
    assert len(list(Heatmaps.removal_steps())) == 4
    assert slicer.mrmlScene.GetNumberOfNodes() == count - 2 * 4  # each with its display
    assert Heatmaps.heatmaps_of(volume) == after


@pytest.mark.parametrize(
    "change", [{"maps_box": [100, 181, 60, 150]}, {"maps_box": [260, 340, 60, 150]}, {"image_shape": [200, 300]}]
)
def test_maps_of_another_image_are_refused(
    volume: Any, predicted: tuple[dict[str, Any], str], change: dict[str, Any]
) -> None:
    from MolSubSlicerLib.Scene import Heatmaps
    from MolSubSlicerLib.Scene.Nodes import SceneError

    with pytest.raises(SceneError, match="300 rows x 200 columns"):
        Heatmaps.add_heatmaps(volume, predicted[0] | change, predicted[1])
    assert Heatmaps.heatmaps_of(volume) == []


def test_missing_maps_and_unknown_layers_are_sentences(volume: Any, predicted: tuple[dict[str, Any], str]) -> None:
    from MolSubSlicerLib.Scene import HeatmapDisplay, Heatmaps
    from MolSubSlicerLib.Scene.Nodes import SceneError

    with pytest.raises(SceneError, match="no heatmap of first for TN"):
        HeatmapDisplay.show(volume, "first", "TN")
    Path(predicted[0]["maps"]).unlink()
    with pytest.raises(SceneError, match="Predict again"):
        Heatmaps.add_heatmaps(volume, *predicted)


def test_colours_grow_lighter_in_even_steps(scene: Any) -> None:
    """Against another library's CIE L*a*b*; Inferno is what the eye should be reminded of."""
    import matplotlib as mpl
    from skimage.color import rgb2lab

    from MolSubSlicerLib.Scene import Colors

    table = Colors.heat_table()
    assert table.shape == (256, 3) and table.min() >= 0 and table.max() <= 1
    lab = rgb2lab(table[None])[0]
    assert (np.diff(lab[:, 0]) > 0).all()
    assert lab[0, 0] < 3 and lab[-1, 0] > 95
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert steps.max() / steps.mean() < 1.15 and steps.min() / steps.mean() > 0.85
    inferno = rgb2lab(mpl.colormaps["inferno"](np.arange(256))[None, :, :3])[0]
    assert np.linalg.norm(lab - inferno, axis=1).mean() < 25
    node = Colors.heat_colours()
    assert Colors.heat_colours() is node
    colour = [0.0] * 4
    node.GetColor(200, colour)
    assert colour == pytest.approx([*table[200], 1.0], abs=1 / 255)
