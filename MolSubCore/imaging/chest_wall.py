"""On which side of the stored picture the chest wall is."""

from __future__ import annotations

import math
from typing import Literal

from MolSubCore.imaging.foreground import bright_background, foreground_values, sample_values
from MolSubCore.imaging.mammogram import Mammogram

ChestWall = Literal["left", "right", "unknown"]

#: Columns at either side that are looked at, as a share of the width, and the rim that may be a frame or a scanner's.
_BAND, _RIM = 0.06, 0.01
#: The breast covers at least this share of the band at the chest wall, and this many times that of the other band.
_LEAST, _TIMES = 0.2, 2.0
#: Where the header names the same side, this is enough.
_LEAST_TOLD, _TIMES_TOLD = 0.05, 1.2
_SAMPLES = 1 << 18


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
        f"By its Patient Orientation the chest wall would be on the {told} of the stored picture, by its pixels it is "
        f"on the {found}; the pixels decided."
    ]


def edge_shares(mammogram: Mammogram) -> tuple[float, float] | None:
    """Which share of the left and of the right edge's columns the breast covers; None where it cannot be told."""
    threshold = _threshold(mammogram)
    if threshold is None:
        return None
    step = max(1, math.isqrt(max(1, mammogram.stored.size // _SAMPLES)))
    stored = mammogram.stored[::step, ::step]
    width = stored.shape[1]
    rim, band = math.ceil(_RIM * width), max(1, round(_BAND * width))
    if width < 4 * (rim + band):
        return None
    covered = mammogram.orient(mammogram.rescale(stored)) >= threshold
    if mammogram.outside is not None:
        covered &= ~mammogram.outside[::step, ::step]
    return float(covered[:, rim : rim + band].mean()), float(covered[:, width - rim - band : width - rim].mean())


def _threshold(mammogram: Mammogram) -> float | None:
    """The darkest value of the breast, bright = dense; None where there is no dark background."""
    sampled = sample_values(mammogram)
    breast = foreground_values(sampled)
    if breast.size == 0 or (breast.size == sampled.size and mammogram.padding is None) or bright_background(mammogram):
        return None
    return float(breast.min())
