"""The worker's job ``find-images``: which files of a folder are mammograms, by their headers alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from MolSubCore.errors import MolSubError, explain_error, hide_paths
from MolSubCore.imaging.io.reader import check_header
from MolSubCore.worker.options import Progress

#: A picture or volume so called is an outline, not a mammogram; of DICOM files the header says it.
_MASK = re.compile(
    r"(?:^|[\W_])(?:masks?|segs?|segmentations?|labels?|labelmap|lesions?|roi)(?:[\W_\d]|$)", re.IGNORECASE
)
_MASK_FOLDERS = {"masks", "segmentations", "labels"}


def find_images(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``find-images``.

    Parameters
    ----------
    options : mapping
        ``path`` (a folder, looked through with its subfolders, or one file) or ``paths`` (a list of such). Hidden
        files and folders are passed over.
    progress : callable
        ``progress(share, stage="looking", files=..., of=...)``.

    Returns
    -------
    dict
        ``images``: paths of the mammograms, in the order of their names; ``skipped``: ``path`` and ``reason`` (a
        sentence) of every other file.

    Raises
    ------
    MolSubError
        If there is no such folder or file.
    """
    given = options.get("paths") or [options.get("path")]
    if not all(isinstance(place, str) and place for place in given):
        raise MolSubError("find-images", "lacks the option path", "Give a folder or files")
    files = list(dict.fromkeys(file for place in given for file in _files(Path(place))))
    images: list[str] = []
    skipped: list[dict[str, str]] = []
    for number, file in enumerate(files, start=1):
        reason = why_not(file)
        if reason is None:
            images.append(str(file))
        else:
            skipped.append({"path": str(file), "reason": reason})
        if number % 20 == 0 or number == len(files):
            progress(number / len(files), stage="looking", files=number, of=len(files))
    return {"images": images, "skipped": skipped}


def why_not(file: Path) -> str | None:
    """Why a file is no mammogram, in a sentence without its path; None where it is one by its header."""
    try:
        kind = check_header(file)
    except MolSubError as error:
        return f"{error.problem[:1].upper()}{error.problem[1:]}. {error.remedy}."
    except Exception as error:  # whatever it is, it is this file's
        return hide_paths(f"It cannot be looked at: {explain_error(error)[0]}", [file])
    if kind != "DICOM" and (_MASK.search(file.name) or file.parent.name.casefold() in _MASK_FOLDERS):
        return "By its name it is a lesion's mask, not a mammogram."
    return None


def _files(place: Path) -> Iterator[Path]:
    """A file, or all files below a folder in the order of their names."""
    if not place.is_dir():
        if not place.is_file():
            raise MolSubError(place, "does not exist", "Check the path")
        yield place
        return
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))
