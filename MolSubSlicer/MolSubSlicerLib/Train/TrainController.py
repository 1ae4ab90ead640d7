"""A training from its choices to its model: checked, started, followed, stopped, found again; without widgets."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Signal import Signal
from MolSubSlicerLib.Train.CurveChart import TrainingCurves
from MolSubSlicerLib.Train.TrainingProcess import TrainingProcess

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import JobHandle, Session


#: Milliseconds between two looks at a training.
INTERVAL = 500
_FOLDER, _AT_END = "training", "training-at-end"


class TrainController:
    """What the Train panel does.

    Attributes
    ----------
    changed : Signal
        ``()``.
    state : str
        ``none``, ``checking`` (the table), ``starting``, ``running``, ``stopping``, ``done``, ``failed``,
        ``cancelled`` or ``interrupted`` (the process is gone).
    problems : list of str
        Of the table, after a check.
    progress : dict
        The last event's values.
    curves : TrainingCurves
    result : dict or None
        Of the job ``train``.
    message : str
        Why it failed or was interrupted.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.changed = Signal()
        self._check: JobHandle | None = None
        self._process: TrainingProcess | None = None
        self._forget()
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL)
        self._timer.connect("timeout()", self.look)
        self._find_again()

    def _forget(self) -> None:
        self.state = "none"
        self.problems: list[str] = []
        self.progress: dict[str, Any] = {}
        self.curves = TrainingCurves()
        self.result: dict[str, Any] | None = None
        self.message = ""
        self._announced = False

    @property
    def running(self) -> bool:
        """Whether a process trains."""
        return self.state in ("starting", "running", "stopping")

    @property
    def resumable(self) -> bool:
        """Whether it can go on."""
        return self._process is not None and self.state in ("failed", "cancelled", "interrupted")

    # ---------------------------------------------------------------- starting

    def start(self, options: dict[str, Any]) -> None:
        """Check the table in the worker, and begin if it can be used.

        Parameters
        ----------
        options : dict
            Of the job ``train``, without ``run`` and ``library``.
        """
        if self.state == "checking" or self.running:
            return
        if not options.get("table"):
            self._session.say(_("There is no table. Choose the table of a cohort, or export one in Annotate."), "error")
            return
        self._process = None
        Compat.set_setting(_FOLDER, "")
        self._forget()
        self._set_state("checking")
        asked = {name: options[name] for name in ("table", "task", "folds")}
        self._check = self._session.submit(
            "check-cohort",
            asked,
            done=lambda report: self._on_checked(options, report),
            failed=self._on_check_failed,
            progress=self._on_check_progress,
            cancelled=lambda: self._set_state("none"),
        )

    def _on_check_progress(self, values: dict[str, Any]) -> None:
        self.progress = values
        self.changed.emit()

    def _on_check_failed(self, message: str) -> None:
        self._set_state("none")
        self._session.say(message, "error")

    def _on_checked(self, options: dict[str, Any], report: dict[str, Any]) -> None:
        self.problems = [_line_of(problem) for problem in report["problems"]]
        if not report["usable"]:
            self._set_state("none")
            text = _("The table has {count} problems. Fix them and try again.")
            self._session.say(text.format(count=len(self.problems)), "error")
            return
        folder = self._new_folder(str(options.get("name") or "training"))
        self._process = TrainingProcess(folder)
        options = {**options, "run": str(folder / "run"), "library": str(self._session.library)}
        self._launch(options)

    def _new_folder(self, name: str) -> Path:
        safe = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name)[:60]
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        return Compat.data_folder() / "training" / f"{safe}-{stamp}"

    def _launch(self, options: dict[str, Any]) -> None:
        process = self._process
        assert process is not None
        try:
            process.start(self._session.python(), options)
        except (OSError, ValueError) as error:
            self.message = str(error)
            self._set_state("failed")
            self._session.say(self.message, "error")
            return
        Compat.set_setting(_FOLDER, str(process.folder))
        self._timer.start()
        self._set_state("starting")

    # ---------------------------------------------------------------- following

    def _find_again(self) -> None:
        """A training that an earlier Slicer began."""
        folder = Compat.setting(_FOLDER)
        if not folder or not (Path(folder) / "request.json").is_file():
            return
        self._process = TrainingProcess(Path(folder))
        self.state = "starting"
        self._timer.start()
        self.look()

    def look(self, *_arguments: Any) -> None:
        """See what the process told since the last look."""
        process = self._process
        if process is None:
            return
        alive = process.is_running()  # before its events: its last words are not overheard
        try:
            events, more = process.new_events()
        except ValueError as error:
            self._timer.stop()
            self.message = str(error)
            self._set_state("failed")
            return
        for event in events:
            self._on_event(event)
        if not alive and not more:
            self._timer.stop()
            if self.running:
                self.state, self.message = "interrupted", process.why_ended()
        if self.state == "done" and not self._announced:
            self._announced = True
            self._session.library_changed.emit()
        if events or not alive:
            self.changed.emit()

    def _on_event(self, event: Any) -> None:
        values = event.values
        if event.event in ("ready", "started"):
            self.state = "running" if self.state != "stopping" else self.state
        elif event.event == "progress":
            self.progress = values
            self.curves.add(values)
            self.state = "running" if self.state != "stopping" else self.state
        else:  # the end; if it was resumed after that, further events follow
            self.state, self.message = event.event, str(values.get("message", ""))
            self.result = values.get("result") if event.event == "done" else None

    # ---------------------------------------------------------------- stopping, going on

    def cancel(self) -> None:
        """End the check, or the training at the next step; asked again, at once."""
        if self.state == "checking" and self._check is not None:
            self._check.cancel()
        elif self._process is not None and self.state == "stopping":
            self._process.kill()
        elif self._process is not None and self.running:
            self._process.ask_to_end()
            self._set_state("stopping")

    def resume(self) -> None:
        """Go on with a training that was stopped."""
        if self._process is None or not self.resumable:
            return
        try:
            options = self._process.options()
        except ValueError as error:
            self._session.say(str(error), "error")
            return
        self.message = ""
        self._launch(options)

    @property
    def goes_on(self) -> bool:
        """Whether the training goes on when Slicer is closed; else it is stopped, and can be resumed."""
        return Compat.setting(_AT_END, "go on") == "go on"

    @goes_on.setter
    def goes_on(self, value: bool) -> None:
        Compat.set_setting(_AT_END, "go on" if value else "stop")

    def close(self) -> None:
        """The module ends: stop the training if the user chose so."""
        self._timer.stop()
        if self._check is not None:
            self._check.cancel()
        if self._process is not None and self.running and not self.goes_on and not self._session.reloading:
            self._process.ask_to_end()

    # ---------------------------------------------------------------- for people

    def log(self) -> str:
        """The end of what the process printed."""
        return "" if self._process is None else self._process.log()

    def folder(self) -> Path | None:
        """The training's folder."""
        return None if self._process is None else self._process.folder

    def _set_state(self, state: str) -> None:
        self.state = state
        self.changed.emit()


def _line_of(problem: dict[str, Any]) -> str:
    """A problem of the table: row, column and text."""
    place = ", ".join(
        text.format(value=problem[name])
        for name, text in (("row", _("row {value}")), ("column", _("column {value}")))
        if problem.get(name)
    )
    return f"{place}: {problem['text']}" if place else str(problem["text"])


def duration(seconds: float) -> str:
    """A time span for people: two units at most."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return _("{seconds} s").format(seconds=round(seconds))
    if minutes < 60:
        return _("{minutes} min").format(minutes=minutes)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return _("{hours} h {minutes} min").format(hours=hours, minutes=minutes)
    return _("{days} d {hours} h").format(days=hours // 24, hours=hours % 24)


def progress_words(state: str, progress: Mapping[str, Any]) -> str:
    """What is being done, in a few words for the progress bar."""
    if state == "checking":
        return _("Checking the table")
    stages = {
        "reading": _("Reading the images"),
        "evaluating": _("Evaluating"),
        "exporting": _("Saving the model"),
    }
    if "epoch" in progress:
        text = _("Fold {fold} of {folds}, epoch {epoch} of {epochs}")
        words = text.format(**{name: progress.get(name) for name in ("fold", "folds", "epoch", "epochs")})
        return stages.get(str(progress.get("stage")), words)
    return stages.get(str(progress.get("stage")), _("Starting"))


def state_words(state: str, message: str, progress: Mapping[str, Any]) -> str:
    """How the training stands, in one or two sentences."""
    left = progress.get("seconds_left")
    going_on = _("Press Resume to go on from the last finished epoch.")
    if state == "running" and left is not None:
        return _("About {time} left.").format(time=duration(float(left)))
    return {
        "stopping": _("It stops after the present step. Nothing that was finished is lost."),
        "cancelled": _("The training was stopped.") + " " + going_on,
        "failed": _("The training failed: {message}").format(message=message) + " " + going_on,
        "interrupted": _("The training was interrupted.") + f" {message} " + going_on,
        "done": _("The training is finished."),
    }.get(state, "")


def evaluation_html(result: Mapping[str, Any] | None) -> str:
    """The finished model: where it is, and how well it did on the test set, with intervals."""
    if not result:
        return ""
    if "evaluation" not in result:
        missing = ", ".join(str(fold) for fold in result.get("missing", ()))
        return escape(_("Folds still to train: {folds}.").format(folds=missing))
    evaluation = result["evaluation"]
    level = evaluation["test"]["ensemble"]["patient"]
    title = _("Model {name} is in the library.").format(name=Path(str(result["bundle"])).name.removesuffix(".molsub"))
    subject = _("Test set, all folds together, {count} patients:").format(count=level["n_patients"])
    rows = "".join(
        f"<tr><td style='padding-right: 12px'>{escape(_title(name))}</td><td>{escape(_value(metric))}</td></tr>"
        for name, metric in level["metrics"].items()
    )
    synthetic = f"<p><b>{escape(_('Synthetic pictures: this says nothing about patients.'))}</b></p>"
    note = synthetic if evaluation.get("synthetic") else ""
    return f"<p><b>{escape(title)}</b></p>{note}<p>{escape(subject)}</p><table>{rows}</table>"


def _title(metric: str) -> str:
    return metric.upper() if metric in ("auc", "ppv", "npv") else metric[:1].upper() + metric[1:].replace("auc", "AUC")


def _value(metric: Mapping[str, Any]) -> str:
    if metric.get("value") is None:
        return _("undefined")
    if metric.get("low") is None:
        return f"{metric['value']:.2f}"
    text = _("{value} (95 % CI {low} to {high})")
    return text.format(**{name: f"{metric[name]:.2f}" for name in ("value", "low", "high")})
