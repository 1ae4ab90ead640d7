"""A button that starts a job and, while it runs, cancels it; with the progress beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _


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
