"""Stand-ins for DICOMLib's plugin classes and for the DICOM database."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import slicer

from .signals import Emitter


class DICOMLoadable:
    """One thing that can be loaded."""

    def __init__(self, qLoadable: Any = None) -> None:
        self.files: list[str] = []
        self.name = "Unknown"
        self.tooltip = "No further information available"
        self.warning = ""
        self.selected = False
        self.confidence = 0.5


class DICOMPlugin:
    """Base of DICOM plugins; those used here override examineFiles and load."""

    def __init__(self) -> None:
        self.loadType = "Generic DICOM"
        self.loadableCache: dict[Any, list[Any]] = {}
        self.tags = {
            "seriesDescription": "0008,103E",
            "seriesNumber": "0020,0011",
            "frameOfReferenceUID": "0020,0052",
            "seriesInstanceUID": "0020,000E",
            "modality": "0008,0060",
            "instanceUID": "0008,0018",
            "sopClassUID": "0008,0016",
        }

    def getCachedLoadables(self, files: list[str]) -> Any:
        return self.loadableCache.get(tuple(files))

    def cacheLoadables(self, files: list[str], loadables: list[Any]) -> None:
        self.loadableCache[tuple(files)] = loadables

    def examineForImport(self, fileLists: list[list[str]]) -> list[Any]:
        found: list[Any] = []
        for files in fileLists:
            loadables = self.getCachedLoadables(files)
            if loadables is None:
                loadables = self.examineFiles(files)
                self.cacheLoadables(files, loadables)
            found += loadables
        return found

    def examineFiles(self, files: list[str]) -> list[Any]:
        return []

    def load(self, loadable: Any) -> Any:
        return True

    def examineForExport(self, subjectHierarchyItemID: int) -> list[Any]:
        return []

    def addSeriesInSubjectHierarchy(self, loadable: Any, dataNode: Any) -> None:
        """Put the node below its patient and study."""
        value, database = slicer.vtkMRMLSubjectHierarchyConstants, slicer.dicomDatabase
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        first = loadable.files[0]
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), dataNode)
        series, study, patient = (database.fileValue(first, t) for t in ("0020,000E", "0020,000D", "0010,0020"))
        hierarchy.SetItemUID(item, value.GetDICOMUIDName(), series)
        instances = " ".join(database.fileValue(f, "0008,0018") or "Unknown" for f in loadable.files)
        hierarchy.SetItemUID(item, value.GetDICOMInstanceUIDName(), instances)
        patient = patient or f"Patient-{study}"
        logic = slicer.vtkSlicerSubjectHierarchyModuleLogic
        logic.InsertDicomSeriesInHierarchy(hierarchy, patient, study, series)
        for uid, tag, fallback in (
            (patient, "0010,0010", "No name"),
            (study, "0008,1030", "No study description"),
        ):
            parent = hierarchy.GetItemByUID(value.GetDICOMUIDName(), uid)
            if parent:
                hierarchy.SetItemName(parent, database.fileValue(first, tag) or fallback)


class DICOMDatabase(Emitter):
    """What ctkDICOMDatabase offers a module, over files that a test adds."""

    SIGNATURES = ("databaseChanged()",)
    isOpen = True

    def __init__(self) -> None:
        super().__init__()
        self._headers: dict[str, Any] = {}

    def add(self, path: Path | str) -> str:
        """For tests: index a file; gives its SOP instance UID."""
        import pydicom

        header = pydicom.dcmread(path, stop_before_pixels=True)
        self._headers[str(path)] = header
        self.databaseChanged.emit()
        return str(header.SOPInstanceUID)

    def clear(self) -> None:
        """For tests: forget all files."""
        self._headers = {}

    def _header(self, path: str) -> Any:
        """Of a file in the database; ctk reads one that is not when asked for its values."""
        if path not in self._headers:
            import pydicom

            try:
                return pydicom.dcmread(path, stop_before_pixels=True)
            except (OSError, pydicom.errors.InvalidDicomError):
                return {}
        return self._headers[path]

    def fileForInstance(self, uid: str) -> str:
        return next((path for path, header in self._headers.items() if str(header.SOPInstanceUID) == uid), "")

    def instanceForFile(self, path: str) -> str:
        return str(self._headers[path].SOPInstanceUID) if path in self._headers else ""

    def fileValue(self, path: str, tag: str) -> str:
        group, element = (int(part, 16) for part in tag.split(","))
        header = self._header(str(path))
        if (group, element) not in header:
            return ""
        value = header[group, element].value
        if value is None:
            return ""
        return "\\".join(map(str, value)) if isinstance(value, (list, tuple)) or _is_multiple(value) else str(value)

    def instanceValue(self, uid: str, tag: str) -> str:
        path = self.fileForInstance(uid)
        return self.fileValue(path, tag) if path else ""

    def _values(self, **fixed: str) -> list[tuple[str, Any]]:
        return [
            (path, header)
            for path, header in self._headers.items()
            if all(str(header.get(keyword, "")) == value for keyword, value in fixed.items())
        ]

    def patients(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(h.get("PatientID", "")) for _, h in self._values()))

    def studiesForPatient(self, patient: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(h.get("StudyInstanceUID", "")) for _, h in self._values(PatientID=patient)))

    def seriesForStudy(self, study: str) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(str(h.get("SeriesInstanceUID", "")) for _, h in self._values(StudyInstanceUID=study))
        )

    def filesForSeries(self, series: str, hits: int = -1) -> tuple[str, ...]:
        files = [path for path, _ in self._values(SeriesInstanceUID=series)]
        return tuple(files if hits < 0 else files[:hits])

    def instancesForSeries(self, series: str) -> tuple[str, ...]:
        return tuple(str(header.SOPInstanceUID) for _, header in self._values(SeriesInstanceUID=series))

    def allFiles(self) -> tuple[str, ...]:
        return tuple(self._headers)


def _is_multiple(value: Any) -> bool:
    return type(value).__name__ == "MultiValue"


def install() -> None:
    """Make the module DICOMLib and the database."""
    library = types.ModuleType("DICOMLib", "Stand-in for Slicer's DICOMLib.")
    library.DICOMPlugin, library.DICOMLoadable = DICOMPlugin, DICOMLoadable
    sys.modules["DICOMLib"] = library
    slicer.dicomDatabase = DICOMDatabase()
