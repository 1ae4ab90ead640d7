"""What a reader of a validation must know, in sentences."""

from __future__ import annotations

from typing import Any

from MolSubCore.evaluation.external_data import ExternalCohort
from MolSubCore.models.fingerprints import DEVELOPMENT, RECALIBRATION, TEST
from MolSubCore.prediction_warnings import unlike_spacing

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
