"""Masks that are pictures (PNG, JPEG, TIFF, BMP), read as a person sees them; and label maps told from grey shades.

A picture is what it shows, not the numbers it stores: palettes are applied, transparent layers laid over black, the
photometric interpretation is respected. What is bright is lesion. Exceptions, because the picture itself says so: a
layer painted in one colour is its opacity, and where an inverting table (white is 0) shows the mask as dark on a
bright ground, as ImageJ saves masks, the dark part is the lesion.
"""

from __future__ import annotations

import dataclasses
import errno
import filecmp
import functools
import gzip
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from MolSubCore.errors import ImageError, LesionError, MolSubError, counted, reason_of
from MolSubCore.files import atomic_path, why_no_file
from MolSubCore.imaging.io.content import is_dicom
from MolSubCore.imaging.io.dicom import DicomFile, check_frames, code_of, numbers, open_dicom, read_frames, text
from MolSubCore.imaging.io.native import native_target
from MolSubCore.imaging.io.reader import one_line
from MolSubCore.imaging.io.volume import grid_of, read_slice, slice_array
from MolSubCore.imaging.mammogram import Grid, Mammogram
from MolSubCore.imaging.view_text import mask_doubts
from MolSubCore.lesions.box_text import is_meant_as_box, read_box, why_no_box
from MolSubCore.lesions.lesion import (
    MOST,
    OTHER_IMAGE,
    Box,
    Lesion,
    LesionSet,
    SourceKind,
    Split,
    box_of,
    divide,
)
from MolSubCore.lesions.placement import judge_placement, mask_tissue_share, tissue_share
from MolSubCore.lesions.segment_names import judge, kept_against, left_out

_EXPORT_AGAIN = "Export the segmentation again"
#: Sequences that name other things than images.
_NO_IMAGES = {
    "ReferencedStudySequence",
    "ReferencedPatientSequence",
    "ReferencedPerformedProcedureStepSequence",
    "RequestAttributesSequence",
    "SegmentSequence",
    "DimensionIndexSequence",
    "DimensionOrganizationSequence",
}


_ANATOMY = "FrameAnatomySequence"
_OF_ANOTHER = "The DICOM segmentation names no image, and another {} than this image's; only its grid was compared."


def read_segmentation(path: Path, mammogram: Mammogram) -> tuple[list[NDArray[np.integer]], list[str]]:
    """Read the segments that lie on a mammogram.

    Of a segmentation of several images, only the frames that were derived from this one are taken. Of a fractional
    one, what is at least half. Frames of one segment are put together. Segments that are no lesions by their names are
    left out, and said so. Where its header puts the frames is held against the image as of any mask (`match_grid`).

    Parameters
    ----------
    path : Path
    mammogram : Mammogram

    Returns
    -------
    layers : list of ndarray, shape (rows, columns)
        One of zeros and ones for each segment, by number; a label map (PS3.3 A.99) is one layer of segment numbers.
    warnings : list of str

    Raises
    ------
    LesionError
        If it cannot be read, is no segmentation, belongs to several other images, or has no segment of a lesion.
    """
    try:
        file = open_dicom(path)
        header = file.header
        if text(header, "Modality").upper() != "SEG":
            found = f"is DICOM {text(header, 'Modality') or 'without Modality'}, expected a mask"
            raise LesionError(
                path, f"{found} (DICOM SEG, NIfTI, ...)", "Give the lesion's mask here, and the mammogram as the image"
            )
        check_frames(path, header)
        chosen, warnings = _frames_of(path, header, mammogram)
        layers, told = _layers(file, chosen)
        grid, doubts = _grid_of_frames(header, chosen, mammogram)
        matched, notes = match_grid(path, layers, grid, mammogram)
        return matched, [*warnings, *told, *doubts, *notes]
    except ImageError as error:
        raise LesionError(path, error.problem, error.remedy) from error
    except LesionError:
        raise
    except Exception as error:
        found = reason_of(error, 120, kind=True)
        raise LesionError(path, f"cannot be read ({found})", _EXPORT_AGAIN) from None


def _frames_of(path: Path, header: Dataset, mammogram: Mammogram) -> tuple[list[int], list[str]]:
    """The frames that lie on the mammogram, from 0, and a warning where that can only be told by their grid."""
    own = mammogram.identifiers.get("SOPInstanceUID")
    frames = list(range(int(header.get("NumberOfFrames") or 1)))
    sources = [{uid for group in _groups(header, frame) for uid in _referenced(group)} for frame in frames]
    named = set[str]().union(*sources) or _referenced(header)
    if not own:
        return frames, []
    if own in named:
        return [frame for frame in frames if not sources[frame] or own in sources[frame]], []
    if len(named) > 1:
        found = f"is a segmentation of {len(named)} other images, not of this one"
        raise LesionError(path, found, "Give the segmentation of this image")
    if named:
        return frames, [OTHER_IMAGE]
    for keyword, what in (("PatientID", "patient"), ("StudyInstanceUID", "study")):
        theirs, ours = text(header, keyword), mammogram.identifiers.get(keyword)
        if theirs and ours and theirs != ours:
            return frames, [_OF_ANOTHER.format(what)]
    groups = [item for frame in frames for group in _groups(header, frame) for item in group.get(_ANATOMY) or []]
    sides = {text(header, "ImageLaterality"), *(text(item, "FrameLaterality") for item in groups)} & {"L", "R"}
    if mammogram.laterality and sides and mammogram.laterality not in sides:
        return frames, [_OF_ANOTHER.format("side")]
    return frames, []


def _referenced(header: Dataset) -> set[str]:
    """SOP Instance UIDs of the images that a header, or a part of it, names: writers choose among many sequences.

    Derivation Image, Source Image, Referenced Image and Referenced Series Sequence, of the whole and of frames, and
    whatever else holds a reference; but for studies and procedure steps, which are no images.
    """
    found = set()
    for element in header:
        if element.VR == "SQ" and element.keyword not in _NO_IMAGES:
            for item in element.value:
                if uid := text(item, "ReferencedSOPInstanceUID"):
                    found.add(uid)
                found |= _referenced(item)
    return found


def _groups(header: Dataset, frame: int) -> Iterator[Dataset]:
    """The functional groups of a frame: its own, then those shared by all."""
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    if frame < len(own):
        yield own[frame]
    yield from (header.get("SharedFunctionalGroupsSequence") or [])[:1]


def _segment(header: Dataset, frame: int) -> int:
    for group in _groups(header, frame):
        for item in group.get("SegmentIdentificationSequence") or []:
            return int(item.ReferencedSegmentNumber)
    raise ValueError(f"frame {frame + 1} names no segment")


def _grid_of_frames(header: Dataset, chosen: list[int], mammogram: Mammogram) -> tuple[Grid, list[str]]:
    """Where the frames lie by their Pixel Measures, Plane Orientation and Plane Position; defaults where absent.

    A mammogram has no place in a patient's space. So of a segmentation of this very image, an origin tells nothing, and
    nor do axes along the patient's, which some writers take from Patient Orientation; turned rows or columns do.
    """
    places = {keyword: _plane(header, chosen, keyword) for keyword in _PLANES}
    doubts = []
    if any(len(found) > 1 for found in places.values()):
        found = "The frames of the segmentation lie in different planes or have different pixel spacings"
        doubts = [f"{found}: matched pixel by pixel, as the first. Check the outline on the picture."]
    axes, origin, spacing = (next(iter(found)) for found in places.values())
    grid = Grid(origin, axes[:3], axes[3:], *spacing)
    own = mammogram.identifiers.get("SOPInstanceUID")
    if own and mammogram.grid is None and own in _referenced(header):
        plane, plain = np.array([grid.column_axis, grid.row_axis]), np.eye(3)[:2]
        if np.allclose(plane, plain, atol=0.02):
            grid = dataclasses.replace(grid, origin=(0.0, 0.0, 0.0))
        elif np.abs(plane[:, 2]).max() > 0.02 or np.allclose(np.abs(plane), plain[::-1], atol=0.02):
            grid = Grid(row_mm=grid.row_mm, col_mm=grid.col_mm)
    return grid, doubts


#: Sequences of a frame's place: attribute, and its values where it is absent or not to be read.
_PLANES = {
    "PlaneOrientationSequence": ("ImageOrientationPatient", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
    "PlanePositionSequence": ("ImagePositionPatient", (0.0, 0.0, 0.0)),
    "PixelMeasuresSequence": ("PixelSpacing", (1.0, 1.0)),
}


def _plane(header: Dataset, chosen: list[int], keyword: str) -> dict[tuple[float, ...], None]:
    """Values of an attribute of the frames' places, each once, in the order of the frames."""
    name, absent = _PLANES[keyword]
    found: dict[tuple[float, ...], None] = {}
    for frame in chosen:
        items = [item for group in _groups(header, frame) for item in group.get(keyword) or []]
        told = next((values for item in (*items, header) if (values := numbers(item, name))), ())
        found[tuple(round(value, 4) for value in told) if len(told) == len(absent) else absent] = None
    return found or {absent: None}


def _no_lesions(header: Dataset) -> dict[int, tuple[str, str]]:
    """Segments by number that are no lesions by what the file calls them, and by what they are none."""
    found = {}
    for item in header.get("SegmentSequence") or []:
        number = numbers(item, "SegmentNumber")
        coded = [
            code
            for keyword in ("SegmentedPropertyTypeCodeSequence", "SegmentedPropertyCategoryCodeSequence")
            for code in item.get(keyword) or []
        ]
        names = (text(item, keyword) for keyword in ("SegmentLabel", "SegmentDescription"))
        types = (text(code, "CodeMeaning") for code in coded)
        verdict = judge(names, types, (code_of(code) for code in coded))
        if number and verdict[0]:
            found[int(number[0])] = verdict
    return found


def _layers(file: DicomFile, chosen: list[int]) -> tuple[list[NDArray[np.integer]], list[str]]:
    """The segments' layers but for those that are no lesions by their names, and what is said of these."""
    header, wanted = file.header, set(chosen)
    kind = text(header, "SegmentationType").upper()
    least = int(header.get("MaximumFractionalValue") or 1) / 2 if kind == "FRACTIONAL" else 1
    named = _no_lesions(header)
    layers: dict[int, NDArray[np.integer]] = {}
    seen: dict[int, None] = {}
    for frame, pixels in enumerate(read_frames(file)):
        if frame not in wanted:
            continue
        number = 0 if kind == "LABELMAP" else _segment(header, frame)
        marked = pixels if kind == "LABELMAP" else (pixels >= least).astype(np.uint8)
        present = np.unique(pixels).tolist() if kind == "LABELMAP" else [number] if marked.any() else []
        seen |= {one: None for one in present if one in named and (one or kind != "LABELMAP")}
        if kind == "LABELMAP":
            if out := [one for one in present if one in named and not named[one][1]]:
                marked = np.where(np.isin(pixels, out), 0, pixels)
        elif number in named and not named[number][1]:
            continue
        layers[number] = np.maximum(layers[number], marked) if number in layers else marked
        if len(layers) > MOST:
            raise LesionError(file.path, f"holds more than {MOST} segments", "Give the segmentation of one image")
    found = [layers[number] for number in sorted(layers)]
    return found, _told_of_names(file.path, found, [named[number] for number in sorted(seen)])


def _told_of_names(path: Path, layers: Sequence[NDArray[np.integer]], verdicts: list[tuple[str, str]]) -> list[str]:
    """What is said of segments with names that are no lesions'; refused where nothing else is there (LesionError)."""
    out = [word for word, against in verdicts if not against]
    kept = [word for word, against in verdicts if against]
    if out and not any(layer.any() for layer in layers):
        names = ", ".join(f"'{word}'" for word in dict.fromkeys(out))
        several = len(set(out)) > 1
        found = f"segments {names} are none" if several else f"segment {names} is none"
        raise LesionError(
            path, f"holds no lesion: according to {'their names its' if several else 'its name the'} {found}",
            "Give the outline of the lesion; if it is one, name the segment so",
        )  # fmt: skip
    return [*([left_out(out)] if out else []), *([kept_against(kept)] if kept else [])]


MaskLayers = list[NDArray[np.integer]]

#: Another spacing than the image's is told from this ratio on: magnification factors of contact views stay below.
_SPACING_RATIO = 1.15
#: Shares of the lesion on the breast that decide which way round a mask lies.
_ON, _OFF = 0.75, 0.25


def match_grid(
    path: Path, layers: Sequence[NDArray[np.integer]], grid: Grid, mammogram: Mammogram, *, cropped: bool = False
) -> tuple[MaskLayers, list[str]]:
    """MaskLayers (rows, columns) of a mask as they lie on the image, and what was done or is in doubt.

    Parameters
    ----------
    grid : Grid
        That the mask's header tells.
    cropped : bool
        Whether the layers were put back into a larger grid, so that the origin is not theirs.

    Raises
    ------
    LesionError
        If the header contradicts the image's, and which way round the mask lies cannot be known.
    """
    on_file, notes = _on_file(path, list(layers), grid, mammogram, cropped)
    return [mammogram.as_shown(layer) for layer in on_file], notes


def _on_file(
    path: Path, layers: MaskLayers, grid: Grid, mammogram: Mammogram, cropped: bool
) -> tuple[MaskLayers, list[str]]:
    """`match_grid` on the rows and columns of the image's file, which headers speak of."""
    notes = _spacing_notes(grid, mammogram)
    if any(layer.shape != mammogram.shape for layer in layers):
        return layers, notes  # refused as another grid
    own = Grid() if mammogram.grid is None else mammogram.grid
    axes = np.array([own.column_axis, own.row_axis]) @ np.array([grid.column_axis, grid.row_axis]).T
    if not np.allclose(np.abs(axes), np.eye(2), atol=0.02):
        found = "The mask's header gives other axes than those of its image (oblique or exchanged)"
        return layers, [*notes, f"{found}: matched pixel by pixel. Check the outline on the picture."]
    turned = (bool(axes[1, 1] < 0), bool(axes[0, 0] < 0))  # rows, columns
    start = _first_pixel(grid, own, mammogram)
    if turned == (False, False):
        if not cropped and any(grid.origin) and np.abs(start).max() > 1:
            place = f"its first pixel at row {start[0]:.0f}, column {start[1]:.0f}"
            found = f"The mask's header gives another place than that of its image ({place}): matched pixel by pixel."
            notes.append(f"{found} Check the outline on the picture.")
        return layers, notes
    flipped = [layer[:: -1 if turned[0] else 1, :: -1 if turned[1] else 1] for layer in layers]
    what = " and ".join(name for name, is_turned in zip(("rows", "columns"), turned, strict=True) if is_turned)
    ends = np.array([mammogram.shape[0] - 1 if turned[0] else 0, mammogram.shape[1] - 1 if turned[1] else 0])
    as_shown = turned == mammogram.turned  # the mask's axes are those of the picture, not of its file
    at_end = not cropped and np.abs(start - ends).max() <= 1
    ours = not any(grid.origin) and _same_spacing(grid, own)  # as this program writes a mask
    if as_shown and (at_end or ours):
        return flipped, notes
    if at_end:
        found = f"The mask's {what} run the other way than the image's, by its header's direction and origin: turned."
        return flipped, [*notes, found]
    if not any(grid.origin) and _is_default(grid, spacing_too=mammogram.grid is not None):
        if mammogram.grid is None:
            return layers, notes
        found = "The mask's header has a library's defaults, its image's has axes: matched pixel by pixel as stored."
        return layers, [*notes, f"{found} Check the outline on the picture."]
    stored, other = (
        mask_tissue_share(mammogram.as_shown(np.logical_or.reduce([layer != 0 for layer in each])), mammogram)
        for each in (layers, flipped)
    )
    if stored is not None and other is not None:
        told = f"The mask's {what} run the other way than the image's by its header's direction"
        if stored < _OFF and other > _ON:
            return flipped, [*notes, f"{told}: turned, since as stored it would lie in the air beside the breast."]
        if stored > _ON and other < _OFF:
            return layers, [*notes, f"{told}, but turned it would lie in the air beside the breast: matched as stored."]
    raise LesionError(
        path,
        f"says in its header that its {what} run the other way than the image's (mirrored by a converter?), and its "
        "origin does not tell which way round it lies on the image",
        "Save it again from the program it was drawn in, beside the image it was drawn on; or set its direction to the "
        "image's if it was drawn on these very rows and columns",
    )


def _same_spacing(grid: Grid, own: Grid) -> bool:
    """Whether two headers tell the same distances, which are not a library's default."""
    pairs = ((grid.row_mm, own.row_mm), (grid.col_mm, own.col_mm))
    return (grid.row_mm, grid.col_mm) != (1.0, 1.0) and all(math.isclose(*pair, rel_tol=1e-3) for pair in pairs)


def _is_default(grid: Grid, *, spacing_too: bool) -> bool:
    """Whether axes (and spacing) are those that libraries write where nobody told them any: they tell nothing."""
    plane = np.array([grid.column_axis, grid.row_axis])[:, :2]
    axes = np.allclose(plane, np.eye(2)) or np.allclose(plane, -np.eye(2))  # of SimpleITK, and of nibabel
    return axes and not (spacing_too and (grid.row_mm, grid.col_mm) != (1.0, 1.0))


def _first_pixel(grid: Grid, own: Grid, mammogram: Mammogram) -> NDArray[np.float64]:
    """Row and column of the image at which the mask's first pixel lies, by the headers."""
    offset = np.array(grid.origin) - np.array(own.origin)
    spacing = mammogram.spacing if mammogram.grid is None else mammogram.grid
    # A mask of 1 mm pixels is one without spacing; a picture without spacing has the mask's.
    row_mm = grid.row_mm if grid.row_mm != 1.0 or spacing.row_mm is None else 1.0
    col_mm = grid.col_mm if grid.col_mm != 1.0 or spacing.col_mm is None else 1.0
    return np.array([offset @ np.array(own.row_axis) / row_mm, offset @ np.array(own.column_axis) / col_mm])


def _spacing_notes(grid: Grid, mammogram: Mammogram) -> list[str]:
    """Where the mask's pixels are of another size than the image's."""
    own = mammogram.spacing
    if own.row_mm is None or own.col_mm is None or (grid.row_mm, grid.col_mm) == (1.0, 1.0):
        return []
    ratios = (grid.row_mm / own.row_mm, grid.col_mm / own.col_mm)
    if all(1 / _SPACING_RATIO <= ratio <= _SPACING_RATIO for ratio in ratios):
        return []
    return [
        f"The mask's pixel spacing is {grid.row_mm:.4g} x {grid.col_mm:.4g} mm, the image's {own.row_mm:.4g} x "
        f"{own.col_mm:.4g} mm: is it the outline of another image?"
    ]


#: A value is a label's if this share of its pixels has only pixels of the same value around: soft edges have none.
_INNER = 0.2
#: Shares of the brightest value: traces of compression lie below the first or above the second.
_TRACE, _FULL = 0.2, 0.8
#: Pixels between a quarter and three quarters of the brightest value for each one above half of it: more are no edge.
_SOFT = 0.6
#: So near (pixels) to the bright part lie soft edges and traces of compression, which goes by blocks of 8.
_NEAR = 8
_PHOTOMETRIC, _BITS = 262, 258

_COLOURED = "The mask's colours were taken as labels, {} as the ground."
#: Share of a colour picture's border that is white where white is its ground; the darkest of its colours that still is.
_GROUND, _WHITE = 0.9, 240
#: Colours of a compression with loss are one hue if so large a share of them differ at most so much from its shades.
_OF_ONE_HUE, _HUE_OFF = 0.97, 0.3
#: Numbers in a float mask may be off by as much: what resampling and slopes leave.
_ROUNDING = 1e-3
#: Pieces of a label map at most twice as thick, of whose rim this share lies at a higher number, are an edge between it
#: and a lower one, as scaling and smoothing make them.
#: The same of slivers, and from which share of their number on a lower one is hardly lower.
#: Pieces of more pixels times numbers than this are left as they are.
_THIN, _AT_HIGHER, _SLIVER, _HARDLY, _MOST_WORK = 5, 0.25, 2, 0.75, 20_000_000
#: Share of the most frequent number's pixels that a number has at least to be one of a mask that was compressed.
_OF_MOST = 0.1

Labels = tuple[NDArray[np.integer], list[str]]


def read_painted(path: Path) -> Labels:
    """Read a picture as a label map (rows, columns), and say what was done to get it.

    Raises
    ------
    LesionError
        If it cannot be read, is in true colours, or is a picture or probability map and not an outline.
    """
    from PIL import Image, UnidentifiedImageError

    from MolSubCore.imaging.io.damage import check_whole
    from MolSubCore.imaging.io.picture import check_picture

    try:
        with Image.open(path, formats=("PNG", "JPEG", "TIFF", "BMP")) as picture:
            check_picture(path, picture)
            check_whole(path, picture)
            white_is_zero = picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]
            paletted, lossy = picture.mode in ("P", "PA"), _is_lossy(picture)
            grey, notes = _grey(path, picture, white_is_zero)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, MolSubError):
            raise
        raise LesionError(path, f"cannot be read as a picture ({reason_of(error)})", "Save the mask again") from None
    if (white_is_zero or paletted) and _dark_on_bright(grey):
        share = float((grey * 2.0 < grey.max()).mean())
        found = (
            "The mask's file has an inverting lookup table (white is zero, as ImageJ saves masks) and shows a dark "
            f"area on white: the dark part, {100 * share:.2g} % of the image, was taken as the lesion."
        )
        grey, notes = grey.max() - grey, [*notes, found]
    numbered = any(note.startswith(_COLOURED[:30]) for note in notes)
    labels, told = as_labels(path, grey, colours=numbered, lossy=lossy)
    return labels, [*notes, *told]


def _grey(path: Path, picture: Any, white_is_zero: bool) -> tuple[NDArray[Any], list[str]]:
    """What a picture shows, as grey values or label numbers (rows, columns)."""
    mode = picture.mode
    transparent = mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info
    if mode in ("1", "L") and not transparent:
        shown = np.asarray(picture.convert("L"))  # Pillow turns these over where white is zero, no others
        if white_is_zero and mode == "L" and shown.min() >= 255 - MOST:
            return 255 - shown, []  # small numbers are labels, though they show all white
        return shown, []
    if mode == "F" or mode.startswith("I"):
        values = whole_numbers(path, np.array(picture))
        if white_is_zero and values.max() > MOST:
            top = (1 << min(32, max(picture.tag_v2.get(_BITS, (16,))))) - 1
            values = top - values.astype(np.int64)
        return values, []
    colours = np.asarray(picture.convert("LA").convert("RGBA") if mode == "La" else picture.convert("RGBA"))
    indices = np.asarray(picture) if mode == "P" else None
    return one_layer(path, colours, indices, lossy=_is_lossy(picture))


def _is_lossy(picture: Any) -> bool:
    return picture.format in ("JPEG", "MPO") or "jpeg" in str(picture.info.get("compression", ""))


def one_layer(
    path: Path, colours: NDArray[np.uint8], indices: NDArray[Any] | None = None, *, lossy: bool = False
) -> tuple[NDArray[Any], list[str]]:
    """Colours and opacity (rows, columns, 4) as one layer, and what was done; labels in the order of the indices.

    The ground is black, or white where the picture's border is.

    Raises
    ------
    LesionError
        If it is a picture of many colours, or nothing is painted in it.
    """
    shown, alpha = colours[..., :3], colours[..., 3]
    seen = alpha > 0
    if not seen.any():
        raise LesionError(
            path, "is transparent all over: nothing is painted in it", "Save it again with its layer visible, or flat"
        )
    if not seen.all() and seen.any() and int(np.ptp(shown[seen], axis=0).max()) <= 2:
        return alpha, ["The mask is painted in one colour on a transparent layer: what is painted is the lesion."]
    if int(alpha.min()) < 255:
        shown = np.round(shown * (alpha[..., None] / 255.0)).astype(np.uint8)
    if not (shown != shown[..., :1]).any():
        return shown[..., 0], []
    ground, drawn = "black", []
    if _white_border(shown):
        shown, ground = 255 - shown, "white"
        drawn = ["The mask is drawn in colour on white: what is coloured was taken as the lesion."]
    if _one_hue(shown, lossy=lossy):
        return shown.max(axis=-1), drawn
    codes = shown.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, labels = np.unique(codes, return_inverse=True)
    if len(found) > MOST + 1 or found[0] != 0:
        lacking = "" if found[0] == 0 else " and no black or white ground"
        raise LesionError(
            path,
            f"is a colour picture of {len(found)} colours{lacking}, expected a mask",
            "Save it in greyscale, the lesion white and all else black",
        )
    if indices is not None:  # black first, then by the smallest index of each colour
        first = np.full(len(found), 256)
        np.minimum.at(first, labels.ravel(), indices.ravel())
        first[0] = -1
        labels = np.argsort(np.argsort(first))[labels.ravel()]
    return labels.reshape(codes.shape).astype(np.uint8), [_COLOURED.format(ground)]


def _white_border(shown: NDArray[np.uint8]) -> bool:
    """Whether a colour picture's border is white, nearly all around."""
    border = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
    return bool((border.min(axis=-1) >= _WHITE).mean() >= _GROUND)


def _one_hue(shown: NDArray[np.uint8], *, lossy: bool) -> bool:
    """Whether all colours are black or one colour in several shades, as a soft brush paints them."""
    strength = shown.max(axis=-1)
    top = int(strength.max())
    if top <= MOST or len(np.unique(strength)) <= 2:
        return False
    if lossy:
        bright = shown[strength * 2.0 > top].astype(np.float64)
        of_one = np.abs(bright / bright.max(axis=-1, keepdims=True) - np.median(bright, axis=0) / top) <= _HUE_OFF
        return bool(of_one.all(axis=-1).mean() >= _OF_ONE_HUE)
    colour = shown.reshape(-1, 3)[int(strength.argmax())] / top
    return bool((np.abs(shown - strength[..., None] * colour) <= 3).all())


def _dark_on_bright(grey: NDArray[Any]) -> bool:
    """Whether most of a picture and nearly all of its border is bright."""
    bright = grey * 2.0 >= max(1, grey.max())
    border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    return bool(bright.mean() > 0.5 and border.mean() > 0.9 and not bright.all())


def whole_numbers(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Values that are whole, as integers; fractions are refused, a map of probabilities by its name (LesionError)."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if not np.isfinite(values).all():
        raise LesionError(path, "holds values that are not numbers (NaN or infinite)", "Save it as a label map")
    if (np.abs(values - np.round(values)) > _ROUNDING).any():
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            found = f"is a probability map (fractions, {low:.3g} to {high:.3g}), expected an outline"
        else:
            found = f"holds fractions ({low:.3g} to {high:.3g}), expected whole labels"
        raise LesionError(path, found, "Choose a threshold (0.5 for probabilities), and save what is above it as 1")
    return np.clip(np.round(values), np.iinfo(np.int32).min, np.iinfo(np.int32).max).astype(np.int32)


def as_labels(path: Path, values: NDArray[Any], *, colours: bool = False, lossy: bool = False) -> Labels:
    """Whole values as labels: kept where they are labels, cut at half of the brightest where they are grey shades.

    Labels are values each of which fills areas; the values of soft edges and of traces of compression lie in lines and
    single pixels around what is brighter. Small numbers (up to 50) that lie elsewhere are labels, too, however thin.
    Where there are few numbers, thin pieces between a higher and a lower one are edges, and are given to the nearer.

    Parameters
    ----------
    colours : bool
        Whether the values number colours, and are no shades.
    lossy : bool
        Whether the file was compressed with loss (JPEG), which keeps no label numbers: they are shades.

    Raises
    ------
    LesionError
        If values are negative, or the shades are those of a picture or a map of probabilities.
    """
    low, top = int(values.min()), int(values.max())
    if low < 0:
        raise LesionError(path, f"holds negative values (from {low})", "Save it with 0 outside the lesion")
    if top <= (0 if lossy else 1):
        return values, []
    rows, columns = np.flatnonzero(values.any(axis=1)), np.flatnonzero(values.any(axis=0))
    part = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    levels, place = np.unique(part.astype(np.int64), return_inverse=True)
    place = place.reshape(part.shape)
    counts, flat = _areas(place, len(levels))
    marked = levels > 0
    flat &= marked
    if marked.sum() == 1:
        return values, []
    if not lossy and not colours and marked.sum() <= MOST and (settled := _settled(place, levels)) is not None:
        left, areas = (found[marked] for found in _areas(settled, len(levels)))
        if (areas | (left == 0)).all():
            if np.count_nonzero(left) == 1:
                return _cut(values, int(marked.sum()), int(levels[marked][left > 0][0]))
            full = np.zeros(values.shape, np.int64)
            full[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = levels[settled]
            found = "Thin rims of the mask's labels have numbers in between (soft edges, as of a scaled label map)"
            return full, [f"{found}: each of their pixels was given to the nearer label, at half of the way."]
    if not lossy and marked.sum() <= MOST and flat[marked].all():
        return values, []
    if not lossy and top <= MOST and not _edges(place, levels, counts, flat).any():
        return values, []
    if colours:
        raise LesionError(
            path,
            f"is painted in {int(marked.sum())} colours, some of them soft edges: lesions cannot be told from edges",
            "Save it in greyscale, the lesion white and all else black",
        )
    if flat[marked].any():  # compression makes some pixels brighter than the label
        often = flat & marked & (counts >= _OF_MOST * counts[flat & marked].max())
        top = int(levels[often].max()) if top <= MOST or 2 * levels[often].max() >= top else top
    _check_shades(path, levels, counts, flat, top)
    return _cut(values, int(marked.sum()), top)


def _cut(values: NDArray[Any], count: int, top: int) -> Labels:
    """Shades, cut at half of the brightest."""
    found = (
        f"The mask holds {count} grey values (soft edges, or traces of JPEG compression) instead of "
        f"labels: pixels of at least half of the brightest value ({(top + 1) // 2} of {top}) were taken as the lesion."
    )
    return (values >= (top + 1) // 2).astype(np.uint8), [found]


def _areas(place: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels of each level, and whether it fills areas."""
    counts = np.bincount(place.ravel(), minlength=count)
    inner = np.bincount(place[_same_around(place)], minlength=count)
    return counts, inner >= np.maximum(1, _INNER * counts)


def _settled(place: NDArray[Any], levels: NDArray[Any]) -> NDArray[Any] | None:
    """Places of levels without thin pieces between a higher and a lower one; None where there are no such pieces.

    Nor with slivers that are hardly higher than a label that they touch, as interpolation by cubes makes them.
    """
    from scipy import ndimage

    numbered, _ = ndimage.label(levels[place] > 0, np.ones((3, 3)))
    found = place.copy()
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
        box = slice(max(0, rows.start - 1), rows.stop + 1), slice(max(0, columns.start - 1), columns.stop + 1)
        own = numbered[box] == number
        part = np.where(own, place[box], 0)
        several = len(np.unique(part[own]))
        if several > 1 and several * part.size <= _MOST_WORK:
            found[box][own] = _settled_piece(part, levels)[own]
    return None if np.array_equal(found, place) else found


def _settled_piece(place: NDArray[Any], levels: NDArray[Any]) -> NDArray[Any]:
    """The same of one piece of the mask; its surroundings have place 0."""
    from scipy import ndimage

    def nearest(side: NDArray[np.bool_], own: NDArray[np.bool_], otherwise: int) -> NDArray[Any]:
        if not side.any():
            return np.full(np.count_nonzero(own), otherwise)
        at = ndimage.distance_transform_edt(~side, return_distances=False, return_indices=True)
        return place[tuple(index[own] for index in at)]

    around = np.ones((3, 3), bool)
    ground = 0 if levels[0] == 0 else -1
    present = [number for number in np.unique(place).tolist() if number != ground]
    edges, slivers = np.zeros(place.shape, bool), np.zeros(place.shape, bool)
    for number in present:
        own = place == number
        numbered, count = ndimage.label(own, around)
        depths = ndimage.distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1]
        depth = ndimage.maximum(depths, numbered, range(1, count + 1))
        below = (place < number) & (levels[place] > _HARDLY * levels[number])
        higher, lower, just = (
            np.bincount(numbered[own & ndimage.binary_dilation(other, around)], minlength=count + 1)[1:]
            for other in (place > number, place < number, below)
        )
        thin = (depth <= _THIN) & (higher > 0) & (higher >= _AT_HIGHER * (higher + lower))
        sliver = ~thin & (depth <= _SLIVER) & (just > 0) & (just >= _AT_HIGHER * (higher + lower))
        edges |= np.append(False, thin)[numbered]
        slivers |= np.append(False, sliver)[numbered]
    unsettled = edges | slivers
    found = place.copy()
    for number in np.unique(place[unsettled]):
        own = edges & (place == number)
        if own.any():
            high = nearest(~unsettled & (place > number), own, present[-1])
            low = nearest(~unsettled & (place < number), own, 0)
            found[own] = np.where(2 * levels[number] >= levels[high] + levels[low], high, low)
        own = slivers & (place == number)
        if own.any():
            found[own] = nearest(
                ~unsettled & (place < number) & (levels[place] > _HARDLY * levels[number]), own, number
            )
    return found


def _edges(
    place: NDArray[Any], levels: NDArray[Any], counts: NDArray[Any], flat: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which small values are no labels of their own, but lie around (or in) what other values fill."""
    from scipy import ndimage

    found = (levels > 0) & ~flat
    # What is bright: the areas; where there are none, all from half of the brightest on.
    bright = flat if flat[levels > 0].any() else levels * 2 >= levels[-1]
    near = ndimage.distance_transform_edt(~(bright & (levels > 0))[place]) <= _NEAR
    around = np.bincount(place[near], minlength=len(levels))
    return found & (around * 2 > counts)


def _check_shades(path: Path, levels: NDArray[Any], counts: NDArray[Any], flat: NDArray[np.bool_], top: int) -> None:
    """Refuse grey shades that are no soft edges."""
    between = flat & (levels > _TRACE * top) & (levels < _FULL * top)
    area = int(counts[levels * 2 >= top].sum())
    if (between & (counts >= max(16, 0.02 * area))).any():
        values = ", ".join(str(value) for value in levels[between][:5].tolist())
        raise LesionError(
            path,
            f"holds several grey levels ({values}, ..., {top}) and soft edges: labels cannot be told from edges",
            "Save it without smoothing, compression or scaling, one whole number a lesion",
        )
    soft = int(counts[(levels > 0.25 * top) & (levels < 0.75 * top)].sum())
    if soft > _SOFT * area:
        count = int((levels > 0).sum())
        found = f"holds {count} grey values, and more shades than soft edges have: a picture or a probability map"
        raise LesionError(
            path, found, "Give an outline: 0 outside, one value in the lesion (of probabilities, those above 0.5)"
        )


def _same_around(place: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels whose eight neighbours have the same value; outside the array counts as the same."""
    same = np.ones(place.shape, bool)
    across = place[:, 1:] == place[:, :-1]
    same[:, 1:] &= across
    same[:, :-1] &= across
    # A pixel's row is the same on both sides; now the same of the rows above and below.
    down = place[1:] == place[:-1]
    row = same.copy()
    same[1:] &= down & row[:-1]
    same[:-1] &= down & row[1:]
    return same


Layers = tuple[SourceKind, Sequence[NDArray[np.integer]], list[str]]

_VOLUMES = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
}
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
#: Endings that decide how a lesion file is read.
KNOWN_ENDINGS = (*_VOLUMES, *_PICTURES, ".json")
_POINTS_CAP, _JSON_CAP = 100_000, 16 << 20
_POLYGONS = '{"lesions": [{"points": [[row, col], ...]}]}, pixels, rows (y) first'
#: Keys by which a file of polygons says what its image is, without case and signs.
_SIZES = ("shape", "imageshape", "size", "imagesize")
_HIGH, _WIDE = (
    ("rows", "height", "imageheight", "imagerows"),
    ("columns", "cols", "width", "imagewidth", "imagecolumns"),
)
_NAMED = ("image", "imagename", "imagefile", "imagepath", "file", "filename", "filepath")
#: On images longer than this, outlines of coordinates up to 1 are shares of it; share of a polygon's points outside the
#: image from which on it is asked whether x and y were exchanged; share of what is filled that is no crossing yet.
_SHARES, _MOVED, _CROSSED = 8, 0.1, 0.1


def read_layers(path: Path, mammogram: Mammogram) -> Layers:
    """Read a lesion file: its kind, one or more label maps (rows, columns), and warnings.

    Raises
    ------
    LesionError
        If it cannot be read.
    """
    name = path.name.lower()
    if why := why_no_file(path):
        raise LesionError(path, why, "Name the file of one lesion outline")
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on names that are too long
        raise LesionError(path, "does not exist or is not a file", "Check the path")
    try:
        with one_line(path):
            _refuse_the_image(path, mammogram)
            return _read_layers(path, name, mammogram)
    except ImageError as error:
        raise LesionError(path, error.problem, error.remedy) from error


def _read_layers(path: Path, name: str, mammogram: Mammogram) -> Layers:
    if name.endswith(".json"):
        return _polygons(path, mammogram)
    if name.endswith(_PICTURES):
        labels, notes = read_painted(path)
        return "mask", [labels], notes
    for suffix, kind in _VOLUMES.items():
        if name.endswith(suffix):
            return "mask", *_volume(path, kind, mammogram)
    if is_dicom(path):
        return "mask", *read_segmentation(path, mammogram)
    if name.endswith(".gz"):
        raise LesionError(path, "is packed (gzip)", "Unpack it; only NIfTI is read packed (.nii.gz)")
    known = ", ".join((*_VOLUMES, *_PICTURES, ".json"))
    raise LesionError(
        path, "is not a lesion file of a known type", f"Use {known}, DICOM SEG, or a box row0,col0,row1,col1"
    )


def _refuse_the_image(path: Path, mammogram: Mammogram) -> None:
    """The image itself, or a copy of its file, is no mask of it."""
    source = mammogram.source
    if source is None or not source.is_file():
        return
    same = path.samefile(source)
    if same or (path.stat().st_size == source.stat().st_size and filecmp.cmp(path, source, shallow=False)):
        found = "is the image itself" if same else "is a copy of the image"
        raise LesionError(path, f"{found}, expected the mask of its lesion", "Give the file of the outline, or a box")


def _volume(path: Path, kind: str, mammogram: Mammogram) -> tuple[list[NDArray[np.integer]], list[str]]:
    """NIfTI, NRRD and MetaImage: one slice; several channels are layers of a .seg.nrrd."""
    image = read_slice(path, kind, several_channels=True)
    values = whole_numbers(path, slice_array(image))
    seen: list[str] = []
    if _is_colour(image, values):
        eight = values if values.max() <= 255 else values >> 8
        alpha = eight[..., 3] if values.shape[2] == 4 else np.full(values.shape[:2], 255)
        grey, seen = one_layer(path, np.dstack([eight[..., :3], alpha]).astype(np.uint8))
        values = grey[..., None]
    values, named = _without_named(path, image, values)
    seen += named
    numbered = any(note.startswith(_COLOURED[:30]) for note in seen)
    found = [as_labels(path, values[..., n], colours=numbered) for n in range(values.shape[2])]
    layers, notes = [layer for layer, _ in found], [*seen, *(note for _, told in found for note in told)]
    offset = (
        image.GetMetaData("Segmentation_ReferenceImageExtentOffset")
        if image.HasMetaDataKey("Segmentation_ReferenceImageExtentOffset")
        else ""
    )
    full = [_uncropped(path, layer, offset, mammogram.shape) for layer in layers] if offset.strip() else layers
    cropped = any(layer.shape != before.shape for layer, before in zip(full, layers, strict=True))
    matched, doubts = match_grid(path, full, grid_of(image), mammogram, cropped=cropped)
    return matched, [*notes, *doubts]


def _without_named(path: Path, image: Any, values: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """The values (rows, columns, channels) of a .seg.nrrd without segments that are no lesions by their names."""
    keys = [re.fullmatch(r"Segment(\d+)_Name(?:AutoGenerated)?", key) for key in image.GetMetaDataKeys()]
    channels, verdicts, result = values.shape[2], [], values
    for number in sorted({int(key[1]) for key in keys if key}):
        told = {
            name: image.GetMetaData(key) if image.HasMetaDataKey(key := f"Segment{number}_{name}") else ""
            for name in ("Name", "Tags", "Layer", "LabelValue")
        }
        entry = re.search(r"TerminologyEntry:([^|]*)", told["Tags"])
        codes = [part.split("^") for part in entry[1].split("~")[1:3]] if entry else []  # category and type
        verdict = judge(
            [told["Name"]], [code[-1] for code in reversed(codes)], [code[1] for code in codes if len(code) > 1]
        )
        layer = told["Layer"] if re.fullmatch(r"\d{1,3}", told["Layer"]) else str(number if channels > 1 else 0)
        value = told["LabelValue"] if re.fullmatch(r"\d{1,9}", told["LabelValue"]) else "1" if channels > 1 else ""
        if not verdict[0] or int(layer) >= channels:
            continue
        # An old file of one segment has no label values: all is the segment.
        own = values[..., int(layer)] == int(value) if value else values[..., int(layer)] != 0
        if own.any():
            verdicts.append(verdict)
            if not verdict[1]:
                result = result.copy() if result is values else result
                result[..., int(layer)][own] = 0
    return result, _told_of_names(path, [result], verdicts)


def _is_colour(image: Any, values: NDArray[Any]) -> bool:
    """Whether a pixel's three or four values are a colour and its opacity, and not the layers of a segmentation."""
    layered = any(key.startswith("Segment") for key in image.GetMetaDataKeys())
    return not layered and values.shape[2] in (3, 4) and MOST < values.max() < 1 << 16 and int(values.min()) >= 0


def _uncropped(path: Path, layer: NDArray[np.integer], offset: str, shape: tuple[int, int]) -> NDArray[np.integer]:
    """Put a layer that 3D Slicer cut to the segmentation's extent back on the image's grid."""
    numbers = re.findall(r"-?\d+", offset)
    if len(numbers) < 2 or layer.shape == shape:
        return layer
    column, row = int(numbers[0]), int(numbers[1])
    rows, columns = layer.shape
    if min(row, column) < 0 or row + rows > shape[0] or column + columns > shape[1]:
        place = f"{rows} rows x {columns} columns at row {row}, column {column}"
        found = f"has {place}, its image has {shape[0]} rows x {shape[1]} columns"
        raise LesionError(path, found, "Outline the lesion on this very image")
    full = np.zeros(shape, layer.dtype)
    full[row : row + rows, column : column + columns] = layer
    return full


def _polygons(path: Path, mammogram: Mammogram) -> Layers:
    """Polygons: ``{"lesions": [{"points": [[row, column], ...]}]}``, or a list with ``cgPoints`` (TOMPEI-CMMD)."""
    shape = mammogram.shape
    warnings: list[str] = []
    try:
        if path.stat().st_size > _JSON_CAP:
            raise LesionError(path, f"has more than {_JSON_CAP >> 20} MiB", "Give the outlines of one image")
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=functools.partial(_members, path))
        if name := _other_format(content):
            raise LesionError(path, f"is a {name} file, which is not read as a lesion", f"Convert it to {_POLYGONS}")
        for entry in (content, *content["lesions"]) if isinstance(content, dict) else content:
            _refuse_otherwise_meant(path, entry)
        if isinstance(content, dict):
            for entry in (content, *content["lesions"]):
                told = {re.sub(r"[^a-z]", "", str(key).casefold()): value for key, value in entry.items()}
                if entry is not content:  # a size there may be the lesion's
                    told = {key: value for key, value in told.items() if key.startswith(("image", "file"))}
                warnings += _image_told(path, told, mammogram)
            if odd := next(
                (e["hole"] for e in content["lesions"] if not isinstance(e.get("hole"), bool | int | None)), None
            ):
                raise LesionError(path, f"has the value '{odd!s:.20}' of 'hole'", "Give true or false, without quotes")
            entries, named = _without_named_entries(path, content["lesions"])
            outlines = [np.array(entry["points"], float) for entry in entries]
            warnings += named
            cut = [entry["points"] for entry in content["lesions"] if entry.get("hole")]
            cut += [points for entry in entries for points in entry.get("holes") or ()]
            holes = [np.array(points, float) for points in cut]
        else:
            entries, warnings = _without_named_entries(path, content)
            outlines = [np.array([[p["y"], p["x"]] for p in entry["cgPoints"]], float) for entry in entries]
            holes = []
    except LesionError:
        raise
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LesionError(path, f"holds no polygons ({_why_none(error)})", f"Use {_POLYGONS}") from None
    if max(len(outlines), len(holes)) > MOST:
        count = max(len(outlines), len(holes))
        raise LesionError(path, f"holds {count} polygons, at most {MOST} are read", "Give those of one image")
    checked = [_checked_polygon(path, f"polygon {n}", points, shape) for n, points in enumerate(outlines, start=1)]
    cuts = [_checked_polygon(path, f"hole {n}", points, shape) for n, points in enumerate(holes, start=1)]
    warnings = [*dict.fromkeys(warnings), *(text for _, told in (*checked, *cuts) for text in told)]
    if cuts:
        warnings.append(f"The lesions are without {counted(len(cuts), 'hole')}, polygons marked as such.")
    return "polygon", _Filled([points for points, _ in checked], [points for points, _ in cuts], shape), warnings


def _why_none(error: BaseException) -> str:
    """Why a file of polygons could not be read, in words for whoever wrote it."""
    if isinstance(error, KeyError):
        return f"'{error.args[0]}' is missing"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON from line {error.lineno}, column {error.colno} on"
    if isinstance(error, UnicodeDecodeError):
        return "no text in UTF-8"
    if isinstance(error, TypeError | AttributeError):
        return "it is built otherwise"
    return reason_of(error)


#: Keys by which a file, or a polygon of it, says that its points are meant otherwise, and what is meant here; keys by
#: which it says that a polygon does not count, and that it does.
_UNITS, _PIXELS = ("unit", "units", "coordinateunit", "coordinateunits"), ("px", "pixel", "pixels", "")
_ORDERS = ("order", "axes", "axisorder", "coordinateorder", "pointorder", "coordinates", "convention")
_X_FIRST = ("xy", "colrow", "columnrow", "colsrows", "columnsrows", "cr")
_MOVES, _STRETCHES = ("origin", "offset"), ("scale", "scalefactor", "scaling")
_DOES_NOT_COUNT = ("deleted", "isdeleted", "hidden", "ishidden", "ignore", "ignored", "disabled", "rejected")
_COUNTS = ("visible", "isvisible", "enabled", "active")
_AFFIRMED, _NEGATED = (True, "true", "yes", "1"), (False, "false", "no", "0")


def _refuse_otherwise_meant(path: Path, entry: Any) -> None:
    """Refuse points in another unit or order, moved or stretched ones, and polygons that are marked as deleted."""
    if not isinstance(entry, dict):
        return
    for key, value in entry.items():
        name = re.sub(r"[^a-z]", "", str(key).casefold())
        word = value.strip().casefold() if isinstance(value, str) else value
        parts = value if isinstance(value, list) else [*value.values()] if isinstance(value, dict) else [value]
        numbers = [one for one in parts if isinstance(one, int | float) and not isinstance(one, bool)]
        letters = re.sub(r"[^a-z]", "", "".join(one for one in parts if isinstance(one, str)).casefold())
        if name in _UNITS and letters not in _PIXELS:
            remedy = "Give [row, col] in pixels"
        elif name in _ORDERS and letters in _X_FIRST:
            remedy = "Give [row, col], rows (y) first"
        elif (name in _MOVES and any(numbers)) or (name in _STRETCHES and any(one != 1 for one in numbers)):
            remedy = "Give [row, col] in the pixels of the whole image"
        elif (name in _DOES_NOT_COUNT and word in _AFFIRMED) or (name in _COUNTS and word in _NEGATED):
            remedy = "Take out the polygon, or this mark"
        else:
            continue
        raise LesionError(path, f"says '{name}: {json.dumps(value):.40}', which is not read", remedy)


#: Keys by which a polygon says what it outlines.
_CALLED = ("name", "label", "class", "category", "title", "description")


def _without_named_entries(path: Path, entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The polygons that are no holes, without those that are no lesions by their names, and what is said of these."""
    kept, verdicts = [], []
    for entry in (entry for entry in entries if not entry.get("hole")):
        told = {str(key).casefold(): value for key, value in entry.items() if isinstance(value, str)}
        verdict = judge(told[key] for key in _CALLED if key in told)
        if verdict[0]:
            verdicts.append(verdict)
        else:
            kept.append(entry)
    return kept, _told_of_names(path, [np.ones(1, int)] if kept else [], verdicts)


def _members(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, none of its keys twice: which of them counts, every reader decides by itself."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            name = f"'{key}'" if key in ("lesions", "points", "hole", "holes") else "one of its keys"
            raise LesionError(path, f"holds {name} twice in one place", "Keep the right one, and take the other out")
        found[key] = value
    return found


def _other_format(content: Any) -> str:
    """The name of another program's format, such as LabelMe's; empty where it is none that is known."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict) or "lesions" in first or "cgPoints" in first:
        return ""
    if "shapes" in first:
        return "LabelMe"
    if "annotations" in first and ("images" in first or "categories" in first):
        return "COCO"
    if any(key.startswith("_via_") for key in first) or any(
        isinstance(value, dict) and "regions" in value for value in first.values()
    ):
        return "VIA (VGG Image Annotator)"
    if "markups" in first:
        return "3D Slicer markups"
    if first.get("type") in ("Feature", "FeatureCollection"):
        return "GeoJSON (as of QuPath)"
    if "annotations" in first or "completions" in first:
        return "Label Studio"
    return "Supervisely" if "objects" in first else ""


def _image_told(path: Path, told: dict[str, Any], mammogram: Mammogram) -> list[str]:
    """What a file of polygons says of its image, held against the image: its size, its UID, its name."""
    rows, columns = mammogram.shape
    size = next((told[key] for key in _SIZES if isinstance(told.get(key), list) and len(told[key]) >= 2), None)
    high, wide = (next((told[key] for key in keys if key in told), None) for keys in (_HIGH, _WIDE))
    if size is not None and sorted(size[:2]) != sorted((rows, columns)):
        high, wide = size[:2]
    elif (high is None or high == rows) and (wide is None or wide == columns):
        uid, own = told.get("sopinstanceuid"), mammogram.identifiers.get("SOPInstanceUID")
        if isinstance(uid, str) and own and uid.strip() != own:
            raise LesionError(
                path, "names another image (SOP Instance UID) than this one", "Give the outline of this image"
            )
        names = [told[key] for key in _NAMED if isinstance(told.get(key), str) and told[key].strip()]
        stems = {re.split(r"[/\\]", name.strip())[-1].partition(".")[0].casefold() for name in names}
        if mammogram.source is not None and stems and mammogram.source.name.partition(".")[0].casefold() not in stems:
            return ["The file of the outline names another image file than this one. Is it the outline of this image?"]
        return []
    found = f"is of an image of {high} rows x {wide} columns by its own words, this one has {rows} x {columns}"
    raise LesionError(path, found, "Give the outline of this image")


def _checked_polygon(
    path: Path, name: str, points: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], list[str]]:
    """The points of a polygon on the image, and what is doubtful about it; LesionError where it is none."""
    if points.ndim == 2 and len(points) > _POINTS_CAP:
        found = f"{name} has {len(points)} points, at most {_POINTS_CAP} are read"
        raise LesionError(path, found, "Give its corners, or a mask instead")
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        count = len(points) if points.ndim else 0
        raise LesionError(path, f"{name} has {count} points", "Give three or more points, [row, col] each")
    if not np.isfinite(points).all():
        raise LesionError(path, f"{name} has a point that is not a number", "Correct it")
    if points.min() >= 0 and points.max() <= 1 and max(shape) > _SHARES:
        found = f"{name} has coordinates from 0 to 1 only (shares of the image?), expected pixels"
        raise LesionError(path, found, "Multiply rows by the image's rows and columns by its columns")
    inside = np.clip(points, 0, np.array(shape) - 1)
    moved = (inside != points).any(axis=1)
    warnings = []
    if moved.any():
        size = f"the image of {shape[0]} rows x {shape[1]} columns"
        exchanged = points[:, ::-1]
        if (np.clip(exchanged, 0, np.array(shape) - 1) == exchanged).all() and moved.mean() > _MOVED:
            found = f"{name} reaches outside {size}, but would fit as [column, row] (x before y)"
            raise LesionError(path, found, "Give [row, col], rows (y) first")
        if moved.all():
            raise LesionError(path, f"{name} lies outside {size}", "Give the outlines of this image, in its pixels")
        warnings.append(f"Points of {name} lay outside the image and were moved to its border.")
    rows, columns = inside.T
    area = abs(float(np.dot(rows, np.roll(columns, 1)) - np.dot(columns, np.roll(rows, 1)))) / 2
    start = np.floor(inside.min(axis=0))
    corner = np.ceil(inside.max(axis=0)) - start + 1
    filled = int(np.count_nonzero(_filled(inside - start, (int(corner[0]), int(corner[1])))))
    # Pixels on the outline are filled, too: half of them lie outside.
    rim = float(np.abs(inside - np.roll(inside, 1, axis=0)).max(axis=1).sum()) / 2 + 2
    if area < 1 and filled <= 2 * rim + 2:
        raise LesionError(path, f"{name} encloses no area (its points lie on one line)", "Outline the lesion")
    if filled - area > rim + _CROSSED * filled:
        warnings.append(f"The line of {name} crosses itself: its parts were filled as they lie. Check the outline.")
    return inside, warnings


class _Filled(Sequence[NDArray[np.integer]]):
    """The layer of each polygon, made when it is asked for: all at once would fill the memory."""

    def __init__(
        self, outlines: list[NDArray[np.float64]], holes: list[NDArray[np.float64]], shape: tuple[int, int]
    ) -> None:
        self._outlines, self._holes, self._shape = outlines, holes, shape

    def __len__(self) -> int:
        return len(self._outlines)

    def __getitem__(self, index: Any) -> Any:
        layer = _filled(self._outlines[index], self._shape)
        for hole in self._holes:
            layer[_filled(hole, self._shape) > 0] = 0
        return layer


def _filled(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.integer]:
    """Pixels whose centre is inside a polygon (even-odd rule) or that its outline passes: OpenCV's ``fillPoly``."""
    layer = np.zeros(shape, np.uint8)
    corners = np.round(points).astype(np.int64)
    first, last = corners.min(axis=0), corners.max(axis=0)
    part = layer[first[0] : last[0] + 1, first[1] : last[1] + 1]
    corners -= first
    # Where a row crosses an edge, inside becomes outside: from the first pixel that isn't left of it.
    crossings = np.zeros((part.shape[0], part.shape[1] + 1), bool)
    for (row, column), (end, target) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.arange(min(row, end), max(row, end))
        columns = column - (row - rows) * (target - column) // (end - row) if len(rows) else rows
        np.logical_xor.at(crossings, (rows, columns), True)
    part[:] = np.logical_xor.accumulate(crossings[:, :-1], axis=1)
    for start, stop in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        (row, column), (end, target) = sorted((start, stop), key=lambda corner: corner[1])
        rows, columns = end - row, target - column
        steps = max(abs(rows), columns)
        along = np.arange(steps + 1)
        if columns >= abs(rows):  # Bresenham's line, halves towards the start
            part[row - np.sign(rows) * ((steps - 2 * abs(rows) * along) // (2 * max(steps, 1))), column + along] = 1
        else:
            part[row + np.sign(rows) * along, column - (steps - 2 * columns * along) // (2 * steps)] = 1
    return layer


def write_mask(
    path: Path, labels: NDArray[Any], *, row_mm: float | None, col_mm: float | None, notes: str = "",
    durable: bool = True, new: bool = False,
) -> None:  # fmt: skip
    """Write a label map as a volume of one slice; the file appears whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.nrrd``.
    labels : ndarray, shape (rows, columns), or (layers, rows, columns) for .nrrd
        0 is no lesion, up to 255.
    row_mm, col_mm : float, optional
        Distances of rows and of columns in mm; 1 where not known.
    notes : str
        Text in the header.
    durable, new : bool
        As of `MolSubCore.files.atomic_path`.

    Raises
    ------
    OSError, RuntimeError
        If the disk refuses.
    """
    import SimpleITK as sitk

    labels = np.asarray(labels, np.uint8)
    layered = labels.ndim == 3
    image = sitk.GetImageFromArray((np.moveaxis(labels, 0, -1) if layered else labels)[None], isVector=layered)
    image.SetSpacing((float(col_mm or 1.0), float(row_mm or 1.0), 1.0))
    if notes:
        image.SetMetaData("ITK_FileNotes", notes)
    with atomic_path(path, durable=durable, new=new) as temporary:
        # A mask is mostly one value: level 2 of .nrrd is quicker than none at all, since less goes to the disk.
        with native_target(temporary) as name:
            sitk.WriteImage(image, name, useCompression=True, compressionLevel=2)
        if not _holds(temporary, sitk.GetArrayViewFromImage(image)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _holds(path: Path, values: NDArray[Any]) -> bool:
    """Whether a file was written whole: where the disk is full, ITK cuts files short and says nothing."""
    content = path.read_bytes()
    if path.suffix == ".nrrd":  # checksum and length of the voxels are the end of the file
        return content[-8:] == struct.pack("<II", zlib.crc32(values.data), values.nbytes)
    try:
        return gzip.decompress(content).endswith(values.tobytes())
    except (EOFError, OSError, zlib.error):
        return False


#: Share of a lesion that lies in another one, where it is within it.
_WITHIN = 0.9
#: Share of a box outside the image from which on it is asked whether its numbers were exchanged; share on the breast
#: that bears another reading of them out.
_LOST, _ON_BREAST = 0.1, 0.75


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
        given = Box(row0, row1, col0, col1)
        boxed = _judged(_from_box(text, given, mammogram.shape), mammogram)
        if boxed.wrong and (hint := _other_convention(given, mammogram)):
            told, _, remedy = boxed.problems[0].rpartition(". ")
            boxed = dataclasses.replace(boxed, problems=(f"{told}. {hint}{remedy}", *boxed.problems[1:]))
        return boxed
    check_lesion_source(text)
    path = Path(text)
    kind, layers, warnings = read_layers(path, mammogram)
    lesions: list[Lesion] = []
    for layer in layers:
        _check_grid(path, layer.shape, mammogram.shape)
        found, dropped = divide(path, layer, split, several=len(layers) > 1)
        lesions += [Lesion("", box, mask, kind) for box, mask in found]
        warnings += dropped
    if not lesions:
        raise LesionError(path, "holds no lesion: every pixel is 0", "Outline the lesion, or give its box")
    lesions, doubled = _once(lesions)
    warnings += [*doubled, *mask_doubts(path, mammogram.laterality, mammogram.view)]
    if word := name_word(path):
        warnings.append(f"The mask's name says '{word}': check that it outlines the lesion.")
    numbered = [Lesion(str(n), lesion.box, lesion.mask, kind) for n, lesion in enumerate(lesions, start=1)]
    other = tuple(text for text in warnings if text == OTHER_IMAGE)
    found_all = LesionSet(tuple(numbered), mammogram.shape, tuple(text for text in warnings if text != OTHER_IMAGE))
    judged = _judged(found_all, mammogram)
    if other:
        labels = tuple(lesion.label for lesion in numbered)
        judged = dataclasses.replace(judged, problems=(*other, *judged.problems), wrong=labels)
    return judged


def name_word(path: Path) -> str:
    """The word of a file's name that says that it outlines something else than a lesion; empty where there is none."""
    return judge([re.sub(r"\.[^.]*$", "", path.name)])[0]


def _once(lesions: list[Lesion]) -> tuple[list[Lesion], list[str]]:
    """Lesions without those that are there twice, and that some lie within others, in sentences."""
    kept: list[Lesion] = []
    for lesion in lesions:
        if not any(one.box == lesion.box and _same(one, lesion) for one in kept):
            kept.append(lesion)
    told: list[str] = []
    if len(kept) < len(lesions):
        found = f"{counted(len(lesions) - len(kept), 'outline')} of the file repeated another (as of several channels)"
        told.append(f"{found}: each was taken once.")
    for number, lesion in enumerate(kept, start=1):
        for other, outer in enumerate(kept, start=1):
            if other != number and _within(lesion, outer) and not (other > number and _within(outer, lesion)):
                found = f"Lesion {number} lies within lesion {other}: each counts as a lesion of its own."
                told.append(f"{found} If they are parts of one, give them one label.")
                break
    return kept, told


def _same(one: Lesion, other: Lesion) -> bool:
    return one.mask is not None and other.mask is not None and np.array_equal(one.mask, other.mask)


def _within(inner: Lesion, outer: Lesion) -> bool:
    """Whether a lesion lies (nearly) all in another one, or in a hole of it."""
    if inner.mask is None or outer.mask is None or inner.box.union(outer.box) != outer.box:
        return False
    from scipy import ndimage

    row, col = inner.box.row_start - outer.box.row_start, inner.box.col_start - outer.box.col_start
    rows, columns = inner.box.shape
    whole = ndimage.binary_fill_holes(outer.mask)[row : row + rows, col : col + columns]
    return bool(whole[inner.mask].mean() > _WITHIN)


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
    if is_meant_as_box(text) and not os.path.lexists(text):
        raise LesionError(f"box {text}", why_no_box(text), "Give row0,col0,row1,col1")
    if why := why_no_file(text):
        raise LesionError(text, why, "Name the file of one outline, or give a box row0,col0,row1,col1")
    if not os.path.isfile(text):  # noqa: PTH113 - Path.is_file raises on names that are too long
        raise LesionError(text, "does not exist or is not a file", "Check the path, or give a box row0,col0,row1,col1")


def _from_box(text: str, box: Box, shape: tuple[int, int]) -> LesionSet:
    rows, columns = shape
    size = f"the image of {rows} rows x {columns} columns"
    if min(box.shape) < 1:
        ends = "row1 is not below row0" if box.shape[0] < 1 else "col1 is not right of col0"
        found = f"has no pixel: {ends}. Boxes of another convention (x, y, width, height) must be converted"
        raise LesionError(f"box {text}", found, "Give row0,col0,row1,col1 with row0 < row1 and col0 < col1")
    cut = _inside(box, shape)
    if min(cut.shape) < 1:
        raise LesionError(f"box {text}", f"has no pixel on {size}", "Give row0,col0,row1,col1 in pixels of this image")
    lost = 1 - cut.shape[0] * cut.shape[1] / (box.shape[0] * box.shape[1])
    exchanged = Box(box.col_start, box.col_stop, box.row_start, box.row_stop)
    if lost > _LOST and _inside(exchanged, shape) == exchanged:
        found = f"reaches outside {size}, but would fit as col0,row0,col1,row1 (x before y)"
        raise LesionError(f"box {text}", found, "Give row0,col0,row1,col1, rows (y) first")
    share = f"{100 * lost:.2g}" if lost < 0.99 else "over 99"
    told = f"The box reaches outside the image and was cut at its border ({share} % of it)."
    return LesionSet((Lesion("1", cut, None, "box"),), shape, () if cut == box else (told,))


def _inside(box: Box, shape: tuple[int, int]) -> Box:
    """A box without what lies outside the image."""
    rows, columns = shape
    return Box(max(box.row_start, 0), min(box.row_stop, rows), max(box.col_start, 0), min(box.col_stop, columns))


def _other_convention(box: Box, mammogram: Mammogram) -> str:
    """As what the numbers of a box in the air would lie on the breast, in words; empty where as nothing."""
    row0, col0, row1, col1 = box.row_start, box.col_start, box.row_stop, box.col_stop
    for name, other in (
        ("col0,row0,col1,row1 (x before y)", Box(col0, col1, row0, row1)),
        ("x,y,width,height", Box(col0, col0 + col1, row0, row0 + row1)),
    ):
        if min(other.shape) > 0 and _inside(other, mammogram.shape) == other:
            share = tissue_share(Lesion("1", other, None, "box"), mammogram)
            if share is not None and share > _ON_BREAST:
                return f"As {name} the box would lie on the breast. "
    return ""


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
