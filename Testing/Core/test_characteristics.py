"""The paper's Table 1 as a table, from one row per patient; other cohorts; the columns of a cohort."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paper_table import AGES, COUNTS, GROUPS, SIZES, ages, column, group_column

from MolSubCore.cohort.table import Cohort, read_cohort
from MolSubCore.errors import CohortError, MolSubError
from MolSubCore.evaluation.characteristics import characteristics, kind_of, p_text, patient_columns


def paper_columns() -> dict[str, list[str]]:
    columns = {name: column(levels) for name, levels in COUNTS.items()}
    return {"Age": [repr(float(value)) for group in ages().values() for value in group], **columns}


def test_the_papers_table() -> None:
    found = characteristics(group_column(), paper_columns(), order=GROUPS, small_counts="likelihood-ratio")
    assert found.sizes == SIZES
    table = {row[0]: row[1:] for row in found.table() if not row[0].startswith("  ")}
    assert table["Characteristic"][:5] == [f"{name} (n={size})" for name, size in zip(GROUPS, SIZES, strict=True)]
    mean, deviation = np.array(AGES).T
    centre = np.average(mean, weights=SIZES)
    between = (np.array(SIZES) * (mean - centre) ** 2).sum() / 4
    within = ((np.array(SIZES) - 1) * deviation**2).sum() / 385
    assert between / within == pytest.approx(4.639, abs=0.005)  # printed from means before rounding
    assert table["Age, mean ± SD"] == [
        "65.12 ± 12.38", "61.52 ± 11.44", "56.85 ± 12.56", "63.33 ± 10.56", "60.42 ± 12.09",
        f"one-way ANOVA: F = {between / within:.3f}, df = 4, 385, partial η2 = 0.046", "0.001",
    ]  # fmt: skip
    expected = {
        "T grade": ("likelihood-ratio chi-square: χ2 = 9.390, df = 12, Cramer's V = 0.090", "0.669"),
        "N grade": ("likelihood-ratio chi-square: χ2 = 14.545, df = 12, Cramer's V = 0.110", "0.267"),
        "Clinical stage": ("Pearson chi-square: χ2 = 12.980, df = 8, Cramer's V = 0.129", "0.113"),
        "Nerve invasion": ("Pearson chi-square: χ2 = 9.083, df = 4, Cramer's V = 0.153", "0.059"),
        "Vascular invasion": ("Pearson chi-square: χ2 = 11.968, df = 4, Cramer's V = 0.175", "0.018"),
        "Ki67": ("Pearson chi-square: χ2 = 369.032, df = 8, Cramer's V = 0.688", "<0.001"),
    }
    for name, cells in expected.items():
        assert tuple(table[f"{name}, n (%)"][5:]) == cells
    ki67 = [row for row in found.table() if row[0] == "  >30%"]
    assert ki67 == [["  >30%", "0 (0.0)", "51 (32.9)", "26 (48.1)", "15 (55.6)", "37 (71.2)", "", ""]]
    assert all(len(row) == 8 for row in found.table())
    json.dumps(found.to_dict(), allow_nan=False)


def test_numbers_of_levels_are_sorted_and_others_as_they_come() -> None:
    found = characteristics(
        ["a", "b", "a", "b"],
        {"T": ["10", "2", "1", "2"], "BI-RADS": ["4b", "4a", "4c", "4a"]},
        levels={"BI-RADS": ["4a", "4b", "4c", "5"]},
    )
    assert [row.label for row in found.variables[0].rows] == ["1", "2", "10"]
    assert [row.label for row in found.variables[1].rows] == ["4a", "4b", "4c", "5"]
    assert found.variables[1].rows[3].cells == ("0 (0.0)", "0 (0.0)")


def test_missing_values_are_counted_and_left_out() -> None:
    group = ["a"] * 4 + ["b"] * 3 + ["empty"] * 0
    found = characteristics(
        group,
        {"N": ["0", "", "NA", "3", "1", "unknown", "2"], "side": ["L", "R", "?", "L", "", "n/a", "NA"]},
        order=["a", "b", "empty"],
        kinds={"N": "continuous"},
    )
    number, side = found.variables
    assert number.summary == "median (P25, P75)"
    assert number.rows[-1].label == side.rows[-1].label == "missing"
    assert number.rows[-1].cells == ("2", "1", "0")
    assert number.rows[0].cells[2] == "-"
    assert side.rows[0].cells == ("2 (66.7)", "-", "-")
    assert side.test.test == "none"
    assert found.table()[-4][-2:] == ["no test: fewer than two groups have values", "-"]


def test_percentiles_are_the_papers_softwares() -> None:
    """SPSS: the value at p (n + 1), between its neighbours in proportion; 9 values: at 2.5, 5 and 7.5."""
    values = ["0", "0", "1", "1", "3", "4", "20", "30", "50"]
    found = characteristics(["a"] * 9 + ["b"], {"nodes": [*values, "1"]}, kinds={"nodes": "continuous"})
    assert found.variables[0].rows[0].cells[0] == "3.0 (0.5, 25.0)"


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=40), st.data())
def test_counts_add_up(group: list[str], data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.sampled_from(["x", "y", " y ", "", "NA"]), min_size=len(group), max_size=len(group)))
    found = characteristics(group, {"v": cells})
    counts = {row.label: row.cells for row in found.variables[0].rows}
    for place, name in enumerate(found.groups):
        own = [cell.strip() for cell, which in zip(cells, group, strict=True) if which == name]
        assert found.sizes[place] == len(own)
        for level in ("x", "y"):
            if level in counts and own.count("x") + own.count("y"):
                share = 100 * own.count(level) / (own.count("x") + own.count("y"))
                assert counts[level][place] == f"{own.count(level)} ({share:.1f})"
        assert counts.get("missing", ("0",) * 3)[place] == str(own.count("") + own.count("NA"))


def test_kinds_are_told_apart() -> None:
    assert kind_of([str(n) for n in range(11)]) == "continuous"
    assert kind_of([str(n % 10) for n in range(99)]) == "categorical"
    assert kind_of([*map(str, range(30)), "many"]) == "categorical"
    assert kind_of(["", "NA"]) == "categorical"
    assert kind_of([*map(str, range(40, 80)), "-", "none", "NA"]) == "continuous"
    assert kind_of([str(n) for n in range(41, 49)]) == "continuous"  # eight ages of eight patients
    assert kind_of([*"12345"]) == "categorical"
    assert kind_of([str(n) for n in range(30)], "centre no") == "categorical"  # codes


def test_none_and_signs_are_levels() -> None:
    """A trait of 12.5 % is not made one of 50 % by the word that says that there is none."""
    group = ["A"] * 40 + ["B"] * 40
    columns = {
        "calcification": ["none"] * 30 + ["coarse"] * 5 + ["fine"] * 5 + ["none"] * 5 + ["coarse"] * 30 + ["fine"] * 5,
        "nodes": ["-"] * 30 + ["+"] * 10 + ["-"] * 10 + ["+"] * 29 + ["unknown"],
    }
    found = characteristics(group, columns)
    rows = {row[0].strip(): tuple(row[1:3]) for row in found.table()}
    assert rows["coarse"] == ("5 (12.5)", "30 (75.0)")
    assert rows["none"] == ("30 (75.0)", "5 (12.5)")
    assert rows["-"] == ("30 (75.0)", "10 (25.6)")
    assert rows["missing"] == ("0", "1")
    assert "n/a, " in found.note()
    assert "anything else is a value, also none and - and +" in found.note()
    other = characteristics(group, columns, missing=("None", "NA"))
    assert [row.label for row in other.variables[0].rows] == ["coarse", "fine", "missing"]
    assert other.variables[0].rows[-1].cells == ("30", "5")
    assert "unknown" in [row.label for row in other.variables[1].rows]
    assert "one that says None, NA; anything else is a value, also - and +. " in other.note()


def test_a_number_that_is_none_is_counted_apart() -> None:
    ages = [str(30 + n) for n in range(20)]
    found = characteristics(["a", "b"] * 12, {"age": [*ages, "-", "none", "NA", "-"]}).variables[0]
    assert found.kind == "continuous"
    assert [(row.label, row.cells) for row in found.rows[1:]] == [
        ("no number (-, none)", ("1", "2")), ("missing", ("1", "0"))
    ]  # fmt: skip


def test_a_partition_is_described_as_the_whole_cohort_is() -> None:
    """Kind, summary and levels; on its own the part of eight would have medians, and two levels."""
    rng = np.random.default_rng(1)
    group = ["a", "b"] * 40
    columns = {
        "age": [f"{age:.0f}" for age in rng.normal(60, 10, 80)],
        "grade": rng.permutation(["1"] * 30 + ["2"] * 30 + ["3"] * 20).tolist(),
        "nodes": [str(value) for value in rng.geometric(0.3, 80)],
    }
    whole = characteristics(group, columns, kinds={"nodes": "continuous"})
    assert [variable.summary for variable in whole.variables] == ["mean ± SD", "n (%)", "median (P25, P75)"]
    kept = [n for n in range(80) if columns["grade"][n] != "3"][:6]
    part = {name: [cells[n] for n in kept] for name, cells in columns.items()}
    found = characteristics([group[n] for n in kept], part, like=whole)
    for ours, theirs in zip(found.variables, whole.variables, strict=True):
        assert (ours.kind, ours.summary, ours.levels) == (theirs.kind, theirs.summary, theirs.levels)
    assert [row.label for row in found.variables[1].rows] == ["1", "2", "3"]
    assert "ANOVA" in found.variables[0].test.test
    assert found.variables[2].test.test == "Kruskal-Wallis"
    ages = [float(columns["age"][n]) for n in kept if group[n] == "a"]
    assert found.variables[0].rows[0].cells[0] == f"{np.mean(ages):.2f} ± {np.std(ages, ddof=1):.2f}"


def test_p_values_for_people() -> None:
    assert [p_text(p) for p in (0.04567, 0.00099, 0.0, 1.0, None)] == ["0.046", "<0.001", "<0.001", "1.000", "-"]


def test_what_does_not_fit_is_named() -> None:
    for columns, options, words in (
        ({"age": ["61"]}, {}, "1 values of 2 patients"),
        ({"age": ["61", "old"]}, {"kinds": {"age": "continuous"}}, "'old', expected a number"),
        ({"age": ["61", "inf"]}, {"kinds": {"age": "continuous"}}, "'inf', expected a number"),
        ({"side": ["L", "X"]}, {"levels": {"side": ["L", "R"]}}, "'X'"),
        ({}, {"order": ["a"]}, "unknown value 'b'"),
    ):
        with pytest.raises(MolSubError, match=words) as caught:
            characteristics(["a", "b"], columns, **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def cohort(folder: Path, *rows: str) -> Cohort:
    header = "patient_id,image,mask,subtype,age,view,vendor,name,note"
    (folder / "t.csv").write_text("\n".join([header, *rows]))
    return read_cohort(folder / "t.csv")


def test_one_row_per_patient(tmp_path: Path) -> None:
    """Views differ within a patient, names are nobody's business: neither is a characteristic."""
    table = cohort(
        tmp_path,
        "1,a.png,am.png,TN,61,CC,Hologic,Ann,",
        "1,b.png,bm.png,TN,61,MLO,Hologic,Ann,",
        "2,c.png,cm.png,Luminal A,,CC,GE,Beth,",
        "2,d.png,dm.png,Luminal A,55,MLO,,Beth,",
        "3,e.png,em.png,TN,,CC,GE,Cleo,",
        "4,f.png,fm.png,TN,70,CC,GE,Dora,",
    )
    found = patient_columns(table)
    cases, columns = found.cases, found.columns
    assert [case.patient_id for case in cases] == ["1", "2", "3", "4"]
    assert columns == {"age": ["61", "55", "", "70"], "vendor": ["Hologic", "GE", "GE", "GE"]}
    assert found.left_out["view"] == "differs between the rows of a patient"
    assert found.note() == (
        "Columns not shown: view (differs between the rows of a patient); name (tells by its name who a patient is)."
    )
    assert patient_columns(table, ["age"]).columns == {"age": columns["age"]}
    with pytest.raises(CohortError, match=r"lacks the column stage; found: age, view"):
        patient_columns(table, ["stage"])
    with pytest.raises(CohortError, match="row 3, view: is 'MLO', row 2 of the same patient has 'CC'"):
        patient_columns(table, ["view"])


def test_the_table_of_a_cohort_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        f"{n},{n}{view}.png,{n}m.png,{'TN' if n % 2 else 'Luminal A'},{40 + age},{view},GE,,"
        for n, age in enumerate(rng.permutation(40).tolist())
        for view in ("CC", "MLO")
    ]
    patients = patient_columns(cohort(tmp_path, *rows))
    found = characteristics([case.subtype.value for case in patients.cases if case.subtype], patients.columns)
    assert found.sizes == (20, 20)
    assert [(part.name, part.kind) for part in found.variables] == [("age", "continuous"), ("vendor", "categorical")]
    assert found.variables[1].test.test == "none"
