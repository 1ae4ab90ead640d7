"""Two readers' outlines compared, and the consensus of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MolSubSlicerLib.Signal import Signal

if TYPE_CHECKING:
    from MolSubCore.annotation.second_reader import Pair
    from MolSubSlicerLib.Annotate.WorklistController import WorklistController
    from MolSubSlicerLib.Session import Session


class SecondReaderController:
    """What becomes of two readers, without widgets. Nobody sees anything of both before both have done all.

    Attributes
    ----------
    changed : Signal
        (): another list, a comparison, or its result.
    pairs : list of Pair
        The images that were compared, empty before.
    items : list of dict
        The result for each, as the worker's job `agreement` gives it.
    summary : dict
        Medians and quartiles over the images that both outlined.
    busy : bool
    consensus : Path or None
        The cohort table of the last consensus.
    """

    def __init__(self, session: Session, worklist: WorklistController) -> None:
        self.session, self.worklist, self.changed = session, worklist, Signal()
        self._source: Path | None = None
        self._turn = 0
        self._clear()
        worklist.changed.connect(self._on_worklist)

    def _clear(self) -> None:
        self._turn += 1
        self.pairs: list[Pair] = []
        self.items: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.busy = False
        self.consensus: Path | None = None

    def _on_worklist(self) -> None:
        if self._source != self.worklist.source:
            self._source = self.worklist.source
            self._clear()
        self.changed.emit()

    def readers(self) -> list[str]:
        """Names of those who have a worklist over the open source."""
        from MolSubCore.annotation.worklist import readers

        return readers(self.worklist.source) if self.worklist.source else []

    def compare(self, first: str, second: str, rule: str = "") -> None:
        """Compare two readers, and where a rule is given write their consensus.

        Parameters
        ----------
        first, second : str
            Names of readers who have done all images of the source.
        rule : {'', 'first', 'second', 'union', 'intersection'}
        """
        from MolSubCore.annotation.second_reader import pairs

        source = self.worklist.source
        if source is None:
            self.session.say(_("No worklist is open. Open the one that both have read."), "error")
            return
        if not self.worklist.save():
            return
        self._clear()
        self.changed.emit()
        try:
            found = pairs(source, first, second, images=self.worklist.images)
        except (ValueError, OSError) as error:
            self.session.say(str(error), "error")
            return
        folder = self._new_folder(rule, first, second) if rule else None
        wanted = [_options(pair, folder) for pair in found]
        self._submit(found, wanted, rule, folder)

    def _submit(self, found: list[Pair], wanted: list[dict[str, Any]], rule: str, folder: Path | None) -> None:
        turn, self.busy = self._turn, True

        def done(result: dict[str, Any]) -> None:
            if turn != self._turn:
                return
            self.busy, self.pairs, self.items, self.summary = False, found, result["items"], result["summary"]
            if folder is not None:
                self._write_table(folder)
            self.changed.emit()

        def failed(message: str) -> None:
            if turn == self._turn:
                self.busy = False
                self.session.say(message, "error")
                self.changed.emit()

        options: dict[str, Any] = {"pairs": wanted}
        if rule:
            options["consensus"] = rule
        self.session.submit("agreement", options, done=done, failed=failed)
        self.changed.emit()

    def _new_folder(self, rule: str, first: str, second: str) -> Path:
        """A folder beside the readers' that is not there yet: no consensus is ever written over."""
        source = self.worklist.source
        assert source is not None
        name = {"first": first, "second": second}.get(rule, rule)
        place = (source if source.is_dir() else source.parent) / "masks"
        number, folder = 1, place / f"consensus-{name}"
        while folder.exists():
            number += 1
            folder = place / f"consensus-{name}-{number}"
        return folder

    def _write_table(self, folder: Path) -> None:
        """The cohort table of the consensus: rows of the open worklist with the consensus masks."""
        from MolSubCore.annotation.worklist import read_source, table_text
        from MolSubCore.files import write_text

        worklist, source = self.worklist.worklist, self.worklist.source
        if worklist is None or source is None:
            return
        extra = {item.image: item.extra for item in read_source(source, self.worklist.images)[1]}
        both = zip(self.pairs, self.items, strict=True)
        masks = {pair.image: Path(item["consensus"]) for pair, item in both if item.get("consensus")}
        rows = [
            (replace(entry, mask=masks[entry.image], has_mask=True, given=()), extra[entry.image])
            for entry in worklist.entries
            if entry.image in masks
        ]
        try:
            target = folder / "cohort.csv"
            write_text(target, table_text(target, rows))
            self.consensus = target
            apart = sum("consensus_problem" in item for item in self.items)
            text = _("The consensus was written to {path}.").format(path=self.consensus)
            if apart:
                text += " " + _("Images without one, as the outlines have no pixel in common: {count}.").format(
                    count=apart
                )
            self.session.say(text, "warning" if apart else "info")
        except (ValueError, OSError) as error:
            self.session.say(str(error), "error")

    def close(self) -> None:
        """Let go of the worklist."""
        self.worklist.changed.disconnect(self._on_worklist)


def _options(pair: Pair, folder: Path | None) -> dict[str, Any]:
    masks = {name: str(mask) if mask else None for name, mask in (("first", pair.first), ("second", pair.second))}
    options: dict[str, Any] = {"image": str(pair.image), **masks}
    mask = pair.first or pair.second
    if folder is not None and mask is not None:
        options["out"] = str(folder / mask.name)
    return options
