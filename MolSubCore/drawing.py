"""Figures: the one way to make one."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Classes, columns and devices are named by files: a text of theirs is shown as it is, never set as a formula, which a
# single "$\frac{" would make an error at the end of the work.
matplotlib.rcParams["text.parse_math"] = False


def make_figure(**options: Any) -> Figure:
    """An empty figure that can be saved; its texts are no formulas. `options` are those of `Figure`."""
    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure
