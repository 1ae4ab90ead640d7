"""The architectures of the registry beside torchvision's own networks, for tests of models, weights and heatmaps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import nn
from torchvision import models

from MolSubCore.models.registry import ARCHITECTURES

Weights = dict[str, torch.Tensor]

#: Every name the paper's architectures have here, and torchvision's network under it.
TORCHVISION: dict[str, Callable[..., nn.Module]] = {
    "resnet101": models.resnet101,
    "densenet121": models.densenet121,
    "densenet121-pre": models.densenet121,
    "densenet121-tcata": models.densenet121,
    "densenet121-cbam": models.densenet121,
    "mobilenetv2": models.mobilenet_v2,
    "mob-cbam": models.mobilenet_v3_small,
    "vit-b16": models.vit_b_16,
}
NAMES = ("simple-cnn", *TORCHVISION)
#: One of each kind of network; the DenseNets without attention differ in nothing that is computed.
NETWORKS = ("simple-cnn", "resnet101", "densenet121", "mobilenetv2", "mob-cbam", "vit-b16")
FIXED_SIZE = ("simple-cnn", "vit-b16")


def size_of(name: str) -> int:
    """A size of patches that is quick where the architecture allows it."""
    return 224 if name in FIXED_SIZE else 96


def patches(name: str, count: int = 2, seed: int = 1) -> torch.Tensor:
    """Random patches, smooth enough to survive pooling, and different from each other."""
    drawn = torch.randn((count, 1, 12, 12), generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(drawn, size=size_of(name), mode="bilinear")


def filled(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A model with random weights of the usual scale, biases and normalisations too; quicker than its own drawing."""
    with torch.device("meta"):
        model = build()
    model = model.to_empty(device="cpu")
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.zero_()
            elif value.ndim > 1:
                bound = math.sqrt(3 / value[0].numel())
                value.uniform_(-bound, bound)
            elif name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
                value.uniform_(0.7, 1.4)
            else:
                value.uniform_(-0.1, 0.1)
    return model


def settled(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """In eval mode, its normalisations' statistics those of `x`, so that the logits depend on what is put in."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = 1.0
    with torch.no_grad():
        if norms:
            model.train()
            for module in model.modules():
                if isinstance(module, nn.Dropout | nn.Dropout2d):
                    module.eval()  # a dropped channel would be divided by a spread of nothing
            model(x)
    return model.eval()


def shortened(model: nn.Module) -> nn.Module:
    """A transformer's first two blocks in place of twelve equal ones, for time; any other network as it is."""
    if isinstance(model, models.VisionTransformer):
        model.encoder.layers = model.encoder.layers[:2]
    return model


@lru_cache(maxsize=1)
def prepared(name: str, *, short: bool = True) -> nn.Module:
    """A network of the registry with five classes, without gradients for its weights."""
    model = filled(lambda: (shortened if short else nn.Module.eval)(ARCHITECTURES[name].build(5, 0.3)))
    return settled(model, patches(name, 4, seed=9)).requires_grad_(False)


@lru_cache(maxsize=1)
def imagenet(build: Callable[..., nn.Module]) -> nn.Module:
    """torchvision's network with random weights in place of ImageNet's; the real ones cannot be had offline."""
    model = filled(lambda: build(weights=None), seed=5)
    size = 224 if build is models.vit_b_16 else 96
    drawn = torch.randn((4, 3, size, size), generator=torch.Generator().manual_seed(3))
    return settled(model, drawn).requires_grad_(False)


def as_colours(x: torch.Tensor) -> torch.Tensor:
    """Grey patches as three equal channels, scaled so that the sum over them is what their mean was."""
    return (x / 3).expand(-1, 3, -1, -1)
