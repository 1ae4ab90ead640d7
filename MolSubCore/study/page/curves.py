"""ROC curves (Figures 2 and 3), confusion matrices, and the AUC by view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from matplotlib.axes import Axes

from MolSubCore.evaluation.figures import COLOURS, draw_confusion, draw_curve
from MolSubCore.report.items import Picture, Record, Table, model_title, new_figure
from MolSubCore.report.page import estimated, interval
from MolSubCore.statistics.intervals import estimates
from MolSubCore.statistics.metrics import classes_present
from MolSubCore.statistics.scores import Predictions, ensemble
from MolSubCore.study.page.published import published, published_caption
from MolSubCore.study.page.tables import absence, levels
from MolSubCore.study.results import RunResult, StudyResults
from MolSubCore.tasks import get_task

#: The paper's order: A Luminal, B TN, C HER2.
BINARY = ("luminal", "tn", "her2")
#: The tasks of more classes: the paper's, then that of cohorts which do not tell the hormone receptors.
MANY = ("subtype5", "subtype4")
_GREY = "#8a93a0"


def binary_roc(results: StudyResults) -> Picture:
    """Figure 2: the binary tasks, out of fold and on the test set."""
    title = f"Figure 2. ROC curves of {model_title(results.main)}, binary tasks"
    if not any(results.main_run(task) for task in BINARY):
        return Picture("figure-2", title, why=absence(results, BINARY))
    figure = new_figure(14.4, 5.6, title, synthetic=bool(results.study.get("synthetic")))
    for letter, task, axes in zip("ABC", BINARY, figure.subplots(1, 3), strict=True):
        run = results.main_run(task)
        axes.set_title(f"{letter}. {get_task(task).title}", loc="left", fontsize=11)
        if run is None:
            _empty(axes, absence(results, (task,)))
            continue
        _frame(axes)
        index, metrics = run.classes.index(str(run.positive)), levels(run)
        for name, part, scores, colour, width in (
            ("out of fold", "validation", run.out_of_fold, _GREY, 1.4),
            ("ensemble", "test", run.ensemble.per_patient(), COLOURS[0], 2.4),
        ):
            entry, counts = metrics[name]["auc"], run.evaluation["prevalence"][part]["patients"]
            text = f"{part}, AUC {estimated(entry, 2, ends=part == 'test')}\n"
            text += f"{sum(counts.values())} patients, {counts[run.positive]} {run.positive}"
            draw_curve(axes, scores, index, color=colour, linewidth=width, label=text)
        axes.legend(loc="lower right", fontsize=8.5, framealpha=0.95, labelspacing=0.8)
        value = published()["tasks"][task]["test"]["auc"]["value"]
        axes.text(0.02, 0.985, f"published (other cohort): {value:.3f}", va="top", fontsize=8, color="#7a5a1e")
    caption = (
        "Per patient. Blue: test set, ensemble of the folds; grey: validation, out of fold (mean of the folds' curves, "
        "weighted by their pairs of patients; used to choose the epoch, so without interval). AUC with "
        f"its 95 % CI over patients. {published_caption(list(BINARY))}"
    )
    return Picture("figure-2", title, caption, figure)


def many(results: StudyResults) -> str:
    """The task of more classes that a study has; the paper's where it has both or none."""
    return next((task for task in MANY if task in results.tasks), MANY[0])


def class_roc(results: StudyResults) -> Picture:
    """Figure 3: each class of the task of more classes against the rest, on the test set."""
    title = f"Figure 3. ROC curves of {model_title(results.main)}, each subtype against the rest"
    task = many(results)
    run = results.main_run(task)
    if run is None:
        return Picture("figure-3", title, why=absence(results, (task,)))
    figure = new_figure(11.2, 6.6, title, synthetic=bool(results.study.get("synthetic")))
    panels = (
        ("A. Test set, ensemble of the folds", "ensemble", "test", run.ensemble.per_patient()),
        ("B. Validation, out of fold", "out of fold", "validation", run.out_of_fold),
    )
    for axes, (name, choice, part, scores) in zip(figure.subplots(1, 2), panels, strict=True):
        _frame(axes)
        metrics, counts = levels(run)[choice], run.evaluation["prevalence"][part]["patients"]
        for index, label in enumerate(run.classes):
            entry = metrics[f"auc: {label}"]
            text = f"{label} ({counts[label]}): {estimated(entry, 2, ends=part == 'test')}"
            draw_curve(axes, scores, index, color=COLOURS[index % len(COLOURS)], linewidth=2, label=text)
        entry = metrics["macro auc"]
        axes.plot([], [], " ", label=f"macro mean: {estimated(entry, 2, ends=part == 'test')}")
        axes.set_title(f"{name}: {sum(counts.values())} patients", loc="left", fontsize=11)
        axes.legend(loc="lower right", fontsize=8, framealpha=0.95, title="class (patients): AUC", title_fontsize=8)
    caption = "Per patient, AUC with its 95 % CI; validation, used to choose the epoch, without."
    if printed := published()["tasks"].get(task):
        classes = ", ".join(f"{name} {value:.2f}" for name, value in printed["class_auc"].items())
        caption += f" {published_caption([task])} Its classes, as far as the text gives them: {classes}."
    return Picture("figure-3", title, caption, figure, width=920)


def confusions(results: StudyResults) -> Picture:
    """Confusion matrices of the main model on the test set."""
    title = f"Confusion matrices of {model_title(results.main)}, test set"
    runs = [run for task in (*BINARY, *MANY) if (run := results.main_run(task))]
    if not runs:
        return Picture("confusion", title, why=absence(results, results.tasks))
    widths = [1.0 if run.positive else 1.5 for run in runs]
    figure = new_figure(3.3 * sum(widths) + 0.6, 5.0, title, synthetic=bool(results.study.get("synthetic")))
    for run, axes in zip(runs, figure.subplots(1, len(runs), width_ratios=widths, squeeze=False)[0], strict=True):
        draw_confusion(axes, run.evaluation)
        axes.set_title(get_task(run.task).title, fontsize=11)  # in the place of the one that is there
    caption = (
        "Patients; shares are of the true class. The class with the largest calibrated probability of the ensemble."
    )
    return Picture("confusion", title, caption, figure)


def _frame(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="#c4cad2", linewidth=1, linestyle="--")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)


def _empty(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", va="center", color="#777777", wrap=True, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#dddddd")


def views_table(results: StudyResults) -> Table:
    """The main model's AUC on the test set from one view alone, and from all."""
    title = f"AUC of {model_title(results.main)} by view, test set"
    runs = [run for task in results.tasks if (run := results.main_run(task))]
    views = sorted({str(view) for run in runs for part in run.test.values() for view in part.view if view})
    if not views:
        why = "the views are not known" if runs else absence(results, results.tasks)
        return Table("views", title, why=why)
    rows, records = [], []
    for run in runs:
        found = [_view_record(run, view) for view in (*views, "")]
        rows.append((get_task(run.task).title, *(_view_text(record) for record in found)))
        records += found
    note = "Ensemble of the folds, per patient with such a view; 95 % CIs as everywhere (Evaluation)."
    return Table("views", title, note, ("Task", *views, "all views"), tuple(rows), records=records)


def _view_record(run: RunResult, view: str) -> Record:
    parts = [only(part, part.view == view) if view else part for part in run.test.values()]
    scores = ensemble(parts).calibrated(run.calibration()).per_patient()
    record = {"task": run.task, "model": run.model, "view": view or "all", "patients": len(scores.label)}
    if run.positive is None:
        record["classes"] = f"{len(classes_present(scores.label))} of {len(run.classes)}"
    else:
        record["positives"] = int((scores.label == run.classes.index(run.positive)).sum())
    drawn = run.evaluation["bootstrap"]
    found = estimates(scores, run.classes, run.positive, resamples=int(drawn["resamples"]), seed=int(drawn["seed"]))
    area = found["auc" if run.positive else "macro auc"].to_dict()
    return record | {"auc": area.pop("value"), **area}


def _view_text(record: Record) -> str:
    text = interval(record["auc"], record["low"], record["high"])
    events = f", {record['positives']} positive" if "positives" in record else f", {record['classes']} classes"
    return f"{text}; {record['patients']} patients{events}"


def only(predictions: Predictions, chosen: np.ndarray | Sequence[bool]) -> Predictions:
    """Some rows of predictions."""
    names = [item.name for item in fields(predictions) if item.name != "classes"]
    return replace(predictions, **{name: getattr(predictions, name)[chosen] for name in names})
