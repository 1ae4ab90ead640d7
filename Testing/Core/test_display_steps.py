"""Display steps of a cohort by class and machine."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from MolSubCore.evaluation.display_steps import Shown, associations, display_steps, told_steps


def images(counts: dict[tuple[str, str, str], int]) -> list[Shown]:
    """Two images each for so many patients of (subtype, manufacturer, step)."""
    return [Shown(f"{key}{n}", *key) for key, count in counts.items() for n in range(count) for _ in ("CC", "MLO")]


def test_patients_are_counted_and_tested_not_images() -> None:
    found = display_steps(images({("TN", "GE", "window:0"): 30, ("TN", "GE", "percentile-3"): 10,
                                  ("Luminal A", "Hologic", "window:0"): 20,
                                  ("Luminal A", "Hologic", "percentile-3"): 25}))  # fmt: skip
    assert found["class"]["counts"] == {"percentile-3": {"Luminal A": 25, "TN": 10},
                                        "window:0": {"Luminal A": 20, "TN": 30}}  # fmt: skip
    expected = stats.chi2_contingency(np.array([[25, 10], [20, 30]]), correction=False).pvalue
    assert found["class"]["test"]["p"] == pytest.approx(expected)
    assert found["manufacturer"]["counts"]["window:0"] == {"GE": 30, "Hologic": 20}
    (warning,) = associations(found)
    assert "percentile-3: Luminal A 25, TN 10; window:0: Luminal A 20, TN 30" in warning
    assert "may learn it in place of the lesion" in warning


def test_a_patient_with_two_steps_counts_under_both() -> None:
    both = [
        Shown("a", "TN", "GE", "window:0"),
        Shown("a", "TN", "GE", "percentile-3"),
        Shown("b", "TN", "GE", "window:0"),
    ]
    assert set(display_steps(both)["class"]["counts"]) == {"percentile-3 + window:0", "window:0"}


def test_no_association_no_warning() -> None:
    even = display_steps(images({("TN", "GE", "window:0"): 20, ("TN", "GE", "percentile-3"): 20,
                                 ("Luminal A", "GE", "window:0"): 20,
                                 ("Luminal A", "GE", "percentile-3"): 20}))  # fmt: skip
    assert not associations(even)
    assert len(told_steps(even)) == 2
    one = display_steps(images({("TN", "GE", "window:0"): 5, ("Luminal A", "GE", "window:0"): 5}))
    assert not associations(one)
    assert told_steps(one)[0] == "Display steps by subtype, patients: window:0: Luminal A 5, TN 5."
    assert told_steps(display_steps([Shown("a", "", "GE", "window:0")])) == [
        "Display steps by manufacturer, patients: window:0: GE 1."
    ]
    assert not told_steps(display_steps([]))
