"""Days from imaging to biopsy: names of columns, forms of dates, what cannot be told, and that no date is kept."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from MolSubCore.cohort.dates import dated, imaging_to_reference, read_dates
from MolSubCore.cohort.table import Case
from MolSubCore.tasks import Subtype


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("imaging", "exam_date StudyDate|Date of mammography|imaging date|Untersuchungsdatum|Mammographiedatum"),
        ("imaging", "Datum der Mammografie|date d'examen|date de la mammographie|Fecha de mamografía|data dell'esame"),
        ("imaging", "检查日期|钼靶日期|乳腺钼靶检查时间"),
        ("reference", "biopsy_date|Date of surgery|pathology date|Biopsiedatum|OP-Datum|Datum der Stanzbiopsie"),
        ("reference", "date de la biopsie|date chirurgie|fecha de la biopsia|fecha_cirugía|data intervento"),
        ("reference", "data esame istologico|活检日期|穿刺活检日期|手术日期|病理日期"),
        ("", "date|birth date|date of birth|update|age|admission_date|Aufnahmedatum|death_date|biopsy|follow_up_date"),
    ],
)
def test_columns_in_six_languages(kind: str, columns: str) -> None:
    for column in columns.replace("exam_date StudyDate", "exam_date|StudyDate").split("|"):
        assert dated(column) == kind, column


DAY = datetime.date(2021, 4, 3)


@pytest.mark.parametrize(
    "cell",
    ["2021-04-03", "2021-4-3", "20210403", "2021/04/03", "2021.04.03", "2021-04-03 00:00:00",
     "2021-04-03T09:30:00+02:00", "03.04.2021", "3. 4. 2021", "2021年4月3日", "3-Apr-2021", "3 April 2021",
     "Apr 3, 2021"],
)  # fmt: skip
def test_dates_that_are_certain(cell: str) -> None:
    assert read_dates([cell, "", "n/a"]).days == {cell: DAY}


def test_day_and_month_are_told_apart_by_the_column_or_not_at_all() -> None:
    assert read_dates(["03/04/2021", "25/04/2021"]).days["03/04/2021"] == DAY
    assert read_dates(["04/03/2021", "04/25/2021"]).days["04/03/2021"] == DAY
    unsure = read_dates(["03/04/2021", "05/06/2021", "2021-04-03"])
    assert unsure.days == {"2021-04-03": DAY}
    assert unsure.why == "of 2 cells day and month cannot be told apart; write dates as YYYY-MM-DD"
    both = read_dates(["25/04/2021", "04/25/2021"])
    assert not both.days
    assert "some have the day first, others the month" in both.why
    for cell in ("03/04/21", "44289", "2021-13-03", "2021111", "spring 2021", "30.02.2021"):
        assert read_dates([cell]).why.startswith("1 of 1 cells are no dates"), cell
    assert not read_dates(["1900-01-01"]).days


def cases(rows: list[tuple[str, str, str]], imaging: str = "exam_date") -> list[Case]:
    names = (imaging, "biopsy_date") if imaging else ("", "biopsy_date")
    return [
        Case(n + 2, patient, Path(f"{n}.dcm"), None, None, Subtype.TN, dict(zip(names, own, strict=True)))
        for n, (patient, *own) in enumerate(rows)
    ]


def test_the_first_image_and_the_first_biopsy_of_each_patient() -> None:
    table = cases([
        ("A", "2021-01-10", "2021-01-20"), ("A", "2021-01-08", ""),  # 12 days
        ("B", "2150-03-01", "2150-02-27"),  # 2 days before, of shifted dates
        ("C", "2021-01-01", "2021-06-01"), ("D", "", "2021-01-01"), ("E", "2021-01-01", "03/04/2021"),
    ])  # fmt: skip
    found = imaging_to_reference(table)
    assert {key: found[key] for key in ("patients", "known", "missing", "before", "long")} == {
        "patients": 5, "known": 3, "missing": 2, "before": 1, "long": 1
    }  # fmt: skip
    assert found["days"] == {"median": 12, "q1": -2, "q3": 151, "low": -2, "high": 151}
    (problem,) = found["problems"]
    assert problem.startswith("column biopsy_date: of 1 cells day and month cannot be told apart")
    text = json.dumps(found)
    assert not any(year in text for year in ("2021", "2150"))


def test_headers_stand_in_for_dates_of_imaging_unless_all_are_the_same() -> None:
    table = cases([("A", "", "2021-01-20"), ("B", "", "2021-03-20")], imaging="")
    days = {"A": "20210110", "B": "20210301"}
    assert imaging_to_reference(table, lambda case: days[case.patient_id])["days"]["high"] == 19
    for found in (imaging_to_reference(table, lambda case: "20000101"), imaging_to_reference(table, lambda case: "")):
        assert found["why"] == "no patient has a date of imaging and one of biopsy"
    assert imaging_to_reference(table)["why"] == "the table has no dates of imaging"
    assert "biopsy_date" in imaging_to_reference(cases([("A", "2021-01-01", "")])[:0])["why"]
