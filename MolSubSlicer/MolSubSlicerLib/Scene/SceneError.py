"""The one exception of the scene code."""

from __future__ import annotations


class SceneError(ValueError):
    """Something in the scene cannot be used: one sentence for the panel, with the way out."""
