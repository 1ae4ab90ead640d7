"""What a result is warned of: images and lesions of a kind that the model has never seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from MolSubCore.imaging.mammogram import Mammogram, Spacing, VoiTransform
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import extract_rois
from MolSubCore.models.bundle import read_bundle, write_bundle
from MolSubCore.models.registry import build_model
from MolSubCore.prediction.predict import predict
from MolSubCore.prediction.warnings import bundle_warnings, image_warnings, warning_lines
from MolSubCore.tasks import get_task

KNOWN = Mammogram(
    np.arange(400 * 300, dtype=np.uint16).reshape(400, 300),
    spacing=Spacing(0.1, 0.1, "PixelSpacing"),
    laterality="R",
    view="CC",
    manufacturer="HOLOGIC, Inc.",
    presentation="FOR PRESENTATION",
)
COHORT = {"views": {"CC": 9, "MLO": 8}, "presentation": {"FOR PRESENTATION": 17}, "roi_side_px": [60, 240]}
CARD = {"vendors": ["Hologic"], "training": {"cohort": COHORT}}


def said(mammogram: Mammogram, box: str, card: dict[str, Any]) -> list[str]:
    lesions = read_lesions(box, mammogram)
    rois = extract_rois(mammogram, lesions, get_recipe("default", bound=20))
    return image_warnings("1 R CC", mammogram, lesions, rois, card)


def test_an_image_like_those_of_the_training_is_not_warned_of() -> None:
    assert said(KNOWN, "100,100,140,130", CARD) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"view": "XCCL"}, "Image 1 R CC: its view is XCCL, the model was trained on CC, MLO."),
        (
            {"presentation": "FOR PROCESSING"},
            "Image 1 R CC: its presentation intent is FOR PROCESSING, the model was trained on FOR PRESENTATION.",
        ),
        ({"manufacturer": "GE"}, "Image 1 R CC: its manufacturer is GE, the model was trained on Hologic."),
        (
            {"spacing": Spacing()},
            "The pixel spacing of image 1 R CC is unknown: the margin around the lesion is in pixels only.",
        ),
    ],
)
def test_another_kind_of_image(changes: dict[str, Any], text: str) -> None:
    assert said(replace(KNOWN, **changes), "100,100,140,130", CARD) == [text]


_LUT = VoiTransform("voi-lut:0", "lut", lut=np.linspace(0, 1, 120_000, dtype=np.float32))
_WINDOW = VoiTransform("window:0", "linear", center=60_000, width=120_000)


@pytest.mark.parametrize(
    ("voi", "trained", "told"),
    [
        ((), {"window:0": 52}, "percentiles of the breast, those of the training by a window of the file (52 images)"),
        ((_LUT,), {"window:0": 1}, "a VOI LUT of the file, those of the training by a window of the file (1 image)"),
        (
            (_WINDOW,),
            {"percentile-3": 2, "voi-lut:0": 4, "voi-lut:1": 1},
            "a window of the file, those of the training by a VOI LUT of the file (5 images), "
            "percentiles of the breast (2 images)",
        ),
        ((_WINDOW,), {"window:1": 3}, ""),  # which window it is makes no other kind
        ((), {"percentile-2": 3}, ""),
        ((), {"window:0": 50, "percentile-3": 1}, ""),
        ((), {"stored": 3}, ""),
        ((), {}, ""),
    ],
)
def test_a_display_of_another_kind_than_in_training(voi: tuple[Any, ...], trained: dict[str, int], told: str) -> None:
    card = {"vendors": ["Hologic"], "training": {"cohort": COHORT | {"displays": trained}}}
    expected = [f"Image 1 R CC: it is shown by {told}: the same tissue looks otherwise to the model."] if told else []
    assert said(replace(KNOWN, voi=voi), "100,100,140,130", card) == expected


@pytest.mark.parametrize(("here", "trained"), [(0.094, [0.234, 0.234]), (0.2, [0.05, 0.1]), (0.08, [0.09, 0.1])])
def test_pixels_of_another_size_than_in_training(here: float, trained: list[float]) -> None:
    card = {"vendors": ["Hologic"], "training": {"cohort": {**COHORT, "spacing_mm": trained}}}
    (text,) = said(replace(KNOWN, spacing=Spacing(here, here, "PixelSpacing")), "100,100,140,130", card)
    known = f"{trained[0]:g}" + (f" to {trained[1]:g}" if trained[0] != trained[1] else "")
    assert text.startswith(f"Image 1 R CC: the pixels are {here:g} mm apart, those of the training were {known} mm")
    assert text.endswith(f"The margin of 20 pixels around the lesion is {20 * here:.3g} mm here.")
    for near in (trained[0] * 0.92, trained[1] * 1.08):
        assert said(replace(KNOWN, spacing=Spacing(near, near, "PixelSpacing")), "100,100,140,130", card) == []


@pytest.mark.parametrize(("box", "side"), [("100,100,113,110", 53), ("20,20,245,150", 265)])
def test_a_region_smaller_or_larger_than_any_of_the_training(box: str, side: int) -> None:
    """Side of the square: the longer side of the box and twice the margin of 20 pixels; a tenth is no difference."""
    expected = f"the region around it is {side} pixels wide, those of the training were 60 to 240."
    assert f"Image 1 R CC, lesion 1: {expected}" in said(KNOWN, box, CARD)


@pytest.mark.parametrize("box", ["100,100,115,110", "20,20,243,150"])
def test_what_is_near_the_limits_is_within(box: str) -> None:
    assert said(KNOWN, box, CARD) == []


@pytest.mark.parametrize("card", [{}, {"training": None}, {"training": {"cohort": {"views": {"unknown": 3}}}}])
def test_nothing_is_said_where_nothing_is_known_of_the_training(card: dict[str, Any]) -> None:
    assert said(replace(KNOWN, view="XCCL"), "100,100,140,130", card) == []


def test_a_synthetic_model_says_so() -> None:
    assert bundle_warnings({"synthetic": True, "warnings": ["a"]})[0] == "a"
    assert "synthetic" in bundle_warnings({"synthetic": True})[0]


def test_a_run_records_the_sizes_of_its_regions(workplace: Path) -> None:
    """Against the boxes of the cohort's own masks: the longer side and twice the margin, within the image."""
    from MolSubCore.cohort.table import read_cohort
    from MolSubCore.files import read_json
    from MolSubCore.imaging.io.reader import read_mammogram

    sides, spacings = [], []
    for case in read_cohort(workplace / "cohort" / "table.csv").cases:
        mammogram = read_mammogram(case.image)
        spacings.append(mammogram.spacing.row_mm)
        for lesion in read_lesions(case.lesion, mammogram).lesions:
            sides.append(max(lesion.box.shape) + 200)
    assert read_json(workplace / "run" / "cohort.json")["spacing_mm"] == pytest.approx([min(spacings), max(spacings)])
    assert read_json(workplace / "run" / "cohort.json")["roi_side_px"] == [min(sides), max(sides)]


def test_one_line_for_many_patients_says_whose_its_numbers_are() -> None:
    wide = "the region around it is {} pixels wide, those of the training were 258 to 319."
    cases = [
        ([2, 3], {"images": [{"image": "1 L CC"}, {"image": "2 L MLO"}], "warnings": [
            f"Image 1 L CC, lesion 1: {wide.format(772)}", "Image 2 L MLO: its manufacturer is unknown."]}),
        ([4], {"images": [{"image": "1"}], "warnings": [
            f"Image 1, lesion 1: {wide.format(119)}", "Image 1: its manufacturer is unknown.",
            "Image 1: it is 1.5 mm.", "Image 1: it is 2 mm."]}),
    ]  # fmt: skip
    assert warning_lines(cases) == [
        f"2 of 2 patients (rows 2-4): T{wide.format(772)[1:]} (so in rows 2-3; the others differ only in numbers)",
        "2 of 2 patients (rows 2-4): Its manufacturer is unknown.",
        "1 of 2 patients (row 4): It is 1.5 mm. (so in one image; the others differ only in numbers)",
    ]


def test_a_lesion_in_the_air_means_nothing() -> None:
    rows, columns = np.mgrid[:400, :300]
    breast = (columns / 150) ** 2 + ((rows - 200) / 180) ** 2 < 1
    stored = np.where(breast, 1500 + columns, 20).astype(np.uint16)
    (air, constant) = said(replace(KNOWN, stored=stored), "20,220,60,260", CARD)
    assert air.startswith("Image 1 R CC: The lesion lies outside the breast, in the air: 0 % of it is on breast tissue")
    assert air.endswith("What is computed of it means nothing.")
    assert "one grey value only" in constant


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("P1_R_CC_pectoral.png", "pectoral"),
        ("P1_R_CC_Mamille.png", "mamille"),
        ("pectoral_muscle_mask.png", "pectoral muscle"),
        ("P1_R_CC_lesion_at_nipple.png", ""),
        ("P1_R_CC_mask.png", ""),
    ],
)
def test_a_mask_that_calls_itself_something_else_than_a_lesion(tmp_path: Path, name: str, word: str) -> None:
    mask = np.zeros((400, 300), np.uint8)
    mask[100:140, 100:130] = 255
    Image.fromarray(mask).save(tmp_path / name)
    told = [text for text in read_lesions(tmp_path / name, KNOWN).remarks if "mask's name" in text]
    assert told == ([f"The mask's name says '{word}': check that it outlines the lesion."] if word else [])


@pytest.mark.parametrize(
    ("name", "doubt"),
    [
        ("P1_R_CC_mask.png", ""),
        ("P1_R_XCCL_mask.png", ""),
        ("P1_L_CC_mask.png", "the side L, its image R"),
        ("P1_LMLO_mask.png", "the side L, its image R and the view MLO, its image CC"),
        ("P1_R_MLO_roi.png", "the view MLO, its image CC"),
        ("P1_L_mask.png", ""),  # a letter alone may be anything
        ("drawn.png", ""),
    ],
)
def test_a_mask_whose_name_is_of_another_side_or_view(tmp_path: Path, name: str, doubt: str) -> None:
    mask = np.zeros((400, 300), np.uint8)
    mask[100:140, 100:130] = 255
    Image.fromarray(mask).save(tmp_path / name)

    def told(mammogram: Mammogram) -> list[str]:
        return [text for text in read_lesions(tmp_path / name, mammogram).remarks if "mask's name" in text]

    assert told(KNOWN) == ([f"The mask's name says {doubt}: check that it is the mask of this image."] if doubt else [])
    assert told(replace(KNOWN, laterality=None, view=None)) == []


def test_pictures_of_one_breast_that_face_opposite_ways_are_told(tmp_path: Path) -> None:
    """The second is mirrored; of both breasts, and the same way round, nothing is said."""
    first = np.zeros((400, 320), np.uint8)
    first[60:340, :200] = np.random.default_rng(2).integers(90, 200, (280, 200))
    first[150:190, 60:100] = 250
    second = np.ascontiguousarray(np.roll(first, 9, axis=0))
    Image.fromarray(first).save(tmp_path / "a.png")
    Image.fromarray(second).save(tmp_path / "b.png")
    Image.fromarray(np.ascontiguousarray(second[:, ::-1])).save(tmp_path / "c.png")
    bundle = read_bundle(write_bundle(
        tmp_path / "m.molsub", [build_model("simple-cnn", 2).state_dict()], architecture="simple-cnn", task="tn",
        classes=get_task("tn").classes, recipe=get_recipe("default").to_dict(), dropout=0.3,
    ))  # fmt: skip

    def told(other: str, sides: str) -> bool:
        box = {"a": "150,60,190,100", "b": "159,60,199,100", "c": "159,220,199,260"}
        images = [(tmp_path / f"{name}.png", box[name]) for name in ("a", other)]
        found = predict(images, bundle, layers=(), sides=list(sides))
        return any("face opposite ways: the chest wall is on the left of image 1 and on the right of image 2" in line
                   for line in found.warnings)  # fmt: skip

    assert told("c", "LL")
    assert not told("c", "LR")
    assert not told("b", "LL")
