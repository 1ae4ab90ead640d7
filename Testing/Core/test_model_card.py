"""The model card: MONAI's keys, the page, and bundles that lack what it would show."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_study_page import Page

from MolSubCore.__main__ import main
from MolSubCore.errors import BundleError
from MolSubCore.evaluation.model_card import write_model_card
from MolSubCore.lesions.preprocessing import Recipe, get_recipe
from MolSubCore.models.card import (
    calibration_note,
    card_lines,
    monai_metadata,
    read_card,
    trained_on,
    write_recalibrated,
)
from MolSubCore.prediction.report import how_to_read, prediction_facts
from MolSubCore.prediction.warnings import bundle_warnings

OLD = {
    "name": "old", "architecture": "densenet121-cbam", "task": "her2", "classes": ["HER2-positive", "HER2-negative"],
    "positive": "HER2-positive", "recipe": get_recipe("published-2025").to_dict(), "dropout": 0.3,
    "members": [{"file": "model-1.safetensors", "sha256": "a" * 64}], "training": {"summary": "of a paper"},
    "metrics": {}, "class_order_verified": False, "warnings": ["The class order <was> never verified."],
}  # fmt: skip
PREDICTION = {
    "task": "luminal", "model": {"name": "m"}, "images": [], "classes": ["non-Luminal", "Luminal"], "warnings": [],
    "patient": {"probabilities": {"non-Luminal": 0.4, "Luminal": 0.6}},
}  # fmt: skip


def test_the_channels_are_the_logits_order(workplace: Path) -> None:
    for card in (read_card(workplace / "m.molsub"), OLD):
        found = monai_metadata(card)
        image, pred = found["network_data_format"]["inputs"]["image"], found["network_data_format"]["outputs"]["pred"]
        assert [pred["channel_def"][str(n)] for n in range(pred["num_channels"])] == card["classes"]
        assert (image["num_channels"], image["spatial_shape"], image["modality"]) == (1, [224, 224], "MG")
        recipe = Recipe.from_dict(card["recipe"])
        white = 255 if recipe.patch_dtype == "uint8" else 1
        ends = recipe.normalise(np.array([[[0, white]]], recipe.patch_dtype)).ravel()
        assert image["value_range"] == pytest.approx(ends.tolist(), abs=1e-5)
        assert {"version", "changelog", "task", "description", "intended_use", "eval_metrics"} <= {
            *found,
            "intended_use",
        }
        assert set(found["changelog"]) >= {found["version"]}
        json.dumps(found, allow_nan=False)


def test_info_as_json_and_as_a_page(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, file = str(workplace / "m.molsub"), tmp_path / "card.html"
    assert main(["models", "info", bundle, "--json", "--html", str(file)]) == 0
    shown = json.loads(capsys.readouterr().out)
    card = read_card(workplace / "m.molsub")
    assert {key: value for key, value in shown.items() if key != "metadata"} == card
    assert shown["metadata"] == monai_metadata(card)
    metrics = card["metrics"]["test"]["patient"]["metrics"]
    assert shown["metadata"]["eval_metrics"] == {k: m["value"] for k, m in metrics.items() if m["value"] is not None}
    page = Page(file)
    assert (page.open, page.scripts) == ([], 0)
    assert all(name.startswith("data:") for name in page.resources)
    accuracy = metrics["accuracy"]
    for words in ("Calibration slope", "Intended use", "non-Luminal, Luminal", "disagree is not known", "SYNTHETIC",
                  f"{accuracy['value']:.2f}", "0: non-Luminal, 1: Luminal", "12"):  # fmt: skip
        assert words in page.text, words
    one, other = (
        tmp_path / "one.molsub",
        tmp_path / "one.html",
    )  # of one network, which needs no others to agree with it
    assert main(["models", "export", str(workplace / "run"), "--out", str(one), "--fold", "1"]) == 0
    assert main(["models", "info", str(one), "--html", str(other)]) == 0
    for words in ("largest Youden index", "too few patients", "if all were right", "Test set, calibrated"):
        assert words in Page(other).text, words
    capsys.readouterr()
    assert main(["models", "info", bundle]) == 0
    printed = capsys.readouterr().out
    assert f"accuracy {accuracy['value']:.2f} (95 % CI {accuracy['low']:.2f} to {accuracy['high']:.2f})" in printed
    assert "Not calibrated" in printed


def test_a_bundle_that_knows_little(tmp_path: Path) -> None:
    """What is missing is said to be missing; nothing is taken for a tag."""
    page = Page(write_model_card(OLD, tmp_path / "card.html"))
    assert page.open == []
    assert page.text.count("Not made:") == 3
    assert "The class order <was> never verified." in page.text
    assert "NOT VERIFIED" in page.text
    assert "of a paper" in page.text
    assert "not recorded" in page.text


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"temperature": None}, "Not calibrated: 0.8 does not mean eight cases in ten."),
        ({"temperature": 1.254}, "Calibrated by temperature 1.25."),
        (
            {"temperature": None, "recalibration": {"method": "logistic", "patients": 40, "fitted_on": "centre=A"}},
            "Calibrated by logistic recalibration on 40 patients of another cohort (centre=A).",
        ),
    ],
)
def test_what_is_known_of_the_probabilities(card: dict[str, Any], expected: str) -> None:
    assert calibration_note(card) == expected


def test_figures_of_before_a_recalibration_are_named(workplace: Path, tmp_path: Path) -> None:
    """On the card's lines, its page, its metadata and in the report of a prediction; not without a recalibration."""
    change = {"method": "logistic", "slope": 0.5, "intercepts": [0.0, -0.75], "patients": 40, "fitted_on": "centre=A"}
    target, words = tmp_path / "new.molsub", "before the recalibration"
    for path in (workplace / "m.molsub", write_recalibrated(workplace / "m.molsub", target, change)):
        card, new = read_card(path), path == target
        line = next(line for line in card_lines(card) if line.startswith("Test set"))
        assert (words in line) == new
        assert re.search(r"per patient, n = \d+$", line.removesuffix(f", {words}"))
        found = monai_metadata(card)
        assert found["eval_metrics"]
        assert all((words in name) == new for name in found["eval_metrics"])
        assert any(words in text for text in found["known_limitations"]) == new
        text = Page(write_model_card(card, tmp_path / f"{path.stem}.html")).text
        assert text.count(words) == (4 if new else 0)  # limitations, metrics, reliability, calibration
        facts = [name for name, _ in prediction_facts(PREDICTION, card).card if name.startswith("Test set")]
        assert facts
        assert all((words in name) == new for name in facts)
    assert read_card(target)["metrics"] == read_card(workplace / "m.molsub")["metrics"]


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        ([2], "17 patients; 4 more for validation and 5 for testing (26 patients, 52 images in all)"),
        ([1, 2, 3], "21 patients for training and validation in 3 folds; 5 more for testing (26 patients, 52 images"),
    ],
)
def test_trained_on_does_not_count_the_test_set(folds: list[int], expected: str) -> None:
    cohort = {"patients": 26, "images": 52}
    metrics = {part: {"patient": {"n_patients": n}} for part, n in (("test", 5), ("validation", 4))}
    card = OLD | {"training": {"cohort": cohort, "folds": folds}, "metrics": metrics}
    assert trained_on(card).startswith(expected)
    assert trained_on(card | {"metrics": {}}).startswith("part of a cohort of 26 patients")


@pytest.mark.parametrize(("architecture", "told"), [("densenet121-cbam", True), ("simple-cnn", False)])
def test_published_figures_stand_on_cards_of_the_published_network_only(architecture: str, told: bool) -> None:
    limitations = monai_metadata(OLD | {"architecture": architecture})["known_limitations"]
    assert any("0.65 and 0.76" in text for text in limitations) is told


@pytest.mark.parametrize(
    ("method", "words"),
    [(None, "(Grad-CAM)"), ("layercam", "(Layer-CAM)"), ("eigencam", "whatever the class (Eigen-CAM)")],
)
def test_heatmaps_are_explained_by_their_own_method(method: str | None, words: str) -> None:
    assert words in how_to_read(method)
    assert ("(Grad-CAM)" in how_to_read(method)) is (method is None)


_METRIC = {"value": 0.8, "low": 0.7, "high": 0.9}
_CLASS = {"patients": 9, "observed": 4, "expected": 4.5, "brier": _METRIC, "slope": _METRIC, "intercept": _METRIC}
_BIN = {"start": 0, "end": 1, "patients": 9, "predicted": 0.5, "observed": 0.4, "low": 0.2, "high": 0.6}
_CALIBRATION = {
    "overall": {"brier": 0.2, "patients": 9, "of": "HER2-positive", "bins": [_BIN]},
    "classes": {"HER2-positive": _CLASS},
}
_LEVEL = {"n": 9, "n_patients": 9, "metrics": {"auc": _METRIC, "accuracy": _METRIC}, "calibration": _CALIBRATION}
_COHORT = {
    "patients": 40,
    "images": 80,
    "manufacturers": {"A": 80},
    "views": {"CC": 80},
    "roi_side_px": [200, 300],
}
_THRESHOLD = {"rule": "r", "value": 0.5, "positive": "HER2-positive", "sensitivity": 0.9, "specificity": 0.5}
WHOLE: dict[str, Any] = {
    **OLD,
    "format": "molsub-bundle",
    "format_version": 1,
    "thresholds": [_THRESHOLD],
    "training": {"plan": {"data_hash": "d", "epochs": 3}, "folds": [1], "cohort": _COHORT},
    "metrics": {part: {"patient": _LEVEL} for part in ("validation", "test")},
    "recalibration": {"method": "m", "slope": 1.0, "intercepts": [0.1, -0.1], "patients": 5, "fitted_on": "part=A"},
    "vendors": ["A"],
    "software": {"torch": "2"},
    "changelog": {"1.0.0": "first"},
}


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in pairs:
        yield (*path, key)
        yield from _places(one, (*path, key))


def _read_with(place: tuple[Any, ...], value: object, folder: Path) -> dict[str, Any]:
    """The card above with one value exchanged, read."""
    card = copy.deepcopy(WHOLE)
    part: Any = card
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (folder / "bundle.json").write_text(json.dumps(card))
    return read_card(folder)


def test_a_card_with_any_wrong_value_is_refused_or_shown(tmp_path: Path) -> None:
    """Each of its values in turn exchanged for one of another kind."""
    refused = 0
    for place, wrong in itertools.product(list(_places(WHOLE)), (None, 10**6, "x", [1], {"a": 1}, float("inf"))):
        try:
            found = _read_with(place, wrong, tmp_path)
        except BundleError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        card_lines(found)
        monai_metadata(found)
        bundle_warnings(found)
        prediction_facts(PREDICTION, found)
    assert refused > 250


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("recipe", "size"), 10**6),
        (("recipe", "bound"), 1e9),
        (("architecture",), "\x1b[31mx"),
        (("name",), "\ud800"),
        (("metrics", "test", "patient", "metrics", "auc"), {"value": "x"}),
        (("training", "cohort", "manufacturers"), 5),
        (("temperature",), 1e-320),
        (("temperature",), 1e6),
        (("recalibration", "slope"), 1e9),
        (("metrics", "test", "patient", "metrics", "auc"), {"value": 5}),
        (("metrics", "test", "patient", "n_patients"), -4),
        (("metrics", "test", "patient", "calibration", "overall", "brier"), -1),
        (("thresholds", 0, "sensitivity"), 1.5),
    ],
)
def test_values_that_no_card_has_are_named(tmp_path: Path, path: tuple[str, ...], value: object) -> None:
    with pytest.raises(BundleError, match=path[-1]):
        _read_with(path, value, tmp_path)


def test_a_wrong_value_is_shown_and_a_version_is_a_number(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"an invalid value of 'temperature' \(1e-320\)"):
        _read_with(("temperature",), 1e-320, tmp_path)
    for wrong in ("1", True, 1.0, 2):
        with pytest.raises(BundleError, match="format version"):
            _read_with(("format_version",), wrong, tmp_path)
    with pytest.raises(BundleError, match="18 validation and test patients in its card, but a cohort of 5"):
        _read_with(("training", "cohort", "patients"), 5, tmp_path)


def test_nothing_is_printed_without_end_or_as_none(tmp_path: Path) -> None:
    card = _read_with(("warnings",), [f"warning {n}" for n in range(20_000)], tmp_path)
    assert sum(line.startswith("Warning") for line in card_lines(card)) == 21
    assert "19980 more warnings" in "\n".join(card_lines(card))
    assert len(bundle_warnings(card)) == 21
    for key in ("created", "name", "class_order_source"):
        assert "None" not in "\n".join(card_lines(_read_with((key,), None, tmp_path)))


def test_a_metric_without_its_interval_is_shown(tmp_path: Path) -> None:
    card = _read_with(("metrics", "test", "patient", "metrics", "auc"), {"value": 0.5}, tmp_path)
    assert "AUC 0.50, accuracy 0.80 (95 % CI 0.70 to 0.90)" in "\n".join(card_lines(card))
    assert "0.50" in Page(write_model_card(card, tmp_path / "card.html")).text
