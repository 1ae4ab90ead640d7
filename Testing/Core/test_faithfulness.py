"""Tests of heatmaps: regions by brute force, curves in closed form, randomised weights."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import failing
from families import filled
from hypothesis import given, settings
from hypothesis import strategies as st
from other_cohort import as_negative, rows_of, write_rows
from PIL import Image
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score
from tiny_network import Tiny
from torch import nn

from MolSubCore.__main__ import main
from MolSubCore.evaluation.explain_study import CENTRED, map_measures, patient_mean
from MolSubCore.explain.faithfulness import (
    Curves,
    Regions,
    centred,
    deletion_insertion,
    make_regions,
    stages,
    weight_randomisation,
)
from MolSubCore.files import read_json
from MolSubCore.lesions.lesion import Box, Lesion, LesionSet
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import square_roi
from MolSubCore.models.bundle import write_bundle
from MolSubCore.models.registry import ARCHITECTURES, build_model
from MolSubCore.tasks import TASKS


@settings(deadline=None, max_examples=25)
@given(st.integers(5, 60), st.integers(5, 60), st.integers(4, 20), st.floats(1, 25), st.floats(1, 25))
def test_regions_are_those_of_brute_force(
    row: int, column: int, side: int, rim_rows: float, rim_columns: float
) -> None:
    """On a patch with one pixel per image pixel: an ellipse of the rim's two widths around every lesion pixel."""
    shape, box = (80, 80), Box(row, row + side, column, column + side)
    geometry = square_roi(box, (0, 0), shape, 80)
    geometry = type(geometry)(0, 80, 0, 80, 80, shape)
    regions = make_regions(LesionSet((Lesion("1", box, None, "box"),), shape), geometry, (rim_rows, rim_columns))
    rows, columns = np.mgrid[0:80, 0:80]
    away_rows = np.maximum(np.maximum(box.row_start - rows, rows - box.row_stop + 1), 0)
    away_columns = np.maximum(np.maximum(box.col_start - columns, columns - box.col_stop + 1), 0)
    inside = (away_rows == 0) & (away_columns == 0)
    distance = np.hypot(away_rows / rim_rows, away_columns / rim_columns)
    assert np.array_equal(regions.inside, inside)
    clear = np.abs(distance - 1) > 1e-9  # on the very edge rounding decides
    assert np.array_equal(regions.rim[clear], ((distance <= 1) & ~inside)[clear])
    total = regions.inside.astype(int) + regions.rim + regions.beyond
    assert (total == 1).all()


def make_half() -> Regions:
    """The left quarter is the lesion, the next quarter the rim."""
    columns = np.tile(np.arange(40), (40, 1))
    return Regions(columns < 10, (columns >= 10) & (columns < 20), columns >= 20)


def test_an_even_map_has_the_energy_of_the_area() -> None:
    regions = make_half()
    even = regions.shares(np.full((40, 40), 0.3, np.float32))
    assert even == pytest.approx(regions.areas()) == {"inside": 0.25, "rim": 0.25, "beyond": 0.5}
    only = regions.shares(regions.inside.astype(np.float32))
    assert only == {"inside": 1.0, "rim": 0.0, "beyond": 0.0}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_the_auroc_is_that_of_scikit_learn(seed: int, levels: int) -> None:
    regions = make_half()
    heat = np.random.default_rng(seed).integers(0, levels, (40, 40)).astype(np.float32)
    assert regions.auroc(heat) == pytest.approx(roc_auc_score(regions.inside.ravel(), heat.ravel()))
    nothing = np.zeros((40, 40), bool)
    assert Regions(nothing, nothing, ~nothing).auroc(heat) is None


def test_curves_have_their_closed_form() -> None:
    """The model counts the lesion's own pixels: deleted first, they leave a triangle of half its share."""
    patch = np.random.default_rng(1).standard_normal((40, 40)).astype(np.float32)

    def probability(patches: np.ndarray) -> np.ndarray:
        return np.asarray((patches[:, :, :10] == patch[:, :10]).mean(axis=(1, 2)), float)

    heat = make_half().inside.astype(np.float32)
    good = deletion_insertion(probability, patch, heat, steps=40, controls=4)
    assert good.deletion == pytest.approx(0.25 / 2, abs=0.02)
    assert good.insertion == pytest.approx(1 - 0.25 / 2, abs=0.02)
    assert good.deletion < good.control_deletion
    assert good.insertion > good.control_insertion
    wrong = deletion_insertion(probability, patch, 1 - heat, steps=40, controls=0)
    assert wrong.deletion == pytest.approx(1 - 0.25 / 2, abs=0.02)
    assert (wrong.control_deletion, wrong.control_insertion) == (wrong.deletion, wrong.insertion)


def test_a_map_without_information_gains_nothing() -> None:
    rng = np.random.default_rng(0)
    patch = rng.standard_normal((40, 40)).astype(np.float32)

    def probability(patches: np.ndarray) -> np.ndarray:
        return np.asarray((patches == patch).mean(axis=(1, 2)), float)

    curves = deletion_insertion(probability, patch, np.zeros((40, 40), np.float32), steps=20)
    assert curves.deletion == pytest.approx(0.5, abs=0.01)
    assert curves.insertion == pytest.approx(0.5, abs=0.01)
    assert curves.control_deletion == pytest.approx(0.5, abs=0.01)


SIZE = 48


def lesions_off_centre(patients: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Patches, and where their lesions are: in the middle, give or take a sixth of the side."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    places = SIZE / 2 + rng.uniform(-SIZE / 6, SIZE / 6, (patients, 2))
    patches = rng.standard_normal((patients, SIZE, SIZE)).astype(np.float32)
    return [(patch, np.hypot(rows - r, columns - c) < SIZE / 8) for patch, (r, c) in zip(patches, places, strict=True)]


def gains(draw: Callable[[np.ndarray, np.random.Generator], np.ndarray], seed: int) -> dict[str, dict[str, Any]]:
    """Figures of 20 patients whose model sees the lesion's own pixels, for maps drawn from the lesion's mask."""
    rng, found = np.random.default_rng(seed), []
    for number, (patch, lesion) in enumerate(lesions_off_centre(20, seed)):

        def probability(patches: np.ndarray, patch: np.ndarray = patch, lesion: np.ndarray = lesion) -> np.ndarray:
            return np.asarray((patches == patch)[:, lesion].mean(axis=1), float)

        def curves(heat: np.ndarray, patch: np.ndarray = patch, score: Any = probability, own: int = number) -> Curves:
            return deletion_insertion(score, patch, heat.astype(np.float32), controls=6, seed=1000 * seed + own)

        regions = Regions(lesion, np.zeros_like(lesion), ~lesion)
        middle = map_measures(centred(SIZE), regions, curves)
        found.append(map_measures(draw(lesion, rng).astype(np.float32), regions, curves, middle))
    return {name: patient_mean(enumerate(row[name] for row in found)) for name in found[0]}


def gaussian(row: float, column: float, spread: float) -> np.ndarray:
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * spread**2))


def test_a_map_of_the_middle_gains_over_itself_misplaced_and_not_over_the_middle() -> None:
    """It knows no model: its gain over a misplaced map is that of the lesion's place."""
    middle = (SIZE - 1) / 2
    found = gains(lambda lesion, rng: gaussian(middle, middle, SIZE / 9), 3)
    for name in ("deletion", "insertion"):
        assert found[f"{name} gain"]["low"] > 0.1
        assert found[f"{name} over centred"]["low"] is None or found[f"{name} over centred"]["low"] <= 0
        assert found[f"{name} over centred"]["mean"] == pytest.approx(0, abs=0.005)


def test_a_map_that_follows_the_lesion_gains_over_the_middle_too() -> None:
    found = gains(lambda lesion, rng: gaussian(*ndimage.center_of_mass(lesion), SIZE / 9), 4)
    for name in ("auroc over centred", "deletion over centred", "insertion over centred"):
        assert found[name]["low"] > 0.01


def test_intervals_over_the_middle_have_their_level() -> None:
    """Maps as near to the lesion as the middle is, but no nearer: in expectation neither is better.

    A point that is drawn as the lesion's is, independent of it, is farther from it than the middle is; so a map around
    one such point is compared with a map around another.
    """

    def difference(seed: int) -> dict[str, Any]:
        rng, rows = np.random.default_rng(seed), []
        for number, (_, lesion) in enumerate(lesions_off_centre(20, seed)):
            regions = Regions(lesion, np.zeros_like(lesion), ~lesion)
            one, other = (gaussian(*(SIZE / 2 + rng.uniform(-SIZE / 6, SIZE / 6, 2)), SIZE / 9) for _ in range(2))
            reference = map_measures(other.astype(np.float32), regions)
            rows.append((number, map_measures(one.astype(np.float32), regions, reference=reference)))
        return patient_mean((number, row["auroc over centred"]) for number, row in rows)

    missed = sum(not found["low"] <= 0 <= found["high"] for found in map(difference, range(200)))
    assert missed in range(*(int(end) for end in stats.binom.interval(0.999, 200, 0.05))), missed


def test_patients_count_once_and_have_student_s_interval() -> None:
    rng = np.random.default_rng(2)
    values = [(patient, float(value)) for patient in range(7) for value in rng.normal(size=1 + patient % 3)]
    means = [np.mean([value for one, value in values if one == patient]) for patient in range(7)]
    low, high = stats.t.interval(0.95, 6, np.mean(means), stats.sem(means))
    assert patient_mean(values) == pytest.approx({"patients": 7, "mean": np.mean(means), "low": low, "high": high})


def test_every_lesion_has_displacements_of_its_own() -> None:
    """One displacement for all would give equal patches equal controls."""
    ((patch, lesion),) = lesions_off_centre(1, 0)

    def probability(patches: np.ndarray) -> np.ndarray:
        return np.asarray((patches == patch)[:, lesion].mean(axis=1), float)

    heat = gaussian(20.0, 30.0, 5.0).astype(np.float32)
    drawn = [
        deletion_insertion(probability, patch, heat, controls=1, seed=seed).control_insertion for seed in range(40)
    ]
    assert len(set(drawn)) > 20
    many = [
        deletion_insertion(probability, patch, heat, controls=20, seed=seed).control_insertion for seed in range(12)
    ]
    assert np.std(many) < np.std(drawn) / 2.5


class Fixed(nn.Module):
    """A network whose weights are no layer's to lose: its map cannot change."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.AvgPool2d(2))
        self.scale = nn.ParameterList([nn.Parameter(torch.tensor([1.0, -1.0]))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.features(x).mean(dim=(1, 2, 3))[:, None] * self.scale[0]
        return out


def test_lost_weights_change_the_maps_and_nothing_else() -> None:
    tiny, inputs = Tiny(), torch.rand((1, 1, 48, 48), generator=torch.Generator().manual_seed(3))
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    drawn = torch.get_rng_state()
    found = weight_randomisation(tiny, inputs, ["features.4", "features.1"], 0, seed=5)
    assert (
        list(found)
        == list(reversed(stages(tiny)))
        == ["classifier", "features.4", "features.3", "features.1", "features.0"]
    )
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert found == weight_randomisation(tiny, inputs, ["features.4", "features.1"], 0, seed=5)
    last = found["features.0"]
    assert all(-1 <= value < 0.9 for value in last.values())
    kept = weight_randomisation(Fixed(), inputs + 0.1, ["features.0"], 0)
    assert all(value == pytest.approx(1.0) for stage in kept.values() for value in stage.values())


def _bundle(folder: Path) -> Path:
    """A small network with random weights."""
    weights = filled(lambda: build_model("mob-cbam", 2)).state_dict()
    return write_bundle(
        folder / "m.molsub", [weights], architecture="mob-cbam", task="luminal", classes=TASKS["luminal"].classes,
        recipe=get_recipe("default").to_dict(), dropout=0.3, synthetic=True,
    )  # fmt: skip


def test_what_means_nothing_is_not_explained(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One view of a patient, and all views of another, may be negatives."""
    folder = workplace / "cohort"
    rows = rows_of(folder / "table.csv")[:6]
    for row in (rows[1], rows[2], rows[3]):
        row["image"] = str(as_negative(folder / row["image"]))
    table, model, out = write_rows(folder / "turned.csv", rows), str(_bundle(tmp_path)), tmp_path / "out"
    none = ["--faithful", "0", "--randomised", "0"]
    assert main(["explain-study", str(table), "--model", model, "--out", str(out), *none]) == 2
    printed, result = capsys.readouterr().err, read_json(out / "explanations.json")
    assert (result["patients"], result["lesions"]) == (2, 3)
    assert [entry["rows"] for entry in result["left_out"]] == ["3", "4", "5"]
    why = "its prediction means nothing: the picture may be a negative (dense tissue dark)"
    assert f"row 3: {why}. Left out." in printed
    assert {entry["reason"] for entry in result["left_out"]} == {why}


def test_a_cohort_is_explained(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = write_rows(workplace / "cohort" / "few.csv", rows_of(workplace / "cohort" / "table.csv")[:12])
    table, model, out = str(few), str(_bundle(tmp_path)), tmp_path / "out"
    first, *_others, last = ARCHITECTURES["mob-cbam"].default_layers
    command = ["explain-study", table, "--model", model, "--out", str(out), "--layers", f"{last},{first}"]
    assert main([*command, "--faithful", "1", "--randomised", "1", "--controls", "1", "--target", "log-odds"]) == 0
    result = read_json(out / "explanations.json")
    assert (result["patients"], result["lesions"]) == (6, 12)
    with (out / "explanations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * 3  # two layers, and the map of the middle
    displaced = {row["deletion gain"] for row in rows if row["layer"] == CENTRED and row["deletion gain"]}
    assert len(displaced) == 2  # of one patient's two images
    for row in rows:
        if row["auroc over centred"]:
            (middle,) = (one for one in rows if one["layer"] == CENTRED and one["image"] == row["image"]
                         and one["patient"] == row["patient"])  # fmt: skip
            assert float(row["auroc over centred"]) == pytest.approx(float(row["auroc"]) - float(middle["auroc"]))
    summary = result["layers"][last]["all"]
    # Random weights know nothing: the class's probability stays near 0.5, its log-odds near 0.
    assert result["plan"]["target"] == "log-odds"
    assert abs(summary["deletion"]["mean"]) < 0.3
    values = [float(row["inside"]) for row in rows if row["layer"] == last and row["inside"]]
    per_patient: dict[str, list[float]] = {}
    for row in rows:
        if row["layer"] == last and row["inside"]:
            per_patient.setdefault(row["patient"], []).append(float(row["inside"]))
    assert summary["lesions"] - summary["blind"] == len(values)
    assert summary["inside"]["mean"] == pytest.approx(np.mean([np.mean(part) for part in per_patient.values()]))
    assert summary["inside"]["low"] <= summary["inside"]["mean"] <= summary["inside"]["high"]
    assert summary["deletion gain"]["patients"] == 1
    assert result["model"]["synthetic"] is True
    (line,) = (line for line in result["warnings"] if "trained on synthetic pictures" in line)
    assert line.startswith("6 of 6 patients (rows 2-13): ")
    assert f"Warning: {line}" in capsys.readouterr().out
    assert Image.open(out / "explanations.png").width > 1000
    text = (out / "explanations.csv").read_text() + (out / "explanations.json").read_text()
    assert "P00" not in text  # the patients' identifiers
    assert "--overwrite" in failing(capsys, *command)
    assert "rim_mm" in failing(capsys, *command, "--rim-mm", "0", "--overwrite")
    assert "layers" in failing(
        capsys, "explain-study", table, "--model", model, "--out", str(out), "--layers", "none", "--overwrite"
    )
