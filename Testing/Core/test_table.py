"""Cohort tables: every file form, every kind of problem with its spreadsheet row, and any bytes at all."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from MolSubCore.cohort.table import Cohort, parse_cohort, read_cohort
from MolSubCore.errors import CohortError
from MolSubCore.tasks import Subtype

HEADER = ["patient_id", "image", "mask", "subtype"]
ROWS = [["007", "a/1.dcm", "a/1.nii.gz", "Luminal A"], ["0800", "b 2.dcm", "b 2.png", "TN"]]
FIELDS = {"subtype": Subtype.TN.value, "patient_id": "P1", "image": "i.dcm", "mask": "m.png"}


def text_of(rows: list[list[str]], delimiter: str = ",", end: str = "\n") -> str:
    buffer = io.StringIO(newline="")
    # The writer quotes a carriage return only where it ends lines.
    quoting = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else csv.QUOTE_MINIMAL
    csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return buffer.getvalue()


def save_workbook(path: Path, rows: list[list[object]]) -> Path:
    book = Workbook()
    for row in rows:
        book.worksheets[0].append(row)
    book.save(path)
    return path


def summary(cohort: Cohort) -> list[tuple[int, str, str, str, str]]:
    return [
        (c.row, c.patient_id, c.image.name, c.mask.name if c.mask else "", c.subtype.value if c.subtype else "")
        for c in cohort.cases
    ]


EXPECTED = [(2, "007", "1.dcm", "1.nii.gz", "Luminal A"), (3, "0800", "b 2.dcm", "b 2.png", "TN")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("delimiter", "suffix"), [(",", "csv"), (";", "csv"), ("\t", "tsv"), ("\t", "csv")])
def test_text_tables(tmp_path: Path, delimiter: str, suffix: str, end: str, encoding: str) -> None:
    rows = [[*HEADER, "备注"], *[[*row, "左乳, 外上; 象限"] for row in ROWS]]
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(text_of(rows, delimiter, end).encode(encoding))
    cohort = read_cohort(path)
    assert summary(cohort) == EXPECTED
    assert cohort.cases[0].extra == {"备注": "左乳, 外上; 象限"}
    assert cohort.cases[0].image == tmp_path / "a" / "1.dcm"


def test_windows_western_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text_of([HEADER, ["Zoé", "i.dcm", "m.png", "tn"]]).encode("cp1252"))
    assert read_cohort(path).cases[0].patient_id == "Zoé"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_text_as_excel_saves_it(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.txt"
    mark = "" if encoding == "utf-16" else "\ufeff"
    path.write_bytes((mark + text_of([HEADER, *ROWS], "\t", "\r\n")).encode(encoding))
    assert summary(read_cohort(path)) == EXPECTED


def test_a_workbook(tmp_path: Path) -> None:
    rows: list[list[object]] = [[*HEADER, "age", "dose"], ["007", "a/1.dcm", "a/1.nii.gz", 0, 61, 1.25]]
    rows += [[], [800, "b 2.dcm", "b 2.png", 4.0, 70.0, None]]
    cohort = read_cohort(save_workbook(tmp_path / "t.xlsx", rows))
    assert [(c.row, c.patient_id, c.subtype) for c in cohort.cases] == [
        (2, "007", Subtype.LUMINAL_A),
        (4, "800", Subtype.TN),
    ]
    assert [c.extra for c in cohort.cases] == [{"age": "61", "dose": "1.25"}, {"age": "70", "dose": ""}]


def test_the_papers_own_table(tmp_path: Path) -> None:
    header = ["name", "img_path", "annotation_path", "label"]
    rows = [header, *[[f"P{n}", f"{n}.dcm", f"{n}.nii", str(n)] for n in range(5)]]
    (tmp_path / "t.csv").write_text(text_of(rows))
    save_workbook(tmp_path / "t.xlsx", [header, *[[f"P{n}", f"{n}.dcm", f"{n}.nii", n] for n in range(5)]])
    for name in ("t.csv", "t.xlsx"):
        cases = read_cohort(tmp_path / name).cases
        assert [case.subtype for case in cases] == list(Subtype)
        assert [case.patient_id for case in cases] == [f"P{n}" for n in range(5)]
        assert cases[3].mask == tmp_path / "3.nii"


def test_boxes_columns_in_any_order_and_absolute_paths(tmp_path: Path) -> None:
    absolute = str(tmp_path / "elsewhere" / "i.dcm")
    rows = [["Subtype ", "BOX", "Image", "patient_ID", "mask", "vendor"]]
    rows += [["tn", "1,2,3,4", absolute, "A", "", "X"], ["tn", "", "j.dcm", "B", "m.png", "Y"]]
    (tmp_path / "t.csv").write_text(text_of(rows))
    first, second = read_cohort(tmp_path / "t.csv").cases
    assert (str(first.image), first.box, first.mask, first.lesion) == (absolute, "1,2,3,4", None, "1,2,3,4")
    assert (second.lesion, second.extra) == (tmp_path / "m.png", {"vendor": "Y"})


def test_rows_are_counted_as_a_spreadsheet_counts(tmp_path: Path) -> None:
    """A cell of several lines is in one row; an empty line is a row."""
    rows = [[*HEADER, "note"], ["A", "i", "m", "tn", "two\nlines\r\nor three"], [], ["B", "i", "m", "benign", ""]]
    (tmp_path / "t.csv").write_text(text_of(rows), newline="")
    save_workbook(tmp_path / "t.xlsx", [list(row) for row in rows])
    for name in ("t.csv", "t.xlsx"):
        cohort, problems = parse_cohort(tmp_path / name)
        assert [case.row for case in cohort.cases] == [2]
        assert [problem.row for problem in problems] == [4]


@pytest.mark.parametrize(
    ("change", "column", "text"),
    [
        ({"patient_id": " "}, "patient_id", "is empty"),
        ({"image": ""}, "image", "is empty"),
        ({"mask": ""}, "mask", "there is no box"),
        ({"box": "1,2,3,4"}, "box", "beside a mask"),
        ({"subtype": ""}, "subtype", "is empty"),
        ({"subtype": "HER2 2+"}, "subtype", "'HER2 2+'"),
        ({"subtype": "5"}, "subtype", "'5'"),
    ],
)
def test_every_problem_has_its_row_and_column(tmp_path: Path, change: dict[str, str], column: str, text: str) -> None:
    good = FIELDS | {"box": ""}
    rows = [list(good), list(good.values()), list((good | change).values()), list(good.values())]
    (tmp_path / "t.csv").write_text(text_of(rows))
    cohort, problems = parse_cohort(tmp_path / "t.csv")
    assert [case.row for case in cohort.cases] == [2, 4]
    assert [(p.row, p.column) for p in problems] == [(3, column)]
    assert text in problems[0].text
    with pytest.raises(CohortError, match=f"row 3, {column}"):
        read_cohort(tmp_path / "t.csv")


def test_a_nul_byte_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text_of([HEADER, ["A", "i?.dcm", "m", "tn"]]).replace("?", "\0"))
    with pytest.raises(CohortError, match="row 2"):
        read_cohort(tmp_path / "t.csv")


def test_a_box_that_was_not_quoted_is_not_cut_short(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("patient_id,image,subtype,box\nA,i.dcm,TN,10,20,30,40\n")
    with pytest.raises(CohortError, match=r"row 2.*7 cells.*4"):
        read_cohort(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("patient_id,image,subtype,box\nA,i.dcm,TN,'10',,\n")
    assert len(read_cohort(tmp_path / "t.csv").cases) == 1  # empty cells say nothing


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("patient_id,image,mask", "subtype"),
        ("patient_id,image,subtype", r"mask \(or box\)"),
        ("image,mask,subtype,mask,patient_id", "mask twice"),
        ("", "found: none"),
    ],
)
def test_headers_that_do_not_do(tmp_path: Path, header: str, text: str) -> None:
    (tmp_path / "t.csv").write_text(header)
    with pytest.raises(CohortError, match=text):
        parse_cohort(tmp_path / "t.csv")


def test_prediction_needs_no_subtype(tmp_path: Path) -> None:
    for header, subtype in ((HEADER[:3], []), (HEADER, ["unknown"]), (HEADER, [""])):
        (tmp_path / "t.csv").write_text(text_of([header, ["A", "i", "m", *subtype]]))
        assert read_cohort(tmp_path / "t.csv", need_subtype=False).cases[0].subtype is None
    (tmp_path / "t.csv").write_text("name,img_path,annotation_path\nA,i,m\n")
    assert read_cohort(tmp_path / "t.csv", need_subtype=False).cases[0].patient_id == "A"


@pytest.mark.parametrize("name", ["no.csv", "a.ods", "folder.csv", "broken.xlsx", "header.csv", f"{'x' * 300}.csv"])
def test_files_that_are_no_table(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.ods").touch()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "broken.xlsx").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "header.csv").write_text(",".join(HEADER))
    with pytest.raises(CohortError) as caught:
        read_cohort(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=0, max_size=12)
tables = st.lists(st.tuples(cells, cells, cells, st.sampled_from([s.value for s in Subtype]), cells), max_size=6)


@settings(max_examples=120, deadline=None)
@given(tables, st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_any_csv_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], delimiter: str, end: str, mark: str
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.csv"
    content = mark + text_of([[*HEADER, "note"], *map(list, rows)], delimiter, end)
    path.write_bytes(content.encode())
    cohort, problems = parse_cohort(path)
    check_read_back(rows, cohort, [problem.row for problem in problems], path.parent)


printable = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(printable, printable, printable, st.just("TN"), printable), max_size=5))
def test_any_workbook_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]) -> None:
    path = tmp_path_factory.mktemp("t") / "t.xlsx"
    book = Workbook()
    for number, row in enumerate([(*HEADER, "note"), *rows], start=1):
        for column, text in enumerate(row, start=1):
            cell = book.worksheets[0].cell(number, column)
            cell.value, cell.data_type = text, "s"  # never a formula
    book.save(path)
    cohort, problems = parse_cohort(path)
    check_read_back(rows, cohort, [problem.row for problem in problems], path.parent)


def check_read_back(rows: list[tuple[str, ...]], cohort: Cohort, wrong: list[int | None], folder: Path) -> None:
    """Every row is a case with its very cells, or has a problem where a needed cell is empty."""
    cases = {case.row: case for case in cohort.cases}
    for number, row in enumerate(rows, start=2):
        patient, image, mask, subtype, note = (cell.strip() for cell in row)
        if not (patient and image and mask):
            assert number in wrong
            assert number not in cases
            continue
        case = cases.pop(number)
        assert case.subtype is not None
        assert (case.patient_id, case.subtype.value, case.extra["note"]) == (patient, subtype, note)
        assert (case.image, case.mask) == (folder / image, folder / mask)
    assert not cases


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["csv", "tsv", "txt", "xlsx"]), st.booleans())
def test_any_bytes_give_a_result_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str, headed: bool
) -> None:
    path = tmp_path_factory.mktemp("t") / f"t.{suffix}"
    path.write_bytes((",".join(HEADER).encode() + b"\n" if headed else b"") + content)
    try:
        cohort, problems = parse_cohort(path)
    except CohortError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(cohort, Cohort)
        assert all(problem.row and problem.row >= 2 for problem in problems)


@pytest.mark.parametrize("name", ["Bös", "Müller", "Françoise", "Ångström"])
def test_western_letters_are_not_taken_for_chinese(tmp_path: Path, name: str) -> None:
    """As Excel saves a csv in Europe: one byte a letter, which GB 18030 would join with the next one."""
    path = tmp_path / "t.csv"
    path.write_bytes(text_of([HEADER, [name, f"{name}.dcm", "m.png", "tn"]]).encode("cp1252"))
    (case,) = read_cohort(path).cases
    assert case.patient_id == name
    assert case.image.name == f"{name}.dcm"
