"""Comparison of models on the same patients: AUC by DeLong or permutation, accuracy by McNemar, adjusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from MolSubCore.errors import MolSubError, counted
from MolSubCore.statistics.delong import Auc, AucDifference, paired_test, patient_auc
from MolSubCore.statistics.intervals import Z
from MolSubCore.statistics.metrics import classes_present
from MolSubCore.statistics.scores import Scores

Correction = Literal["holm", "bonferroni"]


@dataclass(frozen=True)
class AccuracyDifference:
    """Two accuracies on the same patients and their difference (first minus second).

    Attributes
    ----------
    first, second, value : float
    low, high : float
        The 95 % CI of the difference (Bonett and Price 2012), which has a width even without discordance.
    only_first, only_second : int
        Patients that only the first or only the second model classifies correctly.
    p_exact, p_mid : float
        McNemar's test, two-sided: exact (conservative), and mid-p (Fagerland 2013).
    """

    first: float
    second: float
    value: float
    low: float
    high: float
    only_first: int
    only_second: int
    p_exact: float
    p_mid: float


@dataclass(frozen=True)
class ModelComparison:
    """Two models on the same patients.

    Attributes
    ----------
    first, second : str
        Names of the models.
    patients : int
    auc : AucDifference or None
        None where it is undefined; `why` says so.
    accuracy : AccuracyDifference
    p_auc_adjusted, p_accuracy_adjusted : float or None
        For the number of comparisons; for accuracies, of the exact test.
    correction : str
        ``holm`` or ``bonferroni``.
    why : str
    classes : str
        Of a macro mean where a class is absent: ``4 of 5``.
    """

    first: str
    second: str
    patients: int
    auc: AucDifference | None
    accuracy: AccuracyDifference
    p_auc_adjusted: float | None
    p_accuracy_adjusted: float | None
    correction: str
    why: str = ""
    classes: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return asdict(self)


def mcnemar(first: ArrayLike, second: ArrayLike) -> AccuracyDifference:
    """McNemar's test of two models' hits on the same patients.

    Parameters
    ----------
    first, second : array_like of bool, shape (N,)
        Whether each model is right about each patient. Without discordant patients both p-values are 1.
    """
    one, two = np.asarray(first, bool), np.asarray(second, bool)
    if one.shape != two.shape or one.ndim != 1 or len(one) == 0:
        raise MolSubError("McNemar's test", f"got {one.shape} and {two.shape} hits", "Give the same patients to both")
    only_first, only_second = int((one & ~two).sum()), int((~one & two).sum())
    table = [[int((one & two).sum()), only_first], [only_second, int((~one & ~two).sum())]]
    exact = float(statsmodels_mcnemar(table, exact=True).pvalue)
    fewer, discordant = min(only_first, only_second), only_first + only_second
    mid = min(2 * stats.binom.cdf(fewer, discordant, 0.5) - stats.binom.pmf(fewer, discordant, 0.5), 1.0)
    low, high = _bonett_price(only_first, only_second, len(one))
    value = (only_first - only_second) / len(one)
    return AccuracyDifference(
        float(one.mean()), float(two.mean()), value, low, high, only_first, only_second, exact, float(mid)
    )


def _bonett_price(only_first: int, only_second: int, count: int) -> tuple[float, float]:
    """Interval of a difference of paired shares: Wald's with one patient more in each discordant cell."""
    first, second = (only_first + 1) / (count + 2), (only_second + 1) / (count + 2)
    half = Z * np.sqrt((first + second - (first - second) ** 2) / (count + 2))
    return float(max(first - second - half, -1)), float(min(first - second + half, 1))


def adjust(p_values: Sequence[float | None], correction: Correction = "holm") -> list[float | None]:
    """P-values for several comparisons; None stays None and is not counted."""
    known = [n for n, p in enumerate(p_values) if p is not None]
    result: list[float | None] = [None] * len(p_values)
    values = np.array([p_values[n] for n in known], np.float64)
    order = np.argsort(values, kind="stable")
    # Two lines instead of statsmodels' multipletests, which collects garbage at every call: 0.2 s beside torch.
    factors = np.arange(len(known), 0, -1) if correction == "holm" else np.full(len(known), len(known))
    adjusted = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    for place, p in zip(order.tolist(), adjusted.tolist(), strict=True):
        result[known[place]] = p
    return result


def compare_models(
    models: Mapping[str, Scores],
    classes: tuple[str, ...],
    positive: str | None,
    *,
    reference: str | None = None,
    correction: Correction = "holm",
) -> tuple[ModelComparison, ...]:
    """Compare models on the same patients.

    Parameters
    ----------
    models : mapping of str to Scores
        By name, of lesions, images or patients; they are compared per patient.
    classes : tuple of str
    positive : str or None
        Class whose AUC is compared; None: the macro mean. The accuracy is that of the likeliest class.
    reference : str or None
        Compare this one with every other; None: all pairs.
    correction : {"holm", "bonferroni"}
        Over all comparisons of this call, AUCs and accuracies each by themselves.

    Raises
    ------
    MolSubError
        If the models' patients or labels differ, or `reference` is none of them.
    """
    patients = _aligned({name: scores.per_patient() for name, scores in models.items()})
    pairs = list(combinations(models, 2))
    if reference is not None:
        if reference not in models:
            raise MolSubError("reference", f"unknown model '{reference}'", f"Choose one of {', '.join(models)}")
        pairs = [(reference, other) for other in models if other != reference]
    areas, why = _areas(patients, classes, positive)
    hits = {name: part.probabilities.argmax(axis=1) == part.label for name, part in patients.items()}
    accuracy = [mcnemar(hits[one], hits[two]) for one, two in pairs]
    auc = [paired_test(areas[one], areas[two]) if areas else None for one, two in pairs]
    p_auc = adjust([part.p if part else None for part in auc], correction)
    p_accuracy = adjust([part.p_exact for part in accuracy], correction)
    label = next(iter(patients.values())).label if patients else np.zeros(0, np.int64)
    present = len(classes_present(label))
    of_classes = f"{present} of {len(classes)}" if positive is None and present < len(classes) else ""
    return tuple(
        ModelComparison(*pair, len(label), auc[n], accuracy[n], p_auc[n], p_accuracy[n], correction, why, of_classes)
        for n, pair in enumerate(pairs)
    )


def _areas(
    patients: Mapping[str, Scores], classes: tuple[str, ...], positive: str | None
) -> tuple[dict[str, Auc], str]:
    """Every model's AUC, or none and why."""
    label: NDArray[np.int64] = next(iter(patients.values())).label if patients else np.zeros(0, np.int64)
    counts = np.unique(label if positive is None else label == classes.index(positive), return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        least = int(counts.min()) if len(counts) > 1 else 0
        return {}, f"undefined: a class has {counted(least, 'patient')}, a test of AUCs needs 2"
    return {name: patient_auc(part, classes, positive) for name, part in patients.items()}, ""


def _aligned(patients: Mapping[str, Scores]) -> dict[str, Scores]:
    """All models' patients in the order of the first model's; refuse other patients, or other labels."""
    found: dict[str, Scores] = {}
    for name, part in patients.items():
        first = next(iter(found.values()), part)
        place = {unit: row for row, unit in enumerate(part.unit.tolist())}
        rows = np.array([place.get(unit, -1) for unit in first.unit.tolist()], np.int64)
        if len(part.label) != len(rows) or (rows < 0).any() or not np.array_equal(first.label, part.label[rows]):
            problem = f"'{next(iter(found))}' and '{name}' have different patients or labels"
            raise MolSubError("models", problem, "Compare models of one task on one test set")
        found[name] = part.select(rows)
    return found
