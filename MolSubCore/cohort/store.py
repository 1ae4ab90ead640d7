"""The patch store: patches of a cohort, made from the images once, then read from a cache.

Each image has one entry in the cache, a safetensors file under the hash of the recipe and of the content of image and
lesion file (``hashes/`` keeps those of untouched files). Entries are written whole or not at all, so several processes
may fill one cache, and an interrupted build resumes. In addition there is one pack per cohort, which a later start maps
into memory without opening the entries.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from MolSubCore.cohort.looks import look_of
from MolSubCore.cohort.patches import Entry, PatchStore, as_store, join, open_pack, write_pack
from MolSubCore.cohort.remarks import image_texts, region_texts
from MolSubCore.cohort.table import Case, Cohort, without_paths
from MolSubCore.errors import CohortError
from MolSubCore.files import atomic_path
from MolSubCore.imaging.display import display_step
from MolSubCore.imaging.io.content import content_hash
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.imaging.view_text import facts_from_path, name_doubts
from MolSubCore.lesions.lesion import Box
from MolSubCore.lesions.masks import KNOWN_ENDINGS, name_word, read_lesions
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.lesions.roi import extract_rois, refuse_meaningless

Progress = Callable[[int, int, str], None]

#: Increased whenever images, lesions or patches are read differently, or entries change their form: older entries, and
#: older predictions of a resumed table, are then not used.
READING_VERSION = 18


def default_cache() -> Path:
    """The user's patch cache: ``$MOLSUB_CACHE``, or ``MolSub/patches`` in the user's cache folder."""
    if chosen := os.environ.get("MOLSUB_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("MolSub", appauthor=False)) / "patches"


def build_store(
    cohort: Cohort, recipe: Recipe, cache_dir: Path | None = None, *, progress: Progress | None = None
) -> PatchStore:
    """Patches of all cases; cached ones are not made again.

    Raises
    ------
    CohortError
        If an image or lesion cannot be used; the row is named. Finished entries stay in the cache.
    """
    cache = cache_dir or default_cache()
    settings = recipe.key()
    keys = [entry_key(case, settings, cache) for case in cohort.cases]
    pack = cache / "packs" / hashlib.sha256("".join(keys).encode()).hexdigest()[:40]
    subtypes = tuple(case.subtype.value if case.subtype else "" for case in cohort.cases)
    if (store := open_pack(pack, subtypes)) is None:
        entries = []
        for number, (case, key) in enumerate(zip(cohort.cases, keys, strict=True), start=1):
            entries.append(_entry(case, recipe, entry_file(cache, "entries", key)))
            if progress:
                progress(number, len(keys), "")
        joined = join(entries)
        write_pack(pack, joined)
        store = open_pack(pack, subtypes) or as_store(joined, subtypes)
    elif progress:
        progress(len(keys), len(keys), "from the cache")
    return store


def usable_cases(
    cohort: Cohort, recipe: Recipe, cache_dir: Path | None = None, *, progress: Progress | None = None
) -> tuple[Cohort, list[tuple[Case, CohortError]]]:
    """The cases whose image and lesion can be used (then in the cache), and the others with the reason.

    Raises
    ------
    CohortError
        If none can be used.
    """
    cache, settings, usable, failed = cache_dir or default_cache(), recipe.key(), [], []
    for number, case in enumerate(cohort.cases, start=1):
        key = entry_key(case, settings, cache)
        try:
            _entry(case, recipe, entry_file(cache, "entries", key))
            usable.append(case)
        except CohortError as error:
            failed.append((case, error))
        if progress:
            progress(number, len(cohort.cases), "")
    if not usable:
        raise failed[0][1] if failed else CohortError(cohort.source, "has no case to use", "Add rows to it")
    return Cohort(tuple(usable), cohort.source), failed


def entry_key(case: Case, settings: str, cache: Path | None = None) -> str:
    """SHA-256 of everything that determines a cache entry; a missing file raises its own error later.

    Parameters
    ----------
    settings : str
        Key of the recipe or of other settings that turn an image and its lesions into numbers.
    cache : Path, optional
        Remembers the hashes of files.
    """
    parts: list[object] = [READING_VERSION, settings, case.box]
    for path in (case.image, case.mask):
        if path is not None:
            with contextlib.suppress(OSError):
                parts.append(content_key(path, cache))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def entry_file(cache: Path, kind: str, key: str) -> Path:
    """Where a cache has the entry of a key; `kind` is the folder of such entries."""
    return cache / kind / key[:2] / f"{key[:40]}.safetensors"


def content_key(path: Path, cache: Path | None = None) -> list[object]:
    """Everything that determines what is read from a file: content, ending, and what its name and folder say.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    ending = next((ending for ending in KNOWN_ENDINGS if path.name.lower().endswith(ending)), "")
    told = [*facts_from_path(path), *name_doubts(path, "L", "CC"), *name_doubts(path, "R", "MLO")]
    told.append(name_word(path))
    return [content_hash(path, cache / "hashes" if cache else None), ending, *told]


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
    """Turn any error of an image or a lesion into a CohortError that names the row."""
    try:
        yield
    except Exception as error:  # any error is this row's; the cause stays attached
        raise CohortError(
            f"row {case.row}", without_paths(error, [case]), "molsub cohort check lists all such rows"
        ) from error


def _read_case(case: Case, recipe: Recipe) -> Entry:
    with naming_the_row(case):
        mammogram = read_mammogram(case.image)
        lesions = read_lesions(case.lesion, mammogram)
        rois = extract_rois(mammogram, lesions, recipe)
        refuse_meaningless(mammogram, lesions, rois, case.lesion)
    shared = {
        "laterality": mammogram.laterality,
        "view": mammogram.view,
        "manufacturer": mammogram.manufacturer,
        "presentation": mammogram.presentation,
        "display": recipe.display if recipe.display == "stored" else display_step(mammogram, recipe.display).name,
        "spacing_source": mammogram.spacing.source,
        "spacing_mm": mammogram.spacing.mean_mm,
        "synthetic": mammogram.synthetic,
        "pixels": mammogram.pixel_hash(),
        "look": look_of(mammogram),
    }
    sizes = [_size_mm(lesion.box, mammogram.spacing) for lesion in lesions.lesions]
    if recipe.together:
        sizes = [max((size for size in sizes if size is not None), default=None)]
    of_image = image_texts(mammogram, recipe)
    meta = [
        {**shared, "lesion": roi.lesion, "geometry": roi.geometry.to_dict(), "lesion_mm": size,
         "warnings": {"image": of_image, "lesion": [*lesions.warnings, *region_texts([roi])]}}
        for roi, size in zip(rois, sizes, strict=True)
    ]  # fmt: skip
    return np.stack([roi.patch for roi in rois]), meta


def _size_mm(box: Box, spacing: Spacing) -> float | None:
    """The larger side of a box."""
    if spacing.row_mm is None or spacing.col_mm is None:
        return None
    rows, columns = box.shape
    return max(rows * spacing.row_mm, columns * spacing.col_mm)
