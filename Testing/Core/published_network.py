"""A network built as the published code builds it: torchvision's DenseNet-121 with its own attention modules."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from tiny_network import randomised
from torch import nn
from torchvision.models import densenet121

MOB_CBAM = """
import torch
from torch import nn

class ChannelAttention(nn.Module):
    def __init__(self, planes, ratio=16):
        super().__init__()
        self.avg_pool, self.max_pool = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.fc1 = nn.Conv2d(planes, planes // ratio, 1, bias=False)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Conv2d(planes // ratio, planes, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        branches = [self.fc2(self.relu1(self.fc1(pool(x)))) for pool in (self.avg_pool, self.max_pool)]
        return self.sigmoid(branches[0] + branches[1])

class SpatialAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        return self.sigmoid(self.conv1(torch.cat([torch.mean(x, 1, True), torch.max(x, 1, True)[0]], 1)))

class CBAM(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.channel_attention, self.spatial_attention = ChannelAttention(planes), SpatialAttention()

    def forward(self, x):
        x = self.channel_attention(x) * x
        return self.spatial_attention(x) * x
"""


def published_module(folder: Path) -> ModuleType:
    """The module ``mob_cbam``, imported from a file as the authors' own was."""
    import importlib

    (folder / "mob_cbam.py").write_text(MOB_CBAM)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("mob_cbam")
    finally:
        sys.path.remove(str(folder))


def published_network(
    attention: Callable[[int], nn.Module], classes: int, *, dropout: bool = True, seed: int = 0
) -> nn.Module:
    """In eval mode, with normalisation statistics and attention far from their initial values."""
    torch.manual_seed(seed)
    network = densenet121(weights=None, num_classes=classes)
    stem = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    network.features.conv0 = nn.Sequential(stem, nn.Dropout2d(0.3)) if dropout else stem
    for number, planes in ((1, 256), (2, 512), (3, 1024)):
        block = network.features.get_submodule(f"denseblock{number}")
        setattr(network.features, f"denseblock{number}", nn.Sequential(block, attention(planes)))
    return randomised(network, seed)


def rewritten(source: Path, target: Path, change: Callable[[bytes], bytes], *, compressed: bool = False) -> Path:
    """A copy of a checkpoint with another pickle in it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            new.writestr(info.filename, change(data) if info.filename.endswith("data.pkl") else data, method)
    return target


def archive(target: Path, pickled: bytes, **storages: bytes) -> Path:
    """A checkpoint with this pickle and these storages, as torch.save lays it out."""
    with zipfile.ZipFile(target, "w") as new:
        new.writestr("archive/data.pkl", pickled)
        for name, data in storages.items():
            new.writestr(f"archive/data/{name.removeprefix('s')}", data)
    return target


def saved(value: object) -> bytes:
    """What torch.save writes."""
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()
