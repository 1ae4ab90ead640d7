"""Logits of a model on another cohort: the long part of a validation, which goes on where it was stopped.

::

    DIR/plan.json                   the model's hashes, and which key the patients' ids were made with
    DIR/logits/00000.safetensors    up to 64 patches: the SHA-256 of each, and its logits by every member

A patch is known by its pixels, so that a table to which rows or subtypes were added is done with what is new in it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from MolSubCore.cohort.patches import PatchStore
from MolSubCore.cohort.store import Progress
from MolSubCore.errors import MolSubError
from MolSubCore.files import atomic_path, check_free, read_json, write_json
from MolSubCore.imaging.recipes import Recipe
from MolSubCore.models.bundle import Bundle
from MolSubCore.models.card import bundle_hash
from MolSubCore.models.device import to_input
from MolSubCore.pseudonyms import Salt

_FORMAT = "molsub-external"
_BLOCK, _BATCH = 64, 16


def begin(out: Path, card: dict[str, Any], *, resume: bool) -> Salt:
    """Check that a validation can begin in a folder, or go on; return the salt of the patients' ids. Writes nothing.

    Raises
    ------
    MolSubError
        If the folder holds anything and `resume` is false, or it holds no validation, or one of another model.
    """
    model = _identity(card)
    if resume and (out / "plan.json").is_file():
        stored = read_json(out / "plan.json")
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise MolSubError(out, "holds something else than a validation of a bundle", "Choose another --out")
        if stored.get("model") != model or stored.get("bundle_sha256", bundle_hash(card)) != bundle_hash(card):
            raise MolSubError(out, "was begun with another model", "Choose another --out, or give that model")
        return Salt.read(out / "plan.json", stored)
    check_free(out, remedy="Choose another --out, or add --resume to keep what is done", whole=False)
    return Salt.new()


def _identity(card: dict[str, Any]) -> dict[str, Any]:
    """What decides the logits of a patch."""
    return {
        "members": [member["sha256"] for member in card["members"]],
        "architecture": card["architecture"],
        "classes": list(card["classes"]),
        "recipe": Recipe.from_dict(card["recipe"]).key(),
    }


def external_logits(
    bundle: Bundle, store: PatchStore, out: Path, salt: Salt, *, progress: Progress | None = None
) -> NDArray[np.float64]:
    """Logits of all patches by every member, shape (members, N, classes); those in `out` are not computed again."""
    model = {"model": _identity(bundle.card), "bundle_sha256": bundle_hash(bundle.card)}
    plan = {"format": _FORMAT, "format_version": 1, **model, **salt.to_dict()}
    write_json(out / "plan.json", plan)
    folder, shape = out / "logits", (len(bundle.models), len(bundle.card["classes"]))
    known = _read_blocks(folder, shape)
    keys = [hashlib.sha256(np.ascontiguousarray(patch).data).hexdigest() for patch in store.patches]
    rows_of = dict(zip(keys, range(len(keys)), strict=True))
    missing = [row for key, row in rows_of.items() if key not in known]
    recipe, done = Recipe.from_dict(bundle.card["recipe"]), len(rows_of) - len(missing)
    for start in range(0, len(missing), _BLOCK):
        block = missing[start : start + _BLOCK]
        for first in range(0, len(block), _BATCH):
            rows = block[first : first + _BATCH]
            found = bundle.logits(to_input(np.asarray(store.patches[rows]), recipe, bundle.device)).cpu().numpy()
            known |= {keys[row]: found[:, place] for place, row in enumerate(rows)}
            done += len(rows)
            if progress:
                progress(done, len(rows_of), "")
        _write_block(folder, [keys[row] for row in block], known)
    return np.stack([known[key] for key in keys], axis=1).astype(np.float64)


def _read_blocks(folder: Path, shape: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
    """What earlier calls computed; a block that is damaged is made again."""
    found: dict[str, NDArray[np.float32]] = {}
    for file in sorted(folder.glob("[!.]*.safetensors")):
        try:
            content = load(file.read_bytes())
            logits, keys = content["logits"], content["keys"]
        except (SafetensorError, OSError, KeyError, ValueError):
            continue
        if logits.ndim == 3 and logits.shape[::2] == shape and keys.shape == (logits.shape[1], 32):
            found |= {key.tobytes().hex(): logits[:, place] for place, key in enumerate(keys)}
    return {key: value for key, value in found.items() if np.isfinite(value).all()}


def _write_block(folder: Path, keys: list[str], known: dict[str, NDArray[np.float32]]) -> None:
    names = np.array([list(bytes.fromhex(key)) for key in keys], np.uint8)
    logits = np.stack([known[key] for key in keys], axis=1).astype(np.float32)
    number = 1 + max((int(file.stem) for file in folder.glob("[!.]*.safetensors") if file.stem.isdigit()), default=-1)
    with atomic_path(folder / f"{number:05d}.safetensors") as temporary:
        save_file({"keys": names, "logits": np.ascontiguousarray(logits)}, temporary)


def probabilities(bundle: Bundle, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bundle's own probabilities of lesions, shape (N, classes), from the members' logits."""
    return np.asarray(bundle.to_probabilities(torch.from_numpy(logits)).numpy(), np.float64)
