"""CMMD (TCIA, doi 10.7937/tcia.eqde-4b16), with the outlines of TOMPEI-CMMD (doi 10.7937/WEZW-BH22).

The folder holds ``CMMD_clinicaldata_revision`` (csv or xlsx), the DICOM images and, if available,
``<patient>_MLO_<side>_AnnotationFile.json``. A breast of the images belongs to the clinical row of its patient
and side; a breast without such a row is unlabelled, which is not benign.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from MolSubCore.cohort.importers.base import (
    NO_MAMMOGRAM,
    NO_SIDE,
    OVERLONG,
    Found,
    Ledger,
    Line,
    Progress,
    Row,
    age_of,
    files_below,
    find_table,
    note_passed,
    number_of,
    read_lines,
    relative,
    with_ending,
)
from MolSubCore.errors import MolSubError
from MolSubCore.files import read_text
from MolSubCore.imaging.io import dicom as facts
from MolSubCore.imaging.io.dicom import open_dicom
from MolSubCore.imaging.view_text import read_side
from MolSubCore.tasks import SubtypeLabel, parse_subtype

#: Pairs of patients with pixel-identical images, and patients whose images have a wrong side tag.
TWINS = (("D1-0202", "D2-0284"), ("D1-0808", "D1-1292"))
WRONG_SIDE = frozenset(
    ("D1-0252", "D1-0690", "D1-0711", "D1-0999", "D2-0041", "D2-0112", "D2-0224", "D2-0229", "D2-0642")
)

UNLABELLED = "breast without a clinical row: unlabelled, which is not benign"
BENIGN = "benign breast: it has no subtype"
NOT_GIVEN = "malignant breast without a subtype"
NOT_UNDERSTOOD = "subtype in the clinical table not understood"
WRONG_TAG = "side tag of the image known to be wrong"
NO_PATIENT = "image without a PatientID"
NO_HEADER = "image header cannot be read"
BAD_OUTLINE = "outline file cannot be used"
SEVERAL = "several images of this view: the outline belongs to one of them"

_COLUMNS = ("id1", "leftright", "classification", "subtype")
_OUTLINE = re.compile(r"(.+)_(CC|MLO)_([LR])_AnnotationFile\.json", re.IGNORECASE)
Breast = tuple[str, str]


@dataclass(frozen=True)
class _Image:
    """What the header of an image says."""

    key: str
    path: Path
    patient: str
    side: str
    view: str
    age: str
    shape: tuple[int, int]
    bits: int


@dataclass(frozen=True)
class _Outline:
    """An outline file: its labels, its extent, or why it cannot be used."""

    key: str
    path: Path
    labels: str = ""
    reach: tuple[float, float, float, float] = (0, 0, 0, 0)
    wrong: str = ""


def read(folder: Path, progress: Progress | None = None) -> Found:
    """Read the folder: headers of all images, no pixels.

    Raises
    ------
    CohortError
        If it holds no clinical table, or several.
    """
    passed: dict[str, list[str]] = {}
    files = files_below(folder, passed)
    table = find_table(files, _COLUMNS, folder=folder, name="CMMD_clinicaldata_revision.csv")
    found = Found(Ledger("images"), twins=TWINS)
    note_passed(found, passed)
    breasts, clinical = _clinical(table, found)
    outlines, drawn = _outlines([path for path in files if _OUTLINE.fullmatch(path.name)], folder, found)
    found.others += [clinical, drawn]
    images = list(_images(with_ending(files, ".dcm", ".dicom"), folder, found, progress))
    views: dict[tuple[str, str, str], list[_Image]] = {}
    for image in images:
        views.setdefault((image.patient, image.view, image.side), []).append(image)
    for image in images:
        line = breasts.get((image.patient, image.side))
        several = len(views[image.patient, image.view, image.side]) > 1
        found.rows.append(_row(image, line, outlines.get((image.patient, image.view, image.side)), several))
    _notes(found, images, outlines)
    _settle_clinical(clinical, breasts, {(image.patient, image.side) for image in images})

    def settle(rows: list[Row]) -> None:
        used = {row.mask for row in rows}
        for place, outline in outlines.items():
            reason = outline.wrong or (None if outline.path in used else "its image is not in the table")
            if not outline.wrong and place not in views:
                reason = WRONG_TAG if place[0] in WRONG_SIDE else "no image of this patient, view and side"
            drawn.place(outline.key, reason)

    found.settle = settle
    return found


def _clinical(table: Path, found: Found) -> tuple[dict[Breast, Line], Ledger]:
    """Rows of the clinical table by breast, without those that contradict each other."""
    ledger = Ledger("rows of the clinical table", "joined to an image")
    breasts: dict[Breast, Line] = {}
    doubled: set[Breast] = set()
    for line in read_lines(table, found):
        key, breast = f"row {line.number}", (line["id1"], str(read_side(line["leftright"]) or ""))
        ledger.expect(key)
        if line.overlong:
            ledger.place(key, OVERLONG)
        elif not breast[0]:
            ledger.place(key, "no patient")
        elif breast[1] not in ("L", "R"):
            ledger.place(key, "side is neither L nor R")
        elif breast in doubled or breast in breasts:
            ledger.place(key, "second row of the same breast")
            if breast in breasts and breasts[breast]["subtype"].lower() != line["subtype"].lower():
                doubled.add(breast)
        else:
            breasts[breast] = line
    for breast in doubled:
        ledger.place(f"row {breasts.pop(breast).number}", "breast with two different rows")
    found.note("Breasts with two different rows", ["-".join(breast) for breast in sorted(doubled)])
    return breasts, ledger


def _settle_clinical(ledger: Ledger, breasts: dict[Breast, Line], seen: set[Breast]) -> None:
    for breast, line in breasts.items():
        reason = WRONG_TAG if breast[0] in WRONG_SIDE else "no image of this breast"
        ledger.place(f"row {line.number}", None if breast in seen else reason)


def _images(paths: list[Path], folder: Path, found: Found, progress: Progress | None) -> Iterator[_Image]:
    """Images that can be joined; the others are placed."""
    for number, path in enumerate(paths, start=1):
        key = relative(path, folder)
        found.inputs.expect(key)
        image, reason = _header(key, path)
        if image is None:
            found.inputs.place(key, reason)
        else:
            yield image
        if progress:
            progress(number, len(paths), "headers")


def _header(key: str, path: Path) -> tuple[_Image | None, str]:
    try:
        header = open_dicom(path).header
        side, _ = facts.read_side(header)
        view, _ = facts.read_view(header)
        patient, modality = (facts.text(header, name) for name in ("PatientID", "Modality"))
        frames = facts.numbers(header, "NumberOfFrames") or (1.0,)
        rows, columns, bits = (
            int((facts.numbers(header, name) or (0,))[0]) for name in ("Rows", "Columns", "BitsAllocated")
        )
        age = age_of(facts.text(header, "PatientAge"))
    except Exception:  # any damage: pydicom raises many kinds
        return None, NO_HEADER
    if (modality and modality != "MG") or frames[0] != 1 or min(rows, columns) < 1:
        return None, NO_MAMMOGRAM if modality or rows else NO_HEADER
    if not patient:
        return None, NO_PATIENT
    if patient in WRONG_SIDE:
        return None, WRONG_TAG
    if side is None:
        return None, NO_SIDE
    return _Image(key, path, patient, side, view or "", age, (rows, columns), bits), ""


def _row(image: _Image, line: Line | None, outline: _Outline | None, several: bool) -> Row:
    subtype, reason = _subtype(line)
    mask, no_lesion = None, "no lesion outline"
    if outline is not None:
        no_lesion = (outline.wrong and BAD_OUTLINE) or (SEVERAL if several else "")
        mask = None if no_lesion else outline.path
    extra = {"laterality": image.side, "view": image.view, "age": image.age}
    if line is not None:
        extra |= {"age": age_of(line["age"]) or image.age, "abnormality": line["abnormality"]}
        extra |= {"classification": line["classification"]}
    if mask and outline:
        extra["lesion_labels"] = outline.labels
    return Row(image.key, image.patient, image.path, subtype, mask=mask, no_subtype=reason,
               no_lesion=no_lesion, extra=extra)  # fmt: skip


def _subtype(line: Line | None) -> tuple[SubtypeLabel | None, str]:
    if line is None:
        return None, UNLABELLED
    if not line["subtype"]:
        return None, BENIGN if line["classification"].lower() == "benign" else NOT_GIVEN
    try:
        return parse_subtype(line["subtype"]), ""
    except MolSubError:
        return None, NOT_UNDERSTOOD


def _outlines(paths: list[Path], folder: Path, found: Found) -> tuple[dict[tuple[str, str, str], _Outline], Ledger]:
    """Outline files by patient, view and side."""
    ledger = Ledger("outline files", "drawn on an image in the table")
    outlines: dict[tuple[str, str, str], _Outline] = {}
    for path in paths:
        match = _OUTLINE.fullmatch(path.name)
        assert match is not None
        outline = _read_outline(relative(path, folder), path)
        ledger.expect(outline.key)
        place = (match[1], match[2].upper(), match[3].upper())
        if place in outlines:
            ledger.place(outline.key, "second outline file of the same image")
        else:
            outlines[place] = outline
    found.note(
        "Outline files that cannot be used", [f"{line.key}: {line.wrong}" for line in outlines.values() if line.wrong]
    )
    return outlines, ledger


def _read_outline(key: str, path: Path) -> _Outline:
    """Labels and extent; `read_lesions` draws the pixels."""
    try:
        entries = json.loads(read_text(path))
        points = [[(float(p["x"]), float(p["y"])) for p in entry["cgPoints"]] for entry in entries]
        labels = [" ".join(str(entry.get("label", "")).split()) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _Outline(key, path, wrong="holds no polygons")
    flat = [point for polygon in points for point in polygon]
    if not points or any(len(polygon) < 3 for polygon in points):
        return _Outline(key, path, wrong="a polygon of fewer than three points, or none")
    if any(number_of(str(value)) is None for point in flat for value in point):
        return _Outline(key, path, wrong="a point that is not a number")
    xs, ys = ([point[axis] for point in flat] for axis in (0, 1))
    names = "; ".join(label for label in labels if label)
    return _Outline(key, path, names, (min(xs), max(xs), min(ys), max(ys)))


def _notes(found: Found, images: list[_Image], outlines: dict[tuple[str, str, str], _Outline]) -> None:
    present = {image.patient for image in images}
    pairs = [f"{a} = {b}" for a, b in TWINS if {a, b} <= present]
    found.note("Patients known to have pixel-identical images; of such images in the table one is kept", pairs)
    found.note("Images of 16 bits (the others have 8)", [image.key for image in images if image.bits > 8])
    found.note("Images whose view is not stated", [image.key for image in images if not image.view])
    outside = []
    for image in images:
        outline = outlines.get((image.patient, image.view, image.side))
        if outline and not outline.wrong:
            left, right, top, bottom = outline.reach
            if min(left, top) < 0 or right > image.shape[1] - 1 or bottom > image.shape[0] - 1:
                outside.append(outline.key)
    found.note("Outlines with points outside the image; they are clipped to its border when the mask is made", outside)
