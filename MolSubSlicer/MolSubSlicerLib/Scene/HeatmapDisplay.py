"""Which heatmap is laid over a mammogram, and how: layer, class, opacity, threshold, legend.

What is shown is kept in attributes of the mammogram, so that it comes back with the scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from MolSubSlicerLib.Scene.Hanging import chest_wall_on_screen, composites_of, is_ours, restrict_to_views, views_of
from MolSubSlicerLib.Scene.Heatmaps import find, heatmaps_of, is_blind
from MolSubSlicerLib.Scene.Nodes import KIND, SceneError, all_of_kind

OPACITY, THRESHOLD = 0.5, 0.3
_PREFIX = "MolSub.Shown"


@dataclass(frozen=True)
class Shown:
    """What is laid over a mammogram.

    Attributes
    ----------
    layer, class_ : str or None
        None where nothing was shown yet.
    lesion : int
        Counted from 0.
    opacity, threshold : float
        In [0, 1]; heat below the threshold is clear.
    visible : bool
    blind : bool
        The map holds no evidence.
    """

    layer: str | None
    class_: str | None
    lesion: int
    opacity: float
    threshold: float
    visible: bool
    blind: bool


def shown(volume: Any) -> Shown:
    """What is laid over a mammogram, as kept in its attributes."""
    layer, class_ = _get(volume, "Layer"), _get(volume, "Class")
    lesion = int(_get(volume, "Lesion", "0"))
    node = find(volume, layer, class_, lesion) if layer and class_ else None
    return Shown(
        layer,
        class_,
        lesion,
        float(_get(volume, "Opacity", str(OPACITY))),
        float(_get(volume, "Threshold", str(THRESHOLD))),
        _get(volume, "Visible", "1") == "1",
        node is not None and is_blind(node),
    )


def show(volume: Any, layer: str, class_: str, lesion: int = 0) -> Any:
    """Lay the heatmap of a layer and class over a mammogram, in every view that shows it.

    Returns
    -------
    vtkMRMLScalarVolumeNode
        The heatmap.

    Raises
    ------
    SceneError
        If the scene has no such heatmap.
    """
    node = find(volume, layer, class_, lesion)
    if node is None:
        text = _("{name} has no heatmap of {layer} for {class_}. Predict again.")
        raise SceneError(text.format(name=volume.GetName(), layer=layer, class_=class_))
    for key, value in (("Layer", layer), ("Class", class_), ("Lesion", str(lesion))):
        volume.SetAttribute(_PREFIX + key, value)
    refresh(volume)
    return node


def adjust(
    volume: Any, *, opacity: float | None = None, threshold: float | None = None, visible: bool | None = None
) -> None:
    """Set how heatmaps are laid over a mammogram; what is None stays.

    Parameters
    ----------
    volume : vtkMRMLScalarVolumeNode
        The mammogram.
    opacity : float, optional
        How much the heatmap covers, 0 to 1.
    threshold : float, optional
        The heat, 0 to 1, below which the mammogram is left clear.
    visible : bool, optional
        Overlay or original.
    """
    values = {
        "Opacity": None if opacity is None else f"{min(max(opacity, 0.0), 1.0):.4f}",
        "Threshold": None if threshold is None else f"{min(max(threshold, 0.0), 1.0):.4f}",
        "Visible": None if visible is None else str(int(visible)),
    }
    changed = {key: value for key, value in values.items() if value not in (None, _get(volume, key))}
    for key, value in changed.items():
        volume.SetAttribute(_PREFIX + key, value)
    if changed:
        refresh(volume)


def refresh(volume: Any) -> None:
    """Bring the views to what is kept in the attributes; after hanging, loading or removing."""
    state = shown(volume)
    visible = _wanted(volume, state)
    if visible is not None:
        _set_threshold(visible, state.threshold)
    for composite in composites_of(volume):
        if _is_free(composite):
            composite.SetForegroundOpacity(state.opacity)
            composite.SetForegroundVolumeID(visible.GetID() if visible else None)
    for other in heatmaps_of(volume):  # after the layers: legends look at them when they are touched
        _show_legend(other, volume, state, other is visible)
    restrict_to_views(volume)
    _keep_window_level(volume)


def correct(composite: Any) -> bool:
    """Take out of a view a heatmap that does not belong there, whoever put it in; whether there was one.

    Slicer fills a view whose layer was deleted with another volume. Only the heatmap that is shown of a mammogram may
    lie on it, in any view; in the module's own views no other mammogram either.
    """
    found = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
    if found is None or not _is_free(composite):
        return False
    volume = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
    wanted = None
    if volume is not None and volume.GetAttribute(KIND) == "mammogram":
        wanted = _wanted(volume, shown(volume))
    if found is wanted:
        return False
    composite.SetForegroundVolumeID(None if wanted is None else wanted.GetID())
    return True


def _is_free(composite: Any) -> bool:
    """Whether this module decides what the upper layer of a view is: not where the user laid another volume there."""
    found = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
    kind = None if found is None else found.GetAttribute(KIND)
    return found is None or kind in ("heatmap", "retired heatmap") or (kind == "mammogram" and is_ours(composite))


def renew_legends() -> None:
    """Let go of all legends, and have `refresh` make those that are seen.

    Views that are made while a scene is read pass over the legends that are there already.
    """
    for node in all_of_kind("heatmap"):
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
        if legend is not None:
            node.RemoveNthDisplayNodeID(_position(node, legend))
            slicer.mrmlScene.RemoveNode(legend)


def _position(node: Any, display: Any) -> int:
    count = node.GetNumberOfDisplayNodes()
    return next(index for index in range(count) if node.GetNthDisplayNode(index) is display)


def _wanted(volume: Any, state: Shown) -> Any:
    """The heatmap that lies on a mammogram; None where there is none, or where the original is shown."""
    if not (state.visible and state.layer and state.class_):
        return None
    return find(volume, state.layer, state.class_, state.lesion)


def refresh_all() -> None:
    """`refresh` for every mammogram."""
    for volume in all_of_kind("mammogram"):
        refresh(volume)


def _get(volume: Any, key: str, default: str = "") -> str:
    return volume.GetAttribute(_PREFIX + key) or default


def _set_threshold(node: Any, threshold: float) -> None:
    display = node.GetDisplayNode()
    disabled = display.StartModify()
    display.SetAutoThreshold(False)
    display.SetThreshold(threshold, 1.0)
    display.SetApplyThreshold(True)
    display.EndModify(disabled)


def _show_legend(node: Any, volume: Any, state: Shown, visible: bool) -> None:
    """One legend per heatmap, made when it is first shown, in the lower corner away from the chest wall."""
    logic = slicer.vtkSlicerColorLogic
    legend = logic.GetColorLegendDisplayNode(node)
    if legend is None:
        if not visible:
            return
        legend = logic.AddDefaultColorLegendDisplayNode(node)
        legend.SetNumberOfLabels(6)
        legend.SetLabelFormat("%.1f")
        legend.SetMaxNumberOfColors(256)
        legend.SetSize(0.07, 0.2)  # Slicer makes the letters as large as this and the labels leave room for
        for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
            text.SetFontFamilyToArial()
            text.SetBold(False)
    title = _("Relative evidence\nfor {class_}").format(class_=state.class_)
    if state.blind:
        title = _("EMPTY: no evidence\nin this map")
    legend.SetPosition(0.02 if chest_wall_on_screen(volume) == "right" else 0.98, 0.09)  # above Slicer's annotation
    legend.SetTitleText(title)
    legend.SetVisibility(visible)
    legend.Modified()


def _keep_window_level(volume: Any) -> None:
    """Let a drag in the views move the mammogram's window; Slicer would move the one of the layer on top."""
    layout = slicer.app.layoutManager() if hasattr(slicer, "app") else None
    if layout is None:
        return
    for name in views_of(volume):
        widget = layout.sliceWidget(slicer.mrmlScene.GetNodeByID(name).GetLayoutName())
        manager = widget and widget.sliceView().displayableManagerByClassName("vtkMRMLScalarBarDisplayableManager")
        if manager:
            manager.SetAdjustForegroundWindowLevelEnabled(False)
