"""The classification tasks as data: classes, their order, and the positive class.

The only place where a class order is written. Molecular subtypes follow the paper, section 2.1
(St. Gallen 2023): Luminal A, Luminal B, HER2+/HR+, HER2+/HR-, triple negative (TN).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from MolSubCore.errors import MolSubError


class Subtype(str, Enum):
    """Molecular subtype of an invasive breast cancer; the order is the paper's label 0 to 4."""

    LUMINAL_A = "Luminal A"
    LUMINAL_B = "Luminal B"
    HER2_HR_POSITIVE = "HER2+/HR+"
    HER2_HR_NEGATIVE = "HER2+/HR-"
    TN = "TN"


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
    class_of : mapping of Subtype to str
        The class every subtype belongs to.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    positive: str | None
    class_of: Mapping[Subtype, str]

    def index_of(self, subtype: Subtype) -> int:
        """Index of the class that `subtype` belongs to."""
        return self.classes.index(self.class_of[subtype])


def _binary(name: str, title: str, positive: str, negative: str, subtypes: set[Subtype]) -> Task:
    members = {s: positive if s in subtypes else negative for s in Subtype}
    return Task(name, title, (negative, positive), positive, MappingProxyType(members))


_LUMINAL = {Subtype.LUMINAL_A, Subtype.LUMINAL_B}
_HER2 = {Subtype.HER2_HR_POSITIVE, Subtype.HER2_HR_NEGATIVE}

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            _binary("luminal", "Luminal vs non-Luminal", "Luminal", "non-Luminal", _LUMINAL),
            _binary("her2", "HER2-positive vs HER2-negative", "HER2-positive", "HER2-negative", _HER2),
            _binary("tn", "TN vs non-TN", "TN", "non-TN", {Subtype.TN}),
            Task(
                "subtype5",
                "Five molecular subtypes",
                tuple(s.value for s in Subtype),
                None,
                MappingProxyType({s: s.value for s in Subtype}),
            ),
        )
    }
)

_ALIASES = {
    Subtype.LUMINAL_A: ("luminal a", "luma", "lum a", "la", "luminala"),
    Subtype.LUMINAL_B: ("luminal b", "lumb", "lum b", "lb", "luminalb"),
    Subtype.HER2_HR_POSITIVE: ("her2+/hr+", "her2+(hr+)", "her2+hr+", "her2 hr+", "her2pos/hrpos"),
    Subtype.HER2_HR_NEGATIVE: ("her2+/hr-", "her2+(hr-)", "her2+hr-", "her2 hr-", "her2pos/hrneg"),
    Subtype.TN: ("tn", "tnbc", "triple negative", "triple-negative"),
}
_BY_ALIAS = {alias: subtype for subtype, aliases in _ALIASES.items() for alias in aliases}
_BY_ALIAS |= {str(i): s for i, s in enumerate(Subtype)}


def get_task(name: str) -> Task:
    """The task called `name`; MolSubError names the known ones."""
    try:
        return TASKS[name]
    except KeyError:
        raise MolSubError("task", f"unknown value '{name}'", f"Choose one of {', '.join(TASKS)}") from None


def parse_subtype(text: object) -> Subtype:
    """The subtype a table cell means: a name as in the paper, a common short form, or a label 0-4.

    Raises
    ------
    MolSubError
        If the text is none of these.
    """
    key = " ".join(str(text).strip().lower().replace("_", " ").replace("\u2212", "-").split())
    key = key[:-2] if key.endswith(".0") else key
    if key not in _BY_ALIAS:
        known = ", ".join(s.value for s in Subtype)
        raise MolSubError("subtype", f"unknown value '{text}'", f"Use one of {known}, or a label 0-4 in this order")
    return _BY_ALIAS[key]


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
