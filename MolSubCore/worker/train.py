"""The worker's jobs ``check-cohort`` and ``train``."""

from __future__ import annotations

import csv
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from MolSubCore.cohort.check import check_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.train import TrainedRun, train_run
from MolSubCore.models.card import library_folder, read_card
from MolSubCore.training.export import export_run
from MolSubCore.training.loop import Event
from MolSubCore.training.plan import DEFAULT_ARCHITECTURE, SETTINGS, Plan
from MolSubCore.training.run import finished_folds
from MolSubCore.training.session import TrainingOptions
from MolSubCore.worker.protocol import Progress, check_options

#: Seconds between two reports of steps.
_INTERVAL = 0.5
_METRICS = ("train_loss", "val_loss", "train_auc", "val_auc")
_OWN = ("resume", "cache", "split", "pretrained", "trust_ids", "only_folds", "library", "name", "export_fold")
_SETTINGS = {setting.name: setting for setting in SETTINGS}

#: Shares of the whole job.
_READING, _TRAINING = 0.05, 0.97


def check(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``check-cohort``.

    Parameters
    ----------
    options : mapping
        ``table``; ``task``, ``folds`` and ``trust_ids``, optional.

    Returns
    -------
    dict
        ``counts``, ``problems`` and ``notes`` (row, column, text), and ``usable``: whether there is no problem.
    """
    check_options("check-cohort", options, "table", optional=("task", "folds", "trust_ids"))
    report = check_cohort(
        Path(options["table"]),
        task=options.get("task"),
        folds=options.get("folds"),
        trust_ids=bool(options.get("trust_ids")),
        progress=_reading(progress, 1.0),
    )
    found = {
        name: [{"row": one.row, "column": one.column, "text": one.text} for one in getattr(report, name)]
        for name in ("problems", "notes")
    }
    return {"counts": report.counts, **found, "usable": not report.problems}


def train(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``train``: train, evaluate, and put the bundle into the library.

    Parameters
    ----------
    options : mapping
        ``table``, ``run`` (folder) and ``task``; optional: ``resume`` (resume the run there, or start one where there
        is none), ``library`` (folder; default the user's), ``name`` (of the bundle; default task and architecture),
        ``export_fold`` (``best``, ``ensemble`` or a number), ``cache``, ``split``, ``pretrained``, ``only_folds``,
        ``trust_ids``,
        and fields of the plan and of the recipe, such as ``epochs`` or ``bound``.
    progress : callable
        ``progress(share, stage=...)``. The stages are ``reading``, ``training``, ``evaluating``, ``exporting``. An
        epoch's event holds ``fold, folds, epoch, epochs, train_loss, val_loss, train_auc, val_auc, seconds_left``
        (undefined values are null; ``past`` is true for epochs from before the job was resumed); those of steps,
        at most twice a second, hold ``step, steps`` and no metric but ``loss``.

    Returns
    -------
    dict
        ``run``, ``evaluation`` (its content), ``figures`` and ``bundle``; without the latter three, ``missing``: the
        folds still to train.

    Raises
    ------
    MolSubError
        If an option is unknown, the bundle exists (before any training), or training fails.
    """
    chosen = _training_options(options)
    bundle = _free_bundle(options, chosen)
    trained = train_run(
        chosen,
        reading=_reading(progress, _READING),
        listen=lambda plan: _Reports(plan, chosen.out, progress),
        evaluating=lambda: progress(_TRAINING, stage="evaluating"),
    )
    if trained.evaluation is None:
        return {"run": str(trained.run), "missing": list(trained.missing)}
    progress(0.99, stage="exporting")
    if not _is_of(bundle, trained):
        bundle.parent.mkdir(parents=True, exist_ok=True)
        export_run(trained.run, bundle, fold=str(options.get("export_fold") or "best"))
    return {
        "run": str(trained.run),
        "bundle": str(bundle),
        "evaluation": trained.evaluation,
        "figures": [str(trained.run / "evaluation.png")],
    }


def _training_options(options: Mapping[str, Any]) -> TrainingOptions:
    check_options("train", options, "table", "run", "task", optional=(*_OWN, *_SETTINGS))
    run = Path(options["run"])
    return TrainingOptions(
        table=Path(options["table"]),
        out=run,
        task=options["task"],
        # Stopped before there was a plan, it starts anew.
        resume=bool(options.get("resume")) and (run / "plan.json").exists(),
        only_folds=tuple(options.get("only_folds") or ()),
        split=Path(options["split"]) if options.get("split") else None,
        cache=Path(options["cache"]) if options.get("cache") else None,
        trust_ids=bool(options.get("trust_ids")),
        pretrained=options.get("pretrained"),
        settings={
            name: setting.read(options[name]) for name, setting in _SETTINGS.items() if options.get(name) is not None
        },
    )


def _free_bundle(options: Mapping[str, Any], chosen: TrainingOptions) -> Path:
    """Path of the bundle, checked before hours of training."""
    name = str(options.get("name") or f"{chosen.task}-{chosen.settings.get('architecture', DEFAULT_ARCHITECTURE)}")
    if name.startswith(".") or any(sign in name for sign in '/\\:*?"<>|\0') or name != name.strip():
        raise MolSubError(f"name '{name}'", "is not a file name", "Use letters, digits, - and _")
    library = Path(options["library"]) if options.get("library") else library_folder()
    bundle = library / f"{name.removesuffix('.molsub')}.molsub"
    if bundle.exists() and not chosen.resume:
        raise MolSubError(bundle, "exists already", "Choose another name for the model")
    return bundle


def _is_of(bundle: Path, trained: TrainedRun) -> bool:
    """Whether the bundle is this run's, because the job was stopped after the export."""
    if not bundle.exists():
        return False
    plan = (read_card(bundle).get("training") or {}).get("plan")
    if plan is None or Plan.from_dict(plan) != trained.plan:
        raise MolSubError(bundle, "exists already and is from another run", "Choose another name for the model")
    return True


def _reading(progress: Progress, share: float) -> Callable[[int, int, str], None]:
    """Progress of images, at most twice a second, and of the last."""
    last = [0.0]

    def report(done: int, total: int, what: str) -> None:
        if done == total or time.monotonic() - last[0] > _INTERVAL:
            last[0] = time.monotonic()
            progress(share * done / max(total, 1), stage="reading", images=done, of=total)

    return report


class _Reports:
    """Listener that reports the training to a program."""

    def __init__(self, plan: Plan, run: Path, progress: Progress) -> None:
        self._plan, self._progress, self._last = plan, progress, 0.0
        self._seconds: list[float] = []
        self._finished = set(finished_folds(run))
        self._started: float | None = None
        self._guess: float | None = None  # seconds of the first epoch, from its steps so far
        self._tell_past(run)

    def _tell_past(self, run: Path) -> None:
        """The curves so far, for a program that has not seen them."""
        for fold in range(1, self._plan.folds + 1):
            file = run / f"fold-{fold}" / "metrics.csv"
            if not file.is_file():
                continue
            with file.open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream):
                    values = {key: float(value) if value else None for key, value in row.items()}
                    self._tell_epoch(fold, int(row["epoch"]), values, past=True)

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if event.kind == "epoch":
            self._started = None
            self._tell_epoch(event.fold, event.epoch, event.values)
        elif event.kind == "fold":
            self._finished.add(event.fold)
        elif event.kind == "step":
            self._started = now if event.step == 1 or self._started is None else self._started
            if now - self._last > _INTERVAL:
                self._last = now
                if event.step > 1:  # the first step's time is unknown
                    self._guess = (now - self._started) / (event.step - 1) * event.steps
                values = {"step": event.step, "steps": event.steps, "loss": _plain(event.values["loss"])}
                self._tell(event.fold, event.epoch, event.step / event.steps, values)

    def _tell_epoch(self, fold: int, epoch: int, row: Mapping[str, Any], *, past: bool = False) -> None:
        self._seconds.append(float(row["seconds"] or 0.0))
        values = {name: _plain(row.get(name)) for name in _METRICS}
        self._tell(fold, epoch, 1.0, values | ({"past": True} if past else {}))

    def _tell(self, fold: int, epoch: int, part: float, values: dict[str, Any]) -> None:
        plan = self._plan
        before = {other for other in self._finished if other != fold and (other < fold or "past" not in values)}
        done = len(before) * plan.epochs + epoch - 1 + part
        whole = plan.folds * plan.epochs
        share = min(done / whole, 1.0)
        second = statistics.median(self._seconds[-5:]) if self._seconds else self._guess
        left = None if second is None else round(max(whole - done, 0) * second, 1)
        self._progress(
            _READING + (_TRAINING - _READING) * share,
            **{"stage": "training", "fold": fold, "folds": plan.folds, "epoch": epoch, "epochs": plan.epochs},
            **values,
            seconds_left=left,
        )


def _plain(value: Any) -> float | None:
    """A finite number, or None, also for a loss that overflowed."""
    return float(value) if value is not None and math.isfinite(value) else None
