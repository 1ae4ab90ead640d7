"""Plugin of Slicer's DICOM module: each mammographic image becomes a volume of its own, named by side and view.

Slicer's scalar volume plugin makes one volume of a series, which for mammograms may hold several views, and does not
follow all that a mammogram's header says of polarity, window and spacing. This one has each image read by the worker.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import slicer
from DICOMLib import DICOMLoadable, DICOMPlugin
from slicer.i18n import tr as _

from MolSubSlicerLib.Compat import ensure_core
from MolSubSlicerLib.Scene import Mammograms
from MolSubSlicerLib.Scene.Nodes import hierarchy
from MolSubSlicerLib.Worker.BlockingWorker import BlockingWorker

#: Above that of Slicer's scalar volumes (0.5), below certainty.
CONFIDENCE = 0.9
_TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"


class DICOMMammographyPluginClass(DICOMPlugin):
    """Loads mammograms, one volume per SOP instance."""

    _worker: BlockingWorker | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loadType = _("Mammogram")
        self.tags.update(
            {
                "modality": "0008,0060",
                "sopClassUID": "0008,0016",
                "instanceUID": "0008,0018",
                "imageLaterality": "0020,0062",
                "laterality": "0020,0060",
                "viewPosition": "0018,5101",
                "numberOfFrames": "0028,0008",
                "presentationIntent": "0008,0068",
            }
        )

    def examineForImport(self, fileLists: Sequence[Sequence[str]]) -> list[Any]:
        """Loadables of lists of files, one per mammographic image; kept for the next time."""
        loadables: list[Any] = []
        for files in fileLists:
            found = self.getCachedLoadables(files)
            if found is None:
                found = self.examineFiles(files)
                self.cacheLoadables(files, found)
            loadables += found
        return loadables

    def examine(self, fileLists: Sequence[Sequence[str]]) -> list[Any]:
        """The same under its former name."""
        return self.examineForImport(fileLists)

    def examineFiles(self, files: Sequence[str]) -> list[Any]:
        """Loadables of the files of a series."""
        names: dict[str, int] = {}
        loadables = []
        for path in files:
            if not self._is_view(path):
                continue
            name = self._view_name(path)
            names[name] = names.get(name, 0) + 1
            loadable = DICOMLoadable()
            loadable.files = [path]
            loadable.name = name if names[name] == 1 else f"{name} ({names[name]})"
            loadable.tooltip = _("One view, read as predictions read it")
            if self._value(path, "presentationIntent").upper() == "FOR PROCESSING":
                loadable.warning = _("For Processing: its gray values mean something else than those of other images.")
            loadable.selected = True
            loadable.confidence = CONFIDENCE
            loadables.append(loadable)
        return loadables

    def load(self, loadable: Any) -> Any:
        """Read the image of a loadable in the worker, and add it to the scene.

        Raises
        ------
        RuntimeError
            With the reader's own sentence.
        """
        ensure_core()
        folder = tempfile.mkdtemp(prefix="MolSub-")
        try:
            slicer.util.showStatusMessage(_("Reading {name}").format(name=loadable.name), 5000)
            with slicer.util.WaitCursor():
                facts = self._run("read-image", {"path": loadable.files[0], "out": folder})
            # At the root first: the place in patient and study is the base class's matter.
            volume = Mammograms.add_mammogram(facts, source=loadable.files[0], study_item=hierarchy().GetSceneItemID())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.addSeriesInSubjectHierarchy(loadable, volume)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveVolumeID(volume.GetID())
        slicer.app.applicationLogic().PropagateVolumeSelection()
        return volume

    def _run(self, job: str, options: dict[str, Any]) -> Any:
        cls = type(self)
        if cls._worker is None:
            cls._worker = BlockingWorker()
        return cls._worker.run(job, options)

    def _value(self, path: str, tag: str) -> str:
        return str(slicer.dicomDatabase.fileValue(path, self.tags[tag]) or "").strip()

    def _is_view(self, path: str) -> bool:
        """Whether a file is one mammographic view; tomosynthesis has many frames and is not."""
        if self._value(path, "modality") != "MG" or self._value(path, "sopClassUID") == _TOMOSYNTHESIS:
            return False
        frames = self._value(path, "numberOfFrames")
        return not frames.isdigit() or int(frames) <= 1

    def _view_name(self, path: str) -> str:
        """Side and view, as far as the header's plain elements tell them."""
        side = self._value(path, "imageLaterality") or self._value(path, "laterality")
        name = " ".join(part for part in (side, self._value(path, "viewPosition")) if part)
        return name or _("Mammogram")
