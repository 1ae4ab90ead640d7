"""Training checkpoints: one safetensors file that holds all that the next epoch needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from MolSubCore.errors import TrainingError, reason_of
from MolSubCore.files import atomic_path
from MolSubCore.native import native_name

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
