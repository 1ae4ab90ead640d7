"""Calibration, thresholds chosen on validation, and decision curves of the study's main model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.figures import COLOURS
from MolSubCore.report.items import Picture, Record, Table, model_title, new_figure
from MolSubCore.report.page import interval, number
from MolSubCore.statistics.calibration import Calibration, Temperature, bin_count, calibration, fit_temperature
from MolSubCore.statistics.decision_curve import DecisionCurve, decision_curve
from MolSubCore.statistics.intervals import Estimate
from MolSubCore.statistics.scores import Scores, ensemble
from MolSubCore.statistics.thresholds import RULES, Threshold, choose_threshold
from MolSubCore.statistics.validation import Validation
from MolSubCore.study.page.tables import absence
from MolSubCore.study.results import RunResult, StudyResults
from MolSubCore.tasks import get_task

_MEASURES = ("brier", "log_loss", "ece")
_GREY = "#8a93a0"


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A run with a temperature fitted on its validation part, and both kinds of test probabilities.

    Attributes
    ----------
    run : RunResult
    temperature : Temperature
    validation : Validation
        Scaled.
    scores : Scores
        The test set by all folds, each scaled.
    before, after : Calibration
        On the test set.
    """

    run: RunResult
    temperature: Temperature
    validation: Validation
    scores: Scores
    before: Calibration
    after: Calibration


def calibrate(run: RunResult) -> Calibrated:
    """Fit on validation, look at the test set."""
    validation = Validation(tuple(run.validation.values()))
    temperature = fit_temperature(validation)
    scores = ensemble([temperature.apply(part) for part in run.test.values()])
    bins = bin_count(len(scores.per_patient().label))
    before, after = (
        calibration(part, run.classes, run.positive, bins=bins, binning="count") for part in (run.ensemble, scores)
    )
    return Calibrated(run, temperature, validation.scaled(temperature.value), scores, before, after)


def calibrate_all(results: StudyResults) -> tuple[Calibrated, ...]:
    """The main model on every task that is finished."""
    return tuple(calibrate(run) for task in results.tasks if (run := results.main_run(task)))


def calibration_table(results: StudyResults, found: tuple[Calibrated, ...]) -> Table:
    """Temperatures, and Brier score, log loss and calibration error before and after."""
    title = f"Calibration of {model_title(results.main)}, test set"
    if not found:
        return Table("calibration", title, why=absence(results, results.tasks))
    rows, records = [], []
    for one in found:
        fitted = one.temperature
        bound = " (at the end of the range: validation does not determine it)" if fitted.at_bound else ""
        pairs = [(getattr(one.before, name), getattr(one.after, name)) for name in _MEASURES]
        cells = [f"{before:.3f} → {after:.3f}" for before, after in pairs]
        rows.append((get_task(one.run.task).title, f"{fitted.value:.2f}{bound}", str(one.after.patients), *cells))
        records += _calibration_records(one)
    header = ("Task", "Temperature", "Patients", "Brier score", "Log loss", "Calibration error")
    note = (
        "Before → after. The temperature divides the logits; it is fitted on the validation predictions of all "
        "folds, never on the test set, which each fold's model then predicts with it. Brier: 0 is best; of two "
        "classes 0.25 is what 0.5 for everybody gives, of five classes (sum over classes) 0.8 what equal shares give."
    )
    return Table("calibration", title, note, header, tuple(rows), records=records)


def _calibration_records(one: Calibrated) -> list[Record]:
    fitted = one.temperature
    records: list[Record] = []
    for name, part in (("before", one.before), ("after", one.after)):
        shared = {"task": one.run.task, "model": one.run.model, "temperature": fitted.value, "probabilities": name}
        totals = {measure: getattr(part, measure) for measure in _MEASURES}
        records.append({**shared, "patients": part.patients, **totals, "of": part.of, "binning": part.binning})
        records += [
            {**shared, "patients": point.patients, "bin": n + 1, "predicted": point.predicted,
             "observed": point.observed, "low": point.low, "high": point.high}
            for n, point in enumerate(part.bins)
        ]  # fmt: skip
    return records


def reliability_figure(results: StudyResults, found: tuple[Calibrated, ...]) -> Picture:
    """Predicted and observed shares on the test set, before and after."""
    title = f"Reliability of {model_title(results.main)}, test set"
    if not found:
        return Picture("reliability", title, why=absence(results, results.tasks))
    figure = new_figure(3.7 * len(found) + 0.4, 4.5, title, synthetic=bool(results.study.get("synthetic")))
    for one, axes in zip(found, figure.subplots(1, len(found), squeeze=False)[0], strict=True):
        axes.plot([0, 1], [0, 1], color="#c4cad2", linewidth=1, linestyle="--")
        for part, colour, label in ((one.before, _GREY, "as it is"), (one.after, COLOURS[0], "with temperature")):
            spots = part.bins
            spread = [[p.observed - p.low for p in spots], [p.high - p.observed for p in spots]]
            where = [p.predicted for p in spots], [p.observed for p in spots]
            faint = {"elinewidth": 1.0, "capsize": 2, "markersize": 5, "linewidth": 1.4}
            axes.errorbar(
                *where, yerr=spread, fmt="o-", color=colour, label=f"{label}: Brier {part.brier:.3f}", **faint
            )
        axes.set_title(get_task(one.run.task).title, loc="left", fontsize=10.5)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", ylabel="observed share")
        axes.set_xlabel(f"predicted probability, {one.after.of}")
        axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
        axes.spines[["top", "right"]].set_visible(False)
    caption = f"Patients in {found[0].after.binning}; bars are Wilson's 95 % CIs of the observed share."
    return Picture("reliability", title, caption, figure)


@dataclass(frozen=True)
class Chosen:
    """A threshold of a task and what it gives on the test set; `why` there is none."""

    task: str
    rule: str
    threshold: Threshold | None
    test: dict[str, Estimate]
    why: str = ""


def choose_all(found: tuple[Calibrated, ...]) -> tuple[Chosen, ...]:
    """The thresholds of every binary task, by every rule."""
    result = []
    for one in found:
        for rule, share in RULES if one.run.positive else ():
            try:
                threshold = choose_threshold(one.validation, str(one.run.positive), rule, share)
                result.append(Chosen(one.run.task, rule, threshold, threshold.apply(one.scores)))
            except MolSubError as error:
                result.append(Chosen(one.run.task, rule, None, {}, error.problem))
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
        "A patient is called positive when the probability, with the temperature above, is the threshold or more. "
        "What is reached on validation is flattering: the threshold was chosen there."
    )
    return Table("thresholds", title, note, header, tuple(rows), groups, records=records)


def curves(found: tuple[Calibrated, ...]) -> dict[str, DecisionCurve]:
    """Decision curves of the binary tasks."""
    return {
        one.run.task: decision_curve(one.scores, one.run.classes, one.run.positive) for one in found if one.run.positive
    }


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
        "Net benefit of acting on the model (probabilities with temperature), of acting on everybody, and on nobody. "
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
