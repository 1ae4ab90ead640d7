"""DICOM mammograms: what is refused, and how a header and its pixels become a `Mammogram`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from MolSubCore.errors import ImageError
from MolSubCore.imaging import dicom_facts as facts
from MolSubCore.imaging.dicom_file import DicomFile, open_dicom
from MolSubCore.imaging.dicom_pixels import read_pixels
from MolSubCore.imaging.dicom_voi import read_modality_lut, read_voi
from MolSubCore.imaging.limits import check_size
from MolSubCore.imaging.mammogram import SYNTHETIC_MODEL, Mammogram, ModalityLut, at_the_edge

Presentation = Literal["FOR PRESENTATION", "FOR PROCESSING"]

_MAMMOGRAPHY = "Give one 2D mammographic view (modality MG)"
_MODALITIES = {"MG", "CR", "DX", "SC", "OT"}
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_FOR_PRESENTATION, _FOR_PROCESSING = _STORAGE + "1.2", _STORAGE + "1.2.1"
_TOMOSYNTHESIS = _STORAGE + "13.1.3"
_SOP_CLASSES = {
    _FOR_PRESENTATION,
    _FOR_PROCESSING,
    _TOMOSYNTHESIS,  # some 2D images made from tomosynthesis are stored so, with one frame
    _STORAGE + "1",  # CR
    _STORAGE + "1.1",  # DX for presentation
    _STORAGE + "1.1.1",  # DX for processing
    _STORAGE + "7",  # secondary capture
    _STORAGE + "7.2",
    _STORAGE + "7.3",
}
#: Share of the picture's values that padding beside the breast may spread over; pixels of such a value within the
#: breast from which on it is told.
_FLAT, _LEAST_INNER = 0.1, 20


def read_dicom(path: Path) -> Mammogram:
    """Read a DICOM mammogram.

    Parameters
    ----------
    path : Path
        A DICOM file, with or without preamble, in any transfer syntax pydicom has a decoder for.

    Returns
    -------
    Mammogram

    Raises
    ------
    ImageError
        If the file is not one 2D mammographic view, or its pixel data are not whole.
    """
    file, warnings = _opened(path)
    header = file.header
    stored, pixel_warnings = read_pixels(file)
    rescale = _read_rescale(path, header)
    presentation = _presentation(header)
    inverted, history, doubts = facts.read_polarity(header, presentation, rescale.falling)
    side, side_warnings = facts.read_side(header)
    view, view_warnings = facts.read_view(header)
    spacing, corrected, spacing_warnings = facts.read_spacing(header, (stored.shape[0], stored.shape[1]))
    voi, voi_warnings = read_voi(header, signed=rescale.value_range[0] < 0)
    padding, padding_warnings = _padding(header, stored)
    warnings += [*pixel_warnings, *doubts, *facts.read_doubts(header, presentation)]
    warnings += [*side_warnings, *view_warnings, *spacing_warnings, *voi_warnings, *padding_warnings]
    maker, model = facts.text(header, "Manufacturer"), facts.text(header, "ManufacturerModelName")
    return Mammogram(
        stored,
        slope=rescale.slope,
        intercept=rescale.intercept,
        modality_lut=rescale.table,
        inverted=inverted,
        value_range=rescale.value_range,
        padding=padding,
        spacing=spacing,
        chest_wall_told=facts.read_chest_wall(header),
        laterality=side,
        view=view,
        manufacturer=maker or None,
        model_name=model or None,
        presentation=presentation,
        photometric_history=tuple(_stored_as(file, stored) + rescale.history + history + corrected),
        voi=voi,
        warnings=tuple(warnings),
        synthetic=SYNTHETIC_MODEL.casefold() in f"{maker} {model}".casefold(),
        identifiers=facts.identifiers_of(header),
        person=facts.person_of(header),
        source=path,
    )


def check_dicom(path: Path) -> None:
    """Refuse, by its header alone, a DICOM file that `read_dicom` would refuse without a look at its pixels.

    Raises
    ------
    ImageError
    """
    _opened(path)


def _opened(path: Path) -> tuple[DicomFile, list[str]]:
    """The file with its header, checked, and what is to be said about its kind."""
    file = open_dicom(path)
    _fill_from_groups(file.header)
    warnings = _check_kind(path, file.header)
    _check_layout(path, file.header)
    return file, warnings


def _fill_from_groups(header: Dataset) -> None:
    """Copy what only the functional groups of an enhanced, one-frame image say to the top level."""
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for groups in (header.get(keyword) or [])[:1]:
            for group in groups:
                for element in group.value[0] if group.VR == "SQ" and group.value else ():
                    if header.get(element.tag) is None or header[element.tag].is_empty:
                        header.add(element)


def _check_kind(path: Path, header: Dataset) -> list[str]:
    """Refuse what is clearly no single 2D mammogram, by modality, SOP class and number of frames."""
    kind = UID(facts.text(header, "SOPClassUID"))
    modality = facts.text(header, "Modality").upper()
    if "DirectoryRecordSequence" in header:
        raise ImageError(path, "is a DICOMDIR, an index of other files", "Name one of the images it lists")
    if modality and modality not in _MODALITIES:
        raise ImageError(path, f"has modality {modality}, expected MG", _MAMMOGRAPHY)
    frames = facts.numbers(header, "NumberOfFrames")
    if frames is None or (frames and frames[0] != 1):
        count = "an unreadable number of" if frames is None else f"{frames[0]:.0f}"
        tomosynthesis = kind == _TOMOSYNTHESIS or "TOMOSYNTHESIS" in facts.text(header, "ImageType").upper()
        what = "tomosynthesis volume" if tomosynthesis else "multi-frame image"
        raise ImageError(
            path, f"is a {what} of {count} frames, expected one frame", "Give the 2D view of the same breast"
        )
    if kind and kind not in _SOP_CLASSES and kind.name != kind:
        raise ImageError(path, f"is a {kind.name}, expected a mammogram", _MAMMOGRAPHY)
    if not modality:
        return ["The file does not name its modality; it was read as a mammogram."]
    return [] if modality == "MG" else [f"The modality is {modality}, not MG; it was read as a mammogram."]


def _check_layout(path: Path, header: Dataset) -> None:
    """Refuse pixel layouts no mammogram has, and absurd sizes, before pixel data are touched."""
    layout = {}
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel"):
        values = facts.numbers(header, keyword)
        if not values:
            found = (
                f"does not say its {keyword} (has no image, is cut short, or its transfer syntax is not what it says)"
            )
            raise ImageError(path, found, "Give the DICOM file of a mammogram, complete with its image")
        layout[keyword] = int(values[0])
    check_size(path, layout["Rows"], layout["Columns"])
    aspect = facts.numbers(header, "PixelAspectRatio")
    if aspect is None or (aspect and (len(aspect) != 2 or min(aspect) <= 0 or aspect[0] != aspect[1])):
        found = f"has pixels that are not square (Pixel Aspect Ratio '{facts.text(header, 'PixelAspectRatio')}')"
        raise ImageError(path, found, "Export it with square pixels")
    photometric = facts.text(header, "PhotometricInterpretation").upper()
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or layout["SamplesPerPixel"] != 1:
        found = f"has Photometric Interpretation {photometric or 'nothing'}, {layout['SamplesPerPixel']} samples"
        raise ImageError(path, f"{found}, expected MONOCHROME1 or MONOCHROME2 with 1", "Give the greyscale original")
    allocated, stored = layout["BitsAllocated"], layout["BitsStored"]
    if allocated not in (8, 16) or not 1 <= stored <= allocated or layout["PixelRepresentation"] not in (0, 1):
        found = (
            f"has {stored} bits stored in {allocated} allocated, pixel representation {layout['PixelRepresentation']}"
        )
        raise ImageError(
            path, f"{found}; expected up to 8 or 16 bits, representation 0 or 1", "Export it again as 16-bit"
        )


@dataclass(frozen=True, eq=False)
class _Rescale:
    """The modality transform: from stored to rescaled values."""

    slope: float
    intercept: float
    table: ModalityLut | None
    value_range: tuple[float, float]
    falling: bool
    history: list[str]


def _read_rescale(path: Path, header: Dataset) -> _Rescale:
    signed = int(header.PixelRepresentation) == 1
    bits = int(header.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    try:
        modality = read_modality_lut(header, signed=signed)
    except (ValueError, TypeError, AttributeError) as error:
        raise ImageError(
            path, f"has a Modality LUT that cannot be used: {error}", "Export it with plain pixels"
        ) from error
    if modality is not None:
        table, depth = modality
        falling = bool(table.values[0] > table.values[-1])
        note = f"Modality LUT of {len(table.values)} entries, {depth} bits."
        return _Rescale(1.0, 0.0, table, (0.0, 2.0**depth - 1), falling, [note])
    slopes, intercepts = facts.numbers(header, "RescaleSlope"), facts.numbers(header, "RescaleIntercept")
    if slopes is None or intercepts is None or slopes[:1] == (0.0,):
        texts = [facts.text(header, name) for name in ("RescaleSlope", "RescaleIntercept")]
        found = f"Rescale Slope '{texts[0]}', Intercept '{texts[1]}'"
        raise ImageError(path, f"has {found}, expected numbers and a slope other than 0", "Correct the header")
    slope, intercept = (slopes or (1.0,))[0], (intercepts or (0.0,))[0]
    ends = (low * slope + intercept, high * slope + intercept)
    history = [] if (slope, intercept) == (1.0, 0.0) else [f"Rescaled: {slope:g} x stored {intercept:+g}."]
    return _Rescale(slope, intercept, None, (min(ends), max(ends)), slope < 0, history)


def _presentation(header: Dataset) -> Presentation | None:
    """Presentation Intent Type (0008,0068), or what the SOP class implies."""
    intent = facts.text(header, "PresentationIntentType").upper()
    kind = facts.text(header, "SOPClassUID")
    if intent == "FOR PROCESSING" or (not intent and kind == _FOR_PROCESSING):
        return "FOR PROCESSING"
    if intent == "FOR PRESENTATION" or (not intent and kind == _FOR_PRESENTATION):
        return "FOR PRESENTATION"
    return None


def _padding(header: Dataset, stored: NDArray[Any]) -> tuple[tuple[int, int] | None, list[str]]:
    """Stored values that mean "outside": Pixel Padding Value to Range Limit (PS3.3 C.7.5.1.1.2); and what is in doubt.

    A range that takes in the breast is none: beside it, padding is (nearly) of one value.
    """
    values = facts.numbers(header, "PixelPaddingValue")
    if not values:
        return None, []
    limits = facts.numbers(header, "PixelPaddingRangeLimit")
    ends = [int(values[0]), int(limits[0]) if limits else int(values[0])]
    if stored.dtype.kind == "i":  # the same bits, written with an unsigned value representation
        top = int(np.iinfo(stored.dtype).max)
        ends = [end - 2 * (top + 1) if end > top else end for end in ends]
    low, high = min(ends), max(ends)
    padded = (stored >= low) & (stored <= high)
    if not padded.any():
        return (low, high), []
    name = f"Pixel Padding Value {low}" if low == high else f"Pixel Padding Value and Range Limit ({low} to {high})"
    bottom, summit = np.percentile(stored, (0.1, 99.9))
    flat = _FLAT * max(1.0, float(summit - bottom))
    outside = at_the_edge(padded)
    if outside is None:
        told = f"it is found within the picture only ({100 * float(padded.mean()):.2g} % of it), not beside the breast"
        return None, [f"The {name} is not used: {told}."] if _on_tissue(stored, padded, (low, high), flat) else []
    if low < high:
        first, last = np.percentile(stored[outside], (1, 99))
        if last - first > flat:
            share = f"{100 * float(outside.mean()):.0f} % of the image"
            return None, [f"The {name} is not used: it takes in values of the breast ({share})."]
    inner = padded & ~outside
    if _on_tissue(stored, inner, (low, high), flat):
        share = f"{100 * float(inner.sum() / (~outside).sum()):.2g} % of what is not padding"
        return (low, high), [f"The {name} is also found within the picture ({share}): there it was not applied."]
    return (low, high), []


def _on_tissue(stored: NDArray[Any], marked: NDArray[np.bool_], ends: tuple[int, int], flat: float) -> bool:
    """Whether padding's values are found where all around is other than they are, and not in the noise of the air."""
    from scipy import ndimage

    if np.count_nonzero(marked) < _LEAST_INNER:
        return False
    ring = ndimage.binary_dilation(marked, np.ones((3, 3)), iterations=2) & ~marked
    values = stored[ring].astype(np.float64)
    away = np.minimum(np.abs(values - ends[0]), np.abs(values - ends[1]))
    return bool(away.size and np.median(away) > flat)


def _stored_as(file: DicomFile, stored: NDArray[Any]) -> list[str]:
    header = file.header
    found = [
        f"DICOM {file.syntax.name}{'' if file.syntax_declared else ' (not declared)'}; "
        f"{header.BitsStored} of {header.BitsAllocated} bits, {'signed' if stored.dtype.kind == 'i' else 'unsigned'}."
    ]
    if facts.text(header, "LossyImageCompression") == "01":
        found.append("The image has been compressed with loss.")
    # Iterating over the data set itself would decode every element.
    if any(0x6000 <= element >> 16 <= 0x601E for element in header.keys()):  # noqa: SIM118
        found.append("Overlays are not drawn into the pixels.")
    return found
