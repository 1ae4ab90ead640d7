"""CBIS-DDSM (TCIA, doi 10.7937/K9/TCIA.2016.7O02S9CY): case descriptions, images and ROI masks. It has no subtype.

The tables name files that a download puts elsewhere; what both share is the first folder, such as
``Mass-Test_P_00016_LEFT_CC`` of an image and ``..._CC_1`` of its first abnormality. Which file of an abnormality
is the mask and which the crop is decided by their content.
"""

from __future__ import annotations

import re
from pathlib import Path

from MolSubCore.cohort.importers.base import (
    NO_IMAGE,
    OVERLONG,
    Found,
    Ledger,
    Line,
    Progress,
    Row,
    files_below,
    find_tables,
    note_passed,
    read_lines,
    relative,
    with_ending,
)
from MolSubCore.imaging.view_text import read_side

SEVERAL = "several image files"
NO_MASK = "mask file missing"
NO_FOLDER = "table does not name the image"

_COLUMNS = ("patient_id", "image file path", "roi mask file path", "pathology")
_FOLDER = re.compile(r"(?:mass|calc)-(?:training|test)_p_\d+_(?:left|right)_(?:cc|mlo)(?:_\d+)?", re.IGNORECASE)
_COPIED: tuple[str, ...] = ("abnormality type", "mass shape", "mass margins", "calc type", "calc distribution")
_COPIED += ("assessment", "pathology", "subtlety")


def read(folder: Path, progress: Progress | None = None) -> Found:
    """Read the tables, one row per abnormality; no image is opened here.

    Raises
    ------
    CohortError
        If the folder holds no such table.
    """
    passed: dict[str, list[str]] = {}
    files = files_below(folder, passed)
    tables = find_tables(files, _COLUMNS, folder=folder, name="mass_case_description_train_set.csv and the like")
    groups = _groups(with_ending(files, ".dcm"), folder)
    found, broken = Found(Ledger("rows of the case descriptions")), []
    note_passed(found, passed)
    for table in tables:
        for line in read_lines(table, found):
            key = f"{relative(table, folder)} row {line.number}"
            found.inputs.expect(key)
            image, mask = (_group(line[name]) for name in ("image file path", "roi mask file path"))
            own = groups.get(image, [])
            reason = OVERLONG if line.overlong else "" if image and line["patient_id"] else NO_FOLDER
            if not reason and len(own) != 1:
                reason = SEVERAL if own else NO_IMAGE
            if reason:
                found.inputs.place(key, reason)
                continue
            masks = tuple(groups.get(mask, ())) if mask != image else ()
            single = len(masks) == 1 and any("mask" in part.lower() for part in masks[0].parts[-2:])
            broken += [key] if single else []
            found.rows.append(
                Row(key, line["patient_id"], own[0], mask_images=masks, no_subtype="CBIS-DDSM has no subtypes",
                    no_lesion=NO_MASK, extra=_extra(line, mask))
            )  # fmt: skip
            if progress:
                progress(len(found.rows), 0, "rows")
    found.note("Abnormalities with a single file, which may be the crop or the mask; its content decides", broken)
    return found


def _groups(paths: list[Path], folder: Path) -> dict[str, list[Path]]:
    """Files by the folder that names their image or abnormality, in lower case."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        for part in path.relative_to(folder).parts[:-1]:
            if _FOLDER.fullmatch(part):
                groups.setdefault(part.lower(), []).append(path)
                break
    return groups


def _group(text: str) -> str:
    first = text.replace("\\", "/").split("/")[0].strip().lower()
    return first if _FOLDER.fullmatch(first) else ""


def _extra(line: Line, mask: str) -> dict[str, str]:
    extra = {
        "laterality": read_side(line["left or right breast"]) or line["left or right breast"],
        "view": line["image view"].upper(),
        "breast_density": line["breast_density"] or line["breast density"],
        "abnormality_id": line["abnormality id"],
        "lesion_id": mask,
    }
    return extra | {name.replace(" ", "_"): line[name] for name in _COPIED}
