"""Predictions without a network, for tests of DICOM results: real files, invented probabilities and heatmaps."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from MolSubCore.explain.gradcam import Maps, stretch
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import Recipe, get_recipe
from MolSubCore.lesions.roi import extract_rois
from MolSubCore.prediction.result import LesionPrediction, Prediction
from MolSubCore.tasks import get_task

LAYERS = ("features.pool0", "features.norm5")
SIZES = {"features.pool0": 56, "features.norm5": 7}


def card(task: str = "subtype5") -> dict[str, Any]:
    """What a bundle says of itself."""
    return {
        "name": "invented",
        "architecture": "densenet121-cbam",
        "task": task,
        "classes": list(get_task(task).classes),
        "recipe": get_recipe("default").to_dict(),
        "members": [{"file": "a.safetensors", "sha256": "ab" * 32}, {"file": "b.safetensors", "sha256": "cd" * 32}],
        "created": "2026-01-02T03:04:05+00:00",
        "temperature": 1.5,
    }


def invent(
    images: Sequence[tuple[str | Path, str | Path]],
    *,
    task: str = "subtype5",
    explained: tuple[int, ...] = (1,),
    raw: bool = True,
    recipe: Recipe | None = None,
    warnings: tuple[str, ...] = ("Invented.",),
    seed: int = 1,
) -> Prediction:
    """A prediction with the real geometry of images and lesions; no maps where `explained` is empty."""
    rng = np.random.default_rng(seed)
    known = card(task)
    items = []
    for number, files in enumerate(images, start=1):
        mammogram = read_mammogram(files[0])
        lesions = read_lesions(files[1], mammogram)
        label = f"{number} {mammogram.label}"
        for index, roi in enumerate(extract_rois(mammogram, lesions, recipe or get_recipe("default"))):
            p = rng.dirichlet(np.ones(len(known["classes"])))
            maps = _maps(rng, explained, raw, len(p)) if explained else None
            name = f"{label} lesion {roi.lesion}"
            items.append(LesionPrediction(label, name, number - 1, index, mammogram, lesions, roi, p, maps, files))
    return Prediction(known, tuple(items), warnings)


def _maps(rng: np.random.Generator, explained: tuple[int, ...], raw: bool, classes: int) -> Maps:
    values = {
        layer: rng.gamma(2.0, 1e-3, (len(explained), SIZES[layer], SIZES[layer])).astype(np.float32) for layer in LAYERS
    }
    blind = {layer: (layer == LAYERS[0],) * len(explained) for layer in LAYERS}
    scaled = {layer: stretch(maps) for layer, maps in values.items()}
    return Maps(LAYERS, explained, values if raw else None, scaled, blind, np.zeros(classes, np.float32))


def write_results(prediction: Prediction, folder: Path) -> dict[str, Dataset]:
    """All DICOM results of a prediction in `folder`, read again by pydicom, by file name."""
    from MolSubCore.prediction.dicom.write import write_dicom

    sheets: dict[str, dict[str, Path]] = {}
    folder.parent.mkdir(exist_ok=True)
    for number, item in enumerate(prediction.items):
        for index in item.maps.classes if item.maps else ():
            picture = folder.parent / f"sheet{number}_{index}.png"
            Image.fromarray(sheet(number, index)).save(picture)
            sheets.setdefault(item.lesion, {})[prediction.classes[index]] = picture
    names = write_dicom(prediction, folder, sheets)
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    return {name: dcmread(folder / name) for name in names}


def sheet(number: int, index: int) -> np.ndarray:
    """A colour picture that stands for an overlay sheet; of odd size."""
    return np.random.default_rng([number, index]).integers(0, 255, (31, 43, 3), dtype=np.uint8)


def complaints(path: Path) -> list[str]:
    """The errors that dciodvfy finds in a file; the test is skipped where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs the Debian package dicom3tools")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, errors="replace", timeout=60)
    lines = (done.stdout + done.stderr).splitlines()
    assert any(kind in lines for kind in ("Segmentation", "ComprehensiveSR", "ParametricMap", "SCImage")), lines
    return [line for line in lines if line.startswith(("Error", "Abort"))]
