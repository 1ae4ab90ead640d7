"""`slicer.app`, `slicer.modules` and the scene: everything put together in the order Slicer needs."""

from __future__ import annotations

import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtWidgets

from .fileio import CoreIOManager
from .hierarchy import keep_subject_hierarchy
from .layout import LayoutManager
from .modules import Module, ModuleManager
from .signals import Emitter

_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
}


class Application(Emitter):
    """What qSlicerApplication offers a scripted module."""

    SIGNATURES = ("startupCompleted()", "renderPaused(bool)", "lastWindowClosed()", "aboutToQuit()")
    applicationName, majorVersion, minorVersion, revision = "Slicer", 5, 12, "0"
    applicationVersion = "5.12.3"
    documentationBaseUrl = ""

    def __init__(self) -> None:
        super().__init__()
        self.temporaryPath = tempfile.mkdtemp(prefix="Slicer-")
        self.slicerHome = self.temporaryPath
        self.slicerSharePath = "share"
        self.extensionsInstallPath = f"{self.temporaryPath}/extensions"
        self._logics: dict[str, Any] = {}
        self._settings = self._make_settings()
        slicer.app = self
        self._make_scene()
        self._module_manager = ModuleManager()
        self._make_logics()
        self._io = CoreIOManager(self._logics)
        keep_subject_hierarchy(slicer.mrmlScene)
        self._layout_manager = LayoutManager(self._application_logic)
        self._layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
        self._window = _main_window()

    def _make_settings(self) -> QtCore.QSettings:
        ini = QtCore.QSettings.Format.IniFormat
        QtCore.QSettings.setDefaultFormat(ini)
        QtCore.QSettings.setPath(ini, QtCore.QSettings.Scope.UserScope, self.temporaryPath)
        QtCore.QSettings.setPath(ini, QtCore.QSettings.Scope.SystemScope, self.temporaryPath)
        return QtCore.QSettings()

    def _make_scene(self) -> None:
        scene = slicer.mrmlScene = slicer.vtkMRMLScene()
        scene.RegisterNodeClass(slicer.vtkMRMLCommandLineModuleNode())
        scene.SetRootDirectory(self.temporaryPath)
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)
        logic = self._application_logic = slicer.vtkSlicerApplicationLogic()
        logic.SetTemporaryPath(self.temporaryPath)
        logic.SetHomeDirectory(self.temporaryPath)
        logic.SetShareDirectory(self.slicerSharePath)
        Path(self.temporaryPath, self.slicerSharePath, "ColorFiles").mkdir(parents=True)
        logic.SetMRMLScene(scene)
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        cache = Path(self.temporaryPath, "cache")
        cache.mkdir()
        (cache / ".slicer-cache").touch()  # without it the cache manager warns and refuses to clean up
        self._remote.GetCacheManager().SetRemoteCacheDirectory(str(cache))
        self._data = slicer.vtkDataIOManagerLogic()
        self._data.SetMRMLApplicationLogic(logic)
        self._data.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        logic.SetMRMLSceneDataIO(scene, self._remote, self._data)
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(logic)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)

    def _make_logics(self) -> None:
        slicer.modules = types.ModuleType("slicer.modules")
        slicer.moduleNames = types.ModuleType("slicer.moduleNames")
        sys.modules["slicer.modules"] = slicer.modules
        slicer.modules.dicomPlugins = {}
        for name, class_name in _LOGICS.items():
            logic = self._logics[name] = getattr(slicer, class_name)()
            logic.SetMRMLApplicationLogic(self._application_logic)  # before the scene: colours need the share folder
            logic.SetMRMLScene(slicer.mrmlScene)
            self._application_logic.SetModuleLogic(name, logic)
            self._module_manager.add(Module(name, logic))
        self._application_logic.SetColorLogic(self._logics["Colors"])

    # -- what a module asks for ---------------------------------------------------------------
    def applicationLogic(self) -> Any:
        return self._application_logic

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def coreIOManager(self) -> CoreIOManager:
        return self._io

    ioManager = coreIOManager

    def layoutManager(self) -> LayoutManager:
        return self._layout_manager

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def moduleLogic(self, name: str) -> Any:
        return self._application_logic.GetModuleLogic(name)

    def settings(self) -> QtCore.QSettings:
        return self._settings

    userSettings = revisionUserSettings = settings

    def dicomDatabase(self) -> Any:
        return slicer.dicomDatabase

    def mainWindow(self) -> QtWidgets.QMainWindow:
        return self._window

    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        return QtWidgets.QApplication.topLevelWidgets()

    def testingEnabled(self) -> bool:
        """False: in testing mode slicer.util would answer every question itself with yes."""
        return False

    def commandOptions(self) -> Any:
        return types.SimpleNamespace(noMainWindow=False, testingEnabled=False)

    def processEvents(self, *_: Any) -> None:
        QtWidgets.QApplication.processEvents()

    def setOverrideCursor(self, cursor: Any) -> None:
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()

    def pauseRender(self) -> None:
        """Pictures are drawn when they are asked for."""

    resumeRender = pauseRender

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def environment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def palette(self) -> Any:
        return QtWidgets.QApplication.palette()

    def clipboard(self) -> Any:
        return QtWidgets.QApplication.clipboard()

    def moduleDocumentationUrl(self, name: str) -> str:
        return ""

    def translate(self, context: str, text: str) -> str:
        return text


class ModuleSelector:
    """What the toolbar's module selector offers; for tests it remembers which module was asked for."""

    selectedModule = ""

    def selectModule(self, name: str) -> None:
        self.selectedModule = name


class MainWindow(QtWidgets.QMainWindow):
    """Slicer's main window, with its module selector."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = ModuleSelector()

    def moduleSelector(self) -> ModuleSelector:
        return self._selector


def _main_window() -> QtWidgets.QMainWindow:
    window = MainWindow()
    window.setObjectName("qSlicerMainWindow")
    window.resize(500, 900)
    return window
