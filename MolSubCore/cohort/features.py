"""Radiomics features of a cohort: computed from the images once, then read from a cache.

Each image has one file in the cache, under the hash of settings, libraries, and the content of image and lesion (the
patch store's own key). Files are written whole or not at all and carry a hash of their content, so several processes
may fill one cache, a damaged file is computed again, and an interrupted run resumes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MolSubCore.cohort.store import Progress, default_cache, entry_file, entry_key, naming_the_row
from MolSubCore.cohort.table import Case, Cohort
from MolSubCore.files import atomic_path
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.radiomics import RadiomicsSettings, lesion_features, perturbed_features, radiomics_versions


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of a cohort: one row for each patch of its store, in the same order.

    Attributes
    ----------
    values : ndarray of float64, shape (N, D)
        NaN where undefined.
    names : tuple of str
        Of the D columns.
    case_index : ndarray of int, shape (N,)
        Position in ``cohort.cases``.
    perturbed : ndarray of float64, shape (N, K, D)
        The same under each of `MolSubCore.lesions.radiomics.PERTURBATIONS`.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    case_index: NDArray[np.int64]
    perturbed: NDArray[np.float64]

    def data_hash(self) -> str:
        """SHA-256 of values and names: no paths, no identifiers."""
        return _digest(self.values, self.perturbed, self.names)


def build_features(
    cohort: Cohort,
    settings: RadiomicsSettings,
    cache_dir: Path | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> FeatureTable:
    """Features of all lesions of a cohort; what the cache has is not computed again.

    Parameters
    ----------
    cache_dir : Path, optional
        The patch store's cache, which has a folder for features.
    workers : int
        Processes that compute; the numbers are the same for any.
    progress : callable, optional
        ``progress(images done, images, "")``.

    Raises
    ------
    MolSubError
        If the radiomics library is not installed.
    CohortError
        If an image or lesion cannot be used; the row is named. Finished images stay in the cache.
    """
    made_by = json.dumps(radiomics_versions(), sort_keys=True)
    decided_by = settings.key() + made_by
    cache = cache_dir or default_cache()
    keys = [entry_key(case, decided_by, cache) for case in cohort.cases]
    files = [entry_file(cache, "features", key) for key in keys]
    found = [_read(file) for file in files]
    missing = [number for number, entry in enumerate(found) if entry is None]
    todo = [(cohort.cases[number], settings, files[number]) for number in missing]
    done = len(files) - len(missing)
    if progress and done:
        progress(done, len(files), "from the cache")
    for number, entry in zip(missing, _computed(todo, workers), strict=True):
        found[number] = entry
        done += 1
        if progress:
            progress(done, len(files), "")
    return _join([entry for entry in found if entry is not None])


Entry = tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]
Job = tuple[Case, RadiomicsSettings, Path]


def _computed(jobs: Sequence[Job], workers: int) -> Iterator[Entry]:
    """Results in the order of the jobs; after an error no new job starts."""
    if min(workers, len(jobs)) <= 1:
        yield from map(_compute, jobs)
        return
    # Spawned: a fork of a process with running threads may hang.
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"))
    try:
        yield from pool.map(_compute, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def _compute(job: Job) -> Entry:
    """Compute the features of one image and write them to the cache."""
    from safetensors.numpy import save_file

    case, settings, file = job
    with naming_the_row(case):
        mammogram = read_mammogram(case.image)
        lesions = read_lesions(case.lesion, mammogram)
        lesions.refuse_problems(case.lesion)
        rows = lesion_features(mammogram, lesions, settings)
        again = perturbed_features(mammogram, lesions, settings)
    names = tuple(rows[0])
    values = np.array([list(row.values()) for row in rows], np.float64)
    perturbed = np.array([[list(row.values()) for row in one] for one in again], np.float64)
    meta = json.dumps({"names": names, "sha256": _digest(values, perturbed, names)})
    with atomic_path(file) as temporary:
        save_file({"values": values, "perturbed": perturbed}, temporary, {"meta": meta})
    return values, perturbed, names


def _read(file: Path) -> Entry | None:
    """The cached features; None if missing or damaged."""
    from safetensors import SafetensorError, safe_open

    with (
        contextlib.suppress(SafetensorError, OSError, KeyError, ValueError, TypeError),
        safe_open(file, "np") as opened,
    ):
        values, perturbed = opened.get_tensor("values"), opened.get_tensor("perturbed")
        meta = json.loads(opened.metadata()["meta"])
        names = tuple(meta["names"])
        if _digest(values, perturbed, names) == meta["sha256"]:
            return values, perturbed, names
    return None


def _digest(values: NDArray[np.float64], perturbed: NDArray[np.float64], names: tuple[str, ...]) -> str:
    digest = hashlib.sha256(json.dumps([values.shape, perturbed.shape, names]).encode())
    for part in (values, perturbed):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _join(entries: Sequence[Entry]) -> FeatureTable:
    index = [number for number, (values, *_) in enumerate(entries) for _ in range(len(values))]
    values, perturbed = (np.concatenate([entry[n] for entry in entries]) for n in (0, 1))
    return FeatureTable(values, entries[0][2], np.array(index, np.int64), perturbed)
