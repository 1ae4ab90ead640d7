"""The worker's job ``environment``: which Python and libraries are installed, and whether they work."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from MolSubCore.errors import MolSubError, reason_of
from MolSubCore.worker.loading import load
from MolSubCore.worker.protocol import Progress, check_options

#: What a worker needs: distribution and minimum version, as in pyproject.toml (compared by a test).
NEEDED: Mapping[str, str] = {
    "torch": "2.5",
    "torchvision": "0.20",
    "numpy": "1.26",
    "scipy": "1.15",
    "scikit-learn": "1.4",
    "threadpoolctl": "3",
    "statsmodels": "0.14",
    "scikit-image": "0.22",
    "openpyxl": "3.1",
    "pydicom": "3.0.2",
    "pylibjpeg": "2.0",
    "SimpleITK": "2.4",
    "pillow": "10.1",
    "opencv-python-headless": "4.8",
    "grad-cam": "1.5.7",
    "safetensors": "0.4.5",
    "matplotlib": "3.8",
    "jinja2": "3.1",
    "reportlab": "4.1",
    "tqdm": "4.66",
    "platformdirs": "4",
}
#: Other distributions that bring the same module.
_SAME = {"opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")}
#: Modules whose distribution has another name.
_MODULES = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "pytorch_grad_cam": "grad-cam",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}
#: 3D Slicer brings these; replacing them would break it.
_SLICERS = ("numpy", "pydicom", "SimpleITK")
_INSTALL = "Install it in the Set-up panel, or choose another Python environment there"
_OTHER = "Choose another Python environment in the Set-up panel; in 3D Slicer's own it must not be replaced"

_GIB = 1 << 30


def describe(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do the job ``environment``; anything missing is reported as a problem, not raised.

    Parameters
    ----------
    options : mapping
        Optional: ``device`` (``auto``, the default, ``cpu`` or ``cuda``).
    progress : callable
        ``progress(share, stage=...)``: ``loading PyTorch``, ``computing``.

    Returns
    -------
    dict
        ``python``, ``executable``; the versions ``pydicom, numpy, simpleitk, torch, torchvision`` and ``cuda_build``,
        ``driver`` (null where there is none); ``device`` (``cpu``, ``cuda`` or null), ``device_name``,
        ``memory_gib``, ``threads``, ``kernel_seconds`` (of a small convolution; null where it failed); ``missing``
        (requirements for pip) and ``problems`` (``problem, remedy``).
    """
    check_options("environment", options, optional=("device",))
    device = options.get("device") or "auto"
    if device not in ("auto", "cpu", "cuda"):
        raise MolSubError("device", f"unknown value '{device}'", "Choose auto, cpu or cuda")
    progress(0.0, stage="loading PyTorch")
    problems, missing = check_packages()
    memory = computer_memory()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "executable": sys.executable,
        **{name.casefold(): version_of(name) for name in ("pydicom", "numpy", "SimpleITK", "torch", "torchvision")},
        "cuda_build": None,
        "driver": nvidia_driver(),
        "device": None,
        "device_name": processor_name(),
        "memory_gib": None if memory is None else round(memory / _GIB, 1),
        "threads": os.cpu_count(),
        "kernel_seconds": None,
    }
    if found["torch"] is not None:
        try:
            probe = load("MolSubCore.worker.device_probe")
        except Exception as error:  # of a broken installation: a missing library, another processor
            reason = reason_of(error, 200, kind=True)
            problems.append(_problem(f"PyTorch cannot be loaded ({reason})", "Install PyTorch again"))
        else:
            progress(0.7, stage="computing")
            values, faults = probe.probe(device, driver=found["driver"])
            found |= values
            problems += [_problem(*fault) for fault in faults]
    return {**found, "missing": missing, "problems": problems}


def version_of(distribution: str) -> str | None:
    """The installed version of a distribution, or of one that brings the same module."""
    for name in (distribution, *_SAME.get(distribution, ())):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def distribution_of(module: str) -> str:
    """pip's name for what brings a module."""
    return _MODULES.get(module, module)


def check_packages() -> tuple[list[dict[str, str]], list[str]]:
    """Problems with missing and old packages, and requirements for pip."""
    problems, missing = [], []
    for name, least in NEEDED.items():
        version = version_of(name)
        if version is None:
            problems.append(_problem(f"{name} is not installed", _INSTALL))
            missing.append(f"{name}>={least}")
        elif _numbers(version) < _numbers(least):
            remedy = _OTHER if name in _SLICERS else _INSTALL
            problems.append(_problem(f"{name} is version {version}, {least} or newer is needed", remedy))
            missing.append(f"{name}>={least}")
    return problems, missing


def _numbers(version: str) -> tuple[int, ...]:
    """The release numbers of a version: ``2.5.1+cu124`` is (2, 5, 1)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found.group().split("."))) if found else ()


def nvidia_driver() -> str | None:
    """Version of the NVIDIA driver by nvidia-smi, or None."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        output = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return output.split("\n")[0].strip() or None
    return None


def processor_name() -> str:
    """The processor's name as its maker writes it, or the kind of machine."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def computer_memory() -> int | None:
    """Bytes of memory of this computer, or None where it is unknown."""
    if sys.platform == "win32":
        return _windows_memory()
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _windows_memory() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = (
            *((name, ctypes.c_ulong) for name in ("length", "load")),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")),
        )

    status = Status(length=ctypes.sizeof(Status))
    done = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return int(status.total) if done else None


def _problem(problem: str, remedy: str) -> dict[str, str]:
    return {"problem": problem, "remedy": remedy}
