"""Comparison of models with p-values (Supplementary Figures 3 and 4), and what fusions add to their base."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes

from MolSubCore.evaluation.characteristics import p_text
from MolSubCore.evaluation.figures import COLOURS
from MolSubCore.report.items import Picture, Record, Table, fusion_title, model_title, new_figure
from MolSubCore.report.page import interval
from MolSubCore.statistics.comparison import ModelComparison, compare_models
from MolSubCore.statistics.delong import FEW
from MolSubCore.study.page.tables import absence
from MolSubCore.study.results import RunResult, StudyResults
from MolSubCore.tasks import get_task
from MolSubCore.training.run_files import FUSION

_HEADER = ("Model", "AUC", "difference (95 %)", "p of the AUC", "adjusted",
           "accuracy", "difference (95 %)", "p, McNemar", "adjusted", "mid-p")  # fmt: skip

_NOTE = (
    "Test set, per patient, ensembles of the folds. Difference: {first} minus the other, so above 0 {first} does "
    "better. AUC: DeLong, paired (several classes: the macro mean); below "
    f"{FEW} patients of a class DeLong's p-value is too small too often, and a permutation test takes its place, "
    "marked so. Accuracy: McNemar, exact and mid-p, interval of Bonett and Price. Adjusted: Holm, over {family}, AUCs "
    "and accuracies each by themselves."
)


@dataclass(frozen=True)
class Comparison:
    """Two models of one task on the test set; `of` is how many comparisons the p-values are adjusted for."""

    task: str
    found: ModelComparison
    of: int

    def record(self) -> Record:
        """A row of the csv."""
        auc, accuracy = self.found.auc, self.found.accuracy
        row = {"task": self.task, "set": "test", "first": self.found.first, "second": self.found.second,
               "patients": self.found.patients}  # fmt: skip
        for name in ("first", "second", "value", "low", "high", "p", "method"):
            row[f"auc {name}" if name != "value" else "auc difference"] = getattr(auc, name) if auc else None
        row["auc classes"] = self.found.classes
        row["auc p adjusted"] = self.found.p_auc_adjusted
        for name in ("first", "second", "value", "low", "high", "only_first", "only_second", "p_exact", "p_mid"):
            label = "difference" if name == "value" else name.replace("_", " ")
            row[f"accuracy {label}"] = getattr(accuracy, name)
        row |= {"accuracy p adjusted": self.found.p_accuracy_adjusted, "correction": self.found.correction}
        return row | {"comparisons": self.of, "why": self.found.why}


def compare_all(results: StudyResults) -> tuple[Comparison, ...]:
    """The main model with every other architecture and baseline, task by task."""
    found: list[Comparison] = []
    for task in results.tasks:
        runs = {model: run for model, run in results.of_task(task).items() if FUSION not in model}
        if results.main in runs:
            found += _compare(task, runs, results.main)
    return tuple(found)


def compare_fusions(results: StudyResults) -> tuple[Comparison, ...]:
    """Every fusion with the model that it starts from, which is the first of the two."""
    found: list[Comparison] = []
    for task in results.tasks:
        runs = results.of_task(task)
        for base in dict.fromkeys(run.base for run in runs.values()):
            group = {model: run for model, run in runs.items() if run.base == base}
            if base in group and len(group) > 1:
                found += _compare(task, group, base)
    return tuple(found)


def _compare(task: str, runs: dict[str, RunResult], reference: str) -> Iterable[Comparison]:
    """The reference with the others on the same patients; a run of other patients cannot be compared."""
    first = runs[reference]
    scores = {model: run.ensemble.per_patient() for model, run in runs.items()}
    own = set(scores[reference].patient.tolist())
    same = {model: part for model, part in scores.items() if set(part.patient.tolist()) == own}
    for one in compare_models(same, first.classes, first.positive, reference=reference):
        yield Comparison(task, one, len(same) - 1)


def is_variant(model: str) -> bool:
    """Whether a model is one of the DenseNet121 variants of Supplementary Figure 4."""
    return model.startswith("densenet121")


def comparison_table(results: StudyResults, comparisons: Iterable[Comparison], key: str, *, variants: bool) -> Table:
    """Supplementary 3 (other models) or 4 (DenseNet121 variants)."""
    chosen = [one for one in comparisons if is_variant(one.found.second) == variants]
    title = f"{_title(results, variants)}: differences with p-values"
    if not chosen:
        return Table(key, title, why=_why(results, variants))
    note = _NOTE.format(
        first=model_title(results.main), family="all comparisons of a task in Supplementary 3 and 4 together"
    )
    rows = [row for task in results.tasks for row in _task_rows(results, chosen, task, model_title)]
    return Table(key, title, note, _HEADER, tuple(rows), records=[one.record() for one in chosen])


def fusion_table(results: StudyResults, comparisons: Iterable[Comparison]) -> Table:
    """What test-time augmentation, fusion of views and clinical columns add to their base."""
    chosen, title = list(comparisons), "Fusions compared with the model that they start from"
    if not chosen:
        return Table("fusions", title, why="no fusion is finished beside its base")
    note = _NOTE.format(first="the base alone", family="the fusions of one model on one task")
    rows: list[tuple[str, ...]] = []
    for base in dict.fromkeys(one.found.first for one in chosen):
        own = [one for one in chosen if one.found.first == base]
        for task in results.tasks:
            found = list(_task_rows(results, own, task, lambda model: f"  {fusion_title(model)}"))
            rows += [(f"{model_title(base)}, {found[0][0]}",), *found[1:]] if found else []
    return Table("fusions", title, note, _HEADER, tuple(rows), records=[one.record() for one in chosen])


def _title(results: StudyResults, variants: bool) -> str:
    number, others = ("4", "DenseNet121 variants") if variants else ("3", "other models")
    return f"Supplementary {number}. {model_title(results.main)} and {others}"


def _why(results: StudyResults, variants: bool) -> str:
    if not any(results.main_run(task) for task in results.tasks):
        return absence(results, results.tasks)
    return f"no other {'DenseNet121 variant' if variants else 'model'} is finished on the same patients"


def _task_rows(
    results: StudyResults, comparisons: Iterable[Comparison], task: str, name: Callable[[str], str]
) -> Iterable[tuple[str, ...]]:
    own = [one for one in comparisons if one.task == task]
    for place, one in enumerate(own):
        auc, accuracy = one.found.auc, one.found.accuracy
        if place == 0:
            classes = f" over {one.found.classes} classes" if one.found.classes else ""
            area = f"AUC {auc.first:.3f}{classes}, " if auc else ""
            yield (f"{get_task(task).title}: {area}accuracy {accuracy.first:.3f} ({one.found.patients} patients)",)
        areas = ("undefined", one.found.why, "", "")
        if auc:
            difference = interval(auc.value, auc.low, auc.high)
            p = p_text(auc.p) + (" (permutation)" if auc.method.startswith("permutation") else "")
            areas = (f"{auc.second:.3f}", difference, p, p_text(one.found.p_auc_adjusted))
        yield (
            name(one.found.second), *areas,
            f"{accuracy.second:.3f}", interval(accuracy.value, accuracy.low, accuracy.high),
            p_text(accuracy.p_exact), p_text(one.found.p_accuracy_adjusted), p_text(accuracy.p_mid),
        )  # fmt: skip


def forest(results: StudyResults, comparisons: Iterable[Comparison], key: str, *, variants: bool) -> Picture:
    """Differences of AUC and accuracy with their intervals."""
    chosen = [one for one in comparisons if is_variant(one.found.second) == variants]
    title = _title(results, variants)
    if not chosen:
        return Picture(f"{key}-forest", title, why=_why(results, variants))
    lines: list[tuple[str, str]] = []
    for task in results.tasks:
        models = dict.fromkeys(one.found.second for one in chosen if one.task == task)
        lines += [(task, ""), *((task, model) for model in models)] if models else []
    figure = new_figure(13.2, 1.9 + 0.34 * len(lines), title, synthetic=bool(results.study.get("synthetic")))
    axes = figure.subplots(1, 2, sharey=True)
    for panel, (what, name) in zip(axes, (("auc", "AUC"), ("accuracy", "accuracy")), strict=True):
        _panel(panel, chosen, lines, what)
        panel.set_title(f"Difference of {name}", loc="left", fontsize=11)
        panel.set_xlabel(f"← other model better      {model_title(results.main)} better →", fontsize=9)
    labels = [model_title(model) if model else get_task(task).title for task, model in lines]
    axes[0].set_yticks(range(len(lines)), labels, fontsize=9)
    for (_, model), label in zip(lines, axes[0].get_yticklabels(), strict=True):
        label.set_fontweight("normal" if model else "bold")
    caption = (
        "Test set, 95 % CI, p-value adjusted by Holm. "
        f"AUC: DeLong, paired, below {FEW} patients of a class by permutation; accuracy: McNemar, exact. Per patient."
    )
    return Picture(f"{key}-forest", title, caption, figure)


def _panel(axes: Axes, comparisons: list[Comparison], lines: list[tuple[str, str]], what: str) -> None:
    axes.axvline(0, color="#9aa3ad", linewidth=1)
    found = {(one.task, one.found.second): one.found for one in comparisons}
    for place, line in enumerate(lines):
        one = found.get(line)
        entry = getattr(one, what) if one else None
        if one is None or entry is None:
            continue
        axes.plot([entry.low, entry.high], [place, place], color=COLOURS[0], linewidth=2.4)
        axes.plot(entry.value, place, "o", color=COLOURS[0], markersize=6)
        p = one.p_auc_adjusted if what == "auc" else one.p_accuracy_adjusted
        text = f"{interval(entry.value, entry.low, entry.high, 2)}, p {p_text(p)}"
        axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
