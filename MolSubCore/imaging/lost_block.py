"""Pixels that a damaged or half-copied file holds in place of the picture's: one value, or noise.

Data that are stored as they are (DICOM without compression, NIfTI, NRRD, MetaImage, TIFF) have no checksum. A lost
block of such a file is no rectangle of the picture: it begins and ends within rows, where the rows above and below go
on with tissue. Nothing that a detector, a collimator, an editor or a compression with loss makes does so: areas of
theirs are more than one row high on both sides of where they begin, and an edge of the breast moves from row to row in
steps that grow or shrink little by little.

What cannot be known from the pixels: a block up to the end of the picture that begins between two rows, or in air of
its own value, shows no edge but that of a dark band, as cropped and padded pictures have them; nor does one that was
overwritten with pixels like those of the picture. Only a checksum of the sender's tells those.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Pixels of a block at least: a disk's sectors have 512 bytes.
_LEAST = 128
#: Pixels of tissue beside either end of a block at least: before it, and in the row above (or below) it.
_BEFORE, _BESIDE = 8, 16
#: Pixels of tissue that are above and below a block at least where it crosses them.
_CROSSED = 64
#: Share of the picture's range by which tissue differs from a block at least: air and its noise, and what a
#: compression with loss makes of either, lie closer to it, and to lose them changes nothing.
_TISSUE = 0.05
#: Grey values that a picture has at least.
_LEVELS = 16
#: Grey values (of more than 8 bits) by which a compression with loss may part what was one value.
_NEAR = 12
#: Share of the range by which neighbours differ on average where bytes are no pixels (a third of random ones; in the
#: grain of real mammograms up to an eighth).
_NOISE = 0.25


def lost_block(stored: NDArray[Any]) -> tuple[int, int, int, str] | None:
    """Find the first block of one value, or of noise, that cuts off the tissue beside it.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)

    Returns
    -------
    (row, column, count, what) or None
        Where the block begins, its pixels, and what they are, for the middle of a sentence.
    """
    rows, columns = stored.shape
    if columns < _LEAST or rows < 3:
        return None
    flat = stored.ravel()
    sample = flat[:: max(1, flat.size >> 18)]
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.5)))
    if high <= low or (flat.dtype.kind != "f" and high - low < _LEVELS):
        return None
    away = _TISSUE * (high - low)
    for start, end in _runs(flat):
        if any(
            _begins_in_tissue(pixels, first, last, columns, away) or _begins_in_noise(pixels, first, last, columns)
            for pixels, first, last in ((flat, start, end), (flat[::-1], flat.size - end, flat.size - start))
        ) or _crosses_tissue(flat, start, end, columns, away):
            return start // columns, start % columns, end - start, "of one value"
    if (noise := _noise(flat, high - low)) is not None:
        return noise[0] // columns, noise[0] % columns, noise[1] - noise[0], "without any likeness to each other"
    return None


def _runs(flat: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """First and last (excluded) of the pixels of each run of one value that is `_LEAST` long."""
    step = _LEAST // 2
    count = (flat.size - 1) // step
    whole = (flat[: count * step].reshape(count, step) == flat[step : count * step + 1 : step, None]).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(np.int8)))
    for first, last in zip((edges[::2] * step).tolist(), (edges[1::2] * step).tolist(), strict=True):
        value = flat[first]
        before, behind = flat[max(0, first - step) : first] != value, flat[last : last + step] != value
        start = first - (int(before[::-1].argmax()) if before.any() else len(before))
        end = last + (int(behind.argmax()) if behind.any() else len(behind))
        if end - start >= _LEAST:
            yield start, end


def _begins_in_tissue(flat: NDArray[Any], start: int, end: int, columns: int, away: float) -> bool:
    """Whether a run begins within a row where tissue is before it, and goes on in the row above it.

    It must be as long as a row, or it is the edge of a dark or bright area; nor may it be the last of an edge that
    moves: there the row above does not reach as far as those above it.
    """
    first = start % columns
    length = columns - first
    if end - start < columns or first < _BEFORE or length < _BESIDE or start < 4 * columns:
        return False
    value = float(flat[start])

    def tissue(at: int) -> int:
        """Pixels from `at` on that are tissue; 0 if they are not the first ones."""
        there = np.abs(flat[at : at + length].astype(np.float64) - value) > away
        count = int(np.count_nonzero(there))
        return count if np.count_nonzero(there[:count]) > 0.9 * count else 0

    if (np.abs(flat[start - _BEFORE : start].astype(np.float64) - value) <= away).any():
        return False
    above = tissue(start - columns)
    return above >= _BESIDE and all(abs(tissue(start - n * columns) - above) <= above / 4 for n in (2, 3, 4))


def _begins_in_noise(flat: NDArray[Any], start: int, end: int, columns: int) -> bool:
    """Whether a run as long as a row begins within one where hardly any pixel above it is near to its value.

    So it is where air has noise: a dark area of the picture's own that begins in it begins with a row.
    """
    first = start % columns
    if end - start < columns or start < columns or min(first, columns - first) < _BEFORE or flat.dtype.itemsize == 1:
        return False
    if flat.dtype.kind == "f":  # its grey values have no step of their own
        return False
    far = np.abs(flat[start - columns : start].astype(np.int64) - int(flat[start])) > _NEAR
    return bool(min(far[: columns - first].mean(), far[columns - first :].mean()) > 0.9)


def _crosses_tissue(flat: NDArray[Any], start: int, end: int, columns: int, away: float) -> bool:
    """Whether the same tissue is right above a run and right below it."""
    if end - start < columns:
        parts = (start - columns, end - columns), (start + columns, end + columns)
    else:  # the pixels before and behind it are those above and below it, from other columns on
        parts = (start - columns, start), (end, end + columns)
    if parts[0][0] < 0 or parts[1][1] > flat.size:
        return False
    value = float(flat[start])
    one, other = (
        np.roll(np.abs(flat[first:last].astype(np.float64) - value) > away, first % columns) for first, last in parts
    )
    most = max(np.count_nonzero(one), np.count_nonzero(other))
    return bool(most >= _CROSSED and np.count_nonzero(one & other) > 0.5 * most)


def _noise(flat: NDArray[Any], spread: float) -> tuple[int, int] | None:
    """First and last of the pixels that are noise, where not most of the picture is."""
    count = flat.size // _LEAST
    rough = np.empty(count, bool)
    for at in range(0, count, 4096):
        part = flat[at * _LEAST : min(count, at + 4096) * _LEAST].reshape(-1, _LEAST).astype(np.float32)
        rough[at : at + 4096] = np.abs(np.diff(part, axis=1)).mean(axis=1) > _NOISE * spread
    both = rough[1:] & rough[:-1]
    if not both.any() or rough.mean() > 0.5:
        return None
    first = int(both.argmax())
    last = first + int(np.append(rough[first:], False).argmin())
    return first * _LEAST, last * _LEAST


def _roughness(flat: NDArray[Any]) -> float:
    """Mean difference of neighbours as a share of the range; 0 of a flat picture."""
    low, high = (float(value) for value in np.percentile(flat[:: max(1, flat.size >> 18)], (0.5, 99.5)))
    return float(np.abs(np.diff(flat.astype(np.float32))).mean()) / (high - low) if high > low else 0.0


def unlike(stored: NDArray[Any]) -> str | None:
    """Why neighbouring pixels are not like each other as those of a picture are, for a sentence; None where they are.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)
    """
    rows, columns = stored.shape
    if min(rows, columns) < _LEAST:
        return None
    flat = stored.ravel()[: 1 << 22]
    rough = _roughness(flat)
    if flat.dtype.itemsize == 2 and _roughness(flat.byteswap()) < 0.5 * rough:
        return "but they are with the two bytes of each exchanged"
    if rough > _NOISE:
        return "as of damage"
    part = flat.astype(np.float32)
    down, across = (float(np.abs(part[lag:] - part[:-lag]).mean()) for lag in (columns, rows))
    if rows != columns and across < 0.5 * down:
        return "but they are with rows and columns exchanged"
    return None


def cut_off(stored: NDArray[Any]) -> tuple[int, str] | None:
    """Rows of one value at the top or the bottom of a picture, right up to which there is tissue.

    So does a picture look that was cropped and padded, and one whose data were lost from some air on.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns)

    Returns
    -------
    (rows, place) or None
        How many there are, and 'top' or 'bottom'.
    """
    rows, columns = stored.shape
    low, high = (float(value) for value in np.percentile(stored.ravel()[:: max(1, stored.size >> 18)], (0.5, 99.5)))
    if columns < _LEAST or (stored.dtype.kind != "f" and high - low < _LEVELS):
        return None
    for place, turned in (("bottom", stored[::-1]), ("top", stored)):
        value = turned[0, 0]
        count = next((row for row in range(rows) if (turned[row] != value).any()), rows)
        if not 2 <= count < rows - 4:
            continue
        near = np.abs(turned[count : count + 4].astype(np.float64) - float(value)) > _TISSUE * (high - low)
        if np.count_nonzero(near.all(axis=0)) >= columns // 8:
            return count, place
    return None
