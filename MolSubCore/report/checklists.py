"""TRIPOD+AI, CLAIM and STARD, item by item: where a study's page answers each, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from MolSubCore.files import read_json

Status = Literal["answered", "in part", "missing"]


@dataclass(frozen=True)
class Answer:
    """One item of a checklist.

    Attributes
    ----------
    number, section, item : str
        The guideline's number; its heading and content in our words.
    status : {"answered", "in part", "missing"}
    places : tuple of (anchor, title)
        Parts of the page that answer it.
    lacks : str
        What is missing; empty where nothing is.
    """

    number: str
    section: str
    item: str
    status: Status
    places: tuple[tuple[str, str], ...]
    lacks: str


@dataclass(frozen=True)
class Checklist:
    """A guideline with an answer to every item."""

    key: str
    title: str
    source: str
    answers: tuple[Answer, ...]

    def count(self, status: Status) -> int:
        """Number of items of this status."""
        return sum(answer.status == status for answer in self.answers)


@lru_cache(maxsize=1)
def _content() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = read_json(Path(__file__).with_name("checklists.json"))
    return content


def checklists(present: Mapping[str, str], absent: Mapping[str, str]) -> tuple[Checklist, ...]:
    """All checklists for the page of a study.

    Parameters
    ----------
    present : mapping of str to str
        Anchors of the parts that the page has, with their titles.
    absent : mapping of str to str
        Anchors of parts that could not be made, with their titles.
    """
    return tuple(
        Checklist(
            key, entry["title"], entry["source"], tuple(_answer(item, present, absent) for item in entry["items"])
        )
        for key, entry in _content().items()
    )


def validation_checklist(present: Mapping[str, str], absent: Mapping[str, str]) -> Checklist:
    """TRIPOD+AI for the page of an external validation: the items that apply where no model is developed.

    Parameters
    ----------
    present, absent : mapping of str to str
        As of `checklists`.
    """
    entry = _content()["tripod"]
    places = read_json(Path(__file__).with_name("validation_checklist.json"))
    items = [{**item, **places[item["number"]]} for item in entry["items"] if item["number"] in places]
    title = f"{entry['title']}, items for an evaluation"
    return Checklist("tripod", title, entry["source"], tuple(_answer(item, present, absent) for item in items))


def _answer(item: Mapping[str, Any], present: Mapping[str, str], absent: Mapping[str, str]) -> Answer:
    places = tuple((anchor, present[anchor]) for anchor in item["where"] if anchor in present)
    lost = [absent.get(anchor, anchor) for anchor in item["where"] if anchor not in present]
    lacks = "; ".join([*([item["lacks"]] if item["lacks"] else []), *(f"not made: {title}" for title in lost)])
    status: Status = "missing" if not places else "in part" if lacks else "answered"
    return Answer(item["number"], item["section"], item["item"], status, places, lacks)
