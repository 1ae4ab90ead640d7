"""Marks in everything that can tell who a patient is, and a search for them in every byte that was written."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.tag import Tag

#: Begins every text (long enough not to be found in a picture by chance); a date and a root of UIDs that nobody has.
TEXT, DATE, ROOT = "ZQXJPHI", "18880808", "2.25.77777771"
MARKS = (TEXT, DATE, "1888-08-08", "08.08.1888", ROOT)
_DATE = re.compile(rb"(?<![\d.])" + DATE.encode() + rb"(?!\d{3})")  # not within a longer number

#: Groups of PS3.6 that describe patient, visit, study, device, procedure and results.
_GROUPS = {
    0x0008,
    0x0010,
    0x0012,
    0x0018,
    0x0020,
    0x0032,
    0x0038,
    0x0040,
    0x0042,
    0x0070,
    0x0088,
    0x0400,
    0x2030,
    0x4008,
}
_TEXTS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
#: What a mammogram is read by; none of it is in the profile of PS3.15 but the three instance UIDs, which are marked.
READ = {
    *("SpecificCharacterSet", "SOPClassUID", "Modality", "PresentationIntentType", "ImageType", "Laterality"),
    *("ImageLaterality", "FrameLaterality", "ViewPosition", "PatientOrientation", "BurnedInAnnotation"),
    *("Manufacturer", "ManufacturerModelName", "BodyPartExamined", "BreastImplantPresent", "QualityControlImage"),
    *("PixelIntensityRelationship", "ViewCodeSequence"),
}
#: Some of the identifying attributes of PS3.15 table E.1-1, to see that what is marked covers it.
PROFILE = (
    *("AccessionNumber", "AcquisitionComments", "AcquisitionDate", "AcquisitionDateTime"),
    *("AcquisitionProtocolDescription", "AdditionalPatientHistory", "AdmissionID", "AdmittingDate"),
    *("AdmittingDiagnosesDescription", "AuthorObserverSequence", "ConsultingPhysicianName"),
    *("ContentCreatorName", "CountryOfResidence", "CurrentPatientLocation", "CustodialOrganizationSequence"),
    *("DetectorID", "DeviceSerialNumber", "EthnicGroup", "FillerOrderNumberImagingServiceRequest"),
    *("FrameComments", "ImageComments", "InstitutionAddress", "InstitutionName"),
    *("InstitutionalDepartmentName", "IssuerOfPatientID", "MedicalAlerts", "MedicalRecordLocator"),
    *("MilitaryRank", "NameOfPhysiciansReadingStudy", "NamesOfIntendedRecipientsOfResults", "Occupation"),
    *("OperatorIdentificationSequence", "OperatorsName", "OtherPatientIDs", "OtherPatientIDsSequence"),
    *("OtherPatientNames", "PatientAddress", "PatientBirthDate", "PatientBirthName", "PatientComments"),
    *("PatientID", "PatientInstitutionResidence", "PatientMotherBirthName", "PatientName"),
    *("PatientReligiousPreference", "PatientTelephoneNumbers", "PerformedProcedureStepID"),
    *("PerformedStationAETitle", "PerformingPhysicianName", "PersonAddress", "PersonName"),
    *("PersonTelephoneNumbers", "PhysiciansOfRecord", "ProtocolName", "ReferencedPatientSequence"),
    *("ReferringPhysicianAddress", "ReferringPhysicianName", "RegionOfResidence", "RequestAttributesSequence"),
    *("RequestedProcedureDescription", "RequestedProcedureID", "RequestingPhysician", "RequestingService"),
    *("ScheduledStationAETitle", "SeriesDate", "SeriesDescription", "SeriesInstanceUID", "SOPInstanceUID"),
    *("StationName", "StudyComments", "StudyDate", "StudyDescription", "StudyID", "StudyInstanceUID"),
    *("TimezoneOffsetFromUTC", "VerifyingObserverName"),
)


def mark_dicom(source: Path, target: Path, patient: str) -> set[str]:
    """Copy a mammogram with a mark in every attribute of `_GROUPS`, in nested items, private elements and group 2.

    Returns
    -------
    set of str
        Keywords of what was marked.
    """
    dataset, marked = dcmread(source), set()
    for tag, (_, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 in _GROUPS and keyword and keyword not in READ and _mark(dataset, tag, len(marked)):
            marked.add(keyword)
    dataset.PatientID = f"{TEXT}{patient}"
    block = dataset.private_block(0x0009, f"{TEXT} PRIVATE", create=True)
    block.add_new(0x01, "LO", f"{TEXT}private")
    block.add_new(0x02, "UN", f"{TEXT}unknown".encode())
    dataset.add_new(0x60000022, "LO", f"{TEXT}overlay")
    dataset.file_meta.SourceApplicationEntityTitle = f"{TEXT}AE"
    dataset.file_meta.PrivateInformationCreatorUID = f"{ROOT}.1"
    dataset.file_meta.PrivateInformation = f"{TEXT}meta".encode()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.preamble = f"{TEXT}preamble".encode().ljust(128, b"\0")
    dataset.save_as(target)
    return marked


def _mark(dataset: Dataset, tag: int, number: int) -> bool:
    """Give one attribute a value with a mark, if its kind can hold one."""
    kind, tag = dictionary_VR(Tag(tag)), Tag(tag)
    if kind in _TEXTS:
        dataset.add_new(tag, kind, f"{TEXT}{number:04d}")
    elif kind == "UI":
        dataset.add_new(tag, kind, f"{ROOT}.{number + 10}")
    elif kind in ("DA", "DT"):
        dataset.add_new(tag, kind, DATE)
    elif kind == "SQ":
        item = Dataset()
        item.PatientName, item.PatientID, item.InstitutionName = f"{TEXT}^{number}", f"{TEXT}{number}", f"{TEXT}nested"
        dataset.add_new(tag, kind, [item])
    else:
        return False
    return True


def found_in(content: bytes, *, depth: int = 3) -> set[str]:
    """The marks in bytes: as UTF-8, 16 and 32, in any letters, in whatever is packed in them."""
    lower = content.lower()
    codes = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")
    found = {mark for mark in MARKS if any(mark.lower().encode(code) in lower for code in codes)}
    if DATE in found and not _DATE.search(content):
        found.discard(DATE)
    return found if depth == 0 else found.union(*(found_in(part, depth=depth - 1) for part in _unpacked(content)))


def _unpacked(content: bytes) -> Iterator[bytes]:
    """What is compressed or encoded in bytes: zip, gzip, zlib (PNG, PDF), base64 (HTML), ASCII 85 (PDF), PDF's text."""
    if content.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
        return
    if content.startswith(b"%PDF"):
        import pypdfium2

        pages = pypdfium2.PdfDocument(content)
        yield "".join(pages[n].get_textpage().get_text_range() for n in range(len(pages))).encode()
        for stream in re.findall(rb"stream\r?\n(.*?)~>\s*endstream", content, re.DOTALL):
            with contextlib.suppress(ValueError):
                yield base64.a85decode(stream.strip())
    for match in re.finditer(rb"\x1f\x8b\x08", content):
        yield _inflated(content[match.start() :], gzip_header=True)
    for match in re.finditer(rb"x[\x01\x5e\x9c\xda]", content):
        yield _inflated(content[match.start() :], gzip_header=False)
    for match in re.finditer(rb";base64,([A-Za-z0-9+/=]+)", content):
        yield base64.b64decode(match[1])


def _inflated(content: bytes, *, gzip_header: bool) -> bytes:
    """What a compressed stream holds, at most 4 MiB; nothing where it is none."""
    try:
        return zlib.decompressobj(31 if gzip_header else 15).decompress(content, 4 << 20)
    except zlib.error:
        return b""


def leaks(folder: Path) -> dict[str, set[str]]:
    """Every file below a folder whose name or content has a mark, with the marks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        marks = found_in(name.encode()) | (found_in(path.read_bytes()) if path.is_file() else set())
        if marks:
            found[name] = marks
    return found
