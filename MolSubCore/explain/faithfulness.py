"""Tests of a heatmap: where its energy lies, whether the model reacts there, whether it depends on the weights.

None of these proves a heatmap right. A map that fails one of them should not be shown as an explanation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import integrate, ndimage, stats
from torch import Tensor, nn

from MolSubCore.explain.gradcam import Target, explain
from MolSubCore.lesions.lesion import LesionSet
from MolSubCore.lesions.roi import RoiGeometry

Mask = NDArray[np.bool_]
Heat = NDArray[np.float32]
Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]

REGIONS = ("inside", "rim", "beyond")


@dataclass(frozen=True, eq=False)
class Regions:
    """The lesion, the peritumoral rim around it and the rest, on a patch's grid; every pixel is in one of them.

    Attributes
    ----------
    inside, rim, beyond : ndarray of bool, shape (size, size)
    """

    inside: Mask
    rim: Mask
    beyond: Mask

    def shares(self, heat: Heat) -> dict[str, float]:
        """Share of a map's energy (its sum; the map is 0 or more) in each region.

        Parameters
        ----------
        heat : ndarray of float32, shape (size, size)
            With a sum above 0.
        """
        total = float(heat.sum(dtype=np.float64))
        return {name: float(heat[getattr(self, name)].sum(dtype=np.float64)) / total for name in REGIONS}

    def areas(self) -> dict[str, float]:
        """Share of the patch's area in each region: what a map of one value everywhere would give."""
        return {name: float(getattr(self, name).mean()) for name in REGIONS}

    def auroc(self, heat: Heat) -> float | None:
        """Chance that a pixel inside the lesion is hotter than one outside (ties half); None without either."""
        inside, outside = heat[self.inside], heat[~self.inside]
        if not inside.size or not outside.size:
            return None
        statistic = stats.mannwhitneyu(inside, outside, method="asymptotic").statistic
        return float(statistic) / (inside.size * outside.size)


def make_regions(lesions: LesionSet, geometry: RoiGeometry, rim: tuple[float, float]) -> Regions:
    """Lesion, rim and the rest of a region of interest.

    Parameters
    ----------
    lesions : LesionSet
        All lesions of the image count as inside.
    geometry : RoiGeometry
    rim : tuple of float
        Width of the rim in pixels of the image, along rows and columns (they differ in mm where the spacing does).
    """
    rows, columns = geometry.inside()
    canvas = np.zeros(geometry.sides, np.float32)
    top, left = rows.start - geometry.row_start, columns.start - geometry.col_start
    canvas[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start] = lesions.full_mask()[
        rows, columns
    ]
    covered = cv2.resize(canvas, (geometry.patch_size, geometry.patch_size), interpolation=cv2.INTER_AREA)
    inside = covered >= min(0.5, float(covered.max()))
    # One patch pixel in units of the rim's width, along each axis.
    sampling = [side / geometry.patch_size / width for side, width in zip(geometry.sides, rim, strict=True)]
    near = ndimage.distance_transform_edt(~inside, sampling=sampling) <= 1.0
    return Regions(inside, near & ~inside, ~near & ~inside)


#: Standard deviation of `centred`, in sides of the patch.
CENTRED_SD = 0.25


def centred(size: int) -> Heat:
    """A Gaussian in the middle of a patch, 1 at its peak, shape (size, size): it knows the lesion's place and no model.

    The patch is cut around the lesion. So this map, too, is inside the lesion more than by chance, and a model that
    uses the lesion reacts there: a heatmap that is no better says nothing of the model. Its width matters for shares of
    the energy alone; order, and with it AUROC, deletion and insertion, are those of the distance from the middle.
    """
    away = np.arange(size) - (size - 1) / 2
    return np.exp(-(away[:, None] ** 2 + away**2) / (2 * (CENTRED_SD * size) ** 2)).astype(np.float32)


@dataclass(frozen=True)
class Curves:
    """Area under the class's score while pixels are deleted or inserted, hottest first (Petsiuk et al., 2018).

    Attributes
    ----------
    deletion, insertion : float
        In the score's unit. A map that points at what the model uses has a small deletion and a large insertion.
    control_deletion, control_insertion : float
        The same for the map moved and mirrored at random, mean over the controls: what a map of this shape reaches
        anywhere in the patch. As the lesion is in the middle, that is no measure of chance: compare with `centred`.
    """

    deletion: float
    insertion: float
    control_deletion: float
    control_insertion: float


def deletion_insertion(
    score: Score, patch: NDArray[np.float32], heat: Heat, *, steps: int = 10, controls: int = 20, seed: int = 0
) -> Curves:
    """Delete and insert pixels of a patch in the order of a map.

    Parameters
    ----------
    score : callable
        Normalised patches (N, size, size) to the class's probability, or its log-odds, shape (N,).
    patch : ndarray of float32, shape (size, size)
        Normalised. Deleted pixels take the value of the strongly blurred patch, which has no detail.
    heat : ndarray of float32, shape (size, size)
    steps : int
        Equal parts of the pixels.
    controls : int
        Random placements of the map for comparison: shifts around the patch's edges, any as likely, and mirrorings.
    seed : int
        Of the placements: one of its own for each lesion, or what chance did to one is done to all.
    """
    rng = np.random.default_rng(seed)
    blurred = cv2.GaussianBlur(patch, (0, 0), patch.shape[0] / 20, borderType=cv2.BORDER_REPLICATE)
    orders = [_order(heat, rng)]
    for _ in range(controls):
        moved = np.roll(heat, rng.integers(0, heat.shape[0], 2), axis=(0, 1))[:: rng.choice([-1, 1])]
        orders.append(_order(moved[:, :: rng.choice([-1, 1])], rng))
    ends = score(np.stack([patch, blurred]))
    areas = np.array([_areas(score, patch, blurred, ends, order, steps) for order in orders])
    chance = areas[1:].mean(axis=0) if controls else areas[0]
    return Curves(float(areas[0, 0]), float(areas[0, 1]), float(chance[0]), float(chance[1]))


def _order(heat: Heat, rng: np.random.Generator) -> NDArray[np.float64]:
    """Rank of every pixel in [0, 1), hottest first; equal ones in random order."""
    order = np.lexsort((rng.random(heat.size), -heat.ravel()))
    ranks = np.empty(heat.size)
    ranks[order] = np.arange(heat.size) / heat.size
    return ranks.reshape(heat.shape)


def _areas(
    score: Score,
    patch: NDArray[np.float32],
    blurred: NDArray[np.float32],
    ends: NDArray[np.float64],
    ranks: NDArray[np.float64],
    steps: int,
) -> tuple[float, float]:
    """Areas under the deletion and the insertion curve by the trapezoidal rule; `ends` are of patch and blurred."""
    shares = np.linspace(0, 1, steps + 1)
    first = ranks[None] < shares[1:-1, None, None]
    found = score(np.concatenate([np.where(first, blurred, patch), np.where(first, patch, blurred)]))
    deleted, inserted = found[: steps - 1], found[steps - 1 :]
    return (
        float(integrate.trapezoid([ends[0], *deleted, ends[1]], shares)),
        float(integrate.trapezoid([ends[1], *inserted, ends[0]], shares)),
    )


def weight_randomisation(
    model: nn.Module,
    inputs: Tensor,
    layers: Sequence[str],
    class_index: int,
    *,
    target: Target = "logit",
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Rank correlation of maps with those of a model with randomised weights, from the top down (Adebayo et al., 2018).

    Parameters
    ----------
    model : nn.Module
        In eval mode; it is copied, and left as it was.
    inputs : Tensor, shape (1, 1, size, size)
    layers : sequence of str
    class_index : int
    target : {'logit', 'log-odds'}
        See `MolSubCore.explain.gradcam.target_score`.
    seed : int

    Returns
    -------
    dict
        By stage (the classifier, then the blocks towards the input, each randomised in addition to those before it)
        and layer: Spearman's correlation of the raw maps. Near 1 means that the map does not depend on
        the weights; 0 where one of the two maps is the same everywhere.
    """
    original = explain(model, inputs, layers, [class_index], target=target).raw or {}
    randomised = copy.deepcopy(model)
    result: dict[str, dict[str, float]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for stage in reversed(stages(model)):
            for module in randomised.get_submodule(stage).modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
            found = explain(randomised, inputs, layers, [class_index], target=target).raw or {}
            result[stage] = {layer: _correlation(original[layer][0], found[layer][0]) for layer in layers}
    return result


def stages(model: nn.Module) -> list[str]:
    """Dotted names of the parts with weights, from the input to the output: the model's children, or theirs."""
    found = []
    for name, child in model.named_children():
        parts = [f"{name}.{part}" for part, module in child.named_children() if list(module.parameters())]
        found += parts or ([name] if list(child.parameters()) else [])
    return found


def _correlation(first: Heat, second: Heat) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first.ravel(), second.ravel()).statistic)
