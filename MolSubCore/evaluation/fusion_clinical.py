"""Late fusion of an image's score with clinical columns, and the clinical columns alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from MolSubCore.cohort.splits import Split
from MolSubCore.cohort.table import Cohort
from MolSubCore.cohort.table_files import column_name
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.evaluation.characteristics import Kind, kind_of, patient_columns
from MolSubCore.evaluation.fusion_run import BaseRun, Clinical, Floats, Fused, FusedFold, NotMade
from MolSubCore.evaluation.fusion_views import logits_of
from MolSubCore.predictions import Predictions, Scores

#: Inverse strength of the L2 penalty: it only keeps columns that separate the classes from growing without bound.
STRENGTH = 1.0

#: What the subtype is defined by, in whatever spelling: letters and digits only.
_DEFINING = re.compile(r"(er|pr|hr|her2|ki67|fish|subtype|oestrogen|estrogen|progesterone)(status|receptor\w*)?")


def clinical_values(cohort: Cohort, split: Split, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Clinical values by study id and column, checked; no image is read.

    Choose what is known before the biopsy. A column that the subtype is defined by (ER, PR, HER2, Ki-67) gives the
    answer away and is refused.

    Parameters
    ----------
    cohort : Cohort
    split : Split
        Gives the study ids.
    columns : sequence of str
        Of the table, in any case.

    Raises
    ------
    CohortError
        If the table lacks a column, a value is missing, a patient has two values, or a column holds names, dates,
        remarks or what the subtype is defined by.
    """
    names = tuple(dict.fromkeys(column_name(name) for name in columns))
    if telling := [name for name in names if _DEFINING.fullmatch(re.sub(r"[^a-z0-9]", "", name))]:
        found = f"{telling[0]}: the subtype is defined by it, expected what is known before the biopsy"
        raise CohortError(cohort.source, found, "Leave it out of --clinical")
    cases, cells = patient_columns(cohort, names)
    lacking = [(case.row, name) for n, case in enumerate(cases) for name in names if cells[name][n] == ""]
    if lacking:
        row, name = lacking[0]
        others = f" (and {len(lacking) - 1} more such value(s))" if len(lacking) > 1 else ""
        remedy = f"Fill it in, leave {name} out of --clinical, or leave out the patient's rows"
        raise CohortError(cohort.source, f"row {row}, {name}: the clinical value is missing{others}", remedy)
    usable = patient_columns(cohort)[1]
    if free := [name for name in names if name not in usable]:
        found = f"{free[0]}: has {len(set(cells[free[0]]))} different texts for {len(cases)} patients"
        remedy = "Leave it out of --clinical, or give categories"
        raise CohortError(cohort.source, f"{found}, expected numbers or a few categories", remedy)
    ids = [split.study_id(case.patient_id) for case in cases]
    return {study_id: {name: cells[name][n] for name in names} for n, study_id in enumerate(ids)}


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
    kinds = {name: kind_of([row[name] for row in values.values()]) for name in next(iter(values.values()))}
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
    return FusedFold(results[0], results[1], _facts(model, names, len(label)))


def log_odds_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the columns of `log_odds`."""
    return tuple(f"image log-odds: {name}" for name in (classes[1:] if len(classes) == 2 else classes))


def log_odds(scores: Scores) -> Floats:
    """Log-odds of each class against the rest; of two classes the second's alone, the first's being its negative."""
    share = np.maximum(scores.probabilities, np.finfo(np.float64).tiny)
    # Not 1 - share: near 1 that has lost all digits.
    rest = share @ (1 - np.eye(share.shape[1]))
    odds = np.asarray(np.log(share) - np.log(rest), np.float64)
    return odds[:, 1:] if odds.shape[1] == 2 else odds


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
