"""The architectures by name. One more is one file with a class, and one entry here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from MolSubCore.errors import BundleError, MolSubError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes
    ----------
    title : str
        For people.
    build : callable
        ``build(classes, dropout)`` gives the model with random weights.
    default_layers : tuple of str
        Layers whose heatmaps are shown unless others are asked for.
    source : str
        Where the architecture is described.
    pretrained : str
        Name of the torchvision model whose ImageNet weights it takes.
    """

    title: str
    build: Callable[[int, float], nn.Module]
    default_layers: tuple[str, ...]
    source: str
    pretrained: str


def _densenet121_cbam(classes: int, dropout: float) -> nn.Module:
    from MolSubCore.models.densenet_cbam import DenseNet121CBAM

    return DenseNet121CBAM(classes, dropout=dropout)


def _densenet121_cbam_text(classes: int, dropout: float) -> nn.Module:
    from MolSubCore.models.densenet_cbam import DenseNet121CBAM

    return DenseNet121CBAM(classes, dropout=dropout, pooling="avg")


_CBAM_LAYERS = (
    "features.pool0",
    "features.denseblock1.1",
    "features.denseblock2.1",
    "features.denseblock3.1",
    "features.denseblock4",
    "features.norm5",
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "densenet121-cbam": Architecture(
            "DenseNet121-CBAM", _densenet121_cbam, _CBAM_LAYERS, "the paper's published code", "densenet121"
        ),
        "densenet121-cbam-text": Architecture(
            "DenseNet121-CBAM, average pooling only",
            _densenet121_cbam_text,
            _CBAM_LAYERS,
            "the paper's text",
            "densenet121",
        ),
    }
)


def get_architecture(name: str) -> Architecture:
    """The architecture called `name`; BundleError names the known ones."""
    if name not in ARCHITECTURES:
        raise BundleError("architecture", f"unknown value '{name}'", f"Choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def build_model(architecture: str, classes: int, *, dropout: float = 0.3) -> nn.Module:
    """A model with random weights, drawn from torch's global generator."""
    return get_architecture(architecture).build(classes, dropout)


def resolve_layer(model: nn.Module, dotted: str) -> nn.Module:
    """The layer at a dotted name.

    Raises
    ------
    MolSubError
        If there is none; names that look alike are given.
    """
    layers = dict(model.named_modules())
    if dotted and dotted in layers:
        return layers[dotted]
    near = difflib.get_close_matches(dotted, layers, n=4, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}" if near else "Use a dotted name such as features.denseblock4"
    raise MolSubError("layer", f"unknown value '{dotted}'", hint)
