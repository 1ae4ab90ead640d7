"""DenseNet121-CBAM (paper, section 2.3): torchvision's DenseNet-121 for one grey channel, with attention.

Layer names are those of the published checkpoints: ``features.conv0.0`` is the stem's convolution,
``features.denseblock1.0`` a dense block, ``features.denseblock1.1`` its attention.
"""

from __future__ import annotations

from torch import nn

from MolSubCore.models.cbam import CBAM, Pooling
from MolSubCore.models.densenet import DenseNet121

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
        See `MolSubCore.models.cbam.ChannelAttention`.
    """

    def __init__(self, classes: int, *, dropout: float = 0.3, pooling: Pooling = "avg-max") -> None:
        super().__init__(classes, dropout=dropout)
        for name, channels in _ATTENDED.items():
            block = self.features.get_submodule(name)
            setattr(self.features, name, nn.Sequential(block, CBAM(channels, pooling=pooling)))
