"""The Heatmaps panel: what is laid over the mammograms, by real clicks; maps made up, so that they are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predict_case import Until, is_shown, said, show_prediction
from scene_case import SHAPE, facts, item, prediction

LABELS = np.zeros(SHAPE, np.uint8)
LABELS[120:150, 80:110] = 1


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.fixture
def volumes(module: Any, files: Path) -> list[Any]:
    """Two hung views with a lesion each."""
    from MolSubSlicerLib.Scene import Hanging, Lesions, Mammograms

    found = [Mammograms.add_mammogram(facts(files, label)) for label in ("R MLO", "R CC")]
    for volume in found:
        Lesions.set_labels(Lesions.segmentation_for(volume), LABELS)
    Hanging.hang(found)
    module.session.mammograms_changed.emit()
    return found


@pytest.fixture
def panel(module: Any, files: Path, volumes: list[Any], process_until: Until) -> Any:
    """The panel after a prediction of both views, all maps made."""
    panel = module.panels["HeatmapPanel"]
    assert is_shown(panel.ui.stateLabel)
    assert not is_shown(panel.ui.controls)
    second = {**item(files, 1), "image_index": 1, "lesion_index": 0, "image": "R CC", "lesion": "1"}
    show_prediction(module, prediction(item(files), second), volumes)
    process_until(lambda: not panel.controller.making)
    return panel


def front(volume: Any) -> Any:
    """The map in front of a mammogram, as its view's own node says; None where there is none."""
    import slicer

    (composite,) = [node for node in _composites() if node.GetBackgroundVolumeID() == volume.GetID()]
    return slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")


def foregrounds(volumes: list[Any]) -> list[tuple[str, str]]:
    """(layer, class) of the maps in front of the mammograms."""
    maps = [front(volume) for volume in volumes]
    return [
        (node.GetAttribute("MolSub.Layer"), node.GetAttribute("MolSub.Class")) if node else ("", "") for node in maps
    ]


def opacities() -> list[float]:
    return [node.GetForegroundOpacity() for node in _composites()]


def test_a_new_prediction_shows_the_last_layer_of_its_predicted_class(panel: Any, volumes: list[Any]) -> None:
    assert is_shown(panel.ui.controls)
    assert foregrounds(volumes) == [("last", "TN")] * 2
    assert panel.ui.classCombo.currentText == "TN"
    assert panel.ui.layerNameLabel.text == "2 of 2: last"
    assert not is_shown(panel.ui.lesionCombo)
    assert "R MLO, R CC: this map is empty" in panel.ui.blindLabel.text


def test_slider_and_choice_change_the_map_of_every_view_without_a_new_run(
    panel: Any, volumes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(panel.session, "submit", lambda *arguments, **named: asked.append(arguments))
    panel.ui.layerSlider.value = 0
    assert foregrounds(volumes) == [("first", "TN")] * 2
    assert not is_shown(panel.ui.blindLabel)
    panel.ui.classCombo.setCurrentIndex(panel.ui.classCombo.findText("non-TN"))
    assert foregrounds(volumes) == [("first", "non-TN")] * 2
    assert asked == []


def test_original_and_overlay(panel: Any, volumes: list[Any]) -> None:
    panel.ui.originalButton.click()
    assert foregrounds(volumes) == [("", "")] * 2
    assert not panel.session.parameters.overlay
    panel.ui.overlayButton.click()
    assert foregrounds(volumes) == [("last", "TN")] * 2


def test_opacity_and_threshold_reach_the_views(panel: Any, volumes: list[Any]) -> None:
    import slicer

    panel.ui.opacitySlider.value = 0.8
    panel.ui.thresholdSlider.value = 0.6
    assert opacities() == pytest.approx([0.8, 0.8])
    shown = [slicer.mrmlScene.GetNodeByID(node.GetForegroundVolumeID()) for node in _composites()]
    assert [node.GetDisplayNode().GetLowerThreshold() for node in shown] == pytest.approx([0.6, 0.6])
    image = panel.ui.legendLabel.pixmap.toImage()
    clear, heat = (image.pixelColor(round(share * (image.width() - 1)), 5) for share in (0.55, 0.65))
    assert (clear.red(), clear.green(), clear.blue()) == (110, 110, 110)
    assert heat.red() > heat.blue() + 60


def _composites() -> list[Any]:
    import slicer

    return [node for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode") if node.GetBackgroundVolumeID()]


def test_outline_and_link(panel: Any, volumes: list[Any]) -> None:
    import slicer

    outlines = [node for node in slicer.util.getNodesByClass("vtkMRMLModelNode") if node.GetAttribute("MolSub.Kind")]
    assert [node.GetDisplayNode().GetVisibility() for node in outlines] == [1, 1]
    bounds = outlines[0].GetPolyData().GetBounds()
    assert bounds[1] - bounds[0] == pytest.approx(90 * 0.08)
    assert bounds[3] - bounds[2] == pytest.approx(80 * 0.1)
    panel.ui.outlineCheckBox.click()
    assert [node.GetDisplayNode().GetVisibility() for node in outlines] == [0, 0]
    assert [node.GetLinkedControl() for node in _composites()] == [0, 0]
    panel.ui.linkCheckBox.click()
    assert [node.GetLinkedControl() for node in _composites()] == [1, 1]


def test_the_lesion_is_chosen_where_a_view_has_two(
    module: Any, files: Path, volumes: list[Any], process_until: Until
) -> None:
    panel = module.panels["HeatmapPanel"]
    show_prediction(module, prediction(item(files), item(files, 1)), volumes[:1])
    process_until(lambda: not panel.controller.making)
    assert is_shown(panel.ui.lesionCombo)
    panel.ui.lesionCombo.setCurrentIndex(1)
    assert foregrounds(volumes[:1]) == [("last", "TN")]
    assert front(volumes[0]).GetAttribute("MolSub.LesionIndex") == "1"
    panel.ui.layerSlider.value = 0
    assert foregrounds(volumes[:1]) == [("first", "TN")]
    assert front(volumes[0]).GetAttribute("MolSub.LesionIndex") == "1"
    panel.ui.lesionCombo.setCurrentIndex(0)
    assert front(volumes[0]).GetAttribute("MolSub.LesionIndex") == "0"


def test_a_saved_scene_comes_back_as_it_was(module: Any, panel: Any, volumes: list[Any], tmp_path: Path) -> None:
    import slicer

    panel.ui.layerSlider.value = 0
    panel.ui.classCombo.setCurrentIndex(panel.ui.classCombo.findText("non-TN"))
    panel.ui.opacitySlider.value = 0.7
    panel.ui.thresholdSlider.value = 0.45
    panel.ui.outlineCheckBox.click()
    file = tmp_path / "case.mrb"
    assert slicer.util.saveScene(str(file))
    slicer.mrmlScene.Clear(0)
    assert not is_shown(panel.ui.controls)
    assert is_shown(panel.ui.stateLabel)
    assert not is_shown(module.panels["PredictPanel"].ui.resultFrame)
    slicer.util.loadScene(str(file))
    assert panel.ui.classCombo.currentText == "non-TN"
    assert panel.ui.layerNameLabel.text == "1 of 2: first"
    assert (panel.ui.opacitySlider.value, panel.ui.thresholdSlider.value) == pytest.approx((0.7, 0.45))
    assert not panel.ui.outlineCheckBox.checked
    assert opacities() == pytest.approx([0.7, 0.7])
    assert {node.GetName() for node in _background_nodes()} == {"R MLO", "R CC"}
    assert set(foregrounds(_background_nodes())) == {("first", "non-TN")}
    result = module.panels["PredictPanel"].ui
    assert is_shown(result.resultFrame)
    assert result.resultTitleLabel.text == "Predicted: TN 0.75"
    panel.ui.layerSlider.value = 1
    assert set(foregrounds(_background_nodes())) == {("last", "non-TN")}


def _background_nodes() -> list[Any]:
    import slicer

    return [slicer.mrmlScene.GetNodeByID(node.GetBackgroundVolumeID()) for node in _composites()]


def test_maps_that_cannot_be_read_are_a_sentence(module: Any, files: Path, volumes: list[Any]) -> None:
    answer = prediction(item(files))
    Path(answer["items"][0]["maps"]).write_bytes(b"no numbers")
    show_prediction(module, answer, volumes[:1])
    assert said(module).startswith("The heatmaps cannot be read")
    assert "Predict again" in said(module)


def test_without_one_of_its_views_a_prediction_is_none_any_more(module: Any, panel: Any, volumes: list[Any]) -> None:
    """Neither its heatmaps nor its bars: the mean was over all views."""
    from MolSubSlicerLib.Scene import Mammograms

    Mammograms.remove_mammogram(volumes[0])
    module.session.mammograms_changed.emit()
    assert front(volumes[1]) is None
    assert not is_shown(panel.ui.controls)
    assert not is_shown(module.panels["PredictPanel"].ui.resultFrame)


def test_hanging_again_keeps_the_heatmaps(module: Any, panel: Any, volumes: list[Any]) -> None:
    before = foregrounds(volumes)
    assert before == [("last", "TN")] * 2
    module.panels["LoadPanel"].ui.hangButton.click()
    assert foregrounds(volumes) == before


@pytest.mark.parametrize("at_once", [False, True], ids=["a heatmap", "its folder"])
def test_no_other_mammograms_heatmap_takes_the_place_of_a_deleted_one(
    scene: Any, panel: Any, volumes: list[Any], at_once: bool
) -> None:
    """Slicer's selectors fill an empty layer with the next volume of the scene."""
    import slicer

    from MolSubSlicerLib.Scene import Heatmaps

    shown, other = front(volumes[0]), front(volumes[1])
    (composite,) = [node for node in _composites() if node.GetBackgroundVolumeID() == volumes[0].GetID()]
    if at_once:
        scene.StartState(scene.BatchProcessState)
    for node in Heatmaps.heatmaps_of(volumes[0]) if at_once else [shown]:
        scene.RemoveNode(node)
    composite.SetForegroundVolumeID(other.GetID())
    if at_once:
        scene.EndState(scene.BatchProcessState)
    assert composite.GetForegroundVolumeID() is None
    composite.SetForegroundVolumeID(volumes[1].GetID())  # nor the other mammogram itself
    assert composite.GetForegroundVolumeID() is None
    own = slicer.util.addVolumeFromArray(np.zeros((1, 4, 4), np.uint8), name="what the user lays there")
    composite.SetForegroundVolumeID(own.GetID())
    assert composite.GetForegroundVolumeID() == own.GetID()
    assert front(volumes[1]) is other


def legends(volume: Any) -> list[list[str]]:
    """The views in which each legend that is switched on is seen."""
    import slicer

    from MolSubSlicerLib.Scene import Heatmaps

    found = [slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node) for node in Heatmaps.heatmaps_of(volume)]
    return [list(legend.GetViewNodeIDs() or ()) for legend in found if legend is not None and legend.GetVisibility()]


def test_the_next_patient_is_not_under_the_formers_legend(
    module: Any, panel: Any, volumes: list[Any], files: Path
) -> None:
    from MolSubSlicerLib.Scene import Hanging, Mammograms

    assert legends(volumes[0]) == [Hanging.views_of(volumes[0])] != [[]]
    names = {"patient": "another", "study_instance_uid": "1.2.3", "sop_instance_uid": "1.2.4"}
    other = Mammograms.add_mammogram(facts(files, "R MLO", **names))
    module.panels["LoadPanel"].controller.choose(other)
    assert legends(volumes[0]) == [["MolSubNowhere"]]
    module.panels["LoadPanel"].controller.choose(volumes[0])
    assert legends(volumes[0]) == [Hanging.views_of(volumes[0])]


def test_another_picture_in_a_view_comes_with_its_own_heatmap(panel: Any, volumes: list[Any]) -> None:
    """As Slicer's volume selector, or its DICOM module, puts it there."""
    composites = {node.GetBackgroundVolumeID(): node for node in _composites()}
    composite, heat = composites[volumes[0].GetID()], front(volumes[1])
    composite.SetBackgroundVolumeID(volumes[1].GetID())
    assert composite.GetForegroundVolumeID() == heat.GetID()
    composite.SetBackgroundVolumeID(None)
    assert composite.GetForegroundVolumeID() is None


def of_class(entry: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """An item with the maps of one class only."""
    position = entry["classes"].index(name)
    path = folder / f"{name}-{entry['image_index']}.npy"
    np.save(path, np.load(entry["maps"])[:, [position]])
    return {**entry, "classes": [name], "maps": str(path), "blind": [[row[position]] for row in entry["blind"]]}


def test_the_predicted_class_comes_first_and_the_others_when_they_are_made(
    module: Any, files: Path, volumes: list[Any], monkeypatch: pytest.MonkeyPatch, process_until: Until
) -> None:
    from MolSubSlicerLib.Predict.PredictController import _Run
    from MolSubSlicerLib.Scene import Predictions

    asked: list[Any] = []
    handle = type("Handle", (), {"ended": False, "cancel": lambda self: None})()
    monkeypatch.setattr(module.session, "submit", lambda *what, **told: asked.append((*what, told)) or handle)
    whole = [item(files), {**item(files, 1), "image_index": 1, "lesion_index": 0}]
    first = prediction(of_class(whole[0], "TN", files), of_class(whole[1], "non-TN", files))
    panel, controller = module.panels["HeatmapPanel"], module.panels["PredictPanel"].controller
    run = _Run(volumes, [volume.GetName() for volume in volumes], [0, 0], [], {"bundle": "b", "images": []})
    monkeypatch.setattr(controller, "_prepare", lambda: run)
    controller.predict()
    ((job, _options, told),) = asked
    assert job == "predict"
    told["progress"]({"done": 0.6, "stage": "predicted", "prediction": first})
    assert foregrounds(volumes) == [("last", "TN"), ("", "")]
    assert not controller.running  # the next lesion can be predicted
    assert panel.controller.making

    told["done"]({"prediction": prediction(*whole)})
    assert len(asked) == 1
    assert foregrounds(volumes) == [("last", "TN")] * 2
    process_until(lambda: not panel.controller.making)
    panel.ui.classCombo.setCurrentIndex(panel.ui.classCombo.findText("non-TN"))
    assert foregrounds(volumes) == [("last", "non-TN")] * 2
    kept = Predictions.prediction_of(Predictions.latest())
    assert [entry["classes"] for entry in kept["items"]] == [["non-TN", "TN"]] * 2
    assert "unfinished" not in kept

    run.prediction_id = ""
    controller.predict()
    told = asked[-1][-1]
    told["progress"]({"done": 0.6, "stage": "predicted", "prediction": first})
    told["failed"]("The worker ended.")
    assert said(module) == "The heatmaps of the other classes are missing. The worker ended."
    process_until(lambda: not panel.controller.making)
    assert foregrounds(volumes) == [("last", "TN"), ("", "")]
