"""Tasks: classes, order, positives, and how table cells are read."""

from __future__ import annotations

import pytest

from MolSubCore.errors import MolSubError
from MolSubCore.tasks import TASKS, Subtype, get_task, parse_subtype, prediction_title


def test_the_papers_counts_follow_from_the_classes() -> None:
    images = dict(zip(Subtype, (200, 301, 107, 50, 104), strict=True))
    expected = {"luminal": ("Luminal", 501), "tn": ("TN", 104), "her2": ("HER2-positive", 157)}
    for name, (positive, count) in expected.items():
        task = TASKS[name]
        assert task.positive == positive == task.classes[1]
        assert sum(images[s] for s in Subtype if task.class_of[s] == positive) == count


def test_every_subtype_has_a_class_in_every_task() -> None:
    for task in TASKS.values():
        assert {task.classes[task.index_of(s)] for s in Subtype} == set(task.classes)


@pytest.mark.parametrize(
    ("text", "subtype"),
    [
        ("Luminal A", Subtype.LUMINAL_A),
        (" luminal_b ", Subtype.LUMINAL_B),
        ("HER2+/HR\u2212", Subtype.HER2_HR_NEGATIVE),
        ("HER2+(HR+)", Subtype.HER2_HR_POSITIVE),
        ("TNBC", Subtype.TN),
        ("Triple negative", Subtype.TN),
        (0, Subtype.LUMINAL_A),
        ("4.0", Subtype.TN),
    ],
)
def test_cells_are_understood(text: object, subtype: Subtype) -> None:
    assert parse_subtype(text) is subtype


@pytest.mark.parametrize("text", ["", "benign", "5", "HER2-enriched", "nan"])
def test_other_cells_are_refused_by_value(text: str) -> None:
    with pytest.raises(MolSubError, match=f"'{text}'"):
        parse_subtype(text)


def test_an_unknown_task_names_the_known() -> None:
    with pytest.raises(MolSubError, match="luminal, her2, tn, subtype5"):
        get_task("her3")


def test_a_tie_is_no_prediction() -> None:
    """What prints alike is not told apart, whichever of the two comes first."""
    assert prediction_title({"non-TN": 0.26, "TN": 0.74}) == "Predicted: TN 0.74"
    assert prediction_title({"a": 0.4999, "b": 0.5001}) == "No prediction, a tie: a and b 0.50"
    assert prediction_title({"a": 0.4949, "b": 0.5051}) == "Predicted: b 0.51"
    assert prediction_title({"a": 0.401, "b": 0.2, "c": 0.399}) == "No prediction, a tie: a and c 0.40"
