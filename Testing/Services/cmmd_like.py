"""A synthetic cohort in the form of CMMD's download: a clinical table and outlines beside the images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk
from coarse_cohort import make_coarse_cohort

from MolSubCore.tasks import Subtype

_NAMES = {"Luminal A": "Luminal A", "Luminal B": "Luminal B", "TN": "triple negative"}


def write_cmmd_like(cohort: Path, download: Path, counts: dict[Subtype, int]) -> list[Path]:
    """Make a cohort; its clinical table and outlines go to `download`, its images are left for an archive.

    Returns
    -------
    list of Path
        The images.
    """
    table = make_coarse_cohort(cohort, counts=counts, seed=3, image_shape=(512, 416))
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (download / "annotations").mkdir(parents=True)
    clinical = {}
    for row in rows:
        patient, side = row["patient_id"], row["laterality"]
        name = f"{patient}_{row['view']}_{side}_AnnotationFile.json"
        outline = _outline(sitk.GetArrayFromImage(sitk.ReadImage(str(cohort / row["mask"])))[0])
        (download / "annotations" / name).write_text(json.dumps(outline))
        clinical[patient] = [patient, side, row["age"], 2, "mass", "Malignant", _NAMES[row["subtype"]]]
    with (download / "CMMD_clinicaldata_revision.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype"])
        writer.writerows(clinical.values())
    return sorted((cohort / "images").glob("*.dcm"))


def _outline(mask: np.ndarray) -> list[dict[str, object]]:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [
        {"cgPoints": [{"x": int(x), "y": int(y)} for x, y in contour[:, 0]], "label": "mass ", "type": "Draw"}
        for contour in contours
    ]
