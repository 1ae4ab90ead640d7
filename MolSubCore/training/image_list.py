"""What a run was made of, image by image (``RUN/inputs.json``), so that a later start can say what has changed.

It names nobody: hashes are salted as the split's ids are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from MolSubCore.cohort.patches import PatchStore
from MolSubCore.errors import MolSubError, counted
from MolSubCore.files import read_json, write_json
from MolSubCore.statistics.scores import read_predictions
from MolSubCore.training.run_files import FROZEN

_FILE, _FORMAT = "inputs.json", "molsub-inputs"

#: The columns of the list, and what each is called.
_TITLES = {
    "pixels": "pixels",
    "lesions": "lesion outlines",
    "subtypes": "subtypes",
    "sides": "sides",
    "views": "views",
    "lesion_ids": "lesion ids",
    "patients": "patients",
}
#: By hash of a plan: the columns that it is made of, and what is said where none of them tells more.
_OF_HASH: dict[str, tuple[tuple[str, ...], str]] = {
    "data_hash": (
        ("pixels", "lesions", "subtypes"),
        "the images are shown in other grey values, such as by their display window, or are read in another way",
    ),
    "split_hash": ((), "the patients are divided in another way"),
    "groups_hash": (
        ("sides", "views", "lesion_ids", "patients"),
        "the sides, views, lesion ids or patients of images are others now",
    ),
}

#: Of a run of before, whose images and lesions are known by one hash only.
_UNKNOWN = "images, lesion outlines or subtypes are others now, or are read in another way"

#: By column a value for each image; None where it is not known.
ImageList = Mapping[str, Sequence[str | None]]


def image_list(store: PatchStore, said: Mapping[str, Sequence[str]], salt: str) -> ImageList:
    """What decides the result of a run, by image.

    Parameters
    ----------
    store : PatchStore
    said : mapping of str to sequence of str
        By patch: ``sides``, ``views``, ``lesion_ids`` and ``patients`` (salted).
    salt : str
        Of the hashes.
    """

    def hashed(*values: object) -> str:
        return hashlib.sha256(json.dumps([salt, *values], default=str).encode()).hexdigest()[:16]

    patches: dict[int, list[int]] = {}
    for patch, case in enumerate(store.case_index.tolist()):
        patches.setdefault(case, []).append(patch)
    found: dict[str, list[str | None]] = {name: [] for name in _TITLES}
    for case, own in sorted(patches.items()):
        first, meta = own[0], [store.meta[patch] for patch in own]
        values = {
            "pixels": hashed(meta[0].get("pixels")),
            "lesions": hashed([(store.lesion[n], store.meta[n].get("geometry")) for n in own]),
            "subtypes": store.subtypes[case] if store.subtypes else "",
            **{name: column[first] for name, column in said.items()},
            "lesion_ids": hashed(said["lesion_ids"][first]) if said["lesion_ids"][first] else "",
        }
        for name, value in values.items():
            found[name].append(value)
    return found


def write_image_list(run: Path, now: ImageList) -> None:
    """Write ``RUN/inputs.json``."""
    write_json(run / _FILE, {"format": _FORMAT, "format_version": 1, **now})


def told_changes(run: Path, differing: Iterable[str], now: ImageList) -> list[str]:
    """In words, what hashes of a run's plan that differ say.

    Parameters
    ----------
    differing : iterable of str
        Names of those hashes.
    now : ImageList
        As `image_list` gives it.
    """
    before = _read(run) or _of_finished_folds(run, now)
    counts = len(before["pixels"]), len(now["pixels"])
    if counts[0] != counts[1]:
        return [f"it was made of {counted(counts[0], 'image')}, the table has {counts[1]} now"]
    found = []
    for name in differing:
        columns, otherwise = _OF_HASH[name]
        words = [text for column in columns if (text := _change(column, before[column], now[column]))]
        known = not columns or any(value is not None for column in columns for value in before[column])
        found += words or [otherwise if known else _UNKNOWN]
    return found


def regrouped(run: Path, now: ImageList) -> list[str]:
    """What finished folds of a run of before, whose plan does not say it, show of other sides, views and patients."""
    before = _of_finished_folds(run, now)
    return [text for column in _OF_HASH["groups_hash"][0] if (text := _change(column, before[column], now[column]))]


def _change(column: str, before: Sequence[str | None], now: Sequence[str | None]) -> str:
    pairs = [(old, new) for old, new in zip(before, now, strict=True) if old is not None and old != new]
    if not pairs:
        return ""
    what = "are others now"
    if not any(old for old, _ in pairs):
        what = "are given now"
    elif not any(new for _, new in pairs):
        what = "are not given any more"
    return f"the {_TITLES[column]} of {counted(len(pairs), 'image')} {what}"


def _read(run: Path) -> ImageList | None:
    """``RUN/inputs.json``; None where there is none that can be used, as in runs of before."""
    try:
        content: Any = read_json(run / _FILE)
        columns = {name: list(content[name]) for name in _TITLES}
    except (MolSubError, OSError, KeyError, TypeError):
        return None
    return columns if len({len(column) for column in columns.values()}) == 1 else None


def _of_finished_folds(run: Path, now: ImageList) -> ImageList:
    """What the predictions of a run of before say: nothing of images in no finished fold."""
    found: dict[str, list[str | None]] = {name: [None] * len(now["pixels"]) for name in _TITLES}
    for done in sorted(run.glob("fold-*/done.json")):
        for file in FROZEN:
            try:
                part = read_predictions(done.with_name(file))
            except (MolSubError, OSError):  # told where it is needed
                continue
            columns = (part.study_id.tolist(), part.laterality.tolist(), part.view.tolist())
            for case, patient, side, view in zip(part.case.tolist(), *columns, strict=True):
                if case < len(now["pixels"]):
                    found["patients"][case], found["sides"][case], found["views"][case] = patient, side, view
    return found
