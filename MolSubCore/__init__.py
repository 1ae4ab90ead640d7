"""MolSubCore: molecular subtypes of breast cancer from mammograms. Research use only."""

from __future__ import annotations

__version__ = "0.1.0"

DISCLAIMER = "Research use only. Not a medical device; not for diagnosis, treatment or any use in patient care."

#: Public names and where they live; imported on first use, so that ``import MolSubCore`` stays light.
_EXPORTS = {
    "read_mammogram": "MolSubCore.imaging.io.reader",
    "read_lesions": "MolSubCore.lesions.lesion",
    "extract_rois": "MolSubCore.lesions.roi",
    "get_recipe": "MolSubCore.lesions.preprocessing",
    "read_bundle": "MolSubCore.models.bundle",
    "MolSubError": "MolSubCore.errors",
}
__all__ = ["DISCLAIMER", "__version__", *_EXPORTS]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'MolSubCore' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_EXPORTS[name]), name)
