"""What precision the patients of the test set can give, beside what a validation should have (Riley et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable

from MolSubCore.errors import counted
from MolSubCore.report.items import Record, Table, model_title
from MolSubCore.report.page import number
from MolSubCore.statistics.precision import Precision, expected_precision
from MolSubCore.study.page.calibration import Chosen
from MolSubCore.study.page.tables import absence
from MolSubCore.study.results import RunResult, StudyResults
from MolSubCore.tasks import get_task

_TITLES = {
    "expected_observed": "expected / observed",
    "slope": "calibration slope",
    "auc": "AUC (C-statistic)",
    "net_benefit": "net benefit, standardised",
}

_NOTE = (
    "What a set of this size can be expected to give, by the formulas with which a validation is planned (Riley et "
    "al., Statistics in Medicine 2021, doi 10.1002/sim.9025), for a model that is calibrated, has the log-odds and "
    "the AUC that were found on these patients, and calls them as the first threshold (largest Youden index) does. "
    "These are not the intervals of the results, which stand with them. Patients needed: for a 95 % CI of the target "
    "width, at the same share of positives; the largest number counts. The net benefit is at that threshold, divided "
    "by the share of positives. Anticipated values are uncertain where patients are few, and so are the numbers "
    "here. Both breasts of a patient count as two."
)


def precision_table(results: StudyResults, runs: tuple[RunResult, ...], chosen: Iterable[Chosen]) -> Table:
    """Expected widths of the 95 % CIs on the test set, task by task, and the patients that the targets need."""
    title = "Precision that the test set can give"
    binary = [run for run in runs if run.positive]
    if not binary:
        why = "the study has no task of two classes" if runs else absence(results, results.tasks)
        return Table("precision", title, why=why)
    first: dict[str, Chosen] = {}
    for one in chosen:
        first.setdefault(one.task, one)
    rows: list[tuple[str, ...]] = []
    records: list[Record] = []
    for run in binary:
        patients, index = run.ensemble.per_patient(), run.classes.index(str(run.positive))
        positive, count = patients.label == index, len(patients.label)
        threshold = first[run.task].threshold
        value = threshold.value if threshold else None
        found = expected_precision(
            patients.probabilities[:, index], positive, value, no_threshold=f"no threshold: {first[run.task].why}"
        )
        needed = [one.needed for one in found if one.needed is not None]
        head = f"{get_task(run.task).title}: {counted(count, 'patient')}, {int(positive.sum())} {run.positive}"
        if needed:
            head += f"; needed for all targets that can be told: {max(needed)} patients"
        if not run.calibration().fitted:
            head += " (probabilities that were not fitted are taken as right)"
        rows += [(head,), *map(_row, found)]
        shared = {"task": run.task, "model": results.main, "patients": count, "positives": int(positive.sum())}
        records += [
            {**shared, "measure": one.measure, "anticipated": one.anticipated, "standard error": one.error,
             "width": one.width, "target width": one.target, "patients needed": one.needed, "why": one.why,
             "threshold": value if one.measure == "net_benefit" else None}
            for one in found
        ]  # fmt: skip
    header = ("", "Anticipated", "Width of the 95 % CI to be expected", "Target width", "Patients needed")
    return Table("precision", f"{title}: {model_title(results.main)}", _NOTE, header, tuple(rows), records=records)


def _row(one: Precision) -> tuple[str, ...]:
    value = "" if one.anticipated is None else number(one.anticipated, 2)
    if one.width is None:
        return (_TITLES[one.measure], value, f"not told: {one.why}", f"{one.target:g}", "")
    return (_TITLES[one.measure], value, number(one.width, 2), f"{one.target:g}", str(one.needed))
