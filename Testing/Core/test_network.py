"""Nothing is sent or asked anywhere, but for ImageNet weights where the user wants them downloaded."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from command_line import TRAIN, case
from test_house import imported

from MolSubCore.models.registry import ARCHITECTURES

ROOT = Path(__file__).resolve().parents[2]

#: What speaks to a network, in the standard library and beside it.
_SPEAKERS = {
    *("socket", "socketserver", "ssl", "http", "urllib", "ftplib", "smtplib", "poplib", "imaplib", "nntplib"),
    *("telnetlib", "xmlrpc", "asyncio", "webbrowser", "requests", "urllib3", "httpx", "aiohttp", "websockets"),
    *("paramiko", "pynetdicom", "dicomweb_client", "huggingface_hub", "SampleData"),
}
#: The places that may, and what for. pip installs packages into Slicer's Python on a click only.
_ALLOWED = {
    ("MolSubSlicer/MolSubSlicerLib/Load/SampleCase.py", "SampleData"),  # Slicer's own; the case is made here without it
}
#: Ways to download that libraries of ours have; MolSubCore/models/pretrained.py alone may.
_DOWNLOADS = (
    "get_state_dict(",
    "load_state_dict_from_url",
    "download_url_to_file",
    "urlretrieve",
    "urlopen",
    "download_url(",
)

#: Every process of Python below this folder in PYTHONPATH notes whom it asks for, and is refused.
_WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.bind", "socket.sendto"):
        asked = arguments[0] if event.startswith("socket.get") else arguments[1]
        with open(os.environ["MOLSUB_TEST_ASKED"], "a") as file:
            file.write(f"{event} {asked}\\n")
        raise OSError(101, "Network is unreachable")

sys.addaudithook(watch)
"""

_COMMANDS = """
import dataclasses, json, sys
from MolSubCore.__main__ import main
from MolSubCore.study import faithfulness
faithfulness._PLAN = dataclasses.replace(faithfulness._PLAN, faithful=1, randomised=1)  # on one patient, for time
print([main(command) for command in json.loads(sys.argv[1])])
"""


def sources() -> list[Path]:
    return sorted(file for folder in ("MolSubCore", "MolSubSlicer") for file in (ROOT / folder).rglob("*.py"))


def test_nothing_imports_what_speaks_to_a_network() -> None:
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in sources()
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in _SPEAKERS and name != "urllib.parse"
    }
    assert found <= _ALLOWED


def test_one_place_downloads() -> None:
    found = {path.name for path in sources() for way in _DOWNLOADS if way in path.read_text(encoding="utf-8")}
    assert found == {"pretrained.py"}


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_WATCH)
    return tmp_path / "asked.txt"


def run(asked: Path, commands: list[list[str]], prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Commands of molsub in one process that may not speak to anybody, nor may its children."""
    paths = [str(asked.parent / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "MOLSUB_TEST_ASKED": str(asked), "TORCH_HOME": str(asked.parent)}
    command = [*prefix, sys.executable, "-c", _COMMANDS, json.dumps(commands)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own}, check=False)


def without_network() -> tuple[str, ...]:
    """`unshare --net`, where it works: a machine with no network at all, for native code, too."""
    prefix = ("unshare", "--net")
    try:
        return prefix if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0 else ()
    except FileNotFoundError:
        return ()


def test_the_whole_work_asks_nobody(workplace: Path, tmp_path: Path, asked: Path) -> None:
    table, cache = str(workplace / "cohort" / "table.csv"), str(tmp_path / "cache")
    image, mask = case(workplace)
    bundle = str(tmp_path / "m.molsub")
    study = ["--tasks", "luminal", "--architectures", "simple-cnn", "--folds", "2", "--epochs", "1"]
    study += ["--test-share", "0.25", "--pretrained", "none"]
    commands = [
        ["cohort", "check", table],
        ["study", table, "--out", str(tmp_path / "study"), "--cache", cache, *study, "--threads", "1"],
        ["models", "export", str(tmp_path / "study" / "runs" / "luminal--simple-cnn"), "--out", bundle],
        ["predict", image, "--lesion", mask, "--model", bundle, "--out", str(tmp_path / "out")],
        ["evaluate", bundle, table, "--out", str(tmp_path / "elsewhere"), "--cache", cache, "--overlap", "keep"],
    ]  # fmt: skip
    done = run(asked, commands, without_network())
    assert done.stdout.splitlines()[-1:] == ["[0, 0, 0, 0, 0]"], done.stderr[-2000:]
    assert (tmp_path / "study" / "study.html").is_file()
    assert list((tmp_path / "study" / "runs").glob("*/faithfulness.json"))
    assert not asked.exists(), asked.read_text()


def test_weights_are_asked_for_at_the_documented_address_only(workplace: Path, tmp_path: Path, asked: Path) -> None:
    """The watch sees what there is to see."""
    from torchvision.models import get_model_weights

    options = [option for option in TRAIN if option not in ("--pretrained", "none")]
    out, cache = str(tmp_path / "run"), str(workplace / "cache")
    command = ["train", str(workplace / "cohort" / "table.csv"), "--out", out, "--cache", cache, *options]
    done = run(asked, [[*command, "--pretrained", "auto"]])
    assert done.stdout.splitlines()[-1:] == ["[2]"], done.stderr[-2000:]
    assert "pretrained weights: cannot be downloaded" in done.stderr
    name = ARCHITECTURES["mob-cbam"].pretrained
    host = urlsplit(get_model_weights(name)["IMAGENET1K_V1"].url).hostname
    assert {line.split(" ")[1] for line in asked.read_text().splitlines()} == {host}
