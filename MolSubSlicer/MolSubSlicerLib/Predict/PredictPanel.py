"""The Predict panel: a model, the mammograms, one click, and the result as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Load import Views
from MolSubSlicerLib.Predict.ModelPart import ModelPart
from MolSubSlicerLib.Predict.PredictController import PredictController, view_name
from MolSubSlicerLib.Predict.ProbabilityChart import Bars, ProbabilityChart
from MolSubSlicerLib.Widgets import RunButton, show_notes

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session


class PredictPanel:
    """Widgets of a prediction."""

    def __init__(self, session: Session) -> None:
        self.session, self.controller = session, PredictController(session)
        self.title = _("Predict")
        self.widget, self.ui = Compat.load_ui("PredictPanel")
        self.model = ModelPart(session, self.controller.library, self.widget, self.ui)
        self.chart = ProbabilityChart(self.ui.chartLabel)
        self.run = RunButton(
            self.ui.predictButton, self.ui.progressBar, self.controller.predict, self.controller.cancel
        )
        self._volumes: list[Any] = []
        self._filling = False
        self._shown: dict[str, Any] | None = None
        font = self.ui.resultTitleLabel.font
        if font.pointSizeF() > 0:  # a style may give its fonts in pixels
            font.setPointSizeF(1.25 * font.pointSizeF())
        font.setBold(True)
        self.ui.resultTitleLabel.setFont(font)
        self.ui.clinicalEdit.connect("textChanged(QString)", self._on_clinical)
        self.ui.viewsList.connect("itemChanged(QListWidgetItem*)", self._on_item_changed)
        self.controller.changed.connect(self.refresh)
        self._show_result()
        self.refresh()

    def enter(self) -> None:
        """Look again at the library and the scene, which may have changed meanwhile."""
        self.controller.library.refresh()
        self.refresh()

    def opened(self) -> None:
        """The panel was unfolded."""
        self.controller.set_open(True)

    def folded(self) -> None:
        """The panel was folded up."""
        self.controller.set_open(False)

    def exit(self) -> None:
        """Nothing to put away; a prediction goes on."""

    def cleanup(self) -> None:
        """Let go of the session."""
        self.controller.changed.disconnect(self.refresh)
        self.chart.let_go()
        self.model.cleanup()
        self.controller.cleanup()

    def refresh(self) -> None:
        """Show the scene's mammograms, how far a prediction is, and the result."""
        running = self.controller.running
        if not running:
            self._fill_views()
        self.ui.viewsList.enabled = self.ui.clinicalEdit.enabled = not running
        self._show_clinical()
        self.model.enable(not running)
        self.run.show(running, self.controller.share, self.controller.stage)
        if self.controller.prediction is not self._shown:
            self._show_result()
        self._show_outdated()

    def _fill_views(self) -> None:
        views = Views.views(self.session.parameters.mammogram)
        if not any(view.volume in self._volumes for view in views):  # another patient, whose values are others
            self.ui.clinicalEdit.text = ""
        self._filling = True
        self._volumes = [view.volume for view in views]
        self.ui.viewsList.clear()
        for view in views:
            item = qt.QListWidgetItem(view.text)
            flags = qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled if view.lesions else qt.Qt.NoItemFlags
            item.setFlags(flags)
            item.setCheckState(qt.Qt.Checked if view.taken else qt.Qt.Unchecked)
            self.ui.viewsList.addItem(item)
        if not views:
            item = qt.QListWidgetItem(_("None yet. Load mammograms, and outline a lesion."))
            item.setFlags(qt.Qt.NoItemFlags)
            self.ui.viewsList.addItem(item)
        self._filling = False
        rows = min(max(len(views), 1), 6)
        self.ui.viewsList.setFixedHeight(rows * (self.ui.viewsList.sizeHintForRow(0) + 2) + 8)

    def _on_item_changed(self, item: Any) -> None:
        if not self._filling:
            row = self.ui.viewsList.row(item)
            Views.take(self._volumes[row], item.checkState() == qt.Qt.Checked, self.session.parameters.mammogram)

    def _on_clinical(self, text: str) -> None:
        self.controller.clinical = str(text)

    def _show_clinical(self) -> None:
        """The field for clinical values, where the chosen model uses them."""
        model = self.controller.library.chosen
        used = model.clinical() if model else []
        self.ui.clinicalLabel.visible = self.ui.clinicalEdit.visible = bool(used)
        text = _("Clinical values: {names}. Write them such as age=54; without them the model of the images predicts")
        self.ui.clinicalLabel.text = text.format(names="; ".join(used))

    def _show_result(self) -> None:
        from MolSubCore import DISCLAIMER

        prediction = self._shown = self.controller.prediction
        self.ui.resultFrame.visible = prediction is not None
        if prediction is None:
            self.chart.clear()
            return
        self.ui.resultTitleLabel.text = "\n".join(result_titles(prediction))
        self.chart.show(bars_of(prediction), prediction.get("positive"))
        self.ui.noteLabel.text = result_note(prediction)
        show_notes(self.ui.warningsLabel, prediction.get("warnings") or ())
        self.ui.researchLabel.text = _(DISCLAIMER)

    def _show_outdated(self) -> None:
        names = self.controller.outdated if self._shown is not None else []
        text = _("{names}: the outline was changed, or the image removed, after this prediction. Predict again.")
        show_notes(self.ui.outdatedLabel, [text.format(names=", ".join(names))] if names else [])


def results_of(prediction: dict[str, Any]) -> list[dict[str, Any]]:
    """One result per breast; of a prediction of before, the one over everything that was shown then."""
    everything = list(range(len(prediction["items"])))
    if "results" in prediction:
        return list(prediction["results"])
    return [{"breast": None, "lesion": None, "items": everything, **prediction["patient"]}]


def result_titles(prediction: dict[str, Any]) -> list[str]:
    """What is predicted, a line per result; its breast is named where there are several."""
    from MolSubCore.tasks import prediction_title

    results = results_of(prediction)
    found = []
    for result in results:
        values = result["probabilities"]
        text = prediction_title(values) if values else _("No result: the prediction means nothing")
        found.append(f"{_result_name(result)}: {text}" if len(results) > 1 else text)
    return found


def _result_name(result: dict[str, Any]) -> str:
    names = {"L": _("Left breast"), "R": _("Right breast")}
    name = names.get(result["breast"] or "", _("Breast of unknown side"))
    return _("{breast}, lesion {lesion}").format(breast=name, lesion=result["lesion"]) if result.get("lesion") else name


def bars_of(prediction: dict[str, Any]) -> list[Bars]:
    """The bars of each result with the range over its lesion views, then each view's own."""
    items, results = prediction["items"], results_of(prediction)
    titles = [
        _("{image}, lesion {lesion}").format(image=view_name(prediction, item), lesion=_lesion(item)) for item in items
    ]
    if len(items) == 1:
        only = results[0]["probabilities"]
        return [Bars(titles[0], only, _predicted(only), main=True)]
    found = []
    for result in results:
        mean, own = result["probabilities"], [items[place]["probabilities"] for place in result["items"]]
        if not mean:
            continue
        ranges = {name: (min(each[name] for each in own), max(each[name] for each in own)) for name in mean}
        fused = (prediction.get("model") or {}).get("fusion")
        title = _("Result of {count} lesion views") if fused else _("Mean over {count} lesion views")
        title = title.format(count=len(own))
        if len(results) > 1:
            title = f"{_result_name(result)}: {title}"
        found.append(Bars(title, mean, _predicted(mean), ranges, main=True))
    return found + [
        Bars(title, item["probabilities"], _predicted(item["probabilities"]))
        for title, item in zip(titles, items, strict=True)
    ]


def _predicted(probabilities: dict[str, float]) -> str | None:
    """The class with the highest probability; None for a tie."""
    from MolSubCore.tasks import leading_classes

    first = leading_classes(probabilities)
    return first[0] if len(first) == 1 else None


def _lesion(item: dict[str, Any]) -> int:
    return int(item["lesion_index"]) + 1


def result_note(prediction: dict[str, Any]) -> str:
    """What the probabilities are, and how good the model was on its test set."""
    from MolSubCore.models import card

    note = card.result_note(prediction)
    if used := prediction.get("clinical"):
        values = ", ".join(f"{name} = {value}" for name, value in used.items())
        note += " " + _("With the clinical values {values}.").format(values=values)
    measured = card.test_summary(prediction)
    if measured:
        note += " " + _("On its test set: {metrics}.").format(metrics=", ".join(measured))
    return note
