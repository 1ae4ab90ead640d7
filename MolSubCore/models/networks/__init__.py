"""The architectures."""

import importlib
import sys
from types import ModuleType
from typing import Any

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


def _is_compile_supported(*arguments: Any) -> Any:
    return importlib.import_module(_COMPILER[1]).is_compile_supported(*arguments)


def _import_torchvision() -> None:
    """Import torchvision without PyTorch's compiler, which takes longer to load than both together.

    torchvision.ops asks it one question, and not before a box is pooled; no classifier needs that.
    """
    if "torchvision" not in sys.modules and _COMPILER[0] not in sys.modules:
        stand_ins = [ModuleType(name) for name in _COMPILER]
        vars(stand_ins[1])["is_compile_supported"] = _is_compile_supported
        sys.modules.update(zip(_COMPILER, stand_ins, strict=True))
        try:
            importlib.import_module("torchvision")
        except ImportError:  # another torchvision asks for more
            pass
        finally:
            for name in _COMPILER:
                del sys.modules[name]
    importlib.import_module("torchvision")


_import_torchvision()
