"""Fusions of what a network says about several pictures of a patient: flips of a patch, and views of a breast."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

import MolSubCore
from MolSubCore.cohort.splits import TEST, Split
from MolSubCore.cohort.table import Cohort
from MolSubCore.cohort.table_files import NA_WORDS, column_name
from MolSubCore.errors import CohortError, MolSubError, TrainingError, counted
from MolSubCore.evaluation.characteristics import Kind, has_value, is_number, kind_of, patient_columns
from MolSubCore.files import atomic_folder, check_ours, hidden_name, read_json, sha256_file, write_json
from MolSubCore.models.fused import ARRAYS, FLIPS, VIEWS, two_sided
from MolSubCore.models.fused import log_odds as odds_of
from MolSubCore.statistics.scores import Predictions, Scores, by_appearance, read_predictions, write_predictions
from MolSubCore.statistics.validation import Validation
from MolSubCore.study.leakage import telling_columns, told_by_name
from MolSubCore.tasks import SubtypeLabel
from MolSubCore.training.extras import FEATURES, TTA_TEST, TTA_VALIDATION, Features, read_features
from MolSubCore.training.plan import derive_seed
from MolSubCore.training.run_files import (
    FITTED,
    FROZEN,
    FUSION,
    FUSION_TITLES,
    SHARES,
    check_written,
    finished_plan,
    fold_predictions,
    frozen,
    training_shares,
)

Floats = NDArray[np.float64]

#: Values by study id, then by column, as in the table.
Clinical = Mapping[str, Mapping[str, str]]


class NotMade(MolSubError):
    """A fusion that this run does not allow; the problem and the way out are the reason that is shown."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__("fusion", problem, remedy)

    @property
    def reason(self) -> str:
        """Problem and way out in one line."""
        return f"{self.problem}. {self.remedy}."


@dataclass(frozen=True, eq=False)
class FusedFold:
    """Predictions of one fold.

    Attributes
    ----------
    validation, test : Predictions
    facts : dict
        Content of ``done.json``: what was fitted, on how many patients.
    fitted : dict of str to ndarray
        `ARRAYS` of a regression, from which `MolSubCore.models.fused` predicts; empty where nothing was fitted.
    """

    validation: Predictions
    test: Predictions
    facts: dict[str, Any] = field(default_factory=dict)
    fitted: dict[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Fused:
    """A fusion of a run: every choice that decides it (for ``plan.json``), and its folds."""

    choices: dict[str, Any]
    folds: dict[int, FusedFold]


@dataclass(frozen=True, eq=False)
class BaseRun:
    """A finished run.

    Attributes
    ----------
    folder : Path
    plan : dict
        Content of ``plan.json``.
    folds : dict of int to FusedFold
        By number, from 1.
    """

    folder: Path
    plan: dict[str, Any]
    folds: dict[int, FusedFold]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self.plan["classes"])

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """Salted ids of all validation and test patients, as they first appear."""
        parts = [part.study_id for fold in self.folds.values() for part in (fold.validation, fold.test)]
        return tuple(dict.fromkeys(np.concatenate(parts).tolist()))

    def key(self) -> str:
        """SHA-256 of the plan without its software: `Plan.key` where a network was trained."""
        content = {name: value for name, value in self.plan.items() if name != "software"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def per_patient(self, scores: Scores, logits: Floats) -> Predictions:
        """Predictions with one row per unit of `scores`; a unit has the same case number in every fold."""
        blank = np.full(len(scores.label), "", dtype=str)
        names = list(zip(scores.patient.tolist(), scores.unit.tolist(), strict=True))
        # The side only where it makes the unit.
        breast = np.array([unit.removeprefix(patient).removeprefix("/") for patient, unit in names], dtype=str)
        number, sides = {name: n for n, name in enumerate(self.patients)}, {"": 0, "L": 1, "R": 2}
        rows = zip(scores.patient.tolist(), breast.tolist(), strict=True)
        case = np.array([3 * number[name] + sides[side] for name, side in rows], np.int64)
        return Predictions(scores.patient, case, blank, breast, blank, scores.label, logits, self.classes)


def read_base(run: Path) -> BaseRun:
    """Read a run whose folds are all finished.

    Raises
    ------
    TrainingError
        If there is no run, folds are missing, classes are not the plan's, or a test patient was validated too.
    MolSubError
        If a file is damaged, or a patient is in two folds.
    """
    plan = finished_plan(run)
    parts, tests = (fold_predictions(run, plan, part) for part in ("predictions", "test_predictions"))
    folds = {number: FusedFold(parts[number], tests[number]) for number in parts}
    validation = Validation(tuple(parts.values()))
    if any(validation.patients & set(fold.test.study_id.tolist()) for fold in folds.values()):
        raise TrainingError(run, "has a patient in the test set and in a fold", "Split by patient")
    return BaseRun(run, plan, folds)


def check_same_rows(found: Predictions, expected: Predictions, path: Path) -> None:
    """TrainingError where a file's patients, images, lesions or labels are not those of the run's predictions."""
    columns = ("study_id", "case", "lesion", "label")
    same = all(np.array_equal(getattr(found, name), getattr(expected, name)) for name in columns)
    if found.classes != expected.classes or not same:
        raise TrainingError(
            path, "is of other lesions or labels than the predictions", "Delete it and run this fold again"
        )


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

    facts |= {"features": features.values.shape[1], "precision": features.values.dtype.name}
    return FusedFold(predict(str(number)), predict("test"), facts, _views_fitted(model))


def _views_fitted(model: Pipeline) -> dict[str, Floats]:
    """What was fitted; a column without any value in the training part is the mean, and weighs nothing."""
    scaler, regression = model.named_steps["scale"], model.named_steps["regress"]
    known = np.isfinite(scaler.mean_)
    return {
        "mean": np.where(known, scaler.mean_, 0.0),
        "scale": np.where(known, scaler.scale_, 1.0),
        "coefficients": np.where(known, regression.coef_, 0.0),
        "intercept": regression.intercept_,
    }


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
        found = (
            f"fold {number} has {counted(counts.min(), 'training patient')} of class {classes[int(counts.argmin())]}"
        )
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
    return two_sided(decision[:, None] if decision.ndim == 1 else decision)


#: Inverse strength of the L2 penalty: it only keeps columns that separate the classes from growing without bound.
STRENGTH = 1.0


def clinical_values(
    cohort: Cohort,
    split: Split,
    columns: Sequence[str],
    *,
    i_know: Sequence[str] = (),
    missing: Collection[str] = NA_WORDS,
) -> dict[str, dict[str, str]]:
    """Clinical values by study id and column, checked; no image is read.

    Choose what is known before the biopsy. A column that the subtype is defined by (ER, PR, HER2, Ki-67), or that
    nearly tells it, gives the answer away and is refused (`MolSubCore.study.leakage`).

    Parameters
    ----------
    cohort : Cohort
    split : Split
        Gives the study ids, and the training patients, whose values alone are compared with the subtype.
    columns : sequence of str
        Of the table, in any case.
    i_know : sequence of str
        Those of them that are meant although they tell the subtype.
    missing : collection of str
        Words for a missing value.

    Raises
    ------
    CohortError
        If the table lacks a column, a value is missing, a patient has two values, or a column holds names, dates,
        remarks or what tells the subtype.
    """
    names, meant = (tuple(dict.fromkeys(map(column_name, given))) for given in (columns, i_know))
    if other := [name for name in meant if name not in names]:
        found = f"names {other[0]}, which is none of the columns of --clinical"
        raise CohortError("--i-know", found, "Name it with --clinical, too, or leave it out")
    by_name = {name: told_by_name(name) for name in names if name not in meant}
    _refuse_telling(cohort, {name: why for name, why in by_name.items() if why})
    absent = frozenset(word.casefold() for word in missing)
    patients = patient_columns(cohort, names, missing=absent)
    cells = patients.columns
    numbers = {name for name in names if kind_of(cells[name], name, missing=absent) == "continuous"}
    lacking = [
        (case.row, name)
        for n, case in enumerate(patients.cases)
        for name in names
        if not has_value(cells[name][n], absent) or (name in numbers and not is_number(cells[name][n]))
    ]
    if lacking:
        row, name = lacking[0]
        others = f" (and {counted(len(lacking) - 1, 'more such value')})" if len(lacking) > 1 else ""
        remedy = f"Fill it in, leave {name} out of --clinical, or leave out the patient's rows"
        raise CohortError(cohort.source, f"row {row}, {name}: the clinical value is missing{others}", remedy)
    not_shown = patient_columns(cohort, missing=absent).left_out
    if refused := [name for name in names if name in not_shown]:
        found = f"{refused[0]}: {not_shown[refused[0]]}, expected numbers or a few categories"
        raise CohortError(cohort.source, found, "Leave it out of --clinical, or give categories")
    telling = telling_columns(*training_values(cohort, split, names, missing=missing))
    _refuse_telling(cohort, {name: why for name, why in telling.items() if name not in meant})
    ids = [split.study_id(case.patient_id) for case in patients.cases]
    return {study_id: {name: cells[name][n] for name in names} for n, study_id in enumerate(ids)}


def training_values(
    cohort: Cohort, split: Split, names: Sequence[str], *, missing: Collection[str] = NA_WORDS
) -> tuple[dict[str, list[str]], list[SubtypeLabel]]:
    """Columns and subtypes of the patients who are not in the test set."""
    found = patient_columns(cohort, names, missing=missing)
    kept = [
        (n, case.subtype)
        for n, case in enumerate(found.cases)
        if case.subtype and split.partition_of(case.patient_id) != TEST
    ]
    return {name: [cells[n] for n, _ in kept] for name, cells in found.columns.items()}, [label for _, label in kept]


def _refuse_telling(cohort: Cohort, telling: Mapping[str, str]) -> None:
    if telling:
        found = "; ".join(f"{name}: {why}" for name, why in telling.items())
        remedy = f"Leave it out of --clinical, or add --i-know {' '.join(map(quote, telling))} where it is meant"
        raise CohortError(cohort.source, f"{found}; expected what is known before the biopsy", remedy)


def clinical(base: BaseRun, values: Clinical | None) -> Fused:
    """A logistic regression on a patient's image log-odds and clinical columns, cross-fitted.

    The one for fold k is fitted on the validation predictions of all other folds, each patient scored by the network
    that did not train on it, and applied to the validation and test predictions of fold k. So no patient is
    predicted by a fusion that saw it. (The other folds' networks did train on fold k's patients, as always in
    stacking; that reaches the fusion through its few coefficients only.)
    """
    return _cross_fitted(base, values, image=True)


def clinical_only(base: BaseRun, values: Clinical | None) -> Fused:
    """The same without the image: what the clinical columns give alone, on the same patients."""
    return _cross_fitted(base, values, image=False)


def _cross_fitted(base: BaseRun, values: Clinical | None, *, image: bool) -> Fused:
    if not values:
        raise NotMade("there are no clinical columns", "Name some of the table with --clinical")
    if len(base.folds) < 2:
        raise NotMade("the run has one fold, and fold k's fusion is fitted on the other folds", "Use 2 folds or more")
    lost = [patient for patient in base.patients if patient not in values]
    if lost:
        remedy = "Give the values of this very cohort and split"
        raise MolSubError("clinical values", f"lack {len(lost)} of {len(base.patients)} patients", remedy)
    kinds = {
        name: kind_of([row[name] for row in values.values()], name, missing=()) for name in next(iter(values.values()))
    }
    folds = {number: _fold(base, number, values, kinds, image=image) for number in base.folds}
    choices = {
        "model": "logistic regression, L2",
        "image": "log-odds of the patient's mean probability" if image else None,
        "columns": kinds,
        "continuous": "standardised",
        "categorical": "one column per category of the fitting part; another category is none of them",
        "strength": STRENGTH,
        "class_weight": None,
        "fitted_on": "validation predictions of the other folds",
    }
    return Fused(choices, folds)


def _fold(base: BaseRun, number: int, values: Clinical, kinds: dict[str, Kind], *, image: bool) -> FusedFold:
    others = [fold.validation for n, fold in base.folds.items() if n != number]
    parts = [_patients(part, values, kinds, image=image) for part in others if len(part.label)]
    label = np.concatenate([scores.label for scores, _ in parts])
    counts = np.bincount(label, minlength=len(base.classes))
    if counts.min() < 1:
        absent = base.classes[int(counts.argmin())]
        raise NotMade(f"the folds other than {number} have no validation patient of class {absent}", "Use fewer folds")
    model = _pipeline(len(log_odds_names(base.classes)) if image else 0, kinds)
    own = base.folds[number]
    with threadpool_limits(1):
        model.fit(np.concatenate([columns for _, columns in parts]), label)
        results = []
        for part in (own.validation, own.test):
            scores, columns = _patients(part, values, kinds, image=image)
            results.append(base.per_patient(scores, logits_of(model, columns)))
    names = [*(log_odds_names(base.classes) if image else ()), *kinds]
    facts = _facts(model, names, len(label)) | {"categories": _categories(model, kinds)}
    return FusedFold(results[0], results[1], facts, _clinical_fitted(model))


def _categories(model: Pipeline, kinds: dict[str, Kind]) -> dict[str, list[str]]:
    """Categories of the fitting part by column."""
    names = [name for name, kind in kinds.items() if kind == "categorical"]
    known = model.named_steps["columns"].named_transformers_["categories"].categories_ if names else []
    return {name: list(map(str, words)) for name, words in zip(names, known, strict=True)}


def _clinical_fitted(model: Pipeline) -> dict[str, Floats]:
    columns, regression = model.named_steps["columns"], model.named_steps["regress"]
    scaler = columns.named_transformers_["numbers"]
    numbers = getattr(scaler, "mean_", None) is not None
    return {
        "mean": scaler.mean_ if numbers else np.empty(0),
        "scale": scaler.scale_ if numbers else np.empty(0),
        "coefficients": regression.coef_,
        "intercept": regression.intercept_,
    }


def log_odds_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the columns of `log_odds`."""
    return tuple(f"image log-odds: {name}" for name in (classes[1:] if len(classes) == 2 else classes))


def log_odds(scores: Scores) -> Floats:
    """Log-odds of each class against the rest; of two classes the second's alone, the first's being its negative."""
    return odds_of(scores.probabilities)


def _patients(
    rows: Predictions, values: Clinical, kinds: dict[str, Kind], *, image: bool
) -> tuple[Scores, NDArray[np.object_]]:
    """Patients with their columns: image log-odds if wanted, then numbers and categories in the order of `kinds`."""
    scores = rows.scores().per_patient()
    cells = [values[patient] for patient in scores.patient.tolist()]
    columns = list(log_odds(scores).T) if image else []
    for name, kind in kinds.items():
        texts = [row[name] for row in cells]
        columns.append(np.array([float(text) for text in texts] if kind == "continuous" else texts))
    table = np.empty((len(cells), len(columns)), dtype=object)
    for n, column in enumerate(columns):
        table[:, n] = column
    return scores, table


def _pipeline(images: int, kinds: dict[str, Kind]) -> Pipeline:
    numbers = [images + n for n, kind in enumerate(kinds.values()) if kind == "continuous"]
    texts = [images + n for n, kind in enumerate(kinds.values()) if kind == "categorical"]
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), [*range(images), *numbers]),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
        ],
        verbose_feature_names_out=False,
    )
    return Pipeline([("columns", columns), ("regress", LogisticRegression(C=STRENGTH, tol=1e-6, max_iter=5000))])


def _facts(model: Pipeline, names: list[str], patients: int) -> dict[str, Any]:
    """Coefficients by column, of standardised numbers; one list entry per class, or one for two classes."""
    regression = model.named_steps["regress"]
    columns = model.named_steps["columns"].get_feature_names_out(names)
    coefficients = dict(zip(columns.tolist(), regression.coef_.T.tolist(), strict=True))
    return {"fitted_patients": patients, "intercept": regression.intercept_.tolist(), "coefficients": coefficients}


#: Raised whenever the code behind a fusion gives other numbers: what an older one made is then made again.
_VERSION = 3
#: What the evaluation adds to a derived run.
_LATER = ("evaluation.json", "evaluation.png")


@dataclass(frozen=True)
class Fusion:
    """One fusion.

    Attributes
    ----------
    title, needs : str
        For people: what it is, and what it cannot do without.
    make : callable
        ``make(base, clinical)`` gives the fused folds; `NotMade` where the run does not allow it.
    unit : {"lesion", "patient"}
        What a row of its predictions is.
    files : tuple of str
        What it reads of every fold beside the predictions.
    clinical : bool
        Whether it uses the clinical values.
    as_trained : bool
        Whether the network's probabilities are averaged as they are, so that the shares of the classes in its training
        are in them. A regression has those of the patients it was fitted on.
    """

    title: str
    needs: str
    make: Callable[[BaseRun, Clinical | None], Fused]
    unit: str = "patient"
    files: tuple[str, ...] = ()
    clinical: bool = False
    as_trained: bool = False


FUSIONS: Mapping[str, Fusion] = MappingProxyType(
    {
        "tta": Fusion(
            FUSION_TITLES["tta"],
            "predictions of flipped patches, from the study's jobs",
            flips,
            unit="lesion",
            files=(TTA_VALIDATION, TTA_TEST),
            as_trained=True,
        ),
        "views-mean": Fusion(FUSION_TITLES["views-mean"], "a patient with two views", views_mean, as_trained=True),
        "views-learned": Fusion(
            FUSION_TITLES["views-learned"],
            "features from the study's jobs, a patient with CC and MLO",
            views_learned,
            files=(FEATURES,),
        ),
        "clinical": Fusion(FUSION_TITLES["clinical"], "clinical columns, 2 folds or more", clinical, clinical=True),
        "clinical-only": Fusion(
            FUSION_TITLES["clinical-only"], "clinical columns, 2 folds or more", clinical_only, clinical=True
        ),
    }
)


#: Fusions of fusions that a study makes: the last one is made of the run of those before it.
STACKED = ("views-learned+clinical",)


def uses_clinical(name: str) -> bool:
    """Whether a fusion, or one of fusions, uses the clinical values."""
    return any(FUSIONS[kind].clinical for kind in name.split(FUSION))


def make_fusions(base_run: Path, wanted: Sequence[str], clinical: Clinical | None = None) -> dict[str, str]:
    """Make the derived run folders of a finished run, beside it; what is up to date is passed over.

    A derived folder appears whole, or not at all. It is made again when the run, the files beside its predictions or
    the clinical values have changed, and removed where the changed ones do not allow it any more.

    Parameters
    ----------
    base_run : Path
    wanted : sequence of str
        Names in `FUSIONS` or `STACKED`; of the latter those that they start from come before them.
    clinical : mapping of str to mapping of str to str, optional
        Values by study id and column, from `clinical_values`.

    Returns
    -------
    dict of str to str
        By fusion: empty where it is there, else the reason why not, in one line.

    Raises
    ------
    MolSubError
        If a fusion is unknown, the run is not finished, or a file is damaged or of other lesions.
    """
    for name in wanted:
        if name not in (*FUSIONS, *STACKED):
            near = difflib.get_close_matches(name, (*FUSIONS, *STACKED), n=1)
            hint = f"Did you mean {near[0]}" if near else f"Choose from {', '.join((*FUSIONS, *STACKED))}"
            raise MolSubError("fusion", f"unknown value '{name}'", hint)
    base = read_base(base_run)
    made: dict[str, str] = {}
    for name in dict.fromkeys(wanted):
        first, _, last = name.rpartition(FUSION)
        if not first:
            made[name] = _make(base, name, clinical)
        elif made.get(first):
            _discard(_derived(base.folder, name))
            made[name] = made[first]
        else:
            made[name] = _make(read_base(_derived(base.folder, first)), last, clinical)
    return made


def _derived(run: Path, name: str) -> Path:
    return run.with_name(f"{run.name}{FUSION}{name}")


def _make(base: BaseRun, name: str, clinical: Clinical | None) -> str:
    folder = _derived(base.folder, name)
    try:
        inputs = _inputs(base, name, clinical)
        if not _is_made(folder, inputs):
            _write(folder, base, name, FUSIONS[name].make(base, clinical), inputs)
    except NotMade as error:
        _discard(folder)
        return error.reason
    return ""


def _inputs(base: BaseRun, name: str, clinical: Clinical | None) -> str:
    """SHA-256 of all that decides the result."""
    fusion = FUSIONS[name]
    parts: list[Any] = [_VERSION, name, base.key(), clinical if fusion.clinical else None]
    for number in base.folds:
        for file in (*FROZEN, *fusion.files):
            path = base.folder / f"fold-{number}" / file
            if not path.is_file():
                raise NotMade(f"fold {number} lacks {file}", "Run this fold as a job of a study")
            parts.append(sha256_file(path))
    text = json.dumps(parts, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_made(folder: Path, inputs: str) -> bool:
    file = folder / "plan.json"
    return file.is_file() and read_json(file).get("inputs") == inputs


def _write(folder: Path, base: BaseRun, name: str, fused: Fused, inputs: str) -> None:
    kept = ("task", "classes", "positive", "folds", "seed", "synthetic", "data_hash", "split_hash", "test_share")
    plan = {key: base.plan[key] for key in kept if key in base.plan}
    plan |= {
        "architecture": f"{base.plan['architecture']}{FUSION}{name}",
        "fusion": {"name": name, "title": FUSIONS[name].title, "unit": FUSIONS[name].unit, **fused.choices},
        "base_key": base.key(),
        "base_predictions": {str(number): frozen(base.folder / f"fold-{number}") for number in base.folds},
        "inputs": inputs,
        "software": {"MolSubCore": MolSubCore.__version__}
        | {package: version(package) for package in ("numpy", "scipy", "scikit-learn")},
    }
    remedy = "Choose another folder for the study, or remove it"
    validation = {number: fold.validation for number, fold in base.folds.items()}
    with atomic_folder(folder, replaces="plan.json", remedy=remedy, also=_LATER) as temporary:
        for number, fold in fused.folds.items():
            for file, part in zip(FROZEN, (fold.validation, fold.test), strict=True):
                write_predictions(temporary / f"fold-{number}" / file, part)
            place = temporary / f"fold-{number}"
            shares = training_shares(base.folder, base.plan, number, validation) if FUSIONS[name].as_trained else None
            facts = {SHARES: shares.to_dict(base.classes)} if shares else {}
            hashes = frozen(place)
            if fold.fitted:
                arrays = {name: np.ascontiguousarray(fold.fitted[name], np.float64) for name in ARRAYS}
                save_file(arrays, place / FITTED)
                hashes[FITTED] = sha256_file(place / FITTED)
            write_json(place / "done.json", {**fold.facts, **facts, "sha256": hashes})
        write_json(temporary / "plan.json", plan)


def _discard(folder: Path) -> None:
    """Remove what an earlier call made of other files: it no longer follows from the run."""
    file = folder / "plan.json"
    if file.is_file() and "fusion" in read_json(file):
        check_ours(folder, "plan.json")
        old = hidden_name(folder, "old")
        os.replace(folder, old)
        shutil.rmtree(old, ignore_errors=True)
