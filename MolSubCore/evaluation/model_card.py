"""A model's card as a page: what it is for, what it was made of, how good and how well calibrated it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.external_page import ERROR_NOTE, cell, curves_figure, measure_rows, overall_rows
from MolSubCore.files import try_place, write_text
from MolSubCore.models.card import (
    calibration_note,
    card_rows,
    earlier,
    earlier_note,
    monai_metadata,
    patient_level,
    shares_note,
)
from MolSubCore.prediction.warnings import spacing_text
from MolSubCore.report.items import Table
from MolSubCore.report.page import environment, known, number
from MolSubCore.statistics.metrics import metric_title
from MolSubCore.tasks import get_task

Facts = list[tuple[str, str]]

#: Numbers of the plan that are shown.
_PLAN = ("epochs", "batch_size", "learning_rate", "weight_decay", "schedule", "dropout", "oversampling", "monitor",
         "patience", "pretrained", "precision", "seed")  # fmt: skip


def write_model_card(card: dict[str, Any], out: Path) -> Path:
    """Write a card as one page that needs nothing else; return its path.

    Parameters
    ----------
    card : dict
        From `MolSubCore.models.card.read_card`; what older bundles lack is said to be not recorded.
    out : Path
        The HTML file.
    """
    if os.path.lexists(out):
        raise MolSubError(out, "exists already", "Choose another name, or remove it")
    try_place(out)
    tables = (_metrics(card), _calibration(card), _thresholds(card), _recalibration(card))
    reports = _reports(card)
    figure = curves_figure(reports, bool(card.get("synthetic")), earlier(card)) if reports else None
    content = {
        "card": card,
        "task": get_task(card["task"]).title,
        "synthetic": bool(card.get("synthetic")),
        "metadata": monai_metadata(card),
        "use": _use(card),
        "recipe": [(name.replace("_", " "), _plain(value)) for name, value in card["recipe"].items()],
        "training": _training(card),
        "tables": {table.key: table for table in tables},
        "pictures": {"reliability": (figure, figure.uri())} if figure else {},
        "disclaimer": DISCLAIMER,
        "version": __version__,
    }
    write_text(out, environment().get_template("model_card.html").render(content), new=True)
    return out


def _plain(value: Any) -> str:
    """A setting for people."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _use(card: dict[str, Any]) -> Facts:
    return [
        *card_rows(card),
        ("Input", "mammograms of one patient with the lesion outlined by a person"),
        ("Output", "a probability for each class: of the mean over lesions and views, calibrated as said above"),
        ("Not for", "patients without an outlined lesion, tomosynthesis, screening, any decision about a patient"),
    ]


def _training(card: dict[str, Any]) -> Facts:
    training = card.get("training") or {}
    cohort, plan = training.get("cohort") or {}, training.get("plan") or {}
    counts = (f"{known(cohort.get(name))} {name}" for name in ("patients", "images", "lesions"))
    rows: Facts = [("Whole cohort", ", ".join(counts) if cohort else "not recorded")]
    rows += [
        (title, ", ".join(f"{each} {count}" for each, count in (cohort.get(key) or {}).items()) or "not recorded")
        for key, title in (("manufacturers", "Manufacturers"), ("views", "Views"),
                           ("presentation", "Presentation intent"), ("displays", "Display steps"),
                           ("spacing_sources", "Pixel spacing from"))
    ]  # fmt: skip
    rows.append(("Pixel spacing", spacing_text(cohort.get("spacing_mm"))))
    folds = ", ".join(map(str, training.get("folds") or ())) or "not recorded"
    rows.append(("Folds in the bundle", f"{folds} ({known(training.get('fold_choice'))})"))
    shown = [f"{name.replace('_', ' ')} {plan[name]}" for name in _PLAN if name in plan]
    rows.append(("Settings", ", ".join(shown) or "not recorded"))
    rows.append(("Hash of images, lesions and labels", str(known(plan.get("data_hash")))))
    return rows


def _reports(card: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Reports of the calibration that the card has, by their titles."""
    places = (("validation", "uncalibrated"), ("test", "uncalibrated"), ("validation", "calibration"),
              ("test", "calibration"))  # fmt: skip
    found = {(part, key): patient_level(card, part).get(key) for part, key in places}
    whole = any(found[part, "uncalibrated"] for part in ("validation", "test"))  # else of a bundle of before
    names = {"validation": "Validation", "test": "Test set"}
    when = {"uncalibrated": ", before", "calibration": ", calibrated" if whole else ""}
    return {f"{names[part]}{when[key]}": report for (part, key), report in found.items() if report}


def _metrics(card: dict[str, Any]) -> Table:
    title, parts = "Metrics per patient", [patient_level(card, part) for part in ("validation", "test")]
    names = list((parts[1] or parts[0]).get("metrics") or {})
    if not names:
        return Table("metrics", title, why="the bundle has none")
    validation, test = (part.get("metrics") or {} for part in parts)
    # Validation patients chose the epoch: an interval would claim what it cannot.
    rows = [(metric_title(name), cell(validation.get(name), ends=False), cell(test.get(name))) for name in names]
    counts = (
        f"{title} (n = {part.get('n', '?')})" for title, part in zip(("Validation", "Test set"), parts, strict=True)
    )
    note = "95 % CIs in brackets. Validation patients were used to choose the epoch: their figures are optimistic."
    if card.get("calibration"):
        note += " They were used to fit the calibration, too, which all but the AUC of two classes depend on."
    note = " ".join(filter(None, [note, earlier_note(card)]))
    return Table("metrics", title, note, ("", *counts), tuple(rows))


def _calibration(card: dict[str, Any]) -> Table:
    reports, fitted, title = _reports(card), card.get("calibration"), "Calibration per patient"
    if not reports:
        return Table("calibration", title, why="the bundle has none")
    rows: list[tuple[str, ...]] = []
    for name in next(iter(reports.values()))["classes"]:
        rows.append((f"{name} against the rest",))
        rows += measure_rows([report["classes"].get(name) for report in reports.values()])
    rows.append(("All together",))
    rows += overall_rows([report["overall"] for report in reports.values()])
    notes = [ERROR_NOTE] if "ece_expected" in next(iter(reports.values()))["overall"] else []
    if fitted:
        shift = ", ".join(f"{value:+.3f}" for value in fitted["intercepts"])
        notes.append(
            f"{calibration_note({'calibration': fitted})} Slope {fitted['slope']:.3f} of the log of a patient's "
            f"probabilities, intercepts of the classes {shift}. {shares_note(fitted)}"
        )
        if fitted["method"] != "prior" and fitted.get("fitted_on"):
            notes.append(f"Fitted on {fitted['fitted_on']}.")
    if earlier(card):
        notes.append(f"Of the probabilities {earlier(card)} below.")
    return Table("calibration", title, " ".join(notes), ("", "Ideal", *reports), tuple(rows))


def _thresholds(card: dict[str, Any]) -> Table:
    title, found = "Thresholds, chosen on validation", card.get("thresholds") or []
    if not found:
        return Table("thresholds", title, why="the bundle has none")
    rows = [(one["rule"].removesuffix(" on validation"), number(one["value"]), number(one["sensitivity"], 2),
             number(one["specificity"], 2), str(known(one.get("patients")))) for one in found]  # fmt: skip
    header = ("Rule", f"Threshold of {found[0]['positive']}", "Sensitivity", "Specificity", "Patients")
    note = (
        "Sensitivity and specificity are those on validation, where the threshold was chosen, and therefore optimistic."
    )
    if change := card.get("recalibration"):
        note = (
            "The thresholds were moved with the recalibration; sensitivity and specificity are those of its patients."
        )
        if not change.get("acts_on"):  # of before
            note = (
                "Thresholds were carried over to the recalibrated probabilities; what is beside them is of validation."
            )
    return Table("thresholds", title, note, header, tuple(rows))


def _recalibration(card: dict[str, Any]) -> Table:
    title, change = "Recalibration", card.get("recalibration")
    if not change:
        return Table("recalibration", title, why="none")
    judged = change.get("judged") or {}
    rows: list[tuple[str, ...]] = []
    for name in (judged.get("before") or {}).get("classes", ()):
        rows.append((f"{name} against the rest",))
        rows += measure_rows([judged[side]["classes"][name] for side in ("before", "after")])
    shift = ", ".join(f"{value:+.3f}" for value in change["intercepts"])
    note = (
        f"{change['method']}, fitted on {known(change.get('patients'))} patients ({known(change.get('fitted_on'))}): "
        f"slope {change['slope']:.3f}, intercepts {shift}; tested on {known(change.get('judged_on'))} others."
    )
    return Table("recalibration", title, note, ("", "Ideal", "Before", "After"), tuple(rows))
