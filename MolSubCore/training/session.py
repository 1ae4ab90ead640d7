"""From a cohort table and options to a run that is ready to train."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MolSubCore.cohort.identity import check_identities
from MolSubCore.cohort.remarks import store_notes
from MolSubCore.cohort.splits import Split, make_split, read_split
from MolSubCore.cohort.store import build_store
from MolSubCore.cohort.table import Cohort, read_cohort, tell_notes
from MolSubCore.cohort.table_files import note_lines
from MolSubCore.errors import TrainingError
from MolSubCore.files import check_folder, read_json
from MolSubCore.lesions.preprocessing import Recipe, get_recipe
from MolSubCore.models.registry import get_architecture
from MolSubCore.tasks import get_task
from MolSubCore.training.plan import DEFAULT_ARCHITECTURE, OVERSAMPLING, PREPROCESSING, SETTINGS, Plan

if TYPE_CHECKING:  # the command line checks options and table before it loads PyTorch
    from MolSubCore.models.pretrained import Pretrained
    from MolSubCore.training.run import TrainingData


@dataclass(frozen=True)
class TrainingOptions:
    """What a user asks of a training run.

    Attributes
    ----------
    table, out : Path
    task : str
    resume : bool
    only_folds : tuple of int
        Folds to train now; all when empty.
    split, cache : Path or None
        Split file to use; folder of the patch cache.
    trust_ids : bool
        Take the table's word where the images name other patients.
    pretrained : str or None
        ``kept``, ``auto``, ``none`` or a file; None means ``kept``, or what the run began with when it is resumed.
    settings : dict
        Fields of the plan, and ``recipe``, ``bound``, ``bound_unit``; what is absent has its default.
    """

    table: Path
    out: Path
    task: str
    resume: bool = False
    only_folds: tuple[int, ...] = ()
    split: Path | None = None
    cache: Path | None = None
    trust_ids: bool = False
    pretrained: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_namespace(cls, options: argparse.Namespace) -> TrainingOptions:
        """From the command line; options left out there are absent from the namespace."""
        given = vars(options)
        return cls(
            table=Path(options.table),
            out=Path(options.out),
            task=options.task,
            resume=options.resume,
            only_folds=tuple(options.only_fold or ()),
            split=Path(options.split) if options.split else None,
            cache=Path(options.cache) if options.cache else None,
            trust_ids=bool(given.get("trust_ids")),
            pretrained=given.get("pretrained"),
            settings={setting.name: given[setting.name] for setting in SETTINGS if setting.name in given},
        )


@dataclass(frozen=True)
class TrainingSession:
    """A run that is ready: its folder is there, its patches are read; `notes` are for whoever asked for it."""

    plan: Plan
    data: TrainingData
    pretrained: Pretrained
    notes: tuple[str, ...] = ()


def check_training(options: TrainingOptions) -> None:
    """Tell at once what is wrong with options, table, split or run folder; PyTorch is not loaded for it.

    Raises
    ------
    MolSubError
        As `prepare_training`, which checks again, and the device and the weights too.
    """
    stored = _stored_plan(options)
    settings = {**_stored_settings(stored), **options.settings, "device": "cpu", "precision": "fp32"}
    get_architecture(settings.get("architecture", DEFAULT_ARCHITECTURE))
    cohort = read_cohort(options.table)
    split = _split(options, settings, cohort)
    recipe = _recipe(settings, stored)
    _draft(options, settings, recipe, split)


def prepare_training(
    options: TrainingOptions, progress: Callable[[int, int, str], None] | None = None
) -> TrainingSession:
    """Read the cohort, divide it, fill the patch store, and make or check the run folder.

    Everything else comes before the images are read: a value out of range, a class too small for the
    folds, or weights that cannot be had, are told at once.

    Raises
    ------
    MolSubError
        For anything in the table, the split, the options or the run folder that does not fit.
    """
    from MolSubCore.training.run import TrainingData, prepare_run

    check_folder(options.out)
    stored = _stored_plan(options)
    settings = {**_stored_settings(stored), **options.settings}
    cohort = read_cohort(options.table)
    tell_notes(cohort)
    split = _split(options, settings, cohort)
    recipe = _recipe(settings, stored)
    draft = _draft(options, settings, recipe, split)
    pretrained = _pretrained(options, draft.architecture, stored)
    store = build_store(cohort, recipe, options.cache, progress=progress)
    identity = check_identities(cohort, store, trust=options.trust_ids)
    notes = tuple(note_lines([*identity.notes, *store_notes(cohort, store)]))
    data = TrainingData.gather(cohort, store, split, options.task, identity.summary, notes)
    plan = replace(
        draft,
        data_hash=store.data_hash(),
        split_hash=data.partition_hash(),
        groups_hash=data.groups_hash(),
        pretrained=pretrained.name,
        synthetic=data.summary()["synthetic"],
    )
    prepare_run(options.out, plan, split, data, resume=options.resume)
    return TrainingSession(plan, data, pretrained, notes)


def _stored_plan(options: TrainingOptions) -> Plan | None:
    file = options.out / "plan.json"
    if not options.resume:
        if file.exists():
            raise TrainingError(
                options.out, "holds a run already", "Add --resume to go on with it, or choose another --out"
            )
        return None
    if not file.exists():
        raise TrainingError(options.out, "holds no run to resume (no plan.json)", "Leave out --resume to start one")
    return Plan.from_dict(read_json(file))


def _stored_settings(stored: Plan | None) -> dict[str, Any]:
    """The settings of the run that is resumed, so that the user need not give them again."""
    if stored is None:
        return {}
    names = [setting.name for setting in SETTINGS if setting not in PREPROCESSING]
    return {name: getattr(stored, name) for name in (*names, "augmentation")}


def _split(options: TrainingOptions, settings: dict[str, Any], cohort: Cohort) -> Split:
    existing = options.out / "split.json"
    if options.split or (options.resume and existing.exists()):
        return read_split(options.split or existing, cohort)
    return make_split(
        cohort,
        get_task(options.task),
        folds=settings.get("folds", Plan.folds),
        test_share=settings.get("test_share", Plan.test_share),
        seed=settings.get("seed", Plan.seed),
    )


def _recipe(settings: dict[str, Any], stored: Plan | None) -> Recipe:
    chosen = chosen_recipe(settings)
    return chosen or (get_recipe("default") if stored is None else Recipe.from_dict(stored.recipe))


def chosen_recipe(settings: dict[str, Any]) -> Recipe | None:
    """The recipe that the user's settings make, which are taken out of them; None without any."""
    chosen = {setting.name: settings.pop(setting.name) for setting in PREPROCESSING if setting.name in settings}
    if not chosen:
        return None
    return get_recipe(chosen.get("recipe", "default"), bound=chosen.get("bound"), bound_unit=chosen.get("bound_unit"))


def _pretrained(options: TrainingOptions, architecture: str, stored: Plan | None) -> Pretrained:
    """The weights to start from; those of a resumed run are read only where a fold has yet to begin."""
    from MolSubCore.models.pretrained import Pretrained, read_pretrained
    from MolSubCore.training.run import all_begun

    if options.pretrained is None and stored is not None:
        if all_begun(options.out, stored):
            return Pretrained(stored.pretrained, {})
        if stored.pretrained not in ("auto", "none"):
            found = f"has folds to begin, from the weight file with SHA-256 {stored.pretrained[:12]}..."
            raise TrainingError(options.out, found, "Give that file again with --pretrained FILE")
    begun_without = stored is not None and stored.pretrained == "none"
    return read_pretrained(architecture, options.pretrained or ("none" if begun_without else "kept"))


def _draft(options: TrainingOptions, settings: dict[str, Any], recipe: Recipe, split: Split) -> Plan:
    """The plan but for what the images decide; every option is checked here."""
    architecture = settings.pop("architecture", DEFAULT_ARCHITECTURE)
    draft = draft_plan(options.task, architecture, recipe, split.folds, settings)
    wrong = [fold for fold in options.only_folds if not 1 <= fold <= split.folds]
    if wrong:
        raise TrainingError("--only-fold", f"is {wrong[0]}, the run has folds 1 to {split.folds}", "Choose one of them")
    return draft


def draft_plan(task: str, architecture: str, recipe: Recipe, folds: int, settings: Mapping[str, Any]) -> Plan:
    """A plan but for what the images decide: its hashes are empty.

    Parameters
    ----------
    settings : mapping
        Other fields of the plan; ``device`` and ``precision`` may be ``auto``. What is absent has its default.

    Raises
    ------
    MolSubError
        If a value is out of range, or the architecture or the device is not there.
    """
    get_architecture(architecture)
    device, precision = settings.get("device", "auto"), settings.get("precision", "auto")
    if (device, precision) != ("cpu", "fp32"):
        from MolSubCore.models.device import resolve_device, resolve_precision

        device = str(resolve_device(device))
        precision = resolve_precision(precision, device)
    resolved = {
        "device": device,
        "precision": precision,
        "oversampling": settings.get("oversampling", OVERSAMPLING[task]),
        "threads": settings.get("threads", os.cpu_count() or 1),
    }
    values = {**settings, **resolved, "folds": folds}
    return Plan(task=task, architecture=architecture, recipe=recipe.to_dict(), data_hash="", split_hash="", **values)
