"""Augmentation against flips, OpenCV's warp and the stated ranges."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from MolSubCore.training.data import draw_transforms, warp
from MolSubCore.training.plan import Augmentation

STILL = {"horizontal_flip": 0.0, "vertical_flip": 0.0, "rotation_degrees": 0.0, "shear_degrees": 0.0}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augment(patches: torch.Tensor, options: Augmentation, drawn: torch.Generator) -> torch.Tensor:
    """As in training."""
    return warp(patches, draw_transforms(len(patches), options, drawn), options)


def picture(count: int = 2, size: int = 64) -> torch.Tensor:
    return torch.rand((count, 1, size, size), generator=generator(5))


def test_nothing_asked_nothing_done() -> None:
    patches = picture()
    assert torch.allclose(augment(patches, Augmentation(**STILL), generator()), patches, atol=1e-5)


@pytest.mark.parametrize(("option", "axis"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_flips_turn_the_right_axis(option: str, axis: int) -> None:
    patches = picture()
    flipped = augment(patches, Augmentation(**(STILL | {option: 1.0})), generator())
    assert torch.allclose(flipped, patches.flip(axis), atol=1e-5)


def test_agrees_with_opencv() -> None:
    patches, options = picture(size=65), Augmentation(padding="zeros")
    ours = augment(patches, options, generator(3)).numpy()
    theta = draw_transforms(len(patches), options, generator(3)).numpy()
    centre = 32.0
    for index, matrix in enumerate(theta):
        warp = np.zeros((2, 3))
        warp[:, :2] = matrix[:, :2]
        warp[:, 2] = centre - matrix[:, :2] @ [centre, centre]
        theirs = cv2.warpAffine(
            patches[index, 0].numpy(), warp, (65, 65), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        # OpenCV rounds coordinates to 1/32 pixel.
        assert np.abs(ours[index, 0] - theirs)[8:-8, 8:-8].max() < 0.06


def test_ranges_are_the_stated_ones() -> None:
    theta = draw_transforms(4000, Augmentation(horizontal_flip=0.0, vertical_flip=0.0), generator())[:, :, :2]
    angle = torch.rad2deg(torch.atan2(theta[:, 1, 0], theta[:, 0, 0]))
    assert 19.5 < angle.abs().max() <= 20.0
    # R @ [[1, s], [0, 1]]: the first column dotted with the second is s.
    shear = torch.rad2deg(torch.atan((theta[:, :, 0] * theta[:, :, 1]).sum(dim=1)))
    assert 9.7 < shear.abs().max() <= 10.0
    assert torch.allclose(torch.linalg.det(theta.double()), torch.ones(4000, dtype=torch.float64), atol=1e-5)


def test_half_of_the_patches_are_flipped() -> None:
    theta = draw_transforms(4000, Augmentation(rotation_degrees=0, shear_degrees=0), generator())
    for index in (0, 1):
        share = (theta[:, index, index] < 0).float().mean().item()
        assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 4000)


def test_patches_of_a_batch_move_differently() -> None:
    moved = augment(picture(1).expand(4, -1, -1, -1), Augmentation(), generator())
    assert not torch.allclose(moved[0], moved[1])
