"""Fusions of a finished run: run folders derived from its predictions, without any image.

::

    STUDY/runs/<task>--<architecture>/            the run
    STUDY/runs/<task>--<architecture>+<fusion>/   plan.json, fold-N/{predictions.csv,test_predictions.csv,done.json}

They are evaluated as any run is; the run they start from is the image-only figure beside them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import MolSubCore
from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.fusion_clinical import clinical, clinical_only
from MolSubCore.evaluation.fusion_run import BaseRun, Clinical, Fused, NotMade, read_base
from MolSubCore.evaluation.fusion_views import flips, views_learned, views_mean
from MolSubCore.files import atomic_folder, check_ours, hidden_name, read_json, sha256_file, write_json
from MolSubCore.predictions import write_predictions
from MolSubCore.training.extra_files import FEATURES, TTA_TEST, TTA_VALIDATION
from MolSubCore.training.run_files import FROZEN, FUSION, frozen

#: Raised whenever the code behind a fusion gives other numbers: what an older one made is then made again.
_VERSION = 1
#: What the evaluation adds to a derived run.
_LATER = ("evaluation.json", "evaluation.png")


@dataclass(frozen=True)
class Fusion:
    """One fusion.

    Attributes
    ----------
    title, needs : str
        For people: what it is, and what it cannot do without.
    make : callable
        ``make(base, clinical)`` gives the fused folds; `NotMade` where the run does not allow it.
    unit : {"lesion", "patient"}
        What a row of its predictions is.
    files : tuple of str
        What it reads of every fold beside the predictions.
    clinical : bool
        Whether it uses the clinical values.
    """

    title: str
    needs: str
    make: Callable[[BaseRun, Clinical | None], Fused]
    unit: str = "patient"
    files: tuple[str, ...] = ()
    clinical: bool = False


FUSIONS: Mapping[str, Fusion] = MappingProxyType(
    {
        "tta": Fusion(
            "Test-time augmentation",
            "predictions of flipped patches, from the study's jobs",
            flips,
            unit="lesion",
            files=(TTA_VALIDATION, TTA_TEST),
        ),
        "views-mean": Fusion("Mean of the views' logits", "a patient with two views", views_mean),
        "views-learned": Fusion(
            "Learned fusion of CC and MLO features",
            "features from the study's jobs, a patient with CC and MLO",
            views_learned,
            files=(FEATURES,),
        ),
        "clinical": Fusion("Image and clinical columns", "clinical columns, 2 folds or more", clinical, clinical=True),
        "clinical-only": Fusion(
            "Clinical columns without the image", "clinical columns, 2 folds or more", clinical_only, clinical=True
        ),
    }
)


def make_fusions(base_run: Path, wanted: Sequence[str], clinical: Clinical | None = None) -> dict[str, str]:
    """Make the derived run folders of a finished run, beside it; what is up to date is passed over.

    A derived folder appears whole, or not at all. It is made again when the run, the files beside its predictions or
    the clinical values have changed, and removed where the changed ones do not allow it any more.

    Parameters
    ----------
    base_run : Path
    wanted : sequence of str
        Names in `FUSIONS`.
    clinical : mapping of str to mapping of str to str, optional
        Values by study id and column, from `clinical_values`.

    Returns
    -------
    dict of str to str
        By fusion: empty where it is there, else the reason why not, in one line.

    Raises
    ------
    MolSubError
        If a fusion is unknown, the run is not finished, or a file is damaged or of other lesions.
    """
    for name in wanted:
        if name not in FUSIONS:
            near = difflib.get_close_matches(name, FUSIONS, n=1)
            hint = f"Did you mean {near[0]}" if near else f"Choose from {', '.join(FUSIONS)}"
            raise MolSubError("fusion", f"unknown value '{name}'", hint)
    base = read_base(base_run)
    return {name: _make(base, name, clinical) for name in dict.fromkeys(wanted)}


def _make(base: BaseRun, name: str, clinical: Clinical | None) -> str:
    folder = base.folder.with_name(f"{base.folder.name}{FUSION}{name}")
    try:
        inputs = _inputs(base, name, clinical)
        if not _is_made(folder, inputs):
            _write(folder, base, name, FUSIONS[name].make(base, clinical), inputs)
    except NotMade as error:
        _discard(folder)
        return error.reason
    return ""


def _inputs(base: BaseRun, name: str, clinical: Clinical | None) -> str:
    """SHA-256 of all that decides the result."""
    fusion = FUSIONS[name]
    parts: list[Any] = [_VERSION, name, base.key(), clinical if fusion.clinical else None]
    for number in base.folds:
        for file in (*FROZEN, *fusion.files):
            path = base.folder / f"fold-{number}" / file
            if not path.is_file():
                raise NotMade(f"fold {number} lacks {file}", "Run this fold as a job of a study")
            parts.append(sha256_file(path))
    text = json.dumps(parts, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_made(folder: Path, inputs: str) -> bool:
    file = folder / "plan.json"
    return file.is_file() and read_json(file).get("inputs") == inputs


def _write(folder: Path, base: BaseRun, name: str, fused: Fused, inputs: str) -> None:
    kept = ("task", "classes", "positive", "folds", "seed", "synthetic", "data_hash", "split_hash", "test_share")
    plan = {key: base.plan[key] for key in kept if key in base.plan}
    plan |= {
        "architecture": f"{base.plan['architecture']}{FUSION}{name}",
        "fusion": {"name": name, "title": FUSIONS[name].title, "unit": FUSIONS[name].unit, **fused.choices},
        "base_key": base.key(),
        "inputs": inputs,
        "software": {"MolSubCore": MolSubCore.__version__}
        | {package: version(package) for package in ("numpy", "scipy", "scikit-learn")},
    }
    remedy = "Choose another folder for the study, or remove it"
    with atomic_folder(folder, replaces="plan.json", remedy=remedy, also=_LATER) as temporary:
        for number, fold in fused.folds.items():
            for file, part in zip(FROZEN, (fold.validation, fold.test), strict=True):
                write_predictions(temporary / f"fold-{number}" / file, part)
            place = temporary / f"fold-{number}"
            write_json(place / "done.json", {**fold.facts, "sha256": frozen(place)})
        write_json(temporary / "plan.json", plan)


def _discard(folder: Path) -> None:
    """Remove what an earlier call made of other files: it no longer follows from the run."""
    file = folder / "plan.json"
    if file.is_file() and "fusion" in read_json(file):
        check_ours(folder, "plan.json")
        old = hidden_name(folder, "old")
        os.replace(folder, old)
        shutil.rmtree(old, ignore_errors=True)
