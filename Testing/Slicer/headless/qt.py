"""A `qt` module that behaves like PythonQt, on PySide6's own classes.

What is different from PySide6, and so must be learned by a module's author:

* a Qt property is an attribute (`button.text`), never a method; its setter (`setText`) stays a method;
* signals are also connected by their C++ signature: `button.connect("clicked(bool)", f)`;
* an object made by Qt takes no new attribute; one of a Python subclass does;
* `name` is another name of `objectName`, `className()` gives the class of the C++ object.

All of this is strict: what PythonQt would refuse is an error here.
"""

from __future__ import annotations

import ctypes
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtPrintSupport, QtSvg, QtUiTools, QtWidgets, QtXml

from . import signals

QObject = QtCore.QObject
_LIBRARIES = (QtCore, QtGui, QtWidgets, QtNetwork, QtSvg, QtXml, QtPrintSupport, QtUiTools)
#: Properties whose name is also a virtual or static method that must stay callable.
_STAY_METHODS = {"sizeHint", "minimumSizeHint", "singleShot"}
#: PySide6's own helpers; PythonQt has none, or crashes with them.
_NOT_IN_PYTHONQT = {"Signal", "SignalInstance", "Slot", "Property", "ClassInfo", "QEnum", "QFlag"}
#: Python sets an attribute this way itself; a class's former __setattr__ cannot be called once it is replaced.
_set_attribute = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.py_object)(
    ("PyObject_GenericSetAttr", ctypes.pythonapi)
)
_stand_ins: set[type] = set()


def native(cls: type) -> type:
    """Class decorator: treat a stand-in's objects as if C++ had made them (they take no new attribute)."""
    _stand_ins.add(cls)
    for name, value in list(vars(cls).items()):
        if isinstance(value, QtCore.Property):
            setter = f"set{name[0].upper()}{name[1:]}"
            if setter not in vars(cls):
                setattr(cls, setter, _setter(name))
    return cls


def _setter(name: str) -> Callable[[Any, Any], None]:
    def set_value(self: Any, value: Any) -> None:
        setattr(self, name, value)

    return set_value


def _property(cls: type, name: str) -> property:
    """The Python property of a Qt property, through the class's own getter and setter."""
    capital = name[0].upper() + name[1:]
    getters = (getattr(cls, candidate, None) for candidate in (name, f"is{capital}", f"has{capital}"))
    getter = next((g for g in getters if callable(g) and not isinstance(g, property)), None)
    setter = getattr(cls, f"set{capital}", None)

    def get_value(self: Any) -> Any:
        return getter(self) if getter else QObject.property(self, name)

    def set_value(self: Any, value: Any) -> None:
        if setter is not None:
            try:
                setter(self, value)
                return
            except (TypeError, ValueError):
                pass
        if not QObject.setProperty(self, name, value):
            raise AttributeError(f"Property '{name}' of type '{type(self).__name__}' does not accept {value!r}")

    return property(get_value, set_value)


def _getattribute(former: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def get(self: Any, name: str) -> Any:
        if name in ("connect", "disconnect"):
            return types.MethodType(getattr(signals, name), self)
        return former(self, name)

    return get


def _is_native(cls: type) -> bool:
    return cls.__module__.startswith("PySide6.") or cls in _stand_ins


def _setattr(self: Any, name: str, value: Any) -> None:
    cls = type(self)
    attribute = inspect.getattr_static(cls, name, None)
    internal = isinstance(value, QtCore.SignalInstance) or name.startswith("__")
    if isinstance(attribute, QtCore.Property):
        QObject.setProperty(self, name, value)
        return
    if _is_native(cls) and not internal and not (name.startswith("_") and cls in _stand_ins):
        if attribute is None:
            if name.encode() in [bytes(known.data()) for known in QObject.dynamicPropertyNames(self)]:
                QObject.setProperty(self, name, value)
                return
            raise AttributeError(
                f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
            )
        if not hasattr(attribute, "__set__"):
            raise AttributeError(f"'{name}' can not be overwritten on {cls.__name__} object")
    if _set_attribute(self, name, value) < 0:
        raise AttributeError(name)


def _subclasses(cls: type) -> Iterator[type]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _class_name(self: Any) -> str:
    return self.metaObject().className()


def _patch_classes() -> None:
    """Give every Qt class PythonQt's manners."""
    for library in _LIBRARIES:
        for name in dir(library):  # PySide6 makes its classes when they are first asked for
            getattr(library, name)
    classes = [c for c in dict.fromkeys([QObject, *_subclasses(QObject)]) if c.__module__.startswith("PySide6.")]
    former = {cls: cls.__getattribute__ for cls in classes}
    for cls in classes:
        meta = cls.staticMetaObject
        for index in range(meta.propertyOffset(), meta.propertyCount()):
            name = meta.property(index).name()
            if name not in _STAY_METHODS:
                setattr(cls, name, _property(cls, name))
        cls.__getattribute__ = _getattribute(former[cls])
        cls.__setattr__ = _setattr
    QObject.name = QObject.objectName
    QObject.className = _class_name
    QObject.delete = lambda self: self.deleteLater()
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QCoreApplication, QtCore.QEventLoop):
        cls.exec_ = cls.exec


def install() -> types.ModuleType:
    """Make the module `qt`, once, with the application object that Qt needs."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["SlicerApp-real"])
    application.setApplicationName("Slicer")
    application.setOrganizationName("NA-MIC")
    application.setQuitOnLastWindowClosed(False)
    _patch_classes()
    qt = types.ModuleType("qt", "Qt as PythonQt gives it, made from PySide6.")
    for library in _LIBRARIES:
        for name in dir(library):
            if name.startswith("Q") and name not in _NOT_IN_PYTHONQT:
                setattr(qt, name, getattr(library, name))
    from .uiloader import UiLoader

    qt.QUiLoader = UiLoader
    sys.modules["qt"] = qt
    return qt
