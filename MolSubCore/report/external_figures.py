"""Figures of an external validation: reliability, and the subgroups."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from MolSubCore.evaluation.figures import COLOURS
from MolSubCore.report.study_items import Picture, new_figure

_GREY = "#8a93a0"
_STYLES = {"validation": (_GREY, "s--", "validation of the training"), "test": (COLOURS[3], "^--", "own test set"),
           "here": (COLOURS[0], "o-", "here")}  # fmt: skip


def reliability_figure(result: dict[str, Any]) -> Picture:
    """Predicted and observed shares: in the training and here, and before and after the recalibration."""
    title, fitted = "Reliability", result["recalibration"]
    figure = new_figure(9.8 if fitted else 5.4, 5.7, title, synthetic=result["synthetic"])
    axes = figure.subplots(1, 2 if fitted else 1, squeeze=False)[0]
    drift = result["calibration_drift"]
    for key, (colour, line, label) in _STYLES.items():
        if drift[key]:
            _curve(axes[0], drift[key]["overall"], colour, line, label)
    _dress(axes[0], "All patients, the model as it came", drift["here"]["overall"]["of"])
    if fitted:
        for key, colour, label in (("before", _GREY, "as the model came"), ("after", COLOURS[1], "recalibrated")):
            _curve(axes[1], fitted[key]["calibration"]["overall"], colour, "o-", label)
        text = f"{fitted['judged_on']} patients without {fitted['fitted_on']}"
        _dress(axes[1], text, drift["here"]["overall"]["of"])
    caption = (
        f"Patients in {drift['here']['overall']['binning']}; bars are Wilson's 95 % intervals of the observed share."
    )
    return Picture("reliability", title, caption, figure, width=1000 if fitted else 560)


def curves_figure(drift: dict[str, dict[str, Any] | None], synthetic: bool, earlier: str = "") -> Picture:
    """Predicted and observed shares on the parts of a model's own cohort; `earlier` tells what came after them."""
    figure = new_figure(5.4, 5.7, "Reliability", synthetic=synthetic)
    axes, of = figure.subplots(), ""
    for key, part in drift.items():
        if part:
            colour, line, label = _STYLES[key]
            _curve(axes, part["overall"], colour, line, label)
            of = part["overall"]["of"]
    when = f", {earlier}" if earlier else ""
    _dress(axes, f"Per patient{when}", of)
    caption = f"Patients in bins of equal numbers{when}; bars are Wilson's 95 % intervals of the observed share."
    return Picture("reliability", "Reliability", caption, figure, width=560)


def _curve(axes: Axes, part: dict[str, Any], colour: str, line: str, label: str) -> None:
    spots = part["bins"]
    spread = [[p["observed"] - p["low"] for p in spots], [p["high"] - p["observed"] for p in spots]]
    where = [p["predicted"] for p in spots], [p["observed"] for p in spots]
    faint = {"elinewidth": 1.0, "capsize": 2, "markersize": 5, "linewidth": 1.5}
    text = f"{label}: Brier {part['brier']:.3f}, n={part['patients']}"
    axes.errorbar(*where, yerr=spread, fmt=line, color=colour, label=text, **faint)  # type: ignore[arg-type]


def _dress(axes: Axes, title: str, of: str) -> None:
    axes.plot([0, 1], [0, 1], color="#c4cad2", linewidth=1, linestyle="--", zorder=0)
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", ylabel="observed share")
    axes.set_xlabel(f"predicted probability, {of}")
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    axes.spines[["top", "right"]].set_visible(False)


def subgroups_figure(result: dict[str, Any]) -> Picture:
    """AUC of every subgroup with its interval, beside that of all patients."""
    name = "auc" if result["positive"] else "macro auc"
    title = f"{'AUC' if result['positive'] else 'Macro AUC'} by subgroup"
    whole, lines = result["test"]["ensemble"]["patient"]["metrics"][name], _lines(result, name)
    figure = new_figure(8.6, 1.6 + 0.27 * len(lines), title, synthetic=result["synthetic"])
    axes = figure.subplots()
    if whole["value"] is not None:
        axes.axvspan(whole["low"], whole["high"], color=COLOURS[0], alpha=0.10, linewidth=0)
        axes.axvline(whole["value"], color=COLOURS[0], linewidth=1.2)
    axes.axvline(0.5, color="#c4cad2", linewidth=1, linestyle="--")
    for place, (_, metric, bold) in enumerate(lines):
        if metric is None:
            continue
        if metric["value"] is None:
            axes.text(0.01, place, "not estimable", va="center", fontsize=8.5, color=_GREY)
            continue
        colour = COLOURS[0] if bold else "#333a45"
        axes.plot([metric["low"], metric["high"]], [place, place], color=colour, linewidth=2.2, alpha=0.6)
        axes.plot(metric["value"], place, "D" if bold else "o", color=colour, markersize=6)
    axes.set_yticks(range(len(lines)), [text for text, _, _ in lines], fontsize=9)
    for label, (_, metric, bold) in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if bold or metric is None else "normal")
    axes.set(xlim=(0, 1), ylim=(len(lines) - 0.4, -0.6), xlabel=f"{title.partition(' by')[0]}, 95 % interval")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    caption = "The line and the band are all patients and their interval; 0.5 is chance."
    return Picture("subgroups-figure", title, caption, figure, width=860)


def _lines(result: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any] | None, bool]]:
    level = result["test"]["ensemble"]["patient"]
    lines: list[tuple[str, dict[str, Any] | None, bool]] = [
        (f"All patients (n={level['n']})", level["metrics"][name], True)
    ]
    for attribute in dict.fromkeys(row["attribute"] for row in result["subgroups"]):
        lines.append((attribute[:1].upper() + attribute[1:], None, False))
        own = [row for row in result["subgroups"] if row["attribute"] == attribute]
        lines += [(f"{row['level']} (n={row['patients']})", row["metrics"][name], False) for row in own]
    return lines
