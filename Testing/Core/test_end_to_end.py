"""The whole job by the command line: a synthetic cohort, training, bundle, prediction."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import TRAIN, case, failing
from heatmap_files import on_image
from PIL import Image

from MolSubCore.__main__ import main
from MolSubCore.files import read_json
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.prediction import table as batch
from MolSubCore.prediction.predict import predict


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
            volume = on_image(out / file, sitk.GetArrayFromImage(sitk.ReadImage(image))[0].shape)
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


def test_whatever_goes_wrong_with_a_patient_the_others_are_predicted(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that cannot even be looked at, and an error that nobody foresaw: each is named by its rows alone."""
    header, *rows = (workplace / "cohort" / "table.csv").read_text().splitlines()
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row.split(",")[0], row.replace("images/", f"{workplace}/cohort/images/"))
    one, two, three, four = (row.replace("masks/", f"{workplace}/cohort/masks/") for row in list(first.values())[:4])
    long = two.replace(f"{workplace}/cohort/images/", "MUELLER_ANNA_" * 30)
    table = tmp_path / "four.csv"
    table.write_text("\n".join([header, one, long, three, four]) + "\n")
    unlucky = Path(next(cell for cell in three.split(",") if cell.endswith(".dcm")))

    def unforeseen(path: object) -> object:
        if path == unlucky:
            raise RuntimeError(f"cannot do {path}, really")
        return read_mammogram(str(path))

    monkeypatch.setattr(batch, "predict", partial(predict, read=unforeseen))
    capsys.readouterr()
    out = tmp_path / "out"
    assert (
        main(["predict", str(table), "--model", str(workplace / "m.molsub"), "--layers", "none", "--out", str(out)])
        == 2
    )
    printed = capsys.readouterr()
    assert "2 of 4 patients predicted" in printed.out
    assert re.search("row 3: its image cannot be opened .*File name too long", printed.err)
    assert re.search(r"row 4: .*internal error: RuntimeError: cannot do \.\.\., really", printed.err)
    assert "MUELLER" not in printed.err + printed.out and unlucky.stem not in printed.err
    written = (out / "predictions.csv").read_text()
    assert "MUELLER" not in written and unlucky.stem not in written
    told = list(csv.DictReader(written.splitlines()))
    for line, number in zip(told, (2, 3, 4, 5), strict=True):
        assert bool(line["error"]) == (number in (3, 4))
        assert not line["error"] or f"molsub: row {number}: {line['error']}." in printed.err
    assert [line["case"] for line in told] == ["case-0001", "", "", "case-0004"]  # the other folders were never made


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


def test_resume_refuses_another_plan(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(workplace / "cohort" / "table.csv"), "--out", str(workplace / "run"), "--task", "luminal"]
    cache = ["--cache", str(workplace / "cache")]
    assert "--resume" in failing(capsys, *command, *cache)
    assert "learning_rate" in failing(capsys, *command, *cache, "--resume", "--learning-rate", "0.5")
    assert main([*command, *cache, "--resume"]) == 0


def test_ctrl_c_leaves_a_run_that_resumes(workplace: Path, tmp_path: Path) -> None:
    """SIGINT, as Ctrl-C sends it, after the first epoch; then --resume, without repeating the settings."""
    run, table = tmp_path / "run", str(workplace / "cohort" / "table.csv")
    common = ["train", table, "--out", str(run), "--cache", str(workplace / "cache"), "--task", "luminal"]
    settings = ["--folds", "1", "--epochs", "3", "--pretrained", "none", "--test-share", "0.25"]
    settings += ["--architecture", "simple-cnn"]
    process = subprocess.Popen(
        [sys.executable, "-m", "MolSubCore", *common, *settings],
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.poll() is None and not (run / "fold-1" / "metrics.csv").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate()
    assert process.returncode == 130, printed
    assert "--resume" in printed
    assert "Traceback" not in printed
    assert main([*common, "--resume"]) == 0
    rows = (run / "fold-1" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3"]
    assert read_json(run / "plan.json")["pretrained"] == "none"


def test_help_needs_no_torch() -> None:
    code = "import sys; from MolSubCore.cli.app import build_parser; build_parser(); "
    code += "print('torch' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.split() == ["False", "False"]
