"""The geometry of regions of interest: properties over random boxes, and pictures put through it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MolSubCore.errors import ImageError
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.lesions.lesion import Box, Lesion, LesionSet
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import RoiGeometry, extract_rois, published_roi, square_roi


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Box, tuple[int, int]]:
    """A box anywhere on an image of any size; borders and whole images are likely."""
    rows, columns = draw(st.integers(1, 700)), draw(st.integers(1, 700))
    row = sorted(draw(st.tuples(st.integers(0, rows), st.integers(0, rows))))
    column = sorted(draw(st.tuples(st.integers(0, columns), st.integers(0, columns))))
    row_start, col_start = min(row[0], rows - 1), min(column[0], columns - 1)
    return Box(row_start, max(row[1], row_start + 1), col_start, max(column[1], col_start + 1)), (rows, columns)


@given(boxes(), st.integers(0, 150))
def test_square_holds_the_box_and_stays_inside(drawn: tuple[Box, tuple[int, int]], bound: int) -> None:
    box, shape = drawn
    roi = square_roi(box, (bound, bound), shape)
    side = roi.row_stop - roi.row_start
    assert side == roi.col_stop - roi.col_start == max(box.shape) + 2 * bound
    for start, stop, length, low, high in (
        (roi.row_start, roi.row_stop, shape[0], box.row_start, box.row_stop),
        (roi.col_start, roi.col_stop, shape[1], box.col_start, box.col_stop),
    ):
        assert start <= low
        assert high <= stop
        if side <= length:
            assert start >= 0
            assert stop <= length
            # As little shift as needed: centred on the box unless it touches a border.
            if start > 0 and stop < length:
                assert abs((start + stop) - (low + high)) <= 1
        else:
            assert start <= 0
            assert stop >= length


@given(boxes(), st.integers(0, 150), st.integers(0, 223), st.integers(0, 223))
def test_coordinates_round_trip_within_half_a_pixel(
    drawn: tuple[Box, tuple[int, int]], bound: int, row: int, column: int
) -> None:
    roi = square_roi(drawn[0], (bound, bound), drawn[1])
    image = roi.patch_to_image((row, column))
    assert np.abs(roi.image_to_patch(image) - (row, column)).max() < 1e-6
    # Rounded to whole image pixels, the way back is off by half an image pixel at most.
    back = roi.image_to_patch(np.round(image))
    assert np.abs(back - (row, column)).max() <= 0.5 * roi.patch_size / roi.sides[0] + 1e-6
    assert np.abs(roi.patch_to_image(np.round(back)) - np.round(image)).max() <= 0.5 * max(roi.sides[0] / 224, 1) + 1e-6
    corners = roi.patch_to_image([(-0.5, -0.5), (223.5, 223.5)])
    assert np.allclose(corners, [(roi.row_start - 0.5, roi.col_start - 0.5), (roi.row_stop - 0.5, roi.col_stop - 0.5)])


def lesion_set(box: Box, shape: tuple[int, int]) -> LesionSet:
    return LesionSet((Lesion("1", box, None, "box"),), shape)


@settings(max_examples=25, deadline=None)
@given(boxes())
def test_ramps_land_where_the_geometry_says(drawn: tuple[Box, tuple[int, int]]) -> None:
    """Each pixel's value is its own row (then column): the patch must hold the mapped coordinates."""
    box, shape = drawn
    if min(shape) < 8:
        return
    for axis in (0, 1):
        ramp = np.indices(shape)[axis].astype(np.float32)
        length = float(max(shape[axis] - 1, 1))
        mammogram = Mammogram(ramp, value_range=(0.0, length))
        recipe = get_recipe("default", bound=20)
        recipe = type(recipe)(**{**recipe.to_dict(), "display": "full"})
        (roi,) = extract_rois(mammogram, lesion_set(box, shape), recipe)
        points = np.stack(np.meshgrid(np.arange(224), np.arange(224), indexing="ij"), axis=-1)
        mapped = roi.geometry.patch_to_image(points)
        scale = roi.geometry.sides[axis] / 224
        # Away from the border of the image and of the crop the ramp is linear.
        rows, columns = roi.geometry.inside()
        low = np.array([rows.start, columns.start]) + max(scale, 1) + 1
        high = np.array([rows.stop, columns.stop]) - max(scale, 1) - 2
        inner = ((mapped >= low) & (mapped <= high)).all(axis=-1)
        values = roi.patch.astype(np.float64) * length
        assert np.abs(values - mapped[..., axis])[inner].max(initial=0) < 0.06 + length * 6e-4


def test_a_map_pasted_back_peaks_on_the_lesion() -> None:
    shape, box = (900, 700), Box(850, 890, 10, 40)  # at the lower left corner
    roi = square_roi(box, (100, 100), shape)
    centre = roi.image_to_patch([(box.row_start + box.row_stop - 1) / 2, (box.col_start + box.col_stop - 1) / 2])
    cells = np.zeros((14, 14), np.float32)
    cells[tuple((centre * 14 / 224).astype(int))] = 1.0
    values, rows, columns = roi.paste(cells)
    full = np.zeros(shape, np.float32)
    full[rows, columns] = values
    row, column = np.unravel_index(full.argmax(), shape)
    assert box.row_start - 20 <= row <= box.row_stop + 20
    assert box.col_start - 20 <= column <= box.col_stop + 20


@given(boxes(), st.integers(0, 120))
def test_paste_covers_exactly_the_part_on_the_image(drawn: tuple[Box, tuple[int, int]], bound: int) -> None:
    roi = square_roi(drawn[0], (bound, bound), drawn[1])
    values, rows, columns = roi.paste(np.ones((7, 7), np.float32))
    assert values.shape == (rows.stop - rows.start, columns.stop - columns.start)
    assert 0 <= rows.start < rows.stop <= drawn[1][0]
    assert 0 <= columns.start < columns.stop <= drawn[1][1]
    assert np.allclose(values, 1)


def test_a_small_image_is_padded_by_its_border_value() -> None:
    picture = np.full((50, 40), 100, np.uint8)
    picture[20:30, 15:25] = 200
    mammogram = Mammogram(picture, value_range=(0.0, 255.0))
    recipe = type(get_recipe("default"))(**{**get_recipe("default").to_dict(), "display": "full"})
    (roi,) = extract_rois(mammogram, lesion_set(Box(20, 30, 15, 25), (50, 40)), recipe)
    assert roi.geometry.sides == (210, 210)
    assert np.allclose(roi.patch[0], 100 / 255, atol=1e-3)
    assert np.allclose(roi.patch.max(), 200 / 255, atol=1e-2)
    assert any("smaller" in text for text in roi.warnings)


def test_a_bound_in_millimetres() -> None:
    recipe = get_recipe("default", bound=5, bound_unit="mm")
    box, shape = Box(400, 420, 400, 430), (1000, 1000)
    picture = np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)
    known = Mammogram(picture, value_range=(0, 4095), spacing=Spacing(0.1, 0.1, "ImagerPixelSpacing"))
    (roi,) = extract_rois(known, lesion_set(box, shape), recipe)
    assert roi.geometry.sides == (130, 130)  # 30 pixels and twice 5 mm of 0.1 mm
    with pytest.raises(ImageError, match="--bound-unit px"):
        extract_rois(Mammogram(picture, value_range=(0, 4095)), lesion_set(box, shape), recipe)


def published_by_the_book(box: Box, bound: int, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Steps 4 and 5 of the published preprocessing, written down once more, with the clamp put right."""
    top, left = box.row_start - bound, box.col_start - bound
    bottom, right = box.row_stop - 1 + bound, box.col_stop - 1 + bound
    tall, wide = bottom - top, right - left
    if tall > wide:
        left = right - tall
    else:
        top = bottom - wide
    if top < 0:
        bottom += -top
        top = 0
    if left < 0:
        right += -left
        left = 0
    if right > shape[1]:
        left -= right - shape[1]
        right = shape[1]
    if bottom > shape[0]:
        top -= bottom - shape[0]
        bottom = shape[0]
    return top, bottom, left, right


@given(boxes(), st.integers(1, 120))
def test_published_rectangles(drawn: tuple[Box, tuple[int, int]], bound: int) -> None:
    box, shape = drawn
    roi = published_roi(box, bound, shape)
    top, bottom, left, right = published_by_the_book(box, bound, shape)
    found = (roi.row_start, roi.row_stop, roi.col_start, roi.col_stop)
    if top >= 0 and left >= 0:
        assert found == (top, bottom, left, right)
        assert roi.sides[0] == roi.sides[1]
    assert roi.row_start >= 0
    assert roi.col_start >= 0
    assert roi.row_stop <= shape[0]
    assert roi.col_stop <= shape[1]
    # The lesion is inside its own crop, which the published defect broke near the bottom.
    if min(shape) >= max(box.shape) + 2 * bound:
        assert roi.row_start <= box.row_start
        assert box.row_stop - 1 <= roi.row_stop
        assert roi.col_start <= box.col_start
        assert box.col_stop - 1 <= roi.col_stop


def test_geometry_is_json() -> None:
    geometry = RoiGeometry(1, 5, 2, 6, 224, (10, 10))
    assert geometry.to_dict()["image_shape"] == [10, 10]


def test_fractions_beyond_the_published_recipe_are_refused_in_one_line() -> None:
    """Its equalisation takes whole numbers, or fractions of 1."""
    stored = np.linspace(0, 1000, 300 * 250, dtype=np.float32).reshape(300, 250)
    mammogram = Mammogram(stored, value_range=(0.0, 1000.0))
    lesions = read_lesions("100,80,140,120", mammogram)
    with pytest.raises(ImageError, match="fractions from 0 to 1000"):
        extract_rois(mammogram, lesions, get_recipe("published-2025"))
    assert len(extract_rois(mammogram, lesions, get_recipe("default"))) == 1
