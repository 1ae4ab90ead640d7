"""One-pass Grad-CAM against the grad-cam library, closed forms, and what it must leave alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from tiny_network import Tiny, randomised
from torch import nn

from MolSubCore.errors import MolSubError
from MolSubCore.explain.gradcam import Maps, explain, stretch
from MolSubCore.models.registry import build_model

PUBLISHED = (
    "features.pool0", "features.denseblock1.0", "features.denseblock1.1", "features.transition1",
    "features.denseblock2.0", "features.denseblock2.1", "features.transition2", "features.denseblock3.0",
    "features.denseblock3.1", "features.transition3", "features.denseblock4",
)  # fmt: skip
#: Each is followed by an in-place ReLU.
BEFORE_IN_PLACE = (
    "features.norm0", "features.denseblock1.0.denselayer1.norm1", "features.denseblock1.0.denselayer2.norm2",
    "features.transition1.norm", "features.denseblock4.denselayer16.norm2",
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return randomised(build_model("densenet121-cbam", 5)).requires_grad_(False)


@pytest.fixture(scope="module")
def patch() -> torch.Tensor:
    return torch.randn((1, 1, 96, 96), generator=torch.Generator().manual_seed(2))


def library_maps(model: nn.Module, patch: torch.Tensor, layers: Sequence[str], index: int) -> list[np.ndarray]:
    """The grad-cam library's map of every layer for one class, at the patch's resolution."""
    cam = GradCAM(model, [model.get_submodule(name) for name in layers])  # in the order of the forward pass
    targets = [ClassifierOutputTarget(index)]
    asked = patch.clone().requires_grad_(True)
    cam(asked, targets)
    maps = [cam.aggregate_multi_layers([one])[0] for one in cam.compute_cam_per_layer(asked, targets, False)]
    cam.activations_and_grads.release()
    return maps


def test_all_published_layers_and_classes_as_the_library(model: nn.Module, patch: torch.Tensor) -> None:
    layers = (*PUBLISHED, "features.norm5")
    maps = explain(model, patch, layers, range(5))
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(maps.logits), model(patch)[0], atol=1e-5)
    alive = 0
    for index in range(5):
        for layer, theirs in zip(layers, library_maps(model, patch, layers, index), strict=True):
            ours = maps.patch_map(layer, index, 96)
            assert ours.shape == theirs.shape == (96, 96)
            assert np.abs(ours - theirs).max() < 1e-3, (layer, index)
            alive += theirs.max() > 0.9
    assert alive > 40  # of 60: agreement on empty maps would prove nothing
    # The order asked for does not matter, nor what else is asked for.
    alone = explain(model, patch, ["features.denseblock3.1"], [3])
    assert np.allclose(alone.raw["features.denseblock3.1"][0], maps.raw["features.denseblock3.1"][3], atol=1e-6)
    turned = explain(model, patch, layers[::-1], [4, 0, 4])
    for layer in layers:
        assert np.allclose(turned.raw[layer], maps.raw[layer][[4, 0, 4]], rtol=1e-3, atol=1e-6)


def test_layers_before_an_in_place_operation(model: nn.Module, patch: torch.Tensor) -> None:
    careful = copy.deepcopy(model)
    for module in careful.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    maps = explain(model, patch, BEFORE_IN_PLACE, [2])
    for layer, theirs in zip(BEFORE_IN_PLACE, library_maps(careful, patch, BEFORE_IN_PLACE, 2), strict=True):
        assert np.abs(maps.patch_map(layer, 0, 96) - theirs).max() < 1e-3, layer
    assert all(maps.scaled[layer].max() > 0.9 for layer in BEFORE_IN_PLACE)


def test_the_last_layer_gives_the_class_activation_map() -> None:
    """Zhou et al., 2016: with pooling and one linear layer on top, Grad-CAM is ReLU(w A) over the number of places."""
    tiny = Tiny().eval()
    patch = torch.randn((1, 1, 32, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        activation = tiny.features(patch)[0].numpy().astype(np.float64)
        logits = tiny(patch)[0].numpy()
    weights = tiny.classifier.weight.detach().numpy().astype(np.float64)
    maps = explain(tiny, patch, ["features.4", "features"], [2, 0])
    for position, index in enumerate((2, 0)):
        plain = (weights[index][:, None, None] * activation).sum(axis=0)
        expected = np.maximum(plain, 0) / plain.size
        assert np.allclose(maps.raw["features.4"][position], expected, atol=1e-6)
        assert np.allclose(maps.raw["features"][position], expected, atol=1e-6)
        assert plain.shape == (8, 12)
        # Before the ReLU the map adds up to the logit, but for the bias: the unit of a raw map is the logit's.
        assert plain.sum() / plain.size + tiny.classifier.bias[index].item() == pytest.approx(logits[index], abs=1e-5)


def test_log_odds_are_the_logit_less_the_others_and_no_matter_of_a_common_shift() -> None:
    """Of three classes: the gradient of the log-odds is that of the logit less the others', by their probabilities."""
    tiny, inputs = Tiny(), torch.rand((1, 1, 48, 48), generator=torch.Generator().manual_seed(1))
    layers = ["features.4", "features.1"]
    logits, weight = tiny(inputs)[0].detach(), tiny.classifier.weight.detach().clone()
    found = explain(tiny, inputs, layers, [1], target="log-odds")
    with torch.no_grad():
        tiny.classifier.weight += torch.linspace(-1, 1, 8)
    shifted = explain(tiny, inputs, layers, [1], target="log-odds")
    plain = explain(tiny, inputs, layers, [1])
    with torch.no_grad():
        others = torch.softmax(logits[[0, 2]], dim=0)
        tiny.classifier.weight[1] = weight[1] - others[0] * weight[0] - others[1] * weight[2]
    expected = explain(tiny, inputs, layers, [1])
    for layer in layers:
        assert found.raw is not None and shifted.raw is not None and plain.raw is not None and expected.raw is not None
        np.testing.assert_allclose(found.raw[layer], expected.raw[layer], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(shifted.raw[layer], found.raw[layer], rtol=1e-3, atol=1e-5)
        assert np.abs(plain.raw[layer] - found.raw[layer]).max() > 1e-3


def test_a_layer_before_in_place_by_hand() -> None:
    tiny = Tiny().eval()
    patch = torch.randn((1, 1, 32, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        activation = tiny.features[1](tiny.features[0](patch))
    leaf = activation.clone().requires_grad_(True)
    rest = tiny.features[4](tiny.features[3](torch.relu(leaf)))
    score = tiny.classifier(rest.mean(dim=(2, 3)))[0, 1]
    weights = torch.autograd.grad(score, leaf)[0].mean(dim=(2, 3), keepdim=True)
    expected = torch.relu((weights * activation).sum(dim=1))[0].numpy()
    assert (activation < 0).any()
    found = explain(tiny, patch, ["features.1", "features.2"], [1])
    assert np.allclose(found.raw["features.1"][0], expected, atol=1e-7)
    assert not np.allclose(found.raw["features.2"][0], expected, atol=1e-4)  # the ReLU's own map is another


def test_the_model_is_left_as_found(patch: torch.Tensor) -> None:
    tiny = Tiny().eval()
    tiny.features[0].weight.requires_grad_(False)
    tiny.features[1].train()
    tiny.classifier.weight.grad = torch.full_like(tiny.classifier.weight, 3.0)
    before = copy.deepcopy(tiny.state_dict()), [p.requires_grad for p in tiny.parameters()]
    tiny.features[1].eval()
    explain(tiny, patch, ["features.1", "features.3"], [0, 1])
    for wrong in (["features.1", "nothing"], ["features.1", "classifier"]):
        with pytest.raises(MolSubError):
            explain(tiny, patch, wrong, [0])
    assert all(torch.equal(value, before[0][name]) for name, value in tiny.state_dict().items())
    assert [p.requires_grad for p in tiny.parameters()] == before[1]
    assert not any(module._forward_hooks or module._backward_hooks for module in tiny.modules())
    grads = {name: p.grad for name, p in tiny.named_parameters()}
    assert torch.equal(grads.pop("classifier.weight"), torch.full_like(tiny.classifier.weight, 3.0))
    assert all(value is None for value in grads.values())
    assert not patch.requires_grad
    assert patch.grad is None


def test_one_forward_pass_and_a_short_backward_pass(model: nn.Module, patch: torch.Tensor) -> None:
    passes = []
    handles = [model.register_forward_hook(lambda *_: passes.append("model"))]
    handles.append(model.features.conv0.register_forward_hook(lambda *_: passes.append("stem")))
    try:
        with torch.autograd.profiler.profile() as last:
            explain(model, patch, ["features.norm5", "features.denseblock4"], range(5))
        with torch.autograd.profiler.profile() as middle:
            explain(model, patch, ["features.denseblock4", "features.denseblock3.1"], [0])
    finally:
        for handle in handles:
            handle.remove()
    assert passes == ["stem", "model"] * 2

    def convolutions(profile: torch.autograd.profiler.profile) -> int:
        return sum(event.name == "aten::convolution_backward" for event in profile.function_events)

    # No convolution lies between the last dense block and the logits; 33 between the third and there.
    assert convolutions(last) == 0
    assert convolutions(middle) == 1 + 2 * 16


def test_unknown_and_unfit_layers(model: nn.Module, patch: torch.Tensor) -> None:
    with pytest.raises(MolSubError, match=r"unknown value 'features\.denseblock5'.*features\.denseblock4"):
        explain(model, patch, ["features.denseblock5"], [0])
    with pytest.raises(MolSubError, match=r"classifier gives a tensor of shape \(1, 5\)"):
        explain(model, patch, ["classifier"], [0])
    with pytest.raises(MolSubError, match="unknown value ''"):
        explain(model, patch, [""], [0])


def test_the_class_with_the_largest_logit_is_the_default(model: nn.Module, patch: torch.Tensor) -> None:
    maps = explain(model, patch, ["features.norm5"])
    assert maps.classes == (int(maps.logits.argmax()),)


@pytest.mark.parametrize("factor", [1e-6, 0.0, float("nan")])
def test_a_blind_map_is_flagged(model: nn.Module, patch: torch.Tensor, factor: float) -> None:
    layers = ("features.denseblock3.1", "features.norm5")
    sighted = explain(model, patch, layers, range(5))
    mute = copy.deepcopy(model)
    mute.classifier.weight.mul_(factor)  # the bias stays: the prediction looks as sure as before
    blind = explain(mute, patch, layers, range(5))
    for layer in layers:
        assert blind.blind[layer] == (True,) * 5
        assert not any(sighted.blind[layer][n] for n in range(5) if sighted.raw[layer][n].max() > 1e-4)
        assert not all(sighted.blind[layer])


def test_a_bright_map_without_evidence_is_flagged() -> None:
    """What the flag is for: 5e-5 of a logit in all, stretched to full brightness."""
    tiny, patch = Tiny(), torch.randn((1, 1, 48, 48), generator=torch.Generator().manual_seed(1))
    evidence = explain(tiny, patch, ["features.4"], range(3)).raw["features.4"].sum(axis=(1, 2)).max()
    tiny.classifier.weight.data.mul_(5e-5 / evidence)
    faint = explain(tiny, patch, ["features.4"], range(3))
    assert faint.scaled["features.4"].max() > 0.8
    assert faint.blind["features.4"] == (True,) * 3


def maps_of(raw: np.ndarray, blind: bool, *, with_raw: bool = True) -> Maps:
    raw = raw.astype(np.float32)[None]
    flags = {"a": (blind,)}
    return Maps(("a",), (0,), {"a": raw} if with_raw else None, {"a": stretch(raw)}, flags, np.array([1.0, 3.0]))


def test_the_mean_over_members_weighs_evidence_not_brightness() -> None:
    strong, weak = np.array([[8.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 1.0]])
    mean = Maps.mean([maps_of(strong, False), maps_of(weak, True)])
    assert np.allclose(mean.raw["a"][0], [[4, 0], [0, 0.5]])
    assert np.allclose(mean.scaled["a"][0], [[1, 0], [0, 0.125]], atol=1e-6)
    assert mean.blind == {"a": (False,)}
    assert Maps.mean([maps_of(weak, True)] * 2).blind == {"a": (True,)}
    scaled = Maps.mean([maps_of(strong, False, with_raw=False), maps_of(weak, False, with_raw=False)])
    assert scaled.raw is None
    assert np.allclose(scaled.scaled["a"][0], [[0.5, 0], [0, 0.5]], atol=1e-6)
