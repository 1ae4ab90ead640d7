"""From a run folder to a model bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from MolSubCore.errors import TrainingError
from MolSubCore.files import read_json
from MolSubCore.imaging.io.native import native_name
from MolSubCore.models.card import check_target
from MolSubCore.models.registry import ARCHITECTURES
from MolSubCore.training.plan import Plan
from MolSubCore.training.run_files import WEIGHTS, check_weights, fold_numbers, missing_folds, read_plan

if TYPE_CHECKING:
    from torch import Tensor


def export_run(run: Path, out: Path, *, fold: str = "best", overwrite: bool = False) -> Path:
    """Make a bundle of one fold of a run, or of all of them.

    Parameters
    ----------
    run : Path
        Run folder, finished and evaluated.
    out : Path
        A folder, or a file ending in ``.molsub``.
    fold : str
        ``best`` (highest validation AUC per patient, as the paper chooses), ``ensemble`` (all
        folds, mean of their probabilities), or a fold's number.

    Raises
    ------
    TrainingError
        If the run is not finished, not evaluated by this version, has no such fold, or is of a baseline or a fusion.
    """
    content = check_exportable(run)
    check_target(out, overwrite=overwrite)
    plan = Plan.from_dict(content)
    evaluation = read_json(run / "evaluation.json")
    folds = _chosen_folds(run, fold, evaluation)
    for number in folds:
        check_weights(run, number)
    from MolSubCore.models.bundle import write_bundle

    cohort, images = read_json(run / "cohort.json"), run / "images.json"
    cohort.pop("notes", None)  # of rows of a table that the bundle's users do not have
    weights = [_weights(run / f"fold-{number}" / WEIGHTS) for number in folds]
    return write_bundle(
        out,
        [{name.removeprefix("model."): tensor for name, tensor in member.items()} for member in weights],
        architecture=plan.architecture,
        task=plan.task,
        classes=plan.classes,
        recipe=plan.recipe,
        dropout=plan.dropout,
        training={
            "plan": plan.to_dict(),
            "folds": folds,
            "fold_choice": fold,
            "cohort": cohort,
            "fingerprints": read_json(images) if images.is_file() else None,
        },
        metrics=_metrics(evaluation, folds),
        calibration=_of_exported(evaluation["calibration"], folds),
        thresholds=_of_exported(evaluation["thresholds"], folds),
        vendors=[name for name in cohort["manufacturers"] if name != "unknown"],
        synthetic=plan.synthetic,
        overwrite=overwrite,
    )


def _weights(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    with native_name(path) as name:
        return load_file(name)


def check_exportable(run: Path) -> dict[str, Any]:
    """The content of ``plan.json``, if a bundle can be made of the run; nothing heavy is loaded for it.

    Raises
    ------
    TrainingError
        If there is no finished run, or one without a network of its own: a baseline, a fusion.
    """
    if not (run / "plan.json").is_file():
        raise TrainingError(run, "holds no run (no plan.json)", "Give the folder that molsub train wrote")
    content: dict[str, Any] = read_json(run / "plan.json")
    name = str(content.get("architecture", "")) if isinstance(content, dict) else ""
    if not name:
        raise TrainingError(run, "holds no training run", "Give the folder that molsub train wrote")
    if "+" in name:
        found = f"is a fusion, {name}, made of the results of another run; it has no network to export"
        raise TrainingError(run, found, f"Choose the run of {name.split('+')[0]}")
    if name not in ARCHITECTURES:
        found = f"is a run of {name}, which has no network to export"
        raise TrainingError(run, found, "Choose the run of an architecture")
    if not (run / "evaluation.json").exists():
        raise TrainingError(run, "has no evaluation.json", "Finish it with molsub train ... --resume first")
    if "calibration" not in read_json(run / "evaluation.json"):
        found = "was evaluated by an older version, which fitted no calibration"
        raise TrainingError(run, found, "Evaluate it again: molsub evaluate RUN")
    return content


def _chosen_folds(run: Path, fold: str, evaluation: dict[str, Any]) -> list[int]:
    plan = read_plan(run)
    missing = missing_folds(run, plan)
    done = [number for number in fold_numbers(plan) if number not in missing]
    if fold == "ensemble":
        return done
    if fold == "best":
        return [int(evaluation["best_fold"])]
    if not fold.isdigit() or int(fold) not in done:
        known = ", ".join(map(str, done))
        raise TrainingError(
            "--fold", f"is '{fold}', the run's finished folds are {known}", "Choose one, best or ensemble"
        )
    return [int(fold)]


def _metrics(evaluation: dict[str, Any], folds: list[int]) -> dict[str, Any]:
    """Metrics of exactly what is exported: on the test set, and on validation."""
    test, fold = evaluation["test"], str(folds[0])
    part, validation = test["ensemble"], evaluation.get("out_of_fold")
    if len(folds) == 1:
        part, validation = test["folds"][fold], evaluation["folds"][fold]
    return {"test": part, "validation": validation, "prevalence": evaluation.get("prevalence")}


def _of_exported(parts: dict[str, Any], folds: list[int]) -> Any:
    """The ensemble's calibration or thresholds, or the one fold's."""
    return parts["ensemble"] if len(folds) > 1 else parts["folds"][str(folds[0])]
