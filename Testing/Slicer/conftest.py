"""Fixtures of the tests that run the Slicer module without the Slicer application."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODULE = ROOT / "MolSubSlicer" / "MolSubSlicer.py"
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from headless import packages  # noqa: E402

#: Tests here that need neither VTK nor Qt.
_WITHOUT_SLICER = ("test_members.py",)
packages.prepare()
MISSING = packages.missing_packages()
if not MISSING:
    import headless

    headless.start()


class _Skipped(pytest.Module):
    """A test module that cannot even be imported here."""

    def collect(self) -> Any:
        pytest.skip(f"not on this machine: {', '.join(MISSING)}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> Any:
    """Skip what needs Slicer's core where a package is missing, with the package's name."""
    if MISSING and module_path.parent == HERE and module_path.name not in _WITHOUT_SLICER:
        return _Skipped.from_parent(parent, path=module_path)
    return None


@pytest.fixture(scope="session")
def slicer_app() -> Any:
    """`slicer.app` with its scene, started once."""
    if MISSING:
        pytest.skip(f"not on this machine: {', '.join(MISSING)}")
    return headless.start()


@pytest.fixture(autouse=True)
def errors(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Fail the test on any error in a slot, a Qt virtual or a VTK observer, on Qt's and on VTK's error messages."""
    if MISSING:
        yield None
        return
    from headless import dialogs
    from headless.errors import collected

    dialogs.DIALOGS.clear()
    with collected() as found:
        yield found
        headless.start().processEvents()
    unexpected = found.found + [f"unexpected dialog: {text}" for text in dialogs.DIALOGS.unexpected]
    dialogs.DIALOGS.clear()
    if unexpected:
        pytest.fail("errors that reached nobody:\n" + "\n".join(unexpected), pytrace=False)


@pytest.fixture
def dialogs() -> Any:
    """Answers for the dialogs that the test expects: `dialogs.answer("part of the text", "Yes")`."""
    from headless.dialogs import DIALOGS

    return DIALOGS


@pytest.fixture
def scene(slicer_app: Any) -> Iterator[Any]:
    """The scene, cleared."""
    import slicer

    slicer.mrmlScene.Clear(0)
    slicer.dicomDatabase.clear()
    slicer_app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(0)
    slicer_app.settings().clear()


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file: while it exists, predictions wait once they have begun. To be asked for before `module`."""
    from ownjobs import hold_predictions

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return hold_predictions(tmp_path)


@pytest.fixture
def module(scene: Any) -> Iterator[Any]:
    """The module's widget with its panels, set up and entered; taken down after the test."""
    from headless import modules

    loaded = _load_module()
    loaded.widgetRepresentation()
    import slicer

    widget = slicer.modules.MolSubSlicerWidget
    widget.enter()
    yield widget
    widget.exit()
    modules.unload(loaded)


def _load_module() -> Any:
    import slicer

    from headless import modules

    present = slicer.app.moduleManager().module("MolSubSlicer")
    return present if present is not None else modules.load_scripted_module(MODULE)


@pytest.fixture(scope="session", autouse=True)
def _module_folder() -> None:
    """Scene modules are imported as in Slicer: the module's folder is on sys.path."""
    for folder in (str(MODULE.parent), str(ROOT)):
        if folder not in sys.path:
            sys.path.insert(0, folder)


@pytest.fixture
def process_until(slicer_app: Any) -> Callable[..., None]:
    """`process_until(predicate, timeout)`: run the event loop until the predicate is true."""

    def run(predicate: Callable[[], Any], timeout: float = 30.0) -> None:
        from PySide6 import QtCore

        end = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() > end:
                raise AssertionError(f"nothing came of it within {timeout} s")
            slicer_app.processEvents()
            QtCore.QThread.msleep(5)

    return run


@pytest.fixture(scope="session")
def synthetic_case(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A synthetic patient: two DICOM views with the masks of their lesions."""
    from slicercases import make_case

    return make_case(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small network with random weights."""
    from slicercases import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundle"))
