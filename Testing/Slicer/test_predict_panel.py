"""The Predict panel: real clicks, a real worker, a real network."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predict_case import Until, add_views, enter_with_library, is_shown, library_with, said

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def panel(module: Any, bundle: Path, tmp_path: Path, process_until: Until) -> Any:
    """The panel with one model in its library."""
    return enter_with_library(module, library_with(tmp_path / "library", bundle), process_until)


def predicted_by_command(case: Any, bundle: Path, out: Path) -> dict[str, Any]:
    """What `molsub predict` says of the same files."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    images = [text for image, mask in zip(case.images, case.masks, strict=True) for text in (str(image), str(mask))]
    code = (
        "import sys, json; from MolSubCore.prediction.predict import predict;"
        "from MolSubCore.models.bundle import read_bundle;"
        "a = sys.argv[3:]; p = predict(list(zip(a[::2], a[1::2])), read_bundle(sys.argv[1]), layers=[]);"
        "json.dump([p.patient] + [list(map(float, i.probabilities)) for i in p.items], open(sys.argv[2], 'w'))"
    )
    subprocess.run([sys.executable, "-c", code, str(bundle), str(out), *images], check=True, env=environment)
    return json.loads(out.read_text())


def composites_of(volume: Any) -> list[Any]:
    from MolSubSlicerLib.Scene import Hanging

    return Hanging.composites_of(volume)


def test_a_click_gives_bars_heatmaps_and_what_the_core_says(
    module: Any, panel: Any, bundle: Path, synthetic_case: Any, tmp_path: Path, process_until: Until
) -> None:
    from MolSubSlicerLib.Scene import Hanging, Predictions

    volumes = add_views(module, synthetic_case, process_until)
    Hanging.hang(volumes)
    stages: list[str] = []
    panel.controller.changed.connect(lambda: stages.append(panel.ui.progressBar.text))
    assert panel.ui.predictButton.text == "Predict"
    assert not is_shown(panel.ui.resultFrame)
    panel.ui.predictButton.click()
    assert panel.ui.predictButton.text == "Cancel"
    assert is_shown(panel.ui.progressBar)
    process_until(lambda: not panel.controller.running, 120)
    assert said(module) == ""
    assert panel.ui.predictButton.text == "Predict"
    assert not is_shown(panel.ui.progressBar)
    assert {"Loading the model", "Reading the images", "Predicting"} <= {text.rpartition("  ")[0] for text in stages}

    check_bars(panel, volumes, *predicted_by_command(synthetic_case, bundle, tmp_path / "expected.json"))
    check_heatmaps(module, volumes, process_until)
    assert len(Predictions.stored()) == 1
    change_an_outline(module, panel, *volumes)
    damage_and_predict_again(module, panel, tmp_path, bundle, process_until)
    assert len(Predictions.stored()) == 1


def check_bars(panel: Any, volumes: list[Any], patient: dict[str, float], *own: list[float]) -> None:
    """The bars are what the command says."""
    shown = panel.controller.prediction
    assert shown["patient"]["probabilities"] == pytest.approx(patient, abs=1e-5)
    assert [list(item["probabilities"].values()) for item in shown["items"]] == [
        pytest.approx(p, abs=1e-5) for p in own
    ]
    tip = panel.ui.chartLabel.toolTip.splitlines()
    assert tip[0] == "Mean over 2 lesion views: " + ", ".join(f"{k} {v:.2f}" for k, v in patient.items())
    assert [line.partition(",")[0] for line in tip[1:]] == [volume.GetName() for volume in volumes]
    assert "synthetic" in panel.ui.warningsLabel.text
    assert "Research use only" in panel.ui.researchLabel.text


def check_heatmaps(module: Any, volumes: list[Any], process_until: Until) -> None:
    """Every layer and class, and the chosen one in the views."""
    from MolSubSlicerLib.Scene import Heatmaps

    module.panels["HeatmapPanel"].controller.show()
    process_until(lambda: not module.panels["HeatmapPanel"].controller.making, 60)
    for volume in volumes:
        assert len(Heatmaps.heatmaps_of(volume)) == 6 * 2
        for composite in composites_of(volume):
            node = Heatmaps.find(volume, module.session.parameters.layer, module.session.parameters.heatmap_class)
            assert composite.GetForegroundVolumeID() == node.GetID()


def change_an_outline(module: Any, panel: Any, changed: Any, other: Any) -> None:
    """The result is told to be of another outline."""
    from MolSubSlicerLib.Scene import Lesions

    assert not is_shown(panel.ui.outdatedLabel)
    segmentation = Lesions.segmentation_for(changed)
    labels = Lesions.labels_of(segmentation, changed)
    Lesions.set_labels(segmentation, np.roll(labels, 3, axis=0))
    module.session.lesions_changed.emit(changed)
    assert changed.GetName() in panel.ui.outdatedLabel.text
    assert other.GetName() not in panel.ui.outdatedLabel.text


def damage_and_predict_again(module: Any, panel: Any, tmp_path: Path, bundle: Path, until: Until) -> None:
    """One changed byte in the weights is a sentence; so is a click while nothing is ticked."""
    import qt

    weights = next((tmp_path / "library" / bundle.name).glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    panel.ui.predictButton.click()
    until(lambda: not panel.controller.running, 60)
    assert "SHA-256" in said(module)
    assert "Traceback" not in said(module)
    for row in range(panel.ui.viewsList.count):
        panel.ui.viewsList.item(row).setCheckState(qt.Qt.Unchecked)
    panel.ui.predictButton.click()
    assert "Tick at least one" in said(module)
    assert not panel.controller.running


def refuse_another_grid_and_a_full_disk(module: Any, panel: Any, volume: Any) -> None:
    from MolSubSlicerLib.Scene import Lesions

    segmentation = Lesions.segmentation_for(volume)
    labels = np.zeros((300, 200), np.uint8)
    labels[100:120, 80:110] = 1
    Lesions.set_labels(segmentation, labels)
    volume.SetSpacing(0.5, 0.5, 1)
    module.session.lesions_changed.emit(volume)
    panel.ui.predictButton.click()
    assert "Outline the lesion on this very image" in said(module)
    assert not panel.controller.running
    assert panel.ui.predictButton.text == "Predict"

    volume.SetSpacing(0.08, 0.1, 1)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    module.session.new_folder = lambda prefix: (_ for _ in ()).throw(full)
    panel.ui.predictButton.click()
    assert "No space left on device. Free space" in said(module)
    assert not panel.controller.running


def test_the_result_is_of_the_patient_that_is_chosen(
    module: Any, panel: Any, synthetic_case: Any, tmp_path: Path
) -> None:
    """Loading the next patient puts the former's result, report and heatmaps away; going back brings them again."""
    import numpy as np

    from MolSubSlicerLib.Load import Views
    from MolSubSlicerLib.Scene import Lesions, Mammograms
    from predict_case import show_prediction
    from scene_case import SHAPE, facts, item, prediction

    labels = np.zeros(SHAPE, np.uint8)
    labels[120:150, 80:110] = 1
    folder = tmp_path / "files"
    folder.mkdir()
    own: dict[str, list[Any]] = {"Alpha": [], "Beta": []}
    for patient, views in (("Alpha", ("R CC", "R MLO")), ("Beta", ("R CC",))):
        for view in views:
            names = {"patient": patient, "study_instance_uid": f"1.2.{len(patient)}"}
            volume = Mammograms.add_mammogram(facts(folder, view, sop_instance_uid=f"1.{len(patient)}", **names))
            Lesions.set_labels(Lesions.segmentation_for(volume), labels)
            own[patient].append(volume)
    load, report = module.panels["LoadPanel"].controller, module.panels["ReportPanel"]
    load.choose(own["Alpha"][0])
    show_prediction(module, prediction(item(folder)), own["Alpha"][:1])
    assert is_shown(panel.ui.resultFrame)
    assert [view.taken for view in Views.views(own["Alpha"][0])] == [True, True, False]
    load.choose(own["Beta"][0])
    assert not is_shown(panel.ui.resultFrame)
    assert not report.ui.writeButton.enabled
    assert not module.panels["HeatmapPanel"].controller.available
    assert [panel.ui.viewsList.item(row).text().split()[:3] for row in range(3)] == [
        ["A:", "R", "CC"], ["A:", "R", "MLO"], ["B:", "R", "CC"]
    ]  # fmt: skip
    assert [view.taken for view in Views.views(own["Beta"][0])] == [False, False, True]
    load.choose(own["Alpha"][1])
    assert is_shown(panel.ui.resultFrame)
    assert module.panels["HeatmapPanel"].controller.available

    import qt

    panel.ui.viewsList.item(2).setCheckState(qt.Qt.Checked)  # against what the headers say
    panel.ui.predictButton.click()
    assert "A: R CC and B: R CC (2) are of different patients by their headers" in said(module)
    assert not panel.controller.running


def test_a_closed_scene_leaves_the_model_chosen(module: Any, panel: Any, bundle: Path) -> None:
    import slicer

    assert panel.controller.library.chosen is not None
    slicer.mrmlScene.Clear(0)
    assert panel.ui.modelCombo.currentText == bundle.name
    assert panel.controller.library.chosen is not None
    panel.ui.predictButton.click()
    assert said(module) == "There is no mammogram. Load one first."


def test_who_only_outlines_waits_for_no_model(
    module: Any, panel: Any, synthetic_case: Any, process_until: Until
) -> None:
    """PyTorch is loaded in advance only while the panel Predict is open, and only as long as nothing else is to do."""
    asked: list[tuple[str, bool]] = []
    submit = module.session.worker.submit
    module.session.worker.submit = lambda request, listener, *, yields=False: (
        asked.append((request.job, yields)), submit(request, listener, yields=yields)
    )  # fmt: skip
    (volume, _other) = add_views(module, synthetic_case, process_until)
    process_until(lambda: module.session.worker.state == "ready")
    module.session.lesions_changed.emit(volume)
    assert ("warm", True) not in asked and ("warm", False) not in asked
    module.buttons["PredictPanel"].collapsed = False
    assert asked[-1] == ("warm", True)


def test_what_is_missing_is_said(module: Any, scene: Any, bundle: Path, tmp_path: Path, process_until: Until) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Mammograms
    from scene_case import facts

    panel = enter_with_library(module, tmp_path / "empty", process_until)
    assert "empty" in panel.ui.modelCombo.currentText
    panel.ui.predictButton.click()
    assert said(module) == "No model is chosen. Choose one, or import one."

    broken = library_with(tmp_path / "library", bundle) / "other.molsub"
    broken.mkdir()
    card = json.loads((tmp_path / "library" / bundle.name / "bundle.json").read_text())
    (broken / "bundle.json").write_text(json.dumps({**card, "format_version": 99}))
    enter_with_library(module, tmp_path / "library", process_until)
    assert "format version 99" in panel.ui.libraryStateLabel.text
    assert panel.ui.modelCombo.currentText == bundle.name
    panel.ui.predictButton.click()
    assert said(module) == "There is no mammogram. Load one first."

    (tmp_path / "pixels").mkdir()
    volume = Mammograms.add_mammogram(facts(tmp_path / "pixels"))
    module.session.mammograms_changed.emit()
    panel.ui.predictButton.click()
    assert said(module) == "No mammogram has an outlined lesion. Outline one in Annotate first."

    refuse_another_grid_and_a_full_disk(module, panel, volume)
    module.session.parameters.bundle = "gone.molsub"
    panel.ui.predictButton.click()
    assert "gone.molsub is not in the library" in said(module)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0


def test_a_run_that_is_cancelled_or_loses_its_scene_leaves_nothing(
    held: Path, module: Any, panel: Any, synthetic_case: Any, process_until: Until
) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Mammograms, Predictions

    held.touch()

    def begin() -> list[Any]:
        volumes = Mammograms.mammograms() or add_views(module, synthetic_case, process_until)
        panel.ui.predictButton.click()
        assert panel.ui.predictButton.text == "Cancel"
        process_until(lambda: panel.controller._run.handle.state == "running")
        return volumes

    begin()
    panel.ui.predictButton.click()
    process_until(lambda: not panel.controller.running)
    assert said(module) == "The prediction was cancelled. Nothing was changed."

    volumes = begin()
    name = volumes[0].GetName()
    Mammograms.remove_mammogram(volumes[0])
    module.session.mammograms_changed.emit()
    assert not panel.controller.running
    assert said(module) == f"{name} was removed while the prediction ran. Nothing was kept: predict again."
    process_until(lambda: module.session.worker.state in ("ready", "stopped"))

    begin()
    slicer.mrmlScene.Clear(0)
    assert said(module) == "The scene was closed: the prediction was cancelled."
    assert panel.ui.predictButton.text == "Predict"
    process_until(lambda: module.session.worker.state in ("ready", "stopped"))
    assert not Predictions.stored()
    assert panel.controller.prediction is None
    assert not is_shown(panel.ui.resultFrame)


def export(panel: Any, tmp_path: Path, dialogs: Any, process_until: Until) -> None:
    """A copy, byte for byte."""
    (tmp_path / "out").mkdir()
    dialogs.answer("Export the model", str(tmp_path / "out"))
    panel.ui.exportButton.click()
    process_until(lambda: not panel.controller.library.doing, 30)
    copy = tmp_path / "out" / "published luminal.molsub"
    assert (
        hashlib.sha256(copy.read_bytes()).hexdigest()
        == hashlib.sha256((tmp_path / "library" / copy.name).read_bytes()).hexdigest()
    )


def test_import_and_export_of_models(
    module: Any, bundle: Path, tmp_path: Path, dialogs: Any, process_until: Until
) -> None:
    panel = enter_with_library(module, tmp_path / "library", process_until)
    checkpoint = tmp_path / "published luminal.pth"
    code = "import sys, torch; from safetensors.torch import load_file;torch.save(load_file(sys.argv[1]), sys.argv[2])"
    weights = next(bundle.glob("*.safetensors"))
    subprocess.run([sys.executable, "-c", code, str(weights), str(checkpoint)], check=True)
    panel.ui.importButton.click()
    assert is_shown(panel.ui.importFrame)
    panel.ui.importPathEdit.currentPath = str(checkpoint)
    panel.ui.importTaskCombo.setCurrentIndex(panel.ui.importTaskCombo.findText("Luminal vs non-Luminal"))
    panel.ui.importNowButton.click()
    assert not panel.ui.importNowButton.enabled
    process_until(lambda: panel.controller.library.models, 60)
    assert panel.ui.modelCombo.currentText == "published luminal"
    assert panel.ui.modelSummaryLabel.text == "Luminal vs non-Luminal · DenseNet121-CBAM"
    assert "class order of this checkpoint was never verified" in panel.ui.modelCautionLabel.text
    panel.ui.cardButton.click()
    card = panel.ui.cardBrowser.toPlainText()
    assert is_shown(panel.ui.cardBrowser)
    for text in ("Luminal, non-Luminal", "NOT VERIFIED", "HOLOGIC", "margin 100 px", "Research use only"):
        assert text in card

    export(panel, tmp_path, dialogs, process_until)
    copy = tmp_path / "out" / "published luminal.molsub"
    assert not is_shown(panel.ui.importFrame)
    panel.ui.importButton.click()
    panel.ui.importPathEdit.currentPath = str(copy)
    assert not panel.ui.importTaskCombo.enabled
    panel.ui.importNameEdit.text = "second"
    panel.ui.importNowButton.click()
    process_until(lambda: len(panel.controller.library.models) == 2, 30)
    assert panel.ui.modelCombo.currentText == "second"

    panel.ui.importPathEdit.currentPath = str(ROOT / "README.md")
    panel.ui.importNowButton.click()
    process_until(lambda: not panel.controller.library.doing, 30)
    assert "README.md" in said(module)
    assert len(panel.controller.library.models) == 2


def with_clinical(bundle: Path, out: Path) -> Path:
    """A bundle whose result is made of the network's log-odds and an age."""
    from MolSubCore.models.card import read_card

    shutil.copytree(bundle, out)
    card = read_card(bundle)
    rows = 1 if len(card["classes"]) == 2 else len(card["classes"])
    member = {
        "mean": [0.0] * rows + [60.0], "scale": [1.0] * rows + [10.0], "intercept": [0.0] * rows, "categories": [],
        "coefficients": [[*(0.5 if n == m else 0.0 for n in range(rows)), 1.0 - 0.5 * m] for m in range(rows)],
    }  # fmt: skip
    step = {"name": "clinical", "title": "Image and clinical columns", "image": True,
            "columns": {"age": "continuous"}, "members": [member] * len(card["members"])}  # fmt: skip
    base = {"model": card["architecture"], "calibration": None, "thresholds": [], "metrics": {}}
    card |= {"format_version": 2, "fusion": {"steps": [step], "bases": [base]}}
    (out / "bundle.json").write_text(json.dumps(card), encoding="utf-8")
    return out


def test_a_model_with_clinical_values_asks_for_them(
    module: Any, bundle: Path, synthetic_case: Any, tmp_path: Path, process_until: Until
) -> None:
    fused = with_clinical(bundle, tmp_path / "fused")
    panel = enter_with_library(module, library_with(tmp_path / "library", bundle, fused), process_until)
    panel.controller.library.choose(bundle.name)
    panel.refresh()
    assert not is_shown(panel.ui.clinicalEdit)
    panel.controller.library.choose(fused.name)
    panel.refresh()
    assert is_shown(panel.ui.clinicalEdit)
    assert "age (a number)" in panel.ui.clinicalLabel.text
    add_views(module, synthetic_case, process_until)

    def predicted(text: str) -> dict[str, Any]:
        panel.ui.clinicalEdit.text = text
        panel.ui.predictButton.click()
        process_until(lambda: not panel.controller.running, 120)
        return dict(panel.controller.prediction or {})

    assert predicted("54") == {}
    assert "hold '54'" in said(module)
    without = predicted("")
    assert "the clinical value age is missing" in panel.ui.warningsLabel.text
    young, old = predicted("age=40"), predicted("age=80")
    assert len({json.dumps(one["patient"]) for one in (without, young, old)}) == 3
    assert "age = 80" in panel.ui.noteLabel.text
    assert "Result of 2 lesion views" in panel.ui.chartLabel.toolTip
