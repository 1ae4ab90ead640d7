"""Mask files: read back by the one reader of lesions, and never cut short in silence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_disk import mounted

from MolSubCore.imaging.mask_file import write_mask

ENDINGS = pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    with mounted(folder, "64k") as there:
        if not there:
            pytest.skip("cannot mount a small tmpfs here (needs root)")
        yield folder


def outline(seed: int) -> np.ndarray:
    """A mask that does not compress well: to about 90 kB."""
    return (np.random.default_rng(seed).random((900, 900)) < 0.3).astype(np.uint8)


@ENDINGS
def test_a_mask_comes_back_with_its_spacing_and_notes(tmp_path: Path, ending: str) -> None:
    labels = np.zeros((30, 20), np.uint8)
    labels[3:7, 4:9], labels[20:25, 1:3] = 1, 2
    path = tmp_path / f"m{ending}"
    write_mask(path, labels, row_mm=0.1, col_mm=0.07, notes="drawn here")
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), labels[None])
    assert image.GetSpacing() == pytest.approx((0.07, 0.1, 1.0))
    assert "drawn here" in [image.GetMetaData(key) for key in image.GetMetaDataKeys()]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_layers_are_components_of_one_slice(tmp_path: Path) -> None:
    layers = np.stack([outline(1), outline(2)])
    write_mask(tmp_path / "m.nrrd", layers, row_mm=None, col_mm=None)
    image = sitk.ReadImage(str(tmp_path / "m.nrrd"))
    assert np.array_equal(np.moveaxis(sitk.GetArrayFromImage(image)[0], -1, 0), layers)


@ENDINGS
def test_a_full_disk_is_told_and_the_former_mask_stays(small_disk: Path, ending: str) -> None:
    """ITK itself writes a part of a .nii.gz there, and says nothing."""
    path, former = small_disk / f"m{ending}", np.eye(900, dtype=np.uint8)
    write_mask(path, former, row_mm=None, col_mm=None)
    with pytest.raises((OSError, RuntimeError)):
        write_mask(path, outline(3), row_mm=None, col_mm=None)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0], former)
    assert [file.name for file in small_disk.iterdir()] == [path.name]


@ENDINGS
def test_a_file_that_was_cut_short_is_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    write = sitk.WriteImage

    def cut(image: sitk.Image, path: str, **options: object) -> None:
        write(image, path, **options)
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: len(content) - 9])

    monkeypatch.setattr(sitk, "WriteImage", cut)
    with pytest.raises(OSError, match="No space left") as caught:
        write_mask(tmp_path / f"m{ending}", outline(4), row_mm=None, col_mm=None)
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())
