"""The job ``environment``, and what a program without these libraries can still import."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from MolSubCore.cohort.synthetic import make_synthetic_cohort
from MolSubCore.errors import MolSubError
from MolSubCore.worker import device_probe, environment
from MolSubCore.worker.environment import NEEDED, check_packages, describe
from MolSubCore.worker.loading import load
from MolSubCore.worker.protocol import LAST, Request, read_event

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"python", "executable", "pydicom", "numpy", "simpleitk", "torch", "torchvision", "cuda_build", "driver",
        "device", "device_name", "memory_gib", "threads", "kernel_seconds", "missing", "problems"}  # fmt: skip
SLICERS = (
    "worker.protocol",
    "errors",
    "files",
    "tasks",
    "lesions.preprocessing",
    "lesions.lesion",
    "lesions.roi",
    "annotation.worklist",
    "worker.worker",
    "worker.environment",
    "worker.jobs",
    "worker.folder",
)
BLOCKED = ("torch", "torchvision", "cv2", "PIL", "pydicom", "scipy", "skimage", "sklearn", "SimpleITK", "pandas",
           "matplotlib", "openpyxl", "jinja2", "reportlab")  # fmt: skip


def quiet(share: float, **values: Any) -> None:
    """A listener that does not listen."""


def without(blocked: tuple[str, ...], code: str) -> str:
    """What a Python prints that lacks these modules."""
    lines = f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\nsys.path.insert(0, {str(ROOT)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_slicer_imports_needs_numpy_alone() -> None:
    imports = "\n".join(f"import MolSubCore.{name}" for name in SLICERS)
    code = f"""
{imports}
from MolSubCore.lesions.lesion import Box
from MolSubCore.lesions.preprocessing import RECIPES
from MolSubCore.lesions.roi import square_roi
geometry = square_roi(Box(100, 120, 50, 60), (30, 30), (1000, 800), RECIPES["default"].size)
print(geometry.row_start, geometry.row_stop, geometry.col_start, geometry.col_stop)
print(geometry.image_to_patch(geometry.patch_to_image([[3.5, 7.0]])).tolist())
"""
    told = without(BLOCKED, code).split("\n")
    # Rows 70 to 150 are 80 long, columns 20 to 90 are 70 long: a square of 80 about column 55.
    assert told[0] == "70 150 15 95"
    assert json.loads(told[1])[0] == pytest.approx([3.5, 7.0])


def test_the_requirements_are_those_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = project[project.index("\ndependencies = [") : project.index("[project.optional-dependencies]")]
    found = dict(re.findall(r'^  "([\w-]+)(?:\[[^]]*\])?>=([\d.]+),', listed, flags=re.MULTILINE))
    assert dict(NEEDED) == found


def test_this_environment_computes() -> None:
    stages: list[str] = []
    result = describe({"device": "cpu"}, lambda share, stage: stages.append(stage))
    assert set(result) == KEYS
    json.dumps(result, allow_nan=False)
    assert stages == ["loading PyTorch", "computing"]
    assert (result["problems"], result["missing"]) == ([], [])
    assert (result["device"], result["torch"]) == ("cpu", importlib.metadata.version("torch"))
    assert result["threads"] == torch.get_num_threads()
    assert 0 < result["kernel_seconds"] < 60
    assert result["memory_gib"] > 0.5
    assert result["device_name"]


def test_without_torch_and_with_slicers_old_pydicom_it_is_told() -> None:
    """As in a fresh 3D Slicer 5.10."""
    code = """
import importlib.metadata as metadata, json
own = metadata.version
def version(name):
    if name in ("torch", "torchvision", "grad-cam"):
        raise metadata.PackageNotFoundError(name)
    return "2.4.4" if name == "pydicom" else own(name)
metadata.version = version
from MolSubCore.worker.environment import describe
print(json.dumps(describe({}, lambda share, **values: None)))
"""
    result = json.loads(without(BLOCKED, code))
    assert (result["torch"], result["torchvision"], result["kernel_seconds"]) == (None, None, None)
    assert result["pydicom"] == "2.4.4"
    assert result["missing"] == ["torch>=2.5", "torchvision>=0.20", "pydicom>=3.0.2", "grad-cam>=1.5.7"]
    said = {one["problem"]: one["remedy"] for one in result["problems"]}
    assert next(iter(said)) == "torch is not installed"
    assert "must not be replaced" in said["pydicom is version 2.4.4, 3.0.2 or newer is needed"]


#: Of what this worker may use, the Python of 3D Slicer 5.12 brings these; modules, and what their files begin with.
SLICER_BRINGS = ("numpy", "pydicom", "PIL", "pillow", "SimpleITK", "simpleitk", "scipy", "packaging")


def bare_worker(folder: Path, brought: tuple[str, ...], *requests: Request) -> dict[str, Any]:
    """Last events by job of a worker whose Python has the standard library and these packages, and nothing else."""
    folder.mkdir()
    for place in {Path(path) for path in sys.path if path.endswith(("site-packages", "dist-packages"))}:
        for entry in place.iterdir():
            if brought and entry.name.startswith(brought):
                (folder / entry.name).symlink_to(entry)
    command = [sys.executable, "-S", "-u", "-m", "MolSubCore", "worker"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder)))}
    told: dict[str, Any] = {}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        for request in requests:
            worker.stdin.write(request.line())
        worker.stdin.flush()  # and left open
        while len(told) < len(requests) and (line := worker.stdout.readline()):
            event = read_event(line)
            if event.event in LAST:
                told[event.id] = event
        worker.stdin.close()
    assert len(told) == len(requests)
    return told


@pytest.mark.parametrize("brought", [(), SLICER_BRINGS], ids=["nothing", "what Slicer brings"])
def test_a_worker_starts_and_tells_what_is_missing_before_anything_is_installed(
    tmp_path: Path, brought: tuple[str, ...]
) -> None:
    """First use in a fresh 3D Slicer: the check must not need what it checks."""
    requests = (Request("look", "environment"), Request("models", "library-list", {"folder": str(tmp_path / "none")}))
    told = bare_worker(tmp_path / "python", brought, *requests)
    assert told["look"].event == "done"
    missing = {re.split("[>=]", each)[0] for each in told["look"].values["result"]["missing"]}
    assert missing == set(NEEDED) - {"numpy", "pydicom", "SimpleITK", "scipy", "pillow"} if brought else set(NEEDED)
    assert {"torch", "tqdm", "opencv-python-headless"} < missing
    assert (told["models"].event, told["models"].values["result"]["bundles"]) == ("done", [])


def test_with_what_slicer_brings_images_are_read_and_the_rest_names_its_package(tmp_path: Path) -> None:
    """A mammogram can be looked at before anything is installed; what cannot be done yet says what it needs."""
    image = next(make_synthetic_cohort(tmp_path / "cohort", patients=1, seed=3).parent.glob("images/*.dcm"))
    told = bare_worker(
        tmp_path / "python", SLICER_BRINGS,
        Request("find", "find-images", {"path": str(image)}),
        Request("read", "read-image", {"path": str(image), "out": str(tmp_path / "out")}),
        Request("sample", "sample-case", {"out": str(tmp_path / "sample")}),
        Request("predict", "predict", {"bundle": "none", "images": [{"image": "a", "lesions": "b"}], "out": "out"}),
    )  # fmt: skip
    assert told["find"].event == "done", told["find"].values
    assert told["find"].values["result"]["images"] == [str(image)]
    assert told["read"].event == "done", told["read"].values
    for job, package in (("sample", "opencv-python-headless"), ("predict", "torch")):
        assert told[job].event == "failed"
        assert told[job].values["message"].startswith(f"{package}: is not installed in ")
        assert told[job].values["message"].endswith("Open the panel Set-up and press Install.")


def test_a_broken_torch_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(environment, "load", broken)
    (problem,) = describe({}, quiet)["problems"]
    assert problem["problem"] == "PyTorch cannot be loaded (OSError: libcudart.so.12: cannot open shared object file)"


@pytest.mark.parametrize(("device", "computes"), [("auto", "cpu"), ("cuda", None)])
def test_a_gpu_without_kernels_is_found_out(monkeypatch: pytest.MonkeyPatch, device: str, computes: str | None) -> None:
    own = device_probe.kernel_seconds

    def seconds(name: str) -> float:
        if name == "cuda":
            raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")
        return own(name)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device_probe, "kernel_seconds", seconds)
    result = describe({"device": device}, quiet)
    assert result["device"] == computes
    (problem,) = result["problems"]
    assert "the GPU failed (CUDA error: no kernel image is available for execution" in problem["problem"]
    assert "built for this GPU" in problem["remedy"]


def test_a_wrong_result_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    own, number = device_probe._gradient, iter(range(9))
    monkeypatch.setattr(device_probe, "_gradient", lambda layer, patch: own(layer, patch) * (1 + 0.1 * next(number)))
    result = describe({"device": "cpu"}, quiet)
    assert result["device"] is None
    assert "wrong result" in result["problems"][0]["problem"]


@pytest.mark.parametrize(("driver", "device", "words"), [
    (None, "auto", None), (None, "cuda", "no NVIDIA driver"), ("550.1", "auto", "sees no GPU with driver 550.1"),
    ("550.1", "cpu", None),
])  # fmt: skip
def test_a_missing_gpu_is_told_where_one_is_expected(
    monkeypatch: pytest.MonkeyPatch, driver: str | None, device: str, words: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(environment, "nvidia_driver", lambda: driver)
    result = describe({"device": device}, quiet)
    assert [words in one["problem"] for one in result["problems"] if words] == ([True] if words else [])
    assert len(result["problems"]) == (words is not None)
    assert result["device"] == (None if device == "cuda" else "cpu")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(MolSubError, match="unknown value 'tpu'"):
        describe({"device": "tpu"}, quiet)


@pytest.mark.parametrize(("version", "old"), [("2.5", False), ("2.10.0+cu128", False), ("2.4.9", True), ("3", False)])
def test_versions_are_compared_as_numbers(monkeypatch: pytest.MonkeyPatch, version: str, old: bool) -> None:
    monkeypatch.setattr(environment, "version_of", lambda name: version if name == "torch" else "99")
    problems, missing = check_packages()
    assert missing == (["torch>=2.5"] if old else [])
    assert len(problems) == len(missing)


def test_the_reader_says_which_library_is_missing(tmp_path: Path) -> None:
    """A worker without pydicom goes on, and its sentence names the library and the Python."""
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 300)
    code = f"""
import io
from MolSubCore.worker.protocol import Request
from MolSubCore.worker.worker import Worker
events = io.StringIO()
Worker(io.StringIO(), events).run(Request("1", "read-image", {{"path": {str(tmp_path / "a.dcm")!r}, "out": "out"}}))
print(events.getvalue().splitlines()[-1])
"""
    event = json.loads(without(("pydicom",), code))
    assert (event["event"], event["bad_input"]) == ("failed", True)
    assert re.match(r"pydicom: [\d.]+ is too old or damaged in the Python ", event["message"])


def test_an_import_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "molsub_flaky.py").write_text("raise TimeoutError('first')")
    with pytest.raises(TimeoutError, match="first"):
        load("molsub_flaky")
    (tmp_path / "molsub_flaky.py").write_text("value = 17  # second, of another length")
    assert load("molsub_flaky").value == 17
