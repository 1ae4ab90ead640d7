"""A recalibrated copy of a bundle: the same weights, other probabilities; the bundle it is made of is not touched.

The card's ``recalibration`` holds ``slope`` and ``intercepts`` (one per class): `Bundle.to_probabilities` turns the
mean p of its members into ``softmax(slope * log p + intercepts)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from MolSubCore.errors import BundleError, MolSubError
from MolSubCore.models.card import CARD, card_bytes, check_target, now, read_card, read_member, write_entries
from MolSubCore.models.fingerprints import RECALIBRATION, read_fingerprints


def check_recalibrated(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Refuse before any work what `write_recalibrated` would refuse after it.

    Raises
    ------
    MolSubError
        If `target` is `source`, exists and may not be replaced, or `source` is recalibrated already.
    """
    if target.resolve() == source.resolve():
        raise MolSubError(target, "is the bundle itself, which is not touched", "Choose another name for the new one")
    check_target(target, overwrite=overwrite, remedy="Choose another name, or remove it")
    if read_card(source).get("recalibration"):
        raise BundleError(source, "is recalibrated already", "Give the bundle that it was made of")


def write_recalibrated(
    source: Path, target: Path, change: dict[str, Any], *, images: Sequence[str] = (), overwrite: bool = False
) -> Path:
    """Write a bundle with the weights of `source` and a recalibration, whole or not at all.

    Parameters
    ----------
    source, target : Path
        Folders, or files ending in ``.molsub``.
    change : dict
        ``method``, ``slope`` (above 0), ``intercepts`` and what else is known of it, JSON-ready.
    images : sequence of str
        Hashes of the images that it was fitted on, for their fingerprints.

    Raises
    ------
    MolSubError
        As `check_recalibrated`, or if a weight file is damaged.
    """
    check_recalibrated(source, target, overwrite=overwrite)
    card = read_card(source)
    members = {member["file"]: read_member(source, member) for member in card["members"]}
    version = _next_version(str(card.get("version", "1.0.0")))
    text = f"recalibrated ({change['method']}) on {change.get('patients')} patients: {change.get('fitted_on')}"
    training = dict(card.get("training") or {})
    known = read_fingerprints(training.get("fingerprints"))
    if known and images:
        training["fingerprints"] = known.with_part(RECALIBRATION, images).to_dict()
    new = card | {
        "training": training,
        "name": target.stem,
        "recalibration": change,
        "thresholds": [_moved(one, card["classes"], change) for one in card.get("thresholds", ())],
        "version": version,
        "changelog": {version: text, **(card.get("changelog") or {})},
        "made_of": {"name": card.get("name"), "created": card.get("created")},
        "created": now(),
    }
    write_entries(target, {CARD: card_bytes(new), **members}, overwrite=overwrite)
    return target


def _next_version(version: str) -> str:
    """The second number one higher."""
    parts = version.split(".")
    try:
        return f"{int(parts[0])}.{int(parts[1]) + 1}.0"
    except (ValueError, IndexError):
        return "1.1.0"


def _moved(threshold: dict[str, Any], classes: list[str], change: dict[str, Any]) -> dict[str, Any]:
    """A threshold where the recalibration moves it: exact for one lesion in one view, close for a mean of views."""
    value, (first, second) = float(threshold["value"]), change["intercepts"]
    if not 0 < value < 1:
        return threshold
    shift = second - first if classes.index(threshold["positive"]) == 1 else first - second
    logit = float(change["slope"]) * math.log(value / (1 - value)) + shift
    return threshold | {"value": 1 / (1 + math.exp(-logit)), "before_recalibration": value}
