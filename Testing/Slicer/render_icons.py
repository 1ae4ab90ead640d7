"""Draws the module's icons from their SVG, 128x128 pixels, and the sample case's thumbnail. ``make icons``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

ICONS = Path(__file__).resolve().parents[2] / "MolSubSlicer" / "Resources" / "Icons"
SIZE = 128


def render(svg: Path, png: Path, size: int = SIZE) -> None:
    """Draw an SVG as a square PNG with a transparent ground.

    Parameters
    ----------
    svg, png : Path
    size : int
        Height and width in pixels.

    Raises
    ------
    ValueError
        If the SVG cannot be read.
    """
    from PySide6.QtCore import Qt
    from PySide6.QtGui import QGuiApplication, QImage, QPainter
    from PySide6.QtSvg import QSvgRenderer

    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    application = QGuiApplication.instance() or QGuiApplication([])
    renderer = QSvgRenderer(str(svg))
    if not renderer.isValid():
        raise ValueError(f"{svg.name} is not an SVG picture")
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    renderer.render(painter)
    painter.end()
    image.save(str(png))
    del application


def draw_thumbnail(path: Path, size: tuple[int, int] = (260, 280)) -> None:
    """Draw the sample case's MLO view with a frame around the lesion.

    Parameters
    ----------
    path : Path
    size : tuple of int
        Width and height in pixels, those of Slicer's module Sample Data.
    """
    import cv2
    import numpy as np

    from MolSubCore.imaging.display import display_array
    from MolSubCore.imaging.io.reader import read_mammogram
    from MolSubCore.lesions.masks import read_lesions
    from MolSubCore.worker.jobs import sample_case

    width, height = size
    with tempfile.TemporaryDirectory() as folder:
        case = sample_case({"out": folder}, lambda *_args, **_values: None)["cases"][-1]
        mammogram = read_mammogram(case["image"])
        box = read_lesions(case["lesions"], mammogram).lesions[0].box
    picture = cv2.cvtColor(np.uint8(display_array(mammogram) * 255), cv2.COLOR_GRAY2BGR)
    reach, left = 30, round(mammogram.shape[0] * width / height) - mammogram.shape[1]
    corners = (box.col_start - reach, box.row_start - reach), (box.col_stop + reach, box.row_stop + reach)
    cv2.rectangle(picture, *corners, (222, 240, 60), 9)
    picture = cv2.copyMakeBorder(picture, 0, 0, left, 0, cv2.BORDER_CONSTANT)
    cv2.imwrite(str(path), cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def main() -> None:
    """Draw all icons, and the thumbnail."""
    for svg in sorted(ICONS.glob("*.svg")):
        render(svg, svg.with_suffix(".png"))
        print(svg.with_suffix(".png").name)
    draw_thumbnail(ICONS / "SampleCase.png")


if __name__ == "__main__":
    main()
