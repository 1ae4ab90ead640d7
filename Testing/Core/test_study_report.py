"""The numbers of a study's tables against scikit-learn, pandas and counts by hand on a simulated study."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fake_study import make_fake_study
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss
from statsmodels.stats.multitest import multipletests
from study_numbers import (
    area,
    csv_rows,
    csv_value,
    ensemble_table,
    fitted_of,
    fold_area,
    fold_table,
    hits,
    network_table,
    pooled_table,
)

from MolSubCore.files import read_json
from MolSubCore.study.page.report import compare_all, main_runs, make_tables, write_tables
from MolSubCore.study.results import StudyResults, read_study

MAIN = "densenet121-cbam"
MODELS = (MAIN, "densenet121-pre", "densenet121-tcata", "mob-cbam", "radiomics-svm")
FUSIONS = ("tta", "views-mean", "clinical")
FOLDS = 3


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    folder = tmp_path_factory.mktemp("study")
    make_fake_study(
        folder, models=MODELS, fusions={MAIN: FUSIONS}, patients=200, folds=FOLDS, resamples=20, attention=False
    )
    results = read_study(folder)
    write_tables(results, make_tables(results, compare_all(results), main_runs(results)))
    return results


def table_of(task: str) -> str:
    return "table-2.csv" if task == "luminal" else "table-3.csv"


@pytest.mark.parametrize("task", ["luminal", "tn", "her2", "subtype5"])
def test_performance_from_the_predictions(study: StudyResults, task: str) -> None:
    run, file = study.folder / "runs" / f"{task}--{MAIN}", study.folder / "results" / table_of(task)
    name = "macro auc" if task == "subtype5" else "auc"
    ours = {"source": "this study", "task": task, "model": MAIN, "metric": name}
    test = ensemble_table(run, FOLDS)
    validation = [area(fold_table(run, fold)) for fold in range(1, FOLDS + 1)]
    on_test = [area(fold_table(run, fold, "test_predictions")) for fold in range(1, FOLDS + 1)]
    best = int(np.argmax(validation)) + 1
    expected = {
        ("validation", "out of fold"): fold_area([fold_table(run, fold) for fold in range(1, FOLDS + 1)]),
        ("test", "ensemble"): area(test),
        ("validation", f"best fold {best}"): max(validation),
        ("test", f"best fold {best}"): on_test[best - 1],
        ("validation", f"mean of {FOLDS} folds"): np.mean(validation),
        ("test", f"mean of {FOLDS} folds"): np.mean(on_test),
    }
    for (part, choice), value in expected.items():
        assert csv_value(file, **ours, set=part, choice=choice) == pytest.approx(value), (part, choice)
    for part, values in (("validation", validation), ("test", on_test)):
        spread = csv_value(file, "sd", **ours, set=part, choice=f"mean of {FOLDS} folds")
        assert spread == pytest.approx(np.std(values, ddof=1))
    (row,) = csv_rows(file, **ours, set="test", choice="ensemble")
    assert float(row["low"]) < float(row["value"]) < float(row["high"])
    assert int(row["patients"]) == len(test)
    assert csv_value(file, **{**ours, "metric": "accuracy"}, set="test", choice="ensemble") == hits(test).mean()


@pytest.mark.parametrize(("part", "choice"), [("test", "ensemble"), ("validation", "out of fold")])
@pytest.mark.parametrize("task", ["luminal", "tn", "her2"])
def test_shares_by_hand(study: StudyResults, task: str, part: str, choice: str) -> None:
    run, file = study.folder / "runs" / f"{task}--{MAIN}", study.folder / "results" / table_of(task)
    table = (ensemble_table if part == "test" else pooled_table)(run, FOLDS)
    (tn, fp), (fn, tp) = confusion_matrix(table["label"].astype(int), table[1] > table[0])
    expected = {"sensitivity": (tp, fn), "specificity": (tn, fp), "ppv": (tp, fp), "npv": (tn, fn)}
    for metric, (right, wrong) in expected.items():
        (row,) = csv_rows(file, task=task, set=part, choice=choice, metric=metric, source="this study")
        if right + wrong == 0:  # a rare class may reach 0.5 in nobody
            assert row["value"] == ""
        else:
            assert float(row["value"]) == pytest.approx(right / (right + wrong)), metric
    (row,) = csv_rows(file, task=task, set=part, choice=choice, metric="auc", source="this study")
    assert int(row["positives"]) == tp + fn


def test_every_model_on_every_task(study: StudyResults) -> None:
    rows = csv_rows(study.folder / "results" / "models.csv", set="test")
    names = [MAIN, *(f"{MAIN}+{kind}" for kind in FUSIONS), *MODELS[1:]]
    assert [row["model"] for row in rows if row["task"] == "tn"] == names  # fusions behind their base
    assert len(rows) == 4 * len(names)
    for row in rows:
        assert row["base"] == (MAIN if "+" in row["model"] else "")
        if row["task"] in ("her2", "luminal"):  # half of them say as much
            continue
        run = study.folder / "runs" / f"{row['task']}--{row['model']}"
        assert float(row["value"]) == pytest.approx(area(ensemble_table(run, FOLDS))), row


def expected_pairs(file: str) -> dict[str, list[str]]:
    """First model to second ones."""
    if file == "fusions":
        return {MAIN: [f"{MAIN}+{kind}" for kind in FUSIONS]}
    return {MAIN: ["densenet121-pre", "densenet121-tcata"] if file.endswith("4") else ["mob-cbam", "radiomics-svm"]}


@pytest.mark.parametrize("file", ["supplementary-3", "supplementary-4", "fusions"])
def test_comparisons_by_hand(study: StudyResults, file: str) -> None:
    for task in ("tn", "subtype5"):
        rows = csv_rows(study.folder / "results" / f"{file}.csv", task=task)
        assert [row["second"] for row in rows] == expected_pairs(file)[MAIN]
        assert {row["set"] for row in rows} == {"test"}  # validation patients chose the epochs
        for row in rows:
            one, two = (
                ensemble_table(study.folder / "runs" / f"{task}--{row[side]}", FOLDS).sort_index()
                for side in ("first", "second")
            )
            difference = area(one) - area(two)
            assert float(row["auc difference"]) == pytest.approx(difference)
            assert float(row["auc low"]) <= difference <= float(row["auc high"])
            first, second = hits(one), hits(two)
            only = int((first & ~second).sum()), int((second & ~first).sum())
            assert (int(row["accuracy only first"]), int(row["accuracy only second"])) == only
            assert float(row["accuracy difference"]) == pytest.approx(first.mean() - second.mean())
            exact = binomtest(only[0], sum(only), 0.5).pvalue if sum(only) else 1.0
            assert float(row["accuracy p exact"]) == pytest.approx(exact)
            assert int(row["patients"]) == len(one)


def test_few_patients_of_a_class_are_compared_by_permutation(study: StudyResults) -> None:
    """And neither the table nor the summary has DeLong's p-value in its place."""
    tables = {table.key: table for table in make_tables(study, compare_all(study), main_runs(study))}
    for task in study.tasks:
        run = study.main_run(task)
        assert run is not None
        fewest = min(run.evaluation["prevalence"]["test"]["patients"].values())
        rows = csv_rows(study.folder / "results" / "supplementary-3.csv", task=task, set="test")
        assert {row["auc method"] for row in rows} == {"DeLong, paired" if fewest >= 10 else "permutation, paired"}
    shown = [row for row in tables["supplementary-3"].rows if len(row) > 1]
    assert 0 < sum("(permutation)" in row[3] for row in shown) < len(shown)
    assert "below 10 patients of a class" in tables["supplementary-3"].note


def test_p_values_are_adjusted_over_both_supplements(study: StudyResults) -> None:
    for task in ("her2", "subtype5"):
        rows = [
            row
            for file in ("supplementary-3", "supplementary-4")
            for row in csv_rows(study.folder / "results" / f"{file}.csv", task=task, set="test")
        ]
        assert {row["comparisons"] for row in rows} == {"4"}
        for raw, adjusted in (("auc p", "auc p adjusted"), ("accuracy p exact", "accuracy p adjusted")):
            expected = multipletests([float(row[raw]) for row in rows], method="holm")[1]
            assert [float(row[adjusted]) for row in rows] == pytest.approx(list(expected))


def test_thresholds_are_those_of_the_evaluation_applied_to_test(study: StudyResults) -> None:
    for task in ("luminal", "tn", "her2"):
        run, file = study.folder / "runs" / f"{task}--{MAIN}", study.folder / "results" / "thresholds.csv"
        table = ensemble_table(run, FOLDS)
        truth, share = table["label"] == 1, table[1]
        for entry in read_json(run / "evaluation.json")["thresholds"]["ensemble"]:
            rule = entry["rule"].removesuffix(" on validation")
            wanted = {"task": task, "rule": rule, "metric": "sensitivity"}
            assert csv_value(file, "threshold", **wanted) == entry["value"]
            assert csv_value(file, "validation specificity", **wanted) == entry["specificity"]
            for metric, value in (("sensitivity", (share >= entry["value"])[truth].mean()),
                                  ("specificity", (share < entry["value"])[~truth].mean())):  # fmt: skip
                assert csv_value(file, **wanted | {"metric": metric}) == pytest.approx(value)


def test_calibration_before_and_after(study: StudyResults) -> None:
    """Log loss, Brier's score and E/O by scikit-learn and by hand, and what was applied and seen."""
    for task in ("tn", "subtype5"):
        run, file = study.folder / "runs" / f"{task}--{MAIN}", study.folder / "results" / "calibration.csv"
        fitted = fitted_of(run)["ensemble"]
        for part, table in (("uncalibrated", network_table(run, FOLDS)), ("calibration", ensemble_table(run, FOLDS))):
            shares, label = table.drop(columns="label").to_numpy(), table["label"].astype(int).to_numpy()
            last = shares.shape[1] - 1
            (row,) = [row for row in csv_rows(file, task=task, part=part) if row["log_loss"]]
            assert float(row["log_loss"]) == pytest.approx(log_loss(label, shares))
            happened = np.eye(last + 1)[label]
            brier = ((shares - happened) ** 2).sum(axis=1).mean() / (2 if task == "tn" else 1)
            assert float(row["brier"]) == pytest.approx(brier)
            assert float(row["slope"]) == fitted["slope"]
            assert float(row["intercept TN"]) == fitted["intercepts"][last]
            assert float(row["seen share TN"]) == fitted["seen"]["TN"] > fitted["own"]["TN"] + 0.02
            assert 0 <= float(row["ece_low"]) < float(row["ece"]) < float(row["ece_high"])
            wanted = {"task": task, "part": part, "class": "TN", "measure": "expected_observed"}
            assert csv_value(file, **wanted) == pytest.approx(shares[:, last].sum() / (label == last).sum())


def test_views_and_partitions(study: StudyResults) -> None:
    folder = study.folder / "results"
    for task in study.tasks:
        run = study.folder / "runs" / f"{task}--{MAIN}"
        views = pd.read_csv(run / "fold-1" / "test_predictions.csv").groupby("view")["study_id"].nunique()
        for view in ("CC", "MLO"):
            (row,) = csv_rows(folder / "views.csv", task=task, view=view)
            assert int(row["patients"]) == views[view]
            assert float(row["low"]) < float(row["auc"]) < float(row["high"])
        whole = csv_value(folder / "views.csv", "auc", task=task, view="all")
        assert whole == pytest.approx(area(ensemble_table(run, FOLDS)))
    rows = {row["partition"]: row for row in csv_rows(folder / "supplementary-1.csv")}
    assert set(rows) == {"test", "1", "2", "3"}
    tested = pd.read_csv(study.folder / "runs" / f"subtype5--{MAIN}" / "fold-1" / "test_predictions.csv")
    assert int(rows["test"]["images"]) == len(tested)
    counts = tested.groupby("study_id")["label"].first().value_counts()
    names = ("Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN")
    assert [int(rows["test"][name]) for name in names] == [counts[n] for n in range(5)]
