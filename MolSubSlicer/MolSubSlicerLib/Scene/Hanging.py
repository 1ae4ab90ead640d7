"""Up to four mammograms side by side, as they are hung for reading.

Right breasts are on the left of the screen, left breasts on the right, chest walls face each other.
A picture stored the other way round is turned over by its view; its pixels stay as they are.
The views are the module's own, so that nothing of this stays behind in Slicer's usual ones.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from MolSubSlicerLib.Scene.Nodes import KIND, MAMMOGRAM, SceneError, belongings, matrix_of, ras_of, shape_of
from MolSubSlicerLib.Scene.Patients import letter_of, name_of

_VIEW_ORDER = ("CC", "MLO")


def arrangement(volumes: Sequence[Any]) -> tuple[dict[tuple[int, int], Any], tuple[int, int]]:
    """Cells (row, column) of the volumes, and the numbers of rows and columns.

    Two sides: right breasts in the left column, left ones in the right column, the same view in one row.
    One side: beside each other.
    """
    sides: dict[str, list[Any]] = {"R": [], "L": []}
    for volume in sorted(volumes, key=_rank_and_view):
        sides[_side(volume, sides)].append(volume)
    right, left = sides["R"], sides["L"]
    if not right or not left:
        row = right or left
        return {(0, column): volume for column, volume in enumerate(row)}, (1, len(row))
    height = max(len(right), len(left))
    views = sorted({_rank_and_view(volume) for volume in volumes})
    by_view = len(views) == height and all(
        len({_rank_and_view(v) for v in side}) == len(side) for side in (right, left)
    )
    cells = {}
    for column, side in enumerate((right, left)):
        for position, volume in enumerate(side):
            cells[views.index(_rank_and_view(volume)) if by_view else position, column] = volume
    return cells, (height, 2)


def _rank_and_view(volume: Any) -> tuple[int, str]:
    view = volume.GetAttribute("MolSub.View") or ""
    return (_VIEW_ORDER.index(view) if view in _VIEW_ORDER else len(_VIEW_ORDER)), view


def _side(volume: Any, sides: dict[str, list[Any]]) -> str:
    """The column of a volume; of an unknown side, by its chest wall, else the emptier one."""
    side = volume.GetAttribute("MolSub.Laterality")
    if side in sides:
        return side
    wall = volume.GetAttribute("MolSub.ChestWall")
    if wall in ("left", "right"):
        return "R" if wall == "right" else "L"
    return "R" if len(sides["R"]) <= len(sides["L"]) else "L"


def is_turned_over(volume: Any) -> bool:
    """Whether the picture is stored with its chest wall on the outer side, so that its view mirrors it."""
    wanted = {"R": "right", "L": "left"}.get(volume.GetAttribute("MolSub.Laterality") or "")
    wall = volume.GetAttribute("MolSub.ChestWall")
    return wanted is not None and wall in ("left", "right") and wall != wanted


def chest_wall_on_screen(volume: Any) -> str | None:
    """Side of the screen, "left" or "right", on which a hung picture's chest wall is; None where unknown."""
    wall = volume.GetAttribute("MolSub.ChestWall")
    if wall not in ("left", "right"):
        return None
    return "right" if (wall == "right") != is_turned_over(volume) else "left"


_COLOUR = (1.0, 0.86, 0.35)


def show_label(volume: Any) -> None:
    """Side and view as text in the picture, in the upper corner away from the chest wall, like a lead marker."""
    found = belongings(volume, "label")
    node = found[0] if found else _new_node()
    if not found:
        node.SetAttribute(KIND, "label")
        node.SetNodeReferenceID(MAMMOGRAM, volume.GetID())
        node.SetHideFromEditors(True)
        node.SetLocked(True)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSelectedColor(*_COLOUR)
        display.SetColor(*_COLOUR)
        display.SetTextScale(4.0)
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(0.001)
        display.SetPropertiesLabelVisibility(False)
        display.SetPointLabelsVisibility(True)
        display.SetHandlesInteractive(False)
    rows, columns = shape_of(volume)
    place = 0.03 if chest_wall_on_screen(volume) == "right" else 0.76  # the text begins there
    column = columns * (1 - place if is_turned_over(volume) else place)
    node.RemoveAllControlPoints()
    node.AddControlPoint(vtk.vtkVector3d(*ras_of(volume, 0.07 * rows, column)), _text(volume))


def rename_label(volume: Any) -> None:
    """Write into the picture's text, where it has one, what is true now: other patients come and go."""
    for node in belongings(volume, "label"):
        if node.GetNumberOfControlPoints() and node.GetNthControlPointLabel(0) != _text(volume):
            node.SetNthControlPointLabel(0, _text(volume))


def _text(volume: Any) -> str:
    lines = [" ".join(volume.GetAttribute(f"MolSub.{key}") or "?" for key in ("Laterality", "View"))]
    if letter := letter_of(volume):
        lines.append(_("patient {letter}").format(letter=letter))
    if volume.GetAttribute("MolSub.SpacingSource") in (None, "unknown"):
        lines.append(_("no mm scale"))
    return "\n".join(lines)


def _new_node() -> Any:
    """A point list that does not become the one into which the user's next point goes, as new ones do."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    name, kind = selection.GetActivePlaceNodeID(), selection.GetActivePlaceNodeClassName()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "MolSub label")
    selection.SetReferenceActivePlaceNodeID(name)
    selection.SetReferenceActivePlaceNodeClassName(kind)
    return node


MOST = 4
_LAYOUT, _VIEW = 5400, "MolSub"
_MIRRORED = "AxialMirrored"  # without a space: Slicer makes it part of the name of an XML attribute
#: A view that never is: nodes restricted to it are shown nowhere.
_NOWHERE = "MolSubNowhere"
#: Empty; "hanging" while views are filled; "ending" while those who observe them look at them afterwards.
_state = [""]
#: Attribute of a slice node: its size and its place (see `_place`) after the last fit.
_FIT = "MolSub.Fit"


def hang(volumes: Sequence[Any]) -> None:
    """Show up to four mammograms in views of their own, each fitted, all at the same scale.

    Raises
    ------
    SceneError
        If there are none, or more than four.
    """
    if not 1 <= len(volumes) <= MOST:
        raise SceneError(_("{count} images were chosen to be hung. Choose one to four.").format(count=len(volumes)))
    prepare()
    with _hanging():
        _hang(volumes)
    for volume in volumes:
        restrict_to_views(volume)


def _hang(volumes: Sequence[Any]) -> None:
    cells, (rows, columns) = arrangement(volumes)
    _set_layout(rows, columns)
    _clear_views()
    for (row, column), volume in cells.items():
        slice_node, composite = _view(row, column)
        composite.SetBackgroundVolumeID(volume.GetID())
        _orient(slice_node, volume)
        show_label(volume)
    name_views()
    fit_views()


def is_hanging() -> bool:
    """Whether the views are being filled one by one: who observes them need not look before the end."""
    return _state[0] == "hanging"


@contextlib.contextmanager
def _hanging() -> Iterator[None]:
    """Views that change for the block are looked at once, at its end."""
    _state[0] = "hanging"
    try:
        yield
        _state[0] = "ending"
        for composite in composites():
            composite.Modified()
    finally:
        _state[0] = ""


def views_of(volume: Any) -> list[str]:
    """IDs of the slice nodes, among those on the screen, in which a mammogram is the background."""
    return [
        node.GetID()
        for node, composite in _views()
        if node.IsMappedInLayout() and composite.GetBackgroundVolumeID() == volume.GetID()
    ]


def composites_of(volume: Any) -> list[Any]:
    """The composite nodes of `views_of`."""
    names = views_of(volume)
    return [composite for node, composite in _views() if node.GetID() in names]


def restrict_to_views(volume: Any) -> None:
    """Show what belongs to a mammogram only where the mammogram is.

    All mammograms lie in the same plane, so without this each would show the outlines of all.
    To be called again when the views' backgrounds have changed.
    """
    views = views_of(volume) or [_NOWHERE]
    for node in belongings(volume):
        kind = node.GetAttribute(KIND)
        if kind not in ("lesions", "roi", "label", "heatmap"):
            continue
        for index in range(node.GetNumberOfDisplayNodes()):
            display = node.GetNthDisplayNode(index)
            if kind == "heatmap" and not display.IsA("vtkMRMLColorLegendDisplayNode"):
                continue  # a layer is where a composite node has it
            if list(display.GetViewNodeIDs() or ()) != views:
                disabled = display.StartModify()
                display.RemoveAllViewNodeIDs()
                for view in views:
                    display.AddViewNodeID(view)
                display.EndModify(disabled)


def set_linked(linked: bool) -> None:
    """Link zoom of the module's views, and pan between those of one orientation, as Slicer's link button does."""
    for node, composite in _views():
        if node.GetLayoutName().startswith(_VIEW):
            composite.SetLinkedControl(linked)
            composite.SetHotLinkedControl(linked)


def prepare() -> None:
    """Make grids and the mirrored orientation known to Slicer, so that scenes with them are read; at the start."""
    for rows, columns in itertools.product(range(1, MOST + 1), repeat=2):
        _describe_layout(rows, columns)
    preset = vtk.vtkMatrix3x3()
    preset.SetElement(2, 2, 1.0)
    nodes = [slicer.mrmlScene.GetDefaultNodeByClass("vtkMRMLSliceNode"), *(node for node, _composite in _views())]
    for node in nodes:
        if node is not None and not node.HasSliceOrientationPreset(_MIRRORED):
            node.AddSliceOrientationPreset(_MIRRORED, preset)


def restore() -> None:
    """After a scene was loaded: bring the layout back, whose description Slicer does not save."""
    layout = _layout_node()
    rows, columns = divmod(layout.GetViewArrangement() - _LAYOUT, 10)
    if 1 <= rows <= MOST and 1 <= columns <= MOST:
        _set_layout(rows, columns)
    name_views()
    for node, volume in list(_shown()):
        restrict_to_views(volume)
        node.UpdateMatrices()
        node.Modified()  # outlines were drawn while the view was being read


def name_views() -> None:
    """Write above each of the module's views what it shows now, whoever put it there; above an empty one nothing."""
    for node, composite in _views():
        if node.GetLayoutName().startswith(_VIEW):
            volume = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
            name = "" if volume is None else header_of(volume)
            if node.GetLayoutLabel() != name:
                node.SetLayoutLabel(name)
            if volume is not None and volume.GetAttribute(KIND) == "mammogram":
                rename_label(volume)


def header_of(volume: Any) -> str:
    """What stands above a view: the patient where there are several, the mammogram, and whether it has a scale."""
    if volume.GetAttribute(KIND) != "mammogram":
        return volume.GetName()
    name = name_of(volume)
    return name if _spacing_is_known(volume) else _("{name} (no mm scale)").format(name=name)


def take_in(composite: Any) -> None:
    """After another mammogram was put into a view of the module's by somebody else: turn it the right way, and fit."""
    if _state[0]:
        return
    for node, other in _views():
        if other is composite and node.GetLayoutName().startswith(_VIEW) and node.IsMappedInLayout():
            volume = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
            if volume is not None and volume.GetAttribute(KIND) == "mammogram":
                show_label(volume)
                _orient(node, volume)
                _fit([(node, volume)])


def is_ours(composite: Any) -> bool:
    """Whether a composite node is of a view of the module's."""
    return any(other is composite and node.GetLayoutName().startswith(_VIEW) for node, other in _views())


def composites() -> list[Any]:
    """The composite nodes of all slice views."""
    return [composite for _node, composite in _views()]


def fit_views() -> bool:
    """Fit the views to their pictures, at one scale where spacings are known, chest walls at the inner edges.

    Returns
    -------
    bool
        Whether there are any: in another layout there are none.
    """
    shown = list(_shown())
    _fit(shown)
    return bool(shown)


def follow_size(node: Any) -> None:
    """After a change of a view: where its size is another, fit all again that were not zoomed or panned meanwhile."""
    kept = _kept_fit(node)
    if kept and kept[:2] != list(node.GetDimensions()[:2]) and _is_as_fitted(node):
        _fit([(other, volume) for other, volume in _shown() if _is_as_fitted(other)])
    elif kept:
        node.UpdateMatrices()  # not done where the fit above came while Slicer was at it


def _fit(views: Iterable[tuple[Any, Any]]) -> None:
    shown = [(node, volume, _scale(node, volume)) for node, volume in views if min(node.GetDimensions()[:2]) > 0]
    known = [scale for _node, volume, scale in shown if _spacing_is_known(volume)]
    for node, volume, scale in shown:
        scale = max(known) if _spacing_is_known(volume) else scale
        width, height, _depth = node.GetDimensions()
        rows, columns = shape_of(volume)
        centre = ras_of(volume, (rows - 1) / 2, (columns - 1) / 2)
        disabled = node.StartModify()
        for axis in range(3):
            node.GetSliceToRAS().SetElement(axis, 3, centre[axis])
        node.SetFieldOfView(scale * width, scale * height, node.GetFieldOfView()[2])
        node.SetXYZOrigin(_sideways(volume, scale * width), 0.0, 0.0)
        node.UpdateMatrices()
        node.SetAttribute(_FIT, " ".join(map(repr, (width, height, *_place(node)))))
        node.EndModify(disabled)


def _place(node: Any) -> tuple[float, ...]:
    """Height of a view in mm, and the place of its middle; a change of its size alone leaves these as they are."""
    centre = (node.GetSliceToRAS().GetElement(axis, 3) for axis in range(3))
    return (node.GetFieldOfView()[1], *node.GetXYZOrigin()[:2], *centre)


def _kept_fit(node: Any) -> list[float]:
    return [float(value) for value in (node.GetAttribute(_FIT) or "").split()]


def _is_as_fitted(node: Any) -> bool:
    # Less than a screen pixel, and more than a saved scene loses.
    pairs = zip(_kept_fit(node)[2:], _place(node), strict=False)
    return all(math.isclose(kept, now, rel_tol=1e-5, abs_tol=1e-3) for kept, now in pairs)


def _scale(node: Any, volume: Any) -> float:
    """Millimetres to a screen pixel, so that the whole picture is seen."""
    width, height, _depth = node.GetDimensions()
    rows, columns = shape_of(volume)
    return max(columns * volume.GetSpacing()[0] / width, rows * volume.GetSpacing()[1] / height)


def _spacing_is_known(volume: Any) -> bool:
    return volume.GetAttribute("MolSub.SpacingSource") not in (None, "unknown")


def _sideways(volume: Any, field: float) -> float:
    """Shift of the view in mm, so that the picture's chest wall meets the view's inner edge."""
    free = (field - shape_of(volume)[1] * volume.GetSpacing()[0]) / 2
    return {"right": -free, "left": free, None: 0.0}[chest_wall_on_screen(volume)]


def _orient(node: Any, volume: Any) -> None:
    """Columns to the right and rows downwards; columns to the left where the picture is turned over."""
    matrix = vtk.vtkMatrix4x4()
    ijk_to_ras = matrix_of(volume)
    for axis, sign in ((0, -1.0 if is_turned_over(volume) else 1.0), (1, -1.0), (2, 1.0)):
        column = [ijk_to_ras.GetElement(row, axis) for row in range(3)]
        length = sum(value * value for value in column) ** 0.5
        for row in range(3):
            matrix.SetElement(row, axis, sign * column[row] / length)
    node.GetSliceToRAS().DeepCopy(matrix)
    node.UpdateMatrices()


def _views() -> Iterable[tuple[Any, Any]]:
    """Slice nodes with their composite nodes."""
    scene = slicer.mrmlScene
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLSliceNode")
        composite = scene.GetSingletonNode(node.GetSingletonTag(), "vtkMRMLSliceCompositeNode")
        if composite is not None:
            yield node, composite


def _shown() -> Iterable[tuple[Any, Any]]:
    """The module's views on the screen, with their volumes."""
    for node, composite in _views():
        volume = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        if node.GetLayoutName().startswith(_VIEW) and node.IsMappedInLayout() and volume is not None:
            yield node, volume


def _view(row: int, column: int) -> tuple[Any, Any]:
    tag = f"{_VIEW}{row + 1}{column + 1}"
    nodes = [slicer.mrmlScene.GetSingletonNode(tag, f"vtkMRMLSlice{kind}Node") for kind in ("", "Composite")]
    if None in nodes:
        raise SceneError(_("The views could not be made. Choose another layout, and load the images again."))
    return nodes[0], nodes[1]


def _clear_views() -> None:
    for node, composite in _views():
        if node.GetLayoutName().startswith(_VIEW):
            composite.SetBackgroundVolumeID(None)
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)


def _layout_node() -> Any:
    found = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return found or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLayoutNode")


def _set_layout(rows: int, columns: int) -> None:
    _layout_node().SetViewArrangement(_describe_layout(rows, columns))


def _describe_layout(rows: int, columns: int) -> int:
    """Make a grid known, which Slicer does not save; its number."""
    layout, code = _layout_node(), _LAYOUT + 10 * rows + columns
    if not layout.IsLayoutDescription(code):
        layout.AddLayoutDescription(code, _description(rows, columns))
    return code


def _description(rows: int, columns: int) -> str:
    """Slicer's XML of a grid of slice views."""
    lines = []
    for row in range(rows):
        views = "".join(
            f'<item><view class="vtkMRMLSliceNode" singletontag="{_VIEW}{row + 1}{column + 1}">'
            '<property name="orientation" action="default">Axial</property>'
            f'<property name="viewlabel" action="default">{row + 1}{column + 1}</property>'
            '<property name="viewcolor" action="default">#4A6B8A</property></view></item>'
            for column in range(columns)
        )
        lines.append(f'<item><layout type="horizontal">{views}</layout></item>')
    return f'<layout type="vertical">{"".join(lines)}</layout>'
