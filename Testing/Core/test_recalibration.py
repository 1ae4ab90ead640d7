"""Recalibrated bundles: the map acts on the patient's mean, thresholds move with it; older bundles are as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from predicted import BINARY, binary_scores
from scipy import special
from tiny_network import randomised

from MolSubCore.errors import BundleError, MolSubError
from MolSubCore.evaluation.external import moved_threshold
from MolSubCore.files import write_json
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import Roi, RoiGeometry
from MolSubCore.models.bundle import read_bundle, write_bundle
from MolSubCore.models.card import calibration_note, read_card, result_note, write_recalibrated
from MolSubCore.models.registry import build_model
from MolSubCore.prediction.calibrated import calibration_of
from MolSubCore.prediction.predict import predict_roi
from MolSubCore.statistics.calibration import fit_calibration
from MolSubCore.statistics.scores import Scores


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    members = [dict(randomised(build_model("simple-cnn", 2), seed).state_dict()) for seed in (0, 1)]
    threshold = {"rule": "largest Youden index on validation", "value": 0.4, "positive": "TN", "sensitivity": 0.8,
                 "specificity": 0.7, "patients": 50}  # fmt: skip
    return write_bundle(tmp_path_factory.mktemp("b") / "old.molsub", members, architecture="simple-cnn", task="tn",
                        classes=BINARY, recipe=get_recipe("default").to_dict(), dropout=0.3,
                        thresholds=[threshold])  # fmt: skip


CHANGE = {"method": "logistic", "slope": 0.5, "intercepts": [0.0, -0.75], "patients": 40, "fitted_on": "centre=A",
          "acts_on": "patient", "why": ""}  # fmt: skip
PATCHES = torch.randn((5, 1, 224, 224), generator=torch.Generator().manual_seed(1))


def by_hand(shares: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Of two classes: a line of the log-odds."""
    second = special.expit(slope * special.logit(shares[:, 1]) + intercept)
    return np.stack([1 - second, second], axis=1)


def test_the_new_bundle_gives_the_recalibrated_probabilities(bundle: Path, tmp_path: Path) -> None:
    """After its own calibration, if it has one."""
    before = bundle.read_bytes()
    new = read_bundle(write_recalibrated(bundle, tmp_path / "new", CHANGE))
    assert bundle.read_bytes() == before
    old = read_bundle(bundle).probabilities(PATCHES).numpy()
    assert np.array_equal(new.probabilities(PATCHES).numpy(), old)  # single lesions are left alone
    calibrate = calibration_of(new.card)
    assert calibrate is not None
    assert calibrate(old) == pytest.approx(by_hand(old, 0.5, -0.75), abs=1e-12)
    own = CHANGE | {"slope": 2.0, "intercepts": [0.0, 1.0]}
    both = calibration_of(new.card | {"calibration": own})
    assert both is not None
    assert both(old) == pytest.approx(by_hand(by_hand(old, 2.0, 1.0), 0.5, -0.75), abs=1e-12)
    assert calibration_of(read_card(bundle)) is None
    card = read_card(tmp_path / "new")
    assert (card["name"], card["version"], card["made_of"]["name"]) == ("new", "1.1.0", "old")
    assert list(card["changelog"]) == ["1.1.0", "1.0.0"]
    assert "40 patients of another cohort (centre=A)" in calibration_note(card)
    assert "acts on the mean over views" in result_note(card)
    assert card["members"] == read_card(bundle)["members"]


def test_bundles_of_before_give_the_numbers_they_gave(bundle: Path) -> None:
    """A temperature divides the logits; a recalibration that acts on no patient changes every lesion."""
    plain = read_bundle(bundle)
    logits = plain.logits(PATCHES)
    old = {name: value for name, value in CHANGE.items() if name not in ("acts_on", "why")}
    plain.card.update(temperature=2.0, recalibration=old)
    mean = special.softmax(logits.double().numpy() / 2.0, axis=-1).mean(axis=0)
    assert plain.probabilities(PATCHES).numpy() == pytest.approx(by_hand(mean, 0.5, -0.75), abs=1e-12)
    assert calibration_of(plain.card) is None
    assert "acts on the mean" not in result_note(plain.card)


@pytest.mark.parametrize("members", [1, 2])
def test_the_class_that_is_explained_is_the_calibrated_one(bundle: Path, members: int) -> None:
    whole = read_bundle(bundle)
    recipe = get_recipe("default")
    geometry = RoiGeometry(0, 224, 0, 224, 224, (224, 224))
    roi = Roi(PATCHES[0, 0].numpy().astype(recipe.patch_dtype), geometry, "1", recipe)
    for index in (0, 1):
        card = whole.card | {"calibration": CHANGE | {"intercepts": [0.0, (-50.0, 50.0)[index]]}}
        found, maps = predict_roi(replace(whole, card=card, models=whole.models[:members]), roi, ["features.0"], None)
        assert maps is not None
        assert maps.classes == (index,)
        assert found.min() > 0.01  # as the networks give them


@pytest.mark.parametrize("seed", range(6))
def test_moved_thresholds_call_the_same_patients(seed: int) -> None:
    """With several views, of which none is near the patient's mean; and what stands beside them is what they give."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(300), rng.integers(1, 4, 300))
    label = (rng.random(300) < 0.4).astype(int)
    share = special.expit(2 * (label[patient] - 0.5) + 2.5 * rng.normal(size=len(patient)))
    names = np.array([f"P{n}" for n in patient])
    scores = Scores(np.stack([1 - share, share], axis=1), label[patient], names, np.arange(len(patient))).per_patient()
    change = fit_calibration(scores, BINARY)
    after = scores.calibrated(change).per_patient()
    for value in (*rng.random(20), 0.0, 1.5):
        entry = {"rule": "r", "value": float(value), "positive": "TN", "sensitivity": 0.1, "specificity": 0.1}
        moved = moved_threshold(entry, BINARY, change, after)
        called = after.probabilities[:, 1] >= moved["value"]
        assert np.array_equal(called, scores.probabilities[:, 1] >= value)
        assert moved["sensitivity"] == pytest.approx(called[label == 1].mean())
        assert moved["specificity"] == pytest.approx((~called)[label == 0].mean())
        assert (moved["before_recalibration"], moved["patients"]) == (value, 300)


def test_views_one_by_one_would_call_others() -> None:
    """Why it acts on the mean: recalibrated before it, patients change sides of the moved threshold."""
    rng = np.random.default_rng(0)
    share = special.expit(3 * rng.normal(size=(400, 2)))
    change = fit_calibration(binary_scores(share[:, 0].tolist(), (rng.random(400) < share[:, 0] ** 2).tolist()), BINARY)
    views = [change(np.stack([1 - one, one], axis=1))[:, 1] for one in share.T]
    entry = {"rule": "r", "value": 0.5, "positive": "TN", "sensitivity": 0.1, "specificity": 0.1}
    moved = moved_threshold(entry, BINARY, change, binary_scores([0.5, 0.5], [0, 1]))["value"]
    assert (np.array(np.mean(views, axis=0) >= moved) != (share.mean(axis=1) >= 0.5)).mean() > 0.02


def test_what_is_not_written(bundle: Path, tmp_path: Path) -> None:
    first = write_recalibrated(bundle, tmp_path / "a.molsub", CHANGE)
    for source, target, words in ((bundle, bundle, "not touched"), (bundle, first, "exists already"),
                                  (first, tmp_path / "b", "recalibrated already")):  # fmt: skip
        with pytest.raises(MolSubError, match=words):
            write_recalibrated(source, target, CHANGE)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("recalibration", {"method": "logistic", "slope": -1, "intercepts": [0, 0]}, "'recalibration.slope'"),
     ("recalibration", {"method": "logistic", "slope": 1, "intercepts": [0]}, "another number of classes"),
     ("calibration", {"method": "logistic", "slope": 1, "intercepts": [0, 0]}, "'calibration.acts_on'"),
     ("calibration", CHANGE | {"intercepts": [0, 0, 0]}, "a calibration for another number of classes"),
     ("calibration", CHANGE | {"seen": {"TN": 7}}, "'calibration.seen.TN'"),
     ("recalibration", {"method": "logistic", "slope": "1", "intercepts": [0, 0]}, "'recalibration.slope'"),
     ("thresholds", [{"rule": "x"}], r"'thresholds\[0\].positive'"),
     ("thresholds", [{"rule": "x", "positive": "A", "value": 0.5, "sensitivity": 1, "specificity": 1}],
      "unknown class"),
     ("metrics", [], "'metrics'")],
)  # fmt: skip
def test_broken_cards(bundle: Path, tmp_path: Path, key: str, value: Any, words: str) -> None:
    write_json(tmp_path / "bundle.json", read_card(bundle) | {key: value})
    with pytest.raises(BundleError, match=words):
        read_card(tmp_path)


def test_bundles_of_before_are_read(bundle: Path, tmp_path: Path) -> None:
    """Those made before there were calibrations, recalibrations, thresholds and versions."""
    new = {"calibration", "recalibration", "thresholds", "version", "changelog"}
    card = {key: value for key, value in read_card(bundle).items() if key not in new}
    write_json(tmp_path / "bundle.json", card)
    assert read_card(tmp_path) == card
    assert "Not calibrated" in calibration_note(card)
