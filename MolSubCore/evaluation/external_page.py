"""Tables of an external validation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from MolSubCore import DISCLAIMER, __version__
from MolSubCore.cohort.levels import SIZE, VIEW
from MolSubCore.cohort.table_files import NA_WORDS
from MolSubCore.errors import MolSubError, counted
from MolSubCore.evaluation.characteristics import characteristics, p_text, patient_columns
from MolSubCore.evaluation.drift import MEASURES
from MolSubCore.evaluation.evaluate import unit_of
from MolSubCore.evaluation.external import ExternalValidation
from MolSubCore.evaluation.figures import COLOURS
from MolSubCore.evaluation.subgroups import LEAST
from MolSubCore.files import remove_stale, set_aside_changed, write_text
from MolSubCore.models.card import calibration_note, dated, patient_level
from MolSubCore.report.checklists import validation_checklist
from MolSubCore.report.items import Picture, Record, Table, joined, new_figure
from MolSubCore.report.page import chance_text, data_uri, environment, estimated, interval, known, number
from MolSubCore.statistics.metrics import metric_title, over_classes
from MolSubCore.tasks import get_task, subtype_order

_GREY = "#8a93a0"
_STYLES = {"validation": (_GREY, "s--", "validation of the training"), "test": (COLOURS[3], "^--", "own test set"),
           "here": (COLOURS[0], "o-", "here")}  # fmt: skip


def reliability_figure(result: dict[str, Any]) -> Picture:
    """Predicted and observed shares: in the training and here, and before and after the recalibration."""
    title, fitted = "Reliability", result["recalibration"]
    figure = new_figure(9.8 if fitted else 5.4, 5.7, title, synthetic=result["synthetic"])
    axes = figure.subplots(1, 2 if fitted else 1, squeeze=False)[0]
    drift = result["calibration_drift"]
    for key, (colour, line, label) in _STYLES.items():
        if drift[key]:
            plot_reliability(axes[0], drift[key]["overall"], colour, line, label)
    dress_reliability(axes[0], "All patients, model as received", drift["here"]["overall"]["of"])
    if fitted:
        for key, colour, label in (("before", _GREY, "as received"), ("after", COLOURS[1], "recalibrated")):
            plot_reliability(axes[1], fitted[key]["calibration"]["overall"], colour, "o-", label)
        text = f"{fitted['judged_on']} patients without {fitted['fitted_on']}"
        dress_reliability(axes[1], text, drift["here"]["overall"]["of"])
    caption = f"Patients in {drift['here']['overall']['binning']}; bars are Wilson's 95 % CIs of the observed share."
    return Picture("reliability", title, caption, figure, width=1000 if fitted else 560)


def curves_figure(reports: dict[str, dict[str, Any]], synthetic: bool, earlier: str = "") -> Picture:
    """Predicted and observed shares in reports by their titles; `earlier` tells what came after them."""
    figure = new_figure(5.4, 5.7, "Reliability", synthetic=synthetic)
    axes, of = figure.subplots(), ""
    for place, (title, part) in enumerate(reports.items()):
        plot_reliability(axes, part["overall"], (_GREY, *COLOURS)[place], "o-", title)
        of = part["overall"]["of"]
    when = f", {earlier}" if earlier else ""
    dress_reliability(axes, f"Per patient{when}", of)
    caption = f"Patients in bins of equal numbers{when}; bars are Wilson's 95 % CIs of the observed share."
    return Picture("reliability", "Reliability", caption, figure, width=560)


def plot_reliability(axes: Axes, part: dict[str, Any], colour: str, line: str, label: str) -> None:
    """Draw the points of a reliability figure, from a `Calibration` as JSON."""
    spots = part["bins"]
    spread = [[p["observed"] - p["low"] for p in spots], [p["high"] - p["observed"] for p in spots]]
    where = [p["predicted"] for p in spots], [p["observed"] for p in spots]
    faint = {"elinewidth": 1.0, "capsize": 2, "markersize": 5, "linewidth": 1.5}
    text = f"{label}: Brier {part['brier']:.3f}, n={part['patients']}"
    axes.errorbar(*where, yerr=spread, fmt=line, color=colour, label=text, **faint)  # type: ignore[arg-type]


def dress_reliability(axes: Axes, title: str, of: str) -> None:
    """Diagonal, titles and limits of a reliability figure."""
    axes.plot([0, 1], [0, 1], color="#c4cad2", linewidth=1, linestyle="--", zorder=0)
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", ylabel="observed share")
    axes.set_xlabel(f"predicted probability, {of}")
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    axes.spines[["top", "right"]].set_visible(False)


def subgroups_figure(
    result: dict[str, Any], key: str = "subgroups-figure", title: str = "{measure} by subgroup"
) -> Picture:
    """AUC of every subgroup with its interval, beside that of all patients.

    Parameters
    ----------
    result : dict
        ``subgroups``, ``positive``, ``synthetic`` and the level of patients, as in an ``evaluation.json``.
    key : str
    title : str
        With the measure in the place of ``{measure}``.
    """
    name, measure = ("auc", "AUC") if result["positive"] else ("macro auc", "Macro AUC")
    title = title.format(measure=measure)
    whole, lines = result["test"]["ensemble"]["patient"]["metrics"][name], _lines(result, name)
    figure = new_figure(8.6, 1.6 + 0.27 * len(lines), title, synthetic=result["synthetic"])
    axes = figure.subplots()
    if whole["value"] is not None:
        axes.axvspan(whole["low"], whole["high"], color=COLOURS[0], alpha=0.10, linewidth=0)
        axes.axvline(whole["value"], color=COLOURS[0], linewidth=1.2)
    axes.axvline(0.5, color="#c4cad2", linewidth=1, linestyle="--")
    for place, (_, metric, bold) in enumerate(lines):
        if metric is None:
            continue
        if metric["value"] is None:
            axes.text(0.01, place, "not estimable", va="center", fontsize=8.5, color=_GREY)
            continue
        colour = COLOURS[0] if bold else "#333a45"
        axes.plot([metric["low"], metric["high"]], [place, place], color=colour, linewidth=2.2, alpha=0.6)
        axes.plot(metric["value"], place, "D" if bold else "o", color=colour, markersize=6)
    axes.set_yticks(range(len(lines)), [text for text, _, _ in lines], fontsize=9)
    for label, (_, metric, bold) in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if bold or metric is None else "normal")
    axes.set(xlim=(0, 1), ylim=(len(lines) - 0.4, -0.6), xlabel=f"{measure}, 95 % CI")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    caption = "The line and the band are all patients and their interval; 0.5 is chance."
    return Picture(key, title, caption, figure, width=860)


def _lines(result: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any] | None, bool]]:
    level = result["test"]["ensemble"]["patient"]
    lines: list[tuple[str, dict[str, Any] | None, bool]] = [
        (f"All patients (n={level['n']})", level["metrics"][name], True)
    ]
    for attribute in dict.fromkeys(row["attribute"] for row in result["subgroups"]):
        lines.append((attribute[:1].upper() + attribute[1:], None, False))
        own = [row for row in result["subgroups"] if row["attribute"] == attribute]
        lines += [(f"{row['level']} (n={row['patients']})", row["metrics"][name], False) for row in own]
    return lines


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


def cell(metric: dict[str, Any] | None, digits: int = 2, *, ends: bool = True) -> str:
    """A metric of an evaluation for people."""
    if metric is None:
        return _NONE
    if metric["value"] is None:
        return str(metric.get("why", "undefined")).partition(":")[0]
    return estimated(metric, digits, ends=ends)


def measure_rows(parts: Sequence[Mapping[str, Any] | None], absent: str = _NONE) -> list[tuple[str, ...]]:
    """Rows of `MEASURES` of one class: the measure, what is right, and a cell of each part, or `absent`."""
    return [
        (title, f"{right:g}", *(cell(part.get(measure)) if part else absent for part in parts))
        for measure, (title, right) in MEASURES.items()
    ]


def overall_rows(parts: Sequence[Mapping[str, Any] | None], absent: str = _NONE) -> list[tuple[str, ...]]:
    """Rows of log loss and calibration error, from `Calibration` as JSON; Brier's score of all classes, too."""
    texts = [
        ("Brier score", lambda part: number(part["brier"]) if part["of"] == "likeliest class" else ""),
        ("Log loss", lambda part: number(part["log_loss"]) if "log_loss" in part else _NONE),
        ("Calibration error", _error_text),
    ]
    rows = [(title, "0", *(text(part) if part else absent for part in parts)) for title, text in texts]
    return [row for row in rows if any(row[2:])]


#: What stands beside every calibration error.
ERROR_NOTE = "Calibration error: behind it what a model with right probabilities would have with as many patients."


def _error_text(part: Mapping[str, Any]) -> str:
    """A calibration error, never alone: with its interval and what right probabilities would have."""
    if "ece_expected" not in part:  # of a bundle of before
        return number(part["ece"]) if "ece" in part else _NONE
    low, high = part.get("ece_low"), part.get("ece_high")
    value = number(part["ece"]) if low is None or high is None else interval(part["ece"], low, high, 2)
    return f"{value}; {part['ece_expected']:.2f} if all were right"


def measure_records(name: str, parts: Mapping[str, Mapping[str, Any] | None]) -> list[Record]:
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
        "A patient is left out if none of its rows remains, and is counted once, under the first reason that applies. "
        "The rows themselves are in evaluation.json."
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
    note = "A model may do worse on devices, views and class mixtures that its training did not have."
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
                records.append({"metric": name, "part": unit, **ends, "classes": part.get("classes")})
    unit = unit_of(here["patient"])
    header = ("", f"Per {unit} (n={here['patient']['n']})", f"Per image (n={here['image']['n']})",
              f"Per patient (n={own.get('n', '?')})")  # fmt: skip
    note = (
        f"95 % CIs in brackets. A {unit}'s probabilities are the means over lesions and views. "
        f"{result['probabilities']} "
        f"Called by {result['threshold']}; the thresholds of the training are below."
    )
    groups = (("", 1), ("Here", 2), (dated(card, "The model's own test set"), 1))
    return Table("performance", "Performance", note, header, tuple(rows), groups, records=records)


def drift_table(result: dict[str, Any]) -> Table:
    """Calibration in the training's validation and test set, and here."""
    drift = result["calibration_drift"]
    titles = {"validation": "Validation", "test": "Own test set", "here": "Here"}
    # Bundles of before have the calibration of their validation, which no calibration was fitted on.
    parts = [(key, title) for key, title in titles.items() if drift[key] or key == "test"]
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
        records += measure_records(name, own)
    rows.append(("All together" if len(drift["here"]["classes"]) > 1 else "Further measures",))
    rows += overall_rows([(drift[key] or {}).get("overall") for key, _ in parts], absent)
    header = ("", "Ideal", *(title for _, title in parts))
    note = (
        "Slope below 1: the probabilities are too extreme; intercept above 0: too low on average; expected / observed "
        f"above 1: the class is predicted more often than it is there. {ERROR_NOTE}"
    )
    if drift["validation"]:
        note += " Validation: patients that the fold's model did not train on, but by whom its best epoch was chosen."
    if drift["why"]:
        note += f" {drift['why']}"
    return Table("calibration-drift", "Calibration, in the training and here", note, header, tuple(rows),
                 records=records)  # fmt: skip


def thresholds_table(result: dict[str, Any]) -> Table:
    """What the training's thresholds give here."""
    title = "Thresholds of the training, applied here"
    if not result["thresholds"]:
        why = "the model has none" if result["positive"] else "the task has no positive class"
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
    groups = (("", 2), ("Validation (chosen there)", 1), ("Here, with Wilson's 95 % CIs", 5))
    note = f"{result['positive']} is called at the threshold or above. None was chosen on this cohort."
    if any("before_recalibration" in one for one in result["thresholds"]):
        note += " They were moved with the recalibration; what is beside them is of the patients it was fitted on."
    return Table("thresholds", title, note, header, tuple(rows), groups, records=records)


def subgroups_table(
    result: dict[str, Any], key: str = "subgroups", title: str = "Subgroups", *, elsewhere: str = ""
) -> Table:
    """Every subgroup with its numbers and metrics, and the test of each attribute.

    Parameters
    ----------
    result : dict
        ``subgroups``, ``interactions`` (tests, adjusted) and ``positive``, as in an ``evaluation.json``.
    key, title : str
    elsewhere : str
        Which tests p-values were adjusted for beside those of this table.
    """
    rows: list[tuple[str, ...]] = []
    records: list[Record] = []
    shown = list(result["subgroups"][0]["metrics"]) if result["subgroups"] else []
    tests = {test["attribute"]: test for test in result["interactions"]}
    for attribute in dict.fromkeys(row["attribute"] for row in result["subgroups"]):
        rows.append((f"{_heading(attribute)}. {_test_text(tests[attribute])}",))
        for row in (one for one in result["subgroups"] if one["attribute"] == attribute):
            rows.append((f"  {row['level']}", str(row["patients"]), _counts(row, result["positive"]),
                         *(cell(row["metrics"][name]) for name in shown)))  # fmt: skip
            records.append(_subgroup_record(row, tests[attribute]))
    of = result["positive"] or "each class"
    header = ("", "Patients", f"Of {of}", *(_title(name) for name in shown))
    made = sum(test["p"] is not None for test in tests.values())
    family = elsewhere or f"the {counted(made, 'test')} of this table"
    note = (
        f"Per patient; 95 % CIs. Not estimable: fewer than {LEAST} patients, or fewer than {LEAST} of a class "
        "that the measure rests on. Intervals are not corrected for the number of subgroups; one that does worse "
        "than another may do so by chance. Within a view a patient's prediction is that of this view alone.\n"
        f"Tests: whether the AUC is the same at all levels with {LEAST} patients of each class; levels are dealt out "
        "among patients of the same class (permutation), CC and MLO are compared on the patients who have both "
        f"(paired). They were not planned. Adjusted: by Holm over {family}. A difference that is not shown is not "
        "sameness: so few patients show large differences only."
    )
    return Table(key, title, note, header, tuple(rows), records=records)


def _test_text(test: dict[str, Any]) -> str:
    if test["p"] is None:
        return f"No test: {test['why']}"
    over = " and ".join(test["levels"]) if len(test["levels"]) == 2 else f"{len(test['levels'])} levels"
    return (
        f"Same AUC ({over}; {counted(test['patients'], 'patient')}): p {p_text(test['p'])}, adjusted "
        f"{p_text(test['p_adjusted'])} ({test['method'].partition(', ')[0]})"
    )


def _title(name: str) -> str:
    return MEASURES[name][0] if name in MEASURES else _raised(metric_title(name))


def _raised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _heading(attribute: str) -> str:
    if attribute == VIEW:
        return "View (each patient by the images of this view)"
    return "Lesion size (larger side of the largest lesion's box)" if attribute == SIZE else _raised(attribute)


def _counts(row: dict[str, Any], positive: str | None) -> str:
    return str(row["classes"][positive]) if positive else " / ".join(map(str, row["classes"].values()))


def _subgroup_record(row: dict[str, Any], test: dict[str, Any]) -> Record:
    record: dict[str, Any] = {key: row[key] for key in ("attribute", "level", "patients", "images")}
    record |= {f"patients of {name}": count for name, count in row["classes"].items()}
    for name, metric in row["metrics"].items():
        record |= {name: metric["value"], f"{name} low": metric["low"], f"{name} high": metric["high"]}
        record[f"{name} note"] = metric.get("why", "") if metric["value"] is None else ""
    compared = row["level"] in test["levels"] and test["p"] is not None
    record |= {"tested": compared, "test p": test["p"], "test p adjusted": test["p_adjusted"]}
    return record | {"test method": test["method"], "test note": test["why"]}


def recalibration_table(result: dict[str, Any]) -> Table:
    """Before and after the recalibration, on the patients it was not fitted on."""
    title, fitted = "Recalibration, tested on patients not used to fit it", result["recalibration"]
    if fitted is None:
        return Table("recalibration", title, why="none was asked for (--recalibrate-on)")
    sides = fitted["before"], fitted["after"]
    rows: list[tuple[str, ...]] = []
    records: list[Record] = []
    for name in fitted["before"]["calibration"]["classes"]:
        rows.append((f"{name} against the rest",))
        parts = {label: fitted[label]["calibration"]["classes"][name] for label in ("before", "after")}
        rows += measure_rows(list(parts.values()))
        records += measure_records(name, parts)
    rows.append(("All together",))
    rows += overall_rows([side["calibration"]["overall"] for side in sides])
    for name in _main(fitted["before"]["metrics"]):
        rows.append((_title(name), "", *(cell(side["metrics"][name]) for side in sides)))
    header = ("", "Ideal", "As received", "Recalibrated")
    shift = ", ".join(f"{value:+.3f}" for value in fitted["intercepts"])
    note = (
        f"Fitted ({fitted['method']}) on {fitted['patients']} patients with {fitted['fitted_on']}: slope "
        f"{fitted['slope']:.3f} of the log of a patient's probabilities, intercepts of the classes {shift}. Tested on "
        f"the other {fitted['judged_on']} patients, none of whom was used to fit it. {ERROR_NOTE}"
    )
    return Table("recalibration", title, note, header, tuple(rows), records=records)


def _main(names: Iterable[str]) -> list[str]:
    return [name for name in names if name in ("auc", "macro auc", "accuracy", "sensitivity", "specificity")]


def predictions_table(found: ExternalValidation, *, identified: bool) -> Table:
    """One record per patient: subgroups, the class, and the probabilities as received and recalibrated."""
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
    "What was found here holds for patients like these; performance at other hospitals is not known.",
    "Lesions were outlined by a person: another reader's outlines give other probabilities.",
    "Subgroups were not chosen for their size: an interval that includes the value of all patients shows neither a "
    "difference nor equality.",
    "Heatmaps were not part of this validation (molsub explain-study tests them).",
)


def write_page(
    found: ExternalValidation, card: dict[str, Any], out: Path, *, identified: bool = False,
    missing: Collection[str] = NA_WORDS, progress: Callable[[int, int, str], None] | None = None,
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
    missing : collection of str
        Words for a missing value in clinical columns.
    """
    folder, result = out / "results", found.result
    folder.mkdir(parents=True, exist_ok=True)
    set_aside_changed(folder, ".csv")
    tables = [*all_tables(found, card, identified=identified), _characteristics(found, missing)]
    made = [table for table in tables if not table.why]
    for table in made:
        table.write(folder)
    remove_stale(folder, {f"{table.key}.csv" for table in made}, (".csv",))
    pictures = {}
    makers = (reliability_figure, subgroups_figure)
    for count, make in enumerate(makers, start=1):
        picture = make(result)
        pictures[picture.key] = (picture, picture.write(folder))
        if progress:
            progress(count, len(makers), picture.title)
    whole = Picture("evaluation", "Curves and confusion matrix", "All patients, model as received.", width=1100)
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
        f"Does a model that was trained elsewhere ({get_task(result['task']).title}, from the mammogram before "
        "biopsy) keep its discrimination and its calibration on this cohort? The model was evaluated, not "
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
    who += over_classes(metric)
    says = chance_text(metric, result["prevalence"]["test"]["patients"])
    cards = [{"title": "AUC" if result["positive"] else "Macro AUC", **_value(metric), "who": who, "says": says}]
    own = result["calibration_drift"]["here"]["classes"]
    if result["positive"]:
        part = own[result["positive"]]
        texts = {"slope": "Ideal is 1; below 1 the probabilities are too extreme.",
                 "expected_observed": "Ideal is 1; above 1 the class is predicted too often."}  # fmt: skip
        for measure, text in texts.items():
            title, _ = MEASURES[measure]
            cards.append({"title": title, **_value(part[measure]), "who": "as received", "says": text})
    else:
        metric = level["metrics"]["accuracy"]
        cards.append({"title": "Accuracy", **_value(metric), "who": who, "says": ""})
    return cards


def _value(metric: dict[str, Any]) -> dict[str, str]:
    if metric["value"] is None:
        return {"value": "–", "ends": cell(metric)}
    return {"value": f"{metric['value']:.2f}", "ends": f"95 % CI {metric['low']:.2f} to {metric['high']:.2f}"}


def _model(result: dict[str, Any], card: dict[str, Any]) -> Facts:
    model, recipe = result["model"], card["recipe"]
    order = str(known(card.get("class_order_source")))
    members = counted(model["members"], "member")
    return [
        ("Model", f"{known(model['name'])}, version {known(card.get('version'))}, made {known(model['created'])}"),
        ("Architecture", f"{model['architecture']}, {members}, mean of their probabilities"),
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
        change = f"{fitted['method']}, fitted on {where}, tested on the rest"
    return [
        ("Outcome", "the class of the molecular subtype in the cohort table"),
        ("Unit of analysis", "the patient: the mean of the probabilities of its lesions and views, then calibrated"),
        ("Classification", f"{result['threshold']}; other thresholds are those chosen on the training's validation"),
        ("Intervals", "95 %; AUC and macro means: logit scale, bootstrap over patients within class "
                      f"({bootstrap['resamples']} resamples); shares: Wilson; slope and intercept: Wald"),
        ("Calibration", "Brier score, slope, intercept, expected / observed, reliability; beside the training's"),
        ("Subgroups", attributes),
        ("Recalibration", change),
    ]  # fmt: skip


def _characteristics(found: ExternalValidation, missing: Collection[str]) -> Table:
    """Characteristics of the patients by subtype, of the columns that the table has."""
    title = "Characteristics of the patients by subtype"
    patients = patient_columns(found.external.cohort, missing=missing)
    cases = patients.cases
    columns = {name: cells for name, cells in patients.columns.items() if name not in _NOT_CLINICAL}
    group = [case.subtype.value if case.subtype else "" for case in cases]
    present = [label.value for label in subtype_order(case.subtype for case in cases if case.subtype)]
    try:
        order = [name for name in present if name in group]
        described = characteristics(group, columns, order=order, missing=missing)
    except MolSubError as error:
        return Table("table-1", title, why=error.problem)
    if not columns:
        return Table("table-1", title, why="the cohort table has no columns to describe")
    header, *body = described.table()
    note = " ".join([described.note(), patients.note(leave_out=_NOT_CLINICAL)]).strip()
    records = [dict(zip(header, row, strict=True)) for row in body]
    return Table("table-1", title, note, tuple(header), tuple(map(tuple, body)), records=records)
