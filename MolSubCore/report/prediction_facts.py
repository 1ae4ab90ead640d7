"""What the report of a prediction says, whatever it is written in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from MolSubCore.evaluation.metrics import metric_title
from MolSubCore.models.card import calibration_note, dated, test_figures, trained_on
from MolSubCore.report.page import known, number

#: Names of the heatmap methods as the literature writes them.
_METHODS = {
    "gradcam": "Grad-CAM", "gradcam-library": "Grad-CAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM",
    "xgradcam": "XGrad-CAM", "layercam": "Layer-CAM", "eigencam": "Eigen-CAM", "eigengradcam": "Eigen-Grad-CAM",
    "gradcamelementwise": "element-wise Grad-CAM", "ablationcam": "Ablation-CAM", "scorecam": "Score-CAM",
}  # fmt: skip
_SHOWS = {
    "eigencam": "which part of the image varies most in the layer's activations, whatever the class",
    "ablationcam": "where removing the layer's activations would lower the class's score",
    "scorecam": "which parts of the image, shown alone, raise the class's score",
}
_READING = (
    "Early layers "
    "show edges and texture, late ones coarse regions. Each map is stretched to its own range, so a bright map can "
    "stand for little evidence; the raw maps lie beside the scaled ones. Every saliency method that Arun et al. "
    "(Radiology: Artificial Intelligence, 2021) tested failed at least one test. A heatmap is no evidence that the "
    "model is right, nor of where a tumour is."
)


def how_to_read(method: str | None) -> str:
    """What the heatmaps of a method show and do not show; of Grad-CAM where it is not recorded."""
    name = method or "gradcam"
    shows = _SHOWS.get(name, "where a change of the layer's activations would change the class's score")
    return f"A heatmap shows {shows} ({_METHODS.get(name, name)}). {_READING}"


SYNTHETIC = "SYNTHETIC: pictures or training data were made by a program. This report says nothing about a patient."

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Facts:
    """The texts and numbers of a prediction's report.

    Attributes
    ----------
    subtitle : str
    results : list of (str, list of (str, float))
        Title of each result, such as ``left breast``, and its classes with their probabilities, the largest first;
        none where its predictions mean nothing.
    note : str
        What the probabilities are.
    synthetic : bool
        Whether pictures or model are no patients'.
    lesions : list of list of str
        One row per lesion and image, below `lesion_header`.
    card : list of (str, str)
        The model card.
    identity : list of (str, str)
        Files and identifiers; empty unless the prediction was saved with them.
    """

    subtitle: str
    results: list[tuple[str, list[tuple[str, float]]]]
    note: str
    synthetic: bool
    lesion_header: list[str]
    lesions: list[list[str]]
    card: Rows
    identity: Rows


def prediction_facts(result: dict[str, Any], card: dict[str, Any]) -> Facts:
    """Gather what a report says.

    Parameters
    ----------
    result : dict
        The content of ``prediction.json``.
    card : dict
        The model bundle's card.
    """
    members, views = len(card["members"]), len(result["images"])
    return Facts(
        subtitle=f"Task {result['task']} · model {known(result['model']['name'])} ({card['architecture']}, "
        f"{members} member{'s' * (members > 1)}) · {views} lesion view{'s' * (views > 1)}",
        results=[
            (one["title"], sorted((one["probabilities"] or {}).items(), key=lambda entry: -entry[1]))
            for one in results_of(result)
        ],
        note=f"Mean of the model's softmax outputs over the views of one breast or lesion. {calibration_note(card)}",
        synthetic=bool(card.get("synthetic")) or any("synthetic" in text.lower() for text in result["warnings"]),
        lesion_header=["Lesion", *result["classes"], "Region (rows, columns)", "Pixel spacing"],
        lesions=[_lesion(image, result["classes"]) for image in result["images"]],
        card=_card(card),
        identity=_identity(result),
    )


def results_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The results in the content of a ``prediction.json``; of one of before, its mean over everything."""
    found: list[dict[str, Any]] = result.get("results") or [{"title": "patient", "breast": None, **result["patient"]}]
    return found


def _lesion(image: dict[str, Any], classes: list[str]) -> list[str]:
    roi, spacing = image["roi"], image.get("spacing") or {}
    where = f"{roi['row_start']}–{roi['row_stop']}, {roi['col_start']}–{roi['col_stop']}"
    size = f"{number(spacing['row_mm'], 4)} mm ({_words(spacing['source'])})" if spacing.get("row_mm") else "unknown"
    return [image["lesion"], *(number(image["probabilities"][name]) for name in classes), where, size]


def _words(name: str) -> str:
    """A DICOM keyword as the standard writes its name: ``Imager Pixel Spacing``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _card(card: dict[str, Any]) -> Rows:
    recipe = card["recipe"]
    rows = [
        ("Intended use", known(card.get("intended_use"))),
        ("Classes, in the order of the logits", ", ".join(card["classes"])),
        (
            "Class order",
            f"{known(card.get('class_order_source'))}"
            + ("" if card.get("class_order_verified") else " — NOT VERIFIED"),
        ),
        ("Positive class", known(card.get("positive"))),
        (
            "Preprocessing",
            f"{recipe['name']}, margin {recipe['bound']:g} {recipe['bound_unit']}",
        ),
        ("Trained on", trained_on(card)),
        ("Manufacturers in training", known(", ".join(card.get("vendors") or []))),
        ("Made", known(card.get("created"))),
    ]
    return [(name, str(value)) for name, value in rows] + _metrics(card)


def _metrics(card: dict[str, Any]) -> Rows:
    """Metrics of the model's own test set, per patient where known."""
    unit, metrics = test_figures(card)
    title = dated(card, f"Test set ({unit})")
    rows = [
        (f"{title}: {metric_title(name)}", _estimate(value["value"], value.get("low"), value.get("high")))
        for name, value in metrics.items()
    ]
    return rows or [("Test metrics", "not recorded")]


def _estimate(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return number(value)
    return f"{number(value)} (95 % CI {number(low)} to {number(high)})"


def _identity(result: dict[str, Any]) -> Rows:
    """Files and identifiers, each once."""
    rows: Rows = []
    for image in result["images"]:
        rows += [(f"{image['lesion']}: {kind}", name) for kind, name in (image.get("files") or {}).items()]
        rows += [(str(key), str(value)) for key, value in (image.get("identifiers") or {}).items() if value]
    return list(dict.fromkeys(rows))
