"""The paper's Table 1: counts by Luminal A, Luminal B, HER2+/HR+, HER2+/HR-, TN."""

from __future__ import annotations

import numpy as np
from scipy import stats

GROUPS = ("Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN")
SIZES = (102, 155, 54, 27, 52)

#: Variable: level to counts.
COUNTS: dict[str, dict[str, tuple[int, ...]]] = {
    "T grade": {"1": (53, 63, 19, 11, 24), "2": (45, 82, 32, 15, 26), "3": (3, 10, 3, 1, 2), "4": (1, 0, 0, 0, 0)},
    "N grade": {"0": (63, 75, 27, 17, 35), "1": (24, 45, 12, 5, 11), "2": (11, 19, 10, 2, 4), "3": (4, 16, 5, 3, 2)},
    "Clinical stage": {"1": (39, 36, 12, 10, 18), "2": (46, 81, 27, 12, 28), "3": (17, 38, 15, 5, 6)},
    "Nerve invasion": {"No": (80, 120, 48, 20, 48), "Yes": (22, 35, 6, 7, 4)},
    "Vascular invasion": {"No": (80, 96, 33, 21, 40), "Yes": (22, 59, 21, 6, 12)},
    "Ki67": {"<=15%": (100, 0, 7, 1, 5), "15-30%": (2, 104, 21, 11, 10), ">30%": (0, 51, 26, 15, 37)},
}

#: Variable: test, statistic, degrees of freedom, Cramer's V as printed, p as printed.
PRINTED = {
    "T grade": ("likelihood-ratio chi-square", 9.390, 12, "0.09", "0.669"),
    "N grade": ("likelihood-ratio chi-square", 14.545, 12, "0.11", "0.267"),
    "Clinical stage": ("Pearson chi-square", 12.980, 8, "0.129", "0.113"),
    "Nerve invasion": ("Pearson chi-square", 9.083, 4, "0.153", "0.059"),
    "Vascular invasion": ("Pearson chi-square", 11.968, 4, "0.175", "0.018"),
    "Ki67": ("Pearson chi-square", 369.032, 8, "0.688", "<0.001"),
}

#: Mean and standard deviation of the age.
AGES = ((65.12, 12.38), (61.52, 11.44), (56.85, 12.56), (63.33, 10.56), (60.42, 12.09))


def group_column() -> list[str]:
    """The group of each of the 390 patients."""
    return [name for name, size in zip(GROUPS, SIZES, strict=True) for _ in range(size)]


def column(levels: dict[str, tuple[int, ...]]) -> list[str]:
    """A cell for each patient, in the order of `group_column`."""
    return [level for group in range(5) for level, counts in levels.items() for _ in range(counts[group])]


def ages() -> dict[str, np.ndarray]:
    """Normal quantiles with exactly the printed means and deviations: F depends on nothing else."""
    result = {}
    for name, size, (mean, deviation) in zip(GROUPS, SIZES, AGES, strict=True):
        shape = stats.norm.ppf((np.arange(size) + 0.5) / size)
        result[name] = mean + deviation * shape / shape.std(ddof=1)
    return result
