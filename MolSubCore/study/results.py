"""The finished runs of a study folder: what its tables, figures and tests are made of.

::

    STUDY/study.json, split.json, cohort.json, subgroups.json
    STUDY/runs/<task>--<model>/     a run: plan.json, evaluation.json, fold-N/predictions.csv and so on

A model is an architecture, a baseline, or a fusion named after the run it starts from (``densenet121-cbam+tta``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from MolSubCore.errors import TrainingError
from MolSubCore.evaluation.evaluate import FORMAT_VERSION
from MolSubCore.files import read_json
from MolSubCore.statistics.calibration import CalibrationMap
from MolSubCore.statistics.scores import Predictions, Scores, ensemble
from MolSubCore.training.run_files import FUSION, SEPARATOR, fold_numbers, fold_predictions, missing_folds, read_plan

#: The paper's model: the study's main one wherever it was trained.
MAIN = "densenet121-cbam"

Job = tuple[str, str, int]


@dataclass(frozen=True, eq=False)
class RunResult:
    """One model on one task, all folds.

    Attributes
    ----------
    task, model : str
    folder : Path
    plan, evaluation : dict
        Content of ``plan.json`` and ``evaluation.json``.
    validation, test : dict of int to Predictions
        By fold: its validation part, and the test set by its model.
    """

    task: str
    model: str
    folder: Path
    plan: dict[str, Any]
    evaluation: dict[str, Any]
    validation: dict[int, Predictions]
    test: dict[int, Predictions]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self.plan["classes"])

    @property
    def positive(self) -> str | None:
        """The positive class of a binary task."""
        found: str | None = self.plan["positive"]
        return found

    @property
    def base(self) -> str:
        """The model that a fusion starts from; the model itself where it is none."""
        return self.model.partition(FUSION)[0]

    def calibration(self, fold: int | None = None) -> CalibrationMap:
        """That of the ensemble, or of one fold's model, as the evaluation fitted it."""
        found = self.evaluation["calibration"]
        patients = (part.study_id.tolist() for part in self.validation.values())
        entry = found["ensemble"] if fold is None else found["folds"][str(fold)]
        return CalibrationMap.from_dict(entry, frozenset(chain.from_iterable(patients)))

    @cached_property
    def ensemble(self) -> Scores:
        """The test set by all folds together, calibrated."""
        return self.calibration().apply(ensemble(list(self.test.values())))

    @cached_property
    def out_of_fold(self) -> Scores:
        """One row per validation patient, each by the model that did not train on it, calibrated."""
        parts = {number: part.scores().calibrated(self.calibration(number)) for number, part in self.validation.items()}
        return Scores.pooled([part.per_patient() for part in parts.values()])


@dataclass(frozen=True, eq=False)
class StudyResults:
    """A study folder, read.

    Attributes
    ----------
    folder : Path
    study, cohort : dict
        Content of ``study.json`` and ``cohort.json``.
    runs : dict of (task, model) to RunResult
        Finished and evaluated runs in the order of the plan, fusions after their base.
    unfinished : tuple of (task, model, fold)
        Jobs of the plan without a result.
    levels : dict of str to dict, or None
        By attribute the level of each patient of the test set (salted id); None of studies of before.
    """

    folder: Path
    study: dict[str, Any]
    cohort: dict[str, Any]
    runs: dict[tuple[str, str], RunResult]
    unfinished: tuple[Job, ...]
    levels: dict[str, dict[str, str]] | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the plan."""
        return tuple(self.study["tasks"])

    @property
    def main(self) -> str:
        """The model that is reported in full: the paper's where it is in the plan, else the plan's first."""
        models = list(self.study["models"])
        return MAIN if MAIN in models or not models else str(models[0])

    def of_task(self, task: str) -> dict[str, RunResult]:
        """Runs of one task by model."""
        return {model: run for (name, model), run in self.runs.items() if name == task}

    def main_run(self, task: str) -> RunResult | None:
        """The main model's run of a task, if it is finished."""
        return self.runs.get((task, self.main))


def read_study(folder: Path) -> StudyResults:
    """Read a study folder; runs that are not finished or not evaluated are left out.

    Raises
    ------
    TrainingError
        If the folder holds no study, or a run belongs to another task or has other folds than its plan.
    MolSubError
        If a file of a finished run is damaged.
    """
    if not (folder / "study.json").is_file():
        raise TrainingError(folder, "holds no study (no study.json)", "Give the folder that molsub study wrote")
    study: dict[str, Any] = read_json(folder / "study.json")
    lacking = [name for name in ("tasks", "models", "jobs") if name not in study]
    if study.get("format") != "molsub-study" or lacking:
        found = f"is of another form (lacks {', '.join(lacking) or 'its format'})"
        raise TrainingError(folder / "study.json", found, "Plan the study again with molsub study")
    cohort = read_json(folder / "cohort.json") if (folder / "cohort.json").is_file() else {}
    present = {path.name for path in (folder / "runs").iterdir()} if (folder / "runs").is_dir() else set()
    runs = {}
    for task in study["tasks"]:
        for model in _with_fusions(task, study["models"], present):
            if run := _read_run(run_folder(folder, task, model), task, model):
                runs[task, model] = run
    jobs = [(str(job["task"]), str(job["model"]), int(job["fold"])) for job in study["jobs"]]
    unfinished = tuple(job for job in jobs if not (fold_folder(folder, *job) / "done.json").is_file())
    stored = folder / "subgroups.json"
    levels = read_json(stored)["levels"] if stored.is_file() else None
    return StudyResults(folder, study, cohort, runs, unfinished, levels)


def run_folder(study: Path, task: str, model: str) -> Path:
    """Where one model's run of a task lies."""
    return study / "runs" / f"{task}{SEPARATOR}{model}"


def fold_folder(study: Path, task: str, model: str, fold: int) -> Path:
    """Where one job's result lies."""
    return run_folder(study, task, model) / f"fold-{fold}"


def _with_fusions(task: str, models: list[str], present: set[str]) -> list[str]:
    """The plan's models, each followed by the fusions of it that were made."""
    from MolSubCore.study.fusion import FUSIONS  # loads scikit-learn, which jobs do without

    order = {name: number for number, name in enumerate(FUSIONS)}
    result = []
    for model in models:
        prefix = f"{task}{SEPARATOR}{model}{FUSION}"
        kinds = sorted(
            (name[len(prefix) :] for name in present if name.startswith(prefix)),
            key=lambda kind: (order.get(kind, len(order)), kind),
        )
        result += [model, *(f"{model}{FUSION}{kind}" for kind in kinds)]
    return list(dict.fromkeys(result))


def _read_run(folder: Path, task: str, model: str) -> RunResult | None:
    """A run, or None where a fold or the evaluation is missing."""
    if not (folder / "plan.json").is_file() or not (folder / "evaluation.json").is_file():
        return None
    plan = read_plan(folder)
    if missing_folds(folder, plan):
        return None
    evaluation = read_json(folder / "evaluation.json")
    if evaluation.get("format_version") != FORMAT_VERSION:  # of before; the study's next start evaluates it again
        return None
    if plan["task"] != task or evaluation.get("task") != task or len(evaluation["folds"]) != len(fold_numbers(plan)):
        found = f"holds a run of the task {plan['task']}, evaluated for {evaluation.get('task')}"
        raise TrainingError(folder, f"{found}, {len(evaluation['folds'])} folds", "Remove it and run the study again")
    validation, test = (fold_predictions(folder, plan, part) for part in ("predictions", "test_predictions"))
    return RunResult(task, model, folder, plan, evaluation, validation, test)
