"""The part of the Predict panel that chooses, shows, imports and exports models."""

from __future__ import annotations

import html
import itertools
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib.Predict.LibraryController import LibraryController, is_checkpoint
from MolSubSlicerLib.Predict.ModelCard import Model, card_rows
from MolSubSlicerLib.Widgets import show_notes

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session

#: More orders than these are not offered: five classes have 120.
_MOST_ORDERS = 6


class ModelPart:
    """Widgets of the model library, all of them children of the Predict panel's."""

    def __init__(self, session: Session, library: LibraryController, widget: Any, ui: Any) -> None:
        self.session, self.library, self.widget, self.ui = session, library, widget, ui
        self._filling = False
        self._orders: list[tuple[str, ...] | None] = [None]
        self._enabled = True
        for frame in (ui.importFrame, ui.cardBrowser, ui.libraryStateLabel):
            frame.visible = False
        self._fill_choices()
        ui.modelCombo.connect("currentIndexChanged(int)", self._on_model)
        ui.cardButton.connect("toggled(bool)", self._on_card)
        ui.importButton.connect("toggled(bool)", self._on_import)
        ui.importCloseButton.connect("clicked()", lambda: ui.importButton.setChecked(False))
        ui.importNowButton.connect("clicked()", self._on_import_now)
        ui.importPathEdit.connect("currentPathChanged(QString)", lambda path: self._show_import())
        ui.importTaskCombo.connect("currentIndexChanged(int)", lambda index: self._fill_orders())
        ui.exportButton.connect("clicked()", self._on_export)
        library.changed.connect(self.refresh)
        library.added.connect(self._on_added)
        self.refresh()

    def cleanup(self) -> None:
        """Let go of the library."""
        self.library.changed.disconnect(self.refresh)
        self.library.added.disconnect(self._on_added)

    def enable(self, enabled: bool) -> None:
        """Let the user change the model, or not while it works."""
        self._enabled = enabled
        self._show_enabled()

    def refresh(self) -> None:
        """Show the library and the chosen model."""
        models, chosen, missing = self.library.models, self.library.chosen, self.library.missing
        self._filling = True
        combo = self.ui.modelCombo
        combo.clear()
        for model in models:
            combo.addItem(model.name)
        if not models:
            combo.addItem(_("The library is empty: import a model"))
        if missing and models:
            combo.addItem(_("{name} (not in the library)").format(name=missing))
        names = [model.file_name for model in models]
        index = names.index(chosen.file_name) if chosen else len(models) if missing and models else 0
        combo.setCurrentIndex(index)
        self._filling = False
        self._show_model(chosen)
        notes = [self.library.doing] if self.library.doing else []
        show_notes(self.ui.libraryStateLabel, notes or self.library.problems, "info" if notes else "warning")
        self._show_enabled()

    def _show_enabled(self) -> None:
        chosen, idle = self.library.chosen, self._enabled and not self.library.doing
        self.ui.modelCombo.enabled = idle and bool(self.library.models)
        self.ui.cardButton.enabled = chosen is not None
        self.ui.exportButton.enabled = idle and chosen is not None
        self.ui.importNowButton.enabled = idle

    def _show_model(self, model: Model | None) -> None:
        self.ui.modelSummaryLabel.visible = model is not None
        show_notes(self.ui.modelCautionLabel, model.cautions() if model else ())
        if model is None:
            self.ui.cardButton.setChecked(False)
            return
        self.ui.modelSummaryLabel.text = model.summary()
        self.ui.cardBrowser.setHtml(card_html(model))

    def _on_model(self, index: int) -> None:
        if not self._filling and 0 <= index < len(self.library.models):
            self.library.choose(self.library.models[index].file_name)

    def _on_card(self, shown: bool) -> None:
        self.ui.cardBrowser.visible = bool(shown)

    def _on_import(self, shown: bool) -> None:
        self.ui.importFrame.visible = bool(shown)
        self._show_import()

    def _on_import_now(self) -> None:
        from MolSubCore.models.registry import ARCHITECTURES
        from MolSubCore.tasks import PAPER_TASKS

        self.library.add(
            self.ui.importPathEdit.currentPath,
            task=PAPER_TASKS[self.ui.importTaskCombo.currentIndex],
            architecture=list(ARCHITECTURES)[self.ui.importArchitectureCombo.currentIndex],
            class_order=self._orders[self.ui.importOrderCombo.currentIndex],
            name=self.ui.importNameEdit.text,
        )

    def _on_added(self) -> None:
        """Put the form away, empty."""
        self.ui.importPathEdit.currentPath = ""
        self.ui.importNameEdit.text = ""
        self.ui.importButton.setChecked(False)

    def _on_export(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.widget, _("Export the model into a folder"))
        if folder:
            self.library.export(folder)

    def _fill_choices(self) -> None:
        from MolSubCore.models.registry import ARCHITECTURES
        from MolSubCore.tasks import PAPER_TASKS, TASKS
        from MolSubCore.training.plan import DEFAULT_ARCHITECTURE

        for task in PAPER_TASKS:
            self.ui.importTaskCombo.addItem(_(TASKS[task].title))
        for architecture in ARCHITECTURES.values():
            self.ui.importArchitectureCombo.addItem(architecture.title)
        self.ui.importArchitectureCombo.setCurrentIndex(list(ARCHITECTURES).index(DEFAULT_ARCHITECTURE))
        self._fill_orders()

    def _fill_orders(self) -> None:
        from MolSubCore.tasks import PAPER_TASKS, TASKS

        classes = TASKS[PAPER_TASKS[self.ui.importTaskCombo.currentIndex]].classes
        orders = list(itertools.islice(itertools.permutations(classes), _MOST_ORDERS + 1))
        self._orders = [None, *(orders if len(orders) <= _MOST_ORDERS else ())]
        self.ui.importOrderCombo.clear()
        self.ui.importOrderCombo.addItem(_("As published"))
        for order in self._orders[1:]:
            self.ui.importOrderCombo.addItem(", ".join(order or ()))

    def _show_import(self) -> None:
        needed = is_checkpoint(self.ui.importPathEdit.currentPath) or not self.ui.importPathEdit.currentPath
        for combo in (self.ui.importTaskCombo, self.ui.importArchitectureCombo, self.ui.importOrderCombo):
            combo.enabled = needed


def card_html(model: Model) -> str:
    """The model's card as a table."""
    rows = "".join(
        f'<tr><td style="padding: 2px 10px 2px 0px;"><b>{html.escape(title)}</b></td>'
        f'<td style="padding: 2px 0px;">{html.escape(text)}</td></tr>'
        for title, text in card_rows(model)
    )
    return f"<table>{rows}</table>"
