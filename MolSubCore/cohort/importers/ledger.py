"""Where every input of an import went: the books must balance, or the import fails."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

USED = "in the table"


class LedgerFault(AssertionError):
    """An input without a place, with two, or one that was never read: a fault of the importer, not of the data."""


class Ledger:
    """Inputs of one kind, each of which is used or left out for exactly one reason.

    Parameters
    ----------
    kind : str
        What the inputs are, in the plural: ``images``.
    used : str
        The name of the place of those that were used.
    """

    def __init__(self, kind: str, used: str = USED) -> None:
        self.kind, self.used = kind, used
        self._places: dict[str, str | None] = {}

    def expect(self, key: str) -> None:
        """An input has been read; its place is open."""
        if key in self._places:
            raise LedgerFault(f"{self.kind}: {key} was read twice")
        self._places[key] = None

    def place(self, key: str, reason: str | None = None) -> None:
        """An input is left out for `reason`, or used."""
        if key not in self._places:
            raise LedgerFault(f"{self.kind}: {key} was never read")
        if self._places[key] is not None:
            raise LedgerFault(f"{self.kind}: {key} has two places: {self._places[key]}, {reason or self.used}")
        self._places[key] = reason or self.used

    def balance(self, used: int | None = None) -> None:
        """Every input has one place, and as many are used as there ought to be.

        Raises
        ------
        LedgerFault
        """
        missing = [key for key, place in self._places.items() if place is None]
        if missing:
            raise LedgerFault(f"{self.kind}: {len(missing)} input(s) went nowhere, first {missing[0]}")
        counts = self.counts()
        if sum(counts.values()) != len(self._places):
            raise LedgerFault(f"{self.kind}: {len(self._places)} were read, {sum(counts.values())} have a place")
        if used is not None and counts.get(self.used, 0) != used:
            raise LedgerFault(f"{self.kind}: {counts.get(self.used, 0)} {self.used}, which holds {used}")

    def counts(self) -> dict[str, int]:
        """Inputs in every place, the used ones first, then by number."""
        found = Counter(place for place in self._places.values() if place is not None)
        used = found.pop(self.used, 0)
        return {self.used: used, **dict(found.most_common())}

    def left_out(self) -> dict[str, list[str]]:
        """Keys of the inputs that were left out, by reason."""
        found: dict[str, list[str]] = {}
        for key, place in self._places.items():
            if place is not None and place != self.used:
                found.setdefault(place, []).append(key)
        return found

    def to_dict(self) -> dict[str, Any]:
        """For the import report."""
        left = {reason: len(keys) for reason, keys in self.left_out().items()}
        return {
            "total": len(self._places),
            "used": {self.used: self.counts()[self.used]},
            "left_out": left,
            "left_out_inputs": self.left_out(),
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        counts = self.counts()
        total, used = len(self._places), counts.pop(self.used)
        kind = re.sub(r"s\b", "", self.kind, count=1) if total == 1 else self.kind  # 1 image, 1 row of the table
        lines = [f"{total} {kind}: {used} {self.used}, {sum(counts.values())} not"]
        return lines + [f"{count:8}  {reason}" for reason, count in counts.items()]
