"""The Heatmaps panel: which map is laid over the mammograms, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Heatmaps.HeatmapController import HeatmapController, layer_text
from MolSubSlicerLib.Scene.Colors import heat_table
from MolSubSlicerLib.Widgets import ResizeFilter, show_notes

if TYPE_CHECKING:
    from MolSubSlicerLib.Session import Session


_BAR = 14
_GREY = 110


class HeatLegend:
    """A colour bar from no to most relative evidence, with what the threshold leaves clear."""

    def __init__(self, label: Any) -> None:
        self._label = label
        self._threshold, self._opacity = 0.0, 1.0
        self._colours = heat_table()
        self._filter = ResizeFilter(label, self._redraw)

    def show(self, threshold: float, opacity: float) -> None:
        """Draw the bar for a threshold and an opacity, both 0 to 1."""
        self._threshold, self._opacity = threshold, opacity
        self._redraw()

    def let_go(self) -> None:
        """Watch the label no more."""
        self._filter.let_go()

    def _redraw(self) -> None:
        label = self._label
        width, line = max(int(label.width), 200), qt.QFontMetrics(label.font).height() + 2
        ratio = label.devicePixelRatioF()
        picture = qt.QPixmap(round(width * ratio), round((_BAR + line) * ratio))
        picture.setDevicePixelRatio(ratio)
        picture.fill(qt.QColor(0, 0, 0, 0))
        pen = qt.QPainter()
        pen.begin(picture)
        for x in range(width):
            pen.fillRect(qt.QRect(x, 0, 1, _BAR), self._colour(x / max(width - 1, 1)))
        pen.setPen(label.palette.color(qt.QPalette.WindowText))
        pen.setFont(label.font)
        texts = ((_("0"), qt.Qt.AlignLeft), (_("relative evidence"), qt.Qt.AlignHCenter), (_("1"), qt.Qt.AlignRight))
        for text, side in texts:
            pen.drawText(qt.QRect(0, _BAR, width, line), int(side | qt.Qt.AlignVCenter), text)
        pen.end()
        label.setFixedHeight(_BAR + line)
        label.setPixmap(picture)

    def _colour(self, heat: float) -> Any:
        """What the eye sees of this heat over mid-grey."""
        share = self._opacity if heat >= self._threshold else 0.0
        rgb = self._colours[round(heat * (len(self._colours) - 1))]
        mixed = [round(share * 255 * float(value) + (1 - share) * _GREY) for value in rgb]
        return qt.QColor(*mixed)


class HeatmapPanel:
    """Widgets of the heatmaps."""

    def __init__(self, session: Session) -> None:
        self.session, self.controller = session, HeatmapController(session)
        self.title = _("Heatmaps")
        self.widget, self.ui = Compat.load_ui("HeatmapPanel")
        self.legend = HeatLegend(self.ui.legendLabel)
        self._filling = False
        self._connect()
        self.controller.changed.connect(self.refresh)
        session.parameters_changed.connect(self.refresh)
        self.refresh()

    def enter(self) -> None:
        """Look again at what is shown."""
        self.refresh()

    def exit(self) -> None:
        """The heatmaps stay in the views."""

    def cleanup(self) -> None:
        """Let go of the session."""
        self.controller.changed.disconnect(self.refresh)
        self.session.parameters_changed.disconnect(self.refresh)
        self.legend.let_go()
        self.controller.cleanup()

    def _connect(self) -> None:
        ui, controller = self.ui, self.controller
        ui.overlayButton.connect("toggled(bool)", self._if_user(controller.set_overlay))
        ui.classCombo.connect("currentIndexChanged(int)", self._if_user(self._on_class))
        ui.lesionCombo.connect("currentIndexChanged(int)", self._if_user(controller.set_lesion))
        ui.layerSlider.connect("valueChanged(int)", self._if_user(controller.set_layer))
        ui.opacitySlider.connect("valueChanged(double)", self._if_user(self._on_opacity))
        ui.thresholdSlider.connect("valueChanged(double)", self._if_user(self._on_threshold))
        ui.outlineCheckBox.connect("toggled(bool)", self._if_user(controller.set_outline))
        ui.linkCheckBox.connect("toggled(bool)", self._if_user(controller.set_linked))

    def _if_user(self, slot: Callable[[Any], None]) -> Callable[[Any], None]:
        """The slot, called when the user changes a widget, and not when it is filled."""

        def call(value: Any) -> None:
            if not self._filling:
                slot(value)

        return call

    def _on_class(self, index: int) -> None:
        if 0 <= index < len(self.controller.classes):
            self.controller.set_class(self.controller.classes[index])

    def _on_opacity(self, value: float) -> None:
        self.controller.set_opacity(value)
        self._show_legend()

    def _on_threshold(self, value: float) -> None:
        self.controller.set_threshold(value)
        self._show_legend()

    def refresh(self) -> None:
        """Show what the parameters say, and what there is to choose."""
        self._filling = True
        self._show_state()
        self._show_choices()
        parameters = self.session.parameters
        self.ui.overlayButton.setChecked(parameters.overlay)
        self.ui.originalButton.setChecked(not parameters.overlay)
        self.ui.opacitySlider.value = parameters.opacity
        self.ui.thresholdSlider.value = parameters.threshold
        self.ui.outlineCheckBox.checked = parameters.roi_visible
        self.ui.linkCheckBox.checked = parameters.link_views
        self._show_legend()
        self._show_blind()
        self._filling = False

    def _show_state(self) -> None:
        available = self.controller.available
        self.ui.controls.visible = available
        self.ui.stateLabel.visible = not available
        self.ui.stateLabel.text = _("No heatmap yet. They come with a prediction.")
        self.ui.meaningLabel.text = _(
            "Where a change of the layer's activations would change the class's score (Grad-CAM). Each map is "
            "stretched to its own range: bright can stand for little. It is not evidence of where a tumour is."
        )

    def _show_choices(self) -> None:
        controller, parameters = self.controller, self.session.parameters
        for combo, names, index in (
            (self.ui.classCombo, controller.classes, _index(controller.classes, parameters.heatmap_class)),
            (self.ui.lesionCombo, controller.lesion_names, controller.chosen_lesion),
        ):
            if [combo.itemText(row) for row in range(combo.count)] != names:
                combo.clear()
                combo.addItems(names)
            combo.setCurrentIndex(index if names else -1)
        several = bool(controller.lesion_names)
        self.ui.lesionCombo.visible = self.ui.lesionComboLabel.visible = several
        self.ui.layerSlider.setRange(0, max(len(controller.layers) - 1, 0))
        self.ui.layerSlider.value = _index(controller.layers, parameters.layer)
        self.ui.layerNameLabel.text = layer_text(controller.layers, parameters.layer)

    def _show_legend(self) -> None:
        parameters = self.session.parameters
        self.legend.show(parameters.threshold, parameters.opacity)

    def _show_blind(self) -> None:
        names = ", ".join(self.controller.blind_views())
        text = _(
            "{names}: this map is empty. Nothing in this layer speaks for {class_}, and its colours mean nothing. "
            "Choose another layer or class."
        )
        notes = [text.format(names=names, class_=self.session.parameters.heatmap_class)] if names else []
        show_notes(self.ui.blindLabel, notes)


def _index(names: list[str], name: str) -> int:
    return names.index(name) if name in names else 0
