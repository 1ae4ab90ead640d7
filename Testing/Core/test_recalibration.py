"""Recalibration: known miscalibrations come out, it is what scikit-learn fits, and it never meets its own patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from predicted import BINARY, make_predictions
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from tiny_network import randomised

from MolSubCore.errors import BundleError, MolSubError
from MolSubCore.evaluation.recalibration import fit_recalibration, recalibrated
from MolSubCore.files import write_json
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import read_bundle, write_bundle
from MolSubCore.models.card import calibration_note, read_card, write_recalibrated
from MolSubCore.models.registry import build_model
from MolSubCore.statistics.calibration import fit_temperature
from MolSubCore.statistics.scores import Predictions, Scores
from MolSubCore.statistics.validation import Validation

FIVE = ("Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN")


def drawn(seed: int, count: int, classes: tuple[str, ...], scale: float, shift: list[float]) -> Predictions:
    """Labels from softmax(logits); the logits are then multiplied and shifted."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, len(classes)))
    share = special.softmax(logits, axis=1).cumsum(axis=1)
    label = (rng.random((count, 1)) > share[:, :-1]).sum(axis=1)
    return make_predictions(scale * logits + np.array(shift), label, [f"P{n}" for n in range(count)], classes)


def views_of(found: Predictions, patients: int) -> Scores:
    """The rows as views of patients, two or three each, with one patient's label."""
    patient = np.sort(np.arange(len(found.label)) % patients)
    first = np.searchsorted(patient, np.arange(patients))
    names = np.array([f"P{n}" for n in patient])
    return Scores(found.probabilities(), found.label[first][patient], names, np.arange(len(patient)))


def test_a_known_miscalibration_is_undone() -> None:
    """Logits times 2, and 1 too high for TN: slope 1/2, intercept -1/2."""
    found = fit_recalibration(drawn(1, 20_000, BINARY, 2.0, [0.0, 1.0]).scores(), BINARY)
    assert found.slope == pytest.approx(0.5, rel=0.03)
    assert found.intercepts == pytest.approx((0.0, -0.5), abs=0.075)  # 3.5 standard errors
    assert not found.at_bound
    assert found.loss_after < found.loss_before
    five = fit_recalibration(drawn(2, 8000, FIVE, 2.0, [0, 1, -1, 0.5, 0]).scores(), FIVE)
    assert five.slope == pytest.approx(0.5, rel=0.05)
    assert five.intercepts == pytest.approx((0, -0.5, 0.5, -0.25, 0), abs=0.12)


def test_it_is_logistic_regression() -> None:
    scores = drawn(3, 400, BINARY, 1.6, [0.0, -0.7]).scores()
    found = fit_recalibration(scores, BINARY)
    logit = special.logit(scores.probabilities[:, 1])[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=2000).fit(logit, scores.label)
    assert found.slope == pytest.approx(float(model.coef_[0, 0]), rel=1e-4)
    assert found.intercepts[1] == pytest.approx(float(model.intercept_[0]), abs=1e-4)
    changed = recalibrated(scores.probabilities, found.slope, found.intercepts)
    assert found.loss_after == pytest.approx(log_loss(scores.label, changed), abs=1e-9)
    assert found.loss_before == pytest.approx(log_loss(scores.label, scores.probabilities), abs=1e-9)


@pytest.mark.parametrize("classes", [BINARY, FIVE])
def test_the_slope_alone_is_a_temperature(classes: tuple[str, ...]) -> None:
    predictions = drawn(4, 500, classes, 2.2, [0.0] * len(classes))
    found = fit_recalibration(predictions.scores(), classes, "temperature")
    assert found.slope == pytest.approx(1 / fit_temperature(Validation((predictions,))).value, rel=1e-4)
    assert found.intercepts == (0.0,) * len(classes)


@pytest.mark.parametrize("method", ["logistic", "temperature"])
def test_with_several_views_nothing_nearby_is_better(method: Any) -> None:
    """The patients' own likelihood, computed anew from `Scores.per_patient` at 300 other values."""
    scores = views_of(drawn(5, 260, BINARY, 3.0, [0.0, 0.8]), 110)
    found = fit_recalibration(scores, BINARY, method)

    def loss_of(part: Scores) -> float:
        patients = part.per_patient()
        return float(log_loss(patients.label, patients.probabilities))

    def at(slope: float, shift: float) -> float:
        changed = recalibrated(scores.probabilities, slope, (0.0, shift))
        return loss_of(Scores(changed, scores.label, scores.patient, scores.case))

    assert found.loss_after == pytest.approx(at(found.slope, found.intercepts[1]), abs=1e-9)
    rng = np.random.default_rng(6)
    for scale, move in rng.normal(0, 1, (300, 2)):
        shift = found.intercepts[1] + (0.5 * move if method == "logistic" else 0)
        assert found.loss_after <= at(found.slope * np.exp(0.5 * scale), shift) + 1e-9


def test_never_on_its_own_patients() -> None:
    scores = drawn(7, 60, BINARY, 2.0, [0.0, 0.0]).scores()
    found = fit_recalibration(scores, BINARY)
    with pytest.raises(MolSubError, match="fitted on 60 of these patients"):
        found.apply(scores)
    others = Scores(scores.probabilities, scores.label, np.array([f"Q{n}" for n in range(60)]), scores.case)
    assert found.apply(others).probabilities.sum(axis=1) == pytest.approx(np.ones(60))
    assert "P1" not in json.dumps(found.to_dict())


def test_what_cannot_be_fitted() -> None:
    one = drawn(8, 30, BINARY, 1.0, [0.0, 0.0])
    same = make_predictions(one.logits, np.zeros(30), list(one.study_id))
    with pytest.raises(MolSubError, match="none of TN"):
        fit_recalibration(same.scores(), BINARY)
    with pytest.raises(MolSubError, match="none of TN"):
        fit_recalibration(same.scores(), BINARY, "temperature")
    with pytest.raises(MolSubError, match="is by 'beta'"):
        fit_recalibration(one.scores(), BINARY, "beta")  # type: ignore[arg-type]
    parted = make_predictions(np.array([[2.0, 0], [1, 0], [0, 1], [0, 2]]), np.array([0, 0, 1, 1]), list("abcd"))
    assert fit_recalibration(parted.scores(), BINARY).at_bound


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    members = [dict(randomised(build_model("simple-cnn", 2), seed).state_dict()) for seed in (0, 1)]
    threshold = {"rule": "largest Youden index on validation", "value": 0.4, "positive": "TN", "sensitivity": 0.8,
                 "specificity": 0.7, "patients": 50}  # fmt: skip
    return write_bundle(tmp_path_factory.mktemp("b") / "old.molsub", members, architecture="simple-cnn", task="tn",
                        classes=BINARY, recipe=get_recipe("default").to_dict(), dropout=0.3,
                        thresholds=[threshold])  # fmt: skip


CHANGE = {"method": "logistic", "slope": 0.5, "intercepts": [0.0, -0.75], "patients": 40, "fitted_on": "centre=A"}


def test_the_new_bundle_gives_the_recalibrated_probabilities(bundle: Path, tmp_path: Path) -> None:
    before = bundle.read_bytes()
    new = read_bundle(write_recalibrated(bundle, tmp_path / "new", CHANGE))
    assert bundle.read_bytes() == before
    patches = torch.randn((5, 1, 224, 224), generator=torch.Generator().manual_seed(1))
    old = read_bundle(bundle).probabilities(patches).numpy()
    assert new.probabilities(patches).numpy() == pytest.approx(recalibrated(old, 0.5, (0.0, -0.75)), abs=1e-12)
    assert not np.allclose(old, new.probabilities(patches).numpy())
    card = read_card(tmp_path / "new")
    assert (card["name"], card["version"], card["made_of"]["name"]) == ("new", "1.1.0", "old")
    assert list(card["changelog"]) == ["1.1.0", "1.0.0"]
    assert "40 patients of another cohort (centre=A)" in calibration_note(card)
    assert card["members"] == read_card(bundle)["members"]


def test_thresholds_call_the_same_lesions(bundle: Path, tmp_path: Path) -> None:
    write_recalibrated(bundle, tmp_path / "new.molsub", CHANGE)
    (old,), (new,) = (read_card(path)["thresholds"] for path in (bundle, tmp_path / "new.molsub"))
    share = np.random.default_rng(2).random(500)
    changed = recalibrated(np.stack([1 - share, share], axis=1), 0.5, (0.0, -0.75))[:, 1]
    assert ((share >= old["value"]) == (changed >= new["value"])).all()
    assert new["before_recalibration"] == old["value"]


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
    """Those made before there were recalibrations, thresholds and versions."""
    new = {"recalibration", "thresholds", "version", "changelog"}
    card = {key: value for key, value in read_card(bundle).items() if key not in new}
    write_json(tmp_path / "bundle.json", card)
    assert read_card(tmp_path) == card
    assert "Not calibrated" in calibration_note(card)
