"""Files and folders appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.files import atomic_folder, atomic_path, read_json, write_json, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(target) == {"old": 1}
    assert list(tmp_path.iterdir()) == [target]


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
    assert [p.name for p in out.iterdir()] == ["second"]
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
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["whole"]


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
