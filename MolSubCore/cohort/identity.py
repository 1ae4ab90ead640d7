"""Whose images they are: what image files say of their patients, held against the table's patient_id.

One patient under two ids lies in the training and in the test set; two patients under one id have each other's
subtype. Neither can be seen in any figure afterwards. Compared are Patient ID with its issuer, name with birth date,
sex, Accession Number, Study, SOP Instance and Frame of Reference UID, the days of the exams, and the pixels
themselves. None of it is written or printed: rows are named by their numbers.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MolSubCore.cohort.looks import copies, look_of
from MolSubCore.cohort.mask_names import misnamed_masks, parts_of_names
from MolSubCore.cohort.names import is_neutral
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.table import Case, Cohort, Problem
from MolSubCore.cohort.table_files import column_name, row_list
from MolSubCore.errors import CohortError, MolSubError, counted
from MolSubCore.files import sha256_file
from MolSubCore.imaging.io.reader import read_person
from MolSubCore.imaging.mammogram import Mammogram, Person, is_placeholder, maker_name
from MolSubCore.imaging.view_text import without_accents
from MolSubCore.lesions.lesion import LesionSet

#: A value that this share of the table's ids have, and at least so many of them, is what an anonymiser wrote, unless
#: all speaks for one person (`_is_one_person`).
_SHARE, _FEWEST = 0.8, 4
#: So many patients, and so many rows for each that differs, must have their id from the header to say that it is so.
_AGREE = 3
#: Of more names with one birth date that date is rather nobody's: only equal ones are taken as one person's.
_ONE_DAY = 200
_TITLES = frozenset(
    ("dr", "prof", "professor", "med", "dent", "phd", "md", "mag", "dipl", "ing", "frau", "herr", "mrs", "mr", "ms",
     "miss", "mme", "mlle", "sra", "dra")
)  # fmt: skip
_PARTICLES = frozenset(
    ("von", "van", "de", "der", "den", "dem", "di", "da", "del", "della", "dos", "du", "la", "le", "el", "al", "bin",
     "ben", "zu", "zur", "zum")
)  # fmt: skip
#: Ids of fewer signs are found in names by chance.
_LONG = 3
_ROWS_TOLD = 12

#: Birth dates that stand for none, as anonymisers write them.
_NO_DATES = {"19000101", "19010101", "18991230", "18991231", "19700101", "20000101", "18581117"}
#: A name with so many birth dates is what somebody wrote over the names.
_LABEL = 3
_AGE = re.compile(r"0*(\d{1,3})y")
#: Columns of a patient's age, and by how many years it may differ from the one in the image's header: at diagnosis, at
#: operation.
_AGES, _YEARS = frozenset({"age", "patient_age", "age_years", "alter", "edad", "eta", "年龄"}), 3
#: Letters that are written as two as well (MÜLLER, MUELLER), and letters that are not made of a plain one and a sign.
_TWO_LETTERS = re.compile("(?<=[aou])e")
_PLAIN = str.maketrans({"ø": "o", "æ": "a", "œ": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
#: Days from which images of one breast are of two exams: a work-up ends within weeks, chemotherapy lasts months.
_EXAMS_DAYS = 60

#: What is said of pictures that look alike.
COPIES = "show nearly the same picture, like copies that were resaved, slightly cropped or displayed differently"
#: How to fix it.
TRUST = "if the table is right and the headers are not, add --trust-ids"
_TRUST_OVER_NAMES = "if the table is right and the names of the files are not, add --trust-ids"


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
    look : str
        `look_of` the image; empty where it is not known.
    side, view : str
        Of the breast, by the image: ``L``, ``R`` or empty; and in short form, or empty.
    """

    case: Case
    person: Person = field(default=Person(), repr=False)
    pixels: str = ""
    lesion: Hashable = None
    look: str = field(default="", repr=False)
    side: str = ""
    view: str = ""


@dataclass(frozen=True)
class Identity:
    """What came of the comparison.

    Attributes
    ----------
    problems, notes : tuple of Problem
    summary : dict
        Counts for the record of a run: ``images``, ``with_patient_id`` (without placeholders), ``conflicts``,
        ``trusted`` (whether the table was taken at its word all the same).
    foreign : tuple of Problem
        Why what comes of a row would be another patient's, or a mean over two: those of `problems` that say so, with
        each row whose image is another id's. None where the table is trusted.
    """

    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    summary: dict[str, int | bool]
    foreign: tuple[Problem, ...] = ()


def look_alikes(sightings: Sequence[Sighting]) -> tuple[list[Problem], list[Problem]]:
    """Rows whose pictures are nearly the same, also as negatives, turned or mirrored: of several ids, and of one.

    Equal pixels are told elsewhere, and left out.
    """
    seen = [one for one in sightings if one.look]
    if len(seen) < 2:
        return [], []
    between, within = list(range(len(seen))), list(range(len(seen)))
    for n, other in copies([one.look for one in seen]):
        first, second = seen[n], seen[other]
        if not (first.pixels and first.pixels == second.pixels):
            group = between if first.case.patient_id != second.case.patient_id else within
            low, high = sorted((_root(group, n), _root(group, other)))
            group[high] = low
    problems, notes, count = [], [], len({one.case.patient_id for one in sightings})
    common: set[int] = set()
    for own in _groups(between, seen):
        ids = len({one.case.patient_id for one in own})
        second = next(one for one in own if one.case.patient_id != own[0].case.patient_id)
        if ids >= max(_FEWEST, _SHARE * count):  # such as pictures of one phantom
            text = f"nearly all pictures look alike ({_rows(own)}), so that copies cannot be recognised"
            notes.append(Problem(second.case.row, "image", text, 6, _numbers(own)))
            common |= set(_numbers(own))
            continue
        text = (
            f"{_rows(own)} {COPIES}, under different values of patient_id: one patient would count as two, "
            "perhaps in training and test set. Look at them; leave out all but one, or give them one patient_id"
        )
        problems.append(Problem(second.case.row, "image", text, 9, _numbers(own)))
    for own in _groups(within, seen):
        if common & set(_numbers(own)):
            continue
        text = f"{_rows(own)} {COPIES}, under one patient_id: it would count several times"
        if any(len({get(one) for one in own} - {""}) > 1 for get in (_side, _view)):  # such as both breasts, mirrored
            notes.append(Problem(own[1].case.row, "image", f"{text}. Look at them", 6, _numbers(own)))
        else:
            problems.append(Problem(own[1].case.row, "image", f"{text}; leave out all but one", 9, _numbers(own)))
    return problems, notes


def _side(one: Sighting) -> str:
    return one.side or one.case.side or ""


def _view(one: Sighting) -> str:
    return one.view or one.case.view or ""


def _root(group: list[int], n: int) -> int:
    while group[n] != n:
        n = group[n]
    return n


def _groups(group: list[int], seen: Sequence[Sighting]) -> list[list[Sighting]]:
    found: dict[int, list[Sighting]] = defaultdict(list)
    for n, one in enumerate(seen):
        found[_root(group, n)].append(one)
    return [own for own in found.values() if len(own) > 1]


def same_ids(values: Iterable[str]) -> dict[str, str]:
    """Patient IDs, each with one spelling for all that differ in leading zeros, separators and capitals only.

    ``1-71`` and ``17-1`` stay two; ``1-71`` and ``171`` are one, and so are ``01 71`` and ``1-71``.
    """
    forms: dict[str, set[str]] = defaultdict(set)
    parted, joined = {}, {}
    for value in set(values):
        words = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", value).casefold()).strip()
        parted[value] = re.sub(r"(?<!\d)0+(?=\d)", "", words)
        joined[value] = re.sub(r"(?<!\d)0+(?=\d)", "", words.replace(" ", ""))
        if " " in words:
            forms[joined[value]].add(parted[value])
    return {value: joined[value] if len(forms[joined[value]]) <= 1 else parted[value] for value in parted}


def birth_of(person: Person) -> str:
    """The birth date as ``YYYYMMDD``, 01 for what is left out; empty where there is none, or what stands for none."""
    digits = re.sub(r"\D", "", person.birth_date)
    digits += {4: "0101", 6: "01"}.get(len(digits), "")
    date = _date(digits)
    return digits if date and digits not in _NO_DATES and 1890 <= date.year <= 2015 else ""


def _date(digits: str) -> datetime.date | None:
    """The day of eight digits, or None where there is no such day."""
    try:
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) if len(digits) == 8 else None
    except ValueError:
        return None


def _words(person: Person) -> frozenset[str]:
    """The parts of a name, whatever their order and accents (ü is ue is u); empty where it is none."""
    return frozenset() if is_placeholder(person.name) else frozenset(_in_order(person.name))


def _in_order(name: str) -> list[str]:
    plain = _TWO_LETTERS.sub("", without_accents(name.casefold().translate(_PLAIN)))
    return re.findall(r"[^\W\d_]{2,}|\w+", plain)


def names_alike(one: Person, other: Person) -> bool:
    """Whether two names may be one person's: of one family name a part may lack, given names may be initials.

    Titles, hyphens, blanks, capitals and accents do not count.
    """
    if not (_words(one) and _words(other)):
        return False
    return _words(one) == _words(other) or any(
        _alike(*first, *second) for first in _family_and_given(one) for second in _family_and_given(other)
    )


def _family_and_given(person: Person) -> list[tuple[list[str], list[str]]]:
    """The words of family and given names in each script; all among the given ones where nothing parts them."""
    found = []
    for text in (person.written or person.name).split("="):
        family, *rest = text.split("^")[:3]
        if not any(map(str.strip, rest)):
            family, _, given = family.rpartition(",")
            rest = [given]
        parts = [[word for word in _in_order(part) if word not in _TITLES] for part in (family, " ".join(rest))]
        if any(parts):
            found.append((parts[0], parts[1]))
    return found


def _alike(family: Sequence[str], given: Sequence[str], family2: Sequence[str], given2: Sequence[str]) -> bool:
    if not (family and given and family2 and given2):  # in one of them the order is open
        words, words2 = ({word for word in (*f, *g) if len(word) > 1} for f, g in ((family, given), (family2, given2)))
        return len(words & words2) > 1 and (words <= words2 or words2 <= words)
    own, own2 = set(family) - _PARTICLES, set(family2) - _PARTICLES
    same = "".join(family) == "".join(family2) or (own and own2 and (own <= own2 or own2 <= own))
    return bool(same) and _given_alike(given, given2)


def _given_alike(given: Sequence[str], given2: Sequence[str]) -> bool:
    """Whether all given names of one are among the other's, or their initials are; ``Anna`` is not ``Lena``."""
    if "".join(given) == "".join(given2):
        return True
    if all(one == other or (1 in map(len, (one, other)) and one[0] == other[0]) for one, other in zip(given, given2)):  # noqa: B905
        return True
    whole, whole2 = ({word for word in each if len(word) > 1} for each in (given, given2))
    return bool(whole and whole2) and (whole <= whole2 or whole2 <= whole)


def differences(people: Iterable[Person]) -> tuple[list[str], list[str]]:
    """In what the headers of images of one patient contradict each other: surely, and perhaps.

    Names change and are spelt in many ways: where birth dates agree, or a part of the name does, they are no proof.
    Of anonymised birth dates often only the year or the month is left.
    """
    people = list(people)
    births = {birth for person in people if (birth := birth_of(person))}
    # A first of January, or of a month, may be all that is left of the other date.
    cut = {birth: (birth.removesuffix("0101"), birth.removesuffix("01")) for birth in births}
    kept = {birth for birth in births if not any(other != birth and other.startswith(cut[birth]) for other in births)}
    names = list(dict.fromkeys(words for person in people if (words := _words(person))))
    sure: list[str] = []
    perhaps: list[str] = []
    if len(kept) > 1:
        sure.append("different birth dates")
    if {"f", "m"} <= {person.sex for person in people}:
        sure.append("different sexes (F and M)")
    if not births and _ages_apart(people):
        several = len({person.age for person in people if person.age}) > 1
        sure.append("different ages" if several else "one age on days years apart")
    if len(names) > 1:
        apart = any(not one & other for one in names for other in names)
        known = all(birth_of(person) for person in people) and len(kept) == 1
        (sure if sure or (apart and not known) else perhaps).append("different names")
    return sure, perhaps


def _ages_apart(people: Sequence[Person]) -> bool:
    """Whether ages cannot be of one person: with the day of the exam by years, without it by decades."""
    ages = [(int(found[1]), _date(one.examined)) for one in people if (found := _AGE.fullmatch(one.age))]
    born = [day.year - age for age, day in ages if day]
    years = [age for age, _ in ages]
    return (len(born) > 1 and max(born) - min(born) > 2) or (len(years) > 1 and max(years) - min(years) > 15)


def told_differences(found: Sequence[str]) -> str:
    """`differences` in words."""
    return f"the images have {' and '.join(found)} in their headers"


def several_exams(breast: str, images: Iterable[tuple[Person, str]]) -> str:
    """That images which are averaged are of several exams, without a full stop; empty where they are not.

    Parameters
    ----------
    breast : str
        What they show, such as ``left breast``.
    images : iterable of (Person, str)
        Header and view of each, the view empty where it or the breast is not known.
    """
    images = list(images)
    days = sorted(day for one, _ in images if (day := _date(one.examined)) and 1960 <= day.year <= 2100)
    apart = (days[-1] - days[0]).days if days else 0
    if apart >= _EXAMS_DAYS:
        what = f"exams {f'{apart / 365.25:.1f} years' if apart >= 365 else f'{apart / 30.44:.0f} months'} apart"
    elif evidence := _other_exam(images, dated=len(days) == len(images)):
        what = f"several exams ({evidence})"
    else:
        return ""
    return (
        f"The images of the {breast} are from {what}, and the result is a mean over them: leave out the exam that does "
        "not belong"
    )


def _other_exam(images: Sequence[tuple[Person, str]], *, dated: bool) -> str:
    """By what images of one breast, none far from the other in time, are of several exams; empty where they are not.

    Parameters
    ----------
    dated : bool
        Whether the day of every exam is known: a work-up within weeks, on one machine, is one exam.
    """
    studies: dict[str, set[str]] = defaultdict(set)
    for one, view in images:
        studies[view].add(one.study)
    if len(set().union(*studies.values()) - {""}) < 2:
        return ""
    ages = sorted({int(found[1]) for one, _ in images if (found := _AGE.fullmatch(one.age))})
    makers = sorted({maker_name(one.maker) for one, _ in images if one.maker})
    words = ["their Study Instance UIDs differ"]
    words += [f"ages {' and '.join(map(str, ages))}"] if len(ages) > 1 and not dated else []
    words += [f"made by {' and '.join(makers)}"] if len(makers) > 1 else []
    again = any(len(own - {""}) > 1 for view, own in studies.items() if view)
    return "; ".join(words) if len(words) > 1 or (again and not dated) else ""


def compare_identities(sightings: Sequence[Sighting], *, trust: bool = False) -> Identity:
    """Hold what images say of their patients against the table, in both directions.

    Parameters
    ----------
    sightings : sequence of Sighting
        One per row, in the table's order.
    trust : bool
        Headers that contradict the table are notes, not problems, and so are pictures that look alike; equal pixels
        stay problems.
    """
    everyone = {one.case.patient_id for one in sightings}
    ids, dummies, notes = _patient_ids(sightings, len(everyone))
    conflicts = _split_over_ids(sightings, ids, "Patient ID (0010,0020)", set())
    told = {names for names, _ in conflicts}
    for title, found in (
        ("Study Instance UID (0020,000D)", _values(sightings, "study")),
        ("Series Instance UID (0020,000E)", _values(sightings, "series")),
        ("SOP Instance UID (0008,0018)", _values(sightings, "instance")),
        ("Other Patient ID (0010,1000)", _other_ids(sightings, ids, len(everyone))),
        ("Clinical Trial Subject ID (0012,0040)", _subjects(sightings)),
        ("name and birth date (0010,0010 and 0010,0030)", _named(sightings)),
        ("Accession Number (0008,0050)", _values(sightings, "accession")),
        ("Frame of Reference UID (0020,0052)", _values(sightings, "frame")),
    ):
        for value in _shared_by_nearly_all(sightings, found, len(everyone)):
            found = {n: each for n, each in found.items() if each != value}
        more = _split_over_ids(sightings, found, title, told)
        if re.search("0008,0050|0010,1000|0012,0040", title):  # every hospital has its own count of them
            by_chance = [_shared_number(sightings, problem, title) for _, problem in more]
            notes += [note for note in by_chance if note is not None]
            more = [entry for entry, note in zip(more, by_chance, strict=True) if note is None]
        told |= {names for names, _ in more}
        conflicts += more
    joined = _joined_under_one(sightings, ids)
    notes += _of_unknown_side(sightings)
    more_joined, doubtful = _contradicting(sightings, {problem.row for problem in joined})
    alike, twice = look_alikes(sightings)
    contradictions = [problem for _, problem in conflicts] + joined + more_joined
    exchanged = _named_otherwise(sightings, ids)
    said = {row for problem in contradictions for row in problem.rows}
    contradictions += [problem for problem in exchanged if not said.issuperset(problem.rows)]
    by_name = [one for one in _named_after_others(sightings, ids) if not said.issuperset(one.rows)]
    misnamed, doubtful_names = _misnamed_masks(sightings)
    by_name += misnamed
    notes += doubtful_names
    pixels, several = _same_pictures(sightings)
    notes += [*several, *doubtful, *twice, *_namesakes(sightings, ids, told), *_of_several_exams(sightings)]
    notes += _of_other_ages(sightings)
    notes += _many_of_one_view(sightings)
    summary = {
        "images": len(sightings),
        "with_patient_id": len(ids),
        "placeholders": dummies,
        "conflicts": len(contradictions) + len(by_name) + len(pixels) + len(alike),
        "trusted": trust,
    }
    contradictions += alike
    if trust:
        notes += [
            Problem(one.row, one.column, f"{one.text}. The table was trusted", one.weight, one.rows)
            for one in (*contradictions, *by_name)
        ]
        return Identity(tuple(pixels), tuple(notes), summary)
    told_by_names = _or_trusted(by_name, _TRUST_OVER_NAMES)
    foreign = (*_or_trusted([*joined, *more_joined, *exchanged]), *told_by_names)
    return Identity((*pixels, *_or_trusted(contradictions), *told_by_names), tuple(notes), summary, foreign)


def _of_other_ages(sightings: Sequence[Sighting]) -> list[Problem]:
    """Images whose header tells another age than the table: a column may have been sorted alone."""
    names = dict.fromkeys(name for one in sightings for name in one.case.extra)
    column = next((name for name in names if column_name(name) in _AGES), "")
    rows: list[int] = []
    example = ""
    for one in sightings if column else ():
        found, cell = _AGE.fullmatch(one.person.age), one.case.extra.get(column, "").strip().replace(",", ".")
        if not found or not re.fullmatch(r"\d{1,3}(\.\d+)?", cell) or abs(int(found[1]) - float(cell)) <= _YEARS:
            continue
        rows.append(one.case.row)
        example = example or f"{column} {cell}, by the image's header {int(found[1])}"
    if not rows:
        return []
    others = f" (and {counted(len(rows) - 1, 'more row')} like it)" if len(rows) > 1 else ""
    cause = "a column may have been sorted alone, or the ages in the headers were changed"
    text = f"{example}{others}: {cause}. Look at them"
    return [Problem(rows[0], "image", text, 6, tuple(rows))]


def _or_trusted(problems: Iterable[Problem], way_out: str = TRUST) -> tuple[Problem, ...]:
    """Problems with how to fix them."""
    return tuple(Problem(one.row, one.column, f"{one.text}; {way_out}", one.weight, one.rows) for one in problems)


def _values(sightings: Sequence[Sighting], attribute: str) -> dict[int, Hashable]:
    """An attribute of the images' headers by position, without what stands for none."""
    found = {n: str(getattr(one.person, attribute)) for n, one in enumerate(sightings)}
    # A frame of DICOM's own, as of a standard brain, is nobody's.
    return {n: v for n, v in found.items() if v and not is_placeholder(v) and not v.startswith("1.2.840.10008.")}


def _other_ids(sightings: Sequence[Sighting], ids: Mapping[int, Hashable], count: int) -> dict[int, Hashable]:
    """One id by position for all images that share one: their Patient ID, or a further one that they name."""
    known: dict[str, set[Hashable]] = defaultdict(set)
    holders: dict[str, set[str]] = defaultdict(set)
    for n, one in enumerate(sightings):
        if n in ids:
            known[one.person.patient_id].add(ids[n])
        for other in one.person.others:
            holders[other].add(one.case.patient_id)
    common = {other for other, own in holders.items() if len(own) >= max(_FEWEST, _SHARE * count)}
    numbers: dict[Hashable, int] = {}
    group: list[int] = []
    named: dict[int, int] = {}
    for n, one in enumerate(sightings):
        tokens = [ids[n]] if n in ids else []
        for other in one.person.others:
            if len(known.get(other, ())) == 1:  # of several issuers nobody knows whose it is
                tokens += known[other]
            elif not (other in known or other in common or _is_nobodys(other)):
                tokens.append(other)
        for each in tokens:
            if each not in numbers:
                numbers[each] = len(group)
                group.append(len(group))
            low, high = sorted((_root(group, named.setdefault(n, numbers[each])), _root(group, numbers[each])))
            group[high] = low
    return {n: _root(group, number) for n, number in named.items()}


def _is_nobodys(other_id: str) -> bool:
    """Whether a further id is rather what stands for none."""
    return len(other_id) < _LONG or is_placeholder(other_id)


def _subjects(sightings: Sequence[Sighting]) -> dict[int, Hashable]:
    """Subject of a clinical trial by position; where the same number is of several trials, with its trial."""
    trials: dict[str, set[str]] = defaultdict(set)
    for one in sightings:
        trials[one.person.subject].add(one.person.protocol)
    found = _values(sightings, "subject")
    several = {subject for subject, own in trials.items() if len(own - {""}) > 1}
    return {n: (v, sightings[n].person.protocol if v in several else "") for n, v in found.items()}


def _named(sightings: Sequence[Sighting]) -> dict[int, Hashable]:
    """Name with birth date by position, where both are known; one value for all names that may be one person's."""
    found = {n: (_words(one.person), birth_of(one.person)) for n, one in enumerate(sightings)}
    births: dict[frozenset[str], set[str]] = defaultdict(set)
    for name, birth in found.values():
        births[name].add(birth)
    known = {n: one for n, one in found.items() if all(one) and len(births[one[0]] - {""}) < _LABEL}
    group = list(range(len(sightings)))
    equal: dict[tuple[frozenset[str], str], int] = {}
    days: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for n, one in known.items():
        person = sightings[n].person
        group[n] = _root(group, equal.setdefault(one, n))
        days[one[1]].setdefault((person.name, person.written), n)
    for own in days.values():
        for n, other in itertools.combinations(own.values(), 2) if len(own) < _ONE_DAY else ():
            if names_alike(sightings[n].person, sightings[other].person):
                low, high = sorted((_root(group, n), _root(group, other)))
                group[high] = low
    return {n: _root(group, n) for n in known}


def _contradicting(sightings: Sequence[Sighting], told: set[int | None]) -> tuple[list[Problem], list[Problem]]:
    """Ids of the table whose images contradict each other in birth date, sex or name: problems, and notes."""
    groups: dict[str, list[Sighting]] = defaultdict(list)
    for one in sightings:
        groups[one.case.patient_id].append(one)
    sure, perhaps = [], []
    for own in groups.values():
        if told & {one.case.row for one in own}:
            continue
        wrong, doubtful = differences(one.person for one in own)
        if wrong:
            text = (
                f"{_rows(own)} have one patient_id, and {told_differences(wrong + doubtful)}: different patients "
                "would be averaged into one. Give each patient an id of their own, or correct the headers"
            )
            sure.append(Problem(own[1].case.row, "patient_id", text, 9, _numbers(own)))
        elif doubtful:
            text = f"{_rows(own)} have one patient_id, and {told_differences(doubtful)}"
            perhaps.append(Problem(own[1].case.row, "patient_id", text, 6, _numbers(own)))
    return sure, perhaps


def _namesakes(sightings: Sequence[Sighting], ids: Mapping[int, Hashable], told: set[frozenset[str]]) -> list[Problem]:
    """Ids of the table with one name, of whom no Patient ID and no birth date says whether they are one person."""
    groups: dict[frozenset[str], list[Sighting]] = defaultdict(list)
    births: dict[frozenset[str], set[str]] = defaultdict(set)
    for n, one in enumerate(sightings):
        if len(words := _words(one.person)) > 1:
            births[words].add(birth_of(one.person))
            if n not in ids and not birth_of(one.person):
                groups[words].append(one)
    found = []
    for words, own in groups.items():
        names = frozenset(one.case.patient_id for one in own)
        known = any(names <= earlier for earlier in told) or len(births[words] - {""}) >= _LABEL
        if len(names) > 1 and not known:
            text = f"{_rows(own)} have one name in the headers of their images, under {len(names)} ids of the table"
            found.append(Problem(own[1].case.row, "patient_id", text, 6, _numbers(own)))
    return found


def _of_several_exams(sightings: Sequence[Sighting]) -> list[Problem]:
    """Images of one breast, which are averaged, of several exams."""
    groups: dict[tuple[str, str, str], list[Sighting]] = defaultdict(list)
    for one in sightings:
        groups[one.case.patient_id, _side(one), one.case.lesion_id].append(one)
    found = []
    for (_, side, _), own in groups.items():
        if text := several_exams(breast_name(side), ((one.person, _view(one) if side else "") for one in own)):
            found.append(Problem(own[1].case.row, "image", f"{_rows(own)}: {text}", 7, _numbers(own)))
    return found


def _many_of_one_view(sightings: Sequence[Sighting]) -> list[Problem]:
    """Ids with three or more pictures of the same side and view, as where several patients have one id."""
    groups: dict[tuple[str, str, str], dict[str, list[Sighting]]] = defaultdict(lambda: defaultdict(list))
    for one in sightings:
        if one.pixels and _side(one) and one.view:
            groups[one.case.patient_id, _side(one), one.view][one.pixels].append(one)
    found = []
    for (_, side, view), pictures in groups.items():
        if len(pictures) > 2:
            own = [one for group in pictures.values() for one in group]
            text = (
                f"{_rows(own)}: one patient_id has {len(pictures)} images of the {breast_name(side)} in {view}, "
                "which would be averaged. If they are of several patients, give each an id of their own"
            )
            found.append(Problem(own[0].case.row, "patient_id", text, 7, _numbers(own)))
    return found


def _of_unknown_side(sightings: Sequence[Sighting]) -> list[Problem]:
    """Patients with several images of which one does not say its side, nor does its row: which are averaged is open."""
    groups: dict[str, list[Sighting]] = defaultdict(list)
    for one in sightings:
        groups[one.case.patient_id].append(one)
    rows = [one for own in groups.values() if len({each.pixels for each in own}) > 1 for one in own if not _side(one)]
    if not rows:
        return []
    text = (
        f"{_rows(rows)}: no side of the breast is told, and the patient has several images: images of "
        "unknown side are averaged as views of one breast. Add a column laterality"
    )
    return [Problem(None, "laterality", text, 7)]


def breast_name(side: str | None) -> str:
    """What a side is called: ``left breast``."""
    return {"L": "left breast", "R": "right breast"}.get(side or "", "breast of unknown side")


def _numbers(group: Iterable[Sighting]) -> tuple[int, ...]:
    return tuple(sorted({one.case.row for one in group}))


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
    pixels: dict[int, str] = {}
    lesions: dict[int, list[Hashable]] = defaultdict(list)
    seen: dict[int, dict[str, Any]] = {}
    for n, meta in zip(store.case_index.tolist(), store.meta, strict=True):
        pixels[n], seen[n] = meta["pixels"], meta
        lesions[n].append(tuple(sorted(meta["geometry"].items(), key=str)))
    sightings = []
    for n, (case, person) in enumerate(zip(cohort.cases, people_of(cohort.cases), strict=True)):
        look, side, view = (seen.get(n, {}).get(name) or "" for name in ("look", "laterality", "view"))
        sightings.append(Sighting(case, person, pixels.get(n, ""), repr(lesions[n]), look, side, view))
    found = compare_identities(sightings, trust=trust)
    found = replace(found, notes=(*found.notes, *shared_masks(cohort.cases, (*found.problems, *found.notes))))
    if found.problems:
        first = found.problems[0]
        text = f"image {first.text}" if first.column == "image" else first.text
        if len(found.problems) > 1:
            text += f" (and {counted(len(found.problems) - 1, 'more problem')} of this kind)"
        raise CohortError(f"row {first.row}", text, "molsub cohort check lists all such rows")
    return found


def shared_masks(cases: Iterable[Case], known: Iterable[Problem] = ()) -> list[Problem]:
    """One mask for several images, as one file or as copies of it: each image has its own outline, whatever its size.

    Parameters
    ----------
    cases : iterable of Case
    known : iterable of Problem
        What is told of images: of rows with one picture a copied mask is no news.
    """
    cases = list(cases)
    same = [set(one.rows) for one in known if one.column == "image"]
    found = []
    first: dict[Hashable, Case] = {}
    copied = _masks_with_copies(cases)
    for case in cases:
        earlier = first.setdefault(case.mask, case) if case.mask else case
        words = "is that"
        if earlier is case and case.mask in copied:
            earlier = first.setdefault(copied[case.mask], case)
            words = "is a copy of that"
            if any({earlier.row, case.row} <= rows for rows in same):
                continue
        if earlier.image != case.image:
            other = earlier.patient_id != case.patient_id
            text = f"{words} of row {earlier.row}, which is another {'patient' if other else 'image'}"
            found.append(Problem(case.row, "mask", text, 7 if other else 2, (earlier.row, case.row)))
    return found


def _masks_with_copies(cases: Iterable[Case]) -> dict[Path | None, str]:
    """The hashes of mask files of which there may be copies: only files of one size are read."""
    sizes: dict[int, list[Path]] = defaultdict(list)
    for mask in dict.fromkeys(case.mask for case in cases if case.mask):
        with contextlib.suppress(OSError, ValueError):  # told where it is read
            sizes[mask.stat().st_size].append(mask)
    hashes: dict[Path | None, str] = {}
    for files in sizes.values():
        for mask in files if len(files) > 1 else ():
            with contextlib.suppress(OSError):
                hashes[mask] = sha256_file(mask)
    return hashes


def sighting_of(case: Case, mammogram: Mammogram, lesions: LesionSet | None = None) -> Sighting:
    """What a row's image says, once it and its lesions have been read."""
    boxes = None if lesions is None else tuple(lesion.box for lesion in lesions.lesions)
    told = look_of(mammogram), mammogram.laterality or "", mammogram.view or ""
    return Sighting(case, mammogram.person, mammogram.pixel_hash(), boxes, *told)


def people_of(cases: Iterable[Case]) -> list[Person]:
    """Whom the image of each row names, by its header; nobody where it cannot be read."""
    people: dict[str, Person] = {}
    found = []
    for case in cases:
        if (file := str(case.image)) not in people:
            try:
                people[file] = read_person(file)
            except (MolSubError, OSError):  # told where its pixels are read
                people[file] = Person()
        found.append(people[file])
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
    spelt = same_ids(value for value in given.values() if value not in dummies)
    for n, value in given.items():
        if value not in dummies:
            # An issuer counts only where the same number comes from several: few archives write it everywhere.
            several = len(issuers[value] - {""}) > 1
            ids[n] = (spelt[value], sightings[n].person.issuer) if several else (spelt[value], "")
    images = sum(value in dummies for value in given.values())
    notes = []
    if images and count > 1:
        text = (
            f"{images} of {len(sightings)} images have a placeholder for their Patient ID, so that it could not be "
            "compared with the table"
        )
        if shared := sum(value in dummies and not is_placeholder(value) for value in given.values()):
            text += f" ({shared} have one ID under nearly all ids of the table, and nothing says that it is one person)"
        notes.append(Problem(None, "patient_id", text, 7 if shared else 2))
    return ids, images, notes


def _shared_by_nearly_all(sightings: Sequence[Sighting], values: Mapping[int, Hashable], count: int) -> set[Any]:
    """Values that nearly all of the table's ids have: put there by whoever anonymised the images, not one person's."""
    holders: dict[Hashable, list[Sighting]] = defaultdict(list)
    for n, value in values.items():
        holders[value].append(sightings[n])
    return {
        value
        for value, own in holders.items()
        if len({one.case.patient_id for one in own}) >= max(_FEWEST, _SHARE * count)
        and not _is_one_person([one.person for one in own])
    }


def _is_one_person(people: Sequence[Person]) -> bool:
    """Whether images that share a value say themselves that they are of one person: by one birth date, and no more."""
    births = {birth for person in people if (birth := birth_of(person))}
    ids = {person.patient_id for person in people if person.patient_id and not is_placeholder(person.patient_id)}
    sexes = {person.sex for person in people}
    several = len(set(same_ids(ids).values())) > 1 or {"f", "m"} <= sexes or _ages_apart(people)
    return len(births) == 1 and not several


def _shared_number(sightings: Sequence[Sighting], problem: Problem, title: str) -> Problem | None:
    """A note in place of the problem that ids share a number, where it may be two hospitals' by chance."""
    own = [one for one in sightings if one.case.row in problem.rows]
    people, told = [one.person for one in own], problem.text
    days = {person.examined for person in people if person.examined}
    apart = "0008,0050" in title and (
        "Patient IDs differ" in told or len(days) > 1 or len({person.issuer for person in people} - {""}) > 1
    )
    if not ("birth dates differ" in told or (apart and "birth dates agree" not in told)):
        return None
    text = (
        f"{_rows(own)} share one {title} under several ids of the table, as two hospitals may "
        "by chance; check that they are not one patient"
    )
    return Problem(problem.row, problem.column, text, 6, problem.rows)


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
        spelt = "(0010,0020)" in title and len({one.person.patient_id for one in group}) > 1
        how = " (which differ in leading zeros, separators or capitals only)" if spelt else ""
        text = (
            f"{_rows(group)} are of one patient by the {title} of their images{how}, the table has {len(names)} "
            f"ids for them{_evidence(group)}: one patient would count as several, perhaps in training and test set. "
            "Give these rows one patient_id"
        )
        found.append((names, Problem(second.case.row, "patient_id", text, 9, _numbers(group))))
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
                f"this patient_id is that of images of {len(parts)} different Patient IDs (0010,0020), in {rows}"
                f"{_evidence([one for part in parts.values() for one in part])}: different patients would be averaged "
                "into one. Give each patient an id of their own, as text: a spreadsheet may have rounded long numbers"
            )
            numbers = _numbers(one for part in parts.values() for one in part)
            found.append(Problem(second[0].case.row, "patient_id", text, 9, numbers))
    return found


def _named_otherwise(sightings: Sequence[Sighting], ids: Mapping[int, Hashable]) -> list[Problem]:
    """Images whose Patient ID is the `patient_id` of other rows, or none where nearly all others have their own.

    Pseudonyms disagree everywhere; where most agree, a row that does not has another patient's image.
    """
    spelt = same_ids({one.case.patient_id for one in sightings} | {sightings[n].person.patient_id for n in ids})
    owners = {spelt[one.case.patient_id] for one in sightings}
    right, others, strangers = list[Sighting](), list[Sighting](), list[Sighting]()
    for one in (sightings[n] for n in ids):
        told = spelt[one.person.patient_id]
        (right if told == spelt[one.case.patient_id] else others if told in owners else strangers).append(one)
    found = []
    if others:
        text = (
            f"the Patient ID (0010,0020) of the images in {_rows(others)} is the patient_id of other rows: ids or "
            "images were exchanged, as when one column of a table is sorted alone. Correct the rows"
        )
        found.append(Problem(others[0].case.row, "patient_id", text, 9, _numbers(others)))
    patients = len({one.case.patient_id for one in right})
    if strangers and patients >= _AGREE and len(right) >= _AGREE * (len(strangers) + len(others)):
        text = (
            f"the Patient ID (0010,0020) of the images in {_rows(strangers)} is not their patient_id, as it is in "
            f"{counted(len(right), 'other row')}: they show another patient, or an id is misspelt. Correct the rows"
        )
        found.append(Problem(strangers[0].case.row, "patient_id", text, 9, _numbers(strangers)))
    return found


def _named_after_others(sightings: Sequence[Sighting], ids: Mapping[int, Hashable]) -> list[Problem]:
    """Images whose names have the `patient_id` of other rows and not their own, where most names have one.

    Of an image whose header has the row's own id the name is no evidence.
    """
    spelt = same_ids({one.case.patient_id for one in sightings} | {sightings[n].person.patient_id for n in ids})
    told = [[_joined(part) for part in names] for names in parts_of_names([one.case.image for one in sightings])]
    owners = {_joined(one.case.patient_id): one.case for one in reversed(sightings) if _tells(one.case.patient_id)}
    lengths = sorted({len(name) for name in owners}, reverse=True)
    others: list[tuple[Sighting, Case]] = []
    count = 0
    for n, (one, parts) in enumerate(zip(sightings, told, strict=True)):
        own = one.case.patient_id
        if any(_has(part, _joined(own)) for part in parts):
            count += 1
        elif other := next((name for name in (_found(part, owners, lengths) for part in parts) if name), ""):
            count += 1
            if n not in ids or spelt[one.person.patient_id] != spelt[own]:
                others.append((one, owners[other]))
    if not others or 2 * count <= len(sightings):
        return []
    first, owner = others[0]
    rows = [one for one, _ in others]
    text = (
        f"the name of the image of row {first.case.row} has the id of row {owner.row}'s patient and not that of its "
        f"own{_so_also(rows[1:])}: ids or images were exchanged, as when one column of a table is sorted alone. "
        "Correct the rows"
    )
    return [Problem(first.case.row, "patient_id", text, 9, _numbers(rows))]


def _so_also(others: Sequence[Sighting]) -> str:
    return f" (so also {row_list(one.case.row for one in others)})" if others else ""


def _joined(text: str) -> str:
    """A name or an id as they are compared: without capitals, separators as one sign."""
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", text).casefold()).strip("-")


def _tells(patient_id: str) -> bool:
    """Whether an id found in a name is no coincidence: it is no short one, and no word of side, view or mask."""
    return len(_joined(patient_id)) >= _LONG and not is_neutral(patient_id)


def _has(name: str, own: str) -> bool:
    """Whether an id stands in a name, also without its separators; leading zeros do not count."""
    plain = [re.sub(r"(?<!\d)0+(?=\d)", "", text) for text in (name, own)]
    pairs = (name, own), plain, [text.replace("-", "") for text in plain]
    return any(re.search(_whole_number(one), text) for text, one in pairs)


def _whole_number(text: str) -> str:
    """The pattern of a text whose first and last number are no part of longer ones."""
    before, behind = (r"\d" if sign.isdigit() else r"[^\W\w]" for sign in (text[:1], text[-1:]))
    return f"(?<!{before}){re.escape(text)}(?!{behind})" if text else ""


def _found(name: str, owners: Mapping[str, Case], lengths: Sequence[int]) -> str:
    """The longest id that a name begins with, or that is whole words of it; empty where none is."""
    starts = [0, *(found.end() for found in re.finditer("-", name))]
    for length in lengths:
        for start in starts:
            part, behind = name[start : start + length], name[start + length : start + length + 1]
            if part in owners and (not behind.isalnum() or (start == 0 and behind.isdigit() != part[-1].isdigit())):
                return part
    return ""


def _misnamed_masks(sightings: Sequence[Sighting]) -> tuple[list[Problem], list[Problem]]:
    """Masks whose names are those of other images: problems; and those that may be right all the same: notes."""
    cases = [one.case for one in sightings]
    problems, notes = [], []
    for one in misnamed_masks([(case.image, case.mask) for case in cases]):
        row = cases[one.row].row
        text = one.told("" if one.other is None else f"another image of the table, in row {cases[one.other].row}")
        if one.known and not one.close:
            text = f"{text}. Give each image its own mask, and name both alike"
            problems.append(Problem(row, "mask", text, 9, (row,)))
        else:
            notes.append(Problem(row, "mask", f"{text}. Check that it is the mask of this image", 7, (row,)))
    return problems, notes


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
            text += "; leave out one, or give both one patient_id"
            found.append(Problem(one.case.row, "image", text, 9, _numbers((earlier, one))))
            continue
        earlier = lesions.setdefault((one.pixels, one.lesion), one) if one.lesion is not None else one
        if earlier is not one and (str(earlier.case.image), str(earlier.case.lesion)) != (
            str(one.case.image),
            str(one.case.lesion),
        ):
            text = f"has the same pixels and the same lesion as row {earlier.case.row}: it would count twice"
            found.append(Problem(one.case.row, "image", f"{text}; leave out one of them", 9, _numbers((earlier, one))))
        elif earlier is one and first[one.pixels] is not one:
            twice.append(one)
    notes = []
    if twice:
        text = (
            f"{_rows(twice)}: an image of an earlier row again, with another lesion: each row counts as an image of "
            "its own in means per patient. One mask with all lesions of the image counts once"
        )
        notes.append(Problem(None, "image", text))
    return found, notes


def _rows(group: Iterable[Sighting]) -> str:
    """Rows in words, each for itself: ``row 2``, ``rows 2, 3, 4``."""
    numbers = sorted({one.case.row for one in group})
    more = f" and {len(numbers) - _ROWS_TOLD} more" if len(numbers) > _ROWS_TOLD else ""
    return f"row{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:_ROWS_TOLD]))}{more}"


def _evidence(group: Sequence[Sighting]) -> str:
    """Whether names, birth dates, sexes and Patient IDs speak for one patient or for several."""
    people, words = [one.person for one in group], []
    sure, perhaps = differences(people)
    for title, values in (
        ("birth dates", [birth_of(person) for person in people]),
        ("names", [_words(person) for person in people]),
    ):
        if title == "names" and all(values) and all(names_alike(people[0], one) for one in people[1:]):
            words.append("their names agree")
        elif any(title in each for each in (*sure, *perhaps)):
            words.append(f"their {title} differ")
        elif all(values):
            words.append(f"their {title} agree")
    if any("sexes" in each for each in sure):
        words.append("their sexes differ")
    ids = {person.patient_id for person in people if person.patient_id and not is_placeholder(person.patient_id)}
    if len(set(same_ids(ids).values())) > 1:
        words.append("their Patient IDs differ")
    return f" ({', '.join(words)})" if words else ""
