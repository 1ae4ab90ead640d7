"""A model card in the keys of a MONAI bundle's ``metadata.json``, for programs that read those.

It is made of the card whenever it is asked for, so that it never says anything else than the card. A bundle of this
project is no MONAI bundle: it has no inference configuration of MONAI's, and `MolSubCore` runs it.
"""

from __future__ import annotations

from typing import Any

from MolSubCore import __version__
from MolSubCore.models.card import calibration_note, card_warnings, dated, earlier_note, patient_level, trained_on
from MolSubCore.tasks import get_task

_PAPER = (
    "Luo et al., Predicting molecular subtype in breast cancer using deep learning on mammography images, "
    "Frontiers in Oncology 2025, doi 10.3389/fonc.2025.1638212"
)
_PAPERS = "Published test AUCs of DenseNet121-CBAM, on another cohort, lie between 0.65 and 0.76: it is often wrong."
_FLAWS = (
    "The lesion must be outlined by a person; the model looks at nothing else and finds no lesion.",
    "Performance on other devices, views and populations than those of the training is unknown until it is measured.",
)


def monai_metadata(card: dict[str, Any]) -> dict[str, Any]:
    """Describe a bundle; values that the card lacks are left out, never guessed.

    Parameters
    ----------
    card : dict
        From `MolSubCore.models.card.read_card`.

    Returns
    -------
    dict
        ``version, changelog, pytorch_version, task, description, intended_use, data_type, image_classes,
        label_classes, pred_classes, eval_metrics, network_data_format`` and so on.
    """
    software, version = card.get("software") or {}, str(card.get("version", "1.0.0"))
    classes = list(card["classes"])
    papers = [_PAPERS] if card["architecture"].startswith("densenet121-cbam") else []
    found: dict[str, Any] = {
        "name": card.get("name"),
        "version": version,
        "changelog": card.get("changelog") or {version: "made before changes were recorded"},
        "pytorch_version": software.get("torch"),
        "numpy_version": software.get("numpy"),
        "required_packages_version": {"MolSubCore": software.get("MolSubCore", __version__)},
        "task": get_task(card["task"]).title,
        "description": (
            f"{card['architecture']}, {len(card['members'])} member(s): probabilities of {', '.join(classes)} of an "
            "outlined lesion on a mammogram"
        ),
        "authors": "the group that trained it; not recorded in the bundle",
        "data_source": _data_source(card),
        "data_type": "DICOM MG, or images, with an outlined lesion",
        "image_classes": "one grey channel, the square region around the lesion, bright is dense tissue",
        "label_classes": ", ".join(f"{number} is {name}" for number, name in enumerate(classes)),
        "pred_classes": f"probabilities, {len(classes)} channels. {calibration_note(card)}",
        "eval_metrics": _eval_metrics(card),
        "intended_use": card.get("intended_use"),
        "references": [_PAPER],
        "known_limitations": [*papers, *_FLAWS, *filter(None, [earlier_note(card)]), *card_warnings(card)],
        "network_data_format": _network_format(card),
    }
    return {key: value for key, value in found.items() if value is not None}


def _data_source(card: dict[str, Any]) -> str:
    digest = ((card.get("training") or {}).get("plan") or {}).get("data_hash")
    return trained_on(card) + (f"; hash {digest[:16]}" if digest else "")


def _eval_metrics(card: dict[str, Any]) -> dict[str, float]:
    """Metrics of the model's own test set per patient, without the undefined ones."""
    metrics = patient_level(card, "test").get("metrics") or {}
    return {dated(card, name): metric["value"] for name, metric in metrics.items() if metric.get("value") is not None}


def _network_format(card: dict[str, Any]) -> dict[str, Any]:
    """What goes into the network, and what comes out of it and of the bundle."""
    recipe, classes = card["recipe"], list(card["classes"])
    size, mean, std = (recipe.get(name) for name in ("size", "mean", "std"))
    image: dict[str, Any] = {
        "type": "image",
        "format": "magnitude",
        "modality": "MG",
        "num_channels": 1,
        "spatial_shape": [size, size],
        "dtype": "float32",
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }
    if mean is not None and std:
        image["value_range"] = [(0 - mean) / std, (1 - mean) / std]
    pred = {
        "type": "probabilities",
        "format": "classification",
        "num_channels": len(classes),
        "spatial_shape": [],
        "dtype": "float64",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(number): name for number, name in enumerate(classes)},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": pred}}
