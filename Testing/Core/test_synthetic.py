"""The synthetic cohort: valid DICOM with masks on the grid, honest labels, and nothing that hides what it is."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation
from scipy import ndimage, stats

from MolSubCore.__main__ import main
from MolSubCore.cohort.synthetic import make_synthetic_cohort, power_noise
from MolSubCore.cohort.table import read_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.masks import read_lesions
from MolSubCore.tasks import Subtype

SHAPE = (192, 160)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten patients, two views each; both sides and both polarities occur."""
    return make_synthetic_cohort(tmp_path_factory.mktemp("s") / "c", patients=10, seed=2, image_shape=SHAPE).parent


@pytest.fixture(scope="module")
def images(folder: Path) -> list[tuple[dict[str, str], pydicom.FileDataset]]:
    with (folder / "table.csv").open(newline="") as file:
        return [(row, pydicom.dcmread(folder / row["image"])) for row in csv.DictReader(file)]


Images = list[tuple[dict[str, str], pydicom.FileDataset]]


def test_files_are_dicom_mammograms(images: Images) -> None:
    assert len(images) == 20
    assert len({dataset.SOPInstanceUID for _, dataset in images}) == 20
    assert len({dataset.StudyInstanceUID for _, dataset in images}) == 10
    for row, dataset in images:
        assert dataset.file_meta.MediaStorageSOPClassUID == DigitalMammographyXRayImageStorageForPresentation
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert (dataset.Modality, dataset.PresentationIntentType) == ("MG", "FOR PRESENTATION")
        assert dataset.pixel_array.shape == SHAPE
        assert dataset.pixel_array.max() <= 4095
        assert (dataset.ImageLaterality, dataset.ViewPosition) == (row["laterality"], row["view"])
        assert dataset.ViewCodeSequence[0].CodeMeaning[:7] == {"CC": "cranio-", "MLO": "medio-l"}[row["view"]]
        assert int(dataset.PatientAge[:3]) == int(row["age"])


def test_the_reader_knows_them(folder: Path, images: Images) -> None:
    spacing = pytest.approx(240 / SHAPE[0], abs=1e-3)
    for row, dataset in images:
        mammogram = read_mammogram(folder / row["image"])
        assert mammogram.synthetic
        assert (mammogram.laterality, mammogram.view) == (row["laterality"], row["view"])
        assert (mammogram.spacing.row_mm, mammogram.spacing.col_mm) == (spacing, spacing)
        assert mammogram.spacing.source == "ImagerPixelSpacing"
        assert mammogram.presentation == "FOR PRESENTATION"
        assert np.array_equal(mammogram.stored, dataset.pixel_array)
        assert mammogram.inverted == (dataset.PhotometricInterpretation == "MONOCHROME1")


def test_masks_lie_on_the_grid_and_on_the_breast(folder: Path, images: Images) -> None:
    for row, _ in images:
        mammogram = read_mammogram(folder / row["image"])
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / row["mask"])))
        assert mask.shape == (1, *SHAPE)
        assert set(np.unique(mask)) == {0, 1}
        lesions = read_lesions(folder / row["mask"], mammogram)
        assert np.array_equal(lesions.full_mask(), mask[0] > 0)
        area = mask.sum() / (np.pi * (0.033 * SHAPE[0]) ** 2)
        assert 0.3 < area < 5
        lesion = mammogram.pixels[mask[0] > 0]
        assert np.median(lesion) > np.percentile(mammogram.pixels, 30)


def edge_means(picture: np.ndarray) -> tuple[float, float]:
    columns = SHAPE[1] // 20
    return float(picture[:, :columns].mean()), float(picture[:, -columns:].mean())


def test_chest_wall_and_background_are_where_they_belong(folder: Path, images: Images) -> None:
    """Left breasts have the chest wall at the left edge, in either polarity; the far edge is dark air."""
    seen = set()
    for row, dataset in images:
        stored = dataset.pixel_array.astype(float)
        picture = 4095 - stored if dataset.PhotometricInterpretation == "MONOCHROME1" else stored
        left, right = edge_means(picture)
        wall, air = (left, right) if row["laterality"] == "L" else (right, left)
        assert wall > 3 * air
        assert air < 0.05 * 4095
        assert edge_means(read_mammogram(folder / row["image"]).pixels) == pytest.approx((left, right), rel=1e-4)
        seen.add((row["laterality"], dataset.PhotometricInterpretation))
    assert {side for side, _ in seen} == {"L", "R"}
    assert {polarity for _, polarity in seen} == {"MONOCHROME1", "MONOCHROME2"}


def test_patient_orientation_is_that_of_the_picture(images: Images) -> None:
    """Rows run from the chest wall to the nipple in a left breast; columns to the feet, or to the middle in a CC."""
    for row, dataset in images:
        along, down = dataset.PatientOrientation
        assert along == {"L": "A", "R": "P"}[row["laterality"]]
        assert down == ("F" if row["view"] == "MLO" else {"L": "R", "R": "L"}[row["laterality"]])


def test_the_display_window_holds_the_breast(images: Images) -> None:
    for _, dataset in images:
        stored = dataset.pixel_array.astype(float)
        inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
        breast = stored[(4095 - stored if inverted else stored) > 200]
        shown = np.abs(breast - float(dataset.WindowCenter)) <= float(dataset.WindowWidth) / 2
        assert shown.mean() > 0.95
        # Shown dark to bright, both polarities have the same window.
        centre = 4095 - float(dataset.WindowCenter) if inverted else float(dataset.WindowCenter)
        assert (centre, float(dataset.WindowWidth)) == (1650, 3200)


def test_every_file_says_that_it_is_synthetic(folder: Path, images: Images) -> None:
    for row, dataset in images:
        assert row["synthetic"] == "yes"
        assert all("SYNTHETIC" in str(dataset[name].value) for name in ("PatientName", "SeriesDescription"))
        assert "SYNTHETIC" in str(dataset.StudyDescription)
        mask = sitk.ReadImage(str(folder / row["mask"]))
        assert "SYNTHETIC" in mask.GetMetaData("descrip")


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("[!.]*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    made = [
        make_synthetic_cohort(tmp_path / name, patients=2, seed=seed, image_shape=SHAPE).parent
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, again, other = map(digest, made)
    assert len(first) == 9
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_prevalence_is_the_papers(folder: Path, tmp_path: Path) -> None:
    from MolSubCore.cohort.synthetic import _by_prevalence

    counts = dict(zip(Subtype, (102, 155, 54, 27, 52), strict=True))
    assert _by_prevalence(390) == counts
    assert _by_prevalence(780) == {subtype: 2 * count for subtype, count in counts.items()}
    for patients in (1, 7, 40, 100, 391):
        found = _by_prevalence(patients)
        assert sum(found.values()) == patients
        assert all(abs(found[s] - patients * counts[s] / 390) < 1 for s in Subtype)
    subtypes = {case.patient_id: case.subtype for case in read_cohort(folder / "table.csv").cases}
    assert [list(subtypes.values()).count(s) for s in Subtype] == [3, 4, 1, 1, 1]


def pixels(folder: Path) -> dict[str, str]:
    return {name: value for name, value in digest(folder).items() if name != "table.csv"}


def test_without_signal_the_subtype_is_nowhere_in_the_pictures(tmp_path: Path) -> None:
    """Cohorts of other subtypes are then the same, byte for byte; with signal they are not."""
    made = {}
    for signal in (0.0, 1.0):
        for subtype in (Subtype.LUMINAL_A, Subtype.HER2_HR_NEGATIVE):
            out = tmp_path / f"{signal}{subtype.name}"
            make_synthetic_cohort(out, counts={subtype: 3}, signal=signal, image_shape=(128, 128), views=("MLO",))
            made[signal, subtype] = pixels(out)
    assert made[0.0, Subtype.LUMINAL_A] == made[0.0, Subtype.HER2_HR_NEGATIVE]
    with_signal = made[1.0, Subtype.LUMINAL_A], made[1.0, Subtype.HER2_HR_NEGATIVE]
    assert all(with_signal[0][name] != with_signal[1][name] for name in with_signal[0] if name.endswith(".dcm"))


@pytest.mark.parametrize(("signal", "low", "high"), [(0.0, 0.0, 0.06), (0.5, 0.4, 0.6), (1.0, 1.0, 1.0)])
def test_signal_is_the_association_of_subtype_and_looks(signal: float, low: float, high: float) -> None:
    """Cramer's V of 4000 patients; a mixture of identity and independence with weight s has V = s."""
    from MolSubCore.cohort.synthetic import _patients

    people = _patients(dict.fromkeys(Subtype, 800), 3, signal)
    table = np.zeros((5, 5), int)
    for person in people:
        table[list(Subtype).index(person.subtype), list(Subtype).index(person.looks)] += 1
    value = stats.contingency.association(table, method="cramer")
    assert low - 1e-9 <= value <= high + 1e-9
    if signal == 0:
        assert stats.chi2_contingency(table).pvalue > 0.001


def test_tissue_noise_has_the_spectrum_it_names() -> None:
    """Amplitude falls with frequency to the given power: slope of the log spectrum over whole rings."""
    noise = power_noise((512, 512), 1.5, np.random.default_rng(0))
    assert (noise.mean(), noise.std()) == pytest.approx((0, 1), abs=1e-3)
    power = np.abs(np.fft.fft2(noise)) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(512) * 512, np.fft.fftfreq(512) * 512)).astype(int)
    rings = ndimage.mean(power, radius, index=np.arange(4, 200))
    assert np.polyfit(np.log(np.arange(4.5, 200)), np.log(rings), 1)[0] == pytest.approx(-3, abs=0.1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"patients": 0}, "0, expected 1 or more"),
        ({"patients": -3}, "-3, expected 1 or more"),
        ({"counts": {Subtype.TN: 0}}, "no patient"),
        ({"counts": {Subtype.TN: -1, Subtype.LUMINAL_A: 2}}, "-1"),
        ({"signal": 1.5}, "1.5, expected 0 to 1"),
        ({"signal": float("nan")}, "nan, expected 0 to 1"),
        ({"image_shape": (64, 512)}, "64"),
        ({"views": ()}, "view"),
        ({"seed": -1}, "-1, expected 0 or more"),
    ],
)
def test_numbers_out_of_range_are_named(tmp_path: Path, options: dict[str, object], text: str) -> None:
    with pytest.raises(MolSubError, match=text):
        make_synthetic_cohort(tmp_path / "c", **({"patients": 1, "image_shape": (128, 128)} | options))  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_a_stopped_cohort_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_synthetic_cohort(tmp_path / "c", patients=1, image_shape=(128, 128), progress=stop)
    assert not any(tmp_path.iterdir())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert main(["cohort", "synthetic", str(tmp_path / "c"), "--patients", "1"]) == 0
    assert "no patients" in capsys.readouterr().out
    assert len(read_cohort(tmp_path / "c" / "table.csv").cases) == 2
    assert main(["cohort", "synthetic", str(tmp_path / "c"), "--patients", "1"]) == 2
    assert main(["cohort", "synthetic", str(tmp_path / "d"), "--patients", "0"]) == 2
