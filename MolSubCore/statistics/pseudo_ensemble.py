"""What an ensemble would say of the validation patients, of whom each was left to one of its members only.

The mean of K networks is narrower and better than one of them: a calibration or a threshold that fits the validation
scores, which are those of single networks, does not fit the mean (Rahaman and Thiery 2021). How far members disagree
can be seen on the test patients, whom all of them predict, and without their classes. In log-odds (logarithms of a
patient's probabilities less their mean over the classes), each member's mean and spread over the test patients taken
out:

1. the variance of one member's scores within a class, over validation patients, is v1; the variance between members for
   one patient, over test patients, is ve. The mean of K members has v1 - ve (1 - 1/K) within a class;
2. each validation score is drawn towards its class's mean so far that the scores have this variance;
3. the K members' deviations from their mean are added, as the test patient with the nearest mean has them, and each
   member's mean and spread put back; the probabilities of these K are averaged, as an ensemble's are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from MolSubCore.statistics.scores import Scores

Floats = NDArray[np.float64]

#: Test patients below which the members' disagreement is not known.
LEAST_TEST = 10

_TINY = float(np.finfo(np.float64).tiny)
#: Log-odds whose spread over patients is smaller say nothing.
_FLAT = 1e-9


@dataclass(frozen=True)
class PseudoEnsemble:
    """Scores of validation patients as an ensemble's, and what they were made with.

    Attributes
    ----------
    scores : Scores
        One row per validation patient (or breast).
    members, test_patients : int
    single, between : float
        v1 and ve, in units of a member's variance over all test patients.
    drawn : float
        What is left of a score's distance from its class's mean, 1 / sqrt(members) to 1.
    """

    scores: Scores
    members: int
    test_patients: int
    single: float
    between: float
    drawn: float


def pseudo_ensemble(validation: Mapping[int, Scores], test: Mapping[int, Scores]) -> PseudoEnsemble | str:
    """Scores of the validation patients as the mean of all members would have them.

    The classes of the test patients are never looked at.

    Parameters
    ----------
    validation, test : mapping of int to Scores
        By member, of two or more: patients it was not trained on, who are in no other member's part; and the test
        patients, the same for all members. Not calibrated.

    Returns
    -------
    PseudoEnsemble
        Or, in words, why it cannot be made.
    """
    members = list(test)
    left = [scores.calibrated(None).per_patient() for scores in validation.values()]
    pooled = Scores.pooled(left)
    member = np.repeat([members.index(number) for number in validation], [len(part.label) for part in left])
    logs = np.stack([_log_odds(test[number].calibrated(None).per_patient().probabilities) for number in members])
    if logs.shape[1] < LEAST_TEST:
        few = f"{logs.shape[1]} test patients, at least {LEAST_TEST} needed"
        return f"how far the networks disagree is not known ({few})"
    mean = logs.mean(axis=1, keepdims=True)
    spread = np.sqrt(((logs - mean) ** 2).sum(axis=2).mean(axis=1))[:, None, None]
    if spread.min() < _FLAT:
        return "a network gives all patients the same probabilities"
    seen, own = (logs - mean) / spread, (_log_odds(pooled.probabilities) - mean[member, 0]) / spread[member, 0]
    between = float(seen.var(axis=0, ddof=1).sum(axis=1).mean())
    present, group = np.unique(pooled.label, return_inverse=True)
    centres = np.stack([own[group == n].mean(axis=0) for n in range(len(present))])[group]
    single = float(((own - centres) ** 2).sum() / max(len(own) - len(present), 1))
    count = len(members)
    drawn = float(np.sqrt(max(1 - between * (1 - 1 / count) / single, 1 / count))) if single > 0 else 1.0
    means = centres + drawn * (own - centres)
    together = seen.mean(axis=0)
    nearest = _nearest(means, together)
    logits = mean + spread * (means + (seen - together)[:, nearest])
    probabilities = special.softmax(logits, axis=2).mean(axis=0)
    return PseudoEnsemble(
        replace(pooled, probabilities=probabilities, fold=None), count, logs.shape[1], single, between, drawn
    )


def _log_odds(probabilities: Floats) -> Floats:
    logs = np.log(np.maximum(probabilities, _TINY))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True), np.float64)


def _nearest(points: Floats, among: Floats) -> NDArray[np.int64]:
    """For each point the index of the nearest one; the first of equals."""
    return np.array([((among - point) ** 2).sum(axis=1).argmin() for point in points], np.int64)
