"""The worker's job ``agreement``: two readers' outlines of one image or of many."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.errors import LesionError, MolSubError
from MolSubCore.files import try_place
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.agreement import RULES, agreement, consensus
from MolSubCore.lesions.masks import read_lesions, write_mask
from MolSubCore.worker.protocol import Progress, check_options

_MEASURES = ("dice", "jaccard", "hausdorff", "hausdorff_95", "box_iou", "box_kappa")


def compare(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``agreement``.

    Parameters
    ----------
    options : mapping
        ``image``, ``first`` and ``second`` (masks, polygon files or boxes), or ``pairs``: a list of such, in which
        ``first`` or ``second`` may be null where a reader saw no lesion. Optional: ``consensus`` (``first``,
        ``second``, ``union``, ``intersection``) with ``out``: a file ending in .nii.gz or .nrrd, or in every pair its
        own; no file is written over.

    Returns
    -------
    dict
        Of one image: `Agreement.to_dict`, ``warnings``, and ``consensus`` (the file) where asked. Of pairs: ``items``
        (the same for every pair, with ``consensus_problem`` in place of an empty consensus;
        ``{"only": "first" | "second" | "neither"}`` where one saw no lesion), and ``summary``: by measure ``median,
        low, high`` (quartiles) and ``n``, of the images that both outlined; distances by unit.

    Raises
    ------
    MolSubError
        If something cannot be read, does not lie on the image's grid, or has no consensus.
    """
    rule = options.get("consensus")
    if options.get("pairs") is None:
        check_options("agreement", options, "image", "first", "second", optional=("out", "consensus", "pairs"))
        return _one(options, rule)
    check_options("agreement", options, optional=("pairs", "consensus"))
    for number, pair in enumerate(options["pairs"], start=1):
        check_options("agreement", pair, "image", optional=("first", "second", "out"), of=f" of pair {number}")
    items = []
    for number, pair in enumerate(options["pairs"], start=1):
        both = pair.get("first") and pair.get("second")
        items.append(_one(pair, rule, among_others=True) if both else _alone(pair, rule))
        progress(number / len(options["pairs"]), stage="comparing")
    return {"items": items, "summary": _summary(items)}


def _one(options: Mapping[str, Any], rule: str | None, *, among_others: bool = False) -> dict[str, Any]:
    """One image; among others, an empty consensus is reported in its result and does not end the job."""
    if rule and options.get("out"):
        _check_out(Path(options["out"]))
    mammogram = read_mammogram(options["image"])
    first, second = (read_lesions(options[name], mammogram) for name in ("first", "second"))
    result = agreement(first, second, mammogram.spacing).to_dict()
    both = (("First", first), ("Second", second))
    result["warnings"] = [f"{name} outline: {text}" for name, lesions in both for text in lesions.remarks]
    if rule:
        try:
            mask = consensus(first, second, rule)  # type: ignore[arg-type]
        except LesionError as error:
            if not among_others or rule not in RULES:
                raise
            result["consensus_problem"] = error.problem
        else:
            result["consensus"] = str(_write(options, mammogram, mask))
    return result


def _alone(pair: Mapping[str, Any], rule: str | None) -> dict[str, Any]:
    """One reader saw no lesion: the union is the other's outline, the intersection is empty."""
    only = "first" if pair.get("first") else "second" if pair.get("second") else "neither"
    result: dict[str, Any] = {"only": only}
    if only != "neither" and rule in ("union", only):
        mammogram = read_mammogram(pair["image"])
        lesions = read_lesions(pair[only], mammogram)
        result["consensus"] = str(_write(pair, mammogram, consensus(lesions, lesions, "first")))
    return result


def _write(options: Mapping[str, Any], mammogram: Mammogram, mask: NDArray[np.uint8]) -> Path:
    """Write a mask as ITK-SNAP does: one slice on the image's grid."""
    out = Path(options.get("out") or "")
    _check_out(out)
    write_mask(out, mask, row_mm=mammogram.spacing.row_mm, col_mm=mammogram.spacing.col_mm, new=True)
    return out


def _check_out(out: Path) -> None:
    """Refuse a place for a mask before any work."""
    if not out.name.endswith((".nii.gz", ".nrrd")):
        raise MolSubError("consensus", f"would be written to '{out}'", "Give out, a file ending in .nii.gz or .nrrd")
    if os.path.lexists(out):
        raise MolSubError(out, "exists already", "Choose another file")
    try_place(out)


def _summary(items: list[dict[str, Any]]) -> dict[str, Any]:
    both = [item for item in items if "only" not in item]
    found: dict[str, Any] = {"images": len(items), "both": len(both)}
    for name in _MEASURES:
        units = ("mm", "px") if name.startswith("hausdorff") else ("",)
        for unit in units:
            values = [item[name] for item in both if item[name] is not None and unit in ("", item["unit"])]
            if values:
                low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
                key = f"{name}_{unit}" if unit else name
                found[key] = {"median": middle, "low": low, "high": high, "n": len(values)}
    return found


def agreement_lines(result: Mapping[str, Any]) -> list[str]:
    """The result for one image, for the terminal."""
    unit, square = result["unit"], "mm2" if result["unit"] == "mm" else "px"
    kappa = "undefined" if result["box_kappa"] is None else f"{result['box_kappa']:.3f}"
    region = result["kappa_region"]
    where = f"rows {region['row_start']} to {region['row_stop']}, columns {region['col_start']} to {region['col_stop']}"
    lines = [
        f"Lesions: first {result['lesions_first']}, second {result['lesions_second']}",
        f"Area: first {result['area_first']:.1f} {square}, second {result['area_second']:.1f} {square}",
        f"Dice {result['dice']:.3f}, Jaccard {result['jaccard']:.3f}",
        f"Hausdorff distance {result['hausdorff']:.2f} {unit}, 95th percentile {result['hausdorff_95']:.2f} {unit}",
        f"Boxes: intersection over union {result['box_iou']:.3f}, Cohen's kappa {kappa} (over {where})",
    ]
    lines += [f"Warning: {text}" for text in result["warnings"]]
    return lines + ([f"Consensus: {result['consensus']}"] if "consensus" in result else [])
