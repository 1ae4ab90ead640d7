"""MobileNetV2 (paper, section 2.3.1): torchvision's for one grey channel."""

from __future__ import annotations

from torchvision.models import MobileNetV2, mobilenet_v2

from MolSubCore.models.stem import grey_stem


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
