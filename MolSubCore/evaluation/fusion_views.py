"""Fusions of what a network says about several pictures of a patient: flips of a patch, and views of a breast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from MolSubCore.evaluation.fusion_run import BaseRun, Clinical, Floats, Fused, FusedFold, NotMade, check_same_rows
from MolSubCore.predictions import Predictions, Scores, by_appearance, read_predictions
from MolSubCore.training.extra_files import FEATURES, FLIPS, TTA_TEST, TTA_VALIDATION, Features, read_features
from MolSubCore.training.plan import derive_seed
from MolSubCore.training.run_files import check_written

VIEWS = ("CC", "MLO")

#: Inverse strengths of the L2 penalty that are tried, for standardised features.
STRENGTHS = tuple(10.0**power for power in range(-5, 2))

_INNER_FOLDS = 5


def flips(base: BaseRun, _: Clinical | None) -> Fused:
    """Test-time augmentation: what `write_extras` wrote beside the predictions."""
    folds = {}
    for number, fold in base.folds.items():
        parts = []
        for name, expected in ((TTA_VALIDATION, fold.validation), (TTA_TEST, fold.test)):
            path = base.folder / f"fold-{number}" / name
            parts.append(read_predictions(path))
            check_written(path)
            check_same_rows(parts[-1], expected, path)
        folds[number] = FusedFold(parts[0], parts[1])
    return Fused({"mean_of": "probabilities of each patch", "over": list(FLIPS)}, folds)


def views_mean(base: BaseRun, _: Clinical | None) -> Fused:
    """Mean of the logits per patient: over the lesions of an image, then the images of a view, then the views.

    A run's own figures per patient are the mean of the probabilities over images. Images without a known view count
    together as one more view.
    """
    rows = [part for fold in base.folds.values() for part in (fold.validation, fold.test)]
    if not any(set(part.view.tolist()) - {""} for part in rows):
        raise NotMade("no image has a known view", "Give DICOM files that name theirs")
    both = max(len(views - {""}) for part in rows for views in _views_by_patient(part).values())
    if both < 2:
        raise NotMade("no patient has two views", "Give CC and MLO of a patient, one row each")
    folds = {n: FusedFold(_mean(base, fold.validation), _mean(base, fold.test)) for n, fold in base.folds.items()}
    return Fused({"mean_of": "logits", "over": ["lesions of an image", "images of a view", "views"]}, folds)


def _views_by_patient(rows: Predictions) -> dict[str, set[str]]:
    views: dict[str, set[str]] = {}
    for patient, view in zip(rows.study_id.tolist(), rows.view.tolist(), strict=True):
        views.setdefault(patient, set()).add(view)
    return views


def _mean(base: BaseRun, rows: Predictions) -> Predictions:
    # Scores averages any columns, here logits: first by image; then, a view's number in the place of the image's,
    # by view and by patient.
    images = Scores(rows.logits, rows.label, rows.study_id, rows.case, rows.laterality).per_image()
    view_of = dict(zip(rows.case.tolist(), rows.view.tolist(), strict=True))
    names = np.array([f"{p}/{view_of[c]}" for p, c in zip(images.unit.tolist(), images.case.tolist(), strict=True)])
    number = np.unique(names, return_inverse=True)[1].astype(np.int64)
    patients = Scores(images.probabilities, images.label, images.patient, number, images.breast).per_patient()
    return base.per_patient(patients, patients.probabilities)


@dataclass(frozen=True, eq=False)
class ViewTable:
    """One row per patient, as they first appear.

    Attributes
    ----------
    scores : Scores
        One row per patient, or breast of a patient who has both; the probabilities are the network's.
    partition : ndarray of str, shape (P,)
    values : ndarray, shape (P, 2 D + 2)
        Features of CC, features of MLO, and two columns that are 1 where a view is missing, its features being NaN.
    """

    scores: Scores
    partition: NDArray[np.str_]
    values: Floats


def view_table(features: Features) -> ViewTable:
    """Mean features over the patches of each view; patches of other views are passed over."""
    rows = features.predictions
    patients = rows.scores().per_patient()
    first, group = by_appearance(rows.scores().unit)
    blocks, missing = [], []
    for view in VIEWS:
        seen = rows.view == view
        count = np.bincount(group[seen], minlength=len(patients.patient))
        sums = np.zeros((len(count), features.values.shape[1]))
        np.add.at(sums, group[seen], features.values[seen].astype(np.float64))
        blocks.append(np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], np.nan))
        missing.append(count == 0)
    partition = features.partition[first]
    values = np.hstack([*blocks, np.stack(missing, axis=1)])
    return ViewTable(patients, partition, values)


def views_learned(base: BaseRun, _: Clinical | None) -> Fused:
    """A logistic regression on a patient's CC and MLO features together, one for each fold.

    It is fitted on the fold's training patients only, with an L2 penalty whose strength an inner cross-validation
    among them chooses, and applied to the fold's validation and test patients. A missing view is taken for the
    training patients' mean, with a column that says so.

    The network was trained on the same patients, so their features separate the classes better than those of
    patients it never saw: the inner cross-validation is optimistic, tends to weak penalties and gives probabilities
    that are too sure. Its own figures are therefore never reported. Those of validation and test are as honest as
    the network's: neither the network's weights nor the regression saw these patients (validation patients did
    choose the network's epoch, in the base run too).
    """
    choices = {
        "model": "logistic regression, L2",
        "features": "mean over the patches of each view",
        "views": list(VIEWS),
        "missing_view": "mean of the training patients, and an indicator",
        "strengths": list(STRENGTHS),
        "inner_folds": _INNER_FOLDS,
        "chosen_by": "log loss of an inner cross-validation stratified by class",
        "class_weight": None,
        "fitted_on": "training patients of the fold, which the network saw",
    }
    return Fused(choices, {number: _learn(base, number) for number in base.folds})


def _learn(base: BaseRun, number: int) -> FusedFold:
    path = base.folder / f"fold-{number}" / FEATURES
    features = read_features(path)
    fold, table = base.folds[number], view_table(features)
    for partition, expected in ((str(number), fold.validation), ("test", fold.test)):
        check_same_rows(_part(features, partition), expected, path)
    if not (~table.values[:, -2:].astype(bool)).all(axis=1).any():
        raise NotMade(f"no patient has the views {' and '.join(VIEWS)}", "Give both of a patient, one row each")
    training = ~np.isin(table.partition, ["test", str(number)])
    seed = derive_seed(int(base.plan["seed"]), "fusion", "views-learned", number)
    model, facts = _fit(table.values[training], table.scores.label[training], base.classes, number, seed)

    def predict(partition: str) -> Predictions:
        chosen = table.partition == partition
        with threadpool_limits(1):
            logits = logits_of(model, table.values[chosen])
        return base.per_patient(table.scores.select(chosen), logits)

    return FusedFold(predict(str(number)), predict("test"), facts)


def _part(features: Features, partition: str) -> Predictions:
    """The rows of one partition."""
    rows, chosen = features.predictions, features.partition == partition
    names = ("study_id", "case", "lesion", "laterality", "view", "label", "logits")
    return replace(rows, **{name: getattr(rows, name)[chosen] for name in names})


def _fit(
    values: Floats, label: NDArray[np.int64], classes: tuple[str, ...], number: int, seed: int
) -> tuple[Pipeline, dict[str, Any]]:
    counts = np.bincount(label, minlength=len(classes))
    if counts.min() < 2:
        found = f"fold {number} has {counts.min()} training patient(s) of class {classes[int(counts.argmin())]}"
        raise NotMade(f"{found}, 2 are needed", "Use more patients")
    pipeline = Pipeline(
        [
            ("scale", StandardScaler()),  # leaves NaN alone; then 0 is the training mean
            ("impute", SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)),
            ("regress", LogisticRegression(max_iter=5000)),
        ]
    )
    inner = StratifiedKFold(min(_INNER_FOLDS, int(counts.min())), shuffle=True, random_state=seed % 2**32)
    search = GridSearchCV(pipeline, {"regress__C": list(STRENGTHS)}, scoring="neg_log_loss", cv=inner)
    with threadpool_limits(1):  # the sums, and with them the last digits, do not depend on the number of threads
        search.fit(values, label)
    return search.best_estimator_, {
        "strength": float(search.best_params_["regress__C"]),
        "fitted_patients": len(label),
        "inner_folds": inner.n_splits,
    }


def logits_of(model: Pipeline, values: NDArray[Any]) -> Floats:
    """Logits, shape (N, classes), whose softmax are the probabilities of a logistic regression of all classes."""
    decision = np.asarray(model.decision_function(values), np.float64)
    return np.stack([-decision / 2, decision / 2], axis=1) if decision.ndim == 1 else decision
