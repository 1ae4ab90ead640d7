"""What a warm worker keeps: the last mammograms and the last bundle, as long as their files do not change."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from MolSubCore.imaging.io.content import file_state
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram

if TYPE_CHECKING:
    from MolSubCore.models.bundle import Bundle

_Value = TypeVar("_Value")
PathText = str | os.PathLike[str]

#: Four views, and those of the previous patient.
_MAMMOGRAMS, _BUNDLES = 8, 1


class Kept(Generic[_Value]):
    """The last values that were read, by key.

    Parameters
    ----------
    most : int
        How many are kept; the least recently used goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def get(self, key: Hashable, read: Callable[[], _Value]) -> _Value:
        """The value of this key; read now, and kept, where it is new."""
        if key not in self._values:
            while len(self._values) >= self._most:
                self._values.popitem(last=False)  # before reading, so that both need not fit into memory
            self._values[key] = read()
        self._values.move_to_end(key)
        return self._values[key]

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()


_mammograms: Kept[Mammogram] = Kept(_MAMMOGRAMS)
_bundles: Kept[Bundle] = Kept(_BUNDLES)


def cached_mammogram(path: PathText) -> Mammogram:
    """`read_mammogram`, or what it gave before for the same, unchanged file."""
    return _mammograms.get(file_state(path), lambda: read_mammogram(path))


def mammogram_of(entry: Mapping[str, str]) -> Mammogram:
    """The mammogram of a request's ``image``, with the request's ``view`` where the file does not state it."""
    found = cached_mammogram(entry["image"])
    return found if found.view or not entry.get("view") else replace(found, view=entry["view"])


def cached_bundle(name: PathText, device: str = "auto") -> Bundle:
    """The bundle at a path or of a name in the library, ready on a device; the last one is kept."""
    from MolSubCore.models.bundle import read_bundle
    from MolSubCore.models.card import find_bundle

    path = find_bundle(name)
    return _bundles.get((device, file_state(path)), lambda: read_bundle(path, device=device))


def forget() -> None:
    """Empty both caches."""
    _mammograms.clear()
    _bundles.clear()
