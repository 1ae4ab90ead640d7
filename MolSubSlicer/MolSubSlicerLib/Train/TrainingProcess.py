"""A training in a process of its own, which Slicer's end does not touch; it is followed through its folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Worker.WorkerProcess import why_ended

#: What the process wrote before it opened its own log.
_START_LOG = "start.txt"
#: Bytes of events that are read at once: a long training is caught up with in steps.
_PIECE = 1 << 18
_LOG_BYTES = 1 << 14


class TrainingProcess:
    """The training of a folder.

    Parameters
    ----------
    folder : Path
        With ``request.json`` and ``events.jsonl``; see `MolSubCore.worker.folder`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid: int | None = None
        self._offset = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, python: str, options: dict[str, Any]) -> None:
        """Begin, or go on where it was stopped.

        Parameters
        ----------
        python : str
            The interpreter.
        options : dict
            Of the job ``train``.

        Raises
        ------
        MolSubError
            If it runs already.
        OSError
            If the interpreter cannot be started, or the folder not be written to.
        """
        from MolSubCore.worker.folder import write_job
        from MolSubCore.worker.protocol import Request

        write_job(self.folder, Request("train", "train", {**options, "resume": True}))
        environment = Compat.process_environment(python)
        detached: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        # Not QProcess.startDetached: PythonQt of Qt 5 has only the form that takes no environment.
        with (self.folder / _START_LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-m", "MolSubCore", "worker", "--job", str(self.folder)],
                env={name: environment.value(name) for name in list(environment.keys()) if name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **detached,
            )

    def options(self) -> dict[str, Any]:
        """Of the job, as they were given."""
        from MolSubCore.files import read_json
        from MolSubCore.worker.folder import REQUEST

        return dict(read_json(self.folder / REQUEST).get("options", {}))

    def new_events(self) -> tuple[list[Any], bool]:
        """Events since the last call, and whether there may be more at once."""
        from MolSubCore.worker.folder import new_events

        before = self._offset
        events, self._offset = new_events(self.folder, before, _PIECE)
        for event in events:
            if event.event == "ready":
                self.pid = int(event.values["pid"])
        return events, self._offset - before > _PIECE // 2

    def is_running(self) -> bool:
        """Whether a process works on it, or was started a moment ago."""
        from MolSubCore.worker.folder import is_running

        if self._process is not None and self._process.poll() is None:
            return True
        return is_running(self.folder)

    def ask_to_end(self) -> None:
        """Have it end at a point from which it can go on."""
        from MolSubCore.worker.folder import cancel_job

        cancel_job(self.folder)

    def kill(self) -> None:
        """End it at once; it can go on from its last epoch."""
        if self.is_running() and self.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def why_ended(self) -> str:
        """Why the process is gone although it told no end."""
        lines = self.log().splitlines()[-20:]
        code = None if self._process is None else self._process.poll()
        if code is None:  # another Slicer had started it
            return _("It was ended from outside, or the computer was switched off.")
        return why_ended(abs(code), code < 0, lines)

    def log(self) -> str:
        """The end of what libraries printed."""
        from MolSubCore.worker.folder import LOG

        texts = []
        for name in (_START_LOG, LOG):
            with contextlib.suppress(OSError), (self.folder / name).open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _LOG_BYTES, 0))
                texts.append(file.read().decode("utf-8", errors="replace"))
        return "".join(texts)
