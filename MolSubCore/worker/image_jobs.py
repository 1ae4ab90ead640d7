"""The worker's jobs ``read-image`` and ``read-lesions``: files of a mammogram for a program that shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.imaging.breast import find_chest_wall
from MolSubCore.imaging.canonical import canonical_array, canonical_window
from MolSubCore.imaging.mammogram import Mammogram, is_placeholder
from MolSubCore.lesions.lesion import LesionSet
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.worker.arrays import write_array
from MolSubCore.worker.cache import cached_mammogram
from MolSubCore.worker.options import Progress, require


def read_image(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``read-image``.

    Parameters
    ----------
    options : mapping
        ``path`` (a mammogram) and ``out`` (a folder; made where it is missing).
    progress : callable
        ``progress(share, stage=...)``: ``reading``, ``writing``.

    Returns
    -------
    dict
        ``pixels`` (``OUT/pixels.npy``: (rows, columns), bright = dense, the smallest exact type of uint8, int16,
        uint16, float32), and what is known of the image. Of its identifiers the instance UIDs, and as ``patient`` a
        digest that tells whether two images name the same patient; null where the header names none.

    Raises
    ------
    MolSubError
        If it cannot be read or is no mammogram.
    """
    require("read-image", options, "path", "out")
    progress(0.0, stage="reading")
    mammogram = cached_mammogram(options["path"])
    facts = image_facts(mammogram)
    progress(0.8, stage="writing")
    return {"pixels": write_array(Path(options["out"]) / "pixels.npy", canonical_array(mammogram)), **facts}


def image_facts(mammogram: Mammogram) -> dict[str, Any]:
    """What a program that shows a mammogram must know of it, JSON-ready."""
    window, (chest_wall, notes) = canonical_window(mammogram), find_chest_wall(mammogram)
    spacing = mammogram.spacing
    return {
        "rows": mammogram.shape[0],
        "columns": mammogram.shape[1],
        "label": mammogram.label,
        "laterality": mammogram.laterality,
        "view": mammogram.view,
        "spacing": {"row_mm": spacing.row_mm, "col_mm": spacing.col_mm, "source": spacing.source},
        "window": {"center": window.center, "width": window.width, "source": window.source},
        "chest_wall": chest_wall,
        "manufacturer": mammogram.manufacturer,
        "presentation": mammogram.presentation,
        "history": [*mammogram.photometric_history, window.note],
        "warnings": [*mammogram.warnings, *notes],
        "sop_instance_uid": mammogram.identifiers.get("SOPInstanceUID"),
        "study_instance_uid": mammogram.identifiers.get("StudyInstanceUID"),
        "patient": _digest(mammogram.person.patient_id),
        "synthetic": mammogram.synthetic,
    }


def _digest(patient: str | None) -> str | None:
    """For comparing within a program, not for files: a short number can be found again by trying all."""
    if not patient or is_placeholder(patient):
        return None
    return hashlib.sha256(patient.encode("utf-8", "surrogateescape")).hexdigest()


def read_lesion_labels(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``read-lesions``.

    Parameters
    ----------
    options : mapping
        ``image``, ``lesions`` (a mask or polygon file, or ``row0,col0,row1,col1``) and ``out`` (a folder).

    Returns
    -------
    dict
        ``labels`` (``OUT/labels.npy``: uint8 (rows, columns), lesion n has the value n), ``count``, ``boxes``
        (``[row0, row1, col0, col1]`` of each, half-open) and ``warnings``.

    Raises
    ------
    MolSubError
        If the lesions cannot be read, there are none, or they lie on another grid.
    """
    require("read-lesions", options, "image", "lesions", "out")
    progress(0.0, stage="reading")
    lesions = read_lesions(options["lesions"], cached_mammogram(options["image"]))
    labels, shared = label_map(lesions)
    boxes = [lesion.box for lesion in lesions.lesions]
    notes = [f"{shared} pixels belong to more than one lesion; each went to the last one."] if shared else []
    return {
        "labels": write_array(Path(options["out"]) / "labels.npy", labels),
        "count": len(boxes),
        "boxes": [[box.row_start, box.row_stop, box.col_start, box.col_stop] for box in boxes],
        "warnings": [*lesions.remarks, *notes],
    }


def label_map(lesions: LesionSet) -> tuple[NDArray[np.uint8], int]:
    """All lesions on the image's grid, the n-th with value n; and how many pixels several of them claim.

    Returns
    -------
    labels : ndarray of uint8, shape (rows, columns)
        A lesion of which only the box is known fills it.
    shared : int
    """
    labels, shared = np.zeros(lesions.shape, np.uint8), 0
    for number, lesion in enumerate(lesions.lesions, start=1):
        part = labels[lesion.box.rows, lesion.box.cols]
        inside = np.ones(part.shape, bool) if lesion.mask is None else lesion.mask
        shared += int(np.count_nonzero(part[inside]))
        part[inside] = number
    return labels, shared
