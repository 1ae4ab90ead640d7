"""Heatmaps as scalar volumes on the mammogram's own pixel grid, cut to the region around the lesion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from MolSubSlicerLib.Scene.Colors import heat_colours
from MolSubSlicerLib.Scene.Hanging import composites_of
from MolSubSlicerLib.Scene.Mammograms import image_data
from MolSubSlicerLib.Scene.Nodes import (
    KIND,
    MAMMOGRAM,
    SceneError,
    all_of_kind,
    belongings,
    hierarchy,
    in_scene,
    item_of,
    matrix_of,
    place_under,
    ras_of,
    remove_node,
    shape_of,
)

_HEATMAP, _RETIRED = "heatmap", "retired heatmap"


def add_heatmaps(volume: Any, item: dict[str, Any], prediction_id: str) -> list[Any]:
    """All heatmaps of one lesion, one volume per layer and class; see `heatmap_steps`."""
    return list(heatmap_steps(volume, item, prediction_id))


def heatmap_steps(
    volume: Any, item: dict[str, Any], prediction_id: str, first: tuple[str, str] | None = None
) -> Iterator[Any]:
    """Make the heatmaps of one lesion one by one, so that a timer can do it without a pause in the window.

    Parameters
    ----------
    volume : vtkMRMLScalarVolumeNode
        The mammogram.
    item : dict
        One of the prediction's items: layers, classes, maps, maps_box, blind, lesion_index.
    prediction_id : str
        `Predictions.id_of` of the stored prediction.
    first : (layer, class), optional
        The one to be shown: it is made first.

    Yields
    ------
    vtkMRMLScalarVolumeNode
        Float32, fixed window [0, 1], under the mammogram's study. One that exists already is given
        again. Ends early when the mammogram leaves the scene.

    Raises
    ------
    SceneError
        If the maps cannot be read or do not fit the mammogram.
    """
    maps = _load(volume, item)
    pairs = [(layer, class_) for layer in item["layers"] for class_ in item["classes"]]
    if first in pairs:
        pairs.remove(first)
        pairs.insert(0, first)
    for layer, class_ in pairs:
        if not in_scene(volume):
            return
        found = find(volume, layer, class_, _index(item), prediction_id)
        yield found or _make(volume, item, prediction_id, layer, class_, maps)


def heatmaps_of(volume: Any, prediction_id: str | None = None, lesion: int | None = None) -> list[Any]:
    """A mammogram's heatmaps, all or those of one prediction or lesion (counted from 0)."""
    return [
        node
        for node in belongings(volume, _HEATMAP)
        if prediction_id in (None, node.GetAttribute("MolSub.PredictionId"))
        and (lesion is None or node.GetAttribute("MolSub.LesionIndex") == str(lesion))
    ]


def find(volume: Any, layer: str, class_: str, lesion: int = 0, prediction_id: str | None = None) -> Any:
    """The heatmap of a layer and class, or None."""
    for node in heatmaps_of(volume, prediction_id, lesion):
        if node.GetAttribute("MolSub.Layer") == layer and node.GetAttribute("MolSub.Class") == class_:
            return node
    return None


def is_blind(node: Any) -> bool:
    """Whether a heatmap holds no evidence at all: nothing may be read from it."""
    return node.GetAttribute("MolSub.Blind") == "1"


def remove_heatmaps(volume: Any, prediction_id: str | None = None) -> None:
    """Remove a mammogram's heatmaps, all or those of one prediction."""
    batch = slicer.vtkMRMLScene.BatchProcessState  # else every list of nodes on the screen is filled for each of them
    slicer.mrmlScene.StartState(batch)
    for node in heatmaps_of(volume, prediction_id):
        _remove(node)
    slicer.mrmlScene.EndState(batch)


def retire_heatmaps(volume: Any, prediction_id: str) -> None:
    """Take a prediction's heatmaps out of use at once.

    Removing them takes long. `heatmap_steps` fills their nodes with the maps of the prediction that comes instead, and
    `removal_steps` removes those that are left.
    """
    for node in heatmaps_of(volume, prediction_id):
        node.SetAttribute(KIND, _RETIRED)
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
        if legend is not None:
            legend.SetVisibility(False)
        for composite in composites_of(volume):
            if composite.GetForegroundVolumeID() == node.GetID():
                composite.SetForegroundVolumeID(None)


def removal_steps() -> Iterator[Any]:
    """Remove the heatmaps that were retired, one by one; what is given is in the scene no more."""
    for node in all_of_kind(_RETIRED):
        if in_scene(node):
            _remove(node)
            yield node


def _remove(node: Any) -> None:
    """Remove a heatmap, and the folder that it leaves empty."""
    tree = hierarchy()
    folder = tree.GetItemParent(item_of(node))
    remove_node(node)
    if tree.GetItemAttribute(folder, KIND) == "folder" and not tree.GetNumberOfItemChildren(folder):
        tree.RemoveItem(folder)


def _index(item: dict[str, Any]) -> int:
    return int(item.get("lesion_index", 0))


def _load(volume: Any, item: dict[str, Any]) -> NDArray[Any]:
    """The maps of an item, shape (layers, classes, rows, columns), memory-mapped."""
    row0, row1, col0, col1 = item["maps_box"]
    try:
        maps = np.load(item["maps"], mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SceneError(_("The heatmaps cannot be read ({error}). Predict again.").format(error=error)) from error
    expected = len(item["layers"]), len(item["classes"]), row1 - row0, col1 - col0
    rows, columns = shape_of(volume)
    fits = 0 <= row0 < row1 <= rows and 0 <= col0 < col1 <= columns
    if maps.shape != expected or not fits or tuple(item.get("image_shape", (rows, columns))) != (rows, columns):
        text = _("The heatmaps do not fit {name} of {rows} rows x {columns} columns. Predict again.")
        raise SceneError(text.format(name=volume.GetName(), rows=rows, columns=columns))
    return maps


def _make(volume: Any, item: dict[str, Any], prediction_id: str, layer: str, class_: str, maps: NDArray[Any]) -> Any:
    position = item["layers"].index(layer), item["classes"].index(class_)
    blind = bool(item["blind"][position[0]][position[1]])
    retired = _retired(volume, layer, class_, _index(item))
    node = retired or _new_node()
    node.SetName(_name(volume, item, layer, class_, blind))
    values = {
        KIND: _HEATMAP,
        "MolSub.Layer": layer,
        "MolSub.Class": class_,
        "MolSub.LesionIndex": str(_index(item)),
        "MolSub.Lesion": str(item.get("lesion", "")),
        "MolSub.Blind": "1" if blind else "0",
        "MolSub.PredictionId": prediction_id,
    }
    for name, value in values.items():
        node.SetAttribute(name, value)
    row0, _row1, col0, _col1 = item["maps_box"]
    node.SetIJKToRASMatrix(matrix_of(volume))
    node.SetOrigin(*ras_of(volume, row0, col0))
    node.SetAndObserveImageData(image_data(np.asarray(maps[position], np.float32)))
    if retired is None:
        _add(node, volume)
    return node


def _retired(volume: Any, layer: str, class_: str, lesion: int) -> Any:
    """A node of the prediction before, for the map of the same layer, class and lesion; or None."""
    wanted = {"MolSub.Layer": layer, "MolSub.Class": class_, "MolSub.LesionIndex": str(lesion)}
    for node in belongings(volume, _RETIRED):
        if all(node.GetAttribute(name) == value for name, value in wanted.items()):
            return node
    return None


def _new_node() -> Any:
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    return node


def _add(node: Any, volume: Any) -> None:
    display = _display()
    slicer.mrmlScene.AddNode(display)
    slicer.mrmlScene.AddNode(node)
    folder = _folder(volume) or _new_folder(volume)
    node.SetNodeReferenceID(MAMMOGRAM, volume.GetID())
    node.SetAndObserveDisplayNodeID(display.GetID())
    place_under(node, folder)


def _name(volume: Any, item: dict[str, Any], layer: str, class_: str, blind: bool) -> str:
    text = _("{image} lesion {lesion} {class_} {layer}")
    name = text.format(image=volume.GetName(), lesion=_index(item) + 1, class_=class_, layer=layer)
    return _("{name} (empty)").format(name=name) if blind else name


def _display() -> Any:
    display = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.UnRegister(None)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetInterpolate(True)
    display.SetAndObserveColorNodeID(heat_colours().GetID())
    return display


def _folder(volume: Any) -> int:
    """The folder of a mammogram's heatmaps, beside it under its study; 0 where there is none."""
    for node in [*belongings(volume, _HEATMAP), *belongings(volume, _RETIRED)]:
        folder = hierarchy().GetItemParent(item_of(node))
        if hierarchy().GetItemAttribute(folder, KIND) == "folder":
            return folder
    return 0


def _new_folder(volume: Any) -> int:
    tree = hierarchy()
    study = tree.GetItemParent(item_of(volume))
    folder = tree.CreateFolderItem(study, _("{name} heatmaps").format(name=volume.GetName()))
    tree.SetItemAttribute(folder, KIND, "folder")
    tree.SetItemExpanded(folder, False)
    return folder
