"""From a lesion to its patch, and from the patch's pixels back to the image's.

Pixel coordinates are those of pixel centres: ``image = start + (patch + 0.5) * side / size - 0.5``.

The module needs NumPy alone until a patch is made: 3D Slicer draws squares with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from MolSubCore.errors import ImageError, MeaninglessError
from MolSubCore.imaging.display import FORMER, display_array, display_step, former_rule, lesion_saturated, named
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.lesions.lesion import Box, Lesion, LesionSet
from MolSubCore.lesions.preprocessing import Recipe

#: Why a prediction means nothing, in words that go after a colon.
MISPLACED = "its outline cannot be that of a lesion on this image"
NEGATIVE = "the picture may be a negative (dense tissue dark)"
CONSTANT = "the region around the lesion holds one grey value only"
#: What to do about what may be a negative where cases are counted.
BRIGHT_OR_OUT = "Save it with dense tissue bright, or leave the row out."
#: Equalised pictures by clip limit, as long as their mammogram lives: another lesion on it is another patch only.
_EQUALISED: WeakKeyDictionary[Mammogram, dict[float | None, NDArray[np.uint8]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class RoiGeometry:
    """Where a patch lies on its image.

    Attributes
    ----------
    row_start, row_stop, col_start, col_stop : int
        Half-open rectangle on the image grid. It reaches outside the image only where the image
        is smaller than the square.
    patch_size : int
        Rows and columns of the patch.
    image_shape : tuple of int
        Rows and columns of the image.
    """

    row_start: int
    row_stop: int
    col_start: int
    col_stop: int
    patch_size: int
    image_shape: tuple[int, int]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RoiGeometry:
        """From the fields as JSON has them."""
        return cls(**{**values, "image_shape": tuple(values["image_shape"])})

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of the rectangle; equal but for published crops at a small image's edge."""
        return self.row_stop - self.row_start, self.col_stop - self.col_start

    def patch_to_image(self, points: ArrayLike) -> NDArray[np.float64]:
        """Image coordinates (row, column) of patch coordinates; shape (..., 2)."""
        start, side = np.array([self.row_start, self.col_start]), np.array(self.sides)
        return start + (np.asarray(points, dtype=np.float64) + 0.5) * side / self.patch_size - 0.5

    def image_to_patch(self, points: ArrayLike) -> NDArray[np.float64]:
        """Patch coordinates (row, column) of image coordinates; shape (..., 2)."""
        start, side = np.array([self.row_start, self.col_start]), np.array(self.sides)
        return (np.asarray(points, dtype=np.float64) - start + 0.5) * self.patch_size / side - 0.5

    def inside(self) -> tuple[slice, slice]:
        """Row and column slices of the part that lies on the image."""
        rows, columns = self.image_shape
        return (
            slice(max(self.row_start, 0), min(self.row_stop, rows)),
            slice(max(self.col_start, 0), min(self.col_stop, columns)),
        )

    def paste(self, patch_map: NDArray[Any]) -> tuple[NDArray[np.float32], slice, slice]:
        """Any map over the patch, of any resolution, on the image grid.

        Parameters
        ----------
        patch_map : ndarray, shape (h, w)
            Such as a 7x7 class activation map; its outer edges are the patch's.

        Returns
        -------
        values : ndarray of float32
            Bilinear, half-pixel centres, edge values held outside the outermost centres; the part on the image.
        rows, columns : slice
            Where on the image the values belong.
        """
        import cv2

        height, width = self.sides
        values = cv2.resize(np.asarray(patch_map, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        rows, columns = self.inside()
        return (
            values[rows.start - self.row_start : rows.stop - self.row_start,
                   columns.start - self.col_start : columns.stop - self.col_start],
            rows,
            columns,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return {
            "row_start": self.row_start,
            "row_stop": self.row_stop,
            "col_start": self.col_start,
            "col_stop": self.col_stop,
            "patch_size": self.patch_size,
            "image_shape": list(self.image_shape),
        }


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of interest: the patch the model sees, and where it is from.

    Attributes
    ----------
    patch : ndarray of the recipe's dtype, shape (size, size)
        Not normalised: see `Recipe.normalise`.
    geometry : RoiGeometry
    lesion : str
        The lesion's label.
    recipe : Recipe
    warnings : tuple of str
    flattened : str
        The display step that shows the region in one grey value though the file holds several; else empty.
    """

    patch: NDArray[Any]
    geometry: RoiGeometry
    lesion: str
    recipe: Recipe
    warnings: tuple[str, ...] = ()
    flattened: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether the patch holds one grey value only: nothing can be learnt from it, or told by it."""
        return bool(self.patch.min() == self.patch.max())

    @property
    def constant(self) -> str:
        """That the patch is constant, with the cause, in words that go after a colon; else empty."""
        if not self.is_constant:
            return ""
        return f"{CONSTANT}, by the display step {self.flattened}" if self.flattened else CONSTANT

    def refuse_constant(self, source: str | os.PathLike[str]) -> None:
        """Raise a MeaninglessError about a file or box where the patch holds one grey value only: for training."""
        if self.is_constant:
            by = f", by the display step {self.flattened}" if self.flattened else ""
            found = (
                f"lies where the picture holds one grey value only{by} (lesion {self.lesion} and the region around it)"
            )
            remedy = "Check that the outline is of this image, and that the image is whole"
            raise MeaninglessError(source, found, remedy)


def means_nothing(mammogram: Mammogram, lesions: LesionSet, roi: Roi) -> str:
    """Why the prediction on a lesion means nothing, so that it stays out of every mean; else empty."""
    if lesions.wrong and (roi.recipe.together or roi.lesion in lesions.wrong):
        return MISPLACED
    if roi.constant:
        return roi.constant
    return NEGATIVE if mammogram.negative else ""


def refuse_meaningless(
    mammogram: Mammogram, lesions: LesionSet, rois: Sequence[Roi], source: str | os.PathLike[str]
) -> None:
    """Refuse an image with a lesion of which `means_nothing` says why: for training, and what else counts cases.

    Parameters
    ----------
    source : str or path
        The file or box of the lesions.

    Raises
    ------
    MeaninglessError
    """
    lesions.refuse_problems(source)
    for roi in rois:
        roi.refuse_constant(source)
    if mammogram.negative:
        found = "may be a negative (dense tissue dark): its background is brighter than the breast"
        raise MeaninglessError(mammogram.source or mammogram.label, found, BRIGHT_OR_OUT.rstrip("."))


def square_roi(box: Box, margin: tuple[float, float], image_shape: tuple[int, int], size: int = 224) -> RoiGeometry:
    """Grow a box by a margin, make it square about its centre, shift it into the image.

    Parameters
    ----------
    box : Box
    margin : tuple of float
        Pixels added above and below, and left and right.
    image_shape : tuple of int
        Rows and columns.
    size : int
        Patch size.

    Notes
    -----
    Where the square is larger than the image along an axis, it is centred on the image there and
    reaches outside.
    """
    height = box.row_stop - box.row_start + 2 * round(margin[0])
    width = box.col_stop - box.col_start + 2 * round(margin[1])
    side = max(height, width)
    row = _shifted(box.row_start + box.row_stop, side, image_shape[0])
    column = _shifted(box.col_start + box.col_stop, side, image_shape[1])
    return RoiGeometry(row, row + side, column, column + side, size, image_shape)


def _shifted(twice_centre: int, side: int, length: int) -> int:
    """Start of a side on one axis, moved as little as needed to lie in [0, length)."""
    if side > length:
        return -((side - length) // 2)
    return min(max((twice_centre - side) // 2, 0), length - side)


def published_roi(box: Box, bound: int, image_shape: tuple[int, int], size: int = 224) -> RoiGeometry:
    """The published code's rectangle (without its defect of comparing rows with columns).

    Inclusive minima and maxima, minus and plus the bound, used half-open: the margin is one less
    below and to the right. Taller than wide, the left edge moves; else the top edge. Then shifts
    into the image, one after another. A rectangle larger than the image is cut off there, as
    array slicing does, so it may not be square.
    """
    top, bottom = box.row_start - bound, box.row_stop - 1 + bound
    left, right = box.col_start - bound, box.col_stop - 1 + bound
    height, width = bottom - top, right - left
    if height > width:
        left -= height - width
    else:
        top -= width - height
    rows, columns = image_shape
    if top < 0:
        top, bottom = 0, bottom - top
    if left < 0:
        left, right = 0, right - left
    if right > columns:
        left, right = left - (right - columns), columns
    if bottom > rows:
        top, bottom = top - (bottom - rows), rows
    return RoiGeometry(max(top, 0), bottom, max(left, 0), right, size, image_shape)


def roi_geometry(
    box: Box, recipe: Recipe, image_shape: tuple[int, int], spacing: Spacing, name: str = "image"
) -> RoiGeometry:
    """Where the patch of a lesion with this box lies; ImageError, which tells the name, as `extract_rois`."""
    if recipe.square == "published":
        return published_roi(box, round(recipe.bound), image_shape, recipe.size)
    return square_roi(box, _margin(recipe, spacing, name), image_shape, recipe.size)


def extract_rois(mammogram: Mammogram, lesions: LesionSet, recipe: Recipe) -> list[Roi]:
    """The patches of all lesions of one image; what concerns the whole image is done once.

    Raises
    ------
    ImageError
        If the margin is in millimetres and the spacing is unknown, or the image holds one value only
        and the recipe cannot do without contrast.
    """
    chosen = [_around_all(lesions)] if recipe.together else list(lesions.lesions)
    name = str(mammogram.source or mammogram.label)
    places = [roi_geometry(lesion.box, recipe, mammogram.shape, mammogram.spacing, name) for lesion in chosen]
    pairs = zip(chosen, places, strict=True)
    if recipe.square == "published":
        equalised = _equalised(mammogram, recipe)
        rois = [_published(equalised, *pair, recipe) for pair in pairs]
    else:
        rois = [_default(mammogram, *pair, recipe) for pair in pairs]
    return [_with_constant(roi) for roi in rois]


def _with_constant(roi: Roi) -> Roi:
    if not (why := roi.constant):
        return roi
    return replace(roi, warnings=(*roi.warnings, f"{why[:1].upper()}{why[1:]}: the prediction means nothing."))


def _around_all(lesions: LesionSet) -> Lesion:
    box = lesions.lesions[0].box
    for lesion in lesions.lesions[1:]:
        box = box.union(lesion.box)
    return Lesion("1", box, None, lesions.lesions[0].source_kind)


def _margin(recipe: Recipe, spacing: Spacing, name: str) -> tuple[float, float]:
    if recipe.bound_unit == "px":
        return recipe.bound, recipe.bound
    if spacing.row_mm is None or spacing.col_mm is None:
        found = f"has no known pixel spacing, and the bound is {recipe.bound:g} mm"
        raise ImageError(name, found, "Give the bound in pixels (--bound-unit px)")
    return recipe.bound / spacing.row_mm, recipe.bound / spacing.col_mm


def _default(mammogram: Mammogram, lesion: Lesion, geometry: RoiGeometry, recipe: Recipe) -> Roi:
    from PIL import Image

    rows, columns = geometry.inside()
    shown = display_array(mammogram, recipe.display, region=(rows, columns))
    box, own = lesion.box, mammogram.stored[lesion.box.rows, lesion.box.cols]
    seen = shown[box.row_start - rows.start : box.row_stop - rows.start,
                 box.col_start - columns.start : box.col_stop - columns.start]  # fmt: skip
    if lesion.mask is not None:
        seen, own = seen[lesion.mask], own[lesion.mask]
    step = display_step(mammogram, recipe.display)
    hidden = lesion_saturated(mammogram, step, seen, own)
    warnings: tuple[str, ...] = (hidden,) if hidden else ()
    if shown.shape != geometry.sides:
        canvas = np.full(geometry.sides, _border_value(mammogram, recipe.display), np.float32)
        top, left = rows.start - geometry.row_start, columns.start - geometry.col_start
        canvas[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        shown = canvas
        warnings += (
            "The image is smaller than the region around the lesion: the rest is filled with its border value.",
        )
    if former := former_display(mammogram, recipe.display):
        warnings += (former,)
    inside = mammogram.stored[rows, columns]
    flattened = named(step) if shown.min() == shown.max() and inside.min() < inside.max() else ""
    picture = Image.fromarray(shown).resize((recipe.size, recipe.size), Image.Resampling.BILINEAR)
    return Roi(np.asarray(picture).astype(recipe.patch_dtype), geometry, lesion.label, recipe, warnings, flattened)


def former_display(mammogram: Mammogram, display: str) -> str:
    """That a model of before shows the image as the step of now does not, in a sentence; empty where it does."""
    if display not in FORMER or not (differs := former_rule(mammogram, display)):
        return ""
    return f"The model was trained with a former rule for the display: {differs}."


def image_remarks(mammogram: Mammogram, recipe: Recipe) -> list[str]:
    """A mammogram's warnings, with what is said of its display by the recipe's own rule."""
    if recipe.display not in FORMER:
        return list(mammogram.warnings)
    now = display_step(mammogram).notes
    return [text for text in mammogram.warnings if text not in now] + [*display_step(mammogram, recipe.display).notes]


def _border_value(mammogram: Mammogram, display: str) -> float:
    """Median of the displayed image's outermost ring."""
    rows, columns = mammogram.shape
    sides: Sequence[tuple[slice, slice]] = (
        (slice(0, 1), slice(0, columns)),
        (slice(rows - 1, rows), slice(0, columns)),
        (slice(0, rows), slice(0, 1)),
        (slice(0, rows), slice(columns - 1, columns)),
    )
    return float(np.median(np.concatenate([display_array(mammogram, display, region=side).ravel() for side in sides])))


def _equalised(mammogram: Mammogram, recipe: Recipe) -> NDArray[np.uint8]:
    """Stages 1 and 2 of the published preprocessing: stored pixels, CLAHE on the whole image, uint8."""
    known = _EQUALISED.setdefault(mammogram, {})
    if recipe.clahe_clip in known:
        return known[recipe.clahe_clip]
    from skimage.exposure import equalize_adapthist

    stored = mammogram.stored
    if stored.min() == stored.max():
        found = f"holds the one value {stored.flat[0]} in every pixel, recipe {recipe.name} needs contrast"
        raise ImageError(mammogram.source or mammogram.label, found, "Check that this is the right file")
    if stored.dtype.kind == "f" and (stored.min() < -1 or stored.max() > 1):  # more than the equalisation takes
        found = f"holds fractions from {stored.min():g} to {stored.max():g}, recipe {recipe.name} is of whole numbers"
        remedy = "Export it as 8- or 16-bit greyscale, give the DICOM file, or use a model of the recipe default"
        raise ImageError(mammogram.source or mammogram.label, found, remedy)
    known[recipe.clahe_clip] = (equalize_adapthist(stored, clip_limit=recipe.clahe_clip) * 255).astype(np.uint8)
    return known[recipe.clahe_clip]


def _published(equalised: NDArray[np.uint8], lesion: Lesion, geometry: RoiGeometry, recipe: Recipe) -> Roi:
    import cv2

    rows, columns = geometry.inside()
    patch = cv2.resize(equalised[rows, columns], (recipe.size, recipe.size), interpolation=cv2.INTER_LINEAR)
    return Roi(patch, geometry, lesion.label, recipe)
