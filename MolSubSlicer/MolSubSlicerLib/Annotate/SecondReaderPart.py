"""The second reader in the Annotate panel: agreement of two readers, and their consensus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat

if TYPE_CHECKING:
    from MolSubSlicerLib.Annotate.SecondReaderController import SecondReaderController
    from MolSubSlicerLib.Session import Session


class SecondReaderPart:
    """Widgets of the comparison of two readers."""

    def __init__(self, session: Session, controller: SecondReaderController) -> None:
        self.session, self.controller = session, controller
        self.widget, self.ui = Compat.load_ui("SecondReaderPart")
        for text, rule in (
            (_("Union: what either has outlined"), "union"),
            (_("First reader's outline"), "first"),
            (_("Second reader's outline"), "second"),
            (_("Intersection: what both have outlined"), "intersection"),
        ):
            self.ui.ruleBox.addItem(text, rule)
        self._readers: list[str] = []
        self.ui.compareButton.connect("clicked()", lambda: self._compare(""))
        self.ui.consensusButton.connect("clicked()", self.on_consensus)
        self.ui.firstBox.connect("activated(int)", lambda index: self.refresh())
        self.ui.secondBox.connect("activated(int)", lambda index: self.refresh())
        controller.changed.connect(self.refresh)
        self.refresh()

    def cleanup(self) -> None:
        """Let go of the controller."""
        self.controller.changed.disconnect(self.refresh)
        self.controller.close()

    def on_consensus(self) -> None:
        """Compare, and write the consensus by the chosen rule."""
        self._compare(str(self.ui.ruleBox.itemData(self.ui.ruleBox.currentIndex)))

    def _compare(self, rule: str) -> None:
        self.controller.compare(self.ui.firstBox.currentText, self.ui.secondBox.currentText, rule)

    def refresh(self) -> None:
        """Show the readers and what came of the comparison."""
        readers = self.controller.readers()
        if readers != self._readers:
            self._fill_readers(readers)
        first, second = self.ui.firstBox.currentText, self.ui.secondBox.currentText
        ready = bool(first and second) and first != second and not self.controller.busy
        self.ui.compareButton.enabled = self.ui.consensusButton.enabled = ready
        self.ui.summaryLabel.text = self._summary(len(readers))
        self._fill_table()

    def _fill_readers(self, readers: list[str]) -> None:
        self._readers = readers
        for number, box in enumerate((self.ui.firstBox, self.ui.secondBox)):
            kept = box.currentText
            box.clear()
            for reader in readers:
                box.addItem(reader)
            box.currentIndex = readers.index(kept) if kept in readers else min(number, len(readers) - 1)

    def _summary(self, readers: int) -> str:
        controller, summary = self.controller, self.controller.summary
        if controller.busy:
            return _("Comparing…")
        if not summary:
            if not controller.worklist.source:
                return _("Open the worklist that both have read.")
            return "" if readers > 1 else _("This worklist has one reader so far.")
        both = _("{both} of {images} images were outlined by both.")
        lines = [both.format(both=summary["both"], images=summary["images"])]
        for key, name in (
            ("dice", _("Dice {value}")),
            ("hausdorff_mm", _("Hausdorff distance {value} mm")),
            ("hausdorff_px", _("Hausdorff distance {value} px")),
            ("box_iou", _("Box IoU {value}")),
            ("box_kappa", _("Box kappa {value}")),
        ):
            if key in summary:
                lines.append(name.format(value=_quartiles(summary[key])))
        if controller.consensus is not None:
            lines.append(_("Consensus: {path}").format(path=controller.consensus))
        return "\n".join(lines)

    def _fill_table(self) -> None:
        table, controller = self.ui.pairTable, self.controller
        table.setRowCount(len(controller.items))
        table.visible = bool(controller.items)
        for row, (pair, item) in enumerate(zip(controller.pairs, controller.items, strict=True)):
            for column, text in enumerate((pair.image.name, *_cells(item))):
                table.setItem(row, column, qt.QTableWidgetItem(text))


def _quartiles(value: dict[str, float]) -> str:
    text = _("{median:.2f} (median; quartiles {low:.2f} to {high:.2f})")
    return text.format(**{name: value[name] for name in ("median", "low", "high")})


def _cells(item: dict[str, Any]) -> tuple[str, str, str, str]:
    if "only" in item:
        who = {
            "first": _("outlined by the first only"),
            "second": _("outlined by the second only"),
            "neither": _("outlined by neither"),
        }[item["only"]]
        return who, "", "", ""
    kappa = _("undefined") if item["box_kappa"] is None else f"{item['box_kappa']:.3f}"
    distance = f"{item['hausdorff']:.1f} {item['unit']}"
    return f"{item['dice']:.3f}", distance, f"{item['box_iou']:.3f}", kappa
