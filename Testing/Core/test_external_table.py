"""What a validation does with its table: a flow that adds up, columns told of before images are read, no collisions."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coarse_cohort import make_coarse_cohort
from other_cohort import CARD, known, rows_of, validated, write_rows
from test_study_page import Page

from MolSubCore.errors import MolSubError
from MolSubCore.evaluation.external import ExternalValidation
from MolSubCore.evaluation.external_page import write_page
from MolSubCore.tasks import Subtype

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve patients in two views; the columns class, part and rows are of the user's own making."""
    counts = {Subtype.LUMINAL_A: 6, Subtype.TN: 6}
    made = make_coarse_cohort(
        tmp_path_factory.mktemp("other") / "cohort", counts=counts, seed=5, image_shape=(256, 208)
    )
    rows = rows_of(made)
    for number, row in enumerate(rows):
        patient = number // 2
        row |= {"centre": "AB"[patient % 2], "class": f"class {patient % 3}", "part": f"part {patient % 2}"}
        row |= {"rows": "many", "half": "first" if patient < 6 else "second"}
    return write_rows(made.with_name("t.csv"), rows)


def changed(table: Path, name: str, change: Callable[[Rows], None]) -> Path:
    """A copy of the table beside it."""
    rows = rows_of(table)
    change(rows)
    return write_rows(table.with_name(name), rows)


def levels_of(found: ExternalValidation, attribute: str) -> set[str]:
    return {row["level"] for row in found.result["subgroups"] if row["attribute"] == attribute}


def test_every_lost_patient_has_one_reason(table: Path, tmp_path: Path) -> None:
    """The first has a row without a subtype and one that cannot be read, the second two that cannot be read."""

    def lose(rows: Rows) -> None:
        rows[0]["subtype"] = ""
        for number in (1, 2, 3, 4):
            rows[number]["image"] = "images/absent.dcm"
        rows[6]["subtype"] = ""

    flow = validated(changed(table, "lost.csv", lose), tmp_path / "out").result["flow"]
    assert [part["rows"] for part in flow["left_out"].values()] == [2, 0, 4]
    assert [part["patients"] for part in flow["left_out"].values()] == [1, 0, 1]
    for unit in ("rows", "patients"):
        lost = sum(part[unit] for part in flow["left_out"].values())
        assert flow["used"][unit] + lost == flow["table"][unit]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"subgroups": ("ward",)}, "column ward: is not in the table, which has age, centre, class, half"),
     ({"subgroups": (), "recalibrate_on": "ward=A"}, "column ward: is not in the table, which has age, centre, class"),
     ({"recalibrate_on": "centre=Z"}, r"centre=Z: names 0 of the 12 patients\..*centre has A, B")],
)  # fmt: skip
def test_a_misspelt_column_is_told_before_an_image_is_opened(
    table: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    def no_images(rows: Rows) -> None:
        for row in rows:
            row["image"] = "images/absent.dcm"

    with pytest.raises(MolSubError, match=words):
        validated(changed(table, "no-images.csv", no_images), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_groups_that_are_shown_anyway_stay_as_they_are(table: Path, tmp_path: Path) -> None:
    """The table has columns view and age; vendor and lesion size are of no table."""
    named = ("View", "age", "vendor", "lesion size", "centre")
    found = validated(table, tmp_path / "out", subgroups=named)
    again = validated(table, tmp_path / "two").result
    assert (found.result["subgroups"], found.result["interactions"]) == (again["subgroups"], again["interactions"])
    assert levels_of(found, "view") == {"CC", "MLO"}
    assert all(level.endswith("years") for level in levels_of(found, "age"))


def test_two_ages_or_centres_of_a_patient_are_told_and_count_as_unknown(table: Path, tmp_path: Path) -> None:
    def differ(rows: Rows) -> None:
        assert rows[0]["patient_id"] == rows[1]["patient_id"]
        rows[0] |= {"age": "50", "centre": "A", "half": "first"}
        rows[1] |= {"age": "20", "centre": "B", "half": "second"}

    found = validated(changed(table, "ages.csv", differ), tmp_path / "out", subgroups=("centre", "half"))
    unknown = {row["attribute"]: row["patients"] for row in found.result["subgroups"] if row["level"] == "unknown"}
    assert (unknown["age"], unknown["centre"]) == (1, 1)
    assert "several" in levels_of(found, "half")  # which may be of images
    told = "\n".join(found.result["warnings"])
    assert "row 3, age: is '20', row 2 of the same patient has '50': it counts as unknown" in told
    assert "row 3, centre: is another value than in row 2 of the same patient: it counts as unknown" in told


def test_columns_of_any_name_leave_the_predictions_whole(table: Path, tmp_path: Path) -> None:
    columns = ("class", "part", "rows")
    found = validated(table, tmp_path / "out", subgroups=columns, recalibrate_on="half=first")
    write_page(found, CARD, tmp_path / "out")
    with (tmp_path / "out" / "results" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["class"] for line in lines} == {"TN", "non-TN"}
    assert {line["part"] for line in lines} == {"judged", "recalibration was fitted on it"}
    assert sorted(number for line in lines for number in line["rows"].split()) == sorted(map(str, range(2, 26)))
    assert {line["group:class"] for line in lines} == {"class 0", "class 1", "class 2"}
    assert {line["group:rows"] for line in lines} == {"many"}
    assert len({line["group:age"] for line in lines}) > 1


def test_a_small_judged_part_is_warned_of(table: Path, tmp_path: Path) -> None:
    """Judged are three patients of Luminal A; then six of both classes."""

    def apart(rows: Rows) -> None:
        judged = sorted({row["patient_id"] for row in rows if row["subtype"] == "Luminal A"})[:3]
        for row in rows:
            row["half"] = "other" if row["patient_id"] in judged else "fitted"

    found = validated(changed(table, "apart.csv", apart), tmp_path / "out", recalibrate_on="half=fitted")
    warnings = found.result["warnings"]
    assert sum("judged on 3 patients" in text for text in warnings) == 1
    assert sum("none of these patients is TN" in text for text in warnings) == 1
    both = validated(table, tmp_path / "two", recalibrate_on="centre=A").result["warnings"]
    assert sum("judged on 6 patients" in text for text in both) == 1
    assert not any("none of these patients" in text for text in both)


def test_a_recalibrated_bundle_is_not_compared_with_what_it_was_made_of(table: Path, tmp_path: Path) -> None:
    """Its calibration before is undefined for the comparison; its metrics before are named as such."""
    level = validated(table, tmp_path / "first").result["test"]["ensemble"]["patient"]
    change = {"method": "logistic", "slope": 0.5, "intercepts": [0.0, -0.75], "patients": 40, "fitted_on": "centre=A"}
    bundle = known(metrics={"validation": {"patient": level}, "test": {"patient": level}}, recalibration=change)
    found = validated(table, tmp_path / "out", bundle)
    drift = found.result["calibration_drift"]
    assert (drift["validation"], drift["test"]) == (None, None)
    assert "before the recalibration" in drift["why"]
    assert drift["here"]["classes"]["TN"]["slope"]["value"] == pytest.approx(
        2 * level["calibration"]["classes"]["TN"]["slope"]["value"], rel=0.2
    )
    assert sum("before the recalibration" in text for text in found.result["warnings"]) == 1
    assert not any("came without the calibration" in text for text in found.result["warnings"])
    write_page(found, bundle.card, tmp_path / "out")
    page = Page(tmp_path / "out" / "evaluation.html").text
    assert "The model's own test set, before the recalibration" in page
    assert page.count("not comparable") >= 8
    parts = {row["part"] for row in rows_of(tmp_path / "out" / "results" / "performance.csv")}
    assert parts == {"here, patient", "here, image", "own test set, patient, before the recalibration"}
    drifts = {row["part"] for row in rows_of(tmp_path / "out" / "results" / "calibration-drift.csv")}
    assert drifts == {"here"}
