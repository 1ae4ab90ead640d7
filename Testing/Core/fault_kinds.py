"""What a kind of write is, for the tests of faults, and what a folder holds after one."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MolSubCore.files import MANIFEST
from MolSubCore.models.card import read_card, read_member


@dataclass(frozen=True)
class Write:
    """One kind of write.

    Attributes
    ----------
    title : str
        Its row in the table.
    before, act : callable
        Fill a folder; write to it. The second time, `act` goes on with what is there.
    read : callable
        As the next program reads it.
    whole : bool
        Whether all of it appears at once; else file by file.
    vanishes : bool
        Whether files may be gone meanwhile: a cache makes them again.
    """

    title: str
    before: Callable[[Path], object]
    act: Callable[[Path], object]
    read: Callable[[Path], object]
    whole: bool = False
    vanishes: bool = False


_ENDS = {".png": b"IEND\xaeB`\x82", ".svg": b"</svg>", ".pdf": b"%%EOF", ".html": b"</html>"}
#: Of temporary files, ours and those of safetensors, and of locks.
_UNSEEN = (".tmp", ".old-", ".lock")


def visible(folder: Path) -> dict[str, str]:
    """Every file under its final name, by what it says: no times, no dates."""
    return {
        str(file.relative_to(folder)): _digest(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith(_UNSEEN) for part in file.relative_to(folder).parts)
    }


def leftovers(folder: Path) -> int:
    """How many temporary files and folders a killed writer has left."""
    return len([*folder.rglob(".tmp*"), *folder.rglob(".old-*")])


def _digest(file: Path) -> str:
    data = file.read_bytes()
    if end := _ENDS.get(file.suffix):
        return "whole" if data.strip().endswith(end) else f"torn after {len(data)} bytes"
    if file.name == "metrics.csv":
        data = "\n".join(line.rsplit(",", 2)[0] for line in data.decode().splitlines()).encode()
    elif file.name == "prediction.json":
        made = json.loads(data)
        made["made"]["date"] = ""
        data = json.dumps(made).encode()
    elif file.name == "worklist.json":  # how the images' files look differs in every copy
        data = re.sub(rb'"file": \[[^]]*\]', b"", data)
    elif file.name == "done.json":  # weights and what lies beside them bear times
        made = json.loads(data)
        data = json.dumps(made | {"sha256": sorted(made.get("sha256", ()))}).encode()
    elif file.name == MANIFEST:
        data = json.dumps(json.loads(data)["files"]).encode()
    elif file.name == "bundle.json":
        data = json.dumps(json.loads(data) | {"created": ""}).encode()
    elif file.name.startswith(("last.", "best.")):
        data = data[8 + int.from_bytes(data[:8], "little") :]  # the header has the seconds of every epoch
    elif file.suffix == ".molsub":
        card = read_card(file)
        data = json.dumps(card | {"created": ""}).encode()
        data += b"".join(read_member(file, member) for member in card["members"])
    elif file.suffix == ".npz":
        with np.load(io.BytesIO(data)) as arrays:
            data = b"".join(arrays[name].tobytes() for name in sorted(arrays.files))
    return hashlib.sha256(data).hexdigest()[:16]
