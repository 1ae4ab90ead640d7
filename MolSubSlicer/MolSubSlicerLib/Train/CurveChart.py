"""Curves of a training, painted as a picture on a label; a widget that paints itself is not reliable in PythonQt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib.Widgets import ResizeFilter

#: Okabe and Ito's vermilion and blue, told apart by every eye.
TRAINING, VALIDATION = "#d55e00", "#0072b2"
_GRID, _GAP, _HEIGHT = 60, 6, 190


@dataclass(frozen=True)
class Curves:
    """Two curves over the epochs.

    Attributes
    ----------
    title : str
    training, validation : sequence of (epoch, value)
    low, high : float or None
        Ends of the axis; None: from the values.
    """

    title: str
    training: Sequence[tuple[int, float]]
    validation: Sequence[tuple[int, float]]
    low: float | None = None
    high: float | None = None


class CurveChart:
    """Curves beside each other on a QLabel, drawn anew whenever the label's width changes."""

    def __init__(self, label: Any) -> None:
        self._label = label
        self._charts: Sequence[Curves] = ()
        self._epochs = 0
        label.setFixedHeight(_HEIGHT)
        self._filter = ResizeFilter(label, self.redraw)

    def show(self, charts: Sequence[Curves], epochs: int) -> None:
        """Draw curves; the axis runs from epoch 1 to `epochs`."""
        self._charts, self._epochs = charts, max(epochs, 2)
        self._label.setAccessibleName(as_text(charts))
        self._label.setToolTip(as_text(charts))
        self.redraw()

    def redraw(self) -> None:
        """Draw for the label's present width."""
        self._label.visible = any(chart.training or chart.validation for chart in self._charts)
        if not self._charts:
            return
        width, ratio = max(int(self._label.width), 240), self._label.devicePixelRatioF()
        picture = qt.QPixmap(round(width * ratio), round(_HEIGHT * ratio))
        picture.setDevicePixelRatio(ratio)
        picture.fill(qt.QColor(0, 0, 0, 0))
        pen = qt.QPainter()
        pen.begin(picture)
        pen.setRenderHint(qt.QPainter.Antialiasing)
        part = width // len(self._charts)
        for number, chart in enumerate(self._charts):
            _Painting(self._label, pen, chart, self._epochs, number * part, part - 2 * _GAP).paint()
        pen.end()
        self._label.setPixmap(picture)

    def let_go(self) -> None:
        """Watch the label no more."""
        self._filter.let_go()


def as_text(charts: Sequence[Curves]) -> str:
    """The last values, for screen readers and tool tips."""
    lines = []
    for chart in charts:
        for name, curve in ((_("training"), chart.training), (_("validation"), chart.validation)):
            if curve:
                lines.append(f"{chart.title}, {name}: {curve[-1][1]:.3f}")
    return "\n".join(lines)


def axis_range(values: Sequence[float]) -> tuple[float, float]:
    """Round ends of an axis that holds all values, with some room; 0 to 1 for none."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    step = 10.0 ** math.floor(math.log10(max(high - low, abs(high) * 0.1, 1e-6)))
    return math.floor(low / step) * step, (math.floor(high / step) + 1) * step


class _Painting:
    """One chart with its axes and keys."""

    def __init__(self, label: Any, pen: Any, chart: Curves, epochs: int, left: int, width: int) -> None:
        self._pen, self._chart, self._epochs = pen, chart, epochs
        self._font = qt.QFont(label.font)
        metrics = qt.QFontMetrics(self._font)
        self._line = metrics.height()
        self._ink = label.palette.color(qt.QPalette.WindowText)
        values = [value for curve in (chart.training, chart.validation) for _epoch, value in curve]
        low, high = axis_range(values)
        self._low = low if chart.low is None else chart.low
        self._high = high if chart.high is None else chart.high
        self._edge, self._whole = left, width
        self._left = left + metrics.boundingRect("0.000").width() + _GAP
        self._right = left + width - _GAP
        self._top, self._bottom = self._line + _GAP, _HEIGHT - 2 * self._line - _GAP

    def _x(self, epoch: float) -> float:
        return self._left + (epoch - 1) / (self._epochs - 1) * (self._right - self._left)

    def _y(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return self._bottom - min(max(share, 0.0), 1.0) * (self._bottom - self._top)

    def paint(self) -> None:
        """Paint it."""
        self._pen.setFont(self._font)
        self._text(self._left, 0, self._right - self._left, self._chart.title)
        for number in range(5):
            value = self._low + number / 4 * (self._high - self._low)
            self._pen.fillRect(qt.QRectF(self._left, self._y(value), self._right - self._left, 1), self._faint(_GRID))
            if number % 2 == 0:
                place = self._edge, self._y(value) - self._line / 2, self._left - self._edge - _GAP
                self._text(*place, f"{value:.3g}", faint=True, side=qt.Qt.AlignRight)
        for epoch in sorted({1, (1 + self._epochs) // 2, self._epochs}):
            self._text(self._x(epoch) - 30, self._bottom + 2, 60, str(epoch), faint=True, side=qt.Qt.AlignHCenter)
        self._curve(self._chart.training, TRAINING)
        self._curve(self._chart.validation, VALIDATION)
        self._keys()

    def _curve(self, points: Sequence[tuple[int, float]], colour: str) -> None:
        pen = qt.QPen(qt.QColor(colour))
        pen.setWidthF(2.0)
        self._pen.setPen(pen)
        places = [(self._x(epoch), self._y(value)) for epoch, value in points]
        for (x0, y0), (x1, y1) in itertools.pairwise(places):
            self._pen.drawLine(qt.QPointF(x0, y0), qt.QPointF(x1, y1))
        for x, y in places if len(places) < 30 else places[-1:]:
            self._pen.fillRect(qt.QRectF(x - 2.5, y - 2.5, 5, 5), qt.QColor(colour))

    def _keys(self) -> None:
        x, y = float(self._left), _HEIGHT - self._line
        for name, colour in ((_("training"), TRAINING), (_("validation"), VALIDATION)):
            self._pen.fillRect(qt.QRectF(x, y + self._line / 2 - 1, 16, 3), qt.QColor(colour))
            width = qt.QFontMetrics(self._font).boundingRect(name).width() + 2 * _GAP
            self._text(x + 20, y, width, name, faint=True)
            x += 20 + width

    def _faint(self, alpha: int) -> Any:
        return qt.QColor(self._ink.red(), self._ink.green(), self._ink.blue(), alpha)

    def _text(
        self, x: float, y: float, width: float, text: str, *, faint: bool = False, side: Any = qt.Qt.AlignLeft
    ) -> None:
        self._pen.setPen(self._faint(190) if faint else self._ink)
        self._pen.drawText(qt.QRectF(x, y, width, self._line), int(side | qt.Qt.AlignVCenter), text)


METRICS = ("train_loss", "val_loss", "train_auc", "val_auc")


class TrainingCurves:
    """Loss and AUC by fold and epoch.

    Attributes
    ----------
    epochs : int
        Of the plan; 0 before it is known.
    """

    def __init__(self) -> None:
        self._values: dict[int, dict[int, dict[str, float | None]]] = {}
        self.epochs = 0

    def add(self, values: Mapping[str, Any]) -> None:
        """Take in a progress event; those without an epoch's metrics change nothing, one told again replaces."""
        if "fold" not in values or "epoch" not in values:
            return
        self.epochs = int(values.get("epochs") or self.epochs)
        if METRICS[0] in values:
            fold = self._values.setdefault(int(values["fold"]), {})
            fold[int(values["epoch"])] = {name: values.get(name) for name in METRICS}

    def folds(self) -> list[int]:
        """Folds of which there is an epoch."""
        return sorted(self._values)

    def curve(self, fold: int, metric: str) -> list[tuple[int, float]]:
        """Epoch and value, in the order of the epochs; undefined values are left out."""
        found = ((epoch, row[metric]) for epoch, row in sorted(self._values.get(fold, {}).items()))
        return [(epoch, value) for epoch, value in found if value is not None]
