"""Bundles: what is written comes back, what is broken or hostile is a BundleError."""

from __future__ import annotations

import json
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load
from scipy.special import softmax
from tiny_network import randomised

from MolSubCore.errors import BundleError, MolSubError
from MolSubCore.files import MANIFEST, write_json
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import read_bundle, write_bundle
from MolSubCore.models.card import card_lines, find_bundle, read_card, scan_library
from MolSubCore.models.registry import build_model
from MolSubCore.statistics.calibration import CalibrationMap, ClassShares

PATCHES = torch.randn((2, 1, 64, 64), generator=torch.Generator().manual_seed(0))
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def members() -> list[Weights]:
    torch.manual_seed(0)
    return [dict(randomised(build_model("densenet121-cbam", 2), seed).state_dict()) for seed in (0, 1)]


def written(path: Path, members: list[Weights], **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "architecture": "densenet121-cbam", "task": "tn", "classes": ["non-TN", "TN"], "dropout": 0.3,
        "recipe": get_recipe("default").to_dict(),
    }  # fmt: skip
    return write_bundle(path, members, **(arguments | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, members: list[Weights]) -> Path:
    return written(tmp_path_factory.mktemp("bundles") / "two", members)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A bundle of one member that a test may spoil."""
    target = tmp_path / "b"
    target.mkdir()
    (target / "model-1.safetensors").hardlink_to(folder / "model-1.safetensors")
    card = json.loads((folder / "bundle.json").read_text())
    write_json(target / "bundle.json", card | {"members": card["members"][:1]})
    return target


def test_round_trip_and_ensemble(folder: Path, members: list[Weights]) -> None:
    bundle = read_bundle(folder)
    for weights, model in zip(members, bundle.models, strict=True):
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        alone = []
        for weights in members:
            model = build_model("densenet121-cbam", 2).eval()
            model.load_state_dict(weights)
            alone.append(model(PATCHES).double().numpy())
    assert np.allclose(bundle.logits(PATCHES).numpy(), alone, atol=1e-5)
    expected = np.mean([softmax(logits, axis=1) for logits in alone], axis=0)
    assert np.allclose(bundle.probabilities(PATCHES).numpy(), expected, atol=1e-6)
    bundle.card["temperature"] = 0.25
    expected = np.mean([softmax(logits / 0.25, axis=1) for logits in alone], axis=0)
    assert np.allclose(bundle.probabilities(PATCHES).numpy(), expected, atol=1e-5)


def test_file_and_folder_hold_the_same_and_no_pickle(folder: Path, members: list[Weights], tmp_path: Path) -> None:
    file = written(tmp_path / "one.molsub", members[:1])
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["bundle.json", "model-1.safetensors"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        data = archive.read("model-1.safetensors")
    assert data == (folder / "model-1.safetensors").read_bytes()
    assert all(torch.equal(value, members[0][name]) for name, value in load(data).items())
    assert sorted(path.name for path in folder.iterdir()) == [
        MANIFEST, "bundle.json", "model-1.safetensors", "model-2.safetensors",
    ]  # fmt: skip
    assert b"pickle" not in data
    assert torch.equal(read_bundle(file).logits(PATCHES)[0], read_bundle(folder).logits(PATCHES)[0])
    with pytest.raises(MolSubError, match="exists already"):
        written(file, members[:1])
    written(file, members[:1], overwrite=True, task="luminal", classes=["Luminal", "non-Luminal"])
    assert read_card(file)["task"] == "luminal"
    text = "\n".join(card_lines(read_card(file)))
    assert "Luminal, non-Luminal" in text
    assert "esearch" in text


@pytest.mark.parametrize("name", ["x.molsub", "x"])
@pytest.mark.parametrize("fault", ["nan weight", "nan metric", "lambda"])
def test_a_failed_write_leaves_nothing(tmp_path: Path, members: list[Weights], name: str, fault: str) -> None:
    wrong = [members[0] | {"classifier.bias": torch.tensor([0.0, torch.nan])}]
    with pytest.raises((ValueError, TypeError)):
        if fault == "nan weight":
            written(tmp_path / name, wrong)
        else:
            written(tmp_path / name, members[:1], metrics={"auc": float("nan") if fault == "nan metric" else len})
    assert list(tmp_path.iterdir()) == []


CARDS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "version": (lambda card: card | {"format_version": 3}, "format version 3, this program reads 1 and 2"),
    "format": (lambda card: card | {"format": "x"}, "is not a molsub-bundle"),
    "list": (lambda card: [card], "is not a molsub-bundle"),
    "missing": (lambda card: {k: v for k, v in card.items() if k != "recipe"}, "lacks recipe"),
    "task": (lambda card: card | {"task": "grade"}, "task grade"),
    "task kind": (lambda card: card | {"task": ["tn"]}, "invalid value of 'task'"),
    "classes": (lambda card: card | {"classes": ["TN", "TN"]}, "classes"),
    "class kind": (lambda card: card | {"classes": [1, "TN"]}, r"'classes\[0\]'"),
    "misspelt positive": (lambda card: card | {"positive": "tn"}, "positive class 'tn', expected 'TN'"),
    "other positive": (lambda card: card | {"positive": "non-TN"}, "positive class 'non-TN', expected 'TN'"),
    "no positive": (lambda card: card | {"positive": None}, "positive class 'None', expected 'TN'"),
    "positive kind": (lambda card: card | {"positive": ["TN"]}, "invalid value of 'positive'"),
    "no members": (lambda card: card | {"members": []}, "0 members"),
    "members": (lambda card: card | {"members": card["members"] * 65}, "65 members"),
    "member kind": (lambda card: card | {"members": ["model-1.safetensors"]}, r"'members\[0\]'"),
    "dropout": (lambda card: card | {"dropout": "much"}, "'dropout'"),
    "huge": (lambda card: card | {"dropout": 10**400}, "'dropout'"),
    "temperature": (lambda card: card | {"temperature": -1}, "'temperature'"),
    "recipe": (lambda card: card | {"recipe": {"name": "x"}}, "'recipe.bound'"),
    "architecture": (lambda card: card | {"architecture": "vgg"}, "unknown value 'vgg'"),
    "sha": (lambda card: card | {"members": [card["members"][0] | {"sha256": "0" * 64}]}, "SHA-256"),
    "outside": (lambda card: card | {"members": [card["members"][0] | {"file": "../x"}]}, "outside itself"),
    "root": (lambda card: card | {"members": [card["members"][0] | {"file": "/etc/passwd"}]}, "outside itself"),
    "windows": (lambda card: card | {"members": [card["members"][0] | {"file": "..\\x"}]}, "outside itself"),
    "recipe's version": (lambda card: card | {"recipe": card["recipe"] | {"version": 99}}, "is default version 99"),
    "recipe's display": (lambda card: card | {"recipe": card["recipe"] | {"display": "x"}}, "another display"),
    "no file": (lambda card: card | {"members": [card["members"][0] | {"file": "y"}]}, "has no y"),
    "member twice": (lambda card: card | {"members": card["members"] * 2}, "lists model-1.safetensors twice"),
    "order": (lambda card: card | {"training": {"plan": {"classes": card["classes"][::-1]}}}, "each other's names"),
    "range": (lambda card: card | {"training": {"cohort": {"spacing_mm": [0.1, 0.05]}}}, r"cohort\.spacing_mm'"),
    "prior's intercept": (lambda card: card | {"calibration": prior(intercepts=[0.0, 2.0])}, "fitted on nobody"),
    "prior's slope": (lambda card: card | {"calibration": prior(slope=3.0)}, "fitted on nobody"),
    "prior without shares": (lambda card: card | {"calibration": prior(seen=None, own=None)}, "fitted on nobody"),
    "prior's classes": (lambda card: card | {"calibration": prior(own={"TN": 1.0})}, "shares of other classes"),
}


def prior(**changes: Any) -> dict[str, Any]:
    """A calibration that corrects for oversampling only, as `fit_calibration` makes it."""
    shares, counts = ClassShares((0.4, 0.6), (0.75, 0.25)), {"non-TN": 3, "TN": 1}
    return CalibrationMap("prior", 1.0, shares.shift, counts, shares, "too few patients").to_dict() | changes


def test_a_calibration_fitted_on_nobody_is_what_its_shares_give(copied: Path) -> None:
    """What `fit_calibration` makes is read, also without shares; the intercepts are checked to a millionth."""
    card = json.loads((copied / "bundle.json").read_text())
    plan = {"plan": {"classes": card["classes"]}, "cohort": {"spacing_mm": [0.05, 0.05]}}
    plain = prior(seen=None, own=None, intercepts=[0.0, 0.0])
    for calibration in (prior(), plain, prior(slope=1 + 1e-9), None):
        write_json(copied / "bundle.json", card | {"calibration": calibration, "training": plan})
        assert read_card(copied)["calibration"] == calibration


@pytest.mark.parametrize("name", CARDS)
def test_broken_cards(copied: Path, name: str) -> None:
    change, message = CARDS[name]
    card = json.loads((copied / "bundle.json").read_text())
    (copied / "bundle.json").write_text(json.dumps(change(card)))
    with pytest.raises(BundleError, match=message):
        read_bundle(copied)
    if name not in (
        "architecture",
        "sha",
        "no file",
        "recipe's version",
        "recipe's display",
    ):  # what the card alone does not tell
        with pytest.raises(BundleError, match=message):
            read_card(copied)


def test_a_card_without_a_positive_class_has_the_tasks(copied: Path) -> None:
    card = json.loads((copied / "bundle.json").read_text())
    assert card.pop("positive") == "TN"
    write_json(copied / "bundle.json", card)
    assert read_card(copied)["positive"] == "TN"


@pytest.mark.parametrize(
    "text", ["", "{", "\ud800", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "NaN", "dropout", "twice"]
)
def test_broken_json(copied: Path, text: str) -> None:
    if text == "twice":
        text = (copied / "bundle.json").read_text().rstrip().removesuffix("}") + ', "classes": ["TN", "non-TN"]}'
    if text == "dropout":
        text = (copied / "bundle.json").read_text().replace('"dropout": 0.3', '"dropout": NaN')
    (copied / "bundle.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BundleError, match=r"broken bundle\.json"):
        read_card(copied)


def test_changed_weights_and_links(copied: Path, tmp_path: Path, members: list[Weights]) -> None:
    weights = copied / "model-1.safetensors"
    data = weights.read_bytes()
    weights.unlink()  # it is a link to the one that other tests read
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match="changed or damaged"):
        read_bundle(copied)
    weights.unlink()
    (tmp_path / "elsewhere").write_bytes(data)
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="symbolic link"):
        read_bundle(copied)
    half = [{name: value.half() for name, value in members[0].items()}]
    with pytest.raises(BundleError, match=r"float16, expected torch\.float32"):
        read_bundle(written(tmp_path / "half", half))
    short = [{name: value for name, value in members[0].items() if name != "classifier.bias"}]
    with pytest.raises(BundleError, match="does not fit"):
        read_bundle(written(tmp_path / "short", short))
    for path in (tmp_path / "nothing", tmp_path / "nothing.molsub", tmp_path):
        with pytest.raises(BundleError, match=r"has no bundle\.json"):
            read_bundle(path)


def test_hostile_archives(copied: Path, tmp_path: Path) -> None:
    card = (copied / "bundle.json").read_bytes()
    link = zipfile.ZipInfo("bundle.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for info, method in ((link, zipfile.ZIP_STORED), (zipfile.ZipInfo("bundle.json"), zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / "x.molsub", "w") as archive:
            archive.writestr(info, card, method)
        with pytest.raises(BundleError, match="link, compressed"):
            read_card(tmp_path / "x.molsub")
    for extra in ("model.pkl", "sub/", "bundle.json"):
        with zipfile.ZipFile(tmp_path / "x.molsub", "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile warns of a name that is there already
            archive.writestr("bundle.json", card)
            archive.writestr(extra, card)
        with pytest.raises(BundleError, match=f"holds {extra}, which its card does not list, or holds it twice"):
            read_card(tmp_path / "x.molsub")


def test_the_library(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOLSUB_MODELS", str(tmp_path))
    (tmp_path / "broken.molsub").write_bytes(b"PK")
    (tmp_path / "notes.txt").write_text("no bundle")
    assert [path.name for path, card in scan_library(tmp_path)[0] if card["task"] == "tn"] == ["b"]
    (problem,) = scan_library(tmp_path)[1]
    assert "broken.molsub: is not a bundle" in str(problem)
    assert scan_library(tmp_path / "absent") == ([], [])
    with pytest.raises(BundleError, match="is not a folder"):
        scan_library(tmp_path / "notes.txt")
    assert find_bundle("b") == tmp_path / "b"
    assert find_bundle("broken") == tmp_path / "broken.molsub"
    assert find_bundle(copied) == copied
    with pytest.raises(BundleError, match="molsub models list"):
        find_bundle("absent")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_archives(copied: Path, tmp_path: Path, damage: list[tuple[int, int]]) -> None:
    with zipfile.ZipFile(tmp_path / "d.molsub", "w") as archive:
        archive.write(copied / "bundle.json", "bundle.json")
    data = bytearray((tmp_path / "d.molsub").read_bytes())
    for place, value in damage:
        data[place % len(data)] = value
    (tmp_path / "d.molsub").write_bytes(data)
    try:
        assert read_card(tmp_path / "d.molsub")["task"] == "tn"
    except BundleError as error:
        assert "\n" not in str(error)
