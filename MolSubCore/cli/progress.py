"""Progress bars for the terminal, on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm
    from typing_extensions import Self

    from MolSubCore.study.job import StudyJob
    from MolSubCore.training.loop import Event
    from MolSubCore.worker.protocol import Event as JobEvent

#: Seconds between two lines of a bar where standard error is a log file and not a terminal.
_LOG_INTERVAL = 10.0


def _bar(**options: Any) -> tqdm[None]:
    from tqdm import tqdm  # not before a bar is wanted: the worker starts without any library

    interval = 0.1 if sys.stderr.isatty() else _LOG_INTERVAL
    return tqdm(file=sys.stderr, dynamic_ncols=True, mininterval=interval, **options)


class _Closed:
    """What a ``with`` closes at its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is shown."""
        raise NotImplementedError


class Bar(_Closed):
    """One progress bar; an instance is the ``progress(done, total, what)`` that library functions call.

    Nothing is shown before the first call, so that an error found at once stands alone.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: tqdm[None] | None = None

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Show that `done` of `total` are done."""
        if self._bar is None:
            self._bar = _bar(desc=self._title, total=total, unit="")
        self._bar.set_postfix_str(what, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """End the bar, if there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Bars(_Closed):
    """One progress bar after another: an instance gives the next one, of a title."""

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def __call__(self, title: str) -> Bar:
        """End the bar before, if there is one, and begin another."""
        self.close()
        self._bar = Bar(title)
        return self._bar

    def close(self) -> None:
        """End the last bar."""
        if self._bar is not None:
            self._bar.close()


class TrainingBar:
    """Listener that shows a fold's epochs and live metrics in one bar, counted in epochs."""

    def __init__(self, folds: int, epochs: int) -> None:
        self._folds, self._epochs = folds, epochs
        self._bar: tqdm[None] | None = None
        self._fold = 0

    def __call__(self, event: Event) -> None:
        """Show an event of the training."""
        if event.fold != self._fold or self._bar is None:
            self.close()
            self._fold = event.fold
            self._bar = _bar(
                desc=f"fold {event.fold} of {self._folds}",
                total=self._epochs,
                initial=max(event.epoch - 1, 0) if event.kind == "step" else event.epoch,
                unit="epoch",
                bar_format="{desc} {percentage:3.0f}%|{bar}| {n:.1f}/{total} epochs [{elapsed}<{remaining}{postfix}]",
            )
        if event.kind == "step":
            self._bar.update(event.epoch - 1 + event.step / event.steps - self._bar.n)
        elif event.kind == "epoch":
            shown = {k: event.values[k] for k in ("train_loss", "val_loss", "val_auc") if event.values[k] is not None}
            self._bar.set_postfix({key: f"{value:.3f}" for key, value in shown.items()}, refresh=False)
            self._bar.update(event.epoch - self._bar.n)
        elif event.kind == "fold":
            self.close()

    def close(self) -> None:
        """End the bar that is open, if one is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class JobsBar:
    """What executors notify: one bar over all jobs of a study, which counts the parts of those that run."""

    def __init__(self, total: int, finished: int) -> None:
        self._finished, self._running = finished, dict[str, float]()
        self._bar = _bar(
            desc="jobs",
            total=total,
            initial=finished,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n:.2f}/{total} [{elapsed}<{remaining}{postfix}]",
        )

    def __call__(self, job: StudyJob, event: JobEvent) -> None:
        """Show an event of a job."""
        if event.event == "progress":
            self._running[job.key] = float(event.values["done"])
            auc = event.values.get("val_auc")
            self._bar.set_postfix_str(job.title + (f", val_auc {auc:.3f}" if auc is not None else ""), refresh=False)
        elif event.event == "started":
            self._running[job.key] = 0.0
        else:
            self._running.pop(job.key, None)
            self._finished += event.event == "done"
            if event.event == "failed":
                self._bar.write(f"{job.title}: {event.values.get('message', 'failed')}", file=sys.stderr)
        self._bar.update(self._finished + sum(self._running.values()) - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
