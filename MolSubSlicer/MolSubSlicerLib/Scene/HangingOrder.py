"""Where each mammogram belongs on the screen, and which way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_VIEW_ORDER = ("CC", "MLO")


def arrangement(volumes: Sequence[Any]) -> tuple[dict[tuple[int, int], Any], tuple[int, int]]:
    """Cells (row, column) of the volumes, and the numbers of rows and columns.

    Two sides: right breasts in the left column, left ones in the right column, the same view in one row.
    One side: beside each other.
    """
    sides: dict[str, list[Any]] = {"R": [], "L": []}
    for volume in sorted(volumes, key=_rank_and_view):
        sides[_side(volume, sides)].append(volume)
    right, left = sides["R"], sides["L"]
    if not right or not left:
        row = right or left
        return {(0, column): volume for column, volume in enumerate(row)}, (1, len(row))
    height = max(len(right), len(left))
    views = sorted({_rank_and_view(volume) for volume in volumes})
    by_view = len(views) == height and all(
        len({_rank_and_view(v) for v in side}) == len(side) for side in (right, left)
    )
    cells = {}
    for column, side in enumerate((right, left)):
        for position, volume in enumerate(side):
            cells[views.index(_rank_and_view(volume)) if by_view else position, column] = volume
    return cells, (height, 2)


def _rank_and_view(volume: Any) -> tuple[int, str]:
    view = volume.GetAttribute("MolSub.View") or ""
    return (_VIEW_ORDER.index(view) if view in _VIEW_ORDER else len(_VIEW_ORDER)), view


def _side(volume: Any, sides: dict[str, list[Any]]) -> str:
    """The column of a volume; of an unknown side, by its chest wall, else the emptier one."""
    side = volume.GetAttribute("MolSub.Laterality")
    if side in sides:
        return side
    wall = volume.GetAttribute("MolSub.ChestWall")
    if wall in ("left", "right"):
        return "R" if wall == "right" else "L"
    return "R" if len(sides["R"]) <= len(sides["L"]) else "L"


def is_turned_over(volume: Any) -> bool:
    """Whether the picture is stored with its chest wall on the outer side, so that its view mirrors it."""
    wanted = {"R": "right", "L": "left"}.get(volume.GetAttribute("MolSub.Laterality") or "")
    wall = volume.GetAttribute("MolSub.ChestWall")
    return wanted is not None and wall in ("left", "right") and wall != wanted


def chest_wall_on_screen(volume: Any) -> str | None:
    """Side of the screen, "left" or "right", on which a hung picture's chest wall is; None where unknown."""
    wall = volume.GetAttribute("MolSub.ChestWall")
    if wall not in ("left", "right"):
        return None
    return "right" if (wall == "right") != is_turned_over(volume) else "left"
