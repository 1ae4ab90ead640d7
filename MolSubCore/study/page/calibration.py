"""Calibration, thresholds chosen on validation, and decision curves of the study's main model.

All of it stands in the evaluations of the runs; nothing is fitted or chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

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
from MolSubCore.report.items import Picture, Record, Table, model_title, new_figure
from MolSubCore.report.page import interval, number
from MolSubCore.statistics.decision_curve import DecisionCurve, decision_curve
from MolSubCore.statistics.intervals import Estimate
from MolSubCore.statistics.thresholds import RULES, Threshold, rule_text
from MolSubCore.study.page.tables import absence
from MolSubCore.study.results import RunResult, StudyResults
from MolSubCore.tasks import get_task

_GREY = "#8a93a0"
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
    """A threshold of a task and what it gives on the test set; `why` there is none."""

    task: str
    rule: str
    threshold: Threshold | None
    test: dict[str, Estimate]
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
                result.append(Chosen(run.task, rule, None, {}, why))
                continue
            index = run.classes.index(str(run.positive))
            patients = run.calibration().patients
            threshold = Threshold(
                entry["value"], str(run.positive), index, name, entry["sensitivity"], entry["specificity"], patients
            )
            result.append(Chosen(run.task, rule, threshold, threshold.apply(run.ensemble)))
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
        columns = zip(curve.thresholds, curve.model, curve.treat_all, curve.treat_none, strict=True)
        own = [dict(zip(("threshold", "model", "treat all", "treat none"), row, strict=True)) for row in columns]
        records += [{"task": task, "patients": curve.patients, "prevalence": curve.prevalence, **row} for row in own]
        for row in own:
            if row["threshold"] in (0.1, 0.2, 0.3, 0.5):
                cells = [f"{row[name]:.3f}" for name in ("model", "treat all", "treat none")]
                rows.append((get_task(task).title, f"{row['threshold']:.0%}", *cells))
    header = ("Task", "Threshold probability", "Model", "All positive", "None positive")
    note = "True positives per patient, less false ones weighted by the odds of the threshold (Vickers and Elkin 2006)."
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
        "sense at all."
    )
    return Picture("decision-curve-figure", title, caption, figure)


def _decision(axes: Axes, task: str, curve: DecisionCurve) -> None:
    axes.plot(curve.thresholds, curve.treat_all, color=_GREY, linewidth=1.3, label=f"all {curve.positive}")
    axes.plot(curve.thresholds, curve.treat_none, color="#222222", linewidth=1.3, linestyle="--", label="none")
    axes.plot(curve.thresholds, curve.model, color=COLOURS[0], linewidth=2.2, label="model")
    top = max(max(curve.model), curve.prevalence, 0.01) * 1.15
    axes.set(xlim=(0, 1), ylim=(-0.35 * top, top), xlabel="threshold probability", ylabel="net benefit per patient")
    axes.set_title(get_task(task).title, loc="left", fontsize=10.5)
    axes.legend(loc="upper right", fontsize=8, framealpha=0.9)
    axes.spines[["top", "right"]].set_visible(False)
