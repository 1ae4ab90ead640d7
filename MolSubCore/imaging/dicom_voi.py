"""The display transforms a DICOM header offers, as named `VoiTransform` (PS3.3 C.11.2)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from MolSubCore.imaging.dicom_facts import numbers, text
from MolSubCore.imaging.mammogram import ModalityLut, VoiTransform

#: Windows, and tables, of a file that are looked at: three of each are usual, a table may have 65,536 entries.
_MOST = 16
_FUNCTIONS: dict[str, Literal["linear", "linear-exact", "sigmoid"]] = {
    "": "linear",
    "LINEAR": "linear",
    "LINEAR_EXACT": "linear-exact",
    "SIGMOID": "sigmoid",
}


def read_voi(dataset: Dataset, *, signed: bool) -> tuple[tuple[VoiTransform, ...], list[str]]:
    """All windows and VOI LUTs of a header, windows first.

    Parameters
    ----------
    dataset : Dataset
    signed : bool
        Whether rescaled values can be negative; then a table's first mapped value is signed.

    Returns
    -------
    voi : tuple of VoiTransform
        Windows of impossible width are kept: a display step says why it does not use them.
    warnings : list of str
        About transforms that cannot be read and are left out.
    """
    windows, warnings = _windows(dataset)
    tables: list[VoiTransform] = []
    items = dataset.get("VOILUTSequence") or []
    if len(items) > _MOST:
        warnings.append(f"The file has {len(items)} VOI LUTs; the first {_MOST} were looked at.")
    useless: dict[str, list[int]] = {}
    for number, item in enumerate(items[:_MOST]):
        try:
            first, entries, bits = read_lut(item, signed=signed)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            useless.setdefault(str(error), []).append(number)
            continue
        top = float((1 << bits) - 1)
        if entries.max() > top:
            warnings.append(
                f"VOI LUT {number} holds {entries.max()}, more than its {bits} bits allow; it was scaled to that."
            )
            top = float(entries.max())
        scaled = entries.astype(np.float32) / np.float32(top)
        explanation = text(item, "LUTExplanation")
        tables.append(VoiTransform(f"voi-lut:{number}", "lut", first=float(first), lut=scaled, explanation=explanation))
    for reason, numbers_of in useless.items():
        others = f"; nor are {len(numbers_of) - 1} others, for the same reason" if len(numbers_of) > 1 else ""
        warnings.append(f"VOI LUT {numbers_of[0]} is not used: {reason}{others}.")
    return (*windows, *tables), warnings


def _windows(dataset: Dataset) -> tuple[list[VoiTransform], list[str]]:
    warnings: list[str] = []
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if centers is None or widths is None:
        return [], ["The file's windows are not used: Window Center or Window Width is not a number."]
    if len(centers) != len(widths):
        warnings.append(
            f"The file has {len(centers)} Window Centers and {len(widths)} Window Widths; only pairs are used."
        )
    if min(len(centers), len(widths)) > _MOST:
        warnings.append(f"The file has {min(len(centers), len(widths))} windows; the first {_MOST} were looked at.")
    function = text(dataset, "VOILUTFunction").upper()
    if function not in _FUNCTIONS:
        warnings.append(f"The VOI LUT Function {function} is unknown; windows are taken as LINEAR.")
    kind = _FUNCTIONS.get(function, "linear")
    words = text(dataset, "WindowCenterWidthExplanation").split("\\")
    return [
        VoiTransform(f"window:{i}", kind, center, width, explanation=words[i] if i < len(words) else "")
        for i, (center, width) in enumerate(zip(centers[:_MOST], widths[:_MOST], strict=False))
    ], warnings


def read_modality_lut(dataset: Dataset, *, signed: bool) -> tuple[ModalityLut, int] | None:
    """The Modality LUT Sequence (0028,3000) and its bits per entry, or None where there is none.

    Raises
    ------
    ValueError
        If the table cannot be read.
    """
    items = dataset.get("ModalityLUTSequence") or []
    if not items:
        return None
    first, entries, bits = read_lut(items[0], signed=signed)
    return ModalityLut(first, entries.astype(np.float32)), bits


def read_lut(item: Dataset, *, signed: bool) -> tuple[int, NDArray[np.uint16], int]:
    """A lookup table item: first mapped value, entries, bits per entry.

    Raises
    ------
    ValueError
        If descriptor and data do not fit together.
    """
    descriptor = [int(v) for v in item.LUTDescriptor]
    if len(descriptor) != 3:
        raise ValueError(f"its LUT Descriptor has {len(descriptor)} values, expected 3")
    count = (descriptor[0] & 0xFFFF) or 1 << 16
    first, bits = descriptor[1], descriptor[2]
    if signed and first > 0x7FFF:  # written as unsigned in an explicit-VR file
        first -= 1 << 16
    elif not signed and first < 0:
        first += 1 << 16
    if not 8 <= bits <= 16:
        raise ValueError(f"it has {bits} bits per entry, expected 8 to 16")
    entries = _entries(item, count, bits)
    if len(entries) < count:
        raise ValueError(f"it has {len(entries)} entries, its descriptor promises {count}")
    return first, entries[:count], bits


def _entries(item: Dataset, count: int, bits: int) -> NDArray[np.uint16]:
    """LUT Data (0028,3006), of whatever VR; 8-bit entries may lie two in a word."""
    value: Any = item.LUTData
    if isinstance(value, bytes):
        little = item.original_encoding[1] is not False
        raw = value
        words = np.frombuffer(value[: len(value) // 2 * 2], "<u2" if little else ">u2").astype(np.uint16)
    else:
        words = np.atleast_1d(np.asarray(value, dtype=np.int64) & 0xFFFF).astype(np.uint16)
        raw = words.astype("<u2").tobytes()
    if bits == 8 and len(words) < count <= len(raw):
        return np.frombuffer(raw, np.uint8)[:count].astype(np.uint16)
    return words
