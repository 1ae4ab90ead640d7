"""Lesions on a mammogram: masks, polygons and boxes become boxes with their outline.

Rule of the grid: a mask belongs to the mammogram pixel by pixel, row by row and column by column as
stored: voxel (i, j, 0) is column i, row j, as ITK-SNAP and 3D Slicer save what they opened. Where a
volume's header says that its rows or columns run the other way than the image's, it is turned if that
can be known, else refused (`MolSubCore.lesions.masks`). A mask of any other shape is refused, never
resampled; only a .seg.nrrd that says that it was cut out of a larger grid
(``Segmentation_ReferenceImageExtentOffset``) is put back in its place. Masks that are pictures are read
as they are seen (`MolSubCore.lesions.masks`).

Every set of lesions is held against its picture (`MolSubCore.lesions.placement`).
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import LesionError, MeaninglessError, counted
from MolSubCore.lesions.box_text import read_box


def find_pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pieces of a mask, pixels with a common edge or corner being connected.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)

    Returns
    -------
    boxes : ndarray, shape (pieces, 4)
        First row, row after the last, first column, column after the last; in the order of their first pixels.
    areas : ndarray, shape (pieces,)
        Pixels.
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    stops = np.nonzero(steps == -1)[1]
    group = np.array(joined(len(rows), _touching(rows, starts, stops)), np.int64)
    count = int(group.max(initial=-1)) + 1
    boxes = np.empty((count, 4), np.int64)
    boxes[:, ::2] = np.iinfo(np.int64).max
    boxes[:, 1::2] = -1
    for column, (combine, values) in enumerate(
        ((np.minimum, rows), (np.maximum, rows + 1), (np.minimum, starts), (np.maximum, stops))
    ):
        combine.at(boxes[:, column], group, values)
    return boxes, np.bincount(group, weights=stops - starts, minlength=count).astype(np.int64)


def joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The group of each of `count` things, of which pairs belong together; numbered by their first members."""
    parent = list(range(count))

    def root(member: int) -> int:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for first, second in pairs:
        one, two = sorted((root(first), root(second)))
        parent[two] = one
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(member), len(numbers)) for member in range(count)]


def _touching(
    rows: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> Iterable[tuple[int, int]]:
    """Pairs of runs of pixels in successive rows that touch, at a corner too."""
    # Runs lie in order, so along one line of numbers the runs above that a run touches are a range.
    width = int(stops.max(initial=0)) + 2
    first = np.searchsorted(rows * width + stops, (rows - 1) * width + starts, side="left")
    last = np.searchsorted(rows * width + starts, (rows - 1) * width + stops, side="right")
    for run, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for other in range(low, high):
            yield other, run


Split = Literal["auto", "label", "component", "none"]
SourceKind = Literal["mask", "polygon", "box"]

#: Pieces of one label nearer than this (pixels) are one lesion; smaller ones than `SPECK` beside a
#: larger one are slips of the brush.
NEAR, SPECK, MOST = 20, 10, 50
#: A mask of which more than this share of what it encloses is not marked is a line around a lesion, if it is at most so
#: many pixels wide; boxes of smaller sides may be anything. A line that is not closed fills less of its box than this.
#: From a smaller share that is not marked on, it is told.
_HOLLOW, _LINE, _LEAST_RING, _OPEN, _HOLE = 0.4, 10, 8, 0.25, 0.1
#: Of an outline with gaps: lines so many pixels long at least, seen from its middle in so large a share of all
#: directions, with so small a share of their pixels in the inner half of what they surround.
_LONG, _AROUND, _IN_MIDDLE, _DIRECTIONS = 8, 0.7, 0.05, 36
_ON_HULL = 1e-6
#: That a mask names another image as its own: a problem, and no warning.
OTHER_IMAGE = (
    "The DICOM segmentation refers to another image than this one. Give the segmentation of this image, or the image "
    "that it was drawn on."
)
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
        """Raise the first problem as a MeaninglessError about a file or box: for whatever counts cases."""
        if self.problems:
            found, _, remedy = self.problems[0].rpartition(". ")
            found = f"does not outline a lesion on this image: {found[:1].lower()}{found[1:]}"
            raise MeaninglessError(source, found, remedy.rstrip("."))

    def full_mask(self) -> NDArray[np.bool_]:
        """All lesions on the image grid; a box counts as filled."""
        mask = np.zeros(self.shape, bool)
        for lesion in self.lesions:
            mask[lesion.box.rows, lesion.box.cols] |= True if lesion.mask is None else lesion.mask
        return mask

    def fingerprint(self) -> str:
        """A hash of shape and outlines: equal for outlines that agree in every pixel."""
        digest = hashlib.sha256(repr(self.shape).encode())
        for lesion in self.lesions:
            digest.update(repr((lesion.label, lesion.box)).encode())
            digest.update(b"" if lesion.mask is None else np.packbits(lesion.mask).tobytes())
        return digest.hexdigest()


def box_of(source: str | os.PathLike[str]) -> tuple[int, int, int, int] | None:
    """The four numbers of a box, where a lesion is given as one and not as a file."""
    return read_box(os.fspath(source))


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


def divide(
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
    masks, told = _lines_filled(masks)
    dropped += told
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


def _lines_filled(masks: list[NDArray[np.bool_]]) -> tuple[list[NDArray[np.bool_]], list[str]]:
    """Masks of which drawn lines around lesions were filled, and lines around others joined with them; what was done.

    A reader who draws a closed line means what is in it. A label that is a thin line around another one is its edge,
    made soft by smoothing or scaling.
    """
    notes = []
    masks, closed = _gaps_closed(masks)
    if closed:
        found = f"The mask of {counted(closed, 'lesion')} is a line around it with gaps (its pixels are thin lines)"
        notes.append(f"{found}: it was closed by straight lines, and what is inside was taken as lesion. Check it.")
    rings: list[tuple[int, NDArray[np.bool_]]] = []
    for number, mask in enumerate(masks):
        if (kind := _line(mask)) is None:
            continue
        what, whole = kind
        if what == "open":
            found = f"The mask of a lesion is a thin line of {np.count_nonzero(mask)} pixels"
            notes.append(f"{found}: if it is an outline that was not closed and filled, fill it.")
        elif what == "wide":
            others = [other for one, other in enumerate(masks) if one != number]
            empty = whole & ~np.logical_or.reduce([mask, *others])
            if np.count_nonzero(empty) > _HOLE * np.count_nonzero(whole):
                found = "The mask of a lesion is a ring: its middle is not marked"
                notes.append(f"{found}. If the line is an outline, fill it.")
        else:
            rings.append((number, whole))
    inner: set[int] = set()
    drawn = edges = 0
    for number, whole in sorted(rings, key=lambda ring: -np.count_nonzero(ring[1])):
        if number in inner:
            continue
        within = [
            other
            for other, mask in enumerate(masks)
            if other != number and other not in inner and not (mask & ~whole).any()
        ]
        inner.update(within)
        masks = [whole if other == number else mask for other, mask in enumerate(masks)]
        edges, drawn = edges + len(within), drawn + (not within)
    if drawn:
        notes.append(
            f"The mask of {counted(drawn, 'lesion')} is a line around it: what is inside the line was taken as lesion."
        )
    if edges:
        found = f"{counted(edges, 'label')} within a thin ring of another label (a soft edge, or an outline)"
        notes.append(f"{found}: taken as one lesion.")
    return [mask for number, mask in enumerate(masks) if number not in inner], notes


def _gaps_closed(masks: list[NDArray[np.bool_]]) -> tuple[list[NDArray[np.bool_]], int]:
    """Masks of which outlines with gaps, also in pieces that are a mask each, were closed and filled; how many were."""
    thin = [number for number, mask in enumerate(masks) if _is_thin(mask)]
    filled = {number: whole for number in thin if (whole := _closed(masks[number])) is not None}
    apart = [number for number in thin if number not in filled]
    if len(apart) > 1 and (whole := _closed(np.logical_or.reduce([masks[number] for number in apart]))) is not None:
        filled[apart[0]] = whole
        masks = [mask for number, mask in enumerate(masks) if number not in apart[1:]]
        filled = {number - sum(other < number for other in apart[1:]): mask for number, mask in filled.items()}
    return [filled.get(number, mask) for number, mask in enumerate(masks)], len(filled)


def _is_thin(mask: NDArray[np.bool_]) -> bool:
    """Whether a mask consists of thin lines alone that enclose nothing."""
    from scipy import ndimage

    box = _nonzero_box(mask)
    if box is None or max(box.shape) < _LONG:
        return False
    own = np.pad(mask[box.rows, box.cols], 1)
    if min(box.shape) > _LINE and own.sum() > (1 - _HOLLOW) * box.shape[0] * box.shape[1]:
        return False  # without a look at its width, which takes longer
    if 2 * float(ndimage.distance_transform_edt(own).max()) - 1 > _LINE / 2:
        return False
    if (ndimage.binary_fill_holes(own) ^ own).sum() > _HOLE * own.sum():
        return False
    numbered, count = ndimage.label(own, structure=np.ones((3, 3)))
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    long = [
        max(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in ndimage.find_objects(numbered)
    ]
    return bool(sizes[np.array(long) < _LONG].sum() <= _HOLE * sizes.sum())


def _closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """What thin lines surround, closed by straight lines; None where they surround nothing."""
    from scipy import ndimage, spatial

    box = _nonzero_box(mask)
    if box is None or min(box.shape) < 2 * _LEAST_RING:
        return None
    own = mask[box.rows, box.cols]
    rows, columns = np.nonzero(own)
    try:
        sides = spatial.ConvexHull(np.stack([rows, columns], axis=1)).equations
    except spatial.QhullError:  # all on one line
        return None
    hull = np.ones(own.shape, bool)
    grid_rows, grid_columns = np.ogrid[: own.shape[0], : own.shape[1]]
    for down, right, offset in sides:
        hull &= down * grid_rows + right * grid_columns + offset <= _ON_HULL
    depth = ndimage.distance_transform_edt(np.pad(hull, 1))[1:-1, 1:-1]
    if own.sum() > (1 - _HOLLOW) * hull.sum() or (depth[own] > depth.max() / 2).mean() > _IN_MIDDLE:
        return None
    row, column = (values.mean() for values in np.nonzero(hull))
    angles = np.arctan2(rows - row, columns - column)
    seen = np.unique(np.floor((angles + np.pi) / (2 * np.pi) * _DIRECTIONS).astype(int) % _DIRECTIONS)
    if len(seen) < _AROUND * _DIRECTIONS:
        return None
    filled = mask.copy()
    filled[box.rows, box.cols] = hull
    return filled


def _line(mask: NDArray[np.bool_]) -> tuple[Literal["closed", "wide", "open"], NDArray[np.bool_]] | None:
    """Whether a mask is a line around something instead of the thing; with what it is when it is filled."""
    from scipy import ndimage

    box = _nonzero_box(mask)
    if box is None or min(box.shape) < _LEAST_RING:
        return None
    own = np.pad(mask[box.rows, box.cols], 1)
    numbered, _ = ndimage.label(~own)
    whole = numbered != numbered[0, 0]
    area, inside = np.count_nonzero(own), np.count_nonzero(whole)
    width = 2 * float(ndimage.distance_transform_edt(own).max()) - 1
    if inside - area > _HOLE * inside:
        filled = mask.copy()
        filled[box.rows, box.cols] = whole[1:-1, 1:-1]
        closed = inside - area > _HOLLOW * inside and width <= max(_LINE, min(box.shape) / 8)
        return "closed" if closed else "wide", filled
    thin = width <= _LINE / 2 and area < _OPEN * box.shape[0] * box.shape[1]
    if thin and min(box.shape) >= 2 * _LEAST_RING and ndimage.label(own, structure=np.ones((3, 3)))[1] == 1:
        return "open", mask
    return None


def _labels(crop: NDArray[np.integer], values: NDArray[np.integer]) -> tuple[list[NDArray[np.bool_]], list[str]]:
    """The labels of a label map, without those that are slips of the brush beside a larger one."""
    masks = [crop == value for value in values[: MOST + 1]]
    if len(masks) > MOST:
        return masks, []
    kept = _without_specks(np.array([np.count_nonzero(mask) for mask in masks]))
    return [masks[n] for n in kept], _specks_told(len(masks) - len(kept), "label")


def _specks_told(count: int, what: str) -> list[str]:
    verb = "was" if count == 1 else "were"
    return [f"{counted(count, what)} of under {SPECK} pixels {verb} left out of the lesion mask."] if count else []


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
