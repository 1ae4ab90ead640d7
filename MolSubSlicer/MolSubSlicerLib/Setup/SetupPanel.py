"""The Set-up panel: Python, PyTorch and device of the worker, packages, the model library."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Setup.PackageInstall import name_of
from MolSubSlicerLib.Setup.SetupController import SetupController

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session

_DEVICES = ("auto", "cpu", "cuda")


class SetupPanel:
    """Widgets of the set-up."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.title = _("Set-up")
        self.controller = SetupController(session)
        self.widget, self.ui = Compat.load_ui("SetupPanel")
        for name in (_("Automatic"), _("Processor"), _("NVIDIA GPU")):
            self.ui.deviceCombo.addItem(name)
        self.ui.libraryPath.currentPath = Compat.setting("library")
        self.ui.pythonPath.currentPath = Compat.setting("python")
        self.ui.wheelhousePath.currentPath = Compat.setting("wheelhouse")
        self.ui.indexEdit.text = Compat.setting("index")
        self._connect()
        self.show()

    def _connect(self) -> None:
        ui = self.ui
        ui.checkButton.connect("clicked()", self.controller.check)
        ui.installButton.connect("clicked()", self._on_install)
        ui.usePythonButton.connect("clicked()", lambda: self.controller.try_python(ui.pythonPath.currentPath.strip()))
        ui.useSlicerButton.connect("clicked()", self.controller.use_slicer_python)
        ui.restartButton.connect("clicked()", self.controller.restart_worker)
        ui.deviceCombo.connect("activated(int)", self._on_device)
        ui.libraryPath.connect("currentPathChanged(QString)", self._on_library)
        self.controller.changed.connect(self.show)
        self.controller.installer.line.connect(ui.installLog.appendPlainText)
        self._session.parameters_changed.connect(self.show)

    def enter(self) -> None:
        """The user opened the module."""

    def exit(self) -> None:
        """The user left the module."""

    def opened(self) -> None:
        """The panel was unfolded: the environment is looked up the first time."""
        if self.controller.facts is None:
            self.controller.check()

    def cleanup(self) -> None:
        """The module ends."""
        self.controller.changed.clear()
        self._session.parameters_changed.disconnect(self.show)
        self.controller.close()

    # ---------------------------------------------------------------- clicks

    def _on_install(self, *_arguments: Any) -> None:
        if self.controller.activity == "installing":
            self.controller.cancel_install()
            return
        wheelhouse, index = self.ui.wheelhousePath.currentPath.strip(), self.ui.indexEdit.text.strip()
        Compat.set_setting("wheelhouse", wheelhouse)
        Compat.set_setting("index", index)
        self.ui.installLog.clear()
        self.controller.install(wheelhouse, index)

    def _on_device(self, index: int) -> None:
        self._session.parameters.device = _DEVICES[index]
        self.controller.check()

    def _on_library(self, path: str) -> None:
        folder = path.strip()
        if not folder or Path(folder).is_dir():  # not at every letter that is typed
            self._session.set_library(folder)
        self._show_library()

    # ---------------------------------------------------------------- what is shown

    def show(self) -> None:
        """Show the controller's state."""
        controller, ui = self.controller, self.ui
        busy = controller.activity
        self._show_environment()
        self._show_packages()
        for button in (ui.checkButton, ui.usePythonButton, ui.deviceCombo):
            button.enabled = not busy
        ui.useSlicerButton.enabled = not busy and not controller.uses_slicer_python
        ui.checkButton.text = _("Checking…") if busy == "checking" else _("Check again")
        ui.usePythonButton.text = _("Computing there…") if busy == "trying" else _("Check and use")
        device = self._session.parameters.device
        ui.deviceCombo.setCurrentIndex(_DEVICES.index(device) if device in _DEVICES else 0)
        ui.workerLabel.text = controller.worker_text()
        self._show_library()

    def _show_library(self) -> None:
        folder = self.ui.libraryPath.currentPath.strip()
        used = _("Models are looked for in {folder}.").format(folder=self._session.library)
        missing = _("This folder does not exist.") if folder and not Path(folder).is_dir() else ""
        self.ui.libraryLabel.text = f"{missing} {used}".strip()

    def _show_environment(self) -> None:
        rows = "".join(
            f"<tr><td style='padding-right: 12px'>{escape(name)}</td><td>{escape(value)}</td></tr>"
            for name, value in self.controller.rows()
        )
        if self.controller.activity == "checking" and not rows:
            rows = f"<tr><td>{escape(_('Looking…'))}</td></tr>"
        text = f"<table>{rows}</table>" if rows else escape(_("Not looked up yet. Press Check again."))
        self.ui.environmentLabel.text = text
        problems = [f"<p><b>{escape(p)}.</b> {escape(r)}.</p>" for p, r in self.controller.problems()]
        self.ui.problemsLabel.text = "".join(problems)
        self.ui.problemsLabel.setVisible(bool(problems))

    def _show_packages(self) -> None:
        controller, ui = self.controller, self.ui
        installing = controller.activity == "installing"
        ui.packagesLabel.text = self._packages_text()
        ui.installButton.text = _("Cancel") if installing else _("Install")
        ui.installButton.enabled = installing or controller.may_install()
        ui.installProgress.setVisible(installing)
        ui.installLog.setVisible(installing or bool(controller.installer.lines))
        for widget in (ui.wheelhousePath, ui.indexEdit):
            widget.enabled = not installing

    def _packages_text(self) -> str:
        controller = self.controller
        if controller.facts is None:
            return _("What is missing is known after a check.")
        missing = ", ".join(name_of(each) for each in controller.packages())
        held = ", ".join(f"{name} {controller.facts.get(name, '')}" for name in controller.held_too_old())
        if command := controller.install_command():
            return _("Nothing is installed into another environment from here. Type there: {command}").format(
                command=command
            )
        if held:
            return _(
                "Slicer's own {held} is too old for this module and is never replaced. Use a newer Slicer, or choose "
                "another Python environment below."
            ).format(held=held)
        if missing:
            return _("Missing: {names}. Slicer's own numpy, pydicom and SimpleITK stay as they are.").format(
                names=missing
            )
        return _("Nothing is missing.")
