"""Nothing that tells who a patient is gets into any output, file name, log or temporary file without --identified."""

from __future__ import annotations

import base64
import contextlib
import csv
import functools
import gzip
import io
import json
import os
import re
import shutil
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from coarse_cohort import make_coarse_cohort
from command_line import TRAIN
from privacy_marks import DATE, PROFILE, READ, ROOT, TEXT, found_in, leaks, mark_dicom

from MolSubCore.__main__ import main
from MolSubCore.cohort.pseudonyms import Salt, key_file
from MolSubCore.files import read_json
from MolSubCore.statistics import calibration
from MolSubCore.tasks import Subtype
from MolSubCore.worker.protocol import Event, Request, read_event
from MolSubCore.worker.worker import Worker

#: Names of files that were opened for writing; filled by an audit hook, which cannot be taken away again.
_written: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        _written.append(arguments[0])
    elif event in ("os.mkdir", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp"):
        _written.extend(str(argument) for argument in arguments if isinstance(argument, str | os.PathLike))


@dataclass(frozen=True)
class Place:
    """A cohort of marked files, and a folder for all that is written."""

    table: Path
    image: Path
    mask: Path
    out: Path
    marked: frozenset[str]
    printed: dict[str, str]


def _command(printed: dict[str, str], *arguments: str, code: int = 0) -> None:
    """Run a command; keep what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        assert main(arguments) == code, out.getvalue()
    printed[f"{len(printed)} {arguments[0]}"] = out.getvalue()


def _mark_cohort(plain: Path, folder: Path) -> frozenset[str]:
    """A copy of a cohort whose patients, folders and files have names, with marks in images, masks and table."""
    rows = list(csv.DictReader(plain.open(encoding="utf-8", newline="")))
    marked: set[str] = set()
    for number, row in enumerate(rows):
        patient = f"{TEXT}{row['patient_id']}"
        home = folder / f"{TEXT} Mueller {number // 2}"
        home.mkdir(parents=True, exist_ok=True)
        image, mask = home / f"{TEXT}_{number}.dcm", home / f"{TEXT}_{number}_mask.nrrd"
        marked |= mark_dicom(plain.parent / row["image"], image, row["patient_id"])
        volume = sitk.ReadImage(str(plain.parent / row["mask"]))
        volume.SetMetaData(f"{TEXT}key", f"{TEXT}value")
        sitk.WriteImage(volume, str(mask), useCompression=True)
        row |= {"patient_id": patient, "image": str(image.relative_to(folder)), "mask": str(mask.relative_to(folder))}
        row |= {"name": f"{TEXT} Anna", "birth": DATE, "hospital": f"{TEXT} hospital", "part": "AB"[number // 2 % 2]}
    with (folder / f"{TEXT}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return frozenset(marked)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Everything that the commands make of the marked cohort, in one folder."""
    base = tmp_path_factory.mktemp("private")
    counts = {Subtype.LUMINAL_A: 3, Subtype.TN: 3}
    plain = make_coarse_cohort(base / "plain", counts=counts, seed=3, image_shape=(256, 208))
    source, out, printed = base / f"{TEXT} clinic", base / "out", {}
    marked = _mark_cohort(plain, source)
    out.mkdir()
    table = source / f"{TEXT}.csv"
    image, mask = (next(source.rglob(pattern)) for pattern in ("*_0.dcm", "*_0_mask.nrrd"))
    _written.clear()
    sys.addaudithook(_watch)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(out / name.lower()))
            (out / name.lower()).mkdir()
        patch.chdir(out)
        _run_all(out, table, (str(image), str(mask)), printed)
    return Place(table, image, mask, out, marked, printed)


def _run_all(out: Path, table: Path, case: tuple[str, str], printed: dict[str, str]) -> None:
    model, cache = ["--model", str(out / "m.molsub")], ["--cache", str(out / "cache")]
    train = [*TRAIN, "--batch-size", "4"]
    image, mask = case
    damaged, few = (table.parent / f"{TEXT} {name}.csv" for name in ("damaged", "few"))
    lines = table.read_text().splitlines()
    damaged.write_text("\n".join([*lines, lines[-1].replace(".dcm", ".missing"), lines[1].replace("_mask", "_none")]))
    few.write_text("\n".join(lines[:5]))  # two patients, of whom every heatmap is tested
    run = functools.partial(_command, printed)
    run("cohort", "check", str(table), "--task", "luminal", "--folds", "2")
    run("cohort", "check", str(damaged), code=2)
    run("train", str(damaged), "--out", str(out / "never"), *cache, *train, code=2)
    run("train", str(table), "--out", str(out / "run"), *cache, *train)
    run("evaluate", str(out / "run"), "--resamples", "50")
    run("models", "export", str(out / "run"), "--out", str(out / "m.molsub"), "--fold", "1")
    run("models", "info", str(out / "m.molsub"), "--json")
    run("models", "info", str(out / "m.molsub"), "--html", str(out / "card.html"))
    elsewhere = ["evaluate", str(out / "m.molsub"), str(damaged), *cache, "--resamples", "50"]
    elsewhere += ["--overlap", "keep"]
    run(*elsewhere, "--subgroup", "laterality", "--out", str(out / "elsewhere"), code=2)
    fitted = ["--recalibrate-on", "part=A", "--recalibrated", str(out / "fitted.molsub")]
    with pytest.MonkeyPatch.context() as small:
        small.setattr(calibration, "LEAST", 1)
        run(*elsewhere, *fitted, "--out", str(out / "recalibration"), code=2)
    run("predict", image, "--lesion", mask, *model, "--out", str(out / "patient"))
    run("predict", str(damaged), *model, "--out", str(out / "table"), "--layers", "none", code=2)
    least = ["--faithful", "1", "--randomised", "1", "--controls", "1"]
    run("explain-study", str(few), *model, "--out", str(out / "explained"), *least)
    run("agreement", mask, mask, "--image", image, "--consensus", "union", "--out", str(out / "both.nii.gz"))


def test_the_marks_cover_the_profile(place: Place) -> None:
    assert set(PROFILE) <= place.marked | {"PatientID"}
    assert not READ & place.marked
    assert len(place.marked) > 1000


def test_the_search_finds_what_is_packed(tmp_path: Path) -> None:
    """In every wrapping that an output has; else the tests below would pass whatever is written."""
    text = f"name {TEXT}0001".encode()
    packed = {
        "plain": text,
        "wide": f"{TEXT}1".encode("utf-32-le"),
        "gzip": b"header" + gzip.compress(text),
        "zlib": b"\x89PNG" + zlib.compress(text),
        "base64": b"<img src='data:x;base64," + base64.b64encode(b"....." + zlib.compress(text)) + b"'>",
    }
    for name, content in packed.items():
        assert found_in(content) == {TEXT}, name
    assert not found_in(b"nothing")


def test_no_output_tells_who_a_patient_is(place: Place) -> None:
    assert {
        "prediction.json",
        "report.pdf",
        "evaluation.json",
        "predictions.csv",
        "m.molsub",
        "evaluation.html",
        "fitted.molsub",
    } <= {path.name for path in place.out.rglob("*")}
    assert leaks(place.out) == {}


def test_no_file_was_ever_named_after_a_patient(place: Place) -> None:
    """Not even one that is gone: temporary files, and files that a failed command took away again."""
    assert any(".tmp-" in name for name in _written)
    names = {name for name in _written if str(place.out) in name}
    assert names
    assert not {name for name in names if TEXT in name}


def test_the_terminal_names_only_what_the_user_typed(place: Place) -> None:
    """A row of a table is named by its number; a path that stands on the command line may be said again."""
    typed = sorted((str(path) for path in (place.image, place.mask, place.table)), key=len, reverse=True)
    typed += [str(place.table.parent / f"{TEXT} {name}.csv") for name in ("damaged", "few")]
    for command, text in place.printed.items():
        for path in typed:
            text = text.replace(path, "")
        assert not found_in(text.encode()), (command, text)
    assert any("molsub: rows" in text for text in place.printed.values())


def test_identified_is_the_way_to_names(place: Place, tmp_path: Path) -> None:
    command = ["predict", str(place.image), "--lesion", str(place.mask), "--model", str(place.out / "m.molsub")]
    assert main([*command, "--out", str(tmp_path / "named"), "--identified", "--layers", "none"]) == 0
    (image,) = read_json(tmp_path / "named" / "prediction.json")["images"]
    assert image["files"]["image"] == str(place.image)
    assert image["identifiers"]["PatientID"].startswith(TEXT)
    found = leaks(tmp_path / "named")
    assert {"prediction.json", "report.html", "report.pdf"} <= set(found)


def test_no_result_holds_what_undoes_the_pseudonyms(place: Place) -> None:
    """Patient ids have few digits: with the salt all of them are found by trying."""
    split = read_json(place.out / "run" / "split.json")
    assert "salt" not in split
    secrets = [Salt.read(place.out, split).value.encode(), key_file().read_bytes().strip()]
    held = [path for path in place.out.rglob("*") if path.is_file() and any(s in path.read_bytes() for s in secrets)]
    assert not held
    assert any(f"never to be shared: {key_file()}" in text for text in place.printed.values())
    ids = set(read_json(place.out / "run" / "split.json")["partition"])
    texts = [path.read_text() for path in (place.out / "run").rglob("*.csv")]
    found = set(re.findall(r"\bS[0-9a-f]{12}\b", "\n".join(texts)))
    assert found
    assert found <= ids


def _jobs(place: Place, out: Path) -> list[Request]:
    model, pair = str(place.out / "m.molsub"), {"image": str(place.image), "lesions": str(place.mask)}
    cut = out / "cut.dcm"
    content = place.image.read_bytes()
    cut.write_bytes(content[: len(content) - 5000])
    return [
        Request("1", "read-image", {"path": pair["image"], "out": str(out / "image")}),
        Request("2", "read-lesions", {**pair, "out": str(out / "lesions")}),
        Request("3", "predict", {"bundle": model, "images": [pair], "out": str(out / "prediction")}),
        Request("4", "report", {"bundle": model, "images": [pair], "out": str(out / "report")}),
        Request("5", "check-cohort", {"table": str(place.table), "task": "luminal", "folds": 2}),
        Request("6", "read-image", {"path": str(cut), "out": str(out / "image")}),
        Request("7", "library-list", {"folder": str(place.out)}),
    ]


def test_jobs_of_the_worker(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events tell no more than the two instance UIDs by which 3D Slicer finds an image again."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    stream, out = io.StringIO(), tmp_path / "out"
    out.mkdir()
    worker, requests = Worker(io.StringIO(), stream), _jobs(place, out)
    for request in requests:
        worker.run(request)
    events: list[Event] = [read_event(line) for line in stream.getvalue().splitlines()]
    assert [event.event for event in events if event.event in ("done", "failed")] == ["done"] * 5 + ["failed", "done"]
    for event in events:
        values = json.loads(json.dumps(event.values))
        if isinstance(values.get("result"), dict):
            for name in ("sop_instance_uid", "study_instance_uid"):
                assert values["result"].pop(name, ROOT).startswith(ROOT)
        assert not found_in(json.dumps(values).encode()), event
    (out / "cut.dcm").unlink()
    assert leaks(tmp_path) == {}


@pytest.mark.slow
def test_a_study(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, figures, page, jobs, logs; also of a study whose images cannot all be read."""
    out = tmp_path / "out"
    command = ["study", str(place.table), "--tasks", "luminal", "--architectures", "mob-cbam", "--epochs", "1"]
    command += ["--folds", "2", "--pretrained", "none", "--test-share", "0.25", "--cache", str(out / "cache")]
    assert main([*command, "--out", str(out / "study")]) == 0
    assert main(["study-report", str(out / "study")]) == 0
    assert leaks(out) == {}
    damaged = tmp_path / f"{TEXT} copy"
    shutil.copytree(place.table.parent, damaged)
    next(damaged.rglob("*_3.dcm")).write_bytes(b"DICM" * 100)
    command[1] = str(damaged / place.table.name)
    assert main([*command, "--out", str(out / "failed")]) != 0
    assert leaks(out) == {}
