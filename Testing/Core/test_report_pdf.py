"""The report as PDF: what is on its pages, that nothing identifies anybody, and that its bytes are the same again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pytest
import torch
from command_line import case, failing
from PIL import Image

from MolSubCore import DISCLAIMER
from MolSubCore.__main__ import main
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.files import read_json
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import write_bundle
from MolSubCore.models.card import read_card
from MolSubCore.models.registry import build_model
from MolSubCore.prediction.report import prediction_pdf, prediction_report
from MolSubCore.tasks import TASKS, Subtype
from MolSubCore.worker.jobs import report as write_report


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two views of a synthetic patient, and a model with random weights."""
    folder = tmp_path_factory.mktemp("report")
    make_synthetic_cohort(folder / "cohort", counts={Subtype.TN: 1}, seed=3, image_shape=(512, 416))
    torch.manual_seed(0)
    classes = TASKS["luminal"].classes
    write_bundle(
        folder / "model.molsub", [build_model("simple-cnn", 2, dropout=0.0).state_dict()], architecture="simple-cnn",
        task="luminal", classes=classes, recipe=get_recipe("default").to_dict(), dropout=0.0,
        warnings=["Its class order < was & never checked."],
    )  # fmt: skip
    return folder


def images(place: Path) -> list[dict[str, str]]:
    pairs = [case(place, number) for number in (0, 1)]
    return [{"image": image, "lesions": mask} for image, mask in pairs]


@pytest.fixture(scope="module")
def result(place: Path) -> dict[str, Any]:
    stages: list[str] = []
    options = {"bundle": str(place / "model.molsub"), "images": images(place), "out": str(place / "out")}
    found = write_report(options, lambda share, stage: stages.append(stage))
    assert stages == ["loading model", "predicting", "writing"]
    return found


@contextmanager
def opened(path: str | Path) -> Iterator[pdfium.PdfDocument]:
    document = pdfium.PdfDocument(path)
    yield document
    document.close()


def texts(path: str | Path) -> list[str]:
    """The words of every page, lines joined."""
    with opened(path) as document:
        return [" ".join(page.get_textpage().get_text_range().split()) for page in document]


def test_every_page_says_what_it_is(result: dict[str, Any]) -> None:
    pages = texts(result["pdf"])
    assert len(pages) == 4
    for number, text in enumerate(pages, start=1):
        assert DISCLAIMER in text
        assert "SYNTHETIC" in text
        assert f"page {number} of 4" in text
    with opened(result["pdf"]) as document:
        sizes = [tuple(round(side / 72 * 25.4) for side in page.get_size()) for page in document]
    assert sizes == [(210, 297), (297, 210), (297, 210), (210, 297)]


def test_it_says_what_the_prediction_says(result: dict[str, Any], place: Path) -> None:
    content, pages = read_json(Path(result["folder"]) / "prediction.json"), texts(result["pdf"])
    for name, value in content["patient"]["probabilities"].items():
        assert name in pages[0]
        assert f"{value:.3f}" in pages[0]
    for warning in content["warnings"]:
        assert warning in pages[0]
    for image in content["images"]:
        assert image["lesion"] in pages[0]
        assert f"{image['probabilities']['Luminal']:.3f}" in pages[0]
    for image, page in zip(content["images"], pages[1:3], strict=True):
        assert image["lesion"] in page
    for text in ("Model card", "Classes, in the order of the logits", "non-Luminal, Luminal", "Test metrics"):
        assert text in pages[3]
    html = Path(result["html"]).read_text(encoding="utf-8")
    assert "Its class order &lt; was &amp; never checked." in html


def _bars(page: np.ndarray) -> list[int]:
    """Pixels of the bars' colour per row that has any."""
    blue = np.abs(page.astype(int) - (0x2A, 0x6F, 0x97)).max(axis=2) < 4
    light = np.abs(page.astype(int) - (139, 176, 199)).max(axis=2) < 6
    return [int(mask.sum(axis=1).max()) for mask in (blue, light)]


def test_bars_are_as_long_as_the_probabilities(result: dict[str, Any]) -> None:
    content = read_json(Path(result["folder"]) / "prediction.json")
    with opened(result["pdf"]) as document:
        page = np.asarray(document[0].render(scale=2).to_pil().convert("RGB"))
    track = (210 - 32) / 25.4 * 72 - 105 - 40
    expected = sorted(content["patient"]["probabilities"].values(), reverse=True)
    found = [length / 2 / track for length in _bars(page)]
    assert found == pytest.approx(expected, abs=0.005)


def test_the_overlay_is_on_its_page(result: dict[str, Any]) -> None:
    """The sheet's pixels, found again in the rendered page."""
    content = read_json(Path(result["folder"]) / "prediction.json")
    (name,) = content["images"][0]["overlays"].values()
    sheet = Image.open(Path(result["folder"]) / name).convert("RGB")
    with opened(result["pdf"]) as document:
        page = document[1].render(scale=3).to_pil().convert("RGB")
    dark = np.asarray(page).astype(int)
    inside = np.argwhere(np.abs(dark - (14, 16, 20)).max(axis=2) < 6)
    (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0) + 1
    assert (right - left) / (bottom - top) == pytest.approx(sheet.width / sheet.height, rel=0.01)
    size = (300, 300 * sheet.height // sheet.width)
    shown = page.crop((int(left), int(top), int(right), int(bottom))).resize(size, Image.Resampling.BOX)
    difference = np.asarray(shown).astype(int) - np.asarray(sheet.resize(size, Image.Resampling.BOX)).astype(int)
    assert np.abs(difference).mean() < 4


def test_nothing_identifies_anybody_unless_asked(result: dict[str, Any], place: Path, tmp_path: Path) -> None:
    options = {"bundle": str(place / "model.molsub"), "images": images(place), "identified": True}
    asked = write_report(options | {"out": str(tmp_path / "out")}, lambda share, stage: None)
    name = Path(images(place)[0]["image"]).name
    identifiers = read_json(tmp_path / "out" / "prediction.json")["images"][0]["identifiers"]
    for kind in ("pdf", "html"):
        plain, told = (
            " ".join(texts(part[kind])) if kind == "pdf" else Path(part[kind]).read_text(encoding="utf-8")
            for part in (result, asked)
        )
        for secret in (name, identifiers["PatientID"]):
            assert secret in told
            assert secret not in plain
    raw = Path(result["pdf"]).read_bytes()
    assert str(place).encode() not in raw
    assert not re.search(rb"\bP\d{4}\b", raw)


def test_equal_predictions_give_equal_bytes(result: dict[str, Any], place: Path, tmp_path: Path) -> None:
    options = {"bundle": str(place / "model.molsub"), "images": images(place), "out": str(tmp_path / "out")}
    again = write_report(options, lambda share, stage: None)
    assert Path(again["pdf"]).read_bytes() == Path(result["pdf"]).read_bytes()


def test_any_text_many_classes_and_no_pictures(result: dict[str, Any], place: Path, tmp_path: Path) -> None:
    content, card = read_json(Path(result["folder"]) / "prediction.json"), read_card(place / "model.molsub")
    values = dict(zip(TASKS["subtype5"].classes, (0.31, 0.22, 0.2, 0.17, 0.1), strict=True))
    content["classes"], content["patient"]["probabilities"] = list(values), values
    for image in content["images"]:
        image["probabilities"] = values
    card["synthetic"] = False
    odd = 'Image 1: <b>"Müller" & Söhne</b> \u671d\u9633 \x07\u2264 0.1 ' + "x" * 300
    content["warnings"] = [odd, *(f"Warning {number}. " + "A long one. " * 30 for number in range(40))]
    prediction_pdf(content, {}, card, tmp_path / "a.pdf")
    pages = texts(tmp_path / "a.pdf")
    whole = " ".join(pages)
    for text in ('<b>"Müller" & Söhne</b>', "\u671d\u9633", "≤ 0.1", "Warning 39.", *values):
        assert text in whole
    assert whole.count("x" * 40) >= 1
    assert len(pages) > 3
    assert all(DISCLAIMER in text for text in pages)
    assert not any("SYNTHETIC" in text or "How to read" in text for text in pages)
    content["warnings"] = []
    prediction_pdf(content, {}, card, tmp_path / "b.pdf")
    assert len(texts(tmp_path / "b.pdf")) == 1


def test_both_reports_tell_the_same_card(place: Path, result: dict[str, Any], tmp_path: Path) -> None:
    content, card = read_json(Path(result["folder"]) / "prediction.json"), read_card(place / "model.molsub")
    metric = {"value": 0.71, "low": 0.6, "high": 0.805}
    card |= {"class_order_verified": False, "vendors": ["HOLOGIC, Inc."], "temperature": 1.5}
    card["metrics"] = {"test": {"patient": {"metrics": {"auc": metric, "ppv": {"value": None}}}}}
    prediction_pdf(content, {}, card, tmp_path / "a.pdf")
    prediction_report(content, {}, card, tmp_path / "a.html")
    expected = ("NOT VERIFIED", "HOLOGIC, Inc.", "0.710 (95 % CI 0.600 to 0.805)", "undefined", "1.50")
    for text in (" ".join(texts(tmp_path / "a.pdf")), (tmp_path / "a.html").read_text(encoding="utf-8")):
        assert all(part in text for part in expected)


def test_the_command_writes_both(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, mask = case(place)
    asked = ["predict", image, "--lesion", mask, "--model", str(place / "model.molsub"), "--out", str(tmp_path / "out")]
    assert main([*asked, "--layers", "none"]) == 0
    assert "report.pdf" in capsys.readouterr().out
    assert len(texts(tmp_path / "out" / "report.pdf")) == 1
    assert "exists already" in failing(capsys, *asked)


def test_what_cannot_be_is_told_at_once(place: Path, tmp_path: Path) -> None:
    options = {"bundle": str(place / "model.molsub"), "images": images(place), "out": str(tmp_path / "out")}
    stages: list[str] = []
    shutil.copytree(place / "cohort" / "masks", tmp_path / "out")
    for other, text in (({}, "exists already"), ({"images": []}, "lacks the option images")):
        with pytest.raises(MolSubError, match=text):
            write_report(options | other, lambda share, stage: stages.append(stage))
    assert not stages
