"""Lesions of the chosen mammogram: add, rename, remove, import, and the region that the model will see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MolSubSlicerLib.Annotate.Region import Region, find_region, margin_text, size_text, spacing_of
from MolSubSlicerLib.Scene import Lesions, Mammograms
from MolSubSlicerLib.Scene import Lesions as RoiBox
from MolSubSlicerLib.Scene.Nodes import SceneError, in_scene
from MolSubSlicerLib.Signal import Signal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from MolSubSlicerLib.Session import Session

#: Milliseconds from a change of the outlines to the new region: one look for many strokes.
INTERVAL = 150


@dataclass(frozen=True)
class LesionRow:
    """One lesion, for a table: its segment, its name, its size (empty where nothing is outlined)."""

    segment: str
    name: str
    size: str


class AnnotateController:
    """What the Annotate panel does, without widgets.

    Attributes
    ----------
    changed : Signal
        (): the mammogram, its lesions or their region changed.
    rows : list of LesionRow
    region : Region
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.changed, self.about_to_import = Signal(), Signal()
        self.rows: list[LesionRow] = []
        self.region = Region()
        self.region_visible = True
        self._volume: Any = None
        self._segmentation: Any = None
        self._tags: list[int] = []
        self._card: dict[str, Any] | None = None
        self._bundle = ""
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL)
        self._timer.connect("timeout()", self._follow)
        self._scene_tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, self._on_removed)

    @property
    def volume(self) -> Any:
        """The mammogram that is annotated; None where there is none any more."""
        return self._volume if in_scene(self._volume) else None

    @property
    def segmentation(self) -> Any:
        """Its lesions' segmentation, or None."""
        return self._segmentation if in_scene(self._segmentation) and self.volume else None

    def set_volume(self, volume: Any) -> None:
        """Annotate a mammogram, or none; its segmentation is made, with one empty lesion to begin with."""
        self._forget()
        if in_scene(volume):
            self._volume, self._segmentation = volume, Lesions.segmentation_for(volume)
            if not self._segmentation.GetSegmentation().GetNumberOfSegments():
                Lesions.add_lesion(self._segmentation)
            vtk_segmentation = slicer.vtkSegmentation
            for event in (
                vtk_segmentation.SourceRepresentationModified,
                vtk_segmentation.SegmentAdded,
                vtk_segmentation.SegmentRemoved,
                vtk_segmentation.SegmentModified,
            ):
                self._tags.append(self._segmentation.AddObserver(event, self._on_modified))
        self.update()

    def _forget(self) -> None:
        self._timer.stop()
        if self._segmentation is not None:
            for tag in self._tags:
                self._segmentation.RemoveObserver(tag)
        self._tags = []
        self._volume = self._segmentation = None

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removed(self, _caller: Any, _event: str, node: Any) -> None:
        if node is None or (node is not self._volume and node is not self._segmentation):
            return
        volume = self._volume if node is self._segmentation else None
        self._forget()
        self.update()
        if in_scene(volume) and not slicer.mrmlScene.IsClosing():
            # After the removal: in the middle of it no node can take the place of the other.
            qt.QTimer.singleShot(0, lambda: self._begin_again(volume))

    def _begin_again(self, volume: Any) -> None:
        """The outlines were deleted by hand: outlining goes on with an empty lesion."""
        chosen: Any = self.session.parameters.mammogram
        if in_scene(volume) and self.volume is None and chosen is volume:
            text = _("The outlines of {name} were deleted. An empty lesion was begun.")
            self.session.say(text.format(name=volume.GetName()), "warning")
            self.set_volume(volume)
            self.session.lesions_changed.emit(volume)

    def _on_modified(self, *_arguments: Any) -> None:
        # Not restarted by further changes: during a long stroke the square follows.
        if not self._timer.active:
            self._timer.start()

    def update(self) -> None:
        """Read the lesions and place their region anew."""
        self._timer.stop()
        self.rows, self.region = [], Region()
        volume, segmentation = self.volume, self.segmentation
        if segmentation is not None:
            try:
                self._read(volume, segmentation)
            except SceneError as error:
                self.session.say(str(error), "error")
            RoiBox.show(volume, self.region.geometries)
            RoiBox.set_visible(volume, self.region_visible)
        self.changed.emit()

    def _follow(self) -> None:
        """The lesions were changed: tell everybody."""
        self.update()
        if self.volume:
            self.session.lesions_changed.emit(self.volume)

    def _read(self, volume: Any, segmentation: Any) -> None:
        spacing, segments = spacing_of(Mammograms.facts_of(volume)), segmentation.GetSegmentation()
        filled = Lesions.lesion_segments(segmentation)
        layers = Lesions.layers_of(segmentation, volume) if filled else np.zeros((0, 0, 0), bool)
        sizes = {
            name: size_text(*box.shape, spacing) for name, box in zip(filled, Lesions.boxes_of(layers), strict=True)
        }
        for index in range(segments.GetNumberOfSegments()):
            name = segments.GetNthSegmentID(index)
            self.rows.append(LesionRow(name, segments.GetSegment(name).GetName(), sizes.get(name, "")))
        self.region = find_region(list(layers), self.recipe(), spacing)

    def add(self) -> str:
        """Add an empty lesion; its segment."""
        name = Lesions.add_lesion(self._required())
        self._follow()
        return name

    def rename(self, segment: str, name: str) -> None:
        """Give a lesion another name; an empty one, or one that another lesion has, is refused.

        Raises
        ------
        SceneError
        """
        name, segments = name.strip(), self._required().GetSegmentation()
        if not name or any(row.name == name and row.segment != segment for row in self.rows):
            problem = _("Another lesion is called {name}.").format(name=name) if name else _("A lesion needs a name.")
            raise SceneError(problem + " " + _("Give another one."))
        if segments.GetSegment(segment) is not None:
            segments.GetSegment(segment).SetName(name)
        self._follow()

    def remove(self, segment: str) -> None:
        """Remove a lesion; where it was the last one, an empty one takes its place."""
        segmentation = self._required()
        segmentation.GetSegmentation().RemoveSegment(segment)
        if not segmentation.GetSegmentation().GetNumberOfSegments():
            Lesions.add_lesion(segmentation)
        self._follow()

    def _required(self) -> Any:
        if self.segmentation is None:
            raise SceneError(_("There is no mammogram. Load one."))
        return self.segmentation

    def import_mask(self, path: str) -> Any:
        """Read a mask of any format onto the mammogram's grid, beside the lesions that are there; the job's handle.

        Raises
        ------
        SceneError
            If there is no mammogram.
        """
        self._required()
        volume = self.volume
        image, note = Mammograms.source_of(volume, self.session.folder)
        if note:
            self.session.say(note, "warning")

        def done(result: dict[str, Any]) -> None:
            if not in_scene(volume) or volume is not self.volume:
                self.session.say(_("The mammogram is not chosen any more: nothing was imported."), "warning")
                return
            self.about_to_import.emit()
            count, warnings = self.add_labels(np.load(result["labels"])), list(result["warnings"])
            if count < result["count"]:
                text = _("{count} of its lesions are outlined already, pixel for pixel: not added again.")
                warnings.append(text.format(count=result["count"] - count))
            text = _("Lesions imported from {name}: {count}.").format(count=count, name=Path(path).name)
            self.session.say(" ".join([text, *warnings]), "warning" if warnings else "info")

        options = {"image": image, "lesions": str(path), "out": str(self.session.new_folder("lesions"))}
        return self.session.submit("read-lesions", options, done=done)

    def add_labels(self, labels: NDArray[Any]) -> int:
        """Add the lesions of a label map, shape (rows, columns); how many of them were new.

        Those that are there keep names and pixels; one that is there already is not added again.
        """
        segmentation, volume = self._required(), self.volume
        filled = Lesions.lesion_segments(segmentation)
        names = [row.name for row in self.rows if row.segment in filled]
        layers = [labels == value for value in np.unique(labels) if value]
        there = list(Lesions.layers_of(segmentation, volume)) if filled else []
        layers = [layer for layer in layers if not any(np.array_equal(layer, other) for other in there)]
        if not layers:
            return 0
        count, layers = len(layers), [*there, *layers]
        found = Lesions.set_labels(segmentation, np.stack(layers).astype(np.uint8))
        for segment, name in zip(found, names, strict=False):
            segmentation.GetSegmentation().GetSegment(segment).SetName(name)
        self._follow()
        return count

    def recipe(self) -> Any:
        """The chosen model's recipe, else the default one."""
        from MolSubCore.errors import MolSubError
        from MolSubCore.lesions.preprocessing import Recipe, get_recipe

        if self._card is not None:
            try:
                return Recipe.from_dict(self._card["recipe"])
            except MolSubError as error:
                self.session.say(str(error), "error")
        return get_recipe("default")

    def recipe_text(self) -> str:
        """Whose margin the region has, and how much it is."""
        facts = Mammograms.facts_of(self.volume) if self.volume else {}
        margin = margin_text(self.recipe(), spacing_of(facts))
        if self._card is None:
            return _("No model chosen: default margin, {margin}").format(margin=margin)
        return _("Model {name}: margin {margin}").format(name=self._card.get("name", ""), margin=margin)

    def set_bundle(self, path: str) -> None:
        """Show the region of a model of the library, or with an empty path the default one."""
        if path == self._bundle:
            return
        self._bundle, self._card = path, None
        if not path:
            self.update()
            return

        def done(result: dict[str, Any]) -> None:
            if path == self._bundle:
                cards = {Path(bundle["path"]): bundle["card"] for bundle in result["bundles"]}
                self._card = cards.get(Path(path))
                self.update()

        self.session.submit("library-list", {"folder": str(Path(path).parent)}, done=done)

    def set_region_visible(self, visible: bool) -> None:
        """Show or hide the region's outline in the views."""
        self.region_visible = bool(visible)
        if self.volume:
            RoiBox.set_visible(self.volume, self.region_visible)

    def close(self) -> None:
        """Let go of the scene."""
        slicer.mrmlScene.RemoveObserver(self._scene_tag)
        self._forget()
