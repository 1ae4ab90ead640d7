"""The cache of features: what comes from it is what would be computed, whatever happened to it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from coarse_cohort import make_coarse_cohort

from MolSubCore.cohort import features as features_module
from MolSubCore.cohort.features import FeatureTable, build_features
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import Cohort, read_cohort
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.radiomics import (
    PERTURBATIONS,
    RadiomicsSettings,
    lesion_features,
    perturbed_features,
    radiomics_versions,
)
from MolSubCore.tasks import Subtype

SETTINGS = RadiomicsSettings(families=("shape", "stat"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {Subtype.LUMINAL_A: 2, Subtype.TN: 1}
    return make_coarse_cohort(tmp_path_factory.mktemp("c") / "c", counts=counts, seed=2, image_shape=(160, 128)).parent


@pytest.fixture
def cohort(drawn: Path, tmp_path: Path) -> Cohort:
    """An own copy of the files."""
    return read_cohort(Path(shutil.copytree(drawn, tmp_path / "c")) / "table.csv")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number for each image whose features are computed."""
    calls: list[int] = []

    def counting(*arguments: Any) -> list[dict[str, float]]:
        calls.append(len(calls))
        return lesion_features(*arguments)

    monkeypatch.setattr(features_module, "lesion_features", counting)
    return calls


def assert_same(first: FeatureTable, second: FeatureTable) -> None:
    assert np.array_equal(first.values, second.values, equal_nan=True)
    assert np.array_equal(first.perturbed, second.perturbed, equal_nan=True)
    assert first.names == second.names
    assert first.case_index.tolist() == second.case_index.tolist()
    assert first.data_hash() == second.data_hash()


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "features").rglob("*.safetensors"))


def test_one_row_for_each_patch_of_the_store(cohort: Cohort, tmp_path: Path) -> None:
    two_lesions(cohort, 1)
    for name, together in (("default", False), ("published-2025", True)):
        store = build_store(cohort, get_recipe(name, bound=10), tmp_path / "cache")
        table = build_features(cohort, dataclasses.replace(SETTINGS, together=together), tmp_path / "cache")
        assert table.case_index.tolist() == store.case_index.tolist()
        assert len(table.values) == (6 if together else 7)


def two_lesions(cohort: Cohort, number: int) -> None:
    """Add a second lesion on the breast of case 1 (P0001_L_MLO), with a label of its own, to a mask."""
    mask = cohort.cases[number].mask
    assert mask is not None
    image = sitk.ReadImage(str(mask))
    array = sitk.GetArrayFromImage(image)
    assert not array[:, 60:80, 40:60].any()
    array[:, 60:80, 40:60] = 2
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(mask))


def test_it_holds_what_the_images_give(cohort: Cohort, tmp_path: Path) -> None:
    two_lesions(cohort, 1)
    table = build_features(cohort, SETTINGS, tmp_path / "cache")
    rows = []
    for case in cohort.cases:
        mammogram = read_mammogram(case.image)
        rows += lesion_features(mammogram, read_lesions(case.lesion, mammogram), SETTINGS)
    assert table.names == tuple(rows[0])
    assert np.array_equal(table.values, [list(row.values()) for row in rows], equal_nan=True)
    assert table.case_index.tolist() == [0, 1, 1, 2, 3, 4, 5]
    mammogram = read_mammogram(cohort.cases[1].image)
    again = perturbed_features(mammogram, read_lesions(cohort.cases[1].lesion, mammogram), SETTINGS)
    expected = [[list(row.values()) for row in one] for one in again]
    assert np.array_equal(table.perturbed[1:3], expected, equal_nan=True)
    assert table.perturbed.shape == (7, len(PERTURBATIONS), len(table.names))


def test_a_second_build_computes_nothing(cohort: Cohort, tmp_path: Path, computed: list[int]) -> None:
    told: list[tuple[int, int, str]] = []
    first = build_features(cohort, SETTINGS, tmp_path / "cache", progress=lambda *step: told.append(step))
    assert [step[:2] for step in told] == [(done, 6) for done in range(1, 7)]
    del told[:]
    assert_same(first, build_features(cohort, SETTINGS, tmp_path / "cache", progress=lambda *step: told.append(step)))
    assert told == [(6, 6, "from the cache")]
    assert len(computed) == 6
    part = build_features(Cohort(cohort.cases[2:5], cohort.source), SETTINGS, tmp_path / "cache")
    assert np.array_equal(part.values, first.values[2:5], equal_nan=True)
    assert len(computed) == 6


def test_a_stopped_build_goes_on(cohort: Cohort, tmp_path: Path, computed: list[int]) -> None:
    def stop(done: int, total: int, text: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_features(cohort, SETTINGS, tmp_path / "cache", progress=stop)
    table = build_features(cohort, SETTINGS, tmp_path / "cache")
    assert len(computed) == 6
    assert_same(table, build_features(cohort, SETTINGS, tmp_path / "other"))


def test_changes_of_mask_settings_and_library_are_noticed(
    cohort: Cohort, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_features(cohort, SETTINGS, tmp_path / "cache")
    two_lesions(cohort, 1)
    second = build_features(cohort, SETTINGS, tmp_path / "cache")
    assert (len(computed), len(second.values)) == (7, len(first.values) + 1)
    build_features(cohort, dataclasses.replace(SETTINGS, normalisation="none"), tmp_path / "cache")
    assert len(computed) == 13
    newer = radiomics_versions() | {"mirp": "99"}
    monkeypatch.setattr(features_module, "radiomics_versions", lambda: newer)
    build_features(cohort, SETTINGS, tmp_path / "cache")
    assert len(computed) == 19


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def bit_of_a_value(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def another_name(file: Path) -> None:
    content = file.read_bytes()
    assert content.count(b"stat_mean") == 1
    file.write_bytes(content.replace(b"stat_mean", b"stat_meat"))


@pytest.mark.parametrize("damage", [cut, empty, bit_of_a_value, another_name])
def test_a_damaged_entry_is_made_again(
    cohort: Cohort, tmp_path: Path, computed: list[int], damage: Callable[[Path], None]
) -> None:
    first = build_features(cohort, SETTINGS, tmp_path / "cache")
    whole = entries(tmp_path / "cache")[2].read_bytes()
    damage(entries(tmp_path / "cache")[2])
    assert_same(first, build_features(cohort, SETTINGS, tmp_path / "cache"))
    assert len(computed) == 7
    assert entries(tmp_path / "cache")[2].read_bytes() == whole


def test_two_at_once_fill_one_cache(cohort: Cohort, tmp_path: Path) -> None:
    """One build in two worker processes, at the same time one in this."""
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda n: build_features(cohort, SETTINGS, tmp_path / "cache", workers=n), (1, 2)))
    alone = build_features(cohort, SETTINGS, tmp_path / "other")
    for table in both:
        assert_same(table, alone)
    assert [file.read_bytes() for file in entries(tmp_path / "cache")] == [
        file.read_bytes() for file in entries(tmp_path / "other")
    ]
    assert not list((tmp_path / "cache").rglob(".tmp*"))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_cannot_be_used_is_named(cohort: Cohort, tmp_path: Path, workers: int) -> None:
    cohort.cases[3].image.write_bytes(b"no image")
    with pytest.raises(CohortError, match=rf"^row {cohort.cases[3].row}: .*molsub cohort check") as caught:
        build_features(cohort, SETTINGS, tmp_path / "cache", workers=workers)
    assert "\n" not in str(caught.value)
    assert len(entries(tmp_path / "cache")) >= 3


def test_the_cache_names_nobody(cohort: Cohort, tmp_path: Path) -> None:
    build_features(cohort, SETTINGS, tmp_path / "cache")
    for file in entries(tmp_path / "cache"):
        text = file.name.encode() + file.read_bytes()
        assert not any(name in text for case in cohort.cases for name in (case.image.stem.encode(), b"/c/"))


def test_without_the_package_nothing_is_read(
    cohort: Cohort, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> dict[str, str]:
        raise MolSubError("radiomics", "needs the package mirp", "Install it")

    monkeypatch.setattr(features_module, "radiomics_versions", missing)
    with pytest.raises(MolSubError, match="radiomics: needs the package mirp"):
        build_features(cohort, SETTINGS, tmp_path / "cache")
    assert not computed
