"""The table of predictions: exact round trips, means per image and patient, any bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MolSubCore.errors import MolSubError
from MolSubCore.statistics.scores import Predictions, ensemble, read_predictions, write_predictions

CLASSES = ("non-TN", "TN, or so")
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=6)  # ids and labels are of one line
numbers = st.floats(allow_nan=False, allow_infinity=False)


def make(rows: list[tuple[str, int, str, int, list[float]]], classes: tuple[str, ...] = CLASSES) -> Predictions:
    """Predictions from (patient, image, lesion, label, logits)."""
    patient, case, lesion, label, logits = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    text = np.array(patient, dtype=str)
    blank = np.full(len(rows), "", dtype=str)
    values = np.array(logits, float).reshape(len(rows), len(classes))
    numbers = np.array(case, np.int64), np.array(label, np.int64)
    return Predictions(text, numbers[0], np.array(lesion, dtype=str), blank, blank, numbers[1], values, classes)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(words, st.integers(0, 2**40), words, st.integers(0, 1), st.lists(numbers, min_size=2, max_size=2)),
        max_size=6,
    )
)
def test_files_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    predictions = make(rows)
    path = tmp_path_factory.mktemp("p") / "p.csv"
    write_predictions(path, predictions)
    again = read_predictions(path)
    assert again.classes == CLASSES
    for name in ("study_id", "case", "lesion", "laterality", "view", "label", "logits"):
        assert np.array_equal(getattr(again, name), getattr(predictions, name)), name
    assert again.logits.shape == (len(rows), 2)


def test_another_library_reads_it_too(tmp_path: Path) -> None:
    predictions = make([("S1", 4, "1", 1, [0.1, 1 / 3]), ("S2", 5, "2", 0, [-1e-300, 12.5])])
    write_predictions(tmp_path / "p.csv", predictions)
    table = pd.read_csv(tmp_path / "p.csv")
    assert table["logit:TN, or so"].tolist() == [1 / 3, 12.5]
    assert table["study_id"].tolist() == ["S1", "S2"]
    assert table["case"].tolist() == [4, 5]


@st.composite
def nested(draw: st.DrawFn) -> Predictions:
    """Patients with images with lesions, rows in any order."""
    rows, case = [], 0
    for patient in range(draw(st.integers(1, 5))):
        label = draw(st.integers(0, 1))
        for _ in range(draw(st.integers(1, 3))):
            case += 1
            for lesion in range(draw(st.integers(1, 3))):
                logits = draw(st.lists(st.floats(-20, 20), min_size=2, max_size=2))
                rows.append((f"S{patient}", case, str(lesion), label, logits))
    return make(draw(st.permutations(rows)))


@settings(deadline=None)
@given(nested())
def test_means_are_of_lesions_then_of_images(predictions: Predictions) -> None:
    """Against pandas; a patient with many lesions in one view does not drown the other view."""
    values = np.exp(predictions.logits)
    table = pd.DataFrame(
        {"patient": predictions.study_id, "case": predictions.case, "p": values[:, 1] / values.sum(axis=1)}
    )
    per_image = table.groupby(["patient", "case"])["p"].mean()
    found = predictions.scores().per_image()
    assert dict(zip(found.case.tolist(), found.probabilities[:, 1], strict=True)) == pytest.approx(
        per_image.droplevel("patient").to_dict(), abs=1e-12
    )
    found = predictions.scores().per_patient()
    assert dict(zip(found.patient.tolist(), found.probabilities[:, 1], strict=True)) == pytest.approx(
        per_image.groupby("patient").mean().to_dict(), abs=1e-12
    )
    labels = dict(zip(predictions.study_id.tolist(), predictions.label.tolist(), strict=True))
    assert dict(zip(found.patient.tolist(), found.label.tolist(), strict=True)) == labels


def test_large_logits_are_probabilities_too() -> None:
    values = make([("S", 0, "1", 0, [1e4, -1e4]), ("T", 1, "1", 1, [-745.0, 745.0])]).probabilities()
    assert np.allclose(values, [[1, 0], [0, 1]])


def test_a_patient_of_two_labels_is_refused() -> None:
    predictions = make([("S", 0, "1", 0, [0, 1]), ("S", 1, "1", 1, [0, 1])])
    predictions.scores().per_image()
    with pytest.raises(MolSubError, match="two labels"):
        predictions.scores().per_patient()


def test_an_ensemble_is_the_mean_of_probabilities() -> None:
    one = make([("S", 0, "1", 1, [0.0, np.log(3)]), ("T", 1, "1", 0, [0.0, 0.0])])
    two = make([("S", 0, "1", 1, [0.0, 0.0]), ("T", 1, "1", 0, [np.log(4), 0.0])])
    found = ensemble([one, two])
    assert np.allclose(found.probabilities[:, 1], [(0.75 + 0.5) / 2, (0.5 + 0.2) / 2])
    assert found.label.tolist() == [1, 0]
    assert np.array_equal(ensemble([one]).probabilities, one.probabilities())


@pytest.mark.parametrize(
    "other",
    [
        make([("S", 0, "1", 1, [0.0, 1.0])]),
        make([("S", 0, "1", 1, [0.0, 1.0]), ("T", 2, "1", 0, [0.0, 1.0])]),
        make([("S", 0, "1", 1, [0.0, 1.0]), ("T", 1, "2", 0, [0.0, 1.0])]),
        make([("S", 0, "1", 1, [0.0, 1.0]), ("T", 1, "1", 1, [0.0, 1.0])]),
        make([("S", 0, "1", 1, [0.0, 1.0]), ("T", 1, "1", 0, [0.0, 1.0])], ("TN, or so", "non-TN")),
    ],
)
def test_members_on_other_lesions_labels_or_classes_are_refused(other: Predictions) -> None:
    one = make([("S", 0, "1", 1, [0.0, 1.0]), ("T", 1, "1", 0, [0.0, 1.0])])
    with pytest.raises(MolSubError, match="of the folds"):
        ensemble([one, other])


HEADER = "study_id,case,lesion,laterality,view,label,logit:a,logit:b\n"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "study_id,case\n",
        "study_id,case,lesion,laterality,view,label\n",
        HEADER + "S,0,1,L,CC,0,0.5\n",
        HEADER + "S,0,1,L,CC,0,0.5,x\n",
        HEADER + "S,0,1,L,CC,2,0.5,0.5\n",
        HEADER + "S,0,1,L,CC,-1,0.5,0.5\n",
        HEADER + "S,0,1,L,CC,1.5,0.5,0.5\n",
        HEADER + "S,99999999999999999999,1,L,CC,1,0.5,0.5\n",
        HEADER + "S,0,1,L,CC,1,nan,0.5\n",
        HEADER + "S,0,1,L,CC,1,0.5,inf\n",
        HEADER + f"S,0,{'x' * 200_000},L,CC,1,0.5,0.5\n",
    ],
)
def test_other_tables_are_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(MolSubError, match="not a table of predictions") as caught:
        read_predictions(tmp_path / "p.csv")
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.booleans(), st.binary(max_size=80))
def test_any_bytes_give_a_table_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, headed: bool, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("p") / "p.csv"
    path.write_bytes(HEADER.encode() * headed + content)
    try:
        read_predictions(path)
    except MolSubError as error:
        assert "\n" not in str(error)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MolSubError, match="not a table of predictions"):
        read_predictions(tmp_path / "none.csv")
