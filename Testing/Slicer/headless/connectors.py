"""Binding of widgets to parameters: which widget can show which type, as in Slicer's parameter node wrapper."""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import slicer
from PySide6 import QtWidgets

from .validators import Choice, Maximum, Minimum, WithinRange


class Decimals:
    """Number of decimals a bound number widget shows."""

    def __init__(self, value: int) -> None:
        self.value = value


class SingleStep:
    """Step of a bound number widget."""

    def __init__(self, value: float) -> None:
        self.value = value


class Connector:
    """A widget with its change signal, and how its value is read and written."""

    def __init__(self, signal: Any, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._signal, self.read, self.write = signal, read, write
        self._slot: Any = None

    def connect(self, changed: Callable[[], None]) -> None:
        if self._signal is not None:
            self._slot = lambda *_: changed()
            self._signal.connect(self._slot)

    def disconnect(self) -> None:
        if self._slot is not None:
            self._signal.disconnect(self._slot)
            self._slot = None


def _attribute(widget: Any, signal: str, name: str, convert: Callable[[Any], Any] = lambda v: v) -> Connector:
    def write(value: Any) -> None:
        setattr(widget, name, value)

    return Connector(getattr(widget, signal), lambda: convert(getattr(widget, name)), write)


def _first(extras: tuple[Any, ...], kind: type) -> Any:
    return next((extra for extra in extras if isinstance(extra, kind)), None)


def _number(widget: Any, kind: type, extras: tuple[Any, ...]) -> Connector:
    sliders = ("QSlider", "ctkSliderWidget", "qMRMLSliderWidget")
    within = _first(extras, WithinRange)
    low, high = _first(extras, Minimum), _first(extras, Maximum)
    if type(widget).__name__ in sliders and within is None and (low is None or high is None):
        raise RuntimeError(f"Cannot have a connection to {type(widget).__name__} where the type is unbounded.")
    decimals, step = _first(extras, Decimals), _first(extras, SingleStep)
    if decimals is not None and type(widget).__name__ not in ("QSlider", "QSpinBox", "ctkDoubleSlider"):
        widget.decimals = decimals.value
    elif kind is int and type(widget).__name__ in ("ctkSliderWidget", "QDoubleSpinBox"):
        widget.decimals = 0
    if step is not None:
        widget.singleStep = step.value
    limit = 2**31 - 1 if type(widget) in (QtWidgets.QSpinBox, QtWidgets.QSlider) else 1e300
    widget.minimum = within.minimum if within else low.minimum if low else -limit
    widget.maximum = within.maximum if within else high.maximum if high else limit
    return _attribute(widget, "valueChanged", "value", kind)


def _choices(widget: Any, values: list[Any], labels: list[str]) -> Connector:
    chosen = widget.currentIndex
    widget.clear()
    widget.addItems(labels)
    widget.currentIndex = max(0, chosen)

    def write(value: Any) -> None:
        if value not in values:
            raise ValueError(f"Unable to find value {value} in choices {values}")
        widget.currentIndex = values.index(value)

    return Connector(widget.currentIndexChanged, lambda: values[widget.currentIndex], write)


def _node_classes(kind: Any) -> bool:
    kinds = [k for k in (typing.get_args(kind) or (kind,)) if k is not type(None)]
    return all(isinstance(k, type) and issubclass(k, slicer.vtkMRMLNode) for k in kinds)


def _path(widget: Any, signal: str, name: str, kind: type) -> Connector:
    connector = _attribute(widget, signal, name, kind)
    connector.write = lambda value: setattr(widget, name, str(value))
    return connector


def make_connector(widget: Any, annotation: Any) -> Connector:
    """The connector of a widget for an annotated type.

    Raises
    ------
    RuntimeError
        If Slicer could not bind the two.
    """
    annotated = typing.get_origin(annotation) is typing.Annotated
    kind, *rest = typing.get_args(annotation) if annotated else (annotation,)
    extras, name = tuple(rest), type(widget).__name__
    if kind is bool and name in ("QCheckBox", "ctkCheckBox"):
        return _attribute(widget, "stateChanged", "checked")
    if kind is bool and name in ("QPushButton", "ctkCheckablePushButton"):
        widget.checkable = True
        return _attribute(widget, "toggled", "checked")
    if kind is int and name in ("QSlider", "QSpinBox"):
        return _number(widget, int, extras)
    if kind in (int, float) and name in (
        "QDoubleSpinBox", "ctkSliderWidget", "qMRMLSliderWidget", "ctkDoubleSlider", "ctkDoubleSpinBox",
    ):  # fmt: skip
        return _number(widget, kind, extras)
    if name in ("QComboBox", "ctkComboBox"):
        return _combo(widget, kind, extras)
    if kind is str and name == "QLineEdit":
        return _attribute(widget, "textChanged", "text")
    if kind is str and name == "QLabel":
        return Connector(None, lambda: widget.text, widget.setText)
    if kind is str and name == "QTextEdit":
        return _attribute(widget, "textChanged", "plainText")
    if kind in (str, pathlib.Path, pathlib.PurePath) and name == "ctkPathLineEdit":
        return _path(widget, "currentPathChanged", "currentPath", kind)
    if kind in (str, pathlib.Path, pathlib.PurePath) and name == "ctkDirectoryButton":
        return _path(widget, "directoryChanged", "directory", kind)
    if name == "qMRMLNodeComboBox" and _node_classes(kind):
        return Connector(widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{annotation}' to widget type '{name}'")


def _combo(widget: Any, kind: Any, extras: tuple[Any, ...]) -> Connector:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda member: member.name)
        return _choices(widget, list(kind), [label(member) for member in kind])
    choice = _first(extras, Choice)
    if kind not in (int, float, str, bool) or choice is None:
        raise RuntimeError("a combo box is bound to an enum, or to a type with the Choice annotation")
    return _choices(widget, list(choice.choices), [str(value) for value in choice.choices])
