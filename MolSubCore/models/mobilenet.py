"""MobileNetV2 (paper, section 2.3.1): torchvision's for one grey channel."""

from __future__ import annotations

from typing import cast

from torch import nn
from torchvision.models import MobileNetV2, mobilenet_v2

from MolSubCore.models.stem import grey_convolution, with_dropout


def grey_mobilenet_v2(classes: int, *, dropout: float = 0.3) -> MobileNetV2:
    """MobileNetV2 with a one-channel stem.

    The published code leaves that stem random under ImageNet weights; here it is filled as all others are.

    Parameters
    ----------
    classes : int
        Number of logits.
    dropout : float
        Probability of dropping a channel after the stem's convolution. torchvision's own dropout of 0.2 before
        the last layer stays beside it, as in the published code.
    """
    model = mobilenet_v2(weights=None, num_classes=classes)
    stem = cast(nn.Sequential, model.features[0])
    stem[0] = with_dropout(grey_convolution(cast(nn.Conv2d, stem[0])), dropout)
    return model
