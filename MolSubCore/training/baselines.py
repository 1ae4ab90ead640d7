"""Radiomics baselines on the splits of a study: a run folder like that of a network.

::

    RUN/plan.json, split.json, cohort.json      as `prepare_run` writes them
    RUN/fold-N/predictions.csv, test_predictions.csv
    RUN/fold-N/done.json                        what was chosen; written last

Logits are logarithms of calibrated probabilities.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from MolSubCore.cohort.features import FeatureTable
from MolSubCore.errors import TrainingError
from MolSubCore.files import write_json
from MolSubCore.lesions.radiomics import RadiomicsSettings
from MolSubCore.statistics.scores import write_predictions
from MolSubCore.tasks import get_task
from MolSubCore.training.feature_models import BASELINES, Baseline, FittedModel, fit_model, reliability
from MolSubCore.training.plan import derive_seed
from MolSubCore.training.run import TrainingData, unfinished_fold
from MolSubCore.training.run_files import SHARES, frozen
from MolSubCore.training.sampling import class_shares

__all__ = ["BASELINES", "BaselinePlan", "get_baseline", "train_baseline_fold"]


def get_baseline(name: str) -> Baseline:
    """The baseline called `name`; TrainingError names the known ones."""
    if name not in BASELINES:
        raise TrainingError("baseline", f"unknown value '{name}'", f"Choose one of {', '.join(BASELINES)}")
    return BASELINES[name]


@dataclass(frozen=True)
class BaselinePlan:
    """What is fitted, on what, and how.

    Attributes
    ----------
    task : str
    architecture : str
        Name of the baseline.
    recipe : dict
        That of the study's patches, which says whether an image has one row or one for each lesion.
    features : dict
        `RadiomicsSettings`, whole.
    data_hash, split_hash, groups_hash, seed, folds, test_share, synthetic
        As in `MolSubCore.training.plan.Plan`.
    inner_folds : int
        Folds of the search and of the calibration, within the training part.
    correlation : float
        See `UncorrelatedBest`.
    robust : float
        Least ICC(1,1) of a feature with itself under small changes of outline and noise, over the lesions of the
        training part; features below it are left out. 0.75 is "good" in Koo and Li, J Chiropr Med 2016;15:155.
    search : dict
        Values tried for each hyperparameter; empty stands for the baseline's own, which are put here.
    classes, positive : tuple of str, str or None
        From the task, for readers of the file.
    """

    task: str
    architecture: str
    recipe: dict[str, Any]
    features: dict[str, Any]
    data_hash: str
    split_hash: str
    seed: int = 21
    folds: int = 5
    test_share: float = 0.2
    inner_folds: int = 5
    correlation: float = 0.95
    robust: float = 0.75
    search: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    positive: str | None = None
    synthetic: bool = False
    groups_hash: str = ""

    def __post_init__(self) -> None:
        task, baseline = get_task(self.task), get_baseline(self.architecture)
        settings = RadiomicsSettings.from_dict(dict(self.features))
        if settings.together != bool(self.recipe.get("together", False)):
            found = f"have together = {settings.together}, the recipe has {not settings.together}"
            raise TrainingError("features", found, "Use the recipe's value for both")
        if unknown := set(self.search) - set(baseline.search):
            found = f"names {', '.join(sorted(unknown))}, {self.architecture} has {', '.join(baseline.search)}"
            raise TrainingError("search", found, "Use these names")
        search = {name: list(tried) for name, tried in {**baseline.search, **self.search}.items()}
        values = {"classes": task.classes, "positive": task.positive, "search": search, "features": settings.to_dict()}
        for name, value in values.items():
            object.__setattr__(self, name, value)
        for name, low, high in (
            ("folds", 1, 100),
            ("inner_folds", 2, 20),
            ("correlation", 0.0, 1.0),
            ("robust", -1.0, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                found = f"is {getattr(self, name)}, expected {low} to {high}"
                raise TrainingError(name, found, "Choose a value in this range")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return dataclasses.asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BaselinePlan:
        """The plan in a ``plan.json``; keys that are no field (``software``) are passed over."""
        names = {f.name for f in dataclasses.fields(cls)}
        try:
            return cls(**{key: value for key, value in values.items() if key in names})
        except TypeError as error:
            raise TrainingError("plan.json", f"has other fields than expected ({error})", "Start a new run") from None

    def key(self) -> str:
        """SHA-256 of the plan: equal keys, equal numbers with the same software."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def train_baseline_fold(plan: BaselinePlan, data: TrainingData, features: FeatureTable, out: Path, fold: int) -> None:
    """Fit one fold and write its predictions of the validation part and the test set; a finished one is passed over.

    Nothing is fitted on either of these parts: neither their features nor their labels change a coefficient.

    Parameters
    ----------
    features : FeatureTable
        Of the same cohort as `data`, by `MolSubCore.cohort.features.build_features`.
    out : Path
        The run folder.

    Raises
    ------
    TrainingError
        If the features are of other lesions than the data, the plan has no such fold, a class has too few patients
        in the training part, or another process works on the fold.
    """
    if not 1 <= fold <= plan.folds:
        raise TrainingError("fold", f"is {fold}, the plan has folds 1 to {plan.folds}", "Choose one of them")
    if not np.array_equal(features.case_index, data.store.case_index):
        found = f"are of {len(features.case_index)} lesions, the patches of {len(data.store.case_index)} others"
        raise TrainingError("features", found, "Compute both from the same cohort, with the recipe's 'together'")
    with unfinished_fold(out, fold) as folder:
        if folder is not None:
            _train(plan, data, features, folder, fold)


def _train(plan: BaselinePlan, data: TrainingData, features: FeatureTable, folder: Path, fold: int) -> None:
    parts: set[str | int] = {part for part in data.partitions if part != "test"}
    training = data.select(parts - {fold})
    own = np.concatenate([features.values[training.indices, None], features.perturbed[training.indices]], axis=1)
    robust = np.flatnonzero(reliability(own) >= plan.robust)
    if not robust.size:
        found = f"leaves no feature with an ICC of {plan.robust:g} under small changes of outline and noise"
        raise TrainingError("training part", found, "Use more patients, or leave out the radiomics baselines")
    model = fit_model(
        BASELINES[plan.architecture],
        features.values[training.indices][:, robust],
        training.labels,
        [data.study_ids[index] for index in training.indices],
        plan.classes,
        search=plan.search,
        correlation=plan.correlation,
        inner_folds=plan.inner_folds,
        seed=derive_seed(plan.seed, "fold", fold, plan.architecture) % 2**32,
    )
    for name, part in (("predictions", data.select({fold})), ("test_predictions", data.select({"test"}))):
        logits = model.log_probabilities(features.values[part.indices][:, robust])
        write_predictions(folder / f"{name}.csv", data.predictions(part, logits, plan.classes))
    names = [features.names[column] for column in robust]
    summary = _summary(model, names, fold, len(training.indices)) | {"features_hash": features.data_hash()}
    rows = data.predictions(training, np.zeros((len(training), 1)), ()).scores()
    shares = class_shares(rows, len(plan.classes), 1.0).to_dict(plan.classes)
    write_json(folder / "done.json", summary | {SHARES: shares, "sha256": frozen(folder)})


def _summary(model: FittedModel, names: list[str], fold: int, rows: int) -> dict[str, Any]:
    return {
        "fold": fold,
        "training_lesions": rows,
        "parameters": model.parameters,
        "inner_auc": model.score,
        "robust_features": len(names),
        "features": [names[column] for column in model.columns],
    }
