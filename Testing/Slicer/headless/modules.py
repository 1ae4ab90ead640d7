"""Module objects, the module manager, and the loading of scripted modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .signals import Emitter


class Module:
    """What a module object in `slicer.modules` offers."""

    def __init__(self, name: str, logic: Any = None, path: str = "") -> None:
        self.name, self.path = name, path
        self.title = name
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.helpText = self.acknowledgementText = ""
        self.icon = QtGui.QIcon()
        self.hidden, self.index = False, -1
        self._logic = logic
        self._widget: Any = None

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> Any:
        """The module's panel, made when it is first asked for."""
        if self._widget is None and self.path:
            self._widget = _make_widget(self)
        return self._widget


class ModuleManager(Emitter):
    """What qSlicerModuleManager offers."""

    SIGNATURES = ("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)", "moduleUnloaded(QString)")

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Module] = {}

    def add(self, module: Module) -> Module:
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        setattr(slicer.moduleNames, module.name, module.name)
        return module

    def module(self, name: str) -> Module | None:
        return self._modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self._modules)


def load_scripted_module(path: Path | str) -> Module:
    """Load a scripted module as Slicer does: its folder on sys.path, its class called with the module object."""
    path = Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    source = _import(name, path)
    module = slicer.app.moduleManager().add(Module(name, None, str(path)))
    setattr(slicer.modules, f"{name}Instance", getattr(source, name)(module))
    slicer.app.moduleManager().moduleLoaded.emit(name)
    return module


def _import(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    spec.loader.exec_module(source)
    return source


def _make_widget(module: Module) -> Any:
    holder = slicer.qSlicerScriptedLoadableModuleWidget()
    holder.setObjectName(f"{module.name}ModuleWidget")
    holder.setLayout(QtWidgets.QVBoxLayout())
    holder.setMRMLScene(slicer.mrmlScene)
    widget = getattr(sys.modules[module.name], f"{module.name}Widget")(holder)
    holder._python = widget
    setattr(slicer.modules, f"{module.name}Widget", widget)
    widget.setup()
    return holder


def unload(module: Module) -> None:
    """Take a module's panel down, as at the application's end."""
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(module.name)
    if module._widget is not None:
        module._widget.setMRMLScene(None)
        module._widget.deleteLater()
        module._widget = None
    slicer.app.processEvents()
    # No event loop ends here, after which Qt would delete: selectors that stay listen to the scene for ever.
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
