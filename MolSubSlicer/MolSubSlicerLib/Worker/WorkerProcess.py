"""The process that does the work: started when it is first needed, kept warm, watched, and started again.

JSON lines over its pipes; no socket. The jobs wait here and are sent one at a time, so that a worker that has to be
killed takes only its own job with it.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib.Compat import process_environment
from MolSubSlicerLib.Signal import Signal

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
    return f"{cause} {_('Last output: {line}').format(line=last[:200])}" if last else cause


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


State = Literal["stopped", "starting", "ready", "busy", "died"]
Listener = Callable[[Any], None]

#: Milliseconds in which a cancelled job may end by itself, and in which a new process must answer.
CANCEL_TIME, START_TIME = 1500, 60_000
_KEPT_LINES = 200


class WorkerProcess:
    """A worker of MolSubCore.

    Parameters
    ----------
    python : callable
        Gives the interpreter, whenever a process is started.

    Attributes
    ----------
    state : str
        ``stopped``, ``starting``, ``ready`` (waits for a job), ``busy`` or ``died``.
    reason : str
        Why it died, and how to go on; empty otherwise.
    cause : str
        The former without the latter.
    state_changed : Signal
        ``(state, reason)``.
    pid : int or None
        Of the real process, which may be a launcher's child.
    log : deque of str
        The last lines of its standard error.
    """

    def __init__(self, python: Callable[[], str]) -> None:
        self._python = python
        self.state: State = "stopped"
        self.reason = self.cause = ""
        self.state_changed = Signal()
        self.pid: int | None = None
        self.log: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process: Any = None
        self._ended: Any = None
        self._waiting: deque[tuple[Any, Listener]] = deque()
        self._running: tuple[Any, Listener] | None = None
        self._yielding: set[str] = set()
        self._retired: list[RetiredProcess] = []
        self._cancelled = ""  # the job for whose sake the process may be killed
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._on_timeout)

    # ---------------------------------------------------------------- for others

    def submit(self, request: Any, listener: Listener, *, yields: bool = False) -> None:
        """Have a job done after those before it; a worker that is stopped or died is started.

        Parameters
        ----------
        request : MolSubCore.worker.protocol.Request
        listener : callable
            ``listener(event)`` for every event of the job, on this thread; after the last one it is never called.
        yields : bool
            Cancel this job as soon as another one waits; the process is never killed for that.
        """
        self._waiting.append((request, listener))
        if self._running and self._running[0].id in self._yielding:
            self._yield()
        elif yields:
            self._yielding.add(request.id)
        if self.state in ("stopped", "died"):
            self.start()
        else:
            self._send_next()

    def _yield(self) -> None:
        """Ask the job that runs to end, in its own time."""
        from MolSubCore.worker.protocol import Cancel

        name = self._running[0].id if self._running else ""
        self._yielding.discard(name)  # asked once
        self._process.write(Cancel(name).line().encode("utf-8"))

    def cancel(self, name: str) -> None:
        """End the job of this id; the process is killed where the job has not ended after `CANCEL_TIME`."""
        from MolSubCore.worker.protocol import Cancel, Event

        for entry in list(self._waiting):
            if entry[0].id == name:
                self._waiting.remove(entry)
                entry[1](Event("cancelled", name))
        if self._running and self._running[0].id == name and self._cancelled != name:
            self._cancelled = name
            self._process.write(Cancel(name).line().encode("utf-8"))
            self._timer.start(CANCEL_TIME)

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self.state not in ("stopped", "died"):
            return
        self.log.clear()
        self._lines, self._errors = LineBuffer(), LineBuffer()
        try:
            python = self._python()
            environment = process_environment(python)
        except OSError as error:
            self._die(str(error))
            return
        process = self._process = qt.QProcess()
        process.setProcessEnvironment(environment)
        process.setProcessChannelMode(qt.QProcess.SeparateChannels)
        process.connect("readyReadStandardOutput()", self._on_output)
        process.connect("readyReadStandardError()", self._on_error_output)
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_process_error)
        self._set_state("starting")
        self._timer.start(START_TIME)
        process.start(python, ["-u", "-m", "MolSubCore", "worker", "--attached"])

    def kill(self) -> None:
        """End the process at once, whatever it does; its job and those that wait fail."""
        if self._process is not None:
            kill(self._process, self.pid)

    def restart(self) -> None:
        """Stop the process, and start a new one; jobs fail."""
        self.stop()
        self.start()

    def stop(self, *, wait: bool = False) -> None:
        """Close the process's input, at which it ends; what does not end is killed. Jobs fail.

        Parameters
        ----------
        wait : bool
            Return only when the process is gone.
        """
        if self._process is not None:
            self._process.closeWriteChannel()
            self._retire()
        self._set_state("stopped")
        self._fail_all(_("The worker was stopped. Start the job again."))
        if wait:
            for retired in list(self._retired):
                retired.wait()

    # ---------------------------------------------------------------- the process

    def _on_output(self, *_arguments: Any) -> None:
        if self._process is None:
            return
        for line in self._lines.feed(_bytes(self._process.readAllStandardOutput())):
            if line and self._process is not None:
                self._on_line(line)

    def _on_error_output(self, *_arguments: Any) -> None:
        if self._process is not None:
            self.log.extend(self._errors.feed(_bytes(self._process.readAllStandardError())))

    def _on_line(self, line: str) -> None:
        from MolSubCore.errors import MolSubError
        from MolSubCore.worker.protocol import LAST, read_event

        try:
            event = read_event(line)
        except MolSubError as error:
            self._give_up(_("The worker sent something else than events. {error}").format(error=error))
            return
        if event.event == "ready":
            self.pid = int(event.values["pid"])
            if hasattr(os, "setpriority"):  # the window comes before the computation
                with contextlib.suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, self.pid, 5)
            self._timer.stop()
            self._set_state("ready")
            self._send_next()
        elif self._running and event.id == self._running[0].id:
            listener = self._running[1]
            if event.event in LAST:
                self._end_job()
            listener(event)
            if event.event in LAST:
                self._send_next()

    def _end_job(self) -> None:
        self._running, self._cancelled = None, ""
        self._timer.stop()
        self._set_state("ready")

    def _send_next(self) -> None:
        if self.state != "ready" or not self._waiting:
            return
        self._running = self._waiting.popleft()
        self._set_state("busy")
        self._process.write(self._running[0].line().encode("utf-8"))
        if self._waiting and self._running[0].id in self._yielding:
            self._yield()

    def _on_timeout(self, *_arguments: Any) -> None:
        if self.state == "starting":
            self._give_up(_("{python} does not answer.").format(python=self._python()))
        elif self._cancelled:
            self.kill()

    def _on_process_error(self, error: Any) -> None:
        # FailedToStart is the only error that no `finished` follows.
        if self._process is not None and error == qt.QProcess.FailedToStart:
            program = self._process.program()
            self._end_process()
            self._die(_("{python} cannot be started. Choose another Python in Set-up.").format(python=program))

    def _on_finished(self, code: int, status: Any) -> None:
        if self._process is None:
            return
        self._on_output()
        self._on_error_output()
        self.log.extend(filter(None, [self._errors.rest()]))
        self._end_process()
        if self._cancelled:
            self._end_cancelled()
        else:
            self._die(why_ended(code, status == qt.QProcess.CrashExit, list(self.log)))

    def _end_process(self) -> None:
        self._timer.stop()
        # Kept until the next one ends: freed within its own signal, QProcess would go on with what is no more.
        self._ended, self._process, self.pid = self._process, None, None

    def _end_cancelled(self) -> None:
        """The process was killed for the sake of a cancelled job: the others go on with a new one."""
        from MolSubCore.worker.protocol import Event

        assert self._running is not None  # only a job that runs is cancelled this way
        (request, listener), self._running, self._cancelled = self._running, None, ""
        self._set_state("stopped")
        listener(Event("cancelled", request.id))
        if self._waiting:
            self.start()

    def _give_up(self, reason: str) -> None:
        """End a process that cannot be used."""
        self.kill()
        self._retire()
        self._die(reason)

    def _retire(self) -> None:
        """Let the process end by itself, unheard; kill it if it does not."""
        self._timer.stop()
        self._retired.append(RetiredProcess(self._process, self.pid, self._retired.remove))
        self._process, self.pid = None, None

    def _die(self, cause: str) -> None:
        self.cause = cause
        text = _("The worker ended. {cause} Press Restart worker in Set-up, or start the job again.")
        reason = text.format(cause=cause)
        self._set_state("died", reason)
        self._fail_all(reason)

    def _fail_all(self, reason: str) -> None:
        from MolSubCore.worker.protocol import Event

        entries = [*([self._running] if self._running else []), *self._waiting]
        self._running, self._cancelled = None, ""
        self._waiting.clear()
        for request, listener in entries:
            listener(Event("failed", request.id, {"message": reason, "bad_input": False}))

    def _set_state(self, state: State, reason: str = "") -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self.state_changed.emit(state, reason)


def _bytes(array: Any) -> bytes:
    """The content of a QByteArray."""
    return bytes(array.data())
