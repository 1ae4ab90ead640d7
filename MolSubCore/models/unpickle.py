"""Tensors out of a PyTorch checkpoint, without running anything that is in it.

A ``.pth`` file is a zip archive of one pickle and the bytes of its storages. The pickle may hold a whole module, whose
classes would be imported and whose code would be run. Here every class is replaced by an inert one, and only tensors,
dictionaries and the tree of modules are kept.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from MolSubCore.errors import BundleError, reason_of
from MolSubCore.models.card import check_checkpoint

#: Largest pickle in bytes, most modules, deepest dictionary that may hold a state_dict.
_PICKLE_CAP, _MODULES_CAP, _DEPTH_CAP = 4 << 20, 10_000, 3
_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
#: What torch.save writes, at pickle protocols 2 to 4. Left out: classes other than by name, byte arrays (their length
#: is allocated before a byte is read), frozen sets.
_OPERATIONS = frozenset(b"".join((
    pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK,
    pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2,
    pickle.LONG1, pickle.LONG4, pickle.BINFLOAT, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.BINUNICODE,
    pickle.SHORT_BINUNICODE, pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.EMPTY_LIST, pickle.EMPTY_DICT,
    pickle.EMPTY_SET, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.APPEND,
    pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS, pickle.ADDITEMS, pickle.GLOBAL, pickle.STACK_GLOBAL,
    pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ, pickle.BINGET, pickle.LONG_BINGET, pickle.BINPUT,
    pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.BINPERSID,
)))  # fmt: skip


class Inert:
    """Stands for an object of any class: keeps its state, does nothing."""

    state: Any = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Dictionary subclasses fill themselves this way; nothing of them is needed."""

    def append(self, value: Any) -> None:
        """List subclasses fill themselves this way."""

    add = extend = append


class _Table(dict[Any, Any]):
    """Stands for an OrderedDict; attributes that a pickle gives it are dropped."""

    def __init__(self, pairs: Any = ()) -> None:
        super().__init__((_checked_key(key), value) for key, value in pairs)

    def __setstate__(self, state: Any) -> None:
        pass


class _Held(Inert):
    """A tensor out of the pickle's reach: a bare one would let BUILD set its storage, size and stride."""

    tensor: Tensor | None = None


class _View(_Held):
    """Stands for a tensor: a view of a storage, checked to lie inside it and to be no larger."""

    def __init__(self, held: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> None:
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or len(size) > 8 or not all(type(n) is int and n >= 0 for n in numbers):
            raise pickle.UnpicklingError("tensor with an impossible size or stride")
        storage = held.tensor
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 not in size and (last >= storage.numel() or math.prod(size) > storage.numel()):
            raise pickle.UnpicklingError(f"tensor of size {size} reaches beyond its {storage.numel()} values")
        self.tensor = torch.as_strided(storage, size, stride, offset)


class _Parameter(_Held):
    """Stands for a parameter: the tensor given to it."""

    def __init__(self, held: Any, *rest: Any) -> None:
        self.tensor = held.tensor


_KNOWN: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): _Table,
    ("torch._utils", "_rebuild_tensor_v2"): _View,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
}


def _checked_key(key: Any) -> str | int:
    """A key that is safe to hash: the hash of a deeply nested tuple overflows the stack."""
    if not isinstance(key, str | int):
        raise pickle.UnpicklingError(f"dictionary key of type {type(key).__name__}")
    return key


_PurePython: Any = pickle._Unpickler


class InertUnpickler(_PurePython):  # type: ignore[misc]
    """Resolves no class but the stand-ins above.

    Based on Python's own unpickler: the faster one in C allocates what a memo index says, up to 64 GiB, and single
    operations cannot be disabled.
    """

    dispatch: ClassVar = {code: run for code, run in _PurePython.dispatch.items() if code in _OPERATIONS}

    def __init__(self, archive: zipfile.ZipFile, prefix: str, budget: int) -> None:
        super().__init__(io.BytesIO(_entry(archive, f"{prefix}data.pkl", _PICKLE_CAP)))
        self._archive, self._prefix, self._budget = archive, prefix, budget
        self._storages: dict[str, _Held] = {}

    def load_empty_set(self) -> None:
        """Sets are not needed, and fill themselves by hashing."""
        self.append(Inert())

    def load_setitem(self) -> None:
        """One pair into a dictionary, if its key is safe to hash."""
        _checked_key(self.stack[-2])
        super().load_setitem()

    def load_setitems(self) -> None:
        """Many pairs into a dictionary, if their keys are safe to hash."""
        for key in self.stack[::2]:
            _checked_key(key)
        super().load_setitems()

    dispatch[pickle.EMPTY_SET[0]] = load_empty_set
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems

    def find_class(self, module: str, name: str) -> Any:
        """Our own stand-in for ``module.name``; nothing is imported."""
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        return _KNOWN.get((module, name), Inert)

    def persistent_load(self, pid: Any) -> _Held:
        """A storage's bytes as a flat tensor, on the CPU whatever device it was on."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError("unknown persistent reference")
        if key not in self._storages:
            data = bytearray(_entry(self._archive, f"{self._prefix}data/{key}", self._budget))
            self._budget -= len(data)  # overlapping entries could otherwise be read many times over
            if type(count) is not int or not 0 <= count * dtype.itemsize <= len(data):
                raise pickle.UnpicklingError(f"storage {key} has {len(data)} bytes, expected another number")
            held = self._storages[key] = _Held()
            held.tensor = torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _entry(archive: zipfile.ZipFile, name: str, cap: int) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > cap or info.compress_type != zipfile.ZIP_STORED:
        raise pickle.UnpicklingError(f"{name} is compressed or larger than {cap} bytes")
    return archive.read(info)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All named tensors of a checkpoint: a state_dict, one inside a dictionary, or a whole module.

    Returns
    -------
    dict
        Views of the file's storages, which several tensors may share.

    Raises
    ------
    BundleError
        If it is not such a file.
    """
    check_checkpoint(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            if len(names) != 1:
                raise pickle.UnpicklingError(f"{len(names)} pickles inside, expected 1")
            budget = path.stat().st_size
            content = InertUnpickler(archive, names[0].removesuffix("data.pkl"), budget).load()
        tensors = _collect(content, 0, set())
    except Exception as error:  # a hostile pickle can raise anything
        reason = reason_of(error, 200, kind=True)
        raise BundleError(path, f"cannot be read as a PyTorch checkpoint ({reason})", "Download it again") from None
    if not tensors:
        raise BundleError(path, "holds no tensors", "Give a state_dict or a saved model")
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _collect(content: Any, depth: int, seen: set[int]) -> dict[str, Tensor]:
    """The largest group of named tensors: a training checkpoint holds an optimizer's, too."""
    if isinstance(content, Inert):
        return dict(_walk(content))
    if not isinstance(content, dict) or id(content) in seen:
        return {}
    seen.add(id(content))
    groups = [_tensors(content, "")]
    if depth < _DEPTH_CAP:
        groups += [_collect(value, depth + 1, seen) for value in content.values() if not isinstance(value, _Held)]
    return max(groups, key=lambda group: len(group))


def _walk(root: Inert) -> list[tuple[str, Tensor]]:
    """Parameters and buffers of a module and all below it, with dotted names."""
    found: list[tuple[str, Tensor]] = []
    waiting = [("", root)]
    for _ in range(_MODULES_CAP):
        if not waiting:
            return found
        prefix, module = waiting.pop()
        state = module.state if isinstance(module.state, dict) else {}
        found += [*_tensors(state.get("_parameters"), prefix).items(), *_tensors(state.get("_buffers"), prefix).items()]
        below = state.get("_modules")
        if isinstance(below, dict) and prefix.count(".") < 50:
            waiting += [(f"{prefix}{name}.", child) for name, child in below.items() if isinstance(child, Inert)]
    raise pickle.UnpicklingError(f"more than {_MODULES_CAP} modules")


def _tensors(group: Any, prefix: str) -> dict[str, Tensor]:
    """The tensors of a dictionary, under their names with a prefix."""
    if not isinstance(group, dict):
        return {}
    held = {prefix + str(name): value.tensor for name, value in group.items() if isinstance(value, _Held)}
    return {name: tensor for name, tensor in held.items() if tensor is not None}


def is_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
