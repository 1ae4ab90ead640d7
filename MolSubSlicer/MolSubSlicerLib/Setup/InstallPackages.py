"""Run by Slicer's own Python, in a process of its own: installs packages as Slicer does it. Standard library only.

::

    PythonSlicer InstallPackages.py ARGUMENT...      those of `pip install`

The first line of the output is the process's number, so that it can be ended with all its children.
"""

from __future__ import annotations

import os
import subprocess
import sys


def main(arguments: list[str]) -> int:
    """Install, and return pip's exit code."""
    if hasattr(os, "setsid"):
        os.setsid()
    print(os.getpid(), flush=True)
    try:
        from slicer.packaging import pip_install  # Slicer 5.11 and newer
    except ImportError:
        from slicer.util import pip_install
    try:
        pip_install(arguments)
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
