"""The plugin of Slicer's DICOM module, by DICOMLib's protocol: lists of files, loadables, load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from MolSubCore.worker.jobs import sample_case

TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Both views of the sample case, put into one series, as some machines send them."""
    folder = tmp_path_factory.mktemp("series")
    made = sample_case({"out": str(folder)}, lambda *args, **values: None)["cases"]
    for case in made:
        dataset = pydicom.dcmread(case["image"])
        dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.7"
        dataset.save_as(case["image"])
    return [case["image"] for case in made]


@pytest.fixture
def plugin(module: Any, scene: Any, files: list[str]) -> Iterator[Any]:
    import slicer

    for path in files:
        slicer.dicomDatabase.add(path)
    plugin = slicer.modules.dicomPlugins["DICOMMammographyPlugin"]()
    yield plugin
    slicer.dicomDatabase.clear()


def changed(path: str, target: Path, **values: Any) -> str:
    import slicer

    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(target)
    slicer.dicomDatabase.add(target)
    return str(target)


def test_each_image_of_a_series_is_offered_by_side_and_view(plugin: Any, files: list[str]) -> None:
    loadables = plugin.examineForImport([files])
    assert [loadable.name for loadable in loadables] == ["R CC", "R MLO"]
    assert [loadable.files for loadable in loadables] == [[path] for path in files]
    assert all(0.5 < loadable.confidence < 1 and loadable.selected for loadable in loadables)
    assert plugin.examine([files]) == loadables  # kept, not made again


def test_what_is_no_single_mammogram_is_not_offered(plugin: Any, files: list[str], tmp_path: Path) -> None:
    others = [
        changed(files[0], tmp_path / "ct.dcm", Modality="CT"),
        changed(files[0], tmp_path / "dbt.dcm", SOPClassUID=TOMOSYNTHESIS),
        changed(files[0], tmp_path / "frames.dcm", NumberOfFrames=30),
    ]
    assert plugin.examineForImport([others]) == []


def test_names_of_equal_views_differ_and_raw_data_are_warned_of(plugin: Any, files: list[str], tmp_path: Path) -> None:
    raw = changed(files[0], tmp_path / "raw.dcm", PresentationIntentType="FOR PROCESSING", SOPInstanceUID="1.2.3")
    bare = changed(files[0], tmp_path / "bare.dcm", ImageLaterality=None, ViewPosition=None, SOPInstanceUID="1.2.4")
    loadables = plugin.examineForImport([[files[0], raw, bare]])
    assert [loadable.name for loadable in loadables] == ["R CC", "R CC (2)", "Mammogram"]
    assert [bool(loadable.warning) for loadable in loadables] == [False, True, False]


def test_loading_gives_the_cores_pixels_below_patient_and_study(plugin: Any, files: list[str]) -> None:
    import slicer
    from slicer.util import arrayFromVolume

    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    for loadable in plugin.examineForImport([files]):
        volume, dataset = plugin.load(loadable), pydicom.dcmread(loadable.files[0])
        assert volume.GetName() == loadable.name
        np.testing.assert_array_equal(arrayFromVolume(volume)[0], dataset.pixel_array)
        assert volume.GetAttribute("DICOM.instanceUIDs") == dataset.SOPInstanceUID
        assert volume.GetAttribute("MolSub.SpacingSource") == "ImagerPixelSpacing"
        item = tree.GetItemByDataNode(volume)
        study = tree.GetItemParent(item)
        assert tree.GetItemUID(study, "DICOM") == dataset.StudyInstanceUID
        assert tree.GetItemUID(tree.GetItemParent(study), "DICOM") == dataset.PatientID
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2


def test_the_panel_shows_what_the_plugin_loaded(plugin: Any, module: Any, files: list[str], process_until: Any) -> None:
    table = module.panels["LoadPanel"].ui.viewsTable
    plugin.load(plugin.examineForImport([files])[1])
    process_until(lambda: table.rowCount == 1, 10)
    assert [table.item(0, column).text() for column in (1, 2)] == ["R", "MLO"]


def test_a_file_that_cannot_be_read_raises_the_readers_sentence_and_adds_nothing(
    plugin: Any, files: list[str], tmp_path: Path
) -> None:
    import slicer

    broken = changed(files[0], tmp_path / "broken.dcm", SOPInstanceUID="1.2.5")
    content = Path(broken).read_bytes()
    Path(broken).write_bytes(content[: len(content) // 3])
    (loadable,) = plugin.examineForImport([[broken]])
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(RuntimeError, match=r"broken\.dcm"):
        plugin.load(loadable)
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_a_worker_that_was_killed_is_started_again(plugin: Any, files: list[str]) -> None:
    first, second = plugin.examineForImport([files])
    plugin.load(first)
    worker = type(plugin)._worker
    worker._process.kill()
    worker._process.waitForFinished(5000)
    assert plugin.load(second).GetName() == "R MLO"
    worker.stop()
