"""Mask files: read back by the one reader of lesions, and never cut short in silence."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_disk import mounted

from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.masks import read_lesions, write_mask

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


@pytest.mark.skipif(os.name == "nt", reason="names are no bytes on Windows")
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr"])
def test_names_that_are_no_utf8(tmp_path: Path, ending: str) -> None:
    """As old disks have them: such a file is written and read; ITK, given its name, would end the process."""
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    folder.mkdir()
    labels, path = np.zeros((6, 8), np.uint8), folder / os.fsdecode(b"M\xfcller" + ending.encode())
    labels[2:4, 3:6] = 1
    if ending in (".nii.gz", ".nrrd"):
        write_mask(path, labels, row_mm=0.1, col_mm=0.1)
    elif ending == ".nhdr":
        head = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 8 6 1\nencoding: raw\ndata file: M\xfcller.raw\n\n"
        path.write_bytes(head)
    else:
        data = b"LOCAL" if ending == ".mha" else b"M\xfcller.raw"
        head = (
            b"ObjectType = Image\nNDims = 2\nDimSize = 8 6\nElementType = MET_UCHAR\nElementDataFile = " + data + b"\n"
        )
        path.write_bytes(head + (labels.tobytes() if ending == ".mha" else b""))
    (folder / os.fsdecode(b"M\xfcller.raw")).write_bytes(labels.tobytes())
    (lesion,) = read_lesions(path, Mammogram(np.ones((6, 8), np.uint16))).lesions
    assert (lesion.box.row_start, lesion.box.row_stop, lesion.box.col_start, lesion.box.col_stop) == (2, 4, 3, 6)
