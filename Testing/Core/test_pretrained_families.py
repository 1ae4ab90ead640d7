"""ImageNet weights of every family: what arrives, what is left out, and what is said when they do not fit."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from families import NAMES, TORCHVISION, Weights, as_colours, filled, imagenet, patches, settled, shortened
from test_densenet_cbam import plain_cbam
from torch import nn
from torchvision import models

from MolSubCore.errors import BundleError
from MolSubCore.models.pretrained import NO_PRETRAINED, load_pretrained, read_pretrained
from MolSubCore.models.registry import ARCHITECTURES, build_model

#: Addresses in torchvision's table of weights (its documentation), by architecture.
FILES = {
    "resnet101": "resnet101-63fe2227",
    "densenet121-tcata": "densenet121-a639ec97",
    "densenet121-cbam": "densenet121-a639ec97",
    "mobilenetv2": "mobilenet_v2-b0353104",
    "mob-cbam": "mobilenet_v3_small-047dcff4",
    "vit-b16": "vit_b_16-c867db91",
    "densenet121-pre": "densenet121-a639ec97",
}
HEADS = {
    "resnet101": "fc",
    "densenet121": "classifier",
    "densenet121-pre": "classifier",
    "densenet121-tcata": "classifier",
    "densenet121-cbam": "classifier",
    "mobilenetv2": "classifier.1",
    "mob-cbam": "classifier.3",
    "vit-b16": "heads.head",
}
STEMS = {"resnet101": "conv1", "mobilenetv2": "features.0.0", "mob-cbam": "features.0.0", "vit-b16": "conv_proj"}
WRAPPERS = r"(features\.conv0|features\.denseblock[123]|layer1\.0\.conv1|features\.0\.0|features\.[23]\.block\.2)\.0\."


#: The layers that attention follows.
ATTENDED = {
    "densenet121-cbam": [f"features.denseblock{number}" for number in (1, 2, 3)],
    "mob-cbam": ["features.2.block.2", "features.3.block.2"],
}


def attended(module: nn.Module, put: object, output: torch.Tensor, *, weights: Weights, prefix: str) -> torch.Tensor:
    """A layer's output after attention, computed with functions only."""
    return plain_cbam(output, weights, prefix, with_max=True)


def plain_name(name: str, key: str) -> str:
    """torchvision's name of one of our weights."""
    if name == "mobilenetv2" or name.startswith(("res", "vit")):
        return re.sub(r"^(layer1\.0\.conv1|features\.0\.0)\.0\.", r"\1.", key)
    return re.sub(f"^{WRAPPERS}", r"\1.", key)


@pytest.fixture
def download(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The network, with random weights on its other end; gives the addresses that were asked for."""
    asked: list[str] = []
    builders = {FILES[name]: TORCHVISION[name] for name in FILES}

    def answer(self: models.WeightsEnum, *arguments: object, **named: object) -> Weights:
        asked.append(self.url)
        return dict(imagenet(builders[Path(self.url).stem]).state_dict())

    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", answer)
    return asked


@pytest.mark.parametrize("name", FILES, scope="module")
def test_every_backbone_weight_arrives(name: str, download: list[str]) -> None:
    model = filled(lambda: build_model(name, 2))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pretrained = read_pretrained(name, "auto")
    assert pretrained.name == "auto"
    assert download == [f"https://download.pytorch.org/models/{FILES[name]}.pth"]
    load_pretrained(model, pretrained)
    theirs = imagenet(TORCHVISION[name]).state_dict()
    stem = f"{STEMS.get(name, 'features.conv0')}.weight"
    taken = set()
    for key, value in model.state_dict().items():
        plain = plain_name(name, key)
        if plain == stem:
            mean = (theirs[stem][:, 0] + theirs[stem][:, 1] + theirs[stem][:, 2])[:, None] / 3
            expected = before[key] if name == "densenet121-pre" else mean
            assert torch.allclose(value, expected, atol=1e-7), key
        elif key.startswith(f"{HEADS[name]}.") or re.search(r"(channel|spatial)_attention", key):
            assert torch.equal(value, before[key]), key
        else:
            assert torch.equal(value, theirs[plain]), key
        taken.add(plain)
    assert {key for key in theirs if key not in taken} == set()  # but for attention nothing of theirs is left out


@pytest.mark.parametrize("name", [name for name in FILES if name != "densenet121-pre"], scope="module")
def test_the_loaded_network_computes_what_torchvisions_does(name: str, download: list[str]) -> None:
    """With the same head, on three equal channels of a third each: the mean over the colours is then exact."""
    theirs = imagenet(TORCHVISION[name])
    model = filled(lambda: build_model(name, 1000)).eval().requires_grad_(False)
    load_pretrained(model, read_pretrained(name, "auto"))
    own, head = model.get_submodule(HEADS[name]), theirs.get_submodule(HEADS[name])
    own.load_state_dict(head.state_dict())
    weights, hooks = model.state_dict(), []
    for layer in ATTENDED.get(name, ()):
        after = functools.partial(attended, weights=weights, prefix=f"{layer}.1")
        hooks.append(theirs.get_submodule(layer).register_forward_hook(after))
    x = patches(name)
    try:
        with torch.no_grad():
            other = copy.deepcopy(theirs) if name == "vit-b16" else theirs
            expected, found = shortened(other)(as_colours(x)), shortened(model)(x)
    finally:
        for hook in hooks:
            hook.remove()
    assert (found - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))
    assert (expected[0] - expected[1]).abs().max() > 1e-2


def test_old_names_of_the_transformers_file(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = imagenet(models.vit_b_16).state_dict()
    numbers = {"0": "1", "3": "2"}
    old = {
        re.sub(r"mlp\.([03])\.", lambda found: f"mlp.linear_{numbers[found[1]]}.", key): value
        for key, value in theirs.items()
    }
    assert len(set(old) - set(theirs)) == 12 * 4
    # torchvision's own module reads both names: the same renaming, by another hand.
    assert not models.vit_b_16(weights=None).load_state_dict(dict(old), strict=False, assign=True).unexpected_keys
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda *_, **__: old)
    fitted = read_pretrained("vit-b16", "auto").weights
    assert all(fitted[key] is value for key, value in theirs.items() if not key.startswith(("heads", "conv_proj.w")))


def test_torchvisions_own_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a download was made before, ``auto`` needs no network."""
    theirs = imagenet(models.mobilenet_v3_small).state_dict()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(theirs, tmp_path / "hub" / "checkpoints" / "mobilenet_v3_small-047dcff4.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fitted = read_pretrained("mob-cbam", "auto").weights
    assert torch.equal(fitted["features.12.0.weight"], theirs["features.12.0.weight"])
    assert torch.equal(fitted["features.2.block.2.0.0.weight"], theirs["features.2.block.2.0.weight"])


@pytest.mark.parametrize("name", NAMES)
def test_from_scratch_means_no_weights(name: str, tmp_path: Path) -> None:
    assert read_pretrained(name, "none") is NO_PRETRAINED
    if name in FILES:
        return
    assert read_pretrained(name, "auto") is NO_PRETRAINED  # and no network is asked
    with pytest.raises(BundleError, match=rf"{name} is trained from scratch.*densenet121-tcata"):
        read_pretrained(name, str(tmp_path / "w.pth"))


@pytest.mark.parametrize("source", ["auto", "none", "w.pth"])
def test_an_unknown_architecture_is_told_at_once(source: str) -> None:
    with pytest.raises(BundleError, match="unknown value 'vgg16'"):
        read_pretrained("vgg16", source)


@pytest.mark.parametrize("name", FILES)
def test_messages_name_the_right_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    address = re.escape(f"https://download.pytorch.org/models/{FILES[name]}.pth")
    with pytest.raises(BundleError, match=rf"no network.*{address}.*--pretrained FILE.*--pretrained none"):
        read_pretrained(name, "auto")
    (tmp_path / "w.pth").write_text("hello")
    with pytest.raises(BundleError, match=rf"w\.pth.*{address}"):
        read_pretrained(name, str(tmp_path / "w.pth"))
    torch.save({"first.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(BundleError, match=rf"weight first\.weight is unknown.*torchvision's {FILES[name][:-9]} "):
        read_pretrained(name, str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vit-b16", "encoder.layers.encoder_layer_7.self_attention.in_proj_weight"),
        ("vit-b16", "conv_proj.bias"),
        ("mob-cbam", "classifier.0.weight"),
        ("mob-cbam", "features.2.block.2.0.weight"),
        ("densenet121-pre", "features.conv0.weight"),
    ],
)
def test_what_is_missing_is_named(name: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        theirs = dict(TORCHVISION[name](weights=None).state_dict())
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda *_, **__: theirs)
    assert read_pretrained(name, "auto").weights
    bent = theirs.pop(key)
    with pytest.raises(BundleError, match=rf"lacks 1 weights, first {re.escape(ARCHITECTURES[name].own_name(key))}"):
        read_pretrained(name, "auto")
    for wrong in (torch.zeros(3), torch.tensor(1.0), bent.new_zeros((*bent.shape, 2))):
        theirs[key] = wrong
        with pytest.raises(BundleError, match=rf"weight {re.escape(key)} has shape .*expected"):
            read_pretrained(name, "auto")


def test_pretrained_weights_change_what_is_trained(download: list[str]) -> None:
    """A guard against loading nothing without a word: the settled backbone is another one than before."""
    model = filled(lambda: build_model("mobilenetv2", 2))
    x = patches("mobilenetv2")
    before = settled(model, x)(x)
    load_pretrained(model, read_pretrained("mobilenetv2", "auto"))
    assert not torch.allclose(model.eval()(x), before, atol=1e-3)
    assert isinstance(model, nn.Module)
