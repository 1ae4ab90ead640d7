"""The heatmap's colours as a bar, painted on a label, as they look over a mid-grey mammogram."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib.Panels.Resizing import ResizeFilter
from MolSubSlicerLib.Scene.Colors import heat_table

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
