"""A training in words."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _


def duration(seconds: float) -> str:
    """A time span for people: two units at most."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return _("{seconds} s").format(seconds=round(seconds))
    if minutes < 60:
        return _("{minutes} min").format(minutes=minutes)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return _("{hours} h {minutes} min").format(hours=hours, minutes=minutes)
    return _("{days} d {hours} h").format(days=hours // 24, hours=hours % 24)


def progress_words(state: str, progress: Mapping[str, Any]) -> str:
    """What is being done, in a few words for the progress bar."""
    if state == "checking":
        return _("Checking the table")
    stages = {
        "reading": _("Reading the images"),
        "evaluating": _("Evaluating"),
        "exporting": _("Saving the model"),
    }
    if "epoch" in progress:
        text = _("Fold {fold} of {folds}, epoch {epoch} of {epochs}")
        words = text.format(**{name: progress.get(name) for name in ("fold", "folds", "epoch", "epochs")})
        return stages.get(str(progress.get("stage")), words)
    return stages.get(str(progress.get("stage")), _("Starting"))


def state_words(state: str, message: str, progress: Mapping[str, Any]) -> str:
    """How the training stands, in one or two sentences."""
    left = progress.get("seconds_left")
    going_on = _("Press Resume to go on from the last finished epoch.")
    if state == "running" and left is not None:
        return _("About {time} left.").format(time=duration(float(left)))
    return {
        "stopping": _("It stops after the present step. Nothing that was finished is lost."),
        "cancelled": _("The training was stopped.") + " " + going_on,
        "failed": _("The training failed: {message}").format(message=message) + " " + going_on,
        "interrupted": _("The training was interrupted.") + f" {message} " + going_on,
        "done": _("The training is finished."),
    }.get(state, "")


def evaluation_html(result: Mapping[str, Any] | None) -> str:
    """The finished model: where it is, and how well it did on the test set, with intervals."""
    if not result:
        return ""
    if "evaluation" not in result:
        missing = ", ".join(str(fold) for fold in result.get("missing", ()))
        return escape(_("Folds still to train: {folds}.").format(folds=missing))
    evaluation = result["evaluation"]
    level = evaluation["test"]["ensemble"]["patient"]
    title = _("Model {name} is in the library.").format(name=Path(str(result["bundle"])).name.removesuffix(".molsub"))
    subject = _("Test set, all folds together, {count} patients:").format(count=level["n_patients"])
    rows = "".join(
        f"<tr><td style='padding-right: 12px'>{escape(_title(name))}</td><td>{escape(_value(metric))}</td></tr>"
        for name, metric in level["metrics"].items()
    )
    synthetic = f"<p><b>{escape(_('Synthetic pictures: this says nothing about patients.'))}</b></p>"
    note = synthetic if evaluation.get("synthetic") else ""
    return f"<p><b>{escape(title)}</b></p>{note}<p>{escape(subject)}</p><table>{rows}</table>"


def _title(metric: str) -> str:
    return metric.upper() if metric in ("auc", "ppv", "npv") else metric[:1].upper() + metric[1:].replace("auc", "AUC")


def _value(metric: Mapping[str, Any]) -> str:
    if metric.get("value") is None:
        return _("undefined")
    if metric.get("low") is None:
        return f"{metric['value']:.2f}"
    text = _("{value} (95 % interval {low} to {high})")
    return text.format(**{name: f"{metric[name]:.2f}" for name in ("value", "low", "high")})
