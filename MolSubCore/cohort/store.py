"""The patch store: patches of a cohort, read from the images once and from a cache ever after.

Each image has one entry in the cache, a safetensors file under the hash of recipe, image and lesion
(path, size, time of change). Entries are written whole or not at all, so several processes may
fill one cache, and a build that was stopped goes on. On top lies one pack per cohort, which a later
start maps into memory without opening the entries.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.cohort.table import Case, Cohort, without_paths
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.files import atomic_folder, atomic_path
from MolSubCore.imaging.lesion import Box, read_lesions
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.imaging.reader import read_mammogram
from MolSubCore.imaging.recipes import Recipe
from MolSubCore.imaging.roi import extract_rois

Progress = Callable[[int, int, str], None]

#: Of what an entry holds; another number leaves older entries aside.
_ENTRY_VERSION = 3


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
        Per patch: laterality, view, manufacturer, presentation, spacing_source, synthetic, pixels (the
        image's hash), geometry, lesion_mm (larger side of the lesion's box; None without a spacing), warnings. No
        identifiers, no paths.
    """

    patches: NDArray[Any]
    case_index: NDArray[np.int64]
    lesion: list[str]
    meta: list[dict[str, Any]]
    subtypes: tuple[str, ...] = ()

    def data_hash(self) -> str:
        """SHA-256 of patches, lesion labels and subtypes: no paths, no identifiers."""
        return self._data_hash

    @cached_property
    def _data_hash(self) -> str:
        digest = hashlib.sha256()
        for part in self._bytes():
            digest.update(part)
        digest.update(json.dumps([self.case_index.tolist(), self.lesion, list(self.subtypes)]).encode())
        return digest.hexdigest()

    def _bytes(self) -> Iterator[bytes | memoryview]:
        """The patches; from their file, where they have one, so that a large cohort is never in memory whole."""
        if not isinstance(self.patches, np.memmap) or self.patches.filename is None:
            yield np.ascontiguousarray(self.patches).data
            return
        with Path(self.patches.filename).open("rb") as file:
            file.seek(self.patches.offset)
            left = self.patches.nbytes
            while left:
                left -= len(part := file.read(min(left, 1 << 24)))
                if not part:
                    raise CohortError("patch cache", "was cut short", "Delete it; it is made again from the images")
                yield part


def default_cache() -> Path:
    """The user's patch cache: ``$MOLSUB_CACHE``, or ``MolSub/patches`` in the user's cache folder."""
    if chosen := os.environ.get("MOLSUB_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("MolSub", appauthor=False)) / "patches"


def build_store(
    cohort: Cohort, recipe: Recipe, cache_dir: Path | None = None, *, progress: Progress | None = None
) -> PatchStore:
    """Patches of all cases; what the cache has is not read again.

    Raises
    ------
    CohortError
        If an image or lesion cannot be used, or two patients have the same image; the row is named. What
        was done stays in the cache.
    """
    cache = cache_dir or default_cache()
    keys = [entry_key(case, recipe.key()) for case in cohort.cases]
    pack = cache / "packs" / hashlib.sha256("".join(keys).encode()).hexdigest()[:40]
    subtypes = tuple(case.subtype.value if case.subtype else "" for case in cohort.cases)
    if (store := _open_pack(pack, subtypes)) is None:
        entries = []
        for number, (case, key) in enumerate(zip(cohort.cases, keys, strict=True), start=1):
            entries.append(_entry(case, recipe, cache / "entries" / key[:2] / f"{key[:40]}.safetensors"))
            if progress:
                progress(number, len(keys), "")
        joined = _join(entries)
        _write_pack(pack, joined)
        store = _open_pack(pack, subtypes) or _as_store(joined, subtypes)
    elif progress:
        progress(len(keys), len(keys), "from the cache")
    _refuse_duplicates(cohort, store)
    return store


def usable_cases(
    cohort: Cohort, recipe: Recipe, cache_dir: Path | None = None, *, progress: Progress | None = None
) -> tuple[Cohort, list[tuple[Case, CohortError]]]:
    """The cases whose image and lesion can be used, which are then in the cache, and the others with the reason.

    Raises
    ------
    CohortError
        If none can be used.
    """
    cache, usable, failed = cache_dir or default_cache(), [], []
    for number, case in enumerate(cohort.cases, start=1):
        key = entry_key(case, recipe.key())
        try:
            _entry(case, recipe, cache / "entries" / key[:2] / f"{key[:40]}.safetensors")
            usable.append(case)
        except CohortError as error:
            failed.append((case, error))
        if progress:
            progress(number, len(cohort.cases), "")
    if not usable:
        raise failed[0][1] if failed else CohortError(cohort.source, "has no case to use", "Add rows to it")
    return Cohort(tuple(usable), cohort.source), failed


def _refuse_duplicates(cohort: Cohort, store: PatchStore) -> None:
    """One picture under two patients would lie on both sides of a split."""
    seen: dict[str, Case] = {}
    for number, meta in zip(store.case_index.tolist(), store.meta, strict=True):
        case = cohort.cases[number]
        earlier = seen.setdefault(meta["pixels"], case)
        if earlier.patient_id != case.patient_id:
            found = f"has the same pixels as row {earlier.row}, which is another patient"
            raise CohortError(f"row {case.row}", found, "Leave out one of them, or give both the same patient_id")


def entry_key(case: Case, settings: str) -> str:
    """SHA-256 of all that decides an entry of a cache; a missing file gives its own error later.

    Parameters
    ----------
    settings : str
        Key of the recipe, or of whatever else turns an image and its lesions into numbers.
    """
    parts: list[object] = [_ENTRY_VERSION, settings, case.box]
    for path in (case.image, case.mask):
        if path is not None:
            with contextlib.suppress(OSError):
                status = path.stat()
                parts.append((os.path.realpath(path), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


Entry = tuple[NDArray[Any], list[dict[str, Any]]]


def _entry(case: Case, recipe: Recipe, file: Path) -> Entry:
    """One image's patches from the cache, or from the image; a damaged entry is made again."""
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import save_file

    with (
        contextlib.suppress(SafetensorError, OSError, KeyError, ValueError, TypeError),
        safe_open(file, "np") as opened,
    ):
        return opened.get_tensor("patches"), json.loads(opened.metadata()["meta"])
    patches, meta = _read_case(case, recipe)
    with atomic_path(file) as temporary:
        save_file({"patches": patches}, temporary, metadata={"meta": json.dumps(meta)})
    return patches, meta


@contextlib.contextmanager
def naming_the_row(case: Case) -> Iterator[None]:
    """Turn what is wrong with an image or a lesion into a CohortError that names the row."""
    try:
        yield
    except (MolSubError, OSError) as error:
        raise CohortError(
            f"row {case.row}", without_paths(error, [case]), "molsub cohort check lists all such rows"
        ) from None


def _read_case(case: Case, recipe: Recipe) -> Entry:
    with naming_the_row(case):
        mammogram = read_mammogram(case.image)
        lesions = read_lesions(case.lesion, mammogram)
        rois = extract_rois(mammogram, lesions, recipe)
    shared = {
        "laterality": mammogram.laterality,
        "view": mammogram.view,
        "manufacturer": mammogram.manufacturer,
        "presentation": mammogram.presentation,
        "spacing_source": mammogram.spacing.source,
        "synthetic": mammogram.synthetic,
        "pixels": mammogram.pixel_hash(),
    }
    sizes = [_size_mm(lesion.box, mammogram.spacing) for lesion in lesions.lesions]
    if recipe.together:
        sizes = [max((size for size in sizes if size is not None), default=None)]
    meta = [
        {**shared, "lesion": roi.lesion, "geometry": roi.geometry.to_dict(), "lesion_mm": size,
         "warnings": [*mammogram.warnings, *lesions.warnings, *roi.warnings]}
        for roi, size in zip(rois, sizes, strict=True)
    ]  # fmt: skip
    return np.stack([roi.patch for roi in rois]), meta


def _size_mm(box: Box, spacing: Spacing) -> float | None:
    """The larger side of a box."""
    if spacing.row_mm is None or spacing.col_mm is None:
        return None
    rows, columns = box.shape
    return max(rows * spacing.row_mm, columns * spacing.col_mm)


Joined = tuple[NDArray[Any], list[int], list[dict[str, Any]]]


def _join(entries: Sequence[Entry]) -> Joined:
    """All patches, the case of each, and the meta data of each."""
    index = [number for number, (patches, _) in enumerate(entries) for _ in range(len(patches))]
    return np.concatenate([patches for patches, _ in entries]), index, [entry for _, meta in entries for entry in meta]


def _as_store(joined: Joined, subtypes: tuple[str, ...]) -> PatchStore:
    patches, index, meta = joined
    if not len(patches) == len(index) == len(meta):
        raise ValueError("parts of a pack differ in length")
    return PatchStore(patches, np.array(index, np.int64), [entry["lesion"] for entry in meta], meta, subtypes)


def _write_pack(folder: Path, joined: Joined) -> None:
    """Write a pack in the place of a damaged one, unless another process has just put its own there."""
    patches, index, meta = joined
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with atomic_folder(folder) as temporary:
            np.save(temporary / "patches.npy", patches)
            content = json.dumps({"case_index": index, "meta": meta})
            (temporary / "pack.json").write_text(content, encoding="utf-8")
    except (MolSubError, OSError):
        if not folder.exists():
            raise


def _open_pack(folder: Path, subtypes: tuple[str, ...]) -> PatchStore | None:
    """The pack as a store, or None when it is absent or damaged."""
    try:
        content = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        patches = np.lib.format.open_memmap(folder / "patches.npy", mode="r")
        return _as_store((patches, content["case_index"], content["meta"]), subtypes)
    except Exception:  # whatever is wrong with it, it is made again from the entries
        return None
