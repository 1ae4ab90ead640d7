"""The Report panel: the shown prediction as HTML and PDF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Report.ReportController import ReportController
from MolSubSlicerLib.Widgets import RunButton

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session

_CLASSES = ("predicted", "all")


class ReportPanel:
    """Widgets of the report."""

    def __init__(self, session: Session) -> None:
        self.session, self.controller = session, ReportController(session)
        self.title = _("Report")
        self.widget, self.ui = Compat.load_ui("ReportPanel")
        self.run = RunButton(self.ui.writeButton, self.ui.progressBar, self._on_write, self.controller.cancel)
        self.ui.classesCombo.addItems([_("of the predicted class"), _("of all classes")])
        documents = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
        self.ui.folderEdit.currentPath = Compat.setting("report-folder", documents)
        self.ui.identifiedCheckBox.connect("toggled(bool)", lambda checked: self.refresh())
        for button, kind in (
            (self.ui.openPdfButton, "pdf"),
            (self.ui.openHtmlButton, "html"),
            (self.ui.openFolderButton, "folder"),
        ):
            button.connect("clicked()", lambda kind=kind: self._open(kind))
        self.controller.changed.connect(self.refresh)
        self.refresh()

    def enter(self) -> None:
        """Look again at what there is to report."""
        self.refresh()

    def exit(self) -> None:
        """A report goes on being written."""

    def cleanup(self) -> None:
        """Let go of the session."""
        self.controller.changed.disconnect(self.refresh)
        self.controller.cleanup()

    def refresh(self) -> None:
        """Show whether there is a prediction, how far its report is, and where it lies."""
        running, available = self.controller.running, self.controller.available
        if available:
            text = _(
                "The prediction above with its images and heatmaps, the model card, and what it must not be used for."
            )
        else:
            text = _("There is nothing to report yet. Predict first.")
        self.ui.aboutLabel.text = text
        for each in (self.ui.folderEdit, self.ui.classesCombo, self.ui.identifiedCheckBox):
            each.enabled = not running
        self.ui.writeButton.enabled = available or running
        self.run.show(running, self.controller.share, self.controller.stage)
        self._show_identified()
        written = self.controller.written
        self.ui.writtenFrame.visible = bool(written)
        if written:
            self.ui.writtenLabel.text = _("Written to {folder}").format(folder=written["folder"])

    def _show_identified(self) -> None:
        if self.ui.identifiedCheckBox.checked:
            text = _(
                "The report will name the patient ID, the accession number, the DICOM identifiers and the files. "
                "Keep it where patient data may be kept."
            )
        else:
            text = _("The report names no patient, no examination and no file.")
        self.ui.identifiedLabel.text = text

    def _on_write(self) -> None:
        folder = self.ui.folderEdit.currentPath
        Compat.set_setting("report-folder", folder)
        self.controller.write(
            folder,
            identified=bool(self.ui.identifiedCheckBox.checked),
            classes=_CLASSES[self.ui.classesCombo.currentIndex],
        )

    def _open(self, kind: str) -> None:
        path = self.controller.written.get(kind)
        if path and not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path)):
            self.session.say(_("No program was found to open {path}.").format(path=path), "warning")
