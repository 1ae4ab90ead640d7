"""Loaded views with lesions, and made-up predictions, for the tests of the Predict, Heatmaps and Report panels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Until = Callable[..., None]


def library_with(folder: Path, *bundles: Path) -> Path:
    """A model library that holds copies of bundles."""
    folder.mkdir(parents=True, exist_ok=True)
    for bundle in bundles:
        shutil.copytree(bundle, folder / bundle.name)
    return folder


def enter_with_library(module: Any, folder: Path, until: Until) -> Any:
    """Have the Predict panel look into a library, and wait for it; the panel."""
    panel = module.panels["PredictPanel"]
    module.session.set_library(str(folder))
    until(lambda: panel.controller.library.listed)
    return panel


def add_views(module: Any, case: Any, until: Until) -> list[Any]:
    """Read the views of a synthetic case with their lesions, by the worker, as the other panels do."""
    from MolSubSlicerLib.Scene import Lesions, Mammograms

    session, volumes = module.session, []
    for image, mask in zip(case.images, case.masks, strict=True):
        found: list[dict[str, Any]] = []
        out = str(session.new_folder("view"))
        session.submit("read-image", {"path": str(image), "out": out}, done=found.append)
        options = {"image": str(image), "lesions": str(mask), "out": out}
        session.submit("read-lesions", options, done=found.append)
        until(lambda found=found: len(found) == 2)
        volume = Mammograms.add_mammogram(found[0], source=str(image))
        Lesions.set_labels(Lesions.segmentation_for(volume), np.load(found[1]["labels"]))
        volumes.append(volume)
    session.mammograms_changed.emit()
    return volumes


def show_prediction(module: Any, prediction: dict[str, Any], volumes: list[Any]) -> Any:
    """Put a prediction into the scene as the Predict panel does when the worker has answered; its node."""
    from MolSubSlicerLib.Scene import Predictions

    node = Predictions.store(prediction, volumes)
    module.session.results[Predictions.id_of(node)] = prediction
    module.session.tell_prediction()
    return node


def said(module: Any) -> str:
    """The message line."""
    return str(module.message.text)


def is_shown(widget: Any) -> bool:
    """Whether a widget would be seen if the windows around it were."""
    return not widget.isHidden()
