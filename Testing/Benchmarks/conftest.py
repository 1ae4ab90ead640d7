"""Inputs of the benchmarks: one big DICOM, its lesion, a model, a patch store."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import write_bundle
from MolSubCore.models.registry import build_model
from MolSubCore.tasks import Subtype, get_task

torch.set_num_threads(min(2, os.cpu_count() or 1))


def big_case(folder: Path, shape: tuple[int, int]) -> tuple[Path, Path]:
    """A synthetic DICOM of this shape and its mask."""
    make_synthetic_cohort(folder, counts={Subtype.TN: 1}, seed=1, image_shape=shape, views=("MLO",))
    image = next((folder / "images").glob("*.dcm"))
    return image, folder / "masks" / f"{image.stem}.nii.gz"


@pytest.fixture(scope="session")
def case_4096(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """4096 x 3328, the largest usual detector."""
    return big_case(tmp_path_factory.mktemp("case4096") / "cohort", (4096, 3328))


@pytest.fixture(scope="session")
def case_3328(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """3328 x 2560."""
    return big_case(tmp_path_factory.mktemp("case3328") / "cohort", (3328, 2560))


@pytest.fixture(scope="session")
def model() -> torch.nn.Module:
    """DenseNet121-CBAM for five classes, random weights, laid out in memory as a bundle's."""
    torch.manual_seed(0)
    model = build_model("densenet121-cbam", 5).eval().requires_grad_(False)
    return model.to(memory_format=torch.channels_last)


@pytest.fixture(scope="session")
def bundle_file(tmp_path_factory: pytest.TempPathFactory, model: torch.nn.Module) -> Path:
    """That model as a bundle."""
    task = get_task("subtype5")
    return write_bundle(
        tmp_path_factory.mktemp("bundle") / "m.molsub",
        [model.state_dict()],
        architecture="densenet121-cbam",
        task=task.name,
        classes=task.classes,
        recipe=get_recipe("default").to_dict(),
        dropout=0.3,
    )


@pytest.fixture(scope="session")
def patches() -> np.ndarray:
    """Eight patches as the store holds them."""
    return np.random.default_rng(0).random((8, 224, 224)).astype(np.float16)
