"""Tests of heatmaps: regions by brute force, curves in closed form, randomised weights."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import failing
from families import filled
from hypothesis import given, settings
from hypothesis import strategies as st
from other_cohort import as_negative, rows_of, write_rows
from PIL import Image
from sklearn.metrics import roc_auc_score
from tiny_network import Tiny
from torch import nn

from MolSubCore.__main__ import main
from MolSubCore.explain.faithfulness import Regions, deletion_insertion, make_regions, stages, weight_randomisation
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
    table, model, out = str(workplace / "cohort" / "table.csv"), str(_bundle(tmp_path)), tmp_path / "out"
    first, *_others, last = ARCHITECTURES["mob-cbam"].default_layers
    command = ["explain-study", table, "--model", model, "--out", str(out), "--layers", f"{last},{first}"]
    assert main([*command, "--faithful", "1", "--randomised", "1"]) == 0
    result = read_json(out / "explanations.json")
    assert (result["patients"], result["lesions"]) == (12, 24)
    with (out / "explanations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 * 2
    summary = result["layers"][last]["all"]
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
    assert line.startswith("12 of 12 patients (rows 2-25): ")
    assert f"Warning: {line}" in capsys.readouterr().out
    assert Image.open(out / "explanations.png").width > 1000
    text = (out / "explanations.csv").read_text() + (out / "explanations.json").read_text()
    assert "P00" not in text  # the patients' identifiers
    assert "--overwrite" in failing(capsys, *command)
    assert "rim_mm" in failing(capsys, *command, "--rim-mm", "0", "--overwrite")
    assert "layers" in failing(
        capsys, "explain-study", table, "--model", model, "--out", str(out), "--layers", "none", "--overwrite"
    )
