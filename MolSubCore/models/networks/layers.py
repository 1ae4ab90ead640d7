"""Convolutional Block Attention Module (Woo et al., 2018; paper, section 2.3.2)."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from MolSubCore.errors import MolSubError

Pooling = Literal["avg-max", "avg"]


class ChannelAttention(nn.Module):
    """Weights in [0, 1], one per channel, from the pooled input through a shared two-layer MLP.

    Parameters
    ----------
    channels : int
    reduction : int
        The MLP's hidden layer has ``channels // reduction`` channels.
    pooling : {'avg-max', 'avg'}
        ``avg-max`` adds the MLP's outputs of average and maximum, as the published code does;
        ``avg`` uses the average alone, as the paper's text says.
    """

    def __init__(self, channels: int, reduction: int = 16, pooling: Pooling = "avg-max") -> None:
        super().__init__()
        self.pooling = pooling
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def _mlp(self, pooled: Tensor) -> Tensor:
        hidden: Tensor = torch.relu(self.fc1(pooled))
        out: Tensor = self.fc2(hidden)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) to (B, C, 1, 1)."""
        weights = self._mlp(x.mean(dim=(2, 3), keepdim=True))
        if self.pooling == "avg-max":
            weights = weights + self._mlp(x.amax(dim=(2, 3), keepdim=True))
        return torch.sigmoid(weights)


class SpatialAttention(nn.Module):
    """Weights in [0, 1], one per position, from the channels' mean and maximum by one convolution.

    The paper's text does not say what enters the convolution; mean and maximum are taken from the
    published code in both variants.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) to (B, 1, H, W)."""
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv1(pooled))


class CBAM(nn.Module):
    """Channel attention, then spatial attention, each multiplied with its input."""

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7, pooling: Pooling = "avg-max") -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(channels, reduction, pooling)
        self.spatial_attention = SpatialAttention(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W), kept."""
        x = x * self.channel_attention(x)
        out: Tensor = x * self.spatial_attention(x)
        return out


def grey_convolution(colour: nn.Conv2d) -> nn.Conv2d:
    """A first convolution like `colour`, for one channel, with random weights (He et al., 2015)."""
    grey = nn.Conv2d(
        1,
        colour.out_channels,
        kernel_size=colour.kernel_size,  # type: ignore[arg-type]
        stride=colour.stride,  # type: ignore[arg-type]
        padding=colour.padding,  # type: ignore[arg-type]
        bias=colour.bias is not None,
    )
    nn.init.kaiming_normal_(grey.weight)
    if grey.bias is not None:
        nn.init.zeros_(grey.bias)
    return grey


def with_dropout(convolution: nn.Conv2d, dropout: float) -> nn.Sequential:
    """A convolution and the dropout of whole channels after it, as the published code wraps them."""
    return nn.Sequential(convolution, nn.Dropout2d(dropout))


def grey_stem(features: nn.Sequential, dropout: float) -> None:
    """Give a MobileNet's first block a convolution for one channel, with dropout after it."""
    stem = cast(nn.Sequential, features[0])
    stem[0] = with_dropout(grey_convolution(cast(nn.Conv2d, stem[0])), dropout)


def check_size(x: Tensor, size: int, title: str) -> None:
    """Refuse patches of another size, for networks whose weights fix it.

    Raises
    ------
    MolSubError
        If `x` is not of shape (B, 1, size, size).
    """
    if tuple(x.shape[1:]) != (1, size, size):
        found = f"has shape {tuple(x.shape)}, expected (B, 1, {size}, {size}) for {title}"
        raise MolSubError("input", found, f"Use a recipe with patches of {size} pixels, or another architecture")
