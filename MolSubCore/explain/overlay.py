"""Overlay sheets: the mammogram, the region of interest, and every layer's heatmap on it, as one PNG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from MolSubCore import DISCLAIMER
from MolSubCore.explain.gradcam import Maps
from MolSubCore.explain.library import CLASSLESS
from MolSubCore.imaging.display import display_array
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import LesionSet
from MolSubCore.lesions.roi import RoiGeometry
from MolSubCore.tasks import prediction_title

Picture = NDArray[np.uint8]

_BACKGROUND, _TEXT, _DIM = (14, 16, 20), (236, 238, 242), (150, 156, 166)
_ROI_COLOUR, _LESION_COLOUR, _WARNING = (80, 200, 255), (255, 214, 90), (255, 150, 90)
_TILE, _GAP, _MARGIN, _CAPTION, _TOP, _BOTTOM = 330, 14, 26, 50, 96, 46
_OVERVIEW = 560
_STRENGTH = 0.72

#: Plain names of layers; others are shown by their dotted names alone.
_PLAIN = {
    "features.pool0": "stem",
    **{f"features.denseblock{n}.0": f"dense block {n}" for n in (1, 2, 3)},
    **{f"features.denseblock{n}.1": f"dense block {n} + attention" for n in (1, 2, 3)},
    **{f"features.transition{n}": f"transition {n}" for n in (1, 2, 3)},
    "features.denseblock4": "dense block 4",
    "features.norm5": "last features",
}


def layer_title(layer: str) -> str:
    """A layer's plain name, or its dotted name where it has none."""
    return _PLAIN.get(layer, layer)


@dataclass(frozen=True, eq=False)
class Scene:
    """One lesion on one image, displayed: made once, drawn for every class.

    Attributes
    ----------
    overview : ndarray of uint8, shape (height, width, 3)
        The whole mammogram with region and outlines.
    crop : ndarray of float32, shape (tile, tile)
        The region of interest in [0, 1].
    outline : list of ndarray
        The lesion's outline in the tile.
    geometry : RoiGeometry
    label : str
        Such as ``1 R MLO lesion 1``.
    banner : str
        In capitals, if image or model is synthetic; else empty.
    """

    overview: Picture
    crop: NDArray[np.float32]
    outline: list[NDArray[np.int32]]
    geometry: RoiGeometry
    label: str
    banner: str


def make_scene(
    mammogram: Mammogram, lesions: LesionSet, geometry: RoiGeometry, label: str, *, synthetic_model: bool = False
) -> Scene:
    """Display a mammogram and its region of interest for overlay sheets."""
    shown, mask = display_array(mammogram), lesions.full_mask()
    height, width = mammogram.shape
    scale = min(_OVERVIEW / width, (2 * (_TILE + _CAPTION) + _GAP - _CAPTION) / height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    grey = (cv2.resize(shown, size, interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)
    overview = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    cv2.polylines(overview, _contours(small), True, _LESION_COLOUR, 1, cv2.LINE_AA)
    corners = [round(v * scale) for v in (geometry.col_start, geometry.row_start, geometry.col_stop, geometry.row_stop)]
    cv2.rectangle(overview, (corners[0], corners[1]), (corners[2], corners[3]), _ROI_COLOUR, 2, cv2.LINE_AA)
    rows, columns = geometry.inside()
    canvas, inner = np.zeros(geometry.sides, np.float32), np.zeros(geometry.sides, np.uint8)
    top, left = rows.start - geometry.row_start, columns.start - geometry.col_start
    place = slice(top, top + rows.stop - rows.start), slice(left, left + columns.stop - columns.start)
    canvas[place], inner[place] = shown[rows, columns], mask[rows, columns]
    enlarged = cv2.INTER_AREA if min(geometry.sides) > _TILE else cv2.INTER_CUBIC
    crop = np.clip(cv2.resize(canvas, (_TILE, _TILE), interpolation=enlarged), 0, 1)
    outline = _contours(cv2.resize(inner, (_TILE, _TILE), interpolation=cv2.INTER_NEAREST))
    banner = "MODEL TRAINED ON SYNTHETIC PICTURES" if synthetic_model else ""
    if mammogram.synthetic:
        banner = "SYNTHETIC PHANTOM - NOT A PATIENT"
    return Scene(overview, crop, outline, geometry, label, banner)


def _contours(mask: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    return list(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])


def draw_sheet(
    path: Path, scene: Scene, maps: Maps, position: int, classes: list[str], probabilities: NDArray[np.float64]
) -> None:
    """Draw one class's heatmaps of one lesion beside the original, titled with the prediction.

    Not atomic by itself: write into a folder that appears whole (`MolSubCore.files.atomic_folder`).

    Parameters
    ----------
    path : Path
        Ends in ``.png``.
    scene : Scene
    maps : Maps
    position : int
        Which of ``maps.classes``.
    classes : list of str
    probabilities : ndarray, shape (classes,)
    """
    tiles = [(_original(scene), "region of interest", "yellow: lesion outline", False)]
    for layer in maps.layers:
        over = blend(scene.crop, maps.patch_map(layer, position, _TILE))
        cv2.polylines(over, scene.outline, True, _LESION_COLOUR, 1, cv2.LINE_AA)
        small = layer if layer in _PLAIN else ""
        tiles.append((over, layer_title(layer), small, maps.blind[layer][position]))
    columns = max(min(4, len(tiles)), -(-(len(tiles) + 1) // 2))
    grid_width = columns * _TILE + (columns - 1) * _GAP
    width = 2 * _MARGIN + _OVERVIEW + 2 * _GAP + grid_width
    height = _TOP + 2 * (_TILE + _CAPTION) + _GAP + _BOTTOM
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    shown = classes[maps.classes[position]]
    _titles(draw, width, height, scene, shown, classes, probabilities, maps.method)
    inset = (_OVERVIEW - scene.overview.shape[1]) // 2
    sheet.paste(Image.fromarray(scene.overview), (_MARGIN + inset, _TOP))
    start = _MARGIN + _OVERVIEW + 2 * _GAP
    for number, (picture, name, small, blind) in enumerate(tiles):
        left = start + number % columns * (_TILE + _GAP)
        top = _TOP + number // columns * (_TILE + _CAPTION + _GAP)
        sheet.paste(Image.fromarray(picture), (left, top))
        _fitted(draw, (left, top + _TILE + 5), name, _TEXT, 17, _TILE)
        note = "EMPTY: no evidence in this map" if blind else small
        _fitted(draw, (left, top + _TILE + 27), note, _WARNING if blind else _DIM, 13, _TILE)
    if len(tiles) < 2 * columns:
        sheet.paste(_legend(), (start + (columns - 1) * (_TILE + _GAP), _TOP + _TILE + _CAPTION + _GAP))
    sheet.save(path, format="PNG", compress_level=1)


def blend(crop: NDArray[np.float32], heat: NDArray[np.float32]) -> Picture:
    """A heatmap in [0, 1] over a picture in [0, 1] of the same shape; the hotter, the more opaque."""
    colour, kept = _ramp()
    level = (np.clip(heat, 0, 1) * 255).astype(np.uint8)
    grey = crop * kept[level]
    return (colour[level] + grey[..., None]).astype(np.uint8)


@lru_cache(maxsize=1)
def _ramp() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For each of 256 levels of heat: the colour times its opacity, shape (256, 3), and 255 times the transparency."""
    levels = np.arange(256, dtype=np.uint8)
    opacity = _STRENGTH * np.clip(levels / 255 * 1.25, 0, 1) ** 0.8
    colour = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1] * opacity[:, None]
    return colour.astype(np.float32), (255 * (1 - opacity)).astype(np.float32)


def _original(scene: Scene) -> Picture:
    picture = np.repeat((scene.crop * 255).astype(np.uint8)[..., None], 3, axis=2)
    cv2.polylines(picture, scene.outline, True, _LESION_COLOUR, 1, cv2.LINE_AA)
    return picture


def _titles(
    draw: ImageDraw.ImageDraw,
    width: int,
    height: int,
    scene: Scene,
    shown: str,
    classes: list[str],
    probabilities: NDArray[np.float64],
    method: str,
) -> None:
    title = prediction_title(dict(zip(classes, map(float, probabilities), strict=True)))
    _fitted(draw, (_MARGIN, 18), title, _TEXT, 30, width - 2 * _MARGIN - (470 if scene.banner else 0))
    rows, columns = scene.geometry.sides
    what = "not for one class" if method in CLASSLESS else f"evidence for {shown}"
    line = f"{scene.label}  ·  heatmaps: {what} ({method})  ·  region {columns} x {rows} px"
    _fitted(draw, (_MARGIN, 60), line, _DIM, 17, width - 2 * _MARGIN)
    length = draw.textlength(scene.banner, _font(22))
    draw.text((width - _MARGIN - length, 24), scene.banner, _WARNING, _font(22))
    draw.text((_MARGIN, height - 32), DISCLAIMER, _DIM, _font(15))


def _fitted(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: tuple[int, ...], size: int, width: int
) -> None:
    """One line no wider than `width`: in a smaller font, or cut at its beginning."""
    while size > 10 and draw.textlength(text, _font(size)) > width:
        size -= 1
    while len(text) > 2 and draw.textlength(text, _font(size)) > width:
        text = f"…{text[2:]}"  # the ends of dotted names tell them apart
    draw.text(place, text, colour, _font(size))


@lru_cache(maxsize=1)
def _legend() -> Image.Image:
    """The colour ramp and how to read a heatmap; the same on every sheet."""
    legend = Image.new("RGB", (_TILE, _TILE), _BACKGROUND)
    draw = ImageDraw.Draw(legend)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (18, 1))
    colours = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[..., ::-1]
    legend.paste(Image.fromarray(cv2.resize(colours, (_TILE - 20, 18))), (10, 30))
    draw.text((10, 54), "0", _DIM, _font(14))
    draw.text((_TILE - 20, 54), "1", _DIM, _font(14))
    draw.text((10, 4), "relative evidence within each map", _TEXT, _font(15))
    notes = (
        "Every map is stretched to its own",
        "range: maps cannot be compared by",
        "their brightness.",
        "",
        "Heatmaps show where the score reacts",
        "to the activations, not why. Methods",
        "of this kind have failed tests of",
        "their faithfulness (Arun et al. 2021).",
        "",
        "Blue square: region the model saw.",
        "Yellow line: lesion as outlined.",
    )
    for number, text in enumerate(notes):
        draw.text((10, 86 + number * 20), text, _DIM, _font(14))
    return legend


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
