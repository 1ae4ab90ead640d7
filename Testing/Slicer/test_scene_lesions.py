"""Lesions: from labels to segments and back bit for bit, other grids refused, files that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import scene_case
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import Box
from MolSubCore.lesions.masks import read_lesions

pytestmark = pytest.mark.usefixtures("scene")
CORE = Mammogram(np.zeros(scene_case.SHAPE, np.uint8))


@pytest.fixture
def volume(tmp_path: Path, scene: Any) -> Any:
    from MolSubSlicerLib.Scene import Mammograms

    return Mammograms.add_mammogram(scene_case.facts(tmp_path))


@pytest.fixture
def segmentation(volume: Any) -> Any:
    from MolSubSlicerLib.Scene import Lesions

    return Lesions.segmentation_for(volume)


def segment(image: Any, matrix: Any, values: np.ndarray) -> Any:
    """A segmentation of another program: one segment on a grid of its own."""
    import slicer
    from vtk.util.numpy_support import numpy_to_vtk

    data = slicer.vtkOrientedImageData()
    data.SetDimensions(values.shape[1], values.shape[0], 1)
    data.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=True))
    data.SetImageToWorldMatrix(matrix)
    one = slicer.vtkSegment()
    one.SetName("mass")
    one.AddRepresentation("Binary labelmap", data)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from elsewhere")
    node.GetSegmentation().AddSegment(one, "mass")
    return node


def shifted(volume: Any, row: float = 0, column: float = 0, scale: float = 1) -> Any:
    import vtk

    move, matrix = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    for axis, value in ((0, column), (1, row)):
        move.SetElement(axis, 3, value)
        move.SetElement(axis, axis, scale)
    vtk.vtkMatrix4x4.Multiply4x4(matrix, move, matrix)
    return matrix


def test_labels_come_back_bit_for_bit(volume: Any, segmentation: Any) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Lesions

    names = Lesions.set_labels(segmentation, scene_case.blob())
    assert Lesions.lesion_segments(segmentation) == names and len(names) == 2
    assert np.array_equal(Lesions.labels_of(segmentation, volume), scene_case.blob())
    for number, name in enumerate(names, start=1):  # Slicer's own way to the voxels, on its own extent
        image = slicer.vtkOrientedImageData()
        segmentation.GetBinaryLabelmapRepresentation(name, image)
        extent = image.GetExtent()
        full = np.zeros(scene_case.SHAPE, bool)
        for row in range(extent[2], extent[3] + 1):
            for column in range(extent[0], extent[1] + 1):
                full[row, column] = image.GetScalarComponentAsDouble(column, row, 0, 0) > 0
        assert np.array_equal(full, scene_case.blob() == number)


def test_random_labels_come_back(volume: Any, segmentation: Any) -> None:
    from MolSubSlicerLib.Scene import Lesions

    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, scene_case.SHAPE).astype(np.uint8)
    Lesions.set_labels(segmentation, labels)
    assert np.array_equal(Lesions.labels_of(segmentation, volume), labels)
    assert np.array_equal(Lesions.layers_of(segmentation, volume), np.stack([labels == n for n in (1, 2, 3)]))


def test_new_lesions_replace_old_ones_and_empty_ones_do_not_count(volume: Any, segmentation: Any) -> None:
    from MolSubSlicerLib.Scene import Lesions

    Lesions.set_labels(segmentation, scene_case.blob())
    first = np.where(scene_case.blob() == 1, 7, 0)
    Lesions.add_lesion(segmentation)
    Lesions.set_labels(segmentation, first)
    empty = Lesions.add_lesion(segmentation, "not yet outlined")
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2
    assert empty not in Lesions.lesion_segments(segmentation)
    assert np.array_equal(Lesions.labels_of(segmentation, volume), (first > 0).astype(np.uint8))


def test_overlapping_lesions_lose_nothing_on_their_way_to_the_core(
    tmp_path: Path, volume: Any, segmentation: Any
) -> None:
    from MolSubSlicerLib.Scene import Lesions

    layers = np.zeros((3, *scene_case.SHAPE), np.uint8)
    layers[0, 50:100, 50:100] = 1
    layers[1, 90:110, 95:140] = 1
    layers[2, 60:70, 60:70] = 1
    Lesions.set_labels(segmentation, layers)
    assert np.array_equal(Lesions.layers_of(segmentation, volume), layers > 0)
    labels = Lesions.labels_of(segmentation, volume)
    assert {int(labels[95, 97]), int(labels[65, 65]), int(labels[55, 55])} == {2, 3, 1}
    path = Lesions.write_lesions(segmentation, volume, tmp_path, "lesions")
    expected = [Box(50, 100, 50, 100), Box(90, 110, 95, 140), Box(60, 70, 60, 70)]
    assert [lesion.box for lesion in read_lesions(path, CORE).lesions] == expected
    assert Lesions.boxes_of(layers) == expected


def test_a_lesion_under_others_is_named(volume: Any, segmentation: Any) -> None:
    from MolSubSlicerLib.Scene import Lesions
    from MolSubSlicerLib.Scene.Nodes import SceneError

    mask = (scene_case.blob() == 1).astype(np.uint8)
    Lesions.set_labels(segmentation, np.stack([mask, mask]))
    with pytest.raises(SceneError, match="Lesion 1"):
        Lesions.labels_of(segmentation, volume)


def test_no_lesion_and_no_pixel_are_sentences(volume: Any) -> None:
    from MolSubSlicerLib.Scene import Lesions
    from MolSubSlicerLib.Scene.Nodes import SceneError

    assert Lesions.segmentation_for(volume, create=False) is None
    with pytest.raises(SceneError, match="R MLO has no lesion"):
        Lesions.labels_of(None, volume)
    segmentation = Lesions.segmentation_for(volume)
    Lesions.add_lesion(segmentation)
    with pytest.raises(SceneError, match="no outlined pixel"):
        Lesions.labels_of(segmentation, volume)
    assert Lesions.segmentation_for(volume) is segmentation


@pytest.mark.parametrize("move", [{"scale": 1.01}, {"row": 0.4}, {"row": -20}, {"column": 190}])
def test_another_grid_is_refused_with_both_grids(volume: Any, move: dict[str, float]) -> None:
    from MolSubSlicerLib.Scene import Lesions
    from MolSubSlicerLib.Scene.Nodes import SceneError

    node = segment(volume, shifted(volume, **move), np.ones((40, 30), np.uint8))
    with pytest.raises(SceneError) as caught:
        Lesions.labels_of(node, volume)
    text = str(caught.value)
    assert "40 rows x 30 columns" in text and "300 rows x 200 columns" in text
    assert "0.1 x 0.08 mm" in text and "from elsewhere" in text


def test_the_same_grid_shifted_by_whole_pixels_is_taken(volume: Any) -> None:
    from MolSubSlicerLib.Scene import Lesions

    values = np.zeros((40, 30), np.uint8)
    values[3:9, 2:20] = 1
    node = segment(volume, shifted(volume, row=100, column=50), values)
    expected = np.zeros(scene_case.SHAPE, np.uint8)
    expected[103:109, 52:70] = 1
    assert np.array_equal(Lesions.labels_of(node, volume), expected)


def test_a_label_map_of_another_shape_is_refused(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    from MolSubSlicerLib.Scene import Lesions
    from MolSubSlicerLib.Scene.Nodes import SceneError

    labels = np.ones((200, 300), np.uint8)
    with pytest.raises(SceneError, match=r"200 rows x 300 columns.*300 rows x 200 columns"):
        Lesions.set_labels(segmentation, labels)
    with pytest.raises(SceneError, match=r"200 rows x 300 columns.*300 rows x 200 columns"):
        Lesions.write_mask(labels, volume, tmp_path / "m.nii.gz")
    assert not (tmp_path / "m.nii.gz").exists()


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nrrd"])
def test_the_mask_file_is_read_by_others(tmp_path: Path, volume: Any, name: str) -> None:
    from MolSubSlicerLib.Scene import Lesions

    path = tmp_path / name
    Lesions.write_mask(scene_case.blob(), volume, path)
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), scene_case.blob()[None])
    assert image.GetPixelID() == sitk.sitkUInt8 and image.GetSize() == (200, 300, 1)
    assert image.GetSpacing() == pytest.approx((0.08, 0.1, 1))
    assert image.GetDirection() == pytest.approx(np.eye(3).ravel()) and image.GetOrigin() == (0, 0, 0)
    lesions = read_lesions(path, CORE)
    assert np.array_equal(lesions.full_mask(), scene_case.blob() > 0)
    assert [lesion.box for lesion in lesions.lesions] == Lesions.boxes_of(scene_case.blob())
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".npy"] == [name]


def test_a_disk_that_refuses_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MolSubSlicerLib.Scene import Lesions
    from MolSubSlicerLib.Scene.Nodes import SceneError

    def full(_image: Any, path: str, **_options: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    Lesions.write_mask(scene_case.blob(), volume, tmp_path / "m.nii.gz")
    before = (tmp_path / "m.nii.gz").read_bytes()
    monkeypatch.setattr(sitk, "WriteImage", full)
    with pytest.raises(SceneError, match="No space left"):
        Lesions.write_mask(scene_case.blob() * 2, volume, tmp_path / "m.nii.gz")
    assert (tmp_path / "m.nii.gz").read_bytes() == before
    assert {file.suffix for file in tmp_path.iterdir()} == {".npy", ".gz"}


def test_terminology_is_a_mass_in_the_right_breast(segmentation: Any) -> None:
    """SNOMED CT, in the order of Slicer: context, category, type, its modifier, context, region, its modifier."""
    import slicer
    import vtk

    from MolSubSlicerLib.Scene import Lesions

    name, text = Lesions.add_lesion(segmentation), vtk.reference("")
    tag = slicer.vtkSegment.GetTerminologyEntryTagName()
    assert segmentation.GetSegmentation().GetSegment(name).GetTag(tag, text)
    found = [part.split("^")[:2] for part in str(text).split("~")]
    assert [found[index] for index in (1, 2, 5, 6)] == [
        ["SCT", code] for code in ("49755003", "4147007", "76752008", "24028007")
    ]


def test_the_segmentation_knows_its_mammogram(scene: Any, volume: Any, segmentation: Any) -> None:
    tree = scene.GetSubjectHierarchyNode()
    assert segmentation.GetNodeReference("MolSub.Mammogram") is volume
    parents = {tree.GetItemParent(tree.GetItemByDataNode(node)) for node in (volume, segmentation)}
    assert len(parents) == 1
    geometry = segmentation.GetSegmentation().GetConversionParameter("Reference image geometry")
    assert geometry.split(";")[-2].endswith("0") and "199;0;299" in geometry
