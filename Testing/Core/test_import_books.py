"""The books of an import balance whatever comes in; refusals; the command."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import failing
from hypothesis import given, settings
from hypothesis import strategies as st
from import_trees import CLINICAL, Breast, header, picture, write_cmmd, write_image, write_outline, write_rows

from MolSubCore.__main__ import main
from MolSubCore.cohort.importers import base as finish
from MolSubCore.cohort.importers.base import ImportOptions, Ledger, LedgerFault, clip_box
from MolSubCore.cohort.importers.importing import SOURCES, import_cohort
from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.tasks import TASKS

PAPER = ["name", "img_path", "annotation_path", "label"]
VINDR = ["study_id", "image_id", "laterality", "height", "width", "finding_categories", "xmin", "ymin", "xmax", "ymax"]
CBIS = ["patient_id", "left or right breast", "image view", "pathology", "image file path", "ROI mask file path"]
NAMES = {"paper": PAPER, "vindr": VINDR, "cbis-ddsm": CBIS, "cmmd": CLINICAL}
FOLDER = "Mass-Test_P_00001_LEFT_CC"
VALUES = ("", " ", "a", "b", "0", "4", "5", "nan", "-3.5", "1e9", "L", "both", "a\nb", "a\rb", "x,y", '"', "\0", "=1+1",
          "a.dcm", "m.json", "Luminal A", "HER2-enriched", "['Mass']", "D2-0001", f"{FOLDER}/1.dcm",
          f"{FOLDER}_1/1.dcm\n", "../../etc/passwd", "ü" * 300)  # fmt: skip
GOOD = {
    "paper": ["a", "a.dcm", "m.json", "4"],
    "vindr": ["b", "a", "L", "30", "20", "['Mass']", "1", "2", "9", "8"],
    "cbis-ddsm": ["P_1", "LEFT", "CC", "BENIGN", f"{FOLDER}/1.dcm", f"{FOLDER}_1/1.dcm\n"],
    "cmmd": ["D2-0001", "L", "51", "2", "mass", "Malignant", "Luminal A"],
}


def rows_of(kind: str) -> st.SearchStrategy[list[str]]:
    """A good row with any of its cells replaced, or with too many of them."""
    cells = [st.one_of(st.just(good), st.just(good), st.sampled_from(VALUES)) for good in GOOD[kind]]
    return st.tuples(st.tuples(*cells), st.sampled_from([(), (), (), ("more",)])).map(lambda pair: [*pair[0], *pair[1]])


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    kind = draw(st.sampled_from(sorted(NAMES)))
    return kind, draw(st.lists(rows_of(kind), max_size=8))


def fill(folder: Path, kind: str) -> None:
    """What the good rows name."""
    if kind == "cmmd":
        write_cmmd(folder, [Breast("D2-0001", "L", None)])
        write_outline(folder, "D2-0001", "CC", "L", [(1, 1), (9, 1), (9, 9)])
        return
    for name in ("a.dcm", f"{FOLDER}/1.dcm", f"{FOLDER}_1/1.dcm"):
        write_image(folder / name, picture((30, 20), seed=1) // 60 * 60, of=header("x", "L", "CC"))
    (folder / "m.json").write_text('{"lesions": [{"points": [[2, 2], [2, 9], [9, 9]]}]}')


def text_rows(text: str) -> int:
    """Rows below the header that hold anything, by the csv library alone."""
    return sum(any(cell.strip() for cell in row) for row in list(csv.reader(io.StringIO(text, newline="")))[1:])


@settings(max_examples=80, deadline=None)
@given(tables(), st.booleans(), st.booleans(), st.sampled_from([None, "tn", "subtype4"]))
def test_every_row_is_in_the_table_or_has_one_reason(
    made: tuple[str, list[list[str]]], unlabelled: bool, unoutlined: bool, task: str | None
) -> None:
    kind, rows = made
    task = None if task in SOURCES[kind].refused else task
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([NAMES[kind], *rows])
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place, "c"), Path(place, "t.csv")
        folder.mkdir()
        fill(folder, kind)
        name = "CMMD_clinicaldata_revision.csv" if kind == "cmmd" else "table.csv"
        (folder / name).write_text(buffer.getvalue(), encoding="utf-8", newline="")
        options = ImportOptions(task, keep_unlabelled=unlabelled, keep_unoutlined=unoutlined)
        try:
            report = import_cohort(kind, folder, out, options)
        except MolSubError as error:
            assert "\n" not in str(error)
            assert [path.name for path in Path(place).iterdir()] == ["c"]
            return
        content = json.loads(report.path.read_text(encoding="utf-8"))
        cases = read_cohort(out, need_subtype=False).cases if not unoutlined else None
        main_books, *others = content["inputs"].values()
        for books in (main_books, *others):
            listed = sum(len(keys) for keys in books["left_out_inputs"].values())
            assert sum(books["left_out"].values()) == listed
            assert sum(books["used"].values()) + listed == books["total"]
        (of_rows,) = [books for kind_, books in content["inputs"].items() if "row" in kind_]
        assert of_rows["total"] == text_rows(buffer.getvalue())
        assert sum(main_books["used"].values()) == content["table"]["rows"] == text_rows(out.read_text("utf-8"))
        assert cases is None or len(cases) == content["table"]["rows"]
        assert place not in report.path.read_text() + out.read_text("utf-8")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda books: books.expect("a"), "read twice"),
        (lambda books: books.place("c"), "never read"),
        (lambda books: [books.place("a"), books.place("a", "no")], "two places"),
        (lambda books: [books.place("a"), books.balance()], "went nowhere, first b"),
        (lambda books: [books.place("a"), books.place("b", "no"), books.balance(2)], "1 in the table, which holds 2"),
    ],
)
def test_books_that_do_not_balance_are_a_fault(fault: Callable[[Ledger], object], said: str) -> None:
    books = Ledger("rows")
    books.expect("a")
    books.expect("b")
    with pytest.raises(LedgerFault, match=said):
        fault(books)


@given(st.tuples(*[st.floats(-50, 150)] * 4), st.tuples(st.integers(1, 100), st.integers(1, 100)))
def test_a_clipped_box_covers_the_pixels_that_the_box_touches(
    ends: tuple[float, float, float, float], shape: tuple[int, int]
) -> None:
    """By brute force: a pixel is in it whose square has an inner point in common with the box."""
    (x1, x2, y1, y2) = ends
    found = clip_box((x1, x2), (y1, y2), shape)
    rows = [r for r in range(shape[0]) if r < max(y1, y2) and r + 1 > min(y1, y2)]
    columns = [c for c in range(shape[1]) if c < max(x1, x2) and c + 1 > min(x1, x2)]
    if found.text is None:
        assert not rows or not columns or x1 == x2 or y1 == y2
    elif rows and columns:
        assert found.text == f"{rows[0]},{columns[0]},{rows[-1] + 1},{columns[-1] + 1}"
    assert found.turned == (x1 > x2 or y1 > y2)


def test_tasks_a_cohort_cannot_support_are_refused_before_it_is_read(tmp_path: Path) -> None:
    refused = {kind: {task for task in TASKS if task in source.refused} for kind, source in SOURCES.items()}
    assert refused == {
        "cmmd": {"subtype5"},
        "optimam": {"subtype4", "subtype5"},
        "cbis-ddsm": set(TASKS),
        "vindr": set(TASKS),
        "paper": set(),
    }
    for kind, task, why in (
        ("cmmd", "subtype5", r"HR\+ and HR-"),
        ("optimam", "subtype4", "no Ki-67"),
        ("vindr", "tn", "no molecular subtypes"),
    ):
        with pytest.raises(CohortError, match=why):
            import_cohort(kind, tmp_path / "absent", tmp_path / "t.csv", ImportOptions(task=task))


def one_good_row(folder: Path, kind: str, *, width: int = 10) -> None:
    """A cohort of one row; of CBIS-DDSM with a mask of this width."""
    fill(folder, kind)
    if kind == "cbis-ddsm":
        mask = np.zeros((30, 20), np.uint8)
        mask[5:20, 5 : 5 + width] = 255
        write_image(folder / f"{FOLDER}_1" / "2.dcm", mask, of=header("x", "L", "CC"))
    write_rows(folder / "table.csv", [NAMES[kind], GOOD[kind]])


def fill_disk(patch: pytest.MonkeyPatch, step: str) -> None:
    """From now on there is no room for one step of an import."""

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "rows":
        patch.setattr(csv.DictWriter, "writerows", full)
    elif step == "report":
        patch.setattr(finish, "json_text", full)
    else:
        end = {"named table": "t.csv", "named report": "t.json"}[step]
        for name in ("link", "replace"):
            real = getattr(os, name)
            patch.setattr(os, name, lambda a, b, real=real: full() if str(b).endswith(end) else real(a, b))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


STEPS = ["rows", "report", "named report", "named table"]


@pytest.mark.parametrize("kind", ["paper", "cbis-ddsm"])
@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, step: str) -> None:
    folder, out = tmp_path / "c", tmp_path / "out" / "t.csv"
    folder.mkdir()
    one_good_row(folder, kind)
    with monkeypatch.context() as patch:
        fill_disk(patch, step)
        with pytest.raises(OSError, match="No space"):
            import_cohort(kind, folder, out)
    assert not list(out.parent.iterdir())
    import_cohort(kind, folder, out)
    names = {"t.csv", "t.import.json"} | ({"t-masks"} if kind == "cbis-ddsm" else set())
    assert {path.name for path in out.parent.iterdir()} == names


@pytest.mark.parametrize("name", ["t.csv", "t.import.json"])
def test_what_another_import_wrote_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder, out = tmp_path / "c", tmp_path / "out" / "t.csv"
    folder.mkdir()
    one_good_row(folder, "paper")
    real = os.link

    def link(source: str, target: str) -> None:
        if Path(target).name == name:
            Path(target).write_text("theirs")
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(MolSubError, match="written by another process meanwhile"):
        import_cohort("paper", folder, out)
    assert contents(out.parent) == {name: b"theirs"}


@pytest.mark.parametrize("kind", ["paper", "cbis-ddsm"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("system", [sys.platform, "another"])
def test_a_full_disk_leaves_the_import_before_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, step: str, system: str
) -> None:
    folder, out = tmp_path / "c", tmp_path / "out" / "t.csv"
    folder.mkdir()
    one_good_row(folder, kind)
    import_cohort(kind, folder, out)
    before = contents(out.parent)
    one_good_row(folder, kind, width=8)
    write_rows(folder / "table.csv", [NAMES[kind], GOOD[kind], [*GOOD[kind][:1], *GOOD[kind]]])  # the last fits not
    monkeypatch.setattr(sys, "platform", system)
    with monkeypatch.context() as patch:
        fill_disk(patch, step)
        with pytest.raises(OSError, match="No space"):
            import_cohort(kind, folder, out, overwrite=True)
    assert contents(out.parent) == before
    import_cohort(kind, folder, out, overwrite=True)
    after = contents(out.parent)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert {Path(name).suffix for name in changed} == ({".json", ".gz"} if kind == "cbis-ddsm" else {".json"})


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "c", tmp_path / "t.csv"
    folder.mkdir()
    fill(folder, "paper")
    (folder / "table.csv").write_text("name,img_path,annotation_path,label\nP1,a.dcm,m.json,4\nP2,none.dcm,m.json,4\n")
    command = ["cohort", "import", "paper", str(folder), "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "2 rows of the table: 1 in the table, 1 not" in printed
    assert "       1  image file missing" in printed
    assert "read as the paper's: 0 Luminal A" in printed and "there is no 0" in printed
    assert out.read_text().splitlines() == ["patient_id,image,mask,box,subtype", "P1,c/a.dcm,c/m.json,,TN"]
    assert "exists already" in failing(capsys, *command)
    assert main([*command, "--overwrite"]) == 0
    assert "no table with the columns" in failing(capsys, "cohort", "import", "vindr", str(folder), "--out", "x.csv")
    assert "expected .csv" in failing(capsys, *command[:-1], str(tmp_path / "u.xlsx"))
    (folder / "table.csv").write_text("name,img_path,annotation_path,label\nP1,a.dcm,m.json,1\nP2,a.dcm,m.json,5\n")
    assert "seem to count from 1" in failing(capsys, *command, "--overwrite")
    assert "is not a folder" in failing(capsys, "cohort", "import", "cmmd", str(tmp_path / "no"), "--out", "x.csv")
