"""Small widgets that several panels have."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

#: Dark on light and with a border, so that it is seen in Slicer's light and dark style.
_STYLES = {
    "warning": "QLabel { background-color: #fff3cd; color: #5c4400; border: 1px solid #e0c36a; "
    "border-radius: 3px; padding: 6px; }",
    "info": "QLabel { background-color: #e3f0fa; color: #123c5c; border: 1px solid #9dc3e2; "
    "border-radius: 3px; padding: 6px; }",
}


def show_notes(label: Any, notes: Sequence[str], kind: str = "warning") -> None:
    """Show sentences on a label, one paragraph each; without any it is hidden."""
    label.setStyleSheet(_STYLES[kind])
    label.setWordWrap(True)
    paragraphs = [html.escape(note) for note in dict.fromkeys(notes)]
    style = "margin-top: 0px; margin-bottom: 4px;"
    last = "margin-top: 0px; margin-bottom: 0px;"
    styles = [style] * (len(paragraphs) - 1) + [last]
    label.text = "".join(f'<p style="{one}">{text}</p>' for one, text in zip(styles, paragraphs, strict=False))
    label.visible = bool(paragraphs)


class ResizeFilter(qt.QObject):
    """Calls a function after the width of a widget changed."""

    def __init__(self, widget: Any, changed: Callable[[], None]) -> None:
        qt.QObject.__init__(self)
        self._widget, self._changed, self._width = widget, changed, int(widget.width)
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Qt's hook: nothing is held back."""
        if event.type() == qt.QEvent.Resize and int(self._widget.width) != self._width:
            self._width = int(self._widget.width)
            self._changed()
        return False

    def let_go(self) -> None:
        """Watch no more."""
        self._widget.removeEventFilter(self)


class RunButton:
    """A QPushButton and a QProgressBar that belong together.

    Parameters
    ----------
    button, bar : QPushButton, QProgressBar
    start, cancel : callable
        What a click does.
    """

    def __init__(self, button: Any, bar: Any, start: Callable[[], None], cancel: Callable[[], None]) -> None:
        self._button, self._bar = button, bar
        self._start, self._cancel = start, cancel
        self._text, self._running = button.text, False
        font = button.font
        font.setBold(True)
        button.setFont(font)
        button.setMinimumHeight(34)
        bar.setRange(0, 100)
        bar.visible = False
        button.connect("clicked()", self._on_click)

    def show(self, running: bool, share: float, stage: str) -> None:
        """Show whether the job runs, and how far it is."""
        self._running = running
        self._button.text = _("Cancel") if running else self._text
        self._bar.visible = running
        self._bar.value = round(100 * share)
        self._bar.setFormat(f"{stage}  %p %" if stage else "%p %")

    def _on_click(self) -> None:
        if self._running:
            self._cancel()
        else:
            self._start()


_BANNER_STYLE = "background-color: #7a4b00; color: white; font-weight: bold; padding: 4px;"
_MESSAGE_STYLES = {
    "info": "padding: 4px;",
    "warning": "background-color: #fff3cd; color: #5c4400; padding: 4px;",
    "error": "background-color: #f8d7da; color: #6b1019; padding: 4px;",
}


class Header:
    """A banner and a message line, added to a layout.

    Attributes
    ----------
    banner, message : QLabel
    """

    def __init__(self, layout: Any) -> None:
        from MolSubCore import DISCLAIMER

        self.banner, self.message = qt.QLabel(_(DISCLAIMER)), qt.QLabel()
        self.banner.objectName, self.message.objectName = "ResearchUseBanner", "MessageLine"
        for label in (self.banner, self.message):
            label.setWordWrap(True)
            label.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Maximum)
            layout.addWidget(label)
        self.banner.setStyleSheet(_BANNER_STYLE)
        self.message.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        self.show("", "info")

    def show(self, text: str, kind: str) -> None:
        """Show a sentence below the banner; an empty one hides the line."""
        self.message.text = text
        self.message.setStyleSheet(_MESSAGE_STYLES[kind])
        self.message.setVisible(bool(text))
