"""MolSubCore: molecular subtypes of breast cancer from mammograms. Research use only."""

from __future__ import annotations

__version__ = "0.1.0"

DISCLAIMER = (
    "Research use only. Not a medical device; not for diagnosis, treatment decisions or any use on the care of a patient."
)
