"""Heatmaps, prediction and training steps, each beside the plain alternative."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn import functional

from MolSubCore.explain.gradcam import explain
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.device import has_native_bf16, to_input
from MolSubCore.models.registry import ARCHITECTURES, build_model
from MolSubCore.training.data import draw_transforms, warp
from MolSubCore.training.plan import Augmentation

LAYERS = ARCHITECTURES["densenet121-cbam"].default_layers


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    patch = torch.randn((1, 1, 224, 224), generator=torch.Generator().manual_seed(0))
    return patch.contiguous(memory_format=torch.channels_last)


WAYS = ["forward pass alone (plain)", "one pass (ours)", "library, layer by layer"]


@pytest.mark.benchmark(group="heatmaps, 6 layers, 1 class")
@pytest.mark.parametrize("way", WAYS)
def test_heatmaps(benchmark: BenchmarkFixture, model: torch.nn.Module, image: torch.Tensor, way: str) -> None:
    benchmark.pedantic(heatmaps(way, model, image, [2]), rounds=7, warmup_rounds=2)


@pytest.mark.benchmark(group="heatmaps, 6 layers, 5 classes")
@pytest.mark.parametrize("way", WAYS)
def test_heatmaps_of_all_classes(
    benchmark: BenchmarkFixture, model: torch.nn.Module, image: torch.Tensor, way: str
) -> None:
    benchmark.pedantic(heatmaps(way, model, image, list(range(5))), rounds=3, warmup_rounds=1)


def heatmaps(way: str, model: torch.nn.Module, image: torch.Tensor, classes: list[int]) -> Callable[[], None]:
    @torch.no_grad()
    def forward() -> None:
        model(image)

    def one_pass() -> None:
        explain(model, image, LAYERS, classes)

    return dict(zip(WAYS, (forward, one_pass, library_loop(model, image, classes)), strict=True))[way]


def library_loop(model: torch.nn.Module, image: torch.Tensor, classes: list[int]) -> Callable[[], None]:
    """The usual way: grad-cam's GradCAM, one layer and class after another."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from MolSubCore.models.registry import resolve_layer

    def run() -> None:
        for layer in LAYERS:
            for index in classes:
                with GradCAM(model, [resolve_layer(model, layer)]) as cam:
                    cam(image.clone().requires_grad_(True), [ClassifierOutputTarget(index)])

    return run


@pytest.mark.benchmark(group="training step, batch 8")
@pytest.mark.parametrize("way", ["fp32 contiguous (plain)", "fp32 channels_last (ours)", "bf16 channels_last (ours)"])
def test_training_step(benchmark: BenchmarkFixture, patches: np.ndarray, way: str) -> None:
    if way.startswith("bf16") and not has_native_bf16():
        pytest.skip("this CPU has no native bf16")
    model = build_model("densenet121-cbam", 5).train()
    layout = torch.contiguous_format if "contiguous" in way else torch.channels_last
    model = model.to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    inputs = to_input(patches, get_recipe("default"), "cpu").contiguous(memory_format=layout)
    target = torch.arange(8) % 5

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=way.startswith("bf16")):
            output = model(inputs)
        functional.cross_entropy(output.float(), target).backward()
        optimizer.step()

    benchmark.pedantic(run, rounds=4, warmup_rounds=1)


@pytest.mark.benchmark(group="loader: batch of 8, fetched, normalised, augmented")
@pytest.mark.parametrize("way", ["whole batch at once (ours)", "patch by patch (plain)"])
def test_loader(benchmark: BenchmarkFixture, patches: np.ndarray, way: str) -> None:
    recipe, options, generator = get_recipe("default"), Augmentation(), torch.Generator().manual_seed(0)

    def augment(batch: torch.Tensor) -> torch.Tensor:
        return warp(batch, draw_transforms(len(batch), options, generator), options)

    def whole() -> None:
        augment(to_input(patches, recipe, "cpu"))

    def single() -> None:
        torch.cat([augment(to_input(patch[None], recipe, "cpu")) for patch in patches])

    benchmark.pedantic(whole if way.startswith("whole") else single, rounds=20, warmup_rounds=2)
