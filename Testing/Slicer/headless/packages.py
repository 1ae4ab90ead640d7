"""What must be on the machine before VTK may render and Qt may start, and the settings for both."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from pathlib import Path

#: Shared library -> Debian package that brings it.
DEBIAN_PACKAGES = {
    "libEGL.so.1": "libegl1",
    "libEGL_mesa.so.0": "libegl-mesa0",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libXcursor.so.1": "libxcursor1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
}
#: Mesa's software renderer is a driver file or a library, under one of these names.
_RENDERERS = ("swrast_dri.so", "libgallium", "libdril_dri.so")
PYTHON_PACKAGES = {"slicer_core": "slicer-core", "vtkmodules": "vtk", "PySide6": "PySide6-Essentials"}


def missing_packages() -> list[str]:
    """Names of the packages that are not there: Python's first, then Debian's."""
    absent = [package for module, package in PYTHON_PACKAGES.items() if importlib.util.find_spec(module) is None]
    for library, package in DEBIAN_PACKAGES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            absent.append(package)
    if not _has_renderer():
        absent.append("libgl1-mesa-dri")
    return absent


def _has_renderer() -> bool:
    libraries = [folder for folder in Path("/usr/lib").iterdir() if folder.is_dir()]
    places = [place for folder in libraries for place in (folder, folder / "dri") if place.is_dir()]
    return any(file.name.startswith(_RENDERERS) for place in places for file in place.iterdir())


def prepare() -> None:
    """Set what VTK and Qt read when they are imported: no window, no screen."""
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
