"""The grad-cam library's methods through our door: right side up, on frozen models, leaving no trace."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_network import Tiny, randomised

from MolSubCore.errors import MolSubError
from MolSubCore.explain.gradcam import explain
from MolSubCore.explain.library import CLASSLESS, METHODS, explain_with_library
from MolSubCore.models.registry import build_model

PATCH = torch.randn((1, 1, 32, 48), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frozen", [True, False])
def test_every_method_runs_and_leaves_the_model_as_found(method: str, frozen: bool) -> None:
    """A bundle's model has no gradients for its weights: the library alone fails on it."""
    tiny = Tiny().requires_grad_(not frozen)
    tiny.features[3].train()
    tiny.classifier.bias.grad = torch.ones(3)
    before = copy.deepcopy(tiny.state_dict())
    tiny.features[3].eval()
    maps = explain_with_library(tiny, PATCH, ["features.4", "features.1"], [2, 0], method)
    assert maps.layers == ("features.4", "features.1")
    assert maps.classes == (2, 0)
    assert maps.method == method
    assert maps.raw is None
    for layer in maps.layers:
        assert maps.scaled[layer].shape == (2, 32, 48)
        assert maps.scaled[layer].dtype == np.float32
        assert maps.scaled[layer].min() == 0
        assert maps.scaled[layer].max() == pytest.approx(1, abs=1e-5)
    again = explain_with_library(tiny, PATCH, ["features.4", "features.1"], [2, 0], method)
    assert all(np.array_equal(again.scaled[layer], maps.scaled[layer]) for layer in maps.layers)
    assert [p.requires_grad for p in tiny.parameters()] == [not frozen] * len(list(tiny.parameters()))
    assert torch.equal(tiny.classifier.bias.grad, torch.ones(3))
    assert all(p.grad is None for name, p in tiny.named_parameters() if name != "classifier.bias")
    assert not any(module._forward_hooks for module in tiny.modules())
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())


def test_a_training_model_stays_in_training() -> None:
    tiny = Tiny()
    tiny.features.train()
    explain_with_library(tiny, PATCH, ["features.4"], [0], "gradcam-library")
    assert [m.training for m in tiny.children()] == [True, False]
    assert tiny.features[1].training


@pytest.mark.parametrize("method", ["gradcam-library", "hirescam", "xgradcam"])
def test_a_landscape_map_is_the_class_activation_map(method: str) -> None:
    """On pooling and one linear layer these methods have the same closed form: ReLU(w A)."""
    tiny = Tiny().requires_grad_(False)
    activation = tiny.features(PATCH)[0].numpy()
    maps = explain_with_library(tiny, PATCH, ["features.4"], [0, 1, 2], method)
    for index in range(3):
        plain = np.maximum((tiny.classifier.weight[index].numpy()[:, None, None] * activation).sum(axis=0), 0)
        row, column = np.unravel_index(plain.argmax(), plain.shape)
        hottest = np.unravel_index(maps.scaled["features.4"][index].argmax(), (32, 48))
        assert abs(hottest[0] - (row * 4 + 1.5)) <= 3
        assert abs(hottest[1] - (column * 4 + 1.5)) <= 3


def test_the_librarys_gradcam_is_the_one_pass_map() -> None:
    torch.manual_seed(0)
    model = randomised(build_model("densenet121-cbam", 2)).requires_grad_(False)
    patch = torch.randn((1, 1, 64, 64), generator=torch.Generator().manual_seed(4))
    layers = ["features.norm0", "features.transition3.norm", "features.norm5"]
    theirs = explain_with_library(model, patch, layers, [1], "gradcam-library")
    ours = explain(model, patch, layers, [1])
    assert np.allclose(ours.logits, theirs.logits, atol=1e-5)
    for layer in layers:
        difference = ours.patch_map(layer, 0, 64) - theirs.patch_map(layer, 0, 64)
        assert np.abs(difference).max() < 1e-3, layer


def test_flat_and_mute_maps_are_flagged() -> None:
    tiny = Tiny().requires_grad_(False)
    tiny.classifier.weight.mul_(0)
    assert explain_with_library(tiny, PATCH, ["features.4"], [0], "gradcam-library").blind["features.4"] == (True,)
    mute = Tiny().requires_grad_(False)
    for value in mute.classifier.parameters():
        value.mul_(1e-6)
    assert explain_with_library(mute, PATCH, ["features.4"], [0, 1], "gradcam++").blind["features.4"] == (True, True)


def test_unknown_names() -> None:
    with pytest.raises(MolSubError, match=r"unknown value 'cam'.*gradcam, .*layercam"):
        explain_with_library(Tiny(), PATCH, ["features.4"], [0], "cam")
    with pytest.raises(MolSubError, match=r"unknown value 'features\.9'"):
        explain_with_library(Tiny(), PATCH, ["features.9"], [0], "layercam")


@pytest.mark.parametrize("method", METHODS)
def test_only_the_classless_methods_do_not_look_at_the_class(method: str) -> None:
    tiny = randomised(Tiny()).requires_grad_(False)
    first, second = explain_with_library(tiny, PATCH, ["features.1"], [0, 2], method).scaled["features.1"]
    assert np.array_equal(first, second) == (method in CLASSLESS)
