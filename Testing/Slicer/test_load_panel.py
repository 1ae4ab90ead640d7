"""The Load panel: real clicks, a real worker, synthetic and real files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from headless.dialogs import DIALOGS
from MolSubCore.worker.jobs import sample_case

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data"
Until = Callable[..., Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The sample case's files, by name."""
    folder = tmp_path_factory.mktemp("case")
    made = sample_case({"out": str(folder)}, lambda *args, **values: None)["cases"]
    return {Path(path).name: path for case in made for path in case.values()}


@pytest.fixture
def panel(module: Any, scene: Any) -> Any:
    return module.panels["LoadPanel"]


@pytest.fixture
def load(panel: Any, process_until: Until) -> Callable[..., list[Any]]:
    """Load files by the panel's button, and wait; the mammograms of the scene."""

    def load(*paths: str | Path) -> list[Any]:
        DIALOGS.answer("Load mammograms", [str(path) for path in paths])
        panel.ui.filesButton.click()
        process_until(lambda: not panel.controller.busy, 60)
        return [row.volume for row in panel.controller.views()]

    return load


def cells(table: Any) -> list[list[str]]:
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def rows(panel: Any) -> list[list[str]]:
    """Side, view, spacing, vendor and notes of the views that are loaded."""
    return [row[1:] for row in cells(panel.ui.viewsTable)]


def said(module: Any) -> str:
    return str(module.message.text)


def test_files_become_views_with_what_their_headers_say(panel: Any, load: Any, files: dict[str, str]) -> None:
    volumes = load(files["molsub_sample_R_CC.dcm"], files["molsub_sample_R_MLO.dcm"])
    assert [volume.GetName() for volume in volumes] == ["R CC", "R MLO"]
    assert rows(panel) == [
        ["R", view, "0.117 (detector)", "MolSubSlicer project", "Synthetic, not a patient."] for view in ("CC", "MLO")
    ]
    from slicer.util import arrayFromVolume

    for volume, path in zip(volumes, (files["molsub_sample_R_CC.dcm"], files["molsub_sample_R_MLO.dcm"]), strict=True):
        stored = pydicom.dcmread(path)
        assert stored.PhotometricInterpretation == "MONOCHROME2"
        np.testing.assert_array_equal(arrayFromVolume(volume)[0], stored.pixel_array)
        assert volume.GetSpacing() == pytest.approx((0.1172, 0.1172, 1))


def of_patient(file: str, patient: str | None, target: Path) -> Path:
    """A copy of a file that says it is another patient's, or nobody's: then of no study either."""
    dataset = pydicom.dcmread(file)
    dataset.PatientID = patient or ""
    dataset.StudyInstanceUID = pydicom.uid.generate_uid() if patient else ""
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    target.parent.mkdir(exist_ok=True)
    dataset.save_as(target)
    return target


def hung() -> list[str]:
    """What stands above the views on the screen."""
    from MolSubSlicerLib.Scene import Hanging

    return [node.GetLayoutLabel() for node, _volume in Hanging._shown()]


def test_two_patients_are_never_hung_as_one(
    panel: Any, module: Any, load: Any, files: dict[str, str], tmp_path: Path
) -> None:
    cc, mlo = files["molsub_sample_R_CC.dcm"], files["molsub_sample_R_MLO.dcm"]
    (first,) = load(of_patient(cc, "Alpha", tmp_path / "a.dcm"))
    assert (hung(), panel.ui.viewsTable.isColumnHidden(0)) == (["R CC"], True)
    _first, second = load(of_patient(mlo, "Beta", tmp_path / "b.dcm"))
    assert hung() == ["B: R MLO"]
    assert module.session.parameters.mammogram is second
    assert panel.chosen() == [second]
    assert "images of 2 patients, A to B: those of B are hung" in said(module)
    assert [row[:3] for row in cells(panel.ui.viewsTable)] == [["A", "R", "CC"], ["B", "R", "MLO"]]
    assert not panel.ui.viewsTable.isColumnHidden(0)
    load(of_patient(mlo, "Alpha", tmp_path / "c.dcm"))
    assert hung() == ["A: R CC", "A: R MLO (2)"]
    assert "Alpha" not in "".join(str(first.GetAttribute(name)) for name in list(first.GetAttributeNames()))
    panel.ui.viewsTable.selectRow(1)
    assert hung() == ["B: R MLO"]  # who is chosen is seen
    panel.ui.viewsTable.selectAll()
    panel.ui.hangButton.click()  # the user's own wish
    assert sorted(hung()) == ["A: R CC", "A: R MLO (2)", "B: R MLO"]
    assert said(module).startswith("These images are not known to be of one patient: A: R CC, B: R MLO")


def test_eight_pictures_of_nobody_are_asked_about(
    panel: Any, module: Any, load: Any, files: dict[str, str], tmp_path: Path
) -> None:
    """Files without identifiers: one folder is taken for one patient, and it is said; two folders are not."""
    cc = files["molsub_sample_R_CC.dcm"]
    paths = [
        of_patient(cc, None, tmp_path / folder / f"{number}.dcm") for folder in ("one", "two") for number in (1, 2)
    ]
    load(*paths)
    assert hung() == ["A: R CC", "A: R CC (2)"]
    assert "do not say whose they are" in said(module)
    assert [row[0] for row in cells(panel.ui.viewsTable)] == ["A", "A", "B", "B"]


def test_hang_shows_all_of_the_patient_though_one_row_is_chosen(panel: Any, load: Any, files: dict[str, str]) -> None:
    load(files["molsub_sample_R_CC.dcm"], files["molsub_sample_R_MLO.dcm"])
    panel.ui.viewsTable.selectRow(0)
    panel.ui.hangButton.click()
    assert hung() == ["R CC", "R MLO"]


def test_without_a_spacing_it_is_said_that_rulers_mean_nothing(module: Any, load: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (300, 1))).save(tmp_path / "R_CC.png")
    load(tmp_path / "R_CC.png")
    assert "Slicer's rulers count a pixel as 1 mm" in said(module)


def test_a_dark_is_dense_picture_comes_bright(load: Any, files: dict[str, str], tmp_path: Path) -> None:
    dataset = pydicom.dcmread(files["molsub_sample_R_CC.dcm"])
    normal = dataset.pixel_array
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    dataset.PixelData = (4095 - normal).astype("<u2").tobytes()
    dataset.save_as(tmp_path / "inverted.dcm")
    from slicer.util import arrayFromVolume

    (volume,) = load(tmp_path / "inverted.dcm")
    np.testing.assert_array_equal(arrayFromVolume(volume)[0], normal)


def test_a_folder_is_looked_through_and_reasons_are_listed(
    panel: Any, module: Any, files: dict[str, str], tmp_path: Path, process_until: Until
) -> None:
    (tmp_path / "inner").mkdir()
    shutil.copy(files["molsub_sample_R_CC.dcm"], tmp_path / "inner" / "a.dcm")
    shutil.copy(files["molsub_sample_R_CC_lesion.nii"], tmp_path / "a_lesion.nii")
    (tmp_path / "notes.txt").write_text("hello")
    tomosynthesis = pydicom.dcmread(files["molsub_sample_R_MLO.dcm"])
    tomosynthesis.SOPClassUID = tomosynthesis.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.13.1.3"
    tomosynthesis.NumberOfFrames = 2
    tomosynthesis.PixelData = tomosynthesis.PixelData * 2
    tomosynthesis.save_as(tmp_path / "dbt.dcm")
    DIALOGS.answer("folder", str(tmp_path))
    panel.ui.folderButton.click()
    process_until(lambda: not panel.controller.busy, 60)
    assert [row[:2] for row in rows(panel)] == [["R", "CC"]]
    reasons = dict(cells(panel.ui.skippedTable))
    assert set(reasons) == {"a_lesion.nii", "notes.txt", "dbt.dcm"}
    assert "tomosynthesis" in reasons["dbt.dcm"] and "2 frames" in reasons["dbt.dcm"]
    assert "mask" in reasons["a_lesion.nii"]
    assert not panel.ui.skippedGroup.isHidden()
    assert said(module).startswith("One view loaded. 3 were not")


def test_the_dicom_button_opens_slicers_database(panel: Any) -> None:
    import slicer

    panel.ui.dicomButton.click()
    assert slicer.app.mainWindow().moduleSelector().selectedModule == "DICOM"


def test_nothing_is_loaded_twice(panel: Any, load: Any, files: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(files["molsub_sample_R_CC.dcm"], tmp_path / "copy.dcm")
    load(files["molsub_sample_R_CC.dcm"])
    assert len(load(files["molsub_sample_R_CC.dcm"], tmp_path / "copy.dcm")) == 1
    assert [row[1] for row in cells(panel.ui.skippedTable)] == ["It is already in the scene."] * 2


def test_a_damaged_file_is_a_sentence_and_the_others_are_loaded(
    panel: Any, load: Any, files: dict[str, str], tmp_path: Path
) -> None:
    whole = Path(files["molsub_sample_R_CC.dcm"]).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) // 2])
    volumes = load(tmp_path / "cut.dcm", files["molsub_sample_R_MLO.dcm"])
    assert [volume.GetName() for volume in volumes] == ["R MLO"]
    ((name, reason),) = cells(panel.ui.skippedTable)
    assert name == "cut.dcm" and "\n" not in reason and "Traceback" not in reason


def test_the_sample_case_comes_with_its_outlines(
    panel: Any, module: Any, files: dict[str, str], process_until: Until
) -> None:
    import SimpleITK as sitk

    from MolSubSlicerLib.Scene import Hanging, Lesions

    told: list[Any] = []
    module.session.lesions_changed.connect(told.append)
    panel.ui.sampleButton.click()
    assert not panel.ui.cancelButton.isHidden() and not panel.ui.filesButton.enabled
    process_until(lambda: not panel.controller.busy, 60)
    module.session.lesions_changed.disconnect(told.append)
    assert panel.ui.cancelButton.isHidden() and panel.ui.filesButton.enabled
    volumes = [row.volume for row in panel.controller.views()]
    assert told == volumes and [volume.GetName() for volume in volumes] == ["R CC", "R MLO"]
    for volume in volumes:
        mask = sitk.ReadImage(files[f"molsub_sample_{volume.GetName().replace(' ', '_')}_lesion.nii"])
        labels = Lesions.labels_of(Lesions.segmentation_for(volume, create=False), volume)
        np.testing.assert_array_equal(labels, sitk.GetArrayFromImage(mask)[0])
        assert len(Hanging.views_of(volume)) == 1
    assert module.session.parameters.mammogram is volumes[0]


def test_a_chosen_row_is_the_mammogram_of_the_other_panels(
    panel: Any, module: Any, load: Any, files: dict[str, str]
) -> None:
    volumes = load(files["molsub_sample_R_CC.dcm"], files["molsub_sample_R_MLO.dcm"])
    told: list[int] = []
    module.session.mammograms_changed.connect(lambda: told.append(1))
    panel.ui.viewsTable.selectRow(1)
    assert module.session.parameters.mammogram is volumes[1] and told
    assert panel.ui.detailsLabel.text.startswith("R MLO: molsub_sample_R_MLO.dcm, 2048 × 1664 pixels, For Pres")


def test_the_hang_button_shows_the_chosen_views(panel: Any, load: Any, files: dict[str, str], tmp_path: Path) -> None:
    from PySide6.QtWidgets import QTableWidgetSelectionRange

    own = str(pydicom.dcmread(files["molsub_sample_R_CC.dcm"]).PatientID)
    third = of_patient(files["molsub_sample_R_MLO.dcm"], own, tmp_path / "third.dcm")
    load(files["molsub_sample_R_CC.dcm"], files["molsub_sample_R_MLO.dcm"], third)
    panel.ui.hangButton.click()
    assert len(hung()) == 3
    panel.ui.viewsTable.setRangeSelected(QTableWidgetSelectionRange(0, 0, 1, 5), True)
    panel.ui.hangButton.click()
    assert hung() == ["R CC", "R MLO"]


def test_the_fit_button_undoes_zoom_at_one_scale(panel: Any, module: Any, load: Any, files: dict[str, str]) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Hanging

    assert not panel.ui.fitButton.enabled
    volumes = load(files["molsub_sample_R_CC.dcm"], files["molsub_sample_R_MLO.dcm"])
    nodes = [slicer.mrmlScene.GetNodeByID(Hanging.views_of(volume)[0]) for volume in volumes]
    before = [node.GetFieldOfView()[1] for node in nodes]
    nodes[0].SetFieldOfView(5.0, 5.0, 1.0)
    nodes[1].SetXYZOrigin(30.0, 0.0, 0.0)
    panel.ui.fitButton.click()
    assert [node.GetFieldOfView()[1] for node in nodes] == pytest.approx(before)
    assert before[0] == pytest.approx(before[1])
    assert nodes[1].GetXYZOrigin()[0] != 30.0
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    panel.ui.fitButton.click()
    assert said(module) == "No view is hung in this layout. Hang the views first."


def test_remove_takes_a_view_and_its_lesions(panel: Any, process_until: Until) -> None:
    import slicer

    panel.ui.sampleButton.click()
    process_until(lambda: not panel.controller.busy, 60)
    panel.ui.viewsTable.selectRow(0)
    panel.ui.removeButton.click()
    assert [row[1] for row in rows(panel)] == ["MLO"]
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1


def test_a_view_removed_by_hand_leaves_the_table(
    panel: Any, load: Any, files: dict[str, str], process_until: Until
) -> None:
    import slicer

    (volume,) = load(files["molsub_sample_R_CC.dcm"])
    slicer.mrmlScene.RemoveNode(volume)
    process_until(lambda: panel.ui.viewsTable.rowCount == 0, 10)
    assert "No mammogram is loaded" in panel.ui.detailsLabel.text


def test_cancel_keeps_what_is_loaded_and_the_panel_usable(
    panel: Any, module: Any, load: Any, files: dict[str, str], process_until: Until
) -> None:
    load(files["molsub_sample_R_CC.dcm"])
    panel.ui.sampleButton.click()
    panel.ui.cancelButton.click()
    process_until(lambda: not panel.controller.busy, 10)
    assert said(module) == "Loading was stopped."
    assert [row[1] for row in rows(panel)] == ["CC"]
    assert len(load(files["molsub_sample_R_MLO.dcm"])) == 2


def test_a_scene_closed_meanwhile_leaves_nothing_behind(panel: Any, process_until: Until) -> None:
    import slicer

    panel.ui.sampleButton.click()
    slicer.mrmlScene.Clear(0)
    process_until(lambda: not panel.controller.busy, 10)
    process_until(lambda: panel.controller.session.worker.state in ("ready", "stopped", "died"), 20)
    assert panel.ui.viewsTable.rowCount == 0 and not panel.controller.views()


def test_volumes_loaded_by_slicer_are_recognised_and_read_again(
    panel: Any, files: dict[str, str], process_until: Until
) -> None:
    import slicer
    from slicer.util import addVolumeFromArray, arrayFromVolume

    path = files["molsub_sample_R_CC.dcm"]
    pixels = pydicom.dcmread(path).pixel_array
    slicer.dicomDatabase.add(path)
    wrong = addVolumeFromArray((4095 - pixels)[None].astype(np.int16), name="unnamed series")
    wrong.SetAttribute("DICOM.instanceUIDs", str(pydicom.dcmread(path).SOPInstanceUID))
    stack = addVolumeFromArray(np.zeros((4, 5, 6), np.int16), name="a stack")
    process_until(lambda: not panel.ui.takeOverButton.isHidden(), 10)
    assert "unnamed series" in panel.ui.takeOverButton.text and "a stack" not in panel.ui.takeOverButton.text
    panel.ui.takeOverButton.click()
    process_until(lambda: not panel.controller.busy, 60)
    (row,) = panel.controller.views()
    assert row.volume.GetName() == "R CC"
    np.testing.assert_array_equal(arrayFromVolume(row.volume)[0], pixels)  # from the file, not from the wrong voxels
    assert panel.ui.takeOverButton.isHidden()
    assert wrong.GetScene() is not None and stack.GetScene() is not None
    slicer.dicomDatabase.clear()


def test_a_volume_without_a_file_is_taken_over_with_a_note(panel: Any, process_until: Until) -> None:
    from slicer.util import addVolumeFromArray, arrayFromVolume

    image = np.arange(300 * 200, dtype=np.uint16).reshape(300, 200)
    addVolumeFromArray(image[None], name="pasted")
    process_until(lambda: not panel.ui.takeOverButton.isHidden(), 10)
    panel.ui.takeOverButton.click()
    process_until(lambda: not panel.controller.busy, 60)
    (row,) = panel.controller.views()
    np.testing.assert_array_equal(arrayFromVolume(row.volume)[0], image)
    assert "original file" in row.details
    assert panel.ui.takeOverButton.isHidden()


@pytest.mark.real
@pytest.mark.skipif(not (REAL / "dicom").is_dir(), reason="no ../shared/data/dicom")
def test_real_mammograms_of_two_vendors_and_a_tomosynthesis(panel: Any, load: Any) -> None:
    load(*sorted((REAL / "dicom").glob("*.dcm")))
    found = {(row[0], row[1]): row[3] for row in rows(panel)}
    assert found[("R", "MLO")].startswith("GE")
    assert ("L", "CC") in found
    ((name, reason),) = cells(panel.ui.skippedTable)
    assert name.startswith("dbt") and "tomosynthesis" in reason
