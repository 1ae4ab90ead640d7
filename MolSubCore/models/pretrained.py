"""ImageNet weights for one grey channel (paper, section 2.3.1): the stem is the mean over the colour channels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from MolSubCore.errors import BundleError
from MolSubCore.files import sha256_file
from MolSubCore.models.registry import build_model, get_architecture

#: torchvision's file names its layers ``norm.1`` where the modules are called ``norm1``.
_OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")
_DOWNLOAD = "https://download.pytorch.org/models/densenet121-a639ec97.pth"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Weights that a model starts from, under this project's names.

    Attributes
    ----------
    name : str
        What a training plan records: ``none``, ``auto``, or the SHA-256 of the file.
    weights : dict of str to Tensor
        All of the backbone; empty for ``none``.
    """

    name: str
    weights: dict[str, Tensor]


NO_PRETRAINED = Pretrained("none", {})


def read_pretrained(architecture: str, source: str) -> Pretrained:
    """Read ImageNet weights for an architecture, checked to fit it.

    Parameters
    ----------
    architecture : str
    source : str
        ``auto`` (torchvision's download, kept in torch's cache), ``none``, or a local file: torchvision's
        ``.pth`` or a ``.safetensors`` with the same keys.

    Raises
    ------
    BundleError
        Without network and file, or if the file holds other weights.
    """
    if source == "none":
        return NO_PRETRAINED
    if source == "auto":
        name, weights = "auto", _download(get_architecture(architecture).pretrained)
    else:
        weights, name = _read(Path(source)), sha256_file(source)
    plain = {_OLD_NAME.sub(r"\1\2", key): value for key, value in weights.items()}
    return Pretrained(name, _fitted(architecture, plain, source))


def load_pretrained(model: nn.Module, pretrained: Pretrained) -> None:
    """Give a model its ImageNet weights; its classifier and attention stay as they are."""
    model.load_state_dict(pretrained.weights, strict=False)


def _download(name: str) -> dict[str, Tensor]:
    from torchvision.models import get_model_weights

    try:
        return dict(get_model_weights(name).IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        raise BundleError(
            "pretrained weights",
            f"cannot be downloaded ({error})",
            f"Fetch {_DOWNLOAD} elsewhere and give it as --pretrained FILE, or use --pretrained none",
        ) from None


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
            raise ValueError("no dictionary of tensors")
    except FileNotFoundError:
        raise BundleError(path, "does not exist", "Give --pretrained auto, none or an existing file") from None
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise BundleError(path, f"is no weight file of torchvision ({reason})", f"Fetch {_DOWNLOAD}") from None
    return dict(weights)


def _fitted(architecture: str, weights: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Every backbone weight exactly once, by our names; anything left over or missing is an error that names it."""
    with torch.device("meta"):
        own = build_model(architecture, 2).state_dict()
    fitted: dict[str, Tensor] = {}
    for key, value in weights.items():
        if key.startswith("classifier."):
            continue
        target = _target_key(key, own)
        if key == "features.conv0.weight":
            value = value.mean(dim=1, keepdim=True)
        if target is None or own[target].shape != value.shape:
            found = (
                "is unknown"
                if target is None
                else f"has shape {tuple(value.shape)}, expected {tuple(own[target].shape)}"
            )
            raise BundleError(source, f"weight {key} {found}", "Give the weights of torchvision's densenet121")
        fitted[target] = value
    missing = [k for k in own if k not in fitted and not re.search(r"attention|classifier|num_batches", k)]
    if missing:
        raise BundleError(source, f"lacks {len(missing)} weights, first {missing[0]}", "Give torchvision's densenet121")
    return fitted


def _target_key(key: str, own: dict[str, Tensor]) -> str | None:
    """Our name of a torchvision weight: stem and attended blocks are wrapped in a Sequential."""
    wrapped = re.sub(r"^features\.(conv0|denseblock[123])\.", r"features.\1.0.", key)
    return next((name for name in (wrapped, key) if name in own), None)
