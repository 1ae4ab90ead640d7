"""Connecting by C++ signature, as PythonQt does; and the same for stand-ins that are not Qt objects."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore


def _signal_names(meta: QtCore.QMetaObject, name: str) -> list[str]:
    methods = (meta.method(index) for index in range(meta.methodCount()))
    return [
        bytes(method.methodSignature().data()).decode()
        for method in methods
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal and bytes(method.name().data()).decode() == name
    ]


def _normalised(signature: str) -> str:
    text = QtCore.QMetaObject.normalizedSignature(signature)
    return bytes(text.data()).decode() if hasattr(text, "data") else str(text)


def find_signal(sender: QtCore.QObject, signature: str) -> Any:
    """The bound signal of a C++ signature.

    A stand-in lists in `SIGNATURES` the signatures whose types Qt alone does not know (pointers to MRML nodes).

    Raises
    ------
    AttributeError
        If the object has no signal of exactly this signature.
    """
    text = _normalised(signature.lstrip("2"))
    name, _, rest = text.partition("(")
    known = _signal_names(sender.metaObject(), name)
    declared = [s for s in getattr(type(sender), "SIGNATURES", ()) if s.partition("(")[0] == name]
    if text in declared or (text in known and not declared):
        signal = getattr(sender, name)
        return signal[rest.rstrip(")").replace("const ", "").replace("&", "").strip()] if _overloaded(known) else signal
    raise AttributeError(f"No such signal {type(sender).__name__}::{text}; there is {declared or known}")


def _overloaded(known: list[str]) -> bool:
    """Whether more than one C++ signal has this name, apart from those that only leave arguments out."""
    longest = max(known, key=len)
    arguments = longest.partition("(")[2].rstrip(")")
    return any(not arguments.startswith(k.partition("(")[2].rstrip(")")) for k in known)


def _receiver(arguments: tuple[Any, ...]) -> Callable[..., Any]:
    if callable(arguments[0]) and not isinstance(arguments[0], QtCore.QObject):
        return arguments[0]
    receiver, slot = arguments
    return getattr(receiver, slot.lstrip("1").split("(")[0])


def _accepted(slot: Callable[..., Any]) -> float:
    """How many positional arguments a function takes at most."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return math.inf
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return math.inf
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _adaptor(slot: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """A function with exactly the signature's number of arguments, of which the slot gets those it takes.

    PySide6 chooses what it passes by the number of arguments of the function it is given.
    """
    inside = signature.partition("(")[2].rstrip(")")
    sent = inside.count(",") + 1 if inside else 0
    taken = int(min(sent, _accepted(slot)))

    def call(*arguments: Any) -> None:
        slot(*arguments[:taken])

    fixed: list[Callable[..., Any]] = [
        lambda: call(),
        lambda a: call(a),
        lambda a, b: call(a, b),
        lambda a, b, c: call(a, b, c),
        lambda a, b, c, d: call(a, b, c, d),
    ]
    return fixed[sent]


def connect(sender: QtCore.QObject, *arguments: Any) -> bool:
    """`sender.connect("signal(types)", function)` or `(…, receiver, "slot(types)")`."""
    signature, slot = _normalised(arguments[0].lstrip("2")), _receiver(arguments[1:])
    adaptor = _adaptor(slot, signature)
    find_signal(sender, signature).connect(adaptor)
    sender.__dict__.setdefault("_connections", []).append((signature, slot, adaptor))
    return True


def disconnect(sender: QtCore.QObject, *arguments: Any) -> bool:
    """The counterpart of `connect`; False where there was no such connection."""
    signature = _normalised(arguments[0].lstrip("2"))
    signal = find_signal(sender, signature)
    slot = _receiver(arguments[1:]) if len(arguments) > 1 else None
    connections = sender.__dict__.get("_connections", [])
    found = [c for c in connections if c[0] == signature and (slot is None or c[1] == slot)]
    for connection in found:
        signal.disconnect(connection[2])
        connections.remove(connection)
    return bool(found)


class BoundSignal:
    """A signal of a stand-in that is no Qt object."""

    def __init__(self) -> None:
        self._slots: list[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> bool:
        self._slots.append(slot)
        return True

    def disconnect(self, slot: Callable[..., Any]) -> bool:
        if slot not in self._slots:
            return False
        self._slots.remove(slot)
        return True

    def emit(self, *arguments: Any) -> None:
        for slot in list(self._slots):
            slot(*arguments)


class Emitter:
    """Base of stand-ins that are no Qt objects; `SIGNATURES` lists their signals."""

    SIGNATURES: tuple[str, ...] = ()

    def __init__(self) -> None:
        for signature in self.SIGNATURES:
            setattr(self, signature.partition("(")[0], BoundSignal())

    def _signal(self, signature: str) -> BoundSignal:
        if signature not in self.SIGNATURES:
            raise AttributeError(f"No such signal {type(self).__name__}::{signature}; there is {self.SIGNATURES}")
        return getattr(self, signature.partition("(")[0])

    def connect(self, signature: str, slot: Callable[..., Any]) -> bool:
        return self._signal(signature).connect(slot)

    def disconnect(self, signature: str, slot: Callable[..., Any]) -> bool:
        return self._signal(signature).disconnect(slot)
