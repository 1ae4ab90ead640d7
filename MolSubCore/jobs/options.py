"""Options of jobs, checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from MolSubCore.errors import MolSubError

#: A job's progress: share done, 0 to 1, and anything JSON-ready beside it.
Progress = Callable[..., None]


def require(job: str, options: Mapping[str, Any], *names: str) -> None:
    """Refuse a job that lacks one of these options.

    Raises
    ------
    MolSubError
        That names the first one.
    """
    for name in names:
        if not options.get(name):
            raise MolSubError(job, f"lacks the option {name}", "Give it")
