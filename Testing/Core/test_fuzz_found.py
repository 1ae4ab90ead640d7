"""What the fuzz test found, each kept from coming back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from written_files import picture

from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import CohortError, ImageError, LesionError, MolSubError
from MolSubCore.files import read_json
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.worker.protocol import Request, read_event, read_request
from MolSubCore.worker.worker import Worker


def write_nifti(path: Path, value: int) -> None:
    pixels = np.full((1, 30, 20), value, np.uint8)
    pixels[0, 0, 0] = 0
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))


def test_a_packed_volume_is_not_read_from_the_unpacked_one_beside_it(tmp_path: Path) -> None:
    """Of ``x.nii.gz`` the library took the header, and the voxels of ``x.nii``: another patient's, without a word."""
    write_nifti(tmp_path / "x.nii.gz", 7)
    write_nifti(tmp_path / "x.nii", 99)
    assert read_mammogram(tmp_path / "x.nii.gz").stored.max() == 7
    assert read_mammogram(tmp_path / "x.nii").stored.max() == 99
    image = Mammogram(np.zeros((30, 20), np.uint8))
    write_nifti(tmp_path / "m.nii.gz", 1)
    (tmp_path / "m.nii").write_bytes((tmp_path / "x.nii").read_bytes()[:400])
    assert read_lesions(tmp_path / "m.nii.gz", image).full_mask().sum() == 599
    (tmp_path / "c.nii.gz").write_bytes((tmp_path / "x.nii.gz").read_bytes()[:-30])
    (tmp_path / "c.nii").write_bytes(b"")
    with pytest.raises(ImageError, match=r"c\.nii\.gz"):
        read_mammogram(tmp_path / "c.nii.gz")


def test_half_of_a_pair_takes_no_pixels_from_a_file_beside_it(tmp_path: Path) -> None:
    write_nifti(tmp_path / "x.nii", 7)
    content = bytearray((tmp_path / "x.nii").read_bytes())
    content[344:348] = b"ni1\0"
    (tmp_path / "x.nii").write_bytes(content)
    (tmp_path / "x.img").write_bytes(b"\x63" * 600)
    with pytest.raises(ImageError, match="half of a two-file"):
        read_mammogram(tmp_path / "x.nii")


@pytest.mark.parametrize("digits", [2, 3000])
def test_a_dimension_of_many_digits_does_not_end_the_process(tmp_path: Path, digits: int) -> None:
    path = tmp_path / "x.nrrd"
    path.write_text(f"NRRD0004\ntype: uchar\ndimension: {'1' * digits}\nsizes: 3 3 1\nencoding: raw\n\n")
    with pytest.raises(ImageError):
        read_mammogram(path)


def test_long_free_texts_of_a_segmentation_pass(tmp_path: Path) -> None:
    """The check of the header must not refuse what 3D Slicer writes there."""
    image = sitk.GetImageFromArray(np.ones((1, 30, 20), np.uint8))
    image.SetMetaData("Segment0_Tags", "TerminologyEntry:" + "~" * 5000)
    sitk.WriteImage(image, str(tmp_path / "m.seg.nrrd"))
    assert read_lesions(tmp_path / "m.seg.nrrd", Mammogram(np.zeros((30, 20), np.uint8))).full_mask().all()


def test_compressed_data_longer_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.mha"
    sitk.WriteImage(sitk.GetImageFromArray(picture(8)[None]), str(path), useCompression=True)
    read_mammogram(path)
    content = path.read_bytes()
    start = content.index(b"CompressedDataSize = ") + 21
    end = content.index(b"\n", start)
    path.write_bytes(content[:start] + b"99999999999" + content[end:])
    with pytest.raises(ImageError, match="cut short"):
        read_mammogram(path)


def test_a_damaged_png_mask_is_one_error(tmp_path: Path) -> None:
    """Pillow raises a SyntaxError, which is no ValueError."""
    stream = io.BytesIO()
    Image.fromarray(np.ones((30, 20), np.uint8)).save(stream, "PNG")
    content = stream.getvalue()
    place = content.index(b"IEND")
    (tmp_path / "m.png").write_bytes(content[: place - 30] + b"\0" * 60)
    with pytest.raises(LesionError, match=r"m\.png"):
        read_lesions(tmp_path / "m.png", Mammogram(np.zeros((30, 20), np.uint8)))


def test_a_damaged_tiff_is_refused_quietly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff wrote its own words to the terminal."""
    path = tmp_path / "x.tif"
    Image.fromarray(picture(12)).save(path, compression="tiff_lzw")
    content = bytearray(path.read_bytes())
    for at in range(40, 200):
        spoiled = content.copy()
        spoiled[at : at + 2] = b"\xff\xff"
        path.write_bytes(spoiled)
        try:
            read_mammogram(path)
        except ImageError as error:
            assert str(error).isprintable()
    assert capfd.readouterr() == ("", "")


def test_many_columns_are_refused_at_once(tmp_path: Path) -> None:
    """Counting each of 30,000 column names took minutes."""
    (tmp_path / "t.csv").write_text("patient_id,image,mask,subtype" + ",x" * 30_000 + "\n1,a,b,TN\n")
    with pytest.raises(CohortError, match=r"more than 10000 columns .row 1 has 30004."):
        read_cohort(tmp_path / "t.csv")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, '{"a":' * 5000])
def test_json_that_python_does_not_bear(tmp_path: Path, text: str) -> None:
    """Neither a RecursionError nor a ValueError that is no JSONDecodeError."""
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(MolSubError, match="not valid JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(MolSubError, match="not a JSON object"):
        read_request(text)


@pytest.mark.parametrize(
    "options",
    [
        {"path": 3, "out": "o"},
        {"path": ["a"], "out": "o"},
        {"path": "a\0b", "out": "o"},
        {"path": "\ud800", "out": "o"},
    ],
)
def test_an_option_of_another_kind_is_no_fault_of_ours(options: dict[str, Any]) -> None:
    stream = io.StringIO()
    Worker(io.StringIO(), stream).run(Request("1", "read-image", options))
    event = read_event(stream.getvalue().splitlines()[-1])
    assert event.event == "failed"
    assert event.values["bad_input"]
    assert "option path" in event.values["message"]


def test_many_polygons_do_not_fill_the_memory(tmp_path: Path) -> None:
    squares = [{"points": [[1, 1], [1, 5], [5 + n % 20, 5], [5, 1 + n // 20]]} for n in range(51)]
    (tmp_path / "m.json").write_text(json.dumps({"lesions": squares}))
    with pytest.raises(LesionError, match="at most 50"):
        read_lesions(tmp_path / "m.json", Mammogram(np.zeros((30, 20), np.uint8)))
    (tmp_path / "m.json").write_text(json.dumps({"lesions": squares[:50]}))
    assert len(read_lesions(tmp_path / "m.json", Mammogram(np.zeros((30, 20), np.uint8))).lesions) == 50
