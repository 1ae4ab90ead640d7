"""The worklist in the Annotate panel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat

if TYPE_CHECKING:
    from MolSubSlicerLib.Annotate.WorklistController import WorklistController
    from MolSubSlicerLib.Session import Session

_SOURCE, _READER, _BLIND = "worklist/source", "worklist/reader", "worklist/blind"


class WorklistPart:
    """Widgets of the worklist."""

    def __init__(self, session: Session, controller: WorklistController) -> None:
        self.session, self.controller = session, controller
        self.widget, self.ui = Compat.load_ui("WorklistPart")
        self._filling = False
        self._shown: Any = None
        self._dress()
        self._connect()
        self.refresh()

    def _dress(self) -> None:
        from MolSubCore.tasks import PartialSubtype, Subtype

        self.ui.subtypeBox.addItem("")
        for subtype in (*Subtype, *PartialSubtype):
            self.ui.subtypeBox.addItem(subtype.value)
        self.ui.readerEdit.text = Compat.setting(_READER)
        self.ui.blindCheckBox.checked = bool(Compat.setting(_BLIND))
        for column, width in ((0, 45), (1, 90), (2, 130)):
            self.ui.entryTable.setColumnWidth(column, width)

    def _connect(self) -> None:
        ui, controller = self.ui, self.controller
        ui.openTableButton.connect("clicked()", self.on_table)
        ui.openFolderButton.connect("clicked()", self.on_folder)
        ui.resumeButton.connect("clicked()", self.on_resume)
        ui.closeButton.connect("clicked()", controller.close)
        ui.readerEdit.connect("textChanged(QString)", lambda text: self.refresh())
        ui.previousButton.connect("clicked()", lambda: self._leave(controller.previous))
        ui.nextButton.connect("clicked()", lambda: self._leave(controller.next))
        ui.undoneButton.connect("clicked()", lambda: self._leave(controller.first_undone))
        ui.doneButton.connect("clicked()", self.on_done)
        ui.doneCheckBox.connect("clicked(bool)", controller.set_done)
        ui.entryTable.connect("cellDoubleClicked(int,int)", self.on_entry)
        ui.noteEdit.connect("editingFinished()", self.on_note)
        ui.subtypeBox.connect("activated(int)", self.on_subtype)
        ui.takeFileButton.connect("clicked()", controller.take_file)
        ui.takeOutlineButton.connect("clicked()", controller.take_outline)
        ui.exportButton.connect("clicked()", lambda: controller.export())
        controller.changed.connect(self.refresh)

    def cleanup(self) -> None:
        """Let go of the controller."""
        self.controller.changed.disconnect(self.refresh)

    def on_table(self) -> None:
        """Ask for a cohort table."""
        filters = _("Tables (*.csv *.tsv *.txt *.xlsx);;All files (*)")
        start = str(Path(Compat.setting(_SOURCE) or ".").parent)
        path = qt.QFileDialog.getOpenFileName(self.widget, _("Open a cohort table"), start, filters)
        self._open(str(path or ""))

    def on_folder(self) -> None:
        """Ask for a folder of images."""
        path = qt.QFileDialog.getExistingDirectory(
            self.widget, _("Open a folder of mammograms"), Compat.setting(_SOURCE)
        )
        self._open(str(path or ""))

    def on_resume(self) -> None:
        """Open the last worklist."""
        self._open(Compat.setting(_SOURCE))

    def _open(self, source: str) -> None:
        if not source:
            return
        reader, blind = self.ui.readerEdit.text.strip(), bool(self.ui.blindCheckBox.checked)
        try:
            self.controller.open(source, reader, blind)
        except (ValueError, OSError) as error:
            self.session.say(str(error), "error")
            return
        Compat.set_setting(_SOURCE, source)
        Compat.set_setting(_READER, reader)
        Compat.set_setting(_BLIND, "1" if blind else "")

    def _leave(self, move: Any) -> None:
        """Go to another image; a note that is being written is kept."""
        self.on_note()
        move()

    def on_done(self) -> None:
        """This image is done; on to the next one."""
        self.on_note()
        worklist = self.controller.worklist
        if worklist is None:
            return
        number = worklist.current.number
        self.controller.set_done(True)
        if worklist.current.number == number and worklist.current.state == "done":
            self.controller.next()

    def on_entry(self, row: int, _column: int) -> None:
        """An image was chosen in the list."""
        self._leave(lambda: self.controller.go_to(row + 1))

    def on_note(self) -> None:
        """The note was written."""
        if not self._filling and self._shown is not None:
            self.controller.set_note(self.ui.noteEdit.text)

    def on_subtype(self, _index: int) -> None:
        """A subtype was chosen."""
        if not self._filling:
            self.controller.set_subtype(self.ui.subtypeBox.currentText)

    def refresh(self) -> None:
        """Show the list and the current image's state."""
        worklist, ui = self.controller.worklist, self.ui
        busy, reader = self.controller.busy, bool(ui.readerEdit.text.strip())
        for button in (ui.openTableButton, ui.openFolderButton):
            button.enabled = reader and not busy
        ui.resumeButton.enabled = reader and not busy and worklist is None and bool(Compat.setting(_SOURCE))
        ui.closeButton.enabled = worklist is not None
        ui.readerEdit.enabled = ui.blindCheckBox.enabled = worklist is None
        ui.listFrame.visible = worklist is not None
        if worklist is None:
            self._shown = None
            return
        self._filling = True
        entries, entry = worklist.entries, worklist.current
        ui.doneBar.setRange(0, len(entries))
        ui.doneBar.value = worklist.done
        self._fill_table(entries, worklist)
        self._fill_entry(entry, worklist)
        self._filling = False
        for button in (ui.previousButton, ui.nextButton, ui.undoneButton, ui.doneButton, ui.doneCheckBox):
            button.enabled = not busy
        ui.previousButton.enabled = not busy and entry.number > 1
        ui.nextButton.enabled = not busy and entry.number < len(entries)

    def _fill_table(self, entries: Any, worklist: Any) -> None:
        table, blind = self.ui.entryTable, worklist.blind
        if table.rowCount != len(entries):
            table.setRowCount(len(entries))
        for row, entry in enumerate(entries):
            done = _("yes") if entry.state == "done" else ""
            patient = "" if blind else entry.patient
            for column, text in enumerate((done, patient, entry.image.name, entry.note)):
                item = table.item(row, column)
                if item is None:
                    table.setItem(row, column, qt.QTableWidgetItem(text))
                elif item.text() != text:
                    item.setText(text)
        table.setColumnHidden(1, blind)
        table.selectRow(worklist.current.number - 1)

    def _fill_entry(self, entry: Any, worklist: Any) -> None:
        ui = self.ui
        text = _("{reader}: {done} of {count} done. Image {number}: {name}")
        ui.statusLabel.text = text.format(
            reader=worklist.reader,
            done=worklist.done,
            count=len(worklist.entries),
            number=entry.number,
            name=_("reading…") if self.controller.busy else entry.image.name,
        )
        ui.doneCheckBox.checked = entry.state == "done"
        if self._shown != (entry.number, entry.note):
            self._shown = (entry.number, entry.note)
            ui.noteEdit.text = entry.note
        ui.subtypeLabel.visible = ui.subtypeBox.visible = not worklist.blind
        ui.subtypeBox.currentText = entry.subtype
        ui.conflictFrame.visible = bool(self.controller.conflict)
        ui.conflictLabel.text = self.controller.conflict
        ui.takeFileButton.enabled = ui.takeOutlineButton.enabled = entry.mask.is_file() and not self.controller.busy
