"""The worklist: its order, what survives a kill, what is never written over, and who sees what."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import openpyxl
import pytest

from MolSubCore.annotation.second_reader import pairs
from MolSubCore.annotation.worklist import Worklist, open_worklist, readers
from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.tasks import Subtype

HEADER = ("patient_id", "image", "mask", "box", "subtype", "age")
ROWS = (
    ("007", "img/a_R_CC.dcm", "given/a.png", "", "Luminal A", "50"),
    ("007", "img/a_R_MLO.dcm", "", "1,2,3,4", "Luminal A", "50"),
    ("008", "img/b_L_CC.dcm", "", "", "TN", "61"),
    ("009", "other/b_L_CC.dcm", "", "", "", ""),
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "cohort.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *ROWS])
    return path


def outline(worklist: Worklist, number: int, content: bytes = b"mask") -> Path:
    with worklist.writing(number) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(content)
    return worklist.entries[number - 1].mask


def test_it_needs_no_other_library() -> None:
    """What the panel imports: the standard library and ours."""
    program = (
        "import sys; before = set(sys.modules); import MolSubCore.annotation.worklist;"
        "import MolSubCore.annotation.second_reader;"
        "import MolSubCore.worker.folder;"
        "print([m for m in {n.split('.')[0] for n in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names) - {'MolSubCore'}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_order_position_and_notes_come_back(table: Path) -> None:
    with open_worklist(table, "Dr. A") as worklist:
        assert [entry.patient for entry in worklist.entries] == ["007", "007", "008", "009"]
        assert worklist.entries[0].given == (table.parent / "given/a.png",)
        assert worklist.entries[1].given == ("1,2,3,4",)
        # Two images of one name in two folders have two masks.
        names = [entry.mask.name for entry in worklist.entries]
        assert names == ["a_R_CC_lesion.nii.gz", "a_R_MLO_lesion.nii.gz",
                         "img_b_L_CC_lesion.nii.gz", "other_b_L_CC_lesion.nii.gz"]  # fmt: skip
        assert (worklist.current.number, worklist.previous().number, worklist.next().number) == (1, 1, 2)
        worklist.set_done(1)
        worklist.set_note(3, "clips, not a lesion")
        assert worklist.go_to(99).number == worklist.next().number == 4
        assert worklist.first_undone() == worklist.entries[1]
    with open_worklist(table, "Dr. A") as worklist:
        assert worklist.current.number == 4
        assert worklist.done == 1
        assert worklist.entries[2].note == "clips, not a lesion"
        for number in (2, 3, 4):
            worklist.set_done(number)
        assert worklist.first_undone() is None
        assert worklist.set_done(2, False).state == "todo"
        assert worklist.first_undone() == worklist.entries[1]
    assert readers(table) == ["Dr. A"]
    with pytest.raises(MolSubError, match="closed"):
        worklist.next()


def test_rows_that_come_later_in_a_workbook(table: Path) -> None:
    with open_worklist(table, "A") as worklist:
        outline(worklist, 3)
    book = openpyxl.Workbook()
    for row in (HEADER, ("010", "img/c.dcm", "", "", "TN", ""), *ROWS):
        book.active.append(row)
    book.save(table.with_suffix(".xlsx"))
    with open_worklist(table.with_suffix(".xlsx"), "A") as worklist:
        assert [entry.has_mask for entry in worklist.entries] == [False, False, False, True, False]
        assert worklist.current.patient == "007"  # where one was, not its number


def test_a_mask_of_another_hand_is_never_written_over(table: Path) -> None:
    with open_worklist(table, "A") as worklist:
        foreign = worklist.entries[0].mask
        foreign.write_bytes(b"from ITK-SNAP")
        for act in (lambda: outline(worklist, 1), lambda: worklist.remove_mask(1)):
            with pytest.raises(MolSubError, match="did not write it"):
                act()
        assert foreign.read_bytes() == b"from ITK-SNAP"
        assert not worklist.entries[0].has_mask
        worklist.adopt(1)
        outline(worklist, 1, b"second")
        outline(worklist, 1, b"third")
        assert foreign.read_bytes() == b"third"
        foreign.write_bytes(b"changed outside")
        with pytest.raises(MolSubError, match="changed by another program"):
            outline(worklist, 1)
        assert foreign.read_bytes() == b"changed outside"
        worklist.adopt(1)
        worklist.remove_mask(1)
        assert not foreign.exists()
        assert not worklist.entries[0].has_mask


def test_a_failed_write_leaves_the_old_mask(table: Path) -> None:
    with open_worklist(table, "A") as worklist:
        mask = outline(worklist, 1, b"old")
        with pytest.raises(OSError, match="full"), worklist.writing(1) as temporary:
            temporary.write_bytes(b"ha")
            raise OSError("disk full")
        assert mask.read_bytes() == b"old"
        assert not list(mask.parent.glob(".tmp-*"))
        outline(worklist, 1, b"new")
        assert mask.read_bytes() == b"new"


def test_two_programs(table: Path) -> None:
    program = f"from MolSubCore.annotation.worklist import open_worklist; open_worklist({str(table)!r}, 'A')"
    with open_worklist(table, "A"):
        with pytest.raises(MolSubError, match="in use by process"):
            open_worklist(table, "A")
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "in use by process" in other.stderr
        with open_worklist(table, "B"):  # another reader has a folder of their own
            pass
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


_WRITER = """
import itertools, sys
from MolSubCore.annotation.worklist import open_worklist
worklist = open_worklist(sys.argv[1], "A")
print("open", flush=True)
for turn in itertools.count():
    number = turn % 4 + 1
    with worklist.writing(number) as path:
        path.write_bytes(b"%d" % turn * 1000)
    worklist.set_done(number, turn % 8 < 4)
    worklist.set_note(number, "n" * (turn % 50))
"""


@pytest.mark.parametrize("delay", [0.0, 0.011, 0.023, 0.037, 0.05])
def test_killed_at_any_moment(table: Path, delay: float) -> None:
    """The state is whole, every mask is whole and known as ours, and nobody holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(table)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    time.sleep(0.1 + delay)
    process.kill()
    process.communicate()
    with open_worklist(table, "A") as worklist:
        assert not list((table.parent / "masks" / "A").glob(".tmp-*"))
        for entry in worklist.entries:
            if entry.mask.exists():
                content = entry.mask.read_bytes()
                turn = int(content[: len(content) // 1000])
                assert content == b"%d" % turn * 1000
            outline(worklist, entry.number, b"after")
            assert entry.mask.read_bytes() == b"after"


def test_the_table_that_it_becomes(table: Path) -> None:
    with open_worklist(table, "A") as worklist:
        with pytest.raises(MolSubError, match="no lesion is done"):
            worklist.export()
        outline(worklist, 1)
        outline(worklist, 3)
        for number in (1, 2, 3, 4):
            worklist.set_done(number)
        worklist.set_note(3, 'two, "near"\nlesions')
        worklist.set_subtype(4, "tnbc")  # without a lesion it is in no table
        cohort = read_cohort(worklist.export(table.parent / "new" / "mine.csv"))
        assert [case.patient_id for case in cohort.cases] == ["007", "007", "008"]
        assert [case.image.resolve() for case in cohort.cases] == [entry.image for entry in worklist.entries[:3]]
        own = [entry.mask for entry in worklist.entries]
        found = [case.lesion.resolve() if isinstance(case.lesion, Path) else case.lesion for case in cohort.cases]
        assert found == [own[0], "1,2,3,4", own[2]]
        assert [case.subtype for case in cohort.cases] == [Subtype.LUMINAL_A, Subtype.LUMINAL_A, Subtype.TN]
        assert [case.extra["age"] for case in cohort.cases] == ["50", "50", "61"]
        assert cohort.cases[2].extra["note"] == 'two, "near"\nlesions'
        with pytest.raises(MolSubError, match=r"expected \.csv"):
            worklist.export(table.parent / "x.xlsx")


def test_a_table_that_somebody_has_filled_in_is_not_written_over(table: Path) -> None:
    with open_worklist(table, "A") as worklist:
        outline(worklist, 1)
        worklist.set_done(1)
        written = worklist.export()
        worklist.set_note(1, "n")
        assert worklist.export() == written  # its own
        written.write_text(written.read_text().replace("Luminal A", "TN"))
        with pytest.raises(MolSubError, match="not as this worklist wrote it"):
            worklist.export()
        assert "TN" in written.read_text()
        with pytest.raises(MolSubError, match="not as this worklist wrote it"):
            worklist.export(table)


def test_an_image_that_became_another_one_is_to_do_again(pictures: Path) -> None:
    """Whether or not its size and time are as before; a file that was only copied anew is the same image."""
    for reader in "AB":
        with open_worklist(pictures, reader) as worklist:
            for entry in worklist.entries:
                outline(worklist, entry.number)
                worklist.set_done(entry.number)
    first, second = pictures / "p1-R-CC.png", pictures / "p1_R_MLO.png"
    status = first.stat()
    first.write_bytes(b"y")
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    shutil.copy(second, pictures / "copy")
    (pictures / "copy").replace(second)
    with pytest.raises(MolSubError, match="image 2: was changed after reader A outlined it"):
        pairs(pictures, "A", "B")
    for _ in range(2):
        with open_worklist(pictures, "A") as worklist:
            assert [entry.state for entry in worklist.entries] == ["done", "todo", "done", "done"]
            assert [entry.note for entry in worklist.entries if entry.note] == [
                "The image was changed after it was outlined."
            ]
    with pytest.raises(MolSubError, match="1 image"):
        pairs(pictures, "A", "B")
    for reader in "AB":
        with open_worklist(pictures, reader) as worklist:
            worklist.set_done(2)
    pairs(pictures, "A", "B")
    (pictures / "masks" / "B" / "p2_L_CC_lesion.nii.gz").write_bytes(b"by another hand")
    with pytest.raises(MolSubError, match="changed by another program"):
        pairs(pictures, "A", "B")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name in ("p2_L_CC.dcm", "p1_R_MLO.png", "p1-R-CC.png", "notes.txt", "masks/p1.png", ".hidden.png", "DICOMDIR"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "IM0002").write_bytes(b"\0" * 200)
    return folder


def test_a_folder_of_images(pictures: Path) -> None:
    with open_worklist(pictures, "A") as worklist:
        assert [entry.image.name for entry in worklist.entries] == [
            "IM0001",
            "p1-R-CC.png",
            "p1_R_MLO.png",
            "p2_L_CC.dcm",
        ]
        assert [entry.patient for entry in worklist.entries] == ["IM0001", "p1", "p1", "p2"]
        outline(worklist, 2)
        worklist.set_done(2)
        worklist.set_subtype(2, "3")
        (case,) = read_cohort(worklist.export()).cases
        assert (case.patient_id, case.subtype) == ("p1", Subtype.HER2_HR_NEGATIVE)
        with pytest.raises(MolSubError, match="unknown value"):
            worklist.set_subtype(2, "malignant")
    chosen = [pictures / "p2_L_CC.dcm", pictures / "IM0001"]
    with open_worklist(pictures, "A", images=chosen) as worklist:
        assert [entry.image for entry in worklist.entries] == chosen


def test_patients_in_folders_of_their_own(tmp_path: Path) -> None:
    for name in ("set/images/P1/a.dcm", "set/images/P1/b.dcm", "set/images/P2/a.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with open_worklist(tmp_path / "set", "A") as worklist:
        assert [entry.patient for entry in worklist.entries] == ["P1", "P1", "P2"]
        assert len({entry.mask for entry in worklist.entries}) == 3


def test_the_second_reader_is_blind(table: Path) -> None:
    with open_worklist(table, "A") as first:
        outline(first, 1)
        for number in (1, 2, 3, 4):
            first.set_done(number)
    with open_worklist(table, "B", blind=True) as second:
        assert all(entry.given == () and entry.state == "todo" and not entry.has_mask for entry in second.entries)
        own = outline(second, 1)
        outline(second, 2)
        for number in (1, 2, 3):
            second.set_done(number)
    with open_worklist(table, "B") as again:  # once blind, always blind
        assert again.blind
        assert all(entry.given == () for entry in again.entries)
        for order in (("A", "B"), ("B", "A")):
            with pytest.raises(MolSubError, match=r"reader B: has 1 image left"):
                pairs(table, *order)
        again.set_done(4)
    found = pairs(table, "A", "B")
    assert [(pair.first is not None, pair.second is not None) for pair in found] == [
        (True, True), (False, True), (False, False), (False, False)
    ]  # fmt: skip
    assert found[0].second == own
    assert found[0].first is not None and found[0].first.parent.name == "A"
    with pytest.raises(MolSubError, match="no worklist of reader C"):
        pairs(table, "A", "C")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a.", "CON:", "x" * 80, "a\\b", "a\n"])
def test_names_that_are_no_folders(table: Path, name: str) -> None:
    with pytest.raises(MolSubError, match="reader"):
        open_worklist(table, name)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "molsub-worklist", "format_version": 2}', "evil"])
def test_a_damaged_state_is_one_line_and_stays(table: Path, content: str) -> None:
    with open_worklist(table, "A") as worklist:
        state = worklist.entries[0].mask.parent / "worklist.json"
        evil = json.loads(state.read_text())
    evil["images"]["img/a_R_CC.dcm"]["mask"] = "../../outside.nii.gz"
    text = json.dumps(evil) if content == "evil" else content
    state.write_text(text)
    for _ in range(2):
        with pytest.raises(MolSubError) as caught:
            open_worklist(table, "A")
        assert "\n" not in str(caught.value)
    assert state.read_text() == text


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.docx").write_bytes(b"")
    for source in ("empty", "x.docx", "missing.csv"):
        with pytest.raises(MolSubError, match=source):
            open_worklist(tmp_path / source, "A")
    (tmp_path / "a.png").write_bytes(b"x")
    with open_worklist(tmp_path, "Anna"), pytest.raises(MolSubError, match="one spelling"):
        open_worklist(tmp_path, "ANNA")
