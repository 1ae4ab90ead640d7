"""Hung mammograms, looked at: which side, which way round, chest walls, labels, one scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scene_case

pytestmark = pytest.mark.usefixtures("scene")

#: Labels in the order of loading, and on which side of the picture each is stored with its chest wall.
STORED = {"L MLO": "left", "R CC": "left", "R MLO": "right", "L CC": "right"}
CELLS = {"R CC": (1, 1), "L CC": (1, 2), "R MLO": (2, 1), "L MLO": (2, 2)}


def load(folder: Path, stored: dict[str, str]) -> dict[str, Any]:
    from MolSubSlicerLib.Scene import Mammograms

    return {label: Mammograms.add_mammogram(scene_case.facts(folder, label, wall)) for label, wall in stored.items()}


def layout() -> list[list[str]]:
    """Names of the views in the layout that is shown, row by row, from Slicer's own description."""
    import xml.etree.ElementTree as ElementTree

    import slicer

    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    root = ElementTree.fromstring(node.GetCurrentLayoutDescription())
    return [
        [view.get("singletontag") or "" for view in row.iter("view")] for row in root.iter("layout") if row is not root
    ]


def tissue(screen: np.ndarray) -> np.ndarray:
    """Pixels as grey as the tissue: 1000 in a window from 0 to 3000."""
    return np.abs(screen.mean(axis=2) - 85) < 3


@pytest.fixture
def hung(tmp_path: Path, scene: Any) -> dict[str, Any]:
    from MolSubSlicerLib.Scene import Hanging

    volumes = load(tmp_path, STORED)
    Hanging.hang(list(volumes.values()))
    return volumes


def test_right_is_left_left_is_right_and_views_are_in_rows(hung: dict[str, Any]) -> None:
    names = layout()
    assert [len(row) for row in names] == [2, 2]
    for label, (row, column) in CELLS.items():
        assert scene_case.view_name(hung[label]) == names[row - 1][column - 1]


def test_chest_walls_face_each_other_also_when_stored_the_other_way(hung: dict[str, Any]) -> None:
    for label, volume in hung.items():
        seen = tissue(scene_case.screen(scene_case.view_name(volume)))
        inner, outer = (seen[:, -2], seen[:, 1]) if label[0] == "R" else (seen[:, 1], seen[:, -2])
        assert inner.sum() > seen.shape[0] / 2, label
        assert outer.sum() == 0, label


def test_every_point_is_where_it_belongs(hung: dict[str, Any]) -> None:
    """The bright block near the upper outer corner, at places worked out from the sizes of picture and view."""
    for label, volume in hung.items():
        screen = scene_case.screen(scene_case.view_name(volume))
        side = "right" if label[0] == "R" else "left"
        columns = (121, 128) if STORED[label] == "right" else (71, 78)
        where = scene_case.placed(volume, side, mirrored=STORED[label] != side)
        for row in (61, 68):
            for column in columns:
                assert screen[where(row, column)].min() > 250, (label, row, column)
        outside = (columns[0] - 3, columns[1] + 3)
        assert all(screen[where(65, column)].max() < 100 for column in outside), label


def label_box(screen: np.ndarray) -> tuple[int, int, int, int]:
    """Rows and columns of the yellow text."""
    yellow = (screen[..., 0] > 180) & (screen[..., 1] > 140) & (screen[..., 2] < 140)
    rows, columns = np.nonzero(yellow)
    assert len(rows) > 40
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_side_and_view_stand_in_the_upper_outer_corner(hung: dict[str, Any]) -> None:
    import slicer

    widths = {}
    for label, volume in hung.items():
        name = scene_case.view_name(volume)
        screen = scene_case.screen(name)
        height, width, _channels = screen.shape
        _row, middle = scene_case.placed(volume, "right" if label[0] == "R" else "left")(0, 100)
        top, bottom, left, right = label_box(screen)
        widths[label] = right - left
        assert top > 0 and bottom < 0.15 * height
        assert right < middle if label[0] == "R" else (middle < left and right < width - 1)
        assert slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode").GetLayoutLabel() == label
    assert widths["R MLO"] > widths["R CC"] and widths["L MLO"] > widths["L CC"]  # the longer text is longer


def test_one_scale_for_all_whatever_the_size(tmp_path: Path, scene: Any) -> None:
    from MolSubSlicerLib.Scene import Hanging, Mammograms

    small = Mammograms.add_mammogram(scene_case.facts(tmp_path, "R MLO"))
    large = np.kron(scene_case.pixels("left"), np.ones((2, 2), np.uint16))
    big = Mammograms.add_mammogram(scene_case.facts(tmp_path, "L MLO", "left", image=large))
    Hanging.hang([small, big])
    heights = []
    for volume in (small, big):
        rows = np.flatnonzero(tissue(scene_case.screen(scene_case.view_name(volume))).any(axis=1))
        heights.append(rows[-1] - rows[0] + 1)
    assert heights[1] / heights[0] == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["L CC"], [["L CC"]]),
        (["L MLO", "R MLO"], [["R MLO", "L MLO"]]),
        (["R MLO", "L CC"], [["R MLO", "L CC"]]),
        (["R MLO", "R CC"], [["R CC", "R MLO"]]),
        (["L MLO", "R MLO", "R CC"], [["R CC", None], ["R MLO", "L MLO"]]),
        (["L CC", "R MLO", "R CC"], [["R CC", "L CC"], ["R MLO", None]]),
    ],
)
def test_fewer_than_four(tmp_path: Path, labels: list[str], expected: list[list[str | None]]) -> None:
    from MolSubSlicerLib.Scene import Hanging

    volumes = load(tmp_path, dict.fromkeys(labels, "right"))
    Hanging.hang(list(volumes.values()))
    names = layout()
    shown = {scene_case.view_name(volume): label for label, volume in volumes.items()}
    assert [[shown.get(name) for name in row] for row in names] == expected


def test_unknown_side_goes_by_the_chest_wall(tmp_path: Path) -> None:
    from MolSubSlicerLib.Scene import Hanging, Mammograms

    left, right = (Mammograms.add_mammogram(scene_case.facts(tmp_path, "? ?", wall)) for wall in ("left", "right"))
    Hanging.hang([left, right])
    assert layout() == [[scene_case.view_name(right), scene_case.view_name(left)]]
    assert tissue(scene_case.screen(scene_case.view_name(right)))[:, -1].any()


def test_none_and_five_are_refused(tmp_path: Path) -> None:
    from MolSubSlicerLib.Scene import Hanging
    from MolSubSlicerLib.Scene.Nodes import SceneError

    with pytest.raises(SceneError, match="one to four"):
        Hanging.hang([])
    volumes = load(tmp_path, dict.fromkeys(["R CC", "R MLO", "L CC", "L MLO", "R ML"], "right"))
    with pytest.raises(SceneError, match="5 images"):
        Hanging.hang(list(volumes.values()))


def test_slicers_own_views_are_left_alone(tmp_path: Path, scene: Any) -> None:
    from MolSubSlicerLib.Scene import Hanging

    node = scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    before = [node.GetSliceToRAS().GetElement(row, column) for row in range(4) for column in range(4)]
    Hanging.hang(list(load(tmp_path, STORED).values()))
    after = [node.GetSliceToRAS().GetElement(row, column) for row in range(4) for column in range(4)]
    assert before == after and node.GetOrientation() == "Axial"
