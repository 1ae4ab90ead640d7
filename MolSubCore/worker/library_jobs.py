"""The worker's jobs on the model library: ``library-list``, ``import-checkpoint``, ``export-bundle``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from MolSubCore.errors import MolSubError
from MolSubCore.models.card import check_target, copy_bundle, find_bundle, library_folder, read_card, scan_library
from MolSubCore.worker.loading import load
from MolSubCore.worker.options import Progress, require


def list_library(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``library-list``.

    Parameters
    ----------
    options : mapping
        Optional: ``folder``; the user's library where it is left out. One that does not exist is empty.

    Returns
    -------
    dict
        ``bundles`` (``path, name, card``) and ``problems`` (``path, problem``), by the names of their files.
    """
    folder = Path(options["folder"]) if options.get("folder") else library_folder()
    found, problems = scan_library(folder)
    return {
        "bundles": [
            {"path": str(path), "name": path.name.removesuffix(".molsub"), "card": card} for path, card in found
        ],
        "problems": [{"path": error.subject, "problem": str(error)} for error in problems],
    }


def import_checkpoint(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``import-checkpoint``: make a bundle of a published ``.pth`` file, without executing it.

    Parameters
    ----------
    options : mapping
        ``checkpoint``, ``task`` and ``out`` (a file ending in ``.molsub``, or a folder to make). Optional:
        ``architecture``, ``class_order`` (names, in the order of the logits), ``overwrite``.

    Returns
    -------
    dict
        ``path`` and ``card``.

    Raises
    ------
    MolSubError
        If the file does not fit, or `out` is there already (said before anything is read).
    """
    require("import-checkpoint", options, "checkpoint", "task", "out")
    out, overwrite = Path(options["out"]), bool(options.get("overwrite"))
    check_target(out, overwrite=overwrite, remedy="Choose another name")
    progress(0.0, stage="loading PyTorch")
    published = load("MolSubCore.models.published")
    progress(0.5, stage="importing")
    published.import_published(
        Path(options["checkpoint"]),
        options["task"],
        out,
        architecture=options.get("architecture") or published.ARCHITECTURE,
        class_order=options.get("class_order"),
        overwrite=overwrite,
    )
    return {"path": str(out), "card": read_card(out)}


def export_bundle(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``export-bundle``: a copy of a bundle, to give away; every part is checked by its SHA-256.

    Parameters
    ----------
    options : mapping
        ``bundle`` (a path, or a name in the user's library) and ``out`` (a file ending in ``.molsub``, or a folder to
        make). Optional: ``overwrite``.

    Returns
    -------
    dict
        ``path``.

    Raises
    ------
    MolSubError
        If the bundle is damaged, or `out` is there already.
    """
    require("export-bundle", options, "bundle", "out")
    source, out, overwrite = find_bundle(options["bundle"]), Path(options["out"]), bool(options.get("overwrite"))
    if out.exists() and out.samefile(source):
        raise MolSubError(out, "is the bundle itself", "Choose another place")
    check_target(out, overwrite=overwrite, remedy="Choose another name")
    progress(0.0, stage="copying")
    copy_bundle(source, out, overwrite=overwrite)
    return {"path": str(out)}
