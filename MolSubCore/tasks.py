"""The classification tasks as data: classes, their order, and the positive class.

The only place where a class order is written. Molecular subtypes follow the paper, section 2.1
(St. Gallen 2023): Luminal A, Luminal B, HER2+/HR+, HER2+/HR-, triple negative (TN).
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from MolSubCore.errors import MolSubError
from MolSubCore.imaging.view_text import without_accents


class Subtype(str, Enum):
    """Molecular subtype of an invasive breast cancer; the order is the paper's label 0 to 4."""

    LUMINAL_A = "Luminal A"
    LUMINAL_B = "Luminal B"
    HER2_HR_POSITIVE = "HER2+/HR+"
    HER2_HR_NEGATIVE = "HER2+/HR-"
    TN = "TN"


class PartialSubtype(str, Enum):
    """What a cohort tells of a subtype where it does not tell it whole."""

    HER2 = "HER2+"
    HR_POSITIVE_HER2_NEGATIVE = "HR+/HER2-"


SubtypeLabel = Subtype | PartialSubtype

#: The subtypes that a partial one may be.
MAY_BE: Mapping[PartialSubtype, tuple[Subtype, ...]] = MappingProxyType(
    {
        PartialSubtype.HER2: (Subtype.HER2_HR_POSITIVE, Subtype.HER2_HR_NEGATIVE),
        PartialSubtype.HR_POSITIVE_HER2_NEGATIVE: (Subtype.LUMINAL_A, Subtype.LUMINAL_B),
    }
)


@dataclass(frozen=True)
class Task:
    """One classification task.

    Attributes
    ----------
    name : str
        Name on the command line and in files.
    title : str
        Name for people.
    classes : tuple of str
        Class names; the index is the logit's index in every model trained here.
    positive : str or None
        The class whose probability is the score of a binary task; None for more classes.
    class_of : mapping of Subtype or PartialSubtype to str
        The class every subtype belongs to; of a partial one where all that it may be are of one class. Where
        they are not, `get` gives None and an index a MolSubError.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    positive: str | None
    class_of: Mapping[SubtypeLabel, str]

    def index_of(self, subtype: SubtypeLabel) -> int:
        """Index of the class that `subtype` belongs to; MolSubError where that is open."""
        return self.classes.index(self.class_of[subtype])


class _Classes(dict[SubtypeLabel, str]):
    """Classes by subtype, and by each partial one that leaves no choice."""

    def __init__(self, task: str, members: Mapping[Subtype, str]) -> None:
        super().__init__(members.items())
        self._task = task
        for partial, subtypes in MAY_BE.items():
            classes = {members[subtype] for subtype in subtypes}
            if len(classes) == 1:
                self[partial] = classes.pop()

    def __missing__(self, label: PartialSubtype) -> str:
        choices = " or ".join(subtype.value for subtype in MAY_BE[label])
        found = f"{label.value} may be {choices}, which task {self._task} tells apart"
        raise MolSubError("subtype", found, "Leave out such rows, or choose another task")


def _task(name: str, title: str, classes: tuple[str, ...], positive: str | None, members: dict[Subtype, str]) -> Task:
    return Task(name, title, classes, positive, MappingProxyType(_Classes(name, members)))


def _binary(name: str, title: str, positive: str, negative: str, subtypes: set[Subtype]) -> Task:
    members = {s: positive if s in subtypes else negative for s in Subtype}
    return _task(name, title, (negative, positive), positive, members)


_LUMINAL = {Subtype.LUMINAL_A, Subtype.LUMINAL_B}
_HER2 = {Subtype.HER2_HR_POSITIVE, Subtype.HER2_HR_NEGATIVE}
_HR_POSITIVE = {Subtype.HER2_HR_POSITIVE, PartialSubtype.HR_POSITIVE_HER2_NEGATIVE}
_ENRICHED = "HER2-enriched"  # as CMMD calls it, whatever the hormone receptors

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            _binary("luminal", "Luminal vs non-Luminal", "Luminal", "non-Luminal", _LUMINAL),
            _binary("her2", "HER2-positive vs HER2-negative", "HER2-positive", "HER2-negative", _HER2),
            _binary("tn", "TN vs non-TN", "TN", "non-TN", {Subtype.TN}),
            _task(
                "subtype5",
                "Five molecular subtypes",
                tuple(s.value for s in Subtype),
                None,
                {s: s.value for s in Subtype},
            ),
            _task(
                "subtype4",
                "Four molecular subtypes",
                (Subtype.LUMINAL_A.value, Subtype.LUMINAL_B.value, _ENRICHED, Subtype.TN.value),
                None,
                {s: _ENRICHED if s in _HER2 else s.value for s in Subtype},
            ),
        )
    }
)

#: The paper's own; `subtype4` is for cohorts that do not tell the hormone receptors of HER2-positive tumours.
PAPER_TASKS = ("luminal", "her2", "tn", "subtype5")

_ALIASES: Mapping[SubtypeLabel, tuple[str, ...]] = {
    Subtype.LUMINAL_A: ("luminal a", "luma", "lum a", "la", "luminala", "luminal-a", "lum-a"),
    Subtype.LUMINAL_B: ("luminal b", "lumb", "lum b", "lb", "luminalb", "luminal-b", "lum-b"),
    Subtype.HER2_HR_POSITIVE: ("her2+/hr+", "her2+(hr+)", "her2+hr+", "her2 hr+", "her2pos/hrpos"),
    Subtype.HER2_HR_NEGATIVE: ("her2+/hr-", "her2+(hr-)", "her2+hr-", "her2 hr-", "her2pos/hrneg"),
    Subtype.TN: (
        *("tn", "tnbc", "triple negative", "triple-negative", "triple negativ", "triple-negativ", "dreifach negativ"),
        *("dreifach-negativ", "triple negatif", "triple negativo", "triple negativa", "triplo negativo"),
    ),
    PartialSubtype.HER2: ("her2+", "her2-enriched", "her2 enriched", "her2-positive", "her2 positive"),
    PartialSubtype.HR_POSITIVE_HER2_NEGATIVE: ("hr+/her2-", "hr+her2-", "luminal"),
}
_BY_ALIAS = {alias: subtype for subtype, aliases in _ALIASES.items() for alias in aliases}
_BY_ALIAS |= {str(i): s for i, s in enumerate(Subtype)}


#: Spellings that mean the same wherever they stand: ``triple neg.``, ``HER2 pos.``, ``Luminal B-like``.
_SAME = (
    (re.compile(r"\btriple[ -]?neg(?:ative)?(?![a-z])\.?"), "triple negative"),
    (re.compile(r"\btriple[ -]?pos(?:itive?|itiv)?(?![a-z])\.?"), "hr+/her2+"),
    (re.compile(r"(?<=pos|neg)\."), ""),
    (re.compile(r"\b(lum(?:inal)?(?:[ -]?[ab])?)[ -]?like\b"), r"\1"),
)
#: Whether hormone receptors are positive, in a word beside the status of HER2: ``HER2-positive (non-luminal)``.
_LUMINAL_OR_NOT = re.compile(r"(?P<non>non?[ -]?)?luminal(?![a-z]|[ -]?[ab]\b)")
#: A receptor with its status, at the beginning of a text; the sign stands right behind it.
_RECEPTOR = re.compile(
    r"(?P<name>her2(?:/?neu)?|er|pr|pgr|hr)[ _-]?(?:(?P<plus>pos(?:itive?|itiv)?)|(?P<minus>neg(?:ative?|ativ)?))"
    r"(?![a-z])|(?P<short>her2(?:/?neu)?|er|pr|pgr|hr) ?(?P<sign>[+-])"
)
_BETWEEN = re.compile(r"[\s,;/&()\[\]]+|and\b|und\b|et\b")
_FAMILIES: Mapping[str, SubtypeLabel] = {
    **dict.fromkeys(("luminal a", "luminal-a", "lum a", "lum-a", "luma"), Subtype.LUMINAL_A),
    **dict.fromkeys(("luminal b", "luminal-b", "lum b", "lum-b", "lumb"), Subtype.LUMINAL_B),
    **dict.fromkeys(("her2-enriched", "her2 enriched"), PartialSubtype.HER2),
    **dict.fromkeys(("triple negative", "triple-negative", "tnbc", "tn"), Subtype.TN),
    "luminal": PartialSubtype.HR_POSITIVE_HER2_NEGATIVE,
}


def of_receptors(hormone: bool | None, her2: bool | None) -> SubtypeLabel | None:
    """Subtype by hormone receptors and HER2; None is unknown, and so is what cannot be said.

    Positive hormone receptors without HER2 are Luminal A or B: which of them, only Ki-67 (or the grade) would tell.
    """
    found: dict[tuple[bool | None, bool | None], SubtypeLabel] = {
        (True, True): Subtype.HER2_HR_POSITIVE,
        (True, False): Subtype.HER2_HR_NEGATIVE,
        (True, None): PartialSubtype.HER2,
        (False, True): PartialSubtype.HR_POSITIVE_HER2_NEGATIVE,
        (False, False): Subtype.TN,
    }
    return found.get((her2, hormone))


def contradicting_receptors(subtype: SubtypeLabel, status: Mapping[str, bool]) -> tuple[str, ...]:
    """The receptors that a subtype cannot have, of those known: ``ER``, ``PR``, ``HER2``; hormone receptors together.

    Parameters
    ----------
    status : mapping of str to bool
        Whether each is positive, where that is known.
    """
    her2 = subtype in (*_HER2, PartialSubtype.HER2)
    open_, hormone = subtype is PartialSubtype.HER2, subtype in (*_LUMINAL, *_HR_POSITIVE)
    known = [name for name in ("ER", "PR") if name in status]
    positive = [name for name in known if status[name]]
    wrong: list[str] = []
    if not open_ and hormone and len(known) == 2 and not positive:
        wrong += known
    elif not open_ and not hormone:
        wrong += positive
    return (*wrong, "HER2") if status.get("HER2", her2) is not her2 else tuple(wrong)


def _written_receptors(text: str) -> tuple[dict[str, bool], str] | None:
    """Receptors and their status in a text of nothing else, and the family before them; None where that is not so."""
    family = next(
        (name for name in sorted(_FAMILIES, key=len, reverse=True) if re.match(rf"{name}(?![a-z])", text)), ""
    )
    rest, status = text[len(family) :], dict[str, bool]()
    while rest:
        if found := _RECEPTOR.match(rest):
            name = (found["name"] or found["short"]).replace("neu", "").rstrip("/").replace("pgr", "pr")
            positive = bool(found["plus"]) or found["sign"] == "+"
            rest = rest[found.end() :]
            # HER2-HR+ may be negative or a hyphen.
            if status.setdefault(name, positive) is not positive or (found["sign"] == "-" and rest[:1].isalnum()):
                return None
        elif found := _LUMINAL_OR_NOT.match(rest):
            rest = rest[found.end() :]
            if status.setdefault("hr", not found["non"]) is not (not found["non"]):
                return None
        elif gap := _BETWEEN.match(rest):
            rest = rest[gap.end() :]
        else:
            return None
    return (status, family) if status else None


def _by_receptors(text: str) -> SubtypeLabel | None:
    """The subtype that receptors say, such as ``ER+/PR-/HER2-`` or ``Luminal B (HER2+)``; None where it is open."""
    if (read := _written_receptors(text)) is None:
        return None
    status, family = read
    her2, parts = status.get("her2"), [status[name] for name in ("er", "pr") if name in status]
    hormone = True if True in parts else False if parts == [False, False] else None
    if "hr" in status:
        if hormone not in (None, status["hr"]):
            return None  # contradicts itself
        hormone = status["hr"]
    meant = _FAMILIES.get(family)
    if meant is None:
        return of_receptors(hormone, her2)
    if meant in (Subtype.LUMINAL_A, Subtype.LUMINAL_B, PartialSubtype.HR_POSITIVE_HER2_NEGATIVE):
        if hormone is False or (her2 and meant is Subtype.LUMINAL_A):
            return None
        return Subtype.HER2_HR_POSITIVE if her2 else meant
    told = of_receptors(hormone, her2 if meant is Subtype.TN else True)
    if meant is Subtype.TN:
        return Subtype.TN if hormone is not True and not her2 else None
    return told if her2 is not False else None


def get_task(name: str) -> Task:
    """The task called `name`; MolSubError names the known ones."""
    try:
        return TASKS[name]
    except KeyError:
        raise MolSubError("task", f"unknown value '{name}'", f"Choose one of {', '.join(TASKS)}") from None


#: Words of columns that are taken for that of the subtype.
_MEDICAL = frozenset(
    (
        *("benign", "malignant", "normal", "cancer", "carcinoma", "tumour", "tumor", "lesion", "mass", "cyst"),
        *("fibroadenoma", "calcification", "invasive", "ductal", "lobular", "mucinous", "papillary", "situ"),
        *("dcis", "idc", "ilc", "nst", "grade", "stage", "low", "high", "intermediate", "mixed", "other"),
        *("unknown", "molecular", "subtype", "type", "class", "her", "her2", "neu", "equivocal", "borderline"),
        *(
            "basal",
            "like",
            "non",
            "nan",
            "none",
            "amplified",
            "status",
            "receptor",
            "hormone",
            "er",
            "pr",
            "ki",
            "intrinsic",
        ),
    )
)


#: Combining class of strokes through a sign, which take back what is written, or make ``=`` its opposite.
_OVERLAY = 1


@lru_cache(maxsize=1024)  # a column has few different cells
def _plain(text: str) -> str:
    """A cell in small letters and common spellings, without accents; full-width signs and dashes are plain ones."""
    plain = unicodedata.normalize("NFKC", text)
    if not any(unicodedata.combining(sign) == _OVERLAY for sign in unicodedata.normalize("NFKD", plain)):
        plain = without_accents(plain)
    plain = re.sub("[\u2010-\u2015\u2212\ufe63]", "-", plain)
    plain = " ".join(plain.strip().lower().replace("_", " ").split())
    for spelling, meant in _SAME:
        plain = spelling.sub(meant, plain)
    return plain


def _key(text: object) -> str:
    """A cell as it is looked up."""
    key = _plain(str(text))
    key = key[:-2] if key.endswith(".0") else key
    return key if key in _BY_ALIAS else re.sub(r"\s*([+/()-])\s*", r"\1", key)


def leaves_her2_open(text: object) -> bool:
    """Whether a cell is read as HER2-negative though it does not say so: ``Luminal B`` or ``Luminal`` alone.

    That is the paper's meaning; St. Gallen has a Luminal B that is HER2-positive.
    """
    if "her2" in _plain(str(text)) or number_label(text) is not None:
        return False
    return parse_subtype(text) in (Subtype.LUMINAL_B, PartialSubtype.HR_POSITIVE_HER2_NEGATIVE)


def number_label(text: object) -> int | None:
    """The number that a cell is which `parse_subtype` would take for a label 0-4; None for a name."""
    key = _key(text)
    return int(key) if key in _BY_ALIAS and key.isdecimal() else None


def parse_subtype(text: object) -> SubtypeLabel:
    """The subtype a table cell means: a name as in the paper, a common short form, receptors, a label 0-4, or a part.

    Raises
    ------
    MolSubError
        If the text is none of these.
    """
    key = _key(text)
    if key not in _BY_ALIAS:
        if (found := _by_receptors(_plain(str(text)))) is not None:
            return found
        known, partial = (", ".join(s.value for s in kind) for kind in (Subtype, PartialSubtype))
        remedy = f"Use one of {known}, or a label 0-4 in this order; or {partial}, where no more is known"
        if "basal" in key:
            remedy = (
                f"Basal-like is not the same as triple negative: write TN where the receptors are negative. {remedy}"
            )
        shown = "(not repeated here: it may be a name)" if _may_be_a_name(str(text)) else f"'{text}'"
        raise MolSubError("subtype", f"unknown value {shown}", remedy)
    return _BY_ALIAS[key]


def _may_be_a_name(text: str) -> bool:
    """Whether a cell that is no subtype has a word that is not like one of the field, or a date or number of a person.

    Messages about a table are shared, and columns get shifted.
    """
    words = re.findall(r"[^\W\d_]{2,}", _plain(text))
    known = {word for alias in _BY_ALIAS for word in re.findall(r"[a-z]{2,}", alias)} | _MEDICAL
    strange = (word for word in words if not difflib.get_close_matches(word, known, n=1, cutoff=0.75))
    return sum(map(str.isdigit, text)) > 4 or any(strange)


def subtype_order(found: Iterable[SubtypeLabel]) -> list[SubtypeLabel]:
    """The five subtypes in their order, then the partial ones among those found."""
    present = set(found)
    return [*Subtype, *(label for label in PartialSubtype if label in present)]


def leading_classes(probabilities: Mapping[str, float]) -> list[str]:
    """The classes with the highest probability; several where they print alike (two decimals), which is a tie."""
    shown = {name: f"{value:.2f}" for name, value in probabilities.items()}
    highest = max(shown.values(), key=float)
    return [name for name, text in shown.items() if text == highest]


def prediction_title(probabilities: Mapping[str, float]) -> str:
    """A prediction in one line for people: ``Predicted: TN 0.74``, or that there is none: a tie predicts nothing."""
    first = leading_classes(probabilities)
    highest = f"{probabilities[first[0]]:.2f}"
    if len(first) == 1:
        return f"Predicted: {first[0]} {highest}"
    return f"No prediction, a tie: {' and '.join(first)} {highest}"
