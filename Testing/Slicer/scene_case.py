"""Small made-up mammograms, predictions and pictures of views, for the tests of the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPE = (300, 200)
SPACING = (0.1, 0.08)  # rows, columns, mm
LAYERS, CLASSES = ["first", "last"], ["non-TN", "TN"]
MAPS_BOX = [100, 180, 60, 150]


def pixels(wall: str = "right", shape: tuple[int, int] = SHAPE) -> NDArray[np.uint16]:
    """Half an ellipse of tissue at the chest wall, and a bright block of 10 x 10 near the upper outer corner."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = 1000.0 * ((rows / shape[0] - 0.5) ** 2 / 0.2 + ((columns - shape[1]) / shape[1]) ** 2 / 0.7 < 1)
    image[60:70, 120:130] = 3000
    return (image if wall == "right" else image[:, ::-1]).astype(np.uint16)


def facts(folder: Path, label: str = "R MLO", wall: str = "right", **changes: Any) -> dict[str, Any]:
    """What the worker's `read-image` answers."""
    laterality, view = label.split()
    image = changes.pop("image", None)
    image = pixels(wall) if image is None else image
    path = folder / f"{label} {len(list(folder.iterdir()))}.npy"
    np.save(path, image)
    return {
        "pixels": str(path),
        "rows": image.shape[0],
        "columns": image.shape[1],
        "label": label,
        "laterality": laterality if laterality != "?" else None,
        "view": view,
        "spacing": {"row_mm": SPACING[0], "col_mm": SPACING[1], "source": "ImagerPixelSpacing"},
        "window": {"center": 1500.0, "width": 3000.0, "source": "file"},
        "chest_wall": wall,
        "manufacturer": "ACME",
        "presentation": "FOR PRESENTATION",
        "history": ["MONOCHROME2"],
        "warnings": [],
        "sop_instance_uid": f"1.2.826.{label.replace(' ', '')}",
        "study_instance_uid": "1.2.826.1",
        "synthetic": True,
        **changes,
    }


def maps() -> NDArray[np.float32]:
    """A ramp from left to right and its mirror image, first layer; a block of 1 and nothing, last layer."""
    rows, columns = MAPS_BOX[1] - MAPS_BOX[0], MAPS_BOX[3] - MAPS_BOX[2]
    values = np.zeros((2, 2, rows, columns), np.float32)
    values[0, 0] = np.linspace(0, 1, columns)
    values[0, 1] = np.linspace(1, 0, columns)
    values[1, 0, 20:60, 30:60] = 1
    return values


def item(folder: Path, lesion: int = 0) -> dict[str, Any]:
    """One item of the worker's prediction; the map of the last layer for TN is blind."""
    path = folder / f"maps-{lesion}.npy"
    np.save(path, maps())
    return {
        "image": "R MLO",
        "lesion": str(lesion + 1),
        "image_index": 0,
        "lesion_index": lesion,
        "probabilities": {"non-TN": 0.25, "TN": 0.75},
        "roi": {"row_start": 100, "row_stop": 180, "col_start": 60, "col_stop": 150},
        "image_shape": list(SHAPE),
        "layers": LAYERS,
        "classes": CLASSES,
        "maps": str(path),
        "maps_box": MAPS_BOX,
        "blind": [[False, False], [False, True]],
    }


def prediction(*items: dict[str, Any]) -> dict[str, Any]:
    """The worker's answer."""
    patient = {"probabilities": {"non-TN": 0.25, "TN": 0.75}}
    return {"task": "tn", "classes": CLASSES, "positive": "TN", "patient": patient, "items": list(items)}


def blob(shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    """Two lesions that no box would describe: a disc with a hole, and an L that touches the border."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot(rows - 130, columns - 100)
    labels = np.zeros(shape, np.uint8)
    labels[(radius < 25) & (radius > 6)] = 1
    labels[280:300, 40:46] = 2
    labels[294:300, 40:80] = 2
    return labels


def screen(view_name: str) -> NDArray[np.int16]:
    """What a slice view shows: (height, width, 3), the top row first."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    window = slicer.app.layoutManager().sliceWidget(view_name).sliceView().renderWindow()
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.ShouldRerenderOff()
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _depth = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].astype(np.int16)


def view_name(volume: Any) -> str:
    """The name of the only view that shows a mammogram."""
    import slicer

    from MolSubSlicerLib.Scene import Hanging

    (identifier,) = Hanging.views_of(volume)
    return slicer.mrmlScene.GetNodeByID(identifier).GetLayoutName()


class Placed:
    """Where a hung picture's points lie on the screen, worked out from the sizes alone."""

    def __init__(self, size: tuple[int, int], scale: float, wall: str, mirrored: bool) -> None:
        self.width, self.height = size
        self.scale, self.wall, self.mirrored = scale, wall, mirrored

    def __call__(self, row: float, column: float) -> tuple[int, int]:
        """Screen (row, column) of an image pixel's centre; the chest wall meets the screen's edge."""
        columns = (SHAPE[1] - 1 - column if self.mirrored else column) + 0.5
        x = columns * SPACING[1] / self.scale
        if self.wall == "right":
            x += self.width - SHAPE[1] * SPACING[1] / self.scale
        y = self.height / 2 + (row + 0.5 - SHAPE[0] / 2) * SPACING[0] / self.scale
        return int(y), int(x)


def placed(volume: Any, wall: str, mirrored: bool = False) -> Placed:
    """`Placed` for a mammogram hung alone or among ones of its size; `wall` is its chest wall's side of the screen."""
    height, width, _channels = screen(view_name(volume)).shape
    scale = max(SHAPE[0] * SPACING[0] / height, SHAPE[1] * SPACING[1] / width)
    return Placed((width, height), scale, wall, mirrored)
