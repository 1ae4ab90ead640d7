"""Sketches of images, by which copies are found; `MolSubCore.models.fingerprints` tells what they find and reveal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from MolSubCore.cohort.looks import details_of

#: Bytes of a sketch, and side of the grid that it is of.
_BYTES, _SIDE = 64, 24
#: Signs in common from which on two pictures are one; and from which on they are compared with their edges moved.
_SAME, _PERHAPS = 0.74, 0.58


class Sketches:
    """Sketches under a key: 512 signs each, of sums of a picture's fine structure with weights of +1 and -1.

    Parameters
    ----------
    key : bytes
    parts : mapping of str to frozenset of bytes
        Known sketches by part of the cohort.
    """

    def __init__(self, key: bytes, parts: Mapping[str, frozenset[bytes]]) -> None:
        # By a hash, since random generators change between versions; shape (576, 512).
        drawn = hashlib.shake_256(b"sketch" + key).digest(_SIDE * _SIDE * _BYTES)
        bits = np.unpackbits(np.frombuffer(drawn, np.uint8)).reshape(_SIDE * _SIDE, 8 * _BYTES)
        self._weights = bits.astype(np.float32) * 2 - 1
        self._known = {
            name: np.unpackbits(np.frombuffer(b"".join(sorted(own)), np.uint8).reshape(-1, _BYTES), axis=1).astype(
                np.float32
            )
            * 2
            - 1
            for name, own in parts.items()
            if own
        }

    def sketch(self, look: str) -> bytes:
        """The sketch of a picture, of its look (`MolSubCore.cohort.looks.look_of`)."""
        return np.packbits(self._signs(details_of(look))[0] > 0).tobytes()

    def part_like(self, look: str) -> str | None:
        """The part with a picture that looks the same, or None."""
        plain = details_of(look)
        mirrored = plain.reshape(-1, _SIDE, _SIDE)[:, :, ::-1].reshape(plain.shape)
        signs = self._signs(np.concatenate([plain, mirrored]))
        if max(_in_common(signs, table).max() for table in self._known.values()) < _PERHAPS:
            return None
        signs = self._signs(details_of(look, moved=True))
        return next((name for name, table in self._known.items() if _in_common(signs, table).max() >= _SAME), None)

    def _signs(self, details: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(details @ self._weights > 0, np.float32(1), np.float32(-1))


def _in_common(signs: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of signs that are equal, shape (rows of `signs`, rows of `known`)."""
    return np.asarray((1 + signs @ known.T / known.shape[1]) / 2)
