"""What the panels share: parameters, the worker, folders, and who is told of what."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Parameters import MolSubParameters
from MolSubSlicerLib.Signal import Signal
from MolSubSlicerLib.Worker.WorkerProcess import WorkerProcess

Kind = Literal["info", "warning", "error"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class JobHandle:
    """A job that was given to the worker.

    Attributes
    ----------
    id : str
    state : str
        ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
    """

    def __init__(self, name: str, cancel: Callable[[str], None]) -> None:
        self.id = name
        self.state: JobState = "queued"
        self._cancel = cancel

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "failed", "cancelled")

    def cancel(self) -> None:
        """End the job; it is ``cancelled`` at the latest when the worker was killed, 1.5 s later."""
        if not self.ended:
            self._cancel(self.id)


class Session:
    """What panels share.

    Attributes
    ----------
    parameters : MolSubParameters
        Renewed after a scene was closed or imported: do not keep it.
    worker : WorkerProcess
        Started by the first job.
    folder : Path
        For results; removed at the end.
    messages : Signal
        ``(text, kind)``, kind being ``info``, ``warning`` or ``error``.
    mammograms_changed : Signal
        ``()``: a mammogram was added, removed or chosen.
    lesions_changed : Signal
        ``(volume_node)``.
    prediction_changed : Signal
        ``(prediction or None)``.
    maps_completed : Signal
        ``(prediction_id)``: the maps of all classes of a prediction are there, or will not come.
    library_changed : Signal
        ``()``: a model was added or removed, or another folder chosen.
    model_changed : Signal
        ``(path)``: another model was chosen; empty for none.
    table_written : Signal
        ``(path)``: the table of a cohort that a worklist exported.
    parameters_changed : Signal
        ``()``: `parameters` is another one.
    scene_closed : Signal
        ``()``.
    reloading : bool
        Whether the module ends only to begin again at once.
    results : dict
        Predictions of this session whole, with the files of their maps, by their identifiers in the scene; with
        ``unfinished`` while the maps of further classes are made.
    """

    def __init__(self, parameter_node: Callable[[], Any]) -> None:
        Compat.ensure_core()
        self._parameter_node = parameter_node
        self._numbers = itertools.count(1)
        self.parameters = MolSubParameters(parameter_node())  # type: ignore[call-arg]  # of the wrapper
        self.worker = WorkerProcess(self.python)
        self.folder = Path(tempfile.mkdtemp(prefix="MolSub-"))
        self.messages, self.mammograms_changed, self.lesions_changed = Signal(), Signal(), Signal()
        self.prediction_changed, self.library_changed, self.table_written = Signal(), Signal(), Signal()
        self.parameters_changed, self.scene_closed, self.model_changed = Signal(), Signal(), Signal()
        self.maps_completed = Signal()
        self.reloading = False
        self.results: dict[str, dict[str, Any]] = {}
        self._told: str | None = None
        self._closed = False
        self.mammograms_changed.connect(self.follow_patient)
        self.scene_closed.connect(self.results.clear)

    @property
    def library(self) -> Path:
        """The folder of the models."""
        return Path(Compat.setting("library") or Compat.library_folder())

    def set_library(self, folder: str) -> None:
        """Choose the folder of the models; an empty text is the usual one."""
        if Path(folder or Compat.library_folder()) != self.library:
            Compat.set_setting("library", folder)
            self.library_changed.emit()

    def python(self) -> str:
        """The worker's interpreter: the one chosen in Set-up, or Slicer's own."""
        return Compat.setting("python") or Compat.slicer_python()

    def renew_parameters(self) -> None:
        """Find the parameter node again, after a scene was closed or imported."""
        self.parameters = MolSubParameters(self._parameter_node())  # type: ignore[call-arg]
        self.parameters_changed.emit()

    def prediction_node(self) -> Any:
        """The prediction to be shown: the newest one on images of the chosen mammogram's patient; or None."""
        from MolSubSlicerLib.Scene import Patients, Predictions
        from MolSubSlicerLib.Scene.Nodes import in_scene

        chosen = self.parameters.mammogram
        if in_scene(chosen):
            return Predictions.latest(chosen)
        return Predictions.latest() if len(Patients.groups()) < 2 else None

    def tell_prediction(self) -> None:
        """Tell everybody of `prediction_node`: as it came from the worker, else as the scene has it."""
        from MolSubSlicerLib.Scene import Predictions

        node = self.prediction_node()
        if node is None:
            self._told = None
            self.prediction_changed.emit(None)
            return
        self._told = Predictions.id_of(node)
        self.prediction_changed.emit(self.results.get(self._told) or Predictions.prediction_of(node))

    def follow_patient(self) -> None:
        """Another patient's mammogram was chosen, or one was removed: the result is of the patient that is chosen."""
        from MolSubSlicerLib.Scene import Predictions

        node = self.prediction_node()
        if (None if node is None else Predictions.id_of(node)) != self._told:
            self.tell_prediction()

    def say(self, text: str, kind: Kind = "info") -> None:
        """Show a sentence in the message line; an empty text clears it."""
        self.messages.emit(text, kind)

    def new_folder(self, prefix: str) -> Path:
        """A new folder for results."""
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.folder))

    def submit(
        self,
        job: str,
        options: Mapping[str, Any],
        *,
        done: Callable[[Any], None],
        failed: Callable[[str], None] | None = None,
        progress: Callable[[dict[str, Any]], None] | None = None,
        cancelled: Callable[[], None] | None = None,
        yields: bool = False,
    ) -> JobHandle:
        """Have the worker do a job.

        Parameters
        ----------
        job, options : str, mapping
            A name in `MolSubCore.worker.worker.JOBS`, and its JSON-ready options.
        done, failed, progress, cancelled : callable
            ``done(result)``; ``failed(message)``, by default the message line shows it; ``progress(values)``, where
            ``values["done"]`` is the share, 0 to 1; ``cancelled()``.
        yields : bool
            Cancel this job as soon as another one is submitted.
        """
        from MolSubCore.worker.protocol import Request

        handle = JobHandle(str(next(self._numbers)), self.worker.cancel)
        told: dict[str, Callable[[dict[str, Any]], None]] = {
            "done": lambda values: done(values.get("result")),
            "failed": lambda values: (failed or self._say_failure)(str(values.get("message", ""))),
            "cancelled": lambda values: cancelled() if cancelled else None,
            "progress": lambda values: progress(values) if progress else None,
        }
        self.worker.submit(Request(handle.id, job, dict(options)), self._listener(handle, told), yields=yields)
        return handle

    def _listener(
        self, handle: JobHandle, told: Mapping[str, Callable[[dict[str, Any]], None]]
    ) -> Callable[[Any], None]:
        def listen(event: Any) -> None:
            handle.state = "running" if event.event in ("started", "progress") else event.event
            if event.event in told and not self._closed:
                told[event.event](event.values)

        return listen

    def close(self) -> None:
        """End the worker and remove the folder; nobody is told of anything any more."""
        self._closed = True
        for each in (
            self.messages, self.mammograms_changed, self.lesions_changed, self.prediction_changed,
            self.library_changed, self.model_changed, self.parameters_changed, self.scene_closed, self.maps_completed,
        ):  # fmt: skip
            each.clear()
        self.worker.state_changed.clear()
        self.worker.stop(wait=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _say_failure(self, message: str) -> None:
        self.say(message or _("The job failed without a reason."), "error")
