"""Mammograms in the scene: pixels, geometry, window, facts, study, source, and how they leave it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import scene_case

pytestmark = pytest.mark.usefixtures("scene")


@pytest.fixture
def volume(tmp_path: Path, scene: Any) -> Any:
    from MolSubSlicerLib.Scene import Mammograms

    return Mammograms.add_mammogram(scene_case.facts(tmp_path))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.float32])
def test_pixels_arrive_as_they_are(tmp_path: Path, kind: type) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Mammograms

    image = (scene_case.pixels() // 20).astype(kind)
    volume = Mammograms.add_mammogram(scene_case.facts(tmp_path, image=image))
    array = slicer.util.arrayFromVolume(volume)
    assert array.dtype == kind
    assert np.array_equal(array[0], image)
    assert np.array_equal(Mammograms.pixels_of(volume), image)


def test_geometry_is_rows_down_and_columns_to_the_patients_left(volume: Any) -> None:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    found = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    assert np.array_equal(found, np.diag([-scene_case.SPACING[1], -scene_case.SPACING[0], 1, 1]))


def test_unknown_spacing_is_one_millimetre_and_said_to_be_unknown(tmp_path: Path) -> None:
    from MolSubSlicerLib.Scene import Mammograms

    spacing = {"row_mm": None, "col_mm": None, "source": "unknown"}
    volume = Mammograms.add_mammogram(scene_case.facts(tmp_path, spacing=spacing))
    assert volume.GetSpacing() == (1, 1, 1)
    assert volume.GetAttribute("MolSub.SpacingSource") == "unknown"


def test_window_facts_and_names(tmp_path: Path, volume: Any) -> None:
    from MolSubSlicerLib.Scene import Mammograms

    display = volume.GetDisplayNode()
    assert (display.GetLevel(), display.GetWindow(), display.GetAutoWindowLevel()) == (1500, 3000, 0)
    other = Mammograms.add_mammogram(scene_case.facts(tmp_path))
    assert volume.GetName() == "R MLO"
    assert other.GetName().startswith("R MLO") and other.GetName() != "R MLO"
    assert Mammograms.mammograms() == [volume, other]
    kept = Mammograms.facts_of(volume)
    assert kept["manufacturer"] == "ACME" and kept["history"] == ["MONOCHROME2"]
    assert "pixels" not in kept
    names = ("Laterality", "View", "ChestWall", "SpacingSource")
    assert [volume.GetAttribute(f"MolSub.{name}") for name in names] == ["R", "MLO", "right", "ImagerPixelSpacing"]


def test_images_of_one_study_lie_under_one_item(tmp_path: Path, scene: Any) -> None:
    from MolSubSlicerLib.Scene import Mammograms

    tree = scene.GetSubjectHierarchyNode()
    labels = ("R MLO", "L MLO", "R CC", "L CC")
    uids = ("1.2.826.1", "1.2.826.2", None, "1.2.826.1")
    volumes = [
        Mammograms.add_mammogram(scene_case.facts(tmp_path, label, study_instance_uid=uid))
        for label, uid in zip(labels, uids, strict=True)
    ]
    parents = [tree.GetItemParent(tree.GetItemByDataNode(volume)) for volume in volumes]
    assert parents[0] == parents[3]
    assert len(set(parents)) == 3
    assert {tree.GetItemLevel(parent) for parent in parents} == {"Study"}
    assert tree.GetItemUID(parents[0], "DICOM") == "1.2.826.1"


def test_broken_pixels_are_a_sentence(tmp_path: Path) -> None:
    from MolSubSlicerLib.Scene import Mammograms
    from MolSubSlicerLib.Scene.Nodes import SceneError

    facts = scene_case.facts(tmp_path)
    Path(facts["pixels"]).write_bytes(b"no array")
    with pytest.raises(SceneError, match="R MLO"):
        Mammograms.add_mammogram(facts)
    assert Mammograms.mammograms() == []


def test_source_is_the_file_then_the_database_then_the_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Mammograms

    file, stored = tmp_path / "original.dcm", tmp_path / "stored.dcm"
    for path in (file, stored):
        path.write_bytes(b"")
    facts = scene_case.facts(tmp_path)

    class Database:
        def fileForInstance(self, uid: str) -> str:
            return str(stored) if uid == facts["sop_instance_uid"] else ""

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    volume = Mammograms.add_mammogram(facts, source=str(file))
    assert Mammograms.source_of(volume, tmp_path) == (str(file), None)
    file.unlink()
    assert Mammograms.source_of(volume, tmp_path) == (str(stored), None)
    stored.unlink()
    path, note = Mammograms.source_of(volume, tmp_path)
    image = sitk.ReadImage(path)
    assert np.array_equal(sitk.GetArrayFromImage(image)[0], scene_case.pixels())
    assert image.GetSpacing()[:2] == pytest.approx(scene_case.SPACING[::-1])
    assert note is not None and "R MLO" in note


def everything(tmp_path: Path, volume: Any) -> Any:
    """Give a mammogram all that can belong to it; its prediction."""
    from MolSubSlicerLib.Scene import HeatmapDisplay, Heatmaps, Lesions, Predictions
    from MolSubSlicerLib.Scene import Lesions as RoiBox

    Lesions.set_labels(Lesions.segmentation_for(volume), scene_case.blob())
    item = scene_case.item(tmp_path)
    node = Predictions.store(scene_case.prediction(item), [volume])
    Heatmaps.add_heatmaps(volume, item, Predictions.id_of(node))
    HeatmapDisplay.show(volume, "last", "non-TN")
    RoiBox.show(volume, [item["roi"]])
    return node


def own_nodes(scene: Any) -> list[str]:
    """Names of all that is of the mammogram, display nodes of any kind with it; the colour table may stay."""
    shown = ("vtkMRMLScalarVolumeDisplayNode", "vtkMRMLSegmentationDisplayNode", "vtkMRMLColorLegendDisplayNode")
    kinds = (None, "colours")
    return sorted(
        str(node.GetName())
        for node in scene.GetNodes()
        if node.GetAttribute("MolSub.Kind") not in kinds or node.GetClassName() in shown
    )


def test_a_full_disk_is_a_sentence_where_voxels_must_be_written(
    volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original is gone: ITK's own error is no error of the program."""
    import SimpleITK as sitk

    from MolSubSlicerLib.Scene import Mammograms
    from MolSubSlicerLib.Scene.Nodes import SceneError

    def full(image: Any, path: str) -> None:
        raise RuntimeError("Exception thrown in SimpleITK WriteImage:\nNrrdImageIO: No space left on device")

    monkeypatch.setattr(sitk, "WriteImage", full)
    volume.SetAttribute("MolSub.SourceFile", str(tmp_path / "gone.dcm"))
    with pytest.raises(SceneError, match=r"No space left on device\. Free space on the disk"):
        Mammograms.source_of(volume, tmp_path)
    assert not list(tmp_path.glob("voxels*"))


@pytest.mark.parametrize("how", ["remove_mammogram", "removed by the user", "before the user removes it"])
def test_a_mammogram_leaves_nothing_behind(tmp_path: Path, scene: Any, volume: Any, how: str) -> None:
    from MolSubSlicerLib.Scene import Mammograms

    tree = scene.GetSubjectHierarchyNode()
    everything(tmp_path, volume)
    assert len(own_nodes(scene)) >= 8
    if how == "remove_mammogram":
        Mammograms.remove_mammogram(volume)
    elif how == "removed by the user":
        scene.RemoveNode(volume)
        assert Mammograms.remove_orphans() >= 8
    else:
        Mammograms.remove_belongings(volume)
        scene.RemoveNode(volume)
        Mammograms.remove_orphans()
    assert own_nodes(scene) == []
    assert tree.GetNumberOfItemChildren(tree.GetSceneItemID()) == 0


def test_removing_one_mammogram_leaves_the_other_whole(tmp_path: Path, scene: Any, volume: Any) -> None:
    from MolSubSlicerLib.Scene import Heatmaps, Lesions, Mammograms, Predictions

    other = Mammograms.add_mammogram(scene_case.facts(tmp_path, "L MLO", "left"))
    everything(tmp_path, volume)
    kept = everything(tmp_path, other)
    Mammograms.remove_mammogram(volume)
    assert Mammograms.mammograms() == [other]
    assert Predictions.stored() == [kept]
    assert len(Heatmaps.heatmaps_of(other)) == 4
    assert np.array_equal(Lesions.labels_of(Lesions.segmentation_for(other), other), scene_case.blob())


def test_a_prediction_over_two_images_ends_with_either(tmp_path: Path, scene: Any, volume: Any) -> None:
    """The patient's probabilities are of both images together."""
    from MolSubSlicerLib.Scene import Heatmaps, Mammograms, Predictions

    other = Mammograms.add_mammogram(scene_case.facts(tmp_path, "R CC"))
    item = scene_case.item(tmp_path)
    node = Predictions.store(scene_case.prediction(item), [volume, other])
    Heatmaps.add_heatmaps(volume, item, Predictions.id_of(node))
    scene.RemoveNode(other)
    Mammograms.remove_orphans()
    assert Predictions.stored() == []
    assert Heatmaps.heatmaps_of(volume) == []
    assert Mammograms.mammograms() == [volume]


def test_facts_are_json_that_any_program_reads(volume: Any) -> None:
    assert json.loads(volume.GetAttribute("MolSub.Facts"))["rows"] == scene_case.SHAPE[0]
