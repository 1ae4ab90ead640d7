"""Stand-ins for ScriptedLoadableModule and its kin, and for slicer.i18n."""

from __future__ import annotations

import importlib
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtGui, QtWidgets


class ScriptedLoadableModule:
    """Describes a module to the application, through its parent's attributes."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = parent.acknowledgementText = ""
        icons = (Path(self.resourcePath(f"Icons/{self.moduleName}{ending}")) for ending in (".svg", ".png"))
        icon = next((path for path in icons if path.is_file()), None)
        if icon is not None:
            parent.icon = QtGui.QIcon(str(icon))
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        url = slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information, see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **options: Any) -> None:
        test_class = getattr(importlib.import_module(type(self).__module__), f"{self.moduleName}Test")
        test = test_class()
        test.messageDelay = msec
        test.runTest(**options)


class ScriptedLoadableModuleWidget:
    """The module's panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent or _standalone_parent()
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._about_to_be_unloaded)

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Slicer adds its Reload and Test buttons here, in developer mode."""
        if self.developerMode:
            self.reloadButton = QtWidgets.QPushButton("Reload")
            self.reloadButton.setObjectName("ReloadButton")
            self.reloadButton.clicked.connect(lambda: self.onReload())
            self.layout.addWidget(self.reloadButton)

    def cleanup(self) -> None:
        pass

    def _about_to_be_unloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._about_to_be_unloaded)

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)


def _standalone_parent() -> Any:
    parent = slicer.qMRMLWidget()
    parent.setLayout(QtWidgets.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    return parent


class ScriptedLoadableModuleLogic:
    """The module's computation, with its parameter node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)
                return node
        elif self.getAllParameterNodes():
            return self.getAllParameterNodes()[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's self test."""

    messageDelay = 0

    def runTest(self, **options: Any) -> None:
        for name in sorted(n for n in dir(self) if n.startswith("test_")):
            self.setUp()
            getattr(self, name)()
            self.tearDown()

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        slicer.util.delayDisplay(message, 0)


def translate(context: str, text: str) -> str:
    """The text itself: no language is installed."""
    return text


def tr(text: str) -> str:
    """The text itself: no language is installed."""
    if not isinstance(text, str):
        raise TypeError(f"only texts are translated, not {type(text).__name__}")
    return text


def install() -> None:
    """Make the modules slicer.ScriptedLoadableModule and slicer.i18n."""
    from . import parameternode, validators

    scripted = types.ModuleType("slicer.ScriptedLoadableModule", "Stand-in for Slicer's scripted module classes.")
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    for cls in classes:
        setattr(scripted, cls.__name__, cls)
    scripted.__all__ = [cls.__name__ for cls in classes]
    i18n = types.ModuleType("slicer.i18n", "Stand-in for Slicer's translation.")
    i18n.tr, i18n.translate = tr, translate
    wrapper = parameternode.install()
    for name, module in (("ScriptedLoadableModule", scripted), ("i18n", i18n), ("parameterNodeWrapper", wrapper)):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    sys.modules["slicer.parameterNodeWrapper.validators"] = validators
