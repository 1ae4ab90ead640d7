"""Pictures of the Slicer module: each panel beside the slice views, as the application would show them.

Of the synthetic case into Resources/Screenshots. Of a real mammogram, where there is one in ../shared/data, into
build/screenshots, which git ignores: to be looked at, never to be committed.

The panels and views are the real ones on the real Slicer core; the window around them is drawn.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from annotate_case import drop_deleted

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SYNTHETIC, REAL = ROOT / "Resources" / "Screenshots", ROOT / "build" / "screenshots"
DATA = ROOT.parent / "shared" / "data"
PANEL, VIEWS, TITLE = 500, (1020, 800), 30
_DARK, _LIGHT = (38, 41, 48), (222, 226, 233)


def views() -> Image.Image:
    """The slice views in the arrangement of the present layout, each at its place."""
    import slicer

    from MolSubSlicerLib.Scene import Hanging

    description = slicer.app.layoutManager().layoutLogic().GetLayoutNode().GetCurrentLayoutDescription()
    root = ElementTree.fromstring(description)
    rows = [row for row in root.iter("layout") if any(item.find("view") is not None for item in row.findall("item"))]
    names = [[item.find("view").get("singletontag") for item in row.findall("item")] for row in rows]  # type: ignore[union-attr]
    if not rows:
        names = [[view.get("singletontag") for view in root.iter("view")]]
    height = VIEWS[1] // len(names)
    shown = [(name, VIEWS[0] // len(row), height) for row in names for name in row]
    manager = slicer.app.layoutManager()
    for name, width, _height in shown:
        manager.sliceWidget(name).sliceView().resize(width - 3, height - 3)
    Hanging.fit_views()
    slicer.app.processEvents()
    picture = Image.new("RGB", VIEWS, _DARK)
    for number, row in enumerate(names):
        for column, name in enumerate(row):
            part = Image.fromarray(np.ascontiguousarray(manager.sliceWidget(name).sliceView().image()))
            picture.paste(part, (column * (VIEWS[0] // len(row)) + 2, number * height + 2))
    return picture


class Window:
    """The module's panel, and the picture of it beside the views."""

    def __init__(self, module: Any) -> None:
        self.module = module
        module.parent.resize(PANEL, VIEWS[1])
        module.parent.show()

    def open(self, panel: str) -> None:
        """Open one panel, close the others, and scroll to it."""
        import slicer

        for name, button in self.module.buttons.items():
            button.collapsed = name != f"{panel}Panel"
        end = time.monotonic() + 1
        wait(lambda: time.monotonic() > end and self.module.session.worker.state != "busy", "the worker")
        button = self.module.buttons[f"{panel}Panel"]
        bar = self.module.area.verticalScrollBar()
        bar.setValue(min(button.pos.y(), bar.maximum))
        slicer.app.processEvents()

    def shoot(self, path: Path) -> None:
        """Draw the window into a PNG."""
        import slicer

        self._hide_folders()
        drop_deleted()
        slicer.app.processEvents()
        with tempfile.TemporaryDirectory() as folder:
            self.module.parent.grab().save(f"{folder}/panel.png")
            panel = Image.open(f"{folder}/panel.png").convert("RGB")
        whole = Image.new("RGB", (panel.width + VIEWS[0], VIEWS[1] + TITLE), _DARK)
        ImageDraw.Draw(whole).text((12, 7), "3D Slicer: MolSub", _LIGHT, ImageFont.load_default(15))
        whole.paste(panel, (0, TITLE))
        whole.paste(views(), (panel.width, TITLE))
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.save(path, optimize=True)
        print(path.relative_to(ROOT))

    def _hide_folders(self) -> None:
        """No picture tells where the files of the machine lie that made it."""
        import qt

        for label in self.module.parent.findChildren(qt.QLabel):
            for folder in (str(ROOT), tempfile.gettempdir()):
                if folder in label.text:
                    label.text = label.text.replace(folder, "…")


def wait(happened: Callable[[], Any], what: str, seconds: float = 300.0) -> None:
    """Run the event loop until something has happened."""
    import slicer

    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            sys.exit(f"{what}: nothing came of it in {seconds:.0f} s")
        slicer.app.processEvents()
        time.sleep(0.01)


def play(window: Window, cases: list[dict[str, str]], out: Path) -> None:
    """One case from its files to its report, with a picture of every step; without cases the sample case."""
    panels = window.module.panels
    load, predict = panels["LoadPanel"].controller, panels["PredictPanel"].controller
    load.load_sample(cases)
    wait(lambda: not load.busy, "loading")
    for panel in ("Load", "Annotate"):
        window.open(panel)
        window.shoot(out / f"{panel.lower()}.png")
    wait(lambda: predict.library.models, "library")
    predict.library.choose(predict.library.models[0].path.name)
    predict.predict()
    wait(lambda: not predict.running, "prediction")
    if predict.prediction is None:
        sys.exit(f"no prediction: {window.module.message.text}")
    window.open("Predict")
    window.shoot(out / "predict.png")
    window.open("Heatmap")
    window.shoot(out / "heatmaps.png")
    for panel in ("Report", "Train", "Setup"):
        window.open(panel)
        window.shoot(out / f"{panel.lower()}.png")


def model() -> Path:
    """The bundle of a longer demo; made where it is missing, which takes ten minutes."""
    demo = ROOT / "build" / "screenshots-demo"
    for path in sorted(demo.glob("*.molsub")):
        return path
    from MolSubCore.cli.demo import run_demo

    run_demo(demo, patients=60, epochs=12)
    return next(demo.glob("*.molsub"))


def real_cases() -> Iterator[dict[str, str]]:
    """Real mammograms with outlined lesions, one at most."""
    images = DATA / "cdd-cesm" / "images"
    for image in sorted(images.glob("*_DM_*.jpg")) if images.is_dir() else ():
        for mask in sorted((DATA / "cdd-cesm" / "masks_nii").glob(f"{image.stem}*.nii*")):
            yield {"image": str(image), "lesions": str(mask)}
            return


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a bundle; by default that of a longer demo")
    bundle = parser.parse_args().model or model()
    sys.path[:0] = [str(HERE), str(ROOT)]
    import headless

    headless.start()
    import slicer

    from headless.modules import load_scripted_module, unload

    slicer.app.userSettings().setValue("MolSubSlicer/report-folder", "/home/reader/Reports")
    loaded = load_scripted_module(ROOT / "MolSubSlicer" / "MolSubSlicer.py")
    loaded.widgetRepresentation()
    module = slicer.modules.MolSubSlicerWidget
    library = ROOT / "build" / "models"
    library.mkdir(parents=True, exist_ok=True)
    shutil.copy(bundle, library / "Demo, synthetic cohort.molsub")
    module.session.set_library(str(library))
    window = Window(module)
    module.enter()
    for cases, out in (([], SYNTHETIC), (list(real_cases()), REAL)):
        if out is REAL and not cases:
            print("no real mammogram in ../shared/data: no pictures of one")
            continue
        slicer.mrmlScene.Clear(0)
        play(window, cases, out)
    module.exit()
    unload(loaded)


if __name__ == "__main__":
    main()
