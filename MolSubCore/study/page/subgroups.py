"""The main model on the test set in subgroups of the patients: view, vendor, age and size of the lesion."""

from __future__ import annotations

from typing import Any

from MolSubCore.errors import counted
from MolSubCore.evaluation.external_page import subgroups_figure, subgroups_table
from MolSubCore.evaluation.subgroups import adjusted, interaction_tests, subgroup_rows
from MolSubCore.report.items import Picture, Table, model_title
from MolSubCore.study.page.tables import absence
from MolSubCore.study.results import RunResult, StudyResults
from MolSubCore.tasks import get_task

_NOT_STORED = (
    "the study was planned by a version that did not keep its subgroups; start molsub study again with the same "
    "options, which adds them and trains nothing that is finished"
)


def subgroup_results(results: StudyResults, runs: tuple[RunResult, ...]) -> dict[str, dict[str, Any]]:
    """By task what `subgroups_table` and `subgroups_figure` show; p-values are adjusted over all tasks.

    Empty where no run is finished, or the study does not know the levels of its patients.
    """
    if results.levels is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    tests: list[dict[str, Any]] = []
    for run in runs:
        drawn = run.evaluation["bootstrap"]
        views = next(iter(run.test.values())).view
        shared = run.ensemble, views, results.levels, run.classes, run.positive
        seed = int(drawn["seed"])
        tests += [{**test, "task": run.task} for test in interaction_tests(*shared, seed=seed)]
        found[run.task] = {
            "positive": run.positive,
            "synthetic": bool(results.study.get("synthetic")),
            "test": run.evaluation["test"],
            "subgroups": subgroup_rows(*shared, resamples=int(drawn["resamples"]), seed=seed),
        }
    tests = adjusted(tests)
    for task, part in found.items():
        part["interactions"] = [test for test in tests if test["task"] == task]
    return found


def subgroups_tables(results: StudyResults, found: dict[str, dict[str, Any]]) -> list[Table]:
    """One table for each task."""
    if not found:
        why = _NOT_STORED if results.levels is None else absence(results, results.tasks)
        return [Table("subgroups-none", "Subgroups of the test set", why=why)]
    made = sum(test["p"] is not None for part in found.values() for test in part["interactions"])
    family = f"the {counted(made, 'test')} of all tasks on this page"
    title = f"Subgroups of the test set, {model_title(results.main)}"
    return [
        subgroups_table(part, f"subgroups-{task}", f"{title}: {get_task(task).title}", elsewhere=family)
        for task, part in found.items()
    ]


def subgroups_figures(results: StudyResults, found: dict[str, dict[str, Any]]) -> list[Picture]:
    """One figure for each task."""
    return [
        subgroups_figure(part, f"subgroups-{task}-figure", f"{{measure}} by subgroup, test set: {get_task(task).title}")
        for task, part in found.items()
    ]
