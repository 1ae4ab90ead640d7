"""What Slicer builds, installs and lists: CMake, the index's entry, requirements, the core where it is installed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from PIL import Image

from cmake_lists import LISTS, ROOT, FileList
from MolSubCore.worker.jobs import sample_case
from render_icons import ICONS, render

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODULE = ROOT / "MolSubSlicer"
TOP = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRY_PATH = ROOT / "Resources" / "MolSubSlicer.json"
ENTRY = json.loads(ENTRY_PATH.read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
#: Slicer's own packages, which an extension must leave alone.
BUNDLED = {"numpy", "pydicom", "simpleitk"}


def metadata(name: str) -> str:
    """A value in the top CMakeLists.txt, found as the extensions index finds it."""
    (value,) = re.findall(rf'set\s*\({name}\s*"([^"]+)"[ ]*\)', TOP)
    return value


@pytest.mark.parametrize("files", LISTS, ids=lambda files: files.variable)
def test_the_lists_of_cmake_are_the_files_on_disk(files: FileList) -> None:
    named = files.read()
    assert named == files.on_disk(), "make cmake-lists"
    assert len(set(named)) == len(named)


def test_the_package_data_of_both_ways_to_install_are_the_same() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["MolSubCore"]
    core = ROOT / "MolSubCore"
    by_pip = {path.relative_to(core).as_posix() for pattern in patterns for path in core.glob(pattern)}
    (resources,) = (files for files in LISTS if files.variable == "CORE_RESOURCES")
    assert set(resources.read()) == by_pip


def test_nothing_beside_the_module_would_be_taken_for_one() -> None:
    assert [path.name for path in MODULE.glob("*.py")] == ["MolSubSlicer.py"]


def test_the_metadata_follow_the_rules_of_the_index() -> None:
    (name,) = re.findall(r"project\s*\(\s*([^\s)]+)", TOP)
    assert name == ENTRY_PATH.stem == "MolSubSlicer"
    assert not name.lower().startswith("slicer")
    home = metadata("EXTENSION_HOMEPAGE")
    assert home.startswith("https://") and home.rsplit("/", 1)[1].startswith("Slicer")
    assert metadata("EXTENSION_CONTRIBUTORS") and metadata("EXTENSION_DEPENDS") == "NA"
    assert "Not a medical device" in metadata("EXTENSION_DESCRIPTION")
    raw = home.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    for url in [metadata("EXTENSION_ICONURL"), *metadata("EXTENSION_SCREENSHOTURLS").split()]:
        assert url.startswith(raw) and url.endswith(".png")
        assert (ROOT / url.removeprefix(raw)).is_file(), url
    assert (ROOT / "LICENSE.txt").is_file()


def test_the_entry_of_the_index_follows_its_schema() -> None:
    """Schema v1.0.2: three required keys, no unknown ones, and the types of each."""
    kinds = {
        **dict.fromkeys(("$schema", "category", "scm_url", "scm_revision", "scm_type"), str),
        **dict.fromkeys(("dicom_support_rule", "build_subdirectory"), str),
        "build_dependencies": list, "enabled": bool, "tier": int,
    }  # fmt: skip
    assert {"$schema", "category", "scm_url"} <= set(ENTRY) <= set(kinds)
    assert all(type(value) is kinds[key] for key, value in ENTRY.items())
    schema = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
    assert ENTRY["$schema"] == schema + "slicer-extension-catalog-entry-schema-v1.0.2.json#"
    assert ENTRY["category"] == "Quantification"
    assert ENTRY["scm_url"].removesuffix(".git") == metadata("EXTENSION_HOMEPAGE")
    assert 1 <= ENTRY["tier"] <= 5
    assert ENTRY["dicom_support_rule"] == "Modality == 'MG'"
    assert b"\r" not in ENTRY_PATH.read_bytes()


def package(line: str) -> str:
    """Name of the package in a requirement, as pip normalises it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", line.strip(), maxsplit=1)[0]).lower()


def test_the_requirements_are_those_of_the_core_without_what_slicer_brings() -> None:
    text = (MODULE / "Resources" / "requirements.txt").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert {package(line) for line in lines}.isdisjoint(BUNDLED)
    needed = PROJECT["project"]["dependencies"]
    assert {package(line) for line in needed} >= BUNDLED
    assert lines == [line for line in needed if package(line) not in BUNDLED]


def test_the_icons_are_drawn_from_their_svg(tmp_path: Path) -> None:
    drawings = sorted(ICONS.glob("*.svg"))
    assert "MolSubSlicer" in {path.stem for path in drawings}
    for svg in drawings:
        with Image.open(svg.with_suffix(".png")) as image:
            assert image.size == (128, 128) and image.mode == "RGBA"
            committed = image.convert("RGBa").tobytes()
        render(svg, tmp_path / "drawn.png")
        with Image.open(tmp_path / "drawn.png") as image:
            drawn = image.convert("RGBa").tobytes()
        apart = sum(abs(a - b) for a, b in zip(committed, drawn, strict=True)) / len(drawn)
        assert apart < 1.0, f"{svg.name} has changed: make icons"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slicer's folder qt-scripted-modules, with what CMake lists and nothing else."""
    folder = tmp_path_factory.mktemp("Slicer") / "qt-scripted-modules"
    for files in LISTS:
        for name in files.read():
            target = folder / files.subdir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files.path.parent / name, target)
    return folder


def run_python(folder: Path, code: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_ALL = """
import importlib, pkgutil, MolSubCore
for found in pkgutil.walk_packages(MolSubCore.__path__, "MolSubCore."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print(MolSubCore.__file__)
"""


@pytest.mark.parametrize("place", ["installed", "checkout"])
def test_every_module_of_the_core_can_be_imported(place: str, installed: Path, tmp_path: Path) -> None:
    folder = installed if place == "installed" else ROOT
    found = run_python(folder, IMPORT_ALL, tmp_path).strip()
    assert Path(found) == folder / "MolSubCore" / "__init__.py"


def test_an_installed_worker_makes_the_sample_case(installed: Path, tmp_path: Path) -> None:
    request = {"molsub": 1, "id": "1", "job": "sample-case", "options": {"out": str(tmp_path / "case")}}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "MolSubCore", "worker"],
        env={**os.environ, "PYTHONPATH": str(installed)}, cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] in ("done", "failed"):
            break
    process.stdin.close()
    assert process.wait(20) == 0
    assert events[-1]["event"] == "done", events[-1]
    assert [Path(case["image"]).name for case in events[-1]["result"]["cases"]] == [
        "molsub_sample_R_CC.dcm",
        "molsub_sample_R_MLO.dcm",
    ]


def registered_checksums() -> dict[str, str]:
    """File name and SHA256 in SampleCase.py, read as text: it imports slicer."""
    text = (MODULE / "MolSubSlicerLib" / "Load" / "SampleCase.py").read_text(encoding="utf-8")
    return dict(re.findall(r'"(molsub_sample_\w+\.\w+)": "([0-9a-f]{64})"', text))


#: Mean and standard deviation of the sample case's pixels.
SAMPLE_PIXELS = {"molsub_sample_R_CC.dcm": (434.89, 549.35), "molsub_sample_R_MLO.dcm": (583.10, 647.97)}


def test_the_sample_case_is_that_of_the_registered_checksums(tmp_path: Path) -> None:
    """Masks byte for byte; pictures but for the last bits, in which processors round differently."""
    sample_case({"out": str(tmp_path)}, lambda *args, **values: None)
    registered = registered_checksums()
    made = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert made.keys() == registered.keys()
    for name, digest in made.items():
        if name not in SAMPLE_PIXELS:
            assert digest == registered[name]
            continue
        pixels = pydicom.dcmread(tmp_path / name).pixel_array
        assert pixels.shape == (2048, 1664)
        assert (pixels.mean(), pixels.std()) == pytest.approx(SAMPLE_PIXELS[name], abs=0.02)


def test_the_sample_case_would_be_downloaded_from_the_projects_page() -> None:
    text = (MODULE / "MolSubSlicerLib" / "Load" / "SampleCase.py").read_text(encoding="utf-8")
    (url,) = re.findall(r'^URL = "([^"]+)"', text, flags=re.MULTILINE)
    assert url.startswith(metadata("EXTENSION_HOMEPAGE") + "/releases/download/") and url.endswith("/")
