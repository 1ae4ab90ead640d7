"""Packages for Slicer's Python: which to install, never which to replace, and why an installation failed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from MolSubSlicerLib import Compat
from MolSubSlicerLib.Signal import Signal
from MolSubSlicerLib.Worker.WorkerProcess import LineBuffer

#: Slicer's own: installed packages must take them as they are.
HELD = ("numpy", "pydicom", "SimpleITK")
#: One is built for the other.
_TOGETHER = ("torch", "torchvision")


def name_of(requirement: str) -> str:
    """Name of the package that a requirement asks for, in the form in which names are compared."""
    found = re.match(r"\s*([A-Za-z0-9._-]+)", requirement)
    return re.sub(r"[-_.]+", "-", found.group(1)).casefold() if found else ""


def read_requirements() -> list[str]:
    """The lines of Resources/requirements.txt, without comments."""
    lines = Compat.resource("requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def to_install(missing: Iterable[str], requirements: Iterable[str]) -> list[str]:
    """Those of `requirements` that are missing; torch and torchvision both, if one is; never one of `HELD`.

    Parameters
    ----------
    missing : iterable of str
        Requirements that are not met, as the job ``environment`` tells them.
    requirements : iterable of str
        All that may be installed.
    """
    names = {name_of(each) for each in missing}
    if names & set(_TOGETHER):
        names |= set(_TOGETHER)
    names -= {name_of(each) for each in HELD}
    return [each for each in requirements if name_of(each) in names]


def pip_arguments(
    packages: Iterable[str], facts: Mapping[str, Any], folder: Path, *, wheelhouse: str = "", index: str = ""
) -> list[str]:
    """Arguments of ``pip install``.

    Parameters
    ----------
    packages : iterable of str
    facts : mapping
        Of the job ``environment``: the versions of `HELD` are held fast, so that pip takes what fits to them.
    folder : Path
        Where the file with the versions is written.
    wheelhouse : str
        Folder of wheels; with it nothing is asked of the network.
    index : str
        Address of another package index, beside the usual one.
    """
    held = [f"{name}=={facts[name.casefold()]}" for name in HELD if facts.get(name.casefold())]
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in held), encoding="utf-8")
    source = ["--no-index", "--find-links", wheelhouse] if wheelhouse else []
    if index and not wheelhouse:
        source = ["--extra-index-url", index]
    return [*source, "--no-input", "--disable-pip-version-check", "-c", str(constraints), *packages]


def why_failed(lines: Iterable[str], wheelhouse: str = "") -> str:
    """Cause of a failed installation and the way out, from pip's output."""
    text = "\n".join(lines)
    for signs, words in _causes(wheelhouse):
        if re.search(signs, text, re.IGNORECASE):
            return words
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip().startswith("ERROR")), "")
    last = last or next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    return _("The installation failed: {line} See the log below.").format(line=last[:300])


def _causes(wheelhouse: str) -> list[tuple[str, str]]:
    other = _("Or choose another Python environment below.")
    return [
        (
            r"No space left|Errno 28|disk full",
            _("The disk is full. PyTorch needs up to 8 GB: make room, then press Install again."),
        ),
        (
            r"ResolutionImpossible|conflicting dependencies|user requested \(constraint\)",
            _("The packages do not fit Slicer's own numpy, pydicom and SimpleITK, which are never replaced.")
            + " "
            + _("Choose another Python environment below, or use a newer Slicer."),
        ),
        *(_wheelhouse_causes(wheelhouse) if wheelhouse else []),
        (
            r"name resolution|getaddrinfo|NewConnectionError|ConnectTimeout|Network is unreachable|Connection refused",
            _("The package index cannot be reached. Check the network and the proxy settings of pip, or choose a "
              "folder of wheels."),
        ),
        (
            r"ProxyError|407 Proxy",
            _("The proxy refuses the connection. Set the proxy in pip's settings, or choose a folder of wheels."),
        ),
        (
            r"CERTIFICATE_VERIFY_FAILED|SSLError",
            _("The certificate of the package index is not trusted. Name the site's certificate in pip's settings, "
              "or choose a folder of wheels."),
        ),
        (
            r"No matching distribution found",
            _("The package index has no version for this Python and system.") + " " + other,
        ),
        (
            r"Permission denied|Access is denied|Errno 13|WinError 5",
            _("Slicer's folder may not be written to, or a file there is in use. Restart Slicer with the right to "
              "write there.") + " " + other,
        ),
    ]  # fmt: skip


def _wheelhouse_causes(wheelhouse: str) -> list[tuple[str, str]]:
    return [
        (
            r"No matching distribution found|Could not find a version",
            _(
                "The folder {folder} lacks a wheel, or has it for another Python or system: see the log below. Fill it "
                "with `pip download` on a computer with the same system and Python {version}."
            ).format(folder=wheelhouse, version=f"{sys.version_info[0]}.{sys.version_info[1]}"),
        )
    ]


class PackageInstaller:
    """pip in a child process of Slicer's Python.

    Attributes
    ----------
    line : Signal
        ``(text)`` for every line of pip's output.
    ended : Signal
        ``(outcome)``: ``done``, ``failed`` or ``cancelled``.
    lines : list of str
        The output so far.
    """

    def __init__(self) -> None:
        self.line, self.ended = Signal(), Signal()
        self.lines: list[str] = []
        self._process: Any = None
        self._ended: Any = None
        self._pid: int | None = None
        self._cancelled = False

    @property
    def running(self) -> bool:
        """Whether pip runs."""
        return self._process is not None

    def start(self, arguments: list[str]) -> None:
        """Begin to install; the arguments are pip's.

        Raises
        ------
        OSError
            If Slicer's Python is not found.
        """
        python = Compat.slicer_python()
        self.lines, self._pid, self._cancelled, self._buffer = [], None, False, LineBuffer()
        process = self._process = qt.QProcess()
        process.setProcessEnvironment(Compat.process_environment(python))
        process.setProcessChannelMode(qt.QProcess.MergedChannels)
        process.connect("readyReadStandardOutput()", self._on_output)
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_error)
        process.start(python, ["-u", str(Path(__file__).with_name("InstallPackages.py")), *arguments])

    def cancel(self) -> None:
        """End pip and its children."""
        if self._process is None:
            return
        self._cancelled = True
        if self._pid is not None:
            end_tree(self._pid)
        self._process.kill()

    def _on_output(self, *_arguments: Any) -> None:
        if self._process is not None:
            for line in self._buffer.feed(bytes(self._process.readAllStandardOutput().data())):
                self._on_line(line)

    def _on_line(self, line: str) -> None:
        if self._pid is None and line.isdigit():
            self._pid = int(line)
            return
        self.lines.append(line)
        self.line.emit(line)

    def _on_finished(self, code: int, status: Any) -> None:
        if self._process is None:
            return
        self._on_output()
        if rest := self._buffer.rest():
            self._on_line(rest)
        whole = status == qt.QProcess.NormalExit and code == 0
        self._end("cancelled" if self._cancelled else "done" if whole else "failed")

    def _on_error(self, error: Any) -> None:
        if self._process is not None and error == qt.QProcess.FailedToStart:
            self._on_line(_("{python} cannot be started.").format(python=self._process.program()))
            self._end("failed")

    def _end(self, outcome: str) -> None:
        # Kept until the next one ends: freed within its own signal, QProcess would go on with what is no more.
        self._ended, self._process, self._pid = self._process, None, None
        self.ended.emit(outcome)


def end_tree(pid: int) -> None:
    """End a process that leads a group of its own, with its children."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)
        return
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
