"""Whose images: which mammograms of the scene are of one patient, and which are known not to be.

The scene holds no patient's identity: images whose headers name the same patient carry the same random mark. Images
without identifiers are taken together where they are of one study, or come from one folder; nothing proves it then.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MolSubSlicerLib.Scene.Nodes import all_of_kind

_MARK, _STUDY, _FILE = "MolSub.Patient", "MolSub.Study", "MolSub.SourceFile"
#: Marks that were given since the application started, by what the worker made of the headers' identity.
_marks: dict[str, str] = {}


def mark(volume: Any, facts: dict[str, Any]) -> None:
    """Write down whose a new mammogram is, as far as its header tells: `patient` and `study_instance_uid`."""
    identity, study = facts.get("patient"), facts.get("study_instance_uid")
    if study:
        volume.SetAttribute(_STUDY, str(study))
    if identity:
        siblings = (_mark_of(other) for other in all_of_kind("mammogram") if study and _study(other) == study)
        known = next((found for found in siblings if found), None)
        volume.SetAttribute(_MARK, _marks.setdefault(str(identity), known or uuid.uuid4().hex))


def are_known_apart(first: Any, second: Any) -> bool:
    """Whether two mammograms are of different patients by their headers."""
    marks = _mark_of(first), _mark_of(second)
    return None not in marks and marks[0] != marks[1]


def are_known_as_one(first: Any, second: Any) -> bool:
    """Whether two mammograms are of one patient by their headers."""
    if first is second:
        return True
    marks, studies = (_mark_of(first), _mark_of(second)), (_study(first), _study(second))
    if None not in marks:
        return marks[0] == marks[1]
    return None not in studies and studies[0] == studies[1]


def are_together(first: Any, second: Any) -> bool:
    """Whether two mammograms are taken for one patient's: by their headers, or for lack of those by their folder."""
    if are_known_as_one(first, second):
        return True
    if any(_mark_of(each) or _study(each) for each in (first, second)):
        return False
    return _folder(first) == _folder(second)


def of_patient(volume: Any) -> list[Any]:
    """All mammograms of the scene that are together with one, in the order in which they came."""
    return [other for other in all_of_kind("mammogram") if are_together(volume, other)]


def views_with(volume: Any, most: int) -> list[Any]:
    """A mammogram and others of its patient, in the order in which they came, no more than `most` in all."""
    found = of_patient(volume)
    first = found[:most]
    return first if volume in first else [*found[: most - 1], volume]


def groups(volumes: Sequence[Any] | None = None) -> list[list[Any]]:
    """Mammograms, or all of the scene, one list a patient, in the order in which they came."""
    found: list[list[Any]] = []
    for volume in all_of_kind("mammogram") if volumes is None else volumes:
        own = next((group for group in found if are_together(group[0], volume)), None)
        if own is None:
            found.append([volume])
        else:
            own.append(volume)
    return found


def letter_of(volume: Any) -> str:
    """A letter for the patient, A for the first of the scene; empty while all images are of one."""
    all_groups = groups()
    if len(all_groups) < 2:
        return ""
    number = next((n for n, group in enumerate(all_groups) if volume in group), 0)
    letters = chr(ord("A") + number % 26)
    return letters if number < 26 else f"{letters}{number // 26 + 1}"


def name_of(volume: Any) -> str:
    """A mammogram's name, with its patient's letter while there are several patients."""
    letter = letter_of(volume)
    return _("{letter}: {name}").format(letter=letter, name=volume.GetName()) if letter else volume.GetName()


def unproven(volumes: Sequence[Any]) -> list[Any]:
    """Of mammograms that are taken together those of which no header says that they are of the first one's patient."""
    return [volume for volume in volumes[1:] if not are_known_as_one(volumes[0], volume)]


def _mark_of(volume: Any) -> str | None:
    return volume.GetAttribute(_MARK)


def _study(volume: Any) -> str | None:
    return volume.GetAttribute(_STUDY)


def _folder(volume: Any) -> str:
    source = volume.GetAttribute(_FILE)
    return str(Path(source).parent) if source else volume.GetID()
