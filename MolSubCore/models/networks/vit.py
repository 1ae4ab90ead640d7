"""ViT-B/16 (Dosovitskiy et al., 2021; paper, section 2.3.1): torchvision's for one grey channel."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import VisionTransformer

from MolSubCore.models.networks.layers import check_size, grey_convolution

_SIZE, _PATCH = 224, 16
_GRID = _SIZE // _PATCH


class ViTB16(VisionTransformer):
    """ViT-B/16 with a one-channel stem; predicts from its first token, the class token.

    The published code has another implementation, pretrained on radiographs, with other names of its layers. The
    weights here are torchvision's, from ImageNet.

    Parameters
    ----------
    classes : int
        Number of logits.
    dropout : float
        torchvision's: after the position embedding, after attention, and twice in every block's MLP. (The published
        code sets one that is never called.)
    """

    def __init__(self, classes: int, *, dropout: float = 0.3) -> None:
        super().__init__(
            image_size=_SIZE,
            patch_size=_PATCH,
            num_layers=12,
            num_heads=12,
            hidden_dim=768,
            mlp_dim=3072,
            dropout=dropout,
            num_classes=classes,
        )
        stem = grey_convolution(nn.Conv2d(3, 768, _PATCH, stride=_PATCH))
        nn.init.trunc_normal_(stem.weight, std=1 / _PATCH)  # torchvision's: the root of 1 over the inputs
        self.conv_proj = stem

    def forward(self, x: Tensor) -> Tensor:
        """Normalised patches (B, 1, 224, 224) to logits (B, classes); the position embedding fixes the size."""
        check_size(x, _SIZE, "ViT-B/16")
        logits: Tensor = super().forward(x)
        return logits

    @staticmethod
    def feature_map(output: Tensor) -> Tensor:
        """A layer's tokens (B, 197, C) as a feature map (B, C, 14, 14) for heatmaps, without the class token.

        Anything else is given back as it is.
        """
        if output.ndim != 3 or output.shape[1] != 1 + _GRID**2:
            return output
        return output[:, 1:].transpose(1, 2).unflatten(2, (_GRID, _GRID))
