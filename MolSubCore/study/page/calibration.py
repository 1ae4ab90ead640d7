"""Calibration, thresholds chosen on validation, and decision curves of the study's main model.

All of it stands in the evaluations of the runs; nothing is fitted or chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from MolSubCore.evaluation.external_page import (
    ERROR_NOTE,
    dress_reliability,
    measure_records,
    measure_rows,
    overall_rows,
    plot_reliability,
)
from MolSubCore.evaluation.figures import COLOURS
from MolSubCore.models.card import calibration_note, shares_note
from MolSubCore.report.items import Picture, Record, Table, joined, model_title, new_figure
from MolSubCore.report.page import interval, number
from MolSubCore.statistics.decision_curve import DecisionCurve, decision_curve
from MolSubCore.statistics.intervals import Estimate
from MolSubCore.statistics.thresholds import RULES, Threshold, rule_text
from MolSubCore.study.page.tables import absence
from MolSubCore.study.results import RunResult, StudyResults
from MolSubCore.tasks import get_task

_GREY = "#8a93a0"
_CELLS = ("true positives", "false positives", "false negatives", "true negatives")
#: Keys of the reports of an evaluation, and what their probabilities are called.
_SIDES = {"uncalibrated": "As the networks give them", "calibration": "Calibrated"}


def main_runs(results: StudyResults) -> tuple[RunResult, ...]:
    """The main model's run on every task that is finished."""
    return tuple(run for task in results.tasks if (run := results.main_run(task)))


def _reports(run: RunResult) -> dict[str, dict[str, Any]]:
    """Calibration of the ensemble on the test set, by the keys of `_SIDES`."""
    level = run.evaluation["test"]["ensemble"]["patient"]
    return {key: level[key] for key in _SIDES}


def calibration_table(results: StudyResults, runs: tuple[RunResult, ...]) -> Table:
    """What was fitted, and how far the test set's probabilities are from what happened, before and after."""
    title = f"Calibration of {model_title(results.main)}, test set"
    if not runs:
        return Table("calibration", title, why=absence(results, results.tasks))
    rows: list[tuple[str, ...]] = []
    records: list[Record] = []
    for run in runs:
        fitted, reports = run.evaluation["calibration"]["ensemble"], _reports(run)
        rows.append((f"{get_task(run.task).title}. {calibration_note({'calibration': fitted})} {shares_note(fitted)}",))
        rows.append(("Slope that was applied", "", "", _applied(fitted["slope"], fitted["slope_interval"])))
        intercepts = zip(
            run.classes, fitted["intercepts"], fitted["intercept_intervals"] or _no_interval(run), strict=True
        )
        rows += [(f"Intercept of {name}", "", "", _applied(value, ends)) for name, value, ends in list(intercepts)[1:]]
        for name in reports["calibration"]["classes"]:
            if not run.positive:
                rows.append((f"{name} against the rest",))
            parts = {key: report["classes"][name] for key, report in reports.items()}
            rows += measure_rows(list(parts.values()))
            records += [{"task": run.task, "model": run.model, **record} for record in measure_records(name, parts)]
        if not run.positive:
            rows.append(("All classes together",))
        rows += overall_rows([report["overall"] for report in reports.values()])
        records += _records(run, reports)
    header = ("", "Ideal", *_SIDES.values())
    note = (
        "Per patient, 95 % CIs in brackets. The patient's probability p, the mean over networks, lesions and views, "
        "becomes softmax(slope log p + intercepts). What was seen in training in other shares than in the cohort is "
        "corrected first; slope and intercepts are fitted on validation, never on the test set, with scores that the "
        f"ensemble would give these patients. Their intervals do not contain the uncertainty of that step. {ERROR_NOTE}"
    )
    return Table("calibration", title, note, header, tuple(rows), records=records)


def _no_interval(run: RunResult) -> list[None]:
    return [None] * len(run.classes)


def _applied(value: float, ends: list[float] | None) -> str:
    return interval(value, ends[0], ends[1], 2) if ends else number(value, 2)


def _records(run: RunResult, reports: dict[str, dict[str, Any]]) -> list[Record]:
    """Rows of the csv: overall measures and points of the reliability figure, with what was fitted."""
    fitted = run.evaluation["calibration"]["ensemble"]
    shared = {"task": run.task, "model": run.model, "slope": fitted["slope"], "fitted patients": fitted["patients"]}
    for name, value in zip(run.classes, fitted["intercepts"], strict=True):
        shared[f"intercept {name}"] = value
    for name in run.classes:
        shared |= {f"{part} share {name}": (fitted[part] or {}).get(name) for part in ("seen", "own")}
    records: list[Record] = []
    for key, report in reports.items():
        part = report["overall"]
        own = {**shared, "part": key, "patients": part["patients"]}
        names = ("brier", "log_loss", "ece", "ece_low", "ece_high", "ece_expected", "of", "binning")
        records.append({**own, **{name: part[name] for name in names}})
        records += [
            {**own, "patients": point["patients"], "bin": n + 1, "predicted": point["predicted"],
             "observed": point["observed"], "low": point["low"], "high": point["high"]}
            for n, point in enumerate(part["bins"])
        ]  # fmt: skip
    return records


def reliability_figure(results: StudyResults, runs: tuple[RunResult, ...]) -> Picture:
    """Predicted and observed shares on the test set, before and after."""
    title = f"Reliability of {model_title(results.main)}, test set"
    if not runs:
        return Picture("reliability", title, why=absence(results, results.tasks))
    figure = new_figure(3.7 * len(runs) + 0.4, 4.5, title, synthetic=bool(results.study.get("synthetic")))
    for run, axes in zip(runs, figure.subplots(1, len(runs), squeeze=False)[0], strict=True):
        reports = {key: report["overall"] for key, report in _reports(run).items()}
        for (key, part), colour in zip(reports.items(), (_GREY, COLOURS[0]), strict=True):
            plot_reliability(axes, part, colour, "o-", _SIDES[key].lower())
        dress_reliability(axes, get_task(run.task).title, reports["calibration"]["of"])
    binning = _reports(runs[0])["calibration"]["overall"]["binning"]
    caption = f"Patients in {binning}; bars are Wilson's 95 % CIs of the observed share."
    return Picture("reliability", title, caption, figure)


@dataclass(frozen=True)
class Chosen:
    """A threshold of a task, what it gives on the test set, and its counts there; `why` there is none."""

    task: str
    rule: str
    threshold: Threshold | None
    test: dict[str, Estimate]
    counts: NDArray[np.int64] | None = None
    why: str = ""


def choose_all(runs: tuple[RunResult, ...]) -> tuple[Chosen, ...]:
    """The thresholds of every binary task, by every rule."""
    result = []
    for run in (run for run in runs if run.positive):
        fitted = run.evaluation["calibration"]["ensemble"]
        found = {entry["rule"]: entry for entry in run.evaluation["thresholds"]["ensemble"]}
        why = fitted["why"] if not found and fitted["why"] else "validation has one class only"
        for rule, share in RULES:
            name = rule_text(rule, share)
            if (entry := found.get(name)) is None:
                result.append(Chosen(run.task, rule, None, {}, why=why))
                continue
            index = run.classes.index(str(run.positive))
            patients = run.calibration().patients
            threshold = Threshold(
                entry["value"], str(run.positive), index, name, entry["sensitivity"], entry["specificity"], patients
            )
            applied, counts = threshold.apply(run.ensemble), threshold.counts(run.ensemble)
            result.append(Chosen(run.task, rule, threshold, applied, counts))
    return tuple(result)


def thresholds_table(results: StudyResults, found: tuple[Chosen, ...]) -> Table:
    """Thresholds chosen on validation and what they give on the test set."""
    title = f"Thresholds of {model_title(results.main)}: chosen on validation, applied to the test set"
    if not found:
        return Table("thresholds", title, why=absence(results, results.tasks))
    names = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
    rows: list[tuple[str, ...]] = []
    records: list[dict[str, Any]] = []
    for task in dict.fromkeys(one.task for one in found):
        rows.append((f"{get_task(task).title}, positive: {get_task(task).positive}",))
        for one in (part for part in found if part.task == task):
            if one.threshold is None:
                rows.append((f"{one.rule}: {one.why}",))
                continue
            chosen = f"{one.threshold.sensitivity:.2f} / {one.threshold.specificity:.2f}"
            cells = [interval(one.test[n].value, one.test[n].low, one.test[n].high, 2) for n in names]
            rule = one.threshold.rule.removesuffix(" on validation")
            rows.append((rule, number(one.threshold.value), chosen, *cells))
            records += [
                {"task": task, "model": results.main, "rule": rule, "threshold": one.threshold.value,
                 "validation sensitivity": one.threshold.sensitivity,
                 "validation specificity": one.threshold.specificity, "metric": n, "value": one.test[n].value,
                 "low": one.test[n].low, "high": one.test[n].high}
                for n in names
            ]  # fmt: skip
    header = ("Rule", "Threshold", "sensitivity / specificity", "Sensitivity", "Specificity", "PPV", "NPV", "Accuracy")
    groups = (("", 2), ("Validation (chosen there)", 1), ("Test, with Wilson's 95 % CIs", 5))
    note = (
        "A patient is called positive when the calibrated probability is the threshold or more. Thresholds were chosen "
        "on the validation patients' scores as the ensemble would give them; what they reach there flatters a little."
    )
    return Table("thresholds", title, note, header, tuple(rows), groups, records=records)


def cross_table(results: StudyResults, found: tuple[Chosen, ...]) -> Table:
    """The test set's patients by the model's call at each threshold and by the reference standard."""
    title = f"Cross-tabulation of {model_title(results.main)} and the reference standard, test set"
    made = [(one.task, one.threshold, one.counts) for one in found if one.threshold and one.counts is not None]
    if not made:
        return Table("cross-tabulation", title, why=absence(results, results.tasks))
    rows: list[tuple[str, ...]] = []
    records: list[Record] = []
    for task in dict.fromkeys(name for name, _, _ in made):
        positive, classes = get_task(task).positive, get_task(task).classes
        rows.append((f"{get_task(task).title}. Positive: {positive}; negative: {joined(set(classes) - {positive})}",))
        for threshold, counts in ((one, many) for name, one, many in made if name == task):
            rule, cells = threshold.rule.removesuffix(" on validation"), counts.ravel().tolist()
            rows.append((rule, number(threshold.value), *map(str, cells)))
            facts = {"task": task, "model": results.main, "rule": rule, "threshold": threshold.value}
            records.append(facts | dict(zip(_CELLS, cells, strict=True)))
    groups = (("", 2), ("Called positive", 2), ("Called negative", 2))
    header = ("Rule", "Threshold", *("Reference positive", "Reference negative") * 2)
    note = "Patients, or breasts of patients with both. The reference standard is the subtype of the cohort table."
    return Table("cross-tabulation", title, note, header, tuple(rows), groups, records=records)


def curves(runs: tuple[RunResult, ...]) -> dict[str, DecisionCurve]:
    """Decision curves of the binary tasks."""
    return {run.task: decision_curve(run.ensemble, run.classes, run.positive) for run in runs if run.positive}


def decision_table(results: StudyResults, found: dict[str, DecisionCurve]) -> Table:
    """The csv of the decision curves; the page shows a few thresholds."""
    title = f"Net benefit of {model_title(results.main)}, test set"
    if not found:
        return Table("decision-curve", title, why=absence(results, results.tasks))
    rows, records = [], []
    for task, curve in found.items():
        shared = {"task": task, "patients": curve.patients, "prevalence": curve.prevalence}
        for n, threshold in enumerate(curve.thresholds):
            model, everyone, none = curve.model[n], curve.treat_all[n], curve.treat_none[n]
            (low, high), (gain_low, gain_high) = curve.model_ends[n], curve.gain_ends[n]
            records.append(
                {**shared, "threshold": threshold, "model": model, "low": low, "high": high, "treat all": everyone,
                 "treat none": none, "gain": model - everyone, "gain low": gain_low, "gain high": gain_high}
            )  # fmt: skip
            if threshold in (0.1, 0.2, 0.3, 0.5):
                cells = (interval(model, low, high), f"{everyone:.3f}", f"{none:.3f}")
                gain = interval(model - everyone, gain_low, gain_high)
                rows.append((get_task(task).title, f"{threshold:.0%}", *cells, gain))
    header = ("Task", "Threshold probability", "Model", "All positive", "None positive", "Model less all positive")
    note = (
        "True positives per patient, less false ones weighted by the odds of the threshold (Vickers and Elkin 2006), "
        "with 95 % CIs over patients. Every threshold has its own: they are not for choosing one."
    )
    return Table("decision-curve", title, note, header, tuple(rows), records=records)


def decision_figure(results: StudyResults, found: dict[str, DecisionCurve]) -> Picture:
    """Net benefit over the threshold probability."""
    title = f"Decision curves of {model_title(results.main)}, test set"
    if not found:
        return Picture("decision-curve-figure", title, why=absence(results, results.tasks))
    figure = new_figure(4.6 * len(found) + 0.4, 4.3, title, synthetic=bool(results.study.get("synthetic")))
    for (task, curve), axes in zip(found.items(), figure.subplots(1, len(found), squeeze=False)[0], strict=True):
        _decision(axes, task, curve)
    caption = (
        "Net benefit of acting on the model (calibrated probabilities), of acting on everybody, and on nobody. "
        "Only where the blue line is highest would the model help, and only if an action at that threshold makes "
        "sense at all. Band: 95 % CI of the model at each threshold."
    )
    return Picture("decision-curve-figure", title, caption, figure)


def _decision(axes: Axes, task: str, curve: DecisionCurve) -> None:
    axes.plot(curve.thresholds, curve.treat_all, color=_GREY, linewidth=1.3, label=f"all {curve.positive}")
    axes.plot(curve.thresholds, curve.treat_none, color="#222222", linewidth=1.3, linestyle="--", label="none")
    low, high = zip(*curve.model_ends, strict=True)
    axes.fill_between(curve.thresholds, low, high, color=COLOURS[0], alpha=0.16, linewidth=0)
    axes.plot(curve.thresholds, curve.model, color=COLOURS[0], linewidth=2.2, label="model")
    top = max(max(curve.model), curve.prevalence, 0.01) * 1.15
    axes.set(xlim=(0, 1), ylim=(-0.35 * top, top), xlabel="threshold probability", ylabel="net benefit per patient")
    axes.set_title(get_task(task).title, loc="left", fontsize=10.5)
    axes.legend(loc="upper right", fontsize=8, framealpha=0.9)
    axes.spines[["top", "right"]].set_visible(False)
