"""Heatmap, outlines and legend, looked at: where they are, what they cover, and what the mouse moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scene_case

pytestmark = pytest.mark.usefixtures("scene")

FLAT = np.full(scene_case.SHAPE, 600, np.uint16)
FLAT[290:, :5] = 3000  # the mouse moves a window in steps of the picture's range
ROW = 160  # of the image: under the lesion's outline and above the block's end


@pytest.fixture(params=["right", "left"])
def stored(request: pytest.FixtureRequest) -> str:
    """The chest wall's side in the stored picture of a right breast; "left" is shown mirrored."""
    return request.param


@pytest.fixture
def volume(tmp_path: Path, scene: Any, stored: str) -> Any:
    from MolSubSlicerLib.Scene import Hanging, Heatmaps, Mammograms, Predictions

    volume = Mammograms.add_mammogram(scene_case.facts(tmp_path, "R MLO", stored, image=FLAT))
    Hanging.hang([volume])
    item = scene_case.item(tmp_path)
    node = Predictions.store(scene_case.prediction(item), [volume])
    Heatmaps.add_heatmaps(volume, item, Predictions.id_of(node))
    return volume


@pytest.fixture
def where(volume: Any, stored: str) -> scene_case.Placed:
    return scene_case.placed(volume, "right", mirrored=stored == "left")


def look(volume: Any) -> np.ndarray:
    return scene_case.screen(scene_case.view_name(volume))


GREY = 600 / 3000 * 255


def test_the_heatmap_covers_its_pixels_and_no_others(volume: Any, where: scene_case.Placed) -> None:
    from MolSubSlicerLib.Scene import Colors, HeatmapDisplay

    before = look(volume)
    HeatmapDisplay.adjust(volume, threshold=0.5)
    HeatmapDisplay.adjust(volume, opacity=0.5)
    HeatmapDisplay.show(volume, "last", "non-TN")  # 1 in rows 120 to 159, columns 90 to 119
    after = look(volume)
    hot = 0.5 * GREY + 0.5 * 255 * Colors.heat_table()[-1]
    for row, column in ((121, 91), (121, 118), (158, 91), (158, 118), (140, 105)):
        assert np.abs(after[where(row, column)] - hot).max() <= 3
    for row, column in ((118, 105), (161, 105), (140, 88), (140, 121), (102, 62), (50, 105)):
        assert np.array_equal(after[where(row, column)], before[where(row, column)])


def test_the_threshold_cuts_a_ramp_where_it_says(volume: Any, where: scene_case.Placed) -> None:
    from MolSubSlicerLib.Scene import HeatmapDisplay

    before = look(volume)
    HeatmapDisplay.show(volume, "first", "non-TN")  # 0 at column 60, 1 at column 149
    for threshold in (0.25, 0.75):
        HeatmapDisplay.adjust(volume, threshold=threshold)
        changed = (look(volume) != before).any(axis=2)
        edge = 60 + threshold * 89
        assert not any(changed[where(ROW, column)] for column in (61, int(edge) - 2))
        assert all(changed[where(ROW, column)] for column in (int(edge) + 3, 148))


def test_opacity_mixes_linearly(volume: Any, where: scene_case.Placed) -> None:
    from MolSubSlicerLib.Scene import Colors, HeatmapDisplay

    HeatmapDisplay.show(volume, "last", "non-TN")
    for opacity in (0.2, 0.6, 1.0):
        HeatmapDisplay.adjust(volume, opacity=opacity)
        expected = (1 - opacity) * GREY + opacity * 255 * Colors.heat_table()[-1]
        assert np.abs(look(volume)[where(140, 105)] - expected).max() <= 3


def test_original_and_overlay_at_a_click(volume: Any) -> None:
    from MolSubSlicerLib.Scene import HeatmapDisplay

    before = look(volume)
    HeatmapDisplay.show(volume, "first", "TN")
    overlaid = look(volume)
    HeatmapDisplay.adjust(volume, visible=False)
    assert np.array_equal(look(volume), before)
    HeatmapDisplay.adjust(volume, visible=True)
    assert np.array_equal(look(volume), overlaid)


def test_layer_and_class_are_what_is_seen(volume: Any, where: scene_case.Placed) -> None:
    from MolSubSlicerLib.Scene import HeatmapDisplay

    HeatmapDisplay.adjust(volume, threshold=0.6)
    before = look(volume)
    seen = {}
    for layer in scene_case.LAYERS:
        for class_ in scene_case.CLASSES:
            HeatmapDisplay.show(volume, layer, class_)
            changed = (look(volume) != before).any(axis=2)
            seen[layer, class_] = [bool(changed[where(ROW - 20, column)]) for column in (70, 105, 140)]
    assert seen["first", "non-TN"] == [False, False, True]
    assert seen["first", "TN"] == [True, False, False]
    assert seen["last", "non-TN"] == [False, True, False]
    assert seen["last", "TN"] == [False, False, False]


def test_the_legend_has_the_colours_from_dark_to_light(volume: Any) -> None:
    from MolSubSlicerLib.Scene import Colors, HeatmapDisplay

    HeatmapDisplay.adjust(volume, threshold=1.0)
    before = look(volume)
    HeatmapDisplay.show(volume, "last", "TN")  # blind: nothing but the legend appears
    after = look(volume)
    table = 255 * Colors.heat_table()
    found = {}
    for index in (40, 120, 200):
        match = (np.abs(after - table[index]).max(axis=2) <= 8) & (after != before).any(axis=2)
        rows, columns = np.nonzero(match)
        assert len(rows), index
        found[index] = rows.mean()
        assert columns.mean() < after.shape[1] / 2  # away from the chest wall
    assert found[40] > found[120] > found[200]


def test_the_square_runs_along_the_pixels_edges(volume: Any, where: scene_case.Placed) -> None:
    from MolSubSlicerLib.Scene import Lesions as RoiBox

    before = look(volume)
    RoiBox.show(volume, [{"row_start": 10, "row_stop": 40, "col_start": 10, "col_stop": 50}])
    RoiBox.show(volume, [{"row_start": 100, "row_stop": 180, "col_start": 60, "col_stop": 150}])  # in place
    rows, columns = np.nonzero((look(volume) != before).any(axis=2))
    (top, left), (bottom, right) = where(99.5, 59.5), where(179.5, 149.5)
    left, right = sorted((left, right))
    found = (rows.min(), rows.max(), columns.min(), columns.max())
    assert np.abs(np.array(found) - (top, bottom, left, right)).max() <= 2
    inner = (rows > top + 3) & (rows < bottom - 3) & (columns > left + 3) & (columns < right - 3)
    assert not inner.any()
    RoiBox.set_visible(volume, False)
    assert np.array_equal(look(volume), before)
    RoiBox.set_visible(volume, True)
    RoiBox.show(volume, [])
    assert np.array_equal(look(volume), before)


def test_the_lesions_outline_follows_its_pixels(volume: Any, where: scene_case.Placed) -> None:
    from MolSubSlicerLib.Scene import Lesions

    before = look(volume)
    labels = np.zeros(scene_case.SHAPE, np.uint8)
    labels[100:160, 60:100] = 1
    Lesions.set_labels(Lesions.segmentation_for(volume), labels)
    after = look(volume)
    rows, columns = np.nonzero((after != before).any(axis=2))
    (top, left), (bottom, right) = where(99.5, 59.5), where(159.5, 99.5)
    left, right = sorted((left, right))
    found = (rows.min(), rows.max(), columns.min(), columns.max())
    assert np.abs(np.array(found) - (top, bottom, left, right)).max() <= 3
    assert np.array_equal(after[where(130, 80)], before[where(130, 80)])  # an outline, nothing inside


def test_each_view_shows_its_own_lesions_only(tmp_path: Path, volume: Any) -> None:
    """All pictures lie in one plane of the patient's space."""
    from MolSubSlicerLib.Scene import Hanging, HeatmapDisplay, Lesions, Mammograms
    from MolSubSlicerLib.Scene import Lesions as RoiBox

    other = Mammograms.add_mammogram(scene_case.facts(tmp_path, "L MLO", "left"))
    Hanging.hang([volume, other])
    before, neighbour = look(volume), look(other)
    Lesions.set_labels(Lesions.segmentation_for(volume), scene_case.blob())
    RoiBox.show(volume, [{"row_start": 100, "row_stop": 180, "col_start": 60, "col_stop": 150}])
    HeatmapDisplay.show(volume, "first", "TN")
    assert not np.array_equal(look(volume), before)
    assert np.array_equal(look(other), neighbour)
    Hanging.hang([other])
    Hanging.hang([other, volume])
    assert np.array_equal(look(other), neighbour)


def drag(volume: Any, start: tuple[int, int], by: tuple[int, int]) -> None:
    """Hold the left button in window/level mode, from a (row, column) of the screen by (right, up) pixels."""
    import slicer

    mode = slicer.app.applicationLogic().GetInteractionNode()
    mode.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.AdjustWindowLevel)
    view = slicer.app.layoutManager().sliceWidget(scene_case.view_name(volume)).sliceView()
    (y, x), (right, up) = start, by
    view.drag([(x, y), (x + right // 2, y - up // 2), (x + right, y - up)])
    mode.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)


def test_a_drag_over_the_heatmap_moves_the_mammograms_window(volume: Any, where: scene_case.Placed) -> None:
    from MolSubSlicerLib.Scene import HeatmapDisplay

    node = HeatmapDisplay.show(volume, "last", "non-TN")
    own, heat = volume.GetDisplayNode(), node.GetDisplayNode()
    own.SetWindowLevel(3000, 1500)
    colour = look(volume)[where(140, 105)]
    drag(volume, where(140, 105), (40, 30))
    assert (heat.GetWindowLevelMin(), heat.GetWindowLevelMax()) == (0, 1)
    assert (own.GetWindow(), own.GetLevel()) != (3000, 1500)
    assert not np.array_equal(look(volume)[where(140, 105)], colour)  # the mammogram under it
    HeatmapDisplay.adjust(volume, opacity=1.0)
    full = look(volume)[where(140, 105)]
    drag(volume, where(140, 105), (-60, 20))
    assert np.array_equal(look(volume)[where(140, 105)], full)  # the heatmap itself
