"""Bundle, mammograms and lesions in; probabilities and heatmaps out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from MolSubCore.errors import ImageError, MolSubError
from MolSubCore.explain.gradcam import Maps, explain
from MolSubCore.explain.library import check_method, explain_with_library
from MolSubCore.imaging.lesion import LesionSet, read_lesions
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.imaging.reader import read_mammogram
from MolSubCore.imaging.recipes import Recipe
from MolSubCore.imaging.roi import Roi, extract_rois
from MolSubCore.models.bundle import Bundle
from MolSubCore.models.device import to_input
from MolSubCore.models.registry import ARCHITECTURES, resolve_layer
from MolSubCore.prediction_warnings import bundle_warnings, image_warnings
from MolSubCore.provenance import made_of

#: One image and the lesion on it: a mask file, a polygon file, or ``row0,col0,row1,col1``.
ImageAndLesion = tuple[str | PathLike[str], str | PathLike[str]]


@dataclass(frozen=True, eq=False)
class LesionPrediction:
    """The prediction for one lesion on one image.

    Attributes
    ----------
    image, lesion : str
        Labels such as ``1 R MLO`` and ``1 R MLO lesion 1``.
    image_index, lesion_index : int
        Which of the images given, and which of its lesions, from 0.
    mammogram : Mammogram
    lesions : LesionSet
        All lesions of the image.
    roi : Roi
    probabilities : ndarray of float64, shape (classes,)
    maps : Maps or None
        Heatmaps at layer resolution; None when no layer was asked for.
    files : ImageAndLesion
        What was read; never to be written unless asked.
    """

    image: str
    lesion: str
    image_index: int
    lesion_index: int
    mammogram: Mammogram
    lesions: LesionSet
    roi: Roi
    probabilities: NDArray[np.float64]
    maps: Maps | None
    files: ImageAndLesion


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for one patient.

    Attributes
    ----------
    bundle_card : dict
        The model bundle's card.
    items : tuple of LesionPrediction
        One per lesion and image.
    warnings : tuple of str
        Sentences that a reader of the result must see.
    made : dict
        What it was made of; see `MolSubCore.provenance.made_of`.
    """

    bundle_card: dict[str, Any]
    items: tuple[LesionPrediction, ...]
    warnings: tuple[str, ...] = field(default=())
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the probabilities."""
        return list(self.bundle_card["classes"])

    @property
    def patient(self) -> dict[str, float]:
        """Probability per class: mean over the lesions of an image, then over the patient's images."""
        by_image: dict[str, list[NDArray[np.float64]]] = {}
        for item in self.items:
            by_image.setdefault(item.image, []).append(item.probabilities)
        mean = np.mean([np.mean(values, axis=0) for values in by_image.values()], axis=0)
        return dict(zip(self.classes, map(float, mean), strict=True))

    def save(
        self,
        out: str | PathLike[str],
        *,
        identified: bool = False,
        overwrite: bool = False,
        dicom: bool = False,
        command: str = "",
        heatmap_grid: Literal["region", "image"] = "region",
    ) -> Path:
        """Write ``prediction.json``, heatmaps, overlays, ``report.html`` and ``report.pdf`` to the folder `out`.

        `command` is kept as it is: without `identified` it must name nobody. With `dicom`, also ``dicom/*.dcm``
        (segmentation, structured report, heatmaps), which name the patient. Heatmaps are on the grid of their region of
        interest, or of the whole `image`.
        """
        from MolSubCore.prediction_files import save_prediction

        return save_prediction(
            self,
            Path(out),
            identified=identified,
            overwrite=overwrite,
            dicom=dicom,
            command=command,
            heatmap_grid=heatmap_grid,
        )


def predict(
    images: Sequence[ImageAndLesion],
    bundle: Bundle,
    *,
    layers: Sequence[str] | None = None,
    classes: Sequence[str] | Literal["predicted", "all"] = "predicted",
    method: str = "gradcam",
    read: Callable[[str | PathLike[str]], Mammogram] = read_mammogram,
) -> Prediction:
    """Predict the molecular subtype of one patient's lesion from one or more mammograms.

    Parameters
    ----------
    images : sequence of (image, lesion)
        All of one patient.
    bundle : Bundle
        From `MolSubCore.models.bundle.read_bundle`.
    layers : sequence of str, optional
        Dotted layer names for heatmaps; the architecture's defaults when None, none when empty.
    classes : 'predicted', 'all' or sequence of str
        The classes whose evidence the heatmaps show.
    method : str
        ``gradcam`` is the one-pass path; other names are the grad-cam library's.
    read : callable
        Gives the mammogram of a file, for callers that have read it already.

    Raises
    ------
    MolSubError
        For anything that cannot be read or does not fit.
    """
    if not images:
        raise MolSubError("predict", "got no image", "Give at least one image with its lesion")
    recipe = Recipe.from_dict(bundle.card["recipe"])
    chosen, wanted = check_request(bundle, layers=layers, classes=classes, method=method)
    items: list[LesionPrediction] = []
    warnings = bundle_warnings(bundle.card)
    patients = set()
    for number, files in enumerate(images, start=1):
        mammogram = read(files[0])
        patients.add(mammogram.identifiers.get("PatientID") or None)
        lesions = read_lesions(files[1], mammogram)
        label = f"{number} {mammogram.label}"
        rois = extract_rois(mammogram, lesions, recipe)
        warnings += image_warnings(label, mammogram, lesions, rois, bundle.card)
        for index, roi in enumerate(rois):
            probabilities, maps = predict_roi(bundle, roi, chosen, wanted, method)
            name, place = f"{label} lesion {roi.lesion}", (number - 1, index)
            items.append(LesionPrediction(label, name, *place, mammogram, lesions, roi, probabilities, maps, files))
    if len(patients - {None}) > 1:
        raise ImageError(
            "predict",
            f"the images belong to {len(patients - {None})} patients by their PatientID, expected one",
            "Predict each patient on its own, or give a table",
        )
    made = made_of(images, bundle.card, recorded(chosen, classes, method))
    return Prediction(bundle.card, tuple(items), tuple(dict.fromkeys(warnings)), made)


def recorded(layers: Sequence[str], classes: Sequence[str] | str, method: str) -> dict[str, Any]:
    """The settings of a prediction for its record; `layers` as `check_request` gives them."""
    wanted = classes if isinstance(classes, str) else list(classes)
    return {"layers": list(layers), "classes": wanted, "method": method}


def check_request(
    bundle: Bundle,
    *,
    layers: Sequence[str] | None = None,
    classes: Sequence[str] | Literal["predicted", "all"] = "predicted",
    method: str = "gradcam",
) -> tuple[tuple[str, ...], list[int] | None]:
    """Layer names and class indices of a request to `predict`, checked before any image is read.

    Raises
    ------
    MolSubError
        If the bundle has no such layer or class, or the method is unknown.
    """
    chosen = ARCHITECTURES[bundle.card["architecture"]].default_layers if layers is None else tuple(layers)
    for name in chosen:
        resolve_layer(bundle.models[0], name)
    if method != "gradcam":
        check_method(method)
    return chosen, _class_indices(bundle.card["classes"], classes)


def _class_indices(known: list[str], asked: Sequence[str]) -> list[int] | None:
    """Indices of the classes to explain; None means the predicted one."""
    if asked == "predicted":
        return None
    if asked == "all":
        return list(range(len(known)))
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise MolSubError("class", f"unknown value '{unknown[0]}'", f"Choose among {', '.join(known)}, predicted, all")
    return [known.index(name) for name in asked]


def predict_roi(
    bundle: Bundle, roi: Roi, layers: Sequence[str], classes: list[int] | None, method: str = "gradcam"
) -> tuple[NDArray[np.float64], Maps | None]:
    """Probabilities and maps of one ROI; with one member and Grad-CAM both come from one forward pass.

    Parameters
    ----------
    bundle : Bundle
    roi : Roi
    layers, classes
        As `check_request` gives them.
    method : str

    Returns
    -------
    probabilities : ndarray of float64, shape (classes,)
    maps : Maps or None
        None without layers.
    """
    inputs = to_input(roi.patch[None], roi.recipe, bundle.device)
    if not layers:
        return bundle.probabilities(inputs)[0].double().cpu().numpy(), None
    if len(bundle.models) == 1 and method == "gradcam":
        maps = explain(bundle.models[0], inputs, layers, classes)
        return bundle.to_probabilities(torch.as_tensor(maps.logits)[None, None])[0].double().numpy(), maps
    probabilities = bundle.probabilities(inputs)[0].double().cpu().numpy()
    shown = [int(probabilities.argmax())] if classes is None else classes
    if method == "gradcam":
        parts = [explain(model, inputs, layers, shown) for model in bundle.models]
    else:
        parts = [explain_with_library(model, inputs, layers, shown, method) for model in bundle.models]
    return probabilities, Maps.mean(parts)
