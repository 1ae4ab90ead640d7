"""Evaluation of a run: every fold's validation, the test set by each fold's model and by all together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from MolSubCore.errors import TrainingError
from MolSubCore.evaluation.drift import calibration_report
from MolSubCore.evaluation.figures import draw_evaluation
from MolSubCore.evaluation.run_calibration import calibrate_run
from MolSubCore.files import write_json
from MolSubCore.models.card import calibration_note
from MolSubCore.statistics.intervals import estimates
from MolSubCore.statistics.metrics import confusion, metric_title, over_classes
from MolSubCore.statistics.scores import Scores, ensemble
from MolSubCore.training.run_files import check_weights, finished_plan, fold_numbers, fold_predictions, run_inputs

#: 2: of calibrated probabilities. An evaluation of before is made again.
FORMAT_VERSION = 2

_UNITS = ("per_image", "per_patient")
_NOT_AN_INTERVAL = "mean and standard deviation over folds; the folds share training patients: no confidence interval"


def evaluate_run(run: Path, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Write ``RUN/evaluation.json`` and ``RUN/evaluation.png``; return the content of the first.

    Parameters
    ----------
    run : Path
        A run whose folds are all finished.
    resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    TrainingError
        If folds are missing, their weights or predictions are not as the training wrote them, or of other classes
        than the plan's.
    """
    if resamples < 1:
        raise TrainingError("resamples", f"is {resamples}, expected 1 or more", "Choose a larger number")
    plan = finished_plan(run)
    for number in fold_numbers(plan):  # what is evaluated must be what can be exported
        check_weights(run, number)
    classes, positive = tuple(plan["classes"]), plan["positive"]
    validation, test = (fold_predictions(run, plan, part) for part in ("predictions", "test_predictions"))
    maps = calibrate_run(run, plan, validation, test)

    def levels(*parts: Scores, fitted_here: bool = False) -> dict[str, Any]:
        """Of parts that may each have a calibration of its own; where it was fitted on them it cannot be judged."""
        images, patients = (Scores.pooled([getattr(part, name)() for part in parts]) for name in _UNITS)
        uncalibrated = Scores.pooled([part.calibrated(None).per_patient() for part in parts])
        reports = {"uncalibrated": calibration_report(uncalibrated, classes, positive)}
        if not fitted_here:
            reports["calibration"] = calibration_report(patients, classes, positive)
        return {
            "image": evaluation_level(images, classes, positive, resamples, seed),
            "patient": {**evaluation_level(patients, classes, positive, resamples, seed), **reports},
        }

    own = {n: part.scores().calibrated(maps.folds[n]) for n, part in validation.items()}
    alone = {n: maps.folds[n].apply(part.scores()) for n, part in test.items()}
    folds = {str(n): levels(part, fitted_here=True) for n, part in own.items()}
    together = maps.ensemble.apply(ensemble(list(test.values())))
    calibrations = maps.to_dict()
    result = {
        "format": "molsub-evaluation",
        "format_version": FORMAT_VERSION,
        "task": plan["task"],
        "classes": list(classes),
        "positive": positive,
        "probabilities": calibration_note({"calibration": calibrations["ensemble"]}),
        "threshold": threshold_text(positive),
        "synthetic": bool(plan.get("synthetic")),
        "bootstrap": {"resamples": resamples, "seed": seed, "unit": "patient, within class"},
        "prevalence": {
            "validation": prevalence(Scores.pooled(list(maps.validation.values())), classes),
            "test": prevalence(together, classes),
        },
        "folds": folds,
        "over_folds": _over_folds(folds),
        "out_of_fold": levels(*own.values(), fitted_here=True),
        "test": {"folds": {str(n): levels(part) for n, part in alone.items()}, "ensemble": levels(together)},
        "calibration": calibrations,
        "thresholds": maps.thresholds(classes, positive),
        "best_fold": _best_fold(folds, positive),
        "inputs": run_inputs(run, plan),
    }
    draw_evaluation(run / "evaluation.png", result, together, own)
    # Last: a study takes it for the sign that the evaluation is whole.
    write_json(run / "evaluation.json", result)
    return result


def evaluation_level(
    scores: Scores, classes: tuple[str, ...], positive: str | None, resamples: int, seed: int
) -> dict[str, Any]:
    """Counts, metrics with intervals and confusion matrix of one unit of analysis, JSON-ready.

    Of patients with both breasts each breast is a unit: ``n`` is then larger than ``n_patients``.
    """
    found = estimates(scores, classes, positive, resamples=resamples, seed=seed)
    return {
        "n": len(scores.label),
        "n_patients": len(np.unique(scores.patient)),
        "metrics": {name: estimate.to_dict() for name, estimate in found.items()},
        "confusion": confusion(scores.label, scores.probabilities.argmax(axis=1), len(classes)),
    }


def threshold_text(positive: str | None) -> str:
    """How a class is called where no other threshold is named."""
    return "0.5: the class with the larger probability" if positive else "the class with the largest probability"


def prevalence(scores: Scores, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Images and patients of each class."""
    return {
        unit: {name: int((part.label == n).sum()) for n, name in enumerate(classes)}
        for unit, part in (("images", scores.per_image()), ("patients", scores.per_patient()))
    }


def _over_folds(folds: dict[str, Any]) -> dict[str, Any]:
    """What the paper reports beside its best fold."""
    names = next(iter(folds.values()))["patient"]["metrics"]
    table: dict[str, Any] = {"note": _NOT_AN_INTERVAL}
    for level in ("image", "patient"):
        values = {name: [fold[level]["metrics"][name]["value"] for fold in folds.values()] for name in names}
        known = {name: [v for v in column if v is not None] for name, column in values.items()}
        table[level] = {
            name: {"mean": float(np.mean(v)), "sd": float(np.std(v, ddof=1)) if len(v) > 1 else None, "folds": len(v)}
            for name, v in known.items()
            if v
        }
    return table


def _best_fold(folds: dict[str, Any], positive: str | None) -> int:
    """The fold with the highest validation AUC per patient (the paper's choice); the first of equals."""
    name = "auc" if positive else "macro auc"

    def value(number: str) -> float:
        found = folds[number]["patient"]["metrics"][name]["value"]
        return -1.0 if found is None else float(found)

    return int(max(folds, key=value))


def unit_of(level: dict[str, Any]) -> str:
    """What the figures of `evaluation_level` count: patients, or breasts where some patient has both."""
    return "breast" if level["n"] > level["n_patients"] else "patient"


def summary_lines(evaluation: dict[str, Any]) -> list[str]:
    """The main figures of the test set, or of another cohort, for the terminal."""
    level = evaluation["test"]["ensemble"]["patient"]
    members = len(evaluation["folds"]) or evaluation.get("model", {}).get("members", 1)
    how = f"ensemble of {members} folds" if members > 1 else "one model"
    what = evaluation.get("kind", "test set").capitalize()
    lines = [
        "",
        f"{what}, task {evaluation['task']}, {how}: {level['n_patients']} patients, "
        f"positive class: {evaluation['positive'] or 'none (one against the rest)'}"
        + (" - SYNTHETIC COHORT" if evaluation["synthetic"] else ""),
        *(
            [f"{level['n']} breasts: those of patients with both are not averaged, and drawn together in intervals"]
            if unit_of(level) == "breast"
            else []
        ),
        evaluation["probabilities"],
        f"{f'per {unit_of(level)}':28}{'value':>8}   95 % CI",
    ]
    for name, metric in level["metrics"].items():
        if metric["value"] is None:
            lines.append(f"{metric_title(name):28}{'-':>8}   undefined")
        else:
            ends = f"{metric['low']:.3f} to {metric['high']:.3f}"
            lines.append(f"{metric_title(name):28}{metric['value']:8.3f}   {ends}{over_classes(metric)}")
    return lines
