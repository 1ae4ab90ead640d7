"""Damaged files of every format: each ends in a result or one clear error, within ten seconds and two GiB."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzz_campaign import ROOT, SHARES, Figures, Reader, run_campaign
from fuzz_mutations import damaged, elements
from fuzz_seeds import READERS, make_seeds, write_companions
from fuzz_table import BEGIN, END, put
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from written_files import mammogram_dataset, picture, write_dicom


def real_files() -> Path | None:
    """The folder of real mammography files, where there is one."""
    folder = ROOT.parent / "shared" / "data"
    return folder if (folder / "MANIFEST.csv").is_file() else None


def check(figures: list[Figures], count: int) -> None:
    """Every reader had its share of inputs, and bore them all; some were read, some refused."""
    assert [one.reader for one in figures] == list(READERS)
    faults = [fault for one in figures for fault in one.faults.values()]
    assert not faults, "\n".join(faults)
    for one in figures:
        assert one.inputs >= round(count * SHARES[one.reader])
        assert one.results + sum(one.refusals.values()) == one.inputs
    assert sum(one.results for one in figures) > count // 20
    assert sum(sum(one.refusals.values()) for one in figures) > count // 4


def test_300_damaged_files(tmp_path: Path) -> None:
    check(run_campaign(300, tmp_path / "fuzz", real=real_files()), 300)


@pytest.mark.slow
def test_5000_damaged_files(tmp_path: Path) -> None:
    check(run_campaign(5000, tmp_path / "fuzz", real=real_files(), start=2), 5000)


def test_whole_files_are_read(tmp_path: Path) -> None:
    """Before any damage every synthetic seed gives a result: else its damage would be tested in vain."""
    write_companions(tmp_path)
    reader = Reader(tmp_path)
    try:
        for name, seeds in make_seeds(None).items():
            for seed in seeds:
                path = tmp_path / f"whole{seed.suffix}"
                path.write_bytes(seed.data)
                answer = reader.read(name, path, seed.shape)
                assert answer["outcome"] == "result", (seed.name, answer)
                path.unlink()
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("raise KeyError('x')", "KeyError"),
        ("raise MolSubError('a', 'b\\x1b[31m', 'c')", ""),
        ("raise MolSubError('a', 'b' * 9999, 'c')", ""),
        ("print('noise')", "prints"),
        ("__import__('os').abort()", "crash"),
        ("__import__('time').sleep(99)", "hang"),
        ("bytearray(b'x') * (9 << 28)", "memory"),
    ],
)
def test_the_watch_sees_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, kind: str) -> None:
    """A reader that breaks in each of the ways that count as a fault is reported; a dead process is begun again."""
    source = Path(__file__).with_name("fuzz_child.py").read_text(encoding="utf-8")
    broken = source.replace("        READ[reader](path, shape)\n", f"        {body}\n")
    assert broken != source
    (tmp_path / "fuzz_child.py").write_text(broken)
    monkeypatch.setattr("fuzz_campaign.__file__", str(tmp_path / "fuzz_campaign.py"))
    if kind == "hang":
        monkeypatch.setattr("fuzz_campaign.PATIENCE", 3.0)
    reader = Reader(tmp_path)
    try:
        for _ in range(2):
            answer = reader.read("table", tmp_path / "x.csv", (1, 1))
            assert (answer["outcome"], answer["kind"]) == (("fault", kind) if kind else ("refused", "MolSubError"))
    finally:
        reader.close()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_damage_changes_files(data: st.DataObject) -> None:
    content = bytes(range(256)) * 10
    assert isinstance(data.draw(damaged(content)), bytes)


def test_elements_are_those_of_pydicom(tmp_path: Path) -> None:
    """The walk over a file's elements, by which single values are damaged, against pydicom's."""
    path = write_dicom(tmp_path / "m.dcm", mammogram_dataset(picture(12), 12))
    read = dcmread(path)
    content = path.read_bytes()
    values = [content[start:end] for _, start, end in elements(content)]
    assert len(values) == len(read.file_meta) + len(read)
    assert values[-1] == read.PixelData


def test_the_table_is_written_between_its_markers() -> None:
    figures = Figures("DICOM")
    figures.add({"outcome": "result", "seconds": 0.5, "bytes": 3 << 20})
    figures.add({"outcome": "refused", "kind": "ImageError", "seconds": 1.25, "bytes": 5 << 20})
    text = put(f"before\n{BEGIN}\nold\n{END}\nafter\n", [figures], real=False)
    assert "| DICOM | 2 | 1 | ImageError 1 | 0 | 1.25 s | 5 MiB |" in text
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    with pytest.raises(ValueError, match="fuzz:begin"):
        put("nothing", [figures], real=False)
    assert json.dumps(figures.faults) == "{}"
