"""DICOM mammograms: modality transform, polarity and padding, against pydicom and the standard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import BreastTomosynthesisImageStorage
from written_files import FOR_PRESENTATION, mammogram_dataset, picture, write_dicom

from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram

FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Write a 12-bit mammogram with these attributes and read it."""

    def written(stored: np.ndarray | None = None, bits: int = 12, **attributes: Any) -> Mammogram:
        pixels = picture(12) if stored is None else stored
        return read_mammogram(write_dicom(tmp_path / "m.dcm", mammogram_dataset(pixels, bits, **attributes)))

    return written


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("slope", "intercept"), [(None, None), (2.5, -100), (-1, 4095), (0.1, 0), (None, 7)])
def test_rescale_is_pydicoms(
    tmp_path: Path, bits: int, signed: bool, slope: float | None, intercept: float | None
) -> None:
    stored = picture(bits, signed=signed)
    dataset = mammogram_dataset(stored, bits)
    if slope is not None:
        dataset.RescaleSlope = slope
    if intercept is not None:
        dataset.RescaleIntercept = intercept
    mammogram = read_mammogram(write_dicom(tmp_path / "m.dcm", dataset))
    assert mammogram.stored.dtype == stored.dtype
    assert np.array_equal(mammogram.stored, stored)
    again = dcmread(tmp_path / "m.dcm")
    again.RescaleSlope, again.RescaleIntercept = slope or 1, intercept or 0
    expected = apply_modality_lut(again.pixel_array, again)
    assert mammogram.pixels.dtype == np.float32
    assert np.allclose(mammogram.pixels, expected, rtol=1e-6, atol=1e-3)
    # The picture uses all of its bits, so the range from the header is the range of the values.
    assert mammogram.value_range == pytest.approx((expected.min(), expected.max()))


def test_negative_slope_turns_the_values_over_once(read: Any) -> None:
    stored = picture(12)
    mammogram = read(stored, RescaleSlope="-1", RescaleIntercept="4095")
    assert np.array_equal(mammogram.pixels, 4095 - stored.astype(np.float32))
    mammogram = read(stored, RescaleSlope="-1", RescaleIntercept="4095", PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(mammogram.pixels, stored)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bits=st.sampled_from([8, 10, 12, 14, 16]),
    signed=st.booleans(),
    slope=st.sampled_from([1.0, 0.5, 2.0, -1.0, -4.0]),
    intercept=st.integers(-2000, 2000),
    seed=st.integers(0, 100),
)
def test_both_polarities_give_the_same_picture(
    tmp_path: Path, bits: int, signed: bool, slope: float, intercept: int, seed: int
) -> None:
    """MONOCHROME1 holds the complement of each value: low + high - value, by the range of its bits."""
    stored = picture(bits, (6, 5), signed=signed, seed=seed)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    complement = (low + high - stored.astype(np.int64)).astype(stored.dtype)
    scale = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    bright = mammogram_dataset(stored, bits, **scale)
    dark = mammogram_dataset(complement, bits, PhotometricInterpretation="MONOCHROME1", **scale)
    two = read_mammogram(write_dicom(tmp_path / "2.dcm", bright))
    one = read_mammogram(write_dicom(tmp_path / "1.dcm", dark))
    assert one.inverted
    assert not two.inverted
    assert np.array_equal(one.pixels, two.pixels)
    assert one.value_range == two.value_range
    order = np.argsort(two.pixels, axis=None)
    values = stored.ravel()[order].astype(np.int64)
    assert (np.diff(values) * np.sign(slope) >= 0).all()  # bright = dense: the order is the rescale's


def modality_lut(first: int, entries: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [len(entries), first, bits], "US"
    item.LUTData = np.array(entries, "<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


@pytest.mark.parametrize("first", [0, 500])
def test_modality_lut_is_pydicoms(read: Any, tmp_path: Path, first: int) -> None:
    entries = (np.linspace(0, 1, 1000) ** 2 * 65535).astype(int).tolist()
    mammogram = read(ModalityLUTSequence=[modality_lut(first, entries, 16)])
    dataset = dcmread(tmp_path / "m.dcm")
    assert np.array_equal(mammogram.rescaled, apply_modality_lut(dataset.pixel_array, dataset))
    assert mammogram.value_range == (0.0, 65535.0)
    assert any("Modality LUT of 1000 entries" in line for line in mammogram.photometric_history)


def test_modality_lut_of_signed_pixels_and_of_the_other_polarity(read: Any) -> None:
    stored = picture(12, signed=True)
    entries = list(range(4096))
    mammogram = read(
        stored, ModalityLUTSequence=[modality_lut(-2048, entries, 12)], PhotometricInterpretation="MONOCHROME1"
    )
    assert np.array_equal(mammogram.pixels, 4095 - (stored.astype(np.float32) + 2048))


def test_sign_of_the_intensity_relationship_decides_for_raw_images_only(read: Any) -> None:
    """PS3.3 C.8.11.3.1.2: sign +1 means that more X-rays, that is less dense tissue, give higher values."""
    stored = picture(12)
    raw = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationship": "LIN"}
    mammogram = read(stored, PixelIntensityRelationshipSign=1, **raw)
    assert np.array_equal(mammogram.pixels, 4095 - stored.astype(np.float32))
    assert any("the sign decided" in warning for warning in mammogram.warnings)
    assert any("FOR PROCESSING (raw)" in warning for warning in mammogram.warnings)
    consistent = read(stored, PixelIntensityRelationshipSign=1, PhotometricInterpretation="MONOCHROME1", **raw)
    assert np.array_equal(consistent.pixels, mammogram.pixels)
    assert not any("sign" in warning for warning in consistent.warnings)
    shown = read(stored, PixelIntensityRelationshipSign=1, PixelIntensityRelationship="LIN")
    assert np.array_equal(shown.pixels, stored)
    # The sign is about stored values: a rescale that turns them over makes dense tissue bright again.
    falling_table = [modality_lut(0, list(range(4095, -1, -1)), 12)]
    for rescale in ({"RescaleSlope": -1, "RescaleIntercept": 4095}, {"ModalityLUTSequence": falling_table}):
        turned = read(stored, PixelIntensityRelationshipSign=1, **rescale, **raw)
        assert np.array_equal(turned.pixels, 4095 - stored.astype(np.float32))
        assert not any("sign" in warning for warning in turned.warnings)


def test_photometric_history_tells_what_was_done(read: Any) -> None:
    mammogram = read(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", RescaleSlope=2)
    text = " ".join(mammogram.photometric_history)
    for part in ("12 of 16 bits, unsigned", "Rescaled: 2 x stored", "MONOCHROME1", "INVERSE", "not applied again"):
        assert part in text
    assert mammogram.photometric_history[-1].startswith("Inverted")
    contradicting = read(PresentationLUTShape="INVERSE")
    assert np.array_equal(contradicting.pixels, picture(12))
    assert any("contradicts MONOCHROME2" in warning for warning in contradicting.warnings)
    lossy = read(LossyImageCompression="01")
    assert "The image has been compressed with loss." in lossy.photometric_history


def test_padding_is_an_interval_of_stored_values(read: Any) -> None:
    assert read().padding is None
    assert read(PixelPaddingValue=0).padding == (0, 0)
    assert read(PixelPaddingValue=0, PixelPaddingRangeLimit=30).padding == (0, 30)
    assert read(PixelPaddingValue=4095, PixelPaddingRangeLimit=4000).padding == (4000, 4095)
    signed = picture(12, signed=True)
    assert read(signed, PixelPaddingValue=-2048, PixelPaddingRangeLimit=-2000).padding == (-2048, -2000)


def test_padding_of_signed_pixels_written_as_unsigned(tmp_path: Path) -> None:
    dataset = mammogram_dataset(picture(12, signed=True), 12)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2048)
    dataset.add_new("PixelPaddingRangeLimit", "US", 65536 - 2000)
    assert read_mammogram(write_dicom(tmp_path / "m.dcm", dataset)).padding == (-2048, -2000)


@pytest.mark.parametrize(
    ("intent", "sop_class", "expected"),
    [
        ("FOR PRESENTATION", FOR_PRESENTATION, "FOR PRESENTATION"),
        ("FOR PROCESSING", FOR_PROCESSING, "FOR PROCESSING"),
        (None, FOR_PRESENTATION, "FOR PRESENTATION"),
        (None, FOR_PROCESSING, "FOR PROCESSING"),
        (None, "1.2.840.10008.5.1.4.1.1.7", None),
    ],
)
def test_presentation_intent_or_what_the_class_implies(
    read: Any, intent: str | None, sop_class: str, expected: str | None
) -> None:
    assert read(PresentationIntentType=intent, SOPClassUID=sop_class).presentation == expected


def test_a_2d_image_of_the_tomosynthesis_class_is_read(read: Any) -> None:
    """Some 2D images made from tomosynthesis are stored so, with one frame."""
    kinds = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]
    mammogram = read(SOPClassUID=BreastTomosynthesisImageStorage, NumberOfFrames=1, ImageType=kinds)
    assert np.array_equal(mammogram.stored, picture(12))
    assert any("comes from tomosynthesis" in warning for warning in mammogram.warnings)
