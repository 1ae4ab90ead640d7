"""Traps for writes, and forked processes that fall into them."""

from __future__ import annotations

import json
import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MolSubCore.__main__ import explain_error

TORN_AT = 16
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")


@dataclass
class Trap:
    """Calls `then` at the change number `at` below `root`, from 1; counts them all."""

    root: Path
    at: int
    then: Callable[[], None]
    each: Callable[[], None] | None = None
    count: int = 0
    armed: bool = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if not self.armed or (event != "open" and event not in CHANGES):
            return
        if event == "open" and not (arguments[2] or 0) & _WRITING:
            return
        if not self._below(event, arguments):
            return
        self.count += 1
        if self.each:
            self.each()
        if self.count == self.at:
            self.then()

    def _below(self, event: str, arguments: tuple[Any, ...]) -> bool:
        try:
            path = os.fsdecode(arguments[0])
        except TypeError:
            return False
        if event == "os.mkdir" and os.path.isdir(path):  # noqa: PTH112 - nothing that an audit hook would see again
            return False
        relative = event in ("os.remove", "os.rmdir") and not os.path.isabs(path)  # noqa: PTH117 - of a tree
        return relative or path.startswith(f"{self.root}/")


def die() -> None:
    """As kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def tear() -> None:
    """Let the system kill this process in its next write beyond 16 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (TORN_AT, resource.RLIM_INFINITY))


@dataclass
class End:
    """How a child ended."""

    status: int
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def killed(self) -> bool:
        """Whether by the trap."""
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) in (signal.SIGKILL, signal.SIGXFSZ)


class Child:
    """A forked process that runs `work` and sends back what it returns, or the error as the command line says it."""

    def __init__(self, work: Callable[[], dict[str, Any]]) -> None:
        self._out, end = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(end)
            return
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        void = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(void, stream)
        try:
            said = work()
        except BaseException as error:
            line, code = explain_error(error)
            said = {"error": line, "code": code, "trace": traceback.format_exc()}
        os.write(end, json.dumps(said).encode())
        os._exit(0)

    def wait(self) -> End:
        """Its end."""
        with os.fdopen(self._out, "rb") as stream:
            said = stream.read()
        return End(os.waitpid(self.pid, 0)[1], json.loads(said) if said else {})


def run(work: Callable[[], dict[str, Any]]) -> End:
    """`work` in a child, to its end."""
    return Child(work).wait()
