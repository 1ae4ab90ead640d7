"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from MolSubCore import lock
from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.files import (
    MANIFEST,
    OVERWRITE,
    atomic_folder,
    atomic_path,
    check_folder,
    check_free,
    hidden_name,
    read_json,
    remove_stale,
    set_aside_changed,
    try_place,
    why_missing,
    write_json,
    write_text,
)
from MolSubCore.lock import Lock, alone_at, alone_in


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(target) == {"old": 1}
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_never_replaces_what_another_process_wrote_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:  # as on a memory stick

        def refuse(*names: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "a.txt"
    write_text(target, "first", new=True)
    with pytest.raises(MolSubError, match="written by another process meanwhile"):
        write_text(target, "second", new=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "first")]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert not any(tmp_path.iterdir())


def test_an_existing_folder_is_kept_unless_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as temporary:
        (temporary / "first").touch()
    with pytest.raises(MolSubError, match="exists already"), atomic_folder(out):
        pass
    with atomic_folder(out, replaces="first") as temporary:
        (temporary / "second").touch()
    assert sorted(p.name for p in out.iterdir()) == [MANIFEST, "second"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "thesis.txt").write_text("years of work")
    for target in (tmp_path / "documents", tmp_path / "documents" / "thesis.txt"):
        with (
            pytest.raises(MolSubError, match=r"not replaced|is a file"),
            atomic_folder(target, replaces="prediction.json"),
        ):
            pass
    assert (tmp_path / "documents" / "thesis.txt").read_text() == "years of work"


def test_leftovers_of_a_killed_process_are_not_in_the_way(tmp_path: Path) -> None:
    leftover = tmp_path / f".tmp-{os.getpid()}-out"
    leftover.mkdir()
    (leftover / "half").touch()
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "whole").touch()
    assert (tmp_path / "out" / "whole").is_file()


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"auc": float("nan")})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, "{", b"\xff\xfe"])
def test_broken_json_is_one_line(tmp_path: Path, content: str | bytes | None) -> None:
    file = tmp_path / "a.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MolSubError) as caught:
        read_json(file)
    assert "\n" not in str(caught.value)
    assert "a.json" in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="names are no bytes on Windows")
def test_names_that_are_no_utf8_come_back_from_json_and_tables(tmp_path: Path) -> None:
    name = os.fsdecode(b"M\xfcller \xe4.dcm")
    write_json(tmp_path / "a.json", {"file": name})
    assert read_json(tmp_path / "a.json") == {"file": name}
    (tmp_path / name).touch()
    write_text(tmp_path / "table.csv", f'patient_id,image,box\n1,{name},"1,1,2,2"\n')
    (case,) = read_cohort(tmp_path / "table.csv", need_subtype=False).cases
    assert case.image.exists()


def test_only_what_was_written_here_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as temporary:
        write_json(temporary / "first.json", 1)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(MolSubError, match=r"did not write \(notes.txt\)"), atomic_folder(out, replaces="first.json"):
        pass
    (out / "notes.txt").unlink()
    (out / ".DS_Store").touch()

    def replaced(late: bool) -> None:
        with atomic_folder(out, replaces="first.json") as temporary:
            write_json(temporary / "first.json", 2)
            if late:  # while the work lasts
                (out / "notes.txt").write_text("mine")

    with pytest.raises(MolSubError, match="did not write"):
        replaced(late=True)
    assert (read_json(out / "first.json"), (out / "notes.txt").read_text()) == (1, "mine")
    (out / "notes.txt").unlink()
    replaced(late=False)
    assert read_json(out / "first.json") == 2
    lock_of_ours = b"\0" + f"{os.getpid():<20}".encode()
    mac, windows = b"\0\0\0\1Bud1 and more", bytes.fromhex("d0cf11e0a1b11ae1") + b" and more"
    for name, content, ours in (
        (".lock", b"my own text", False), (".lock-held", b"mine", False), ("Thumbs.db", b"mine", False),
        (".DS_Store", b"mine", False), (".directory", b"[Desktop Entry]", False), ("desktop.ini", b"mine", False),
        (".lock", lock_of_ours, True), (".lock-held", b"process 7 on there", True), (".lock", b"", True),
        ("Thumbs.db", windows, True), (".DS_Store", mac, True),
    ):  # fmt: skip
        (out / name).write_bytes(content)
        if ours:
            replaced(late=False)
            continue
        with pytest.raises(MolSubError, match=f"did not write \\({name}\\)"):
            replaced(late=False)
        assert (out / name).read_bytes() == content
        (out / name).unlink()
    (out / MANIFEST).unlink()  # as of an older version
    with pytest.raises(MolSubError, match="remove it yourself"):
        replaced(late=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_list_of_results_is_brought_up_to_date(tmp_path: Path) -> None:
    for name in ("table-1.csv", "table-2.csv", "own.csv"):
        (tmp_path / name).touch()
    remove_stale(tmp_path, {"table-1.csv", "table-2.csv"}, (".csv",))
    remove_stale(tmp_path, {"table-1.csv"}, (".csv",))
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "own.csv", "table-1.csv"]


def test_what_somebody_changed_is_theirs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out, also=("later.txt",)) as temporary:
        write_json(temporary / "first.json", 1)
        (temporary / "masks").mkdir()
        (temporary / "masks" / "a.png").write_text("1")
    (out / "later.txt").write_text("the program's")
    (out / "masks" / "a.png").write_text("corrected by hand")
    with pytest.raises(MolSubError, match=r"changed since this program wrote it \(masks/a.png\)"):
        check_free(out, replaces="first.json")
    (out / "masks" / "a.png").write_text("1")
    check_free(out, replaces="first.json")
    (out / "masks" / "a.png").unlink()
    (out / "masks").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "masks").symlink_to("../elsewhere")
    with pytest.raises(MolSubError, match=r"\(masks\)"):
        check_free(out, replaces="first.json")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "old.csv").write_text("1")
    remove_stale(tmp_path / "r", {"old.csv"}, (".csv",))
    (tmp_path / "r" / "old.csv").write_text("edited")
    set_aside_changed(tmp_path / "r", ".csv")
    assert (tmp_path / "r" / "old (changed 1).csv").read_text() == "edited"
    (tmp_path / "r" / "old (changed 1).csv").rename(tmp_path / "r" / "old.csv")
    remove_stale(tmp_path / "r", set(), (".csv",))
    assert (tmp_path / "r" / "old.csv").read_text() == "edited"


@pytest.mark.parametrize(
    "content", [b"[1, 2]", b"7", b'{"files": 3}', b'{"files": [7, null]}', b'{"files": ["../a"]}', b"\xff\xfe", b"{",
                b'{"files": [], "sha256": []}', b'{"files": ["x"], "sha256": {"x": 1}}']
)  # fmt: skip
def test_a_damaged_list_of_files_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mark").touch()
    (tmp_path / MANIFEST).write_bytes(content)
    for tried in (lambda: check_free(tmp_path, replaces="mark"), lambda: remove_stale(tmp_path, set(), (".csv",))):
        with pytest.raises(MolSubError, match="damaged list of what this program wrote"):
            tried()


def test_somebodys_own_file_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("my own text")
    with pytest.raises(MolSubError, match=r"a file .lock that is not a lock of this program"), alone_in(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "my own text"
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock-held").write_text("mine, too")
    for _ in range(2):
        with alone_in(tmp_path):
            pass
    assert (tmp_path / ".lock-held").read_text() == "mine, too"


def test_why_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "A.png").touch()
    assert "capital" in why_missing(tmp_path / "a.png")
    assert why_missing(tmp_path / "A.png") == ""
    (tmp_path / "b.png").symlink_to("nowhere")
    (tmp_path / "Röntgen").mkdir()
    assert "a folder whose name differs in capital" in why_missing(tmp_path / "röntgen" / "c.png")
    assert why_missing(tmp_path / "none" / "c.png") == ""
    assert "link that leads nowhere" in why_missing(tmp_path / "b.png")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes there")
@pytest.mark.parametrize(
    ("name", "codec", "told"),
    [
        ("Grün é.dcm", "latin-1", "Windows-1252"),
        ("乳房.dcm", "shift_jis", "Shift-JIS"),
        ("Маммо.png", "cp1251", "1251"),
    ],
)
def test_a_name_in_another_encoding_is_told(tmp_path: Path, name: str, codec: str, told: str) -> None:
    """As on disks that came from Windows; the table is UTF-8."""
    (tmp_path / os.fsdecode(name.encode(codec))).touch()
    assert told in why_missing(tmp_path / name)
    assert told in why_missing(tmp_path / unicodedata.normalize("NFD", name))
    assert why_missing(tmp_path / f"x{name}") == ""
    (tmp_path / os.fsdecode("Müller".encode(codec, "replace"))).mkdir()
    if codec == "latin-1":
        assert "a folder of this name, but in Windows-1252" in why_missing(tmp_path / "Müller" / "a.png")


def test_temporary_names_cannot_be_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a link with the very name does not lead to another file."""
    victim, target = tmp_path / "victim", tmp_path / "a.json"
    victim.write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda count: "0" * 2 * count)
    hidden_name(target, "tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_json(target, 1)
    assert victim.read_text() == "precious"
    monkeypatch.undo()
    names = []
    for _ in range(2):
        with atomic_path(target) as temporary:
            names.append(temporary.name)
            temporary.write_text("1")
    assert len(set(names)) == 2


def test_everything_about_a_place_is_tried_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    (tmp_path / "file").touch()
    check_free(tmp_path / "link")
    with atomic_folder(tmp_path / "link") as temporary:
        (temporary / "x").touch()
    assert (tmp_path / "disk" / "x").is_file() and (tmp_path / "link").is_symlink()
    for name in ("n" * 256, "new/" + "n" * 256, "file/out"):
        for tried in (check_free, check_folder, try_place):
            with pytest.raises(OSError, match=r"too long|Not a directory") as caught:
                tried(tmp_path / name)
            assert caught.value.filename == str(tmp_path / name)
    longest = "\u00fc" * 127  # bytes, not letters
    with atomic_folder(tmp_path / longest) as temporary:
        write_json(temporary / f"{'n' * 250}.json", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "file", "link", longest]
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "loop/out"):
        for tried in (check_free, check_folder, try_place):
            with pytest.raises(OSError, match="Too many levels") as caught:
                tried(tmp_path / name)
            assert caught.value.filename == str(tmp_path / name)
    if sys.platform == "linux":
        os.mkfifo(tmp_path / "pipe")
        for place in (tmp_path / "pipe", Path("/dev/null")):
            for tried in (check_free, check_folder, try_place):
                with pytest.raises(MolSubError, match=rf"^{place}: is a pipe, a socket or a device"):
                    tried(place)
        with pytest.raises(MolSubError, match="mount point"):
            check_free(Path("/proc"))
        with pytest.raises(MolSubError, match="exists already"):
            check_free(Path("/proc"), whole=False)


def test_an_error_while_writing_names_what_was_typed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError) as caught, atomic_path(tmp_path / "a"):
        pass
    assert caught.value.filename == str(tmp_path / "a") and ".tmp-" not in str(caught.value)
    with pytest.raises(FileNotFoundError) as missing, atomic_folder(tmp_path / "b") as temporary:
        (temporary / "no" / "x").touch()
    assert missing.value.filename == str(tmp_path / "b" / "no" / "x")


def test_leftovers_are_swept_by_whoever_holds_the_lock(tmp_path: Path) -> None:
    names = (".tmp-x", ".tmp-notes-0123456789abcdef-x", ".tmp-0123456789abcdef-x", f".old-{'0' * 24}-x", "a.txt")
    mine = [tmp_path / name for name in names]
    for file in mine:
        file.touch()
    link, folder, file = (hidden_name(tmp_path / name, "tmp") for name in ("link", "folder", "file"))
    link.symlink_to("a.txt")
    (folder / "inner").mkdir(parents=True)
    file.touch()
    former = hidden_name(tmp_path / "case", "old")
    former.mkdir()
    (former / "former").touch()
    hidden_name(tmp_path / "a.txt", "old").touch()
    with alone_in(tmp_path):
        kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {*(file.name for file in mine), link.name, "case", ".lock"}
    assert (tmp_path / "case" / "former").is_file()


def test_one_at_a_time_makes_a_result_and_removes_what_killed_ones_left(tmp_path: Path) -> None:
    """Also of a name too long for a hidden one; and never what is to become something else."""
    for name in ("result", "r" * 240 + ".molsub"):
        place = tmp_path / name
        place.mkdir()
        target = place / name
        dead, other = hidden_name(target, "tmp"), hidden_name(place / "other", "tmp")
        for folder in (dead, other):
            folder.mkdir()
            (folder / "case.txt").write_text("identified")
        with alone_at(target):
            assert not dead.exists()
            with pytest.raises(MolSubError, match="in use by process") as caught, alone_at(target):
                pass
            assert caught.value.subject == str(target)
            with alone_at(place / "other"):
                pass
            target.mkdir()
        assert {path.name for path in place.iterdir()} == {name}
    with pytest.raises(RuntimeError), alone_at(tmp_path / "new" / "deeper" / "out"):
        raise RuntimeError
    assert not (tmp_path / "new").exists()


def test_a_failed_lock_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError), alone_in(tmp_path / "new" / "out"):
        raise RuntimeError
    assert not any(tmp_path.iterdir())
    first = Lock(tmp_path / "out" / ".lock")
    first.acquire()
    with pytest.raises(MolSubError, match="in use by process"), alone_in(tmp_path / "out"):
        pass
    assert Lock(first.path).is_taken()
    first.release(unused=True)
    assert not any(tmp_path.iterdir())

    def failing(file: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lock, "_lock", failing)
    with pytest.raises(KeyboardInterrupt), alone_in(tmp_path / "out"):
        pass
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_one_works_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def without(file: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock, "_lock", without)
    with alone_in(tmp_path / "out"):
        assert Lock(tmp_path / "out" / ".lock").is_taken()
        with pytest.raises(MolSubError, match=rf"process {os.getpid()} on .*no locks.*remove .*lock-held") as caught:
            Lock(tmp_path / "out" / ".lock").acquire()
        assert os.strerror(number) in str(caught.value)
        (tmp_path / "out" / "result").touch()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".lock", "result"]
    with alone_in(tmp_path / "out"):
        pass


def test_a_demo_is_made_anew_without_removing_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from MolSubCore.cli import demo

    out, made = tmp_path / "d2", []

    def make(out: Path, settings: dict[str, Any], times: float) -> None:
        seed = settings["seed"]
        assert {path.name for path in out.iterdir()} <= {".lock", MANIFEST, ".DS_Store"}
        (out / "demo.txt").touch()
        (out / "cohort").mkdir()
        (out / "cohort" / "table.csv").touch()
        made.append(seed)
        if seed == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_make", make)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(out, seed=1)
    demo.run_demo(out, seed=2)
    for name in ("thesis.docx", "cohort/notes.txt"):
        (out / name).write_text("mine")
        with pytest.raises(MolSubError, match=f"did not write \\({name}\\)"):
            demo.run_demo(out, seed=3)
        assert (out / name).read_text() == "mine" and (out / "cohort" / "table.csv").is_file()
        (out / name).unlink()
    (out / ".DS_Store").touch()
    demo.run_demo(out, seed=4)
    assert made == [1, 2, 4]


def test_overwrite_is_offered_only_where_it_is_not_refused(tmp_path: Path) -> None:
    """A folder of others' files, one of ours, and one of ours with a file of others in it."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    (theirs / "thesis.docx").write_text("x")
    with atomic_folder(ours) as folder:
        (folder / "prediction.json").write_text("{}")

    def remedy(place: Path) -> str:
        with pytest.raises(MolSubError, match="exists already") as caught:
            check_free(place, remedy=OVERWRITE)
        return caught.value.remedy

    assert remedy(theirs) == "Choose another --out"
    assert remedy(ours) == OVERWRITE
    check_free(ours, replaces="prediction.json", remedy=OVERWRITE)
    (ours / "notes.txt").write_text("x")
    assert remedy(ours) == "Choose another --out"
    for place in (theirs, ours):
        with pytest.raises(MolSubError, match=r"is not replaced|never removed"):
            check_free(place, replaces="prediction.json", remedy=OVERWRITE)
