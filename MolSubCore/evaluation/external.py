"""External validation: a finished model on another cohort, with everything of the model held as it is.

::

    DIR/evaluation.json, evaluation.png    as those of a run, and what a validation adds
    DIR/evaluation.html                    the page (`MolSubCore.report.evaluation_page`)
    DIR/results/*.csv, *.png, *.svg        its tables and figures, and the predictions per patient
    DIR/plan.json, logits/                 finished predictions (`MolSubCore.evaluation.external_logits`)

Nothing is chosen on the cohort: thresholds are those that came with the model. The one thing that may be fitted is a
recalibration, on a part of the cohort that is named beforehand, and it is judged on the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from MolSubCore import DISCLAIMER
from MolSubCore.cohort.table_files import note_lines
from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.drift import calibration_report
from MolSubCore.evaluation.evaluate import evaluation_level, prevalence, threshold_text
from MolSubCore.evaluation.external_data import ExternalCohort, OverlapChoice, read_external, read_external_table
from MolSubCore.evaluation.external_groups import column_groups, named_part, patient_levels
from MolSubCore.evaluation.external_logits import begin, external_logits, probabilities
from MolSubCore.evaluation.external_notes import external_warnings
from MolSubCore.evaluation.figures import draw_evaluation
from MolSubCore.evaluation.recalibration import Method, Recalibration, fit_recalibration
from MolSubCore.evaluation.subgroups import subgroup_rows
from MolSubCore.evaluation.thresholds import Threshold
from MolSubCore.files import write_json
from MolSubCore.imaging.content import content_hash
from MolSubCore.models.bundle import Bundle
from MolSubCore.models.card import (
    bundle_hash,
    calibration_note,
    card_warnings,
    earlier,
    model_summary,
    now,
    patient_level,
)
from MolSubCore.predictions import Scores
from MolSubCore.provenance import program

Progress = Callable[[int, int, str], None]

KIND = "external validation"


@dataclass(frozen=True)
class ExternalOptions:
    """What a user asks of a validation.

    Attributes
    ----------
    subgroups : tuple of str
        Columns of the table, beside view, vendor, age and lesion size, which are always shown.
    recalibrate_on : str
        ``COLUMN=VALUE``: the patients that a recalibration is fitted on; none where empty.
    method : {"logistic", "temperature"}
    resamples, seed : int
        Of the bootstrap.
    resume : bool
        Go on in the folder.
    cache : Path or None
        Of the patches.
    command : str
        For the record; it must name nobody.
    overlap : {"refuse", "leave-out", "keep"}
        What becomes of patients with images that the model was trained on.
    trust_ids : bool
        Take the table's word where the images name other patients.
    """

    subgroups: tuple[str, ...] = ()
    recalibrate_on: str = ""
    method: Method = "logistic"
    resamples: int = 2000
    seed: int = 0
    resume: bool = False
    cache: Path | None = None
    command: str = ""
    overlap: OverlapChoice = "refuse"
    trust_ids: bool = False

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise MolSubError("resamples", f"is {self.resamples}, expected 1 or more", "Choose a larger number")
        if self.recalibrate_on and not all(part.strip() for part in self.recalibrate_on.partition("=")):
            found = f"is '{self.recalibrate_on}', expected COLUMN=VALUE"
            raise MolSubError("recalibrate-on", found, "Name the patients by a column of the table, as in centre=A")


@dataclass(frozen=True, eq=False)
class ExternalValidation:
    """A validation.

    Attributes
    ----------
    result : dict
        Content of ``evaluation.json``.
    external : ExternalCohort
    scores : Scores
        Of lesions, by the model as it is.
    levels : dict
        Level of each patient in every subgroup.
    recalibration : Recalibration or None
    judged : tuple of Scores
        Of lesions of the patients it was not fitted on, before and after; empty without a recalibration.
    fitted_images : tuple of str
        Hashes of the images that the recalibration was fitted on.
    """

    result: dict[str, Any]
    external: ExternalCohort
    scores: Scores
    levels: dict[str, dict[str, str]]
    recalibration: Recalibration | None = None
    judged: tuple[Scores, ...] = field(default=())
    fitted_images: tuple[str, ...] = ()


def validate_bundle(
    bundle: Bundle,
    table: Path,
    out: Path,
    options: ExternalOptions = ExternalOptions(),
    *,
    progress: Callable[[str], Progress] | None = None,
) -> ExternalValidation:
    """Evaluate a bundle on a cohort; write ``evaluation.png`` and, last, ``evaluation.json``.

    Parameters
    ----------
    bundle : Bundle
    table : Path
        Cohort table; rows without a subtype, or that cannot be used, are left out and counted.
    out : Path
    options : ExternalOptions
    progress : callable, optional
        Gives a progress function for the title of each long step.

    Raises
    ------
    MolSubError
        If `out` is taken, or the table, a column of it or the part for the recalibration does not fit: all but the
        images themselves is checked before one is opened.
    """
    card, steps = bundle.card, progress or (lambda title: lambda done, total, what: None)
    salt = begin(out, card, resume=options.resume)
    rows = read_external_table(table, card["task"])
    column_groups(rows.cases_of(), options.subgroups)
    named_part(rows.cases_of(), options.recalibrate_on)
    external = read_external(
        rows,
        card,
        salt.value,
        options.cache,
        overlap=options.overlap,
        trust_ids=options.trust_ids,
        progress=steps("reading images"),
    )
    levels = patient_levels(external, options.subgroups)
    part = named_part(external.cases_of(), options.recalibrate_on)
    logits = external_logits(bundle, external.data.store, out, salt, progress=steps("predicting"))
    data = external.data
    case = np.asarray(data.store.case_index).astype(np.int64)
    scores = Scores(probabilities(bundle, logits), data.labels, np.array(data.study_ids), case, data.sides())
    result = _result(bundle, external, scores, levels, options)
    recalibration: Recalibration | None = None
    judged: tuple[Scores, ...] = ()
    if part:
        recalibration, judged = _recalibrate(scores, tuple(card["classes"]), part, options.method)
        result["recalibration"] = _judgement(recalibration, judged, card, options)
    result["made"] = {
        "date": now(),
        "command": options.command,
        "program": program(),
        "table_sha256": content_hash(table),
        "patches_sha256": external.data.store.data_hash(),
        "bundle_sha256": bundle_hash(card),
    }
    result["warnings"] += [f"Of the table: {line.removeprefix('table, ')}." for line in note_lines(rows.notes)]
    result["warnings"] += external_warnings(card, external, result)
    draw_evaluation(out / "evaluation.png", result, scores, {})
    write_json(out / "evaluation.json", result)
    fitted_on = {meta["pixels"] for name, meta in zip(data.study_ids, data.store.meta, strict=True) if name in part}
    return ExternalValidation(result, external, scores, levels, recalibration, judged, tuple(sorted(fitted_on)))


def _result(
    bundle: Bundle,
    external: ExternalCohort,
    scores: Scores,
    levels: dict[str, dict[str, str]],
    options: ExternalOptions,
) -> dict[str, Any]:
    card = bundle.card
    classes, positive, drawn = tuple(card["classes"]), card.get("positive"), (options.resamples, options.seed)
    views = np.array([meta.get("view") or "" for meta in external.data.store.meta])
    patient = evaluation_level(scores.per_patient(), classes, positive, *drawn)
    calibration = calibration_report(scores, classes, positive)
    levels_of = {"image": evaluation_level(scores.per_image(), classes, positive, *drawn)}
    levels_of["patient"] = {**patient, "calibration": calibration}
    summary, trained = external.data.summary(), card.get("metrics") or {}
    return {
        "format": "molsub-evaluation",
        "format_version": 1,
        "kind": KIND,
        "intended_use": DISCLAIMER,
        "task": card["task"],
        "classes": list(classes),
        "positive": positive,
        "threshold": threshold_text(positive),
        "synthetic": bool(card.get("synthetic")) or summary["synthetic"],
        "model": {**model_summary(card), "calibration": calibration_note(card)},
        "bootstrap": {"resamples": options.resamples, "seed": options.seed, "unit": "patient, within class"},
        "flow": external.flow,
        "overlap": external.overlap,
        "left_out_rows": [{"row": row, "reason": reason} for row, reason in external.left_out],
        "cohort": {"here": summary, "training": (card.get("training") or {}).get("cohort") or {}},
        "prevalence": {"test": prevalence(scores, classes), "training": trained.get("prevalence") or {}},
        "folds": {},
        "test": {"folds": {}, "ensemble": levels_of},
        "calibration_drift": {**_stored_calibration(card), "here": calibration},
        "thresholds": [_applied(entry, classes, scores) for entry in card.get("thresholds") or []],
        "subgroups": subgroup_rows(scores, views, levels, classes, positive, resamples=drawn[0], seed=drawn[1]),
        "recalibration": None,
        "warnings": card_warnings(card),
    }


def _stored_calibration(card: dict[str, Any]) -> dict[str, Any]:
    """Calibration per patient of the model's own validation and test set; of a recalibrated one why there is none."""
    if when := earlier(card):
        why = f"The model's own calibration is from {when}, of other probabilities: it is not compared with that here."
        return {"validation": None, "test": None, "why": why}
    return {part: patient_level(card, part).get("calibration") for part in ("validation", "test")} | {"why": ""}


def _applied(entry: dict[str, Any], classes: tuple[str, ...], scores: Scores) -> dict[str, Any]:
    """A threshold of the card, and what it gives here."""
    positive = str(entry["positive"])
    chosen = (float(entry["sensitivity"]), float(entry["specificity"]))
    threshold = Threshold(float(entry["value"]), positive, classes.index(positive), entry["rule"], *chosen, frozenset())
    return {**entry, "here": {name: found.to_dict() for name, found in threshold.apply(scores).items()}}


def _recalibrate(
    scores: Scores, classes: tuple[str, ...], part: set[str], method: Method
) -> tuple[Recalibration, tuple[Scores, ...]]:
    """Fit on a part; the others before and after."""
    inside = np.array([str(name) in part for name in scores.patient])
    fitted_on, rest = scores.select(inside), scores.select(~inside)
    found = fit_recalibration(fitted_on, classes, method)
    return found, (rest, found.apply(rest))


def _judgement(
    found: Recalibration, judged: tuple[Scores, ...], card: dict[str, Any], options: ExternalOptions
) -> dict[str, Any]:
    """What was fitted, and the patients it was not fitted on before and after it."""
    classes, positive = tuple(card["classes"]), card.get("positive")
    sides = {}
    for name, scores in zip(("before", "after"), judged, strict=True):
        level = evaluation_level(scores.per_patient(), classes, positive, options.resamples, options.seed)
        sides[name] = {**level, "calibration": calibration_report(scores, classes, positive)}
    return {"fitted_on": options.recalibrate_on, **found.to_dict(), "judged_on": sides["before"]["n_patients"], **sides}
