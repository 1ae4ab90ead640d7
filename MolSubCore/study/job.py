"""One job of a study: one fold of one model on one task, in its own result folder."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from MolSubCore.cohort.features import FeatureTable, build_features
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.splits import read_split
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import Cohort, read_cohort
from MolSubCore.errors import MolSubError, TrainingError
from MolSubCore.files import read_json
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.lesions.radiomics import RadiomicsSettings
from MolSubCore.models.pretrained import NO_PRETRAINED, read_pretrained
from MolSubCore.study.results import fold_folder
from MolSubCore.training.baselines import BASELINES, BaselinePlan, train_baseline_fold
from MolSubCore.training.extras import write_extras
from MolSubCore.training.loop import Event
from MolSubCore.training.plan import Plan
from MolSubCore.training.run import AnyPlan, TrainingData, train

#: Seconds between two reports of progress.
_INTERVAL = 0.5


@dataclass(frozen=True)
class StudyJob:
    """What a process needs to do one job; the rest lies in the study folder.

    Attributes
    ----------
    key : str
        SHA-256 of the run's plan and the fold: of everything that decides the result.
    study, task, model, fold
        The study's folder, and which of its jobs.
    table, cache : str
        Cohort table and patch cache. They are told to the process and written nowhere.
    pretrained : str
        ``auto``, ``none``, or a file of weights.
    threads : int
        Of the processor, as the plan has it.
    """

    key: str
    study: str
    task: str
    model: str
    fold: int
    table: str
    cache: str = ""
    pretrained: str = "auto"
    threads: int = 1

    @property
    def folder(self) -> Path:
        """Where the result lies; it holds ``done.json`` once it is whole."""
        return fold_folder(Path(self.study), self.task, self.model, self.fold)

    @property
    def finished(self) -> bool:
        """Whether there is a result."""
        return (self.folder / "done.json").is_file()

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.task} {self.model} fold {self.fold}"

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> StudyJob:
        """The job of what `to_dict` gave; MolSubError for anything else."""
        for known in dataclasses.fields(cls):
            if known.name not in options:
                if known.default is dataclasses.MISSING:
                    raise MolSubError("study-fold", f"lacks the option {known.name}", "Give it")
            elif type(options[known.name]) is not (int if known.type == "int" else str):
                found = f"has the option {known.name} of an unexpected kind ({options[known.name]!r:.80})"
                raise MolSubError("study-fold", found, "Correct the request")
        names = [known.name for known in dataclasses.fields(cls)]
        if strange := set(options) - set(names):
            found = f"has the unknown option '{min(strange)}'"
            raise MolSubError("study-fold", found, f"Known options: {', '.join(names)}")
        return cls(**options)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready options of the worker's job ``study-fold``."""
        return dataclasses.asdict(self)


def job_key(plan: AnyPlan, fold: int) -> str:
    """SHA-256 of a run's plan and a fold."""
    return hashlib.sha256(f"{plan.key()}/{fold}".encode()).hexdigest()


def run_fold(options: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """Do a job: the worker's ``study-fold``.

    Parameters
    ----------
    options : dict
        `StudyJob.to_dict`.
    progress : callable
        ``progress(share, ...)``, with the metrics of the last epoch.

    Returns
    -------
    dict
        ``done.json`` of the fold.

    Raises
    ------
    MolSubError
        If the table or its images are no longer those of the plan, another process works on this job, or anything
        that training says.
    """
    job = StudyJob.from_dict(options)
    if not job.finished:
        run = job.folder.parent
        content = read_json(run / "plan.json")
        plan: AnyPlan = (BaselinePlan if job.model in BASELINES else Plan).from_dict(content)
        if job_key(plan, job.fold) != job.key:
            raise TrainingError(run, "was made with another plan", "Run molsub study again, or choose another --out")
        inputs = _inputs(job.table, job.cache, job.study, Recipe.from_dict(content["recipe"]))
        data = _checked(inputs.data(job.task), plan, job)
        if isinstance(plan, BaselinePlan):
            features = inputs.features(RadiomicsSettings.from_dict(plan.features), job.threads)
            train_baseline_fold(plan, data, features, run, job.fold)
        elif isinstance(plan, Plan):
            begun = (job.folder / "last.safetensors").exists()
            pretrained = NO_PRETRAINED if begun else read_pretrained(plan.architecture, job.pretrained)
            listener = _Reports(plan, progress)
            train(plan, data, run, pretrained=pretrained, only_folds=[job.fold], listener=listener, after=write_extras)
            # The optimizer's state is twice as large as the weights, and of a finished fold nobody needs it.
            (job.folder / "last.safetensors").unlink(missing_ok=True)
    result: dict[str, Any] = read_json(job.folder / "done.json")
    return result


def _checked(data: TrainingData, plan: AnyPlan, job: StudyJob) -> TrainingData:
    """The data, if they are still those that were planned."""
    expected = plan.to_dict()
    found = {
        "data_hash": data.store.data_hash(),
        "split_hash": data.partition_hash(),
        "groups_hash": data.groups_hash(),
    }
    if any(expected[name] != value for name, value in found.items()):
        told = "gives other patches, subtypes, partitions, sides or views than when the study was planned"
        raise TrainingError(job.table, told, "Put it back as it was, or plan a new study with another --out")
    return data


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What jobs of one study share; a worker reads it once."""

    cohort: Cohort
    store: PatchStore
    study: Path
    cache: Path | None

    def data(self, task: str) -> TrainingData:
        return _gathered(self, task)

    def features(self, settings: RadiomicsSettings, workers: int) -> FeatureTable:
        return build_features(self.cohort, settings, self.cache, workers=workers)


@lru_cache(maxsize=8)
def _gathered(inputs: _Inputs, task: str) -> TrainingData:
    split = read_split(inputs.study / "split.json", inputs.cohort)
    return TrainingData.gather(inputs.cohort, inputs.store, split, task)


@lru_cache(maxsize=2)
def _inputs(table: str, cache: str, study: str, recipe: Recipe) -> _Inputs:
    cohort, folder = read_cohort(table), Path(cache) if cache else None
    return _Inputs(cohort, build_store(cohort, recipe, folder), Path(study), folder)


class _Reports:
    """Listener that tells the share done, not at every step."""

    def __init__(self, plan: Plan, progress: Callable[..., None]) -> None:
        self._plan, self._progress, self._last = plan, progress, 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "epoch":
            values = {name: event.values[name] for name in ("train_loss", "val_loss", "val_auc")}
            self._progress(event.epoch / self._plan.epochs, epoch=event.epoch, **values)
        elif event.kind == "step" and time.monotonic() - self._last > _INTERVAL:
            self._last = time.monotonic()
            share = (event.epoch - 1 + event.step / event.steps) / self._plan.epochs
            self._progress(share, epoch=event.epoch)
