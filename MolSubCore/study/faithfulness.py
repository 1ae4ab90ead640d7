"""Whether a run's heatmaps can be believed, on its test set: the figures of `explain-study`, of the last layer.

::

    RUN/faithfulness.json    means over patients with 95 % CIs, beside those of a map that knows no model
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import nn

from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.table import Cohort
from MolSubCore.evaluation.explain_study import (
    ExplanationPlan,
    Row,
    curves_of,
    evenly,
    lesion_rows,
    rim_of,
    summarise,
)
from MolSubCore.explain.faithfulness import make_regions, weight_randomisation
from MolSubCore.explain.gradcam import explain
from MolSubCore.files import read_json, write_json
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.lesions.roi import RoiGeometry
from MolSubCore.models.device import to_input
from MolSubCore.models.registry import get_architecture
from MolSubCore.statistics.calibration import CalibrationMap
from MolSubCore.statistics.scores import read_predictions
from MolSubCore.training.plan import derive_seed

FAITHFULNESS = "faithfulness.json"
_VERSION = 1
#: Patients whose lesions are tested (some 80 forward passes each), and those with randomised weights among them.
_PLAN = ExplanationPlan(faithful=20, randomised=4, controls=1)


def read_faithfulness(run: Path) -> dict[str, Any] | None:
    """What `write_faithfulness` wrote; None where there is none."""
    return read_json(run / FAITHFULNESS) if (run / FAITHFULNESS).is_file() else None


def is_measured(run: Path) -> bool:
    """Whether the file is there, and of these predictions."""
    found = read_faithfulness(run) or {}
    return (found.get("format_version"), found.get("inputs")) == (_VERSION, _inputs(run))


def _inputs(run: Path) -> Any:
    return read_json(run / "evaluation.json").get("inputs")


def write_faithfulness(
    run: Path, store: PatchStore, load_model: Callable[[int], nn.Module], cohort: Cohort
) -> dict[str, Any]:
    """Test the heatmaps of the best fold's model on test patients, chosen at equal distances; return what is written.

    Parameters
    ----------
    run : Path
        A finished and evaluated run of an architecture.
    store : PatchStore
        The one that the run was trained on.
    load_model : callable
        Gives the trained model of a fold, on its device.
    cohort : Cohort
        That of the store.

    Raises
    ------
    MolSubError
        If an image or its lesion cannot be read again.
    """
    plan, evaluation = read_json(run / "plan.json"), read_json(run / "evaluation.json")
    fold, classes, recipe = int(evaluation["best_fold"]), plan["classes"], Recipe.from_dict(plan["recipe"])
    predictions = read_predictions(run / f"fold-{fold}" / "test_predictions.csv")
    calibrate = CalibrationMap.from_dict(evaluation["calibration"]["folds"][str(fold)])
    layer, model = get_architecture(plan["architecture"]).default_layers[-1], load_model(fold).eval()
    device = next(model.parameters()).device
    row_of = {(int(case), name): n for n, (case, name) in enumerate(zip(store.case_index, store.lesion, strict=True))}
    patients = list(dict.fromkeys(predictions.study_id[np.argsort(predictions.case, kind="stable")].tolist()))
    chosen, randomised = (sorted(evenly(len(patients), wanted)) for wanted in (_PLAN.faithful, _PLAN.randomised))
    rows: list[Row] = []
    sanity: dict[int, dict[str, dict[str, float]]] = {}  # of the patient's first lesion
    for number in chosen:
        for place in np.flatnonzero(predictions.study_id == patients[number]).tolist():
            stored = row_of[int(predictions.case[place]), str(predictions.lesion[place])]
            inputs = to_input(store.patches[stored][None], recipe, device)
            maps = explain(model, inputs, [layer], lambda logits: [int(logits.argmax())])
            index = maps.classes[0]
            case, facts = cohort.cases[int(store.case_index[stored])], store.meta[stored]["geometry"]
            mammogram = read_mammogram(case.image)
            geometry, lesions = RoiGeometry.from_dict(facts), read_lesions(case.lesion, mammogram)
            regions = make_regions(lesions, geometry, rim_of(mammogram, _PLAN))

            def probability(batch: torch.Tensor, index: int = index) -> NDArray[np.float64]:
                with torch.inference_mode():
                    logits = model(batch.to(device)).double().cpu().numpy()
                return np.asarray(calibrate(softmax(logits, axis=1))[:, index], np.float64)

            curves = curves_of(probability, inputs, _PLAN, derive_seed(_PLAN.seed, number, place))
            shared = {"patient": number, "image": str(place), "lesion": "", "class": classes[index],
                      "correct": bool(index == predictions.label[place])}  # fmt: skip
            rows += lesion_rows(shared, maps, regions, recipe.size, curves)
            if number in randomised and number not in sanity:
                sanity[number] = weight_randomisation(model, inputs, [layer], index, seed=_PLAN.seed)
    result = {
        "format": "molsub-faithfulness",
        "format_version": _VERSION,
        "fold": fold,
        "layer": layer,
        "test_patients": len(patients),
        "patients": len(chosen),
        "lesions": sum(row["layer"] == layer for row in rows),
        "randomised": len(sanity),
        **summarise(rows, classes, list(sanity.values())),
        "inputs": evaluation.get("inputs"),
    }
    write_json(run / FAITHFULNESS, result)
    return result
