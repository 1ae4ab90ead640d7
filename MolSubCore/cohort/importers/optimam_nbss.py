"""Screening records (NBSS) of OMI-DB: episode, event, side, lesion, receptors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from MolSubCore.cohort.importers.receptors import from_receptors
from MolSubCore.tasks import SubtypeLabel

NO_EPISODE = "episode of the study not in the screening records"
NO_LINK = "mark not linked to a lesion of the screening records"
NO_LESION = "linked lesion without surgery or biopsy on this side"
IN_SITU = "carcinoma in situ: subtypes are of invasive cancers"
DIFFERENT = "mark linked to lesions of different subtypes"
DISAGREE = "Lesions whose biopsy and surgery tell different receptors; surgery was taken"

#: The first that tells a receptor counts.
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
        What should be known about this lesion.
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
