"""OPTIMAM (OMI-DB): ``data/<client>/{imagedb_,nbss_}<client>.json``, header files, ``images/<client>/...dcm``.

Each mark on an image is one lesion: one row. Its subtype is that of the linked lesion in the screening records (NBSS),
by the receptors found in surgery or else in the biopsy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from MolSubCore.cohort.importers.base import (
    NO_IMAGE,
    NO_MAMMOGRAM,
    NO_SIDE,
    Found,
    Ledger,
    Progress,
    Row,
    age_of,
    clip_box,
    from_receptors,
    number_of,
    why_not_there,
)
from MolSubCore.errors import CohortError
from MolSubCore.files import read_text
from MolSubCore.imaging.io import dicom as facts
from MolSubCore.tasks import SubtypeLabel

NO_HEADER = "header file missing or damaged"
RAW = "image FOR PROCESSING: the one FOR PRESENTATION is used"


@dataclass(frozen=True)
class Header:
    """Facts of a header file; `wrong` is why the image cannot be used."""

    side: str = ""
    view: str = ""
    age: str = ""
    manufacturer: str = ""
    model: str = ""
    shape: tuple[int, int] = (0, 0)
    wrong: str = ""


def read_header(study: Path, sop: str) -> Header:
    """Read ``<sop>.json`` or ``<sop>.dcm.json``."""
    for name in (f"{sop}.json", f"{sop}.dcm.json"):
        if why := why_not_there(study / name, NO_HEADER):
            if why != NO_HEADER:
                return Header(wrong=why)
            continue
        try:
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


NO_EPISODE = "episode of the study not in the screening records"
NO_LINK = "mark not linked to a lesion of the screening records"
NO_LESION = "linked lesion without surgery or biopsy on this side"
IN_SITU = "carcinoma in situ: subtypes are of invasive cancers"
DIFFERENT = "mark linked to lesions of different subtypes"
DISAGREE = "Lesions whose biopsy and surgery give different receptor status; surgery was used"

#: For each receptor, the first of these that states it counts.
_EVENTS = ("SURGERY", "BIOPSYWIDE")
_RECEPTORS = {"er": "HormoneERStatus", "pr": "HormonePRStatus", "her2": "HER2ReceptorStatus"}
_INVASIVE = ("InvasiveComponents", "InvasiveType", "DiseaseGrade")
_NON_INVASIVE = ("InSituComponents", "DcisGrade")


@dataclass(frozen=True)
class Pathology:
    """Subtype of the lesion under a mark, or the reason why there is none.

    Attributes
    ----------
    subtype : Subtype, PartialSubtype or None
    reason : str
    facts : dict
        Columns for the table.
    notes : tuple of str
        About this lesion.
    """

    subtype: SubtypeLabel | None
    reason: str
    facts: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def pathology_of(nbss: Mapping[str, Any], episode: str, side: str, linked: object) -> Pathology:
    """The lesions that a mark is linked to (``1``, ``1,2`` or a number), on the image's own side."""
    record = nbss.get(episode)
    if not isinstance(record, dict):
        return Pathology(None, NO_EPISODE)
    numbers = re.findall(r"\d+", "" if linked is None else str(linked))
    if not numbers:
        return Pathology(None, NO_LINK)
    found = [_lesion(record, side, number) for number in dict.fromkeys(numbers)]
    named = {"lesions": ",".join(dict.fromkeys(numbers))}
    if len({item.subtype for item in found}) > 1:
        return Pathology(None, DIFFERENT, named)
    first = found[0]
    return Pathology(first.subtype, first.reason, named | first.facts, tuple(n for item in found for n in item.notes))


def _lesion(record: Mapping[str, Any], side: str, number: str) -> Pathology:
    events = [event for name in _EVENTS if (event := _below(record, name, side, number))]
    if not events:
        return Pathology(None, NO_LESION)
    told = {name: [_status(event.get(field)) for event in events] for name, field in _RECEPTORS.items()}
    status = {name: next((value for value in values if value), "") for name, values in told.items()}
    sure = {name: next((value for value in values if value in ("RP", "RN")), "") for name, values in told.items()}
    notes = (DISAGREE,) if any({"RP", "RN"} <= set(values) for values in told.values()) else ()
    grade = next((str(event["DiseaseGrade"]) for event in events if event.get("DiseaseGrade")), "")
    facts = {**{name: sure[name] or status[name] for name in sure}, "grade": grade}
    if not _invasive(events) and any(_is_in_situ(event) for event in events):
        return Pathology(None, IN_SITU, facts)
    meaning = {"RP": True, "RN": False}
    er, pr, her2 = (meaning.get(sure[name]) for name in ("er", "pr", "her2"))
    subtype, reason = from_receptors(er, pr, her2)
    return Pathology(subtype, reason, facts, notes)


def _below(record: Mapping[str, Any], *keys: str) -> dict[str, Any] | None:
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


def _status(value: object) -> str:
    """RP, RN, RU, or empty."""
    text = str(value or "").strip().upper()
    return text if text in ("RP", "RN", "RU") else ""


def _invasive(events: list[dict[str, Any]]) -> bool:
    return any(
        str(event.get("MalignancyType") or "").lower() == "b"
        or str(event.get("InvasivePresent") or "").upper() == "Y"
        or any(event.get(name) for name in _INVASIVE)
        for event in events
    )


def _is_in_situ(event: dict[str, Any]) -> bool:
    return str(event.get("MalignancyType") or "").lower() == "a" or any(event.get(name) for name in _NON_INVASIVE)


NO_MARK = "image without a mark"
NO_NBSS = "client without screening records (NBSS)"
BAD_MARK = "mark is not four numbers"
OUTSIDE = "mark without a pixel on the image"
BAD_CLIENT = "image list of the client cannot be read"

_UID = re.compile(r"\d+(\.\d+)+")
_REMEDY = "Give the folder that holds data and images"


def read(folder: Path, progress: Progress | None = None) -> Found:
    """Read the JSON files of every client; of the images only whether they are there.

    Raises
    ------
    CohortError
        If no client is found.
    """
    if not folder.is_dir():
        raise CohortError(folder, "is not a folder", _REMEDY)
    data = folder / "data" if (folder / "data").is_dir() else folder
    clients = sorted(path for path in data.iterdir() if path.is_dir() and _json(path, "imagedb_"))
    if not clients:
        raise CohortError(folder, "holds no client (data/CLIENT/imagedb_CLIENT.json)", _REMEDY)
    found = Found(Ledger("marks, and images without one"))
    trouble: dict[str, list[str]] = {}
    for number, client in enumerate(clients, start=1):
        _client(client, folder / "images", found, trouble)
        if progress:
            progress(number, len(clients), "clients")
    for text, keys in trouble.items():
        found.note(text, keys)
    return found


def _json(client: Path, prefix: str) -> Path | None:
    """``imagedb_<client>.json``, in whatever case."""
    wanted = f"{prefix}{client.name}.json".lower()
    return next((path for path in sorted(client.iterdir()) if path.name.lower() == wanted), None)


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _client(client: Path, images: Path, found: Found, trouble: dict[str, list[str]]) -> None:
    listed = _read(_json(client, "imagedb_"))
    if listed is None:
        found.inputs.expect(client.name)
        found.inputs.place(client.name, BAD_CLIENT)
        return
    nbss = _read(_json(client, "nbss_"))
    for (study, series, sop), episode, marks in _images(listed):
        header = read_header(client / study, sop)
        path = images / client.name / study / f"{sop}.dcm"
        name = f"{client.name}/{study}/{series}/{sop}"
        keys = {f"{name}/{mark}": value for mark, value in marks.items()} or {name: None}
        reason = header.wrong or why_not_there(path, NO_IMAGE)
        for key, mark in keys.items():
            found.inputs.expect(key)
            if reason:
                found.inputs.place(key, reason)
                continue
            found.rows.append(_row(key, (client.name, path, header), mark, (nbss, episode), trouble))


def _images(listed: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], str, dict[str, Any]]]:
    """Study, series and image; the episode; the image's marks."""
    for study, members in _members(listed.get("STUDIES")):
        episode = members.get("EpisodeID") if isinstance(members, dict) else None
        for series, images in _members(members):
            for sop, marks in _members(images):
                yield (study, series, sop), str(episode or ""), marks if isinstance(marks, dict) else {}


def _members(value: object) -> Iterator[tuple[str, Any]]:
    """Entries whose keys are UIDs."""
    if isinstance(value, dict):
        yield from ((key, member) for key, member in value.items() if _UID.fullmatch(key))


def _row(
    key: str,
    image: tuple[str, Path, Header],
    mark: object,
    records: tuple[dict[str, Any] | None, str],
    trouble: dict[str, list[str]],
) -> Row:
    client, path, header = image
    extra = {"laterality": header.side, "view": header.view, "age": header.age}
    extra |= {"manufacturer": header.manufacturer, "model": header.model}
    if not isinstance(mark, dict):
        return Row(key, client, path, no_subtype=NO_MARK, no_lesion=NO_MARK if mark is None else BAD_MARK, extra=extra)
    nbss, episode = records
    if nbss is None:
        pathology = Pathology(None, NO_NBSS)
    else:
        pathology = pathology_of(nbss, episode, header.side, mark.get("LinkedNBSSLesionNumber"))
    for text in pathology.notes:
        trouble.setdefault(text, []).append(key)
    box, no_lesion = _box(key, mark, header.shape, trouble)
    extra |= {"mark": _kinds(mark), "conspicuity": str(mark.get("Conspicuity") or "")} | pathology.facts
    return Row(key, client, path, pathology.subtype, box=box, no_subtype=pathology.reason, no_lesion=no_lesion,
               extra=extra)  # fmt: skip


def _box(
    key: str, mark: dict[str, Any], shape: tuple[int, int], trouble: dict[str, list[str]]
) -> tuple[str | None, str]:
    """The box of a mark, whose coordinates are strings."""
    left, right, top, bottom = (number_of(str(mark.get(name)).strip()) for name in ("X1", "X2", "Y1", "Y2"))
    if left is None or right is None or top is None or bottom is None:
        return None, BAD_MARK
    box = clip_box((left, right), (top, bottom), shape)
    if box.cut:
        trouble.setdefault("Marks that reached outside the image and were clipped to its border", []).append(key)
    if box.turned:
        trouble.setdefault("Marks whose ends were in the wrong order and were swapped", []).append(key)
    return box.text, OUTSIDE


def _kinds(mark: dict[str, Any]) -> str:
    """Names of the properties that the reader ticked."""
    ticked = [name for name, value in mark.items() if value in (1, "1") and name.isalpha()]
    return "; ".join(name for name in ticked if name not in ("LesionID", "MarkID", "LinkedNBSSLesionNumber"))
