"""CBIS-DDSM, VinDr-Mammo and the paper's own table: joins and traps."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from import_trees import cases_of, header, left_out, notes, picture, write_image, write_rows
from openpyxl import Workbook
from pydicom import dcmread

from MolSubCore.cohort.check import check_cohort
from MolSubCore.cohort.importers import base as masks
from MolSubCore.cohort.importers import cbis, paper, vindr
from MolSubCore.cohort.importers.base import NO_IMAGE, TWICE, ImportOptions
from MolSubCore.cohort.importers.importing import import_cohort
from MolSubCore.cohort.table import parse_cohort
from MolSubCore.errors import CohortError
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.tasks import Subtype

CBIS = ["patient_id", "breast_density", "left or right breast", "image view", "abnormality id", "abnormality type",
        "assessment", "pathology", "image file path", "cropped image file path", "ROI mask file path"]  # fmt: skip
NAME = "Mass-Test_P_00116_RIGHT_MLO"


def cbis_rows(*abnormalities: int) -> list[list[object]]:
    path = "1.3.6/1.3.6/00000"
    return [
        ["P_00116", 4, "RIGHT", "MLO", n, "mass", 4, "MALIGNANT", f"{NAME}/{path}0.dcm", f"{NAME}_{n}/{path}0.dcm\n",
         f"{NAME}_{n}/{path}1.dcm\n"]
        for n in abnormalities
    ]  # fmt: skip


def write_mask(path: Path, shape: tuple[int, int], box: tuple[slice, slice] | None) -> None:
    values = np.zeros(shape, np.uint8)
    if box:
        values[box] = 255
    write_image(path, values, of=header("x", "R", "MLO"))


@pytest.mark.real
def test_cbis_masks_are_told_by_content(shared_data: Path, tmp_path: Path) -> None:
    """A real crop that is called a ROI mask, beside the mask that is called a crop."""
    folder, shape = tmp_path / "c", (4144, 2600)
    crop = next((shared_data / "cbis-ddsm" / "dicom" / f"{NAME}_1").rglob("*ROI mask images*/*.dcm"))
    assert len(np.unique(dcmread(crop).pixel_array)) > 2
    write_rows(folder / "mass.csv", [CBIS, *cbis_rows(1, 2, 3, 4, 5)])
    write_image(folder / NAME / "d" / "1-full mammogram images-1" / "1-1.dcm", picture(shape),
                of=header("x", "R", "MLO"))  # fmt: skip
    place = {n: folder / f"{NAME}_{n}" / "10-04-2016-DDSM" for n in range(1, 6)}
    for number in (1, 2):
        (place[number] / "1-ROI mask images-1").mkdir(parents=True)
        shutil.copyfile(crop, place[number] / "1-ROI mask images-1" / "000000.dcm")
    box = (slice(1604, 2046), slice(1196, 1441))
    write_mask(place[1] / "1-cropped images-2" / "000001.dcm", shape, box)
    write_mask(place[3] / "1-ROI mask images-1" / "000001.dcm", (4140, 2600), box)
    write_mask(place[4] / "1-ROI mask images-1" / "000001.dcm", shape, None)
    report = import_cohort("cbis-ddsm", folder, tmp_path / "out" / "t.csv")
    assert left_out(report) == {masks.NO_MASK: 1, masks.OTHER_SIZE: 1, masks.EMPTY: 1, cbis.NO_MASK: 1}
    (case,) = cases_of(report)
    assert (case.patient_id, case.subtype, case.extra["laterality"]) == ("P_00116", None, "R")
    assert case.mask and case.mask.parent.name == "t-masks"
    (lesion,) = read_lesions(case.lesion, read_mammogram(case.image)).lesions
    assert (lesion.box.rows, lesion.box.cols) == box
    assert {problem.column for problem in check_cohort(report.table).problems} == {"subtype"}


@pytest.mark.real
def test_cbis_true_tables(shared_data: Path, tmp_path: Path) -> None:
    """Both kinds, with line breaks in their paths; the images are of another name and place than they say."""
    for kind in ("mass", "calc"):
        shutil.copyfile(
            shared_data / "cbis-ddsm" / f"{kind}_case_description_test_set.subset.csv", tmp_path / f"{kind}.csv"
        )
    image = tmp_path / "Calc-Test_P_00038_RIGHT_CC" / "08-29-2017-DDSM" / "1-1.dcm"
    write_image(image, of=header("x", "R", "CC"))
    with (tmp_path / "calc.csv").open(newline="") as file:
        calc = list(csv.DictReader(file))
    with (tmp_path / "mass.csv").open(newline="") as file:
        others = len(list(csv.DictReader(file)))
    own = [row for row in calc if row["image file path"].startswith("Calc-Test_P_00038_RIGHT_CC/")]
    report = import_cohort("cbis-ddsm", tmp_path, tmp_path / "out.csv", ImportOptions(keep_unoutlined=True))
    (case,) = parse_cohort(report.table, need_subtype=False, need_lesion=False)[0].cases
    facts = [case.extra[name] for name in ("abnormality_type", "breast_density", "calc_type", "pathology", "view")]
    assert facts == ["calcification", "2", own[0]["calc type"], own[0]["pathology"], "CC"]
    assert left_out(report) == {NO_IMAGE: others + len(calc) - len(own), TWICE: len(own) - 1}


VINDR = ["study_id", "series_id", "image_id", "laterality", "view_position", "height", "width", "breast_birads",
         "breast_density", "finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax", "split"]  # fmt: skip


def test_vindr_boxes_are_clipped_and_reported(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    boxes = {
        "['Mass']": ("10.4", "20.6", "50.2", "60.0"),
        "['Mass', 'Asymmetry']": ("-7.5", "5", "30", "40"),
        "['Suspicious\nCalcification']": ("150", "250", "230", "310"),
        "['Nipple Retraction']": ("-30", "5", "-2", "40"),
        "['No Finding']": ("", "", "", ""),
        "['Skin Thickening']": ("1", "two", "3", "4"),
        "=HYPERLINK(1)": ("60", "70", "20", "10"),  # no list, and a formula in a spreadsheet
    }
    rows = [["s1", "r", f"i{n}", "L", "CC", 300, 200, "BI-RADS 4", "DENSITY C", name, "BI-RADS 4", *box, "training"]
            for n, (name, box) in enumerate(boxes.items())]  # fmt: skip
    write_rows(folder / "finding_annotations.csv", [VINDR, *rows, [*rows[0][:2], "absent", *rows[0][3:]]])
    for number in range(len(boxes)):
        path = folder / "images" / "s1" / f"i{number}.dicom"
        write_image(path, picture((300, 200), number), of=header("x", "L", "CC"))
    report = import_cohort("vindr", folder, tmp_path / "t.csv")
    cases = cases_of(report)
    assert [case.box for case in cases] == ["20,10,60,51", "5,0,40,30", "250,150,300,200", "10,20,70,60"]
    findings = [case.extra["finding"] for case in cases]
    assert findings == ["Mass", "Mass; Asymmetry", "Suspicious Calcification", "'=HYPERLINK(1)"]
    assert left_out(report) == {vindr.OUTSIDE: 1, vindr.NO_FINDING: 1, vindr.NO_BOX: 1, NO_IMAGE: 1}
    about = {note["text"].split(" ")[1]: note["about"] for note in report.content["notes"] if note["about"]}
    assert about == {"that": ["row 3", "row 4", "row 5"], "whose": ["row 8"]}
    assert not [p for p in check_cohort(report.table).problems if p.column != "subtype"]


def test_of_an_image_in_two_files_none_is_guessed_and_a_damaged_table_is_named(tmp_path: Path) -> None:
    """A picture beside the DICOM file is its twin; two DICOM files of one name are told."""
    folder = tmp_path / "v"
    rows = [["s1", "r", image, "links", "CC", 300, 200, "", "", "['Mass']", "", 1, 2, 30, 40, ""] for image in "abc"]
    write_rows(folder / "finding_annotations.csv", [VINDR, *rows])
    for name in ("a.dicom", "a.png", "b.dicom", "x/b.DICOM"):
        write_image(folder / "images" / name, picture((300, 200), 1), of=header("x", "L", "CC"))
    (folder / "images" / "Thumbs.db").write_bytes(b"x")
    report = import_cohort("vindr", folder, tmp_path / "t.csv")
    (case,) = cases_of(report)
    assert (case.image.name, case.extra["laterality"]) == ("a.dicom", "L")
    assert left_out(report) == {vindr.SEVERAL: 1, NO_IMAGE: 1}
    assert any("Thumbs.db" in note["text"] for note in report.content["notes"])
    (folder / "finding_annotations.csv").rename(folder / "finding_annotations.xlsx")
    with pytest.raises(CohortError, match=r"annotations\.xlsx is not a workbook"):
        import_cohort("vindr", folder, tmp_path / "t2.csv")


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_the_papers_table(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "p"
    table = [["name", "img_path", "annotation_path", "label", "age"]]
    table += [
        [f"P{label}", f"D:\\data\\img\\{label}.dcm", f"img/{label}.json", label, 40 + label] for label in range(5)
    ]  # type: ignore[list-item]
    table += [["P5", "img/0.dcm", "img/0.json", "5", 1], ["P6", "img/absent.dcm", "img/0.json", "1", 1],
              ["P7", "img/1.dcm", "img/absent.json", "1", 1], ["", "img/1.dcm", "img/1.json", "1", 1],
              ["P8", "img/1.dcm", "img/1.json", "", 1]]  # type: ignore[list-item]  # fmt: skip
    if ending == "csv":
        write_rows(folder / "table.csv", table)
    else:
        book = Workbook()
        for row in table:
            book.active.append(row)
        folder.mkdir()
        book.save(folder / "table.xlsx")
    for label in range(5):
        write_image(folder / "img" / f"{label}.dcm", picture((300, 200), label), of=header("x", "L", "CC"))
        (folder / "img" / f"{label}.json").write_text('{"lesions": [{"points": [[20, 20], [20, 60], [60, 60]]}]}')
    report = import_cohort("paper", folder, tmp_path / "t.csv", ImportOptions(task="subtype5"))
    cases = cases_of(report)
    assert [case.subtype for case in cases] == list(Subtype)
    assert [case.extra["age"] for case in cases] == [str(40 + label) for label in range(5)]
    expected = {paper.NOT_UNDERSTOOD, NO_IMAGE, paper.NO_OUTLINE, paper.NO_NAME, paper.NO_LABEL}
    assert left_out(report) == dict.fromkeys(expected, 1)
    assert "not where the table says" in notes(report)
    assert not check_cohort(report.table).problems
    assert "P6" not in report.path.read_text()  # a name may be a person's
