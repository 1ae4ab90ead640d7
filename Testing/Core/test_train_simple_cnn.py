"""The whole job with another architecture than the default, by the command line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from coarse_cohort import make_coarse_cohort
from command_line import case, failing
from heatmap_files import on_image
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

from MolSubCore.__main__ import main
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import read_cohort
from MolSubCore.files import read_json, write_json
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.models.bundle import read_bundle
from MolSubCore.models.device import to_input
from MolSubCore.models.registry import ARCHITECTURES
from MolSubCore.statistics.scores import read_predictions
from MolSubCore.tasks import Subtype
from MolSubCore.training.plan import Plan

OPTIONS = ["--task", "luminal", "--folds", "2", "--epochs", "1", "--test-share", "0.25", "--threads", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cohort, a run of the simple network on it, a bundle. Nothing says that there are no ImageNet weights."""
    folder = tmp_path_factory.mktemp("simple")
    counts = {Subtype.LUMINAL_A: 4, Subtype.TN: 4}
    table = make_coarse_cohort(folder / "cohort", counts=counts, seed=3, image_shape=(256, 208))
    common = [str(table), "--out", str(folder / "run"), "--cache", str(folder / "cache"), *OPTIONS]
    assert main(["train", *common, "--architecture", "simple-cnn"]) == 0
    assert main(["models", "export", str(folder / "run"), "--out", str(folder / "m.molsub")]) == 0
    return folder


def test_the_plan_says_what_was_trained(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = read_json(place / "run" / "plan.json")
    assert plan["architecture"] == "simple-cnn"
    assert plan["pretrained"] == "none"  # not the "auto" that was meant by saying nothing
    (table,) = map(str, (place / "cohort").glob("*.csv"))
    resumed = ["train", table, "--out", str(place / "run"), "--cache", str(place / "cache"), "--task", "luminal"]
    assert main([*resumed, "--resume"]) == 0
    common = ["train", table, "--out", str(place / "other"), "--cache", str(place / "cache"), *OPTIONS]
    line = failing(capsys, *common, "--architecture", "simple-cnn", "--pretrained", str(place / "w.pth"))
    assert "simple-cnn is trained from scratch" in line
    assert "unknown value 'cnn'" in failing(capsys, *common, "--architecture", "cnn", "--pretrained", "none")
    assert not (place / "other").exists()


def test_a_resumed_run_knows_what_its_images_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures say neither side nor view: the table's columns do, and decide what is averaged."""
    noise = np.random.default_rng(5)
    for n in range(16):
        Image.fromarray(noise.integers(40, 220, (256, 208), np.uint8)).save(tmp_path / f"{n}.png")
    table, run = tmp_path / "table.csv", tmp_path / "run"

    def resume(*columns: str) -> list[str]:
        """Two pictures of each of eight patients, with further columns; the command that goes on with the run."""
        cells = [{"laterality": "LR"[n % 2], "view": "CC", "lesion_id": f"{1 + n % 2}"} for n in range(16)]
        lines = [",".join(["patient_id,image,box,subtype", *columns])]
        for n, more in enumerate(cells):
            own = f'P{n // 2},{n}.png,"60,60,120,120",{("TN", "Luminal A")[n // 2 % 2]}'
            lines.append(",".join([own, *(more[name] for name in columns)]))
        table.write_text("\n".join(lines))
        command = ["train", str(table), "--out", str(run), "--cache", str(tmp_path / "cache"), *OPTIONS]
        return [*command, "--architecture", "simple-cnn", "--resume"]

    assert main(resume()[:-1]) == 0
    assert main(resume()) == 0
    assert "the sides of 16 images are given now" in failing(capsys, *resume("laterality"))
    assert "the views of 16 images are given now" in failing(capsys, *resume("view"))
    assert "the lesion ids of 16 images are given now" in failing(capsys, *resume("lesion_id"))
    # A run of before: only the predictions of its folds say what its images said.
    (run / "inputs.json").unlink()
    plan = {name: value for name, value in read_json(run / "plan.json").items() if name != "groups_hash"}
    write_json(run / "plan.json", plan)
    line = failing(capsys, *resume("laterality"))
    assert re.search(r"the sides of \d+ images are given now", line), line
    assert main(resume()) == 0
    assert {**read_json(run / "plan.json"), "groups_hash": ""} == {**plan, "groups_hash": ""}
    assert "the sides of 16 images are given now" in failing(capsys, *resume("laterality"))
    shutil.rmtree(run)
    assert main(resume("laterality", "view")[:-1]) == 0
    found = read_predictions(run / "fold-1" / "test_predictions.csv")
    assert set(found.laterality.tolist()) == {"L", "R"}
    assert set(found.view.tolist()) == {"CC"}
    assert "the sides of 16 images are not given any more" in failing(capsys, *resume("view"))


def test_the_bundle_is_the_network_written_out(place: Path) -> None:
    """Two convolutions, two poolings, two products: with functions only, on the run's own weights."""
    evaluation = read_json(place / "run" / "evaluation.json")
    stored = load_file(place / "run" / f"fold-{evaluation['best_fold']}" / "best.safetensors")
    w = {key.removeprefix("model."): value for key, value in stored.items()}
    assert len(w) == 8
    x = torch.randn((3, 1, 224, 224), generator=torch.Generator().manual_seed(0))
    hidden = x
    for layer in ("features.0.0", "features.3"):
        hidden = functional.conv2d(hidden, w[f"{layer}.weight"], w[f"{layer}.bias"], padding=1)
        hidden = functional.max_pool2d(functional.relu(hidden), 2)
    hidden = functional.relu(hidden.flatten(1) @ w["classifier.0.weight"].T + w["classifier.0.bias"])
    expected = hidden @ w["classifier.2.weight"].T + w["classifier.2.bias"]
    bundle = read_bundle(place / "m.molsub")
    assert torch.allclose(bundle.logits(x)[0], expected, atol=1e-4)
    assert expected.std() > 1e-3
    assert bundle.card["architecture"] == "simple-cnn"
    assert bundle.card["training"]["plan"]["pretrained"] == "none"


def test_training_moved_every_weight(place: Path) -> None:
    first, second = (load_file(place / "run" / f"fold-{n}" / "best.safetensors") for n in (1, 2))
    assert all(not torch.equal(value, second[key]) for key, value in first.items())


def test_it_predicts_with_heatmaps_of_its_own_layers(place: Path, tmp_path: Path) -> None:
    image, mask = case(place)
    out = tmp_path / "result"
    assert main(["predict", image, "--lesion", mask, "--model", str(place / "m.molsub"), "--out", str(out)]) == 0
    result = read_json(out / "prediction.json")
    assert sum(result["patient"]["probabilities"].values()) == pytest.approx(1)
    (entry,) = result["images"]
    assert list(entry["heatmaps"]) == list(ARCHITECTURES["simple-cnn"].default_layers)
    shape = sitk.GetArrayFromImage(sitk.ReadImage(image)).shape[-2:]
    for file in entry["heatmaps"].values():
        volume = on_image(out / file, shape)
        assert 0 <= volume.min() <= volume.max() <= 1.0001
        assert np.isfinite(volume).all()


def test_a_training_that_diverges_says_so(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores beyond what a float32 can hold, from the first step on."""
    (table,) = map(str, (place / "cohort").glob("*.csv"))
    original = functional.cross_entropy
    monkeypatch.setattr(functional, "cross_entropy", lambda output, target: original(output * 1e38 * 1e38, target))
    common = ["train", table, "--out", str(tmp_path / "run"), "--cache", str(place / "cache"), *OPTIONS]
    line = failing(capsys, *common, "--architecture", "simple-cnn")
    assert "fold 1: diverged in epoch 1 at step 1" in line
    assert "Choose a learning rate below 0.0001" in line
    assert not (tmp_path / "run" / "fold-1" / "done.json").exists()


def test_a_run_trained_in_bfloat16_says_what_its_bundle_says(place: Path, tmp_path: Path) -> None:
    """Training steps are of half precision, predictions of single precision, in run and bundle alike."""
    (table,) = map(str, (place / "cohort").glob("*.csv"))
    common = ["train", table, "--out", str(tmp_path / "run"), "--cache", str(place / "cache"), *OPTIONS]
    assert main([*common, "--architecture", "simple-cnn", "--precision", "bf16"]) == 0
    assert read_json(tmp_path / "run" / "plan.json")["precision"] == "bf16"
    assert main(["models", "export", str(tmp_path / "run"), "--out", str(tmp_path / "m.molsub"), "--fold", "1"]) == 0
    bundle = read_bundle(tmp_path / "m.molsub")
    plan = Plan.from_dict(read_json(tmp_path / "run" / "plan.json"))
    recipe = Recipe.from_dict(plan.recipe)
    store = build_store(read_cohort(Path(table)), recipe, place / "cache")
    for name in ("predictions", "test_predictions"):
        rows = read_predictions(tmp_path / "run" / "fold-1" / f"{name}.csv")
        place_of = {int(number): n for n, number in enumerate(store.case_index)}
        for row, number in enumerate(rows.case.tolist()):
            patch = to_input(np.asarray(store.patches[place_of[number]])[None], recipe, "cpu")
            alone = bundle.probabilities(patch).numpy()[0]
            assert alone == pytest.approx(rows.probabilities()[row], abs=1e-6)
