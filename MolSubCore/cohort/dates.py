"""How long before the biopsy patients were imaged, from the dates of a cohort table; no date is kept."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from MolSubCore.cohort.columns import plain
from MolSubCore.cohort.table import Case
from MolSubCore.cohort.table_files import is_missing

#: What dates are of, in English, German, French, Spanish, Italian; as `plain` writes them.
_IMAGING = (
    r"exam|examination|study|imaging|image|images|mammogra(?:phy|m)|mammo|mammographic_exam|acquisition|scan|screening"
    r"|untersuchung|untersuchungs|mammogra(?:ph|f)ie|mammogra(?:ph|f)ie_?untersuchungs?|bild|bildgebung|bildgebungs"
    r"|examen|imagerie|cliche|mamografia|examen|estudio|imagen|esame|mammografia|studio|immagine"
)
_REFERENCE = (
    r"(?:core_?(?:needle_?)?)?biopsy|cnb|surgery|operation|op|resection|excision|pathology|histology|histopathology"
    r"|specimen|(?:stanz)?biopsie|stanze|operations|histologie|pathologie|resektion|resektions"
    r"|chirurgie|intervention|anapath|anatomopathologie|anatomie_pathologique|biopsia|cirugia|operacion|patologia"
    r"|histologia|anatomia_patologica|intervento|chirurgia|operazione|istologia|esame_istologico"
)
_OF = r"(?:_(?:of|der|des|de|du|d|della|dell|dello|del|di)){0,1}(?:_(?:the|la|le|l|el))?"
_DAY = r"(?:date|datum|tag|fecha|data|dt)"


def _pattern(what: str, chinese: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{what})_?{_DAY}|{_DAY}{_OF}_(?:{what})|(?:{chinese})(?:日期|时间)")


_IMAGING_ZH = r"检查|影像(?:学?检查)?|摄片|拍片|(?:乳腺)?(?:钼靶|x线)(?:检查|摄片|摄影)?"
_REFERENCE_ZH = r"(?:空芯针|粗针)?(?:穿刺|活检|穿刺活检)|手术|病理(?:检查|诊断|报告)?|组织学"
_COLUMNS = {"imaging": _pattern(_IMAGING, _IMAGING_ZH), "reference": _pattern(_REFERENCE, _REFERENCE_ZH)}

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = r"(?:[ T]+\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
#: Year first; or day, point, month, as the countries that write points have it; or a month by its name.
_SURE = (
    re.compile(rf"(?P<y>\d{{4}})(?P<s>[-/.])(?P<m>\d{{1,2}})(?P=s)(?P<d>\d{{1,2}}){_TIME}"),
    re.compile(r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})"),
    re.compile(rf"(?P<d>\d{{1,2}})\.\s?(?P<m>\d{{1,2}})\.\s?(?P<y>\d{{4}}){_TIME}"),
    re.compile(rf"(?P<y>\d{{4}})年(?P<m>\d{{1,2}})月(?P<d>\d{{1,2}})日{_TIME}"),
    re.compile(rf"(?P<d>\d{{1,2}})[- ](?P<m>[A-Za-z]{{3,9}})\.?[- ](?P<y>\d{{4}}){_TIME}"),
    re.compile(rf"(?P<m>[A-Za-z]{{3,9}})\.? (?P<d>\d{{1,2}}),? (?P<y>\d{{4}}){_TIME}"),
)
#: Of which the first number may be a day or a month.
_EITHER = re.compile(rf"(?P<a>\d{{1,2}})(?P<s>[-/])(?P<b>\d{{1,2}})(?P=s)(?P<y>\d{{4}}){_TIME}")

#: What programs write for no date.
_NONE = frozenset(datetime.date(*day) for day in ((1899, 12, 30), (1899, 12, 31), (1900, 1, 1), (1970, 1, 1)))

#: Days after which an image may show another stage of the disease.
LONG = 90

_ISO = "write dates as YYYY-MM-DD"


@lru_cache(maxsize=1 << 10)
def dated(column: str) -> str:
    """What a column has dates of, by its name: ``imaging``, ``reference`` (biopsy, surgery, pathology), or empty."""
    own = plain(column)
    return next((kind for kind, pattern in _COLUMNS.items() if pattern.fullmatch(own)), "")


@dataclass(frozen=True)
class Dates:
    """The dates of a column.

    Attributes
    ----------
    days : dict of str to date
        By cell, of those that can be read for certain.
    why : str
        Why others cannot; empty where there are none.
    """

    days: dict[str, datetime.date] = field(repr=False)
    why: str = ""


def read_dates(cells: Iterable[str]) -> Dates:
    """The dates of a column's cells; those that say nothing are passed over.

    ``03/04/2021`` is read where another cell of the column shows which of its numbers are days (``25/04/2021``), and
    nowhere else.
    """
    told = {cell for cell in cells if not is_missing(cell)}
    days: dict[str, datetime.date] = {}
    either: dict[str, re.Match[str]] = {}
    lost: list[str] = []
    for cell in told:
        text = cell.strip()
        found = next((match for pattern in _SURE if (match := pattern.fullmatch(text))), None)
        day = _day(found["y"], found["m"], found["d"]) if found else None
        if day:
            days[cell] = day
        elif match := _EITHER.fullmatch(text):
            either[cell] = match
        else:
            lost.append(cell)
    day_first = any(int(match["a"]) > 12 for match in either.values())
    month_first = any(int(match["b"]) > 12 for match in either.values())
    why = [f"{len(lost)} of {len(told)} cells are no dates"] if lost else []
    if either and day_first == month_first:
        problem = "some have the day first, others the month" if day_first else "day and month cannot be told apart"
        why.append(f"of {len(either)} cells {problem}")
    else:
        for cell, match in either.items():
            day = _day(match["y"], *((match["b"], match["a"]) if day_first else (match["a"], match["b"])))
            if day:
                days[cell] = day
    known = {cell: day for cell, day in days.items() if day not in _NONE}
    return Dates(known, f"{' and '.join(why)}; {_ISO}" if why else "")


def _day(year: str, month: str, day: str) -> datetime.date | None:
    try:
        number = int(month) if month.isdigit() else _MONTHS.index(month.casefold()[:3]) + 1
        return datetime.date(int(year), number, int(day))
    except ValueError:  # no such day, or a word that is no month
        return None


def imaging_to_reference(cases: Sequence[Case], examined: Callable[[Case], str] | None = None) -> dict[str, Any]:
    """Days from each patient's first image to its first biopsy (or surgery, or pathology), as a summary: JSON-ready.

    Parameters
    ----------
    cases : sequence of Case
    examined : callable, optional
        ``YYYYMMDD`` of an image's own header, empty where it has none: used where the table has no dates of imaging.

    Returns
    -------
    dict
        ``imaging``, ``reference``: the columns; ``problems``: columns whose dates cannot be read for certain;
        ``patients``, ``known``, ``missing``: numbers of patients; ``days``: ``median``, ``q1``, ``q3``, ``low``,
        ``high``; ``before``: patients whose biopsy is before the image; ``long``: over `LONG` days. Where nothing is
        known only ``why`` and ``problems``.
    """
    names = dict.fromkeys(name for case in cases for name in case.extra)
    columns = {kind: [name for name in names if dated(name) == kind] for kind in _COLUMNS}
    problems: list[str] = []
    if not columns["reference"]:
        return {"why": "the table has no dates of biopsy, surgery or pathology (such as biopsy_date)", "problems": []}
    read = {name: read_dates(case.extra.get(name, "") for case in cases) for own in columns.values() for name in own}
    problems = [f"column {name}: {dates.why}" for name, dates in read.items() if dates.why]
    found: dict[str, dict[str, list[datetime.date]]] = {kind: {} for kind in _COLUMNS}
    for kind, own in columns.items():
        for case in cases:
            days = [day for name in own if (day := read[name].days.get(case.extra.get(name, "")))]
            found[kind].setdefault(case.patient_id, []).extend(days)
    source = columns["imaging"]
    if not source and examined:
        found["imaging"], source = _of_headers(cases, examined), ["study date of the DICOM headers"]
    first = {kind: {name: min(days) for name, days in own.items() if days} for kind, own in found.items()}
    both = [name for name in first["reference"] if name in first["imaging"]]
    if not both:
        why = "no patient has a date of imaging and one of biopsy" if source else "the table has no dates of imaging"
        return {"why": why, "problems": problems}
    gaps = np.array([(first["reference"][name] - first["imaging"][name]).days for name in both])
    low, median, high = np.percentile(gaps, [25, 50, 75], method="weibull").tolist()
    patients = len({case.patient_id for case in cases})
    return {
        "imaging": source,
        "reference": columns["reference"],
        "problems": problems,
        "patients": patients,
        "known": len(both),
        "missing": patients - len(both),
        "days": {"median": median, "q1": low, "q3": high, "low": int(gaps.min()), "high": int(gaps.max())},
        "before": int((gaps < 0).sum()),
        "long": int((gaps > LONG).sum()),
    }


def _of_headers(cases: Sequence[Case], examined: Callable[[Case], str]) -> dict[str, list[datetime.date]]:
    """Dates of the headers by patient; none where all have the same, which somebody wrote over them."""
    texts = {case.image: examined(case) for case in cases}
    read = {image: _day(text[:4], text[4:6], text[6:]) for image, text in texts.items() if len(text) == 8}
    days = {image: day for image, day in read.items() if day and day not in _NONE}
    if len(set(days.values())) < 2:
        return {}
    found: dict[str, list[datetime.date]] = {}
    for case in cases:
        if day := days.get(case.image):
            found.setdefault(case.patient_id, []).append(day)
    return found


def interval_text(found: Mapping[str, Any] | None) -> str:
    """The summary in one line, or why there is none."""
    if not found:
        return "not recorded: the study was planned by a version that read no dates"
    if "days" not in found:
        return f"not known: {found['why']}"
    days = found["days"]
    return f"median {days['median']:g} days (range {days['low']} to {days['high']}) in {found['known']} patients"
