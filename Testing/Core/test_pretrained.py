"""ImageNet weights for one grey channel."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import densenet121

from MolSubCore.errors import BundleError
from MolSubCore.models.pretrained import load_pretrained, read_pretrained, weight_file
from MolSubCore.models.registry import build_model

NAME = "densenet121-cbam"


@pytest.fixture(scope="module")
def imagenet() -> dict[str, torch.Tensor]:
    """Weights of torchvision's form; random, as the real ones cannot be had offline."""
    torch.manual_seed(5)
    return {key: value.clone() for key, value in densenet121(weights=None).state_dict().items()}


def old_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As torchvision's file has them: ``norm.1`` for ``norm1``, no counters."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value
        for key, value in weights.items()
        if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("form", ["pth", "old pth", "safetensors"])
def test_every_backbone_weight_arrives(tmp_path: Path, imagenet: dict[str, torch.Tensor], form: str) -> None:
    file = tmp_path / f"w.{form.split()[-1]}"
    weights = old_names(imagenet) if form == "old pth" else imagenet
    save_file(weights, file) if form == "safetensors" else torch.save(weights, file)
    model = build_model(NAME, 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pretrained = read_pretrained(NAME, str(file))
    assert pretrained.name == hashlib.sha256(file.read_bytes()).hexdigest()
    load_pretrained(model, pretrained)
    for key, value in model.state_dict().items():
        plain = re.sub(r"(conv0|denseblock[123])\.0\.", r"\1.", key)
        if "attention" in key or key.startswith("classifier"):
            assert torch.equal(value, before[key]), key
        elif plain == "features.conv0.weight":
            assert torch.allclose(value, imagenet[plain].mean(dim=1, keepdim=True))
        elif not key.endswith("num_batches_tracked"):
            assert torch.equal(value, imagenet[plain]), key


def test_no_network_names_both_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(BundleError) as caught:
        read_pretrained(NAME, "auto")
    assert "--pretrained FILE" in str(caught.value)
    assert "--pretrained none" in str(caught.value)


def test_nothing_is_downloaded_unasked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, imagenet: dict[str, torch.Tensor]
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(BundleError, match=r"not on this computer.*--pretrained auto.*--pretrained FILE.*none"):
        read_pretrained(NAME, "kept")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(imagenet, tmp_path / "hub" / "checkpoints" / weight_file("densenet121"))
    kept = read_pretrained(NAME, "kept")
    assert kept.name == "auto" and torch.equal(kept.weights["features.norm5.weight"], imagenet["features.norm5.weight"])


def test_wrong_files_are_named(tmp_path: Path, imagenet: dict[str, torch.Tensor]) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        read_pretrained(NAME, str(tmp_path / "missing.pth"))
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(BundleError, match=r"text\.pth"):
        read_pretrained(NAME, str(tmp_path / "text.pth"))
    extra = imagenet | {"features.extra.weight": torch.zeros(1)}
    short = {k: v for k, v in imagenet.items() if "denselayer3.conv1" not in k}
    bent = imagenet | {"features.norm5.weight": torch.zeros(7)}
    for weights, word in ((extra, "features.extra.weight"), (short, "denselayer3.conv1"), (bent, r"shape \(7,\)")):
        torch.save(weights, tmp_path / "w.pth")
        with pytest.raises(BundleError, match=word):
            read_pretrained(NAME, str(tmp_path / "w.pth"))
