"""Heatmaps of every architecture's default layers against the grad-cam library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from families import NETWORKS, patches, prepared, size_of
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models import VisionTransformer

from MolSubCore.errors import MolSubError
from MolSubCore.explain.gradcam import explain
from MolSubCore.explain.library import METHODS, explain_with_library
from MolSubCore.models.registry import ARCHITECTURES


def tokens_to_grid(tokens: torch.Tensor) -> torch.Tensor:
    """The grad-cam library's own recipe for vision transformers, from its documentation."""
    result = tokens[:, 1:, :].reshape(tokens.size(0), 14, 14, tokens.size(2))
    return result.transpose(2, 3).transpose(1, 2)


def library_maps(model: nn.Module, x: torch.Tensor, layers: Sequence[str], index: int) -> list[np.ndarray]:
    """One map per layer, each by itself: layers are given in the order of the forward pass."""
    reshape = tokens_to_grid if isinstance(model, VisionTransformer) else None
    cam = GradCAM(model, [model.get_submodule(name) for name in layers], reshape_transform=reshape)
    # The library keeps the layer's output itself; an in-place operation after it must not reach that.
    hooks = [model.get_submodule(name).register_forward_hook(lambda _, put, out: out.clone()) for name in layers]
    asked, targets = x.clone().requires_grad_(True), [ClassifierOutputTarget(index)]
    cam(asked, targets)
    maps = [cam.aggregate_multi_layers([one])[0] for one in cam.compute_cam_per_layer(asked, targets, False)]
    cam.activations_and_grads.release()
    for hook in hooks:
        hook.remove()
    return maps


@pytest.mark.parametrize("name", [*NETWORKS, "densenet121-cbam"])
def test_default_layers_as_the_library(name: str) -> None:
    model, x, layers = prepared(name, short=False), patches(name, 1), ARCHITECTURES[name].default_layers
    maps = explain(model, x, layers, [3, 1])
    alive = 0
    for position, index in enumerate((3, 1) if name != "vit-b16" else (3,)):
        for layer, theirs in zip(layers, library_maps(model, x, layers, index), strict=True):
            ours = maps.patch_map(layer, position, size_of(name))
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs).max() < 1e-3, (layer, index)
            alive += theirs.max() > 0.9
    assert alive >= len(layers)  # agreement on empty maps would prove nothing
    with torch.no_grad():
        assert np.allclose(maps.logits, model(x)[0].numpy(), rtol=1e-3, atol=1e-4)
    assert not any(module._forward_hooks for module in model.modules())


def test_layers_are_ordered_and_named_once() -> None:
    for known in ARCHITECTURES.values():
        assert len(set(known.default_layers)) == len(known.default_layers) >= 4


class SmallViT(VisionTransformer):
    """A transformer of one block on a grid of 3 x 3, with the class token first."""

    def __init__(self) -> None:
        torch.manual_seed(2)
        super().__init__(
            image_size=48, patch_size=16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
        )
        self.conv_proj = nn.Conv2d(1, 8, 16, stride=16)
        nn.init.normal_(self.heads.head.weight)
        self.eval()

    @staticmethod
    def feature_map(output: torch.Tensor) -> torch.Tensor:
        """Tokens as a feature map."""
        return output[:, 1:].transpose(1, 2).reshape(-1, 8, 3, 3) if output.ndim == 3 else output


LAYERS = ("conv_proj", "encoder.layers.encoder_layer_0.ln_1")
SMALL = torch.randn((1, 1, 48, 48), generator=torch.Generator().manual_seed(1))


def test_tokens_by_hand() -> None:
    """Grad-CAM of the tokens as they enter the block: the gradient by finite differences, the sum written out."""
    model = SmallViT().double().requires_grad_(False)
    x = SMALL.double()
    block = model.encoder.layers.get_submodule("encoder_layer_0")
    tokens = block.ln_1(entering(model, x))

    def score(changed: torch.Tensor) -> float:
        hook = block.ln_1.register_forward_hook(lambda module, put, out: changed)
        logit = model(x)[0, 2].item()
        hook.remove()
        return logit

    gradient = np.zeros((10, 8))
    for token in range(10):
        for channel in range(8):
            step = torch.zeros_like(tokens)
            step[0, token, channel] = 1e-5
            gradient[token, channel] = (score(tokens + step) - score(tokens - step)) / 2e-5
    weights = gradient[1:].mean(axis=0)
    expected = np.maximum((tokens[0, 1:].numpy() * weights).sum(axis=1), 0).reshape(3, 3)
    found = explain(model, x, [LAYERS[1]], [2]).raw[LAYERS[1]][0]
    assert np.allclose(found, expected, atol=1e-6)
    assert expected.max() > 1e-3


def entering(model: SmallViT, x: torch.Tensor) -> torch.Tensor:
    """The tokens that enter the first block."""
    projected = model.conv_proj(x).flatten(2).transpose(1, 2)
    return torch.cat([model.class_token, projected], dim=1) + model.encoder.pos_embedding


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_library_reads_tokens(method: str) -> None:
    model = SmallViT().requires_grad_(False)
    maps = explain_with_library(model, SMALL, LAYERS, [2, 0], method)
    for layer in LAYERS:
        assert maps.scaled[layer].shape == (2, 48, 48)
        assert maps.scaled[layer].max() == pytest.approx(1, abs=1e-5) or maps.blind[layer] != (False, False)
    if method == "gradcam-library":
        ours = explain(model, SMALL, LAYERS, [2, 0])
        for layer in LAYERS:
            for position in range(2):
                assert np.abs(ours.patch_map(layer, position, 48) - maps.scaled[layer][position]).max() < 1e-3
    assert not any(module._forward_hooks for module in model.modules())
    assert isinstance(model.encoder.layers.get_submodule("encoder_layer_0").ln_1, nn.LayerNorm)


def test_what_is_no_map_is_refused() -> None:
    model = SmallViT()
    with pytest.raises(MolSubError, match=r"heads gives a tensor of shape \(1, 3\), expected a feature map"):
        explain(model, SMALL, ["heads"], [0])


def test_the_class_token_is_no_place() -> None:
    vit = ARCHITECTURES["vit-b16"]
    with torch.device("meta"):
        feature_map = vit.build(2, 0.0).feature_map
    tokens = torch.arange(197.0).reshape(1, 197, 1).expand(2, 197, 4)
    grid = feature_map(tokens)
    assert grid.shape == (2, 4, 14, 14)
    assert grid[1, 3].flatten().tolist() == list(range(1, 197))
    for other in (torch.zeros(2, 768, 14, 14), torch.zeros(2, 5), torch.zeros(2, 50, 4)):
        assert feature_map(other) is other
