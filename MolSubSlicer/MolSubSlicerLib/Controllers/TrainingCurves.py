"""Curves of a training, as its events tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METRICS = ("train_loss", "val_loss", "train_auc", "val_auc")


class TrainingCurves:
    """Loss and AUC by fold and epoch.

    Attributes
    ----------
    epochs : int
        Of the plan; 0 before it is known.
    """

    def __init__(self) -> None:
        self._values: dict[int, dict[int, dict[str, float | None]]] = {}
        self.epochs = 0

    def add(self, values: Mapping[str, Any]) -> None:
        """Take in a progress event; those without an epoch's metrics change nothing, one told again replaces."""
        if "fold" not in values or "epoch" not in values:
            return
        self.epochs = int(values.get("epochs") or self.epochs)
        if METRICS[0] in values:
            fold = self._values.setdefault(int(values["fold"]), {})
            fold[int(values["epoch"])] = {name: values.get(name) for name in METRICS}

    def folds(self) -> list[int]:
        """Folds of which there is an epoch."""
        return sorted(self._values)

    def curve(self, fold: int, metric: str) -> list[tuple[int, float]]:
        """Epoch and value, in the order of the epochs; undefined values are left out."""
        found = ((epoch, row[metric]) for epoch, row in sorted(self._values.get(fold, {}).items()))
        return [(epoch, value) for epoch, value in found if value is not None]
