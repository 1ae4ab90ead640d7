"""``python -m MolSubCore`` and ``molsub``: errors become one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from types import FrameType

from MolSubCore.cli.app import build_parser
from MolSubCore.cli.terminal import terminal
from MolSubCore.errors import explain_error
from MolSubCore.worker.signals import on_end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 2 bad input, 130 interrupted, 1 a fault of ours."""
    with terminal():
        try:
            options = build_parser().parse_args(arguments)
        except SystemExit:
            sys.stdout.flush()
            raise
        on_end(_interrupt)
        try:
            return _run(options)
        except KeyboardInterrupt as interruption:
            said = " ".join([str(interruption), options.after_interrupt]).strip()
            print(f"\nmolsub: stopped. {said}", file=sys.stderr)
            return 130


def _run(options: argparse.Namespace) -> int:
    """Run a command; errors of all kinds become a line and an exit code."""
    try:
        result: int = options.handler(options)
        sys.stdout.flush()
        return result
    except Exception as error:
        if os.environ.get("MOLSUB_DEBUG"):
            raise
        message, code = explain_error(error)
        print(f"molsub: {message}", file=sys.stderr)
        return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
