"""The Train panel by real clicks: a real training, and jobs of a few lines where only its course matters."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MolSubCore.worker.folder import is_running, new_events
from ownjobs import write_jobs

Until = Callable[..., None]

#: A `train` job of a few lines, put into every process that starts meanwhile.
_JOBS = r"""
import os, time
from pathlib import Path

def train(options, progress):
    run = Path(options["run"])
    run.mkdir(parents=True, exist_ok=True)
    count = run / "epochs"
    first = int(count.read_text()) if count.exists() else 0
    print("a library speaks", flush=True)
    for epoch in range(1, 41):
        values = dict(train_loss=1 / epoch, val_loss=2 / epoch, train_auc=epoch / 40, val_auc=epoch / 80)
        progress(epoch / 40, stage="training", fold=1, folds=1, epoch=epoch, epochs=40, seconds_left=40.0 - epoch,
                 **values, **({"past": True} if epoch <= first else {}))
        if epoch > first:
            count.with_suffix(".new").write_text(str(epoch))  # whole, if it is interrupted here
            os.replace(count.with_suffix(".new"), count)
            time.sleep(0.05)
        if epoch == 5 and (run.parent.parent / "abort").exists():
            (run.parent.parent / "abort").unlink()
            os.abort()
        while epoch == 5 and (run.parent.parent / "hold").exists():
            time.sleep(0.02)
    return {"run": str(run), "missing": [2]}

def check(options, progress):
    problems = [{"row": 3, "column": "subtype", "text": "unknown value 'pink'"}]
    wrong = options["table"].endswith("wrong.csv")
    return {"counts": {}, "notes": [], "problems": problems if wrong else [], "usable": not wrong}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slicer_app: Any) -> Iterator[Path]:
    """Trainings and models lie in the test's own folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    yield tmp_path / "MolSub"
    for name in ("training", "training-at-end", "table"):
        slicer_app.userSettings().remove(f"MolSubSlicer/{name}")


@pytest.fixture
def short(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The short jobs, for processes that start after this: tests ask for it before they ask for the panel."""
    write_jobs(tmp_path, _JOBS, {"train": "train", "check-cohort": "check"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    table = tmp_path / "table.csv"
    table.write_text("patient_id,image,mask,subtype\n")
    return table


@pytest.fixture
def panel(place: Path, module: Any) -> Iterator[Any]:
    panel = module.panels["TrainPanel"]
    module.buttons["TrainPanel"].collapsed = False
    module.parent.resize(520, 1200)
    module.parent.show()
    yield panel
    module.parent.hide()
    if panel.controller.running:
        panel.controller.cancel()
        panel.controller.cancel()


@pytest.fixture
def held(place: Path) -> Path:
    """The short training waits after five epochs until this file is removed: no test has to be quick."""
    (place / "training").mkdir(parents=True)
    (place / "training" / "hold").touch()
    return place / "training" / "hold"


def again(module: Any) -> Any:
    """The panel of a Slicer that is started later."""
    from MolSubSlicerLib.Train.TrainPanel import TrainPanel

    return TrainPanel(module.session)


def start(panel: Any, table: Path) -> None:
    panel.ui.tablePath.currentPath = str(table)
    panel.ui.trainButton.click()


def state(panel: Any, *states: str) -> Callable[[], bool]:
    """Whether the training is in one of these states; an end that nobody waits for fails the test at once."""

    def reached() -> bool:
        now = panel.controller.state
        assert now in states or now not in ("failed", "interrupted"), panel.controller.message
        return now in states

    return reached


def pixels(label: Any, colour: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Rows and columns of a colour in a label's picture."""
    from PySide6.QtGui import QImage

    image = label.pixmap.toImage().convertToFormat(QImage.Format.Format_RGBA8888)
    shape = image.height(), image.bytesPerLine() // 4, 4
    data = np.frombuffer(image.constBits(), np.uint8).reshape(shape)[:, : image.width()]
    return np.argwhere((data[..., :3] == colour).all(axis=2) & (data[..., 3] == 255))


BLUE, VERMILION = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def test_a_real_training_from_click_to_library(
    panel: Any, module: Any, place: Path, tmp_path: Path, process_until: Until
) -> None:
    from MolSubCore.cohort.synthetic import make_synthetic_cohort
    from MolSubCore.models.card import read_card
    from MolSubCore.tasks import Subtype

    counts = {Subtype.LUMINAL_A: 6, Subtype.TN: 6}
    table = make_synthetic_cohort(tmp_path / "cohort", counts=counts, image_shape=(256, 208), views=("CC",))
    told = []
    module.session.library_changed.connect(lambda: told.append(1))
    ui = panel.ui
    ui.architectureCombo.setCurrentText("Simple CNN")
    ui.deviceCombo.setCurrentIndex(1)
    ui.epochsSpin.value, ui.foldsSpin.value, ui.nameEdit.text = 1, 2, "of the test"
    module.session.table_written.emit(table)  # as a worklist does
    assert ui.tablePath.currentPath == str(table)
    ui.trainButton.click()
    assert panel.controller.state == "checking"
    process_until(state(panel, "done", "failed", "interrupted"), 240)
    assert panel.controller.state == "done", panel.controller.message + panel.controller.log()
    bundle = place / "models" / "of the test.molsub"
    assert read_card(bundle)["architecture"] == "simple-cnn"
    assert told == [1]
    run = panel.controller.folder() / "run"
    for fold in (1, 2):
        with (run / f"fold-{fold}" / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for name in ("train_loss", "val_loss", "train_auc", "val_auc"):
            assert panel.controller.curves.curve(fold, name) == [(int(r["epoch"]), float(r[name])) for r in rows]
    evaluation = json.loads((run / "evaluation.json").read_text())
    auc = evaluation["test"]["ensemble"]["patient"]["metrics"]["auc"]
    assert f"{auc['value']:.2f} (95 % CI {auc['low']:.2f} to {auc['high']:.2f})" in ui.resultLabel.text
    assert "of the test" in ui.resultLabel.text
    assert "nothing about patients" in ui.resultLabel.text  # a synthetic cohort
    assert ui.figureLabel.visible
    assert ui.figureLabel.pixmap.width() == ui.figureLabel.width
    assert not ui.progressBar.visible


def test_every_setting_of_the_plan_can_be_chosen(panel: Any) -> None:
    import qt

    from MolSubCore.training.plan import SETTINGS, Plan

    chosen = panel.options()
    assert chosen["epochs"] == Plan.epochs and chosen["folds"] == Plan.folds
    rows = {setting.name for setting in SETTINGS} - {"architecture", "device", "epochs", "folds"}
    assert not rows & chosen.keys()  # what is left empty has its default
    box = panel.ui.settingsBox
    assert {name for name in rows if box.findChild(qt.QWidget, f"{name}Setting") is None} == set()
    box.findChild(qt.QLineEdit, "batch_sizeSetting").text = " 4 "
    box.findChild(qt.QComboBox, "monitorSetting").setCurrentText("val_auc")
    chosen = panel.options()
    assert {name: chosen[name] for name in rows & chosen.keys()} == {"batch_size": "4", "monitor": "val_auc"}


def test_the_curves_are_where_their_values_are(panel: Any, slicer_app: Any) -> None:
    """The validation curve of an AUC of 0.75 lies three quarters up between the lines of 0 and 1."""
    curves = panel.controller.curves
    for epoch in range(1, 11):
        curves.add({"fold": 1, "epoch": epoch, "epochs": 10, "train_loss": 0.5, "val_loss": None,
                    "train_auc": 0.25, "val_auc": 0.75})  # fmt: skip
    panel.show()
    slicer_app.processEvents()
    label = panel.ui.curvesLabel
    half = label.pixmap.width() // 2
    blue, red = (pixels(label, colour) for colour in (BLUE, VERMILION))
    plot = int(blue[:, 0].max())  # the key is below the plot
    upper, lower = blue[(blue[:, 0] < plot - 20)], red[(red[:, 0] < plot - 20) & (red[:, 1] > half)]
    assert (upper[:, 1] > half).all()  # an undefined loss draws nothing
    from MolSubSlicerLib.Train.CurveChart import Curves, _Painting

    scale = _Painting(label, None, Curves("", [], [], 0.0, 1.0), 10, half, half - 12)
    bottom, top = scale._bottom, scale._top
    assert np.median(upper[:, 0]) == pytest.approx(bottom - 0.75 * (bottom - top), abs=2)
    assert np.median(lower[:, 0]) == pytest.approx(bottom - 0.25 * (bottom - top), abs=2)
    assert upper[:, 1].min() < scale._left + 6
    assert upper[:, 1].max() > scale._right - 6
    assert "AUC, validation: 0.750" in label.toolTip


def test_a_wrong_table_is_told_and_nothing_starts(
    short: Path, panel: Any, module: Any, place: Path, process_until: Until
) -> None:
    panel.ui.trainButton.click()
    assert "no table" in module.message.text
    start(panel, short.with_name("wrong.csv"))
    process_until(state(panel, "none"))
    assert "row 3, column subtype" in panel.ui.problemsLabel.text
    assert "1 problems" in module.message.text or "problem" in module.message.text
    assert not (place / "training").exists()


def test_stopped_and_gone_on(short: Path, held: Path, panel: Any, process_until: Until) -> None:
    start(panel, short)
    process_until(lambda: len(panel.controller.curves.curve(1, "val_auc")) >= 3)
    assert "left" in panel.ui.stateLabel.text
    assert re.search(r"epoch \d+ of 40", panel.ui.progressBar.format)
    panel.ui.trainButton.click()
    process_until(state(panel, "cancelled"))
    done = len(panel.controller.curves.curve(1, "val_auc"))
    assert done < 40
    assert panel.ui.resumeButton.visible
    held.unlink()
    panel.ui.resumeButton.click()
    process_until(state(panel, "done"))
    assert panel.controller.curves.curve(1, "val_auc") == [(n, n / 80) for n in range(1, 41)]
    past = [event for event in new_events(panel.controller.folder())[0] if event.values.get("past")]
    assert len(past) >= done - 1  # it went on, it did not begin again
    panel.ui.logCheck.checked = True
    assert "a library speaks" in panel.ui.logEdit.plainText


def test_a_crash_is_told_and_can_be_resumed(short: Path, panel: Any, place: Path, process_until: Until) -> None:
    (place / "training").mkdir(parents=True)
    (place / "training" / "abort").touch()
    start(panel, short)
    process_until(state(panel, "interrupted"))
    assert "SIGABRT" in panel.ui.stateLabel.text
    panel.ui.resumeButton.click()
    process_until(state(panel, "done"))
    assert "SIGABRT" not in panel.ui.stateLabel.text


@pytest.mark.parametrize("goes_on", [True, False])
def test_slicer_closes_and_starts_again(
    short: Path, held: Path, panel: Any, module: Any, process_until: Until, goes_on: bool
) -> None:
    panel.ui.endCombo.setCurrentIndex(0 if goes_on else 1)
    panel.ui.endCombo.activated.emit(0 if goes_on else 1)
    start(panel, short)
    process_until(lambda: len(panel.controller.curves.curve(1, "val_auc")) >= 3)
    folder = panel.controller.folder()
    panel.cleanup()
    if goes_on:
        held.unlink()
    process_until(lambda: not is_running(folder))
    held.unlink(missing_ok=True)
    last = new_events(folder)[0][-1].event
    assert last == ("done" if goes_on else "cancelled")
    later = again(module)
    try:
        process_until(state(later, "done", "cancelled"))
        assert later.controller.folder() == folder
        assert later.controller.state == last
        assert len(later.controller.curves.curve(1, "val_auc")) == (40 if goes_on else pytest.approx(20, abs=19))
        assert later.ui.endCombo.currentIndex == (0 if goes_on else 1)
        if not goes_on:
            later.ui.resumeButton.click()
            process_until(state(later, "done"))
    finally:
        later.cleanup()
        later.widget.deleteLater()
        module.panels.pop("TrainPanel")


def test_it_is_found_again_while_it_runs(
    short: Path, held: Path, panel: Any, module: Any, process_until: Until
) -> None:
    start(panel, short)
    process_until(lambda: len(panel.controller.curves.curve(1, "val_auc")) >= 3)
    panel.cleanup()
    later = again(module)
    try:
        process_until(state(later, "running"))
        assert later.controller.curves.curve(1, "val_auc")[:3] == [(n, n / 80) for n in (1, 2, 3)]
        pid = new_events(later.controller.folder())[0][0].values["pid"]
        os.kill(pid, 9)
        process_until(state(later, "interrupted"))
        assert "ended from outside" in later.ui.stateLabel.text
    finally:
        later.cleanup()
        later.widget.deleteLater()
        module.panels.pop("TrainPanel")


def test_a_folder_of_many_events_is_read_in_pieces(short: Path, place: Path, module: Any) -> None:
    """Ten hours of events do not hold up the window: each look reads a piece."""
    from MolSubCore.worker.folder import write_job
    from MolSubCore.worker.protocol import Event, Request
    from MolSubSlicerLib.Train.TrainingProcess import TrainingProcess

    folder = place / "training" / "long"
    write_job(folder, Request("train", "train", {}))
    lines = [Event("progress", "train", {"done": n / 20_000, "step": n}).line() for n in range(20_000)]
    (folder / "events.jsonl").write_text("".join(lines))
    process, found, more, looks = TrainingProcess(folder), [], True, 0
    while more:
        events, more = process.new_events()
        found += [event.values["step"] for event in events]
        looks += 1
        assert len(events) < 6000
    assert found == list(range(20_000))
    assert looks > 3
