"""Features and test-time augmentation of every architecture, against its head's weights and loops over patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from families import NAMES, prepared, size_of
from torch import nn
from torch.nn import functional

from MolSubCore.__main__ import main
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.splits import read_split
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.cohort.table import read_cohort
from MolSubCore.files import read_json
from MolSubCore.lesions.preprocessing import Recipe, get_recipe
from MolSubCore.models.registry import build_model
from MolSubCore.statistics.scores import read_predictions
from MolSubCore.study.fusion import FUSIONS, make_fusions
from MolSubCore.tasks import Subtype
from MolSubCore.training.data import draw_transforms, warp
from MolSubCore.training.extras import FLIPS, read_features, write_extras
from MolSubCore.training.loop import load_checkpoint
from MolSubCore.training.plan import Augmentation, Plan
from MolSubCore.training.run import TrainingData

PARTITIONS: tuple[str | int, ...] = ("test", 1, 2, 2, 1, 0, "test", 1)
QUICK = ("simple-cnn", "mobilenetv2", "mob-cbam", "densenet121-cbam", "vit-b16")
OTHERS = sorted({*NAMES, "densenet121-cbam-text"} - set(QUICK))
ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
RECIPE = get_recipe("default")


def make_data(name: str) -> TrainingData:
    """Eight patches of six patients, two lesions in one image, in a store that is in no order of partitions."""
    count, size = len(PARTITIONS), size_of(name)
    drawn = torch.rand((count, 1, 9, 9), generator=torch.Generator().manual_seed(4))
    images = functional.interpolate(drawn, size=size, mode="bilinear")[:, 0].numpy().astype(np.float16)
    meta = [{"laterality": "L", "view": ("CC", "MLO")[n % 2]} for n in range(count)]
    store = PatchStore(images, np.array([0, 1, 2, 2, 3, 4, 5, 6]), ["1", "1", "1", "2", "1", "1", "1", "1"], meta)
    ids = ("A", "B", "C", "C", "D", "E", "F", "B")
    return TrainingData(store, np.arange(count) % 5, ids, PARTITIONS)


def make_plan(name: str, **changes: object) -> Plan:
    return Plan("subtype5", name, RECIPE.to_dict(), "d", "s", folds=2, batch_size=3, **changes)  # type: ignore[arg-type]


def last_layer(model: nn.Module) -> nn.Linear:
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


@torch.no_grad()
def direct_logits(model: nn.Module, patches: np.ndarray) -> np.ndarray:
    """Logits of all patches at once, normalised by hand."""
    x = (patches.astype(np.float32) - RECIPE.mean) / RECIPE.std
    return np.asarray(model(torch.from_numpy(x[:, None].copy())))


@pytest.mark.parametrize("name", ALL)
def test_features_times_the_heads_weights_are_the_logits(name: str, tmp_path: Path) -> None:
    model, data = prepared(name), make_data(name)
    write_extras(model, make_plan(name), data, 2, tmp_path)
    features = read_features(tmp_path / "features.npz")
    head, direct = last_layer(model), direct_logits(model, data.store.patches)
    assert features.values.dtype == np.float32
    assert features.values.shape == (8, head.in_features)
    weights, bias = head.weight.numpy().astype(np.float64), head.bias.numpy()
    rounding = (np.abs(features.values.astype(np.float64)) @ np.abs(weights.T)) * 2**-18 + 1e-4
    assert (np.abs(features.values.astype(np.float64) @ weights.T + bias - direct) < rounding).all()
    assert np.ptp(direct, axis=0).min() > 20 * np.median(rounding)  # patches in another order would be seen
    rows = features.predictions
    assert rows.logits == pytest.approx(direct, abs=1e-4 * max(1.0, float(np.abs(direct).max())))
    assert features.partition.tolist() == [str(part) for part in PARTITIONS]
    assert (rows.study_id.tolist(), rows.label.tolist()) == (list(data.study_ids), data.labels.tolist())
    assert (rows.lesion.tolist(), rows.view.tolist()) == (data.store.lesion, ["CC", "MLO"] * 4)
    assert rows.classes == make_plan(name).classes
    assert not head._forward_pre_hooks


@pytest.mark.parametrize("name", ["simple-cnn", "mob-cbam"])
def test_flips_against_a_loop_over_patches(name: str, tmp_path: Path) -> None:
    model, data = prepared(name), make_data(name)
    write_extras(model, make_plan(name), data, 2, tmp_path)
    patches = data.store.patches
    turned = [patches, patches[:, :, ::-1], patches[:, ::-1], patches[:, ::-1, ::-1]]
    shares = np.stack([np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
                       for logits in (direct_logits(model, some) for some in turned)])  # fmt: skip
    assert np.ptp(shares, axis=0).max() > 1e-3  # a flip is seen
    for file, rows in (("tta_predictions.csv", [2, 3]), ("tta_test_predictions.csv", [0, 6])):
        found = read_predictions(tmp_path / file)
        assert found.probabilities() == pytest.approx(shares.mean(axis=0)[rows], abs=1e-5)
        assert np.exp(found.logits).sum(axis=1) == pytest.approx(1)
        assert found.study_id.tolist() == [data.study_ids[row] for row in rows]
        assert found.label.tolist() == data.labels[rows].tolist()
        assert found.case.tolist() == data.store.case_index[rows].tolist()


def test_the_flips_are_those_of_the_augmentation() -> None:
    x, still = torch.rand(2, 1, 32, 32), {"rotation_degrees": 0.0, "shear_degrees": 0.0}
    for name, across, down in (("horizontal flip", 1.0, 0.0), ("vertical flip", 0.0, 1.0), ("both flips", 1.0, 1.0)):
        options = Augmentation(horizontal_flip=across, vertical_flip=down, **still)  # type: ignore[arg-type]
        moved = warp(x, draw_transforms(len(x), options, torch.Generator()), options)
        assert torch.allclose(moved, x.flip(FLIPS[name]), atol=1e-5)


def test_passes_are_counted_and_files_that_exist_are_kept(tmp_path: Path) -> None:
    """One pass over eight patches, three over two of validation and two of the test set; then none."""
    model, data, plan, seen = prepared("mob-cbam"), make_data("mob-cbam"), make_plan("mob-cbam"), []
    handle = model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    names = ["features.npz", "tta_predictions.csv", "tta_test_predictions.csv"]
    try:
        model.train()
        write_extras(model, plan, data, 2, tmp_path)
        assert sum(seen) == 8 + 3 * (2 + 2)
        assert not model.training
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        first = [(tmp_path / name).read_bytes() for name in names]
        seen.clear()
        write_extras(model, plan, data, 2, tmp_path)
        assert seen == []
        (tmp_path / names[1]).unlink()
        write_extras(model, plan, data, 2, tmp_path)
        assert sum(seen) == 3 * 2
        assert [(tmp_path / name).read_bytes() for name in names] == first
    finally:
        handle.remove()
    for name in names:
        (tmp_path / name).unlink()
    write_extras(model, plan, data, 2, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == first


def test_features_are_float32_whatever_the_training_was_and_may_be_large(tmp_path: Path) -> None:
    model, data = prepared("simple-cnn"), make_data("simple-cnn")
    write_extras(model, make_plan("simple-cnn", precision="bf16"), data, 1, tmp_path / "bf16")
    write_extras(model, make_plan("simple-cnn"), data, 1, tmp_path / "fp32")
    half, full = (read_features(tmp_path / name / "features.npz").values for name in ("bf16", "fp32"))
    assert np.array_equal(half, full)
    inner = model.classifier[0]
    inner.weight.mul_(1e7)
    try:
        write_extras(model, make_plan("simple-cnn"), data, 1, tmp_path / "huge")
    finally:
        inner.weight.div_(1e7)
    huge = read_features(tmp_path / "huge" / "features.npz").values
    assert np.finfo(np.float16).max < huge.max() < np.inf


def test_a_model_that_fails_leaves_no_hook_and_no_file(tmp_path: Path) -> None:
    model, data = prepared("simple-cnn"), make_data("mob-cbam")  # of another size
    with pytest.raises(ValueError, match="224"):
        write_extras(model, make_plan("simple-cnn"), data, 1, tmp_path)
    assert not last_layer(model)._forward_pre_hooks
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_from_a_trained_fold_to_fused_runs(tmp_path: Path) -> None:
    """What the loop wrote as predictions, the best checkpoint gives again; every fusion of the run can be made."""
    counts = {Subtype.LUMINAL_A: 8, Subtype.TN: 8}
    table = make_synthetic_cohort(tmp_path / "cohort", counts=counts, seed=3, image_shape=(256, 208))
    options = ["--task", "tn", "--folds", "2", "--epochs", "1", "--test-share", "0.25", "--threads", "1"]
    run, cache = tmp_path / "tn--simple-cnn", tmp_path / "cache"
    assert main(["train", str(table), "--out", str(run), "--cache", str(cache), *options,
                 "--architecture", "simple-cnn", "--pretrained", "none"]) == 0  # fmt: skip
    cohort, plan = read_cohort(table), Plan.from_dict(read_json(run / "plan.json"))
    split = read_split(run / "split.json", cohort)
    data = TrainingData.gather(cohort, build_store(cohort, Recipe.from_dict(plan.recipe), cache), split, "tn")
    model = build_model("simple-cnn", 2)
    for fold in (1, 2):
        folder = run / f"fold-{fold}"
        load_checkpoint(folder / "best.safetensors", model)
        write_extras(model, plan, data, fold, folder)
        features = read_features(folder / "features.npz")
        for part, name in ((str(fold), "predictions.csv"), ("test", "test_predictions.csv")):
            logits = features.predictions.logits[features.partition == part]
            assert logits == pytest.approx(read_predictions(folder / name).logits, abs=1e-5)
    clinical = {study_id: {"age": str(40 + n)} for n, study_id in enumerate(sorted(split.partition))}
    assert make_fusions(run, list(FUSIONS), clinical) == dict.fromkeys(FUSIONS, "")
