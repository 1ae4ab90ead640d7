"""A run folder: all folds of a plan, resumable, with the predictions that evaluation reads.

::

    RUN/plan.json             the plan, with the software's versions
    RUN/split.json            which patient is in which partition (salted ids)
    RUN/cohort.json           counts, manufacturers, views, sizes of the regions; what is to be reviewed
    RUN/images.json           keyed hashes of the images (`MolSubCore.models.fingerprints`)
    RUN/inputs.json           what each image and its row said (`MolSubCore.training.image_list`)
    RUN/fold-N/metrics.csv    one row per epoch
    RUN/fold-N/last.safetensors, best.safetensors
    RUN/fold-N/predictions.csv, test_predictions.csv
    RUN/fold-N/done.json      written last
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import MolSubCore
from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.splits import Split, write_split
from MolSubCore.cohort.table import Case, Cohort
from MolSubCore.errors import CohortError, TrainingError
from MolSubCore.files import read_json, write_json
from MolSubCore.lesions.preprocessing import Recipe
from MolSubCore.lock import alone_in
from MolSubCore.models import fingerprints
from MolSubCore.models.pretrained import NO_PRETRAINED, Pretrained, load_pretrained
from MolSubCore.models.registry import build_model
from MolSubCore.statistics.scores import Predictions, write_predictions
from MolSubCore.tasks import get_task
from MolSubCore.training.image_list import image_list, regrouped, told_changes, write_image_list
from MolSubCore.training.loop import Event, FoldTrainer, Listener, PatchSet, predict_logits
from MolSubCore.training.plan import Plan, derive_seed
from MolSubCore.training.run_files import SHARES, written_hashes
from MolSubCore.training.sampling import class_shares

AfterFold = Callable[[nn.Module, Plan, "TrainingData", int, Path], None]


class Told(NamedTuple):
    """What a row of the table says of its image: side (``L``, ``R``), view, id of the lesion; empty where nothing."""

    side: str = ""
    view: str = ""
    lesion_id: str = ""


@dataclass(frozen=True)
class TrainingData:
    """What the trainer sees: the patch store, and one class index and one study id per patch.

    `identity` is what came of holding the images' patients against the table, in numbers; `told` is what the table
    says, by patch, for images that do not; `notes` is what is to be reviewed of the cohort, for people.
    """

    store: PatchStore
    labels: NDArray[np.int64]
    study_ids: tuple[str, ...]
    partitions: tuple[str | int, ...]
    identity: Mapping[str, Any] | None = None
    told: tuple[Told, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def gather(
        cls,
        cohort: Cohort,
        store: PatchStore,
        split: Split,
        task: str,
        identity: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
    ) -> TrainingData:
        """Join store, cohort and split by the case of every patch."""
        chosen, ids, told = get_task(task), [], []
        labels = np.empty(len(store.case_index), np.int64)
        for patch, case_number in enumerate(store.case_index):
            case = cohort.cases[int(case_number)]
            if case.subtype is None:
                raise TrainingError(f"row {case.row}", "has no subtype", "Fill it in, or leave the row out")
            labels[patch] = chosen.index_of(case.subtype)
            ids.append(split.study_id(case.patient_id))
            told.append(told_by(case, store.meta[patch]))
        partitions = tuple(split.partition[study_id] for study_id in ids)
        return cls(store, labels, tuple(ids), partitions, identity, tuple(told), notes)

    def partition_hash(self) -> str:
        """SHA-256 of which patches lie in which partition, whatever the salt of the study ids."""
        return hashlib.sha256(json.dumps(self.partitions).encode()).hexdigest()

    def groups_hash(self) -> str:
        """SHA-256 of what says which patches belong together, whatever the salt: side, view, lesion and patient."""
        number = {name: n for n, name in enumerate(dict.fromkeys(self.study_ids))}
        patients = [number[name] for name in self.study_ids]
        said = self.said()
        columns = [said["sides"], said["views"], said["lesion_ids"], patients]
        return hashlib.sha256(json.dumps(columns).encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Counts of the cohort for cards and reports; no identifiers."""
        return dict(self._summary)

    @cached_property
    def _summary(self) -> dict[str, Any]:
        meta = self.store.meta

        def count(key: str) -> dict[str, int]:
            return dict(sorted(Counter(str(entry.get(key) or "unknown") for entry in meta).items()))

        places = [entry["geometry"] for entry in meta]
        sides = [max(place[f"{axis}_stop"] - place[f"{axis}_start"] for axis in ("row", "col")) for place in places]
        spacings = [entry["spacing_mm"] for entry in meta if entry.get("spacing_mm")]
        views = Counter(view or "unknown" for view in self.views().tolist())
        return {
            "patients": len(set(self.study_ids)),
            "images": len(set(self.store.case_index.tolist())),
            "lesions": len(self.labels),
            "manufacturers": count("manufacturer"),
            "views": dict(sorted(views.items())),
            "presentation": count("presentation"),
            "displays": count("display"),
            "spacing_sources": count("spacing_source"),
            "spacing_mm": [min(spacings), max(spacings)] if spacings else None,
            "roi_side_px": [min(sides), max(sides)],
            "synthetic": any(entry.get("synthetic") for entry in meta),
            **({"identity": dict(self.identity)} if self.identity is not None else {}),
        }

    def fingerprints(self) -> fingerprints.Fingerprints:
        """Keyed hashes and sketches of the images, those of the test set apart, under a new key."""
        parts: dict[str, dict[str, str]] = {fingerprints.DEVELOPMENT: {}, fingerprints.TEST: {}}
        for partition, entry in zip(self.partitions, self.store.meta, strict=True):
            parts[fingerprints.TEST if partition == "test" else fingerprints.DEVELOPMENT][entry["pixels"]] = entry[
                "look"
            ]
        found = fingerprints.new_fingerprints()
        for name, images in parts.items():
            found = found.with_part(name, images, images.values())
        return found

    def sides(self) -> NDArray[np.str_]:
        """Side of the breast by patch, ``L`` or ``R``: the file's word, else the table's, else empty."""
        return self._known("laterality", [one.side for one in self._told])

    def views(self) -> NDArray[np.str_]:
        """View by patch: the file's word, else the table's, else empty."""
        return self._known("view", [one.view for one in self._told])

    def lesion_ids(self) -> list[str]:
        """Which of the patient's lesions it is, by patch, as the table says it; else empty."""
        return [one.lesion_id for one in self._told]

    def said(self) -> dict[str, list[str]]:
        """What says which patches belong together, by patch: sides, views, ids of lesions, study ids."""
        sides, views = self.sides().tolist(), self.views().tolist()
        return {"sides": sides, "views": views, "lesion_ids": self.lesion_ids(), "patients": list(self.study_ids)}

    @property
    def _told(self) -> tuple[Told, ...]:
        return self.told or (Told(),) * len(self.labels)

    def _known(self, name: str, told: Sequence[str]) -> NDArray[np.str_]:
        return np.array([entry.get(name) or own for entry, own in zip(self.store.meta, told, strict=True)], dtype=str)

    def select(self, partitions: set[str | int]) -> PatchSet:
        """The patches of these partitions."""
        indices = np.flatnonzero([partition in partitions for partition in self.partitions])
        return PatchSet(self.store.patches, indices, self.labels[indices])

    def predictions(self, data: PatchSet, logits: NDArray[np.floating[Any]], classes: tuple[str, ...]) -> Predictions:
        """Logits with the labels and ids that evaluation needs."""
        rows = [int(index) for index in data.indices]
        return Predictions(
            study_id=np.array([self.study_ids[row] for row in rows]),
            case=np.asarray(self.store.case_index)[rows].astype(np.int64),
            lesion=np.array([self.store.lesion[row] for row in rows]),
            laterality=self.sides()[rows],
            view=self.views()[rows],
            label=data.labels,
            logits=logits.astype(np.float64),
            classes=classes,
        )


def told_by(case: Case, meta: Mapping[str, Any]) -> Told:
    """What a row of the table says of its image; `meta` is what the image says itself.

    Raises
    ------
    CohortError
        If the image says another side or view.
    """
    if wrong := case.contradictions(meta.get("laterality"), meta.get("view")):
        remedy = "Correct the table; molsub cohort check lists all such rows"
        raise CohortError(f"row {case.row}, {wrong[0].column}", wrong[0].text, remedy)
    return Told(case.side or "", case.view or "", case.lesion_id)


@cache
def software() -> dict[str, str]:
    """Versions of all that computes, and the processor's capability."""
    packages = (
        *("torch", "torchvision", "numpy", "scikit-learn", "pydicom", "SimpleITK", "scikit-image", "pillow"),
        "opencv-python-headless",
    )
    found = {name: version(name) for name in packages}
    with contextlib.suppress(PackageNotFoundError):
        found["mirp"] = version("mirp")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "MolSubCore": MolSubCore.__version__,
        "python": platform.python_version(),
        **found,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": gpu,
    }


class AnyPlan(Protocol):
    """A plan of a run, of a network or of a baseline."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        ...

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AnyPlan:
        """The plan in a ``plan.json``."""
        ...

    def key(self) -> str:
        """SHA-256 of the plan."""
        ...


def prepare_run(out: Path, plan: AnyPlan, split: Split, data: TrainingData, *, resume: bool) -> None:
    """Make the run folder, or check that the one there belongs to the same plan.

    Raises
    ------
    TrainingError
        If there is a run and `resume` is false, or its plan differs: the differing fields are named.
    """
    file, images = out / "plan.json", image_list(data.store, data.said(), split.salt)
    if file.exists():
        if not resume:
            raise TrainingError(out, "holds a run already", "Add --resume to go on with it, or choose another --out")
        content = read_json(file)
        stored, own = type(plan).from_dict(content).to_dict(), plan.to_dict()
        different = [name for name, value in stored.items() if own[name] != value]
        if settings := [f"{k} is {own[k]}, was {stored[k]}" for k in different if not k.endswith("_hash")]:
            raise TrainingError(out, f"was made with another plan ({'; '.join(settings)})", "Choose another --out")
        of_before = not stored["groups_hash"]  # of a version that did not record what belongs together
        changed = told_changes(out, [k for k in different if not (of_before and k == "groups_hash")], images)
        if changed := changed or (regrouped(out, images) if of_before else []):
            remedy = "Put table and images back as they were, or choose another --out"
            raise TrainingError(out, f"was made of other data: {'; '.join(changed)}", remedy)
        if of_before:
            with alone_in(out):
                write_image_list(out, images)
                write_json(file, content | {"groups_hash": own["groups_hash"]})
        return
    with alone_in(out):
        if file.exists():  # made by another process meanwhile, with other pseudonyms
            raise TrainingError(out, "holds a run already", "Add --resume to go on with it, or choose another --out")
        write_split(split, out / "split.json")
        write_json(out / "cohort.json", data.summary() | {"notes": list(data.notes)})
        write_json(out / "images.json", data.fingerprints().to_dict())
        write_image_list(out, images)
        write_json(file, plan.to_dict() | {"software": software()})


def train(
    plan: Plan,
    data: TrainingData,
    out: Path,
    *,
    pretrained: Pretrained = NO_PRETRAINED,
    only_folds: Sequence[int] | None = None,
    listener: Listener | None = None,
    after: AfterFold | None = None,
) -> None:
    """Train all folds (or `only_folds`) of a prepared run; finished folds are passed over.

    `pretrained` is what the plan names; folds that have begun do not need it. `after` sees every trained fold's
    best model and folder, before the fold counts as finished.

    Raises
    ------
    TrainingError
        If another process works on the same fold.
    """
    torch.set_num_threads(plan.threads)
    if plan.device == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    for fold in only_folds or range(1, plan.folds + 1):
        with unfinished_fold(out, fold) as folder:
            if folder is not None:
                _train_fold(plan, data, folder, fold, pretrained, listener, after)


@contextlib.contextmanager
def unfinished_fold(out: Path, fold: int) -> Iterator[Path | None]:
    """The folder of a fold, kept from other processes; None where the fold is finished.

    Raises
    ------
    TrainingError
        If another process works on it.
    """
    folder = out / f"fold-{fold}"
    with alone_in(folder):
        yield None if (folder / "done.json").exists() else folder


def _train_fold(
    plan: Plan,
    data: TrainingData,
    folder: Path,
    fold: int,
    pretrained: Pretrained,
    listener: Listener | None,
    after: AfterFold | None,
) -> None:
    parts: set[str | int] = {p for p in data.partitions if p != "test"}
    training, validation = data.select(parts - {fold}), data.select({fold})
    test = data.select({"test"})
    for name, part in (("training", training), ("validation", validation)):
        if len(np.unique(part.labels)) < 2:
            remedy = "Use fewer folds or more patients"
            raise TrainingError(f"fold {fold}", f"has one class only in its {name} part, expected two or more", remedy)
    model = initial_model(plan, fold, pretrained)
    summary = FoldTrainer(model, plan, fold, training, validation, folder, listener).run()
    recipe = Recipe.from_dict(plan.recipe)
    for name, part in (("predictions", validation), ("test_predictions", test)):
        logits = predict_logits(model, part, plan, recipe)
        write_predictions(folder / f"{name}.csv", data.predictions(part, logits, plan.classes))
    rows = data.predictions(training, np.zeros((len(training), 1)), ()).scores()
    shares = class_shares(rows, len(plan.classes), plan.oversampling)
    if after:
        after(model, plan, data, fold, folder)
    write_json(folder / "done.json", summary | {SHARES: shares.to_dict(plan.classes), "sha256": written_hashes(folder)})
    if listener:
        listener(Event("fold", fold, values=summary))


def initial_model(plan: Plan, fold: int, pretrained: Pretrained) -> nn.Module:
    """The model a fold starts from: weights drawn from the plan's seed, then pretrained where asked."""
    torch.manual_seed(derive_seed(plan.seed, "fold", fold, "weights"))
    model = build_model(plan.architecture, len(plan.classes), dropout=plan.dropout)
    load_pretrained(model, pretrained)
    return model.to(plan.device)


def all_begun(run: Path, plan: Plan) -> bool:
    """Whether every fold is finished or has a checkpoint to go on from: the first weights are needed no more."""
    folders = [run / f"fold-{fold}" for fold in range(1, plan.folds + 1)]
    return all((folder / "last.safetensors").exists() or (folder / "done.json").exists() for folder in folders)


def finished_folds(run: Path) -> dict[int, dict[str, Any]]:
    """``done.json`` of every finished fold, by fold number."""
    found = {int(file.parent.name.removeprefix("fold-")): read_json(file) for file in run.glob("fold-*/done.json")}
    return dict(sorted(found.items()))
