"""Sketches of images: closed form, copies and different pictures, what older bundles had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from coarse_cohort import make_coarse_cohort
from numpy.typing import NDArray

from MolSubCore.cohort.looks import look_of
from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import BundleError
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.models import sketches
from MolSubCore.models.fingerprints import DEVELOPMENT, TEST, Fingerprints, new_fingerprints, read_fingerprints

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def of_pixels(values: NDArray[np.uint8]) -> str:
    return look_of(Mammogram(np.ascontiguousarray(values), value_range=(0.0, 255.0)))


def as_8_bits(mammogram: Mammogram) -> NDArray[np.uint8]:
    low, high = np.percentile(mammogram.pixels, (0.1, 99.9))
    return np.asarray(255 * np.clip((mammogram.pixels - low) / (high - low), 0, 1), np.uint8)


def copies(mammogram: Mammogram) -> Iterator[tuple[str, str]]:
    """Looks of what people make of a mammogram."""
    shown = as_8_bits(mammogram)
    half = cv2.resize(shown, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    yield "8 bits", of_pixels(shown)
    yield "JPEG", of_pixels(np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8))
    yield "half", of_pixels(np.asarray(half, np.uint8))
    yield "gamma", of_pixels(np.asarray(255 * (shown / 255) ** 0.5, np.uint8))
    yield "padded", of_pixels(np.pad(shown, shown.shape[0] // 12))
    yield "on a canvas", of_pixels(np.pad(shown, ((10, shown.shape[0] // 3), (90, shown.shape[1] // 2))))
    yield "mirrored", of_pixels(shown[:, ::-1])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Mammogram]:
    table = make_coarse_cohort(tmp_path_factory.mktemp("s") / "c", patients=20, seed=3, image_shape=(512, 416))
    return [read_mammogram(case.image) for case in read_cohort(table).cases]


def trained_on(looks: list[str]) -> Fingerprints:
    return Fingerprints(bytes(range(32)), {}).with_part(DEVELOPMENT, [], looks)


def test_signs_in_common_follow_the_correlation() -> None:
    """1 - arccos(r) / pi, for pictures of a given correlation; a thousand bits and more by several keys."""
    rng = np.random.default_rng(0)
    first, other = np.linalg.qr(rng.standard_normal((576, 2)))[0].T
    for correlation in (0.0, 0.4, 0.9):
        second = correlation * first + np.sqrt(1 - correlation**2) * other
        shares = []
        for number in range(24):
            own = sketches.Sketches(bytes([number]) * 32, {})
            signs = own._signs(np.stack([first, second]).astype(np.float32))
            shares.append(sketches._in_common(signs[:1], signs[1:])[0, 0])
        assert np.mean(shares) == pytest.approx(1 - np.arccos(correlation) / np.pi, abs=0.02)


def test_copies_are_found_and_other_pictures_are_not(drawn: list[Mammogram]) -> None:
    seen = trained_on([look_of(mammogram) for mammogram in drawn[:20]])
    for mammogram in drawn[:6]:
        for name, look in copies(mammogram):
            assert seen.part_like(look) == DEVELOPMENT, name
    assert [seen.part_like(look_of(mammogram)) for mammogram in drawn[20:]] == [None] * (len(drawn) - 20)


@pytest.mark.real
def test_real_mammograms(tmp_path: Path) -> None:
    files = sorted((DATA / "cdd-cesm" / "images").glob("*.jpg"))
    files += sorted((DATA / "nyu-birads-4view-8bit").glob("*.png"))  # four views of one woman
    if len(files) < 12:
        pytest.skip("the mammograms in shared/data are absent")
    mammograms = [read_mammogram(file) for file in files]
    looks = [look_of(mammogram) for mammogram in mammograms]
    own = trained_on(looks)
    for number, mammogram in enumerate(mammograms):
        others = trained_on([look for n, look in enumerate(looks) if n != number])
        assert others.part_like(looks[number]) is None, files[number].name
        for name, look in copies(mammogram):
            assert own.part_like(look) == DEVELOPMENT, (files[number].name, name)


def test_a_sketch_needs_its_key_and_survives_its_file(drawn: list[Mammogram]) -> None:
    look = look_of(drawn[0])
    first = trained_on([look]).with_part(TEST, ["a"], [look_of(drawn[2])])
    assert {len(sketch) for own in first.sketches.values() for sketch in own} == {64}
    assert first.sketches[DEVELOPMENT] != new_fingerprints().with_part(DEVELOPMENT, [], [look]).sketches[DEVELOPMENT]
    again = read_fingerprints(first.to_dict())
    assert again == first
    assert again is not None and again.part_like(look_of(drawn[2])) == TEST
    damaged = first.to_dict()
    damaged["sketches"][TEST] = damaged["sketches"][TEST][:-4]
    with pytest.raises(BundleError):
        read_fingerprints(damaged)


def test_fingerprints_of_before_have_no_sketches(drawn: list[Mammogram]) -> None:
    former = trained_on([look_of(drawn[0])]).with_part(DEVELOPMENT, ["a"]).to_dict() | {"format_version": 1}
    del former["sketches"]
    found = read_fingerprints(former)
    assert found is not None and found.part_of("a") == DEVELOPMENT
    assert found.part_like(look_of(drawn[0])) is None
