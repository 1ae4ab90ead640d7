"""Patches of a cohort in one array, and its file: the pack, which a later start maps into memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.files import atomic_folder

#: One image's patches, and the meta data of each.
Entry = tuple[NDArray[Any], list[dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class PatchStore:
    """Patches of a cohort in the order of its cases, then lesions.

    Attributes
    ----------
    patches : ndarray of the recipe's dtype, shape (N, size, size)
        Memory-mapped, not normalised.
    case_index : ndarray of int, shape (N,)
        Position in ``cohort.cases``.
    lesion : list of str
        Label within the image.
    meta : list of dict
        Per patch: laterality, view, manufacturer, presentation, display (the step's name), spacing_source, spacing_mm,
        synthetic, pixels (the image's hash), look (`MolSubCore.cohort.looks.look_of`), geometry, lesion_mm (larger side
        of the lesion's box; None without a spacing), warnings (`MolSubCore.cohort.remarks`, of ``image`` and
        ``lesion``). No identifiers, no paths.
    patches_hash : str, optional
        SHA-256 of the patches, where known without reading them.
    """

    patches: NDArray[Any]
    case_index: NDArray[np.int64]
    lesion: list[str]
    meta: list[dict[str, Any]]
    subtypes: tuple[str, ...] = ()
    patches_hash: str | None = None

    def data_hash(self) -> str:
        """SHA-256 of patches, lesion labels and subtypes: no paths, no identifiers."""
        return self._data_hash

    @cached_property
    def _data_hash(self) -> str:
        patches = self.patches_hash or _sha256(self._bytes())
        others = json.dumps([patches, self.case_index.tolist(), self.lesion, list(self.subtypes)])
        return hashlib.sha256(others.encode()).hexdigest()

    def _bytes(self) -> Iterator[bytes | memoryview]:
        """The patches in parts; from their file, where there is one, so that a large cohort need not fit in memory."""
        if not isinstance(self.patches, np.memmap) or self.patches.filename is None:
            yield np.ascontiguousarray(self.patches).data
            return
        with Path(self.patches.filename).open("rb") as file:
            file.seek(self.patches.offset)
            left = self.patches.nbytes
            while left:
                left -= len(part := file.read(min(left, 1 << 24)))
                if not part:
                    raise CohortError("patch cache", "is truncated", "Delete it; it is made again from the images")
                yield part


Joined = tuple[NDArray[Any], list[int], list[dict[str, Any]]]


def join(entries: Sequence[Entry]) -> Joined:
    """All patches, the case of each, and the meta data of each."""
    index = [number for number, (patches, _) in enumerate(entries) for _ in range(len(patches))]
    return np.concatenate([patches for patches, _ in entries]), index, [entry for _, meta in entries for entry in meta]


def as_store(joined: Joined, subtypes: tuple[str, ...], patches_hash: str | None = None) -> PatchStore:
    """The store of joined patches; ValueError where its parts differ in length."""
    patches, index, meta = joined
    if not len(patches) == len(index) == len(meta):
        raise ValueError("parts of a pack differ in length")
    return PatchStore(
        patches, np.array(index, np.int64), [entry["lesion"] for entry in meta], meta, subtypes, patches_hash
    )


def write_pack(folder: Path, joined: Joined) -> None:
    """Write a pack in the place of a damaged one, unless another process has just put its own there."""
    patches, index, meta = joined
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with atomic_folder(folder) as temporary:
            np.save(temporary / "patches.npy", patches)
            content = json.dumps({"case_index": index, "meta": meta, "sha256": _sha256([patches.data])})
            (temporary / "pack.json").write_text(content, encoding="utf-8")
    except (MolSubError, OSError):
        if not folder.exists():
            raise


def open_pack(folder: Path, subtypes: tuple[str, ...]) -> PatchStore | None:
    """The pack as a store, or None when it is absent or damaged."""
    try:
        description, file = folder / "pack.json", folder / "patches.npy"
        content = json.loads(description.read_text(encoding="utf-8"))
        patches = np.lib.format.open_memmap(file, mode="r")
        # Hashed again only if it was touched since it was written.
        found = file.stat()
        untouched = max(found.st_mtime_ns, found.st_ctime_ns) <= description.stat().st_mtime_ns
        known = content["sha256"] if untouched else None
        return as_store((patches, content["case_index"], content["meta"]), subtypes, known)
    except Exception:  # it is then made again from the entries
        return None


def _sha256(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
