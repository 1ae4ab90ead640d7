"""The Load panel: mammograms from files, a folder, the DICOM database, or the sample case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Load import SceneVolumes
from MolSubSlicerLib.Load.LoadController import LoadController

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session

#: Pixels of a table's header and of its horizontal scroll bar, as no row takes them.
HEADER_HEIGHT = 44
_PATTERNS = "*.dcm *.dicom *.ima *.png *.jpg *.jpeg *.tif *.tiff *.nii *.nii.gz *.nrrd *.mha *.mhd"


class LoadPanel:
    """Widgets of the loading of mammograms."""

    def __init__(self, session: Session) -> None:
        self.session, self.controller = session, LoadController(session)
        self.title = _("Load")
        self.widget, self.ui = Compat.load_ui("LoadPanel")
        self._volumes: list[Any] = []
        self._filling = False
        self._dress()
        self._connect()
        self.refresh()

    def enter(self) -> None:
        """Look again at what is in the scene: it may have been changed by another module."""
        self.refresh()

    def exit(self) -> None:
        """Nothing to put away."""

    def cleanup(self) -> None:
        """Let go of the session."""
        self.controller.changed.disconnect(self.refresh)
        self.controller.cleanup()

    def _dress(self) -> None:
        style = self.widget.style()
        for button, icon in (
            (self.ui.filesButton, "SP_FileIcon"),
            (self.ui.folderButton, "SP_DirOpenIcon"),
            (self.ui.dicomButton, "SP_DriveNetIcon"),
            (self.ui.sampleButton, "SP_FileDialogContentsView"),
        ):
            button.setIcon(style.standardIcon(getattr(qt.QStyle, icon)))
        for table in (self.ui.viewsTable, self.ui.skippedTable):
            table.verticalHeader().hide()
            table.horizontalHeader().setStretchLastSection(True)

    def _connect(self) -> None:
        self.ui.filesButton.connect("clicked()", self.on_files)
        self.ui.folderButton.connect("clicked()", self.on_folder)
        self.ui.dicomButton.connect("clicked()", self.on_dicom)
        self.ui.sampleButton.connect("clicked()", lambda: self.controller.load_sample())
        self.ui.takeOverButton.connect("clicked()", self.controller.take_over)
        self.ui.cancelButton.connect("clicked()", self.controller.stop)
        self.ui.hangButton.connect("clicked()", self.on_hang)
        self.ui.fitButton.connect("clicked()", self.controller.fit)
        self.ui.removeButton.connect("clicked()", lambda: self.controller.remove(self.chosen()))
        self.ui.viewsTable.connect("itemSelectionChanged()", self.on_selection)
        self.controller.changed.connect(self.refresh)

    def on_files(self) -> None:
        """Ask for files, and load them."""
        filters = _("Mammograms ({patterns});;All files (*)").format(patterns=_PATTERNS)
        paths = qt.QFileDialog.getOpenFileNames(self.widget, _("Load mammograms"), Compat.setting("folder"), filters)
        self._load(list(paths or ()))

    def on_folder(self) -> None:
        """Ask for a folder, and load what mammograms it holds."""
        title = _("Load the mammograms of a folder")
        path = qt.QFileDialog.getExistingDirectory(self.widget, title, Compat.setting("folder"))
        self._load([path] if path else [])

    def on_dicom(self) -> None:
        """Open Slicer's DICOM module, which shows its database."""
        slicer.util.selectModule("DICOM")

    def on_hang(self) -> None:
        """Hang the chosen rows, where they are several; else the chosen one's patient."""
        chosen = self.chosen()
        self.controller.hang(chosen if len(chosen) > 1 else ())

    def _load(self, paths: list[str]) -> None:
        if paths:
            first = Path(paths[0])
            Compat.set_setting("folder", str(first if first.is_dir() else first.parent))
            self.controller.load(paths)

    def chosen(self) -> list[Any]:
        """The mammograms of the chosen rows."""
        rows = sorted({index.row() for index in self.ui.viewsTable.selectionModel().selectedRows()})
        return [self._volumes[row] for row in rows]

    def on_selection(self) -> None:
        """One chosen row is the mammogram that the other panels work on."""
        chosen = self.chosen()
        if not self._filling and len(chosen) == 1:
            self.controller.choose(chosen[0])
        self._show_details()

    def refresh(self) -> None:
        """Show what is in the scene and how far the loading has come."""
        self._fill_views()
        self._fill_skipped()
        busy, others = self.controller.busy, SceneVolumes.others()
        for button in (self.ui.filesButton, self.ui.folderButton, self.ui.sampleButton, self.ui.takeOverButton):
            button.enabled = not busy
        self.ui.takeOverButton.visible = bool(others)
        names = ", ".join(volume.GetName() for volume in others)
        self.ui.takeOverButton.text = _("Use what is loaded already: {names}").format(names=names)
        self.ui.progressBar.visible = self.ui.cancelButton.visible = busy
        self.ui.progressBar.value = round(100 * (self.controller.share or 0))
        for button in (self.ui.hangButton, self.ui.fitButton, self.ui.removeButton):
            button.enabled = bool(self._volumes)
        self._show_details()

    def _fill_views(self) -> None:
        table, rows = self.ui.viewsTable, self.controller.views()
        kept = {volume.GetID() for volume in self.chosen()} if len(self._volumes) == table.rowCount else set()
        self._filling = True
        self._volumes = [row.volume for row in rows]
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(row.cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(row.details)
                table.setItem(number, column, item)
        table.clearSelection()
        current = self.session.parameters.mammogram
        if current is not None and current.GetID() not in kept:
            kept = set()  # another one was chosen: what is marked is what the panels work on
        for number, volume in enumerate(self._volumes):
            if volume.GetID() in kept or (not kept and volume is current):
                table.selectRow(number)
        table.setColumnHidden(0, not any(row.cells[0] for row in rows))
        _fit(table, 3)
        self._filling = False

    def _fill_skipped(self) -> None:
        table, skipped = self.ui.skippedTable, self.controller.skipped
        self.ui.skippedGroup.visible = bool(skipped)
        table.setRowCount(len(skipped))
        for number, each in enumerate(skipped):
            for column, text in enumerate((Path(each.path).name, each.reason)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(f"{each.path}\n{each.reason}")
                table.setItem(number, column, item)
        _fit(table, 2)

    def _show_details(self) -> None:
        details = {row.volume.GetID(): row.details for row in self.controller.views()}
        texts = [details[volume.GetID()] for volume in self.chosen() if volume.GetID() in details]
        if not self._volumes:
            texts = [_("No mammogram is loaded. Choose files or a folder, or try the sample case.")]
        self.ui.detailsLabel.text = "\n".join(texts)


def _fit(table: Any, least: int, most: int = 8, widest: int = 115) -> None:
    """Make columns as wide as their texts, within reason, and the table as high as its rows."""
    table.resizeColumnsToContents()
    for column in range(table.columnCount - 1):
        table.setColumnWidth(column, min(table.columnWidth(column), widest))
    table.resizeRowsToContents()
    heights = [table.rowHeight(row) for row in range(min(table.rowCount, most))]
    heights += [table.verticalHeader().defaultSectionSize] * (least - len(heights))
    table.setFixedHeight(HEADER_HEIGHT + sum(heights))
