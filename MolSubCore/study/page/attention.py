"""Attention, layer by layer: every class of the five-class task (Figure 4), both views of every binary class (5).

And the test patients that the model fails on, with what it looked at.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from MolSubCore.explain.examples import VIEWS, Attention, read_attention
from MolSubCore.explain.overlay import blend, layer_title
from MolSubCore.report.items import Picture, Table, model_title, new_figure
from MolSubCore.report.page import interval, number
from MolSubCore.study.faithfulness import read_faithfulness
from MolSubCore.study.page.curves import many
from MolSubCore.study.page.tables import absence
from MolSubCore.study.results import StudyResults
from MolSubCore.tasks import get_task

#: Measures of the tests that are shown, by their names in the file.
_TESTS = ("enrichment", "auroc over centred", "deletion over centred", "insertion over centred")
#: The paper's order, and its letters.
_BINARY = (("tn", "A, B"), ("luminal", "C, D"), ("her2", "E, F"))

_INK, _DIM, _WARNING = "#eceef2", "#969ca6", "#ff965a"
_OUTLINE = (255, 214, 90)
#: Pixels of a picture, and inches, which are as many at 150 dots per inch; then the room between and around.
_SIDE = 240

_TILE, _GAP, _LEFT, _EDGE, _ABOVE, _BELOW = 1.6, 0.06, 1.4, 0.12, 0.95, 0.4

_HOW_READ = (
    "Each map is stretched to its own range: bright means relative, never absolute evidence; maps cannot be compared "
    "by their brightness. Yellow: the lesion as outlined."
)
_HOW = (
    f"Grad-CAM for the true class. {_HOW_READ} Where it says alone, this view by itself is classified as another class."
)


def class_attention(results: StudyResults) -> Picture:
    """Figure 4: one correctly classified test patient of every subtype, all layers."""
    title = f"Figure 4. Attention of {model_title(results.main)}, layer by layer"
    found, why = _attention(results, many(results))
    if found is None:
        return Picture("figure-4", title, why=why)
    examples, layers = found.record["examples"], found.layers
    figure, grid = _grid(len(examples), len(layers) + 1, title, results)
    for row, example in zip(grid, examples, strict=True):
        view = next(iter(example["views"]), None)
        _row_title(row[0], f"{example['class']}\n{_view_text(view, example)}")
        if view is None:
            _nothing(row, example)
            continue
        for axes, picture, blind in zip(row, *_pictures(found, view), strict=True):
            _show(axes, picture, blind)
    for axes, name in zip(grid[0], ("region of interest", *map(layer_title, layers)), strict=True):
        axes.set_title(name.replace(" + ", "\n+ "), fontsize=9, color=_INK)
    return Picture("figure-4", title, _caption(results, found), figure, photographic=True)


def view_attention(results: StudyResults, task: str, letters: str) -> Picture:
    """A part of Supplementary 5: CC and MLO side by side for both classes of a binary task."""
    key = f"supplementary-5-{task}"
    title = f"Supplementary 5 {letters}. {get_task(task).title}: CC and MLO side by side"
    found, why = _attention(results, task)
    if found is None:
        return Picture(key, title, why=why)
    examples, layers = found.record["examples"], found.layers
    figure, grid = _grid(len(layers) + 1, 2 * len(examples), title, results)
    for axes, name in zip(grid[:, 0], ("region of interest", *map(layer_title, layers)), strict=True):
        _row_title(axes, name.replace(" + ", "\n+ "))
    for place, example in enumerate(examples):
        by_view = {view["view"]: view for view in example["views"]}
        for offset, name in enumerate(VIEWS):
            column, view = grid[:, 2 * place + offset], by_view.get(name)
            text = _view_text(view, example) if view else name
            column[0].set_title(f"{example['class']}\n{text}", fontsize=8.5, color=_INK)
            if view is None:
                _nothing(column, example, f"no {name} view" if example["views"] else "")
                continue
            for axes, picture, blind in zip(column, *_pictures(found, view), strict=True):
                _show(axes, picture, blind)
    return Picture(key, title, _caption(results, found), figure, photographic=True, width=760)


def faithfulness_table(results: StudyResults) -> Table:
    """Where the main model's heatmaps lie on the test set, and whether they follow what the model uses."""
    title = f"Tests of the heatmaps of {model_title(results.main)}, test set"
    runs = [run for task in results.tasks if (run := results.main_run(task))]
    found = [(run.task, made) for run in runs if (made := read_faithfulness(run.folder))]
    if not found:
        why = "the heatmaps were not tested yet" if runs else absence(results, results.tasks)
        return Table("faithfulness", title, why=why)
    rows, records = [], []
    for task, made in found:
        measured = made["layers"][made["layer"]]["all"]
        cells = [interval(one["mean"], one["low"], one["high"], 2) for one in map(measured.__getitem__, _TESTS)]
        stages = made["weight_randomisation"].get(made["layer"]) or {}
        last = list(stages.values())[-1] if stages else None
        who = f"{made['patients']} of {made['test_patients']} patients, {made['lesions']} patches"
        rows.append((get_task(task).title, who, str(measured["blind"]), *cells, number(last, 2)))
        records += [
            {"task": task, "model": results.main, "fold": made["fold"], "layer": made["layer"], "measure": name,
             **measured[name]} for name in _TESTS
        ]  # fmt: skip
        records += [{"task": task, "model": results.main, "fold": made["fold"], "layer": made["layer"],
                     "measure": f"correlation, weights random from the classifier to {stage}", "mean": value}
                    for stage, value in stages.items()]  # fmt: skip
    note = (
        "Last layer, the class that the model of the best fold chooses; means over patients with 95 % CIs by Student's "
        "t from 5 patients on, patients at equal distances in the test set. Enrichment: share of the map inside the "
        "outlines over their share of the patch, 1 by chance. The next three are less the same of a map that only "
        "knows that the lesion is in the middle: above 0, the heatmap tells more than that. Deletion and insertion: "
        "area under the class's probability while pixels are blurred, or brought back, in the map's order. Random "
        "weights: rank correlation of the maps with those of the network with all weights random; near 1 means that "
        "the map does not depend on what was learnt."
    )
    header = (
        "Task",
        "Of",
        "Empty maps",
        "Enrichment",
        "AUROC",
        "Deletion",
        "Insertion",
        "Random weights",
    )
    groups = (("", 4), ("Over the lesion in the middle", 3), ("", 1))
    return Table("faithfulness", title, note, header, tuple(rows), groups, records=records)


def failures(results: StudyResults) -> list[Picture]:
    """Of every task the test patients whom the main model is most wrong about: both views, and its last layer's map."""
    return [_failures(results, task) for task in results.tasks]


def _failures(results: StudyResults, task: str) -> Picture:
    key, title = f"failures-{task}", f"Misclassified test patients. {get_task(task).title}"
    found, why = _attention(results, task)
    if found is None:
        return Picture(key, title, why=why)
    chosen, layer = found.record.get("failures", []), found.layers[-1]
    if not chosen:
        return Picture(key, title, why=f"the model of fold {found.record['fold']} misclassifies no test patient")
    figure, grid = _grid(len(chosen), 2 * len(VIEWS), title, results)
    for row, example in zip(grid, chosen, strict=True):
        _row_title(row[0], f"is {example['class']}\nchosen {example['predicted']}\np {example['probability']:.2f}")
        by_view = {view["view"]: view for view in example["views"]}
        for place, name in enumerate(VIEWS):
            pair, view = row[2 * place : 2 * place + 2], by_view.get(name)
            if view is None:
                _nothing(pair, example, f"no {name} view")
                continue
            pictures, blind = _pictures(found, view)
            _show(pair[0], pictures[0], False)
            _show(pair[1], pictures[-1], blind[-1])
    names = [name for view in VIEWS for name in (view, f"{view}: {layer_title(layer)}")]
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name.replace(" + ", "\n+ "), fontsize=9, color=_INK)
    fold = f"Model of fold {found.record['fold']}, the best by validation AUC."
    caption = f"{found.record['failure_rule']} {fold} {_HOW_READ}"
    return Picture(key, title, caption, figure, photographic=True, width=860)


def all_attention(results: StudyResults) -> list[Picture]:
    """Figure 4 and the three parts of Supplementary 5."""
    return [class_attention(results), *(view_attention(results, *part) for part in _BINARY)]


def _attention(results: StudyResults, task: str) -> tuple[Attention | None, str]:
    run = results.main_run(task)
    if run is None:
        return None, absence(results, (task,))
    found = read_attention(run.folder)
    return found, "" if found else f"{model_title(results.main)} has no heatmaps on this task yet"


def _grid(rows: int, columns: int, title: str, results: StudyResults) -> tuple[Figure, NDArray[Any]]:
    """Square places for pictures, with room for titles above and to the left."""
    width = _LEFT + columns * (_TILE + _GAP) - _GAP + _EDGE
    height = _ABOVE + rows * (_TILE + _GAP) - _GAP + _BELOW
    synthetic = bool(results.study.get("synthetic"))
    figure = new_figure(width, height, title, synthetic=synthetic, dark=True, fixed=True)
    gap = _GAP / _TILE
    figure.subplots_adjust(_LEFT / width, _BELOW / height, 1 - _EDGE / width, 1 - _ABOVE / height, gap, gap)
    grid: NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    return figure, grid


def _row_title(axes: Axes, text: str) -> None:
    axes.text(-0.05, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=9, color=_INK)


def _caption(results: StudyResults, found: Attention) -> str:
    counts = "; ".join(f"{e['class']} {e['correct']} of {e['patients']}" for e in found.record["examples"])
    return (
        f"{found.record['rule']} Model of fold {found.record['fold']}, the best by validation AUC. Classified "
        f"correctly by it: {counts}. {_HOW}"
    )


def _view_text(view: dict[str, Any] | None, example: dict[str, Any]) -> str:
    if view is None:
        return ""
    probability = view["probabilities"][example["class"]]
    wrong = "" if view["predicted"] == example["class"] else f"\nalone: {view['predicted']}"
    return f"{view['laterality']} {view['view']}, p {probability:.2f}{wrong}".strip()


def _pictures(found: Attention, view: dict[str, Any]) -> tuple[list[NDArray[np.uint8]], list[bool]]:
    """The region of interest and every layer's map on it, and which of them are blind."""
    number = view["patch"]
    crop = found.patches[number].astype(np.float32) / 255
    crop = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    crop = np.clip(crop, 0, 1)
    plain = np.repeat((crop * 255).astype(np.uint8)[..., None], 3, axis=2)
    pictures = [plain, *(blend(crop, found.heat(layer, number, _SIDE)) for layer in found.layers)]
    scale = _SIDE / found.patches.shape[1]
    for contour in view.get("outline") or []:
        points = np.round(np.array(contour) * scale).astype(np.int32)[:, None]
        for picture in pictures:
            cv2.polylines(picture, [points], True, _OUTLINE, 1, cv2.LINE_AA)
    return pictures, [False, *view["blind"]]


def _show(axes: Axes, picture: NDArray[np.uint8], blind: bool) -> None:
    axes.imshow(picture, interpolation="none")
    _bare(axes)
    if blind:
        axes.text(0.5, 0.06, "EMPTY: no evidence", transform=axes.transAxes, ha="center", fontsize=7.5, color=_WARNING)


def _nothing(row: Any, example: dict[str, Any], why: str = "") -> None:
    """Empty places that say why."""
    text = why or f"none of {example['patients']} test patients\nclassified correctly"
    for place, axes in enumerate(row):
        axes.set_facecolor("#181b21")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        _bare(axes)
        if place == 0:
            axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=7.5, color=_DIM, wrap=True)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
