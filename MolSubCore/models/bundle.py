"""Model bundles with their weights: write, read, run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.errors import BundleError
from MolSubCore.models.card import (
    CARD,
    FORMAT,
    FORMAT_VERSION,
    card_bytes,
    check_recipe,
    now,
    read_card,
    read_member,
    write_entries,
)
from MolSubCore.models.device import resolve_device, whole_float32
from MolSubCore.models.registry import model_without_weights
from MolSubCore.models.unpickle import is_finite
from MolSubCore.tasks import get_task


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model ready to predict: one member, or several whose probabilities are averaged.

    Attributes
    ----------
    card : dict
        See `MolSubCore.models.card`.
    models : tuple of nn.Module
        In eval mode, on `device`, without gradients for their weights.
    device : torch.device
    """

    card: dict[str, Any]
    models: tuple[nn.Module, ...]
    device: torch.device

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        """Normalised patches (N, 1, size, size) to logits (members, N, classes), float32."""
        with whole_float32():
            return torch.stack([model(inputs.to(self.device)).float() for model in self.models])

    def to_probabilities(self, logits: Tensor) -> Tensor:
        """Logits (members, N, classes) to probabilities (N, classes) of single lesions: mean of the members' softmax.

        They are not calibrated yet: `MolSubCore.prediction.calibrated` does that to a patient's mean. Bundles of before
        say otherwise: a temperature in the card divides the logits, and a recalibration that acts on no patient changes
        the probabilities of each lesion.
        """
        scaled = logits.double() / float(self.card.get("temperature") or 1.0)
        found = torch.softmax(scaled, dim=-1).mean(dim=0)
        if (change := self.card.get("recalibration")) and not change.get("acts_on"):
            logs = found.clamp_min(torch.finfo(torch.float64).tiny).log()
            intercepts = torch.tensor(change["intercepts"], dtype=torch.float64, device=found.device)
            found = torch.softmax(float(change["slope"]) * logs + intercepts, dim=-1)
        return found

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Normalised patches (N, 1, size, size) to probabilities (N, classes), float64."""
        return self.to_probabilities(self.logits(inputs))


def write_bundle(
    path: Path,
    members: Sequence[Mapping[str, Tensor]],
    *,
    architecture: str,
    task: str,
    classes: Sequence[str],
    recipe: dict[str, Any],
    dropout: float,
    training: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    calibration: dict[str, Any] | None = None,
    thresholds: Sequence[dict[str, Any]] = (),
    vendors: Sequence[str] = (),
    synthetic: bool = False,
    class_order_verified: bool = True,
    class_order_source: str = "trained here",
    warnings: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write a bundle, whole or not at all.

    Parameters
    ----------
    path : Path
        A file if it ends in ``.molsub``, else a folder.
    members : sequence of state dicts
        One per member.
    classes : sequence of str
        In the order of the logits.
    recipe : dict
        The preprocessing recipe, whole.
    training, metrics : dict, optional
        What is known about the training; metrics on its validation and test sets.
    calibration : dict, optional
        `MolSubCore.statistics.calibration.CalibrationMap.to_dict`, of the mean over members, lesions and views.
    thresholds : sequence of dict
        Of the calibrated probability, chosen on validation: ``rule, value, positive, sensitivity, specificity,
        patients``.
    vendors : sequence of str
        Manufacturers in the training cohort.

    Raises
    ------
    MolSubError
        If `path` exists and `overwrite` is false, or a weight is not finite.
    """
    if not all(is_finite(weights) for weights in members):
        raise BundleError(path, "would hold weights that are not finite", "Train or choose another model")
    blobs = {f"model-{n}.safetensors": _blob(weights) for n, weights in enumerate(members, start=1)}
    card = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": path.stem,
        "architecture": architecture,
        "task": task,
        "classes": list(classes),
        "positive": get_task(task).positive,
        "class_order_verified": class_order_verified,
        "class_order_source": class_order_source,
        "recipe": recipe,
        "dropout": dropout,
        "calibration": calibration,
        "recalibration": None,
        "thresholds": list(thresholds),
        "members": [{"file": name, "sha256": hashlib.sha256(blob).hexdigest()} for name, blob in blobs.items()],
        "training": training or {},
        "metrics": metrics or {},
        "vendors": list(vendors),
        "synthetic": synthetic,
        "warnings": list(warnings),
        "intended_use": DISCLAIMER,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"first version; class order: {class_order_source}"},
        "software": {"MolSubCore": __version__, "torch": torch.__version__, "numpy": numpy.__version__},
        "created": now(),
    }
    write_entries(path, {CARD: card_bytes(card), **blobs}, overwrite=overwrite)
    return path


def _blob(weights: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.detach().to("cpu").contiguous() for name, tensor in weights.items()})


def read_bundle(path: str | Path, *, device: str = "cpu") -> Bundle:
    """Read a bundle's card and weights.

    Parameters
    ----------
    path : path
        A folder or a ``.molsub`` file.
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    BundleError
        If anything in it is missing, damaged, or of another version.
    """
    path = Path(path)
    card = read_card(path)
    check_recipe(path, card)
    target = resolve_device(device)
    return Bundle(card, tuple(_member(path, card, member, target) for member in card["members"]), target)


def _member(path: Path, card: dict[str, Any], member: dict[str, str], device: torch.device) -> nn.Module:
    data = read_member(path, member)
    model = model_without_weights(card["architecture"], len(card["classes"]), dropout=float(card["dropout"]))
    try:
        weights = load(data)
        for name, value in model.state_dict().items():
            if name in weights and weights[name].dtype != value.dtype:
                raise RuntimeError(f"{name} is {weights[name].dtype}, expected {value.dtype}")
        model.load_state_dict(weights, assign=True)
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        found = f"{member['file']} does not fit {card['architecture']} ({reason})"
        raise BundleError(path, found, "Export it again") from None
    if not is_finite(weights):
        raise BundleError(path, f"{member['file']} holds weights that are not finite", "Export another model")
    model.eval().requires_grad_(False)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
