"""What goes to the terminal: text that cannot steer it, in whatever encoding it has, as long as somebody reads it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

#: Controls (an escape sequence begins with one), halves of characters, line ends that only some know, and signs that
#: turn the direction of what follows.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


class Steady:
    """A text stream that outlives its reader: a closed pipe (``| head -1``) ends the words, not the work.

    Parameters
    ----------
    stream : text stream
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`; return its length."""
        with self._kept():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what is still held back."""
        with self._kept():
            self._stream.flush()

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """After an error everything goes nowhere, also what the interpreter writes at its end; others are told."""
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError, ValueError):  # a stream without a file
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            closed = isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)
            if not closed:
                raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PlainText(Steady):
    """A text stream that passes on text, new lines and tabs; all else, and what its encoding lacks, as an escape.

    So a name or a text of any file is shown and steers nothing, and no name ends a command after its work.
    """

    def write(self, text: str) -> int:
        """Write `text`; return its length."""
        safe = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        super().write(safe.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Standard output and error that end no work: where they are closed (``>&-``), what is said goes nowhere.

    Their numbers are taken, so that no file that is opened later gets one of them, and with it what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    with contextlib.ExitStack() as stack:
        for redirect, stream, kind in (
            (contextlib.redirect_stdout, sys.stdout, PlainText),
            (contextlib.redirect_stderr, sys.stderr, Steady),
        ):
            shown = stream or stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect(kind(shown)))  # type: ignore[type-var]
        yield
