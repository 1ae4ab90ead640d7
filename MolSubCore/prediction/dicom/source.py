"""The mammograms that DICOM results refer to: what of their headers the results take over."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM

from MolSubCore.errors import ImageError, MolSubError
from MolSubCore.imaging.io.dicom import open_dicom, text
from MolSubCore.imaging.io.reader import check_header

#: Type 2 in every object of a study: there, even if empty.
_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
)
#: Goes along where the image has it: whether its identity was removed must not be forgotten on the way.
IDENTITY = (
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    "LongitudinalTemporalInformationModified",
)
_OPTIONAL = ("TimezoneOffsetFromUTC", "IssuerOfPatientID", *IDENTITY)
_REFERENCE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def check_sources(images: Sequence[str | PathLike[str]], *, identified: bool) -> None:
    """Refuse, before any work, a request for DICOM results that could not be met.

    Raises
    ------
    MolSubError
        If identifiers were not asked for, an image is no DICOM file or lacks the UIDs by which it is referred to,
        or highdicom is not installed.
    """
    if not identified:
        found = "writes objects of the patient's own study, with the patient's name, ID and the study's UIDs"
        raise MolSubError("--dicom", found, "Add --identified, or leave --dicom out")
    try:
        import highdicom  # noqa: F401
    except ModuleNotFoundError:
        raise MolSubError("--dicom", "needs the package highdicom", "Install it: pip install highdicom") from None
    for image in images:
        read_source(Path(image))


def read_source(path: Path) -> Dataset:
    """What results take over from a mammogram: patient and study, and the UIDs by which they refer to it.

    It has neither pixels nor a frame of reference: a mammogram is a projection, so that results lie on it pixel
    by pixel. A date, time or sex that is none becomes empty, as the standard allows.

    Parameters
    ----------
    path : Path
        A DICOM mammogram.

    Returns
    -------
    Dataset

    Raises
    ------
    ImageError
        If it is no DICOM file, or cannot be referred to.
    """
    if check_header(path) != "DICOM":
        raise ImageError(
            path, "is no DICOM file, so that DICOM results would have no study", "Give the DICOM image, or no --dicom"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = open_dicom(path).header
        lacking = [keyword for keyword in _REFERENCE if not text(header, keyword)]
        if lacking:
            found = f"has no {', '.join(lacking)}, so that DICOM results cannot refer to it"
            raise ImageError(path, found, "Give the image as the archive has it, or no --dicom")
        if header.SOPClassUID.is_private:
            found = f"is of the private SOP class {header.SOPClassUID}, to which DICOM results cannot refer"
            raise ImageError(path, found, "Give a standard DICOM image, or no --dicom")
        return _taken_over(header)


def _taken_over(header: Dataset) -> Dataset:
    source = Dataset()
    source.SpecificCharacterSet = "ISO_IR 192"  # for names of any alphabet, and our own words beside them
    for keyword in (*_REFERENCE, *_LOSSY, "Rows", "Columns", *_OPTIONAL):
        if keyword in header and not header[keyword].is_empty:
            source[keyword] = header[keyword]
    for keyword in _STUDY:
        setattr(source, keyword, _valid(keyword, header.get(keyword)))
    orientation = text(header, "PatientOrientation").split("\\")
    if len(orientation) == 2 and all(re.fullmatch("[LRAPHF]{1,3}", value) for value in orientation):
        source.PatientOrientation = orientation
    burned = text(header, "BurnedInAnnotation").upper()
    if burned in ("YES", "NO"):
        source.BurnedInAnnotation = burned
    sides = [side for side in (text(header, "ImageLaterality"), text(header, "Laterality")) if side in ("L", "R")]
    if sides:
        source.ImageLaterality = sides[0]
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if source.get("PatientIdentityRemoved") == "YES" and not any(method in source for method in methods):
        source.DeidentificationMethod = "Not stated by the source image"  # type 1C
    return source


def _valid(keyword: str, value: Any) -> Any:
    """A value that the standard allows, or an empty one."""
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else ""
    if value is None:
        return ""
    if keyword in ("PatientName", "ReferringPhysicianName"):
        return str(value)  # decoded from the image's own character set
    if keyword == "PatientSex":
        return value if value in ("M", "F", "O") else ""
    if keyword in ("PatientBirthDate", "StudyDate"):
        return _date(str(value))
    if keyword == "StudyTime":
        return value if _parses(TM, value) else ""
    return value  # Accession Number and Study ID of more than 16 characters, too: by them archives match


def _date(value: str) -> str:
    """A date as the standard has it today; 2020.01.02 was the form of ACR-NEMA, which pydicom takes still."""
    plain = re.sub(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})", r"\1\2\3", value)
    return plain if re.fullmatch("[0-9]{8}", plain) and _parses(DA, plain) else ""


def _parses(kind: type[DA] | type[TM], value: Any) -> bool:
    try:
        kind(value)
    except (ValueError, TypeError):
        return False
    return True
