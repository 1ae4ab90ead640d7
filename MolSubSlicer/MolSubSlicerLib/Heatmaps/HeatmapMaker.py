"""Makes the heatmaps of a prediction, one by one between the user's clicks.

A prediction comes with the maps of the predicted class, so that they are seen soon; those of the other classes follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import qt

from MolSubSlicerLib.Scene import Heatmaps, Predictions
from MolSubSlicerLib.Scene.Nodes import SceneError, in_scene

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session


class HeatmapMaker:
    """Puts the maps of the newest prediction into the scene.

    Parameters
    ----------
    session : Session
    changed : callable
        Called when there are other maps, or making them ended.

    Attributes
    ----------
    items : list of (vtkMRMLScalarVolumeNode, dict)
        The prediction's items with their mammograms.
    prediction_id : str
    """

    def __init__(self, session: Session, changed: Callable[[], None]) -> None:
        self.session, self._changed = session, changed
        self.items: list[tuple[Any, dict[str, Any]]] = []
        self.prediction_id = ""
        self._steps: Iterator[Any] = iter(())
        self._stepping = False
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._make_next)

    @property
    def making(self) -> bool:
        """Whether maps are still to come."""
        return self._stepping or self._unfinished

    @property
    def _unfinished(self) -> bool:
        return bool(self.session.results.get(self.prediction_id, {}).get("unfinished"))

    def take(self, prediction: dict[str, Any], node: Any) -> None:
        """Let go of the maps before, and take a prediction's; `start` makes them."""
        self.forget()
        volumes = Predictions.volumes_of(node)
        self.prediction_id = Predictions.id_of(node)
        items = [(volumes[item["image_index"]], item) for item in prediction["items"]]
        self.items = [(volume, item) for volume, item in items if in_scene(volume)]

    def start(self) -> None:
        """Make what maps there are."""
        self._steps, self._stepping = self._remaining(), True
        self._timer.start()

    def forget(self) -> None:
        """Make nothing more."""
        self._stop()
        self._steps, self.items, self.prediction_id = iter(()), [], ""

    def drop_removed(self) -> None:
        """Forget mammograms that are gone."""
        self.items = [(volume, item) for volume, item in self.items if in_scene(volume)]

    def ensure(self, volume: Any, item: dict[str, Any], layer: str, class_: str) -> None:
        """Make a map before its turn.

        Raises
        ------
        SceneError
            If it cannot be read.
        """
        if item.get("maps") and Heatmaps.find(volume, layer, class_, item["lesion_index"], self.prediction_id) is None:
            next(Heatmaps.heatmap_steps(volume, item, self.prediction_id, (layer, class_)), None)

    def _remaining(self) -> Iterator[Any]:
        for volume, item in list(self.items):
            if item.get("maps") and in_scene(volume):
                yield from Heatmaps.heatmap_steps(volume, item, self.prediction_id)
        if not self._unfinished:
            yield from Heatmaps.removal_steps()

    def _make_next(self) -> None:
        try:
            if next(self._steps, None) is not None:
                return
        except SceneError as error:
            self.session.say(str(error), "error")
        self._stop()
        self._changed()

    def _stop(self) -> None:
        self._timer.stop()
        self._stepping = False

    def complete(self, prediction_id: str) -> None:
        """Take a prediction's maps of all classes in place of those of the predicted one."""
        if prediction_id != self.prediction_id:
            return
        self.drop_removed()
        found = self.session.results[prediction_id]["items"]
        whole = {(item["image_index"], item["lesion_index"]): item for item in found}
        self.items = [(volume, whole[item["image_index"], item["lesion_index"]]) for volume, item in self.items]
        self.start()
        self._changed()
