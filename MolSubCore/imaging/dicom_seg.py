"""DICOM Segmentations (PS3.3 A.51 and A.99) as label maps on the grid of the mammogram that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from MolSubCore.errors import ImageError, LesionError, reason_of
from MolSubCore.imaging.dicom_facts import text
from MolSubCore.imaging.dicom_file import DicomFile, open_dicom
from MolSubCore.imaging.dicom_frames import check_frames, read_frames
from MolSubCore.imaging.lesion import MOST, OTHER_IMAGE
from MolSubCore.imaging.mammogram import Mammogram

_AGAIN = "Export the segmentation again"
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


def read_segmentation(path: Path, mammogram: Mammogram) -> tuple[list[NDArray[np.integer]], list[str]]:
    """Read the segments that lie on a mammogram.

    Of a segmentation of several images, only the frames that were derived from this one are taken. Of a fractional
    one, what is at least half. Frames of one segment are put together.

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
        If it cannot be read, is no segmentation, or belongs to several other images.
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
        return _layers(file, chosen), warnings
    except ImageError as error:
        raise LesionError(path, error.problem, error.remedy) from error
    except LesionError:
        raise
    except Exception as error:
        found = reason_of(error, 120, kind=True)
        raise LesionError(path, f"cannot be read ({found})", _AGAIN) from None


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
            found = f"The DICOM segmentation names no image, and another {what} than this image's"
            return frames, [f"{found}; only its grid was compared."]
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


def _layers(file: DicomFile, chosen: list[int]) -> list[NDArray[np.integer]]:
    header, wanted = file.header, set(chosen)
    kind = text(header, "SegmentationType").upper()
    least = int(header.get("MaximumFractionalValue") or 1) / 2 if kind == "FRACTIONAL" else 1
    layers: dict[int, NDArray[np.integer]] = {}
    for frame, pixels in enumerate(read_frames(file)):
        if frame not in wanted:
            continue
        number = 0 if kind == "LABELMAP" else _segment(header, frame)
        marked = pixels if kind == "LABELMAP" else (pixels >= least).astype(np.uint8)
        layers[number] = np.maximum(layers[number], marked) if number in layers else marked
        if len(layers) > MOST:
            raise LesionError(file.path, f"holds more than {MOST} segments", "Give the segmentation of one image")
    return [layers[number] for number in sorted(layers)]
