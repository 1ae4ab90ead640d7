"""The Set-up panel by real clicks, with a real worker; pip is replaced by a program that does as it is told."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Until = Callable[..., None]

#: What Slicer's Python is asked to run: a `slicer` package whose pip writes down its arguments.
_PIP = """
import json, os, subprocess, sys, time
from pathlib import Path

def pip_install(arguments):
    here = Path(__file__).parent
    constraints = Path(arguments[arguments.index("-c") + 1]).read_text()
    (here / "asked.json").write_text(json.dumps({"arguments": arguments, "constraints": constraints, "from": __name__}))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (here / "child").write_text(str(child.pid))
    print("Collecting torch", flush=True)
    print((here / "says").read_text(), flush=True)
    while (here / "wait").exists():
        time.sleep(0.02)
    child.kill()
    child.wait()
    if (here / "fails").exists():
        raise subprocess.CalledProcessError(1, "pip")
"""


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """Of this interpreter."""
    code = "import json; from MolSubCore.worker.environment import describe as d\n"
    code += "print(json.dumps(d({}, lambda *share, **values: None)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def panel(module: Any, facts: dict[str, Any]) -> Any:
    """The panel as after a look at the environment."""
    panel = module.panels["SetupPanel"]
    panel.controller.facts = dict(facts)
    panel.show()
    return panel


@pytest.fixture
def pip(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `slicer` package as Slicer 5.12 (slicer.packaging) or 5.10 (slicer.util only) has it."""
    package = tmp_path / "fake" / "slicer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / f"{getattr(request, 'param', 'util')}.py").write_text(_PIP)
    (package / "says").write_text("Successfully installed torch")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return package


@pytest.fixture
def unchecked(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is not looked up again, which loads PyTorch."""
    monkeypatch.setattr(panel.controller, "check", lambda: None)


def lacking(panel: Any, *missing: str) -> None:
    """As if the worker had found these packages missing or too old."""
    panel.controller.facts = {
        **panel.controller.facts,
        "missing": list(missing),
        "problems": [
            {"problem": f"{re.match(r'[A-Za-z-]+', each).group()} is not installed", "remedy": "Install it"}  # type: ignore[union-attr]
            for each in missing
        ],
    }
    panel.show()


def asked(pip: Path) -> dict[str, Any]:
    return json.loads((pip / "asked.json").read_text())


def test_the_environment_is_what_the_interpreter_says(module: Any, process_until: Until) -> None:
    panel = module.panels["SetupPanel"]
    assert panel.controller.facts is None
    module.buttons["SetupPanel"].collapsed = False  # which looks it up
    process_until(lambda: panel.controller.facts is not None and not panel.controller.activity, 60)
    text = panel.ui.environmentLabel.text
    assert "(Slicer" in text
    for value in (platform.python_version(), *map(importlib.metadata.version, ("torch", "numpy", "pydicom"))):
        assert value in text
    assert "passed in" in text  # a computation was run
    assert panel.ui.packagesLabel.text == "Nothing is missing."
    assert not panel.ui.installButton.enabled


@pytest.fixture
def bare_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slicer_app: Any) -> None:
    """Slicer's Python is one into which nothing was installed yet: it has three packages of its own."""
    from MolSubSlicerLib import Compat

    own = tmp_path / "own"
    own.mkdir()
    for place in {Path(path) for path in sys.path if path.endswith(("site-packages", "dist-packages"))}:
        for entry in place.iterdir():
            if entry.name.casefold().startswith(("numpy", "pydicom", "simpleitk")):
                (own / entry.name).symlink_to(entry)
    monkeypatch.setenv("PYTHONPATH", str(own))
    bare = tmp_path / "PythonSlicer"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(bare.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(Compat, "slicer_python", lambda: str(bare))


def test_first_use_is_an_install_button_and_no_error(bare_python: None, module: Any, process_until: Until) -> None:
    """In a fresh Slicer the module opens, the check answers, and one click installs what is missing."""
    panel = module.panels["SetupPanel"]
    process_until(lambda: module.session.worker.state == "ready", 60)  # the models were looked for as it opened
    assert module.message.text == ""
    module.buttons["SetupPanel"].collapsed = False
    process_until(lambda: panel.controller.facts is not None and not panel.controller.activity, 60)
    assert module.message.text == ""
    missing = panel.ui.packagesLabel.text.partition(".")[0]
    assert {"torch", "tqdm", "opencv-python-headless"} < set(missing.replace("Missing: ", "").split(", "))
    assert panel.ui.installButton.enabled


def test_nothing_is_installed_without_a_click(panel: Any, pip: Path) -> None:
    lacking(panel, "torch>=2.5", "grad-cam>=1.5.7")
    assert panel.ui.installButton.enabled
    assert "torch, torchvision, grad-cam" in panel.ui.packagesLabel.text
    assert not (pip / "asked.json").exists()


@pytest.mark.parametrize("pip", ["packaging", "util"], indirect=True)
def test_install(panel: Any, pip: Path, process_until: Until) -> None:
    lacking(panel, "torch>=2.5", "grad-cam>=1.5.7")
    panel.ui.installButton.click()
    process_until(lambda: not panel.controller.activity, 60)
    told = asked(pip)
    packages = [each for each in told["arguments"] if re.match(r"[a-z]+[a-z-]*[><=\[]", each)]
    assert packages == ["torch>=2.5,<3", "torchvision>=0.20,<1", "grad-cam>=1.5.7,<2"]  # of requirements.txt
    facts = panel.controller.facts
    assert told["constraints"].split() == [
        f"numpy=={facts['numpy']}", f"pydicom=={facts['pydicom']}", f"SimpleITK=={facts['simpleitk']}"
    ]  # fmt: skip
    assert "Successfully installed torch" in panel.ui.installLog.plainText
    assert told["from"] in ("slicer.packaging", "slicer.util")
    assert not panel.ui.installProgress.visible
    assert panel.controller.packages() == []  # looked up again


@pytest.mark.usefixtures("unchecked")
def test_a_folder_of_wheels_and_no_network(panel: Any, pip: Path, tmp_path: Path, process_until: Until) -> None:
    lacking(panel, "scipy>=1.15")
    wheels = tmp_path / "wheels of the site"
    panel.ui.wheelhousePath.currentPath = str(wheels)
    panel.ui.installButton.click()
    assert not (pip / "asked.json").exists()  # no such folder
    wheels.mkdir()
    (pip / "fails").touch()
    (pip / "says").write_text("ERROR: No matching distribution found for scipy>=1.15")
    panel.ui.installButton.click()
    process_until(lambda: not panel.controller.activity, 60)
    assert asked(pip)["arguments"][:3] == ["--no-index", "--find-links", str(wheels)]
    panel.ui.wheelhousePath.currentPath = ""


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("Failed to establish a new connection: [Errno -3] Temporary failure in name resolution", "cannot be reached"),
        ("ERROR: ResolutionImpossible: for help visit", "never replaced"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "not trusted"),
        ("ERROR: something nobody knows", "something nobody knows"),
    ],
)
def test_a_failure_has_a_cause_and_a_way_out(says: str, words: str) -> None:
    from MolSubSlicerLib.Setup.PackageInstall import why_failed

    text = why_failed(["Collecting torch", says])
    assert words in text
    assert text.endswith(".")


@pytest.mark.usefixtures("unchecked")
def test_cancel_ends_pip_and_its_children(panel: Any, pip: Path, module: Any, process_until: Until) -> None:
    (pip / "wait").touch()
    lacking(panel, "torch>=2.5")
    panel.ui.installButton.click()
    process_until(lambda: "Successfully" in panel.ui.installLog.plainText, 60)
    assert panel.ui.installButton.text == "Cancel"
    child = int((pip / "child").read_text())
    panel.ui.installButton.click()
    process_until(lambda: panel.controller.activity != "installing")
    assert "cancelled" in module.message.text
    process_until(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_slicers_own_packages_are_never_installed(panel: Any) -> None:
    """Slicer 5.10: its pydicom is too old, and nothing that Install does would help."""
    lacking(panel, "pydicom>=3.0.2", "numpy>=1.26", "torch>=2.5")
    panel.controller.facts["pydicom"] = "2.4.4"
    panel.show()
    assert not panel.ui.installButton.enabled
    assert "pydicom 2.4.4" in panel.ui.packagesLabel.text
    assert "another Python environment" in panel.ui.packagesLabel.text
    from MolSubSlicerLib.Setup.PackageInstall import HELD, name_of, read_requirements, to_install

    everything = [*read_requirements(), "numpy>=1", "pydicom>=3", "simpleitk>=2"]
    found = {name_of(each) for each in to_install(everything, everything)}
    assert not found & {"numpy", "pydicom", "simpleitk"}
    assert len(HELD) == 3


def test_the_requirements_are_the_projects(slicer_app: Any) -> None:
    from MolSubSlicerLib.Setup.PackageInstall import read_requirements

    listed = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    wanted = re.findall(r'"(.+?)"', listed.group(1) if listed else "")
    held = ("numpy", "pydicom", "SimpleITK")
    assert sorted(read_requirements()) == sorted(each for each in wanted if not each.startswith(held))


def test_another_python_is_tried_before_it_is_used(
    panel: Any, module: Any, tmp_path: Path, process_until: Until
) -> None:
    """First what is no Python, then one without packages, then a good one, then back."""
    import slicer

    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 3\n")
    other.chmod(other.stat().st_mode | stat.S_IXUSR)
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(bare.stat().st_mode | stat.S_IXUSR)
    good = tmp_path / "good"
    good.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    good.chmod(good.stat().st_mode | stat.S_IXUSR)
    for path, words in ((tmp_path / "none", "no such interpreter"), (other, "exit code 3"), (bare, "is not used")):
        panel.ui.pythonPath.currentPath = str(path)
        panel.ui.usePythonButton.click()
        process_until(lambda: not panel.controller.activity, 60)
        assert words in module.message.text
        assert panel.controller.uses_slicer_python
    panel.ui.pythonPath.currentPath = str(good)
    panel.ui.usePythonButton.click()
    process_until(lambda: not panel.controller.activity, 60)
    assert slicer.app.userSettings().value("MolSubSlicer/python") == str(good)
    assert module.session.python() == str(good)
    assert "chosen by you" in panel.ui.environmentLabel.text
    panel.ui.useSlicerButton.click()
    process_until(lambda: not panel.controller.activity, 60)
    assert module.session.python() == sys.executable
    assert "chosen by you" not in panel.ui.environmentLabel.text


def test_what_an_other_python_lacks_is_said_as_a_command(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from MolSubSlicerLib import Compat

    Compat.set_setting("python", "/opt/environment/bin/python")
    lacking(panel, "torch>=2.5", "pydicom>=3.0.2")
    panel.controller.facts["executable"] = "/opt/environment/bin/python"
    panel.show()
    assert not panel.ui.installButton.enabled
    words = panel.ui.packagesLabel.text
    assert "/opt/environment/bin/python -m pip install 'torch>=2.5,<3' 'torchvision>=0.20,<1' 'pydicom>=3.0.2'" in words
    Compat.set_setting("python", "")


def test_a_dead_worker_is_restarted_by_the_button(panel: Any, module: Any, process_until: Until) -> None:
    worker = module.session.worker
    worker.start()
    process_until(lambda: worker.state == "ready")
    os.kill(worker.pid, 9)
    process_until(lambda: worker.state == "died")
    assert "signal 9" in panel.ui.workerLabel.text
    panel.ui.restartButton.click()
    process_until(lambda: worker.state == "ready")
    assert f"process {worker.pid}" in panel.ui.workerLabel.text


@pytest.mark.usefixtures("unchecked")
def test_the_device_and_the_library_are_shared(panel: Any, module: Any, tmp_path: Path, process_until: Until) -> None:
    panel.ui.deviceCombo.setCurrentIndex(1)
    panel.ui.deviceCombo.activated.emit(1)
    assert module.session.parameters.device == "cpu"
    usual = module.session.library
    panel.ui.libraryPath.currentPath = str(tmp_path / "not there")
    assert module.session.library == usual
    assert "does not exist" in panel.ui.libraryLabel.text
    panel.ui.libraryPath.currentPath = str(tmp_path)
    assert module.session.library == tmp_path
    panel.ui.libraryPath.currentPath = ""
    assert module.session.library == usual
