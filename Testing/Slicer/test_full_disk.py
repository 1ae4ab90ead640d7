"""A disk that fills up while the worker writes: a sentence, the result before stays, and the next click works."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "Core"))

from small_disk import mounted

from predict_case import Until, add_views, enter_with_library, library_with, said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the outlines and not for the heatmaps."""
    folder = tmp_path / "small"
    with mounted(folder, "128k") as there:
        if not there:
            pytest.skip("cannot mount a small tmpfs here (needs root)")
        yield folder


def test_a_full_disk_in_the_worker(
    module: Any, bundle: Path, synthetic_case: Any, small_disk: Path, tmp_path: Path, process_until: Until
) -> None:
    from MolSubSlicerLib.Scene import Heatmaps, Predictions

    panel = enter_with_library(module, library_with(tmp_path / "library", bundle), process_until)
    volumes = add_views(module, synthetic_case, process_until)

    def predict() -> None:
        panel.ui.predictButton.click()
        process_until(lambda: not panel.controller.running, 120)
        process_until(lambda: not module.panels["HeatmapPanel"].controller.making, 60)

    predict()
    shown = panel.controller.prediction
    maps = {node.GetID() for volume in volumes for node in Heatmaps.heatmaps_of(volume)}
    module.session.new_folder = lambda prefix: Path(tempfile.mkdtemp(prefix=prefix, dir=small_disk))
    predict()
    assert "the disk is full" in said(module)
    assert "fault of this program" not in said(module)
    assert panel.controller.prediction == shown
    assert {node.GetID() for volume in volumes for node in Heatmaps.heatmaps_of(volume)} == maps
    assert not list(small_disk.rglob("*.npy"))  # nothing half-written
    assert module.session.worker.state == "ready"

    del module.session.new_folder  # the disk has room again
    predict()
    assert said(module) == ""
    assert len(Predictions.stored()) == 1
    assert panel.controller.prediction["patient"] == shown["patient"]
