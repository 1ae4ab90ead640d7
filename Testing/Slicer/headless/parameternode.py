"""Stand-in for slicer.parameterNodeWrapper: typed attributes kept in a parameter node and bound to widgets."""

from __future__ import annotations

import types
import typing
from typing import Any

import slicer
import vtk

from .connectors import Decimals, SingleStep, make_connector
from .textforms import TextForm, TupleForm, form_of
from .validators import Choice, Default, Exclude, Maximum, Minimum, NotNone, Validator, WithinRange

WIDGET_PROPERTY = "SlicerParameterName"


class Parameter:
    """One attribute: its text form, its validators and its default."""

    def __init__(self, name: str, annotation: Any, given: Any) -> None:
        self.name, self.annotation = name, annotation
        extras = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is typing.Annotated else ()
        self.kind = typing.get_args(annotation)[0] if extras else annotation
        self.form: TextForm = form_of(self.kind)
        self.validators = [e for e in extras if isinstance(e, Validator)]
        defaults = [e for e in extras if isinstance(e, Default)]
        self._default = given if given is not None else defaults[0] if defaults else None
        if isinstance(self.form, TupleForm) and self._default is None:
            raise TypeError(f"{name}: give the tuple a default; Slicer's own works for the first node only")
        unused = [e for e in extras if not isinstance(e, (Validator, Default, Decimals, SingleStep))]
        if unused:
            raise TypeError(f"{name}: Slicer would ignore the annotations {unused}")

    def default(self) -> Any:
        return self._default.value if self._default is not None else self.form.default()

    def write(self, node: Any, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)
        self.form.write(node, self.name, value)

    def read(self, node: Any) -> Any:
        if not self.form.present(node, self.name):
            self.write(node, self.default())
        return self.form.read(node, self.name)


class _Wrapper:
    """What parameterNodeWrapper adds to a class."""

    allParameters: typing.ClassVar[dict[str, Parameter]] = {}

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[dict[str, Any], int]] = {}
        self._next_tag = 0
        self._updating = False
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def _parameter(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name).write(self.parameterNode, value)

    def default(self, name: str) -> Default:
        return Default(self._parameter(name).default())

    @classmethod
    def dataType(cls, name: str) -> Any:
        return cls.allParameters[name].annotation

    def connectGui(self, gui: Any) -> int:
        """Bind every widget below `gui` whose dynamic property SlicerParameterName names a parameter."""
        from PySide6 import QtCore, QtWidgets

        widgets = gui.findChildren(QtWidgets.QWidget) if isinstance(gui, QtCore.QObject) else vars(gui).values()
        mapping = {w.property(WIDGET_PROPERTY): w for w in widgets if w.property(WIDGET_PROPERTY)}
        return self.connectParametersToGui(mapping)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = {n: make_connector(w, self._parameter(n).annotation) for n, w in mapping.items()}
        tag = self._next_tag
        self._next_tag += 1
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(lambda name=name, connector=connector: self._from_gui(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui(connectors))
        self._guis[tag] = (connectors, observer)
        return tag

    def _from_gui(self, name: str, connector: Any) -> None:
        if not self._updating:
            self.setValue(name, connector.read())

    def _to_gui(self, connectors: dict[str, Any]) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for name, connector in connectors.items():
                connector.write(self.getValue(name))
        finally:
            self._updating = False

    def disconnectGui(self, tag: int) -> None:
        if tag in self._guis:
            connectors, observer = self._guis.pop(tag)
            for connector in connectors.values():
                connector.disconnect()
            self.RemoveObserver(observer)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was_modifying: int) -> int:
        return self.parameterNode.EndModify(was_modifying)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _attribute(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def parameterNodeWrapper(cls: Any = None) -> Any:
    """Class decorator: the class's annotated attributes live in the parameter node given to its constructor."""
    if cls is None:
        return parameterNodeWrapper
    parameters = {}
    for name, annotation in typing.get_type_hints(cls, include_extras=True).items():
        given = Default(vars(cls)[name]) if name in vars(cls) else None
        parameters[name] = Parameter(name, annotation, given)
        setattr(cls, name, _attribute(name))
    for name, member in vars(_Wrapper).items():
        if name.startswith("__") and name != "__init__":
            continue
        if name in vars(cls):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, member)
    cls.allParameters = parameters
    cls._is_parameter_node_wrapper = True
    return cls


def install() -> types.ModuleType:
    """Make the module slicer.parameterNodeWrapper."""
    module = types.ModuleType("slicer.parameterNodeWrapper", "Stand-in for Slicer's parameter node wrapper.")
    module.SlicerParameterNamePropertyName = WIDGET_PROPERTY
    module.isParameterNodeWrapper = lambda thing: getattr(thing, "_is_parameter_node_wrapper", False)
    offered = (parameterNodeWrapper, Default, Validator, NotNone, WithinRange, Minimum, Maximum, Choice, Exclude,
               Decimals, SingleStep)  # fmt: skip
    for thing in offered:
        setattr(module, thing.__name__, thing)
    slicer.parameterNodeWrapper = module
    return module
