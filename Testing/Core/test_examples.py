"""Examples with heatmaps: who is chosen, what is computed for them, and that it is of the run's own model."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fake_study import evaluate_quickly
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.splits import make_split
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.cohort.table import Cohort, read_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.explain_study import ExplanationPlan, explain_cohort
from MolSubCore.explain.examples import choose_examples, choose_failures, read_attention, write_attention
from MolSubCore.explain.gradcam import explain
from MolSubCore.files import read_json, write_json
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import read_bundle, write_bundle
from MolSubCore.models.device import to_input
from MolSubCore.models.registry import build_model
from MolSubCore.statistics.scores import Predictions, read_predictions, write_predictions
from MolSubCore.study import faithfulness
from MolSubCore.study.faithfulness import is_measured, write_faithfulness
from MolSubCore.tasks import Subtype, get_task
from MolSubCore.training.loop import predict_logits
from MolSubCore.training.plan import Plan
from MolSubCore.training.run import TrainingData

TASK = "luminal"
CLASSES = get_task(TASK).classes  # non-Luminal, Luminal


def table(rows: list[tuple[str, str, int, float]]) -> Predictions:
    """Patient, view, label, probability of class 1; one image per row."""
    patient, view, label, share = zip(*rows, strict=True)
    shares = np.array(share)
    blank = np.full(len(rows), "")
    return Predictions(
        np.array(patient), np.arange(len(rows)), np.full(len(rows), "1"), blank, np.array(view),
        np.array(label, np.int64), np.log(np.stack([1 - shares, shares], axis=1)), CLASSES,
    )  # fmt: skip


def both(patient: str, label: int, *shares: float) -> list[tuple[str, str, int, float]]:
    return [(patient, view, label, share) for view, share in zip(("CC", "MLO"), shares, strict=False)]


def test_the_median_of_the_correct_ones_with_both_views() -> None:
    rows = [
        *both("a", 1, 0.9, 0.9), *both("b", 1, 0.4, 0.8), *both("c", 1, 0.7, 0.7), *both("d", 1, 0.9, 0.7),
        *both("wrong", 1, 0.2, 0.3), *both("single", 1, 0.65),
        *both("e", 0, 0.9, 0.8), *both("f", 0, 0.6, 0.7),
    ]  # fmt: skip
    negative, positive = choose_examples(table(rows))
    # Means 0.9, 0.6, 0.7, 0.8 with both views: the lower of the two middle ones is c's 0.7.
    assert (positive["study_id"], positive["probability"]) == ("c", pytest.approx(0.7))
    assert (positive["patients"], positive["correct"], positive["chosen_from"]) == (6, 5, 4)
    assert [view["view"] for view in positive["views"]] == ["CC", "MLO"]
    # Nobody of the other class is right: an empty entry that says so.
    assert negative == {"class": "non-Luminal", "patients": 2, "correct": 0, "views": []}


def test_those_the_model_is_most_wrong_about() -> None:
    """By the mean over both views, at most two of a class; b is right, and d's error is the smallest."""
    rows = [
        *both("a", 1, 0.1, 0.4), *both("b", 1, 0.4, 0.8), *both("c", 1, 0.05, 0.1), *both("d", 1, 0.4, 0.4),
        *both("e", 0, 0.4, 0.9), ("f", "", 0, 0.1),
    ]  # fmt: skip
    found = choose_failures(table(rows))
    assert [(one["study_id"], one["class"], one["predicted"]) for one in found] == [
        ("e", "non-Luminal", "Luminal"), ("c", "Luminal", "non-Luminal"), ("a", "Luminal", "non-Luminal"),
    ]  # fmt: skip
    assert [one["probability"] for one in found] == pytest.approx([0.65, 0.925, 0.75])
    assert [one["wrong"] for one in found] == [1, 3, 3]
    assert [view["predicted"] for view in found[0]["views"]] == ["non-Luminal", "Luminal"]


def test_without_both_views_one_is_enough_and_its_own_verdict_is_kept() -> None:
    found = choose_examples(table([("a", "MLO", 1, 0.7), ("b", "", 0, 0.1), *both("c", 0, 0.2, 0.6)]))
    negative, positive = found
    assert [view["view"] for view in positive["views"]] == ["MLO"]
    assert negative["study_id"] == "c"
    assert [view["predicted"] for view in negative["views"]] == ["non-Luminal", "Luminal"]


patients = st.lists(
    st.tuples(st.integers(0, 1), st.lists(st.sampled_from([0.1, 0.3, 0.45, 0.6, 0.8]), min_size=1, max_size=2)),
    min_size=1,
    max_size=9,
)


@settings(max_examples=60, deadline=None)
@given(patients, st.randoms(use_true_random=False))
def test_the_choice_depends_on_neither_ids_nor_order(people: list[tuple[int, list[float]]], random: object) -> None:
    rows = [row for n, (label, shares) in enumerate(people) for row in both(f"P{n}", label, *shares)]
    first = table(rows)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    salted = {f"P{n}": f"S{(7 * n + 3) % 101:03d}" for n in range(len(people))}
    names = ("study_id", "case", "lesion", "laterality", "view", "label", "logits")
    mixed = replace(first, **{name: getattr(first, name)[order] for name in names})
    mixed = replace(mixed, study_id=np.array([salted[name] for name in mixed.study_id]))
    for one, other in zip(choose_examples(first), choose_examples(mixed), strict=True):
        assert [view["case"] for view in one["views"]] == [view["case"] for view in other["views"]]
        assert other.get("study_id") == salted.get(one.get("study_id", ""))
        if one["views"]:
            # By hand: as many correct patients (of those preferred) lie below as above, or one fewer.
            right = [
                (np.mean(s) if label else 1 - np.mean(s), len(s) == 2)
                for label, s in people
                if CLASSES[label] == one["class"] and (np.mean(s) > 0.5 if label else np.mean(s) <= 0.5)
            ]
            values = sorted(value for value, pair in right if pair or not any(pair for _, pair in right))
            assert one["probability"] == pytest.approx(values[(len(values) - 1) // 2])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PatchStore, Cohort, nn.Module]:
    """A run of one fold of an untrained network on a small synthetic cohort."""
    folder = tmp_path_factory.mktemp("examples")
    counts = {Subtype.LUMINAL_A: 6, Subtype.TN: 6}
    cohort = read_cohort(make_synthetic_cohort(folder / "c", counts=counts, seed=3, image_shape=(256, 208)))
    recipe = get_recipe("default", bound=12)
    store = build_store(cohort, recipe, folder / "cache")
    split = make_split(cohort, get_task(TASK), folds=1, test_share=0.5, seed=1, salt="s")
    data = TrainingData.gather(cohort, store, split, TASK)
    plan = Plan(TASK, "simple-cnn", recipe.to_dict(), "", "", folds=1, synthetic=True)
    torch.manual_seed(0)
    model = build_model("simple-cnn", 2).eval()
    logits = 40 * predict_logits(model, data.select({"test"}), plan, recipe)
    with torch.no_grad():  # so that both classes are called, and with different probabilities
        model.classifier[2].weight *= 40
        model.classifier[2].bias *= 40
        model.classifier[2].bias[0] -= float(np.median(logits[:, 0] - logits[:, 1]))
    for name, part in (("predictions", 1), ("test_predictions", "test")):
        chosen = data.select({part})
        made = data.predictions(chosen, predict_logits(model, chosen, plan, recipe), CLASSES)
        write_predictions(folder / "run" / "fold-1" / f"{name}.csv", made)
    write_json(folder / "run" / "fold-1" / "done.json", {})
    write_json(folder / "run" / "plan.json", plan.to_dict())
    evaluate_quickly(folder / "run", 5)
    return folder / "run", store, cohort, model


def test_the_maps_of_the_chosen_views(place: tuple[Path, PatchStore, Cohort, nn.Module]) -> None:
    """Against Grad-CAM written out with the network cut in two."""
    run, store, cohort, model = place
    record = write_attention(run, store, lambda fold: model, cohort=cohort)
    found = read_attention(run)
    assert found is not None
    assert found.record == read_json(run / "attention.json") == record
    assert any(example["views"] for example in record["examples"])
    recipe, layer = get_recipe("default", bound=12), "features.2"
    for example in record["examples"]:
        for view in example["views"]:
            number = view["patch"]
            (row,) = [
                n for n, meta in enumerate(store.meta)
                if meta["geometry"] == view["geometry"] and meta["view"] == view["view"]
                and np.array_equal(np.rint(255.0 * store.patches[n]), found.patches[number])
            ]  # fmt: skip
            inputs = torch.from_numpy(recipe.normalise(np.asarray(store.patches[row])[None]))
            activation = model.features[:3](inputs).detach().requires_grad_(True)
            score = model.classifier(model.features[3:](activation).flatten(1))[0]
            shares = torch.softmax(score, 0).detach().numpy()
            assert list(view["probabilities"].values()) == pytest.approx(shares.tolist(), abs=1e-4)
            (gradient,) = torch.autograd.grad(score[CLASSES.index(example["class"])], activation)
            expected = torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1))[0]
            assert np.allclose(found.maps[layer][number], expected.detach().numpy(), atol=1e-5)
            heat = found.heat(layer, number, 224)
            assert heat.shape == (224, 224)
            assert 0 <= heat.min() <= heat.max() <= 1.0001


def test_the_maps_of_failures_are_of_the_class_that_was_chosen(
    place: tuple[Path, PatchStore, Cohort, nn.Module],
) -> None:
    run, store, cohort, model = place
    record = write_attention(run, store, lambda fold: model, cohort=cohort)
    found = read_attention(run)
    assert found is not None and record["failures"]
    for example in record["failures"]:
        assert example["predicted"] != example["class"]
        for view in example["views"]:
            (row,) = [n for n, meta in enumerate(store.meta) if meta["geometry"] == view["geometry"]
                      and np.array_equal(np.rint(255.0 * store.patches[n]), found.patches[view["patch"]])]  # fmt: skip
            inputs = to_input(
                np.asarray(store.patches[row])[None], get_recipe("default", bound=12), torch.device("cpu")
            )
            maps = explain(model, inputs, found.layers, [CLASSES.index(example["predicted"])])
            assert maps.raw is not None
            assert np.allclose(found.maps[found.layers[-1]][view["patch"]], maps.raw[found.layers[-1]][0], atol=1e-5)


def test_a_runs_faithfulness_is_that_of_explain_study_on_its_test_patients(
    place: tuple[Path, PatchStore, Cohort, nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store, cohort, model = place
    monkeypatch.setattr(faithfulness, "_PLAN", replace(faithfulness._PLAN, randomised=1, steps=3))
    assert not is_measured(run)
    found = write_faithfulness(run, store, lambda fold: model, cohort)
    assert is_measured(run)
    plan, evaluation = read_json(run / "plan.json"), read_json(run / "evaluation.json")
    bundle = write_bundle(
        tmp_path / "bundle.molsub", [model.state_dict()], architecture="simple-cnn", task=TASK, classes=CLASSES,
        recipe=plan["recipe"], dropout=plan["dropout"], calibration=evaluation["calibration"]["folds"]["1"],
        synthetic=True,
    )  # fmt: skip
    tested = set(read_predictions(run / "fold-1" / "test_predictions.csv").case.tolist())
    with cohort.source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = cohort.source.with_name("tested.csv")
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for n, row in enumerate(rows) if n in tested)
    own = explain_cohort(
        table,
        read_bundle(bundle),
        tmp_path / "out",
        ExplanationPlan(layers=(found["layer"],), randomised=1, steps=3, controls=1),
    )
    table.unlink()
    assert (found["patients"], found["lesions"]) == (own["patients"], own["lesions"])
    for part in ("reference", "layers"):
        for name, groups in own[part].items():
            for measure in (
                "inside",
                "enrichment",
                "auroc",
                "auroc over centred",
                "deletion",
                "insertion over centred",
            ):
                mine, theirs = found[part][name]["all"][measure], groups["all"][measure]
                assert mine["patients"] == theirs["patients"], measure
                if theirs["mean"] is not None:
                    assert mine["mean"] == pytest.approx(theirs["mean"], abs=0.02), measure


def test_the_outline_is_the_mask_of_that_image(place: tuple[Path, PatchStore, Cohort, nn.Module]) -> None:
    run, store, cohort, model = place
    record = write_attention(run, store, lambda fold: model, cohort=cohort)
    views = [view for example in record["examples"] for view in example["views"]]
    for view in views:
        geometry = view["geometry"]
        (row,) = [
            n for n, meta in enumerate(store.meta) if meta["geometry"] == geometry and meta["view"] == view["view"]
        ]
        case = cohort.cases[int(store.case_index[row])]
        mask = read_lesions(case.lesion, read_mammogram(case.image)).full_mask()
        side = geometry["row_stop"] - geometry["row_start"]
        drawn = np.zeros((224, 224), np.uint8)
        cv2.fillPoly(drawn, [np.array(contour, np.int32) for contour in view["outline"]], 1)
        assert drawn.mean() == pytest.approx(mask.sum() / side**2, rel=0.05)
        centre = (np.argwhere(mask).mean(axis=0) - [geometry["row_start"], geometry["col_start"]] + 0.5) * 224 / side
        assert np.abs(np.argwhere(drawn).mean(axis=0) - centre).max() < 2
    assert write_attention(run, store, lambda fold: model)["examples"][0]["views"][0]["outline"] is None


def test_only_salted_ids_and_no_paths(place: tuple[Path, PatchStore, Cohort, nn.Module]) -> None:
    run, store, cohort, model = place
    write_attention(run, store, lambda fold: model, cohort=cohort)
    text = (run / "attention.json").read_text(encoding="utf-8")
    assert not [case.patient_id for case in cohort.cases if f'"{case.patient_id}"' in text]
    assert str(run.parent) not in text
    assert ".dcm" not in text


def test_another_model_is_refused(place: tuple[Path, PatchStore, Cohort, nn.Module]) -> None:
    run, store, _, model = place
    other = build_model("simple-cnn", 2)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.classifier[2].bias += torch.tensor([3.0, -3.0])
    with pytest.raises(MolSubError, match="predictions that differ"):
        write_attention(run, store, lambda fold: other)


def test_damaged_files_are_one_line(place: tuple[Path, PatchStore, Cohort, nn.Module], tmp_path: Path) -> None:
    run, store, _, model = place
    write_attention(run, store, lambda fold: model)
    assert read_attention(tmp_path) is None
    (tmp_path / "attention.json").write_bytes((run / "attention.json").read_bytes())
    (tmp_path / "attention.npz").write_bytes((run / "attention.npz").read_bytes()[:500])
    with pytest.raises(MolSubError, match="holds no examples"):
        read_attention(tmp_path)
