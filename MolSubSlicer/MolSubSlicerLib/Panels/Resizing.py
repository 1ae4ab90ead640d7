"""Being told when a widget gets another width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


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
