"""Pretrained weights of many architectures, found before any training begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MolSubCore.errors import BundleError
from MolSubCore.models.pretrained import read_pretrained, weight_file
from MolSubCore.models.registry import get_architecture


@dataclass(frozen=True)
class Weights:
    """What each architecture starts from.

    Attributes
    ----------
    names : dict of str to str
        What its plan records: ``none``, ``auto``, or the SHA-256 of a file.
    sources : dict of str to str
        What `read_pretrained` takes.
    """

    names: dict[str, str]
    sources: dict[str, str]


def find_weights(architectures: Sequence[str], source: str) -> Weights:
    """Weights for architectures, read once each to see that they are there and fit.

    Parameters
    ----------
    source : str
        ``kept`` (by an earlier download), ``auto`` (downloaded where needed), ``none``, or a folder of torchvision's
        files.

    Raises
    ------
    BundleError
        If weights cannot be had, or are others.
    """
    names, sources = {}, {}
    for architecture in architectures:
        chosen, needed = source, get_architecture(architecture).pretrained
        if source not in ("kept", "auto", "none"):
            if not Path(source).is_dir():
                remedy = "Give kept, auto, none, or a folder of torchvision's weight files"
                raise BundleError("--pretrained", f"is '{source}', which is no folder", remedy)
            chosen = str(Path(source) / weight_file(needed)) if needed else "none"
        names[architecture], sources[architecture] = read_pretrained(architecture, chosen).name, chosen
    return Weights(names, sources)
