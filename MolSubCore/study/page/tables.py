"""Tables 1 to 3 of the paper, and all models beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from MolSubCore.errors import counted
from MolSubCore.report.items import Record, Table, fusion_title, model_title
from MolSubCore.report.page import estimated
from MolSubCore.statistics.metrics import metric_title
from MolSubCore.study.page.published import published, published_text
from MolSubCore.study.results import RunResult, StudyResults
from MolSubCore.tasks import get_task
from MolSubCore.training.run_files import FUSION

#: What a table shows of a binary task; more classes have macro means.
METRICS = ("auc", "accuracy", "sensitivity", "specificity", "ppv", "npv")

_HEADER = ("", "out of fold", "folds, mean ± SD", "best fold",
           "ensemble", "folds, mean ± SD", "best fold", "validation", "test")  # fmt: skip
_GROUPS = (("", 1), ("Validation (used to choose the epoch)", 3), ("Test", 3), ("Published, another cohort", 2))

#: Of figures of patients that chose the epoch.
_NO_INTERVAL: Record = {"low": None, "high": None, "interval": "none: used to choose the epoch"}

_NOTE = (
    "Per patient: the mean of the probabilities of all lesions and views, calibrated; in brackets 95 % CIs. Out of "
    "fold: every validation patient by the model that did not train on it, patients of different folds not compared "
    "with each other; these patients chose the epoch, so there is no interval. Ensemble: the mean of all folds' "
    "probabilities. Folds share training patients, so their SD gives no confidence interval. Best fold: the one with "
    "the highest validation AUC, the paper's choice, which is optimistic on validation. Positive is the class with the "
    "larger calibrated probability (0.5), which a rare class seldom reaches; for other thresholds see their own table."
)

_MACRO = (
    "Macro means are over the classes that have patients in the set; where one has none, the number of classes is "
    "told. A class that is never predicted counts with a PPV of 0, as in scikit-learn (zero_division=0)."
)


def characteristics_tables(results: StudyResults) -> list[Table]:
    """Table 1 of the whole cohort, then of training and validation, and of the test set."""
    parts: dict[str, list[list[str]]] = results.cohort.get("characteristics_table") or {}
    title = "Characteristics of the patients by molecular subtype"
    if not parts:
        return [Table("table-1", f"Table 1. {title}", why="the study has no characteristics of its cohort")]
    note = str(results.cohort.get("characteristics_note") or "")
    counted = sum(part["patients"] for part in (results.cohort.get("subtypes") or {}).values())
    both = counted - (results.cohort.get("summary") or {}).get("patients", counted)
    more = " Patients with cancers of two subtypes, one in each breast, are in the group of their first row."
    return [
        _characteristics(n, part, rows, title, note + (more if both > 0 else ""))
        for n, (part, rows) in enumerate(parts.items())
    ]


def _characteristics(order: int, part: str, rows: list[list[str]], title: str, note: str) -> Table:
    key = "table-1" if order == 0 else f"table-1{'abcdefgh'[order - 1]}"
    name = "whole cohort" if part == "all" else part
    if len(rows) < 2:
        return Table(key, f"{_number(key)}. {title}: {name}", why="the cohort table has no columns to describe")
    header, *cells = rows
    body = tuple(tuple(row) for row in cells)
    records = [dict(zip(header, row, strict=True)) for row in cells]
    return Table(key, f"{_number(key)}. {title}: {name}", note, tuple(header), body, records=records)


def _number(key: str) -> str:
    return key.replace("-", " ").capitalize()


def performance_table(results: StudyResults, key: str, tasks: tuple[str, ...]) -> Table:
    """The main model's performance on some tasks, beside the paper's (its Table 2: luminal; its Table 3: the rest)."""
    shown = [task for task in tasks if task in results.tasks]
    title = f"{_number(key)}. Performance of {model_title(results.main)}: "
    title += ", ".join(get_task(task).title for task in tasks)
    runs = {task: results.main_run(task) for task in shown}
    if not any(runs.values()):
        return Table(key, title, why=absence(results, tasks))
    rows: list[tuple[str, ...]] = []
    records: list[Record] = []
    notes = [_NOTE, f"Published: {published()['source']}. {published()['note']}"]
    for task in tasks:
        run = runs.get(task)
        if run is None:
            rows.append((f"{get_task(task).title}: {absence(results, (task,))}",))
            continue
        rows.append((_heading(run),))
        rows += [_row(run, metric) for metric in _metrics(run)]
        records += [*_records(run), *_published_records(task)]
        notes += [_MACRO] if run.positive is None else []
        if note := published()["tasks"].get(task, {}).get("note"):
            notes.append(f"Published, {get_task(task).title}: {note}")
    return Table(key, title, "\n".join(notes), _HEADER, tuple(rows), _GROUPS, frozenset({7, 8}), records)


def absence(results: StudyResults, tasks: tuple[str, ...]) -> str:
    """Why there is no result of the main model on these tasks."""
    planned = [task for task in tasks if task in results.tasks]
    if not planned:
        return f"the study has no task {' or '.join(tasks)}"
    if results.main not in results.study["models"]:
        return "the study has no models"
    left = sorted(fold for task, model, fold in results.unfinished if task in planned and model == results.main)
    if left:
        return f"{model_title(results.main)} is not finished ({counted(len(left), 'fold')} left)"
    return f"{model_title(results.main)} is not evaluated yet"


def _heading(run: RunResult) -> str:
    counts = run.evaluation["prevalence"]
    parts = []
    for name, where in (("validation", "validation"), ("test", "test")):
        patients = counts[where]["patients"]
        events = f", {patients[run.positive]} positive" if run.positive else ""
        parts.append(f"{name} {sum(patients.values())} patients{events}")
    positive = f"positive: {run.positive}" if run.positive else "macro means over the classes, each against the rest"
    return f"{get_task(run.task).title} ({positive}; {'; '.join(parts)}; best fold {run.evaluation['best_fold']})"


def _metrics(run: RunResult) -> tuple[str, ...]:
    return tuple(f"macro {name}" if not run.positive and name != "accuracy" else name for name in METRICS)


def levels(run: RunResult) -> dict[str, dict[str, Any]]:
    """Metrics per patient: out of fold, ensemble, and the best fold's on both sets."""
    found, best = run.evaluation, str(run.evaluation["best_fold"])
    return {
        "out of fold": found["out_of_fold"]["patient"]["metrics"],
        "best fold, validation": found["folds"][best]["patient"]["metrics"],
        "ensemble": found["test"]["ensemble"]["patient"]["metrics"],
        "best fold, test": found["test"]["folds"][best]["patient"]["metrics"],
    }


def over_folds(run: RunResult, part: str, metric: str) -> tuple[float | None, float | None, int]:
    """Mean, standard deviation (None of one fold) and number of folds of a metric; `part` as in `_records`."""
    folds = run.evaluation["folds"] if part == "validation" else run.evaluation["test"]["folds"]
    values = [fold["patient"]["metrics"][metric]["value"] for fold in folds.values()]
    known = [value for value in values if value is not None]
    if not known:
        return None, None, 0
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None, len(known)


def _row(run: RunResult, metric: str) -> tuple[str, ...]:
    found = levels(run)

    ensemble = estimated(found["ensemble"][metric])

    def chosen(name: str) -> str:
        return estimated(found[name][metric], ends=False)

    published_test = published_text(run.task, "test", metric)
    if metric.endswith("auc") and published_test:
        printed = published()["tasks"][run.task]
        published_test += f"; folds {printed['mean_auc']:.4f} ± {printed['sd_auc']:.4f}"
    return (
        metric_title(metric), chosen("out of fold"), _spread(*over_folds(run, "validation", metric)),
        chosen("best fold, validation"), ensemble, _spread(*over_folds(run, "test", metric)),
        chosen("best fold, test"), published_text(run.task, "validation", metric), published_test,
    )  # fmt: skip


def _spread(mean: float | None, deviation: float | None, folds: int) -> str:
    if mean is None:
        return "undefined"
    return f"{mean:.3f} ± {deviation:.3f}" if deviation is not None else f"{mean:.3f} ({folds} fold)"


def _records(run: RunResult) -> Iterator[Record]:
    """One row per set, choice and metric, the classes of a many-class task included."""
    counts = run.evaluation["prevalence"]
    sides = {"out of fold": "validation", "best fold, validation": "validation"}
    for choice, metrics in levels(run).items():
        part = sides.get(choice, "test")
        patients = counts[part]["patients"]
        shared = {"source": "this study", "task": run.task, "model": run.model, "unit": "patient", "set": part}
        for metric, entry in metrics.items():
            yield {
                **shared,
                "choice": choice.partition(",")[0] + (f" {run.evaluation['best_fold']}" if "best" in choice else ""),
                "metric": metric, "value": entry["value"],
                **(_NO_INTERVAL if part == "validation" else
                   {"low": entry["low"], "high": entry["high"], "interval": entry["method"]}),
                "classes": entry.get("classes"),
                "patients": None if choice == "best fold, validation" else sum(patients.values()),
                "positives": None if choice == "best fold, validation" else patients.get(run.positive),
            }  # fmt: skip
            if choice in ("out of fold", "ensemble"):
                mean, deviation, folds = over_folds(run, part, metric)
                yield {**shared, "choice": f"mean of {folds} folds", "metric": metric, "value": mean, "sd": deviation}


def _published_records(task: str) -> Iterator[Record]:
    entry = published()["tasks"].get(task)
    if entry is None:
        return
    shared = {"source": published()["label"], "task": task, "model": published()["model"], "unit": "image"}
    for part in ("validation", "test"):
        for metric, value in entry[part].items():
            yield {**shared, "set": part, "choice": "as printed", "metric": metric, **value}
    mean = {"value": entry["mean_auc"], "sd": entry["sd_auc"]}
    yield {**shared, "set": "test", "choice": "mean of 5 folds", "metric": "auc", **mean}
    for name, value in entry.get("class_auc", {}).items():
        yield {**shared, "set": "test", "choice": "as printed", "metric": f"auc: {name}", "value": value}


def models_table(results: StudyResults) -> Table:
    """The AUC of every model on every task; fusions below the model that they start from."""
    title = "All models: AUC per patient"
    if not results.runs:
        return Table("models", title, why="no run is finished")
    models = list(dict.fromkeys(model for _, model in results.runs))
    planned = list(results.study["models"])
    models.sort(key=lambda model: planned.index(model.partition(FUSION)[0]))  # stable: fusions stay in their order
    header, records = ["Model"], []
    for _ in results.tasks:
        header += ["validation", "test"]
    rows = []
    for model in models:
        cells = [f"  {fusion_title(model)}" if FUSION in model else model_title(model)]
        for task in results.tasks:
            run = results.runs.get((task, model))
            cells += _auc_cells(run) if run else ["not finished", ""]
            records += list(_auc_records(run)) if run else []
        rows.append(tuple(cells))
    groups = (("", 1), *((get_task(task).title, 2) for task in results.tasks))
    note = (
        "AUC, per patient; several classes: macro mean of each against the rest. Validation: out of fold, used to "
        "choose the epoch; test: ensemble of the folds, with 95 % CIs. Indented: fusions of the model above, on the "
        "same patients."
    )
    return Table("models", title, note, tuple(header), tuple(rows), groups, records=records)


def auc_name(run: RunResult) -> str:
    """The metric that stands for a task: its AUC, or the macro mean."""
    return "auc" if run.positive else "macro auc"


def _auc_cells(run: RunResult) -> list[str]:
    found = levels(run)
    validation, test = (found[name][auc_name(run)] for name in ("out of fold", "ensemble"))
    return [estimated(validation, 2, ends=False), estimated(test, 2)]


def _auc_records(run: RunResult) -> Iterator[Record]:
    for name, part in (("out of fold", "validation"), ("ensemble", "test")):
        entry = levels(run)[name][auc_name(run)]
        patients = sum(run.evaluation["prevalence"][part]["patients"].values())
        yield {"task": run.task, "model": run.model, "base": run.base if FUSION in run.model else "", "set": part,
               "choice": name, "metric": auc_name(run), "value": entry["value"],
               **(_NO_INTERVAL if part == "validation" else {"low": entry["low"], "high": entry["high"]}),
               "patients": patients}  # fmt: skip
