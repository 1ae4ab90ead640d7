"""What follows the jobs of a study: evaluations, fusions, examples with heatmaps, and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from MolSubCore.cohort.table import without_paths
from MolSubCore.errors import explain_error, is_output_error
from MolSubCore.evaluation.evaluate import FORMAT_VERSION, evaluate_run
from MolSubCore.explain.examples import has_attention, write_attention
from MolSubCore.files import read_json
from MolSubCore.models.registry import build_model
from MolSubCore.study.faithfulness import is_measured, write_faithfulness
from MolSubCore.study.fusion import FUSIONS, STACKED, make_fusions, uses_clinical
from MolSubCore.study.plan import Study
from MolSubCore.study.results import StudyResults, read_study
from MolSubCore.training.baselines import BASELINES
from MolSubCore.training.loop import load_checkpoint
from MolSubCore.training.plan import Plan
from MolSubCore.training.run import finished_folds
from MolSubCore.training.run_files import FUSION, SEPARATOR, WEIGHTS, check_weights, read_plan, run_inputs

Progress = Callable[[int, int, str], None]


def finish_study(study: Study, progress: Progress | None = None) -> tuple[StudyResults, list[str], list[str]]:
    """Evaluate every finished run of a study, fuse it, and keep examples of the main model's attention.

    What is there and up to date is passed over.

    Returns
    -------
    results : StudyResults
    notes : list of str
        What could not be made, and why, a line each.
    failures : list of str
        Runs that could not be evaluated, and why: the others are.
    """
    runs = [study.run_folder(task, model) for task, model in study.plans]
    done = [run for run in runs if _finished(run)]
    notes, failures = [], []
    for number, run in enumerate(done, start=1):
        try:
            bring_up_to_date(run)
            if run.name.partition(SEPARATOR)[2] not in BASELINES:
                notes += _fuse(study, run)
        except Exception as error:  # whatever it is, it is this run's
            if is_output_error(error):
                raise
            failures.append(f"{run.name} could not be evaluated: {explain_error(error)[0]}")
        if progress:
            progress(number, len(done), run.name)
    results = read_study(study.options.out)
    for task in results.tasks:
        run = study.run_folder(task, results.main)
        if results.main_run(task) is not None and results.main not in BASELINES:
            notes += _heatmaps(study, run)
    return results, notes, failures


def bring_up_to_date(run: Path) -> None:
    """Evaluate a finished run, unless its evaluation was made of the same predictions, and in the same way."""
    file, wanted = run / "evaluation.json", (FORMAT_VERSION, run_inputs(run, read_plan(run)))
    found = read_json(file) if file.exists() else {}
    if (found.get("format_version"), found.get("inputs")) != wanted:
        evaluate_run(run)


def _finished(run: Path) -> bool:
    return len(finished_folds(run)) == int(read_json(run / "plan.json")["folds"])


def _fuse(study: Study, run: Path) -> list[str]:
    wanted = [name for name in (*FUSIONS, *STACKED) if study.clinical is not None or not uses_clinical(name)]
    notes = []
    for name, reason in make_fusions(run, wanted, study.clinical).items():
        if reason:
            notes.append(f"{run.name}{FUSION}{name} was not made: {reason}")
        else:
            bring_up_to_date(run.with_name(f"{run.name}{FUSION}{name}"))
    return notes


def _heatmaps(study: Study, run: Path) -> list[str]:
    """Examples of a run's heatmaps, and how far they can be believed; notes of what could not be made."""
    plan = Plan.from_dict(read_json(run / "plan.json"))

    def load(fold: int) -> nn.Module:
        model = build_model(plan.architecture, len(plan.classes), dropout=plan.dropout)
        check_weights(run, fold)
        load_checkpoint(run / f"fold-{fold}" / WEIGHTS, model)
        return model.to(plan.device)

    notes = []
    for what, made, make in (
        ("examples with heatmaps", has_attention, lambda: write_attention(run, study.store, load, cohort=study.cohort)),
        ("test of the heatmaps", is_measured, lambda: write_faithfulness(run, study.store, load, study.cohort)),
    ):
        try:
            if not made(run):
                make()
        except Exception as error:
            if is_output_error(error):
                raise
            notes.append(f"{run.name}: no {what}, {without_paths(error, study.cohort.cases)}")
    return notes
