"""Tables and figures of a study: what they hold, and how they become files."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from MolSubCore import DISCLAIMER
from MolSubCore.drawing import make_figure
from MolSubCore.files import atomic_path, plain_cell, write_listed
from MolSubCore.models.registry import ARCHITECTURES
from MolSubCore.report.page import data_uri, jpeg_uri
from MolSubCore.training.feature_models import BASELINES
from MolSubCore.training.run_files import FUSION, FUSION_TITLES

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table: cells for people, and records with full precision for the csv.

    Attributes
    ----------
    key : str
        Name of the csv and anchor in the page, such as ``table-2``.
    title, note : str
    header : tuple of str
    rows : tuple of tuple of str
        A row of one cell is a heading.
    groups : tuple of (str, int)
        A line above the header: text and number of columns.
    published : frozenset of int
        Columns that hold the paper's numbers, of another cohort.
    records : sequence of mapping
        Rows of the csv.
    why : str
        Why there is none; empty where there is one.
    """

    key: str
    title: str
    note: str = ""
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    groups: tuple[tuple[str, int], ...] = ()
    published: frozenset[int] = frozenset()
    records: Sequence[Record] = ()
    why: str = ""

    def write(self, folder: Path) -> None:
        """Write ``<key>.csv``, listed in its folder: the records, with a column for every key that one of them has."""
        names = list(dict.fromkeys(name for record in self.records for name in record))
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: "" if value is None else plain_cell(value) for key, value in row.items()} for row in self.records
        )
        write_listed(folder / f"{self.key}.csv", buffer.getvalue())


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes
    ----------
    key : str
        Name of the files and anchor in the page, such as ``figure-2``.
    title, caption : str
    figure : Figure or None
        None where `why` says why there is none.
    why : str
    photographic : bool
        Holds pictures: the page shows a JPEG, which is a tenth of the PNG, and not the SVG.
    width : int
        Largest width in the page, pixels.
    """

    key: str
    title: str
    caption: str = ""
    figure: Figure | None = field(default=None, repr=False)
    why: str = ""
    photographic: bool = False
    width: int = 1080

    def write(self, folder: Path) -> str:
        """Write ``<key>.png`` and ``<key>.svg``, the same bytes for the same figure; return the URI of the page."""
        if self.figure is None:
            return ""
        self._settle()
        # Without a fixed salt and with a date two runs of one plan would differ.
        with matplotlib.rc_context({"svg.hashsalt": self.key}):
            with atomic_path(folder / f"{self.key}.png") as temporary:
                self.figure.savefig(temporary, format="png", pil_kwargs={"compress_level": 3})
            with atomic_path(folder / f"{self.key}.svg") as temporary:
                self.figure.savefig(temporary, format="svg", metadata={"Date": None})
        return jpeg_uri(self.figure) if self.photographic else data_uri(folder / f"{self.key}.svg")

    def uri(self) -> str:
        """The figure as an SVG in a URI, for a page without files beside it; empty without a figure."""
        if self.figure is None:
            return ""
        with tempfile.TemporaryDirectory() as folder:
            return self.write(Path(folder))

    def _settle(self) -> None:
        """Find the layout once, for every format."""
        if self.figure is not None and self.figure.get_layout_engine() is not None:
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")


def new_figure(
    width: float, height: float, title: str, *, synthetic: bool, dark: bool = False, fixed: bool = False
) -> Figure:
    """An empty figure that says what it is, that it is for research, and whether its cohort is synthetic.

    `fixed` leaves the layout to the caller: finding one takes seconds where there are dozens of axes.
    """
    figure = make_figure(figsize=(width, height), dpi=150, layout=None if fixed else "constrained")
    ink = "#f0f2f5" if dark else "#1d2430"
    if dark:
        figure.set_facecolor("#0e1014")
    text = title + ("   |   SYNTHETIC COHORT" if synthetic else "")
    edge = {"y": 1 - 0.16 / height, "va": "top"} if fixed else {}
    size, small = min(13.0, 72 * (width - 0.4) / (0.66 * len(text))), min(8.0, 72 * width / (0.56 * len(DISCLAIMER)))
    figure.suptitle(text, fontsize=size, fontweight="bold", color=ink, **edge)
    edge = {"y": 0.1 / height, "va": "bottom"} if fixed else {}
    figure.supxlabel(DISCLAIMER, fontsize=small, color="#969ca6" if dark else "#666666", **edge)
    return figure


def model_title(model: str) -> str:
    """A model's name for people: an architecture's, a baseline's, or that of a fusion and its base."""
    base, _, kind = model.partition(FUSION)
    known = ARCHITECTURES.get(base) or BASELINES.get(base)
    title = known.title if known else base
    return f"{title}, {fusion_title(model)}" if kind else title


def fusion_title(model: str) -> str:
    """What a fusion adds to its base."""
    kinds = model.split(FUSION)[1:]
    return ", then ".join(FUSION_TITLES.get(kind, kind) for kind in kinds)


def joined(words: Iterable[str]) -> str:
    """``a, b and c``."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last
