"""Display transforms against pydicom and the standard's formulas; the breast's own range against percentiles."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing
from written_files import mammogram_dataset, picture, write_dicom

from MolSubCore.errors import ImageError
from MolSubCore.imaging.breast import breast_area, bright_background, foreground_values, sample_values
from MolSubCore.imaging.display import DisplayStep, apply_voi, display_array, display_step
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram, VoiTransform
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.lesions.roi import extract_rois

FUNCTIONS = ["LINEAR", "LINEAR_EXACT", "SIGMOID"]
KINDS = {"LINEAR": "linear", "LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("center", "width"), [(1000, 1500), (300.5, 80.25), (2048, 4096)])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -300)])
def test_windows_are_pydicoms(
    tmp_path: Path,
    function: str,
    signed: bool,
    photometric: str,
    center: float,
    width: float,
    slope: int,
    intercept: int,
) -> None:
    dataset = mammogram_dataset(
        picture(12, signed=signed), 12, PhotometricInterpretation=photometric, VOILUTFunction=function,
        WindowCenter=[7, center], WindowWidth=[9, width], RescaleSlope=slope, RescaleIntercept=intercept,
    )  # fmt: skip
    mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
    written = dcmread(tmp_path / "m.dcm")
    low, high = (-2048, 2047) if signed else (0, 4095)
    low, high = low * slope + intercept, high * slope + intercept
    shown = apply_windowing(apply_modality_lut(written.pixel_array, written), written, index=1)
    expected = (shown - low) / (high - low)
    if photometric == "MONOCHROME1":
        expected = 1 - expected
    assert np.abs(display_array(mammogram, "window:1") - expected).max() < 2e-5


def by_the_standard(x: float, kind: str, center: float, width: float) -> float:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 with an output range of 0 to 1."""
    if kind == "sigmoid":
        power = -4 * (x - center) / width
        return 0.0 if power > 700 else 1 / (1 + math.exp(power))
    if kind == "linear-exact":
        if x <= center - width / 2:
            return 0.0
        return 1.0 if x > center + width / 2 else (x - center) / width + 0.5
    if x <= center - 0.5 - (width - 1) / 2:
        return 0.0
    if x > center - 0.5 + (width - 1) / 2:
        return 1.0
    return (x - (center - 0.5)) / (width - 1) + 0.5


@given(
    st.lists(st.integers(-5000, 5000), min_size=1, max_size=20),
    st.sampled_from(list(KINDS.values())),
    st.integers(-4000, 4000),
    st.one_of(st.just(1), st.integers(1, 6000)),
)
def test_windows_by_the_standards_formulas(values: list[int], kind: str, center: int, width: int) -> None:
    shown = apply_voi(np.array(values, np.float32), VoiTransform("window:0", kind, center, width))
    expected = [by_the_standard(value, kind, center, width) for value in values]
    assert shown.dtype == np.float32
    assert np.abs(shown - expected).max() < 2e-5


@pytest.mark.parametrize(("function", "width"), [("LINEAR", 0.5), ("LINEAR_EXACT", 0), ("SIGMOID", -3)])
def test_a_window_of_impossible_width_is_passed_over(tmp_path: Path, function: str, width: float) -> None:
    dataset = mammogram_dataset(picture(12), 12, VOILUTFunction=function, WindowCenter=[5, 2048])
    dataset.WindowWidth = [width, 4096]
    mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
    step = display_step(mammogram)
    assert step.name == "window:1"
    assert step.notes[0].startswith(f"Display step window:0 (centre 5, width {width:g}) was passed over")
    assert step.notes[0] in mammogram.warnings
    with pytest.raises(ImageError, match="Window Width"):
        display_array(mammogram, "window:0")


def voi_lut(first: int, entries: np.ndarray, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTExplanation = [len(entries) % 65536, first, bits], f"table of {bits} bits"
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("first", "count", "bits"), [(0, 4096, 16), (500, 1000, 12), (0, 65536, 16), (4000, 10, 10)])
def test_voi_lut_is_pydicoms(tmp_path: Path, photometric: str, first: int, count: int, bits: int) -> None:
    curve = np.linspace(0, 1, count) ** 3 * (2**bits - 1)
    items = [voi_lut(0, np.arange(4096), 12), voi_lut(first, curve, bits)]
    dataset = mammogram_dataset(picture(12), 12, PhotometricInterpretation=photometric, VOILUTSequence=items)
    mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
    written = dcmread(tmp_path / "m.dcm")
    if count == 65536:
        expected = curve.astype("<u2")[written.pixel_array] / 65535
    else:
        expected = apply_voi_lut(written.pixel_array, written, index=1) / (2**bits - 1)
    if photometric == "MONOCHROME1":
        expected = 1 - expected
    assert np.abs(display_array(mammogram, "voi-lut:1") - expected).max() < 1e-5
    assert mammogram.voi[1].explanation == f"table of {bits} bits"


def test_voi_lut_of_signed_values_and_packed_bytes(tmp_path: Path) -> None:
    stored = picture(12, signed=True)
    item = voi_lut(-2048, np.linspace(0, 4095, 4096), 12)
    mammogram = read_mammogram(write_dicom(tmp_path / "s.dcm", mammogram_dataset(stored, 12, VOILUTSequence=[item])))
    assert np.abs(display_array(mammogram, "voi-lut:0") - (stored.astype(float) + 2048) / 4095).max() < 1e-6
    packed = voi_lut(0, np.arange(256), 8)
    packed.LUTData = bytes(range(255, -1, -1))  # two 8-bit entries in each word
    grey = picture(8)
    mammogram = read_mammogram(write_dicom(tmp_path / "p.dcm", mammogram_dataset(grey, VOILUTSequence=[packed])))
    assert np.abs(display_array(mammogram, "voi-lut:0") - (255 - grey.astype(float)) / 255).max() < 1e-6


def test_first_mapped_value_written_with_the_other_sign(tmp_path: Path) -> None:
    """In explicit files its type may contradict the pixels' own; the bits mean what the pixels are."""
    for stored, bits, first, kind in ((picture(12, signed=True), 12, 65536 - 2048, "US"), (picture(16), 16, -16, "SS")):
        item = voi_lut(0, np.array([0, *range(1000, 1015)]), 12)
        item.add_new("LUTDescriptor", kind, [16, first, 12])
        path = write_dicom(tmp_path / "m.dcm", mammogram_dataset(stored, bits, VOILUTSequence=[item]))
        true_first = -2048 if bits == 12 else 65536 - 16
        index = np.clip(stored.astype(int) - true_first, 0, 15)
        expected = np.array([0, *range(1000, 1015)])[index] / 4095
        assert np.abs(display_array(read_mammogram(path), "voi-lut:0") - expected).max() < 1e-6


def test_fractional_values_take_the_nearest_entry_and_those_outside_the_ends() -> None:
    lut = VoiTransform("voi-lut:0", "lut", first=10, lut=np.array([0.1, 0.5, 0.9], np.float32))
    shown = apply_voi(np.array([-5, 10.4, 10.6, 11.4, 11.6, 400], np.float32), lut)
    assert np.allclose(shown, [0.1, 0.1, 0.5, 0.5, 0.9, 0.9])


def test_a_table_whose_entries_exceed_its_bits_is_scaled_to_its_largest(tmp_path: Path) -> None:
    """A common mistake of writers: 8 bits told, 16-bit entries given."""
    stored, entries = picture(12), np.linspace(0, 3000, 4096).astype(int)
    dataset = mammogram_dataset(stored, 12, VOILUTSequence=[voi_lut(0, entries, 8)])
    mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
    assert np.abs(display_array(mammogram, "voi-lut:0") - entries[stored] / 3000).max() < 1e-6
    assert any("holds 3000, more than its 8 bits allow" in warning for warning in mammogram.warnings)


def test_unusable_tables_and_windows_are_told(tmp_path: Path) -> None:
    short, odd = voi_lut(0, np.arange(100), 12), voi_lut(0, np.arange(4096), 12)
    short.LUTDescriptor, odd.LUTDescriptor = [4096, 0, 12], [4096, 0, 3]
    dataset = mammogram_dataset(picture(12), 12, VOILUTSequence=[short, odd], VOILUTFunction="CUBIC")
    dataset.WindowCenter, dataset.WindowWidth = [2048, 1000], [4096]
    mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
    assert [voi.name for voi in mammogram.voi] == ["window:0"]
    told = " ".join(mammogram.warnings)
    for words in (
        "VOI LUT 0 is not used",
        "VOI LUT 1 is not used",
        "The VOI LUT Function is a value that DICOM does not define",
        "2 Window Centers and 1",
    ):
        assert words in told


def breast(dtype: type = np.uint16, *, air: int = 100) -> np.ndarray:
    """Seven tenths air of one value with a little noise, and a breast of 1000 to 3000."""
    rng = np.random.default_rng(5)
    stored = rng.integers(air, air + 20, (200, 100))
    stored[:, :30] = rng.integers(1000, 3001, (200, 30))
    return stored.astype(dtype)


def test_automatic_step_takes_the_lut_then_the_window_then_percentiles() -> None:
    window = VoiTransform("window:0", "linear", 2000, 2000)
    lut = VoiTransform("voi-lut:0", "lut", lut=np.linspace(0, 1, 4096, dtype=np.float32))
    blind_lut = VoiTransform("voi-lut:0", "lut", lut=np.ones(500, np.float32))
    blind = VoiTransform("window:0", "linear", 60_000, 10)
    for offered, expected in (
        ((window, lut), "voi-lut:0"), ((window, blind_lut), "window:0"), ((window,), "window:0"),
        ((blind,), "percentile-3"), ((), "percentile-3"),
    ):  # fmt: skip
        step = display_step(Mammogram(breast(), value_range=(0, 65535), voi=offered))
        assert step.name == expected
        passed = [voi.name for voi in offered if voi in (blind, blind_lut)]
        assert [note.split()[2] for note in step.notes] == passed


@pytest.mark.parametrize(("width", "percent"), [(6200, None), (7920, None), (13_200, 15)])
def test_a_window_that_shows_the_breast_in_a_small_part_of_the_grey_scale_is_told(
    width: float, percent: int | None
) -> None:
    """It is used: which window is right nobody knows. Of a breast of 1000 to 3000 it is about 1960."""
    window = VoiTransform("window:0", "linear-exact", width / 2, width)
    step = display_step(Mammogram(breast(), value_range=(0, 4095), voi=(window,)))
    assert step.name == "window:0"
    assert [f"shows the breast in {percent} % of the grey scale only" in note for note in step.notes] == (
        [True] if percent else []
    )


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("center", "width", "reason"),
    [
        (32768, 65536, "in 3 % of the grey scale"),
        (8192, 16384, "in 12 % of the grey scale"),
        (128, 256, "in one grey value"),
        (1200, 1500, "of the breast plain white (saturated)"),
        (2500, 800, "of the breast plain black (saturated)"),
    ],
)
def test_a_window_for_other_pixels_is_passed_over_for_one_that_fits(
    inverted: bool, center: float, width: float, reason: str
) -> None:
    """Of a breast of 1000 to 3000: what a window shows of it, by arithmetic."""
    stored = (4095 - breast()).astype(np.uint16) if inverted else breast()
    center = 4095 - center if inverted else center
    other = VoiTransform("window:0", "linear-exact", center, width)
    fits = VoiTransform("window:1", "linear-exact", 4095 - 2000 if inverted else 2000, 2600)
    mammogram = Mammogram(stored, value_range=(0, 4095), inverted=inverted, voi=(other, fits))
    step = display_step(mammogram)
    assert step.name == "window:1"
    assert step.notes[0].startswith(f"Display step window:0 (centre {center:g}, width {width:g}) was passed over: it")
    assert reason in step.notes[0]
    assert (
        display_step(Mammogram(stored, value_range=(0, 4095), inverted=inverted, voi=(other,))).name == "percentile-3"
    )
    kept = display_step(mammogram, "auto").name  # the rule of models of before
    assert kept == ("window:1" if "one grey value" in reason else "window:0")


def test_many_useless_windows_are_told_in_one_sentence() -> None:
    blind = tuple(VoiTransform(f"window:{n}", "linear", 60_000, 10) for n in range(12))
    (note,) = display_step(Mammogram(breast(), value_range=(0, 4095), voi=blind)).notes
    assert "window:0" in note
    assert note.endswith("; so were 11 others.")


def test_bright_lesions_are_not_clipped() -> None:
    """A lesion of half a per cent of the breast, brighter than all else: the first percentiles made it white."""
    stored = breast()
    stored[50:56, 5:10] = np.arange(3100, 4000, 30).reshape(6, 5)
    mammogram = Mammogram(stored, value_range=(0, 4095))
    assert (display_array(mammogram)[50:56, 5:10] == 1).sum() <= 1
    assert (display_array(mammogram, "auto")[50:56, 5:10] == 1).sum() == 30


@pytest.mark.parametrize("inverted", [False, True])
def test_percentile_step_spans_the_breast_alone(inverted: bool) -> None:
    stored = breast()
    expected = np.percentile(stored[:, :30], (0.5, 99.5))
    values = (3095 - stored.astype(np.int16)) if inverted else stored
    mammogram = Mammogram(values, value_range=(-1000, 4095), inverted=inverted)
    assert np.array_equal(sample_values(mammogram), stored.ravel())
    shown = display_array(mammogram, "percentile")
    straight = np.clip((stored - expected[0]) / (expected[1] - expected[0]), 0, 1)
    assert np.abs(shown - straight).max() < 0.01
    assert shown[:, 30:].max() == 0.0


@pytest.mark.parametrize("inverted", [False, True])
def test_a_breast_of_one_value_is_shown_against_its_background(inverted: bool) -> None:
    stored = np.where(breast() > 900, 1000, 100).astype(np.uint16)
    values = 4095 - stored if inverted else stored
    shown = display_array(Mammogram(values, value_range=(0, 4095), inverted=inverted), "percentile")
    assert np.array_equal(shown, (stored > 900).astype(np.float32))


def test_foreground_of_a_crop_is_everything() -> None:
    crop = Mammogram(picture(12, (60, 60)), value_range=(0, 4095))
    sampled = sample_values(crop)
    assert sampled.size == 3600
    assert foreground_values(sampled).size == 3600
    # A peak in the middle of the range is tissue, not the background, which is dark.
    peaked = np.concatenate([np.full(600, 2000.0), np.linspace(0, 1900, 200), np.linspace(2100, 4000, 200)])
    assert foreground_values(peaked.astype(np.float32)).size == 1000
    large = Mammogram(np.zeros((3000, 3000), np.uint8))
    assert 100_000 < sample_values(large).size < 400_000


def test_a_negative_is_noticed() -> None:
    assert not bright_background(Mammogram(breast(), value_range=(0, 4095)))
    assert bright_background(Mammogram((4095 - breast()).astype(np.uint16), value_range=(0, 4095)))
    assert not bright_background(Mammogram((4095 - breast()).astype(np.uint16), value_range=(0, 4095), inverted=True))


@pytest.mark.parametrize("inverted", [False, True])
def test_a_negative_whose_air_is_padding_is_noticed(inverted: bool) -> None:
    """The header names the bright value of the air as padding; where only the air is white, the picture is none."""
    plain = breast()
    plain[plain < 900] = 0
    plain[:, :30] = plain[:, :30] * np.linspace(1, 0.2, 30)  # thin at the skin
    dark, bright = (4095, 0) if inverted else (0, 4095)
    turned = (4095 - plain).astype(np.uint16)
    stored, negative = (turned, plain) if inverted else (plain, turned)
    white = np.where(plain == 0, bright, stored).astype(np.uint16)
    for values, padding, expected in ((stored, dark, False), (negative, bright, True), (white, bright, False)):
        mammogram = Mammogram(values, value_range=(0, 4095), inverted=inverted, padding=(padding, padding))
        assert bright_background(mammogram) is expected


def test_a_few_saturated_pixels_make_no_negative() -> None:
    saturated = picture(12, (100, 100)) // 2
    saturated[:5] = 4095
    assert not bright_background(Mammogram(saturated, value_range=(0, 4095)))


def test_padding_is_black_and_counts_for_nothing() -> None:
    stored = breast()
    stored[150:, 50:] = 4095
    for inverted in (False, True):
        values = (4095 - stored).astype(np.uint16) if inverted else stored
        pad = 0 if inverted else 4095
        mammogram = Mammogram(values, value_range=(0, 4095), inverted=inverted, padding=(pad, pad))
        for step in ("percentile", "full"):
            assert display_array(mammogram, step)[150:, 50:].max() == 0.0
        assert display_step(mammogram, "percentile").high != pytest.approx(4095)
        assert sample_values(mammogram).max() < 4000


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_region_is_part_of_the_whole_in_every_type(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.float32]))
    stored = data.draw(st.sampled_from([breast(), picture(8, (300, 20))])).astype(kind)
    voi = VoiTransform("window:0", "sigmoid", 100, 300)
    mammogram = Mammogram(
        stored, slope=0.5, intercept=-3, value_range=(-500, 4095), voi=(voi,), inverted=data.draw(st.booleans()),
        padding=(100, 103),
    )  # fmt: skip
    step = data.draw(st.sampled_from(["full", "percentile", "window:0"]))
    whole = display_array(mammogram, step)
    rows = sorted(data.draw(st.tuples(st.integers(0, 200), st.integers(0, 200))))
    columns = sorted(data.draw(st.tuples(st.integers(0, 20), st.integers(0, 20))))
    region = (slice(*rows), slice(*columns))
    assert np.array_equal(display_array(mammogram, step, region), whole[region])
    # An integer picture goes through a table, the same values as floats do not.
    direct = display_step(mammogram, step).apply(stored.astype(np.float32) * np.float32(0.5) - np.float32(3))
    padded = ((stored >= 100) & (stored <= 103)).astype(np.uint8)
    _, pieces = cv2.connectedComponents(padded, connectivity=4)
    ring = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    direct[np.isin(pieces, ring[ring > 0])] = 0
    assert np.array_equal(whole, direct)


@given(st.integers(0, 1000))
def test_both_polarities_display_the_same(seed: int) -> None:
    """On the complement M - x the LINEAR window of the same effect has its centre at M - c + 1, others at M - c."""
    stored = picture(12, (8, 8), seed=seed)
    bright, dark = (), ()
    for number, (kind, shift) in enumerate((("linear", 1), ("linear-exact", 0), ("sigmoid", 0))):
        bright += (VoiTransform(f"window:{number}", kind, 1500, 900),)
        dark += (VoiTransform(f"window:{number}", kind, 4095 - 1500 + shift, 900),)
    two = Mammogram(stored, value_range=(0, 4095), voi=bright)
    one = Mammogram(4095 - stored, value_range=(0, 4095), voi=dark, inverted=True)
    for step in ("full", "percentile", "window:0", "window:1", "window:2"):
        assert np.abs(display_array(one, step) - display_array(two, step)).max() < 1e-5


def test_full_range_and_an_unknown_step() -> None:
    stored = picture(12)
    mammogram = Mammogram(stored, value_range=(0, 4095), voi=(VoiTransform("window:0", "linear", 1, 2),))
    assert np.allclose(display_array(mammogram, "full"), stored / 4095)
    with pytest.raises(
        ImageError, match="auto, auto-2, auto-3, percentile, percentile-2, percentile-3, full, window:0"
    ):
        display_array(mammogram, "window:7")
    step = DisplayStep("mine", low=0, high=1000)
    assert np.allclose(display_array(mammogram, step), np.clip(stored / 1000, 0, 1), atol=1e-6)


def test_a_curve_that_shows_dense_tissue_dark_is_passed_over(tmp_path: Path) -> None:
    """Whatever the polarity: a table that falls turns the picture over, one that rises and falls mixes it up."""
    for photometric, stored in (("MONOCHROME2", breast()), ("MONOCHROME1", (4095 - breast()).astype(np.uint16))):
        for curve, words in (
            (np.linspace(4095, 0, 4096), "inverts the picture"),
            (2000 + 1900 * np.sin(np.arange(4096) / 200), "rises and falls"),
        ):
            dataset = mammogram_dataset(stored, 12, PhotometricInterpretation=photometric, VOILUTSequence=[])
            dataset.VOILUTSequence = [voi_lut(0, curve, 12)]
            mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
            assert display_step(mammogram).name == "percentile-3"
            assert any("voi-lut:0 was passed over" in text and words in text for text in mammogram.warnings)
            assert not mammogram.negative


def test_a_falling_table_that_makes_dense_tissue_bright_is_what_the_file_says(tmp_path: Path) -> None:
    """Dense tissue dark as stored, and no MONOCHROME1 but a falling table in its place; or both the other way."""
    for photometric, stored in (("MONOCHROME2", (4095 - breast()).astype(np.uint16)), ("MONOCHROME1", breast())):
        dataset = mammogram_dataset(stored, 12, PhotometricInterpretation=photometric)
        dataset.VOILUTSequence = [voi_lut(0, np.linspace(4095, 0, 4096), 12)]
        mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
        written = dcmread(tmp_path / "m.dcm")
        expected = apply_voi_lut(written.pixel_array, written) / 4095
        if photometric == "MONOCHROME1":
            expected = 1 - expected
        assert display_step(mammogram).name == "voi-lut:0"
        assert np.abs(display_array(mammogram) - expected).max() < 1e-5
        assert not mammogram.negative
        assert np.array_equal(mammogram.pixels, breast())
        assert any("VOI LUT inverts the values" in text for text in mammogram.warnings)


LESION = (slice(50, 70), slice(5, 25))


@pytest.mark.parametrize(
    ("center", "width", "words"),
    [(1800, 2000, "100 % of the lesion is plain white"), (2000, 4000, ""), (2300, 1400, "")],
)
def test_a_lesion_that_its_window_makes_white_is_told(center: float, width: float, words: str) -> None:
    stored = breast()
    stored[LESION] = np.random.default_rng(0).integers(2850, 2990, (20, 20))
    window = VoiTransform("window:0", "linear-exact", center, width)
    mammogram = Mammogram(stored, value_range=(0, 4095), voi=(window,))
    (roi,) = extract_rois(mammogram, read_lesions("50,5,70,25", mammogram), get_recipe("default"))
    told = [text for text in roi.warnings if "plain" in text]
    if not words:
        assert told == []
    else:
        assert told[0].startswith(words)
        assert "window:0 (centre 1800, width 2000)" in told[0]


def test_a_lesion_that_its_table_shows_in_one_grey_value_is_told() -> None:
    stored = breast()
    stored[LESION] = np.random.default_rng(0).integers(2400, 2990, (20, 20))
    curve = np.minimum(np.arange(4096), 2300) / 4095
    table = VoiTransform("voi-lut:0", "lut", lut=curve.astype(np.float32))
    mammogram = Mammogram(stored, value_range=(0, 4095), voi=(table,))
    (roi,) = extract_rois(mammogram, read_lesions("50,5,70,25", mammogram), get_recipe("default"))
    assert (
        "100 % of the lesion has one grey value in what the model sees, by the display step voi-lut:0"
        in (roi.warnings[0])
    )


def test_padding_is_beside_the_breast_only(tmp_path: Path) -> None:
    """A value of padding within the breast is what it is; a range that takes in the breast is no padding."""
    stored = breast()
    stored[LESION], stored[:, 80:] = 4095, 4095
    told = read_mammogram(write_dicom(tmp_path / "a.dcm", mammogram_dataset(stored, 12, PixelPaddingValue=4095)))
    shown = display_array(told)
    assert (shown[:, 80:] == 0).all()
    assert (shown[LESION] == 1).all()
    assert "Pixel Padding Value 4095 is also found within the picture" in told.warnings[0]
    stored[:, 80:] = 0
    for value, limit, words in (
        (4095, None, "found within the picture only"),
        (3500, 4095, "found within the picture only"),
        (0, 2800, "takes in values of the breast"),
    ):
        dataset = mammogram_dataset(stored, 12, PixelPaddingValue=value)
        if limit:
            dataset.PixelPaddingRangeLimit = limit
        plain = read_mammogram(write_dicom(tmp_path / "b.dcm", mammogram_dataset(stored, 12)))
        mammogram = read_mammogram(write_dicom(tmp_path / "c.dcm", dataset))
        assert words in mammogram.warnings[0]
        assert np.array_equal(display_array(mammogram), display_array(plain))


def test_a_breast_that_is_white_in_its_file_is_told() -> None:
    stored = np.minimum(breast(), 2200).astype(np.uint16)
    (note,) = display_step(Mammogram(stored, value_range=(0, 4095))).notes
    assert "of the breast plain white" in note


def half_ellipse(*marks: tuple[int, int, int, int], seed: int = 3) -> np.ndarray:
    """12 bits, 450 x 350: dark air, a breast at the left edge with a lesion, and marks of 4095 (row, column, size)."""
    y, x = np.mgrid[:450, :350]
    stored = np.where((x / 245) ** 2 + ((y - 225) / 190) ** 2 < 1, 1500 + 300 * np.sin(x / 18), 20)
    stored += 500 * ((y - 180) ** 2 + (x - 60) ** 2 < 15**2)
    stored = (stored + np.random.default_rng(seed).normal(0, 15, stored.shape)).clip(0, 4095).astype(np.uint16)
    for row, column, rows, columns in marks:
        stored[row : row + rows, column : column + columns] = 4095
    return stored


#: A marker in the air, one touching the skin and one across it, a label at the picture's edge, over the breast, in
#: several pieces, a strip at the chest wall, and a frame.
MARKS = {
    "12 x 12": [(10, 280, 12, 12)],
    "24 x 60": [(10, 280, 24, 60)],
    "40 x 100": [(10, 245, 40, 100)],
    "touching": [(210, 243, 24, 60)],
    "across the skin": [(205, 225, 40, 100)],
    "over the breast": [(120, 90, 12, 30)],
    "letters": [(10, column, 20, 4) for column in range(280, 330, 8)],
    "at the edge": [(0, 310, 40, 40)],
    "strip": [(0, 0, 450, 6)],
    "frame": [(0, 0, 450, 4), (0, 346, 450, 4), (0, 0, 4, 350), (446, 0, 4, 350)],
}


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("marks", MARKS)
def test_markers_and_labels_do_not_move_black_and_white(marks: str, inverted: bool) -> None:
    def shown(*marks: tuple[int, int, int, int]) -> np.ndarray:
        stored = half_ellipse(*marks)
        return display_array(Mammogram(4095 - stored if inverted else stored, value_range=(0, 4095), inverted=inverted))

    plain, marked = shown(), shown(*MARKS[marks])
    free = half_ellipse(*MARKS[marks]) < 4095
    assert np.abs(plain - marked)[free].max() < 2 / 255


def test_a_crop_of_the_breast_is_shown_without_its_label() -> None:
    tissue = half_ellipse()[130:260, 20:170]
    low, high = np.percentile(tissue, (0.5, 99.99))
    labelled = tissue.copy()
    labelled[5:20, 5:45] = 4095
    for stored in (tissue, labelled):
        step = display_step(Mammogram(stored, value_range=(0, 4095)))
        assert step.low == pytest.approx(low, rel=0.01)
        assert step.high == pytest.approx(high, rel=0.01)


def fat(rows: int = 300, columns: int = 400) -> np.ndarray:
    """A crop of a fatty breast, 12 bits: dark fat of uneven grey values (800), strands, and a denser part (to 2300)."""
    rng = np.random.default_rng(4)
    waves = sum(cv2.GaussianBlur(rng.normal(0, 1, (rows, columns)), None, width) * width for width in (2, 8, 24))
    y, x = np.mgrid[:rows, :columns]
    dense = np.exp(-((y - 80) ** 2 + (x - 300) ** 2) / 60**2)
    stored = 800 + 50 * waves / waves.std() + 1500 * dense + 20 * rng.normal(0, 1, waves.shape)
    return stored.astype(np.uint16)


@pytest.mark.parametrize("inverted", [False, True])
def test_dark_fat_is_not_air(inverted: bool) -> None:
    stored = fat()
    mammogram = Mammogram(4095 - stored if inverted else stored, value_range=(0, 4095), inverted=inverted)
    assert foreground_values(sample_values(mammogram)).size < 0.6 * stored.size  # a narrow dark peak, as air has
    assert breast_area(mammogram) is None
    assert np.mean(display_array(mammogram) == 0) < 0.01
    assert read_lesions("200,50,240,100", mammogram).remarks == ()
    with_air = np.pad(stored, ((0, 0), (0, 150)), constant_values=30)
    mammogram = Mammogram(4095 - with_air if inverted else with_air, value_range=(0, 4095), inverted=inverted)
    assert np.mean(display_array(mammogram)[:, :400] == 0) < 0.01
    assert "in the air" in read_lesions("200,450,240,500", mammogram).problems[0]


def test_a_saturated_mass_at_a_crops_edge_is_no_bright_background() -> None:
    stored = fat()
    y, x = np.mgrid[:300, :400]
    stored[(y - 80) ** 2 + (x - 300) ** 2 < 110**2] = 4095
    assert not bright_background(Mammogram(stored, value_range=(0, 4095)))


@pytest.mark.real
def test_crops_of_real_breasts_are_shown_whole(shared_data: Path) -> None:
    """Of crops within the breast hardly a pixel is made black that is not so in the file."""
    for file in sorted((shared_data / "cdd-cesm" / "images").glob("*.jpg")):
        whole = read_mammogram(file)
        rows, columns = whole.shape
        for size, place in ((300, 0.1), (300, 0.3), (500, 0.15)):
            column = round(0.8 * columns * (1 - place)) - size if "_R_" in file.stem else round(0.8 * columns * place)
            column += round(0.2 * columns) if "_R_" in file.stem else 0
            crop = whole.stored[rows // 2 - size // 2 :, column:][:size, :size]
            mammogram = dataclasses.replace(whole, stored=np.ascontiguousarray(crop))
            assert not bright_background(mammogram)
            assert np.mean((display_array(mammogram) == 0) & (crop > 0)) < 0.02
            assert breast_area(mammogram) is None


def test_an_implant_is_of_the_breast() -> None:
    y, x = np.mgrid[:450, :350]
    stored = np.where((x / 150) ** 2 + ((y - 225) / 125) ** 2 < 1, 3600, half_ellipse((10, 280, 24, 60)))
    assert display_step(Mammogram(stored.astype(np.uint16), value_range=(0, 4095))).high == 3600
    saturated = np.where((x / 100) ** 2 + ((y - 225) / 100) ** 2 < 1, 4095, half_ellipse())
    plain, darker = display_step(Mammogram(saturated.astype(np.uint16), value_range=(0, 4095))).notes
    assert "of the breast plain white (saturated), as it is in the file" in plain
    assert "sets the display's white" in darker


def with_object(kind: str) -> np.ndarray:
    """The half ellipse without its lesion, and over it what sets white and is neither flat nor hard-edged."""
    y, x = np.mgrid[:450, :350]
    rng = np.random.default_rng(6)
    tissue = np.where((x / 245) ** 2 + ((y - 225) / 190) ** 2 < 1, 900 + 600 * rng.random((450, 350)), 20)
    shape = {
        "port": (abs(y - 225) < 25) & (x < 40),
        "marker": (abs(y - 200) < 20) & (abs(x - 110) < 15),
        "implant": (x / 130) ** 2 + ((y - 225) / 110) ** 2 < 1,
        "band": y >= 425,
    }.get(kind, np.zeros((450, 350), bool))
    soft = cv2.GaussianBlur(shape.astype(float), None, 2)
    noise = {"port": 200, "band": 150}.get(kind, 40)
    value = 3400 - ((x / 130) ** 2 + ((y - 225) / 110) ** 2) * 400 if kind == "implant" else 3400
    return (tissue + (value + rng.normal(0, noise, tissue.shape) - tissue) * soft).clip(0, 4095).astype(np.uint16)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("kind", ["none", "port", "marker", "implant", "band"])
def test_an_object_that_sets_white_is_told(kind: str, inverted: bool) -> None:
    stored = with_object(kind)
    mammogram = Mammogram(4095 - stored if inverted else stored, value_range=(0, 4095), inverted=inverted)
    notes = display_step(mammogram).notes
    if kind == "none":
        assert notes == ()
        return
    (note,) = notes
    assert note.startswith("An object brighter than the tissue (implant, port, marker?) covers ")
    plain = display_array(Mammogram(with_object("none"), value_range=(0, 4095)))[150:160, 170:180]
    assert display_array(mammogram)[150:160, 170:180].mean() < 0.85 * plain.mean()


@pytest.mark.real
def test_objects_on_real_breasts_are_told_and_nothing_else(shared_data: Path) -> None:
    """All mammograms at hand are without such an object: one of them has a mass that is saturated and large."""
    files = [*sorted((shared_data / "cdd-cesm" / "images").glob("*.jpg"))]
    files += sorted((shared_data / "nyu-birads-4view-8bit").glob("*.png"))
    for file in files:
        mammogram = read_mammogram(file)
        assert display_step(mammogram).notes == ()
        if "_DM_" in file.stem:
            stored = mammogram.stored.astype(np.uint16) * 9
            rows, columns = stored.shape
            part = np.s_[rows // 2 - 60 : rows // 2 + 60, columns // 2 - 55 : columns // 2 + 55]
            stored[part] = np.random.default_rng(5).normal(3400, 200, (120, 110)).clip(0, 4095)
            (note,) = display_step(Mammogram(stored, value_range=(0, 4095))).notes
            assert "sets the display's white" in note


def test_models_of_before_keep_their_rule_and_say_so(tmp_path: Path) -> None:
    """The white of their time: all that is brighter than the background, with its marker."""
    stored = half_ellipse((10, 280, 24, 60))
    mammogram = Mammogram(stored, value_range=(0, 4095))
    assert display_step(mammogram, "auto-2").high == 4095
    lesions = read_lesions("165,45,195,75", mammogram)
    recipe = get_recipe("default")
    former = dataclasses.replace(recipe, version=2, display="auto-2")
    assert extract_rois(mammogram, lesions, recipe)[0].warnings == ()
    (told,) = extract_rois(mammogram, lesions, former)[0].warnings
    assert told.startswith("The model was trained with a former rule for the display: it takes all that is brighter")
    assert "to 4095 in place of" in told


@pytest.mark.real
def test_real_mammograms_without_markers_are_shown_as_before(shared_data: Path) -> None:
    for file in sorted((shared_data / "cdd-cesm" / "images").glob("*.jpg")):
        mammogram = read_mammogram(file)
        before, now = display_step(mammogram, "percentile-2"), display_step(mammogram, "percentile-3")
        assert abs(now.low - before.low) <= 1
        assert abs(now.high - before.high) <= 1
