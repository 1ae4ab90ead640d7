"""Masks of every format, imported by the panel's button through the worker, against the pixels that were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

import annotate_case as case

Until = Callable[..., Any]


@pytest.fixture
def panel(module: Any) -> Any:
    return module.panels["AnnotatePanel"]


@pytest.fixture
def volume(module: Any, synthetic_case: Any, process_until: Until, dialogs: Any) -> Any:
    """A synthetic DICOM file, loaded by the Load panel."""
    load = module.panels["LoadPanel"]
    dialogs.answer("Load mammograms", [str(synthetic_case.images[0])])
    load.ui.filesButton.click()
    process_until(lambda: not load.controller.busy and module.session.parameters.mammogram is not None, 60)
    return module.session.parameters.mammogram


def mask(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Two lesions, neither symmetric nor square."""
    labels = np.zeros(shape, np.uint8)
    labels[200:240, 100:190] = 1
    labels[210:220, 120:130] = 0
    labels[500:590, 300:333] = 2
    labels[500:520, 300:310] = 0
    return labels


def import_file(panel: Any, module: Any, path: Path, process_until: Until, dialogs: Any) -> str:
    """Click on Import, choose the file, wait; what the panel says."""
    module.session.say("")
    dialogs.answer("Import a mask", str(path))
    panel.ui.importButton.click()
    process_until(lambda: module.message.text, 60)
    return str(module.message.text)


def write_nifti(folder: Path, labels: NDArray[np.uint8], image: Any) -> Path:
    volume = sitk.GetImageFromArray(labels[None])
    volume.SetSpacing((0.07, 0.07, 1.0))  # as ITK-SNAP has it: the axes of a picture without orientation
    sitk.WriteImage(volume, str(folder / "mask.nii.gz"))
    return folder / "mask.nii.gz"


def write_nrrd(folder: Path, labels: NDArray[np.uint8], image: Any) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(labels[None]), str(folder / "mask.nrrd"), useCompression=True)
    return folder / "mask.nrrd"


def write_slicers(folder: Path, labels: NDArray[np.uint8], image: Any) -> Path:
    """A .seg.nrrd that Slicer cut to the lesions' extent."""
    cut = sitk.GetImageFromArray(labels[None, 190:, 90:])
    for key, value in {
        "Segmentation_ReferenceImageExtentOffset": "90 190 0",
        "Segment0_LabelValue": "1",
        "Segment1_LabelValue": "2",
    }.items():
        cut.SetMetaData(key, value)
    sitk.WriteImage(cut, str(folder / "mask.seg.nrrd"))
    return folder / "mask.seg.nrrd"


def write_png(folder: Path, labels: NDArray[np.uint8], image: Any) -> Path:
    Image.fromarray(labels * 100).save(folder / "mask.png")
    return folder / "mask.png"


def write_seg(folder: Path, labels: NDArray[np.uint8], image: Any) -> Path:
    """A DICOM Segmentation with one segment and one bit-packed frame for each lesion."""
    source = pydicom.dcmread(image, stop_before_pixels=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = SegmentationStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(prefix="1.2.826.0.1.3680043.8.498.")
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = SegmentationStorage, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.SegmentationType = "SEG", "BINARY"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = *labels.shape, 2
    dataset.BitsAllocated = dataset.BitsStored = dataset.SamplesPerPixel = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = source.SeriesInstanceUID, Sequence([reference])
    dataset.ReferencedSeriesSequence = Sequence([series])
    segments, frames = [], []
    for number in (1, 2):
        segment, identification, frame = Dataset(), Dataset(), Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, f"Lesion {number}"
        identification.ReferencedSegmentNumber = number
        frame.SegmentIdentificationSequence = Sequence([identification])
        segments.append(segment)
        frames.append(frame)
    dataset.SegmentSequence, dataset.PerFrameFunctionalGroupsSequence = Sequence(segments), Sequence(frames)
    bits = np.stack([labels == 1, labels == 2]).ravel()
    dataset.PixelData = np.packbits(bits, bitorder="little").tobytes()
    dataset.save_as(folder / "mask.dcm", enforce_file_format=True)
    return folder / "mask.dcm"


def test_every_format_lands_pixel_by_pixel(
    panel: Any, module: Any, volume: Any, synthetic_case: Any, tmp_path: Path, process_until: Until, dialogs: Any
) -> None:
    labels = mask(case.labels_of(volume).shape)
    for write in (write_nifti, write_nrrd, write_slicers, write_png, write_seg):
        path = write(tmp_path, labels, synthetic_case.images[0])
        assert f"from {path.name}: 2." in import_file(panel, module, path, process_until, dialogs), path
        np.testing.assert_array_equal(case.labels_of(volume), labels)
        assert [row.size.split("(")[1] for row in panel.controller.rows] == ["90 x 40 px)", "33 x 90 px)"]
        assert len(panel.controller.region.geometries) == 2
        for _lesion in range(2):
            panel.ui.removeLesionButton.click()
        assert not case.labels_of(volume).any()


def test_imports_add_up_and_can_be_undone(
    panel: Any, module: Any, volume: Any, synthetic_case: Any, tmp_path: Path, process_until: Until, dialogs: Any
) -> None:
    case.effect(panel, "Paint")
    case.brush(panel, 20.0)
    case.stroke(volume, (700, 200))
    panel.ui.lesionTable.item(0, 0).setText("mine")
    painted = case.labels_of(volume)
    labels = mask(painted.shape)
    path = write_nifti(tmp_path, labels, synthetic_case.images[0])
    import_file(panel, module, path, process_until, dialogs)
    assert [row.name for row in panel.controller.rows] == ["mine", "Lesion 2", "Lesion 3"]
    expected = np.where(labels > 0, labels + 1, painted)
    np.testing.assert_array_equal(case.labels_of(volume), expected)
    said = import_file(panel, module, path, process_until, dialogs)  # by mistake once more: a mean would count it twice
    assert ": 0." in said and "2 of its lesions are outlined already" in said
    np.testing.assert_array_equal(case.labels_of(volume), expected)
    panel.editor.widget.undo()
    np.testing.assert_array_equal(case.labels_of(volume), painted)


def test_another_grid_is_refused_with_both_sizes(
    panel: Any, module: Any, volume: Any, tmp_path: Path, process_until: Until, dialogs: Any
) -> None:
    rows, columns = case.labels_of(volume).shape
    for shape, words in (
        ((rows // 2, columns), f"{rows // 2} rows x {columns} columns"),
        ((columns, rows), "transposed"),
    ):
        labels = np.zeros(shape, np.uint8)
        labels[100:150, 100:150] = 1
        path = write_nifti(tmp_path, labels, None)
        text = import_file(panel, module, path, process_until, dialogs)
        assert words in text
        assert f"{rows} rows x {columns} columns" in text
        assert not case.labels_of(volume).any()
        assert panel.ui.importButton.enabled


def test_an_image_that_goes_meanwhile_gets_nothing(
    panel: Any, module: Any, volume: Any, synthetic_case: Any, tmp_path: Path, process_until: Until, dialogs: Any
) -> None:
    import slicer

    path = write_nifti(tmp_path, mask(case.labels_of(volume).shape), synthetic_case.images[0])
    dialogs.answer("Import a mask", str(path))
    panel.ui.importButton.click()
    slicer.mrmlScene.Clear(0)
    process_until(lambda: module.message.text, 60)
    assert "nothing was imported" in module.message.text
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
