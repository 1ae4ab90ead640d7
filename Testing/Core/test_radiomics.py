"""Radiomics features against closed forms, brute force, scipy and scikit-image; what must not change them."""

from __future__ import annotations

import dataclasses
import logging
import math
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from radiomics_images import BITS, GREY, disc, drawn, features, grain
from scipy import ndimage, stats
from skimage.feature import graycomatrix, graycoprops

from MolSubCore.errors import MolSubError
from MolSubCore.imaging.breast import breast_values
from MolSubCore.imaging.mammogram import Mammogram, VoiTransform
from MolSubCore.lesions import radiomics
from MolSubCore.lesions.lesion import Box, Lesion, LesionSet
from MolSubCore.lesions.radiomics import (
    FAMILIES,
    PERTURBATIONS,
    RadiomicsSettings,
    lesion_features,
    perturbed_features,
    radiomics_versions,
)

Mask = NDArray[np.bool_]


def discretised(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """IBSI's fixed bin number: 1 to `bins`, the largest value in the last bin."""
    share = (values - values.min()) / (values.max() - values.min())
    return np.minimum(np.floor(bins * share) + 1, bins).astype(np.int64)


def test_first_order_features_are_those_of_scipy() -> None:
    picture, mask = grain(60, 50), disc(60, 50, 18)
    found = features(picture, mask)
    values = picture[mask].astype(np.float64) / BITS
    counts = np.bincount(discretised(values, 32), minlength=33)[1:] / mask.sum()
    expected = {
        "stat_mean": values.mean(),
        "stat_var": values.var(),
        "stat_skew": stats.skew(values),
        "stat_kurt": stats.kurtosis(values),
        "stat_median": np.median(values),
        "stat_range": np.ptp(values),
        "stat_mad": np.abs(values - values.mean()).mean(),
        "stat_energy": (values**2).sum(),
        "stat_rms": math.sqrt((values**2).mean()),
        "ih_entropy": stats.entropy(counts, base=2),
        "ih_uniformity": (counts**2).sum(),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name


def test_co_occurrence_is_that_of_scikit_image() -> None:
    picture = grain(24, 30)
    found = features(picture, np.ones(picture.shape, bool), bins=8, families=("cm",))
    levels = discretised(picture.astype(np.float64), 8) - 1
    four = graycomatrix(levels.astype(np.uint8), [1], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], 8, symmetric=True)
    merged = four.sum(axis=3, keepdims=True) / four.sum()
    assert found["cm_contrast"] == pytest.approx(graycoprops(merged, "contrast")[0, 0])
    assert found["cm_dissimilarity"] == pytest.approx(graycoprops(merged, "dissimilarity")[0, 0])
    assert found["cm_inv_diff_mom"] == pytest.approx(graycoprops(merged, "homogeneity")[0, 0])
    assert found["cm_energy"] == pytest.approx(graycoprops(merged, "ASM")[0, 0])
    assert found["cm_corr"] == pytest.approx(graycoprops(merged, "correlation")[0, 0])
    assert found["cm_joint_entr"] == pytest.approx(stats.entropy(merged.ravel(), base=2))


@pytest.mark.parametrize("distance", [1, 3])
def test_only_pairs_within_the_outline_count(distance: int) -> None:
    picture, mask = grain(26, 22), disc(26, 22, 8)
    mask[10:14, 8:11] = False
    levels = np.zeros(picture.shape, int)
    levels[mask] = discretised(picture[mask].astype(np.float64), 16)
    squares = [
        (levels[r, c] - levels[r + dr, c + dc]) ** 2
        for r, c in zip(*np.nonzero(mask), strict=True)
        for dr, dc in ((0, distance), (distance, 0), (distance, distance), (distance, -distance))
        if 0 <= r + dr < 26 and 0 <= c + dc < 22 and mask[r + dr, c + dc]
    ]
    found = features(picture, mask, bins=16, distance=distance, families=("cm",))
    assert found["cm_contrast"] == pytest.approx(np.mean(squares))


def test_zones_and_runs_by_brute_force() -> None:
    picture, mask = grain(20, 20), disc(20, 20, 8)
    levels = np.zeros(picture.shape, int)
    levels[mask] = discretised(picture[mask].astype(np.float64), 4)
    sizes: list[int] = []
    for level in range(1, 5):
        numbered, _ = ndimage.label(levels == level, structure=np.ones((3, 3)))
        sizes += np.bincount(numbered.ravel())[1:].tolist()
    lines = [[turned.diagonal(k) for k in range(-19, 20)] for turned in (levels, levels[:, ::-1])]
    lines += [list(levels), list(levels.T)]
    runs = [
        len(run)
        for direction in lines
        for line in direction
        for run in np.split(line, np.flatnonzero(np.diff(line)) + 1)
        if run[0] > 0
    ]
    found = features(picture, mask, bins=4, families=("szm", "rlm"))
    assert found["szm_z_perc"] == pytest.approx(len(sizes) / mask.sum())
    assert found["szm_sze"] == pytest.approx(np.mean(1 / np.array(sizes) ** 2.0))
    assert found["szm_lze"] == pytest.approx(np.mean(np.array(sizes) ** 2.0))
    assert found["rlm_sre"] == pytest.approx(np.mean(1 / np.array(runs) ** 2.0))
    assert found["rlm_r_perc"] == pytest.approx(len(runs) / (4 * mask.sum()))


def test_neighbourhoods_by_brute_force() -> None:
    picture, mask = grain(20, 20), disc(20, 20, 8)
    levels = np.full((22, 22), np.nan)
    levels[1:-1, 1:-1][mask] = discretised(picture[mask].astype(np.float64), 4)
    around = {tuple(at): np.delete(levels[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2], 4)
              for at in np.argwhere(np.isfinite(levels))}  # fmt: skip
    dependence = np.array([1 + (near == levels[at]).sum() for at, near in around.items()])
    weighted = 0.0
    for level in range(1, 5):
        here = [near for at, near in around.items() if levels[at] == level]
        weighted += len(here) / len(around) * sum(abs(level - np.nanmean(near)) for near in here)
    found = features(picture, mask, bins=4, families=("ngldm", "ngtdm"))
    assert found["ngl_lde"] == pytest.approx(np.mean(1.0 / dependence**2))
    assert found["ngl_hde"] == pytest.approx(np.mean(dependence**2.0))
    assert found["ngt_coarseness"] == pytest.approx(1 / weighted)


def test_the_shape_of_a_disc_an_ellipse_and_a_square() -> None:
    round_one = features(grain(130, 130), disc(130, 130, 50), families=("shape",))
    assert round_one["shape_area"] == disc(130, 130, 50).sum()
    assert round_one["shape_perimeter"] == pytest.approx(2 * math.pi * 50, rel=0.015)
    assert round_one["shape_circularity"] == pytest.approx(1, abs=0.03)
    assert round_one["shape_major_axis"] == pytest.approx(100, rel=0.01)
    y, x = np.mgrid[:130, :130] - 65
    flat = features(grain(130, 130), (y / 20) ** 2 + (x / 60) ** 2 < 1, families=("shape",))
    assert flat["shape_elongation"] == pytest.approx(1 / 3, rel=0.02)
    assert flat["shape_eccentricity"] == pytest.approx(math.sqrt(8 / 9), rel=0.01)
    square = features(grain(130, 130), np.ones((40, 40), bool), at=(10, 10), families=("shape",))
    assert square["shape_feret_diameter"] == pytest.approx(40 * math.sqrt(2), rel=0.02)
    assert (square["shape_extent"], square["shape_solidity"]) == (1, 1)


@settings(max_examples=6, deadline=None)
@given(turns=st.integers(0, 3), mirrored=st.booleans(), at=st.tuples(st.integers(0, 20), st.integers(0, 14)))
def test_position_and_direction_do_not_matter(turns: int, mirrored: bool, at: tuple[int, int]) -> None:
    """Directions are merged; a lesion at the image's border is sampled as one in its midst."""
    picture, mask = grain(30, 30), disc(30, 30, 11)
    mask[4:12, 4:15] = True
    chosen = ("shape", "cm", "rlm", "szm", "ngtdm", "ngldm")
    first = features(picture, mask, families=chosen)
    picture, mask = (np.rot90(array[:, ::-1] if mirrored else array, turns) for array in (picture, mask))
    canvas = np.full((50, 44), 17, np.uint16)
    canvas[at[0] : at[0] + 30, at[1] : at[1] + 30] = picture
    second = features(canvas, mask, at=at, families=chosen)
    assert second == pytest.approx(first, rel=1e-6, abs=1e-9, nan_ok=True)


def test_the_surroundings_and_the_polarity_do_not_matter() -> None:
    picture, mask = grain(40, 40), disc(40, 40, 12)
    first = features(picture, mask)
    outside = np.where(mask, picture, 9).astype(np.uint16)
    assert features(outside, mask) == pytest.approx(first, nan_ok=True)
    assert features((BITS - picture).astype(np.uint16), mask, inverted=True) == pytest.approx(first, rel=1e-3, abs=1e-4)


def test_textures_do_not_know_gain_and_offset() -> None:
    picture, mask = grain(40, 40) // 4, disc(40, 40, 12)
    first, second = (features(values, mask) for values in (picture, (3 * picture + 500).astype(np.uint16)))
    for name, value in first.items():
        if not name.startswith("stat"):
            assert second[name] == pytest.approx(value, rel=0.02, abs=0.02), name
    assert second["stat_mean"] == pytest.approx(3 * first["stat_mean"] + 500 / BITS, rel=1e-5)


#: The digital phantom of the IBSI reference manual (arXiv:1612.07003, section 5.1), -1 beyond the region, and its
#: published values: of first order and histogram over the volume; of textures in 2D, directions merged per slice, mean
#: over slices.
PHANTOM = np.array([
    [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [-1, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
    [[1, 4, 4, -1, -1], [1, 1, 1, 1, 1], [1, 1, -1, 1, 1], [1, 1, 6, 1, 1]],
    [[1, 4, 4, -1, -1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
])  # fmt: skip
PUBLISHED = {
    "stat": {"mean": 2.15, "var": 3.05, "skew": 1.08, "kurt": -0.355, "median": 1, "p90": 4, "iqr": 3, "mad": 1.55,
             "rmad": 1.11, "medad": 1.15, "cov": 0.812, "qcod": 0.6, "energy": 567, "rms": 2.77},
    "ih": {"mean": 2.15, "var": 3.05, "mode": 1, "entropy": 1.27, "uniformity": 0.512, "max_grad": 8, "max_grad_g": 3,
           "min_grad": -50, "min_grad_g": 1},
    "cm": {"joint_max": 0.512, "joint_avg": 2.14, "joint_var": 2.71, "joint_entr": 2.24, "diff_avg": 1.4,
           "diff_var": 3.06, "sum_avg": 4.29, "energy": 0.352, "contrast": 5.19, "inv_diff": 0.683, "inv_var": 0.0553,
           "corr": 0.0173, "auto_corr": 5.14, "clust_tend": 5.66, "clust_shade": 6.98, "clust_prom": 80.4,
           "info_corr1": -0.0341, "info_corr2": 0.263},
    "rlm": {"sre": 0.661, "lre": 3.51, "lgre": 0.609, "hgre": 9.74, "srlge": 0.311, "lrhge": 16.1, "glnu": 20.5,
            "rlnu": 21.6, "r_perc": 0.627, "gl_var": 3.37, "rl_var": 0.778, "rl_entr": 2.57},
    "szm": {"sze": 0.363, "lze": 43.9, "lgze": 0.371, "hgze": 16.4, "szlge": 0.0259, "lzhge": 113, "glnu": 1.41,
            "zsnu": 1.49, "z_perc": 0.24, "gl_var": 3.97, "zs_var": 21, "zs_entr": 1.93},
    "ngtdm": {"coarseness": 0.121, "contrast": 0.925, "busyness": 2.99, "complexity": 10.4, "strength": 2.88},
    "ngldm": {"lde": 0.158, "hde": 19.2, "lgce": 0.702, "hgce": 7.49, "hdhge": 49.5, "glnu": 10.2, "dcnu": 3.96,
              "gl_var": 2.7, "dc_var": 2.73, "dc_entr": 2.71, "dc_energy": 0.17},
}  # fmt: skip


@pytest.mark.parametrize("family", PUBLISHED)
def test_the_digital_phantom_of_the_standard_has_its_published_values(family: str) -> None:
    """Six bins leave the phantom's levels 1 to 6 as they are; every slice has the lowest and the highest."""
    slices = [np.where(one < 0, 9, one) for one in PHANTOM]
    if family in ("stat", "ih"):
        parts = [(PHANTOM[PHANTOM > 0][None], np.ones((1, (PHANTOM > 0).sum()), bool))]
    else:
        parts = [(values, one > 0) for values, one in zip(slices, PHANTOM, strict=True)]
    found = [features(values.astype(np.uint16), mask, bins=6, families=(family,)) for values, mask in parts]
    short = {"ngtdm": "ngt", "ngldm": "ngl"}.get(family, family)
    for name, published in PUBLISHED[family].items():
        mean = np.mean([row[f"{short}_{name}"] for row in found])
        power = {"energy": 2, "var": 2, "mean": 1, "median": 1, "p90": 1, "iqr": 1, "mad": 1, "rmad": 1, "medad": 1,
                 "rms": 1}.get(name, 0) if family == "stat" else 0  # fmt: skip
        digits = 2 - math.floor(math.log10(abs(published)))  # published to three digits
        assert mean * BITS**power == pytest.approx(published, abs=0.51 * 10.0**-digits), name


def breast_picture() -> tuple[NDArray[np.uint16], Mask]:
    """A breast at the left edge, air beside it, and a lesion that is denser."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:400, :320]
    inside = (y - 200) ** 2 / 170**2 + x**2 / 220**2 < 1
    texture = ndimage.gaussian_filter(rng.normal(0, 900, (400, 320)), 2)
    mask = np.hypot(y - 180, x - 90) < 30
    values = np.where(inside, 1500 + texture + 300 * (x < 120) + 500 * mask, 40 + rng.normal(0, 3, (400, 320)))
    return np.clip(values, 0, BITS).astype(np.uint16), mask


def measured(mammogram: Mammogram, mask: Mask) -> dict[str, float]:
    box = Box(0, mask.shape[0], 0, mask.shape[1])
    lesions = LesionSet((Lesion("1", box, mask, "mask"),), mammogram.shape)
    (row,) = lesion_features(mammogram, lesions, RadiomicsSettings())
    return row


def test_windows_polarity_and_units_of_the_file_do_not_matter() -> None:
    """All features: a hospital, a machine or an export that leaves out the windows does not change them."""
    stored, mask = breast_picture()
    plain = Mammogram(stored, value_range=(0.0, float(BITS)))
    first = measured(plain, mask)
    assert not any(math.isnan(value) for value in first.values())
    windows = (
        VoiTransform("window:0", "linear", 2000.0, 600.0),
        VoiTransform("window:0", "sigmoid", 1700.0, 900.0),
        VoiTransform("voi-lut:0", "lut", lut=(np.linspace(0, 1, BITS + 1) ** 3).astype(np.float32)),
    )
    for voi in windows:
        assert measured(dataclasses.replace(plain, voi=(voi,)), mask) == first
    negative = dataclasses.replace(plain, stored=(BITS - stored).astype(np.uint16), inverted=True)
    assert measured(negative, mask) == pytest.approx(first, rel=1e-3, abs=1e-3)
    # By a power of two, which rounds nothing: else a value on the edge of a bin may be in the next one.
    rescaled = dataclasses.replace(plain, slope=0.5, intercept=-1024.0, value_range=(-1024.0, 0.5 * BITS - 1024))
    assert measured(rescaled, mask) == pytest.approx(first, rel=1e-6, abs=1e-6)


def test_grey_values_are_on_the_breast_s_own_scale() -> None:
    stored, mask = breast_picture()
    mammogram = Mammogram(stored, value_range=(0.0, float(BITS)))
    found = measured(mammogram, mask)
    inner = breast_values(mammogram)[1]
    low, middle, high = np.percentile(inner, (25, 50, 75))
    expected = (stored[mask].mean() - middle) / ((high - low) / 1.349)
    assert found["stat_mean"] == pytest.approx(expected, rel=1e-5)
    assert not {"stat_cov", "stat_qcod"} & set(found)  # the scale's zero is one that was put there


def test_perturbed_outlines_have_their_areas_and_noise_leaves_the_shape() -> None:
    picture, mask = grain(120, 120), disc(120, 120, 30)
    mammogram = Mammogram(picture, slope=1 / BITS, value_range=(0.0, 1.0))
    lesions = LesionSet((Lesion("1", Box(0, 120, 0, 120), mask, "mask"),), mammogram.shape)
    chosen = RadiomicsSettings(families=("shape", "stat"))
    (plain,) = lesion_features(mammogram, lesions, chosen)
    (rows,) = perturbed_features(mammogram, lesions, chosen)
    found = dict(zip(PERTURBATIONS, rows, strict=True))
    assert all(list(row) == list(plain) for row in rows)
    assert found["grown"]["shape_area"] == pytest.approx(1.15 * plain["shape_area"], rel=0.03)
    assert found["shrunk"]["shape_area"] == pytest.approx(0.85 * plain["shape_area"], rel=0.03)
    assert found["grown"]["shape_circularity"] == pytest.approx(1, abs=0.05)
    for name in ("moved", "noise"):
        assert found[name]["shape_area"] == plain["shape_area"]
        assert found[name]["stat_mean"] != plain["stat_mean"]
    assert found["noise"]["stat_var"] > plain["stat_var"]
    assert perturbed_features(mammogram, lesions, chosen) == [rows]


def test_the_noise_of_a_picture_is_estimated() -> None:
    rng = np.random.default_rng(5)
    smooth = np.add.outer(np.linspace(0, 3, 300), np.linspace(0, 2, 300) ** 2)
    for level in (0.05, 0.4):
        noisy = (smooth + rng.normal(0, level, smooth.shape)).astype(np.float32)
        assert radiomics._noise_of(noisy) == pytest.approx(level, rel=0.05)


def test_one_disc_on_two_detectors_is_one_disc() -> None:
    """10 mm across, with a slope of grey values, at 0.05 and at 0.1 mm, measured at 0.2 mm."""
    both = []
    for spacing in (0.05, 0.1):
        size = round(14 / spacing)
        picture = np.tile(np.linspace(500, 3500, size), (size, 1)).astype(np.uint16)
        mask = disc(size, size, 5 / spacing)
        both.append(features(picture, mask, spacing_mm=0.2, spacing=spacing, families=("shape", "stat", "cm")))
    for name in ("shape_area", "shape_perimeter", "stat_mean", "stat_var", "cm_contrast"):
        assert both[0][name] == pytest.approx(both[1][name], rel=0.03), name
    assert both[0]["shape_area"] == pytest.approx(math.pi * 25, rel=0.02)
    assert both[0]["shape_major_axis"] == pytest.approx(10, rel=0.02)


def test_resampling_to_the_same_pixels_changes_the_unit_only() -> None:
    picture, mask = grain(40, 40), disc(40, 40, 12)
    plain, scaled = features(picture, mask), features(picture, mask, spacing_mm=0.1, spacing=0.1)
    for name, value in plain.items():
        power = {"shape_area": 2, "shape_perimeter": 1, "shape_major_axis": 1, "shape_minor_axis": 1,
                 "shape_feret_diameter": 1}.get(name, 0)  # fmt: skip
        assert scaled[name] == pytest.approx(value * 0.1**power, rel=1e-5, abs=1e-7), name


def test_an_unknown_spacing_is_told() -> None:
    with pytest.raises(MolSubError, match=r"has no known pixel spacing.*0\.1 mm"):
        features(grain(40, 40), disc(40, 40, 12), spacing_mm=0.1)


@pytest.mark.parametrize("kind", ["one pixel", "two pixels", "line", "constant", "two values"])
def test_tiny_and_flat_lesions_have_all_names(kind: str) -> None:
    picture, mask = grain(30, 30), np.zeros((30, 30), bool)
    if kind in ("constant", "two values"):
        picture = np.full_like(picture, 1234) if kind == "constant" else np.where(picture > GREY, 900, 100)
        mask = disc(30, 30, 9)
    mask[8 : {"one pixel": 9, "two pixels": 10}.get(kind, 8), 8] = True
    mask[15, 3 : {"line": 25}.get(kind, 3)] = True
    found = features(picture.astype(np.uint16), mask)
    assert list(found) == list(features(grain(40, 40), disc(40, 40, 12)))
    assert not any(math.isinf(value) for value in found.values())
    assert found["stat_mean"] == pytest.approx(picture[mask].mean() / BITS, rel=1e-5)
    assert math.isnan(found["cm_contrast"]) == (kind == "one pixel")


def test_a_speck_that_vanishes_has_names_without_values() -> None:
    mask = np.zeros((60, 60), bool)
    mask[30, 30] = True
    found = features(grain(60, 60), mask, spacing_mm=1.0, spacing=0.1)
    assert len(found) > 100
    assert all(math.isnan(value) for value in found.values())


def test_a_box_counts_as_filled_and_lesions_may_count_together() -> None:
    picture = grain(60, 60)
    boxed = drawn(picture, [((5, 5), None, (20, 24))], families=("stat", "shape"))
    filled = drawn(picture, [((5, 5), np.ones((20, 24), bool), None)], families=("stat", "shape"))
    assert boxed == filled
    pieces = [((5, 5), np.ones((10, 10), bool), None), ((40, 30), disc(15, 15, 6), None)]
    apart = drawn(picture, pieces, families=("stat", "shape"))
    (together,) = drawn(picture, pieces, together=True, families=("stat", "shape"))
    assert together["shape_area"] == sum(row["shape_area"] for row in apart)
    assert together["stat_energy"] == pytest.approx(sum(row["stat_energy"] for row in apart))


def test_a_lesion_of_most_of_an_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radiomics, "MOST_PIXELS", 99)
    with pytest.raises(MolSubError, match="lesion 1: has 100 pixels, expected at most 99"):
        features(grain(40, 40), np.ones((10, 10), bool), at=(3, 3))


def test_the_library_says_nothing_and_leaves_the_log_alone(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.root.manager.disable)
    features(grain(30, 30), disc(30, 30, 9))
    assert (root.level, list(root.handlers), logging.root.manager.disable) == before
    assert capfd.readouterr() == ("", "")


def test_without_the_package_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(radiomics, "version", missing)
    with pytest.raises(MolSubError) as caught:
        features(grain(30, 30), disc(30, 30, 9))
    assert str(caught.value) == (
        "radiomics: needs the package mirp. Install it with pip install 'molsubslicer[radiomics]'."
    )
    monkeypatch.undo()
    assert set(radiomics_versions()) == {"mirp", "scikit-image", "pillow"}


def test_every_setting_is_in_the_key() -> None:
    plain = RadiomicsSettings()
    others = {"version": 3, "normalisation": "none", "together": True, "spacing_mm": 0.1, "bins": 16, "distance": 2,
              "families": FAMILIES[:3]}  # fmt: skip
    assert set(others) == {field.name for field in dataclasses.fields(plain)}
    keys = {dataclasses.replace(plain, **{name: value}).key() for name, value in others.items()}
    assert len(keys | {plain.key()}) == len(others) + 1
    assert RadiomicsSettings.from_dict(dataclasses.replace(plain, bins=16).to_dict()).bins == 16


@pytest.mark.parametrize(
    "values",
    [
        {"version": 1},
        {"version": 3},
        {"normalisation": "display"},
        {"colour": 1},
        {"bins": 1},
        {"families": ["glam"]},
        {"families": []},
        {"spacing_mm": 0},
    ],
)
def test_settings_of_another_kind_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(MolSubError):
        RadiomicsSettings.from_dict(values)


def test_a_cohort_is_measured_in_one_unit() -> None:
    """One image without a spacing does not put all the others into pixels."""
    known = [{"spacing_source": "PixelSpacing"}, {"spacing_source": "ImagerPixelSpacing"}]
    unknown = {"spacing_source": "unknown"}
    assert RadiomicsSettings.for_images(known).spacing_mm == 0.1
    assert RadiomicsSettings.for_images([unknown, unknown]).spacing_mm is None
    with pytest.raises(MolSubError, match="1 of 3 are on images without a pixel spacing"):
        RadiomicsSettings.for_images([*known, unknown])
