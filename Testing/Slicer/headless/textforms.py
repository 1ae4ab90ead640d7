"""The text form of parameters in a vtkMRMLScriptedModuleNode, the same as Slicer's parameter node wrapper writes.

Checked against Base/Python/slicer/parameterNodeWrapper/serializers.py of Slicer 5.10.0 and 5.12.3.
"""

from __future__ import annotations

import enum
import pathlib
import types
import typing
from typing import Any

import slicer


class TextForm:
    """How values of one type are written under one name; this one: a single text."""

    def __init__(self, kind: type, default: Any) -> None:
        self.kind, self._default = kind, default

    def default(self) -> Any:
        return self._default

    def accepts(self, value: Any) -> bool:
        if self.kind is float:
            return isinstance(value, (int, float))
        return isinstance(value, self.kind)

    def check(self, value: Any) -> None:
        if not self.accepts(value):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")

    def present(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        node.SetParameter(name, self.to_text(value))

    def read(self, node: Any, name: str) -> Any:
        return self.from_text(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)

    def to_text(self, value: Any) -> str:
        return str(value)

    def from_text(self, text: str) -> Any:
        return self.kind(text)


class BoolForm(TextForm):
    def from_text(self, text: str) -> bool:
        return text == "True"


class EnumForm(TextForm):
    """An enum by the name of its member."""

    def to_text(self, value: Any) -> str:
        return value.name

    def from_text(self, text: str) -> Any:
        if text not in self.kind.__members__:
            raise ValueError(f"Found {text!r} in parameter node but it is not a name in {self.kind!r}")
        return self.kind[text]


class NodeForm(TextForm):
    """A node by a node reference of the parameter's name, with an empty text beside it."""

    def accepts(self, value: Any) -> bool:
        return value is None or isinstance(value, self.kind)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class NoneForm(TextForm):
    def __init__(self) -> None:
        super().__init__(type(None), None)

    def to_text(self, value: Any) -> str:
        return "True"

    def from_text(self, text: str) -> None:
        return None


class UnionForm(TextForm):
    """A value of one of several types, under `name.INDEX` of its type."""

    def __init__(self, forms: list[TextForm]) -> None:
        optional = len(forms) == 2 and isinstance(forms[1], NoneForm)
        super().__init__(object, None if optional else forms[0].default())
        self._forms = forms

    def _form_of(self, value: Any) -> int:
        for index, form in enumerate(self._forms):
            if form.accepts(value) and (value is not None or isinstance(form, NoneForm)):
                return index
        raise TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def accepts(self, value: Any) -> bool:
        return any(form.accepts(value) for form in self._forms)

    def present(self, node: Any, name: str) -> bool:
        return any(form.present(node, f"{name}.{index}") for index, form in enumerate(self._forms))

    def write(self, node: Any, name: str, value: Any) -> None:
        chosen = self._form_of(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self._forms[chosen].write(node, f"{name}.{chosen}", value)

    def read(self, node: Any, name: str) -> Any:
        for index, form in enumerate(self._forms):
            if form.present(node, f"{name}.{index}"):
                return form.read(node, f"{name}.{index}")
        raise KeyError(f"Unable to find value for name: {name}")

    def remove(self, node: Any, name: str) -> None:
        for index, form in enumerate(self._forms):
            form.remove(node, f"{name}.{index}")


class TupleForm(TextForm):
    """A tuple: element i under `name.i`."""

    def __init__(self, forms: list[TextForm]) -> None:
        super().__init__(tuple, tuple(form.default() for form in forms))
        self._forms = forms

    def present(self, node: Any, name: str) -> bool:
        return self._forms[0].present(node, f"{name}.0")

    def write(self, node: Any, name: str, value: Any) -> None:
        if len(value) != len(self._forms):
            raise ValueError("Unexpected number of tuple values")
        with slicer.util.NodeModify(node):
            for index, (item, form) in enumerate(zip(value, self._forms, strict=True)):
                form.write(node, f"{name}.{index}", item)

    def read(self, node: Any, name: str) -> Any:
        return tuple(form.read(node, f"{name}.{index}") for index, form in enumerate(self._forms))

    def remove(self, node: Any, name: str) -> None:
        for index, form in enumerate(self._forms):
            form.remove(node, f"{name}.{index}")


class ListForm(TextForm):
    """A list: its length under `name.len`, element i under `name.i`."""

    def __init__(self, form: TextForm) -> None:
        super().__init__(list, [])
        self._form = form

    def default(self) -> Any:
        return []

    def accepts(self, value: Any) -> bool:
        return isinstance(value, (list, tuple))

    def present(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.len"))

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}.len")) if self.present(node, name) else 0

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        former, items = self._length(node, name), list(value)
        with slicer.util.NodeModify(node):
            for index, item in enumerate(items):
                self._form.write(node, f"{name}.{index}", item)
            node.SetParameter(f"{name}.len", str(len(items)))
            for index in range(len(items), former):
                self._form.remove(node, f"{name}.{index}")

    def read(self, node: Any, name: str) -> Any:
        items = [self._form.read(node, f"{name}.{index}") for index in range(self._length(node, name))]
        return WrittenBackList(items, lambda changed: self.write(node, name, changed))

    def remove(self, node: Any, name: str) -> None:
        for index in range(self._length(node, name)):
            self._form.remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")


class DictForm(ListForm):
    """A dict: as a list of (key, value) tuples."""

    def __init__(self, key: TextForm, value: TextForm) -> None:
        super().__init__(TupleForm([key, value]))
        self.kind = dict

    def default(self) -> Any:
        return {}

    def accepts(self, value: Any) -> bool:
        return isinstance(value, dict)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        ListForm(self._form).write(node, name, list(value.items()))

    def read(self, node: Any, name: str) -> Any:
        return dict(ListForm(self._form).read(node, name))


class WrittenBackList(list):
    """A list whose changes go back into the node; `+` is refused, as it would change only a copy."""

    def __init__(self, items: list[Any], write: Any) -> None:
        super().__init__(items)
        self._write = write

    def __add__(self, other: Any) -> Any:
        raise NotImplementedError("Adding to a list of a parameter node is not supported. However, += is supported.")


def _writing_back(name: str) -> Any:
    former = getattr(list, name)

    def method(self: WrittenBackList, *arguments: Any, **named: Any) -> Any:
        result = former(self, *arguments, **named)
        self._write(self)
        return self if name.startswith("__i") else result

    return method


for _name in ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "__setitem__", "__delitem__",
              "__iadd__"):  # fmt: skip
    setattr(WrittenBackList, _name, _writing_back(_name))

_PATHS = (pathlib.Path, pathlib.PurePath, pathlib.PosixPath, pathlib.PurePosixPath)


def form_of(kind: Any) -> TextForm:
    """The text form of an annotation without its extras.

    Raises
    ------
    TypeError
        If the type has none.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return form_of(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return UnionForm([form_of(argument) for argument in arguments])
    if origin is list:
        return ListForm(form_of(arguments[0]))
    if origin is tuple:
        return TupleForm([form_of(argument) for argument in arguments])
    if origin is dict:
        return DictForm(form_of(arguments[0]), form_of(arguments[1]))
    if kind is bool:
        return BoolForm(bool, False)
    if kind in (int, float, str):
        return TextForm(kind, "" if kind is str else 0)
    if kind in _PATHS:
        return TextForm(kind, kind())
    if kind is type(None):
        return NoneForm()
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return EnumForm(kind, next(iter(kind)))
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeForm(kind, None)
    raise TypeError(f"Unable to create serializer for type: {kind}")
