"""``molsub worker``.

Standard library only: the worker is what tells in 3D Slicer which packages are to be installed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from MolSubCore.cli.parts import Commands, add_command


def add_worker(commands: Commands) -> None:
    """``molsub worker``."""
    text = "for programs: read jobs as JSON lines from standard input, write events to standard output"
    parser = add_command(commands, "worker", worker, text, examples=("worker --job JOB_FOLDER",))
    parser.add_argument(
        "--attached", action="store_true", help="cancel all jobs when standard input is closed; default: finish them"
    )
    parser.add_argument("--job", metavar="DIR", help="do the one job in DIR/request.json instead")


def worker(options: argparse.Namespace) -> int:
    """``molsub worker``, and ``molsub worker --job FOLDER``."""
    if options.job:
        from MolSubCore.worker.folder import run_job_folder

        return run_job_folder(Path(options.job))
    from MolSubCore.worker.worker import serve_standard_streams

    return 0 if serve_standard_streams(attached=options.attached) else 2
