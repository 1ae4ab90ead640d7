"""A study, planned: tasks times models times folds as jobs, each under the hash of all that decides its result.

::

    STUDY/study.json     tasks, models, settings, the jobs
    STUDY/split.json     one division of the patients, for all tasks
    STUDY/cohort.json    the cohort in numbers
    STUDY/subgroups.json    vendor, age band and lesion size of the patients of the test set, by salted id
    STUDY/runs/<task>--<model>/fold-N/    a job's result, finished when it holds done.json
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MolSubCore.cohort.dates import imaging_to_reference
from MolSubCore.cohort.features import build_features
from MolSubCore.cohort.identity import check_identities
from MolSubCore.cohort.levels import built_in_levels
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.remarks import store_notes
from MolSubCore.cohort.splits import TEST, Split, make_split, read_split, subtypes_of, write_split
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import Case, Cohort, read_cohort, tell_notes
from MolSubCore.cohort.table_files import NA_WORDS, note_lines
from MolSubCore.errors import BundleError, CohortError, MolSubError, TrainingError, counted
from MolSubCore.evaluation.characteristics import Characteristics, PatientColumns, characteristics, patient_columns
from MolSubCore.evaluation.display_steps import associations, display_steps, shown_images
from MolSubCore.files import write_json
from MolSubCore.imaging.io.reader import read_person
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.lesions.radiomics import RadiomicsSettings, radiomics_versions
from MolSubCore.models.pretrained import read_pretrained, weight_file
from MolSubCore.models.registry import get_architecture
from MolSubCore.statistics.group_tests import SmallCounts
from MolSubCore.study.fusion import Clinical, clinical_values, training_values
from MolSubCore.study.job import StudyJob, job_key
from MolSubCore.study.leakage import telling_columns
from MolSubCore.study.options import SHARED, StudyOptions, resolve_options
from MolSubCore.study.results import run_folder
from MolSubCore.tasks import Task, get_task, subtype_order
from MolSubCore.training.baselines import BASELINES, BaselinePlan
from MolSubCore.training.run import AnyPlan, TrainingData, prepare_run, software
from MolSubCore.training.session import draft_plan


@dataclass(frozen=True)
class Weights:
    """What each architecture starts from.

    Attributes
    ----------
    names : dict of str to str
        What its plan records: ``none``, ``auto``, or the SHA-256 of a file.
    sources : dict of str to str
        What `read_pretrained` takes.
    """

    names: dict[str, str]
    sources: dict[str, str]


def find_weights(architectures: Sequence[str], source: str) -> Weights:
    """Weights for architectures, read once each to see that they are there and fit.

    Parameters
    ----------
    source : str
        ``kept`` (by an earlier download), ``auto`` (downloaded where needed), ``none``, or a folder of torchvision's
        files.

    Raises
    ------
    BundleError
        If weights cannot be had, or are others.
    """
    names, sources = {}, {}
    for architecture in architectures:
        chosen, needed = source, get_architecture(architecture).pretrained
        if source not in ("kept", "auto", "none"):
            if not Path(source).is_dir():
                remedy = "Give kept, auto, none, or a folder of torchvision's weight files"
                raise BundleError("--pretrained", f"is '{source}', which is not a folder", remedy)
            chosen = str(Path(source) / weight_file(needed)) if needed else "none"
        names[architecture], sources[architecture] = read_pretrained(architecture, chosen).name, chosen
    return Weights(names, sources)


#: Not of the patients, but of the files.
_NOT_CLINICAL = ("synthetic",)


def describe_cohort(
    cohort: Cohort,
    split: Split,
    data: TrainingData,
    *,
    missing: Collection[str] = NA_WORDS,
    small_counts: SmallCounts = "exact",
) -> dict[str, Any]:
    """Content of ``STUDY/cohort.json``.

    Parameters
    ----------
    cohort : Cohort
    split : Split
    data : TrainingData
        Of any task.
    missing, small_counts
        As in `characteristics`.

    Returns
    -------
    dict
        ``summary`` of the patches; ``notes``, what is to be reviewed; ``display_steps`` by class and manufacturer;
        ``interval`` from imaging to biopsy in days, where the table has dates;
        ``partitions`` and ``subtypes`` with their numbers of patients and images; ``characteristics`` of the patients
        by subtype (the paper's Table 1), in all, in training and validation, and in the test set; the same as text in
        ``characteristics_table``, with its note.
    """
    patients = patient_columns(cohort, missing=missing)

    def describe(test: bool | None, like: Characteristics | None = None) -> Characteristics | None:
        return _characteristics(patients, split, test, missing=missing, small_counts=small_counts, like=like)

    whole = describe(None)
    found = {"all": whole}
    found |= {name: describe(name == TEST, whole) for name in ("training and validation", TEST)}
    below = [part for part in (whole.note() if whole else "", patients.note(leave_out=_NOT_CLINICAL)) if part]
    return {
        "summary": data.summary(),
        "notes": list(data.notes),
        "partitions": _partitions(cohort, split, data),
        "subtypes": _subtypes(cohort),
        "display_steps": display_steps(shown_images(cohort, data.store)),
        "interval": imaging_to_reference(cohort.cases, _examined),
        "characteristics": {name: part.to_dict() for name, part in found.items() if part},
        "characteristics_table": {name: part.table() for name, part in found.items() if part},
        "characteristics_note": " ".join(below),
    }


def describe_subgroups(cohort: Cohort, data: TrainingData) -> dict[str, Any]:
    """Content of ``STUDY/subgroups.json``: the levels of the test set's patients, bands in the place of ages.

    Parameters
    ----------
    cohort : Cohort
    data : TrainingData
        Of any task.
    """
    rows = [row for row, partition in enumerate(data.partitions) if partition == TEST]
    cases: dict[str, list[Case]] = {}
    for row in rows:
        cases.setdefault(data.study_ids[row], []).append(cohort.cases[int(data.store.case_index[row])])
    ids, meta = [data.study_ids[row] for row in rows], [data.store.meta[row] for row in rows]
    return {"format": "molsub-subgroups", "format_version": 1, "levels": built_in_levels(ids, meta, cases)}


def _examined(case: Case) -> str:
    """The day of the exam in an image's header; empty where it cannot be read, which is told with its pixels."""
    try:
        return read_person(case.image).examined
    except (MolSubError, OSError):
        return ""


def _subtypes(cohort: Cohort) -> dict[str, dict[str, int]]:
    patients = Counter(subtype for own in subtypes_of(cohort).values() for subtype in own)
    images = Counter(case.subtype for case in {case.image: case for case in cohort.cases}.values())
    return {s.value: {"patients": patients[s], "images": images[s]} for s in subtype_order(patients)}


def _partitions(cohort: Cohort, split: Split, data: TrainingData) -> dict[str, Any]:
    subtypes = {split.study_id(patient): own for patient, own in subtypes_of(cohort).items()}
    order = subtype_order(subtype for own in subtypes.values() for subtype in own)
    members: dict[str, set[str]] = {}
    for study_id, partition in split.partition.items():
        members.setdefault(str(partition), set()).add(study_id)
    rows: dict[str, list[int]] = {}
    for row, partition in enumerate(data.partitions):
        rows.setdefault(str(partition), []).append(row)
    found, known_views = {}, data.views().tolist()
    for name in sorted(members, key=lambda part: (part == TEST, part)):
        patches = rows.get(name, [])
        counts = Counter(subtype for study_id in members[name] for subtype in subtypes[study_id])
        views = {int(data.store.case_index[row]): known_views[row] or "unknown" for row in patches}
        found[name] = {
            "patients": len(members[name]),
            "images": len(views),
            "lesions": len(patches),
            "subtypes": {subtype.value: counts[subtype] for subtype in order},
            "views": dict(sorted(Counter(views.values()).items())),
        }
    return found


def _characteristics(
    patients: PatientColumns,
    split: Split,
    test: bool | None,
    *,
    missing: Collection[str],
    small_counts: SmallCounts,
    like: Characteristics | None,
) -> Characteristics | None:
    """Of all patients (None), those of the test set, or the rest; None where there is no column to describe."""
    cases, columns = patients.cases, patients.columns
    kept = [n for n, case in enumerate(cases) if test is None or (split.partition_of(case.patient_id) == TEST) == test]
    chosen = {name: [cells[n] for n in kept] for name, cells in columns.items() if name not in _NOT_CLINICAL}
    order = [subtype.value for subtype in subtype_order(case.subtype for case in cases if case.subtype)]
    group = [str(cases[n].subtype.value) for n in kept]  # type: ignore[union-attr]
    present = [name for name in order if name in group]
    try:
        return (
            characteristics(group, chosen, order=present, missing=missing, small_counts=small_counts, like=like)
            if chosen
            else None
        )
    except MolSubError:  # a part in which a column cannot be compared; the whole cohort's table still says what it can
        if test is None:
            raise
        return None


Progress = Callable[[str], Callable[[int, int, str], None]]


@dataclass(frozen=True, eq=False)
class Study:
    """A planned study: everything is read and checked, nothing is written yet.

    Attributes
    ----------
    options : StudyOptions
        With the choices of the stored study filled in.
    cohort, split, store
    data : dict of str to TrainingData
        By task.
    plans : dict of (task, model) to Plan or BaselinePlan
    weights : Weights
        What the architectures start from.
    clinical : mapping or None
        Values by study id and column.
    telling : dict of str to str
        Clinical columns that are meant although they tell the subtype, and how they do.
    jobs : tuple of StudyJob
        Task by task, model by model, fold by fold.
    notes : tuple of str
        What should be known of the cohort.
    """

    options: StudyOptions
    cohort: Cohort
    split: Split
    store: PatchStore
    data: dict[str, TrainingData]
    plans: dict[tuple[str, str], AnyPlan]
    weights: Weights
    clinical: Clinical | None
    jobs: tuple[StudyJob, ...]
    notes: tuple[str, ...] = ()
    telling: Mapping[str, str] = field(default_factory=dict)

    def run_folder(self, task: str, model: str) -> Path:
        """Where a run lies."""
        return run_folder(self.options.out, task, model)

    def content(self) -> dict[str, Any]:
        """Content of ``study.json``: no path, no identifier."""
        first = next(iter(self.plans.values())).to_dict()
        settings = self.options.settings
        return {
            "format": "molsub-study",
            "format_version": 1,
            "tasks": list(self.options.tasks),
            "models": list(self.options.models),
            **{name: settings[name] for name in SHARED},
            "clinical": list(self.options.clinical),
            "clinical_i_know": dict(self.telling),
            "missing": list(self.options.missing or ()),
            "small_counts": self.options.small_counts,
            "pretrained": self.options.pretrained if self.options.pretrained in ("kept", "auto", "none") else "files",
            "identities": "trusted" if self.options.trust_ids else "checked",
            "data_hash": first["data_hash"],
            "split_hash": first["split_hash"],
            "synthetic": first["synthetic"],
            "recipe": first["recipe"],
            "settings": settings,
            "software": software(),
            "jobs": [{"key": job.key, "task": job.task, "model": job.model, "fold": job.fold} for job in self.jobs],
        }

    def write(self) -> None:
        """Make the study folder, or bring it up to this plan; results stay.

        Raises
        ------
        TrainingError
            If a run there was made by another plan: the fields that differ are named.
        """
        out = self.options.out
        for (task, model), plan in self.plans.items():
            prepare_run(self.run_folder(task, model), plan, self.split, self.data[task], resume=True)
        if not (out / "split.json").exists():
            write_split(self.split, out / "split.json")
        described = describe_cohort(
            self.cohort,
            self.split,
            next(iter(self.data.values())),
            missing=self.options.missing or (),
            small_counts=self.options.small_counts or "exact",
        )
        write_json(out / "cohort.json", described)
        write_json(out / "subgroups.json", describe_subgroups(self.cohort, next(iter(self.data.values()))))
        write_json(out / "study.json", self.content())


def plan_study(options: StudyOptions, progress: Progress | None = None) -> Study:
    """Read and check everything that a study needs, and plan its jobs; nothing is written but the caches.

    What can be told without an image is told before any is read.

    Parameters
    ----------
    options : StudyOptions
    progress : callable, optional
        ``progress(title)`` gives the ``progress(done, total, what)`` of a part.

    Raises
    ------
    MolSubError
        For anything in the table, the split, the options or the folder that does not fit.
    """
    show = progress or (lambda title: lambda done, total, what: None)
    options, recipe = resolve_options(options)
    cohort = read_cohort(options.table)
    tell_notes(cohort)
    tasks = [get_task(name) for name in options.tasks]
    split = _split(options, cohort)
    settings = {**options.settings, "folds": split.folds}
    options = replace(options, settings=settings)
    clinical, telling = _clinical(options, cohort, split)
    networks = [name for name in options.models if name not in BASELINES]
    weights = find_weights(networks, options.pretrained)
    drafts = {
        (task.name, model): _draft(task.name, model, recipe, settings, weights)
        for task in tasks
        for model in options.models
    }
    if set(options.models) & set(BASELINES):
        radiomics_versions()
        _check_baselines(cohort, split, tasks)
    store = build_store(cohort, recipe, options.cache, progress=show("reading images"))
    identity = check_identities(cohort, store, trust=options.trust_ids)
    radiomics = RadiomicsSettings(together=recipe.together)
    if set(options.models) & set(BASELINES):  # the jobs take them from the cache
        radiomics = RadiomicsSettings.for_images(store.meta, together=recipe.together)
        show_features = show("radiomics features")
        build_features(cohort, radiomics, options.cache, workers=os.cpu_count() or 1, progress=show_features)
    notes = tuple(note_lines([*identity.notes, *store_notes(cohort, store)]))
    notes += tuple(associations(display_steps(shown_images(cohort, store))))
    if set(options.models) & set(BASELINES):
        notes += (f"Radiomics features: {radiomics.described()}",)
    unsure = imaging_to_reference(cohort.cases)["problems"]
    notes += tuple(f"Interval from imaging to biopsy: {problem}; other cells are left out" for problem in unsure)
    notes += tuple(f"--clinical {name} is used as --i-know says: {why}" for name, why in telling.items())
    data = {task.name: TrainingData.gather(cohort, store, split, task.name, identity.summary, notes) for task in tasks}
    plans = _with_data(drafts, data, radiomics)
    jobs = _jobs(options, plans, weights)
    return Study(options, cohort, split, store, data, plans, weights, clinical, jobs, notes, telling)


def _clinical(options: StudyOptions, cohort: Cohort, split: Split) -> tuple[Clinical | None, dict[str, str]]:
    """The clinical values, and those columns that are meant although they tell the subtype."""
    missing = NA_WORDS if options.missing is None else options.missing
    if not options.clinical and not options.i_know:
        return None, {}
    values = clinical_values(cohort, split, options.clinical, i_know=options.i_know, missing=missing)
    return values, telling_columns(*training_values(cohort, split, options.i_know, missing=missing))


def _split(options: StudyOptions, cohort: Cohort) -> Split:
    existing, tasks = options.out / "split.json", [get_task(name) for name in options.tasks]
    settings = options.settings
    if existing.exists():
        if options.split:
            raise TrainingError(options.out, "has its split already", "Leave out --split, or choose another --out")
        split = read_split(existing, cohort)
        if settings["folds"] != split.folds:
            found = f"has {counted(split.folds, 'fold')}, not {settings['folds']}"
            raise TrainingError(options.out, found, "Leave out --folds, or choose another --out")
        return split
    if options.split:
        return read_split(options.split, cohort)
    shared = {name: settings[name] for name in ("folds", "test_share", "seed")}
    return make_split(cohort, tasks, **shared)


def _check_baselines(cohort: Cohort, split: Split, tasks: Sequence[Task]) -> None:
    """Refuse a class that a fold leaves one patient of for training: nothing is left to search and calibrate with.

    Raises
    ------
    CohortError
    """
    subtypes = subtypes_of(cohort)
    for task in tasks:
        counts: Counter[tuple[int, str]] = Counter()
        for patient, labels in subtypes.items():
            own, names = split.partition_of(patient), {task.class_of[subtype] for subtype in labels}
            counts.update(
                (fold, name) for fold in range(1, split.folds + 1) if own not in (TEST, fold) for name in names
            )
        for fold in range(1, split.folds + 1):
            for name in task.classes:
                if counts[fold, name] < 2:
                    patients = counted(counts[fold, name], "training patient")
                    found = f"fold {fold} has {patients} of class {name}, baselines need 2"
                    raise CohortError(cohort.source, found, "Use more patients, or leave out the radiomics baselines")


def _draft(task: str, model: str, recipe: Recipe, settings: Mapping[str, Any], weights: Weights) -> AnyPlan:
    """A plan but for what the images decide."""
    if model not in BASELINES:
        return replace(draft_plan(task, model, recipe, settings["folds"], settings), pretrained=weights.names[model])
    features = RadiomicsSettings(together=recipe.together)
    shared = {name: settings[name] for name in ("seed", "folds", "test_share")}
    return BaselinePlan(task, model, recipe.to_dict(), features.to_dict(), "", "", **shared)


def _with_data(
    drafts: dict[tuple[str, str], AnyPlan], data: dict[str, TrainingData], radiomics: RadiomicsSettings
) -> dict[tuple[str, str], AnyPlan]:
    """The plans, with what the images decide."""
    first = next(iter(data.values()))
    facts = {
        "data_hash": first.store.data_hash(),
        "split_hash": first.partition_hash(),
        "groups_hash": first.groups_hash(),
        "synthetic": first.summary()["synthetic"],
    }
    of_baselines = {**facts, "features": radiomics.to_dict()}
    return {
        name: replace(plan, **(of_baselines if isinstance(plan, BaselinePlan) else facts))  # type: ignore[type-var]
        for name, plan in drafts.items()
    }


def _jobs(options: StudyOptions, plans: dict[tuple[str, str], AnyPlan], weights: Weights) -> tuple[StudyJob, ...]:
    place = {"study": str(options.out), "table": str(options.table), "cache": str(options.cache or "")}
    threads = int(options.settings["threads"])
    return tuple(
        StudyJob(job_key(plan, fold), task=task, model=model, fold=fold, threads=threads,
                 pretrained=weights.sources.get(model, "none"), **place)
        for (task, model), plan in plans.items()
        for fold in range(1, int(options.settings["folds"]) + 1)
    )  # fmt: skip
