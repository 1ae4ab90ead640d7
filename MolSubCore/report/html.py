"""The one-page report of a prediction: self-contained HTML, for the screen and for A4 paper."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.evaluation.metrics import metric_title
from MolSubCore.files import write_text


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
    patient = result["patient"]["probabilities"]
    page = _template().render(
        result=result,
        card=card,
        ranked=sorted(patient.items(), key=lambda entry: -entry[1]),
        sheets={label: [_data_uri(path) for path in paths] for label, paths in pictures.items()},
        synthetic=bool(card.get("synthetic")) or any("synthetic" in text.lower() for text in result["warnings"]),
        metrics=list(_metric_rows((card.get("metrics") or {}).get("test") or {})),
        evaluation=evaluation,
        evaluation_picture=_data_uri(evaluation_picture) if evaluation_picture else None,
        disclaimer=DISCLAIMER,
        version=__version__,
    )
    write_text(out, page)


def _metric_rows(part: dict[str, Any]) -> Sequence[tuple[str, dict[str, Any]]]:
    """Metrics of one part of an evaluation, per patient where known."""
    level = part.get("patient") or part.get("image") or {}
    metrics = level.get("metrics") or {}
    return [(metric_title(name), value) for name, value in metrics.items() if isinstance(value, dict)]


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["known"] = lambda value: "not recorded" if value in (None, "", {}, []) else value
    environment.filters["number"] = lambda value, digits=3: "undefined" if value is None else f"{value:.{digits}f}"
    return environment.get_template("prediction.html")
