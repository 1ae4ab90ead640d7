"""Which images a model has seen, in a form that a bundle may carry: a keyed hash and a keyed sketch of each.

An image's fingerprint is the first 8 bytes of HMAC-SHA256 of its `Mammogram.pixel_hash` under a random key that is
drawn for every run and stored with the fingerprints. What they reveal:

- To someone who has the bundle and an image, pixel for pixel: whether the model was trained on it (their purpose).
- Nothing about other images: pixels, unlike patient ids, cannot be guessed, and no id is hashed.
- Nothing by comparison: two bundles of one cohort share no fingerprint, because their keys differ.
- How many images there were. They are sorted, so that their order reveals nothing.

A hash knows no copy that was resaved. For these there is a sketch of 64 bytes: the signs of 512 sums of the breast's
fine structure on a grid of 24 x 24 (`MolSubCore.cohort.looks.details_of`; ranks, without brightness), with weights +1
and -1 drawn from the key. Two pictures of correlation r have 1 - arccos(r) / pi of these signs in common (Charikar,
STOC 2002). What sketches reveal:

- To someone who has the bundle and a copy of an image, resaved, of another size or display: the same.
- To whoever has the bundle, since the key lies beside it: about what a blurred picture of 24 x 24 pixels of each
  breast's texture would show, in ranks. Nobody is known by that; two sketches of one picture in two bundles, worked
  back to such pictures, could be told to be of one. Sketches are sorted, and not next to their hash.
- A model of which not even that may be known has to be exported without (`fingerprints` taken out of its card).

Measured on 18 real mammograms (153 pairs, some of one woman) and 80 synthetic ones (3,160 pairs), under three keys:
different ones have at most 0.72 and 0.73 of the signs in common; `_SAME` is 0.74. Of the real ones all copies were
found that were saved as 8-bit PNG, as JPEG of quality 75, at half size, with a gamma of 0.5, less 20 pixels at each
edge, mirrored, or half, padded and mirrored together; 17 or 18, by the key, padded by a twelfth; 14 to 16 less 3 % at
each edge; 16 through a window that clips a fifth of the breast to black. Not found are copies that are cut further,
and those on which the breast is not found as it was: a small picture with noise in its air that is padded with zeros.

New images of a known patient have no fingerprint: only the hospital can recognise them.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from MolSubCore.errors import BundleError

if TYPE_CHECKING:
    from MolSubCore.models.sketches import Sketches

_FORMAT = "molsub-fingerprints"
_VERSION = 2  # the first had no sketches
_SKETCH = 64  # bytes
_BYTES = 8  # among 10,000 x 10,000 images, a false match has a chance of 5e-12

#: Parts of a cohort: trained or chosen on, kept for the test, and what a recalibration was fitted on.
DEVELOPMENT, TEST, RECALIBRATION = "development", "test", "recalibration"


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of a model's images.

    Attributes
    ----------
    key : bytes
    parts : dict of str to frozenset of bytes
        By `DEVELOPMENT`, `TEST`, `RECALIBRATION`.
    sketches : dict of str to frozenset of bytes
        Of the same parts; empty in bundles of before.
    """

    key: bytes
    parts: Mapping[str, frozenset[bytes]]
    sketches: Mapping[str, frozenset[bytes]] = field(default_factory=dict)

    def part_of(self, pixel_hash: str) -> str | None:
        """The part that an image is in, or None."""
        own = _fingerprint(self.key, pixel_hash)
        return next((name for name, known in self.parts.items() if own in known), None)

    def part_like(self, look: str) -> str | None:
        """The part with an image that looks the same, resaved, displayed otherwise, padded or mirrored; or None.

        Parameters
        ----------
        look : str
            `MolSubCore.cohort.looks.look_of`.
        """
        return self._sketches.part_like(look) if any(self.sketches.values()) else None

    def with_part(self, name: str, pixel_hashes: Iterable[str], looks: Iterable[str] = ()) -> Fingerprints:
        """A copy with more images in a part: their hashes and looks."""
        more = frozenset(_fingerprint(self.key, one) for one in pixel_hashes)
        parts = {**self.parts, name: self.parts.get(name, frozenset()) | more}
        drawn = frozenset(self._sketches.sketch(look) for look in looks)
        return Fingerprints(self.key, parts, {**self.sketches, name: self.sketches.get(name, frozenset()) | drawn})

    @cached_property
    def _sketches(self) -> Sketches:
        from MolSubCore.models.sketches import Sketches  # NumPy: a card is read without it

        return Sketches(self.key, self.sketches)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        parts, sketches = (
            {name: base64.b64encode(b"".join(sorted(known))).decode() for name, known in each.items()}
            for each in (self.parts, self.sketches)
        )
        head = {"format": _FORMAT, "format_version": _VERSION, "key": self.key.hex(), "bytes": _BYTES}
        return head | {"parts": parts, "sketches": sketches}


def new_fingerprints() -> Fingerprints:
    """None yet, under a key of their own."""
    return Fingerprints(secrets.token_bytes(32), {})


def read_fingerprints(content: Any) -> Fingerprints | None:
    """Read what `Fingerprints.to_dict` made; None where there is nothing.

    Raises
    ------
    BundleError
        If it has another form.
    """
    if content is None:
        return None
    try:
        known = content["format_version"] in (1, _VERSION)
        if not known or (content["format"], content["bytes"]) != (_FORMAT, _BYTES):
            raise ValueError("another format")
        parts = _read_parts(content["parts"], _BYTES)
        sketches = _read_parts(content["sketches"], _SKETCH) if content["format_version"] == _VERSION else {}
        return Fingerprints(bytes.fromhex(content["key"]), parts, sketches)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        found = f"have an unexpected form ({type(error).__name__})"
        raise BundleError("fingerprints of the training images", found, "Export the model again") from None


def _read_parts(content: Mapping[str, str], size: int) -> dict[str, frozenset[bytes]]:
    parts = {}
    for name, text in content.items():
        data = base64.b64decode(text, validate=True)
        if len(data) % size:
            raise ValueError("cut short")
        parts[str(name)] = frozenset(data[start : start + size] for start in range(0, len(data), size))
    return parts


def _fingerprint(key: bytes, pixel_hash: str) -> bytes:
    return hmac.digest(key, pixel_hash.encode(), "sha256")[:_BYTES]
