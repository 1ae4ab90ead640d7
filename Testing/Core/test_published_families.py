"""Import of checkpoints of the paper's other architectures, saved as its code builds them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command_line import failing
from families import TORCHVISION, filled, patches, settled
from published_network import published_module
from torch import nn

from MolSubCore.__main__ import main
from MolSubCore.errors import BundleError
from MolSubCore.models.bundle import read_bundle
from MolSubCore.models.card import read_card
from MolSubCore.models.published import import_published, read_published
from MolSubCore.models.registry import ARCHITECTURES

NAMES = ("simple-cnn", "densenet121-tcata", "mobilenetv2", "mob-cbam")


class PublishedCNN(nn.Module):
    """The published simple network, before its code adds dropout."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second = nn.Conv2d(1, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 1, 1)
        pools = nn.MaxPool2d(2, 2), nn.MaxPool2d(2, 2)
        self.features = nn.Sequential(first, nn.ReLU(True), pools[0], second, nn.ReLU(True), pools[1])
        self.classifier = nn.Sequential(nn.Linear(32 * 56 * 56, 128), nn.ReLU(True), nn.Linear(128, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Patches (B, 1, 224, 224) to logits."""
        x = self.features(x)
        logits: torch.Tensor = self.classifier(x.view(x.size(0), -1))
        return logits


def bare(name: str, classes: int, attention: type[nn.Module]) -> nn.Module:
    """The network without dropout: torchvision's with a new stem, and attention where the published code puts it."""
    if name == "simple-cnn":
        return PublishedCNN(classes)
    network = TORCHVISION[name](weights=None, num_classes=classes)
    if name == "resnet101":
        network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    elif name == "densenet121-tcata":
        network.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    else:
        network.features[0][0] = nn.Conv2d(1, 32 if name == "mobilenetv2" else 16, 3, 2, 1, bias=False)
    if name == "mob-cbam":
        for block in (2, 3):
            steps = network.features[block].block
            steps[2] = nn.Sequential(steps[2], attention(24))
    return network


def with_dropout(name: str, network: nn.Module) -> nn.Module:
    """Channel dropout where the published code adds it."""
    if name == "resnet101":
        network.layer1[0].conv1 = nn.Sequential(network.layer1[0].conv1, nn.Dropout2d(0.3))
    elif name == "densenet121-tcata":
        network.features.conv0 = nn.Sequential(network.features.conv0, nn.Dropout2d(0.3))
    elif name == "simple-cnn":
        network.features[0] = nn.Sequential(network.features[0], nn.Dropout2d(0.3))
    else:
        network.features[0][0] = nn.Sequential(network.features[0][0], nn.Dropout2d(0.3))
    return network


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[nn.Module]]:
    """The published attention."""
    found: type[nn.Module] = published_module(tmp_path_factory.mktemp("code")).CBAM
    yield found
    sys.modules.pop("mob_cbam", None)


@pytest.mark.parametrize("name", NAMES)
def test_the_bundle_gives_the_same_logits(
    name: str, attention: type[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole module with dropout, and the names of one without: both are read, nothing is run."""
    x = patches(name)
    network = settled(filled(lambda: bare(name, 5, attention), seed=4), patches(name, 4, seed=9)).requires_grad_(False)
    plain = dict(network.state_dict())
    with torch.no_grad():
        logits = network(x)
    file = tmp_path / "published.pth"
    torch.save(with_dropout(name, network).eval(), file)
    monkeypatch.delitem(sys.modules, "mob_cbam")  # as on a user's machine, which does not have it
    bundle = read_bundle(import_published(file, "subtype5", tmp_path / "m", architecture=name))
    found = bundle.logits(x)[0]
    # A hundred layers in another memory layout: rounding, where another weight would give another number.
    assert (found - logits).abs().max() < 1e-3 * max(1.0, float(logits.abs().max()))
    assert (logits[0] - logits[1]).abs().max() > 1e-2
    assert (bundle.card["architecture"], bundle.card["recipe"]["name"]) == (name, "published-2025")
    torch.save(plain, file)
    again = read_published(file, name)
    expected = bundle.models[0].state_dict()
    assert list(again) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in again.items())


def test_the_residual_networks_dropout_lies_in_its_first_block(attention: type[nn.Module], tmp_path: Path) -> None:
    """Too large for a bundle in a quick test: names and weights, of both forms."""
    network = filled(lambda: bare("resnet101", 2, attention))
    plain, file = dict(network.state_dict()), tmp_path / "published.pth"
    torch.save(with_dropout("resnet101", network), file)
    found = read_published(file, "resnet101")
    assert len(found) == len(plain)
    for (ours, value), (theirs, expected) in zip(found.items(), plain.items(), strict=True):
        assert ours.replace("layer1.0.conv1.0.", "layer1.0.conv1.") == theirs
        assert torch.equal(value, expected), ours
    torch.save(plain, file)
    again = read_published(file, "resnet101")
    assert list(again) == list(found)
    assert torch.equal(again["layer1.0.conv1.0.weight"], plain["layer1.0.conv1.weight"])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, attention: type[nn.Module]) -> Path:
    """A binary MOB-CBAM as a state_dict."""
    file = tmp_path_factory.mktemp("small") / "mob.pth"
    torch.save(with_dropout("mob-cbam", filled(lambda: bare("mob-cbam", 2, attention))).state_dict(), file)
    return file


def test_the_command_line_imports_any_of_them(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mob.molsub"
    common = ["models", "import", str(small), "--task", "tn", "--out", str(out)]
    assert "not a DenseNet121-CBAM" in failing(capsys, *common)  # what it is of must be said
    assert "unknown value 'mob'" in failing(capsys, *common, "--architecture", "mob")
    assert not out.exists()
    assert main([*common, "--architecture", "mob-cbam"]) == 0
    assert "MOB-CBAM by name and shape" in capsys.readouterr().out
    card = read_card(out)
    assert card["architecture"] == "mob-cbam"
    assert card["classes"] == ["non-TN", "TN"]
    assert read_bundle(out).logits(patches("mob-cbam")).shape == (1, 2, 2)


def test_another_network_is_refused_by_its_first_wrong_key(small: Path, tmp_path: Path) -> None:
    state = torch.load(small, weights_only=True)
    other = tmp_path / "other.pth"
    for name, first in (
        ("mobilenetv2", "features.1.conv.0.0.weight is missing"),
        ("resnet101", "conv1.weight is missing"),
        ("vit-b16", "class_token is missing"),
        ("simple-cnn", "features.0.0.weight is missing"),
    ):
        with pytest.raises(BundleError, match=rf"is not a {ARCHITECTURES[name].title}: {re.escape(first)}"):
            read_published(small, name)
    key = "features.3.block.2.1.channel_attention.fc1.weight"
    without = {name: value for name, value in state.items() if "attention" not in name}
    for changed, message in (
        (without, "features.2.block.2.1.channel_attention.fc1.weight is missing (6 such)"),
        (state | {key: torch.zeros(2, 24, 1, 1)}, f"{key} has shape (2, 24, 1, 1), expected (1, 24, 1, 1)"),
        (
            state | {"features.0.0.0.weight": torch.zeros(16, 3, 3, 3)},
            "has shape (16, 3, 3, 3), expected (16, 1, 3, 3)",
        ),
        (state | {"head.weight": torch.zeros(1)}, "head.weight is unknown"),
    ):
        torch.save(changed, other)
        with pytest.raises(BundleError, match=re.escape(message)):
            read_published(other, "mob-cbam")


def test_the_published_transformer_is_another_and_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "vit.pth"
    names = ("transformer.embeddings.cls_token", "transformer.embeddings.patch_embeddings.weight", "head.weight")
    torch.save({name: torch.zeros(2, 2) for name in names}, file)
    with pytest.raises(BundleError, match=r"not a ViT-B/16: class_token is missing"):
        import_published(file, "tn", tmp_path / "m", architecture="vit-b16")


def test_what_was_never_published_is_refused(small: Path) -> None:
    with pytest.raises(BundleError, match=r"densenet121-cbam-text, never published.*Use densenet121-cbam"):
        read_published(small, "densenet121-cbam-text")
