"""Pieces of a mask found by runs of pixels, against SciPy's labelling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from MolSubCore.errors import LesionError
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.lesion import find_pieces, joined, lesion_boxes
from MolSubCore.lesions.masks import read_lesions, write_mask


def by_scipy(mask: np.ndarray) -> list[tuple[int, ...]]:
    numbered, _count = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(numbered.ravel())[1:].tolist()
    places = ndimage.find_objects(numbered)
    return sorted((r.start, r.stop, c.start, c.stop, area) for (r, c), area in zip(places, areas, strict=True))


@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 24), st.floats(0, 1))
def test_pieces_are_scipys(seed: int, rows: int, columns: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < share
    boxes, areas = find_pieces(mask)
    found = [(*box, area) for box, area in zip(boxes.tolist(), areas.tolist(), strict=True)]
    assert sorted(found) == by_scipy(mask)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_boxes_are_those_of_the_written_mask(tmp_path_factory: pytest.TempPathFactory, seed: int, blobs: int) -> None:
    random = np.random.default_rng(seed)
    mask = np.zeros((200, 160), bool)
    for row, column, side in zip(*random.integers(0, (200, 160, 12), (blobs, 3)).T, strict=True):
        mask[row : row + side, column : column + side] = True
    if not mask.any():
        assert lesion_boxes([mask]) == []
        return
    path = tmp_path_factory.getbasetemp() / "mask.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(mask[None].astype(np.uint8)), str(path))
    expected = read_lesions(path, Mammogram(np.zeros(mask.shape, np.uint8)))
    assert lesion_boxes([mask]) == [lesion.box for lesion in expected.lesions]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_boxes_of_several_segments_are_those_of_the_written_mask(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    layers = np.zeros((count, 200, 160), bool)
    for layer in layers:
        for row, column, side in zip(*random.integers(0, (200, 160, 12), (3, 3)).T, strict=True):
            layer[row : row + side, column : column + side + 1] = True
    kept = [layer for layer in layers if layer.any()]  # as Slicer writes them
    if not kept:
        return
    path = tmp_path_factory.getbasetemp() / "layers.nrrd"
    write_mask(path, np.stack(kept), row_mm=None, col_mm=None)
    expected = read_lesions(path, Mammogram(np.zeros((200, 160), np.uint8)))
    assert lesion_boxes(kept) == [lesion.box for lesion in expected.lesions]


def test_noise_is_refused() -> None:
    mask = np.zeros((900, 900), bool)
    mask[::40, ::40] = True
    assert len(lesion_boxes([mask])) == 1  # specks: the largest stays
    for shift in range(4):
        mask[shift::40, shift::40] = mask[shift::40, shift + 1 :: 40] = mask[shift::40, shift + 2 :: 40] = True
    with pytest.raises(LesionError, match="more than 50 lesions"):
        lesion_boxes([mask])


def test_groups_are_numbered_by_their_first_members() -> None:
    assert joined(6, [(4, 2), (0, 5), (2, 1)]) == [0, 1, 1, 2, 1, 0]
    assert joined(0, []) == []


def test_no_library_but_numpy_is_loaded() -> None:
    program = (
        "import sys, numpy as np; from MolSubCore.lesions.lesion import lesion_boxes;"
        "from MolSubCore.lesions.roi import roi_geometry; lesion_boxes([np.eye(40, dtype=bool)]);"
        "print([m for m in ('scipy', 'cv2', 'PIL', 'pydicom', 'torch', 'SimpleITK') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"
