"""Two readers of the same images, each blind to the other until both are done. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MolSubCore.annotation.worklist import STATE, is_changed, read_source, read_state, reader_folder
from MolSubCore.errors import CohortError, counted
from MolSubCore.files import sha256_file


@dataclass(frozen=True)
class Pair:
    """One image and what two readers made of it; None where a reader saw no lesion."""

    patient: str
    image: Path
    first: Path | None
    second: Path | None


def pairs(
    source: str | os.PathLike[str], first: str, second: str, *, images: Sequence[Path] | None = None
) -> list[Pair]:
    """Both readers' masks of every image, once both have done all of them.

    Raises
    ------
    CohortError
        If one of them has images left, or has no worklist; if an image or a mask was changed since.
    """
    if first == second:
        raise CohortError("readers", f"are both '{first}'", "Choose two different readers")
    folder, items = read_source(Path(source), images)
    found = []
    for reader in (first, second):
        state = read_state(reader_folder(folder, reader) / STATE)
        if state is None:
            raise CohortError(folder, f"has no worklist of reader {reader}", "Ask this reader to start one")
        known = state["images"]
        left = sum(known.get(item.key, {}).get("state") != "done" for item in items)
        if left:
            raise CohortError(
                f"reader {reader}", f"has {counted(left, 'image')} left", "Compare them once both readers have finished"
            )
        for number, item in enumerate(items, start=1):
            if is_changed(known[item.key].get("image"), item.image):
                change = f"was changed after reader {reader} outlined it"
                raise CohortError(f"image {number}", change, "Reopen that worklist and outline the image again")
        found.append([_mask(reader_folder(folder, reader), known[item.key]) for item in items])
    return [Pair(item.patient, item.image, *masks) for item, *masks in zip(items, *found, strict=True)]


def _mask(place: Path, own: dict[str, Any]) -> Path | None:
    """The mask that the reader's worklist wrote."""
    mask = place / own["mask"]
    if not own["sha256"] or not mask.is_file():
        return None
    if sha256_file(mask) not in own["sha256"]:
        raise CohortError(mask, "was changed by another program", "Adopt it in its worklist, or outline it again")
    return mask
