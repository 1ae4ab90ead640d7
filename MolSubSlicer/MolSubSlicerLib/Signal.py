"""A signal of plain Python; one made by `qt.Signal` has crashed Slicer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Functions that are called, in the order in which they were connected, when something happens."""

    def __init__(self) -> None:
        self._slots: list[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> None:
        """Have `slot` called from now on; once, however often it is connected."""
        if slot not in self._slots:
            self._slots.append(slot)

    def disconnect(self, slot: Callable[..., Any]) -> None:
        """Have `slot` called no more; nothing happens where it was not connected."""
        if slot in self._slots:
            self._slots.remove(slot)

    def clear(self) -> None:
        """Disconnect everything."""
        self._slots.clear()

    def emit(self, *arguments: Any) -> None:
        """Call what is connected; not what another slot disconnects meanwhile."""
        for slot in list(self._slots):
            if slot in self._slots:
                slot(*arguments)
