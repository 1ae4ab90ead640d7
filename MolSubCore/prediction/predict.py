"""Bundle, mammograms and lesions in; probabilities and heatmaps out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from MolSubCore.cohort.identity import COPIES, differences, same_ids, several_exams, told_differences
from MolSubCore.cohort.looks import is_copy, look_of
from MolSubCore.cohort.mask_names import misnamed_masks
from MolSubCore.errors import ImageError, MolSubError
from MolSubCore.explain.gradcam import Maps, Target, explain
from MolSubCore.explain.library import check_method, explain_with_library
from MolSubCore.imaging.breast import find_chest_wall
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram, is_placeholder
from MolSubCore.imaging.view_text import contradiction, read_side
from MolSubCore.lesions.lesion import LesionSet, box_of
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.lesions.roi import NEGATIVE, Roi, extract_rois, means_nothing
from MolSubCore.models.bundle import Bundle
from MolSubCore.models.card import class_indices
from MolSubCore.models.device import to_input
from MolSubCore.models.fused import check_names
from MolSubCore.models.registry import ARCHITECTURES, resolve_layer
from MolSubCore.prediction.calibrated import calibration_of_lesions
from MolSubCore.prediction.provenance import made_of
from MolSubCore.prediction.result import ImageAndLesion, LesionPrediction, Prediction
from MolSubCore.prediction.warnings import bundle_warnings, image_warnings

#: What became of ids of lesions that may tell whose they are.
LESIONS_NUMBERED = (
    "the lesions' ids may tell the patient: in the results stand numbers of each patient's lesions, in the order given "
    "(--identified writes the ids)"
)
#: Of a patient without all clinical values.
NOT_RECALIBRATED = "The model's recalibration is of its results with all clinical values: this one is not recalibrated."


def predict(
    images: Sequence[ImageAndLesion],
    bundle: Bundle,
    *,
    layers: Sequence[str] | None = None,
    classes: Sequence[str] | Literal["predicted", "all"] = "predicted",
    method: str = "gradcam",
    target: Target = "logit",
    read: Callable[[str | PathLike[str]], Mammogram] = read_mammogram,
    sides: Sequence[str | None] = (),
    views: Sequence[str | None] = (),
    lesion_ids: Sequence[str] = (),
    unnamed: Literal["refuse", "warn", "confirmed", "trusted"] = "confirmed",
    doubts: Sequence[str] = (),
    clinical: Mapping[str, Any] = MappingProxyType({}),
) -> Prediction:
    """Predict the molecular subtype of one patient's lesions from one or more mammograms.

    There is one result per breast, and one per lesion where `lesion_ids` names them: the mean over its views, or what a
    fused model makes of them. Where a clinical value that it needs is missing, the result is that of the model without
    clinical values, whose card `Prediction.bundle_card` then is; a warning says so.

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
    target : {'logit', 'log-odds'}
        What the heatmaps of ``gradcam`` explain; the other methods know the logit only.
    read : callable
        Gives the mammogram of a file, for callers that have read it already.
    sides : sequence of {'L', 'R'} or None
        Side of the breast in each image, where its file does not say it.
    views : sequence of str or None
        View of each image, as far as it is known; an image that says another is refused.
    lesion_ids : sequence of str
        Which of the patient's lesions each image's is; images of a breast with the same are averaged. Results name
        them as they are: see `MolSubCore.cohort.columns.shown_lesion_ids`.
    unnamed : {'refuse', 'warn', 'confirmed'}
        What becomes of several images of which one does not say whose it is, or whose headers contradict each other;
        ``confirmed`` where somebody knows that they are of one patient, ``trusted`` where also against Patient IDs.
    doubts : sequence of str
        Further warnings, of whoever knows more of the patient.
    clinical : mapping of str to str or number
        The patient's clinical values by column, for a model that uses them.

    Raises
    ------
    MolSubError
        For anything that cannot be read or does not fit.
    """
    if not images:
        raise MolSubError("predict", "got no image", "Give at least one image with its lesion")
    recipe = Recipe.from_dict(bundle.card["recipe"])
    chosen, wanted = check_request(bundle, layers=layers, classes=classes, method=method)
    for name, values in (("sides", sides), ("views", views), ("lesion_ids", lesion_ids)):
        if values and len(values) != len(images):
            raise MolSubError(name, f"has {len(values)} entries for {len(images)} images", "Give one per image")
    items: list[LesionPrediction] = []
    whole, given = bundle, check_names(clinical, bundle.fused)
    known: dict[str, str] = {}
    notes: list[str] = []
    if bundle.fused:
        steps, known, notes = bundle.fused.whole(given)
        if steps < len(bundle.fused.steps):
            bundle = bundle.without_steps(steps)
            notes += [NOT_RECALIBRATED] if whole.card.get("recalibration") else []
    calibrate = calibration_of_lesions(bundle.card)
    warnings = [*notes, *bundle_warnings(bundle.card), *doubts]
    mammograms: list[Mammogram] = []
    looks: list[str] = []
    again: dict[int, list[int]] = {}
    outlines: dict[str, int] = {}
    for number, files in enumerate(images, start=1):
        mammogram = with_side(number, read(files[0]), sides[number - 1] if sides else None)
        if (view := views[number - 1] if views else None) and (wrong := contradiction(view, mammogram.view)):
            raise ImageError(f"view of image {number}", wrong, "Correct the view, or leave it out")
        if view and not mammogram.view:
            mammogram = dataclasses.replace(mammogram, view=view)
        mammograms.append(mammogram)
        looks.append(look_of(mammogram) if len(images) > 1 else "")
        first = next(
            n
            for n, one in enumerate(mammograms)
            if same_picture(one, mammogram) or is_copy(one, mammogram, (looks[n], looks[-1]))
        )
        if not same_picture(mammograms[first], mammogram):
            warnings.append(f"Images {first + 1} and {number} {COPIES}: they count as one in the result.")
        elif first != number - 1:
            again.setdefault(first + 1, [first + 1]).append(number)
        lesions = read_lesions(files[1], mammogram)
        earlier = outlines.setdefault(lesions.fingerprint(), first)
        if earlier != first:
            warnings.append(_same_outline(earlier + 1, number, lesions))
        label = f"{number} {mammogram.label}".removesuffix(" ? ?")
        rois = extract_rois(mammogram, lesions, recipe)
        warnings += image_warnings(label, mammogram, lesions, rois, bundle.card)
        for index, roi in enumerate(rois):
            network, maps = predict_roi(bundle, roi, chosen, wanted, method, target)
            inputs = to_input(roi.patch[None], roi.recipe, bundle.device) if bundle.fused else None
            name, place = f"{label} lesion {roi.lesion}", (number - 1, index)
            items.append(
                LesionPrediction(
                    label, name, *place, mammogram, lesions, roi, network, maps, files,
                    mammogram.laterality, lesion_ids[number - 1] if lesion_ids else "",
                    first, means_nothing(mammogram, lesions, roi), calibrate,
                    None if inputs is None else bundle.outputs(inputs),
                )
            )  # fmt: skip
    for same in again.values():
        numbers = f"{', '.join(map(str, same[:-1]))} and {same[-1]}"
        warnings.append(
            f"Images {numbers} are one picture: it counts once, and the result is the mean over its lesions. Where "
            "several readers outlined one lesion, give one outline."
        )
    warnings += _misnamed(images)
    warnings += check_one_patient(mammograms, unnamed)
    said = told(sides, lesion_ids, views, given)
    made = made_of(images, whole.card, recorded(chosen, classes, method) | said)
    counted = _negatives_counted(items)
    prediction = Prediction(bundle.card, counted, made=made, fused=bundle.fused, clinical=known)
    warnings += _result_warnings(prediction, views)
    return dataclasses.replace(prediction, warnings=tuple(dict.fromkeys(warnings)))


def _same_outline(first: int, second: int, lesions: LesionSet) -> str:
    """That two images, which show different pictures, were given one outline, in a sentence."""
    if all(lesion.source_kind == "box" for lesion in lesions.lesions):
        return f"Images {first} and {second} have the same box, though they are different. Check both boxes."
    return (
        f"Images {first} and {second} have the same outline, though they are different: one mask was given twice. "
        "Give each image its own."
    )


def _misnamed(images: Sequence[ImageAndLesion]) -> list[str]:
    """Masks whose names are those of other images."""
    files = [(Path(image), None if box_of(lesion) else Path(lesion)) for image, lesion in images]
    found = []
    for one in misnamed_masks(files):
        text = one.told("" if one.other is None else f"image {one.other + 1}")
        found.append(f"Image {one.row + 1}: T{text[1:]}. Check that it is the mask of this image.")
    return found


def same_picture(first: Mammogram, second: Mammogram) -> bool:
    """Whether two mammograms have the same pixels."""
    return first is second or (first.shape == second.shape and np.array_equal(first.stored, second.stored))


def with_side(number: int, mammogram: Mammogram, side: str | None) -> Mammogram:
    """The image with the side that the user gives, where its file does not say it.

    Raises
    ------
    ImageError
        If the file says another, or the side is none.
    """
    if not side:
        return mammogram
    told = read_side(side)
    wrong = contradiction(told, mammogram.laterality) if told else f"is '{side}', expected L or R"
    if wrong or not told:
        raise ImageError(f"side of image {number}", wrong, "Correct the side, or leave it out")
    return dataclasses.replace(mammogram, laterality=told)


def check_one_patient(mammograms: Sequence[Mammogram], unnamed: str = "refuse") -> list[str]:
    """Refuse images of several patients; of images that do not say whose they are, ask or warn.

    Raises
    ------
    ImageError
        If Patient IDs differ; where `unnamed` is ``refuse``, also if an image has none, or birth dates, sexes or names
        contradict each other.
    """
    people = [mammogram.person for mammogram in mammograms]
    ids = {person.patient_id for person in people if person.patient_id and not is_placeholder(person.patient_id)}
    issuers = {person.issuer for person in people if person.patient_id in ids and person.issuer}
    count = len(set(same_ids(ids).values()))
    if several := count > 1 or len(issuers) > 1:
        what = f"{count} patients by their PatientID" if count > 1 else "patients of several hospitals (issuers)"
    if several and unnamed == "trusted":
        return [f"The images belong to {what}: they were taken as one patient's, as the table says."]
    if several:
        raise ImageError(
            "predict",
            f"the images belong to {what}, expected one patient",
            "Predict each patient on its own, or give a table",
        )
    sure, perhaps = differences(people)
    told = told_differences([*sure, *perhaps])
    taken = [f"{told[:1].upper()}{told[1:]}: they were taken as one patient's."] if sure or perhaps else []
    if len(mammograms) < 2 or unnamed in ("confirmed", "trusted"):
        return taken
    without = [str(n) for n, person in enumerate(people, start=1) if person.patient_id not in ids]
    constant = not ids and len({person.patient_id for person in people}) == 1 and people[0].patient_id
    studies = {person.study for person in people}
    if sure:
        found = told
    elif without and len(studies - {""}) == 1 and "" not in studies:
        return taken  # of one study, so of one patient
    elif without and not constant:
        found = f"of {len(people)} images {', '.join(without)} had no PatientID to say whose they are"
    elif constant:  # whoever anonymised them gave all the same: probably one study, but nobody knows
        text = "The images have a placeholder for their PatientID: that they are of one patient was not checked."
        return [*taken, text]
    else:
        return taken
    if unnamed == "refuse":
        remedy = "Add --same-patient if all are of one patient; else predict each on its own, or give a table"
        raise ImageError("predict", found, remedy)
    return [f"{found[0].upper()}{found[1:]}: they were taken as one patient's."]


def _negatives_counted(items: list[LesionPrediction]) -> tuple[LesionPrediction, ...]:
    """What may be a negative is left out only beside images that are none: it is a suspicion, and is warned of."""
    found = []
    for item in items:
        same = [other for other in items if (other.breast, other.lesion_id) == (item.breast, item.lesion_id)]
        if item.means_nothing == NEGATIVE and all(other.means_nothing for other in same):
            item = dataclasses.replace(item, means_nothing="")
        found.append(item)
    return tuple(found)


def _result_warnings(prediction: Prediction, views: Sequence[str | None] = ()) -> list[str]:
    """What a reader must know of how the results came about; `views` are the user's, of each image.

    Raises
    ------
    ImageError
        If there is no result.
    """
    results, found = prediction.results, []
    for item in prediction.items:
        if item.means_nothing:
            found.append(f"{item.lesion} was left out of the result, as its prediction means nothing: "
                         f"{item.means_nothing}.")  # fmt: skip
    if all(one.probabilities is None for one in results):
        reason = prediction.items[0].means_nothing
        if problems := prediction.items[0].lesions.problems:
            reason = f"{problems[0][:1].lower()}{problems[0][1:].rstrip('.')}"
        raise ImageError("predict", f"there is nothing to predict from: {reason}", "Check the image and its lesion")
    for one in results:
        shown = [item.mammogram.view or (views[item.image_index] if views else None) for item in one.counted]
        people = [item.mammogram.person for item in one.counted]
        seen = [(person, (one.breast and view) or "") for person, view in zip(people, shown, strict=True)]
        found += [f"{text}." for text in [several_exams(one.title, seen)] if text]
        found += _facing_apart(one.title, one.counted)
        found += one.fused.remarks(one.lesions()) if one.fused and one.counted else []
    if prediction.fused and any(item.maps for item in prediction.items):
        title = prediction.fused.title
        found.append(
            f"The model makes its result of the network's outputs ({title}). Single lesions are shown as the network "
            "alone predicts them, and the heatmaps explain that, not the result."
        )
    breasts = {one.breast for one in results}
    if {"L", "R"} <= breasts:
        found.append(
            "The images show both breasts, left and right: each has its own result, and there is no mean of both."
        )
    unknown = [item for item in prediction.items if item.breast is None]
    names = ", ".join(dict.fromkeys(item.image for item in unknown))
    if unknown and len({item.image_index for item in prediction.items}) > 1:
        done = (
            "a result of its own"
            if len(breasts) > 1
            else "averaged as views of one breast. If they are not, say which it is"
        )
        found.append(
            f"Which breast image {names} shows is unknown: {done} (--side; in a table, the column laterality)."
        )
    named = {item.lesion_id for item in prediction.items}
    if len(named) > 1 and "" in named:
        found.append("Some lesions were named and others not: those without a name have a result of their own.")
    return found


def _facing_apart(title: str, items: Sequence[LesionPrediction]) -> list[str]:
    """That pictures of one breast have the chest wall on opposite sides."""
    pictures = {item.image_index + 1: item.mammogram for item in items}
    walls = {number: find_chest_wall(mammogram)[0] for number, mammogram in pictures.items() if len(pictures) > 1}
    left, right = (
        ", ".join(str(number) for number, wall in sorted(walls.items()) if wall == side) for side in ("left", "right")
    )
    if not left or not right:
        return []
    told = f"the chest wall is on the left of image {left} and on the right of image {right}"
    return [f"The images of the {title} face opposite ways: {told}. One is mirrored, or of the other breast."]


def recorded(layers: Sequence[str], classes: Sequence[str] | str, method: str) -> dict[str, Any]:
    """The settings of a prediction for its record; `layers` as `check_request` gives them."""
    wanted = classes if isinstance(classes, str) else list(classes)
    return {"layers": list(layers), "classes": wanted, "method": method}


def told(
    sides: Sequence[str | None] = (),
    lesion_ids: Sequence[str] = (),
    views: Sequence[str | None] = (),
    clinical: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """What the user said of the patient, for the record of a prediction; empty where that is nothing."""
    found: dict[str, list[Any]] = {"sides": list(sides), "lesion_ids": list(lesion_ids), "views": list(views)}
    said: dict[str, Any] = {name: values for name, values in found.items() if any(values)}
    return said | ({"clinical": {name: str(value) for name, value in clinical.items()}} if clinical else {})


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
    return chosen, class_indices(bundle.card["classes"], classes)


def predict_roi(
    bundle: Bundle,
    roi: Roi,
    layers: Sequence[str],
    classes: list[int] | None,
    method: str = "gradcam",
    target: Target = "logit",
) -> tuple[NDArray[np.float64], Maps | None]:
    """Probabilities and maps of one ROI; with one member and Grad-CAM both come from one forward pass.

    Without `classes` the maps are of the class with the largest calibrated probability.

    Parameters
    ----------
    bundle : Bundle
    roi : Roi
    layers, classes
        As `check_request` gives them.
    method, target
        As in `predict`.

    Returns
    -------
    probabilities : ndarray of float64, shape (classes,)
        As the networks give them, not calibrated.
    maps : Maps or None
        None without layers.
    """
    inputs, calibrate = to_input(roi.patch[None], roi.recipe, bundle.device), calibration_of_lesions(bundle.card)

    def largest(probabilities: NDArray[np.float64]) -> list[int]:
        shown = calibrate(probabilities[None])[0] if calibrate else probabilities
        return [int(shown.argmax())]

    if not layers:
        return bundle.probabilities(inputs)[0].double().cpu().numpy(), None
    if len(bundle.models) == 1 and method == "gradcam":

        def of_logits(logits: NDArray[np.float32]) -> NDArray[np.float64]:
            return np.asarray(bundle.to_probabilities(torch.as_tensor(logits)[None, None])[0].double().numpy())

        wanted = (lambda logits: largest(of_logits(logits))) if classes is None else classes
        maps = explain(bundle.models[0], inputs, layers, wanted, target=target)
        return of_logits(maps.logits), maps
    probabilities = bundle.probabilities(inputs)[0].double().cpu().numpy()
    shown = largest(probabilities) if classes is None else classes
    if method == "gradcam":
        parts = [explain(model, inputs, layers, shown, target=target) for model in bundle.models]
    else:
        parts = [explain_with_library(model, inputs, layers, shown, method) for model in bundle.models]
    return probabilities, Maps.mean(parts)
