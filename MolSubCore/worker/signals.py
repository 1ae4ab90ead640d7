"""The signals that ask a process to end. Standard library only."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


def on_end(handler: Callable[[int, FrameType | None], object]) -> None:
    """Call `handler` on a signal to end this process, or when its terminal closes (unless run by nohup)."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
