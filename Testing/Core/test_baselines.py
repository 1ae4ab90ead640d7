"""Baselines in a run folder: they learn what is there, see nothing that they must not, and repeat themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MolSubCore.cohort.features import FeatureTable, build_features
from MolSubCore.cohort.splits import Split, make_split
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import MolSubError, TrainingError
from MolSubCore.evaluation.evaluate import evaluate_run
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.radiomics import RadiomicsSettings
from MolSubCore.lock import alone_in
from MolSubCore.statistics.scores import read_predictions
from MolSubCore.tasks import Subtype, get_task
from MolSubCore.training import baselines
from MolSubCore.training.baselines import BASELINES, BaselinePlan, train_baseline_fold
from MolSubCore.training.export import export_run
from MolSubCore.training.run import TrainingData, prepare_run

SETTINGS = RadiomicsSettings(families=("shape", "stat"))
RECIPE = get_recipe("default", bound=5)
#: Short searches, so that the tests are.
SEARCH: dict[str, dict[str, list[Any]]] = {
    "radiomics-svm": {"select__count": [4, 8], "model__C": [1.0], "model__gamma": ["scale"]},
    "radiomics-gb": {"select__count": [8], "model__max_iter": [15, 30], "model__max_leaf_nodes": [3]},
}


@dataclass(frozen=True)
class Ready:
    data: TrainingData
    features: FeatureTable
    split: Split

    def plan(self, name: str, **changes: Any) -> BaselinePlan:
        return replace(
            make_plan(architecture=name, search=SEARCH[name], folds=2, inner_folds=3),
            **{"data_hash": self.data.store.data_hash(), "split_hash": self.data.partition_hash()} | changes,
        )


def make_plan(**changes: Any) -> BaselinePlan:
    values: dict[str, Any] = {
        "task": "tn",
        "architecture": "radiomics-svm",
        "recipe": RECIPE.to_dict(),
        "features": SETTINGS.to_dict(),
        "data_hash": "d",
        "split_hash": "s",
        "synthetic": True,
    }
    return BaselinePlan(**(values | changes))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Twenty-four synthetic patients whose lesions look like their subtypes."""
    folder = tmp_path_factory.mktemp("baselines")
    counts = {Subtype.LUMINAL_A: 12, Subtype.TN: 12}
    table = make_synthetic_cohort(folder / "c", counts=counts, seed=4, image_shape=(256, 208))
    cohort = read_cohort(table)
    store = build_store(cohort, RECIPE, folder / "cache")
    split = make_split(cohort, get_task("tn"), folds=2, seed=1, salt="salt")
    features = build_features(cohort, SETTINGS, folder / "cache")
    return Ready(TrainingData.gather(cohort, store, split, "tn"), features, split)


def run(ready: Ready, plan: BaselinePlan, out: Path) -> Path:
    prepare_run(out, plan, ready.split, ready.data, resume=False)
    for fold in range(1, plan.folds + 1):
        train_baseline_fold(plan, ready.data, ready.features, out, fold)
    return out


def logits(out: Path, name: str = "fold-1/predictions.csv") -> Any:
    return read_predictions(out / name).logits


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_planted_signal_is_learned_and_evaluated(ready: Ready, tmp_path: Path, name: str) -> None:
    out = run(ready, ready.plan(name), tmp_path / "run")
    result = evaluate_run(out, resamples=50)
    assert result["over_folds"]["patient"]["auc"]["mean"] > 0.9
    in_test = sum(part == "test" for part in ready.split.partition.values())
    assert result["test"]["ensemble"]["patient"]["n_patients"] == in_test > 0
    assert result["synthetic"] is True
    found = read_predictions(out / "fold-2" / "predictions.csv")
    expected = [n for n, part in enumerate(ready.data.partitions) if part == 2]
    assert found.study_id.tolist() == [ready.data.study_ids[n] for n in expected]
    assert found.label.tolist() == ready.data.labels[expected].tolist()
    assert np.allclose(np.exp(found.logits).sum(axis=1), 1)
    plan = json.loads((out / "plan.json").read_text())
    assert plan["software"]["mirp"] and plan["software"]["scikit-learn"]
    done = json.loads((out / "fold-1" / "done.json").read_text())
    assert set(done["features"]) <= set(ready.features.names)
    assert done["features_hash"] == ready.features.data_hash()


@pytest.mark.parametrize("name", list(BASELINES))
def test_two_runs_of_a_plan_are_the_same_bytes(ready: Ready, tmp_path: Path, name: str) -> None:
    first, second = (run(ready, ready.plan(name), tmp_path / folder) for folder in ("a", "b"))
    files = sorted(path.relative_to(first) for path in first.rglob("*.*") if path.name not in (".lock", "images.json"))
    assert {path.name for path in files} >= {"predictions.csv", "test_predictions.csv", "done.json", "plan.json"}
    for file in files:  # all but the fingerprints of the images, whose key is drawn anew for every run
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


@pytest.mark.parametrize("name", list(BASELINES))
def test_nothing_leaks_from_other_parts(ready: Ready, tmp_path: Path, name: str) -> None:
    """Features of the test set, and labels of test set and validation part, are turned upside down."""
    plan = ready.plan(name)
    rng = np.random.default_rng(0)
    part = np.array([str(partition) for partition in ready.data.partitions])
    values, labels = ready.features.values.copy(), ready.data.labels.copy()
    perturbed = ready.features.perturbed.copy()
    values[part == "test"] = rng.normal(1e6, 1e6, values[part == "test"].shape)
    perturbed[part != "2"] = rng.normal(1e6, 1e6, perturbed[part != "2"].shape)
    labels[part != "2"] = 1 - labels[part != "2"]  # fold 1 trains on partition 2
    changed = Ready(
        replace(ready.data, labels=labels), replace(ready.features, values=values, perturbed=perturbed), ready.split
    )
    for one, folder in ((ready, "a"), (changed, "b")):
        train_baseline_fold(plan, one.data, one.features, tmp_path / folder, 1)
    assert np.array_equal(logits(tmp_path / "a"), logits(tmp_path / "b"))
    done = [json.loads((tmp_path / folder / "fold-1" / "done.json").read_text()) for folder in "ab"]
    assert all(done[0][key] == done[1][key] for key in ("parameters", "inner_auc", "features"))
    values = ready.features.values.copy()
    values[part == "1"] = rng.normal(1e6, 1e6, values[part == "1"].shape)
    train_baseline_fold(plan, ready.data, replace(ready.features, values=values), tmp_path / "c", 1)
    test = "fold-1/test_predictions.csv"
    assert np.array_equal(logits(tmp_path / "a", test), logits(tmp_path / "c", test))
    # The comparison can fail: a label of the training part does change the model.
    labels = ready.data.labels.copy()
    labels[np.flatnonzero((part == "2") & (labels == 1))[:4]] = 0
    train_baseline_fold(plan, replace(ready.data, labels=labels), ready.features, tmp_path / "d", 1)
    assert not np.array_equal(logits(tmp_path / "a"), logits(tmp_path / "d"))


def test_what_small_changes_of_the_outline_change_is_left_out(ready: Ready, tmp_path: Path) -> None:
    """A feature that gives the class away, once and not again under any perturbation, is in no model."""
    plan, features = ready.plan("radiomics-svm"), ready.features
    rng = np.random.default_rng(1)
    told = np.concatenate([features.values, ready.data.labels[:, None] + rng.normal(0, 0.01, (48, 1))], axis=1)
    noise, same = (
        np.concatenate([features.perturbed, column], axis=2)
        for column in (rng.normal(0, 1, (48, 4, 1)), np.repeat(told[:, None, -1:], 4, axis=1))
    )
    names = (*features.names, "told")
    for folder, perturbed, used in (("a", noise, False), ("b", same, True)):
        table = FeatureTable(told, names, features.case_index, perturbed)
        train_baseline_fold(plan, ready.data, table, tmp_path / folder, 1)
        done = json.loads((tmp_path / folder / "fold-1" / "done.json").read_text())
        assert ("told" in done["features"]) is used
        assert done["robust_features"] <= len(names)
    with pytest.raises(TrainingError, match=r"leaves no feature with an ICC of 0\.75"):
        nothing = replace(features, perturbed=rng.normal(0, 1e9, features.perturbed.shape))
        train_baseline_fold(plan, ready.data, nothing, tmp_path / "c", 1)


def test_a_stopped_fold_is_done_again_and_a_finished_one_is_passed_over(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ready.plan("radiomics-svm")
    write, fit = baselines.write_predictions, baselines.fit_model

    def stopping(path: Path, predictions: Any) -> None:
        if path.name == "test_predictions.csv":
            raise KeyboardInterrupt
        write(path, predictions)

    monkeypatch.setattr(baselines, "write_predictions", stopping)
    with pytest.raises(KeyboardInterrupt):
        train_baseline_fold(plan, ready.data, ready.features, tmp_path, 1)
    assert not (tmp_path / "fold-1" / "done.json").exists()
    monkeypatch.setattr(baselines, "write_predictions", write)
    train_baseline_fold(plan, ready.data, ready.features, tmp_path, 1)
    assert (tmp_path / "fold-1" / "done.json").exists()

    def fitting(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a finished fold was fitted again")

    monkeypatch.setattr(baselines, "fit_model", fitting)
    train_baseline_fold(plan, ready.data, ready.features, tmp_path, 1)
    monkeypatch.setattr(baselines, "fit_model", fit)


def test_a_fold_in_use_is_refused(ready: Ready, tmp_path: Path) -> None:
    with alone_in(tmp_path / "fold-1"), pytest.raises(MolSubError, match="in use by process"):
        train_baseline_fold(ready.plan("radiomics-svm"), ready.data, ready.features, tmp_path, 1)


def test_what_does_not_belong_together_is_refused(ready: Ready, tmp_path: Path) -> None:
    plan, features = ready.plan("radiomics-svm"), ready.features
    with pytest.raises(TrainingError, match="fold: is 3, the plan has folds 1 to 2"):
        train_baseline_fold(plan, ready.data, features, tmp_path, 3)
    fewer = FeatureTable(features.values[1:], features.names, features.case_index[1:], features.perturbed[1:])
    with pytest.raises(TrainingError, match="features: are of 47 lesions"):
        train_baseline_fold(plan, ready.data, fewer, tmp_path, 1)
    prepare_run(tmp_path / "run", plan, ready.split, ready.data, resume=False)
    prepare_run(tmp_path / "run", plan, ready.split, ready.data, resume=True)
    with pytest.raises(TrainingError, match="seed is 5, was 21"):
        prepare_run(tmp_path / "run", replace(plan, seed=5), ready.split, ready.data, resume=True)


def test_a_baseline_is_not_exported(ready: Ready, tmp_path: Path) -> None:
    out = run(ready, ready.plan("radiomics-svm"), tmp_path / "run")
    evaluate_run(out, resamples=20)
    with pytest.raises(TrainingError, match="run of radiomics-svm, which has no network to export") as caught:
        export_run(out, tmp_path / "m.molsub")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.molsub").exists()


def test_the_plan_survives_its_file_and_every_field_is_in_its_key() -> None:
    plan = make_plan()
    again = BaselinePlan.from_dict(json.loads(json.dumps(plan.to_dict() | {"software": {"mirp": "2"}})))
    assert (again, again.key()) == (plan, plan.key())
    assert plan.search == {name: list(tried) for name, tried in BASELINES["radiomics-svm"].search.items()}
    other: dict[str, Any] = {
        "task": "luminal", "architecture": "radiomics-gb", "recipe": get_recipe("default", bound=6).to_dict(),
        "features": RadiomicsSettings(bins=16).to_dict(), "data_hash": "e", "split_hash": "t", "seed": 22, "folds": 3,
        "test_share": 0.3, "inner_folds": 4, "correlation": 0.9, "search": {"model__C": [2.0]}, "synthetic": False,
        "groups_hash": "g", "robust": 0.9,
    }  # fmt: skip
    assert {*other, "classes", "positive"} == {field.name for field in fields(plan)}
    keys = {make_plan(**{name: value}).key() for name, value in other.items()}
    assert len(keys | {plan.key()}) == len(other) + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "radiomics-rf"}, "unknown value 'radiomics-rf'. Choose one of radiomics-svm, radiomics-gb"),
        ({"search": {"model__depth": [1]}}, "names model__depth, radiomics-svm has select__count"),
        ({"features": {"bins": 1}}, "bins: is 1, expected 2 to 1024"),
        ({"recipe": get_recipe("published-2025").to_dict()}, "together = False, the recipe has True"),
        ({"inner_folds": 1}, "inner_folds: is 1, expected 2 to 20"),
    ],
)
def test_values_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MolSubError) as caught:
        make_plan(**change)
    assert message in str(caught.value)
