"""Simple CNN (paper, section 2.3.1): two convolutions and two linear layers.

The paper does not describe it. Its published code does: 3x3 convolutions with padding 1, each with ReLU and 2x2
maximum pooling, 224 pixels to 56, and 128 hidden units. That gives 12,850,629 parameters for five classes; without
padding it would be 11.95 million.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MolSubCore.models.networks.layers import check_size, with_dropout

_SIZE = 224


class SimpleCNN(nn.Module):
    """conv16, pool, conv32, pool, FC128, FC.

    Layer names are those of the published code: ``features.0.0`` is the first convolution.

    Parameters
    ----------
    classes : int
        Number of logits.
    dropout : float
        Probability of dropping a channel after the first convolution (`torch.nn.Dropout2d`).
    """

    def __init__(self, classes: int, *, dropout: float = 0.3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            with_dropout(nn.Conv2d(1, 16, 3, padding=1), dropout),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Linear(32 * (_SIZE // 4) ** 2, 128), nn.ReLU(), nn.Linear(128, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised patches (B, 1, 224, 224) to logits (B, classes); the linear layer fixes the size."""
        check_size(x, _SIZE, "Simple CNN")
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits
