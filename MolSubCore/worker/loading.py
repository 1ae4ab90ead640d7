"""Imports in another thread, so that a job can be cancelled meanwhile. Standard library only.

An interrupted import leaves PyTorch in a state in which it can never be imported again. Here only the waiting is
interrupted; the import continues, and the next job that needs it finds it done.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from importlib import import_module
from types import ModuleType

#: Seconds of one wait, which cannot be interrupted from another thread of the process.
_INTERVAL = 0.05

_known: dict[str, Future[ModuleType]] = {}
_one_at_a_time = threading.Lock()


def load(name: str) -> ModuleType:
    """The module of this name, once it is loaded.

    Raises
    ------
    KeyboardInterrupt
        If the wait is interrupted.
    Exception
        Any error of the import; the next call tries again.
    """
    future = _known.get(name)
    if future is None or (future.done() and future.exception() is not None):
        future = _known[name] = Future()
        threading.Thread(target=_load, args=(name, future), daemon=True).start()
    while True:
        try:
            return future.result(_INTERVAL)
        except NotYet:
            if future.done():  # else it is the import's own error
                return future.result()


def needs(*names: str) -> None:
    """Load modules, so that importing them afterwards takes no time; raises as `load`."""
    for name in names:
        load(name)


def _load(name: str, future: Future[ModuleType]) -> None:
    try:
        with _one_at_a_time:
            module = import_module(name)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(module)
