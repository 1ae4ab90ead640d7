"""What a result was made of: hashes of its inputs and its model, its settings, its command. No names, no paths."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MolSubCore import __version__
from MolSubCore.cohort.store import READING_VERSION, content_key
from MolSubCore.imaging.io.content import content_hash
from MolSubCore.lesions.lesion import box_of
from MolSubCore.models.card import bundle_hash

if TYPE_CHECKING:
    from MolSubCore.prediction.result import ImageAndLesion


def program() -> dict[str, Any]:
    """What of this program decides a result."""
    return {"MolSubCore": __version__, "reading": READING_VERSION}


def made_of(images: Sequence[ImageAndLesion], card: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides the prediction of a patient, as hashes; equal ``key``, equal prediction.

    Parameters
    ----------
    images : sequence of (image, lesion)
    card : mapping
        The bundle's.
    settings : mapping
        JSON-ready.

    Returns
    -------
    dict
        ``program``, ``inputs`` (``image_sha256`` and ``lesion_sha256``, or ``lesion_box``, of each image),
        ``bundle_sha256``, ``settings`` and ``key``.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    inputs, parts = [], []
    for image, lesion in images:
        box = box_of(lesion)
        drawn = {"lesion_box": ",".join(map(str, box))} if box else {"lesion_sha256": content_hash(lesion)}
        inputs.append({"image_sha256": content_hash(image), **drawn})
        parts.append([content_key(Path(image)), box or content_key(Path(lesion))])
    found = {
        "program": program(),
        "inputs": inputs,
        "bundle_sha256": bundle_hash(dict(card)),
        "settings": dict(settings),
    }
    return found | {"key": _sha256([found, parts])}


def result_key(made: Mapping[str, Any], images: Sequence[ImageAndLesion], *, identified: bool) -> str:
    """SHA-256 of all that decides the files of a prediction: `made_of`, and whether they name the inputs."""
    places = [os.path.abspath(file) for pair in images for file in pair if not box_of(file)] if identified else []  # noqa: PTH100
    return _sha256([made["key"], identified, places])


def command_line(command: str, shown: Mapping[str, Any], hidden: Mapping[str, Any], *, identified: bool) -> str:
    """A command for the record.

    Parameters
    ----------
    shown : mapping
        Options by name that tell nothing of anybody; those that are None, false or empty are left out.
    hidden : mapping
        Options and, without ``--``, arguments whose values are paths or may name somebody: ``...`` stands for them,
        unless `identified`.
    """
    words = ["molsub", command]
    for name, value in hidden.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        for one in values:
            if one not in (None, ""):
                words += [name] if name.startswith("--") else []
                words.append(str(one) if identified else "...")
    for name, value in shown.items():
        if value is True:
            words.append(name)
        elif value not in (None, False, "", [], ()):
            words += [name, str(value)]
    return " ".join(words)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
