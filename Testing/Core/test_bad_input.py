"""Bad input by the command line: exit code 2, one line with file, value and remedy, nothing left behind."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from command_line import TRAIN, case, failing
from PIL import Image
from small_disk import mounted

from MolSubCore.__main__ import explain_error, main
from MolSubCore.errors import MolSubError
from MolSubCore.files import hidden_name, read_json, sha256_file, write_json
from MolSubCore.imaging.io.content import content_hash
from MolSubCore.imaging.io.dicom import open_dicom
from MolSubCore.lock import alone_at
from MolSubCore.statistics.scores import read_predictions

Breaker = Callable[[Path, Path], tuple[Path, str]]


def _text_file(folder: Path, mask: Path) -> tuple[Path, str]:
    (folder / "x.png").write_text("not an image")
    return folder / "x.png", str(mask)


def _no_file(folder: Path, mask: Path) -> tuple[Path, str]:
    return folder / "missing.dcm", str(mask)


def _bad_box(folder: Path, mask: Path) -> tuple[Path, str]:
    Image.fromarray(np.zeros((300, 200), np.uint8)).save(folder / "x.png")
    return folder / "x.png", "10,10,10,30"


def _empty_mask(folder: Path, mask: Path) -> tuple[Path, str]:
    Image.fromarray(np.full((300, 200), 7, np.uint8)).save(folder / "x.png")
    Image.fromarray(np.zeros((300, 200), np.uint8)).save(folder / "mask.png")
    return folder / "x.png", str(folder / "mask.png")


def _transposed_mask(folder: Path, mask: Path) -> tuple[Path, str]:
    Image.fromarray(np.full((300, 200), 7, np.uint8)).save(folder / "x.png")
    Image.fromarray(np.full((200, 300), 1, np.uint8)).save(folder / "mask.png")
    return folder / "x.png", str(folder / "mask.png")


def _changed_dicom(change: Callable[[pydicom.Dataset], None]) -> Breaker:
    """Break a good DICOM file by one change of its data set."""

    def breaker(folder: Path, mask: Path) -> tuple[Path, str]:
        dataset = pydicom.dcmread(mask.parent.parent / "images" / f"{mask.name.removesuffix('.nii.gz')}.dcm")
        change(dataset)
        dataset.save_as(folder / "x.dcm")
        return folder / "x.dcm", str(mask)

    return breaker


def _drop_pixels(dataset: pydicom.Dataset) -> None:
    del dataset.PixelData


def _truncate(dataset: pydicom.Dataset) -> None:
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]


def _add_frames(dataset: pydicom.Dataset) -> None:
    dataset.NumberOfFrames, dataset.PixelData = 2, dataset.PixelData * 2


@pytest.mark.parametrize(
    ("breaker", "word"),
    [
        (_text_file, "DICOM, PNG"),
        (_no_file, "does not exist"),
        (_bad_box, "box 10,10,10,30"),
        (_empty_mask, "every pixel is 0"),
        (_transposed_mask, "transposed"),
        (_changed_dicom(_drop_pixels), "no pixel data"),
        (_changed_dicom(_truncate), "truncated pixel data: 212992 bytes, expected 425984"),
        (_changed_dicom(_add_frames), "2 frames"),
    ],
    ids=["text", "missing", "box", "empty", "transposed", "no pixels", "truncated", "frames"],
)
def test_bad_images_and_masks(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], breaker: Breaker, word: str
) -> None:
    image, lesion = breaker(tmp_path, Path(case(workplace)[1]))
    out = tmp_path / "out"
    line = failing(
        capsys, "predict", str(image), "--lesion", lesion, "--model", str(workplace / "m.molsub"), "--out", str(out)
    )
    assert any(Path(name).name in line for name in (image, lesion))
    assert word in line
    assert not out.exists()
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_refused_before_it_is_opened(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe without a writer would be waited for without end, a device read without end."""
    image, mask = case(workplace)
    pipe, link, bundle = tmp_path / "pipe.dcm", tmp_path / "link.nii.gz", workplace / "m.molsub"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    table = tmp_path / "t.csv"

    def late(*_: object) -> None:
        raise AssertionError("something is waited for")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(600)  # whoever waits for a pipe does so for ever
    try:
        for wrong, outline in (
            (str(pipe), mask),
            (image, str(link)),
            ("/dev/zero", "20,20,60,60"),
            (str(tmp_path), mask),
        ):
            line = failing(
                capsys, "predict", wrong, "--lesion", outline, "--model", str(bundle), "--out", str(tmp_path / "out")
            )
            assert re.search(r"is a (pipe, a socket or a device|folder),.* expected", line)
            table.write_text(f'patient_id,image,mask,subtype\nP1,{wrong},"{outline}",TN\n')
            for command in (
                ["cohort", "check", str(table)],
                ["predict", str(table), "--model", str(bundle), "--out", str(tmp_path / "o")],
                ["evaluate", str(bundle), str(table), "--out", str(tmp_path / "e")],
                ["train", str(table), "--out", str(tmp_path / "run"), *TRAIN],
                ["study", str(table), "--out", str(tmp_path / "s")],
            )[: 5 if wrong == str(pipe) else 2]:
                assert main(command) == 2, command
                shutil.rmtree(tmp_path / "o", ignore_errors=True)
        for path in (pipe, Path("/dev/zero")):
            for command in (
                ["cohort", "check", str(path)],
                ["predict", image, "--lesion", mask, "--model", str(path), "--out", str(tmp_path / "out")],
                ["train", str(table), "--split", str(path), "--out", str(tmp_path / "run"), *TRAIN],
                ["models", "import", str(path), "--task", "tn", "--out", str(tmp_path / "x.molsub")],
            ):
                assert main(command) == 2, command
            for read in (content_hash, sha256_file):
                with pytest.raises(OSError, match="a file was expected"):
                    read(path)
            for read in (read_json, read_predictions, open_dicom):
                with pytest.raises((MolSubError, OSError), match=r"a file was expected|ends in"):
                    read(path)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_bad_options_are_one_line(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, mask = case(workplace)
    model, out = str(workplace / "m.molsub"), str(tmp_path / "out")
    assert "Luminal" in failing(
        capsys, "predict", image, "--lesion", mask, "--model", model, "--out", out, "--classes", "Benign"
    )
    line = failing(
        capsys, "predict", image, "--lesion", mask, "--model", model, "--out", out, "--layers", "features.nope"
    )
    assert "features.nope" in line
    assert "--lesion" in failing(capsys, "predict", image, "--model", model, "--out", out)
    assert "nomodel" in failing(capsys, "predict", image, "--lesion", mask, "--model", "nomodel", "--out", out)
    assert "--fold" in failing(capsys, "models", "export", str(workplace / "run"), "--out", out, "--fold", "9")
    assert not Path(out).exists()


def test_a_bundle_of_another_version(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "bundle"
    assert main(["models", "export", str(workplace / "run"), "--out", str(bundle)]) == 0
    card = read_json(bundle / "bundle.json")
    write_json(bundle / "bundle.json", card | {"format_version": 99})
    line = failing(capsys, "models", "info", str(bundle))
    assert "99" in line


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("patient_id,image,subtype\n1,a.dcm,TN\n", ["mask"]),
        ("patient_id,image,mask,subtype\n1,a.dcm,m.nii,Benign\n", ["Benign", "2"]),
        ("patient_id,image,mask,subtype\n", []),
    ],
)
def test_bad_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, words: list[str]) -> None:
    (tmp_path / "t.csv").write_text(table)
    line = failing(capsys, "train", str(tmp_path / "t.csv"), "--out", str(tmp_path / "run"), *TRAIN)
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


def test_one_class_only(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(workplace / "cohort" / "table.csv"), "--out", str(tmp_path / "run"), "--pretrained", "none"]
    line = failing(capsys, *command, "--task", "her2", "--folds", "2")
    assert "HER2-positive" in line
    assert not (tmp_path / "run").exists()


def test_pretrained_weights_without_network(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-weights"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    arguments = [argument for argument in TRAIN if argument not in ("--pretrained", "none")]
    table = str(workplace / "cohort" / "table.csv")
    line = failing(
        capsys, "train", table, "--out", str(tmp_path / "run"), "--cache", str(workplace / "cache"), *arguments
    )
    assert "--pretrained none" in line
    assert "--pretrained FILE" in line


def test_faults_of_the_machine_are_explained() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "result.nrrd")
    line, code = explain_error(full)
    assert code == 2
    assert "disk is full" in line
    assert "ulimit -f" in explain_error(OSError(errno.EFBIG, "File too large", "result.nrrd"))[0]
    assert "disk is full" in explain_error(OSError("437400 requested and 30688 written"))[0]  # numpy.save
    out_of_memory = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
    line, code = explain_error(out_of_memory)
    assert code == 2
    assert all(word in line for word in ("--batch-size", "--precision", "--device cpu"))
    assert explain_error(OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300))[1] == 2
    assert explain_error(KeyError("x"))[1] == 1


def test_a_full_disk_leaves_nothing(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real full file system where one can be mounted; else the test skips and says so."""
    mount = tmp_path / "small"
    with mounted(mount, "64k") as there:
        if not there:
            pytest.skip("cannot mount a small tmpfs here (needs root)")
        image, mask = case(workplace)
        command = ["predict", image, "--lesion", mask, "--model", str(workplace / "m.molsub"), "--out"]
        assert "disk is full" in failing(capsys, *command, str(mount / "out"))
        assert not list(mount.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--architecture", "resnet"], ["resnet", "densenet121-cbam"]),
        (["--only-fold", "7"], ["--only-fold", "is 7", "1 to 2"]),
        (["--epochs", "0"], ["epochs", "is 0"]),
        (["--batch-size", "-1"], ["batch_size", "is -1"]),
        (["--learning-rate", "nan"], ["learning_rate", "nan"]),
    ],
)
def test_a_wrong_option_is_told_before_any_image_is_read(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: list[str]
) -> None:
    """The corrected command can then be given the same folder."""
    table, cache, run = str(workplace / "cohort" / "table.csv"), tmp_path / "cache", tmp_path / "run"
    line = failing(capsys, "train", table, "--out", str(run), "--cache", str(cache), *TRAIN, *options)
    assert all(word in line for word in words), line
    assert not run.exists()
    assert not cache.exists()


def test_failures_of_one_kind_are_two_lines(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first at once, all others at the end, with their rows."""
    (tmp_path / "t.csv").write_text("patient_id,image,mask\n" + "".join(f"P{n},{n}.dcm,{n}.png\n" for n in range(30)))
    command = ["predict", str(tmp_path / "t.csv"), "--model", str(workplace / "m.molsub"), "--out", str(tmp_path / "o")]
    assert main(command) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("molsub: ")]
    why = "its image does not exist. Check the path."
    assert told == [f"molsub: row 2: {why}", f"molsub: rows 3-31, too: {why}"]


def test_a_table_is_not_begun_with_a_wrong_request(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(workplace / "cohort" / "table.csv"), "--model", str(workplace / "m.molsub")]
    command += ["--out", str(tmp_path / "out")]
    assert "Benign" in failing(capsys, *command, "--classes", "Benign")
    assert "features.nope" in failing(capsys, *command, "--layers", "features.nope")
    assert "nocam" in failing(capsys, *command, "--method", "nocam")
    assert "--resume" in failing(capsys, *command, "--overwrite")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["predict", "export"])
def test_one_result_at_a_time(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Whoever comes second is refused, also with --overwrite; what a killed one left, with names, goes."""
    image, mask = case(workplace)
    out = tmp_path / "k8.molsub"
    arguments = {
        "predict": ["predict", image, "--lesion", mask, "--model", str(workplace / "m.molsub"), "--layers", "none"],
        "export": ["models", "export", str(workplace / "run")],
    }[command]
    arguments += ["--overwrite", "--out", str(out)]
    with alone_at(out):
        assert f"k8.molsub: is in use by process {os.getpid()}. Wait" in failing(capsys, *arguments)
    left = hidden_name(out, "tmp")
    left.mkdir()
    (left / "prediction.json").write_text("MUSTERMANN^ERIKA")
    assert main(arguments) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["k8.molsub"]


@pytest.mark.parametrize(
    "arguments", [["train", "t.csv", "--out", "r", "--task", "tn", "--seed", "abc"], ["predict"], ["xyz"]]
)
def test_errors_of_usage_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("molsub: ")
    assert "--help" in line
