"""Header files of OMI-DB: the DICOM JSON model beside each image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from MolSubCore.cohort.importers.rows import NO_MAMMOGRAM, NO_SIDE
from MolSubCore.cohort.importers.sources import age_of
from MolSubCore.files import read_text
from MolSubCore.imaging import dicom_facts as facts

NO_HEADER = "header file missing or damaged"
RAW = "image for processing: its twin for presentation counts"


@dataclass(frozen=True)
class Header:
    """What a header file says; `wrong` is why the image cannot be used."""

    side: str = ""
    view: str = ""
    age: str = ""
    manufacturer: str = ""
    model: str = ""
    shape: tuple[int, int] = (0, 0)
    wrong: str = ""


def read_header(study: Path, sop: str) -> Header:
    """Read ``<sop>.json``, or ``<sop>.dcm.json`` as some are called."""
    for name in (f"{sop}.json", f"{sop}.dcm.json"):
        try:
            if not (study / name).is_file():  # a named pipe would wait for ever
                continue
            dataset = Dataset.from_json(json.loads(read_text(study / name)))
            return _facts(dataset)
        except Exception:  # any damage: pydicom raises many kinds
            break
    return Header(wrong=NO_HEADER)


def _facts(dataset: Dataset) -> Header:
    side, _ = facts.read_side(dataset)
    view, _ = facts.read_view(dataset)
    rows, columns = (int((facts.numbers(dataset, name) or (0,))[0]) for name in ("Rows", "Columns"))
    frames = facts.numbers(dataset, "NumberOfFrames") or (1.0,)
    modality = facts.text(dataset, "Modality")
    wrong = ""
    if (modality and modality != "MG") or frames[0] != 1:
        wrong = NO_MAMMOGRAM
    elif facts.text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
        wrong = RAW
    elif side is None:
        wrong = NO_SIDE
    maker, model = (facts.text(dataset, name) for name in ("Manufacturer", "ManufacturerModelName"))
    age = age_of(facts.text(dataset, "PatientAge"))
    return Header(side or "", view or "", age, maker, model, (rows, columns), wrong)
