"""Finished runs for tests of fusions, written without any training; and logistic regression from its definition."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from MolSubCore.files import write_json
from MolSubCore.statistics.scores import Predictions, read_predictions, write_predictions
from MolSubCore.tasks import TASKS
from MolSubCore.training.extras import TTA_TEST, TTA_VALIDATION, Features, write_features
from MolSubCore.training.plan import Plan


@dataclass(frozen=True)
class Patches:
    """All patches of a cohort: rows with logits, the partition of each, features, and values by patient."""

    rows: Predictions
    partition: np.ndarray
    features: np.ndarray
    clinical: dict[str, dict[str, str]]

    def labelled(self, label: np.ndarray) -> Patches:
        """The same with other labels."""
        return replace(self, rows=replace(self.rows, label=label))


def draw(
    rng: np.random.Generator, patients: int, *, folds: int = 3, task: str = "tn", views: tuple[str, ...] = ("CC", "MLO")
) -> Patches:
    """Patients with one image of each view, and noise for logits, features and clinical values."""
    classes = TASKS[task].classes
    label = np.arange(patients) % len(classes)
    parts = ["test", *map(str, range(1, folds + 1)), *(["0"] if folds == 1 else [])]
    partition = np.array([parts[n // len(classes) % len(parts)] for n in range(patients)])
    names = np.array([f"S{n:04d}" for n in rng.permutation(patients)])
    of = np.repeat(np.arange(patients), len(views))
    count = len(of)
    one = np.full(count, "1")
    rows = Predictions(
        names[of], np.arange(count), one, np.full(count, "L"), np.tile(views, patients), label[of],
        rng.normal(size=(count, len(classes))), classes,
    )  # fmt: skip
    clinical = {name: {"age": f"{rng.normal(60, 10):.1f}", "side": str(rng.choice(["L", "R"]))} for name in names}
    return Patches(rows, partition[of], rng.normal(size=(count, 6)).astype(np.float16), clinical)


def select(rows: Predictions, chosen: np.ndarray) -> Predictions:
    names = ("study_id", "case", "lesion", "laterality", "view", "label", "logits")
    return replace(rows, **{name: getattr(rows, name)[chosen] for name in names})


def write_base(run: Path, patches: Patches, *, task: str = "tn", extras: bool = True) -> Plan:
    """A finished run, its networks all giving the same logits; flipped they give twice those."""
    folds = sorted({int(part) for part in patches.partition.tolist() if part not in ("test", "0")})
    plan = Plan(task, "simple-cnn", {"name": "default"}, "d", "s", folds=len(folds), synthetic=True)
    write_json(run / "plan.json", plan.to_dict() | {"software": {"torch": "0"}})
    for fold in folds:
        folder = run / f"fold-{fold}"
        for part, name, flipped in (
            (str(fold), "predictions.csv", TTA_VALIDATION), ("test", "test_predictions.csv", TTA_TEST)
        ):  # fmt: skip
            rows = select(patches.rows, patches.partition == part)
            write_predictions(folder / name, rows)
            if extras:
                write_predictions(folder / flipped, replace(rows, logits=2 * rows.logits))
        if extras:
            write_features(folder / "features.npz", Features(patches.features, patches.partition, patches.rows))
        write_json(folder / "done.json", {})
    return plan


def fused(run: Path, name: str, fold: int = 1, *, test: bool = True) -> Predictions:
    """Predictions of a derived run."""
    folder = run.with_name(f"{run.name}+{name}") / f"fold-{fold}"
    return read_predictions(folder / ("test_predictions.csv" if test else "predictions.csv"))


def auc(rows: Predictions) -> float:
    """Per patient, of class 1."""
    scores = rows.scores().per_patient()
    return float(roc_auc_score(scores.label, scores.probabilities[:, 1]))


def regression(values: np.ndarray, label: np.ndarray, new: np.ndarray, strength: float, classes: int = 2) -> np.ndarray:
    """Log-probabilities for `new` by minimising half the squared coefficients plus strength times the total loss.

    Two classes have one set of coefficients, more have one each. Columns come as they are.
    """
    free = 1 if classes == 2 else classes
    wide = values.shape[1] + 1

    def logs(w: np.ndarray, x: np.ndarray) -> np.ndarray:
        z = np.c_[x, np.ones(len(x))] @ w.reshape(free, wide).T
        return log_softmax(np.c_[np.zeros(len(x)), z] if free == 1 else z, axis=1)

    def loss(w: np.ndarray) -> float:
        size = (w.reshape(free, wide)[:, :-1] ** 2).sum()
        return float(size / 2 - strength * logs(w, values)[np.arange(len(label)), label].sum())

    found = minimize(loss, np.zeros(free * wide), method="BFGS", options={"gtol": 1e-6, "maxiter": 5000})
    return logs(found.x, new)


def standardised(fitted: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by mean and spread of the known values of the first; an unknown one is 0, a constant column too."""
    mean, spread = np.nanmean(fitted, axis=0), np.nanstd(fitted, axis=0)
    spread = np.where(spread == 0, 1, spread)
    return tuple(np.nan_to_num((part - mean) / spread) for part in (fitted, new))  # type: ignore[return-value]
