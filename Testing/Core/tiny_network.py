"""Small networks that tests of explanations share."""

from __future__ import annotations

import torch
from torch import nn


class Tiny(nn.Module):
    """Two convolutions, an in-place ReLU between them, global average pooling and one linear layer."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
        )  # fmt: skip
        self.classifier = nn.Linear(8, classes)
        randomised(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Patches (B, 1, H, W) to logits."""
        out: torch.Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return out


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode, with normalisations and attention as training might leave them."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.6, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.4)
            nn.init.normal_(module.bias, 0, 0.1)
    for name, value in model.named_parameters():
        if "attention" in name:
            nn.init.normal_(value, 0, 0.2)
    return model.eval()
