"""The end of a child process that nobody listens to any more."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

import qt

#: Milliseconds in which a process must end once its input is closed.
STOP_TIME = 1000
#: Milliseconds that the system may take to clear away a killed process.
_KILL_TIME = 30_000


def kill(process: Any, pid: int | None) -> None:
    """Kill a QProcess, which may be a launcher, and the process that does the work."""
    if process.state() == qt.QProcess.NotRunning:
        return  # its number may be another process's by now
    if pid is not None:
        with contextlib.suppress(OSError):
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.kill()


class RetiredProcess:
    """A process that nobody listens to any more, until it is gone."""

    def __init__(self, process: Any, pid: int | None, gone: Callable[[RetiredProcess], None]) -> None:
        self._process, self._pid, self._gone = process, pid, gone
        process.blockSignals(True)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._end)
        self._timer.start(STOP_TIME)

    def wait(self) -> None:
        """Return when it is gone."""
        running = self._process is not None and self._process.state() != qt.QProcess.NotRunning
        if running and not self._process.waitForFinished(STOP_TIME):
            kill(self._process, self._pid)
            self._process.waitForFinished(_KILL_TIME)
        self._end()

    def _end(self, *_arguments: Any) -> None:
        if self._process is None:
            return
        if self._process.state() != qt.QProcess.NotRunning:
            kill(self._process, self._pid)
            self._timer.start(STOP_TIME)  # a killed process takes its time to give back its memory
            return
        process, self._process = self._process, None
        self._timer.stop()
        process.deleteLater()
        self._gone(self)
