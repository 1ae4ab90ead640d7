"""Makes the heatmaps of a prediction, one by one between the user's clicks.

A prediction comes with the maps of the predicted class, so that they are seen soon; those of the other classes are
asked for then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib.Load import Views
from MolSubSlicerLib.Scene import Heatmaps, Predictions
from MolSubSlicerLib.Scene.Nodes import SceneError, in_scene

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import JobHandle, Session


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
        self._rest: JobHandle | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._make_next)

    @property
    def making(self) -> bool:
        """Whether maps are still to come."""
        return self._stepping or (self._rest is not None and not self._rest.ended)

    def take(self, prediction: dict[str, Any], node: Any) -> None:
        """Let go of the maps before, and take a prediction's; `start` makes them."""
        self.forget()
        volumes = Predictions.volumes_of(node)
        self.prediction_id = Predictions.id_of(node)
        items = [(volumes[item["image_index"]], item) for item in prediction["items"]]
        self.items = [(volume, item) for volume, item in items if in_scene(volume)]

    def start(self, prediction: dict[str, Any]) -> None:
        """Make what maps there are, and ask for the others."""
        self._make_all()
        self._ask_for_rest(prediction)

    def forget(self) -> None:
        """Make nothing more."""
        self._stop()
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.cancel()
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

    def _make_all(self) -> None:
        self._steps, self._stepping = self._remaining(), True
        self._timer.start()

    def _remaining(self) -> Iterator[Any]:
        for volume, item in list(self.items):
            if item.get("maps") and in_scene(volume):
                yield from Heatmaps.heatmap_steps(volume, item, self.prediction_id)
        if self._rest is None:
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

    def _ask_for_rest(self, prediction: dict[str, Any]) -> None:
        """Have the maps of the classes made that were not predicted."""
        request, count, prediction_id = prediction.get("request"), len(prediction["classes"]), self.prediction_id
        if request is None or all(len(item["classes"]) == count for _volume, item in self.items):
            return

        def done(result: dict[str, Any]) -> None:
            self._rest = None
            if prediction_id == self.prediction_id:
                self._take_rest(result["prediction"]["items"])

        def failed(message: str) -> None:
            text = _("The heatmaps of the other classes are missing. {reason}")
            self._rest = None
            self.session.say(text.format(reason=message), "warning")
            self._make_all()
            self._changed()

        try:
            out = str(self.session.new_folder("heatmaps"))
        except OSError as error:
            failed(Views.disk_text(error))
            return
        options = {**request, "classes": "all", "out": out}
        self._rest = self.session.submit("predict", options, done=done, failed=failed)

    def _take_rest(self, items: list[dict[str, Any]]) -> None:
        """Take maps of all classes in place of those of the predicted one."""
        self.drop_removed()
        whole = {(item["image_index"], item["lesion_index"]): item for item in items}
        self.items = [
            (volume, whole.get((item["image_index"], item["lesion_index"]), item)) for volume, item in self.items
        ]
        node = Predictions.by_id(self.prediction_id)
        if node is not None:
            Predictions.set_items(node, items)
        if self.prediction_id in self.session.results:
            self.session.results[self.prediction_id] |= {"items": items}
        self._make_all()
        self._changed()
