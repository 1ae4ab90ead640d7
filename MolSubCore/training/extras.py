"""Features and test-time augmentation of a trained fold, while its best model is in memory."""

from __future__ import annotations

import dataclasses
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from MolSubCore.errors import TrainingError, reason_of
from MolSubCore.files import atomic_path, open_file
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.models.fused import FLIPS
from MolSubCore.models.registry import get_architecture, resolve_layer
from MolSubCore.statistics.scores import Predictions, write_predictions
from MolSubCore.training.plan import Plan
from MolSubCore.training.run_files import check_written

if TYPE_CHECKING:  # fusions read what is here without PyTorch
    from torch import Tensor, nn

    from MolSubCore.training.loop import PatchSet
    from MolSubCore.training.run import TrainingData

FEATURES = "features.npz"
TTA_VALIDATION = "tta_predictions.csv"
TTA_TEST = "tta_test_predictions.csv"

_TEXT = ("study_id", "lesion", "laterality", "view")
_ARRAYS = (*_TEXT, "case", "label", "logits")


@dataclass(frozen=True, eq=False)
class Features:
    """What one fold's model makes of every patch of the store, in store order.

    Attributes
    ----------
    values : ndarray of float32, shape (N, D)
        Input of the architecture's last layer; float16 in runs of before.
    partition : ndarray of str, shape (N,)
        ``test``, or the number of the fold in which the patient is in the validation part; 0 for none.
    predictions : Predictions
        Logits of the same pass, with patient, image, lesion, view and label. Mind that the model was trained on all
        partitions but ``test`` and its own fold's.
    """

    values: NDArray[np.float32] | NDArray[np.float16]
    partition: NDArray[np.str_]
    predictions: Predictions


def write_features(path: Path, features: Features) -> None:
    """Write an npz, whole or not at all; equal features give equal bytes."""
    rows = features.predictions
    arrays = {name: getattr(rows, name) for name in _ARRAYS}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, features=features.values, partition=features.partition, classes=np.array(rows.classes), **arrays)


def read_features(path: Path) -> Features:
    """Read what `write_features` wrote; nothing in the file is run.

    Raises
    ------
    TrainingError
        If the file is missing, of another form, or no longer as the training wrote it.
    """
    check_written(path)
    try:
        with open_file(path) as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("features", "partition", "classes", *_ARRAYS)}
        count, shape = len(arrays["features"]), arrays["features"].shape
        if len(shape) != 2 or any(len(arrays[name]) != count for name in ("partition", *_ARRAYS)):
            raise ValueError("arrays of different lengths")
        if not np.isfinite(arrays["features"]).all():
            raise ValueError("a feature is not a finite number")
        fields = {field.name: arrays[field.name] for field in dataclasses.fields(Predictions)}
        rows = Predictions(**(fields | {"classes": tuple(arrays["classes"].tolist())}))
        return Features(arrays["features"], arrays["partition"], rows)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        found = f"holds no features ({reason_of(error)})"
        raise TrainingError(path, found, "Delete it and run this fold again") from None


def write_extras(model: nn.Module, plan: Plan, data: TrainingData, fold: int, folder: Path) -> None:
    """Write ``features.npz``, ``tta_predictions.csv`` and ``tta_test_predictions.csv``; files that exist are kept.

    One pass over all patches gives features and plain logits together; test-time augmentation costs three more over
    the validation and test part. The same model and data give the same bytes.

    Parameters
    ----------
    model : nn.Module
        With the best epoch's weights, on the plan's device; left in eval mode.
    plan : Plan
    data : TrainingData
    fold : int
        From 1: its patients are the validation part.
    folder : Path
        The fold's, with its checkpoints and predictions.
    """
    file = folder / FEATURES
    if file.exists():
        features = read_features(file)
    else:
        features = compute_features(model, plan, data)
        write_features(file, features)
    for name, partition in ((TTA_VALIDATION, fold), (TTA_TEST, "test")):
        if not (folder / name).exists():
            part = data.select({partition})
            rows = data.predictions(part, features.predictions.logits[part.indices].astype(np.float32), plan.classes)
            write_predictions(folder / name, replace(rows, logits=flipped_mean(model, plan, part, rows.logits)))


def compute_features(model: nn.Module, plan: Plan, data: TrainingData) -> Features:
    """Penultimate features and logits of every patch of the store, in one pass."""
    from MolSubCore.training.loop import predict_logits

    everything = data.select(set(data.partitions))
    head = resolve_layer(model, get_architecture(plan.architecture).head)
    parts: list[NDArray[np.float32]] = []

    def keep(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        parts.append(inputs[0].detach().float().cpu().numpy())

    handle = head.register_forward_pre_hook(keep)
    try:
        logits = predict_logits(model, everything, plan, Recipe.from_dict(plan.recipe))
    finally:
        handle.remove()
    partition = np.array([str(part) for part in data.partitions])
    return Features(np.concatenate(parts), partition, data.predictions(everything, logits, plan.classes))


def flipped_mean(model: nn.Module, plan: Plan, part: PatchSet, plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the mean probabilities over `FLIPS`, shape (N, classes): as logits they give that mean back.

    `plain` are the logits of the patches as they are, so that they need no pass of their own.
    """
    from torch import nn

    from MolSubCore.training.loop import predict_logits

    class Flipped(nn.Module):
        """The model, which sees its input reversed along some axes."""

        def __init__(self, axes: tuple[int, ...]) -> None:
            super().__init__()
            self.model, self.axes = model, axes

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.model(x.flip(self.axes))
            return logits

    recipe = Recipe.from_dict(plan.recipe)
    flipped = [predict_logits(Flipped(axes), part, plan, recipe) for axes in FLIPS.values() if axes]
    logs = log_softmax(np.stack([plain, *flipped]).astype(np.float64), axis=2)
    return np.asarray(logsumexp(logs, axis=0) - np.log(len(logs)), np.float64)
