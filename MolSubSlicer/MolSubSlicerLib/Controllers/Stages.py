"""How far a job is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _


def stage_text(values: Mapping[str, Any]) -> str:
    """What a job's progress says it is doing."""
    known = {
        "loading PyTorch": _("Loading PyTorch"),
        "loading model": _("Loading the model"),
        "reading": _("Reading the images"),
        "predicting": _("Predicting"),
        "writing": _("Writing the results"),
    }
    stage = str(values.get("stage") or "")
    return known.get(stage, stage)
