"""What a user asks of a study, and what becomes of it where a study is there already."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MolSubCore.cohort.splits import read_split
from MolSubCore.cohort.table import read_cohort
from MolSubCore.cohort.table_files import NA_WORDS, column_name
from MolSubCore.errors import CohortError, MolSubError, TrainingError, nearest
from MolSubCore.files import read_json
from MolSubCore.lesions.preprocessing import Recipe, get_recipe
from MolSubCore.lesions.radiomics import radiomics_versions
from MolSubCore.models.registry import ARCHITECTURES
from MolSubCore.tasks import PAPER_TASKS
from MolSubCore.training.plan import Plan
from MolSubCore.training.session import chosen_recipe

if TYPE_CHECKING:
    from MolSubCore.statistics.group_tests import SmallCounts

#: The paper's architectures; ours after its text only is there for who asks for it.
PAPER_ARCHITECTURES = tuple(name for name in ARCHITECTURES if name != "densenet121-cbam-text")

#: Of the plan, not of a single run: their values are the same for all models.
SHARED = ("folds", "test_share", "seed", "epochs", "device", "precision", "threads")


@dataclass(frozen=True)
class StudyOptions:
    """What a user asks of a study; what is absent is as the study in `out` has it, or else the default.

    Attributes
    ----------
    table, out : Path
    tasks, models : tuple of str
        Added to those of the study in `out`, whose results stay. Models are architectures and baselines.
    clinical : tuple of str
        Columns of the table for late fusion.
    i_know : tuple of str
        Those of them that are meant although they tell the subtype.
    missing : tuple of str
        Words that stand for a missing value in clinical columns; those of the stored study, or `NA_WORDS`, if None.
    small_counts : str
        ``exact`` or ``likelihood-ratio``: the test of Table 1 where an expected count is below 5.
    split, cache : Path or None
    pretrained : str
        ``kept``, ``auto``, ``none``, or a folder of torchvision's weight files.
    trust_ids : bool
        Take the table's word where the images name other patients.
    workers : int
        Jobs at a time; the processor's threads are divided among them when the study is first planned.
    settings : dict
        Fields of the plan, and ``recipe``, ``bound``, ``bound_unit``.
    """

    table: Path
    out: Path
    tasks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    clinical: tuple[str, ...] = ()
    i_know: tuple[str, ...] = ()
    missing: tuple[str, ...] | None = None
    small_counts: SmallCounts | None = None
    split: Path | None = None
    cache: Path | None = None
    pretrained: str = ""
    trust_ids: bool = False
    workers: int = 1
    settings: dict[str, Any] = field(default_factory=dict)


def check_study(options: StudyOptions) -> None:
    """Tell at once what is wrong with folder, names of models, table or columns; PyTorch is not loaded for it.

    Raises
    ------
    MolSubError
        As `plan_study`, which checks again, and everything else too.
    """
    _stored(options.out)
    _check_models(options.models)
    cohort = read_cohort(options.table)
    if options.split:
        read_split(options.split, cohort)
    known = {name for case in cohort.cases for name in case.extra}
    for column in map(column_name, options.clinical):
        if column not in known:
            near = nearest(column, known)
            found = f"lacks the column {column}; found: {', '.join(sorted(known)) or 'none beside the needed ones'}"
            raise CohortError(cohort.source, found, f"Did you mean {near}" if near else "Add it, or leave it out")


def _stored(out: Path) -> dict[str, Any]:
    """What the study in a folder chose; nothing where there is none."""
    if out.is_file():
        raise TrainingError(out, "is a file; expected a new folder", "Choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "study.json").exists():
        raise TrainingError(out, "exists already and holds no study", "Choose another --out")
    return read_json(out / "study.json") if (out / "study.json").exists() else {}


def _check_models(names: Sequence[str]) -> None:
    if all(name in ARCHITECTURES for name in names):
        return
    from MolSubCore.training.feature_models import BASELINES

    known = (*ARCHITECTURES, *BASELINES)
    for name in names:
        if name not in known:
            near = nearest(name, known)
            remedy = f"Did you mean {near}" if near else f"Choose from {', '.join(known)}"
            raise TrainingError("architecture", f"unknown value '{name}'", remedy)


def resolve_options(options: StudyOptions) -> tuple[StudyOptions, Recipe]:
    """Options with the stored study's choices, or the defaults, where the user made none; and the recipe.

    Raises
    ------
    MolSubError
        If `out` holds something else, or a name or value is unknown.
    """
    out, stored = options.out, _stored(options.out)
    given = dict(options.settings)
    recipe = chosen_recipe(given) or (Recipe.from_dict(stored["recipe"]) if stored else get_recipe("default"))
    settings = {**stored.get("settings", {}), **given}
    settings.setdefault("threads", max((os.cpu_count() or 1) // options.workers, 1))
    if stored.get("pretrained") == "files" and not options.pretrained:
        raise TrainingError(out, "began with files of weights", "Give their folder again with --pretrained DIR")
    resolved = replace(
        options,
        tasks=_joined(stored.get("tasks", []), options.tasks, list(PAPER_TASKS)),
        models=_joined(stored.get("models", []), options.models, [*PAPER_ARCHITECTURES, *available_baselines()]),
        clinical=_joined(stored.get("clinical", []), options.clinical, []),
        i_know=_joined(list(stored.get("clinical_i_know", {})), tuple(map(column_name, options.i_know)), []),
        missing=tuple(stored.get("missing", NA_WORDS)) if options.missing is None else options.missing,
        small_counts=options.small_counts or stored.get("small_counts", "exact"),
        pretrained=options.pretrained or stored.get("pretrained", "kept"),
        settings=_with_defaults(settings),
    )
    _check_models(resolved.models)
    return resolved, recipe


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """The plan's defaults where nothing is set, and what this machine makes of ``auto``."""
    from MolSubCore.models.device import resolve_device, resolve_precision

    device = str(resolve_device(settings.get("device", "auto")))
    precision = resolve_precision(settings.get("precision", "auto"), device)
    defaults = {name: getattr(Plan, name) for name in SHARED}
    return {**defaults, **settings, "device": device, "precision": precision}


def _joined(stored: list[str], given: tuple[str, ...], default: list[str]) -> tuple[str, ...]:
    """What is stored, then what is given beside it; the default where there is neither."""
    return tuple(dict.fromkeys([*stored, *given])) or tuple(default)


def available_baselines() -> tuple[str, ...]:
    """The baselines, where the library that they need is installed."""
    try:
        radiomics_versions()
    except MolSubError:
        return ()
    from MolSubCore.training.feature_models import BASELINES

    return tuple(BASELINES)
