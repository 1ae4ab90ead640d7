"""A synthetic cohort as files: DICOM mammograms, ITK-SNAP masks, a table. Every file says that it is synthetic."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

from MolSubCore import __version__
from MolSubCore.cohort.phantom import LOOKS, draw_breast, draw_lesion
from MolSubCore.errors import CohortError
from MolSubCore.files import atomic_folder
from MolSubCore.imaging.mammogram import SYNTHETIC_MODEL
from MolSubCore.imaging.mask_file import write_mask
from MolSubCore.tasks import Subtype

View = Literal["CC", "MLO"]

#: Patients per subtype in the paper (Table 1).
PAPER_COUNTS = dict(zip(Subtype, (102, 155, 54, 27, 52), strict=True))
_VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
_MAXIMUM = 4095
_NOT_A_PATIENT = "SYNTHETIC - not a patient"


@dataclass(frozen=True)
class _Patient:
    """One synthetic patient: what is the same in all views."""

    name: str
    subtype: Subtype
    looks: Subtype
    laterality: Literal["L", "R"]
    age: int
    radius: float  # of the lesion, as a share of the image's rows
    inverted: bool


def make_synthetic_cohort(
    folder: str | Path,
    *,
    patients: int | None = None,
    counts: Mapping[Subtype, int] | None = None,
    seed: int = 7,
    signal: float = 1.0,
    image_shape: tuple[int, int] = (1024, 832),
    views: Sequence[View] = ("CC", "MLO"),
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Make a cohort and return the path of its table.

    Parameters
    ----------
    folder : path
        Made whole or not at all.
    patients : int, optional
        Number of patients, with the paper's prevalences; or give `counts` per subtype.
    signal : float
        Probability, 0 to 1, that a lesion looks like its subtype; else it looks like a subtype drawn by
        prevalence. With 0 nothing in the pictures tells the subtype.
    image_shape : tuple of int
        Rows and columns.
    progress : callable, optional

    Raises
    ------
    MolSubError
        If `folder` holds something, or a number is out of range.
    """
    chosen = _by_prevalence(40 if patients is None else patients) if counts is None else dict(counts)
    _check_numbers(chosen, seed, signal, image_shape, views)
    people = _patients(chosen, seed, signal)
    rows = []
    with atomic_folder(folder) as temporary:
        (temporary / "images").mkdir()
        (temporary / "masks").mkdir()
        for number, patient in enumerate(people):
            for view in views:
                rows.append(_write_view(temporary, patient, view, image_shape, (seed, number)))
                if progress:
                    progress(len(rows), len(people) * len(views), "")
        with (temporary / "table.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return Path(folder) / "table.csv"


def _check_numbers(
    counts: Mapping[Subtype, int], seed: int, signal: float, image_shape: tuple[int, int], views: Sequence[View]
) -> None:
    if not 0 <= signal <= 1:
        raise CohortError("signal", f"is {signal}, expected 0 to 1", "Choose a value in this range")
    if min(image_shape) < 128 or max(image_shape) > 8192:
        raise CohortError("image shape", f"is {image_shape}, expected 128 to 8192", "Choose a size in this range")
    if seed < 0:
        raise CohortError("seed", f"is {seed}, expected 0 or more", "Choose another number")
    if not views:
        raise CohortError("views", "holds no view, expected CC, MLO or both", "Name one")
    for subtype, count in counts.items():
        if count < 0:
            raise CohortError(subtype.value, f"has {count} patients, expected 0 or more", "Choose another number")
    if not sum(counts.values()):
        raise CohortError("counts", "ask for no patient, expected 1 or more", "Choose larger numbers")


def _by_prevalence(patients: int) -> dict[Subtype, int]:
    """The paper's prevalences for this many patients, by largest remainders."""
    if patients < 1:
        raise CohortError("patients", f"is {patients}, expected 1 or more", "Choose a larger number")
    total = sum(PAPER_COUNTS.values())
    exact = {subtype: patients * count / total for subtype, count in PAPER_COUNTS.items()}
    counts = {subtype: int(value) for subtype, value in exact.items()}
    left = patients - sum(counts.values())
    for subtype in sorted(exact, key=lambda s: counts[s] - exact[s])[:left]:
        counts[subtype] += 1
    return counts


def _patients(counts: Mapping[Subtype, int], seed: int, signal: float) -> list[_Patient]:
    rng = np.random.default_rng([seed, 0])
    subtypes = [subtype for subtype in Subtype for _ in range(counts.get(subtype, 0))]
    weights = np.array(list(PAPER_COUNTS.values())) / sum(PAPER_COUNTS.values())
    people = []
    for number, position in enumerate(rng.permutation(len(subtypes)), start=1):
        subtype = subtypes[position]
        other = list(Subtype)[rng.choice(len(weights), p=weights)]
        people.append(
            _Patient(
                name=f"P{number:04d}",
                subtype=subtype,
                looks=subtype if rng.uniform() < signal else other,
                laterality="L" if rng.uniform() < 0.5 else "R",
                age=int(np.clip(rng.normal(61, 12), 28, 90)),
                radius=float(rng.uniform(0.024, 0.042)),
                inverted=bool(rng.uniform() < 0.2),
            )
        )
    return people


def _write_view(
    folder: Path, patient: _Patient, view: View, shape: tuple[int, int], key: tuple[int, int]
) -> dict[str, object]:
    """Draw and write one view; return its row of the table."""
    rng = np.random.default_rng([*key, 1 + (view == "MLO")])
    breast = draw_breast(shape, view, rng)
    picture, mask = draw_lesion(breast, LOOKS[patient.looks], patient.radius * shape[0], rng)
    if patient.laterality == "R":  # chest wall at the right edge
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    grain = rng.standard_normal(shape, dtype=np.float32) * np.sqrt(0.00002 + 0.0004 * picture)
    stored = np.clip((picture + grain) * _MAXIMUM * 0.92 + 40, 0, _MAXIMUM).astype(np.uint16)
    name = f"{patient.name}_{patient.laterality}_{view}"
    _write_dicom(folder / "images" / f"{name}.dcm", stored, patient, view, key)
    file, pixel_mm = folder / "masks" / f"{name}.nii.gz", _spacing(shape)
    write_mask(file, mask, row_mm=pixel_mm, col_mm=pixel_mm, notes=_NOT_A_PATIENT, durable=False)
    return {
        "patient_id": patient.name,
        "image": f"images/{name}.dcm",
        "mask": f"masks/{name}.nii.gz",
        "subtype": patient.subtype.value,
        "view": view,
        "laterality": patient.laterality,
        "age": patient.age,
        "synthetic": "yes",
    }


def _spacing(shape: tuple[int, ...]) -> float:
    """Detector pixels of a 24 cm high plate, in mm."""
    return round(240.0 / shape[0], 4)


def _orientation(laterality: Literal["L", "R"], view: View) -> list[str]:
    """Directions of rows (from the chest wall of a left breast, to that of a right one) and of columns."""
    medial = "R" if laterality == "L" else "L"
    return ["A" if laterality == "L" else "P", "F" if view == "MLO" else medial]


def _uid(*parts: object) -> UID:
    """A UID under 2.25 that is the same for the same parts."""
    digest = hashlib.sha256(repr(("MolSub synthetic", *parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def _attributes(shape: tuple[int, ...], patient: _Patient, view: View, key: tuple[int, int]) -> dict[str, object]:
    """Values by DICOM keyword, sequences and pixels aside."""
    return {
        "SpecificCharacterSet": "ISO_IR 192", "ImageType": ["ORIGINAL", "PRIMARY"],
        "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation, "SOPInstanceUID": _uid(*key, view),
        "StudyInstanceUID": _uid(*key, "study"), "SeriesInstanceUID": _uid(*key, view, "series"),
        "StudyDate": "20000101", "StudyTime": "000000", "ContentDate": "20000101", "ContentTime": "000000",
        "AccessionNumber": "", "ReferringPhysicianName": "", "StudyID": "1", "SeriesNumber": 1, "InstanceNumber": 1,
        "Modality": "MG", "PresentationIntentType": "FOR PRESENTATION",
        "Manufacturer": "MolSubSlicer project", "ManufacturerModelName": SYNTHETIC_MODEL,
        "SoftwareVersions": __version__,
        "SeriesDescription": _NOT_A_PATIENT, "StudyDescription": _NOT_A_PATIENT,
        "PatientName": f"SYNTHETIC^{patient.name}", "PatientID": patient.name, "PatientSex": "F",
        "PatientBirthDate": "",
        "PatientAge": f"{patient.age:03d}Y", "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "Synthetic picture",
        "BurnedInAnnotation": "NO", "BodyPartExamined": "BREAST", "ImageLaterality": patient.laterality,
        "ViewPosition": view, "PatientOrientation": _orientation(patient.laterality, view),
        "OrganExposed": "BREAST", "PositionerType": "MAMMOGRAPHIC", "BreastImplantPresent": "NO",
        "Rows": shape[0], "Columns": shape[1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME1" if patient.inverted else "MONOCHROME2",
        "PresentationLUTShape": "INVERSE" if patient.inverted else "IDENTITY",
        "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0,
        "PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": 1 if patient.inverted else -1,
        "RescaleIntercept": 0, "RescaleSlope": 1, "RescaleType": "US", "LossyImageCompression": "00",
        "ImagerPixelSpacing": [_spacing(shape)] * 2,
        "WindowCenter": 2445 if patient.inverted else 1650, "WindowWidth": 3200, "VOILUTFunction": "LINEAR",
    }  # fmt: skip


def _write_dicom(path: Path, stored: NDArray[np.uint16], patient: _Patient, view: View, key: tuple[int, int]) -> None:
    """A Digital Mammography X-Ray Image - For Presentation (PS3.3 A.27)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = _uid(*key, view)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation")
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    for name, value in _attributes(stored.shape, patient, view, key).items():
        setattr(dataset, name, value)
    code = Dataset()
    code.CodeValue, code.CodeMeaning = _VIEW_CODES[view]
    code.CodingSchemeDesignator, code.ViewModifierCodeSequence = "SCT", []
    dataset.ViewCodeSequence, dataset.AcquisitionContextSequence, dataset.AnatomicRegionSequence = (
        [code],
        [],
        [_breast()],
    )
    dataset.PixelData = (_MAXIMUM - stored if patient.inverted else stored).astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)


def _breast() -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "76752008", "SCT", "Breast"
    return code
