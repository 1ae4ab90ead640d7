"""Fusion of views: means by hand, the learned one against its definition, planted signals, and what it may not see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fusion_runs import Patches, auc, draw, fused, regression, select, standardised, write_base
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from MolSubCore.errors import MolSubError, TrainingError
from MolSubCore.files import read_json
from MolSubCore.statistics.scores import Predictions
from MolSubCore.study import fusion as fusion_views
from MolSubCore.study.fusion import make_fusions


def made(tmp_path: Path, patches: Patches, name: str, task: str = "tn") -> Path:
    run = tmp_path / f"{task}--simple-cnn"
    write_base(run, patches, task=task)
    assert make_fusions(run, [name]) == {name: ""}
    return run


def test_mean_over_lesions_then_images_then_views(tmp_path: Path) -> None:
    """A has two CC images, one of them with two lesions, and one MLO; B has MLO; C an image of no known view."""
    table = [
        ("A", 0, "1", "CC", 1, 1.0), ("A", 0, "2", "CC", 1, 3.0), ("A", 1, "1", "CC", 1, 6.0),
        ("A", 2, "1", "MLO", 1, -2.0), ("B", 3, "1", "MLO", 0, 0.5), ("C", 4, "1", "", 0, 2.0),
        ("C", 5, "1", "CC", 0, 4.0), ("V", 6, "1", "CC", 1, 1.0), ("W", 7, "1", "CC", 0, 1.0),
    ]  # fmt: skip
    patient, case, lesion, view, label, score = (np.array(column) for column in zip(*table, strict=True))
    logits = np.stack([-score, 2 * score], axis=1)
    rows = Predictions(patient, case, lesion, np.full(9, "R"), view, label, logits, ("non-TN", "TN"))
    partition = np.array(["test"] * 7 + ["1", "0"])
    run = made(tmp_path, Patches(rows, partition, np.zeros((9, 2), np.float16), {}), "views-mean")
    found = fused(run, "views-mean")
    assert found.study_id.tolist() == ["A", "B", "C"]
    assert found.label.tolist() == [1, 0, 0]
    # A: CC is the mean of 2 and 6, then with MLO -2. (Over images it would be 2, over lesions 2.)
    assert found.logits == pytest.approx(np.array([[-1.0, 2.0], [-0.5, 1.0], [-3.0, 6.0]]))
    assert fused(run, "views-mean", test=False).study_id.tolist() == ["V"]


def test_learned_fusion_is_the_regression_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two MLO images for most, views missing in every partition; one strength, so there is nothing to choose."""
    for task, classes in (("tn", 2), ("subtype5", 5)):
        patches = thinned(draw(np.random.default_rng(4), 120, task=task, views=("CC", "MLO", "MLO", "XCCL")))
        monkeypatch.setattr(fusion_views, "STRENGTHS", (0.3,))
        run = made(tmp_path, patches, "views-learned", task)
        names, label, partition, values = by_patient(patches)
        for fold in (1, 3):
            training = ~np.isin(partition, ["test", str(fold)])
            for part, test in ((str(fold), False), ("test", True)):
                chosen = partition == part
                fitted, new = standardised(values[training], values[chosen])
                expected = regression(fitted, label[training], new, 0.3, classes)
                found = fused(run, "views-learned", fold, test=test)
                assert found.study_id.tolist() == names[chosen].tolist()
                assert log_softmax(found.logits, axis=1) == pytest.approx(expected, abs=5e-3)
                assert np.ptp(expected, axis=0).min() > 0.3  # there was something to get wrong


def thinned(patches: Patches) -> Patches:
    """Some rows lost; one patient in each part keeps XCCL only."""
    keep = np.random.default_rng(0).random(len(patches.partition)) > 0.2
    keep |= patches.rows.view == "XCCL"
    for part in np.unique(patches.partition):
        first = patches.rows.study_id[patches.partition == part][0]
        keep[(patches.rows.study_id == first) & (patches.rows.view != "XCCL")] = False
    return replace(
        patches, rows=select(patches.rows, keep), partition=patches.partition[keep], features=patches.features[keep]
    )


def by_patient(patches: Patches) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows, table = patches.rows, []
    names = list(dict.fromkeys(rows.study_id.tolist()))
    for name in names:
        mine = rows.study_id == name
        parts = [patches.features[mine & (rows.view == view)].astype(float) for view in ("CC", "MLO")]
        means = [part.mean(axis=0) if len(part) else np.full(6, np.nan) for part in parts]
        table.append([*means[0], *means[1], *(float(len(part) == 0) for part in parts)])
    first = [rows.study_id.tolist().index(name) for name in names]
    return np.array(names), rows.label[first], patches.partition[first], np.array(table)


def planted(seed: int, *, signal: float) -> Patches:
    """Each view carries half of the signal in a feature of its own; a shared head sees the other view's as noise."""
    rng = np.random.default_rng(seed)
    patches = draw(rng, 600)
    label, cc = patches.rows.label, patches.rows.view == "CC"
    features = rng.normal(size=(len(label), 6))
    sign = 2.0 * label - 1
    features[:, 0] = np.where(cc, signal * sign + features[:, 0], 3 * features[:, 0])
    features[:, 1] = np.where(cc, 3 * features[:, 1], signal * sign + features[:, 1])
    score = features[:, 0] + features[:, 1]
    rows = replace(patches.rows, logits=np.stack([-score, score], axis=1))
    return replace(patches, rows=rows, features=features.astype(np.float16))


def test_learned_fusion_finds_what_the_mean_cannot(tmp_path: Path) -> None:
    patches = planted(1, signal=0.7)
    run = made(tmp_path, patches, "views-learned")
    assert make_fusions(run, ["views-mean"]) == {"views-mean": ""}
    for test in (True, False):
        # In theory the classes lie 2.8 / root 20 and 2.8 / root 2 deviations apart. Three standard errors of an AUC.
        assert auc(fused(run, "views-mean", test=test)) == pytest.approx(0.671, abs=3 * 0.044)
        assert auc(fused(run, "views-learned", test=test)) == pytest.approx(0.919, abs=3 * 0.025)


def test_nothing_planted_nothing_found(tmp_path: Path) -> None:
    """Six AUCs of 150 patients each: their standard error is 0.047 where they are independent."""
    found = []
    for seed in (1, 2):
        run = made(tmp_path / str(seed), planted(seed, signal=0.0), "views-learned")
        scores = [fused(run, "views-learned", fold, test=False).scores() for fold in (1, 2, 3)]
        found += [roc_auc_score(part.label, part.probabilities[:, 1]) for part in scores]
    assert np.mean(found) == pytest.approx(0.5, abs=3 * 0.047 / np.sqrt(6))


def test_strong_noise_asks_for_a_strong_penalty(tmp_path: Path) -> None:
    def strengths(place: str, signal: float) -> list[float]:
        run = made(tmp_path / place, planted(3, signal=signal), "views-learned")
        return [read_json(run.with_name(f"{run.name}+views-learned") / f"fold-{n}" / "done.json")["strength"]
                for n in (1, 2, 3)]  # fmt: skip

    assert np.median(strengths("noise", 0.0)) < 1e-3
    assert min(strengths("signal", 0.7)) > 1e-2


def test_labels_and_features_of_held_out_patients_change_nothing(tmp_path: Path) -> None:
    patches = planted(5, signal=0.7)
    held_out = np.isin(patches.partition, ["1", "test"])
    plain = made(tmp_path / "a", patches, "views-learned")
    swapped = made(tmp_path / "b", patches.labelled(np.where(held_out, 1 - patches.rows.label, patches.rows.label)),
                   "views-learned")  # fmt: skip
    for test in (False, True):
        one, other = (fused(run, "views-learned", 1, test=test) for run in (plain, swapped))
        assert np.array_equal(one.logits, other.logits)
        assert (one.label != other.label).all()
    # Fold 2 was fitted on fold 1's patients.
    assert not np.allclose(fused(plain, "views-learned", 2).logits, fused(swapped, "views-learned", 2).logits)
    wild = np.where(held_out[:, None] & (patches.partition != "test")[:, None], 100, 1) * patches.features
    scaled = made(tmp_path / "c", replace(patches, features=wild.astype(np.float16)), "views-learned")
    assert np.array_equal(fused(plain, "views-learned", 1).logits, fused(scaled, "views-learned", 1).logits)


def test_one_fold_trains_on_the_patients_that_are_never_validated(tmp_path: Path) -> None:
    patches = draw(np.random.default_rng(6), 60, folds=1)
    run = made(tmp_path, patches, "views-learned")
    facts = read_json(run.with_name(f"{run.name}+views-learned") / "fold-1" / "done.json")
    assert facts["fitted_patients"] == 20
    assert facts["inner_folds"] == 5
    assert len(fused(run, "views-learned").label) == 20
    assert make_fusions(run, ["views-mean"]) == {"views-mean": ""}


@pytest.mark.parametrize(
    ("views", "mean", "learned"),
    [
        (("CC",), "no patient has two views", "no patient has the views CC and MLO"),
        (("",), "no image has a known view", "no patient has the views CC and MLO"),
        (("CC", ""), "no patient has two views", "no patient has the views CC and MLO"),
        (("CC", "ML"), "", "no patient has the views CC and MLO"),
    ],
)
def test_views_that_cannot_be_fused(tmp_path: Path, views: tuple[str, ...], mean: str, learned: str) -> None:
    run = tmp_path / "tn--simple-cnn"
    write_base(run, draw(np.random.default_rng(7), 48, views=views))
    found = make_fusions(run, ["views-mean", "views-learned"])
    assert found["views-mean"].startswith(mean)
    assert bool(found["views-mean"]) == bool(mean)
    assert found["views-learned"].startswith(learned)
    assert sorted(path.name for path in tmp_path.iterdir()) == [run.name] + ([] if mean else [f"{run.name}+views-mean"])


def test_a_class_too_small_for_an_inner_validation(tmp_path: Path) -> None:
    patches = draw(np.random.default_rng(8), 24)
    lonely = np.isin(patches.partition, ["2", "3"]) & (patches.rows.label == 1)
    keep = ~lonely | (patches.rows.study_id == patches.rows.study_id[lonely][0])
    few = Patches(select(patches.rows, keep), patches.partition[keep], patches.features[keep], patches.clinical)
    run = tmp_path / "tn--simple-cnn"
    write_base(run, few)
    assert "fold 1 has 1 training patient of class TN" in make_fusions(run, ["views-learned"])["views-learned"]


def test_features_of_another_run_or_damaged_ones(tmp_path: Path) -> None:
    run = tmp_path / "tn--simple-cnn"
    write_base(run, draw(np.random.default_rng(9), 48))
    file = run / "fold-2" / "features.npz"
    other = tmp_path / "other"
    write_base(other, draw(np.random.default_rng(10), 48))
    good = file.read_bytes()
    file.write_bytes((other / "fold-2" / "features.npz").read_bytes())
    with pytest.raises(TrainingError, match=r"features.npz: is of other lesions or labels"):
        make_fusions(run, ["views-learned"])
    for damaged in (
        b"",
        good[:-30],
        good[: len(good) // 2],
        b"no zip at all",
        good.replace(b"partition", b"partitiox"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(MolSubError, match=r"features.npz: holds no features"):
            make_fusions(run, ["views-learned"])
