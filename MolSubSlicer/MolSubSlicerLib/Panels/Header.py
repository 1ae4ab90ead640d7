"""What is always seen: that the module is for research, and the last message."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

_BANNER_STYLE = "background-color: #7a4b00; color: white; font-weight: bold; padding: 4px;"
_MESSAGE_STYLES = {
    "info": "padding: 4px;",
    "warning": "background-color: #fff3cd; color: #5c4400; padding: 4px;",
    "error": "background-color: #f8d7da; color: #6b1019; padding: 4px;",
}


class Header:
    """A banner and a message line, added to a layout.

    Attributes
    ----------
    banner, message : QLabel
    """

    def __init__(self, layout: Any) -> None:
        from MolSubCore import DISCLAIMER

        self.banner, self.message = qt.QLabel(_(DISCLAIMER)), qt.QLabel()
        self.banner.objectName, self.message.objectName = "ResearchUseBanner", "MessageLine"
        for label in (self.banner, self.message):
            label.setWordWrap(True)
            label.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Maximum)
            layout.addWidget(label)
        self.banner.setStyleSheet(_BANNER_STYLE)
        self.message.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        self.show("", "info")

    def show(self, text: str, kind: str) -> None:
        """Show a sentence below the banner; an empty one hides the line."""
        self.message.text = text
        self.message.setStyleSheet(_MESSAGE_STYLES[kind])
        self.message.setVisible(bool(text))
