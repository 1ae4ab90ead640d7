"""Which Python the worker uses, what is missing in it, and getting it; without widgets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Setup.PackageInstall import (
    HELD,
    PackageInstaller,
    name_of,
    pip_arguments,
    read_requirements,
    to_install,
    why_failed,
)
from MolSubSlicerLib.Signal import Signal
from MolSubSlicerLib.Worker.WorkerProcess import WorkerProcess

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import JobHandle, Session


class SetupController:
    """What the Set-up panel does.

    Attributes
    ----------
    changed : Signal
        ``()``: anything that the panel shows.
    facts : dict or None
        Of the job ``environment``, for the worker's interpreter; None before the first answer.
    activity : str
        What is going on: empty, ``checking``, ``trying`` (another interpreter) or ``installing``.
    installer : PackageInstaller
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.changed = Signal()
        self.facts: dict[str, Any] | None = None
        self.activity = ""
        self.installer = PackageInstaller()
        self.installer.ended.connect(self._on_installed)
        self._check: JobHandle | None = None
        self._trial: WorkerProcess | None = None
        self._wheelhouse = ""
        session.worker.state_changed.connect(self._on_worker)

    # ---------------------------------------------------------------- what is there

    def check(self) -> None:
        """Ask the worker for its environment."""
        if self.activity:
            return
        self._set_activity("checking")
        self._check = self._session.submit(
            "environment",
            {"device": self._session.parameters.device},
            done=self._on_facts,
            failed=self._on_check_failed,
            cancelled=lambda: self._set_activity(""),
        )

    def _on_facts(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self._set_activity("")

    def _on_check_failed(self, message: str) -> None:
        self.facts = None
        self._set_activity("")
        self._session.say(message, "error")

    @property
    def uses_slicer_python(self) -> bool:
        """Whether the worker runs in Slicer's own interpreter."""
        return not Compat.setting("python")

    def rows(self) -> list[tuple[str, str]]:
        """The environment for people: name and value."""
        facts = self.facts
        if facts is None:
            return []
        none = _("none")
        kernel = facts.get("kernel_seconds")
        computed = none if kernel is None else _("passed in {seconds} s").format(seconds=f"{kernel:.3g}")
        memory = facts.get("memory_gib")
        own = _("Slicer's own") if self.uses_slicer_python else _("chosen by you")
        return [
            (_("Python"), f"{facts.get('python')} ({own})"),
            (_("Interpreter"), str(facts.get("executable"))),
            (_("PyTorch"), _with(facts.get("torch"), facts.get("torchvision"), "torchvision") or none),
            (_("CUDA build"), facts.get("cuda_build") or none),
            (_("NVIDIA driver"), facts.get("driver") or none),
            (_("Device"), _with(facts.get("device"), facts.get("device_name")) or none),
            (_("Memory"), none if memory is None else f"{memory} GiB"),
            (_("Threads"), str(facts.get("threads"))),
            (_("Test computation"), computed),
            (_("NumPy, pydicom, SimpleITK"), ", ".join(str(facts.get(name.casefold()) or none) for name in HELD)),
        ]

    def packages(self) -> list[str]:
        """Requirements of this module that the environment does not meet."""
        return to_install((self.facts or {}).get("missing", []), read_requirements())

    def held_too_old(self) -> list[str]:
        """Names of Slicer's own packages that are too old for the core: installing others does not help."""
        names = {name_of(each) for each in HELD}
        return [name_of(each) for each in (self.facts or {}).get("missing", []) if name_of(each) in names]

    def problems(self) -> list[tuple[str, str]]:
        """Problem and remedy of everything that the Install button does not mend."""
        mended = {name_of(each) for each in self.packages()}
        return [
            (each["problem"], each["remedy"])
            for each in (self.facts or {}).get("problems", [])
            if name_of(each["problem"].split(" ")[0]) not in mended
        ]

    def may_install(self) -> bool:
        """Whether installing into Slicer's Python makes sense now."""
        return bool(self.uses_slicer_python and self.packages() and not self.held_too_old() and not self.activity)

    def install_command(self) -> str:
        """What to type for an interpreter that is not Slicer's: this module installs nothing there."""
        if self.facts is None or self.uses_slicer_python or not self.facts.get("missing"):
            return ""
        needed = [*self.packages(), *(each for each in self.facts["missing"] if name_of(each) in self.held_too_old())]
        return shlex.join([str(self.facts["executable"]), "-m", "pip", "install", *needed])

    # ---------------------------------------------------------------- installing

    def install(self, wheelhouse: str = "", index: str = "") -> None:
        """Install what is missing into Slicer's Python; only ever on a click."""
        if not self.may_install():
            return
        if wheelhouse and not Path(wheelhouse).is_dir():
            text = _("The folder of wheels does not exist: {folder}. Choose another one, or leave it empty.")
            self._session.say(text.format(folder=wheelhouse), "error")
            return
        self._wheelhouse = wheelhouse
        self._session.worker.stop()  # Windows replaces no library that is loaded
        folder = self._session.new_folder("install")
        arguments = pip_arguments(self.packages(), self.facts or {}, folder, wheelhouse=wheelhouse, index=index)
        self._set_activity("installing")
        try:
            self.installer.start(arguments)
        except OSError as error:
            self._set_activity("")
            self._session.say(str(error), "error")

    def cancel_install(self) -> None:
        """End pip; what it had finished stays."""
        self.installer.cancel()

    def _on_installed(self, outcome: str) -> None:
        self._set_activity("")
        if outcome == "done":
            self._session.say(_("The packages are installed. The worker uses them at once."))
        elif outcome == "cancelled":
            self._session.say(_("The installation was cancelled. Press Install to go on."), "warning")
        else:
            self._session.say(why_failed(self.installer.lines, self._wheelhouse), "error")
        self.check()

    # ---------------------------------------------------------------- another Python

    def try_python(self, path: str) -> None:
        """Run a real computation in another interpreter, and use it if that went well."""
        if self.activity:
            return
        if not Path(path).is_file():
            text = _("There is no such interpreter: {path}. Choose the file python or python.exe of an environment.")
            self._session.say(text.format(path=path or _("(empty)")), "error")
            return
        from MolSubCore.worker.protocol import Request

        self._set_activity("trying")
        self._trial = WorkerProcess(lambda: path)
        request = Request("trial", "environment", {"device": self._session.parameters.device})
        self._trial.submit(request, lambda event: self._on_trial(path, event))

    def _on_trial(self, path: str, event: Any) -> None:
        if event.event not in ("done", "failed", "cancelled") or self._trial is None:
            return
        trial, self._trial = self._trial, None
        reason = trial.reason
        trial.stop()
        self._set_activity("")
        if event.event != "done":
            self._session.say(_refusal(path, trial.cause or reason or str(event.values.get("message"))), "error")
            return
        facts = event.values["result"]
        if facts.get("kernel_seconds") is None or facts.get("missing"):
            self._session.say(_refusal(path, _what_is_wrong(facts)), "error")
            return
        self.facts = facts
        self._use(path)

    def use_slicer_python(self) -> None:
        """Go back to Slicer's own interpreter."""
        if not self.uses_slicer_python and not self.activity:
            self.facts = None
            self._use("")
            self.check()

    def _use(self, path: str) -> None:
        Compat.set_setting("python", path)
        self._session.worker.stop()  # the next job starts the other one
        self._session.say(_("The worker uses {python}.").format(python=path or _("Slicer's own Python")))
        self.changed.emit()

    # ---------------------------------------------------------------- the rest

    def restart_worker(self) -> None:
        """Stop the worker, and start it anew."""
        self._session.worker.restart()

    def worker_text(self) -> str:
        """State of the worker, in words."""
        worker = self._session.worker
        return {
            "stopped": _("The worker is not running. It starts with the first job."),
            "starting": _("The worker is starting."),
            "ready": _("The worker is ready (process {pid}).").format(pid=worker.pid),
            "busy": _("The worker is working (process {pid}).").format(pid=worker.pid),
            "died": worker.reason,
        }[worker.state]

    def close(self) -> None:
        """End what runs."""
        self._session.worker.state_changed.disconnect(self._on_worker)
        self.installer.ended.clear()
        self.installer.line.clear()
        self.installer.cancel()
        if self._trial is not None:
            trial, self._trial = self._trial, None
            trial.stop()

    def _on_worker(self, state: str, reason: str) -> None:
        self.changed.emit()

    def _set_activity(self, activity: str) -> None:
        self.activity = activity
        self.changed.emit()


def _with(value: Any, other: Any, name: str = "") -> str:
    """A value, and a second one in brackets where there is one."""
    if not value:
        return ""
    return f"{value} ({f'{name} {other}'.strip()})" if other else str(value)


def _what_is_wrong(facts: dict[str, Any]) -> str:
    """The first problem of an interpreter, and how to mend all that is missing."""
    missing = facts.get("missing") or []
    if missing:
        command = shlex.join([str(facts["executable"]), "-m", "pip", "install", *missing])
        return _("It lacks {count} packages. Install them there with: {command}").format(
            count=len(missing), command=command
        )
    first = (facts.get("problems") or [{"problem": _("The test computation failed"), "remedy": ""}])[0]
    return f"{first['problem']}. {first['remedy']}."


def _refusal(path: str, reason: str) -> str:
    return _("{path} is not used. {reason}").format(path=path, reason=reason)
