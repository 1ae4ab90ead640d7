"""The worker's job ``report``: a prediction as files, with its report as HTML and PDF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from MolSubCore.files import OVERWRITE, check_free
from MolSubCore.prediction.predict import predict
from MolSubCore.prediction.write import save_prediction
from MolSubCore.worker.cache import cached_bundle, mammogram_of
from MolSubCore.worker.options import Progress, image_pairs, named_images, require


def write_report(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``report``.

    Parameters
    ----------
    options : mapping
        ``bundle``, ``images`` (a list of ``{"image", "lesions"}``, one patient's; each may have ``side``, L or R,
        ``view`` for a file that does not tell it, and ``lesion_id``) and ``out`` (a folder to make);
        optional: ``notes`` (warnings of the program's own, which the report tells first), ``identified``,
        ``overwrite``, ``classes`` (``predicted``, ``all`` or names), ``layers``, ``device``.
    progress : callable
        ``progress(share, stage=...)``: ``loading model``, ``predicting``, ``writing``.

    Returns
    -------
    dict
        ``folder``, ``html`` and ``pdf``.

    Raises
    ------
    MolSubError
        For anything that cannot be read or does not fit; before any work, where `out` is taken.
    """
    require("report", options, "bundle", "images", "out")
    pairs = image_pairs("report", options)
    out, overwrite = Path(options["out"]), bool(options.get("overwrite"))
    check_free(out, replaces="prediction.json" if overwrite else None, remedy=OVERWRITE)
    progress(0.0, stage="loading model")
    bundle = cached_bundle(options["bundle"], options.get("device") or "auto")
    progress(0.1, stage="predicting")
    classes = options.get("classes") or "predicted"
    layers, named = options.get("layers"), named_images(options)
    images = {str(entry["image"]): mammogram_of(entry) for entry in options["images"]}
    prediction = predict(pairs, bundle, layers=layers, classes=classes, read=lambda path: images[str(path)], **named)
    notes = dict.fromkeys([*(options.get("notes") or ()), *prediction.warnings])
    prediction = replace(prediction, warnings=tuple(notes))
    progress(0.6, stage="writing")
    save_prediction(prediction, out, identified=bool(options.get("identified")), overwrite=overwrite)
    return {"folder": str(out), "html": str(out / "report.html"), "pdf": str(out / "report.pdf")}
