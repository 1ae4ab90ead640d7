"""Real mammograms of five sources, read here and by readers that share no code with this one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import get_frame
from pydicom.pixels import apply_voi_lut, apply_windowing

from MolSubCore.errors import ImageError
from MolSubCore.imaging.display import display_array, display_step
from MolSubCore.imaging.io.dicom import parse_codestream
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.imaging.mammogram import Mammogram, Spacing
from MolSubCore.lesions.masks import read_lesions

pytestmark = pytest.mark.real

GE = "dicom/ge_senographe_RMLO_jpegLosslessSV1_voilut3_sigmoid.dcm"
SIEMENS = "dicom/siemens_inspiration_LCC_stereo_jpegLosslessSV1_overlays.dcm"
TOMOSYNTHESIS = "dicom/dbt_multiframe4_j2kLossless_noisepixels.dcm"
CESM = ["P126_L", "P180_R", "P217_L", "P266_R", "P273_L", "P37_L", "P66_L", "P77_R"]


@pytest.fixture(scope="module")
def ge(shared_data: Path) -> Mammogram:
    return read_mammogram(shared_data / GE)


def test_ge_pixels_are_what_two_other_readers_find(shared_data: Path, ge: Mammogram) -> None:
    assert np.array_equal(ge.stored, dcmread(shared_data / GE).pixel_array)
    assert np.array_equal(ge.stored, sitk.GetArrayFromImage(sitk.ReadImage(str(shared_data / GE)))[0])
    assert ge.stored.shape == (3062, 2394)
    assert ge.value_range == (0.0, 4095.0)


def test_ge_header(shared_data: Path, ge: Mammogram) -> None:
    assert ge.label == "R MLO"
    assert ge.presentation == "FOR PRESENTATION"
    assert ge.spacing.source == "ImagerPixelSpacing"
    assert ge.spacing.row_mm == pytest.approx(0.0941, abs=1e-4)
    assert ge.padding == (0, 30)
    assert not ge.inverted
    kinds = [(voi.name, voi.kind) for voi in ge.voi]
    assert kinds == [(f"window:{i}", "sigmoid") for i in range(3)] + [(f"voi-lut:{i}", "lut") for i in range(3)]
    assert display_step(ge).name == "voi-lut:0"
    frame = get_frame(dcmread(shared_data / GE).PixelData, 0, number_of_frames=1)
    code = parse_codestream(frame)
    assert code is not None
    assert code.precision == 16  # the header says 12 and no sample has more: nothing to warn of
    assert ge.stored.max() < 2**12
    assert ge.warnings == ()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_ge_display_is_pydicoms(shared_data: Path, ge: Mammogram, number: int) -> None:
    dataset = dcmread(shared_data / GE)
    rows, columns = slice(1000, 1400), slice(1200, 2394)
    part = ge.stored[rows, columns]
    inside = part > 30  # elsewhere is padding, which pydicom does not know
    item = dataset.VOILUTSequence[number]
    lut = apply_voi_lut(part, dataset, index=number) / (2 ** item.LUTDescriptor[2] - 1)
    assert np.abs(display_array(ge, f"voi-lut:{number}", (rows, columns)) - lut)[inside].max() < 1e-5
    del dataset.VOILUTSequence
    window = apply_windowing(part, dataset, index=number) / 4095
    assert np.abs(display_array(ge, f"window:{number}", (rows, columns)) - window)[inside].max() < 1e-5
    assert display_array(ge, f"voi-lut:{number}", (rows, columns))[~inside].max(initial=0) == 0


def test_siemens(shared_data: Path) -> None:
    mammogram = read_mammogram(shared_data / SIEMENS)
    assert np.array_equal(mammogram.stored, dcmread(shared_data / SIEMENS).pixel_array)
    assert mammogram.stored.max() <= 4095
    assert mammogram.label == "L CC"
    factor = dcmread(shared_data / SIEMENS).EstimatedRadiographicMagnificationFactor
    assert mammogram.spacing == Spacing(0.085 / factor, 0.085 / factor, "ImagerPixelSpacing, magnification corrected")
    assert any("stereotactic" in warning for warning in mammogram.warnings)
    assert any("Overlays are not drawn" in line for line in mammogram.photometric_history)


def test_tomosynthesis_is_refused_by_its_name(shared_data: Path) -> None:
    with pytest.raises(ImageError, match="tomosynthesis volume of 4 frames") as caught:
        read_mammogram(shared_data / TOMOSYNTHESIS)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", [GE, SIEMENS])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_real_lossless_jpeg_cut_short_is_refused(shared_data: Path, tmp_path: Path, name: str, share: float) -> None:
    content = (shared_data / name).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match=r"cut\.dcm"):
        read_mammogram(tmp_path / "cut.dcm")


def test_cbis_ddsm_crop_is_a_linear_stretch_of_the_full_picture(shared_data: Path) -> None:
    folder = shared_data / "cbis-ddsm"
    full = read_mammogram(folder / "Mass-Test_P_00016_LEFT_CC_full_16bit.png")
    (path,) = (folder / "dicom" / "Mass-Test_P_00016_LEFT_CC_1").rglob("*.dcm")
    crop = read_mammogram(path)
    assert (full.label, crop.label) == ("L CC", "L CC")
    part = full.pixels[2568:2952, 1321:1706].astype(np.float64)
    assert part.shape == crop.shape
    slope, intercept = np.polyfit(part.ravel(), crop.pixels.ravel(), 1)
    assert slope > 0  # the same polarity
    assert np.abs(slope * part + intercept - crop.pixels).max() < 2  # of 65535: rounding alone
    shifted = full.pixels[2569:2953, 1321:1706]
    assert np.corrcoef(shifted.ravel(), crop.pixels.ravel())[0, 1] < 0.9999


def test_cbis_ddsm_files_are_what_pydicom_reads(shared_data: Path) -> None:
    for path in sorted((shared_data / "cbis-ddsm" / "dicom").rglob("*.dcm")):
        mammogram = read_mammogram(path)
        assert np.array_equal(mammogram.stored, dcmread(path).pixel_array)
        assert mammogram.label == ("L CC" if "LEFT_CC" in str(path) else "R MLO")


@pytest.mark.parametrize("case", CESM)
def test_cdd_cesm_pictures_and_masks(shared_data: Path, case: str) -> None:
    folder, name = shared_data / "cdd-cesm", f"{case}_DM_CC"
    mammogram = read_mammogram(folder / "images" / f"{name}.jpg")
    with Image.open(folder / "images" / f"{name}.jpg") as picture:
        channels = np.asarray(picture.convert("RGB"))
    assert np.array_equal(mammogram.stored, channels[..., 1])
    assert mammogram.label == f"{case[-1]} CC"
    assert mammogram.warnings == ()
    outlined = np.asarray(Image.open(folder / "masks" / f"{name}_mask.png")) > 0
    clipped = (display_array(mammogram) == 1)[outlined].mean() - (mammogram.stored == 255)[outlined].mean()
    assert clipped < 0.005  # what the file itself has white is not counted
    mask = cv2.imread(str(folder / "masks" / f"{name}_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    volume = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "masks_nii" / f"{name}_mask.nii.gz")))
    read_png = read_mammogram(folder / "masks" / f"{name}_mask.png")
    read_nifti = read_mammogram(folder / "masks_nii" / f"{name}_mask.nii.gz")
    assert np.array_equal(read_png.stored, mask)
    assert np.array_equal(read_nifti.stored, volume.reshape(mammogram.shape))
    assert np.array_equal(read_png.stored > 0, read_nifti.stored > 0)
    for path in (folder / "masks" / f"{name}_mask.png", folder / "masks_nii" / f"{name}_mask.nii.gz"):
        assert np.array_equal(read_lesions(path, mammogram).full_mask(), mask > 0)


def test_nyu_sixteen_bits(shared_data: Path) -> None:
    path = shared_data / "nyu-16bit" / "1_R_CC_3328x2560_16bit.png"
    mammogram = read_mammogram(path)
    assert mammogram.stored.dtype == np.uint16
    assert np.array_equal(mammogram.stored, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    assert mammogram.label == "R CC"


@pytest.mark.parametrize("label", ["L CC", "L MLO", "R CC", "R MLO"])
def test_nyu_four_views(shared_data: Path, label: str) -> None:
    path = shared_data / "nyu-birads-4view-8bit" / f"{label.replace(' ', '-')}.png"
    mammogram = read_mammogram(path)
    assert np.array_equal(mammogram.stored, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    assert mammogram.label == label


def test_cmmd_format(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "cmmd" / "cmmd_like_format_fixture.zip") as archive:
        archive.extractall(tmp_path)
    paths = sorted(tmp_path.rglob("*.dcm"))
    assert len(paths) == 3
    for path in paths:
        dataset, mammogram = dcmread(path), read_mammogram(path)
        assert np.array_equal(mammogram.stored, dataset.pixel_array)
        assert mammogram.shape == (2294, 1914)
        assert mammogram.laterality == dataset.ImageLaterality
        assert mammogram.view == {"399162004": "CC", "399368009": "MLO"}[dataset.ViewCodeSequence[0].CodeValue]
        assert mammogram.spacing.row_mm == pytest.approx(0.0941, abs=1e-4)
        assert mammogram.spacing.source == "ImagerPixelSpacing"
        assert {voi.kind for voi in mammogram.voi} <= {"sigmoid"}
        assert mammogram.identifiers["PatientID"] == dataset.PatientID


def test_a_rendered_overlay_is_refused_as_colour(shared_data: Path) -> None:
    with pytest.raises(ImageError, match="is a colour picture"):
        read_mammogram(shared_data / "cmmd" / "tompei" / "D1-0001_MLO_R_rendered_overlay.png")
