"""DeLong's variance of an AUC, and tests of two AUCs (DeLong, DeLong and Clarke-Pearson 1988).

The interval of one AUC is that of `MolSubCore.statistics.intervals`, wherever it stands.

Computed by ranks (Sun and Xu 2014), n log n. The unit of analysis is the patient: every function takes one score
per patient, and `patient_auc` makes these from the scores of images.
With two views a patient, DeLong over images holds its 95 % in 83 to 88 % of cohorts only.

DeLong's variance of two or three patients is hardly known: its test finds a difference between equal models in 13 to
22 % of test sets with so few of a class. Below `FEW` patients of a class the p-value of two models is therefore that
of a permutation test, which exchanges the two models' ranks of a patient (Bandos, Rockette and Gur 2005), and the
interval of the difference has Student's t of the smallest class in the place of the normal.

Where nothing varies DeLong's variance is 0 and would claim certainty. Then, and only then, a difference has the
interval that follows from both Newcombe intervals (2006) as if they were independent (MOVER, Zou and Donner 2008), and
its p-value from the half width on the side of 0. Two models that rank all patients alike differ by 0 with the interval
0 to 0 and p = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from MolSubCore.errors import MolSubError, counted
from MolSubCore.statistics.intervals import LEVEL, Z, newcombe
from MolSubCore.statistics.scores import Scores, by_appearance

Floats = NDArray[np.float64]

#: Patients of a class below which two AUCs are tested by permutation.
FEW = 10
_PERMUTATIONS, _SEED = 9999, 0

#: In units of the largest possible influence; below it there is rounding only.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Auc:
    """An AUC over patients.

    Attributes
    ----------
    value : float
    influence : ndarray, shape (N,)
        Each patient's share of the deviation: the squares sum to DeLong's variance. Fewer than N where patients have
        two breasts.
    ranks : ndarray, shape (curves, N)
        Ranks of the patients' scores: one curve, or one per class of a macro mean.
    positive : ndarray of bool, shape (curves, N)
    sizes : tuple of int
        Patients of the smallest class, and of all others.
    patient : ndarray of int, shape (N,)
        Number of the patient; that of two rows where it has two breasts.
    """

    value: float
    influence: Floats
    ranks: Floats
    positive: NDArray[np.bool_]
    sizes: tuple[int, int]
    patient: NDArray[np.int64]

    @property
    def variance(self) -> float:
        """DeLong's variance; 0 where the placements do not vary."""
        return float(self.influence @ self.influence) if _varies(self.influence, self.sizes) else 0.0


@dataclass(frozen=True)
class AucDifference:
    """Two AUCs and their difference (first minus second).

    Attributes
    ----------
    first, second, value : float
    deviation : float
        Standard error of the difference; 0 where DeLong's variance is 0.
    low, high : float
        The 95 % CI of the difference.
    p : float
        Two-sided.
    method : str
        How the p-value was found: ``DeLong, paired``, ``Newcombe, MOVER``, ``permutation, paired`` or ``same ranking``.
    """

    first: float
    second: float
    value: float
    deviation: float
    low: float
    high: float
    p: float
    method: str


def auc(score: ArrayLike, positive: ArrayLike) -> Auc:
    """Area under the ROC curve with DeLong's components; ties count half.

    Parameters
    ----------
    score : array_like, shape (N,)
        One per patient.
    positive : array_like of bool, shape (N,)

    Raises
    ------
    MolSubError
        If a score is not a finite number, or a class has fewer than two patients: one has no variance.
    """
    scores, label = np.asarray(score, np.float64), np.asarray(positive, bool)
    if scores.ndim != 1 or scores.shape != label.shape:
        raise MolSubError(
            "AUC", f"got {scores.shape} scores of {label.shape} patients", "Give one score to each patient"
        )
    return _macro(scores[None], label[None])


def macro_auc(probabilities: ArrayLike, label: ArrayLike) -> Auc:
    """Mean of the AUCs of each class against all others; a patient's influence is the mean of those on each.

    For two classes this is the AUC. Classes without patients are left out, as in the metrics.

    Parameters
    ----------
    probabilities : array_like, shape (N, classes)
    label : array_like of int, shape (N,)

    Raises
    ------
    MolSubError
        As `auc`.
    """
    table, classes = np.asarray(probabilities, np.float64), np.asarray(label, np.int64)
    if table.ndim != 2 or len(table) != len(classes):
        raise MolSubError(
            "AUC", f"got {table.shape} probabilities of {len(classes)} patients", "Give a row to each patient"
        )
    present = np.unique(classes)
    return _macro(table.T[present], classes == present[:, None])


def patient_auc(scores: Scores, classes: tuple[str, ...], positive: str | None) -> Auc:
    """AUC of the patients' mean scores: of one class against all others, or (None) the macro mean."""
    patients = scores.per_patient()
    if positive is None:
        found = macro_auc(patients.probabilities, patients.label)
    else:
        index = classes.index(positive)
        found = auc(patients.probabilities[:, index], patients.label == index)
    _, group = by_appearance(patients.patient)
    if group.max() + 1 == len(group):
        return found
    # Both breasts of a patient are not independent: their influences add up before they are squared (Obuchowski 1997).
    return replace(found, influence=np.bincount(group, found.influence).astype(np.float64), patient=group)


def _macro(scores: Floats, positive: NDArray[np.bool_]) -> Auc:
    """The mean of one AUC per row."""
    if not np.isfinite(scores).all():
        raise MolSubError("AUC", "a score is not a finite number", "Predict these patients again")
    counts = np.stack([positive.sum(axis=1), (~positive).sum(axis=1)])
    if counts.size == 0 or counts.min() < 2:
        least = int(counts.min()) if counts.size else 0
        raise MolSubError(
            "AUC",
            f"a class has {counted(least, 'patient')}, DeLong's variance needs 2 of each",
            "Use a larger test set",
        )
    parts = [_one(row, chosen) for row, chosen in zip(scores, positive, strict=True)]
    values, influences, ranks = (np.array(part) for part in zip(*parts, strict=True))
    least, count = int(counts.min()), positive.shape[1]
    sizes = least, count - least
    return Auc(float(values.mean()), influences.mean(axis=0), ranks, positive, sizes, np.arange(count))


def _one(score: Floats, positive: NDArray[np.bool_]) -> tuple[float, Floats, Floats]:
    """AUC, influence and ranks of one curve.

    A patient's rank among all less the rank among its own class is the number of patients of the other
    class below it, ties counting half: its placement, in exact halves.
    """
    ranks = stats.rankdata(score)
    influence, means = np.empty(len(score)), {}
    for side in (True, False):
        own = positive == side
        placed = ranks[own] - stats.rankdata(score[own])
        count, others = len(placed), len(score) - len(placed)
        means[side] = placed.mean() / others
        centred = (placed - placed.mean()) / others / np.sqrt(count * (count - 1.0))
        influence[own] = centred if side else -centred
    return float(means[True]), influence, ranks


def paired_test(first: Auc, second: Auc) -> AucDifference:
    """Test of two models on the same patients, in the same order: DeLong's, or by permutation below `FEW` of a class.

    Raises
    ------
    MolSubError
        If the patients' classes differ.
    """
    if not np.array_equal(first.positive, second.positive):
        raise MolSubError("AUCs", "are of different patients, a paired test needs the same", "Give the same patients")
    if np.array_equal(first.ranks, second.ranks):
        return AucDifference(first.value, second.value, 0.0, 0.0, 0.0, 0.0, 1.0, "same ranking")
    influence, few = first.influence - second.influence, first.sizes[0] < FEW
    if not _varies(influence, first.sizes):
        found = _mover(first, second)
    else:
        value, deviation = first.value - second.value, float(influence @ influence) ** 0.5
        half = deviation * (float(stats.t.ppf((1 + LEVEL) / 2, first.sizes[0] - 1)) if few else Z)
        low, high = max(value - half, -1.0), min(value + half, 1.0)
        p = _two_sided(value / deviation)
        found = AucDifference(first.value, second.value, value, deviation, low, high, p, "DeLong, paired")
    return replace(found, p=_permuted(first, second), method="permutation, paired") if few else found


def _permuted(first: Auc, second: Auc) -> float:
    """P-value of the difference where the two models' ranks are exchanged, patient by patient, in every way or 9,999.

    An exchange changes the difference by a patient's own weight alone, which is how much better its first rank is
    placed than its second among both models' ranks of the other class. So the test is one of random signs.
    """
    weights = np.zeros(first.positive.shape[1])
    for one, two, positive in zip(first.ranks, second.ranks, first.positive, strict=True):
        for side in (True, False):
            own = positive == side
            others = np.sort(np.concatenate([one[~own], two[~own]]))
            placed = _placement(one[own], others) - _placement(two[own], others)
            weights[own] += (placed if side else -placed) / own.sum() / len(first.ranks)

    def difference(by_patient: Floats, axis: int) -> Floats:
        return np.asarray(by_patient.sum(axis).round(12), np.float64)  # equal ones differ by rounding

    found = stats.permutation_test(
        (np.bincount(first.patient, weights),),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        rng=np.random.default_rng(_SEED),
    )
    return float(found.pvalue)


def _placement(values: Floats, others: Floats) -> Floats:
    """Share of the sorted others below each value, ties counting half."""
    below, not_above = (np.searchsorted(others, values, side) for side in ("left", "right"))
    return np.asarray((below + not_above) / (2 * len(others)), np.float64)


def _varies(influence: Floats, sizes: tuple[int, int]) -> bool:
    return bool(np.abs(influence).max() > _ROUNDING / min(sizes))


def _newcombe(area: Auc) -> tuple[float, float]:
    value = min(max(area.value, 0.0), 1.0)
    return newcombe(value, *area.sizes)


def _two_sided(z: float) -> float:
    return float(2 * special.ndtr(-abs(z)))


def _mover(first: Auc, second: Auc) -> AucDifference:
    """A difference whose DeLong variance is 0, from both Newcombe intervals as if they were independent."""
    value = first.value - second.value
    (low_1, high_1), (low_2, high_2) = _newcombe(first), _newcombe(second)
    below = float(np.hypot(first.value - low_1, high_2 - second.value))
    above = float(np.hypot(high_1 - first.value, second.value - low_2))
    towards_0 = below if value > 0 else above
    z = 0.0 if value == 0 else Z * value / towards_0
    low, high = value - below, value + above
    return AucDifference(first.value, second.value, value, 0.0, low, high, _two_sided(z), "Newcombe, MOVER")
