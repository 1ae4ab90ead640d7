"""The training plan: everything that decides the result, in one frozen dataclass.

It is written beside every result as ``plan.json``. Defaults are the paper's (section 2.3.3) and its
published code's where the text is silent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

from MolSubCore.errors import TrainingError
from MolSubCore.tasks import get_task

#: Oversampling rate per task (paper, section 2.2; `subtype4` as the paper's five). See `sampling.epoch_order` for
#: what it multiplies.
OVERSAMPLING = {"luminal": 1.3, "tn": 1.7, "her2": 1.5, "subtype5": 1.5, "subtype4": 1.5}


DEFAULT_ARCHITECTURE = "densenet121-cbam"


def _setting(text: str, default: Any, *, between: tuple[float, float] | None = None) -> Any:
    """A field that a user may choose: what it is, and its smallest and largest value."""
    return field(default=default, metadata={"help": text, "between": between})


@dataclass(frozen=True)
class Augmentation:
    """Random geometric transforms (paper, section 2.2), drawn anew for every patch and epoch.

    Attributes
    ----------
    horizontal_flip, vertical_flip : float
        Probability of each flip.
    rotation_degrees, shear_degrees : float
        Half-width of the uniform range of the rotation, and of the horizontal shear angle.
    padding : {'reflection', 'zeros', 'border'}
        What comes in from outside the patch.
    """

    horizontal_flip: float = 0.5
    vertical_flip: float = 0.5
    rotation_degrees: float = 20.0
    shear_degrees: float = 10.0
    padding: Literal["reflection", "zeros", "border"] = "reflection"


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, and how.

    Attributes
    ----------
    task, architecture : str
        Names from `MolSubCore.tasks.TASKS` and the model registry.
    recipe : dict
        The preprocessing recipe, whole.
    data_hash, split_hash : str
        SHA-256 of the patches with their labels, and of the partition of the patients.
    seed : int
        Origin of every random number: see `derive_seed`.
    folds, epochs, batch_size : int
        Folds of the cross-validation; largest number of epochs; patches per step.
    learning_rate, weight_decay, beta1, beta2 : float
        AdamW. The paper's "momentum 0.9" is the first beta.
    schedule : {'cosine', 'cosine-published'}
        `cosine` anneals over all epochs to zero. `cosine-published` follows the published code:
        half-period 20 epochs, floor 1e-5, so it oscillates.
    dropout : float
        Probability of dropping a channel after the stem, or where the architecture says.
    oversampling : float
        See `sampling.epoch_order`.
    augmentation : Augmentation
    monitor : {'val_loss', 'val_auc'}
        What chooses the best epoch, and stops early after `patience` epochs without a better one.
    patience : int
    pretrained : str
        ``auto`` (torchvision's weights for the architecture), ``none`` (also for an architecture that is
        trained from scratch by definition), or the SHA-256 of the weight file that was given.
    device, precision : str
        ``cpu`` or ``cuda``; ``fp32`` or ``bf16``; as resolved, never ``auto``.
    threads : int
        CPU threads of each process; another number sums in another order.
    processes : int
        1; more in plans of version 0.1, whose trainings could be divided among processes.
    classes, positive : tuple of str, str or None
        From the task, for readers of the file.
    test_share : float
        Share of patients in the test set.
    synthetic : bool
        Whether the cohort was made by the generator of this project.
    groups_hash : str
        SHA-256 of sides, views, lesion ids and patients, which say what is averaged; empty in plans of before.
    """

    task: str
    architecture: str = field(metadata={"help": "network; see the page Commands"})
    recipe: dict[str, Any]
    data_hash: str
    split_hash: str
    seed: int = _setting("random seed", 21)
    folds: int = _setting("folds of the cross-validation", 5, between=(1, 100))
    test_share: float = _setting("share of patients kept for the test set", 0.2, between=(0.01, 0.9))
    epochs: int = _setting("maximum number of epochs", 300, between=(1, 100_000))
    batch_size: int = _setting("patches per step", 8, between=(1, 4096))
    learning_rate: float = _setting("learning rate of AdamW", 1e-4, between=(0, 10))
    weight_decay: float = _setting("weight decay of AdamW", 0.005, between=(0, 10))
    beta1: float = _setting("first beta of AdamW", 0.9, between=(0, 0.9999999))
    beta2: float = _setting("second beta of AdamW", 0.999, between=(0, 0.9999999))
    schedule: Literal["cosine", "cosine-published"] = _setting("learning rate over the epochs", "cosine")
    dropout: float = _setting("dropout rate", 0.3, between=(0, 0.95))
    oversampling: float = _setting("samples per epoch, as a multiple of the training set", 1.5, between=(1, 10))
    augmentation: Augmentation = field(default_factory=Augmentation)
    monitor: Literal["val_loss", "val_auc"] = _setting("quantity that chooses the best epoch", "val_loss")
    patience: int = _setting("epochs without improvement before training stops early", 100, between=(1, 100_000))
    pretrained: str = "auto"
    device: str = _setting("device to compute on", "cpu")
    precision: Literal["fp32", "bf16"] = _setting("auto is bf16 where the hardware has it", "fp32")
    threads: int = _setting("CPU threads", 1, between=(1, 1024))
    processes: int = field(default=1, metadata={"between": (1, 4096)})
    classes: tuple[str, ...] = ()
    positive: str | None = None
    synthetic: bool = False
    groups_hash: str = ""

    def __post_init__(self) -> None:
        task = get_task(self.task)
        object.__setattr__(self, "classes", task.classes)
        object.__setattr__(self, "positive", task.positive)
        for own in dataclasses.fields(self):
            value, (low, high) = getattr(self, own.name), own.metadata.get("between") or (None, None)
            if low is not None and not low <= value <= high:
                raise TrainingError(own.name, f"is {value}, expected {low} to {high}", "Choose a value in this range")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return dataclasses.asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """The plan in a ``plan.json``; keys that are no field (``software``) are passed over."""
        own = dataclasses.fields(cls)
        names = {f.name for f in own}
        if "+" in str(values.get("architecture", "")):
            found = f"is of {values['architecture']}, a fusion of other runs' results, which has no network of its own"
            raise TrainingError("plan.json", found, "Choose the run of the network without +...")
        needed = [f.name for f in own if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
        if lacking := [name for name in needed if name not in values]:
            raise TrainingError("plan.json", f"is not of a training run: it lacks {', '.join(lacking)}", "Choose a run")
        known = {key: value for key, value in values.items() if key in names}
        try:
            known["augmentation"] = Augmentation(**known.get("augmentation", {}))
            known["classes"] = tuple(known.get("classes", ()))
            return cls(**known)
        except TypeError as error:
            raise TrainingError("plan.json", f"has other fields than expected ({error})", "Start a new run") from None

    def key(self) -> str:
        """SHA-256 of the plan: equal keys, equal numbers on the same kind of device."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch (counted from 0), as torch's CosineAnnealingLR in closed form."""
        half_period, floor = (self.epochs, 0.0) if self.schedule == "cosine" else (20, 1e-5)
        return floor + (self.learning_rate - floor) * (1 + math.cos(math.pi * epoch / half_period)) / 2


@dataclass(frozen=True)
class Setting:
    """What a user may choose of a training: an option of the command line and of the worker, a row of Slicer's panel.

    Attributes
    ----------
    name : str
        As in the plan, or of the preprocessing (`PREPROCESSING`).
    kind : type
        int, float or str.
    default : str
        As it is shown; what depends on task or computer is described.
    choices : sequence of str
        All values, where they are few.
    between : tuple of float, or None
        Smallest and largest value.
    """

    name: str
    kind: type
    help: str
    default: str
    choices: Sequence[str] = ()
    between: tuple[float, float] | None = None

    def read(self, value: Any) -> Any:
        """A value of this kind, also of its text.

        Raises
        ------
        TrainingError
            If it is none, or none of the choices.
        """
        kept = None
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            kept = self.kind(value)
        whole = self.kind is not int or isinstance(value, str) or kept == value
        if kept is not None and whole and not isinstance(value, bool) and (not self.choices or kept in self.choices):
            return kept
        kind = {int: "a whole number", float: "a number", str: "a text"}[self.kind]
        wanted = f"one of {', '.join(self.choices)}" if self.choices else kind
        raise TrainingError(self.name, f"is {value!r:.80}, expected {wanted}", "Correct it")


#: Defaults that are not those of the plan's fields, which are resolved.
_DEFAULTS = {
    "architecture": DEFAULT_ARCHITECTURE,
    "oversampling": "the paper's, by task",
    "device": "auto",
    "precision": "auto",
    "threads": "all cores",
}
_CHOICES = {"device": ("auto", "cpu", "cuda"), "precision": ("auto", "fp32", "bf16")}


def _settings() -> tuple[Setting, ...]:
    kinds = get_type_hints(Plan)
    found = []
    for own in dataclasses.fields(Plan):
        if "help" in own.metadata:
            choices = get_args(kinds[own.name])
            found.append(
                Setting(
                    own.name,
                    str if choices else kinds[own.name],
                    own.metadata["help"],
                    _DEFAULTS.get(own.name, f"{own.default:g}" if isinstance(own.default, float) else str(own.default)),
                    _CHOICES.get(own.name, choices),
                    own.metadata.get("between"),
                )
            )
    return tuple(found)


#: Those of the preprocessing; the plan holds the recipe that they make.
PREPROCESSING = (
    Setting("recipe", str, "preprocessing: default or published-2025", "default"),
    Setting("bound", float, "margin around the lesion's bounding box", "100"),
    Setting("bound_unit", str, "unit of the margin", "px", ("px", "mm")),
)

SETTINGS = (*_settings(), *PREPROCESSING)


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed for one purpose, such as ``derive_seed(21, "fold", 3, "epoch", 7, "dropout")``.

    Every epoch has its own seeds and needs no state from the epoch before, so a run that was
    killed goes on exactly as it would have. (The published code resets one seed on every batch,
    which freezes the dropout mask.)
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
