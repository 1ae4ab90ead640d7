"""What the panel says that the model will see, against what the core cuts out of the written mask."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import annotate_case as case
import scene_case
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import extract_rois

pytestmark = pytest.mark.usefixtures("scene")

IMAGE = scene_case.pixels(shape=(900, 700))
KNOWN = Spacing(0.1, 0.08, "PixelSpacing")
MAMMOGRAM = Mammogram(IMAGE, spacing=KNOWN)  # one for all: what is computed of the whole picture is kept with it


def discs(*circles: tuple[int, int, int]) -> list[np.ndarray]:
    rows, columns = np.mgrid[: IMAGE.shape[0], : IMAGE.shape[1]]
    return [np.hypot(rows - row, columns - column) < radius for row, column, radius in circles]


def written(folder: Path, layers: list[np.ndarray]) -> Path:
    """The segments as a mask file: one label for each."""
    labels = np.zeros(IMAGE.shape, np.uint8)
    for number, layer in enumerate(layers, start=1):
        labels[layer] = number
    path = folder / "mask.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(labels[None]), str(path))
    return path


CASES = {
    "one": discs((400, 300, 30)),
    "at the edge": discs((8, 690, 40)),
    "one segment in two pieces": [discs((200, 200, 20))[0] | discs((700, 500, 35))[0]],
    "one segment in two near pieces": [discs((200, 200, 20))[0] | discs((200, 250, 20))[0]],
    "one segment with a speck": [discs((200, 200, 20))[0] | discs((700, 500, 1))[0]],
    "two segments": discs((200, 200, 20), (700, 500, 35)),
    "larger than the image": discs((450, 350, 400)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "recipe",
    [
        get_recipe("default"),
        get_recipe("published-2025"),
        get_recipe("default", bound=7.5, bound_unit="mm"),
        get_recipe("default", bound=0),
    ],
    ids=lambda recipe: f"{recipe.name} {recipe.bound:g} {recipe.bound_unit}",
)
def test_squares_are_those_that_the_core_cuts_out(name: str, recipe: Any, tmp_path: Path) -> None:
    from MolSubSlicerLib.Annotate.Region import find_region

    lesions = read_lesions(written(tmp_path, CASES[name]), MAMMOGRAM)
    expected = [roi.geometry for roi in extract_rois(MAMMOGRAM, lesions, recipe)]
    region = find_region(CASES[name], recipe, KNOWN)
    assert list(region.geometries) == expected
    assert len(region.lines) == len(expected)


def test_sizes_are_told_in_millimetres_and_pixels() -> None:
    from MolSubSlicerLib.Annotate.Region import find_region, margin_text

    layer = np.zeros(IMAGE.shape, bool)
    layer[300:330, 200:260] = True  # 60 + 2 * 100 pixels wide
    region = find_region([layer], get_recipe("default"), KNOWN)
    assert region.lines == ("20.8 x 26.0 mm (260 x 260 px)",)
    assert region.warnings == ()
    assert margin_text(get_recipe("default"), KNOWN) == "100 px = 8.0 mm"
    assert margin_text(get_recipe("default", bound=8, bound_unit="mm"), KNOWN) == "8 mm = 100 px"


def test_unknown_spacing_is_warned_of() -> None:
    from MolSubSlicerLib.Annotate.Region import find_region

    layers = discs((400, 300, 30))
    region = find_region(layers, get_recipe("default"), Spacing())
    assert region.lines == ("259 x 259 px",)
    assert "unknown" in region.warnings[0]
    assert "100 px" in region.warnings[0]
    millimetres = find_region(layers, get_recipe("default", bound=7, bound_unit="mm"), Spacing())
    assert millimetres.geometries == ()
    assert len(millimetres.warnings) == 1
    assert "cannot be placed" in millimetres.warnings[0]


def test_detector_spacing_and_small_images_are_warned_of() -> None:
    from MolSubSlicerLib.Annotate.Region import find_region

    detector = Spacing(0.1, 0.1, "ImagerPixelSpacing")
    assert "detector" in find_region(discs((400, 300, 30)), get_recipe("default"), detector).warnings[0]
    large = find_region(CASES["larger than the image"], get_recipe("default"), KNOWN)
    assert "smaller than the region" in large.warnings[0]
    assert find_region([], get_recipe("default"), KNOWN).geometries == ()


def test_the_chosen_models_margin_is_shown(module: Any, tmp_path: Path, process_until: Callable[..., Any]) -> None:
    from MolSubSlicerLib import Compat

    panel, source = module.panels["AnnotatePanel"], bundle_folder(tmp_path)
    (tmp_path / "image").mkdir()
    volume = case.show(module, tmp_path / "image")
    case.effect(panel, "Paint")
    case.brush(panel, 2.0)
    case.stroke(volume, (150, 90))
    Compat.set_setting("library", str(source.parent))
    try:
        module.session.parameters.bundle = source.name
        module.session.mammograms_changed.emit()
        process_until(lambda: "Model" in panel.ui.regionLabel.text, 60)
        assert "Model small: margin 1.6 mm = 20 px" in panel.ui.regionLabel.text
        process_until(lambda: panel.controller.region.geometries)
        expected = case.squares(tmp_path, case.labels_of(volume), bound=1.6, bound_unit="mm")
        assert list(panel.controller.region.geometries) == expected
        module.session.parameters.bundle = ""
        module.session.model_changed.emit("")  # as the Predict panel tells it
        assert "No model chosen" in panel.ui.regionLabel.text
    finally:
        Compat.set_setting("library", "")
    assert panel.controller.recipe() == get_recipe("default")


def bundle_folder(folder: Path) -> Path:
    """A model of the library as far as its card: a margin in millimetres."""
    from MolSubCore.tasks import get_task

    path = folder / "library" / "small"
    path.mkdir(parents=True)
    card = {
        "format": "molsub-bundle",
        "format_version": 1,
        "name": "small",
        "architecture": "simple-cnn",
        "task": "tn",
        "classes": list(get_task("tn").classes),
        "dropout": 0.0,
        "members": [{"file": "model-1.safetensors", "sha256": "0"}],
        "recipe": get_recipe("default", bound=1.6, bound_unit="mm").to_dict(),
    }
    (path / "bundle.json").write_text(json.dumps(card))
    return path
