"""The one-page report of a prediction: self-contained HTML, for the screen and for A4 paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.files import write_text
from MolSubCore.report.page import data_uri, environment
from MolSubCore.report.prediction_facts import SYNTHETIC, how_to_read, prediction_facts


def prediction_report(
    result: dict[str, Any],
    pictures: Mapping[str, Sequence[Path]],
    card: dict[str, Any],
    out: Path,
    *,
    evaluation: dict[str, Any] | None = None,
    evaluation_picture: Path | None = None,
) -> None:
    """Write the report of one patient's prediction.

    Parameters
    ----------
    result : dict
        The content of ``prediction.json``.
    pictures : mapping of str to sequence of Path
        Overlay sheets by lesion label.
    card : dict
        The model bundle's card.
    out : Path
        The HTML file.
    evaluation : dict, optional
        Content of the run's ``evaluation.json``.
    evaluation_picture : Path, optional
        The run's ``evaluation.png``.
    """
    page = (
        environment()
        .get_template("prediction.html")
        .render(
            result=result,
            facts=prediction_facts(result, card),
            sheets={label: [data_uri(path) for path in paths] for label, paths in pictures.items()},
            how_to_read=how_to_read(result.get("heatmap_method")),
            synthetic_text=SYNTHETIC,
            evaluation=evaluation,
            evaluation_picture=data_uri(evaluation_picture) if evaluation_picture else None,
            disclaimer=DISCLAIMER,
            version=__version__,
        )
    )
    write_text(out, page)
