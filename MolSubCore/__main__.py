"""``python -m MolSubCore`` and ``molsub``: errors become one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from MolSubCore.cli import build_parser
from MolSubCore.errors import MolSubError
from MolSubCore.training.distributed import PATIENCE, cause_to_tell, launched

_MEMORY_ADVICE = (
    "molsub: out of memory on the {device}. Use a smaller --batch-size, --precision bf16 on a GPU, or --device cpu."
)
_OS_ADVICE = {
    errno.ENOSPC: "the disk is full. Free some space, or choose another --out; nothing half-written was left",
    errno.EDQUOT: "the disk quota is used up. Free some space, or choose another --out",
    errno.EACCES: "permission denied. Choose a folder that you may write to",
    errno.EROFS: "the file system is read-only. Choose another --out",
}

# Writers in native code (safetensors, HDF) wrap the system's error in their own class; NumPy's has no number.
_DISK_FULL = re.compile(r"No space left on device|os error 28|\d requested and \d+ written")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 2 bad input, 130 interrupted, 1 a fault of ours."""
    rank, processes = launched()
    with _quiet() if rank else contextlib.nullcontext():
        try:
            options = build_parser().parse_args(arguments)
        except SystemExit as end:
            if rank and end.code:
                time.sleep(PATIENCE)  # the first process says it
            raise
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            return _run(options, processes)
        except KeyboardInterrupt as interruption:
            said = " ".join([str(interruption), options.after_interrupt]).strip()
            return _end(f"\nmolsub: stopped. {said}", 130, processes)


def _run(options: argparse.Namespace, processes: int) -> int:
    """Run a command; errors of all kinds become a line and an exit code."""
    try:
        if processes > 1 and options.handler != "commands.train":
            found = f"starts {processes} processes of this command, expected of molsub train"
            raise MolSubError("torchrun", found, "Start it without torchrun")
        module, function = options.handler.split(".")
        result: int = getattr(importlib.import_module(f"MolSubCore.{module}"), function)(options)
        return result
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("MOLSUB_DEBUG"):
            raise
        return _end(*explain_error(error), processes)


def _end(message: str, code: int, processes: int) -> int:
    """Say what ended the command; under torchrun, in the first process and of whichever process it was."""
    if processes == 1:
        print(message, file=sys.stderr)
        return code
    others_interruption = code == 130 and launched()[0] > 0
    if told := cause_to_tell("" if others_interruption else message):
        print(told, file=sys.__stderr__)
    return code


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing from the processes of torchrun but the first."""
    with Path(os.devnull).open("w") as void, contextlib.redirect_stdout(void), contextlib.redirect_stderr(void):
        yield


def explain_error(error: BaseException) -> tuple[str, int]:
    """One line for the user, and the exit code."""
    if isinstance(error, MolSubError):
        return f"molsub: {error}", error.exit_code
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return _MEMORY_ADVICE.format(device="computer" if isinstance(error, MemoryError) else "GPU"), 2
    # PyTorch's CPU allocator has no class of its own for it.
    if isinstance(error, RuntimeError) and "not enough memory" in str(error):
        return _MEMORY_ADVICE.format(device="computer"), 2
    number = errno.ENOSPC if _DISK_FULL.search(str(error)) else getattr(error, "errno", None)
    name = getattr(error, "filename", None)
    if number in _OS_ADVICE:
        return f"molsub: {name or 'output'}: {_OS_ADVICE[number]}.", 2
    if isinstance(error, OSError) and name:  # a name too long, a folder in place of a file, a drive that is gone
        return f"molsub: {name}: {error.strerror}. Check the path.", 2
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"molsub: a fault of this program: {text}. Run again with MOLSUB_DEBUG=1 and report the traceback.", 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
