"""What comes out of a child process, as lines; and why it ended, in words."""

from __future__ import annotations

import codecs
import signal
import sys

from slicer.i18n import tr as _

_MEMORY_SIGNS = ("MemoryError", "out of memory", "bad_alloc", "can't allocate memory", "Cannot allocate memory")
#: Slicer's launcher of Python says this of a child that was killed or crashed, and ends with code 1 itself.
_LAUNCHER_SIGN = "exit abnormally"
#: Windows' codes of processes that ended by a fault.
_WINDOWS_FAULTS = {0xC0000005: "access violation", 0xC0000017: "no memory", 0xC00000FD: "stack overflow"}


class LineBuffer:
    """Whole lines from pieces of UTF-8 that may be cut anywhere; what is no UTF-8 is replaced."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are now complete, without their ends."""
        # Not splitlines: JSON may hold U+2028 and its like, which are no line ends here.
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        return [line.rstrip("\r") for line in lines]

    def rest(self) -> str:
        """What is left after the last line end, at the end of the stream."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        return rest


def why_ended(code: int, crashed: bool, last_lines: list[str]) -> str:
    """Why a process ended that should not have, in one or two sentences.

    Parameters
    ----------
    code : int
        Its exit code; of a crashed process the number of the signal, where there are signals.
    crashed : bool
        Whether it did not end by itself.
    last_lines : list of str
        Of its standard error.
    """
    text = "\n".join(last_lines)
    number = _signal_number(code, crashed)
    if any(sign in text for sign in _MEMORY_SIGNS):
        cause = _("It ran out of memory.")
    elif number == 9:
        cause = _("It was killed (signal 9), likely for lack of memory.")
    elif number is not None:
        cause = _("It crashed with signal {number} ({name}).").format(number=number, name=_signal_name(number))
    elif _LAUNCHER_SIGN in text:
        cause = _("It crashed or was killed, likely for lack of memory.")
        last_lines = [line for line in last_lines if _LAUNCHER_SIGN not in line]
    elif (code & 0xFFFFFFFF) in _WINDOWS_FAULTS:
        cause = _("It crashed: {fault}.").format(fault=_WINDOWS_FAULTS[code & 0xFFFFFFFF])
    else:
        cause = _("It ended with exit code {code}.").format(code=code)
    last = next((line.strip() for line in reversed(last_lines) if line.strip()), "")
    return f"{cause} {_('Its last words: {line}').format(line=last[:200])}" if last else cause


def _signal_number(code: int, crashed: bool) -> int | None:
    if sys.platform == "win32":
        return None
    if crashed:
        return code
    # A launcher between us and the process passes a signal on as 128 and its number.
    return code - 128 if 128 < code < 160 else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return _("unknown")
