"""Recipes: keys, normalisation, and the published preprocessing bit for bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.exposure import equalize_adapthist

from MolSubCore.errors import ImageError, MolSubError
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import Box, Lesion, LesionSet
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import RECIPES, Recipe, get_recipe
from MolSubCore.lesions.roi import extract_rois


def by_the_book(stored: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The seven published steps as listed, on one image."""
    grey = (equalize_adapthist(stored, clip_limit=0.003) * 255).astype(np.uint8)
    rows, columns = np.nonzero(mask)
    top, bottom = rows.min() - 100, rows.max() + 100
    left, right = columns.min() - 100, columns.max() + 100
    if bottom - top > right - left:
        left = right - (bottom - top)
    else:
        top = bottom - (right - left)
    if top < 0:
        top, bottom = 0, bottom - top
    if left < 0:
        left, right = 0, right - left
    if right > stored.shape[1]:
        left, right = left - (right - stored.shape[1]), stored.shape[1]
    if bottom > stored.shape[0]:
        top, bottom = top - (bottom - stored.shape[0]), stored.shape[0]
    return cv2.resize(grey[top:bottom, left:right], (224, 224), interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("corner", [(0, 0), (460, 330), (200, 150), (460, 5)])
def test_published_bit_for_bit(dtype: type, corner: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    top = 255 if dtype is np.uint8 else 4095
    stored = np.clip(cv2.GaussianBlur(rng.normal(0.4, 2.0, (500, 400)), (0, 0), 6) * top, 0, top).astype(dtype)
    mask = np.zeros(stored.shape, bool)
    mask[corner[0] : corner[0] + 30, corner[1] : corner[1] + 45] = True
    mask[corner[0] + 12, corner[1] + 60] = True  # a second piece: one box around everything
    rows, columns = np.nonzero(mask)
    box = Box(int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
    far = Box(corner[0] + 12, corner[0] + 13, corner[1] + 60, corner[1] + 61)
    near = Box(box.row_start, box.row_stop, box.col_start, corner[1] + 45)
    pieces = (Lesion("1", near, None, "mask"), Lesion("2", far, None, "mask"))
    # MONOCHROME1 is not inverted there, so neither here.
    mammogram = Mammogram(stored, inverted=True, value_range=(0.0, float(top)))
    (roi,) = extract_rois(mammogram, LesionSet(pieces, (500, 400)), get_recipe("published-2025"))
    expected = by_the_book(stored, mask)
    assert roi.patch.dtype == np.uint8
    assert np.array_equal(roi.patch, expected)
    inputs = roi.recipe.normalise(roi.patch[None])
    assert inputs.shape == (1, 1, 224, 224)
    assert inputs.dtype == np.float32
    exact = ((expected.astype(np.float64) / 255) - 0.485) / 0.229
    assert np.abs(inputs[0, 0] - exact).max() < 1e-6


def test_an_empty_image_is_one_line() -> None:
    lesions = LesionSet((Lesion("1", Box(10, 20, 10, 20), None, "box"),), (300, 300))
    with pytest.raises(ImageError, match="one value"):
        extract_rois(Mammogram(np.zeros((300, 300), np.uint16)), lesions, get_recipe("published-2025"))
    (roi,) = extract_rois(Mammogram(np.zeros((300, 300), np.uint16)), lesions, get_recipe("default"))
    assert any("means nothing" in text for text in roi.warnings)


def test_every_field_changes_the_key() -> None:
    base = RECIPES["default"]
    other = {"name": "x", "display": "full", "square": "published", "resize": "opencv-linear", "patch_dtype": "uint8"}
    for field in dataclasses.fields(Recipe):
        value = getattr(base, field.name)
        changed = other.get(field.name, "mm" if field.name == "bound_unit" else 7)
        changed = not value if isinstance(value, bool) else changed
        assert dataclasses.replace(base, **{field.name: changed}).key() != base.key(), field.name


def test_recipes_come_back_from_their_files() -> None:
    recipe = get_recipe("default", bound=7, bound_unit="mm")
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    for version, display in ((1, "auto"), (2, "auto-2")):  # of models of before
        former = {"name": "default", "version": version, "display": display}
        assert Recipe.from_dict(recipe.to_dict() | former).display == display
    assert recipe.display == "auto-3"
    changes = ({"version": 99}, {"name": "other"}, {"unknown": 1}, {"size": 10**6}, {"bound": "x"}, {"std": 0})
    for change in (*changes, {"version": 1}, {"display": "auto"}):
        with pytest.raises(MolSubError, match="recipe"):
            Recipe.from_dict(recipe.to_dict() | change)


@pytest.mark.parametrize("arguments", [{"name": "best"}, {"name": "default", "bound": -1}])
def test_unknown_recipes_are_named(arguments: dict[str, object]) -> None:
    with pytest.raises(MolSubError, match=r"best|-1"):
        get_recipe(**arguments)  # type: ignore[arg-type]


@pytest.mark.real
def test_published_on_a_real_mammogram(shared_data: Path) -> None:
    folder = shared_data / "cdd-cesm"
    mammogram = read_mammogram(folder / "images" / "P37_L_DM_CC.jpg")
    lesions = read_lesions(folder / "masks_nii" / "P37_L_DM_CC_mask.nii.gz", mammogram, split="none")
    (roi,) = extract_rois(mammogram, lesions, get_recipe("published-2025"))
    assert np.array_equal(roi.patch, by_the_book(mammogram.stored, lesions.full_mask()))
