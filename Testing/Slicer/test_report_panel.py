"""The Report panel: real clicks, the worker's real report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pydicom
import pypdfium2
import pytest

from predict_case import Until, add_views, enter_with_library, is_shown, library_with, said

opened: list[str] = []


@pytest.fixture
def panel(module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The panel, its folder an empty one; what it opens is recorded and not opened."""
    import qt

    opened.clear()
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()) or True)
    panel = module.panels["ReportPanel"]
    (tmp_path / "reports").mkdir()
    panel.ui.folderEdit.currentPath = str(tmp_path / "reports")
    return panel


def text_of(pdf: str) -> str:
    document = pypdfium2.PdfDocument(pdf)
    return "\n".join(page.get_textpage().get_text_range() for page in document)


def test_nothing_to_report_is_said(module: Any, panel: Any, process_until: Until) -> None:
    assert not panel.ui.writeButton.enabled
    panel.controller.write(panel.ui.folderEdit.currentPath, identified=False, classes="all")
    assert said(module) == "There is no prediction to report. Predict first."
    assert not panel.controller.running


def open_what_was_written(panel: Any, written: dict[str, str]) -> None:
    """Nothing opens by itself."""
    assert opened == []
    assert is_shown(panel.ui.writtenFrame)
    for button in (panel.ui.openPdfButton, panel.ui.openHtmlButton, panel.ui.openFolderButton):
        button.click()
    assert opened == [written["pdf"], written["html"], written["folder"]]


def test_the_shown_prediction_becomes_html_and_pdf(
    held: Path, module: Any, panel: Any, bundle: Path, synthetic_case: Any, tmp_path: Path, process_until: Until
) -> None:
    predict = enter_with_library(module, library_with(tmp_path / "library", bundle), process_until)
    add_views(module, synthetic_case, process_until)
    predict.ui.predictButton.click()
    process_until(lambda: not predict.controller.running, 120)
    assert panel.ui.writeButton.enabled

    assert not panel.ui.identifiedCheckBox.checked
    assert "names no patient" in panel.ui.identifiedLabel.text
    panel.ui.writeButton.click()
    assert panel.ui.writeButton.text == "Cancel"
    process_until(lambda: not panel.controller.running, 120)
    assert said(module) == "The report was written."
    written = panel.controller.written
    assert Path(written["folder"]).parent == tmp_path / "reports"
    html, pdf = Path(written["html"]).read_text(encoding="utf-8"), text_of(written["pdf"])
    identifiers = [str(pydicom.dcmread(image).PatientID) for image in synthetic_case.images]
    identifiers += [str(pydicom.dcmread(image).SOPInstanceUID) for image in synthetic_case.images]
    for name in [*identifiers, synthetic_case.images[0].name, str(tmp_path)]:
        assert name not in html
        assert name not in pdf.replace("\r\n", "")
    for text in (html, pdf):
        assert "Research use only" in " ".join(text.split())
        for name, value in predict.controller.prediction["patient"]["probabilities"].items():
            assert re.search(rf"{re.escape(name)}\D+{value:.2f}", " ".join(re.sub("<[^>]+>", " ", text).split()))

    open_what_was_written(panel, written)
    panel.ui.identifiedCheckBox.click()
    assert "patient ID" in panel.ui.identifiedLabel.text
    panel.ui.classesCombo.setCurrentIndex(1)
    panel.ui.writeButton.click()
    process_until(lambda: not panel.controller.running, 120)
    second = panel.controller.written
    assert second["folder"] != written["folder"]
    assert all(name in Path(second["html"]).read_text(encoding="utf-8") for name in identifiers[:1])
    saved = json.loads(Path(second["folder"], "prediction.json").read_text())
    assert all(len(image["overlays"]) == 2 for image in saved["images"])

    tell_what_the_panel_told(module, panel, process_until)
    refuse_what_is_not_the_shown_prediction(module, panel, tmp_path, bundle, held, process_until)


def tell_what_the_panel_told(module: Any, panel: Any, until: Until) -> None:
    """An original that is gone is told in the report, not on the screen alone."""
    from MolSubSlicerLib.Scene import Mammograms

    volume = Mammograms.mammograms()[0]
    source = volume.GetAttribute("MolSub.SourceFile")
    volume.SetAttribute("MolSub.SourceFile", source + ".gone")
    panel.ui.writeButton.click()
    until(lambda: not panel.controller.running, 120)
    volume.SetAttribute("MolSub.SourceFile", source)
    written = panel.controller.written
    told = f"The original file of {volume.GetName()} is not there any more"
    html = Path(written["html"]).read_text(encoding="utf-8")
    assert told in html
    assert f"1 {volume.GetName()} lesion" in html and "? ?" not in html  # the scene still knows side and view
    assert told in " ".join(text_of(written["pdf"]).split())
    assert any(told in text for text in json.loads(Path(written["folder"], "prediction.json").read_text())["warnings"])


def refuse_what_is_not_the_shown_prediction(
    module: Any, panel: Any, tmp_path: Path, bundle: Path, held: Path, until: Until
) -> None:
    """A changed outline, a model that is gone, a folder that is not there: a sentence each, and no folder is made."""
    import numpy as np

    from MolSubSlicerLib.Scene import Lesions, Mammograms

    before = sorted((tmp_path / "reports").iterdir())
    panel.ui.folderEdit.currentPath = str(tmp_path / "nowhere")
    panel.ui.writeButton.click()
    assert "nowhere does not exist" in said(module)
    panel.ui.folderEdit.currentPath = str(tmp_path / "reports")

    (tmp_path / "library" / bundle.name).rename(tmp_path / bundle.name)
    panel.ui.writeButton.click()
    until(lambda: not panel.controller.running, 30)
    assert "is not in the library any more" in said(module)
    (tmp_path / bundle.name).rename(tmp_path / "library" / "another name")

    held.touch()
    panel.ui.writeButton.click()
    until(lambda: panel.controller.stage == "Loading the model", 60)
    panel.ui.writeButton.click()
    until(lambda: not panel.controller.running, 30)
    held.unlink()
    assert said(module) == "The report was cancelled. No file was left behind."

    volume = Mammograms.mammograms()[0]
    segmentation = Lesions.segmentation_for(volume)
    Lesions.set_labels(segmentation, np.roll(Lesions.labels_of(segmentation, volume), 2, axis=1))
    panel.ui.writeButton.click()
    assert said(module).startswith(f"{volume.GetName()} was changed or removed after the prediction.")
    assert not panel.controller.running
    assert sorted((tmp_path / "reports").iterdir()) == before
