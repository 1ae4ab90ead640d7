"""Agreement of two readers against SimpleITK, scipy and scikit-learn, and against closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import failing
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist, directed_hausdorff
from sklearn.metrics import cohen_kappa_score

from MolSubCore.__main__ import main
from MolSubCore.errors import LesionError
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.lesions.agreement import RULES, agreement, cohen_kappa, consensus
from MolSubCore.lesions.lesion import Box, Lesion, LesionSet
from MolSubCore.worker.agreement import compare

SHAPE = (40, 50)
STEPS = (0.07, 0.11)
KNOWN = Spacing(*STEPS, "PixelSpacing")


def lesions(*masks: NDArray[np.bool_]) -> LesionSet:
    """One lesion per mask on the whole grid."""
    found = []
    for number, mask in enumerate(masks, start=1):
        rows, columns = np.nonzero(mask)
        box = Box(int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
        found.append(Lesion(str(number), box, mask[box.rows, box.cols], "mask"))
    return LesionSet(tuple(found), masks[0].shape)


def boxed(box: Box, shape: tuple[int, int] = SHAPE) -> LesionSet:
    return LesionSet((Lesion("1", box, None, "box"),), shape)


@st.composite
def blobs(draw: st.DrawFn) -> NDArray[np.bool_]:
    """An ellipse, perhaps with a hole, that may touch the image's edge."""
    row, column = draw(st.integers(0, SHAPE[0] - 1)), draw(st.integers(0, SHAPE[1] - 1))
    high, wide = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    away = ((y - row) / high) ** 2 + ((x - column) / wide) ** 2
    return (away <= 1) & (away >= (0.2 if draw(st.booleans()) and min(high, wide) > 4 else 0))


def outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels with a neighbour outside, one by one; in mm."""
    padded = np.pad(mask, 1)
    points = [
        (row, column)
        for row, column in np.argwhere(mask)
        if not (padded[row, column + 1] and padded[row + 2, column + 1]
                and padded[row + 1, column] and padded[row + 1, column + 2])
    ]  # fmt: skip
    return np.array(points) * STEPS


def volume(mask: NDArray[np.bool_]) -> sitk.Image:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(STEPS[::-1])
    return image


@settings(deadline=None, max_examples=60)
@given(blobs(), blobs())
def test_dice_and_distances_are_those_of_other_libraries(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> None:
    found = agreement(lesions(one), lesions(two), KNOWN)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(volume(one), volume(two))
    assert found.dice == pytest.approx(overlap.GetDiceCoefficient())
    assert found.jaccard == pytest.approx(overlap.GetJaccardCoefficient())
    first, second = outline(one), outline(two)
    largest = max(directed_hausdorff(first, second)[0], directed_hausdorff(second, first)[0])
    assert found.hausdorff == pytest.approx(largest)
    distances = cdist(first, second)
    percentiles = [np.percentile(distances.min(axis=axis), 95) for axis in (0, 1)]
    assert found.hausdorff_95 == pytest.approx(max(percentiles))
    assert found.hausdorff_95 <= found.hausdorff
    assert (found.area_first, found.unit) == (pytest.approx(one.sum() * STEPS[0] * STEPS[1]), "mm")


def test_the_distance_is_simpleitks_too() -> None:
    """Its filter takes filled masks: for these two the outlines decide."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    one, two = (y - 15) ** 2 + (x - 15) ** 2 <= 64, (y - 20) ** 2 + (x - 27) ** 2 <= 100
    measure = sitk.HausdorffDistanceImageFilter()
    measure.Execute(volume(one), volume(two))
    found = agreement(lesions(one), lesions(two), KNOWN)
    assert found.hausdorff == pytest.approx(measure.GetHausdorffDistance(), rel=1e-6)


@settings(deadline=None, max_examples=60)
@given(blobs(), blobs(), blobs())
def test_kappa_is_scikit_learns_over_the_region(
    one: NDArray[np.bool_], two: NDArray[np.bool_], three: NDArray[np.bool_]
) -> None:
    first, second = lesions(one, three), lesions(two)
    found = agreement(first, second, Spacing())
    marked = []
    for part in (first, second):
        mask = np.zeros(SHAPE, bool)
        for lesion in part.lesions:
            mask[lesion.box.rows, lesion.box.cols] = True
        marked.append(mask)
    region = found.kappa_region
    answers = [mask[region.rows, region.cols].ravel() for mask in marked]
    assert all(mask.sum() == answer.sum() for mask, answer in zip(marked, answers, strict=True))  # nothing lies outside
    assert found.box_iou == pytest.approx((marked[0] & marked[1]).sum() / (marked[0] | marked[1]).sum())
    if found.box_kappa is not None:
        assert found.box_kappa == pytest.approx(cohen_kappa_score(*answers))
    assert (found.lesions_first, found.lesions_second, found.unit) == (2, 1, "px")


def test_shifted_boxes_in_closed_form() -> None:
    """Boxes of 8 x 10 pixels, the second 4 columns to the right; the region is 16 rows and 28 columns."""
    found = agreement(boxed(Box(16, 24, 20, 30)), boxed(Box(16, 24, 24, 34)), Spacing())
    assert found.kappa_region == Box(12, 28, 13, 41)
    assert found.box_iou == pytest.approx(48 / 112)
    total, yes, both = 16 * 28, 80, 48
    observed, expected = (total - 2 * (yes - both)) / total, (yes**2 + (total - yes) ** 2) / total**2
    assert found.box_kappa == pytest.approx((observed - expected) / (1 - expected))
    assert (found.hausdorff, found.dice) == (4.0, pytest.approx(0.6))


def test_equal_outlines_agree_wholly_and_distant_ones_not() -> None:
    box = Box(10, 20, 10, 20)
    same = agreement(boxed(box), boxed(box), KNOWN)
    assert (same.dice, same.hausdorff, same.hausdorff_95, same.box_iou, same.box_kappa) == (1, 0, 0, 1, 1)
    apart = agreement(boxed(box), boxed(Box(10, 20, 30, 40)), KNOWN)
    assert (apart.dice, apart.box_iou) == (0, 0)
    assert apart.hausdorff == pytest.approx(20 * STEPS[1])
    assert apart.box_kappa is not None and apart.box_kappa < 0
    whole = agreement(boxed(Box(0, 40, 0, 50)), boxed(Box(0, 40, 0, 50)), KNOWN)
    assert whole.box_kappa is None  # nothing to disagree on
    assert cohen_kappa(np.array([True, False]), np.array([False, True])) == -1


def test_consensus() -> None:
    one, two = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    one[5:15, 5:15], two[10:20, 5:15] = True, True
    expected = {"first": one, "second": two, "union": one | two, "intersection": one & two}
    assert set(expected) == set(RULES)
    for rule in RULES:
        assert np.array_equal(consensus(lesions(one), lesions(two), rule), expected[rule])
    with pytest.raises(LesionError, match="no pixel in common"):
        consensus(boxed(Box(0, 2, 0, 2)), boxed(Box(5, 7, 5, 7)), "intersection")
    with pytest.raises(LesionError, match="10 rows x 50 columns"):
        agreement(boxed(Box(0, 2, 0, 2)), boxed(Box(0, 2, 0, 2), (10, 50)), KNOWN)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A picture, and two masks of it."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(1, 255, SHAPE, np.uint8)).save(tmp_path / "R_CC.png")
    for name, rows in (("first", slice(5, 15)), ("second", slice(10, 20))):
        mask = np.zeros(SHAPE, np.uint8)
        mask[rows, 5:15] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    return tmp_path


def test_the_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(files / "first.png"), str(files / "second.png"), "--image", str(files / "R_CC.png")]
    out = files / "both.nii.gz"
    assert main(["agreement", *names, "--json", "--consensus", "union", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["dice"], found["hausdorff"], found["unit"]) == (0.5, 5.0, "px")
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    assert written.shape == (1, *SHAPE)
    assert np.array_equal(np.unique(np.nonzero(written[0])[0]), np.arange(5, 20))
    assert main(["agreement", *names]) == 0
    assert "Dice 0.500" in capsys.readouterr().out
    assert "exists already" in failing(capsys, "agreement", *names, "--consensus", "first", "--out", str(out))
    assert "go together" in failing(capsys, "agreement", *names, "--consensus", "first")


def test_many_pairs_at_once(files: Path) -> None:
    image, first, second = (str(files / f"{name}.png") for name in ("R_CC", "first", "second"))
    pairs = [
        {"image": image, "first": first, "second": second, "out": str(files / "1.nii.gz")},
        {"image": image, "first": first, "second": first, "out": str(files / "2.nii.gz")},
        {"image": image, "first": None, "second": second, "out": str(files / "3.nii.gz")},
        {"image": image, "first": None, "second": None},
    ]
    shares: list[float] = []
    found = compare({"pairs": pairs, "consensus": "union"}, lambda share, **values: shares.append(share))
    assert [item.get("only") for item in found["items"]] == [None, None, "second", "neither"]
    assert found["summary"]["dice"] == {"median": 0.75, "low": 0.625, "high": 0.875, "n": 2}
    assert "hausdorff_mm" not in found["summary"]
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(files / "3.nii.gz"))).sum() == 100
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_outlines_apart_have_no_intersection_and_stop_nobody(files: Path) -> None:
    image = str(files / "R_CC.png")
    apart = {"image": image, "first": "0,0,4,4", "second": "5,5,8,8", "out": str(files / "apart.nii.gz")}
    alike = {"image": image, "first": "0,0,4,4", "second": "0,0,4,6", "out": str(files / "alike.nii.gz")}
    items = compare({"pairs": [apart, alike], "consensus": "intersection"}, lambda share, **values: None)["items"]
    assert items[0]["dice"] == 0
    assert "no pixel in common" in items[0]["consensus_problem"]
    assert not (files / "apart.nii.gz").exists()
    assert sitk.GetArrayFromImage(sitk.ReadImage(items[1]["consensus"])).sum() == 16
    with pytest.raises(LesionError, match="no pixel in common"):
        compare({**apart, "consensus": "intersection"}, lambda share, **values: None)
