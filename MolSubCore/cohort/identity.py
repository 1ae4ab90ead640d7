"""Whose images they are: what image files say of their patients, held against the table's patient_id.

One patient under two ids lies in the training and in the test set; two patients under one id have each other's
subtype. Neither can be seen in any figure afterwards. Compared are Patient ID with its issuer, Study and SOP Instance
UID, and the pixels themselves; name and birth date are evidence beside them. None of it is written or printed: rows
are named by their numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.table import Case, Cohort, Problem
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.imaging.mammogram import Mammogram, Person, is_placeholder
from MolSubCore.imaging.reader import read_person

#: An id that this share of the table's ids have, and at least so many of them, is a placeholder, too.
_SHARE, _FEWEST = 0.8, 4
_ROWS_TOLD = 12

#: Side of the thumbnails by which resaved pictures are recognised, and the rank correlation from which two are told.
#: Measured: different mammograms, also of one woman, 0.83 at most; one with another window, at a third of its size, as
#: 8 bits, 0.99 at least.
_THUMB, _ALIKE = 48, 0.97

#: The way out, in words.
TRUST = "if the table is right and the headers are not, add --trust-ids"


@dataclass(frozen=True)
class Sighting:
    """What one row's image says.

    Attributes
    ----------
    case : Case
    person : Person
    pixels : str
        `Mammogram.pixel_hash`; empty where it is not known.
    lesion : hashable
        What tells this row's lesions from others on the same image; None where it is not known.
    """

    case: Case
    person: Person = field(default=Person(), repr=False)
    pixels: str = ""
    lesion: Hashable = None


@dataclass(frozen=True)
class Identity:
    """What came of the comparison.

    Attributes
    ----------
    problems, notes : tuple of Problem
    summary : dict
        Counts for the record of a run: ``images``, ``with_patient_id`` (without placeholders), ``conflicts``,
        ``trusted`` (whether the table was taken at its word all the same).
    """

    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    summary: dict[str, int | bool]


def thumbnail(mammogram: Mammogram) -> NDArray[np.float32]:
    """Ranks of a small copy's pixels, of length 1: nearly the same for a picture that was resaved or windowed."""
    picture = Image.fromarray(np.ascontiguousarray(mammogram.stored, np.float32))
    ranks = rankdata(np.asarray(picture.resize((_THUMB, _THUMB), Image.Resampling.BOX)).ravel())
    ranks -= ranks.mean()
    return np.asarray(ranks / max(float(np.linalg.norm(ranks)), 1e-9), np.float32)


def look_alikes(sightings: Sequence[Sighting], thumbnails: Sequence[NDArray[np.float32]]) -> list[Problem]:
    """Rows of different ids whose pictures are nearly the same, also turned over or mirrored: one note for each group.

    Equal pixels are problems already, and left out.
    """
    if len(sightings) < 2:
        return []
    table = np.stack(thumbnails)
    mirrored = table.reshape(-1, _THUMB, _THUMB)[:, :, ::-1].reshape(len(table), -1)
    group = list(range(len(table)))

    def root(n: int) -> int:
        while group[n] != n:
            n = group[n]
        return n

    for start in range(0, len(table), 256):
        part = table[start : start + 256]
        likeness = np.maximum(np.abs(part @ table.T), np.abs(part @ mirrored.T))
        for row, other in np.argwhere(likeness > _ALIKE).tolist():
            first, second = sightings[start + row], sightings[other]
            if first.case.patient_id != second.case.patient_id and first.pixels != second.pixels:
                low, high = sorted((root(start + row), root(other)))
                group[high] = low
    groups: dict[int, list[Sighting]] = defaultdict(list)
    for n, one in enumerate(sightings):
        groups[root(n)].append(one)
    return [
        Problem(
            None,
            "image",
            f"rows {_rows(own)} look like copies of the same picture, resaved or displayed otherwise, under different "
            "values of patient_id: look at them",
        )
        for own in groups.values()
        if len(own) > 1
    ]


def compare_identities(sightings: Sequence[Sighting], *, trust: bool = False) -> Identity:
    """Hold what images say of their patients against the table, in both directions.

    Parameters
    ----------
    sightings : sequence of Sighting
        One per row, in the table's order.
    trust : bool
        Headers that contradict the table are notes, not problems; equal pixels stay problems.
    """
    everyone = {one.case.patient_id for one in sightings}
    ids, dummies, notes = _patient_ids(sightings, len(everyone))
    conflicts = _split_over_ids(sightings, ids, "Patient ID (0010,0020)", set())
    told = {names for names, _ in conflicts}
    for title, attribute in (("Study Instance UID (0020,000D)", "study"), ("SOP Instance UID (0008,0018)", "instance")):
        found = {n: value for n, one in enumerate(sightings) if (value := getattr(one.person, attribute))}
        for value in _shared_by_nearly_all(sightings, found, len(everyone)):
            found = {n: each for n, each in found.items() if each != value}
        more = _split_over_ids(sightings, found, title, told)
        told |= {names for names, _ in more}
        conflicts += more
    contradictions = [problem for _, problem in conflicts] + _joined_under_one(sightings, ids)
    pixels, several = _same_pictures(sightings)
    notes += several
    summary = {
        "images": len(sightings),
        "with_patient_id": len(ids),
        "placeholders": dummies,
        "conflicts": len(contradictions) + len(pixels),
        "trusted": trust,
    }
    if trust:
        notes += [Problem(one.row, one.column, f"{one.text}. The table was trusted") for one in contradictions]
        return Identity(tuple(pixels), tuple(notes), summary)
    problems = [Problem(one.row, one.column, f"{one.text}; {TRUST}") for one in contradictions]
    return Identity((*pixels, *problems), tuple(notes), summary)


def check_identities(
    cohort: Cohort,
    store: PatchStore,
    *,
    trust: bool = False,
) -> Identity:
    """Compare the images of a cohort that has been read, and refuse it where they contradict the table.

    Parameters
    ----------
    cohort : Cohort
    store : PatchStore
        Its patches, which know the hashes of the images.
    trust : bool
        As `compare_identities`.

    Raises
    ------
    CohortError
        The first problem, with the number of all.
    """
    people: dict[str, Person] = {}
    pixels: dict[int, str] = {}
    lesions: dict[int, list[Hashable]] = defaultdict(list)
    for n, meta in zip(store.case_index.tolist(), store.meta, strict=True):
        pixels[n] = meta["pixels"]
        lesions[n].append(tuple(sorted(meta["geometry"].items(), key=str)))
    sightings = []
    for n, case in enumerate(cohort.cases):
        file = str(case.image)
        if file not in people:
            try:
                people[file] = read_person(file)
            except (MolSubError, OSError):  # its patches were read before; now it is gone, and says nothing
                people[file] = Person()
        sightings.append(Sighting(case, people[file], pixels.get(n, ""), repr(lesions[n])))
    found = compare_identities(sightings, trust=trust)
    if found.problems:
        first = found.problems[0]
        text = f"image {first.text}" if first.column == "image" else first.text
        if len(found.problems) > 1:
            text += f" (and {len(found.problems) - 1} more problem(s) of this kind)"
        raise CohortError(f"row {first.row}", text, "molsub cohort check lists all such rows")
    return found


def _patient_ids(sightings: Sequence[Sighting], count: int) -> tuple[dict[int, Hashable], int, list[Problem]]:
    """Patient ID and issuer by position, without placeholders; how many images have one; and the note about them."""
    given = {n: one.person.patient_id for n, one in enumerate(sightings) if one.person.patient_id}
    dummies = {value for value in given.values() if is_placeholder(value)}
    dummies |= _shared_by_nearly_all(sightings, given, count)
    issuers: dict[str, set[str]] = defaultdict(set)
    for n, value in given.items():
        issuers[value].add(sightings[n].person.issuer)
    ids: dict[int, Hashable] = {}
    for n, value in given.items():
        if value not in dummies:
            # An issuer counts only where the same number comes from several: few archives write it everywhere.
            several = len(issuers[value] - {""}) > 1
            ids[n] = (value, sightings[n].person.issuer) if several else (value, "")
    images = sum(value in dummies for value in given.values())
    notes = []
    if images and count > 1:
        text = (
            f"{images} of {len(sightings)} images have a placeholder for their Patient ID, so that it could not be "
            "held against the table"
        )
        notes.append(Problem(None, "patient_id", text))
    return ids, images, notes


def _shared_by_nearly_all(sightings: Sequence[Sighting], values: Mapping[int, Hashable], count: int) -> set[Any]:
    """Values that nearly all of the table's ids have: put there by whoever anonymised the images."""
    holders: dict[Hashable, set[str]] = defaultdict(set)
    for n, value in values.items():
        holders[value].add(sightings[n].case.patient_id)
    return {value for value, names in holders.items() if len(names) >= max(_FEWEST, _SHARE * count)}


def _split_over_ids(
    sightings: Sequence[Sighting], values: Mapping[int, Hashable], title: str, told: set[frozenset[str]]
) -> list[tuple[frozenset[str], Problem]]:
    """Values that stand under several ids of the table, but for ids that were told together before."""
    groups: dict[Hashable, list[Sighting]] = defaultdict(list)
    for n, value in values.items():
        groups[value].append(sightings[n])
    found = []
    for group in groups.values():
        names = frozenset(one.case.patient_id for one in group)
        if len(names) < 2 or any(names <= earlier for earlier in told):
            continue
        second = next(one for one in group if one.case.patient_id != group[0].case.patient_id)
        text = (
            f"rows {_rows(group)} are of one patient by the {title} of their images, the table has {len(names)} ids "
            f"for them{_evidence(group)}: parts of one patient would lie in training and test set. Give these rows "
            "one patient_id"
        )
        found.append((names, Problem(second.case.row, "patient_id", text)))
    return found


def _joined_under_one(sightings: Sequence[Sighting], values: Mapping[int, Hashable]) -> list[Problem]:
    """Ids of the table under which several Patient IDs stand."""
    groups: dict[str, dict[Hashable, list[Sighting]]] = defaultdict(lambda: defaultdict(list))
    for n, value in values.items():
        groups[sightings[n].case.patient_id][value].append(sightings[n])
    found = []
    for parts in groups.values():
        if len(parts) > 1:
            second = list(parts.values())[1]
            rows = "; ".join(_rows(part) for part in list(parts.values())[:_ROWS_TOLD])
            text = (
                f"this patient_id is that of images of {len(parts)} different Patient IDs (0010,0020), in rows {rows}"
                f"{_evidence([one for part in parts.values() for one in part])}: different patients would be averaged "
                "into one. Give each patient an id of their own, as text: a spreadsheet may have rounded long numbers"
            )
            found.append(Problem(second[0].case.row, "patient_id", text))
    return found


def _same_pictures(sightings: Sequence[Sighting]) -> tuple[list[Problem], list[Problem]]:
    """The same pixels under two patients, or twice with one lesion: problems; twice with two lesions: a note."""
    first: dict[str, Sighting] = {}
    lesions: dict[Hashable, Sighting] = {}
    found, twice = [], []
    for one in sightings:
        if not one.pixels:
            continue
        earlier = first.setdefault(one.pixels, one)
        if earlier.case.patient_id != one.case.patient_id:
            text = f"has the same pixels as row {earlier.case.row}, which is another patient"
            found.append(Problem(one.case.row, "image", f"{text}; leave out one, or give both one patient_id"))
            continue
        earlier = lesions.setdefault((one.pixels, one.lesion), one) if one.lesion is not None else one
        if earlier is not one and (str(earlier.case.image), str(earlier.case.lesion)) != (
            str(one.case.image),
            str(one.case.lesion),
        ):
            text = f"has the same pixels and the same lesion as row {earlier.case.row}: it would count twice"
            found.append(Problem(one.case.row, "image", f"{text}; leave out one of them"))
        elif earlier is one and first[one.pixels] is not one:
            twice.append(one)
    notes = []
    if twice:
        text = (
            f"rows {_rows(twice)} show an image of an earlier row with another lesion: each row counts as an image of "
            "its own in means per patient. One mask with all lesions of the image counts once"
        )
        notes.append(Problem(None, "image", text))
    return found, notes


def _rows(group: Iterable[Sighting]) -> str:
    numbers = sorted({one.case.row for one in group})
    told = ", ".join(map(str, numbers[:_ROWS_TOLD]))
    return told if len(numbers) <= _ROWS_TOLD else f"{told} and {len(numbers) - _ROWS_TOLD} more"


def _evidence(group: Sequence[Sighting]) -> str:
    """Whether names and birth dates speak for one patient or for several."""
    words = []
    for title, attribute in (("birth dates", "birth_date"), ("names", "name")):
        values = {value for one in group if (value := getattr(one.person, attribute)) and not is_placeholder(value)}
        told = sum(bool(getattr(one.person, attribute)) for one in group)
        if len(values) > 1:
            words.append(f"their {title} differ")
        elif values and told == len(group):
            words.append(f"their {title} agree")
    return f" ({', '.join(words)})" if words else ""
