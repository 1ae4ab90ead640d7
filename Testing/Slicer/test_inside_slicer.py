"""The tests that run inside the real application, run here too."""

from __future__ import annotations

import pytest

from InsideSlicer import InsideSlicerTest


@pytest.mark.usefixtures("module")
class TestInsideSlicer(InsideSlicerTest):
    """The same tests, on the stand-ins."""


del InsideSlicerTest
