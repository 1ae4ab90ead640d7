"""Training of one fold: epochs, validation, the best epoch, early stopping, checkpoints."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from MolSubCore.errors import TrainingError, reason_of
from MolSubCore.files import atomic_path, write_text
from MolSubCore.imaging.io.native import native_name
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.models.device import to_input, whole_float32
from MolSubCore.training.data import draw_transforms, warp
from MolSubCore.training.plan import Plan, derive_seed
from MolSubCore.training.run_files import WEIGHTS
from MolSubCore.training.sampling import epoch_order

_MODEL = "model."
_OPTIMIZER = "optimizer."


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, state: dict[str, Any]
) -> None:
    """Write model, optimizer (if given) and `state` (JSON-ready) to `path` atomically."""
    tensors = {_MODEL + name: value for name, value in model.state_dict().items()}
    if optimizer is not None:
        for name, parameter in model.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{_OPTIMIZER}{name}.{key}"] = value
    plain = {name: value.detach().to("cpu").contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata={"state": json.dumps(state)})


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Fill model and optimizer from `path`; return its state.

    Raises
    ------
    TrainingError
        If the file cannot be read, or belongs to another architecture.
    """
    try:
        with native_name(path) as name, safe_open(name, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            state = json.loads(file.metadata()["state"])
        weights = {n.removeprefix(_MODEL): t for n, t in tensors.items() if n.startswith(_MODEL)}
        model.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        found = f"is not a checkpoint of this plan ({reason_of(error)})"
        raise TrainingError(path, found, "Delete it and resume") from None
    if optimizer is not None:
        _fill_optimizer(model, optimizer, tensors)
    return state


def _fill_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        prefix = f"{_OPTIMIZER}{name}."
        entries = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        for key, value in entries.items():
            if key == "step":  # AdamW keeps it on the CPU
                optimizer.state[parameter][key] = value
            else:
                optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(value)


#: Temporary names of the library that writes checkpoints.
_OF_SAFETENSORS = re.compile(r"\.tmp[A-Za-z0-9]{6}")


@dataclass(frozen=True)
class Event:
    """One sign of life from the training, for progress bars and live curves.

    Attributes
    ----------
    kind : {'step', 'epoch', 'fold'}
        After a step, after an epoch, after a finished fold.
    fold, epoch, step, steps : int
        Fold from 1, epoch from 1, step from 1 and steps in this epoch.
    values : dict
        ``loss`` after a step; a row of metrics.csv after an epoch; done.json after a fold.
    """

    kind: Literal["step", "epoch", "fold"]
    fold: int
    epoch: int = 0
    step: int = 0
    steps: int = 0
    values: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


@dataclass(frozen=True)
class PatchSet:
    """Patches of one partition: un-normalised, as in the patch store, with class indices."""

    patches: NDArray[Any]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)


def autocast(plan: Plan) -> contextlib.AbstractContextManager[Any]:
    """The plan's precision as a context, of the training steps alone."""
    return torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16")


@torch.inference_mode()
def predict_logits(model: nn.Module, data: PatchSet, plan: Plan, recipe: Recipe) -> NDArray[np.float32]:
    """Logits of every patch, shape (N, classes), in the order of `data`; the model is left in eval mode.

    In float32 whatever the precision of the training: these are the logits of the bundle that is made of the model.
    """
    model.eval()
    parts = []
    for start in range(0, len(data), plan.batch_size):
        batch = data.indices[start : start + plan.batch_size]
        with whole_float32():
            parts.append(model(to_input(data.patches[batch], recipe, plan.device)).float().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, len(plan.classes)), np.float32)


class FoldTrainer:
    """Trains one fold of a plan in its folder; killed at any moment, it goes on from its last epoch.

    Parameters
    ----------
    model : nn.Module
        Freshly built and, where the plan says so, pretrained; on the plan's device.
    plan : Plan
    fold : int
        From 1.
    train, validation : PatchSet
    folder : Path
        Receives ``metrics.csv``, ``last.safetensors``, ``best.safetensors``.
    listener : callable, optional
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        fold: int,
        train: PatchSet,
        validation: PatchSet,
        folder: Path,
        listener: Listener | None = None,
    ) -> None:
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plan, self.fold, self.train, self.validation = plan, fold, train, validation
        self.folder, self.listen = folder, listener or (lambda event: None)
        self.recipe = Recipe.from_dict(plan.recipe)
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=plan.learning_rate,
            betas=(plan.beta1, plan.beta2),
            weight_decay=plan.weight_decay,
        )
        self.history: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """Train to the end; return ``{"epochs", "best_epoch", "best_value", "stopped_early"}``.

        The model holds the best epoch's weights afterwards.
        """
        self._resume()
        while not self._finished():
            epoch = len(self.history)
            row = self._epoch(epoch)
            self.history.append(row)
            # Best before last: killed between the two, the epoch is done again and gives the same.
            if self.best()["epoch"] == row["epoch"]:
                # Without times: the same training gives the same bytes, whose hash is in done.json.
                kept = {name: value for name, value in row.items() if not name.endswith("seconds")}
                save_checkpoint(self.folder / WEIGHTS, self.model, None, {"row": kept})
            save_checkpoint(self.folder / "last.safetensors", self.model, self.optimizer, {"history": self.history})
            self._write_metrics()
            self.listen(Event("epoch", self.fold, row["epoch"], values=row))
        load_checkpoint(self.folder / WEIGHTS, self.model)
        best = self.best()
        return {
            "epochs": len(self.history),
            "best_epoch": best["epoch"],
            "best_value": best[self.plan.monitor],
            "stopped_early": len(self.history) < self.plan.epochs,
        }

    def best(self) -> dict[str, Any]:
        """The best epoch's row so far; the earliest of equals. An undefined AUC counts as worst."""
        sign = -1.0 if self.plan.monitor == "val_loss" else 1.0
        return max(
            self.history, key=lambda row: -np.inf if row[self.plan.monitor] is None else sign * row[self.plan.monitor]
        )

    def _finished(self) -> bool:
        done = len(self.history)
        return done >= self.plan.epochs or (done > 0 and done - self.best()["epoch"] >= self.plan.patience)

    def _resume(self) -> None:
        last = self.folder / "last.safetensors"
        if last.exists():
            self.history = load_checkpoint(last, self.model, self.optimizer)["history"]
        for leftover in self.folder.iterdir():  # of safetensors; ours went when the fold was locked
            if _OF_SAFETENSORS.fullmatch(leftover.name) and leftover.is_file():
                leftover.unlink()
        if self.history:
            self._write_metrics()

    def _epoch(self, epoch: int) -> dict[str, Any]:
        plan, started = self.plan, time.perf_counter()
        rate = plan.learning_rate_at(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(derive_seed(plan.seed, "fold", self.fold, "epoch", epoch, "dropout"))
        self.model.train()
        losses, logits, labels, waited = [], [], [], 0.0
        order = epoch_order(
            self.train.labels, plan.oversampling, derive_seed(plan.seed, "fold", self.fold, "epoch", epoch, "order")
        )
        steps = -(-len(order) // plan.batch_size)
        fetch_started = time.perf_counter()
        for step, (inputs, target) in enumerate(self._batches(order, epoch), start=1):
            waited += time.perf_counter() - fetch_started
            loss, output = self._step(inputs, target)
            if not math.isfinite(loss):
                found = f"diverged in epoch {epoch + 1} at step {step}: its loss is {loss}"
                raise TrainingError(f"fold {self.fold}", found, f"Choose a learning rate below {plan.learning_rate:g}")
            losses.append(loss * len(target))
            logits.append(output)
            labels.append(target.cpu().numpy())
            self.listen(Event("step", self.fold, epoch + 1, step, steps, {"loss": loss}))
            fetch_started = time.perf_counter()
        val_logits = predict_logits(self.model, self.validation, plan, self.recipe)
        return {
            "epoch": epoch + 1,
            "learning_rate": rate,
            "train_loss": sum(losses) / len(order),
            "train_auc": macro_auc(np.concatenate(logits), np.concatenate(labels)),
            **_validation_row(val_logits, self.validation.labels),
            "seconds": round(time.perf_counter() - started, 3),
            "data_seconds": round(waited, 3),
        }

    def _batches(self, order: NDArray[np.int64], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(
            derive_seed(self.plan.seed, "fold", self.fold, "epoch", epoch, "augmentation")
        )
        for start in range(0, len(order), self.plan.batch_size):
            batch = order[start : start + self.plan.batch_size]
            transforms = draw_transforms(len(batch), self.plan.augmentation, generator)
            inputs = to_input(self.train.patches[self.train.indices[batch]], self.recipe, self.plan.device)
            inputs = warp(inputs, transforms, self.plan.augmentation)
            yield inputs, torch.from_numpy(self.train.labels[batch]).to(self.plan.device)

    def _step(self, inputs: Tensor, target: Tensor) -> tuple[float, NDArray[np.float32]]:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.plan):
            output = self.model(inputs)
        loss = functional.cross_entropy(output.float(), target)
        loss.backward()
        self.optimizer.step()
        return loss.item(), output.detach().float().cpu().numpy()

    def _write_metrics(self) -> None:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, fieldnames=list(self.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_text(self.folder / "metrics.csv", buffer.getvalue())


def macro_auc(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float | None:
    """Mean one-vs-rest AUC over the classes that have patches on both sides; None when no class has."""
    scores = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    aucs = [
        roc_auc_score(labels == index, scores[:, index])
        for index in range(scores.shape[1])
        if 0 < np.count_nonzero(labels == index) < len(labels)
    ]
    return float(np.mean(aucs)) if aucs else None


def _validation_row(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float | None]:
    target = torch.from_numpy(labels)
    return {
        "val_loss": float(functional.cross_entropy(torch.from_numpy(logits), target)),
        "val_auc": macro_auc(logits, labels),
        "val_accuracy": float((logits.argmax(axis=1) == labels).mean()),
    }
