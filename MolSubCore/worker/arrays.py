"""Arrays as files for another process, which maps them into its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.files import atomic_path


def write_array(path: Path, values: NDArray[Any]) -> str:
    """Write a ``.npy`` file, whole or not at all, for ``np.load(path, mmap_mode="r")``; return its path as text.

    It is not forced to the disk: it is read at once, and made again after a crash.
    """
    with atomic_path(path, durable=False) as temporary:
        np.save(temporary, np.ascontiguousarray(values), allow_pickle=False)
    return str(path)
