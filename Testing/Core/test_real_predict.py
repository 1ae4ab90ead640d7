"""The whole job on real mammograms: `molsub predict`, and heatmaps that come back to where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from command_line import failing
from heatmap_files import on_image
from PIL import Image
from torch import nn

from MolSubCore.__main__ import main
from MolSubCore.files import read_json
from MolSubCore.imaging.display import display_array
from MolSubCore.imaging.io.reader import read_mammogram
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import Bundle, write_bundle
from MolSubCore.models.registry import ARCHITECTURES, build_model
from MolSubCore.prediction.predict import predict
from MolSubCore.prediction.write import save_prediction
from MolSubCore.tasks import get_task

pytestmark = pytest.mark.real

CASES = ("P126_L", "P180_R", "P217_L", "P266_R", "P273_L", "P37_L", "P66_L", "P77_R")


def files(shared_data: Path, case: str) -> tuple[Path, Path]:
    folder = shared_data / "cdd-cesm"
    return folder / "images" / f"{case}_DM_CC.jpg", folder / "masks_nii" / f"{case}_DM_CC_mask.nii.gz"


def write_random_bundle(path: Path, recipe: str) -> Path:
    torch.manual_seed(0)
    task = get_task("subtype5")
    return write_bundle(
        path,
        [build_model("densenet121-cbam", 5).state_dict()],
        architecture="densenet121-cbam",
        task=task.name,
        classes=task.classes,
        recipe=get_recipe(recipe).to_dict(),
        dropout=0.3,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: what is predicted means nothing, where it is drawn does."""
    return write_random_bundle(tmp_path_factory.mktemp("bundle") / "random.molsub", "default")


class BrightnessModel(nn.Module):
    """Its Grad-CAM map at layer ``look`` is the patch itself, where that is brighter than black."""

    def __init__(self, black: float) -> None:
        super().__init__()
        self.look = nn.Conv2d(1, 1, 1)
        nn.init.ones_(self.look.weight)
        nn.init.constant_(self.look.bias, -black)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        brightness = self.look(x).mean(dim=(2, 3))
        return torch.cat([brightness, -brightness], dim=1)


@pytest.mark.parametrize(
    ("case", "recipe_name"),
    [*((case, "default") for case in CASES), *((case, "published-2025") for case in CASES[:2])],
)
def test_a_map_of_brightness_lies_on_the_picture(
    shared_data: Path, tmp_path: Path, case: str, recipe_name: str
) -> None:
    """Turned, mirrored or shifted by more than a few pixels, the correlation with the picture would be lost."""
    recipe = get_recipe(recipe_name)
    card = {"classes": ["TN", "non-TN"], "task": "tn", "architecture": "densenet121-cbam", "recipe": recipe.to_dict(),
            "members": []}  # fmt: skip
    model = BrightnessModel(-recipe.mean / recipe.std).eval()
    image, mask = files(shared_data, case)
    out = predict([(image, mask)], Bundle(card, (model,), torch.device("cpu")), layers=["look"], classes=["TN"])
    entry = read_json(save_prediction(out, tmp_path / "out") / "prediction.json")["images"][0]
    heat = on_image(tmp_path / "out" / entry["heatmaps"]["look"], tuple(entry["image_shape"]))
    outline = sitk.GetArrayFromImage(sitk.ReadImage(str(mask)))[0] > 0
    picture = np.asarray(Image.open(image).convert("L"), np.float32)
    assert heat.shape == outline.shape == picture.shape
    roi = (
        slice(entry["roi"]["row_start"], entry["roi"]["row_stop"]),
        slice(entry["roi"]["col_start"], entry["roi"]["col_stop"]),
    )
    assert outline.sum() == outline[roi].sum()
    assert heat.sum() == pytest.approx(heat[roi].sum())
    found = np.corrcoef(heat[roi].ravel(), picture[roi].ravel())[0, 1]
    assert found > (0.97 if recipe_name == "default" else 0.8)  # CLAHE is not linear
    for wrong in (heat[roi][::-1], heat[roi][:, ::-1], heat[roi].T, np.roll(heat[roi], 40, axis=0)):
        assert np.corrcoef(wrong.ravel(), picture[roi].ravel())[0, 1] < found - 0.05


@pytest.mark.parametrize("cases", [CASES[::2], pytest.param(CASES[1::2], marks=pytest.mark.slow)])
def test_the_command_line_on_mammograms(
    shared_data: Path, tmp_path: Path, bundle: Path, cases: tuple[str, ...]
) -> None:
    for case in cases:
        image, mask = files(shared_data, case)
        out = tmp_path / case
        assert main(["predict", str(image), "--lesion", str(mask), "--model", str(bundle), "--out", str(out)]) == 0
        result = read_json(out / "prediction.json")
        (entry,) = result["images"]
        assert entry["image"] == f"1 {case[-1]} CC"
        assert sum(entry["probabilities"].values()) == pytest.approx(1)
        assert list(entry["heatmaps"]) == list(ARCHITECTURES["densenet121-cbam"].default_layers)
        assert any("spacing" in text for text in result["warnings"])
        text = (out / "prediction.json").read_text() + (out / "report.html").read_text()
        assert case not in text  # no file name, and with it no patient
        sheet = Image.open(out / next(iter(entry["overlays"].values())))
        assert min(sheet.size) > 800


def test_the_vendors_dicom_files(shared_data: Path, tmp_path: Path, bundle: Path) -> None:
    for name, side, view in (
        ("ge_senographe_RMLO_jpegLosslessSV1_voilut3_sigmoid", "R", "MLO"),
        ("siemens_inspiration_LCC_stereo_jpegLosslessSV1_overlays", "L", "CC"),
    ):
        image, out = shared_data / "dicom" / f"{name}.dcm", tmp_path / name
        rows, columns = read_mammogram(image).shape
        box = f"{rows // 2 - 60},{columns // 2 - 50},{rows // 2 + 60},{columns // 2 + 50}"
        arguments = ["predict", str(image), "--lesion", box, "--model", str(bundle), "--out", str(out)]
        assert main([*arguments, "--layers", "features.norm5"]) == 0
        (entry,) = read_json(out / "prediction.json")["images"]
        assert entry["image"] == f"1 {side} {view}"
        assert entry["image_shape"] == [rows, columns]
        assert entry["spacing"]["row_mm"] > 0.04


def test_tomosynthesis_is_refused(
    shared_data: Path, tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = shared_data / "dicom" / "dbt_multiframe4_j2kLossless_noisepixels.dcm"
    out = tmp_path / "out"
    line = failing(capsys, "predict", str(image), "--lesion", "5,5,20,20", "--model", str(bundle), "--out", str(out))
    assert "tomosynthesis" in line
    assert "2D view" in line
    assert not out.exists()


def test_two_views_of_one_breast_and_their_mean(shared_data: Path, tmp_path: Path, bundle: Path) -> None:
    """Pictures of the same patient given together: the patient's probabilities are the mean of the images'."""
    pairs = [files(shared_data, case) for case in (CASES[0], CASES[2])]
    arguments = ["predict", *(str(image) for image, _ in pairs), "--model", str(bundle), "--layers", "none"]
    for _, mask in pairs:
        arguments += ["--lesion", str(mask)]
    # The pictures name no patient; their file names tell the side, the same for both.
    arguments += ["--same-patient", "--side", "L", "--side", "L"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    result = read_json(tmp_path / "out" / "prediction.json")
    means = np.mean([list(entry["probabilities"].values()) for entry in result["images"]], axis=0)
    assert list(result["patient"]["probabilities"].values()) == pytest.approx(means.tolist(), abs=1e-12)


def test_the_display_of_a_real_mammogram_shows_the_breast_bright(shared_data: Path) -> None:
    for case in CASES[:3]:
        image, mask = files(shared_data, case)
        shown = display_array(read_mammogram(image))
        outline = sitk.GetArrayFromImage(sitk.ReadImage(str(mask)))[0] > 0
        assert shown[outline].mean() > shown.mean() + 0.1
