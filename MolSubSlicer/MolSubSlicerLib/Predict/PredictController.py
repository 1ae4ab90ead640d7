"""A prediction: from the ticked mammograms to a result in the scene, and whatever may happen meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from MolSubSlicerLib.Load import Views
from MolSubSlicerLib.Load.LoadController import stage_text
from MolSubSlicerLib.Predict.LibraryController import LibraryController
from MolSubSlicerLib.Scene import Patients, Predictions
from MolSubSlicerLib.Scene.Nodes import SceneError, in_scene
from MolSubSlicerLib.Signal import Signal

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import JobHandle, Session


@dataclass
class _Run:
    """A prediction that is being made."""

    volumes: list[Any]
    names: list[str]
    marks: list[int]
    notes: list[str]
    options: dict[str, Any]
    handle: JobHandle | None = None
    prediction_id: str = ""  # once its first maps are there


class PredictController:
    """What the Predict panel does, without widgets.

    Attributes
    ----------
    library : LibraryController
    changed : Signal
        (): the views, the run or the result changed.
    share : float
        How much of the run is done, 0 to 1.
    stage : str
        What the run is doing.
    clinical : str
        The patient's clinical values, such as ``age=54 density=c``, for a model that uses them.
    prediction : dict or None
        The result that is shown.
    is_open : bool
        Whether the panel is unfolded.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.library = LibraryController(session)
        self.changed = Signal()
        self.share, self.stage = 0.0, ""
        self.clinical = ""
        self.prediction: dict[str, Any] | None = None
        self._run: _Run | None = None
        self._unfinished: list[_Run] = []  # their results are shown, the maps of further classes are still made
        self._outdated: list[str] = []
        self.is_open = False
        self._warmed: tuple[Any, ...] = ()
        self._connections = (
            (session.mammograms_changed, self._on_mammograms),
            (session.lesions_changed, self._on_lesions),
            (session.prediction_changed, self._on_prediction),
            (session.scene_closed, self._on_scene_closed),
            (session.model_changed, self._on_model),
        )
        for signal, slot in self._connections:
            signal.connect(slot)

    def cleanup(self) -> None:
        """Cancel what runs, and let go of the session."""
        for run in (self._run, *self._unfinished):
            if run is not None and run.handle is not None:
                run.handle.cancel()
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self.library.cleanup()

    def set_open(self, is_open: bool) -> None:
        """Whether the panel is unfolded: a prediction may be near."""
        self.is_open = is_open
        self._warm()

    @property
    def running(self) -> bool:
        """Whether a prediction is being made."""
        return self._run is not None

    @property
    def outdated(self) -> list[str]:
        """Names of the mammograms of the shown result whose outlines were changed, or that were removed, since."""
        return self._outdated

    def predict(self) -> None:
        """Predict the ticked mammograms with the chosen model; what is in the way is said."""
        if self._run is not None:
            return
        try:
            run = self._prepare()
        except SceneError as error:
            self.session.say(str(error), "error")
            return
        except OSError as error:
            self.session.say(Views.disk_text(error), "error")
            return
        self.session.say("")
        self._run, self.share, self.stage = run, 0.0, _("Starting")
        self.changed.emit()
        run.handle = self.session.submit(
            "predict",
            run.options,
            done=lambda result: self._on_done(run, result["prediction"]),
            failed=lambda message: self._on_failed(run, message),
            progress=lambda values: self._on_progress(run, values),
            cancelled=lambda: self._on_cancelled(run),
        )

    def cancel(self) -> None:
        """Cancel the prediction that runs."""
        if self._run is not None and self._run.handle is not None:
            self.stage = _("Cancelling")
            self.changed.emit()
            self._run.handle.cancel()

    def _prepare(self) -> _Run:
        model = self.library.chosen
        if model is None:
            missing = self.library.missing
            text = _("The model {name} is not in the library. Choose or import one.").format(name=missing)
            raise SceneError(text if missing else _("No model is chosen. Choose one, or import one."))
        volumes = [view.volume for view in Views.taken_views(self.session.parameters.mammogram)]
        folder = self.session.new_folder("prediction")
        images, notes = Views.write_images(self.session, volumes, folder)
        options: dict[str, Any] = {"bundle": str(model.path), "images": images, "out": str(folder)}
        options["device"] = self.session.parameters.device
        options["same_patient"] = Views.same_patient(volumes, images)
        if model.clinical():
            options["clinical"] = clinical_values(self.clinical)
        marks = [Views.outline_mark(volume) for volume in volumes]
        return _Run(volumes, [volume.GetName() for volume in volumes], marks, notes, options)

    def _on_progress(self, run: _Run, values: Mapping[str, Any]) -> None:
        if run is not self._run:
            return
        if "prediction" in values:
            self._show(run, values["prediction"])
        else:
            self.share, self.stage = float(values.get("done") or 0.0), stage_text(values)
            self.changed.emit()

    def _show(self, run: _Run, found: Mapping[str, Any]) -> None:
        """Put a result into the scene; the maps of further classes follow."""
        gone = _gone(run)
        if gone:
            self._give_up(_removed_text(gone))
            return
        prediction = dict(found)
        prediction["warnings"] = [*run.notes, *prediction.get("warnings", ())]
        prediction["outline_marks"], prediction["view_names"] = run.marks, run.names
        node = Predictions.store(prediction, run.volumes)
        run.prediction_id = Predictions.id_of(node)
        self._unfinished.append(run)
        self.session.results[run.prediction_id] = {**prediction, "unfinished": True}
        if self.session.prediction_node() is node:
            self._end(run, "", "info")
        else:
            text = _("The prediction of {names} is done. Choose one of these images to see it.")
            self._end(run, text.format(names=", ".join(map(Patients.name_of, run.volumes))), "info")
        self.session.tell_prediction()

    def _on_done(self, run: _Run, found: Mapping[str, Any]) -> None:
        if run is self._run:  # there were no further classes
            self._show(run, found)
        self._complete(run, list(found["items"]))

    def _on_failed(self, run: _Run, message: str) -> None:
        if run in self._unfinished:
            text = _("The heatmaps of the other classes are missing. {reason}")
            self.session.say(text.format(reason=message), "warning")
        self._complete(run, None)
        self._end(run, message, "error")

    def _on_cancelled(self, run: _Run) -> None:
        self._complete(run, None)
        self._end(run, _("The prediction was cancelled. Nothing was changed."), "info")

    def _complete(self, run: _Run, items: list[dict[str, Any]] | None) -> None:
        """All maps of a shown result are there, or none will come."""
        if run not in self._unfinished:
            return
        self._unfinished.remove(run)
        whole = self.session.results.get(run.prediction_id)
        node = Predictions.by_id(run.prediction_id)
        if whole is None or node is None:
            return
        del whole["unfinished"]
        if items is not None:
            whole["items"] = items
            Predictions.set_items(node, items)
        self.session.maps_completed.emit(run.prediction_id)

    def _end(self, run: _Run, text: str, kind: Any) -> None:
        """The run is over; nothing of it stays."""
        if run is not self._run:
            return
        self._run, self.share, self.stage = None, 0.0, ""
        if text:
            self.session.say(text, kind)
        self.changed.emit()

    def _give_up(self, text: str) -> None:
        """End a run whose scene is no more; what the worker still says of it is not listened to."""
        run, self._run = self._run, None
        if run is not None:
            self.share, self.stage = 0.0, ""
            if run.handle is not None:
                run.handle.cancel()
            self.session.say(text, "warning")

    def _on_scene_closed(self) -> None:
        self._give_up(_("The scene was closed: the prediction was cancelled."))
        for run in self._unfinished:
            if run.handle is not None:
                run.handle.cancel()
        self._unfinished.clear()
        self._on_prediction(None)

    def _on_mammograms(self) -> None:
        if slicer.mrmlScene.IsClosing():
            return
        gone = _gone(self._run) if self._run is not None else []
        if gone:
            self._give_up(_removed_text(gone))
        self._find_outdated()
        self._warm()
        self.changed.emit()

    def _on_lesions(self, volume: Any) -> None:
        node = self.session.prediction_node()
        if self.prediction is not None and node is not None and volume in Predictions.volumes_of(node):
            self._find_outdated(volume)
        self._warm()
        self.changed.emit()

    def _on_model(self, path: str) -> None:
        self._warm()

    def _on_prediction(self, prediction: dict[str, Any] | None) -> None:
        self.prediction = prediction
        self._find_outdated()
        self.changed.emit()

    def _find_outdated(self, only: Any = None) -> None:
        node = self.session.prediction_node()
        if self.prediction is None or node is None:
            self._outdated = []
            return
        kept = [] if only is None else [name for name in self._outdated if name != only.GetName()]
        self._outdated = kept + outdated_views(node, self.prediction, only)

    def _warm(self) -> None:
        """Have an idle worker load the model as soon as there is something to predict, so that the click is quick.

        Only while the panel is open: who outlines and never predicts need not wait for it. And only until the worker
        has something else to do.
        """
        worker, model = self.session.worker, self.library.chosen
        if not self.is_open or worker.state != "ready" or model is None or self._run is not None:
            return
        wanted = (worker.pid, model.path, self.session.parameters.device)
        if wanted != self._warmed and any(view.taken for view in Views.views(self.session.parameters.mammogram)):
            self._warmed = wanted
            options = {"bundle": str(model.path), "device": wanted[2]}

            def nothing(message: Any) -> None:
                """What is wrong with the model is said when it is used."""

            def cancelled() -> None:
                self._warmed = ()

            self.session.submit("warm", options, done=nothing, failed=nothing, cancelled=cancelled, yields=True)


def clinical_values(text: str) -> dict[str, str]:
    """Values by name of a text such as ``age=54; density=c``.

    Raises
    ------
    SceneError
        If a part of it is none.
    """
    found = {}
    for part in text.replace(";", " ").replace(",", " ").split():
        name, sign, value = part.partition("=")
        if not (name and sign and value):
            told = _("The clinical values hold '{part}'. Write them such as age=54 density=c.")
            raise SceneError(told.format(part=part))
        found[name] = value
    return found


def outdated_views(node: Any, prediction: Mapping[str, Any], only: Any = None) -> list[str]:
    """Names of mammograms, all or one, whose outlines are other than when they were predicted, or that are gone."""
    found = []
    names = prediction.get("view_names") or []
    marks = prediction.get("outline_marks") or []
    for index, volume in enumerate(Predictions.volumes_of(node)):
        if only is not None and volume is not only:
            continue
        if not in_scene(volume):
            found.append(names[index] if index < len(names) else str(index + 1))
        elif index < len(marks) and Views.outline_mark(volume) != marks[index]:
            found.append(volume.GetName())
    return found


def view_name(prediction: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    """The name in the scene of the mammogram that an item is about."""
    names, index = prediction.get("view_names") or [], item["image_index"]
    return str(names[index] if index < len(names) else item["image"])


def _gone(run: _Run) -> list[str]:
    return [name for volume, name in zip(run.volumes, run.names, strict=True) if not in_scene(volume)]


def _removed_text(names: list[str]) -> str:
    text = _("{names} was removed while the prediction ran. Nothing was kept: predict again.")
    return text.format(names=", ".join(names))
