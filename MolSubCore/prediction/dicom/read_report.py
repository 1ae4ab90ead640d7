"""Probabilities back from a structured report that this program wrote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from MolSubCore.errors import MolSubError
from MolSubCore.files import open_file
from MolSubCore.prediction.dicom.codes import (
    INTENDED_USE,
    PREDICTED,
    SCHEME,
    WARNING,
    class_of_probability,
)

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
        """The only result.

        Raises
        ------
        MolSubError
            If there are several, such as of both breasts.
        """
        if len(self.results) > 1:
            names = ", ".join(group.name for group in self.results)
            raise MolSubError("report", f"has {len(self.results)} results: {names}", "Take each by itself (results)")
        return self.results[0]


def read_prediction_sr(path: Path) -> PredictionReport:
    """Read what `MolSubCore.prediction.dicom.structured_report.make_report` made.

    Raises
    ------
    MolSubError
        If the file is no such report.
    """
    from pydicom import dcmread

    try:
        with open_file(path) as file:
            dataset = dcmread(file)
        if dataset.get("Modality") != "SR":
            raise ValueError(f"its modality is {dataset.get('Modality')}, expected SR")
        found = [_group(item) for item in _below(dataset) if _code(item)[1] == _GROUP and item.ValueType == "CONTAINER"]
        texts = [(_code(item), str(item.TextValue)) for item in dataset.ContentSequence if item.ValueType == "TEXT"]
        intended = [text for code, text in texts if code == (SCHEME, INTENDED_USE.value)]
        warned = tuple(text for code, text in texts if code == (SCHEME, WARNING.value))
        results = tuple(group for group in found if group.segment is None)
        lesions = tuple(group for group in found if group.segment is not None)
        if not results:
            raise ValueError("it has no result")
        return PredictionReport(lesions, results, intended[0], warned)
    except FileNotFoundError:
        raise MolSubError(path, "does not exist", "Check the path") from None
    except Exception as error:
        found_text = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise MolSubError(
            path, f"is no report of a prediction ({found_text})", "Give one that molsub predict --dicom wrote"
        ) from error


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
            name = class_of_probability(value, str(item.ConceptNameCodeSequence[0].CodeMeaning))
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
