"""Overlay sheets: the heat lies where the map says, and all text is on the sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from MolSubCore.explain.gradcam import Maps
from MolSubCore.explain.overlay import blend, draw_sheet, make_scene
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import Box, Lesion, LesionSet
from MolSubCore.lesions.roi import RoiGeometry, square_roi

CLASSES = ["HER2-negative", "HER2-positive"]


def gaussian(place: tuple[float, float], size: int, width: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.exp(-((rows - place[0]) ** 2 + (columns - place[1]) ** 2) / (2 * width**2)).astype(np.float32)


def case(shape: tuple[int, int], box: Box) -> tuple[Mammogram, LesionSet, RoiGeometry]:
    """A dark even picture with one brighter lesion."""
    picture = np.full(shape, 400, np.uint16)
    picture[box.row_start : box.row_stop, box.col_start : box.col_stop] = 800
    lesions = LesionSet((Lesion("1", box, None, "box"),), shape)
    return Mammogram(picture, value_range=(0.0, 4095.0)), lesions, square_roi(box, (60, 60), shape)


def sheet(path: Path, shape: tuple[int, int], box: Box, heat: np.ndarray, layers: list[str]) -> np.ndarray:
    mammogram, lesions, geometry = case(shape, box)
    scaled = {layer: np.stack([np.zeros_like(heat), heat]) for layer in layers}
    blind = dict.fromkeys(layers, (True, False))
    maps = Maps(tuple(layers), (0, 1), None, scaled, blind, np.zeros(2, np.float32), "gradcamelementwise")
    scene = make_scene(mammogram, lesions, geometry, "12 R unknown view lesion 10")
    draw_sheet(path, scene, maps, 1, CLASSES, np.array([0.2, 0.8]))
    return np.asarray(Image.open(path)).astype(int)


def tile(picture: np.ndarray, number: int) -> np.ndarray:
    """The tile at this place of the first row: 330 pixels each, 14 between, after the overview of 560."""
    left = 26 + 560 + 28 + number * 344
    return picture[96:426, left : left + 330]


@pytest.mark.parametrize("place", [(3, 3), (3, 10), (10, 3), (11, 9)])
def test_the_hottest_pixel_is_where_the_map_says(tmp_path: Path, place: tuple[int, int]) -> None:
    picture = sheet(
        tmp_path / "s.png", (700, 500), Box(300, 340, 200, 240), gaussian(place, 14, 1.0), ["features.norm5"]
    )
    original, over = tile(picture, 0), tile(picture, 1)
    heat = (over - original)[..., 0] - (over - original)[..., 2]  # hot colours: red gains on blue
    row, column = (float(np.mean(axis)) for axis in np.nonzero(heat >= 0.9 * heat.max()))
    assert abs(row - ((place[0] + 0.5) * 330 / 14 - 0.5)) < 12
    assert abs(column - ((place[1] + 0.5) * 330 / 14 - 0.5)) < 12
    far = heat[(330 - 40 if place[0] < 7 else 0) :][:40]
    assert far.max() < 0.2 * heat.max()


def test_the_lesion_and_the_region_are_drawn_in_place(tmp_path: Path) -> None:
    mammogram, lesions, geometry = case((700, 500), box := Box(420, 460, 100, 150))
    scene = make_scene(mammogram, lesions, geometry, "1")
    scale = scene.overview.shape[0] / 700
    assert scene.overview.shape[1] / 500 == pytest.approx(scale, rel=0.01)
    blue = np.argwhere((scene.overview[..., 2].astype(int) - scene.overview[..., 0]) > 100) / scale
    expected = (geometry.row_start, geometry.col_start, geometry.row_stop, geometry.col_stop)
    assert np.allclose([*blue.min(axis=0), *blue.max(axis=0)], expected, atol=4)
    outline = np.concatenate([part[:, 0] for part in scene.outline])
    corners = [geometry.image_to_patch(point) * 330 / 224 for point in (
        (box.row_start, box.col_start), (box.row_stop - 1, box.col_stop - 1))]  # fmt: skip
    assert np.abs(outline.min(axis=0)[::-1] - corners[0]).max() < 3
    assert np.abs(outline.max(axis=0)[::-1] - corners[1]).max() < 3


LONG = "features.denseblock3.0.denselayer24.norm2"


@pytest.mark.parametrize(
    ("shape", "box", "layers"),
    [
        ((700, 500), Box(300, 340, 200, 240), [LONG]),
        ((700, 500), Box(300, 340, 200, 240), [f"features.{n}.{LONG}.{LONG}" for n in range(11)]),
        ((300, 900), Box(100, 140, 20, 60), ["features.pool0"] * 1),
        ((40, 30), Box(10, 20, 5, 15), [f"features.denseblock{n}.1" for n in (1, 2, 3)]),
    ],
)
def test_no_text_leaves_the_sheet(tmp_path: Path, shape: tuple[int, int], box: Box, layers: list[str]) -> None:
    picture = sheet(tmp_path / "s.png", shape, box, gaussian((7, 7), 14, 2), layers)
    background = np.array([14, 16, 20])
    empty = (np.abs(picture - background).max(axis=2) == 0).mean(axis=0)
    assert (empty[:20] == 1).all()
    assert (empty[-20:] == 1).all()
    # The captions of neighbouring tiles do not touch.
    for number in range(1, min(len(layers) + 1, (picture.shape[1] - 640) // 344)):
        gap = picture[428:470, 26 + 560 + 28 + number * 344 - 12 : 26 + 560 + 28 + number * 344 - 1]
        assert (gap == background).all()
    title = picture[18:55, 26:700]
    assert (title.min(axis=2) > 200).mean() > 0.01


def test_no_heat_leaves_the_picture_as_it_is() -> None:
    crop = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    plain = blend(crop, np.zeros((20, 20), np.float32))
    assert np.abs(plain.astype(int) - (crop * 255)[..., None]).max() <= 1
    hot = blend(crop, np.ones((20, 20), np.float32)).astype(int)
    assert (hot[..., 0] > hot[..., 2]).all()
