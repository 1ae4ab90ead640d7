"""Model bundles with their weights: write, read, run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.torch import load, save
from torch import Tensor, nn

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.errors import BundleError
from MolSubCore.models.card import (
    CARD,
    FORMAT,
    FORMAT_VERSION,
    FUSED_VERSION,
    card_bytes,
    check_recipe,
    now,
    read_card,
    read_member,
    without_steps,
    write_entries,
)
from MolSubCore.models.device import resolve_device, whole_float32
from MolSubCore.models.fused import FLIPS, Fused, Outputs, read_fused
from MolSubCore.models.registry import get_architecture, model_without_weights, resolve_layer
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
    fused : Fused or None
        What is made of the networks' outputs; None where it is the mean of their probabilities.
    """

    card: dict[str, Any]
    models: tuple[nn.Module, ...]
    device: torch.device
    fused: Fused | None = None

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        """Normalised patches (N, 1, size, size) to logits (members, N, classes), float32."""
        with whole_float32():
            return torch.stack([model(inputs.to(self.device)).float() for model in self.models])

    @torch.inference_mode()
    def outputs(self, inputs: Tensor) -> Outputs:
        """All that the fusion needs of normalised patches (N, 1, size, size)."""
        features: list[Tensor] = []

        def keep(layer: nn.Module, given: tuple[Any, ...]) -> None:
            features.append(given[0].float())

        head, wanted = get_architecture(self.card["architecture"]).head, self.fused is not None and self.fused.features
        hooks = [resolve_layer(model, head).register_forward_pre_hook(keep) for model in self.models if wanted]
        try:
            logits = self.logits(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        flips = [axes for axes in FLIPS.values() if axes] if self.fused and self.fused.flips else []
        flipped = torch.stack([self.logits(inputs.flip(axes)) for axes in flips]) if flips else None
        kept = torch.stack(features) if features else None
        return Outputs(*(None if one is None else one.double().cpu().numpy() for one in (logits, flipped, kept)))  # type: ignore[arg-type]

    def without_steps(self, steps: int) -> Bundle:
        """The model that ends after so many steps of the fusion: what is predicted with where a value is missing."""
        assert self.fused is not None
        fused = Fused(self.fused.steps[:steps]) if steps else None
        return replace(self, card=without_steps(self.card, steps), fused=fused)

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
    fusion: dict[str, Any] | None = None,
    files: Mapping[str, bytes] = MappingProxyType({}),
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
    fusion : dict, optional
        ``steps`` and ``bases``; `files` are those that the steps name.

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
        "format_version": FUSED_VERSION if fusion else FORMAT_VERSION,
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
        **({"fusion": fusion} if fusion else {}),
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
    write_entries(path, {CARD: card_bytes(card), **blobs, **files}, overwrite=overwrite)
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
    fused = _fused(path, card)
    return Bundle(card, tuple(_member(path, card, member, target) for member in card["members"]), target, fused)


def _fused(path: Path, card: dict[str, Any]) -> Fused | None:
    steps = [step for step in (card.get("fusion") or {}).get("steps", ()) if "file" in step]
    try:
        arrays = {step["file"]: load_arrays(read_member(path, step)) for step in steps}
        return read_fused(card, arrays)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BundleError(path, f"has a fusion that does not fit its model ({error})", "Export it again") from None


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
