"""Lesions on a mammogram: masks, polygons and boxes become boxes with their outline.

Rule of the grid: a mask belongs to the mammogram pixel by pixel, row by row and column by column as
stored: voxel (i, j, 0) is column i, row j, as ITK-SNAP and 3D Slicer save what they opened. Where a
volume's header says that its rows or columns run the other way than the image's, it is turned if that
can be known, else refused (`MolSubCore.imaging.mask_grid`). A mask of any other shape is refused, never
resampled; only a .seg.nrrd that says that it was cut out of a larger grid
(``Segmentation_ReferenceImageExtentOffset``) is put back in its place. Masks that are pictures are read
as they are seen (`MolSubCore.imaging.painted`).

Every set of lesions is held against its picture (`MolSubCore.imaging.placement`).
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import LesionError
from MolSubCore.imaging.box_text import looks_like_a_box, read_box, why_no_box
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.imaging.pieces import find_pieces, joined
from MolSubCore.imaging.placement import judge_placement

Split = Literal["auto", "label", "component", "none"]
SourceKind = Literal["mask", "polygon", "box"]

#: Pieces of one label nearer than this (pixels) are one lesion; smaller ones than `SPECK` beside a
#: larger one are slips of the brush.
NEAR, SPECK, MOST = 20, 10, 50
#: More pieces than this are noise: joining them by pairs would take long, and no reader outlines so many.
_MOST_PIECES = 400


@dataclass(frozen=True)
class Box:
    """A half-open rectangle on the image grid."""

    row_start: int
    row_stop: int
    col_start: int
    col_stop: int

    @property
    def rows(self) -> slice:
        """Its rows as a slice."""
        return slice(self.row_start, self.row_stop)

    @property
    def cols(self) -> slice:
        """Its columns as a slice."""
        return slice(self.col_start, self.col_stop)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.row_stop - self.row_start, self.col_stop - self.col_start

    def union(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.row_start, other.row_start),
            max(self.row_stop, other.row_stop),
            min(self.col_start, other.col_start),
            max(self.col_stop, other.col_stop),
        )

    def gap(self, other: Box) -> int:
        """Free pixels between two boxes along the axis where they are farthest apart; 0 if they touch."""
        rows = max(self.row_start - other.row_stop, other.row_start - self.row_stop)
        columns = max(self.col_start - other.col_stop, other.col_start - self.col_stop)
        return max(rows, columns, 0)


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion.

    Attributes
    ----------
    label : str
        ``1``, ``2``, ... by label value, or from top to bottom.
    box : Box
        Tight around it.
    mask : ndarray of bool or None
        Within the box; None when only a box is known.
    source_kind : {'mask', 'polygon', 'box'}
    """

    label: str
    box: Box
    mask: NDArray[np.bool_] | None
    source_kind: SourceKind


@dataclass(frozen=True, eq=False)
class LesionSet:
    """All lesions of one image.

    Attributes
    ----------
    lesions : tuple of Lesion
        At least one.
    shape : tuple of int
        Rows and columns of the image.
    warnings : tuple of str
        Sentences: what is unusual, or was done to read them.
    problems : tuple of str
        Sentences: why these cannot be outlines of lesions on this picture. What is computed of them means nothing.
    wrong : tuple of str
        Labels of the lesions that the problems are about.
    """

    lesions: tuple[Lesion, ...]
    shape: tuple[int, int]
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Problems, then warnings: for results that are shown in spite of a problem."""
        return tuple(f"{text} What is computed of it means nothing." for text in self.problems) + self.warnings

    def refuse_problems(self, source: str | os.PathLike[str]) -> None:
        """Raise the first problem as a LesionError about a file or box: for training, and what else counts cases."""
        if self.problems:
            found, _, remedy = self.problems[0].rpartition(". ")
            found = f"is no outline of a lesion on this image: {found[:1].lower()}{found[1:]}"
            raise LesionError(source, found, remedy.rstrip("."))

    def full_mask(self) -> NDArray[np.bool_]:
        """All lesions on the image grid; a box counts as filled."""
        mask = np.zeros(self.shape, bool)
        for lesion in self.lesions:
            mask[lesion.box.rows, lesion.box.cols] |= True if lesion.mask is None else lesion.mask
        return mask


def box_of(source: str | os.PathLike[str]) -> tuple[int, int, int, int] | None:
    """The four numbers of a box, where a lesion is given as one and not as a file."""
    return read_box(os.fspath(source))


def read_lesions(source: str | os.PathLike[str], mammogram: Mammogram, *, split: Split = "auto") -> LesionSet:
    """Read the lesions of a mammogram.

    Parameters
    ----------
    source : str or path
        A mask (NIfTI, NRRD, .seg.nrrd, MHA, PNG, JPEG, TIFF, BMP, DICOM SEG), a polygon file (.json), or a
        box ``row0,col0,row1,col1`` (half-open, pixels).
    mammogram : Mammogram
        The image it belongs to.
    split : {'auto', 'label', 'component', 'none'}
        One lesion per label value; one per connected piece (pieces less than 20 pixels apart stay
        together); or one in all. ``auto`` goes by label where there are several, else by piece.

    Raises
    ------
    LesionError
        If it cannot be read, is empty, or lies on another grid (both shapes are named).
    """
    text = os.fspath(source)
    if box := box_of(text):
        row0, col0, row1, col1 = box
        return _judged(_from_box(text, Box(row0, row1, col0, col1), mammogram.shape), mammogram)
    check_lesion_source(text)
    from MolSubCore.imaging.lesion_files import read_layers

    path = Path(text)
    kind, layers, warnings = read_layers(path, mammogram)
    lesions: list[Lesion] = []
    for layer in layers:
        _check_grid(path, layer.shape, mammogram.shape)
        found, dropped = _divide(path, layer, split, several=len(layers) > 1)
        lesions += [Lesion("", box, mask, kind) for box, mask in found]
        warnings += dropped
    if not lesions:
        raise LesionError(path, "holds no lesion: every pixel is 0", "Outline the lesion, or give its box")
    numbered = [Lesion(str(n), lesion.box, lesion.mask, kind) for n, lesion in enumerate(lesions, start=1)]
    return _judged(LesionSet(tuple(numbered), mammogram.shape, tuple(warnings)), mammogram)


def _judged(lesions: LesionSet, mammogram: Mammogram) -> LesionSet:
    """The same, held against the picture."""
    found = judge_placement(lesions.lesions, mammogram)
    warnings = (*lesions.warnings, *found.warnings)
    return dataclasses.replace(lesions, problems=found.problems, warnings=warnings, wrong=found.wrong)


def check_lesion_source(source: str | os.PathLike[str]) -> None:
    """Refuse what is neither a box nor a file (LesionError); nothing is opened."""
    text = os.fspath(source)
    if read_box(text) is not None:
        return
    if ("," in text or ";" in text) and looks_like_a_box(text):
        raise LesionError(f"box {text}", why_no_box(text), "Give row0,col0,row1,col1")
    if not os.path.isfile(text):  # noqa: PTH113 - Path.is_file raises on names that are too long
        raise LesionError(text, "does not exist or is no file", "Check the path, or give a box row0,col0,row1,col1")


def lesion_boxes(layers: Sequence[NDArray[np.bool_]]) -> list[Box]:
    """The boxes of the lesions that `read_lesions` finds in a mask of these layers, in its order; NumPy alone.

    Parameters
    ----------
    layers : sequence of ndarray of bool, shape (rows, columns)
        Of several layers each is a lesion; of a single one each piece is.

    Raises
    ------
    LesionError
        If there are too many.
    """
    regions = [region for layer in layers if (region := _nonzero_box(layer)) is not None]
    if len(layers) > 1 or not regions:
        groups: list[list[Box]] | None = [[region] for region in regions]
    else:
        found, areas = find_pieces(layers[0][regions[0].rows, regions[0].cols])
        row, col = regions[0].row_start, regions[0].col_start
        boxes = [Box(a + row, b + row, c + col, d + col) for a, b, c, d in found.tolist()]
        members = _grouped(boxes, areas)
        groups = None if members is None else [[boxes[n] for n in group] for group in members]
    if groups is None or len(groups) > MOST:
        raise _too_many("mask")
    return [functools.reduce(Box.union, group) for group in groups]


def _too_many(path: str | Path) -> LesionError:
    return LesionError(path, f"holds more than {MOST} lesions", "Give each lesion one label, or one box around all")


def _from_box(text: str, box: Box, shape: tuple[int, int]) -> LesionSet:
    rows, columns = shape
    cut = Box(max(box.row_start, 0), min(box.row_stop, rows), max(box.col_start, 0), min(box.col_stop, columns))
    if min(cut.shape) < 1:
        raise LesionError(
            f"box {text}",
            f"has no pixel on the image of {rows} rows x {columns} columns",
            "Give row0,col0,row1,col1 with row0 < row1 and col0 < col1",
        )
    warnings = () if cut == box else ("The box reaches outside the image and was cut at its border.",)
    return LesionSet((Lesion("1", cut, None, "box"),), shape, warnings)


def _check_grid(path: Path, found: tuple[int, ...], expected: tuple[int, int]) -> None:
    if found == expected:
        return
    names = [f"{shape[0]} rows x {shape[1]} columns" for shape in (found, expected)]
    transposed = tuple(found) == expected[::-1]
    raise LesionError(
        path,
        f"has {names[0]}, its image has {names[1]}" + (" (transposed)" if transposed else ""),
        "Swap its rows and columns" if transposed else "Outline the lesion on this very image",
    )


def _divide(
    path: Path, layer: NDArray[np.integer], split: Split, *, several: bool
) -> tuple[list[tuple[Box, NDArray[np.bool_]]], list[str]]:
    """Lesions of one label map, cropped to its nonzero part first."""
    region = _nonzero_box(layer)
    if region is None:
        return [], []
    crop = layer[region.rows, region.cols]
    values = np.unique(crop[crop != 0])
    dropped: list[str] = []
    if split == "none":
        masks = [crop != 0]
    elif split == "label" or (split == "auto" and (len(values) > 1 or several)):
        masks, dropped = _labels(crop, values)
    else:
        masks, dropped = _components(crop != 0)
    if len(masks) > MOST:
        raise _too_many(path)
    found = []
    for mask in masks:
        tight = _nonzero_box(mask)
        assert tight is not None
        box = Box(
            region.row_start + tight.row_start,
            region.row_start + tight.row_stop,
            region.col_start + tight.col_start,
            region.col_start + tight.col_stop,
        )
        found.append((box, np.ascontiguousarray(mask[tight.rows, tight.cols])))
    return found, dropped


def _labels(crop: NDArray[np.integer], values: NDArray[np.integer]) -> tuple[list[NDArray[np.bool_]], list[str]]:
    """The labels of a label map, without those that are slips of the brush beside a larger one."""
    masks = [crop == value for value in values[: MOST + 1]]
    if len(masks) > MOST:
        return masks, []
    kept = _without_specks(np.array([np.count_nonzero(mask) for mask in masks]))
    return [masks[n] for n in kept], _specks_told(len(masks) - len(kept), "label")


def _specks_told(count: int, what: str) -> list[str]:
    return [f"{count} {what}(s) of under {SPECK} pixels were left out of the lesion mask."] if count else []


def _nonzero_box(array: NDArray[np.generic]) -> Box | None:
    """Tight box around the nonzero pixels: one pass over the array, then one over a vector."""
    rows = np.flatnonzero(array.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(array[rows[0] : rows[-1] + 1].any(axis=0))
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def _components(mask: NDArray[np.bool_]) -> tuple[list[NDArray[np.bool_]], list[str]]:
    """Connected pieces (8 neighbours), near ones joined, specks beside larger pieces dropped."""
    from scipy import ndimage

    numbered, count = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    kept = _without_specks(areas)  # first of all: the pieces of a mask that is noise would fill the memory
    if len(kept) > _MOST_PIECES:
        return [mask] * (MOST + 1), []
    table = np.zeros(count + 1, np.int32)
    table[kept + 1] = np.arange(1, len(kept) + 1)
    numbered = table[numbered]
    slices = ndimage.find_objects(numbered)
    groups = _grouped([Box(rows.start, rows.stop, cols.start, cols.stop) for rows, cols in slices], areas[kept])
    masks = [np.isin(numbered, [member + 1 for member in group]) for group in groups or ()]
    return masks, _specks_told(count - len(kept), "speck")


def _without_specks(areas: NDArray[np.integer]) -> NDArray[np.intp]:
    """The pieces that are no specks; the largest, if all are."""
    kept = np.flatnonzero(areas >= SPECK)
    return kept if len(kept) else np.array([areas.argmax()])


def _grouped(boxes: list[Box], areas: NDArray[np.integer]) -> list[list[int]] | None:
    """Pieces that are one lesion, from top to bottom, without specks; None for noise."""
    kept = _without_specks(areas).tolist()
    if len(kept) > _MOST_PIECES:
        return None
    pairs = (
        (a, b) for a in range(len(kept)) for b in range(a + 1, len(kept)) if boxes[kept[a]].gap(boxes[kept[b]]) < NEAR
    )
    groups: dict[int, list[int]] = {}
    for member, group in zip(kept, joined(len(kept), pairs), strict=True):
        groups.setdefault(group, []).append(member)
    return sorted(groups.values(), key=lambda group: min((boxes[n].row_start, boxes[n].col_start) for n in group))
