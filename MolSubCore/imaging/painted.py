"""Masks that are pictures (PNG, JPEG, TIFF, BMP), read as a person sees them; and label maps told from grey shades.

A picture is what it shows, not the numbers it stores: palettes are applied, transparent layers laid over black, the
photometric interpretation is respected. What is bright is lesion. Exceptions, because the picture itself says so: a
layer painted in one colour is its opacity, and where an inverting table (white is 0) shows the mask as dark on a
bright ground, as ImageJ saves masks, the dark part is the lesion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import LesionError, MolSubError, reason_of
from MolSubCore.imaging.lesion import MOST

#: A value is a label's if this share of its pixels has only pixels of the same value around: soft edges have none.
_INNER = 0.2
#: Shares of the brightest value: traces of compression lie below the first or above the second.
_TRACE, _FULL = 0.2, 0.8
#: Pixels between a quarter and three quarters of the brightest value for each one above half of it: more are no edge.
_SOFT = 0.6
#: So near (pixels) to the bright part lie soft edges and traces of compression, which goes by blocks of 8.
_NEAR = 8
_PHOTOMETRIC, _BITS = 262, 258

_COLOURED = "The mask's colours were taken as labels, black as the ground."

Labels = tuple[NDArray[np.integer], list[str]]


def read_painted(path: Path) -> Labels:
    """Read a picture as a label map (rows, columns), and say what was done to get it.

    Raises
    ------
    LesionError
        If it cannot be read, is in true colours, or is a picture or probability map and not an outline.
    """
    from PIL import Image, UnidentifiedImageError

    from MolSubCore.imaging.raster import check_picture
    from MolSubCore.imaging.whole_picture import check_whole

    try:
        with Image.open(path, formats=("PNG", "JPEG", "TIFF", "BMP")) as picture:
            check_picture(path, picture)
            check_whole(path, picture)
            white_is_zero = picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]
            paletted = picture.mode in ("P", "PA")
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
    labels, told = as_labels(path, grey, colours=_COLOURED in notes)
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
    return _one_layer(path, colours, np.asarray(picture) if mode == "P" else None)


def _one_layer(path: Path, colours: NDArray[np.uint8], indices: NDArray[Any] | None) -> tuple[NDArray[Any], list[str]]:
    """Colours and opacity as one layer; labels in the order of the palette's indices."""
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
    if _one_hue(shown):
        return shown.max(axis=-1), []
    codes = shown.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, labels = np.unique(codes, return_inverse=True)
    if len(found) > MOST + 1 or found[0] != 0:
        ground = "" if found[0] == 0 else " and no black ground"
        raise LesionError(
            path,
            f"is a colour picture of {len(found)} colours{ground}, expected a mask",
            "Save it in greyscale, the lesion white and all else black",
        )
    if indices is not None:  # black first, then by the smallest index of each colour
        first = np.full(len(found), 256)
        np.minimum.at(first, labels.ravel(), indices.ravel())
        first[0] = -1
        labels = np.argsort(np.argsort(first))[labels.ravel()]
    return labels.reshape(codes.shape).astype(np.uint8), [_COLOURED]


def _one_hue(shown: NDArray[np.uint8]) -> bool:
    """Whether all colours are black or one colour in several shades, as a soft brush paints them."""
    strength = shown.max(axis=-1)
    top = int(strength.max())
    if top <= MOST or len(np.unique(strength)) <= 2:
        return False
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
        raise LesionError(path, "holds values that are no numbers (NaN or infinite)", "Save it as a label map")
    if (values != np.round(values)).any():
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            found = f"is a probability map (fractions, {low:.3g} to {high:.3g}), expected an outline"
        else:
            found = f"holds fractions ({low:.3g} to {high:.3g}), expected whole labels"
        raise LesionError(path, found, "Choose a threshold (0.5 for probabilities), and save what is above it as 1")
    return np.clip(values, np.iinfo(np.int32).min, np.iinfo(np.int32).max).astype(np.int32)


def as_labels(path: Path, values: NDArray[Any], *, colours: bool = False) -> Labels:
    """Whole values as labels: kept where they are labels, cut at half of the brightest where they are grey shades.

    Labels are values each of which fills areas; the values of soft edges and of traces of compression lie in lines and
    single pixels around what is brighter. Small numbers (up to 50) that lie elsewhere are labels, too, however thin.

    Parameters
    ----------
    colours : bool
        Whether the values number colours, and are no shades.

    Raises
    ------
    LesionError
        If values are negative, or the shades are those of a picture or a map of probabilities.
    """
    low, top = int(values.min()), int(values.max())
    if low < 0:
        raise LesionError(path, f"holds negative values (from {low})", "Save it with 0 outside the lesion")
    if top <= 1:
        return values, []
    rows, columns = np.flatnonzero(values.any(axis=1)), np.flatnonzero(values.any(axis=0))
    part = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    levels, place = np.unique(part.astype(np.int64), return_inverse=True)
    place = place.reshape(part.shape)
    counts = np.bincount(place.ravel(), minlength=len(levels))
    inner = np.bincount(place[_same_around(place)], minlength=len(levels))
    marked = levels > 0
    flat = marked & (inner >= np.maximum(1, _INNER * counts))
    if marked.sum() == 1 or (marked.sum() <= MOST and flat[marked].all()):
        return values, []
    if top <= MOST and not _edges(place, levels, counts, flat).any():
        return values, []
    if colours:
        raise LesionError(
            path,
            f"is painted in {int(marked.sum())} colours, some of them soft edges: lesions cannot be told from edges",
            "Save it in greyscale, the lesion white and all else black",
        )
    if top <= MOST and flat[marked].any():  # compression makes some pixels brighter than the label
        top = int(levels[flat & marked].max())
    _check_shades(path, levels, counts, flat, top)
    found = (
        f"The mask holds {int(marked.sum())} grey values (soft edges, or traces of JPEG compression) instead of "
        f"labels: pixels of at least half of the brightest value ({(top + 1) // 2} of {top}) were taken as the lesion."
    )
    return (values >= (top + 1) // 2).astype(np.uint8), [found]


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
