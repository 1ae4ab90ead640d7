"""Where on a mammogram the breast is, and where the air beside it: coarse, and only where it can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from MolSubCore.imaging.mammogram import Mammogram

_SAMPLES = 1 << 18
_BINS = 256


def sample_values(mammogram: Mammogram) -> NDArray[np.float32]:
    """Rescaled values of a regular subsample, bright = dense, without padding: float32, (n,).

    At most about 262,144 values, on a square grid from the first pixel on. Empty where every
    sampled pixel is padding.
    """
    stored = mammogram.stored
    step = max(1, math.isqrt(max(1, stored.size // _SAMPLES)))
    sampled = stored[::step, ::step].ravel()
    if mammogram.outside is not None:
        sampled = sampled[~mammogram.outside[::step, ::step].ravel()]
    return mammogram.orient(mammogram.rescale(sampled))


def _histogram(values: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64], int] | None:
    """Counts, edges and highest bin, less the outermost 0.05 % on each side; None where all values agree."""
    if values.size == 0:
        return None
    low, high = (float(v) for v in np.percentile(values, (0.05, 99.95)))
    if high <= low:
        return None
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    return counts, edges, int(counts.argmax())


def foreground_values(sampled: NDArray[np.float32]) -> NDArray[np.float32]:
    """The part of sampled values (bright = dense) that lies above the dark background.

    The background of a mammogram is one narrow peak at the dark end of the histogram. Where there
    is none, as in a crop of the breast, everything is foreground.
    """
    if (histogram := _histogram(sampled)) is None:
        return sampled
    counts, edges, peak = histogram
    below = np.flatnonzero(counts[peak:] < 0.05 * counts[peak])
    if peak > 0.4 * _BINS or below.size == 0 or below[0] > 0.15 * _BINS:
        return sampled
    above = sampled[sampled >= edges[peak + below[0]]]
    share = above.size / sampled.size
    return above if 0.01 < share < 0.97 else sampled


def bright_background(mammogram: Mammogram) -> bool:
    """Whether the picture, turned to bright = dense, has the background of a negative.

    That is: at least a fifth of the picture has (nearly) one value, that value is brighter than nearly everything else
    and fills two corners at one side, as saturated tissue does not; or its padding is, where that stands for the air.
    """
    if mammogram not in _NEGATIVE:
        _NEGATIVE[mammogram] = _is_negative(mammogram)
    return _NEGATIVE[mammogram]


def _is_negative(mammogram: Mammogram) -> bool:
    values = sample_values(mammogram)
    if (histogram := _histogram(values)) is None:
        return False
    _, edges, peak = histogram
    near = (values >= edges[max(0, peak - 2)]) & (values <= edges[min(_BINS, peak + 3)])
    rest = values[~near]
    if near.mean() > 0.2 and rest.size and np.mean(rest < edges[peak]) > 0.95:
        step = max(1, math.isqrt(max(1, mammogram.stored.size // _CELLS)))
        grid = mammogram.orient(mammogram.rescale(mammogram.stored[::step, ::step])) >= edges[max(0, peak - 2)]
        if mammogram.outside is not None:
            grid |= mammogram.outside[::step, ::step]
        ends = [(slice(0, n), slice(-n, None)) for n in (max(1, round(_CORNER * length)) for length in grid.shape)]
        corners = np.array([[grid[row, column].mean() > 0.5 for column in ends[1]] for row in ends[0]])
        if corners.all(0).any() or corners.all(1).any():
            return True
    return mammogram.outside is not None and _bright_pad(mammogram)


def _bright_pad(mammogram: Mammogram) -> bool:
    """Whether padding is brighter than the rest, and that not darker towards the padding.

    There are thin skin or air: dark, but in a negative, also where the air was painted white.
    """
    from scipy import ndimage

    assert mammogram.outside is not None
    step = max(1, math.isqrt(max(1, mammogram.stored.size // _CELLS)))
    padded = mammogram.outside[::step, ::step]
    values = mammogram.orient(mammogram.rescale(mammogram.stored[::step, ::step]))
    rim = ndimage.binary_dilation(padded, iterations=max(1, round(_SKIN * max(padded.shape)))) & ~padded
    inner = ~padded & ~rim
    if padded.mean() < _LEAST_AIR or not rim.any() or not inner.any():
        return False
    if np.mean(values[~padded] < np.median(values[padded])) <= 0.95:
        return False
    return bool(np.mean(values[inner] < np.median(values[rim])) > _DARK_RIM)


#: Cells of the coarse grid, about.
_CELLS = 1 << 16
#: Of the picture's cells: less air than this is no air, less breast than this is no breast.
_LEAST_AIR, _LEAST_BREAST = 0.03, 0.02
#: Outlines may reach so far beyond the skin, in shares of the picture's longer side (5 mm of 24 cm).
_SKIN = 0.02
#: Share of the breast's inner values below the middle of those at its rim up to which the rim is dark: of real films
#: and pictures at hand at most 0.02, of their negatives at least 0.17.
_DARK_RIM = 0.15
#: A piece of tissue this large beside the largest one is breast, too, if it reaches the picture's edge (an axilla); a
#: marker of lead is smaller, a label lies in the air.
_SECOND = 0.03
#: A frame's rows and columns: so large a share of their pixels has at least this share of the brightest value; up to so
#: large a share of a side.
_FRAMED, _FRAME_VALUE, _FRAME = 0.95, 0.9, 0.05
#: Brighter pieces in the air no larger than this share of the picture are its noise.
_NOISE = 3e-4
#: Sides of a corner, in shares of the picture's.
_CORNER = 0.05
#: Of a region of air, this share lies farther than this from what is brighter, in shares of the longer side.
_WIDE, _WIDE_SHARE = 0.02, 0.5
#: Air is even: means of 5 x 5 cells less those of 21 x 21 span (5 to 95 percentile) at most this share of how far the
#: middle of what is brighter lies above its own. On the real mammograms and noisy films at hand at most 0.04, dark fat
#: in 665 crops of them at least 0.145.
_EVEN = 0.08

#: Values of a plateau lie within this share of the range; below it a gap of this share holds at most so many for each
#: of them; and it is at most so large a share of the breast.
_FLAT, _GAP, _IN_GAP, _MOST_FOREIGN = 0.02, 0.05, 0.1, 0.1
#: An object over the breast lies above a gap of this share of the display's range that holds at most so many values for
#: each one above (from so large a share of the breast on, a wider one: half of a breast may be dark fat). Of the real
#: mammograms at hand only two have one, and lose 3 % of the range without what is above it; of implants, ports and
#: markers put into them the gaps are 0.24 and wider, and white falls by 0.21 and more.
_VALLEY, _IN_VALLEY, _LARGE, _WIDE_VALLEY, _LEAST_FALL = 0.18, 0.3, 0.4, 0.35, 0.15
#: The shares of the breast that it has; that of its largest piece which another one has; samples around it that are
#: left out with it, and the percentile of the rest that would be white.
_LEAST_OBJECT, _MOST_OBJECT, _PIECE, _SOFT, _REST_WHITE = 2e-4, 0.7, 0.1, 3, 99.99
#: Up to so large a share of the breast's inner values is as dark as the air: of the real mammograms at hand 0.011.
_FAINT = 0.02

_NEGATIVE: WeakKeyDictionary[Mammogram, bool] = WeakKeyDictionary()
_KNOWN: WeakKeyDictionary[Mammogram, BreastArea | None] = WeakKeyDictionary()
_VALUES: WeakKeyDictionary[Mammogram, tuple[NDArray[np.float32], NDArray[np.float32]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class BreastArea:
    """The breast on a coarse grid.

    Attributes
    ----------
    cells : ndarray of bool, shape (rows, columns)
        True on the breast and on a rim of 2 % of the picture's longer side around it, where the skin is thin.
    own : ndarray of bool, shape (rows, columns)
        True on the breast alone.
    inner : ndarray of bool, shape (rows, columns)
        True on the breast but for the outermost 2 %, at the skin and at the picture's edge: markers that touch the skin
        and bright strips of the film's or the detector's edge are not in it.
    foreign : ndarray of bool, shape (rows, columns)
        True on what is neither breast nor air: markers, labels, a frame; and one cell around.
    step : int
        Pixels of the mammogram along a cell's side; cell (i, j) begins at pixel (i * step, j * step).
    """

    cells: NDArray[np.bool_]
    own: NDArray[np.bool_]
    inner: NDArray[np.bool_]
    foreign: NDArray[np.bool_]
    step: int

    def at(self, rows: slice, columns: slice, *, rim: bool = True) -> NDArray[np.bool_]:
        """Whether each pixel of a rectangle of the mammogram lies on the breast, or on the rim around it."""
        row = np.arange(rows.start, rows.stop) // self.step
        column = np.arange(columns.start, columns.stop) // self.step
        return (self.cells if rim else self.own)[row[:, None], column[None, :]]


def breast_area(mammogram: Mammogram) -> BreastArea | None:
    """The breast of a mammogram, or None where the picture shows no air beside it, as a crop does.

    Air is a region at the picture's edge of the grey values of the dark background (of the bright one of a negative).
    """
    if mammogram not in _KNOWN:
        _KNOWN[mammogram] = _find(mammogram)
    return _KNOWN[mammogram]


def share_area(known: Mammogram, other: Mammogram) -> None:
    """Let a mammogram of the same pixels have the area and the values of a known one."""
    if known in _NEGATIVE:
        _NEGATIVE[other] = _NEGATIVE[known]
    if known in _KNOWN:
        _KNOWN[other] = _KNOWN[known]
    if known in _VALUES:
        _VALUES[other] = _VALUES[known]


def _find(mammogram: Mammogram) -> BreastArea | None:
    from scipy import ndimage

    step = max(1, math.isqrt(max(1, mammogram.stored.size // _CELLS)))
    stored = mammogram.stored[::step, ::step]
    values = mammogram.orient(mammogram.rescale(stored))
    padded = np.zeros(stored.shape, bool) if mammogram.outside is None else mammogram.outside[::step, ::step]
    sampled = sample_values(mammogram)
    if bright_background(mammogram):
        values, sampled = -values, -sampled
    tissue = np.ones(values.shape, bool)
    if (plateau := _plateau(sampled)) is not None:
        sampled = sampled[sampled < plateau]
        tissue = ~ndimage.binary_dilation(values >= plateau, np.ones((5, 5), bool))
    frame = _frame(values)
    padded = padded | frame
    air = _air(_dark(values, sampled), padded, values)
    if air.mean() < _LEAST_AIR:  # the background of a film is noisy: is there one behind the noise?
        values = ndimage.uniform_filter(values, 5)
        air = _air(_dark(values, values[tissue]), padded, values)
    if air.mean() < _LEAST_AIR:
        return None
    numbered, count = ndimage.label(~air)
    if count == 0:
        return None
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    if sizes.max() < _LEAST_BREAST * air.size:
        return None
    kept = {1 + int(sizes.argmax())}
    edge = np.concatenate([numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]])
    kept |= {int(n) for n in np.unique(edge[edge > 0]) if sizes[n - 1] >= _SECOND * sizes.max()}
    breast = np.isin(numbered, list(kept))
    rim = max(1, math.ceil(_SKIN * max(air.shape)))
    foreign = ndimage.binary_dilation((~air & ~breast) | frame, np.ones((3, 3), bool)) & ~breast
    inner = _inner(breast, rim)
    return BreastArea(ndimage.distance_transform_edt(~breast) <= rim, breast, inner, foreign, step)


def _frame(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The cells of a bright frame round the picture, or of a part of it along a side."""
    found = np.zeros(values.shape, bool)
    if not (span := float(np.ptp(values))):
        return found
    bright = values >= values.min() + _FRAME_VALUE * span
    for lines, marks in ((bright, found), (bright.T, found.T)):
        most = math.ceil(_FRAME * len(lines))
        for order in (range(most), range(len(lines) - 1, len(lines) - 1 - most, -1)):
            for number in order:
                if lines[number].mean() < _FRAMED:
                    break
                marks[number] = True
    return found


def _inner(breast: NDArray[np.bool_], rim: int) -> NDArray[np.bool_]:
    """The breast without its rim, and without what is connected to it by the rim alone."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(breast, 1))[1:-1, 1:-1]
    inner = depth > min(float(rim), float(depth.max()) / 2)
    numbered, count = ndimage.label(inner)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    sizes[0] = 0
    return np.isin(numbered, np.flatnonzero(sizes >= max(1, _SECOND * sizes.max())))


def breast_values(mammogram: Mammogram) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sampled values (bright = dense) of the breast with its faint edge, and of its inner part: see `BreastArea`.

    Where the picture shows no air, both are of all that is no frame, however dark; of a negative they are
    `foreground_values`.
    Markers and labels over the breast are not of its inner part.
    """
    if mammogram not in _VALUES:
        _VALUES[mammogram] = _values(mammogram)
    return _VALUES[mammogram]


def _values(mammogram: Mammogram) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values, seen, own, inner = _sampled(mammogram)
    if not own.any():
        return (foreground_values(values[seen]),) * 2
    return values[own], values[inner]


def _sampled(
    mammogram: Mammogram,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Sampled values on their grid; where no padding is; the breast and its inner part, both empty if unknown."""
    from scipy import ndimage

    stored = mammogram.stored
    step = max(1, math.isqrt(max(1, stored.size // _SAMPLES)))
    values = mammogram.orient(mammogram.rescale(stored[::step, ::step]))
    seen = np.ones(values.shape, bool) if mammogram.outside is None else ~mammogram.outside[::step, ::step]
    if not seen.any() or bright_background(mammogram):
        return values, seen, np.zeros_like(seen), np.zeros_like(seen)
    if (area := breast_area(mammogram)) is None:
        cell = max(1, math.isqrt(max(1, stored.size // _CELLS)))
        own = inner = ~_frame(mammogram.orient(mammogram.rescale(stored[::cell, ::cell])))
        known = own
    else:
        own = ndimage.binary_dilation(area.own, np.ones((3, 3), bool)) & ~area.foreign
        known, inner, cell = ~area.foreign, area.inner, area.step
    row, column = (np.arange(0, length, step) // cell for length in stored.shape)
    known, own, inner = (grid[row[:, None], column[None, :]] & seen for grid in (known, own, inner))
    if inner.any() and (plateau := _plateau(values[inner])) is not None:
        free = ~ndimage.binary_dilation(inner & (values >= plateau), np.ones((3, 3), bool), iterations=2)
        known, own, inner = known & free, own & free, inner & free
    if area is not None:
        darkest = foreground_values(values[known]).min(initial=np.inf)  # what is foreign must not decide it
        if np.mean(values[inner] < darkest) <= _FAINT:  # else that peak is fat, not air
            own &= values >= darkest
    inner &= own
    return values, seen, own, inner if inner.any() else own


def bright_object(mammogram: Mammogram, low: float, high: float) -> float | None:
    """A compact object over the breast that is far brighter than all tissue, and so sets the display's white.

    An implant, a port, a marker whose edges are soft or whose values are uneven: `breast_values` knows it from tissue
    by neither, and so it is in them. A mass leaves other bright tissue beside it, and no wide gap below its values.

    Parameters
    ----------
    low, high : float
        The values (bright = dense) of the display's black and white.

    Returns
    -------
    float or None
        Its share of the breast's inner part. None where there is none, or where no air shows that the breast is seen
        whole: of a crop a mass may be the brightest part.
    """
    from scipy import ndimage

    if high <= low or bright_background(mammogram) or breast_area(mammogram) is None:
        return None
    if (found := _widest_gap(breast_values(mammogram)[1], low, high)) is None:
        return None
    middle, width = found
    values, _, _, inner = _sampled(mammogram)
    numbered, count = ndimage.label(inner & (values >= middle), np.ones((3, 3), bool))
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= max(1, _LEAST_OBJECT * np.count_nonzero(inner), _PIECE * sizes.max()))
    thing = np.isin(numbered, kept)
    rest = values[inner & ~ndimage.binary_dilation(thing, np.ones((3, 3), bool), iterations=_SOFT)]
    if kept.size == 0 or rest.size == 0:
        return None
    share = np.count_nonzero(thing) / np.count_nonzero(inner)
    fall = (high - float(np.percentile(rest, _REST_WHITE))) / (high - low)
    return share if fall >= _LEAST_FALL and width >= (_VALLEY if share <= _LARGE else _WIDE_VALLEY) else None


def _widest_gap(values: NDArray[np.float32], low: float, high: float) -> tuple[float, float] | None:
    """The middle, and the width as a share of the range, of the widest gap; None where none is wide.

    A gap is what holds hardly any values, compared with those above it.
    """
    scale = _BINS / (high - low)
    counts = np.bincount(((values - low) * scale).clip(0, _BINS - 1).astype(np.intp), minlength=_BINS)
    below = np.concatenate([[0], counts.cumsum()])
    above = values.size - below[:-1]
    tops = np.flatnonzero((above >= _LEAST_OBJECT * values.size) & (above <= _MOST_OBJECT * values.size))
    if tops.size == 0:
        return None
    # For each upper end, the lower end from which on the gap holds no more than its share of what is above.
    ends = np.minimum(np.searchsorted(below, below[tops] - _IN_VALLEY * above[tops]), tops)
    widest = int((tops - ends).argmax())
    top, end = int(tops[widest]), int(ends[widest])
    width = (top - end) / _BINS
    return (low + (top + end) / 2 / scale, width) if width >= _VALLEY else None


def _plateau(values: NDArray[np.float32]) -> float | None:
    """The least of values that are all the brightest one, with (nearly) none next below: lead, or burnt in.

    None where there are none such. Tissue that is saturated has soft edges, and so its values have no gap.
    """
    if values.size == 0:
        return None
    top = float(values.max())
    span = top - float(np.percentile(values, 0.5))
    least = top - _FLAT * span
    count = np.count_nonzero(values >= least)
    below = np.count_nonzero(values >= least - _GAP * span) - count
    return least if 0 < count <= _MOST_FOREIGN * values.size and below <= _IN_GAP * count else None


def _dark(values: NDArray[np.float32], sampled: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The cells that are as dark as the background; none where there is no background."""
    from scipy import ndimage

    above = foreground_values(sampled)
    if not 0 < above.size < sampled.size:
        return np.zeros(values.shape, bool)
    bright = ndimage.median_filter((values >= above.min()).astype(np.uint8), 3)
    numbered, count = ndimage.label(bright)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    return (bright == 0) | (sizes < _NOISE * bright.size)[numbered]


def _air(dark: NDArray[np.bool_], padded: NDArray[np.bool_], values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The dark regions that reach the picture's edge, are wide and even: dark fat in a crop of the breast is not even.

    What is padded is part of them, and needs no proof.
    """
    from scipy import ndimage

    rest = values[~(dark | padded)]
    numbered, count = ndimage.label(dark | padded)
    if count == 0 or rest.size == 0:
        return dark | padded
    around = np.pad(numbered > 0, 1, mode="edge")
    inner = ndimage.distance_transform_edt(around)[1:-1, 1:-1] > _WIDE * max(dark.shape)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    wide = np.bincount(numbered.ravel(), weights=inner.ravel(), minlength=count + 1)
    edge = np.concatenate([numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]])
    kept = [n for n in np.unique(edge) if n and sizes[n] >= 0.01 * dark.size and wide[n] >= _WIDE_SHARE * sizes[n]]
    found = np.isin(numbered, kept) & padded
    beside = ndimage.binary_dilation(padded, np.ones((5, 5), bool))
    for number in kept:
        region = (numbered == number) & ~padded
        own = values[region & inner & ~beside]
        if own.size:
            around = ndimage.uniform_filter(region.astype(np.float32), 21)
            wavy = ndimage.uniform_filter(np.where(region, values, 0), 21) / np.maximum(around, 1e-6)
            wavy = (ndimage.uniform_filter(values, 5) - wavy)[region & inner & ~beside]
            if np.ptp(np.percentile(wavy, (5, 95))) > _EVEN * float(np.median(rest) - np.median(own)):
                continue
        found |= region
    return found


ChestWall = Literal["left", "right", "unknown"]

#: Columns at either side that are looked at, as a share of the width, and the rim that may be a frame or a scanner's.
_BAND, _RIM = 0.06, 0.01
#: The breast covers at least this share of the band at the chest wall, and this many times that of the other band.
_LEAST, _TIMES = 0.2, 2.0
#: Where the header names the same side, this is enough.
_LEAST_TOLD, _TIMES_TOLD = 0.05, 1.2
#: Fewer lines have no bands.
_LEAST_LINES = 8
#: A breast on its side: of the edge it lies against it covers at least the first share, of the other at most so many
#: times that; at the two ends of that edge it reaches at most so far into the picture on average, and at either so many
#: times as far as between them. Of 816 random crops of the upright mammograms at hand none is like that.
_LEAST_SIDEWAYS, _MOST_OPPOSITE, _MOST_ENDS, _ENDS_OF_REACH = 0.5, 0.35, 0.53, 0.8


def find_chest_wall(mammogram: Mammogram) -> tuple[ChestWall, list[str]]:
    """Decide it from the pixels: the breast reaches the picture's edge there, and on the other side air does.

    The header's Patient Orientation (0020,0020) only supports a weak finding: files that were mirrored often
    kept it.

    Returns
    -------
    side : {'left', 'right', 'unknown'}
        Of the picture as stored, column 0 being left.
    notes : list of str
        Where the header says otherwise.
    """
    told = mammogram.chest_wall_told
    shares = edge_shares(mammogram)
    found: ChestWall = "unknown"
    if shares is not None:
        low, high = sorted(shares)
        side: ChestWall = "left" if shares[0] > shares[1] else "right"
        least, times = (_LEAST_TOLD, _TIMES_TOLD) if side == told else (_LEAST, _TIMES)
        if high >= least and high >= times * low:
            found = side
    if told is None or found in ("unknown", told):
        return found, []
    return found, [
        f"According to its Patient Orientation the chest wall would be on the {told} of the stored picture, according "
        f"to its pixels on the {found}; the pixels decided."
    ]


def sideways(mammogram: Mammogram) -> Literal["top", "bottom"] | None:
    """The edge of the stored picture that the breast lies against, where that is neither the left nor the right one.

    Air must show it: the breast covers that edge, hardly the other, and reaches farther into the picture between left
    and right than at both. The upper or lower part of an upright breast reaches farthest at its chest wall. A header
    does not decide it: pictures that were turned often kept it.
    """
    if bright_background(mammogram) or (area := breast_area(mammogram)) is None:
        return None
    length, width = area.own.shape
    if min(length, width) < _LEAST_LINES:
        return None
    for edge, grid in (("top", area.own), ("bottom", area.own[::-1])):
        wall, other = (float(part.mean()) for part in _bands(grid))
        depth = grid.mean(0)
        reach = float(np.sort(depth)[-max(1, round(_BAND * width))])
        ends = sorted(float(part.mean()) for part in _bands(depth))
        between = sum(ends) <= 2 * _MOST_ENDS and ends[1] <= _ENDS_OF_REACH * min(reach, wall)
        if wall >= _LEAST_SIDEWAYS and other <= _MOST_OPPOSITE * wall and between:
            return edge  # type: ignore[return-value]
    return None


def _bands(lines: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first and the last of a picture's lines that are looked at, without its rim."""
    rim, band = math.ceil(_RIM * len(lines)), max(1, round(_BAND * len(lines)))
    return lines[rim : rim + band], lines[len(lines) - rim - band : len(lines) - rim]


def edge_shares(mammogram: Mammogram) -> tuple[float, float] | None:
    """Which share of the left and of the right edge's columns the breast covers; None where it cannot be told."""
    threshold = _threshold(mammogram)
    if threshold is None:
        return None
    step = max(1, math.isqrt(max(1, mammogram.stored.size // _SAMPLES)))
    stored = mammogram.stored[::step, ::step]
    if stored.shape[1] < _LEAST_LINES:
        return None
    covered = mammogram.orient(mammogram.rescale(stored)) >= threshold
    if mammogram.outside is not None:
        covered &= ~mammogram.outside[::step, ::step]
    left, right = (float(part.mean()) for part in _bands(covered.T))
    return left, right


def _threshold(mammogram: Mammogram) -> float | None:
    """The darkest value of the breast, bright = dense; None where there is no dark background."""
    sampled = sample_values(mammogram)
    breast = foreground_values(sampled)
    if breast.size == 0 or (breast.size == sampled.size and mammogram.padding is None) or bright_background(mammogram):
        return None
    if breast_area(mammogram) is None:  # what is dark is not air
        return None
    return float(breast.min())
