"""ResNet101 (paper, section 2.3.1): torchvision's for one grey channel."""

from __future__ import annotations

from typing import cast

from torch import nn
from torchvision.models import ResNet, resnet101

from MolSubCore.models.networks.layers import grey_convolution, with_dropout


def grey_resnet101(classes: int, *, dropout: float = 0.3) -> ResNet:
    """ResNet-101 with a one-channel stem.

    The published code leaves that stem random under ImageNet weights; here it is filled as all others are.

    Parameters
    ----------
    classes : int
        Number of logits.
    dropout : float
        Probability of dropping a channel after the first convolution of the first residual block
        (``layer1.0.conv1``), where the published code drops it: not after the stem.
    """
    model = resnet101(weights=None, num_classes=classes)
    model.conv1 = grey_convolution(model.conv1)
    first = model.layer1.get_submodule("0")
    first.conv1 = with_dropout(cast(nn.Conv2d, first.conv1), dropout)
    return model
