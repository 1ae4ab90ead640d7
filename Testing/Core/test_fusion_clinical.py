"""Clinical columns: checks of the table, the cross-fitted regression against its definition, what it may not see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fusion_runs import Patches, auc, draw, fused, regression, select, standardised, write_base
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logit, softmax

from MolSubCore.cohort.splits import make_split
from MolSubCore.cohort.table import Cohort, read_cohort
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.files import read_json
from MolSubCore.statistics.scores import Scores
from MolSubCore.study.fusion import clinical_values, log_odds, make_fusions
from MolSubCore.tasks import TASKS


def table(path: Path, changes: dict[tuple[int, str], str] | None = None) -> Cohort:
    """24 patients with two rows each; changes are by row of the file, the header being row 1. No image is there."""
    lines = ["patient_id,image,mask,subtype,Age,Grade,Menopause,Remark"]
    columns = lines[0].lower().split(",")
    for row in range(2, 50):
        patient = (row - 2) // 2
        cells = [f"P{patient}", f"{row}.dcm", "m.png", str(patient % 5), f"{40 + patient}", str(patient % 3 + 1)]
        cells += ["pre" if patient % 2 else "post", f"remark {patient}"]
        for (where, column), value in (changes or {}).items():
            if where == row:
                cells[columns.index(column)] = value
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n")
    return read_cohort(path)


def test_values_by_study_id(tmp_path: Path) -> None:
    cohort = table(tmp_path / "t.csv", {(3, "age"): "", (4, "menopause"): "NA"})  # said in the patient's other row
    split = make_split(cohort, TASKS["luminal"], folds=2)
    found = clinical_values(cohort, split, ["Menopause", "age", "grade", "age"])
    assert len(found) == 24
    assert found[split.study_id("P0")] == {"menopause": "post", "age": "40", "grade": "1"}
    assert found[split.study_id("P1")] == {"menopause": "pre", "age": "41", "grade": "2"}
    assert list(found[split.study_id("P5")]) == ["menopause", "age", "grade"]


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        (["age", "size"], {}, r"t.csv: lacks the column size; found: age, grade, menopause, remark"),
        (["age", "HER2"], {}, r"her2: the subtype is defined by it.*Leave it out of --clinical"),
        (["Ki-67"], {}, r"ki-67: the subtype is defined by it"),
        (["ER status"], {}, r"er status: the subtype is defined by it"),
        (["subtype"], {}, r"subtype: the subtype is defined by it"),
        (["age"], {(6, "age"): "", (7, "age"): " n/a"}, r"row 6, age: the clinical value is missing\. Fill it in.*"
         r"leave age out of --clinical.*leave out"),
        (["age", "grade"], {(6, "grade"): "", (7, "grade"): "", (48, "age"): "?", (49, "age"): ""},
         r"row 6, grade: .*missing \(and 1 more"),
        (["grade"], {(5, "grade"): "3"}, r"row 5, grade: is '3', row 4 of the same patient has '2'"),
        (["remark"], {}, r"remark: has 24 different texts for 24 patients.*Leave it out of --clinical"),
    ],
)  # fmt: skip
def test_each_doubt_in_one_line(
    tmp_path: Path, columns: list[str], changes: dict[tuple[int, str], str], message: str
) -> None:
    cohort = table(tmp_path / "t.csv", changes)
    split = make_split(cohort, TASKS["luminal"], folds=2)
    with pytest.raises(CohortError, match=message) as caught:
        clinical_values(cohort, split, columns)
    assert "\n" not in str(caught.value)
    assert "P2" not in str(caught.value).replace("'", "")


@given(st.lists(st.floats(-300, 300), min_size=2, max_size=2))
def test_log_odds_of_two_classes_are_the_difference_of_logits(logits: list[float]) -> None:
    share = softmax(np.array([logits]), axis=1)
    scores = Scores(share, np.array([0]), np.array(["a"]), np.array([0]))
    assert log_odds(scores) == pytest.approx(np.array([[logits[1] - logits[0]]]), abs=1e-6)


def test_log_odds_of_more_classes() -> None:
    share = np.array([[0.1, 0.2, 0.7], [0.25, 0.25, 0.5]])
    scores = Scores(share, np.zeros(2, int), np.array(["a", "b"]), np.arange(2))
    assert log_odds(scores) == pytest.approx(logit(share))
    sure = Scores(np.array([[0.0, 0.0, 1.0]]), np.zeros(1, int), np.array(["a"]), np.arange(1))
    assert np.isfinite(log_odds(sure)).all()


def made(tmp_path: Path, patches: Patches, names: tuple[str, ...] = ("clinical",), task: str = "tn") -> Path:
    run = tmp_path / f"{task}--simple-cnn"
    write_base(run, patches, task=task)
    assert make_fusions(run, names, patches.clinical) == dict.fromkeys(names, "")
    return run


def columns_of(patches: Patches, *, image: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Patients, labels, partitions, and columns worked out row by row: log-odds, age; a one for each side."""
    rows, result = patches.rows, []
    names = list(dict.fromkeys(rows.study_id.tolist()))
    for name in names:
        mean = softmax(rows.logits[rows.study_id == name], axis=1).mean(axis=0)
        odds = logit(mean[1:] if len(mean) == 2 else mean)
        cells = patches.clinical[name]
        result.append([*(odds if image else ()), float(cells["age"]), *(cells["side"] == side for side in "LRX")])
    first = [rows.study_id.tolist().index(name) for name in names]
    return np.array(names), rows.label[first], patches.partition[first], np.array(result, float)


@pytest.mark.parametrize(("task", "classes"), [("tn", 2), ("subtype5", 5)])
def test_fusion_is_the_regression_it_says(tmp_path: Path, task: str, classes: int) -> None:
    """Side X is known in fold 1 only: fold 1's fusion has never seen it, and takes it for neither L nor R."""
    patches = draw(np.random.default_rng(1), 120, task=task)
    for name in patches.rows.study_id[patches.partition == "1"][:10]:
        patches.clinical[str(name)]["side"] = "X"
    run = made(tmp_path, patches, ("clinical", "clinical-only"), task)
    for fusion, image in (("clinical", True), ("clinical-only", False)):
        names, label, partition, values = columns_of(patches, image=image)
        for fold in (1, 2):
            others = np.isin(partition, list({"1", "2", "3"} - {str(fold)}))
            for part, test in ((str(fold), False), ("test", True)):
                chosen = partition == part
                numbers = standardised(values[others, :-3], values[chosen, :-3])
                sides = values[:, -3:-1] if fold == 1 else values[:, -3:]
                fitted, new = np.c_[numbers[0], sides[others]], np.c_[numbers[1], sides[chosen]]
                expected = regression(fitted, label[others], new, 1.0, classes)
                found = fused(run, fusion, fold, test=test)
                assert found.study_id.tolist() == names[chosen].tolist()
                assert found.label.tolist() == label[chosen].tolist()
                assert log_softmax(found.logits, axis=1) == pytest.approx(expected, abs=2e-3)
    plan = read_json(run.with_name(f"{run.name}+clinical") / "plan.json")
    assert plan["fusion"]["columns"] == {"age": "continuous", "side": "categorical"}
    facts = read_json(run.with_name(f"{run.name}+clinical") / "fold-1" / "done.json")
    odds = ["image log-odds: TN"] if classes == 2 else [f"image log-odds: {name}" for name in TASKS[task].classes]
    assert list(facts["coefficients"]) == [*odds, "age", "side_L", "side_R"]
    assert facts["fitted_patients"] == 60


def with_signal(seed: int, *, image: float, age: float) -> Patches:
    patches = draw(np.random.default_rng(seed), 800)
    rows = patches.rows
    sign = 2.0 * rows.label - 1
    logits = rows.logits + image * np.stack([-sign, sign], axis=1)
    label = dict(zip(rows.study_id.tolist(), sign.tolist(), strict=True))
    clinical = {
        name: cells | {"age": f"{float(cells['age']) + 10 * age * label[name]:.2f}"}
        for name, cells in patches.clinical.items()
    }
    return replace(patches, rows=replace(rows, logits=logits), clinical=clinical)


@pytest.mark.parametrize(
    ("image", "age", "plain", "both", "alone"),
    [
        (0.0, 0.7, 0.5, 0.839, 0.839),  # Phi(2 x 0.7 / root 2)
        (0.35, 0.0, 0.758, 0.758, 0.5),  # two views, two logits each: 4 x 0.35 / root 2 deviations apart
        (0.35, 0.7, 0.758, 0.889, 0.839),  # the root of the sum of squares apart
    ],
)
def test_a_column_helps_where_it_knows_something(
    tmp_path: Path, image: float, age: float, plain: float, both: float, alone: float
) -> None:
    """Against theory, within three standard errors of an AUC of 200 patients, and paired within much less."""
    patches = with_signal(2, image=image, age=age)
    run = made(tmp_path, patches, ("clinical", "clinical-only"))
    for test in (True, False):
        own = select(patches.rows, patches.partition == ("test" if test else "1"))
        found = auc(own), auc(fused(run, "clinical", test=test))
        only = auc(fused(run, "clinical-only", test=test))
        for value, expected in zip((*found, only), (plain, both, alone), strict=True):
            assert value == pytest.approx(expected, abs=3 * 0.041)
        if age and image:
            assert found[1] > max(found[0], only) + 0.01
        elif image:
            assert found[1] == pytest.approx(found[0], abs=0.02)  # noise neither helps nor harms


def test_labels_of_held_out_patients_change_nothing(tmp_path: Path) -> None:
    patches = with_signal(3, image=0.3, age=0.3)
    held_out = np.isin(patches.partition, ["1", "test"])
    plain = made(tmp_path / "a", patches)
    swapped = made(tmp_path / "b", patches.labelled(np.where(held_out, 1 - patches.rows.label, patches.rows.label)))
    for test in (False, True):
        one, other = (fused(run, "clinical", 1, test=test) for run in (plain, swapped))
        assert np.array_equal(one.logits, other.logits)
        assert (one.label != other.label).all()
    assert not np.allclose(fused(plain, "clinical", 2).logits, fused(swapped, "clinical", 2).logits)


def test_needs_two_folds_and_every_class_and_every_patient(tmp_path: Path) -> None:
    patches = draw(np.random.default_rng(4), 60, folds=1)
    run = tmp_path / "one" / "tn--simple-cnn"
    write_base(run, patches)
    assert "has one fold" in make_fusions(run, ["clinical"], patches.clinical)["clinical"]
    patches = draw(np.random.default_rng(4), 60, folds=2)
    missing = patches.labelled(np.where(patches.partition == "2", 0, patches.rows.label))
    run = tmp_path / "class" / "tn--simple-cnn"
    write_base(run, missing)
    reason = make_fusions(run, ["clinical"], patches.clinical)["clinical"]
    assert "other than 1 have no validation patient of class TN" in reason
    run = tmp_path / "patient" / "tn--simple-cnn"
    write_base(run, patches)
    lost = dict(list(patches.clinical.items())[1:])
    with pytest.raises(MolSubError, match="clinical values: lack 1 of 60 patients"):
        make_fusions(run, ["clinical"], lost)
