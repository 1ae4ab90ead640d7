"""What ``molsub worker`` does.

Standard library only: the worker is what tells in 3D Slicer which packages are to be installed.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def worker(options: argparse.Namespace) -> int:
    """``molsub worker``, and ``molsub worker --job FOLDER``."""
    if options.job:
        from MolSubCore.jobs.folder import run_job_folder

        return run_job_folder(Path(options.job))
    from MolSubCore.jobs.worker import serve_standard_streams

    serve_standard_streams()
    return 0
