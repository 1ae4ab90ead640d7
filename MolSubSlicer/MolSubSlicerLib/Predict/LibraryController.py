"""The model library: what is in it, which model is chosen, import and export."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MolSubSlicerLib.Predict.ModelCard import Model
from MolSubSlicerLib.Signal import Signal

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import JobHandle, Session

_CHECKPOINTS = (".pth", ".pt")


class LibraryController:
    """What the model part of the Predict panel does, without widgets.

    Attributes
    ----------
    changed : Signal
        (): the models, the choice or a running job changed.
    added : Signal
        (): a model came into the library.
    models : tuple of Model
    problems : tuple of str
        Files in the library that are no readable bundle, a sentence each.
    doing : str
        What is being done now, for the user; empty when nothing is.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.changed, self.added = Signal(), Signal()
        self.models: tuple[Model, ...] = ()
        self.problems: tuple[str, ...] = ()
        self.doing = ""
        self._told = ""
        self._listed = False
        self._listing: JobHandle | None = None
        self._job: JobHandle | None = None
        session.library_changed.connect(self.refresh)
        session.parameters_changed.connect(self._on_parameters)

    def cleanup(self) -> None:
        """Let go of the session."""
        self.session.library_changed.disconnect(self.refresh)
        self.session.parameters_changed.disconnect(self._on_parameters)

    @property
    def listed(self) -> bool:
        """Whether the library was looked into, and is not being looked into now."""
        return self._listed and self._listing is None

    @property
    def chosen(self) -> Model | None:
        """The chosen model; None where there is none, or where it is not in the library."""
        return self._named(self.session.parameters.bundle)

    @property
    def missing(self) -> str:
        """The file name of a model that the scene remembers and the library lacks; empty otherwise."""
        name = self.session.parameters.bundle
        return name if name and self.listed and self._named(name) is None else ""

    def choose(self, file_name: str) -> None:
        """Choose a model by its file name."""
        if file_name != self.session.parameters.bundle:
            self.session.parameters.bundle = file_name
        self._tell()

    def find(self, sha256: Sequence[str]) -> Model | None:
        """The model with these weights, under whatever name."""
        return next((model for model in self.models if model.sha256 == list(sha256)), None)

    def refresh(self) -> None:
        """Look into the library again."""

        def done(result: dict[str, Any]) -> None:
            if self._listing is not handle:
                return  # another folder was chosen meanwhile
            self._listing, self._listed = None, True
            self.models = tuple(Model(Path(entry["path"]), entry["card"]) for entry in result["bundles"])
            self.problems = tuple(entry["problem"] for entry in result["problems"])
            self._on_parameters()

        def failed(message: str) -> None:
            self._listing = None
            self.session.say(message, "error")
            self._tell()

        handle = self._listing = self.session.submit(
            "library-list", {"folder": str(self.session.library)}, done=done, failed=failed
        )

    def add(
        self, source: str, *, task: str, architecture: str, class_order: Sequence[str] | None = None, name: str = ""
    ) -> None:
        """Put a model into the library.

        Parameters
        ----------
        source : str
            A published checkpoint (``.pth``, ``.pt``), or a bundle.
        task, architecture : str
            Of a checkpoint.
        class_order : sequence of str, optional
            Of a checkpoint: the classes in the order of its logits; by default as published.
        name : str
            By default the source's.
        """
        path = Path(source.strip())
        if self._job is not None or not source.strip():
            self.session.say(_("Choose the file of a model first."), "warning")
            return
        stem = re.sub(r"[^\w.+ -]", "_", (name.strip() or path.stem)).strip(" .") or "model"
        out = self.session.library / f"{stem.removesuffix('.molsub')}.molsub"
        if is_checkpoint(source):
            options: dict[str, Any] = {
                "checkpoint": str(path),
                "task": task,
                "architecture": architecture,
                "out": str(out),
            }
            options |= {"class_order": list(class_order)} if class_order else {}
            self._run("import-checkpoint", options, _("Importing {name}…").format(name=path.name), self._added)
        else:
            options = {"bundle": str(path), "out": str(out)}
            self._run("export-bundle", options, _("Checking and copying {name}…").format(name=path.name), self._added)

    def export(self, folder: str) -> None:
        """Copy the chosen model into a folder, each part checked."""
        model = self.chosen
        if model is None or self._job is not None:
            return
        out = Path(folder) / f"{model.name}.molsub"

        def done(result: dict[str, Any]) -> None:
            self.session.say(_("{name} was written to {folder}.").format(name=out.name, folder=out.parent))

        options = {"bundle": str(model.path), "out": str(out)}
        self._run("export-bundle", options, _("Exporting {name}…").format(name=model.name), done)

    def _added(self, result: dict[str, Any]) -> None:
        name = Path(result["path"]).name
        self.session.parameters.bundle = name
        self.session.say(_("{name} is in the library now.").format(name=name))
        self.added.emit()
        self.session.library_changed.emit()

    def _run(self, job: str, options: dict[str, Any], doing: str, done: Any) -> None:
        def end(then: Any, *values: Any) -> None:
            self._job, self.doing = None, ""
            then(*values)
            self._tell()

        self.doing = doing
        self._job = self.session.submit(
            job,
            options,
            done=lambda result: end(done, result),
            failed=lambda message: end(self.session.say, message, "error"),
            cancelled=lambda: end(lambda: None),
        )
        self._tell()

    def _named(self, file_name: str) -> Model | None:
        return next((model for model in self.models if model.file_name == file_name), None)

    def _on_parameters(self) -> None:
        """Other parameters, or another list: where none is chosen, the first one is, as the list shows."""
        if self.models and not self.session.parameters.bundle:
            self.session.parameters.bundle = self.models[0].file_name
        self._tell()

    def _tell(self) -> None:
        self.changed.emit()
        path = str(self.chosen.path) if self.chosen else ""
        if path != self._told:
            self._told = path
            self.session.model_changed.emit(path)


def is_checkpoint(source: str) -> bool:
    """Whether a file is a checkpoint, which needs a task and an architecture to become a bundle."""
    return source.strip().lower().endswith(_CHECKPOINTS)
