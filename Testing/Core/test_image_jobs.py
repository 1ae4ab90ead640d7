"""The jobs ``read-image``, ``read-lesions`` and ``find-images``: what a program that shows mammograms gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing
from pydicom.uid import BreastTomosynthesisImageStorage
from written_files import mammogram_dataset, picture, write_dicom

from MolSubCore.errors import ImageError, LesionError, MolSubError
from MolSubCore.imaging.breast import find_chest_wall
from MolSubCore.imaging.canonical import canonical_window
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.worker.jobs import find_images, read_image, read_lesion_labels

SHAPE = (36, 34)


def quiet(share: float, **values: Any) -> None:
    """A listener that does not listen."""


def read(path: Path, out: Path) -> dict[str, Any]:
    return read_image({"path": str(path), "out": str(out)}, quiet)


def canonical(stored: np.ndarray, inverted: bool, bits: int, slope: float, intercept: float) -> np.ndarray:
    """By the definition, in double precision: rescaled, and turned over within what the bits can express."""
    signed = stored.dtype.kind == "i"
    ends = np.array([-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1] if signed else [0.0, 2.0**bits - 1])
    values, ends = stored.astype(float) * slope + intercept, ends * slope + intercept
    return ends.sum() - values if inverted else values


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("bits", "signed", "slope", "intercept", "kind"),
    [(8, False, 1, 0, np.uint8), (12, False, 1, 0, np.int16), (16, False, 1, 0, np.uint16), (16, True, 1, 0, np.int16),
     (12, False, 2, -1000, np.int16), (12, False, 16, 0, np.uint16), (12, False, 0.5, 0, np.float32),
     (16, True, 3, 0, np.float32), (12, True, 1, 2048, np.int16)],
)  # fmt: skip
def test_pixels_are_canonical_in_the_smallest_exact_type(
    tmp_path: Path, inverted: bool, bits: int, signed: bool, slope: float, intercept: float, kind: Any
) -> None:
    stored = picture(bits, SHAPE, signed=signed)
    names = {"PhotometricInterpretation": f"MONOCHROME{1 if inverted else 2}"}
    dataset = mammogram_dataset(stored, bits, RescaleSlope=slope, RescaleIntercept=intercept, **names)
    result = read(write_dicom(tmp_path / "a.dcm", dataset), tmp_path / "out")
    pixels = np.load(result["pixels"], mmap_mode="r")
    assert pixels.dtype == kind
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, canonical(stored, inverted, bits, slope, intercept))
    assert (result["rows"], result["columns"]) == SHAPE
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "pixels.npy"]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_window_shows_what_pydicom_shows(tmp_path: Path, inverted: bool, function: str) -> None:
    stored = picture(12, SHAPE)
    dataset = mammogram_dataset(stored, 12, WindowCenter=1800, WindowWidth=2200, VOILUTFunction=function)
    dataset.PhotometricInterpretation = f"MONOCHROME{1 if inverted else 2}"
    shown = apply_windowing(stored, dataset) / 4095
    shown = 1 - shown if inverted else shown
    result = read(write_dicom(tmp_path / "a.dcm", dataset), tmp_path / "out")
    window, pixels = result["window"], np.load(result["pixels"]).astype(float)
    line = np.clip((pixels - window["center"]) / window["width"] + 0.5, 0, 1)
    assert window["source"] == "window:0"
    # The tangent of a sigmoid leaves it by at most 1 - 1 / (1 + exp(-2)), where the line is white or black.
    assert np.abs(line - shown).max() < (0.12 if function == "SIGMOID" else 1e-3)
    assert any("approximated" in text for text in result["history"]) == (function == "SIGMOID")
    middle = np.abs(pixels - window["center"]) < 0.02 * window["width"]
    assert np.abs(line - shown)[middle].max(initial=0) < 2e-3


@pytest.mark.parametrize("inverted", [False, True])
def test_a_straight_table_is_its_own_window(tmp_path: Path, inverted: bool) -> None:
    item = Dataset()
    item.LUTDescriptor = [1001, 500, 16]
    item.LUTData = np.rint(65535 * np.arange(1001) / 1000).astype("<u2").tobytes()
    dataset = mammogram_dataset(picture(12, SHAPE) // 4 + 488, 12, VOILUTSequence=[item])
    if inverted:
        dataset.PixelData = (4095 - (picture(12, SHAPE) // 4 + 2595)).tobytes()
    dataset.PhotometricInterpretation = f"MONOCHROME{1 if inverted else 2}"
    window = read(write_dicom(tmp_path / "a.dcm", dataset), tmp_path / "out")["window"]
    assert window["source"] == "voi-lut:0"
    assert window["center"] == pytest.approx(4095 - 1000 if inverted else 1000, abs=1)
    assert window["width"] == pytest.approx(1000, abs=2)


def test_without_a_window_the_breast_fills_the_grey_scale() -> None:
    stored = np.zeros((400, 300), np.uint16)
    stored[:, :150] = np.linspace(1000, 3000, 400 * 150).reshape(400, 150)
    window = canonical_window(Mammogram(stored, value_range=(0, 4095)))
    assert window.source == "percentile-3"
    assert window.center - window.width / 2 == pytest.approx(1010, abs=15)
    assert window.center + window.width / 2 == pytest.approx(3000, abs=15)


def breast(side: str, shape: tuple[int, int] = (400, 300)) -> np.ndarray:
    """Half an ellipse of tissue at one side, air elsewhere."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside = ((rows - shape[0] / 2) / 170) ** 2 + (columns / 200) ** 2 < 1
    noise = np.random.default_rng(3).integers(0, 500, shape)
    stored = np.where(inside, 1500 + noise, 20 + noise // 50).astype(np.uint16)
    return stored if side == "left" else stored[:, ::-1].copy()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("inverted", [False, True])
def test_the_chest_wall_is_where_the_breast_reaches_the_edge(tmp_path: Path, side: str, inverted: bool) -> None:
    stored = breast(side)
    stored[5:40, 130:170] = 3000  # letters beside the breast
    stored = 4095 - stored if inverted else stored
    dataset = mammogram_dataset(stored, 12, PatientOrientation=["A", "R"])
    dataset.PhotometricInterpretation = f"MONOCHROME{1 if inverted else 2}"
    result = read(write_dicom(tmp_path / "a.dcm", dataset), tmp_path / "out")
    assert result["chest_wall"] == side
    told = [text for text in result["warnings"] if "Patient Orientation" in text]
    assert len(told) == (side == "right")  # anterior to the right: the header says left


def test_a_chest_wall_in_doubt_is_unknown_unless_the_header_supports_it() -> None:
    crop = np.random.default_rng(0).integers(1000, 3000, (300, 300)).astype(np.uint16)
    assert find_chest_wall(Mammogram(crop, value_range=(0, 4095))) == ("unknown", [])
    weak = breast("left")
    weak[:175], weak[225:] = 20, 20  # a strip of tissue of an eighth of the edge
    for told, found in ((None, "unknown"), ("right", "unknown"), ("left", "left")):
        mammogram = Mammogram(weak, value_range=(0, 4095), chest_wall_told=told)  # type: ignore[arg-type]
        assert find_chest_wall(mammogram)[0] == found


def test_facts_without_identifiers(tmp_path: Path) -> None:
    dataset = mammogram_dataset(picture(12, SHAPE), 12, PatientID="SECRET-17", AccessionNumber="SECRET-18")
    dataset.PatientName, dataset.ImagerPixelSpacing, dataset.Manufacturer = "SECRET^19", [0.07, 0.08], "GE"
    result = read(write_dicom(tmp_path / "SECRET-20.dcm", dataset), tmp_path / "out")
    assert "SECRET" not in json.dumps(result)
    assert result["label"] == "L CC"
    assert result["spacing"] == {"row_mm": 0.07, "col_mm": 0.08, "source": "ImagerPixelSpacing"}
    assert (result["manufacturer"], result["presentation"], result["synthetic"]) == ("GE", "FOR PRESENTATION", False)
    assert (result["sop_instance_uid"], result["study_instance_uid"]) == ("1.2.3.4", "1.2.3.5")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dicom(tmp_path / "a.dcm", mammogram_dataset(picture(12, SHAPE), 12))

    def full(file: Path, values: np.ndarray, **options: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        read(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_labels_are_the_painted_ones(tmp_path: Path) -> None:
    image = write_dicom(tmp_path / "a.dcm", mammogram_dataset(picture(12, (60, 50)), 12))
    painted = np.zeros((60, 50), np.uint8)
    painted[5:12, 6:9], painted[40:55, 20:49], painted[41, 21] = 3, 7, 0
    sitk.WriteImage(sitk.GetImageFromArray(painted[None]), str(tmp_path / "m.nrrd"))
    options = {"image": str(image), "lesions": str(tmp_path / "m.nrrd"), "out": str(tmp_path / "out")}
    result = read_lesion_labels(options, quiet)
    labels = np.load(result["labels"])
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, np.select([painted == 3, painted == 7], [1, 2]))
    assert (result["count"], result["boxes"]) == (2, [[5, 12, 6, 9], [40, 55, 20, 49]])
    box = read_lesion_labels(options | {"lesions": "3,4,9,14"}, quiet)
    assert np.argwhere(np.load(box["labels"])).tolist() == [[r, c] for r in range(3, 9) for c in range(4, 14)]


def test_lesions_that_overlap_are_told(tmp_path: Path) -> None:
    image = write_dicom(tmp_path / "a.dcm", mammogram_dataset(picture(12, (60, 50)), 12))
    corners = [[[10, 10], [10, 20], [20, 20], [20, 10]], [[15, 15], [15, 30], [30, 30], [30, 15]]]
    (tmp_path / "p.json").write_text(json.dumps({"lesions": [{"points": points} for points in corners]}))
    options = {"image": str(image), "lesions": str(tmp_path / "p.json"), "out": str(tmp_path / "out")}
    result = read_lesion_labels(options, quiet)
    labels = np.load(result["labels"])
    assert (labels == 1).sum() == 11 * 11 - 6 * 6
    assert (labels == 2).sum() == 16 * 16
    assert result["warnings"] == ["36 pixels belong to more than one lesion; each was assigned to the last one."]


def test_a_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    image = write_dicom(tmp_path / "a.dcm", mammogram_dataset(picture(12, (60, 50)), 12))
    Image.fromarray(np.ones((50, 60), np.uint8)).save(tmp_path / "m.png")
    options = {"image": str(image), "lesions": str(tmp_path / "m.png"), "out": str(tmp_path / "out")}
    with pytest.raises(LesionError, match="50 rows x 60 columns, its image has 60 rows x 50 columns"):
        read_lesion_labels(options, quiet)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_sorted_by_headers(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    (folder / "masks").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    stored = picture(12, SHAPE)
    good = [write_dicom(folder / name, mammogram_dataset(stored, 12)) for name in ("b.dcm", "IM0001")]
    write_dicom(folder / ".hidden" / "x.dcm", mammogram_dataset(stored, 12))
    Image.fromarray(picture(8, SHAPE)).save(folder / "c.png")
    Image.fromarray(picture(8, SHAPE)).save(folder / "masks" / "c.png")
    for name, size in (("d_mask.nii.gz", (1, 9, 9)), ("e.nii.gz", (3, 9, 9)), ("f.nrrd", (1, 9, 9))):
        sitk.WriteImage(sitk.GetImageFromArray(np.ones(size, np.uint8)), str(folder / name))
    tomo = mammogram_dataset(stored, 12, SOPClassUID=BreastTomosynthesisImageStorage, NumberOfFrames=3)
    write_dicom(folder / "tomo.dcm", tomo)
    write_dicom(folder / "us.dcm", mammogram_dataset(stored, 12, Modality="US"))
    cut = folder / "cut.dcm"
    cut.write_bytes(good[0].read_bytes()[:-600])  # whole by its header
    (folder / "notes.txt").write_text("hello")
    found = find_images({"path": str(folder)}, quiet)
    assert [Path(name).name for name in found["images"]] == ["IM0001", "b.dcm", "c.png", "cut.dcm", "f.nrrd"]
    reasons = {Path(one["path"]).relative_to(folder).as_posix(): one["reason"] for one in found["skipped"]}
    assert set(reasons) == {"d_mask.nii.gz", "e.nii.gz", "masks/c.png", "notes.txt", "tomo.dcm", "us.dcm"}
    assert "tomosynthesis volume of 3 frames" in reasons["tomo.dcm"]
    assert "modality US" in reasons["us.dcm"]
    assert "expected one slice" in reasons["e.nii.gz"]
    assert "mask" in reasons["masks/c.png"]
    few = find_images({"paths": [str(good[1]), str(folder / "us.dcm"), str(good[1])]}, quiet)
    assert (few["images"], len(few["skipped"])) == ([str(good[1])], 1)
    with pytest.raises(MolSubError, match="does not exist"):
        find_images({"path": str(tmp_path / "nowhere")}, quiet)


def test_the_header_check_refuses_what_the_reader_refuses(tmp_path: Path) -> None:
    """Whatever the header check says is what the reader would have said."""
    frames = write_dicom(tmp_path / "a.dcm", mammogram_dataset(picture(12, SHAPE), 12, NumberOfFrames=2))
    with pytest.raises(ImageError) as whole:
        read_mammogram(frames)
    (skipped,) = find_images({"path": str(frames)}, quiet)["skipped"]
    assert skipped["reason"].casefold() == f"{whole.value.problem}. {whole.value.remedy}.".casefold()


SIDES = {
    **{f"cdd-cesm/images/{case}_DM_CC.jpg": "left" for case in ("P126_L", "P217_L", "P273_L", "P37_L", "P66_L")},
    **{f"cdd-cesm/images/{case}_DM_CC.jpg": "right" for case in ("P180_R", "P266_R", "P77_R")},
    **{f"nyu-birads-4view-8bit/{name}.png": "left" for name in ("L-CC", "L-MLO", "R-CC", "R-MLO")},
    "nyu-16bit/1_R_CC_3328x2560_16bit.png": "right",
    "cbis-ddsm/Mass-Test_P_00016_LEFT_CC_full_16bit.png": "right",
    "dicom/ge_senographe_RMLO_jpegLosslessSV1_voilut3_sigmoid.dcm": "right",
    "dicom/siemens_inspiration_LCC_stereo_jpegLosslessSV1_overlays.dcm": "unknown",
}


@pytest.mark.real
@pytest.mark.parametrize("name", sorted(SIDES))
def test_the_chest_wall_of_real_mammograms(shared_data: Path, tmp_path: Path, name: str) -> None:
    """The sides were seen by eye; those of NYU's four views are all left: its right breasts are stored mirrored."""
    result = read(shared_data / name, tmp_path)
    assert result["chest_wall"] == SIDES[name]
    assert np.array_equal(np.load(result["pixels"]), read_mammogram(shared_data / name).pixels)
    assert Spacing(**result["spacing"]) == read_mammogram(shared_data / name).spacing
