"""The heatmaps of a prediction: made bit by bit, and which of them is shown, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib.Scene import Hanging, HeatmapDisplay, Heatmaps, Predictions, RoiBox
from MolSubSlicerLib.Scene.Nodes import in_scene
from MolSubSlicerLib.Scene.SceneError import SceneError
from MolSubSlicerLib.Signal import Signal

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session


class HeatmapController:
    """What the Heatmaps panel does, without widgets. What is chosen is kept in the scene's parameters.

    Attributes
    ----------
    changed : Signal
        (): there are other heatmaps, or another one is shown.
    layers, classes : list of str
        Of the prediction; layers from the first to the last of the network.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.changed = Signal()
        self.layers: list[str] = []
        self.classes: list[str] = []
        self._items: list[tuple[Any, dict[str, Any]]] = []
        self._lesions: dict[str, int] = {}
        self._id = ""
        self._steps: Iterator[Any] = iter(())
        self._making = False
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._make_next)
        self._connections = (
            (session.prediction_changed, self._on_prediction),
            (session.mammograms_changed, self._on_mammograms),
            (session.scene_closed, self._forget),
        )
        for signal, slot in self._connections:
            signal.connect(slot)

    def cleanup(self) -> None:
        """Let go of the session."""
        self._timer.stop()
        for signal, slot in self._connections:
            signal.disconnect(slot)

    @property
    def available(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._items and self.layers)

    @property
    def making(self) -> bool:
        """Whether maps of the last prediction are still being made."""
        return self._making

    @property
    def lesion_names(self) -> list[str]:
        """The lesions one can choose between; empty where no mammogram has several."""
        volumes = [volume.GetID() for volume, _item in self._items]
        return [str(item["lesion"]) for _volume, item in self._items] if len(volumes) > len(set(volumes)) else []

    @property
    def chosen_lesion(self) -> int:
        """Position in `lesion_names` of the first lesion that is shown."""
        for position, (volume, item) in enumerate(self._items):
            if self._lesions.get(volume.GetID(), 0) != 0 and self._is_shown(volume, item):
                return position
        return 0

    def blind_views(self) -> list[str]:
        """Mammograms whose shown map holds no evidence."""
        parameters = self.session.parameters
        found = []
        for volume, item in self._shown_items():
            node = Heatmaps.find(volume, parameters.layer, parameters.heatmap_class, item["lesion_index"], self._id)
            if node is not None and Heatmaps.is_blind(node):
                found.append(volume.GetName())
        return found

    def set_layer(self, position: int) -> None:
        """Show the maps of a layer, by its position in `layers`."""
        if 0 <= position < len(self.layers):
            self.session.parameters.layer = self.layers[position]
            self.show()

    def set_class(self, name: str) -> None:
        """Show the maps for a class."""
        if name in self.classes:
            self.session.parameters.heatmap_class = name
            self.show()

    def set_lesion(self, position: int) -> None:
        """Show a lesion's maps on its mammogram, by its position in `lesion_names`."""
        if 0 <= position < len(self._items):
            volume, item = self._items[position]
            self._lesions[volume.GetID()] = int(item["lesion_index"])
            self.show()

    def set_opacity(self, value: float) -> None:
        """How much the maps cover, 0 to 1."""
        self.session.parameters.opacity = float(value)
        for volume in self.volumes():
            HeatmapDisplay.set_opacity(volume, value)

    def set_threshold(self, value: float) -> None:
        """The heat, 0 to 1, below which nothing is drawn."""
        self.session.parameters.threshold = float(value)
        for volume in self.volumes():
            HeatmapDisplay.set_threshold(volume, value)

    def set_overlay(self, visible: bool) -> None:
        """Show the maps, or the mammograms alone."""
        self.session.parameters.overlay = bool(visible)
        for volume in self.volumes():
            HeatmapDisplay.set_visible(volume, visible)
        self.changed.emit()

    def set_outline(self, visible: bool) -> None:
        """Outline the square that the model saw, or not."""
        self.session.parameters.roi_visible = bool(visible)
        for volume in self.volumes():
            RoiBox.set_visible(volume, visible)

    def set_linked(self, linked: bool) -> None:
        """Have the views zoom and pan together, or not."""
        self.session.parameters.link_views = bool(linked)
        Hanging.set_linked(bool(linked))

    def volumes(self) -> list[Any]:
        """The mammograms of the prediction that are still there, each once."""
        found: list[Any] = []
        for volume, _item in self._items:
            if in_scene(volume) and volume not in found:
                found.append(volume)
        return found

    def show(self) -> None:
        """Bring the views to what the parameters say; maps that are wanted before their turn are made at once."""
        parameters = self.session.parameters
        try:
            for volume, item in self._shown_items():
                self._ensure(volume, item)
                HeatmapDisplay.show(volume, parameters.layer, parameters.heatmap_class, item["lesion_index"])
        except SceneError as error:
            self.session.say(str(error), "error")
        self.changed.emit()

    def _ensure(self, volume: Any, item: dict[str, Any]) -> None:
        wanted = self.session.parameters.layer, self.session.parameters.heatmap_class
        if item.get("maps") and Heatmaps.find(volume, *wanted, item["lesion_index"], self._id) is None:
            next(Heatmaps.heatmap_steps(volume, item, self._id, wanted), None)

    def _is_shown(self, volume: Any, item: dict[str, Any]) -> bool:
        return self._lesions.get(volume.GetID(), 0) == int(item["lesion_index"])

    def _shown_items(self) -> list[tuple[Any, dict[str, Any]]]:
        return [(v, item) for v, item in self._items if in_scene(v) and self._is_shown(v, item)]

    def _on_prediction(self, prediction: dict[str, Any] | None) -> None:
        self._forget()
        node = Predictions.latest()
        if prediction is None or node is None:
            self.changed.emit()
            return
        volumes = Predictions.volumes_of(node)
        self._id = Predictions.id_of(node)
        self._items = [(volumes[item["image_index"]], item) for item in prediction["items"]]
        self._items = [(volume, item) for volume, item in self._items if in_scene(volume)]
        if self._items:
            self.layers = list(self._items[0][1]["layers"])
            self.classes = list(self._items[0][1]["classes"])
        self._choose(prediction)
        self._apply()
        if any(item.get("maps") for _volume, item in self._items):
            self._steps, self._making = self._remaining(), True
            self._timer.start()

    def _choose(self, prediction: dict[str, Any]) -> None:
        """What is shown first: of a new prediction the predicted class; of a restored one what was shown."""
        parameters = self.session.parameters
        if self.layers and parameters.layer not in self.layers:
            parameters.layer = self.layers[-1]
        is_new = any(item.get("maps") for _volume, item in self._items)
        if self.classes and (is_new or parameters.heatmap_class not in self.classes):
            probabilities = prediction["patient"]["probabilities"]
            parameters.heatmap_class = max(self.classes, key=lambda name: probabilities.get(name, 0.0))
        for volume, _item in self._items:
            self._lesions[volume.GetID()] = 0 if is_new else HeatmapDisplay.shown(volume).lesion

    def _apply(self) -> None:
        parameters = self.session.parameters
        for volume in self.volumes():
            RoiBox.show(volume, [item["roi"] for other, item in self._items if other is volume])
            RoiBox.set_visible(volume, parameters.roi_visible)
            HeatmapDisplay.set_opacity(volume, parameters.opacity)
            HeatmapDisplay.set_threshold(volume, parameters.threshold)
            HeatmapDisplay.set_visible(volume, parameters.overlay)
        if self.available:
            Hanging.set_linked(bool(parameters.link_views))
        self.show()

    def _remaining(self) -> Iterator[Any]:
        for volume, item in self._items:
            if item.get("maps") and in_scene(volume):
                yield from Heatmaps.heatmap_steps(volume, item, self._id)

    def _make_next(self) -> None:
        try:
            if next(self._steps, None) is not None:
                return
        except SceneError as error:
            self.session.say(str(error), "error")
        self._stop()
        self.changed.emit()

    def _on_mammograms(self) -> None:
        self._items = [(volume, item) for volume, item in self._items if in_scene(volume)]
        self.changed.emit()

    def _stop(self) -> None:
        self._timer.stop()
        self._making = False

    def _forget(self) -> None:
        self._stop()
        self._steps, self._items, self._lesions, self._id = iter(()), [], {}, ""
        self.layers, self.classes = [], []


def layer_text(layers: list[str], layer: str) -> str:
    """A layer's place in the network, and its name."""
    if layer not in layers:
        return ""
    text = _("{position} of {count}: {layer}")
    return text.format(position=layers.index(layer) + 1, count=len(layers), layer=layer)
