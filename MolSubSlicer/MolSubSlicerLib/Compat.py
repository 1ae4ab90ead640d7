"""What differs between Slicer's versions, and where things are: resources, the core, the interpreters, the settings."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

_SETTINGS = "MolSubSlicer"
#: Set by Slicer's launcher for its own interpreter; another one breaks with them.
_OWN_VARIABLES = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP")


def module_folder() -> Path:
    """The folder of MolSubSlicer.py."""
    return Path(__file__).resolve().parent.parent


def resource(name: str) -> Path:
    """A file in the module's folder Resources."""
    return module_folder() / "Resources" / name


def core_folder() -> Path:
    """The folder that holds MolSubCore: beside the module where it is installed, the checkout's root otherwise.

    Raises
    ------
    FileNotFoundError
        If it is in neither place.
    """
    for folder in (module_folder(), module_folder().parent):
        if (folder / "MolSubCore" / "__init__.py").is_file():
            return folder
    raise FileNotFoundError(_("The library MolSubCore is not beside the module. Install the extension again."))


def ensure_core() -> None:
    """Make MolSubCore importable; at the end of the path, so that it hides nothing of Slicer's."""
    folder = str(core_folder())
    if folder not in sys.path:
        sys.path.append(folder)


def load_ui(name: str) -> tuple[Any, Any]:
    """A panel's widget from Resources/UI/`name`.ui, and its named children as attributes."""
    widget = slicer.util.loadUI(str(resource(f"UI/{name}.ui")))
    widget.setMRMLScene(slicer.mrmlScene)
    return widget, slicer.util.childWidgetVariables(widget)


def slicer_python() -> str:
    """Slicer's own interpreter.

    Raises
    ------
    FileNotFoundError
        If it is not found.
    """
    home = Path(slicer.app.slicerHome, "bin")
    for name in ("PythonSlicer", str(home / "PythonSlicer")):
        if found := shutil.which(name):
            return found
    if Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    problem = _("Slicer's Python is not found: there is no PythonSlicer in {folder}. Install Slicer again.")
    raise FileNotFoundError(problem.format(folder=home))


def is_slicer_python(python: str) -> bool:
    """Whether an interpreter is Slicer's own."""
    try:
        return Path(python).samefile(slicer_python())
    except OSError:
        return False


def process_environment(python: str) -> Any:
    """Environment of a child process that imports MolSubCore, as a QProcessEnvironment.

    Slicer's libraries and Python paths are left out for an interpreter that is not Slicer's.
    """
    if is_slicer_python(python):
        environment = qt.QProcessEnvironment.systemEnvironment()
    else:
        environment = slicer.app.startupEnvironment()
        for name in _OWN_VARIABLES:
            environment.remove(name)
    kept = environment.value("PYTHONPATH", "")
    environment.insert("PYTHONPATH", os.pathsep.join(filter(None, (str(core_folder()), kept))))
    environment.insert("PYTHONUTF8", "1")
    environment.insert("PYTHONUNBUFFERED", "1")
    return environment


def setting(name: str, default: str = "") -> str:
    """A setting of the module, as text."""
    value = slicer.app.userSettings().value(f"{_SETTINGS}/{name}", default)
    return default if value is None else str(value)


def set_setting(name: str, value: str) -> None:
    """Keep a setting of the module; an empty text forgets it."""
    settings = slicer.app.userSettings()
    if value:
        settings.setValue(f"{_SETTINGS}/{name}", value)
    else:
        settings.remove(f"{_SETTINGS}/{name}")


def data_folder() -> Path:
    """The user's folder for data of MolSub; the same that the core finds with platformdirs, which Slicer lacks."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "MolSub"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "MolSub"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "MolSub"


def library_folder() -> Path:
    """The model library unless another folder is chosen; the same as the core's."""
    return Path(os.environ.get("MOLSUB_MODELS") or data_folder() / "models")


def forget_modules() -> None:
    """Drop the module's parts and the core, so that a reload reads them again."""
    for name in list(sys.modules):
        if name.split(".")[0] in ("MolSubSlicerLib", "MolSubCore"):
            del sys.modules[name]
