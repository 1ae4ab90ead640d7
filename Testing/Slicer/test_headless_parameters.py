"""Parameter nodes are written in the text form that Slicer's own wrapper writes and reads.

The expected names and texts were taken from a run of Slicer 5.12.3's own parameterNodeWrapper package over the same
class; 5.10.0's serializers are the same file.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Optional

import ctk
import pytest
import qt
import slicer
from slicer.parameterNodeWrapper import Choice, Default, Minimum, WithinRange, parameterNodeWrapper


class Colours(enum.Enum):
    INFERNO = "inferno map"
    GREY = "grey map"


@parameterNodeWrapper
class Parameters:
    volume: Optional[slicer.vtkMRMLScalarVolumeNode]  # noqa: UP045  as Slicer's documentation has it
    bare: slicer.vtkMRMLScalarVolumeNode
    opacity: Annotated[float, WithinRange(0, 1), Default(0.5)]
    layer: Annotated[str, Choice(["a", "b"]), Default("b")]
    count: Annotated[int, Minimum(1)] = 3
    visible: bool = True
    path: Path
    names: list[str]
    pair: tuple[int, str] = (0, "")
    table: dict[str, float]
    colours: Colours = Colours.GREY
    note: str | None


@pytest.fixture
def node(scene: Any) -> Any:
    return scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


@pytest.fixture
def parameters(node: Any) -> Any:
    return Parameters(node)


def texts(node: Any) -> dict[str, str]:
    return {name: node.GetParameter(name) for name in node.GetParameterNames()}


DEFAULTS = {
    "volume.1": "True",
    "bare": "",
    "opacity": "0.5",
    "layer": "b",
    "count": "3",
    "visible": "True",
    "path": ".",
    "names.len": "0",
    "pair.0": "0",
    "pair.1": "",
    "table.len": "0",
    "colours": "GREY",
    "note.1": "True",
}


def test_defaults_are_written_at_once(node: Any, parameters: Any) -> None:
    assert texts(node) == DEFAULTS


def test_values_in_slicers_text_form(node: Any, parameters: Any, scene: Any) -> None:
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.volume = volume
    parameters.bare = volume
    parameters.opacity = 0.25
    parameters.visible = False
    parameters.path = Path("/a/b.csv")
    parameters.names = ["x", "y"]
    parameters.names.append("z")
    parameters.pair = (4, "four")
    parameters.table = {"k": 1.5}
    parameters.colours = Colours.INFERNO
    parameters.note = "seen"
    changed = {
        "volume.0": "", "opacity": "0.25", "visible": "False", "path": "/a/b.csv",
        "names.0": "x", "names.1": "y", "names.2": "z", "names.len": "3", "pair.0": "4", "pair.1": "four",
        "table.len": "1", "table.0.0": "k", "table.0.1": "1.5", "colours": "INFERNO", "note.0": "seen",
    }  # fmt: skip
    expected = {name: text for name, text in DEFAULTS.items() if name not in ("volume.1", "note.1")} | changed
    assert texts(node) == expected
    assert node.GetNodeReferenceID("volume.0") == node.GetNodeReferenceID("bare") == volume.GetID()


def test_what_slicer_wrote_is_read(node: Any) -> None:
    for name, text in {"opacity": "0.75", "names.len": "1", "names.0": "q", "colours": "INFERNO", "note.0": ""}.items():
        node.SetParameter(name, text)
    parameters = Parameters(node)
    assert (parameters.opacity, list(parameters.names), parameters.colours) == (0.75, ["q"], Colours.INFERNO)
    assert parameters.note == "" and parameters.volume is None


def test_shorter_lists_leave_nothing_behind(node: Any, parameters: Any) -> None:
    parameters.names = ["a", "b", "c"]
    parameters.names = ["d"]
    assert {n: t for n, t in texts(node).items() if n.startswith("names")} == {"names.0": "d", "names.len": "1"}


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("opacity", 1.5, ValueError), ("layer", "c", ValueError), ("count", 0, ValueError), ("count", "3", TypeError),
     ("visible", 1, TypeError), ("path", "/a", TypeError), ("colours", "GREY", TypeError)],
)  # fmt: skip
def test_wrong_values_are_refused(parameters: Any, name: str, value: Any, error: type[Exception]) -> None:
    before = getattr(parameters, name)
    with pytest.raises(error):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_a_saved_scene_brings_them_back(tmp_path: Path, parameters: Any, scene: Any) -> None:
    parameters.parameterNode.SetName("kept")
    parameters.names = ["one", "two"]
    parameters.note = 'a "quoted" <text>'
    slicer.util.saveScene(str(tmp_path / "s.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "s.mrb"))
    read = Parameters(slicer.util.getNode("kept"))
    assert list(read.names) == ["one", "two"] and read.note == 'a "quoted" <text>'


def test_bound_widgets_follow_both_ways(parameters: Any) -> None:
    holder = qt.QWidget()
    layout = qt.QVBoxLayout(holder)
    widgets = {"opacity": ctk.ctkSliderWidget(), "visible": qt.QCheckBox(), "layer": qt.QComboBox(),
               "colours": qt.QComboBox(), "path": ctk.ctkPathLineEdit(), "count": qt.QSpinBox()}  # fmt: skip
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
        layout.addWidget(widget)
    widgets["colours"].addItems(["?", "?"])
    tag = parameters.connectGui(holder)
    assert (widgets["opacity"].value, widgets["opacity"].maximum, widgets["layer"].currentText) == (0.5, 1.0, "b")
    assert widgets["colours"].currentText == "GREY"
    widgets["opacity"].value = 0.2
    widgets["colours"].currentIndex = 0
    widgets["path"].currentPath = "/x"
    assert (parameters.opacity, parameters.colours, parameters.path) == (0.2, Colours.INFERNO, Path("/x"))
    parameters.visible = False
    parameters.layer = "a"
    assert not widgets["visible"].checked and widgets["layer"].currentIndex == 0
    parameters.disconnectGui(tag)
    widgets["opacity"].value = 0.9
    assert parameters.opacity == 0.2


def test_a_binding_slicer_would_refuse(parameters: Any) -> None:
    with pytest.raises(RuntimeError, match="unbounded"):
        parameters.connectParametersToGui({"count": ctk.ctkSliderWidget()})
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters.connectParametersToGui({"opacity": qt.QLineEdit()})
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.connectParametersToGui({"opasity": ctk.ctkSliderWidget()})


def test_a_tuple_needs_a_default() -> None:
    with pytest.raises(TypeError, match="give the tuple a default"):

        @parameterNodeWrapper
        class Pair:
            pair: tuple[int, int]
