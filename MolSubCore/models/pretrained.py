"""ImageNet weights for one grey channel (paper, section 2.3.1): the stem is the mean over the colour channels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from MolSubCore.errors import BundleError, reason_of
from MolSubCore.files import sha256_file, why_no_file
from MolSubCore.imaging.io.native import native_name
from MolSubCore.models.card import is_archive
from MolSubCore.models.registry import ARCHITECTURES, Architecture, get_architecture, model_without_weights
from MolSubCore.models.unpickle import read_tensors

#: Where names in torchvision's files differ from those of its modules: DenseNet's ``norm.1`` is called ``norm1``,
#: ViT's ``mlp.linear_1`` is ``mlp.0``, ``mlp.linear_2`` is ``mlp.3``.
_OLD_NAMES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
#: The first PyTorch whose reader of files from before its version 1.6 runs nothing that is in them (CVE-2025-32434).
_SAFE = (2, 6)
#: Not in ImageNet files: our attention; in older ones also the counters of normalisation.
_NOT_EXPECTED = re.compile(r"(channel|spatial)_attention\.|num_batches_tracked$")


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Weights that a model starts from, under this project's names.

    Attributes
    ----------
    name : str
        What a training plan records: ``none``, ``auto``, or the SHA-256 of the file.
    weights : dict of str to Tensor
        All of the backbone, its stem only where the architecture fills it; empty for ``none``.
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
        ``kept`` (torchvision's file in torch's cache; nothing is downloaded), ``auto`` (the same,
        downloaded where it is missing), ``none``, or a local file: torchvision's ``.pth`` or a ``.safetensors``
        with the same keys. An architecture that is trained from scratch by definition gets none by ``kept`` and
        ``auto``.

    Raises
    ------
    BundleError
        If the architecture is unknown or takes no weights, or if they are missing, cannot be downloaded or do not fit.
    """
    known = get_architecture(architecture)
    if source == "none" or (source in ("kept", "auto") and known.pretrained is None):
        return NO_PRETRAINED
    if known.pretrained is None:
        takes = ", ".join(name for name, one in ARCHITECTURES.items() if one.pretrained)
        found = f"is {source}, but {architecture} is trained from scratch"
        raise BundleError("--pretrained", found, f"Leave it out, or choose one of {takes}")
    if source == "kept":
        _check_kept(known.pretrained)
    if source in ("kept", "auto"):
        name, weights = "auto", _download(known.pretrained)
    else:
        weights, name = _read(Path(source), known.pretrained), sha256_file(source)
    return Pretrained(name, _fitted(architecture, known, weights, source))


def load_pretrained(model: nn.Module, pretrained: Pretrained) -> None:
    """Give a model its ImageNet weights; its classifier and attention stay as they are."""
    model.load_state_dict(pretrained.weights, strict=False)


def _imagenet(name: str) -> Any:
    """torchvision's entry for the first ImageNet weights of a model: address and reader."""
    from torchvision.models import get_model_weights

    return get_model_weights(name)["IMAGENET1K_V1"]


def weight_file(name: str) -> str:
    """File name of torchvision's ImageNet weights of a model, as its address has it."""
    return str(_imagenet(name).url).rsplit("/", 1)[-1]


def _check_kept(name: str) -> None:
    """Refuse weights that would have to be downloaded."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / weight_file(name)
    if not file.is_file():
        remedy = (
            f"--pretrained auto downloads them; or download {_imagenet(name).url} elsewhere and give --pretrained FILE"
        )
        found = f"are not on this computer (no {file.name} for {name} in torch's cache)"
        raise BundleError("pretrained weights", found, f"{remedy}; --pretrained none trains from scratch")


def _download(name: str) -> dict[str, Tensor]:
    entry = _imagenet(name)
    try:
        return dict(entry.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        raise BundleError(
            "pretrained weights",
            f"cannot be downloaded ({reason_of(error)})",
            f"Download {entry.url} elsewhere and give it as --pretrained FILE, or use --pretrained none",
        ) from None


def _read(path: Path, name: str) -> dict[str, Tensor]:
    if why := why_no_file(path):
        raise BundleError(path, why, "Give --pretrained auto, none or an existing file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            with native_name(path) as plain:
                return load_file(plain)
        if is_archive(path):
            return read_tensors(path)
        if tuple(map(int, torch.__version__.split(".")[:2])) < _SAFE:
            raise ValueError("PyTorch before 2.6 may run code in this old format")
        weights = torch.load(path, map_location="cpu", weights_only=True)  # torchvision's own files of before 2020
        if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
            raise ValueError("not a dictionary of tensors")
    except FileNotFoundError:
        raise BundleError(path, "does not exist", "Give --pretrained auto, none or an existing file") from None
    except Exception as error:
        reason = reason_of(error, 300).partition(". ")[0]  # torch then advises to trust the file
        remedy = f"Download {_imagenet(name).url}"
        raise BundleError(path, f"is not a torchvision weight file ({reason})", remedy) from None
    return dict(weights)


def _fitted(architecture: str, known: Architecture, weights: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Every backbone weight exactly once, by our names; an error names any that is left over or missing."""
    remedy = f"Give the weights of torchvision's {known.pretrained} ({_imagenet(str(known.pretrained)).url})"
    own = model_without_weights(architecture, 2).state_dict()
    stem = f"{known.stem}.weight"
    fitted: dict[str, Tensor] = {}
    for key, value in weights.items():
        for pattern, new in _OLD_NAMES:
            key = pattern.sub(new, key)
        if key.startswith(f"{known.head}."):
            continue
        if key == stem and value.ndim == 4:
            value = value.mean(dim=1, keepdim=True)
        target = known.own_name(key)
        expected = tuple(own[target].shape) if target in own else None
        if expected != tuple(value.shape):
            found = f"has shape {tuple(value.shape)}, expected {expected}" if expected else "is unknown"
            raise BundleError(source, f"weight {key} {found}", remedy)
        fitted[target] = value
    missing = [
        key
        for key in own
        if key not in fitted and not key.startswith(f"{known.head}.") and not _NOT_EXPECTED.search(key)
    ]
    if missing:
        raise BundleError(source, f"lacks {len(missing)} weights, first {missing[0]}", remedy)
    if known.stem_filled == "random":
        del fitted[known.own_name(stem)]
    return fitted
