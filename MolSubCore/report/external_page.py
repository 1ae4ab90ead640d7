"""``evaluation.html``: the page of an external validation, with its tables and figures as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.characteristics import characteristics, patient_columns
from MolSubCore.evaluation.drift import MEASURES
from MolSubCore.evaluation.external import ExternalValidation
from MolSubCore.files import write_text
from MolSubCore.models.card import calibration_note
from MolSubCore.report.checklists import validation_checklist
from MolSubCore.report.external_figures import reliability_figure, subgroups_figure
from MolSubCore.report.external_tables import all_tables, cell
from MolSubCore.report.page import data_uri, environment, known
from MolSubCore.report.study_items import Picture, Table, joined
from MolSubCore.tasks import get_task, subtype_order

Facts = list[tuple[str, str]]

#: Parts of the page that are always there: anchor and title.
_SECTIONS = {
    "title": "Title",
    "question": "Question",
    "summary": "Summary",
    "methods-model": "Model",
    "methods-evaluation": "Evaluation",
    "evaluation": "Curves and confusion matrix",
    "software": "Software",
    "limitations": "Limitations",
}

#: Columns of the table that describe no patient.
_NOT_CLINICAL = frozenset({"laterality", "view", "synthetic"})

_LIMITS = (
    "What was found here holds for patients like these; another hospital is another question.",
    "Lesions were outlined by somebody: another reader's outlines give other probabilities.",
    "Subgroups were not chosen for their size: an interval that holds the value of all patients shows no difference, "
    "and no equality either.",
    "Heatmaps were not part of this validation (molsub explain-study tests them).",
)


def write_page(
    found: ExternalValidation, card: dict[str, Any], out: Path, *, identified: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:  # fmt: skip
    """Write ``OUT/results/*.csv, *.png, *.svg`` and ``OUT/evaluation.html``; return the path of the page.

    Parameters
    ----------
    found : ExternalValidation
        Whose ``evaluation.png`` is in `out`.
    card : dict
        The model bundle's.
    identified : bool
        Whether the patients' own ids may stand in ``results/predictions.csv``.
    """
    folder, result = out / "results", found.result
    folder.mkdir(parents=True, exist_ok=True)
    tables = [*all_tables(found, card, identified=identified), _characteristics(found)]
    for table in tables:
        if table.why:
            (folder / f"{table.key}.csv").unlink(missing_ok=True)
        else:
            table.write(folder)
    pictures = {}
    makers = (reliability_figure, subgroups_figure)
    for number, make in enumerate(makers, start=1):
        picture = make(result)
        pictures[picture.key] = (picture, picture.write(folder))
        if progress:
            progress(number, len(makers), picture.title)
    whole = Picture("evaluation", "Curves and confusion matrix", "All patients, the model as it came.", width=1100)
    pictures["evaluation"] = (whole, data_uri(out / "evaluation.png"))
    page = environment().get_template("evaluation.html").render(_content(result, card, tables, pictures))
    write_text(out / "evaluation.html", page)
    return out / "evaluation.html"


def _content(
    result: dict[str, Any], card: dict[str, Any], tables: list[Table], pictures: dict[str, tuple[Picture, str]]
) -> dict[str, Any]:
    titles = {table.key: table.title for table in tables} | {key: item.title for key, (item, _) in pictures.items()}
    made = {table.key for table in tables if not table.why} | set(pictures)
    present = _SECTIONS | {key: title for key, title in titles.items() if key in made}
    return {
        "result": result,
        "task": get_task(result["task"]).title,
        "synthetic": result["synthetic"],
        "question": _question(result),
        "cards": _cards(result),
        "tables": {table.key: table for table in tables},
        "pictures": pictures,
        "model": _model(result, card),
        "evaluation": _evaluation(result),
        "limitations": _LIMITS,
        "checklists": [validation_checklist(present, titles)],
        "disclaimer": DISCLAIMER,
        "version": __version__,
    }


def _question(result: dict[str, Any]) -> str:
    return (
        f"Does a model that was trained elsewhere ({get_task(result['task']).title}, from the mammogram before any "
        "tissue is taken) keep its discrimination and its calibration on this cohort? The model was evaluated, not "
        "developed: weights, preprocessing, class order and thresholds are those that came with it."
    )


def _cards(result: dict[str, Any]) -> list[dict[str, str]]:
    """The main figures: title, value, interval, and what they mean."""
    level = result["test"]["ensemble"]["patient"]
    name = "auc" if result["positive"] else "macro auc"
    metric = level["metrics"][name]
    who = f"{level['n_patients']} patients"
    if result["positive"]:
        who += f", {result['prevalence']['test']['patients'][result['positive']]} {result['positive']}"
    cards = [
        {"title": "AUC" if result["positive"] else "Macro AUC", **_value(metric), "who": who, "says": _chance(metric)}
    ]
    own = result["calibration_drift"]["here"]["classes"]
    if result["positive"]:
        part = own[result["positive"]]
        texts = {"slope": "1 is right; below 1 the probabilities are too extreme.",
                 "expected_observed": "1 is right; above 1 the class is predicted too often."}  # fmt: skip
        for measure, text in texts.items():
            title, _ = MEASURES[measure]
            cards.append({"title": title, **_value(part[measure]), "who": "as the model came", "says": text})
    else:
        metric = level["metrics"]["accuracy"]
        cards.append({"title": "Accuracy", **_value(metric), "who": who, "says": ""})
    return cards


def _value(metric: dict[str, Any]) -> dict[str, str]:
    if metric["value"] is None:
        return {"value": "–", "ends": cell(metric)}
    return {"value": f"{metric['value']:.2f}", "ends": f"95 % interval {metric['low']:.2f} to {metric['high']:.2f}"}


def _chance(metric: dict[str, Any]) -> str:
    if metric["value"] is None:
        return "One class only."
    if metric["low"] > 0.5:
        return "Better than chance: the interval lies above 0.5."
    return (
        "Worse than chance: the interval lies below 0.5."
        if metric["high"] < 0.5
        else ("Not told from chance: the interval holds 0.5.")
    )


def _model(result: dict[str, Any], card: dict[str, Any]) -> Facts:
    model, recipe = result["model"], card["recipe"]
    order = str(known(card.get("class_order_source")))
    return [
        ("Model", f"{known(model['name'])}, version {known(card.get('version'))}, made {known(model['created'])}"),
        ("Architecture", f"{model['architecture']}, {model['members']} member(s), mean of their probabilities"),
        ("Weights (SHA-256)", ", ".join(f"{digest[:16]}…" for digest in model["sha256"])),
        ("Classes, in the order of the logits", ", ".join(result["classes"])),
        ("Class order", order + ("" if card.get("class_order_verified") else " - NOT VERIFIED")),
        ("Positive class", result["positive"] or "none: each class against the rest"),
        ("Preprocessing", f"{recipe['name']}, margin {recipe['bound']:g} {recipe['bound_unit']} around the lesion"),
        ("Probabilities", calibration_note(card)),
        ("Missing input", "a row whose image or lesion cannot be read is left out, counted, and never guessed"),
    ]  # fmt: skip


def _evaluation(result: dict[str, Any]) -> Facts:
    bootstrap, fitted = result["bootstrap"], result["recalibration"]
    attributes = joined(dict.fromkeys(row["attribute"] for row in result["subgroups"]))
    change = "none; nothing was fitted on this cohort"
    if fitted:
        where = f"{fitted['patients']} patients with {fitted['fitted_on']}"
        change = f"{fitted['method']}, fitted on {where}, judged on the rest"
    return [
        ("Outcome", "the class of the molecular subtype in the cohort table"),
        ("Unit of analysis", "the patient: the mean of the probabilities of all its lesions and views"),
        ("Classification", f"{result['threshold']}; other thresholds are those chosen on the training's validation"),
        ("Intervals", "95 %; AUC and macro means: logit scale, bootstrap over patients within class "
                      f"({bootstrap['resamples']} resamples); shares: Wilson; slope and intercept: Wald"),
        ("Calibration", "Brier score, slope, intercept, expected / observed, reliability; beside the training's"),
        ("Subgroups", attributes),
        ("Recalibration", change),
    ]  # fmt: skip


def _characteristics(found: ExternalValidation) -> Table:
    """Characteristics of the patients by subtype, of the columns that the table has."""
    title = "Characteristics of the patients by subtype"
    cases, columns = patient_columns(found.external.cohort)
    columns = {name: cells for name, cells in columns.items() if name not in _NOT_CLINICAL}
    group = [case.subtype.value if case.subtype else "" for case in cases]
    present = [label.value for label in subtype_order(case.subtype for case in cases if case.subtype)]
    try:
        order = [name for name in present if name in group]
        rows = characteristics(group, columns, order=order).table() if columns else []
    except MolSubError as error:
        return Table("table-1", title, why=error.problem)
    if len(rows) < 2:
        return Table("table-1", title, why="the cohort table has no columns to describe")
    header, *body = rows
    note = "Missing values are counted and left out of the tests. P-values are not corrected for the number of rows."
    records = [dict(zip(header, row, strict=True)) for row in body]
    return Table("table-1", title, note, tuple(header), tuple(map(tuple, body)), records=records)
