"""The layout manager: Slicer's own layout logic makes the view nodes, this makes the views."""

from __future__ import annotations

from typing import Any

import slicer

from .signals import Emitter
from .sliceview import SliceWidget


class LayoutManager(Emitter):
    """What qMRMLLayoutManager offers, with slice views only."""

    SIGNATURES = ("layoutChanged(int)",)
    threeDViewCount = tableViewCount = plotViewCount = 0

    def __init__(self, application_logic: Any) -> None:
        super().__init__()
        self._application_logic = application_logic
        self._widgets: dict[str, SliceWidget] = {}
        self._changing = False
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        scene = slicer.vtkMRMLScene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
            slicer.mrmlScene.AddObserver(event, self._scene_changed)
        self._arrangement = self.layout
        self._logic.GetLayoutNode().AddObserver("ModifiedEvent", self._layout_changed)
        self._scene_changed()

    def _scene_changed(self, *_: Any) -> None:
        """Keep one view for each slice node of the scene."""
        if slicer.mrmlScene.IsBatchProcessing() or self._changing:
            return
        self._changing = True  # a new view adds nodes of its own
        try:
            self._match_views_to_nodes()
        finally:
            self._changing = False

    def _match_views_to_nodes(self) -> None:
        nodes = {node.GetID(): node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
        for node_id in list(self._widgets):
            if nodes.get(node_id) is not self._widgets[node_id].mrmlSliceNode():
                self._widgets.pop(node_id).finalize(self._application_logic)
        for node_id, node in nodes.items():
            if node_id not in self._widgets:
                self._widgets[node_id] = SliceWidget(node, self._application_logic)
        self._map_views()

    def _map_views(self) -> None:
        """Only views of the present layout are mapped in it (qMRMLLayoutSliceViewFactory)."""
        views = self._logic.GetViewNodes()
        present = [views.GetItemAsObject(index).GetID() for index in range(views.GetNumberOfItems())]
        for node_id, widget in self._widgets.items():
            widget.mrmlSliceNode().SetMappedInLayout(node_id in present)

    def _layout_changed(self, *_: Any) -> None:
        self._map_views()
        if self.layout != self._arrangement:
            self._arrangement = self.layout
            self.layoutChanged.emit(self.layout)

    def layoutLogic(self) -> Any:
        return self._logic

    def _get_layout(self) -> int:
        return self._logic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, layout: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(layout)

    layout = property(_get_layout, setLayout)

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(widget.mrmlSliceNode().GetName() for widget in self._widgets.values())

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return next((w for w in self._widgets.values() if w.mrmlSliceNode().GetName() == name), None)

    def viewWidget(self, node: Any) -> SliceWidget | None:
        return self._widgets.get(node.GetID()) if node is not None else None

    def mrmlSliceLogics(self) -> Any:
        return self._application_logic.GetSliceLogics()

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """There are none."""

    def visible_widgets(self) -> list[SliceWidget]:
        """For tests: the widgets that the present layout shows."""
        return [w for w in self._widgets.values() if w.mrmlSliceNode().IsMappedInLayout()]
