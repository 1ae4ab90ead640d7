"""The Annotate panel: outline lesions, import masks, see what the model will see; a worklist, a second reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Annotate.AnnotateController import AnnotateController
from MolSubSlicerLib.Annotate.SecondReaderController import SecondReaderController
from MolSubSlicerLib.Annotate.SecondReaderPart import SecondReaderPart
from MolSubSlicerLib.Annotate.SegmentEditorPart import SegmentEditorPart
from MolSubSlicerLib.Annotate.WorklistController import WorklistController
from MolSubSlicerLib.Annotate.WorklistPart import WorklistPart
from MolSubSlicerLib.Scene import Hanging, Patients
from MolSubSlicerLib.Scene.Nodes import SceneError, in_scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from MolSubSlicerLib.Session import Session

_MASKS = "*.nii *.nii.gz *.nrrd *.seg.nrrd *.mha *.png *.jpg *.jpeg *.tif *.tiff *.bmp *.dcm *.json"


class AnnotatePanel:
    """Widgets of the outlining."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.title = _("Annotate")
        self.controller = AnnotateController(session)
        self.worklist = WorklistController(session, self.controller)
        self.second_reader = SecondReaderController(session, self.worklist)
        self.widget, self.ui = Compat.load_ui("AnnotatePanel")
        self.editor = SegmentEditorPart()
        self.worklist_part = WorklistPart(session, self.worklist)
        self.second_reader_part = SecondReaderPart(session, self.second_reader)
        self._filling, self._entered = False, False
        self._section: Any = None
        self._dress()
        self._connect()
        self.refresh()

    def _dress(self) -> None:
        self.ui.editorFrame.layout().addWidget(self.editor.widget)
        self.ui.worklistBox.layout().addWidget(self.worklist_part.widget)
        self.ui.secondReaderBox.layout().addWidget(self.second_reader_part.widget)
        self.ui.mammogramSelector.addAttribute("vtkMRMLScalarVolumeNode", "MolSub.Kind", "mammogram")
        self.ui.lesionTable.setColumnWidth(0, 130)

    def _connect(self) -> None:
        ui = self.ui
        ui.mammogramSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.on_mammogram)
        ui.lesionTable.connect("itemSelectionChanged()", self.on_row)
        ui.lesionTable.connect("itemChanged(QTableWidgetItem*)", self.on_name)
        ui.addLesionButton.connect("clicked()", self.on_add)
        ui.removeLesionButton.connect("clicked()", self.on_remove)
        ui.importButton.connect("clicked()", self.on_import)
        ui.regionCheckBox.connect("toggled(bool)", self.on_region)
        self.editor.segment_changed.connect(self.on_segment)
        self.controller.changed.connect(self.refresh)
        self.controller.about_to_import.connect(self.editor.save_state)
        self.session.mammograms_changed.connect(self.follow)
        self.session.parameters_changed.connect(self.follow)
        self.session.model_changed.connect(self.on_model)
        self._tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self.on_closing)

    def enter(self) -> None:
        """The module is open: keys and mouse outline, where this panel is unfolded."""
        self._entered = True
        self.follow()
        if self._section is None:
            self._section = self.widget.parent()  # what it was put into after it was made
            self._section.connect("contentsCollapsed(bool)", self.on_folded)
        self.on_folded(self._section.collapsed)
        self.worklist_part.refresh()

    def on_folded(self, folded: bool) -> None:
        """Keys and mouse are the editor's only where it is seen: the space bar would press no button any more."""
        if self._entered and not folded:
            self.editor.enter()
        else:
            self.editor.exit()

    def exit(self) -> None:
        """The module is left: keys and mouse are Slicer's again, what is outlined is safe."""
        self._entered = False
        self.editor.exit()
        self.worklist.save()

    def cleanup(self) -> None:
        """Save, close, and let go of everything."""
        self.session.mammograms_changed.disconnect(self.follow)
        self.session.parameters_changed.disconnect(self.follow)
        self.session.model_changed.disconnect(self.on_model)
        slicer.mrmlScene.RemoveObserver(self._tag)
        self.controller.changed.disconnect(self.refresh)
        self.second_reader_part.cleanup()
        self.worklist_part.cleanup()
        self.worklist.cleanup()
        self.editor.cleanup()
        self.controller.close()

    def follow(self) -> None:
        """Annotate the mammogram, and show the region of the model, that are chosen."""
        parameters = self.session.parameters
        volume = parameters.mammogram
        if (volume if in_scene(volume) else None) is not self.controller.volume:
            self.controller.set_volume(volume)
        self.controller.set_bundle(str(self.session.library / parameters.bundle) if parameters.bundle else "")
        self.ui.regionCheckBox.checked = parameters.roi_visible

    def on_model(self, path: str) -> None:
        """Another model sees another region."""
        self.follow()

    def on_mammogram(self, node: Any) -> None:
        """Another mammogram was chosen here."""
        if not self._filling and node is not self.session.parameters.mammogram:
            self.session.parameters.mammogram = node
            if in_scene(node) and not Hanging.views_of(node):  # nothing is outlined unseen
                Hanging.hang(Patients.views_with(node, Hanging.MOST))
            self.session.mammograms_changed.emit()

    def on_closing(self, *_arguments: Any) -> None:
        """The scene is about to be closed: save, then let go of its nodes."""
        self.worklist.save()
        self.editor.forget()
        self.controller.set_volume(None)

    def on_row(self) -> None:
        """A lesion was chosen in the table: it is edited."""
        if not self._filling and self.chosen():
            self.editor.select(self.chosen())
            self._enable()

    def on_segment(self, segment: str) -> None:
        """A lesion was chosen by a key of the editor."""
        self._select(segment)

    def on_name(self, item: Any) -> None:
        """A lesion was renamed in the table."""
        if self._filling or item.column() != 0:
            return
        row = self.controller.rows[item.row()]
        self._try(lambda: self.controller.rename(row.segment, item.text()))

    def on_add(self) -> None:
        """Add a lesion, and edit it."""
        self.editor.save_state()
        self._try(lambda: self.editor.select(self.controller.add()))

    def on_remove(self) -> None:
        """Remove the chosen lesion."""
        if self.chosen():
            self.editor.save_state()
            self._try(lambda: self.controller.remove(self.chosen()))

    def on_import(self) -> None:
        """Ask for a mask, and add its lesions."""
        filters = _("Masks ({patterns});;All files (*)").format(patterns=_MASKS)
        folder = Compat.setting("masks")
        path = qt.QFileDialog.getOpenFileName(self.widget, _("Import a mask"), folder, filters)
        if path:
            Compat.set_setting("masks", str(path).rpartition("/")[0])
            self._try(lambda: self.controller.import_mask(str(path)))

    def on_region(self, visible: bool) -> None:
        """Show or hide the region."""
        self.session.parameters.roi_visible = bool(visible)
        self.controller.set_region_visible(visible)

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except SceneError as error:
            self.session.say(str(error), "error")
            self.refresh()

    def chosen(self) -> str:
        """The segment of the chosen row; empty where there is none."""
        row = self.ui.lesionTable.currentRow()
        rows = self.controller.rows
        return rows[row].segment if 0 <= row < len(rows) else ""

    def refresh(self) -> None:
        """Show the mammogram, its lesions, and the region."""
        controller = self.controller
        self.editor.edit(controller.segmentation, controller.volume)
        self._filling = True
        self.ui.mammogramSelector.setCurrentNode(controller.volume)
        self._fill_table()
        self._filling = False
        segments = [row.segment for row in controller.rows]
        if segments and self.editor.selected() not in segments:
            self.editor.select(segments[0])
        self._select(self.editor.selected())
        region = controller.region
        sizes = _sizes(region.lines)
        if controller.volume and not region.lines:
            sizes = [_("Nothing is outlined yet: choose Paint or Draw and outline the lesion.")]
        self.ui.regionLabel.text = "\n".join([*sizes, controller.recipe_text()])
        self.ui.regionWarning.text = "\n".join(region.warnings)
        self.ui.regionWarning.visible = bool(region.warnings)
        self._enable()

    def _fill_table(self) -> None:
        table, rows = self.ui.lesionTable, self.controller.rows
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            size = qt.QTableWidgetItem(row.size or _("nothing outlined"))
            size.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            table.setItem(number, 0, qt.QTableWidgetItem(row.name))
            table.setItem(number, 1, size)

    def _select(self, segment: str) -> None:
        segments = [row.segment for row in self.controller.rows]
        if segment in segments and self.chosen() != segment:
            self._filling = True
            self.ui.lesionTable.selectRow(segments.index(segment))
            self._filling = False
        self._enable()

    def _enable(self) -> None:
        there = self.controller.volume is not None
        for widget in (self.ui.addLesionButton, self.ui.importButton, self.ui.regionCheckBox, self.ui.lesionTable):
            widget.enabled = there
        self.ui.removeLesionButton.enabled = there and bool(self.chosen())


def _sizes(lines: tuple[str, ...]) -> list[str]:
    if len(lines) == 1:
        return [lines[0]]
    return [_("Lesion {number}: {size}").format(number=number, size=line) for number, line in enumerate(lines, start=1)]
