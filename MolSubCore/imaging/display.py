"""Display transforms: from pixel values to what a radiologist would look at, in [0, 1], bright = dense.

Formulas of DICOM PS3.3 C.11.2.1.2 (windows), C.11.2.1.3 (LINEAR_EXACT, SIGMOID), C.11.1.1 (tables).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import ImageError
from MolSubCore.imaging.breast import (
    breast_values,
    bright_background,
    bright_object,
    foreground_values,
    sample_values,
    share_area,
)
from MolSubCore.imaging.mammogram import Mammogram, VoiTransform

Region = tuple[slice, slice]

#: The step that shows a mammogram where nothing else is asked for. What it does is part of a recipe, so that a change
#: gets another name: ``auto`` and ``auto-2``, the first ones, stay what they were for the models trained with them.
AUTO = "auto-3"
#: Percentiles of the breast that become black and white. The first clipped up to a fifth of a lesion to white: dense
#: lesions are the brightest part of a breast. On the eight lesions of CDD-CESM that are at hand the second adds at
#: most 0.3 % to what is white in the files themselves, and a few hot pixels still do not set the range. Both take all
#: that is brighter than the background for the breast, markers and labels in the air, too; the third one does not.
PERCENTILES = {"percentile": (0.5, 99.5), "percentile-2": (0.5, 99.99), "percentile-3": (0.5, 99.99)}
_RANGE_OF = {"auto": "percentile", "auto-2": "percentile-2", AUTO: "percentile-3"}
#: Those that take everything above the background for the breast.
FORMER = frozenset(("auto", "auto-2", "percentile", "percentile-2"))
#: What a file's own transform must show of the breast, or `AUTO` passes it over: its 3 to 99 percentile in an eighth of
#: the grey scale, not more than a third of it white, and not more than half of it black (skin and fat are dark).
#: Those of the vendors show it in a half and more, with nothing white and a fortieth black. And what is denser is
#: nowhere darker by more than the last: those of the vendors rise throughout.
_LEAST_CONTRAST, _MOST_WHITE, _MOST_BLACK, _FALL = 1 / 8, 1 / 3, 1 / 2, 0.1
#: A file's own transform is told, though it is used, where the 1 to 99 percentile of the breast fill less of the grey
#: scale: 75 % and more of it in the real mammograms at hand, half of it in the synthetic ones.
_LITTLE_CONTRAST = 0.2
#: The recipe's own range tells from here on that so much is plain white: an implant, which takes grey values from the
#: breast. Of the real mammograms at hand at most a fortieth is.
_TOLD_WHITE = 0.15
#: Shares of a lesion that the display makes plain white, or black, from which on it is told; and of all that is so.
_LESION_WHITE, _LESION_BLACK, _LESION_ALL = 1 / 4, 1 / 2, 0.9
#: Share of a lesion that the display shows in one grey value though its values spread over this share of all there are.
_LESION_FLAT, _FLAT_SPREAD = 0.5, 0.05
_WHITE, _BLACK = 254.5 / 255, 0.5 / 255
#: The same for ``auto``.
_NO_CONTRAST = 2 / 255
#: Share of the grey scale by which a former rule's black or white differs from the breast's own, when it is told.
_MOVED = 0.05
#: Share of the range from the breast's black to its inner part's white by which tissue of the rim may be brighter.
_RIM_ABOVE = 0.025
_CHUNK_ROWS = 256
#: Kinds of steps, for people; the name of a step begins with that of its kind.
_KINDS = {
    "window": "a window of the file",
    "voi-lut": "a VOI LUT of the file",
    "percentile": "percentiles of the breast",
    "full": "the whole range of values",
}
_STEPS: WeakKeyDictionary[Mammogram, dict[str, DisplayStep]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class DisplayStep:
    """One display transform, ready to use on the values of one mammogram.

    Attributes
    ----------
    name : str
        What it is: ``percentile``, ``full``, ``window:0``, ``voi-lut:0``, ...; with it
        `display_step` gives the same step again.
    inverted : bool
        Whether to turn the result over (`Mammogram.inverted`).
    voi : VoiTransform or None
        The file's transform, or None for a straight line from `low` to `high`.
    low, high : float
        Rescaled values (polarity as stored) at the two ends of the straight line.
    notes : tuple of str
        Why this step and not another; sentences for the record.
    """

    name: str
    inverted: bool = False
    voi: VoiTransform | None = None
    low: float = 0.0
    high: float = 1.0
    notes: tuple[str, ...] = ()

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map rescaled values (any shape, polarity as stored) to [0, 1], bright = dense."""
        if self.voi is not None:
            shown = apply_voi(values, self.voi)
        else:
            span = np.float32(self.high - self.low if self.high > self.low else 1.0)
            shown = (values - np.float32(self.low)) / span
            np.clip(shown, 0.0, 1.0, out=shown)
        return np.subtract(np.float32(1.0), shown, out=shown) if self.inverted else shown


def apply_voi(values: NDArray[np.float32], voi: VoiTransform) -> NDArray[np.float32]:
    """Apply one VOI transform.

    Parameters
    ----------
    values : ndarray of float32
        Rescaled values, any shape, polarity as stored.
    voi : VoiTransform

    Returns
    -------
    ndarray of float32
        In [0, 1], polarity as stored (MONOCHROME1 is not turned over here).

    Raises
    ------
    ImageError
        If the window's width is not allowed: below 1 for 'linear', 0 or below for the others.
    """
    values = np.asarray(values, np.float32)
    if voi.kind == "lut":
        if voi.lut is None or len(voi.lut) == 0:
            raise ImageError(voi.name, "has no table", "Choose another display step")
        index = np.clip(np.rint(values) - np.float32(voi.first), 0, len(voi.lut) - 1).astype(np.int32)
        return voi.lut[index].astype(np.float32, copy=False)
    least = 1.0 if voi.kind == "linear" else np.finfo(np.float32).tiny
    if not voi.width >= least:
        allowed = "1 or more" if voi.kind == "linear" else "more than 0"
        raise ImageError(voi.name, f"has Window Width {voi.width:g}, expected {allowed}", "Choose another display step")
    if voi.kind == "sigmoid":  # 1 / (1 + exp(-4 (x - c) / w)), in a form that cannot overflow
        shown = np.tanh((values - np.float32(voi.center)) * np.float32(2.0 / voi.width))
        shown *= np.float32(0.5)
        shown += np.float32(0.5)
        return shown
    center, width = (voi.center - 0.5, voi.width - 1.0) if voi.kind == "linear" else (voi.center, voi.width)
    if width == 0.0:
        return (values > np.float32(center)).astype(np.float32)
    shown = (values - np.float32(center)) / np.float32(width)
    shown += np.float32(0.5)
    return np.clip(shown, 0.0, 1.0, out=shown)


def display_step(mammogram: Mammogram, step: str = AUTO) -> DisplayStep:
    """The display step a name stands for on one mammogram.

    Parameters
    ----------
    mammogram : Mammogram
    step : str
        `AUTO`: the file's first usable VOI LUT, else its first usable window, else ``percentile-3``;
        ``percentile-3``: straight line between two percentiles of the breast (`PERCENTILES`), estimated on a
        subsample of the whole image; ``auto``, ``auto-2``, ``percentile``, ``percentile-2``: those of recipes of
        before;
        ``full``: straight line over `Mammogram.value_range`; or the name of
        one of the file's own transforms, such as ``window:1``.

    Returns
    -------
    DisplayStep
        Its `name` says which step `AUTO` came to.

    Raises
    ------
    ImageError
        If the file offers no step of that name.
    """
    known = _STEPS.setdefault(mammogram, {})
    if step not in known:
        known[step] = _make_step(mammogram, step)
    return known[step]


def same_picture(known: Mammogram, other: Mammogram) -> None:
    """Let a mammogram of the same pixels have what was found out about the breast and the display of a known one."""
    if known in _STEPS:
        _STEPS[other] = _STEPS[known]
    share_area(known, other)


def described(step: str) -> str:
    """A recipe's display step in words, for the methods of a report."""
    if step not in _RANGE_OF:
        return {"stored": "as stored"}.get(step, step)
    low, high = PERCENTILES[_RANGE_OF[step]]
    first = "the file's first VOI LUT, else its first window"
    if step != "auto":
        first += (
            f", that shows what is denser brighter, the breast in at least {_LEAST_CONTRAST:.1%} of the grey scale, "
            f"at most {_MOST_WHITE:.0%} of it plain white and {_MOST_BLACK:.0%} plain black"
        )
    of = "what is brighter than the background" if step in FORMER else "the breast (white without its rim)"
    return f"{first}; else from the {low:g} to the {high:g} percentile of {of} ({step})"


def _make_step(mammogram: Mammogram, step: str) -> DisplayStep:
    if step in _RANGE_OF:
        return _automatic(mammogram, step)
    if step == "full":
        low, high = mammogram.value_range
        return DisplayStep("full", mammogram.inverted, low=low, high=high)
    if step in PERCENTILES:
        low, high = breast_range(mammogram, step)
        return DisplayStep(step, mammogram.inverted, low=low, high=high)
    for voi in mammogram.voi:
        if voi.name == step:
            return DisplayStep(step, mammogram.inverted, voi=voi)
    offered = ", ".join([*_RANGE_OF, *PERCENTILES, "full", *(voi.name for voi in mammogram.voi)])
    raise ImageError(mammogram.source or mammogram.label, f"has no display step '{step}'", f"Choose one of {offered}")


def _automatic(mammogram: Mammogram, policy: str) -> DisplayStep:
    breast = mammogram.orient(_breast(mammogram, policy)[0])  # back to polarity as stored
    passed: list[str] = []
    notes: tuple[str, ...] = ()
    for voi in sorted(mammogram.voi, key=lambda voi: voi.kind != "lut"):
        reason = _unusable(voi, breast, mammogram.inverted, policy)
        if reason is None:
            if policy != "auto" and breast.size:
                black, white = np.percentile(apply_voi(breast, voi), (1, 99))
                if (share := float(white - black)) < _LITTLE_CONTRAST:
                    notes += (
                        f"Display step {_named(voi)} shows the breast in {100 * share:.0f} % of the grey scale only "
                        f"(less than {100 * _LITTLE_CONTRAST:.0f} %): if the window is wrong, so is the prediction.",
                    )
            return DisplayStep(voi.name, mammogram.inverted, voi=voi, notes=notes)
        passed.append(f"Display step {_named(voi)} was passed over: {reason}")
        others = f"; so were {len(passed) - 1} others" if len(passed) > 2 else "; so was another" if passed[1:] else ""
        notes = (f"{passed[0]}{others}.",)
    low, high = breast_range(mammogram, _RANGE_OF[policy])
    step = DisplayStep(_RANGE_OF[policy], mammogram.inverted, low=low, high=high, notes=notes)
    if policy != "auto" and (found := _saturated(step.apply(breast.copy()), _TOLD_WHITE)) and low < high:
        notes += (f"The picture shows {found}, as it is in the file: its structure is lost there.",)
    if (thing := bright_object(mammogram, *turned(mammogram, low, high))) is not None:
        notes += (
            f"An object brighter than the tissue (implant, port, marker?) covers {100 * thing:.2g} % of the breast and "
            "sets the display's white: the tissue is shown darker than usual.",
        )
    return replace(step, notes=notes)


def _named(voi: VoiTransform) -> str:
    """A transform with what a person knows it by."""
    return voi.name if voi.kind == "lut" else f"{voi.name} (centre {voi.center:g}, width {voi.width:g})"


def _unusable(voi: VoiTransform, breast: NDArray[np.float32], inverted: bool, policy: str) -> str | None:
    """Why a transform shows nothing, or next to nothing, of the breast, or None."""
    try:
        shown = apply_voi(breast, voi)
    except ImageError as error:
        return f"it {error.problem}"
    if shown.size:
        low, high = np.percentile(shown, (1, 99))
        if high - low < _NO_CONTRAST:
            return "it shows the whole breast in one grey value"
        if policy == "auto":
            return None
        final = np.float32(1.0) - shown if inverted else shown
        if falls := _falls(-breast if inverted else breast, final):
            return falls
        low, high = np.percentile(shown, (3, 99))
        if high - low < _LEAST_CONTRAST:
            return f"it shows the breast in {100 * (high - low):.0f} % of the grey scale"
        if found := _saturated(final):
            return f"it shows {found}"
    return None


def _saturated(shown: NDArray[np.float32], most_white: float = _MOST_WHITE) -> str:
    """That much of the breast is plain white or black, in words; empty where it is not."""
    for share, most, name in (
        (float(np.mean(shown >= _WHITE)), most_white, "white"),
        (float(np.mean(shown <= _BLACK)), _MOST_BLACK, "black"),
    ):
        if share > most:
            return f"{100 * share:.0f} % of the breast plain {name} (saturated)"
    return ""


def _falls(dense: NDArray[np.float32], shown: NDArray[np.float32]) -> str:
    """That what is denser is shown darker, in words; empty where the display rises with the values throughout."""
    low, high = np.percentile(dense, (0.5, 99.5))
    values, first = np.unique(dense, return_index=True)
    inner = (values >= low) & (values <= high)
    curve = shown[first[inner]]
    if curve.size < 2:
        return ""
    fall = float((np.maximum.accumulate(curve) - curve).max())
    rise = float((curve - np.minimum.accumulate(curve)).max())
    if fall <= _FALL:
        return ""
    if rise <= _FALL:
        return "it inverts the picture (it shows dense tissue dark)"
    return "it shows part of what is denser darker than what is less dense (its curve rises and falls)"


def turned_over(mammogram: Mammogram) -> bool:
    """Whether a file's first table, falling over a picture whose dense tissue is dark, is what makes it bright.

    A file says so in place of its photometric interpretation; the background, brighter than the breast, bears it out.
    """
    tables = [voi for voi in mammogram.voi if voi.kind == "lut"]
    if not tables or not bright_background(mammogram):
        return False
    values = mammogram.orient(sample_values(mammogram))  # polarity as stored
    shown = apply_voi(values, tables[0])
    dense, final = (-values, np.float32(1.0) - shown) if mammogram.inverted else (values, shown)
    return "inverts the picture" in _falls(dense, final)


def lesion_saturated(mammogram: Mammogram, step: DisplayStep, shown: NDArray[np.float32], stored: NDArray[Any]) -> str:
    """That a display hides a lesion by making it plain white or black, in a sentence; empty where it does not.

    Parameters
    ----------
    shown, stored : ndarray of one shape
        The lesion's pixels as displayed and as stored. What is white or black in the file itself is told only where
        it is (nearly) the whole lesion.
    """
    values = mammogram.orient(mammogram.rescale(stored))
    ends = mammogram.orient(mammogram.rescale(np.array([mammogram.stored.min(), mammogram.stored.max()])))
    black = shown <= _BLACK
    if black.mean() > _LESION_BLACK:  # air may well be black
        black &= values >= breast_values(mammogram)[0].min(initial=np.inf)
    for name, hidden, own, most in (
        ("white", shown >= _WHITE, values >= ends.max(), _LESION_WHITE),
        ("black", black, values <= ends.min(), _LESION_BLACK),
    ):
        share, by_file = float(hidden.mean()), float((hidden & own).mean())
        if step.voi is None:  # the recipe's own range clips what it clips
            most = _LESION_ALL
        if share > _LESION_ALL or share - by_file > most:
            cause = "as in the file itself" if by_file > share / 2 else f"by the display step {named(step)}"
            found = f"{100 * share:.0f} % of the lesion is plain {name} in what the model sees"
            return f"{found}, {cause}: its structure is lost."
    levels = np.rint(255 * shown).astype(np.intp).ravel()
    most_often = levels == np.bincount(levels).argmax()
    low, high = np.percentile(values.ravel()[most_often], (5, 95))
    if step.voi is not None and most_often.mean() > _LESION_FLAT and high - low > _FLAT_SPREAD * np.ptp(ends):
        found = f"{100 * most_often.mean():.0f} % of the lesion has one grey value in what the model sees"
        return f"{found}, by the display step {named(step)}: its structure is lost."
    return ""


def named(step: DisplayStep) -> str:
    """A step with what a person knows it by."""
    return step.name if step.voi is None else _named(step.voi)


def kind_of_step(name: str) -> str:
    """Of what kind a step of a name is, for people; empty where nothing is displayed.

    Which window of a file it is, and of which version percentiles are, makes no other kind.
    """
    return next((words for kind, words in _KINDS.items() if re.fullmatch(rf"{kind}(?:[:-]\d+)?", name)), "")


def _breast(mammogram: Mammogram, step: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values (bright = dense) that a step takes for the breast, and those by which it sets white."""
    if step in FORMER:
        return (foreground_values(sample_values(mammogram)),) * 2
    return breast_values(mammogram)


def turned(mammogram: Mammogram, low: float, high: float) -> tuple[float, float]:
    """A range of values with bright = dense in the polarity as stored, or the other way round."""
    total = sum(mammogram.value_range)
    return (total - high, total - low) if mammogram.inverted else (low, high)


def breast_range(mammogram: Mammogram, step: str = _RANGE_OF[AUTO]) -> tuple[float, float]:
    """Percentiles of the breast (`PERCENTILES`) in rescaled values, polarity as stored, low < high if possible."""
    sampled = sample_values(mammogram)
    if sampled.size == 0:
        return mammogram.value_range
    low, high = _percentiles(_breast(mammogram, step), PERCENTILES[step])
    if high <= low:
        low, high = float(sampled.min()), float(sampled.max())
    return turned(mammogram, low, high)


def _percentiles(
    values: tuple[NDArray[np.float32], NDArray[np.float32]], percentiles: tuple[float, float]
) -> tuple[float, float]:
    """A low and a high percentile of the breast.

    Where the high one is far above what leaves as many values of the inner part above, its rim holds what is no tissue.
    """
    breast, inner = values
    above = (100 - percentiles[1]) * breast.size / inner.size
    low, high = (float(value) for value in np.percentile(breast, percentiles))
    within = float(np.percentile(inner, max(50.0, 100 - above)))
    return low, high if high - within <= _RIM_ABOVE * (within - low) else within


def former_rule(mammogram: Mammogram, display: str) -> str:
    """In what a rule of before (`FORMER`) shows a mammogram otherwise than that of now, after a colon; or empty."""
    before, now = display_step(mammogram, display), display_step(mammogram)
    if before.voi is not now.voi:
        by = f"by {named(before)}" if before.voi is not None else f"by the {before.name} range"
        why = next((f" ({note.partition(': ')[2].rstrip('.')})" for note in now.notes), "")
        instead = "the rule of now passes it over" if before.voi is not None else f"that of now by {named(now)}"
        return f"it shows the image {by}; {instead}{why}"
    if before.voi is not None:
        return ""
    # The same percentiles, of the breast alone: what differs then is what lies beside the breast, or over it.
    low, high = turned(mammogram, *_percentiles(breast_values(mammogram), PERCENTILES[before.name]))
    if max(abs(before.low - low), abs(before.high - high)) <= _MOVED * (high - low):
        return ""
    return (
        f"it takes all that is brighter than the background for breast (markers, labels, noise), and shows "
        f"{before.low:.5g} to {before.high:.5g} in place of {low:.5g} to {high:.5g}"
    )


def display_array(
    mammogram: Mammogram, step: str | DisplayStep = AUTO, region: Region | None = None
) -> NDArray[np.float32]:
    """The mammogram as displayed.

    Parameters
    ----------
    mammogram : Mammogram
    step : str or DisplayStep
        See `display_step`.
    region : (slice, slice), optional
        Rows and columns to compute; nothing else is, and the values are those of the whole image.

    Returns
    -------
    ndarray of float32, shape (rows, columns) of the region
        In [0, 1], bright = dense; padding beside the breast is 0 (black).

    Raises
    ------
    ImageError
        If the file offers no step of that name, or the step cannot be applied.
    """
    chosen = step if isinstance(step, DisplayStep) else display_step(mammogram, step)
    stored = mammogram.stored if region is None else mammogram.stored[region]
    shown = np.empty(stored.shape, np.float32)
    table = _table(mammogram, chosen) if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2 else None
    for start in range(0, stored.shape[0], _CHUNK_ROWS):  # in bands, so that temporaries stay small
        band = stored[start : start + _CHUNK_ROWS]
        target = shown[start : start + _CHUNK_ROWS]
        if table is not None:
            np.take(table, band.view(f"u{band.dtype.itemsize}") if band.dtype.kind == "i" else band, out=target)
        else:
            target[...] = chosen.apply(mammogram.rescale(band))
    if mammogram.outside is not None:
        shown[mammogram.outside if region is None else mammogram.outside[region]] = 0.0
    return shown


def _table(mammogram: Mammogram, step: DisplayStep) -> NDArray[np.float32]:
    """Displayed value of every possible stored value of an 8- or 16-bit image, indexed by its bit pattern."""
    dtype = mammogram.stored.dtype
    codes = np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)
    return step.apply(mammogram.rescale(codes))
