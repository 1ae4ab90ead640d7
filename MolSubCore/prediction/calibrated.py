"""How a model's probabilities are calibrated: the one place that says so, for every result and every evaluation.

A result's probabilities are those of its mean over views and lesions, calibrated. Single lesions, which no calibration
was fitted on, are shown through the same map, so that they can be read beside it; the result is not exactly their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MolSubCore.statistics.calibration import mapped

Calibrate = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def calibration_of(card: Mapping[str, Any]) -> Calibrate | None:
    """What makes of mean probabilities, shape (N, classes), those that are reported.

    Parameters
    ----------
    card : mapping
        The model bundle's.

    Returns
    -------
    callable or None
        The model's calibration, then its recalibration on another cohort. None where there is neither, or, in bundles
        of before, one that the bundle itself applies to each lesion.
    """
    return _calibrate(card)


def calibration_of_lesions(card: Mapping[str, Any]) -> Calibrate | None:
    """What single lesions are shown through: `calibration_of`, of a fused model that of its networks alone."""
    bases = (card.get("fusion") or {}).get("bases")
    return _calibrate(bases[0] if bases else card)


def _calibrate(card: Mapping[str, Any]) -> Calibrate | None:
    found = [one for name in ("calibration", "recalibration") if (one := card.get(name)) and one.get("acts_on")]
    if not found:
        return None

    def calibrate(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        for one in found:
            probabilities = mapped(probabilities, float(one["slope"]), one["intercepts"])
        return probabilities

    return calibrate
