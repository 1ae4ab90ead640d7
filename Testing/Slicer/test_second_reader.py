"""Two readers outline the same images, blind to each other; then their agreement and consensus, by brute force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.distance import directed_hausdorff

from MolSubCore.imaging.io.reader import read_mammogram
from worklist_case import Reader, bare_table, make_images

Until = Callable[..., Any]
#: Strokes (row, column) of both readers on the four images; none: nothing to outline.
FIRST = [[(150, 100), (170, 120)], [(100, 60)], [(200, 90)], []]
SECOND = [[(155, 105), (175, 125)], [(110, 66)], [], []]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def reader(module: Any, dialogs: Any, process_until: Until) -> Reader:
    module.panels["AnnotatePanel"].ui.secondReaderBox.collapsed = False
    return Reader(module, dialogs, process_until)


def read_all(reader: Reader, table: Path, name: str, strokes: list[Any], blind: bool) -> list[np.ndarray]:
    """Work through the whole list; what was outlined on each image."""
    reader.open(table, name, blind=blind)
    masks = []
    for points in strokes:
        masks.append(reader.paint(*points) > 0 if points else np.zeros((320, 256), bool))
        reader.click("doneButton")
    return masks


def row(reader: Reader, number: int) -> list[str]:
    table = reader.panel.second_reader_part.ui.pairTable
    return [table.item(number, column).text() for column in range(5)]


def test_two_readers_are_compared_and_made_one(
    reader: Reader, module: Any, cohort: Path, tmp_path: Path, process_until: Until
) -> None:
    table, ui = bare_table(cohort, tmp_path), reader.panel.second_reader_part.ui
    first = read_all(reader, table, "Dr. A", FIRST, blind=False)
    assert not ui.compareButton.enabled  # one reader so far
    reader.click("closeButton")
    reader.open(table, "Dr. B", blind=True)
    assert not reader.controller.worklist.current.given
    assert ui.compareButton.enabled
    ui.compareButton.click()
    assert "reader Dr. B: has 4 images left" in module.message.text
    assert ui.pairTable.rowCount == 0
    assert not ui.summaryLabel.text
    reader.click("closeButton")
    second = read_all(reader, table, "Dr. B", SECOND, blind=True)
    ui.consensusButton.click()  # the union
    process_until(lambda: reader.panel.second_reader.consensus is not None, 60)
    for number in (0, 1):
        one, two = first[number], second[number]
        name, dice, distance, _iou, kappa = row(reader, number)
        image = reader.controller.worklist.entries[number].image
        assert name == image.name
        assert float(dice) == pytest.approx(2 * (one & two).sum() / (one.sum() + two.sum()), abs=6e-4)
        spacing = read_mammogram(image).spacing.row_mm
        points = [np.argwhere(mask) * spacing for mask in (outline(one), outline(two))]
        expected = max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])
        assert distance.endswith(" mm")
        assert float(distance.split()[0]) == pytest.approx(expected, abs=0.06)
        assert 0 < float(kappa) < 1
    assert row(reader, 2)[1] == "outlined by the first only"
    assert row(reader, 3)[1] == "outlined by neither"
    assert "2 of 4 images were outlined by both" in ui.summaryLabel.text
    check_masks(table.parent / "masks" / "consensus-union", [a | b for a, b in zip(first, second, strict=True)])


def outline(mask: np.ndarray) -> np.ndarray:
    inner = mask.copy()
    inner[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:] & mask[1:-1, 1:-1]
    return mask & ~inner


def check_masks(folder: Path, expected: list[np.ndarray]) -> None:
    """Masks of the images that somebody outlined, and their table."""
    lines = (folder / "cohort.csv").read_text().splitlines()
    names = [line.split(",")[2] for line in lines[1:]]
    wanted = [mask for mask in expected if mask.any()]
    assert len(names) == len(wanted)
    for name, mask in zip(names, wanted, strict=True):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name)))[0] > 0, mask)


def test_every_consensus_has_a_folder_of_its_own(
    reader: Reader, cohort: Path, tmp_path: Path, process_until: Until
) -> None:
    table, part = bare_table(cohort, tmp_path), reader.panel.second_reader_part
    first = read_all(reader, table, "A", FIRST, blind=False)
    reader.click("closeButton")
    second = read_all(reader, table, "B", SECOND, blind=True)
    controller = reader.panel.second_reader
    for rule, folder, expected in (
        ("second", "consensus-B", second),
        ("second", "consensus-B-2", second),
        ("first", "consensus-A", first),
    ):
        part.ui.ruleBox.setCurrentIndex(part.ui.ruleBox.findData(rule))
        part.ui.consensusButton.click()
        process_until(lambda: controller.consensus is not None, 60)
        assert controller.consensus == table.parent / "masks" / folder / "cohort.csv"
        check_masks(controller.consensus.parent, expected)
    reader.click("closeButton")
    assert part.ui.pairTable.rowCount == 0
    assert not part.ui.compareButton.enabled
