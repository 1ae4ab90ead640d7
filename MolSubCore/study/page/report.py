"""``study.html``, and the tables and figures of a study as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.files import remove_stale, set_aside_changed, write_text
from MolSubCore.report.checklists import checklists
from MolSubCore.report.items import Picture, Table, model_title
from MolSubCore.report.page import environment
from MolSubCore.study.page import text
from MolSubCore.study.page.attention import all_attention, failures, faithfulness_table
from MolSubCore.study.page.calibration import (
    calibration_table,
    choose_all,
    cross_table,
    curves,
    decision_figure,
    decision_table,
    main_runs,
    reliability_figure,
    thresholds_table,
)
from MolSubCore.study.page.comparison import (
    Comparison,
    compare_all,
    compare_fusions,
    comparison_table,
    forest,
    fusion_table,
)
from MolSubCore.study.page.curves import binary_roc, class_roc, confusions, many, views_table
from MolSubCore.study.page.flow import flow_figure, flow_table, interval_table
from MolSubCore.study.page.precision import precision_table
from MolSubCore.study.page.subgroups import subgroup_results, subgroups_figures, subgroups_tables
from MolSubCore.study.page.tables import characteristics_tables, models_table, performance_table
from MolSubCore.study.results import RunResult, StudyResults

Progress = Callable[[int, int, str], None]

#: Parts of the page that are always there: anchor and title.
_SECTIONS = {
    "title": "Title",
    "question": "Question",
    "summary": "Summary",
    "participants": "Participants",
    "methods-outcome": "Outcome",
    "methods-data": "Data",
    "methods-preprocessing": "Preprocessing",
    "methods-split": "Data split",
    "methods-model": "Models and training",
    "methods-evaluation": "Evaluation",
    "software": "Software",
    "limitations": "Limitations",
}


def make_tables(results: StudyResults, comparisons: tuple[Comparison, ...], runs: tuple[RunResult, ...]) -> list[Table]:
    """Every table of a study; those that cannot be made say why."""
    chosen = choose_all(runs)
    return [
        flow_table(results),
        *characteristics_tables(results),
        interval_table(results),
        performance_table(results, "table-2", ("luminal",)),
        performance_table(results, "table-3", ("tn", "her2", many(results))),
        models_table(results),
        fusion_table(results, compare_fusions(results)),
        comparison_table(results, comparisons, "supplementary-3", variants=False),
        comparison_table(results, comparisons, "supplementary-4", variants=True),
        views_table(results),
        precision_table(results, runs, chosen),
        faithfulness_table(results),
        calibration_table(results, runs),
        thresholds_table(results, chosen),
        cross_table(results, chosen),
        decision_table(results, curves(runs)),
    ]


def make_figures(
    results: StudyResults, comparisons: tuple[Comparison, ...], runs: tuple[RunResult, ...]
) -> list[Callable[[], list[Picture]]]:
    """Every figure of a study, each drawn when it is called for."""
    return [
        lambda: [flow_figure(results)],
        lambda: [binary_roc(results)],
        lambda: [class_roc(results)],
        lambda: [confusions(results)],
        lambda: all_attention(results),
        lambda: failures(results),
        lambda: [forest(results, comparisons, "supplementary-3", variants=False)],
        lambda: [forest(results, comparisons, "supplementary-4", variants=True)],
        lambda: [reliability_figure(results, runs)],
        lambda: [decision_figure(results, curves(runs))],
    ]


def write_report(results: StudyResults, *, progress: Progress | None = None) -> Path:
    """Write ``STUDY/results/*.csv, *.png, *.svg`` and ``STUDY/study.html``; return the path of the page.

    What cannot be made, because a task or a run is not there, is said in the page with the reason; files of an earlier
    report that no longer belong to it are removed.

    Parameters
    ----------
    results : StudyResults
        From `MolSubCore.study.results.read_study`; may be of an unfinished study.
    progress : callable, optional
        ``progress(done, total, what)``.
    """
    comparisons, runs = compare_all(results), main_runs(results)
    subgroups = subgroup_results(results, runs)
    tables = [*make_tables(results, comparisons, runs), *subgroups_tables(results, subgroups)]
    write_tables(results, tables)
    makers = [*make_figures(results, comparisons, runs)]
    if subgroups:
        makers.append(lambda: subgroups_figures(results, subgroups))
    pictures: list[tuple[Picture, str]] = []
    for number, make in enumerate(makers, start=1):
        pictures += [(picture, picture.write(results.folder / "results")) for picture in make()]
        if progress:
            progress(number, len(makers), pictures[-1][0].title)
    _remove_stale(results.folder / "results", pictures)
    page = environment().get_template("study.html").render(_content(results, comparisons, tables, pictures))
    write_text(results.folder / "study.html", page)
    return results.folder / "study.html"


def write_tables(results: StudyResults, tables: list[Table]) -> list[Table]:
    """Write ``STUDY/results/*.csv``; return all tables, also those that could not be made.

    Of those that are there, what somebody has changed since is kept under another name.
    """
    folder = results.folder / "results"
    folder.mkdir(exist_ok=True)
    set_aside_changed(folder, ".csv")
    made = [table for table in tables if not table.why]
    for table in made:
        table.write(folder)
    remove_stale(folder, {f"{table.key}.csv" for table in made}, (".csv",))
    return tables


def _remove_stale(folder: Path, pictures: list[tuple[Picture, str]]) -> None:
    endings = (".png", ".svg")
    remove_stale(folder, {f"{picture.key}{ending}" for picture, uri in pictures if uri for ending in endings}, endings)


def _content(
    results: StudyResults, comparisons: tuple[Comparison, ...], tables: list[Table], pictures: list[tuple[Picture, str]]
) -> dict[str, Any]:
    """What the template shows."""
    items: list[Table | Picture] = [*tables, *(picture for picture, _ in pictures)]
    titles = {item.key: _short(item.title) for item in items}
    made = {table.key for table in tables if not table.why} | {picture.key for picture, uri in pictures if uri}
    parts = {"supplementary-5": "Supplementary 5", "failures": "Misclassified test patients", "subgroups": "Subgroups"}
    for key, title in parts.items():
        titles[key] = title
        made |= {key} if any(name.startswith(f"{key}-") for name in made) else set()
    present = _SECTIONS | {key: title for key, title in titles.items() if key in made}
    return {
        "study": results.study,
        "main": model_title(results.main),
        "synthetic": bool(results.study.get("synthetic")),
        "jobs": (len(results.study["jobs"]) - len(results.unfinished), len(results.study["jobs"])),
        "unfinished": _unfinished(results),
        "notes": results.cohort.get("notes") or [],
        "question": text.question(results),
        "findings": text.findings(results),
        "comparison": text.comparison_summary(results, comparisons),
        "tables": {table.key: table for table in tables},
        "characteristics": [table for table in tables if table.key.startswith("table-1")],
        "pictures": {picture.key: (picture, uri) for picture, uri in pictures},
        "outcome": text.outcome_rows(results),
        "data": text.data_facts(results),
        "preprocessing": text.preprocessing_facts(results),
        "split": text.split_facts(results),
        "model": text.model_facts(results),
        "evaluation": text.evaluation_facts(results),
        "software": results.study.get("software") or {},
        "limitations": list(text.limitations(results)),
        "checklists": checklists(present, titles),
        "disclaimer": DISCLAIMER,
        "version": __version__,
    }


def _short(title: str) -> str:
    """The number of a table or figure, or its title where it has none."""
    first, _, rest = title.partition(". ")
    return first if rest and len(first) < 24 else title.partition(":")[0].partition(" of ")[0]


def _unfinished(results: StudyResults) -> Sequence[str]:
    """One line for each run with jobs to do."""
    folds: dict[tuple[str, str], list[int]] = {}
    for task, model, fold in results.unfinished:
        folds.setdefault((task, model), []).append(fold)
    return [f"{task}, {model_title(model)}: fold {', '.join(map(str, left))}" for (task, model), left in folds.items()]
