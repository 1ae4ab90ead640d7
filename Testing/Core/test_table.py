"""Cohort tables: every file form, every kind of problem with its spreadsheet row, and any bytes at all."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime, time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.styles import Font

from MolSubCore.cohort import table_files
from MolSubCore.cohort.table import Cohort, parse_cohort, read_cohort
from MolSubCore.cohort.table_files import is_misread
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


def told(path: Path, *, need_subtype: bool = True) -> str:
    """Everything that reading a table has to say."""
    cohort, problems = parse_cohort(path, need_subtype=need_subtype)
    return "\n".join(map(str, [*problems, *cohort.notes]))


@pytest.mark.parametrize("sign", ["\u200b", "\u00ad", "\u200e", "\u2060", "\a"])
def test_signs_that_nobody_sees_in_a_subtype_are_left_out(tmp_path: Path, sign: str) -> None:
    path = tmp_path / "t.csv"
    rows = [["A", "i", "m", f"Luminal B{sign}"], ["B", "i", "m", "TN"], ["C", "i", "m", f"nonsense{sign}"]]
    path.write_text(text_of([HEADER, *rows]), "utf-8")
    cohort, problems = parse_cohort(path)
    assert [case.subtype for case in cohort.cases] == [Subtype.LUMINAL_B, Subtype.TN]
    assert [(problem.row, problem.column) for problem in problems] == [(4, "subtype")]
    assert "characters" in told(path) and "row 2 were left out" in told(path).replace("rows 2, 4", "row 2")
    assert len(read_cohort(path, need_subtype=False).cases) == 3


def test_an_encoding_that_is_not_declared_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text_of([HEADER, ["A", "i", "m", "tn"], ["Zoé", "i", "m", "tn"]]).encode("cp1252"))
    assert "Windows-1252" in told(path)
    assert "row 3" in told(path)
    path.write_bytes(text_of([HEADER, ["王小明", "i", "m", "tn"]]).encode("gb18030"))
    assert "GB18030" in told(path)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(text_of([HEADER, ["Zoé", "i", "m", "tn"]]).encode(encoding))
        assert not told(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Müller,i,m,tn\n".encode() + "Bös,i,m,tn\n".encode("cp1252"), ["mixes", "row 2", "row 3"]),
        ("Иванова,i,m,tn\n".encode("cp1251"), ["row 2", "UTF-8"]),
        ("Παπαδοπούλου,i,m,tn\n".encode("cp1253"), ["row 2", "UTF-8"]),
        ("田中花子,i,m,tn\n".encode("shift-jis"), ["row 2", "UTF-8"]),
        (b"A\x81,i,m,tn\n", ["row 2", "UTF-8"]),
    ],
    ids=["mixed", "Cyrillic", "Greek", "Japanese", "undefined"],
)
def test_bytes_that_are_no_letters_for_sure_are_refused(tmp_path: Path, content: bytes, words: list[str]) -> None:
    (tmp_path / "t.csv").write_bytes(b"patient_id,image,mask,subtype\n" + content)
    with pytest.raises(CohortError) as caught:
        read_cohort(tmp_path / "t.csv")
    assert all(word in str(caught.value) for word in words)


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


def changed_sheet(path: Path, change: Callable[[str], str], sheet: int = 1) -> Path:
    """A workbook whose sheet is changed as text, as other writers leave it."""
    name, target = f"xl/worksheets/sheet{sheet}.xml", path.with_name("changed.xlsx")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for part in old.namelist():
            data = old.read(part)
            new.writestr(part, change(data.decode()).encode() if part == name else data)
    return target


PEOPLE: list[list[object]] = [[*HEADER, "age"], *[[f"P{n}", f"{n}.dcm", "m.png", "TN", 50 + n] for n in range(9)]]


@pytest.mark.parametrize("extent", ["A1", "A1:B3", "A1:XFD1048576", "A1:E1000000000", "B2:E10"])
def test_the_stated_extent_of_a_sheet_is_not_believed(tmp_path: Path, extent: str) -> None:
    path = save_workbook(tmp_path / "t.xlsx", PEOPLE)
    path = changed_sheet(path, lambda text: text.replace('ref="A1:E10"', f'ref="{extent}"'))
    cohort = read_cohort(path)
    assert [(case.row, case.patient_id, case.extra["age"]) for case in cohort.cases] == [
        (n + 2, f"P{n}", str(50 + n)) for n in range(9)
    ]
    assert not told(path)


@pytest.mark.parametrize("number", ["1000000000", "3", "0"])
def test_row_numbers_that_cannot_be_are_refused(tmp_path: Path, number: str) -> None:
    path = save_workbook(tmp_path / "t.xlsx", PEOPLE)
    path = changed_sheet(path, lambda text: text.replace('<row r="6"', f'<row r="{number}"'))
    with pytest.raises(CohortError, match=rf"number {number} after row 5"):
        read_cohort(path)


def test_what_a_workbook_hides_is_told(tmp_path: Path) -> None:
    book = Workbook()
    first, seen, other = book.worksheets[0], book.create_sheet(), book.create_sheet()
    first.append(["old"])
    first.sheet_state = "hidden"
    for row in PEOPLE:
        seen.append(row)
    other.append(["legend"])
    seen.row_dimensions[4].hidden = True
    seen["E6"] = "=E5+1"
    seen.merge_cells("A8:A9")
    book.save(tmp_path / "t.xlsx")
    cohort, problems = parse_cohort(tmp_path / "t.xlsx")
    assert [case.row for case in cohort.cases] == [2, 3, 4, 5, 6, 7, 8, 10]
    assert [(p.row, p.column, "merged" in p.text) for p in problems] == [(9, "patient_id", True)]
    notes = told(tmp_path / "t.xlsx")
    for words in (
        "sheet 2 was read",
        "hidden: sheet 1",
        "row 4: hidden",
        "formulas in row 6",
        "merged cells (from row 8",
    ):
        assert words in notes
    seen["A3"] = "=A2"
    book.save(tmp_path / "t.xlsx")
    _, problems = parse_cohort(tmp_path / "t.xlsx")
    assert (problems[0].row, problems[0].column) == (3, "patient_id")
    assert "formula" in problems[0].text


def test_numbers_as_subtypes_are_told_or_asked_about(tmp_path: Path) -> None:
    """Outside the paper's own table 0 to 4 are read with a note; what may count from 1, or be no and yes, is not."""
    path = tmp_path / "t.csv"

    def table(labels: Sequence[object]) -> Path:
        path.write_text(text_of([HEADER, *[[f"P{n}", "i", "m", str(label)] for n, label in enumerate(labels)]]))
        return path

    cohort, problems = parse_cohort(table([0, 3, 4]))
    assert (len(cohort.cases), problems) == (3, [])
    assert "0 Luminal A" in told(path)
    for labels in ([1, 2, 3, 4], [0, 1, 1], ["TN", "Luminal A", 2]):
        _, problems = parse_cohort(table(labels))
        assert [problem.column for problem in problems] == ["subtype"]
        assert "0 Luminal A" in problems[0].text
        cohort, problems = parse_cohort(path, need_subtype=False)
        assert not problems
        assert all(case.subtype is None for case, label in zip(cohort.cases, labels, strict=True) if label in range(5))
    # Whatever the columns are called.
    for labels, count in (("0", 1), ("1", 1), ("034", 0), ("123", 1)):
        rows = [["name", "img_path", "annotation_path", "label"], *[[f"P{n}", "i", "m", n] for n in labels]]
        path.write_text(text_of(rows))
        problems = parse_cohort(path)[1]
        assert len(problems) == count, labels
        assert "0 Luminal A" in (problems[0].text if count else told(path))


def test_decimal_commas_are_points(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [
        ["A", "i", "m", "tn", "54,7", "1.234,5", "1,234", "054Y"],
        ["B", "i", "m", "tn", "61", "7,25", "2,000", "61"],
    ]
    path.write_text(text_of([[*HEADER, "size", "dose", "count", "age"], *rows], ";"))
    cohort, problems = parse_cohort(path)
    assert not problems
    first, second = (case.extra for case in cohort.cases)
    assert (first["size"], second["size"], first["dose"], second["dose"]) == ("54.7", "61", "1234.5", "7.25")
    assert (first["count"], first["age"]) == ("1,234", "54")
    assert {note.column for note in cohort.notes} == {"size", "dose", "count"}
    path.write_text(
        text_of([[*HEADER, "age"], *[[f"P{n}", "i", "m", "tn", a] for n, a in enumerate(["54 J", "999", ""])]])
    )
    (note,) = parse_cohort(path)[0].notes
    assert (note.column, "rows 2-3" in note.text) == ("age", True)


def test_excels_hint_of_the_separator_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for hint, delimiter in (("sep=;", ";"), ("sep=,", ","), ("SEP=\t", "\t"), ("sep=|", "|")):
        path.write_text(f"{hint}\n" + text_of([HEADER, *ROWS], delimiter))
        assert summary(read_cohort(path)) == EXPECTED
    path.write_text('patient_id;image;"box (row0,col0,row1,col1), px";mask;subtype\nA;i;;m;TN\n')
    assert len(read_cohort(path).cases) == 1


def test_header_and_cells_are_spelt_in_many_ways(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "Patient ID ,IMAGE\u200b,Mask,Subtype,Lesion  Size\nJo\u0308rg\u200b,i,m,HER2\u200a+/HR\u2013,3\n", "utf-8"
    )
    (case,) = read_cohort(path).cases
    assert (case.patient_id, case.subtype, case.extra) == ("J\u00f6rg", Subtype.HER2_HR_NEGATIVE, {"lesion size": "3"})


def test_files_are_found_however_their_names_are_spelt(tmp_path: Path) -> None:
    """Windows' backslashes, and umlauts that are one character here and two there."""
    apart = unicodedata.normalize("NFD", "Jörg")
    for folder in (f"{apart}-1", "Jörg-2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ä.dcm").touch()
    path = tmp_path / "t.csv"
    names = [
        "Jörg-1\\ä.dcm",
        f"{apart}-2/a\u0308.dcm",
        f"{apart}-1/ä.dcm",
        "Jörg-2\\none.dcm",
        str(tmp_path / "Jörg-1/ä.dcm"),
    ]
    path.write_text(text_of([HEADER, *[["A", name, name, "tn"] for name in names]]), "utf-8")
    cases = read_cohort(path).cases
    assert [case.image.is_file() and case.mask == case.image for case in cases] == [True, True, True, False, True]


@pytest.mark.parametrize(
    "box", ["((330, 180, 390, 240),)", "[330 180 390 240]", "330;180;390;240", "(330.0,180,390,240)"]
)
def test_boxes_in_brackets_are_boxes(tmp_path: Path, box: str) -> None:
    (tmp_path / "t.csv").write_text(text_of([["patient_id", "image", "box", "subtype"], ["A", "i", box, "tn"]]))
    assert read_cohort(tmp_path / "t.csv").cases[0].box == "330,180,390,240"


def test_what_was_lost_before_is_told(tmp_path: Path) -> None:
    """Values that a spreadsheet could not compute, letters that were lost, one patient under two spellings."""
    path = tmp_path / "t.csv"
    path.write_text(
        text_of([HEADER, ["#N/A", "i", "m", "tn"], ["J\ufffdrg", "i", "m", "tn"], ["A", "#REF!", "m", "tn"]]), "utf-8"
    )
    _, problems = parse_cohort(path)
    assert [(p.row, p.column) for p in problems] == [(2, "patient_id"), (3, "patient_id"), (4, "image")]
    path.write_text(text_of([HEADER, *[[name, "i", "m", "tn"] for name in ("P-07", "p_7", "P8", "Q8", "P70")]]))
    (note,) = parse_cohort(path)[0].notes
    assert "rows 2-3 " in note.text


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
        ({"box": "1,2,3,4"}, "box", "in addition to a mask"),
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


ONE, TWO, THREE = (f"P{n},img/{n}.png,m{n}.png,TN," for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (f'{ONE}\n{TWO}"12 mm mass\n{THREE}\n', 3),
        (f'{ONE}"12 mm mass\n{TWO}\n{THREE}mass 12"\n', 2),
        (f'{ONE}"12 mm\n{THREE}12"\n', 2),
        (f'{ONE}"12\n{TWO}"13\n{THREE}\n', 2),
        (f'"{ONE}\nP2",img/2.png,m2.png,TN,\n{THREE}\n', 2),
        (f'{ONE}\n{TWO}"12\n' + 40000 * f"{THREE}\n", 3),
    ],
)
def test_rows_that_a_quotation_mark_swallowed_are_not_lost(tmp_path: Path, text: str, row: int) -> None:
    (tmp_path / "t.csv").write_text(",".join([*HEADER, "note"]) + f"\n{text}")
    with pytest.raises(CohortError, match=rf"row {row} has .*quotation mark"):
        parse_cohort(tmp_path / "t.csv")


def test_remarks_of_several_lines_and_inches_are_no_rows(tmp_path: Path) -> None:
    rows = [
        ["note", *HEADER],
        ["oval, 12 mm\nT2, N0, M0, G3, ER", "P1", "1.png", "m.png", "TN"],
        ['1.2" mass', "P2", "2.png", "m.png", "TN"],
    ]
    (tmp_path / "t.csv").write_text(text_of(rows))
    assert [case.extra["note"] for case in read_cohort(tmp_path / "t.csv").cases] == [rows[1][0], rows[2][0]]
    (tmp_path / "t.csv").write_text(f'{",".join([*HEADER, "note"])}\n{ONE}1.2" mass\n{TWO}"1.2" mass"\n')
    cohort, problems = parse_cohort(tmp_path / "t.csv")
    assert (len(cohort.cases), problems) == (2, [])
    assert [note.row for note in cohort.notes] == [3]
    # The swallowed rows as a spreadsheet saves them.
    book: list[list[object]] = [[*HEADER, "note"], ["P1", "1.png", "m.png", "TN", f"12 mm\n{THREE}12"]]
    with pytest.raises(CohortError, match="row 2 has a cell that holds rows"):
        read_cohort(save_workbook(tmp_path / "t.xlsx", book))
    (tmp_path / "t.csv").write_text(text_of([HEADER, ["P\n1", "i", "m", "TN"]]))
    assert [(p.row, p.column) for p in parse_cohort(tmp_path / "t.csv")[1]] == [(2, "patient_id")]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, "one patient") for name in ("nan", "None", "unknown", "-", "?", "n/a", "<NA>", "--", "未知")),
        (1234567890123456, "15 digits"),
        (1.5e17, "15 digits"),
        ("1.23457E+15", "rounded"),
        (datetime(2024, 3, 1), "date"),
        (time(3, 1), "date"),
        ("2024-03-01 00:00:00", "date"),
        ("1-Mar", "date"),
        ("1. Mär", "date"),
        (True, "truth"),
        (1.1, "1.10"),
    ],
)
def test_what_is_no_id_is_told(tmp_path: Path, name: object, words: str) -> None:
    """Ids that nobody gave, or that a spreadsheet made of others: patients would become one."""
    rows = [list(HEADER), ["P1", "i", "m", "TN"], [name, "j", "m", "TN"]]
    path = save_workbook(tmp_path / "t.xlsx", rows)
    assert [(p.row, p.column, words in p.text) for p in parse_cohort(path)[1]] == [(3, "patient_id", True)]
    if isinstance(name, str):
        (tmp_path / "t.csv").write_text(text_of(rows), "utf-8")  # type: ignore[arg-type]
        assert [p.row for p in parse_cohort(tmp_path / "t.csv")[1]] == [3]


def test_ids_that_differ_in_form_only(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"

    def table(*ids: str) -> tuple[list[str], list[int | None], str]:
        path.write_text(text_of([HEADER, *[[name, "i", "m", "TN"] for name in ids]]), "utf-8")
        cohort, problems = parse_cohort(path)
        return [case.patient_id for case in cohort.cases], [p.row for p in problems], told(path)

    ids, problems, words = table("P\u00a01", "P 1", "Ｐ２", "P2\u200b")
    assert (ids, problems, "rows 2-5" in words) == (["P 1", "P 1", "P2", "P2"], [], True)
    assert table("101.0", "102.0", "102.0")[1:] == ([], "")
    assert table("101.0", "102", "101")[1] == [4]
    for pair in (("007", "7"), ("1,234", "1234"), ("P1", "\u0420\u0031")):
        assert "rows 2-3 " in table(*pair)[2]
    for pair in (("Q-22", "Q22"), ("R_031", "R31"), ("S 41", "s41")):
        assert "rows 2-3 differ only in capitals, separators" in table(*pair)[2]
    assert "separators" not in table("1-71", "171", "A-1-2", "A-12", "A1-B", "A1-C")[2]
    assert "row 2 have zeros" in table("12345678901234500", "12")[2]
    assert "rows 2-3 are placeholders for removed ids" in table("anonymous", "anonymous", "P1")[2]


def test_numbers_as_subtypes_in_other_signs_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for label in ("①", "２", "_3", "1.0"):
        path.write_text(text_of([HEADER, ["A", "i", "m", label], ["B", "i", "m", "TN"]]), "utf-8")
        assert [p.column for p in parse_cohort(path)[1]] == ["subtype"]
        assert parse_cohort(path, need_subtype=False)[0].cases[0].subtype is None


def test_sides_and_views_are_read_in_one_way(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"

    def first(**cells: str) -> tuple[str | None, str | None]:
        path.write_text(text_of([[*HEADER, *cells], ["A", "i", "m", "TN", *cells.values()]]), "utf-8")
        (case,) = read_cohort(path).cases
        return case.side, case.view

    for word in ("L", "left", "izquierdo", "Ｌ", "左侧", "mama izquierda", "L-MLO", "unten links"):
        assert first(laterality=word)[0] == first(Side=word)[0] == "L"
    for word in ("R", "RIGHT", "derecho", "dx", "rechte Brust", "右"):
        assert first(laterality=word)[0] == "R"
    assert first(laterality="n/a", view="RCC") == ("R", "CC")
    assert first(**{"View Position": "L-MLO"}) == ("L", "MLO")
    for column in ("Breast", "Seite", "lat", "Lado", "c\u00f4t\u00e9", "Left/Right", "mama"):
        assert first(**{column: "D"})[0] == first(**{column: "right"})[0] == "R", column
    for word in ("E", "S", "OS", "M. sin.", "mamma sinistra"):
        assert first(side=word)[0] == "L"
    for word in ("OD", "Mamma dextra", "D"):
        assert first(side=word)[0] == "R"
    assert first(breast="dense") == (None, None)
    assert "row 2, breast: is not a known side" in told(path)
    assert first(wo="left") == (None, None)
    assert "wo: looks like sides in row 2" in told(path)
    for word in ("both", "L?", "lado", "left or right", "0", "双侧", "not left", "L->R"):
        with pytest.raises(CohortError, match="row 2, laterality: is not a known side"):
            first(laterality=word)
    with pytest.raises(CohortError, match="laterality says L, view says R"):
        first(laterality="left", view="RCC")


def test_what_a_workbook_shows_and_strikes_out(tmp_path: Path) -> None:
    """Ids as they are shown, rows of no height, and cells that are struck out."""
    book = Workbook()
    sheet = book.worksheets[0]
    for row in (HEADER, *[[n, "i", "m", "TN"] for n in (7, 7, 8, 9, 10)]):
        sheet.append(row)
    sheet["A2"].number_format, sheet["A3"].number_format = "000000", '"P-"00'
    sheet["A4"].number_format = "#,##0"
    sheet["A5"].font = Font(strike=True)
    book.save(tmp_path / "plain.xlsx")
    with zipfile.ZipFile(tmp_path / "plain.xlsx") as old, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as new:
        for part in old.namelist():
            new.writestr(part, old.read(part).replace(b'<row r="6"', b'<row r="6" ht="0" customHeight="1"'))
    assert [case.patient_id for case in read_cohort(tmp_path / "t.xlsx").cases] == ["000007", "P-07", "8", "9", "10"]
    words = told(tmp_path / "t.xlsx")
    assert "ids of rows 2-3 were read as displayed" in words
    assert "cells of row 5 are struck out" in words
    assert "row 6: hidden" in words


def test_letters_that_were_read_wrongly_before_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text_of([HEADER, ["M\u00c3\u00bcller", "i", "m", "tn"], ["M\u00fcller", "i", "m", "tn"]]), "utf-8")
    assert [(p.row, p.column) for p in parse_cohort(path)[1]] == [(2, "patient_id")]
    path.write_text(text_of([HEADER, ["M?ller", "i", "m", "tn"]]))
    assert "row 2 have question marks" in told(path)
    path.write_bytes(text_of([HEADER, ["\uae40\uc601\ud76c", "i", "m", "tn"]]).encode("euc-kr"))
    assert "may be EUC-KR (Korean)" in told(path)


def test_bars_part_cells_and_what_parts_them_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text_of([HEADER, *ROWS], "|"))
    assert summary(read_cohort(path)) == EXPECTED
    path.write_text("patient_id~image;mask;subtype\n")
    with pytest.raises(CohortError, match=r"found \(cells separated by semicolons\): patient_id~image"):
        read_cohort(path)


def test_which_lesion_it_is_in_other_columns_and_spellings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"

    def ids(column: str, *cells: str) -> list[str]:
        path.write_text(text_of([[*HEADER, column], *[["A", f"i{n}", "m", "TN", one] for n, one in enumerate(cells)]]))
        return [case.lesion_id for case in read_cohort(path).cases]

    assert ids("Lesion ID", "A", "a", "b", "01") == ["A", "A", "b", "01"]
    assert "lesion ids of rows 2-3 differ only in capitals or leading zeros" in told(path)
    assert ids("lesion_nr", "1", "01", "1.0", "10") == ["1", "1", "1", "10"]
    assert ids("lesion", "1", "2", "L3") == ["1", "2", "L3"]
    assert "was read as the lesion ids" in told(path)
    assert ids("lesion", "mass", "1") == ["", "1"]
    assert "row 2, lesion: is not a number or letter of a lesion" in told(path)


def test_numbers_of_lesions_in_a_column_of_another_name_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text_of([[*HEADER, "roi"], *[["A", f"i{n}", "m", "TN", str(n)] for n in (1, 2)]]))
    assert "roi: looks like numbers of lesions in rows 2-3, but was not read; name the column lesion_id" in told(path)
    path.write_text(text_of([[*HEADER, "roi"], *[["A", f"i{n}", "m", "TN", "1"] for n in (1, 2)]]))
    assert "roi" not in told(path)  # one number everywhere tells nothing apart


@pytest.mark.parametrize(
    ("column", "cells", "noted"),
    [
        ("timepoint", ("pre", "post"), True),
        ("exam_date", ("2020-01-01", "2020-07-01"), True),
        ("StudyDate", ("20150101", "20200101"), True),
        ("exam_date", ("2020-01-01", "2020-01-20"), False),  # one work-up
        ("Accession Number", ("A1", "A2"), True),
        ("visit", ("1", "1"), False),
        ("visit", ("1", ""), False),
        ("grade", ("1", "2"), False),
    ],
)
def test_several_exams_of_one_breast_in_one_mean_are_told(
    tmp_path: Path, column: str, cells: tuple[str, str], noted: bool
) -> None:
    path = tmp_path / "t.csv"
    rows = [["A", f"i{n}", "m", "TN", side, cell] for n, (side, cell) in enumerate(zip("LL", cells, strict=True))]
    path.write_text(text_of([[*HEADER, "laterality", column], *rows]))
    assert (f"{column.lower()}: says that images of one breast are of several exams (rows 2-3)" in told(path)) is noted
    rows[1][4] = "R"
    path.write_text(text_of([[*HEADER, "laterality", column], *rows]))
    assert "several exams" not in told(path)


@pytest.mark.parametrize(
    ("ids", "what"),
    [
        (("P1_L", "P1_R"), "a side"),
        (("P001 left", "P001 right"), "a side"),
        (("N01L", "N01R"), "a side"),
        (("P1_T0", "P1_T1"), "an exam"),
        (("A-17-pre", "A-17-post"), "an exam"),
        (("HOSP17-2021", "HOSP17-2023"), "a year"),
        (("017-2021", "017-2023"), ""),  # a number within a year
        (("P1_L", "P2_R"), ""),
        (("PAL", "PAR"), ""),
        (tuple(f"STUDY-{number}" for number in range(2001, 2012)), ""),  # counted up
    ],
)
def test_ids_of_breasts_and_exams_of_one_woman_are_told(tmp_path: Path, ids: tuple[str, ...], what: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text_of([HEADER, *[[name, f"i{n}", "m", "TN"] for n, name in enumerate(ids)]]))
    words = f"differ only in {what} at their end; if one woman has several, give her one id"
    assert (words in told(path)) if what else ("at their end" not in told(path))


@pytest.mark.parametrize(
    ("ids", "alike"),
    [
        (("Q-22", "Q22"), True), (("R_031", "R31"), True), (("S 41", "S41"), True), (("K21", "k21"), True),
        (("0012", "12"), True), (("1-23", "12-3"), False), (("A1 2", "A12"), False), (("PO", "P O 1"), False),
    ],
)  # fmt: skip
def test_ids_that_are_written_in_two_ways_are_told(tmp_path: Path, ids: tuple[str, str], alike: bool) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text_of([HEADER, *[[name, f"i{n}", "m", "TN"] for n, name in enumerate(ids)]]))
    words = "ids of rows 2-3 differ only in capitals, separators, look-alike letters or leading zeros"
    assert (words in told(path)) is alike


def test_columns_that_look_as_if_they_mattered_and_are_not_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for column, cell, words in (
        ("mask2", "b.png", "looks like a lesion in row 2"),
        ("Image_2", "x/b", "looks like an image"),
        ("left image", "b.dcm", "looks like an image"),
        ("second reader", "b.nii.gz", "looks like an image or a lesion"),
        ("Label", "3", "looks like a subtype"),
        ("Molecular subtype", "Luminal A", "looks like a subtype"),
        ("pathology", "TNBC", "looks like a subtype"),
        ("bbox", "1 2 3 4", "looks like a lesion"),
        ("xmin", "12", "looks like an edge of a box"),
        *((name, "xyxy", "looks like the form of a box in row 2") for name in ("box_format", "bbox_format")),
        ("coordinate_order", "x,y", "a box is row0,col0,row1,col1 in pixels"),
        ("Box order", "x0,y0,x1,y1", "looks like the form of a box"),
        ("box_units", "mm", "looks like the form of a box"),
        *(("box_format", ours, "") for ours in ("row0,col0,row1,col1", "yxyx", "y_min, x_min, y_max, x_max")),
        *(("box units", ours, "") for ours in ("px", "Pixels")),
        ("annotation", "by reader 2", ""),
        ("age", "50", ""),
        ("grade", "3", ""),
    ):
        path.write_text(text_of([[*HEADER, column], ["A", "i", "m", "TN", cell]]))
        assert words in told(path) if words else not told(path), column
        assert "was not read" in told(path) or not words


def test_columns_that_say_which_rows_count_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for column, cells, words in (
        ("excluded", ("no", "yes", "no", "yes"), "rows 3, 5 say yes, and every row counts all the same"),
        ("Exclusion reason", ("", "motion", "", ""), "row 3 says so,"),
        ("include", ("1", "0", "1", "1"), "row 3 says 0,"),
        ("split", ("train", "test", "val", "train"), "rows 3-4 say test or val,"),
        ("partition", ("1", "2", "test", "test"), "rows 4-5 say test,"),
        ("set", ("train", "train", "train", "Test"), "row 5 says test,"),
        ("image quality", ("good", "fail", "good", "good"), "row 3 says fail,"),
        ("consent", ("yes", "yes", "withdrawn", "no"), "rows 4-5 say withdrawn or no,"),
        ("is_test", ("0", "1", "0", "0"), "row 3 says 1,"),
        ("excluded", ("no", "0", "false", ""), ""),
        ("include", ("yes", "1", "x", "y"), ""),
        ("dataset", ("CMMD", "CMMD", "KAU", "KAU"), ""),
        ("quality", ("good", "3", "4", "5"), ""),
        ("hormone use", ("no", "yes", "no", "no"), ""),
        ("test", ("positive", "negative", "", ""), ""),
    ):
        path.write_text(text_of([[*HEADER, column], *(["A", f"i{n}", "m", "TN", own] for n, own in enumerate(cells))]))
        assert words in told(path) if words else not told(path), (column, told(path))


def test_receptors_that_contradict_the_subtype_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"

    def notes(subtype: str, er: str, pr: str, her2: str, *more: list[str]) -> str:
        header = [*HEADER, "ER (%)", "PR status", "HER-2/neu"]
        path.write_text(text_of([header, ["A", "i", "m", subtype, er, pr, her2], *more]))
        return told(path)

    assert "contradicted by the columns of receptors in row 2: TN beside ER positive" in notes("TN", "positive", "", "")
    assert "TN beside ER positive and PR positive." in notes("TN", "90 %", "Pos.", "negative")
    assert "Luminal A beside ER negative and PR negative." in notes("Luminal A", "0%", "neg", "0")
    assert "HER2+ beside HER2 negative." in notes("HER2-positive", "", "", "1+")
    assert "Luminal A beside HER2 positive." in notes("Luminal A", "positive (80 %)", "negative", "3+")
    signs = ["B", "j", "m", "HER2+/HR-", "-", "-", "+"]
    assert "row 2: Luminal A beside ER negative and PR negative." in notes(
        "Luminal A", "-", "-", "-", signs, ["C", "k", "m", "HER2+/HR+", "+", "+", "+"]
    )
    for own in (
        ("TN", "negative", "0 %", "2+"),
        ("TN", "0.5 %", "2", "1"),  # a share below 1 %, numbers without their scale
        ("Luminal A", "positive", "negative", "0"),
        ("Luminal A", "-", "-", "-"),  # which may stand for nothing known
        ("HER2+", "positive", "negative", "positive"),
        ("HER2+/HR-", "unknown", "not done", "FISH"),
    ):
        assert "contradicted" not in notes(*own), own


def test_two_ages_or_centres_of_one_patient_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [["A", "i", "m", "TN", "48", "North"], ["A", "j", "m", "TN", "055Y", "South"]]
    path.write_text(text_of([[*HEADER, "age", "Centre"], *rows, ["B", "k", "m", "TN", "60", "North"]]))
    assert "row 3, age: is '55', row 2 of the same patient has '48': it counts as unknown" in told(path)
    assert "row 3, centre: is another value than in row 2 of the same patient: it counts as unknown" in told(path)
    path.write_text(
        text_of([[*HEADER, "age", "quadrant"], [*rows[0][:5], "upper"], ["A", "j", "m", "TN", "48.0", "l"]])
    )
    assert not told(path)


def test_words_for_nothing_are_nothing_in_paths_and_boxes(tmp_path: Path) -> None:
    rows = [["A", "i", "nan", "1,2,3,4", "TN"], ["B", "i", "m", "NA", "TN"], ["C", "NaN", "m", "", "TN"]]
    (tmp_path / "t.csv").write_text(text_of([["patient_id", "image", "mask", "box", "subtype"], *rows]))
    cohort, problems = parse_cohort(tmp_path / "t.csv")
    assert [case.lesion for case in cohort.cases] == ["1,2,3,4", tmp_path / "m"]
    assert [(p.row, p.column) for p in problems] == [(4, "image")]


def test_workbooks_of_other_makers(tmp_path: Path) -> None:
    """A table that begins at B2, hidden columns, a cell beside the table, and the strict form of a workbook."""
    book = Workbook()
    sheet = book.worksheets[0]
    for row in PEOPLE:
        sheet.append(row)
    sheet.insert_cols(1)
    sheet.insert_rows(1)
    sheet.column_dimensions["F"].hidden = True
    book.save(tmp_path / "t.xlsx")
    assert [case.row for case in read_cohort(tmp_path / "t.xlsx").cases] == list(range(3, 12))
    assert "column F: hidden" in told(tmp_path / "t.xlsx")
    strict = tmp_path / "strict.xlsx"
    with zipfile.ZipFile(tmp_path / "t.xlsx") as old, zipfile.ZipFile(strict, "w") as new:
        for part in old.namelist():
            text = (
                old.read(part)
                .decode()
                .replace("schemas.openxmlformats.org/spreadsheetml/2006", "purl.oclc.org/ooxml/spreadsheetml")
            )
            text = text.replace("schemas.openxmlformats.org/officeDocument/2006", "purl.oclc.org/ooxml/officeDocument")
            new.writestr(part, text)
    assert read_cohort(strict).cases == read_cohort(tmp_path / "t.xlsx").cases
    sheet["J4"] = "see"
    book.save(tmp_path / "t.xlsx")
    assert [str(p)[:30] for p in parse_cohort(tmp_path / "t.xlsx")[1]] == ["row 4, cells: has a cell in co"]


def test_what_stands_around_the_rows_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"Cohort;;;\n;;;\n{';'.join(HEADER)}\nA;i;m;TN\n")
    with pytest.raises(CohortError, match="Row 3 looks like the header"):
        read_cohort(path)
    path.write_text(f"# a title\n{','.join(HEADER)}\nA,i,m,TN\n")
    with pytest.raises(CohortError, match="Row 2 looks like the header"):
        read_cohort(path)
    path.write_text(f";;;\n{';'.join(HEADER)}\nA;i;m;TN\n\ufeff{';'.join(HEADER)}\nB;i;m;TN\n", "utf-8")
    cohort, problems = parse_cohort(path)
    assert ([case.row for case in cohort.cases], [p.row for p in problems]) == ([3, 5], [4])
    path.write_text(f"{';'.join(HEADER)};;age\nA;i;m;TN;see;50\nB;i;m;TN\n")
    words = told(path)
    assert "row 2 are in a column without a name" in words
    assert "row 3: fewer cells" in words
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
        path.write_bytes(text_of([HEADER, ["Zoé", "i", "m", "tn"]]).encode(encoding))
        with pytest.raises(CohortError, match=f"looks like {encoding[:6].upper()} without"):
            read_cohort(path)


def test_a_table_that_ends_in_zeros_was_not_written_whole(tmp_path: Path) -> None:
    whole = text_of([HEADER, ["A", "i", "m", "tn"]]).encode()
    for zeros in (4, 5000):
        (tmp_path / "t.csv").write_bytes(whole + bytes(zeros))
        with pytest.raises(CohortError, match=f"ends in {zeros} bytes of zeros: it was not written whole"):
            read_cohort(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(whole + bytes(5000) + b"B,i,m,tn\n")
    with pytest.raises(CohortError, match="NUL byte"):
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


# Without signs that a table loses or that are told: NUL, invisible ones, what spreadsheets show in place of values.
LOST = "\0#\ufffd\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0" + "".join(
    map(
        chr,
        [
            *range(1, 9),
            11,
            12,
            *range(14, 32),
            *range(0x7F, 0x85),
            *range(0x86, 0xA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ],
    )
)
cells = st.text(st.characters(codec="utf-8", exclude_characters=LOST, exclude_categories=["Cf", "Cn"]), max_size=12)
named = st.text(
    st.characters(codec="utf-8", exclude_characters=LOST, exclude_categories=["C", "Zl", "Zp"]), max_size=11
)
names = named.map(lambda text: f"x{text}" if text.strip() else text)  # neither a date nor a word for nothing
names = names.filter(lambda text: not is_misread(text))
tables = st.lists(st.tuples(names, names, names, st.sampled_from([s.value for s in Subtype]), cells), max_size=6)


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


printable = st.text(st.characters(codec="utf-8", exclude_characters=LOST, exclude_categories=["C"]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(names, names, names, st.just("TN"), printable), max_size=5))
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
        assert (case.patient_id, case.subtype.value) == (unicodedata.normalize("NFKC", patient).strip(), subtype)
        # A column of numbers with commas is read as numbers.
        plain = unicodedata.normalize("NFKC", note).strip()
        assert re.sub("[.,]", "", case.extra["note"]) == re.sub("[.,]", "", plain)
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


def test_a_table_may_have_thousands_of_columns_and_says_which_limit_is_hit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of radiomics."""
    path = tmp_path / "t.csv"
    path.write_text(text_of([[*HEADER, *(f"radiomics_{n}" for n in range(9_996))], [*ROWS[0], *["0.5"] * 9_996]]))
    assert len(read_cohort(path).cases[0].extra) == 9_996
    path.write_text(text_of([[*HEADER, "note"], [*ROWS[0], "x" * 480_000]]))
    with pytest.raises(CohortError, match=r"row 2 has a cell of more than 131072 characters\. Shorten it"):
        read_cohort(path)
    path.write_text(text_of([HEADER, *ROWS]))
    monkeypatch.setattr(table_files, "_CELLS_CAP", 11)
    with pytest.raises(CohortError, match=r"more than 11 cells \(from row 3 on"):
        read_cohort(path)


def test_control_characters_are_left_out_and_told(tmp_path: Path) -> None:
    """They would steer terminals, and fonts have no sign for them."""
    path = tmp_path / "t.csv"
    path.write_text(text_of([[*HEADER, "centre"], [*ROWS[0], "a\x1b[31mb"], [*ROWS[1], "two\nlines\tand a tab"]]))
    first, second = read_cohort(path).cases
    assert (first.extra["centre"], second.extra["centre"]) == ("a[31mb", "two\nlines\tand a tab")
    assert "control characters (such as of terminals' colours) in cells of row 2 were left out" in told(path)


def test_names_of_rows_and_workbooks_of_another_name_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text_of([HEADER, *([str(n), *row] for n, row in enumerate(ROWS, start=1))]))
    with pytest.raises(CohortError, match=r"R's write.table writes the names of rows. Write it with row.names = FALSE"):
        parse_cohort(path)
    save_workbook(tmp_path / "t.xlsx", [HEADER, *ROWS]).rename(path)
    with pytest.raises(CohortError, match=r"is a workbook by its content\. Name it"):
        parse_cohort(path)


def test_rows_that_are_commented_out_are_no_patients(tmp_path: Path) -> None:
    """NumPy, as R with its comment.char, reads the other rows alone; a whole column of # is a way to number."""
    path = tmp_path / "t.csv"
    rows = [
        HEADER,
        ["P1", "a.dcm", "a.png", "tn"],
        ["#P2", "b.dcm", "b.png", "tn"],
        ["# P3 has no mask"],
        ["P4", *ROWS[0][1:]],
    ]
    path.write_text(text_of(rows), encoding="utf-8")
    assert np.genfromtxt(path, str, delimiter=",", skip_header=1)[:, 0].tolist() == ["P1", "P4"]
    cohort, problems = parse_cohort(path)
    assert [case.patient_id for case in cohort.cases] == ["P1", "P4"]
    assert [(problem.row, problem.column) for problem in problems] == [(3, "patient_id"), (4, "patient_id")]
    assert all("commented out" in problem.text and "delete" in problem.text for problem in problems)
    with pytest.raises(CohortError, match="row 3, patient_id: begins with #"):
        read_cohort(save_workbook(tmp_path / "t.xlsx", [list(row) for row in rows]))
    path.write_text(text_of([HEADER, *[[f"#{n}", f"{n}.dcm", f"{n}.png", "tn"] for n in (12, 13)]]), encoding="utf-8")
    assert [case.patient_id for case in read_cohort(path).cases] == ["#12", "#13"]
    assert "every id begins with #" in told(path)


def test_codes_of_sites_are_no_dates(tmp_path: Path) -> None:
    """GEN and SET are months in Italian and Spanish, but no year has three digits."""
    path = tmp_path / "t.csv"
    path.write_text(text_of([HEADER, *[[name, "i", "m", "tn"] for name in ("01-GEN-001", "02-SET-101", "GEN-003")]]))
    assert not told(path)


def test_a_luminal_b_that_says_nothing_of_her2_is_noted(tmp_path: Path) -> None:
    """Unless the table has HER2+/HR+, and so tells them apart itself; for predictions it does not matter."""
    for cells, told in (
        (("Luminal A", "Luminal B", "TN", "LumB"), "rows 3, 5"),
        (("Luminal", "TN"), "row 2"),
        (("Luminal B", "HER2+/HR+"), ""),
        (("Luminal B (HER2-)", "TN"), ""),
    ):
        lines = [f'{n};{n}.png;"1,1,5,5";{cell}' for n, cell in enumerate(cells)]
        (tmp_path / "t.csv").write_text("\n".join(["patient_id;image;box;subtype", *lines]) + "\n")
        notes = [note.text for note in read_cohort(tmp_path / "t.csv").notes if "St. Gallen" in note.text]
        assert len(notes) == bool(told)
        assert all(f"HER2-negative, as in the paper ({told})" in text for text in notes)
        assert not read_cohort(tmp_path / "t.csv", need_subtype=False).notes


def test_a_class_of_gene_expression_is_noted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        'patient_id;image;box;subtype\nA;a.png;"1,1,5,5";HER2-enriched\nB;b.png;"1,1,5,5";TN\n'
    )
    (note,) = read_cohort(tmp_path / "t.csv").notes
    assert "HER2-enriched is counted as HER2-positive (row 2)" in note.text


def test_a_decimal_comma_that_splits_cells_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("patient_id,image,mask,subtype,age\nA,i,m,TN,54,7\nB,j,n,TN,61,5\n")
    with pytest.raises(CohortError, match="decimal comma splits its cell"):
        parse_cohort(tmp_path / "t.csv")
