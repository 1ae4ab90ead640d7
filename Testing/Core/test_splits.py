"""Divisions of patients: properties over random cohorts, files, and scikit-learn's division beside ours."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from MolSubCore.cohort.pseudonyms import key_advice
from MolSubCore.cohort.splits import TEST, Split, make_split, read_split, subtypes_of, write_split
from MolSubCore.cohort.table import Case, Cohort
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.files import read_json, write_json
from MolSubCore.tasks import TASKS, Subtype

PAPER = (102, 155, 54, 27, 52)  # patients per subtype, Table 1


def make_cohort(counts: tuple[int, ...], views: int = 2, prefix: str = "P") -> Cohort:
    """Patients of every subtype in a scrambled order, with several images each."""
    cases = []
    for number, subtype in enumerate(s for s, count in zip(Subtype, counts, strict=True) for _ in range(count)):
        for view in range(views):
            name = f"{prefix}{number * 7919 % 100003}"
            cases.append(Case(len(cases) + 2, name, Path(f"{name}-{view}.dcm"), Path("m.png"), None, subtype))
    return Cohort(tuple(cases), Path("table.csv"))


def by_partition(cohort: Cohort, split: Split, task: str) -> dict[object, Counter[str]]:
    """Patients per class in every partition."""
    found: dict[object, Counter[str]] = defaultdict(Counter)
    for patient, subtype in {c.patient_id: c.subtype for c in cohort.cases}.items():
        assert subtype is not None
        found[split.partition_of(patient)][TASKS[task].class_of[subtype]] += 1
    return found


counts = st.tuples(*[st.integers(0, 40)] * 5)


@settings(deadline=None, max_examples=200)
@given(st.data(), st.sampled_from(sorted(TASKS)), st.integers(1, 6), st.floats(0.1, 0.5), st.integers(0, 2**32))
def test_every_partition_has_every_class(data: st.DataObject, task: str, folds: int, share: float, seed: int) -> None:
    near = st.integers(folds + 1, folds + 4)  # around the smallest size that will do
    counts = data.draw(st.tuples(*[near] * 5) | st.tuples(*[st.integers(0, 40)] * 5))
    cohort = make_cohort(counts)
    totals = Counter(TASKS[task].class_of[s] for s, n in zip(Subtype, counts, strict=True) for _ in range(n))
    if min(totals[name] for name in TASKS[task].classes) < max(folds, 2) + 1:
        with pytest.raises(CohortError, match="need"):
            make_split(cohort, TASKS[task], folds=folds, test_share=share, seed=seed)
        return
    split = make_split(cohort, TASKS[task], folds=folds, test_share=share, seed=seed)
    parts = by_partition(cohort, split, task)
    assert set(parts) == {TEST, *(range(1, folds + 1) if folds > 1 else (0, 1))}
    for part in parts.values():
        assert all(part[name] >= 1 for name in TASKS[task].classes)
    assert len(split.partition) == sum(counts)


@settings(deadline=None, max_examples=100)
@example((7, 7, 7, 12, 15), "her2", 6, 0)
@given(counts, st.sampled_from(sorted(TASKS)), st.integers(2, 6), st.integers(0, 2**32))
def test_stratified_four_to_one(counts: tuple[int, ...], task: str, folds: int, seed: int) -> None:
    """Within every subtype the folds differ by one patient, and the test set by two from a fifth."""
    assume(min(counts) > folds)
    cohort = make_cohort(counts)
    split = make_split(cohort, TASKS[task], folds=folds, seed=seed)
    parts = by_partition(cohort, split, "subtype5")
    sizes = [sum(parts[n].values()) for n in range(1, folds + 1)]
    assert max(sizes) - min(sizes) <= 1
    for subtype, count in zip(Subtype, counts, strict=True):
        members = [parts[n][subtype.value] for n in range(1, folds + 1)]
        assert max(members) - min(members) <= 1
        assert abs(parts[TEST][subtype.value] - 0.2 * count) < 2
    assert abs(sum(parts[TEST].values()) - 0.2 * sum(counts)) < 3


def test_the_papers_cohort() -> None:
    """390 patients, 4:1 and five folds, each subtype near its share everywhere."""
    cohort = make_cohort(PAPER)
    parts = by_partition(cohort, make_split(cohort, TASKS["subtype5"]), "subtype5")
    assert sum(parts[TEST].values()) == 78
    assert [sum(parts[n].values()) for n in range(1, 6)] == pytest.approx([62.4] * 5, abs=0.7)
    for subtype, count in zip(Subtype, PAPER, strict=True):
        assert abs(parts[TEST][subtype.value] - 0.2 * count) <= 1
        assert all(abs(parts[n][subtype.value] - 0.16 * count) <= 1 for n in range(1, 6))


def test_balance_is_no_worse_than_scikit_learns() -> None:
    """Largest difference between folds in patients of one class, and in all patients."""
    cohort = make_cohort(PAPER)
    split = make_split(cohort, TASKS["subtype5"])
    cases = [case for case in cohort.cases if split.partition_of(case.patient_id) != TEST]
    labels = np.array([list(Subtype).index(case.subtype) for case in cases if case.subtype])
    groups = np.array([case.patient_id for case in cases])
    ours = np.array([split.partition_of(case.patient_id) for case in cases]).astype(int)
    theirs = np.zeros(len(cases), int)
    divider = StratifiedGroupKFold(5, shuffle=True, random_state=21)
    for fold, (_, held) in enumerate(divider.split(labels, labels, groups), start=1):
        theirs[held] = fold

    def spread(folds: np.ndarray) -> tuple[int, int]:
        table = np.array([np.bincount(labels[folds == n], minlength=5) // 2 for n in range(1, 6)])  # two views each
        return int(np.ptp(table, axis=0).max()), int(np.ptp(table.sum(axis=1)))

    assert spread(ours) == (1, 1)
    assert all(mine <= other for mine, other in zip(spread(ours), spread(theirs), strict=True))
    assert all(len(set(ours[groups == patient])) == 1 for patient in set(groups))


@given(st.integers(0, 2**32), st.randoms())
@settings(deadline=None, max_examples=20)
def test_the_seed_decides_and_nothing_else(seed: int, shuffle: st.DrawFn) -> None:
    cohort = make_cohort((8, 9, 7, 8, 10))
    cases = list(cohort.cases)
    shuffle.shuffle(cases)  # type: ignore[attr-defined]
    task = TASKS["tn"]
    patients = {case.patient_id for case in cases}
    first = make_split(cohort, task, seed=seed)
    again = make_split(Cohort(tuple(cases), Path("other.csv")), task, seed=seed)
    other = make_split(cohort, task, seed=seed + 1)
    assert first.salt != again.salt
    assert all(first.partition_of(p) == again.partition_of(p) for p in patients)
    assert any(first.partition_of(p) != other.partition_of(p) for p in patients)


def test_one_division_serves_every_task() -> None:
    cohort = make_cohort(PAPER)
    splits = [make_split(cohort, task, salt="s") for task in TASKS.values()]
    assert all(split.partition == splits[0].partition for split in splits)


def test_file_round_trip_without_patients_names(tmp_path: Path) -> None:
    cohort = make_cohort((8, 8, 8, 8, 8), prefix="NAME")
    split = make_split(cohort, TASKS["tn"], folds=3)
    write_split(split, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json", cohort) == split
    text = (tmp_path / "split.json").read_text()
    assert "NAME" not in text
    assert not any(case.patient_id.removeprefix("NAME") in text.split('"') for case in cohort.cases)
    assert len({split.study_id(case.patient_id) for case in cohort.cases}) == 40


def write_csv(path: Path, partition: dict[str, object]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["patient_id", "partition"], *partition.items()])
    return path


def test_a_table_of_partitions(tmp_path: Path) -> None:
    cohort = make_cohort((8, 8, 8, 8, 8))
    split = make_split(cohort, TASKS["tn"], folds=3)
    told: dict[str, object] = {c.patient_id: split.partition_of(c.patient_id) for c in cohort.cases}
    read = read_split(write_csv(tmp_path / "split.csv", told), cohort)
    assert {patient: read.partition_of(patient) for patient in told} == told
    assert (read.folds, read.seed) == (3, -1)


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_the_split_of_another_cohort_is_refused(tmp_path: Path, suffix: str) -> None:
    cohort = make_cohort((8, 8, 8, 8, 8))
    split = make_split(cohort, TASKS["tn"], folds=3)
    path = tmp_path / f"split.{suffix}"
    if suffix == "json":
        write_split(split, path)
    else:
        write_csv(path, {c.patient_id: split.partition_of(c.patient_id) for c in cohort.cases})
    with pytest.raises(CohortError, match="lacks 40 patient"):
        read_split(path, make_cohort((8, 8, 8, 8, 8), prefix="Q"))
    with pytest.raises(CohortError, match="lacks 1 patient"):
        read_split(path, Cohort((*cohort.cases, *make_cohort((1, 0, 0, 0, 0), prefix="Q").cases), Path("t")))
    with pytest.raises(CohortError, match="names 1 patient"):
        read_split(path, Cohort(cohort.cases[:-2], Path("t")))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([["patient_id", "partition"], ["P0", "test"], ["P0", "2"]], "partitions test and 2"),
        ([["patient_id", "partition"], ["P0", "half"]], "half"),
        ([["patient_id", "partition"], ["P0"]], "not a split table"),
        ([["patient", "part"], ["P0", "test"]], "patient_id,partition"),
        ([["patient_id", "partition"], ["P0", "test"], ["P7919", "2"]], "without a gap"),
        ([["patient_id", "partition"], ["P0", "1"], ["P7919", "2"]], "expected 'test'"),
        ([["patient_id", "partition"], ["P0", "test"], ["P7919", "-1"]], "without a gap"),
        ([], "not a split table|partitions"),
    ],
)
def test_tables_that_are_no_split(tmp_path: Path, rows: list[list[str]], text: str) -> None:
    with (tmp_path / "s.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(CohortError, match=text):
        read_split(tmp_path / "s.csv", make_cohort((2, 0, 0, 0, 0)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.sampled_from(["partition", "salt", "folds", "seed"]), json_values) | json_values)
def test_any_other_json_is_one_line(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    path = tmp_path_factory.mktemp("s") / "split.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CohortError) as caught:
        read_split(path, make_cohort((8, 8, 8, 8, 8)))
    assert "\n" not in str(caught.value)


def test_a_changed_split_file_is_refused(tmp_path: Path) -> None:
    cohort = make_cohort((8, 8, 8, 8, 8))
    write_split(make_split(cohort, TASKS["tn"], folds=3), tmp_path / "s.json")
    content = read_json(tmp_path / "s.json")
    for change in ({"folds": 4}, {"folds": 2}, {"folds": float("inf")}):
        (tmp_path / "t.json").write_text(json.dumps(content | change))
        with pytest.raises(CohortError):
            read_split(tmp_path / "t.json", cohort)
    first = next(iter(content["partition"]))
    write_json(tmp_path / "t.json", content | {"partition": content["partition"] | {first: 1.5}})
    with pytest.raises(CohortError):
        read_split(tmp_path / "t.json", cohort)


def with_second_cancer(first: dict[str, str], second: dict[str, str]) -> Cohort:
    """A cohort whose first patient, of Luminal A, has a further image of a triple negative cancer."""
    cohort = make_cohort((8, 8, 8, 8, 8))
    patient = cohort.cases[0].patient_id
    cases = [replace(case, extra=first) if case.patient_id == patient else case for case in cohort.cases]
    return Cohort((*cases, Case(99, patient, Path("x"), None, "1,2,3,4", Subtype.TN, second)), Path("t"))


@pytest.mark.parametrize(("first", "second"), [("", ""), ("L", ""), ("", "R"), ("L", "left")])
def test_a_breast_of_two_subtypes_is_refused(first: str, second: str) -> None:
    cohort = with_second_cancer({"laterality": first}, {"side": second})
    with pytest.raises(CohortError, match=r"row 99: this patient has another subtype in row 2.* column laterality"):
        make_split(cohort, TASKS["tn"])


def test_two_breasts_may_have_two_subtypes_and_stay_one_patient() -> None:
    cohort = with_second_cancer({"laterality": "L"}, {"laterality": "R"})
    assert subtypes_of(cohort)[cohort.cases[0].patient_id] == (Subtype.LUMINAL_A, Subtype.TN)
    split = make_split(cohort, TASKS["subtype5"], folds=2)
    assert len(split.partition) == 40
    for partition in (TEST, 1, 2):
        members = {case.subtype for case in cohort.cases if split.partition_of(case.patient_id) == partition}
        assert members == set(Subtype)


@pytest.mark.parametrize("values", [{"folds": 0}, {"folds": -2}, {"test_share": 0.0}, {"test_share": 1.5}])
def test_numbers_out_of_range_are_named(values: dict[str, float]) -> None:
    with pytest.raises(CohortError, match="expected"):
        make_split(make_cohort((8, 8, 8, 8, 8)), TASKS["tn"], **values)  # type: ignore[arg-type]


def test_the_key_of_the_pseudonyms_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the split file and all patient ids finds no pseudonym; whoever has the key goes on."""
    monkeypatch.setenv("MOLSUB_KEY", str(tmp_path / "private" / "a.key"))
    cohort = make_cohort((8, 8, 8, 8, 8))
    split, other = (make_split(cohort, TASKS["tn"], folds=2) for _ in range(2))
    write_split(split, tmp_path / "split.json")
    content = read_json(tmp_path / "split.json")
    assert content["format_version"] == 2
    for known in (content["nonce"], content["key"], "", content["nonce"] + content["key"]):
        ids = {"S" + hashlib.sha256((known + case.patient_id).encode()).hexdigest()[:12] for case in cohort.cases}
        assert not ids & set(content["partition"])
    assert not set(split.partition) & set(other.partition)  # nor are two results' pseudonyms the same
    assert read_split(tmp_path / "split.json", cohort) == split
    if os.name != "nt":
        assert (tmp_path / "private" / "a.key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("MOLSUB_KEY", str(tmp_path / "b.key"))
    for _ in range(2):  # without a key, and with another
        with pytest.raises(MolSubError, match="MOLSUB_KEY"):
            read_split(tmp_path / "split.json", cohort)
        make_split(cohort, TASKS["tn"], folds=2)
    (tmp_path / "b.key").write_text("none")
    with pytest.raises(MolSubError, match="is not a key"):
        make_split(cohort, TASKS["tn"], folds=2)


def test_a_split_of_an_earlier_version_is_read_and_told(tmp_path: Path) -> None:
    cohort = make_cohort((8, 8, 8, 8, 8))
    split = make_split(cohort, TASKS["tn"], folds=2, salt="s")
    write_split(split, tmp_path / "split.json")
    assert read_json(tmp_path / "split.json")["salt"] == "s"
    assert read_split(tmp_path / "split.json", cohort) == split
    assert "holds the salt" in key_advice(tmp_path / "split.json")
