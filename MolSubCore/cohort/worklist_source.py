"""What a worklist is made of: the images of a cohort table or of a folder. Standard library only."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from MolSubCore.cohort.table import Case, parse_cohort
from MolSubCore.cohort.table_files import TABLE_ENDINGS
from MolSubCore.errors import CohortError

#: Endings of mammograms; in a folder also DICOM files without any ending are found.
IMAGE_ENDINGS = (".dcm", ".dicom", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".jp2")
MASKS = "masks"

_SIDE, _GAP = "(?:left|right|l|r)", r"[\s_.\-]*"
_VIEW = re.compile(rf"[\s_.\-]+(?:{_SIDE}{_GAP})?(?:cc|mlo|ml|lm|xccl)(?:{_GAP}{_SIDE})?$", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """One image to outline.

    Attributes
    ----------
    key : str
        The image's path below the worklist's folder, with ``/``; absolute where it lies elsewhere.
    patient : str
    image : Path
    given : tuple of Path or str
        Masks and boxes that the table names.
    subtype : str
        As the table has it; empty where it has none.
    extra : dict
        The table's other columns.
    """

    key: str
    patient: str
    image: Path
    given: tuple[Path | str, ...] = ()
    subtype: str = ""
    extra: dict[str, str] = field(default_factory=dict)


def read_source(source: Path, images: Sequence[Path] | None = None) -> tuple[Path, list[Item]]:
    """The folder a worklist lives in, and its images in their order, each once.

    Parameters
    ----------
    source : Path
        A cohort table (mask, box and subtype may be missing or empty), or a folder of images.
    images : sequence of Path, optional
        Of the folder: those that are mammograms, where somebody has looked at their headers.

    Raises
    ------
    CohortError
        If it is neither, cannot be read, or has no image.
    """
    # Absolute without following links: the user's own way to the files is kept.
    source = Path(os.path.abspath(source))  # noqa: PTH100
    if source.is_dir():
        absolute = (os.path.abspath(image) for image in (_images(source) if images is None else images))  # noqa: PTH100
        found = [Path(image) for image in dict.fromkeys(absolute)]
        top = Path(os.path.commonpath([image.parent for image in found])) if found else source
        items = [Item(_key(image, source), patient_of(image, top), image) for image in found]
        folder = source
    elif source.suffix.lower() in TABLE_ENDINGS:
        folder, items = source.parent, _from_table(source)
    else:
        raise CohortError(source, "is no table (csv, tsv, xlsx) and no folder", "Choose one of these")
    if not items:
        raise CohortError(source, "has no image", "Choose another folder or table")
    return folder, items


def _images(folder: Path) -> list[Path]:
    """Files below that look like images, in the order of their names; results of ours and hidden ones are no images."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name.casefold() != MASKS)
        found += [
            path for name in sorted(names) if not name.startswith(".") and _looks_right(path := Path(place, name))
        ]
    return found


def _looks_right(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_ENDINGS:
        return path.name.upper() != "DICOMDIR"
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM" and path.name.upper() != "DICOMDIR"
    except OSError:
        return False


def patient_of(image: Path, top: Path) -> str:
    """The first folder below the one that holds all images, else the file's name without laterality and view."""
    parts = image.relative_to(top).parts
    return parts[0] if len(parts) > 1 else _VIEW.sub("", image.stem) or image.stem


def _from_table(table: Path) -> list[Item]:
    cohort, problems = parse_cohort(table, need_subtype=False, need_lesion=False)
    if problems:
        others = f", and {len(problems) - 1} more problem(s)" if len(problems) > 1 else ""
        raise CohortError(table, f"{problems[0]}{others}", "Correct the table")
    rows: dict[str, list[Case]] = {}
    for case in cohort.cases:
        image = Path(os.path.abspath(case.image))  # noqa: PTH100
        rows.setdefault(_key(image, table.parent), []).append(case)
    return [_joined(key, cases) for key, cases in rows.items()]


def _joined(key: str, cases: list[Case]) -> Item:
    """Several rows of one image are several lesions of it."""
    first = cases[0]
    given = tuple(dict.fromkeys(case.lesion for case in cases if case.lesion))
    subtype = first.subtype.value if first.subtype else ""
    return Item(key, first.patient_id, Path(os.path.abspath(first.image)), given, subtype, first.extra)  # noqa: PTH100


def _key(image: Path, folder: Path) -> str:
    return (image.relative_to(folder) if image.is_relative_to(folder) else image).as_posix()


def mask_names(items: Sequence[Item], taken: dict[str, str]) -> dict[str, str]:
    """A file name for every item's mask: ``<image>_lesion.nii.gz``, with its folders where images have equal names.

    Parameters
    ----------
    taken : dict of str to str
        Names given earlier, by key; they stay.
    """
    names = dict(taken)
    stems = Counter(_stem(item).casefold() for item in items)
    used = {name.casefold() for name in names.values()}
    for item in items:
        if item.key not in names:
            plain = _stem(item)
            start = plain if stems[plain.casefold()] == 1 else _word(Path(item.key).with_suffix("").as_posix())
            names[item.key] = next(name for name in _numbered(start) if name.casefold() not in used)
            used.add(names[item.key].casefold())
    return names


def _numbered(start: str) -> Iterator[str]:
    yield f"{start}_lesion.nii.gz"
    number = 2
    while True:
        yield f"{start}-{number}_lesion.nii.gz"
        number += 1


def _stem(item: Item) -> str:
    name = Path(item.key).name
    return _word(Path(name).stem if Path(name).suffix.lower() in IMAGE_ENDINGS else name)


def _word(text: str) -> str:
    """A file name of any system; its end tells names apart, should it be too long."""
    return re.sub(r"[^\w.+-]", "_", text).strip("._")[-150:] or "image"
