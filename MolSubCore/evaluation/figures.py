"""The figure of an evaluation: ROC curves, confusion matrix, metrics with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from sklearn.metrics import roc_curve

from MolSubCore import DISCLAIMER
from MolSubCore.drawing import make_figure
from MolSubCore.files import atomic_path
from MolSubCore.statistics.metrics import metric_title
from MolSubCore.statistics.scores import Scores

#: Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def draw_evaluation(path: Path, result: dict[str, Any], test: Scores, validation: dict[int, Scores]) -> None:
    """Draw ROC curves, confusion matrix and metrics of the test set, or of another cohort.

    Parameters
    ----------
    path : Path
        Ends in ``.png``.
    result : dict
        Content of ``evaluation.json``.
    test : Scores
        Of all folds together.
    validation : dict of int to Scores
        By fold; their curves are faint. Empty for another cohort.
    """
    figure = make_figure(figsize=(14.5, 5.9), dpi=120, layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1.1, 1.0, 1.15))
    _roc(axes[0], result, test, validation)
    draw_confusion(axes[1], result)
    _metrics(axes[2], result)
    level = result["test"]["ensemble"]["patient"]
    images = sum(result["prevalence"]["test"]["images"].values())
    what = result.get("kind", "test set").capitalize()
    title = f"{what}, task {result['task']}: {level['n_patients']} patients, {images} images"
    figure.suptitle(title + ("   |   SYNTHETIC COHORT" if result["synthetic"] else ""), fontsize=14, fontweight="bold")
    figure.supxlabel(DISCLAIMER, fontsize=9, color="#666666")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _roc(axes: Axes, result: dict[str, Any], test: Scores, validation: dict[int, Scores]) -> None:
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
    if result["positive"] is not None:
        index = result["classes"].index(result["positive"])
        for part in validation.values():
            draw_curve(axes, part.per_patient(), index, color="#999999", linewidth=0.9, alpha=0.7)
        if validation:
            axes.plot([], [], color="#999999", linewidth=0.9, label="validation folds, per patient")
        for scores, unit, colour, width in (  # the wider below, so that equal curves both show
            (test.per_image(), "image", COLOURS[1], 4.5),
            (test.per_patient(), "patient", COLOURS[0], 2.0),
        ):
            auc = interval_text(result["test"]["ensemble"][unit]["metrics"]["auc"])
            label = f"{'test, ' if validation else ''}per {unit}: AUC {auc}"
            draw_curve(axes, scores, index, color=colour, linewidth=width, label=label)
        axes.set_title(f"ROC, positive: {result['positive']}")
    else:
        metrics = result["test"]["ensemble"]["patient"]["metrics"]
        for index, name in enumerate(result["classes"]):
            label = f"{name}: {interval_text(metrics[f'auc: {name}'])}"
            draw_curve(axes, test.per_patient(), index, color=COLOURS[index % len(COLOURS)], linewidth=2, label=label)
        axes.set_title("ROC per patient, each class against the rest")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    if axes.get_legend_handles_labels()[0]:  # of one class there is no curve
        axes.legend(loc="lower right", fontsize=8.5, framealpha=0.95)


def draw_curve(axes: Axes, scores: Scores, index: int, **style: Any) -> None:
    """Draw the ROC curve of one class against the rest; nothing where only one of them is there.

    Of several folds it is the mean of their sensitivities, weighted by their pairs: the area under it is the AUC of
    `MolSubCore.statistics.metrics.auc`.
    """
    folds = [scores] if scores.fold is None else [scores.select(scores.fold == n) for n in np.unique(scores.fold)]
    curves, pairs = [], []
    for part in folds:
        positive = part.label == index
        if count := int(positive.sum() * (~positive).sum()):
            curves.append(roc_curve(positive, part.probabilities[:, index], drop_intermediate=False)[:2])
            pairs.append(count)
    if len(curves) == 1:
        axes.plot(*curves[0], **style)
    elif curves:
        false = np.unique(np.concatenate([part for part, _ in curves]))
        steps = [true[np.searchsorted(part, false, side="right") - 1] for part, true in curves]
        axes.plot([0, *false], [0, *np.average(steps, axis=0, weights=pairs)], drawstyle="steps-post", **style)


def interval_text(metric: dict[str, Any]) -> str:
    """A metric of an evaluation with its interval, two decimals."""
    if metric["value"] is None:
        return "undefined"
    return f"{metric['value']:.2f} ({metric['low']:.2f}-{metric['high']:.2f})"


def draw_confusion(axes: Axes, result: dict[str, Any]) -> None:
    """Draw the confusion matrix of the test set, per patient."""
    counts = np.array(result["test"]["ensemble"]["patient"]["confusion"], float)
    with np.errstate(invalid="ignore"):
        shares = np.nan_to_num(counts / counts.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        dark = shares[row, column] > 0.55
        text = f"{counts[row, column]:.0f}\n{100 * shares[row, column]:.0f} %"
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "#222222", fontsize=10)
    ticks = range(len(result["classes"]))
    axes.set_xticks(
        ticks, result["classes"], rotation=30 if len(ticks) > 2 else 0, ha="right" if len(ticks) > 2 else "center"
    )
    axes.set_yticks(ticks, result["classes"], rotation=90 if len(ticks) == 2 else 0, va="center")
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix, per patient")


def _metrics(axes: Axes, result: dict[str, Any]) -> None:
    metrics = result["test"]["ensemble"]["patient"]["metrics"]
    shown = {name: metric for name, metric in metrics.items() if ": " not in name}
    for place, metric in enumerate(shown.values()):
        if metric["value"] is None:
            axes.text(0.5, place, "undefined", va="center", ha="center", color="#888888")
            continue
        axes.plot([metric["low"], metric["high"]], [place, place], color=COLOURS[0], linewidth=3, alpha=0.45)
        axes.plot(metric["value"], place, "o", color=COLOURS[0], markersize=8, clip_on=False)
        axes.text(1.04, place, interval_text(metric), va="center", fontsize=9.5)
    axes.set_yticks(range(len(shown)), [metric_title(name) for name in shown])
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5), title="Per patient, 95 % CIs")
    axes.axvline(0.5, color="#cccccc", linewidth=1, linestyle="--", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
