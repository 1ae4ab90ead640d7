"""What the tests of the worklist share: a small cohort, and a reader who works through it by clicks."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotate_case as case

Until = Callable[..., Any]


def make_images(folder: Path) -> Path:
    """Two synthetic patients with two views each: four DICOM files and their table, with masks and subtypes."""
    from MolSubCore.cohort.synthetic import make_synthetic_cohort

    return make_synthetic_cohort(folder / "cohort", patients=2, image_shape=(320, 256))


def bare_table(table: Path, target: Path) -> Path:
    """A copy of a cohort whose table has images and patients only."""
    shutil.copytree(table.parent / "images", target / "images")
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (target / "cohort.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["patient_id", "image"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return target / "cohort.csv"


class Reader:
    """Somebody at the panel."""

    def __init__(self, module: Any, dialogs: Any, process_until: Until) -> None:
        self.panel, self._dialogs, self._until = module.panels["AnnotatePanel"], dialogs, process_until
        self.part, self.ui = self.panel.worklist_part, self.panel.worklist_part.ui
        self.controller = self.panel.worklist
        self.panel.ui.worklistBox.collapsed = False

    def open(self, source: Path, name: str, *, blind: bool = False) -> None:
        """Type the name, choose the table or the folder, wait for the first image."""
        self.ui.readerEdit.text = name
        self.ui.blindCheckBox.checked = blind
        if source.is_dir():
            self._dialogs.answer("Open a folder", str(source))
            self.ui.openFolderButton.click()
        else:
            self._dialogs.answer("Open a cohort table", str(source))
            self.ui.openTableButton.click()
        self.wait()

    def click(self, name: str) -> None:
        """Click on a button of the worklist, and wait for the image."""
        getattr(self.ui, name).click()
        self.wait()

    def wait(self) -> None:
        """Until nothing is read any more."""
        self._until(lambda: not self.controller.busy, 60)

    @property
    def volume(self) -> Any:
        """The image that is shown."""
        return self.controller.volume

    @property
    def entry(self) -> Any:
        """Its entry in the list."""
        return self.controller.worklist.current

    def paint(self, *points: tuple[float, float], millimetres: float = 20.0) -> Any:
        """Paint over image points (row, column); the label map then."""
        case.effect(self.panel, "Paint")
        case.brush(self.panel, millimetres)
        case.stroke(self.volume, *points)
        return case.labels_of(self.volume)

    def wait_for_mask(self) -> None:
        """Until the mask was saved by itself."""
        self._until(lambda: self.entry.has_mask, 20)
