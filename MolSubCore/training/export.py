"""From a run folder to a model bundle."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from MolSubCore.errors import TrainingError
from MolSubCore.files import read_json
from MolSubCore.imaging.io.native import native_name
from MolSubCore.models.card import check_target
from MolSubCore.models.fused import ARRAYS, VIEWS
from MolSubCore.models.registry import ARCHITECTURES
from MolSubCore.statistics.metrics import compute
from MolSubCore.statistics.scores import Scores, ensemble
from MolSubCore.training.plan import Plan
from MolSubCore.training.run_files import (
    FITTED,
    FUSION,
    SEPARATOR,
    WEIGHTS,
    check_weights,
    check_written,
    fold_numbers,
    fold_predictions,
    frozen,
    missing_folds,
    read_plan,
)

if TYPE_CHECKING:
    from torch import Tensor


def export_run(run: Path, out: Path, *, fold: str = "best", overwrite: bool = False) -> Path:
    """Make a bundle of one fold of a run, or of all of them.

    Parameters
    ----------
    run : Path
        Run folder, finished and evaluated: of an architecture, or of a fusion beside the run that it was made of.
    out : Path
        A folder, or a file ending in ``.molsub``.
    fold : str
        ``best`` (highest validation AUC per patient, as the paper chooses), ``ensemble`` (all
        folds, mean of their probabilities), or a fold's number.

    Raises
    ------
    TrainingError
        If the run is not finished, not evaluated by this version, has no such fold, or is of a baseline; or if what a
        fusion was made of is no longer there.
    """
    check_exportable(run)
    check_target(out, overwrite=overwrite)
    *bases, _ = chain = _chain(run)
    network = chain[0]
    plan = Plan.from_dict(read_plan(network))
    evaluation = read_json(run / "evaluation.json")
    folds = _chosen_folds(run, fold, evaluation)
    for number in folds:
        check_weights(network, number)
    from MolSubCore.models.bundle import write_bundle

    cohort, images = read_json(network / "cohort.json"), network / "images.json"
    cohort.pop("notes", None)  # of rows of a table that the bundle's users do not have
    weights = [_weights(network / f"fold-{number}" / WEIGHTS) for number in folds]
    steps: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for number, (base, derived) in enumerate(pairwise(chain), start=1):
        entry, data = _step(base, derived, folds, network, f"fusion-{number}.safetensors")
        steps.append(entry)
        files |= data
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
        **_own_figures(evaluation, folds),
        vendors=[name for name in cohort["manufacturers"] if name != "unknown"],
        synthetic=plan.synthetic,
        fusion={"steps": steps, "bases": [_base(base, folds) for base in bases]} if steps else None,
        files=files,
        overwrite=overwrite,
    )


def _chain(run: Path) -> list[Path]:
    """The run of the network, and the fusions on the way to a run, which comes last."""
    name, *kinds = run.name.split(FUSION) if "fusion" in read_plan(run) else [run.name]
    return [run.with_name(FUSION.join([name, *kinds[:n]])) for n in range(len(kinds) + 1)]


def _own_figures(evaluation: dict[str, Any], folds: list[int]) -> dict[str, Any]:
    """Metrics, calibration and thresholds of exactly what is exported."""
    return {
        "metrics": _metrics(evaluation, folds),
        "calibration": _of_exported(evaluation["calibration"], folds),
        "thresholds": _of_exported(evaluation["thresholds"], folds),
    }


def _base(run: Path, folds: list[int]) -> dict[str, Any]:
    """What a model says of itself that is used where a step cannot be made."""
    return {"model": read_plan(run)["architecture"], **_own_figures(read_json(run / "evaluation.json"), folds)}


def _step(
    base: Path, derived: Path, folds: list[int], network: Path, file: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A fusion's entry in the card, and the file that it names."""
    fusion = read_plan(derived)["fusion"]
    entry: dict[str, Any] = {key: fusion[key] for key in ("name", "title")}
    entry["choices"] = {key: value for key, value in fusion.items() if key not in entry}
    if entry["name"] in ("tta", "views-mean"):
        return entry, {}
    done = {number: read_json(derived / f"fold-{number}" / "done.json") for number in folds}
    fitted = {number: _fitted(derived / f"fold-{number}" / FITTED) for number in folds}
    if entry["name"] == "views-learned":
        arrays = {f"{name}-{n}": one[name] for n, one in enumerate(fitted.values(), start=1) for name in ARRAYS}
        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        first = done[folds[0]]
        tested = _tested_views(network, derived, folds)
        entry |= {"file": file, "sha256": hashlib.sha256(data).hexdigest(), "tested": tested}
        return entry | {name: first[name] for name in ("features", "precision")}, {file: data}
    members = [
        {
            **{name: one[name].tolist() for name in ARRAYS},
            "categories": list(done[number]["categories"].values()),
        }
        for number, one in fitted.items()
    ]
    return entry | {"image": fusion["image"] is not None, "columns": fusion["columns"], "members": members}, {}


def _fitted(path: Path) -> dict[str, NDArray[np.float64]]:
    if not path.is_file():
        raise TrainingError(path, "is missing: the fusion was made by an older version", "Run the study again")
    check_written(path)
    return load(path.read_bytes())


def _tested_views(network: Path, derived: Path, folds: list[int]) -> dict[str, Any]:
    """How many test patients (or breasts) had both views, one and none, and how well each were told apart."""
    views: dict[str, set[str]] = {}
    seen = fold_predictions(network, read_plan(network), "test_predictions")[folds[0]]
    for unit, view in zip(seen.scores().unit.tolist(), seen.view.tolist(), strict=True):
        views.setdefault(unit, set()).add(view)
    found = fold_predictions(derived, read_plan(derived), "test_predictions")
    scores = ensemble([found[number] for number in folds]).per_patient()
    count = np.array([len(views[unit] & set(VIEWS)) for unit in scores.unit.tolist()])
    return {
        name: {"patients": int((count == number).sum()), "auc": _auc(scores.select(count == number))}
        for name, number in (("both", 2), ("one", 1), ("none", 0))
    }


def _auc(scores: Scores) -> float | None:
    """Of two classes that both have patients."""
    if scores.probabilities.shape[1] != 2 or len(set(scores.label.tolist())) < 2:
        return None
    classes = ("negative", "positive")
    found = compute(scores.probabilities, scores.label, np.ones((1, len(scores.label))), classes, "positive")
    return float(found["auc"][0])


def _weights(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    with native_name(path) as name:
        return load_file(name)


def check_exportable(run: Path) -> dict[str, Any]:
    """The content of ``plan.json``, if a bundle can be made of the run; nothing heavy is loaded for it.

    Raises
    ------
    TrainingError
        If there is no finished run, or one without a network: a baseline. If a fusion lies apart from the run that it
        was made of, or that has changed.
    """
    if not (run / "plan.json").is_file():
        raise TrainingError(run, "holds no run (no plan.json)", "Give the folder that molsub train wrote")
    content: dict[str, Any] = read_json(run / "plan.json")
    name = str(content.get("architecture", "")) if isinstance(content, dict) else ""
    if not name:
        raise TrainingError(run, "holds no training run", "Give the folder that molsub train wrote")
    if name.split(FUSION)[0] not in ARCHITECTURES:
        found = f"is a run of {name}, which has no network to export"
        raise TrainingError(run, found, "Choose the run of an architecture")
    if FUSION in name:
        _check_fusion(run, content)
    if not (run / "evaluation.json").exists():
        raise TrainingError(run, "has no evaluation.json", "Finish it with molsub train ... --resume first")
    if "calibration" not in read_json(run / "evaluation.json"):
        found = "was evaluated by an older version, which fitted no calibration"
        raise TrainingError(run, found, "Evaluate it again: molsub evaluate RUN")
    return content


def _check_fusion(run: Path, plan: dict[str, Any]) -> None:
    """TrainingError where a fusion is not beside the run that it was made of, as that was."""
    again = "Run the study again"
    name, _, kind = str(plan["architecture"]).rpartition(FUSION)
    base = run.with_name(run.name.removesuffix(f"{FUSION}{kind}"))
    if base == run or not (base / "plan.json").is_file():
        found = f"is a fusion, {name}{FUSION}{kind}, apart from the run of {name} that it was made of"
        raise TrainingError(run, found, "Give its folder in the study")
    if "base_predictions" not in plan:
        raise TrainingError(run, "is a fusion that an older version made, without what it was fitted to", again)
    if check_exportable(base)["architecture"] != name:
        raise TrainingError(base, f"is not the run of {name}", again)
    for number, hashes in plan["base_predictions"].items():
        if frozen(base / f"fold-{number}") != hashes:
            raise TrainingError(run, f"was made of other predictions than those of {base.name}", again)


def find_run(folder: Path, model: str | None, task: str | None) -> Path:
    """A run folder as it is, or that of a model and a task in a study folder.

    Raises
    ------
    TrainingError
        If a study has no such finished run, or one is named of a folder that is a run itself.
    """
    if not (folder / "study.json").is_file():
        if model or task:
            raise TrainingError(folder, "holds no study, of which --model and --task choose", "Leave them out")
        return folder
    names = sorted(path.name for path in (folder / "runs").glob("*") if (path / "evaluation.json").is_file())
    known = [name.split(SEPARATOR, 1) for name in names if SEPARATOR in name]
    tasks = list(dict.fromkeys(one for one, _ in known))
    if not task and len(tasks) == 1:
        task = tasks[0]
    if task not in tasks:
        found = f"--task is {task!r}" if task else "is a study of several tasks, and --task is missing"
        raise TrainingError(folder, found, f"Choose from {', '.join(tasks) or 'none: no run is finished'}")
    models = [one for of, one in known if of == task]
    if model not in models:
        found = f"has no evaluated run of {model} for {task}" if model else "is a study, and --model is missing"
        raise TrainingError(folder, found, f"Choose from {', '.join(models)}")
    return folder / "runs" / f"{task}{SEPARATOR}{model}"


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
