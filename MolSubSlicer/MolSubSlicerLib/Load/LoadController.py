"""Mammograms into the scene: found, read by the worker's one reader, shown; what is refused keeps its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from MolSubSlicerLib.Load import SceneVolumes
from MolSubSlicerLib.Scene import Hanging, Lesions, Mammograms, Patients, Predictions
from MolSubSlicerLib.Scene.Nodes import SceneError, in_scene
from MolSubSlicerLib.Signal import Signal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from MolSubCore.annotation.worklist import Worklist
    from MolSubSlicerLib.Session import JobHandle, Kind, Session


#: Where a spacing comes from: at the detector the breast is up to a tenth smaller than it seems.
_SOURCES = {
    "ImagerPixelSpacing": _("detector"),
    "ImagerPixelSpacing, magnification corrected": _("in the breast"),
    "PixelSpacing": _("calibrated"),
    "file header": _("file header"),
}
_PRESENTATIONS = {"FOR PRESENTATION": _("For Presentation"), "FOR PROCESSING": _("For Processing")}


@dataclass(frozen=True)
class ViewRow:
    """One mammogram of a table.

    Attributes
    ----------
    volume : vtkMRMLScalarVolumeNode
    cells : tuple of str
        The patient's letter (empty while there is one patient), side, view, pixel spacing with its source, vendor,
        notes in short.
    details : str
        Everything that the reader says of it, in sentences.
    """

    volume: Any
    cells: tuple[str, str, str, str, str, str]
    details: str


def view_row(volume: Any) -> ViewRow:
    """Describe a mammogram of the scene."""
    facts = Mammograms.facts_of(volume)
    warnings = [str(text) for text in facts.get("warnings", ())]
    notes = [_("Synthetic, not a patient.")] if facts.get("synthetic") else []
    if warnings:
        count = len(warnings)
        notes.append(warnings[0] if count == 1 else _("{count} warnings").format(count=count))
    size = _("{rows} × {columns} pixels").format(rows=facts.get("rows", "?"), columns=facts.get("columns", "?"))
    presentation = _PRESENTATIONS.get(str(facts.get("presentation")), "")
    source = (facts.get("spacing") or {}).get("source") or "unknown"
    spacing = _("spacing from {source}").format(source=source) if source != "unknown" else _("spacing unknown")
    file = Path(volume.GetAttribute("MolSub.SourceFile") or "").name
    parts = ", ".join(text for text in (file, size, presentation, spacing) if text)
    details = [f"{Patients.name_of(volume)}: {parts}.", *warnings]
    cells = (
        Patients.letter_of(volume),
        facts.get("laterality") or _("unknown"),
        facts.get("view") or _("unknown"),
        spacing_text(facts.get("spacing") or {}),
        facts.get("manufacturer") or _("unknown"),
        " ".join(notes),
    )
    return ViewRow(volume, cells, " ".join(details))


def spacing_text(spacing: dict[str, Any]) -> str:
    """Pixel spacing in mm and, in a word, where it comes from."""
    row, column = spacing.get("row_mm"), spacing.get("col_mm")
    if not row or not column:
        return _("unknown")
    size = f"{row:.3g}" if row == column else f"{row:.3g} × {column:.3g}"
    source = spacing.get("source")
    return f"{size} ({_SOURCES.get(source, source)})" if source else size


#: Milliseconds from a change of the scene to a look at it: one look for many nodes.
LOOK_AFTER = 100


@dataclass(frozen=True)
class Skipped:
    """A file that was not loaded, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class _Task:
    """An image to read; with the lesions outlined in `lesions`, and a note on where the pixels come from."""

    image: str
    lesions: str | None = None
    note: str | None = None


class LoadController:
    """What the Load panel does, without widgets.

    Attributes
    ----------
    changed : Signal
        (): the views, the skipped files, or how far the loading has come.
    skipped : list of Skipped
        Of the last loading.
    share : float or None
        How much of the loading is done, 0 to 1; None when nothing is being loaded.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.changed = Signal()
        self.skipped: list[Skipped] = []
        self.share: float | None = None
        self._tasks: list[_Task] = []
        self._total = 0
        self._loaded: list[Any] = []
        self._job: JobHandle | None = None
        self._turn = 0
        self._known: set[str] = set()
        self._look = qt.QTimer()
        self._look.setSingleShot(True)
        self._look.connect("timeout()", self._look_at_scene)
        scene = slicer.mrmlScene
        self._tags = [
            scene.AddObserver(event, self._on_scene) for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent)
        ]
        session.mammograms_changed.connect(self._on_mammograms)
        session.scene_closed.connect(self.stop)

    def cleanup(self) -> None:
        """Stop, and let go of the session."""
        self.stop()
        self._look.stop()
        for tag in self._tags:
            slicer.mrmlScene.RemoveObserver(tag)
        self.session.mammograms_changed.disconnect(self._on_mammograms)
        self.session.scene_closed.disconnect(self.stop)

    @property
    def busy(self) -> bool:
        """Whether something is being loaded."""
        return self.share is not None

    def views(self) -> list[ViewRow]:
        """The mammograms in the scene."""
        return [view_row(volume) for volume in Mammograms.mammograms()]

    # Loading

    def load(self, paths: Sequence[str]) -> None:
        """Load files, and the mammograms in folders."""
        if paths and self._start():
            options = {"paths": [str(path) for path in paths]}
            self._submit("find-images", options, self._found, lambda text: self._end(text, "error"))

    def load_sample(self, cases: Sequence[dict[str, str]] = ()) -> None:
        """Load the sample case; made anew where its files are not given.

        Parameters
        ----------
        cases : sequence of dict
            ``image`` and ``lesions``, as `SampleCase.cases_in` gives them.
        """
        if not self._start():
            return
        if cases:
            self._queue([_Task(case["image"], case["lesions"]) for case in cases])
            return
        options = {"out": str(self.session.new_folder("sample"))}
        self._submit(
            "sample-case", options, lambda result: self._queue_sample(result), lambda text: self._end(text, "error")
        )

    def take_over(self) -> None:
        """Read the volumes of `SceneVolumes.others` again, from their files where there are any, as mammograms."""
        others = SceneVolumes.others()
        if not others or not self._start():
            return
        tasks = []
        for volume in others:
            file = SceneVolumes.file_of(volume)
            files = SceneVolumes.database_files(volume) or ([file] if file and Path(file).is_file() else [])
            if files:
                tasks += [_Task(path) for path in files]
                continue
            try:
                path, note = Mammograms.source_of(volume, self.session.new_folder("voxels"))
            except SceneError as error:
                self.skipped.append(Skipped(volume.GetName(), str(error)))
                continue
            volume.SetAttribute(SceneVolumes.TAKEN_OVER, "yes")
            tasks.append(_Task(path, note=note))
        self._queue(tasks)

    def stop(self) -> None:
        """Give up what is still to be loaded; what is loaded stays."""
        job = self._job
        if self.busy:
            self._end(_("Loading was stopped."), "info")
        if job is not None:
            job.cancel()

    # The scene

    def choose(self, volume: Any) -> None:
        """Make a mammogram the one that the other panels work on; one that is not seen is hung, with its patient's."""
        if in_scene(volume) and self.session.parameters.mammogram is not volume:
            self.session.parameters.mammogram = volume
            if not Hanging.views_of(volume):
                self.hang()
            self.session.mammograms_changed.emit()

    def hang(self, volumes: Sequence[Any] = ()) -> None:
        """Show the given mammograms side by side; without any up to four of the chosen one's patient."""
        shown = [volume for volume in volumes if in_scene(volume)] or self._of_one_patient()
        try:
            Hanging.hang(shown)
        except SceneError as error:
            self.session.say(str(error), "error")
            return
        if len(Patients.groups(shown)) > 1:
            names = ", ".join(map(Patients.name_of, shown))
            text = _("These images are not known to be of one patient: {names}.")
            self.session.say(text.format(names=names), "warning")

    def _of_one_patient(self) -> list[Any]:
        """The first four mammograms of one patient: the chosen one's, and that one among them."""
        chosen, everything = self.session.parameters.mammogram, Mammograms.mammograms()
        if not in_scene(chosen) and everything:
            chosen = everything[0]
        return Patients.views_with(chosen, Hanging.MOST) if in_scene(chosen) else []

    def fit(self) -> None:
        """Fit the hung views again, at one scale."""
        if not Hanging.fit_views():
            self.session.say(_("No view is hung in this layout. Hang the views first."), "warning")

    def remove(self, volumes: Sequence[Any]) -> None:
        """Remove mammograms from the scene, with all that belongs to them."""
        for volume in volumes:
            if in_scene(volume):
                Mammograms.remove_mammogram(volume)
        self.session.mammograms_changed.emit()

    def _on_scene(self, *_args: Any) -> None:
        self._look.start(LOOK_AFTER)

    def _look_at_scene(self) -> None:
        """Tell of volumes that came or went without this module: from the DICOM browser, or removed by hand."""
        if _nodes_of_scene() == self._known:
            return
        new = [volume for volume in Mammograms.mammograms() if volume.GetID() not in self._known]
        chosen = self.session.parameters.mammogram
        if new and not self.busy and not (in_scene(chosen) and Patients.are_together(chosen, new[0])):
            self.session.parameters.mammogram = new[0]  # what came last is what is looked at
        self.session.mammograms_changed.emit()

    def _on_mammograms(self) -> None:
        self._known = _nodes_of_scene()
        self.changed.emit()

    # Steps of a loading

    def _start(self) -> bool:
        if self.busy:
            self.session.say(_("Something is being loaded. Wait for its end, or cancel it."), "warning")
            return False
        self.skipped, self._loaded, self.share = [], [], 0.0
        self.changed.emit()
        return True

    def _submit(self, job: str, options: dict[str, Any], done: Any, failed: Any) -> None:
        turn = self._turn

        def current(function: Callable[..., None]) -> Callable[..., None]:
            """The function, deaf once this loading has ended: a stopped job still tells of its end."""
            return lambda *arguments: function(*arguments) if turn == self._turn else None

        def cancelled() -> None:
            self._end(_("Loading was stopped."), "info")

        self._job = self.session.submit(
            job, options, done=current(done), failed=current(failed), cancelled=current(cancelled)
        )

    def _found(self, result: dict[str, Any]) -> None:
        self.skipped = [Skipped(each["path"], each["reason"]) for each in result["skipped"]]
        self._queue([_Task(path) for path in result["images"]])

    def _queue_sample(self, result: dict[str, Any]) -> None:
        self._queue([_Task(case["image"], case["lesions"]) for case in result["cases"]])

    def _queue(self, tasks: list[_Task]) -> None:
        self._tasks, self._total = tasks, max(len(tasks), 1)
        self._next()

    def _next(self) -> None:
        self.share = 1 - len(self._tasks) / self._total
        if not self._tasks:
            self._finish()
            return
        self.changed.emit()
        task = self._tasks.pop(0)
        if SceneVolumes.loaded_from(task.image):
            self._skip(task, _("It is already in the scene."))
            return
        options = {"path": task.image, "out": str(self.session.new_folder("image"))}
        self._submit("read-image", options, lambda result: self._add(task, result), lambda text: self._skip(task, text))

    def _skip(self, task: _Task, reason: str) -> None:
        self.skipped.append(Skipped(task.image, reason))
        self._next()

    def _add(self, task: _Task, facts: dict[str, Any]) -> None:
        if SceneVolumes.loaded_as(facts.get("sop_instance_uid")):
            self._skip(task, _("It is already in the scene."))
            return
        if task.note:
            facts = {**facts, "warnings": [*facts["warnings"], task.note]}
        try:
            volume = Mammograms.add_mammogram(facts, source=task.image)
        except SceneError as error:
            self._skip(task, str(error))
            return
        self._loaded.append(volume)
        if task.lesions is None:
            self._next()
            return
        options = {"image": task.image, "lesions": task.lesions, "out": str(self.session.new_folder("lesions"))}
        self._submit(
            "read-lesions",
            options,
            lambda result: self._outline(volume, result),
            lambda text: self._skip(_Task(task.lesions or ""), text),
        )

    def _outline(self, volume: Any, result: dict[str, Any]) -> None:
        if in_scene(volume):
            Lesions.set_labels(Lesions.segmentation_for(volume), np.load(result["labels"], allow_pickle=False))
            self.session.lesions_changed.emit(volume)
        self._next()

    def _finish(self) -> None:
        there = [volume for volume in self._loaded if in_scene(volume)]
        chosen = self.session.parameters.mammogram
        if there:
            if not in_scene(chosen) or not Patients.are_together(chosen, there[0]):
                chosen = self.session.parameters.mammogram = there[0]
            ours = Patients.of_patient(chosen)
            self.hang(ours if len(ours) <= Hanging.MOST else [each for each in there if each in ours][: Hanging.MOST])
        text = _("{count} views loaded.").format(count=len(there)) if len(there) != 1 else _("One view loaded.")
        if len(self.skipped) == 1:
            text += " " + _("One was not: see the list for the reason.")
        elif self.skipped:
            text += " " + _("{count} were not: see the list for the reasons.").format(count=len(self.skipped))
        notes = _whose(there)
        self._end(" ".join([text, *notes]), "warning" if notes or (self.skipped and not there) else "info")

    def _end(self, text: str, kind: Kind) -> None:
        self.share, self._job, self._tasks = None, None, []
        self._turn += 1
        self.session.say(text, kind)
        self.session.mammograms_changed.emit()


def _whose(loaded: Sequence[Any]) -> list[str]:
    """What must be said of whose the images are that were just loaded."""
    found, count = [], len(Patients.groups())
    if loaded and count > 1:
        text = _("There are images of {count} patients, A to {last}: those of {own} are hung. Choose another's in the ")
        text += _("table to see them.")
        last = Patients.letter_of(Patients.groups()[-1][0])
        found.append(text.format(count=count, last=last, own=Patients.letter_of(loaded[0])))
    if unknown := [Patients.name_of(v) for v in loaded if v.GetAttribute("MolSub.SpacingSource") in (None, "unknown")]:
        text = _("The pixel spacing of {names} is unknown: Slicer's rulers count a pixel as 1 mm there.")
        found.append(text.format(names=", ".join(unknown)))
    if any(Patients.unproven(group) for group in Patients.groups(loaded)):
        found.append(_("The files do not say whose they are: make sure that those of one folder are of one patient."))
    return found


def _nodes_of_scene() -> set[str]:
    """Identifiers of what is looked at: mammograms, what may be some, and predictions."""
    return {node.GetID() for node in [*Mammograms.mammograms(), *SceneVolumes.others(), *Predictions.stored()]}


#: Facts of the image, and a label map for each file of lesions.
Done = Callable[[dict[str, Any], "list[NDArray[np.uint8]]"], None]


class CaseReader:
    """Reads one case after another; of a case that is not wanted any more nothing is heard.

    Attributes
    ----------
    busy : bool
        Whether a case is being read.
    """

    def __init__(self, session: Session) -> None:
        self.session, self.busy, self._turn = session, False, 0

    def forget(self) -> None:
        """Nothing that was asked for is wanted any more."""
        self._turn += 1
        self.busy = False

    def find(self, folder: Path, done: Callable[[dict[str, Any]], None], failed: Callable[[str], None]) -> None:
        """Find the mammograms in a folder."""
        self._submit("find-images", {"path": str(folder)}, self._begin(), done, failed)

    def read(self, image: Path, lesions: Sequence[Path | str], done: Done, failed: Callable[[str], None]) -> None:
        """Read an image, then its files and boxes of lesions; of those, what cannot be read is told and left out."""
        turn = self._begin()
        options = {"path": str(image), "out": str(self.session.new_folder("image"))}

        def next_lesions(facts: dict[str, Any], waiting: Sequence[Path | str], found: list[NDArray[np.uint8]]) -> None:
            if not waiting:
                self.busy = False
                done(facts, found)
                return
            self.busy = True

            def one_read(result: dict[str, Any]) -> None:
                for text in result["warnings"]:
                    self.session.say(text, "warning")
                next_lesions(facts, waiting[1:], [*found, np.load(result["labels"])])

            def one_failed(message: str) -> None:
                self.session.say(message, "error")
                next_lesions(facts, waiting[1:], found)

            out = str(self.session.new_folder("lesions"))
            wanted = {"image": str(image), "lesions": str(waiting[0]), "out": out}
            self._submit("read-lesions", wanted, turn, one_read, one_failed)

        self._submit("read-image", options, turn, lambda facts: next_lesions(facts, lesions, []), failed)

    def _begin(self) -> int:
        self._turn += 1
        self.busy = True
        return self._turn

    def _submit(
        self,
        job: str,
        options: dict[str, Any],
        turn: int,
        done: Callable[[dict[str, Any]], None],
        failed: Callable[[str], None],
    ) -> None:
        def only_now(call: Callable[[Any], None]) -> Callable[[Any], None]:
            def answer(value: Any) -> None:
                if turn == self._turn:
                    self.busy = False
                    call(value)

            return answer

        gone = only_now(failed)
        self.session.submit(
            job, options, done=only_now(done), failed=gone, cancelled=lambda: gone(_("The reading was cancelled."))
        )


def outline_of(volume: Any) -> NDArray[np.uint8] | None:
    """The label map of what is outlined now; all 0 where nothing is, None where there is no segmentation.

    Raises
    ------
    SceneError
        If the lesions lie on another grid, or one covers another whole.
    """
    segmentation = Lesions.segmentation_for(volume, create=False)
    if segmentation is None:
        return None
    if not Lesions.lesion_segments(segmentation):
        return np.zeros(Mammograms.pixels_of(volume).shape, np.uint8)
    return Lesions.labels_of(segmentation, volume)


def write_outline(labels: NDArray[np.uint8], volume: Any, worklist: Worklist) -> None:
    """Write the current image's mask in place of the former one; where nothing is outlined, there is none.

    Raises
    ------
    CohortError
        If a file that this worklist did not write is in the way.
    SceneError
        If the disk refuses.
    """
    entry = worklist.current
    if labels.any():
        with worklist.writing(entry.number) as path:
            Lesions.write_mask(labels, volume, path)
    elif entry.has_mask:
        worklist.remove_mask(entry.number)


def stage_text(values: Mapping[str, Any]) -> str:
    """What a job's progress says it is doing."""
    known = {
        "loading PyTorch": _("Loading PyTorch"),
        "loading model": _("Loading the model"),
        "reading": _("Reading the images"),
        "predicting": _("Predicting"),
        "writing": _("Writing the results"),
    }
    stage = str(values.get("stage") or "")
    return known.get(stage, stage)
