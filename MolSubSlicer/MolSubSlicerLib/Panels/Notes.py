"""Boxes with what the user must know."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

#: Dark on light and with a border, so that it is seen in Slicer's light and dark style.
_STYLES = {
    "warning": "QLabel { background-color: #fff3cd; color: #5c4400; border: 1px solid #e0c36a; "
    "border-radius: 3px; padding: 6px; }",
    "info": "QLabel { background-color: #e3f0fa; color: #123c5c; border: 1px solid #9dc3e2; "
    "border-radius: 3px; padding: 6px; }",
}


def show_notes(label: Any, notes: Sequence[str], kind: str = "warning") -> None:
    """Show sentences on a label, one paragraph each; without any it is hidden."""
    label.setStyleSheet(_STYLES[kind])
    label.setWordWrap(True)
    paragraphs = [html.escape(note) for note in dict.fromkeys(notes)]
    style = "margin-top: 0px; margin-bottom: 4px;"
    last = "margin-top: 0px; margin-bottom: 0px;"
    styles = [style] * (len(paragraphs) - 1) + [last]
    label.text = "".join(f'<p style="{one}">{text}</p>' for one, text in zip(styles, paragraphs, strict=False))
    label.visible = bool(paragraphs)
