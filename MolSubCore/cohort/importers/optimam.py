"""OPTIMAM (OMI-DB): ``data/<client>/{imagedb_,nbss_}<client>.json``, header files, ``images/<client>/...dcm``.

Each mark on an image is one lesion: one row. Its subtype is that of the lesion of the screening records (NBSS) it
is linked to, by the receptors found in surgery or, where that has none, in the biopsy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from MolSubCore.cohort.importers.ledger import Ledger
from MolSubCore.cohort.importers.optimam_image import Header, read_header
from MolSubCore.cohort.importers.optimam_nbss import Pathology, pathology_of
from MolSubCore.cohort.importers.rows import NO_IMAGE, Found, Progress, Row
from MolSubCore.cohort.importers.sources import clip_box, number_of
from MolSubCore.errors import CohortError
from MolSubCore.files import read_text

NO_MARK = "image without a mark"
NO_NBSS = "client without screening records (NBSS)"
BAD_MARK = "mark is not four numbers"
OUTSIDE = "mark without a pixel on the image"
BAD_CLIENT = "image list of the client cannot be read"

_UID = re.compile(r"\d+(\.\d+)+")
_REMEDY = "Give the folder that holds data and images"


def read(folder: Path, progress: Progress | None = None) -> Found:
    """Read the JSON files of every client; of the images only whether they are there.

    Raises
    ------
    CohortError
        If no client is found.
    """
    if not folder.is_dir():
        raise CohortError(folder, "is no folder", _REMEDY)
    data = folder / "data" if (folder / "data").is_dir() else folder
    clients = sorted(path for path in data.iterdir() if path.is_dir() and _json(path, "imagedb_"))
    if not clients:
        raise CohortError(folder, "holds no client (data/CLIENT/imagedb_CLIENT.json)", _REMEDY)
    found = Found(Ledger("marks, and images without one"))
    trouble: dict[str, list[str]] = {}
    for number, client in enumerate(clients, start=1):
        _client(client, folder / "images", found, trouble)
        if progress:
            progress(number, len(clients), "clients")
    for text, keys in trouble.items():
        found.note(text, keys)
    return found


def _json(client: Path, prefix: str) -> Path | None:
    """``imagedb_<client>.json``, in whatever case."""
    wanted = f"{prefix}{client.name}.json".lower()
    return next((path for path in sorted(client.iterdir()) if path.name.lower() == wanted), None)


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None or not path.is_file():  # a named pipe would wait for ever
        return None
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _client(client: Path, images: Path, found: Found, trouble: dict[str, list[str]]) -> None:
    listed = _read(_json(client, "imagedb_"))
    if listed is None:
        found.inputs.expect(client.name)
        found.inputs.place(client.name, BAD_CLIENT)
        return
    nbss = _read(_json(client, "nbss_"))
    for (study, series, sop), episode, marks in _images(listed):
        header = read_header(client / study, sop)
        path = images / client.name / study / f"{sop}.dcm"
        name = f"{client.name}/{study}/{series}/{sop}"
        keys = {f"{name}/{mark}": value for mark, value in marks.items()} or {name: None}
        reason = header.wrong or ("" if path.is_file() else NO_IMAGE)
        for key, mark in keys.items():
            found.inputs.expect(key)
            if reason:
                found.inputs.place(key, reason)
                continue
            found.rows.append(_row(key, (client.name, path, header), mark, (nbss, episode), trouble))


def _images(listed: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], str, dict[str, Any]]]:
    """Study, series and image; the episode; the image's marks."""
    for study, members in _members(listed.get("STUDIES")):
        episode = members.get("EpisodeID") if isinstance(members, dict) else None
        for series, images in _members(members):
            for sop, marks in _members(images):
                yield (study, series, sop), str(episode or ""), marks if isinstance(marks, dict) else {}


def _members(value: object) -> Iterator[tuple[str, Any]]:
    """What hangs below a UID."""
    if isinstance(value, dict):
        yield from ((key, member) for key, member in value.items() if _UID.fullmatch(key))


def _row(
    key: str,
    image: tuple[str, Path, Header],
    mark: object,
    records: tuple[dict[str, Any] | None, str],
    trouble: dict[str, list[str]],
) -> Row:
    client, path, header = image
    extra = {"laterality": header.side, "view": header.view, "age": header.age}
    extra |= {"manufacturer": header.manufacturer, "model": header.model}
    if not isinstance(mark, dict):
        return Row(key, client, path, no_subtype=NO_MARK, no_lesion=NO_MARK if mark is None else BAD_MARK, extra=extra)
    nbss, episode = records
    if nbss is None:
        pathology = Pathology(None, NO_NBSS)
    else:
        pathology = pathology_of(nbss, episode, header.side, mark.get("LinkedNBSSLesionNumber"))
    for text in pathology.notes:
        trouble.setdefault(text, []).append(key)
    box, no_lesion = _box(key, mark, header.shape, trouble)
    extra |= {"mark": _kinds(mark), "conspicuity": str(mark.get("Conspicuity") or "")} | pathology.facts
    return Row(key, client, path, pathology.subtype, box=box, no_subtype=pathology.reason, no_lesion=no_lesion,
               extra=extra)  # fmt: skip


def _box(
    key: str, mark: dict[str, Any], shape: tuple[int, int], trouble: dict[str, list[str]]
) -> tuple[str | None, str]:
    """The box of a mark, whose coordinates are strings."""
    left, right, top, bottom = (number_of(str(mark.get(name)).strip()) for name in ("X1", "X2", "Y1", "Y2"))
    if left is None or right is None or top is None or bottom is None:
        return None, BAD_MARK
    box = clip_box((left, right), (top, bottom), shape)
    if box.cut:
        trouble.setdefault("Marks that reached outside the image and were cut at its border", []).append(key)
    if box.turned:
        trouble.setdefault("Marks whose ends were in the wrong order and were turned round", []).append(key)
    return box.text, OUTSIDE


def _kinds(mark: dict[str, Any]) -> str:
    """Names of what the reader ticked."""
    ticked = [name for name, value in mark.items() if value in (1, "1") and name.isalpha()]
    return "; ".join(name for name in ticked if name not in ("LesionID", "MarkID", "LinkedNBSSLesionNumber"))
