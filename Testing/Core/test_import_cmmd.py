"""CMMD: its full size without a pixel, its traps one by one, and the true formats."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from import_trees import (
    Breast,
    cmmd_breasts,
    header,
    left_out,
    picture,
    write_cmmd,
    write_image,
    write_outline,
    write_rows,
)

from MolSubCore.cohort.check import check_cohort
from MolSubCore.cohort.importers import cmmd
from MolSubCore.cohort.importers.base import NO_MAMMOGRAM, NO_SIDE, TWIN, TWIN_SUBTYPE, ImportOptions
from MolSubCore.cohort.importers.importing import import_cohort
from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import CohortError
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.tasks import PartialSubtype, Subtype

OPENED: Counter[str] = Counter()
WATCHED: list[str] = []


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHED and event == "open" and str(arguments[0]).startswith(WATCHED[0]):
        OPENED[str(arguments[0])] += 1


sys.addaudithook(_count)  # a hook cannot be taken away again; without a watched folder it does nothing


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    """A folder whose opened files are counted."""
    yield tmp_path / "cohort"
    WATCHED.clear()
    OPENED.clear()


def test_the_full_size_is_joined_without_a_pixel(watched: Path, tmp_path: Path) -> None:
    breasts = list(cmmd_breasts())
    write_cmmd(watched, breasts)
    labelled = [breast for breast in breasts if breast.clinical and breast.clinical[1]]
    for breast in labelled:
        corners = [(900.0, 700.0), (1000.0, 700.0), (1000.0, 820.0)]
        write_outline(watched / "annotations", breast.patient, "MLO", breast.side, corners)
    WATCHED.append(str(watched))
    report = import_cohort("cmmd", watched, tmp_path / "table.csv")
    opened = Counter(OPENED)
    WATCHED.clear()
    # counted from the make-up alone: two images a breast, outlines of one view
    sure = [breast for breast in breasts if breast.patient not in cmmd.WRONG_SIDE]
    assert report.content["inputs"]["images"]["total"] == 2 * len(breasts) == 5202
    assert left_out(report) == {
        cmmd.UNLABELLED: 2 * sum(b.clinical is None for b in sure),
        cmmd.BENIGN: 2 * sum(b.clinical == ("Benign", "") for b in sure),
        cmmd.NOT_GIVEN: 2 * sum(b.clinical == ("Malignant", "") for b in sure),
        "no lesion outline": sum(b in labelled for b in sure),
        cmmd.WRONG_TAG: 2 * (len(breasts) - len(sure)),
    }
    assert sum(b.clinical is None for b in breasts) == 729
    subtypes = Counter(b.clinical[1] for b in sure if b.clinical and b.clinical[1])
    assert report.content["tasks"]["subtype4"]["patients"] == {
        "Luminal A": subtypes["Luminal A"],
        "Luminal B": subtypes["Luminal B"],
        "HER2-enriched": subtypes["HER2-enriched"],
        "TN": subtypes["triple negative"],
    }
    assert max(count for name, count in opened.items() if not name.endswith(".csv")) == 1
    assert len(opened) == 5202 + len(labelled) + 1
    rows = read_cohort(report.table).cases
    assert len(rows) == len([b for b in labelled if b in sure])
    assert {case.extra["view"] for case in rows} == {"MLO"}


def small(folder: Path, *breasts: Breast, shape: tuple[int, int] = (300, 200)) -> dict[tuple[str, str, str], Path]:
    """Images with pixels, outlines of both views and a clinical table."""
    images: dict[tuple[str, str, str], Path] = {}
    for number, breast in enumerate(breasts):
        for view in ("CC", "MLO"):
            place = folder / "CMMD" / breast.patient / f"{breast.side}-{view}.dcm"
            pixels = picture(shape, seed=2 * number + (view == "MLO"))
            images[breast.patient, breast.side, view] = write_image(
                place, pixels, of=header(breast.patient, breast.side, view)
            )
            write_outline(folder, breast.patient, view, breast.side, [(20, 30), (60, 30), (60, 90), (20, 90)])
    rows = [[b.patient, b.side, 51, 2, "mass", *b.clinical] for b in breasts if b.clinical is not None]
    write_rows(folder / "clinical.csv", [["ID1", "LeftRight", "Age", "number", "abnormality", "classification",
                                          "subtype"], *rows])  # fmt: skip
    return images


def malignant(patient: str, side: str, subtype: str) -> Breast:
    return Breast(patient, side, ("Malignant", subtype))


def test_an_unlabelled_breast_is_not_benign_and_may_be_kept(tmp_path: Path) -> None:
    small(tmp_path / "c", malignant("D2-0001", "L", "Luminal A"), Breast("D2-0001", "R", None))
    report = import_cohort("cmmd", tmp_path / "c", tmp_path / "t.csv", ImportOptions(keep_unlabelled=True))
    found = {(case.extra["laterality"], case.subtype) for case in read_cohort(report.table, need_subtype=False).cases}
    assert found == {("L", Subtype.LUMINAL_A), ("R", None)}
    plain = import_cohort("cmmd", tmp_path / "c", tmp_path / "u.csv")
    assert left_out(plain) == {cmmd.UNLABELLED: 2}


def test_subtypes_and_extra_columns(tmp_path: Path) -> None:
    words = {"Luminal A": Subtype.LUMINAL_A, "HER2-enriched": PartialSubtype.HER2, " triple negative\n": Subtype.TN}
    breasts = [malignant(f"D2-000{number}", "L", word) for number, word in enumerate(words, start=1)]
    small(tmp_path / "c", *breasts, malignant("D2-0009", "R", "normal-like"))
    report = import_cohort("cmmd", tmp_path / "c", tmp_path / "t.csv")
    cases = {case.patient_id: case for case in read_cohort(report.table).cases}
    assert [cases[b.patient].subtype for b in breasts] == list(words.values())
    assert left_out(report) == {cmmd.NOT_UNDERSTOOD: 2}
    assert (cases["D2-0001"].extra["age"], cases["D2-0001"].extra["lesion_labels"]) == ("51", "mass")
    assert not check_cohort(report.table).problems


def test_the_same_pixels_under_two_patients_are_found(tmp_path: Path) -> None:
    pairs = (("D1-0202", "D2-0284"), ("D1-0808", "D1-1292"))
    assert pairs == cmmd.TWINS
    folder = tmp_path / "c"
    images = small(folder, malignant("D1-0202", "L", "Luminal A"), malignant("D2-0284", "R", "Luminal A"),
                   malignant("D1-0808", "L", "TN"), malignant("D1-1292", "L", "Luminal B"),
                   malignant("D2-0500", "L", "TN"))  # fmt: skip
    shape = (300, 200)
    write_image(images["D2-0284", "R", "CC"], picture(shape, seed=0), of=header("D2-0284", "R", "CC"))
    write_image(images["D1-1292", "L", "CC"], picture(shape, seed=4), of=header("D1-1292", "L", "CC"))
    write_image(images["D2-0500", "L", "CC"], picture(shape, seed=3), of=header("D2-0500", "L", "CC"))
    report = import_cohort("cmmd", folder, tmp_path / "t.csv")
    assert left_out(report) == {TWIN: 1, TWIN_SUBTYPE: 2}
    (problem,) = check_cohort(report.table).problems  # of patients who are not known to share pixels
    assert "same pixels" in problem.text
    whole = import_cohort("cmmd", folder, tmp_path / "u.csv", ImportOptions(compare_pixels=True))
    # D2-0500 shares its pixels with the other view of D2-0284, of another subtype: both go
    assert left_out(whole) == {TWIN: 1, TWIN_SUBTYPE: 4}
    assert not check_cohort(whole.table).problems


def test_wrong_side_tags_two_subtypes_sixteen_bits_and_points_outside(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    images = small(folder, malignant("D2-0041", "L", "TN"), malignant("D2-0700", "L", "TN"),
                   malignant("D2-0700", "R", "Luminal A"), malignant("D2-0701", "R", "TN"))  # fmt: skip
    pixels = picture((300, 200), seed=9).astype(np.uint16) * 16
    write_image(images["D2-0701", "R", "CC"], pixels, of=header("D2-0701", "R", "CC"))
    write_outline(folder, "D2-0701", "CC", "R", [(-3.5, 10), (60, 10), (60, 40), (-3.5, 40)])
    report = import_cohort("cmmd", folder, tmp_path / "t.csv")
    assert left_out(report) == {cmmd.WRONG_TAG: 2}
    told = [(case.patient_id, case.side, case.subtype) for case in read_cohort(report.table).cases]
    both = [("D2-0700", "L", Subtype.TN), ("D2-0700", "R", Subtype.LUMINAL_A)]  # a cancer in each breast
    assert set(told) == {*both, ("D2-0701", "R", Subtype.TN)}
    notes = {note["text"]: note["about"] for note in report.content["notes"]}
    assert notes["Images of 16 bits (the others have 8)"] == ["CMMD/D2-0701/R-CC.dcm"]
    (outside,) = [about for text, about in notes.items() if "outside the image" in text]
    assert outside == ["D2-0701_CC_R_AnnotationFile.json"]
    (used,) = {tuple(report.content["inputs"]["outline files"]["used"].values())}
    assert used == (6,)


def test_inputs_that_lead_nowhere_have_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    small(folder, malignant("D2-0001", "L", "TN"))
    (folder / "CMMD" / "D2-0001" / "notes.dcm").write_bytes(b"no DICOM at all")
    write_image(folder / "CMMD" / "X" / "1-1.dcm", of=header("D2-0002", "", "CC"))
    write_image(folder / "CMMD" / "X" / "1-2.dcm", of=header("D2-0002", "L", "CC", NumberOfFrames=20))
    write_outline(folder, "D2-0004", "MLO", "R", [(0, 0), (9, 0), (9, 9)])
    write_outline(folder, "D2-0005", "MLO", "R", [(0, 0), (9, 0)])
    clinical = [["D2-0001", "L", "TN"], ["D2-0001", "L", "Luminal A"], ["D2-0003", "R", "TN"], ["", "R", "TN"],
                ["D2-0006", "both", "TN"]]  # fmt: skip
    rows = [[name, side, 51, 2, "mass", "Malignant", subtype] for name, side, subtype in clinical]
    write_rows(folder / "clinical.csv", [["ID1", "LeftRight", "Age", "number", "abnormality", "classification",
                                          "subtype"], *rows])  # fmt: skip
    with pytest.raises(CohortError, match="leaves nothing for the table"):
        import_cohort("cmmd", folder, tmp_path / "t.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    report = import_cohort("cmmd", folder, tmp_path / "t.csv", ImportOptions(keep_unlabelled=True))
    assert left_out(report) == {cmmd.NO_HEADER: 1, NO_SIDE: 1, NO_MAMMOGRAM: 1}
    clinical_rows = left_out(report, "rows of the clinical table")
    assert clinical_rows == {
        "second row of the same breast": 1,
        "breast with two different rows": 1,
        "no image of this breast": 1,
        "no patient": 1,
        "side is neither L nor R": 1,
    }
    assert sum(left_out(report, "outline files").values()) == 2


@pytest.mark.real
def test_the_format_fixture_comes_whole_into_the_table(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "cmmd" / "cmmd_like_format_fixture.zip") as archive:
        archive.extractall(tmp_path / "c")
    report = import_cohort("cmmd", tmp_path / "c", tmp_path / "t.csv", ImportOptions(task="tn"))
    assert left_out(report) == {cmmd.UNLABELLED: 1}
    assert not check_cohort(report.table).problems
    for case in read_cohort(report.table).cases:
        lesions = read_lesions(case.lesion, read_mammogram(case.image))
        entries = json.loads(Path(case.lesion).read_text())
        points = np.array([[p["y"], p["x"]] for entry in entries for p in entry["cgPoints"]])
        rows, columns = np.nonzero(lesions.full_mask())
        corners = [rows.min(), columns.min(), rows.max(), columns.max()]
        assert np.allclose(corners, [*points.min(axis=0), *points.max(axis=0)], atol=1)


@pytest.mark.real
def test_the_true_clinical_table_and_true_outlines(shared_data: Path, tmp_path: Path) -> None:
    folder, source = tmp_path / "c", shared_data / "cmmd"
    folder.mkdir()
    shutil.copy(source / "CMMD_clinicaldata_revision.csv", folder)
    for path in (source / "tompei").glob("*_AnnotationFile.json"):
        shutil.copy(path, folder)
    write_image(folder / "1-1.dcm", of=header("D1-0001", "R", "MLO"))
    write_image(folder / "1-2.dcm", of=header("D2-0013", "L", "MLO"))
    report = import_cohort("cmmd", folder, tmp_path / "t.csv")
    with (source / "CMMD_clinicaldata_revision.csv").open(encoding="utf-8-sig", newline="") as file:
        true = {(row["ID1"], row["LeftRight"]): row for row in csv.DictReader(file)}
    (case,) = read_cohort(report.table).cases
    row = true["D2-0013", "L"]
    assert case.subtype is not None
    assert (case.patient_id, case.extra["age"]) == ("D2-0013", row["Age"])
    own = {"HER2-enriched": "HER2+", "triple negative": "TN"}
    assert case.subtype.value == own.get(row["subtype"], row["subtype"])
    assert case.extra["lesion_labels"] == "calc"
    assert report.content["inputs"]["rows of the clinical table"]["total"] == 1872
    assert left_out(report) == {cmmd.BENIGN: 1}
