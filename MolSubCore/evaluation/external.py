"""External validation: a finished model on another cohort, with everything of the model held as it is.

::

    DIR/evaluation.json, evaluation.png    as those of a run, and what a validation adds
    DIR/evaluation.html                    the page (`MolSubCore.report.evaluation_page`)
    DIR/results/*.csv, *.png, *.svg        its tables and figures, and the predictions per patient
    DIR/plan.json, logits/                 finished predictions (`MolSubCore.evaluation.external`)

Nothing is chosen on the cohort: thresholds are those that came with the model. The one thing that may be fitted is a
recalibration, on a part of the cohort that is named beforehand, and it is judged on the rest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from MolSubCore import DISCLAIMER
from MolSubCore.cohort.identity import check_identities
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.pseudonyms import Salt
from MolSubCore.cohort.splits import Split, subtypes_of
from MolSubCore.cohort.store import Progress, build_store, usable_cases
from MolSubCore.cohort.table import Case, Cohort, Problem, parse_cohort
from MolSubCore.cohort.table_files import clean_cell, column_name, note_lines
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.evaluation.drift import calibration_report
from MolSubCore.evaluation.evaluate import evaluation_level, prevalence, threshold_text
from MolSubCore.evaluation.figures import draw_evaluation
from MolSubCore.evaluation.recalibration import Method, Recalibration, fit_recalibration
from MolSubCore.evaluation.subgroups import subgroup_rows
from MolSubCore.files import atomic_path, check_free, read_json, write_json
from MolSubCore.imaging.io.content import content_hash
from MolSubCore.lesions.preprocessing import Recipe
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
from MolSubCore.models.device import to_input
from MolSubCore.models.fingerprints import DEVELOPMENT, RECALIBRATION, TEST, read_fingerprints
from MolSubCore.prediction.provenance import program
from MolSubCore.prediction.warnings import unlike_spacing
from MolSubCore.statistics.scores import Scores
from MolSubCore.statistics.thresholds import Threshold
from MolSubCore.tasks import SubtypeLabel, get_task

if TYPE_CHECKING:
    from MolSubCore.training.run import TrainingData


#: Why a row was left out.
NO_SUBTYPE, OPEN_CLASS, UNUSABLE = "no subtype", "class left open by the subtype", "image or lesion cannot be used"
SEEN = "patient with an image that the model was trained on"

#: What becomes of patients whose images the model was trained on.
OverlapChoice = Literal["refuse", "leave-out", "keep"]


@dataclass(frozen=True, eq=False)
class ExternalCohort:
    """A cohort, read for one model.

    Attributes
    ----------
    data : TrainingData
        Patches, labels in the order of the model's logits, salted ids; all in one partition.
    cohort : Cohort
        The cases that are used.
    left_out : tuple of (int, str)
        Row and reason of all others.
    flow : dict
        Numbers of rows and patients: in the table, left out by reason, used; both add up.
    errors : tuple of CohortError
        Of the rows whose image or lesion cannot be used, by their numbers.
    overlap : dict
        ``checked`` (whether the model came with what that needs), ``choice``, and by part of the model's own cohort
        (`MolSubCore.models.fingerprints`) the numbers of ``images`` and ``patients`` that are here, too.
    notes : tuple of str
        What should be known of the patients' identities.
    """

    data: TrainingData
    cohort: Cohort
    left_out: tuple[tuple[int, str], ...]
    flow: dict[str, Any]
    errors: tuple[CohortError, ...]
    overlap: dict[str, Any]
    notes: tuple[str, ...] = ()

    def cases_of(self) -> dict[str, list[Case]]:
        """Cases of each patient by salted id."""
        numbers = self.data.store.case_index.tolist()
        return _grouped(zip(self.data.study_ids, (self.cohort.cases[number] for number in numbers), strict=True))


@dataclass(frozen=True)
class ExternalTable:
    """A cohort table, read for one task; no image is opened.

    Attributes
    ----------
    source : Path
    everything : tuple of Case
    chosen : tuple of Case
        Those with a class of the task.
    left_out : tuple of (int, str)
        Row and reason of the others.
    notes : tuple of Problem
        What is doubtful about the table.
    """

    source: Path
    everything: tuple[Case, ...]
    chosen: tuple[Case, ...]
    left_out: tuple[tuple[int, str], ...]
    notes: tuple[Problem, ...] = ()

    def cases_of(self) -> dict[str, list[Case]]:
        """Chosen cases of each patient by the table's own id."""
        return _grouped((case.patient_id, case) for case in self.chosen)


def _grouped(named: Iterable[tuple[str, Case]]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for name, case in named:
        cases = found.setdefault(name, [])
        if case not in cases:
            cases.append(case)
    return found


def read_external(
    table: ExternalTable,
    card: dict[str, Any],
    salt: str,
    cache: Path | None,
    *,
    overlap: OverlapChoice = "refuse",
    trust_ids: bool = False,
    progress: Progress | None = None,
) -> ExternalCohort:
    """Read the images of a table for a model; rows that cannot be used are left out and counted.

    Parameters
    ----------
    table : ExternalTable
    card : dict
        The model bundle's card: its task, class order and recipe.
    salt : str
        Of the patients' ids.
    overlap : {'refuse', 'leave-out', 'keep'}
        What becomes of patients with images that the model was trained on.
    trust_ids : bool
        Take the table's word where the images name other patients.

    Raises
    ------
    CohortError
        If a patient has two subtypes, the images contradict the table's patients, images are those of the training
        and `overlap` does not allow it, or no row can be used.
    """
    from MolSubCore.training.run import TrainingData, told_side

    recipe = Recipe.from_dict(card["recipe"])
    usable, failed = usable_cases(Cohort(table.chosen, table.source), recipe, cache, progress=progress)
    left_out = [*table.left_out, *((case.row, UNUSABLE) for case, _ in failed)]
    subtypes_of(usable)
    store = build_store(usable, recipe, cache)
    identity = check_identities(usable, store, trust=trust_ids)
    shared, seen = find_overlap(usable, store, card, overlap)
    if seen and overlap == "leave-out":
        gone = [case for case in usable.cases if case.patient_id in seen]
        left_out += [(case.row, SEEN) for case in gone]
        usable = Cohort(tuple(case for case in usable.cases if case.patient_id not in seen), usable.source)
        if not usable.cases:
            raise CohortError(table.source, "holds only patients that the model was trained on", "Give another cohort")
        store = build_store(usable, recipe, cache)
    split, task = Split({}, salt, 1, -1), get_task(card["task"])
    chosen = [usable.cases[number] for number in store.case_index.tolist()]
    labels = [card["classes"].index(task.class_of[_subtype(case)]) for case in chosen]
    ids = tuple(split.study_id(case.patient_id) for case in chosen)
    told = tuple(told_side(case, meta) for case, meta in zip(chosen, store.meta, strict=True))
    data = TrainingData(store, np.array(labels, np.int64), ids, ("test",) * len(ids), told=told)
    flow = _flow(table.everything, usable.cases, left_out)
    errors, notes = tuple(error for _, error in failed), tuple(note_lines(identity.notes))
    return ExternalCohort(data, usable, tuple(sorted(left_out)), flow, errors, shared, notes)


def find_overlap(
    cohort: Cohort, store: PatchStore, card: dict[str, Any], choice: OverlapChoice
) -> tuple[dict[str, Any], set[str]]:
    """Images of a cohort that a model has seen: in numbers, and the patients of whom it was trained on any.

    Raises
    ------
    CohortError
        If there are such patients, and the choice is to refuse them.
    """
    training = card.get("training") or {}
    known = read_fingerprints(training.get("fingerprints"))
    images: dict[str, set[str]] = {name: set() for name in (DEVELOPMENT, TEST, RECALIBRATION)}
    patients: dict[str, set[str]] = {name: set() for name in images}
    if known:
        for number, meta in zip(store.case_index.tolist(), store.meta, strict=True):
            if (part := known.part_of(meta["pixels"])) in images:
                images[part].add(meta["pixels"])
                patients[part].add(cohort.cases[number].patient_id)
    told: dict[str, Any] = {"checked": known is not None, "choice": choice}
    told |= {name: {"images": len(images[name]), "patients": len(patients[name])} for name in images}
    seen = patients[DEVELOPMENT] | patients[RECALIBRATION]
    # Bundles of before know the hash of their whole cohort only.
    whole = not known and (training.get("plan") or {}).get("data_hash") == store.data_hash()
    if whole and choice != "keep":
        found = "is the cohort that the model was trained on: its figures would be no validation"
        raise CohortError(cohort.source, found, "Give another cohort, or add --overlap keep to see them all the same")
    if seen and choice == "refuse":
        count = len(images[DEVELOPMENT] | images[RECALIBRATION])
        found = (
            f"holds {count} image(s) of {len(seen)} patient(s) that the model was trained on, of "
            f"{len({case.patient_id for case in cohort.cases})} patients: on them its figures would be no validation"
        )
        raise CohortError(cohort.source, found, "Add --overlap leave-out to evaluate the others, or --overlap keep")
    return told | {"whole": whole}, seen


def _subtype(case: Case) -> SubtypeLabel:
    if case.subtype is None:
        raise CohortError(f"row {case.row}", "has no subtype", "Fill it in, or leave the row out")
    return case.subtype


def read_external_table(table: Path, task: str) -> ExternalTable:
    """Read a cohort table for a task.

    Raises
    ------
    CohortError
        If it cannot be read, a subtype is no subtype, or no row has a class of the task.
    """
    cohort, problems = parse_cohort(table, need_subtype=False)
    if problems or any(case.subtype is None for case in cohort.cases):  # which may be empty, or a word that is none
        problems += [p for p in parse_cohort(table)[1] if p.column == "subtype" and p.text != "is empty"]
    if problems:
        others = f", and {len(problems) - 1} more problem(s)" if len(problems) > 1 else ""
        raise CohortError(table, f"{problems[0]}{others}", f"Correct the table; molsub cohort check {table} lists all")
    chosen, left_out = [], []
    for case in cohort.cases:
        if case.subtype is None:
            left_out.append((case.row, NO_SUBTYPE))
        elif get_task(task).class_of.get(case.subtype) is None:
            left_out.append((case.row, OPEN_CLASS))
        else:
            chosen.append(case)
    if not chosen:
        found = f"has no row with a subtype that task {task} can use ({len(left_out)} row(s) without)"
        raise CohortError(table, found, "Fill in the column subtype, or choose a model of another task")
    return ExternalTable(table, cohort.cases, tuple(chosen), tuple(left_out), cohort.notes)


def _flow(everything: Sequence[Case], used: Sequence[Case], left_out: list[tuple[int, str]]) -> dict[str, Any]:
    rows = {case.row: case for case in everything}
    if len(used) + len(left_out) != len(rows):
        raise CohortError("flow", f"{len(used)} + {len(left_out)} rows are not {len(rows)}", "Report this fault")
    kept = {case.patient_id for case in used}
    reasons, told = {}, set(kept)
    for reason in (NO_SUBTYPE, OPEN_CLASS, UNUSABLE, SEEN):
        own = [rows[row] for row, why in left_out if why == reason]
        if reason == SEEN and not own:
            continue
        lost = {case.patient_id for case in own} - told
        told |= lost
        reasons[reason] = {"rows": len(own), "patients": len(lost)}
    return {
        "table": {"rows": len(rows), "patients": len({case.patient_id for case in everything})},
        "left_out": reasons,
        "used": {"rows": len(used), "patients": len(kept)},
    }


_AGES, _SIZES_MM = (40, 50, 60, 70), (20, 50)
_UNKNOWN, _SEVERAL = "unknown", "several"

_VIEW, _VENDOR, _AGE, _SIZE = "view", "vendor", "age", "lesion size"
#: Subgroups that are always shown; a column of such a name is none beside them.
_BUILT_IN = frozenset({_VIEW, _VENDOR, _AGE, _SIZE})

#: Levels of a column beyond which it is no subgroup.
_MOST_LEVELS = 20


def patient_levels(external: ExternalCohort, columns: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Level of each patient (salted id) in every subgroup: vendor, age band, lesion size, and columns of the table.

    Raises
    ------
    CohortError
        As `column_groups`.
    """
    cases = external.cases_of()
    built_in = {_VENDOR: _vendors(external), _AGE: _ages(cases), _SIZE: _sizes(external)}
    return built_in | column_groups(cases, columns)


def column_groups(cases: Mapping[str, list[Case]], columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Level of each patient in columns of the table, without those that are named as a subgroup shown anyway.

    Raises
    ------
    CohortError
        If the table lacks a column, or it has too many levels for subgroups.
    """
    found = {}
    for column in columns:
        if column_name(column) in _BUILT_IN:
            continue
        found[column] = column_levels(cases, column)
        if len(levels := set(found[column].values())) > _MOST_LEVELS:
            text = f"has {len(levels)} levels, subgroups have {_MOST_LEVELS} at most"
            raise CohortError(f"column {column}", text, "Give a column of groups, such as the centre")
    return found


def column_levels(cases: Mapping[str, list[Case]], column: str) -> dict[str, str]:
    """Cell of a column for each patient; ``several`` where rows differ, ``unknown`` where it is empty.

    Raises
    ------
    CohortError
        If the table has no such column.
    """
    key = column_name(column)
    known = {name for own in cases.values() for case in own for name in case.extra}
    if key not in known:
        found = f"is not in the table, which has {', '.join(sorted(known)) or 'no columns beside the needed ones'}"
        raise CohortError(f"column {column}", found, "Choose one of these")
    return {name: _one({case.extra.get(key, "") for case in own}) for name, own in cases.items()}


def named_part(cases: Mapping[str, list[Case]], named: str) -> set[str]:
    """Patients of ``COLUMN=VALUE``; empty where nothing is named.

    Raises
    ------
    MolSubError
        If no patient has the value, all have it, or one has it in some rows only.
    """
    if not named:
        return set()
    column, _, value = (clean_cell(part) for part in named.partition("="))
    levels, key = column_levels(cases, column), column_name(column)
    part = {name for name, level in levels.items() if level == value}
    cut = [
        name for name, own in cases.items() if value in {case.extra.get(key, "") for case in own} and name not in part
    ]
    if cut:
        found = f"holds {len(cut)} patient(s) in some of their rows only"
        raise MolSubError(named, found, "Give all rows of a patient the same value")
    if not part or len(part) == len(levels):
        found = f"names {len(part)} of the {len(levels)} patients"
        known = ", ".join(sorted(set(levels.values()))[:12])
        raise MolSubError(named, found, f"Name a part that leaves patients to judge it on; {column} has {known}")
    return part


def _one(values: set[str]) -> str:
    present = {value for value in values if value}
    return _SEVERAL if len(present) > 1 else present.pop() if present else _UNKNOWN


def _vendors(external: ExternalCohort) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for study_id, meta in zip(external.data.study_ids, external.data.store.meta, strict=True):
        found.setdefault(study_id, set()).add(" ".join(str(meta["manufacturer"] or "").split()))
    return {name: _one(values) for name, values in found.items()}


def _ages(cases: dict[str, list[Case]]) -> dict[str, str]:
    """Bands of the column ``age``, in years; of several ages the mean."""
    found = {}
    for name, own in cases.items():
        texts = [re.fullmatch(r"0*(\d{1,3}(?:\.\d+)?)\s*[Yy]?", case.extra.get("age", "").strip()) for case in own]
        values = [float(text[1]) for text in texts if text and 0 < float(text[1]) < 120]
        found[name] = _band(float(np.mean(values)) if values else None, _AGES, "years", upper_in_band=False)
    return found


def _sizes(external: ExternalCohort) -> dict[str, str]:
    """Bands of the larger side of the box around the largest lesion: those of T1, T2 and T3."""
    sizes: dict[str, list[float]] = {}
    for study_id, meta in zip(external.data.study_ids, external.data.store.meta, strict=True):
        own = sizes.setdefault(study_id, [])
        if meta["lesion_mm"] is not None:
            own.append(meta["lesion_mm"])
    return {name: _band(max(own, default=None), _SIZES_MM, "mm", upper_in_band=True) for name, own in sizes.items()}


def _band(value: float | None, edges: tuple[int, ...], unit: str, *, upper_in_band: bool) -> str:
    """The band of a value; a value on an edge is of the band below it (`upper_in_band`) or above it."""
    if value is None:
        return _UNKNOWN
    place = int(np.searchsorted(edges, value, side="left" if upper_in_band else "right"))
    if place == 0:
        return f"{'up to' if upper_in_band else 'below'} {edges[0]} {unit}"
    if place == len(edges):
        return f"{'over' if upper_in_band else 'from'} {edges[-1]} {unit}"
    low, high = edges[place - 1], edges[place]
    return f"over {low} to {high} {unit}" if upper_in_band else f"{low} to {high - 1} {unit}"


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


def external_logits(
    bundle: Bundle, store: PatchStore, out: Path, salt: Salt, *, progress: Progress | None = None
) -> NDArray[np.float64]:
    """Logits of all patches by every member, shape (members, N, classes); those in `out` are not computed again."""
    model = {"model": _identity(bundle.card), "bundle_sha256": bundle_hash(bundle.card)}
    plan = {"format": _FORMAT, "format_version": 1, **model, **salt.to_dict()}
    write_json(out / "plan.json", plan)
    folder, shape = out / "logits", (len(bundle.models), len(bundle.card["classes"]))
    known = _read_blocks(folder, shape)
    keys = [hashlib.sha256(np.ascontiguousarray(patch).data).hexdigest() for patch in store.patches]
    rows_of = dict(zip(keys, range(len(keys)), strict=True))
    missing = [row for key, row in rows_of.items() if key not in known]
    recipe, done = Recipe.from_dict(bundle.card["recipe"]), len(rows_of) - len(missing)
    for start in range(0, len(missing), _BLOCK):
        block = missing[start : start + _BLOCK]
        for first in range(0, len(block), _BATCH):
            rows = block[first : first + _BATCH]
            found = bundle.logits(to_input(np.asarray(store.patches[rows]), recipe, bundle.device)).cpu().numpy()
            known |= {keys[row]: found[:, place] for place, row in enumerate(rows)}
            done += len(rows)
            if progress:
                progress(done, len(rows_of), "")
        _write_block(folder, [keys[row] for row in block], known)
    return np.stack([known[key] for key in keys], axis=1).astype(np.float64)


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
    """The bundle's own probabilities of lesions, shape (N, classes), from the members' logits."""
    return np.asarray(bundle.to_probabilities(torch.from_numpy(logits)).numpy(), np.float64)


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
    if level["n"] > level["n_patients"]:
        found.append(
            f"{level['n'] - level['n_patients']} patient(s) have both breasts here: figures per patient are per breast "
            f"(n={level['n']}), which are never averaged; intervals draw both together."
        )
    found += _unseen(result["cohort"])
    parts = result["cohort"]
    if why := unlike_spacing(parts["here"].get("spacing_mm"), parts["training"].get("spacing_mm")):
        found.append(why[0].upper() + why[1:])
    counts = result["prevalence"]["test"]["patients"]
    found += [f"There are {n} patient(s) of {name}: what rests on them is uncertain." for name, n in counts.items()
              if n < FEW]  # fmt: skip
    left = external.flow["table"]["rows"] - external.flow["used"]["rows"]
    if left:
        found.append(f"{left} of {external.flow['table']['rows']} rows were left out; the flow says why.")
    if not result["thresholds"] and result["positive"]:
        found.append("The model came without thresholds of its training; only 0.5 is shown.")
    if why := result["calibration_drift"]["why"]:
        found.append(why)
    elif result["calibration_drift"]["validation"] is None:
        found.append("The model came without the calibration of its training, so a drift cannot be seen.")
    return found + _recalibration(result["recalibration"], result["classes"])


def _overlap(external: ExternalCohort) -> list[str]:
    """What of the cohort the model has seen."""
    shared, found = external.overlap, []
    if shared["whole"]:
        found.append("This is the cohort that the model was trained on: its figures are no validation.")
    elif not shared["checked"]:
        found.append(
            "The model came without fingerprints of its training images: whether patients of its training are in this "
            "cohort could not be checked."
        )
    for part, what in (
        (DEVELOPMENT, "the model was trained on"),
        (RECALIBRATION, "the model was recalibrated on"),
        (TEST, "are of the test set of the model's own cohort"),
    ):
        count = shared[part]
        if not count["images"]:
            continue
        numbers = f"{count['images']} image(s) of {count['patients']} patient(s)"
        if part == TEST:
            found.append(f"{numbers} {what}: they are not new.")
        elif shared["choice"] == "leave-out":
            found.append(f"{numbers} that {what} were found; these patients were left out.")
        else:
            found.append(f"{numbers} {what}: on them the figures are no validation.")
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
