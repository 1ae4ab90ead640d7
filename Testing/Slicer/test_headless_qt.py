"""The stand-in of qt is as strict as PythonQt, and ctk and qMRML widgets behave as a module expects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ctk
import pytest
import qt
import slicer

PYTHON = """
import sys
sys.path[:0] = {path!r}
{imports}
import headless
headless.start()
import qt, ctk, slicer, vtk
button = qt.QPushButton("a")
assert button.text == "a" and slicer.app.layoutManager() is not None
print("fine")
"""


@pytest.mark.parametrize("kind", ["QPushButton", "QTimer", "QLabel", "QProcess"])
def test_objects_made_by_qt_take_no_new_attribute(kind: str) -> None:
    with pytest.raises(AttributeError, match="creating new attributes"):
        getattr(qt, kind)().something = 1


def test_objects_of_a_python_subclass_take_new_attributes() -> None:
    class Mine(qt.QWidget):
        pass

    widget = Mine()
    widget.something = 3
    assert widget.something == 3


def test_a_property_is_no_method_and_its_setter_is() -> None:
    button = qt.QPushButton("old")
    with pytest.raises(TypeError):
        button.text()
    button.setText("new")
    assert button.text == "new"
    button.text = "newer"
    assert button.property("text") == "newer"
    assert (button.enabled, button.checkable) == (True, False)


def test_a_method_is_not_overwritten() -> None:
    with pytest.raises(AttributeError, match="overwritten"):
        qt.QPushButton().click = print


def test_name_is_the_object_name() -> None:
    button = qt.QPushButton()
    button.name = "startButton"
    assert button.objectName == "startButton" and button.className() == "QPushButton"


@pytest.mark.parametrize("signature", ["clickd(bool)", "clicked(int)", "clicked(QString)", "text()"])
def test_a_wrong_signal_is_an_error(signature: str) -> None:
    with pytest.raises(AttributeError, match="No such signal"):
        qt.QPushButton().connect(signature, print)


def test_slots_get_the_arguments_of_the_signature_that_they_take() -> None:
    seen: list[Any] = []
    button = qt.QPushButton()
    button.checkable = True

    def nothing() -> None:
        seen.append("nothing")

    button.connect("clicked()", lambda *arguments: seen.append(arguments))
    button.connect("clicked(bool)", lambda *arguments: seen.append(arguments))
    button.connect("clicked(bool)", nothing)
    button.click()
    assert seen == [(), (True,), "nothing"]
    assert button.disconnect("clicked(bool)", nothing) and not button.disconnect("clicked(bool)", nothing)
    button.click()
    assert seen[3:] == [(), (False,)]


def test_a_slot_that_wants_more_than_the_signal_sends_fails(errors: Any) -> None:
    errors.expect("missing 1 required positional argument")
    button = qt.QPushButton()
    button.connect("clicked()", lambda checked: None)
    button.click()
    assert len(errors.seen) == 1


def test_pyside_only_names_are_not_there() -> None:
    assert not hasattr(qt, "Signal") and not hasattr(qt, "Slot") and not hasattr(qt, "Property")


@pytest.mark.parametrize("first", ["import torch", "import vtk", "import slicer", "from PySide6 import QtWidgets", ""])
def test_any_order_of_imports(first: str) -> None:
    here = Path(__file__).resolve().parent
    code = PYTHON.format(path=[str(here)], imports=first)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "fine", done.stderr


def test_collapsible_button_hides_its_contents() -> None:
    button = ctk.ctkCollapsibleButton()
    layout = qt.QVBoxLayout(button)
    inner = qt.QLabel("inside")
    layout.addWidget(inner)
    button.show()
    seen: list[bool] = []
    button.connect("contentsCollapsed(bool)", seen.append)
    button.collapsed = True
    assert not inner.visible and seen == [True]
    button.click()
    assert inner.visible and not button.collapsed and seen == [True, False]


@pytest.mark.parametrize("kind", [ctk.ctkSliderWidget, ctk.ctkDoubleSlider])
def test_sliders_keep_their_range_and_tell_their_value(kind: Any) -> None:
    slider = kind()
    seen: list[float] = []
    slider.connect("valueChanged(double)", seen.append)
    slider.minimum, slider.maximum = -1.0, 1.0
    slider.value = 0.25
    slider.value = 9.0
    slider.setValue(-9.0)
    assert seen == [0.25, 1.0, -1.0] and slider.value == -1.0
    with pytest.raises(AttributeError):
        slider.valeu = 1


def test_node_combo_box_follows_the_scene(scene: Any) -> None:
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLTextNode"]
    box.noneEnabled = True
    box.setMRMLScene(scene)
    seen: list[str] = []
    box.connect("currentNodeIDChanged(QString)", seen.append)
    first = scene.AddNewNodeByClass("vtkMRMLTextNode", "first")
    second = scene.AddNewNodeByClass("vtkMRMLTextNode", "second")
    scene.AddNewNodeByClass("vtkMRMLTableNode", "other")
    assert box.nodeCount() == 2 and box.currentNode() is None
    box.setCurrentNode(second)
    scene.RemoveNode(second)
    assert box.currentNode() is None and seen == [second.GetID() or "vtkMRMLTextNode2", ""]
    box.addAttribute("vtkMRMLTextNode", "MolSub.Kind", "prediction")
    assert box.nodeCount() == 0
    first.SetAttribute("MolSub.Kind", "prediction")
    box.setMRMLScene(scene)
    assert box.nodeCount() == 1
    with pytest.raises(AttributeError, match="No such signal"):
        box.connect("currentNodeChanged(vtkMRMLTextNode*)", print)
    box.setMRMLScene(None)


UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Panel</class>
<widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout">
<item><widget class="ctkCollapsibleButton" name="box"><property name="text"><string>Box</string></property>
<layout class="QFormLayout"><item row="0" column="0"><widget class="ctkSliderWidget" name="slider">
<property name="maximum"><double>4.0</double></property>
<property name="SlicerParameterName" stdset="0"><string>opacity</string></property></widget></item>
</layout></widget></item>
<item><widget class="{combo}" name="chooser"><property name="noneEnabled"><bool>true</bool></property></widget></item>
</layout></widget>
<customwidgets><customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>qMRMLWidget.h</header>
<container>1</container></customwidget>
<customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><header>c.h</header><container>1</container>
</customwidget></customwidgets>
<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>chooser</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>
"""


def test_ui_file_with_slicers_widgets(tmp_path: Path, scene: Any) -> None:
    path = tmp_path / "Panel.ui"
    path.write_text(UI.format(combo="qMRMLNodeComboBox"))
    widget = slicer.util.loadUI(str(path))
    ui = slicer.util.childWidgetVariables(widget)
    assert (ui.slider.maximum, ui.slider.property("SlicerParameterName")) == (4.0, "opacity")
    assert ui.box.text == "Box" and ui.slider.parent() is ui.box
    widget.setMRMLScene(scene)
    assert ui.chooser.mrmlScene() is scene
    widget.setMRMLScene(None)


def test_ui_file_with_an_unknown_widget_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "Panel.ui"
    path.write_text(UI.format(combo="qMRMLNodeCombo"))
    with pytest.raises(LookupError, match="qMRMLNodeCombo"):
        slicer.util.loadUI(str(path))
