"""Import of the checkpoints published with the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from MolSubCore.errors import BundleError
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import write_bundle
from MolSubCore.models.card import check_class_order, check_target
from MolSubCore.models.registry import Architecture, get_architecture, model_without_weights
from MolSubCore.models.unpickle import is_finite, read_tensors

ARCHITECTURE, DROPOUT = "densenet121-cbam", 0.3
#: Was never published, but would silently take the published weights of `ARCHITECTURE`.
_NEVER_PUBLISHED = "densenet121-cbam-text"


@dataclass(frozen=True)
class _Published:
    """Class order of a published checkpoint, its source and warnings."""

    classes: tuple[str, ...]
    verified: bool
    source: str
    warnings: tuple[str, ...] = ()


_PUBLISHED = {
    "subtype5": _Published(
        ("Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN"), True, "published code: labels 0 to 4"
    ),
    "tn": _Published(("non-TN", "TN"), True, "published code: 1 is TN"),
    "her2": _Published(
        ("HER2-positive", "HER2-negative"),
        True,
        "published code: 1 is HER2-negative",
        ("The paper's HER2 sensitivity is that of HER2-negative; here the positive class is HER2-positive.",),
    ),
    "luminal": _Published(
        ("Luminal", "non-Luminal"),
        False,
        "published code and tables: 1 is non-Luminal; its documentation says the reverse",
        (
            "The class order of this checkpoint was never verified: the published code says Luminal, non-Luminal, its"
            " documentation the reverse. Import it with --class-order to change it.",
        ),
    ),
}


def read_published(path: Path, architecture: str = ARCHITECTURE) -> dict[str, Tensor]:
    """The tensors of a published checkpoint, under this project's names; nothing is executed.

    Accepted are the names of the published code with its dropout and without it; the latter are torchvision's but
    for attention. The stem has one channel. (The published ViT is another implementation, and is refused.)

    Raises
    ------
    BundleError
        If the file is not a checkpoint, or of another architecture (the first wrong key is named).
    """
    known = get_architecture(architecture)
    if architecture == _NEVER_PUBLISHED:
        raise BundleError("--architecture", f"is {architecture}, never published", f"Use {ARCHITECTURE}")
    tensors = _with_dropout_names(read_tensors(path), known)
    head = tensors.get(f"{known.head}.weight")
    classes = head.shape[0] if head is not None and head.ndim == 2 else 2
    expected = model_without_weights(architecture, classes, dropout=DROPOUT).state_dict()
    wrong = [f"{key} is missing" for key in expected if key not in tensors]
    wrong += [f"{key} is unknown" for key in tensors if key not in expected]
    wrong += [
        f"{key} has shape {tuple(tensors[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if wrong:
        raise BundleError(
            path,
            f"is not a {known.title}: {wrong[0]} ({len(wrong)} such)",
            "Give one of the published files, or its --architecture",
        )
    if not is_finite(tensors):
        raise BundleError(path, "holds weights that are not finite", "Download it again")
    return {key: tensors[key].to(value.dtype, copy=True) for key, value in expected.items()}


def _with_dropout_names(tensors: dict[str, Tensor], known: Architecture) -> dict[str, Tensor]:
    """Names as of a model built with dropout, which wraps one convolution; the published code wraps none without."""
    bare = {f"{layer}.{part}" for layer in known.wrapped for part in ("weight", "bias")}
    return {known.own_name(key) if key in bare else key: value for key, value in tensors.items()}


def _layout_warnings(architecture: str) -> tuple[str, ...]:
    """The warning about a network that was compared with its published code by names and shapes only."""
    if architecture == ARCHITECTURE:
        return ()
    title = get_architecture(architecture).title
    return (
        f"The weights fit {title} by name and shape; whether the published network computes the same from them was"
        " never verified.",
    )


def import_published(
    path: Path,
    task: str,
    out: Path,
    *,
    architecture: str = ARCHITECTURE,
    class_order: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Make a bundle of a published ``.pth`` file.

    Parameters
    ----------
    path : Path
        A whole pickled module or a state_dict.
    task : str
    out : Path
        A folder, or a file ending in ``.molsub``.
    architecture : str
        A name of the model registry.
    class_order : sequence of str, optional
        Class names in the order of the logits; the published order (see `_PUBLISHED`) when None.

    Raises
    ------
    BundleError
        If the file does not fit the task, or `class_order` is not a permutation of its classes.
    """
    if task not in _PUBLISHED:
        raise BundleError("task", f"is {task}, published models have {', '.join(_PUBLISHED)}", "Choose one of these")
    known = _PUBLISHED[task]
    if class_order is not None:
        names = check_class_order(task, class_order)
        known = _Published(names, True, "given by the user", known.warnings if task == "her2" else ())
    check_target(out, overwrite=overwrite)
    tensors = read_published(path, architecture)
    count = tensors[f"{get_architecture(architecture).head}.weight"].shape[0]
    if count != len(known.classes):
        raise BundleError(
            path, f"has {count} classes, task {task} has {len(known.classes)}", "Choose the --task it was made for"
        )
    return write_bundle(
        out,
        [tensors],
        architecture=architecture,
        task=task,
        classes=known.classes,
        recipe=get_recipe("published-2025").to_dict(),
        dropout=DROPOUT,
        training={
            "summary": "imported as a checkpoint of the paper (312 of 390 patients of one hospital, Hologic); not"
            " verified: the file does not say where its weights come from"
        },
        vendors=["HOLOGIC"],
        class_order_verified=known.verified,
        class_order_source=known.source,
        warnings=(*known.warnings, *_layout_warnings(architecture)),
        overwrite=overwrite,
    )
