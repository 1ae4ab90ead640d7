"""Probabilities as bars, painted as a picture on a label; a widget that paints itself is not reliable in PythonQt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib.Widgets import ResizeFilter

#: Okabe and Ito's blue and vermilion, told apart by every eye; what was not predicted is grey.
PREDICTED, OTHER, MARK = "#0072b2", "#9aa5ad", "#d55e00"
_GRID, _GAP = 60, 6


@dataclass(frozen=True)
class Bars:
    """The bars of one patient, or of one lesion.

    Attributes
    ----------
    title : str
    probabilities : mapping of str to float
        In the task's order.
    predicted : str or None
        The class with the highest probability; None for a tie.
    ranges : mapping of str to (low, high)
        Shown as a line over the bar; classes may lack one.
    main : bool
        Whether the bars are drawn large.
    """

    title: str
    probabilities: Mapping[str, float]
    predicted: str | None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    main: bool = False


class ProbabilityChart:
    """A bar chart on a QLabel, drawn anew whenever the label's width changes."""

    def __init__(self, label: Any) -> None:
        self._label = label
        self._groups: Sequence[Bars] = ()
        self._positive: str | None = None
        self._filter = ResizeFilter(label, self.redraw)

    def show(self, groups: Sequence[Bars], positive: str | None) -> None:
        """Draw bars.

        Parameters
        ----------
        groups : sequence of Bars
        positive : str or None
            The task's positive class: it gets a mark.
        """
        self._groups, self._positive = groups, positive
        self._label.setAccessibleName(as_text(groups))
        self._label.setToolTip(as_text(groups))
        self.redraw()

    def clear(self) -> None:
        """Draw nothing."""
        self.show((), None)

    def redraw(self) -> None:
        """Draw the bars for the label's present width."""
        self._label.visible = bool(self._groups)
        if self._groups:
            painting = _Painting(self._label, self._groups, self._positive)
            self._label.setFixedHeight(painting.height)
            self._label.setPixmap(painting.paint())

    def let_go(self) -> None:
        """Watch the label no more."""
        self._filter.let_go()


def as_text(groups: Sequence[Bars]) -> str:
    """What the bars say, for screen readers and tool tips."""
    return "\n".join(
        f"{bars.title}: " + ", ".join(f"{name} {value:.2f}" for name, value in bars.probabilities.items())
        for bars in groups
    )


class _Painting:
    """One drawing of the chart: measures, then paints from top to bottom."""

    def __init__(self, label: Any, groups: Sequence[Bars], positive: str | None) -> None:
        self._label, self._groups, self._positive = label, groups, positive
        self._width = max(int(label.width), 200)
        self._normal, self._bold = qt.QFont(label.font), qt.QFont(label.font)
        self._bold.setBold(True)
        metrics = qt.QFontMetrics(self._bold)
        self._line = metrics.height() + 2
        names = [name for bars in groups for name in bars.probabilities]
        widest = max(metrics.boundingRect(name).width() for name in names)
        self._left = min(widest + 4, int(0.4 * self._width)) + self._line + _GAP
        self._right = metrics.boundingRect("0.00").width() + 2 * _GAP
        self._ranged = any(bars.ranges for bars in groups)
        self.height = sum(self._group_height(bars) for bars in groups) + self._line
        self.height += self._line if self._keys() else 0
        self._pen: Any = None
        self._ink = label.palette.color(qt.QPalette.WindowText)

    def _bar_height(self, bars: Bars) -> int:
        return self._line + (6 if bars.main else 0)

    def _group_height(self, bars: Bars) -> int:
        return self._line + 2 + self._bar_height(bars) * len(bars.probabilities) + 2 * _GAP

    def _x(self, probability: float) -> int:
        """Where on the axis a probability lies."""
        return round(self._left + probability * (self._width - self._left - self._right))

    def paint(self) -> Any:
        """The picture."""
        ratio = self._label.devicePixelRatioF()
        picture = qt.QPixmap(round(self._width * ratio), round(self.height * ratio))
        picture.setDevicePixelRatio(ratio)
        picture.fill(qt.QColor(0, 0, 0, 0))
        pen = self._pen = qt.QPainter()
        pen.begin(picture)
        top = 0
        for bars in self._groups:
            top = self._paint_group(bars, top)
        self._paint_axis(top)
        self._paint_keys(top + self._line)
        pen.end()
        return picture

    def _paint_group(self, bars: Bars, top: int) -> int:
        self._text(0, top, self._width, self._line, bars.title, bold=bars.main)
        first, step = top + self._line + 2, self._bar_height(bars)
        bottom = first + step * len(bars.probabilities)
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
            self._box(self._x(tick), first, 1, bottom - first, self._faint(_GRID))
        for number, (name, value) in enumerate(bars.probabilities.items()):
            self._paint_bar(bars, name, value, first + number * step, step)
        return bottom + 2 * _GAP

    def _paint_bar(self, bars: Bars, name: str, value: float, top: int, step: int) -> None:
        chosen = name == bars.predicted
        if name == self._positive:
            self._mark(self._line // 2 - 2, top + step // 2)
        room = self._left - self._line - _GAP + 2
        metrics = qt.QFontMetrics(self._bold)
        shown = metrics.elidedText(name, qt.Qt.ElideRight, room)
        self._text(self._line - 2, top, room, step, shown, bold=chosen)
        thick = step - (6 if bars.main else 8)
        self._box(self._x(0), top + (step - thick) // 2, self._x(value) - self._x(0), thick,
                  qt.QColor(PREDICTED if chosen else OTHER))  # fmt: skip
        if name in bars.ranges:
            self._whisker(*bars.ranges[name], top + step // 2)
        self._text(self._width - self._right, top, self._right, step, f"{value:.2f}", bold=chosen, right=True)

    def _whisker(self, low: float, high: float, middle: int) -> None:
        left, right = self._x(low), self._x(high)
        self._box(left, middle - 1, max(right - left, 1), 2, self._ink)
        for end in (left, right):
            self._box(end - 1, middle - 4, 2, 9, self._ink)

    def _mark(self, x: int, y: int) -> None:
        """A small diamond."""
        for row in range(-4, 5):
            half = 4 - abs(row)
            self._box(x - half, y + row, 2 * half + 1, 1, qt.QColor(MARK))

    def _paint_axis(self, top: int) -> None:
        width = self._right * 2
        for tick, text in ((0.0, "0"), (0.5, "0.5"), (1.0, "1")):
            self._text(self._x(tick) - width // 2, top - _GAP, width, self._line, text, faint=True, centre=True)

    def _keys(self) -> list[str]:
        return [key for key, there in (("mark", self._positive), ("range", self._ranged)) if there]

    def _paint_keys(self, top: int) -> None:
        x = 0
        for key in self._keys():
            if key == "mark":
                self._mark(self._line // 2 - 2, top + self._line // 2)
                x, text = self._line - 2, _("positive class")
            else:
                x += self._line
                for end in (x, x + 20):
                    self._box(end - 1, top + self._line // 2 - 4, 2, 9, self._ink)
                self._box(x, top + self._line // 2 - 1, 20, 2, self._ink)
                x, text = x + 28, _("lowest to highest lesion view")
            width = qt.QFontMetrics(self._normal).boundingRect(text).width() + 6
            self._text(x, top, width, self._line, text, faint=True)
            x += width

    def _faint(self, alpha: int) -> Any:
        return qt.QColor(self._ink.red(), self._ink.green(), self._ink.blue(), alpha)

    def _box(self, x: int, y: int, width: int, height: int, colour: Any) -> None:
        self._pen.fillRect(qt.QRect(x, y, width, height), colour)

    def _text(
        self, x: int, y: int, width: int, height: int, text: str, *, bold: bool = False, faint: bool = False,
        right: bool = False, centre: bool = False,
    ) -> None:  # fmt: skip
        side = qt.Qt.AlignRight if right else qt.Qt.AlignHCenter if centre else qt.Qt.AlignLeft
        self._pen.setFont(self._bold if bold else self._normal)
        self._pen.setPen(self._faint(190) if faint else self._ink)
        self._pen.drawText(qt.QRect(x, y, width, height), int(side | qt.Qt.AlignVCenter), text)
