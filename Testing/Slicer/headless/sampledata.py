"""Stand-in for Slicer's Sample Data module: what is registered, with what."""

from __future__ import annotations

import hashlib
import sys
import types
from pathlib import Path
from typing import Any

import slicer


class SampleDataSource:
    """One data set: parallel lists of addresses, file names, node names and checksums."""

    def __init__(
        self,
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        if isinstance(uris, str):
            uris, fileNames, nodeNames = [uris], [fileNames], [nodeNames]
            loadFiles, loadFileTypes, checksums = [loadFiles], [loadFileTypes], [checksums]
        nothing = [None] * len(uris)
        self.sampleName, self.thumbnailFileName = sampleName, thumbnailFileName
        self.uris, self.fileNames = uris, fileNames
        self.nodeNames, self.checksums = nodeNames or nothing, checksums or nothing
        self.loadFiles, self.loadFileTypes = loadFiles or nothing, loadFileTypes or nothing
        self.loadFileProperties = loadFileProperties or {}
        self.customDownloader = customDownloader
        lists = (self.fileNames, self.nodeNames, self.checksums, self.loadFiles, self.loadFileTypes)
        if any(len(values) != len(uris) for values in lists):
            raise ValueError("All fields of sample data source must have the same length")


class SampleDataLogic:
    """Registering, and a download from `file:` addresses alone: a test opens no connection."""

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", **fields: Any) -> None:
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        source = SampleDataSource(**fields)
        if all(vars(known) != vars(source) for known in sources):
            sources.append(source)

    def downloadSourceIntoCache(self, source: SampleDataSource) -> list[str]:
        """Paths of the files.

        Raises
        ------
        ValueError
            If a file cannot be had, or has another checksum.
        """
        paths = [Path(uri.removeprefix("file://")) for uri in source.uris]
        for uri, path, checksum in zip(source.uris, paths, source.checksums, strict=True):
            if not uri.startswith("file://") or not path.is_file():
                raise ValueError(f"failed to download {uri}")
            if checksum and hashlib.sha256(path.read_bytes()).hexdigest() != checksum.partition(":")[2].lower():
                raise ValueError(f"{path.name}: the checksum is another one")
        return [str(path) for path in paths]


def install() -> None:
    """Make the module SampleData."""
    module = types.ModuleType("SampleData", "Stand-in for Slicer's Sample Data module.")
    module.SampleDataLogic, module.SampleDataSource = SampleDataLogic, SampleDataSource
    sys.modules["SampleData"] = module
