"""VinDr-Mammo (PhysioNet): ``finding_annotations.csv`` and ``images/<study>/<image>.dicom``. It has no subtype."""

from __future__ import annotations

import ast
from pathlib import Path

from MolSubCore.cohort.importers.base import (
    NO_IMAGE,
    OVERLONG,
    Clipped,
    Found,
    Ledger,
    Line,
    Note,
    Progress,
    Row,
    clip_box,
    files_below,
    find_table,
    note_passed,
    number_of,
    read_lines,
    with_ending,
)
from MolSubCore.imaging.view_text import read_side

NO_FINDING = "no finding: no box"
NO_BOX = "box is not four numbers"
OUTSIDE = "box without a pixel on the image"
NO_STUDY = "no study or image"
SEVERAL = "several image files of this name"

_COLUMNS = ("study_id", "image_id", "finding_categories", "xmin", "ymin", "xmax", "ymax")
_ENDINGS = (".dicom", ".dcm", ".png")


def read(folder: Path, progress: Progress | None = None) -> Found:
    """Read the table of findings, one row per box; no image is opened.

    Raises
    ------
    CohortError
        If the folder holds no such table, or several.
    """
    passed: dict[str, list[str]] = {}
    files = files_below(folder, passed)
    table = find_table(files, _COLUMNS, folder=folder, name="finding_annotations.csv")
    images: dict[str, list[Path]] = {}
    for ending in _ENDINGS:  # the DICOM file counts before a picture of the same image
        own: dict[str, list[Path]] = {}
        for path in with_ending(files, ending):
            own.setdefault(path.name[: -len(ending)], []).append(path)
        images = own | images
    found = Found(Ledger("rows of the table of findings"))
    note_passed(found, passed)
    cut: list[str] = []
    turned: list[str] = []
    for line in read_lines(table, found):
        key = f"row {line.number}"
        found.inputs.expect(key)
        reason = OVERLONG if line.overlong else "" if line["study_id"] and line["image_id"] else NO_STUDY
        if not reason and len(named := images.get(line["image_id"], [])) != 1:
            reason = SEVERAL if named else NO_IMAGE
        if reason:
            found.inputs.place(key, reason)
            continue
        box, no_lesion = _box(line)
        cut += [key] if box and box.cut else []
        turned += [key] if box and box.turned else []
        found.rows.append(
            Row(key, line["study_id"], named[0], box=box.text if box else None,
                no_subtype="VinDr-Mammo has no subtypes", no_lesion=no_lesion, extra=_extra(line))
        )  # fmt: skip
        if progress:
            progress(len(found.rows), 0, "rows")
    found.note("Boxes that reached outside the image and were clipped to its border", cut)
    found.note("Boxes whose ends were in the wrong order and were swapped", turned)
    found.notes.append(Note("A study counts as a patient: patients are not given, so two studies may be of one"))
    return found


def _box(line: Line) -> tuple[Clipped | None, str]:
    texts = [line[name] for name in ("xmin", "ymin", "xmax", "ymax")]
    ends = [number_of(text) for text in texts]
    if not any(text and text.lower() != "nan" for text in texts):
        return None, NO_FINDING
    left, top, right, bottom = ends
    if left is None or top is None or right is None or bottom is None:
        return None, NO_BOX
    height, width = (int(max(number_of(line[name]) or 0, 0)) for name in ("height", "width"))
    box = clip_box((left, right), (top, bottom), (height, width))
    return box, OUTSIDE


def _extra(line: Line) -> dict[str, str]:
    return {
        "laterality": read_side(line["laterality"]) or line["laterality"],
        "view": line["view_position"],
        "finding": categories(line["finding_categories"]),
        "finding_birads": line["finding_birads"],
        "breast_birads": line["breast_birads"],
        "breast_density": line["breast_density"],
        "source_split": line["split"],
    }


def categories(text: str) -> str:
    """``['Mass', 'Asymmetry']``, a Python list written as text, as ``Mass; Asymmetry``; other text as it is."""
    text = " ".join(text.split())
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    if not isinstance(values, list | tuple):
        return text
    return "; ".join(str(value).strip() for value in values)
