"""What goes to the terminal: text that cannot steer it, in whatever encoding it has."""

from __future__ import annotations

import re
from typing import Any, TextIO

#: Controls (an escape sequence begins with one), halves of characters, line ends that only some know, and signs that
#: turn the direction of what follows.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


class PlainText:
    """A text stream that passes on text, new lines and tabs; all else, and what its encoding lacks, as an escape.

    So a name or a text of any file is shown and steers nothing, and no name ends a command after its work.

    Parameters
    ----------
    stream : text stream
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`; return its length."""
        safe = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(safe.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
