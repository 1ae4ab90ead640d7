"""Folders in the formats of public cohorts, with as few bytes as their importers read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter

from MolSubCore.cohort.importers.importing import ImportReport
from MolSubCore.cohort.table import Case, read_cohort

CLINICAL = ["ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype"]
VIEWS = {"CC": "399162004", "MLO": "399368009"}


@dataclass(frozen=True)
class Breast:
    """One breast of a patient, and its clinical row if it has one: (classification, subtype)."""

    patient: str
    side: str
    clinical: tuple[str, str] | None


def cmmd_breasts() -> Iterator[Breast]:
    """The make-up of CMMD: 1,775 patients, 826 of them with both breasts, 97 of these with two clinical rows."""
    subtypes = ["Luminal A"] * 152 + ["Luminal B"] * 376 + ["HER2-enriched"] * 135 + ["triple negative"] * 86
    second = [("Malignant", name) for name in subtypes] + [("Benign", "")] * 12 + [("Malignant", "")] * 4
    first = [("Malignant", "")] * 563 + [("Benign", "")] * 544
    names = [f"D1-{n:04d}" for n in range(1, 1027)] + [f"D2-{n:04d}" for n in range(1, 750)]
    left = {"D1": list(first), "D2": list(second)}
    both = set(names[:81]) | set(names[1026 : 1026 + 16])
    one_sided = iter(range(729))
    for name in names:
        side, other = ("L", "R") if int(name[-1]) % 2 else ("R", "L")
        yield Breast(name, side, left[name[:2]].pop(0))
        if name in both:
            yield Breast(name, other, left[name[:2]].pop())
        elif name.startswith("D2") and next(one_sided, None) is not None:
            yield Breast(name, other, None)
    assert not any(left.values()), {name: len(rows) for name, rows in left.items()}


def uid_of(*words: str) -> str:
    """An image's own UID, of one length."""
    return f"2.25.1{int(hashlib.sha256(repr(words).encode()).hexdigest(), 16) % 10**30:030d}"


def header(patient: str, side: str, view: str, **values: Any) -> Dataset:
    """The attributes of a CMMD image that an importer looks at, in its form."""
    dataset = Dataset()
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid_of(patient, side, view)
    dataset.Modality, dataset.PresentationIntentType, dataset.Manufacturer = "MG", "FOR PRESENTATION", ""
    dataset.PatientName = dataset.PatientID = patient
    dataset.PatientAge, dataset.ImagerPixelSpacing = "044Y", [0.094, 0.094]
    dataset.ImageLaterality, dataset.Laterality, dataset.ViewPosition = side, "", ""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored = 2294, 1914, 8, 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.BurnedInAnnotation = 7, 0, "NO"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = VIEWS[view], "SCT"
    dataset.ViewCodeSequence = [code]
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def encoded(dataset: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    FileDataset(buffer, dataset, file_meta=meta, preamble=b"\0" * 128).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_image(path: Path, pixels: NDArray[Any] | None = None, *, of: Dataset) -> Path:
    """A DICOM file; with its pixels if there are any."""
    if pixels is not None:
        bits = pixels.dtype.itemsize * 8
        of.Rows, of.Columns = pixels.shape
        of.BitsAllocated = of.BitsStored = bits
        of.HighBit = bits - 1
        of.PixelData = pixels.tobytes()
        of["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(of))
    return path


def write_rows(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    return path


def write_cmmd(folder: Path, breasts: Sequence[Breast]) -> None:
    """Both views of every breast and the clinical table; one header is made, the others differ in a few bytes."""
    blank = {view: encoded(header("D0-0000", "B", view)) for view in VIEWS}
    side = {view: blank[view].index(b"CS\x02\x00B ") + 4 for view in VIEWS}
    numbers: dict[str, int] = {}
    for breast in breasts:
        place = folder / "CMMD" / breast.patient / "07-18-2010-NA-NA-1" / "1.000000-NA-1"
        place.mkdir(parents=True, exist_ok=True)
        for view, content in blank.items():
            numbers[breast.patient] = number = numbers.get(breast.patient, 0) + 1
            data = bytearray(content.replace(b"D0-0000", breast.patient.encode()))
            data[side[view]] = ord(breast.side)
            blank_uid, uid = (
                uid_of(*words, view).encode() for words in (("D0-0000", "B"), (breast.patient, breast.side))
            )
            data = data.replace(blank_uid, uid)
            (place / f"1-{number}.dcm").write_bytes(data)
    rows = [[b.patient, b.side, 44, 2, "mass", *b.clinical] for b in breasts if b.clinical is not None]
    write_rows(folder / "CMMD_clinicaldata_revision.csv", [CLINICAL, *rows])


def write_outline(folder: Path, patient: str, view: str, side: str, points: Sequence[tuple[float, float]]) -> Path:
    """A TOMPEI-CMMD file with one polygon of (x, y)."""
    entry = {"cgPoints": [{"x": x, "y": y} for x, y in points], "label": "mass ", "type": "Draw"}
    path = folder / f"{patient}_{view}_{side}_AnnotationFile.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([entry]))
    return path


def picture(shape: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Something like a breast: no two seeds give the same pixels."""
    rng = np.random.default_rng(seed)
    values = 130 + 12 * gaussian_filter(rng.normal(size=shape), 2) / 0.14 + rng.normal(size=shape) * 3
    values = values.clip(60, 200).astype(np.uint8)
    values[:, shape[1] // 2 :] = 0
    return values


def left_out(report: ImportReport, kind: str | None = None) -> dict[str, int]:
    """Numbers of inputs by reason; of the first kind of inputs, if none is named."""
    books = report.content["inputs"]
    return dict(books[kind or next(iter(books))]["left_out"])


def notes(report: ImportReport) -> str:
    return " ".join(note["text"] for note in report.content["notes"])


def cases_of(report: ImportReport) -> tuple[Case, ...]:
    return read_cohort(report.table, need_subtype=False).cases
