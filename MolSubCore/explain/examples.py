"""Examples with heatmaps of a run: test patients that it classifies rightly, and wrongly, chosen by rules.

::

    RUN/attention.npz     patches, and each layer's maps at the layer's resolution
    RUN/attention.json    the rules, and of every example its class, probabilities, views and lesion outline
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from torch import nn

from MolSubCore import DISCLAIMER
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.table import Cohort
from MolSubCore.errors import MolSubError, reason_of
from MolSubCore.explain.faithfulness import make_regions
from MolSubCore.explain.gradcam import Maps, explain, stretch
from MolSubCore.files import atomic_path, read_json, write_json
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.lesions.roi import RoiGeometry
from MolSubCore.models.device import to_input
from MolSubCore.models.registry import get_architecture
from MolSubCore.statistics.calibration import CalibrationMap
from MolSubCore.statistics.scores import Predictions, read_predictions

RULE = (
    "For each class, the test patient with the median probability of this class (the lower of two) among those that "
    "this model classifies correctly by the mean over all views; patients with both a CC and an MLO view are preferred."
)

#: Misclassified patients of each class that are shown.
FAILURES = 2
FAILURE_RULE = (
    f"For each class, the {FAILURES} test patients of it to whom this model gives the largest probability of another "
    "class, by the mean over all views; the heatmaps are of the class that the model chose."
)

VIEWS = ("CC", "MLO")

#: 2: of calibrated probabilities. 3: with patients that are classified wrongly.
ATTENTION_VERSION = 3

#: Largest difference from the run's own probabilities: another precision may cause it, other weights would exceed it.
_SAME = 0.05


@dataclass(frozen=True, eq=False)
class Attention:
    """Examples of a run, read.

    Attributes
    ----------
    record : dict
        Content of ``attention.json``.
    patches : ndarray of uint8, shape (N, size, size)
    maps : dict of str to ndarray of float32, shape (N, h, w)
        Raw Grad-CAM of each layer, for the true class; of failures for the class that the model chose.
    """

    record: dict[str, Any]
    patches: NDArray[np.uint8]
    maps: dict[str, NDArray[np.float32]]

    @property
    def layers(self) -> tuple[str, ...]:
        """Dotted names, from input to output."""
        return tuple(self.record["layers"])

    def heat(self, layer: str, number: int, size: int) -> NDArray[np.float32]:
        """One patch's map, stretched to [0, 1], shape (size, size)."""
        raw = self.maps[layer][number][None]
        maps = Maps((layer,), (0,), {layer: raw}, {layer: stretch(raw)}, {layer: (False,)}, np.zeros(1, np.float32))
        return maps.patch_map(layer, 0, size)


def write_attention(
    run: Path,
    store: PatchStore,
    load_model: Callable[[int], nn.Module],
    *,
    cohort: Cohort | None = None,
    layers: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Choose test patients of every class by both rules, explain their views, write both files; return the record.

    Parameters
    ----------
    run : Path
        A finished and evaluated run of an architecture. The model of its best fold is explained.
    store : PatchStore
        The one that the run was trained on.
    load_model : callable
        Gives the trained model of a fold, on its device.
    cohort : Cohort, optional
        That of the store; with it, lesion outlines of the chosen images are read from its masks.
    layers : sequence of str, optional
        Default: the architecture's.

    Raises
    ------
    MolSubError
        If the model gives other probabilities than the run's predictions, or an image cannot be read again.
    """
    plan, evaluation = read_json(run / "plan.json"), read_json(run / "evaluation.json")
    fold = int(evaluation["best_fold"])
    predictions = read_predictions(run / f"fold-{fold}" / "test_predictions.csv")
    names = tuple(layers or get_architecture(plan["architecture"]).default_layers)
    calibrate = CalibrationMap.from_dict(evaluation["calibration"]["folds"][str(fold)])
    examples, failures = choose_examples(predictions, calibrate), choose_failures(predictions, calibrate)
    patches: list[NDArray[Any]] = []
    raw: list[dict[str, NDArray[np.float32]]] = []
    row_of = {
        (int(case), lesion): n for n, (case, lesion) in enumerate(zip(store.case_index, store.lesion, strict=True))
    }
    recipe, model = Recipe.from_dict(plan["recipe"]), load_model(fold).eval()
    for example in [*examples, *failures]:
        index = predictions.classes.index(example.get("predicted", example["class"]))
        for view in example["views"]:
            stored = predictions.probabilities()[view.pop("row")]
            row = row_of[view.pop("case"), view["lesion"]]
            maps = _explain(model, recipe, store.patches[row], names, index)
            _check_same(run, maps, stored)
            view |= {"patch": len(patches), "blind": [maps.blind[name][0] for name in names]}
            view["geometry"] = store.meta[row]["geometry"]
            view["outline"] = None if cohort is None else _outline(cohort, int(store.case_index[row]), view["geometry"])
            patch = store.patches[row]
            patches.append(patch if recipe.patch_dtype == "uint8" else np.rint(255.0 * np.clip(patch, 0, 1)))
            raw.append(maps.raw or {})
    shape = (0, recipe.size, recipe.size)
    record = {"task": plan["task"], "architecture": plan["architecture"], "fold": fold, "layers": list(names),
              "classes": list(predictions.classes), "synthetic": bool(plan.get("synthetic")),
              "examples": examples, "failures": failures, "inputs": evaluation.get("inputs")}  # fmt: skip
    pictures = np.stack(patches).astype(np.uint8) if patches else np.zeros(shape, np.uint8)
    found = {name: np.concatenate([one[name] for one in raw]) if raw else np.zeros(shape, np.float32) for name in names}
    return save_attention(run, record, pictures, found)


def save_attention(
    run: Path, record: dict[str, Any], patches: NDArray[np.uint8], maps: dict[str, NDArray[np.float32]]
) -> dict[str, Any]:
    """Write both files, the record last; return it, complete."""
    head = {
        "format": "molsub-attention",
        "format_version": ATTENTION_VERSION,
        "intended_use": DISCLAIMER,
        "method": "gradcam",
    }
    whole = head | {"rule": RULE, "failure_rule": FAILURE_RULE} | record
    arrays = {f"map-{number}": maps[name] for number, name in enumerate(record["layers"])}
    with atomic_path(run / "attention.npz") as temporary:
        np.savez_compressed(temporary, patches=patches, **arrays)  # type: ignore[arg-type]
    write_json(run / "attention.json", whole)
    return whole


def has_attention(run: Path) -> bool:
    """Whether both files are there, and of these predictions."""
    file = run / "attention.json"
    made = read_json(file) if file.is_file() else {}
    wanted = (ATTENTION_VERSION, read_json(run / "evaluation.json").get("inputs"))
    return (made.get("format_version"), made.get("inputs")) == wanted


def read_attention(run: Path) -> Attention | None:
    """The examples of a run; None where there are none.

    Raises
    ------
    MolSubError
        If the files are damaged.
    """
    if not (run / "attention.json").is_file():
        return None
    record = read_json(run / "attention.json")
    try:
        with np.load(run / "attention.npz", allow_pickle=False) as file:
            maps = {name: file[f"map-{number}"] for number, name in enumerate(record["layers"])}
            return Attention(record, file["patches"], maps)
    except Exception as error:
        reason = reason_of(error, 120, kind=True)
        problem, remedy = f"holds no examples ({reason})", "Delete attention.json and run the study again"
        raise MolSubError(run / "attention.npz", problem, remedy) from None


def choose_examples(predictions: Predictions, calibrate: CalibrationMap | None = None) -> list[dict[str, Any]]:
    """One entry per class by `RULE`: its patient and the first lesion of each of its views.

    Parameters
    ----------
    predictions : Predictions
        Of one model on the test set.
    calibrate : CalibrationMap, optional
        Of this model; probabilities of single views go through it, too.

    Returns
    -------
    list of dict
        A class without a correctly classified patient has no views.
    """
    scores, both = predictions.scores().calibrated(calibrate).per_patient(), _with_both_views(predictions)
    right = scores.probabilities.argmax(axis=1) == scores.label
    examples: list[dict[str, Any]] = []
    for index, name in enumerate(predictions.classes):
        members = np.flatnonzero(scores.label == index)
        correct = [int(n) for n in members if right[n]]
        entry: dict[str, Any] = {"class": name, "patients": len(members), "correct": len(correct), "views": []}
        examples.append(entry)
        preferred = [n for n in correct if scores.patient[n] in both] or correct
        if preferred:
            # Equal probabilities by the image's number, which does not depend on the salt of the ids.
            ranked = sorted(preferred, key=lambda n: (scores.probabilities[n, index], scores.case[n]))
            chosen = ranked[(len(ranked) - 1) // 2]
            entry |= {"study_id": str(scores.patient[chosen]), "chosen_from": len(ranked)}
            entry["probability"] = float(scores.probabilities[chosen, index])
            entry["views"] = _views(predictions, str(scores.unit[chosen]), calibrate)
    return examples


def choose_failures(predictions: Predictions, calibrate: CalibrationMap | None = None) -> list[dict[str, Any]]:
    """Entries as those of `choose_examples` by `FAILURE_RULE`, with ``predicted``; ``probability`` is of that class.

    A class without a wrongly classified patient has none.
    """
    scores = predictions.scores().calibrated(calibrate).per_patient()
    chosen, found = scores.probabilities.argmax(axis=1), []
    for index, name in enumerate(predictions.classes):
        wrong = np.flatnonzero((scores.label == index) & (chosen != index))
        ranked = sorted(wrong, key=lambda n: (-scores.probabilities[n].max(), scores.case[n]))
        for n in ranked[:FAILURES]:
            entry = {"class": name, "predicted": predictions.classes[int(chosen[n])], "wrong": len(wrong)}
            entry |= {"study_id": str(scores.patient[n]), "probability": float(scores.probabilities[n].max())}
            found.append(entry | {"views": _views(predictions, str(scores.unit[n]), calibrate)})
    return found


def _with_both_views(predictions: Predictions) -> set[str]:
    seen = [set(predictions.study_id[predictions.view == view].tolist()) for view in VIEWS]
    return set.intersection(*seen)


def _views(predictions: Predictions, unit: str, calibrate: CalibrationMap | None) -> list[dict[str, Any]]:
    """The first lesion of each view of a patient, or of one breast of theirs: CC, MLO, then any other."""
    network = predictions.probabilities()
    probabilities = calibrate(network) if calibrate else network
    found: dict[str, dict[str, Any]] = {}
    rows = np.flatnonzero(predictions.scores().unit == unit)
    for row in sorted(rows, key=lambda n: (predictions.case[n], n)):
        view = str(predictions.view[row])
        found.setdefault(
            view,
            {
                "view": view,
                "laterality": str(predictions.laterality[row]),
                "case": int(predictions.case[row]),
                "row": int(row),
                "lesion": str(predictions.lesion[row]),
                "probabilities": dict(zip(predictions.classes, probabilities[row].tolist(), strict=True)),
                "predicted": predictions.classes[int(probabilities[row].argmax())],
            },
        )
    order = {view: n for n, view in enumerate(VIEWS)}
    return sorted(found.values(), key=lambda entry: order.get(entry["view"], len(order)))


def _explain(model: nn.Module, recipe: Recipe, patch: NDArray[Any], layers: tuple[str, ...], index: int) -> Maps:
    device = next(model.parameters()).device
    inputs = to_input(patch[None], recipe, device)
    return explain(model, inputs, layers, [index])


def _check_same(run: Path, maps: Maps, stored: NDArray[np.float64]) -> None:
    if np.abs(softmax(maps.logits.astype(np.float64)) - stored).max() > _SAME:
        problem = "has predictions that differ from those of its model"
        raise MolSubError(run, problem, "Give the model and the patches that it was trained with")


def _outline(cohort: Cohort, number: int, geometry: dict[str, Any]) -> list[list[list[int]]]:
    """Contours of the image's lesions in the patch, as lists of (column, row)."""
    case = cohort.cases[number]
    lesions = read_lesions(case.lesion, read_mammogram(case.image))
    place = RoiGeometry.from_dict(geometry)
    inside = make_regions(lesions, place, (1.0, 1.0)).inside.astype(np.uint8)
    contours = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    return [contour[:, 0].tolist() for contour in contours]
