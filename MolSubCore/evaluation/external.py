"""External validation: a finished model on another cohort, with everything of the model held as it is.

::

    DIR/evaluation.json, evaluation.png    as those of a run, and what a validation adds
    DIR/evaluation.html                    the page (`MolSubCore.evaluation.external_page`)
    DIR/results/*.csv, *.png, *.svg        its tables and figures, and the predictions per patient
    DIR/plan.json, logits/                 finished predictions (`MolSubCore.evaluation.external`)

Nothing is chosen on the cohort: thresholds are those that came with the model. The one thing that may be fitted is a
recalibration, on a part of the cohort that is named beforehand, and it is judged on the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from MolSubCore import DISCLAIMER
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.pseudonyms import Salt
from MolSubCore.cohort.store import Progress
from MolSubCore.cohort.table import Case, clinical_of
from MolSubCore.cohort.table_files import note_lines
from MolSubCore.errors import CohortError, MolSubError, counted
from MolSubCore.evaluation.drift import calibration_report
from MolSubCore.evaluation.evaluate import FORMAT_VERSION, evaluation_level, prevalence, threshold_text, unit_of
from MolSubCore.evaluation.external_cohort import (
    ExternalCohort,
    OverlapChoice,
    by_look,
    column_groups,
    named_part,
    patient_levels,
    read_external,
    read_external_table,
)
from MolSubCore.evaluation.figures import draw_evaluation
from MolSubCore.evaluation.subgroups import adjusted, interaction_tests, subgroup_rows
from MolSubCore.files import atomic_path, check_free, read_json, write_json
from MolSubCore.imaging.io.content import content_hash
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.models.card import (
    bundle_hash,
    calibration_note,
    card_warnings,
    earlier,
    model_summary,
    now,
    patient_level,
)
from MolSubCore.models.fingerprints import DEVELOPMENT, RECALIBRATION, TEST
from MolSubCore.models.fused import FLIPS, Lesions, Outputs
from MolSubCore.prediction.calibrated import calibration_of
from MolSubCore.prediction.provenance import program
from MolSubCore.prediction.warnings import unlike_spacing
from MolSubCore.statistics.calibration import CalibrationMap, Method, fit_calibration, mapped, too_few
from MolSubCore.statistics.scores import Scores
from MolSubCore.statistics.thresholds import Threshold
from MolSubCore.tasks import get_task

if TYPE_CHECKING:  # table and names are checked before PyTorch is loaded
    from MolSubCore.models.bundle import Bundle


#: Clinical values by patient and column.
Values = Mapping[str, Mapping[str, str]]

_FORMAT = "molsub-external"
_BLOCK, _BATCH = 64, 16


def begin(out: Path, card: dict[str, Any], *, resume: bool) -> Salt:
    """Check that a validation can begin in a folder, or go on; return the salt of the patients' ids. Writes nothing.

    Raises
    ------
    MolSubError
        If the folder holds anything and `resume` is false, or it holds no validation, or one of another model.
    """
    model = _identity(card)
    if resume and (out / "plan.json").is_file():
        stored = read_json(out / "plan.json")
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise MolSubError(out, "holds something else than a validation of a bundle", "Choose another --out")
        if stored.get("model") != model or stored.get("bundle_sha256", bundle_hash(card)) != bundle_hash(card):
            raise MolSubError(out, "was begun with another model", "Choose another --out, or give that model")
        return Salt.read(out / "plan.json", stored)
    check_free(out, remedy="Choose another --out, or add --resume to keep what is done", whole=False)
    return Salt.new()


def _identity(card: dict[str, Any]) -> dict[str, Any]:
    """What decides the logits of a patch."""
    return {
        "members": [member["sha256"] for member in card["members"]],
        "architecture": card["architecture"],
        "classes": list(card["classes"]),
        "recipe": Recipe.from_dict(card["recipe"]).key(),
    }


def external_outputs(
    bundle: Bundle, store: PatchStore, out: Path, salt: Salt, *, progress: Progress | None = None
) -> Outputs:
    """What every member gives for all patches; those in `out` are not computed again."""
    from MolSubCore.models.device import to_input

    model = {"model": _identity(bundle.card), "bundle_sha256": bundle_hash(bundle.card)}
    plan = {"format": _FORMAT, "format_version": 1, **model, **salt.to_dict()}
    write_json(out / "plan.json", plan)
    folder, classes = out / "logits", len(bundle.card["classes"])
    known = _read_blocks(folder, (len(bundle.models), _width(bundle.card)))
    keys = [hashlib.sha256(np.ascontiguousarray(patch).data).hexdigest() for patch in store.patches]
    rows_of = dict(zip(keys, range(len(keys)), strict=True))
    missing = [row for key, row in rows_of.items() if key not in known]
    recipe, done = Recipe.from_dict(bundle.card["recipe"]), len(rows_of) - len(missing)
    for start in range(0, len(missing), _BLOCK):
        block = missing[start : start + _BLOCK]
        for first in range(0, len(block), _BATCH):
            rows = block[first : first + _BATCH]
            inputs = to_input(np.asarray(store.patches[rows]), recipe, bundle.device)
            found = bundle.outputs(inputs).packed().astype(np.float32)
            known |= {keys[row]: found[:, place] for place, row in enumerate(rows)}
            done += len(rows)
            if progress:
                progress(done, len(rows_of), "")
        _write_block(folder, [keys[row] for row in block], known)
    values = np.stack([known[key] for key in keys], axis=1).astype(np.float64)
    return Outputs.unpacked(values, classes, flips=bool(bundle.fused and bundle.fused.flips))


def _width(card: dict[str, Any]) -> int:
    """How many numbers of a patch are kept: logits, those of its flips, features."""
    steps, classes = (card.get("fusion") or {}).get("steps", ()), len(card["classes"])
    flips = len(FLIPS) if any(step["name"] == "tta" for step in steps) else 1
    return classes * flips + sum(int(step.get("features", 0)) for step in steps)


def _read_blocks(folder: Path, shape: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
    """What earlier calls computed; a block that is damaged is made again."""
    found: dict[str, NDArray[np.float32]] = {}
    for file in sorted(folder.glob("[!.]*.safetensors")):
        try:
            content = load(file.read_bytes())
            logits, keys = content["logits"], content["keys"]
        except (SafetensorError, OSError, KeyError, ValueError):
            continue
        if logits.ndim == 3 and logits.shape[::2] == shape and keys.shape == (logits.shape[1], 32):
            found |= {key.tobytes().hex(): logits[:, place] for place, key in enumerate(keys)}
    return {key: value for key, value in found.items() if np.isfinite(value).all()}


def _write_block(folder: Path, keys: list[str], known: dict[str, NDArray[np.float32]]) -> None:
    names = np.array([list(bytes.fromhex(key)) for key in keys], np.uint8)
    logits = np.stack([known[key] for key in keys], axis=1).astype(np.float32)
    number = 1 + max((int(file.stem) for file in folder.glob("[!.]*.safetensors") if file.stem.isdigit()), default=-1)
    with atomic_path(folder / f"{number:05d}.safetensors") as temporary:
        save_file({"keys": names, "logits": np.ascontiguousarray(logits)}, temporary)


def probabilities(bundle: Bundle, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of lesions as the bundle's networks give them, shape (N, classes), from the members' logits."""
    import torch

    return np.asarray(bundle.to_probabilities(torch.from_numpy(logits)).numpy(), np.float64)


def fused_scores(bundle: Bundle, outputs: Outputs, lesions: Scores, views: NDArray[np.str_], values: Values) -> Scores:
    """One row per patient (or breast of a patient with both), as a fused model predicts them.

    Parameters
    ----------
    lesions : Scores
        Of the patches: their probabilities are those of the networks.
    views : ndarray of str, shape (N,)
    values : mapping of str to mapping of str to str
        Clinical values of each patient, as `clinical_values` checked them.
    """
    assert bundle.fused is not None
    patients = lesions.calibrated(None).per_patient()
    found = []
    for unit, patient in zip(patients.unit.tolist(), patients.patient.tolist(), strict=True):
        rows = np.flatnonzero(lesions.unit == unit)
        part = Lesions(outputs.select(rows), lesions.case[rows], views[rows])
        found.append(bundle.fused.probabilities(part, values.get(patient, {})))
    return replace(patients, probabilities=np.stack(found), calibrate=lesions.calibrate)


def clinical_values(bundle: Bundle, cases: dict[str, list[Case]]) -> dict[str, dict[str, str]]:
    """Each patient's clinical values that the model uses.

    Raises
    ------
    CohortError
        If one is missing: a model that is validated is one model, and not another one for some of the patients.
    """
    fused, found = bundle.fused, dict[str, dict[str, str]]()
    if fused is None or not fused.columns:
        return found
    for patient, own in cases.items():
        steps, found[patient], notes = fused.whole(clinical_of(own, tuple(fused.columns)))
        if steps < len(fused.steps):
            text = f"row {own[0].row}, {', '.join(fused.columns)}: {notes[-1][:1].lower()}{notes[-1].split('.')[0][1:]}"
            raise CohortError("cohort table", text, "Fill it in, or leave out the patient's rows")
    return found


#: Patients of a class below which a figure is called uncertain.
FEW = 30

#: Shares of images of an unknown kind that are told.
_KINDS = (("manufacturers", "manufacturer"), ("views", "view"), ("presentation", "presentation intent"))


def external_warnings(card: dict[str, Any], external: ExternalCohort, result: dict[str, Any]) -> list[str]:
    """What makes a validation doubtful: the cohort, its likeness to the training's, its size.

    Parameters
    ----------
    card : dict
        The model bundle's.
    external : ExternalCohort
    result : dict
        Content of ``evaluation.json``, with the recalibration if there is one.
    """
    found = []
    if result["synthetic"]:
        found.append("Pictures or training data are synthetic: nothing here is about patients.")
    found += _overlap(external)
    found += [f"Of the table: {note.rstrip('.')}." for note in external.notes]
    level = result["test"]["ensemble"]["patient"]
    if unit_of(level) == "breast":
        found.append(
            f"Both breasts of {counted(level['n'] - level['n_patients'], 'patient')} are here: figures per patient "
            f"are per breast (n={level['n']}), which are never averaged; intervals draw both together."
        )
    found += _unseen(result["cohort"])
    parts = result["cohort"]
    if why := unlike_spacing(parts["here"].get("spacing_mm"), parts["training"].get("spacing_mm")):
        found.append(why[0].upper() + why[1:])
    counts = result["prevalence"]["test"]["patients"]
    few = {name: counted(n, unit_of(level)) for name, n in counts.items() if n < FEW}
    found += [f"Class {name} has {n} only: figures that rest on it are uncertain." for name, n in few.items()]
    left = external.flow["table"]["rows"] - external.flow["used"]["rows"]
    if left:
        found.append(f"{left} of {external.flow['table']['rows']} rows were left out; the flow says why.")
    found += [f"Left out: {line}." for line in note_lines(external.failed)]
    found += [f"{line[:1].upper()}{line[1:]}" for line in note_lines(external.remarks)]
    if not result["thresholds"] and result["positive"]:
        found.append("The model came without thresholds of its training; only 0.5 is shown.")
    if why := result["calibration_drift"]["why"]:
        found.append(why)
    elif not any(result["calibration_drift"][part] for part in ("validation", "test")):
        found.append("The model came without the calibration of its training, so a drift cannot be seen.")
    return found + _recalibration(result["recalibration"], result["classes"])


def _overlap(external: ExternalCohort) -> list[str]:
    """What of the cohort the model has seen."""
    shared, found = external.overlap, []
    if shared["whole"]:
        found.append("This is the cohort that the model was trained on: its figures do not validate it.")
    elif not shared["checked"]:
        found.append(
            "The model came without fingerprints of its training images: whether patients of its training are in this "
            "cohort could not be checked."
        )
    else:
        count = shared[DEVELOPMENT]
        found.append(
            f"Overlap with the training: {counted(count['images'], 'image')} of "
            f"{counted(count['patients'], 'patient')}{by_look(count['by_look'])}."
        )
        how = "equal pixels or by their look: one that was cut"
        if not shared["looks_checked"]:
            how = "equal pixels only: one that was resaved, cut"
        found.append(
            f"Images of the training are recognised by {how} or changed much since is not, nor are new images of its "
            "patients. Make sure that no patient of the training is here."
        )
    for part, what in (
        (DEVELOPMENT, "the model was trained on"),
        (RECALIBRATION, "the model was recalibrated on"),
        (TEST, "from the test set of the model's own cohort"),
    ):
        count = shared[part]
        if not count["images"]:
            continue
        numbers = f"{counted(count['images'], 'image')} of {counted(count['patients'], 'patient')}"
        if part == TEST:
            found.append(f"{numbers} {what}: they are not new.")
        elif shared["choice"] == "leave-out":
            found.append(f"{numbers} that {what} were found; these patients were left out.")
        else:
            sure = f"look like images that {what}" if count["by_look"] == count["images"] else what
            found.append(f"{numbers} {sure}: on them the figures do not validate the model (see --overlap).")
    return found


def _unseen(cohort: dict[str, dict[str, Any]]) -> list[str]:
    found = []
    for key, name in _KINDS:
        known = {each.casefold() for each in cohort["training"].get(key) or {} if each != "unknown"}
        here = {each: count for each, count in cohort["here"][key].items() if each != "unknown"}
        new = {each: count for each, count in here.items() if each.casefold() not in known}
        if known and new:
            names = ", ".join(f"{each} ({count})" for each, count in new.items())
            found.append(f"The training had no images of this {name}: {names}.")
    return found


def _recalibration(fitted: dict[str, Any] | None, classes: list[str]) -> list[str]:
    if fitted is None:
        return []
    found = []
    if fitted["at_bound"]:
        found.append("The patients of the recalibration do not determine it: a number lies at the end of its range.")
    few = {name: count for name, count in fitted["counts"].items() if count < FEW}
    if few:
        names = ", ".join(f"{count} of {name}" for name, count in few.items())
        found.append(f"The recalibration rests on few patients ({names}): it is uncertain itself.")
    if fitted["judged_on"] < FEW:
        found.append(f"The recalibration is judged on {fitted['judged_on']} patients only: what it does is uncertain.")
    absent = [name for name, row in zip(classes, fitted["before"]["confusion"], strict=True) if not sum(row)]
    if absent:
        names = " or ".join(absent)
        found.append(f"The recalibration is judged without a class: none of these patients is {names}.")
    return found


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
        Slope and intercepts, or the slope alone.
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
        Of lesions, calibrated as the model is.
    levels : dict
        Level of each patient in every subgroup.
    recalibration : CalibrationMap or None
        Of the patients' probabilities by the model as it is.
    judged : tuple of Scores
        Per patient, of those it was not fitted on, before and after; empty without a recalibration.
    fitted_images : dict of str to str
        Hashes of the images that the recalibration was fitted on.
    """

    result: dict[str, Any]
    external: ExternalCohort
    scores: Scores
    levels: dict[str, dict[str, str]]
    recalibration: CalibrationMap | None = None
    judged: tuple[Scores, ...] = field(default=())
    fitted_images: dict[str, str] = field(default_factory=dict)


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
    clinical_values(bundle, rows.cases_of())
    wanted = named_part(rows.cases_of(), options.recalibrate_on)
    check_part(rows.cases_of(), wanted, card["task"], options.recalibrate_on)
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
    check_part(external.cases_of(), part, card["task"], options.recalibrate_on)
    outputs = external_outputs(bundle, external.data.store, out, salt, progress=steps("predicting"))
    data = external.data
    case = np.asarray(data.store.case_index).astype(np.int64)
    scores = Scores(
        *(probabilities(bundle, outputs.logits), data.labels, np.array(data.study_ids), case, data.sides()),
        calibrate=calibration_of(card),
    )
    views: NDArray[np.str_] | None = data.views()
    if bundle.fused:
        values = clinical_values(bundle, external.cases_of())
        scores, views = fused_scores(bundle, outputs, scores, data.views(), values), None
    result = _result(bundle, external, scores, views, levels, options)
    recalibration: CalibrationMap | None = None
    judged: tuple[Scores, ...] = ()
    if part:
        inside = np.array([str(name) in part for name in scores.patient])
        fitting, rest = (scores.select(chosen).per_patient() for chosen in (inside, ~inside))
        recalibration = fit_calibration(fitting, tuple(card["classes"]), options.method)
        judged = (rest, recalibration.apply(rest).per_patient())
        result["recalibration"] = _judgement(recalibration, judged, card, options)
        after = fitting.calibrated(recalibration)
        result["recalibration"]["thresholds"] = [
            moved_threshold(entry, tuple(card["classes"]), recalibration, after)
            for entry in card.get("thresholds") or []
        ]
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
    seen = zip(data.study_ids, data.store.meta, strict=True)
    fitted_on = {meta["pixels"]: meta["look"] for name, meta in seen if name in part}
    return ExternalValidation(result, external, scores, levels, recalibration, judged, fitted_on)


def _result(
    bundle: Bundle,
    external: ExternalCohort,
    scores: Scores,
    views: NDArray[np.str_] | None,
    levels: dict[str, dict[str, str]],
    options: ExternalOptions,
) -> dict[str, Any]:
    card = bundle.card
    classes, positive, drawn = tuple(card["classes"]), card.get("positive"), (options.resamples, options.seed)
    patient = evaluation_level(scores.per_patient(), classes, positive, *drawn)
    calibration = calibration_report(scores, classes, positive)
    levels_of = {"image": evaluation_level(scores.per_image(), classes, positive, *drawn)}
    levels_of["patient"] = {**patient, "calibration": calibration}
    summary, trained = external.data.summary(), card.get("metrics") or {}
    return {
        "format": "molsub-evaluation",
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "intended_use": DISCLAIMER,
        "task": card["task"],
        "classes": list(classes),
        "positive": positive,
        "probabilities": calibration_note(card),
        "threshold": threshold_text(positive),
        "synthetic": bool(card.get("synthetic")) or summary["synthetic"],
        "model": model_summary(card),
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
        "interactions": adjusted(interaction_tests(scores, views, levels, classes, positive, seed=drawn[1])),
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


def check_part(cases: dict[str, list[Case]], part: set[str], task: str, named: str) -> None:
    """MolSubError where the patients that a recalibration is to be fitted on are too few of a class."""
    if not part:
        return
    known = get_task(task)
    # Of a patient with a cancer of another class in each breast, both count.
    pairs = {(name, known.class_of[case.subtype]) for name in part for case in cases[name] if case.subtype}
    labels = [label for _, label in pairs]
    if why := too_few({name: labels.count(name) for name in known.classes}):
        remedy = "Name a part with more patients, or leave --recalibrate-on out"
        raise MolSubError("recalibration", f"cannot be fitted on {named}: {why}", remedy)


def moved_threshold(
    entry: dict[str, Any], classes: tuple[str, ...], change: CalibrationMap, scores: Scores
) -> dict[str, Any]:
    """A threshold of a card after a recalibration, with what it gives on the patients that this was fitted on.

    It calls the same patients as before: threshold and probabilities go through one map, which rises.

    Parameters
    ----------
    entry : dict
        Of the card's thresholds.
    classes : tuple of str
        Two.
    change : CalibrationMap
    scores : Scores
        Of these patients, recalibrated.
    """
    value, index = float(entry["value"]), classes.index(entry["positive"])
    moved = entry | {"before_recalibration": value, "patients": len(set(scores.patient.tolist()))}
    if 0 < value < 1:  # at 0 everybody is positive, above 1 nobody, with any calibration
        shares = np.array([[value, 1 - value] if index == 0 else [1 - value, value]])
        moved["value"] = float(mapped(shares, change.slope, change.intercepts)[0, index])
    here = _applied(moved, classes, scores)["here"]
    return moved | {name: here[name]["value"] for name in ("sensitivity", "specificity")}


def _judgement(
    found: CalibrationMap, judged: tuple[Scores, ...], card: dict[str, Any], options: ExternalOptions
) -> dict[str, Any]:
    """What was fitted, and the patients it was not fitted on before and after it."""
    classes, positive = tuple(card["classes"]), card.get("positive")
    sides = {}
    for name, scores in zip(("before", "after"), judged, strict=True):
        level = evaluation_level(scores.per_patient(), classes, positive, options.resamples, options.seed)
        sides[name] = {**level, "calibration": calibration_report(scores, classes, positive)}
    return {"fitted_on": options.recalibrate_on, **found.to_dict(), "judged_on": sides["before"]["n_patients"], **sides}
