"""Slicer without its application: the real MRML core of the slicer-core wheel, real Qt, and strict stand-ins.

`start()` puts everything into place once: the modules `qt`, `ctk`, `slicer.*` and `DICOMLib`, the scene, the module
logics, the slice views and `slicer.app`. After it a scripted module is loaded by `load_scripted_module`.
"""

from __future__ import annotations

from typing import Any

_application: Any = None


def start() -> Any:
    """Start it, once; gives `slicer.app`."""
    global _application
    if _application is not None:
        return _application
    from . import packages

    packages.prepare()
    from . import qt

    qt.install()
    from . import ctk, dialogs

    ctk.install()
    dialogs.install()
    _import_core()
    from . import dicom, qmrml, sampledata, scripted

    qmrml.install()
    scripted.install()
    from .application import Application

    dicom.install()
    sampledata.install()
    _application = Application()
    return _application


def _import_core() -> None:
    """The wheel's libraries, also under the names they have inside Slicer."""
    import sys

    import slicer
    import slicer.util
    import slicer_core

    for name in ("vtkITK", "vtkTeem", "vtkSegmentationCore"):
        module = getattr(slicer_core, name, None)
        if module is not None:
            sys.modules.setdefault(name, module)
    sys.modules.setdefault("vtkSegmentationCorePython", slicer_core.vtkSegmentationCore)
    slicer.util.VTKObservationMixin  # noqa: B018  the real one, of the wheel
    slicer.selfTests = {}
