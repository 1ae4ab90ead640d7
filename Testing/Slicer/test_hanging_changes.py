"""Hung mammograms when views change: sizes, zoom, layouts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scene_case
from headless.sliceview import DEFAULT_SIZE

SMALL, LARGE = (256, 256), (700, 900)


@pytest.fixture(autouse=True)
def keeper(scene: Any) -> Iterator[None]:
    """What the module observes the scene with."""
    from MolSubSlicerLib.Scene.SceneKeeper import SceneKeeper

    keeper = SceneKeeper()
    yield
    keeper.close()


@pytest.fixture
def hung(tmp_path: Path, scene: Any) -> Iterator[dict[str, Any]]:
    """A right and a left breast, hung while their views have the size that Slicer makes them with."""
    from MolSubSlicerLib.Scene import Hanging, Mammograms

    volumes = {
        label: Mammograms.add_mammogram(scene_case.facts(tmp_path, label, wall))
        for label, wall in (("R MLO", "right"), ("L MLO", "left"))
    }
    Hanging.hang(list(volumes.values()))
    views = [view(volume) for volume in volumes.values()]
    resize(volumes, SMALL)
    Hanging.fit_views()
    yield volumes
    for each in views:
        each.resize(*DEFAULT_SIZE)


def view(volume: Any) -> Any:
    import slicer

    return slicer.app.layoutManager().sliceWidget(scene_case.view_name(volume)).sliceView()


def resize(volumes: dict[str, Any], size: tuple[int, int]) -> None:
    for volume in volumes.values():
        view(volume).resize(*size)


def zoom(volume: Any, factor: float) -> None:
    """As the mouse wheel does: the field of view, in both directions."""
    node = view(volume).mrmlSliceNode()
    node.SetFieldOfView(*(length / factor for length in node.GetFieldOfView()[:2]), node.GetFieldOfView()[2])


def scale(volume: Any) -> tuple[float, float]:
    """Millimetres to a screen pixel, across and down."""
    node = view(volume).mrmlSliceNode()
    return tuple(node.GetFieldOfView()[axis] / node.GetDimensions()[axis] for axis in (0, 1))


def assert_fitted(volumes: dict[str, Any]) -> None:
    """All tissue is on the screen, the chest wall at the inner edge, and one scale for all."""
    scales = [value for volume in volumes.values() for value in scale(volume)]
    assert scales == pytest.approx([scales[0]] * len(scales))
    tissue = scene_case.pixels() == 1000
    for label, volume in volumes.items():
        screen = scene_case.screen(scene_case.view_name(volume))
        seen = np.abs(screen.mean(axis=2) - 85) < 3
        inner, outer = (seen[:, -2], seen[:, 1]) if label[0] == "R" else (seen[:, 1], seen[:, -2])
        height = np.count_nonzero(tissue, axis=0).max() * scene_case.SPACING[0] / scales[0]
        assert inner.sum() == pytest.approx(height, rel=0.02), label
        assert outer.sum() == 0, label
        area = np.count_nonzero(tissue) * np.prod(scene_case.SPACING) / scales[0] ** 2
        assert seen.sum() == pytest.approx(area, rel=0.03), label


def test_views_that_get_their_size_after_the_fit_are_fitted_again(hung: dict[str, Any]) -> None:
    assert_fitted(hung)
    resize(hung, LARGE)
    assert_fitted(hung)
    resize(hung, (300, 900))  # narrow: the picture's width counts
    assert_fitted(hung)
    resize(hung, (900, 300))
    assert_fitted(hung)


def test_a_zoomed_view_keeps_its_zoom(hung: dict[str, Any]) -> None:
    right, left = hung["R MLO"], hung["L MLO"]
    zoom(right, 3)
    field, origin = (view(right).mrmlSliceNode().GetFieldOfView()[1], view(right).mrmlSliceNode().GetXYZOrigin())
    resize(hung, LARGE)
    node = view(right).mrmlSliceNode()
    assert node.GetFieldOfView()[1] == pytest.approx(field)
    assert node.GetXYZOrigin() == pytest.approx(origin)
    assert_fitted({"L MLO": left})


def test_a_panned_view_stays_where_it_is(hung: dict[str, Any]) -> None:
    node = view(hung["R MLO"]).mrmlSliceNode()
    x, y, z = node.GetXYZOrigin()
    node.SetXYZOrigin(x + 1.0, y, z)
    resize(hung, LARGE)
    assert node.GetXYZOrigin() == pytest.approx((x + 1.0, y, z))


def test_a_fit_undoes_zoom_and_pan(hung: dict[str, Any]) -> None:
    from MolSubSlicerLib.Scene import Hanging

    zoom(hung["R MLO"], 3)
    resize(hung, LARGE)
    Hanging.fit_views()
    assert_fitted(hung)
    resize(hung, (500, 800))
    assert_fitted(hung)


def test_views_that_come_back_in_another_size_are_fitted_again(hung: dict[str, Any]) -> None:
    import slicer

    manager = slicer.app.layoutManager()
    views, layout = [view(volume) for volume in hung.values()], manager.layout
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    for each in views:
        each.resize(*LARGE)
    manager.setLayout(layout)
    assert_fitted(hung)


def test_a_saved_scene_is_fitted_to_the_views_it_comes_back_in(
    hung: dict[str, Any], scene: Any, tmp_path: Path
) -> None:
    from MolSubSlicerLib.Scene import Mammograms

    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    volumes = {volume.GetName(): volume for volume in Mammograms.mammograms()}
    assert list(volumes) == list(hung)
    resize(volumes, LARGE)
    assert_fitted(volumes)


def outline_views(volume: Any) -> list[str]:
    from MolSubSlicerLib.Scene.Nodes import belongings

    (segmentation,) = belongings(volume, "lesions")
    return list(segmentation.GetDisplayNode().GetViewNodeIDs())


def test_outlines_follow_the_picture_into_other_views(hung: dict[str, Any]) -> None:
    import slicer

    from MolSubSlicerLib.Scene import Lesions

    volume, other = hung["R MLO"], hung["L MLO"]
    for each in hung.values():
        Lesions.set_labels(Lesions.segmentation_for(each), scene_case.blob())
    hung_in = outline_views(volume)
    layout = slicer.app.layoutManager().layout
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    red = slicer.app.layoutManager().sliceWidget("Red")
    red.sliceLogic().GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    assert outline_views(volume) == [red.mrmlSliceNode().GetID()]
    assert red.mrmlSliceNode().GetID() not in outline_views(other)
    red.sliceLogic().FitSliceToBackground()
    screen = scene_case.screen("Red")
    assert (np.ptp(screen, axis=2) > 60).any()  # the outline's colour
    red.sliceLogic().GetSliceCompositeNode().SetBackgroundVolumeID(other.GetID())
    assert outline_views(other) == [red.mrmlSliceNode().GetID()]
    slicer.app.layoutManager().setLayout(layout)
    assert outline_views(volume) == hung_in


def header(view_node: Any) -> str:
    """What Slicer writes above a view."""
    return str(view_node.GetLayoutLabel())


def test_a_views_header_is_that_of_its_picture_whoever_put_it_there(hung: dict[str, Any], scene: Any) -> None:
    """As Slicer does after a removal, its DICOM module after loading, and the user by Slicer's own selectors."""
    import slicer

    from MolSubSlicerLib.Scene import Hanging, Mammograms

    right, left = hung["R MLO"], hung["L MLO"]
    node = view(right).mrmlSliceNode()
    (composite,) = Hanging.composites_of(right)
    assert [header(view(volume).mrmlSliceNode()) for volume in (right, left)] == ["R MLO", "L MLO"]
    composite.SetBackgroundVolumeID(left.GetID())
    assert header(node) == "L MLO"
    foreign = slicer.util.addVolumeFromArray(np.zeros((1, 4, 4), np.uint8), name="CT of the chest")
    composite.SetBackgroundVolumeID(foreign.GetID())
    assert header(node) == "CT of the chest"
    composite.SetBackgroundVolumeID(right.GetID())
    Mammograms.remove_mammogram(right)
    assert header(node) == ""
    assert composite.GetBackgroundVolumeID() is None


def test_a_picture_that_slicer_puts_into_a_view_is_turned_the_right_way(hung: dict[str, Any], tmp_path: Path) -> None:
    """A left breast in the view of a right one that was stored mirrored."""
    from MolSubSlicerLib.Scene import Hanging, Mammograms

    mirrored = Mammograms.add_mammogram(scene_case.facts(tmp_path, "R CC", "left"))
    left = hung["L MLO"]
    Hanging.hang([mirrored])
    (composite,) = Hanging.composites_of(mirrored)
    composite.SetBackgroundVolumeID(left.GetID())
    node = view(left).mrmlSliceNode()
    to_ras = node.GetSliceToRAS()
    assert to_ras.GetElement(0, 0) * -1.0 > 0  # columns run to the right: the patient's -R axis, as stored
    screen = scene_case.screen(scene_case.view_name(left))
    tissue = np.abs(screen.mean(axis=2) - 85) < 3
    assert tissue[:, 1].sum() > screen.shape[0] / 2 and tissue[:, -2].sum() == 0  # the chest wall is on the left


def test_a_view_without_a_known_spacing_says_that_it_has_no_scale(scene: Any, tmp_path: Path) -> None:
    """Slicer's rulers would count its pixels as millimetres."""
    from MolSubSlicerLib.Scene import Hanging, Mammograms
    from MolSubSlicerLib.Scene.Nodes import belongings

    unknown = {"row_mm": None, "col_mm": None, "source": "unknown"}
    for label, spacing, words in (("R CC", unknown, "no mm scale"), ("R MLO", scene_case.SPACING, "")):
        changes = {"spacing": spacing} if spacing is unknown else {}
        volume = Mammograms.add_mammogram(scene_case.facts(tmp_path, label, **changes))
        Hanging.hang([volume])
        (node,) = belongings(volume, "label")
        assert header(view(volume).mrmlSliceNode()) == (f"{label} ({words})" if words else label)
        assert node.GetNthControlPointLabel(0) == (f"{label}\n{words}" if words else label)


def test_a_closed_keeper_follows_no_more(hung: dict[str, Any], scene: Any) -> None:
    from MolSubSlicerLib.Scene.SceneKeeper import SceneKeeper

    keeper = SceneKeeper()
    keeper.close()
    scene.Clear(0)
    assert not scene.GetNodesByClass("vtkMRMLScalarVolumeNode").GetNumberOfItems()
