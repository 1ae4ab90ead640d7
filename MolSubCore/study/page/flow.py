"""The flow of patients, images and lesions into the partitions (Supplementary Figure 1), and from imaging to biopsy."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from MolSubCore.cohort.dates import LONG, interval_text
from MolSubCore.errors import counted
from MolSubCore.report.items import Picture, Record, Table, new_figure
from MolSubCore.study.results import StudyResults

_TEST, _TRAINING, _WHOLE, _FOLD = "#fdf1e3", "#e8f1f8", "#f4f6f9", "#f7fafc"
_TITLE = "Supplementary 1. Flow of patients, images and lesions"
_COUNTS = "Supplementary 1, counts. Partitions of the cohort"


def partition_name(part: str) -> str:
    """A partition for people: the test set, a fold, or patients that are always trained on."""
    return "Test set" if part == "test" else "Training only" if part == "0" else f"Fold {part}"


def flow_table(results: StudyResults) -> Table:
    """Patients, images, lesions and subtypes of every partition."""
    partitions: dict[str, dict[str, Any]] = results.cohort.get("partitions") or {}
    if not partitions:
        return Table("supplementary-1", _COUNTS, why="the study has no counts of its partitions")
    subtypes = list(dict.fromkeys(name for part in partitions.values() for name in part.get("subtypes", {})))
    rows, records = [], []
    for part in sorted(partitions, key=lambda name: (name != "test", name)):
        counts = partitions[part]
        cells = [counts.get(name, 0) for name in ("patients", "images", "lesions")]
        by_subtype = [counts.get("subtypes", {}).get(name, 0) for name in subtypes]
        rows.append((partition_name(part), *map(str, (*cells, *by_subtype))))
        record: dict[str, Any] = {"partition": part, **dict(zip(("patients", "images", "lesions"), cells, strict=True))}
        records.append(record | dict(zip(subtypes, by_subtype, strict=True)))
    totals = [sum(int(row[n]) for row in rows) for n in range(1, len(rows[0]))]
    rows.append(("All", *map(str, totals)))
    groups = (("", 4), ("Patients by subtype", len(subtypes)))
    header = ("Partition", "Patients", "Images", "Lesions", *subtypes)
    return Table("supplementary-1", _COUNTS, "", header, tuple(rows), groups, records=records)


def interval_table(results: StudyResults) -> Table:
    """Days from a patient's first image to the first biopsy."""
    title = "Interval between imaging and reference standard"
    found: dict[str, Any] = results.cohort.get("interval") or {}
    if "days" not in found:
        return Table("interval", title, why=interval_text(found).partition(": ")[2])
    days = found["days"]
    rows = (
        ("Patients with both dates", f"{found['known']} of {found['patients']}"),
        ("Median (quartiles)", f"{days['median']:g} ({days['q1']:g} to {days['q3']:g}) days"),
        ("Range", f"{days['low']} to {days['high']} days"),
        ("Biopsy before the image", counted(found["before"], "patient")),
        (f"Biopsy more than {LONG} days after the image", counted(found["long"], "patient")),
    )
    note = (
        f"From the first image ({', '.join(found['imaging'])}) to the first biopsy, surgery or pathology "
        f"({', '.join(found['reference'])}) of each patient. No date is kept. Dates that were shifted by the same "
        "number of days for all of a patient give the right interval; others do not."
    )
    record: Record = {key: found[key] for key in ("patients", "known", "missing", "before", "long")} | days
    more = "".join(f"\nNot read for certain: {problem}." for problem in found["problems"])
    return Table("interval", title, note + more, ("", "Days"), rows, records=[record])


def flow_figure(results: StudyResults) -> Picture:
    """The flow diagram."""
    partitions: dict[str, dict[str, Any]] = results.cohort.get("partitions") or {}
    if not partitions:
        return Picture("supplementary-1-flow", _TITLE, why="the study has no counts of its partitions")
    training = [part for part in sorted(partitions) if part != "test"]
    figure = new_figure(11.5, 6.6, _TITLE, synthetic=bool(results.study.get("synthetic")))
    axes = figure.subplots()
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set_axis_off()
    _box(axes, (22, 80, 56, 19), "Cohort table", _sum(list(partitions.values())), _WHOLE)
    _box(axes, (2, 46, 58, 19), "Training and validation", _sum([partitions[p] for p in training]), _TRAINING)
    _box(axes, (64, 46, 34, 19), "Test set", _sum([partitions["test"]] if "test" in partitions else []), _TEST)
    _arrow(axes, (42, 80), (31, 65))
    _arrow(axes, (58, 80), (81, 65))
    step, width = 96 / max(len(training), 1), 96 / max(len(training), 1) - 2
    for place, part in enumerate(training):
        left = 2 + place * step
        _box(axes, (left, 1, width, 33), partition_name(part), partitions[part], _FOLD, narrow=len(training) > 2)
        _arrow(axes, (31, 46), (left + width / 2, 34))
    caption = (
        "Numbers of the cohort table that the study was given, and of its partitions; all images of a patient lie in "
        "one. How many patients were screened, and why others were left out, is known to the authors only."
    )
    return Picture("supplementary-1-flow", _TITLE, caption, figure, width=920)


def _sum(parts: list[Record]) -> Record:
    names = list(dict.fromkeys(name for part in parts for name in part.get("subtypes", {})))
    counts = {key: sum(part.get(key, 0) for part in parts) for key in ("patients", "images", "lesions")}
    return counts | {"subtypes": {name: sum(part.get("subtypes", {}).get(name, 0) for part in parts) for name in names}}


def _box(
    axes: Axes, place: tuple[float, float, float, float], title: str, counts: Record, colour: str, narrow: bool = False
) -> None:
    left, bottom, width, height = place
    style = "round,pad=0,rounding_size=1.2"
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, style, facecolor=colour, edgecolor="#9aa7b5"))
    numbers = [f"{counts['patients']} patients", f"{counts['images']} images", f"{counts['lesions']} lesions"]
    subtypes = [f"{name} {count}" for name, count in counts.get("subtypes", {}).items()]
    centre, size = left + width / 2, 9.0 if narrow else 10.0
    axes.text(centre, bottom + height - 2, title, ha="center", va="top", fontsize=size + 1.5, fontweight="bold")
    lines = numbers if narrow else [" · ".join(numbers)]
    half = -(-len(subtypes) // 2)
    lines += subtypes if narrow else [" · ".join(subtypes[:half]), " · ".join(subtypes[half:])]
    text = "\n".join(line for line in lines if line)
    axes.text(centre, bottom + height - 7.5, text, ha="center", va="top", fontsize=size, linespacing=1.35)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#7a8796", "linewidth": 1.1})
