"""The figure of a study of heatmaps: where their energy lies, and whether the model reacts to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from MolSubCore import DISCLAIMER
from MolSubCore.drawing import make_figure
from MolSubCore.explain.faithfulness import REGIONS
from MolSubCore.explain.overlay import layer_title

_COLOURS = {"inside": "#D55E00", "rim": "#E69F00", "beyond": "#BBC4CF"}
_NAMES = {"inside": "inside the lesion", "rim": "peritumoral rim", "beyond": "rest of the patch"}


def draw_explanations(path: Path, result: dict[str, Any]) -> None:
    """Draw energy by region, deletion and insertion against two references, and weight randomisation, by layer.

    Parameters
    ----------
    path : Path
        Ends in ``.png``; not atomic by itself.
    result : dict
        Content of ``explanations.json``.
    """
    layers = {name: groups["all"] for name, groups in (result["reference"] | result["layers"]).items()}
    figure = make_figure(figsize=(20, 1.8 + 0.62 * max(len(layers), 4)), dpi=120, layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1.35, 1.0, 1.0, 1.1))
    _energy(axes[0], layers)
    _gains(axes[1], layers, "gain", "Gain over the same map misplaced")
    _gains(
        axes[2], layers, "over centred", "Gain over a map of the middle\n(above 0: knows more than the lesion's place)"
    )
    _randomisation(axes[3], result["weight_randomisation"])
    title = f"Heatmaps of {result['lesions']} lesions of {result['patients']} patients"
    figure.suptitle(
        title + ("   |   SYNTHETIC MODEL" if result["model"].get("synthetic") else ""), fontsize=14, fontweight="bold"
    )
    figure.supxlabel(DISCLAIMER, fontsize=9, color="#666666")
    figure.savefig(path, format="png")


def _energy(axes: Axes, layers: dict[str, dict[str, Any]]) -> None:
    """Stacked bars: the layer's energy, and below it the areas, which a map of one value would give."""
    for place, summary in enumerate(layers.values()):
        for prefix, offset, height, alpha in (("", -0.12, 0.42, 1.0), ("area ", 0.24, 0.16, 0.55)):
            left = 0.0
            for name in REGIONS:
                value = summary[prefix + name]["mean"] or 0.0
                axes.barh(place + offset, value, height, left, color=_COLOURS[name], alpha=alpha, edgecolor="white")
                if not prefix and value > 0.06:
                    text = f"{100 * value:.0f} %"
                    axes.text(left + value / 2, place + offset, text, ha="center", va="center", fontsize=9)
                left += value
    for name in REGIONS:
        axes.barh(0, 0, color=_COLOURS[name], label=_NAMES[name])
    _layer_ticks(axes, list(layers))
    axes.set(xlim=(0, 1), title="Share of the energy (thin: share of the area)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=3, frameon=False, fontsize=9)


def _gains(axes: Axes, layers: dict[str, dict[str, Any]], over: str, title: str) -> None:
    axes.axvline(0, color="#999999", linewidth=1)
    for name, colour, offset in (("deletion", "#0072B2", -0.12), ("insertion", "#009E73", 0.12)):
        for place, summary in enumerate(layers.values()):
            value = summary[f"{name} {over}"]
            if value["mean"] is None:
                continue
            if value["low"] is not None:
                ends = [value["low"], value["high"]]
                axes.plot(ends, [place + offset] * 2, color=colour, linewidth=3, alpha=0.45)
            axes.plot(value["mean"], place + offset, "o", color=colour, markersize=6)
        axes.plot([], [], "o", color=colour, label=name)
    _layer_ticks(axes, list(layers))
    axes.set_title(title, fontsize=11)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=2, frameon=False, fontsize=9)


def _randomisation(axes: Axes, found: dict[str, dict[str, float]]) -> None:
    if not found:
        axes.text(0.5, 0.5, "not computed", ha="center", va="center", color="#888888")
        axes.set_axis_off()
        return
    names = list(next(iter(found.values())))
    table = np.array([list(stages.values()) for stages in found.values()])
    axes.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for row, column in np.ndindex(*table.shape):
        value = table[row, column]
        colour = "white" if abs(value) > 0.6 else "#222222"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_xticks(range(len(names)), [name.removeprefix("features.") for name in names], rotation=60, ha="right")
    axes.tick_params(axis="x", labelsize=8)
    axes.set_yticks(range(len(found)), [layer_title(name) for name in found], fontsize=9)
    axes.set_title(
        "Rank correlation with randomised weights, from\nleft to right (near 1: the map ignores them)", fontsize=11
    )


def _layer_ticks(axes: Axes, layers: list[str]) -> None:
    axes.set_yticks(range(len(layers)), [layer_title(name) for name in layers], fontsize=9)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
