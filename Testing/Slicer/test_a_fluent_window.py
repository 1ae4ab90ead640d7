"""Slicer stays usable: a timer of the window is never held up for 100 ms while the worker predicts or a training runs.

What holds it up is measured twice: as the time that the window's own thread computed between two ticks, which no other
process on the machine can lengthen, and on the clock, with room for a machine that has other things to do.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from predict_case import add_views, enter_with_library, library_with

Until = Callable[..., None]
Tick = tuple[float, float]

#: Seconds between two ticks: of the thread's own computing, and on the clock.
COMPUTED, CLOCK = 0.1, 0.4


@contextmanager
def heartbeat() -> Iterator[list[Tick]]:
    """The times at which a timer of 10 ms came: of the thread's processor, and of the clock."""
    import qt

    ticks: list[Tick] = []
    timer = qt.QTimer()
    timer.connect("timeout()", lambda: ticks.append((time.thread_time(), time.monotonic())))
    timer.start(10)
    yield ticks
    timer.stop()


def longest(ticks: list[Tick]) -> Tick:
    gaps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(ticks)]
    return max(gap[0] for gap in gaps), max(gap[1] for gap in gaps)


def is_fluent(gap: Tick) -> bool:
    return gap[0] < COMPUTED and gap[1] < CLOCK


def test_while_a_prediction_runs_and_its_heatmaps_are_made(
    module: Any, bundle: Path, synthetic_case: Any, tmp_path: Path, process_until: Until
) -> None:
    """Several times, for others use the processor, too; once is enough, since code that blocks does so every time."""
    from MolSubSlicerLib.Scene import Hanging

    panel = enter_with_library(module, library_with(tmp_path / "library", bundle), process_until)
    Hanging.hang(add_views(module, synthetic_case, process_until))
    module.parent.show()
    waits = []
    for _attempt in range(4):
        with heartbeat() as times:
            panel.ui.predictButton.click()
            process_until(lambda: not panel.controller.running, 120)
            process_until(lambda: not module.panels["HeatmapPanel"].controller.making, 60)
        assert module.message.text == ""
        assert len(times) > 10
        waits.append(longest(times))
        if is_fluent(waits[-1]):
            break
    module.parent.hide()
    assert is_fluent(waits[-1]), waits


def test_while_a_training_runs(
    module: Any, slicer_app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process_until: Until
) -> None:
    """From the click over reading and epochs to the cancel; the window is measured second by second."""
    from MolSubCore.cohort.synthetic import make_synthetic_cohort
    from MolSubCore.tasks import Subtype

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    counts = {Subtype.LUMINAL_A: 4, Subtype.TN: 4}
    table = make_synthetic_cohort(tmp_path / "cohort", counts=counts, seed=3, image_shape=(256, 208))
    panel = module.panels["TrainPanel"]
    module.buttons["TrainPanel"].collapsed = False
    module.parent.show()
    panel.ui.tablePath.currentPath = str(table)
    panel.ui.taskCombo.setCurrentIndex(panel.ui.taskCombo.findText("TN vs non-TN"))
    panel.ui.architectureCombo.setCurrentIndex(panel.ui.architectureCombo.findText("Simple CNN"))
    panel.ui.foldsSpin.value, panel.ui.epochsSpin.value = 2, 200
    panel.ui.trainButton.click()
    process_until(lambda: panel.controller.running, 60)
    waits = []
    try:
        process_until(lambda: panel.controller.curves.folds(), 90)
        for _attempt in range(8):
            with heartbeat() as times:
                end = time.monotonic() + 1
                process_until(lambda end=end: time.monotonic() > end)
            waits.append(longest(times))
        assert panel.controller.running
    finally:
        panel.controller.cancel()
        process_until(lambda: not panel.controller.running, 30)
        module.parent.hide()
        for name in ("training", "training-at-end", "table"):
            slicer_app.userSettings().remove(f"MolSubSlicer/{name}")
    assert sum(map(is_fluent, waits)) > len(waits) // 2, waits
