"""What all DICOM results have in common: who made them, from which model, for research only."""

from __future__ import annotations

import hashlib
from typing import Any

from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from MolSubCore import __version__
from MolSubCore.prediction.dicom.codes import SCHEME, scheme_item
from MolSubCore.prediction.dicom.source import IDENTITY

MAKER, DEVICE = "MolSubSlicer project", "MolSubCore"
#: Far behind the numbers that modalities give; one for each kind of object.
SERIES_NUMBERS = {"segmentation": 9901, "report": 9902, "map": 9903, "overlay": 9904}
_SERIES_TITLES = {
    "segmentation": "RESEARCH ONLY: lesions as outlined",
    "report": "RESEARCH ONLY: predicted molecular subtype",
    "map": "RESEARCH ONLY: heatmaps of a network",
    "overlay": "RESEARCH ONLY: heatmap overlays",
}
#: What highdicom's base class calls the attributes of patient and study.
_STUDY_ARGUMENTS = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "accession_number": "AccessionNumber",
    "study_instance_uid": "StudyInstanceUID",
    "study_id": "StudyID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "referring_physician_name": "ReferringPhysicianName",
    "specific_character_set": "SpecificCharacterSet",
}


def new_uid() -> UID:
    """A UID below 2.25, from a random UUID."""
    return generate_uid(prefix=None)


def model_uid(card: dict[str, Any]) -> UID:
    """The same UID for the same weights."""
    return derived_uid("model", *(member["sha256"] for member in card["members"]))


def derived_uid(*parts: str) -> UID:
    """The same UID below 2.25 for the same parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def model_version(card: dict[str, Any]) -> str:
    """When a model was made, and the beginning of its weights' SHA-256: 64 characters at most."""
    return f"{card.get('created') or 'date unknown'} {card['members'][0]['sha256'][:12]}"[:64]


def common(card: dict[str, Any], kind: str, series: UID, number: int) -> dict[str, Any]:
    """The arguments that all of highdicom's constructors take."""
    return {
        "series_instance_uid": series,
        "series_number": SERIES_NUMBERS[kind],
        "series_description": _SERIES_TITLES[kind],
        "sop_instance_uid": new_uid(),
        "instance_number": number,
        "manufacturer": MAKER,
        "manufacturer_model_name": DEVICE,
        "software_versions": __version__,
        "device_serial_number": card["members"][0]["sha256"][:16],
    }


def new_object(source: Dataset, sop_class: UID, modality: str, arguments: dict[str, Any]) -> SOPClass:
    """An object of the source's study, uncompressed, for what highdicom has no class that fits a projection image.

    Parameters
    ----------
    source : Dataset
        From `MolSubCore.prediction.dicom.source.read_source`.
    sop_class : UID
    modality : str
    arguments : dict
        From `common`.
    """
    made = SOPClass(
        sop_class_uid=sop_class,
        modality=modality,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **{argument: source.get(keyword) for argument, keyword in _STUDY_ARGUMENTS.items()},
        **arguments,
    )
    made.copy_patient_and_study_information(source)
    made.LossyImageCompression = source.get("LossyImageCompression") or "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in source:
            made[keyword] = source[keyword]
    return made


def new_dataset(**values: Any) -> Dataset:
    """A data set, such as a sequence's item, from values by keyword."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def reference(source: Dataset, **values: Any) -> Dataset:
    """An item that refers to an object by its SOP class and instance."""
    return new_dataset(
        ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID, **values
    )


def finished(made: Dataset, source: Dataset) -> Dataset:
    """Complete an object: qualification, coding scheme, what is known of the patient's identity."""
    made.ContentQualification = "RESEARCH"
    if "ImageType" in made:
        if "PatientOrientation" not in made:  # the same grid, so the same directions
            made.PatientOrientation = source.get("PatientOrientation") or ""
        if "ImageLaterality" in source:
            made.ImageLaterality = source.ImageLaterality
        elif made.Modality != "SEG":  # type 2C of a paired organ, which a segmentation names by segment
            made.Laterality = ""
    for keyword in IDENTITY:
        if keyword in source:
            made[keyword] = source[keyword]
    if any(element.keyword == "CodingSchemeDesignator" and element.value == SCHEME for element in made.iterall()):
        made.CodingSchemeIdentificationSequence = [scheme_item()]
    return made
