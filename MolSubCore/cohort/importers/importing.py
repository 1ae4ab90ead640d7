"""``molsub cohort import``: from a cohort's folder to a table, with a report that accounts for every input."""

from __future__ import annotations

import importlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from MolSubCore.cohort.importers import folders
from MolSubCore.cohort.importers.base import (
    MARKER,
    Found,
    ImportOptions,
    Progress,
    Row,
    choose,
    drop_twins,
    drop_unreadable,
    make_masks,
    masks_folder,
    masks_of,
    save_import,
)
from MolSubCore.cohort.importers.folders import FolderOptions
from MolSubCore.cohort.pseudonyms import Salt
from MolSubCore.errors import CohortError, counted, printable
from MolSubCore.files import OVERWRITE, check_free, read_json, try_place
from MolSubCore.tasks import TASKS, SubtypeLabel


@dataclass(frozen=True)
class Source:
    """A kind of cohort.

    Attributes
    ----------
    title : str
    module : str
        Of this package; its function ``read`` reads the folder.
    refused : dict of str to str
        Tasks that it cannot support, and why.
    labelled : bool
        Whether it has subtypes at all.
    caution : str
        Definition of its subtypes, where not obvious.
    """

    title: str
    module: str
    refused: dict[str, str]
    labelled: bool = True
    caution: str = ""


_FORMAT = "molsub-import"
_NO_SUBTYPE = "it has no molecular subtypes; use it for images and masks only"
_NO_KI67 = "it has no Ki-67, so that Luminal A and B cannot be told apart"

SOURCES = {
    "cmmd": Source(
        "CMMD",
        "cmmd",
        {"subtype5": "its HER2-enriched cannot be split into HR+ and HR-; use subtype4"},
        caution="CMMD gives subtypes without receptor status: whether its Luminal B includes HER2-positive tumours "
        "is not stated; the tasks luminal and her2 follow its names.",
    ),
    "optimam": Source(
        "OPTIMAM",
        "optimam",
        {"subtype4": _NO_KI67, "subtype5": _NO_KI67},
        caution="Subtypes are by receptor status alone (HR+/HER2- is Luminal A or B).",
    ),
    "cbis-ddsm": Source("CBIS-DDSM", "cbis", dict.fromkeys(TASKS, _NO_SUBTYPE), labelled=False),
    "vindr": Source("VinDr-Mammo", "vindr", dict.fromkeys(TASKS, _NO_SUBTYPE), labelled=False),
    "paper": Source("The paper's own table", "paper", {}),
}


@dataclass(frozen=True)
class ImportReport:
    """Result of an import.

    Attributes
    ----------
    table, path : Path
        The table, and this report as JSON.
    content : dict
        As in the file.
    lines : tuple of str
        For the terminal.
    """

    table: Path
    path: Path
    content: dict[str, Any]
    lines: tuple[str, ...]


def import_cohort(
    kind: str,
    folder: Path,
    table: Path,
    options: ImportOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Make a cohort table of a cohort's folder.

    Parameters
    ----------
    kind : str
        One of `SOURCES`.
    folder : Path
        As it was downloaded and unpacked.
    table : Path
        Ends in ``.csv``; the report is written beside it, and masks for cohorts without mask files that can be read.
    options : ImportOptions, optional
    overwrite : bool
        Whether existing table, report and masks may be replaced; after an error they are as before.

    Raises
    ------
    CohortError
        If the cohort cannot support the task, the folder holds no such cohort, or nothing is left for the table.
    """
    source, options = SOURCES[kind], options or ImportOptions()
    if not source.labelled:
        options = replace(options, keep_unlabelled=True)
    module = importlib.import_module(f"MolSubCore.cohort.importers.{source.module}")
    return _make(
        kind,
        source,
        folder,
        table,
        options,
        lambda: module.read(folder, progress),
        overwrite=overwrite,
        progress=progress,
    )


def make_cohort(
    images: Path,
    masks: Path,
    table: Path,
    chosen: FolderOptions | None = None,
    options: ImportOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Make a cohort table of a folder of images and a folder of masks, which may be one.

    Parameters
    ----------
    images, masks : Path
    table : Path
        Ends in ``.csv``; the report is written beside it.
    chosen : FolderOptions, optional
        How to find patients and masks, and a table of subtypes; without one, rows have no subtype.
    options : ImportOptions, optional
    overwrite : bool
        Whether table and report may be replaced; pseudonyms of patients stay those of the report.

    Raises
    ------
    CohortError
        If a folder or pattern is wrong, or nothing is left for the table.
    """
    chosen, options = chosen or FolderOptions(), options or ImportOptions()
    if chosen.subtypes is None:
        options = replace(options, keep_unlabelled=True)
    if chosen.subtypes is not None and os.path.realpath(chosen.subtypes) == os.path.realpath(table):
        raise CohortError(table, "is the table of subtypes itself", "Choose another --out")
    source = Source("Folders of images and masks", "folders", {}, labelled=chosen.subtypes is not None)
    salt = _salt(_report_of(table)) if chosen.patients in ("auto", "header") else None
    return _make(
        "folders",
        source,
        images,
        table,
        options,
        lambda: folders.read(images, masks, chosen, salt, progress),
        overwrite=overwrite,
        progress=progress,
        more={"pseudonyms": salt.to_dict()} if salt else {},
    )


def _salt(report: Path) -> Salt:
    """The salt of the pseudonyms of an existing report, or a new one."""
    content = read_json(report) if report.is_file() else {}
    told = content.get("pseudonyms") if isinstance(content, dict) else None
    return Salt.read(report, told) if isinstance(told, dict) and "nonce" in told else Salt.new()


def _report_of(table: Path) -> Path:
    return table.with_name(f"{table.stem}.import.json")


def _make(
    kind: str,
    source: Source,
    folder: Path,
    table: Path,
    options: ImportOptions,
    read: Callable[[], Found],
    *,
    overwrite: bool,
    progress: Progress | None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> ImportReport:
    """Write the table of what `read` finds, its masks and its report."""
    path = _report_of(table)
    _check(source, table, path, options, overwrite)
    with warnings.catch_warnings(), masks_of(table, overwrite=overwrite) as masks:
        warnings.simplefilter("ignore")  # a file's problem becomes its reason
        found = read()
        rows = drop_twins(found, choose(found, options), options.compare_pixels, progress)
        rows, made = make_masks(found, rows, masks, progress)
        rows = drop_unreadable(found, rows, made, table) if rows else rows
        if not rows:
            raise _nothing(folder, found)
        for row in rows:
            found.inputs.place(row.key)
        _balance(found, rows)
        content = _content(kind, source, options, table, found, rows) | dict(more)
        save_import(rows, made, masks, path, content)
    return ImportReport(table, path, content, tuple(_lines(source, found, content)))


def _check(source: Source, table: Path, report: Path, options: ImportOptions, overwrite: bool) -> None:
    if options.task in source.refused:
        able = ", ".join(name for name in TASKS if name not in source.refused)
        remedy = f"Choose one of {able}" if able else "Leave out --task"
        raise CohortError(source.title, f"cannot support task {options.task}: {source.refused[options.task]}", remedy)
    if table.suffix.lower() != ".csv":
        raise CohortError(table, f"ends in '{table.suffix}', expected .csv", "Choose a name that ends in .csv")
    for place in (table, report):
        if os.path.lexists(place) and not overwrite:
            raise CohortError(place, "exists already", OVERWRITE)
        if place.is_dir():
            raise CohortError(place, "is a folder", "Choose another --out")
        try_place(place)
    if table.exists() and not _is_import(report):
        found = f"was not made by an import (no {report.name} beside it), and is not replaced"
        raise CohortError(table, found, "Choose another --out, or move it away")
    check_free(masks_folder(table), replaces=MARKER if overwrite else None, remedy=OVERWRITE)


def _is_import(report: Path) -> bool:
    """Whether a file is the report of an import."""
    content = read_json(report) if report.is_file() else None
    return isinstance(content, dict) and content.get("format") == _FORMAT


def _balance(found: Found, rows: list[Row]) -> None:
    """Check that every input of every kind has one place."""
    if found.settle is not None:
        found.settle(rows)
    for ledger in (found.inputs, *found.others):
        ledger.balance(len(rows) if ledger is found.inputs else None)


def _nothing(folder: Path, found: Found) -> CohortError:
    """The error when no row is left."""
    _balance(found, [])
    counts = {reason: number for reason, number in found.inputs.counts().items() if reason != found.inputs.used}
    if not counts:
        return CohortError(folder, f"holds no {found.inputs.kind}", "Check that the cohort is complete")
    reasons = "; ".join(f"{number} {reason}" for reason, number in list(counts.items())[:4])
    remedy = "Complete the folder, or see --keep-unoutlined and --keep-unlabelled"
    return CohortError(folder, f"leaves nothing for the table ({found.inputs.kind}: {reasons})", remedy)


def _content(
    kind: str, source: Source, options: ImportOptions, table: Path, found: Found, rows: list[Row]
) -> dict[str, Any]:
    patients: dict[str, SubtypeLabel | None] = {}
    for row in rows:  # a patient may have a breast with a subtype and one without
        patients[row.patient_id] = patients.get(row.patient_id) or row.subtype
    subtypes = Counter(subtype.value if subtype else "none" for subtype in patients.values())
    tasks: dict[str, Any] = {}
    for name, task in TASKS.items():
        if name in source.refused:
            tasks[name] = {"refused": source.refused[name]}
        else:
            classes = Counter(task.class_of.get(subtype) for subtype in patients.values() if subtype)
            tasks[name] = {"patients": {cls: classes[cls] for cls in task.classes}, "not_told": classes[None]}
    told = {"patients": {"taken_from": found.patients, "example": rows[0].patient_id}} if found.patients else {}
    return {
        "format": _FORMAT,
        "format_version": 1,
        "cohort": kind,
        "options": asdict(options),
        "table": {
            "name": table.name,
            "rows": len(rows),
            "patients": len(patients),
            "images": len({row.image for row in rows}),
            "rows_without_lesion": sum(not row.outlined for row in rows),
            "patients_by_subtype": dict(sorted(subtypes.items())),
        },
        **told,
        "tasks": tasks,
        "inputs": {ledger.kind: ledger.to_dict() for ledger in (found.inputs, *found.others)},
        "notes": [{"text": note.text, "about": list(note.about)} for note in found.notes],
        "caution": source.caution,
    }


def _lines(source: Source, found: Found, content: dict[str, Any]) -> list[str]:
    table = content["table"]
    lines = [source.title]
    for ledger in (found.inputs, *found.others):
        lines += ledger.lines()
    if found.patients:
        example = printable(content["patients"]["example"], 60)
        lines.append(f"Patient: {found.patients}, such as {example}; {counted(table['patients'], 'patient')}")
    counts = ", ".join(counted(table[name], name.removesuffix("s")) for name in ("rows", "images", "patients"))
    lines.append(f"Table: {counts}")
    if without := table["rows_without_lesion"]:
        verb, them = ("has", "it") if without == 1 else ("have", "them")
        lines.append(f"{counted(without, 'row')} {verb} no lesion: outline {them} in 3D Slicer before training")
    for name, task in content["tasks"].items():
        if "patients" in task and set(table["patients_by_subtype"]) != {"none"}:
            classes = ", ".join(f"{cls} {number}" for cls, number in task["patients"].items())
            coarse = f"; undetermined {task['not_told']}" if task["not_told"] else ""
            lines.append(f"Patients, task {name}: {classes}{coarse}")
    refused: dict[str, list[str]] = {}
    for name, why in source.refused.items():
        refused.setdefault(why, []).append(name)
    lines += [f"Not for task {', '.join(names)}: {why}" for why, names in refused.items()]
    lines += [f"Note: {note}" for note in found.notes]
    return lines + ([f"Note: {source.caution}"] if source.caution else [])
