"""Subtypes from receptor status, as far as it tells them (St. Gallen surrogates, without Ki-67)."""

from __future__ import annotations

from MolSubCore.tasks import PartialSubtype, Subtype, SubtypeLabel

NOT_RECORDED = "receptor status not recorded"
INCOMPLETE = "receptor status incomplete or uncertain"


def from_receptors(er: bool | None, pr: bool | None, her2: bool | None) -> tuple[SubtypeLabel | None, str]:
    """Subtype by oestrogen, progesterone and HER2 receptor; None is unknown or uncertain.

    Hormone receptors are positive if one of them is, negative only if both are. Positive ones without HER2 are
    Luminal A or B: which of them, only Ki-67 (or the grade) would tell.

    Returns
    -------
    subtype : Subtype, PartialSubtype or None
    reason : str
        Why there is none; else empty.
    """
    hormone = True if er or pr else False if er is False and pr is False else None
    found: dict[tuple[bool | None, bool | None], SubtypeLabel] = {
        (True, True): Subtype.HER2_HR_POSITIVE,
        (True, False): Subtype.HER2_HR_NEGATIVE,
        (True, None): PartialSubtype.HER2,
        (False, True): PartialSubtype.HR_POSITIVE_HER2_NEGATIVE,
        (False, False): Subtype.TN,
    }
    subtype = found.get((her2, hormone))
    if subtype is not None:
        return subtype, ""
    return None, NOT_RECORDED if er is None and pr is None and her2 is None else INCOMPLETE
