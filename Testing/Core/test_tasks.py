"""Tasks: classes, order, positives, and how table cells are read."""

from __future__ import annotations

import re

import pytest

from MolSubCore.errors import MolSubError
from MolSubCore.tasks import (
    MAY_BE,
    PAPER_TASKS,
    TASKS,
    PartialSubtype,
    Subtype,
    get_task,
    leaves_her2_open,
    parse_subtype,
    prediction_title,
    subtype_order,
)


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
        ("HER2-enriched", PartialSubtype.HER2),
        ("HER2 positive", PartialSubtype.HER2),
        ("HR+/HER2\u2212", PartialSubtype.HR_POSITIVE_HER2_NEGATIVE),
        ("Lum-A", Subtype.LUMINAL_A),
        ("Luminal B (HER2+)", Subtype.HER2_HR_POSITIVE),
        ("LumB HER2-", Subtype.LUMINAL_B),
        ("HER2+, HR-", Subtype.HER2_HR_NEGATIVE),
        ("HER2-enriched (ER-/PR-)", Subtype.HER2_HR_NEGATIVE),
        ("ER+/PR-/HER2-", PartialSubtype.HR_POSITIVE_HER2_NEGATIVE),
        ("ER-, PR-, HER2-", Subtype.TN),
        ("HER2-positive; HR-positive", Subtype.HER2_HR_POSITIVE),
        ("Triple Negativ", Subtype.TN),
        ("triple neg", Subtype.TN),
        *((word, Subtype.TN) for word in ("triple n\u00e9gatif", "Triple n\u00e9gative", "Triple ne\u0301gatif")),
        ("Triple-neg.", Subtype.TN),
        ("triple positive", Subtype.HER2_HR_POSITIVE),
        ("HER2-positive (non-luminal)", Subtype.HER2_HR_NEGATIVE),
        ("HER2 positive, nonluminal", Subtype.HER2_HR_NEGATIVE),
        ("Non-luminal HER2+", Subtype.HER2_HR_NEGATIVE),
        ("HER2-enriched (non luminal)", Subtype.HER2_HR_NEGATIVE),
        ("HER2 pos. (luminal)", Subtype.HER2_HR_POSITIVE),
        ("luminal b-like (HER2 positive)", Subtype.HER2_HR_POSITIVE),
        ("Luminal B (HER2 positive)", Subtype.HER2_HR_POSITIVE),
        ("Luminal B HER2+", Subtype.HER2_HR_POSITIVE),
        ("luminal B-like (HER2 negative)", Subtype.LUMINAL_B),
        ("Luminal B, HER2 neg.", Subtype.LUMINAL_B),
        ("Luminal A-like", Subtype.LUMINAL_A),
        ("LumB like", Subtype.LUMINAL_B),
    ],
)
def test_cells_are_understood(text: object, subtype: Subtype | PartialSubtype) -> None:
    assert parse_subtype(text) is subtype


def test_cells_that_say_nothing_of_her2_are_known() -> None:
    found = {text: leaves_her2_open(text) for text in ("Luminal B", "LumB-like", "Luminal", "Luminal A", "TN", "1")}
    assert found == {"Luminal B": True, "LumB-like": True, "Luminal": True, "Luminal A": False, "TN": False, "1": False}
    assert not any(map(leaves_her2_open, ("Luminal B HER2-", "HR+/HER2-", "HER2+")))


@pytest.mark.parametrize(
    "text", ["", "benign", "5", "HER2", "nan", "non-luminal", "Basal-like", "Luminal B (luminal) HR-"]
)
def test_other_cells_are_refused_by_value(text: str) -> None:
    with pytest.raises(MolSubError, match=f"'{re.escape(text)}'"):
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


def test_a_partial_subtype_has_a_class_where_all_that_it_may_be_agree() -> None:
    """As the receptors say it, and by brute force."""
    told = {(task.name, label): task.class_of.get(label) for task in TASKS.values() for label in PartialSubtype}
    her2, luminal = PartialSubtype.HER2, PartialSubtype.HR_POSITIVE_HER2_NEGATIVE
    assert told == {
        ("luminal", her2): "non-Luminal", ("luminal", luminal): "Luminal",
        ("her2", her2): "HER2-positive", ("her2", luminal): "HER2-negative",
        ("tn", her2): "non-TN", ("tn", luminal): "non-TN",
        ("subtype5", her2): None, ("subtype5", luminal): None,
        ("subtype4", her2): "HER2-enriched", ("subtype4", luminal): None,
    }  # fmt: skip
    for task in TASKS.values():
        for label, subtypes in MAY_BE.items():
            classes = {task.class_of[subtype] for subtype in subtypes}
            if len(classes) == 1:
                assert {task.classes[task.index_of(label)]} == classes
            else:
                with pytest.raises(MolSubError, match=rf"may be .* or .*task {task.name} tells apart"):
                    task.index_of(label)


def test_names_in_a_table_are_read_back() -> None:
    assert all(parse_subtype(label.value) is label for label in (*Subtype, *PartialSubtype))
    assert subtype_order([PartialSubtype.HER2, Subtype.TN]) == [*Subtype, PartialSubtype.HER2]


def test_the_papers_tasks_are_the_default_of_a_study() -> None:
    assert set(TASKS) - set(PAPER_TASKS) == {"subtype4"}
    assert TASKS["subtype4"].classes == ("Luminal A", "Luminal B", "HER2-enriched", "TN")
