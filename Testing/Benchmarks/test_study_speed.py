"""The overhead of a study: its plan, the merging of its results, its workers, and a very large cohort."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Core"))

from fake_study import evaluate_quickly, make_fake_study

from MolSubCore.cohort.store import build_store, entry_key
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.cohort.table import read_cohort
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.study.options import PAPER_ARCHITECTURES, StudyOptions
from MolSubCore.study.page.report import compare_all, main_runs, make_tables, write_tables
from MolSubCore.study.plan import plan_study
from MolSubCore.study.results import read_study
from MolSubCore.tasks import Subtype
from MolSubCore.worker.executor import run_local

PLAN_LIMIT, MERGE_LIMIT, LARGE_LIMIT, MEMORY_LIMIT = 2.0, 5.0, 60.0, 2 << 30
SETTINGS = {"threads": 1}


def options(table: Path, out: Path, cache: Path, **more: object) -> StudyOptions:
    chosen = StudyOptions(table, out, models=PAPER_ARCHITECTURES, cache=cache, pretrained="none", settings=SETTINGS)
    return replace(chosen, **more)  # type: ignore[arg-type]


def filled_cache(folder: Path, table: Path) -> Path:
    """A cache as it is after the images were read once; the patches are a file of zeros that takes no room."""
    cohort, recipe = read_cohort(table), get_recipe("default")
    keys = "".join(entry_key(case, recipe.key()) for case in cohort.cases)
    pack = folder / "packs" / hashlib.sha256(keys.encode()).hexdigest()[:40]
    pack.mkdir(parents=True)
    count = len(cohort.cases)
    np.lib.format.open_memmap(pack / "patches.npy", "w+", np.float16, (count, recipe.size, recipe.size)).flush()
    place = {"row_start": 0, "row_stop": 200, "col_start": 0, "col_stop": 200}
    same = {"lesion": "1", "spacing_source": "unknown", "spacing_mm": None, "geometry": place, "manufacturer": None,
            "display": "percentile-3", "look": base64.b64encode(bytes(3 * 48 * 48)).decode(),
            "warnings": {"image": [], "lesion": []}}  # fmt: skip
    meta = [{**same, "view": case.extra["view"], "pixels": str(n)}
            for n, case in enumerate(cohort.cases)]  # fmt: skip
    content = json.dumps({"case_index": list(range(count)), "meta": meta, "sha256": "0" * 64})
    (pack / "pack.json").write_text(content, encoding="utf-8")
    return folder


def table_of(path: Path, patients: int) -> Path:
    """A table with two views a patient; its images are only names."""
    rng = np.random.default_rng(0)
    subtypes = [subtype.value for subtype in Subtype]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient_id", "image", "mask", "subtype", "view", "age"])
        for patient in range(patients):
            subtype, age = rng.choice(subtypes, p=(0.26, 0.4, 0.14, 0.07, 0.13)), int(rng.normal(60, 10))
            for view in ("CC", "MLO"):
                writer.writerow(
                    [f"P{patient}", f"{patient}_{view}.dcm", f"{patient}_{view}.nii.gz", subtype, view, age]
                )
    return path


@pytest.mark.benchmark(group="plan of 180 jobs on 762 images")
def test_plan(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    table = table_of(tmp_path / "table.csv", 381)
    cache = filled_cache(tmp_path / "cache", table)
    found = benchmark.pedantic(lambda: plan_study(options(table, tmp_path / "study", cache)), rounds=3)
    assert len(found.jobs) == 180
    benchmark.extra_info["limit_s"] = PLAN_LIMIT
    assert benchmark.stats.stats.median < PLAN_LIMIT


@pytest.mark.benchmark(group="merging 180 finished results")
@pytest.mark.parametrize("way", ["evaluations kept (ours)", "evaluated anew (plain)"])
def test_merge(benchmark: BenchmarkFixture, tmp_path: Path, way: str) -> None:
    study = make_fake_study(tmp_path, models=PAPER_ARCHITECTURES, fusions={}, attention=False)
    kept = way.startswith("evaluations")

    def merge() -> None:
        for run in [] if kept else (study / "runs").iterdir():
            evaluate_quickly(run, 2000)
        results = read_study(study)
        assert len(results.runs) == 36
        write_tables(results, make_tables(results, compare_all(results), main_runs(results)))

    benchmark.pedantic(merge, rounds=3 if kept else 1)
    if kept:
        benchmark.extra_info["limit_s"] = MERGE_LIMIT
        assert benchmark.stats.stats.median < MERGE_LIMIT


@pytest.mark.benchmark(group="four jobs of DenseNet121-CBAM, 2 cores, start of the workers included")
@pytest.mark.parametrize("way", ["2 workers, threads capped (ours)", "1 worker, all threads (plain)"])
def test_workers(benchmark: BenchmarkFixture, tmp_path: Path, way: str) -> None:
    table = make_synthetic_cohort(
        tmp_path / "cohort", counts=dict.fromkeys(Subtype, 5), seed=1, image_shape=(256, 208)
    )  # fmt: skip
    build_store(read_cohort(table), get_recipe("default"), tmp_path / "cache")
    workers = int(way[0])
    settings = {"epochs": 1, "folds": 4, "threads": max(2 // workers, 1)}
    chosen = options(table, tmp_path / "study", tmp_path / "cache", workers=workers, settings=settings)
    study = plan_study(replace(chosen, models=("densenet121-cbam",), tasks=("luminal",)))
    study.write()

    def run() -> None:
        assert not run_local(study.jobs, workers, lambda job, event: None)

    benchmark.pedantic(run, rounds=1)


def plan_large(folder: Path) -> None:
    """Plan, split, describe and check a large cohort, and print the seconds and the peak memory."""
    started = time.perf_counter()
    study = plan_study(options(folder / "table.csv", folder / "study", folder / "cache"))
    study.write()
    parts = [
        {name for name, part in study.split.partition.items() if part == wanted} for wanted in ("test", 1, 2, 3, 4, 5)
    ]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 50_000
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": time.perf_counter() - started, "memory": memory, "jobs": len(study.jobs)}))


@pytest.mark.benchmark(
    group="a cohort of 100,000 images: read, divided, checked for leaks, 180 jobs planned and written"
)
def test_large_cohort(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    filled_cache(tmp_path / "cache", table_of(tmp_path / "table.csv", 50_000))
    found: dict[str, float] = {}

    def run() -> None:
        done = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=True)
        found.update(json.loads(done.stdout))

    benchmark.pedantic(run, rounds=1)
    shutil.rmtree(tmp_path / "cache")
    benchmark.extra_info |= {"GiB": round(found["memory"] / 2**30, 2), "limit_s": LARGE_LIMIT}
    assert found["jobs"] == 180
    assert found["seconds"] < LARGE_LIMIT
    assert found["memory"] < MEMORY_LIMIT


if __name__ == "__main__":
    plan_large(Path(sys.argv[1]))
