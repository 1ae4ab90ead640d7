"""The worklist in the Annotate panel: clicks, strokes, a real worker, and what lies on the disk then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import annotate_case as case
from MolSubCore.cohort.table import read_cohort
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from worklist_case import Reader, bare_table, make_images

Until = Callable[..., Any]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def table(cohort: Path, tmp_path: Path) -> Path:
    return bare_table(cohort, tmp_path)


@pytest.fixture
def reader(module: Any, dialogs: Any, process_until: Until) -> Reader:
    return Reader(module, dialogs, process_until)


def cells(reader: Reader) -> list[list[str]]:
    table = reader.ui.entryTable
    return [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]


def on_disk(reader: Reader) -> np.ndarray:
    image = sitk.ReadImage(str(reader.entry.mask))
    assert image.GetSize()[2] == 1
    return sitk.GetArrayFromImage(image)[0]


def check_mask(reader: Reader, labels: np.ndarray) -> None:
    """What ITK-SNAP and the core read: one slice on the image's own grid, its own spacing."""
    np.testing.assert_array_equal(on_disk(reader), labels)
    assert sitk.ReadImage(str(reader.entry.mask)).GetPixelIDTypeAsString() == "8-bit unsigned integer"
    mammogram = read_mammogram(reader.entry.image)
    np.testing.assert_array_equal(read_lesions(reader.entry.mask, mammogram).full_mask(), labels > 0)
    spacing = sitk.ReadImage(str(reader.entry.mask)).GetSpacing()
    assert spacing[:2] == pytest.approx((mammogram.spacing.col_mm, mammogram.spacing.row_mm))


def test_a_reader_works_through_a_table_and_comes_back(reader: Reader, module: Any, table: Path) -> None:
    import slicer

    reader.open(table, "Dr. A")
    assert [row[0] for row in cells(reader)] == ["", "", "", ""]
    assert reader.ui.statusLabel.text.startswith("Dr. A: 0 of 4 done. Image 1: ")
    assert module.session.parameters.mammogram is reader.volume
    first = reader.paint((150, 100), (170, 120))
    reader.wait_for_mask()  # nobody clicked
    check_mask(reader, first)
    reader.ui.noteEdit.text = "spiculated"
    reader.click("doneButton")
    assert reader.entry.number == 2
    assert cells(reader)[0][0] == "yes"
    assert cells(reader)[0][3] == "spiculated"
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1  # not the whole cohort in the scene
    assert not case.labels_of(reader.volume).any()
    second = reader.paint((200, 60))
    reader.click("nextButton")  # at once: before the second that autosave waits
    third_mask = reader.entry.mask
    assert not third_mask.exists()
    for labels in (second, first):
        reader.click("previousButton")
        np.testing.assert_array_equal(case.labels_of(reader.volume), labels)
        np.testing.assert_array_equal(on_disk(reader), labels)
    assert reader.ui.noteEdit.text == "spiculated"
    assert reader.ui.doneCheckBox.checked
    reader.click("undoneButton")
    assert reader.entry.number == 2
    reader.click("nextButton")
    reader.click("closeButton")
    assert not reader.ui.listFrame.isVisibleTo(reader.part.widget)
    # The next day.
    slicer.mrmlScene.Clear(0)
    reader.click("resumeButton")
    assert reader.entry.number == 3
    assert [row[0] for row in cells(reader)] == ["yes", "", "", ""]
    assert reader.ui.doneBar.value == 1


def test_the_cohort_table_can_be_trained_on(reader: Reader, table: Path) -> None:
    reader.open(table, "Dr. A")
    for subtype in ("TN", "Luminal A"):
        reader.paint((150, 100))
        index = reader.ui.subtypeBox.findText(subtype)
        reader.ui.subtypeBox.setCurrentIndex(index)
        reader.ui.subtypeBox.activated.emit(index)
        reader.click("doneButton")
        reader.click("nextButton")  # the patient's other view has no lesion
    reader.ui.exportButton.click()
    written = read_cohort(table.parent / "masks" / "Dr. A" / "cohort.csv")
    assert [(c.subtype.value, c.lesion.name.endswith("_lesion.nii.gz")) for c in written.cases] == [
        ("TN", True),
        ("Luminal A", True),
    ]
    assert len({c.patient_id for c in written.cases}) == 2


def test_a_folder_is_read_by_its_headers(reader: Reader, module: Any, table: Path) -> None:
    folder = table.parent
    (folder / "images" / "photo.png").write_bytes(b"no picture")
    reader.open(folder, "Dr. A")
    assert len(cells(reader)) == 4
    assert all(name.endswith(".dcm") for _done, _patient, name, _note in cells(reader))
    assert "left out" in module.message.text


def test_what_is_erased_is_gone_and_closing_saves(reader: Reader, table: Path) -> None:
    import slicer

    reader.open(table, "Dr. A")
    reader.paint((150, 100))
    reader.click("nextButton")
    reader.click("previousButton")
    mask = reader.entry.mask
    assert mask.exists()
    reader.panel.ui.removeLesionButton.click()
    reader.click("nextButton")
    assert not mask.exists()
    painted = reader.paint((80, 60))
    slicer.mrmlScene.Clear(0)  # in the middle of the work
    np.testing.assert_array_equal(on_disk(reader), painted)
    assert reader.volume is None
    reader.click("previousButton")
    reader.click("nextButton")
    np.testing.assert_array_equal(case.labels_of(reader.volume), painted)
    more = reader.paint((200, 60))
    from MolSubSlicerLib.Scene import Mammograms

    Mammograms.remove_mammogram(reader.volume)  # by the Load panel
    np.testing.assert_array_equal(on_disk(reader), more)


def test_outlines_deleted_by_hand_cost_no_mask(reader: Reader, module: Any, table: Path, process_until: Until) -> None:
    """In Slicer's module Data, for example: outlining goes on, and what was saved stays until something is outlined."""
    import slicer

    from MolSubSlicerLib.Scene import Lesions

    reader.open(table, "Dr. A")
    name = reader.volume.GetName()
    labels = reader.paint((150, 100))
    reader.wait_for_mask()
    annotate = module.panels["AnnotatePanel"]
    slicer.mrmlScene.RemoveNode(Lesions.segmentation_for(reader.volume, create=False))
    process_until(lambda: annotate.controller.volume is reader.volume)
    assert module.message.text == f"The outlines of {name} were deleted. An empty lesion was begun."
    assert annotate.ui.addLesionButton.enabled
    reader.click("nextButton")
    assert reader.volume.GetName() in ("R CC", "R MLO", "L CC", "L MLO")  # names do not count up
    reader.click("previousButton")
    np.testing.assert_array_equal(on_disk(reader), labels)
    np.testing.assert_array_equal(case.labels_of(reader.volume), labels)


def test_a_mask_of_another_program_is_never_written_over(reader: Reader, module: Any, table: Path) -> None:
    reader.open(table, "Dr. A")
    shape = case.labels_of(reader.volume).shape
    other = np.zeros(shape, np.uint8)
    other[40:70, 50:90] = 1
    mask = reader.entry.mask
    sitk.WriteImage(sitk.GetImageFromArray(other[None]), str(mask))
    reader.paint((150, 100))
    before = mask.read_bytes()
    reader.click("nextButton")
    assert reader.entry.number == 1  # what is outlined is not safe: nothing is left behind
    assert mask.read_bytes() == before
    assert reader.ui.conflictFrame.isVisibleTo(reader.part.widget)
    assert "did not write it" in reader.ui.conflictLabel.text
    reader.click("takeFileButton")
    np.testing.assert_array_equal(case.labels_of(reader.volume), other)
    assert not reader.ui.conflictFrame.isVisibleTo(reader.part.widget)
    painted = reader.paint((150, 100))
    sitk.WriteImage(sitk.GetImageFromArray(np.roll(other, 9, 0)[None]), str(mask))
    reader.click("nextButton")
    assert "changed by another program" in module.message.text
    reader.click("takeOutlineButton")
    np.testing.assert_array_equal(on_disk(reader), painted)
    reader.click("nextButton")
    assert reader.entry.number == 2


def test_a_full_disk_keeps_the_reader_where_he_is(
    reader: Reader, module: Any, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.open(table, "Dr. A")
    painted = reader.paint((150, 100))

    def full(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sitk, "WriteImage", full)
        reader.click("doneButton")
        assert "No space left on device" in module.message.text
        assert (reader.entry.number, reader.entry.state) == (1, "todo")
        np.testing.assert_array_equal(case.labels_of(reader.volume), painted)
        assert not reader.entry.mask.exists()
    reader.click("doneButton")
    assert reader.entry.number == 2
    assert not list(table.parent.rglob(".tmp-*"))


def test_given_masks_are_shown_but_not_to_a_blind_reader(reader: Reader, cohort: Path) -> None:
    given = sitk.GetArrayFromImage(sitk.ReadImage(str(read_cohort(cohort).cases[0].lesion)))[0]
    reader.open(cohort, "Open eyes")
    np.testing.assert_array_equal(case.labels_of(reader.volume) > 0, given > 0)
    assert cells(reader)[0][1] == read_cohort(cohort).cases[0].patient_id
    assert reader.ui.subtypeBox.currentText == read_cohort(cohort).cases[0].subtype.value
    reader.click("nextButton")
    assert not reader.controller.worklist.entries[0].has_mask  # looked at is not outlined
    reader.click("closeButton")
    reader.open(cohort, "Blind", blind=True)
    assert not case.labels_of(reader.volume).any()
    assert reader.ui.entryTable.isColumnHidden(1)
    assert not reader.ui.subtypeBox.isVisibleTo(reader.part.widget)


def test_wrong_names_and_sources_are_told(reader: Reader, module: Any, table: Path, tmp_path: Path) -> None:
    assert not reader.ui.openTableButton.enabled or reader.ui.readerEdit.text
    reader.ui.readerEdit.text = ""
    assert not reader.ui.openTableButton.enabled
    reader.open(table, "../../somebody")
    assert "expected letters" in module.message.text
    assert reader.controller.worklist is None
    (tmp_path / "empty.csv").write_text("nothing\n")
    reader.open(tmp_path / "empty.csv", "Dr. A")
    assert "empty.csv" in module.message.text
    assert reader.controller.worklist is None


def test_an_unreadable_image_is_told_and_passed(reader: Reader, module: Any, table: Path, process_until: Until) -> None:
    images = sorted((table.parent / "images").iterdir())
    images[1].write_bytes(b"DICM is not enough")
    reader.open(table, "Dr. A")
    broken = next(entry.number for entry in reader.controller.worklist.entries if entry.image == images[1])
    number = broken % 4 + 1
    reader.controller.go_to(number)
    reader.wait()
    reader.paint((150, 100))
    reader.controller.go_to(broken)
    # The former image is on the screen until the next one is read: nothing may be outlined on it any more.
    assert reader.panel.editor.widget.segmentationNode() is None
    reader.wait()
    assert images[1].name in module.message.text
    assert reader.volume is None
    assert module.session.parameters.mammogram is None
    reader.controller.save()
    assert not reader.entry.mask.exists()
    reader.controller.go_to(number)
    reader.wait()
    assert reader.volume is not None
    assert reader.entry.number == number
