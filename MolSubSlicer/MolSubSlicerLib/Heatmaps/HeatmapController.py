"""Which of a prediction's heatmaps is shown, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MolSubSlicerLib.Heatmaps.HeatmapMaker import HeatmapMaker
from MolSubSlicerLib.Scene import Hanging, HeatmapDisplay, Heatmaps, Lesions
from MolSubSlicerLib.Scene.Nodes import SceneError, in_scene
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
        Of which there are maps; layers from the first to the last of the network.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.changed = Signal()
        self.layers: list[str] = []
        self.classes: list[str] = []
        self._order: list[str] = []
        self._lesions: dict[str, int] = {}
        self._maker = HeatmapMaker(session, self._on_maps)
        self._connections = (
            (session.prediction_changed, self._on_prediction),
            (session.maps_completed, self._maker.complete),
            (session.mammograms_changed, self._on_mammograms),
            (session.scene_closed, self._forget),
        )
        for signal, slot in self._connections:
            signal.connect(slot)

    def cleanup(self) -> None:
        """Let go of the session."""
        self._forget()
        for signal, slot in self._connections:
            signal.disconnect(slot)

    @property
    def available(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._maker.items and self.layers)

    @property
    def making(self) -> bool:
        """Whether maps of the last prediction are still to come."""
        return self._maker.making

    @property
    def lesion_names(self) -> list[str]:
        """The lesions one can choose between; empty where no mammogram has several."""
        volumes = [volume.GetID() for volume, _item in self._maker.items]
        if len(volumes) == len(set(volumes)):
            return []
        text = _("{image}, lesion {lesion}")
        return [
            text.format(image=volume.GetName(), lesion=int(item["lesion_index"]) + 1)
            for volume, item in self._maker.items
        ]

    @property
    def chosen_lesion(self) -> int:
        """Position in `lesion_names` of the lesion that was chosen, or of the first one."""
        for position, (volume, item) in enumerate(self._maker.items):
            if self._lesions.get(volume.GetID(), 0) != 0 and self._is_shown(volume, item):
                return position
        return 0

    def blind_views(self) -> list[str]:
        """Mammograms whose shown map holds no evidence."""
        parameters = self.session.parameters
        wanted, found = (parameters.layer, parameters.heatmap_class), []
        for volume, item in self._shown_items():
            node = Heatmaps.find(volume, *wanted, item["lesion_index"], self._maker.prediction_id)
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
        if 0 <= position < len(self._maker.items):
            volume, item = self._maker.items[position]
            self._lesions[volume.GetID()] = int(item["lesion_index"])
            self.show()

    def set_opacity(self, value: float) -> None:
        """How much the maps cover, 0 to 1."""
        self.session.parameters.opacity = float(value)
        for volume in self.volumes():
            HeatmapDisplay.adjust(volume, opacity=value)

    def set_threshold(self, value: float) -> None:
        """The heat, 0 to 1, below which nothing is drawn."""
        self.session.parameters.threshold = float(value)
        for volume in self.volumes():
            HeatmapDisplay.adjust(volume, threshold=value)

    def set_overlay(self, visible: bool) -> None:
        """Show the maps, or the mammograms alone."""
        self.session.parameters.overlay = bool(visible)
        for volume in self.volumes():
            HeatmapDisplay.adjust(volume, visible=visible)
        self.changed.emit()

    def set_outline(self, visible: bool) -> None:
        """Outline the square that the model saw, or not."""
        self.session.parameters.roi_visible = bool(visible)
        for volume in self.volumes():
            Lesions.set_visible(volume, visible)

    def set_linked(self, linked: bool) -> None:
        """Have the views zoom and pan together, or not."""
        self.session.parameters.link_views = bool(linked)
        Hanging.set_linked(bool(linked))

    def volumes(self) -> list[Any]:
        """The mammograms of the prediction that are still there, each once."""
        found: list[Any] = []
        for volume, _item in self._maker.items:
            if in_scene(volume) and volume not in found:
                found.append(volume)
        return found

    def show(self) -> None:
        """Bring the views to what the parameters say; maps that are wanted before their turn are made at once."""
        parameters = self.session.parameters
        layer, class_ = parameters.layer, parameters.heatmap_class
        try:
            for volume, item in self._shown_items():
                if class_ in item["classes"]:  # else it is still to come: of a view with another predicted class
                    self._maker.ensure(volume, item, layer, class_)
                    HeatmapDisplay.show(volume, layer, class_, item["lesion_index"])
        except SceneError as error:
            self.session.say(str(error), "error")
        self.changed.emit()

    def _is_shown(self, volume: Any, item: dict[str, Any]) -> bool:
        return self._lesions.get(volume.GetID(), 0) == int(item["lesion_index"])

    def _shown_items(self) -> list[tuple[Any, dict[str, Any]]]:
        return [(v, item) for v, item in self._maker.items if in_scene(v) and self._is_shown(v, item)]

    def _on_prediction(self, prediction: dict[str, Any] | None) -> None:
        self._forget()
        node = self.session.prediction_node()
        if prediction is not None and node is not None:
            self._maker.take(prediction, node)
            self._order = list(prediction["classes"])
            self._name_maps()
            self._choose(prediction)
            self._apply()
            self._maker.start()
        self.changed.emit()

    def _name_maps(self) -> None:
        """Find out which layers and classes there are maps of."""
        items = self._maker.items
        self.layers = list(items[0][1]["layers"]) if items else []
        present = {name for _volume, item in items for name in item["classes"]}
        self.classes = [name for name in self._order if name in present]

    def _choose(self, prediction: dict[str, Any]) -> None:
        """What is shown first: of a new prediction the predicted class; of a restored one what was shown."""
        parameters = self.session.parameters
        if self.layers and parameters.layer not in self.layers:
            parameters.layer = self.layers[-1]
        is_new = any(item.get("maps") for _volume, item in self._maker.items)
        if self.classes and (is_new or parameters.heatmap_class not in self.classes):
            # Of both breasts, the class that is the surest in either.
            each = [result["probabilities"] or {} for result in prediction.get("results") or [prediction["patient"]]]
            parameters.heatmap_class = max(self.classes, key=lambda name: max(one.get(name, 0.0) for one in each))
        for volume in self.volumes():
            self._lesions[volume.GetID()] = 0 if is_new else HeatmapDisplay.shown(volume).lesion

    def _apply(self) -> None:
        parameters = self.session.parameters
        for volume in self.volumes():
            Lesions.show(volume, [item["roi"] for other, item in self._maker.items if other is volume])
            Lesions.set_visible(volume, parameters.roi_visible)
            HeatmapDisplay.adjust(
                volume, opacity=parameters.opacity, threshold=parameters.threshold, visible=parameters.overlay
            )
        if self.available:
            Hanging.set_linked(bool(parameters.link_views))
        self.show()

    def _on_maps(self) -> None:
        self._name_maps()
        self.show()

    def _on_mammograms(self) -> None:
        self._maker.drop_removed()
        self.changed.emit()

    def _forget(self) -> None:
        self._maker.forget()
        self._lesions, self._order = {}, []
        self.layers, self.classes = [], []


def layer_text(layers: list[str], layer: str) -> str:
    """A layer's place in the network, and its name."""
    if layer not in layers:
        return ""
    text = _("{position} of {count}: {layer}")
    return text.format(position=layers.index(layer) + 1, count=len(layers), layer=layer)
