"""DenseNet-121 for one grey channel: DenseNet121, DenseNet121-pre and DenseNet121-tcAta of the paper.

The paper defines none of the three names (Supplementary Figure 4). What is known: its published code has a
DenseNet-121 whose stem is the mean over ImageNet's colour channels, and, switched off, a stem with random weights.
What is assumed: "-tcAta" (three channels to one channel, average) is the first, "-pre" the second, and the plain
name is trained from scratch. The three are one network with different initial weights: see the registry.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet

from MolSubCore.models.networks.layers import CBAM, Pooling, grey_convolution, with_dropout


class DenseNet121(DenseNet):
    """torchvision's DenseNet-121 with a one-channel stem.

    Layer names are torchvision's, but for the stem's convolution: ``features.conv0.0``, as in published files.

    Parameters
    ----------
    classes : int
        Number of logits.
    dropout : float
        Probability of dropping a channel after the stem's convolution (`torch.nn.Dropout2d`); none elsewhere.
    """

    def __init__(self, classes: int, *, dropout: float = 0.3) -> None:
        super().__init__(growth_rate=32, block_config=(6, 12, 24, 16), num_init_features=64, num_classes=classes)
        stem = grey_convolution(cast(nn.Conv2d, self.features.conv0))
        self.features.conv0 = with_dropout(stem, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised patches (B, 1, H, W) to logits (B, classes).

        Not torchvision's own: its last ReLU works in place, on the activation that a hook on ``features.norm5`` holds.
        """
        features = torch.relu(self.features(x))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


#: Channels of the dense blocks that attention follows.
_ATTENDED = {"denseblock1": 256, "denseblock2": 512, "denseblock3": 1024}


class DenseNet121CBAM(DenseNet121):
    """DenseNet-121 with a one-channel stem and CBAM after the first three dense blocks.

    Parameters
    ----------
    classes : int
        Number of logits.
    dropout : float
        Probability of dropping a channel after the stem (`torch.nn.Dropout2d`).
    pooling : {'avg-max', 'avg'}
        See `MolSubCore.models.networks.layers.ChannelAttention`.
    """

    def __init__(self, classes: int, *, dropout: float = 0.3, pooling: Pooling = "avg-max") -> None:
        super().__init__(classes, dropout=dropout)
        for name, channels in _ATTENDED.items():
            block = self.features.get_submodule(name)
            setattr(self.features, name, nn.Sequential(block, CBAM(channels, pooling=pooling)))
