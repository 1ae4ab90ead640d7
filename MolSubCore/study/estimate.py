"""How long a study will take and how much disk it needs, from a few training steps of each architecture, timed."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from MolSubCore.models.pretrained import NO_PRETRAINED
from MolSubCore.study.plan import Study
from MolSubCore.training.loop import Event, FoldTrainer, PatchSet
from MolSubCore.training.plan import Plan
from MolSubCore.training.run import initial_model
from MolSubCore.training.sampling import epoch_order

#: Steps that are timed after a first one, which sets things up.
_STEPS = 3


@dataclass(frozen=True)
class Estimate:
    """What the unfinished jobs of a study need, at most: early stopping makes them shorter.

    Attributes
    ----------
    seconds : dict of str to float
        By model, of all its jobs one after another.
    step_seconds : dict of str to float
        By architecture, of one training step.
    total_seconds : float
        Of everything, with the workers side by side.
    disk_bytes : int
        Of the results that stay.
    """

    seconds: dict[str, float]
    step_seconds: dict[str, float]
    total_seconds: float
    disk_bytes: int


def estimate(study: Study, progress: Callable[[int, int, str], None] | None = None) -> Estimate:
    """Time some steps of every architecture in the study and count the steps of its jobs.

    Baselines take no account of: beside networks they are done in no time.
    """
    waiting = [job for job in study.jobs if not job.finished]
    plans = {job: study.plans[job.task, job.model] for job in waiting}
    timed = {job.model: plan for job, plan in plans.items() if isinstance(plan, Plan)}
    steps, sizes = {}, {}
    for number, (model, one) in enumerate(timed.items(), start=1):
        steps[model], sizes[model] = _measure(study, one)
        if progress:
            progress(number, len(timed), model)
    seconds = dict.fromkeys((job.model for job in waiting), 0.0)
    disk = 0
    for job, plan in plans.items():
        if isinstance(plan, Plan):
            seconds[job.model] += plan.epochs * _steps_of(study, plan, job.fold) * steps[job.model]
            disk += sizes[job.model]
    at_once = max(min(study.options.workers, len(waiting)), 1)
    return Estimate(seconds, steps, sum(seconds.values()) / at_once, disk)


def _steps_of(study: Study, plan: Plan, fold: int) -> float:
    """Training steps of an epoch, and its validation, which costs a third of a step for as many patches."""
    data = study.data[plan.task]
    own = np.array([part not in ("test", fold) for part in data.partitions])
    order = epoch_order(data.labels[own], plan.oversampling, plan.seed)
    validation = sum(part == fold for part in data.partitions)
    return -(-len(order) // plan.batch_size) + validation / plan.batch_size / 3


class _Enough(Exception):
    """Ends a training that was only to be timed."""


def _measure(study: Study, plan: Plan) -> tuple[float, int]:
    """Seconds of a step, and bytes of the weights."""
    data, times = study.data[plan.task], [time.perf_counter()]
    count = (_STEPS + 1) * plan.batch_size
    indices = np.resize(np.arange(len(data.labels)), count)
    labels = np.resize(np.arange(len(plan.classes)), count)
    patches = PatchSet(data.store.patches, indices, labels)

    def listen(event: Event) -> None:
        times.append(time.perf_counter())
        if len(times) > _STEPS + 1:
            raise _Enough

    torch.set_num_threads(plan.threads)
    model = initial_model(replace(plan, pretrained="none"), 1, NO_PRETRAINED)
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    with tempfile.TemporaryDirectory() as folder:
        trainer = FoldTrainer(model, replace(plan, oversampling=1.0), 1, patches, patches, Path(folder), listen)
        with contextlib.suppress(_Enough):
            trainer.run()
    return statistics.median(np.diff(times[1:]).tolist()), size
