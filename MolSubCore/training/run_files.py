"""The files of a finished run, read and checked once for all who need them.

::

    RUN/plan.json, evaluation.json
    RUN/fold-N/predictions.csv, test_predictions.csv, best.safetensors, done.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from MolSubCore.errors import TrainingError, listed
from MolSubCore.files import read_json, sha256_file
from MolSubCore.statistics.calibration import ClassShares
from MolSubCore.statistics.scores import Predictions, Scores, read_predictions
from MolSubCore.training.sampling import class_shares

#: Between a model's name and the kind of a fusion made of its run.
FUSION = "+"
#: Between task and model in the name of a study's run.
SEPARATOR = "--"
#: The fusions of a finished run, with their titles.
FUSION_TITLES = {
    "tta": "Test-time augmentation",
    "views-mean": "Mean of the views' logits",
    "views-learned": "Learned fusion of CC and MLO features",
    "clinical": "Image and clinical columns",
    "clinical-only": "Clinical columns without the image",
}


#: A fold's predictions of its validation part and of the test set: written once, and then never changed.
FROZEN = ("predictions.csv", "test_predictions.csv")
WEIGHTS = "best.safetensors"
#: What a fusion of a fold was fitted to: `MolSubCore.models.fused.ARRAYS` by name, float64.
FITTED = "fitted.safetensors"
#: Key of a fold's ``done.json``: shares of the classes in its training part.
SHARES = "class_shares"
_ALSO_KEPT = (WEIGHTS, "tta_predictions.csv", "tta_test_predictions.csv", "features.npz")


def frozen(folder: Path) -> dict[str, str]:
    """SHA-256 of a fold's predictions, for its ``done.json``."""
    return {name: sha256_file(folder / name) for name in FROZEN}


def written_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of all that is made of a finished fold later, for its ``done.json``: predictions, weights, extras."""
    kept = [name for name in _ALSO_KEPT if (folder / name).is_file()]
    return frozen(folder) | {name: sha256_file(folder / name) for name in kept}


def check_written(path: Path) -> None:
    """Refuse a file of a fold that is no longer as the training wrote it, by the fold's ``done.json``.

    Folds of before have the hashes of their predictions only, or none.

    Raises
    ------
    TrainingError
    """
    done = path.with_name("done.json")
    content = read_json(done) if done.is_file() else {}
    hashes = content.get("sha256") if isinstance(content, dict) else None
    written = hashes.get(path.name) if isinstance(hashes, dict) else None
    if written is None:
        return
    remedy = "Put it back, or remove the fold's folder and train it again"
    if not path.is_file():
        raise TrainingError(path, "is missing, expected as the training wrote it", remedy)
    if written != sha256_file(path):
        raise TrainingError(path, "is not as the training wrote it", remedy)


def check_weights(run: Path, number: int) -> None:
    """`check_written` for the weights of a fold."""
    check_written(run / f"fold-{number}" / WEIGHTS)


def run_inputs(run: Path, plan: dict[str, Any]) -> str:
    """SHA-256 of all predictions of a finished run: what its evaluation was made of."""
    hashes = [frozen(run / f"fold-{number}") for number in fold_numbers(plan)]
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def read_plan(run: Path) -> dict[str, Any]:
    """``plan.json`` of a run, finished or not; TrainingError if there is none."""
    if not (run / "plan.json").is_file():
        raise TrainingError(run, "holds no run (no plan.json)", "Give the folder that molsub train wrote")
    plan: dict[str, Any] = read_json(run / "plan.json")
    if not isinstance(plan, dict) or not {"task", "architecture", "folds", "classes", "positive"} <= set(plan):
        found = "holds something else than a run (its plan.json is of another kind)"
        raise TrainingError(run, found, "Give the folder that molsub train wrote")
    return plan


def fold_numbers(plan: dict[str, Any]) -> range:
    """The folds of a plan, from 1."""
    return range(1, int(plan["folds"]) + 1)


def missing_folds(run: Path, plan: dict[str, Any]) -> list[int]:
    """Folds of the plan without a result."""
    return [number for number in fold_numbers(plan) if not (run / f"fold-{number}" / "done.json").is_file()]


def finished_plan(run: Path) -> dict[str, Any]:
    """``plan.json`` of a run whose folds are all finished.

    Raises
    ------
    TrainingError
        If there is no run, or folds are missing.
    """
    plan = read_plan(run)
    if missing := missing_folds(run, plan):
        found = f"lacks {listed('fold', missing)}"
        raise TrainingError(run, found, "Finish it with molsub train ... --resume")
    return plan


def fold_predictions(
    run: Path, plan: dict[str, Any], part: Literal["predictions", "test_predictions"]
) -> dict[int, Predictions]:
    """Predictions of every fold by its number: of its validation part, or of the test set.

    Raises
    ------
    TrainingError
        If a file is of other classes than the plan.
    MolSubError
        If a file is missing or damaged, or no longer as the fold wrote it.
    """
    classes, found = tuple(plan["classes"]), {}
    for number in fold_numbers(plan):
        path = run / f"fold-{number}" / f"{part}.csv"
        found[number] = read_predictions(path)
        check_written(path)
        if found[number].classes != classes:
            named = f"is of the classes {', '.join(found[number].classes)}, the plan has {', '.join(classes)}"
            raise TrainingError(path, named, "Remove this run, and train it again")
    return found


def training_shares(
    run: Path, plan: dict[str, Any], number: int, validation: Mapping[int, Predictions]
) -> ClassShares | None:
    """Shares of the classes that a fold's training saw, and those of its patients.

    Runs of before did not record them: they follow from the other folds' validation parts; with one fold they are not
    known.
    """
    classes = tuple(plan["classes"])
    if recorded := read_json(run / f"fold-{number}" / "done.json").get(SHARES):
        return ClassShares.from_dict(recorded, classes)
    others = [part.scores() for n, part in validation.items() if n != number]
    rate = plan.get("oversampling") or 1.0  # radiomics and fusions weight the classes as they are
    return class_shares(Scores.pooled(others), len(classes), rate) if others else None
