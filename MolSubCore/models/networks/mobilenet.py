"""MOB-CBAM (Nissar et al., 2024; paper, section 2.3.1): MobileNetV3 with attention, for one grey channel.

The paper names MobileNet-V3 only. Its published code takes MobileNetV3-Small and puts CBAM after the projection of
the second and the third inverted residual, before the residual is added.
"""

from __future__ import annotations

from typing import cast

from torch import nn
from torchvision.models import MobileNetV2, MobileNetV3, mobilenet_v2, mobilenet_v3_small

from MolSubCore.models.networks.layers import CBAM, grey_stem

#: The blocks whose projection attention follows, and the channels it gives.
_ATTENDED = {"2": 24, "3": 24}


def mob_cbam(classes: int, *, dropout: float = 0.3) -> MobileNetV3:
    """MobileNetV3-Small with a one-channel stem and CBAM after ``features.2`` and ``features.3``'s projections.

    Layer names are those of the published code: ``features.2.block.2.0`` is a projection,
    ``features.2.block.2.1`` its attention. That code leaves the stem random under ImageNet weights; here it is
    filled as all others are.

    Parameters
    ----------
    classes : int
        Number of logits.
    dropout : float
        Probability of dropping a channel after the stem's convolution. torchvision's own dropout of 0.2 before
        the last layer stays beside it, as in the published code.
    """
    model = mobilenet_v3_small(weights=None, num_classes=classes)
    grey_stem(model.features, dropout)
    for name, channels in _ATTENDED.items():
        block = cast(nn.Sequential, model.features.get_submodule(f"{name}.block"))
        block[2] = nn.Sequential(block[2], CBAM(channels))
    return model


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
    grey_stem(model.features, dropout)
    return model
