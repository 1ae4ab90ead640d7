"""The module in Slicer: how long it takes to open, to load a mammogram, and from the click on Predict to the heatmap on
the screen, the first one and another lesion with the worker warm."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

ROOT = Path(__file__).resolve().parents[2]
GROUP = "Slicer panel, click to overlay, 4096x3328 DICOM, 6 layers, {classes} classes"
COLD, WARM = "plain: a worker that is started for it", "warm worker, another lesion"


@pytest.fixture(scope="session")
def load_module() -> Callable[[], Any]:
    """What opens the module, outside the Slicer application."""
    sys.path.insert(0, str(ROOT / "Testing" / "Slicer"))
    from headless import packages

    if missing := packages.missing_packages():
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    import headless

    headless.start()
    from headless.modules import load_scripted_module

    def load() -> Any:
        module = load_scripted_module(ROOT / "MolSubSlicer" / "MolSubSlicer.py")
        module.widgetRepresentation()
        return module

    return load


@pytest.fixture(scope="session")
def panels(load_module: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    """The module's panels."""
    from headless.modules import unload

    module = load_module()
    import slicer

    yield slicer.modules.MolSubSlicerWidget.panels
    unload(module)


def wait(done: Callable[[], Any], timeout: float = 300.0) -> None:
    """Run the event loop until something is true; it sleeps between events, as Slicer's does."""
    from PySide6 import QtCore

    flags = QtCore.QEventLoop.ProcessEventsFlag
    heartbeat, end = QtCore.QTimer(), time.monotonic() + timeout
    heartbeat.start(100)  # so that it wakes up where nothing happens any more
    while not done():
        QtCore.QCoreApplication.processEvents(flags.AllEvents | flags.WaitForMoreEvents)
        if time.monotonic() > end:
            raise TimeoutError
    heartbeat.stop()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Bundles with random weights, by their number of classes."""
    from slicercases import make_bundle

    made = {2: "tn", 5: "subtype5"}
    return {count: make_bundle(tmp_path_factory.mktemp("bundle"), task) for count, task in made.items()}


@pytest.fixture(scope="session")
def volume(panels: dict[str, Any], case_4096: tuple[Path, Path]) -> Any:
    """The mammogram, hung, with its lesion."""
    from MolSubSlicerLib.Scene import Hanging, Lesions, Mammograms

    session, found = panels["PredictPanel"].session, []
    image, mask = (str(path) for path in case_4096)
    out = str(session.new_folder("view"))
    session.submit("read-image", {"path": image, "out": out}, done=found.append)
    session.submit("read-lesions", {"image": image, "lesions": mask, "out": out}, done=found.append)
    wait(lambda: len(found) == 2)
    volume = Mammograms.add_mammogram(found[0], source=image)
    Lesions.set_labels(Lesions.segmentation_for(volume), np.load(found[1]["labels"]))
    Hanging.hang([volume])
    return volume


def test_open(benchmark: BenchmarkFixture, load_module: Callable[[], Any]) -> None:
    from headless.modules import unload

    opened: list[Any] = []

    def close() -> None:
        while opened:
            unload(opened.pop())

    benchmark.group = "Slicer panel, opening the module"
    benchmark.pedantic(lambda: opened.append(load_module()), setup=close, rounds=5)
    close()


def test_load_mammogram(benchmark: BenchmarkFixture, panels: dict[str, Any], case_4096: tuple[Path, Path]) -> None:
    from MolSubSlicerLib.Scene import Hanging, Mammograms

    session, image = panels["LoadPanel"].session, str(case_4096[0])

    def load() -> None:
        found: list[Any] = []
        options = {"path": image, "out": str(session.new_folder("view"))}
        session.submit("read-image", options, done=found.append)
        wait(lambda: found)
        Hanging.hang([Mammograms.add_mammogram(found[0], source=image)])

    benchmark.group = "Slicer panel, a 4096x3328 DICOM into the scene"
    benchmark.pedantic(load, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("way", [COLD, WARM])
def test_click_to_overlay(
    benchmark: BenchmarkFixture, panels: dict[str, Any], bundles: dict[int, Path], volume: Any, tmp_path: Path,
    way: str, classes: int,
) -> None:  # fmt: skip
    from MolSubSlicerLib.Scene import Lesions
    from scene_case import screen, view_name

    panel, heatmaps = panels["PredictPanel"], panels["HeatmapPanel"].controller
    shutil.copytree(bundles[classes], tmp_path / "library" / "model")
    panel.session.set_library(str(tmp_path / "library"))
    wait(lambda: panel.controller.library.listed)
    panel.controller.library.choose("model")
    benchmark.group = GROUP.format(classes=classes)
    segmentation = Lesions.segmentation_for(volume)

    def another_lesion() -> None:
        wait(lambda: not heatmaps.making)
        Lesions.set_labels(segmentation, np.roll(Lesions.labels_of(segmentation, volume), 25, axis=0))
        if way == COLD:
            panel.session.worker.stop()

    def click() -> None:
        panel.ui.predictButton.click()
        wait(lambda: not panel.controller.running)
        screen(view_name(volume))
        assert heatmaps.available

    rounds = 3 if way == COLD else 15
    benchmark.pedantic(click, setup=another_lesion, rounds=rounds, warmup_rounds=int(way == WARM))
