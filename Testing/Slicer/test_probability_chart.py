"""The bars of a prediction, by the pixels of the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def label(slicer_app: Any) -> Any:
    import qt

    holder = qt.QWidget()
    label = qt.QLabel(holder)
    label.setGeometry(0, 0, 400, 50)
    holder.show()
    yield label
    holder.deleteLater()


def picture(label: Any) -> NDArray[np.uint8]:
    """The label's picture as (rows, columns, RGBA)."""
    import qt

    image = label.pixmap.toImage().convertToFormat(qt.QImage.Format_RGBA8888)
    flat = np.frombuffer(bytes(image.constBits()), np.uint8).reshape(image.height(), image.bytesPerLine())
    return flat[:, : image.width() * 4].reshape(image.height(), image.width(), 4)


def bars(image: NDArray[np.uint8], colour: str) -> list[tuple[int, int, int]]:
    """Runs of rows whose longest horizontal run is in this colour: (first row, left, length)."""
    rgb = [int(colour[index : index + 2], 16) for index in (1, 3, 5)]
    same = (image[:, :, :3] == rgb).all(axis=2) & (image[:, :, 3] == 255)
    found: list[tuple[int, int, int]] = []
    rows = [row for row in range(len(image)) if same[row].sum() > 9]
    for row in rows:
        columns = np.flatnonzero(same[row])
        if row - 1 not in rows:
            found.append((row, int(columns[0]), int(columns[-1] - columns[0] + 1)))
    return found


def test_lengths_are_the_probabilities_and_only_the_predicted_class_is_blue(label: Any) -> None:
    from MolSubSlicerLib.Predict.ProbabilityChart import Bars, ProbabilityChart

    chart = ProbabilityChart(label)
    first = {"non-TN": 0.25, "TN": 0.75}
    second = {"non-TN": 0.5, "TN": 0.5}
    chart.show([Bars("patient", first, "TN", main=True), Bars("view", second, None)], "TN")
    image = picture(label)
    assert image.shape[:2] == (label.height, 400)
    ((_, left, long),) = bars(image, "#0072b2")
    short, *tied = bars(image, "#9aa5ad")
    assert [left_of for _row, left_of, _length in (short, *tied)] == [left] * 3
    unit = long / 0.75
    assert short[2] == pytest.approx(0.25 * unit, abs=1.5)
    assert [length for _row, _left, length in tied] == pytest.approx([0.5 * unit] * 2, abs=1.5)
    assert left + unit < 400
    assert label.toolTip == "patient: non-TN 0.25, TN 0.75\nview: non-TN 0.50, TN 0.50"

    before = long
    label.resize(300, label.height)
    ((_, left, long),) = bars(picture(label), "#0072b2")
    assert picture(label).shape[1] == 300
    assert before - long == pytest.approx(75, abs=1.5)

    chart.clear()
    assert label.isHidden()


def test_the_range_lies_where_its_ends_are_and_the_positive_class_is_marked(label: Any) -> None:
    from MolSubSlicerLib.Predict.ProbabilityChart import Bars, ProbabilityChart

    chart = ProbabilityChart(label)
    values = {"A": 0.2, "B": 0.6, "C": 0.2}
    chart.show([Bars("patient", values, "B", {"B": (0.4, 0.9)}, main=True)], "C")
    image = picture(label)
    ((row, left, long),) = bars(image, "#0072b2")
    unit = long / 0.6
    ink = label.palette.windowText().color()
    dark = (image[:, :, :3] == [ink.red(), ink.green(), ink.blue()]).all(axis=2) & (image[:, :, 3] == 255)
    lines = [np.flatnonzero(dark[at, left : left + int(unit) + 2]) for at in range(row, row + 16)]
    line = max(lines, key=len)
    assert (line[0] / unit, line[-1] / unit) == pytest.approx((0.4, 0.9), abs=0.01)

    orange = (image[:, :, :3] == [0xD5, 0x5E, 0x00]).all(axis=2)
    rows = np.flatnonzero(orange.any(axis=1))
    mark, key = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    others = bars(image, "#9aa5ad")
    assert others[1][0] < mark.mean() < others[1][0] + 24
    assert key.min() > others[1][0] + 24
    assert np.flatnonzero(orange.any(axis=0)).max() < left


def test_long_names_leave_room_for_the_bars(label: Any) -> None:
    from MolSubSlicerLib.Predict.ProbabilityChart import Bars, ProbabilityChart

    chart = ProbabilityChart(label)
    names = ["HER2-positive with a very long name that nobody would read", "HER2-negative"]
    chart.show([Bars("patient", dict(zip(names, (0.9, 0.1), strict=True)), names[0])], names[0])
    ((_, left, long),) = bars(picture(label), "#0072b2")
    assert left < 200
    assert long > 100


def test_figures_of_before_a_recalibration_are_told_as_such(slicer_app: Any) -> None:
    from MolSubSlicerLib.Predict.PredictPanel import result_note

    model: dict[str, Any] = {"metrics": {"test": {"patient": {"n": 78, "metrics": {"auc": {"value": 0.71}}}}}}
    assert result_note(model).endswith("On its test set: AUC 0.71, per patient, n = 78.")
    model["recalibration"] = {"method": "logistic", "patients": 40, "fitted_on": "centre=A"}
    assert result_note(model).endswith("On its test set: AUC 0.71, per patient, n = 78, before the recalibration.")
