"""Derived run folders: what is in them, when they are made, made again and passed over."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fusion_runs import Patches, draw, fused, write_base
from sklearn.metrics import roc_auc_score

from MolSubCore.errors import MolSubError, TrainingError
from MolSubCore.evaluation.evaluate import evaluate_run
from MolSubCore.files import read_json, write_json
from MolSubCore.statistics.scores import read_predictions, write_predictions
from MolSubCore.study import fusion
from MolSubCore.study import fusion as fusion_views
from MolSubCore.study.fusion import FUSIONS, make_fusions
from MolSubCore.training.extras import TTA_VALIDATION


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion_views, "STRENGTHS", (0.01, 1.0))


@pytest.fixture
def patches() -> Patches:
    return draw(np.random.default_rng(1), 48)


@pytest.fixture
def run(tmp_path: Path, patches: Patches) -> Path:
    folder = tmp_path / "runs" / "tn--simple-cnn"
    write_base(folder, patches)
    return folder


@pytest.mark.parametrize("task", ["tn", "subtype5"])
def test_every_fusion_is_a_run_that_can_be_evaluated(tmp_path: Path, task: str) -> None:
    patches = draw(np.random.default_rng(2), 80, task=task)
    run = tmp_path / f"{task}--simple-cnn"
    plan = write_base(run, patches, task=task)
    assert make_fusions(run, list(FUSIONS), patches.clinical) == dict.fromkeys(FUSIONS, "")
    for name, made in FUSIONS.items():
        folder = run.with_name(f"{run.name}+{name}")
        evaluation = evaluate_run(folder, resamples=20)
        content = read_json(folder / "plan.json")
        assert content["architecture"] == f"simple-cnn+{name}"
        assert (content["base_key"], content["seed"]) == (plan.key(), plan.seed)
        assert content["fusion"]["name"] == name
        assert evaluation["synthetic"] is content["synthetic"] is True
        test = evaluation["test"]["ensemble"]
        assert test["patient"]["n"] == len(set(fused(run, name).study_id)) == 20
        assert test["image"]["n"] == (40 if made.unit == "lesion" else 20)
        assert evaluation["out_of_fold"]["patient"]["n"] == 60
        if task == "tn":
            folds = [fused(run, name, fold).scores().per_patient() for fold in (1, 2, 3)]
            mean = np.mean([part.probabilities[:, 1] for part in folds], axis=0)
            assert test["patient"]["metrics"]["auc"]["value"] == pytest.approx(roc_auc_score(folds[0].label, mean))


def test_rows_per_patient_are_alike_in_all_folds_and_name_no_image(run: Path, patches: Patches) -> None:
    make_fusions(run, ["views-mean"])
    parts = [fused(run, "views-mean", fold, test=False) for fold in (1, 2, 3)]
    cases = np.concatenate([part.case for part in parts])
    assert len(np.unique(cases)) == len(cases) == len(set(patches.rows.study_id)) * 3 // 4
    for part in parts:
        assert {*part.lesion, *part.view, *part.laterality} == {""}
    first, second = fused(run, "views-mean", 1), fused(run, "views-mean", 2)
    assert np.array_equal(first.case, second.case)
    assert not set(first.case) & set(cases)


def test_flips_are_taken_as_they_were_written(run: Path) -> None:
    assert make_fusions(run, ["tta"]) == {"tta": ""}
    for fold in (1, 2, 3):
        plain = read_predictions(run / f"fold-{fold}" / "predictions.csv")
        assert np.array_equal(fused(run, "tta", fold, test=False).logits, 2 * plain.logits)
        assert np.array_equal(fused(run, "tta", fold, test=False).view, plain.view)
    assert read_json(run.with_name(f"{run.name}+tta") / "plan.json")["fusion"]["over"] == [
        "identity", "horizontal flip", "vertical flip", "both flips"
    ]  # fmt: skip


def test_flips_of_other_lesions_are_refused(run: Path) -> None:
    file = run / "fold-2" / TTA_VALIDATION
    rows = read_predictions(file)
    write_predictions(file, replace(rows, label=1 - rows.label))
    with pytest.raises(TrainingError, match=r"fold-2.*other lesions or labels"):
        make_fusions(run, ["tta"])


def test_made_again_only_where_its_inputs_changed(run: Path, patches: Patches) -> None:
    names, marks = list(FUSIONS), {}
    make_fusions(run, names, patches.clinical)
    for name in names:
        marks[name] = run.with_name(f"{run.name}+{name}") / "evaluation.json"

    def remade(clinical: dict[str, dict[str, str]]) -> set[str]:
        for mark in marks.values():
            write_json(mark, {})
        assert not any(make_fusions(run, names, clinical).values())
        return {name for name, mark in marks.items() if not mark.exists()}

    assert remade(dict(reversed(patches.clinical.items()))) == set()
    other = {name: row | {"age": "50"} for name, row in patches.clinical.items()}
    assert remade(other) == {"clinical", "clinical-only"}
    features = run / "fold-3" / "features.npz"
    features.write_bytes((run / "fold-1" / "features.npz").read_bytes())
    assert remade(other) == set()  # the same bytes
    file = run / "fold-2" / "predictions.csv"
    rows = read_predictions(file)
    write_predictions(file, replace(rows, logits=rows.logits * 0.5))
    assert remade(other) == set(names)
    write_json(run / "plan.json", read_json(run / "plan.json") | {"epochs": 7})
    assert remade(other) == set(names)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, patches: Patches) -> None:
    contents = []
    for place in ("a", "b"):
        run = tmp_path / place / "tn--simple-cnn"
        write_base(run, patches)
        make_fusions(run, list(FUSIONS), patches.clinical)
        files = sorted(path for path in (tmp_path / place).rglob("*") if path.is_file() and "+" in str(path))
        contents.append([(str(path.relative_to(tmp_path / place)), path.read_bytes()) for path in files])
    assert contents[0] == contents[1]
    assert len(contents[0]) == len(FUSIONS) * (2 + 3 * 3) + 3 * 3  # and what the three regressions were fitted to
    text = json.dumps([str(content) for _, content in contents[0]])
    assert str(tmp_path) not in text


def test_what_fails_leaves_the_old_folder_whole(run: Path, patches: Patches, monkeypatch: pytest.MonkeyPatch) -> None:
    make_fusions(run, ["views-mean"])
    before = {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()}
    write_base(run, replace(patches, rows=replace(patches.rows, logits=patches.rows.logits + 1)))
    written: list[Path] = []

    def fail(path: Path, rows: object) -> None:
        written.append(path)
        if len(written) == 4:
            raise OSError("disk full")
        write_predictions(path, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(fusion, "write_predictions", fail)
    with pytest.raises(OSError, match="disk full"):
        make_fusions(run, ["views-mean"])
    derived = run.with_name(f"{run.name}+views-mean")
    assert {path for path in run.parent.rglob("*") if path.is_file()} == set(before)
    assert all(path.read_bytes() == before[path] for path in before if derived in path.parents)


def test_reasons_why_not(tmp_path: Path, patches: Patches) -> None:
    run = tmp_path / "tn--simple-cnn"
    write_base(run, patches, extras=False)
    found = make_fusions(run, list(FUSIONS))
    assert "lacks tta_predictions.csv" in found["tta"]
    assert "lacks features.npz" in found["views-learned"]
    assert found["views-mean"] == ""
    assert "--clinical" in found["clinical"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [run.name, f"{run.name}+views-mean"]
    with pytest.raises(MolSubError, match=r"unknown value 'views_mean'. Did you mean views-mean"):
        make_fusions(run, ["tta", "views_mean"])
    (run / "fold-2" / "done.json").unlink()
    with pytest.raises(TrainingError, match=r"lacks fold 2"):
        make_fusions(run, ["tta"])


def test_what_no_longer_follows_from_the_run_is_removed(run: Path, patches: Patches) -> None:
    make_fusions(run, ["tta", "clinical"], patches.clinical)
    assert make_fusions(run, ["tta", "clinical"])["clinical"]
    assert [path.name for path in run.parent.iterdir() if "+" in path.name] == [f"{run.name}+tta"]


def test_a_folder_of_someone_else_is_never_replaced(run: Path) -> None:
    other = run.with_name(f"{run.name}+tta")
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(MolSubError, match="holds something else"):
        make_fusions(run, ["tta"])
    assert (other / "notes.txt").read_text() == "mine"


def test_a_patient_in_test_and_a_fold_is_refused(run: Path) -> None:
    file = run / "fold-1" / "test_predictions.csv"
    write_predictions(file, read_predictions(run / "fold-1" / "predictions.csv"))
    with pytest.raises(TrainingError, match="in the test set and in a fold"):
        make_fusions(run, ["tta"])


def test_fusions_need_no_torch() -> None:
    code = "import sys, MolSubCore.study.fusion; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
