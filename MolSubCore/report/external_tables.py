"""Tables of an external validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from MolSubCore.evaluation.drift import MEASURES
from MolSubCore.evaluation.external import ExternalValidation
from MolSubCore.evaluation.metrics import metric_title
from MolSubCore.evaluation.subgroups import LEAST, VIEW
from MolSubCore.models.card import dated, patient_level
from MolSubCore.report.page import interval, number
from MolSubCore.report.study_items import Record, Table

_NONE, _ENDS = "not recorded", ("value", "low", "high")
_KINDS = (("manufacturers", "Manufacturer"), ("views", "View"), ("presentation", "Presentation intent"),
          ("spacing_sources", "Pixel spacing from"))  # fmt: skip


def all_tables(found: ExternalValidation, card: dict[str, Any], *, identified: bool = False) -> list[Table]:
    """Every table, and the predictions, which are a csv alone."""
    result = found.result
    return [
        flow_table(result),
        cohorts_table(result),
        performance_table(result, card),
        drift_table(result),
        thresholds_table(result),
        subgroups_table(result),
        recalibration_table(result),
        predictions_table(found, identified=identified),
    ]


def cell(metric: dict[str, Any] | None, digits: int = 2) -> str:
    """A metric of an evaluation for people."""
    if metric is None:
        return _NONE
    if metric["value"] is None:
        return str(metric.get("why", "undefined")).partition(":")[0]
    low, high = metric.get("low"), metric.get("high")
    return (
        f"{metric['value']:.{digits}f}" if low is None or high is None else interval(metric["value"], low, high, digits)
    )


def measure_rows(parts: Sequence[Mapping[str, Any] | None], absent: str = _NONE) -> list[tuple[str, ...]]:
    """Rows of `MEASURES` of one class: the measure, what is right, and a cell of each part, or `absent`."""
    return [
        (title, f"{right:g}", *(cell(part.get(measure)) if part else absent for part in parts))
        for measure, (title, right) in MEASURES.items()
    ]


def _measure_records(name: str, parts: Mapping[str, Mapping[str, Any] | None]) -> list[Record]:
    """Records of `MEASURES` of one class, for each part that there is."""
    return [
        {"class": name, "part": key, "measure": measure, **{end: part[measure][end] for end in _ENDS}}
        for measure in MEASURES
        for key, part in parts.items()
        if part
    ]


def flow_table(result: dict[str, Any]) -> Table:
    """Rows and patients from the table to the analysis."""
    flow = result["flow"]
    rows = [("Cohort table", str(flow["table"]["rows"]), str(flow["table"]["patients"]))]
    rows += [
        (f"  left out: {reason}", str(part["rows"]), str(part["patients"])) for reason, part in flow["left_out"].items()
    ]
    rows.append(("Analysed", str(flow["used"]["rows"]), str(flow["used"]["patients"])))
    header = ("", "Rows (images)", "Patients")
    records = [dict(zip(("step", "rows", "patients"), (row[0].strip(), *row[1:]), strict=True)) for row in rows]
    note = (
        "Patients that are left out are those of whom no row is left, each under one reason: the first that holds for "
        "one of their rows. The rows themselves are in evaluation.json."
    )
    return Table("flow", "Flow of rows and patients", note, header, tuple(rows), records=records)


def cohorts_table(result: dict[str, Any]) -> Table:
    """This cohort beside that of the training."""
    here, training = result["cohort"]["here"], result["cohort"]["training"]
    rows: list[tuple[str, ...]] = [("Patients, images, lesions",)]
    rows += [
        (name.capitalize(), _text(training.get(name)), str(here[name])) for name in ("patients", "images", "lesions")
    ]
    rows.append(("Patients by class (training: its test set, and validation)",))
    own = result["prevalence"]["training"]
    for name, count in result["prevalence"]["test"]["patients"].items():
        total = sum(result["prevalence"]["test"]["patients"].values())
        rows.append((f"  {name}", _prevalences(own, name), f"{count} ({100 * count / max(total, 1):.0f} %)"))
    for key, title in _KINDS:
        rows.append((f"{title}, lesions",))
        names = dict.fromkeys([*(training.get(key) or {}), *here[key]])
        rows += [(f"  {n}", _text((training.get(key) or {}).get(n, 0) if training else None), str(here[key].get(n, 0)))
                 for n in names]  # fmt: skip
    records: list[Record] = [
        {"what": row[0].strip(), "training": row[1], "here": row[2]} for row in rows if len(row) == 3
    ]
    note = "A model may do worse on devices, views and mixtures of classes that its training did not have."
    header = ("", "Training cohort", "Here")
    return Table("cohorts", "This cohort and that of the training", note, header, tuple(rows), records=records)


def _prevalences(own: dict[str, Any], name: str) -> str:
    parts = []
    for part in ("test", "validation"):
        counts = (own.get(part) or {}).get("patients") or {}
        if sum(counts.values()):
            parts.append(f"{counts.get(name, 0)} ({100 * counts.get(name, 0) / sum(counts.values()):.0f} %)")
    return ", ".join(parts) or _NONE


def _text(value: Any) -> str:
    return _NONE if value is None else str(value)


def performance_table(result: dict[str, Any], card: dict[str, Any]) -> Table:
    """Metrics here, beside those of the model's own test set."""
    here = result["test"]["ensemble"]
    own = patient_level(card, "test")
    rows, records = [], []
    for name, metric in here["patient"]["metrics"].items():
        before = (own.get("metrics") or {}).get(name)
        cells = (cell(metric), cell(here["image"]["metrics"][name]), cell(before))
        rows.append((metric_title(name), *cells))
        for unit, part in (("here, patient", metric), ("here, image", here["image"]["metrics"][name]),
                           (dated(card, "own test set, patient"), before)):  # fmt: skip
            if part:
                ends = {key: part[key] for key in _ENDS}
                records.append({"metric": name, "part": unit, **ends})
    header = ("", f"Per patient (n={here['patient']['n']})", f"Per image (n={here['image']['n']})",
              f"Per patient (n={own.get('n', '?')})")  # fmt: skip
    note = (
        "95 % intervals in brackets. A patient's probabilities are the means over lesions and views. "
        f"Called by {result['threshold']}; the thresholds of the training are below."
    )
    groups = (("", 1), ("Here", 2), (dated(card, "The model's own test set"), 1))
    return Table("performance", "Performance", note, header, tuple(rows), groups, records=records)


def drift_table(result: dict[str, Any]) -> Table:
    """Calibration in the training's validation and test set, and here."""
    drift = result["calibration_drift"]
    parts = [("validation", "Validation"), ("test", "Own test set"), ("here", "Here")]
    absent = "not comparable" if drift["why"] else _NONE
    rows: list[tuple[str, ...]] = []
    records: list[Record] = []
    for name in drift["here"]["classes"]:
        if len(drift["here"]["classes"]) > 1:
            rows.append((f"{name} against the rest",))
        own = {key: ((drift[key] or {}).get("classes") or {}).get(name) for key, _ in parts}
        counts = [f"{part['observed']} of {part['patients']}" if part else absent for part in own.values()]
        rows.append(("Patients of the class", "", *counts))
        rows += measure_rows(list(own.values()), absent)
        records += _measure_records(name, own)
    rows.append(("All together" if len(drift["here"]["classes"]) > 1 else "Further measures",))
    for measure, title in (("log_loss", "Log loss"), ("ece", "Expected calibration error")):
        values = [number(drift[key]["overall"][measure]) if drift[key] else absent for key, _ in parts]
        rows.append((title, "0", *values))
    header = ("", "Right is", *(title for _, title in parts))
    note = (
        "Slope below 1: the probabilities are too extreme; intercept above 0: too low on average; expected / observed "
        "above 1: the class is predicted more often than it is there. Validation: patients that the fold's model did "
        "not train on, but by whom its best epoch was chosen."
    )
    if drift["why"]:
        note += f" {drift['why']}"
    return Table("calibration-drift", "Calibration, in the training and here", note, header, tuple(rows),
                 records=records)  # fmt: skip


def thresholds_table(result: dict[str, Any]) -> Table:
    """What the training's thresholds give here."""
    title = "Thresholds of the training, applied here"
    if not result["thresholds"]:
        why = "the model came without any" if result["positive"] else "the task has no positive class"
        return Table("thresholds", title, why=why)
    names = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
    rows, records = [], []
    for one in result["thresholds"]:
        chosen = f"{one['sensitivity']:.2f} / {one['specificity']:.2f}"
        rows.append((one["rule"].removesuffix(" on validation"), number(one["value"]), chosen,
                     *(cell(one["here"][name]) for name in names)))  # fmt: skip
        records += [
            {"rule": one["rule"], "threshold": one["value"], "validation sensitivity": one["sensitivity"],
             "validation specificity": one["specificity"], "metric": name,
             **{key: one["here"][name][key] for key in _ENDS}}
            for name in names
        ]  # fmt: skip
    header = ("Rule", "Threshold", "sensitivity / specificity", "Sensitivity", "Specificity", "PPV", "NPV", "Accuracy")
    groups = (("", 2), ("Validation (chosen there)", 1), ("Here, with Wilson's 95 % intervals", 5))
    note = f"Called {result['positive']} when the probability is the threshold or more. None was chosen on this cohort."
    if any("before_recalibration" in one for one in result["thresholds"]):
        note += " They were carried over to the recalibrated probabilities."
    return Table("thresholds", title, note, header, tuple(rows), groups, records=records)


def subgroups_table(result: dict[str, Any]) -> Table:
    """Every subgroup with its numbers and metrics."""
    rows: list[tuple[str, ...]] = []
    records: list[Record] = []
    shown = list(result["subgroups"][0]["metrics"]) if result["subgroups"] else []
    for attribute in dict.fromkeys(row["attribute"] for row in result["subgroups"]):
        rows.append((_heading(attribute),))
        for row in (one for one in result["subgroups"] if one["attribute"] == attribute):
            rows.append((f"  {row['level']}", str(row["patients"]), _counts(row, result["positive"]),
                         *(cell(row["metrics"][name]) for name in shown)))  # fmt: skip
            records.append(_subgroup_record(row))
    of = result["positive"] or "each class"
    header = ("", "Patients", f"Of {of}", *(_title(name) for name in shown))
    note = (
        f"Per patient; 95 % intervals. Not estimable: fewer than {LEAST} patients, or fewer than {LEAST} of a class "
        "that the measure rests on. Intervals are not corrected for the number of subgroups; one that does worse "
        "than another may do so by chance. Within a view a patient's prediction is that of this view alone."
    )
    return Table("subgroups", "Subgroups", note, header, tuple(rows), records=records)


def _title(name: str) -> str:
    return MEASURES[name][0] if name in MEASURES else _raised(metric_title(name))


def _raised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _heading(attribute: str) -> str:
    if attribute == VIEW:
        return "View (each patient by the images of this view)"
    return {"lesion size": "Lesion size (larger side of the largest lesion's box)"}.get(attribute, _raised(attribute))


def _counts(row: dict[str, Any], positive: str | None) -> str:
    return str(row["classes"][positive]) if positive else " / ".join(map(str, row["classes"].values()))


def _subgroup_record(row: dict[str, Any]) -> Record:
    record: dict[str, Any] = {key: row[key] for key in ("attribute", "level", "patients", "images")}
    record |= {f"patients of {name}": count for name, count in row["classes"].items()}
    for name, metric in row["metrics"].items():
        record |= {name: metric["value"], f"{name} low": metric["low"], f"{name} high": metric["high"]}
        record[f"{name} note"] = metric.get("why", "") if metric["value"] is None else ""
    return record


def recalibration_table(result: dict[str, Any]) -> Table:
    """Before and after the recalibration, on the patients it was not fitted on."""
    title, fitted = "Recalibration, judged on the patients it was not fitted on", result["recalibration"]
    if fitted is None:
        return Table("recalibration", title, why="none was asked for (--recalibrate-on)")
    sides = fitted["before"], fitted["after"]
    rows: list[tuple[str, ...]] = []
    records: list[Record] = []
    for name in fitted["before"]["calibration"]["classes"]:
        rows.append((f"{name} against the rest",))
        parts = {label: fitted[label]["calibration"]["classes"][name] for label in ("before", "after")}
        rows += measure_rows(list(parts.values()))
        records += _measure_records(name, parts)
    rows.append(("All together",))
    for measure, text in (("brier", "Brier score"), ("log_loss", "Log loss"), ("ece", "Expected calibration error")):
        rows.append((text, "0", *(number(side["calibration"]["overall"][measure]) for side in sides)))
    for name in _main(fitted["before"]["metrics"]):
        rows.append((_title(name), "", *(cell(side["metrics"][name]) for side in sides)))
    header = ("", "Right is", "As the model came", "Recalibrated")
    shift = ", ".join(f"{value:+.3f}" for value in fitted["intercepts"])
    note = (
        f"Fitted ({fitted['method']}) on {fitted['patients']} patients with {fitted['fitted_on']}: slope "
        f"{fitted['slope']:.3f} of the log probabilities, intercepts of the classes {shift}. Judged on the other "
        f"{fitted['judged_on']} patients; none of them had a part in it."
    )
    return Table("recalibration", title, note, header, tuple(rows), records=records)


def _main(names: Iterable[str]) -> list[str]:
    return [name for name in names if name in ("auc", "macro auc", "accuracy", "sensitivity", "specificity")]


def predictions_table(found: ExternalValidation, *, identified: bool) -> Table:
    """One record per patient: subgroups, the class, and the probabilities as the model came and recalibrated."""
    cases, patients = found.external.cases_of(), found.scores.per_patient()
    classes, after = found.result["classes"], {}
    if found.recalibration:
        changed = found.judged[1].per_patient()
        after = dict(zip(map(str, changed.unit), changed.probabilities.tolist(), strict=True))
    records: list[Record] = []
    for place, (name, unit) in enumerate(zip(map(str, patients.patient), map(str, patients.unit), strict=True)):
        record: dict[str, Any] = {"study_id": name, "rows": " ".join(str(case.row) for case in cases[name])}
        if identified:
            record["patient_id"] = cases[name][0].patient_id
        if patients.breast is not None:
            record["breast"] = unit.removeprefix(name).removeprefix("/")
        record["class"] = classes[patients.label[place]]
        if found.recalibration:
            record["part"] = "judged" if unit in after else "recalibration was fitted on it"
        record |= {f"p:{cls}": p for cls, p in zip(classes, patients.probabilities[place].tolist(), strict=True)}
        record |= {f"recalibrated p:{cls}": p for cls, p in zip(classes, after.get(unit, ()), strict=False)}
        records.append(record | {f"group:{key}": levels[name] for key, levels in found.levels.items()})
    return Table("predictions", "Predictions", records=records)
