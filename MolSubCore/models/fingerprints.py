"""Which images a model has seen, in a form that a bundle may carry: a keyed hash of each.

An image's fingerprint is the first 8 bytes of HMAC-SHA256 of its `Mammogram.pixel_hash` under a random key that is
drawn for every run and stored with the fingerprints. What they reveal:

- To someone who has the bundle and an image, pixel for pixel: whether the model was trained on it (their purpose).
- Nothing about other images: pixels, unlike patient ids, cannot be guessed, and no id is hashed.
- Nothing by comparison: two bundles of one cohort share no fingerprint, because their keys differ.
- How many images there were. They are sorted, so that their order reveals nothing.

New images of a known patient have no fingerprint: only the hospital can recognise them.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from MolSubCore.errors import BundleError

_FORMAT = "molsub-fingerprints"
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
    """

    key: bytes
    parts: Mapping[str, frozenset[bytes]]

    def part_of(self, pixel_hash: str) -> str | None:
        """The part that an image is in, or None."""
        own = _fingerprint(self.key, pixel_hash)
        return next((name for name, known in self.parts.items() if own in known), None)

    def with_part(self, name: str, pixel_hashes: Iterable[str]) -> Fingerprints:
        """A copy with more images in a part."""
        more = frozenset(_fingerprint(self.key, one) for one in pixel_hashes)
        return Fingerprints(self.key, {**self.parts, name: self.parts.get(name, frozenset()) | more})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        parts = {name: base64.b64encode(b"".join(sorted(known))).decode() for name, known in self.parts.items()}
        return {"format": _FORMAT, "format_version": 1, "key": self.key.hex(), "bytes": _BYTES, "parts": parts}


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
        if (content["format"], content["format_version"], content["bytes"]) != (_FORMAT, 1, _BYTES):
            raise ValueError("another format")
        parts = {}
        for name, text in content["parts"].items():
            data = base64.b64decode(text, validate=True)
            if len(data) % _BYTES:
                raise ValueError("cut short")
            parts[str(name)] = frozenset(data[start : start + _BYTES] for start in range(0, len(data), _BYTES))
        return Fingerprints(bytes.fromhex(content["key"]), parts)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        found = f"have an unexpected form ({type(error).__name__})"
        raise BundleError("fingerprints of the training images", found, "Export the model again") from None


def _fingerprint(key: bytes, pixel_hash: str) -> bytes:
    return hmac.digest(key, pixel_hash.encode(), "sha256")[:_BYTES]
