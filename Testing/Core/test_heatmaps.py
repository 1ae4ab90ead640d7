"""Heatmap files, read back by SimpleITK and compared with a bilinear paste written out by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from heatmap_files import on_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MolSubCore.explain.heatmaps import write_heatmap
from MolSubCore.imaging.mammogram import Spacing
from MolSubCore.lesions.roi import RoiGeometry


def by_hand(patch_map: np.ndarray, roi: RoiGeometry) -> np.ndarray:
    """Bilinear at every pixel of the image, half-pixel centres, edge values held, zero outside the region."""
    parts = zip(patch_map.shape, (roi.row_start, roi.col_start), roi.sides, roi.image_shape, strict=True)
    shares = []
    for cells, start, side, length in parts:
        pixels = np.arange(length)
        place = np.clip((pixels - start + 0.5) * cells / side - 0.5, 0, cells - 1)
        # A cell's share falls to zero over the distance of one cell; none outside the region.
        share = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells)))
        shares.append(share * ((pixels >= start) & (pixels < start + side))[:, None])
    return shares[0] @ patch_map @ shares[1].T


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.tuples(st.integers(-15, 25), st.integers(-15, 35)),
    sides=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    cells=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_values_anywhere_even_beyond_the_border(
    tmp_path: Path, start: tuple[int, int], sides: tuple[int, int], cells: tuple[int, int], seed: int
) -> None:
    roi = RoiGeometry(start[0], start[0] + sides[0], start[1], start[1] + sides[1], 224, (30, 40))
    if roi.row_stop <= 0 or roi.col_stop <= 0:
        return
    patch_map = np.random.default_rng(seed).random(cells).astype(np.float32)
    path = tmp_path / "map.nrrd"
    write_heatmap(path, patch_map, roi, Spacing(0.07, 0.09, "PixelSpacing"), {})
    image = sitk.ReadImage(str(path))
    found = sitk.GetArrayFromImage(image)
    rows, columns = roi.inside()
    assert found.shape == (1, rows.stop - rows.start, columns.stop - columns.start)
    assert found.dtype == np.float32
    assert np.abs(on_image(path, (30, 40)) - by_hand(patch_map, roi)).max() < 1e-5
    assert image.GetSpacing() == pytest.approx((0.09, 0.07, 1.0))
    assert image.GetOrigin() == pytest.approx((0.09 * columns.start, 0.07 * rows.start, 0))
    write_heatmap(path, patch_map, roi, Spacing(0.07, 0.09, "PixelSpacing"), {}, grid="image")
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image)[0], on_image(path, (30, 40)))
    assert np.abs(sitk.GetArrayFromImage(image)[0] - by_hand(patch_map, roi)).max() < 1e-5
    assert image.GetOrigin() == (0, 0, 0)


def test_files_are_small(tmp_path: Path) -> None:
    """A region of a mammogram, and even the whole one, in a fraction of the mammogram's 46 MB as floats."""
    roi = RoiGeometry(900, 1323, 40, 463, 224, (4096, 2816))
    patch_map = np.random.default_rng(0).random((7, 7)).astype(np.float32)
    write_heatmap(tmp_path / "region.nrrd", patch_map, roi, Spacing(), {})
    write_heatmap(tmp_path / "image.nrrd", patch_map, roi, Spacing(), {}, grid="image")
    assert (tmp_path / "region.nrrd").stat().st_size < 4 * 423 * 423
    assert (tmp_path / "image.nrrd").stat().st_size < 2 << 20
    whole = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "image.nrrd")))[0]
    assert np.array_equal(whole, on_image(tmp_path / "region.nrrd", whole.shape))


def test_the_header_says_what_it_is(tmp_path: Path) -> None:
    roi = RoiGeometry(0, 4, 0, 4, 224, (8, 8))
    fields = {"heatmap class": "HER2+/HR-", "heatmap layer": "features.norm5", "note": "two\nlines: a=b"}
    spacing = Spacing(np.float64(0.05), np.float32(0.1), "file header")  # type: ignore[arg-type]
    write_heatmap(tmp_path / "m.nrrd", np.ones((2, 2), np.float32), roi, spacing, fields)
    image = sitk.ReadImage(str(tmp_path / "m.nrrd"))
    assert image.GetSpacing() == pytest.approx((0.1, 0.05, 1.0))
    found = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert found["heatmap class"] == "HER2+/HR-"
    assert found["heatmap layer"] == "features.norm5"
    assert found["note"] == "two lines: a=b"
    assert found["spacing source"] == "file header"
    assert re.search("research", found["intended use"], re.IGNORECASE)
    assert not list(tmp_path.glob(".tmp*"))
