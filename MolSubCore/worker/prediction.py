"""What the jobs ``predict`` and ``warm`` do once PyTorch is loaded."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import MolSubCore.models.networks  # noqa: F401 - now, beside the main thread: an import that is interrupted cannot be repeated
from MolSubCore.errors import MolSubError
from MolSubCore.explain.gradcam import Maps
from MolSubCore.files import write_json
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.lesions.roi import Roi, RoiGeometry
from MolSubCore.models.bundle import Bundle
from MolSubCore.models.card import model_summary
from MolSubCore.prediction.predict import check_request, predict, predict_roi
from MolSubCore.prediction.result import LesionPrediction, Prediction
from MolSubCore.worker.cache import cached_bundle, forget, mammogram_of
from MolSubCore.worker.protocol import Progress, image_pairs, named_images, write_array


def predict_images(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Predict, and write the maps; the options are those of `MolSubCore.worker.jobs.predict`.

    Returns
    -------
    dict
        ``results`` has one entry per breast (and per named lesion): ``title, breast, lesion, probabilities`` (null
        where its predictions mean nothing), and ``items``, the positions of the items it is the mean of. ``patient``
        holds the probabilities of the only result; null where there are several. The maps of the n-th of ``items``
        are in the file ``maps``: float32 (layers, classes, rows, columns), each stretched to [0, 1] at its layer's
        resolution, on the mammogram's pixels within ``maps_box`` =
        ``[row0, row1, col0, col1]``; null without layers.
    """
    pairs = image_pairs("predict", options)
    out, device = Path(options["out"]), options.get("device") or "auto"
    wanted = options.get("classes") or "all"
    layers = options.get("layers")
    with _memory_told():
        bundle = cached_bundle(options["bundle"], device)
        chosen, classes = check_request(bundle, layers=layers, classes=wanted)
        progress(0.2, stage="reading")
        # Kept while the job runs, whatever the cache drops.
        read = {str(entry["image"]): mammogram_of(entry) for entry in options["images"]}
        progress(0.4, stage="predicting")
        others = dict(named_images(options), read=lambda path: read[str(path)])
        clinical = options.get("clinical") or {}
        found = predict(pairs, bundle, layers=layers, classes="predicted", clinical=clinical, **others)
        if classes is not None and chosen:
            progress(0.6, stage="predicted", prediction=_content(found, out, "first"))
            items = tuple(_with_classes(item, bundle, chosen, classes) for item in found.items)
            found = dataclasses.replace(found, items=items)
        progress(0.9, stage="writing")
        content = _content(found, out, "maps")
    write_json(out / "prediction.json", content)
    return content


def _with_classes(
    item: LesionPrediction, bundle: Bundle, layers: tuple[str, ...], classes: list[int]
) -> LesionPrediction:
    """An item with the maps of `classes`; it has that of the predicted class."""
    assert item.maps is not None
    others = [index for index in classes if index not in item.maps.classes]
    _probabilities, maps = predict_roi(bundle, item.roi, layers, others) if others else (None, item.maps)
    assert maps is not None
    return dataclasses.replace(item, maps=item.maps.with_classes(maps, classes))


def _content(prediction: Prediction, out: Path, name: str) -> dict[str, Any]:
    card = prediction.bundle_card
    return {
        "task": card["task"],
        "classes": prediction.classes,
        "positive": card.get("positive"),
        "model": model_summary(card),
        "results": [
            {**one.to_dict(), "items": [prediction.items.index(item) for item in one.counted]}
            for one in prediction.results
        ],
        "clinical": dict(prediction.clinical) or None,
        "patient": None if prediction.only_result is None else {"probabilities": prediction.only_result},
        **{name: card.get(name) for name in ("temperature", "calibration", "recalibration")},
        "metrics": card.get("metrics") or {},
        "warnings": list(prediction.warnings),
        "items": [_item(item, prediction.classes, out / f"{name}-{n}.npy") for n, item in enumerate(prediction.items)],
    }


def _item(item: LesionPrediction, classes: list[str], file: Path) -> dict[str, Any]:
    geometry, maps = item.roi.geometry, item.maps
    rows, columns = geometry.inside()
    entry: dict[str, Any] = {
        "image": item.image,
        "lesion": item.lesion,
        "breast": item.breast,
        "means_nothing": item.means_nothing or None,
        "image_index": item.image_index,
        "lesion_index": item.lesion_index,
        "probabilities": dict(zip(classes, map(float, item.probabilities), strict=True)),
        "roi": {key: getattr(geometry, key) for key in ("row_start", "row_stop", "col_start", "col_stop")},
        "image_shape": list(item.mammogram.shape),
        "layers": [] if maps is None else list(maps.layers),
        "classes": [] if maps is None else [classes[index] for index in maps.classes],
        "maps": None,
        "maps_box": [rows.start, rows.stop, columns.start, columns.stop],
        "blind": [] if maps is None else [list(maps.blind[layer]) for layer in maps.layers],
    }
    if maps is not None:
        entry["maps"] = write_array(file, full_maps(maps, geometry))
    return entry


def full_maps(maps: Maps, geometry: RoiGeometry) -> NDArray[np.float32]:
    """Scaled heatmaps on the mammogram's pixels, on the part of the ROI that lies on the image.

    Returns
    -------
    ndarray of float32, shape (layers, classes, rows, columns)
        In [0, 1].
    """
    rows, columns = geometry.inside()
    shape = (len(maps.layers), len(maps.classes), rows.stop - rows.start, columns.stop - columns.start)
    full = np.empty(shape, np.float32)
    for row, layer in enumerate(maps.layers):
        for position, scaled in enumerate(maps.scaled[layer]):
            full[row, position] = geometry.paste(scaled)[0]
    return full


def dry_pass(name: str, device: str, progress: Progress) -> None:
    """Read a bundle and predict an empty patch, so that memory and kernels are ready for the first lesion."""
    with _memory_told():
        progress(0.5, stage="loading model")
        bundle = cached_bundle(name, device)
        progress(0.8, stage="predicting")
        recipe = Recipe.from_dict(bundle.card["recipe"])
        geometry = RoiGeometry(0, recipe.size, 0, recipe.size, recipe.size, (recipe.size, recipe.size))
        roi = Roi(np.zeros((recipe.size, recipe.size), recipe.patch_dtype), geometry, "1", recipe)
        predict_roi(bundle, roi, *check_request(bundle, classes="all"))


@contextlib.contextmanager
def _memory_told() -> Iterator[None]:
    """Report in one sentence that memory ran out, and empty the caches."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        place = _short_of_memory(error)
        if place is None:
            raise
        # The traceback would keep what filled the memory.
        error.__traceback__ = None
    else:
        return
    forget()
    advice = "Close other programs that use it"
    if place == "GPU":
        torch.cuda.empty_cache()
        advice += ", or choose the processor (cpu) as the device"
    raise MolSubError("prediction", f"needs more memory than the {place} has free", advice)


def _short_of_memory(error: BaseException) -> str | None:
    """``GPU`` or ``computer`` if its memory ran out, or None for another error."""
    if isinstance(error, torch.OutOfMemoryError) or "CUDA out of memory" in str(error):
        return "GPU"
    return "computer" if isinstance(error, MemoryError) or "not enough memory" in str(error) else None
