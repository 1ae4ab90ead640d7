"""Features and test-time augmentation of a trained fold, while its best model is in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp
from torch import Tensor, nn

from MolSubCore.imaging.recipes import Recipe
from MolSubCore.models.registry import get_architecture, resolve_layer
from MolSubCore.predictions import write_predictions
from MolSubCore.training.extra_files import (
    FEATURES,
    FLIPS,
    TTA_TEST,
    TTA_VALIDATION,
    Features,
    read_features,
    write_features,
)
from MolSubCore.training.loop import PatchSet, predict_logits
from MolSubCore.training.plan import Plan
from MolSubCore.training.run import TrainingData


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
    everything = data.select(set(data.partitions))
    head = resolve_layer(model, get_architecture(plan.architecture).head)
    parts: list[NDArray[np.float16]] = []

    def keep(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        limit = torch.finfo(torch.float16).max
        parts.append(inputs[0].detach().float().clamp(-limit, limit).half().cpu().numpy())

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
    recipe = Recipe.from_dict(plan.recipe)
    flipped = [predict_logits(_Flipped(model, axes), part, plan, recipe) for axes in FLIPS.values() if axes]
    logs = log_softmax(np.stack([plain, *flipped]).astype(np.float64), axis=2)
    return np.asarray(logsumexp(logs, axis=0) - np.log(len(logs)), np.float64)


class _Flipped(nn.Module):
    """A model that sees its input reversed along some axes."""

    def __init__(self, model: nn.Module, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.axes = model, axes

    def forward(self, x: Tensor) -> Tensor:
        """As the model's."""
        logits: Tensor = self.model(x.flip(self.axes))
        return logits
