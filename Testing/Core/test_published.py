"""Import of published checkpoints, against the network they were saved from."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from published_network import published_module, published_network, rewritten
from torch import nn
from torchvision.models import densenet121

from MolSubCore.errors import BundleError
from MolSubCore.models.bundle import read_bundle
from MolSubCore.models.card import card_lines, read_card
from MolSubCore.models.published import import_published, read_published

PATCHES = torch.randn((2, 1, 64, 96), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def saved_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Path], torch.Tensor]]:
    """One five-class network saved in every form the published scripts may have used, and its logits."""
    folder = tmp_path_factory.mktemp("published")
    attention = published_module(folder).CBAM
    network = published_network(attention, 5)
    network.classifier.bias.grad = torch.ones(5)
    optimizer = torch.optim.AdamW(network.parameters())
    optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
        logits = network(PATCHES)
    state = network.state_dict()
    plain = {re.sub(r"^features\.conv0\.0\.", "features.conv0.", key): value for key, value in state.items()}
    forms = {
        "module": network,
        "state_dict": state,
        "no dropout": plain,
        "nested": {"optimizer": optimizer.state_dict(), "best": torch.tensor(0.9), "epoch": 3, "state_dict": state},
        "nested module": {"epoch": 3, "model": network},
        "parallel": OrderedDict((f"module.{key}", value) for key, value in state.items()),
        "parallel module": nn.DataParallel(network),
        "double": {key: value.double() if value.is_floating_point() else value for key, value in state.items()},
    }
    files = {}
    for name, value in forms.items():
        files[name] = folder / f"{name}.pth"
        torch.save(value, files[name])
    torch.save(network, folder / "protocol 4.pth", pickle_protocol=4)
    files["protocol 4"] = folder / "protocol 4.pth"
    location = (b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    files["cuda"] = rewritten(files["module"], folder / "cuda.pth", lambda data: data.replace(*location))
    del sys.modules["mob_cbam"]  # as on a user's machine, which does not have it
    yield files, logits


FORMS = ("module", "state_dict", "no dropout", "nested", "nested module", "parallel", "parallel module", "double",
         "protocol 4", "cuda")  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_weight_of_every_form(saved_files: tuple[dict[str, Path], torch.Tensor], form: str) -> None:
    files, _ = saved_files
    expected = torch.load(files["state_dict"], weights_only=True)
    found = read_published(files[form])
    assert len(found) == len(expected) == 736
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
        assert found[key].dtype == value.dtype
    assert "mob_cbam" not in sys.modules


@pytest.mark.parametrize("form", ["module", "no dropout"])
def test_the_bundle_gives_the_same_logits(
    saved_files: tuple[dict[str, Path], torch.Tensor], form: str, tmp_path: Path
) -> None:
    files, logits = saved_files
    bundle = read_bundle(import_published(files[form], "subtype5", tmp_path / "ms.molsub"))
    found = bundle.logits(PATCHES)[0]
    assert (found - logits).abs().max() < 1e-5 * max(1.0, float(logits.abs().max()))
    assert logits.std() > 0.05  # the networks are not both mute
    assert sum(p.numel() for p in bundle.models[0].parameters()) == 7_125_035
    assert bundle.card["recipe"]["name"] == "published-2025"
    assert bundle.card["classes"] == ["Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN"]


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("binary")
    network = published_network(published_module(folder).CBAM, 2)
    assert sum(p.numel() for p in network.parameters()) == 7_121_960
    torch.save(network, folder / "prefered_model_for_tn.pth")
    return folder / "prefered_model_for_tn.pth"


@pytest.mark.parametrize(
    ("task", "classes", "positive", "verified"),
    [
        ("tn", ["non-TN", "TN"], "TN", True),
        ("her2", ["HER2-positive", "HER2-negative"], "HER2-positive", True),
        ("luminal", ["Luminal", "non-Luminal"], "Luminal", False),
    ],
)
def test_class_orders_of_the_binary_tasks(
    binary: Path, tmp_path: Path, task: str, classes: list[str], positive: str, verified: bool
) -> None:
    card = read_card(import_published(binary, task, tmp_path / "m"))
    assert (card["classes"], card["positive"], card["class_order_verified"]) == (classes, positive, verified)
    assert ("NOT VERIFIED" in "\n".join(card_lines(card))) is not verified
    assert bool(card["warnings"]) is (task != "tn")


def test_another_class_order_is_recorded(binary: Path, tmp_path: Path) -> None:
    order = ["non-Luminal", " Luminal"]
    card = read_card(import_published(binary, "luminal", tmp_path / "m", class_order=order))
    assert card["classes"] == ["non-Luminal", "Luminal"]
    assert card["class_order_source"] == "given by the user"
    assert card["class_order_verified"] is True
    assert card["warnings"] == []
    swapped = ["HER2-negative", "HER2-positive"]
    assert read_card(import_published(binary, "her2", tmp_path / "h", class_order=swapped))["classes"] == swapped
    for wrong in (["Luminal"], ["Luminal", "Luminal"], ["TN", "non-TN"]):
        with pytest.raises(BundleError, match="Give each of"):
            import_published(binary, "luminal", tmp_path / "w", class_order=wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h", "m"]


def test_what_does_not_fit_is_named(binary: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"2 classes.*subtype5 has 5"):
        import_published(binary, "subtype5", tmp_path / "w.molsub")
    other = tmp_path / "densenet.pth"
    torch.save(densenet121(weights=None).state_dict(), other)
    with pytest.raises(BundleError, match=r"not a DenseNet121-CBAM: features\.denseblock1\.0\.denselayer1"):
        import_published(other, "tn", tmp_path / "w.molsub")
    state = read_published(binary)
    key = "features.denseblock2.1.spatial_attention.conv1.weight"
    for change, message in (
        ({key: torch.zeros(1, 1, 7, 7)}, rf"{re.escape(key)} has shape \(1, 1, 7, 7\), expected \(1, 2, 7, 7\)"),
        ({"classifier.weight": torch.tensor(1.0)}, r"classifier\.weight has shape \(\)"),
        ({"features.extra": torch.zeros(1)}, r"features\.extra is unknown"),
        ({"features.norm5.bias": torch.full((1024,), torch.nan)}, "not finite"),
    ):
        torch.save(state | change, other)
        with pytest.raises(BundleError, match=message):
            import_published(other, "tn", tmp_path / "w.molsub")
    assert not (tmp_path / "w.molsub").exists()


def test_files_that_are_no_checkpoint(binary: Path, tmp_path: Path) -> None:
    legacy = tmp_path / "legacy.pth"
    torch.save({"classifier.weight": torch.zeros(2, 2)}, legacy, _use_new_zipfile_serialization=False)
    with pytest.raises(BundleError, match=r"legacy\.pth.*PyTorch before 1\.6"):
        read_published(legacy)
    data = binary.read_bytes()
    for name, content in (("cut.pth", data[: len(data) // 2]), ("empty.pth", b""), ("text.pth", b"weights")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BundleError, match=re.escape(name)):
            read_published(tmp_path / name)
    middle = len(data) // 2
    (tmp_path / "bit.pth").write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with pytest.raises(BundleError, match="CRC"):
        read_published(tmp_path / "bit.pth")
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(BundleError, match="is not a file"):
            read_published(path)
