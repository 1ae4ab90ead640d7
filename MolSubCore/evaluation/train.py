"""A run from its options to its evaluation: what ``molsub train`` and the worker's job ``train`` both do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MolSubCore.evaluation.evaluate import evaluate_run
from MolSubCore.training.loop import Listener
from MolSubCore.training.plan import Plan
from MolSubCore.training.run import finished_folds, train
from MolSubCore.training.session import TrainingOptions, prepare_training


@dataclass(frozen=True)
class TrainedRun:
    """What became of a run.

    Attributes
    ----------
    run : Path
    plan : Plan
    missing : tuple of int
        Folds that are not trained yet.
    evaluation : dict or None
        Content of ``evaluation.json``; None while folds are missing.
    """

    run: Path
    plan: Plan
    missing: tuple[int, ...]
    evaluation: dict[str, Any] | None


def train_run(
    options: TrainingOptions,
    *,
    reading: Callable[[int, int, str], None] | None = None,
    noting: Callable[[Sequence[str]], None] | None = None,
    listen: Callable[[Plan], Listener] | None = None,
    evaluating: Callable[[], None] | None = None,
) -> TrainedRun:
    """Train what is left of a run and, once all folds are there, evaluate it.

    Interrupted at any moment, it goes on from the last epoch with `TrainingOptions.resume`.

    Parameters
    ----------
    options : TrainingOptions
    reading : callable, optional
        ``reading(done, total, what)`` while images are read.
    noting : callable, optional
        Gets what should be known of the cohort, before the training.
    listen : callable, optional
        Makes the listener of the training, once the plan is known.
    evaluating : callable, optional
        Called before the evaluation.

    Raises
    ------
    MolSubError
        For anything in the table, the options or the run folder that does not fit.
    """
    session = prepare_training(options, progress=reading)
    if noting:
        noting(session.notes)
    train(
        session.plan,
        session.data,
        options.out,
        pretrained=session.pretrained,
        only_folds=options.only_folds or None,
        listener=listen(session.plan) if listen else None,
    )
    folds = set(range(1, session.plan.folds + 1))
    missing = tuple(sorted(folds - set(finished_folds(options.out))))
    if missing:
        return TrainedRun(options.out, session.plan, missing, None)
    if evaluating:
        evaluating()
    return TrainedRun(options.out, session.plan, (), evaluate_run(options.out))
