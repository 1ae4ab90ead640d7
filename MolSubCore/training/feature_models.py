"""Classifiers of handcrafted features, fitted on nothing but what they are given.

Every step that looks at data (imputation, selection, scaling, hyperparameters, calibration) is fitted
on the training part. The inner folds, of search and calibration alike, divide patients, not images.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import f_classif
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from MolSubCore.errors import TrainingError, counted
from MolSubCore.statistics.scores import by_appearance

#: A standard deviation below this share of the mean's size is rounding, not variation.
_CONSTANT = 1e-9

#: Least slope of a calibration: keeps the order of the scores and says next to nothing else.
_LEAST_SLOPE = 0.01

#: Least probability of a class, also of one that the training part lacks: a logarithm stays finite.
_FLOOR = 1e-6


class UncorrelatedBest(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The `count` features with the largest F statistic, none too correlated with a better one.

    Parameters
    ----------
    count : int
        Fewer are kept where the others are constant or too correlated.
    correlation : float
        Largest absolute Pearson correlation with a feature that is kept.

    Attributes
    ----------
    columns_ : ndarray of int
        Kept columns, best first.
    """

    def __init__(self, count: int = 16, correlation: float = 0.95) -> None:
        self.count = count
        self.correlation = correlation

    def fit(self, X: NDArray[np.float64], y: NDArray[np.int64]) -> UncorrelatedBest:
        """Choose columns by values (N, D) and classes (N,)."""
        spread = X.std(axis=0)
        varied = np.flatnonzero(spread > _CONSTANT * np.maximum(np.abs(X.mean(axis=0)), 1e-12))
        kept: list[int] = []
        if len(varied):
            statistic = np.nan_to_num(f_classif(X[:, varied], y)[0], nan=0.0)
            related = np.abs(np.atleast_2d(np.corrcoef(X[:, varied], rowvar=False)))
            for position in np.argsort(-statistic, kind="stable"):
                if len(kept) < self.count and (related[position, kept] <= self.correlation).all():
                    kept.append(int(position))
        self.columns_ = varied[kept] if kept else np.array([0])
        return self

    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """The kept columns, best first."""
        return X[:, self.columns_]


def reliability(measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intraclass correlation of features measured several times: ICC(1,1) of Shrout and Fleiss, 1979.

    Parameters
    ----------
    measured : ndarray of float64, shape (N, K, D)
        N lesions, K measurements, D features; a lesion without one of a feature's values does not count for it.

    Returns
    -------
    ndarray of float64, shape (D,)
        0 where fewer than three lesions count or all values are equal.
    """
    times = measured.shape[1]
    whole = np.asarray(np.isfinite(measured).all(axis=1))
    count = whole.sum(axis=0)
    kept = np.where(whole[:, None], measured, 0.0)
    divided = np.maximum(count, 2)
    means = kept.mean(axis=1)
    centre = means.sum(axis=0) / divided
    between = times * (np.where(whole, means - centre, 0.0) ** 2).sum(axis=0) / (divided - 1)
    within = ((kept - means[:, None]) ** 2).sum(axis=(0, 1)) / (divided * (times - 1))
    total = between + (times - 1) * within
    usable = (count >= 3) & (total > 0)
    return np.where(usable, (between - within) / np.where(total > 0, total, 1.0), 0.0)


@dataclass(frozen=True)
class Baseline:
    """A way to classify lesions by their features.

    Attributes
    ----------
    title : str
        For people.
    model : callable
        ``model(seed)``: an unfitted classifier.
    scaled : bool
        Whether it needs standardised features.
    search : mapping of str to tuple
        Values that are tried, by scikit-learn's names in the pipeline.
    """

    title: str
    model: Callable[[int], Any]
    scaled: bool
    search: Mapping[str, tuple[Any, ...]]


def _machine(seed: int) -> Any:
    return SVC(kernel="rbf", class_weight="balanced", random_state=seed)


def _boosting(seed: int) -> Any:
    # Early stopping would set images aside, and not patients: the number of trees is searched instead.
    return HistGradientBoostingClassifier(
        class_weight="balanced", early_stopping=False, min_samples_leaf=5, learning_rate=0.1, random_state=seed
    )


#: The baselines of a study, by the name that stands in the place of an architecture.
BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "radiomics-svm": Baseline(
            "Radiomics, support vector machine",
            _machine,
            True,
            {"select__count": (8, 16, 32), "model__C": (0.1, 1.0, 10.0), "model__gamma": ("scale", 0.01)},
        ),
        "radiomics-gb": Baseline(
            "Radiomics, gradient boosting",
            _boosting,
            False,
            {"select__count": (16, 64), "model__max_iter": (40, 120), "model__max_leaf_nodes": (3, 7)},
        ),
    }
)


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A fitted classifier of features.

    Attributes
    ----------
    parameters : dict
        What the search chose.
    score : float
        Its mean AUC over the inner folds (one class against the rest, mean over classes); it chose by this
        number, which is therefore too high.
    columns : tuple of int
        Features it uses.
    """

    parameters: dict[str, Any]
    score: float
    columns: tuple[int, ...]
    _model: Any
    _classes: int

    def log_probabilities(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms of the probabilities of the classes, shape (N, classes), for features (N, D) with NaN."""
        found = np.zeros((len(values), self._classes))
        if len(values):
            with threadpool_limits(1):
                found[:, self._model.classes_] = self._model.predict_proba(values)
        found = np.maximum(found, _FLOOR)
        return np.log(found / found.sum(axis=1, keepdims=True))


def fit_model(
    baseline: Baseline,
    values: NDArray[np.float64],
    labels: NDArray[np.int64],
    patients: Sequence[str],
    classes: Sequence[str],
    *,
    search: Mapping[str, Sequence[Any]],
    correlation: float,
    inner_folds: int,
    seed: int,
) -> FittedModel:
    """Search, then calibrate by Platt's sigmoid on out-of-fold scores, then fit on everything given.

    Parameters
    ----------
    values : ndarray of float64, shape (N, D)
        May hold NaN.
    labels : ndarray of int, shape (N,)
    patients : sequence of str
        Of the N rows.
    classes : sequence of str
        Names of all classes, which labels are indices of.
    inner_folds : int
        As many, or as many as the rarest class has patients.

    Raises
    ------
    TrainingError
        If a class that is there has one patient only, or there is but one class.
    """
    divisions = _inner_folds(labels, np.array(patients), classes, inner_folds, seed)
    scaler = [("scale", StandardScaler())] if baseline.scaled else []
    pipeline = Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("select", UncorrelatedBest(correlation=correlation)),
            *scaler,
            ("model", baseline.model(seed)),
        ]
    )
    grid = {name: list(tried) for name, tried in search.items()}
    # One thread: few rows gain nothing from more, and the sums are always in one order.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of medians of columns without a value, and of classes absent from a fold
        chosen = GridSearchCV(pipeline, grid, scoring=_macro_auc, cv=divisions, refit=False).fit(values, labels)
        best = pipeline.set_params(**chosen.best_params_)
        model = CalibratedClassifierCV(best, method="sigmoid", cv=divisions, ensemble=False).fit(values, labels)
    (final,) = model.calibrated_classifiers_
    _keep_order(final.calibrators, labels)
    columns = tuple(int(column) for column in final.estimator.named_steps["select"].columns_)
    return FittedModel(dict(chosen.best_params_), float(chosen.best_score_), columns, model, len(classes))


Division = tuple[NDArray[np.int64], NDArray[np.int64]]


def _inner_folds(
    labels: NDArray[np.int64], patients: NDArray[np.str_], classes: Sequence[str], folds: int, seed: int
) -> list[Division]:
    counts = {classes[label]: len(set(patients[labels == label])) for label in np.unique(labels)}
    rarest = min(counts, key=lambda name: counts[name])
    if len(counts) < 2 or counts[rarest] < 2:
        smallest = f"{counted(counts[rarest], 'patient')} of class {rarest}"
        found = f"has {smallest} and {counted(len(counts), 'class', 'classes')}, expected two or more"
        raise TrainingError("training part", found, "Use fewer folds, more patients, or another task")
    divider = StratifiedGroupKFold(min(folds, counts[rarest]), shuffle=True, random_state=seed)
    # By number: the order of salted ids, which would decide the shuffle, is another in every study.
    return list(divider.split(np.zeros(len(labels)), labels, by_appearance(patients)[1]))


def _keep_order(sigmoids: Sequence[Any], labels: NDArray[np.int64]) -> None:
    """Flatten sigmoids that fall with the score to all but the class's share.

    Where there is little to learn, scores out of fold run against the classes (a class is rarer in training
    where it is more frequent in validation). A sigmoid fitted to that would turn the model upside down.
    """
    present = np.unique(labels)
    targets = present[1:] if len(present) == 2 else present  # two classes share one sigmoid
    for sigmoid, target in zip(sigmoids, targets, strict=True):
        if sigmoid.a_ > -_LEAST_SLOPE:  # p = 1 / (1 + exp(a score + b))
            share = (labels == target).mean()
            sigmoid.a_, sigmoid.b_ = -_LEAST_SLOPE, np.log((1 - share) / share)


def _macro_auc(model: Any, values: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Area under the curve, one class against the rest, mean over the classes that can be judged; 0.5 without any."""
    scores = model.decision_function(values)
    columns = np.column_stack([-scores, scores]) if scores.ndim == 1 else scores
    areas = [
        roc_auc_score(labels == label, columns[:, position])
        for position, label in enumerate(model.classes_)
        if 0 < (labels == label).sum() < len(labels)
    ]
    return float(np.mean(areas)) if areas else 0.5
