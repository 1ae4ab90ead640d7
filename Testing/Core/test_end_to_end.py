"""The whole job by the command line: a synthetic cohort, training, bundle, prediction, and bad input."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MolSubCore.__main__ import explain_error, main
from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.files import read_json, write_json
from MolSubCore.tasks import Subtype

TRAIN = ["--task", "luminal", "--folds", "2", "--epochs", "1", "--pretrained", "none", "--test-share", "0.25"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of twelve synthetic patients, a run on it, a bundle."""
    folder = tmp_path_factory.mktemp("work")
    counts = {Subtype.LUMINAL_A: 5, Subtype.LUMINAL_B: 1, Subtype.TN: 6}
    table = make_synthetic_cohort(folder / "cohort", counts=counts, seed=3, image_shape=(512, 416))
    assert main(["train", str(table), "--out", str(folder / "run"), "--cache", str(folder / "cache"), *TRAIN]) == 0
    assert main(["models", "export", str(folder / "run"), "--out", str(folder / "m.molsub"), "--fold", "ensemble"]) == 0
    return folder


def case(workplace: Path, number: int = 0) -> tuple[str, str]:
    image = sorted((workplace / "cohort" / "images").glob("*.dcm"))[number]
    return str(image), str(workplace / "cohort" / "masks" / f"{image.stem}.nii.gz")


def failing(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must end with exit code 2 and one line, progress bars aside; return the line."""
    capsys.readouterr()
    assert main(arguments) == 2
    printed = capsys.readouterr().err.splitlines()
    lines = [line for line in printed if line.strip() and not re.search(r"\d%\|", line)]
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]


def test_the_run_holds_what_it_promises(workplace: Path) -> None:
    run = workplace / "run"
    plan = read_json(run / "plan.json")
    assert plan["task"] == "luminal"
    assert plan["folds"] == 2
    assert plan["synthetic"] is True
    assert len(plan["data_hash"]) == len(plan["split_hash"]) == 64
    assert "torch" in plan["software"]
    evaluation = read_json(run / "evaluation.json")
    assert {"folds", "test", "best_fold"} <= set(evaluation)
    assert Image.open(run / "evaluation.png").width > 800
    header = (run / "fold-1" / "metrics.csv").read_text().splitlines()[0]
    assert {"epoch", "train_loss", "val_loss", "val_auc"} <= set(header.split(","))


def test_patients_do_not_leak(workplace: Path) -> None:
    parts = [
        {line.split(",")[0] for line in (workplace / "run" / f"fold-{n}" / f"{name}.csv").read_text().splitlines()[1:]}
        for n, name in ((1, "predictions"), (2, "predictions"), (1, "test_predictions"))
    ]
    assert all(parts)
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert len(set.union(*parts)) == 12


def test_a_prediction_is_whole_and_says_what_it_is(workplace: Path, tmp_path: Path) -> None:
    out = tmp_path / "result"
    images = [case(workplace, 0), case(workplace, 1)]
    arguments = ["predict", *(image for image, _ in images), "--model", str(workplace / "m.molsub"), "--out", str(out)]
    for _, mask in images:
        arguments += ["--lesion", mask]
    assert main([*arguments, "--classes", "all"]) == 0
    result = read_json(out / "prediction.json")
    assert result["task"] == "luminal"
    assert result["classes"] == ["non-Luminal", "Luminal"]
    assert [entry["image"].split()[0] for entry in result["images"]] == ["1", "2"]
    assert sum(result["patient"]["probabilities"].values()) == pytest.approx(1)
    mean = np.mean([list(entry["probabilities"].values()) for entry in result["images"]], axis=0)
    assert list(result["patient"]["probabilities"].values()) == pytest.approx(list(mean))
    assert any("synthetic" in text for text in result["warnings"])
    for entry, (image, _) in zip(result["images"], images, strict=True):
        assert len(entry["heatmaps"]) == 6
        roi = entry["roi"]
        for file in entry["heatmaps"].values():
            volume = sitk.GetArrayFromImage(sitk.ReadImage(str(out / file)))[0]
            assert volume.shape == sitk.GetArrayFromImage(sitk.ReadImage(image))[0].shape
            outside = volume.copy()
            outside[roi["row_start"] : roi["row_stop"], roi["col_start"] : roi["col_stop"]] = 0
            assert not outside.any()
            assert 0 <= volume.min() <= volume.max() <= 1.0001
        assert set(entry["overlays"]) == {"non-Luminal", "Luminal"}
        assert all(Image.open(out / name).width >= 1200 for name in entry["overlays"].values())
    assert "SYNTHETIC" in (out / "report.html").read_text()


def test_no_identifier_unless_asked(workplace: Path, tmp_path: Path) -> None:
    image, mask = case(workplace)
    secret = "Q7ZSECRET"
    copy = tmp_path / f"{secret}.dcm"
    import pydicom

    dataset = pydicom.dcmread(image)
    dataset.PatientID = dataset.PatientName = secret
    dataset.save_as(copy)
    common = ["predict", str(copy), "--lesion", mask, "--model", str(workplace / "m.molsub")]
    assert main([*common, "--out", str(tmp_path / "plain")]) == 0
    for file in (tmp_path / "plain").rglob("*"):
        assert secret not in file.name
        assert file.is_dir() or secret.encode() not in file.read_bytes()
    assert main([*common, "--out", str(tmp_path / "named"), "--identified", "--layers", "none"]) == 0
    assert secret in (tmp_path / "named" / "prediction.json").read_text()


def test_a_table_is_predicted_and_resumed(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "few.csv"
    rows = (workplace / "cohort" / "table.csv").read_text().splitlines()
    (tmp_path / "images").symlink_to(workplace / "cohort" / "images")
    (tmp_path / "masks").symlink_to(workplace / "cohort" / "masks")
    table.write_text("\n".join(rows[:4]) + "\n")
    command = [
        "predict",
        str(table),
        "--model",
        str(workplace / "m.molsub"),
        "--out",
        str(tmp_path / "out"),
        "--layers",
        "none",
    ]
    assert main(command) == 0
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 3  # three rows of two patients
    before = (tmp_path / "out" / "case-0001" / "prediction.json").stat().st_mtime_ns
    assert "--resume" in failing(capsys, *command)
    assert main([*command, "--resume"]) == 0
    assert (tmp_path / "out" / "case-0001" / "prediction.json").stat().st_mtime_ns == before


def test_the_same_plan_gives_the_same_numbers(workplace: Path, tmp_path: Path) -> None:
    arguments = ["train", str(workplace / "cohort" / "table.csv"), "--out", str(tmp_path / "again"), *TRAIN]
    split = ["--split", str(workplace / "run" / "split.json"), "--only-fold", "1"]
    assert main([*arguments, "--cache", str(workplace / "cache"), *split]) == 0
    first, second = (folder / "fold-1" / "predictions.csv" for folder in (workplace / "run", tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()


def test_models_are_listed_and_shown(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--library", str(workplace)]) == 0
    assert "m.molsub" in capsys.readouterr().out
    assert main(["models", "info", str(workplace / "m.molsub"), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["classes"] == ["non-Luminal", "Luminal"]
    assert card["synthetic"] is True


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


@pytest.mark.parametrize("breaker", [_text_file, _no_file, _bad_box, _empty_mask, _transposed_mask])
def test_bad_images_and_masks(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], breaker: Breaker
) -> None:
    image, lesion = breaker(tmp_path, Path(case(workplace)[1]))
    out = tmp_path / "out"
    line = failing(
        capsys, "predict", str(image), "--lesion", lesion, "--model", str(workplace / "m.molsub"), "--out", str(out)
    )
    assert any(Path(name).name in line for name in (image, lesion))
    assert not out.exists()
    assert not list(tmp_path.glob(".tmp-*"))


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


def test_resume_refuses_another_plan(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(workplace / "cohort" / "table.csv"), "--out", str(workplace / "run"), "--task", "luminal"]
    cache = ["--cache", str(workplace / "cache")]
    assert "--resume" in failing(capsys, *command, *cache)
    assert "learning_rate" in failing(capsys, *command, *cache, "--resume", "--learning-rate", "0.5")
    assert main([*command, *cache, "--resume"]) == 0


def test_faults_of_the_machine_are_explained() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "result.nrrd")
    line, code = explain_error(full)
    assert code == 2
    assert "disk is full" in line
    out_of_memory = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
    line, code = explain_error(out_of_memory)
    assert code == 2
    assert all(word in line for word in ("--batch-size", "--precision", "--device cpu"))
    assert explain_error(KeyError("x"))[1] == 1


def test_a_full_disk_leaves_nothing(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real full file system where one can be mounted; else the test skips and says so."""
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small tmpfs here (needs root)")
    try:
        image, mask = case(workplace)
        command = [
            "predict",
            image,
            "--lesion",
            mask,
            "--model",
            str(workplace / "m.molsub"),
            "--out",
            str(mount / "out"),
        ]
        assert "disk is full" in failing(capsys, *command)
        assert not list(mount.iterdir())
    finally:
        subprocess.run(["umount", str(mount)], check=False)


def test_help_needs_no_torch() -> None:
    code = "import sys; from MolSubCore.cli import build_parser; build_parser(); "
    code += "print('torch' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.split() == ["False", "False"]
