"""The architectures by name. One more is one file with a class, and one entry here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from MolSubCore.errors import BundleError, MolSubError, nearest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes
    ----------
    title : str
        Shown to users.
    build : callable
        ``build(classes, dropout)`` gives the model with random weights; see there for what `dropout` drops.
    default_layers : tuple of str
        Layers whose heatmaps are shown unless others are asked for.
    source : str
        Where the architecture is described.
    head : str
        The layer that gives the logits; it never takes pretrained weights.
    pretrained : str or None
        Name of the torchvision model whose ImageNet weights it takes; None for one that is trained from scratch.
    stem : str
        torchvision's name of the first convolution.
    stem_filled : {'mean', 'random'}
        Whether pretrained weights fill the stem with their mean over the colour channels, or leave it random.
    wrapped : tuple of str
        torchvision's layers that lie one level deeper here, as first of a sequence with dropout or attention.
    """

    title: str
    build: Callable[[int, float], nn.Module]
    default_layers: tuple[str, ...]
    source: str
    head: str
    pretrained: str | None = None
    stem: str = ""
    stem_filled: Literal["mean", "random"] = "mean"
    wrapped: tuple[str, ...] = ()

    def own_name(self, key: str) -> str:
        """The name here of a weight that torchvision calls `key`."""
        for layer in self.wrapped:
            if key.startswith(f"{layer}."):
                return f"{layer}.0.{key[len(layer) + 1 :]}"
        return key


def _built_by(module: str, name: str, **options: Any) -> Callable[[int, float], nn.Module]:
    """A builder that imports its module, and with it torch, only when it is called."""

    def build(classes: int, dropout: float) -> nn.Module:
        maker = getattr(import_module(f"MolSubCore.models.networks.{module}"), name)
        model: nn.Module = maker(classes, dropout=dropout, **options)
        return model

    return build


_DENSENET_BLOCKS = tuple(f"features.denseblock{number}" for number in (1, 2, 3))


def _densenet(title: str, source: str, **weights: Any) -> Architecture:
    """One of the networks that differ only in their initial weights."""
    return Architecture(
        title,
        _built_by("densenet", "DenseNet121"),
        ("features.pool0", *_DENSENET_BLOCKS, "features.denseblock4", "features.norm5"),
        source,
        head="classifier",
        stem="features.conv0",
        wrapped=("features.conv0",),
        **weights,
    )


def _densenet_cbam(title: str, source: str, **options: Any) -> Architecture:
    return Architecture(
        title,
        _built_by("densenet", "DenseNet121CBAM", **options),
        ("features.pool0", *(f"{block}.1" for block in _DENSENET_BLOCKS), "features.denseblock4", "features.norm5"),
        source,
        head="classifier",
        pretrained="densenet121",
        stem="features.conv0",
        wrapped=("features.conv0", *_DENSENET_BLOCKS),
    )


_INFERRED = "the paper's Supplementary Figure 4; the name is defined nowhere, its meaning is inferred"

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "simple-cnn": Architecture(
            "Simple CNN",
            _built_by("simple_cnn", "SimpleCNN"),
            ("features.1", "features.2", "features.4", "features.5"),
            "the paper's published code",
            head="classifier.2",
            wrapped=("features.0",),
        ),
        "resnet101": Architecture(
            "ResNet101",
            _built_by("resnet", "grey_resnet101"),
            ("maxpool", "layer1", "layer2", "layer3", "layer4"),
            "He et al., 2016",
            head="fc",
            pretrained="resnet101",
            stem="conv1",
            wrapped=("layer1.0.conv1",),
        ),
        "densenet121": _densenet("DenseNet121", _INFERRED),
        "densenet121-pre": _densenet("DenseNet121-pre", _INFERRED, pretrained="densenet121", stem_filled="random"),
        "densenet121-tcata": _densenet("DenseNet121-tcAta", _INFERRED, pretrained="densenet121"),
        "densenet121-cbam": _densenet_cbam("DenseNet121-CBAM", "the paper's published code"),
        "densenet121-cbam-text": _densenet_cbam(
            "DenseNet121-CBAM, average pooling only", "the paper's text", pooling="avg"
        ),
        "mobilenetv2": Architecture(
            "MobileNetV2",
            _built_by("mobilenet", "grey_mobilenet_v2"),
            tuple(f"features.{number}" for number in (1, 3, 6, 13, 17, 18)),
            "Sandler et al., 2018",
            head="classifier.1",
            pretrained="mobilenet_v2",
            stem="features.0.0",
            wrapped=("features.0.0",),
        ),
        "mob-cbam": Architecture(
            "MOB-CBAM",
            _built_by("mobilenet", "mob_cbam"),
            ("features.1", "features.2.block.2.1", "features.3.block.2.1", "features.8", "features.11", "features.12"),
            "the paper's published code, after Nissar et al., 2024",
            head="classifier.3",
            pretrained="mobilenet_v3_small",
            stem="features.0.0",
            wrapped=("features.0.0", "features.2.block.2", "features.3.block.2"),
        ),
        "vit-b16": Architecture(
            "ViT-B/16",
            _built_by("vit", "ViTB16"),
            # Before attention: after the last block's, only the class token still reaches the logits.
            tuple(f"encoder.layers.encoder_layer_{number}.ln_1" for number in (1, 3, 5, 7, 9, 11)),
            "Dosovitskiy et al., 2021",
            head="heads.head",
            pretrained="vit_b_16",
            stem="conv_proj",
        ),
    }
)


def get_architecture(name: str) -> Architecture:
    """The architecture called `name`; BundleError names the known ones."""
    if name not in ARCHITECTURES:
        near = nearest(name, ARCHITECTURES)
        remedy = f"{f'Did you mean {near}? ' if near else ''}Choose one of {', '.join(ARCHITECTURES)}"
        raise BundleError("architecture", f"unknown value '{name}'", remedy)
    return ARCHITECTURES[name]


def build_model(architecture: str, classes: int, *, dropout: float = 0.3) -> nn.Module:
    """A model with random weights, drawn from torch's global generator."""
    return get_architecture(architecture).build(classes, dropout)


def model_without_weights(architecture: str, classes: int, *, dropout: float = 0.3) -> nn.Module:
    """A model on PyTorch's meta device, for its names and shapes or to be given weights; none are drawn for it."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):
        # Also because drawing "on" the meta device would load PyTorch's compiler, which takes seconds.
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if getattr(func, "__module__", "") == "torch.nn.init" or func in (
                torch.Tensor.normal_,
                torch.Tensor.uniform_,
            ):
                return args[0] if args else kwargs["tensor"]
            return func(*args, **kwargs)

    with torch.device("meta"), Undrawn():
        return build_model(architecture, classes, dropout=dropout)


def resolve_layer(model: nn.Module, dotted: str) -> nn.Module:
    """The layer at a dotted name.

    Raises
    ------
    MolSubError
        If there is none; similar names are given.
    """
    if dotted:
        try:
            return model.get_submodule(dotted)
        except AttributeError:
            pass
    near = difflib.get_close_matches(dotted, [name for name, _ in model.named_modules()], n=4, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}" if near else "Use a dotted name such as features.denseblock4"
    raise MolSubError("layer", f"unknown value '{dotted}'", hint)
