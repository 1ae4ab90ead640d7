"""What the DICOM objects of a prediction say, read with pydicom alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from MolSubCore.prediction.dicom.codes import INTENDED_USE, PREDICTED, SCHEME, WARNING

_GROUP, _TRACKING_ID, _TRACKING_UID = "125007", "112039", "112040"
_ALGORITHM, _VERSION = "111001", "111003"


@dataclass(frozen=True)
class ReportedGroup:
    """One measurement group: of a lesion, or of a result (the mean over the lesions of a breast).

    Attributes
    ----------
    name, uid : str
        Tracking identifier, such as ``1 R MLO lesion 1``, ``patient`` (the only result) or ``left breast``; its UID.
    probabilities : dict of str to float
        By class, in the order of the report.
    predicted : str or None
        None for a tie.
    algorithm : tuple of str
        Name and version of the model.
    segment : tuple of (str, int), or None
        SOP Instance UID of the segmentation and number of the segment.
    images : tuple of str
        SOP Instance UIDs of the mammograms.
    """

    name: str
    uid: str
    probabilities: dict[str, float]
    predicted: str | None
    algorithm: tuple[str, str]
    segment: tuple[str, int] | None
    images: tuple[str, ...]


@dataclass(frozen=True)
class PredictionReport:
    """What a report says.

    Attributes
    ----------
    lesions : tuple of ReportedGroup
    results : tuple of ReportedGroup
    intended_use : str
    warnings : tuple of str
    """

    lesions: tuple[ReportedGroup, ...]
    results: tuple[ReportedGroup, ...]
    intended_use: str
    warnings: tuple[str, ...]

    @property
    def patient(self) -> ReportedGroup:
        """The only result."""
        (only,) = self.results
        return only


def read_prediction_sr(path: Path) -> PredictionReport:
    """The content of a structured report of a prediction."""
    dataset = dcmread(path)
    assert dataset.Modality == "SR"
    found = [_group(item) for item in _below(dataset) if _code(item)[1] == _GROUP and item.ValueType == "CONTAINER"]
    texts = [(_code(item), str(item.TextValue)) for item in dataset.ContentSequence if item.ValueType == "TEXT"]
    intended = [text for code, text in texts if code == (SCHEME, INTENDED_USE.value)]
    warned = tuple(text for code, text in texts if code == (SCHEME, WARNING.value))
    results = tuple(group for group in found if group.segment is None)
    lesions = tuple(group for group in found if group.segment is not None)
    return PredictionReport(lesions, results, intended[0], warned)


@dataclass(frozen=True, eq=False)
class HeatmapFrame:
    """One heatmap of a Parametric Map.

    Attributes
    ----------
    layer : str
        Dotted name.
    values : dict of str to ndarray of float64, shape (rows, columns)
        By kind, ``scaled`` (0 to 1) and, where known, ``raw``; NaN outside the region of interest.
    """

    layer: str
    values: dict[str, NDArray[np.float64]]


def read_parametric_map(path: Path) -> list[HeatmapFrame]:
    """The heatmaps of a parametric map."""
    dataset = dcmread(path)
    stored = dataset.pixel_array
    stored = stored[None] if stored.ndim == 2 else stored
    found = []
    for frame, groups in zip(stored, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        values = {}
        for mapping in groups.RealWorldValueMappingSequence:
            line = float(mapping.RealWorldValueSlope), float(mapping.RealWorldValueIntercept)
            real = np.where(frame == 0, np.nan, frame.astype(np.float64) * line[0] + line[1])
            values[str(mapping.LUTLabel).split()[-1]] = real
        found.append(HeatmapFrame(str(groups.FrameContentSequence[0].FrameLabel), values))
    return found


def _below(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from _below(child)


def _code(item: Dataset, keyword: str = "ConceptNameCodeSequence") -> tuple[str, str]:
    """Scheme and value of a coded concept; empty where there is none."""
    codes = item.get(keyword)
    return (str(codes[0].CodingSchemeDesignator), str(codes[0].CodeValue)) if codes else ("", "")


def _group(container: Dataset) -> ReportedGroup:
    probabilities: dict[str, float] = {}
    single: dict[str, str] = {}
    predicted, segment, images = None, None, []
    for item in _below(container):
        scheme, value = _code(item)
        if item.ValueType == "NUM" and scheme == SCHEME:
            name, meaning = None, str(item.ConceptNameCodeSequence[0].CodeMeaning)
            if value.startswith("P_"):
                name = meaning.removeprefix("Probability of ")
            if name is not None:
                measured = item.MeasuredValueSequence[0]
                exact = measured.get("FloatingPointValue")
                probabilities[name] = float(measured.NumericValue if exact is None else exact)
        elif item.ValueType == "CODE" and (scheme, value) == (SCHEME, PREDICTED.value):
            predicted = str(item.ConceptCodeSequence[0].CodeMeaning)
        elif item.ValueType == "IMAGE" and scheme != SCHEME:
            referenced = item.ReferencedSOPSequence[0]
            if "ReferencedSegmentNumber" in referenced:
                segment = (str(referenced.ReferencedSOPInstanceUID), int(referenced.ReferencedSegmentNumber))
            else:
                images.append(str(referenced.ReferencedSOPInstanceUID))
        elif item.ValueType in ("TEXT", "UIDREF"):
            single.setdefault(value, str(item.TextValue if item.ValueType == "TEXT" else item.UID))
    algorithm = (single[_ALGORITHM], single[_VERSION])
    return ReportedGroup(
        single[_TRACKING_ID], single[_TRACKING_UID], probabilities, predicted, algorithm, segment, tuple(images)
    )
