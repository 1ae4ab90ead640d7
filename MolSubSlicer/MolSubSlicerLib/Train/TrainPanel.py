"""The Train panel: a model of one's own, from a cohort table, with its curves while it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Train.CurveChart import CurveChart, Curves
from MolSubSlicerLib.Train.TrainController import TrainController, evaluation_html, progress_words, state_words
from MolSubSlicerLib.Widgets import ResizeFilter, show_notes

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session

_DEVICES, _WEIGHTS = ("auto", "cpu", "cuda"), ("none", "auto")
#: Settings that have widgets of their own; the others are rows of text.
_IN_FORM = ("architecture", "device", "epochs", "folds")
_SHOWN_PROBLEMS = 12


class TrainPanel:
    """Widgets of a training."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.title = _("Train")
        self.controller = TrainController(session)
        self.widget, self.ui = Compat.load_ui("TrainPanel")
        self.chart = CurveChart(self.ui.curvesLabel)
        self._figure = ResizeFilter(self.ui.figureLabel, self._show_figure)
        self._fold = 0  # 0: the one that is being trained
        self._result: dict[str, Any] | None = None
        self._settings: dict[str, Any] = {}
        self._fill()
        self._connect()
        self.show()

    def _fill(self) -> None:
        from MolSubCore.models.registry import ARCHITECTURES
        from MolSubCore.tasks import TASKS
        from MolSubCore.training.plan import DEFAULT_ARCHITECTURE, SETTINGS

        ui = self.ui
        settings = {setting.name: setting for setting in SETTINGS}
        for name, spin in (("epochs", ui.epochsSpin), ("folds", ui.foldsSpin)):
            spin.minimum, spin.maximum = map(int, settings[name].between or (0, 0))
            spin.value = int(settings[name].default)
        for name, setting in settings.items():
            if name not in _IN_FORM:
                self._add_setting(setting)
        self._tasks, self._architectures = list(TASKS), list(ARCHITECTURES)
        for combo, texts in (
            (ui.taskCombo, [task.title for task in TASKS.values()]),
            (ui.architectureCombo, [architecture.title for architecture in ARCHITECTURES.values()]),
            (ui.deviceCombo, [_("Automatic"), _("Processor"), _("NVIDIA GPU")]),
            (ui.weightsCombo, [_("Random weights"), _("ImageNet weights (download)")]),
            (ui.endCombo, [_("the training goes on"), _("the training stops, and can be resumed")]),
        ):
            for text in texts:
                combo.addItem(text)
        ui.architectureCombo.setCurrentIndex(self._architectures.index(DEFAULT_ARCHITECTURE))
        ui.endCombo.setCurrentIndex(0 if self.controller.goes_on else 1)
        ui.tablePath.currentPath = Compat.setting("table")
        font = ui.trainButton.font
        font.setBold(True)
        ui.trainButton.setFont(font)
        ui.trainButton.setMinimumHeight(34)

    def _add_setting(self, setting: Any) -> None:
        """A row for a setting of the plan: empty is the default."""
        if setting.choices:
            widget = qt.QComboBox()
            for text in (_("{value} (default)").format(value=setting.default), *setting.choices):
                widget.addItem(text)
        else:
            widget = qt.QLineEdit()
            widget.placeholderText = setting.default
        widget.objectName = f"{setting.name}Setting"
        widget.toolTip = setting.help
        self._settings[setting.name] = widget
        label = qt.QLabel(setting.name.replace("_", " ").capitalize() + ":")
        label.toolTip = setting.help
        self.ui.settingsBox.layout().addRow(label, widget)

    def _further_settings(self) -> dict[str, str]:
        """Settings that the user wrote or chose."""
        found = {}
        for name, widget in self._settings.items():
            if hasattr(widget, "currentIndex"):
                text = widget.currentText if widget.currentIndex > 0 else ""
            else:
                text = widget.text.strip()
            if text:
                found[name] = text
        return found

    def _connect(self) -> None:
        ui = self.ui
        ui.trainButton.connect("clicked()", self._on_train)
        ui.resumeButton.connect("clicked()", self.controller.resume)
        ui.foldCombo.connect("activated(int)", self._on_fold)
        ui.endCombo.connect("activated(int)", self._on_end)
        ui.figureButton.connect("clicked()", self._on_figure)
        ui.logCheck.connect("toggled(bool)", lambda _on: self._show_log())
        for combo in (ui.taskCombo, ui.architectureCombo):
            combo.connect("currentIndexChanged(int)", lambda _index: self._show_weights())
        self._session.table_written.connect(self._on_table)
        self.controller.changed.connect(self.show)

    def enter(self) -> None:
        """The user opened the module."""

    def exit(self) -> None:
        """The user left the module; a training goes on."""

    def cleanup(self) -> None:
        """The module ends."""
        self.controller.changed.disconnect(self.show)
        self._session.table_written.disconnect(self._on_table)
        self.controller.close()
        self.chart.let_go()
        self._figure.let_go()

    # ---------------------------------------------------------------- clicks

    def options(self) -> dict[str, Any]:
        """Of the job ``train``, as they are chosen."""
        ui = self.ui
        chosen = {
            "table": ui.tablePath.currentPath.strip(),
            "task": self._tasks[ui.taskCombo.currentIndex],
            "architecture": self._architectures[ui.architectureCombo.currentIndex],
            "pretrained": _WEIGHTS[ui.weightsCombo.currentIndex] if ui.weightsCombo.enabled else "none",
            "device": _DEVICES[ui.deviceCombo.currentIndex],
            "epochs": ui.epochsSpin.value,
            "folds": ui.foldsSpin.value,
            **self._further_settings(),
        }
        chosen["name"] = ui.nameEdit.text.strip() or self._usual_name()
        return chosen

    def _on_train(self, *_arguments: Any) -> None:
        if self.controller.running or self.controller.state == "checking":
            self.controller.cancel()
            return
        Compat.set_setting("table", self.ui.tablePath.currentPath.strip())
        self._fold = 0
        self.controller.start(self.options())

    def _on_fold(self, index: int) -> None:
        self._fold = 0 if index == 0 else self.controller.curves.folds()[index - 1]
        self._show_curves()

    def _on_end(self, index: int) -> None:
        self.controller.goes_on = index == 0

    def _on_figure(self, *_arguments: Any) -> None:
        for figure in (self._result or {}).get("figures") or []:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(figure))

    def _on_table(self, path: Any) -> None:
        self.ui.tablePath.currentPath = str(path)

    # ---------------------------------------------------------------- what is shown

    def show(self) -> None:
        """Show the controller's state."""
        controller, ui = self.controller, self.ui
        busy = controller.running or controller.state == "checking"
        ui.choices.enabled = not busy
        texts = {"checking": _("Cancel"), "stopping": _("Stop at once")}
        ui.trainButton.text = texts.get(controller.state, _("Stop") if busy else _("Train"))
        ui.resumeButton.visible = controller.resumable
        ui.progressBar.visible = busy
        ui.progressBar.value = round(100 * float(controller.progress.get("done") or 0.0))
        ui.progressBar.setFormat(f"{progress_words(controller.state, controller.progress)}  %p %")
        ui.stateLabel.text = state_words(controller.state, controller.message, controller.progress)
        ui.stateLabel.visible = bool(ui.stateLabel.text)
        more = len(controller.problems) - _SHOWN_PROBLEMS
        rest = [_("and {count} more").format(count=more)] if more > 0 else []
        show_notes(ui.problemsLabel, [*controller.problems[:_SHOWN_PROBLEMS], *rest])
        self._show_weights()
        self._show_curves()
        self._show_result()
        self._show_log()

    def _show_weights(self) -> None:
        from MolSubCore.models.registry import ARCHITECTURES

        chosen = ARCHITECTURES[self._architectures[self.ui.architectureCombo.currentIndex]]
        self.ui.weightsCombo.enabled = chosen.pretrained is not None
        self.ui.nameEdit.setPlaceholderText(self._usual_name())

    def _usual_name(self) -> str:
        task, architecture = self.ui.taskCombo.currentIndex, self.ui.architectureCombo.currentIndex
        return f"{self._tasks[task]}-{self._architectures[architecture]}"

    def _show_curves(self) -> None:
        curves, ui = self.controller.curves, self.ui
        folds = curves.folds()
        texts = [_("the latest fold"), *(_("fold {number}").format(number=fold) for fold in folds)]
        if ui.foldCombo.count != len(texts):
            ui.foldCombo.clear()
            for text in texts:
                ui.foldCombo.addItem(text)
        ui.foldCombo.setCurrentIndex(folds.index(self._fold) + 1 if self._fold in folds else 0)
        for widget in (ui.foldCombo, ui.foldLabel):
            widget.visible = len(folds) > 1
        shown = self._fold if self._fold in folds else (folds[-1] if folds else 0)
        loss = Curves(_("Loss"), curves.curve(shown, "train_loss"), curves.curve(shown, "val_loss"), low=0.0)
        auc = Curves(_("AUC"), curves.curve(shown, "train_auc"), curves.curve(shown, "val_auc"), 0.0, 1.0)
        self.chart.show((loss, auc), curves.epochs)

    def _show_result(self) -> None:
        result = self.controller.result
        if result is self._result and result is not None:
            return
        self._result = result
        self.ui.resultLabel.text = evaluation_html(result)
        self.ui.resultLabel.visible = result is not None
        self._show_figure()

    def _show_figure(self) -> None:
        figures = (self._result or {}).get("figures") or []
        picture = qt.QPixmap(figures[0]) if figures else qt.QPixmap()
        label = self.ui.figureLabel
        label.visible = self.ui.figureButton.visible = not picture.isNull()
        if not picture.isNull():
            width, ratio = max(int(label.width), 240), label.devicePixelRatioF()
            picture = picture.scaledToWidth(round(width * ratio), qt.Qt.SmoothTransformation)
            picture.setDevicePixelRatio(ratio)
            label.setPixmap(picture)

    def _show_log(self) -> None:
        ui = self.ui
        text = self.controller.log() if ui.logCheck.checked else ""
        ui.logEdit.visible = ui.logCheck.checked
        if text != ui.logEdit.plainText:
            ui.logEdit.setPlainText(text)
            bar = ui.logEdit.verticalScrollBar()
            bar.setValue(bar.maximum)
