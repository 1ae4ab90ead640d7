"""A synthetic cohort as files: DICOM mammograms, masks, a table. Every file is marked as synthetic."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian
from scipy import fft
from scipy.special import expit

from MolSubCore import __version__
from MolSubCore.errors import CohortError
from MolSubCore.files import atomic_folder
from MolSubCore.imaging.mammogram import SYNTHETIC_MODEL
from MolSubCore.lesions.masks import write_mask
from MolSubCore.tasks import Subtype

Array = NDArray[np.float32]

#: Tissue is drawn on a grid of about this many rows and enlarged; grain is added at full size.
_BASE_ROWS = 640


@dataclass(frozen=True)
class Looks:
    """Appearance of a lesion; lengths are in radii.

    Attributes
    ----------
    contrast : float
        Brightness over the tissue, in units of the full range.
    edge : float
        Width of the margin.
    lobes : float
        Amplitude of the outline's waves.
    spicules : int
    spicule_length : float
    calcifications : int
    """

    contrast: float
    edge: float
    lobes: float
    spicules: int
    spicule_length: float
    calcifications: int


LOOKS = {
    Subtype.LUMINAL_A: Looks(0.22, 0.35, 0.12, 22, 1.5, 0),
    Subtype.LUMINAL_B: Looks(0.25, 0.30, 0.26, 12, 0.8, 0),
    Subtype.HER2_HR_POSITIVE: Looks(0.18, 0.40, 0.18, 0, 0.0, 16),
    Subtype.HER2_HR_NEGATIVE: Looks(0.10, 0.80, 0.20, 0, 0.0, 36),
    Subtype.TN: Looks(0.30, 0.12, 0.04, 0, 0.0, 0),
}


def power_noise(shape: tuple[int, int], exponent: float, rng: np.random.Generator) -> Array:
    """Noise whose amplitude falls with frequency to the power of `-exponent`; mean 0, deviation 1."""
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    rows, columns = fft.fftfreq(shape[0])[:, None] * shape[0], fft.rfftfreq(shape[1])[None] * shape[1]
    radius = np.hypot(rows, columns * shape[0] / shape[1]).astype(np.float32)
    radius[0, 0] = np.inf
    noise = fft.irfft2(spectrum * radius**-exponent, s=shape)
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Breast:
    """A breast without lesion, chest wall at the left edge.

    Attributes
    ----------
    picture : ndarray of float32
        In [0, 1], bright = dense.
    depth : ndarray of float32
        How far inside the breast a pixel is: 0 outside and at the skin, 1 at the centre.
    tissue : ndarray of float32
        Glandular tissue in [0, 1].
    """

    picture: Array
    depth: Array
    tissue: Array


def draw_breast(shape: tuple[int, int], view: Literal["CC", "MLO"], rng: np.random.Generator) -> Breast:
    """Draw a breast with its chest wall at the left edge."""
    base = (_BASE_ROWS, round(_BASE_ROWS * shape[1] / shape[0]))
    y, x = np.mgrid[0 : base[0], 0 : base[1]].astype(np.float32)
    y, x = y / base[0], x / base[1]
    middle = 0.5 if view == "CC" else 0.56
    reach, half = rng.uniform(0.62, 0.82), rng.uniform(0.38, 0.45)
    nipple = middle + rng.uniform(-0.03, 0.05)
    # Rounder below the nipple than above.
    height = np.where(y < nipple, half * (1.06 if view == "MLO" else 1.0), half * 0.92)
    radius = np.sqrt(np.clip(((y - nipple) / height) ** 2 + (x / reach) ** 2, 0, None))
    bump = 0.035 * np.exp(-(((y - nipple) / 0.02) ** 2 + ((x - reach) / 0.03) ** 2))
    depth = np.clip(1 - radius + bump, 0, 1)
    thickness = np.clip(depth / 0.16, 0, 1) ** 0.55
    coarse, fine = power_noise(base, 1.35, rng), power_noise(base, 1.0, rng)
    fibres = np.exp(-((power_noise(base, 1.5, rng) / 0.11) ** 2)) + 0.6 * np.exp(
        -((power_noise(base, 1.3, rng) / 0.07) ** 2)
    )
    cone = np.exp(-(((y - nipple) / (0.30 * (1.15 - x / reach).clip(0.15, None))) ** 2)) * np.clip(depth * 4, 0, 1)
    density = rng.uniform(-0.5, 0.5)
    tissue = expit(1.25 * coarse + 0.55 * fine + 1.9 * cone - 1.7 + density)
    tissue = (tissue * np.clip(depth * 6, 0, 1)).astype(np.float32)
    skin = np.exp(-(((depth - 0.012) / 0.010) ** 2)) * (depth > 0)
    picture = thickness * (0.16 + 0.30 * tissue + 0.075 * fibres * np.clip(depth * 3, 0, 1) + 0.02 * fine) + 0.06 * skin
    if view == "MLO":
        slope, width = rng.uniform(0.50, 0.66), rng.uniform(0.30, 0.40)
        edge = width * (1 - y / slope) - x + 0.008 * coarse
        muscle = np.clip(edge / 0.02, 0, 1) * np.clip(depth * 20, 0, 1)
        picture = picture * (1 - muscle) + muscle * (0.50 + 0.03 * fine + 0.015 * coarse)
        tissue, depth = tissue * (1 - muscle), depth * (1 - muscle)
    size = (shape[1], shape[0])
    picture, depth, tissue = (
        cv2.resize(part.astype(np.float32), size, interpolation=cv2.INTER_CUBIC) for part in (picture, depth, tissue)
    )
    return Breast(np.clip(picture, 0, 1), np.clip(depth, 0, 1), np.clip(tissue, 0, 1))


def draw_lesion(
    breast: Breast, looks: Looks, radius: float, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    """Draw a lesion into a breast.

    Parameters
    ----------
    breast : Breast
    looks : Looks
    radius : float
        Mean radius in pixels.

    Returns
    -------
    picture : ndarray of float32
    mask : ndarray of bool
        What a radiologist would outline: mass and calcifications, not the spicules.
    """
    row, column = _site(breast, radius, rng)
    reach = int(radius * 3) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    angle, distance = np.arctan2(y, x), np.hypot(y, x) / radius
    outline = np.ones_like(angle)
    for waves in range(2, 7):
        outline += looks.lobes / waves**0.5 * rng.normal() * 0.7 * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    outline = np.clip(outline, 0.55, 1.6)
    grain = 1 + 0.10 * cv2.resize(power_noise((32, 32), 1.0, rng), x.shape[::-1], interpolation=cv2.INTER_CUBIC)
    mass = looks.contrast * grain * expit((outline - distance) / (looks.edge * 0.25))
    # Spicules start at the edge of the mass; inside they would only brighten it.
    patch = (mass + _spicules(x.shape, looks, radius, rng) * np.clip(distance / 0.9, 0, 1) ** 4).astype(np.float32)
    spots, reached = _calcifications(x.shape, looks, radius, rng)
    patch += spots
    mask = (distance <= outline * 1.04) | reached
    picture, full = breast.picture.copy(), np.zeros(breast.picture.shape, bool)
    rows, columns, inner_rows, inner_columns = _overlap(row - reach, column - reach, patch.shape, picture.shape)
    inside = np.clip(breast.depth[rows, columns] * 25, 0, 1)
    picture[rows, columns] += patch[inner_rows, inner_columns] * inside
    full[rows, columns] = mask[inner_rows, inner_columns] & (breast.depth[rows, columns] > 0)
    return np.clip(picture, 0, 1), full


def _site(breast: Breast, radius: float, rng: np.random.Generator) -> tuple[int, int]:
    """A place within glandular tissue, at least two radii from the skin and the edges."""
    step = max(round(radius / 4), 1)
    away = cv2.distanceTransform((breast.depth > 0.02).astype(np.uint8), cv2.DIST_L2, 3)[::step, ::step]
    weight = np.where(away > 2 * radius, breast.tissue[::step, ::step] + 0.05, 0.0).astype(np.float64)
    border = int(np.ceil(1.5 * radius / step))
    weight[:border] = weight[-border:] = 0
    weight[:, :border] = weight[:, -border:] = 0
    if weight.sum() == 0:
        weight = away.astype(np.float64) ** 4
    place = rng.choice(weight.size, p=(weight / weight.sum()).ravel())
    row, column = np.unravel_index(place, weight.shape)
    return int(row) * step, int(column) * step


def _spicules(shape: tuple[int, ...], looks: Looks, radius: float, rng: np.random.Generator) -> Array:
    canvas = np.zeros(shape, np.float32)
    centre = shape[0] // 2
    for angle in np.linspace(0, 2 * np.pi, looks.spicules, endpoint=False) if looks.spicules else ():
        bent = angle + rng.normal(0, 0.12)
        length = radius * (1 + looks.spicule_length * rng.uniform(0.5, 1.0))
        for share in (1.0, 0.75, 0.5):  # thicker and brighter towards the mass
            end = (round(centre + length * share * np.cos(bent)), round(centre + length * share * np.sin(bent)))
            line = np.zeros(shape, np.float32)
            cv2.line(line, (centre, centre), end, 1.0, max(round(radius * 0.05 / share), 1), cv2.LINE_AA)
            canvas = np.maximum(canvas, line * (0.45 + 0.55 * (1 - share)))
    blurred: Array = cv2.GaussianBlur(canvas, (0, 0), max(radius * 0.03, 0.6))
    return blurred * np.float32(looks.contrast * 0.6)


def _calcifications(
    shape: tuple[int, ...], looks: Looks, radius: float, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    """Bright specks of irregular size in a cluster, and the region they take."""
    canvas, reached = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    centre, size = shape[0] // 2, max(radius * 0.055, 0.8)
    for _ in range(looks.calcifications):
        angle, distance = rng.uniform(0, 2 * np.pi), radius * 1.15 * np.sqrt(rng.uniform())
        spot = (round(centre + distance * np.cos(angle)), round(centre + distance * np.sin(angle)))
        axes = (max(round(size * rng.uniform(0.6, 2.0)), 1), max(round(size * rng.uniform(0.5, 1.1)), 1))
        cv2.ellipse(
            canvas, spot, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0.35, 0.6)), -1, cv2.LINE_AA
        )
        cv2.circle(reached, spot, max(round(radius * 0.25), 2), 1, -1)
    closed = cv2.morphologyEx(reached, cv2.MORPH_CLOSE, np.ones((round(radius) | 1, round(radius) | 1), np.uint8))
    return cv2.GaussianBlur(canvas, (0, 0), 0.6), closed.astype(bool)


def _overlap(
    row: int, column: int, inner: tuple[int, ...], outer: tuple[int, ...]
) -> tuple[slice, slice, slice, slice]:
    """Slices of `outer` and of `inner` where a patch placed at (row, column) lies on the picture."""
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + inner[0], outer[0]), min(column + inner[1], outer[1])
    return slice(top, bottom), slice(left, right), slice(top - row, bottom - row), slice(left - column, right - column)


View = Literal["CC", "MLO"]

#: Patients per subtype in the paper (Table 1).
PAPER_COUNTS = dict(zip(Subtype, (102, 155, 54, 27, 52), strict=True))
_VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
_MAXIMUM = 4095
_NOT_A_PATIENT = "SYNTHETIC - not a patient"


@dataclass(frozen=True)
class _Patient:
    """One synthetic patient: what all views share."""

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
