"""Predictions in the scene: the worker's answer as text, so that it is saved and comes back with the scene."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from MolSubSlicerLib.Scene.Heatmaps import remove_heatmaps, retire_heatmaps
from MolSubSlicerLib.Scene.Nodes import KIND, MAMMOGRAM, all_of_kind, hierarchy, item_of, place_under, remove_node
from MolSubSlicerLib.Scene.Patients import are_together

_ID = "MolSub.PredictionId"


def store(prediction: dict[str, Any], volumes: Sequence[Any], *, replace: bool = True) -> Any:
    """Keep a prediction in the scene.

    Parameters
    ----------
    prediction : dict
        The worker's `prediction`; the paths of its maps are left out, they end with the session.
    volumes : sequence of vtkMRMLScalarVolumeNode
        In the order of `image_index`.
    replace : bool
        Remove earlier predictions on any of these images; their heatmaps are retired.

    Returns
    -------
    vtkMRMLTextNode
    """
    if replace:
        for node in stored():
            if any(volume in volumes for volume in volumes_of(node)):
                for volume in volumes_of(node):
                    retire_heatmaps(volume, id_of(node))
                remove_node(node)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", _("Prediction"))
    node.SetAttribute(KIND, "prediction")
    node.SetAttribute(_ID, uuid.uuid4().hex)
    node.SetAttribute("MolSub.ImageCount", str(len(volumes)))  # a removed image takes its reference with it
    _write(node, prediction)
    node.SetForceCreateStorageNode(True)
    for volume in volumes:
        node.AddNodeReferenceID(MAMMOGRAM, volume.GetID())
    if volumes:
        place_under(node, hierarchy().GetItemParent(item_of(volumes[0])))
    return node


def set_items(node: Any, items: Sequence[dict[str, Any]]) -> None:
    """Replace a prediction's items: the same lesions, with other maps."""
    _write(node, {**prediction_of(node), "items": list(items)})


def _write(node: Any, prediction: dict[str, Any]) -> None:
    kept = dict(prediction)
    kept["items"] = [{key: item[key] for key in item if key != "maps"} for item in prediction.get("items", [])]
    node.SetText(json.dumps(kept))


def stored() -> list[Any]:
    """The scene's predictions, in the order in which they came."""
    return all_of_kind("prediction")


def latest(volume: Any = None) -> Any:
    """The newest prediction, or None; with a mammogram, the newest one on images of its patient."""
    for node in reversed(stored()):
        found = [other for other in volumes_of(node) if other is not None]
        if volume is None or any(are_together(volume, other) for other in found):
            return node
    return None


def by_id(identifier: str) -> Any:
    """The prediction with this identifier, or None."""
    return next((node for node in stored() if id_of(node) == identifier), None)


def id_of(node: Any) -> str:
    """The identifier that a prediction's heatmaps carry."""
    return node.GetAttribute(_ID)


def prediction_of(node: Any) -> dict[str, Any]:
    """The prediction as the worker gave it, without the paths of its maps."""
    return json.loads(node.GetText() or "{}")


def volumes_of(node: Any) -> list[Any]:
    """The mammograms of a prediction in the order of `image_index`."""
    count = node.GetNumberOfNodeReferences(MAMMOGRAM)
    return [node.GetNthNodeReference(MAMMOGRAM, index) for index in range(count)]


def remove(node: Any) -> None:
    """Remove a prediction and its heatmaps."""
    for volume in volumes_of(node):
        remove_heatmaps(volume, id_of(node))
    remove_node(node)
