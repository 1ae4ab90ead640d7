"""DenseNet121-CBAM (paper, section 2.3): torchvision's DenseNet-121 for one grey channel, with attention.

Layer names are those of the published checkpoints: ``features.conv0.0`` is the stem's convolution,
``features.denseblock1.0`` a dense block, ``features.denseblock1.1`` its attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet

from MolSubCore.models.cbam import CBAM, Pooling

#: Channels of the dense blocks that attention follows.
_ATTENDED = {"denseblock1": 256, "denseblock2": 512, "denseblock3": 1024}


class DenseNet121CBAM(DenseNet):
    """DenseNet-121 with a one-channel stem and CBAM after the first three dense blocks.

    Parameters
    ----------
    classes : int
        Number of logits.
    dropout : float
        Probability of dropping a channel after the stem (`torch.nn.Dropout2d`).
    pooling : {'avg-max', 'avg'}
        See `MolSubCore.models.cbam.ChannelAttention`.
    """

    def __init__(self, classes: int, *, dropout: float = 0.3, pooling: Pooling = "avg-max") -> None:
        super().__init__(growth_rate=32, block_config=(6, 12, 24, 16), num_init_features=64, num_classes=classes)
        stem = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(stem.weight)
        self.features.conv0 = nn.Sequential(stem, nn.Dropout2d(dropout))
        for name, channels in _ATTENDED.items():
            block = self.features.get_submodule(name)
            setattr(self.features, name, nn.Sequential(block, CBAM(channels, pooling=pooling)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised patches (B, 1, H, W) to logits (B, classes).

        Not torchvision's own: its last ReLU works in place, on the very activation that a hook on
        ``features.norm5`` holds.
        """
        features = torch.relu(self.features(x))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits
