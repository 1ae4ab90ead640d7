"""``python -m MolSubCore`` and ``molsub``: errors become one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from MolSubCore.cli.app import build_parser
from MolSubCore.cli.terminal import PlainText
from MolSubCore.cli.train import train
from MolSubCore.errors import MolSubError, explain_error
from MolSubCore.training.distributed import PATIENCE, cause_to_tell, launched
from MolSubCore.worker.signals import on_end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 2 bad input, 130 interrupted, 1 a fault of ours."""
    rank, processes = launched()
    plain = contextlib.redirect_stdout(PlainText(sys.stdout))  # type: ignore[type-var]
    with _quiet() if rank else plain:
        try:
            options = build_parser().parse_args(arguments)
        except SystemExit as end:
            if rank and end.code:
                time.sleep(PATIENCE)  # the first process says it
            raise
        on_end(_interrupt)
        try:
            return _run(options, processes)
        except KeyboardInterrupt as interruption:
            said = " ".join([str(interruption), options.after_interrupt]).strip()
            return _end(f"\nmolsub: stopped. {said}", 130, processes)


def _run(options: argparse.Namespace, processes: int) -> int:
    """Run a command; errors of all kinds become a line and an exit code."""
    try:
        if processes > 1 and options.handler is not train:
            found = f"starts {processes} processes of this command, expected of molsub train"
            raise MolSubError("torchrun", found, "Start it without torchrun")
        result: int = options.handler(options)
        return result
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("MOLSUB_DEBUG"):
            raise
        message, code = explain_error(error)
        return _end(f"molsub: {message}", code, processes)


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


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
