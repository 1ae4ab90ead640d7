"""What the architectures share: a first convolution for one grey channel, and a check of the input's size."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from MolSubCore.errors import MolSubError


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
