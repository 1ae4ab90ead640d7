"""``molsub explain-study``: tests of a bundle's heatmaps on a whole cohort."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats

from MolSubCore import DISCLAIMER
from MolSubCore.cohort.table import Case, read_cohort, tell_notes, without_paths
from MolSubCore.errors import MolSubError
from MolSubCore.explain.faithfulness import (
    REGIONS,
    Curves,
    Regions,
    centred,
    deletion_insertion,
    make_regions,
    weight_randomisation,
)
from MolSubCore.explain.figures import draw_explanations
from MolSubCore.explain.gradcam import Maps, Target
from MolSubCore.files import OVERWRITE, atomic_folder, write_json
from MolSubCore.imaging.io.content import content_hash
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.roi import means_nothing
from MolSubCore.models.bundle import Bundle
from MolSubCore.models.card import bundle_hash, model_summary, now
from MolSubCore.models.device import to_input
from MolSubCore.prediction.predict import check_request, predict
from MolSubCore.prediction.provenance import program
from MolSubCore.prediction.result import LesionPrediction
from MolSubCore.prediction.warnings import warning_lines
from MolSubCore.tasks import SubtypeLabel, get_task
from MolSubCore.training.plan import derive_seed

Row = dict[str, Any]

#: What is averaged, in the order of the table.
MEASURES = (
    *REGIONS,
    *(f"area {name}" for name in REGIONS),
    "enrichment",
    "auroc",
    "deletion",
    "insertion",
    "deletion gain",
    "insertion gain",
    "auroc over centred",
    "deletion over centred",
    "insertion over centred",
)

#: The reference beside the layers: a map of what is known without any model.
CENTRED = "lesion in the middle"

#: Fewest patients of an interval.
_FEWEST = 5
#: Least probability, and least distance from 1, in log-odds.
_LEAST = 1e-12


@dataclass(frozen=True)
class ExplanationPlan:
    """What decides the result of `explain_cohort`, beside cohort and bundle.

    Attributes
    ----------
    layers : tuple of str, or None
        Dotted names; the architecture's defaults when None.
    rim_mm, rim_px : float
        Width of the peritumoral rim: in mm where the pixel spacing is known, in image pixels where not.
    faithful : int
        Patients on whose lesions pixels are deleted and inserted (many forward passes each), evenly chosen.
    randomised : int
        Patients on whose first lesion weights are randomised.
    target : {'logit', 'log-odds'}
        What the maps explain. With the logit, deletion and insertion follow the class's probability; with
        log-odds they follow its log-odds, which go on changing where a probability is all but 0 or 1.
    steps, controls : int
        See `MolSubCore.explain.faithfulness.deletion_insertion`.
    seed : int
        Of which each lesion has its own.
    """

    layers: tuple[str, ...] | None = None
    rim_mm: float = 5.0
    rim_px: float = 50.0
    faithful: int = 20
    randomised: int = 8
    target: Target = "logit"
    steps: int = 10
    controls: int = 20
    seed: int = 21

    def __post_init__(self) -> None:
        lowest = {"rim_mm": 0.01, "rim_px": 0.5, "faithful": 0, "randomised": 0, "steps": 2, "controls": 1}
        for name, low in lowest.items():
            if not getattr(self, name) >= low:
                found = f"is {getattr(self, name)}, expected {low:g} or more"
                raise MolSubError(name, found, "Choose a larger number")
        if self.layers is not None and not self.layers:
            raise MolSubError("layers", "is none, expected one or more", "Name a layer, or leave the option out")


def explain_cohort(
    table: Path,
    bundle: Bundle,
    out: Path,
    plan: ExplanationPlan,
    *,
    overwrite: bool = False,
    command: str = "",
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Test a bundle's heatmaps on every lesion of a cohort.

    Writes ``explanations.csv`` (one row per lesion and layer), ``explanations.json`` (means per layer and class
    with 95 % CIs over patients, each compared with `CENTRED`, warnings) and ``explanations.png`` to the folder
    `out`, whole or not at all; returns the content of the second. A patient that cannot be explained is left out,
    named by its rows, and so is an image or lesion of which a prediction means nothing.

    Parameters
    ----------
    table : Path
        Cohort table; the subtype may be absent, then it is not known which predictions are right.
    bundle : Bundle
    out : Path
    plan : ExplanationPlan
    overwrite : bool
    command : str
        For the record; it must name nobody.

    Raises
    ------
    MolSubError
        If no patient can be explained, or for an unknown layer.
    """
    patients: dict[str, list[Case]] = {}
    cohort = read_cohort(table, need_subtype=False)
    tell_notes(cohort)
    for case in cohort.cases:
        patients.setdefault(case.patient_id, []).append(case)
    check_request(bundle, layers=plan.layers)
    rows: list[Row] = []
    inputs: list[list[dict[str, str]]] = []  # of each patient
    left_out: list[dict[str, str]] = []
    doubts: list[tuple[list[int], dict[str, Any]]] = []
    sanity: list[dict[str, dict[str, float]]] = []
    faithful, randomised = (evenly(len(patients), wanted) for wanted in (plan.faithful, plan.randomised))
    with atomic_folder(out, replaces="explanations.json" if overwrite else None, remedy=OVERWRITE) as folder:
        for number, cases in enumerate(patients.values()):
            try:
                images = [(case.image, case.lesion) for case in cases]
                sides, views = [case.side for case in cases], [case.view for case in cases]
                prediction = predict(images, bundle, layers=plan.layers, target=plan.target, sides=sides, views=views)
                counted, nothing = _telling(prediction.items)
                left_out += [{"rows": str(cases[place].row), "reason": why} for place, why in nothing.items()]
                if not counted:
                    continue
                own: list[Row] = []
                for item in counted:
                    own += _rows(item, cases[0].subtype, number, bundle, plan, number in faithful)
                if number in randomised:
                    sanity.append(_sanity(counted[0], bundle, plan))
                rows += own
                inputs.append(prediction.made["inputs"])
                labels = [{"image": item.image} for item in prediction.items]
                doubts.append(([case.row for case in cases], {"images": labels, "warnings": prediction.warnings}))
            except Exception as error:  # whatever it is, it is this patient's
                numbers = " ".join(str(case.row) for case in cases)
                left_out.append({"rows": numbers, "reason": without_paths(error, cases)})
            if progress:
                progress(number + 1, len(patients), "")
        if not rows:
            numbers = left_out[0]["rows"]
            found = (
                f"has no patient that can be explained; row{'s' * (' ' in numbers)} {numbers}: {left_out[0]['reason']}"
            )
            raise MolSubError(table, found, "molsub cohort check lists all such rows")
        made = {
            "date": now(),
            "command": command,
            "program": program(),
            "table_sha256": content_hash(table),
            "inputs": inputs,
            "bundle_sha256": bundle_hash(bundle.card),
        }
        result = _result(rows, sanity, bundle, plan) | {"left_out": left_out, "made": made}
        result["warnings"] = warning_lines(doubts)
        _write_rows(folder / "explanations.csv", rows)
        write_json(folder / "explanations.json", result)
        draw_explanations(folder / "explanations.png", result)
    return result


def _telling(items: Sequence[LesionPrediction]) -> tuple[list[LesionPrediction], dict[int, str]]:
    """The lesions of which a prediction tells something; of the images of the others, by number, why it does not."""
    counted, nothing = [], {}
    for item in items:
        if why := means_nothing(item.mammogram, item.lesions, item.roi):
            nothing[item.image_index] = f"its prediction means nothing: {why}"
        else:
            counted.append(item)
    return counted, nothing


def evenly(count: int, wanted: int) -> set[int]:
    """`wanted` of `count` places at equal distances, all of them if there are no more."""
    return set(np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist()) if wanted else set()


def _inputs(item: LesionPrediction, bundle: Bundle) -> torch.Tensor:
    return to_input(item.roi.patch[None], item.roi.recipe, bundle.device)


def rim_of(mammogram: Mammogram, plan: ExplanationPlan) -> tuple[float, float]:
    """Width of the rim in pixels of the image, along rows and columns."""
    spacing = mammogram.spacing
    if spacing.row_mm and spacing.col_mm:
        return plan.rim_mm / spacing.row_mm, plan.rim_mm / spacing.col_mm
    return plan.rim_px, plan.rim_px


def _rows(
    item: LesionPrediction,
    subtype: SubtypeLabel | None,
    patient: int,
    bundle: Bundle,
    plan: ExplanationPlan,
    faithful: bool,
) -> list[Row]:
    """One row for `CENTRED`, then one per layer: the predicted class's map of one lesion."""
    assert item.maps is not None
    index, classes = item.maps.classes[0], bundle.card["classes"]
    own = get_task(bundle.card["task"]).class_of.get(subtype) if subtype else None
    right = None if own is None else own == classes[index]
    shared = {"patient": patient + 1, "image": item.image, "lesion": item.roi.lesion, "class": classes[index],
              "correct": right, "rim": "mm" if item.mammogram.spacing.row_mm else "px"}  # fmt: skip
    place = (patient + 1, item.image_index, item.lesion_index)
    curves = _curves_of(item, bundle, index, plan, derive_seed(plan.seed, *place)) if faithful else None
    regions = make_regions(item.lesions, item.roi.geometry, rim_of(item.mammogram, plan))
    return lesion_rows(shared, item.maps, regions, item.roi.geometry.patch_size, curves)


def lesion_rows(
    shared: Row,
    maps: Maps,
    regions: Regions,
    size: int,
    curves: Callable[[NDArray[np.float32]], Curves] | None = None,
) -> list[Row]:
    """One row for `CENTRED`, then one per layer, each compared with it; `shared` stands in all of them.

    Parameters
    ----------
    maps : Maps
        Of one class of one patch of `size` pixels.
    curves : callable, optional
        As of `map_measures`.
    """
    middle = map_measures(centred(size), regions, curves)
    rows = [{**shared, "layer": CENTRED, "blind": False, **middle}]
    for layer in maps.layers:
        row: Row = {**shared, "layer": layer, "blind": maps.blind[layer][0]}
        if not row["blind"]:
            row |= map_measures(maps.patch_map(layer, 0, size), regions, curves, middle)
        rows.append(row)
    return rows


def map_measures(
    heat: NDArray[np.float32],
    regions: Regions,
    curves: Callable[[NDArray[np.float32]], Curves] | None = None,
    reference: Row | None = None,
) -> Row:
    """The `MEASURES` of one map.

    Parameters
    ----------
    heat : ndarray of float32, shape (size, size)
    regions : Regions
    curves : callable, optional
        Gives a map's curves on this lesion; without it, what follows from them is left out.
    reference : dict, optional
        The same of the map that is compared with, on this lesion. All differences are above 0 where `heat` is better.
    """
    shares, areas = regions.shares(heat), regions.areas()
    found: Row = {
        **shares,
        **{f"area {name}": value for name, value in areas.items()},
        "enrichment": shares["inside"] / areas["inside"] if areas["inside"] else None,
        "auroc": regions.auroc(heat),
    }
    if curves:
        own = curves(heat)
        found |= {
            "deletion": own.deletion,
            "insertion": own.insertion,
            "deletion gain": own.control_deletion - own.deletion,
            "insertion gain": own.insertion - own.control_insertion,
        }
    if reference:
        for name, sign in (("auroc", 1), ("deletion", -1), ("insertion", 1)):
            if found.get(name) is not None:
                found[f"{name} over centred"] = sign * (found[name] - reference[name])
    return found


def _curves_of(
    item: LesionPrediction, bundle: Bundle, index: int, plan: ExplanationPlan, seed: int
) -> Callable[[NDArray[np.float32]], Curves]:
    def probability(inputs: torch.Tensor) -> NDArray[np.float64]:
        found = bundle.probabilities(inputs).cpu().numpy()
        return (item.calibrate(found) if item.calibrate else found)[:, index]

    return curves_of(probability, _inputs(item, bundle), plan, seed)


def curves_of(
    probability: Callable[[torch.Tensor], NDArray[np.float64]], inputs: torch.Tensor, plan: ExplanationPlan, seed: int
) -> Callable[[NDArray[np.float32]], Curves]:
    """What gives the deletion and insertion curves of a map of one patch.

    Parameters
    ----------
    probability : callable
        Normalised patches (N, 1, size, size) to the probability of the class, shape (N,).
    inputs : Tensor, shape (1, 1, size, size)
    """

    def score(patches: NDArray[np.float32]) -> NDArray[np.float64]:
        batches = torch.from_numpy(patches[:, None]).contiguous(memory_format=torch.channels_last).split(8)
        found = np.concatenate([probability(part) for part in batches])
        return found if plan.target == "logit" else special.logit(np.clip(found, _LEAST, 1 - _LEAST))

    patch = inputs[0, 0].cpu().numpy()
    return lambda heat: deletion_insertion(score, patch, heat, steps=plan.steps, controls=plan.controls, seed=seed)


def _sanity(item: LesionPrediction, bundle: Bundle, plan: ExplanationPlan) -> dict[str, dict[str, float]]:
    assert item.maps is not None
    inputs = _inputs(item, bundle)
    layers, index = item.maps.layers, item.maps.classes[0]
    return weight_randomisation(bundle.models[0], inputs, layers, index, target=plan.target, seed=plan.seed)


def _result(
    rows: list[Row], sanity: list[dict[str, dict[str, float]]], bundle: Bundle, plan: ExplanationPlan
) -> dict[str, Any]:
    summary = summarise(rows, bundle.card["classes"], sanity)
    return {
        "format": "molsub-explanations",
        "format_version": 2,
        "intended_use": DISCLAIMER,
        "model": model_summary(bundle.card),
        "plan": {**vars(plan), "layers": list(summary["layers"])},
        "lesions": len({(row["patient"], row["image"], row["lesion"]) for row in rows}),
        "patients": len({row["patient"] for row in rows}),
        "interval": "95 % CI of the mean over patients (each the mean of its lesions), by Student's t; from "
        f"{_FEWEST} patients on",
        **summary,
    }


def summarise(rows: list[Row], classes: Sequence[str], sanity: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Means over patients of `MEASURES`: ``reference``, ``layers`` by group, and ``weight_randomisation`` by stage.

    Parameters
    ----------
    rows : list of dict
        From `lesion_rows`.
    sanity : list of dict
        From `MolSubCore.explain.faithfulness.weight_randomisation`, of some lesions.
    """
    layers = list(dict.fromkeys(row["layer"] for row in rows if row["layer"] != CENTRED))
    groups = ["all", "correctly classified", *classes]
    return {
        "reference": {CENTRED: _groups(rows, CENTRED, groups)},
        "layers": {layer: _groups(rows, layer, groups) for layer in layers},
        "weight_randomisation": {
            layer: {stage: float(np.mean([one[stage][layer] for one in sanity])) for stage in sanity[0]}
            for layer in (layers if sanity else [])
        },
    }


def _groups(rows: list[Row], layer: str, groups: list[str]) -> dict[str, Any]:
    return {group: _summary([row for row in rows if row["layer"] == layer], group) for group in groups}


def _summary(rows: list[Row], group: str) -> dict[str, Any]:
    """Means over patients of one layer's maps: of all lesions, those classified correctly, or a predicted class."""
    if group != "all":
        rows = [row for row in rows if (row["correct"] if group == "correctly classified" else row["class"] == group)]
    seen = [row for row in rows if not row["blind"]]
    return {
        "lesions": len(rows),
        "blind": len(rows) - len(seen),
        **{name: patient_mean((r["patient"], r[name]) for r in seen if r.get(name) is not None) for name in MEASURES},
    }


def patient_mean(values: Iterable[tuple[int, float]]) -> dict[str, float | int | None]:
    """Mean over patients (of each patient's mean) of (patient, value), and its 95 % CI by Student's t."""
    by_patient: dict[int, list[float]] = {}
    for patient, value in values:
        by_patient.setdefault(patient, []).append(value)
    means = np.array([np.mean(part) for part in by_patient.values()])
    result: dict[str, float | int | None] = {"patients": len(means), "mean": None, "low": None, "high": None}
    if len(means):
        result["mean"] = float(means.mean())
    if len(means) >= _FEWEST and np.ptp(means) > 0:
        interval = stats.ttest_1samp(means, 0.0).confidence_interval()
        result |= {"low": float(interval.low), "high": float(interval.high)}
    return result


def _write_rows(path: Path, rows: list[Row]) -> None:
    names = [*(name for name in rows[0] if name not in MEASURES), *MEASURES]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
