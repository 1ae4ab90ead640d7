"""A study, planned: tasks times models times folds as jobs, each under the hash of all that decides its result.

::

    STUDY/study.json     tasks, models, settings, the jobs
    STUDY/split.json     one division of the patients, for all tasks
    STUDY/cohort.json    the cohort in numbers
    STUDY/runs/<task>--<model>/fold-N/    a job's result, finished when it holds done.json
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from MolSubCore.cohort.features import build_features
from MolSubCore.cohort.identity import check_identities
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.splits import TEST, Split, make_split, read_split, subtypes_of, write_split
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import Cohort, read_cohort, tell_notes
from MolSubCore.cohort.table_files import note_lines
from MolSubCore.errors import CohortError, TrainingError
from MolSubCore.evaluation.fusion_clinical import clinical_values
from MolSubCore.evaluation.fusion_run import Clinical
from MolSubCore.evaluation.study_results import run_folder
from MolSubCore.files import write_json
from MolSubCore.imaging.radiomics import RadiomicsSettings, radiomics_versions
from MolSubCore.imaging.recipes import Recipe
from MolSubCore.study.describe import describe_cohort
from MolSubCore.study.job import StudyJob, job_key
from MolSubCore.study.options import SHARED, StudyOptions, resolve_options
from MolSubCore.study.weights import Weights, find_weights
from MolSubCore.tasks import Task, get_task
from MolSubCore.training.baselines import BASELINES, BaselinePlan
from MolSubCore.training.run import AnyPlan, TrainingData, prepare_run, software
from MolSubCore.training.session import draft_plan

Progress = Callable[[str], Callable[[int, int, str], None]]


@dataclass(frozen=True, eq=False)
class Study:
    """A planned study: everything is read and checked, nothing is written yet.

    Attributes
    ----------
    options : StudyOptions
        With the choices of the stored study filled in.
    cohort, split, store
    data : dict of str to TrainingData
        By task.
    plans : dict of (task, model) to Plan or BaselinePlan
    weights : Weights
        What the architectures start from.
    clinical : mapping or None
        Values by study id and column.
    jobs : tuple of StudyJob
        Task by task, model by model, fold by fold.
    notes : tuple of str
        What should be known of the cohort.
    """

    options: StudyOptions
    cohort: Cohort
    split: Split
    store: PatchStore
    data: dict[str, TrainingData]
    plans: dict[tuple[str, str], AnyPlan]
    weights: Weights
    clinical: Clinical | None
    jobs: tuple[StudyJob, ...]
    notes: tuple[str, ...] = ()

    def run_folder(self, task: str, model: str) -> Path:
        """Where a run lies."""
        return run_folder(self.options.out, task, model)

    def content(self) -> dict[str, Any]:
        """Content of ``study.json``: no path, no identifier."""
        first = next(iter(self.plans.values())).to_dict()
        settings = self.options.settings
        return {
            "format": "molsub-study",
            "format_version": 1,
            "tasks": list(self.options.tasks),
            "models": list(self.options.models),
            **{name: settings[name] for name in SHARED},
            "clinical": list(self.options.clinical),
            "pretrained": self.options.pretrained if self.options.pretrained in ("kept", "auto", "none") else "files",
            "data_hash": first["data_hash"],
            "split_hash": first["split_hash"],
            "synthetic": first["synthetic"],
            "recipe": first["recipe"],
            "settings": settings,
            "software": software(),
            "jobs": [{"key": job.key, "task": job.task, "model": job.model, "fold": job.fold} for job in self.jobs],
        }

    def write(self) -> None:
        """Make the study folder, or bring it up to this plan; results stay.

        Raises
        ------
        TrainingError
            If a run there was made by another plan: the fields that differ are named.
        """
        out = self.options.out
        for (task, model), plan in self.plans.items():
            prepare_run(self.run_folder(task, model), plan, self.split, self.data[task], resume=True)
        if not (out / "split.json").exists():
            write_split(self.split, out / "split.json")
        write_json(out / "cohort.json", describe_cohort(self.cohort, self.split, next(iter(self.data.values()))))
        write_json(out / "study.json", self.content())


def plan_study(options: StudyOptions, progress: Progress | None = None) -> Study:
    """Read and check everything that a study needs, and plan its jobs; nothing is written but the caches.

    What can be told without an image is told before any is read.

    Parameters
    ----------
    options : StudyOptions
    progress : callable, optional
        ``progress(title)`` gives the ``progress(done, total, what)`` of a part.

    Raises
    ------
    MolSubError
        For anything in the table, the split, the options or the folder that does not fit.
    """
    show = progress or (lambda title: lambda done, total, what: None)
    options, recipe = resolve_options(options)
    cohort = read_cohort(options.table)
    tell_notes(cohort)
    tasks = [get_task(name) for name in options.tasks]
    split = _split(options, cohort)
    settings = {**options.settings, "folds": split.folds}
    options = replace(options, settings=settings)
    clinical = clinical_values(cohort, split, options.clinical) if options.clinical else None
    networks = [name for name in options.models if name not in BASELINES]
    weights = find_weights(networks, options.pretrained)
    drafts = {
        (task.name, model): _draft(task.name, model, recipe, settings, weights)
        for task in tasks
        for model in options.models
    }
    if set(options.models) & set(BASELINES):
        radiomics_versions()
        _check_baselines(cohort, split, tasks)
    store = build_store(cohort, recipe, options.cache, progress=show("reading images"))
    identity = check_identities(cohort, store, trust=options.trust_ids)
    radiomics = RadiomicsSettings.for_images(store.meta, together=recipe.together)
    if set(options.models) & set(BASELINES):  # the jobs take them from the cache
        show_features = show("radiomics features")
        build_features(cohort, radiomics, options.cache, workers=os.cpu_count() or 1, progress=show_features)
    data = {task.name: TrainingData.gather(cohort, store, split, task.name, identity.summary) for task in tasks}
    plans = _with_data(drafts, data, radiomics)
    jobs = _jobs(options, plans, weights)
    return Study(options, cohort, split, store, data, plans, weights, clinical, jobs, tuple(note_lines(identity.notes)))


def _split(options: StudyOptions, cohort: Cohort) -> Split:
    existing, tasks = options.out / "split.json", [get_task(name) for name in options.tasks]
    settings = options.settings
    if existing.exists():
        if options.split:
            raise TrainingError(options.out, "has its split already", "Leave out --split, or choose another --out")
        split = read_split(existing, cohort)
        if settings["folds"] != split.folds:
            found = f"has {split.folds} fold(s), not {settings['folds']}"
            raise TrainingError(options.out, found, "Leave out --folds, or choose another --out")
        return split
    if options.split:
        return read_split(options.split, cohort)
    shared = {name: settings[name] for name in ("folds", "test_share", "seed")}
    return make_split(cohort, tasks, **shared)


def _check_baselines(cohort: Cohort, split: Split, tasks: Sequence[Task]) -> None:
    """Refuse a class that a fold leaves one patient of for training: nothing is left to search and calibrate with.

    Raises
    ------
    CohortError
    """
    subtypes = subtypes_of(cohort)
    for task in tasks:
        counts: Counter[tuple[int, str]] = Counter()
        for patient, subtype in subtypes.items():
            own = split.partition_of(patient)
            counts.update(
                (fold, task.class_of[subtype]) for fold in range(1, split.folds + 1) if own not in (TEST, fold)
            )
        for fold in range(1, split.folds + 1):
            for name in task.classes:
                if counts[fold, name] < 2:
                    found = (
                        f"fold {fold} has {counts[fold, name]} training patient(s) of class {name}, baselines need 2"
                    )
                    raise CohortError(cohort.source, found, "Use more patients, or leave out the radiomics baselines")


def _draft(task: str, model: str, recipe: Recipe, settings: Mapping[str, Any], weights: Weights) -> AnyPlan:
    """A plan but for what the images decide."""
    if model not in BASELINES:
        return replace(draft_plan(task, model, recipe, settings["folds"], settings), pretrained=weights.names[model])
    features = RadiomicsSettings(together=recipe.together)
    shared = {name: settings[name] for name in ("seed", "folds", "test_share")}
    return BaselinePlan(task, model, recipe.to_dict(), features.to_dict(), "", "", **shared)


def _with_data(
    drafts: dict[tuple[str, str], AnyPlan], data: dict[str, TrainingData], radiomics: RadiomicsSettings
) -> dict[tuple[str, str], AnyPlan]:
    """The plans, with what the images decide."""
    first = next(iter(data.values()))
    facts = {
        "data_hash": first.store.data_hash(),
        "split_hash": first.partition_hash(),
        "synthetic": first.summary()["synthetic"],
    }
    of_baselines = {**facts, "features": radiomics.to_dict()}
    return {
        name: replace(plan, **(of_baselines if isinstance(plan, BaselinePlan) else facts))  # type: ignore[type-var]
        for name, plan in drafts.items()
    }


def _jobs(options: StudyOptions, plans: dict[tuple[str, str], AnyPlan], weights: Weights) -> tuple[StudyJob, ...]:
    place = {"study": str(options.out), "table": str(options.table), "cache": str(options.cache or "")}
    threads = int(options.settings["threads"])
    return tuple(
        StudyJob(job_key(plan, fold), task=task, model=model, fold=fold, threads=threads,
                 pretrained=weights.sources.get(model, "none"), **place)
        for (task, model), plan in plans.items()
        for fold in range(1, int(options.settings["folds"]) + 1)
    )  # fmt: skip
