"""Heatmaps as a DICOM Parametric Map on the mammogram's own pixels (PS3.3 A.75), and back.

A map is stored in 16 bits with a Real World Value Mapping, not as floating-point numbers: those cannot be compressed
in DICOM and would take 50 MB a layer on a large detector, nearly all of it zeros beside the region of interest. The
step is 1/65534 of a map's own range. The stored value 0 is padding: it stands for "outside the region".

A parametric map must have a frame of reference, which a mammogram has not. It gets one of its own, the plane of the
detector with the first pixel as origin: the same for all maps of a mammogram, related to no other image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom.base import SOPClass
from highdicom.pm import RealWorldValueMapping
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ParametricMapStorage, RLELossless
from pydicom.valuerep import DSfloat

from MolSubCore import DISCLAIMER
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.prediction.dicom.codes import HEATMAP, NO_UNITS, quantity_code
from MolSubCore.prediction.dicom.maker import common, derived_uid, finished, new_dataset, new_object, new_uid, reference

if TYPE_CHECKING:
    from MolSubCore.prediction.result import LesionPrediction

#: Of Patient Orientation (PS3.3 C.7.6.1.1.1) in a patient's coordinates (C.7.6.2.1.1).
_DIRECTIONS = {
    "L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1),
}  # fmt: skip
_LAST = 65535
_STEPS = _LAST - 1


def make_parametric_map(
    item: LesionPrediction,
    position: int,
    classes: list[str],
    source: Dataset,
    card: dict[str, Any],
    series: UID,
    number: int,
) -> Dataset:
    """One class's heatmaps of one lesion, a frame for each layer.

    Parameters
    ----------
    item : LesionPrediction
        With maps.
    position : int
        Which of the explained classes.
    classes : list of str
        Class names in the order of the probabilities.
    source, card, series, number
        As for `make_segmentation`.

    Returns
    -------
    Dataset
        RLE compressed, rows and columns those of the mammogram.
    """
    assert item.maps is not None
    maps = item.maps
    frames, groups = [], []
    for n, layer in enumerate(maps.layers, start=1):
        raw = None if maps.raw is None else maps.raw[layer][position]
        stored, mappings = _stored(item, layer, n, maps.scaled[layer][position], raw)
        blind = " Empty: no evidence in this map." if maps.blind[layer][position] else ""
        content = new_dataset(
            DimensionIndexValues=[n],
            FrameLabel=layer[:64],
            FrameComments=f"{maps.method} of {classes[maps.classes[position]]}.{blind}",
        )
        frames.append(stored)
        groups.append(new_dataset(FrameContentSequence=[content], RealWorldValueMappingSequence=mappings))
    made = _empty_map(source, common(card, "map", series, number))
    made.ContentDescription = f"Research use only: evidence for {classes[maps.classes[position]]}"[:64]
    made.ImageComments = f"{DISCLAIMER} {item.lesion}."
    made.SharedFunctionalGroupsSequence = [_shared_groups(source, item.mammogram.spacing, list(made.ImageType))]
    made.PerFrameFunctionalGroupsSequence = groups
    _add_pixels(made, np.stack(frames))
    return finished(made, source)


def _empty_map(source: Dataset, arguments: dict[str, Any]) -> SOPClass:
    """All of a parametric map but its frames. highdicom's own class wants a patient's frame of reference."""
    made = new_object(source, ParametricMapStorage, "OT", arguments)
    made.ImageType = ["DERIVED", "PRIMARY", "OTHER", "QUANTITY"]
    made.ContentLabel, made.ContentCreatorName = "HEATMAPS", ""
    made.BurnedInAnnotation, made.RecognizableVisualFeatures = "NO", "NO"
    made.PresentationLUTShape, made.PixelPresentation = "IDENTITY", "MONOCHROME"
    made.AcquisitionContextSequence = []
    made.FrameOfReferenceUID = derived_uid("detector plane", source.SOPInstanceUID)
    made.PositionReferenceIndicator = ""
    organization = new_uid()
    made.DimensionOrganizationSequence = [new_dataset(DimensionOrganizationUID=organization)]
    made.DimensionIndexSequence = [
        new_dataset(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=tag_for_keyword("FrameLabel"),
            FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
            DimensionDescriptionLabel="Layer of the network",
        )
    ]
    made.ReferencedSeriesSequence = [
        new_dataset(SeriesInstanceUID=source.SeriesInstanceUID, ReferencedInstanceSequence=[reference(source)])
    ]
    return made


def _shared_groups(source: Dataset, spacing: Spacing, image_type: list[str]) -> Dataset:
    """What holds for all frames: derived from the mammogram, pixel by pixel on it, in the plane of its detector."""
    image = reference(
        source,
        SpatialLocationsPreserved="YES",
        PurposeOfReferenceCodeSequence=[CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)],
    )
    derivation = new_dataset(
        SourceImageSequence=[image],
        DerivationCodeSequence=[HEATMAP],
    )
    measures = Dataset()
    if spacing.row_mm and spacing.col_mm:
        # A spacing divided by the magnification has more digits than the 16 characters of a DS hold.
        measures.PixelSpacing = [DSfloat(mm, auto_format=True) for mm in (spacing.row_mm, spacing.col_mm)]
    window = new_dataset(WindowCenter=(_LAST + 1) / 2, WindowWidth=_LAST + 1)
    identity = new_dataset(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")
    orientation = new_dataset(ImageOrientationPatient=_directions(source))
    return new_dataset(
        PixelMeasuresSequence=[measures],
        PlanePositionSequence=[new_dataset(ImagePositionPatient=[0, 0, 0])],
        PlaneOrientationSequence=[orientation],
        DerivationImageSequence=[derivation],
        FrameVOILUTSequence=[window],
        PixelValueTransformationSequence=[identity],
        ParametricMapFrameTypeSequence=[new_dataset(FrameType=image_type)],
    )


def _directions(source: Dataset) -> list[int]:
    """Direction cosines of rows and columns by the mammogram's Patient Orientation; a plain grid where it has none."""
    found = [_DIRECTIONS.get(str(value)[:1]) for value in source.get("PatientOrientation") or []]
    if len(found) == 2 and found[0] and found[1] and not any(a * b for a, b in zip(*found, strict=True)):
        return [*found[0], *found[1]]
    return [1, 0, 0, 0, 1, 0]


def _add_pixels(made: Dataset, frames: NDArray[np.uint16]) -> None:
    made.NumberOfFrames, made.Rows, made.Columns = frames.shape
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.PixelPaddingValue = 0
    pixels = frames if len(frames) > 1 else frames[0]  # as pydicom wants a single frame
    made.compress(RLELossless, pixels, generate_instance_uid=False)


def _stored(
    item: LesionPrediction,
    layer: str,
    number: int,
    scaled: NDArray[np.float32],
    raw: NDArray[np.float32] | None,
) -> tuple[NDArray[np.uint16], list[RealWorldValueMapping]]:
    """Stored values of one map on the image's grid, and what they mean: scaled and raw differ by a straight line."""
    values, rows, columns = item.roi.geometry.paste(scaled if raw is None else raw)
    low, high = float(values.min()), float(values.max())
    step = (high - low) / _STEPS or 1.0
    stored = np.zeros(item.mammogram.shape, np.uint16)
    stored[rows, columns] = np.round((values.astype(np.float64) - low) / step) + 1
    lines = {"scaled": (step, low - step)}
    if raw is not None:  # as `gradcam.stretch` does it
        least = float(raw.min())
        width = float(np.float32(1e-7) + (raw - raw.min()).max())
        lines = {"scaled": (step / width, (low - step - least) / width), "raw": lines["scaled"]}
    quantity = quantity_code(item.maps.method if item.maps is not None else "gradcam")
    return stored, [
        RealWorldValueMapping(f"L{number} {kind}", layer[:64], NO_UNITS, (0, _LAST), slope, intercept,
                              quantity_definition=quantity)
        for kind, (slope, intercept) in lines.items()
    ]  # fmt: skip
