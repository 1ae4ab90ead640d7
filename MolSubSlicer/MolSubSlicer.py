"""MolSubSlicer: molecular subtypes of breast cancer from mammograms, in 3D Slicer. Research use only."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

#: The panels from top to bottom, each with the folder of its feature; the first is open at the beginning.
PANELS = {
    "LoadPanel": "Load",
    "AnnotatePanel": "Annotate",
    "PredictPanel": "Predict",
    "HeatmapPanel": "Heatmaps",
    "ReportPanel": "Report",
    "TrainPanel": "Train",
    "SetupPanel": "Setup",
}

#: Pixels that a section's frame takes of its width: what a style gives at most.
_FRAME = 26


class MolSubSlicer(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MolSub")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        parent.dependencies = []
        parent.contributors = ["The MolSubSlicer developers"]
        parent.helpText = _(
            "Molecular subtypes of breast cancer from mammograms: load the views, outline the lesion, predict, see "
            "where the model looked, train your own model. Research use only. Not a medical device."
        )
        parent.acknowledgementText = _("After the DenseNet121-CBAM study of molecular subtypes on mammograms.")
        _offer_in_dicom_browser()
        slicer.app.connect("startupCompleted()", self.on_started_up)

    def on_started_up(self) -> None:
        """Offer the synthetic case in the module Sample Data, and have saved scenes open in their layout."""
        from MolSubSlicerLib.Load import SampleCase
        from MolSubSlicerLib.Scene import Hanging

        SampleCase.register()
        Hanging.prepare()


def _offer_in_dicom_browser() -> None:
    try:  # Slicer may be built without DICOM
        from MolSubSlicerLib.Load.DICOMMammographyPlugin import DICOMMammographyPluginClass
    except ImportError as error:
        logging.info("MolSubSlicer: mammograms are not offered in the DICOM browser: %s", error)
        return
    if not hasattr(slicer.modules, "dicomPlugins"):
        slicer.modules.dicomPlugins = {}
    slicer.modules.dicomPlugins["DICOMMammographyPlugin"] = DICOMMammographyPluginClass


class MolSubSlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Banner, message line, and the panels."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: MolSubSlicerLogic | None = None
        self.session: Any = None
        self.keeper: Any = None
        self.panels: dict[str, Any] = {}
        self.buttons: dict[str, Any] = {}
        self._width = 0

    def setup(self) -> None:
        """Make the widgets; nothing is computed and no process is started."""
        ScriptedLoadableModuleWidget.setup(self)
        from MolSubSlicerLib.Scene import Hanging, HeatmapDisplay
        from MolSubSlicerLib.Scene.SceneKeeper import SceneKeeper
        from MolSubSlicerLib.Session import Session
        from MolSubSlicerLib.Widgets import Header

        self.logic = MolSubSlicerLogic()
        self.keeper = SceneKeeper()  # first: panels look at a scene that is in order
        self.session = Session(self.logic.getParameterNode)
        header = Header(self.layout)
        self.banner, self.message, self.show_message = header.banner, header.message, header.show
        self._add_area()
        for name in PANELS:
            self._add_panel(name)
        self.column.addStretch(1)
        self.area.verticalScrollBar().connect("rangeChanged(int,int)", lambda *_range: self._widen())  # parts appear
        self.session.messages.connect(self.show_message)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        Hanging.restore()  # a scene may have been opened before the module
        HeatmapDisplay.refresh_all()
        self._tell_of_scene()

    def _add_area(self) -> None:
        """The panels scroll below the banner, which is always seen."""
        body, self.area = qt.QWidget(), qt.QScrollArea()
        self.column = qt.QVBoxLayout(body)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.area.setWidget(body)
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(qt.QFrame.NoFrame)
        self.layout.addWidget(self.area, 1)

    def _add_panel(self, name: str) -> None:
        panel = self.panels[name] = getattr(import_module(f"MolSubSlicerLib.{PANELS[name]}.{name}"), name)(self.session)
        button = self.buttons[name] = ctk.ctkCollapsibleButton()
        button.text = panel.title
        button.objectName = f"{name}Button"
        qt.QVBoxLayout(button).addWidget(panel.widget)
        button.collapsed = len(self.panels) > 1
        button.connect("contentsCollapsed(bool)", lambda collapsed: self._on_folded(panel, bool(collapsed)))
        self.column.addWidget(button)

    def _on_folded(self, panel: Any, folded: bool) -> None:
        """Tell panels that look something up only when they are seen; what is unfolded is seen in its whole width."""
        slot = getattr(panel, "folded" if folded else "opened", None)
        if slot is not None:
            slot()
        self._widen()

    def _widen(self) -> None:
        """Have Slicer's panel be wide enough for every part: nothing of one is beyond its right edge."""
        widths = [self.column.minimumSize().width()]
        widths += [panel.widget.layout().minimumSize().width() + _FRAME for panel in self.panels.values()]
        bar = self.area.style().pixelMetric(qt.QStyle.PM_ScrollBarExtent)
        width = max(widths) + bar
        if width != self._width:
            self._width = width
            self.area.setMinimumWidth(width)

    def enter(self) -> None:
        """The user opened the module."""
        self._widen()
        for panel in self.panels.values():
            panel.enter()

    def exit(self) -> None:
        """The user went to another module."""
        for panel in self.panels.values():
            panel.exit()

    def cleanup(self) -> None:
        """The module is reloaded, or Slicer closes."""
        self.removeObservers()
        if self.keeper is not None:
            self.keeper.close()
        for panel in self.panels.values():
            panel.cleanup()
        self.panels.clear()
        if self.session is not None:
            self.session.close()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """Before all nodes go."""
        self.show_message("", "info")

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """After all nodes went."""
        self.session.renew_parameters()
        self.session.scene_closed.emit()
        self._tell_of_scene()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        """A saved scene was read: what it holds is shown."""
        self.session.renew_parameters()
        self._tell_of_scene()

    def _tell_of_scene(self) -> None:
        self.session.mammograms_changed.emit()
        self.session.tell_prediction()

    def onReload(self) -> None:
        """Read the module and all its parts again."""
        from MolSubSlicerLib.Compat import forget_modules

        if self.session is not None:
            self.session.reloading = True
        forget_modules()
        ScriptedLoadableModuleWidget.onReload(self)


class MolSubSlicerLogic(ScriptedLoadableModuleLogic):
    """The module's parameter node; the work is done in MolSubSlicerLib and in the worker."""


class MolSubSlicerTest(ScriptedLoadableModuleTest):
    """Run by Reload and Test, and inside Slicer by CTest."""

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self, **options: Any) -> None:
        """Run all tests."""
        for name in sorted(name for name in dir(self) if name.startswith("test_")):
            self.setUp()
            getattr(self, name)()

    def test_module(self) -> None:
        """The module opens, shows that it is for research, and has its panels."""
        widget = slicer.util.getModuleWidget("MolSubSlicer")
        self.assertIn("Research use only", widget.banner.text)
        self.assertEqual(list(widget.panels), list(PANELS))
