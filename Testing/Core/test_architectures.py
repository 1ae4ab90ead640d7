"""Every architecture the paper names: sizes, gradients, layouts, and the same function as torchvision's network."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from families import FIXED_SIZE, NAMES, NETWORKS, TORCHVISION, filled, patches, prepared, shortened
from torch import nn
from torchvision import models

from MolSubCore.errors import BundleError, MolSubError
from MolSubCore.models.registry import ARCHITECTURES, build_model, get_architecture, resolve_layer

#: torchvision's network, outputs and kernel area of its first convolution, inputs of its last layer.
SHAPES = {
    "resnet101": ("resnet101", 64, 7 * 7, 2048),
    "densenet121": ("densenet121", 64, 7 * 7, 1024),
    "densenet121-pre": ("densenet121", 64, 7 * 7, 1024),
    "densenet121-tcata": ("densenet121", 64, 7 * 7, 1024),
    "densenet121-cbam": ("densenet121", 64, 7 * 7, 1024),
    "mobilenetv2": ("mobilenet_v2", 32, 3 * 3, 1280),
    "mob-cbam": ("mobilenet_v3_small", 16, 3 * 3, 1024),
    "vit-b16": ("vit_b_16", 768, 16 * 16, 768),
}
ATTENDED = {"densenet121-cbam": (256, 512, 1024), "mob-cbam": (24, 24)}


def count(name: str, classes: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(name, classes).parameters())


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", SHAPES)
def test_as_many_parameters_as_torchvision_publishes(name: str, classes: int) -> None:
    """Two colours less in the stem, another number of classes, and attention: nothing else may differ."""
    builder, channels, area, inputs = SHAPES[name]
    published = models.get_model_weights(builder)["IMAGENET1K_V1"].meta["num_params"]
    expected = published - 2 * channels * area - (inputs + 1) * (1000 - classes)
    expected += sum(2 * wide * (wide // 16) + 2 * 7 * 7 for wide in ATTENDED.get(name, ()))
    assert count(name, classes) == expected


def test_the_simple_cnn_has_the_papers_size() -> None:
    weights = 16 * 9 + 32 * 16 * 9 + 32 * 56 * 56 * 128 + 128 * 5
    assert count("simple-cnn", 5) == weights + 16 + 32 + 128 + 5 == 12_850_629
    assert round(count("simple-cnn", 2) / 1e6, 2) == 12.85


def test_every_name_of_the_paper_is_there_and_no_other_is() -> None:
    assert set(ARCHITECTURES) == {*NAMES, "densenet121-cbam-text"}
    with pytest.raises(BundleError, match=r"unknown value 'resnet50'.*simple-cnn.*vit-b16"):
        get_architecture("resnet50")


@pytest.mark.parametrize("name", [*NETWORKS, "densenet121-cbam"])
@pytest.mark.parametrize("size", [224, 160])
def test_one_grey_channel_of_any_size_the_family_allows(name: str, size: int) -> None:
    with torch.device("meta"):
        model = build_model(name, 5).eval()
        if size != 224 and name in FIXED_SIZE:
            with pytest.raises(MolSubError, match=r"shape \(3, 1, 160, 160\), expected \(B, 1, 224, 224\)"):
                model(torch.zeros(3, 1, size, size))
        else:
            assert model(torch.zeros(3, 1, size, size)).shape == (3, 5)
        with pytest.raises((MolSubError, RuntimeError), match=r"channel|expected"):
            model(torch.zeros(3, 3, size, size))


@pytest.mark.parametrize("name", NETWORKS)
def test_eval_mode_repeats_itself_in_every_memory_layout(name: str) -> None:
    model, x = prepared(name), patches(name)
    with torch.no_grad():
        first, alone = model(x), model(x[1:])
        assert torch.equal(model(x[1:]), alone)
        layout = model.to(memory_format=torch.channels_last)(x[1:].contiguous(memory_format=torch.channels_last))
    assert torch.allclose(alone[0], first[1], rtol=1e-3, atol=1e-4)  # no patch sees its neighbour
    assert torch.allclose(layout, alone, rtol=1e-3, atol=1e-4)
    assert (first[0] - first[1]).abs().max() > 1e-2  # the logits do depend on the patch
    assert first.abs().max() < 1e3


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_drops_where_the_architecture_says(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, 2, dropout=0.45)
    found = {layer: module for layer, module in model.named_modules() if isinstance(module, nn.Dropout2d | nn.Dropout)}
    if name == "vit-b16":
        assert len(found) == 1 + 12 * 3
        assert {module.p for module in found.values()} == {0.45}
        return
    own = {layer for layer, module in found.items() if module.p == 0.45}
    assert own == {f"{ARCHITECTURES[name].wrapped[0]}.1"}
    assert isinstance(found[own.pop()], nn.Dropout2d)
    assert {module.p for layer, module in found.items() if not layer.endswith(".1") or "classifier" in layer} <= {0.2}


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "vit-b16"])
def test_whole_channels_are_dropped_in_training_only(name: str) -> None:
    with torch.device("meta"):
        layer = resolve_layer(build_model(name, 2, dropout=0.3), ARCHITECTURES[name].wrapped[0])
    torch.manual_seed(0)
    for value in layer.to_empty(device="cpu").parameters():
        nn.init.normal_(value)
    x = torch.randn(64, 64 if name == "resnet101" else 1, 16, 16)
    kept = layer.train()(x).abs().sum(dim=(2, 3)) > 0
    whole = layer.eval()(x).abs().sum(dim=(2, 3)) > 0
    assert whole.all()
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = filled(lambda: shortened(build_model(name, 5)), seed=2).train()
    x = patches(name, 1 if name == "vit-b16" else 3)
    loss = nn.functional.cross_entropy(model(x), torch.arange(len(x)))
    loss.backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().max() > 0, parameter


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fresh_model_draws_its_stem_as_he_et_al(name: str) -> None:
    """Variance 2 over the inputs of a place; torchvision's own rule, 1 over them, for the transformer."""
    if name in ("simple-cnn", "resnet101", "vit-b16"):
        stem = {"simple-cnn": "features.0.0", "resnet101": "conv1", "vit-b16": "conv_proj"}[name]
    else:
        stem = f"{ARCHITECTURES[name].stem}.0"
    torch.manual_seed(4)
    weight = resolve_layer(build_model(name, 2), stem).weight
    assert weight.shape[1] == 1
    gain = {"vit-b16": 1.0, "simple-cnn": 1 / 3}.get(name, 2.0)  # torch's own rule for a plain convolution
    assert weight.var().item() == pytest.approx(gain / weight[0].numel(), rel=0.35)


def test_a_random_model_is_decided_by_the_seed() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build_model("mob-cbam", 2).state_dict())
    assert all(torch.equal(value, states[0][key]) for key, value in states[1].items())
    assert not torch.equal(states[2]["features.0.0.0.weight"], states[0]["features.0.0.0.weight"])


@pytest.mark.parametrize("name", NAMES)
def test_the_registrys_layer_names_exist(name: str) -> None:
    known = ARCHITECTURES[name]
    with torch.device("meta"):
        model = build_model(name, 2)
    for layer in (*known.default_layers, known.head, *known.wrapped):
        resolve_layer(model, layer)
    assert resolve_layer(model, known.head).out_features == 2
    if name in TORCHVISION:
        with torch.device("meta"):
            plain = set(TORCHVISION[name](weights=None).state_dict())
        own = set(model.state_dict())
        assert {known.own_name(key) for key in plain} == {key for key in own if "l_attention." not in key}


def test_a_network_is_built_without_pytorchs_compiler_which_works_afterwards() -> None:
    """It takes longer to load than PyTorch and torchvision together."""
    program = """
import sys, torch
from MolSubCore.models.registry import build_model
model = build_model("densenet121-cbam", 2)
print("torch._dynamo" in sys.modules)
print(torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "2.0"]
