"""The report of the prediction that is shown, as HTML and PDF."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MolSubSlicerLib.Load import Views
from MolSubSlicerLib.Load.LoadController import stage_text
from MolSubSlicerLib.Predict.ModelCard import Model
from MolSubSlicerLib.Predict.PredictController import outdated_views
from MolSubSlicerLib.Scene import Predictions
from MolSubSlicerLib.Scene.Nodes import SceneError
from MolSubSlicerLib.Signal import Signal

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import JobHandle, Session


class ReportController:
    """What the Report panel does, without widgets.

    Attributes
    ----------
    changed : Signal
        (): a report began, went on or ended.
    share : float
        How much of it is done, 0 to 1.
    stage : str
    written : dict
        ``folder``, ``html`` and ``pdf`` of the last report of this prediction; empty before.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.changed = Signal()
        self.share, self.stage = 0.0, ""
        self.written: dict[str, str] = {}
        self._handle: JobHandle | None = None
        self._number = 0
        session.prediction_changed.connect(self._on_prediction)
        session.scene_closed.connect(self._on_scene_closed)

    def cleanup(self) -> None:
        """Cancel what runs, and let go of the session."""
        self.cancel()
        self.session.prediction_changed.disconnect(self._on_prediction)
        self.session.scene_closed.disconnect(self._on_scene_closed)

    @property
    def running(self) -> bool:
        """Whether a report is being written."""
        return self._handle is not None

    @property
    def available(self) -> bool:
        """Whether there is a prediction to report."""
        return self.session.prediction_node() is not None

    def write(self, folder: str, *, identified: bool, classes: str) -> None:
        """Write a report into a new folder below `folder`.

        Parameters
        ----------
        folder : str
        identified : bool
            Whether it names the patient, the examination and the files.
        classes : {'predicted', 'all'}
            Of which classes it shows heatmaps.
        """
        if self.running:
            return
        try:
            options = self._options(folder)
        except SceneError as error:
            self.session.say(str(error), "error")
            return
        except OSError as error:
            self.session.say(Views.disk_text(error), "error")
            return
        self.session.say("")
        self.share, self.stage, self.written = 0.0, _("Starting"), {}
        self._number += 1
        options |= {"identified": identified, "classes": classes}
        self._find_model(self._number, options)
        self.changed.emit()

    def _find_model(self, number: int, options: dict[str, Any]) -> None:
        """The model of the prediction, by its content: its file may have another name or place by now."""
        node = self.session.prediction_node()
        known = Predictions.prediction_of(node).get("model") or {}

        def done(result: Mapping[str, Any]) -> None:
            if number != self._number or not self.running:
                return
            models = [Model(Path(entry["path"]), entry["card"]) for entry in result["bundles"]]
            model = next((model for model in models if model.is_of(known)), None)
            if model is None:
                text = _("The model of this prediction ({name}) is not in the library any more. Import it again.")
                self._end(number, text.format(name=known.get("name") or _("unnamed")), "error")
            else:
                self._submit(number, "report", {**options, "bundle": str(model.path)}, self._on_done)

        self._submit(
            number, "library-list", {"folder": str(self.session.library)}, lambda _number, result: done(result)
        )

    def _submit(self, number: int, job: str, options: Mapping[str, Any], done: Callable[[int, Any], None]) -> None:
        self._handle = self.session.submit(
            job,
            options,
            done=lambda result: done(number, result),
            failed=lambda message: self._end(number, message, "error"),
            progress=lambda values: self._on_progress(number, values),
            cancelled=lambda: self._end(number, _("The report was cancelled. No file was left behind."), "info"),
        )

    def cancel(self) -> None:
        """Cancel the report that is being written."""
        if self._handle is not None:
            self.stage = _("Cancelling")
            self._handle.cancel()
            self.changed.emit()

    def _options(self, folder: str) -> dict[str, Any]:
        node = self.session.prediction_node()
        if node is None:
            raise SceneError(_("There is no prediction to report. Predict first."))
        prediction = Predictions.prediction_of(node)
        changed = outdated_views(node, prediction)
        if changed:
            text = _("{names} was changed or removed after the prediction. Predict again, then write the report.")
            raise SceneError(text.format(names=", ".join(changed)))
        if not folder.strip():
            raise SceneError(_("No folder is chosen. Choose where the report goes."))
        place = Path(folder.strip()).expanduser()
        if not place.is_dir():
            raise SceneError(_("The folder {folder} does not exist. Choose another.").format(folder=place))
        masks = self.session.new_folder("report")
        images, notes = Views.write_images(self.session, Predictions.volumes_of(node), masks)
        return {
            "images": images,
            "notes": notes,
            "clinical": prediction.get("clinical") or {},
            "same_patient": Views.same_patient(Predictions.volumes_of(node), images),
            "out": str(_free(place / time.strftime("MolSub report %Y-%m-%d %H-%M-%S"))),
            "device": self.session.parameters.device,
        }

    def _on_progress(self, number: int, values: Mapping[str, Any]) -> None:
        if number == self._number and self.running:
            self.share, self.stage = float(values.get("done") or 0.0), stage_text(values)
            self.changed.emit()

    def _on_done(self, number: int, result: Mapping[str, str]) -> None:
        if number == self._number and self.running:
            self.written = dict(result)
        self._end(number, _("The report was written."), "info")

    def _end(self, number: int, text: str, kind: Any) -> None:
        if number != self._number or not self.running:
            return
        self._handle, self.share, self.stage = None, 0.0, ""
        self.session.say(text, kind)
        self.changed.emit()

    def _on_prediction(self, prediction: dict[str, Any] | None) -> None:
        self.written = {}
        self.changed.emit()

    def _on_scene_closed(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            handle.cancel()
            self.session.say(_("The scene was closed: the report was cancelled."), "warning")
        self._on_prediction(None)


def _free(path: Path) -> Path:
    """The path, or one beside it that is not taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name} ({number})")
    return free
