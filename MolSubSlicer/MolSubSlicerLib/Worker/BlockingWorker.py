"""A worker that is waited for: where Slicer calls a function and wants the node when it returns."""

from __future__ import annotations

import itertools
import time
from typing import Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Worker.WorkerProcess import LineBuffer

#: Milliseconds: how long a worker without work is kept, and how long it may take to end.
IDLE_TIME, STOP_TIME = 20_000, 1000


class BlockingWorker:
    """A process of MolSubCore for short jobs; it ends itself when nothing was asked for some seconds."""

    def __init__(self) -> None:
        self._process: Any = None
        self._lines = LineBuffer()
        self._numbers = itertools.count(1)
        self._idle = qt.QTimer()
        self._idle.setSingleShot(True)
        self._idle.connect("timeout()", self.stop)

    def run(self, job: str, options: dict[str, Any], *, seconds: float = 120.0) -> Any:
        """Have a job done, and wait for its result without running the event loop.

        Parameters
        ----------
        job : str
        options : dict
        seconds : float
            The longest wait.

        Raises
        ------
        RuntimeError
            With the job's own sentence, or what became of the process.
        """
        from MolSubCore.worker.protocol import LAST, Request

        self._idle.stop()
        end = time.monotonic() + seconds
        self._start()
        request = Request(str(next(self._numbers)), job, options)
        self._process.write(request.line().encode("utf-8"))
        while True:
            for event in self._events(end):
                if event.id != request.id or event.event not in LAST:
                    continue
                self._idle.start(IDLE_TIME)
                if event.event == "done":
                    return event.values.get("result")
                raise RuntimeError(event.values.get("message") or _("The job ended without a result."))

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.closeWriteChannel()
        if not process.waitForFinished(STOP_TIME):
            process.kill()
            process.waitForFinished(STOP_TIME)

    def _start(self) -> None:
        if self._process is not None and self._process.state() == qt.QProcess.Running:
            return
        python = Compat.setting("python") or Compat.slicer_python()
        self._lines = LineBuffer()
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(Compat.process_environment(python))
        self._process.setStandardErrorFile(qt.QProcess.nullDevice())
        self._process.start(python, ["-u", "-m", "MolSubCore", "worker", "--attached"])

    def _events(self, end: float) -> list[Any]:
        """What the worker has said, after waiting for it to say anything."""
        from MolSubCore.worker.protocol import read_event

        left = int(1000 * (end - time.monotonic()))
        if left <= 0 or not self._process.waitForReadyRead(left):
            late = left <= 0 or self._process.state() == qt.QProcess.Running
            self.stop()
            if late:
                raise RuntimeError(_("The worker gave no answer in time. Try again, or look at the Set-up panel."))
            raise RuntimeError(_("The worker ended unexpectedly. The Set-up panel shows what Python lacks."))
        data = bytes(self._process.readAllStandardOutput().data())
        return [read_event(line) for line in self._lines.feed(data) if line.strip()]
