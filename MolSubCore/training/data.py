"""Random flips, rotation and shear of a whole batch in one resampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from MolSubCore.training.plan import Augmentation


def draw_transforms(count: int, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Random affine matrices, shape (count, 2, 3), from output to input coordinates in [-1, 1].

    Each is rotation times shear times flips about the centre. Coordinates are (x, y) with y down,
    as in `torch.nn.functional.affine_grid`; the horizontal shear moves x by ``tan(angle) * y``.
    """
    uniform = torch.rand((count, 4), generator=generator, dtype=torch.float64)
    flip_x = torch.where(uniform[:, 0] < options.horizontal_flip, -1.0, 1.0).double()
    flip_y = torch.where(uniform[:, 1] < options.vertical_flip, -1.0, 1.0).double()
    angle = (2 * uniform[:, 2] - 1) * math.radians(options.rotation_degrees)
    shear = torch.tan((2 * uniform[:, 3] - 1) * math.radians(options.shear_degrees))
    cos, sin = torch.cos(angle), torch.sin(angle)
    # rotation @ [[1, shear], [0, 1]] @ diag(flip_x, flip_y)
    matrix = torch.stack(
        [
            torch.stack([cos * flip_x, (cos * shear - sin) * flip_y], dim=1),
            torch.stack([sin * flip_x, (sin * shear + cos) * flip_y], dim=1),
        ],
        dim=1,
    )
    return torch.cat([matrix, torch.zeros((count, 2, 1), dtype=torch.float64)], dim=2).float()


def warp(patches: Tensor, transforms: Tensor, options: Augmentation) -> Tensor:
    """Transform patches, shape (N, 1, size, size), by the matrices of `draw_transforms`, bilinear."""
    grid = functional.affine_grid(transforms.to(patches.device), list(patches.shape), align_corners=False)
    return functional.grid_sample(patches, grid, mode="bilinear", padding_mode=options.padding, align_corners=False)
