"""Reading and writing files into and from the scene: what Slicer's core IO manager and its readers do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

#: Ending -> Slicer's name of the file type; the first that fits counts.
_TYPES = (
    (".seg.nrrd", "SegmentationFile"),
    (".seg.nhdr", "SegmentationFile"),
    (".mrk.json", "MarkupsFile"),
    (".mrb", "SceneFile"),
    (".mrml", "SceneFile"),
    (".csv", "TableFile"),
    (".tsv", "TableFile"),
    (".ctbl", "ColorTableFile"),
    (".vtp", "ModelFile"),
    (".stl", "ModelFile"),
    (".txt", "TextFile"),
)
#: Volumes' storage asks ITK, whose list of writers is empty in the wheel; these it has.
_VOLUME_FORMATS = ("NRRD (.nrrd)", "NIfTI (.nii.gz)", "NIfTI (.nii)", "MetaImage (.mha)")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_VOLUME_OPTIONS = (
    ("labelmap", 1),
    ("center", 2),
    ("singleFile", 4),
    ("autoWindowLevel", 8),
    ("discardOrientation", 16),
)


class CoreIOManager:
    """What qSlicerCoreIOManager offers, on the module logics of the wheel."""

    def __init__(self, logics: dict[str, Any]) -> None:
        self._logics = logics

    def fileType(self, path: str) -> str:
        lower = str(path).lower()
        return next((kind for ending, kind in _TYPES if lower.endswith(ending)), "VolumeFile")

    def loadNodes(self, file_type: str, properties: dict[str, Any], nodes: Any = None, messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)), messages)
        if not Path(path).exists():
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File not found: {path}")
            return False
        name = properties.get("name") or Path(path).name.split(".")[0]
        node = self._load_node(file_type, path, name, properties, messages)
        if node is None:
            return False
        if nodes is not None:
            nodes.AddItem(node)
        return True

    def _load_node(self, file_type: str, path: str, name: str, properties: dict[str, Any], messages: Any) -> Any:
        scene, logics = slicer.mrmlScene, self._logics
        if file_type == "VolumeFile":
            return self._load_volume(path, name, properties)
        if file_type == "SegmentationFile":
            colours = scene.GetNodeByID(properties.get("colorNodeID", ""))
            own_name = properties.get("name", "")
            return logics["Segmentations"].LoadSegmentationFromFile(path, True, own_name, colours, messages)
        if file_type == "MarkupsFile":
            return scene.GetNodeByID(logics["Markups"].LoadMarkups(path, name) or "")
        if file_type == "TableFile":
            return logics["Tables"].AddTable(path, name)
        if file_type == "ColorTableFile":
            return logics["Colors"].LoadColorFile(path, name)
        if file_type == "ModelFile":
            return logics["Models"].AddModel(path)
        if file_type == "TextFile":
            return self._load_text(path, name)
        raise LookupError(f"no reader for {file_type}")

    def _load_text(self, path: str, name: str) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", name)
        node.SetText(Path(path).read_text(encoding="utf-8"))
        return node

    def _load_scene(self, path: str, clear: bool, messages: Any) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, messages))
        scene.SetURL(path)
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    def _load_volume(self, path: str, name: str, properties: dict[str, Any]) -> Any:
        if path.lower().endswith(_PICTURES):
            node = _load_picture(path, name, bool(properties.get("labelmap")))
        else:
            options = sum(bit for key, bit in _VOLUME_OPTIONS if properties.get(key))
            names = None
            if properties.get("fileNames"):
                names = vtk.vtkStringArray()
                for file_name in properties["fileNames"]:
                    names.InsertNextValue(str(file_name))
            node = self._logics["Volumes"].AddArchetypeVolume(path, name, options, names)
        if node is not None and properties.get("show", True):
            _show(node)
        return node

    def fileWriterFileType(self, node: Any) -> str:
        return "SceneFile" if node.IsA("vtkMRMLScene") else node.GetClassName()

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        path, scene = str(properties["fileName"]), slicer.mrmlScene
        if file_type == "SceneFile":
            return _save_scene(path, messages)
        node = scene.GetNodeByID(properties["nodeID"])
        if not node.IsA("vtkMRMLStorableNode"):
            return False
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def fileWriterExtensions(self, node: Any) -> tuple[str, ...]:
        """As "NIfTI (.nii.gz)", of the node's default storage node."""
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        types = storage.GetSupportedWriteFileTypes()
        known = tuple(types.GetValue(index) for index in range(types.GetNumberOfValues()))
        return known or _VOLUME_FORMATS

    def extractKnownExtension(self, path: str, node: Any) -> str:
        """The longest ending of the path that a writer of the node knows."""
        form = slicer.vtkDataFileFormatHelper.GetFileExtensionFromFormatString
        known = [form(text) for text in self.fileWriterExtensions(node)]
        return max((e for e in known if str(path).lower().endswith(e)), key=len, default="")

    def exportNodes(
        self,
        node_ids: Sequence[str],
        paths: Sequence[str],
        properties: dict[str, Any],
        harden: bool,
        messages: Any = None,
    ) -> bool:
        """Write nodes to files without changing where the scene keeps them."""
        return all(self._export(node_id, str(path), properties) for node_id, path in zip(node_ids, paths, strict=True))

    def _export(self, node_id: str, path: str, properties: dict[str, Any]) -> bool:
        node = slicer.mrmlScene.GetNodeByID(node_id)
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node))


def _show(node: Any) -> None:
    logic = slicer.app.applicationLogic()
    selection = logic.GetSelectionNode()
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        selection.SetActiveLabelVolumeID(node.GetID())
    else:
        selection.SetActiveVolumeID(node.GetID())
    logic.PropagateVolumeSelection()


def _load_picture(path: str, name: str, labelmap: bool) -> Any:
    """PNG, JPEG and TIFF, which the wheel's ITK does not read: an LPS image of 1 mm spacing, as in Slicer."""
    from PIL import Image

    image = Image.open(path)
    if image.mode in ("P", "CMYK"):
        image = image.convert("RGB")
    array = np.asarray(image)
    if image.mode.startswith("I"):
        array = array.astype(np.uint16)
    elif array.dtype == bool:
        array = array.astype(np.uint8)
    kind = "vtkMRMLLabelMapVolumeNode" if labelmap else "vtkMRMLScalarVolumeNode"
    if array.ndim == 3:
        kind = "vtkMRMLVectorVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(kind, slicer.mrmlScene.GenerateUniqueName(name))
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 0, -1.0)
    matrix.SetElement(1, 1, -1.0)
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    slicer.util.updateVolumeFromArray(node, array[None])
    return node


def _save_scene(path: str, messages: Any) -> bool:
    scene = slicer.mrmlScene
    if path.endswith(".mrb"):
        return bool(scene.WriteToMRB(path, None, messages))
    if path.endswith(".mrml"):
        scene.SetRootDirectory(str(Path(path).parent))
        scene.SetURL(path)
        return bool(scene.Commit(path, messages))
    Path(path).mkdir(parents=True, exist_ok=True)
    return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None, messages))
