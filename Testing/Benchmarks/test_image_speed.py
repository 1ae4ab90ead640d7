"""From files to patches, each beside the plain alternative."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.cohort.table import read_cohort
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import extract_rois


@pytest.mark.benchmark(group="ROI from a 4096x3328 DICOM file")
@pytest.mark.parametrize("way", ["default recipe (ours)", "published-2025: CLAHE on the whole image (plain)"])
def test_roi(benchmark: BenchmarkFixture, case_4096: tuple[Path, Path], way: str) -> None:
    recipe = get_recipe(way.split()[0].rstrip(":"))

    def run() -> None:
        mammogram = read_mammogram(case_4096[0])
        extract_rois(mammogram, read_lesions(case_4096[1], mammogram), recipe)

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)


@pytest.fixture(scope="module")
def cohort_762(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """381 patients with two small images each, and a filled cache."""
    folder = tmp_path_factory.mktemp("cohort762")
    table = make_synthetic_cohort(folder / "cohort", patients=381, seed=2, image_shape=(320, 256))
    build_store(read_cohort(table), get_recipe("default"), folder / "cache")
    return table, folder / "cache"


@pytest.mark.benchmark(group="start with 762 patches of small (320x256) images")
@pytest.mark.parametrize("way", ["cached (ours)", "uncached loader (plain)"])
def test_start(benchmark: BenchmarkFixture, cohort_762: tuple[Path, Path], tmp_path: Path, way: str) -> None:
    cache = cohort_762[1] if way.startswith("cached") else tmp_path / "empty"

    def run() -> None:
        build_store(read_cohort(cohort_762[0]), get_recipe("default"), cache)

    benchmark.pedantic(run, rounds=1 if way.startswith("uncached") else 5)
