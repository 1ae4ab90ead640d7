"""The module's shell: what is always there, and what happens when scenes come and go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from MolSubCore import DISCLAIMER
from MolSubCore.models.card import library_folder

ROOT = Path(__file__).resolve().parents[2]
ORDER = ("LoadPanel", "AnnotatePanel", "PredictPanel", "HeatmapPanel", "ReportPanel", "TrainPanel", "SetupPanel")


def in_slicer(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in which the module is open."""
    start = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'Testing' / 'Slicer')!r}, {str(ROOT)!r}]\n"
        "import headless; headless.start()\n"
        "from headless import modules\n"
        f"modules.load_scripted_module({str(ROOT / 'MolSubSlicer' / 'MolSubSlicer.py')!r}).widgetRepresentation()\n"
        "import slicer\n"
    )
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=120)


def test_the_banner_is_always_seen_and_the_panels_are_in_order(module: Any) -> None:
    module.parent.show()
    assert module.banner.text == DISCLAIMER
    assert module.banner.visible
    for name in module.buttons:
        module.buttons[name].collapsed = True
    assert module.banner.visible
    assert tuple(module.panels) == ORDER
    places = [module.column.indexOf(module.buttons[name]) for name in ORDER]
    assert places == sorted(places)
    module.parent.hide()


def test_the_banner_does_not_scroll_away(module: Any, process_until: Any) -> None:
    """Everything unfolded is higher than the screen: the panels scroll, the banner stays where it is."""
    module.parent.resize(450, 600)
    module.parent.show()
    for name in ORDER:
        module.buttons[name].collapsed = False
    bar = module.area.verticalScrollBar()
    process_until(lambda: bar.maximum > 600)
    before = module.banner.pos.y()
    bar.setValue(bar.maximum)
    assert module.banner.pos.y() == before >= 0
    assert module.banner.height > 10
    last = module.buttons[ORDER[-1]]
    assert last.mapTo(module.parent, last.rect.bottomLeft()).y() <= 600
    module.parent.hide()


def test_no_part_of_a_panel_is_beyond_its_right_edge(module: Any, process_until: Any) -> None:
    """At the width that Slicer gives a module at first, which is less than some parts need."""
    import qt
    import slicer

    module.parent.resize(392, 800)
    module.parent.show()
    for name in ORDER:
        for other in ORDER:
            module.buttons[other].collapsed = other != name
        slicer.app.processEvents()
        body, viewport = module.area.widget(), module.area.viewport()
        assert body.width <= viewport.width, name
        widget = module.panels[name].widget
        for child in widget.findChildren(qt.QWidget):
            if child.isVisibleTo(module.parent) and child.parent() is widget:
                right = child.mapTo(body, child.rect.topRight()).x()
                assert right <= viewport.width, (name, child.objectName)
    module.parent.hide()


def test_only_the_first_panel_is_open(slicer_app: Any, module: Any) -> None:
    assert [name for name in ORDER if not module.buttons[name].collapsed] == [ORDER[0]]


def test_the_message_line_shows_and_goes(module: Any) -> None:
    module.parent.show()
    module.session.say("The disk is full.", "error")
    assert (module.message.text, module.message.visible) == ("The disk is full.", True)
    shown = module.message.styleSheet
    module.session.say("Loaded.")
    assert module.message.styleSheet != shown  # an error looks like one
    module.session.say("")
    assert not module.message.visible
    module.parent.hide()


def test_a_closed_scene_gives_new_parameters(module: Any, scene: Any) -> None:
    told = []
    module.session.scene_closed.connect(lambda: told.append("closed"))
    module.session.mammograms_changed.connect(lambda: told.append("mammograms"))
    module.session.prediction_changed.connect(lambda prediction: told.append(prediction))
    module.session.parameters.opacity = 0.8
    scene.Clear(0)
    assert told == ["closed", "mammograms", None]
    assert module.session.parameters.opacity == 0.5
    assert module.session.parameters.parameterNode.GetScene() is scene


def test_the_state_of_the_panels_is_saved_with_the_scene(module: Any, scene: Any, tmp_path: Path) -> None:
    import slicer

    parameters = module.session.parameters
    parameters.mammogram = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "R MLO")
    parameters.layer, parameters.opacity, parameters.overlay = "features.norm5", 0.25, False
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    read = module.session.parameters
    assert (read.layer, read.opacity, read.overlay) == ("features.norm5", 0.25, False)
    assert read.mammogram.GetName() == "R MLO"


def test_nothing_starts_before_it_is_needed() -> None:
    """No torch in this process; no worker by opening the module."""
    done = in_slicer(
        "print([n for n in ('torch', 'pydicom', 'cv2', 'SimpleITK', 'matplotlib') if n in sys.modules],"
        " slicer.modules.MolSubSlicerWidget.session.worker.state)"
    )
    assert done.stdout.splitlines()[-1:] == ["[] stopped"], done.stderr[-2000:]


def test_cleanup_leaves_nothing_behind(scene: Any, slicer_app: Any, process_until: Any) -> None:
    from headless import modules

    loaded = modules.load_scripted_module(ROOT / "MolSubSlicer" / "MolSubSlicer.py")
    loaded.widgetRepresentation()
    import slicer

    widget = slicer.modules.MolSubSlicerWidget
    folder = widget.session.new_folder("result")
    widget.session.worker.start()
    process_until(lambda: widget.session.worker.state == "ready")
    pid = widget.session.worker.pid
    modules.unload(loaded)
    assert not folder.parent.exists()
    assert widget.session.worker.state == "stopped"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    scene.Clear(0)  # nobody listens to the scene any more


def test_a_reload_reads_all_parts_again() -> None:
    """In a process of its own: the tests here hold classes of the first reading."""
    done = in_slicer(
        "old, parts = sys.modules['MolSubSlicerLib.Session'], [*slicer.modules.MolSubSlicerWidget.panels]\n"
        "core, first = sys.modules['MolSubCore'], slicer.modules.MolSubSlicerWidget\n"
        "first.onReload()\n"
        "new = slicer.modules.MolSubSlicerWidget\n"
        "print(new is not first, sys.modules['MolSubSlicerLib.Session'] is not old, first.session.folder.exists(),\n"
        "      sys.modules['MolSubCore'] is not core, parts == [*new.panels], new.session.reloading)\n"
    )
    assert done.stdout.splitlines()[-1:] == ["True True False True True False"], done.stderr[-2000:]


def test_the_usual_library_is_the_cores(module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from MolSubSlicerLib import Compat

    for name, value in (("MOLSUB_MODELS", str(tmp_path)), ("MOLSUB_MODELS", ""), ("XDG_DATA_HOME", str(tmp_path))):
        monkeypatch.setenv(name, value)
        assert Compat.library_folder() == library_folder()
    assert module.session.library == library_folder()
    told = []
    module.session.library_changed.connect(lambda: told.append(1))
    module.session.set_library(str(tmp_path / "other"))
    assert module.session.library == tmp_path / "other"
    module.session.set_library("")
    assert (module.session.library, len(told)) == (library_folder(), 2)


def test_the_modules_own_test_passes(module: Any) -> None:
    import slicer

    slicer.selfTests["MolSubSlicer"]()
