"""The report of a prediction as a PDF: A4, text upright, overlay sheets on pages of their own, lying.

Equal predictions give equal bytes: there is no date and no random number in the file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from matplotlib import get_data_path
from PIL import Image as Picture
from reportlab import rl_config
from reportlab.lib.colors import Color, HexColor, white
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.errors import printable
from MolSubCore.files import atomic_path, write_text
from MolSubCore.models.card import card_rows, dated, fusion_title, result_note, test_figures
from MolSubCore.report.page import data_uri, environment, known, number
from MolSubCore.statistics.metrics import metric_title

#: Names of the heatmap methods as the literature writes them.
_METHODS = {
    "gradcam": "Grad-CAM", "gradcam-library": "Grad-CAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM",
    "xgradcam": "XGrad-CAM", "layercam": "Layer-CAM", "eigencam": "Eigen-CAM", "eigengradcam": "Eigen-Grad-CAM",
    "gradcamelementwise": "element-wise Grad-CAM", "ablationcam": "Ablation-CAM", "scorecam": "Score-CAM",
}  # fmt: skip
_SHOWS = {
    "eigencam": "which part of the image varies most in the layer's activations, whatever the class",
    "ablationcam": "where removing the layer's activations would lower the class's score",
    "scorecam": "which parts of the image, shown alone, raise the class's score",
}
_READING = (
    "Early layers "
    "show edges and texture, late ones coarse regions. Each map is stretched to its own range, so a bright map can "
    "stand for little evidence; the raw maps lie beside the scaled ones. Every saliency method that Arun et al. "
    "(Radiology: Artificial Intelligence, 2021) tested failed at least one test. A heatmap is no evidence that the "
    "model is right, nor of where a tumour is."
)


def how_to_read(method: str | None) -> str:
    """What the heatmaps of a method show and do not show; of Grad-CAM where it is not recorded."""
    name = method or "gradcam"
    shows = _SHOWS.get(name, "where a change of the layer's activations would change the class's score")
    return f"A heatmap shows {shows} ({_METHODS.get(name, name)}). {_READING}"


SYNTHETIC = "SYNTHETIC: pictures or training data were made by a program. This report says nothing about a patient."

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Facts:
    """The texts and numbers of a prediction's report.

    Attributes
    ----------
    subtitle : str
    results : list of (str, list of (str, float))
        Title of each result, such as ``left breast``, and its classes with their probabilities, the largest first;
        none where its predictions mean nothing.
    note : str
        What the probabilities are.
    synthetic : bool
        Whether pictures or model are no patients'.
    lesions : list of list of str
        One row per lesion and image, below `lesion_header`.
    card : list of (str, str)
        The model card.
    identity : list of (str, str)
        Files and identifiers; empty unless the prediction was saved with them.
    """

    subtitle: str
    results: list[tuple[str, list[tuple[str, float]]]]
    note: str
    synthetic: bool
    lesion_header: list[str]
    lesions: list[list[str]]
    card: Rows
    identity: Rows


def _note(result: dict[str, Any], card: dict[str, Any]) -> str:
    """What the probabilities of a result are."""
    how = "Mean of the model's softmax outputs over the views of one breast or lesion."
    if fused := fusion_title(card):
        how = f"Made of the outputs for all views of one breast or lesion: {fused}."
    if used := result.get("clinical"):
        how += f" Clinical values: {', '.join(f'{name} = {value}' for name, value in used.items())}."
    return f"{how} {result_note(card)}"


def prediction_facts(result: dict[str, Any], card: dict[str, Any]) -> Facts:
    """Gather what a report says.

    Parameters
    ----------
    result : dict
        The content of ``prediction.json``.
    card : dict
        The model bundle's card.
    """
    members, views = len(card["members"]), len(result["images"])
    return Facts(
        subtitle=f"Task {result['task']} · model {known(result['model']['name'])} ({card['architecture']}, "
        f"{members} member{'s' * (members > 1)}) · {views} lesion view{'s' * (views > 1)}",
        results=[
            (one["title"], sorted((one["probabilities"] or {}).items(), key=lambda entry: -entry[1]))
            for one in results_of(result)
        ],
        note=_note(result, card),
        synthetic=bool(card.get("synthetic")) or any("synthetic" in text.lower() for text in result["warnings"]),
        lesion_header=["Lesion", *result["classes"], "Region (rows, columns)", "Pixel spacing"],
        lesions=[_lesion(image, result["classes"]) for image in result["images"]],
        card=[*card_rows(card), *_metrics(card)],
        identity=_identity(result),
    )


def results_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The results in the content of a ``prediction.json``; of one of before, its mean over everything."""
    found: list[dict[str, Any]] = result.get("results") or [{"title": "patient", "breast": None, **result["patient"]}]
    return found


def _lesion(image: dict[str, Any], classes: list[str]) -> list[str]:
    roi, spacing = image["roi"], image.get("spacing") or {}
    where = f"{roi['row_start']}–{roi['row_stop']}, {roi['col_start']}–{roi['col_stop']}"
    size = f"{number(spacing['row_mm'], 4)} mm ({_words(spacing['source'])})" if spacing.get("row_mm") else "unknown"
    return [image["lesion"], *(number(image["probabilities"][name]) for name in classes), where, size]


def _words(name: str) -> str:
    """A DICOM keyword as the standard writes its name: ``Imager Pixel Spacing``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _metrics(card: dict[str, Any]) -> Rows:
    """Metrics of the model's own test set, per patient where known."""
    unit, metrics = test_figures(card)
    title = dated(card, f"Test set ({unit})")
    rows = [
        (f"{title}: {metric_title(name)}", _estimate(value["value"], value.get("low"), value.get("high")))
        for name, value in metrics.items()
    ]
    return rows or [("Test metrics", "not recorded")]


def _estimate(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return number(value)
    return f"{number(value)} (95 % CI {number(low)} to {number(high)})"


def _identity(result: dict[str, Any]) -> Rows:
    """Files and identifiers, each once."""
    rows: Rows = []
    for image in result["images"]:
        rows += [(f"{image['lesion']}: {kind}", name) for kind, name in (image.get("files") or {}).items()]
        rows += [(str(key), str(value)) for key, value in (image.get("identifiers") or {}).items() if value]
    return list(dict.fromkeys(rows))


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


_INK, _DIM, _LINE, _SOFT = (HexColor(code) for code in ("#1d2430", "#5c6675", "#dfe3ea", "#f4f6f9"))
_ACCENT, _WARN, _WARN_BACK, _SYNTHETIC = (HexColor(code) for code in ("#2a6f97", "#9a3b12", "#fff3e8", "#b4540a"))
_MARGIN, _BAND, _FOOT = 16 * mm, 9 * mm, 14 * mm
_PLAIN, _BOLD, _CHINESE = "MolSub", "MolSub-Bold", "STSong-Light"
_TITLE = "Molecular subtype from mammography"
rl_config.useA85 = 0  # its ASCII form of binary data is written in Python, and costs more than all the rest

_HEAD: dict[str, Any] = {"fontName": _BOLD, "keepWithNext": 1}
_BEYOND = re.compile("([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+)")


def prediction_pdf(
    result: dict[str, Any],
    pictures: Mapping[str, Sequence[Path]],
    card: dict[str, Any],
    out: Path,
    *,
    evaluation_picture: Path | None = None,
) -> None:
    """Write the report of one patient's prediction; the arguments are those of `html.prediction_report`."""
    _register_fonts()
    facts = prediction_facts(result, card)
    sheets = [(label, path) for label, paths in pictures.items() for path in paths]
    sheets += [("Evaluation of the model", evaluation_picture)] if evaluation_picture else []
    story = _summary(facts, result["warnings"])
    if sheets:
        story += [_text("How to read the heatmaps", "heading"), _text(how_to_read(result.get("heatmap_method")))]
        story += [part for label, path in sheets for part in _sheet(label, path)]
        story += [NextPageTemplate("upright"), PageBreak()]
    story += [_text("Model card", "heading"), _pairs(facts.card)]
    if facts.identity:
        story += [_text("Files and identifiers", "heading"), _pairs(facts.identity)]
    buffer = io.BytesIO()
    document = BaseDocTemplate(
        buffer, title=_TITLE, author="MolSubSlicer", subject=DISCLAIMER, creator=f"MolSubSlicer {__version__}",
        invariant=1, lang="en", pageTemplates=[_page("upright", A4, facts), _page("lying", landscape(A4), facts)],
    )  # fmt: skip
    document.build(story, canvasmaker=_Numbered)
    with atomic_path(out) as temporary:
        temporary.write_bytes(buffer.getvalue())


@lru_cache(maxsize=1)
def _register_fonts() -> None:
    """Fonts with the letters that results have; Chinese by the reader's own font."""
    folder = Path(get_data_path()) / "fonts" / "ttf"
    for name, file in ((_PLAIN, "DejaVuSans.ttf"), (_BOLD, "DejaVuSans-Bold.ttf")):
        pdfmetrics.registerFont(TTFont(name, folder / file))
    pdfmetrics.registerFont(UnicodeCIDFont(_CHINESE))


@lru_cache(maxsize=1)
def _styles() -> dict[str, ParagraphStyle]:
    body = ParagraphStyle("body", fontName=_PLAIN, fontSize=9, leading=13, textColor=_INK, splitLongWords=1)

    def style(name: str, **values: Any) -> ParagraphStyle:
        return ParagraphStyle(name, parent=body, **values)

    return {
        "body": body,
        "title": style("title", fontName=_BOLD, fontSize=18, leading=24),
        "heading": style(
            "heading", fontName=_BOLD, fontSize=12, leading=16, spaceBefore=14, spaceAfter=5, keepWithNext=1
        ),
        "dim": style("dim", fontSize=8, leading=11, textColor=_DIM),
        "head": style("head", fontSize=7, leading=10, textColor=_DIM),
        "name": style("name", fontSize=7.5, leading=10.5, textColor=_DIM),
        "cell": style("cell", fontSize=7.5, leading=10.5),
        "warning": style("warning", fontSize=8.5, leading=12, textColor=_WARN),
    }


def _escape(text: str) -> str:
    """Text for a paragraph: no markup of its own; letters that the font lacks in another."""
    plain = printable(text, 1 << 20)
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _BEYOND.sub(rf'<font name="{_CHINESE}">\1</font>', plain)


def _text(text: str, style: str = "body") -> Paragraph:
    return Paragraph(_escape(text), _styles()[style])


def _summary(facts: Facts, warnings: Sequence[str]) -> list[Flowable]:
    story: list[Flowable] = [
        _text(_TITLE, "title"),
        _text(facts.subtitle, "dim"),
    ]
    for title, ranked in facts.results:
        bars: list[Flowable] = [_Bar(name, value, first=number == 0) for number, (name, value) in enumerate(ranked)]
        bars = bars or [_text("None: no meaningful prediction.")]
        story.append(KeepTogether([_text(f"Prediction for the {title}", "heading"), *bars, Spacer(1, 4)]))
    story.append(_text(facts.note, "dim"))
    if warnings:
        story += [Spacer(1, 10), _warnings(warnings)]
    return [*story, _text("Per image and lesion", "heading"), _lesions(facts)]


class _Bar(Flowable):
    """A class, its probability as a bar from 0 to 1, and as a number."""

    _HEIGHT, _NAME, _VALUE = 18.0, 105.0, 40.0

    def __init__(self, name: str, value: float, *, first: bool) -> None:
        super().__init__()
        self._name, self._value_shown, self._first = name, value, first

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        self.width = width
        return width, self._HEIGHT

    def draw(self) -> None:
        canvas, track = self.canv, self.width - self._NAME - self._VALUE
        font = _BOLD if self._first else _PLAIN
        canvas.setFont(font, 9)
        canvas.setFillColor(_INK)
        canvas.drawString(0, 5.5, self._name)
        canvas.drawRightString(self.width, 5.5, f"{self._value_shown:.3f}")
        canvas.setStrokeColor(_LINE)
        canvas.setFillColor(_SOFT)
        canvas.rect(self._NAME, 2.5, track, 12, stroke=1, fill=1)
        canvas.setFillColor(_ACCENT if self._first else _lighter(_ACCENT))
        canvas.rect(self._NAME, 2.5, track * min(max(self._value_shown, 0.0), 1.0), 12, stroke=0, fill=1)


def _lighter(color: Color) -> Color:
    return Color(*(1 - 0.55 * (1 - part) for part in (color.red, color.green, color.blue)))


def _warnings(texts: Sequence[str]) -> Table:
    """The box that is to be read first; it breaks over pages between two sentences."""
    rows = [[_text("Read before use", "warning")], *([_text(f"• {text}", "warning")] for text in texts)]
    rows[0] = [Paragraph("<b>Read before use</b>", ParagraphStyle("", parent=_styles()["warning"], fontName=_BOLD))]
    return Table(
        rows, colWidths=["100%"], spaceAfter=4,
        style=[("BACKGROUND", (0, 0), (-1, -1), _WARN_BACK), ("LINEBEFORE", (0, 0), (0, -1), 3, _SYNTHETIC),
               ("LEFTPADDING", (0, 0), (-1, -1), 10), ("TOPPADDING", (0, 0), (-1, -1), 2),
               ("BOTTOMPADDING", (0, 0), (-1, -1), 2)],
    )  # fmt: skip


def _lesions(facts: Facts) -> Table:
    rows = [[_text(name, "head") for name in facts.lesion_header]]
    rows += [[_text(cell, "cell") for cell in row] for row in facts.lesions]
    classes = len(facts.lesion_header) - 3
    share = min(52 / classes, 18.0)
    rest = (100 - share * classes) / 3
    widths = [f"{part}%" for part in (rest, *[share] * classes, rest, rest)]
    return Table(rows, colWidths=widths, repeatRows=1, style=_grid())


def _pairs(rows: Rows) -> Table:
    return Table(
        [[_text(name, "name"), _text(value, "cell")] for name, value in rows], colWidths=["34%", "66%"], style=_grid()
    )


def _grid() -> list[tuple[Any, ...]]:
    everywhere = (0, 0), (-1, -1)
    paddings = {"LEFTPADDING": 3, "RIGHTPADDING": 3, "TOPPADDING": 3, "BOTTOMPADDING": 4}
    lines = [("LINEBELOW", *everywhere, 0.5, _LINE), ("VALIGN", *everywhere, "TOP")]
    return [*lines, *((name, *everywhere, size) for name, size in paddings.items())]


def _sheet(label: str, path: Path) -> list[Flowable]:
    """A picture on a lying page of its own, as large as the page allows."""
    width, height = landscape(A4)[0] - 2 * _MARGIN, landscape(A4)[1] - 2 * _BAND - _FOOT - 22 * mm
    data = io.BytesIO()
    with Picture.open(path) as picture:
        size = picture.size
        # As a PNG's pixels a sheet would take megabytes. Full colour resolution: the outlines are one pixel wide.
        picture.convert("RGB").save(data, "JPEG", quality=92, subsampling=0)
    scale = min(width / size[0], height / size[1])
    shown = Image(data, width=size[0] * scale, height=size[1] * scale, hAlign="LEFT")
    return [NextPageTemplate("lying"), PageBreak(), _text(label, "heading"), shown]


def _page(name: str, size: tuple[float, float], facts: Facts) -> PageTemplate:
    top = _BAND * (2 if facts.synthetic else 1)
    frame = Frame(
        _MARGIN, _FOOT, size[0] - 2 * _MARGIN, size[1] - top - _FOOT - 3 * mm,
        leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0, id=name,
    )  # fmt: skip
    return PageTemplate(name, [frame], onPage=partial(_bands, synthetic=facts.synthetic), pagesize=size)


def _bands(canvas: Canvas, document: BaseDocTemplate, *, synthetic: bool) -> None:
    """What stands on every page: that this is no medical device, and whether it is about a patient at all."""
    width, height = canvas._pagesize
    for row, (text, color) in enumerate([(DISCLAIMER, _INK), *([(SYNTHETIC, _SYNTHETIC)] if synthetic else [])]):
        canvas.setFillColor(color)
        canvas.rect(0, height - _BAND * (row + 1), width, _BAND, stroke=0, fill=1)
        canvas.setFillColor(white)
        canvas.setFont(_BOLD, _fitting(text, width - 2 * _MARGIN))
        canvas.drawString(_MARGIN, height - _BAND * (row + 1) + 3.2 * mm, text)
    canvas.setFillColor(_DIM)
    canvas.setFont(_PLAIN, 7)
    canvas.drawString(_MARGIN, 7 * mm, f"MolSubSlicer {__version__}")


def _fitting(text: str, width: float) -> float:
    """The font size, 9 at most, in which a line is no wider than `width`."""
    return min(9.0, width / pdfmetrics.stringWidth(text, _BOLD, 1))


class _Numbered(Canvas):
    """Writes "page 2 of 5", which is known at the end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:
        """Keep the page."""
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Number all pages, then write."""
        for count, page in enumerate(self._pages, start=1):
            self.__dict__.update(page)
            self.setFont(_PLAIN, 7)
            self.setFillColor(_DIM)
            self.drawRightString(self._pagesize[0] - _MARGIN, 7 * mm, f"page {count} of {len(self._pages)}")
            super().showPage()
        super().save()
