"""Import of the checkpoints published with the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from MolSubCore.errors import BundleError
from MolSubCore.imaging.recipes import get_recipe
from MolSubCore.models.bundle import write_bundle
from MolSubCore.models.registry import build_model
from MolSubCore.models.unpickle import is_finite, read_tensors
from MolSubCore.tasks import get_task

ARCHITECTURE, DROPOUT = "densenet121-cbam", 0.3


@dataclass(frozen=True)
class _Published:
    """Class order of a published checkpoint, and what must be said about it."""

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


def read_published(path: Path) -> dict[str, Tensor]:
    """The tensors of a published DenseNet121-CBAM, under this project's names; nothing is executed.

    Raises
    ------
    BundleError
        If the file is no checkpoint, or of another architecture (the first wrong key is named).
    """
    tensors = read_tensors(path)
    if "features.conv0.weight" in tensors:  # saved from a model built without dropout
        tensors["features.conv0.0.weight"] = tensors.pop("features.conv0.weight")
    head = tensors.get("classifier.weight")
    classes = head.shape[0] if head is not None and head.ndim == 2 else 2
    with torch.device("meta"):
        expected = build_model(ARCHITECTURE, classes, dropout=DROPOUT).state_dict()
    wrong = [f"{key} is missing" for key in expected if key not in tensors]
    wrong += [f"{key} is unknown" for key in tensors if key not in expected]
    wrong += [
        f"{key} has shape {tuple(tensors[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if wrong:
        raise BundleError(
            path, f"is no DenseNet121-CBAM: {wrong[0]} ({len(wrong)} such)", "Give one of the published files"
        )
    if not is_finite(tensors):
        raise BundleError(path, "holds weights that are not finite", "Download it again")
    return {key: tensors[key].to(value.dtype, copy=True) for key, value in expected.items()}


def import_published(
    path: Path, task: str, out: Path, *, class_order: Sequence[str] | None = None, overwrite: bool = False
) -> Path:
    """Make a bundle of a published ``.pth`` file.

    Parameters
    ----------
    path : Path
        A whole pickled module or a state_dict.
    task : str
    out : Path
        A folder, or a file ending in ``.molsub``.
    class_order : sequence of str, optional
        Class names in the order of the logits; the published order (see `_PUBLISHED`) when None.

    Raises
    ------
    BundleError
        If the file does not fit the task, or `class_order` is no permutation of its classes.
    """
    chosen, known = get_task(task), _PUBLISHED[task]
    if class_order is not None:
        names = tuple(name.strip() for name in class_order)
        if sorted(names) != sorted(chosen.classes):
            remedy = f"Give each of {', '.join(chosen.classes)} once"
            raise BundleError("class order", f"is {', '.join(names)}", remedy)
        known = _Published(names, True, "given by the user", known.warnings if task == "her2" else ())
    tensors = read_published(path)
    count = tensors["classifier.weight"].shape[0]
    if count != len(known.classes):
        raise BundleError(
            path, f"has {count} classes, task {task} has {len(known.classes)}", "Choose the --task it was made for"
        )
    return write_bundle(
        out,
        [tensors],
        architecture=ARCHITECTURE,
        task=task,
        classes=known.classes,
        recipe=get_recipe("published-2025").to_dict(),
        dropout=DROPOUT,
        training={
            "summary": "the paper's cohort: 312 of 390 patients of one hospital, Hologic; imported, not trained here"
        },
        vendors=["HOLOGIC"],
        class_order_verified=known.verified,
        class_order_source=known.source,
        warnings=known.warnings,
        overwrite=overwrite,
    )
