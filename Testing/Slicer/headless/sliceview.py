"""A slice view: Slicer's own slice logic, displayable managers and interactor style in an offscreen window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)
DEFAULT_SIZE = (512, 512)


class SliceView:
    """What qMRMLSliceView offers, and the mouse and the picture for tests."""

    def __init__(self, node: Any, logic: Any) -> None:
        self._node, self._logic = node, logic
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetAlphaBitPlanes(1)
        self._window.SetNumberOfLayers(2)
        self._renderer, self._overlay = vtk.vtkRenderer(), vtk.vtkRenderer()
        for layer, renderer in enumerate((self._renderer, self._overlay)):
            renderer.SetLayer(layer)
            renderer.GetActiveCamera().ParallelProjectionOn()
            self._window.AddRenderer(renderer)
        self._corner = vtk.vtkCornerAnnotation()
        self._corner.SetMaximumLineHeight(0.07)
        self._overlay.AddViewProp(self._corner)
        self._add_image()
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._interactor.Initialize()
        self._add_managers()
        self.resize(*DEFAULT_SIZE)
        self._group.SetMRMLDisplayableNode(node)
        self._style.SetInteractor(self._interactor)
        self._tag = logic.AddObserver("ModifiedEvent", self._logic_changed)
        self._logic_changed()

    def _add_image(self) -> None:
        """The blended slice, as ctkVTKSliceView shows it: one pixel of the slice is one of the window."""
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._actor.VisibilityOff()
        self._renderer.AddViewProp(self._actor)

    def _add_managers(self) -> None:
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        for manager in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = factory.InstantiateDisplayableManagers(self._renderer)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(self._logic)
        self._style.SetDisplayableManagers(self._group)

    def _logic_changed(self, *_: Any) -> None:
        connection = self._logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._actor.SetVisibility(bool(connection))

    # -- qMRMLSliceView -----------------------------------------------------------------------
    def mrmlSliceNode(self) -> Any:
        return self._node

    def renderWindow(self) -> Any:
        return self._window

    def interactor(self) -> Any:
        return self._interactor

    def sliceViewInteractorStyle(self) -> Any:
        return self._style

    def interactorObserver(self) -> Any:
        return self._style

    def cornerAnnotation(self) -> Any:
        return self._corner

    def displayableManagerByClassName(self, name: str) -> Any:
        return self._group.GetDisplayableManagerByClassName(name)

    def forceRender(self) -> None:
        self._window.Render()

    def scheduleRender(self) -> None:
        """The picture is drawn when it is asked for."""

    def convertXYZToRAS(self, xyz: Sequence[float]) -> tuple[float, float, float]:
        return self._node.GetXYToRAS().MultiplyPoint((*xyz, 1.0))[:3]

    def convertRASToXYZ(self, ras: Sequence[float]) -> tuple[float, float, float]:
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), inverse)
        return inverse.MultiplyPoint((*ras, 1.0))[:3]

    # -- for tests ----------------------------------------------------------------------------
    def resize(self, width: int, height: int) -> None:
        """Give the window a size in pixels."""
        self._window.SetSize(width, height)
        self._interactor.UpdateSize(width, height)
        self._logic.ResizeSliceNode(width, height)

    def image(self) -> np.ndarray:
        """The picture as uint8 (rows, columns, 3), the first row on top."""
        self._window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.ReadFrontBufferOff()
        grab.ShouldRerenderOff()
        grab.Update()
        picture = grab.GetOutput()
        width, height, _ = picture.GetDimensions()
        return vtk_to_numpy(picture.GetPointData().GetScalars()).reshape(height, width, -1)[::-1].copy()

    def save(self, path: Path | str) -> None:
        """Write the picture as PNG."""
        from PIL import Image

        Image.fromarray(self.image()).save(path)

    def position_of(self, volume: Any, row: float, column: float) -> tuple[int, int]:
        """Where a volume's pixel centre lies in the picture: (x from the left, y from the top)."""
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        x, y, _ = self.convertRASToXYZ(matrix.MultiplyPoint((column, row, 0.0, 1.0))[:3])
        return round(x), round(self._window.GetSize()[1] - 1 - y)

    def _event(self, name: str, x: int, y: int) -> None:
        self._interactor.SetEventInformation(int(x), int(self._window.GetSize()[1] - 1 - y), 0, 0, "\0", 0, None)
        self._interactor.InvokeEvent(name)

    def drag(self, points: Iterable[tuple[int, int]], button: str = "Left") -> None:
        """Press a mouse button at the first point, move over the others, let go at the last.

        Points are (x, y) in the picture, from its top left corner.
        """
        path = list(points)
        self._event("EnterEvent", *path[0])
        self._event("MouseMoveEvent", *path[0])
        self._event(f"{button}ButtonPressEvent", *path[0])
        for point in path[1:]:
            self._event("MouseMoveEvent", *point)
        self._event(f"{button}ButtonReleaseEvent", *path[-1])
        self._event("LeaveEvent", *path[-1])

    def click(self, x: int, y: int, button: str = "Left") -> None:
        """Press and let go at one place."""
        self.drag([(x, y)], button)

    def finalize(self) -> None:
        """Let go of the scene and of the window."""
        self._logic.RemoveObserver(self._tag)
        self._style.SetInteractor(None)
        self._group.SetMRMLDisplayableNode(None)
        self._window.Finalize()


class SliceController:
    """What qMRMLSliceControllerWidget offers a module: fitting and the slice's own node."""

    def __init__(self, widget: SliceWidget) -> None:
        self._widget = widget

    def mrmlSliceNode(self) -> Any:
        return self._widget.mrmlSliceNode()

    def sliceLogic(self) -> Any:
        return self._widget.sliceLogic()

    def fitSliceToBackground(self) -> None:
        self._widget.fitSliceToBackground()


class SliceWidget:
    """What qMRMLSliceWidget offers: the view, its logic and its controller."""

    def __init__(self, node: Any, application_logic: Any) -> None:
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSliceNode(node)
        application_logic.GetSliceLogics().AddItem(self._logic)
        self._view = SliceView(node, self._logic)
        self._controller = SliceController(self)

    def sliceLogic(self) -> Any:
        return self._logic

    def sliceView(self) -> SliceView:
        return self._view

    def sliceController(self) -> SliceController:
        return self._controller

    def mrmlSliceNode(self) -> Any:
        return self._view.mrmlSliceNode()

    def interactorStyle(self) -> Any:
        return self._view.interactorObserver()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def finalize(self, application_logic: Any) -> None:
        self._view.finalize()
        application_logic.GetSliceLogics().RemoveItem(self._logic)
        self._logic.SetMRMLScene(None)
