"""A study's numbers worked out from its csv files with pandas, numpy and scikit-learn only."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from MolSubCore.files import read_json


def csv_rows(file: Path, **wanted: str) -> list[dict[str, str]]:
    """Rows of a csv with these cells."""
    with file.open(encoding="utf-8", newline="") as opened:
        return [row for row in csv.DictReader(opened) if all(row[key] == value for key, value in wanted.items())]


def csv_value(file: Path, column: str = "value", **wanted: str) -> float:
    """A cell of the only row with these others."""
    (row,) = csv_rows(file, **wanted)
    return float(row[column])


def probabilities(file: Path) -> pd.DataFrame:
    """One row per image: patient, label, and a probability per class (columns 0, 1, ...)."""
    table = pd.read_csv(file, dtype={"study_id": str})
    logits = table[[name for name in table if name.startswith("logit:")]].to_numpy()
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return pd.concat([table[["study_id", "case", "label"]], pd.DataFrame(shares)], axis=1)


def per_patient(table: pd.DataFrame) -> pd.DataFrame:
    """Means over images, then over patients, sorted by patient."""
    return table.groupby(["study_id", "case"]).mean().groupby("study_id").mean().sort_index()


def calibrated(table: pd.DataFrame, fitted: dict[str, Any]) -> pd.DataFrame:
    """Patients' probabilities after ``p ** slope * exp(intercept)``, made to sum to 1."""
    shares = table.drop(columns="label") ** fitted["slope"] * np.exp(fitted["intercepts"])
    return pd.concat([table[["label"]], shares.div(shares.sum(axis=1), axis=0)], axis=1)


def fitted_of(run: Path) -> dict[str, Any]:
    """The calibrations of a run, by ``folds`` and ``ensemble``."""
    found: dict[str, Any] = read_json(run / "evaluation.json")["calibration"]
    return found


def fold_table(run: Path, fold: int, name: str = "predictions") -> pd.DataFrame:
    table = per_patient(probabilities(run / f"fold-{fold}" / f"{name}.csv"))
    return calibrated(table, fitted_of(run)["folds"][str(fold)])


def network_table(run: Path, folds: int) -> pd.DataFrame:
    """The test set as the networks give it, in the mean over folds."""
    parts = [probabilities(run / f"fold-{fold}" / "test_predictions.csv") for fold in range(1, folds + 1)]
    return per_patient(pd.concat(parts).groupby(["study_id", "case"]).mean().reset_index())


def ensemble_table(run: Path, folds: int) -> pd.DataFrame:
    return calibrated(network_table(run, folds), fitted_of(run)["ensemble"])


def pooled_table(run: Path, folds: int) -> pd.DataFrame:
    return pd.concat([fold_table(run, fold) for fold in range(1, folds + 1)])


def area(table: pd.DataFrame) -> float:
    """AUC of class 1, or the macro mean of one against the rest."""
    shares, label = table.drop(columns="label").to_numpy(), table["label"].astype(int)
    if shares.shape[1] == 2:
        return float(roc_auc_score(label, shares[:, 1]))
    return float(np.mean([roc_auc_score(label == n, shares[:, n]) for n in range(shares.shape[1])]))


def fold_area(tables: list[pd.DataFrame]) -> float:
    """The same over patients of several folds: pairs of one fold only."""
    parts = [(part.drop(columns="label").to_numpy(), part["label"].astype(int).to_numpy()) for part in tables]
    count = parts[0][0].shape[1]
    means = []
    for n in [1] if count == 2 else range(count):
        areas = [roc_auc_score(label == n, shares[:, n]) for shares, label in parts]
        pairs = [(label == n).sum() * (label != n).sum() for _, label in parts]
        means.append(np.average(areas, weights=pairs))
    return float(np.mean(means))


def hits(table: pd.DataFrame) -> np.ndarray:
    """Whether each patient's likeliest class is the true one."""
    return np.asarray(table.drop(columns="label").to_numpy().argmax(axis=1) == table["label"].astype(int))
