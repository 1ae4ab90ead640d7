"""A synthetic cohort drawn coarsely, in a quarter of the time, for tests that do not look at its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

from MolSubCore.cohort import synthetic


def make_coarse_cohort(folder: Path, *, image_shape: tuple[int, int] = (256, 208), **options: Any) -> Path:
    """As `make_synthetic_cohort`, but tissue is drawn on no more rows than 256."""
    with patch.object(synthetic, "_BASE_ROWS", 256):
        return synthetic.make_synthetic_cohort(folder, image_shape=image_shape, **options)
