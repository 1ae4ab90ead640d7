"""What pictures look like, so that copies are found that were resaved, displayed otherwise, cropped or padded.

Two things are kept of a picture: a thumbnail of all of it, and the breast alone, whatever lies around it. Both are
compared as ranks, which outlast every display.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from MolSubCore.imaging.breast import breast_area
from MolSubCore.imaging.mammogram import Mammogram

#: Side of the thumbnails by which resaved pictures are recognised, and the rank correlations from which two are told:
#: of their values, which outlasts every display, and of their grey levels in steps, which outlasts noise in the air and
#: lossy coding. Measured: different mammograms, also of one woman, 0.88 at most, synthetic ones 0.96; one as 8 bits, as
#: JPEG, through a display LUT or at half its size 0.98 at least by one of the two.
_THUMB, _ALIKE, _STEPS, _ALIKE_IN_STEPS = 48, 0.97, 32, 0.98
#: Thumbnails a third as fine, which are compared first, correlate no less than by this.
_COARSER = 0.1

#: Side of the pictures of the breast alone. What is finer than so many of their pixels is compared, on a grid half as
#: fine first: from this correlation on the two are laid on each other, and are copies from the other one on.
#: Measured on 20 pictures: less 20 pixels at each edge, padded, with a label in the air, mirrored, half as large or as
#: JPEG a copy has 0.78 and then 0.87 at least; different mammograms have 0.29 and 0.35 at most, also of one woman,
#: synthetic ones 0.52 and 0.51.
_BREAST, _DETAIL, _PERHAPS, _SAME_BREAST = 48, 3.0, 0.4, 0.7
#: Laid on each other they overlap so far, and are stretched or sheared by no more.
_OVERLAP, _STRETCH = 0.8, 0.15
#: Rows and columns at the edges vary by no more than this share of all values where they are padding.
_FLAT = 0.004
#: The rim of `BreastArea.cells`, in shares of the picture's longer side.
_RIM = 0.02
#: Pairs that are laid on each other at most, the likeliest first; each takes some milliseconds.
_MOST = 5000


#: What `details_of` keeps: the fine structure of a breast on a grid of this side. And by how far each edge of the
#: breast's box is moved, of 48 pixels, to find a copy that was cropped or padded so that the box is another.
_GRID, _MOVES = 24, (-3, 0, 3)


def look_of(mammogram: Mammogram) -> str:
    """What a picture looks like, for `copies`: thumbnails, which are nobody's to see, as text."""
    mammogram = _without_margins(mammogram)
    picture = Image.fromarray(np.ascontiguousarray(mammogram.stored, np.float32))
    small = np.asarray(picture.resize((_THUMB, _THUMB), Image.Resampling.BOX)).ravel()
    low, high = float(small.min()), float(small.max())
    values = np.round((small - low) / max(high - low, 1e-9) * 65535).astype("<u2")
    return base64.b64encode(values.tobytes() + _breast_of(mammogram)).decode("ascii")


def copies(looks: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of looks that are of one picture, in their order."""
    raw = [base64.b64decode(look) for look in looks]
    size = 2 * _THUMB**2
    values = [np.frombuffer(each[:size], "<u2") for each in raw]
    pairs = set(_alike(np.stack([_ranks(look) for look in values]), _ALIKE))
    pairs |= set(_alike(np.stack([_ranks(_in_steps(look)) for look in values]), _ALIKE_IN_STEPS))
    breasts = {n: np.frombuffer(each[size:], np.uint8) for n, each in enumerate(raw) if len(each) > size}
    return sorted(pairs | _same_breasts({n: each.reshape(_BREAST, _BREAST) for n, each in breasts.items()}, pairs))


def details_of(look: str, *, moved: bool = False) -> NDArray[np.float32]:
    """The fine structure of the breast (of the whole picture where no air is seen), coarsely, of length 1.

    Parameters
    ----------
    look : str
        By `look_of`.
    moved : bool
        Also mirrored, and with other edges of the breast's box: as a copy may have been cut.

    Returns
    -------
    ndarray of float32, shape (1 or 162, 576)
        Flattened pictures; their scalar products are correlations.
    """
    import cv2

    raw, size = base64.b64decode(look), 2 * _THUMB**2
    if len(raw) > size:
        ranks = np.frombuffer(raw[size:], np.uint8).reshape(_BREAST, _BREAST)
    else:
        whole = _ranks(np.frombuffer(raw[:size], "<u2"))
        spread = max(float(np.ptp(whole)), 1e-9)
        ranks = np.round(1 + 254 * (whole - whole.min()) / spread).astype(np.uint8).reshape(_THUMB, _THUMB)
    pictures = [ranks]
    if moved:
        last, edges = _BREAST - 1, list(itertools.product(_MOVES, repeat=2))
        lines = [np.linspace(first, last + end, _BREAST, dtype=np.float32) for first, end in edges]
        pictures = [
            cv2.remap(
                np.ascontiguousarray(ranks[:, ::way]), *np.meshgrid(columns, rows), cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_CONSTANT, borderValue=(0,),
            )
            for way in (1, -1) for rows in lines for columns in lines
        ]  # fmt: skip
    small = [cv2.resize(_detail(each), (_GRID, _GRID), interpolation=cv2.INTER_AREA) for each in pictures]
    return np.stack([_unit(each) for each in small])


def is_copy(first: Mammogram, second: Mammogram, looks: Sequence[str]) -> bool:
    """Whether two mammograms of one patient are one picture, resaved or displayed otherwise, of one side and view.

    Parameters
    ----------
    looks : sequence of str
        `look_of` either.
    """
    for own, other in ((first.laterality, second.laterality), (first.view, second.view)):
        if own and other and own != other:
            return False
    return bool(copies(looks))


def _ranks(values: NDArray[Any]) -> NDArray[np.float32]:
    """Ranks of values, of mean 0 and length 1; ties have their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place.ravel()]
    ranks -= ranks.mean()
    return np.asarray(ranks / max(float(np.linalg.norm(ranks)), 1e-9), np.float32)


def _in_steps(values: NDArray[Any]) -> NDArray[Any]:
    return np.floor(np.clip(values / max(float(np.percentile(values, 99.5)), 1.0), 0, 1) * _STEPS)


def _alike(table: NDArray[np.float32], least: float) -> Iterator[tuple[int, int]]:
    """Pairs of rows that correlate so much, also mirrored, turned or as negatives; the first is before the second."""
    square = table.reshape(-1, _THUMB, _THUMB)
    views = [view for one in (square, square.transpose(0, 2, 1)) for view in (one, one[:, ::-1])]
    turned = [view for one in views for view in (one, one[:, :, ::-1])]
    small = [_pooled(view) for view in turned]
    for start in range(0, len(table), 256):
        for view, coarse in zip(turned, small, strict=True):
            likeness = np.abs(small[0][start : start + 256] @ coarse[start:].T) > least - _COARSER
            found = np.argwhere(likeness) + start
            found = found[found[:, 0] < found[:, 1]]
            for part in np.array_split(found, len(found) // 4096 + 1):
                first, second = table[part[:, 0]], view[part[:, 1]].reshape(len(part), table.shape[1])
                sure = np.abs(np.einsum("ij,ij->i", first, second)) > least
                yield from ((int(n), int(m)) for n, m in part[sure])


def _without_margins(mammogram: Mammogram) -> Mammogram:
    """The picture without rows and columns at its edges that are of one value: what was added to make it square."""
    stored = np.asarray(mammogram.stored)
    flat, place = _FLAT * float(np.ptp(stored)), (slice(0, stored.shape[0]), slice(0, stored.shape[1]))
    while True:  # a corner of two values, as of a frame around padding, takes several rounds
        part, found = stored[place], []
        for axis, own in enumerate(place):
            kept = np.flatnonzero(np.ptp(part, axis=1 - axis) > flat)
            found.append(slice(own.start + kept[0], own.start + kept[-1] + 1) if kept.size else own)
        if tuple(found) == place:
            return dataclasses.replace(mammogram, stored=np.ascontiguousarray(part))
        place = (found[0], found[1])


def _pooled(view: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thumbnails a third as fine, of length 1."""
    blocks = view.reshape(len(view), _THUMB // 3, 3, _THUMB // 3, 3).mean((2, 4)).reshape(len(view), -1)
    return np.asarray(blocks / np.maximum(np.linalg.norm(blocks, axis=1, keepdims=True), 1e-9), np.float32)


def _breast_of(mammogram: Mammogram) -> bytes:
    """The breast in its own box as ranks from 1 to 255, 0 beside it; nothing where the picture shows no air."""
    import cv2
    from scipy import ndimage

    area = breast_area(mammogram)
    if area is None:
        return b""
    cells, step = area.cells, area.step
    inner = ndimage.distance_transform_edt(cells) > math.ceil(_RIM * max(cells.shape)) if not cells.all() else cells
    numbered, count = ndimage.label(inner if inner.any() else cells)
    breast = numbered == 1 + np.argmax(np.bincount(numbered.ravel(), minlength=count + 1)[1:])
    rows, columns = (np.flatnonzero(breast.any(axis)) for axis in (1, 0))
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    pixels = tuple(slice(own.start * step, own.stop * step) for own in place)
    values = np.asarray(mammogram.orient(mammogram.rescale(mammogram.stored[pixels])), np.float32)
    small = cv2.resize(values, (_BREAST, _BREAST), interpolation=cv2.INTER_AREA)
    inside = cv2.resize(breast[place].astype(np.float32), (_BREAST, _BREAST), interpolation=cv2.INTER_AREA) > 0.5
    ranks = np.zeros((_BREAST, _BREAST), np.uint8)
    own = _ranks(small[inside])
    ranks[inside] = np.round(1 + 254 * (own - own.min()) / max(float(np.ptp(own)), 1e-9))
    return ranks.tobytes()


def _detail(ranks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is fine in a breast, without its rim; all breasts are bright in the middle."""
    import cv2

    inside = (ranks > 0).astype(np.float32)
    values = np.where(ranks > 0, ranks / 255 - 0.5, 0).astype(np.float32)
    blurred, share = (cv2.GaussianBlur(each, (0, 0), _DETAIL) for each in (values, inside))
    kept = cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1)
    return np.asarray((values - blurred / np.maximum(share, 1e-3)) * kept, np.float32)


def _unit(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = picture.ravel()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-9), np.float32)


def _same_breasts(breasts: dict[int, NDArray[np.uint8]], known: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Pairs, but for those known, that show one breast in one moment, also mirrored."""
    if len(breasts) < 2:
        return set()
    import cv2

    names, half = list(breasts), (_BREAST // 2, _BREAST // 2)
    details = [_detail(each) for each in breasts.values()]
    coarse = [cv2.resize(each, half, interpolation=cv2.INTER_AREA) for each in details]
    plain, mirrored = (np.stack([_unit(each[:, ::way]) for each in coarse]) for way in (1, -1))
    likely: list[tuple[float, int, int, int]] = []
    for start in range(0, len(names), 256):
        for way, table in ((1, plain), (-1, mirrored)):
            likeness = plain[start : start + 256] @ table[start:].T
            for n, m in zip(*(found.tolist() for found in np.nonzero(likeness > _PERHAPS)), strict=True):
                if n < m and (names[start + n], names[start + m]) not in known:
                    likely.append((float(likeness[n, m]), start + n, start + m, way))
    likely.sort(reverse=True)
    return {
        (names[n], names[m])
        for _, n, m, way in likely[:_MOST]
        if _laid_on(details[n], np.ascontiguousarray(details[m][:, ::way])) >= _SAME_BREAST
    }


def _laid_on(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Correlation of two pictures once the second is laid on the first; 0 where it must be bent too much for that."""
    import cv2

    ends = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-4
    inside = (first != 0).astype(np.uint8), (second != 0).astype(np.uint8)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        _, way = cv2.findTransformECC(first, second, start, cv2.MOTION_AFFINE, ends, inside[1], 3)
    except cv2.error:  # they do not come closer
        way = start
    if np.abs(way[:, :2] - np.eye(2)).max() > _STRETCH:
        return 0.0
    moved = cv2.warpAffine(second, way, first.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    both = (first != 0) & (moved != 0)
    if both.sum() < _OVERLAP * inside[0].sum():
        return 0.0
    return float(_unit(first[both]) @ _unit(moved[both]))
