"""The worklist of one reader: one image after another, its mask saved by itself, where one stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MolSubSlicerLib.Load.LoadController import CaseReader, outline_of, write_outline
from MolSubSlicerLib.Scene import Hanging, Lesions, Mammograms
from MolSubSlicerLib.Scene.Nodes import SceneError, in_scene
from MolSubSlicerLib.Signal import Signal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from MolSubCore.annotation.worklist import Entry, Worklist
    from MolSubSlicerLib.Annotate.AnnotateController import AnnotateController
    from MolSubSlicerLib.Session import Session

#: Milliseconds without a change, after which the mask is saved.
AUTOSAVE = 1000


class WorklistController:
    """What the worklist does, without widgets.

    Attributes
    ----------
    changed : Signal
        (): another list, image, state or note.
    worklist : Worklist or None
    source : Path or None
        The table or folder that is open.
    images : list of Path or None
        Of a folder: its mammograms.
    conflict : str
        Why the mask cannot be saved: a file that this list did not write lies in its place. Else empty.
    volume : vtkMRMLScalarVolumeNode or None
        The current image, while it is in the scene.
    """

    def __init__(self, session: Session, annotate: AnnotateController) -> None:
        self.session, self.annotate, self.changed = session, annotate, Signal()
        self.worklist: Worklist | None = None
        self.source: Path | None = None
        self.images: list[Path] | None = None
        self.conflict = ""
        self._volume: Any = None
        self._former: Any = None
        self._saved: NDArray[np.uint8] | None = None
        self._reader = CaseReader(session)
        self._shown: Any = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(AUTOSAVE)
        self._timer.connect("timeout()", self.save)
        session.lesions_changed.connect(self._on_lesions)
        scene = slicer.mrmlScene
        self._tags = [
            scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._on_close),
            scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_removal),
        ]

    @property
    def busy(self) -> bool:
        """Whether an image or a folder is being read."""
        return self._reader.busy

    @property
    def volume(self) -> Any:
        """The current image's node; None where none is shown."""
        return self._volume if in_scene(self._volume) else None

    def open(self, source: str | Path, reader: str, blind: bool = False) -> None:
        """Open a table or a folder; of a folder, the headers tell first which files are mammograms.

        Raises
        ------
        MolSubError
            If a table cannot be opened.
        """
        self.close()
        source = Path(source)
        if not source.is_dir():
            self._begin(source, reader, blind, None)
            return

        def done(result: dict[str, Any]) -> None:
            if result["skipped"]:
                text = _("Files left out because they are not mammograms: {count}.")
                self.session.say(text.format(count=len(result["skipped"])), "warning")
            self._try(lambda: self._begin(source, reader, blind, [Path(image) for image in result["images"]]))

        self._reader.find(source, done, self._on_failed)
        self.changed.emit()

    def _begin(self, source: Path, reader: str, blind: bool, images: list[Path] | None) -> None:
        from MolSubCore.annotation.worklist import open_worklist

        self.worklist = open_worklist(source, reader.strip(), blind=blind, images=images)
        self.source, self.images = source, images
        self._show()

    def close(self) -> None:
        """Save and close; the image stays in the scene."""
        if self.worklist is not None:
            self.save()
            self.worklist.close()
        self._reader.forget()
        self.worklist, self.source, self.images = None, None, None
        self._volume, self._former, self._saved, self.conflict = None, None, None, ""
        self.changed.emit()

    def next(self) -> None:
        """Go to the next image."""
        self._move(lambda worklist: worklist.next())

    def previous(self) -> None:
        """Go to the image before."""
        self._move(lambda worklist: worklist.previous())

    def go_to(self, number: int) -> None:
        """Go to an image by its number, from 1."""
        self._move(lambda worklist: worklist.go_to(number))

    def first_undone(self) -> None:
        """Go to the first image that is not done."""

        def move(worklist: Worklist) -> None:
            entry = worklist.first_undone()
            if entry is None:
                self.session.say(_("All images are done."))
            else:
                worklist.go_to(entry.number)

        self._move(move)

    def _move(self, move: Callable[[Worklist], Any]) -> None:
        """Move, where what was outlined is safe; and show the image, where it is another one."""
        worklist = self.worklist
        if worklist is None or not self.save():
            return
        before = worklist.current.number
        self._try(lambda: move(worklist))
        if worklist.current.number != before or self.volume is None:
            self._show()
        else:
            self.changed.emit()

    def set_done(self, done: bool) -> None:
        """Mark the current image as done, once its mask is saved; without one it means: nothing to outline."""
        if not done or self.save():
            self._change(lambda worklist, number: worklist.set_done(number, done))

    def set_note(self, text: str) -> None:
        """Write a note on the current image."""
        self._change(lambda worklist, number: text == worklist.current.note or worklist.set_note(number, text))

    def set_subtype(self, subtype: str) -> None:
        """Say the current image's subtype; empty where it is not known."""
        self._change(lambda worklist, number: worklist.set_subtype(number, subtype))

    def _change(self, change: Callable[[Worklist, int], Any]) -> None:
        worklist = self.worklist
        if worklist is not None:
            self._try(lambda: change(worklist, worklist.current.number))
        self.changed.emit()

    def export(self, path: Path | None = None) -> Path | None:
        """Write the cohort table of all that is done; its path, or None where that fails."""
        worklist = self.worklist
        if worklist is None or not self.save():
            return None
        written: list[Path] = []
        self._try(lambda: written.append(worklist.export(path)))
        for target in written:
            self.session.say(_("The cohort table was written to {path}.").format(path=target))
            self.session.table_written.emit(target)
        return written[0] if written else None

    def take_file(self) -> None:
        """Of a conflict: the file in the mask's place becomes this reader's, and is shown."""
        if self.worklist is not None:
            self._change(lambda worklist, number: worklist.adopt(number))
            self._show()

    def take_outline(self) -> None:
        """Of a conflict: what is outlined here takes the file's place."""
        if self.worklist is not None:
            self._change(lambda worklist, number: worklist.adopt(number))
            self.conflict, self._saved = "", None
            self.save()

    def _show(self) -> None:
        """Read the current image and its mask; both are shown together, so that nobody outlines in between."""
        assert self.worklist is not None
        entry = self.worklist.current
        # What is on the screen is not the current image any more: it takes no stroke, and is never saved as its mask.
        self._former, self._volume = self.volume or self._former, None
        self.annotate.set_volume(None)
        self.conflict, self._saved = "", None
        lesions = (entry.mask,) if entry.has_mask else entry.given
        self._reader.read(entry.image, lesions, lambda facts, found: self._put(entry, facts, found), self._on_failed)
        self.changed.emit()

    def _put(self, entry: Entry, facts: dict[str, Any], found: Sequence[NDArray[np.uint8]]) -> None:
        if in_scene(self._former):
            self._former.SetName("")  # it goes at once: its name is free for the next one
        try:
            self._volume = Mammograms.add_mammogram(facts, source=str(entry.image))
            if found:
                Lesions.set_labels(Lesions.segmentation_for(self._volume), np.stack(found))
            Hanging.hang([self._volume])
        except SceneError as error:
            self.session.say(str(error), "error")
        self._remove_former()
        if not entry.has_mask and entry.mask.is_file():
            self._refuse(_("{name} is there already, and this worklist did not write it.").format(name=entry.mask.name))
        self._choose(self.volume)
        if self.volume is not None:
            self._saved = outline_of(self.volume)
            self._shown = Lesions.segmentation_for(self.volume, create=False)
        self.changed.emit()

    def _choose(self, volume: Any) -> None:
        self.session.parameters.mammogram = volume
        self.annotate.set_volume(volume)
        self.session.mammograms_changed.emit()

    def save(self) -> bool:
        """Save the current image's mask where it has changed; whether all that is outlined is safe."""
        self._timer.stop()
        if self.worklist is None or self.volume is None or self.busy:
            return True
        try:
            labels = outline_of(self.volume)
            if labels is None:  # its segmentation was removed: no wish to lose the mask
                return True
            if self._saved is not None and np.array_equal(labels, self._saved):
                return True
            if not labels.any() and Lesions.segmentation_for(self.volume, create=False) is not self._shown:
                return True  # an empty one took the place of one that was removed
            write_outline(labels, self.volume, self.worklist)
        except (ValueError, OSError) as error:
            self._refuse(str(error))
            return False
        self._saved, self.conflict = labels, ""
        self.changed.emit()
        return True

    def _refuse(self, text: str) -> None:
        self.conflict = text
        self.session.say(text, "error")
        self.changed.emit()

    def _on_lesions(self, volume: Any) -> None:
        if self.worklist is not None and volume is self.volume and not self.busy:
            self._timer.start()

    def _on_close(self, *_arguments: Any) -> None:
        self.save()
        self._reader.forget()
        self._volume = None

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removal(self, _caller: Any, _event: str, node: Any) -> None:
        if self._volume is not None and node in (self._volume, Lesions.segmentation_for(self._volume, create=False)):
            self.save()

    def _on_failed(self, message: str) -> None:
        self.session.say(message, "error")
        if self._former is not None:
            self._remove_former()
            self._choose(None)
        self.changed.emit()

    def _remove_former(self) -> None:
        former, self._former = self._former, None
        if in_scene(former):
            Mammograms.remove_mammogram(former)

    def _try(self, action: Callable[[], Any]) -> None:
        """Do it; an error of the core becomes a sentence in the panel."""
        try:
            action()
        except (ValueError, OSError) as error:
            self.session.say(str(error), "error")

    def cleanup(self) -> None:
        """Save, close, and let go of the scene."""
        self.close()
        for tag in self._tags:
            slicer.mrmlScene.RemoveObserver(tag)
        self.session.lesions_changed.disconnect(self._on_lesions)
