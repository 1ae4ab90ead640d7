"""Loading of .ui files that name ctk and qMRML widgets."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools

CUSTOM_WIDGETS: dict[str, type] = {}


class UiLoader(QtUiTools.QUiLoader):
    """QUiLoader that knows the stand-ins and connects what passes a MRML scene."""

    def load(self, file: Any, parent: Any = None) -> Any:
        """Make the widgets of a .ui file.

        Raises
        ------
        LookupError
            If the file names a ctk, qMRML or qSlicer class for which there is no stand-in, or a connection to
            something that is not there.
        """
        text = bytes(file.readAll().data())
        tree = ElementTree.fromstring(text)
        _check_classes(tree)
        for widget_class in CUSTOM_WIDGETS.values():
            self.registerCustomWidget(widget_class)
        by_hand = [c for c in tree.iter("connection") if "*" in (c.findtext("signal") or "")]
        for connections in tree.iter("connections"):
            for connection in by_hand:
                if connection in list(connections):
                    connections.remove(connection)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        for connection in by_hand:
            _connect(widget, connection)
        return widget


def _check_classes(tree: ElementTree.Element) -> None:
    for element in tree.iter("widget"):
        name = element.get("class", "")
        if not name.startswith("Q") and name not in CUSTOM_WIDGETS:
            raise LookupError(f"the .ui file names {name}, for which there is no stand-in")


def _connect(root: Any, connection: ElementTree.Element) -> None:
    sender, receiver = (_find(root, connection.findtext(role) or "") for role in ("sender", "receiver"))
    slot = (connection.findtext("slot") or "").partition("(")[0]
    sender.connect(connection.findtext("signal"), getattr(receiver, slot))


def _find(root: Any, name: str) -> Any:
    found = root if root.objectName == name else root.findChild(QtCore.QObject, name)
    if found is None:
        raise LookupError(f"the .ui file connects {name}, which is not in it")
    return found
