"""A radiologist's whole session, with the mouse: load, outline, predict, slide through the layers, save, come back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import annotate_case as case
import scene_case
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import Box
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import square_roi

Until = Callable[..., Any]
_REAL = "dicom/ge_senographe_RMLO_jpegLosslessSV1_voilut3_sigmoid.dcm"


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.real), "synthetic"])
def mammogram_file(request: pytest.FixtureRequest) -> Path:
    """A mammogram as a hospital has it, and one that every machine has."""
    if request.param == "synthetic":
        return Path(request.getfixturevalue("synthetic_case").images[0])
    return Path(request.getfixturevalue("shared_data")) / _REAL


@pytest.fixture(autouse=True)
def usual_library() -> Iterator[None]:
    """No other test finds this one's model."""
    yield
    from MolSubSlicerLib import Compat

    Compat.set_setting("library", "")


def densest(mammogram: Mammogram) -> tuple[int, int]:
    """Row and column of the brightest place of the breast, away from the picture's borders."""
    smooth = ndimage.uniform_filter(mammogram.pixels[::4, ::4], 25)
    edge = 40
    row, column = np.unravel_index(smooth[edge:-edge, edge:-edge].argmax(), smooth[edge:-edge, edge:-edge].shape)
    return 4 * (int(row) + edge), 4 * (int(column) + edge)


def view_of(volume: Any) -> Any:
    import slicer

    return slicer.app.layoutManager().sliceWidget(scene_case.view_name(volume)).sliceView()


def colour(picture: np.ndarray) -> int:
    """Pixels that are not grey."""
    return int((np.ptp(picture[..., :3].astype(int), axis=2) > 24).sum())


def load(module: Any, file: Path, process_until: Until) -> Any:
    panel = module.panels["LoadPanel"]
    panel.controller.load([str(file)])
    process_until(lambda: not panel.controller.busy and panel.ui.viewsTable.rowCount == 1, 60)
    panel.ui.hangButton.click()
    return module.session.parameters.mammogram


def paint(module: Any, volume: Any, place: tuple[int, int], process_until: Until) -> np.ndarray:
    """A short fat stroke with the brush."""
    panel = module.panels["AnnotatePanel"]
    panel.enter()
    case.effect(panel, "Paint")
    case.brush(panel, 8.0)
    case.stroke(volume, place, (place[0] + 20, place[1] + 20))
    process_until(lambda: panel.controller.region.geometries)
    return case.labels_of(volume)


def choose_model(module: Any, bundle: Path, process_until: Until) -> None:
    panel = module.panels["PredictPanel"]
    module.session.set_library(str(bundle.parent))
    process_until(lambda: panel.controller.library.models, 60)
    panel.ui.modelCombo.setCurrentIndex(panel.ui.modelCombo.findText("Random weights"))
    process_until(lambda: panel.controller.library.chosen, 60)


def predict(module: Any, process_until: Until) -> dict[str, Any]:
    panel = module.panels["PredictPanel"]
    panel.ui.predictButton.click()
    assert "Cancel" in panel.ui.predictButton.text, module.message.text
    process_until(lambda: not panel.controller.running, 120)
    assert panel.controller.prediction is not None, module.message.text
    process_until(lambda: not module.panels["HeatmapPanel"].controller.making, 60)
    return panel.controller.prediction


def slides(module: Any, volume: Any) -> dict[str, np.ndarray]:
    """What the view shows at each layer."""
    panel, shown = module.panels["HeatmapPanel"], {}
    for position, layer in enumerate(panel.controller.layers):
        panel.ui.layerSlider.value = position
        shown[layer] = view_of(volume).image()
    return shown


def look(module: Any, volume: Any, item: dict[str, Any]) -> dict[str, np.ndarray]:
    """Slide through the layers, and to the original and back; what was seen at each layer."""
    panel = module.panels["HeatmapPanel"]
    panel.ui.thresholdSlider.value = 0.2
    seen = slides(module, volume)
    assert len(seen) == len(item["layers"]) > 3
    assert len({picture.tobytes() for picture in seen.values()}) > 3  # the layers look different
    panel.ui.originalButton.click()
    bare = colour(view_of(volume).image())
    panel.ui.overlayButton.click()
    for picture, blind in zip(seen.values(), item["blind"], strict=True):
        assert colour(picture) > (bare if any(blind) else bare + 200)
    return seen


def test_the_whole_session(
    module: Any, scene: Any, mammogram_file: Path, bundle: Path, tmp_path: Path, process_until: Until
) -> None:
    import slicer

    volume, mammogram = load(module, mammogram_file, process_until), read_mammogram(mammogram_file)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume)[0], mammogram.pixels)
    labels = paint(module, volume, densest(mammogram), process_until)
    choose_model(module, bundle, process_until)
    prediction = predict(module, process_until)
    (item,) = prediction["items"]
    rows, columns = np.nonzero(labels)
    box = Box(int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
    square = square_roi(box, (100, 100), mammogram.shape, get_recipe("default").size)
    assert list(item["roi"].values()) == [square.row_start, square.row_stop, square.col_start, square.col_stop]
    assert sum(prediction["patient"]["probabilities"].values()) == pytest.approx(1)
    before = look(module, volume, item)

    assert slicer.util.saveScene(str(tmp_path / "session.mrb"))
    scene.Clear(0)
    assert not module.panels["HeatmapPanel"].controller.available
    slicer.util.loadScene(str(tmp_path / "session.mrb"))
    worker = module.session.worker.state, module.session.worker.pid
    process_until(lambda: module.panels["HeatmapPanel"].controller.available, 30)
    check_all_is_there(module, mammogram, labels, prediction, before)
    assert (module.session.worker.state, module.session.worker.pid) == worker  # nobody predicted again


def check_all_is_there(
    module: Any, mammogram: Mammogram, labels: np.ndarray, prediction: dict[str, Any], before: dict[str, np.ndarray]
) -> None:
    """The mammogram, the outline, the result and each layer's picture, as they were before the scene was closed."""
    again = module.session.parameters.mammogram
    assert again.GetName() == mammogram.label
    np.testing.assert_array_equal(case.labels_of(again), labels)
    assert module.panels["PredictPanel"].controller.prediction["patient"] == prediction["patient"]
    assert module.panels["HeatmapPanel"].controller.classes == prediction["classes"]
    module.panels["LoadPanel"].ui.hangButton.click()
    after = slides(module, again)
    assert list(after) == list(before)
    for layer, picture in after.items():
        assert np.abs(picture.astype(int) - before[layer].astype(int)).mean() < 1.0, layer


def test_a_killed_worker_costs_nothing_but_a_click(
    held: Path, module: Any, synthetic_case: Any, bundle: Path, process_until: Until
) -> None:
    """kill -9 in the middle of a prediction: a sentence, the outline is there, the next click predicts."""
    volume = load(module, synthetic_case.images[0], process_until)
    labels = paint(module, volume, densest(read_mammogram(synthetic_case.images[0])), process_until)
    choose_model(module, bundle, process_until)
    panel = module.panels["PredictPanel"]
    held.touch()
    panel.ui.predictButton.click()
    process_until(lambda: panel.controller.stage == "Loading the model", 60)
    os.kill(module.session.worker.pid, 9)
    held.unlink()
    process_until(lambda: not panel.controller.running, 30)
    assert "killed" in module.message.text or "ended" in module.message.text
    assert panel.controller.prediction is None
    np.testing.assert_array_equal(case.labels_of(volume), labels)
    assert predict(module, process_until)["items"]
