"""Which display steps a cohort's images are shown by, and whether they go with the class or the machine.

What a display step makes of a lesion is part of what a network sees. Where one class comes from a hospital whose files
carry windows and another from one whose files do not, the step tells the class, and the model may learn that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.table import Cohort
from MolSubCore.evaluation.characteristics import p_text
from MolSubCore.imaging.mammogram import maker_name
from MolSubCore.statistics.group_tests import compare_categorical

#: From here on an association is told as such.
_SIGNIFICANT = 0.05
_WORDS = {"class": "subtype", "manufacturer": "manufacturer"}


@dataclass(frozen=True)
class Shown:
    """One image: whose, of which class (empty where unknown), made by whom, displayed by which step."""

    patient: str
    subtype: str
    manufacturer: str
    step: str


def shown_images(cohort: Cohort, store: PatchStore) -> list[Shown]:
    """The images of a store."""
    found = {}
    for number, meta in zip(store.case_index.tolist(), store.meta, strict=True):
        case = cohort.cases[number]
        maker, subtype = maker_name(meta["manufacturer"]), case.subtype.value if case.subtype else ""
        found[case.image] = Shown(case.patient_id, subtype, maker, meta["display"])
    return list(found.values())


def display_steps(images: Iterable[Shown]) -> dict[str, Any]:
    """Patients by display step and class, and by display step and manufacturer, each with a test of association.

    Returns
    -------
    dict
        ``class`` and ``manufacturer``: ``counts`` (patients by step, then group; one whose images have several steps
        counts under all of them together) and ``test`` (`MolSubCore.statistics.group_tests.GroupTest`). No ids.
    """
    found = list(images)
    result = {}
    for key, group_of in (("class", lambda one: one.subtype), ("manufacturer", lambda one: one.manufacturer)):
        steps: dict[tuple[str, str], set[str]] = {}
        for one in found:
            if group := group_of(one):
                steps.setdefault((one.patient, group), set()).add(one.step)
        units = [(" + ".join(sorted(own)), group) for (_, group), own in steps.items()]
        names, groups = (sorted({unit[n] for unit in units}) for n in (0, 1))
        counts = {name: {group: units.count((name, group)) for group in groups} for name in names}
        table = [list(row.values()) for row in counts.values()]
        test = compare_categorical(table, tuple(groups)).to_dict() if table else None
        result[key] = {"counts": counts, "test": test}
    return result


def told_steps(found: dict[str, Any]) -> list[str]:
    """`display_steps` in sentences, one for classes and one for manufacturers."""
    return [text for key in _WORDS if (text := _told(key, found[key]))]


def associations(found: dict[str, Any]) -> list[str]:
    """A warning where the display goes with the class; that it goes with the machine is no surprise."""
    test = found["class"]["test"]
    if not test or test["p"] is None or test["p"] >= _SIGNIFICANT:
        return []
    return [
        f"{_told('class', found['class'])} The display differs between the subtypes: a network may learn it in place "
        "of the lesion. Use images of one form for all, such as For Processing or without windows"
    ]


def _told(key: str, part: dict[str, Any]) -> str:
    if not part["counts"]:
        return ""
    rows = "; ".join(
        f"{step}: {', '.join(f'{group} {count}' for group, count in row.items() if count)}"
        for step, row in part["counts"].items()
    )
    test = part["test"]
    tested = "" if not test or test["p"] is None else f" ({test['test']}, p {_equals(p_text(test['p']))})"
    return f"Display steps by {_WORDS[key]}, patients: {rows}{tested}."


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"
