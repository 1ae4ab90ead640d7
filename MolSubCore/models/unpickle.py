"""Tensors out of a PyTorch checkpoint, without running anything that is in it.

A ``.pth`` file is a zip archive of one pickle and the bytes of its storages. The pickle may hold a
whole module, whose classes would be imported and whose code would be run. Here every class becomes an
inert one, and only tensors, dictionaries and the tree of modules are kept.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MolSubCore.errors import BundleError

_PICKLE_CAP, _STORAGE_CAP = 64 << 20, 2 << 30
_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class Inert:
    """Stands for an object of any class: keeps its state, does nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Dictionary subclasses fill themselves this way; nothing of them is needed."""

    def append(self, value: Any) -> None:
        """List subclasses fill themselves this way."""

    def extend(self, values: Any) -> None:
        """List subclasses fill themselves this way."""

    add = append


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    """A view of a storage, checked to lie inside it."""
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise pickle.UnpicklingError(f"tensor of size {size}, stride {stride}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.numel():
        raise pickle.UnpicklingError(f"tensor of size {size} reaches beyond its {storage.numel()} values")
    return torch.as_strided(storage, size, stride, offset).clone()


def _rebuild_parameter(data: Tensor, *rest: Any) -> Tensor:
    return data


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _Storage:
    """Named in the pickle in place of a storage class."""

    def __init__(self, name: str) -> None:
        self.name = name


class InertUnpickler(pickle.Unpickler):
    """Resolves no class but the ones that hold tensors and dictionaries."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(io.BytesIO(_entry(archive, f"{prefix}data.pkl", _PICKLE_CAP)))
        self._archive, self._prefix = archive, prefix
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Our own stand-in for ``module.name``; nothing is imported."""
        if module == "torch" and name in _TYPES:
            return _Storage(name)
        return _ALLOWED.get((module, name)) or type(name, (Inert,), {})

    def persistent_load(self, pid: Any) -> Tensor:
        """A storage's bytes as a flat tensor, on the CPU whatever device it was on."""
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, _Storage):
            raise pickle.UnpicklingError(f"unknown reference {pid!r}")
        if key not in self._storages:
            dtype = _TYPES[storage.name]
            data = bytearray(_entry(self._archive, f"{self._prefix}data/{key}", _STORAGE_CAP))
            if len(data) < count * dtype.itemsize:
                raise pickle.UnpicklingError(f"storage {key} has {len(data)} bytes, expected {count * dtype.itemsize}")
            self._storages[key] = (
                torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]


def _entry(archive: zipfile.ZipFile, name: str, cap: int) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > cap or info.compress_type != zipfile.ZIP_STORED:
        raise pickle.UnpicklingError(f"{name} is compressed or larger than {cap} bytes")
    return archive.read(info)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All named tensors of a checkpoint: a state_dict, one inside a dictionary, or a whole module.

    Raises
    ------
    BundleError
        If it is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            if len(names) != 1:
                raise pickle.UnpicklingError(f"{len(names)} pickles inside, expected 1")
            content = InertUnpickler(archive, names[0].removesuffix("data.pkl")).load()
    except FileNotFoundError:
        raise BundleError(path, "does not exist", "Check the path") from None
    except zipfile.BadZipFile:
        remedy = "If it is of PyTorch before 1.6, load it there and save it again with a newer version"
        raise BundleError(path, "is no PyTorch checkpoint (no zip archive)", remedy) from None
    except MemoryError:
        raise
    except Exception as error:  # a hostile pickle can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise BundleError(path, f"cannot be read as a PyTorch checkpoint ({reason})", "Download it again") from None
    tensors = _collect(content)
    if not tensors:
        raise BundleError(path, "holds no tensors", "Give a state_dict or a saved model")
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _collect(content: Any) -> dict[str, Tensor]:
    if isinstance(content, Inert):
        return dict(_walk(content, "", 0))
    if not isinstance(content, dict):
        return {}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        return tensors
    # A training checkpoint: {"state_dict": ..., "epoch": ...} and the like.
    for value in content.values():
        if inner := _collect(value):
            return inner
    return {}


def _walk(module: Inert, prefix: str, depth: int) -> list[tuple[str, Tensor]]:
    """Parameters and buffers of a module and all below it, with dotted names."""
    state = module.state if isinstance(module.state, dict) else {}
    found = [
        (prefix + str(name), value)
        for group in ("_parameters", "_buffers")
        for name, value in _items(state.get(group))
        if isinstance(value, Tensor)
    ]
    if depth < 50:
        for name, child in _items(state.get("_modules")):
            if isinstance(child, Inert):
                found += _walk(child, f"{prefix}{name}.", depth + 1)
    return found


def _items(group: Any) -> list[tuple[Any, Any]]:
    return list(group.items()) if isinstance(group, dict) else []


def is_finite(tensors: dict[str, Tensor]) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(bool(np.isfinite(tensor.float().numpy()).all()) for tensor in tensors.values())
