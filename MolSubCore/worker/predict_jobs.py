"""The worker's jobs ``predict`` and ``warm``: probabilities and heatmaps for a program that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from MolSubCore.worker.loading import load
from MolSubCore.worker.options import Progress, require

#: Loads PyTorch.
_HEAVY = "MolSubCore.worker.prediction"


def predict(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``predict``.

    Parameters
    ----------
    options : mapping
        ``bundle``, ``images`` (a list of ``{"image", "lesions"}``, one patient's; each may have ``side``, L or R,
        ``view`` for a file that does not tell it, and ``lesion_id``) and ``out`` (a folder; made where it is missing).
        Optional: ``classes`` (``all``, the default, ``predicted``, or names), ``layers`` (null for the architecture's
        own, a list for these), ``device``, ``same_patient`` (true where somebody confirmed that images which name
        nobody are of one patient).
    progress : callable
        ``progress(share, stage=...)``: ``loading model``, ``reading``, ``predicting``, ``predicted``, ``writing``. The
        event of ``predicted`` holds the whole ``prediction`` with the maps of each image's predicted class alone, so
        that a result can be shown while those of the other classes are made.

    Returns
    -------
    dict
        ``prediction``, also in ``OUT/prediction.json``; see `MolSubCore.worker.prediction.predict_images`.

    Raises
    ------
    MolSubError
        For anything that cannot be read or does not fit, and where memory does not suffice.
    """
    require("predict", options, "bundle", "images", "out")
    progress(0.0, stage="loading model")
    found: dict[str, Any] = load(_HEAVY).predict_images(options, progress)
    return {"prediction": found}


def warm(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``warm``: load what a prediction needs, and with ``bundle`` predict an empty patch of it.

    Parameters
    ----------
    options : mapping
        Optional: ``bundle`` and ``device``.
    progress : callable
        ``progress(share, stage=...)``: ``loading PyTorch``, ``loading model``, ``predicting``.

    Returns
    -------
    dict
        Empty.
    """
    progress(0.0, stage="loading PyTorch")
    module = load(_HEAVY)
    for name in ("SimpleITK", "MolSubCore.imaging.io.dicom", "MolSubCore.lesions.masks", "scipy.ndimage"):
        load(name)  # what a first picture and a first mask would load
    if options.get("bundle"):
        module.dry_pass(options["bundle"], options.get("device") or "auto", progress)
    return {}
