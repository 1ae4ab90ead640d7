"""The jobs on the model library: what is listed, imported and given away."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from MolSubCore.errors import BundleError, MolSubError
from MolSubCore.lesions.preprocessing import get_recipe
from MolSubCore.models.bundle import read_bundle, write_bundle
from MolSubCore.models.registry import build_model
from MolSubCore.tasks import get_task
from MolSubCore.worker.jobs import export_bundle, import_checkpoint, list_library


def quiet(share: float, **values: Any) -> None:
    """A listener that does not listen."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file, a folder, a damaged file, a folder with a broken card, and things that are no bundles."""
    folder = tmp_path_factory.mktemp("library")
    torch.manual_seed(0)
    weights = build_model("simple-cnn", 2).state_dict()
    for name, members in (("one.molsub", [weights]), ("two", [weights, weights])):
        write_bundle(folder / name, members, architecture="simple-cnn", task="tn", classes=get_task("tn").classes,
                     recipe=get_recipe("default").to_dict(), dropout=0.3)  # fmt: skip
    (folder / "damaged.molsub").write_bytes(b"PK no more")
    (folder / "broken").mkdir()
    (folder / "broken" / "bundle.json").write_text("{")
    (folder / "notes.txt").write_text("hello")
    (folder / "other").mkdir()
    (folder / ".tmp-17-one.molsub").write_bytes(b"half")
    return folder


def test_a_library_is_listed_with_its_problems(library: Path) -> None:
    result = list_library({"folder": str(library)}, quiet)
    assert [(one["name"], len(one["card"]["members"])) for one in result["bundles"]] == [("one", 1), ("two", 2)]
    assert [Path(one["path"]) for one in result["bundles"]] == [library / "one.molsub", library / "two"]
    assert [Path(one["path"]).name for one in result["problems"]] == ["broken", "damaged.molsub"]
    assert all("\n" not in one["problem"] for one in result["problems"])
    assert list_library({"folder": str(library / "nowhere")}, quiet) == {"bundles": [], "problems": []}


def test_the_users_own_library_is_the_default(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOLSUB_MODELS", str(library))
    assert len(list_library({}, quiet)["bundles"]) == 2


@pytest.mark.parametrize(("source", "target"), [("one.molsub", "copy"), ("two", "copy.molsub")])
def test_a_copy_predicts_the_same(library: Path, tmp_path: Path, source: str, target: str) -> None:
    result = export_bundle({"bundle": str(library / source), "out": str(tmp_path / target)}, quiet)
    assert result == {"path": str(tmp_path / target)}
    patches = torch.randn((2, 1, 224, 224), generator=torch.Generator().manual_seed(1))
    both = [read_bundle(path) for path in (library / source, tmp_path / target)]
    assert torch.equal(both[0].logits(patches), both[1].logits(patches))
    assert both[0].card == both[1].card
    assert (tmp_path / target).is_file() == target.endswith(".molsub")


def test_a_damaged_bundle_is_not_given_away(library: Path, tmp_path: Path) -> None:
    shutil.copytree(library / "two", tmp_path / "two")
    member = tmp_path / "two" / "model-2.safetensors"
    data = bytearray(member.read_bytes())
    data[-1] ^= 1
    member.write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256"):
        export_bundle({"bundle": str(tmp_path / "two"), "out": str(tmp_path / "copy.molsub")}, quiet)
    assert not (tmp_path / "copy.molsub").exists()


def test_nothing_is_written_over_unasked(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy.molsub"
    out.write_bytes(b"mine")
    options = {"bundle": str(library / "one.molsub"), "out": str(out)}
    with pytest.raises(MolSubError, match=r"exists already\. Choose another name"):
        export_bundle(options, quiet)
    with pytest.raises(MolSubError, match="exists already"):
        import_checkpoint({"checkpoint": "none.pth", "task": "tn", "out": str(out)}, quiet)
    with pytest.raises(MolSubError, match="is not a bundle, and is not replaced"):
        export_bundle(options | {"overwrite": True}, quiet)
    assert out.read_bytes() == b"mine"
    out.write_bytes((library / "one.molsub").read_bytes())
    export_bundle(options | {"overwrite": True}, quiet)
    assert zipfile.is_zipfile(out)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"mine")
    with pytest.raises(MolSubError, match="something else"):
        export_bundle(options | {"overwrite": True, "out": str(tmp_path / "photos")}, quiet)
    with pytest.raises(MolSubError, match="is the bundle itself"):
        export_bundle(options | {"overwrite": True, "out": str(library / "one.molsub")}, quiet)


def test_a_published_checkpoint_becomes_a_bundle(tmp_path: Path) -> None:
    torch.manual_seed(3)
    weights = build_model("simple-cnn", 2, dropout=0.3).state_dict()
    torch.save(weights, tmp_path / "best.pth")
    options = {"checkpoint": str(tmp_path / "best.pth"), "task": "tn", "architecture": "simple-cnn"}
    stages: list[str] = []
    result = import_checkpoint(
        options | {"out": str(tmp_path / "own.molsub")}, lambda share, stage: stages.append(stage)
    )
    assert stages == ["loading PyTorch", "importing"]
    assert (result["path"], result["card"]["classes"]) == (str(tmp_path / "own.molsub"), ["non-TN", "TN"])
    with zipfile.ZipFile(tmp_path / "own.molsub") as archive:
        found = load(archive.read("model-1.safetensors"))
    assert set(found) == set(weights)
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    turned = options | {"class_order": ["TN", "non-TN"], "out": str(tmp_path / "turned.molsub")}
    assert import_checkpoint(turned, quiet)["card"]["classes"] == ["TN", "non-TN"]
    with pytest.raises(MolSubError, match="lacks the option task"):
        import_checkpoint({"checkpoint": "a.pth", "out": str(tmp_path / "x.molsub")}, quiet)
    with pytest.raises(BundleError, match="is not a DenseNet121-CBAM"):
        import_checkpoint({**turned, "architecture": None, "out": str(tmp_path / "x.molsub")}, quiet)
    assert not (tmp_path / "x.molsub").exists()
