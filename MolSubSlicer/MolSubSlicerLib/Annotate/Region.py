"""What the model will see of outlined lesions, in squares and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from MolSubCore.imaging.mammogram import Spacing
    from MolSubCore.lesions.lesion import Box
    from MolSubCore.lesions.preprocessing import Recipe
    from MolSubCore.lesions.roi import RoiGeometry


@dataclass(frozen=True)
class Region:
    """The squares that a model gets to see.

    Attributes
    ----------
    geometries : tuple of RoiGeometry
        One for each lesion as the model counts them; one in all where the recipe takes them together.
    lines : tuple of str
        Their sizes, in words.
    warnings : tuple of str
    """

    geometries: tuple[RoiGeometry, ...] = ()
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def spacing_of(facts: dict[str, Any]) -> Spacing:
    """The pixel spacing in a mammogram's facts."""
    from MolSubCore.imaging.mammogram import Spacing

    return Spacing(**{"row_mm": None, "col_mm": None, "source": "unknown", **(facts.get("spacing") or {})})


def size_text(rows: int, columns: int, spacing: Spacing) -> str:
    """Width x height: in mm where the spacing is known, and in pixels."""
    pixels = _("{columns} x {rows} px").format(columns=columns, rows=rows)
    if spacing.row_mm is None or spacing.col_mm is None:
        return pixels
    size = _("{width:.1f} x {height:.1f} mm").format(width=columns * spacing.col_mm, height=rows * spacing.row_mm)
    return f"{size} ({pixels})"


def find_region(layers: Sequence[NDArray[np.bool_]], recipe: Recipe, spacing: Spacing) -> Region:
    """The region of lesions.

    Parameters
    ----------
    layers : sequence of ndarray, shape (rows, columns) each
        One per segment. Of a single segment every piece is a lesion, as the core's reader counts.
    recipe : Recipe
        Of the chosen model.
    spacing : Spacing
        The image's.
    """
    from MolSubCore.errors import MolSubError
    from MolSubCore.lesions.lesion import lesion_boxes
    from MolSubCore.lesions.roi import roi_geometry

    warnings = _spacing_warnings(recipe, spacing)
    if not len(layers) or _is_unplaceable(recipe, spacing):
        return Region(warnings=warnings)
    shape = (layers[0].shape[0], layers[0].shape[1])
    try:
        boxes = lesion_boxes(layers)
        if recipe.together:
            boxes = [_around(boxes)]
        geometries = tuple(roi_geometry(box, recipe, shape, spacing) for box in boxes)
    except MolSubError as error:
        return Region(warnings=(*warnings, f"{error.problem[:1].upper()}{error.problem[1:]}. {error.remedy}."))
    lines = tuple(size_text(*geometry.sides, spacing) for geometry in geometries)
    if any(_reaches_outside(geometry) for geometry in geometries):
        warnings += (_("The image is smaller than the region: the rest is filled with its border value."),)
    return Region(geometries, lines, warnings)


def margin_text(recipe: Recipe, spacing: Spacing) -> str:
    """The recipe's margin around a lesion, in its own unit and, where that says more, in the other."""
    text = _("{bound:g} {unit}").format(bound=recipe.bound, unit=recipe.bound_unit)
    if spacing.col_mm is None or spacing.row_mm is None:
        return text
    if recipe.bound_unit == "px":
        return _("{text} = {size:.1f} mm").format(text=text, size=recipe.bound * spacing.col_mm)
    return _("{text} = {size:.0f} px").format(text=text, size=recipe.bound / spacing.col_mm)


def _around(boxes: Sequence[Box]) -> Box:
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.union(box)
    return whole


def _reaches_outside(geometry: RoiGeometry) -> bool:
    rows, columns = geometry.image_shape
    inside = geometry.row_start >= 0 and geometry.col_start >= 0
    return not (inside and geometry.row_stop <= rows and geometry.col_stop <= columns)


def _is_unplaceable(recipe: Recipe, spacing: Spacing) -> bool:
    unknown = spacing.row_mm is None or spacing.col_mm is None
    return unknown and recipe.bound_unit == "mm" and recipe.square != "published"


def _spacing_warnings(recipe: Recipe, spacing: Spacing) -> tuple[str, ...]:
    if spacing.row_mm is None or spacing.col_mm is None:
        if _is_unplaceable(recipe, spacing):
            text = _("The pixel spacing is unknown and the model's margin is {bound:g} mm: it cannot be placed.")
            return (text.format(bound=recipe.bound),)
        text = _(
            "The pixel spacing is unknown: sizes are in pixels only, and the margin of {bound:g} px may be "
            "more or less of the breast than in the images the model was trained on."
        )
        return (text.format(bound=recipe.bound),)
    if spacing.source == "ImagerPixelSpacing":
        return (_("Millimetres are at the detector: a few per cent more than in the breast."),)
    return ()
