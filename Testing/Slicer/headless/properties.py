"""Qt properties for stand-in widgets: a value kept in the object, or one passed on to an inner widget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore


def stored(
    kind: Any, name: str, default: Any, changed: Callable[[Any], Any] | None = None, notify: str | None = None
) -> Any:
    """A property kept in the object; on a change `changed(self)` is called and the signal `notify` emitted."""
    key = f"_{name}"

    def get(self: Any) -> Any:
        return self.__dict__.get(key, default)

    def put(self: Any, value: Any) -> None:
        if get(self) == value:
            return
        self.__dict__[key] = value
        if changed is not None:
            changed(self)
        if notify is not None:
            getattr(self, notify).emit(value)

    return QtCore.Property(kind, get, put)


def passed_on(kind: Any, inner: str, name: str, after: Callable[[Any], Any] | None = None) -> Any:
    """A property that is the property `name` of the inner widget kept as attribute `inner`."""

    def get(self: Any) -> Any:
        return getattr(getattr(self, inner), name)

    def put(self: Any, value: Any) -> None:
        setattr(getattr(self, inner), name, value)
        if after is not None:
            after(self)

    return QtCore.Property(kind, get, put)
