"""DenseNet121-CBAM against an independent plain re-implementation, and its layout."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from MolSubCore.errors import MolSubError
from MolSubCore.models.networks.layers import CBAM
from MolSubCore.models.registry import ARCHITECTURES, build_model, resolve_layer

Weights = dict[str, torch.Tensor]


def plain_cbam(x: torch.Tensor, w: Weights, prefix: str, *, with_max: bool) -> torch.Tensor:
    """CBAM with functions only, as the published code computes it."""
    pools = [functional.adaptive_avg_pool2d(x, 1)] + ([functional.adaptive_max_pool2d(x, 1)] if with_max else [])
    mlp = [
        functional.conv2d(
            functional.relu(functional.conv2d(pool, w[f"{prefix}.channel_attention.fc1.weight"])),
            w[f"{prefix}.channel_attention.fc2.weight"],
        )
        for pool in pools
    ]
    x = torch.sigmoid(torch.stack(mlp).sum(dim=0)) * x
    both = torch.cat([torch.mean(x, dim=1, keepdim=True), torch.max(x, dim=1, keepdim=True)[0]], dim=1)
    return torch.sigmoid(functional.conv2d(both, w[f"{prefix}.spatial_attention.conv1.weight"], padding=3)) * x


def plain_densenet121_cbam(x: torch.Tensor, w: Weights, *, with_max: bool = True) -> torch.Tensor:
    """The whole network in eval mode, with functions only."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return functional.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5)

    x = functional.conv2d(x, w["features.conv0.0.weight"], stride=2, padding=3)
    x = functional.max_pool2d(functional.relu(norm(x, "features.norm0")), 3, 2, 1)
    for block, layers in enumerate((6, 12, 24, 16), start=1):
        name = f"features.denseblock{block}" + (".0" if block < 4 else "")
        for layer in range(1, layers + 1):
            inner = f"{name}.denselayer{layer}"
            new = functional.conv2d(functional.relu(norm(x, f"{inner}.norm1")), w[f"{inner}.conv1.weight"])
            new = functional.conv2d(functional.relu(norm(new, f"{inner}.norm2")), w[f"{inner}.conv2.weight"], padding=1)
            x = torch.cat([x, new], dim=1)
        if block < 4:
            x = plain_cbam(x, w, f"features.denseblock{block}.1", with_max=with_max)
            x = functional.relu(norm(x, f"features.transition{block}.norm"))
            x = functional.avg_pool2d(functional.conv2d(x, w[f"features.transition{block}.conv.weight"]), 2, 2)
    x = functional.adaptive_avg_pool2d(functional.relu(norm(x, "features.norm5")), 1).flatten(1)
    return functional.linear(x, w["classifier.weight"], w["classifier.bias"])


def randomised(architecture: str, classes: int, seed: int = 0) -> torch.nn.Module:
    """A model whose normalisations and attention are far from their initial values."""
    torch.manual_seed(seed)
    model = build_model(architecture, classes).eval()
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif name.endswith(("running_var", "norm1.weight", "norm2.weight", "norm.weight")):
            value.uniform_(0.7, 1.4)
        elif "attention" in name:
            value.normal_(0, 0.3)
    return model


@pytest.mark.parametrize(("architecture", "with_max"), [("densenet121-cbam", True), ("densenet121-cbam-text", False)])
def test_same_logits_as_the_plain_implementation(architecture: str, with_max: bool) -> None:
    model = randomised(architecture, 5)
    x = torch.randn((2, 1, 96, 96), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model(x)
        theirs = plain_densenet121_cbam(x, model.state_dict(), with_max=with_max)
        other = plain_densenet121_cbam(x, model.state_dict(), with_max=not with_max)
        layout = model.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(ours, theirs, atol=2e-4)
    assert torch.allclose(layout, theirs, atol=2e-4)
    assert not torch.allclose(ours, other, atol=1e-3)


@pytest.mark.parametrize(("classes", "parameters"), [(5, 7_125_035), (2, 7_121_960)])
def test_published_sizes_and_names(classes: int, parameters: int) -> None:
    model = build_model("densenet121-cbam", classes)
    state = model.state_dict()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(state) == 736
    assert state["features.conv0.0.weight"].shape == (64, 1, 7, 7)
    for block, channels in ((1, 256), (2, 512), (3, 1024)):
        prefix = f"features.denseblock{block}.1"
        assert state[f"{prefix}.channel_attention.fc1.weight"].shape == (channels // 16, channels, 1, 1)
        assert state[f"{prefix}.channel_attention.fc2.weight"].shape == (channels, channels // 16, 1, 1)
        assert state[f"{prefix}.spatial_attention.conv1.weight"].shape == (1, 2, 7, 7)
    assert state["classifier.weight"].shape == (classes, 1024)


def test_dropout_drops_whole_channels_in_training_only() -> None:
    torch.manual_seed(0)
    model = build_model("densenet121-cbam", 2, dropout=0.3)
    stem = resolve_layer(model, "features.conv0")
    x = torch.randn(1, 1, 64, 64)
    kept = (stem.train()(x).abs().sum(dim=(2, 3)) > 0).float().mean().item()
    assert 0.5 < kept < 0.9
    assert (stem.eval()(x).abs().sum(dim=(2, 3)) > 0).all()


def test_attention_is_a_weight_between_0_and_1() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 32, 9, 9)
    ratio = CBAM(32)(x) / x
    assert ratio.min() >= 0
    assert ratio.max() <= 1
    # One weight per channel times one per position: every channel's map is the same up to a factor.
    first = ratio[:, :1] / ratio[:, :1, :1, :1]
    assert torch.allclose(ratio / ratio[:, :, :1, :1], first.expand_as(ratio), rtol=1e-3)


def test_layers_by_name() -> None:
    model = build_model("densenet121-cbam", 2)
    for name in ARCHITECTURES["densenet121-cbam"].default_layers:
        assert resolve_layer(model, name) is not None
    with pytest.raises(MolSubError, match=r"features\.denseblock4"):
        resolve_layer(model, "features.denseblok4")
    with pytest.raises(MolSubError, match="densenet121-cbam"):
        build_model("densenet", 2)
